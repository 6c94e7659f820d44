"""The toy collection, printed in full."""

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

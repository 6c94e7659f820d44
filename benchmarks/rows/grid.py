"""A grid of cells, time a cell: sharing what cells have in common, against every cell doing everything for itself with rankers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import data
from benchmarks.harness import Family, Line, Way

QUERIES = (20, 8)  # full, short; each with one positive and so one group, all of which are trained on once
CELLS = [[strategy, loss, seed] for strategy in ("top", "uniform") for loss in ("ranknet", "margin_mse", "kl") for seed in (0, 1, 2)]
_STRATEGIES = {"top": {"draw": "top"}, "uniform": {"draw": "uniform"}}
_settings = {
    "work": "grid", "kind": "bi", "model": str(data.FOLDER / "models" / "tiny"), "pooling": "cls",
    "teacher": str(data.FOLDER / "models" / "minilm-cross"), "max_length": 128, "max_query_length": 32, "depth": 100,
    "strategies": _STRATEGIES,
}  # fmt: skip


def _collection(short: bool) -> Path:
    """Return the folder of one form's collection."""
    return data.FOLDER / "grid" / f"collection-{QUERIES[short]}"


def _prepare(short: bool) -> None:
    """Write vaswani's documents, some queries and the first positive of each as a BEIR folder, which both ways read."""
    data.model("tiny")
    data.model("minilm-cross")
    folder = _collection(short)
    if (folder / "qrels" / "train.tsv").is_file():
        return
    from rd_utils import collections, params

    collection = params.IrDatasetsCollection(id="vaswani", max_queries=QUERIES[short])
    docs = collections.read_docs(collection)
    queries, qrels = collections.read_queries(collection)
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, table, key in (("corpus", docs, "doc_id"), ("queries", queries, "query_id")):
        lines = [json.dumps({"_id": number, "text": text}) + "\n" for number, text in zip(table[key], table["text"], strict=True)]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    first = collections.positives(qrels).drop_duplicates("query_id")
    lines = [f"{query}\t{doc}\t1\n" for query, doc in zip(first["query_id"], first["doc_id"], strict=True)]
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines), encoding="utf-8")


def _command(repeat: int, short: bool) -> dict[str, Any]:
    """Return all cells, which ours makes, and the one among them that the other way makes in this repeat: there all cost the same."""
    return {
        "cells": CELLS[:4] if short else CELLS,
        "cell": CELLS[max(repeat, 0) % len(CELLS)],
        "collection": str(_collection(short)),
        "documents": QUERIES[short] * data.GROUP_SIZE,
    }


FAMILIES = (
    Family(
        "grid",
        "a grid on vaswani: 2 strategies x 3 losses x 3 seeds, 20 groups of 16 documents, MiniLM teacher, BERT 2x128",
        (
            Way("ours", "benchmarks.ours", _settings),
            Way("scripts with rankers", "benchmarks.peers.scripts", _settings, environment="rankers"),
        ),
        (Line("grid, a cell", "seconds_per_cell", "s", ("ours",), ("scripts with rankers",), 10, higher=False),),
        repeats=5,
        command=_command,
        prepare=_prepare,
        warm_up=False,
    ),
)

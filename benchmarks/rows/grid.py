"""A grid of cells, time a cell: sharing what cells have in common, against every cell doing everything for itself with rankers."""

from __future__ import annotations

import json
from typing import Any

from benchmarks import data
from benchmarks.harness import Family, Line, Way

QUERIES = (3, 1)  # full, short
DOCUMENTS = (640, 256)
CELLS = [[strategy, loss, seed] for strategy in ("top", "uniform") for loss in ("margin_mse", "kl") for seed in (0, 1)]
_STRATEGIES = {"top": {"draw": "top"}, "uniform": {"draw": "uniform"}}
_settings = {
    "work": "grid", "kind": "bi", "collection": "vaswani", "model": str(data.FOLDER / "models" / "tiny"), "pooling": "cls",
    "teacher": str(data.FOLDER / "models" / "minilm-cross"), "max_length": 128, "max_query_length": 32, "depth": 100,
    "strategies": _STRATEGIES, "root": str(data.FOLDER / "grid"),
}  # fmt: skip


def _prepare(short: bool) -> None:
    """Write the collection as plain files, for the way that has no reader of its own."""
    data.model("tiny")
    data.model("minilm-cross")
    path = data.FOLDER / "grid" / f"collection-{QUERIES[short]}.json"
    if path.is_file():
        return
    from rd_utils import collections, params

    collection = params.IrDatasetsCollection(id="vaswani", max_queries=QUERIES[short])
    docs = collections.read_docs(collection)
    queries, qrels = collections.read_queries(collection)
    positives = collections.positives(qrels)
    found = {
        "docs": dict(zip(docs["doc_id"], docs["text"], strict=True)),
        "queries": dict(zip(queries["query_id"], queries["text"], strict=True)),
        "positives": positives[["query_id", "doc_id"]].values.tolist(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found), encoding="utf-8")


def _command(repeat: int, short: bool) -> dict[str, Any]:
    """Return all cells, which ours makes, and the one among them that the other way makes in this repeat: there all cost the same."""
    return {
        "cells": CELLS[:4] if short else CELLS,
        "cell": CELLS[max(repeat, 0) % len(CELLS)],
        "queries": QUERIES[short],
        "documents": DOCUMENTS[short],
    }


FAMILIES = (
    Family(
        "grid",
        "a grid on vaswani: 2 strategies x 2 losses x 2 seeds, 3 queries' groups, MiniLM teacher, BERT 2x128 trained on 640 documents",
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

"""A grid of cells, time a cell: sharing what cells have in common, against every cell doing everything for itself with rankers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import data
from benchmarks.harness import Family, Line, Way

QUERIES = (16, 8)  # full, short; each with one positive and so one group, all of which are trained on once
_SEEDS, _LOSSES, _KINDS = (0, 1, 2), ("ranknet", "margin_mse", "kl"), ("bi", "cross")
CELLS = [[strategy, loss, kind, seed] for seed in _SEEDS for loss in _LOSSES for strategy in ("top", "uniform") for kind in _KINDS]
_STRATEGIES = {"top": {"draw": "top"}, "uniform": {"draw": "uniform"}}
_MODELS = data.FOLDER / "models"
_settings = {
    "work": "grid", "teacher": str(_MODELS / "minilm-cross"), "max_length": 128, "max_query_length": 32, "depth": 100,
    "strategies": _STRATEGIES, "pooling": "cls",
}  # fmt: skip
_OURS = {"bi": str(_MODELS / "tiny"), "cross": str(_MODELS / "tiny-cross")}
_RANKERS = {"bi": str(_MODELS / "tiny"), "cross": str(_MODELS / "tiny-cross-2")}
_SECONDS = ("seconds_per_cell", "s")


def _collection(short: bool) -> Path:
    """Return the folder of one form's collection."""
    return data.FOLDER / "grid" / f"collection-{QUERIES[short]}"


def _prepare(short: bool) -> None:
    """Make the models, and a collection in BEIR layout of some queries with one positive each, which both ways read."""
    for name in ("tiny", "tiny-cross", "tiny-cross-2", "minilm-cross", "minilm-cross-2"):
        data.model(name)
    data.beir("short", QUERIES[short], _collection(short))


def _command(repeat: int, short: bool) -> dict[str, Any]:
    """Return all cells, which ours makes, and the one among them that the other ways make in this repeat: architectures take turns."""
    return {
        "cells": CELLS[:4] if short else CELLS,
        "cell": CELLS[max(repeat, 0) % len(CELLS)],
        "collection": str(_collection(short)),
        "documents": QUERIES[short] * data.GROUP_SIZE,
    }


def _scripts(name: str, scorer: str) -> Way:
    return Way(name, "benchmarks.peers.scripts", {**_settings, "models": _RANKERS, "scorer": scorer}, environment="rankers")


FAMILIES = (
    Family(
        "grid",
        "a grid on short texts: 2 strategies x 3 losses x 2 architectures x 3 seeds, 16 groups of 16 documents, MiniLM teacher, BERT 2x128",
        (
            Way("ours", "benchmarks.ours", {**_settings, "models": _OURS}),
            _scripts("scripts with rankers", "rankers"),
            _scripts("scripts, scored by CrossEncoder", "CrossEncoder"),
        ),
        (
            Line("grid, a cell, as the study's scripts", *_SECONDS, ("ours",), ("scripts with rankers",), 10, higher=False),
            Line("grid, a cell, scored by CrossEncoder", *_SECONDS, ("ours",), ("scripts, scored by CrossEncoder",), 10, higher=False),
        ),
        repeats=5,
        command=_command,
        prepare=_prepare,
        warm_up=False,
    ),
)

"""Teacher scores of 10,000,000 pairs: opened by a fresh process and looked up, 8 queries x 16 documents at a time."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.harness import Family, Line, Way

QUERIES, PER_QUERY, DOCS = 50_000, (200, 20), 1_000_000
BATCHES = 2_000


def folder(short: bool) -> Path:
    """Return the folder of one form's scores."""
    return data.FOLDER / f"pairs-float32-{QUERIES * PER_QUERY[short]}"


def prepare(short: bool) -> None:
    """Write the scores in both formats, and the batches that are looked up."""
    place, size = folder(short), PER_QUERY[short]
    if (place / "DONE").is_file():
        return
    from benchmarks.ours import write_pairs

    rng = np.random.default_rng(4)
    docs = np.sort(rng.integers(0, DOCS - size, (QUERIES, size)), axis=1) + np.arange(size)  # distinct within a query
    scores = rng.standard_normal((QUERIES, size), dtype=np.float32)  # as a teacher gives them: both formats keep every bit
    place.mkdir(parents=True, exist_ok=True)
    rows = rng.integers(0, QUERIES, (BATCHES, 8))
    chosen = rng.integers(0, size, (BATCHES, 8, 16))
    np.savez(place / "batches.npz", query_rows=rows, doc_rows=docs[rows[..., None], chosen])
    write_pairs(place / "ours", DOCS, np.repeat(np.arange(QUERIES), size), docs.ravel(), scores.ravel())
    teacher = {str(q): dict(zip(map(str, docs[q].tolist()), scores[q].tolist(), strict=True)) for q in range(QUERIES)}
    with gzip.open(place / "teacher.json.gz", "wt") as stream:
        json.dump(teacher, stream)
    (place / "DONE").touch()


def _command(repeat: int, short: bool) -> dict[str, Any]:
    return {}


_SETTINGS = {"work": "pairs", "n_docs": DOCS, "folders": [str(folder(False)), str(folder(True))]}
_PEER = ("gzip JSON",)
FAMILIES = (
    Family(
        "pairs",
        f"{QUERIES * PER_QUERY[0]:,} teacher scores, against gzip JSON of a dict of dicts",
        (Way("ours", "benchmarks.ours", _SETTINGS, fresh=True), Way("gzip JSON", "benchmarks.peers.json_scores", _SETTINGS, fresh=True)),
        (
            Line("scores, load to first lookup", "load_seconds", "s", ("ours",), _PEER, 1000, higher=False),
            Line("scores, memory added", "added_mb", "MB", ("ours",), _PEER, 10, higher=False),
            Line("scores, lookups", "lookup_rate", "scores/s", ("ours",), _PEER, 2),
            Line("scores, disk", "disk_mb", "MB", ("ours",), _PEER, 1.5, higher=False),
        ),
        repeats=5,
        command=_command,
        prepare=prepare,
        warm_up=False,
    ),
)

"""Teacher scores as a dict of dicts in gzip JSON, loaded whole and looked up pair by pair under string ids: the study's own format."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.worker import memory, serve


class Scores:
    """Load, then look every pair of every batch up."""

    def __init__(self, settings: dict[str, Any]) -> None:
        folder = Path(settings["folders"][settings["short"]])
        self.path = folder / "teacher.json.gz"
        batches = np.load(folder / "batches.npz")
        self.batches = [
            ([str(row) for row in queries], [[str(doc) for doc in docs] for docs in of_batch])
            for queries, of_batch in zip(batches["query_rows"].tolist(), batches["doc_rows"].tolist(), strict=True)
        ]
        self.before = memory()

    def __call__(self, command: dict[str, Any]) -> dict[str, Any]:
        """Load the scores, look the first pair up, then every batch of 8 x 16."""
        began = time.perf_counter()
        with gzip.open(self.path, "rt") as stream:
            teacher = json.load(stream)
        queries, docs = self.batches[0]
        first = teacher[queries[0]][docs[0][0]]
        load = time.perf_counter() - began
        total, count, began = 0.0, 0, time.perf_counter()
        for queries, docs in self.batches:
            scores = []
            for query, of_query in zip(queries, docs, strict=True):
                for doc in of_query:
                    scores.append(teacher[query][doc] if doc in teacher[query] else 0)
            scores = np.array(scores, dtype=np.float32)
            total += float(scores.sum())
            count += len(scores)
        seconds = time.perf_counter() - began
        return {
            "load_seconds": load,
            "added_mb": memory() - self.before,
            "peak_mb": memory("VmHWM"),
            "lookup_rate": count / seconds,
            "disk_mb": self.path.stat().st_size / 1e6,
            "scores": [first, total / count],
        }


if __name__ == "__main__":
    serve(Scores, ())

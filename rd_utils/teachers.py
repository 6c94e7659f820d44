"""Teacher scores: kept once per (teacher, query, document); only missing pairs are ever scored.

A :class:`PairScores` folder belongs to one teacher and one set of queries and documents. It grows by shards, each written atomically,
so an interrupted scoring loses at most the chunk it was at. A pair is one integer, ``query_row * n_docs + doc_row``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from rd_utils.progress import Track, untracked

DECIMALS = 5  # scores are kept to 5 decimals: beyond that they depend on how pairs fell into batches


class TeacherError(ValueError):
    """A teacher's scores are missing or unusable; the message names the first offender."""


class PairScores:
    """The scores of one teacher over one set of queries and documents.

    Args:
        folder: where the shards lie.
        n_docs: number of documents, which turns (query_row, doc_row) into one integer.
    """

    def __init__(self, folder: Path, n_docs: int) -> None:
        self.folder, self.n_docs = folder, n_docs
        folder.mkdir(parents=True, exist_ok=True)
        shards = [pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))]
        merged = pd.concat(shards) if shards else pd.DataFrame({"pair": np.zeros(0, np.int64), "score": np.zeros(0, np.float32)})
        merged = merged.drop_duplicates("pair").sort_values("pair")
        self._pairs = merged["pair"].to_numpy(dtype=np.int64)
        self._scores = merged["score"].to_numpy(dtype=np.float32)

    def __len__(self) -> int:
        return len(self._pairs)

    def pairs(self, query_rows: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
        """Return the integer of every (query_row, doc_row)."""
        return np.asarray(query_rows, dtype=np.int64) * self.n_docs + np.asarray(doc_rows, dtype=np.int64)

    def missing(self, pairs: np.ndarray) -> np.ndarray:
        """Return the pairs without a score, each once, sorted."""
        return np.setdiff1d(pairs, self._pairs)

    def lookup(self, pairs: np.ndarray) -> np.ndarray:
        """Return the scores of pairs.

        Raises:
            TeacherError: a pair has no score (a missing score is never 0, which would be the best log-probability).
        """
        places = np.searchsorted(self._pairs, pairs)
        found = np.zeros(len(pairs), dtype=bool)
        inside = places < len(self._pairs)
        found[inside] = self._pairs[places[inside]] == pairs[inside]
        if not found.all():
            first = int(pairs[~found][0])
            raise TeacherError(
                f"{int((~found).sum())} of {len(pairs)} pairs have no teacher score, the first is query row {first // self.n_docs}, "
                f"document row {first % self.n_docs}; score them first (02_score)"
            )
        return self._scores[places]

    def add(self, pairs: np.ndarray, scores: np.ndarray) -> None:
        """Write one shard of new scores, atomically, and take them in.

        Raises:
            TeacherError: a score is not a finite number.
        """
        bad = ~np.isfinite(scores)
        if bad.any():
            first = int(pairs[bad][0])
            raise TeacherError(
                f"the teacher gave {int(bad.sum())} scores that are no finite numbers, the first for query row {first // self.n_docs}, "
                f"document row {first % self.n_docs}; try precision fp32, or look at that text"
            )
        scores = np.round(scores, DECIMALS).astype(np.float32)
        name = hashlib.sha256(pairs.tobytes()).hexdigest()[:20]
        temporary = self.folder / f".{name}.{os.getpid()}.tmp"
        pd.DataFrame({"pair": pairs, "score": scores}).to_parquet(temporary, index=False)
        os.replace(temporary, self.folder / f"{name}.parquet")
        order = np.argsort(np.concatenate([self._pairs, pairs]), kind="stable")
        self._scores = np.concatenate([self._scores, scores])[order]
        self._pairs = np.concatenate([self._pairs, pairs])[order]


def score_missing(
    store: PairScores,
    pairs: np.ndarray,
    score: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *,
    chunk: int = 50_000,
    track: Track = untracked,
) -> int:
    """Score the pairs that have no score yet, a chunk at a time.

    Args:
        store: where scores are kept.
        pairs: integers as :meth:`PairScores.pairs` makes them.
        score: maps (query_rows, doc_rows) to raw scores.
        chunk: pairs per shard.
        track: wraps an iterable to show progress.

    Returns:
        How many pairs were scored.
    """
    missing = store.missing(pairs)
    chunks = [missing[start : start + chunk] for start in range(0, len(missing), chunk)]
    for part in track(chunks, "teacher scores", len(chunks)):
        store.add(part, np.asarray(score(part // store.n_docs, part % store.n_docs), dtype=np.float64))
    return len(missing)

"""Teacher scores: kept once per (teacher, query, document); only missing pairs are ever scored.

A :class:`PairScores` folder belongs to one teacher and one set of queries and documents. It grows by shards, each written atomically,
so an interrupted scoring loses at most the chunk it was at. A pair is one integer, ``query_row * n_docs + doc_row``. Every shard says what
scoring it took, so that a pair has a price whoever paid it.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rd_utils.progress import Track, untracked
from rd_utils.retrieval import read_pairs
from rd_utils.store import cpu_seconds

DECIMALS = 5  # scores are kept to 5 decimals: beyond that they depend on how pairs fell into batches
_GOLDEN = 0x9E3779B97F4A7C15  # the increment of SplitMix64: 2**64 over the golden ratio, odd


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
        tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
        self.seconds = sum((_seconds_of(table) for table in tables), start=np.zeros(2))
        shards = [table.to_pandas() for table in tables]
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
        places, found = _find(self._pairs, pairs)
        if not found.all():
            first = int(pairs[~found][0])
            raise TeacherError(
                f"{int((~found).sum())} of {len(pairs)} pairs have no teacher score, the first is query row {first // self.n_docs}, "
                f"document row {first % self.n_docs}; score them first (02_score)"
            )
        return self._scores[places]

    def add(self, pairs: np.ndarray, scores: np.ndarray, seconds: tuple[float, float] = (0.0, 0.0)) -> None:
        """Write one shard of new scores, atomically, and take them in.

        Args:
            pairs: (n,) integers.
            scores: (n,) raw scores.
            seconds: wall and CPU seconds that scoring them took.

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
        cost = {"wall_seconds": f"{seconds[0]:.6f}", "cpu_seconds": f"{seconds[1]:.6f}"}
        pq.write_table(pa.table({"pair": pairs, "score": scores}).replace_schema_metadata(cost), temporary)
        os.replace(temporary, self.folder / f"{name}.parquet")
        self.seconds = self.seconds + np.array(seconds)
        order = np.argsort(np.concatenate([self._pairs, pairs]), kind="stable")
        self._scores = np.concatenate([self._scores, scores])[order]
        self._pairs = np.concatenate([self._pairs, pairs])[order]

    def rate(self) -> np.ndarray:
        """Return wall and CPU seconds a pair, over everything that was ever scored here; 0 before anything was."""
        return self.seconds / max(len(self), 1)


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
        wall, cpu = time.perf_counter(), cpu_seconds()
        scores = np.asarray(score(part // store.n_docs, part % store.n_docs), dtype=np.float64)
        store.add(part, scores, (time.perf_counter() - wall, cpu_seconds() - cpu))
    return len(missing)


def _seconds_of(table: pa.Table) -> np.ndarray:
    """Return what a shard's scoring took: wall and CPU seconds."""
    about = table.schema.metadata or {}
    return np.array([float(about.get(name, 0.0)) for name in (b"wall_seconds", b"cpu_seconds")])


def _find(known: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each pair would stand among the sorted ``known``, and whether it stands there."""
    places = np.searchsorted(known, pairs)
    found = np.zeros(len(pairs), dtype=bool)
    inside = places < len(known)
    found[inside] = known[places[inside]] == pairs[inside]
    return places, found


# --- scores made elsewhere --------------------------------------------------------------------------------------------------------


def read_scores(path: Path) -> pd.DataFrame:
    """Read scores made elsewhere: a Parquet file with query_id, doc_id and score, or a TREC run (also ``.gz``).

    Args:
        path: ``*.parquet``, or lines ``query_id Q0 doc_id rank score tag``.

    Returns:
        Frame query_id, doc_id (str), score (float64), in the order of the file.

    Raises:
        TeacherError: the file is missing or lacks a column, a score is no finite number, or a pair stands twice.
    """
    return read_pairs(path, TeacherError)


def file_scorer(frame: pd.DataFrame, query_ids: pd.Series, doc_ids: pd.Series) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Make a function that looks scores up in a table.

    Pairs of the table with a query or document that is not listed are ignored.

    Args:
        frame: query_id, doc_id, score, as :func:`read_scores` gives it.
        query_ids: the ids of the query rows.
        doc_ids: the ids of the document rows.

    Returns:
        A function of (query_rows, doc_rows) that returns their scores (float64), and raises :class:`TeacherError` where the table lacks
        one: a missing score is never 0, which would be the best log-probability.

    >>> frame = pd.DataFrame({"query_id": ["q2", "q1"], "doc_id": ["d1", "d2"], "score": [-0.5, -2.0]})
    >>> score = file_scorer(frame, pd.Series(["q1", "q2"]), pd.Series(["d1", "d2"]))
    >>> score(np.array([0, 1]), np.array([1, 0])).tolist()
    [-2.0, -0.5]
    """
    n_docs = len(doc_ids)
    query_rows, doc_rows = pd.Index(query_ids).get_indexer(frame["query_id"]), pd.Index(doc_ids).get_indexer(frame["doc_id"])
    known = (query_rows >= 0) & (doc_rows >= 0)
    pairs = query_rows[known].astype(np.int64) * n_docs + doc_rows[known]
    order = np.argsort(pairs)
    pairs, scores = pairs[order], frame["score"].to_numpy(dtype=np.float64)[known][order]

    def score(query_rows: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
        wanted = np.asarray(query_rows, dtype=np.int64) * n_docs + np.asarray(doc_rows, dtype=np.int64)
        places, found = _find(pairs, wanted)
        if not found.all():
            first = int(wanted[~found][0])
            raise TeacherError(
                f"{int((~found).sum())} of {len(wanted)} pairs have no score in the file, the first is query "
                f"{query_ids.iloc[first // n_docs]!r}, document {doc_ids.iloc[first % n_docs]!r}; score them with the teacher that made "
                "the file, or draw from documents that it scored"
            )
        return scores[places]

    return score


# --- noise and ensembles ----------------------------------------------------------------------------------------------------------


def pair_noise(pairs: np.ndarray, seed: int) -> np.ndarray:
    """Draw a standard normal deviate for every pair, fixed by (pair, seed) alone.

    Each pair seeds a SplitMix64 generator (Steele, Lea and Flood, 2014) of its own, whose first two outputs u1 in (0, 1] and u2 in [0, 1)
    become sqrt(-2 log u1) cos(2 pi u2) (Box and Muller, 1958). So a pair's noise depends neither on the other pairs nor on their order.

    Args:
        pairs: (n,) integers as :meth:`PairScores.pairs` makes them.
        seed: of the noise, at least 0.

    Returns:
        (n,) float64.

    >>> pair_noise(np.array([7, 8]), seed=0).round(3).tolist() == pair_noise(np.array([8, 7]), seed=0)[::-1].round(3).tolist()
    True
    """
    key = np.array([(seed + 1) * _GOLDEN % 2**64], dtype=np.uint64)
    state = _mix(np.asarray(pairs, dtype=np.int64).astype(np.uint64)) ^ _mix(key)
    first, second = (_mix(state + np.uint64(step * _GOLDEN % 2**64)) >> np.uint64(11) for step in (1, 2))  # 53 bits each
    return np.sqrt(-2.0 * np.log((first + np.uint64(1)) * 2.0**-53)) * np.cos(2.0 * np.pi * (second * 2.0**-53))


def _mix(bits: np.ndarray) -> np.ndarray:
    """Scramble 64-bit integers by SplitMix64's finaliser, a bijection (uint64 arithmetic wraps around)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def combine(scores: np.ndarray, means: np.ndarray, sds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average the standardised scores of several teachers, and say how far they disagree.

    ``z = (score - mean) / sd`` member by member; the ensemble's score is the mean of z over members, the disagreement its population SD.

    Args:
        scores: (members, n) raw scores.
        means: (members,) each member's mean over the calibration groups.
        sds: (members,) each member's SD over the calibration groups.

    Returns:
        (n,) scores and (n,) disagreements, in SDs of the members.

    Raises:
        TeacherError: a member scored all calibration groups alike, or the shapes do not fit.

    The first document has z = 1 under both teachers, the second z = 2 and z = -2:

    >>> combine(np.array([[3.0, 4.0], [20.0, -10.0]]), np.array([2.0, 10.0]), np.array([1.0, 10.0]))
    (array([1., 0.]), array([0., 2.]))
    """
    scores, means, sds = (np.asarray(values, dtype=np.float64) for values in (scores, means, sds))
    if scores.ndim != 2 or means.shape != scores.shape[:1] or sds.shape != scores.shape[:1]:
        raise TeacherError(
            f"scores have shape {scores.shape}, means {means.shape}, sds {sds.shape}; expected (members, n), (members,), (members,)"
        )
    flat = np.flatnonzero(~(sds >= 10.0**-DECIMALS))  # scores are kept to that precision
    if len(flat):
        raise TeacherError(
            f"{len(flat)} of {len(sds)} members have no spread over the calibration groups, the first is member {flat[0]} (counted from 0) "
            f"with an SD of {sds[flat[0]]:g}; leave it out, or calibrate on groups that it tells apart"
        )
    standardised = (scores - means[:, None]) / sds[:, None]
    return standardised.mean(axis=0), standardised.std(axis=0)

"""Strategies: which documents stand beside a query's positive in a training group.

One group per (query, labelled positive). Every document known to be relevant to the query (relevance above 0) is excluded before
ranking and drawing, the documents of a group are distinct, and each query draws from a random stream of its own, so that the groups
of one query do not depend on which other queries there are.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from rd_utils.collections import positives
from rd_utils.progress import Track, untracked


class SamplingError(ValueError):
    """Groups cannot be drawn as asked; the message says what to change."""


class Groups(NamedTuple):
    """Training groups and what was lost on the way.

    Attributes:
        frame: query_id, doc_ids (a list, the positive first), n_filled (documents filled in by the shortage policy).
        dropped: counts by reason.
        counts: counts of what was made.
    """

    frame: pd.DataFrame
    dropped: dict[str, int]
    counts: dict[str, int]


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the random stream of ``name``: PCG64 seeded by the seed and the first 8 bytes of the name's SHA-256."""
    return np.random.default_rng([seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")])


def draw_groups(
    doc_ids: pd.Series,
    qrels: pd.DataFrame,
    *,
    strategy: Any,
    group_size: int,
    shortage: str,
    seed: int,
    candidates: pd.DataFrame | None = None,
    track: Track = untracked,
) -> Groups:
    """Draw one group for every labelled positive.

    Args:
        doc_ids: the ids of the collection's documents.
        qrels: query_id, doc_id, relevance of the training split.
        strategy: :class:`rd_utils.params.CorpusRandom` or :class:`rd_utils.params.FromCandidates`.
        group_size: documents of a group, its positive included.
        shortage: ``drop`` a group whose pool is too small, or ``fill`` it with corpus-random documents.
        seed: of the draws.
        candidates: the run that a candidates strategy draws from, ``depth`` deep, best first.
        track: wraps an iterable to show progress.

    Returns:
        The groups, sorted by (query_id, positive).

    Raises:
        SamplingError: no group is left, the collection is too small, or the qrels name documents that do not exist.
    """
    known = pd.Index(doc_ids)
    relevant = positives(qrels)
    row_of = dict(zip(known, range(len(known)), strict=True))
    n_negatives = group_size - 1
    missing = relevant[~relevant["doc_id"].isin(known)]
    by_query = {query_id: sorted(rows) for query_id, rows in _rows_by_query(relevant, row_of).items()}
    pools = _rows_by_query(candidates, row_of) if candidates is not None else {}
    dropped = {"positives_not_in_collection": len(missing), "groups_for_shortage": 0}
    counts = {"queries_without_positive": int(qrels["query_id"].nunique() - len(by_query)), "documents_filled": 0, "groups_filled": 0}
    ids = known.to_numpy(dtype=object)
    records: list[tuple[str, list[str], int]] = []
    for query_id in track(sorted(by_query), "drawing groups", len(by_query)):
        generator = stream(seed, query_id)
        positive_rows = by_query[query_id]
        excluded = set(positive_rows)
        if len(ids) - len(excluded) < n_negatives:
            raise SamplingError(
                f"query {query_id!r}: the collection has {len(ids) - len(excluded)} documents that are not positives, "
                f"fewer than the {n_negatives} negatives of a group; lower group_size"
            )
        pool = np.array([row for row in pools.get(query_id, []) if row not in excluded], dtype=np.int64)
        for positive in positive_rows:
            if strategy.kind == "corpus_random":
                negatives, filled = uniform_rows(len(ids), n_negatives, excluded, generator), 0
            else:
                negatives = from_pool(pool, n_negatives, strategy.draw, generator)
                filled = n_negatives - len(negatives)
                if filled and shortage == "drop":
                    dropped["groups_for_shortage"] += 1
                    continue
                if filled:
                    extra = uniform_rows(len(ids), filled, excluded | set(negatives.tolist()), generator)
                    negatives = np.concatenate([negatives, extra])
                    counts["documents_filled"] += filled
                    counts["groups_filled"] += 1
            records.append((query_id, [ids[positive], *ids[negatives]], filled))
    if not records:
        raise SamplingError(
            f"no group could be drawn: {dropped['groups_for_shortage']} were short of {n_negatives} negatives, "
            f"{len(missing)} positives are not in the collection; raise depth, lower group_size, or use shortage: fill"
        )
    frame = pd.DataFrame.from_records(sorted(records, key=lambda r: (r[0], r[1][0])), columns=["query_id", "doc_ids", "n_filled"])
    counts |= {"groups": len(frame), "queries": int(frame["query_id"].nunique()), "documents": len(frame) * group_size}
    return Groups(frame, dropped, counts)


def uniform_rows(n_docs: int, k: int, excluded: set[int], generator: np.random.Generator) -> np.ndarray:
    """Draw k distinct rows uniformly from those not excluded, in the order in which they were drawn."""
    chosen: dict[int, None] = {}
    if k + len(excluded) > n_docs // 2:  # a small collection: list what is left
        left = np.array(sorted(set(range(n_docs)) - excluded), dtype=np.int64)
        return generator.choice(left, size=k, replace=False)
    while len(chosen) < k:
        for row in generator.integers(n_docs, size=k).tolist():
            if row not in excluded and len(chosen) < k:
                chosen.setdefault(row)
    return np.fromiter(chosen, dtype=np.int64)


def from_pool(pool: np.ndarray, k: int, draw: str, generator: np.random.Generator) -> np.ndarray:
    """Take k rows of a ranked pool, or all of a smaller one: the top ones, or uniformly (over the sorted rows, so rank plays no part)."""
    if draw == "top":
        return pool[:k]
    return generator.choice(np.sort(pool), size=min(k, len(pool)), replace=False)


def _rows_by_query(frame: pd.DataFrame, row_of: dict[str, int]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for query_id, doc_id in zip(frame["query_id"], frame["doc_id"], strict=True):
        if doc_id in row_of:
            rows.setdefault(query_id, []).append(row_of[doc_id])
    return rows

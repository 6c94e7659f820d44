"""Search by token vectors: MaxSim of every query with every document, exactly, a block of documents at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rd_utils.data.runs import DECIMALS, Run, blocks, made_in_parts
from rd_utils.models.late_students import TokenVectors, largest
from rd_utils.workflow.progress import Track, untracked

_SCORES = 1 << 25  # scores of a part of the queries with all documents: 256 MB
_PART = 256  # queries of a part, at the most
_TOKENS = 1 << 15  # of a block of documents


class LateError(ValueError):
    """Token vectors cannot be searched as asked; the message names the offender and the remedy."""


def search(
    docs: TokenVectors, queries: TokenVectors, depth: int, ties: np.ndarray, *, folder: Path | None = None, track: Track = untracked
) -> Run:
    """Rank all documents for every query by MaxSim and keep the top ``depth``.

    Args:
        docs: the documents' token vectors.
        queries: those of the queries.
        depth: how many documents a query keeps.
        ties: (n_docs,) as :func:`rd_utils.data.runs.tie_order` gives it.
        folder: where a long search keeps what it has, until the caller deletes it (see :func:`rd_utils.data.runs.made_in_parts`).
        track: wraps an iterable to show progress.

    Returns:
        One list a query, an empty one where it has no token; scores rounded to 5 decimals before ranking, equal ones in the order of
        ``ties``.

    Raises:
        LateError: the vectors do not fit each other or ``ties``, or hold a number that is not finite.
    """
    n_docs = len(docs.offsets) - 1
    if docs.vectors.shape[1] != queries.vectors.shape[1]:
        widths = f"{docs.vectors.shape[1]} dimensions and those of queries {queries.vectors.shape[1]}"
        raise LateError(f"the token vectors of documents have {widths}; represent both with one encoder")
    if len(ties) != n_docs:
        raise LateError(f"{len(ties)} ids for the token vectors of {n_docs} documents; give those of the collection that was represented")
    for side, one in (("document", docs), ("query", queries)):
        if not np.isfinite(one.vectors).all():
            raise LateError(f"a token vector of a {side} is not finite; represent the texts again, in fp32")
    depth = min(depth, n_docs)
    span = np.int64(1) << int(n_docs).bit_length()

    def part(start: int, stop: int) -> Run:
        own = queries.take(np.arange(start, stop))
        lengths = np.diff(own.offsets)
        keys = np.empty((stop - start, n_docs), dtype=np.int64)
        for first, last in blocks(docs.offsets, _TOKENS):
            inside = np.ascontiguousarray(docs.vectors[docs.offsets[first] : docs.offsets[last]])
            best = largest(TokenVectors(inside, docs.offsets[first : last + 1] - docs.offsets[first]), own.vectors)
            sums = np.zeros((stop - start, last - first))
            sums[lengths > 0] = np.add.reduceat(best.T.astype(np.float64), own.offsets[:-1][lengths > 0], axis=0)
            keys[:, first:last] = np.rint(sums * 10.0**DECIMALS).astype(np.int64) * span + (span - 1 - ties[first:last])
        found = np.argpartition(-keys, depth - 1, axis=1)[:, :depth] if depth < n_docs else np.tile(np.arange(n_docs), (len(keys), 1))
        found = np.take_along_axis(found, np.argsort(-np.take_along_axis(keys, found, axis=1), axis=1), axis=1)
        scores = np.take_along_axis(keys, found, axis=1) // span / 10.0**DECIMALS
        told = lengths > 0
        ends = np.concatenate([[0], np.cumsum(np.where(told, depth, 0))]).astype(np.int64)
        return Run(ends, found[told].astype(np.int32).ravel(), scores[told].ravel())

    size = max(1, min(_PART, _SCORES // max(1, n_docs)))
    return made_in_parts(len(queries.offsets) - 1, size, part, folder, description="MaxSim over the queries", track=track)

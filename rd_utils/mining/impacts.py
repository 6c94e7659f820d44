"""Search by learned sparse vectors: their weights are what postings hold, as BM25's scores are, and queries weigh their words."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix

from rd_utils.data.runs import Run
from rd_utils.mining import postings
from rd_utils.mining.postings import PostingsError, Words
from rd_utils.workflow.progress import Track, untracked


class Impacts(NamedTuple):
    """The postings of documents' weights (see :class:`rd_utils.mining.postings.Postings`)."""

    offsets: np.ndarray
    docs: np.ndarray
    scores: np.ndarray
    n_docs: int


def index(weights: csr_matrix) -> Impacts:
    """Return the postings of documents' weights (n_docs, vocabulary).

    Raises:
        PostingsError: a weight is negative or not finite.
    """
    if weights.nnz and not (np.isfinite(weights.data).all() and weights.data.min() >= 0):
        raise PostingsError("a weight of a document is negative or not finite; represent the documents again, in fp32")
    by_word = cast(csc_matrix, weights.tocsc())
    by_word.eliminate_zeros()
    by_word.sort_indices()
    return Impacts(
        by_word.indptr.astype(np.int64), by_word.indices.astype(np.int32), by_word.data.astype(np.float32), len(weights.indptr) - 1
    )


def search(
    impacts: Impacts,
    queries: csr_matrix,
    depth: int,
    ties: np.ndarray,
    *,
    workers: int = 1,
    folder: Path | None = None,
    track: Track = untracked,
) -> Run:
    """Rank all documents for every query by the inner product of weights; see :func:`rd_utils.mining.postings.search`.

    Args:
        impacts: of :func:`index`.
        queries: the weights of the queries (n_queries, vocabulary).
        depth: how many documents a query keeps at the most.
        ties: (n_docs,) as :func:`rd_utils.data.runs.tie_order` gives it.
        workers: threads.
        folder: where a long search keeps what it has.
        track: wraps an iterable to show progress.
    """
    queries = queries.sorted_indices()
    words = Words(queries.indices.astype(np.int64), queries.indptr.astype(np.int64), queries.data.astype(np.float32))
    return postings.search(
        impacts, words, depth, ties, workers=workers, folder=folder, description="sparse search over the queries", track=track
    )


def met(impacts: Impacts, queries: csr_matrix) -> float:
    """Return how many postings a query meets, in the mean: one multiplication and one addition each."""
    lengths = np.diff(impacts.offsets)
    return float(lengths[queries.indices].sum() / max(1, len(queries.indptr) - 1))

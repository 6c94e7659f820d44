"""Candidates: the top documents of a retriever, as a :class:`rd_utils.data.runs.Run` of row numbers, ties broken by doc_id.

BM25 (Robertson and Zaragoza, 2009) as bm25s scores it, searched in the index of ``mining.bm25``: ``score(q, d) = sum over terms t of q
of idf(t) * tf / (tf + k1 * (1 - b + b * |d| / avgdl))``, up to a constant factor, with

- lucene: idf(t) = log(1 + (N - n_t + 0.5) / (n_t + 0.5)), never negative;
- robertson: idf(t) = log((N - n_t + 0.5) / (n_t + 0.5)), floored at 0, so that words in more than half of the documents count nothing.

A query word that stands twice counts twice. Runs are derived from other runs by rank (pooled, cut) or by a teacher's scores (re-ranked).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from rd_utils.data import trec
from rd_utils.data.runs import DECIMALS, Run, blocks, join, rows_of
from rd_utils.workflow.progress import Track, untracked

if TYPE_CHECKING:
    from rd_utils.mining.bm25 import Index
    from rd_utils.mining.retrievers import BM25


class RetrievalError(ValueError):
    """Candidates cannot be made as asked; the message names the first offender and the remedy."""


def top_k(scores: np.ndarray, k: int, ties: np.ndarray, above: float = -np.inf) -> np.ndarray:
    """Return the rows of the k highest scores, best first, equal scores in the order of ``ties``.

    Args:
        scores: (n,) scores.
        k: how many; fewer come back where fewer score above ``above``.
        ties: (n,) as :func:`tie_order` gives it.
        above: scores at or below are left out.

    >>> top_k(np.array([1.0, 3.0, 3.0, 0.0]), 2, np.array([0, 2, 1, 3])).tolist()
    [2, 1]
    """
    if k < len(scores):
        kth = np.partition(scores, len(scores) - k)[len(scores) - k]
        rows = np.flatnonzero((scores >= kth) & (scores > above))  # every tie at the boundary is still in
    else:
        rows = np.flatnonzero(scores > above)
    return rows[np.lexsort((ties[rows], -scores[rows]))][:k]


def bm25_candidates(
    index: Index,
    texts: pd.Series,
    retriever: BM25,
    depth: int,
    ties: np.ndarray,
    *,
    workers: int = 1,
    folder: Path | None = None,
    track: Track = untracked,
) -> Run:
    """Rank all documents by BM25 and keep the top ``depth`` of every query; documents that share no word are left out.

    Args:
        index: of :func:`rd_utils.mining.bm25.build`.
        texts: of the queries.
        retriever: :class:`rd_utils.study.params.BM25`, the one that the index was built with.
        depth: how many documents a query keeps at the most.
        ties: (n_docs,) as :func:`rd_utils.data.runs.tie_order` gives it.
        workers: threads; their number changes nothing in the run.
        folder: where a long search keeps what it has, until the caller deletes it.
        track: wraps an iterable to show progress.

    Returns:
        One list a query; scores rounded to 5 decimals before ranking.
    """
    from rd_utils.mining import bm25

    words = bm25.words_of(texts, index, retriever)
    return bm25.search(index, words, depth, ties, workers=workers, folder=folder, track=track)


def bm25_scorer(index: Index, texts: pd.Series, retriever: BM25) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return what scores pairs by BM25: maps (query_rows, doc_rows) to scores (n,), 0 where they share no word.

    Args:
        index: of :func:`rd_utils.mining.bm25.build`.
        texts: of the queries.
        retriever: :class:`rd_utils.study.params.BM25`, the one that the index was built with.
    """
    from rd_utils.mining import bm25

    words = bm25.words_of(texts, index, retriever)
    return lambda query_rows, doc_rows: bm25.score_pairs(index, words, query_rows, doc_rows).astype(np.float64)


# --- runs from other runs ---------------------------------------------------------------------------------------------------------


def truncate(run: Run, depth: int) -> Run:
    """Keep the first ``depth`` documents of every list."""
    return run.keep(run.ranks() <= depth)


def pooled_candidates(runs: Sequence[Run], at_most: int, depth: int, ties: np.ndarray) -> Run:
    """Unite the top ``at_most`` of several runs, ordered by the best rank that any of them gave.

    It pools documents, not opinions: no scores are combined (for that see :func:`rd_utils.scoring.teachers.combine`).

    Args:
        runs: over the same queries, best first.
        at_most: how many documents of a query each run brings.
        depth: how many documents a query keeps.
        ties: (n_docs,) as :func:`rd_utils.data.runs.tie_order` gives it.

    Returns:
        One list a query; its scores are 1 / best rank, counted from 1 and not rounded.

    >>> one = Run(np.array([0, 3]), np.array([0, 1, 2], dtype=np.int32), np.array([9.0, 8.0, 7.0]))
    >>> two = Run(np.array([0, 3]), np.array([2, 0, 3], dtype=np.int32), np.array([0.3, 0.2, 0.1]))
    >>> pool = pooled_candidates([one, two], at_most=2, depth=10, ties=np.arange(4))
    >>> pool.docs.tolist(), pool.scores.tolist()
    ([0, 2, 1], [1.0, 1.0, 0.5])
    """
    n_lists = {len(run) for run in runs}
    if len(n_lists) != 1:
        raise RetrievalError(f"runs of {sorted(n_lists)} queries cannot be pooled; give runs over the same queries")
    lengths = sum(np.minimum(run.lengths(), at_most) for run in runs)
    parts = []
    for start, stop in blocks(np.concatenate([[0], np.cumsum(lengths)])):
        tops = [truncate(run.part(start, stop), at_most) for run in runs]
        lists = np.concatenate([np.repeat(np.arange(stop - start), top.lengths()) for top in tops])
        docs, ranks = np.concatenate([top.docs for top in tops]), np.concatenate([top.ranks() for top in tops])
        order = np.lexsort((ranks, docs, lists))
        lists, docs, ranks = lists[order], docs[order], ranks[order]
        first = np.append(True, (np.diff(lists) > 0) | (np.diff(docs) != 0))[: len(lists)]  # of a document's ranks the best
        parts.append(ranked(lists[first], docs[first], 1.0 / ranks[first], stop - start, depth, ties))
    return join(parts)


def rerank(run: Run, scores: np.ndarray, depth: int | None, ties: np.ndarray) -> Run:
    """Order every list by new scores and keep the top ``depth``.

    Args:
        run: its own scores play no part.
        scores: (n_pairs,) new scores, pair by pair.
        depth: how many documents a list keeps; all of them where it is None.
        ties: (n_docs,) as :func:`rd_utils.data.runs.tie_order` gives it.

    Returns:
        The same lists with the new scores, rounded to 5 decimals before ranking.

    Raises:
        RetrievalError: there are more or fewer scores than pairs, or a score is no finite number.

    >>> run = Run(np.array([0, 3]), np.array([0, 1, 2], dtype=np.int32), np.array([9.0, 8.0, 7.0]))
    >>> rerank(run, np.array([-2.0, -0.5, -1.0]), depth=2, ties=np.arange(3)).docs.tolist()
    [1, 2]
    """
    if len(scores) != len(run.docs):
        raise RetrievalError(f"{len(scores)} scores for {len(run.docs)} candidates; expected one for each, in the same order")
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        row = run.rows()[bad[0]]
        raise RetrievalError(
            f"the re-ranking: {len(bad)} of {len(scores)} scores are no finite numbers, the first is that of the query in row {row}, the "
            f"document in row {run.docs[bad[0]]}; score these pairs again (in fp32, where a lower precision overflowed)"
        )
    parts = []
    for start, stop in blocks(run.offsets):
        part, inside = run.part(start, stop), slice(run.offsets[start], run.offsets[stop])
        rounded = np.round(np.asarray(scores[inside], dtype=np.float64), DECIMALS) + 0.0  # no score is -0.0
        lists = np.repeat(np.arange(stop - start), part.lengths())
        parts.append(ranked(lists, part.docs, rounded, stop - start, depth, ties))
    ordered = join(parts)
    return Run(ordered.offsets, ordered.docs, ordered.scores, run.keys)


def run_file_candidates(
    path: Path, query_ids: pd.Series, doc_ids: pd.Series, depth: int, ties: np.ndarray, dropped: dict[str, int] | None = None
) -> Run:
    """Take candidates from a run made elsewhere, in TREC format (also ``.gz``).

    Documents are ordered by (-score, doc_id), whatever the file's rank column says; queries that the collection does not have are left out.

    Args:
        path: of the run.
        query_ids: the ids of the collection's queries.
        doc_ids: the ids of its documents.
        depth: how many documents a query keeps.
        ties: (n_docs,) as :func:`rd_utils.data.runs.tie_order` gives it.
        dropped: takes the number of the pairs of other queries, such as those of another split, which are left out.

    Returns:
        One list a query, scores as in the file.

    Raises:
        RetrievalError: the file is missing or no run, names unknown documents, or has no query of the collection.
    """
    run = trec.scores(path, RetrievalError)
    docs, queries = rows_of(run["doc_id"], doc_ids), rows_of(run["query_id"], query_ids)
    unknown = run.loc[docs < 0, "doc_id"]
    if len(unknown):
        raise RetrievalError(
            f"{path} names {unknown.nunique()} documents that the collection does not have, the first is {unknown.iloc[0]!r}; "
            "give a run over the same documents, under the same ids"
        )
    known = queries >= 0
    if not known.any():
        raise RetrievalError(
            f"{path} has {run['query_id'].nunique()} queries, none of which is among the collection's {len(query_ids)}"
            + (f"; the first is {run['query_id'].iloc[0]!r}" if len(run) else "")
            + "; give a run over the queries of this split, under the same ids"
        )
    if dropped is not None:
        dropped["pairs_of_other_queries"] = int((~known).sum())
    scores = run["score"].to_numpy(dtype=np.float64)
    return ranked(queries[known], docs[known].astype(np.int32), scores[known], len(query_ids), depth, ties)


def neighbours(run: Run, depth: int) -> Run:
    """Leave every document out of the list that its own text found, and keep the next ``depth``.

    A document is known by its row, not by its place: a duplicate of it may well stand first.

    Args:
        run: a run whose keys are rows of documents, at least ``depth + 1`` deep.
        depth: how many neighbours a document keeps.

    >>> run = Run(np.array([0, 4]), np.array([0, 1, 2, 3], dtype=np.int32), np.array([9.0, 9.0, 5.0, 4.0]), keys=np.array([1]))
    >>> neighbours(run, depth=2).docs.tolist()
    [0, 2]
    """
    parts = [run.part(start, stop) for start, stop in blocks(run.offsets)]
    return join([truncate(part.keep(part.docs != part.rows()), depth) for part in parts])


def ranked(lists: np.ndarray, docs: np.ndarray, scores: np.ndarray, n_lists: int, depth: int | None, ties: np.ndarray) -> Run:
    """Sort scored pairs by (list, -score, tie) and keep the first ``depth`` of every list."""
    order = np.lexsort((ties[docs], -scores, lists))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(lists, minlength=n_lists))]).astype(np.int64)
    run = Run(offsets, docs[order], scores[order])
    return run if depth is None else truncate(run, depth)

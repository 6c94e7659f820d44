"""Candidates: the top documents of a retriever, as a run (query_id, doc_id, score), ties broken by doc_id.

BM25 (Robertson and Zaragoza, 2009) by bm25s: score(q, d) = sum over terms t of q of idf(t) * tf / (tf + k1 * (1 - b + b * |d| / avgdl)),
up to a constant factor, with

- lucene: idf(t) = log(1 + (N - n_t + 0.5) / (n_t + 0.5)), never negative;
- robertson: idf(t) = log((N - n_t + 0.5) / (n_t + 0.5)), floored at 0, so that words in more than half of the documents count nothing.

A query word that stands twice counts twice. Runs are derived from other runs by rank (pooled, cut) or by a teacher's scores (re-ranked).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rd_utils.progress import Track, untracked

DECIMALS = 5  # scores of models are rounded to 5 decimals before ranking: beyond that they depend on how pairs fell into batches


class RetrievalError(ValueError):
    """Candidates cannot be made as asked; the message names the first offender and the remedy."""


def tie_order(doc_ids: pd.Series | np.ndarray) -> np.ndarray:
    """Return each document's rank among the sorted doc_ids: the order in which equal scores are listed.

    >>> tie_order(np.array(["d9", "d10", "d1"], dtype=object)).tolist()
    [2, 1, 0]
    """
    order = np.empty(len(doc_ids), dtype=np.int64)
    order[np.argsort(np.asarray(doc_ids, dtype=object), kind="stable")] = np.arange(len(doc_ids))
    return order


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


def bm25_candidates(docs: pd.DataFrame, queries: pd.DataFrame, retriever: Any, depth: int, track: Track = untracked) -> pd.DataFrame:
    """Rank all documents by BM25 and keep the top ``depth`` of every query; documents that share no word are left out.

    Args:
        docs: doc_id, text.
        queries: query_id, text.
        retriever: :class:`rd_utils.params.BM25`.
        depth: how many documents a query keeps at the most.
        track: wraps an iterable to show progress.

    Returns:
        Run: query_id, doc_id, score (float64, rounded to 5 decimals before ranking).
    """
    index, words_of_queries = _bm25(docs, queries, retriever, track is not untracked)
    doc_ids, ties = docs["doc_id"].to_numpy(dtype=object), tie_order(docs["doc_id"])
    rows: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    for words in track(words_of_queries, "BM25 over the queries", len(words_of_queries)):
        if words:
            score = np.round(index.get_scores(words).astype(np.float64), 5)
            best = top_k(score, depth, ties, above=0.0)
        else:
            score, best = np.zeros(0), np.zeros(0, dtype=np.int64)
        rows.append(best)
        scores.append(score[best])
    return _run(queries, doc_ids, rows, scores)


def bm25_scorer(docs: pd.DataFrame, queries: pd.DataFrame, retriever: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return what scores pairs by BM25: maps (query_rows, doc_rows) to scores (n,), 0 where they share no word.

    Args:
        docs: doc_id, text.
        queries: query_id, text.
        retriever: :class:`rd_utils.params.BM25`.
    """
    index, words_of_queries = _bm25(docs, queries, retriever, False)

    def score(query_rows: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
        scores = np.zeros(len(query_rows))
        order = np.argsort(query_rows, kind="stable")
        for part in np.split(order, np.flatnonzero(np.diff(query_rows[order])) + 1):
            words = words_of_queries[query_rows[part[0]]] if len(part) else []
            if words:
                scores[part] = index.get_scores(words)[doc_rows[part]]
        return scores

    return score


def _bm25(docs: pd.DataFrame, queries: pd.DataFrame, retriever: Any, show: bool) -> tuple[Any, list[list[str]]]:
    """Return the index of the documents, and each query's words that it knows."""
    import bm25s

    stemmer = None
    if retriever.stemmer == "english":
        import Stemmer

        stemmer = Stemmer.Stemmer("english")
    stopwords = "en" if retriever.stopwords == "english" else None

    def tokens(texts: pd.Series, ids: bool) -> Any:
        return bm25s.tokenize(texts.tolist(), stopwords=stopwords, stemmer=stemmer, return_ids=ids, show_progress=show)

    index = bm25s.BM25(k1=retriever.k1, b=retriever.b, method=retriever.form, backend="numpy")
    index.index(tokens(docs["text"], True), show_progress=show)
    vocabulary = index.vocab_dict
    return index, [[word for word in words if word in vocabulary] for words in tokens(queries["text"], False)]


def dense_candidates(
    doc_ids: pd.Series, doc_vectors: np.ndarray, queries: pd.DataFrame, query_vectors: np.ndarray, depth: int
) -> pd.DataFrame:
    """Search the inner product exhaustively (faiss IndexFlatIP) and keep the top ``depth`` of every query.

    Args:
        doc_ids: the ids of the rows of ``doc_vectors``.
        doc_vectors: (n_docs, d) float32.
        queries: query_id, text.
        query_vectors: (n_queries, d) float32.
        depth: how many documents a query keeps.

    Returns:
        Run: query_id, doc_id, score (rounded to 5 decimals before ranking).
    """
    import faiss

    index = faiss.IndexFlatIP(doc_vectors.shape[1])
    index.add(np.ascontiguousarray(doc_vectors, dtype=np.float32))
    ids, ties = np.asarray(doc_ids, dtype=object), tie_order(doc_ids)
    wanted = min(len(ids), depth + max(20, depth // 5))  # a margin, so that ties at the boundary are settled by doc_id
    found_scores, found_rows = index.search(np.ascontiguousarray(query_vectors, dtype=np.float32), wanted)
    rows, scores = [], []
    for row_scores, row_ids in zip(np.round(found_scores.astype(np.float64), 5), found_rows, strict=True):
        order = np.lexsort((ties[row_ids], -row_scores))[:depth]
        rows.append(row_ids[order])
        scores.append(row_scores[order])
    return _run(queries, ids, rows, scores)


def _run(queries: pd.DataFrame, doc_ids: np.ndarray, rows: list[np.ndarray], scores: list[np.ndarray]) -> pd.DataFrame:
    lengths = [len(best) for best in rows]
    flat = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
    return pd.DataFrame(
        {
            "query_id": np.repeat(queries["query_id"].to_numpy(dtype=object), lengths),
            "doc_id": doc_ids[flat],
            "score": np.concatenate(scores) if scores else np.zeros(0),
        }
    ).astype({"query_id": "str", "doc_id": "str"})


# --- runs from other runs ---------------------------------------------------------------------------------------------------------


def truncate(run: pd.DataFrame, depth: int) -> pd.DataFrame:
    """Keep the first ``depth`` rows of every query of a ranked run."""
    return run.groupby("query_id", sort=False).head(depth).reset_index(drop=True)


def pooled_candidates(runs: list[pd.DataFrame], at_most: int, depth: int) -> pd.DataFrame:
    """Unite the top ``at_most`` of several runs, ordered by the best rank that any of them gave.

    It pools documents, not opinions: no scores are combined (for that see :func:`rd_utils.teachers.combine`).

    Args:
        runs: ranked runs, best first.
        at_most: how many documents of a query each run brings.
        depth: how many documents a query keeps.

    Returns:
        Run: query_id (sorted), doc_id, score = 1 / best rank, counted from 1 and not rounded.

    >>> one = pd.DataFrame({"query_id": "q", "doc_id": ["d1", "d2", "d3"], "score": [9.0, 8.0, 7.0]})
    >>> two = pd.DataFrame({"query_id": "q", "doc_id": ["d3", "d1", "d4"], "score": [0.3, 0.2, 0.1]})
    >>> pooled_candidates([one, two], at_most=2, depth=10)[["doc_id", "score"]].values.tolist()
    [['d1', 1.0], ['d3', 1.0], ['d2', 0.5]]
    """
    tops = [truncate(run, at_most) for run in runs]
    found = pd.concat([top.assign(score=1.0 / (top.groupby("query_id", sort=False).cumcount() + 1)) for top in tops])
    return _ranked(found.groupby(["query_id", "doc_id"], sort=False, as_index=False)["score"].max(), depth)


def rerank(candidates: pd.DataFrame, scores: np.ndarray, depth: int) -> pd.DataFrame:
    """Order every query's candidates by new scores and keep the top ``depth``.

    Args:
        candidates: run; its own scores play no part.
        scores: (len(candidates),) new scores, row by row.
        depth: how many documents a query keeps.

    Returns:
        Run: query_id (sorted), doc_id, score (the new one, rounded to 5 decimals before ranking).

    Raises:
        RetrievalError: there are more or fewer scores than candidates, or a score is no finite number.

    >>> candidates = pd.DataFrame({"query_id": "q", "doc_id": ["d1", "d2", "d3"], "score": [9.0, 8.0, 7.0]})
    >>> rerank(candidates, np.array([-2.0, -0.5, -1.0]), depth=2)["doc_id"].tolist()
    ['d2', 'd3']
    """
    if len(scores) != len(candidates):
        raise RetrievalError(f"{len(scores)} scores for {len(candidates)} candidates; expected one for each, in the same order")
    return _ranked(_checked(candidates.assign(score=np.round(np.asarray(scores, dtype=np.float64), DECIMALS)), "the re-ranking"), depth)


def run_file_candidates(path: Path, queries: pd.DataFrame, doc_ids: pd.Series, depth: int) -> pd.DataFrame:
    """Take candidates from a run made elsewhere, in TREC format (also ``.gz``).

    Documents are ordered by (-score, doc_id), whatever the file's rank column says; queries that the collection does not have are left out.

    Args:
        path: of the run.
        queries: query_id, text.
        doc_ids: the ids of the collection's documents.
        depth: how many documents a query keeps.

    Returns:
        Run: query_id (sorted), doc_id, score as in the file.

    Raises:
        RetrievalError: the file is missing or no run, names unknown documents, or has no query of the collection.
    """
    run = read_pairs(path)
    unknown = run.loc[~run["doc_id"].isin(doc_ids), "doc_id"]
    if len(unknown):
        raise RetrievalError(
            f"{path} names {unknown.nunique()} documents that the collection does not have, the first is {unknown.iloc[0]!r}; "
            "give a run over the same documents, under the same ids"
        )
    known = run[run["query_id"].isin(queries["query_id"])]
    if known.empty:
        raise RetrievalError(
            f"{path} has {run['query_id'].nunique()} queries, none of which is among the collection's {len(queries)}"
            + (f"; the first is {run['query_id'].iloc[0]!r}" if len(run) else "")
            + "; give a run over the queries of this split, under the same ids"
        )
    return _ranked(known, depth)


def neighbours(run: pd.DataFrame, depth: int) -> pd.DataFrame:
    """Leave every document out of the list that its own text found, and keep the next ``depth``.

    A document is known by its id, not by its place: a duplicate of it may well stand first.

    Args:
        run: a run whose query_id is a doc_id, at least ``depth + 1`` deep.
        depth: how many neighbours a document keeps.

    Returns:
        The run without the rows in which query_id equals doc_id.

    >>> run = pd.DataFrame({"query_id": "d2", "doc_id": ["d1", "d2", "d3", "d4"], "score": [9.0, 9.0, 5.0, 4.0]})
    >>> neighbours(run, depth=2)["doc_id"].tolist()
    ['d1', 'd3']
    """
    return truncate(run[run["query_id"] != run["doc_id"]], depth)


def read_pairs(path: Path, error: type[ValueError] = RetrievalError) -> pd.DataFrame:
    """Read scored pairs: a Parquet file with query_id, doc_id and score, or a TREC run (also ``.gz``).

    Args:
        path: ``*.parquet``, or lines ``query_id Q0 doc_id rank score tag``.
        error: what to raise.

    Returns:
        Frame query_id, doc_id (str), score (float64), in the order of the file.

    Raises:
        error: the file is missing or lacks a column, an id is missing or a fraction, a score is no finite number, or a pair stands twice.
    """
    from rd_utils.evaluation import read_run

    columns = ["query_id", "doc_id", "score"]
    holds = "expected query_id, doc_id and score in a .parquet file, or a TREC run with lines: query_id Q0 doc_id rank score tag"
    if not path.is_file():
        raise error(f"there is no file {path}; {holds}; put it there, or correct the path")
    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else read_run(path)
    except ValueError as reason:
        raise error(f"{path} cannot be read ({reason}); {holds}") from reason
    absent = [column for column in columns if column not in frame.columns]
    if absent:
        raise error(f"{path} has no column {absent[0]!r}, only {', '.join(map(str, frame.columns)) or 'none at all'}; {holds}")
    frame = frame[columns].reset_index(drop=True)
    for column in columns[:2]:
        if frame[column].isna().any() or pd.api.types.is_float_dtype(frame[column]):
            raise error(f"{path}: some {column} is missing or a fraction; expected text (or whole numbers) in every row")
    return _checked(frame.astype({"query_id": "str", "doc_id": "str"}), str(path), error)


def _checked(run: pd.DataFrame, source: str, error: type[ValueError] = RetrievalError) -> pd.DataFrame:
    """Return scored pairs with float64 scores, of which each is a finite number and no pair stands twice."""
    run = run.assign(score=pd.to_numeric(run["score"], errors="coerce").astype(np.float64))
    bad = run[~np.isfinite(run["score"])]
    if len(bad):
        raise error(
            f"{source}: {len(bad)} of {len(run)} scores are no finite numbers, the first is that of query {bad['query_id'].iloc[0]!r}, "
            f"document {bad['doc_id'].iloc[0]!r}; score these pairs again (in fp32, where a lower precision overflowed)"
        )
    twice = run[run.duplicated(["query_id", "doc_id"])]
    if len(twice):
        raise error(
            f"{source}: {len(twice)} pairs stand twice, the first is query {twice['query_id'].iloc[0]!r}, document "
            f"{twice['doc_id'].iloc[0]!r}; keep one score of each pair"
        )
    return run


def _ranked(run: pd.DataFrame, depth: int) -> pd.DataFrame:
    """Sort scored pairs by (query_id, -score, doc_id) and keep the first ``depth`` of every query."""
    query_order, doc_order = (pd.factorize(run[column].to_numpy(dtype=object), sort=True)[0] for column in ("query_id", "doc_id"))
    return truncate(run.iloc[np.lexsort((doc_order, -run["score"].to_numpy(), query_order))], depth)

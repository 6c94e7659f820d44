"""Candidates: the top documents of a retriever, as a run (query_id, doc_id, score), ties broken by doc_id.

BM25 (Robertson and Zaragoza, 2009) by bm25s: score(q, d) = sum over terms t of q of idf(t) * tf / (tf + k1 * (1 - b + b * |d| / avgdl)),
up to a constant factor, with

- lucene: idf(t) = log(1 + (N - n_t + 0.5) / (n_t + 0.5)), never negative;
- robertson: idf(t) = log((N - n_t + 0.5) / (n_t + 0.5)), floored at 0, so that words in more than half of the documents count nothing.

A query word that stands twice counts twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from rd_utils.progress import Track, untracked


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
    import bm25s

    stemmer = None
    if retriever.stemmer == "english":
        import Stemmer

        stemmer = Stemmer.Stemmer("english")
    show = track is not untracked
    stopwords = "en" if retriever.stopwords == "english" else None

    def tokens(texts: pd.Series, ids: bool) -> Any:
        return bm25s.tokenize(texts.tolist(), stopwords=stopwords, stemmer=stemmer, return_ids=ids, show_progress=show)

    index = bm25s.BM25(k1=retriever.k1, b=retriever.b, method=retriever.form, backend="numpy")
    index.index(tokens(docs["text"], True), show_progress=show)
    doc_ids, ties = docs["doc_id"].to_numpy(dtype=object), tie_order(docs["doc_id"])
    vocabulary = index.vocab_dict
    rows: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    words_of_queries = tokens(queries["text"], False)
    for words in track(words_of_queries, "BM25 over the queries", len(words_of_queries)):
        known = [word for word in words if word in vocabulary]
        if known:
            score = np.round(index.get_scores(known).astype(np.float64), 5)
            best = top_k(score, depth, ties, above=0.0)
        else:
            score, best = np.zeros(0), np.zeros(0, dtype=np.int64)
        rows.append(best)
        scores.append(score[best])
    return _run(queries, doc_ids, rows, scores)


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

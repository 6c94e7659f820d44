"""Search by learned sparse vectors and by token vectors: exactly what a sort of all scores gives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import random as random_sparse

from rd_utils.mining import impacts, late
from rd_utils.mining.postings import PostingsError
from rd_utils.models.late_students import TokenVectors, maxsim

N_DOCS, N_QUERIES = 300, 12


def best(scores: np.ndarray, ties: np.ndarray, depth: int) -> np.ndarray:
    return np.array([np.lexsort((ties, -row.round(5)))[:depth] for row in scores])


def test_sparse_search_ranks_by_inner_products_and_leaves_out_what_shares_no_word():
    docs, queries = (
        random_sparse(n, 50, density, format="csr", dtype=np.float32, rng=n) for n, density in ((N_DOCS, 0.1), (N_QUERIES, 0.06))
    )
    ties = np.random.default_rng(0).permutation(N_DOCS)
    index = impacts.index(docs)
    run, one = impacts.search(index, queries, 20, ties), impacts.search(index, queries, 20, ties, workers=3)
    assert np.array_equal(run.docs, one.docs) and np.array_equal(run.scores, one.scores)
    scores = (queries @ docs.T).toarray().astype(np.float64)
    for query, expected in enumerate(best(scores, ties, 20)):
        own = run.part(query, query + 1)
        expected = expected[scores[query, expected] > 0]
        assert own.docs.tolist() == expected.tolist()
        np.testing.assert_allclose(own.scores, scores[query, expected], atol=2e-5)
    assert impacts.met(index, queries) == pytest.approx(((queries > 0) @ (docs > 0).T.astype(int)).sum() / N_QUERIES)


def test_weights_that_are_no_weights_are_refused():
    docs = random_sparse(5, 6, 0.5, format="csr", dtype=np.float32, rng=1)
    docs.data[0] = np.nan
    with pytest.raises(PostingsError, match="negative or not finite"):
        impacts.index(docs)


def token_vectors(n: int, seed: int, empty: int | None = None) -> TokenVectors:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 9, n)
    if empty is not None:
        lengths[empty] = 0
    vectors = rng.normal(size=(int(lengths.sum()), 6)).astype(np.float32)
    return TokenVectors(vectors, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def test_late_search_ranks_by_maxsim_in_any_blocks(monkeypatch):
    docs, queries = token_vectors(N_DOCS, 1), token_vectors(N_QUERIES, 2, empty=4)
    ties = np.random.default_rng(0).permutation(N_DOCS)
    whole = late.search(docs, queries, 20, ties)
    monkeypatch.setattr(late, "_TOKENS", 50)
    monkeypatch.setattr(late, "_PART", 5)
    parts = late.search(docs, queries, 20, ties)
    assert np.array_equal(whole.docs, parts.docs) and np.array_equal(whole.offsets, parts.offsets)
    scores = np.zeros((N_QUERIES, N_DOCS))
    for query in range(N_QUERIES):
        own = queries.vectors[queries.offsets[query] : queries.offsets[query + 1]]
        for doc in range(N_DOCS if len(own) else 0):
            products = own @ docs.vectors[docs.offsets[doc] : docs.offsets[doc + 1]].T
            scores[query, doc] = products.max(axis=1).astype(np.float64).sum()
    for query, expected in enumerate(best(scores, ties, 20)):
        listed = whole.part(query, query + 1)
        assert listed.docs.tolist() == ([] if query == 4 else expected.tolist())
    rows = np.repeat(np.arange(4), 3), np.tile([5, 7, 9], 4)
    np.testing.assert_allclose(maxsim(queries, rows[0], docs, rows[1]), scores[rows], rtol=1e-6)


def test_token_vectors_that_do_not_fit_are_refused():
    docs, queries = token_vectors(5, 1), token_vectors(3, 2)
    with pytest.raises(late.LateError, match="4 ids for the token vectors of 5 documents"):
        late.search(docs, queries, 2, np.arange(4))
    with pytest.raises(late.LateError, match="have 5 dimensions and those of queries 6"):
        late.search(docs._replace(vectors=docs.vectors[:, :5]), queries, 2, np.arange(5))
    queries.vectors[0, 0] = np.inf
    with pytest.raises(late.LateError, match="of a query is not finite"):
        late.search(docs, queries, 2, np.arange(5))

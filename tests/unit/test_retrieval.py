"""Candidates: BM25 against the formula, ties, dense search."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from rd_utils import params, retrieval


def frame(kind, texts):
    return pd.DataFrame({f"{kind}_id": list(texts), "text": list(texts.values())})


DOCS = {"d1": "cat cat mat", "d2": "cat dog", "d3": "dog dog dog bird", "d4": "fish", "d5": "fish bird"}
PLAIN = {"stemmer": "none", "stopwords": "none"}


def bm25(query, form, k1=1.2, b=0.75):
    """The formula, written out."""
    docs = {doc_id: text.split() for doc_id, text in DOCS.items()}
    mean = sum(map(len, docs.values())) / len(docs)
    scores = dict.fromkeys(docs, 0.0)
    for word in query.split():
        n = sum(word in words for words in docs.values())
        odds = (len(docs) - n + 0.5) / (n + 0.5)
        idf = math.log(1 + odds) if form == "lucene" else max(0.0, math.log(odds))
        for doc_id, words in docs.items():
            tf = words.count(word)
            scores[doc_id] += idf * tf / (tf + k1 * (1 - b + b * len(words) / mean))
    return scores


@pytest.mark.parametrize("form", ["lucene", "robertson"])
@pytest.mark.parametrize("query", ["cat", "cat dog", "bird bird fish"])
def test_bm25_is_the_stated_formula(form, query):
    run = retrieval.bm25_candidates(frame("doc", DOCS), frame("query", {"q": query}), params.BM25(form=form, **PLAIN), depth=5)
    expected = {doc_id: score for doc_id, score in bm25(query, form).items() if score > 0}
    found = dict(zip(run["doc_id"], run["score"], strict=True))
    ratio = {found[d] / expected[d] for d in expected}  # the published forms differ by the constant k1 + 1, which ranks nothing
    assert set(found) == set(expected)
    assert max(ratio) - min(ratio) < 1e-4
    assert min(abs(value - constant) for value in ratio for constant in (1.0, 2.2)) < 1e-4


def test_ties_are_listed_by_doc_id_also_at_the_cut():
    docs = {f"d{i}": "same words" for i in (3, 1, 2, 10)}
    run = retrieval.bm25_candidates(frame("doc", docs), frame("query", {"q": "same"}), params.BM25(**PLAIN), depth=3)
    assert run["doc_id"].tolist() == ["d1", "d10", "d2"]


def test_a_query_that_shares_no_word_has_no_candidates():
    run = retrieval.bm25_candidates(frame("doc", DOCS), frame("query", {"q": "zebra", "r": "fish"}), params.BM25(**PLAIN), depth=5)
    assert set(run["query_id"]) == {"r"}


def test_english_stems_and_stop_words():
    docs = {"d1": "the runner was running", "d2": "the walker"}
    run = retrieval.bm25_candidates(frame("doc", docs), frame("query", {"q": "the runs"}), params.BM25(), depth=5)
    assert run["doc_id"].tolist() == ["d1"]


def test_top_k_against_a_full_sort():
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 20, size=200).astype(float)
    ties = retrieval.tie_order(np.array([f"d{i}" for i in generator.permutation(200)], dtype=object))
    expected = sorted(range(200), key=lambda row: (-scores[row], ties[row]))
    for k in (1, 7, 50, 200, 300):
        assert retrieval.top_k(scores, k, ties).tolist() == expected[:k]
    assert retrieval.top_k(scores, 200, ties, above=10.0).tolist() == [row for row in expected if scores[row] > 10]


def test_dense_candidates_are_the_exact_inner_products():
    generator = np.random.default_rng(1)
    documents, queries = generator.standard_normal((30, 8)), generator.standard_normal((4, 8))
    documents[7] = documents[3]  # a tie
    ids = pd.Series([f"d{i:02d}" for i in range(30)])
    run = retrieval.dense_candidates(ids, documents, frame("query", {f"q{i}": "" for i in range(4)}), queries, depth=10)
    scores = np.round(queries.astype(np.float32) @ documents.astype(np.float32).T, 4)
    for i, (_, part) in enumerate(run.groupby("query_id")):
        expected = sorted(range(30), key=lambda row: (-scores[i, row], row))[:10]
        assert part["doc_id"].tolist() == [f"d{row:02d}" for row in expected]
        np.testing.assert_allclose(part["score"], scores[i, expected], atol=2e-4)

"""What is known of a collection before training: by hand, and of a study whose artefacts are there."""

from __future__ import annotations

import pandas as pd
import pytest

from rd_utils.analysis import prospects


def test_ranks_of_positives_and_the_fall_of_scores_by_hand() -> None:
    rows = [("q1", f"d{rank}", 20.0 - rank) for rank in range(1, 11)] + [("q2", "d1", 5.0), ("q2", "d2", 4.0)]
    candidates = pd.DataFrame(rows, columns=["query_id", "doc_id", "score"])
    labels = [("q1", "d4"), ("q1", "d2"), ("q2", "d9"), ("q2", "d2")]
    found = prospects.first_ranks(candidates, pd.DataFrame(labels, columns=["query_id", "doc_id"]))
    assert found["bm25_found"] == pytest.approx(3 / 4)
    assert found["bm25_reciprocal_rank"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert found["bm25_drop"] == pytest.approx(9 / 19)  # q2 has no rank 10


def test_a_query_whose_positives_are_not_found_counts_as_zero() -> None:
    candidates = pd.DataFrame({"query_id": ["q1"], "doc_id": ["d1"], "score": [1.0]})
    found = prospects.first_ranks(candidates, pd.DataFrame({"query_id": ["q1", "q2"], "doc_id": ["d1", "d1"]}))
    assert found["bm25_reciprocal_rank"] == pytest.approx(0.5)


def test_every_feature_is_described() -> None:
    docs = pd.DataFrame({"doc_id": ["d1"], "text": ["a word"]})
    queries = pd.DataFrame({"query_id": ["q"], "text": ["word"]})
    positives = pd.DataFrame({"query_id": ["q"], "doc_id": ["d1"]})
    candidates = pd.DataFrame({"query_id": ["q"], "doc_id": ["d1"], "score": [1.0]})
    found = {"documents", "training_queries", "positives", *prospects.shared_words(docs, queries, positives)}
    found |= {*prospects.first_ranks(candidates, positives), *prospects.against_positive(pd.DataFrame([[1.0, 0.0]]).to_numpy())}
    assert found == set(prospects.FEATURES)

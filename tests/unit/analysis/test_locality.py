"""Locality: hand values, scipy as the oracle, invariances, and the corrected rules."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import pdist

from rd_utils.analysis import locality
from rd_utils.analysis.locality import LocalityError


@pytest.fixture
def vectors():
    """60 embeddings in a narrow cone, as contextual embeddings are, of unequal norms."""
    generator = np.random.default_rng(0)
    cone = generator.normal(size=(60, 12)) + 2.0
    return (cone * generator.uniform(0.1, 20, size=(60, 1))).astype(np.float32)


@pytest.fixture
def doc_rows():
    generator = np.random.default_rng(1)
    return np.stack([generator.choice(60, size=5, replace=False) for _ in range(40)])


# --- distances within a group ---


def test_a_right_triangle_by_hand():
    """Embeddings along (1, 0), (0, 1) and (1, 1): right angle, half of it, half of it."""
    group = np.array([[[3.0, 0.0], [0.0, 4.0], [1.0, 1.0]]])
    half = 1 - math.sqrt(0.5)
    np.testing.assert_allclose(locality.pairwise_distances(group), [[1.0, half, half]])
    np.testing.assert_allclose(
        locality.pairwise_distances(group, distance="euclidean"), [[math.sqrt(2), math.sqrt(2 * half), math.sqrt(2 * half)]]
    )


def test_orthogonal_opposite_and_equal_documents():
    np.testing.assert_allclose(locality.pairwise_distances(np.eye(4)[None]), np.ones((1, 6)))
    opposite = np.array([[[1.0, 2.0], [-2.0, -4.0]], [[1.0, 2.0], [0.5, 1.0]]])
    np.testing.assert_allclose(locality.pairwise_distances(opposite), [[2.0], [0.0]], atol=1e-15)
    np.testing.assert_allclose(locality.pairwise_distances(opposite, distance="euclidean"), [[2.0], [0.0]], atol=1e-7)


def test_distances_agree_with_scipy(vectors, doc_rows):
    groups = vectors[doc_rows].astype(np.float64)
    unit = groups / np.linalg.norm(groups, axis=2, keepdims=True)
    np.testing.assert_allclose(locality.pairwise_distances(vectors[doc_rows]), [pdist(group, "cosine") for group in groups], atol=1e-12)
    euclidean = locality.pairwise_distances(vectors[doc_rows], distance="euclidean")
    np.testing.assert_allclose(euclidean, [pdist(group) for group in unit], atol=1e-12)


def test_erratum_28_embeddings_are_normalised_over_their_own_dimensions(vectors, doc_rows):
    groups = vectors[doc_rows]
    unit = locality._normalised(groups, doc_rows, "{}")
    np.testing.assert_allclose(np.linalg.norm(unit, axis=-1), np.ones(doc_rows.shape))
    each = np.random.default_rng(2).uniform(0.01, 100, size=(*doc_rows.shape, 1))  # a length is no direction
    np.testing.assert_allclose(locality.pairwise_distances(groups * each), locality.pairwise_distances(groups), atol=1e-6)
    across_the_group = groups / np.linalg.norm(groups, axis=1, keepdims=True)
    assert not np.allclose(np.linalg.norm(across_the_group, axis=-1), 1, atol=0.1)
    assert not np.allclose(locality.pairwise_distances(across_the_group), locality.pairwise_distances(groups), atol=0.01)


# --- diameters ---


def test_diameters_are_max_quantile_and_mean(vectors, doc_rows):
    measured = locality.diameters(vectors, doc_rows)
    expected = [pdist(vectors[rows].astype(np.float64), "cosine") for rows in doc_rows]
    assert list(measured.columns) == ["diameter", "diameter_q99", "mean_distance"]
    np.testing.assert_allclose(measured["diameter"], [max(part) for part in expected], atol=1e-12)
    np.testing.assert_allclose(measured["diameter_q99"], [np.quantile(part, 0.99) for part in expected], atol=1e-12)
    np.testing.assert_allclose(measured["mean_distance"], [part.mean() for part in expected], atol=1e-12)


def test_the_quantile_is_linear_between_two_pairs():
    """Of the distances 0, 1, 1 the 0.25-quantile stands halfway between the first and the second."""
    measured = locality.diameters(np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), np.array([[0, 1, 2]]), alpha=0.25)
    assert measured["diameter_q99"].tolist() == [0.5]


def test_erratum_29_each_group_keeps_its_own_value_in_every_block(monkeypatch, vectors, doc_rows):
    whole = locality.diameters(vectors, doc_rows)
    pd.testing.assert_frame_equal(locality.diameters(vectors, doc_rows[::-1]), whole[::-1].reset_index(drop=True))
    distances = locality.pairwise_distances(vectors[doc_rows])
    for values in (1, 5 * (12 + 5) * 7):  # a group a block; seven groups a block, the last one smaller
        monkeypatch.setattr(locality, "_BLOCK_VALUES", values)
        assert len(locality._blocks(40, 5, 12)) == {1: 40}.get(values, 6)
        pd.testing.assert_frame_equal(locality.diameters(vectors, doc_rows), whole, rtol=1e-12)
        np.testing.assert_allclose(locality.pairwise_distances(vectors[doc_rows]), distances, atol=1e-12)


def test_erratum_30_the_distance_is_the_one_named_and_the_maximum_stands_beside_the_quantile(vectors, doc_rows):
    cosine, euclidean = (locality.diameters(vectors, doc_rows, distance=name) for name in ("cosine", "euclidean"))
    np.testing.assert_allclose(euclidean["diameter"] ** 2 / 2, cosine["diameter"])
    assert (cosine["diameter_q99"] < cosine["diameter"]).all()
    np.testing.assert_allclose(locality.diameters(vectors, doc_rows, alpha=1.0)["diameter_q99"], cosine["diameter"])


def test_erratum_31_a_diameter_is_a_distance_and_no_score(vectors, doc_rows):
    """It does not change with the order of a group's documents or with a rotation, and is 0 for copies of one document."""
    whole = locality.diameters(vectors, doc_rows)
    assert ((whole["diameter"] > 0) & (whole["diameter"] <= 2)).all()
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(12, 12)))[0]
    for same in (locality.diameters(vectors, doc_rows[:, ::-1]), locality.diameters(vectors.astype(np.float64) @ rotation, doc_rows)):
        np.testing.assert_allclose(same, whole, atol=1e-12)
    np.testing.assert_allclose(locality.diameters(vectors, np.full((1, 4), 7)), np.zeros((1, 3)), atol=1e-15)
    more = np.column_stack([doc_rows, (doc_rows[:, 0] + 1) % 60])
    assert (locality.diameters(vectors, more)["diameter"] >= whole["diameter"]).all()


def test_no_groups_give_no_rows(vectors):
    assert locality.diameters(vectors, np.zeros((0, 4), dtype=int)).shape == (0, 3)
    assert locality.pairwise_distances(np.zeros((0, 4, 2))).shape == (0, 6)


def test_what_has_no_direction_is_named(monkeypatch, vectors):
    for wrong in (np.nan, np.inf):
        broken = vectors.copy()
        broken[17] = wrong
        with pytest.raises(LocalityError, match="3 embeddings are zero or not finite, the first is document row 17"):
            locality.diameters(broken, np.array([[1, 2, 3], [4, 17, 5], [17, 17, 6]]))
        assert len(locality.diameters(broken, np.array([[1, 2, 3]]))) == 1  # no group needs it
    for values in (locality._BLOCK_VALUES, 1):  # in the first block, and in the second
        monkeypatch.setattr(locality, "_BLOCK_VALUES", values)
        with pytest.raises(LocalityError, match="the first is row 2 of all groups"):
            locality.pairwise_distances(np.array([[[1.0], [2.0]], [[0.0], [1.0]]]))


def test_a_text_without_a_word_is_left_out_of_its_group():
    """Of documents in the directions 0, 90 and 180 degrees, the fourth has none: the first group is as wide as without it."""
    vectors = np.array([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, 0.0]])
    found = locality.diameters(vectors, np.array([[0, 1, 3], [0, 1, 2], [3, 0, 3], [3, 3, 3]]))
    assert found["diameter"].tolist()[:2] == [1.0, 2.0] and found["mean_distance"].round(6).tolist()[:2] == [1.0, 1.333333]
    assert found.iloc[2:].isna().all(axis=None)


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        ([[1, 60]], {}, "1 document rows do not exist, the first is 60; there are 60"),
        ([[1, -1]], {}, "the first is -1"),
        ([[1], [2]], {}, "groups have 1 documents; expected at least 2"),
        ([1, 2], {}, r"expected \(n_docs, d\) and \(n, group\)"),
        ([[1, 2]], {"alpha": 0.0}, "alpha is 0.0"),
        ([[1, 2]], {"distance": "manhattan"}, "unknown distance 'manhattan'; choose one of cosine, euclidean"),
    ],
)
def test_diameters_refuse_what_they_cannot_measure(vectors, rows, settings, message):
    with pytest.raises(LocalityError, match=message):
        locality.diameters(vectors, np.array(rows), **settings)


# --- density ratio ---


def test_density_ratio_by_hand():
    uniform = np.full(4, 0.25)
    assert locality.density_ratio(uniform, uniform) == 1.0
    assert locality.density_ratio(np.array([1.0, 0, 0, 0]), uniform) == 4.0
    assert locality.density_ratio(uniform, np.array([0.5, 0.5, 0.0, 0.0])) == math.inf
    assert locality.density_ratio(np.array([0.5, 0.5, 0, 0]), np.array([0.5, 0.25, 0.25, 0])) == 2.0  # 0 / 0 is off the support


def test_erratum_35_a_density_ratio_is_never_below_1_and_scores_are_refused():
    generator = np.random.default_rng(0)
    for concentration in (0.05, 1.0, 100.0):
        for _ in range(100):
            target, sampling = generator.dirichlet(np.full(6, concentration), size=2) + 1e-12
            target, sampling = target / target.sum(), sampling / sampling.sum()
            kappa = locality.density_ratio(target, sampling)
            assert kappa >= 1
            assert kappa == pytest.approx(max(m / n for m, n in zip(target, sampling, strict=True)))
            order = generator.permutation(6)
            assert locality.density_ratio(target[order], sampling[order]) == pytest.approx(kappa)
    scores = np.array([-0.1, -2.0, -3.0])
    with pytest.raises(LocalityError, match="sampling has 3 negative or missing probabilities, the first is -0.1 at position 0"):
        locality.density_ratio(np.full(3, 1 / 3), scores)
    with pytest.raises(LocalityError, match="target sums to 15; expected 1 within 1e-6: divide inclusion probabilities"):
        locality.density_ratio(np.array([7.0, 8.0]), np.array([0.5, 0.5]))
    with pytest.raises(LocalityError, match="1 negative or missing"):
        locality.density_ratio(np.array([np.nan, 1.0]), np.array([0.5, 0.5]))
    with pytest.raises(LocalityError, match="over the same documents"):
        locality.density_ratio(np.array([1.0]), np.array([0.5, 0.5]))


# --- coverage ---

GROUPS = [["d1", "d2", "d3"], ["d1", "d4", "d5"], ["d6", "d7", "d8"]]


@pytest.mark.parametrize(("sampled", "expected"), [(None, 0.75), (9, 0.75), (7, 0.75), (6, 0.5), (5, 0.25), (4, 0.25), (1, 0.25)])
def test_erratum_36_coverage_counts_equal_numbers_of_sampled_documents(sampled, expected):
    """d1, d5 and d6 are found, at the first, sixth and seventh place."""
    assert locality.coverage(GROUPS, {"d1", "d5", "d6", "elsewhere"}, sampled=sampled) == expected


def test_coverage_takes_a_stream_of_arrays_and_refuses_too_few_documents():
    arrays = (np.array(group, dtype=object) for group in GROUPS)
    assert locality.coverage(arrays, {"d8", "d9"}) == 0.5
    with pytest.raises(LocalityError, match="the groups hold 9 documents, fewer than the 10 asked for"):
        locality.coverage(GROUPS, {"d1"}, sampled=10)
    with pytest.raises(LocalityError, match="no documents are wanted"):
        locality.coverage(GROUPS, set())
    with pytest.raises(LocalityError, match="sampled is 0"):
        locality.coverage(GROUPS, {"d1"}, sampled=0)


# --- over a training set ---


def test_a_summary_is_median_interval_and_quantile():
    values = np.random.default_rng(0).normal(size=400)
    summary = locality.summarise(pd.DataFrame({"diameter": values, "shifted": 10 + 2 * values}), seed=1)
    assert list(summary.columns) == ["quantity", "n_groups", "median", "low", "high", "q99"]
    one, two = summary.itertuples(index=False)
    assert (one.quantity, one.n_groups) == ("diameter", 400)
    assert (one.median, one.q99) == (np.median(values), np.quantile(values, 0.99))
    np.testing.assert_allclose(two[2:], 10 + 2 * np.array(one[2:]))
    assert one.low < one.median < one.high
    # the standard error of a normal median is sqrt(pi / 2 / n) = 0.0627, so the interval is about 0.246 wide
    assert 0.16 < one.high - one.low < 0.34


def test_erratum_30_a_lone_outlier_moves_no_number_of_the_summary_much():
    values = np.random.default_rng(0).uniform(0.2, 0.4, size=500)
    spoilt = values.copy()
    spoilt[0] = 2.0
    clean, wild = (locality.summarise(pd.DataFrame({"diameter": part}), seed=0).iloc[0, 2:] for part in (values, spoilt))
    assert np.abs((clean - wild).astype(float)).max() < 0.01


def test_the_interval_holds_the_median_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        row = locality.summarise(pd.DataFrame({"x": generator.exponential(size=60)}), seed=0, n_resamples=400, level=0.9).iloc[0]
        held += row["low"] <= math.log(2) <= row["high"]
    assert 0.83 <= held / 200 <= 0.97  # 0.9, give or take 3 standard errors


def test_a_summary_depends_on_the_seed_alone():
    frame = pd.DataFrame({"a": np.random.default_rng(0).normal(size=50), "b": np.arange(50)})
    pd.testing.assert_frame_equal(locality.summarise(frame, seed=0), locality.summarise(frame, seed=0))
    alone = locality.summarise(frame[["b"]], seed=0)
    pd.testing.assert_frame_equal(locality.summarise(frame, seed=0)[1:].reset_index(drop=True), alone)
    constant = locality.summarise(pd.DataFrame({"a": np.full(5, 0.25)}), seed=0).iloc[0]
    assert constant[["median", "low", "high", "q99"]].tolist() == [0.25] * 4


def test_a_summary_refuses_what_has_no_median():
    with pytest.raises(LocalityError, match="1 of 3 values of kappa are not finite, the first is inf in group 1; count these groups apart"):
        locality.summarise(pd.DataFrame({"kappa": [1.0, np.inf, 2.0]}), seed=0)
    with pytest.raises(LocalityError, match="1 groups; expected at least 2"):
        locality.summarise(pd.DataFrame({"kappa": [1.0]}), seed=0)
    with pytest.raises(LocalityError, match="level is 95"):
        locality.summarise(pd.DataFrame({"kappa": [1.0, 2.0]}), seed=0, level=95)

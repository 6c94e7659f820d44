"""A student's behaviour: manifolds of known dimension and density, values by hand, scipy and brute force as oracles."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats
from scipy.spatial.distance import cdist, pdist

from rd_utils.analysis import behaviour, correlation
from rd_utils.analysis.behaviour import Calibration, Dimension
from rd_utils.scoring import entropy


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def sphere(dimension: int, n: int = 2000, seed: int = 0, ambient: int = 20) -> np.ndarray:
    """n points, uniform on the unit sphere of that dimension, turned into an ambient space."""
    points = np.random.default_rng(seed).normal(size=(n, dimension + 1))
    turn = np.linalg.qr(np.random.default_rng(99).normal(size=(ambient, ambient)))[0][: dimension + 1]
    return points / np.linalg.norm(points, axis=1, keepdims=True) @ turn


@pytest.fixture
def vectors():
    """80 embeddings in a cone, of unequal norms."""
    generator = np.random.default_rng(0)
    return (generator.normal(size=(80, 12)) + 1.0) * generator.uniform(0.1, 20, size=(80, 1))


def unit_of(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


# --- intrinsic dimension ---


@pytest.mark.parametrize("distance", ["euclidean", "angular"])
@pytest.mark.parametrize(("dimension", "tolerance"), [(1, 0.1), (2, 0.15), (5, 0.4)])
def test_two_nn_finds_the_dimension_of_a_manifold_in_20_dimensions(dimension, tolerance, distance):
    found = [behaviour.two_nn(sphere(dimension, seed=seed), distance=distance).dimension for seed in range(3)]
    assert np.abs(np.array(found) - dimension).max() < tolerance


def test_two_nn_is_the_line_through_the_origin(vectors):
    """Facco et al., step by step, with all distances at once."""
    near = np.sort(cdist(unit_of(vectors), unit_of(vectors)), axis=1)
    x = np.log(np.sort(near[:, 2] / near[:, 1]))[:60]
    y = -np.log(1 - np.arange(1, 81) / 80 + (np.arange(80) == 79))[:60]
    slope = np.linalg.lstsq(x[:, None], y, rcond=None)[0][0]
    assert behaviour.two_nn(vectors, discard=0.25) == Dimension(pytest.approx(slope, rel=1e-9), 80, 0)


def test_two_nn_leaves_the_last_ratio_out_even_when_nothing_is_discarded(vectors):
    near = np.sort(cdist(unit_of(vectors), unit_of(vectors)), axis=1)
    x = np.log(np.sort(near[:, 2] / near[:, 1]))[:79]
    y = -np.log(1 - np.arange(1, 80) / 80)
    assert behaviour.two_nn(vectors, discard=0.0).dimension == pytest.approx(x @ y / (x @ x), rel=1e-9)


def test_copies_are_removed_and_counted_wherever_they_stand():
    points = sphere(2, n=500)
    alone = behaviour.two_nn(points)
    assert alone.n_used == 500 and alone.n_duplicates == 0
    scaled = 7.3 * points[100:200]  # another length, the same direction
    rounded = points[:50].astype(np.float32).astype(np.float64)
    found = behaviour.two_nn(np.concatenate([points, points[:30], scaled, rounded]))
    assert found == Dimension(pytest.approx(alone.dimension, rel=1e-9), 500, 180)
    shuffled = np.random.default_rng(1).permutation(np.concatenate([points, points[:30], points[:30]]))
    assert behaviour.two_nn(shuffled) == Dimension(pytest.approx(alone.dimension, rel=1e-9), 500, 60)


def test_two_nn_does_not_change_with_rotation_length_and_blocks(monkeypatch, vectors):
    whole = behaviour.two_nn(vectors)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(12, 12)))[0]
    assert behaviour.two_nn(3 * vectors[::-1] @ turn).dimension == pytest.approx(whole.dimension, rel=1e-9)
    for values in (1, 80 * 7):
        monkeypatch.setattr(behaviour, "_BLOCK_VALUES", values)
        assert behaviour.two_nn(np.concatenate([vectors, vectors[:9]])) == Dimension(pytest.approx(whole.dimension, rel=1e-9), 80, 9)


def test_erratum_34_one_minus_cos_is_refused_as_it_halves_the_dimension():
    points = sphere(2)
    for function in (behaviour.two_nn, lambda *a, **k: behaviour.knn_density(*a, dimension=2, **k)):
        with pytest.raises(ValueError, match="1 - cos is no metric.*choose euclidean or angular"):
            function(points, distance="cosine")
        with pytest.raises(ValueError, match="unknown distance 'euclid'; did you mean 'euclidean'"):
            function(points, distance="euclid")
    near = np.sort(cdist(points, points, "cosine"), axis=1)  # what the refused one would have come to
    x = np.log(np.sort(near[:, 2] / near[:, 1]))[:1800]
    y = -np.log(1 - np.arange(1, 1801) / 2000)
    assert x @ y / (x @ x) == pytest.approx(behaviour.two_nn(points).dimension / 2, rel=1e-3)


@pytest.mark.parametrize(
    ("broken", "settings", "message"),
    [
        (lambda v: v[:19], {}, "19 of 19 embeddings are distinct; expected at least 20"),
        (lambda v: np.concatenate([v[:19], v[:19]]), {}, "19 of 38 embeddings are distinct"),
        (lambda v: v * (np.arange(80) != 17)[:, None], {}, "1 of 80 embeddings of vectors are zero, the first is row 17"),
        (
            lambda v: np.where(np.arange(80)[:, None] >= 78, np.nan, v),
            {},
            "2 of 80 embeddings of vectors are not finite, the first is row 78",
        ),
        (lambda v: v[0], {}, r"vectors has shape \(12,\); expected \(n, d\)"),
        (lambda v: v[:0], {}, r"vectors has shape \(0, 12\)"),
        (lambda v: np.eye(30), {}, "the two nearest neighbours of all 27 fitted points are equally far"),
        (lambda v: v, {"discard": 0.6}, r"discard is 0.6; expected .* in \[0, 0.5\]"),
        (lambda v: v, {"discard": -0.1}, "discard is -0.1"),
    ],
)
def test_two_nn_refuses_what_it_cannot_measure(vectors, broken, settings, message):
    with pytest.raises(ValueError, match=message):
        behaviour.two_nn(broken(vectors), **settings)


# --- density ---


@pytest.mark.parametrize("distance", ["euclidean", "angular"])
@pytest.mark.parametrize("k", [1, 3, 10])
def test_knn_density_agrees_with_brute_force(monkeypatch, vectors, distance, k):
    far = cdist(unit_of(vectors), unit_of(vectors))
    if distance == "angular":
        far = np.arccos(np.clip(unit_of(vectors) @ unit_of(vectors).T, -1, 1))
    np.fill_diagonal(far, np.inf)
    radius = np.sort(far, axis=1)[:, k - 1]
    expected = np.log(k / 79 / (4 / 3 * math.pi * radius**3))  # the volume of a ball
    for values in (behaviour._BLOCK_VALUES, 1, 80 * 20):
        monkeypatch.setattr(behaviour, "_BLOCK_VALUES", values)
        np.testing.assert_allclose(behaviour.knn_density(vectors, k=k, dimension=3, distance=distance), expected, rtol=1e-9)


def test_the_density_of_a_uniform_sphere_is_one_over_its_area():
    """1 / (4 pi) on the two-dimensional sphere; in expectation the logarithm is higher by log k - digamma(k), known exactly."""
    found = behaviour.knn_density(sphere(2, n=4000), k=10, dimension=2)
    assert found.mean() == pytest.approx(-math.log(4 * math.pi) + math.log(10) - special.digamma(10), abs=0.03)
    assert found.std() == pytest.approx(math.sqrt(special.polygamma(1, 10)), abs=0.05)  # of the log of a gamma variable


def test_a_denser_part_has_the_higher_density():
    """Three quarters of the points on a half of a circle have three times the density of the other half, whatever the number of points."""
    generator = np.random.default_rng(0)
    for n in (1000, 4000):
        upper = np.arange(n) < 3 * n // 4
        angles = np.where(upper, 0, math.pi) + generator.uniform(0, math.pi, n)
        density = behaviour.knn_density(np.column_stack([np.cos(angles), np.sin(angles)]), k=20, dimension=1, distance="angular")
        np.testing.assert_allclose([density[upper].mean(), density[~upper].mean()], np.log([0.75 / math.pi, 0.25 / math.pi]), atol=0.07)


def test_erratum_34_a_point_is_excluded_by_its_index_and_its_copy_is_not(vectors):
    """The first hit of a copied point is itself or its copy, as it happens; its nearest neighbour is the copy, its second another point."""
    copied = np.concatenate([vectors[5:6], vectors])  # rows 0 and 6 are one point
    far = np.sort(cdist(unit_of(copied), unit_of(copied)), axis=1)[:, 2]
    density = behaviour.knn_density(copied, k=2, dimension=1)
    np.testing.assert_allclose(density, np.log(2 / 80 / (2 * far)), rtol=1e-9)
    assert density[0] == density[6]
    with pytest.raises(ValueError, match="2 of 81 embeddings have 1 or more copies, the first is row 0: their density is infinite"):
        behaviour.knn_density(copied, k=1, dimension=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "k is 0 with 80 embeddings"),
        ({"k": 80}, "k is 80 with 80 embeddings; expected at least 1 and fewer"),
        ({"dimension": 0.0}, "dimension is 0.0; expected a positive"),
        ({"dimension": math.nan}, "dimension is nan"),
    ],
)
def test_knn_density_refuses_what_it_cannot_measure(vectors, settings, message):
    with pytest.raises(ValueError, match=message):
        behaviour.knn_density(vectors, **({"dimension": 2.0} | settings))


# --- spread ---


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_effective_rank_of_k_equal_directions_is_k(k):
    both_ways = np.concatenate([np.eye(8)[:k], -np.eye(8)[:k]]) * 3.0
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
    for moved in (both_ways, both_ways @ turn, both_ways @ turn + np.arange(8)):
        assert behaviour.effective_rank(moved) == pytest.approx(k)
    assert behaviour.effective_rank(both_ways @ turn, centred=False) == pytest.approx(k)


def test_unequal_directions_count_by_their_share():
    """Singular values 3 and 1: entropy of (3/4, 1/4)."""
    expected = math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert behaviour.effective_rank(np.array([[3.0, 0.0], [0.0, 1.0]]), centred=False) == pytest.approx(expected)


def test_a_common_mean_is_a_direction_only_where_it_is_not_subtracted():
    cone = np.random.default_rng(0).normal(size=(500, 6)) + 100.0
    assert behaviour.effective_rank(cone) > 5.9
    assert behaviour.effective_rank(cone, centred=False) < 1.5


def test_effective_rank_refuses_what_does_not_spread():
    with pytest.raises(ValueError, match="3 embeddings are all equal"):
        behaviour.effective_rank(np.full((3, 4), 0.1))
    with pytest.raises(ValueError, match="3 embeddings are all zero"):
        behaviour.effective_rank(np.zeros((3, 4)), centred=False)
    with pytest.raises(ValueError, match="1 of 2 embeddings of vectors are not finite, the first is row 1"):
        behaviour.effective_rank(np.array([[1.0], [np.inf]]))


def test_uniformity_by_hand():
    """A right angle and two times half of it: squared distances 2, 2 - sqrt 2, 2 - sqrt 2."""
    fan = np.array([[5.0, 0.0], [0.0, 0.1], [1.0, 1.0]])
    near = 2 - math.sqrt(2)
    assert behaviour.uniformity(fan) == pytest.approx(math.log((math.exp(-4) + 2 * math.exp(-2 * near)) / 3))
    assert behaviour.uniformity(fan, t=0.5) == pytest.approx(math.log((math.exp(-1) + 2 * math.exp(-0.5 * near)) / 3))
    assert behaviour.uniformity(np.array([[1.0, 0.0], [-3.0, 0.0]])) == pytest.approx(-8)
    assert behaviour.uniformity(np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])) == pytest.approx(0, abs=1e-12)


def test_uniformity_is_over_all_pairs_in_every_block(monkeypatch, vectors):
    expected = math.log(np.exp(-2 * pdist(unit_of(vectors)) ** 2).mean())
    for values in (behaviour._BLOCK_VALUES, 1, 80 * 7):
        monkeypatch.setattr(behaviour, "_BLOCK_VALUES", values)
        assert behaviour.uniformity(vectors) == pytest.approx(expected)
    assert np.isfinite(behaviour.uniformity(vectors, t=1e5))  # where every exp alone is 0


def test_uniformity_refuses_what_it_cannot_measure(vectors):
    with pytest.raises(ValueError, match="1 embedding; expected at least 2"):
        behaviour.uniformity(vectors[:1])
    for t in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=f"t is {t}"):
            behaviour.uniformity(vectors, t=t)
    with pytest.raises(ValueError, match="are zero, the first is row 1"):
        behaviour.uniformity(np.array([[1.0], [0.0]]))


def test_alignment_by_hand(vectors):
    """The same direction 0, a right angle 2, the opposite 4."""
    x = np.array([[3.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    y = np.array([[1.0, 0.0], [0.0, 5.0], [0.0, -2.0]])
    assert behaviour.alignment(x, y) == pytest.approx(2.0)
    assert behaviour.alignment(vectors, 5 * vectors) == pytest.approx(0, abs=1e-12)
    expected = np.mean(np.diag(cdist(unit_of(vectors), unit_of(vectors[::-1]), "sqeuclidean")))
    assert behaviour.alignment(vectors, vectors[::-1]) == pytest.approx(expected)


def test_alignment_refuses_what_is_not_paired(vectors):
    with pytest.raises(ValueError, match=r"queries has shape \(80, 12\), positives \(79, 12\)"):
        behaviour.alignment(vectors, vectors[1:])
    with pytest.raises(ValueError, match="1 of 80 embeddings of positives are zero, the first is row 3"):
        behaviour.alignment(vectors, vectors * (np.arange(80) != 3)[:, None])


# --- the shape of scores ---


def test_score_shape_by_hand():
    """0, 0, 0, 4: mean 1, m2 = 3, m3 = 6, m4 = 21."""
    shape = behaviour.score_shape([[0.0, 4.0, 0.0, 0.0], [1.0, 2.0, 4.0, 3.0]])
    assert list(shape.columns) == ["mean", "sd", "skewness", "kurtosis", "range", "gap"]
    np.testing.assert_allclose(shape.loc[0], [1, math.sqrt(3), 6 / 3**1.5, 21 / 9 - 3, 4, 4])
    np.testing.assert_allclose(shape.loc[1], [2.5, math.sqrt(1.25), 0, 2.5625 / 1.25**2 - 3, 3, 1], atol=1e-12)


def test_score_shape_agrees_with_scipy_and_does_not_depend_on_place_and_scale():
    scores = np.random.default_rng(0).gamma(2.0, size=(50, 16))
    shape = behaviour.score_shape(scores)
    np.testing.assert_allclose(shape["skewness"], stats.skew(scores, axis=1))
    np.testing.assert_allclose(shape["kurtosis"], stats.kurtosis(scores, axis=1))
    np.testing.assert_allclose(shape["sd"], scores.std(axis=1))
    moved = behaviour.score_shape(1e6 + scores * 1e-3)  # scipy alone warns of what is lost here
    np.testing.assert_allclose(moved[["skewness", "kurtosis"]], shape[["skewness", "kurtosis"]], atol=1e-4)
    np.testing.assert_allclose(moved[["sd", "range", "gap"]], shape[["sd", "range", "gap"]] * 1e-3, atol=1e-8)


def test_groups_without_spread_keep_their_rows_and_have_no_shape():
    shape = behaviour.score_shape([[0.1] * 3, [0.0, 0.0, 1.0], [0.1 + 0.2] * 3])
    assert shape["skewness"].isna().tolist() == shape["kurtosis"].isna().tolist() == [True, False, True]
    assert shape[["sd", "range", "gap"]].iloc[[0, 2]].eq(0).all(axis=None)
    assert int((shape["range"] == 0).sum()) == 2
    assert behaviour.score_shape(np.ones((4, 3)))["skewness"].isna().all()
    assert behaviour.score_shape(np.empty((0, 3))).shape == (0, 6)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([[1.0]], r"scores has shape \(1, 1\); expected \(groups, group size\)"),
        ([1.0, 2.0], r"scores has shape \(2,\)"),
        ([[1.0, 2.0], [3.0, math.nan]], r"1 of 4 scores are not finite, the first \(nan\) for document 1 of group 1"),
    ],
)
def test_score_shape_refuses_what_it_cannot_describe(scores, message):
    with pytest.raises(ValueError, match=message):
        behaviour.score_shape(scores)


# --- beside the teacher's scores ---


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_calibration_by_hand():
    """Pairs in the teacher's direction: (p, s) = (0.9, 0.8), (0.6, 0.3), and a tie of the teacher, by position (0.5, 0.1)."""
    teacher = np.array([[logit(0.9), 0.0], [0.0, logit(0.6)], [2.0, 2.0]])
    student = np.array([[logit(0.8), 0.0], [0.0, logit(0.3)], [logit(0.1), 0.0]])
    table, found = behaviour.calibration(teacher, student, bins=2)
    assert list(table.columns) == ["low", "high", "n_pairs", "student", "teacher"]
    np.testing.assert_allclose(table, [[0, 0.5, 2, 0.2, 0.55], [0.5, 1, 1, 0.8, 0.9]])
    slope, intercept = np.polyfit([logit(0.9), logit(0.6), 0.0], [logit(0.8), logit(0.3), logit(0.1)], 1)
    expected = (2 * 0.35 + 0.1) / 3
    assert found == Calibration(pytest.approx(expected), pytest.approx(slope), pytest.approx(intercept), 0.5, 3, 1)


def test_the_students_direction_turns_the_pairs_for_the_bins_only():
    """Pairs (p, s) = (0.9, 0.8), and (0.6, 0.3) read backwards: (0.4, 0.7)."""
    teacher = np.array([[logit(0.9), 0.0], [0.0, logit(0.6)]])
    student = np.array([[logit(0.8), 0.0], [0.0, logit(0.3)]])
    table, found = behaviour.calibration(teacher, student, bins=2, direction="student")
    np.testing.assert_allclose(table, [[0, 0.5, 0, np.nan, np.nan], [0.5, 1, 2, 0.75, 0.65]])
    assert found.error == pytest.approx(0.1)
    assert found[1:] == behaviour.calibration(teacher, student, bins=2)[1][1:]


@pytest.mark.parametrize("direction", ["teacher", "student"])
@pytest.mark.parametrize("pairs", ["all", "positive"])
def test_the_teacher_itself_is_calibrated(pairs, direction):
    teacher = np.random.default_rng(0).normal(size=(40, 6)) * 3
    shift = np.arange(40.0)[:, None]  # a constant of a group is no part of a difference
    table, found = behaviour.calibration(teacher, teacher / 2.5 + shift, temperature=2.5, pairs=pairs, direction=direction)
    n_pairs = 40 * (15 if pairs == "all" else 5)
    assert found == Calibration(pytest.approx(0, abs=1e-12), pytest.approx(1), pytest.approx(0, abs=1e-12), 1.0, n_pairs, 0)
    assert table["n_pairs"].sum() == n_pairs
    assert table["n_pairs"].iloc[:5].sum() == 0  # it prefers what it prefers
    np.testing.assert_allclose(table["student"], table["teacher"])


def test_calibration_does_not_depend_on_the_order_of_documents_or_groups():
    generator = np.random.default_rng(1)
    teacher, student = generator.normal(size=(2, 30, 5))
    table, found = behaviour.calibration(teacher, student)
    order = generator.permutation(5)
    other_table, other = behaviour.calibration(teacher[::-1, order], student[::-1, order])
    np.testing.assert_allclose(other, found)
    pd.testing.assert_frame_equal(other_table, table)
    assert behaviour.calibration(teacher, -student)[1].agreement == pytest.approx(1 - found.agreement)


def test_the_positive_pairs_are_those_with_the_first_document():
    teacher, student = np.random.default_rng(2).normal(size=(2, 20, 4))
    _, found = behaviour.calibration(teacher, student, pairs="positive")
    alike = np.sign(teacher[:, :1] - teacher[:, 1:]) == np.sign(student[:, :1] - student[:, 1:])
    assert found.n_pairs == 60 and found.agreement == pytest.approx(alike.mean())


def test_agreement_is_kendalls_tau_where_nothing_is_tied():
    teacher, student = np.random.default_rng(3).normal(size=(2, 1, 12))
    _, found = behaviour.calibration(teacher, student)
    assert 2 * found.agreement - 1 == pytest.approx(stats.kendalltau(teacher[0], student[0]).statistic)


def test_the_line_is_scipys_and_sure_pairs_are_not_clipped():
    teacher, student = np.random.default_rng(4).normal(size=(2, 50, 2)) * [[[50.0]], [[1.0]]]
    _, found = behaviour.calibration(teacher, student, temperature=0.5)
    x, y = (scores[:, 0] - scores[:, 1] for scores in (teacher / 0.5, student))
    line = stats.linregress(np.abs(x), np.sign(x) * y)
    assert np.abs(x).max() > 100
    assert (found.slope, found.intercept) == (pytest.approx(line.slope), pytest.approx(line.intercept))


def test_a_student_that_knows_less_but_is_right_on_average_has_no_error_in_its_own_direction_only():
    """The teacher's logit is the student's plus what only the teacher knows; the student says the mean p of the pairs that look alike."""
    generator = np.random.default_rng(5)
    seen = generator.choice([-2.0, -1.0, 0.0, 1.0, 2.0], size=20_000)
    p = special.expit(seen + generator.normal(scale=2.0, size=20_000))
    mean = pd.Series(p).groupby(seen).transform("mean").to_numpy()
    teacher, student = (np.column_stack([special.logit(values), np.zeros(20_000)]) for values in (p, mean))
    errors = {name: behaviour.calibration(teacher, student, direction=name)[1].error for name in ("teacher", "student")}
    assert errors["student"] < 0.02
    assert errors["teacher"] > 0.1


def test_ties_and_single_pairs():
    table, found = behaviour.calibration([[1.0, 1.0, 1.0]], [[3.0, 2.0, 1.0]])
    assert (found.n_pairs, found.n_teacher_ties) == (3, 3)
    assert math.isnan(found.agreement) and math.isnan(found.slope) and math.isnan(found.intercept)
    assert found.error == pytest.approx(special.expit([1.0, 1.0, 2.0]).mean() - 0.5)
    assert behaviour.calibration([[1.0, 0.0]], [[2.0, 2.0]])[1].agreement == 0  # a tie of the student is no order
    table, _ = behaviour.calibration([[1.0, 0.0]], [[1e3, 0.0]], bins=4)  # s is 1, the end of the last bin
    assert table["n_pairs"].tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(table[["low", "high"]], [[0, 0.25], [0.25, 0.5], [0.5, 0.75], [0.75, 1]])


@pytest.mark.parametrize(
    ("teacher", "student", "settings", "message"),
    [
        ([[1.0, 2.0]], [[1.0, 2.0, 3.0]], {}, r"teacher_scores has shape \(1, 2\), student_scores \(1, 3\)"),
        ([[1.0, math.nan]], [[1.0, 2.0]], {}, "1 of 2 teacher_scores are not finite"),
        ([[1.0, 2.0]], [[math.inf, 2.0]], {}, r"1 of 2 student_scores are not finite, the first \(inf\) for document 0 of group 0"),
        ([[1.0, 2.0]], [[1.0, 2.0]], {"temperature": 0.0}, "temperature is 0.0"),
        ([[1.0, 2.0]], [[1.0, 2.0]], {"bins": 0}, "bins is 0"),
        ([[1.0, 2.0]], [[1.0, 2.0]], {"pairs": "positives"}, "unknown pairs 'positives'; did you mean 'positive'"),
        ([[1.0, 2.0]], [[1.0, 2.0]], {"direction": "both"}, r"unknown direction 'both'; \(choices: teacher, student\)"),
        (np.empty((0, 2)), np.empty((0, 2)), {}, "there are no groups"),
    ],
)
def test_calibration_refuses_what_it_cannot_compare(teacher, student, settings, message):
    with pytest.raises(ValueError, match=message):
        behaviour.calibration(teacher, student, **settings)


def test_divergence_agrees_with_scipy():
    teacher, student = np.random.default_rng(0).normal(size=(2, 30, 8)) * 3
    expected = stats.entropy(special.softmax(teacher / 2, axis=1), special.softmax(student, axis=1), axis=1)
    np.testing.assert_allclose(behaviour.divergence(teacher, student, 2.0), expected)
    np.testing.assert_allclose(behaviour.divergence(teacher, teacher / 2 + 7, 2.0), 0, atol=1e-12)
    assert (behaviour.divergence(teacher, teacher / 2 + 7, 2.0) >= 0).all()


def test_divergence_and_the_teachers_entropy_sum_to_the_cross_entropy():
    """The identity that the study rests on: cross-entropy = divergence + entropy."""
    teacher, student = np.random.default_rng(1).normal(size=(2, 30, 8)) * 3
    cross = -(special.softmax(teacher, axis=1) * special.log_softmax(student, axis=1)).sum(axis=1)
    floor = entropy.listwise_entropy(teacher) * math.log(8)
    np.testing.assert_allclose(behaviour.divergence(teacher, student, 1.0) + floor, cross)


def test_divergence_of_a_sure_student_is_large_and_finite():
    np.testing.assert_allclose(behaviour.divergence([[0.0, 0.0]], [[2000.0, 0.0]], 1.0), [1000 - math.log(2)])
    np.testing.assert_allclose(behaviour.divergence([[2000.0, 0.0]], [[0.0, 0.0]], 1.0), [math.log(2)])
    with pytest.raises(ValueError, match="temperature is -1.0"):
        behaviour.divergence([[0.0, 0.0]], [[0.0, 0.0]], -1.0)


# --- correlations ---


@pytest.fixture
def table():
    """Two collections of 60 and 40 queries; AP has ties, as measures do."""
    generator = np.random.default_rng(0)
    entropies = generator.normal(size=100)
    return pd.DataFrame(
        {
            "collection": ["b"] * 60 + ["a"] * 40,
            "entropy": entropies,
            "KL": generator.gamma(1.0, size=100),
            "AP": np.round(special.expit(entropies + generator.normal(size=100)), 1),
            "flat": 0.1,
        }
    )


def test_correlations_agree_with_scipy(table):
    found = correlation.correlations(table, ["entropy", "KL"], ["AP"], seed=0, by=["collection"])
    assert list(found.columns) == ["collection", "x", "y", "n", "spearman", "low", "high", "p", "pearson", "note"]
    assert found[["collection", "x", "n"]].values.tolist() == [["b", "entropy", 60], ["b", "KL", 60], ["a", "entropy", 40], ["a", "KL", 40]]
    for row in found.itertuples():
        part = table[table["collection"] == row.collection]
        oracle = stats.spearmanr(part[row.x], part["AP"])
        assert (row.spearman, row.p) == (pytest.approx(oracle.statistic), pytest.approx(oracle.pvalue))
        assert row.pearson == pytest.approx(np.corrcoef(part[row.x], part["AP"])[0, 1])
        assert row.low < row.spearman < row.high and row.note == ""


def test_the_interval_is_the_percentile_bootstrap_with_ranks_within_each_resample(table):
    part = table[:60]
    drawn = np.random.default_rng(3).integers(60, size=(200, 60))
    oracle = [stats.spearmanr(part["entropy"].to_numpy()[rows], part["AP"].to_numpy()[rows]).statistic for rows in drawn]
    found = correlation.correlations(part, ["entropy"], ["AP"], seed=3, n_resamples=200, level=0.8).iloc[0]
    np.testing.assert_allclose([found["low"], found["high"]], np.quantile(oracle, [0.1, 0.9]))


def test_the_interval_covers_the_true_correlation():
    """Spearman's of a bivariate normal is 6 / pi arcsin(rho / 2); 95 % of 200 samples are 190, and 176 is 4.5 deviations below."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=200 * 50)
    samples = pd.DataFrame({"sample": np.repeat(np.arange(200), 50), "x": x, "y": 0.6 * x + 0.8 * generator.normal(size=x.size)})
    found = correlation.correlations(samples, ["x"], ["y"], seed=1, n_resamples=300, by=["sample"])
    truth = 6 / math.pi * math.asin(0.3)
    covered = int(((found["low"] <= truth) & (truth <= found["high"])).sum())
    assert 176 <= covered <= 199
    narrow = correlation.correlations(samples, ["x"], ["y"], seed=1, n_resamples=300, by=["sample"], level=0.5)
    assert 75 <= int(((narrow["low"] <= truth) & (truth <= narrow["high"])).sum()) <= 125


def test_a_seed_gives_one_interval_and_blocks_do_not_change_it(monkeypatch, table):
    whole = correlation.correlations(table, ["entropy"], ["AP"], seed=0, n_resamples=100)
    pd.testing.assert_frame_equal(correlation.correlations(table, ["entropy"], ["AP"], seed=0, n_resamples=100), whole, check_exact=True)
    assert correlation.correlations(table, ["entropy"], ["AP"], seed=1, n_resamples=100)["low"][0] != whole["low"][0]
    beside = correlation.correlations(table, ["KL", "entropy"], ["flat", "AP"], seed=0, n_resamples=100)
    pd.testing.assert_series_equal(beside.iloc[3], whole.iloc[0], check_names=False)  # whatever else is asked for
    monkeypatch.setattr(behaviour, "_BLOCK_VALUES", 100 * 7)
    pd.testing.assert_frame_equal(correlation.correlations(table, ["entropy"], ["AP"], seed=0, n_resamples=100), whole)


def test_a_monotone_relation_is_one_in_ranks_only():
    table = pd.DataFrame({"x": np.arange(30.0), "y": np.exp(np.arange(30.0)), "z": -np.arange(30)})
    found = correlation.correlations(table, ["x"], ["y", "z"], seed=0, n_resamples=50)
    np.testing.assert_allclose(found[["spearman", "low", "high"]], [[1, 1, 1], [-1, -1, -1]])
    assert found["pearson"][0] < 0.6 and found["pearson"][1] == pytest.approx(-1)


def test_what_has_no_correlation_has_a_note_and_no_number(table):
    small = pd.concat([table.assign(part="all"), table[:2].assign(part="two")])
    small["rounding"] = 0.3 + np.arange(len(small)) % 2 * 1e-17 + np.arange(len(small)) % 3 * 5e-17
    found = correlation.correlations(small, ["flat", "entropy"], ["rounding", "AP"], seed=0, n_resamples=50, by=["part"])
    assert found["note"].tolist() == [
        "flat and rounding are constant",
        "flat is constant",
        "rounding is constant",
        "",
        *["2 rows; a correlation needs at least 3"] * 4,
    ]
    numbers = found[["spearman", "low", "high", "p", "pearson"]]
    assert numbers.isna().all(axis=1).tolist() == [True, True, True, False, True, True, True, True]
    assert numbers.iloc[3].notna().all()


def test_constant_resamples_are_counted():
    """x is constant where its only 1 is never drawn, or always: 0.75^4 + 0.25^4 = 0.32 of the resamples; y where one row is drawn only."""
    table = pd.DataFrame({"x": [0.0, 0.0, 0.0, 1.0], "y": [1.0, 2.0, 3.0, 4.0]})
    found = correlation.correlations(table, ["x"], ["y"], seed=0, n_resamples=500).iloc[0]
    ones = (np.random.default_rng(0).integers(4, size=(500, 4)) == 3).sum(axis=1)
    constant = int(((ones == 0) | (ones == 4)).sum())
    assert 110 < constant < 210
    assert found["note"] == f"a column is constant in {constant} of 500 resamples"
    assert -1 <= found["low"] < found["high"] <= 1


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({}, {"of": ["entropi"]}, "the table has no column 'entropi'; did you mean 'entropy'"),
        ({}, {"by": ["study"]}, "the table has no column 'study'"),
        ({}, {"of": ["collection"]}, "the column 'collection' is of type .*; expected numbers"),
        ({"AP": [math.nan] + [0.0] * 99}, {}, "1 of 100 values of 'AP' are not finite, the first in row 0"),
        ({"AP": [0.0] * 98 + [math.inf] * 2}, {}, "2 of 100 values of 'AP' are not finite, the first in row 98"),
        ({"note": "x"}, {"by": ["note"]}, "the column 'note' of by is the name of a result"),
        ({}, {"level": 1.0}, "level is 1.0"),
        ({}, {"n_resamples": 0}, "n_resamples 0"),
    ],
)
def test_correlations_refuse_what_they_cannot_use(table, change, settings, message):
    arguments = {"of": ["entropy"], "with_": ["AP"], "seed": 0} | settings
    with pytest.raises(ValueError, match=message):
        correlation.correlations(table.assign(**change), **arguments)

"""The three entropies of a teacher, temperatures for a target, cuts of the queries: by hand, scipy as oracle, the rules of the errata."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, softmax

from rd_utils.scoring import entropy
from rd_utils.scoring.entropy import (
    EntropyError,
    cut,
    cut_queries,
    entropies,
    listwise_entropy,
    pairwise_entropy,
    positive_entropy,
    solve_temperature,
)
from rd_utils.study import params

ALL = [pairwise_entropy, positive_entropy, listwise_entropy]
H_QUARTER = 2 - 0.75 * math.log2(3)  # h(1/4) = 0.8113 bits


def random_scores(n: int = 50, group: int = 6, scale: float = 3.0) -> np.ndarray:
    return np.random.default_rng(7).normal(scale=scale, size=(n, group))


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_three_documents_by_hand():
    # Odds of 3 to 1 for the positive against each of two equal negatives: pairs 0.8113, 0.8113, 1; softmax (3, 1, 1)/5.
    group = [[math.log(3), 0.0, 0.0]]
    assert pairwise_entropy(group)[0] == pytest.approx((2 * H_QUARTER + 1) / 3, abs=1e-15)
    assert pairwise_entropy(group)[0] == pytest.approx(0.874185, abs=1e-6)
    assert positive_entropy(group)[0] == pytest.approx(H_QUARTER, abs=1e-15)
    in_bits = -(0.6 * math.log2(0.6) + 2 * 0.2 * math.log2(0.2))
    assert listwise_entropy(group)[0] == pytest.approx(in_bits / math.log2(3), abs=1e-15)
    assert listwise_entropy(group)[0] == pytest.approx(0.865, abs=5e-4)


def test_temperature_divides_the_scores():
    group = [[2 * math.log(3), 0.0]]
    assert pairwise_entropy(group, temperature=2.0)[0] == pytest.approx(H_QUARTER, abs=1e-15)
    for function in ALL:
        np.testing.assert_allclose(function(random_scores(), 4.0), function(random_scores() / 4.0), atol=1e-14)


@pytest.mark.parametrize("function", ALL)
def test_equal_scores_give_exactly_one(function):
    for group_size in (2, 3, 7, 16):
        assert function(np.full((3, group_size), -5.0)).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("function", ALL)
def test_certain_teacher_gives_exactly_zero(function):
    # Differences of a thousand: exp(-1000) is 0 in float64, and 0 log 0 is 0, not nan.
    assert function([[1000.0, 0.0, -1000.0], [-1e3, 3e3, 0.0]]).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("function", ALL)
def test_extremes_of_float64_give_numbers(function):
    with np.errstate(all="raise", under="ignore"):
        values = function([[1e308, -1e308, 0.0], [5e-324, 0.0, -5e-324]], temperature=1e-3)
    assert values.tolist() == [0.0, 1.0]


def test_a_small_pair_entropy_keeps_its_digits():
    # At a difference of 40, h = e^-40 (1 + 40) / ln 2 up to a term of order e^-80.
    assert pairwise_entropy([[40.0, 0.0]])[0] == pytest.approx(41 * math.exp(-40) / math.log(2), rel=1e-12)


def test_the_three_differ_for_random_negatives():
    # One sure positive, fifteen negatives that nobody can tell apart: 105 of the 120 pairs are coin tosses.
    group = [[200.0] + [0.0] * 15]
    row = entropies(group).iloc[0]
    assert row["pairwise_entropy"] == pytest.approx(105 / 120, abs=1e-12)
    assert row["positive_entropy"] == pytest.approx(0.0, abs=1e-12)
    assert row["listwise_entropy"] == pytest.approx(0.0, abs=1e-12)


# --- oracles and invariants ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_pairwise_and_positive_agree_with_scipy_pair_by_pair(temperature):
    scores = random_scores()
    for row, every, positive in zip(scores, pairwise_entropy(scores, temperature), positive_entropy(scores, temperature), strict=True):
        pairs = {}
        for i in range(len(row)):
            for j in range(i + 1, len(row)):
                p = expit((row[i] - row[j]) / temperature)
                pairs[i, j] = stats.entropy([p, 1 - p], base=2)
        assert every == pytest.approx(np.mean(list(pairs.values())), abs=1e-13)
        assert positive == pytest.approx(np.mean([h for (i, _), h in pairs.items() if i == 0]), abs=1e-13)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_listwise_agrees_with_scipy(temperature):
    scores = random_scores()
    oracle = stats.entropy(softmax(scores / temperature, axis=1), base=scores.shape[1], axis=1)
    np.testing.assert_allclose(listwise_entropy(scores, temperature), oracle, atol=1e-13)


@pytest.mark.parametrize("function", ALL)
def test_range_is_zero_to_one(function):
    for scale in (1e-8, 1.0, 1e3):
        values = function(random_scores(n=500, scale=scale))
        assert ((values >= 0) & (values <= 1)).all()


@pytest.mark.parametrize("function", ALL)
def test_shift_of_a_group_changes_nothing(function):
    scores = random_scores()
    shifts = np.random.default_rng(1).normal(scale=20, size=(len(scores), 1))
    np.testing.assert_allclose(function(scores + shifts), function(scores), atol=1e-12)


@pytest.mark.parametrize("function", ALL)
def test_order_of_the_negatives_changes_nothing(function):
    scores = random_scores()
    np.testing.assert_allclose(function(scores[:, [0, 5, 3, 1, 2, 4]]), function(scores), atol=1e-14)


def test_only_the_positive_entropy_depends_on_which_document_is_the_positive():
    scores = random_scores()
    swapped = scores[:, ::-1]
    np.testing.assert_allclose(pairwise_entropy(swapped), pairwise_entropy(scores), atol=1e-14)
    np.testing.assert_allclose(listwise_entropy(swapped), listwise_entropy(scores), atol=1e-14)
    assert np.abs(positive_entropy(swapped) - positive_entropy(scores)).max() > 0.1


@pytest.mark.parametrize("function", ALL)
def test_entropy_rises_with_temperature(function):
    values = np.stack([function(random_scores(), temperature) for temperature in (0.25, 1.0, 4.0, 16.0)])
    assert (np.diff(values.mean(axis=1)) > 0.05).all()


def test_a_pair_is_the_same_question_to_all_three():
    scores = random_scores(group=2)
    np.testing.assert_allclose(pairwise_entropy(scores), positive_entropy(scores), atol=1e-14)
    np.testing.assert_allclose(pairwise_entropy(scores), listwise_entropy(scores), atol=1e-14)


def test_blocks_do_not_change_a_bit(monkeypatch):
    scores = random_scores(n=23)
    whole = entropies(scores)
    monkeypatch.setattr(entropy, "_BLOCK_VALUES", 40)
    assert entropies(scores).equals(whole)


def test_entropies_are_the_three_in_the_order_of_the_groups():
    table = entropies(random_scores(), 2.0)
    assert list(table.columns) == ["pairwise_entropy", "positive_entropy", "listwise_entropy"]
    for function in ALL:
        assert table[function.__name__].tolist() == function(random_scores(), 2.0).tolist()


def test_no_groups_give_no_values():
    assert entropies(np.empty((0, 4))).shape == (0, 3)


def test_float32_scores_are_computed_in_float64():
    scores = random_scores().astype(np.float32)
    assert pairwise_entropy(scores).dtype == np.float64
    assert pairwise_entropy(scores).tolist() == pairwise_entropy(scores.astype(np.float64)).tolist()


# --- the temperature of a target -------------------------------------------------------------------------------------


def test_temperature_by_hand():
    # h(1/4) at a difference of 2 needs sigmoid(2 / T) = 3/4, so T = 2 / ln 3; a tied pair beside it lifts the mean to (h(1/4) + 1) / 2.
    assert solve_temperature([[2.0, 0.0]], H_QUARTER, tolerance=1e-9) == pytest.approx(2 / math.log(3), rel=1e-8)
    with_tie = [[2.0, 0.0], [5.0, 5.0]]
    assert solve_temperature(with_tie, (H_QUARTER + 1) / 2, tolerance=1e-9) == pytest.approx(2 / math.log(3), rel=1e-8)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
@pytest.mark.parametrize("target", [0.001, 0.2, 0.5, 0.9, 0.999])
def test_temperature_reaches_the_target_within_the_tolerance(target, scale):
    scores = random_scores(scale=scale)
    assert pairwise_entropy(scores, solve_temperature(scores, target)).mean() == pytest.approx(target, abs=1e-4)
    exact = solve_temperature(scores, target, tolerance=1e-12)
    assert solve_temperature(scores, target) == pytest.approx(exact, rel=1e-4)


def test_temperature_rises_with_the_target():
    temperatures = [solve_temperature(random_scores(), target) for target in (0.1, 0.3, 0.5, 0.7, 0.9)]
    assert (np.diff(temperatures) > 0.1).all()


def test_no_pair_rises_faster_with_log_temperature_than_the_docstring_says():
    step = 1e-4
    log_temperature = np.arange(-6, 6, step)
    values = np.concatenate([pairwise_entropy([[1.0, 0.0]], math.exp(at)) for at in log_temperature[::50]])
    slopes = np.diff(values) / (50 * step)
    assert (slopes >= 0).all()
    assert 0.63 < slopes.max() < 0.64


def test_temperature_takes_few_evaluations(monkeypatch):
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return pairwise_entropy(*arguments)

    monkeypatch.setattr(entropy, "pairwise_entropy", counted)
    solve_temperature(random_scores(), 0.05)
    assert 2 < len(calls) < 25


def test_ties_bound_what_a_temperature_reaches():
    # Documents below a floor are tied: 3 of the 6 pairs of the first group and none of the second are, 3 of 12 in all.
    scores = [[7.0, -9.0, -9.0, -9.0], [1.0, 2.0, 3.0, 4.0]]
    assert pairwise_entropy(scores, solve_temperature(scores, 0.26)).mean() == pytest.approx(0.26, abs=1e-4)
    for target in (0.25, 0.1):
        with pytest.raises(EntropyError, match=r"25.00% of the pairs .* more than 0.25 and less than 1; .* lower its floor"):
            solve_temperature(scores, target)


def test_targets_that_no_temperature_reaches_are_refused():
    with pytest.raises(EntropyError, match="100.00% of the pairs .* all scores are equal"):
        solve_temperature([[3.0, 3.0], [0.0, 0.0]], 0.5)
    for target in (0.0, 1.0, -0.5, 1.5, math.nan):
        with pytest.raises(EntropyError, match="no temperature gives a mean pairwise entropy of"):
            solve_temperature(random_scores(), target)
    with pytest.raises(EntropyError, match="there are no groups"):
        solve_temperature(np.empty((0, 4)), 0.5)
    with pytest.raises(ValueError, match="document 1 of group 0"):
        solve_temperature([[0.0, math.nan]], 0.5)


# --- cuts ------------------------------------------------------------------------------------------------------------

HALVES = ["lower_half", "upper_half"]
QUARTERS = ["quarter_1", "quarter_2", "quarter_3", "quarter_4"]
FENCE = ["inside_fence", "outside_fence"]


def test_cuts_by_hand():
    values = np.array([5.0, 1.0, 4.0, 2.0, 3.0, 90.0])
    assert {part: np.flatnonzero(cut(values, part)).tolist() for part in [*HALVES, *QUARTERS, *FENCE]} == {
        "lower_half": [1, 3, 4],
        "upper_half": [0, 2, 5],
        "quarter_1": [1],  # ranks [0, 1.5), [1.5, 3), [3, 4.5), [4.5, 6), rounded down
        "quarter_2": [3, 4],
        "quarter_3": [2],
        "quarter_4": [0, 5],
        "inside_fence": [0, 1, 2, 3, 4],  # Q1 = 2.25, Q3 = 4.75: [-1.5, 8.5]
        "outside_fence": [5],
    }


def test_what_lies_on_the_fence_is_inside():
    # Q1 = 0 and Q3 = 2 give [-3, 5].
    values = np.array([0.0, 0.0, 1.0, 2.0, 5.0, -3.0, 1.0, 2.0, 0.0])
    assert np.quantile(values, [0.25, 0.75]).tolist() == [0.0, 2.0]
    assert cut(values, "inside_fence").all()
    assert np.flatnonzero(cut(np.append(values, 5.01), "outside_fence")).tolist() == [9]


@pytest.mark.parametrize("kind", [HALVES, QUARTERS, FENCE])
@pytest.mark.parametrize("n", [*range(14), 101])
def test_parts_of_a_kind_partition_the_queries_also_with_ties(kind, n):
    values = np.random.default_rng(n).integers(0, 4, size=n)
    masks = np.stack([cut(values, part) for part in kind])
    assert (masks.sum(axis=0) == 1).all()
    if kind is not FENCE:
        sizes = masks.sum(axis=1)
        assert sizes.max() - sizes.min() <= 1
        kept = [values[mask] for mask in masks if mask.any()]
        assert all(lower.max() <= upper.min() for lower, upper in zip(kept, kept[1:], strict=False))


def test_quarters_are_nested_in_halves():
    for n in range(20):
        values = np.random.default_rng(n).random(n)
        assert (cut(values, "lower_half") == cut(values, "quarter_1") | cut(values, "quarter_2")).all()


def test_tied_values_are_parted_by_position():
    assert np.flatnonzero(cut(np.zeros(5), "lower_half")).tolist() == [0, 1]
    assert [np.flatnonzero(cut(np.zeros(5), part)).tolist() for part in QUARTERS] == [[0], [1], [2], [3, 4]]


def test_cuts_take_the_parts_that_parameters_name():
    assert {*HALVES, *QUARTERS, *FENCE} == set(get_args(params.CutPart))
    assert set(entropy.ENTROPIES) == set(get_args(params.EntropyName))


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match="1 of 3 values are not finite, the first .nan. of query 1"):
        cut(np.array([0.0, math.nan, 1.0]), "lower_half")
    with pytest.raises(ValueError, match="unknown part 'uper_half'; did you mean 'upper_half'"):
        cut(np.zeros(3), "uper_half")
    with pytest.raises(ValueError, match=r"shape \(2, 2\); expected one value per query"):
        cut(np.zeros((2, 2)), "lower_half")


def gap(*differences: float) -> np.ndarray:
    """Return groups of two documents with these score differences: the larger, the lower the entropy."""
    return np.array([[difference, 0.0] for difference in differences])


def kept_groups(query_ids, scores, part, name="pairwise_entropy", temperature=1.0) -> list[int]:
    return np.flatnonzero(cut_queries(query_ids, scores, entropy=name, temperature=temperature, part=part)).tolist()


def test_queries_are_cut_and_all_their_groups_kept():
    query_ids, scores = ["b", "a", "c", "b", "d"], gap(0.1, 5.0, 1.0, 0.2, 3.0)
    assert kept_groups(query_ids, scores, "upper_half") == [0, 2, 3]
    assert kept_groups(query_ids, scores, "quarter_1") == [1]


def test_ties_between_queries_are_parted_by_their_ids_whatever_the_order_of_groups():
    assert kept_groups(["c", "a", "d", "b"], gap(1, 1, 1, 1), "lower_half") == [1, 3]


def test_each_entropy_cuts_in_its_own_way():
    # x: a sure positive over equal negatives; y: every pair at a difference of 2, or of 4.
    query_ids, scores = ["x", "y"], [[50.0, 0.0, 0.0], [4.0, 2.0, 0.0]]
    assert kept_groups(query_ids, scores, "upper_half", "positive_entropy") == [1]
    assert kept_groups(query_ids, scores, "upper_half", "listwise_entropy") == [1]
    assert kept_groups(query_ids, scores, "upper_half", "pairwise_entropy", temperature=0.1) == [0]
    assert kept_groups(query_ids, scores, "upper_half", "pairwise_entropy", temperature=9.0) == [1]


def test_a_part_without_queries_is_an_error_with_the_sizes():
    with pytest.raises(EntropyError, match=r"no query lies in outside_fence .*of 3 queries: inside_fence 3, outside_fence 0"):
        kept_groups(["a", "b", "c"], gap(1, 2, 3), "outside_fence")
    with pytest.raises(EntropyError, match=r"of 1 queries: quarter_1 0, quarter_2 0, quarter_3 0, quarter_4 1"):
        kept_groups(["a"], gap(1), "quarter_1")


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="unknown entropy 'pair_entropy'.*pairwise_entropy"):
        kept_groups(["a"], gap(1), "upper_half", "pair_entropy")
    with pytest.raises(ValueError, match="2 query_ids for 1 groups"):
        kept_groups(["a", "b"], gap(1), "upper_half")


# --- errata ----------------------------------------------------------------------------------------------------------


def test_erratum_02_log_probabilities_peaked_is_below_flat():
    # log p(relevant) is at most 0. Divided by their sum, peaked scores look flat (2.709 of 2.773 nats; softmax: 0.046).
    peaked = [[-0.01] + [-8.0] * 15]
    flat = [[-3.0] * 16]
    assert stats.entropy(np.abs(peaked[0])) == pytest.approx(2.709, abs=5e-4)
    assert listwise_entropy(peaked)[0] * math.log(16) == pytest.approx(0.0455, abs=5e-4)
    assert listwise_entropy(flat)[0] == 1.0
    assert listwise_entropy(peaked)[0] < 0.05
    assert positive_entropy(peaked)[0] < 0.05 < positive_entropy(flat)[0] == 1.0


@pytest.mark.parametrize("function", ALL)
def test_erratum_02_log_probabilities_and_log_odds_of_one_softmax_agree(function):
    # The log-softmax over a group is a shift of the scores: the sign of a score has no meaning of its own.
    scores = random_scores()
    log_probabilities = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    assert (log_probabilities <= 0).all()
    np.testing.assert_allclose(function(log_probabilities), function(scores), atol=1e-12)


def test_erratum_04_a_part_keeps_what_its_name_says():
    # The published upper_quartile keeps what is below Q3 and its lower_quartile what is above Q1: 75 of 100 each, and 50 in both.
    values = np.random.default_rng(4).permutation(100).astype(float)
    q1, q3 = np.quantile(values, [0.25, 0.75])
    published_upper, published_lower = values < q3, values > q1
    assert (published_upper.sum(), published_lower.sum(), (published_upper & published_lower).sum()) == (75, 75, 50)
    assert sorted(values[cut(values, "quarter_4")]) == list(range(75, 100))
    assert sorted(values[cut(values, "quarter_1")]) == list(range(25))
    assert not (cut(values, "quarter_4") & published_upper).any()


def test_erratum_05_ties_at_the_median_stay_and_the_fence_is_called_a_fence():
    # The published median cuts keep what is strictly below or above, so that every tie at the median is lost on both sides.
    values = np.array([0.0, 1.0, 1.0, 1.0, 2.0])
    assert ((values < 1).sum(), (values > 1).sum()) == (1, 1)
    assert (cut(values, "lower_half").sum(), cut(values, "upper_half").sum()) == (2, 3)
    # Its inner_quartiles is Tukey's fence, which keeps all of 100 even values; the middle half is quarters 2 and 3.
    even = np.arange(100.0)
    assert (cut(even, "inside_fence").sum(), cut(even, "outside_fence").sum()) == (100, 0)
    assert even[cut(even, "quarter_2") | cut(even, "quarter_3")].tolist() == list(range(25, 75))


@pytest.mark.parametrize("function", [*ALL, entropies])
@pytest.mark.parametrize("missing", [math.nan, math.inf, -math.inf])
def test_erratum_07_a_missing_score_is_an_error(function, missing):
    scores = np.zeros((3, 4))
    scores[1, 2] = missing
    with pytest.raises(ValueError, match=r"1 of 12 teacher_scores .* document 2 of group 1; a missing score"):
        function(scores)


def test_erratum_07_a_missing_score_cannot_be_cut():
    with pytest.raises(ValueError, match="document 1 of group 0; a missing score"):
        kept_groups(["a"], [[0.0, math.nan]], "upper_half")


def test_erratum_10_a_query_counts_once_however_often_its_groups_are_repeated():
    # Ranked by line instead, the sure query a would fill the lower half alone, and its fifth line and d would be in the upper.
    once = kept_groups(["a", "b", "c", "d"], gap(4.0, 1.0, 2.0, 3.0), "upper_half")
    repeated = kept_groups([*"aaaaabcd"], gap(4.0, 4.0, 4.0, 4.0, 4.0, 1.0, 2.0, 3.0), "upper_half")
    assert once == [1, 2] and repeated == [5, 6]


def test_erratum_12_the_scale_of_a_teacher_does_not_matter_at_the_temperature_of_one_entropy():
    scores = random_scores()
    assert pairwise_entropy(8 * scores).mean() < pairwise_entropy(scores).mean() / 4
    one, eight = solve_temperature(scores, 0.4, tolerance=1e-10), solve_temperature(8 * scores, 0.4, tolerance=1e-10)
    assert eight == pytest.approx(8 * one, rel=1e-8)
    np.testing.assert_allclose(pairwise_entropy(8 * scores, eight), pairwise_entropy(scores, one), atol=1e-8)


@pytest.mark.parametrize("function", ALL)
def test_erratum_14_mixed_signs_are_ordinary_scores(function):
    mixed = np.array([[2.0, -1.0, 0.0, -3.0]])
    assert 0 < function(mixed)[0] < 1
    np.testing.assert_allclose(function(mixed), function(mixed - 2.0), atol=1e-14)  # all at most 0
    np.testing.assert_allclose(function(mixed), function(mixed + 3.0), atol=1e-14)  # all at least 0


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [*ALL, entropies])
def test_what_is_no_group_is_refused(function):
    with pytest.raises(ValueError, match=r"a group has 1 document\(s\); expected at least 2"):
        function([[1.0], [2.0]])
    with pytest.raises(ValueError, match=r"shape \(2,\); expected two dimensions"):
        function([1.0, 2.0])


@pytest.mark.parametrize("function", [*ALL, entropies])
@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_that_is_not_positive_is_refused(function, temperature):
    with pytest.raises(ValueError, match="temperature is .*; expected a positive"):
        function([[1.0, 2.0]], temperature)

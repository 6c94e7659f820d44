"""The three entropies of a teacher: values by hand, scipy as oracle, and the rules of the errata."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, softmax

from rd_utils import entropy
from rd_utils.entropy import entropies, listwise_entropy, pairwise_entropy, positive_entropy

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


@pytest.mark.parametrize("function", [*ALL, entropies])
@pytest.mark.parametrize("missing", [math.nan, math.inf, -math.inf])
def test_erratum_07_a_missing_score_is_an_error(function, missing):
    scores = np.zeros((3, 4))
    scores[1, 2] = missing
    with pytest.raises(ValueError, match=r"1 of 12 teacher_scores .* document 2 of group 1; a missing score"):
        function(scores)


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

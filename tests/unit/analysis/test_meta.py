"""Effects over collections: by hand, against statsmodels' own summary, and how often the interval holds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.meta_analysis import combine_effects

from rd_utils.analysis.meta import Combined, combined

Y, V = [0.02, 0.05, -0.01, 0.03], [1e-4, 2e-4, 1e-4, 5e-5]


def test_equal_variances_and_no_heterogeneity_give_the_mean_and_the_plain_standard_error():
    found = combined([0.02, 0.03, 0.04], [1e-2] * 3)
    assert found.estimate == pytest.approx(0.03)
    assert found.tau == 0.0
    assert found.se == pytest.approx(0.1 / math.sqrt(3))  # not the spread of three estimates that agree by chance
    assert found.i_squared == 0.0


@pytest.mark.filterwarnings("ignore:.use_t=True. requires")
def test_the_mean_tau_and_interval_are_those_of_statsmodels():
    found, expected = combined(Y, V), combine_effects(np.array(Y), np.array(V), method_re="iterated", use_t=True)
    frame = expected.summary_frame().loc["random effect wls"]
    assert found.estimate == pytest.approx(frame["eff"])
    assert found.tau**2 == pytest.approx(expected.tau2)
    assert found.interval(0.95) == pytest.approx((frame["ci_low"], frame["ci_upp"]), abs=1e-6)
    assert found.i_squared == pytest.approx(expected.i2)


def test_tau_solves_paule_and_mandels_equation():
    found = combined(Y, V)
    weights = 1 / (np.array(V) + found.tau**2)
    assert weights @ (np.array(Y) - found.estimate) ** 2 == pytest.approx(len(Y) - 1, rel=1e-4)


def test_one_sided_tests_agree_with_the_interval():
    found = combined(Y, V)
    low, high = found.interval(0.95)
    assert found.p_above(low) == pytest.approx(0.025)
    assert found.p_below(high) == pytest.approx(0.025)
    assert found.p_above(0.0) + found.p_below(0.0) == pytest.approx(1.0)


def test_the_next_collection_is_less_certain_than_the_mean_and_unknown_of_two():
    low, high = combined(Y, V).interval()
    low_next, high_next = combined(Y, V).prediction()
    assert low_next < low < high < high_next
    assert all(math.isnan(end) for end in combined(Y[:2], V[:2]).prediction())


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        variances = rng.uniform(0.5, 2.0, 8) * 1e-4
        estimates = 0.02 + rng.normal(scale=0.015, size=8) + rng.normal(size=8) * np.sqrt(variances)
        low, high = combined(estimates, variances).interval(0.95)
        held += low < 0.02 < high
    assert 0.92 <= held / 400 <= 0.985


def test_what_cannot_be_combined_is_refused():
    with pytest.raises(ValueError, match="two collections or more"):
        combined([0.1], [0.1])
    with pytest.raises(ValueError, match="not finite"):
        combined([0.1, math.nan], [0.1, 0.1])
    with pytest.raises(ValueError, match="not above 0"):
        combined([0.1, 0.2], [0.1, 0.0])


def test_an_effect_without_spread_is_decided_by_its_sign():
    certain = Combined(0.02, 0.0, 0.0, 0.0, 1.0, 3)
    assert (certain.p_above(0.0), certain.p_below(0.0), certain.p_below(0.03)) == (0.0, 1.0, 0.0)

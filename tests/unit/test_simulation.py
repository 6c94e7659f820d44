"""Error rates: every simulated verdict is that of the rules themselves, and the rates are the exact ones."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as distributions

from rd_utils import published, simulation
from rd_utils.simulation import RULES, error_rates
from rd_utils.stats import QUERY_KEYS, paired_difference, tost_power


@pytest.fixture(scope="module")
def rates():
    return error_rates(seed=0).set_index(["rule", "n_queries", "true_difference"])


def standard_error(rate: float, n: int = 2000) -> float:
    return math.sqrt(max(rate * (1 - rate), 1e-4) / n)


# --- the verdicts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, true, sd", [(2, 0.0, 0.01), (8, 0.0, 0.01), (43, 0.01, 0.05), (300, 0.0, 0.1), (300, 0.02, 0.1)])
def test_verdicts_of_many_studies_are_those_of_one_at_a_time(n, true, sd):
    rng = np.random.default_rng(n)
    a = rng.normal(0.5, 0.3, (60, n))
    delta = rng.normal(true, sd, (60, n))
    p_difference, p_equivalence = simulation._paired_p_values(delta, 0.02)
    verdicts = simulation._verdicts(a, delta, margin=0.02, alpha=0.05)
    index = pd.MultiIndex.from_product([["toy"], [f"q{i:04d}" for i in range(n)]], names=QUERY_KEYS)
    for study in range(60):
        before, after = pd.Series(a[study], index), pd.Series(a[study] + delta[study], index)
        alone = paired_difference(before, after)
        assert p_difference[study] == pytest.approx(alone.p_difference, rel=1e-8, abs=1e-14)
        assert p_equivalence[study] == pytest.approx(alone.p_equivalence, rel=1e-8, abs=1e-14)
        _, _, joined = published.equivalence(before.to_numpy(), after.to_numpy())
        assert verdicts[:, study].tolist() == [alone.equivalent, alone.different, bool(joined)]


def test_studies_whose_differences_do_not_vary_are_judged_as_one_at_a_time():
    a = np.random.default_rng(0).uniform(0.2, 0.8, 10)
    index = pd.MultiIndex.from_product([["toy"], [f"q{i}" for i in range(10)]], names=QUERY_KEYS)
    shifts = [0.0, 0.01, -0.02, 0.02, 0.05]
    p_difference, p_equivalence = simulation._paired_p_values(np.repeat(shifts, 10).reshape(5, 10), 0.02)
    alone = [paired_difference(pd.Series(a, index), pd.Series(a + shift, index)) for shift in shifts]
    assert p_difference.tolist() == [found.p_difference for found in alone] == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert p_equivalence.tolist() == [found.p_equivalence for found in alone] == [0.0, 0.0, 1.0, 1.0, 1.0]


# --- the rates --------------------------------------------------------------------------------------------------------


def test_rates_are_within_monte_carlo_error_of_the_exact_ones(rates):
    assert rates["expected"].notna().sum() == 12
    # Four binomial standard errors of 2000 studies; twelve rates, so that one outside is a chance of about one in 1300.
    for (rule, n, true), row in rates[rates["expected"].notna()].iterrows():
        assert row["rate"] == pytest.approx(row["expected"], abs=4 * standard_error(row["expected"])), (rule, n, true)


def test_type_one_error_and_power_of_tost(rates):
    for n in (43, 300, 2000):
        assert rates.loc[("tost", n, 0.02), "expected"] == tost_power(n, 0.2, 0.02, difference=0.02)
        assert rates.loc[("tost", n, 0.02), "rate"] <= 0.05 + 4 * standard_error(0.05)
    assert rates.loc[("tost", 2000, 0.02), "expected"] == pytest.approx(0.05, abs=1e-6)
    power = [rates.loc[("tost", n, 0.0), "rate"] for n in (43, 300, 2000)]
    assert power == pytest.approx([0.0, 0.0692, 0.9953], abs=4 * standard_error(0.0692))
    # Two normal tails say the same without a t distribution: 2 Phi(0.02 sqrt(2000) / 0.2 - z(0.95)) - 1.
    normal = 2 * distributions.norm.cdf(0.02 * math.sqrt(2000) / 0.2 - distributions.norm.ppf(0.95)) - 1
    assert rates.loc[("tost", 2000, 0.0), "expected"] == pytest.approx(normal, abs=2e-4)


def test_exact_rates_of_the_t_test(rates):
    for n in (43, 300, 2000):
        assert rates.loc[("t_test", n, 0.0), "expected"] == pytest.approx(0.05, abs=1e-12)
    from statsmodels.stats.power import TTestPower

    for n in (43, 300, 2000):
        oracle = TTestPower().power(effect_size=0.02 / 0.2, nobs=n, alpha=0.05)
        assert rates.loc[("t_test", n, 0.02), "expected"] == pytest.approx(oracle, abs=1e-8)


def test_the_table_is_complete_and_in_order(rates):
    found = error_rates(n_queries=[5, 3], true_differences=[0.1, 0.0], n_simulations=10, seed=0)
    columns = ["rule", "n_queries", "true_difference", "rate", "low", "high", "n_simulations", "expected"]
    assert list(found.columns) == columns
    keys = [(rule, n, true) for n in (5, 3) for true in (0.1, 0.0) for rule in RULES]
    assert list(found[columns[:3]].itertuples(index=False, name=None)) == keys
    assert (found["n_simulations"] == 10).all()
    assert found["expected"].isna().tolist() == [rule == "published" for rule, _, _ in keys]
    assert ((rates["low"] <= rates["rate"]) & (rates["rate"] <= rates["high"])).all()


def test_the_interval_is_wilsons_by_hand():
    # 2 of 10 at z = 1.959964: (0.2 + z^2 / 20 -+ z sqrt(0.2 * 0.8 / 10 + z^2 / 400)) / (1 + z^2 / 10).
    found = error_rates(n_queries=[3, 4, 5, 6, 7, 8], true_differences=[0.1, 0.2], n_simulations=10, seed=1)
    z = 1.959963985
    for rate, low, high in found[["rate", "low", "high"]].itertuples(index=False):
        middle, half = rate + z * z / 20, z * math.sqrt(rate * (1 - rate) / 10 + z * z / 400)
        assert (low, high) == pytest.approx(((middle - half) / (1 + z * z / 10), (middle + half) / (1 + z * z / 10)), abs=1e-8)
    assert found["rate"].nunique() > 3


# --- errata -----------------------------------------------------------------------------------------------------------


def test_erratum_37_and_38_the_published_rule_joins_equal_systems_as_often_however_many_the_queries():
    # Without a spread between queries, both systems' pooled variance is half of that of the differences, so that "joined" is
    # |t| < t(0.90) (the margin moves it by a thousandth): by chance 80 % of the studies of equal systems, at every size.
    found = error_rates(n_queries=[43, 300, 2000], true_differences=[0.0], query_sd=1e-9, seed=1).set_index(["rule", "n_queries"])["rate"]
    for n in (43, 300, 2000):
        assert found["published", n] == pytest.approx(0.80, abs=4 * standard_error(0.8) + 0.001)
    assert found["tost", 2000] > 0.98 > 0.05 > found["tost", 43]  # what evidence looks like


def test_erratum_39_taking_the_queries_for_independent_hides_a_difference():
    # The statistic has the variance sd^2 / (2 query_sd^2 + sd^2) = 0.04 / 0.22 of a t statistic. So equal systems are joined with
    # 2 Phi(1.2816 / 0.4264) - 1 = 0.9973, and a true difference of 0.02 in 300 queries, 0.74 standard errors, hardly changes it.
    found = error_rates(n_queries=[300], true_differences=[0.0, 0.02], seed=2).set_index(["rule", "true_difference"])["rate"]
    expected = 2 * distributions.norm.cdf(distributions.norm.ppf(0.9) / math.sqrt(0.04 / 0.22)) - 1
    assert found["published", 0.0] == pytest.approx(expected, abs=4 * standard_error(expected))
    shift, scale, z = 0.02 / math.sqrt(0.22 / 300), math.sqrt(0.04 / 0.22), distributions.norm.ppf(0.9)
    joined = distributions.norm.cdf((z - shift) / scale) - distributions.norm.cdf((-z - shift) / scale)
    assert found["published", 0.02] == pytest.approx(joined, abs=4 * standard_error(joined) + 0.005)  # t with 598 for normal
    assert found["published", 0.02] > 2 * found["t_test", 0.02]


def test_erratum_38_the_published_rule_joins_systems_with_eight_noisy_queries():
    # Five margins apart, and still joined in nine studies of ten: eight queries cannot tell.
    found = error_rates(n_queries=[8], true_differences=[0.1], seed=3).set_index("rule")["rate"]
    assert found["published"] > 0.85
    assert found["tost"] < 0.002


# --- draws ------------------------------------------------------------------------------------------------------------


def test_resampled_differences_are_centred_and_shifted():
    # Half of the queries do not move, the others by 0.4 or by -0.3: far from normal, with a mean of 0.025.
    observed = np.array([0.0, 0.0, 0.4, -0.3] * 50)
    found = error_rates(n_queries=[300], true_differences=[0.0, 0.1], differences=observed, seed=4)
    rate = found.set_index(["rule", "true_difference"])["rate"]
    assert found["expected"].isna().all()
    assert rate["t_test", 0.0] == pytest.approx(0.05, abs=4 * standard_error(0.05) + 0.005)
    # With 300 queries the t statistic is nearly normal all the same: the exact power for that SD is close.
    sd = observed.std()
    assert rate["t_test", 0.1] == pytest.approx(distributions.norm.sf(1.96 - 0.1 * math.sqrt(300) / sd), abs=0.01)
    moved = error_rates(n_queries=[300], true_differences=[0.0, 0.1], differences=observed + 7, seed=4)
    np.testing.assert_allclose(moved["rate"], found["rate"], atol=0.002)  # centring rounds


def test_tost_on_resampled_differences_has_the_power_of_their_sd():
    observed = np.random.default_rng(0).normal(0.03, 0.1, 5000)
    rate = error_rates(n_queries=[200], true_differences=[0.0], differences=observed, seed=5).set_index("rule").loc["tost", "rate"]
    exact = tost_power(200, observed.std(), 0.02)
    assert 0.2 < exact < 0.95
    assert rate == pytest.approx(exact, abs=4 * standard_error(exact))


def test_same_seed_same_rates_and_sizes_do_not_share_draws():
    settings = {"true_differences": [0.0], "n_simulations": 300, "sd": 0.05}
    whole = error_rates(n_queries=[50, 80], seed=1, **settings)
    assert whole.equals(error_rates(n_queries=[50, 80], seed=1, **settings))
    assert not whole.equals(error_rates(n_queries=[50, 80], seed=2, **settings))
    alone = error_rates(n_queries=[80], seed=1, **settings)
    pd.testing.assert_frame_equal(whole[whole["n_queries"] == 80].reset_index(drop=True), alone)


def test_blocks_cover_every_simulation(monkeypatch):
    settings = {"n_queries": [20], "true_differences": [0.0], "sd": 0.05, "seed": 1}
    whole = error_rates(n_simulations=1000, **settings)
    monkeypatch.setattr(simulation, "_BLOCK_VALUES", 7 * 20)
    blocks = error_rates(n_simulations=1000, **settings)
    for one, other in zip(whole["rate"], blocks["rate"], strict=True):
        assert one == pytest.approx(other, abs=4 * math.sqrt(2) * standard_error(one, 1000))
    always = error_rates(n_simulations=1000, **(settings | {"sd": 1e-6}))
    assert always.set_index("rule").loc["tost", "rate"] == 1.0  # 142 blocks of 7 and one of 6, none lost


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"margin": 0.0}, "margin is 0.0"),
        ({"sd": 0.0}, "^sd is 0.0"),
        ({"sd": math.nan}, "^sd is nan"),
        ({"query_sd": -1.0}, "query_sd is -1.0"),
        ({"alpha": 1.0}, "alpha is 1.0"),
        ({"n_simulations": 0}, "n_simulations is 0"),
        ({"n_queries": [43, 1]}, "n_queries has 1; expected at least 2"),
        ({"true_differences": [0.0, math.inf]}, "true_differences has inf"),
        ({"differences": np.zeros((3, 2))}, r"differences has shape \(3, 2\)"),
        ({"differences": np.array([0.1])}, r"differences has shape \(1,\)"),
        ({"differences": np.array([0.1, math.nan, 0.2])}, "1 of 3 differences are not finite, the first at position 1"),
        ({"differences": np.full(4, 0.1)}, "all 4 differences are 0.1"),
    ],
)
def test_settings_out_of_range_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        error_rates(**({"n_queries": [4], "n_simulations": 2, "seed": 0} | setting))

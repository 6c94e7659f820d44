"""Error rates: every simulated verdict is that of the rules themselves, and the rates are the exact ones."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as distributions

from rd_utils.analysis import crossed, simulation
from rd_utils.analysis.crossed import Spread
from rd_utils.analysis.power import tost_power
from rd_utils.analysis.simulation import CROSSED_RULES, RULES, TwoSystems, TwoWays
from rd_utils.analysis.stats import QUERY_KEYS, paired_difference
from rd_utils.companions import published


@pytest.fixture(scope="module")
def rates():
    return error_rates(seed=0).set_index(["rule", "n_queries", "true_difference"])


def standard_error(rate: float, n: int = 2000) -> float:
    return math.sqrt(max(rate * (1 - rate), 1e-4) / n)


def error_rates(*, seed, differences=None, **design):
    return simulation.error_rates(TwoSystems(**design), seed=seed, differences=differences)


def crossed_rates(*, seed, **design):
    return simulation.crossed_rates(TwoWays(**design), seed=seed)


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


# --- queries and seeds ------------------------------------------------------------------------------------------------

BOTH, ALONE = "queries and seeds", "queries only"


@pytest.fixture(scope="module")
def false_different():
    designs = (([3], 12_000), ([2, 5, 10], 4000))  # the rates of three seeds are nearest to 2 %
    tables = [crossed_rates(n_seeds=seeds, true_differences=[0.0], n_simulations=n, seed=0) for seeds, n in designs]
    return pd.concat(tables, ignore_index=True).query("verdict == 'different'")


@pytest.fixture(scope="module")
def at_the_margin():
    return crossed_rates(true_differences=[0.02], n_simulations=2500, seed=0)


def allows(row, query_sd: float = 0.15, residual_sd: float = 0.08) -> bool:
    """Tell whether a design allows at least 2 % false verdicts, as crossed_rates says it."""
    others = query_sd**2 / row.n_queries + residual_sd**2 / (row.n_queries * row.n_seeds)
    most = 1.5 if row.n_seeds >= 5 else 2 / 3 if row.n_seeds >= 3 else -1.0
    return row.seed_sd**2 / row.n_seeds >= 3 * others or residual_sd <= most * query_sd + 1e-12


def test_equal_systems_are_called_different_in_2_to_6_percent_however_much_seeds_vary(false_different):
    found = false_different[false_different["rule"] == BOTH]
    assert len(found) == 3 * 4 * 4
    assert found["rate"].max() <= 0.06
    allowed = [allows(row) for row in found.itertuples()]
    assert found[allowed]["rate"].min() >= 0.02
    assert sorted(set(found[allowed]["n_seeds"])) == [2, 3, 5, 10] and sum(allowed) == 3 * 4 * 3 + 2
    assert found[[not each for each in allowed]]["rate"].max() < 0.035  # two seeds: power is lost, and the page says so


@pytest.mark.parametrize("residual_sd, n_seeds", [(0.1, 3), (0.225, 5), (0.225, 10)])
def test_the_two_percent_hold_up_to_the_residual_that_is_named(residual_sd, n_seeds):
    design = {"residual_sd": residual_sd, "n_seeds": [n_seeds], "true_differences": [0.0]}
    found = crossed_rates(**design, n_simulations=20_000 if n_seeds == 3 else 4000, seed=0).query("verdict == 'different'")
    found = found[found["rule"] == BOTH]
    assert all(allows(row, residual_sd=residual_sd) for row in found.itertuples())
    assert 0.02 <= found["rate"].min() <= found["rate"].max() <= 0.06


def test_a_residual_that_dominates_costs_power_and_makes_no_error():
    """What is particular to a seed and a query looks like an effect of few seeds, so the test allows for one; ten seeds tell them apart."""
    found = crossed_rates(query_sd=0.05, residual_sd=0.2, n_queries=[300], true_differences=[0.0], n_simulations=4000, seed=0)
    found = found[(found["rule"] == BOTH) & (found["verdict"] == "different")]
    assert found["rate"].max() <= 0.06
    still = found[found["seed_sd"] == 0].groupby("n_seeds")["rate"].mean()
    assert still[2] < 0.01 < still[5] < 0.02 < still[10]


def test_queries_only_call_equal_systems_different_the_oftener_the_more_queries(false_different):
    """Its statistic is t with Q - 1 degrees of freedom, times the root of Var(mean) over what it takes for that."""
    found = false_different[false_different["rule"] == ALONE]
    for row in found.itertuples():
        queries = 0.15**2 / row.n_queries + 0.08**2 / (row.n_queries * row.n_seeds)
        critical = distributions.t.ppf(0.975, row.n_queries - 1)
        exact = 2 * distributions.t.sf(critical / math.sqrt(1 + row.seed_sd**2 / row.n_seeds / queries), row.n_queries - 1)
        assert row.rate == pytest.approx(exact, abs=4 * standard_error(exact, row.n_simulations)), row
    three = found[(found["n_seeds"] == 3) & (found["seed_sd"] == 0.01)].set_index("n_queries")["rate"]
    assert three[60] < three[300] < 0.15 < 0.3 < three[2000]


def test_tost_errs_at_the_margin_in_at_most_6_percent(at_the_margin):
    found = at_the_margin[at_the_margin["verdict"] == "equivalent"]
    assert found.loc[found["rule"] == BOTH, "rate"].max() <= 0.06
    assert found.loc[found["rule"] == BOTH, "rate"].max() > 0.03
    assert found.loc[(found["rule"] == ALONE) & (found["seed_sd"] == 0.02), "rate"].max() > 0.25  # and by queries only


def test_power_grows_with_queries_and_seeds_and_falls_with_what_seeds_shift(at_the_margin):
    found = at_the_margin[(at_the_margin["rule"] == BOTH) & (at_the_margin["verdict"] == "different")]
    power = found.set_index(["n_queries", "n_seeds", "seed_sd"])["rate"]
    for sd in (0.0, 0.005, 0.01, 0.02):
        assert (np.diff([power[2000, n, sd] for n in (2, 3, 5, 10)]) > 0).all() or sd == 0.0
        assert (np.diff([power[n, 5, sd] for n in (60, 300, 2000)]) > 0).all()
    assert (np.diff([power[2000, 5, sd] for sd in (0.0, 0.005, 0.01, 0.02)]) < 0).all()
    assert power[2000, 10, 0.005] > 0.95 > 0.5 > power[2000, 3, 0.02]
    assert power[2000, 2, 0.01] < 0.2  # two seeds are no sample


def test_pooling_over_seven_strategies_brings_power_and_keeps_the_error():
    design = {"n_seeds": [3], "n_queries": [300, 2000], "n_simulations": 4000, "seed": 0}
    keys = ["verdict", "true_difference", "n_queries", "seed_sd"]
    tables = (crossed_rates(systems=systems, **design).query(f"rule == '{BOTH}'") for systems in (2, 7))
    alone, pooled = (table.set_index(keys)["rate"].sort_index() for table in tables)
    assert 0.03 <= pooled["different", 0.0].min() <= pooled["different", 0.0].max() <= 0.06
    assert pooled["equivalent", 0.02].max() <= 0.06
    for sd in (0.005, 0.01):
        for n in (300, 2000):
            assert pooled["different", 0.02, n, sd] > alone["different", 0.02, n, sd] + 0.1
    assert pooled["different", 0.02, 2000, 0.01] > 0.7 > 0.5 > alone["different", 0.02, 2000, 0.01]


def test_pooling_costs_something_where_one_strategy_has_other_seeds():
    """Seven systems of which one has three times the others' seed SD; three seeds seldom show that to the test of homogeneity.

    Contrasts of that system are then called different too often, though not as often as by queries only; the others seldom.
    """
    rng, n = np.random.default_rng(0), 500
    shifts = np.array([[[3.0]]] + [[[1.0]]] * 6) * 0.01 / math.sqrt(2)
    found = {name: np.zeros(3) for name in ("its own", "of the others")}
    for _ in range(n):
        values = rng.normal(0, 0.1, (7, 1, 300)) + rng.normal(0, 1, (7, 3, 1)) * shifts + rng.normal(0, 0.057, (7, 3, 300))
        pooled = crossed.pooled_between(values.mean(axis=2))
        for name, first in (("its own", 0), ("of the others", 2)):
            estimate = crossed.crossed(values[1] - values[first])
            rules = crossed.with_pooled(estimate, pooled), estimate, estimate._replace(by_seed=0.0)
            found[name] += [each.p_difference() < 0.05 for each in rules]
    pooled, alone, by_queries = found["its own"] / n
    slack = 4 * math.sqrt(0.05 * 0.95 / n)
    assert alone <= 0.05 + slack
    assert pooled <= 0.08 + slack < by_queries
    assert (found["of the others"][:2] / n <= 0.05 + slack).all()


@pytest.mark.parametrize("n_queries, n_seeds, seed_sd, n", [(60, 3, 0.02, 3000), (60, 2, 0.0, 3000), (8, 5, 0.05, 500)])
def test_drawing_the_mean_squares_is_simulating_the_layouts(n_queries, n_seeds, seed_sd, n):
    spread, rng = Spread(0.1, seed_sd, 0.08), np.random.default_rng([7, n_queries, n_seeds])
    a = 0.3 * rng.normal(size=(n, n_queries))
    delta = spread.query * rng.normal(size=(n, 1, n_queries)) + spread.seed * rng.normal(size=(n, n_seeds, 1))
    delta = delta + spread.residual * rng.normal(size=(n, n_seeds, n_queries))
    estimates = [crossed.crossed(matrix) for matrix in delta]
    drawn = simulation._study(simulation._drawn(n_queries, n_seeds, 2, n, np.random.default_rng(0)), spread, 0.3)
    names = ["mean", "by_query", "by_seed", "residual"]
    for name in names:
        assert distributions.ks_2samp([getattr(each, name) for each in estimates], getattr(drawn, name)).pvalue > 1e-3, name
    together = np.corrcoef([getattr(drawn, name) for name in names]) - np.corrcoef(
        [[getattr(each, name) for each in estimates] for name in names]
    )
    assert np.abs(together).max() < 4 * math.sqrt(2 / n)
    for true in (0.0, 0.05):
        p_values = [(each._replace(mean=each.mean + true), each._replace(mean=each.mean + true, by_seed=0.0)) for each in estimates]
        by_layout = [[one.p_difference() < 0.05 for one in pair] + [one.p_equivalence(0.05) < 0.05 for one in pair] for pair in p_values]
        joined = published.equivalence(a, a + delta.mean(axis=1) + true).joined
        rates = [*np.mean(by_layout, axis=0), joined.mean()]
        verdicts = simulation._crossed_verdicts(drawn, true, margin=0.05, alpha=0.05)
        for rule, one, other in zip(CROSSED_RULES, rates, verdicts.mean(axis=1), strict=True):
            assert other == pytest.approx(one, abs=4 * math.sqrt(2) * standard_error(one, n)), rule


def test_the_pooled_variance_is_drawn_as_it_is_estimated():
    rng, n = np.random.default_rng(1), 3000
    values = 0.1 * rng.normal(size=(n, 1, 3)) + 0.02 / math.sqrt(2) * rng.normal(size=(n, 4, 3))  # a seed shifts all, and each
    drawn = simulation._study(simulation._drawn(50, 3, 4, n, rng), Spread(0.1, 0.02, 0.0), 0.3)
    estimated = [crossed.pooled_between(means) for means in values]
    assert drawn.seed_freedom == estimated[0].freedom == 6
    own = (values[:, 1] - values[:, 0]).var(axis=1, ddof=1)
    kept = np.maximum(own, [each.variance for each in estimated]) / 3
    assert distributions.ks_2samp(kept, drawn.by_seed).pvalue > 1e-3


def test_every_study_is_judged_as_one_at_a_time():
    spread = Spread(0.15, 0.01, 0.08)
    study = simulation._study(simulation._drawn(300, 3, 2, 300, np.random.default_rng(0)), spread, 0.3)
    verdicts = simulation._crossed_verdicts(study, 0.02, margin=0.03, alpha=0.2)
    for place in range(300):
        mean, *variances = (float(part[place]) for part in (study.mean + 0.02, study.by_query, study.by_seed, study.residual))
        both = crossed.Crossed(mean, *variances, 300, 3, 2)
        rules = both, both._replace(by_seed=0.0)
        said = [each.p_difference() < 0.2 for each in rules] + [each.p_equivalence(0.03) < 0.2 for each in rules]
        assert verdicts[:4, place].tolist() == said
    assert 20 < verdicts[0].sum() < verdicts[1].sum() < 280 and verdicts[2].sum() > 20


def test_the_crossed_table_is_complete_in_order_and_a_function_of_the_seed():
    design = {"n_queries": [80, 60], "n_seeds": [3, 2], "seed_sds": [0.01, 0.0], "true_differences": [0.02, 0.0], "n_simulations": 50}
    found = crossed_rates(**design, seed=1)
    assert list(found) == ["rule", "verdict", "n_queries", "n_seeds", "seed_sd", "true_difference", "rate", "low", "high", "n_simulations"]
    keys = [(*rule, q, s, sd, d) for q in (80, 60) for s in (3, 2) for sd in (0.01, 0.0) for d in (0.02, 0.0) for rule in CROSSED_RULES]
    assert list(found[list(found)[:6]].itertuples(index=False, name=None)) == keys
    assert ((0 <= found["low"]) & (found["low"] <= found["rate"]) & (found["rate"] <= found["high"]) & (found["high"] <= 1)).all()
    assert found.equals(crossed_rates(**design, seed=1)) and not found.equals(crossed_rates(**design, seed=2))
    alone = crossed_rates(**(design | {"n_queries": [60], "n_seeds": [2]}), seed=1)
    pd.testing.assert_frame_equal(found[(found["n_queries"] == 60) & (found["n_seeds"] == 2)].reset_index(drop=True), alone)


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"margin": 0.0}, "margin is 0.0; expected a finite number above 0"),
        ({"query_sd": 0.0}, "query_sd is 0.0; expected a finite number above 0"),
        ({"residual_sd": -0.1}, "residual_sd is -0.1; expected a finite number of at least 0"),
        ({"value_sd": math.inf}, "value_sd is inf"),
        ({"seed_sds": [0.0, math.nan]}, "seed_sds has nan; expected a finite number of at least 0"),
        ({"alpha": 0.5}, "alpha is 0.5"),
        ({"systems": 1}, "systems 1; expected .* at least 2"),
        ({"n_simulations": 0}, "n_simulations 0"),
        ({"n_queries": [60, 2]}, "n_queries has 2; expected at least 3"),
        ({"n_seeds": [1]}, "n_seeds has 1; expected at least 2"),
        ({"true_differences": [math.inf]}, "true_differences has inf"),
    ],
)
def test_crossed_settings_out_of_range_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        crossed_rates(**({"n_queries": [4], "n_seeds": [2], "n_simulations": 2, "seed": 0} | setting))

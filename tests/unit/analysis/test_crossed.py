"""Queries and seeds, both drawn at random: oracles where one of them matters alone, the definition by simulation, and what is refused."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, optimize
from scipy import stats as distributions
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests

from rd_utils.analysis import crossed, stats, verdicts
from rd_utils.analysis.crossed import Crossed, Pooled, Spread
from rd_utils.analysis.verdicts import Contrast

SETTINGS = {"level": 0.95, "equivalence_margin": 0.02, "alpha": 0.05}


def queries(n: int, collection: str = "dl19") -> pd.MultiIndex:
    return pd.MultiIndex.from_tuples([(collection, f"q{i:04d}") for i in range(n)], names=stats.QUERY_KEYS)


def layout(
    n_seeds: int, n_queries: int, *, mean: float = 0.01, query: float = 0.1, seed: float = 0.02, rest: float = 0.05, draw: int = 0
) -> np.ndarray:
    """Return (n_seeds, n_queries) differences."""
    rng = np.random.default_rng([draw, n_seeds, n_queries])
    of_queries, of_seeds = rng.normal(0, query, n_queries), rng.normal(0, seed, (n_seeds, 1))
    return mean + of_queries + of_seeds + rng.normal(0, rest, (n_seeds, n_queries))


def two_systems(n_seeds: int = 3, n_queries: int = 40, **spread: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    a = np.random.default_rng(1).uniform(0.2, 0.8, (n_queries, n_seeds))
    frames = (pd.DataFrame(values, index=queries(n_queries)) for values in (a, a + layout(n_seeds, n_queries, **spread).T))
    return tuple(frames)


# --- the estimate -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_seeds, n_queries", [(2, 2), (3, 8), (5, 30)])
def test_mean_squares_are_those_of_a_two_way_analysis_of_variance(n_seeds, n_queries):
    delta = layout(n_seeds, n_queries)
    long = pd.DataFrame([(s, q, delta[s, q]) for s in range(n_seeds) for q in range(n_queries)], columns=["seed", "query", "d"])
    squares = anova_lm(ols("d ~ C(seed) + C(query)", long).fit())["mean_sq"] / (n_seeds * n_queries)
    found = crossed.crossed(delta)
    assert found.mean == pytest.approx(delta.mean())
    expected = squares["C(query)"], squares["C(seed)"], squares["Residual"]
    assert (found.by_query, found.by_seed, found.residual) == pytest.approx(expected, rel=1e-9)
    assert (found.n_queries, found.n_seeds, found.seed_freedom) == (n_queries, n_seeds, n_seeds - 1)


def test_spread_is_unbiased_and_what_is_estimated_below_0_is_0():
    truth, n = Spread(0.1, 0.03, 0.05), 3000
    estimates = [crossed.crossed(layout(4, 12, query=0.1, seed=0.03, rest=0.05, draw=draw)) for draw in range(n)]
    parts = (
        [(e.by_query - e.residual) * 12 for e in estimates],
        [(e.by_seed - e.residual) * 4 for e in estimates],
        [e.residual * 48 for e in estimates],
    )
    for found, sd in zip(map(np.array, parts), truth, strict=True):
        assert found.mean() == pytest.approx(sd**2, abs=4 * found.std() / math.sqrt(n))
    still = crossed.crossed(np.array([[0.1, -0.1, 0.1, -0.1], [-0.1, 0.1, -0.1, 0.1], [0.1, -0.1, -0.1, 0.1]]))
    assert still.spread()[:2] == (0.0, 0.0) and still.spread().residual > 0.1


# --- the test ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_seeds", [2, 3, 5, 10])
def test_where_nothing_depends_on_queries_it_is_the_t_test_over_seeds(n_seeds):
    of_seeds = 0.02 + 0.03 * np.random.default_rng(n_seeds).normal(size=n_seeds)
    found, oracle = crossed.crossed(np.repeat(of_seeds[:, None], 70, axis=1)), distributions.ttest_1samp(of_seeds, 0.0)
    assert found.p_difference() == pytest.approx(oracle.pvalue, rel=1e-6)
    assert found.interval(0.9) == pytest.approx(tuple(oracle.confidence_interval(0.9)), rel=1e-6)


@pytest.mark.parametrize("n_queries", [2, 10, 60, 2000])
def test_where_nothing_depends_on_seeds_it_is_the_t_test_over_queries(n_queries):
    over_queries = 0.01 + 0.1 * np.random.default_rng(n_queries).normal(size=n_queries)
    found, oracle = crossed.crossed(np.tile(over_queries, (3, 1))), distributions.ttest_1samp(over_queries, 0.0)
    assert found.by_seed == 0.0
    hair = found._replace(by_seed=found.by_query * 1e-16)  # so that both variances are averaged over, and the quadrature is seen
    for each, exact in ((found, 1e-9), (hair, 1e-6)):
        assert each.p_difference() == pytest.approx(oracle.pvalue, rel=exact)
        assert each.interval(0.95) == pytest.approx(tuple(oracle.confidence_interval(0.95)), rel=exact)
        assert each.p_equivalence(0.02) == pytest.approx(stats.tost(over_queries, 0.02), rel=exact)


@pytest.mark.parametrize("n_queries, freedom, share", [(7, 6, 0.5), (7, 6, 0.2), (9, 2, 0.5), (60, 1, 0.7), (300, 4, 0.3)])
def test_between_them_it_is_the_behrens_fisher_distribution(n_queries, freedom, share):
    """Without a residual, the mean over its root of V is sqrt(1 - share) t_(Q-1) + sqrt(share) t_(S-1): a sum of two independent t's."""
    of_queries, of_seeds = distributions.t(n_queries - 1), distributions.t(freedom)
    cos, sin = math.sqrt(1 - share), math.sqrt(share)

    def tail(bound: float) -> float:
        return integrate.quad(lambda u: of_queries.pdf(u) * of_seeds.sf((bound - cos * u) / sin), -np.inf, np.inf, limit=200)[0]

    found = Crossed(0.0, 1 - share, share, 0.0, n_queries, freedom + 1, freedom)
    for bound in (0.5, 1.5, 3.0):
        assert found.tail(bound) == pytest.approx(tail(bound), rel=1e-5)
    critical = optimize.brentq(lambda bound: tail(bound) - 0.025, 0.0, 30.0)
    assert found.reach(0.025) == pytest.approx(critical, rel=1e-5)
    if (n_queries, freedom, share) == (7, 6, 0.5):
        assert found.reach(0.025) == pytest.approx(2.4359, abs=5e-5)  # two samples of seven, equal variances, 5 %, two-sided


@pytest.mark.parametrize("n_seeds, n_queries", [(2, 12), (3, 100), (6, 300)])
def test_the_tail_is_the_mean_over_what_the_variances_leave_open(n_seeds, n_queries):
    found = Crossed(0.0, 1.0, 0.8, 0.5, n_queries, n_seeds, n_seeds - 1)
    rng, n = np.random.default_rng(0), 400_000
    w_query = rng.chisquare(n_queries - 1, n) / (n_queries - 1)
    w_seed = rng.chisquare(n_seeds - 1, n) / (n_seeds - 1)
    variance = 1.0 / w_query + np.maximum(0.0, 0.8 / w_seed - 0.5)
    for bound in (0.5, 2.0, 4.0):
        draws = distributions.norm.sf(bound / np.sqrt(variance))
        assert found.tail(bound) == pytest.approx(draws.mean(), abs=4 * draws.std() / math.sqrt(n))


def test_the_residual_is_taken_off_once_and_never_makes_the_test_bolder_than_over_queries_only():
    estimate = Crossed(0.02, 1e-4, 1e-4, 0.0, 60, 3, 2)
    p_values = [estimate._replace(residual=rest).p_difference() for rest in (0.0, 2e-5, 5e-5, 1e-4, 1e-3, 1.0)]
    assert p_values == sorted(p_values, reverse=True)
    alone = estimate._replace(by_seed=0.0).p_difference()
    assert all(p >= alone for p in p_values) and p_values[0] > 2 * alone
    assert p_values[-1] == pytest.approx(alone, rel=0.01)


def test_tails_of_many_estimates_are_those_of_one_at_a_time():
    rng, n = np.random.default_rng(0), 450  # more than two blocks
    by_query, by_seed, residual = rng.uniform(0.5, 2, (3, n)) * [[1.0], [0.5], [0.3]]
    by_seed[::50] = 0.0
    by_query[::90] = by_seed[::90] = 0.0  # constants
    bound = rng.uniform(-1, 4, n)
    together = crossed.tails(bound, by_query, by_seed, residual, n_queries=60, seed_freedom=2)
    alone = [Crossed(0.0, *parts, 60, 3, 2).tail(b) for b, *parts in zip(bound, by_query, by_seed, residual, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    grid = crossed.tails(bound[:6].reshape(2, 3), 1.0, 0.5, 0.3, n_queries=60, seed_freedom=2)
    np.testing.assert_allclose(grid.ravel(), crossed.tails(bound[:6], 1.0, 0.5, 0.3, n_queries=60, seed_freedom=2), rtol=1e-12)
    assert crossed.tails(1.0, 1.0, 0.5, 0.3, n_queries=60, seed_freedom=2).shape == ()
    assert crossed.tails([], 1.0, 0.5, 0.3, n_queries=60, seed_freedom=2).shape == (0,)


@pytest.mark.parametrize("draw", range(12))
def test_interval_and_p_value_agree_and_so_do_smallest_margin_and_tost(draw):
    rng = np.random.default_rng(draw)
    shape = int(rng.integers(1, 6)), int(rng.integers(5, 80))
    found = crossed.crossed(layout(*shape, mean=rng.normal(0, 0.04), seed=rng.uniform(0, 0.03), draw=draw))
    for level in (0.8, 0.95, 0.99):
        low, high = found.interval(level)
        assert (low > 0 or high < 0) == (found.p_difference() < 1 - level)
    p = found.p_difference()
    low, high = found.interval(1 - p)
    assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-6)  # the interval that just reaches 0
    for alpha in (0.05, 0.2):
        margin = found.smallest_margin(alpha)
        assert found.p_equivalence(margin * 1.0001) < alpha < found.p_equivalence(margin * 0.9999)
        low, high = found.interval(1 - 2 * alpha)
        assert margin == pytest.approx(max(abs(low), abs(high)), rel=1e-9)


def test_swapping_shifting_scaling_and_reordering():
    delta = layout(4, 30)
    found = crossed.crossed(delta)
    swapped, scaled, moved = crossed.crossed(-delta), crossed.crossed(10 * delta), crossed.crossed(delta + 1.0)
    assert swapped.interval(0.95) == pytest.approx(tuple(-bound for bound in found.interval(0.95)[::-1]))
    assert scaled.p_difference() == pytest.approx(found.p_difference() and swapped.p_difference())
    assert scaled.smallest_margin(0.05) == pytest.approx(10 * found.smallest_margin(0.05))
    assert moved.interval(0.95) == pytest.approx(tuple(bound + 1.0 for bound in found.interval(0.95)))
    rng = np.random.default_rng(0)
    shuffled = crossed.crossed(delta[rng.permutation(4)][:, rng.permutation(30)])
    assert shuffled == pytest.approx(found, rel=1e-12)


def test_one_seed_is_the_paired_t_test_and_says_that_it_is_of_these_students():
    a, b = two_systems(n_seeds=1)
    found, oracle = verdicts.contrast(a, b, level=0.9), stats.paired_difference(a[0], b[0], level=0.9)
    for name in ("n_queries", "mean_a", "mean_b", "difference", "low", "high", "p_difference", "p_equivalence", "smallest_margin"):
        assert getattr(found, name) == pytest.approx(getattr(oracle, name), rel=1e-9), name
    assert (found.p_queries, found.low_queries) == (found.p_difference, found.low)
    assert found.queries_needed == pytest.approx(oracle.queries_needed, rel=0.01)
    assert found.n_seeds == 1 and found.seeds_needed is None and found.seed_freedom == 0
    assert all(math.isnan(value) for value in (found.seed_sd, found.residual_sd, found.seed_share))
    table = verdicts.decide(pd.DataFrame([found._asdict()]), [], alpha=0.05)
    assert table["verdict"].tolist() == ["undecided, these students only"] and table["verdict_queries"].tolist() == ["undecided"]


def test_what_does_not_vary_is_judged_by_the_margin_without_warnings(recwarn):
    a, _ = two_systems(n_seeds=3)
    same, shifted = verdicts.contrast(a, a), verdicts.contrast(a, a + 0.01)
    assert (same.p_difference, same.p_equivalence, same.low, same.high, same.smallest_margin) == (1.0, 0.0, 0.0, 0.0, 0.0)
    assert (shifted.p_difference, shifted.p_equivalence) == (0.0, 0.0)
    assert shifted.smallest_margin == pytest.approx(0.01) and (shifted.queries_needed, shifted.seeds_needed) == (2, 2)
    assert verdicts.contrast(a, a + 0.02).p_equivalence == 1.0  # the margin itself is not within it
    assert math.isnan(same.seed_share) and not recwarn.list


# --- two systems ------------------------------------------------------------------------------------------------------


def test_a_contrast_holds_both_answers():
    a, b = two_systems(n_seeds=5, n_queries=60)
    found = verdicts.contrast(a, b, level=0.9, equivalence_margin=0.03, alpha=0.1)
    estimate, students = (
        crossed.crossed((b - a).to_numpy().T),
        stats.paired_difference(a.mean(axis=1), b.mean(axis=1), level=0.9, equivalence_margin=0.03),
    )
    assert (found.mean_a, found.mean_b) == pytest.approx((a.to_numpy().mean(), b.to_numpy().mean()))
    assert (found.low, found.high) == pytest.approx(estimate.interval(0.9)) and found.p_difference == estimate.p_difference()
    assert found.p_equivalence == estimate.p_equivalence(0.03) and found.smallest_margin == estimate.smallest_margin(0.1)
    assert (found.p_queries, found.p_equivalence_queries) == pytest.approx((students.p_difference, students.p_equivalence), rel=1e-9)
    assert (found.low_queries, found.high_queries) == pytest.approx((students.low, students.high), rel=1e-9)
    assert (found.query_sd, found.seed_sd, found.residual_sd) == estimate.spread()
    variance = found.query_sd**2 / 60 + found.seed_sd**2 / 5 + found.residual_sd**2 / 300
    assert found.seed_share == pytest.approx(1 - found.query_sd**2 / 60 / variance)
    assert found.seeds_pooled == 1 and found.seed_freedom == 4


def test_a_retriever_of_one_column_stands_beside_every_seed():
    a, b = two_systems(n_seeds=3)
    retriever = a[[0]].rename(columns={0: -1})
    several = pd.concat([retriever[-1].rename(seed) for seed in b], axis=1)
    for name, one, other in zip(Contrast._fields, verdicts.contrast(retriever, b), verdicts.contrast(several, b), strict=True):
        assert one is other is None or one == pytest.approx(other, rel=1e-12), name
    assert verdicts.contrast(b, retriever).difference == -verdicts.contrast(retriever, b).difference
    found = verdicts.pairwise({"bm25": retriever, "kl": a, "lce": b, "ranknet": b + [0.01, 0.0, -0.01]}, **SETTINGS)
    assert found["seeds_pooled"].tolist() == [1, 1, 1, 3, 3, 3]  # a retriever has no seeds to pool
    alone = verdicts.contrast(retriever, b)
    assert (found["p_difference"][1], found["smallest_margin"][1]) == (alone.p_difference, alone.smallest_margin)


def test_rows_and_columns_are_matched_by_their_labels():
    a, b = two_systems(n_seeds=3)
    found = verdicts.contrast(a, b)
    assert verdicts.contrast(a.sample(frac=1, random_state=0)[[2, 0, 1]], b.sample(frac=1, random_state=1)) == found
    mixed = verdicts.contrast(a, b.rename(columns={0: 1, 1: 0}))
    assert mixed.difference == pytest.approx(found.difference) and mixed.p_difference != pytest.approx(found.p_difference, rel=1e-3)


def test_a_seed_that_moves_both_systems_cancels():
    a, b = two_systems(n_seeds=3)
    moved = verdicts.contrast(a + [0.3, 0.0, -0.3], b + [0.3, 0.0, -0.3])
    before = verdicts.contrast(a, b)
    assert (moved.low, moved.high, moved.p_difference) == pytest.approx((before.low, before.high, before.p_difference), rel=1e-9)


def test_systems_that_do_not_match_are_refused():
    a, b = two_systems(n_seeds=3, n_queries=5)
    for wrong, message in (
        (b[[0, 1]], r"not trained with the same seeds: a has \[0, 1, 2\], b has \[0, 1\].*leave out, seed 2"),
        (b[[0, 1, 2, 1]], "b has seed 1 twice"),
        (b.iloc[1:], "1 only in a, 0 only in b"),
        (b.where(b != b.iloc[3, 1]), r"b has 1 missing values, the first for \('dl19', 'q0003'\)"),
        (b[[]], "b has no columns"),
        (b.droplevel("test_collection"), "query ids repeat between"),
        (pd.concat([b, b.iloc[[0]]]), "b has 1 repeated queries"),
    ):
        with pytest.raises(ValueError, match=message):
            verdicts.contrast(a, wrong)
    with pytest.raises(ValueError, match="1 queries; expected at least 2"):
        verdicts.contrast(a.iloc[:1], b.iloc[:1])


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"level": 95}, "level is 95"), ({"level": 0.0}, "level is 0.0"), ({"alpha": 0.5}, "alpha is 0.5; .* below 0.5"),
        ({"alpha": 0}, "alpha is 0"),
        ({"equivalence_margin": 0.0}, "equivalence_margin is 0.0"), ({"equivalence_margin": math.nan}, "equivalence_margin is nan"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        verdicts.contrast(*two_systems(), **setting)


def test_differences_that_are_no_numbers_are_refused():
    delta = layout(2, 5)
    delta[1, 3] = math.nan
    with pytest.raises(ValueError, match="1 values of delta are not finite, the first of seed 1, query 3"):
        crossed.crossed(delta)
    with pytest.raises(ValueError, match=r"delta has shape \(5,\)"):
        crossed.crossed(np.zeros(5))
    with pytest.raises(ValueError, match=r"before has shape \(0, 5\)"):
        crossed.crossed_apart(np.zeros((0, 5)), layout(2, 5))


# --- one recipe against itself ----------------------------------------------------------------------------------------


def test_apart_is_the_pooled_t_test_over_seeds_where_nothing_depends_on_queries():
    rng = np.random.default_rng(0)
    before, after = rng.normal(0, 0.02, 3), rng.normal(0.03, 0.02, 4)
    found = crossed.crossed_apart(*(np.repeat(part[:, None], 20, axis=1) for part in (before, after)))
    oracle = distributions.ttest_ind(after, before)
    assert found.p_difference() == pytest.approx(oracle.pvalue, rel=1e-6) and found.seed_freedom == 5
    back = crossed.crossed_apart(*(np.repeat(part[:, None], 20, axis=1) for part in (after, before)))
    assert back.p_difference() == pytest.approx(found.p_difference()) and back.mean == pytest.approx(-found.mean)


def test_apart_estimates_the_variance_of_the_mean_without_bias():
    """Two groups with query differences of their own: Var(mean) = query^2 / Q + (seed^2 + rest^2 / Q) (1 / S_a + 1 / S_b)."""
    rng, n, (sa, sb, q) = np.random.default_rng(0), 3000, (2, 3, 15)
    means, variances = [], []
    for _ in range(n):
        before = rng.normal(0, 0.03, (sa, 1)) + rng.normal(0, 0.08, (sa, q))
        after = rng.normal(0, 0.1, q) + rng.normal(0, 0.03, (sb, 1)) + rng.normal(0, 0.08, (sb, q))
        found = crossed.crossed_apart(before, after)
        means.append(found.mean)
        variances.append(found.by_query + found.by_seed - found.residual)
    truth = 0.1**2 / q + (0.03**2 + 0.08**2 / q) * (1 / sa + 1 / sb)
    assert np.mean(variances) == pytest.approx(truth, abs=4 * np.std(variances) / math.sqrt(n))
    assert np.var(means) == pytest.approx(truth, rel=4 * math.sqrt(2 / n))


@pytest.mark.parametrize("before, after", [(1, 2), (2, 3), (5, 5)])
def test_halves_of_one_recipe_are_seldom_called_different_however_much_its_seeds_differ(before, after):
    rng, n = np.random.default_rng([before, after]), 1000
    for seed_sd in (0.0, 0.01, 0.02):
        different = np.zeros(2)
        for _ in range(n):
            of_seeds = rng.normal(0, seed_sd / math.sqrt(2), (before + after, 1))
            values = of_seeds + rng.normal(0, 0.06 / math.sqrt(2), (before + after, 300))
            by_both = crossed.crossed_apart(values[:before], values[before:])
            by_queries = crossed.crossed(values[-1:] - values[:1])
            different += [each.p_difference() < 0.05 for each in (by_both, by_queries)]
        by_both, by_queries = different / n
        assert by_both <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / n)
        if seed_sd == 0.02:
            assert by_both >= 0.02 and by_queries > 0.6  # what the paired test over queries says of one recipe


def test_apart_refuses_what_says_nothing_of_seeds():
    with pytest.raises(ValueError, match="have one seed each; expected at least three seeds in all"):
        crossed.crossed_apart(layout(1, 5), layout(1, 5))
    with pytest.raises(ValueError, match="before has 5 queries, after 6"):
        crossed.crossed_apart(layout(2, 5), layout(2, 6))
    assert crossed.crossed_apart(layout(1, 5), layout(2, 5)).seed_freedom == 1


# --- seeds of several contrasts ---------------------------------------------------------------------------------------


def test_pooled_between_is_unbiased_and_has_its_degrees_of_freedom():
    """Systems of which a seed shifts all by an SD of 0.05, and each by 0.01: of a difference the variance is 2 * 0.01^2."""
    rng, n, (k, s) = np.random.default_rng(0), 4000, (5, 3)
    found = [
        crossed.pooled_between(0.3 + rng.normal(0, 0.05, s) + rng.normal(0, 0.1, (k, 1)) + rng.normal(0, 0.01, (k, s))) for _ in range(n)
    ]
    variances, truth = np.array([each.variance for each in found]), 2 * 0.01**2
    assert {(each.freedom, each.n) for each in found} == {(8, 5)}
    assert variances.mean() == pytest.approx(truth, rel=4 * math.sqrt(2 / 8 / n))
    assert variances.var() == pytest.approx(2 * truth**2 / 8, rel=0.15)
    homogeneous = np.mean([each.p_homogeneous < 0.1 for each in found])
    assert 0.02 < homogeneous < 0.15  # Bartlett's test; rows of residuals hang together a little


@pytest.mark.parametrize("common, own", [(0.0, 0.01), (0.01, 0.01), (0.01, 0.0001)])
def test_pooled_over_is_unbiased_and_has_satterthwaites_degrees_of_freedom(common, own):
    rng, n, (k, s) = np.random.default_rng(1), 4000, (6, 3)
    found = [crossed.pooled_over(rng.normal(0, 0.1, (k, 1)) + rng.normal(0, common, s) + rng.normal(0, own, (k, s))) for _ in range(n)]
    variances, truth = np.array([each.variance for each in found]), common**2 + own**2
    of_all, of_one = common**2 + own**2 / k, (k - 1) / k * own**2  # the expectations of the two parts
    freedom = truth**2 / (of_all**2 / (s - 1) + of_one**2 / ((k - 1) * (s - 1)))
    assert variances.mean() == pytest.approx(truth, rel=4 * math.sqrt(2 / freedom / n))
    assert variances.var() == pytest.approx(2 * truth**2 / freedom, rel=0.2)
    assert all(s - 1 - 1e-9 <= each.freedom <= k * (s - 1) + 1e-9 for each in found)
    assert np.median([each.freedom for each in found]) == pytest.approx(freedom, rel=0.35)
    assert freedom == pytest.approx({0.0: k * (s - 1), 0.01: freedom}[common]) and (
        own > 0.001 or freedom == pytest.approx(s - 1, rel=0.01)
    )


def test_the_test_of_homogeneity_is_bartletts():
    rest = np.random.default_rng(2).normal(0, 0.01, (6, 4)) * [[1], [1], [2], [1], [1], [0.5]]
    rest -= rest.mean(axis=0) + rest.mean(axis=1, keepdims=True) - rest.mean()
    oracle = distributions.bartlett(*rest).pvalue
    assert crossed.pooled_between(rest).p_homogeneous == pytest.approx(oracle, rel=1e-9)
    assert crossed.pooled_over(rest + [0.1, 0.3, -0.2, 0.0]).p_homogeneous == pytest.approx(oracle, rel=1e-6)


def test_one_system_of_other_seeds_is_found_and_not_pooled():
    rng, n = np.random.default_rng(3), 400
    even, odd = (
        [crossed.pooled_between(rng.normal(0, 0.01, (7, 5)) * np.array([[1.0]] * 6 + [[last]])) for _ in range(n)] for last in (1.0, 6.0)
    )
    assert np.mean([each.allowed() for each in even]) > 0.85 and np.mean([each.allowed() for each in odd]) < 0.1
    alone = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.1, -0.1, 0.0]])
    assert (
        crossed.pooled_between(alone[:, :1]) is None
        and crossed.pooled_between(alone[:2]) is None
        and crossed.pooled_over(alone[:2]) is None
    )
    still = np.zeros((4, 3))
    assert not crossed.pooled_between(still).allowed() and crossed.pooled_over(still) is None
    estimate = crossed.crossed(layout(3, 40))
    assert crossed.with_pooled(estimate, Pooled(1.0, 12, 7, 0.05)) == estimate == crossed.with_pooled(estimate, None)
    pooled = crossed.with_pooled(estimate, Pooled(3e-4, 12, 7, 0.5))
    assert (pooled.by_seed, pooled.seed_freedom) == (3e-4 / 3, 12)
    one = crossed.crossed(layout(1, 40))
    assert crossed.with_pooled(one, Pooled(3e-4, 12, 7, 0.5)) == one


# --- how many queries and seeds ---------------------------------------------------------------------------------------


def test_the_provable_margin_is_proved_with_that_power():
    """Simulated: TOST at that margin accepts equal systems in about 80 % of the studies; more where seeds hardly leave anything open."""
    from rd_utils.analysis.simulation import TwoWays, crossed_rates

    for n_seeds, seed_sd in ((5, 0.0), (10, 0.005)):
        margin = crossed.provable_margin(Spread(0.15, seed_sd, 0.02), 300, n_seeds)
        design = {"n_queries": [300], "n_seeds": [n_seeds], "seed_sds": [seed_sd], "true_differences": [0.0], "residual_sd": 0.02}
        rates = crossed_rates(TwoWays(**design, margin=margin, n_simulations=3000), seed=0).set_index(["rule", "verdict"])["rate"]
        assert rates["queries and seeds", "equivalent"] == pytest.approx(0.8, abs=0.06)


def test_the_provable_margin_falls_with_queries_and_seeds_and_grows_with_every_spread():
    spread = Spread(0.15, 0.01, 0.06)
    by_queries = [crossed.provable_margin(spread, n, 3) for n in (10, 60, 300, 2000, 100_000)]
    by_seeds = [crossed.provable_margin(spread, 300, n) for n in (2, 3, 5, 10, 50)]
    assert by_queries == sorted(by_queries, reverse=True) and by_seeds == sorted(by_seeds, reverse=True)
    assert all(crossed.provable_margin(spread._replace(**{name: 2 * sd}), 300, 5) > by_seeds[2] for name, sd in spread._asdict().items())
    assert crossed.provable_margin(Spread(1.5, 0.1, 0.6), 300, 3) == pytest.approx(10 * by_seeds[1])
    assert crossed.provable_margin(spread, 300, 1) == crossed.provable_margin(spread._replace(seed=9.0), 300, 1)  # these students only
    assert crossed.provable_margin(spread, 300, 3, alpha=0.1) < by_seeds[1] < crossed.provable_margin(spread, 300, 3, power=0.9)
    with pytest.raises(ValueError, match="n_queries is 1, n_seeds 3"):
        crossed.provable_margin(spread, 1, 3)


@pytest.mark.parametrize("spread", [Spread(0.15, 0.0, 0.06), Spread(0.15, 0.005, 0.06), Spread(0.05, 0.01, 0.1), Spread(0.0, 0.01, 0.0)])
def test_what_is_needed_is_the_first_number_that_does(spread):
    for margin, n_seeds in itertools.product((0.01, 0.02, 0.05), (1, 3, 10)):
        needed = crossed.queries_needed(spread, margin, n_seeds)
        if needed is None:
            assert crossed.provable_margin(spread, 10_000_000, n_seeds) > margin
            continue
        assert crossed.provable_margin(spread, needed, n_seeds) <= margin
        assert needed == 2 or crossed.provable_margin(spread, needed - 1, n_seeds) > margin
    for margin, n_queries in itertools.product((0.01, 0.02, 0.05), (60, 2000)):
        needed = crossed.seeds_needed(spread, margin, n_queries)
        if needed is None:
            assert crossed.provable_margin(spread, n_queries, 1000) > margin
            continue
        assert crossed.provable_margin(spread, n_queries, needed) <= margin
        assert needed == 2 or crossed.provable_margin(spread, n_queries, needed - 1) > margin


def test_what_no_number_does_is_none():
    assert crossed.queries_needed(Spread(0.15, 0.02, 0.06), 0.02, 3) is None  # the seeds alone leave more open
    assert crossed.queries_needed(Spread(0.15, 0.02, 0.06), 0.02, 1) is not None  # of these very students
    assert crossed.seeds_needed(Spread(0.3, 0.001, 0.0), 0.02, 100) is None  # the queries alone do
    assert crossed.seeds_needed(Spread(0.15, 0.005, 0.06), 0.02, 2000) == 3 > crossed.seeds_needed(Spread(0.15, 0.0, 0.0), 0.02, 2000)


# --- families ---------------------------------------------------------------------------------------------------------


def four_systems(n: int = 60, n_seeds: int = 3, seed_sd: float = 0.002) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(8)
    base = rng.uniform(0.2, 0.8, (n, 1)) + rng.normal(0, 0.05, n_seeds)
    shifts = {"lce": (0.0, 0.02), "kl": (0.004, 0.02), "ranknet": (0.012, 0.02), "bm25": (-0.1, 0.15)}
    own = {name: shift + noise * rng.normal(size=(n, 1)) + seed_sd * rng.normal(size=n_seeds) for name, (shift, noise) in shifts.items()}
    return {name: pd.DataFrame(base + of_system, index=queries(n)) for name, of_system in own.items()}


def test_pairwise_has_every_pair_once_and_agrees_with_one_at_a_time():
    values = four_systems()
    found = verdicts.pairwise(values, **SETTINGS)
    assert list(zip(found["system_a"], found["system_b"], strict=True)) == list(itertools.combinations(values, 2))
    pooled = crossed.pooled_between(np.stack([frame.mean(axis=0) for frame in values.values()]))
    assert pooled.allowed() and set(found["seeds_pooled"]) == {4} and set(found["seed_freedom"]) == {6}
    for row in found.itertuples():
        alone = verdicts.contrast(values[row.system_a], values[row.system_b], pooled=pooled)
        needed = [None if pd.isna(number) else number for number in (row.queries_needed, row.seeds_needed)]
        assert needed == [alone.queries_needed, alone.seeds_needed]
        rest = [name for name in Contrast._fields if name not in ("queries_needed", "seeds_needed")]
        assert [getattr(row, name) for name in rest] == [getattr(alone, name) for name in rest]


def test_pairwise_verdicts_rest_on_corrected_p_values():
    found = verdicts.pairwise(four_systems(), **SETTINGS)
    corrected = {"p_difference": "p_holm", "p_equivalence": "p_equivalence_holm", "p_queries": "p_queries_holm"}
    for raw, name in corrected.items():
        np.testing.assert_allclose(found[name], multipletests(found[raw], method="holm")[1], rtol=1e-12)
    np.testing.assert_array_equal(found["different"], found["p_holm"] < 0.05)
    np.testing.assert_array_equal(found["equivalent"], found["p_equivalence_holm"] < 0.05)
    assert found["verdict"].tolist() == [stats.VERDICTS[pair] for pair in zip(found["different"], found["equivalent"], strict=True)]
    students = found["p_queries_holm"] < 0.05, stats.holm(found["p_equivalence_queries"]) < 0.05
    assert found["verdict_queries"].tolist() == [stats.VERDICTS[pair] for pair in zip(*students, strict=True)]
    assert found["different"].sum() < (found["p_difference"] < 0.05).sum()  # the correction has to matter here
    near = found[found["p_queries"] > 1e-6]  # further out, nine nodes a variance may be off by a hundredth
    assert (near["p_difference"] > near["p_queries"]).all() and len(near) > 2


def test_pairwise_correction_agrees_with_pingouin():
    pingouin = pytest.importorskip("pingouin")
    found = verdicts.pairwise(four_systems(), **SETTINGS)
    for raw, corrected in (("p_difference", "p_holm"), ("p_equivalence", "p_equivalence_holm")):
        np.testing.assert_allclose(found[corrected], pingouin.multicomp(found[raw].to_list(), method="holm")[1], rtol=1e-12)


def test_further_margins_are_families_of_their_own():
    values = four_systems()
    found = verdicts.pairwise(values, **SETTINGS, margins=[0.01, 0.02, 0.3])
    for margin in (0.01, 0.02, 0.3):
        alone = verdicts.pairwise(values, **(SETTINGS | {"equivalence_margin": margin}))
        assert found[f"equivalent_{margin:g}"].tolist() == alone["equivalent"].tolist()
        assert found[f"equivalent_{margin:g}"].dtype == bool
    counts = [found[f"equivalent_{margin:g}"].sum() for margin in (0.01, 0.02, 0.3)]
    assert counts[0] < counts[1] < counts[2] == 6


def test_families_are_corrected_apart():
    table = verdicts.pairwise(four_systems(), **SETTINGS)[list(Contrast._fields)].assign(family=["x", "y"] * 3)
    found = verdicts.decide(table, ["family"], alpha=0.05)
    for _, part in found.groupby("family"):
        np.testing.assert_allclose(part["p_holm"], stats.holm(part["p_difference"]))
        np.testing.assert_allclose(part["p_queries_holm"], stats.holm(part["p_queries"]))
    whole = verdicts.decide(table, [], alpha=0.05)
    assert (found["p_holm"] <= whole["p_holm"]).all() and (found["p_holm"] < whole["p_holm"]).any()


def test_a_verdict_of_one_seed_says_so_and_its_word_does_not():
    one = {name: frame[[0]] for name, frame in four_systems().items()}
    found = verdicts.pairwise(one, **SETTINGS)
    assert found["verdict"].str.endswith(verdicts.THESE_ONLY).all()
    assert found["verdict"].map(verdicts.verdict_word).tolist() == found["verdict_queries"].tolist()
    assert set(found["seeds_pooled"]) == {1} and found["seeds_needed"].isna().all()
    assert [verdicts.verdict_word(word) for word in stats.VERDICTS.values()] == list(stats.VERDICTS.values())


def test_pairwise_does_not_depend_on_the_order_of_queries_or_seeds():
    values, settings = four_systems(), SETTINGS | {"margins": [0.01]}
    shuffled = {name: frame.sample(frac=1, random_state=place)[[2, 0, 1]] for place, (name, frame) in enumerate(values.items())}
    pd.testing.assert_frame_equal(verdicts.pairwise(shuffled, **settings), verdicts.pairwise(values, **settings), rtol=1e-12)


def test_pairwise_refuses_what_it_cannot_pair():
    values = four_systems(n=5)
    with pytest.raises(ValueError, match="values has 1 systems; expected at least 2"):
        verdicts.pairwise({"kl": values["kl"]}, **SETTINGS)
    with pytest.raises(ValueError, match="a margin is 0.0"):
        verdicts.pairwise(values, **SETTINGS, margins=[0.0])
    with pytest.raises(ValueError, match="margin 0.01 comes twice"):
        verdicts.pairwise(values, **SETTINGS, margins=[0.01, 0.02, 0.01])
    with pytest.raises(ValueError, match=r"not trained with the same seeds: a has \[0, 1, 2\], b has \[0, 1\]"):
        verdicts.pairwise(values | {"kl": values["kl"][[0, 1]]}, **SETTINGS)
    holed = values["kl"].where(values["kl"] != values["kl"].iloc[2, 1])
    with pytest.raises(ValueError, match=r"b has 1 missing values, the first for \('dl19', 'q0002'\)"):
        verdicts.pairwise(values | {"kl": holed}, **SETTINGS)

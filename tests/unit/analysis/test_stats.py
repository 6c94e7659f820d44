"""Paired comparisons over queries: scipy and statsmodels as oracles, and the rules of the errata."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_ind, ttost_paired

from rd_utils.analysis.power import queries_needed, tost_power
from rd_utils.analysis.stats import (
    PairedDifference,
    bootstrap_interval,
    cliques,
    differences,
    holm,
    paired_difference,
    randomisation_test,
    seed_mean,
)


def queries(n: int, collection: str = "dl19") -> pd.MultiIndex:
    return pd.MultiIndex.from_tuples([(collection, f"q{i:04d}") for i in range(n)], names=["test_collection", "query_id"])


def two_systems(n: int = 40, shift: float = 0.01, noise: float = 0.05, seed: int = 3) -> tuple[pd.Series, pd.Series]:
    rng = np.random.default_rng(seed)
    a = rng.uniform(0.2, 0.8, n)
    return pd.Series(a, queries(n)), pd.Series(a + shift + noise * rng.normal(size=n), queries(n))


def per_query_table() -> pd.DataFrame:
    """Two cells, two seeds, two collections that share the query id q1."""
    rows = []
    for cell, base in (("kl/bm25", 0.5), ("lce/bm25", 0.3)):
        for seed in (0, 1):
            for collection, query_id, extra in (("dl19", "q1", 0.0), ("dl19", "q2", 0.2), ("dl20", "q1", 0.1)):
                rows.append((cell, collection, query_id, "nDCG@10", seed, base + extra + 0.02 * seed))
    return pd.DataFrame(rows, columns=["cell", "test_collection", "query_id", "measure", "seed", "value"])


# --- seeds -----------------------------------------------------------------------------------------------------------


def test_seed_mean_averages_over_seeds_and_nothing_else():
    means = seed_mean(per_query_table())
    assert len(means) == 6
    assert means["n_seeds"].tolist() == [2] * 6
    found = means.set_index(["cell", "test_collection", "query_id"])["value"]
    assert found["kl/bm25", "dl19", "q1"] == pytest.approx(0.51, abs=1e-15)
    assert found["kl/bm25", "dl20", "q1"] == pytest.approx(0.61, abs=1e-15)
    assert found["lce/bm25", "dl19", "q2"] == pytest.approx(0.51, abs=1e-15)


def test_seed_mean_keeps_cells_whose_keys_are_empty():
    table = per_query_table()
    table["teacher"] = np.where(table["cell"].str.startswith("lce"), None, "oracle")
    assert len(seed_mean(table)) == 6


def test_seed_mean_does_not_depend_on_the_order_of_rows():
    table = per_query_table()
    assert seed_mean(table.sample(frac=1, random_state=5)).equals(seed_mean(table))


def test_seed_mean_refuses_a_repeated_key():
    table = per_query_table()
    with pytest.raises(ValueError, match="1 rows repeat a key, the first .*'query_id': 'q2'"):
        seed_mean(pd.concat([table, table.iloc[[1]]]))


def test_seed_mean_refuses_a_query_without_one_of_the_seeds():
    table = per_query_table()
    with pytest.raises(ValueError, match="query 'q2' has 1 of the 2 seeds of .*'cell': 'kl/bm25'"):
        seed_mean(table.drop(index=4))  # kl/bm25, seed 1, dl19, q2


def test_seed_mean_refuses_missing_values_and_columns():
    table = per_query_table()
    with pytest.raises(ValueError, match="no column 'seed'"):
        seed_mean(table.drop(columns="seed"))
    table.loc[2, "value"] = math.nan
    with pytest.raises(ValueError, match="1 values are missing, the first for .*'dl20'"):
        seed_mean(table)


# --- two systems -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [-0.03, 0.0, 0.005, 0.1])
def test_paired_difference_is_scipys_test_and_statsmodels_tost(shift):
    a, b = two_systems(shift=shift)
    found = paired_difference(a, b, level=0.9, equivalence_margin=0.015)
    oracle = stats.ttest_rel(b.to_numpy(), a.to_numpy())
    interval = oracle.confidence_interval(0.9)
    assert found.n_queries == 40
    assert found.p_difference == pytest.approx(oracle.pvalue, rel=1e-12)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-12)
    tost = ttost_paired(a.to_numpy(), b.to_numpy(), -0.015, 0.015)
    assert found.p_equivalence == pytest.approx(tost[0], rel=1e-9)
    assert found.p_equivalence == pytest.approx(max(tost[1][1], tost[2][1]), rel=1e-9)
    assert found.difference == pytest.approx((b - a).mean(), abs=1e-15)
    assert found.mean_b - found.mean_a == pytest.approx(found.difference, abs=1e-14)


def test_four_queries_by_hand():
    # Differences 1, 2, 3, 2: mean 2, sd sqrt(2/3), standard error sqrt(1/6), so t = sqrt(24) with 3 degrees of freedom.
    # There, P(|t|) = 1 - (2 / pi) (theta + sin theta cos theta) with tan theta = t / sqrt(3) = sqrt(8): 0.0162766.
    p = 1 - 2 / math.pi * (math.atan(math.sqrt(8)) + math.sqrt(8) / 9)
    a = pd.Series([0.0, 0.0, 0.0, 0.0], queries(4))
    found = paired_difference(a, a + [1.0, 2.0, 3.0, 2.0], equivalence_margin=4.0)
    assert found.difference == 2.0
    assert found.p_difference == pytest.approx(p, abs=1e-12)
    half_width = 3.182446305 * math.sqrt(2 / 3) / 2
    assert (found.low, found.high) == pytest.approx((2 - half_width, 2 + half_width), abs=1e-8)
    assert found.p_equivalence == pytest.approx(p / 2, abs=1e-12)  # margin 4 is as far from 2 as 0 is
    assert found.smallest_margin == pytest.approx(2 + 2.353363435 * math.sqrt(2 / 3) / 2, abs=1e-8)
    assert found.verdict == "both"


def test_swapping_the_systems_changes_the_sign_only():
    a, b = two_systems()
    one, other = paired_difference(a, b), paired_difference(b, a)
    assert one.difference == -other.difference
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), rel=1e-12)
    assert one.p_difference == pytest.approx(other.p_difference, rel=1e-12)
    assert one.p_equivalence == pytest.approx(other.p_equivalence, rel=1e-9)
    assert one.verdict == other.verdict


@pytest.mark.parametrize(
    "shift, noise, n, verdict",
    [
        (0.10, 0.05, 40, "different"),
        (0.0, 0.01, 40, "equivalent"),
        (0.01, 0.01, 400, "both"),
        (0.02, 0.30, 10, "undecided"),
    ],
)
def test_verdicts(shift, noise, n, verdict):
    a, b = two_systems(n=n, shift=shift, noise=noise)
    found = paired_difference(a, b)
    assert found.verdict == verdict
    assert found.different == (verdict in ("different", "both"))
    assert found.equivalent == (verdict in ("equivalent", "both"))


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1])
def test_tost_accepts_just_above_the_smallest_margin_and_not_below(alpha):
    a, b = two_systems(shift=0.004)
    smallest = paired_difference(a, b, alpha=alpha).smallest_margin
    assert paired_difference(a, b, alpha=alpha, equivalence_margin=smallest * 1.000001).equivalent
    assert not paired_difference(a, b, alpha=alpha, equivalence_margin=smallest * 0.999999).equivalent
    at = paired_difference(a, b, alpha=alpha, equivalence_margin=smallest)
    assert at.p_equivalence == pytest.approx(alpha, rel=1e-9)


def test_equivalence_is_the_same_as_the_two_alpha_interval_within_the_margin():
    for seed in range(20):
        a, b = two_systems(shift=0.01, noise=0.04, seed=seed)
        found = paired_difference(a, b, level=0.9, alpha=0.05)
        assert found.equivalent == (-0.02 < found.low and found.high < 0.02)


def test_identical_systems_are_equivalent_at_any_margin():
    a, _ = two_systems()
    found = paired_difference(a, a.copy(), equivalence_margin=1e-6)
    assert found.verdict == "equivalent"
    assert (found.p_difference, found.p_equivalence) == (1.0, 0.0)
    assert (found.difference, found.low, found.high, found.smallest_margin) == (0.0, 0.0, 0.0, 0.0)


def test_a_constant_shift_is_judged_by_the_margin_without_warnings():
    a, _ = two_systems()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        beyond, within, at = (paired_difference(a, a + shift) for shift in (0.05, -0.01, 0.02))
    assert (beyond.verdict, beyond.p_difference, beyond.p_equivalence) == ("different", 0.0, 1.0)
    assert beyond.smallest_margin == pytest.approx(0.05, abs=1e-12)
    assert (within.verdict, within.p_equivalence) == ("both", 0.0)
    assert at.verdict == "different"  # equivalence asks for a difference strictly within the margin


def test_type_one_error_of_tost_at_the_margin_is_about_alpha():
    # The true difference is the margin itself, so that "equivalent" is wrong: it should come up in 5 % of the samples.
    # 1000 samples: standard error sqrt(.05 * .95 / 1000) = 0.0069; the band is 3.5 of them, [0.026, 0.074].
    rng = np.random.default_rng(20)
    a = pd.Series(np.full(30, 0.5), queries(30))
    wrong = sum(
        paired_difference(a, a + rng.normal(loc=0.02, scale=0.02, size=30), equivalence_margin=0.02).equivalent for _ in range(1000)
    )
    assert 26 <= wrong <= 74


# --- errata ----------------------------------------------------------------------------------------------------------


def test_erratum_37_the_margin_is_in_units_of_the_measure_and_does_not_follow_the_difference():
    a, b = two_systems(n=200, shift=0.003, noise=0.02)
    found = paired_difference(a, b, equivalence_margin=0.01)
    assert found.equivalent
    # A margin of 0.1 % of the observed difference lies inside it: the larger p-value cannot fall below one half.
    for seed in range(10):
        a, b = two_systems(seed=seed)
        relative = 0.001 * abs((b - a).mean())
        assert paired_difference(a, b, equivalence_margin=relative).p_equivalence > 0.5


def test_erratum_38_equivalent_means_that_both_one_sided_tests_reject():
    # Many queries, next to no difference: both p-values are tiny, and that is what equivalence looks like.
    a, b = two_systems(n=4000, shift=0.0, noise=0.05)
    many = paired_difference(a, b, equivalence_margin=0.01)
    assert many.p_equivalence < 1e-10
    assert many.verdict == "equivalent"
    # Eight noisy queries: a large p-value says that nothing is known.
    a = pd.Series(0.5, queries(8))
    few = paired_difference(a, a + [0.3, -0.3, 0.2, -0.2, 0.1, -0.1, 0.25, -0.2], equivalence_margin=0.01)
    assert few.p_equivalence > 0.4
    assert few.verdict == "undecided"


def test_erratum_39_the_queries_are_paired():
    # Queries differ by far more than systems do; only the paired test sees the systems.
    a, b = two_systems(n=40, shift=0.0, noise=0.01)
    assert paired_difference(a, b).p_equivalence < 1e-6
    assert ttost_ind(a.to_numpy(), b.to_numpy(), -0.02, 0.02)[0] > 0.2


def test_erratum_39_rows_are_matched_by_query_not_by_position():
    a, b = two_systems()
    assert paired_difference(a, b.sample(frac=1, random_state=1)) == paired_difference(a, b)
    assert differences(a.iloc[::-1], b).equals((b - a).sort_index())


def test_erratum_40_query_ids_that_repeat_between_collections_stay_apart():
    a = pd.concat([pd.Series([0.1, 0.2], queries(2, "fever")), pd.Series([0.3, 0.4], queries(2, "scifact"))])
    b = pd.concat([pd.Series([0.3, 0.1], queries(2, "scifact")), pd.Series([0.9, 0.2], queries(2, "fever"))])
    assert differences(a, b).round(12).to_dict() == {
        ("fever", "q0000"): 0.8,
        ("fever", "q0001"): 0.0,
        ("scifact", "q0000"): 0.0,
        ("scifact", "q0001"): -0.3,
    }
    assert paired_difference(a, b).n_queries == 4
    by_query_alone = a.droplevel("test_collection")
    with pytest.raises(ValueError, match=r"a is indexed by \['query_id'\].* query ids repeat between"):
        paired_difference(by_query_alone, by_query_alone)


def test_erratum_40_a_repeated_query_is_an_error():
    a, b = two_systems(n=3)
    with pytest.raises(ValueError, match=r"b has 1 repeated queries, the first \('dl19', 'q0001'\)"):
        paired_difference(a, pd.concat([b, b.iloc[[1]]]))


def test_systems_on_different_queries_are_refused():
    a, b = two_systems(n=5)
    with pytest.raises(ValueError, match=r"1 only in a, 0 only in b, the first \('dl19', 'q0002'\)"):
        paired_difference(a, b.drop(("dl19", "q0002")))


def test_missing_values_and_bad_settings_are_refused():
    a, b = two_systems(n=5)
    with pytest.raises(ValueError, match=r"a has 1 missing values, the first for \('dl19', 'q0003'\)"):
        paired_difference(a.where(a.index != ("dl19", "q0003")), b)
    with pytest.raises(ValueError, match="1 queries; expected at least 2"):
        paired_difference(a.iloc[:1], b.iloc[:1])
    for setting in ({"equivalence_margin": 0.0}, {"alpha": 1.0}, {"level": 95}):
        with pytest.raises(ValueError, match=f"{next(iter(setting))} is"):
            paired_difference(a, b, **setting)


# --- families and the bootstrap --------------------------------------------------------------------------------------


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.5.
    assert holm([0.5, 0.02, 0.01, 0.03]).tolist() == pytest.approx([0.5, 0.06, 0.04, 0.06], abs=1e-15)


def test_holm_agrees_with_statsmodels_decisions_and_never_helps():
    p_values = np.random.default_rng(2).uniform(size=40) ** 4
    corrected = holm(p_values)
    reject, oracle, _, _ = multipletests(p_values, alpha=0.05, method="holm")
    np.testing.assert_allclose(corrected, oracle, atol=0)
    assert ((corrected <= 0.05) == reject).all()
    assert (corrected >= p_values).all() and corrected.max() <= 1
    assert 0 < reject.sum() < (p_values < 0.05).sum()


def test_holm_of_one_and_of_none():
    assert holm([0.03]).tolist() == [0.03]
    assert holm([]).tolist() == []


def test_holm_refuses_what_is_no_p_value():
    with pytest.raises(ValueError, match=r"1 p-values are not in \[0, 1\], the first \(nan\) at position 1"):
        holm([0.2, math.nan])
    with pytest.raises(ValueError, match=r"the first \(1.2\) at position 0"):
        holm([1.2, -0.1])


def test_bootstrap_agrees_with_the_t_interval_on_many_normal_values():
    a, b = two_systems(n=400, shift=0.02, noise=0.05)
    found = bootstrap_interval(differences(a, b), seed=0)
    exact = paired_difference(a, b)
    assert found.estimate == pytest.approx(exact.difference, abs=1e-15)
    width = exact.high - exact.low
    # 2000 resamples place a 2.5 % quantile within about 2 % of the width (one standard error); 8 % is allowed.
    assert found.low == pytest.approx(exact.low, abs=0.08 * width)
    assert found.high == pytest.approx(exact.high, abs=0.08 * width)


def test_bootstrap_over_pairs_is_narrower_than_over_one_system():
    a, b = two_systems(n=100, noise=0.01)
    paired, alone = bootstrap_interval(differences(a, b), seed=0), bootstrap_interval(b, seed=0)
    assert paired.high - paired.low < (alone.high - alone.low) / 5


def test_bootstrap_is_a_function_of_the_seed_and_of_the_values_by_query():
    a, b = two_systems()
    delta = differences(a, b)
    assert bootstrap_interval(delta, seed=4) == bootstrap_interval(delta.sample(frac=1, random_state=0), seed=4)
    assert bootstrap_interval(delta, seed=4) != bootstrap_interval(delta, seed=5)
    state = np.random.get_state()[1].tolist()
    bootstrap_interval(delta, seed=4)
    assert np.random.get_state()[1].tolist() == state


def test_bootstrap_is_the_same_in_a_second_process_with_another_hash_seed():
    code = "from rd_utils.analysis.stats import bootstrap_interval; print(bootstrap_interval([0.1, 0.4, 0.2, 0.9], seed=6))"
    other = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parents[3],
        env={**os.environ, "PYTHONHASHSEED": "271828"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == str(bootstrap_interval([0.1, 0.4, 0.2, 0.9], seed=6))


def test_bootstrap_of_equal_values_is_a_point():
    assert bootstrap_interval([0.3] * 10, seed=0)[1:] == pytest.approx((0.3, 0.3), abs=1e-15)


def test_bootstrap_refuses_what_it_cannot_resample():
    with pytest.raises(ValueError, match="n at least 2"):
        bootstrap_interval([0.3], seed=0)
    with pytest.raises(ValueError, match="1 of 3 values are not finite, the first at position 1"):
        bootstrap_interval([0.3, math.nan, 0.2], seed=0)
    with pytest.raises(ValueError, match="level is 95"):
        bootstrap_interval([0.3, 0.2], seed=0, level=95)


# --- another library says the same -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "n, shift, noise, margin", [(8, 0.0, 0.2, 0.02), (43, 0.03, 0.1, 0.02), (43, -0.01, 0.02, 0.02), (400, 0.005, 0.1, 0.01)]
)
def test_tests_agree_with_pingouin(n, shift, noise, margin):
    pingouin = pytest.importorskip("pingouin")
    a, b = two_systems(n=n, shift=shift, noise=noise, seed=n)
    found = paired_difference(a, b, equivalence_margin=margin)
    equivalence = pingouin.tost(b.to_numpy(), a.to_numpy(), bound=margin, paired=True)
    difference = pingouin.ttest(b.to_numpy(), a.to_numpy(), paired=True)
    assert found.p_equivalence == pytest.approx(equivalence["pval"].iloc[0], rel=1e-9)
    assert found.p_difference == pytest.approx(difference["p_val"].iloc[0], rel=1e-9)


# --- the randomisation test ------------------------------------------------------------------------------------------


def test_randomisation_agrees_with_all_the_signs():
    delta = np.array([0.3, -0.1, 0.2, 0.05, 0.4, -0.05, 0.1, 0.15, -0.2, 0.25])
    sums = np.array([abs(np.dot(signs, delta)) for signs in itertools.product([1, -1], repeat=len(delta))])
    exact = (sums >= abs(delta.sum()) - 1e-9).mean()
    found = randomisation_test(delta, seed=0, n_resamples=40_000)
    assert 0.01 < exact < 0.2
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 40_000))


def test_randomisation_agrees_with_scipy_and_with_the_t_test():
    a, b = two_systems(n=200, shift=0.008, noise=0.05)
    delta = differences(a, b)
    oracle = stats.permutation_test(
        (delta.to_numpy(),), np.mean, permutation_type="samples", n_resamples=4999, vectorized=True, rng=np.random.default_rng(1)
    ).pvalue
    found = randomisation_test(delta, seed=0, n_resamples=20_000)
    assert 0.005 < oracle < 0.3
    assert found == pytest.approx(oracle, abs=4 * math.sqrt(oracle * (1 - oracle) * (1 / 20_000 + 2 / 5_000)))  # scipy doubles one side
    assert found == pytest.approx(paired_difference(a, b).p_difference, abs=0.015)


def test_randomisation_counts_ties_and_is_never_zero():
    # Two differences of 0.1: half of the signs are as extreme. 0.1 + 0.2 and 0.3 tie on paper, not in floats.
    assert randomisation_test([0.1, 0.1], seed=0) == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / 4999))
    tied = randomisation_test([0.1, 0.2, -0.3], seed=0)  # the sum is 0: every sign is as extreme
    assert tied == 1.0
    assert randomisation_test([0.1] * 200, seed=0, n_resamples=99) == 0.01
    assert randomisation_test(np.zeros(20), seed=0) == 1.0


def test_randomisation_is_two_sided_and_a_function_of_the_seed_and_of_the_values_by_query():
    a, b = two_systems(shift=0.02)
    delta = differences(a, b)
    assert randomisation_test(delta, seed=1) == randomisation_test(-delta, seed=1)
    assert randomisation_test(delta, seed=1) == randomisation_test(delta.sample(frac=1, random_state=0), seed=1)
    assert len({randomisation_test(delta, seed=seed) for seed in range(5)}) > 1


def test_randomisation_in_several_blocks_says_the_same(monkeypatch):
    delta = differences(*two_systems(n=100, shift=0.008))
    whole = randomisation_test(delta, seed=0)
    monkeypatch.setattr("rd_utils.analysis.stats._BLOCK_VALUES", 1000)
    assert randomisation_test(delta, seed=0) == pytest.approx(whole, abs=4 * math.sqrt(2 * whole * (1 - whole) / 4999))


def test_randomisation_refuses_what_it_cannot_turn():
    with pytest.raises(ValueError, match=r"delta has shape \(1,\); expected \(n,\)"):
        randomisation_test([0.3], seed=0)
    with pytest.raises(ValueError, match="1 of 2 values are not finite, the first at position 0"):
        randomisation_test([math.nan, 0.3], seed=0)
    with pytest.raises(ValueError, match="n_resamples is 0"):
        randomisation_test([0.1, 0.2], seed=0, n_resamples=0)


# --- power -----------------------------------------------------------------------------------------------------------


def test_power_with_two_queries_by_hand():
    # One degree of freedom: u = S / sd is |z|, the mean is independent of it, and t(0.95) = tan(0.45 pi) = 6.313752.
    # With margin sqrt(0.5) * 6.313752 sd, the test rejects when |x| + 6.313752 |z| < 6.313752 for independent normal x, z.
    t = math.tan(0.45 * math.pi)
    inside = integrate.quad(lambda z: 2 * stats.norm.pdf(z) * (2 * stats.norm.cdf(t * (1 - z)) - 1), 0, 1, epsabs=1e-13)[0]
    assert tost_power(2, 1.0, t * math.sqrt(0.5)) == pytest.approx(inside, abs=1e-12)
    assert 0.5 < inside < 0.7


@pytest.mark.parametrize("n", [2, 3, 8, 43, 300, 2000])
@pytest.mark.parametrize(
    "sd, difference, alpha", [(0.02, 0.0, 0.05), (0.1, -0.015, 0.01), (0.2, 0.0, 0.05), (0.05, 0.02, 0.2), (0.1, 0.05, 0.05)]
)
def test_power_agrees_with_adaptive_quadrature(n, sd, difference, alpha):
    v, r = n - 1, math.sqrt(n) / sd
    t = stats.t.ppf(1 - alpha, v)

    def integrand(u: float) -> float:
        shows = stats.norm.cdf((0.02 - difference) * r - t * u) - stats.norm.cdf(-(0.02 + difference) * r + t * u)
        return max(0.0, shows) * 2 * v * u * stats.chi2.pdf(v * u * u, v)

    # A general integrator from quantile to quantile of u, cut where the integrand turns.
    ends = np.sqrt([*stats.chi2.ppf([1e-14, 1e-6, 0.01, 0.3, 0.7, 0.99, 1 - 1e-6], v), stats.chi2.isf(1e-14, v)] / np.float64(v))
    turns = [abs(0.02 - difference) * r / t, 0.02 * r / t, (0.02 + difference) * r / t]
    bounds = np.unique([*ends, *(turn for turn in turns if ends[0] < turn < ends[-1])])
    pieces = [integrate.quad(integrand, low, high, epsabs=1e-13)[0] for low, high in itertools.pairwise(bounds)]
    assert tost_power(n, sd, 0.02, difference=difference, alpha=alpha) == pytest.approx(sum(pieces), abs=1e-10)


def test_power_is_close_to_the_noncentral_t_where_the_tests_do_not_meet():
    # Both tests reject at once unless one of them fails; that both fail is as good as impossible with this many queries.
    n, sd, margin, difference = 400, 0.1, 0.02, 0.004
    t = stats.t.ppf(0.95, n - 1)
    one = stats.nct.sf(t, n - 1, (margin + difference) * math.sqrt(n) / sd)
    other = stats.nct.sf(t, n - 1, (margin - difference) * math.sqrt(n) / sd)
    assert tost_power(n, sd, margin, difference=difference) == pytest.approx(one + other - 1, abs=1e-9)


def test_power_agrees_with_simulation():
    # 4000 samples of 12 queries; four binomial standard errors.
    rng = np.random.default_rng(5)
    delta = rng.normal(0.005, 0.03, size=(4000, 12))
    half = stats.t.ppf(0.95, 11) * delta.std(axis=1, ddof=1) / math.sqrt(12)
    rate = (np.abs(delta.mean(axis=1)) + half < 0.02).mean()
    exact = tost_power(12, 0.03, 0.02, difference=0.005)
    assert 0.1 < exact < 0.9
    assert rate == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 4000))


def test_power_invariants():
    assert tost_power(40, 0.1, 0.02) == pytest.approx(tost_power(40, 10.0, 2.0), abs=1e-14)  # units do not matter
    assert tost_power(40, 0.1, 0.05, difference=0.01) == pytest.approx(tost_power(40, 0.1, 0.05, difference=-0.01), abs=1e-14)
    assert tost_power(100_000, 0.2, 0.02, difference=0.02) == pytest.approx(0.05, abs=1e-12)  # type I error, many queries
    assert tost_power(20, 0.2, 0.02, difference=0.02) < 1e-3  # and few: TOST then hardly ever says anything
    assert tost_power(10, 0.0, 0.02) == 1.0
    assert tost_power(10, 0.0, 0.02, difference=0.02) == 0.0
    assert tost_power(10, 1e-9, 0.02) == 1.0
    # At alpha 0.5, t is 0, and what is left is |mean| < margin.
    assert tost_power(50, 0.1, 0.02, alpha=0.5) == pytest.approx(2 * stats.norm.cdf(0.2 * math.sqrt(50)) - 1, abs=1e-12)


@pytest.mark.parametrize(
    "sd, alpha, difference, power", [(0.03, 0.05, 0.0, 0.8), (0.02, 0.01, 0.01, 0.5), (0.06, 0.05, -0.005, 0.9), (0.015, 0.3, 0.0, 0.95)]
)
def test_queries_needed_is_the_first_with_that_power(sd, alpha, difference, power):
    reached = [n for n in range(2, 300) if tost_power(n, sd, 0.02, alpha=alpha, difference=difference) >= power]
    assert 2 < reached[0] < 299
    assert queries_needed(sd, 0.02, alpha=alpha, difference=difference, power=power) == reached[0]


def test_queries_needed_by_the_normal_formula_and_at_the_ends():
    # z(0.95) + z(0.9) = 1.6448536270 + 1.2815515655 = 2.9264051925: squared, 8.5638473506 times (sd / margin)^2 queries.
    assert queries_needed(0.2, 0.002) == pytest.approx(85_638.5, abs=2)
    assert queries_needed(0.2, 2e-7) == pytest.approx(8.5638473506e12, rel=1e-9)
    assert queries_needed(0.0, 0.02) == 2
    assert queries_needed(1e-6, 0.02) == 2
    assert queries_needed(0.2, 0.02, difference=0.02) is None
    assert queries_needed(0.2, 0.02, difference=-0.03) is None
    assert queries_needed(0.0, 0.02, difference=0.02) is None
    assert queries_needed(0.2, 0.02, difference=0.0199, power=0.01) >= 2  # below alpha: z is negative


def test_power_refuses_settings_out_of_range():
    for setting in ({"sd": -0.1}, {"sd": math.nan}, {"margin": 0.0}, {"margin": math.inf}, {"difference": math.nan}, {"alpha": 1.0}):
        with pytest.raises(ValueError, match=f"^{next(iter(setting))} is"):
            tost_power(**({"n": 10, "sd": 0.1, "margin": 0.02} | setting))
        with pytest.raises(ValueError, match=f"^{next(iter(setting))} is"):
            queries_needed(**({"sd": 0.1, "margin": 0.02} | setting))
    with pytest.raises(ValueError, match="n is 1; expected at least 2 queries"):
        tost_power(1, 0.1, 0.02)
    with pytest.raises(ValueError, match="power is 1.0"):
        queries_needed(0.1, 0.02, power=1.0)


def test_a_difference_says_how_many_queries_it_takes():
    a, b = two_systems(n=30, noise=0.05)
    found = paired_difference(a, b, equivalence_margin=0.015, alpha=0.1)
    assert found.queries_needed == queries_needed(float((b - a).std()), 0.015, alpha=0.1)
    assert PairedDifference._fields[-1] == "queries_needed"
    assert paired_difference(a, a).queries_needed == 2
    assert paired_difference(a, a + 0.3).queries_needed == 2


# --- letters ---------------------------------------------------------------------------------------------------------


def test_erratum_41_letters_do_not_make_equivalence_transitive():
    # a ~ b and b ~ c does not join a and c; d stands alone.
    assert cliques(list("abcd"), [("a", "b"), ("c", "b")]) == {"a": "a", "b": "ab", "c": "b", "d": ""}
    assert cliques(list("abcd"), [("a", "b"), ("c", "b"), ("c", "a")]) == {"a": "a", "b": "a", "c": "a", "d": ""}
    assert cliques(["x", "y"], []) == {"x": "", "y": ""}
    # And this happens with data: 0.012 apart twice is 0.024, beyond the margin.
    rng = np.random.default_rng(0)
    base = rng.uniform(0.2, 0.8, 100)
    values = pd.DataFrame(
        {name: base + shift + 0.01 * rng.normal(size=100) for name, shift in (("x", 0.0), ("y", 0.012), ("z", 0.024))}, queries(100)
    )
    pairs = itertools.combinations(values, 2)
    joined = [(one, other) for one, other in pairs if paired_difference(values[one], values[other]).equivalent]
    assert cliques(list(values), joined) == {"x": "a", "y": "ab", "z": "b"}


def test_systems_share_a_letter_exactly_when_they_are_equivalent():
    rng = np.random.default_rng(4)
    systems = [f"s{i}" for i in range(9)]
    for _ in range(20):
        pairs = [pair for pair in itertools.combinations(systems, 2) if rng.random() < 0.5]
        letters = cliques(systems, pairs)
        for one, other in itertools.combinations(systems, 2):
            assert bool(set(letters[one]) & set(letters[other])) == ((one, other) in pairs)
        shuffled = [pair[::-1] if rng.random() < 0.5 else pair for pair in rng.permutation(pairs).tolist()]
        assert cliques(systems, [tuple(pair) for pair in shuffled]) == letters


def test_letters_go_on_after_z_and_follow_the_order_of_systems():
    systems = [f"s{i:02d}" for i in range(60)]
    pairs = [(systems[i], systems[i + 1]) for i in range(0, 56, 2)]  # 28 cliques of two
    letters = cliques(systems, pairs[::-1])
    assert (letters["s00"], letters["s50"], letters["s52"], letters["s54"], letters["s56"]) == ("a", "z", "aa", "ab", "")
    # A system in many cliques: with more than 26 of them, its letters are apart.
    hub = cliques(systems[:29], [(systems[0], other) for other in systems[1:29]])
    assert hub["s00"].split(" ")[24:] == ["y", "z", "aa", "ab"]
    assert hub["s28"] == "ab"


def test_cliques_refuse_unknown_systems():
    with pytest.raises(ValueError, match=r"the pair \('a', 'z'\) has the unknown system 'z'"):
        cliques(["a", "b"], [("a", "z")])
    with pytest.raises(ValueError, match="is of one system"):
        cliques(["a", "b"], [("a", "a")])
    with pytest.raises(ValueError, match="system 'a' comes twice"):
        cliques(["a", "b", "a"], [])

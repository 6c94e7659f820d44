"""A study's tables of effectiveness, from hand-made measures and from a store that holds what the test says."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from studies_on_disk import NAN, planned, put, put_all

from rd_utils.analysis import contrasts, crossed, factorial, questions, stats
from rd_utils.analysis import tables as analysis
from rd_utils.store import Store
from rd_utils.study import params, studies
from rd_utils.workflow.pipeline import Pipeline
from rd_utils.workflow.progress import untracked

SETTINGS = studies.AnalysisSettings(baseline_strategy="corpus_random", equivalence_margin=0.02)
PLAIN = {"strategy": "bm25", "teacher": "", "loss": "lce", "architecture": "static", "augmentation": "none", "cut": "all"}
PLAIN |= {"temperature": 1.0, "target_entropy": NAN}
TAUGHT = PLAIN | {"teacher": "t", "loss": "kl"}


def rows(cell, values, system="student", seeds=(0,), place="c", **dimensions):
    about = {"study": "s", "cell": cell, "system": system, "collection": f"{place}/train", "test_collection": f"{place}/test"}
    about |= PLAIN | dimensions | {"first_stage": "full", "measure": "nDCG@10"}
    return [about | {"seed": seed, "query_id": f"q{i}", "value": value + 0.01 * seed} for seed in seeds for i, value in enumerate(values)]


def system(cell, values, seeds=None, **about) -> list[dict]:
    """Rows of a system with exactly these values, (queries,) or (seeds, queries)."""
    values = np.atleast_2d(values)
    seeds = range(len(values)) if seeds is None else seeds
    return [row | {"seed": seed} for seed, own in zip(seeds, values, strict=True) for row in rows(cell, own, **about)]


def baseline(cell, values, kind="first_stage", seeds=(-1,), **about) -> list[dict]:
    """Rows of a system that the grid does not train."""
    return system(cell, values, seeds, system=kind, **({"strategy": "", "loss": "", "architecture": ""} | about))


def test_results_average_queries_and_summary_averages_seeds():
    table = pd.DataFrame(rows("a", [0.2, 0.4], seeds=(0, 1, 2)))
    results = analysis.results(table)
    assert results["value"].round(6).tolist() == [0.3, 0.31, 0.32]
    assert list(results.columns) == analysis.RESULT_COLUMNS
    (row,) = analysis.summary(results).itertuples()
    assert (round(row.mean, 6), round(row.sd, 6), row.n_seeds) == (0.31, 0.01, 3)


def test_a_cell_of_several_collections_is_summed_up_on_each():
    table = pd.DataFrame(rows("a", [0.2, 0.4]) + rows("a", [0.6, 0.8], place="d"))
    summary = analysis.summary(analysis.results(table))
    assert summary[["collection", "mean"]].round(6).to_numpy().tolist() == [["c/train", 0.3], ["d/train", 0.7]]


# --- differences --------------------------------------------------------------------------------------------------------------


def test_contrasts_differ_in_one_thing_only():
    base = np.linspace(0.1, 0.9, 40)
    generator = np.random.default_rng(0)
    kl = {"loss": "kl", "teacher": "t"}
    table = pd.DataFrame(
        rows("r-lce", base, strategy="corpus_random")
        + rows("b-lce", base + 0.1 + 0.01 * generator.standard_normal(40))
        + rows("r-kl", base + 0.001 * generator.standard_normal(40), strategy="corpus_random", **kl)
        + rows("b-kl", base, **kl)
        + rows("BM25", base, system="first_stage", strategy="", loss="", architecture="")
    )
    found = contrasts.differences(table, SETTINGS)
    said = {family: set(zip(part["cell_before"], part["cell_after"], strict=True)) for family, part in found.groupby("family")}
    assert said == {
        "strategy": {("r-lce", "b-lce"), ("r-kl", "b-kl")},
        "loss": {("r-lce", "r-kl"), ("b-lce", "b-kl")},
        "strategy x loss": {("r-lce", "b-kl")},
        "first stage": {("BM25", cell) for cell in ("r-lce", "b-lce", "r-kl", "b-kl")},
    }
    strategy = found[found["family"] == "strategy"].set_index("cell_after")
    assert strategy["verdict"].to_dict() == {"b-lce": "different, these students only", "b-kl": "equivalent, these students only"}
    assert strategy.loc["b-lce", "difference"] == pytest.approx(0.1, abs=0.005)
    assert strategy.loc["b-lce", "contrast"] == "bm25 - corpus_random"
    assert (found["p_holm"] >= found["p_difference"]).all()


def named_contrasts(**cells):
    frame = pd.DataFrame.from_dict(cells, orient="index")[analysis.DIMENSIONS]
    return [tuple(found) for found in questions.contrasts(frame, "corpus_random")]


def test_every_family_compares_with_its_plain_value_and_nothing_else_changes():
    found = named_contrasts(
        lce=PLAIN,
        kl=TAUGHT,
        random=TAUGHT | {"strategy": "corpus_random"},
        noise=TAUGHT | {"augmentation": "noise"},
        upper=TAUGHT | {"cut": "upper_half"},
        upper_lce=PLAIN | {"cut": "upper_half"},
        other=TAUGHT | {"teacher": "u"},
        hot=TAUGHT | {"temperature": 4.0},
        other_hot=TAUGHT | {"teacher": "u", "temperature": 4.0},
    )
    assert found == [
        ("strategy", "random", "kl", "bm25 - corpus_random"),
        ("loss", "lce", "kl", "kl - lce"),
        ("loss", "upper_lce", "upper", "kl - lce"),
        ("loss", "lce", "other", "kl - lce"),
        ("loss", "lce", "hot", "kl - lce"),
        ("loss", "lce", "other_hot", "kl - lce"),
        ("augmentation", "kl", "noise", "noise - none"),
        ("cut", "kl", "upper", "upper_half - all"),
        ("cut", "lce", "upper_lce", "upper_half - all"),
        ("teacher", "kl", "other", "u - t"),
        ("teacher", "hot", "other_hot", "u - t"),
        ("temperature", "kl", "hot", "T=4 - T=1"),
        ("temperature", "other", "other_hot", "T=4 - T=1"),
    ]


def test_a_missing_target_entropy_equals_a_missing_one_and_no_other():
    low, high = TAUGHT | {"target_entropy": 0.2}, TAUGHT | {"target_entropy": 0.7}
    found = named_contrasts(
        plain=TAUGHT,
        plain_random=TAUGHT | {"strategy": "corpus_random"},
        low=low,
        low_random=low | {"strategy": "corpus_random"},
        high=high,
        low_other=low | {"teacher": "u"},
    )
    assert found == [
        ("strategy", "plain_random", "plain", "bm25 - corpus_random"),
        ("strategy", "low_random", "low", "bm25 - corpus_random"),
        ("teacher", "low", "low_other", "u - t"),
    ]


def test_temperatures_of_a_study_with_target_entropies_still_set_teachers_apart():
    target = TAUGHT | {"target_entropy": 0.2}
    found = named_contrasts(one=TAUGHT, hot=TAUGHT | {"temperature": 4.0}, other=TAUGHT | {"teacher": "u"}, target=target)
    assert ("teacher", "one", "other", "u - t") in found
    assert not [pair for pair in found if pair[1:3] == ("hot", "other")]


def test_cells_with_other_seeds_are_not_compared():
    table = pd.DataFrame(
        rows("r", [0.1, 0.2, 0.3], strategy="corpus_random") + rows("b", [0.1, 0.2, 0.4], seeds=(0, 1))
        + rows("r", [0.1, 0.2, 0.3], strategy="corpus_random", place="d") + rows("b", [0.1, 0.2, 0.4], place="d")
    )  # fmt: skip
    found = contrasts.differences(table, SETTINGS)
    assert found["collection"].tolist() == ["d/train"]
    assert found.attrs["skipped"] == 1


def test_holm_corrects_within_a_collection():
    generator = np.random.default_rng(1)
    cells = {"r": "corpus_random", "b": "bm25", "d": "dense"}
    table = [
        row
        for place in ("c", "d")
        for cell, strategy in cells.items()
        for row in rows(cell, generator.uniform(size=30), strategy=strategy, place=place)
    ]
    found = contrasts.differences(pd.DataFrame(table), SETTINGS)
    assert len(found) == 4
    for _, part in found.groupby("collection"):
        smaller, larger = sorted(part["p_difference"])
        assert sorted(part["p_holm"]) == pytest.approx(sorted([min(1, 2 * smaller), max(min(1, 2 * smaller), larger)]))


# --- over collections ---------------------------------------------------------------------------------------------------------


def several_collections() -> pd.DataFrame:
    generator = np.random.default_rng(2)
    table = []
    for place, gain in (("c", 0.1), ("d", 0.2), ("e", 0.06)):
        base = generator.uniform(0.2, 0.6, size=30)
        table += rows("r", base, strategy="corpus_random", place=place)
        table += rows("b", base + gain + 0.01 * generator.standard_normal(30), place=place)
    return pd.DataFrame(table)


def test_across_is_a_t_interval_over_collections():
    differences = contrasts.differences(several_collections(), SETTINGS)
    (row,) = contrasts.across(differences, level=0.9).to_dict("records")
    expected = scipy_stats.ttest_1samp(differences["difference"], 0).confidence_interval(0.9)
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected))
    assert row["mean"] == pytest.approx(differences["difference"].mean())
    assert (row["n_collections"], row["n_positive"], row["different"], row["equivalent"]) == (3, 3, 3, 0)
    assert row["contrast"] == "bm25 - corpus_random" and np.isnan(row["target_entropy"])


def test_across_one_collection_has_no_interval_and_across_nothing_is_empty():
    differences = contrasts.differences(several_collections(), SETTINGS)
    (row,) = contrasts.across(differences[differences["collection"] == "c/train"]).to_dict("records")
    assert row["n_collections"] == 1 and np.isnan(row["low"]) and np.isnan(row["high"])
    nothing = contrasts.across(contrasts.differences(pd.DataFrame(rows("a", [0.1, 0.2])), SETTINGS))
    assert nothing.empty and {"contrast", "n_collections", "mean", "low", "high"} <= set(nothing.columns)


def test_across_keeps_cells_apart_that_differ_in_their_target_entropy_only():
    differences = contrasts.differences(several_collections(), SETTINGS)
    both = pd.concat([differences, differences.assign(target_entropy=0.3, difference=-0.5)])
    table = contrasts.across(both)
    assert table["n_collections"].tolist() == [3, 3] and table["mean"].iloc[1] == -0.5


def test_across_crosses_collections_with_seeds():
    """Two collections of which one seed says 0.1 and the other 0.3 alike: a t over seeds, whatever the collections agree on."""
    table = [
        row
        for place in ("c", "d")
        for row in system("r", np.full((2, 4), 0.5), strategy="corpus_random", place=place)
        + system("b", np.array([[0.6], [0.8]]) * np.ones(4), place=place)
    ]
    (row,) = contrasts.across(contrasts.differences(pd.DataFrame(table), SETTINGS), level=0.9).to_dict("records")
    half = scipy_stats.t.ppf(0.95, 1) * 0.1
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((0.2, 0.2 - half, 0.2 + half), rel=1e-4)
    assert (row["n_collections"], row["n_seeds"], row["sd"]) == (2, 2, pytest.approx(0.0, abs=1e-9))
    moved = [row | {"value": row["value"] + 0.04 * (row["cell"] == "b" and row["test_collection"] == "d/test")} for row in table]
    (both,) = contrasts.across(contrasts.differences(pd.DataFrame(moved), SETTINGS), level=0.9).to_dict("records")
    assert both["low"] < row["low"] and both["high"] > row["high"] + 0.02  # what collections leave open comes on top


def test_across_collections_with_other_numbers_of_seeds_is_students_over_collections():
    parts = []
    for place, n in (("c", 1), ("d", 2), ("e", 2)):
        gain = {"c": 0.1, "d": 0.2, "e": 0.3}[place]
        parts += system("r", np.full((n, 4), 0.5), strategy="corpus_random", place=place)
        parts += system("b", np.full((n, 4), 0.5 + gain), place=place)
    (row,) = contrasts.across(contrasts.differences(pd.DataFrame(parts), SETTINGS)).to_dict("records")
    expected = scipy_stats.ttest_1samp([0.1, 0.2, 0.3], 0).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected)) and row["n_collections"] == 3


def factorial_of(values: np.ndarray, loss: str = "kl") -> pd.DataFrame:
    """Results of values (strategies, target entropies, seeds)."""
    table = [
        row
        for s, h, seed in itertools.product(*map(range, values.shape))
        for row in rows(f"{s}-{h}", [values[s, h, seed]], teacher="t", loss=loss, strategy=f"s{s}", target_entropy=0.1 * (h + 1))
        if not row.update(seed=seed)
    ]
    return analysis.results(pd.DataFrame(table))


def blocked() -> np.ndarray:
    """Strategies lie 1 about the mean, entropies 2, seeds 1, and one half is added where strategy and seed are both first or both last."""
    sign = np.array([-1.0, 1.0])
    return sign[:, None, None] + 2 * sign[None, :, None] + sign + 0.5 * sign[:, None, None] * sign + 4


def test_two_way_by_hand():
    """Eight values: sums of squares 8 * 1, 8 * 4, 0, 8 * 1 and 8 * 0.25, the last with 3 degrees of freedom, so a mean square of 2/3."""
    table = factorial.two_way(factorial_of(blocked())).set_index("source")
    squares = {"strategy": 8.0, "target_entropy": 32.0, "interaction": 0.0, "seeds": 8.0, "residual": 2.0}
    assert table["sum_of_squares"].to_dict() == pytest.approx(squares)
    assert table["share"].tolist() == pytest.approx([0.16, 0.64, 0.0, 0.16, 0.04])
    assert table["df"].tolist() == [1, 1, 1, 1, 3]
    assert table["F"].tolist()[:3] == pytest.approx([12.0, 48.0, 0.0]) and table.loc["interaction", "p"] == pytest.approx(1.0)
    assert table.loc[["seeds", "residual"], ["omega_squared", "F", "p"]].isna().all(axis=None)


def test_what_a_seed_adds_to_every_cell_alike_is_no_error_of_an_effect():
    """Seeds as replicates would take it for one: their F would fall with it."""
    values = np.random.default_rng(6).normal(size=(3, 4, 3))
    plain, shifted = (factorial.two_way(factorial_of(values + shift)).set_index("source") for shift in (0.0, np.array([-5.0, 0.0, 5.0])))
    effects = ["strategy", "target_entropy", "interaction"]
    pd.testing.assert_frame_equal(shifted.loc[effects, ["F", "p"]], plain.loc[effects, ["F", "p"]])
    assert shifted.loc["seeds", "share"] > 0.9 > plain.loc["seeds", "share"]


def test_two_way_agrees_with_statsmodels():
    import statsmodels.formula.api as smf
    from statsmodels.stats.anova import anova_lm

    generator = np.random.default_rng(3)
    values = (
        generator.normal(size=(5, 6, 3)) + generator.normal(size=(5, 1, 1)) + generator.normal(size=(1, 6, 1)) + generator.normal(size=3)
    )
    results = factorial_of(values)
    expected = anova_lm(smf.ols("value ~ C(strategy) * C(target_entropy) + C(seed)", results).fit())
    expected = expected.loc[["C(strategy)", "C(target_entropy)", "C(strategy):C(target_entropy)", "C(seed)", "Residual"]]
    found = factorial.two_way(results)
    assert found["source"].tolist() == ["strategy", "target_entropy", "interaction", "seeds", "residual"]
    assert found["sum_of_squares"].to_numpy() == pytest.approx(expected["sum_sq"].to_numpy())
    assert found["df"].tolist() == expected["df"].tolist() == [4, 5, 20, 2, 58]
    assert found["F"].to_numpy()[:3] == pytest.approx(expected["F"].to_numpy()[:3])
    assert found["p"].to_numpy()[:3] == pytest.approx(expected["PR(>F)"].to_numpy()[:3])
    assert found["share"].sum() == pytest.approx(1)


def test_two_way_takes_each_loss_by_itself_and_leaves_cells_without_a_target_out():
    values = np.random.default_rng(4).normal(size=(2, 2, 2))
    results = pd.concat([factorial_of(values), factorial_of(values + 1, "ranknet"), analysis.results(pd.DataFrame(rows("lce", [0.1])))])
    found = factorial.two_way(results)
    assert found["loss"].tolist() == ["kl"] * 5 + ["ranknet"] * 5
    assert found["share"].to_numpy()[:5] == pytest.approx(found["share"].to_numpy()[5:])


def test_two_way_of_losses_lets_lce_have_no_teacher():
    table = []
    for strategy, seed, (loss, teacher) in itertools.product(("a", "b"), (0, 1), (("lce", ""), ("kl", "t"))):
        table += rows(f"{strategy}-{loss}", [0.1 * seed], strategy=strategy, loss=loss, teacher=teacher, seeds=(seed,))
    found = factorial.two_way(analysis.results(pd.DataFrame(table)), columns="loss")
    assert found["source"].tolist() == ["strategy", "loss", "interaction", "seeds", "residual"]
    assert found["share"].tolist()[3] == pytest.approx(1) and found["F"].isna().all()  # rounding is no residual


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (lambda r: ~((r["strategy"] == "s1") & (r["target_entropy"] > 0.15) & (r["seed"] == 1)), "not balanced: 1 of 8 combinations.*'s1'"),
        (lambda r: r["seed"] == 0, "has one seed only, 0; expected at least 2"),
        (lambda r: r["target_entropy"] < 0.15, "has one target_entropy only, 0.1"),
        (lambda r: r["strategy"] == "none", "no trained cell has both a strategy and a target_entropy"),
    ],
)
def test_two_way_refuses_what_is_no_balanced_factorial(keep, message):
    results = factorial_of(np.arange(8.0).reshape(2, 2, 2))
    with pytest.raises(ValueError, match=message):
        factorial.two_way(results[keep(results)])


def test_two_way_refuses_a_value_that_stands_twice_and_an_unknown_dimension():
    results = factorial_of(np.arange(8.0).reshape(2, 2, 2))
    with pytest.raises(ValueError, match="not balanced: 8 of 8 combinations do not have one value, the first is .* with 2"):
        factorial.two_way(pd.concat([results, results]))
    with pytest.raises(ValueError, match="'stragety' is no dimension; did you mean 'strategy'"):
        factorial.two_way(results, rows="stragety")


def test_the_spread_of_strategies_is_over_their_means():
    table = rows("r", [0.3], strategy="corpus_random", seeds=(0, 2)) + rows("b", [0.5]) + rows("d", [0.4], strategy="dense")
    table += rows("k", [0.9], **{"loss": "kl", "teacher": "t"}) + rows("u", [0.0], system="untrained", strategy="")
    (row,) = analysis.strategy_spread(analysis.results(pd.DataFrame(table))).to_dict("records")  # one strategy under kl has no spread
    assert (row["loss"], row["n_strategies"], row["lowest"], row["highest"]) == ("lce", 3, "corpus_random", "bm25")
    assert row["spread"] == pytest.approx(0.19)  # 0.5 - (0.30 + 0.32) / 2
    assert row["sd"] == pytest.approx(np.std([0.31, 0.5, 0.4], ddof=1))


# --- margins, resampling and seeds --------------------------------------------------------------------------------------------


def pair(before, after, **settings) -> pd.Series:
    """Return the contrast of two strategies with these values per query and seed, (queries,) or (seeds, queries)."""
    table = []
    for cell, strategy, values in (("r", "corpus_random", before), ("b", "bm25", after)):
        for seed, row in enumerate(np.atleast_2d(values)):
            table += [entry | {"seed": seed} for entry in rows(cell, row, strategy=strategy)]
    (found,) = contrasts.differences(pd.DataFrame(table), SETTINGS.model_copy(update=settings)).to_dict("records")
    return pd.Series(found)


def test_a_contrast_by_hand():
    """Differences 0.5, 0, -0.5 and 1, whose squared deviations from 0.25 sum to 1.25."""
    found = pair([0.5, 0.5, 1.0, 0.0], [1.0, 0.5, 0.5, 1.0])
    error = (1.25 / 3) ** 0.5 / 2  # sd / sqrt(4)
    half = 3.182446305 * error  # t(0.975, 3)
    for low, high in (("low", "high"), ("low_queries", "high_queries")):
        assert (found[low], found[high]) == pytest.approx((0.25 - half, 0.25 + half))
    assert found["smallest_margin"] == pytest.approx(0.25 + 2.353363435 * error)  # t(0.95, 3)
    assert found["p_difference"] == found["p_queries"] == pytest.approx(2 * scipy_stats.t.sf(0.25 / error, 3))
    assert found["p_equivalence"] == found["p_equivalence_queries"] == pytest.approx(scipy_stats.t.sf((0.02 - 0.25) / error, 3))
    assert found["p_randomisation"] == pytest.approx(0.75, abs=0.03)  # 6 of the 8 signings of 0.5, 0.5 and 1 sum to 1 or more
    assert found["p_holm"] == found["p_difference"] and found["p_equivalence_holm"] == found["p_equivalence"]  # a family of one
    assert (found["n_queries"], found["n_seeds"], found["equivalence_margin"]) == (4, 1, 0.02)
    assert (found["verdict"], found["verdict_queries"]) == ("undecided, these students only", "undecided")
    assert found[["seed_sd", "residual_sd", "seed_share", "seeds_needed", "p_homogeneous"]].isna().all()  # one seed says nothing of seeds


def test_where_only_seeds_vary_the_test_is_students_over_seeds():
    """One seed gains 0.1 on every query, the other 0.3: 0.2 with a standard error of 0.1 and one degree of freedom."""
    values = np.linspace(0.1, 0.5, 12)
    found = pair(np.stack([values, values]), np.stack([values + 0.1, values + 0.3]))
    assert found["p_difference"] == pytest.approx(2 * scipy_stats.t.sf(2, 1), rel=1e-4)
    half = scipy_stats.t.ppf(0.975, 1) * 0.1
    assert (found["difference"], found["low"], found["high"]) == pytest.approx((0.2, 0.2 - half, 0.2 + half), rel=1e-4)
    assert found["p_equivalence"] == pytest.approx(scipy_stats.t.sf(-1.8, 1), rel=1e-4)  # 0.02 lies 1.8 standard errors below 0.2
    assert (found["low_queries"], found["high_queries"], found["p_queries"]) == pytest.approx((0.2, 0.2, 0.0))
    assert (found["query_sd"], found["seed_sd"], found["residual_sd"]) == pytest.approx((0.0, 0.02**0.5, 0.0), abs=1e-9)
    assert (found["verdict"], found["verdict_queries"], found["fragile"]) == ("undecided", "different", True)
    assert found["p_randomisation"] == pytest.approx(2 / 2**12, abs=0.002)  # all signs plus or all minus
    assert found["seed_differences"] == pytest.approx([0.1, 0.3])
    assert pd.isna(found["queries_needed"]) and found["seeds_needed"] > 100  # more queries say nothing of seeds


def test_where_only_queries_vary_the_test_is_the_paired_one():
    delta = np.random.default_rng(4).normal(0.01, 0.05, 30)
    found = pair(np.full((3, 30), 0.5), np.tile(0.5 + delta, (3, 1)))
    expected = scipy_stats.ttest_1samp(delta, 0)
    assert found["p_difference"] == found["p_queries"] == pytest.approx(expected.pvalue)
    assert (found["low"], found["high"]) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found["seed_share"] == pytest.approx(0, abs=1e-9) and found["n_seeds"] == 3
    assert found["query_sd"] == pytest.approx(delta.std(ddof=1)) and found["verdict"] == "undecided"  # of three seeds: no suffix


def test_the_variances_of_a_contrast_by_hand():
    """Differences 0, 0.4 and 0.3, 0.5: means over seeds 0.15, 0.45, over queries 0.2, 0.4; each lies 0.05 off their sum."""
    found = pair(np.zeros((2, 2)), [[0.0, 0.4], [0.3, 0.5]])
    residual = 4 * 0.05**2  # one degree of freedom
    assert found["residual_sd"] ** 2 == pytest.approx(residual)
    assert found["query_sd"] ** 2 == pytest.approx(0.3**2 / 2 - residual / 2)  # of the means over two seeds, less their rest
    assert found["seed_sd"] ** 2 == pytest.approx(0.2**2 / 2 - residual / 2)
    assert found["seed_freedom"] == 1 and found["seeds_pooled"] == 1


def test_an_equivalence_is_shown_at_every_margin_that_the_study_names():
    wiggle = 0.002 * np.random.default_rng(7).standard_normal(40)
    base = np.linspace(0.2, 0.6, 40)
    names = ["equivalent_0.005", "equivalent_0.01", "equivalent_0.02"]
    verdicts = {gain: pair(base, base + gain + wiggle, margins_shown=(0.005, 0.01, 0.02)) for gain in (0.0, 0.008, 0.015, 0.03)}
    assert {gain: found[names].tolist() for gain, found in verdicts.items()} == {
        0.0: [True, True, True],
        0.008: [False, True, True],
        0.015: [False, False, True],
        0.03: [False, False, False],
    }
    assert "equivalent_0.01" not in pair(base, base, margins_shown=())


def many_cells(n: int = 6) -> pd.DataFrame:
    """Values of a baseline and n strategies, each further from it, with two first stages."""
    generator, table = np.random.default_rng(8), []
    for stage, spread in (("full", 0.03), ("bm25@100", 0.06)):
        base = generator.uniform(0.2, 0.6, size=50)
        table += [row | {"first_stage": stage} for row in rows("r", base, strategy="corpus_random")]
        for place in range(n):
            values = base + 0.004 * place + spread * generator.standard_normal(50)
            table += [row | {"first_stage": stage} for row in rows(f"s{place}", values, strategy=f"s{place}")]
    return pd.DataFrame(table)


def test_every_margin_is_a_family_of_its_own_that_holm_corrects():
    table = many_cells()
    found = contrasts.differences(table, SETTINGS)
    assert len(found) == 12
    for stage, part in found.groupby("first_stage"):
        values = table[table["first_stage"] == stage].set_index(["cell", "query_id"])["value"].unstack("query_id")
        deltas = [values.loc[cell] - values.loc["r"] for cell in part["cell_after"]]
        for margin in (0.01, 0.02):
            by_hand = [max(scipy_stats.ttest_1samp(delta, side * margin, alternative=test).pvalue
                           for side, test in ((-1, "greater"), (1, "less"))) for delta in deltas]  # fmt: skip
            assert part[f"equivalent_{margin:g}"].tolist() == (stats.holm(by_hand) < 0.05).tolist()
            if margin == SETTINGS.equivalence_margin:
                assert part["p_equivalence"].tolist() == pytest.approx(by_hand)
                assert part["p_equivalence_holm"].tolist() == pytest.approx(stats.holm(by_hand).tolist())
    assert 0 < found["equivalent"].sum() < 12
    assert (found["equivalent_0.02"] == found["equivalent"]).all()  # the same margin, said twice
    assert (~found["equivalent_0.01"] | found["equivalent_0.02"]).all()  # what a stricter margin shows, a wider one does


def test_differences_do_not_depend_on_the_order_of_rows_and_hold_their_estimates():
    table = many_cells(3)
    found = contrasts.differences(table, SETTINGS)
    keys = ["first_stage", "cell_after"]
    shuffled = contrasts.differences(table.sample(frac=1, random_state=0), SETTINGS)
    columns = ["difference", "low", "high", "p_holm", "p_equivalence_holm", "p_randomisation", "low_queries", "high_queries"]
    pd.testing.assert_frame_equal(
        shuffled.set_index(keys)[columns].sort_index(), found.set_index(keys)[columns].sort_index(), rtol=1e-9, check_like=True
    )
    for low, high in (("low", "high"), ("low_queries", "high_queries")):
        assert (found[low] < found["difference"]).all() and (found["difference"] < found[high]).all()
    assert found["difference"].to_numpy() == pytest.approx((found["mean_b"] - found["mean_a"]).to_numpy())


def test_only_the_compared_measure_is_contrasted_and_baselines_that_belong_to_no_cell_are_not():
    table = pd.DataFrame(rows("r", [0.1, 0.2, 0.4], strategy="corpus_random") + rows("b", [0.3, 0.2, 0.4]))
    other = table.assign(measure="AP", value=0.0)
    untrained = pd.DataFrame(baseline("untrained bert", [0.0, 0.0, 0.0], "untrained", (0,), architecture="bert"))
    teacher = pd.DataFrame(baseline("teacher t", [0.9, 0.9, 0.9], "teacher", teacher="t"))  # which teaches no cell here
    pd.testing.assert_frame_equal(
        contrasts.differences(pd.concat([table, other, untrained, teacher]), SETTINGS), contrasts.differences(table, SETTINGS)
    )


def test_a_query_that_one_cell_lacks_is_named():
    table = pd.DataFrame(rows("r", [0.1, 0.2, 0.4], strategy="corpus_random") + rows("b", [0.3, 0.2]))
    with pytest.raises(ValueError, match=r"not evaluated on the same queries: 1 only in a, 0 only in b, the first \('c/test', 'q2'\)"):
        contrasts.differences(table, SETTINGS)


def test_the_share_of_seeds_by_hand():
    """Differences 0 and 0.4 with one seed, 0.2 and 0.6 with the other: 0.02 over seeds and 0.08 over queries, each halved, no rest."""
    zero = np.zeros((2, 2))
    assert pair(zero, [[0.0, 0.4], [0.2, 0.6]])["seed_share"] == pytest.approx(0.01 / 0.05)
    assert pair(zero, [[0.0, 0.2], [0.9, 0.8]])["seed_share"] == 1.0  # the two queries agree better than their rest lets them
    assert np.isnan(pair(zero, np.full((2, 2), 0.1))["seed_share"])  # no variance has no share
    assert np.isnan(pair(zero[0], [0.0, 0.4])["seed_share"])


def test_the_share_of_seeds_is_their_part_of_the_variance():
    """Over queries the variance is 1, and with each seed 1 more: of the mean of four seeds 0.25 in 1.25, a fifth."""
    generator = np.random.default_rng(12)
    after = generator.standard_normal(3000) + generator.standard_normal((4, 3000))
    assert pair(np.zeros((4, 3000)), after)["seed_share"] == pytest.approx(0.2, abs=0.02)


WIGGLE = 0.002 * scipy_stats.zscore(np.random.default_rng(7).standard_normal(40))
BASE = np.linspace(0.2, 0.6, 40)


@pytest.mark.parametrize(
    ("gains", "verdict", "queries", "fragile"),
    [
        ((0.1, 0.1), "different", "different", False),
        ((0.3, -0.1), "undecided", "different", True),  # the seeds disagree about the sign
        ((0.0, 0.0), "equivalent", "equivalent", False),
        ((0.03, -0.03), "undecided", "equivalent", True),  # no seed is within the margin of 0.02
        ((0.006, 0.006), "both", "both", False),
        ((0.005, 0.007), "equivalent", "both", True),  # six standard errors, with one degree of freedom: p is 0.105
        ((0.004, 0.024), "undecided", "both", True),
        ((0.016, -0.004), "undecided", "both", True),
    ],
)
def test_a_verdict_of_these_students_that_other_seeds_may_deny_is_fragile(gains, verdict, queries, fragile):
    found = pair(np.stack([BASE, BASE]), np.stack([BASE + gain + WIGGLE for gain in gains]))
    assert (found["verdict"], found["verdict_queries"], found["fragile"]) == (verdict, queries, fragile)


def test_a_difference_that_signs_do_not_show_is_fragile():
    """Four queries with nearly the same gain: 2 of 16 signings are as extreme, whatever the t test says."""
    found = pair([0.1, 0.2, 0.3, 0.4], [0.2, 0.3001, 0.4002, 0.5003])
    assert (found["verdict"], found["verdict_queries"]) == ("different, these students only", "different")
    assert found["p_randomisation"] == pytest.approx(0.125, abs=0.02) and found["fragile"]


def test_what_is_undecided_by_both_looks_is_not_fragile():
    found = pair([0.5, 0.5, 1.0, 0.0], [1.0, 0.5, 0.5, 1.0])
    assert (found["verdict"], found["verdict_queries"], found["fragile"]) == ("undecided, these students only", "undecided", False)


def test_the_smallest_margin_is_where_equivalence_begins():
    generator = np.random.default_rng(5)
    after = 0.5 + 0.004 + 0.06 * generator.standard_normal(100) + 0.01 * generator.standard_normal((3, 1))
    smallest = pair(np.full((3, 100), 0.5), after)["smallest_margin"]
    for factor, verdict in ((0.999, "undecided"), (1.001, "equivalent")):
        assert pair(np.full((3, 100), 0.5), after, equivalence_margin=factor * smallest)["verdict"] == verdict


def test_a_study_of_one_seed_collection_and_strategy_without_teacher_has_differences_or_none():
    nothing = contrasts.differences(pd.DataFrame(rows("a", [0.1, 0.2, 0.4])), SETTINGS)
    assert nothing.empty and nothing.attrs["skipped"] == 0 and {"verdict", "seed_share", "fragile"} <= set(nothing.columns)
    assert contrasts.differences(pd.DataFrame(rows("a", [0.1, 0.2, 0.4], strategy="corpus_random")), SETTINGS).empty
    table = rows("a", [0.1, 0.2, 0.4]) + rows("noise", [0.1, 0.3, 0.4], augmentation="noise")
    (row,) = contrasts.differences(pd.DataFrame(table), SETTINGS).to_dict("records")
    assert (row["family"], row["contrast"], row["teacher"], row["fragile"]) == ("augmentation", "noise - none", "", False)
    assert row["difference"] == pytest.approx(0.1 / 3) and np.isnan(row["seed_share"])


# --- seeds of several contrasts, and baselines --------------------------------------------------------------------------------


def strategies(seed_sds=(0.01, 0.01, 0.01, 0.01), n_seeds=3, n_queries=30, **about) -> dict[str, np.ndarray]:
    """Values (seeds, queries) of a baseline and further strategies, by cell, whose seeds have these standard deviations."""
    generator = np.random.default_rng(21)
    names = ["corpus_random", *(f"s{place}" for place in range(1, len(seed_sds)))]
    query = generator.normal(0.5, 0.1, n_queries)
    noise = {name: 0.02 * generator.standard_normal((n_seeds, n_queries)) for name in names}
    return {name: query + sd * generator.standard_normal((n_seeds, 1)) + noise[name] for name, sd in zip(names, seed_sds, strict=True)}


def table_of(values: dict[str, np.ndarray], seeds=None, **about) -> list[dict]:
    loss = about.get("loss", "lce")
    return [row for name, own in values.items() for row in system(f"{name}-{loss}", own, seeds, strategy=name, **about)]


def test_seeds_of_all_strategies_are_pooled_where_their_variances_may_be_one():
    """Four strategies of three seeds: twice the mean square of the interaction, with 3 times 2 degrees of freedom, or the own if larger."""
    values = strategies()
    found = contrasts.differences(pd.DataFrame(table_of(values)), SETTINGS)
    means = np.stack([own.mean(axis=1) for own in values.values()])
    rest = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
    assert (found["seeds_pooled"] == 4).all() and (found["seed_freedom"] == 6).all() and (found["p_homogeneous"] > 0.1).all()
    for row in found.to_dict("records"):
        delta = values[row["strategy"]] - values["corpus_random"]
        kept = max(2 * (rest**2).sum() / 6, delta.mean(axis=1).var(ddof=1))
        assert row["seed_sd"] ** 2 + row["residual_sd"] ** 2 / 30 == pytest.approx(kept)
        assert row["difference"] == pytest.approx(delta.mean()) and row["seed_differences"] == pytest.approx(delta.mean(axis=1).tolist())
    alone = contrasts.differences(pd.DataFrame(table_of({name: values[name] for name in ("corpus_random", "s1")})), SETTINGS)
    assert alone["seeds_pooled"].tolist() == [1] and alone["seed_freedom"].tolist() == [2] and alone["p_homogeneous"].isna().all()


def test_seeds_are_not_pooled_where_one_strategy_has_another_variance():
    found = contrasts.differences(pd.DataFrame(table_of(strategies((0.001, 0.001, 0.001, 0.001, 0.2), n_seeds=6))), SETTINGS)
    assert (found["p_homogeneous"] < 0.1).all() and (found["seeds_pooled"] == 1).all() and (found["seed_freedom"] == 5).all()
    sds = found.set_index("strategy")["seed_sd"]
    assert sds["s4"] > 10 * sds["s1"]


def test_seeds_are_pooled_within_an_architecture_and_loss_only():
    values = strategies()
    table = table_of(values) + table_of(strategies(n_seeds=5), loss="kl", teacher="t")
    strategy = contrasts.differences(pd.DataFrame(table), SETTINGS).query("family == 'strategy'").set_index(["loss", "strategy"])
    alone = contrasts.differences(pd.DataFrame(table_of(values)), SETTINGS).set_index(["loss", "strategy"])
    columns = ["p_difference", "seed_sd", "seed_freedom", "seeds_pooled"]
    pd.testing.assert_frame_equal(strategy.loc[["lce"], columns], alone[columns], check_dtype=False)
    assert (strategy.loc["kl", "seed_freedom"] == 12).all()


def test_a_column_without_seeds_stands_beside_every_seed():
    """Cells 0.5 and 0.7 with two seeds against a retriever's 0.4: a t of 2 with one degree of freedom, the queries alike."""
    cells = system("a", [[0.5, 0.6, 0.7], [0.7, 0.8, 0.9]])
    found = contrasts.differences(pd.DataFrame(cells + baseline("BM25", [0.4, 0.5, 0.6])), SETTINGS)
    (row,) = found.to_dict("records")
    assert (row["family"], row["contrast"], row["cell_before"], row["cell_after"]) == ("first stage", "trained - BM25", "BM25", "a")
    assert (row["mean_a"], row["mean_b"], row["n_seeds"]) == (pytest.approx(0.5), pytest.approx(0.7), 2)
    assert row["seed_differences"] == pytest.approx([0.1, 0.3]) and row["p_difference"] == pytest.approx(0.2951672, rel=1e-4)
    assert row["verdict_queries"] == "different" and row["verdict"] == "undecided" and row["fragile"]


def test_the_seeds_of_two_retrievers_are_not_pooled_as_if_they_were_independent():
    """Every cell against two retrievers: the same seeds twice say no more of seeds than once."""
    cells = table_of(strategies())
    bm25, dense = (baseline(name, value * np.ones(30)) for name, value in (("BM25", 0.4), ("dense", 0.6)))
    one = contrasts.differences(pd.DataFrame(cells + bm25), SETTINGS).query("family == 'first stage'")
    two = contrasts.differences(pd.DataFrame(cells + bm25 + dense), SETTINGS).query("family == 'first stage'")
    assert len(one) == 4 and len(two) == 8 and set(two["contrast"]) == {"trained - BM25", "trained - dense"}
    columns = ["seed_freedom", "seeds_pooled", "p_difference"]
    both = two[two["cell_before"] == "BM25"]
    pd.testing.assert_frame_equal(both[columns].reset_index(drop=True), one[columns].reset_index(drop=True))
    assert (one["seeds_pooled"] == 4).all() and (one["seed_freedom"] <= 8).all()  # at most 4 cells of 2 each


def test_a_cell_is_compared_with_its_own_untrained_self_whatever_seeds_others_have():
    untrained = np.array([[0.1, 0.2], [0.3, 0.4], [0.6, 0.8]])
    table = system("short", [[0.5, 0.5], [0.6, 0.6]]) + system("long", [[0.5, 0.5], [0.6, 0.6], [0.7, 0.7]], loss="kl", teacher="t")
    table += system("other", [[0.5, 0.6], [0.6, 0.6]], architecture="checkpoint")
    table += baseline("untrained static", untrained, "untrained", (0, 1, 2), architecture="static")
    table += baseline("untrained checkpoint", [0.4, 0.4], "untrained", (0,), architecture="checkpoint")  # nothing of it is random
    found = contrasts.differences(pd.DataFrame(table), SETTINGS)
    assert found.attrs["skipped"] == 1  # long against short, whose seeds differ
    found = found[found["family"] == "untrained"].set_index("cell_after")
    assert found["contrast"].unique().tolist() == ["trained - untrained"]
    assert found["n_seeds"].to_dict() == {"short": 2, "long": 3, "other": 2}
    assert found["seed_differences"]["short"] == pytest.approx([0.35, 0.25])
    assert found["seed_differences"]["long"] == pytest.approx([0.35, 0.25, 0.0])
    assert found["seed_differences"]["other"] == pytest.approx([0.15, 0.2])


def test_a_baseline_with_too_few_seeds_is_skipped_and_counted():
    table = system("a", [[0.5, 0.5], [0.6, 0.6], [0.7, 0.7]])
    table += baseline("untrained static", [[0.1, 0.2], [0.3, 0.4]], "untrained", (0, 1), architecture="static")
    found = contrasts.differences(pd.DataFrame(table), SETTINGS)
    assert found.empty and found.attrs["skipped"] == 1


def test_a_cell_is_compared_with_its_own_teacher_and_lce_with_the_studys_first():
    table = system("lce", [0.5, 0.6]) + system("u", [0.6, 0.7], loss="kl", teacher="u") + system("t", [0.7, 0.7], loss="kl", teacher="t")
    table += system("file", [0.3, 0.2], loss="kl", teacher="file")  # whose scores are of training pairs: it has no row
    table += baseline("teacher t", [0.9, 0.8], "teacher", teacher="t") + baseline("teacher u", [0.8, 0.8], "teacher", teacher="u")
    found = contrasts.differences(pd.DataFrame(table), SETTINGS)
    found = found[found["family"] == "against teacher"]
    said = zip(found["cell_before"], found["cell_after"], found["difference"].round(9), strict=True)
    assert set(said) == {("teacher u", "lce", -0.25), ("teacher u", "u", -0.15), ("teacher t", "t", -0.15)}
    assert found.loc[found["cell_after"] == "lce", "teacher"].tolist() == [""]
    only_file = [row for row in table if row["cell"] in ("lce", "file")]
    assert "against teacher" not in set(contrasts.differences(pd.DataFrame(only_file), SETTINGS)["family"])


def test_a_system_is_compared_where_it_was_evaluated():
    """A cross-encoder re-ranks only; a retriever is a row of its own stage."""
    table = [row | {"first_stage": stage} for stage in ("full", "bm25@100") for row in rows("bi", [0.5, 0.7])]
    table += [row | {"first_stage": "bm25@100"} for row in rows("cross", [0.6, 0.9], architecture="cross")]
    table += [row | {"first_stage": "bm25@100"} for row in baseline("BM25", [0.4, 0.5])]
    found = contrasts.differences(pd.DataFrame(table), SETTINGS)
    assert found[["first_stage", "cell_before", "cell_after"]].to_numpy().tolist() == [
        ["bm25@100", "BM25", "bi"],
        ["bm25@100", "BM25", "cross"],
    ]


def four_cells(kl_gain: float = 0.3, seeds=(0, 1)) -> list[dict]:
    """Under LCE the strategy gains 0.1 on every query and seed, under KL ``kl_gain`` and with the second seed 0.1 more."""
    base = np.linspace(0.2, 0.4, 5)
    lce = np.stack([base, base + 0.05])
    kl = lce + 0.02
    shift = np.array([[0.0], [0.1]])
    taught = {"loss": "kl", "teacher": "t"}
    return (
        system("r-lce", lce, seeds, strategy="corpus_random") + system("b-lce", lce + 0.1, seeds)
        + system("r-kl", kl, seeds, strategy="corpus_random", **taught) + system("b-kl", kl + kl_gain + shift, seeds, **taught)
    )  # fmt: skip


def test_the_interaction_of_strategy_and_loss_by_hand():
    """Gains 0.1 under LCE and 0.3 and 0.4 under KL: 0.2 and 0.3 more, a t of 5 with one degree of freedom."""
    found = contrasts.differences(pd.DataFrame(four_cells()), SETTINGS)
    assert found["family"].value_counts().to_dict() == {"strategy": 2, "loss": 2, "strategy x loss": 1}
    (row,) = found[found["family"] == "strategy x loss"].to_dict("records")
    assert (row["contrast"], row["cell_before"], row["cell_after"]) == ("bm25 - corpus_random, kl - lce", "r-lce", "b-kl")
    assert (row["strategy"], row["loss"], row["teacher"]) == ("bm25", "kl", "t")
    assert (row["mean_a"], row["mean_b"], row["difference"]) == pytest.approx((0.1, 0.35, 0.25))
    assert row["seed_differences"] == pytest.approx([0.2, 0.3]) and row["p_holm"] == row["p_difference"]
    assert row["p_difference"] == pytest.approx(2 * scipy_stats.t.sf(5, 1), rel=1e-4)
    assert (row["verdict"], row["verdict_queries"]) == ("undecided", "different")


@pytest.mark.parametrize("without", ["r-lce", "b-lce", "r-kl", "b-kl"])
def test_an_interaction_needs_all_four_cells_with_the_same_seeds(without):
    whole = four_cells()
    three = contrasts.differences(pd.DataFrame([row for row in whole if row["cell"] != without]), SETTINGS)
    assert set(three["family"]) == {"strategy", "loss"} and three.attrs["skipped"] == 0
    moved = [row | {"seed": row["seed"] + (5 if row["cell"] == without else 0)} for row in whole]
    other = contrasts.differences(pd.DataFrame(moved), SETTINGS)
    assert set(other["family"]) == {"strategy", "loss"} and len(other) == 2
    assert other.attrs["skipped"] == 2  # the cell's two contrasts, and with them the interaction


def test_an_interaction_is_of_one_teacher_temperature_and_target_entropy():
    table = four_cells()
    dialled = [row | {"cell": f"{row['cell']}-H", "target_entropy": 0.3} for row in table if row["loss"] == "kl"]
    found = contrasts.differences(pd.DataFrame(table + dialled), SETTINGS)
    found = found[found["family"] == "strategy x loss"]
    assert found["cell_after"].tolist() == ["b-kl", "b-kl-H"] and found["difference"].tolist() == pytest.approx([0.25, 0.25])
    assert found["target_entropy"].tolist() == [pytest.approx(NAN, nan_ok=True), 0.3]


def test_differences_come_back_from_a_file_as_they_were_written(tmp_path):
    table = pd.DataFrame(four_cells() + baseline("BM25", np.linspace(0.3, 0.5, 5)) + system("x", [0.1] * 5, seeds=(7,), strategy="x"))
    for name, skipped, rows_of in (("some", 1, table), ("none", 0, table[:0])):
        found = contrasts.differences(rows_of, SETTINGS)
        found.to_parquet(tmp_path / f"{name}.parquet")
        back = pd.read_parquet(tmp_path / f"{name}.parquet")
        assert back.attrs["skipped"] == found.attrs["skipped"] == skipped
        assert list(back.columns) == list(found.columns) and len(back) == len(found)
        assert [list(each) for each in back["seed_differences"]] == found["seed_differences"].tolist()
        pd.testing.assert_frame_equal(contrasts.across(back), contrasts.across(found), check_dtype=False)


def test_an_empty_table_of_differences_has_the_columns_of_a_full_one():
    full = contrasts.differences(pd.DataFrame(four_cells()), SETTINGS)
    empty = contrasts.differences(pd.DataFrame(rows("a", [0.1, 0.2, 0.4])), SETTINGS)
    assert set(full.columns) == set(empty.columns) and empty.empty


# --- one recipe, seed against seed --------------------------------------------------------------------------------------------


def test_seed_against_seed_by_hand():
    """Three seeds: three pairs over queries; three ways to hold one against two. Two seeds have a pair and no halves."""
    wiggle = 0.01 * scipy_stats.zscore(np.random.default_rng(3).standard_normal(20))
    base = np.linspace(0.2, 0.6, 20)
    table = system("a", np.stack([base, base + 0.1 + wiggle, base + 0.2 - wiggle])) + system("b", [base, base + wiggle], loss="kl")
    table += system("c", [base], architecture="other")  # one seed has nothing to compare
    found = contrasts.seed_against_seed(pd.DataFrame(table), SETTINGS).set_index("test")
    assert found.index.tolist() == ["queries only", "queries and seeds"] and (found["architecture"] == "static").all()
    assert found.loc["queries only", ["n_seeds", "n_comparisons", "n_different"]].tolist() == [3, 4, 3]
    # one against two: differences -0.15, 0 and 0.15 with a pooled variance over seeds of at least 0.005 / 1 on one degree of freedom
    assert found.loc["queries and seeds", ["n_seeds", "n_comparisons", "n_different"]].tolist() == [3, 3, 0]
    assert found["share"].tolist() == [0.75, 0.0]
    assert found[["collection", "test_collection", "first_stage"]].drop_duplicates().to_numpy().tolist() == [["c/train", "c/test", "full"]]


def test_seed_against_seed_is_of_trained_cells_the_compared_measure_and_one_place_each():
    base = np.linspace(0.2, 0.6, 20)
    table = [row for place in ("c", "d") for row in system("a", [base, base + 0.1, base, base - 0.1], place=place)]
    more = [row | {"measure": "AP"} for row in table] + baseline("untrained", [base, base + 0.3], "untrained", (0, 1), architecture="x")
    found = contrasts.seed_against_seed(pd.DataFrame(table + more), SETTINGS)
    assert found["collection"].tolist() == ["c/train"] * 2 + ["d/train"] * 2 and found["n_comparisons"].tolist() == [6, 3, 6, 3]
    assert found["n_different"].tolist()[::2] == [5, 5]  # of six pairs only the first and the third seed agree
    nothing = contrasts.seed_against_seed(pd.DataFrame(rows("a", [0.1, 0.2])), SETTINGS)
    assert nothing.empty and list(nothing.columns) == list(found.columns)


def test_a_recipe_whose_seeds_differ_is_called_different_by_the_query_only_test_and_not_by_the_other():
    """A seed SD of 0.02 on 300 queries, six seeds, ten cells: the one test rejects often, the other at most at its level."""
    generator, table = np.random.default_rng(17), []
    for cell in range(10):
        values = 0.5 + 0.02 * generator.standard_normal((6, 1)) + 0.1 * generator.standard_normal((6, 300))
        table += system(f"c{cell}", values, strategy=f"s{cell}")
    shares = contrasts.seed_against_seed(pd.DataFrame(table), SETTINGS).set_index("test")
    assert shares["n_comparisons"].to_dict() == {"queries only": 150, "queries and seeds": 100}
    assert shares.loc["queries only", "share"] > 0.3  # the difference of two seeds has an SD of 0.028, its standard error 0.008
    assert shares.loc["queries and seeds", "share"] <= 0.10


# --- every strategy with every other ------------------------------------------------------------------------------------------


def four(seeds=(0, 1), **changes) -> list[dict]:
    """Three strategies that do not differ, and one that is better by 0.1; values of 40 queries."""
    generator = np.random.default_rng(9)
    base = generator.uniform(0.2, 0.6, size=40)
    gains = {"corpus_random": 0.0, "bm25": 0.0, "dense": 0.0, "graph": 0.1}
    return [
        row
        for strategy, gain in gains.items()
        for row in rows(f"{strategy}-x", base + gain + 0.002 * generator.standard_normal(40), strategy=strategy, seeds=seeds, **changes)
    ]


def test_a_matrix_has_every_pair_once_and_letters_join_what_is_equivalent():
    table = pd.DataFrame(four())
    found = contrasts.matrices(table, SETTINGS)
    names = ["corpus_random", "bm25", "dense", "graph"]
    assert list(zip(found["system_a"], found["system_b"], strict=True)) == list(itertools.combinations(names, 2))
    assert found["verdict"].tolist() == ["equivalent", "equivalent", "different"] + ["equivalent", "different"] + ["different"]
    letters = dict(zip(found["system_b"], found["letters_b"], strict=True)) | dict(zip(found["system_a"], found["letters_a"], strict=True))
    assert letters == {"corpus_random": "a", "bm25": "a", "dense": "a", "graph": ""}
    means = table.groupby("strategy")["value"].mean()
    assert found["difference"].tolist() == pytest.approx([means[b] - means[a] for a, b in itertools.combinations(names, 2)])
    assert found["p_holm"].to_numpy() == pytest.approx(stats.holm(found["p_difference"]))  # over the six pairs of the matrix
    assert found["p_equivalence_holm"].to_numpy() == pytest.approx(stats.holm(found["p_equivalence"]))
    assert (found["equivalent_0.02"] == found["equivalent"]).all() and (~found["equivalent_0.01"] | found["equivalent_0.02"]).all()
    assert found[["loss", "first_stage", "collection"]].drop_duplicates().to_numpy().tolist() == [["lce", "full", "c/train"]]


def test_a_matrix_and_the_contrasts_with_the_baseline_agree_before_holm():
    table = pd.DataFrame(four())
    compared = contrasts.differences(table, SETTINGS).set_index("strategy")
    matrix = contrasts.matrices(table, SETTINGS)
    for row in matrix[matrix["system_a"] == "corpus_random"].itertuples():
        assert compared.loc[row.system_b, ["difference", "p_difference", "p_equivalence"]].tolist() == pytest.approx(
            [row.difference, row.p_difference, row.p_equivalence]
        )


def test_letters_are_shared_exactly_by_the_pairs_that_are_equivalent():
    """Equivalence is not transitive: each step is within the margin, two steps are not."""
    base, wiggle = np.linspace(0.2, 0.6, 40), 0.001 * np.random.default_rng(3).standard_normal((3, 40))
    table = [row for step in range(3) for row in rows(f"{step}", base + 0.015 * step + wiggle[step], strategy=f"s{step}")]
    found = contrasts.matrices(pd.DataFrame(table), SETTINGS)
    assert found["equivalent"].tolist() == [True, False, True]
    shared = [bool(set(a) & set(b)) for a, b in zip(found["letters_a"], found["letters_b"], strict=True)]
    assert shared == found["equivalent"].tolist()
    assert found["letters_b"].tolist()[0] == "ab"  # the one in the middle is in both cliques


def test_a_matrix_is_of_one_loss_collection_and_first_stage_and_of_three_strategies_with_the_same_seeds():
    other = [row | {"seed": row["seed"] + 5} for row in rows("pool-x", np.full(40, 0.5), strategy="pooled", seeds=(0, 1))]
    two = [row for row in four(**{"loss": "kl", "teacher": "t"}) if row["strategy"] in ("bm25", "dense")]
    elsewhere = [row for row in four(place="d") if row["strategy"] != "graph"]
    found = contrasts.matrices(pd.DataFrame(four() + other + two + elsewhere), SETTINGS)
    assert found.groupby(["collection", "loss"]).size().to_dict() == {("c/train", "lce"): 6, ("d/train", "lce"): 3}
    assert "pooled" not in set(found["system_a"]) | set(found["system_b"])
    assert found.attrs["left_out"] == ["pooled (c/train, c/test, full, lce)"]  # two under kl are no matrix, but nothing was dropped
    nothing = contrasts.matrices(pd.DataFrame(two), SETTINGS)
    assert nothing.empty and {"system_a", "system_b", "letters_a", "first_stage"} <= set(nothing.columns)
    assert nothing.attrs["left_out"] == []


def test_where_no_three_strategies_have_the_same_seeds_all_are_left_out_of_a_matrix():
    table = [row for row in four() if row["strategy"] in ("bm25", "dense")]
    table += [row | {"seed": row["seed"] + 5} for row in four() if row["strategy"] in ("graph", "corpus_random")]
    found = contrasts.matrices(pd.DataFrame(table), SETTINGS)
    assert found.empty
    assert found.attrs["left_out"] == [f"{name} (c/train, c/test, full)" for name in ("bm25", "dense", "corpus_random", "graph")]


def test_a_matrix_with_a_hole_is_refused():
    table = pd.DataFrame(four())
    hole = table[~((table["strategy"] == "dense") & (table["query_id"] == "q3"))]
    with pytest.raises(ValueError, match=r"not evaluated on the same queries: 1 only in a, 0 only in b, the first \('c/test', 'q3'\)"):
        contrasts.matrices(hole, SETTINGS)


def test_seeds_are_pooled_over_the_pairs_of_a_matrix_or_not_as_its_homogeneity_allows():
    """Three strategies: their differences share one variance over seeds, of 2 times 3 degrees of freedom, or have a larger one."""
    values = strategies((0.01, 0.01, 0.01), n_seeds=4)
    found = contrasts.matrices(pd.DataFrame(table_of(values)), SETTINGS)
    assert (found["seeds_pooled"] == 3).all() and (found["seed_freedom"] == 6).all()
    shared = (found["seed_sd"] ** 2 + found["residual_sd"] ** 2 / 30).tolist()
    pooled = crossed.pooled_between(np.stack([own.mean(axis=1) for own in values.values()])).variance
    own = [(values[row.system_b] - values[row.system_a]).mean(axis=1).var(ddof=1) for row in found.itertuples()]
    assert shared == pytest.approx([max(pooled, each) for each in own]) and pooled in [pytest.approx(each) for each in shared]
    one_seed = contrasts.matrices(pd.DataFrame(table_of({name: own[:1] for name, own in values.items()})), SETTINGS)
    assert (one_seed["verdict"].str.endswith(", these students only")).all() and (one_seed["seeds_pooled"] == 1).all()
    wild = contrasts.matrices(pd.DataFrame(table_of(strategies((0.001, 0.001, 0.001, 0.001, 0.2), n_seeds=6))), SETTINGS)
    assert (wild["seeds_pooled"] == 1).all() and (wild["seed_freedom"] == 5).all()


# --- over collections: the main table -----------------------------------------------------------------------------------------


def test_macro_means_count_each_collection_once():
    table = pd.DataFrame(
        rows("a", [0.2, 0.4]) + rows("a", [0.9, 0.9, 0.9, 0.9, 0.9], place="d") + rows("b", [0.5]) + rows("b", [0.7], place="d")
    )
    found = analysis.macro(analysis.summary(analysis.results(table))).set_index("cell")
    assert found["mean"].round(6).to_dict() == {"a": 0.6, "b": 0.6}  # (0.3 + 0.9) / 2, however many queries
    assert found["sd"].to_dict() == pytest.approx({"a": np.std([0.3, 0.9], ddof=1), "b": np.std([0.5, 0.7], ddof=1)})
    assert found["n_collections"].tolist() == [2, 2]


def test_macro_means_are_of_systems_that_every_collection_has():
    table = pd.DataFrame(rows("a", [0.2]) + rows("a", [0.6], place="d") + rows("b", [0.5]))
    assert analysis.macro(analysis.summary(analysis.results(table)))["cell"].tolist() == ["a"]
    one = analysis.macro(analysis.summary(analysis.results(pd.DataFrame(rows("a", [0.2])))))
    assert one.empty and {"mean", "sd", "n_collections"} <= set(one.columns)


def test_the_best_cell_is_a_trained_one_on_every_test_collection():
    table = rows("a", [0.2]) + rows("b", [0.3]) + rows("BM25", [0.9], system="first_stage", strategy="") + rows("a", [0.6], place="d")
    found = analysis.best(analysis.summary(analysis.results(pd.DataFrame(table))), "nDCG@10")
    assert dict(zip(found["test_collection"], found["cell"], strict=True)) == {"c/test": "b", "d/test": "a"}
    assert analysis.best(found, "AP").empty


# --- factorials ---------------------------------------------------------------------------------------------------------------


def dialled(values: np.ndarray, measure: str = "nDCG@10", **about) -> pd.DataFrame:
    """Values per query of a factorial: (strategies, target entropies, seeds, queries)."""
    table = []
    for s, h, seed in itertools.product(*map(range, values.shape[:3])):
        dimensions = {"teacher": "t", "loss": "kl", "strategy": f"s{s}", "target_entropy": round(0.1 * (h + 1), 3)} | about
        table += [row | {"seed": seed, "measure": measure} for row in rows(f"{s}-{h}", values[s, h, seed], **dimensions)]
    for place, row in enumerate(table):  # rows() adds to a value by its seed, which is 0 here
        row["value"] = float(values.reshape(-1)[place])
    return pd.DataFrame(table)


def drawn(shape=(2, 3, 2, 60), seed=0, noise=0.02) -> np.ndarray:
    """Values in which the entropy in the middle is best by 0.05, the second strategy by 0.1, and queries differ more than either."""
    generator = np.random.default_rng(seed)
    values = 0.5 + 0.15 * generator.standard_normal(shape[3]) + noise * generator.standard_normal(shape)
    values[:, 1] += 0.05
    values[1] += 0.1
    return values


def test_omega_squared_by_hand():
    """Sums of squares 8, 32, 0, 8 and 2: the residual's mean square is 2/3, and 50 + 2/3 the divisor."""
    omega = factorial.two_way(factorial_of(blocked())).set_index("source")["omega_squared"]
    expected = {"strategy": 22 / 152, "target_entropy": 94 / 152, "interaction": -2 / 152}
    assert omega[:3].to_dict() == pytest.approx(expected) and omega[3:].isna().all()


def test_omega_squared_of_what_does_nothing_is_0_on_average_and_its_share_is_not():
    generator = np.random.default_rng(11)
    tables = [factorial.two_way(factorial_of(generator.normal(size=(3, 3, 3)))).set_index("source") for _ in range(20)]
    omega, share = (np.mean([table.loc["strategy", name] for table in tables]) for name in ("omega_squared", "share"))
    assert abs(omega) < 0.03 < 0.05 < share  # two of 26 degrees of freedom: a share of 0.077


def test_a_factorial_without_any_variance_has_no_shares():
    found = factorial.two_way(factorial_of(np.full((2, 2, 2), 0.5)))
    assert found["sum_of_squares"].tolist() == [0.0] * 5
    assert found[["share", "omega_squared", "F", "p"]].isna().all(axis=None)


def test_shares_of_a_factorial_sum_to_1_and_their_intervals_hold_them():
    values = drawn()
    table = pd.concat([dialled(values), dialled(values + 0.1, measure="AP")], ignore_index=True)
    found = factorial.factorials(table, SETTINGS)
    assert found.groupby("measure")["share"].sum().to_dict() == pytest.approx({"AP": 1.0, "nDCG@10": 1.0})
    compared = found[found["measure"] == "nDCG@10"].set_index("source")
    pd.testing.assert_frame_equal(
        compared.drop(columns=["low", "high", "p_holm"]).reset_index(drop=True),
        factorial.two_way(analysis.results(table[table["measure"] == "nDCG@10"])).drop(columns="source"),
        check_like=True,
        check_dtype=False,
    )
    effects = compared.loc[["strategy", "target_entropy"]]
    assert (effects["low"] < effects["share"]).all() and (effects["share"] < effects["high"]).all()
    assert ((compared["low"] >= 0) & (compared["high"] <= 1) & (compared["low"] <= compared["high"])).all()
    assert found[found["measure"] == "AP"][["low", "high"]].isna().all(axis=None)
    pd.testing.assert_frame_equal(found, factorial.factorials(table, SETTINGS))
    wider = factorial.factorials(table, SETTINGS.model_copy(update={"level": 0.99})).dropna(subset="low").set_index("source")
    assert (wider["low"] <= compared["low"]).all() and (wider["high"] >= compared["high"]).all()


def test_an_interval_of_a_share_is_over_queries():
    """Where every query says the same, resampling queries changes nothing."""
    values = blocked()[..., None].repeat(5, axis=3)
    found = factorial.factorials(dialled(values), SETTINGS)
    for bound in ("low", "high"):
        assert found[bound].to_numpy() == pytest.approx(found["share"].to_numpy())


def test_what_makes_no_factorial_is_left_out_and_a_study_may_have_none():
    whole = dialled(drawn((2, 2, 2, 5)))
    one_entropy = dialled(drawn((2, 2, 2, 5))[:, :1], architecture="one")
    unbalanced = dialled(drawn((2, 2, 2, 5)), architecture="holes")
    unbalanced = unbalanced[~((unbalanced["cell"] == "1-1") & (unbalanced["seed"] == 1))]
    plain = pd.DataFrame(rows("lce", [0.1, 0.2, 0.3, 0.4, 0.5]))
    found = factorial.factorials(pd.concat([whole, one_entropy, unbalanced, plain], ignore_index=True), SETTINGS)
    assert found["architecture"].tolist() == ["static"] * 5 and found.attrs["incomplete"] == 1
    for nothing in (factorial.factorials(one_entropy, SETTINGS), factorial.factorials(plain, SETTINGS)):
        assert nothing.empty and {"source", "share", "p", "low", "high", "p_holm"} <= set(nothing.columns)
        assert nothing.attrs["incomplete"] == 0
    for elsewhere in ({"first_stage": "bm25@100"}, {"measure": "AP"}, {"test_collection": "d/test"}):
        both = pd.concat([unbalanced, unbalanced.assign(**elsewhere)])
        assert factorial.factorials(both, SETTINGS).attrs["incomplete"] == 1  # the same cells are one set
    one_seed = pd.concat([whole[whole["seed"] == 0], unbalanced])
    assert factorial.factorials(one_seed, SETTINGS).attrs["incomplete"] == 2  # no second seed is no factorial


def test_holm_corrects_over_the_effects_of_every_factorial_of_the_compared_measure():
    parts = [dialled(drawn(seed=seed), loss=loss) for seed, loss in ((0, "kl"), (1, "ranknet"))]
    table = pd.concat([*parts, dialled(drawn(seed=2), measure="AP")], ignore_index=True)
    found = factorial.factorials(table, SETTINGS)
    tested = (found["measure"] == "nDCG@10") & found["p"].notna()
    assert tested.sum() == 6
    assert found.loc[tested, "p_holm"].tolist() == pytest.approx(stats.holm(found.loc[tested, "p"]).tolist())
    assert found.loc[~tested, "p_holm"].isna().all()
    assert (found.loc[tested, "p_holm"] > found.loc[tested, "p"]).any()


def test_a_factorial_with_a_query_missing_is_refused():
    table = dialled(drawn((2, 2, 2, 5)))
    hole = table[~((table["cell"] == "1-0") & (table["seed"] == 1) & (table["query_id"] == "q3"))]
    for function in (factorial.factorials, factorial.surfaces):
        with pytest.raises(ValueError, match=r"lacks a value, the first for \('s1', .*0.1.*1.*, 'q3'\); evaluate every query"):
            function(hole, SETTINGS)


# --- surfaces -----------------------------------------------------------------------------------------------------------------


def test_a_surface_has_the_means_and_the_share_of_resamples_in_which_an_entropy_is_the_best():
    values = drawn()
    found = factorial.surfaces(dialled(values), SETTINGS)
    surface = found.set_index(["strategy", "target_entropy"])
    for s, h in itertools.product(range(2), range(3)):
        row = surface.loc[(f"s{s}", round(0.1 * (h + 1), 3))]
        assert row["mean"] == pytest.approx(values[s, h].mean())
        assert row["low"] < row["mean"] < row["high"]
    assert found.groupby("strategy")["optimal"].sum().to_dict() == pytest.approx({"s0": 1.0, "s1": 1.0})
    assert surface.xs(0.2, level="target_entropy")["optimal"].tolist() == [1.0, 1.0]  # better for every query and seed, nearly
    assert found[["loss", "teacher", "architecture", "first_stage"]].drop_duplicates().to_numpy().tolist() == [
        ["kl", "t", "static", "full"]
    ]
    pd.testing.assert_frame_equal(found, factorial.surfaces(dialled(values), SETTINGS))


def test_an_optimum_that_depends_on_the_seed_is_shared():
    """With seed 0 the first entropy is best by 0.1, with seed 1 the second by 0.3: of two drawn seeds both are 0 one time in four."""
    values = np.full((2, 2, 2, 6), 0.5)
    values[:, 0, 0], values[:, 1, 1] = 0.6, 0.8
    found = factorial.surfaces(dialled(values), SETTINGS, n_resamples=4000).set_index(["strategy", "target_entropy"])
    assert found.loc[("s0", 0.1), "optimal"] == pytest.approx(0.25, abs=0.03)
    assert found.loc[("s0", 0.2), "optimal"] == pytest.approx(0.75, abs=0.03)
    assert found.loc[("s0", 0.2), ["mean", "low", "high"]].tolist() == pytest.approx([0.65, 0.5, 0.8])  # seeds alone are uncertain


def test_a_surface_is_of_the_compared_measure_and_keeps_the_studys_order():
    values = drawn((2, 2, 2, 5))
    table = pd.concat([dialled(values + 1, measure="AP"), dialled(values)], ignore_index=True)
    backwards = table.iloc[::-1]
    found = factorial.surfaces(backwards, SETTINGS, n_resamples=50)
    assert found[["strategy", "target_entropy"]].to_numpy().tolist() == [["s1", 0.2], ["s1", 0.1], ["s0", 0.2], ["s0", 0.1]]
    means = found.set_index(["strategy", "target_entropy"])["mean"]
    assert means["s1", 0.2] == pytest.approx(values[1, 1].mean()) and means["s0", 0.1] == pytest.approx(values[0, 0].mean())


def test_a_grid_that_is_no_surface_has_none():
    whole = dialled(drawn((2, 2, 2, 5)))
    holes = whole[~((whole["cell"] == "1-1") & (whole["seed"] == 1))]
    for table in (holes, whole[whole["target_entropy"] == 0.1], whole.assign(target_entropy=NAN)):
        nothing = factorial.surfaces(table, SETTINGS)
        assert nothing.empty and {"strategy", "target_entropy", "mean", "low", "high", "optimal"} <= set(nothing.columns)
        assert nothing.attrs["incomplete"] == (1 if table is holes else 0) and factorial.optima(nothing).empty
    one_seed = factorial.surfaces(whole[whole["seed"] == 0], SETTINGS, n_resamples=50)
    assert len(one_seed) == 4 and one_seed.attrs["incomplete"] == 0  # its intervals know nothing of seeds
    both = pd.concat([whole, holes.assign(architecture="holes")], ignore_index=True)
    found = factorial.surfaces(both, SETTINGS, n_resamples=50)
    assert set(found["architecture"]) == {"static"} and found.attrs["incomplete"] == 1


def test_optima_are_entries_of_surfaces_and_no_means_of_them():
    tables = [
        dialled(drawn((2, 2, 2, 20), seed=seed), **about)
        for seed, about in enumerate([{}, {"teacher": "u"}, {"loss": "ranknet"}, {"loss": "ranknet", "teacher": "u"}])
    ]
    tables += [dialled(drawn((2, 3, 2, 20), seed=4)).assign(first_stage="bm25@100")]
    surfaces = factorial.surfaces(pd.concat(tables, ignore_index=True), SETTINGS, n_resamples=200)
    found = factorial.optima(surfaces)
    assert found.index.names == ["first_stage", "teacher", "loss", "strategy"] and list(found.columns) == [0.1, 0.2, 0.3]
    assert len(found) == 2 * 5 and found.index[:2].tolist() == [("full", "t", "kl", "s0"), ("full", "t", "kl", "s1")]
    for row in surfaces.to_dict("records"):
        place = tuple(row[name] for name in found.index.names)
        assert found.loc[place, row["target_entropy"]] == row["optimal"]
    assert int(found.notna().sum().sum()) == len(surfaces)
    one = factorial.optima(surfaces[(surfaces["first_stage"] == "bm25@100")])
    assert one.index.names == ["strategy"] and one.sum(axis=1).tolist() == pytest.approx([1.0, 1.0])


def test_an_optimum_that_stands_twice_is_refused():
    surfaces = factorial.surfaces(dialled(drawn((2, 2, 2, 20))), SETTINGS, n_resamples=50)
    with pytest.raises(
        ValueError, match="4 entries of surfaces stand twice, the first is .*'s0'.*'target_entropy': 0.1.*give each surface once"
    ):
        factorial.optima(pd.concat([surfaces, surfaces]))


# --- what advice chooses from -------------------------------------------------------------------------------------------------


def described(strategy, teacher, entropy, state="before", target_entropy=NAN, **changes) -> dict:
    own = {"collection": "c/train", "strategy": strategy, "teacher": teacher, "augmentation": "none", "cut": "all", "temperature": 1.0}
    own |= {"target_entropy": target_entropy, "state": state, "pairwise_entropy": entropy, "density_ratio": np.e**2, "retrieved_share": 0.5}
    return own | changes


def priced(*cells) -> pd.DataFrame:
    return pd.DataFrame(
        [{"collection": "c/train", "cell": cell, "seed": seed, "total_cpu_seconds": 10.0 * seed} for cell in cells for seed in (1, 2)]
    )


def test_an_option_is_a_cell_with_what_was_known_of_its_groups_and_its_cost():
    table = rows("lce", [0.1, 0.3], seeds=(0, 2)) + rows("kl", [0.5], **{"loss": "kl", "teacher": "t"})
    table += rows("H", [0.6], **{"loss": "kl", "teacher": "t", "target_entropy": 0.3}) + rows("noise", [0.9], augmentation="noise")
    table += rows("BM25", [0.4], system="first_stage", strategy="")
    descriptions = [described("bm25", "t", 0.5), described("bm25", "t", 0.45, target_entropy=0.3)]
    descriptions += [described("bm25", "t", 0.3, "after", target_entropy=0.3), described("bm25", "t", 0.9, augmentation="noise")]
    found = analysis.options(analysis.results(pd.DataFrame(table)), pd.DataFrame(descriptions), priced("lce", "kl", "H"), "nDCG@10")
    found = found.set_index("cell")
    assert found["value"].to_dict() == pytest.approx({"lce": 0.21, "kl": 0.5, "H": 0.6})
    assert found["pairwise_entropy"].to_dict() == {"lce": 0.5, "kl": 0.5, "H": 0.3}  # as training sees them: after the temperature
    assert found["cost"].tolist() == [15.0] * 3 and found["log_density_ratio"].to_numpy() == pytest.approx([2.0] * 3)
    assert found["retrieved_share"].tolist() == [0.5] * 3 and "diameter_q99" not in found


def test_an_options_entropy_is_its_own_teachers():
    table = rows("lce", [0.1]) + rows("t", [0.5], **{"loss": "kl", "teacher": "t"}) + rows("u", [0.6], **{"loss": "kl", "teacher": "u"})
    descriptions = pd.DataFrame([described("bm25", "t", 0.2), described("bm25", "u", 0.7)])
    found = analysis.options(analysis.results(pd.DataFrame(table)), descriptions, priced("lce", "t", "u"), "nDCG@10").set_index("cell")
    assert found["pairwise_entropy"].to_dict() == {"lce": 0.2, "t": 0.2, "u": 0.7}  # LCE's groups: under the study's first
    assert found["teacher"].to_dict() == {"lce": "", "t": "t", "u": "u"}


def test_an_option_of_a_study_without_teachers_has_no_entropy():
    bare = pd.DataFrame([described("bm25", "", 0.0)]).drop(columns="pairwise_entropy")
    found = analysis.options(analysis.results(pd.DataFrame(rows("lce", [0.1]))), bare, priced("lce"), "nDCG@10")
    assert found["cell"].tolist() == ["lce"] and "pairwise_entropy" not in found


def test_options_of_a_study_that_describes_no_groups_have_columns_and_no_rows():
    keys = ["collection", "strategy", "teacher", "augmentation", "cut", "temperature", "target_entropy", "state"]
    results = analysis.results(pd.DataFrame(rows("lce", [0.1]) + rows("kl", [0.5], **{"loss": "kl", "teacher": "t"})))
    whole = analysis.options(results, pd.DataFrame([described("bm25", "t", 0.5)]), priced("lce", "kl"), "nDCG@10")
    for empty in (pd.DataFrame(columns=keys), pd.DataFrame()):
        found = analysis.options(results, empty, priced("lce", "kl"), "nDCG@10")
        assert found.empty and found.attrs["left_out"] == ["kl", "lce"]
        assert list(found.columns) == [name for name in whole.columns if name not in analysis.FEATURES]
        both = pd.concat([whole, found], ignore_index=True)
        assert len(both) == 2 and both["cost"].dtype == float


# --- from a store -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pipeline(outputs):
    return Pipeline(Store(), track=untracked)


def evaluated(this, pipeline, twice=False) -> int:
    """Put the values per query of everything in a plan into the store; return how many evaluations that were."""
    specs = [spec for keys, system in analysis._systems(this) for spec in this.evaluations(system, keys["collection"])]
    for number, spec in enumerate(specs):
        frame = pd.DataFrame({"query_id": ["q0", "q0" if twice else "q1"], "measure": "nDCG@10", "value": [0.01 * number, 0.5]})
        put(pipeline.store, spec, per_query=frame)
    return len(specs)


def test_every_value_of_a_study_is_read_with_its_keys(tmp_path, pipeline):
    this = planned(tmp_path)
    n = evaluated(this, pipeline)
    table = analysis.per_query(this, pipeline)
    assert len(table) == 2 * n and not table.isna().drop(columns="target_entropy").any(axis=None)
    assert set(table["system"]) == {"first_stage", "teacher", "untrained", "student"}
    assert table["value"][::2].tolist() == pytest.approx([0.01 * number for number in range(n)])
    trained = table[table["system"] == "student"]
    assert trained.groupby("cell")["first_stage"].nunique().to_dict() == {
        cell.name: 1 if cell.architecture == "interaction" else 2 for cell in this.cells
    }
    assert trained["seed"].unique().tolist() == [0, 1]
    assert set(table[table["cell"] == "BM25"]["first_stage"]) == {"bm25@100", "full"}
    assert list(analysis.results(table).columns) == analysis.RESULT_COLUMNS


def test_a_query_that_stands_twice_in_an_evaluation_is_refused(tmp_path, pipeline):
    this = planned(tmp_path)
    n = evaluated(this, pipeline, twice=True)
    with pytest.raises(ValueError, match=f"{n} rows of per_query stand twice, the first is .*'query_id': 'q0'"):
        analysis.per_query(this, pipeline)


def test_judged_queries_are_counted_once_a_test_collection_and_first_stage(tmp_path, pipeline):
    this = planned(tmp_path)
    put_all(pipeline.store, this)
    assert analysis.judged(this, pipeline).to_dict("records") == [
        {"test_collection": this.study.collections[0].test[0].label, "first_stage": stage, "queries_judged": 3}
        for stage in ("bm25@100", "full")
    ]


def test_mean_tables_average_queries_and_then_seeds():
    about = {"row": "kl", "first_stage": "full", "measure": "AP"}
    values = [about | {"seed": 0, "query_id": f"q{n}", "value": value} for n, value in enumerate((0.2, 0.4, 0.6))]
    values += [about | {"seed": 1, "query_id": "q0", "value": 0.8}]
    table = analysis.mean_table(pd.DataFrame(values), ["first_stage", "row"], digits=2)
    assert table.loc[("full", "kl"), "AP"] == 0.6  # (0.4 + 0.8) / 2


def test_what_only_the_embedded_collection_or_a_ranked_list_knows_is_refused_elsewhere(pipeline, toy):
    own = params.FolderCollection(path=str(toy), split="train")
    random = params.GroupsSpec(collection=own, strategy=params.CorpusRandom(), group_size=3)
    with pytest.raises(ValueError, match="the true grades of 'toy/train' are unknown; only the embedded collection"):
        analysis.true_grades(pipeline, random)
    with pytest.raises(ValueError, match="corpus_random draws from no ranked list"):
        analysis.negative_ranks(pipeline, random)


def test_grades_and_ranks_of_negatives(pipeline):
    collection = params.EmbeddedCollection(max_queries=5)
    groups = params.GroupsSpec(collection=collection, strategy=params.FromCandidates(from_rank=3, depth=20), group_size=4)
    ranks = analysis.negative_ranks(pipeline, groups)
    assert len(ranks) == 5 * 3 and ranks["rank"].between(3, 20).all()
    grades = analysis.true_grades(pipeline, groups)
    assert grades.shape == (5, 4) and (grades[:, 0] > 0).all() and grades[:, 1:].mean() < grades[:, 0].mean()


def test_the_first_place_has_the_cells_values_over_seeds_and_their_means():
    table = pd.DataFrame(
        rows("a", [0.2, 0.4], seeds=(0, 1)) + rows("b", [0.6, 0.8], seeds=(0, 1))
        + rows("BM25", [0.5, 0.5], system="first_stage") + rows("a", [0.9, 0.9], place="elsewhere")
    )  # fmt: skip
    values, means = analysis.first_place(table, analysis.summary(analysis.results(table)), "nDCG@10")
    assert sorted(set(values["cell"])) == sorted(means["cell"]) == ["a", "b"]
    by_cell = values.groupby("cell")["value"].mean()
    assert by_cell.to_numpy() == pytest.approx(means.set_index("cell").loc[by_cell.index, "mean"].to_numpy())
    assert 0.9 not in values["value"].tolist()  # nothing of another place


def test_at_chooses_the_rows_that_agree_in_every_column():
    frame = pd.DataFrame({"collection": ["a", "a", "b"], "first_stage": ["full", "bm25", "full"], "value": [1, 2, 3]})
    assert analysis.at(frame, collection="a", first_stage="full")["value"].tolist() == [1]
    assert analysis.at(frame, collection="c").empty

"""Advice: known functions are found, noise is called noise, nothing that is left out leaks, hand values, and every error."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from rd_utils.companions import advice
from rd_utils.companions.adviser import PENALTIES, AdviceError, Roles, checked

CONTEXT = ["collection", "loss"]
FEATURES = ["positive_entropy", "diameter_q99"]
THREE = (1e-3, 1.0, 100.0)


@pytest.fixture(autouse=True)
def few_penalties(monkeypatch):
    """Try three penalties in place of eight, for speed; one test tries them all."""
    monkeypatch.setattr("rd_utils.companions.adviser.PENALTIES", THREE)


def grid(seed, *, collections=5, losses=("kl", "lce"), strategies=5, features=FEATURES):
    """A grid with random features, a level for every context, values that are the level alone, and costs."""
    rng = np.random.default_rng(seed)
    rows = itertools.product([f"c{n}" for n in range(collections)], losses, [f"s{n}" for n in range(strategies)])
    table = pd.DataFrame(list(rows), columns=[*CONTEXT, "strategy"])
    for name in features:
        table[name] = rng.uniform(size=len(table))
    level = table.groupby(CONTEXT).ngroup() / 10
    return table.assign(value=level, cost=np.arange(len(table), dtype=float) + 1)


def within(table, name):
    """Standardise a feature over the options of its context, independently of the module."""
    return table.groupby(CONTEXT)[name].transform(lambda values: (values - values.mean()) / values.std(ddof=0))


def left_out(table, leave=("collection",), **settings):
    settings = {"context": CONTEXT, "features": FEATURES, "interact": ["loss"], "baseline": {"strategy": "s0"}, "seed": 0} | settings
    return advice.leave_one_out(table, leave=leave, **settings)


# --- known functions ---


def test_a_function_of_the_features_is_found_where_it_was_not_looked_for():
    table = grid(0)
    table["value"] += 0.05 * within(table, "positive_entropy") - 0.03 * within(table, "diameter_q99")
    found = left_out(table)
    assert len(found) == 10 and found["held_out"].nunique() == 5
    assert found["regret_advice"].max() < 1e-9 < 0.02 < found["regret_baseline"].mean()
    assert (found["advised"] == found["best"]).all()
    expected = found["best_value"] - found["mean_value"]
    np.testing.assert_allclose(found["predicted_advantage"], expected, atol=2e-3)
    said = advice.verdict(advice.regret_summary(found, seed=0))
    assert said.startswith(
        "With 5 held-out units it cannot be decided whether the advice is better than always-s0 (mean regret lower by 0.0"
    )
    more = grid(0, collections=6)
    more["value"] += 0.05 * within(more, "positive_entropy") - 0.03 * within(more, "diameter_q99")
    said = advice.verdict(advice.regret_summary(left_out(more), seed=0))
    assert said.startswith("The advice is better than always-s0 (mean regret lower by 0.0")


def test_what_a_feature_is_worth_may_differ_with_the_loss():
    table = grid(1)
    sign = table["loss"].map({"kl": 1.0, "lce": -1.0})
    table["value"] += 0.05 * sign * within(table, "diameter_q99")
    assert left_out(table)["regret_advice"].max() < 1e-9
    assert left_out(table, interact=[])["regret_advice"].mean() > 0.02


def test_a_moderate_entropy_can_be_best_and_a_moderate_diameter_cannot_be_learnt():
    table = grid(2)
    for name, learnt in (("positive_entropy", True), ("diameter_q99", False)):
        found = left_out(table.assign(value=table["value"] - 0.05 * within(table, name) ** 2))
        assert (found["regret_advice"].max() < 1e-9) == learnt, name


def test_levels_and_scales_of_a_context_and_names_of_options_do_not_matter():
    table = grid(3)
    table["value"] += 0.05 * within(table, "positive_entropy") + np.random.default_rng(0).normal(scale=0.02, size=len(table))
    before = advice.fit(table, context=CONTEXT, features=FEATURES).predict(table)
    changed = table.copy()
    number = table.groupby(CONTEXT).ngroup()
    changed["value"] += number**2
    changed["positive_entropy"] = table["positive_entropy"] * (1 + number) - 3 * number
    changed["strategy"] = table["strategy"].map({"s0": "s4", "s1": "zz", "s2": "s0", "s3": "s3", "s4": "a"})
    after = advice.fit(changed, context=CONTEXT, features=FEATURES).predict(changed)
    np.testing.assert_allclose(after, before, atol=1e-10)
    np.testing.assert_allclose(before.groupby(number).sum(), 0, atol=1e-12)


def test_the_coefficient_and_the_penalty_are_those_of_ridge_over_left_out_contexts(monkeypatch):
    """One feature: w = z.y / (z.z + penalty), tried by hand on every context left out."""
    monkeypatch.setattr("rd_utils.companions.adviser.PENALTIES", PENALTIES)
    table = grid(4, features=["diameter_q99"])
    z = within(table, "diameter_q99")
    table["value"] += 0.01 * z + np.random.default_rng(1).normal(scale=0.03, size=len(table))
    y = table["value"] - table.groupby(CONTEXT)["value"].transform("mean")
    number = table.groupby(CONTEXT).ngroup()

    def weight(rows, penalty):
        return (z[rows] * y[rows]).sum() / ((z[rows] ** 2).sum() + penalty)

    errors = {
        penalty: np.mean([((y - weight(number != n, penalty) * z)[number == n] ** 2).mean() for n in range(10)]) for penalty in PENALTIES
    }
    best = min(errors, key=errors.get)
    adviser = advice.fit(table, context=CONTEXT, features=["diameter_q99"], interact=[])
    assert adviser.penalty == best > min(PENALTIES)
    np.testing.assert_allclose(adviser.predict(table), weight(z == z, best) * z, atol=1e-12)


NOISE = [f"noise{n}" for n in range(12)]


def staged(seed=0, *, collections=5):
    """Three stages of the same cells: the same noise in all, which a penalty chosen on single contexts mistakes for something to learn."""
    table = grid(seed, collections=collections, losses=("kl",), strategies=6, features=NOISE)
    table["value"] += np.random.default_rng(1000 + seed).normal(scale=0.05, size=len(table))
    return pd.concat([table.assign(first_stage=stage) for stage in ("full", "bm25@100", "bm25@1000")], ignore_index=True)


STAGED = {"context": [*CONTEXT, "first_stage"], "interact": []}


def test_the_penalty_is_chosen_on_groups_left_out_whole():
    """By hand, with one feature: the errors of whole collections left out, which are not those of single contexts."""
    table = staged(2)
    z, y = within(table, "noise0"), table["value"] - table.groupby(CONTEXT)["value"].transform("mean")
    errors = []
    for penalty in THREE:
        folds = []
        for name in table["collection"].unique():
            rest, held = table["collection"] != name, table["collection"] == name
            weight = (z[rest] * y[rest]).sum() / ((z[rest] ** 2).sum() + penalty)
            folds.append(((y - weight * z)[held] ** 2).mean())
        errors.append(np.mean(folds))
    grouped = advice.fit(table, features=["noise0"], groups=["collection"], **STAGED)
    assert grouped.penalty == THREE[int(np.argmin(errors))]


def test_what_was_seen_on_another_stage_does_not_loosen_the_penalty(monkeypatch):
    monkeypatch.setattr("rd_utils.companions.adviser.PENALTIES", PENALTIES)
    for seed in range(3):
        single, whole = (advice.fit(staged(seed), features=NOISE, groups=groups, **STAGED).penalty for groups in (None, ["collection"]))
        assert single < whole


def test_leaving_out_collections_leaves_them_out_inside_too():
    table = staged(3)
    found = left_out(table, features=NOISE, **STAGED).set_index("held_out").loc["collection=c0"]
    rest = table[table["collection"] != "c0"].reset_index(drop=True)
    part = table[table["collection"] == "c0"].reset_index(drop=True)
    grouped, single = (advice.fit(rest, features=NOISE, groups=groups, **STAGED) for groups in (["collection"], None))
    expected, other = (adviser.recommend(part)["predicted_advantage"] for adviser in (grouped, single))
    np.testing.assert_allclose(sorted(found["predicted_advantage"]), sorted(expected))
    assert not np.allclose(expected, other)


def test_one_unit_left_to_fit_on_is_split_by_its_contexts():
    table = staged(4, collections=2)
    found = left_out(table, features=NOISE, **STAGED)
    assert len(found) == 6 and (found["n_contexts_fitted"] == 3).all()
    with pytest.raises(AdviceError, match="all contexts agree in collection, and the penalty is chosen on a group that is left out"):
        advice.fit(table[table["collection"] == "c0"], features=NOISE, groups=["collection"], **STAGED)


@pytest.mark.parametrize("groups", ["collection", [], ["strategy"], ["colection"]])
def test_groups_are_columns_of_the_context(groups):
    with pytest.raises(AdviceError, match="groups is .*; expected columns of context"):
        advice.fit(grid(0), context=CONTEXT, features=FEATURES, groups=groups)


# --- noise ---


def test_features_that_say_nothing_are_called_no_better(monkeypatch):
    """Over seeds the advice does as a random option does; 16 verdicts at level 0.95 are wrong about once."""
    monkeypatch.setattr("rd_utils.companions.adviser.PENALTIES", (10.0,))
    verdicts, excess = [], []
    for seed in range(16):
        table = grid(seed, collections=6, losses=("kl",), strategies=4)
        table["value"] += np.random.default_rng(1000 + seed).normal(scale=0.05, size=len(table))
        found = left_out(table)
        excess.append((found["regret_advice"] - found["regret_random"]).mean())
        verdicts.append(advice.verdict(advice.regret_summary(found, seed=seed)).split(" always-")[0])
    assert verdicts.count("The advice is not shown to be better than") >= 13
    assert abs(np.mean(excess)) < 3 * np.std(excess) / np.sqrt(len(excess))
    assert np.std(excess) / np.sqrt(len(excess)) < 0.006  # a mean regret of a random option is about 0.05


@pytest.mark.parametrize(("n_units", "share"), [(2, 0), (3, 0), (5, 0), (6, 0.13), (12, 0.11)])
def test_noise_is_never_decided_with_few_units_and_rarely_with_more(n_units, share):
    """Units of one context, normal differences around 0: plain words would have stood in half of the sentences about 2 units."""
    rng = np.random.default_rng(n_units)
    said = []
    for _ in range(150):
        differences = rng.normal(size=n_units)
        table = summary_table(1 + np.maximum(differences, 0), 1 + np.maximum(-differences, 0), [f"{n:02}" for n in range(n_units)])
        said.append(advice.verdict(advice.regret_summary(table, seed=int(rng.integers(1000)), n_resamples=400)))
    decided = sum(sentence.startswith(("The advice is better", "The advice is worse")) for sentence in said)
    assert decided <= share * len(said)
    opening = f"With {n_units} held-out units it cannot be decided whether" if n_units < advice.FEW_UNITS else "The advice is "
    assert all(sentence.startswith(opening) for sentence in said)


def test_the_interval_leaves_out_zero_about_as_often_as_it_says():
    """Eight units of one context, normal differences around 0: 7 in 100 (of 500), where plain quantiles leave it out 12 times."""
    rng = np.random.default_rng(0)
    outside = []
    for _ in range(200):
        differences = rng.normal(size=8)
        table = summary_table(1 + np.maximum(differences, 0), 1 + np.maximum(-differences, 0), [str(n) for n in range(8)])
        row = advice.regret_summary(table, seed=int(rng.integers(1000)), n_resamples=500).iloc[-1]
        outside.append(row["low"] > 0 or row["high"] < 0)
    assert 0.01 < np.mean(outside) < 0.095


# --- what is left out stays out ---


def test_a_strategy_that_was_never_seen_is_advised_where_its_features_are_best():
    table = grid(5)
    new = table["strategy"] == "s4"
    table.loc[new, "positive_entropy"] += 1.0
    table["value"] += 0.05 * within(table, "positive_entropy")
    found = left_out(table, ("strategy",)).set_index("held_out")
    assert len(found) == 5 * 10 and (found["n_contexts_fitted"] == 10).all()
    held = found.loc["strategy=s4"]
    assert (held["advised"] == "s4").all() and (held["regret_advice"] == 0).all()
    assert not (held["others"] == "s4").any() and (held["regret_others"] > 0).all()
    assert (found.drop("strategy=s4")["others"] == "s4").all()


@pytest.mark.parametrize(
    ("leave", "unit", "unseen"),
    [
        (("collection",), "collection=c2", lambda table: table["collection"] == "c2"),
        (("strategy",), "strategy=s3", lambda table: table["strategy"] == "s3"),
        (("collection", "loss"), "collection=c1, loss=kl", lambda table: (table["collection"] == "c1") & (table["loss"] == "kl")),
        (("loss", "strategy"), "loss=lce, strategy=s1", lambda table: (table["loss"] == "lce") | (table["strategy"] == "s1")),
    ],
)
def test_the_values_of_what_is_held_out_do_not_move_the_advice(leave, unit, unseen):
    table = grid(6, collections=3)
    table["value"] += np.random.default_rng(2).normal(scale=0.05, size=len(table))
    chosen = ["advised", "others", "because", "predicted_advantage", "n_contexts_fitted"]
    before = left_out(table, leave).set_index("held_out").loc[[unit], chosen]
    hidden = unseen(table).to_numpy()
    others = table.copy()
    others.loc[hidden, "value"] = np.random.default_rng(3).uniform(size=hidden.sum())
    pd.testing.assert_frame_equal(left_out(others, leave).set_index("held_out").loc[[unit], chosen], before)
    seen = table.assign(value=np.where(hidden, table["value"], -table["value"]))
    assert not left_out(seen, leave).set_index("held_out").loc[[unit], chosen].equals(before)  # what was fitted on does move it


def test_each_held_out_unit_has_the_contexts_that_it_concerns():
    table = grid(7, collections=3)
    dropped = table.drop(table.index[(table["collection"] == "c0") & (table["strategy"] == "s4")])
    counts = left_out(dropped, ("strategy",)).groupby("held_out").size()
    assert counts["strategy=s4"] == 4 and counts["strategy=s3"] == 6  # s4 is on offer in c1 and c2 alone
    assert left_out(table, ("loss",)).groupby("held_out").size().to_dict() == {"loss=kl": 3, "loss=lce": 3}
    assert left_out(table, ("collection", "loss")).groupby("held_out").size().tolist() == [1] * 6


# --- outcomes by hand ---


def test_regrets_and_costs_by_hand():
    rows = [
        ("a", "x", 0.0, 0.50, 1), ("a", "y", 1.0, 0.60, 2), ("a", "z", 2.0, 0.70, 6),
        ("b", "x", 0.0, 0.10, 1), ("b", "y", 1.0, 0.20, 2), ("b", "z", 2.0, 0.30, 6),
        ("c", "x", 0.0, 0.40, 1), ("c", "y", 1.0, 0.90, 2), ("c", "z", 2.0, 0.80, 6),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["collection", "strategy", "diameter", "value", "cost"])
    found = advice.leave_one_out(
        table, leave=["collection"], context=["collection"], features=["diameter"], interact=[], baseline={"strategy": "x"}, seed=0
    )
    last = found.set_index("collection").loc["c"]
    names = ["best", "advised", "baseline", "others", "n_options", "n_contexts_fitted"]
    assert last[names].tolist() == ["y", "z", "x", "z", 3, 2]
    np.testing.assert_allclose(last[[f"{name}_value" for name in ("best", "advised", "baseline", "others", "mean")]].astype(float),
                               [0.9, 0.8, 0.4, 0.8, 0.7])  # fmt: skip
    np.testing.assert_allclose(last[[f"regret_{name}" for name in advice.RULES]].astype(float), [0.1, 0.5, 0.2, 0.1], atol=1e-12)
    assert last[["best_cost", "advised_cost", "baseline_cost", "mean_cost"]].tolist() == [2, 6, 1, 3]
    assert last["because"] == f"diameter {last['predicted_advantage']:+.4f}"
    np.testing.assert_allclose(last["predicted_advantage"], 0.1, atol=1e-3)  # a and b: 0.1 above the mean at the largest diameter
    summary = advice.regret_summary(found, seed=0).set_index("rule")
    np.testing.assert_allclose(summary["regret"].iloc[:3], [0.1 / 3, 0.3, 0.4 / 3])
    assert summary.loc["advice", ["share_best", "share_better", "share_worse"]].round(3).tolist() == [0.667, 1.0, 0.0]


def test_a_baseline_of_several_options_is_their_mean_and_a_missing_dial_is_a_value():
    table = pd.concat([grid(8, collections=3).assign(target_entropy=dial) for dial in (0.3, 0.6, np.nan)], ignore_index=True)
    table["positive_entropy"] += table["target_entropy"].fillna(0.0)
    table["value"] += table["positive_entropy"] / 10
    choices = ["strategy", "target_entropy"]
    several = left_out(table, choices=choices)
    part = table[(table["strategy"] == "s0") & (table["collection"] == "c0") & (table["loss"] == "kl")]
    np.testing.assert_allclose(several["baseline_value"].iloc[0], part["value"].mean())
    missing = left_out(table, choices=choices, baseline={"strategy": "s0", "target_entropy": np.nan})
    np.testing.assert_allclose(missing["baseline_value"].iloc[0], part["value"].iloc[2])
    assert set(several["baseline"]) == set(missing["baseline"]) == {"s0"}
    one = left_out(table, choices=choices, baseline={"strategy": "s0", "target_entropy": 0.6})
    assert set(one["baseline"]) == {"s0 target_entropy=0.6"}
    assert set(left_out(table, ("target_entropy",), choices=choices)["held_out"]) == {
        "target_entropy=0.3", "target_entropy=0.6", "target_entropy=none"
    }  # fmt: skip
    dialled = advice.fit(table, context=CONTEXT, features=FEATURES, choices=choices).recommend(table)
    assert (dialled["target_entropy"] == 0.6).all()


def test_where_no_option_was_seen_the_others_best_is_a_random_option():
    table = grid(9, collections=3)
    table["strategy"] = table["strategy"].where(table["collection"] != "c0", "new " + table["strategy"])
    baseline = {"kind": "plain"}
    table = table.assign(kind=np.where(table["strategy"].str.endswith("s0"), "plain", "other"))
    table["value"] += np.random.default_rng(4).normal(size=len(table))
    found = left_out(table, choices=["strategy", "kind"], baseline=baseline).set_index("collection")
    assert (found.loc["c0", "others"] == "").all() and not (found.loc[["c1", "c2"], "others"] == "").any()
    np.testing.assert_allclose(found.loc["c0", "regret_others"], found.loc["c0", "regret_random"])


# --- recommendations ---


def test_contributions_add_up_and_the_largest_are_named():
    table = grid(10)
    table["value"] += 0.05 * within(table, "positive_entropy") - 0.01 * within(table, "diameter_q99")
    adviser = advice.fit(table, context=CONTEXT, features=FEATURES)
    table = table.sample(frac=1, random_state=0)  # an index and an order of its own
    parts = adviser.contributions(table)
    pd.testing.assert_series_equal(parts.sum(axis=1), adviser.predict(table), check_names=False)
    np.testing.assert_allclose(parts["positive_entropy"], 0.05 * within(table, "positive_entropy"), atol=2e-3)
    np.testing.assert_allclose(parts["diameter_q99"], -0.01 * within(table, "diameter_q99"), atol=2e-3)
    advised = adviser.recommend(table.drop(columns=["value", "cost"]))
    assert list(advised.columns) == [*CONTEXT, "strategy", "option", "n_options", "predicted_advantage", "because"]
    assert len(advised) == 10
    for row in advised.itertuples():
        options = table[(table["collection"] == row.collection) & (table["loss"] == row.loss)]
        chosen = adviser.predict(table)[options.index].idxmax()
        assert row.strategy == row.option == options.loc[chosen, "strategy"]
        named = {name: float(number) for name, number in (part.split(" ") for part in row.because.split(", "))}
        sizes = [abs(number) for number in named.values()]
        assert sizes == sorted(sizes, reverse=True)
        assert named == pytest.approx(parts.loc[chosen, list(named)].to_dict(), abs=0.00006)


def test_options_with_equal_features_tie_and_are_drawn_by_seed():
    table = grid(11).assign(positive_entropy=0.1, diameter_q99=0.3)  # equal but for rounding in their mean
    table["value"] += np.random.default_rng(5).normal(size=len(table))
    adviser = advice.fit(table, context=CONTEXT, features=FEATURES)
    assert (adviser.predict(table) == 0).all()
    drawn = adviser.recommend(table, seed=1)
    assert drawn["option"].nunique() > 1 and set(drawn["because"]) == {"no feature tells the options apart"}
    pd.testing.assert_frame_equal(adviser.recommend(table, seed=1), drawn)
    assert not adviser.recommend(table, seed=2)["option"].equals(drawn["option"])


def test_features_that_differ_and_do_not_count_are_not_said_to_be_alike():
    table = grid(11).assign(value=0.5)  # nothing to learn, so that no feature gets a weight
    adviser = advice.fit(table, context=CONTEXT, features=FEATURES)
    assert set(adviser.recommend(table)["because"]) == {"features differ, but every contribution rounds to 0"}
    assert left_out(table, seed=1)["advised"].nunique() > 1


def test_same_input_same_bytes_in_any_order_of_rows():
    table = grid(12)
    table["value"] += np.random.default_rng(6).normal(size=len(table))
    table.loc[3, "diameter_q99"] = np.inf
    shuffled = table.sample(frac=1, random_state=1)
    found, again = left_out(table), left_out(shuffled)
    pd.testing.assert_frame_equal(again, found, check_exact=True)
    pd.testing.assert_frame_equal(
        advice.regret_summary(again.sample(frac=1, random_state=2), seed=0), advice.regret_summary(found, seed=0), check_exact=True
    )
    first, second = (advice.fit(rows, context=CONTEXT, features=FEATURES).predict(shuffled) for rows in (table, shuffled))
    pd.testing.assert_series_equal(first, second, check_exact=True)
    pd.testing.assert_frame_equal(
        advice.quartile_table(shuffled, "diameter_q99", CONTEXT), advice.quartile_table(table, "diameter_q99", CONTEXT), check_exact=True
    )


# --- features that are not finite ---


def test_terms_by_hand_where_a_value_is_not_finite():
    """z is -1, 1 of the finite 1, 3; and (-3, 1, 1, 1) / sqrt(3) of 0, 4, 4, 4; the median of these six is 1 / sqrt(3)."""
    table = pd.DataFrame(
        {
            "collection": list("aaabbbb"),
            "strategy": list("xyzwxyz"),
            "listwise_entropy": [1.0, 3.0, np.inf, 0.0, 4.0, 4.0, 4.0],
            "value": np.arange(7.0),
        }
    )
    adviser = advice.fit(table, context=["collection"], features=["listwise_entropy"], interact=["collection"])
    table = checked(table, Roles(["collection"], ["listwise_entropy"], ["collection"]))
    terms = adviser.model[0].transform(table)
    z = np.array([-1, 1, 1 / np.sqrt(3)])
    expected = np.column_stack([z - z.mean(), z**2 - (z**2).mean(), [-1 / 3, -1 / 3, 2 / 3]])
    np.testing.assert_allclose(terms[:3, :3], expected)
    np.testing.assert_allclose(terms[3:, 0] * np.sqrt(3), [-3, 1, 1, 1])
    np.testing.assert_allclose(terms[3:, 1], [2, -2 / 3, -2 / 3, -2 / 3])  # squares 3 and 1/3, mean 1
    np.testing.assert_array_equal(terms[3:, 2], 0)
    np.testing.assert_array_equal(terms[:, 3:6], np.where(np.arange(7)[:, None] < 3, terms[:, :3], 0))
    np.testing.assert_array_equal(terms[:, 6:9], np.where(np.arange(7)[:, None] < 3, 0, terms[:, :3]))


def test_that_a_feature_is_not_finite_can_be_learnt_and_its_kind_does_not_matter():
    table = grid(13)
    random = table["strategy"] == "s1"
    table["value"] += 0.03 * within(table, "positive_entropy") + 0.2 * random
    predictions = []
    for unknown in (np.nan, np.inf, -np.inf):
        table.loc[random, "diameter_q99"] = unknown
        predictions.append(advice.fit(table, context=CONTEXT, features=FEATURES).predict(table))
    pd.testing.assert_series_equal(predictions[1], predictions[0], check_exact=True)
    pd.testing.assert_series_equal(predictions[2], predictions[0], check_exact=True)
    truth = table["value"] - table.groupby(CONTEXT)["value"].transform("mean")
    np.testing.assert_allclose(predictions[0], truth, atol=0.02)
    assert left_out(table)["regret_advice"].max() < 1e-9


def test_a_context_without_any_finite_value_is_advised_by_the_other_features():
    table = grid(14)
    table["value"] += 0.05 * within(table, "positive_entropy")
    table.loc[table["collection"] == "c3", "diameter_q99"] = np.nan
    adviser = advice.fit(table, context=CONTEXT, features=FEATURES)
    assert (adviser.contributions(table).loc[table["collection"] == "c3", "diameter_q99"] == 0).all()
    assert left_out(table)["regret_advice"].max() < 1e-9


# --- summaries ---


def summary_table(advised, always, held_out, baseline="bm25"):
    """A table of regrets; the random option and the others' best lose 0.4 and 0.3."""
    table = pd.DataFrame({"held_out": held_out, "baseline": baseline, "regret_advice": advised, "regret_baseline": always})
    return table.assign(regret_random=0.4, regret_others=0.3)


def test_means_and_shares_by_hand():
    """Three units of 1, 1 and 2 contexts: a context counts once, a unit is drawn whole."""
    summary = advice.regret_summary(summary_table([0.0, 0.1, 0.0, 0.3], [0.2, 0.1, 0.1, 0.0], ["u", "v", "w", "w"]), seed=0)
    assert summary["rule"].tolist() == ["advice", "always-bm25", "random", "best on the others", "advice - always-bm25"]
    np.testing.assert_allclose(summary["regret"], [0.1, 0.1, 0.4, 0.3, 0.0], atol=1e-12)
    assert (summary["n_contexts"] == 4).all() and (summary["n_held_out"] == 3).all() and (summary["level"] == 0.95).all()
    shares = summary[["share_best", "share_better", "share_worse"]].values.tolist()
    assert shares == [[0.5, 0.5, 0.25], [0.25, 0, 0], [0, 0, 1], [0, 0, 1], [0.5, 0.5, 0.25]]
    np.testing.assert_allclose(summary.loc[2:3, ["low", "high"]], [[0.4, 0.4], [0.3, 0.3]])  # what does not vary has no width
    # at three units the interval spans all resamples: from three times u at -0.2 to three times w at 0.1
    np.testing.assert_allclose(summary.loc[4, ["low", "high"]].astype(float), [-0.2, 0.1], atol=1e-6)


def test_units_are_resampled_whole():
    """The same 40 differences, as 40 units and as 4 of ten equal ones: the second know less."""
    differences = np.repeat([0.0, 0.1, 0.2, 0.3], 10)
    rows = [advice.regret_summary(summary_table(differences, 0.15, names), seed=0).iloc[-1]
            for names in ([f"{n:02}" for n in range(40)], np.repeat(list("abcd"), 10))]  # fmt: skip
    assert rows[0]["regret"] == pytest.approx(0) and rows[1]["regret"] == pytest.approx(0)
    spread = differences.std() / np.sqrt(39) * 2.02  # the t interval of 40 independent values
    assert rows[0]["high"] == pytest.approx(spread, rel=0.15) and rows[1]["high"] > 3 * spread


def test_the_pairing_of_the_difference_is_kept():
    always = np.random.default_rng(7).uniform(0.1, 0.9, size=12)
    names = [f"{n:02}" for n in range(12)]
    summary = advice.regret_summary(summary_table(always - 0.01, always, names), seed=0)
    assert summary.iloc[-1][["low", "high"]].tolist() == pytest.approx([-0.01, -0.01]) and summary["high"][0] - summary["low"][0] > 0.1


def test_verdicts():
    names = [f"{n:02}" for n in range(12)]
    always = np.full(12, 0.5)
    noise = np.tile([0.01, -0.01], 6)
    sentences = {
        shift: advice.verdict(advice.regret_summary(summary_table(always + shift + noise, always, names), seed=0))
        for shift in (-0.1, 0, 0.1)
    }
    assert sentences[-0.1].startswith("The advice is better than always-bm25 (mean regret lower by 0.1000, 95 % interval 0.09")
    assert sentences[0].startswith("The advice is not shown to be better than always-bm25 (mean regret ")
    assert sentences[0.1].startswith("The advice is worse than always-bm25 (mean regret higher by 0.1000, 95 % interval 0.09")
    assert all(sentence.endswith("; 12 contexts in 12 held-out units).") for sentence in sentences.values())
    few = advice.verdict(advice.regret_summary(summary_table(always - 0.1, always, list("abcd") * 3), seed=0, level=0.9))
    assert few == (
        "With 4 held-out units it cannot be decided whether the advice is better than always-bm25 "
        "(mean regret lower by 0.1000; 12 contexts, too few units for an interval)."
    )


def test_no_sentence_has_a_negative_zero():
    row = {"rule": "advice - always-bm25", "n_contexts": 8, "n_held_out": 8, "level": 0.95}
    for regret, low, high in ((0.0, 0.0, 0.0), (-1e-9, -1e-9, 0.01), (0.00001, -0.00001, 0.01), (-0.0, -0.0, -0.0)):
        said = advice.verdict(pd.DataFrame([row | {"regret": regret, "low": low, "high": high}]))
        assert "-0.0000" not in said and "0.0000" in said


# --- on a study's options ---

PLACE = ["collection", "test_collection", "first_stage"]


def study(seed=0, *, collections=3, stages=("full", "bm25@100"), losses=("kl", "lce"), strategies=("bm25", "random", "dense", "near")):
    """Options as a study's analysis gives them, with values that are noise."""
    rng = np.random.default_rng(seed)
    rows = itertools.product([f"c{n}" for n in range(collections)], stages, losses, strategies)
    table = pd.DataFrame(list(rows), columns=["collection", "first_stage", "loss", "strategy"])
    table = table.assign(test_collection=table["collection"], architecture="static", temperature=1.0, target_entropy=np.nan)
    table["teacher"] = table["loss"].map({"kl": "oracle"}).fillna("")
    table["cell"] = table["loss"] + " " + table["strategy"]
    for name in FEATURES:
        table[name] = rng.uniform(size=len(table))
    return table.assign(value=rng.uniform(size=len(table)), cost=1.0)


def test_a_check_leaves_out_collections_and_recipes_and_says_what_came_of_it():
    table, sentences = advice.check(study(collections=6), FEATURES, "random")
    assert table.groupby("left_out")["n_held_out"].first().to_dict() == {"collection": 6, "loss and architecture": 2}
    assert table["rule"].tolist()[:4] == ["advice", "always-bm25", "random", "best on the others"] and len(table) == 8
    assert len(sentences) == 2 and sentences[0].startswith("Leaving out collection: The advice is ")
    assert sentences[1].startswith("Leaving out loss and architecture: With 2 held-out units it cannot be decided whether the advice is")
    assert sentences[1].endswith(" What is left to learn from is one unit, so the penalty is chosen inside it.")
    assert not sentences[0].endswith("inside it.")
    named = advice.check(study(collections=6).replace({"strategy": {"bm25": "rerank"}}), FEATURES, "random")[0]
    assert "always-random" in set(named["rule"])


def test_a_check_with_one_context_to_fit_on_says_so():
    table, sentences = advice.check(study(collections=1, stages=("full",)), FEATURES, "random")
    assert table.empty and sentences == [
        "Leaving out collection: there is no other to learn from.",
        "Leaving out loss and architecture: without loss=kl, architecture=static there is 1 context to learn from, and it takes 2.",
    ]
    alone = advice.check(study(collections=1, stages=("full",), strategies=("bm25",)), FEATURES, "random")
    assert alone[0].empty and alone[1][2] == "2 contexts have no choice; they are left out."
    assert advice.check(study()[:0], FEATURES, "random")[1][0].startswith("No groups were described")


@pytest.mark.parametrize("unknown", [np.nan, np.inf])
def test_a_check_leaves_out_a_feature_that_is_finite_nowhere_in_a_fold(unknown):
    options = study(collections=2)
    options.loc[options["collection"] == "c1", "diameter_q99"] = unknown
    table, sentences = advice.check(options, FEATURES, "random")
    assert set(table["left_out"]) == {"collection", "loss and architecture"}
    said = " The feature diameter_q99 is left out: without collection=c0 it is finite nowhere."
    assert said in sentences[0] and "diameter_q99" not in sentences[1]
    without = advice.check(options.drop(columns="diameter_q99"), FEATURES, "random")[0]
    by_collection = [found[found["left_out"] == "collection"] for found in (table, without)]
    pd.testing.assert_frame_equal(*by_collection)
    only = advice.check(options, ["diameter_q99"], "random")
    assert only[1][0] == "Leaving out collection: no feature can be learnt from." + said
    assert "no feature differs between the options" in advice.check(options.assign(diameter_q99=1.0), ["diameter_q99"], "random")[1][0]


def test_a_check_counts_the_contexts_and_the_cells_that_it_leaves_out():
    options = study(collections=4)
    few = (options["collection"] == "c0") & (options["loss"] == "kl") & (options["strategy"] != "bm25")
    lacking = (options["collection"] == "c1") & (options["loss"] == "kl") & (options["first_stage"] == "full")
    cut = options[~few & ~(lacking & (options["strategy"] == "bm25"))]
    cut.attrs["left_out"] = ["kl a", "kl b", "kl c", "kl d"]
    table, sentences = advice.check(cut, FEATURES, "random")
    assert sentences[2:] == [
        "2 contexts have no choice and 1 lacks bm25; they are left out.",
        "4 cells have no description of their groups; they are left out: kl a, kl b, kl c, ....",
    ]
    assert (table.loc[table["left_out"] == "collection", "n_contexts"] == 13).all()
    cut.attrs["left_out"] = ["kl a"]
    assert advice.check(cut, FEATURES, "random")[1][3] == "1 cell has no description of its groups; it is left out: kl a."
    none = advice.check(options.replace({"strategy": {"bm25": "x"}}), FEATURES, "absent")
    assert none[0].empty and none[1][2] == "16 contexts lack absent; they are left out."


def test_a_context_without_a_name_is_an_error_and_not_left_out():
    with pytest.raises(AdviceError, match="context column 'teacher' is missing in"):
        advice.check(study().replace({"teacher": {"": None}}), FEATURES, "random")


def test_pooled_studies_keep_every_cell_once():
    options = study()
    one, two = options[options["collection"] != "c2"].copy(), options[options["collection"] != "c0"].assign(cost=2.0)
    one.attrs["left_out"], two.attrs["left_out"] = ["b"], ["a", "b"]
    pooled = advice.pool({"one": ("AP", one), "two": ("AP", two)})
    assert not pooled.duplicated([*PLACE, "cell"]).any() and len(pooled) == len(options)
    pd.testing.assert_frame_equal(pooled.drop(columns="cost"), options.drop(columns="cost"))
    assert pooled.groupby("collection")["cost"].first().to_dict() == {"c0": 1.0, "c1": 1.0, "c2": 2.0}
    assert pooled.attrs["left_out"] == ["a", "b"] and pooled.index.tolist() == list(range(len(options)))
    alone = advice.pool({"one": ("AP", one), "empty": ("AP", options[:0])})
    pd.testing.assert_frame_equal(alone, one.reset_index(drop=True))
    assert advice.pool({"empty": ("AP", options[:0])}).empty


def test_numbers_that_differ_by_rounding_agree():
    options = study()
    rounded = options.assign(value=options["value"] * (1 + 1e-14), diameter_q99=np.inf)
    assert len(advice.pool({"one": ("AP", options.assign(diameter_q99=np.inf)), "two": ("AP", rounded)})) == len(options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: ("nDCG@10", table), "study 'one' measures AP, 'two' nDCG@10; pool studies whose measure is the same"),
        (
            lambda table: ("AP", broken("value", 0.5, row=1)(table)),
            r"the cell 'kl random' of c0, c0, full has the value 0\.\d+ in study 'one' and 0.5 in study 'two'",
        ),
        (lambda table: ("AP", broken("diameter_q99", np.nan)(table)), r"has the diameter_q99 0\.\d+ in study 'one' and nan in study 'two'"),
        (lambda table: ("AP", table.drop(columns="diameter_q99")), r"has the diameter_q99 0\.\d+ in study 'one' and nan in study 'two'"),
        (lambda table: ("AP", broken("temperature", 2.0)(table)), "has the temperature 1.0 in study 'one' and 2.0 in study 'two'"),
        (lambda table: ("AP", broken("strategy", "pool")(table)), "has the strategy bm25 in study 'one' and pool in study 'two'"),
        (lambda table: ("AP", table.drop(columns="cell")), "the options of study 'two' have no column 'cell'"),
    ],
)
def test_studies_that_do_not_agree_are_not_pooled(change, message):
    with pytest.raises(AdviceError, match=message):
        advice.pool({"one": ("AP", study()), "two": change(study())})
    with pytest.raises(AdviceError, match="no table to pool"):
        advice.pool({})


# --- the rule of thumb ---


def test_quarters_by_hand():
    rows = [("a", "r", 1, 0.1), ("a", "s", 2, 0.2), ("a", "t", 3, 0.3), ("a", "u", 9, 0.4), ("a", "v", np.inf, 0.0)]
    rows += [("b", "r", 5, 0.5), ("b", "s", 6, 0.7)]  # a context of two: second and highest quarter, at 1/4 and 3/4 of the ranks
    rows += [("c", "r", 7, 0.5), ("c", "s", 7, 0.7)]
    table = pd.DataFrame(rows, columns=["collection", "strategy", "diameter", "value"])
    found = advice.quartile_table(table, "diameter", ["collection"]).set_index("quarter")
    assert found.index.tolist() == ["lowest", "second", "third", "highest", "not finite", "all equal"]
    assert found["n_options"].tolist() == [1, 2, 1, 2, 1, 2] and found["n_contexts"].tolist() == [1, 2, 1, 2, 1, 1]
    np.testing.assert_allclose(found["advantage"], [-0.1, -0.05, 0.1, 0.15, -0.2, 0], atol=1e-12)
    np.testing.assert_allclose(found["feature_mean"], [1, 3.5, 3, 7.5, np.nan, 7])


def test_quarters_of_a_value_that_rises_with_the_feature_rise():
    table = grid(15, strategies=8)
    found = advice.quartile_table(table.assign(value=within(table, "diameter_q99")), "diameter_q99", CONTEXT)
    assert found["quarter"].tolist() == list(advice.QUARTERS) and (found["n_options"] == 20).all()
    assert found["advantage"].is_monotonic_increasing and found["advantage"].iloc[0] < -1


# --- errors ---


def broken(column, value, row=0):
    return lambda table: table.assign(**{column: table[column].where(table.index != row, value)})


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (lambda table: table.drop(columns="loss"), {}, "no column 'loss'"),
        (lambda table: table.drop(columns="value"), {}, "no column 'value'"),
        (lambda table: table[:0], {}, "options is empty"),
        (lambda table: table.assign(diameter_q99="wide"), {}, "'diameter_q99' has the type"),
        (broken("value", np.nan), {}, "value is not finite in 1 rows, the first for .*'c0'"),
        (broken("collection", None), {}, "context column 'collection' is missing in 1 rows"),
        (broken("strategy", "s1"), {}, "1 options stand twice in a context, the first 's1' in collection=c0, loss=kl"),
        (lambda table: table[5:].reset_index(drop=True).iloc[4:], {}, "1 contexts have one option, the first collection=c0, loss=lce"),
        (lambda table: table[:5], {}, "1 contexts with a choice to fit on; expected at least 2"),
        (lambda table: table.assign(diameter_q99=np.inf), {}, "feature 'diameter_q99' is finite in none of the 50 rows"),
        (lambda table: table, {"features": []}, "features is empty"),
        (lambda table: table, {"context": "loss"}, "context is 'loss'; expected a sequence"),
        (lambda table: table, {"interact": "loss"}, "interact is 'loss'; expected a sequence"),
        (lambda table: table, {"interact": ["architecture"]}, "interact names 'architecture'"),
        (lambda table: table, {"features": ["value"]}, "'value' stands in features and in the outcomes"),
        (lambda table: table, {"features": ["diameter_q99", "diameter_q99"]}, "'diameter_q99' stands in features and in features"),
        (lambda table: table, {"choices": ["loss"]}, "'loss' stands in choices and in context"),
    ],
)
def test_fit_refuses(change, settings, message):
    with pytest.raises(AdviceError, match=message):
        advice.fit(change(grid(16)), **({"context": CONTEXT, "features": FEATURES} | settings))


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (lambda table: table.drop(columns="cost"), {}, "no column 'cost'"),
        (broken("cost", np.inf, row=7), {}, "cost is not finite in 1 rows"),
        (lambda table: table, {"leave": []}, r"leave is \[\]"),
        (lambda table: table, {"leave": "loss"}, "leave is 'loss'"),
        (lambda table: table, {"leave": ["cost"]}, "leave names 'cost'"),
        (lambda table: table, {"baseline": {}}, r"baseline is {}"),
        (lambda table: table, {"baseline": {"loss": "kl"}}, "baseline names 'loss'"),
        (
            lambda table: table.drop(index=5),
            {},
            "the baseline 's0' is no option of the context collection=c0, loss=lce, which offers s1, s2",
        ),
        (lambda table: table[:20], {"leave": ["collection"], "interact": []}, None),
        (lambda table: table[:10], {"leave": ["loss"]}, "without loss=kl there are 1 contexts with a choice to fit on"),
        (lambda table: table[table["strategy"].isin(["s0", "s1"])], {"leave": ["strategy"]}, "without strategy=s0 there are 0 contexts"),
    ],
)
def test_leave_one_out_refuses(change, settings, message):
    settings = {"leave": ("collection",)} | settings
    if message is None:  # two contexts are enough
        assert len(left_out(change(grid(17)), **settings)) == 4
        return
    with pytest.raises(AdviceError, match=message):
        left_out(change(grid(17)), **settings)


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (lambda table: table.drop(columns="regret_others"), {}, "no column 'regret_others'"),
        (lambda table: table.assign(held_out="u"), {}, "1 held-out units; expected at least 2"),
        (lambda table: table.assign(baseline=["bm25", "dense"]), {}, "2 baselines, bm25, dense"),
        (lambda table: table.assign(regret_advice=[0.1, np.nan]), {}, "regret_advice is nan in row 1"),
        (lambda table: table, {"level": 1.0}, "level is 1.0"),
        (lambda table: table, {"n_resamples": 0}, "n_resamples 0"),
    ],
)
def test_regret_summary_refuses(change, settings, message):
    with pytest.raises(AdviceError, match=message):
        advice.regret_summary(change(summary_table([0.1, 0.2], 0.3, ["u", "v"])), seed=0, **settings)


def test_verdict_refuses_a_table_without_the_difference():
    summary = advice.regret_summary(summary_table([0.1, 0.2], 0.3, ["u", "v"]), seed=0)
    for table in (summary[:-1], summary.drop(columns="rule")):
        with pytest.raises(AdviceError, match="no row 'advice - always-"):
            advice.verdict(table)

"""The frontier of effectiveness against cost: hand values, brute force, invariants, and every error."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from rd_utils.cost import frontier as module
from rd_utils.cost.frontier import frontier, marginal, price_of_last

COLUMNS = {"cost": "seconds", "value": "mean"}


def table(*rows, names: str | None = None) -> pd.DataFrame:
    points = pd.DataFrame(rows, columns=["seconds", "mean"], dtype=float)
    return points.assign(cell=list(names or "abcdefghij"[: len(points)]))


@pytest.fixture
def random_points():
    """300 rows in three groups of unequal size, dearer ones mostly better, on a grid: costs, values and whole rows repeat."""
    generator = np.random.default_rng(0)
    seconds = generator.integers(0, 25, size=300) * 10.0
    return pd.DataFrame(
        {
            "cell": [f"cell-{row:03d}" for row in range(300)],
            "first_stage": generator.choice(["bm25", "dense", "pooled"], size=300, p=[0.6, 0.3, 0.1]),
            "seconds": seconds,
            "mean": (30 + np.sqrt(seconds) + generator.integers(0, 4, size=300)).round() / 100,
        }
    )


def dominated(row, others) -> bool:
    return any(
        other.seconds <= row.seconds and other.mean >= row.mean and (other.seconds < row.seconds or other.mean > row.mean)
        for other in others
    )


# --- frontier ---


def test_a_frontier_by_hand():
    """b is dearer and worse than a, d as good as c and dearer, f as dear as e and worse."""
    points = table((1, 0.40), (2, 0.35), (3, 0.50), (4, 0.50), (6, 0.60), (6, 0.55))
    marked = frontier(points, **COLUMNS)
    assert marked.tolist() == [True, False, True, False, True, False]
    assert (marked.name, marked.dtype) == ("on_frontier", bool)


def test_rows_that_agree_in_both_stand_or_fall_together():
    assert frontier(table((1, 0.4), (1, 0.4), (2, 0.4), (2, 0.4)), **COLUMNS).tolist() == [True, True, False, False]
    assert frontier(table((1, 0.4)), **COLUMNS).tolist() == [True]
    assert frontier(table((0, -1.0), (0, -2.0)), **COLUMNS).tolist() == [True, False]


def test_each_group_has_its_own_frontier():
    points = table((1, 0.5), (2, 0.4), (2, 0.6)).assign(first_stage=["bm25", "dense", "bm25"], collection="toy")
    assert frontier(points, **COLUMNS).tolist() == [True, False, True]
    assert frontier(points, **COLUMNS, by=["first_stage"]).tolist() == [True, True, True]
    assert frontier(points, **COLUMNS, by=["collection", "first_stage"]).tolist() == [True, True, True]


def test_the_index_and_the_order_of_the_rows_are_kept(random_points):
    whole = frontier(random_points, **COLUMNS, by=["first_stage"])
    shuffled = random_points.sample(frac=1, random_state=1)
    marked = frontier(shuffled, **COLUMNS, by=["first_stage"])
    assert marked.index.tolist() == shuffled.index.tolist()
    pd.testing.assert_series_equal(marked.sort_index(), whole)
    same_label = random_points.set_axis([7] * len(random_points))
    assert frontier(same_label, **COLUMNS, by=["first_stage"]).tolist() == whole.tolist()


@pytest.mark.parametrize("by", [(), ("first_stage",)])
def test_brute_force_agrees(random_points, by):
    marked = frontier(random_points, **COLUMNS, by=by)
    rows = list(random_points.itertuples())
    expected = [not dominated(row, [other for other in rows if not by or other.first_stage == row.first_stage]) for row in rows]
    assert marked.tolist() == expected
    on = random_points[marked]
    assert 8 < len(on.drop_duplicates(["seconds", "mean"])) < len(on) < 100  # points that repeat are among them
    continuous = random_points.assign(mean=np.random.default_rng(1).normal(size=300), seconds=np.random.default_rng(2).uniform(size=300))
    rows = list(continuous.itertuples())
    expected = [not dominated(row, [other for other in rows if not by or other.first_stage == row.first_stage]) for row in rows]
    assert frontier(continuous, **COLUMNS, by=by).tolist() == expected


def test_only_the_order_of_costs_and_values_matters(random_points):
    marked = frontier(random_points, **COLUMNS)
    other_units = random_points.assign(seconds=np.sqrt(random_points["seconds"]) * 3, mean=np.exp(random_points["mean"]) - 5)
    pd.testing.assert_series_equal(frontier(other_units, **COLUMNS), marked)


def test_a_dominated_row_changes_nothing(random_points):
    by = {"by": ["first_stage"]}
    marked = frontier(random_points, **COLUMNS, **by)
    standing = random_points[marked]
    assert frontier(standing, **COLUMNS, **by).all()
    worse = random_points.assign(seconds=random_points["seconds"] + 1, cell="worse-" + random_points["cell"])
    both = pd.concat([random_points, worse], ignore_index=True)
    assert frontier(both, **COLUMNS, **by).tolist() == [*marked, *[False] * 300]
    for result in (marginal, price_of_last):
        pd.testing.assert_frame_equal(result(both, **COLUMNS, **by), result(random_points, **COLUMNS, **by))
        pd.testing.assert_frame_equal(result(standing, **COLUMNS, **by), result(random_points, **COLUMNS, **by))


def test_no_rows_have_no_frontier():
    empty = table()
    assert frontier(empty, **COLUMNS).tolist() == []
    assert price_of_last(empty, **COLUMNS).shape == (0, 8)
    assert list(marginal(empty.assign(group=[]), **COLUMNS, by=["group"]).columns) == ["group", *module.MARGINAL_COLUMNS]


# --- the price of the last step ---


def test_the_price_of_the_last_step_by_hand():
    """b at 0.615 is within 0.01 of e at 0.62, a at 0.60 is not; c is as good as b and dearer."""
    points = table((10, 0.60), (20, 0.615), (30, 0.615), (50, 0.61), (80, 0.62))
    price = price_of_last(points, **COLUMNS)
    assert list(price.columns) == list(module.PRICE_COLUMNS)
    assert price.iloc[0].tolist() == ["e", 0.62, 80.0, "b", 0.615, 20.0, 60.0, 4.0]
    assert price_of_last(points, **COLUMNS, step=0.02).loc[0, ["cheapest", "extra_cost", "cost_ratio"]].tolist() == ["a", 70.0, 8.0]
    assert price_of_last(points, **COLUMNS, step=0).loc[0, ["best", "cheapest", "extra_cost", "cost_ratio"]].tolist() == [
        "e",
        "e",
        0.0,
        1.0,
    ]


@pytest.mark.parametrize(("best", "cheaper"), [(0.63, 0.62), (0.3, 0.29), (0.71, 0.70), (0.5, 0.49)])
def test_a_step_that_floats_cannot_write_is_still_a_step(best, cheaper):
    points = table((10, best), (1, cheaper), (0.5, cheaper - 1e-6))
    assert price_of_last(points, **COLUMNS).loc[0, "cheapest"] == "b"


def test_ties_go_to_the_cheaper_the_better_and_the_first_name():
    best = table((5, 0.6), (4, 0.6), (4, 0.6), names="xzy")
    assert price_of_last(best, **COLUMNS).loc[0, ["best", "cheapest"]].tolist() == ["y", "y"]
    cheapest = table((9, 0.6), (4, 0.592), (4, 0.595), (4, 0.595), names="xayw")
    for points in (cheapest, cheapest[::-1]):
        assert price_of_last(points, **COLUMNS).loc[0, ["best", "cheapest"]].tolist() == ["x", "w"]


def test_what_costs_nothing_has_an_infinite_ratio_or_none():
    free = price_of_last(table((0, 0.595), (3, 0.6)), **COLUMNS)
    assert free.loc[0, ["extra_cost", "cost_ratio"]].tolist() == [3.0, math.inf]
    assert price_of_last(table((0, 0.6), (3, 0.5)), **COLUMNS).loc[0, ["extra_cost", "cost_ratio"]].tolist() == [0.0, 1.0]


def test_brute_force_agrees_on_the_price(random_points):
    for step in (0.0, 0.01, 0.05):
        prices = price_of_last(random_points, **COLUMNS, step=step, by=["first_stage"])
        assert prices["first_stage"].tolist() == ["bm25", "dense", "pooled"]
        for row in prices.itertuples():
            group = random_points[random_points["first_stage"] == row.first_stage]
            top = group["mean"].max()
            near = group[group["mean"] >= top - step - 1e-9]
            assert (row.best_value, row.best_cost) == (top, group.loc[group["mean"] == top, "seconds"].min())
            assert row.cheapest_cost == near["seconds"].min()
            assert row.extra_cost == row.best_cost - row.cheapest_cost >= 0
            assert row.best_value - row.cheapest_value <= step + 1e-9
            named = group.set_index("cell")
            assert named.loc[row.best, ["seconds", "mean"]].tolist() == [row.best_cost, row.best_value]
            assert named.loc[row.cheapest, ["seconds", "mean"]].tolist() == [row.cheapest_cost, row.cheapest_value]


def test_best_and_cheapest_stand_on_the_frontier(random_points):
    on = random_points[frontier(random_points, **COLUMNS, by=["first_stage"])]
    for step in (0.0, 0.01, 0.1):
        prices = price_of_last(random_points, **COLUMNS, step=step, by=["first_stage"])
        assert set(prices["best"]) | set(prices["cheapest"]) <= set(on["cell"])


# --- along the frontier ---


def test_marginal_prices_by_hand():
    """From 0.40 to 0.50 for 20 more, 2 a hundredth; from 0.50 to 0.52 for 50 more, 25 a hundredth; b is dominated."""
    points = table((10, 0.40), (20, 0.39), (30, 0.50), (80, 0.52))
    walk = marginal(points, **COLUMNS)
    assert list(walk.columns) == list(module.MARGINAL_COLUMNS)
    assert walk[["cheaper", "dearer"]].values.tolist() == [["a", "c"], ["c", "d"]]
    np.testing.assert_allclose(walk[["gain", "extra_cost", "cost_per_step"]], [[0.10, 20, 2], [0.02, 50, 25]])
    np.testing.assert_allclose(marginal(points, **COLUMNS, step=0.02)["cost_per_step"], [4, 50])


def test_equal_points_of_the_frontier_are_one_point():
    points = table((10, 0.4), (10, 0.4), (30, 0.5), names="zyx")
    assert marginal(points, **COLUMNS)[["cheaper", "dearer"]].values.tolist() == [["y", "x"]]
    assert marginal(points[:2], **COLUMNS).empty


def test_the_walk_joins_the_whole_frontier(random_points):
    walk = marginal(random_points, **COLUMNS, by=["first_stage"])
    on = random_points[frontier(random_points, **COLUMNS, by=["first_stage"])]
    assert walk["first_stage"].is_monotonic_increasing
    for stage, group in on.groupby("first_stage"):
        part = walk[walk["first_stage"] == stage]
        distinct = group.drop_duplicates(["seconds", "mean"]).sort_values("seconds")
        assert part["cheaper_cost"].tolist() == distinct["seconds"].tolist()[:-1]
        assert part["dearer_cost"].tolist() == distinct["seconds"].tolist()[1:]
        assert part["dearer_value"].tolist() == distinct["mean"].tolist()[1:]
        assert part["dearer"].tolist()[:-1] == part["cheaper"].tolist()[1:]
        assert part["extra_cost"].sum() == pytest.approx(distinct["seconds"].max() - distinct["seconds"].min())
        assert part["gain"].sum() == pytest.approx(distinct["mean"].max() - distinct["mean"].min())
    assert (walk[["gain", "extra_cost", "cost_per_step"]] > 0).all(axis=None)


def test_the_order_of_the_rows_changes_no_table(random_points):
    shuffled = random_points.sample(frac=1, random_state=3)
    for result in (marginal, price_of_last):
        pd.testing.assert_frame_equal(result(shuffled, **COLUMNS, by=["first_stage"]), result(random_points, **COLUMNS, by=["first_stage"]))


def test_groups_may_be_categories_of_which_some_are_empty(random_points):
    stages = pd.Categorical(random_points["first_stage"], categories=["pooled", "graph", "dense", "bm25"])
    prices = price_of_last(random_points.assign(first_stage=stages), **COLUMNS, by=["first_stage"])
    assert prices["first_stage"].tolist() == ["pooled", "dense", "bm25"]


# --- errors ---

POINTS = table((1, 0.4), (2, 0.5)).assign(group=["g", "h"])


@pytest.mark.parametrize(
    ("points", "settings", "message"),
    [
        (POINTS, {"cost": "joules"}, r"points has no column 'joules'; found \['seconds', 'mean', 'cell', 'group'\]"),
        (POINTS, {"value": "nDCG@10"}, "points has no column 'nDCG@10'"),
        (POINTS, {"by": ["stage"]}, "points has no column 'stage'"),
        (POINTS, {"by": "group"}, r"by is 'group'; expected a list of columns: \['group'\]"),
        (POINTS.assign(mean=[np.nan, 0.5]), {}, "1 of 2 entries of 'mean' are not finite.*the first is row 0, {'seconds': 1.0"),
        (POINTS.assign(seconds=[1.0, np.nan]), {}, "1 of 2 entries of 'seconds' are not finite.*the first is row 1"),
        (POINTS.assign(seconds=[np.inf, np.inf]), {}, "2 of 2 entries of 'seconds' are not finite"),
        (POINTS.assign(mean=pd.array([pd.NA, 0.5], dtype="Float64")), {}, "1 of 2 entries of 'mean' are not finite"),
        (POINTS.assign(seconds=[-1.0, 2.0]), {}, "1 of 2 entries of 'seconds' are negative; a cost is at least 0"),
        (POINTS.assign(mean=["0.4", "0.5"]), {}, "column 'mean' has dtype str; expected numbers"),
        (POINTS.assign(group=["g", None]), {"by": ["group"]}, "1 of 2 entries of 'group' are missing; every row needs its group"),
    ],
)
@pytest.mark.parametrize("function", [frontier, price_of_last, marginal])
def test_what_has_no_frontier_is_named(function, points, settings, message):
    with pytest.raises(ValueError, match=message):
        function(points, **(COLUMNS | settings))


@pytest.mark.parametrize("function", [price_of_last, marginal])
def test_what_has_no_price_is_named(function):
    with pytest.raises(ValueError, match="points has no column 'strategy' with the names"):
        function(POINTS, **COLUMNS, name="strategy")
    with pytest.raises(ValueError, match="1 of 2 entries of 'cell' are missing; every row needs a name"):
        function(POINTS.assign(cell=["a", None]), **COLUMNS)
    with pytest.raises(ValueError, match="step is -0.01"):
        function(POINTS, **COLUMNS, step=-0.01)
    with pytest.raises(ValueError, match="step is nan"):
        function(POINTS, **COLUMNS, step=math.nan)
    with pytest.raises(ValueError, match="by holds 'extra_cost', which is a column of the result"):
        function(POINTS.assign(extra_cost="g"), **COLUMNS, by=["extra_cost"])


def test_a_gain_has_no_price_by_steps_of_nothing():
    with pytest.raises(ValueError, match="step is 0; expected a number above 0"):
        marginal(POINTS, **COLUMNS, step=0)

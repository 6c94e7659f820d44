"""Charts of rules, choices and bounds."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from rd_utils.report.charts.shared import (
    BOUND_KINDS,
    COSTS,
    HALO,
    WIDEST,
    beside_names,
    bracketed,
    by_kind,
    by_name,
    facet,
    finite,
    fitting,
    forest,
    known_only,
    log_axis,
    once_each,
    paneled,
    positive,
)
from rd_utils.report.drawing import INK, MUTED, distinct, joined, padded_domain, require, tooltips


def error_rate_chart(
    rates: pd.DataFrame,
    *,
    by: Sequence[str] = ("true_difference",),
    title: str = "rate over simulations",
    width: int = 220,
    height: int = 200,
) -> alt.LayerChart | alt.FacetChart:
    """Draw how often each rule of decision says what it should say only so often.

    The dashed rule is the rate to expect, such as the nominal alpha. Panels have a scale each.

    Args:
        rates: One row each: rule, n_queries, the columns of ``by``, rate, low and high (shares in [0, 1]), expected (a share; blank where
            none is expected).
        by: Columns of numbers that make panels, such as the true difference, in units of the measure.
        title: What the rate is.
        width: Of one panel, in pixels.
        height: Of one panel, in pixels.

    Returns:
        A chart whose ``data`` is the frame it shows.

    Raises:
        ValueError: A column or a value is missing, an interval does not hold its rate, or two rows share a place.
    """
    require(rates, ("rule", "n_queries", *by, "rate", "low", "high", "expected"), "rates")
    finite(rates, ["n_queries", *by], "rates")
    bracketed(rates, "rate", "rates")
    frame = paneled(rates, by, "rates")
    once_each(frame, ["panel", "rule", "n_queries"], "rates")
    frame["nominal"] = ["" if pd.isna(value) else "expected rate" for value in frame["expected"]]
    rules, numbers = distinct(frame["rule"]), sorted(set(frame["n_queries"]))
    colour, shape = by_name("rule", rules, "rule", alt.Legend(orient="bottom", columns=3, symbolSize=120))
    x = alt.X("n_queries:O", title="test queries", sort=numbers, axis=alt.Axis(labelAngle=0))
    y = alt.Y("rate:Q", title=title, axis=alt.Axis(format="~%", tickCount=5), scale=alt.Scale(zero=True, nice=False, padding=6))
    offset = alt.XOffset("rule:N", sort=rules, scale=alt.Scale(domain=rules, paddingOuter=0.6))
    told = tooltips(frame, ["rule", "n_queries", *by, "rate", "low", "high", "expected"])
    common = {"x": x, "xOffset": offset, "color": colour}
    base = alt.Chart()
    line = alt.Legend(orient="bottom", symbolSize=300, symbolStrokeWidth=1.5)
    dash = alt.StrokeDash("nominal:N", title="dashed", scale=alt.Scale(domain=["expected rate"], range=[[5, 3]]), legend=line)
    alpha = base.transform_filter("isValid(datum.expected)").transform_aggregate(rows="count()", groupby=["panel", "expected", "nominal"])
    layers = [
        alpha.mark_rule(color=INK, strokeWidth=1.3).encode(y="expected:Q", strokeDash=dash),
        base.mark_line(strokeWidth=1.2, opacity=0.7).encode(**common, y=y),
        base.mark_rule(strokeWidth=1.6).encode(**common, y=alt.Y("low:Q"), y2="high:Q", tooltip=told),
        base.mark_point(filled=True, size=55, opacity=1).encode(**common, y=y, shape=shape, tooltip=told),
    ]
    return facet(layers, frame, width, height, fitting(width, frame["panel"].nunique(), 20, 70), y="independent")


def regret_chart(summary: pd.DataFrame, *, measure: str = "the measure", width: int = 240) -> alt.LayerChart | alt.FacetChart:
    """Draw how far below the best choice each rule of choosing ends, with its interval; one panel what was left out.

    Args:
        summary: One row each: rule (advice, always-bm25, random ...), left_out (collection, teacher ...), regret (0 is best), low, high, in
            units of the measure.
        measure: Its name, for the axis.
        width: Of one panel, in pixels.

    Returns:
        A chart whose ``data`` is the frame it shows.

    Raises:
        ValueError: A column or a value is missing, an interval does not hold its regret, or two rows share a place.
    """
    require(summary, ("rule", "left_out", "regret", "low", "high"), "summary")
    bracketed(summary, "regret", "summary")
    frame = paneled(summary, ["left_out"], "summary").assign(row=summary["rule"])
    frame["panel"] = "left out: " + frame["panel"]
    once_each(frame, ["panel", "row"], "summary")
    rules = distinct(frame["rule"])
    marks = by_name("rule", rules, "rule", None)
    x = alt.X("regret:Q", title=f"regret in {measure}", axis=alt.Axis(tickCount=5))
    told = tooltips(frame, ["rule", "left_out", "regret", "low", "high"])
    return forest(frame, x, marks, told, width=width, step=22, beside=beside_names(rules))


def pareto_chart(
    points: pd.DataFrame,
    *,
    cost: str = "total_cpu_seconds",
    measure: str = "value",
    by: Sequence[str] = (),
    width: int = 560,
    height: int = 360,
) -> alt.LayerChart | alt.FacetChart:
    """Draw effectiveness against cost: what no cheaper choice reaches is joined by the frontier, and named.

    A click in the legend shows one strategy or loss alone.

    Args:
        points: One row each: strategy, loss, value (a mean, in units of the measure), sd (blank where there is one seed: then no bar), the
            cost (above 0), on_frontier (bool), cell where known (what a point is called), and the columns of ``by``.
        cost: The column with the cost: a key of :data:`COSTS`, such as ``joules``, or any other.
        measure: What the value is, for the axis.
        by: Columns that make panels.
        width: Of one panel, in pixels; several panels are narrower.
        height: Of one panel, in pixels.

    Returns:
        A chart whose ``data`` is the frame it shows, the cost as ``cost``.

    Raises:
        ValueError: A column or a value is missing, a cost is not above 0, or on_frontier is not bool.
    """
    frame = _priced(points, cost, by)
    width = min(width, (WIDEST - 290) // 2) if frame["panel"].nunique() > 1 else width
    ends = padded_domain(pd.concat([frame["value"], frame["low"].dropna(), frame["high"].dropna()]))
    x = _cost_axis(frame, f"{COSTS.get(cost, cost)}, log scale", width)
    y = alt.Y("value:Q", title=measure, scale=alt.Scale(domain=ends, nice=False))
    only = {name: alt.selection_point(name=f"only_{name}", fields=[name], bind="legend") for name in ("strategy", "loss")}
    opacity = alt.condition(only["strategy"] & only["loss"], alt.value(0.95), alt.value(0.08))
    colour, shape = by_name("strategy", distinct(frame["strategy"]), "strategy")[0], by_name("loss", distinct(frame["loss"]), "loss")[1]
    told = tooltips(frame, [*by, "name", "strategy", "loss", "value", "sd", "cost", "on_frontier"])
    base = alt.Chart()
    line, names = _frontier(x, y)
    layers = [
        line,
        base.transform_filter("isValid(datum.sd)").mark_rule(strokeWidth=1.4).encode(
            x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour, opacity=opacity),
        base.mark_point(filled=True, size=80, stroke="white", strokeWidth=0.6)
        .encode(x=x, y=y, color=colour, shape=shape, opacity=opacity, tooltip=told)
        .properties(name="points")
        .add_params(*only.values()),
        *names,
    ]  # fmt: skip
    return facet(layers, frame, width, height, 2)


def _frontier(x: alt.X, y: alt.Y) -> tuple[alt.Chart, list[alt.Chart]]:
    """Return the line through what no cheaper choice reaches, and the names of its points."""
    label = alt.Scale(domain=["no cheaper choice is better"], range=[[5, 3]])
    dash = alt.StrokeDash("frontier:N", title="frontier", scale=label, legend=alt.Legend(symbolSize=300))
    best = alt.Chart().transform_filter("datum.on_frontier")
    line = best.mark_line(interpolate="step-after", color=MUTED, strokeWidth=1.2)
    texts = [
        best.transform_filter(f"datum.place % 2 == {odd}").mark_text(align="right", dx=-7, dy=12 if odd else -8, **halo)
        for halo in HALO
        for odd in (0, 1)
    ]
    return line.encode(x=x, y=y, order="cost:Q", strokeDash=dash), [text.encode(x=x, y=y, text="name:N") for text in texts]


def _priced(points: pd.DataFrame, cost: str, by: Sequence[str]) -> pd.DataFrame:
    """Return the points with their panel, the ends of their bar, and what they are called."""
    require(points, ("strategy", "loss", "value", "sd", cost, "on_frontier"), "points")
    finite(points, ["value"], "points")
    positive(points, cost, "points")
    if not pd.api.types.is_bool_dtype(points["on_frontier"]):
        raise ValueError(f"on_frontier of points is {points['on_frontier'].dtype}; expected True or False in every row")
    frame = paneled(points, by, "points").rename(columns={cost: "cost"})
    frame["low"], frame["high"] = frame["value"] - frame["sd"], frame["value"] + frame["sd"]
    frame["name"] = (
        frame["cell"] if "cell" in frame.columns else [joined(s, n) for s, n in zip(frame["strategy"], frame["loss"], strict=True)]
    )
    frame["frontier"] = np.where(frame["on_frontier"], "no cheaper choice is better", "")
    ranks = frame["cost"].where(frame["on_frontier"]).groupby(frame["panel"]).rank(method="first")
    return frame.assign(place=ranks.to_numpy())  # names stand above and below by turns


def _cost_axis(frame: pd.DataFrame, title: str, width: int) -> alt.X:
    """Return the logarithmic axis: to the left of the cheapest point stands its name."""
    low, high = float(frame["cost"].min()), float(frame["cost"].max())
    ratio = max(high / low, 4.0)
    longest = 6 * max(len(name) for name in frame.loc[frame["on_frontier"], "name"]) if frame["on_frontier"].any() else 0
    share = min(0.5, (longest + 16) / width)
    room = share * 1.06 / (1 - share)
    low, high = low / ratio**room, high * ratio**0.06
    return alt.X("cost:Q", title=title, scale=alt.Scale(type="log", nice=False, domain=[low, high]), axis=log_axis(low, high))


def bound_chart(terms: pd.DataFrame, *, title: str = "value", width: int = 430) -> alt.LayerChart | alt.FacetChart:
    """Draw the terms of a bound on a logarithmic axis: what was observed, what the theory allows, and what holds trivially.

    The dashed rule is the smallest trivial value: a bound to its right says nothing; its mark is hollow and the text beside it says so.

    Args:
        terms: One row a term: name, value (above 0), kind (``observed``, ``bound`` or ``trivial``), vacuous (bool).
        title: What the value is, with its unit.
        width: In pixels.

    Returns:
        A chart whose ``data`` is the frame it shows.

    Raises:
        ValueError: A column or a value is missing, a value is not above 0, a kind is unknown, vacuous is not bool, or a name occurs twice.
    """
    require(terms, ("name", "value", "kind", "vacuous"), "terms")
    positive(terms, "value", "terms")
    known_only(terms["kind"], BOUND_KINDS, "kind")
    once_each(terms, ["name"], "terms")
    if not pd.api.types.is_bool_dtype(terms["vacuous"]):
        raise ValueError(f"vacuous of terms is {terms['vacuous'].dtype}; expected True or False in every row")
    frame = terms.assign(panel="")
    frame["text"] = [f"{value:.3g}" + (", vacuous" if empty else "") for value, empty in zip(frame["value"], frame["vacuous"], strict=True)]
    low, high = float(frame["value"].min()), float(frame["value"].max())
    ratio = max(high / low, 10.0)
    scale = alt.Scale(type="log", nice=False, domain=[low / ratio**0.05, high * ratio**0.4])  # to the right of a mark stands its text
    names = distinct(frame["name"])
    colour, shape = by_kind("kind", BOUND_KINDS, frame["kind"], "kind")
    x = alt.X("value:Q", title=f"{title}, log scale", scale=scale, axis=log_axis(low, high * ratio**0.4, scientific=True))
    y = alt.Y("name:N", sort=names, title=None, scale=alt.Scale(domain=names), axis=alt.Axis(grid=True, labelLimit=300))
    base = alt.Chart()
    trivial = base.transform_filter("datum.kind == 'trivial'").transform_aggregate(smallest="min(value)", groupby=["kind"])
    told = tooltips(frame, ["name", "kind", "value", "vacuous"])
    layers = [
        trivial.mark_rule(color=MUTED, strokeDash=[4, 3]).encode(x=alt.X("smallest:Q")),
        base.mark_point(filled=True, size=110, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=told),
        base.transform_filter("datum.vacuous").mark_point(filled=True, size=25, opacity=1, color="white").encode(x=x, y=y, shape=shape),
        *(base.mark_text(align="left", dx=10, **halo).encode(x=x, y=y, text="text:N") for halo in HALO),
    ]
    return facet(layers, frame, width, 26 * len(names) + 8, 1)

"""Charts of what many collections say: of a claim's contrasts, each and together, and of effects over sizes."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd
from scipy import stats

from rd_utils.analysis.tables import records
from rd_utils.companions import scaling
from rd_utils.report.charts.shared import beside_names, by_name, facet, finite, fitting, forest, log_axis, once_each, positive
from rd_utils.report.drawing import INK, distinct, require, tooltips

TOGETHER = "together"
NEXT = "one more collection"
MEASURED, FITTED = "measured", "fitted"


def claim_chart(
    estimates: pd.DataFrame, combined: pd.DataFrame, *, margin: float, level: float = 0.95, measure: str = "nDCG@10", width: int = 300
) -> alt.LayerChart | alt.FacetChart:
    """Draw a forest: every collection's estimate of a contrast with its interval, the mean over collections, and what one more would show.

    Args:
        estimates: One row a contrast, collection and architecture, those that were combined: contrast, architecture, collection, kind (of
            its text), estimate, variance, n_queries.
        combined: One row a contrast and architecture: contrast, architecture, estimate, low, high, low_next, high_next.
        margin: The smallest effect that matters: dashed.
        level: Of the collections' intervals.
        measure: Its name, for the axis.
        width: Of one panel, in pixels.

    Returns:
        A chart whose ``data`` is the frame it shows, a panel a contrast and architecture.

    Raises:
        ValueError: A column is missing, a value is not finite, or two rows share a place.
    """
    require(estimates, ("contrast", "architecture", "collection", "kind", "estimate", "variance", "n_queries"), "estimates")
    require(combined, ("contrast", "architecture", "estimate", "low", "high", "low_next", "high_next"), "combined")
    finite(estimates, ["estimate", "variance"], "estimates")
    half = stats.t.ppf((1 + level) / 2, estimates["n_queries"] - 1) * estimates["variance"] ** 0.5
    each = estimates.assign(low=estimates["estimate"] - half, high=estimates["estimate"] + half, row=estimates["collection"])
    order = each.groupby(["kind", "collection"], sort=True)["estimate"].mean().reset_index()
    rows = order.sort_values(["kind", "estimate"])["collection"].tolist()
    together = combined.assign(row=TOGETHER, kind=TOGETHER)
    following = combined.dropna(subset=["low_next"]).assign(
        row=NEXT, kind=NEXT, low=lambda part: part["low_next"], high=lambda part: part["high_next"]
    )
    columns = ["contrast", "architecture", "row", "kind", "estimate", "low", "high"]
    frame = pd.concat([each[columns], together[columns], following[columns]], ignore_index=True)
    frame["panel"] = frame["architecture"] + ": " + frame["contrast"]
    frame["row"] = pd.Categorical(frame["row"], [*rows, TOGETHER, NEXT], ordered=True)
    frame["contrast"] = pd.Categorical(frame["contrast"], distinct(combined["contrast"]), ordered=True)
    frame = frame.sort_values(["contrast", "architecture", "row"], kind="stable", ignore_index=True)
    frame = frame.astype({"row": str, "contrast": str})
    once_each(frame, ["panel", "row"], "estimates")
    kinds = [*sorted(set(each["kind"])), *[kind for kind in (TOGETHER, NEXT) if kind in set(frame["kind"])]]
    marks = by_name("kind", kinds, "text", alt.Legend(orient="bottom", columns=6))
    x = alt.X("estimate:Q", title=measure, axis=alt.Axis(tickCount=5))
    told = tooltips(frame, ["contrast", "architecture", "row", "kind", "estimate", "low", "high"])
    return forest(frame, x, marks, told, width=width, step=18, beside=beside_names(distinct(frame["row"])), margin=margin)


def scaling_chart(
    estimates: pd.DataFrame, lines: pd.DataFrame, *, level: float = 0.95, measure: str = "nDCG@10", width: int = 230, height: int = 170
) -> alt.LayerChart | alt.FacetChart:
    """Draw effects over sizes: what each size gave with its interval, and the fitted line with the band in which one more size would lie.

    The line goes on to the size that ``lines`` predict; beyond the last point it is an extrapolation.

    Args:
        estimates: of :func:`rd_utils.companions.scaling.estimates`: axis, contrast, architecture, size, estimate, variance, n_queries.
        lines: of :func:`rd_utils.companions.scaling.lines`, of the same.
        level: Of intervals and bands.
        measure: Its name, for the axis.
        width: Of one panel, in pixels.
        height: Of one panel, in pixels.

    Returns:
        A chart whose ``data`` is the frame it shows, a panel an effect and axis.

    Raises:
        ValueError: A column is missing, a value is not finite, or a size is not above 0.
    """
    require(estimates, ("axis", "contrast", "architecture", "size", "estimate", "variance", "n_queries"), "estimates")
    require(lines, ("axis", "contrast", "architecture", "line"), "lines")
    finite(estimates, ["estimate", "variance"], "estimates")
    positive(estimates, "size", "estimates")
    half = stats.t.ppf((1 + level) / 2, estimates["n_queries"] - 1) * estimates["variance"] ** 0.5
    measured = estimates.assign(low=estimates["estimate"] - half, high=estimates["estimate"] + half, of=MEASURED)
    drawn = []
    for row in records(lines):
        line: scaling.Line = row["line"]
        for size in np.geomspace(line.base, scaling.MS_MARCO[row["axis"]], 25):
            drawn.append([row["axis"], row["contrast"], row["architecture"], size, *line.predicted(size, level), FITTED])
    columns = ["axis", "contrast", "architecture", "size", "estimate", "low", "high", "of"]
    frame = pd.concat([measured[columns], pd.DataFrame(drawn, columns=columns)], ignore_index=True)
    frame["panel"] = frame["contrast"] + " | " + frame["axis"].str.replace("_", " ")
    base = alt.Chart()
    points, fitted = (base.transform_filter(alt.datum["of"] == kind) for kind in (MEASURED, FITTED))
    ticks = log_axis(frame["size"].min(), frame["size"].max())
    ticks.grid = False
    x = alt.X("size:Q", title="size", scale=alt.Scale(type="log", nice=False), axis=ticks)
    y = alt.Y("estimate:Q", title=measure, axis=alt.Axis(tickCount=5))
    students = distinct(frame["architecture"])
    colour, shape = by_name("architecture", students, "student", alt.Legend(orient="bottom") if len(students) > 1 else None)
    told = tooltips(frame, ["contrast", "architecture", "size", "estimate", "low", "high"])
    layers = [
        base.transform_aggregate(rows="count()", groupby=["panel"]).mark_rule(color=INK).encode(y=alt.datum(0)),
        fitted.mark_area(opacity=0.15).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour),
        fitted.mark_line(strokeWidth=1.5).encode(x=x, y=y, color=colour),
        points.mark_rule(strokeWidth=2).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour, tooltip=told),
        points.mark_point(filled=True, size=55, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=told),
    ]
    return facet(
        layers, frame, width, height, fitting(width, frame["panel"].nunique(), 60, 150), x="independent"
    )  # a title is wider than its panel

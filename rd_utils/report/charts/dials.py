"""Charts with a slider, whose numbers the browser computes: verdicts by the margin of equivalence, a frontier by a call's price."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from rd_utils.report.charts.shared import HALO, beside_names, finite, log_axis, once_each
from rd_utils.report.drawing import BAND, INK, MUTED, PALETTE, VERDICTS, padded_domain, require, tooltips

_NAMED = 10  # points whose names a chart of prices can hold, those that are dominated among them


def margin_chart(
    contrasts: pd.DataFrame, *, measure: str = "the measure", margin: float = 0.02, most: float = 0.06, width: int = 360
) -> alt.LayerChart | alt.FacetChart:
    """Draw differences with their intervals and a slider for the margin of equivalence, which gives each the verdict beside it.

    The thin line is the interval behind the test for a difference, the thick one that of TOST, which is narrower: equivalent is what has it
    within the shaded band. Verdicts are of each contrast alone, without a correction for how many there are.

    Args:
        contrasts: One row a contrast: contrast, difference, low, high, different (bool) and smallest_margin (above which TOST accepts), in
            units of the measure, as :func:`rd_utils.analysis.stats.paired_difference` has them, and a study's table of differences too.
        measure: Its name, for the axis.
        margin: Where the slider starts.
        most: Where it ends.
        width: In pixels, without names and verdicts.

    Raises:
        ValueError: A column or a value is missing, or a contrast stands twice.
    """
    require(contrasts, ("contrast", "difference", "low", "high", "different", "smallest_margin"), "contrasts")
    finite(contrasts, ["difference", "low", "high", "smallest_margin"], "contrasts")
    once_each(contrasts, ["contrast"], "contrasts")
    frame = contrasts[["contrast", "difference", "low", "high", "different", "smallest_margin"]].copy()
    reach = frame["smallest_margin"] - frame["difference"].abs()
    frame["tost_low"], frame["tost_high"] = frame["difference"] - reach, frame["difference"] + reach
    dial = alt.param(name="margin", value=margin, bind=alt.binding_range(min=most / 60, max=most, step=most / 60, name="margin "))
    names, step = list(frame["contrast"]), 34
    ends = padded_domain(pd.concat([frame["low"], frame["high"], pd.Series([-most, most])]), 0.03)
    scale = alt.Scale(domain=ends, nice=False)
    x = alt.X("difference:Q", title=f"difference in {measure} (shaded: the margin)", scale=scale, axis=alt.Axis(tickCount=5))
    y = alt.Y("contrast:N", sort=names, title=None, axis=alt.Axis(ticks=False, domain=False, labelPadding=8))
    kinds = list(VERDICTS)
    colour = alt.Color("verdict:N", scale=alt.Scale(domain=kinds, range=[VERDICTS[kind][0] for kind in kinds]), legend=None)
    shape = alt.Shape("verdict:N", scale=alt.Scale(domain=kinds, range=[VERDICTS[kind][1] for kind in kinds]), legend=None)
    judged = alt.Chart().transform_calculate(
        equivalent="datum.smallest_margin < margin",
        verdict="datum.different ? (datum.equivalent ? 'both' : 'different') : (datum.equivalent ? 'equivalent' : 'undecided')",
    )
    told = [*tooltips(frame, ["contrast", "difference", "low", "high", "smallest_margin"]), alt.Tooltip("verdict:N")]
    once = alt.Chart().transform_aggregate(rows="count()").transform_calculate(from_="-margin", to="margin")
    layers = [
        once.mark_rect(color=BAND).encode(x=alt.X("from_:Q"), x2="to:Q", y=alt.value(0), y2=alt.value(step * len(names))),
        once.mark_rule(color=INK).encode(x=alt.datum(0)),
        judged.mark_rule(strokeWidth=1.5).encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=colour),
        judged.mark_rule(strokeWidth=5, opacity=0.6).encode(x=alt.X("tost_low:Q"), x2="tost_high:Q", y=y, color=colour),
        judged.mark_point(filled=True, size=80, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=told),
        judged.mark_text(align="left", fontSize=12, fontWeight="bold").encode(x=alt.value(width + 10), y=y, text="verdict:N", color=colour),
    ]
    return alt.layer(*layers, data=frame).properties(width=width, height=step * len(names)).add_params(dial)


def price_chart(
    points: pd.DataFrame, *, measure: str = "value", price: float = 0.001, most: float = 0.01, width: int = 460, height: int = 300
) -> alt.LayerChart | alt.FacetChart:
    """Draw effectiveness against cost with a slider for the price of a teacher's call, which moves the points and so the frontier.

    A point costs its own seconds and its calls at the price. Those that no cheaper one reaches are joined by a staircase; the others are
    grey, and named where there are at most 10 points. Of points that agree in both, cost and value, the first stands for all.

    Args:
        points: One row each: name, value, cpu_seconds (above 0, without the teacher's) and teacher_calls (at least 0).
        measure: What the value is, for the axis.
        price: Where the slider starts, in seconds a call.
        most: Where it ends.
        width: In pixels.
        height: In pixels.

    Raises:
        ValueError: A column or a value is missing, a name stands twice, or a cost is below 0 or nothing.
    """
    require(points, ("name", "value", "cpu_seconds", "teacher_calls"), "points")
    finite(points, ["value", "cpu_seconds", "teacher_calls"], "points")
    once_each(points, ["name"], "points")
    bad = points.loc[(points["cpu_seconds"] <= 0) | (points["teacher_calls"] < 0), "name"]
    if len(bad):
        raise ValueError(
            f"{len(bad)} row(s) of points cost nothing or less, the first is {bad.iloc[0]!r}; a logarithmic axis cannot show it"
        )
    frame = points[["name", "value", "cpu_seconds", "teacher_calls"]]
    dial = alt.param(name="price", value=price, bind=alt.binding_range(min=0, max=most, step=most / 50, name="seconds a teacher's call "))
    low, high = float(frame["cpu_seconds"].min()), float((frame["cpu_seconds"] + most * frame["teacher_calls"]).max())
    ratio, room = max(high / low, 4.0), min(0.5, beside_names(frame["name"]) / width)
    low, high = low / ratio**0.06, high * ratio ** (room / (1 - room))  # a name stands to the right of its point
    scale = alt.Scale(type="log", nice=False, domain=[low, high])
    x = alt.X("cost:Q", title="CPU seconds with the teacher's, log scale", scale=scale, axis=log_axis(low, high))
    y = alt.Y("value:Q", title=measure, scale=alt.Scale(domain=padded_domain(frame["value"], 0.1), nice=False), axis=alt.Axis(tickCount=6))
    order: Any = [{"field": "cost"}, {"field": "value", "order": "descending"}]
    found = (
        alt.Chart()
        .transform_calculate(cost="datum.cpu_seconds + price * datum.teacher_calls")
        .transform_window(sort=order, frame=[None, 0], ignorePeers=True, best="max(value)")
        .transform_window(sort=order, ignorePeers=True, reached="lag(best)")
        .transform_calculate(stands="!isValid(datum.reached) || datum.value > datum.reached ? 'on the frontier' : 'dominated'")
    )
    kinds = ["on the frontier", "dominated"]
    colour = alt.Color(
        "stands:N", title=None, scale=alt.Scale(domain=kinds, range=[PALETTE[0], "#a6a6a6"]), legend=alt.Legend(orient="top")
    )
    shape = alt.Shape("stands:N", title=None, scale=alt.Scale(domain=kinds, range=["circle", "cross"]), legend=alt.Legend(orient="top"))
    told = [alt.Tooltip("name:N"), alt.Tooltip("stands:N"), alt.Tooltip("cost:Q", format=".4~r"), alt.Tooltip("value:Q", format=".4~r")]
    best = found.transform_filter("datum.stands == 'on the frontier'")
    words = [
        found.transform_filter(f"datum.stands == '{kind}'")
        .mark_text(align="left", dx=8, dy=down, fontSize=12, color=ink, **halo)
        .encode(x=x, y=y, text="name:N")
        for kind, down, ink in (("on the frontier", 14, INK), ("dominated", 3, MUTED))[: 2 if len(frame) <= _NAMED else 1]
        for halo in HALO
    ]
    layers = [
        best.mark_line(interpolate="step-after", color=PALETTE[0], strokeWidth=1.6).encode(x=x, y=y, order="cost:Q"),
        found.mark_point(filled=True, size=90, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=told),
        *words,
    ]
    return alt.layer(*layers, data=frame).properties(width=width, height=height).add_params(dial)

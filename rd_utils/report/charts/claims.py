"""The chart of a claim: what every collection says of its contrasts, and what they say together."""

from __future__ import annotations

import altair as alt
import pandas as pd
from scipy import stats

from rd_utils.report.charts.shared import beside_names, by_name, finite, forest, once_each
from rd_utils.report.drawing import distinct, require, tooltips

TOGETHER = "together"
NEXT = "one more collection"


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

"""Charts of two systems query by query."""

from __future__ import annotations

import altair as alt
import pandas as pd

from rd_utils.report.charts.shared import facet, finite
from rd_utils.report.drawing import BAND, INK, PALETTE, distinct, require, tooltips

_DRAWN = 1000  # bars of a panel; of more queries as many, evenly spaced by rank
_COLOURS = {"higher": PALETTE[0], "lower": PALETTE[1], "equal": "#767676"}


def query_differences_chart(differences: pd.DataFrame, *, equivalence_margin: float, width: int = 640) -> alt.LayerChart | alt.FacetChart:
    """Draw every query's difference as a bar, from the lowest to the highest, with the mean and the band of the equivalence margin.

    Args:
        differences: One row a query and panel: panel, query_id, difference (in units of the measure). A panel with more than 1,000 queries
            shows as many of them, evenly spaced by rank; the mean is of all.
        equivalence_margin: In units of the measure.
        width: Of one panel, in pixels.

    Returns:
        A chart whose ``data`` is the frame it shows, each row with its rank and its panel's mean.

    Raises:
        ValueError: A column is missing, or a difference is no finite number.
    """
    require(differences, ("panel", "query_id", "difference"), "differences")
    finite(differences, ["difference"], "differences")
    frames = []
    for panel in distinct(differences["panel"]):
        own = differences[differences["panel"] == panel].sort_values("difference", kind="stable").reset_index(drop=True)
        own = own.assign(rank=range(1, len(own) + 1), mean=own["difference"].mean(), n=len(own))
        frames.append(own.iloc[:: -(-len(own) // _DRAWN)])
    frame = pd.concat(frames, ignore_index=True).assign(margin_low=-equivalence_margin, margin_high=equivalence_margin)
    frame["side"] = ["higher" if value > 0 else "lower" if value < 0 else "equal" for value in frame["difference"]]
    present = [name for name in _COLOURS if name in set(frame["side"])]
    scale = alt.Scale(domain=present, range=[_COLOURS[name] for name in present])
    most = int(frame.groupby("panel")["rank"].size().max())
    base = alt.Chart()
    once = base.transform_aggregate(mean="mean(mean)", groupby=["panel", "margin_low", "margin_high"])
    layers = [
        once.mark_rect(color=BAND, opacity=0.8).encode(y=alt.Y("margin_low:Q"), y2="margin_high:Q"),
        base.mark_bar(size=max(1.0, min(40.0, 0.8 * width / most))).encode(
            x=alt.X(
                "rank:Q", title="queries by difference", axis=alt.Axis(tickMinStep=1, grid=False), scale=alt.Scale(nice=False, padding=6)
            ),
            y=alt.Y("difference:Q", title="difference"),
            color=alt.Color("side:N", title="the first named is", scale=scale, sort=present),
            tooltip=tooltips(frame, ["query_id", "difference", "rank", "n"]),
        ),
        once.mark_rule(color=INK, strokeWidth=1.5, strokeDash=[4, 3]).encode(y="mean:Q"),
    ]
    return facet(layers, frame, width, 200, 1, x="independent")

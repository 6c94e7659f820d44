"""Charts of training and of students."""

from __future__ import annotations

import json
from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd

from rd_utils.report.charts.shared import (
    QUANTITIES,
    STATES,
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
    once_each,
    paneled,
)
from rd_utils.report.drawing import (
    DASHES,
    INTERVALS,
    MUTED,
    PALETTE,
    choose,
    distinct,
    empty_panels,
    padded_domain,
    require,
    shape_scale,
    tooltips,
    value_scale,
)


def search_chart(table: pd.DataFrame, measure: str, *, width: int = 260, height: int = 220) -> alt.FacetChart:
    """Draw what each learning rate of each search reached on validation queries; the rate that was taken is the large mark.

    Args:
        table: One row a search and learning rate: architecture, loss, learning_rate, the measure, chosen; ``search`` where one
            architecture and loss has several.
        measure: The column to show.
        width: Of one panel, in pixels.
        height: Of one panel, in pixels.

    Returns:
        A faceted chart, one panel an architecture, whose ``data`` is the frame it shows, the measure as ``value``.

    Raises:
        ValueError: A column is missing.
    """
    require(table, ("architecture", "loss", "learning_rate", "chosen", measure), "learning_rates")
    frame = table.rename(columns={measure: "value"})
    losses, rates = distinct(frame["loss"]), sorted(set(frame["learning_rate"]))
    axis = alt.Axis(values=rates, format="~g", grid=True, labelOverlap=True)
    x = alt.X("learning_rate:Q", title="learning rate (log scale)", axis=axis, scale=alt.Scale(type="log", nice=False, padding=15))
    y = alt.Y("value:Q", title=f"{measure} on validation queries", scale=alt.Scale(domain=padded_domain(frame["value"]), nice=False))
    colour = alt.Color("loss:N", sort=losses, title="loss", scale=value_scale(losses, PALETTE))
    shape = alt.Shape("loss:N", sort=losses, title="loss", scale=shape_scale(losses))
    tooltip = tooltips(frame, ["architecture", "loss", "search", "learning_rate", "value", "chosen"])
    lines = alt.Chart().mark_line(strokeWidth=1.4, opacity=0.7).encode(x=x, y=y, color=colour)
    if "search" in frame.columns:
        lines = lines.encode(detail="search:N")
    points = alt.Chart().mark_point(filled=True, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip)
    layers = [
        lines,
        *(
            points.transform_filter(f"{sign}datum.chosen").mark_point(filled=True, opacity=1, size=size)
            for sign, size in (("!", 35), ("", 170))
        ),
    ]
    column = alt.Column("architecture:N", sort=distinct(frame["architecture"]), title=None)
    return alt.layer(*layers, data=frame).properties(width=width, height=height).facet(column=column)


def learning_chart(history: pd.DataFrame, *, width: int = 560, height: int = 260, points: int = 120) -> alt.Chart | alt.FacetChart:
    """Draw the training loss over steps, one line a cell and seed.

    Up to six cells are told apart by colour and dash; more get one small panel each; more than 24 one panel a recipe (architecture, loss,
    teacher ...) in which the colour tells the strategy. Losses of different kinds have different scales, so the panels have an axis each.
    Dragging moves, shift and wheel zoom (not in panels).

    Args:
        history: Columns step and loss (its value), and optionally cell and seed; for more than 24 cells also strategy and recipe.
        width: Of the chart, in pixels; a panel has half of it.
        height: Of the chart, in pixels; not of the panels.
        points: The most steps of a line that are drawn, evenly spaced, the last among them.

    Returns:
        A chart whose ``data`` is the frame it shows.

    Raises:
        ValueError: A column is missing, or there are several training collections.
    """
    require(history, ("step", "loss"), "history")
    if "collection" in history.columns:
        choose(history, "collection", None, "history")
    history = _thinned(history, points)
    cells = distinct(history["cell"]) if "cell" in history.columns else []
    lines = (
        alt.Chart(history)
        .mark_line(strokeWidth=1.4, opacity=0.85, clip=True)
        .encode(
            x=alt.X("step:Q", title="optimiser step", axis=alt.Axis(tickCount=5)),
            y=alt.Y("loss:Q", title="training loss", scale=alt.Scale(zero=False)),
            tooltip=tooltips(history, list(history.columns)),
        )
    )
    header = alt.Header(labelLimit=width // 2, labelFontSize=11)
    if len(cells) > 24 and {"strategy", "recipe"} <= set(history.columns):
        colour, _ = by_name("strategy", distinct(history["strategy"]), "strategy")
        panel = lines.encode(color=colour, detail=["cell:N", "seed:N"]).properties(width=width // 2, height=150)
        facet = alt.Facet("recipe:N", sort=distinct(history["recipe"]), title=None, columns=2, header=header)
        return panel.encode(facet=facet).resolve_scale(x="independent", y="independent")  # budgets differ between architectures
    if "seed" in history.columns:
        lines = lines.encode(detail="seed:N")
    if len(cells) > 6:
        panel = lines.encode(color=alt.value(PALETTE[0])).properties(width=width // 2, height=110)
        return panel.encode(facet=alt.Facet("cell:N", sort=cells, title=None, columns=2, header=header)).resolve_scale(y="independent")
    if cells:
        legend = alt.Legend(symbolStrokeWidth=2, symbolSize=300)
        colour = alt.Color("cell:N", sort=cells, title="cell", scale=value_scale(cells, PALETTE), legend=legend)
        dash = alt.StrokeDash("cell:N", sort=cells, title="cell", scale=value_scale(cells, DASHES))
        lines = lines.encode(color=colour, strokeDash=dash)
    return lines.properties(width=width, height=height, name="losses").add_params(_zoom())


def _thinned(history: pd.DataFrame, points: int) -> pd.DataFrame:
    """Keep so many steps of the longest line at most, evenly spaced in every line from its last one."""
    lines = [name for name in ("cell", "seed") if name in history.columns]
    left = history.groupby(lines, sort=False).cumcount(ascending=False) if lines else pd.Series(range(len(history))[::-1], history.index)
    longest = int(left.max()) + 1 if len(left) else 0
    return history[left % max(1, -(-longest // points)) == 0]


def _zoom() -> alt.Parameter:
    """Return a selection that drags the axes, and zooms them by shift and wheel, so that the page still scrolls."""
    return alt.selection_interval(name="zoom", bind="scales", zoom="wheel![event.shiftKey]")


def behaviour_chart(table: pd.DataFrame, *, width: int = 0, height: int = 110) -> alt.ConcatChart:
    """Draw what training does to a student's space: a line from before to after, one a strategy; a column of panels a quantity.

    Panels of one quantity share their axis; one row of panels a recipe.

    Args:
        table: One row each: strategy, recipe (architecture, loss, teacher ...), state (``before`` or ``after``), quantity (a key of
            :data:`QUANTITIES`, or any name, which should then say its unit), value.
        width: Of one panel, in pixels; by default what fits the page.
        height: Of one panel, in pixels.

    Returns:
        Charts, three side by side, whose common ``data`` is the frame they show.

    Raises:
        ValueError: A column or a value is missing, a state is unknown, or a strategy has not exactly one value before and one after.
    """
    require(table, ("strategy", "recipe", "state", "quantity", "value"), "table")
    finite(table, ["value"], "table")
    known_only(table["state"], STATES, "state")
    _check_lines(table, ["quantity", "recipe", "strategy"])
    recipes, quantities = (distinct(table[name]) for name in ("recipe", "quantity"))
    notes = empty_panels(table, "recipe", "quantity").reindex(columns=["recipe", "quantity", "role", "label"])
    frame = pd.concat([table.assign(role="value"), notes], ignore_index=True) if len(notes) else table.assign(role="value")
    width = width or max(80, (WIDEST - 30) // min(3, len(quantities)) - 70)
    parts = []
    for quantity in quantities:
        header = alt.Header(labelAngle=0, labelAnchor="start", labelOrient="top", labelPadding=-10, labelLimit=width + 60, labelFontSize=11)
        panels = (
            alt.layer(*_moved(table, quantity, width, height), data=frame)
            .properties(width=width, height=height)
            .facet(row=alt.Row("recipe:N", sort=recipes, title=None, header=header), spacing=10)
            .transform_filter(f"datum.quantity == {json.dumps(quantity)}")
            .properties(title=alt.TitleParams(QUANTITIES.get(quantity, quantity), fontSize=12, anchor="start", limit=width + 60))
        )
        parts.append(panels)
    return alt.concat(*parts, columns=3, spacing=12)  # the frame that they share moves to the top


def _check_lines(table: pd.DataFrame, keys: list[str]) -> None:
    """Refuse lines that do not lead from one value before to one after."""
    once_each(table, [*keys, "state"], "table")
    sizes = table.groupby(keys, sort=False)["state"].size()
    if (sizes != 2).any():
        lone = sizes[sizes != 2]
        raise ValueError(f"{len(lone)} of {len(sizes)} lines of the table lack a state, the first is that of {lone.index[0]}; a line leads "
                         "from before to after")  # fmt: skip


def _moved(table: pd.DataFrame, quantity: str, width: int, height: int) -> list[alt.Chart]:
    """Return the marks of one quantity, from before to after, a colour a strategy."""
    strategies, states = distinct(table["strategy"]), list(STATES)
    legend = alt.Legend(orient="bottom", columns=6, titleOrient="top")
    colour, shape = by_name("strategy", strategies, "strategy", legend)
    fill = alt.Fill("strategy:N", sort=strategies, title="strategy", scale=value_scale(strategies, PALETTE), legend=legend)
    hollow = alt.condition("datum.state == 'before'", alt.value(0.0), alt.value(1.0))
    x = alt.X("state:N", sort=states, title=None, scale=alt.Scale(domain=states, padding=0.35), axis=alt.Axis(labelAngle=0))
    values = table.loc[table["quantity"] == quantity, "value"]
    y = alt.Y("value:Q", title=None, scale=alt.Scale(domain=padded_domain(values, 0.1), nice=False), axis=alt.Axis(tickCount=4))
    told = tooltips(table, ["strategy", "recipe", "state", "quantity", "value"])
    base = alt.Chart().transform_filter("datum.role == 'value'")
    absent = alt.Chart().transform_filter("datum.role == 'note'").mark_text(color=MUTED, fontStyle="italic")
    return [
        base.mark_line(strokeWidth=1.6).encode(x=x, y=y, color=colour, detail="strategy:N"),
        base.mark_point(size=55, opacity=1, filled=True, color="white").encode(x=x, y=y, shape=shape),  # no line shows through
        base.mark_point(size=55, opacity=1).encode(x=x, y=y, color=colour, shape=shape, fill=fill, fillOpacity=hollow, tooltip=told),
        absent.encode(x=alt.value(width / 2), y=alt.value(height / 2), text=alt.value("not measured")),
    ]


def calibration_chart(
    bins: pd.DataFrame, *, by: Sequence[str] = ("strategy", "recipe"), size: int = 170
) -> alt.LayerChart | alt.FacetChart:
    """Draw a reliability diagram: what the teacher says of pairs to which the student gives about the same probability.

    On the diagonal both agree; below it the student is surer than its teacher.

    Args:
        bins: One row a bin of pairs: mean_student and mean_teacher (probabilities that one document of a pair is better, in [0, 1]),
            n_pairs, state (``before`` or ``after``), and the columns of ``by``.
        by: Columns that make panels.
        size: Of one panel, in pixels.

    Returns:
        A chart whose ``data`` is the frame it shows.

    Raises:
        ValueError: A column or a value is missing, a state is unknown, or a probability lies outside [0, 1].
    """
    require(bins, ("mean_student", "mean_teacher", "n_pairs", "state"), "bins")
    finite(bins, ["mean_student", "mean_teacher", "n_pairs"], "bins")
    known_only(bins["state"], STATES, "state")
    for column in ("mean_student", "mean_teacher"):
        outside = bins[~bins[column].between(0, 1)]
        if len(outside):
            raise ValueError(f"{len(outside)} values of {column} lie outside [0, 1], the first is {outside[column].iloc[0]:g}; they are "
                             "probabilities, not scores")  # fmt: skip
    frame = paneled(bins, by, "bins")
    once_each(frame, ["panel", "state", "mean_student"], "bins")
    unit = alt.Scale(domain=[0, 1])
    ticks = alt.Axis(values=[0, 0.5, 1], format="~g")
    x = alt.X("mean_student:Q", title="student's mean probability", scale=unit, axis=ticks)
    y = alt.Y("mean_teacher:Q", title="teacher's mean probability", scale=unit, axis=ticks)
    legend = alt.Legend(orient="bottom", direction="horizontal")
    colour, shape = by_kind("state", STATES, bins["state"], "state")
    colour, shape = colour.legend(legend), shape.legend(legend)
    most = float(bins["n_pairs"].max())
    some = sorted({float(f"{part:.0e}") for part in (most / 4, most)})
    scale = alt.Scale(domain=[0, most], range=[12, 170])
    area = alt.Size("n_pairs:Q", title="pairs in the bin", scale=scale, legend=alt.Legend(orient="bottom", values=some, format="~s"))
    told = tooltips(frame, [*by, "state", "mean_student", "mean_teacher", "n_pairs"])
    base = alt.Chart()
    corner = base.transform_aggregate(rows="count()", groupby=["panel"]).mark_rule(color=MUTED, strokeDash=[4, 3])
    layers = [
        corner.encode(x=alt.XDatum(0), x2=alt.X2Datum(1), y=alt.YDatum(0), y2=alt.Y2Datum(1)),
        base.mark_line(strokeWidth=1.3, opacity=0.7).encode(x=x, y=y, color=colour, order="mean_student:Q"),
        base.mark_point(filled=True, opacity=0.85).encode(x=x, y=y, color=colour, shape=shape, size=area, tooltip=told),
    ]
    return facet(layers, frame, size, size, fitting(size, 4, 80, 30))


def correlation_chart(table: pd.DataFrame, *, by: Sequence[str] = (), width: int = 260) -> alt.LayerChart | alt.FacetChart:
    """Draw Spearman correlations with their intervals, one line a pair of quantities; colour and mark tell whether it excludes 0.

    Args:
        table: One row a pair: x and y (the quantities' names), spearman, low, high (all in [-1, 1]), and the columns of ``by``; ``label``
            where a line should be called something else than ``x ~ y``.
        by: Columns that make panels.
        width: Of one panel, in pixels.

    Returns:
        A chart whose ``data`` is the frame it shows.

    Raises:
        ValueError: A column or a value is missing, an interval does not hold its correlation, or two rows share a place.
    """
    require(table, ("x", "y", "spearman", "low", "high"), "table")
    bracketed(table, "spearman", "table")
    frame = paneled(table, by, "table")
    frame["row"] = frame["label"] if "label" in frame else [f"{x} ~ {y}" for x, y in zip(frame["x"], frame["y"], strict=True)]
    once_each(frame, ["panel", "row"], "table")
    frame["interval"] = np.where((frame["low"] > 0) | (frame["high"] < 0), "excludes 0", "holds 0")
    axis = alt.X("spearman:Q", title="Spearman correlation", scale=alt.Scale(domain=[-1, 1]), axis=alt.Axis(tickCount=5, format="~g"))
    told = tooltips(frame, [*by, "x", "y", "spearman", "low", "high"])
    marks = by_kind("interval", INTERVALS, frame["interval"], "interval")
    return forest(frame, axis, marks, told, width=width, step=20, beside=beside_names(distinct(frame["row"]), 360) + 130)

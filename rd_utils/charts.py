"""Charts of verdicts between systems, of queries, of simulations and of theory, beside those of :mod:`rd_utils.report`.

Every chart takes a finished frame, computes no statistic, and says everything without a click; where one can brush or click, it says so
above. ``by`` names the columns whose values make panels of their own. A value that is missing, or not finite, is an error unless the
docstring says that it may be blank. Save them with :func:`rd_utils.report.save_chart`, show them under :func:`rd_utils.report.use_theme`.
Drawn at their default sizes they are at most 900 pixels wide, which a page of A4 holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from rd_utils.params import nearest
from rd_utils.report import (
    ENTROPIES,
    INK,
    INTERVALS,
    MUTED,
    PALETTE,
    VERDICTS,
    _domain,
    _join,
    _notes,
    _order,
    _require,
    _scale,
    _setting,
    _shapes,
    _tooltip,
)

WIDEST = 900  # pixels

QUANTITIES = {
    "diameter_q99": "own diameter q99",
    "intrinsic_dimension": "TwoNN dimension",
    "effective_rank": "effective rank",
    "uniformity": "uniformity (log)",
    "divergence": "KL to teacher (nats)",
}
COSTS = {
    "total_cpu_seconds": "total CPU seconds",
    "train_wall_seconds": "training wall-clock seconds",
    "joules": "energy (joules)",
    "documents_seen": "documents seen",
}
STATES = {"before": ("#D55E00", "circle"), "after": ("#0072B2", "triangle-up")}
BOUND_KINDS = {"observed": ("#0072B2", "circle"), "bound": ("#D55E00", "diamond"), "trivial": ("#767676", "square")}
_INKS = {"different": INK, "equivalent": "white", "both": INK, "undecided": "white"}  # of a text on the verdict's colour
_HALO: tuple[dict[str, Any], ...] = ({"stroke": "white", "strokeWidth": 3}, {})  # a text is drawn twice, first as its white edge
_LABEL = 7  # pixels a character of 12-point text takes at most, nearly


# --- what the charts share --------------------------------------------------------------------------------------------


def _finite(frame: pd.DataFrame, columns: Sequence[str], name: str) -> None:
    """Raise a ValueError that names the first value that is missing or not finite."""
    for column in columns:
        values = pd.to_numeric(frame[column], errors="coerce")
        bad = ~np.isfinite(values.to_numpy(dtype=float, na_value=np.nan))
        if bad.any():
            first = frame[column][bad].tolist()[0]
            raise ValueError(
                f"{name} has {int(bad.sum())} of {len(frame)} rows whose {column} is no finite number, the first is {first!r} "
                f"in row {int(np.flatnonzero(bad)[0])}; leave such rows out before drawing, and say how many"
            )


def _known(values: pd.Series, choices: Sequence[str] | Mapping[str, Any], name: str) -> None:
    unknown = [value for value in values if value not in choices]
    if unknown:
        raise ValueError(f"{len(unknown)} unknown {name}(s), the first is {unknown[0]!r}{nearest(str(unknown[0]), choices)}")


def _once(frame: pd.DataFrame, keys: Sequence[str], name: str) -> None:
    """Raise a ValueError where two rows would be drawn in one place."""
    twice = frame.loc[frame.duplicated(list(keys)), list(keys)]
    if len(twice):
        first = ", ".join(repr(value) for value in twice.iloc[0].tolist())
        raise ValueError(
            f"{len(twice)} row(s) of {name} share {', '.join(keys)} with another, the first is {first}; choose rows, or pass by= the "
            "columns that tell them apart"
        )


def _paneled(frame: pd.DataFrame, by: Sequence[str], name: str) -> pd.DataFrame:
    """Add ``panel``, what the columns ``by`` say, joined; numbers are told with their column's name."""
    _require(frame, by, name)

    def _said(column: str) -> list[str]:
        numeric = pd.api.types.is_numeric_dtype(frame[column]) and not pd.api.types.is_bool_dtype(frame[column])
        return [
            f"{column.replace('_', ' ')} {_setting(value)}" if numeric and _setting(value) else _setting(value) for value in frame[column]
        ]

    parts = [_said(column) for column in by]
    return frame.assign(panel=[_join(*values) for values in zip(*parts, strict=True)] if parts else "")


def _facet(
    layers: Sequence[Any], frame: pd.DataFrame, width: int, height: int | alt.Step, columns: int, framed: bool = True, **resolve: str
) -> Any:
    """Layer marks over one frame, in wrapped panels if it has several; every panel has its own x axis, so that none hangs in the air."""
    chart = alt.layer(*layers, data=frame).properties(width=width, height=height)
    chart = chart if framed else chart.properties(view=alt.ViewBackground(strokeOpacity=0))
    panels = _order(frame["panel"])
    if not panels:
        return chart
    header = alt.Header(labelLimit=width + 40, labelAnchor="start")
    chart = chart.facet(facet=alt.Facet("panel:N", sort=panels, title=None, header=header), columns=min(columns, len(panels)))
    return chart.resolve_axis(x="independent").resolve_scale(**resolve) if len(panels) > columns else chart.resolve_scale(**resolve)


def _fitting(width: int, n_panels: int, beside: int, gap: int = 20) -> int:
    """Return how many panels of a width stand side by side when ``beside`` pixels go to labels and legend."""
    return int(np.clip((WIDEST - beside + gap) // (width + gap), 1, max(1, n_panels)))


def _beside(names: Sequence[Any], limit: int = 260) -> int:
    """Return about how many pixels the longest of some names takes."""
    return min(limit, 12 + _LABEL * max((len(str(name)) for name in names), default=0))


def _by_name(column: str, names: Sequence[str], title: str, legend: Any = alt.Undefined) -> tuple[alt.Color, alt.Shape]:
    """Return a colour and a shape that tell the same names apart, with one legend."""
    colour = alt.Color(f"{column}:N", sort=list(names), title=title, scale=_scale(names, PALETTE), legend=legend)
    return colour, alt.Shape(f"{column}:N", sort=list(names), title=title, scale=_shapes(names), legend=legend)


def _by_kind(column: str, kinds: Mapping[str, tuple[str, str]], values: pd.Series, title: str | None) -> tuple[alt.Color, alt.Shape]:
    """Return the colour and the shape that each kind has in every chart; the legend lists the kinds that occur."""
    present = [name for name in kinds if name in set(values)]
    colours, shapes = (alt.Scale(domain=present, range=[kinds[name][place] for name in present]) for place in (0, 1))
    return (
        alt.Color(f"{column}:N", title=title, scale=colours, sort=present),
        alt.Shape(f"{column}:N", title=title, scale=shapes, sort=present),
    )


def _log_axis(low: float, high: float, *, scientific: bool = False) -> alt.Axis:
    """Return a logarithmic axis that writes 1, 2 and 5 times powers of ten over less than three decades, powers of ten over more.

    Large numbers are written with SI's letters, or as 1e+4; small ones never with a letter, since SI's m for a thousandth misleads.
    """
    digit = "round(datum.value / pow(10, floor(log(datum.value) / LN10 + 1e-9)))"
    written = "[1, 2, 5]" if high < 1000 * low else "[1]"
    form = "datum.value < 1e4 ? '~g' : '~e'" if scientific else "datum.value < 1 ? '~g' : '~s'"
    return alt.Axis(labelExpr=f"indexof({written}, {digit}) < 0 ? '' : format(datum.value, {form})", labelOverlap=True)


def _positive(frame: pd.DataFrame, column: str, name: str) -> None:
    _finite(frame, [column], name)
    bad = frame[frame[column] <= 0]
    if len(bad):
        raise ValueError(f"{len(bad)} row(s) of {name} have a {column} that is not above 0, the first is {bad[column].tolist()[0]!r}; "
                         "a logarithmic axis cannot show it")  # fmt: skip


# --- systems against each other ---------------------------------------------------------------------------------------


def matrix_chart(
    pairs: pd.DataFrame,
    letters: Mapping[str, str] | pd.DataFrame | None = None,
    *,
    order: Sequence[str] | None = None,
    by: Sequence[str] = (),
) -> Any:
    """Draw every pair of systems once: colour and mark tell the verdict, the text the difference, row minus column.

    A system's letters stand behind its name; systems that share a letter are equivalent, each to each (a clique: equivalence is not
    transitive, so the matrix, not the letters, is the finding). 2 to about 20 systems are readable.

    Args:
        pairs: One row a pair: system_a, system_b, difference (a minus b, in units of the measure), verdict, p_holm, p_equivalence_holm,
            smallest_margin; and the columns of ``by``. A pair may be missing: its place is then empty.
        letters: A system's letters, or a frame with system, letters and the columns of ``by``.
        order: Systems from top to bottom; by default those of system_a, then those of system_b, as they first appear.
        by: Columns that make panels, such as first_stage and measure.

    Returns:
        A chart whose ``data`` is the frame it shows: pairs turned so that the row is the earlier system (role ``pair``), and one row a
        system (role ``name``).

    Raises:
        ValueError: A column, a value or a system's letters are missing, a verdict is unknown, a pair occurs twice or is of one system, or
            a system is not in the order.
    """
    measured = ("difference", "verdict", "p_holm", "p_equivalence_holm", "smallest_margin")
    _require(pairs, ("system_a", "system_b", *measured), "pairs")
    _finite(pairs, ["difference"], "pairs")
    _known(pairs["verdict"], VERDICTS, "verdict")
    systems = list(order) if order is not None else _order([*pairs["system_a"], *pairs["system_b"]])
    place = {system: rank for rank, system in enumerate(systems)}
    first, second = (pairs[column].map(place) for column in ("system_a", "system_b"))
    _known(pd.concat([pairs["system_a"], pairs["system_b"]]), systems, "system")
    if (first == second).any():
        same = pairs["system_a"][first == second]
        raise ValueError(f"{len(same)} row(s) of pairs compare a system with itself, the first {same.iloc[0]!r}; leave them out")
    frame = _paneled(pairs, by, "pairs").assign(
        row=pairs["system_a"].where(first < second, pairs["system_b"]),
        column=pairs["system_b"].where(first < second, pairs["system_a"]),
        difference=pairs["difference"].where(first < second, -pairs["difference"]),
        role="pair",
    )
    _once(frame, ["panel", "row", "column"], "pairs")
    frame["text"] = [re.sub(r"(?<=[+−])0\.", ".", f"{value:+.3f}".replace("-", "−")) for value in frame["difference"]]
    panels = frame.drop_duplicates("panel")[["panel", *by]]
    inside = {panel: set(part["row"]) | set(part["column"]) for panel, part in frame.groupby("panel")}
    names = [
        {**panel, "row": name, "column": name, "role": "name"}
        for panel in panels.to_dict("records")
        for name in systems
        if name in inside[panel["panel"]]
    ]
    named = _lettered(pd.DataFrame(names), letters, by)
    table = pd.concat([frame, named], ignore_index=True)

    n = len(systems)
    beside = max((_LABEL * len(name) - 30 * rank for rank, name in enumerate(systems)), default=0)
    width, height = int(np.clip((WIDEST - 90 - beside) // n, 29, 46)), 32
    scale = alt.Scale(domain=systems, paddingInner=0.05, paddingOuter=0.0)
    x = alt.X("column:N", sort=systems, title=None, scale=scale, axis=None)
    y = alt.Y("row:N", sort=systems, title=None, scale=scale, axis=None)
    colour, shape = _by_kind("verdict", VERDICTS, pairs["verdict"], "verdict (row minus column)")
    legend = alt.Legend(orient="bottom", direction="horizontal", titleLimit=300)
    colour, shape = (channel.legend(legend) for channel in (colour, shape))
    dark = [name for name, ink in _INKS.items() if ink == INK]
    ink = alt.condition(" || ".join(f"datum.verdict == '{name}'" for name in dark), alt.value(INK), alt.value("white"))
    pair = alt.Chart().transform_filter("datum.role == 'pair'").encode(x=x, y=y)
    system = alt.Chart().transform_filter("datum.role == 'name'").encode(x=x, y=y)
    half = width // 2
    layers = [
        pair.mark_rect().encode(color=colour, tooltip=_tooltip(frame, [*by, "row", "column", *measured])),
        pair.mark_point(filled=True, size=30, opacity=1, yOffset=-7).encode(shape=shape, fill=ink),
        pair.mark_text(dy=7, fontSize=11 if width >= 40 else 9.5).encode(text="text:N", color=ink),
        system.mark_text(align="right", dx=half - 8 if letters is None else 6 - half, fontSize=12).encode(text="row:N"),
        system.mark_text(align="left", angle=320, fontSize=12, limit=160).encode(y=alt.value(-8), text="row:N"),
    ]
    if letters is not None:
        told = _tooltip(named, [*by, "row", "letters"])
        layers.append(system.mark_text(fontSize=12, fontWeight="bold", color=PALETTE[0]).encode(text="letters:N", tooltip=told))
    columns = _fitting(width * n, len(panels), 90 + beside, 40 + beside)
    return _facet(layers, table, width * n, height * n, columns, framed=False)


def _lettered(named: pd.DataFrame, letters: Mapping[str, str] | pd.DataFrame | None, by: Sequence[str]) -> pd.DataFrame:
    """Add each system's letters."""
    if letters is None:
        return named
    if isinstance(letters, pd.DataFrame):
        _require(letters, ("system", "letters", *by), "letters")
        _once(letters, [*by, "system"], "letters")
        found = named.merge(letters.rename(columns={"system": "row"})[[*by, "row", "letters"]], on=[*by, "row"], how="left")
    else:
        found = named.assign(letters=named["row"].map(dict(letters)))
    missing = found.loc[found["letters"].isna(), "row"]
    if len(missing):
        raise ValueError(
            f"letters holds nothing for {len(missing)} system(s), the first is {missing.iloc[0]!r}; a system in no clique has ''"
        )
    return found


def cells_chart(per_query: pd.DataFrame, summary: pd.DataFrame, *, measure: str = "value", width: int = 300, height: int = 300) -> Any:
    """Draw the cells' means; a click on one shows its queries, sorted by value, against the queries of all cells.

    Without a click the queries are those of the highest mean. Hovering tells a query.

    Args:
        per_query: One row a cell and query: cell, query_id, value (averaged over seeds); test_collection where there are several.
        summary: One row a cell: cell, mean; sd where known.
        measure: What the value is, for the axes.
        width: Of each side, in pixels; the left one is narrower.
        height: Of the right side, in pixels.

    Returns:
        Two charts side by side whose common ``data`` is the frame they show: roles ``cell``, ``query`` (with its place, in percent of the
        cell's queries) and ``all`` (at most 201 values of all cells, evenly spread when sorted).

    Raises:
        ValueError: A column or a value is missing, a cell or a query occurs twice, or one frame has a cell that the other has not.
    """
    _require(per_query, ("cell", "query_id", "value"), "per_query")
    _require(summary, ("cell", "mean"), "summary")
    _finite(per_query, ["value"], "per_query")
    _finite(summary, ["mean"], "summary")
    queries = [name for name in ("test_collection", "query_id") if name in per_query.columns]
    _once(per_query, ["cell", *queries], "per_query")
    _once(summary, ["cell"], "summary")
    for one, other, name in ((summary, per_query, "per_query"), (per_query, summary, "summary")):
        lost = sorted(set(one["cell"]) - set(other["cell"]))
        if lost:
            raise ValueError(f"{name} has no row of {len(lost)} cell(s), the first is {lost[0]!r}")
    ordered = summary.sort_values("mean", ascending=False, kind="stable")
    cells = list(ordered["cell"])
    shown = per_query[["cell", *queries, "value"]].sort_values(["cell", "value"], kind="stable")
    count = shown.groupby("cell")["cell"].transform("size")
    shown = shown.assign(place=100 * (shown.groupby("cell").cumcount() + 0.5) / count, role="query")
    pooled = np.sort(per_query["value"].to_numpy(dtype=float))
    kept = np.unique(np.linspace(0, len(pooled) - 1, 201).round().astype(int))
    everything = pd.DataFrame({"value": pooled[kept], "place": 100 * (kept + 0.5) / len(pooled), "role": "all"})
    means = ordered[["cell", "mean", *(name for name in ("sd", "n_seeds") if name in ordered.columns)]].assign(role="cell")
    frame = pd.concat([means, shown, everything], ignore_index=True)

    chosen = alt.selection_point(name="chosen", fields=["cell"], value=[{"cell": cells[0]}], empty=False, toggle=False)
    row = alt.Y("cell:N", sort=cells, title=None, scale=alt.Scale(domain=cells, padding=0.5), axis=alt.Axis(grid=True, labelLimit=240))
    left_width = width - 60
    left = (
        alt.Chart()
        .transform_filter("datum.role == 'cell'")
        .mark_point(filled=True, opacity=1, stroke="white", strokeWidth=0.7)
        .encode(
            x=alt.X(
                "mean:Q", title=f"mean {measure}", scale=alt.Scale(domain=_domain(means["mean"]), nice=False), axis=alt.Axis(tickCount=5)
            ),
            y=row,
            color=alt.condition(chosen, alt.value(PALETTE[1]), alt.value(PALETTE[0])),
            size=alt.condition(chosen, alt.value(160), alt.value(80)),
            tooltip=_tooltip(means, ["cell", "mean", "sd", "n_seeds"]),
        )
        .properties(
            width=left_width,
            height=max(20 * len(cells), min(40 * len(cells), height)),
            name="cells",
            title=_hint("click a cell to see its queries"),
        )
        .add_params(chosen)
    )
    x = alt.X("place:Q", title="queries, sorted by value (%)", scale=alt.Scale(domain=[0, 100], nice=False), axis=alt.Axis(tickCount=5))
    y = alt.Y("value:Q", title=f"{measure} of a query", scale=alt.Scale(domain=_domain(per_query["value"], 0.02), nice=False))
    line = alt.Chart().transform_filter("datum.role == 'all'").mark_line(strokeWidth=2, color="#8c8c8c").encode(x=x, y=y)
    dots = alt.Chart().transform_filter("datum.role == 'query'").transform_filter(chosen).mark_point(filled=True, size=24, opacity=0.8)
    name = alt.Chart().transform_filter("datum.role == 'cell'").transform_filter(chosen)
    pooled_name = alt.Chart().transform_filter("datum.role == 'all'").transform_aggregate(rows="count()", groupby=["role"])
    right = alt.layer(
        line,
        dots.encode(x=x, y=y, color=alt.value(PALETTE[1]), tooltip=_tooltip(shown, ["cell", *queries, "value"])),
        name.mark_text(align="left", fontWeight="bold", fontSize=12, dy=-9, color=PALETTE[1]).encode(
            x=alt.value(0), y=alt.value(0), text="cell:N"
        ),
        # sorted values rise to the right, so that the corner below them is free
        pooled_name.mark_text(align="right", color=MUTED).encode(
            x=alt.value(width - 6), y=alt.value(height - 12), text=alt.value("grey: all cells")
        ),
    ).properties(width=width, height=height, name="queries")
    return alt.hconcat(left, right, data=frame, spacing=24)


def _hint(text: str) -> alt.TitleParams:
    """Return a small title that says what a click or a drag does."""
    return alt.TitleParams(text, fontSize=11, fontWeight="normal", fontStyle="italic", color=MUTED, anchor="start")


# --- groups and students ----------------------------------------------------------------------------------------------


def queries_chart(groups: pd.DataFrame, *, entropy: str = "pairwise_entropy", max_groups: int = 2000, n_listed: int = 15) -> Any:
    """Draw groups by diameter and entropy; dragging over some lists them and counts their strategies.

    Without a drag all groups are counted, and the first are listed.

    Args:
        groups: One row a group: query_id, strategy, the entropy, diameter_q99 (cosine distance), query (its text), documents (the texts of
            the positive and the negatives); value (of the query, in units of a measure) where known, for the tooltip, which may be blank.
        entropy: The column with the entropy.
        max_groups: How many groups are drawn, spread evenly over the rows; the title says of how many.
        n_listed: How many groups are listed.

    Returns:
        Charts side by side whose common ``data`` is the frame they show, the entropy as ``entropy``.

    Raises:
        ValueError: A column or a value is missing, or no group may be drawn.
    """
    _require(groups, ("query_id", "strategy", entropy, "diameter_q99", "query", "documents"), "groups")
    if max_groups < 1 or n_listed < 1:
        raise ValueError(f"max_groups is {max_groups}, n_listed {n_listed}; expected at least 1 of each")
    _finite(groups, [entropy, "diameter_q99"], "groups")
    kept = np.unique(np.linspace(0, len(groups) - 1, min(max_groups, len(groups))).round().astype(int))
    columns = ["query_id", "strategy", entropy, "diameter_q99", "query", "documents", *(["value"] if "value" in groups.columns else [])]
    frame = groups.iloc[kept][columns].rename(columns={entropy: "entropy"}).reset_index(drop=True)
    strategies = _order(frame["strategy"])
    shown = f"all {len(frame):,} groups" if len(frame) == len(groups) else f"{len(frame):,} of {len(groups):,} groups, evenly spread"

    brush = alt.selection_interval(name="brush")
    colour, shape = _by_name("strategy", strategies, "strategy", None)  # the bars below the list are the legend
    title = f"entropy, {ENTROPIES[entropy]}" if entropy in ENTROPIES else entropy
    tip = ["query_id", "strategy", "diameter_q99", "entropy", "value", "query", "documents"]
    scatter = (
        alt.Chart()
        .mark_point(filled=True, size=32)
        .encode(
            x=alt.X(
                "diameter_q99:Q", title="diameter q99 (cosine distance)", scale=alt.Scale(domain=_domain(frame["diameter_q99"]), nice=False)
            ),
            y=alt.Y("entropy:Q", title=title, scale=alt.Scale(domain=_domain(frame["entropy"]), nice=False)),
            color=colour,
            shape=shape,
            opacity=alt.condition(brush, alt.value(0.75), alt.value(0.08)),
            tooltip=_tooltip(frame, tip),
        )
        .properties(width=350, height=400, name="groups", title=_hint(f"{shown}; drag over some to list the first {n_listed}"))
        .add_params(brush)
    )
    place = alt.Y("place:O", axis=None, scale=alt.Scale(domain=list(range(1, n_listed + 1))))
    listed = (
        alt.Chart()
        .transform_filter(brush)
        .transform_window(place="row_number()")
        .transform_filter(f"datum.place <= {n_listed}")
        .encode(y=place, tooltip=_tooltip(frame, tip))
    )
    left, wide, high, indent = 10, 430, 18 * n_listed, 150
    texts = listed.mark_text(align="left", baseline="middle")
    dots = listed.mark_point(filled=True, size=45, opacity=1).encode(x=alt.value(left), color=colour, shape=shape)
    heading = alt.Chart(alt.InlineData([{}])).mark_text(align="left", fontWeight="bold", dy=-10)
    listing = alt.layer(
        dots,
        texts.mark_text(limit=150, align="left").encode(x=alt.value(left + 10), text="query:N"),
        texts.mark_text(limit=wide - 180, align="left", color=MUTED).encode(x=alt.value(left + 170), text="documents:N"),
        heading.encode(x=alt.value(left + 10), y=alt.value(0), text=alt.value("query")),
        heading.encode(x=alt.value(left + 170), y=alt.value(0), text=alt.value("positive, then negatives")),
    ).properties(width=wide, height=high, name="listing")
    place = alt.Y("strategy:N", sort=strategies, axis=None, scale=alt.Scale(domain=strategies))
    count = alt.X(
        "count():Q",
        title="groups",
        scale=alt.Scale(range=[indent, wide], nice=False),
        axis=alt.Axis(tickMinStep=1, tickCount=5, format=",d", domain=False),
    )
    told = ["strategy:N", alt.Tooltip("count():Q", title="groups")]
    every = alt.Chart().transform_aggregate(rows="count()", groupby=["strategy"]).encode(y=place)
    bars = alt.layer(
        alt.Chart().transform_filter(brush).mark_bar().encode(x=count, y=place, color=colour, tooltip=told),
        every.mark_point(filled=True, size=45, opacity=1).encode(x=alt.value(left), color=colour, shape=shape),
        every.mark_text(align="left", limit=indent - 26).encode(x=alt.value(left + 10), text="strategy:N"),
    ).properties(width=wide, height=18 * len(strategies), name="strategies")
    return alt.hconcat(scatter, alt.vconcat(listing, bars, spacing=16), data=frame, spacing=24)


def behaviour_chart(table: pd.DataFrame, *, width: int = 0, height: int = 110) -> Any:
    """Draw what training does to a student's space: a line from before to after, one a strategy; a column of panels a quantity.

    Panels of one quantity share their axis; one row of panels a recipe.

    Args:
        table: One row each: strategy, recipe (architecture, loss, teacher ...), state (``before`` or ``after``), quantity (a key of
            :data:`QUANTITIES`, or any name, which should then say its unit), value.
        width: Of one panel, in pixels; by default what fits the page.
        height: Of one panel, in pixels.

    Returns:
        Charts side by side whose common ``data`` is the frame they show.

    Raises:
        ValueError: A column or a value is missing, a state is unknown, or a strategy has not exactly one value before and one after.
    """
    _require(table, ("strategy", "recipe", "state", "quantity", "value"), "table")
    _finite(table, ["value"], "table")
    _known(table["state"], STATES, "state")
    keys = ["quantity", "recipe", "strategy"]
    _once(table, [*keys, "state"], "table")
    sizes = table.groupby(keys, sort=False)["state"].size()
    if (sizes != 2).any():
        lone = sizes[sizes != 2]
        raise ValueError(f"{len(lone)} of {len(sizes)} lines of the table lack a state, the first is that of {lone.index[0]}; a line leads "
                         "from before to after")  # fmt: skip
    recipes, quantities, strategies = (_order(table[name]) for name in ("recipe", "quantity", "strategy"))
    notes = _notes(table, "recipe", "quantity").reindex(columns=["recipe", "quantity", "role", "label"])
    frame = pd.concat([table.assign(role="value"), notes], ignore_index=True) if len(notes) else table.assign(role="value")
    width = width or max(80, (WIDEST - 30) // len(quantities) - 70)
    states = list(STATES)
    legend = alt.Legend(orient="bottom", columns=6, titleOrient="top")
    colour, shape = _by_name("strategy", strategies, "strategy", legend)
    fill = alt.Fill("strategy:N", sort=strategies, title="strategy", scale=_scale(strategies, PALETTE), legend=legend)
    hollow = alt.condition("datum.state == 'before'", alt.value(0.0), alt.value(1.0))
    parts = []
    for quantity in quantities:
        base = alt.Chart().transform_filter("datum.role == 'value'")
        axis = alt.Axis(labelAngle=0)
        x = alt.X("state:N", sort=states, title=None, scale=alt.Scale(domain=states, padding=0.35), axis=axis)
        values = table.loc[table["quantity"] == quantity, "value"]
        y = alt.Y("value:Q", title=None, scale=alt.Scale(domain=_domain(values, 0.1), nice=False), axis=alt.Axis(tickCount=4))
        told = _tooltip(table, ["strategy", "recipe", "state", "quantity", "value"])
        absent = alt.Chart().transform_filter("datum.role == 'note'").mark_text(color=MUTED, fontStyle="italic")
        layers = [
            base.mark_line(strokeWidth=1.6).encode(x=x, y=y, color=colour, detail="strategy:N"),
            base.mark_point(size=55, opacity=1, filled=True, color="white").encode(x=x, y=y, shape=shape),  # no line shows through
            base.mark_point(size=55, opacity=1).encode(x=x, y=y, color=colour, shape=shape, fill=fill, fillOpacity=hollow, tooltip=told),
            absent.encode(x=alt.value(width / 2), y=alt.value(height / 2), text=alt.value("not measured")),
        ]
        header = alt.Header(labelAngle=0, labelAnchor="start", labelOrient="top", labelPadding=-10, labelLimit=width + 60, labelFontSize=11)
        panels = (
            alt.layer(*layers, data=frame)
            .properties(width=width, height=height)
            .facet(row=alt.Row("recipe:N", sort=recipes, title=None, header=header), spacing=10)
            .transform_filter(f"datum.quantity == {json.dumps(quantity)}")
            .properties(title=alt.TitleParams(QUANTITIES.get(quantity, quantity), fontSize=12, anchor="start", limit=width + 60))
        )
        parts.append(panels)
    return alt.hconcat(*parts, spacing=12)  # the frame that they share moves to the top


def calibration_chart(bins: pd.DataFrame, *, by: Sequence[str] = ("strategy", "recipe"), size: int = 170) -> Any:
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
    _require(bins, ("mean_student", "mean_teacher", "n_pairs", "state"), "bins")
    _finite(bins, ["mean_student", "mean_teacher", "n_pairs"], "bins")
    _known(bins["state"], STATES, "state")
    for column in ("mean_student", "mean_teacher"):
        outside = bins[~bins[column].between(0, 1)]
        if len(outside):
            raise ValueError(f"{len(outside)} values of {column} lie outside [0, 1], the first is {outside[column].iloc[0]:g}; they are "
                             "probabilities, not scores")  # fmt: skip
    frame = _paneled(bins, by, "bins")
    _once(frame, ["panel", "state", "mean_student"], "bins")
    unit = alt.Scale(domain=[0, 1])
    ticks = alt.Axis(values=[0, 0.5, 1], format="~g")
    x = alt.X("mean_student:Q", title="student's mean probability", scale=unit, axis=ticks)
    y = alt.Y("mean_teacher:Q", title="teacher's mean probability", scale=unit, axis=ticks)
    legend = alt.Legend(orient="bottom", direction="horizontal")
    colour, shape = (channel.legend(legend) for channel in _by_kind("state", STATES, bins["state"], "state"))
    most = float(bins["n_pairs"].max())
    some = sorted({float(f"{part:.0e}") for part in (most / 4, most)})
    scale = alt.Scale(domain=[0, most], range=[12, 170])
    area = alt.Size("n_pairs:Q", title="pairs in the bin", scale=scale, legend=alt.Legend(orient="bottom", values=some, format="~s"))
    told = _tooltip(frame, [*by, "state", "mean_student", "mean_teacher", "n_pairs"])
    base = alt.Chart()
    corner = base.transform_aggregate(rows="count()", groupby=["panel"]).mark_rule(color=MUTED, strokeDash=[4, 3])
    layers = [
        corner.encode(x=alt.XDatum(0), x2=alt.X2Datum(1), y=alt.YDatum(0), y2=alt.Y2Datum(1)),
        base.mark_line(strokeWidth=1.3, opacity=0.7).encode(x=x, y=y, color=colour, order="mean_student:Q"),
        base.mark_point(filled=True, opacity=0.85).encode(x=x, y=y, color=colour, shape=shape, size=area, tooltip=told),
    ]
    return _facet(layers, frame, size, size, _fitting(size, 4, 80, 30))


def correlation_chart(table: pd.DataFrame, *, by: Sequence[str] = (), width: int = 260) -> Any:
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
    _require(table, ("x", "y", "spearman", "low", "high"), "table")
    _bracketed(table, "spearman", "table")
    frame = _paneled(table, by, "table")
    frame["row"] = frame["label"] if "label" in frame else [f"{x} ~ {y}" for x, y in zip(frame["x"], frame["y"], strict=True)]
    _once(frame, ["panel", "row"], "table")
    frame["interval"] = np.where((frame["low"] > 0) | (frame["high"] < 0), "excludes 0", "holds 0")
    axis = alt.X("spearman:Q", title="Spearman correlation", scale=alt.Scale(domain=[-1, 1]), axis=alt.Axis(tickCount=5, format="~g"))
    told = _tooltip(frame, [*by, "x", "y", "spearman", "low", "high"])
    return _forest(frame, axis, INTERVALS, told, width)


def _bracketed(frame: pd.DataFrame, value: str, name: str) -> None:
    """Raise a ValueError where an interval does not hold its value."""
    _finite(frame, [value, "low", "high"], name)
    bad = frame[(frame["low"] > frame[value]) | (frame["high"] < frame[value])]
    if len(bad):
        row = bad.iloc[0]
        raise ValueError(f"{len(bad)} interval(s) of {name} do not hold their {value}, the first is [{row['low']:g}, {row['high']:g}] of "
                         f"{row[value]:g}")  # fmt: skip


def _forest(frame: pd.DataFrame, x: alt.X, kinds: Mapping[str, tuple[str, str]], told: list[alt.Tooltip], width: int) -> Any:
    """Draw the values of ``row`` with their intervals and the zero rule, in panels; ``interval`` gives colour and mark."""
    rows = _order(frame["row"])
    beside = _beside(rows, 360)
    y = alt.Y("row:N", sort=rows, title=None, scale=alt.Scale(domain=rows), axis=alt.Axis(grid=True))
    colour, shape = _by_kind("interval", kinds, frame["interval"], "interval")
    columns = _fitting(width, frame["panel"].nunique(), beside + 130)
    base = alt.Chart()
    layers = [
        base.transform_aggregate(rows="count()", groupby=["panel"]).mark_rule(color=INK).encode(x=alt.datum(0)),
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=colour, tooltip=told),
        base.mark_point(filled=True, size=75, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=told),
    ]
    return _facet(layers, frame, width, 20 * len(rows) + 8, columns)


# --- rules and choices ------------------------------------------------------------------------------------------------


def error_rate_chart(rates: pd.DataFrame, *, title: str = "rate over simulations", width: int = 220, height: int = 200) -> Any:
    """Draw how often each rule of decision says what it should say only so often; one panel a true difference.

    The dashed rule is the rate to expect, such as the nominal alpha. Panels have a scale each.

    Args:
        rates: One row each: rule, n_queries, true_difference (in units of the measure), rate, low and high (shares in [0, 1]), expected
            (a share; blank where none is expected).
        title: What the rate is.
        width: Of one panel, in pixels.
        height: Of one panel, in pixels.

    Returns:
        A chart whose ``data`` is the frame it shows.

    Raises:
        ValueError: A column or a value is missing, an interval does not hold its rate, or two rows share a place.
    """
    _require(rates, ("rule", "n_queries", "true_difference", "rate", "low", "high", "expected"), "rates")
    _finite(rates, ["n_queries", "true_difference"], "rates")
    _bracketed(rates, "rate", "rates")
    frame = _paneled(rates, ["true_difference"], "rates")
    _once(frame, ["panel", "rule", "n_queries"], "rates")
    frame["nominal"] = ["" if pd.isna(value) else "expected rate" for value in frame["expected"]]
    rules, numbers = _order(frame["rule"]), sorted(set(frame["n_queries"]))
    legend = alt.Legend(orient="bottom", columns=3, symbolSize=120)
    colour, shape = _by_name("rule", rules, "rule", legend)
    x = alt.X("n_queries:O", title="test queries", sort=numbers, axis=alt.Axis(labelAngle=0))
    y = alt.Y("rate:Q", title=title, axis=alt.Axis(format="~%", tickCount=5), scale=alt.Scale(zero=True, nice=False, padding=6))
    offset = alt.XOffset("rule:N", sort=rules, scale=alt.Scale(domain=rules, paddingOuter=0.6))
    told = _tooltip(frame, ["rule", "n_queries", "true_difference", "rate", "low", "high", "expected"])
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
    return _facet(layers, frame, width, height, _fitting(width, frame["panel"].nunique(), 20, 70), y="independent")


def regret_chart(summary: pd.DataFrame, *, measure: str = "the measure", width: int = 240) -> Any:
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
    _require(summary, ("rule", "left_out", "regret", "low", "high"), "summary")
    _bracketed(summary, "regret", "summary")
    frame = _paneled(summary, ["left_out"], "summary").assign(row=summary["rule"])
    frame["panel"] = "left out: " + frame["panel"]
    _once(frame, ["panel", "row"], "summary")
    rules = _order(frame["rule"])
    colour, shape = _by_name("rule", rules, "rule", None)
    y = alt.Y("row:N", sort=rules, title=None, scale=alt.Scale(domain=rules), axis=alt.Axis(grid=True))
    x = alt.X("regret:Q", title=f"regret in {measure}", axis=alt.Axis(tickCount=5))
    told = _tooltip(frame, ["rule", "left_out", "regret", "low", "high"])
    base = alt.Chart()
    layers = [
        base.transform_aggregate(rows="count()", groupby=["panel"]).mark_rule(color=INK).encode(x=alt.datum(0)),
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=colour, tooltip=told),
        base.mark_point(filled=True, size=75, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=told),
    ]
    columns = _fitting(width, frame["panel"].nunique(), _beside(rules))
    return _facet(layers, frame, width, 22 * len(rules) + 8, columns)


def pareto_chart(
    points: pd.DataFrame,
    *,
    cost: str = "total_cpu_seconds",
    measure: str = "value",
    by: Sequence[str] = (),
    width: int = 560,
    height: int = 360,
) -> Any:
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
    _require(points, ("strategy", "loss", "value", "sd", cost, "on_frontier"), "points")
    _finite(points, ["value"], "points")
    _positive(points, cost, "points")
    if not pd.api.types.is_bool_dtype(points["on_frontier"]):
        raise ValueError(f"on_frontier of points is {points['on_frontier'].dtype}; expected True or False in every row")
    frame = _paneled(points, by, "points").rename(columns={cost: "cost"})
    frame["low"], frame["high"] = frame["value"] - frame["sd"], frame["value"] + frame["sd"]
    frame["name"] = (
        frame["cell"] if "cell" in frame.columns else [_join(s, n) for s, n in zip(frame["strategy"], frame["loss"], strict=True)]
    )
    frame["frontier"] = np.where(frame["on_frontier"], "no cheaper choice is better", "")
    ranks = frame["cost"].where(frame["on_frontier"]).groupby(frame["panel"]).rank(method="first")
    frame["place"] = ranks.to_numpy()  # names stand above and below by turns
    several = frame["panel"].nunique() > 1
    if several:
        width = min(width, (WIDEST - 290) // 2)
    low, high = float(frame["cost"].min()), float(frame["cost"].max())
    ratio = max(high / low, 4.0)
    longest = 6 * max(len(name) for name in frame.loc[frame["on_frontier"], "name"]) if frame["on_frontier"].any() else 0
    share = min(0.5, (longest + 16) / width)  # of the axis, to the left of the cheapest point, where its name stands
    room = share * 1.06 / (1 - share)
    domain = [low / ratio**room, high * ratio**0.06]
    scale = alt.Scale(type="log", nice=False, domain=domain)
    strategies, losses = _order(frame["strategy"]), _order(frame["loss"])
    ends = pd.concat([frame["value"], frame["low"].dropna(), frame["high"].dropna()])
    x = alt.X("cost:Q", title=f"{COSTS.get(cost, cost)}, log scale", scale=scale, axis=_log_axis(*domain))
    y = alt.Y("value:Q", title=measure, scale=alt.Scale(domain=_domain(ends), nice=False))
    only = {name: alt.selection_point(name=f"only_{name}", fields=[name], bind="legend") for name in ("strategy", "loss")}
    opacity = alt.condition(only["strategy"] & only["loss"], alt.value(0.95), alt.value(0.08))
    colour = alt.Color("strategy:N", sort=strategies, title="strategy", scale=_scale(strategies, PALETTE))
    shape = alt.Shape("loss:N", sort=losses, title="loss", scale=_shapes(losses))
    label = alt.Scale(domain=["no cheaper choice is better"], range=[[5, 3]])
    dash = alt.StrokeDash("frontier:N", title="frontier", scale=label, legend=alt.Legend(symbolSize=300))
    told = _tooltip(frame, [*by, "name", "strategy", "loss", "value", "sd", "cost", "on_frontier"])
    base = alt.Chart()
    best = base.transform_filter("datum.on_frontier")
    layers = [
        best.mark_line(interpolate="step-after", color=MUTED, strokeWidth=1.2).encode(x=x, y=y, order="cost:Q", strokeDash=dash),
        base.transform_filter("isValid(datum.sd)").mark_rule(strokeWidth=1.4).encode(
            x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour, opacity=opacity),
        base.mark_point(filled=True, size=80, stroke="white", strokeWidth=0.6)
        .encode(x=x, y=y, color=colour, shape=shape, opacity=opacity, tooltip=told)
        .properties(name="points")
        .add_params(*only.values()),
        *(
            best.transform_filter(f"datum.place % 2 == {odd}").mark_text(align="right", dx=-7, dy=12 if odd else -8, **halo)
            .encode(x=x, y=y, text="name:N") for halo in _HALO for odd in (0, 1)
        ),
    ]  # fmt: skip
    return _facet(layers, frame, width, height, 2)


def simple_effects_chart(
    surface: pd.DataFrame, *, measure: str = "mean", by: Sequence[str] = (), width: int = 300, height: int = 230
) -> Any:
    """Draw a factorial's means over the target entropy, one line a strategy, each with the band of its interval.

    Parallel lines say that locality and entropy act separately; lines that cross, that one depends on the other.

    Args:
        surface: One row each: strategy (of a diameter), target_entropy (bits), mean, low, high (in units of the measure), and the columns
            of ``by``.
        measure: What the mean is of, for the axis.
        by: Columns that make panels, such as loss.
        width: Of one panel, in pixels.
        height: Of one panel, in pixels.

    Returns:
        A chart whose ``data`` is the frame it shows.

    Raises:
        ValueError: A column or a value is missing, an interval does not hold its mean, or two rows share a place.
    """
    _require(surface, ("strategy", "target_entropy", "mean", "low", "high"), "surface")
    _finite(surface, ["target_entropy"], "surface")
    _bracketed(surface, "mean", "surface")
    frame = _paneled(surface, by, "surface")
    _once(frame, ["panel", "strategy", "target_entropy"], "surface")
    strategies, targets = _order(frame["strategy"]), sorted(set(frame["target_entropy"]))
    colour, shape = _by_name("strategy", strategies, "strategy", alt.Legend(symbolOpacity=1))

    x = alt.X(
        "target_entropy:Q",
        title="target pairwise entropy (bits)",
        axis=alt.Axis(values=targets, format="~g", labelOverlap=True),
        scale=alt.Scale(domain=_domain(frame["target_entropy"]), nice=False),
    )
    scale = alt.Scale(domain=_domain(pd.concat([frame["low"], frame["high"]])), nice=False)
    y = alt.Y("mean:Q", title=measure, scale=scale)
    told = _tooltip(frame, [*by, "strategy", "target_entropy", "mean", "low", "high"])
    base = alt.Chart()
    layers = [
        base.mark_area(opacity=0.14).encode(x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q", color=colour),
        base.mark_line(strokeWidth=1.6).encode(x=x, y=y, color=colour),
        base.mark_point(filled=True, size=60, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=told),
    ]
    return _facet(layers, frame, width, height, _fitting(width, frame["panel"].nunique(), 70 + _beside(strategies) + 40))


# --- theory -----------------------------------------------------------------------------------------------------------


def bound_chart(terms: pd.DataFrame, *, title: str = "value", width: int = 430) -> Any:
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
    _require(terms, ("name", "value", "kind", "vacuous"), "terms")
    _positive(terms, "value", "terms")
    _known(terms["kind"], BOUND_KINDS, "kind")
    _once(terms, ["name"], "terms")
    if not pd.api.types.is_bool_dtype(terms["vacuous"]):
        raise ValueError(f"vacuous of terms is {terms['vacuous'].dtype}; expected True or False in every row")
    frame = terms.assign(panel="")
    frame["text"] = [f"{value:.3g}" + (", vacuous" if empty else "") for value, empty in zip(frame["value"], frame["vacuous"], strict=True)]
    low, high = float(frame["value"].min()), float(frame["value"].max())
    ratio = max(high / low, 10.0)
    scale = alt.Scale(type="log", nice=False, domain=[low / ratio**0.05, high * ratio**0.4])  # to the right of a mark stands its text
    names = _order(frame["name"])
    colour, shape = _by_kind("kind", BOUND_KINDS, frame["kind"], "kind")
    x = alt.X("value:Q", title=f"{title}, log scale", scale=scale, axis=_log_axis(low, high * ratio**0.4, scientific=True))
    y = alt.Y("name:N", sort=names, title=None, scale=alt.Scale(domain=names), axis=alt.Axis(grid=True, labelLimit=300))
    base = alt.Chart()
    trivial = base.transform_filter("datum.kind == 'trivial'").transform_aggregate(smallest="min(value)", groupby=["kind"])
    told = _tooltip(frame, ["name", "kind", "value", "vacuous"])
    layers = [
        trivial.mark_rule(color=MUTED, strokeDash=[4, 3]).encode(x=alt.X("smallest:Q")),
        base.mark_point(filled=True, size=110, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=told),
        base.transform_filter("datum.vacuous").mark_point(filled=True, size=25, opacity=1, color="white").encode(x=x, y=y, shape=shape),
        *(base.mark_text(align="left", dx=10, **halo).encode(x=x, y=y, text="text:N") for halo in _HALO),
    ]
    return _facet(layers, frame, width, 26 * len(names) + 8, 1)


CHARTS = {
    "matrix": matrix_chart,
    "queries": queries_chart,
    "cells": cells_chart,
    "error_rate": error_rate_chart,
    "behaviour": behaviour_chart,
    "calibration": calibration_chart,
    "correlation": correlation_chart,
    "pareto": pareto_chart,
    "regret": regret_chart,
    "bound": bound_chart,
    "simple_effects": simple_effects_chart,
}

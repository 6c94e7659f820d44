"""Charts of a study: cells, differences, groups, students, training, costs and theory. They draw finished frames and compute no statistic.

Every chart says everything without a click; where one can brush or click, it says so above. A chart of a study's own frames
(:mod:`drawing`) shows one training collection and one of its test collections; where a frame holds several, ``collection`` and
``test_collection`` choose. In the others ``by`` names the columns whose values make panels of their own, and a value that is missing, or
not finite, is an error unless the docstring says that it may be blank; drawn at their default sizes they are at most 900 pixels wide, which
a page of A4 holds. Save charts with :func:`pictures.save_chart`, show them under :func:`rd_utils.report.drawing.use_theme`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from rd_utils.analysis.crossed import THESE_ONLY
from rd_utils.params import nearest
from rd_utils.report.drawing import (
    ACROSS_COLUMNS,
    BAND,
    BASELINES,
    DASHES,
    DESCRIPTION_COLUMNS,
    DIFFERENCE_COLUMNS,
    DIMENSIONS,
    ENTROPIES,
    INK,
    INTERVALS,
    MUTED,
    PALETTE,
    RESULT_COLUMNS,
    SETTINGS,
    SUMMARY_COLUMNS,
    VERDICTS,
    as_setting,
    as_text,
    choose,
    distinct,
    empty_panels,
    joined,
    padded_domain,
    plain_number,
    require,
    select,
    shape_scale,
    tooltips,
    value_scale,
    varying,
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


def _plain_verdicts(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the rows with each verdict as one word, and what the legend calls them: on one seed they are of these students only."""
    legend = "verdict" + (THESE_ONLY if frame["verdict"].str.endswith(THESE_ONLY).any() else "")
    return frame.assign(verdict=frame["verdict"].str.removesuffix(THESE_ONLY)), legend


def _once(frame: pd.DataFrame, keys: Sequence[str], name: str) -> None:
    """Raise a ValueError where two rows would be drawn in one place."""
    twice = frame.loc[frame.duplicated(list(keys)), list(keys)]
    if len(twice):
        first = ", ".join(repr(value) for value in twice.iloc[0].tolist())
        raise ValueError(
            f"{len(twice)} row(s) of {name} share {', '.join(keys)} with another, the first is {first}; choose rows, or pass by= the "
            "columns that tell them apart"
        )


def _bracketed(frame: pd.DataFrame, value: str, name: str) -> None:
    """Raise a ValueError where an interval does not hold its value."""
    _finite(frame, [value, "low", "high"], name)
    bad = frame[(frame["low"] > frame[value]) | (frame["high"] < frame[value])]
    if len(bad):
        row = bad.iloc[0]
        raise ValueError(f"{len(bad)} interval(s) of {name} do not hold their {value}, the first is [{row['low']:g}, {row['high']:g}] of "
                         f"{row[value]:g}")  # fmt: skip


def _positive(frame: pd.DataFrame, column: str, name: str) -> None:
    _finite(frame, [column], name)
    bad = frame[frame[column] <= 0]
    if len(bad):
        raise ValueError(f"{len(bad)} row(s) of {name} have a {column} that is not above 0, the first is {bad[column].tolist()[0]!r}; "
                         "a logarithmic axis cannot show it")  # fmt: skip


def _paneled(frame: pd.DataFrame, by: Sequence[str], name: str) -> pd.DataFrame:
    """Add ``panel``, what the columns ``by`` say, joined; numbers are told with their column's name."""
    require(frame, by, name)

    def _said(column: str) -> list[str]:
        numeric = pd.api.types.is_numeric_dtype(frame[column]) and not pd.api.types.is_bool_dtype(frame[column])
        return [
            f"{column.replace('_', ' ')} {as_setting(value)}" if numeric and as_setting(value) else as_setting(value)
            for value in frame[column]
        ]

    parts = [_said(column) for column in by]
    return frame.assign(panel=[joined(*values) for values in zip(*parts, strict=True)] if parts else "")


def _facet(
    layers: Sequence[Any],
    frame: pd.DataFrame,
    width: int,
    height: int | alt.Step,
    columns: int,
    framed: bool = True,
    title: int = 0,
    **resolve: str,
) -> Any:
    """Layer marks over one frame, in wrapped panels if it has several; every panel has its own x axis, so that none hangs in the air.

    A panel's title takes ``title`` pixels, or the panel's width and a little more.
    """
    chart = alt.layer(*layers, data=frame).properties(width=width, height=height)
    chart = chart if framed else chart.properties(view=alt.ViewBackground(strokeOpacity=0))
    panels = distinct(frame["panel"])
    if not panels:
        return chart
    header = alt.Header(labelLimit=max(width + 40, title), labelAnchor="start")
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
    colour = alt.Color(f"{column}:N", sort=list(names), title=title, scale=value_scale(names, PALETTE), legend=legend)
    return colour, alt.Shape(f"{column}:N", sort=list(names), title=title, scale=shape_scale(names), legend=legend)


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


def _hint(text: str) -> alt.TitleParams:
    """Return a small title that says what a click or a drag does."""
    return alt.TitleParams(text, fontSize=11, fontWeight="normal", fontStyle="italic", color=MUTED, anchor="start")


def _settings(frame: pd.DataFrame, but: str = "") -> list[str]:
    """Return for each row what sets it apart beside strategy, teacher, loss and architecture; what all rows share goes without saying.

    A temperature and a target entropy are of the teacher, so they are compared, and said, only where there is one. ``but`` names a setting
    that is said elsewhere.
    """
    taught = frame["teacher"].map(as_text) != ""
    values = {name: frame.loc[taught, name] if name in SETTINGS[:2] else frame[name] for name in SETTINGS if name != but}
    varied = {name for name, column in values.items() if column.nunique(dropna=False) > 1}

    def one(row: dict[str, Any]) -> str:
        dial = f"T={plain_number(row['temperature'])}" if "temperature" in varied else ""
        if "target_entropy" in varied and as_text(row["target_entropy"]):
            dial = f"H={plain_number(row['target_entropy'])}"
        plain = {"augmentation": "none", "cut": "all"}
        others = [row[name] for name in plain if name in varied and row[name] != plain[name]]
        return joined(dial if as_text(row["teacher"]) else "", *others)

    return [one(row) for row in frame.to_dict("records")]


# --- cells and their effectiveness ------------------------------------------------------------------------------------


def effectiveness_chart(
    summary: pd.DataFrame,
    results: pd.DataFrame,
    *,
    measure: str | None = None,
    collection: str | None = None,
    test_collection: str | None = None,
    width: int = 300,
) -> alt.FacetChart:
    """Draw each cell's mean with its seeds as small points, and the baselines as labelled rules.

    One column of panels an architecture, one row a first stage; strategies down the side. Up to eight combinations of
    loss, teacher and settings are told apart by colour and shape; more of them get a line each.

    Args:
        summary: Means of cells and baselines.
        results: One row a cell and seed, for the small points.
        measure: Which measure; may be left out when the frames hold only one.
        collection: Which training collection; likewise.
        test_collection: Which test collection; likewise.
        width: Of one panel, in pixels.

    Returns:
        A faceted chart whose ``data`` is the frame it shows; the column ``role`` is mean, seed, reference or note.

    Raises:
        ValueError: A column is missing, a choice is not made or unknown, or there is no trained cell.
    """
    require(summary, SUMMARY_COLUMNS, "summary")
    require(results, RESULT_COLUMNS, "results")
    choices = {"measure": measure, "test_collection": test_collection, "collection": collection}
    summary, results = select(summary, "summary", **choices), select(results, "results", **choices)
    students = summary[summary["system"] == "student"].copy()
    if students.empty:
        raise ValueError(f"summary has no row with system 'student' among {len(summary)} rows; nothing to draw")
    students["variant"] = _variants(students)
    variants, strategies = distinct(students["variant"]), distinct(students["strategy"])
    stages, architectures = distinct(students["first_stage"]), distinct(students["architecture"])
    compact = len(variants) <= len(PALETTE)
    students["row"] = students["strategy"] if compact else [
        joined(strategy, variant) for strategy, variant in zip(students["strategy"], students["variant"], strict=True)
    ]  # fmt: skip
    position = {name: index for index, name in enumerate(strategies)}
    students = students.sort_values("strategy", key=lambda column: column.map(position), kind="stable")
    parts = ["cell", "system", *DIMENSIONS, "variant", "row"]
    seeds = results.loc[results["system"] == "student", ["cell", "seed", "first_stage", "test_collection", "measure", "value"]]
    seeds = seeds.merge(students[parts].drop_duplicates("cell"), on="cell").assign(role="seed")
    panels = students[["architecture", "first_stage"]].drop_duplicates()
    notes = empty_panels(students, "architecture", "first_stage")
    references = _references(summary, panels)
    if not references.empty:
        references = references.rename(columns={"mean": "value"}).assign(label=references["cell"])
    means = students.rename(columns={"mean": "value"}).assign(role="mean")
    parts_shown = [part for part in (means, seeds, references, notes) if not part.empty]
    domain = padded_domain(pd.concat([part["value"] for part in parts_shown if "value" in part.columns]))
    _place_labels(references, middle=sum(domain) / 2)
    frame = pd.concat(parts_shown, ignore_index=True)

    rows = distinct(students["row"])
    height = len(rows) * (14 + 13 * len(variants)) if compact else len(rows) * 18
    colour_field, colour_order = ("variant", variants) if compact else ("strategy", strategies)
    title = "loss · teacher" if compact else "strategy"
    x = alt.X("value:Q", title=measure or str(means["measure"].iloc[0]), scale=alt.Scale(domain=domain, nice=False))
    axis = alt.Axis(tickBand="extent" if compact else "center", grid=True)
    y = alt.Y("row:N", sort=rows, title=None, scale=alt.Scale(domain=rows, padding=0), axis=axis)
    legend = alt.Legend(title=title, symbolOpacity=1)
    field = f"{colour_field}:N"
    colour = alt.Color(field, sort=colour_order, legend=legend, scale=value_scale(colour_order, PALETTE))
    shape = alt.Shape(field, sort=colour_order, legend=legend, scale=shape_scale(colour_order))
    common = {"x": x, "y": y, "color": colour}
    if compact:
        common["yOffset"] = alt.YOffset("variant:N", sort=variants, scale=alt.Scale(domain=variants, paddingOuter=0.6))
    base = alt.Chart()
    layers = [
        base.transform_filter("datum.role == 'seed'")
        .mark_point(filled=True, size=16, opacity=0.45, shape="circle")
        .encode(**common, tooltip=tooltips(seeds, [*parts, "seed", "test_collection", "first_stage", "measure", "value"])),
        base.transform_filter("datum.role == 'mean'")
        .mark_point(filled=True, size=75, opacity=1, stroke="white", strokeWidth=0.7)
        .encode(
            **common,
            shape=shape,
            tooltip=tooltips(means, [*parts, "test_collection", "first_stage", "measure", "value", "sd", "n_seeds"]),
        ),
    ]
    fields = tooltips(frame, ["cell", "system", "test_collection", "first_stage", "measure", "value", "sd", "n_seeds"])
    marks = [] if references.empty else sorted(set(zip(references["level"], references["side"], strict=True)))
    dash = alt.StrokeDash("system:N", scale=value_scale(BASELINES, DASHES[1:]), legend=None)
    labels = []
    for level, side in marks:
        layer = base.transform_filter(f"datum.role == 'reference' && datum.level == {level} && datum.side == '{side}'")
        top = -6 - 14 * level
        rule = layer.mark_rule(color=MUTED, strokeWidth=1.3)
        layers.append(rule.encode(x=x, y=alt.value(top - 5), y2=alt.value("height"), strokeDash=dash, tooltip=fields))
        align, shift = ("left", 4) if side == "right" else ("right", -4)
        for halo in ({"stroke": "white", "strokeWidth": 5}, {}):
            text = layer.mark_text(align=align, dx=shift, baseline="middle", color=MUTED, fontSize=11, **halo)
            labels.append(text.encode(x=x, y=alt.value(top), text="label:N", tooltip=fields))
    layers += labels
    layers += _note_layers(notes, width, height)
    return (
        alt.layer(*layers, data=frame)
        .properties(width=width, height=height)
        .facet(
            column=alt.Column("architecture:N", sort=architectures, title=None),
            row=alt.Row("first_stage:N", sort=stages, title=None),
        )
    )


def _variants(students: pd.DataFrame) -> list[str]:
    """Return for each row what sets a cell apart besides strategy and architecture: loss, teacher, what else varies."""
    parts = zip(students["loss"], students["teacher"], _settings(students), strict=True)
    return [joined(*part) for part in parts]


def _references(summary: pd.DataFrame, panels: pd.DataFrame) -> pd.DataFrame:
    """Repeat the baselines' rows in each panel; an untrained system only in its architecture's panels."""
    rows = []
    for panel in panels.drop_duplicates().to_dict("records"):
        found = summary[summary["system"].isin(BASELINES) & (summary["first_stage"] == panel["first_stage"])]
        found = found.sort_values("system", key=lambda column: column.map(BASELINES.index), kind="stable")
        for row in found.to_dict("records"):
            architecture = panel.get("architecture", "")
            if row["system"] == "untrained" and architecture and as_text(row["architecture"]) not in ("", architecture):
                continue
            rows.append({**row, **panel, "role": "reference"})
    return pd.DataFrame(rows)


def _place_labels(references: pd.DataFrame, middle: float) -> None:
    """Add side and level, so that labels lie one above the other and no rule crosses the label of one beside it.

    Labels point inwards. On either side the outermost rule is the tallest, so that its label passes over the others.
    """
    if references.empty:
        return
    references["side"] = ["right" if value < middle else "left" for value in references["value"]]
    references["distance"] = (references["value"] - middle).abs()
    panels = references.sort_values(["side", "distance"], kind="stable").groupby(["architecture", "first_stage"], sort=False)
    references["level"] = panels.cumcount()
    del references["distance"]


def _note_layers(notes: pd.DataFrame, width: int, height: int) -> list[alt.Chart]:
    """Return the layer that writes the notes into their panels, if there are any."""
    if notes.empty:
        return []
    mark = alt.Chart().transform_filter("datum.role == 'note'").mark_text(color=MUTED, fontStyle="italic", fontSize=11)
    return [mark.encode(x=alt.value(width / 2), y=alt.value(height / 2), text="label:N")]


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
    require(per_query, ("cell", "query_id", "value"), "per_query")
    require(summary, ("cell", "mean"), "summary")
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
                "mean:Q",
                title=f"mean {measure}",
                scale=alt.Scale(domain=padded_domain(means["mean"]), nice=False),
                axis=alt.Axis(tickCount=5),
            ),
            y=row,
            color=alt.condition(chosen, alt.value(PALETTE[1]), alt.value(PALETTE[0])),
            size=alt.condition(chosen, alt.value(160), alt.value(80)),
            tooltip=tooltips(means, ["cell", "mean", "sd", "n_seeds"]),
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
    y = alt.Y("value:Q", title=f"{measure} of a query", scale=alt.Scale(domain=padded_domain(per_query["value"], 0.02), nice=False))
    line = alt.Chart().transform_filter("datum.role == 'all'").mark_line(strokeWidth=2, color="#8c8c8c").encode(x=x, y=y)
    dots = alt.Chart().transform_filter("datum.role == 'query'").transform_filter(chosen).mark_point(filled=True, size=24, opacity=0.8)
    name = alt.Chart().transform_filter("datum.role == 'cell'").transform_filter(chosen)
    pooled_name = alt.Chart().transform_filter("datum.role == 'all'").transform_aggregate(rows="count()", groupby=["role"])
    right = alt.layer(
        line,
        dots.encode(x=x, y=y, color=alt.value(PALETTE[1]), tooltip=tooltips(shown, ["cell", *queries, "value"])),
        name.mark_text(align="left", fontWeight="bold", fontSize=12, dy=-9, color=PALETTE[1]).encode(
            x=alt.value(0), y=alt.value(0), text="cell:N"
        ),
        # sorted values rise to the right, so that the corner below them is free
        pooled_name.mark_text(align="right", color=MUTED).encode(
            x=alt.value(width - 6), y=alt.value(height - 12), text=alt.value("grey: all cells")
        ),
    ).properties(width=width, height=height, name="queries")
    return alt.hconcat(left, right, data=frame, spacing=24)


def query_chart(values: pd.DataFrame, *, width: int = 420) -> alt.FacetChart:
    """Draw one mark a query, its value averaged over seeds; one row a system, one panel a first stage.

    Args:
        values: Columns first_stage, row (the system), query_id, value, of one measure.
        width: In pixels.
    """
    require(values, ("first_stage", "row", "query_id", "value", "measure"), "values")
    points = values.groupby(["first_stage", "row", "query_id"], sort=False)["value"].mean().reset_index()
    x = alt.X("value:Q", title=str(values["measure"].iloc[0]))
    marks = alt.Chart(points).mark_tick(opacity=0.4).encode(x=x, y=alt.Y("row:N", sort=None, title=None), tooltip=["query_id", "value"])
    return marks.properties(width=width).facet(row=alt.Row("first_stage:N", title=None))


def surface_chart(
    summary: pd.DataFrame,
    measure: str,
    *,
    collection: str | None = None,
    test_collection: str | None = None,
    cell_width: int = 58,
) -> alt.FacetChart:
    """Draw a mean over strategy and target entropy: a coloured and written number for each; one panel a loss and first stage.

    Args:
        summary: Means of cells; those without a target entropy are not shown.
        measure: Which measure.
        collection: Which training collection; may be left out when the frame holds only one.
        test_collection: Which test collection; likewise.
        cell_width: Of one number, in pixels.

    Returns:
        A faceted chart whose ``data`` is the frame it shows: strategies as the study orders them, from top to bottom.

    Raises:
        ValueError: A column is missing, a choice is not made or unknown, no cell has a target entropy, or two share a place.
    """
    require(summary, SUMMARY_COLUMNS, "summary")
    summary = select(summary, "summary", measure=measure, test_collection=test_collection, collection=collection)
    frame = summary[(summary["system"] == "student") & summary["target_entropy"].notna()].copy()
    if frame.empty:
        raise ValueError("summary holds no trained cell with a target_entropy; nothing to draw")
    parts = [frame[name] for name in ("loss", *varying(frame, ("architecture", "teacher", "augmentation", "cut")))]
    frame["panel"] = [joined(*values) for values in zip(*parts, strict=True)]
    twice = frame[frame.duplicated(["panel", "first_stage", "strategy", "target_entropy"])]
    if len(twice):
        raise ValueError(f"{len(twice)} cells share a place with another, the first is {twice['cell'].iloc[0]!r}")
    frame["text"] = [f"{mean:.3f}".removeprefix("0") for mean in frame["mean"]]
    strategies, entropies = distinct(frame["strategy"]), sorted(set(frame["target_entropy"]))
    low, high = float(frame["mean"].min()), float(frame["mean"].max())
    x = alt.X("target_entropy:O", title="target pairwise entropy (bits)", sort=entropies, axis=alt.Axis(labelAngle=0))
    y = alt.Y("strategy:N", title=None, sort=strategies)
    colour = alt.Color("mean:Q", title=measure, scale=alt.Scale(scheme="viridis", domain=[low, high]))
    ink = alt.condition(f"datum.mean < {(low + high) / 2!r}", alt.value("white"), alt.value("black"))
    base = alt.Chart().encode(x=x, y=y)
    layers = [
        base.mark_rect().encode(color=colour, tooltip=tooltips(frame, SUMMARY_COLUMNS)),
        base.mark_text(fontSize=11).encode(text="text:N", color=ink),
    ]
    return (
        alt.layer(*layers, data=frame)
        .properties(width=cell_width * len(entropies), height=24 * len(strategies))
        .facet(
            column=alt.Column("first_stage:N", sort=distinct(frame["first_stage"]), title=None),
            row=alt.Row("panel:N", sort=distinct(frame["panel"]), title=None),
        )
    )


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
    require(surface, ("strategy", "target_entropy", "mean", "low", "high"), "surface")
    _finite(surface, ["target_entropy"], "surface")
    _bracketed(surface, "mean", "surface")
    frame = _paneled(surface, by, "surface")
    _once(frame, ["panel", "strategy", "target_entropy"], "surface")
    strategies, targets = distinct(frame["strategy"]), sorted(set(frame["target_entropy"]))
    colour, shape = _by_name("strategy", strategies, "strategy", alt.Legend(symbolOpacity=1))

    x = alt.X(
        "target_entropy:Q",
        title="target pairwise entropy (bits)",
        axis=alt.Axis(values=targets, format="~g", labelOverlap=True),
        scale=alt.Scale(domain=padded_domain(frame["target_entropy"]), nice=False),
    )
    scale = alt.Scale(domain=padded_domain(pd.concat([frame["low"], frame["high"]])), nice=False)
    y = alt.Y("mean:Q", title=measure, scale=scale)
    told = tooltips(frame, [*by, "strategy", "target_entropy", "mean", "low", "high"])
    base = alt.Chart()
    layers = [
        base.mark_area(opacity=0.14).encode(x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q", color=colour),
        base.mark_line(strokeWidth=1.6).encode(x=x, y=y, color=colour),
        base.mark_point(filled=True, size=60, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=told),
    ]
    return _facet(layers, frame, width, height, _fitting(width, frame["panel"].nunique(), 70 + _beside(strategies) + 40))


# --- systems against each other ---------------------------------------------------------------------------------------


def split_rows(contrasts: pd.DataFrame, limit: int = 60) -> dict[str, pd.DataFrame]:
    """Split contrasts into parts that a forest chart can show: one a family, and where that is too long one an architecture, loss ...

    Args:
        contrasts: Differences, or contrasts across collections.
        limit: The most lines of one chart, over all of its panels; a single contrast may have more.

    Returns:
        The parts by name, in order of appearance: the family, and what else a part was split by.

    >>> frame = pd.DataFrame({"family": ["strategy"] * 3, "architecture": ["static", "static", "cross"]})
    >>> frame = frame.assign(contrast=["a - b", "c - b", "a - b"], loss="lce", teacher="", strategy="a", cut="all", augmentation="none")
    >>> frame = frame.assign(temperature=1.0, target_entropy=float("nan"))
    >>> {name: len(part) for name, part in split_rows(frame, limit=2).items()}
    {'strategy static': 2, 'strategy cross': 1}
    """
    require(contrasts, ("family", "contrast", *DIMENSIONS), "contrasts")
    parts = dict(iter(contrasts.groupby("family", sort=False)))
    for column in ("architecture", "loss", "teacher", "contrast"):
        split: dict[str, pd.DataFrame] = {}
        for name, part in parts.items():
            lines = _lines(part)
            if lines["comparison"].nunique() * lines["row"].nunique() <= limit:
                split[name] = part
            else:
                split |= {" ".join([name, *distinct([value])]): own for value, own in part.groupby(column, sort=False)}
        parts = split
    return parts


def _lines(contrasts: pd.DataFrame) -> pd.DataFrame:
    """Add ``comparison`` (the panel) and ``row`` (the line in it), which tell the contrasts of one family apart."""
    family = str(contrasts["family"].iloc[0])
    contrast, architecture, loss, teacher = (contrasts[name] for name in ("contrast", "architecture", "loss", "teacher"))
    panel, line = (architecture, loss, teacher), (contrast, contrasts["strategy"])
    if family == "loss":
        panel, line = (architecture, contrast, teacher), (contrasts["strategy"],)
    elif family == "strategy":
        line = (contrast,)
    elif family == "teacher":
        panel = (architecture, loss)
    elif family == "strategy x loss":  # the contrast of strategies, then that of losses
        parts = contrast.str.partition(", ")
        panel, line = (architecture, parts[2], teacher), (parts[0],)
    settings = _settings(contrasts, but=family)
    return contrasts.assign(
        comparison=[joined(*parts) for parts in zip(*panel, strict=True)],
        row=[joined(*parts) for parts in zip(*line, settings, strict=True)],
    )


def forest_chart(
    differences: pd.DataFrame,
    *,
    measure: str | None = None,
    collection: str | None = None,
    test_collection: str | None = None,
    family: str | None = None,
    equivalence_margin: float | None = None,
    width: int = 300,
) -> alt.FacetChart:
    """Draw each paired difference with its interval, the zero rule and the shaded band of the equivalence margin.

    One column of panels a first stage, one row an architecture, loss and teacher (of the family of losses, the contrast); contrasts, or
    strategies, down the side, largest mean difference first. Colour and shape both tell the verdict. With more than about 60 lines pass
    the parts of :func:`split_rows`.

    Args:
        differences: One row a comparison.
        measure: Which measure; may be left out when the frame holds only one.
        collection: Which training collection; likewise.
        test_collection: Which test collection; likewise.
        family: Which family of contrasts; likewise.
        equivalence_margin: Which margin, in units of the measure; likewise.
        width: Of one panel, in pixels.

    Returns:
        A faceted chart whose ``data`` is the frame it shows.

    Raises:
        ValueError: A column is missing, a choice is not made or unknown, or a verdict is unknown.
    """
    require(differences, DIFFERENCE_COLUMNS, "differences")
    choices = {"measure": measure, "test_collection": test_collection, "collection": collection, "family": family}
    differences = select(differences, "differences", **choices, equivalence_margin=equivalence_margin)
    differences, legend = _plain_verdicts(differences)
    _known(differences["verdict"], VERDICTS, "verdict")
    margin = float(differences["equivalence_margin"].iloc[0])
    frame = differences[list(DIFFERENCE_COLUMNS)].assign(margin_low=-margin, margin_high=margin)
    name = measure or str(frame["measure"].iloc[0])
    title = [f"difference in {name}", f"(shaded: ±{margin:g})"]
    return _contrasts(frame, "difference", "verdict", VERDICTS, title, tooltips(frame, DIFFERENCE_COLUMNS), width, legend)


def across_chart(across: pd.DataFrame, *, measure: str | None = None, family: str | None = None, width: int = 300) -> alt.FacetChart:
    """Draw each contrast's mean difference over collections with its t interval; colour and shape tell whether it excludes 0.

    Panels and lines are those of :func:`forest_chart`; with more than about 60 lines, or several families, pass the parts of
    :func:`split_rows`.

    Args:
        across: One row a contrast and first stage.
        measure: Which measure; may be left out when the frame holds only one.
        family: Which family of contrasts; likewise.
        width: Of one panel, in pixels.

    Returns:
        A faceted chart whose ``data`` is the frame it shows.

    Raises:
        ValueError: A column is missing, or a choice is not made or unknown.
    """
    require(across, ACROSS_COLUMNS, "across")
    across = select(across, "across", measure=measure, family=family)
    excludes = (across["low"] > 0) | (across["high"] < 0)
    interval = np.where(across["low"].isna(), "one collection", np.where(excludes, "excludes 0", "holds 0"))
    title = [f"mean difference in {across['measure'].iloc[0]}", "over collections"]
    frame = across.assign(interval=interval)
    return _contrasts(frame, "mean", "interval", INTERVALS, title, tooltips(frame, ACROSS_COLUMNS), width, "interval")


def _contrasts(
    frame: pd.DataFrame,
    value: str,
    kind: str,
    kinds: Mapping[str, tuple[str, str]],
    title: list[str],
    tooltip: list[alt.Tooltip],
    width: int,
    legend: str,
) -> alt.FacetChart:
    """Draw values with their intervals, line by line and panel by panel; ``kinds`` gives each value of ``kind`` a colour and a shape."""
    frame = _lines(frame).assign(role="comparison")
    rows = _line_order(frame, value)
    colour, shape = _by_kind(kind, kinds, frame[kind], legend)
    x = alt.X(f"{value}:Q", title=title, axis=alt.Axis(tickCount=5))
    y = alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(grid=True))
    stages, panels = distinct(frame["first_stage"]), distinct(frame["comparison"])
    notes = empty_panels(frame, "comparison", "first_stage")
    height = 18 * len(rows) + 8
    frame = pd.concat([frame, notes], ignore_index=True) if len(notes) else frame
    shown = alt.Chart().transform_filter("datum.role == 'comparison'")
    band = []
    if "margin_low" in frame.columns:
        once = shown.transform_aggregate(rows="count()", groupby=["margin_low", "margin_high"])
        band = [once.mark_rect(color=BAND, opacity=0.8).encode(x=alt.X("margin_low:Q"), x2="margin_high:Q")]
    layers = [
        *band,
        shown.transform_aggregate(rows="count()", groupby=["role"]).mark_rule(color=INK, strokeWidth=1).encode(x=alt.datum(0)),
        shown.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=colour, tooltip=tooltip),
        shown.mark_point(filled=True, size=75, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip),
        *_note_layers(notes, width, height),
    ]
    header = alt.Header(labelAngle=0, labelAnchor="start", labelOrient="top", labelPadding=-12)
    return (
        alt.layer(*layers, data=frame)
        .properties(width=width, height=height)
        .facet(
            column=alt.Column("first_stage:N", sort=stages, title=None),
            row=alt.Row("comparison:N", sort=panels, title=None, header=header),
            spacing={"row": 18, "column": 14},
        )
    )


def _line_order(frame: pd.DataFrame, value: str) -> list[str]:
    """Return the lines of a forest, largest mean first; lines of one contrast stay together."""
    block = "family" if frame["family"].iloc[0] in ("loss", "strategy x loss") else "contrast"
    means = frame.assign(block=frame.groupby(block)[value].transform("mean"), line=frame.groupby("row")[value].transform("mean"))
    return distinct(means.sort_values(["block", "line"], ascending=False, kind="stable")["row"])


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
    require(pairs, ("system_a", "system_b", *measured), "pairs")
    _finite(pairs, ["difference"], "pairs")
    pairs, judged = _plain_verdicts(pairs)
    _known(pairs["verdict"], VERDICTS, "verdict")
    systems = list(order) if order is not None else distinct([*pairs["system_a"], *pairs["system_b"]])
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
    colour, shape = _by_kind("verdict", VERDICTS, pairs["verdict"], f"{judged} (row minus column)")
    legend = alt.Legend(orient="bottom", direction="horizontal", titleLimit=300)
    colour, shape = (channel.legend(legend) for channel in (colour, shape))
    dark = [name for name, ink in _INKS.items() if ink == INK]
    ink = alt.condition(" || ".join(f"datum.verdict == '{name}'" for name in dark), alt.value(INK), alt.value("white"))
    pair = alt.Chart().transform_filter("datum.role == 'pair'").encode(x=x, y=y)
    system = alt.Chart().transform_filter("datum.role == 'name'").encode(x=x, y=y)
    half = width // 2
    layers = [
        pair.mark_rect().encode(color=colour, tooltip=tooltips(frame, [*by, "row", "column", *measured])),
        pair.mark_point(filled=True, size=30, opacity=1, yOffset=-7).encode(shape=shape, fill=ink),
        pair.mark_text(dy=7, fontSize=11 if width >= 40 else 9.5).encode(text="text:N", color=ink),
        system.mark_text(align="right", dx=half - 8 if letters is None else 6 - half, fontSize=12).encode(text="row:N"),
        system.mark_text(align="left", angle=320, fontSize=12, limit=160).encode(y=alt.value(-8), text="row:N"),
    ]
    if letters is not None:
        told = tooltips(named, [*by, "row", "letters"])
        layers.append(system.mark_text(fontSize=12, fontWeight="bold", color=PALETTE[0]).encode(text="letters:N", tooltip=told))
    longest = _beside(table["panel"], WIDEST - 40)
    columns = _fitting(max(width * n, longest), len(panels), 110 + beside, 40 + beside)
    return _facet(layers, table, width * n, height * n, columns, framed=False, title=longest)


def _lettered(named: pd.DataFrame, letters: Mapping[str, str] | pd.DataFrame | None, by: Sequence[str]) -> pd.DataFrame:
    """Add each system's letters."""
    if letters is None:
        return named
    if isinstance(letters, pd.DataFrame):
        require(letters, ("system", "letters", *by), "letters")
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


# --- groups and teachers ----------------------------------------------------------------------------------------------


def rank_chart(ranks: pd.DataFrame, *, width: int = 420, height: int = 180) -> alt.Chart:
    """Draw how many negatives stand at which rank among their query's candidates.

    Args:
        ranks: Column rank; rows without one (documents from elsewhere) are left out.
        width: In pixels.
        height: In pixels.
    """
    require(ranks, ("rank",), "ranks")
    found = ranks["rank"].dropna().to_numpy(dtype=float)
    step = max(1, int(np.ceil(found.max(initial=1.0) / 20)))
    edges = np.arange(1, found.max(initial=1.0) + step + 1, step)
    bars = pd.DataFrame({"first": edges[:-1], "after": edges[1:], "negatives": np.histogram(found, bins=edges)[0]})
    x = alt.X("first:Q", bin="binned", title="rank among the candidates")
    chart = alt.Chart(bars).mark_bar(color=PALETTE[0]).encode(x=x, x2="after:Q", y=alt.Y("negatives:Q", title="negatives"))
    return chart.properties(width=width, height=height)


def score_chart(teacher_scores: np.ndarray, *, groups: int = 250, width: int = 420, height: int = 180) -> alt.Chart:
    """Draw the distributions of a teacher's scores of labelled positives and of negatives, each scaled to the same area.

    Args:
        teacher_scores: (n_groups, group_size), the positive in column 0.
        groups: How many groups are shown, spread evenly over those there are.
        width: In pixels.
        height: In pixels.
    """
    shown = teacher_scores[:: -(-len(teacher_scores) // groups)]
    role = np.where(np.arange(shown.size) % shown.shape[1] == 0, "positive", "negative")
    frame = pd.DataFrame({"role": role, "score": shown.ravel().round(3)})
    density = alt.Chart(frame).transform_density("score", groupby=["role"], as_=["score", "density"]).mark_area(opacity=0.5)
    encoding = {"x": alt.X("score:Q", title="teacher score"), "y": alt.Y("density:Q", title="density")}
    return density.encode(**encoding, color=alt.Color("role:N", title=None)).properties(width=width, height=height)


def temperature_chart(dial: pd.DataFrame, *, width: int = 420, height: int = 200) -> alt.Chart:
    """Draw mean entropies against the temperature.

    Args:
        dial: Index temperature; one column an entropy.
        width: In pixels.
        height: In pixels.
    """
    long = dial.rename_axis("temperature").reset_index().melt("temperature", var_name="which", value_name="entropy")
    x = alt.X("temperature:Q", scale=alt.Scale(type="log"), title="temperature")
    encoding = {"y": alt.Y("entropy:Q", title="mean entropy"), "color": alt.Color("which:N", title=None)}
    return alt.Chart(long).mark_line(point=True).encode(x=x, **encoding).properties(width=width, height=height)


def entropy_chart(entropy: pd.DataFrame, *, collection: str | None = None, width: int = 220) -> alt.FacetChart:
    """Draw the three mean entropies per strategy and teacher, each in a panel of its own, on one axis from 0 to 1.

    Args:
        entropy: Columns strategy, teacher, pairwise_entropy, positive_entropy, listwise_entropy (all in [0, 1]), and a
            temperature that sets rows apart and a training collection if there is one.
        collection: Which training collection; may be left out when the frame holds only one.
        width: Of one panel, in pixels.

    Returns:
        A faceted chart whose ``data`` is the frame in long form: one row a strategy, teacher and kind of entropy.

    Raises:
        ValueError: A column is missing, or a value is outside [0, 1].
    """
    require(entropy, ("strategy", "teacher", *ENTROPIES), "entropy")
    entropy = choose(entropy, "collection", collection, "entropy") if "collection" in entropy.columns else entropy
    teachers = entropy["teacher"].map(as_text)
    if varying(entropy, ["temperature"]):
        teachers = [joined(name, f"T={plain_number(t)}") for name, t in zip(teachers, entropy["temperature"], strict=True)]
    keep = [column for column in entropy.columns if column not in ENTROPIES]
    frame = entropy.assign(label=teachers).melt([*keep, "label"], list(ENTROPIES), "entropy", "value")
    outside = frame[~frame["value"].between(0, 1 + 1e-9) & frame["value"].notna()]
    if not outside.empty:
        first = outside.iloc[0]
        raise ValueError(
            f"{len(outside)} entropies lie outside [0, 1], the first is {first['entropy']} = {first['value']:g} of "
            f"{first['strategy']}; divide a listwise entropy by log2 of the group size"
        )
    frame["kind"] = frame["entropy"].map(ENTROPIES)
    labels, strategies = distinct(frame["label"]), distinct(frame["strategy"])
    height = len(strategies) * (12 + 11 * len(labels))
    chart = (
        alt.Chart(frame)
        .mark_point(filled=True, size=75, opacity=1)
        .encode(
            x=alt.X("value:Q", title="mean entropy", scale=alt.Scale(domain=[0, 1])),
            y=alt.Y(
                "strategy:N",
                sort=strategies,
                title=None,
                scale=alt.Scale(domain=strategies, padding=0),
                axis=alt.Axis(tickBand="extent", grid=True),
            ),
            yOffset=alt.YOffset("label:N", sort=labels, scale=alt.Scale(domain=labels, paddingOuter=0.6)),
            color=alt.Color("label:N", sort=labels, title="teacher", scale=value_scale(labels, PALETTE)),
            shape=alt.Shape("label:N", sort=labels, title="teacher", scale=shape_scale(labels)),
            tooltip=tooltips(frame, [*keep, "entropy", "value"]),
        )
        .properties(width=width, height=height)
    )
    return chart.facet(column=alt.Column("kind:N", sort=list(ENTROPIES.values()), title=None))


def locality_chart(
    descriptions: pd.DataFrame, *, entropy: str = "pairwise_entropy", collection: str | None = None, width: int = 340, height: int = 320
) -> alt.FacetChart:
    """Draw how wide training groups are against how undecided the teacher is about them, one labelled mark a strategy.

    Where augmentation or a solved temperature changes the groups, a line leads from what they are before (hollow, labelled with the
    strategy) to what training sees (filled, labelled with what changed them). One panel a teacher.

    Args:
        descriptions: One row a strategy, teacher, augmentation, part of the queries, dial and state.
        entropy: Which of the three entropies.
        collection: Which training collection; may be left out when the frame holds only one.
        width: Of one panel, in pixels.
        height: Of one panel, in pixels.

    Returns:
        A faceted chart whose ``data`` is the frame it shows; of labels that would lie on one another only the first is not empty.

    Raises:
        ValueError: A column is missing, the choice is not made or unknown, or the entropy is unknown or of no group.
    """
    if entropy not in ENTROPIES:
        raise ValueError(f"unknown entropy {entropy!r}{nearest(entropy, ENTROPIES)}")
    require(descriptions, (*DESCRIPTION_COLUMNS, entropy), "descriptions")
    frame = choose(descriptions, "collection", collection, "descriptions")
    frame = frame[frame[entropy].notna()]
    if frame.empty:
        raise ValueError(f"descriptions holds no {entropy}; it needs a teacher")
    after, settings = frame["state"] == "after", pd.Series(_settings(frame), frame.index)
    whole = pd.Series([joined(*parts) for parts in zip(frame["strategy"], settings, strict=True)], frame.index)
    moved = whole.isin(set(whole[after]))
    frame = frame.rename(columns={entropy: "entropy"}).assign(name=whole, order=after.astype(int))
    frame["label"] = settings.where(after, frame["strategy"].where(moved, whole))
    frame.loc[frame.round(4).duplicated(["teacher", "label", "diameter_q99", "entropy"]), "label"] = ""
    strategies, states = distinct(frame["strategy"]), [state for state in ("before", "after") if state in set(frame["state"])]
    x = alt.X(
        "diameter_q99:Q",
        title="mean diameter (0.99-quantile of distances)",
        scale=alt.Scale(domain=padded_domain(frame["diameter_q99"], 0.12)),
    )
    y = alt.Y("entropy:Q", title=f"mean entropy, {ENTROPIES[entropy]}", scale=alt.Scale(domain=padded_domain(frame["entropy"], 0.08)))
    scales = value_scale(strategies, PALETTE), shape_scale(strategies)
    colour = alt.Color("strategy:N", sort=strategies, title="strategy", scale=scales[0])
    shape = alt.Shape("strategy:N", sort=strategies, title="strategy", scale=scales[1])
    fill = alt.Fill("strategy:N", sort=strategies, title="strategy", scale=scales[0])
    opacity = alt.FillOpacity("state:N", sort=states, title="state", scale=alt.Scale(domain=["before", "after"], range=[0.0, 1.0]))
    measured = ["diameter_q99", "diameter", "mean_distance", "entropy", "density_ratio", "coverage", "solved_temperature"]
    tooltip = tooltips(frame, ["strategy", "teacher", *SETTINGS, "state", *measured])
    base = alt.Chart().encode(x=x, y=y)
    marks = base.mark_point(size=70, opacity=1)
    layers = [
        base.mark_line(strokeWidth=1, opacity=0.6).encode(color=colour, detail="name:N", order="order:Q"),
        marks.encode(color=colour, shape=shape, fill=fill, fillOpacity=opacity, tooltip=tooltip),
        base.transform_filter("datum.label != ''").mark_text(dy=-10, fontSize=10, color=INK).encode(text="label:N"),
    ]
    column = alt.Column("teacher:N", sort=distinct(frame["teacher"]), title=None)
    return alt.layer(*layers, data=frame).properties(width=width, height=height).facet(column=column)


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
    require(groups, ("query_id", "strategy", entropy, "diameter_q99", "query", "documents"), "groups")
    if max_groups < 1 or n_listed < 1:
        raise ValueError(f"max_groups is {max_groups}, n_listed {n_listed}; expected at least 1 of each")
    _finite(groups, [entropy, "diameter_q99"], "groups")
    kept = np.unique(np.linspace(0, len(groups) - 1, min(max_groups, len(groups))).round().astype(int))
    columns = ["query_id", "strategy", entropy, "diameter_q99", "query", "documents", *(["value"] if "value" in groups.columns else [])]
    frame = groups.iloc[kept][columns].rename(columns={entropy: "entropy"}).reset_index(drop=True)
    strategies = distinct(frame["strategy"])
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
                "diameter_q99:Q",
                title="diameter q99 (cosine distance)",
                scale=alt.Scale(domain=padded_domain(frame["diameter_q99"]), nice=False),
            ),
            y=alt.Y("entropy:Q", title=title, scale=alt.Scale(domain=padded_domain(frame["entropy"]), nice=False)),
            color=colour,
            shape=shape,
            opacity=alt.condition(brush, alt.value(0.75), alt.value(0.08)),
            tooltip=tooltips(frame, tip),
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
        .encode(y=place, tooltip=tooltips(frame, tip))
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


# --- training and students --------------------------------------------------------------------------------------------


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
    lines_of = [name for name in ("cell", "seed") if name in history.columns]
    left = (
        history.groupby(lines_of, sort=False).cumcount(ascending=False) if lines_of else pd.Series(range(len(history))[::-1], history.index)
    )
    longest = int(left.max()) + 1 if len(left) else 0
    history = history[left % max(1, -(-longest // points)) == 0]
    encoding: dict[str, Any] = {
        "x": alt.X("step:Q", title="optimiser step", axis=alt.Axis(tickCount=5)),
        "y": alt.Y("loss:Q", title="training loss", scale=alt.Scale(zero=False)),
        "tooltip": tooltips(history, list(history.columns)),
    }
    cells = distinct(history["cell"]) if "cell" in history.columns else []
    lines = alt.Chart(history).mark_line(strokeWidth=1.4, opacity=0.85, clip=True)
    header = alt.Header(labelLimit=width // 2, labelFontSize=11)
    if len(cells) > 24 and {"strategy", "recipe"} <= set(history.columns):
        strategies = distinct(history["strategy"])
        colour = alt.Color("strategy:N", sort=strategies, title="strategy", scale=value_scale(strategies, PALETTE))
        panel = lines.encode(**encoding, color=colour, detail=["cell:N", "seed:N"]).properties(width=width // 2, height=150)
        facet = alt.Facet("recipe:N", sort=distinct(history["recipe"]), title=None, columns=2, header=header)
        return panel.encode(facet=facet).resolve_scale(x="independent", y="independent")  # budgets differ between architectures
    if "seed" in history.columns:
        encoding["detail"] = "seed:N"
    if len(cells) > 6:
        panel = lines.encode(**encoding, color=alt.value(PALETTE[0])).properties(width=width // 2, height=110)
        facet = alt.Facet("cell:N", sort=cells, title=None, columns=2, header=header)
        return panel.encode(facet=facet).resolve_scale(y="independent")
    if cells:
        legend = alt.Legend(symbolStrokeWidth=2, symbolSize=300)
        encoding["color"] = alt.Color("cell:N", sort=cells, title="cell", scale=value_scale(cells, PALETTE), legend=legend)
        encoding["strokeDash"] = alt.StrokeDash("cell:N", sort=cells, title="cell", scale=value_scale(cells, DASHES))
    return lines.encode(**encoding).properties(width=width, height=height, name="losses").add_params(_zoom())


def _zoom() -> alt.Parameter:
    """Return a selection that drags the axes, and zooms them by shift and wheel, so that the page still scrolls."""
    return alt.selection_interval(name="zoom", bind="scales", zoom="wheel![event.shiftKey]")


def behaviour_chart(table: pd.DataFrame, *, width: int = 0, height: int = 110) -> Any:
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
    _finite(table, ["value"], "table")
    _known(table["state"], STATES, "state")
    keys = ["quantity", "recipe", "strategy"]
    _once(table, [*keys, "state"], "table")
    sizes = table.groupby(keys, sort=False)["state"].size()
    if (sizes != 2).any():
        lone = sizes[sizes != 2]
        raise ValueError(f"{len(lone)} of {len(sizes)} lines of the table lack a state, the first is that of {lone.index[0]}; a line leads "
                         "from before to after")  # fmt: skip
    recipes, quantities, strategies = (distinct(table[name]) for name in ("recipe", "quantity", "strategy"))
    notes = empty_panels(table, "recipe", "quantity").reindex(columns=["recipe", "quantity", "role", "label"])
    frame = pd.concat([table.assign(role="value"), notes], ignore_index=True) if len(notes) else table.assign(role="value")
    width = width or max(80, (WIDEST - 30) // min(3, len(quantities)) - 70)
    states = list(STATES)
    legend = alt.Legend(orient="bottom", columns=6, titleOrient="top")
    colour, shape = _by_name("strategy", strategies, "strategy", legend)
    fill = alt.Fill("strategy:N", sort=strategies, title="strategy", scale=value_scale(strategies, PALETTE), legend=legend)
    hollow = alt.condition("datum.state == 'before'", alt.value(0.0), alt.value(1.0))
    parts = []
    for quantity in quantities:
        base = alt.Chart().transform_filter("datum.role == 'value'")
        axis = alt.Axis(labelAngle=0)
        x = alt.X("state:N", sort=states, title=None, scale=alt.Scale(domain=states, padding=0.35), axis=axis)
        values = table.loc[table["quantity"] == quantity, "value"]
        y = alt.Y("value:Q", title=None, scale=alt.Scale(domain=padded_domain(values, 0.1), nice=False), axis=alt.Axis(tickCount=4))
        told = tooltips(table, ["strategy", "recipe", "state", "quantity", "value"])
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
    return alt.concat(*parts, columns=3, spacing=12)  # the frame that they share moves to the top


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
    require(bins, ("mean_student", "mean_teacher", "n_pairs", "state"), "bins")
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
    told = tooltips(frame, [*by, "state", "mean_student", "mean_teacher", "n_pairs"])
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
    require(table, ("x", "y", "spearman", "low", "high"), "table")
    _bracketed(table, "spearman", "table")
    frame = _paneled(table, by, "table")
    frame["row"] = frame["label"] if "label" in frame else [f"{x} ~ {y}" for x, y in zip(frame["x"], frame["y"], strict=True)]
    _once(frame, ["panel", "row"], "table")
    frame["interval"] = np.where((frame["low"] > 0) | (frame["high"] < 0), "excludes 0", "holds 0")
    axis = alt.X("spearman:Q", title="Spearman correlation", scale=alt.Scale(domain=[-1, 1]), axis=alt.Axis(tickCount=5, format="~g"))
    told = tooltips(frame, [*by, "x", "y", "spearman", "low", "high"])
    return _forest(frame, axis, INTERVALS, told, width)


def _forest(frame: pd.DataFrame, x: alt.X, kinds: Mapping[str, tuple[str, str]], told: list[alt.Tooltip], width: int) -> Any:
    """Draw the values of ``row`` with their intervals and the zero rule, in panels; ``interval`` gives colour and mark."""
    rows = distinct(frame["row"])
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


def error_rate_chart(
    rates: pd.DataFrame,
    *,
    by: Sequence[str] = ("true_difference",),
    title: str = "rate over simulations",
    width: int = 220,
    height: int = 200,
) -> Any:
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
    _finite(rates, ["n_queries", *by], "rates")
    _bracketed(rates, "rate", "rates")
    frame = _paneled(rates, by, "rates")
    _once(frame, ["panel", "rule", "n_queries"], "rates")
    frame["nominal"] = ["" if pd.isna(value) else "expected rate" for value in frame["expected"]]
    rules, numbers = distinct(frame["rule"]), sorted(set(frame["n_queries"]))
    legend = alt.Legend(orient="bottom", columns=3, symbolSize=120)
    colour, shape = _by_name("rule", rules, "rule", legend)
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
    require(summary, ("rule", "left_out", "regret", "low", "high"), "summary")
    _bracketed(summary, "regret", "summary")
    frame = _paneled(summary, ["left_out"], "summary").assign(row=summary["rule"])
    frame["panel"] = "left out: " + frame["panel"]
    _once(frame, ["panel", "row"], "summary")
    rules = distinct(frame["rule"])
    colour, shape = _by_name("rule", rules, "rule", None)
    y = alt.Y("row:N", sort=rules, title=None, scale=alt.Scale(domain=rules), axis=alt.Axis(grid=True))
    x = alt.X("regret:Q", title=f"regret in {measure}", axis=alt.Axis(tickCount=5))
    told = tooltips(frame, ["rule", "left_out", "regret", "low", "high"])
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
    require(points, ("strategy", "loss", "value", "sd", cost, "on_frontier"), "points")
    _finite(points, ["value"], "points")
    _positive(points, cost, "points")
    if not pd.api.types.is_bool_dtype(points["on_frontier"]):
        raise ValueError(f"on_frontier of points is {points['on_frontier'].dtype}; expected True or False in every row")
    frame = _paneled(points, by, "points").rename(columns={cost: "cost"})
    frame["low"], frame["high"] = frame["value"] - frame["sd"], frame["value"] + frame["sd"]
    frame["name"] = (
        frame["cell"] if "cell" in frame.columns else [joined(s, n) for s, n in zip(frame["strategy"], frame["loss"], strict=True)]
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
    strategies, losses = distinct(frame["strategy"]), distinct(frame["loss"])
    ends = pd.concat([frame["value"], frame["low"].dropna(), frame["high"].dropna()])
    x = alt.X("cost:Q", title=f"{COSTS.get(cost, cost)}, log scale", scale=scale, axis=_log_axis(*domain))
    y = alt.Y("value:Q", title=measure, scale=alt.Scale(domain=padded_domain(ends), nice=False))
    only = {name: alt.selection_point(name=f"only_{name}", fields=[name], bind="legend") for name in ("strategy", "loss")}
    opacity = alt.condition(only["strategy"] & only["loss"], alt.value(0.95), alt.value(0.08))
    colour = alt.Color("strategy:N", sort=strategies, title="strategy", scale=value_scale(strategies, PALETTE))
    shape = alt.Shape("loss:N", sort=losses, title="loss", scale=shape_scale(losses))
    label = alt.Scale(domain=["no cheaper choice is better"], range=[[5, 3]])
    dash = alt.StrokeDash("frontier:N", title="frontier", scale=label, legend=alt.Legend(symbolSize=300))
    told = tooltips(frame, [*by, "name", "strategy", "loss", "value", "sd", "cost", "on_frontier"])
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
    require(terms, ("name", "value", "kind", "vacuous"), "terms")
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
    names = distinct(frame["name"])
    colour, shape = _by_kind("kind", BOUND_KINDS, frame["kind"], "kind")
    x = alt.X("value:Q", title=f"{title}, log scale", scale=scale, axis=_log_axis(low, high * ratio**0.4, scientific=True))
    y = alt.Y("name:N", sort=names, title=None, scale=alt.Scale(domain=names), axis=alt.Axis(grid=True, labelLimit=300))
    base = alt.Chart()
    trivial = base.transform_filter("datum.kind == 'trivial'").transform_aggregate(smallest="min(value)", groupby=["kind"])
    told = tooltips(frame, ["name", "kind", "value", "vacuous"])
    layers = [
        trivial.mark_rule(color=MUTED, strokeDash=[4, 3]).encode(x=alt.X("smallest:Q")),
        base.mark_point(filled=True, size=110, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=told),
        base.transform_filter("datum.vacuous").mark_point(filled=True, size=25, opacity=1, color="white").encode(x=x, y=y, shape=shape),
        *(base.mark_text(align="left", dx=10, **halo).encode(x=x, y=y, text="text:N") for halo in _HALO),
    ]
    return _facet(layers, frame, width, 26 * len(names) + 8, 1)


CHARTS = {
    "effectiveness": effectiveness_chart,
    "cells": cells_chart,
    "query": query_chart,
    "surface": surface_chart,
    "simple_effects": simple_effects_chart,
    "forest": forest_chart,
    "across": across_chart,
    "matrix": matrix_chart,
    "rank": rank_chart,
    "score": score_chart,
    "temperature": temperature_chart,
    "entropy": entropy_chart,
    "locality": locality_chart,
    "queries": queries_chart,
    "behaviour": behaviour_chart,
    "calibration": calibration_chart,
    "correlation": correlation_chart,
    "search": search_chart,
    "learning": learning_chart,
    "pareto": pareto_chart,
    "error_rate": error_rate_chart,
    "regret": regret_chart,
    "bound": bound_chart,
}

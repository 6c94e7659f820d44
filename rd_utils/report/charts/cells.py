"""Charts of cells and their effectiveness."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd
from scipy import stats as distributions

from rd_utils.report.charts.shared import beside_names, bracketed, by_name, facet, finite, fitting, hint, once_each, paneled, settings_of
from rd_utils.report.drawing import (
    BASELINES,
    DASHES,
    DIMENSIONS,
    INK,
    MUTED,
    PALETTE,
    PLACE,
    RESULT_COLUMNS,
    SUMMARY_COLUMNS,
    as_text,
    distinct,
    empty_panels,
    joined,
    padded_domain,
    require,
    select,
    shape_scale,
    tooltips,
    value_scale,
    varying,
)


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
    students = _students(summary)
    variants, strategies = distinct(students["variant"]), distinct(students["strategy"])
    stages, architectures = distinct(students["first_stage"]), distinct(students["architecture"])
    compact = len(variants) <= len(PALETTE)
    position = {name: index for index, name in enumerate(strategies)}
    students = students.sort_values("strategy", key=lambda column: column.map(position), kind="stable")
    seeds = _seeds(results, students)
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
    x = alt.X("value:Q", title=measure or str(means["measure"].iloc[0]), scale=alt.Scale(domain=domain, nice=False))
    layers = _cell_marks(means, seeds, x, variants if compact else [], strategies)
    layers += _reference_marks(references, x, tooltips(frame, ["cell", "system", *PLACE[1:], "value", "sd", "n_seeds"]))
    layers += _note_layers(notes, width, height)
    return (
        alt.layer(*layers, data=frame)
        .properties(width=width, height=height)
        .facet(
            column=alt.Column("architecture:N", sort=architectures, title=None),
            row=alt.Row("first_stage:N", sort=stages, title=None),
        )
    )


def _seeds(results: pd.DataFrame, students: pd.DataFrame) -> pd.DataFrame:
    """Return one row a seed of the cells' students, with what is known of its cell."""
    seeds = results.loc[results["system"] == "student", ["cell", "seed", "first_stage", "test_collection", "measure", "value"]]
    cells = students[["cell", "system", *DIMENSIONS, "variant", "row"]].drop_duplicates("cell")
    return seeds.merge(cells, on="cell").assign(role="seed")


def _students(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the trained cells, what sets them apart besides the strategy, and the line that each has."""
    students = summary[summary["system"] == "student"].copy()
    if students.empty:
        raise ValueError(f"summary has no row with system 'student' among {len(summary)} rows; nothing to draw")
    students["variant"] = _variants(students)
    if len(distinct(students["variant"])) <= len(PALETTE):
        return students.assign(row=students["strategy"])
    return students.assign(row=[joined(*names) for names in zip(students["strategy"], students["variant"], strict=True)])


def _cell_marks(means: pd.DataFrame, seeds: pd.DataFrame, x: alt.X, variants: list[str], strategies: list[str]) -> list[alt.Chart]:
    """Return the seeds' and the means' marks, which tell variants apart, or strategies where every variant has a line of its own."""
    rows, parts = distinct(means["row"]), ["cell", "system", *DIMENSIONS, "variant", "row"]
    colour_field, colour_order = ("variant", variants) if variants else ("strategy", strategies)
    title = "loss · teacher" if variants else "strategy"
    axis = alt.Axis(tickBand="extent" if variants else "center", grid=True)
    y = alt.Y("row:N", sort=rows, title=None, scale=alt.Scale(domain=rows, padding=0), axis=axis)
    legend = alt.Legend(title=title, symbolOpacity=1)
    field = f"{colour_field}:N"
    colour = alt.Color(field, sort=colour_order, legend=legend, scale=value_scale(colour_order, PALETTE))
    shape = alt.Shape(field, sort=colour_order, legend=legend, scale=shape_scale(colour_order))
    common = {"x": x, "y": y, "color": colour}
    if variants:
        common["yOffset"] = alt.YOffset("variant:N", sort=variants, scale=alt.Scale(domain=variants, paddingOuter=0.6))
    base = alt.Chart()
    return [
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


def _reference_marks(references: pd.DataFrame, x: alt.X, told: list[alt.Tooltip]) -> list[alt.Chart]:
    """Return the baselines' rules, then what they are called, above the panels."""
    marks = [] if references.empty else sorted(set(zip(references["level"], references["side"], strict=True)))
    dash = alt.StrokeDash("system:N", scale=value_scale(BASELINES, DASHES[1:]), legend=None)
    base, rules, labels = alt.Chart(), [], []
    for level, side in marks:
        layer = base.transform_filter(f"datum.role == 'reference' && datum.level == {level} && datum.side == '{side}'")
        top = -6 - 14 * level
        rule = layer.mark_rule(color=MUTED, strokeWidth=1.3)
        rules.append(rule.encode(x=x, y=alt.value(top - 5), y2=alt.value("height"), strokeDash=dash, tooltip=told))
        align, shift = ("left", 4) if side == "right" else ("right", -4)
        for halo in ({"stroke": "white", "strokeWidth": 5}, {}):
            text = layer.mark_text(align=align, dx=shift, baseline="middle", color=MUTED, fontSize=11, **halo)
            labels.append(text.encode(x=x, y=alt.value(top), text="label:N", tooltip=told))
    return [*rules, *labels]


def _variants(students: pd.DataFrame) -> list[str]:
    """Return for each row what sets a cell apart besides strategy and architecture: loss, teacher, what else varies."""
    parts = zip(students["loss"], students["teacher"], settings_of(students), strict=True)
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


def cells_chart(
    per_query: pd.DataFrame, summary: pd.DataFrame, *, measure: str = "value", width: int = 300, height: int = 300
) -> alt.HConcatChart:
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
    queries = [name for name in ("test_collection", "query_id") if name in per_query.columns]
    _check_cells(per_query, summary, queries)
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
    left = _cell_means(means, cells, measure, chosen, width - 60, max(20 * len(cells), min(40 * len(cells), height)))
    right = _query_values(shown, queries, measure, chosen, width, height)
    return alt.hconcat(left, right, data=frame, spacing=24)


def _check_cells(per_query: pd.DataFrame, summary: pd.DataFrame, queries: list[str]) -> None:
    """Refuse frames that do not hold each cell and query once, or not the same cells."""
    require(per_query, ("cell", "query_id", "value"), "per_query")
    require(summary, ("cell", "mean"), "summary")
    finite(per_query, ["value"], "per_query")
    finite(summary, ["mean"], "summary")
    once_each(per_query, ["cell", *queries], "per_query")
    once_each(summary, ["cell"], "summary")
    for one, other, name in ((summary, per_query, "per_query"), (per_query, summary, "summary")):
        lost = sorted(set(one["cell"]) - set(other["cell"]))
        if lost:
            raise ValueError(f"{name} has no row of {len(lost)} cell(s), the first is {lost[0]!r}")


def _cell_means(means: pd.DataFrame, cells: list[str], measure: str, chosen: alt.Parameter, width: int, height: int) -> alt.Chart:
    """Draw a mark a cell, to be clicked."""
    row = alt.Y("cell:N", sort=cells, title=None, scale=alt.Scale(domain=cells, padding=0.5), axis=alt.Axis(grid=True, labelLimit=240))
    return (
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
        .properties(width=width, height=height, name="cells", title=hint("click a cell to see its queries"))
        .add_params(chosen)
    )


def _query_values(
    shown: pd.DataFrame, queries: list[str], measure: str, chosen: alt.Parameter, width: int, height: int
) -> alt.LayerChart | alt.FacetChart:
    """Draw the chosen cell's queries by value, against the values of all cells."""
    x = alt.X("place:Q", title="queries, sorted by value (%)", scale=alt.Scale(domain=[0, 100], nice=False), axis=alt.Axis(tickCount=5))
    y = alt.Y("value:Q", title=f"{measure} of a query", scale=alt.Scale(domain=padded_domain(shown["value"], 0.02), nice=False))
    line = alt.Chart().transform_filter("datum.role == 'all'").mark_line(strokeWidth=2, color="#8c8c8c").encode(x=x, y=y)
    dots = alt.Chart().transform_filter("datum.role == 'query'").transform_filter(chosen).mark_point(filled=True, size=24, opacity=0.8)
    name = alt.Chart().transform_filter("datum.role == 'cell'").transform_filter(chosen)
    pooled_name = alt.Chart().transform_filter("datum.role == 'all'").transform_aggregate(rows="count()", groupby=["role"])
    return alt.layer(
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


def means_chart(
    by_query: pd.DataFrame, *, measure: str = "the measure", level: float = 0.95, width: int = 420
) -> alt.LayerChart | alt.FacetChart:
    """Draw each system's mean over queries with its interval over queries, a row a system, in the order of the columns.

    The interval is mean ± t(n - 1) standard errors; of the systems by themselves, so that two which overlap may well differ on the same
    queries.

    Args:
        by_query: One row a query, one column a system; values in units of the measure.
        measure: Its name, for the axis.
        level: Of the intervals.
        width: Of the panel, in pixels.

    Returns:
        A chart whose ``data`` is the frame it shows.

    Raises:
        ValueError: There are fewer than two queries, or a value is no finite number.
    """
    if len(by_query) < 2:
        raise ValueError(f"{len(by_query)} queries have no interval; at least 2 do")
    finite(by_query, list(by_query.columns), "by_query")
    half = by_query.sem() * distributions.t.ppf((1 + level) / 2, len(by_query) - 1)
    means = by_query.mean()
    frame = pd.DataFrame({"system": list(by_query), "mean": means, "low": means - half, "high": means + half}).reset_index(drop=True)
    base = alt.Chart(frame).encode(y=alt.Y("system:N", title=None, sort=list(frame["system"]), axis=alt.Axis(labelLimit=260)))
    span = alt.Scale(domain=padded_domain(pd.concat([frame["low"], frame["high"]])), nice=False)
    title = f"{measure}, mean over {len(by_query)} queries with its {level:.0%} interval"
    told = tooltips(frame, ["system", "mean", "low", "high"])
    rule = base.mark_rule(strokeWidth=2, color=MUTED).encode(x=alt.X("low:Q", title=title, scale=span), x2="high:Q", tooltip=told)
    point = base.mark_point(filled=True, size=80, opacity=1, color=PALETTE[0]).encode(x="mean:Q", tooltip=told)
    number = base.mark_text(dy=-12, color=INK).encode(x="mean:Q", text=alt.Text("mean:Q", format=".3f"))
    return alt.layer(rule, point, number, data=frame).properties(width=width, height=alt.Step(40))


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
    frame = _dialled(select(summary, "summary", measure=measure, test_collection=test_collection, collection=collection))
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


def _dialled(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the cells with a target entropy, each with its panel and what is written of it."""
    frame = summary[(summary["system"] == "student") & summary["target_entropy"].notna()].copy()
    if frame.empty:
        raise ValueError("summary holds no trained cell with a target_entropy; nothing to draw")
    parts = [frame[name] for name in ("loss", *varying(frame, ("architecture", "teacher", "augmentation", "cut")))]
    frame["panel"] = [joined(*values) for values in zip(*parts, strict=True)]
    twice = frame[frame.duplicated(["panel", "first_stage", "strategy", "target_entropy"])]
    if len(twice):
        raise ValueError(f"{len(twice)} cells share a place with another, the first is {twice['cell'].iloc[0]!r}")
    frame["text"] = [f"{mean:.3f}".removeprefix("0") for mean in frame["mean"]]
    return frame


def simple_effects_chart(
    surface: pd.DataFrame, *, measure: str = "mean", by: Sequence[str] = (), width: int = 300, height: int = 230
) -> alt.LayerChart | alt.FacetChart:
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
    finite(surface, ["target_entropy"], "surface")
    bracketed(surface, "mean", "surface")
    frame = paneled(surface, by, "surface")
    once_each(frame, ["panel", "strategy", "target_entropy"], "surface")
    strategies, targets = distinct(frame["strategy"]), sorted(set(frame["target_entropy"]))
    colour, shape = by_name("strategy", strategies, "strategy", alt.Legend(symbolOpacity=1))

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
    return facet(layers, frame, width, height, fitting(width, frame["panel"].nunique(), 70 + beside_names(strategies) + 40))

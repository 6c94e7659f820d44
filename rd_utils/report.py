"""Tables, charts and the self-contained HTML report of a study. It draws finished frames and computes no statistic.

The frames that come in:

- ``results``: one row a cell, seed, test collection, first stage and measure, with ``value``;
- ``summary``: ``mean``, ``sd`` and ``n_seeds`` of each cell per collection, test collection, first stage and measure;
- ``differences``: paired comparisons with their interval, p-values and verdict; ``across``: the same over collections;
- ``costs``: one row a cell and seed with times, counts, memory and the identity of the trained student;
- ``descriptions``: diameters and entropies of training groups; ``entropy``: mean entropies per strategy and teacher;
- ``learning_rates``: what each search tried; ``variance`` and ``strategy_spread``: how much the strategies explain.

``system`` tells trained cells (``student``) from the baselines (``first_stage``, ``untrained``, ``teacher``). A chart shows one training
collection and one of its test collections; where a frame holds several, ``collection`` and ``test_collection`` choose.
"""

from __future__ import annotations

import base64
import functools
import html
import json
import math
import numbers
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from rd_utils.params import nearest

# Okabe and Ito's colours (2008), distinct under the common colour vision deficiencies; yellow, weak on white, is last.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 1], [10, 4], [1, 3], [6, 2, 1, 2, 1, 2])
INK, MUTED, BAND = "#1a1a1a", "#595959", "#dfe7ee"

# verdict: what the legend says, colour, shape
VERDICTS = {
    "different": ("#D55E00", "triangle-up"),
    "equivalent": ("#0072B2", "circle"),
    "both": ("#CC79A7", "diamond"),
    "undecided": ("#767676", "cross"),
}
INTERVALS = {
    "excludes 0": ("#D55E00", "triangle-up"),
    "holds 0": ("#767676", "cross"),
    "one collection": ("#56B4E9", "circle"),
}
ENTROPIES = {
    "pairwise_entropy": "pairwise (bits)",
    "positive_entropy": "positive pairs (bits)",
    "listwise_entropy": "listwise (share of log G)",
}
BASELINES = ("first_stage", "untrained", "teacher")
MISSING = "–"
SETTINGS = ("temperature", "target_entropy", "augmentation", "cut")  # of a cell, beside strategy, teacher, loss and architecture

DIMENSIONS = ("strategy", "teacher", "loss", "architecture", *SETTINGS)
PLACE = ("collection", "test_collection", "first_stage", "measure")
SUMMARY_COLUMNS = (*PLACE, "cell", "system", *DIMENSIONS, "mean", "sd", "n_seeds")
RESULT_COLUMNS = (*PLACE, "cell", "system", "seed", "value")
DIFFERENCE_COLUMNS = (
    *PLACE, "family", "contrast", *DIMENSIONS, "difference", "low", "high", "n_queries", "p_difference", "p_equivalence", "p_holm",
    "equivalent", "different", "verdict", "smallest_margin", "equivalence_margin",
)  # fmt: skip
ACROSS_COLUMNS = (
    "first_stage", "measure", "family", "contrast", *DIMENSIONS, "n_collections", "mean", "sd", "low", "high", "n_positive",
    "different", "equivalent",
)  # fmt: skip
DESCRIPTION_COLUMNS = ("collection", "strategy", "teacher", *SETTINGS, "state", "diameter_q99")
COST_COLUMNS = ("cell", "collection", "seed", "identity", *DIMENSIONS, "total_cpu_seconds")


# --- choosing rows ----------------------------------------------------------------------------------------------------


def _require(frame: pd.DataFrame, columns: Iterable[str], name: str) -> None:
    """Raise a ValueError that names the first missing column."""
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        hint = nearest(missing[0], list(frame.columns))
        raise ValueError(f"{name} lacks {len(missing)} column(s), the first is {missing[0]!r}{hint}")
    if frame.empty:
        raise ValueError(f"{name} has no rows; nothing can be shown")


def _choose(frame: pd.DataFrame, column: str, value: Any, name: str) -> pd.DataFrame:
    """Keep the rows with one value of a column; without a value there must be only one."""
    choices = list(dict.fromkeys(frame[column]))
    if value is None:
        if len(choices) > 1:
            raise ValueError(f"{name} holds {len(choices)} values of {column}: {choices}; pass {column}= one of them")
        return frame
    if value not in choices:
        raise ValueError(f"{name} holds no {column} {value!r}{nearest(str(value), choices)}")
    return frame[frame[column] == value]


def _select(frame: pd.DataFrame, name: str, **choices: Any) -> pd.DataFrame:
    """Keep the rows with one value of each of several columns; see :func:`_choose`."""
    for column, value in choices.items():
        frame = _choose(frame, column, value, name)
    return frame


def _text(value: Any) -> str:
    """Return a label as text; a missing one is empty."""
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def _order(values: Iterable[Any]) -> list[str]:
    """Return distinct non-empty labels in order of appearance."""
    return list(dict.fromkeys(text for value in values if (text := _text(value))))


def _join(*parts: Any) -> str:
    return " · ".join(text for part in parts if (text := _text(part)))


def _number(value: Any) -> str:
    """Return a number without trailing zeros: 2.0 is '2'."""
    return f"{value:g}" if isinstance(value, numbers.Real) else str(value)


def _varying(frame: pd.DataFrame, columns: Iterable[str]) -> list[str]:
    """Return the columns that a frame has and in which its rows differ."""
    return [column for column in columns if column in frame.columns and frame[column].nunique(dropna=False) > 1]


def _settings(frame: pd.DataFrame, but: str = "") -> list[str]:
    """Return for each row what sets it apart beside strategy, teacher, loss and architecture; what all rows share goes without saying.

    A temperature and a target entropy are of the teacher, so they are compared, and said, only where there is one. ``but`` names a setting
    that is said elsewhere.
    """
    taught = frame["teacher"].map(_text) != ""
    values = {name: frame.loc[taught, name] if name in SETTINGS[:2] else frame[name] for name in SETTINGS if name != but}
    varied = {name for name, column in values.items() if column.nunique(dropna=False) > 1}

    def one(row: dict[str, Any]) -> str:
        solved = "target_entropy" in varied and _text(row["target_entropy"])
        dial = f"H={_number(row['target_entropy'])}" if solved else f"T={_number(row['temperature'])}" if "temperature" in varied else ""
        plain = {"augmentation": "none", "cut": "all"}
        others = [row[name] for name in plain if name in varied and row[name] != plain[name]]
        return _join(dial if _text(row["teacher"]) else "", *others)

    return [one(row) for row in frame.to_dict("records")]


def _variants(students: pd.DataFrame) -> list[str]:
    """Return for each row what sets a cell apart besides strategy and architecture: loss, teacher, what else varies."""
    parts = zip(students["loss"], students["teacher"], _settings(students), strict=True)
    return [_join(*part) for part in parts]


def _places(frame: pd.DataFrame) -> list[str]:
    """Return the columns that say where a row was measured, those that vary; no training collection that the test collection tells."""
    told = (frame.groupby("test_collection", dropna=False)["collection"].nunique() == 1).all()
    return [name for name in _varying(frame, PLACE) if name != "collection" or not told]


# --- theme ------------------------------------------------------------------------------------------------------------


def theme() -> dict[str, Any]:
    """Return the configuration that all charts share: Okabe and Ito's colours, 12-point text, light grid.

    >>> theme()["config"]["range"]["category"][0]
    '#0072B2'
    """
    font = "Helvetica, Arial, sans-serif"
    return {
        "config": {
            "background": "white",
            "font": font,
            "padding": 8,
            "range": {"category": list(PALETTE), "symbol": list(SHAPES)},
            "axis": {
                "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelColor": INK,
                "titleColor": INK, "gridColor": "#e6e6e6", "domainColor": "#8c8c8c", "tickColor": "#8c8c8c",
                "labelLimit": 360, "titlePadding": 8,
            },
            "header": {
                "labelFontSize": 12, "labelFontWeight": "bold", "labelColor": INK, "titleColor": INK, "labelLimit": 360,
                "labelPadding": 6,
            },
            "legend": {
                "labelFontSize": 12, "titleFontSize": 12, "labelColor": INK, "titleColor": INK, "labelLimit": 360,
                "symbolSize": 80, "titleFontWeight": "bold", "rowPadding": 4,
            },
            "title": {"fontSize": 14, "color": INK, "anchor": "start"},
            "text": {"font": font, "fontSize": 11, "color": INK},
            "view": {"stroke": "#c8c8c8"},
            "facet": {"spacing": 14},
        }
    }  # fmt: skip


def use_theme() -> Any:
    """Enable :func:`theme` for Altair: for good when called, or for a block as ``with use_theme(): ...``, without its limit on rows."""
    alt.data_transformers.enable("default", max_rows=None)
    alt.theme.register("rd_utils", enable=False)(lambda: alt.theme.ThemeConfig(**theme()))
    return alt.theme.enable("rd_utils")


def chart_spec(chart: Any) -> dict[str, Any]:
    """Return a chart's Vega-Lite specification under :func:`theme`, with all rows inside, however many."""
    with use_theme(), alt.data_transformers.enable("default", max_rows=None):
        return chart.to_dict()


# --- charts -----------------------------------------------------------------------------------------------------------


def _tooltip(frame: pd.DataFrame, columns: Sequence[str]) -> list[alt.Tooltip]:
    """Return one tooltip line a column, numbers with up to four significant digits."""
    lines = []
    for column in columns:
        if column not in frame.columns:
            continue
        numeric = pd.api.types.is_numeric_dtype(frame[column]) and not pd.api.types.is_bool_dtype(frame[column])
        if numeric:
            lines.append(alt.Tooltip(f"{column}:Q", format=".4~r", title=column))
        else:
            lines.append(alt.Tooltip(f"{column}:N", title=column))
    return lines


def _domain(values: pd.Series, share: float = 0.05) -> list[float]:
    """Return the range of the values, widened by a share on both sides."""
    low, high = float(values.min()), float(values.max())
    pad = share * ((high - low) or abs(high) or 1.0)
    return [low - pad, high + pad]


def _references(summary: pd.DataFrame, panels: pd.DataFrame) -> pd.DataFrame:
    """Repeat the baselines' rows in each panel; an untrained system only in its architecture's panels."""
    rows = []
    for panel in panels.drop_duplicates().to_dict("records"):
        found = summary[summary["system"].isin(BASELINES) & (summary["first_stage"] == panel["first_stage"])]
        found = found.sort_values("system", key=lambda column: column.map(BASELINES.index), kind="stable")
        for row in found.to_dict("records"):
            architecture = panel.get("architecture", "")
            if row["system"] == "untrained" and architecture and _text(row["architecture"]) not in ("", architecture):
                continue
            rows.append({**row, **panel, "role": "reference"})
    return pd.DataFrame(rows)


def _notes(frame: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Return a row for each panel that would be empty: without it, Vega-Lite moves later panels into its place."""
    shown = set(zip(frame[first], frame[second], strict=True))
    crossed = [(a, b) for a in _order(frame[first]) for b in _order(frame[second])]
    rows = [{first: a, second: b, "role": "note", "label": "not evaluated"} for a, b in crossed if (a, b) not in shown]
    return pd.DataFrame(rows)


def _note_layers(notes: pd.DataFrame, width: int, height: int) -> list[alt.Chart]:
    """Return the layer that writes the notes into their panels, if there are any."""
    if notes.empty:
        return []
    mark = alt.Chart().transform_filter("datum.role == 'note'").mark_text(color=MUTED, fontStyle="italic", fontSize=11)
    return [mark.encode(x=alt.value(width / 2), y=alt.value(height / 2), text="label:N")]


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
    _require(summary, SUMMARY_COLUMNS, "summary")
    _require(results, RESULT_COLUMNS, "results")
    choices = {"measure": measure, "test_collection": test_collection, "collection": collection}
    summary, results = _select(summary, "summary", **choices), _select(results, "results", **choices)
    students = summary[summary["system"] == "student"].copy()
    if students.empty:
        raise ValueError(f"summary has no row with system 'student' among {len(summary)} rows; nothing to draw")
    students["variant"] = _variants(students)
    variants, strategies = _order(students["variant"]), _order(students["strategy"])
    stages, architectures = _order(students["first_stage"]), _order(students["architecture"])
    compact = len(variants) <= len(PALETTE)
    students["row"] = students["strategy"] if compact else [
        _join(strategy, variant) for strategy, variant in zip(students["strategy"], students["variant"], strict=True)
    ]  # fmt: skip
    position = {name: index for index, name in enumerate(strategies)}
    students = students.sort_values("strategy", key=lambda column: column.map(position), kind="stable")
    parts = ["cell", "system", *DIMENSIONS, "variant", "row"]
    seeds = results.loc[results["system"] == "student", ["cell", "seed", "first_stage", "test_collection", "measure", "value"]]
    seeds = seeds.merge(students[parts].drop_duplicates("cell"), on="cell").assign(role="seed")
    panels = students[["architecture", "first_stage"]].drop_duplicates()
    notes = _notes(students, "architecture", "first_stage")
    references = _references(summary, panels)
    if not references.empty:
        references = references.rename(columns={"mean": "value"}).assign(label=references["cell"])
    means = students.rename(columns={"mean": "value"}).assign(role="mean")
    parts_shown = [part for part in (means, seeds, references, notes) if not part.empty]
    domain = _domain(pd.concat([part["value"] for part in parts_shown if "value" in part.columns]))
    _place_labels(references, middle=sum(domain) / 2)
    frame = pd.concat(parts_shown, ignore_index=True)

    rows = _order(students["row"])
    height = len(rows) * (14 + 13 * len(variants)) if compact else len(rows) * 18
    colour_field, colour_order = ("variant", variants) if compact else ("strategy", strategies)
    title = "loss · teacher" if compact else "strategy"
    x = alt.X("value:Q", title=measure or str(means["measure"].iloc[0]), scale=alt.Scale(domain=domain, nice=False))
    axis = alt.Axis(tickBand="extent" if compact else "center", grid=True)
    y = alt.Y("row:N", sort=rows, title=None, scale=alt.Scale(domain=rows, padding=0), axis=axis)
    legend = alt.Legend(title=title, symbolOpacity=1)
    field = f"{colour_field}:N"
    colour = alt.Color(field, sort=colour_order, legend=legend, scale=_scale(colour_order, PALETTE))
    shape = alt.Shape(field, sort=colour_order, legend=legend, scale=_shapes(colour_order))
    common = {"x": x, "y": y, "color": colour}
    if compact:
        common["yOffset"] = alt.YOffset("variant:N", sort=variants, scale=alt.Scale(domain=variants, paddingOuter=0.6))
    base = alt.Chart()
    layers = [
        base.transform_filter("datum.role == 'seed'")
        .mark_point(filled=True, size=16, opacity=0.45, shape="circle")
        .encode(**common, tooltip=_tooltip(seeds, [*parts, "seed", "test_collection", "first_stage", "measure", "value"])),
        base.transform_filter("datum.role == 'mean'")
        .mark_point(filled=True, size=75, opacity=1, stroke="white", strokeWidth=0.7)
        .encode(
            **common,
            shape=shape,
            tooltip=_tooltip(means, [*parts, "test_collection", "first_stage", "measure", "value", "sd", "n_seeds"]),
        ),
    ]
    fields = _tooltip(frame, ["cell", "system", "test_collection", "first_stage", "measure", "value", "sd", "n_seeds"])
    marks = [] if references.empty else sorted(set(zip(references["level"], references["side"], strict=True)))
    dash = alt.StrokeDash("system:N", scale=_scale(BASELINES, DASHES[1:]), legend=None)
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


def _shapes(names: Sequence[str]) -> alt.Scale:
    """Return a scale of shapes that, with one of colours, tells up to 64 names apart: every eighth has another shape with its colour."""
    return alt.Scale(domain=list(names), range=[SHAPES[(index + index // len(PALETTE)) % len(SHAPES)] for index in range(len(names))])


def _scale(names: Sequence[str], values: Sequence[Any]) -> alt.Scale:
    """Return a scale that gives each name its value; past the end the values start again."""
    return alt.Scale(domain=list(names), range=[values[index % len(values)] for index in range(len(names))])


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
    _require(contrasts, ("family", "contrast", *DIMENSIONS), "contrasts")
    parts = dict(iter(contrasts.groupby("family", sort=False)))
    for column in ("architecture", "loss", "teacher", "contrast"):
        split: dict[str, pd.DataFrame] = {}
        for name, part in parts.items():
            lines = _lines(part)
            if lines["comparison"].nunique() * lines["row"].nunique() <= limit:
                split[name] = part
            else:
                split |= {" ".join([name, *_order([value])]): own for value, own in part.groupby(column, sort=False)}
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
    settings = _settings(contrasts, but=family)
    return contrasts.assign(
        comparison=[_join(*parts) for parts in zip(*panel, strict=True)],
        row=[_join(*parts) for parts in zip(*line, settings, strict=True)],
    )


def _line_order(frame: pd.DataFrame, value: str) -> list[str]:
    """Return the lines of a forest, largest mean first; lines of one contrast stay together."""
    block = "family" if frame["family"].iloc[0] == "loss" else "contrast"
    means = frame.assign(block=frame.groupby(block)[value].transform("mean"), line=frame.groupby("row")[value].transform("mean"))
    return _order(means.sort_values(["block", "line"], ascending=False, kind="stable")["row"])


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
    _require(differences, DIFFERENCE_COLUMNS, "differences")
    choices = {"measure": measure, "test_collection": test_collection, "collection": collection, "family": family}
    differences = _select(differences, "differences", **choices, equivalence_margin=equivalence_margin)
    unknown = [verdict for verdict in differences["verdict"] if verdict not in VERDICTS]
    if unknown:
        raise ValueError(f"{len(unknown)} unknown verdict(s), the first is {unknown[0]!r}{nearest(unknown[0], VERDICTS)}")
    margin = float(differences["equivalence_margin"].iloc[0])
    frame = differences.assign(margin_low=-margin, margin_high=margin)
    name = measure or str(frame["measure"].iloc[0])
    title = f"difference in {name} (shaded: ±{margin:g})"
    return _forest(frame, "difference", "verdict", VERDICTS, title, _tooltip(frame, DIFFERENCE_COLUMNS), width)


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
    _require(across, ACROSS_COLUMNS, "across")
    across = _select(across, "across", measure=measure, family=family)
    excludes = (across["low"] > 0) | (across["high"] < 0)
    interval = np.where(across["low"].isna(), "one collection", np.where(excludes, "excludes 0", "holds 0"))
    title = f"mean difference in {across['measure'].iloc[0]} over collections"
    frame = across.assign(interval=interval)
    return _forest(frame, "mean", "interval", INTERVALS, title, _tooltip(frame, ACROSS_COLUMNS), width)


def _forest(
    frame: pd.DataFrame, value: str, kind: str, kinds: dict[str, tuple[str, str]], title: str, tooltip: list[alt.Tooltip], width: int
) -> alt.FacetChart:
    """Draw values with their intervals, line by line and panel by panel; ``kinds`` gives each value of ``kind`` a colour and a shape."""
    frame = _lines(frame).assign(role="comparison")
    rows = _line_order(frame, value)
    present = [name for name in kinds if name in set(frame[kind])]
    colours, shapes = (alt.Scale(domain=present, range=[kinds[name][place] for name in present]) for place in (0, 1))
    colour = alt.Color(f"{kind}:N", title=kind, scale=colours, sort=present)
    shape = alt.Shape(f"{kind}:N", title=kind, scale=shapes, sort=present)
    x = alt.X(f"{value}:Q", title=title, axis=alt.Axis(tickCount=5))
    y = alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(grid=True))
    stages, panels = _order(frame["first_stage"]), _order(frame["comparison"])
    notes = _notes(frame, "comparison", "first_stage")
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


def _zoom() -> alt.Parameter:
    """Return a selection that drags the axes, and zooms them by shift and wheel, so that the page still scrolls."""
    return alt.selection_interval(name="zoom", bind="scales", zoom="wheel![event.shiftKey]")


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
    _require(entropy, ("strategy", "teacher", *ENTROPIES), "entropy")
    entropy = _choose(entropy, "collection", collection, "entropy") if "collection" in entropy.columns else entropy
    teachers = entropy["teacher"].map(_text)
    if _varying(entropy, ["temperature"]):
        teachers = [_join(name, f"T={_number(t)}") for name, t in zip(teachers, entropy["temperature"], strict=True)]
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
    labels, strategies = _order(frame["label"]), _order(frame["strategy"])
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
            color=alt.Color("label:N", sort=labels, title="teacher", scale=_scale(labels, PALETTE)),
            shape=alt.Shape("label:N", sort=labels, title="teacher", scale=_shapes(labels)),
            tooltip=_tooltip(frame, [*keep, "entropy", "value"]),
        )
        .properties(width=width, height=height)
    )
    return chart.facet(column=alt.Column("kind:N", sort=list(ENTROPIES.values()), title=None))


def learning_chart(history: pd.DataFrame, *, width: int = 560, height: int = 260) -> alt.Chart | alt.FacetChart:
    """Draw the training loss over steps, one line a cell and seed.

    Up to six cells are told apart by colour and dash; more get one small panel each; more than 24 one panel a recipe (architecture, loss,
    teacher ...) in which the colour tells the strategy. Losses of different kinds have different scales, so the panels have an axis each.
    Dragging moves, shift and wheel zoom (not in panels).

    Args:
        history: Columns step and loss (its value), and optionally cell and seed; for more than 24 cells also strategy and recipe.
        width: Of the chart, in pixels; a panel has half of it.
        height: Of the chart, in pixels; not of the panels.

    Returns:
        A chart whose ``data`` is the frame it shows.

    Raises:
        ValueError: A column is missing, or there are several training collections.
    """
    _require(history, ("step", "loss"), "history")
    if "collection" in history.columns:
        _choose(history, "collection", None, "history")
    encoding: dict[str, Any] = {
        "x": alt.X("step:Q", title="optimiser step", axis=alt.Axis(tickCount=5)),
        "y": alt.Y("loss:Q", title="training loss", scale=alt.Scale(zero=False)),
        "tooltip": _tooltip(history, list(history.columns)),
    }
    cells = _order(history["cell"]) if "cell" in history.columns else []
    lines = alt.Chart(history).mark_line(strokeWidth=1.4, opacity=0.85, clip=True)
    header = alt.Header(labelLimit=width // 2, labelFontSize=11)
    if len(cells) > 24 and {"strategy", "recipe"} <= set(history.columns):
        strategies = _order(history["strategy"])
        colour = alt.Color("strategy:N", sort=strategies, title="strategy", scale=_scale(strategies, PALETTE))
        panel = lines.encode(**encoding, color=colour, detail=["cell:N", "seed:N"]).properties(width=width // 2, height=150)
        facet = alt.Facet("recipe:N", sort=_order(history["recipe"]), title=None, columns=2, header=header)
        return panel.encode(facet=facet).resolve_scale(y="independent")
    if "seed" in history.columns:
        encoding["detail"] = "seed:N"
    if len(cells) > 6:
        panel = lines.encode(**encoding, color=alt.value(PALETTE[0])).properties(width=width // 2, height=110)
        facet = alt.Facet("cell:N", sort=cells, title=None, columns=2, header=header)
        return panel.encode(facet=facet).resolve_scale(y="independent")
    if cells:
        legend = alt.Legend(symbolStrokeWidth=2, symbolSize=300)
        encoding["color"] = alt.Color("cell:N", sort=cells, title="cell", scale=_scale(cells, PALETTE), legend=legend)
        encoding["strokeDash"] = alt.StrokeDash("cell:N", sort=cells, title="cell", scale=_scale(cells, DASHES))
    return lines.encode(**encoding).properties(width=width, height=height, name="losses").add_params(_zoom())


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
    _require(table, ("architecture", "loss", "learning_rate", "chosen", measure), "learning_rates")
    frame = table.rename(columns={measure: "value"})
    losses, rates = _order(frame["loss"]), sorted(set(frame["learning_rate"]))
    axis = alt.Axis(values=rates, format="~g", grid=True, labelOverlap=True)
    x = alt.X("learning_rate:Q", title="learning rate (log scale)", axis=axis, scale=alt.Scale(type="log", nice=False, padding=15))
    y = alt.Y("value:Q", title=f"{measure} on validation queries", scale=alt.Scale(domain=_domain(frame["value"]), nice=False))
    colour = alt.Color("loss:N", sort=losses, title="loss", scale=_scale(losses, PALETTE))
    shape = alt.Shape("loss:N", sort=losses, title="loss", scale=_shapes(losses))
    tooltip = _tooltip(frame, ["architecture", "loss", "search", "learning_rate", "value", "chosen"])
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
    column = alt.Column("architecture:N", sort=_order(frame["architecture"]), title=None)
    return alt.layer(*layers, data=frame).properties(width=width, height=height).facet(column=column)


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
    _require(descriptions, (*DESCRIPTION_COLUMNS, entropy), "descriptions")
    frame = _choose(descriptions, "collection", collection, "descriptions")
    frame = frame[frame[entropy].notna()]
    if frame.empty:
        raise ValueError(f"descriptions holds no {entropy}; it needs a teacher")
    after, settings = frame["state"] == "after", pd.Series(_settings(frame), frame.index)
    whole = pd.Series([_join(*parts) for parts in zip(frame["strategy"], settings, strict=True)], frame.index)
    moved = whole.isin(set(whole[after]))
    frame = frame.rename(columns={entropy: "entropy"}).assign(name=whole, order=after.astype(int))
    frame["label"] = settings.where(after, frame["strategy"].where(moved, whole))
    frame.loc[frame.round(4).duplicated(["teacher", "label", "diameter_q99", "entropy"]), "label"] = ""
    strategies, states = _order(frame["strategy"]), [state for state in ("before", "after") if state in set(frame["state"])]
    x = alt.X(
        "diameter_q99:Q", title="mean diameter (0.99-quantile of distances)", scale=alt.Scale(domain=_domain(frame["diameter_q99"], 0.12))
    )
    y = alt.Y("entropy:Q", title=f"mean entropy, {ENTROPIES[entropy]}", scale=alt.Scale(domain=_domain(frame["entropy"], 0.08)))
    scales = _scale(strategies, PALETTE), _shapes(strategies)
    colour = alt.Color("strategy:N", sort=strategies, title="strategy", scale=scales[0])
    shape = alt.Shape("strategy:N", sort=strategies, title="strategy", scale=scales[1])
    fill = alt.Fill("strategy:N", sort=strategies, title="strategy", scale=scales[0])
    opacity = alt.FillOpacity("state:N", sort=states, title="state", scale=alt.Scale(domain=["before", "after"], range=[0.0, 1.0]))
    measured = ["diameter_q99", "diameter", "mean_distance", "entropy", "density_ratio", "coverage", "solved_temperature"]
    tooltip = _tooltip(frame, ["strategy", "teacher", *SETTINGS, "state", *measured])
    base = alt.Chart().encode(x=x, y=y)
    marks = base.mark_point(size=70, opacity=1)
    layers = [
        base.mark_line(strokeWidth=1, opacity=0.6).encode(color=colour, detail="name:N", order="order:Q"),
        marks.encode(color=colour, shape=shape, fill=fill, fillOpacity=opacity, tooltip=tooltip),
        base.transform_filter("datum.label != ''").mark_text(dy=-10, fontSize=10, color=INK).encode(text="label:N"),
    ]
    column = alt.Column("teacher:N", sort=_order(frame["teacher"]), title=None)
    return alt.layer(*layers, data=frame).properties(width=width, height=height).facet(column=column)


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
    _require(summary, SUMMARY_COLUMNS, "summary")
    summary = _select(summary, "summary", measure=measure, test_collection=test_collection, collection=collection)
    frame = summary[(summary["system"] == "student") & summary["target_entropy"].notna()].copy()
    if frame.empty:
        raise ValueError("summary holds no trained cell with a target_entropy; nothing to draw")
    parts = [frame[name] for name in ("loss", *_varying(frame, ("architecture", "teacher", "augmentation", "cut")))]
    frame["panel"] = [_join(*values) for values in zip(*parts, strict=True)]
    twice = frame[frame.duplicated(["panel", "first_stage", "strategy", "target_entropy"])]
    if len(twice):
        raise ValueError(f"{len(twice)} cells share a place with another, the first is {twice['cell'].iloc[0]!r}")
    frame["text"] = [f"{mean:.3f}".removeprefix("0") for mean in frame["mean"]]
    strategies, entropies = _order(frame["strategy"]), sorted(set(frame["target_entropy"]))
    low, high = float(frame["mean"].min()), float(frame["mean"].max())
    x = alt.X("target_entropy:O", title="target pairwise entropy (bits)", sort=entropies, axis=alt.Axis(labelAngle=0))
    y = alt.Y("strategy:N", title=None, sort=strategies)
    colour = alt.Color("mean:Q", title=measure, scale=alt.Scale(scheme="viridis", domain=[low, high]))
    ink = alt.condition(f"datum.mean < {(low + high) / 2!r}", alt.value("white"), alt.value("black"))
    base = alt.Chart().encode(x=x, y=y)
    layers = [
        base.mark_rect().encode(color=colour, tooltip=_tooltip(frame, SUMMARY_COLUMNS)),
        base.mark_text(fontSize=11).encode(text="text:N", color=ink),
    ]
    return (
        alt.layer(*layers, data=frame)
        .properties(width=cell_width * len(entropies), height=24 * len(strategies))
        .facet(
            column=alt.Column("first_stage:N", sort=_order(frame["first_stage"]), title=None),
            row=alt.Row("panel:N", sort=_order(frame["panel"]), title=None),
        )
    )


def rank_chart(ranks: pd.DataFrame, *, width: int = 420, height: int = 180) -> alt.Chart:
    """Draw how many negatives stand at which rank among their query's candidates.

    Args:
        ranks: Column rank; rows without one (documents from elsewhere) are left out.
        width: In pixels.
        height: In pixels.
    """
    _require(ranks, ("rank",), "ranks")
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


def query_chart(values: pd.DataFrame, *, width: int = 420) -> alt.FacetChart:
    """Draw one mark a query, its value averaged over seeds; one row a system, one panel a first stage.

    Args:
        values: Columns first_stage, row (the system), query_id, value, of one measure.
        width: In pixels.
    """
    _require(values, ("first_stage", "row", "query_id", "value", "measure"), "values")
    points = values.groupby(["first_stage", "row", "query_id"], sort=False)["value"].mean().reset_index()
    x = alt.X("value:Q", title=str(values["measure"].iloc[0]))
    marks = alt.Chart(points).mark_tick(opacity=0.4).encode(x=x, y=alt.Y("row:N", sort=None, title=None), tooltip=["query_id", "value"])
    return marks.properties(width=width).facet(row=alt.Row("first_stage:N", title=None))


# --- tables -----------------------------------------------------------------------------------------------------------


def mean_sd(mean: float, sd: float, n_seeds: int, digits: int = 3) -> str:
    """Write a mean, with its standard deviation where there are several seeds.

    >>> mean_sd(0.5123, 0.0041, 3), mean_sd(0.5123, float("nan"), 1)
    ('0.512 ± 0.004', '0.512')
    """
    if math.isnan(mean):
        return MISSING
    if n_seeds > 1 and not math.isnan(sd):
        return f"{mean:.{digits}f} ± {sd:.{digits}f}"
    return f"{mean:.{digits}f}"


def main_table(
    summary: pd.DataFrame,
    *,
    measures: Sequence[str] | None = None,
    collection: str | None = None,
    test_collection: str | None = None,
    first_stages: Sequence[str] | None = None,
    rows: Sequence[str] = ("cell",),
    digits: int = 3,
) -> pd.DataFrame:
    """Return the table of all systems: first stages, untrained, teachers, then cells in the order of the summary.

    Args:
        summary: Means of cells and baselines.
        measures: Which measures, in this order; all by default.
        collection: Which training collection; may be left out when the frame holds only one.
        test_collection: Which test collection; likewise.
        first_stages: Which first stages, in this order; all by default.
        rows: Columns of the summary that make the index, such as ``("cell", "n_seeds")``; ``cell`` must be among them.
        digits: Decimals shown.

    Returns:
        Strings such as "0.512 ± 0.004" ("–" where a system was not evaluated), columns (first_stage, measure).
        ``attrs["n_baselines"]`` counts the baseline rows.

    Raises:
        ValueError: A column is missing, a choice is not made or unknown, or a cell has two rows for one column.
    """
    _require(summary, SUMMARY_COLUMNS, "summary")
    if "cell" not in rows:
        raise ValueError(f"rows is {tuple(rows)}, but 'cell' must be among them: it tells the rows apart")
    _require(summary, rows, "summary")
    frame = _select(summary, "summary", test_collection=test_collection, collection=collection)
    for column, wanted in (("measure", measures), ("first_stage", first_stages)):
        for value in wanted or ():
            _choose(frame, column, value, "summary")
    measures = list(measures or _order(frame["measure"]))
    first_stages = list(first_stages or _order(frame["first_stage"]))
    frame = frame[frame["measure"].isin(measures) & frame["first_stage"].isin(first_stages)]
    repeated = frame[frame.duplicated(["cell", "first_stage", "measure"])]
    if not repeated.empty:
        first = repeated.iloc[0]
        raise ValueError(
            f"{len(repeated)} row(s) of summary repeat a cell, first stage and measure, the first is "
            f"{first['cell']!r}, {first['first_stage']!r}, {first['measure']!r}"
        )
    rank = {system: index for index, system in enumerate(BASELINES)}
    ordered = frame.sort_values("system", key=lambda column: column.map(lambda name: rank.get(name, 3)), kind="stable")
    systems = ordered.drop_duplicates("cell")
    values = {
        (row["cell"], row["first_stage"], row["measure"]): mean_sd(row["mean"], row["sd"], row["n_seeds"], digits)
        for row in frame.to_dict("records")
    }
    columns = [(stage, measure) for stage in first_stages for measure in measures]
    columns = [column for column in columns if any((cell, *column) in values for cell in systems["cell"])]
    texts = [[values.get((cell, *column), MISSING) for column in columns] for cell in systems["cell"]]
    labels = [[_text(value) for value in systems[row]] for row in rows]
    index = pd.Index(labels[0], name="cell") if len(rows) == 1 else pd.MultiIndex.from_arrays(labels, names=list(rows))
    table = pd.DataFrame(texts, index=index, columns=pd.MultiIndex.from_tuples(columns, names=["first_stage", "measure"]))
    table.attrs["n_baselines"] = int(systems["system"].isin(BASELINES).sum())
    return table


def differences_table(differences: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """Return the comparisons as a table: difference with intervals, p-values, smallest margin, queries needed and verdict.

    "over seeds too" is the bootstrap interval over seeds and queries, "smallest margin" the one that these data could just have proved,
    "queries needed" how many the margin needs. Columns with one value only (say one measure) are left out, for the caption to state;
    contrast and verdict stay. A dimension that the contrast itself names is left blank.

    Args:
        differences: One row a comparison.
        digits: Decimals shown.

    Returns:
        One row a comparison, all columns text but for the margins.

    Raises:
        ValueError: A column is missing.
    """
    _require(differences, DIFFERENCE_COLUMNS, "differences")
    table = _named(differences, _places(differences))
    table["difference [interval]"] = [
        f"{row.difference:+.{digits}f} [{row.low:+.{digits}f}, {row.high:+.{digits}f}]" for row in differences.itertuples()
    ]
    for column, title in (("p_holm", "p (Holm)"), ("p_equivalence", "p (equivalence)")):
        table[title] = [_p_value(value) for value in differences[column]]
    if "bootstrap_low" in differences:
        bounds = zip(differences["bootstrap_low"], differences["bootstrap_high"], strict=True)
        table["over seeds too"] = [f"[{low:+.{digits}f}, {high:+.{digits}f}]" for low, high in bounds]
    table["smallest margin"] = [MISSING if pd.isna(v) else f"{v:.{digits}f}" for v in differences["smallest_margin"]]
    if "queries_needed" in differences:
        table["queries needed"] = [MISSING if pd.isna(v) else f"{int(v):,}" for v in differences["queries_needed"]]
    if differences["equivalence_margin"].nunique() > 1:
        table["margin"] = differences["equivalence_margin"]
    table["verdict"] = differences["verdict"]
    return table.reset_index(drop=True)


def _named(contrasts: pd.DataFrame, place: Sequence[str]) -> pd.DataFrame:
    """Return the columns that say which contrast a row is: ``place``, and of the family and the dimensions those that vary."""
    own = {name: contrasts["family"] == name for name in DIMENSIONS}
    varied = [name for name in DIMENSIONS if contrasts.loc[~own[name], name].nunique(dropna=False) > 1]
    table = contrasts[[*place, *_varying(contrasts, ["family"]), *varied]].copy()
    for name in varied:
        table[name] = table[name].map(_setting).where(~own[name], "")
    return table.assign(contrast=contrasts["contrast"])


def _setting(value: Any) -> str:
    """Write a name or a number of a dimension; a missing one is empty."""
    return _number(value) if _text(value) else ""


def across_table(across: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """Return the contrasts over collections as a table: mean difference with its t interval, and in how many collections it holds.

    Args:
        across: One row a contrast and first stage.
        digits: Decimals shown.

    Returns:
        One row a contrast; columns with one value only are left out, as in :func:`differences_table`.

    Raises:
        ValueError: A column is missing.
    """
    _require(across, ACROSS_COLUMNS, "across")
    table = _named(across, _varying(across, ("measure", "first_stage")))
    table["mean difference [interval]"] = [
        f"{row.mean:+.{digits}f}" + ("" if math.isnan(row.low) else f" [{row.low:+.{digits}f}, {row.high:+.{digits}f}]")
        for row in across[["mean", "low", "high"]].itertuples(index=False)
    ]
    table["SD"] = [MISSING if pd.isna(value) else f"{value:.{digits}f}" for value in across["sd"]]
    for column, title in (("n_positive", "positive in"), ("different", "different in"), ("equivalent", "equivalent in")):
        table[title] = [f"{int(count)} of {n}" for count, n in zip(across[column], across["n_collections"], strict=True)]
    return table.reset_index(drop=True)


def matrix_table(pairs: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """Return one matrix of pairwise comparisons as a table: row minus column, and a sign for the verdict.

    ``=`` equivalent, ``*`` different, ``=*`` both, no sign undecided; the letters are of the cliques whose members are all equivalent.

    Args:
        pairs: One row a pair of one matrix: system_a, system_b, difference (b minus a), verdict, letters_a, letters_b.
        digits: Decimals shown.

    Returns:
        One row and one column a system, text; the lower triangle is filled, the rest empty.

    Raises:
        ValueError: A column is missing, or a pair stands twice, as it does where the rows are of several matrices.

    >>> row = {"system_a": "bm25", "system_b": "dense", "difference": -0.011, "verdict": "equivalent", "letters_a": "a", "letters_b": "a"}
    >>> matrix_table(pd.DataFrame([row])).loc["dense", "bm25"]
    '-0.011 ='
    """
    _require(pairs, ("system_a", "system_b", "difference", "verdict", "letters_a", "letters_b"), "pairs")
    if pairs.duplicated(["system_a", "system_b"]).any():
        raise ValueError("a pair of systems stands twice; give the rows of one matrix")
    signs = {"equivalent": " =", "different": " *", "both": " =*", "undecided": ""}
    systems = _order([*pairs["system_a"], *pairs["system_b"]])
    letters = dict(zip(pairs["system_a"], pairs["letters_a"], strict=True)) | dict(zip(pairs["system_b"], pairs["letters_b"], strict=True))
    table = pd.DataFrame("", index=pd.Index(systems, name="row minus column"), columns=systems)
    for row in pairs.itertuples():
        table.loc[row.system_b, row.system_a] = f"{row.difference:+.{digits}f}{signs[row.verdict]}"
    table.insert(0, "equivalent to", [letters[system] or MISSING for system in systems])
    return table


def search_table(table: pd.DataFrame, measure: str, *, digits: int = 3) -> pd.DataFrame:
    """Return what each search tried: one row an architecture and loss, one column a learning rate, the rate taken with an asterisk.

    Args:
        table: As for :func:`search_chart`.
        measure: The column to show.
        digits: Decimals shown.

    Raises:
        ValueError: A column is missing.
    """
    _require(table, ("architecture", "loss", "learning_rate", "chosen", measure), "learning_rates")
    mark = {True: " *", False: ""}
    shown = table.assign(text=[f"{v:.{digits}f}{mark[bool(c)]}" for v, c in zip(table[measure], table["chosen"], strict=True)])
    keys = ["architecture", "loss", *(["search"] if "search" in table.columns else [])]
    wide = shown.pivot_table(index=keys, columns="learning_rate", values="text", aggfunc="first", sort=False).reset_index()
    wide = wide[[*keys, *sorted(set(table["learning_rate"]))]].fillna(MISSING)
    wide = wide if wide.duplicated(["architecture", "loss"]).any() else wide.drop(columns="search", errors="ignore")
    return wide.rename(columns=lambda name: _number(name)).rename_axis(columns=None)


def description_table(descriptions: pd.DataFrame) -> pd.DataFrame:
    """Return the diameters and entropies of training groups, before and after augmentation and temperature.

    Args:
        descriptions: One row a strategy, teacher, augmentation, part of the queries, dial and state.

    Returns:
        One row each; settings with one value only are left out, the strategy stays.

    Raises:
        ValueError: A column is missing.
    """
    _require(descriptions, DESCRIPTION_COLUMNS, "descriptions")
    names = {
        "diameter_q99": "diameter q99, mean", "diameter_median": "median", "diameter_high": "q99", "mean_distance": "mean distance",
        "pairwise_entropy": "pairwise entropy", "positive_entropy": "positive entropy", "listwise_entropy": "listwise entropy",
        "density_ratio": "density ratio", "coverage": "coverage", "solved_temperature": "temperature solved for",
    }  # fmt: skip
    keys = ("collection", "strategy", "teacher", *SETTINGS, "state")
    shown = _varying(descriptions, keys)
    shown = [name for name in keys if name in shown or name == "strategy"]
    if "target_entropy" not in shown:
        names.pop("solved_temperature")
    table = descriptions[[*shown, *(name for name in names if name in descriptions.columns and descriptions[name].notna().any())]]
    return table.assign(**{name: table[name].map(_setting) for name in SETTINGS if name in shown}).rename(columns=names)


def variance_table(variance: pd.DataFrame) -> pd.DataFrame:
    """Return the shares of a factorial's variance, one row a factorial, one column a source, with interval and p-value of its F test.

    Args:
        variance: One row a factorial and source: ``source``, ``share``, ``p``, ``low`` and ``high`` (of the share) where known, and what
            tells factorials apart.

    Raises:
        ValueError: A column is missing.
    """
    _require(variance, (*PLACE, "loss", "source", "share", "p"), "variance")
    dimensions = [name for name in DIMENSIONS if name in variance.columns]
    keys = [*_places(variance), *(name for name in dimensions if name == "loss" or _varying(variance, [name]))]
    shown = variance.assign(**{name: variance[name].map(_setting) for name in keys})
    lows, highs = (variance[name] if name in variance else [math.nan] * len(variance) for name in ("low", "high"))
    shown["text"] = [
        f"{share:.1%}"
        + ("" if pd.isna(low) else f" [{low:.1%}, {high:.1%}]")
        + ("" if pd.isna(p) else f" (p {_p_value(p)})" if _p_value(p).startswith("<") else f" (p = {_p_value(p)})")
        for share, low, high, p in zip(variance["share"], lows, highs, variance["p"], strict=True)
    ]
    wide = shown.pivot_table(index=keys, columns="source", values="text", aggfunc="first", sort=False)[_order(variance["source"])]
    return wide.reset_index().rename_axis(columns=None)


def spread_table(spread: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return how far apart the strategies' means lie, of one measure; what all rows share is left out.

    Args:
        spread: One row a collection, first stage, measure, loss, teacher, architecture ...
        measure: Which measure.

    Raises:
        ValueError: A column is missing, or the measure is unknown.
    """
    _require(spread, (*PLACE, "loss", "n_strategies", "lowest", "highest", "spread", "sd"), "strategy_spread")
    spread = _choose(spread, "measure", measure, "strategy_spread")
    keys = [*_places(spread), *_varying(spread, DIMENSIONS)]
    table = spread[[*keys, "lowest", "highest", "spread", "sd"]].reset_index(drop=True)
    return table.assign(**{name: table[name].map(_setting) for name in SETTINGS if name in table.columns}).rename(columns={"sd": "SD"})


def _p_value(value: float) -> str:
    """Write a p-value with three decimals, or as below the smallest that they can show.

    >>> _p_value(0.0314), _p_value(0.0002)
    ('0.031', '< 0.001')
    """
    if pd.isna(value):
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def cells_table(costs: pd.DataFrame, *, manifest: str = "student/{identity}/manifest.json") -> pd.DataFrame:
    """Return the table that traces each number: a row a cell and seed with its costs, identity and manifest.

    Args:
        costs: One row a cell and seed.
        manifest: The manifest's path relative to the report, with ``{identity}`` in it.

    Returns:
        One row a cell and seed; the last two columns are identity and manifest.

    Raises:
        ValueError: A column is missing, or the path is absolute or has no ``{identity}``.
    """
    _require(costs, COST_COLUMNS, "costs")
    if "{identity}" not in manifest:
        raise ValueError(f"manifest is {manifest!r}, but must hold '{{identity}}', as in 'student/{{identity}}/manifest.json'")
    _relative(manifest)
    columns = {
        "cell": "cell", "collection": "collection", "seed": "seed", "documents_seen": "documents seen", "tokens_seen": "tokens seen",
        "train_wall_seconds": "training wall s", "total_cpu_seconds": "total CPU s", "peak_memory_mb": "peak memory MB",
    }  # fmt: skip
    columns = columns if costs["collection"].nunique() > 1 else {name: columns[name] for name in columns if name != "collection"}
    table = costs[[column for column in columns if column in costs.columns]].rename(columns=columns)
    table["identity"] = costs["identity"]
    table["manifest"] = [manifest.replace("{identity}", _text(identity)) for identity in costs["identity"]]
    return table.reset_index(drop=True)


def _leading_number(text: Any) -> float:
    """Return the number that a table entry starts with, or NaN."""
    found = re.match(r"-?\d+(\.\d+)?", str(text))
    return float(found[0]) if found else math.nan


def _best(table: pd.DataFrame) -> pd.DataFrame:
    """Mark the highest entry of each column among the rows below the baselines, ties included, as shown."""
    values, n_baselines = table.map(_leading_number), table.attrs.get("n_baselines", 0)
    best = values == values.iloc[n_baselines:].max()
    best.iloc[:n_baselines] = False
    return best


def styled(table: pd.DataFrame, *, caption: str | None = None) -> Any:
    """Return :func:`main_table`'s frame as a Styler: baselines grey, and the highest cell of each column in bold.

    Bold marks what is highest as shown; it says nothing about whether a difference is more than chance.
    """
    best, n_baselines = _best(table), table.attrs.get("n_baselines", 0)
    grey = set(table.index[:n_baselines])

    def _style(column: pd.Series) -> list[str]:
        return ["font-weight: bold" if best.loc[name, column.name] else f"color: {MUTED}" if name in grey else "" for name in column.index]

    styler = table.style.set_uuid("rd_utils").apply(_style, axis=0)
    styler = styler.set_properties(**{"text-align": "right", "font-variant-numeric": "tabular-nums"})
    return styler.set_caption(caption) if caption else styler


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its named index as columns and one line of column names."""
    names = [_join_space(column) for column in frame.columns]
    flat = frame.set_axis(names, axis=1)
    return flat.reset_index() if any(name is not None for name in frame.index.names) else flat


def _join_space(column: Any) -> str:
    return " ".join(str(part) for part in column if str(part)) if isinstance(column, tuple) else str(column)


def _shown(value: Any, digits: int = 3) -> str:
    """Write one value of a table.

    >>> [_shown(v) for v in (0.12345, 12345.6, 0.00004, float("nan"), True, 7, "bm25")]
    ['0.123', '12,346', '4.0e-05', '–', 'yes', '7', 'bm25']
    """
    if value is None or value is pd.NA or (isinstance(value, numbers.Real) and math.isnan(value)):
        return MISSING
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "yes" if value else "no"
    if isinstance(value, numbers.Integral):
        return f"{int(value):,}"
    if isinstance(value, numbers.Real):
        if abs(value) >= 1000:
            return f"{value:,.0f}"
        if 0 < abs(value) < 0.5 * 10**-digits:
            return f"{value:.1e}"
        return f"{value:.{digits}f}"
    return str(value)


def to_markdown(frame: pd.DataFrame, *, digits: int = 3) -> str:
    """Write a frame as a Markdown table; a named index becomes its first columns, numbers stand to the right.

    >>> print(to_markdown(pd.DataFrame({"strategy": ["bm25"], "diameter": [0.5]})))
    | strategy | diameter |
    | :------- | -------: |
    | bm25     |    0.500 |
    """
    flat = _flat(frame)
    right = [_is_numeric(flat.iloc[:, index]) for index in range(flat.shape[1])]
    lines = [[str(name) for name in flat.columns]] + [[_shown(v, digits) for v in row] for row in flat.itertuples(index=False)]
    lines = [[text.replace("|", "\\|").replace("\n", " ") for text in line] for line in lines]
    widths = [max(3, *(len(line[index]) for line in lines)) for index in range(len(right))]
    rule = ["-" * (width - 1) + ":" if r else ":" + "-" * (width - 1) for width, r in zip(widths, right, strict=True)]
    lines.insert(1, rule)
    return "\n".join(
        "| " + " | ".join(t.rjust(w) if r else t.ljust(w) for t, w, r in zip(line, widths, right, strict=True)) + " |" for line in lines
    )


def _is_numeric(column: pd.Series) -> bool:
    """Tell whether a column stands to the right: numbers, or texts that all start with one (or are missing)."""
    if pd.api.types.is_bool_dtype(column):
        return False
    if pd.api.types.is_numeric_dtype(column):
        return True
    texts = [text for value in column if (text := _text(value)) and text != MISSING]
    return bool(texts) and all(re.match(r"^(< )?[-+]?\d[\d,]*(\.\d+)?($| ± | \[)", text) for text in texts)


# --- files of one chart -----------------------------------------------------------------------------------------------


class ChartFiles(NamedTuple):
    """The three files of a saved chart."""

    json: Path
    svg: Path
    png: Path


def _vega_lite_version() -> str:
    """Return the Vega-Lite version of the installed Altair, as vl-convert names it (6.4 for v6.4.1)."""
    import vl_convert

    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    versions = vl_convert.get_vegalite_versions()
    if version not in versions:
        raise RuntimeError(
            f"altair {alt.__version__} writes Vega-Lite {version}, but the installed vl-convert-python "
            f"{vl_convert.__version__} has only {', '.join(versions)}; install versions that fit each other"
        )
    return version


def _svg(spec: dict[str, Any]) -> str:
    """Return the chart as SVG, its ids counted from 0: the converter goes on counting from one chart to the next."""
    import vl_convert

    svg = vl_convert.vegalite_to_svg(spec, vl_version=_vega_lite_version())
    names = list(dict.fromkeys(re.findall(r'\bid="((?:clip|gradient_|pattern_)\d+)"', svg)))
    for index, name in enumerate(names):
        svg = re.sub(rf'(id="|url\(#){name}(?=["\)])', rf"\g<1>part{index}", svg)
    return svg


def save_chart(chart: Any, path_stem: str | Path) -> ChartFiles:
    """Write a chart as ``<path_stem>.json``, ``.svg`` and ``.png`` (at double size), under :func:`theme`.

    The JSON is the same, byte for byte, for the same frame; SVG and PNG also depend on the machine's fonts.

    Args:
        chart: An Altair chart with its data inside.
        path_stem: Where, without an ending; missing folders are made.

    Returns:
        The three paths.
    """
    import vl_convert

    stem = Path(path_stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    spec = chart_spec(chart)
    files = ChartFiles(*(stem.with_name(f"{stem.name}.{ending}") for ending in ChartFiles._fields))
    files.json.write_text(json.dumps(spec, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    files.svg.write_text(_svg(spec), encoding="utf-8")
    files.png.write_bytes(vl_convert.vegalite_to_png(spec, vl_version=_vega_lite_version(), scale=2))
    return files


# --- the HTML report --------------------------------------------------------------------------------------------------


class Table(NamedTuple):
    """A frame with its caption.

    Attributes:
        frame: What is shown; a named index becomes row headers, two-level columns two lines of headers.
        caption: One sentence or two, plain text.
        digits: Decimals of floats.
        highlight: Bold for the highest entry of each column among cells, as :func:`styled` does.
        links: Columns that hold relative paths, to become links.
    """

    frame: pd.DataFrame
    caption: str
    digits: int = 3
    highlight: bool = False
    links: Sequence[str] = ()


class Figure(NamedTuple):
    """A chart with its caption.

    Attributes:
        chart: An Altair chart.
        caption: One sentence or two, plain text.
        alt: What a reader who does not see the chart is told; the caption by default.
        data: The frame behind the data link; the chart's own by default.
    """

    chart: Any
    caption: str
    alt: str | None = None
    data: pd.DataFrame | None = None


class Section(NamedTuple):
    """A heading with paragraphs (plain text, with `code` between backticks), then tables and figures."""

    title: str
    paragraphs: Sequence[str] = ()
    blocks: Sequence[Table | Figure] = ()


STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 72rem; background: #fff; color: #1a1a1a;
  font: 16px/1.55 Helvetica, Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; padding-top: .6rem; border-top: 1px solid #d0d0d0; }
p { max-width: 46rem; margin: .6rem 0; }
a { color: #00568a; }
code { font: .88em/1.4 ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.about { color: #595959; margin: 0; }
nav { margin: 1.5rem 0; padding: .8rem 1.2rem; background: #f5f7f9; border-left: 4px solid #0072b2; max-width: 46rem; }
nav h2 { font-size: 1rem; margin: 0; padding: 0; border: 0; }
nav ol { margin: .4rem 0 0; padding-left: 1.4rem; }
figure { margin: 1.6rem 0; }
figcaption { max-width: 46rem; margin: .4rem 0; font-size: .94rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .84rem; line-height: 1.35; font-variant-numeric: tabular-nums;
  border-top: 2px solid #1a1a1a; border-bottom: 2px solid #1a1a1a; }
th, td { padding: .28rem .55rem; text-align: left; vertical-align: top; }
thead th { border-bottom: 1px solid #1a1a1a; vertical-align: bottom; }
thead th.group { text-align: center; border-bottom: 1px solid #a0a0a0; }
tbody th { font-weight: normal; white-space: nowrap; }
tbody tr:nth-child(even) { background: #f7f8f9; }
tr.baseline th, tr.baseline td { color: #595959; }
tr.last-baseline th, tr.last-baseline td { border-bottom: 1px solid #1a1a1a; }
th.number, td.number { text-align: right; white-space: nowrap; }
td.best { font-weight: bold; }
td.long { min-width: 12rem; overflow-wrap: anywhere; font: .76rem/1.4 ui-monospace, Menlo, Consolas, monospace; }
.chart svg, .chart canvas { display: block; }
.fallback { display: block; max-width: 100%; height: auto; }
.drawn + .fallback { display: none; }
.data { font-size: .86rem; margin-left: .5rem; white-space: nowrap; }
footer { margin-top: 3rem; padding-top: .8rem; border-top: 1px solid #d0d0d0; color: #595959; font-size: .88rem; }
@media print {
  @page { margin: 15mm; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  nav { background: none; }
  figure, tr { break-inside: avoid; }
  figure.table { break-inside: auto; }
  h2, figcaption, p:has(+ figure) { break-after: avoid; }
  thead { display: table-header-group; }
  .scroll { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: .12rem .3rem; }
  .chart svg { max-width: 100%; height: auto; }
  .data, .vega-embed summary { display: none; }
  a { color: inherit; text-decoration: none; }
}
"""

# Each chart is drawn where its specification lies; when that fails the static picture stays in view.
SCRIPT = """
const options = {mode: "vega-lite", renderer: "svg", ast: true,
  actions: {export: true, source: false, compiled: false, editor: false}};
async function draw(holder) {
  const place = document.getElementById(holder.dataset.chart);
  try {
    await vegaEmbed(place, JSON.parse(holder.textContent), options);
    place.classList.add("drawn");
  } catch (error) {
    place.replaceChildren();
    console.error(holder.dataset.chart + ": " + error);
  }
}
document.querySelectorAll("script[data-chart]").forEach(draw);
"""

# What the page may do: run what it holds, and fetch nothing.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; font-src data:"


@functools.cache
def _javascript(version: str) -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script, from the installed vl-convert-python."""
    import vl_convert

    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", version)
    return re.sub(r"</(script)", r"<\\/\1", bundle, flags=re.IGNORECASE).replace("<!--", "<\\!--")


def html_report(
    sections: Sequence[Section],
    title: str,
    path: str | Path,
    *,
    study: str,
    identity: str,
    about: str = "",
    date: str | None = None,
    language: str = "en",
) -> Path:
    """Write one self-contained HTML file: contents, sections, tables, and charts drawn by scripts that lie inside.

    The page fetches nothing, and its content security policy forbids it to. Until a chart is drawn, and where scripts
    do not run, a static picture of it is shown. Each table and figure has a link to its data as CSV, which lies inside.

    Args:
        sections: What the report says, in order.
        title: Of the page.
        path: The file to write; missing folders are made.
        study: The study's name, for the footer.
        identity: The study's identity, for the footer.
        about: One line under the title, such as the study's question.
        date: A date to show; none by default, so that the same study gives the same bytes.
        language: Of the prose, as a language tag.

    Returns:
        The path.

    Raises:
        ValueError: There is no section, a block is no table or figure, a link is absolute, or a chart reads from a URL.
    """
    if not sections:
        raise ValueError("sections is empty; a report needs at least one Section")
    escape = html.escape
    anchors = [f"section-{number}" for number in range(1, len(sections) + 1)]
    counts = {"Table": 0, "Figure": 0}
    body: list[str] = []
    for number, (anchor, section) in enumerate(zip(anchors, sections, strict=True), start=1):
        body.append(f'<section id="{anchor}" aria-labelledby="{anchor}-title">')
        body.append(f'<h2 id="{anchor}-title">{number} {escape(section.title)}</h2>')
        body += [f"<p>{_prose(paragraph)}</p>" for paragraph in section.paragraphs]
        for block in section.blocks:
            kind = type(block).__name__
            if kind not in counts:
                raise ValueError(f"section {section.title!r} holds a block of type {kind}; expected Table or Figure")
            counts[kind] += 1
            write = _table_html if isinstance(block, Table) else _figure_html
            body.append(write(block, counts[kind]))
        body.append("</section>")
    contents = [f'<li><a href="#{anchor}">{escape(section.title)}</a></li>' for anchor, section in zip(anchors, sections, strict=True)]
    scripts = []
    if counts["Figure"]:
        scripts = [f"<script>{_javascript(_vega_lite_version())}</script>", f"<script>{SCRIPT}</script>"]
    footer = [f"Study {escape(study)}", f"identity <code>{escape(identity)}</code>"]
    footer += [escape(date)] if date else []
    lines = [
        "<!DOCTYPE html>",
        f'<html lang="{escape(language)}">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
        f"<header><h1>{escape(title)}</h1>" + (f'<p class="about">{_prose(about)}</p>' if about else "") + "</header>",
        '<nav aria-labelledby="contents"><h2 id="contents">Contents</h2><ol>',
        *contents,
        "</ol></nav>",
        "<main>",
        *body,
        "</main>",
        f"<footer>{' · '.join(footer)}</footer>",
        *scripts,
        "</body>",
        "</html>",
    ]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
    draft.replace(path)
    return path


def _prose(text: str) -> str:
    """Escape a paragraph; what stands between backticks is set as code.

    >>> _prose("a < b in `run`")
    'a &lt; b in <code>run</code>'
    """
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _csv_link(frame: pd.DataFrame, name: str) -> str:
    """Return a link that holds the frame as CSV."""
    text = _flat(frame).to_csv(index=False, lineterminator="\n")
    data = base64.b64encode(text.encode("utf-8")).decode("ascii")
    rows = f"{len(frame):,} row" + ("" if len(frame) == 1 else "s")
    return f'<a class="data" download="{name}.csv" href="data:text/csv;charset=utf-8;base64,{data}">Data ({rows}, CSV)</a>'


def _relative(path: str) -> str:
    """Return a path unchanged; refuse one that is absolute or has a scheme."""
    if PurePosixPath(path).is_absolute() or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|\\|//", path):
        raise ValueError(f"{path!r} is not a relative path; a report links only to files beside it")
    return path


def _table_html(table: Table, number: int) -> str:
    frame, escape = table.frame, html.escape
    named = any(name is not None for name in frame.index.names)
    levels = frame.index.nlevels if named else 0
    unknown = [name for name in table.links if name not in frame.columns]
    if unknown:
        raise ValueError(f"table {table.caption!r} has no column {unknown[0]!r} to link{nearest(unknown[0], frame.columns)}")
    right = [_is_numeric(frame.iloc[:, index]) for index in range(frame.shape[1])]
    best = _best(frame) if table.highlight else None
    n_baselines = frame.attrs.get("n_baselines", 0)

    head = []
    depth = frame.columns.nlevels
    for level in range(depth):
        row = []
        if level == 0 and named:
            span = f' rowspan="{depth}"' if depth > 1 else ""
            row += [f'<th scope="col"{span}>{escape(_text(name))}</th>' for name in frame.index.names]
        values = [_text(column[level] if depth > 1 else column) for column in frame.columns]
        if level < depth - 1:
            start = 0
            while start < len(values):
                end = start
                while end < len(values) and values[end] == values[start]:
                    end += 1
                row.append(f'<th scope="colgroup" class="group" colspan="{end - start}">{escape(values[start])}</th>')
                start = end
        else:
            for value, numeric in zip(values, right, strict=True):
                row.append(f'<th scope="col"{_class(number=numeric)}>{escape(value)}</th>')
        head.append("<tr>" + "".join(row) + "</tr>")

    body = []
    for index in range(len(frame)):
        row = []
        if named:
            label = frame.index[index]
            parts = label if levels > 1 else (label,)
            row += [f'<th scope="row">{escape(_shown(part, table.digits))}</th>' for part in parts]
        for place in range(frame.shape[1]):
            text = _shown(frame.iat[index, place], table.digits)
            shown = escape(text)
            if frame.columns[place] in table.links:
                shown = f'<a href="{escape(_relative(text))}">{shown}</a>'
            marks = {
                "number": right[place],
                "best": best is not None and bool(best.iat[index, place]),
                "long": len(text) > 40 and " " not in text,
            }
            row.append(f"<td{_class(**marks)}>{shown}</td>")
        marks = {
            "baseline": index < n_baselines,
            "last-baseline": index == n_baselines - 1 and n_baselines < len(frame),
        }
        body.append(f"<tr{_class(**marks)}>" + "".join(row) + "</tr>")

    name = f"table-{number}"
    return "\n".join(
        [
            f'<figure class="table" id="{name}" aria-labelledby="{name}-caption">',
            f'<figcaption id="{name}-caption"><strong>Table {number}.</strong> {_prose(table.caption)}'
            f"{_csv_link(frame, name)}</figcaption>",
            f'<div class="scroll"><table aria-labelledby="{name}-caption"><thead>',
            *head,
            "</thead><tbody>",
            *body,
            "</tbody></table></div>",
            "</figure>",
        ]
    )


def _class(**marks: bool) -> str:
    """Return a class attribute with the names that hold, or nothing."""
    names = " ".join(name for name, holds in marks.items() if holds)
    return f' class="{names}"' if names else ""


def _figure_html(figure: Figure, number: int) -> str:
    data = figure.data if figure.data is not None else getattr(figure.chart, "data", None)
    if not isinstance(data, pd.DataFrame):
        raise ValueError(f"figure {figure.caption!r}: the chart holds no frame of its own; pass data= the frame behind it")
    spec = chart_spec(figure.chart)
    if url := _data_url(spec):
        raise ValueError(f"figure {figure.caption!r} reads its data from {url!r}; a self-contained report needs it inside")
    alternative = html.escape(figure.alt or figure.caption)
    picture = base64.b64encode(_svg(spec).encode("utf-8")).decode("ascii")
    embedded = json.dumps(spec, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    embedded = embedded.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    name = f"figure-{number}"
    return "\n".join(
        [
            f'<figure id="{name}" aria-labelledby="{name}-caption">',
            f'<div class="scroll"><div class="chart" id="{name}-chart" role="group" aria-label="{alternative}"></div>',
            f'<img class="fallback" alt="{alternative}" src="data:image/svg+xml;base64,{picture}"></div>',
            f'<script type="application/json" data-chart="{name}-chart">{embedded}</script>',
            f'<figcaption id="{name}-caption"><strong>Figure {number}.</strong> {_prose(figure.caption)}'
            f"{_csv_link(data, name)}</figcaption>",
            "</figure>",
        ]
    )


def _data_url(spec: Any) -> str | None:
    """Return the first URL that a specification reads data from."""
    if isinstance(spec, dict):
        if isinstance(spec.get("data"), dict) and isinstance(spec["data"].get("url"), str):
            return spec["data"]["url"]
        parts: Iterable[Any] = (value for key, value in spec.items() if key not in ("datasets", "config"))
    elif isinstance(spec, list):
        parts = spec
    else:
        return None
    return next((url for part in parts if (url := _data_url(part))), None)

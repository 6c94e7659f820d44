"""What tables and charts share: the columns of a study's frames, the choice of rows, labels, the theme, and what tells names apart.

The frames that tables and charts take:

- ``results``: one row a cell, seed, test collection, first stage and measure, with ``value``;
- ``summary``: ``mean``, ``sd`` and ``n_seeds`` of each cell per collection, test collection, first stage and measure;
- ``differences``: paired comparisons with their interval, p-values and verdict; ``across``: the same over collections;
- ``costs``: one row a cell and seed with times, counts, memory and the identity of the trained student;
- ``descriptions``: diameters and entropies of training groups; ``entropy``: mean entropies per strategy and teacher;
- ``learning_rates``: what each search tried; ``variance`` and ``strategy_spread``: how much the strategies explain.

``system`` tells trained cells (``student``) from the baselines (``first_stage``, ``untrained``, ``teacher``).
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import numbers
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import altair as alt
import pandas as pd

from rd_utils.study.params import nearest

Spec = dict[str, Any]  # a chart in Vega-Lite's JSON, or a part of one

# Okabe and Ito's colours (2008), distinct under the common colour vision deficiencies; yellow, weak on white, is last.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 1], [10, 4], [1, 3], [6, 2, 1, 2, 1, 2])
INK, MUTED, BAND = "#1a1a1a", "#595959", "#dfe7ee"

# JupyterLab 4 draws this type by itself, without a network and in notebooks that it does not trust; Altair's own type it does not know.
VEGA_LITE = "application/vnd.vegalite.v5+json"
SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"  # a name, which no one opens
_WITHOUT_MENU = {"embed_options": {"actions": False}}  # whose last entry leads to a page outside, and whose margin costs width
_PARTS = ("layer", "hconcat", "vconcat", "concat", "spec")  # what a chart is made of
_WIDTH = 770  # pixels, of a chart in a notebook: what JupyterLab shows in a window of 1280 beside its list of files
_NARROWEST = 0.4  # share of its width that a view keeps, whatever stands beside it
DRAWN_BY = "5.8"  # the Vega-Lite within vl-convert that is nearest to JupyterLab's
_PICTURE_SCALE = 1.5
_PICTURE_COLOURS = 128
_PICTURE_FONT = "Liberation Sans"  # lies within vl-convert, so that a picture does not depend on a machine's fonts
_DIGITS = 6  # significant, of the numbers within a notebook's chart

# verdict: what the legend says, colour, shape
VERDICTS = {
    "different": ("#D55E00", "triangle-up"),
    "equivalent": ("#0072B2", "circle"),
    "both": ("#CC79A7", "diamond"),
    "undecided": ("#767676", "cross"),
}
# family of contrasts with what is not trained: what a cell is compared with
AGAINST = {"first stage": "its first stage", "untrained": "its untrained self", "against teacher": "its teacher"}
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
    *PLACE, "family", "contrast", *DIMENSIONS, "difference", "low", "high", "n_queries", "n_seeds", "p_difference", "p_equivalence",
    "p_holm", "equivalent", "different", "verdict", "verdict_queries", "smallest_margin", "equivalence_margin",
)  # fmt: skip
ACROSS_COLUMNS = (
    "first_stage", "measure", "family", "contrast", *DIMENSIONS, "n_collections", "mean", "sd", "low", "high", "n_positive",
    "different", "equivalent",
)  # fmt: skip
DESCRIPTION_COLUMNS = ("collection", "strategy", "teacher", *SETTINGS, "state", "diameter_q99")
COST_COLUMNS = ("cell", "collection", "seed", "identity", *DIMENSIONS, "total_cpu_seconds")


# --- choosing rows ----------------------------------------------------------------------------------------------------


def require(frame: pd.DataFrame, columns: Iterable[str], name: str) -> None:
    """Check that a frame has columns and rows.

    Args:
        frame: What is to be shown.
        columns: The columns that it must have.
        name: What the frame is called, for the message.

    Raises:
        ValueError: A column is missing, named with the nearest that is there, or there is no row.
    """
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        hint = nearest(missing[0], list(frame.columns))
        raise ValueError(f"{name} lacks {len(missing)} column(s), the first is {missing[0]!r}{hint}")
    if frame.empty:
        raise ValueError(f"{name} has no rows; nothing can be shown")


def choose(frame: pd.DataFrame, column: str, value: object, name: str) -> pd.DataFrame:
    """Keep the rows with one value of a column; without a value there must be only one.

    Args:
        frame: Any rows.
        column: Which column.
        value: Which of its values; None where the column holds only one.
        name: What the frame is called, for the message.

    Returns:
        The rows, with the index that they had.

    Raises:
        ValueError: The column holds several values and none was chosen, or not the one that was.

    >>> frame = pd.DataFrame({"measure": ["AP", "RR@10"], "value": [0.25, 0.5]})
    >>> choose(frame, "measure", "AP", "results")["value"].tolist()
    [0.25]
    """
    choices = list(dict.fromkeys(frame[column]))
    if value is None:
        if len(choices) > 1:
            raise ValueError(f"{name} holds {len(choices)} values of {column}: {choices}; pass {column}= one of them")
        return frame
    if value not in choices:
        raise ValueError(f"{name} holds no {column} {value!r}{nearest(str(value), choices)}")
    return frame[frame[column] == value]


def select(frame: pd.DataFrame, name: str, **choices: object) -> pd.DataFrame:
    """Keep the rows with one value of each of several columns.

    Args:
        frame: Any rows.
        name: What the frame is called, for the message.
        **choices: A value, or None, by column.

    Raises:
        ValueError: As :func:`choose` does.
    """
    for column, value in choices.items():
        frame = choose(frame, column, value, name)
    return frame


def varying(frame: pd.DataFrame, columns: Iterable[str]) -> list[str]:
    """Return the columns that a frame has and in which its rows differ; a missing value is one like others.

    >>> varying(pd.DataFrame({"loss": ["kl", "kl"], "teacher": ["", None]}), ["teacher", "loss", "cut"])
    ['teacher']
    """
    return [column for column in columns if column in frame.columns and frame[column].nunique(dropna=False) > 1]


# --- labels -----------------------------------------------------------------------------------------------------------


def as_text(value: object) -> str:
    """Return a label as text; a missing one is empty.

    >>> as_text(None), as_text(float("nan")), as_text(0.5)
    ('', '', '0.5')
    """
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def plain_number(value: object) -> str:
    """Return a number without trailing zeros, anything else as text.

    >>> plain_number(2.0), plain_number("bm25")
    ('2', 'bm25')
    """
    return f"{value:g}" if isinstance(value, numbers.Real) else str(value)


def as_setting(value: object) -> str:
    """Write a name or a number of a dimension; a missing one is empty."""
    return plain_number(value) if as_text(value) else ""


def distinct(values: Iterable[object]) -> list[str]:
    """Return distinct non-empty labels in order of appearance.

    >>> distinct(["bm25", "", "dense", "bm25"])
    ['bm25', 'dense']
    """
    return list(dict.fromkeys(text for value in values if (text := as_text(value))))


def joined(*parts: object) -> str:
    """Return labels as one, the missing ones left out.

    >>> joined("kl", "", "oracle")
    'kl · oracle'
    """
    return " · ".join(text for part in parts if (text := as_text(part)))


# --- theme ------------------------------------------------------------------------------------------------------------


def theme() -> Spec:
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
            "view": {"stroke": "#c8c8c8", "continuousWidth": 300, "continuousHeight": 300},  # what Vega-Lite 6 takes, 5 does not
            "facet": {"spacing": 14},
        }
    }  # fmt: skip


def use_theme() -> contextlib.ExitStack:
    """Enable :func:`theme` and :func:`notebook_output` for Altair, without its limit on rows.

    For good when called, or for a block as ``with use_theme(): ...``.
    """
    enabled = contextlib.ExitStack()
    enabled.enter_context(_themed())
    alt.renderers.register("rd_utils", notebook_output)
    enabled.enter_context(cast(contextlib.AbstractContextManager, alt.renderers.enable("rd_utils")))
    return enabled


def _themed() -> contextlib.AbstractContextManager:
    alt.data_transformers.enable("default", max_rows=None)
    alt.theme.register("rd_utils", enable=False)(lambda: alt.theme.ThemeConfig(**theme()))
    return cast(
        contextlib.AbstractContextManager, alt.theme.enable("rd_utils")
    )  # whose __exit__ is typed more narrowly than Python calls it


def chart_spec(chart: alt.typing.ChartType) -> Spec:
    """Return a chart's Vega-Lite specification under :func:`theme`, with all rows inside, however many."""
    with _themed(), alt.data_transformers.enable("default", max_rows=None):
        return chart.to_dict(validate=False)  # which takes longer than the rest; the tests validate every kind of chart


# --- charts in notebooks ----------------------------------------------------------------------------------------------


def notebook_output(spec: Spec, **options: object) -> tuple[dict[str, object], dict[str, object]]:
    """Return what a notebook holds of a chart: a specification that JupyterLab draws, a picture for every other reader, and a line of text.

    Nothing of it asks for a network or for trust, and the same chart gives the same bytes.

    Args:
        spec: Altair's specification, its data inside.
        **options: Of the renderer; none is known.

    Returns:
        The output by MIME type, and the metadata by MIME type.
    """
    drawn = _fitted(notebook_spec(spec))
    picture, width, height = _picture(drawn)
    words = describe_chart(spec)
    output = {VEGA_LITE: drawn, "image/png": base64.b64encode(picture).decode("ascii"), "text/plain": words}
    return output, {VEGA_LITE: _WITHOUT_MENU, "image/png": {"alt": words, "width": width, "height": height}}


def notebook_spec(spec: Spec) -> Spec:
    """Return a specification as a notebook holds it: small, and the same for the same chart wherever it stands.

    Altair counts its views through a kernel's life, and names parameters and data by hashes: here all are counted from 1 within the chart.
    Data become one line of JSON each, without the columns that the chart does not use, and with numbers of six significant digits.

    >>> chart = alt.Chart(pd.DataFrame({"a": [1 / 3], "unused": ["x"]})).mark_point().encode(x="a:Q")
    >>> notebook_spec(chart_spec(chart))["datasets"]
    {'rows_1': '[{"a":0.333333}]'}
    """
    data = {name: f"rows_{number}" for number, name in enumerate(sorted(spec.get("datasets", {}), key=_places(spec)), start=1)}
    drawn = _renamed({key: value for key, value in spec.items() if key != "datasets"}, data)
    text = json.dumps(drawn, ensure_ascii=False)
    names: dict[str, str] = {}
    for name, kind in re.findall(r'"name": "((view|param)_[0-9a-f]+)"', text):
        names.setdefault(name, f"{kind}_{1 + sum(new.startswith(kind) for new in names.values())}")
    if names:
        text = re.sub(rf"(?<![A-Za-z0-9_])({'|'.join(names)})(?![A-Za-z0-9_])", lambda match: names[match[1]], text)
    datasets = {data[name]: _packed(rows, text) for name, rows in spec.get("datasets", {}).items()}
    return json.loads(text) | {"$schema": SCHEMA} | ({"datasets": dict(sorted(datasets.items()))} if datasets else {})


def describe_chart(spec: Spec) -> str:
    """Return what a chart shows in one line: its description, else its title, else what its axes are called.

    >>> describe_chart({"mark": "bar", "encoding": {"x": {"title": "rank"}, "y": {"field": "n", "title": "negatives"}}})
    'Chart: negatives, rank'
    >>> describe_chart({"mark": "bar", "encoding": {"x": {"title": ["difference", "in AP"]}}})
    'Chart: difference in AP'
    """
    for key in ("description", "title"):
        own = spec.get(key)
        if text := own.get("text") if isinstance(own, dict) else own:
            return f"Chart: {text}"
    for key in ("title", "field"):
        if axes := distinct(name for channel in ("y", "x", "row", "column", "facet", "color") for name in _named(spec, channel, key)):
            return "Chart: " + ", ".join(axes)
    return "Chart"


def _named(part: object, channel: str, key: str) -> Iterator[str]:
    """Yield what a channel is called, in all views of a chart."""
    if isinstance(part, list):
        for one in part:
            yield from _named(one, channel, key)
    elif isinstance(part, dict):
        name = part.get("encoding", {}).get(channel, {}).get(key)
        name = " ".join(name) if key == "title" and isinstance(name, list) else name  # a list has a line each
        if isinstance(name, str):
            yield name
        for inner in _PARTS:
            yield from _named(part.get(inner), channel, key)


def _places(spec: Spec) -> Callable[[str], tuple[int, str]]:
    """Return a key that orders data sets by where a chart first names them."""
    text = json.dumps({key: value for key, value in spec.items() if key != "datasets"})
    return lambda name: (text.find(json.dumps(name)) % (len(text) + 1), name)


def _inside(value: object, change: Callable[[Spec], Spec]) -> object:
    """Return what a specification holds with every part of it changed, those of a list too."""
    if isinstance(value, list):
        return [_inside(one, change) for one in value]
    return change(value) if isinstance(value, dict) else value


def _renamed(part: Spec, names: dict[str, str]) -> Spec:
    """Return a part of a specification with its data sets under other names, and read as lines of JSON."""
    found: Spec = {key: _inside(value, lambda inner: _renamed(inner, names)) for key, value in part.items()}
    data = found.get("data")
    if isinstance(data, dict) and data.get("name") in names:
        found["data"] = data | {"name": names[data["name"]], "format": {"type": "json"} | data.get("format", {})}
    return found


def _packed(rows: Sequence[Mapping[str, object]], text: str) -> str:
    """Return rows as one line of JSON, without the columns that no part of the specification can name."""
    every = '"content": "data"' in text  # a tooltip that shows whatever there is
    text = text.replace("\\", "")  # which hide dots and brackets of a name
    kept = [{key: _rounded(value) for key, value in row.items() if every or key in text} for row in rows]
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))


def _rounded(value: object) -> object:
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def _fitted(spec: Spec) -> Spec:
    """Return a chart whose views are narrowed by one factor so that, with its labels and legends, it is as wide as a notebook shows."""
    wide, trial = _drawn_width(spec), 0.8
    if wide <= _WIDTH:
        return spec
    narrower = _drawn_width(_narrowed(spec, trial))
    if narrower >= wide:
        return spec
    return _narrowed(spec, max(_NARROWEST, 1 - (1 - trial) * (wide - _WIDTH) / (wide - narrower)))


def _narrowed(part: Spec, share: float) -> Spec:
    """Return a part of a specification with the widths of its views, and what stands at pixels of them, times a share."""
    found = {key: _inside(value, lambda inner: _narrowed(inner, share)) if key in _PARTS else value for key, value in part.items()}
    if isinstance(part.get("width"), (int, float)):
        found["width"] = round(part["width"] * share)
    if isinstance(part.get("mark"), dict) and "limit" in part["mark"]:  # of a text's width
        found["mark"] = part["mark"] | {"limit": round(part["mark"]["limit"] * share)}
    if "encoding" in part:
        places = {channel: _nearer(part["encoding"][channel], share) for channel in ("x", "x2") if channel in part["encoding"]}
        found["encoding"] = part["encoding"] | places
    return found


def _nearer(place: Spec, share: float) -> Spec:
    """Return where something stands with its pixels from the left edge, of a value or a scale's range, times a share."""
    found = dict(place)
    if isinstance(place.get("value"), (int, float)):
        found["value"] = place["value"] * share
    if isinstance(place.get("scale"), dict) and "range" in place["scale"]:
        found["scale"] = place["scale"] | {"range": [pixels * share for pixels in place["scale"]["range"]]}
    return found


def _drawn_width(spec: Spec) -> float:
    """Return how many pixels wide a chart is, with all that stands beside its views."""
    import vl_convert

    svg = vl_convert.vegalite_to_svg(_plain(spec), vl_version=DRAWN_BY)
    return float(re.findall(r'<svg[^>]*\bwidth="([\d.]+)"', svg)[0])


def _plain(spec: Spec) -> Spec:
    return spec | {"config": spec.get("config", {}) | {"font": _PICTURE_FONT}}


def _picture(spec: Spec) -> tuple[bytes, int, int]:
    """Return a chart as PNG of few colours, with the width and height at which it is meant to be seen."""
    import vl_convert
    from PIL import Image

    drawn = vl_convert.vegalite_to_png(_plain(spec), vl_version=DRAWN_BY, scale=_PICTURE_SCALE)
    image = Image.open(io.BytesIO(drawn)).convert("RGB")
    width, height = (round(side / _PICTURE_SCALE) for side in image.size)
    packed = io.BytesIO()
    image.quantize(_PICTURE_COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(packed, "PNG", optimize=True)
    return packed.getvalue(), width, height


# --- what charts are made of ------------------------------------------------------------------------------------------


def tooltips(frame: pd.DataFrame, columns: Sequence[str]) -> list[alt.Tooltip]:
    """Return one tooltip line a column, numbers with up to four significant digits; a column that the frame lacks has none."""
    lines = []
    for column in columns:
        if column not in frame.columns:
            continue
        numeric = pd.api.types.is_numeric_dtype(frame[column]) and not pd.api.types.is_bool_dtype(frame[column])
        lines.append(alt.Tooltip(f"{column}:Q", format=".4~r", title=column) if numeric else alt.Tooltip(f"{column}:N", title=column))
    return lines


def padded_domain(values: pd.Series, share: float = 0.05) -> list[float]:
    """Return the range of the values, widened by a share on both sides.

    >>> padded_domain(pd.Series([0.0, 2.0]), 0.25)
    [-0.5, 2.5]
    """
    low, high = float(values.min()), float(values.max())
    pad = share * ((high - low) or abs(high) or 1.0)
    return [low - pad, high + pad]


def value_scale(names: Sequence[str], values: Sequence[str | list[int]]) -> alt.Scale:
    """Return a scale that gives each name its value; past the end the values start again.

    >>> value_scale(["a", "b", "c"], ["red", "blue"]).range
    ['red', 'blue', 'red']
    """
    return alt.Scale(domain=list(names), range=[values[index % len(values)] for index in range(len(names))])


def shape_scale(names: Sequence[str]) -> alt.Scale:
    """Return a scale of shapes that, with one of colours, tells up to 64 names apart: every eighth has another shape with its colour."""
    return alt.Scale(domain=list(names), range=[SHAPES[(index + index // len(PALETTE)) % len(SHAPES)] for index in range(len(names))])


def empty_panels(frame: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Return a row for each panel that would be empty: without it, Vega-Lite moves later panels into its place.

    Args:
        frame: The rows that are drawn.
        first: The column that makes panels one way.
        second: The column that makes panels the other way.

    Returns:
        Rows with both columns, role ``note`` and a label; a frame without rows and columns where every panel has a row.
    """
    shown = set(zip(frame[first], frame[second], strict=True))
    crossed = [(a, b) for a in distinct(frame[first]) for b in distinct(frame[second])]
    rows = [{first: a, second: b, "role": "note", "label": "not evaluated"} for a, b in crossed if (a, b) not in shown]
    return pd.DataFrame(rows)

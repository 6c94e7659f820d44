"""A study's report as one HTML file: what it answers first, then sections of tables and charts. It lays out and computes no statistic.

Without a script the page is complete: every table, a picture of every chart, links. Scripts that lie inside draw the charts anew, so that
they answer to the pointer, sort and filter tables, write a chart's data as CSV and mark in the contents what is in view.
"""

from __future__ import annotations

import base64
import functools
import gzip
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import altair as alt
import jinja2
import pandas as pd
from markupsafe import Markup, escape

from rd_utils import durable
from rd_utils.report import columns
from rd_utils.report.chart_words import told
from rd_utils.report.drawing import VERDICTS, Spec, as_text
from rd_utils.report.forms import Texts, as_texts, csv_text, flattened, html_prose, relative
from rd_utils.report.pictures import Drawn, draw, vega_lite_version
from rd_utils.study.params import nearest

_FEW = 8  # rows that need no filter
_VERDICT = re.compile(rf"\b({'|'.join(VERDICTS)})\b(?=(?:,[^\d]*)?$)")  # at the end, where "these students only" or "fragile" may follow


class Table(NamedTuple):
    """A frame with its caption.

    Attributes:
        frame: What is shown; an index that is no plain count of rows becomes row headers, two-level columns two lines of headers.
        caption: One sentence or two, plain text.
        digits: Decimals of floats.
        highlight: Bold for the highest entry of each column below the baselines, as :func:`rd_utils.report.forms.render` does.
        links: Columns that hold relative paths, to become links.
        hrefs: By the name of a column or index level, a relative path for each row that its entry leads to; "" where there is none.
        secondary: Columns that are folded until a reader asks for them: then they stand below the others.
        verdicts: Columns whose entries end with a verdict, which is set in its colour.
        whole: Whether all columns stand beside each other, however wide they are.
        name: What other parts of the page refer to it by.
        data: What its CSV holds; the frame by default.
    """

    frame: pd.DataFrame
    caption: str
    digits: int = 3
    highlight: bool = False
    links: Sequence[str] = ()
    hrefs: Mapping[str, Sequence[str]] = {}
    secondary: Sequence[str] = ()
    verdicts: Sequence[str] = ("verdict",)
    whole: bool = False
    name: str = ""
    data: pd.DataFrame | None = None


class Figure(NamedTuple):
    """A chart with its caption.

    Attributes:
        chart: An Altair chart, or what :func:`rd_utils.report.pictures.draw` made of one.
        caption: One sentence or two, plain text.
        alt: What a reader who does not see the chart is told; by default the caption, and what the axes, colours and panels hold.
        name: What its files are called.
    """

    chart: alt.typing.ChartType | Drawn
    caption: str
    alt: str | None = None
    name: str = ""


def figure(name: str, chart: alt.typing.ChartType, caption: str) -> Figure:
    """Return a figure that bears its name behind the caption."""
    return Figure(chart, f"{caption} ({name})", name=name)


class Section(NamedTuple):
    """A heading with paragraphs (plain text, with `code` between backticks), then tables and figures; ``name`` as that of a table."""

    title: str
    paragraphs: Sequence[str] = ()
    blocks: Sequence[Table | Figure] = ()
    name: str = ""


class Point(NamedTuple):
    """One thing that a report says in short.

    Attributes:
        text: A sentence or two, plain text with `code` between backticks.
        see: Names of the tables or sections that it is taken from; those that the page does not hold are left out.
        table: A small table below the sentence.
    """

    text: str
    see: Sequence[str] = ()
    table: Table | None = None


class Short(NamedTuple):
    """What stands above everything: the question, what is answered, and what a reader must be warned of."""

    question: str
    points: Sequence[Point]
    warnings: Sequence[str] = ()


class Imprint(NamedTuple):
    """Where a report comes from.

    Attributes:
        study: The study's name.
        identity: The study's identity.
        made_by: Relative path of the executed notebook that made the report.
        date: A date to show; none by default, so that the same study gives the same bytes.
        kind: What the report is of.
    """

    study: str
    identity: str
    made_by: str = ""
    date: str | None = None
    kind: str = "Study"


def html_report(
    sections: Sequence[Section],
    title: str,
    path: str | Path,
    imprint: Imprint | None,
    *,
    about: str = "",
    short: Short | None = None,
    language: str = "en",
) -> Path:
    """Write one self-contained HTML file: what it says in short, contents, sections, tables, and charts drawn by scripts that lie inside.

    The page fetches nothing, and its content security policy forbids it to. Until a chart is drawn, and where scripts
    do not run, a static picture of it is shown. Each table has a link to its data as CSV, which lies inside; a chart's data lie inside
    once, packed, and the script writes them as CSV.

    Args:
        sections: What the report says, in order.
        title: Of the page.
        path: The file to write; missing folders are made.
        imprint: Of the page; None where it is no study's, and then it has no contents beside it either, whose room its tables take.
        about: One line under the title.
        short: What stands above everything.
        language: Of the prose, as a language tag.

    Raises:
        ValueError: There is no section, a block is no table or figure, two parts have one name, a link is absolute, or a chart reads from
            a URL or holds no frame of its own.
    """
    if not sections:
        raise ValueError("sections is empty; a report needs at least one Section")
    places = _places(sections)
    counts = {"Table": 0, "Figure": 0}
    shown = [{"title": section.title, "paragraphs": section.paragraphs, "blocks": _views(section.blocks, counts)} for section in sections]
    text = _template().render(
        sections=shown,
        title=title,
        imprint=imprint,
        about=about,
        short=short,
        points=[_point_view(point, places) for point in (short.points if short else ())],
        language=language,
        library=_javascript(vega_lite_version()) if counts["Figure"] else "",
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write_text(path, text + "\n")
    return path


@functools.cache
def _template() -> jinja2.Template:
    """Return the page's template, which lies beside this module with its style and scripts; what is filled in is escaped."""

    def loaded(name: str) -> str:
        text = (Path(__file__).parent / name).read_text(encoding="utf-8")
        return text if name.endswith(".html") else f"{{% raw %}}{text}{{% endraw %}}"

    strict = jinja2.StrictUndefined
    environment = jinja2.Environment(loader=jinja2.FunctionLoader(loaded), autoescape=True, trim_blocks=True, undefined=strict)
    environment.filters |= {"prose": lambda text: Markup(html_prose(text)), "rows": _rows, "link": _link}
    return environment.get_template("page.html")


@functools.cache
def _javascript(version: str) -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script, from the installed vl-convert-python, compressed."""
    import vl_convert

    return _compressed(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", version))


def _compressed(text: str) -> str:
    """Return a text compressed, as base64: the same bytes for the same text."""
    return base64.b64encode(gzip.compress(text.encode("utf-8"), mtime=0)).decode("ascii")


def _places(sections: Sequence[Section]) -> dict[str, tuple[str, str]]:
    """Return the anchor of every part that has a name, and what a link to it reads."""
    counts = {"Table": 0, "Figure": 0}
    named: list[tuple[str, tuple[str, str]]] = []
    for number, section in enumerate(sections, start=1):
        named.append((section.name, (f"section-{number}", f"section {number}")))
        for block in section.blocks:
            kind = type(block).__name__
            if kind not in counts:
                raise ValueError(f"section {section.title!r} holds a block of type {kind}; expected Table or Figure")
            counts[kind] += 1
            if isinstance(block, Table):
                named.append((block.name, (f"table-{counts[kind]}", f"table {counts[kind]}")))
    names = [name for name, _ in named if name]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two parts of the report are named {twice[0]!r}; what refers to it could mean either")
    return {name: place for name, place in named if name}


def _views(blocks: Sequence[Table | Figure], counts: dict[str, int]) -> list[dict[str, object]]:
    """Return what the template fills in of tables and figures, counted on."""
    views = []
    for block in blocks:
        kind = type(block).__name__
        counts[kind] += 1
        view = _table_view(block) if isinstance(block, Table) else _figure_view(block)
        views.append(view | {"kind": kind, "number": counts[kind], "caption": block.caption})
    return views


def _point_view(point: Point, places: Mapping[str, tuple[str, str]]) -> dict[str, object]:
    table = point.table
    see = [places[name] for name in point.see if name in places]
    return {"text": point.text, "see": see, "parts": _table_parts(table) if table else [], "caption": table.caption if table else ""}


def _rows(count: int) -> str:
    return f"{count:,} row" + ("" if count == 1 else "s")


# --- tables -----------------------------------------------------------------------------------------------------------


def _table_view(table: Table) -> dict[str, object]:
    data = csv_text(flattened(table.frame if table.data is None else table.data))
    return {
        "csv": base64.b64encode(data.encode("utf-8")).decode("ascii"),
        "n_rows": len(table.frame if table.data is None else table.data),
        "n_folded": sum(column in table.frame.columns for column in table.secondary),
        "filtered": len(table.frame) > _FEW,
        "parts": _table_parts(table),
    }


def _table_parts(table: Table) -> list[dict[str, object]]:
    """Return the table, in as many parts one below the other as its columns need, then what is folded; each repeats what names the rows."""
    texts = as_texts(table.frame, digits=table.digits, highlight=table.highlight)
    names = {place: table.frame.columns[place - texts.n_labels] for place in range(texts.n_labels, len(texts.heads))}
    judged = {place for place, name in names.items() if name in table.verdicts}
    texts = texts._replace(right=[right and place not in judged for place, right in enumerate(texts.right)])  # words stand to the left
    hrefs = _hrefs(table, texts.n_labels)
    entries = [
        [_entry(text, hrefs.get(place, {}).get(row, ""), place in judged) for place, text in enumerate(line)]
        for row, line in enumerate(texts.rows)
    ]
    folded = [place for place, name in names.items() if name in table.secondary]
    shown = [place for place in names if place not in folded]
    lead = columns.lead(texts, shown, judged)
    parts = [(False, part) for part in ([shown] if table.whole else columns.in_parts(texts, shown, lead))]
    parts += [(True, [*lead, *part]) for part in columns.spread(texts, folded, lead)]
    return [{"folded": fold, "head": _head(texts, part), "rows": _body(texts, part, entries)} for fold, part in parts]


def _hrefs(table: Table, n_labels: int) -> dict[int, dict[int, str]]:
    """Return, by column and row, where entries lead to."""
    frame = table.frame
    unknown = [name for name in table.links if name not in frame.columns]
    if unknown:
        raise ValueError(f"table {table.caption!r} has no column {unknown[0]!r} to link{nearest(unknown[0], frame.columns)}")
    names = [*(frame.index.names if n_labels else ()), *frame.columns]
    found = {n_labels + place: list(frame[name]) for place, name in enumerate(frame.columns) if name in table.links}
    for name, paths in table.hrefs.items():
        if name not in names:
            raise ValueError(f"table {table.caption!r} has no column {name!r} to link{nearest(name, [as_text(each) for each in names])}")
        if len(paths) != len(frame):
            raise ValueError(f"table {table.caption!r} has {len(frame)} rows, but {len(paths)} links in column {name!r}; give one a row")
        found[names.index(name)] = list(paths)
    return {place: {row: relative(path) for row, path in enumerate(paths) if path} for place, paths in found.items()}


def _entry(text: str, href: str, judged: bool) -> Markup:
    """Return an entry, escaped: a link where it leads somewhere, and the verdict at its end marked where it is judged.

    >>> print(_entry("+0.07 different, fragile", "", True))
    +0.07 <span class="verdict different">different</span>, fragile
    """
    if href:
        return _link(href, text)
    shown = _broken(columns.unbroken(text))
    return Markup(_VERDICT.sub(r'<span class="verdict \1">\1</span>', str(shown))) if judged else shown


def _broken(text: str) -> Markup:
    """Escape a text, and let lines end after an underscore, which names of strategies and columns are full of."""
    return Markup(str(escape(text)).replace("_", "_<wbr>"))


def _link(href: str, text: str) -> Markup:
    return Markup('<a href="{}">{}</a>').format(relative(href), _broken(text))


def _head(texts: Texts, part: Sequence[int]) -> list[list[dict[str, str]]]:
    """Return the lines of a table's head, each a list of cells."""
    depth = len(texts.heads[0])
    span = Markup(' rowspan="{}"').format(depth) if depth > 1 else ""
    lines: list[list[dict[str, str]]] = [
        [{"scope": "col", "marks": span, "text": _broken(names[-1])} for names in texts.heads[: texts.n_labels]]
    ]
    lines += [[] for _ in range(depth - 1)]
    for level, line in enumerate(lines[:-1]):  # groups of columns
        for text, columns_of in groupby(texts.heads[place][level] for place in part):
            marks = Markup(' class="group" colspan="{}"').format(len(list(columns_of)))
            line.append({"scope": "colgroup", "marks": marks, "text": _broken(text)})
    lines[-1] += [{"scope": "col", "marks": _class(number=texts.right[place]), "text": _broken(texts.heads[place][-1])} for place in part]
    return lines


def _body(texts: Texts, part: Sequence[int], entries: Sequence[Sequence[Markup]]) -> list[dict[str, object]]:
    """Return the rows of a table: labels, then cells."""
    rows: list[dict[str, object]] = []
    for index, (row, best) in enumerate(zip(texts.rows, texts.best, strict=True)):
        cells = []
        for place in part:
            marks = _class(number=texts.right[place], best=best[place], long=len(row[place]) > 40 and " " not in row[place])
            cells.append({"marks": marks, "text": entries[index][place]})
        last = index == texts.n_baselines - 1 and texts.n_baselines < len(texts.rows)
        marks = _class(**{"baseline": index < texts.n_baselines, "last-baseline": last, "even": index % 2 == 1})
        rows.append({"marks": marks, "labels": entries[index][: texts.n_labels], "cells": cells})
    return rows


def _class(**marks: bool) -> Markup:
    """Return a class attribute with the names that hold, or nothing."""
    names = " ".join(name for name, holds in marks.items() if holds)
    return Markup(' class="{}"').format(names) if names else Markup("")


# --- figures ----------------------------------------------------------------------------------------------------------


def _figure_view(figure: Figure) -> dict[str, object]:
    drawn = draw(figure.chart)
    if url := _data_url(drawn.spec):
        raise ValueError(f"figure {figure.caption!r} reads its data from {url!r}; a self-contained report needs it inside")
    shown = drawn.spec.get("data", {}).get("name")
    if shown not in drawn.spec.get("datasets", {}):
        raise ValueError(f"figure {figure.caption!r}: the chart holds no frame of its own; give it one as its data")
    rows = drawn.spec["datasets"][shown]
    alternative = figure.alt or f"{figure.caption.rstrip('.')}. {told(drawn.spec, rows)}"
    return {"alternative": alternative, "picture": _picture(drawn.svg), "packed": _packed(drawn.spec, shown), "n_rows": len(rows)}


def _picture(svg: str) -> str:
    """Return an SVG as the address of a picture, without what a picture cannot use: roles, words for screen readers, fine digits."""

    def rounded(attribute: re.Match[str]) -> str:
        return attribute[1] + re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), attribute[2])

    svg = re.sub(r' (?:role|class|pointer-events|aria-[a-z]+)="[^"]*"', "", svg)
    svg = re.sub(r'( (?:d|transform|x|y|x1|x2|y1|y2|width|height|cx|cy|r)=)("[^"]*")', rounded, svg)
    svg = re.sub(r'="([^"\']*)"', r"='\1'", svg)
    for sign, code in (("%", "%25"), ("#", "%23"), ("<", "%3C"), (">", "%3E"), ('"', "%22"), ("\n", "%0A"), ("&", "&amp;")):
        svg = svg.replace(sign, code)
    return f"data:image/svg+xml,{svg}"


def _packed(spec: Spec, shown: str) -> str:
    """Return a specification with its data, column by column, numbers to six significant digits, compressed, as base64."""
    datasets = {}
    for name, rows in spec["datasets"].items():
        columns = dict.fromkeys(column for row in rows for column in row)
        datasets[name] = {"length": len(rows), "columns": {column: [_short_number(row.get(column)) for row in rows] for column in columns}}
    held = {"spec": {name: part for name, part in spec.items() if name != "datasets"}, "datasets": datasets, "shown": shown}
    return _compressed(json.dumps(held, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def _short_number(value: object) -> object:
    """Return a number with six significant digits, a whole one with all; what is not finite is missing, as JSON has it."""
    if not isinstance(value, float) or value.is_integer():
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _data_url(spec: object) -> str | None:
    """Return the first URL that a specification reads data from."""
    if isinstance(spec, dict):
        if isinstance(spec.get("data"), dict) and isinstance(spec["data"].get("url"), str):
            return spec["data"]["url"]
        parts: Iterable[object] = (value for key, value in spec.items() if key not in ("datasets", "config"))
    elif isinstance(spec, list):
        parts = spec
    else:
        return None
    return next((url for part in parts if (url := _data_url(part))), None)

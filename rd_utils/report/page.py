"""A study's report as one HTML file: what it answers first, then sections of tables and charts. It lays out and computes no statistic.

Without a script the page is complete: every table, a picture of every chart, links. Scripts that lie inside draw the charts anew, so that
they answer to the pointer, sort and filter tables, write a chart's data as CSV and mark in the contents what is in view.
"""

from __future__ import annotations

import base64
import functools
import gzip
import html
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from rd_utils import durable
from rd_utils.params import nearest
from rd_utils.report.drawing import VERDICTS, as_text, distinct
from rd_utils.report.forms import Texts, as_texts, csv_text, flattened, html_prose, relative
from rd_utils.report.pictures import Drawn, draw, vega_lite_version

WIDEST = 1000  # pixels of a table, beside the contents in a window of 1280
_HEAD, _CHARACTER, _PADDING = 7.8, 7.2, 13  # pixels of a bold and a plain character of a wide font, and beside an entry
_FEW = 8  # rows that need no filter
_NAMES_TOLD = 8  # of an axis, in the words that stand for a picture
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

    chart: Any
    caption: str
    alt: str | None = None
    name: str = ""


def figure(name: str, chart: Any, caption: str) -> Figure:
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


STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1a1a1a; --muted: #595959; --rule: #d0d0d0; --band: #f6f7f8; --box: #f2f6fa;
  --link: #00568a; --accent: #0072b2; --warn: #fff4e0; --warn-edge: #b35900;
  --different: #a63c00; --equivalent: #00568a; --both: #8a3a6d; --undecided: #595959; }
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #15181b; --ink: #e6e6e6; --muted: #a9afb5; --rule: #42484e; --band: #1c2024; --box: #1b232b;
    --link: #7fc4f5; --accent: #56b4e9; --warn: #33270f; --warn-edge: #e69f00;
    --different: #ff9d5c; --equivalent: #7fc4f5; --both: #e9a6cf; --undecided: #b4b9be; }
}
@media print { :root { color-scheme: light; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 2.5rem; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 84rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 Helvetica, Arial, sans-serif; display: grid; grid-template-columns: 10.25rem minmax(0, 1fr); column-gap: 1.5rem; }
header, .short, main, footer { grid-column: 2; min-width: 0; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--rule); }
p { max-width: 46rem; margin: .6rem 0; }
a { color: var(--link); }
code { font: .88em/1.4 ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.about { color: var(--muted); margin: 0; }
nav { grid-column: 1; grid-row: 1 / span 4; position: sticky; top: 0; align-self: start; max-height: 100vh; overflow-y: auto;
  padding: .4rem 0; font-size: .82rem; line-height: 1.35; }
nav h2 { font-size: .82rem; margin: 0 0 .3rem; padding: 0 .5rem; border: 0; color: var(--muted); }
nav ol { margin: 0; padding: 0; list-style: none; }
nav a { display: block; padding: .22rem .5rem; border-left: 3px solid transparent; text-decoration: none; }
nav a:hover { text-decoration: underline; }
nav a[aria-current] { border-color: var(--accent); background: var(--box); font-weight: bold; }
.short { margin: 1rem 0 0; padding: .7rem 1.1rem 1rem; background: var(--box); border-left: 4px solid var(--accent); }
.short h2 { margin: 0; padding: 0; border: 0; }
.short .question { font-size: 1.08rem; font-weight: bold; }
.short ul { margin: .4rem 0; padding-left: 1.2rem; }
.short li { margin: .55rem 0; max-width: 60rem; }
.short table { margin: .45rem 0; background: var(--paper); }
.warnings { margin: .9rem 0 0; padding: .5rem .9rem; background: var(--warn); border-left: 4px solid var(--warn-edge); }
.warnings h3 { margin: 0; font-size: 1rem; }
figure { margin: 1.6rem 0; }
figcaption { max-width: 46rem; margin: .4rem 0; font-size: .94em; }
.scroll { overflow-x: auto; }
.parts { position: relative; }
table { border-collapse: collapse; font-size: .78rem; line-height: 1.35; font-variant-numeric: tabular-nums;
  border-top: 2px solid var(--ink); border-bottom: 2px solid var(--ink); }
table + table { margin-top: .9rem; }
th, td { padding: .26rem .4rem; text-align: left; vertical-align: top; }
thead { position: sticky; top: 0; z-index: 1; background: var(--paper); box-shadow: inset 0 -1px var(--ink); }
thead th { vertical-align: bottom; font-size: .93em; }
thead th.group { text-align: center; border-bottom: 1px solid var(--muted); }
thead button { all: unset; cursor: pointer; }
thead button:hover, thead button:focus-visible { text-decoration: underline; }
th[aria-sort=ascending] button::after { content: " \\25B2"; font-size: .7em; }
th[aria-sort=descending] button::after { content: " \\25BC"; font-size: .7em; }
tbody th { font-weight: normal; }
tbody tr.even { background: var(--band); }
tr.baseline th, tr.baseline td { color: var(--muted); }
tr.last-baseline th, tr.last-baseline td { border-bottom: 1px solid var(--ink); }
tr[hidden] { display: none; }
th.number, td.number { text-align: right; }
td.best { font-weight: bold; }
td.long { overflow-wrap: anywhere; min-width: 9rem; font: .92em/1.4 ui-monospace, Menlo, Consolas, monospace; }
.verdict { font-weight: bold; white-space: nowrap; }
.different { color: var(--different); } .different::before { content: "\\25B2\\A0"; }
.equivalent { color: var(--equivalent); } .equivalent::before { content: "\\25CF\\A0"; }
.both { color: var(--both); } .both::before { content: "\\25C6\\A0"; }
.undecided { color: var(--undecided); } .undecided::before { content: "\\271A\\A0"; }
.folded { display: none; }
.unfold:checked ~ .parts .folded { display: table; }
.unfold, .unfold + label { font-size: .84rem; vertical-align: middle; }
.filter { font: inherit; font-size: .84rem; margin: 0 .5rem .3rem 0; padding: .1rem .4rem; width: 13rem; color: inherit;
  background: var(--paper); border: 1px solid var(--muted); }
.found { font-size: .84rem; color: var(--muted); margin-right: .8rem; }
.chart svg, .chart canvas { display: block; }
.chart.drawn, .fallback { background: #fff; }
.fallback { display: block; max-width: 100%; height: auto; }
.drawn + .fallback { display: none; }
.data { font-size: .86rem; margin-left: .5rem; white-space: nowrap; }
button.data { all: unset; font-size: .86rem; margin-left: .5rem; color: var(--link); text-decoration: underline; cursor: pointer; }
button.data[hidden] { display: none; }
button.data:focus-visible { outline: 2px solid var(--accent); }
footer { margin-top: 3rem; padding-top: .8rem; border-top: 1px solid var(--rule); color: var(--muted); font-size: .88rem; }
@media screen and (max-width: 1200px) {
  .parts { overflow-x: auto; }
  thead { position: static; }
}
@media screen and (max-width: 900px) {
  body { display: block; }
  nav { background: var(--paper); z-index: 2; overflow-x: auto; border-bottom: 1px solid var(--rule); }
  nav h2 { display: none; }
  nav ol { display: flex; }
  nav a { white-space: nowrap; }
}
@media print {
  @page { margin: 12mm; }
  body { display: block; max-width: none; padding: 0; font-size: 10pt; }
  nav, .data, button.data, .filter, .found, .unfold, .unfold + label, .vega-embed summary { display: none; }
  figure, tr { break-inside: avoid; }
  figure.table { break-inside: auto; }
  h2, figcaption, p:has(+ figure) { break-after: avoid; }
  thead { display: table-header-group; position: static; box-shadow: none; border-bottom: 1px solid; }
  .scroll, .parts { overflow: visible; }
  table { font-size: 6.7pt; max-width: 100%; }
  th, td { padding: .1rem .22rem; }
  .verdict { white-space: normal; }
  td.long { min-width: 0; }
  .unfold:checked ~ .parts .folded { display: none; }
  .chart svg { max-width: 100%; height: auto; }
  a { color: inherit; text-decoration: none; }
}
"""

# Charts are drawn where their packed specifications lie; when that fails the static picture stays in view.
SCRIPT = r"""
const held = new Map();
async function inflated(holder) {
  const bytes = Uint8Array.from(atob(holder.textContent), sign => sign.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}
async function unpack(holder) {
  const {spec, datasets, shown} = JSON.parse(await inflated(holder));
  spec.datasets = {};
  for (const [name, {length, columns}] of Object.entries(datasets))
    spec.datasets[name] = Array.from({length}, (_, row) => {
      const record = {};
      for (const column in columns) record[column] = columns[column][row];
      return record;
    });
  held.set(holder.dataset.chart, {rows: spec.datasets[shown], columns: Object.keys(datasets[shown].columns)});
  return spec;
}
const options = {mode: "vega-lite", renderer: "svg", ast: true,
  actions: {export: true, source: false, compiled: false, editor: false}};
async function draw(holder) {
  const place = document.getElementById(holder.dataset.chart);
  try {
    await vegaEmbed(place, await unpack(holder), options);
    place.classList.add("drawn");
  } catch (error) {
    place.replaceChildren();
    console.error(holder.dataset.chart + ": " + error);
  }
  const link = document.querySelector(`button[data-of="${holder.dataset.chart}"]`);
  if (held.has(holder.dataset.chart)) link.hidden = false;
}
async function start() {
  const library = document.createElement("script");
  library.textContent = await inflated(document.getElementById("vega"));
  document.head.append(library);
  document.querySelectorAll("script[data-chart]").forEach(draw);
}
start();

const formula = /^(\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])/, numbers = /^[-+][\d.][-+\d.,e%± ()[\]]*$/;
function quoted(value) {
  let text = value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
  if (typeof value === "string" && formula.test(text) && !numbers.test(text)) text = "'" + text;  // a spreadsheet would run it
  return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
}
document.querySelectorAll("button[data-of]").forEach(button => button.addEventListener("click", () => {
  const {rows, columns} = held.get(button.dataset.of);
  const lines = [columns, ...rows.map(row => columns.map(name => row[name]))].map(line => line.map(quoted).join(",") + "\n");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(lines, {type: "text/csv"}));
  link.download = button.dataset.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}));
"""

# Tables can be sorted and filtered, all parts of one together; the contents mark what is in view.
TABLE_SCRIPT = r"""
function key(text) {
  const found = /^(<\s*)?([-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)/.exec(text);
  return found ? Number(found[2].replaceAll(",", "")) - (found[1] ? 1e-9 : 0) : NaN;
}
function compare(a, b) {
  const x = key(a), y = key(b);
  return Number.isNaN(x) || Number.isNaN(y) ? Number.isNaN(x) - Number.isNaN(y) || a.localeCompare(b) : x - y;
}
function equip(holder) {
  const bodies = [...holder.querySelectorAll("table")].map(table => table.tBodies[0]);
  const rows = bodies.map(body => [...body.rows]);
  const fixed = rows[0].filter(row => row.classList.contains("baseline")).length;
  let order = rows[0].map((_, place) => place);
  const stripe = () => bodies.forEach((_, part) => {
    let seen = 0;
    order.forEach(place => { if (!rows[part][place].hidden) rows[part][place].classList.toggle("even", seen++ % 2 === 1); });
  });
  const sort = (part, column, sign) => {
    const text = place => rows[part][place].cells[column].textContent.trim();
    const empty = place => ["", "–"].includes(text(place));
    const moved = rows[0].map((_, place) => place).slice(fixed);
    moved.sort((a, b) => empty(a) - empty(b) || sign * compare(text(a), text(b)) || a - b);
    order = [...order.slice(0, fixed), ...moved];
    bodies.forEach((body, each) => body.append(...order.map(place => rows[each][place])));
    stripe();
  };
  holder.querySelectorAll("table").forEach((table, part) => {
    const last = table.tHead.rows.length - 1;
    const labels = last ? table.tHead.rows[0].querySelectorAll("th[rowspan]").length : 0;
    const heads = [...[...table.tHead.rows[0].cells].slice(0, labels), ...table.tHead.rows[last].cells];
    if (rows[0].length - fixed > 1) heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        holder.querySelectorAll("[aria-sort]").forEach(other => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        sort(part, column, down ? -1 : 1);
      });
    });
  });
  if (!holder.dataset.filter) return;
  const box = document.createElement("input"), found = document.createElement("output");
  Object.assign(box, {type: "search", className: "filter", placeholder: "show rows with ..."});
  box.setAttribute("aria-label", "Show the rows of " + holder.dataset.filter + " that hold these words");
  found.className = "found";
  box.addEventListener("input", () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    rows[0].forEach((_, place) => {
      const text = rows.map(part => part[place].textContent.toLowerCase().replaceAll("\u00a0", " ")).join(" ");
      const shown = words.every(word => text.includes(word));
      rows.forEach(part => { part[place].hidden = !shown; });
      left += shown;
    });
    found.textContent = words.length ? `${left} of ${rows[0].length} rows` : "";
    stripe();
  });
  holder.parentElement.querySelector("figcaption").after(box, found);
}
document.querySelectorAll(".parts").forEach(equip);

const places = [...document.querySelectorAll("nav a")].map(link => [link, document.getElementById(link.hash.slice(1))]);
function mark() {
  const above = places.filter(([, place]) => place.getBoundingClientRect().top < innerHeight / 3);
  places.forEach(([link]) => link.removeAttribute("aria-current"));
  (above.at(-1) ?? places[0])[0].setAttribute("aria-current", "true");
}
addEventListener("scroll", mark, {passive: true});
mark();
"""

# What the page may do: run what it holds, and fetch nothing.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; font-src data:"


@functools.cache
def _javascript(version: str) -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script, from the installed vl-convert-python, compressed."""
    import vl_convert

    return _compressed(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", version))


def _compressed(text: str) -> str:
    """Return a text compressed, as base64: the same bytes for the same text."""
    return base64.b64encode(gzip.compress(text.encode("utf-8"), mtime=0)).decode("ascii")


def html_report(
    sections: Sequence[Section],
    title: str,
    path: str | Path,
    *,
    study: str,
    identity: str,
    about: str = "",
    short: Short | None = None,
    made_by: str = "",
    date: str | None = None,
    language: str = "en",
) -> Path:
    """Write one self-contained HTML file: what it says in short, contents, sections, tables, and charts drawn by scripts that lie inside.

    The page fetches nothing, and its content security policy forbids it to. Until a chart is drawn, and where scripts
    do not run, a static picture of it is shown. Each table has a link to its data as CSV, which lies inside; a chart's data lie inside
    once, packed, and the script writes them as CSV. Tables that would be wider than a window of 1280 pixels stand in parts, one below the
    other.

    Args:
        sections: What the report says, in order.
        title: Of the page.
        path: The file to write; missing folders are made.
        study: The study's name, for the footer.
        identity: The study's identity, for the footer.
        about: One line under the title.
        short: What stands above everything.
        made_by: Relative path of the executed notebook that made the report.
        date: A date to show; none by default, so that the same study gives the same bytes.
        language: Of the prose, as a language tag.

    Returns:
        The path.

    Raises:
        ValueError: There is no section, a block is no table or figure, two parts have one name, a link is absolute, or a chart reads from
            a URL or holds no frame of its own.
    """
    if not sections:
        raise ValueError("sections is empty; a report needs at least one Section")
    places = _places(sections)
    body: list[str] = []
    counts = {"Table": 0, "Figure": 0}
    for number, section in enumerate(sections, start=1):
        body.append(f'<section id="section-{number}" aria-labelledby="section-{number}-title">')
        body.append(f'<h2 id="section-{number}-title">{number} {html.escape(section.title)}</h2>')
        body += [f"<p>{html_prose(paragraph)}</p>" for paragraph in section.paragraphs]
        for block in section.blocks:
            kind = type(block).__name__
            counts[kind] += 1
            body.append((_table_html if isinstance(block, Table) else _figure_html)(block, counts[kind]))
        body.append("</section>")
    entries = [("in-short", "In short")] if short else []
    entries += [(f"section-{number}", f"{number} {section.title}") for number, section in enumerate(sections, start=1)]
    footer = [f"Study {html.escape(study)}", f"identity <code>{html.escape(identity)}</code>"]
    footer += [html.escape(date)] if date else []
    drawn = []
    if counts["Figure"]:
        library = f'<script type="application/gzip" id="vega">{_javascript(vega_lite_version())}</script>'
        drawn = [library, f"<script>{SCRIPT}</script>"]
    lines = [
        "<!DOCTYPE html>",
        f'<html lang="{html.escape(language)}">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{html.escape(title)}</title>",
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
        f"<header><h1>{html.escape(title)}</h1>",
        *([f'<p class="about">{html_prose(about)}</p>'] if about else []),
        *([f'<p class="about">Made by {_link(made_by, "this executed notebook")}.</p>'] if made_by else []),
        "</header>",
        *(_short_html(short, places) if short else []),
        '<nav aria-labelledby="contents"><h2 id="contents">Contents</h2><ol>',
        *(f'<li><a href="#{anchor}">{html.escape(name)}</a></li>' for anchor, name in entries),
        "</ol></nav>",
        "<main>",
        *body,
        "</main>",
        f"<footer>{' · '.join(footer)}</footer>",
        *drawn,
        f"<script>{TABLE_SCRIPT}</script>",
        "</body>",
        "</html>",
    ]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write_text(path, "\n".join(lines) + "\n")
    return path


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


def _short_html(short: Short, places: Mapping[str, tuple[str, str]]) -> list[str]:
    """Return the box above everything."""
    lines = ['<section class="short" id="in-short" aria-labelledby="in-short-title"><h2 id="in-short-title">In short</h2>']
    lines += [f'<p class="question">{html_prose(short.question)}</p>', "<ul>"]
    for point in short.points:
        links = [f'<a href="#{anchor}">{name}</a>' for anchor, name in (places[name] for name in point.see if name in places)]
        lines.append(f"<li>{html_prose(point.text)}" + (f" ({', '.join(links)})" if links else ""))
        if point.table is not None:
            label = f'aria-label="{html.escape(point.table.caption)}"'
            lines.append(f'<div class="parts">{_parts_html(point.table, label)}</div>')
        lines.append("</li>")
    lines.append("</ul>")
    if short.warnings:
        warnings = [f"<li>{html_prose(text)}</li>" for text in short.warnings]
        lines += ['<div class="warnings" role="note"><h3>Warnings</h3><ul>', *warnings, "</ul></div>"]
    return [*lines, "</section>"]


# --- tables -----------------------------------------------------------------------------------------------------------


def _table_html(table: Table, number: int) -> str:
    name = f"table-{number}"
    folded = [column for column in table.secondary if column in table.frame.columns]
    unfold = f"{len(folded)} more column" + ("" if len(folded) == 1 else "s")
    toggle = [f'<input type="checkbox" class="unfold" id="{name}-all"><label for="{name}-all"> {unfold}</label>'] if folded else []
    label = f'aria-labelledby="{name}-caption"'
    filtered = f' data-filter="table {number}"' if len(table.frame) > _FEW else ""
    return "\n".join(
        [
            f'<figure class="table" id="{name}" aria-labelledby="{name}-caption">',
            f'<figcaption id="{name}-caption"><strong>Table {number}.</strong> {html_prose(table.caption)}'
            f"{_csv_link(table.frame if table.data is None else table.data, name)}</figcaption>",
            *toggle,
            f'<div class="parts"{filtered}>{_parts_html(table, label)}</div>',
            "</figure>",
        ]
    )


def _csv_link(frame: pd.DataFrame, name: str) -> str:
    """Return a link that holds the frame as CSV, with the names of its rows."""
    text = csv_text(flattened(frame))
    data = base64.b64encode(text.encode("utf-8")).decode("ascii")
    return f'<a class="data" download="{name}.csv" href="data:text/csv;charset=utf-8;base64,{data}">Data ({_rows(len(frame))}, CSV)</a>'


def _rows(count: int) -> str:
    return f"{count:,} row" + ("" if count == 1 else "s")


def _parts_html(table: Table, label: str) -> str:
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
    lead = _lead(texts, shown, judged)
    parts = [("", part) for part in _parts(texts, shown, lead)]
    parts += [(' class="folded"', [*lead, *part]) for part in _spread(texts, folded, lead)]
    return "\n".join(f"<table {label}{mark}>{_head_html(texts, part)}{_body_html(texts, part, entries)}</table>" for mark, part in parts)


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


def _entry(text: str, href: str, judged: bool) -> str:
    """Return an entry, escaped: a link where it leads somewhere, and the verdict at its end marked where it is judged.

    >>> _entry("+0.07 different, fragile", "", True)
    '+0.07 <span class="verdict different">different</span>, fragile'
    """
    if href:
        return _link(href, text)
    text = _broken(html.escape(_bound(text)))
    return _VERDICT.sub(r'<span class="verdict \1">\1</span>', text) if judged else text


def _broken(text: str) -> str:
    """Let lines end after an underscore, which names of strategies and columns are full of."""
    return text.replace("_", "_<wbr>")


def _bound(text: str) -> str:
    """Return an entry with no-break spaces where a line must not end: in an interval, at a sign."""
    return re.sub(r"\[[^]]*\]| [±>] |< ", lambda part: part[0].replace(" ", "\N{NO-BREAK SPACE}"), text)


def _link(href: str, text: str) -> str:
    return f'<a href="{html.escape(relative(href))}">{_broken(html.escape(text))}</a>'


def _parts(texts: Texts, columns: Sequence[int], lead: list[int]) -> list[list[int]]:
    """Return the columns in as few parts as hold them in the page's width; further parts repeat those that name the rows.

    What a column needs is guessed from its longest text that does not break; a part has at least one column.
    """
    if sum(_needed(texts, place) for place in (*range(texts.n_labels), *columns)) <= WIDEST:
        return [list(columns)]
    return [[*lead, *part] for part in _spread(texts, [place for place in columns if place not in lead], lead)]


def _lead(texts: Texts, columns: Sequence[int], judged: set[int]) -> list[int]:
    """Return the columns that name the rows where no labels do: the words that a table begins with, at most half a page of them."""
    words = (place for place in columns if texts.n_labels == 0 and not texts.right[place] and place not in judged)
    lead = [place for number, place in enumerate(words) if place == number]
    while sum(_needed(texts, place) for place in lead) > WIDEST / 2:
        lead.pop()
    return lead


def _spread(texts: Texts, columns: Sequence[int], lead: Sequence[int]) -> list[list[int]]:
    """Spread columns evenly over as few parts as have room for them beside what names the rows."""
    needed = {place: _needed(texts, place) for place in columns}
    if not needed:
        return []
    parts = _filled(needed, WIDEST - sum(_needed(texts, place) for place in (*range(texts.n_labels), *lead)))
    even = _filled(needed, sum(needed.values()) / len(parts) + max(needed.values()) / 2)
    return even if len(even) == len(parts) else parts


def _filled(needed: Mapping[int, float], room: float) -> list[list[int]]:
    """Fill one part after the other with the columns that it has room for.

    >>> _filled({0: 50.0, 1: 40.0, 2: 30.0}, 100)
    [[0, 1], [2]]
    """
    parts: list[list[int]] = [[]]
    for place, width in needed.items():
        if parts[-1] and sum(needed[each] for each in parts[-1]) + width > room:
            parts.append([])
        parts[-1].append(place)
    return parts


def _needed(texts: Texts, place: int) -> float:
    """Return about how many pixels a column needs."""
    words = [word for row in texts.rows for word in _words(row[place])]
    longest = _CHARACTER * max((min(len(word), 40) for word in words), default=0)
    return max(longest, *(_HEAD * len(word) for word in _words(texts.heads[place][-1]))) + _PADDING


def _words(text: str) -> list[str]:
    """Return what no line of a column breaks."""
    return re.split(r"[ /]|(?<=[A-Za-z]-)|(?<=_)", _bound(text))


def _head_html(texts: Texts, part: Sequence[int]) -> str:
    depth, labels = len(texts.heads[0]), texts.n_labels
    lines = []
    for level in range(depth):
        row = []
        if level == 0:
            span = f' rowspan="{depth}"' if depth > 1 else ""
            row += [f'<th scope="col"{span}>{_head(names[-1])}</th>' for names in texts.heads[:labels]]
        values = [texts.heads[place][level] for place in part]
        if level < depth - 1:
            spans = [(value, len(list(columns))) for value, columns in groupby(values)]
            row += [f'<th scope="colgroup" class="group" colspan="{span}">{_head(value)}</th>' for value, span in spans]
        else:
            row += [
                f'<th scope="col"{_class(number=texts.right[place])}>{_head(value)}</th>' for place, value in zip(part, values, strict=True)
            ]
        lines.append("<tr>" + "".join(row) + "</tr>")
    return "\n".join(["<thead>", *lines, "</thead>"])


def _head(text: str) -> str:
    return _broken(html.escape(text))


def _body_html(texts: Texts, part: Sequence[int], entries: Sequence[Sequence[str]]) -> str:
    lines = []
    for index, (row, best) in enumerate(zip(texts.rows, texts.best, strict=True)):
        line = [f'<th scope="row">{entry}</th>' for entry in entries[index][: texts.n_labels]]
        for place in part:
            marks = {"number": texts.right[place], "best": best[place], "long": len(row[place]) > 40 and " " not in row[place]}
            line.append(f"<td{_class(**marks)}>{entries[index][place]}</td>")
        last = index == texts.n_baselines - 1 and texts.n_baselines < len(texts.rows)
        marks = {"baseline": index < texts.n_baselines, "last-baseline": last, "even": index % 2 == 1}
        lines.append(f"<tr{_class(**marks)}>" + "".join(line) + "</tr>")
    return "\n".join(["<tbody>", *lines, "</tbody>"])


def _class(**marks: bool) -> str:
    """Return a class attribute with the names that hold, or nothing."""
    names = " ".join(name for name, holds in marks.items() if holds)
    return f' class="{names}"' if names else ""


# --- figures ----------------------------------------------------------------------------------------------------------


def _figure_html(figure: Figure, number: int) -> str:
    drawn = figure.chart if isinstance(figure.chart, Drawn) else draw(figure.chart)
    if url := _data_url(drawn.spec):
        raise ValueError(f"figure {figure.caption!r} reads its data from {url!r}; a self-contained report needs it inside")
    shown = drawn.spec.get("data", {}).get("name")
    if shown not in drawn.spec.get("datasets", {}):
        raise ValueError(f"figure {figure.caption!r}: the chart holds no frame of its own; give it one as its data")
    rows = drawn.spec["datasets"][shown]
    alternative = html.escape(figure.alt or f"{figure.caption.rstrip('.')}. {told(drawn.spec, rows)}")
    name = f"figure-{number}"
    about = f'data-of="{name}-chart" data-name="{name}.csv"'
    link = f'<button type="button" class="data" {about} hidden>Data ({_rows(len(rows))}, CSV)</button>'
    return "\n".join(
        [
            f'<figure id="{name}" aria-labelledby="{name}-caption">',
            f'<div class="scroll"><div class="chart" id="{name}-chart" role="group" aria-label="{alternative}"></div>',
            f'<img class="fallback" alt="{alternative}" src="{_picture(drawn.svg)}"></div>',
            f'<script type="application/gzip" data-chart="{name}-chart">{_packed(drawn.spec, shown)}</script>',
            f'<figcaption id="{name}-caption"><strong>Figure {number}.</strong> {html_prose(figure.caption)}{link}</figcaption>',
            "</figure>",
        ]
    )


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


def _packed(spec: dict[str, Any], shown: str) -> str:
    """Return a specification with its data, column by column, numbers to six significant digits, compressed, as base64."""
    datasets = {}
    for name, rows in spec["datasets"].items():
        columns = dict.fromkeys(column for row in rows for column in row)
        datasets[name] = {"length": len(rows), "columns": {column: [_short_number(row.get(column)) for row in rows] for column in columns}}
    held = {"spec": {name: part for name, part in spec.items() if name != "datasets"}, "datasets": datasets, "shown": shown}
    return _compressed(json.dumps(held, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def _short_number(value: Any) -> Any:
    """Return a number with six significant digits, a whole one with all; what is not finite is missing, as JSON has it."""
    if not isinstance(value, float) or value.is_integer():
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None


def told(spec: dict[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Say in words what a chart shows: what stands along its axes, what its colours tell apart, and its panels.

    Args:
        spec: A Vega-Lite specification.
        rows: Its data.

    >>> x, y = {"field": "value", "type": "quantitative", "title": "nDCG@10"}, {"field": "cell", "type": "nominal"}
    >>> told({"encoding": {"x": x, "y": y}}, [{"cell": "bm25", "value": 0.5}, {"cell": "dense", "value": 0.625}])
    'Across, nDCG@10: 0.5 to 0.625. Down, cell: bm25, dense.'
    >>> told({"encoding": {"x": x | {"title": ["difference", "in AP"]}}}, [{"value": 0.5}])
    'Across, difference in AP: 0.5 to 0.5.'
    """
    said: dict[tuple[str, str], str] = {}
    for channel, definition in _channels(spec):
        field = str(definition["field"])
        values = [row[field] for row in rows if row.get(field) is not None]
        if (channel, field) in said or not values:
            continue
        title = definition.get("title", field.replace("_", " "))
        title = " ".join(title) if isinstance(title, list) else as_text(title)  # a list has a line each
        said[channel, field] = f"{channel}{', ' if title else ''}{title}: {_range(definition, values)}."
    order = ("Panels", "Across", "Down", "Colour")
    return " ".join(said[key] for key in sorted(said, key=lambda key: order.index(key[0])))


def _range(definition: Mapping[str, Any], values: Sequence[Any]) -> str:
    """Say which values there are: the ends of numbers, the names of others, in the chart's order."""
    if definition.get("type") == "quantitative":
        numbers = [value for value in values if isinstance(value, int | float)]
        return f"{min(numbers):.3g} to {max(numbers):.3g}" if numbers else "none"
    order = definition.get("sort") if isinstance(definition.get("sort"), list) else []
    present = distinct(values)
    names = [name for name in map(as_text, order) if name in present] or present
    more = len(names) - _NAMES_TOLD
    return ", ".join(names[:_NAMES_TOLD]) + (f" and {more} more" if more > 0 else "")


def _channels(spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what a specification encodes, with the word for its channel; the ends of intervals are no axis of their own."""
    facet = spec.get("facet", {})
    panels = [facet] if "field" in facet else list(facet.values())
    yield from (("Panels", panel) for panel in panels if isinstance(panel, Mapping) and "field" in panel)
    encoding = spec.get("encoding", {})
    for channel, word in (("x", "Across"), ("y", "Down"), ("color", "Colour")):
        definition = encoding.get(channel, {})
        if "field" in definition and "aggregate" not in definition and f"{channel}2" not in encoding:
            yield word, definition
    inside = [part for name in ("layer", "hconcat", "vconcat", "concat") for part in spec.get(name, ())]
    for part in [*inside, *([spec["spec"]] if "spec" in spec else [])]:
        yield from _channels(part)


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

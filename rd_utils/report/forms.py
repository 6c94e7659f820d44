"""One finished table in four forms: a styled frame for a notebook, Markdown, CSV and LaTeX. It computes nothing.

:func:`as_texts` is what all forms but the CSV write, and what the tables of :mod:`rd_utils.report.layout`'s page are made of.

What is shown is the same in the first three: numbers to ``digits`` decimals, "–" where a value is missing, numbers to the right, what
stands highest in a column in bold if that is asked for. The CSV is for machines: full precision, one line of column names, texts as they
are. A frame's named index, or one that is no plain count of rows, is part of the table; ``attrs["n_baselines"]``, as
:func:`rd_utils.report.layout.main_table` sets it, says how many rows on top are baselines, which are never bold.
"""

from __future__ import annotations

import hashlib
import html
import math
import numbers
import re
from collections.abc import Hashable, Iterable, Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple, TypedDict, Unpack, get_args, overload

import pandas as pd
from pandas.io.formats.style import Styler
from pandas.io.formats.style_render import CSSDict
from tabulate import tabulate

from rd_utils import durable
from rd_utils.report.drawing import MISSING, MUTED, as_text, require
from rd_utils.study.params import nearest

Form = Literal["styler", "markdown", "csv", "latex"]

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "&": r"\&", "%": r"\%", "#": r"\#", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": r"\textbar{}",
    MISSING: "--", "—": "---", "−": "$-$", "…": r"\dots{}", "±": r"$\pm$", "·": r"$\cdot$", "×": r"$\times$",
    "≤": r"$\leq$", "≥": r"$\geq$", "≠": r"$\neq$", "≈": r"$\approx$", "→": r"$\to$",
}  # fmt: skip


_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
_NUMBERS = re.compile(r"[-+][\d.][-+\d.,e%± ()\[\]]*")
_CONTROL = re.compile(r"\s*[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]+\s*")


class TableFiles(NamedTuple):
    """The four files of a saved table."""

    html: Path
    markdown: Path
    csv: Path
    latex: Path


class Looks(TypedDict, total=False):
    """How a table is written, as :func:`render` says."""

    caption: str
    label: str
    digits: int
    highlight: bool | Sequence[Hashable]


class Texts(NamedTuple):
    """A table as it is read: the index's levels are its first columns.

    Attributes:
        heads: Of each column, one text a line of heads.
        rows: The entries, row by row.
        right: Which columns stand to the right.
        best: Which entries are bold, row by row.
        n_labels: How many columns come from the index.
        n_baselines: How many rows on top are baselines.
    """

    heads: list[tuple[str, ...]]
    rows: list[list[str]]
    right: list[bool]
    best: list[list[bool]]
    n_labels: int
    n_baselines: int


# --- what both people and files read ----------------------------------------------------------------------------------


@overload
def render(table: pd.DataFrame, to: Literal["styler"], **looks: Unpack[Looks]) -> Styler: ...
@overload
def render(table: pd.DataFrame, to: Literal["markdown", "csv", "latex"], **looks: Unpack[Looks]) -> str: ...
def render(
    table: pd.DataFrame, to: Form, *, caption: str = "", label: str = "", digits: int = 3, highlight: bool | Sequence[Hashable] = False
) -> Styler | str:
    r"""Write a table in one of four forms.

    Args:
        table: Values of any kind, texts such as "0.512 ± 0.003" among them; columns and rows may have several levels.
        to: ``styler`` (HTML in a notebook), ``markdown``, ``csv`` or ``latex`` (booktabs).
        caption: Plain text, `code` between backticks; a CSV has none.
        label: What LaTeX refers to the table by, such as ``tab:main``.
        digits: Decimals of floats; a CSV has them all.
        highlight: Bold for the highest entry of each column below the baselines, ties as shown included: True for all columns of numbers
            but counts, or the columns' names. Bold says nothing about whether a difference is more than chance.

    Returns:
        A pandas Styler for ``styler``, otherwise a text that ends in a line break.

    Raises:
        ValueError: The form or a highlighted column is unknown, a label holds what LaTeX cannot refer to, two columns would have the same
            name in a file, or the table is empty.

    >>> table = pd.DataFrame({"nDCG@10": [0.5, 0.25]}, index=pd.Index(["bm25", "corpus_random"], name="strategy"))
    >>> print(render(table, "markdown", highlight=True), end="")
    | strategy      |   nDCG@10 |
    |:--------------|----------:|
    | bm25          | **0.500** |
    | corpus_random |     0.250 |
    >>> print(render(table, "latex"), end="")
    \begin{tabular}{lr}
    \toprule
    strategy & nDCG@10 \\
    \midrule
    bm25 & 0.500 \\
    corpus\_random & 0.250 \\
    \bottomrule
    \end{tabular}
    """
    if to not in get_args(Form):
        raise ValueError(f"unknown form {to!r} of a table{nearest(str(to), get_args(Form))}")
    require(table, (), "table")
    if not re.fullmatch(r"[A-Za-z0-9:._+-]*", label):
        raise ValueError(f"label is {label!r}; LaTeX refers to letters, digits and any of : . _ + -, as in 'tab:main'")
    flat = flattened(table)
    if to == "csv":
        return csv_text(flat)
    texts = as_texts(table, digits=digits, highlight=highlight)
    if to == "markdown":
        names = [head[-1] for head in texts.heads[: texts.n_labels]] + list(flat.columns[texts.n_labels :])
        return _markdown(texts, names, caption)
    return _latex(texts, caption, label) if to == "latex" else _styler(table, texts, caption)


def save_table(table: pd.DataFrame, stem: str | Path, **looks: Unpack[Looks]) -> TableFiles:
    """Write a table as ``<stem>.html``, ``.md``, ``.csv`` and ``.tex``; the same table gives the same bytes.

    Args:
        table: As for :func:`render`.
        stem: Where, without an ending; missing folders are made.
        **looks: As for :func:`render`.

    Returns:
        The four paths. The HTML is a page of its own.
    """
    stem = Path(stem)
    texts = {
        "html": render(table, "styler", **looks).to_html(doctype_html=True),
        "md": render(table, "markdown", **looks),
        "csv": render(table, "csv", **looks),
        "tex": render(table, "latex", **looks),
    }
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(f"{stem.name}.{ending}") for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        durable.write_text(path, text)
    return TableFiles(*paths)


def csv_text(frame: pd.DataFrame) -> str:
    """Write a frame without its index as CSV; a text that a spreadsheet would run as a formula begins with an apostrophe.

    Such texts begin with one of = + - @, also in full width, a tab or a line's end (OWASP, CSV injection). Numbers, and texts of numbers
    alone, such as a difference with its interval, stay as they are.

    >>> print(csv_text(pd.DataFrame({"name": ["=1+1", "-0.5 [-0.6, -0.4]", "a=b"], "x": [-1.5, 2.0, 0.0]})), end="")
    name,x
    '=1+1,-1.5
    "-0.5 [-0.6, -0.4]",2.0
    a=b,0.0
    """
    safe = frame.set_axis([no_formula(name) for name in frame.columns], axis=1)
    for place, dtype in enumerate(frame.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype):
            safe.isetitem(place, frame.iloc[:, place].map(no_formula, na_action="ignore").array)
    return safe.to_csv(index=False, lineterminator="\n")


def no_formula(value: object) -> object:
    """Return a value for a CSV: a text that a spreadsheet would run as a formula begins with an apostrophe, as :func:`csv_text` says."""
    if not isinstance(value, str):
        return value
    value = value.replace("\r\n", "\n").replace("\r", "\n")  # a CSV's writer quotes the one end of line, its readers know both
    return value if not _FORMULA.match(value) or _NUMBERS.fullmatch(value) else f"'{value}"


def flattened(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with its index as columns and one line of column names, such as "full nDCG@10"; values stay as they are.

    Raises:
        ValueError: Two columns would have the same name.

    >>> matrix = pd.DataFrame([[0.0, 0.1], [-0.1, 0.0]], index=["bm25", "dense"], columns=["bm25", "dense"])
    >>> flattened(matrix).columns.tolist()
    ['row', 'bm25', 'dense']
    """
    flat = table.reset_index(drop=True).set_axis([_column_name(column) for column in table.columns], axis=1)
    for place, level in reversed(list(enumerate(_levels(table)))):
        flat.insert(0, _level_name(table, place), level, allow_duplicates=True)
    twice = flat.columns[flat.columns.duplicated()]
    if len(twice):
        raise ValueError(f"{len(twice)} column(s) of the table have the name of another, the first is {twice[0]!r}; rename one")
    return flat


def _levels(table: pd.DataFrame) -> list[pd.Index]:
    """Return the index's levels as columns; a plain count of rows without a name is none."""
    index = table.index
    counts = all(name is None for name in index.names) and isinstance(index, pd.RangeIndex) and index.start == 0 and index.step == 1
    return [] if counts else [index.get_level_values(place) for place in range(index.nlevels)]


def _level_name(table: pd.DataFrame, place: int) -> str:
    name = as_text(table.index.names[place])
    return name or ("row" if table.index.nlevels == 1 else f"row {place + 1}")


def _column_name(column: Hashable) -> str:
    return " ".join(str(part) for part in column if str(part)) if isinstance(column, tuple) else str(column)


def as_texts(table: pd.DataFrame, *, digits: int = 3, highlight: bool | Sequence[Hashable] = False) -> Texts:
    """Return what a reader sees of a table, whatever it is written in: every entry as text, where it stands, and whether it is bold.

    Args:
        table: As for :func:`render`, like all that follows.
        digits: Decimals of floats.
        highlight: What is set in bold.

    Raises:
        ValueError: A highlighted column is unknown.

    >>> as_texts(pd.DataFrame({"strategy": ["bm25", "dense"], "nDCG@10": [0.5, 0.25]}), highlight=True).rows
    [['bm25', '0.500'], ['dense', '0.250']]
    """
    depth, levels = table.columns.nlevels, _levels(table)
    columns = [table.iloc[:, place] for place in range(table.shape[1])]
    heads = [(*[""] * (depth - 1), as_text(name)) for name in (table.index.names if levels else ())]
    heads += [tuple(as_text(part) for part in name) if depth > 1 else (as_text(name),) for name in table.columns]
    shown = [[_shown(value, digits) for value in column] for column in (*levels, *columns)]
    right = [False] * len(levels) + [_is_numeric(column) for column in columns]
    n_baselines = int(table.attrs.get("n_baselines", 0))
    if isinstance(highlight, bool):
        counts = [pd.api.types.is_integer_dtype(column) for column in columns]
        marked = [highlight and numeric and not count for numeric, count in zip(right[len(levels) :], counts, strict=True)]
    else:
        unknown = [name for name in highlight if name not in table.columns]
        if unknown:
            raise ValueError(f"the table has no column {unknown[0]!r} to highlight{nearest(str(unknown[0]), table.columns)}")
        marked = [name in list(highlight) for name in table.columns]
    best = [
        _highest(texts, n_baselines) if mark else [False] * len(table) for texts, mark in zip(shown[len(levels) :], marked, strict=True)
    ]
    best = [[False] * len(table)] * len(levels) + best
    rows, bold = ([list(row) for row in zip(*part, strict=True)] for part in (shown, best))
    return Texts(heads, rows, right, bold, len(levels), n_baselines)


def _shown(value: object, digits: int = 3) -> str:
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
        size = abs(float(value))
        if size >= 1000:
            return f"{value:,.0f}"
        if 0 < size < 0.5 * 10**-digits:
            return f"{value:.1e}"
        return f"{value:.{digits}f}"
    return str(value)


def _is_numeric(column: pd.Series) -> bool:
    """Tell whether a column stands to the right: numbers, or texts that all start with one (or are missing)."""
    if pd.api.types.is_bool_dtype(column):
        return False
    if pd.api.types.is_numeric_dtype(column):
        return True
    texts = [text for value in column if (text := as_text(value)) and text != MISSING]
    return bool(texts) and all(re.match(r"^(< )?[-+]?\d[\d,]*(\.\d+)?($| ± | \[)", text) for text in texts)


def _highest(texts: Sequence[str], n_baselines: int) -> list[bool]:
    """Mark the entries that start with the largest number, as shown, among those below the baselines."""
    values = [math.nan] * n_baselines + [_leading_number(text) for text in texts[n_baselines:]]
    largest = max((value for value in values if not math.isnan(value)), default=math.nan)
    return [value == largest for value in values]


def _leading_number(text: str) -> float:
    """Return the number that an entry starts with, or NaN.

    >>> [_leading_number(text) for text in ("+0.012 [0.001, 0.023]", "4.0e-05", "12,346", "< 0.001")]
    [0.012, 4e-05, 12346.0, nan]
    """
    found = re.match(r"[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?", text)
    return float(found[0].replace(",", "")) if found else math.nan


def relative(path: str) -> str:
    """Return a path unchanged; refuse one that is absolute or has a scheme.

    Raises:
        ValueError: It is.
    """
    if PurePosixPath(path).is_absolute() or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:|\\|//", path):
        raise ValueError(f"{path!r} is not a relative path; a report links only to files beside it")
    return path


# --- Markdown ---------------------------------------------------------------------------------------------------------


def _markdown(texts: Texts, names: Sequence[str], caption: str) -> str:
    rows = [
        [f"**{_markdown_text(text)}**" if mark else _markdown_text(text) for text, mark in zip(row, bold, strict=True)]
        for row, bold in zip(texts.rows, texts.best, strict=True)
    ]
    sides = ["right" if right else "left" for right in texts.right]
    heads = [_markdown_text(name) for name in names]
    written = tabulate(rows, heads, tablefmt="pipe", colalign=sides, disable_numparse=True) + "\n"
    return written + (f"\nTable: {_one_line(caption)}\n" if caption else "")


def _markdown_text(text: str) -> str:
    r"""Escape what Markdown would read as its own: marks, HTML, entities, links and bare addresses.

    An underscore within a word is left, since it is none of Markdown's, and so is a bracket that begins no link.

    >>> print(_markdown_text("corpus_random | _x_ * <b> < 0.001 [a](b) [0.1, 0.2] https://x.org &lt;"))
    corpus_random \| \_x\_ \* \<b> < 0.001 [a\](b) [0.1, 0.2] https\://x.org \&lt;
    """
    text = re.sub(r"([\\`*|~$]|<(?=[A-Za-z/!?])|\](?=[(\[:])|:(?=//)|(?<=www)\.|&(?=#?\w+;))", r"\\\1", _one_line(text))
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)


def _one_line(text: str) -> str:
    return _CONTROL.sub(" ", text)


# --- LaTeX ------------------------------------------------------------------------------------------------------------


def latex_text(text: str) -> str:
    r"""Escape a text for LaTeX: its special characters, and the signs that this project writes in tables.

    A minus before a number is set as one; a bracket or an asterisk at the start is protected, since after a line's end they are arguments.

    >>> print(latex_text("corpus_random & 50 % #1 ~ –"), latex_text("0.512 ± 0.003"), latex_text("[-0.03, +0.01]"))
    corpus\_random \& 50 \% \#1 \textasciitilde{} -- 0.512 $\pm$ 0.003 {[}$-$0.03, +0.01]
    """
    text = re.sub(r"(?<![\w.)\]-])-(?=\d)", "−", _one_line(text))
    text = text.translate(str.maketrans(_LATEX))
    return "{" + text[0] + "}" + text[1:] if text[:1] in ("[", "*") else text


def _latex_prose(text: str) -> str:
    """Escape a caption; what stands between backticks is set as code."""
    parts = re.split(r"`([^`]+)`", text)
    return "".join(rf"\texttt{{{latex_text(part)}}}" if place % 2 else latex_text(part) for place, part in enumerate(parts))


def _latex(texts: Texts, caption: str, label: str) -> str:
    depth = len(texts.heads[0])
    rows: list[list[str]] = []
    for number, (row, bold) in enumerate(zip(texts.rows, texts.best, strict=True)):
        line = [rf"\textbf{{{latex_text(text)}}}" if mark else latex_text(text) for text, mark in zip(row, bold, strict=True)]
        for place in range(texts.n_labels - 1):  # of several levels of rows a label is written once
            if number not in (0, texts.n_baselines) and row[: place + 1] == texts.rows[number - 1][: place + 1]:
                line[place] = ""
        rows.append(line)
    heads = [tuple(latex_text(part) for part in head) for head in texts.heads]
    columns = pd.MultiIndex.from_tuples(heads) if depth > 1 else pd.Index([head[0] for head in heads])
    written = (
        pd.DataFrame(rows, columns=columns)
        .style.hide(axis="index")
        .to_latex(
            hrules=True,
            column_format="".join("r" if right else "l" for right in texts.right),
            multicol_align="c",
            caption=_latex_prose(caption) or None,
            label=label or None,
            position_float="centering" if caption or label else None,
        )
    )
    lines = written.rstrip("\n").split("\n")
    top, middle = lines.index(r"\toprule"), lines.index(r"\midrule")
    rules = _rules(heads)
    head = [line for place in range(depth) for line in (lines[top + 1 + place], *rules[place : place + 1]) if line]
    body = lines[middle:]
    if 0 < texts.n_baselines < len(rows):
        body.insert(1 + texts.n_baselines, r"\midrule")
    return "\n".join([*lines[: top + 1], *head, *body]) + "\n"


def _rules(heads: Iterable[tuple[str, ...]]) -> list[str]:
    r"""Return the rules under each line of heads but the last: one under every named group of columns.

    >>> print(_rules([("", "strategy"), ("full", "nDCG@10"), ("full", "R@100")])[0])
    \cmidrule(lr){2-3}
    """
    heads, rules = list(heads), []
    for line in range(len(heads[0]) - 1):
        spans, start = [], 1
        for prefix, columns in groupby(heads, key=lambda head: head[: line + 1]):
            end = start + len(list(columns)) - 1
            spans += [rf"\cmidrule(lr){{{start}-{end}}}"] if prefix[-1] else []
            start = end + 1
        rules.append(" ".join(spans))
    return rules


# --- HTML -------------------------------------------------------------------------------------------------------------


def html_prose(text: str) -> str:
    """Escape a paragraph for HTML; what stands between backticks is set as code.

    >>> html_prose("a < b in `run`")
    'a &lt; b in <code>run</code>'
    """
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


class _Named(Styler):
    """A Styler whose text form, which notebooks hold beside the table, is its caption: pandas' own is an address in memory."""

    caption: str | None

    def __repr__(self) -> str:
        return f"Table: {self.caption}" if self.caption else "Table"


def _styler(table: pd.DataFrame, texts: Texts, caption: str) -> Styler:
    """Return a Styler over escaped texts; bold lies in the entries, since a Styler's own styles want rows without a repeated name."""
    entries = [
        [f"<strong>{html.escape(text)}</strong>" if mark else html.escape(text) for text, mark in zip(row, bold, strict=True)]
        for row, bold in zip(texts.rows, texts.best, strict=True)
    ]
    labels = [[row[place] for row in entries] for place in range(texts.n_labels)]
    names = [html.escape(head[-1]) or None for head in texts.heads[: texts.n_labels]]
    index: pd.Index | None = None
    if labels:
        index = pd.Index(labels[0], name=names[0]) if len(labels) == 1 else pd.MultiIndex.from_arrays(labels, names=names)
    heads = [tuple(html.escape(part) for part in head) for head in texts.heads[texts.n_labels :]]
    above = [html.escape(as_text(name)) or None for name in table.columns.names]
    columns = pd.MultiIndex.from_tuples(heads, names=above) if table.columns.nlevels > 1 else pd.Index([h[0] for h in heads], name=above[0])
    frame = pd.DataFrame([row[texts.n_labels :] for row in entries], index=index, columns=columns)

    # a page may hold many tables: each has a name of its own, which only its content sets
    name = hashlib.sha256(repr((texts, caption)).encode("utf-8")).hexdigest()[:10]
    right = [f".col{place}" for place, numeric in enumerate(texts.right[texts.n_labels :]) if numeric]
    grey = [f"{kind}.row{place}" for place in range(texts.n_baselines) for kind in ("td", "th")]
    styles: list[CSSDict] = [{"selector": "th, td", "props": "text-align: left; vertical-align: top"}]
    if table.columns.nlevels > 1:
        styles.append({"selector": "thead th[colspan]", "props": "text-align: center"})
    if right:
        styles.append({"selector": ", ".join(right), "props": "text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap"})
    if grey:
        styles.append({"selector": ", ".join(grey), "props": f"color: {MUTED}"})
    styler = _Named(frame).set_uuid(name).set_table_styles(styles)
    styler = styler if labels else styler.hide(axis="index")
    return styler.set_caption(html_prose(caption)) if caption else styler

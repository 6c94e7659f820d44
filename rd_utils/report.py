"""The tables that are shown of a study, and its self-contained HTML report. It lays out finished frames and computes no statistic.

What the frames hold, :mod:`rd_utils.drawing` says; :mod:`rd_utils.tables` writes a table in other forms, :mod:`rd_utils.charts` draws. A
table shows one training collection and one of its test collections; where a frame holds several, ``collection`` and ``test_collection``
choose.
"""

from __future__ import annotations

import base64
import functools
import html
import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import altair as alt
import pandas as pd

from rd_utils.drawing import (
    ACROSS_COLUMNS,
    BASELINES,
    COST_COLUMNS,
    DESCRIPTION_COLUMNS,
    DIFFERENCE_COLUMNS,
    DIMENSIONS,
    MISSING,
    PLACE,
    SETTINGS,
    SUMMARY_COLUMNS,
    as_setting,
    as_text,
    chart_spec,
    choose,
    distinct,
    plain_number,
    require,
    select,
    varying,
)
from rd_utils.params import nearest
from rd_utils.tables import as_texts, flattened, html_prose

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
    require(summary, SUMMARY_COLUMNS, "summary")
    if "cell" not in rows:
        raise ValueError(f"rows is {tuple(rows)}, but 'cell' must be among them: it tells the rows apart")
    require(summary, rows, "summary")
    frame = select(summary, "summary", test_collection=test_collection, collection=collection)
    for column, wanted in (("measure", measures), ("first_stage", first_stages)):
        for value in wanted or ():
            choose(frame, column, value, "summary")
    measures = list(measures or distinct(frame["measure"]))
    first_stages = list(first_stages or distinct(frame["first_stage"]))
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
    labels = [[as_text(value) for value in systems[row]] for row in rows]
    index = pd.Index(labels[0], name="cell") if len(rows) == 1 else pd.MultiIndex.from_arrays(labels, names=list(rows))
    table = pd.DataFrame(texts, index=index, columns=pd.MultiIndex.from_tuples(columns, names=["first_stage", "measure"]))
    table.attrs["n_baselines"] = int(systems["system"].isin(BASELINES).sum())
    return table


def differences_table(differences: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """Return the comparisons as a table: difference with intervals, p-values, smallest margin, queries needed and verdict.

    Both p-values, on which the verdict rests, are corrected by Holm over their family; where the frame has only the raw one of equivalence,
    its title says no Holm. What is of the contrast alone says so: "smallest margin (uncorrected)" is the one that these data could just
    have proved, "queries needed (uncorrected)" how many the margin needs. "over seeds too" is the bootstrap interval over seeds and
    queries, "seed share" the share of the variance over queries that is noise of the seeds (at most, in per cent), and "fragile" says "yes"
    where the verdict would not survive another reasonable look (:func:`rd_utils.analysis.differences`). Columns with one value only (say
    one measure) are left out, for the caption to state; contrast and verdict stay. A dimension that the contrast itself names is blank.

    Args:
        differences: One row a comparison.
        digits: Decimals shown.

    Returns:
        One row a comparison, all columns text but for the margins.

    Raises:
        ValueError: A column is missing.
    """
    require(differences, DIFFERENCE_COLUMNS, "differences")
    table = _named(differences, _places(differences))
    table["difference [interval]"] = [
        f"{row.difference:+.{digits}f} [{row.low:+.{digits}f}, {row.high:+.{digits}f}]" for row in differences.itertuples()
    ]
    corrected = "p_equivalence_holm" in differences
    equivalence = ("p_equivalence_holm", "p (equivalence, Holm)") if corrected else ("p_equivalence", "p (equivalence)")
    for column, title in (("p_holm", "p (Holm)"), equivalence):
        table[title] = [_p_value(value) for value in differences[column]]
    if "bootstrap_low" in differences:
        bounds = zip(differences["bootstrap_low"], differences["bootstrap_high"], strict=True)
        table["over seeds too"] = [f"[{low:+.{digits}f}, {high:+.{digits}f}]" for low, high in bounds]
    table["smallest margin (uncorrected)"] = [MISSING if pd.isna(v) else f"{v:.{digits}f}" for v in differences["smallest_margin"]]
    if "queries_needed" in differences:
        table["queries needed (uncorrected)"] = [MISSING if pd.isna(v) else f"{int(v):,}" for v in differences["queries_needed"]]
    if "seed_share" in differences:
        table["seed share"] = [MISSING if pd.isna(v) else f"{v:.0%}" for v in differences["seed_share"]]
    if differences["equivalence_margin"].nunique() > 1:
        table["margin"] = differences["equivalence_margin"]
    table["verdict"] = differences["verdict"]
    if "fragile" in differences:
        table["fragile"] = ["yes" if fragile else "" for fragile in differences["fragile"]]
    return table.reset_index(drop=True)


def _named(contrasts: pd.DataFrame, place: Sequence[str]) -> pd.DataFrame:
    """Return the columns that say which contrast a row is: ``place``, and of the family and the dimensions those that vary."""
    own = {name: contrasts["family"] == name for name in DIMENSIONS}
    varied = [name for name in DIMENSIONS if contrasts.loc[~own[name], name].nunique(dropna=False) > 1]
    table = contrasts[[*place, *varying(contrasts, ["family"]), *varied]].copy()
    for name in varied:
        table[name] = table[name].map(as_setting).where(~own[name], "")
    return table.assign(contrast=contrasts["contrast"])


def _places(frame: pd.DataFrame) -> list[str]:
    """Return the columns that say where a row was measured, those that vary; no training collection that the test collection tells."""
    told = (frame.groupby("test_collection", dropna=False)["collection"].nunique() == 1).all()
    return [name for name in varying(frame, PLACE) if name != "collection" or not told]


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
    require(across, ACROSS_COLUMNS, "across")
    table = _named(across, varying(across, ("measure", "first_stage")))
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
    require(pairs, ("system_a", "system_b", "difference", "verdict", "letters_a", "letters_b"), "pairs")
    if pairs.duplicated(["system_a", "system_b"]).any():
        raise ValueError("a pair of systems stands twice; give the rows of one matrix")
    signs = {"equivalent": " =", "different": " *", "both": " =*", "undecided": ""}
    systems = distinct([*pairs["system_a"], *pairs["system_b"]])
    letters = dict(zip(pairs["system_a"], pairs["letters_a"], strict=True)) | dict(zip(pairs["system_b"], pairs["letters_b"], strict=True))
    table = pd.DataFrame("", index=pd.Index(systems, name="row minus column"), columns=systems)
    for row in pairs.itertuples():
        table.loc[row.system_b, row.system_a] = f"{row.difference:+.{digits}f}{signs[row.verdict]}"
    table.insert(0, "equivalent to", [letters[system] or MISSING for system in systems])
    return table


def search_table(table: pd.DataFrame, measure: str, *, digits: int = 3) -> pd.DataFrame:
    """Return what each search tried: one row an architecture and loss, one column a learning rate, the rate taken with an asterisk.

    Args:
        table: As for :func:`rd_utils.charts.search_chart`.
        measure: The column to show.
        digits: Decimals shown.

    Raises:
        ValueError: A column is missing.
    """
    require(table, ("architecture", "loss", "learning_rate", "chosen", measure), "learning_rates")
    mark = {True: " *", False: ""}
    shown = table.assign(text=[f"{v:.{digits}f}{mark[bool(c)]}" for v, c in zip(table[measure], table["chosen"], strict=True)])
    keys = ["architecture", "loss", *(["search"] if "search" in table.columns else [])]
    wide = shown.pivot_table(index=keys, columns="learning_rate", values="text", aggfunc="first", sort=False).reset_index()
    wide = wide[[*keys, *sorted(set(table["learning_rate"]))]].fillna(MISSING)
    wide = wide if wide.duplicated(["architecture", "loss"]).any() else wide.drop(columns="search", errors="ignore")
    return wide.rename(columns=lambda name: plain_number(name)).rename_axis(columns=None)


def description_table(descriptions: pd.DataFrame) -> pd.DataFrame:
    """Return the diameters and entropies of training groups, before and after augmentation and temperature.

    Args:
        descriptions: One row a strategy, teacher, augmentation, part of the queries, dial and state.

    Returns:
        One row each; settings with one value only are left out, the strategy stays.

    Raises:
        ValueError: A column is missing.
    """
    require(descriptions, DESCRIPTION_COLUMNS, "descriptions")
    names = {
        "diameter_q99": "diameter q99, mean", "diameter_median": "median", "diameter_high": "q99", "mean_distance": "mean distance",
        "pairwise_entropy": "pairwise entropy", "positive_entropy": "positive entropy", "listwise_entropy": "listwise entropy",
        "density_ratio": "density ratio", "coverage": "coverage", "solved_temperature": "temperature solved for",
    }  # fmt: skip
    keys = ("collection", "strategy", "teacher", *SETTINGS, "state")
    shown = varying(descriptions, keys)
    shown = [name for name in keys if name in shown or name == "strategy"]
    if "target_entropy" not in shown:
        names.pop("solved_temperature")
    table = descriptions[[*shown, *(name for name in names if name in descriptions.columns and descriptions[name].notna().any())]]
    table = table.assign(**{name: table[name].map(as_setting) for name in SETTINGS if name in shown})
    return table.rename(columns=names).reset_index(drop=True)


def variance_table(variance: pd.DataFrame) -> pd.DataFrame:
    """Return the shares of a factorial's variance, one row a factorial, one column a source, with interval and p-value of its F test.

    The sources are the two factors, their interaction, the seeds and the residual. "Holm p" is the p-value corrected over the effects of
    all factorials, "p" that of the effect alone, which is shown where there is no corrected one.

    Args:
        variance: One row a factorial and source: ``source``, ``share``, ``p``, ``p_holm`` (corrected), ``low`` and ``high`` (of the share)
            where known, and what tells factorials apart.

    Raises:
        ValueError: A column is missing.
    """
    require(variance, (*PLACE, "loss", "source", "share", "p"), "variance")
    dimensions = [name for name in DIMENSIONS if name in variance.columns]
    keys = [*_places(variance), *(name for name in dimensions if name == "loss" or varying(variance, [name]))]
    shown = variance.assign(**{name: variance[name].map(as_setting) for name in keys})
    lows, highs, corrected = (variance[name] if name in variance else [math.nan] * len(variance) for name in ("low", "high", "p_holm"))
    shown["text"] = [
        f"{share:.1%}"
        + ("" if pd.isna(low) else f" [{low:.1%}, {high:.1%}]")
        + (_effect_p("p", p) if pd.isna(holm) else _effect_p("Holm p", holm))
        for share, low, high, p, holm in zip(variance["share"], lows, highs, variance["p"], corrected, strict=True)
    ]
    wide = shown.pivot_table(index=keys, columns="source", values="text", aggfunc="first", sort=False)[distinct(variance["source"])]
    return wide.reset_index().rename_axis(columns=None)


def _effect_p(name: str, value: float) -> str:
    """Write a p-value in brackets behind an effect; nothing where there was no test.

    >>> _effect_p("p", 0.0314), _effect_p("Holm p", 0.0002)
    (' (p = 0.031)', ' (Holm p < 0.001)')
    """
    text = _p_value(value)
    return "" if pd.isna(value) else f" ({name} {text})" if text.startswith("<") else f" ({name} = {text})"


def spread_table(spread: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return how far apart the strategies' means lie, of one measure; what all rows share is left out.

    Args:
        spread: One row a collection, first stage, measure, loss, teacher, architecture ...
        measure: Which measure.

    Raises:
        ValueError: A column is missing, or the measure is unknown.
    """
    require(spread, (*PLACE, "loss", "n_strategies", "lowest", "highest", "spread", "sd"), "strategy_spread")
    spread = choose(spread, "measure", measure, "strategy_spread")
    keys = [*_places(spread), *varying(spread, DIMENSIONS)]
    table = spread[[*keys, "lowest", "highest", "spread", "sd"]].reset_index(drop=True)
    return table.assign(**{name: table[name].map(as_setting) for name in SETTINGS if name in table.columns}).rename(columns={"sd": "SD"})


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
    require(costs, COST_COLUMNS, "costs")
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
    table["manifest"] = [manifest.replace("{identity}", as_text(identity)) for identity in costs["identity"]]
    return table.reset_index(drop=True)


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
    """Write a chart as ``<path_stem>.json``, ``.svg`` and ``.png`` (at double size), under :func:`rd_utils.drawing.theme`.

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
        frame: What is shown; an index that is no plain count of rows becomes row headers, two-level columns two lines of headers.
        caption: One sentence or two, plain text.
        digits: Decimals of floats.
        highlight: Bold for the highest entry of each column below the baselines, as :func:`rd_utils.tables.render` does.
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
        body += [f"<p>{html_prose(paragraph)}</p>" for paragraph in section.paragraphs]
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
        f"<header><h1>{escape(title)}</h1>" + (f'<p class="about">{html_prose(about)}</p>' if about else "") + "</header>",
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


def _csv_link(frame: pd.DataFrame, name: str) -> str:
    """Return a link that holds the frame as CSV, with the names of its rows."""
    text = flattened(frame).to_csv(index=False, lineterminator="\n")
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
    unknown = [name for name in table.links if name not in frame.columns]
    if unknown:
        raise ValueError(f"table {table.caption!r} has no column {unknown[0]!r} to link{nearest(unknown[0], frame.columns)}")
    linked = [column in table.links for column in frame.columns]
    texts = as_texts(frame, digits=table.digits, highlight=table.highlight)
    labels, depth = texts.n_labels, frame.columns.nlevels

    head = []
    for level in range(depth):
        row = []
        if level == 0:
            span = f' rowspan="{depth}"' if depth > 1 else ""
            row += [f'<th scope="col"{span}>{escape(names[-1])}</th>' for names in texts.heads[:labels]]
        values = [names[level] for names in texts.heads[labels:]]
        if level < depth - 1:
            spans = [(value, len(list(columns))) for value, columns in groupby(values)]
            row += [f'<th scope="colgroup" class="group" colspan="{span}">{escape(value)}</th>' for value, span in spans]
        else:
            sides = zip(values, texts.right[labels:], strict=True)
            row += [f'<th scope="col"{_class(number=right)}>{escape(value)}</th>' for value, right in sides]
        head.append("<tr>" + "".join(row) + "</tr>")

    body = []
    for index, (entries, best) in enumerate(zip(texts.rows, texts.best, strict=True)):
        row = [f'<th scope="row">{escape(text)}</th>' for text in entries[:labels]]
        for text, link, right, bold in zip(entries[labels:], linked, texts.right[labels:], best[labels:], strict=True):
            shown = f'<a href="{escape(_relative(text))}">{escape(text)}</a>' if link else escape(text)
            row.append(f"<td{_class(number=right, best=bold, long=len(text) > 40 and ' ' not in text)}>{shown}</td>")
        last = index == texts.n_baselines - 1 and texts.n_baselines < len(frame)
        marks = {"baseline": index < texts.n_baselines, "last-baseline": last}
        body.append(f"<tr{_class(**marks)}>" + "".join(row) + "</tr>")

    name = f"table-{number}"
    return "\n".join(
        [
            f'<figure class="table" id="{name}" aria-labelledby="{name}-caption">',
            f'<figcaption id="{name}-caption"><strong>Table {number}.</strong> {html_prose(table.caption)}'
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
    if all(level is None for level in data.index.names):
        data = data.reset_index(drop=True)  # no chart shows which rows were picked
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
            f'<figcaption id="{name}-caption"><strong>Figure {number}.</strong> {html_prose(figure.caption)}'
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

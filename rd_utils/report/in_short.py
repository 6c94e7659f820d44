"""What a report says before anything else: the best cells beside their baselines, how often a verdict fell, what a cheaper cell would save.

Pure functions from a study's frames to rows and sentences; the tests behind them are those of :mod:`rd_utils.analysis.tables`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from rd_utils.analysis.tables import Row, at, best, records
from rd_utils.analysis.verdicts import THESE_ONLY
from rd_utils.companions.recipes import shipped_advice
from rd_utils.report.drawing import AGAINST, BASELINES, DIMENSIONS, MISSING, PLACE, VERDICTS, distinct, varying
from rd_utils.report.findings import Findings
from rd_utils.report.page import Point, Short, Table
from rd_utils.report.sources import paths
from rd_utils.study.plan import PLACE as WHERE

_FAMILY = dict(zip(BASELINES, AGAINST, strict=True))  # of contrasts with a baseline's system
_EVERY_PLACE = 4  # of so many, each has a sentence of its own
BESIDE_COLUMNS = [
    *PLACE, "cell", "mean", "sd", "n_seeds", "system", "baseline", "baseline_mean", "difference", "low", "high", "verdict",
]  # fmt: skip
CHEAPEST_COLUMNS = [
    *PLACE, "best", "best_value", "best_cost", "n_compared", "n_equivalent", "cheapest", "cheapest_value", "cheapest_cost", "saved",
]  # fmt: skip


def beside(summary: pd.DataFrame, differences: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Put the best cell of every place beside its first stages, its untrained self and its teacher.

    The best is the trained cell with the highest mean on these very test queries, so its mean, and what it gains, are estimates from above.

    Args:
        summary: Of :func:`rd_utils.analysis.tables.summary`.
        differences: Of :func:`rd_utils.analysis.contrasts.differences`; contrasts with baselines are taken from the families of
            :data:`rd_utils.report.drawing.AGAINST`.
        measure: By which a cell is best.

    Returns:
        One row a test collection, first stage and baseline (a place without one has one row without one): the best cell with its mean, its
        SD over seeds and their number; the baseline's system, name and mean; the cell minus the baseline with interval and verdict, NaN
        and "" where no contrast of them was made.
    """
    baselines = summary[(summary["measure"] == measure) & summary["system"].isin(BASELINES)]
    contrasts = _keyed(differences)
    rows: list[Row] = []
    for cell in records(best(summary, measure)):
        about = {name: cell[name] for name in (*PLACE, "cell", "mean", "sd", "n_seeds")}
        here = at(baselines, **{name: cell[name] for name in PLACE})
        found = [row for row in records(here) if _belongs(row, cell)]
        found.sort(key=lambda row: BASELINES.index(row["system"]))
        for row in found or [{"system": "", "cell": "", "mean": math.nan}]:
            key = (*(cell[name] for name in PLACE), _FAMILY.get(row["system"]), row["cell"], cell["cell"])
            contrast = contrasts.get(key, dict.fromkeys(("difference", "low", "high"), math.nan) | {"verdict": ""})
            rows.append(about | {"system": row["system"], "baseline": row["cell"], "baseline_mean": row["mean"]} | contrast)
    return pd.DataFrame(rows, columns=BESIDE_COLUMNS)


def _belongs(baseline: Row, cell: Row) -> bool:
    """Tell whether a baseline is one of a cell's: an untrained student of its architecture, its teacher (any where it learnt from none)."""
    if baseline["system"] == "untrained":
        return baseline["architecture"] == cell["architecture"]
    return baseline["system"] == "first_stage" or cell["teacher"] in ("", baseline["teacher"])


def _keyed(differences: pd.DataFrame) -> dict[tuple[object, ...], Row]:
    """Return the contrasts with baselines by place, family, baseline and cell."""
    shown = differences[differences["family"].isin(AGAINST)] if len(differences) else differences
    names = ("difference", "low", "high", "verdict")
    return {
        (*(row[name] for name in PLACE), row["family"], row["cell_before"], row["cell_after"]): {name: row[name] for name in names}
        for row in records(shown)
    }


def beside_table(rows: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """Return :func:`beside` as a table: one row a place with the best cell, and a column each for first stage, untrained self and teacher.

    Args:
        rows: Of :func:`beside`, of one measure.
        digits: Decimals shown.

    Returns:
        Texts such as "BM25 0.467: +0.185 [+0.160, +0.210] different", a dash where there is no such baseline.
    """
    keys = varying(rows, ("collection", "test_collection", "first_stage"))
    keys = [name for name in keys if name != "collection" or rows["test_collection"].nunique() == 1] or ["first_stage"]
    measure = str(rows["measure"].iloc[0])
    table = []
    for _, part in rows.groupby(list(PLACE), sort=False):
        first = part.iloc[0]
        mean = f"{first['mean']:.{digits}f}" + (f" ± {first['sd']:.{digits}f}" if first["n_seeds"] > 1 else "")
        line = {name.replace("_", " "): first[name] for name in keys} | {"best cell": first["cell"], measure: mean}
        for system, family in _FAMILY.items():
            texts = [_said(row, digits) for row in records(part[part["system"] == system])]
            line[f"minus {AGAINST[family]}"] = "; ".join(texts) or MISSING
        table.append(line)
    return pd.DataFrame(table)


def _said(row: Row, digits: int) -> str:
    """Write one baseline of a cell, and the contrast with it where one was made."""
    text = f"{row['baseline']} {row['baseline_mean']:.{digits}f}"
    if math.isnan(row["difference"]):
        return text
    return f"{text}: {row['difference']:+.{digits}f} [{row['low']:+.{digits}f}, {row['high']:+.{digits}f}] {row['verdict']}"


def verdict_counts(differences: pd.DataFrame) -> pd.DataFrame:
    """Count the verdicts of every family of contrasts.

    Args:
        differences: Of :func:`rd_utils.analysis.contrasts.differences`.

    Returns:
        One row a family: contrasts, a column a verdict ("both" only where one fell), and how many of them are fragile.

    >>> rows = [("loss", "different", True), ("loss", "undecided", False), ("loss", "different, these students only", False)]
    >>> verdict_counts(pd.DataFrame(rows, columns=["family", "verdict", "fragile"])).to_dict("records")
    [{'family': 'loss', 'contrasts': 3, 'different': 2, 'equivalent': 0, 'undecided': 1, 'fragile': 1}]
    """
    words = differences["verdict"].str.removesuffix(THESE_ONLY)
    shown = [word for word in VERDICTS if word != "both" or (words == "both").any()]
    counts = {word: words == word for word in shown} | {"fragile": differences["fragile"].astype(bool)}
    table = differences[["family"]].assign(contrasts=1, **counts).groupby("family", sort=False).sum()
    return table.astype(int).reset_index()


def cheapest_equivalent(
    summary: pd.DataFrame, differences: pd.DataFrame, matrices: pd.DataFrame, cells: pd.DataFrame, measure: str
) -> pd.DataFrame:
    """Return, for every place, the cheapest cell that was shown to be equivalent to the best, and what it saves.

    Shown to be equivalent is what a contrast of ``differences`` or a pair of ``matrices`` calls equivalent, each corrected within its own
    family; cells that were never compared with the best, such as those of another architecture, do not count.

    Args:
        summary: Of :func:`rd_utils.analysis.tables.summary`.
        differences: Of :func:`rd_utils.analysis.contrasts.differences`.
        matrices: Of :func:`rd_utils.analysis.contrasts.matrices`; may be empty.
        cells: Of :func:`rd_utils.cost.costs.costs`; a cell's cost is its mean of ``total_cpu_seconds`` over seeds.
        measure: By which a cell is best.

    Returns:
        One row a place: the best cell with mean and cost in CPU seconds; how many cells were compared with it and how many of them are
        equivalent to it; the cheapest of those with mean and cost ("" and NaN where there is none), and ``saved``, the share of the best
        cell's cost that it saves (negative where it costs more).
    """
    trained = at(summary, system="student", measure=measure)
    means = {(*(row[name] for name in PLACE), row["cell"]): row["mean"] for row in records(trained)}
    costs = cells.groupby(["collection", "cell"])["total_cpu_seconds"].mean().to_dict()
    compared: dict[tuple[object, ...], dict[str, bool]] = {}
    for place, one, other, equivalent in _pairs(trained, differences, matrices):
        for a, b in ((one, other), (other, one)):
            known = compared.setdefault((*place, a), {})
            known[b] = known.get(b, False) or equivalent
    rows = []
    for row in records(best(summary, measure)):
        place = tuple(row[name] for name in PLACE)
        others = compared.get((*place, row["cell"]), {})
        equal = sorted((costs[row["collection"], cell], cell) for cell, equivalent in others.items() if equivalent)
        cost, cell = equal[0] if equal else (math.nan, "")
        own = costs[row["collection"], row["cell"]]
        ends = [row["cell"], row["mean"], own, len(others), len(equal), cell, means.get((*place, cell), math.nan), cost]
        rows.append([*place, *ends, 1 - cost / own if own > 0 else math.nan])
    return pd.DataFrame(rows, columns=CHEAPEST_COLUMNS)


def _pairs(trained: pd.DataFrame, differences: pd.DataFrame, matrices: pd.DataFrame) -> Iterator[tuple[tuple[object, ...], str, str, bool]]:
    """Yield every pair of trained cells that was compared: place, one cell, the other, and whether they are equivalent."""
    names = set(trained["cell"])
    for row in records(differences):
        if row["cell_before"] in names and row["cell_after"] in names and row["family"] in DIMENSIONS:
            yield tuple(row[name] for name in PLACE), row["cell_before"], row["cell_after"], bool(row["equivalent"])
    dimensions = [name for name in DIMENSIONS if name != "strategy"]

    def key(row: Row, strategy: str) -> tuple[object, ...]:
        return (*(row[name] for name in PLACE), strategy, *("" if pd.isna(row[name]) else row[name] for name in dimensions))

    cells = {key(row, row["strategy"]): row["cell"] for row in records(trained)}
    for row in records(matrices):
        one, other = (cells[key(row, row[system])] for system in ("system_a", "system_b"))
        yield tuple(row[name] for name in PLACE), one, other, row["verdict"].removesuffix(THESE_ONLY) in ("equivalent", "both")


def cheapest_sentences(found: pd.DataFrame) -> list[str]:
    """Say what :func:`cheapest_equivalent` found: a sentence a place, or one for all where there are many.

    Args:
        found: Of :func:`cheapest_equivalent`.
    """
    if len(found) > _EVERY_PLACE:
        saving = found[(found["cheapest"] != "") & (found["saved"] > 0)]
        if saving.empty:
            return [f"In none of {len(found)} places a cheaper cell was shown to be equivalent to the best."]
        return [
            f"In {len(saving)} of {len(found)} places a cheaper cell was shown to be equivalent to the best; it saves a median "
            f"{saving['saved'].median():.0%} of the CPU seconds."
        ]
    keys = varying(found, ("collection", "test_collection", "first_stage"))
    return [_cheapest_sentence(row, ", ".join(str(row[name]) for name in keys)) for row in records(found)]


def _cheapest_sentence(row: Row, place: str) -> str:
    start = f"On {place}: " if place else ""
    compared = f"{row['n_equivalent']} of {row['n_compared']} cells that were compared with it"
    cost = f"{row['best_cost']:,.0f} CPU seconds a seed"
    if not row["cheapest"]:
        return f"{start}No cell was shown to be equivalent to the best, `{row['best']}`, of {row['n_compared']} that were compared with it."
    if row["saved"] <= 0:
        return f"{start}No cheaper cell than the best, `{row['best']}` ({cost}), was shown to be equivalent to it; {compared} were."
    return (
        f"{start}`{row['cheapest']}` is the cheapest cell that was shown to be equivalent to the best, `{row['best']}` "
        f"({row['cheapest_value']:.3f} beside {row['best_value']:.3f}), as {compared} were; it saves {row['saved']:.0%} of {cost}."
    )


def counts_sentence(differences: pd.DataFrame, margin: float) -> str:
    """Say how many contrasts fell how, over all families.

    >>> rows = [("loss", "different", True), ("loss", "undecided", False)]
    >>> counts_sentence(pd.DataFrame(rows, columns=["family", "verdict", "fragile"]), 0.02)
    'Contrasts: 2. Different: 1; equivalent within 0.02: 0; undecided: 1. Fragile verdicts: 1.'
    """
    totals = verdict_counts(differences).drop(columns="family").sum()
    told = {"different": "Different", "equivalent": f"equivalent within {margin:g}", "both": "both", "undecided": "undecided"}
    parts = "; ".join(f"{text}: {totals[word]:,}" for word, text in told.items() if word in totals)
    only = " With one seed, verdicts are of these students only." if differences["verdict"].str.endswith(THESE_ONLY).any() else ""
    return f"Contrasts: {totals['contrasts']:,}. {parts}. Fragile verdicts: {totals['fragile']:,}.{only}"


def short(study: Findings) -> Short:
    """Return what stands above everything: the question, what is answered, and what a reader must be warned of."""
    settings, differences = study.settings, study.differences
    rows = beside(study.summary, differences, study.measure)
    shown = beside_table(rows)
    cells = rows.drop_duplicates(list(WHERE))
    table = Table(
        shown,
        "The best cells",
        hrefs={"best cell": paths(study.notebooks.evaluated, cells, "collection", "cell")},
        verdicts=[name for name in shown.columns.map(str) if name.startswith("minus ")],
    )
    text = (
        f"The best cell by {study.measure}, beside what the grid did not train, with intervals at level {settings.level:g}. It was chosen "
        "on these very test queries, so that its mean and its gains are estimates from above."
    )
    points = [Point(text, ("effectiveness", "baselines"), table)]
    if len(differences):
        counts = Table(verdict_counts(differences), "Verdicts by family of contrasts")
        text = counts_sentence(differences, settings.equivalence_margin)
        families = [f"differences {family}" for family in distinct(differences["family"])]
        points.append(Point(text, ("differences", *families, "baselines", "interaction", "seed_against_seed"), counts))
        points += [Point(text, ("matrices", "cheapest")) for text in cheapest_sentences(cheapest(study))]
    else:
        points.append(Point("The study has no two cells that differ in one thing only, so there is nothing to contrast."))
    if elsewhere := shipped_advice():
        points.append(Point(" ".join(["For a collection on which nothing was trained:", *elsewhere])))
    return Short(study.plan.study.question, points, study.warnings)


def cheapest(study: Findings) -> pd.DataFrame:
    """Return :func:`cheapest_equivalent` of a study."""
    return cheapest_equivalent(study.summary, study.differences, study.matrices, study.cells, study.measure)

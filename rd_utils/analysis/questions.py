"""Which questions can a study answer? Said before anything runs (:func:`before`), and beside its answers (:func:`after`).

Both return sentences. Before: what the grid cannot compare, what margin its queries and seeds can prove, and training that goes round its
groups too often. After: the same of what was measured, and what stands above every comparison, such as students below BM25.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from rd_utils.analysis import crossed
from rd_utils.analysis.crossed import Spread
from rd_utils.cost.workload import Sizes, drawn, listed
from rd_utils.data.collections import doc_batches
from rd_utils.mining.words import SAMPLE, misfit
from rd_utils.store import identity, outputs_root, upstream
from rd_utils.study.params import BM25, Collection, IndexSpec
from rd_utils.study.plan import DIMENSIONS, PLACE, Plan

# Root mean squares over the contrasts of strategies of the embedded study (nDCG@10, 300 queries, 3 seeds), and for whatever else is trained
# a guess between them and what SciFact's MiniLM students showed.
ASSUMED = {"static_bi": Spread(0.15, 0.002, 0.10), "interaction_cross": Spread(0.08, 0.012, 0.10)}
ASSUMED_ELSE = Spread(0.15, 0.015, 0.10)
SPREAD = ("query_sd", "seed_sd", "residual_sd")  # columns of differences, in the order of Spread
MANY_EPOCHS = 100
HONEST_SHARE = 0.10  # of one recipe's seeds called different from each other, above which a test does not hold over seeds


def before(plan: Plan) -> list[str]:
    """Say what a study will be able to show, and what not; read are its file, its folders' first texts, and earlier studies' tables."""
    return [*_unanswerable(plan), *_one_seed(plan), *_margins(plan), *_epochs(plan, {}), *_misfits(plan), *_without_effect(plan)]


def after(plan: Plan, differences: pd.DataFrame, seed_against_seed: pd.DataFrame, counted: dict[tuple[str, str], int]) -> list[str]:
    """Say what a reader has to know before any number.

    Args:
        plan: the study.
        differences: of :func:`rd_utils.analysis.contrasts.differences`.
        seed_against_seed: of :func:`rd_utils.analysis.contrasts.seed_against_seed`.
        counted: how many groups each cell is trained on, of :func:`rd_utils.analysis.tables.groups_counted`.
    """
    return [
        *_below(differences),
        *_unanswerable(plan),
        *_one_seed(plan),
        *_not_honest(seed_against_seed),
        *_too_wide(differences, plan.study.analysis.equivalence_margin),
        *_epochs(plan, counted),
    ]


def contrasts(cells: pd.DataFrame, baseline: str) -> list[tuple[str, str, str, str]]:
    """Return (family, cell before, cell after, label) of cells that differ in one thing.

    A loss that distils differs from LCE also in having a teacher and a dial; in every other family all but the one dimension agree, a
    missing target entropy with a missing one.

    Args:
        cells: the dimensions of each cell, in the study's order, indexed by its name.
        baseline: the strategy that the others are compared with.
    """
    comparable = cells.fillna({"target_entropy": 0.0})
    teachers = [teacher for teacher in dict.fromkeys(cells["teacher"]) if teacher]
    compared_with = {
        "strategy": baseline,
        "loss": "lce",
        "augmentation": "none",
        "cut": "all",
        "teacher": teachers[0] if teachers else "",
        "temperature": 1.0,
    }
    found = []
    for family, value in compared_with.items():
        free = {"teacher", "temperature", "target_entropy"} if family == "loss" else set()
        same = [name for name in DIMENSIONS if name != family and name not in free]
        before = {tuple(row[name] for name in same): cell for cell, row in comparable.iterrows() if row[family] == value}
        for after, row in comparable.iterrows():
            alike = before.get(tuple(row[name] for name in same))
            if alike is not None and row[family] not in (value, ""):
                shown = f"T={row[family]:g} - T={value:g}" if family == "temperature" else f"{row[family]} - {value}"
                found.append((family, alike, after, shown))
    return found


# --- before -----------------------------------------------------------------------------------------------------------------------


def _cells(plan: Plan) -> pd.DataFrame:
    rows = {cell.name: {name: getattr(cell, name) for name in DIMENSIONS} for cell in plan.cells}
    return pd.DataFrame.from_dict(rows, orient="index", columns=DIMENSIONS)


def _unanswerable(plan: Plan) -> Iterator[str]:
    """Say which comparisons a grid suggests that it has no cells for."""
    cells, baseline = _cells(plan), plan.study.analysis.baseline_strategy
    found = contrasts(cells, baseline)
    strategies, losses = (list(dict.fromkeys(cells[name])) for name in ("strategy", "loss"))
    if baseline not in strategies:
        yield (
            f"no contrast of strategies: the baseline {baseline} is in no grid, which has {', '.join(strategies)}; add it, or set "
            "analysis.baseline_strategy to one of them"
        )
    elif len(strategies) > 1:
        yield from _alone(cells, found, "strategy", baseline)
    distilled = [loss for loss in losses if loss != "lce"]
    if "lce" in losses:
        yield from _alone(cells, found, "loss", "lce")
    elif len(distilled) > 1:
        yield f"no contrast of losses: {', '.join(distilled)} are compared with lce, which is in no grid"
    seeds = {cell.name: tuple(sorted(cell.students)) for cell in plan.cells}
    unequal = sorted({after for _, first, after, _ in found if seeds[first] != seeds[after]})
    if unequal:
        yield f"{len(unequal)} cells have other seeds than the cell they would be compared with, and are not: {_few(unequal)}"


def _alone(cells: pd.DataFrame, found: list[tuple[str, str, str, str]], family: str, plain: str) -> Iterator[str]:
    """Say which cells lack the one that they would be compared with."""
    compared = {after for name, _, after, _ in found if name == family}
    alone = [name for name in cells.index[cells[family] != plain] if name not in compared]
    if alone:
        yield (
            f"{len(alone)} of {len(cells)} cells have no cell of {plain} beside them, so their {family} is compared with nothing: "
            f"{_few(alone)}"
        )


def _few(names: list[str], shown: int = 3) -> str:
    return ", ".join(names[:shown]) + (" ..." if len(names) > shown else "")


def _without_effect(plan: Plan) -> Iterator[str]:
    """Say which settings of a study change nothing."""
    for kind, parts in (("architectures", plan.study.architectures), ("teachers", plan.study.teachers)):
        for name, part in parts.items():
            if part.kind in ("cross_encoder", "loaded") and "max_query_length" in part.model_fields_set:
                yield (
                    f"{kind}.{name}.max_query_length has no effect: a pair above max_length is cut as CrossEncoder.predict cuts it, the "
                    "longer text first; leave it out"
                )


def _one_seed(plan: Plan) -> Iterator[str]:
    single = sorted({cell.architecture for cell in plan.cells if len(cell.students) == 1})
    if single:
        yield f"one seed ({', '.join(single)}): verdicts are about these students only; other seeds may say otherwise"


def _margins(plan: Plan) -> Iterator[str]:
    """Say what margin each test collection's queries can prove for each architecture, and how many seeds it needs."""
    settings = plan.study.analysis
    n_seeds = {name: min(len(cell.students) for cell in plan.cells if cell.architecture == name) for name in _architectures(plan)}
    n_pooled = {name: len({cell.strategy for cell in plan.cells if cell.architecture == name}) for name in n_seeds}
    tests = {test.label: test for pair in plan.study.collections for test in pair.test}
    spreads = {name: known_spread(plan, name) for name in n_seeds}
    for label, test in tests.items():
        n_queries = listed(test).queries
        if not n_queries >= 2:  # nan where nothing says how many there are
            continue
        for name, seeds in n_seeds.items():
            spread, basis = spreads[name]
            about = {"alpha": settings.alpha, "n_pooled": n_pooled[name] if n_pooled[name] > 2 else 1}
            margin = crossed.provable_margin(spread, int(n_queries), seeds, **about)
            enough = crossed.seeds_needed(spread, settings.equivalence_margin, int(n_queries), **about)
            line = f"{label}, {name}: {n_queries:,.0f} queries and {seeds} seed{'s' * (seeds > 1)} prove a margin of about {margin:.3f}"
            line += ", for these students only" if seeds == 1 else ""
            if margin > settings.equivalence_margin:
                queries = crossed.queries_needed(
                    spread, settings.equivalence_margin, seeds, alpha=settings.alpha, n_pooled=about["n_pooled"]
                )
                some = f"{queries:,} queries" if queries else "more queries and seeds"
                more = f"{enough} seeds would do" if enough else f"that takes {some}; more seeds alone are not enough"
                line += f", not the {settings.equivalence_margin:g} asked for: {more}"
            yield f"{line} ({basis} spread: {spread.query:.2f} over queries, {spread.seed:.3f} over seeds, {spread.residual:.2f} both)"


def _architectures(plan: Plan) -> list[str]:
    return list(dict.fromkeys(cell.architecture for cell in plan.cells))


def known_spread(plan: Plan, architecture: str) -> tuple[Spread, str]:
    """Return how the differences of an architecture's cells spread: as earlier studies' tables show, else as assumed.

    Looked at are the published tables of studies with an architecture of the same parameters and the same measure: the root mean squares of
    their contrasts of strategies with several seeds.

    Returns:
        The spread, and "measured" or "assumed".
    """
    wanted, measure = plan.study.architectures[architecture], plan.study.analysis.measure
    found = [_measured(record, wanted.model_dump(mode="json"), measure) for record in sorted(outputs_root().glob("*/study.json"))]
    together = pd.concat(found) if found else pd.DataFrame()
    if len(together):
        return Spread(*(float(np.sqrt((together[name] ** 2).mean())) for name in SPREAD)), "measured"
    return ASSUMED.get(wanted.kind, ASSUMED_ELSE), "assumed"


def _measured(record: Path, architecture: dict[str, object], measure: str) -> pd.DataFrame:
    """Return the spreads of a finished study's contrasts of strategies; none where its files are unreadable or of an earlier version."""
    try:
        known = json.loads(record.read_text(encoding="utf-8"))["parameters"]["architectures"]
        names = [name for name, parameters in known.items() if parameters == architecture]
        columns = ["family", "measure", "architecture", "n_seeds", *SPREAD]
        table = pd.read_parquet(record.parent / "differences.parquet", columns=columns) if names else pd.DataFrame(columns=columns)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return pd.DataFrame()
    asked = (table["family"] == "strategy") & (table["measure"] == measure) & table["architecture"].isin(names)
    return table.loc[asked & (table["n_seeds"] > 1), list(SPREAD)]


def _epochs(plan: Plan, counted: dict[tuple[str, str], int]) -> Iterator[str]:
    """Say which students go round their groups very often.

    Args:
        plan: the study.
        counted: groups by training collection and cell, where they are made; else as many as the collection's positives give.
    """
    most: dict[tuple[str, str], tuple[float, int]] = {}
    sizes: dict[Collection, Sizes] = {}  # a folder's lines are counted once, not once a cell
    for cell in plan.cells:
        student = next(iter(cell.students.values()))
        groups = counted.get((cell.collection, cell.name), 0)
        if not groups:
            own = student.groups.collection
            sizes[own] = sizes[own] if own in sizes else listed(own)
            groups = drawn(student.groups, sizes[own])
        if groups > 0:  # nan where nothing says how many there are
            epochs = student.training.documents / student.groups.group_size / groups
            key = cell.collection, cell.architecture
            most[key] = max(most.get(key, (0.0, 0)), (epochs, int(groups)))
    for (collection, architecture), (epochs, groups) in most.items():
        if epochs >= MANY_EPOCHS:
            yield (
                f"{collection}, {architecture}: {epochs:,.0f} epochs over {groups:,} groups; students that see the same few groups so "
                "often learn them by heart: lower training.documents, or train on more queries"
            )


def _misfits(plan: Plan) -> Iterator[str]:
    """Say which collections BM25's analysis does not fit, of those that lie in folders: others may have to be downloaded first."""
    artefacts = {identity(spec): spec for node in plan.nodes for spec in node.artefacts}
    for spec in list(artefacts.values()):
        artefacts |= upstream(spec)
    indexes = [spec for spec in artefacts.values() if isinstance(spec, IndexSpec)]
    asked = {(spec.collection, spec.retriever) for spec in indexes if isinstance(spec.retriever, BM25)}
    for collection, retriever in sorted(asked, key=repr):
        if collection.source == "folder":
            first = next(doc_batches(collection), None)
            why = misfit(retriever, first.column("text")[:SAMPLE].to_pylist()) if first else ""
            if why:
                yield f"{collection.label}: {why}"


# --- after ------------------------------------------------------------------------------------------------------------------------


def _below(differences: pd.DataFrame) -> Iterator[str]:
    """Say where students lie below their untrained selves, or below the first stage."""
    for family, what in (("untrained", "their untrained selves"), ("first stage", "")):
        rows = differences[differences["family"] == family] if len(differences) else differences
        for place, part in rows.groupby([*PLACE, "cell_before"] if family == "first stage" else PLACE, sort=False):
            below = part["difference"] < 0
            if below.any():
                shown = int((below & part["different"].astype(bool)).sum())
                every = "all" if below.all() else f"{int(below.sum())} of"
                cells = f"{every} {len(part)} trained cells lie" if len(part) > 1 else "the trained cell lies"
                yield (
                    f"{cells} below {what or place[-1]} on {place[1]}, {place[2]} ({shown} of them by a difference that is shown)"
                    + ("; the highest mean among them is no gain" if below.all() else "")
                )


def _not_honest(table: pd.DataFrame) -> Iterator[str]:
    for row in table[table["share"] > HONEST_SHARE].itertuples():
        yield (
            f"{row.architecture}, {row.first_stage}: the test over {row.test} calls one recipe different from itself, seed against seed, "
            f"in {row.share:.0%} of {row.n_comparisons} comparisons"
            + (
                "; what it says of these students does not hold for others"
                if row.test == "queries only"
                else "; read its verdicts with care"
            )
        )


def _too_wide(differences: pd.DataFrame, margin: float) -> Iterator[str]:
    """Say for which architectures the queries and seeds at hand could not have proved the margin."""
    rows = differences[differences["family"].isin(["strategy", "loss"])] if len(differences) else differences
    for (*place, architecture), part in rows.groupby([*PLACE, "architecture"], sort=False):
        reach = (part["smallest_margin"] - part["difference"].abs()).median()
        if reach > margin:
            yield (
                f"{architecture} on {place[1]}, {place[2]}: even between equal cells these queries and seeds prove margins above "
                f"{reach:.3f} only (median), not the {margin:g} asked for"
            )

"""Two systems: is B different from A, equivalent to it, how sure is that, and at what cost?

``python -m rd_utils compare A B`` compares two TREC runs (``--qrels``) or two finished rows of a study (``--study``, given twice for two
studies): cells, or a baseline by its name, such as ``bm25``, ``untrained`` or ``teacher``. Difference and equivalence are two questions
with a test each, in which queries and seeds vary (see :mod:`crossed`); the answer names both. Nothing is ever built here: what is
not in the store yet is an error that says which command makes it.
"""

from __future__ import annotations

import argparse
import copy
import difflib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rd_utils.analysis.compare_runs import compare_runs
from rd_utils.analysis.comparison import (
    COST_PARTS,
    Comparison,
    Cost,
    Result,
    Settings,
    as_record,
    as_text,
    asked_settings,
    by_query_and_seed,
    compare_values,
    notes_on,
)
from rd_utils.store import Store, StoreError, identity, upstream
from rd_utils.study.bounds import check_path, shown
from rd_utils.study.params import ParameterError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from rd_utils.study.kinds import Spec, System
    from rd_utils.study.plan import Cell, Plan


class Side(NamedTuple):
    """A row of a study, by training collection: its systems by seed, and for a cell its students; ``seeded`` tells whether seeds matter."""

    name: str
    plan: Plan
    systems: Mapping[str, Mapping[int, System]]
    cells: dict[str, Cell]

    def seeded(self, collection: str) -> bool:
        """Tell whether the row's systems differ by seed."""
        return min(self.systems[collection]) >= 0


# --- the command ------------------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser."""
    parser.add_argument(
        "a", metavar="A", help="a TREC run (with --qrels), or a cell, bm25, untrained or teacher (with --study): what B is compared with"
    )
    parser.add_argument("b", metavar="B", help="the other one")
    parser.add_argument(
        "--study", metavar="FILE", action="append", help="A and B are of this study, such as params/embedded.yaml; twice: A's, then B's"
    )
    parser.add_argument("--base", metavar="NAME", help="the study as run on another base: the name of a file in params/bases")
    parser.add_argument("--qrels", metavar="FILE|ID", help="A and B are TREC runs; judge them by a TREC qrels file or an ir_datasets id")
    parser.add_argument("--measure", metavar="NAME", action="append", help="may be repeated (default: the study's own; nDCG@10 for runs)")
    parser.add_argument(
        "--margin", type=float, help="equivalence margin, in units of the measure (default: the study's own; 0.02 for runs)"
    )
    parser.add_argument("--alpha", type=float, help="of each test (default: the study's own; 0.05 for runs)")
    parser.add_argument("--level", type=float, help="of the intervals (default: the study's own; 0.95 for runs)")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the same numbers as one JSON object")


def run(options: argparse.Namespace) -> str:
    """Compare what the options name; return the text to print."""
    result = answer(options)
    return json.dumps(as_record(result), indent=1, allow_nan=False) if options.json else as_text(result)


def answer(options: argparse.Namespace) -> Result:
    """Compute what :func:`run` prints.

    Raises:
        ParameterError: an option, a file, a measure or a cell is not what it should be.
        StoreError: a cell is not finished.
    """
    if options.study and options.qrels:
        raise ParameterError("--study and --qrels exclude each other: --study compares cells, which have qrels; --qrels compares TREC runs")
    if not options.study and not options.qrels:
        raise ParameterError(
            "--qrels is missing: name a TREC qrels file or an ir_datasets id to judge two runs by, or --study for two cells"
        )
    if options.base and not options.study:
        raise ParameterError(f"--base {options.base}: only a study has a base; name it with --study")
    for name, text in (("A", options.a), ("B", options.b), ("--qrels", options.qrels)):
        try:
            check_path(text if text is not None else "none")
        except ValueError as error:
            raise ParameterError(f"{name}: {error}") from None
    return _of_cells(options) if options.study else compare_runs(options)


# --- two cells --------------------------------------------------------------------------------------------------------------------


def _of_cells(options: argparse.Namespace) -> Result:
    from rd_utils.study.plan import load_plan

    if len(options.study) > 2:
        raise ParameterError(f"--study is given {len(options.study)} times; give it once, or twice for A's study and B's")
    if options.a == options.b and len(options.study) == 1:
        raise ParameterError(f"A and B are one cell, {options.a}; name two")
    plans = [load_plan(path, options.base or None) for path in options.study]
    store, analysis = Store(), plans[0].study.analysis
    defaults = {"margin": analysis.equivalence_margin, "alpha": analysis.alpha, "level": analysis.level}
    settings, measures = asked_settings(options, defaults), tuple(dict.fromkeys(options.measure or (analysis.measure,)))
    for plan in plans:
        for measure in measures:
            if measure not in plan.study.evaluation.measures:
                raise ParameterError(
                    f"--measure: study {plan.study.name} has no {measure!r}{nearest(measure, plan.study.evaluation.measures)}"
                )
    a, b = side_of(plans[0], options.a, options.b), side_of(plans[-1], options.b, options.a)
    comparisons: list[Comparison] = []
    left_out: dict[str, None] = {}  # in order, each once
    pairs: list[tuple[Side, Side]] = []
    for label in a.systems:
        if label in b.systems:
            pair = _of_common_seeds(a, b, label, left_out)
            for side, study in zip(pair, (options.study[0], options.study[-1]), strict=True):
                _check_finished(side, label, store, study, options.base)
            comparisons += _compare_pair(pair, label, store, measures, settings, left_out)
            pairs.append(pair)
    if not pairs:
        raise ParameterError(
            f"{a.name} is trained on {', '.join(a.systems)}, {b.name} on {', '.join(b.systems)}; name two of one training collection"
        )
    if not comparisons:
        raise ParameterError(f"{options.a} and {options.b} share no first stage: {'; '.join(left_out)}; compare cells that rank the same")
    seeds = {
        ", ".join(map(str, side.systems[next(iter(side.systems))]))
        for pair in pairs
        for side in pair
        if side.seeded(next(iter(side.systems)))
    }
    studies = " and ".join(f"{plan.study.name} ({plan.path})" for plan in plans)
    about = [f"study: {studies}; seeds {' or '.join(sorted(seeds)) or 'none'}", *left_out]
    notes = notes_on(comparisons, settings)
    if settings.margin != analysis.equivalence_margin:
        notes.append(
            f"the study's file fixed the margin {analysis.equivalence_margin:g} beforehand; {settings.margin:g} was asked for here"
        )
    cells = [(x, y) for x, y in pairs if x.cells and y.cells]
    return Result(a.name, b.name, settings, about, comparisons, _costs(store, cells), notes)


def side_of(plan: Plan, name: str, other: str) -> Side:
    """Return a row of a study by its name: a cell, or a baseline; ``untrained`` and ``teacher`` are those of the other cell.

    Raises:
        ParameterError: there is no such row; the message names near ones.
    """
    from rd_utils.study.params import StudentSystem

    cells = {cell.collection: cell for cell in plan.cells if cell.name == name}
    if cells:
        students: dict[str, dict[int, System]] = {
            label: {seed: StudentSystem(student=each) for seed, each in cell.students.items()} for label, cell in cells.items()
        }
        return Side(name, plan, students, cells)
    beside = next((cell for cell in plan.cells if cell.name == other), None)
    teachers = list(dict.fromkeys(row.teacher for row in plan.baselines if row.system == "teacher"))
    wanted = name
    if name == "untrained" and beside is not None:
        wanted = f"untrained {beside.architecture}"
    if name == "teacher" and teachers:
        wanted = f"teacher {(beside.teacher if beside is not None else '') or teachers[0]}"
    rows = [row for row in plan.baselines if row.name.lower() == wanted.lower()]
    if rows:
        return Side(rows[0].name, plan, {plan.labels[row.pair]: row.systems for row in rows}, {})
    names, others = (list(dict.fromkeys(row.name for row in rows)) for rows in (plan.cells, plan.baselines))
    near = difflib.get_close_matches(name, [*names, *others], n=3, cutoff=0.3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"one is {names[0]!r};"
    raise ParameterError(
        f"study {plan.study.name} has no cell {shown(name)}; {hint} `python -m rd_utils plan {plan.path}` prints all {len(names)}; rows "
        f"that are not trained: {', '.join(others)}"
    )


def _of_common_seeds(a: Side, b: Side, label: str, left_out: dict[str, None]) -> tuple[Side, Side]:
    """Return both sides on one training collection, with the seeds that both have; seeds of one alone are named in ``left_out``."""
    sides = [
        side._replace(systems={label: side.systems[label]}, cells={k: v for k, v in side.cells.items() if k == label}) for side in (a, b)
    ]
    if not all(side.seeded(label) for side in sides):
        return sides[0], sides[1]
    seeds = sorted(a.systems[label].keys() & b.systems[label].keys())
    if not seeds:
        raise ParameterError(
            f"{a.name} has the seeds {sorted(a.systems[label])}, {b.name} the seeds {sorted(b.systems[label])}, so they share none; "
            "give both a seed in common in the study's grids"
        )
    for name, side in (("A", a), ("B", b)):
        if alone := sorted(side.systems[label].keys() - set(seeds)):
            left_out[f"left out: seeds of {name} alone: {', '.join(map(str, alone))}"] = None
    first, second = (
        side._replace(
            systems={label: {seed: side.systems[label][seed] for seed in seeds}},
            cells={k: cell._replace(students={seed: cell.students[seed] for seed in seeds}) for k, cell in side.cells.items()},
        )
        for side in sides
    )
    return first, second


def _needed(side: Side, label: str, seed: int) -> dict[str, Spec]:
    """Return what a system's results, and a student's cost, are read from, by identity, each after what it is made from."""
    evaluations: dict[str, Spec] = {identity(spec): spec for spec in side.plan.evaluations(side.systems[label][seed], label)}
    if not side.cells:
        return evaluations
    student = side.cells[label].students[seed]
    return {**upstream(student), identity(student): student, **evaluations}


def _check_finished(side: Side, label: str, store: Store, study: str, base: str | None) -> None:
    missing: dict[str, tuple[int, Spec]] = {}
    for seed in side.systems[label]:
        for key, spec in _needed(side, label, seed).items():
            if not store.has(spec):
                if (damage := store.damage(spec, hashed_up_to=0)) is not None:
                    raise StoreError(damage.say())
                missing.setdefault(key, (seed, spec))
    if not missing:
        return
    key, (seed, spec) = next(iter(missing.items()))
    counts = Counter(spec.stage for _, spec in missing.values())
    command = f"make study STUDY={study}" + (f" BASE={base}" if base else "")
    kind, of_seed = ("cell", f", of seed {seed}") if side.cells else ("row", "")
    raise StoreError(
        f"the {kind} {side.name} on {label} is not finished: the store has no {spec.stage} artefact {key}{of_seed} (missing "
        f"in all: {', '.join(f'{count} {stage}' for stage, count in counts.items())}); `{command}` makes what is missing"
    )


def _compare_pair(
    pair: tuple[Side, Side],
    label: str,
    store: Store,
    measures: Sequence[str],
    settings: Settings,
    left_out: dict[str, None],
) -> list[Comparison]:
    """Compare two rows on one training collection: every test collection, first stage that both serve, and measure."""
    values_a, values_b = (_values(side, label, store) for side in pair)
    for name, own, other in (("A", values_a, values_b), ("B", values_b, values_a)):
        for _, stage in own.keys() - other.keys():
            left_out[f"left out: first stage {stage}, which {name} alone ranks"] = None
    return [
        compare_values(
            by_query_and_seed(values_a[place], measure),
            by_query_and_seed(values_b[place], measure),
            settings,
            measure=measure,
            collection=label,
            first_stage=place[1],
        )
        for measure in measures
        for place in values_a
        if place in values_b
    ]


def _values(side: Side, label: str, store: Store) -> dict[tuple[str, str], pd.DataFrame]:
    """Return a row's values per query by (test collection, first stage): seed, query_id, measure, value."""
    import pandas as pd

    found: dict[tuple[str, str], list[pd.DataFrame]] = {}
    for seed, system in side.systems[label].items():
        for spec in side.plan.evaluations(system, label):
            store.verify(spec)
            frame = pd.read_parquet(store.folder(spec) / "per_query.parquet")
            place = spec.collection.label, spec.first_stage.label
            found.setdefault(place, []).append(frame.assign(seed=seed, test_collection=place[0]))
    return {place: pd.concat(frames, ignore_index=True) for place, frames in found.items()}


def _costs(store: Store, pairs: Sequence[tuple[Side, Side]]) -> list[Cost]:
    """Return what two cells cost on each training collection; the pairs hold the seeds that are compared, and no others."""
    found = []
    for pair in pairs:
        label = next(iter(pair[0].cells))
        of_a, of_b = (_mean_cost(side, label, store) for side in pair)
        ratio = of_b["total"] / of_a["total"] if of_a["total"] > 0 else None
        found.append(Cost(label, len(pair[0].cells[label].students), of_a, of_b, ratio))
    return found


def _mean_cost(side: Side, label: str, store: Store) -> dict[str, float]:
    """Return a cell's CPU seconds by part, a seed's mean."""
    from rd_utils.cost.costs import costs
    from rd_utils.workflow.pipeline import Pipeline
    from rd_utils.workflow.progress import untracked

    only = copy.copy(side.plan)
    only.cells = [side.cells[label]]
    table = costs(only, Pipeline(store, track=untracked))
    means = table[[f"{part}_cpu_seconds" for part in COST_PARTS]].set_axis(list(COST_PARTS), axis=1).mean()
    return {part: float(mean) for part, mean in zip(COST_PARTS, means, strict=True)}

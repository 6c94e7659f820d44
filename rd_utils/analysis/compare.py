"""Two systems or more: do they differ, are they equivalent, how sure is that, and at what cost?

``rd compare A B [C ...]`` compares files (runs with ``--qrels``, or results query by query, see :mod:`compare_runs`), or
finished rows of studies (``--study``, or ``STUDY:CELL``): cells, or a baseline by its name, such as ``bm25``, ``untrained`` or ``teacher``;
or runs models on a ``--collection`` (see :mod:`compare_models`).
Difference and equivalence are two questions with a test each, in which queries and seeds vary (see :mod:`crossed`); the answer names both.
Of rows of studies nothing is ever built here: what is not in the store yet is an error that says which command makes it.
"""

from __future__ import annotations

import argparse
import copy
import difflib
import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rd_utils.analysis import compare_models, comparison, systems
from rd_utils.analysis.compare_runs import compare_runs
from rd_utils.analysis.comparison import COST_PARTS, Place, Result, Values, asked_settings, by_query_and_seed
from rd_utils.analysis.systems import Costs, Family, between, letter
from rd_utils.store import Store, StoreError, identity, upstream
from rd_utils.study.bounds import check_path, shown
from rd_utils.study.params import ParameterError, nearest
from rd_utils.study.studies import run_command

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
    study: str = ""

    def seeded(self, collection: str) -> bool:
        """Tell whether the row's systems differ by seed."""
        return min(self.systems[collection]) >= 0


# --- the command ------------------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser."""
    parser.add_argument(
        "a",
        metavar="A",
        help="what the others are compared with. A file: a TREC run or MTEB's predictions (with --qrels), or PyTerrier's results, of "
        "several systems FILE#NAME; several seeds of a side: a1.run,a2.run or 'a*.run'. Or a row of a study: a cell, bm25, untrained or "
        "teacher (with --study), or STUDY.yaml:CELL. Or with --collection a model",
    )
    parser.add_argument("b", metavar="B", help="the other one")
    parser.add_argument("more", metavar="C", nargs="*", help="and more: then every pair is compared, as one family")
    parser.add_argument(
        "--study",
        metavar="FILE",
        action="append",
        help="what is compared is of this study, such as params/embedded.yaml; twice: A's, then B's",
    )
    parser.add_argument("--base", metavar="NAME", help="the study as run on another base: the name of a file in params/bases")
    parser.add_argument("--qrels", metavar="FILE|ID", help="judge runs by a TREC qrels file or an ir_datasets id")
    parser.add_argument("--measure", metavar="NAME", action="append", help="may be repeated (default: the study's own; nDCG@10 for files)")
    parser.add_argument(
        "--margin", type=float, help="equivalence margin, in units of the measure (default: the study's own; 0.02 for files)"
    )
    parser.add_argument("--alpha", type=float, help="of each test (default: the study's own; 0.05 for files)")
    parser.add_argument("--level", type=float, help="of the intervals (default: the study's own; 0.95 for files)")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling (default: 0)")
    compare_models.add_arguments(parser)
    parser.add_argument("--report", metavar="FILE.html", help="also write the comparison as a page of its own")
    parser.add_argument("--json", action="store_true", help="print the same numbers as one JSON object")


def run(options: argparse.Namespace) -> str:
    """Compare what the options name; return the text to print."""
    if options.report and (not options.report.endswith(".html") or Path(options.report).is_dir()):
        raise ParameterError(f"--report {options.report}: expected the name of a page to write, such as comparison.html")
    result = answer(options)
    if options.report:
        from rd_utils.report import comparison_page

        comparison_page.write(result, Path(options.report).expanduser(), _command(options))
    if options.json:
        record = systems.as_record(result) if isinstance(result, Family) else comparison.as_record(result)
        return json.dumps(record, indent=1, allow_nan=False)
    return systems.as_text(result) if isinstance(result, Family) else comparison.as_text(result)


_NOT_SAID = ("command", "a", "b", "more", "sides", "json", "report")


def _command(options: argparse.Namespace) -> str:
    """Return the command that the options are of, without what only says how it is shown."""
    words = ["rd", "compare", *options.sides]
    for name, value in vars(options).items():
        if name not in _NOT_SAID and value not in (None, False) and (name, value) != ("seed", 0):
            flag = f"--{name.replace('_', '-')}"
            words += (
                [flag]
                if value is True
                else [word for each in (value if isinstance(value, list) else [value]) for word in (flag, str(each))]
            )
    return shlex.join(words)


def answer(options: argparse.Namespace) -> Result | Family:
    """Compute what :func:`run` prints.

    Raises:
        ParameterError: an option, a file, a measure or a cell is not what it should be.
        StoreError: a cell is not finished.
    """
    sides = options.sides = [options.a, options.b, *options.more]
    if options.collection:
        for name in ("study", "qrels"):
            if value := getattr(options, name):
                said = "a row of a study is STUDY.yaml:CELL there" if name == "study" else "it has qrels"
                raise ParameterError(f"--collection and --{name} {value} exclude each other: {said}; leave --{name} out")
    elif alone := next((name for name in compare_models.OPTIONS if getattr(options, name) is not None), None):
        raise ParameterError(f"--{alone.replace('_', '-')} needs --collection: an ir_datasets id, or a folder in BEIR's layout")
    of_studies = [] if options.collection else [side for side in sides if parted(side) is not None]
    if not 2 <= len(sides) <= systems.MOST:
        raise ParameterError(f"{len(sides)} systems are named; name two to {systems.MOST}")
    if options.study and options.qrels:
        raise ParameterError("--study and --qrels exclude each other: --study compares cells, which have qrels; --qrels compares TREC runs")
    if of_studies and options.qrels:
        raise ParameterError(f"{of_studies[0]} is a row of a study, which has qrels; leave --qrels out, and compare rows of studies alone")
    if of_studies and not options.study and len(of_studies) < len(sides):
        other = next(side for side in sides if parted(side) is None)
        raise ParameterError(f"{of_studies[0]} is a row of a study, {other} is not; name it as STUDY.yaml:CELL, or its study with --study")
    if options.base and not options.study and not any(map(parted, sides)):
        raise ParameterError(f"--base {options.base}: only a study has a base; name it with --study")
    for name, text in (*((letter(number), side) for number, side in enumerate(sides)), ("--qrels", options.qrels)):
        try:
            check_path(text if text is not None else "none")
        except ValueError as error:
            raise ParameterError(f"{name}: {error}") from None
    if options.collection:
        return compare_models.compare_models(options)
    return _of_cells(options) if options.study or of_studies else compare_runs(options)


def parted(side: str) -> tuple[str, str] | None:
    """Return the study and the row that a side names; None where it names no study.

    >>> parted("params/embedded.yaml:bm25"), parted("bm25")
    (('params/embedded.yaml', 'bm25'), None)
    """
    study, mark, row = side.partition(".yaml:")
    return (f"{study}.yaml", row) if mark and row else None


# --- rows of studies --------------------------------------------------------------------------------------------------------------


def _of_cells(options: argparse.Namespace) -> Result | Family:
    named = _named(options)
    plans = _plans(named, options.base)
    store, analysis = Store(), plans[named[0][0]].study.analysis
    defaults = {"margin": analysis.equivalence_margin, "alpha": analysis.alpha, "level": analysis.level}
    settings, measures = asked_settings(options, defaults), tuple(dict.fromkeys(options.measure or (analysis.measure,)))
    for plan in plans.values():
        for measure in measures:
            if measure not in plan.study.evaluation.measures:
                raise ParameterError(
                    f"--measure: study {plan.study.name} has no {measure!r}{nearest(measure, plan.study.evaluation.measures)}"
                )
    sides = [side_of(plans[study], row, *_beside(named, number))._replace(study=study) for number, (study, row) in enumerate(named)]
    left_out: dict[str, None] = {}  # in order, each once
    values: list[dict[Place, pd.DataFrame]] = [{} for _ in sides]
    compared: list[list[Side]] = []
    for label in sides[0].systems:
        if all(label in side.systems for side in sides):
            cut = _of_common_seeds(sides, label, left_out)
            for side in cut:
                _check_finished(side, label, store, options.base)
            for found, own in zip(values, _values_of(cut, label, store, measures, left_out), strict=True):
                found.update(own)
            compared.append(cut)
    if not compared:
        first, *others = (f"{side.name} {'is trained ' * (side is sides[0])}on {', '.join(side.systems)}" for side in sides)
        trained = ", ".join([first, *others])
        raise ParameterError(f"{trained}; name {_number(sides)} of one training collection")
    names = " and ".join(row for _, row in named)
    if not values[0]:
        raise ParameterError(f"{names} share no first stage: {'; '.join(left_out)}; compare cells that rank the same")
    seeds = {
        ", ".join(map(str, side.systems[next(iter(side.systems))]))
        for cut in compared
        for side in cut
        if side.seeded(next(iter(side.systems)))
    }
    studies = " and ".join(f"{plan.study.name} ({plan.path})" for plan in plans.values())
    about = [f"study: {studies}; seeds {' or '.join(sorted(seeds)) or 'none'}", *left_out]
    own_margin = f"the study's file fixed the margin {analysis.equivalence_margin:g} beforehand; {settings.margin:g} was asked for here"
    notes = [own_margin] if settings.margin != analysis.equivalence_margin else []
    costs = [_costs(store, cut) for cut in compared if all(side.cells for side in cut)]
    return between([Values(side.name, own) for side, own in zip(sides, values, strict=True)], settings, about, costs, notes)


def _number(sides: Sequence[Side]) -> str:
    return "two" if len(sides) == 2 else str(len(sides))


def _named(options: argparse.Namespace) -> list[tuple[str, str]]:
    """Return the study and the row of every side, each named once."""
    studies, sides = options.study or [], options.sides
    if len(studies) not in (0, 1, len(sides)):
        often = "twice for A's study and B's" if len(sides) == 2 else f"{len(sides)} times, once a row"
        raise ParameterError(f"--study is given {len(studies)} times; give it once, or {often}")
    of_each = studies if len(studies) == len(sides) else (studies or [""]) * len(sides)
    named = [parted(side) or (study, side) for study, side in zip(of_each, sides, strict=True)]
    for number, one in enumerate(named):
        if (first := named.index(one)) < number:
            raise ParameterError(f"{letter(first)} and {letter(number)} are one cell, {one[1]}; name two")
    return named


def _plans(named: Sequence[tuple[str, str]], base: str | None) -> dict[str, Plan]:
    from rd_utils.study.plan import load_plan

    return {study: load_plan(study, base or None) for study in dict.fromkeys(study for study, _ in named)}


def _beside(named: Sequence[tuple[str, str]], number: int) -> list[str]:
    """Return the rows that stand beside one, those of its own study first."""
    others = [one for at, one in enumerate(named) if at != number]
    return [row for _, row in sorted(others, key=lambda one: one[0] != named[number][0])]


def side_of(plan: Plan, name: str, *beside: str) -> Side:
    """Return a row of a study by its name: a cell, or a baseline; ``untrained`` and ``teacher`` are those of the first other cell.

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
    first = next((cell for other in beside for cell in plan.cells if cell.name == other), None)
    teachers = list(dict.fromkeys(row.teacher for row in plan.baselines if row.system == "teacher"))
    wanted = name
    if name == "untrained" and first is not None:
        wanted = f"untrained {first.architecture}"
    if name == "teacher" and teachers:
        wanted = f"teacher {(first.teacher if first is not None else '') or teachers[0]}"
    rows = [row for row in plan.baselines if row.name.lower() == wanted.lower()]
    if rows:
        return Side(rows[0].name, plan, {plan.labels[row.pair]: row.systems for row in rows}, {})
    names, others = (list(dict.fromkeys(row.name for row in rows)) for rows in (plan.cells, plan.baselines))
    near = difflib.get_close_matches(name, [*names, *others], n=3, cutoff=0.3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"one is {names[0]!r};"
    raise ParameterError(
        f"study {plan.study.name} has no cell {shown(name)}; {hint} `rd plan {plan.path}` prints all {len(names)}; rows "
        f"that are not trained: {', '.join(others)}"
    )


def _of_common_seeds(sides: Sequence[Side], label: str, left_out: dict[str, None]) -> list[Side]:
    """Return the sides on one training collection, with the seeds that all have; seeds of some alone are named in ``left_out``."""
    here = [
        side._replace(systems={label: side.systems[label]}, cells={k: v for k, v in side.cells.items() if k == label}) for side in sides
    ]
    seeded = [side for side in here if side.seeded(label)]
    if len(seeded) < 2:
        return here
    seeds = sorted(set.intersection(*(set(side.systems[label]) for side in seeded)))
    if not seeds:
        first, *others = (f"{side.name} {'has ' * (side is seeded[0])}the seeds {sorted(side.systems[label])}" for side in seeded)
        both = "both" if len(seeded) == 2 else "all"
        raise ParameterError(f"{', '.join([first, *others])}, so they share none; give {both} a seed in common in the study's grids")
    for number, side in enumerate(here):
        if side.seeded(label) and (alone := sorted(side.systems[label].keys() - set(seeds))):
            left_out[f"left out: seeds of {letter(number)} alone: {', '.join(map(str, alone))}"] = None
    return [
        side._replace(
            systems={label: {seed: side.systems[label][seed] for seed in seeds}},
            cells={k: cell._replace(students={seed: cell.students[seed] for seed in seeds}) for k, cell in side.cells.items()},
        )
        if side.seeded(label)
        else side
        for side in here
    ]


def _needed(side: Side, label: str, seed: int) -> dict[str, Spec]:
    """Return what a system's results, and a student's cost, are read from, by identity, each after what it is made from."""
    evaluations: dict[str, Spec] = {identity(spec): spec for spec in side.plan.evaluations(side.systems[label][seed], label)}
    if not side.cells:
        return evaluations
    student = side.cells[label].students[seed]
    return {**upstream(student), identity(student): student, **evaluations}


def _check_finished(side: Side, label: str, store: Store, base: str | None) -> None:
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
    kind, of_seed = ("cell", f", of seed {seed}") if side.cells else ("row", "")
    raise StoreError(
        f"the {kind} {side.name} on {label} is not finished: the store has no {spec.stage} artefact {key}{of_seed} (missing "
        f"in all: {', '.join(f'{count} {stage}' for stage, count in counts.items())}); "
        f"`{run_command(side.study, base)}` makes what is missing"
    )


def _values_of(
    sides: Sequence[Side], label: str, store: Store, measures: Sequence[str], left_out: dict[str, None]
) -> list[dict[Place, pd.DataFrame]]:
    """Return the values of rows on one training collection: of every measure, test collection, and first stage that all of them serve."""
    every = [_values(side, label, store) for side in sides]
    shared = [place for place in every[0] if all(place in own for own in every)]
    for number, own in enumerate(every):
        for place in own:
            if place not in shared:
                alone = not any(place in other for other in every if other is not own)
                said = f"which {letter(number)} alone ranks" if alone else "which not all rank"
                left_out[f"left out: first stage {place[1]}, {said}"] = None
    return [{(measure, label, *place): by_query_and_seed(own[place], measure) for measure in measures for place in shared} for own in every]


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


def _costs(store: Store, sides: Sequence[Side]) -> Costs:
    """Return what cells cost on one training collection; the sides hold the seeds that are compared, and no others."""
    label = next(iter(sides[0].cells))
    return Costs(label, len(sides[0].cells[label].students), [_mean_cost(side, label, store) for side in sides])


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

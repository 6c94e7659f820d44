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
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rd_utils.store import Store, StoreError, identity, upstream
from rd_utils.study.bounds import check_path, shown
from rd_utils.study.params import ParameterError, nearest

if TYPE_CHECKING:
    import pandas as pd
    from ir_measures import Measure

    from rd_utils.study.kinds import Spec, System
    from rd_utils.study.plan import Cell, Plan

STRICT_MARGIN = 0.01  # equivalence is shown at this margin too, whatever the margin asked for
DEFAULTS, MEASURES = {"margin": 0.02, "alpha": 0.05, "level": 0.95}, ("nDCG@10",)  # of runs; a study has its own
PLACE = ("measure", "collection", "test_collection", "first_stage")
COST_PARTS = ("mine", "score", "train", "evaluate", "total")
TITLES = {"collection": "trained on", "test_collection": "tested on", "first_stage": "first stage"}


class Settings(NamedTuple):
    """What a comparison is made with: the margin in units of the measure, ``seed`` of the resampling."""

    margin: float
    alpha: float
    level: float
    seed: int


class Comparison(NamedTuple):
    """What one measure in one place says of B against A; ``difference`` is ``mean_b - mean_a``.

    ``low``, ``high``, both p-values and the verdict are over queries and seeds, where there are several; those with ``queries`` in their
    names are the t test over queries alone, on values averaged over seeds. ``collection``, ``first_stage`` and ``n_seeds`` are None for
    runs. The variance over seeds is that of these two systems alone; a study's report may pool it over strategies.
    """

    measure: str
    collection: str | None
    test_collection: str
    first_stage: str | None
    n_queries: int
    n_seeds: int | None
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    low_queries: float
    high_queries: float
    p_difference: float
    p_queries: float
    p_randomisation: float
    p_equivalence: float
    p_equivalence_strict: float
    verdict: str
    smallest_margin: float
    queries_needed: int | None
    seeds_needed: int | None


class Cost(NamedTuple):
    """CPU seconds of A and of B for one seed, the mean over ``n_seeds``, by part; ``ratio`` is B's total over A's, None where A's is 0."""

    collection: str
    n_seeds: int
    cpu_seconds_a: dict[str, float]
    cpu_seconds_b: dict[str, float]
    ratio: float | None


class Side(NamedTuple):
    """A row of a study, by training collection: its systems by seed, and for a cell its students; ``seeded`` tells whether seeds matter."""

    name: str
    plan: Plan
    systems: dict[str, dict[int, System]]
    cells: dict[str, Cell]

    def seeded(self, collection: str) -> bool:
        """Tell whether the row's systems differ by seed."""
        return min(self.systems[collection]) >= 0


class Result(NamedTuple):
    """All that is printed: ``about`` says what was compared, ``notes`` what a reader of the numbers has to know."""

    a: str
    b: str
    settings: Settings
    about: list[str]
    comparisons: list[Comparison]
    costs: list[Cost]
    notes: list[str]


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
    """Compare what the options name; return the text to print.

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
    result = _of_cells(options) if options.study else _of_runs(options)
    return json.dumps(as_record(result), indent=1, allow_nan=False) if options.json else as_text(result)


def _settings(options: argparse.Namespace, defaults: Mapping[str, float]) -> Settings:
    """Return the settings asked for, checked; what was not asked for is as in ``defaults``."""
    asked = {name: getattr(options, name) for name in ("margin", "alpha", "level")}
    found = {name: defaults[name] if value is None else value for name, value in asked.items()}
    for name, least, upper in (("margin", 1e-6, 1.0), ("alpha", 1e-9, 0.5), ("level", 1e-9, 1.0)):
        if not least <= found[name] < upper:
            raise ParameterError(f"--{name} is {found[name]}; expected a number above 0 and below {upper:g}")
    if not 0 <= options.seed < 2**63:
        raise ParameterError(f"--seed is {options.seed}; expected a whole number, 0 or above and below 2**63")
    return Settings(**found, seed=options.seed)


# --- one comparison ---------------------------------------------------------------------------------------------------------------


def compare_values(
    a: pd.DataFrame, b: pd.DataFrame, settings: Settings, *, measure: str, collection: str | None = None, first_stage: str | None = None
) -> Comparison:
    """Compare two systems on the queries of one test collection, on values averaged over seeds.

    Args:
        a: (n_queries, n_seeds) values, indexed by ``(test_collection, query_id)``; the columns are the seeds. One column for what has none.
        b: the same queries and seeds.
        settings: margin, alpha, level, and the seed of the resampling.
        measure: its name.
        collection: label of the training collection; None for runs.
        first_stage: its label; None for runs.

    Raises:
        ParameterError: the queries differ, there are fewer than two, or a value is missing.
    """
    from rd_utils.analysis import crossed, stats

    try:
        before, after = crossed.aligned(a, b)
        found, estimated = crossed.said_of(before, after, settings.level, settings.margin, settings.alpha, None)
        p_randomisation = stats.randomisation_test((after - before).mean(axis=1), seed=settings.seed)
    except ValueError as error:
        raise ParameterError(f"{measure}: {error}") from error
    verdict = stats.VERDICTS[found.p_difference < settings.alpha, found.p_equivalence < settings.alpha]
    return Comparison(
        measure=measure,
        collection=collection,
        test_collection=str(a.index[0][0]),
        first_stage=first_stage,
        n_queries=found.n_queries,
        n_seeds=None if collection is None else found.n_seeds,
        mean_a=found.mean_a,
        mean_b=found.mean_b,
        difference=found.difference,
        low=found.low,
        high=found.high,
        low_queries=found.low_queries,
        high_queries=found.high_queries,
        p_difference=found.p_difference,
        p_queries=found.p_queries,
        p_randomisation=p_randomisation,
        p_equivalence=found.p_equivalence,
        p_equivalence_strict=estimated.p_equivalence(STRICT_MARGIN),
        verdict=verdict + (crossed.THESE_ONLY if collection is not None and found.n_seeds == 1 else ""),
        smallest_margin=found.smallest_margin,
        queries_needed=found.queries_needed,
        seeds_needed=found.seeds_needed,
    )


# --- two runs ---------------------------------------------------------------------------------------------------------------------


def read_qrels(name: str) -> pd.DataFrame:
    """Read a file of qrels (see :func:`rd_utils.data.trec.qrels`), or the qrels of an ir_datasets id.

    Returns:
        Frame query_id, doc_id (str), relevance (int64).

    Raises:
        ParameterError: there is neither such a file nor such an id, or the file holds something else; the message names the first lines.
    """
    from rd_utils.data import reading, trec

    path = Path(name).expanduser()
    return trec.qrels(path, ParameterError).frame if reading.is_file(path) else _qrels_of_id(name)


def _qrels_of_id(name: str) -> pd.DataFrame:
    from rd_utils.data.collections import CollectionError, read_queries
    from rd_utils.study.params import IrDatasetsCollection, parse

    collection = parse(IrDatasetsCollection, {"id": name}, "--qrels")
    try:
        return read_queries(collection)[1]
    except CollectionError as error:
        raise ParameterError(f"--qrels {name}: there is no such file, and as an id: {error}") from None


def _read_run(name: str) -> tuple[pd.DataFrame, int]:
    """Read a TREC run, ranked by (query_id, -score, doc_id), and count the queries whose ranks in the file say another order."""
    import numpy as np

    from rd_utils.data import reading, trec
    from rd_utils.data.runs import tie_order

    path = Path(name).expanduser()
    if not reading.is_file(path):
        raise ParameterError(
            f"there is no run {shown(name)[1:-1]}; name a file of lines query_id Q0 doc_id rank score tag, or --study FILE for cells"
        )
    pairs = trec.run(path, ParameterError).frame
    if pairs.empty:
        raise ParameterError(f"the run {name} is empty; {trec.RUN_FORM}")
    order = np.lexsort((tie_order(pairs["doc_id"]), -pairs["score"].to_numpy(), pairs["query_id"].to_numpy(dtype=object)))
    pairs = pairs.iloc[order].reset_index(drop=True)
    ranks, scores, queries = (pairs[column].to_numpy() for column in ("rank", "score", "query_id"))
    contradicts = (ranks[1:] < ranks[:-1]) & (scores[1:] < scores[:-1]) & (queries[1:] == queries[:-1])
    return pairs, len(set(queries[1:][contradicts]))


def _of_runs(options: argparse.Namespace) -> Result:
    from rd_utils.evaluation.measures import EvaluationError, try_measures

    settings, measures = _settings(options, DEFAULTS), tuple(dict.fromkeys(options.measure or MEASURES))
    try:
        parsed = try_measures(measures)
    except EvaluationError as error:
        raise ParameterError(f"--measure: {error}") from None
    if options.a == options.b or Path(options.a).resolve() == Path(options.b).resolve():
        raise ParameterError(f"A and B are one file, {options.a}; name two runs")
    (first, second), qrels = _read_all((options.a, options.b), options.qrels)
    _check_relevance(qrels, options.qrels, parsed)
    about, values = [f"qrels: {options.qrels}; {qrels['query_id'].nunique()} judged queries"], []
    for name, path, (pairs, contradicted) in zip("AB", (options.a, options.b), (first, second), strict=True):
        table, counts = _measured(path, pairs, qrels, measures, options.qrels)
        values.append(table.assign(test_collection=options.qrels))
        about += _said_of_run(name, counts, _judged(pairs, qrels), contradicted)
    comparisons = [
        compare_values(_matrix(values[0], measure), _matrix(values[1], measure), settings, measure=measure) for measure in measures
    ]
    return Result(options.a, options.b, settings, about, comparisons, [], _notes(comparisons, settings))


def _measured(
    path: str, pairs: pd.DataFrame, qrels: pd.DataFrame, measures: tuple[str, ...], judged_by: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return a run's values per judged query and the counts of queries, as :func:`rd_utils.evaluation.measures.measure_run`."""
    from rd_utils.evaluation.measures import measure_run

    if not qrels["query_id"].isin(set(pairs["query_id"])).any():
        own, theirs = (str(frame["query_id"].iloc[0]) for frame in (pairs, qrels))
        raise ParameterError(
            f"the run {path} has no query of the qrels {judged_by}: its first query is {own!r}, theirs {theirs!r}; "
            "name the qrels of the run's own collection"
        )
    if not _judged(pairs, qrels).documents_judged:
        own, theirs = (str(frame["doc_id"].iloc[0]) for frame in (pairs, qrels))
        raise ParameterError(
            f"the run {path} has no document of the qrels {judged_by}: its first document is {own!r}, theirs {theirs!r}; name the qrels "
            "of the run's own collection"
        )
    try:
        return measure_run(pairs, qrels, measures)
    except (ValueError, AssertionError, ArithmeticError, OSError, subprocess.SubprocessError) as error:
        # what ir_measures raises for a parameter or provider that is missing, or for ids that a provider cannot take
        raise ParameterError(f"--measure: one of {', '.join(measures)} cannot be computed: {error}") from error


class Judged(NamedTuple):
    """How much of a run its qrels know; documents are those in the lists of judged queries, each counted once."""

    queries: int
    queries_judged: int
    queries_with_judged: int
    documents: int
    documents_judged: int


def _judged(pairs: pd.DataFrame, qrels: pd.DataFrame) -> Judged:
    asked = pairs[pairs["query_id"].isin(set(qrels["query_id"]))]
    documents = asked["doc_id"].drop_duplicates()
    found = asked.merge(qrels, on=["query_id", "doc_id"])
    return Judged(
        pairs["query_id"].nunique(),
        asked["query_id"].nunique(),
        found["query_id"].nunique(),
        len(documents),
        int(documents.isin(set(qrels["doc_id"])).sum()),
    )


def _said_of_run(name: str, counts: dict[str, int], judged: Judged, contradicted: int) -> list[str]:
    """Return in words what of a run the qrels know, and what of the qrels the run has."""
    lines = [
        f"{name} lacks {counts['queries_without_result']} of the judged queries, which count 0; "
        f"its {counts['queries_unjudged']} unjudged queries are left out",
        f"of {name}'s {judged.queries} queries {judged.queries_judged} are judged ({judged.queries_judged / judged.queries:.0%}); of the "
        f"{judged.documents} documents that these list, {judged.documents_judged} are judged for any query "
        f"({judged.documents_judged / judged.documents:.0%}), and {judged.queries_with_judged} queries list one that is judged for them",
    ]
    if 2 * judged.queries_judged < judged.queries or 2 * judged.queries_with_judged < judged.queries_judged:
        lines.append(f"little of {name} is judged; if its ids are not those of the qrels, name the qrels of its own collection")
    if contradicted:
        lines.append(f"the ranks in the file of {name} contradict its scores in {contradicted} queries; scores decide, as in trec_eval")
    return lines


def _read_all(paths: tuple[str, str], judged_by: str) -> tuple[list[tuple[pd.DataFrame, int]], pd.DataFrame]:
    """Read two runs and their qrels; what is wrong with any of the three files is said at once."""
    found, problems = [], []
    for read, name in ((_read_run, paths[0]), (_read_run, paths[1]), (read_qrels, judged_by)):
        try:
            found.append(read(name))
        except ParameterError as error:
            problems.append(str(error))
    if problems:
        raise ParameterError("\n".join(problems))
    return found[:2], found[2]


def _check_relevance(qrels: pd.DataFrame, judged_by: str, measures: Sequence[Measure]) -> None:
    """Refuse qrels in which nothing is relevant to a measure: it would be 0 for every query and system."""
    highest = int(qrels["relevance"].max())
    if highest <= 0:
        raise ParameterError(
            f"--qrels {judged_by}: no query has a positive, the highest grade is {highest}, so every measure is 0; name qrels with grades "
            "above 0"
        )
    for measure in measures:
        level = measure.params.get("rel", 1)
        if highest < level:
            raise ParameterError(
                f"--measure {measure}: no document has a grade of {level} or more, the highest is {highest}, so it is 0 for every query; "
                "lower rel, or name other qrels"
            )


def _matrix(values: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return the values of a measure as (queries, seeds); a run has one column."""
    values = values[values["measure"] == measure]
    keys = ["test_collection", "query_id"]
    if "seed" not in values:
        return values.set_index(keys)[["value"]]
    return values.pivot(index=keys, columns="seed", values="value")


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
    settings, measures = _settings(options, defaults), tuple(dict.fromkeys(options.measure or (analysis.measure,)))
    for plan in plans:
        for measure in measures:
            if measure not in plan.study.evaluation.measures:
                raise ParameterError(
                    f"--measure: study {plan.study.name} has no {measure!r}{nearest(measure, plan.study.evaluation.measures)}"
                )
    a, b = _side(plans[0], options.a, options.b), _side(plans[-1], options.b, options.a)
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
    notes = _notes(comparisons, settings)
    if settings.margin != analysis.equivalence_margin:
        notes.append(
            f"the study's file fixed the margin {analysis.equivalence_margin:g} beforehand; {settings.margin:g} was asked for here"
        )
    cells = [(x, y) for x, y in pairs if x.cells and y.cells]
    return Result(a.name, b.name, settings, about, comparisons, _costs(store, cells), notes)


def _side(plan: Plan, name: str, other: str) -> Side:
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
            _matrix(values_a[place], measure),
            _matrix(values_b[place], measure),
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


# --- saying it --------------------------------------------------------------------------------------------------------------------


def _notes(comparisons: Sequence[Comparison], settings: Settings) -> list[str]:
    """Return what a reader has to know beside the numbers, and where the methods disagree."""
    if len(comparisons) == 1:
        notes = ["p-values are of this comparison alone: a single comparison is its own family, so they are not corrected"]
    else:
        notes = [f"each p-value is of its own comparison alone: none is corrected for the {len(comparisons)} comparisons shown"]
    notes.append(
        f"queries (seeds) needed: so many would show equivalence at {settings.margin:g} with probability 0.8, with the present number of "
        "the other, if A and B were equal in truth"
    )
    if any(row.n_seeds == 1 for row in comparisons):
        notes.append("one seed: how much the difference varies with the seed is not known; verdicts are about these students only")
    for row in comparisons:
        label = _label(row, comparisons)
        if (row.p_queries < settings.alpha) != (row.p_randomisation < settings.alpha):
            notes.append(f"{label}the t-test and the randomisation test disagree at {settings.alpha:g}; take the verdict with care")
        if row.p_queries < settings.alpha <= row.p_difference:
            notes.append(f"{label}these very students differ (p over queries {_p(row.p_queries)}), but other seeds may not")
    return notes


def sentence(row: Comparison, settings: Settings) -> str:
    """Return one comparison as a plain sentence.

    >>> numbers = dict(n_queries=43, n_seeds=None, mean_a=0.5, mean_b=0.521, difference=0.021, low=0.010, high=0.032)
    >>> numbers |= dict(low_queries=0.010, high_queries=0.032, p_difference=0.0004, p_queries=0.0004, p_randomisation=0.001)
    >>> numbers |= dict(p_equivalence=0.571, p_equivalence_strict=0.97, verdict="different", smallest_margin=0.030)
    >>> numbers |= dict(queries_needed=None, seeds_needed=None)
    >>> row = Comparison(measure="nDCG@10", collection=None, test_collection="t", first_stage=None, **numbers)
    >>> print(sentence(row, Settings(0.02, 0.05, 0.95, 0)))
    B is higher by 0.021 nDCG@10 [0.010, 0.032]: different, equivalence at 0.02 not shown (p < 0.001, TOST p 0.571)
    """
    amount = f"{abs(row.difference):.3f}"
    if float(amount) == 0:
        start = f"B and A are {'equal' if row.difference == 0 else 'less than 0.0005 apart'} in {row.measure}, B - A"
    elif row.difference > 0:
        start = f"B is higher by {amount} {row.measure}"
    else:
        start = f"B is lower by {amount} {row.measure}, B - A"
    word, comma, only = row.verdict.partition(", ")
    verdict = (
        {
            "different": f"different, equivalence at {settings.margin:g} not shown",
            "equivalent": f"equivalent at {settings.margin:g}, no difference shown",
            "both": f"different, and yet equivalent at {settings.margin:g}",
            "undecided": f"undecided, neither a difference nor equivalence at {settings.margin:g} is shown",
        }[word]
        + comma
        + only
    )
    p, tost = (f"p {_p(value).replace('<', '< ')}" for value in (row.p_difference, row.p_equivalence))
    return f"{start} {_interval(row.low, row.high, 3)}: {verdict} ({p}, TOST {tost})"


def as_text(result: Result) -> str:
    """Return the answer in a sentence, then what was compared, the tables and the notes."""
    rows, settings = result.comparisons, result.settings
    lines = [_answer(result)]
    if len(rows) > 1:
        lines += [f"  {_label(row, rows)}{sentence(row, settings)}" for row in rows]
    lines += [_cost_sentence(cost, several=len(result.costs) > 1) for cost in result.costs]
    fixed = [f"{TITLES[name]}: {getattr(rows[0], name)}" for name in PLACE[1:] if name not in _varying(rows) and result.costs]
    fixed.append(f"margin {settings.margin:g}, alpha {settings.alpha:g}, intervals at level {settings.level:g}, seed {settings.seed}")
    lines += ["", f"A: {result.a}", f"B: {result.b}", *result.about, *fixed, ""]
    place = {TITLES.get(name, name): [getattr(row, name) for row in rows] for name in PLACE if name in ("measure", *_varying(rows))}
    several = (rows[0].n_seeds or 1) > 1
    numbers = {
        "queries": [str(row.n_queries) for row in rows],
        "seeds": [str(row.n_seeds) for row in rows],
        "A": [f"{row.mean_a:.4f}" for row in rows],
        "B": [f"{row.mean_b:.4f}" for row in rows],
        "B - A": [f"{row.difference:+.4f}" for row in rows],
        "over queries and seeds": [_interval(row.low, row.high) for row in rows],
        "over queries": [_interval(row.low_queries, row.high_queries) for row in rows],
    }
    if not several:
        numbers.pop("over queries and seeds")
    if rows[0].n_seeds is None:
        numbers.pop("seeds")
    tests = {
        "p": [_p(row.p_difference) for row in rows],
        "p over queries": [_p(row.p_queries) for row in rows],
        "p randomisation": [_p(row.p_randomisation) for row in rows],
        f"TOST p at {settings.margin:g}": [_p(row.p_equivalence) for row in rows],
        f"TOST p at {STRICT_MARGIN:g}": [_p(row.p_equivalence_strict) for row in rows],
        "verdict": [row.verdict for row in rows],
        "smallest margin": [f"{row.smallest_margin:.4f}" for row in rows],
        "queries needed": ["none suffice" if row.queries_needed is None else f"{row.queries_needed:,}" for row in rows],
        "seeds needed": ["none suffice" if row.seeds_needed is None else f"{row.seeds_needed:,}" for row in rows],
    }
    if not several:
        tests.pop("p over queries"), tests.pop("seeds needed")
    lines += [*_table(place | numbers), "", *_table(place | tests)]
    if result.costs:
        own = {
            TITLES["collection"]: [cost.collection for cost in result.costs for _ in "AB"],
            "CPU seconds a seed": [name for _ in result.costs for name in "AB"],
        }
        both = [part for cost in result.costs for part in (cost.cpu_seconds_a, cost.cpu_seconds_b)]
        lines += ["", *_table(own | {part: [f"{seconds[part]:,.1f}" for seconds in both] for part in COST_PARTS})]
    return "\n".join([*lines, "", *(f"note: {note}" for note in result.notes)])


def as_record(result: Result) -> dict[str, object]:
    """Return the same as a dict for JSON."""
    return {
        "answer": _answer(result),
        "a": result.a,
        "b": result.b,
        "settings": result.settings._asdict() | {"strict_margin": STRICT_MARGIN},
        "about": result.about,
        "comparisons": [row._asdict() for row in result.comparisons],
        "costs": [cost._asdict() for cost in result.costs],
        "notes": result.notes,
    }


def _answer(result: Result) -> str:
    rows = result.comparisons
    if len(rows) == 1:
        return sentence(rows[0], result.settings)
    verdicts = ", ".join(f"{count} {name}" for name, count in Counter(row.verdict for row in rows).items())
    differences = [row.difference for row in rows]
    spread = f", B - A from {min(differences):+.3f} to {max(differences):+.3f} {rows[0].measure}" if "measure" not in _varying(rows) else ""
    return f"{len(rows)} comparisons of B with A{spread}: {verdicts} (equivalence at {result.settings.margin:g})"


def _cost_sentence(cost: Cost, several: bool) -> str:
    totals = f"{cost.cpu_seconds_b['total']:,.1f} CPU seconds a seed against {cost.cpu_seconds_a['total']:,.1f}"
    ratio = "A's is 0, so there is no ratio" if cost.ratio is None else f"{cost.ratio:.2f} times as much"
    return f"B costs {totals}, {ratio}" + (f", on {cost.collection}" if several else "")


def _varying(rows: Sequence[Comparison]) -> list[str]:
    return [name for name in PLACE if len({getattr(row, name) for row in rows}) > 1]


def _label(row: Comparison, rows: Sequence[Comparison]) -> str:
    """Return what tells one comparison from the others, with a colon; nothing where it is the only one."""
    parts = [str(getattr(row, name)) for name in _varying(rows)]
    return f"{', '.join(parts)}: " if parts else ""


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _interval(low: float, high: float, digits: int = 4) -> str:
    shown = (f"{round(bound, digits) + 0.0:.{digits}f}" for bound in (low, high))  # no minus before a zero
    return f"[{', '.join(shown)}]"


def _table(columns: dict[str, list[str]]) -> list[str]:
    """Return aligned lines: names left, everything else right."""
    left = {"measure", "verdict", "CPU seconds a seed", *TITLES.values()}
    widths = {name: max(len(name), *map(len, cells)) for name, cells in columns.items()}
    header = {name: name for name in columns}
    body = [{name: cells[number] for name, cells in columns.items()} for number in range(len(next(iter(columns.values()))))]
    return [
        "  ".join(f"{row[name]:{'<' if name in left else '>'}{width}}" for name, width in widths.items()).rstrip()
        for row in [header, *body]
    ]

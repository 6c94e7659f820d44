"""From a study to cells, from cells to nodes: one node is one papermill run of one notebook.

A cell is one strategy x teacher x loss x architecture x temperature; it has one student per seed. A node packs the cells that share
groups, teacher and architecture, up to ``workflow.students_per_node`` students, because starting a notebook costs seconds; a cell of
more seeds than that is split. Searches of one architecture are packed likewise, by the candidate students that they train. What a node
makes is stored per student, so packing changes no result and a node that is run again makes only what is missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain, count, product
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from rd_utils import durable, kernels
from rd_utils.data import leakage, reading, trec
from rd_utils.data.collections import CHEAP_QUERIES, CollectionError
from rd_utils.stages.search import search_evaluations
from rd_utils.store import (
    Store,
    StoreError,
    identity,
    one_look,
    outputs_root,
    outside_content,
    project_root,
    resolve_path,
    upstream,
)
from rd_utils.study import checks, params, studies
from rd_utils.study.graph import docs_of
from rd_utils.study.params import ParameterError
from rd_utils.study.studies import Study

# The modules whose code decides a report beside that of the artefacts.
_PACKAGE = Path(__file__).parents[1]
REPORTED_BY = (
    *(path for room in ("analysis", "report") for path in sorted((_PACKAGE / room).rglob("*.py"))),
    *(_PACKAGE / name for name in ("companions/advice.py", "cost/costs.py", "cost/energy.py", "cost/frontier.py", "scoring/entropy.py")),
)
NOTEBOOKS = ("01_mine", "02_score", "03_train", "04_evaluate", "05c_report", "06_search")

# In what cells differ, beside the collection that they are trained on; fields of Cell.
DIMENSIONS = ["strategy", "teacher", "loss", "architecture", "augmentation", "cut", "temperature", "target_entropy"]
# Where a cell's results stand: trained on, tested on, and what it ranks there.
PLACE = ["collection", "test_collection", "first_stage"]


class Cell(NamedTuple):
    """One point of the grid on one training collection, with its students by seed.

    Attributes:
        name: the same on every collection.
        collection: label of the training collection.
        target_entropy: NaN where the temperature was given.
    """

    name: str
    collection: str
    strategy: str
    teacher: str
    loss: str
    architecture: str
    augmentation: str
    cut: str
    temperature: float
    target_entropy: float
    students: dict[int, params.StudentSpec]


class Baseline(NamedTuple):
    """A row that is not trained by the grid: a retriever, a teacher, or a student before its first step.

    ``pair`` is the place of its collections in the study.
    """

    name: str
    pair: int
    system: str
    teacher: str
    architecture: str
    systems: dict[int, Any]


class Node(NamedTuple):
    """One run of one notebook.

    Attributes:
        id: notebook name and a digest of its parameters, its artefacts' identities and its own cells.
        name: what a person calls it.
        notebook: file name without suffix.
        parameters: what papermill injects.
        artefacts: the specs that it leaves in the store.
        needs: ids of the nodes that must run before.
    """

    id: str
    name: str
    notebook: str
    parameters: dict[str, Any]
    artefacts: tuple[Any, ...]
    needs: tuple[str, ...]


class Plan:
    """A study's cells, baselines and nodes.

    Args:
        study: the validated study.
        path: its file, as the analysis notebook is told it.

    Attributes:
        studies: the study on each of its training collections.
    """

    def __init__(self, study: Study, path: str) -> None:
        self.study, self.path = study, path
        self.studies = _on_collections(study)
        self.cells = _cells(self.studies)
        self.baselines = _baselines(self.studies, self.cells)

    @property
    def folder(self) -> Path:
        """Return where the study's report and tables go."""
        return outputs_root() / self.study.name

    @cached_property
    def report_version(self) -> str:
        """Return what decides the report beside the artefacts: the study, and the code that analyses and shows it."""
        digest = hashlib.sha256(self.study.model_dump_json().encode())
        for path in REPORTED_BY:
            digest.update(path.read_bytes())
        return digest.hexdigest()[:20]

    @cached_property
    def labels(self) -> list[str]:
        """Return the training collections' names."""
        return [pair.train.label for pair in self.study.collections]

    def first_stages(self, pair: int) -> tuple[params.FirstStage, ...]:
        """Return the first stages of a pair of collections."""
        return self.studies[pair].evaluation.first_stages

    def evaluations(self, system: Any, collection: str) -> list[params.EvaluationSpec]:
        """Return the evaluations of one system that belongs to a training collection."""
        settings, pair = self.study.evaluation, self.labels.index(collection)
        return [
            params.EvaluationSpec(
                system=system, collection=test, first_stage=stage, measures=settings.measures, precision=settings.precision
            )
            for test in self.study.collections[pair].test
            for stage in self.first_stages(pair)
            if params.serves(system, stage)
        ]

    def description(self, cell: Cell, student: params.StudentSpec) -> params.DescriptionSpec | None:
        """Return what describes a student's groups as its training sees them; None without a reference encoder.

        A student without a teacher is described with the teacher of the cells that share its groups.
        """
        return self._described[0].get((cell.collection, cell.name, student.seed))

    def behaviour(self, cell: Cell, student: params.StudentSpec) -> params.BehaviourSpec | None:
        """Return what measures a student itself, with the same teacher as :meth:`description`; None where the study has no probe."""
        return self._described[1].get((cell.collection, cell.name, student.seed))

    @cached_property
    def _described(self) -> tuple[dict[tuple[str, str, int], Any], dict[tuple[str, str, int], Any]]:
        """Return the descriptions of groups and of students, by collection, cell and seed."""
        groups, students = {}, {}
        for block, values in _NodeBuilder(self).blocks_with_values():
            parsed = params.TrainParameters.model_validate(_plain(values))
            cells = dict(zip(_loss_names(block), block, strict=True))
            for found, specs in ((groups, parsed.descriptions()), (students, parsed.behaviours())):
                found |= {(cells[name].collection, cells[name].name, seed): spec for (name, seed), spec in specs.items()}
        return groups, students

    @cached_property
    def nodes(self) -> list[Node]:
        """Return the nodes in an order in which every node comes after those that it needs."""
        builder = _NodeBuilder(self)
        try:
            builder.build()
        except ValidationError as error:
            raise ParameterError(params.explain(error, params.TrainParameters, f"study {self.study.name}")) from None
        return builder.nodes

    @one_look()
    def specs(self) -> list[Any]:
        """Return every artefact of the study, upstream first, each once."""
        found: dict[str, Any] = {}
        for node in self.nodes:
            for artefact in node.artefacts:
                found |= upstream(artefact) | {identity(artefact): artefact}
        return list(found.values())


def load_plan(path: str | Path, base: str | None = None, *, inputs: bool = False) -> Plan:
    """Read a study file and expand it, on another base where one is given (see :func:`rd_utils.study.studies.load_study`).

    Args:
        path: the study's file.
        base: another base than its own.
        inputs: whether the run and score files and the checkpoints have to be sound that the study uses, which planning does not need.

    Raises:
        ParameterError: the study cannot be run; the message names each offender.
    """
    draft = studies.read_study(path, base)
    plan, problems = None, [*draft.problems, *map(draft.line, outside_problems(draft.sound))]
    path = Path(path).resolve()
    root = project_root()
    if draft.study is not None:
        try:
            plan = Plan(draft.study, str(path.relative_to(root)) if path.is_relative_to(root) else str(path))
        except PlanError as error:
            problems += map(draft.line, error.problems)
    if plan is not None and not problems:
        problems += [*_not_evaluated(plan), *(spoilt_inputs(plan) if inputs else [])]
    if plan is None or problems:
        raise ParameterError(params.listed(f"study {draft.path}", problems))
    try:
        leakage.check_study(plan.study)
    except CollectionError as error:
        raise ParameterError(f"study {plan.study.name}: {error}") from None
    return plan


class PlanError(ParameterError):
    """A study has cells that cannot be; ``problems`` says which, each as a line."""

    def __init__(self, study: Study, problems: list[str]) -> None:
        super().__init__(params.listed(f"study {study.name}", problems))
        self.problems = problems


def outside_problems(study: Any) -> list[str]:
    """Return what is wrong with the names that only the outside knows, collections, folders and measures, and with the study's own labels.

    Args:
        study: a study, or the sound parts of one.
    """
    found = checks.problems(study, files=False)
    trains: list[params.Collection] = []
    for number, pair in enumerate(study.collections or ()):
        train, tests = getattr(pair, "train", None), getattr(pair, "test", None) or ()
        trains += [train] if isinstance(train, params.Collection) else []
        sound = [part for part in tests if isinstance(part, params.Collection)]
        found += _same_names(f"collections[{number}].test", "test collections", sound)
    if isinstance(study, Study):
        found += _same_names("evaluation.first_stages", "first stages", list(study.evaluation.first_stages))
    validation = getattr(study.search, "validation", None)
    if isinstance(validation, params.Collection) and trains and not found and docs_of(validation) != docs_of(trains[0]):
        found.append(
            f"search.validation is {validation.label}, of other documents than the first training collection {trains[0].label}; search on "
            "validation queries of the same ones"
        )
    labels = [train.label for train in trains]
    if len(set(labels)) != len(labels):
        found.append(f"collections: two training collections are the same: {labels}; list each once")
    return found


def _same_names(place: str, what: str, parts: list[Any]) -> list[str]:
    labels = [part.label for part in parts]
    if len(set(labels)) == len(labels):
        return []
    return [f"{place}: two {what} have the same name in tables: {labels}; put them into studies of their own"]


def _not_evaluated(plan: Plan) -> list[str]:
    """Return why rows or searches of a plan cannot be evaluated."""
    problems: list[str] = []
    searches = {student.search: student for cell in plan.cells for student in cell.students.values() if student.search is not None}
    for row in plan.baselines:
        for system in row.systems.values():
            try:
                plan.evaluations(system, plan.labels[row.pair])
            except ValidationError as error:
                problems += [f"the row {row.name}: {problem}" for problem in params.problems_of(error, params.EvaluationSpec)]
    for student in searches.values():
        try:
            search = params.search_spec(student)
            if search is not None:
                search_evaluations(search)
        except ValidationError as error:
            problems += [f"search: {problem}" for problem in params.problems_of(error, params.SearchSpec)]
    return list(dict.fromkeys(problems))


def check_inputs(plan: Plan) -> None:
    """Check the run and score files and the checkpoints that a study uses, which planning does not need.

    Raises:
        ParameterError: naming all that are missing or cannot be served.
    """
    spoilt = spoilt_inputs(plan)
    if spoilt:
        raise ParameterError(params.listed(f"study {plan.study.name}", spoilt))


def spoilt_inputs(plan: Plan) -> list[str]:
    """Return what is wrong with the files of runs and scores, and with the checkpoints in folders, that a study uses."""
    specs = {identity(spec): spec for node in plan.nodes for spec in node.artefacts}
    for spec in list(specs.values()):
        specs |= upstream(spec)
    return [*_spoilt_runs(specs.values()), *_spoilt_checkpoints(specs.values())]


def _spoilt_runs(specs: Iterable[Any]) -> list[str]:
    used = [spec for spec in specs if spec.stage in ("candidates", "groups", "scores")]
    named = {path: content for spec in used for path, content in outside_content(spec).items()}
    return [problem for path, content in sorted(named.items()) if (problem := _spoilt_run(path, content))]


def _spoilt_run(path: str, content: str) -> str:
    """Return what is wrong with a file of runs or scores: it is missing, or it has up to 200 MB and says nonsense."""
    if content == "missing":
        return f"no file {path}; put it there, or name another"
    file = resolve_path(path)
    if not reading.is_file(file) or reading.weight(file) > CHEAP_QUERIES:
        return ""
    try:
        trec.scores(file)
    except reading.FileError as error:
        return str(error)
    return ""


def _spoilt_checkpoints(specs: Iterable[Any]) -> list[str]:
    """Load every checkpoint in a folder, and return why it cannot be served."""
    used = {part.model_dump_json(): part for spec in specs for part in _checkpoints(spec)}
    if not used:
        return []
    from rd_utils import models  # with the libraries that it loads

    return list(dict.fromkeys(models.refusals(used.values())))


def _checkpoints(part: Any) -> Iterator[Any]:
    """Yield the checkpoints that a part names itself, not those of the artefacts within it."""
    if isinstance(part, params.BiEncoder | params.CrossEncoder | params.LoadedTeacher):
        yield part
        return
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, params.Part) and not isinstance(value, params.Spec):
            yield from _checkpoints(value)


# --- cells ------------------------------------------------------------------------------------------------------------------------


def _on_collections(study: Study) -> list[Study]:
    """Return a study on each of its training collections.

    Raises:
        PlanError: a part cannot be on one of them.
    """
    try:
        return [study.on(pair.train) for pair in study.collections]
    except ValidationError as error:
        raise PlanError(study, params.problems_of(error, Study)) from None


def _cells(on: list[Study]) -> list[Cell]:
    """Return all cells of a study on each of its training collections.

    Raises:
        PlanError: cells cannot be, or would have one name; or an override meets none.
    """
    study = on[0]
    cells: dict[tuple[str, str], Cell] = {}
    used = [False] * len(study.overrides)
    seen: set[tuple[int, str, str]] = set()
    refused: dict[str, list[str]] = {}  # what is wrong, and with which cells
    for (number, grid), there in product(enumerate(study.grids), on):
        for point in _points(grid):
            name = _cell_name(point, point["temperature"])
            try:
                cell = _cell(there, study, grid, point, used)
            except ValidationError as error:
                for problem in params.problems_of(error, params.StudentSpec):
                    refused.setdefault(problem, []).append(name)
                continue
            except ParameterError as error:
                refused.setdefault(str(error), []).append(name)
                continue
            key = (there.collection.label, cell.name)
            if (number, *key) in seen:
                refused[f"grids[{number}] makes the cell {cell.name} twice; an override sets its temperature"] = []
                continue
            seen.add((number, *key))
            if key in cells:
                if not _one_cell(cell, cells[key]):
                    refused[f"two different cells would be called {cell.name}; rename an augmentation, a cut or a teacher"] = []
                cell = cell._replace(students={**cells[key].students, **cell.students})
            cells[key] = cell
    problems = [f"{problem}{_of_cells(names)}" for problem, names in refused.items()]
    for number, (met, override) in enumerate(zip(used, study.overrides, strict=True)):
        if not met and study.base is None:  # a base's overrides are for all the studies on it
            problems.append(
                f"overrides[{number}] meets no cell: {override.when.model_dump(exclude_none=True)}; correct its `when` or delete it"
            )
    if problems:
        raise PlanError(study, problems)
    order = [there.collection.label for there in on]
    return sorted(cells.values(), key=lambda cell: order.index(cell.collection))


def _of_cells(names: list[str]) -> str:
    """Return which cells have a problem, in brackets; nothing for none."""
    distinct = list(dict.fromkeys(names))
    return f" ({', '.join(distinct[:2])}{f' and {len(distinct) - 2} more cells' if len(distinct) > 2 else ''})" if distinct else ""


def _one_cell(cell: Cell, other: Cell) -> bool:
    """Tell whether two cells of one name are the same cell with other seeds."""
    shared = cell.students.keys() & other.students.keys()
    return cell._replace(students={}, target_entropy=0) == other._replace(students={}, target_entropy=0) and all(
        cell.students[seed] == other.students[seed] for seed in shared
    )


def _points(grid: studies.Grid) -> Iterator[dict[str, Any]]:
    """Yield the settings of every cell of a grid; teachers and their dials only where the loss has a teacher."""
    for architecture, strategy, loss in product(grid.architectures, grid.strategies, grid.losses):
        distils = params.LOSSES[loss].needs_teacher
        dials = [(1.0, target) for target in grid.target_entropies] or [(temperature, None) for temperature in grid.temperatures]
        dials = dials if params.LOSSES[loss].uses_temperature else [(1.0, None)]
        for teacher, (temperature, target) in product(grid.teachers, dials) if distils else [("", (1.0, None))]:
            for augmentation, cut in product(grid.augmentations, grid.cuts):
                yield {
                    "architecture": architecture,
                    "strategy": strategy,
                    "teacher": teacher,
                    "loss": loss,
                    "temperature": temperature,
                    "target_entropy": target,
                    "augmentation": augmentation,
                    "cut": cut,
                }


def _cell(study: Study, first: Study, grid: studies.Grid, point: dict[str, Any], used: list[bool]) -> Cell:
    """Return a cell of a study on one collection; ``first`` is the same on the collection that learning rates are searched on."""
    training, temperature, searched = _overridden(study, used, point)
    architecture, strategy, teacher, loss = (point[key] for key in ("architecture", "strategy", "teacher", "loss"))
    target, augmentation = point["target_entropy"], study.augmentations.get(point["augmentation"])
    if augmentation is not None and augmentation.random_share and isinstance(study.strategies[strategy], params.CorpusRandom):
        raise ParameterError(f"random documents change nothing in the groups of {strategy}; leave that cell out")
    students = {
        seed: params.StudentSpec(
            groups=study.groups(strategy, seed, point["augmentation"], point["cut"]),
            loss=loss,
            teacher=study.teachers[teacher] if teacher else None,
            temperature=temperature,
            target_entropy=target,
            augmentation=study.augmentation(point["augmentation"]),
            architecture=study.architectures[architecture],
            training=training,
            refresh=study.strategies[strategy].refresh,
            search=first.searched(architecture) if searched else None,
            seed=seed,
        )
        for seed in grid.seeds
    }
    about = {key: point[key] for key in ("strategy", "teacher", "loss", "architecture", "augmentation", "cut")}
    dials = {"temperature": temperature, "target_entropy": float("nan") if target is None else target}
    name = _cell_name(point, temperature)
    return Cell(name=name, collection=study.collection.label, **about, **dials, students=students)


def _cell_name(point: dict[str, Any], temperature: float) -> str:
    target = point["target_entropy"]
    name = "-".join(part for part in (point[key] for key in ("architecture", "strategy", "teacher", "loss")) if part)
    name += f"-T{temperature:g}" if temperature != 1.0 else ""
    name += f"-H{target:g}" if target is not None else ""
    return name + "".join(f"-{point[key]}" for key, plain in (("augmentation", "none"), ("cut", "all")) if point[key] != plain)


def _overridden(study: Study, used: list[bool], point: dict[str, Any]) -> tuple[params.Training, float, bool]:
    """Return a cell's training settings and temperature, and whether its learning rate is left to the search."""
    changes: dict[str, Any] = {}
    for number, override in enumerate(study.overrides):
        if all(point[key] == wanted for key, wanted in override.when.model_dump(exclude_none=True).items()):
            used[number] = True
            changes |= override.set.model_dump(exclude_none=True)
    temperature = changes.pop("temperature", None)
    if temperature is None or not params.LOSSES[point["loss"]].uses_temperature or point["target_entropy"] is not None:
        temperature = point["temperature"]
    searched = not {"learning_rate", "embedding_learning_rate"} & changes.keys()
    return params.Training(**study.training.model_dump() | changes), temperature, searched


def _baselines(on: list[Study], cells: list[Cell]) -> list[Baseline]:
    rows = []
    for pair, study in enumerate(on):
        own = [cell for cell in cells if cell.collection == study.collection.label]
        for retriever in dict.fromkeys(stage.retriever for stage in study.evaluation.first_stages):
            name = study.name_of(retriever) or retriever.label
            label = "BM25" if name == "bm25" else name
            rows.append(Baseline(label, pair, "first_stage", "", "", {-1: params.FirstStageSystem(retriever=retriever)}))
        for name in dict.fromkeys(cell.teacher for cell in own if cell.teacher):
            system = params.TeacherSystem(teacher=study.teachers[name])
            if not _reads_file(system.teacher):  # scores from a file are of the training pairs only
                rows.append(Baseline(f"teacher {name}", pair, "teacher", name, "", {-1: system}))
        for name in dict.fromkeys([*(cell.architecture for cell in own), *study.evaluation.untrained]):
            trained = sorted({seed for cell in own if cell.architecture == name for seed in cell.students}) or [0]
            seeds = params.untrained_seeds(study.architectures[name], tuple(trained))
            systems = {seed: study.untrained(name, seed) for seed in seeds}
            rows.append(Baseline(f"untrained {name}", pair, "untrained", "", name, systems))
    return rows


def _reads_file(teacher: params.Teacher) -> bool:
    return any(isinstance(part, params.FileTeacher) for part in params.within(teacher, below=params.Spec))


# --- nodes ------------------------------------------------------------------------------------------------------------------------


class _NodeBuilder:
    def __init__(self, plan: Plan) -> None:
        self.plan, self.study = plan, plan.study
        self.nodes: list[Node] = []
        self.maker: dict[str, str] = {}  # artefact identity -> id of the node that makes it

    @one_look()
    def build(self) -> None:
        plan = self.plan
        systems = [(system, plan.labels[row.pair]) for row in plan.baselines for system in row.systems.values()]
        systems += [(params.StudentSystem(student=student), cell.collection) for cell in plan.cells for student in cell.students.values()]
        needed: dict[str, Any] = {}
        for system, collection in systems:
            for spec in plan.evaluations(system, collection):
                needed |= upstream(spec)
        self._prepare(needed)
        blocks = self.blocks_with_values()
        for block, values in blocks:
            self._train(block, values)
        rows = list(plan.baselines)
        evaluated = [self._evaluate(block, values, rows) for block, values in blocks]
        for row in rows:
            values = next(values for block, values in blocks if block[0].collection == plan.labels[row.pair])
            evaluated.append(self._evaluate_baseline(row, values))
        artefacts = tuple(spec for node in evaluated for spec in node.artefacts)
        descriptions = {identity(spec) for _, own in blocks for spec in params.TrainParameters(**_plain(own)).descriptions().values()}
        needs = (*(identity(spec) for spec in artefacts), *sorted(descriptions))
        values = {"study": plan.path} | ({"base": self.study.base} if self.study.base else {})
        self._add("05c_report", "analyse", values, (), needs=needs, extra=plan.report_version)

    def _prepare(self, needed: dict[str, Any]) -> None:
        """Add the nodes that come before the cells' own: mining, scoring, searches, and students that retrieve or teach.

        ``needed`` holds each artefact after what it is made from, so a node is added when the first of its artefacts is met.
        """
        own = {identity(student) for cell in self.plan.cells for student in cell.students.values()}
        own |= {identity(student) for spec in needed.values() if spec.stage == "search" for student in spec.candidates}
        searching: dict[str, params.StudentSpec] = {}
        for cell in self.plan.cells:
            for student in cell.students.values():
                if student.search is not None:
                    searching.setdefault(identity(params.search_spec(student)), student)
        packages: dict[Any, list[Any]] = {}
        for key, spec in needed.items():
            if spec.stage == "groups":
                packages.setdefault(("01_mine", spec.model_copy(update={"seed": 0})), []).append(spec)
            elif spec.stage == "scores":
                packages.setdefault(("02_score", spec.groups.model_copy(update={"seed": 0}), spec.teacher), []).append(spec)
            elif spec.stage == "search":
                packages.setdefault(("06_search", spec.candidates[0].architecture), []).append(spec)
            elif spec.stage == "student" and key not in own:
                packages.setdefault(("03_train", spec), []).append(spec)
        for (notebook, *_), specs in sorted(packages.items(), key=lambda item: item[0][0] == "06_search"):
            if notebook == "01_mine":
                self._add(notebook, self._strategy_name(specs[0]), _common(specs[0], [spec.seed for spec in specs]), tuple(specs))
            elif notebook == "02_score":
                teacher = specs[0].teacher
                values = _common(specs[0].groups, [spec.groups.seed for spec in specs]) | {"teacher": teacher}
                self._add(notebook, f"{self._strategy_name(specs[0].groups)}-{self._teacher_name(teacher)}", values, tuple(specs))
            elif notebook == "06_search":
                most = max(1, self.study.workflow.students_per_node // len(specs[0].candidates))
                for part in _parts(specs, most):
                    students = [searching[identity(spec)] for spec in part]
                    self._add(notebook, part[0].candidates[0].architecture.kind, {"students": students}, tuple(part))
            else:
                student = specs[0]
                values = _common(student.groups, [student.seed]) | {
                    "teacher": student.teacher,
                    "losses": {student.loss: {}},
                    "architecture": student.architecture,
                    "training": student.training,
                    "refresh": student.refresh,
                }
                self._add(notebook, f"{student.architecture.kind}-{self._strategy_name(student.groups)}-{student.loss}", values, (student,))

    def _suffix(self, collection: Any) -> str:
        return f"-{collection.label}".replace("/", "_") if len(self.study.collections) > 1 else ""

    def _strategy_name(self, groups: params.GroupsSpec) -> str:
        """Return what the study calls a strategy."""
        label = groups.collection.label
        study = self.plan.studies[self.plan.labels.index(label)] if label in self.plan.labels else self.study
        names = [name for name, strategy in study.strategies.items() if strategy.first == groups.strategy]
        name = names[0] if names else groups.strategy.kind
        name += f"-random{groups.random_share:g}" if groups.random_share else ""
        name += f"-{groups.cut.part}" if groups.cut else ""
        return name + self._suffix(groups.collection)

    def _teacher_name(self, teacher: params.Teacher) -> str:
        """Return what the study calls a teacher."""
        return next(filter(None, (study.name_of(teacher) for study in self.plan.studies)), teacher.kind)

    def _blocks(self) -> list[list[Cell]]:
        """Pack cells that share groups, teacher, architecture, seeds and training (but for what a loss may set) into nodes."""
        shared: dict[Any, list[Cell]] = {}
        for cell in self._cells:
            training = next(iter(cell.students.values())).training
            rest = training.model_dump(exclude=set(params.OF_TRAINING))
            rest["cleared"] = [getattr(training, name) is None for name in params.OF_TRAINING]  # settings can change a value, not clear it
            teacher = cell.teacher or self._teachers.get(_shared(cell), "")
            shared.setdefault((*_shared(cell), teacher, json.dumps(rest)), []).append(cell)
        blocks: list[list[Cell]] = []
        for cells in shared.values():
            size = max(1, self.study.workflow.students_per_node // len(cells[0].students))
            blocks += _parts(cells, size)
        return blocks

    @cached_property
    def _cells(self) -> list[Cell]:
        """Return the cells, each with no more of its seeds than a node takes."""
        most = self.study.workflow.students_per_node
        return [cell._replace(students=dict(part)) for cell in self.plan.cells for part in _parts(list(cell.students.items()), most)]

    @cached_property
    def _teachers(self) -> dict[Any, str]:
        """Return a teacher of the cells that share groups, for those among them that have none: LCE is scored beside the others."""
        found: dict[Any, str] = {}
        for cell in self._cells:
            if cell.teacher:
                found.setdefault(_shared(cell), cell.teacher)
        return found

    def blocks_with_values(self) -> list[tuple[list[Cell], dict[str, Any]]]:
        """Return the cells of every training node with its notebook's parameters."""
        return [(block, self._train_values(block)) for block in self._blocks()]

    def _train_values(self, block: list[Cell]) -> dict[str, Any]:
        first = next(iter(block[0].students.values()))
        names = dict(zip((cell.name for cell in block), _loss_names(block), strict=True))
        losses = {}
        for cell in block:
            student = next(iter(cell.students.values()))
            own = {name: getattr(student.training, name) for name in params.OF_TRAINING}
            own = {name: value for name, value in own.items() if value != getattr(first.training, name)}
            own |= {"loss": cell.loss} if names[cell.name] != cell.loss else {}
            own |= {"temperature": cell.temperature} if cell.temperature != 1.0 else {}
            for name in ("target_entropy", "search"):
                own |= {name: getattr(student, name)} if getattr(student, name) is not None else {}
            own |= {"augmentation": student.augmentation} if student.augmentation != params.Augmentation() else {}
            losses[names[cell.name]] = own
        pair = self.plan.labels.index(block[0].collection)
        teacher = next((cell.teacher for cell in block if cell.teacher), "") or self._teachers.get(_shared(block[0]), "")
        return _common(first.groups, list(block[0].students)) | {
            "teacher": self.plan.studies[pair].teachers[teacher] if teacher else None,
            "losses": losses,
            "architecture": first.architecture,
            "training": first.training,
            "refresh": first.refresh,
            "reference": self.plan.studies[pair].reference,
            "probe": self.study.probe,
            "test_collections": list(self.study.collections[pair].test),
        }

    def _train(self, block: list[Cell], values: dict[str, Any]) -> None:
        parsed = params.TrainParameters.model_validate(_plain(values))
        specs = tuple(student for cell in block for student in cell.students.values())
        if {identity(spec) for spec in specs} != {identity(spec) for spec in parsed.students().values()}:
            raise ParameterError(f"study {self.study.name}: {block[0].name} cannot be said as notebook parameters")
        described = {identity(spec): spec for spec in (*parsed.descriptions().values(), *parsed.behaviours().values())}
        self._add("03_train", self._block_name(block), values, (*specs, *described.values()))

    def _block_name(self, block: list[Cell]) -> str:
        student = next(iter(block[0].students.values()))
        teacher = next((cell.teacher for cell in block if cell.teacher), "")
        strategy = (
            self._strategy_name(student.groups) if student.refresh is None else block[0].strategy + self._suffix(student.groups.collection)
        )
        losses = dict.fromkeys(cell.loss for cell in block)
        return "-".join(part for part in (block[0].architecture, strategy, teacher, "+".join(losses)) if part)

    def _evaluation_values(self, pair: int) -> dict[str, Any]:
        return {
            "test_collections": list(self.study.collections[pair].test),
            "first_stages": list(self.plan.first_stages(pair)),
            "measures": list(self.study.evaluation.measures),
            "precision": self.study.evaluation.precision,
        }

    def _evaluate(self, block: list[Cell], values: dict[str, Any], rows: list[Baseline]) -> Node:
        """Evaluate a block's students, and those of the baseline ``rows`` that it can say; these leave ``rows``."""
        pair = self.plan.labels.index(block[0].collection)
        teacher = next((cell.teacher for cell in block if cell.teacher), "")
        seeds = params.untrained_seeds(self.study.architectures[block[0].architecture], tuple(block[0].students))
        own = [
            row
            for row in rows
            if row.pair == pair
            and (
                row.system == "first_stage"
                or (row.system == "teacher" and row.teacher == teacher)
                or (row.system == "untrained" and row.architecture == block[0].architecture and tuple(row.systems) == seeds)
            )
        ]
        for row in own:
            rows.remove(row)
        systems = [system for row in own for system in row.systems.values()]
        systems += [params.StudentSystem(student=student) for cell in block for student in cell.students.values()]
        specs = tuple(spec for system in systems for spec in self.plan.evaluations(system, block[0].collection))
        kinds = [*dict.fromkeys(row.system for row in own), "student"]
        return self._add("04_evaluate", self._block_name(block), values | self._evaluation_values(pair) | {"systems": kinds}, specs)

    def _evaluate_baseline(self, row: Baseline, values: dict[str, Any]) -> Node:
        """Evaluate a row that no block of cells could take along."""
        own: dict[str, Any] = {"systems": [row.system]}
        study = self.plan.studies[row.pair]
        if row.system == "teacher":
            own["teacher"] = study.teachers[row.teacher]
        elif row.system == "untrained":
            own |= {"architecture": self.study.architectures[row.architecture], "seeds": list(row.systems)}
        specs = tuple(spec for system in row.systems.values() for spec in self.plan.evaluations(system, study.collection.label))
        name = row.name.replace(" ", "-") + self._suffix(study.collection)
        return self._add("04_evaluate", name, values | self._evaluation_values(row.pair) | own, specs)

    def _add(
        self, notebook: str, name: str, values: dict[str, Any], artefacts: tuple[Any, ...], needs: tuple[str, ...] = (), extra: str = ""
    ) -> Node:
        parameters = _plain(values)
        record = [parameters, sorted(identity(spec) for spec in artefacts), sorted(needs), notebook_digest(notebook), extra]
        digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:12]
        before = set(needs) | {found for spec in artefacts for found in upstream(spec)}
        node_needs = dict.fromkeys(self.maker[found] for found in sorted(before) if found in self.maker)
        name = _short(f"{notebook}-{name}")
        taken = {node.name for node in self.nodes}
        name = next(candidate for candidate in chain([name], (f"{name}-{n}" for n in count(2))) if candidate not in taken)
        node = Node(f"{notebook}-{digest}", name, notebook, parameters, artefacts, tuple(node_needs))
        self.nodes.append(node)
        for spec in artefacts:
            self.maker.setdefault(identity(spec), node.id)
        return node


def _short(name: str) -> str:
    """Return a name that a file can have, with room for a suffix: a long one ends in a digest of the whole."""
    return (
        name
        if len(name.encode()) <= LONGEST_FILE_NAME
        else f"{name[: LONGEST_FILE_NAME // 4]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    )


LONGEST_FILE_NAME = 200  # bytes; file systems take 255


def _common(groups: params.GroupsSpec, seeds: list[int]) -> dict[str, Any]:
    """Return the notebook parameters that name groups; what a notebook's own defaults would add is said too."""
    named = {name: getattr(groups, name) for name in params.GroupsSpec.model_fields if name != "seed"}
    return named | {"seeds": seeds, "reference": None, "test_collections": []}


def _shared(cell: Cell) -> tuple[Any, ...]:
    """Return what cells have in common that can stand in one training notebook, but for the teacher and the settings."""
    student = next(iter(cell.students.values()))
    return student.groups.model_copy(update={"seed": 0}), student.refresh, cell.architecture, tuple(cell.students)


def _parts(items: list[Any], most: int) -> list[list[Any]]:
    """Return the items in their order, in lists of at most so many."""
    return [items[start : start + most] for start in range(0, len(items), most)]


def _loss_names(block: list[Cell]) -> list[str]:
    """Return a name for each cell of a block: its loss, and what else it needs to be told from the others."""
    names = []
    for cell in block:
        dial = f"-H{cell.target_entropy:g}" if cell.target_entropy == cell.target_entropy else f"-T{cell.temperature:g}"
        dial = "" if dial == "-T1" else dial
        names.append(cell.loss + dial + (f"-{cell.augmentation}" if cell.augmentation != "none" else ""))
    return names


def _plain(value: Any) -> Any:
    """Turn parameter classes into what YAML and papermill can carry."""
    if isinstance(value, params.Part):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def stage_of(notebook: str) -> str:
    """Return the stage that a notebook's name says, which its rule in the workflow is called after.

    >>> stage_of("03_train")
    'train'
    """
    return notebook.partition("_")[2]


def notebook_digest(notebook: str) -> str:
    """Return the SHA-256 of a notebook's cells, outputs left out."""
    path = project_root() / "notebooks" / f"{notebook}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return hashlib.sha256(json.dumps([[c["cell_type"], "".join(c["source"])] for c in cells]).encode()).hexdigest()


# --- nodes on disk ----------------------------------------------------------------------------------------------------------------


def node_folder(node_id: str) -> Path:
    """Return where a node keeps its parameters, its executed notebook and its log."""
    return outputs_root() / "store" / "nodes" / node_id


def is_done(node: Node, plan: Plan, store: Store) -> bool:
    """Tell whether a node has been executed, its executed notebook is whole, and everything it makes is still there."""
    return _missing(node, plan, store) is None


def _missing(node: Node, plan: Plan, store: Store) -> str | None:
    """Return what keeps a node from being done: "" where it has not been executed, else what is broken; None where it is done."""
    executed = node_folder(node.id) / "notebook.ipynb"
    if not os.path.lexists(executed):
        return ""
    if damage := kernels.damage(executed):
        return damage
    if gone := next((spec for spec in node.artefacts if not store.sound(spec)), None):
        return f"the {gone.stage} artefact {identity(gone)} is damaged or not there any more"
    return report_damage(plan) if node.notebook == "05c_report" else None


def report_is_current(plan: Plan) -> bool:
    """Tell whether the study's folder holds the whole report of this very study, made by the code as it is."""
    return report_damage(plan) is None


def report_damage(plan: Plan) -> str | None:
    """Return what is wrong with the report in the study's folder, None where it is whole, of this study and made by the code as it is.

    The record ``study.json`` is written last, and has the size and the SHA-256 of every file that the analysis wrote.
    """
    path = plan.folder / "study.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        about_study = {key: record[key] for key in ("study", "report_version", "parameters")}
        files = {name: (about["size"], about["sha256"]) for name, about in record["files"].items()}
    except FileNotFoundError:
        return f"{path} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{path} is damaged"
    if about_study != _about(plan):
        return f"{path} is not of this study and the code as it is now"
    for name, about in files.items():
        file = plan.folder / name
        try:
            if (file.stat().st_size, _sha256(file)) != about:
                return f"{file} is damaged"
        except OSError:
            return f"{file} is missing"
    return None if "report.html" in files else f"{path} is damaged"


def write_record(plan: Plan, written: Iterable[Path]) -> None:
    """Write the record of a report, after the report itself: what it is of, and what :func:`report_damage` compares its files with."""
    files = {str(path.relative_to(plan.folder)): {"size": path.stat().st_size, "sha256": _sha256(path)} for path in written}
    durable.write_text(plan.folder / "study.json", json.dumps(_about(plan) | {"files": files}, indent=1, sort_keys=True))


def _about(plan: Plan) -> dict[str, Any]:
    """Return what a report's record says of the study."""
    return {"study": plan.study.name, "report_version": plan.report_version, "parameters": plan.study.model_dump(mode="json")}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def prepare(plan: Plan) -> None:
    """Make a study's folders ready for a run, and say what was found broken.

    Every node's ``parameters.yaml`` is written, and executed notebooks are removed that are broken, or whose artefacts or report are, so
    that they run again.
    """
    check_inputs(plan)
    store = Store()
    for node in plan.nodes:
        folder = node_folder(node.id)
        if folder.exists() and not folder.is_dir():
            durable.remove(folder)
        folder.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(node.parameters, sort_keys=False)
        if _text(folder / "parameters.yaml") != text:
            durable.write_text(folder / "parameters.yaml", text)
        missing = _missing(node, plan, store)
        if missing:
            print(f"study: {node.name} runs again: {missing}", file=sys.stderr, flush=True)
            durable.remove(folder / "notebook.ipynb")


def _text(path: Path) -> str | None:
    """Return what a file says; None where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def write_nodes(plan: Plan) -> Path:
    """Write what the workflow's own processes need to know of the nodes, so that only the first of them expands the study."""
    path = outputs_root() / "store" / "nodes" / f"{plan.study.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps([[node.id, node.name, node.notebook, list(node.needs)] for node in plan.nodes])
    if _text(path) != text:  # jobs that were not told of the file may write at once
        durable.write_text(path, text)
    return path


def read_nodes(path: str | Path) -> dict[str, Node]:
    """Return the nodes that :func:`write_nodes` wrote, by id, without their parameters and artefacts."""
    rows = json.loads(Path(path).read_text(encoding="utf-8"))
    return {node: Node(node, name, notebook, {}, (), tuple(needs)) for node, name, notebook, needs in rows}


def publish(plan: Plan) -> Path:
    """Copy the executed notebooks to ``outputs/<study>/notebooks`` under names a person can read; return the study's folder.

    Raises:
        StoreError: a notebook has not been executed, or what was executed is damaged.
    """
    target = plan.folder / "notebooks"
    if target.exists() and not target.is_dir():
        durable.remove(target)
    target.mkdir(parents=True, exist_ok=True)
    for node in plan.nodes:
        executed = node_folder(node.id) / "notebook.ipynb"
        if damage := kernels.damage(executed, strictly=False):
            raise StoreError(
                f"{node.name} has not been executed with the code as it is now ({damage}); run `make study STUDY={plan.path}` again"
            )
        copy, content = target / f"{node.name}.ipynb", executed.read_bytes()
        if not copy.is_file() or copy.read_bytes() != content:
            durable.write_bytes(copy, content)
    names = {f"{node.name}.ipynb" for node in plan.nodes}
    for path in target.iterdir():
        if path.name not in names and not path.name.startswith("."):
            durable.remove(path)
    return plan.folder

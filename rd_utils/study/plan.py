"""From a study to cells, and to all that it makes.

A cell is one strategy x teacher x loss x architecture x temperature; it has one student per seed. :mod:`rd_utils.study.nodes` packs cells
into runs of notebooks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

from pydantic import ValidationError

from rd_utils.data import leakage, reading, trec
from rd_utils.data.collections import CHEAP_QUERIES, CollectionError
from rd_utils.stages.search import search_evaluations
from rd_utils.store import (
    identity,
    one_look,
    outputs_root,
    project_root,
    resolve_path,
    suite_root,
    upstream,
)
from rd_utils.store.outside import content_of
from rd_utils.study import checks, params, studies
from rd_utils.study.graph import docs_of
from rd_utils.study.kinds import named_within
from rd_utils.study.nodes import Blocks, Node, NodeBuilder, loss_names, plain
from rd_utils.study.params import ParameterError
from rd_utils.study.studies import Study

# The modules whose code decides a report beside that of the artefacts.
_PACKAGE = Path(__file__).parents[1]
REPORTED_BY = (
    *(path for room in ("analysis", "report") for path in sorted((_PACKAGE / room).rglob("*.py"))),
    *(_PACKAGE / "companions" / name for name in ("advice.py", "adviser.py")),
    *(_PACKAGE / name for name in ("cost/costs.py", "cost/energy.py", "cost/frontier.py", "scoring/entropy.py")),
)

Checkpoint = params.BiEncoder | params.CrossEncoder | params.LoadedTeacher

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
    systems: Mapping[int, params.System]


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

    def evaluations(self, system: params.System, collection: str) -> list[params.EvaluationSpec]:
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
    def _described(self) -> tuple[dict[tuple[str, str, int], params.DescriptionSpec], dict[tuple[str, str, int], params.BehaviourSpec]]:
        """Return the descriptions of groups and of students, by collection, cell and seed."""
        groups, students = {}, {}
        for block, values in Blocks(self).with_values():
            parsed = params.TrainParameters.model_validate(plain(values))
            cells = dict(zip(loss_names(block), block, strict=True))
            for found, specs in ((groups, parsed.descriptions()), (students, parsed.behaviours())):
                found |= {(cells[name].collection, cells[name].name, seed): spec for (name, seed), spec in specs.items()}
        return groups, students

    @cached_property
    def nodes(self) -> list[Node]:
        """Return the nodes in an order in which every node comes after those that it needs."""
        builder = NodeBuilder(self)
        try:
            builder.build()
        except ValidationError as error:
            raise ParameterError(params.explain(error, params.TrainParameters, f"study {self.study.name}")) from None
        return builder.nodes

    @one_look()
    def specs(self) -> list[params.Spec]:
        """Return every artefact of the study, upstream first, each once."""
        found: dict[str, params.Spec] = {}
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
    if draft.study is not None:
        try:
            plan = Plan(draft.study, _named(draft.path.resolve()))
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


def _named(path: Path) -> str:
    """Return a study's file as its notebooks are told it, which :func:`rd_utils.store.resolve_path` finds again."""
    root = next((root for root in (project_root(), suite_root()) if path.is_relative_to(root)), None)
    return str(path.relative_to(root) if root else path)


class PlanError(ParameterError):
    """A study has cells that cannot be; ``problems`` says which, each as a line."""

    def __init__(self, study: Study, problems: list[str]) -> None:
        super().__init__(params.listed(f"study {study.name}", problems))
        self.problems = problems


def outside_problems(study: Study | SimpleNamespace) -> list[str]:
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


def _same_names(place: str, what: str, parts: Sequence[params.Collection | params.FirstStage]) -> list[str]:
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


def _spoilt_runs(specs: Iterable[params.Spec]) -> list[str]:
    used = [spec for spec in specs if spec.stage in ("candidates", "groups", "scores")]
    named = {one.name: content_of(one) for spec in used for one in named_within(spec) if one.kind == "file"}
    return [problem for path, content in sorted(named.items()) if (problem := _spoilt_run(path, content))]


def _spoilt_run(path: str, content: str | None) -> str:
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


def _spoilt_checkpoints(specs: Iterable[params.Spec]) -> list[str]:
    """Load every checkpoint in a folder, and return why it cannot be served."""
    used = {part.model_dump_json(): part for spec in specs for part in _checkpoints(spec)}
    if not used:
        return []
    from rd_utils import models  # with the libraries that it loads

    return list(dict.fromkeys(models.refusals(used.values())))


def _checkpoints(part: params.Part) -> Iterator[Checkpoint]:
    """Yield the checkpoints that a part names itself, not those of the artefacts within it."""
    if isinstance(part, Checkpoint):
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
            name = point.name(point.temperature)
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


class _Point(NamedTuple):
    """The settings of a cell, by the names that the study gives them."""

    architecture: str
    strategy: str
    teacher: str
    loss: params.LossName
    temperature: float
    target_entropy: float | None
    augmentation: str
    cut: str

    def name(self, temperature: float) -> str:
        """Return the cell's name, with the temperature that it has in the end."""
        name = "-".join(part for part in (self.architecture, self.strategy, self.teacher, self.loss) if part)
        name += f"-T{temperature:g}" if temperature != 1.0 else ""
        name += f"-H{self.target_entropy:g}" if self.target_entropy is not None else ""
        return name + "".join(f"-{said}" for said, plain in ((self.augmentation, "none"), (self.cut, "all")) if said != plain)


def _points(grid: studies.Grid) -> Iterator[_Point]:
    """Yield the settings of every cell of a grid; teachers and their dials only where the loss has a teacher."""
    for architecture, strategy, loss in product(grid.architectures, grid.strategies, grid.losses):
        distils = params.LOSSES[loss].needs_teacher
        dials = [(1.0, target) for target in grid.target_entropies] or [(temperature, None) for temperature in grid.temperatures]
        dials = dials if params.LOSSES[loss].uses_temperature else [(1.0, None)]
        for teacher, (temperature, target) in product(grid.teachers, dials) if distils else [("", (1.0, None))]:
            for augmentation, cut in product(grid.augmentations, grid.cuts):
                yield _Point(architecture, strategy, teacher, loss, temperature, target, augmentation, cut)


def _cell(study: Study, first: Study, grid: studies.Grid, point: _Point, used: list[bool]) -> Cell:
    """Return a cell of a study on one collection; ``first`` is the same on the collection that learning rates are searched on."""
    training, temperature, searched = _overridden(study, used, point)
    target, augmentation, strategy = point.target_entropy, study.augmentations.get(point.augmentation), study.strategies[point.strategy]
    if augmentation is not None and augmentation.random_share and isinstance(strategy, params.CorpusRandom):
        raise ParameterError(f"random documents change nothing in the groups of {point.strategy}; leave that cell out")
    students = {
        seed: params.StudentSpec(
            groups=study.groups(point.strategy, seed, point.augmentation, point.cut),
            loss=point.loss,
            teacher=study.teachers[point.teacher] if point.teacher else None,
            temperature=temperature,
            target_entropy=target,
            augmentation=study.augmentation(point.augmentation),
            architecture=study.architectures[point.architecture],
            training=training,
            refresh=strategy.refresh,
            search=first.searched(point.architecture) if searched else None,
            seed=seed,
        )
        for seed in grid.seeds
    }
    return Cell(
        name=point.name(temperature),
        collection=study.collection.label,
        strategy=point.strategy,
        teacher=point.teacher,
        loss=point.loss,
        architecture=point.architecture,
        augmentation=point.augmentation,
        cut=point.cut,
        temperature=temperature,
        target_entropy=float("nan") if target is None else target,
        students=students,
    )


def _overridden(study: Study, used: list[bool], point: _Point) -> tuple[params.Training, float, bool]:
    """Return a cell's training settings and temperature, and whether its learning rate is left to the search."""
    changes: dict[str, object] = {}
    for number, override in enumerate(study.overrides):
        if all(getattr(point, key) == wanted for key, wanted in override.when.model_dump(exclude_none=True).items()):
            used[number] = True
            changes |= override.set.model_dump(exclude_none=True)
    temperature = changes.pop("temperature", None)
    if not isinstance(temperature, float) or not params.LOSSES[point.loss].uses_temperature or point.target_entropy is not None:
        temperature = point.temperature
    searched = not {"learning_rate", "embedding_learning_rate"} & changes.keys()
    return params.Training.model_validate(study.training.model_dump() | changes), temperature, searched


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

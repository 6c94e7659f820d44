"""From cells to nodes: one node is one papermill run of one notebook.

A node packs the cells that share groups, teacher and architecture, up to ``workflow.students_per_node`` students, because starting a
notebook costs seconds; a cell of more seeds than that is split. Searches of one architecture are packed likewise, by the candidate students
that they train. What a node makes is stored per student, so packing changes no result and a node that is run again makes only what is
missing.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from itertools import chain, count
from typing import TYPE_CHECKING, NamedTuple, TypeVar, overload

from rd_utils.store import identity, one_look, shipped, upstream
from rd_utils.study import params
from rd_utils.study.params import ParameterError

if TYPE_CHECKING:
    from rd_utils.study.plan import Baseline, Cell, Plan

NOTEBOOKS = ("01_mine", "02_score", "03_train", "04_evaluate", "05c_report", "06_search")


Values = dict[str, object]  # a notebook's parameters, as classes or as what YAML can carry
T = TypeVar("T")


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
    parameters: Values
    artefacts: tuple[params.Spec, ...]
    needs: tuple[str, ...]


class Blocks:
    """The cells of a study, packed into training nodes.

    Args:
        plan: the study's.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.study = plan, plan.study

    def _packed(self) -> list[list[Cell]]:
        """Pack cells that share groups, teacher, architecture, seeds and training (but for what a loss may set) into nodes."""
        shared: dict[tuple[object, ...], list[Cell]] = {}
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
    def _teachers(self) -> dict[tuple[object, ...], str]:
        """Return a teacher of the cells that share groups, for those among them that have none: LCE is scored beside the others."""
        found: dict[tuple[object, ...], str] = {}
        for cell in self._cells:
            if cell.teacher:
                found.setdefault(_shared(cell), cell.teacher)
        return found

    def with_values(self) -> list[tuple[list[Cell], Values]]:
        """Return the cells of every training node with its notebook's parameters."""
        return [(block, self._train_values(block)) for block in self._packed()]

    def _train_values(self, block: list[Cell]) -> Values:
        first = next(iter(block[0].students.values()))
        names = dict(zip((cell.name for cell in block), loss_names(block), strict=True))
        losses: dict[str, Values] = {}
        for cell in block:
            student = next(iter(cell.students.values()))
            own: Values = {name: getattr(student.training, name) for name in params.OF_TRAINING}
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


class _Names:
    """What a study calls things, for the names of nodes."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.study = plan, plan.study

    def suffix(self, collection: params.Collection) -> str:
        """Return what names a training collection, where there are several."""
        return f"-{collection.label}".replace("/", "_") if len(self.study.collections) > 1 else ""

    def strategy(self, groups: params.GroupsSpec) -> str:
        """Return what the study calls a strategy."""
        label = groups.collection.label
        study = self.plan.studies[self.plan.labels.index(label)] if label in self.plan.labels else self.study
        names = [name for name, strategy in study.strategies.items() if strategy.first == groups.strategy]
        name = names[0] if names else groups.strategy.kind
        name += f"-random{groups.random_share:g}" if groups.random_share else ""
        name += f"-{groups.cut.part}" if groups.cut else ""
        return name + self.suffix(groups.collection)

    def teacher(self, teacher: params.Teacher) -> str:
        """Return what the study calls a teacher."""
        return next(filter(None, (study.name_of(teacher) for study in self.plan.studies)), teacher.kind)

    def block(self, block: list[Cell]) -> str:
        """Return what the students of a block have in common, and their losses."""
        student = next(iter(block[0].students.values()))
        teacher = next((cell.teacher for cell in block if cell.teacher), "")
        strategy = self.strategy(student.groups) if student.refresh is None else block[0].strategy + self.suffix(student.groups.collection)
        losses = dict.fromkeys(cell.loss for cell in block)
        return "-".join(part for part in (block[0].architecture, strategy, teacher, "+".join(losses)) if part)


class NodeBuilder:
    """Makes the nodes of a study, each after those that it needs.

    Args:
        plan: the study's.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.study, self.names = plan, plan.study, _Names(plan)
        self.nodes: list[Node] = []
        self.maker: dict[str, str] = {}  # artefact identity -> id of the node that makes it

    @one_look()
    def build(self) -> None:
        """Add all nodes."""
        plan = self.plan
        systems = [(system, plan.labels[row.pair]) for row in plan.baselines for system in row.systems.values()]
        systems += [(params.StudentSystem(student=student), cell.collection) for cell in plan.cells for student in cell.students.values()]
        needed: dict[str, params.Spec] = {}
        for system, collection in systems:
            for spec in plan.evaluations(system, collection):
                needed |= upstream(spec)
        self._prepare(needed)
        blocks = Blocks(plan).with_values()
        for block, values in blocks:
            self._train(block, values)
        rows = list(plan.baselines)
        evaluated = [self._evaluate(block, values, rows) for block, values in blocks]
        for row in rows:
            values = next(values for block, values in blocks if block[0].collection == plan.labels[row.pair])
            evaluated.append(self._evaluate_baseline(row, values))
        artefacts = tuple(spec for node in evaluated for spec in node.artefacts)
        descriptions = {
            identity(spec) for _, own in blocks for spec in params.TrainParameters.model_validate(plain(own)).descriptions().values()
        }
        needs = (*(identity(spec) for spec in artefacts), *sorted(descriptions))
        said: Values = {"study": plan.path}
        if self.study.base:
            said["base"] = self.study.base
        self._add("05c_report", "study", said, (), needs=needs, extra=plan.report_version)

    def _prepare(self, needed: dict[str, params.Spec]) -> None:
        """Add the nodes that come before the cells' own: mining, scoring, searches, and students that retrieve or teach.

        ``needed`` holds each artefact after what it is made from, so a node is added when the first of its artefacts is met.
        """
        own = {identity(student) for cell in self.plan.cells for student in cell.students.values()}
        own |= {identity(student) for spec in needed.values() if isinstance(spec, params.SearchSpec) for student in spec.candidates}
        packages: dict[tuple[object, ...], list[params.Spec]] = {}
        searches: dict[params.Architecture, list[params.SearchSpec]] = {}
        for key, spec in needed.items():
            match spec:
                case params.GroupsSpec():
                    packages.setdefault((spec.model_copy(update={"seed": 0}),), []).append(spec)
                case params.ScoresSpec():
                    packages.setdefault((spec.groups.model_copy(update={"seed": 0}), spec.teacher), []).append(spec)
                case params.SearchSpec():
                    searches.setdefault(spec.candidates[0].architecture, []).append(spec)
                case params.StudentSpec() if key not in own:
                    packages.setdefault((spec,), []).append(spec)
        for specs in packages.values():
            match specs[0]:
                case params.GroupsSpec() as first:
                    self._add("01_mine", self.names.strategy(first), _common(first, _seeds(specs)), tuple(specs))
                case params.ScoresSpec(groups=groups, teacher=teacher):
                    values = _common(groups, _seeds(specs)) | {"teacher": teacher}
                    self._add("02_score", f"{self.names.strategy(groups)}-{self.names.teacher(teacher)}", values, tuple(specs))
                case params.StudentSpec() as student:
                    self._train_helper(student)
        self._search(searches)

    def _train_helper(self, student: params.StudentSpec) -> None:
        """Add the node of a student that retrieves or teaches."""
        values = _common(student.groups, [student.seed]) | {
            "teacher": student.teacher,
            "losses": {student.loss: {}},
            "architecture": student.architecture,
            "training": student.training,
            "refresh": student.refresh,
        }
        self._add("03_train", f"{student.architecture.kind}-{self.names.strategy(student.groups)}-{student.loss}", values, (student,))

    def _search(self, searches: dict[params.Architecture, list[params.SearchSpec]]) -> None:
        """Add the nodes of the searches, by architecture; each is told by the first student that asks for it."""
        searching: dict[str, params.StudentSpec] = {}
        for student in (student for cell in self.plan.cells for student in cell.students.values()):
            if (search := params.search_spec(student)) is not None:
                searching.setdefault(identity(search), student)
        for architecture, specs in searches.items():
            for part in _parts(specs, max(1, self.study.workflow.students_per_node // len(specs[0].candidates))):
                self._add("06_search", architecture.kind, {"students": [searching[identity(spec)] for spec in part]}, tuple(part))

    def _train(self, block: list[Cell], values: Values) -> None:
        parsed = params.TrainParameters.model_validate(plain(values))
        specs = tuple(student for cell in block for student in cell.students.values())
        if {identity(spec) for spec in specs} != {identity(spec) for spec in parsed.students().values()}:
            raise ParameterError(f"study {self.study.name}: {block[0].name} cannot be said as notebook parameters")
        described = {identity(spec): spec for spec in (*parsed.descriptions().values(), *parsed.behaviours().values())}
        self._add("03_train", self.names.block(block), values, (*specs, *described.values()))

    def _evaluation_values(self, pair: int) -> Values:
        return {
            "test_collections": list(self.study.collections[pair].test),
            "first_stages": list(self.plan.first_stages(pair)),
            "measures": list(self.study.evaluation.measures),
            "precision": self.study.evaluation.precision,
        }

    def _evaluate(self, block: list[Cell], values: Values, rows: list[Baseline]) -> Node:
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
        return self._add("04_evaluate", self.names.block(block), values | self._evaluation_values(pair) | {"systems": kinds}, specs)

    def _evaluate_baseline(self, row: Baseline, values: Values) -> Node:
        """Evaluate a row that no block of cells could take along."""
        own: Values = {"systems": [row.system]}
        study = self.plan.studies[row.pair]
        if row.system == "teacher":
            own["teacher"] = study.teachers[row.teacher]
        elif row.system == "untrained":
            own |= {"architecture": self.study.architectures[row.architecture], "seeds": list(row.systems)}
        specs = tuple(spec for system in row.systems.values() for spec in self.plan.evaluations(system, study.collection.label))
        name = row.name.replace(" ", "-") + self.names.suffix(study.collection)
        return self._add("04_evaluate", name, values | self._evaluation_values(row.pair) | own, specs)

    def _add(
        self, notebook: str, name: str, values: Values, artefacts: tuple[params.Spec, ...], needs: tuple[str, ...] = (), extra: str = ""
    ) -> Node:
        parameters = plain(values)
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


def _common(groups: params.GroupsSpec, seeds: list[int]) -> Values:
    """Return the notebook parameters that name groups; what a notebook's own defaults would add is said too."""
    named = {name: getattr(groups, name) for name in params.GroupsSpec.model_fields if name != "seed"}
    return named | {"seeds": seeds, "reference": None, "test_collections": []}


def _seeds(specs: list[params.Spec]) -> list[int]:
    """Return the seeds of groups, or of the groups that are scored."""
    groups = [spec.groups if isinstance(spec, params.ScoresSpec) else spec for spec in specs]
    return [spec.seed for spec in groups if isinstance(spec, params.GroupsSpec)]


def _shared(cell: Cell) -> tuple[object, ...]:
    """Return what cells have in common that can stand in one training notebook, but for the teacher and the settings."""
    student = next(iter(cell.students.values()))
    return student.groups.model_copy(update={"seed": 0}), student.refresh, cell.architecture, tuple(cell.students)


def _parts(items: list[T], most: int) -> list[list[T]]:
    """Return the items in their order, in lists of at most so many."""
    return [items[start : start + most] for start in range(0, len(items), most)]


def loss_names(block: list[Cell]) -> list[str]:
    """Return a name for each cell of a block: its loss, and what else it needs to be told from the others."""
    names = []
    for cell in block:
        dial = f"-H{cell.target_entropy:g}" if cell.target_entropy == cell.target_entropy else f"-T{cell.temperature:g}"
        dial = "" if dial == "-T1" else dial
        names.append(cell.loss + dial + (f"-{cell.augmentation}" if cell.augmentation != "none" else ""))
    return names


@overload
def plain(value: Values) -> Values: ...
@overload
def plain(value: object) -> object: ...
def plain(value: object) -> object:
    """Turn parameter classes into what YAML and papermill can carry."""
    if isinstance(value, params.Part):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def stage_of(notebook: str) -> str:
    """Return the stage that a notebook's name says, which its rule in the workflow is called after.

    >>> stage_of("03_train")
    'train'
    """
    return notebook.partition("_")[2]


def notebook_digest(notebook: str) -> str:
    """Return the SHA-256 of a notebook's cells, outputs left out."""
    cells = json.loads(shipped(f"notebooks/{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    return hashlib.sha256(json.dumps([[c["cell_type"], "".join(c["source"])] for c in cells]).encode()).hexdigest()

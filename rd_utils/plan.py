"""From a study to cells, from cells to nodes: one node is one papermill run of one notebook.

A cell is one strategy x teacher x loss x architecture x temperature; it has one student per seed. A node packs the cells that share
groups, teacher and architecture, up to ``workflow.students_per_node`` students, because starting a notebook costs seconds. What a node
makes is stored per student, so packing changes no result and a node that is run again makes only what is missing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
from functools import cached_property
from itertools import chain, count, product
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from rd_utils import params
from rd_utils.params import ParameterError, Study
from rd_utils.store import Store, StoreError, code_version, identity, outputs_root, project_root, resolve_path, upstream

NOTEBOOKS = ("01_mine", "02_score", "03_train", "04_evaluate", "05_analyse")

# Documents a second on one core of a 2020s server processor, to plan with until the store holds a measurement of its own.
GUESSED_DOCUMENTS_PER_SECOND = {
    "static_bi": 60_000.0,
    "interaction_cross": 12_000.0,
    "tiny_bert_bi": 3_300.0,
    "tiny_bert_cross": 1_800.0,
    "bi_encoder": 8.0,
    "cross_encoder": 8.0,
}


class Cell(NamedTuple):
    """One point of the grid, with its students by seed."""

    name: str
    strategy: str
    teacher: str
    loss: str
    architecture: str
    temperature: float
    augmentation: str
    students: dict[int, params.StudentSpec]


class Baseline(NamedTuple):
    """A row that is not trained by the grid: the first stage, a teacher, or a student before its first step."""

    name: str
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
    """

    def __init__(self, study: Study, path: str) -> None:
        self.study, self.path = study, path
        self.cells = _cells(study)
        self.baselines = _baselines(study, self.cells)

    @property
    def folder(self) -> Path:
        """Return where the study's report and tables go."""
        return outputs_root() / self.study.name

    @cached_property
    def report_version(self) -> str:
        """Return what decides the report beside the artefacts: the study, and the code that analyses and shows it."""
        code = code_version(("analysis", "entropy", "report", "stats"))
        return hashlib.sha256((self.study.model_dump_json() + code).encode()).hexdigest()[:20]

    @cached_property
    def first_stages(self) -> tuple[params.FirstStage, ...]:
        """Return the resolved first stages."""
        retrievers = self.study.retrievers
        return tuple(
            params.FirstStage(kind=s.kind, retriever=retrievers[s.retriever], depth=s.depth) for s in self.study.evaluation.first_stages
        )

    def evaluations(self, system: Any) -> list[params.EvaluationSpec]:
        """Return the evaluations of one system."""
        settings = self.study.evaluation
        return [
            params.EvaluationSpec(
                system=system, collection=collection, first_stage=stage, measures=settings.measures, precision=settings.precision
            )
            for collection in self.study.collections.test
            for stage in self.first_stages
            if params.serves(system, stage)
        ]

    @cached_property
    def nodes(self) -> list[Node]:
        """Return the nodes in an order in which every node comes after those that it needs."""
        builder = _NodeBuilder(self)
        builder.build()
        return builder.nodes

    def specs(self) -> list[Any]:
        """Return every artefact of the study, upstream first, each once."""
        found: dict[str, Any] = {}
        for node in self.nodes:
            for artefact in node.artefacts:
                found |= upstream(artefact) | {identity(artefact): artefact}
        return list(found.values())


def load_plan(path: str | Path) -> Plan:
    """Read a study file and expand it.

    Raises:
        ParameterError: the study cannot be run; the message names each offender.
    """
    study = params.load_study(path)
    check_files(study)
    path = Path(path).resolve()
    root = project_root()
    return Plan(study, str(path.relative_to(root)) if path.is_relative_to(root) else str(path))


def check_files(study: Study) -> None:
    """Check the names that only the outside knows: collections, folders, measures."""
    from rd_utils.collections import CollectionError, check_source
    from rd_utils.evaluation import EvaluationError, parse_measures

    try:
        for collection in (study.collections.train, *study.collections.test):
            check_source(collection, resolve_path(collection.path) if collection.source == "folder" else None)
        parse_measures(study.evaluation.measures)
    except (CollectionError, EvaluationError) as error:
        raise ParameterError(f"study {study.name}: {error}") from None
    stages = [params.FirstStage(kind=s.kind, retriever=study.retrievers[s.retriever], depth=s.depth) for s in study.evaluation.first_stages]
    for what, parts in (("test collections", study.collections.test), ("first stages", stages)):
        labels = [part.label for part in parts]
        if len(set(labels)) != len(labels):
            raise ParameterError(
                f"study {study.name}: two {what} have the same name in tables: {labels}; put them into studies of their own"
            )
    for kind, parts in (("architectures", study.architectures), ("teachers", study.teachers), ("retrievers", study.retrievers)):
        for name, part in parts.items():
            model = getattr(part, "model", None)
            if model is not None and model.startswith(("package:", "/", ".", "~")) and not resolve_path(model).is_dir():
                raise ParameterError(f"study {study.name}: {kind}.{name}.model: no folder {model}; give a hub name or an existing folder")


# --- cells ------------------------------------------------------------------------------------------------------------------------


def _resolve_strategy(study: Study, name: str) -> Any:
    entry = study.strategies[name]
    if entry.kind == "corpus_random":
        return params.CorpusRandom()
    return params.FromCandidates(retriever=study.retrievers[entry.retriever], depth=entry.depth, draw=entry.draw)


def _resolve_teacher(study: Study, name: str) -> Any:
    entry = study.teachers[name]
    if entry.kind != "trained":
        return entry
    return params.TrainedTeacher(
        student=params.StudentSpec(
            groups=_groups(study, entry.strategy, entry.seed),
            loss="lce",
            architecture=study.architectures[entry.architecture],
            training=entry.training,
            seed=entry.seed,
        )
    )


def _groups(study: Study, strategy: str, seed: int) -> params.GroupsSpec:
    return params.GroupsSpec(
        collection=study.collections.train,
        strategy=_resolve_strategy(study, strategy),
        group_size=study.group_size,
        shortage=study.shortage,
        seed=seed,
    )


def _cells(study: Study) -> list[Cell]:
    cells: dict[str, Cell] = {}
    used = [False] * len(study.overrides)
    seen: set[tuple[int, str]] = set()
    for number, grid in enumerate(study.grids):
        for architecture, strategy, loss in product(grid.architectures, grid.strategies, grid.losses):
            distils = params.NEEDS_TEACHER[loss]
            for teacher, temperature in product(grid.teachers if distils else ("",), grid.temperatures if distils else (1.0,)):
                training, temperature = _overridden(study, used, strategy, teacher, loss, architecture, temperature)
                name = "-".join(part for part in (architecture, strategy, teacher, loss) if part)
                if temperature != 1.0:
                    name += f"-T{temperature:g}"
                students = {
                    seed: params.StudentSpec(
                        groups=_groups(study, strategy, seed),
                        loss=loss,
                        teacher=_resolve_teacher(study, teacher) if distils else None,
                        temperature=temperature,
                        architecture=study.architectures[architecture],
                        training=training,
                        seed=seed,
                    )
                    for seed in grid.seeds
                }
                if (number, name) in seen:
                    raise ParameterError(
                        f"study {study.name}: grids[{number}] makes the cell {name} twice; an override sets its temperature"
                    )
                seen.add((number, name))
                if name in cells:
                    students = {**cells[name].students, **students}
                cells[name] = Cell(name, strategy, teacher, loss, architecture, temperature, "none", students)
    for number, (met, override) in enumerate(zip(used, study.overrides, strict=True)):
        if not met:
            raise ParameterError(
                f"study {study.name}: overrides[{number}] meets no cell: {override.when.model_dump(exclude_none=True)}; "
                "correct its `when` or delete it"
            )
    return list(cells.values())


def _overridden(
    study: Study, used: list[bool], strategy: str, teacher: str, loss: str, architecture: str, temperature: float
) -> tuple[params.Training, float]:
    values = {"strategy": strategy, "teacher": teacher, "loss": loss, "architecture": architecture}
    changes: dict[str, Any] = {}
    for number, override in enumerate(study.overrides):
        if all(values[key] == wanted for key, wanted in override.when.model_dump(exclude_none=True).items()):
            used[number] = True
            changes |= override.set.model_dump(exclude_none=True)
    temperature = changes.pop("temperature", temperature) if params.NEEDS_TEACHER[loss] else 1.0
    changes.pop("temperature", None)
    return study.training.model_copy(update=changes), temperature


def _baselines(study: Study, cells: list[Cell]) -> list[Baseline]:
    rows = []
    for name, retriever in study.retrievers.items():
        if retriever.kind == "bm25" and any(stage.retriever == name for stage in study.evaluation.first_stages):
            label = "BM25" if name == "bm25" else f"BM25 {name}"
            rows.append(Baseline(label, "bm25", "", "", {-1: params.Bm25System(retriever=retriever)}))
    for name in dict.fromkeys(cell.teacher for cell in cells if cell.teacher):
        teacher = _resolve_teacher(study, name)
        rows.append(Baseline(f"teacher {name}", "teacher", name, "", {-1: params.TeacherSystem(teacher=teacher)}))
    for name in dict.fromkeys([*(cell.architecture for cell in cells), *study.evaluation.untrained]):
        trained = sorted({seed for cell in cells if cell.architecture == name for seed in cell.students}) or [0]
        seeds = params.untrained_seeds(study.architectures[name], tuple(trained))
        systems = {
            seed: params.UntrainedSystem(architecture=study.architectures[name], collection=study.collections.train, seed=seed)
            for seed in seeds
        }
        rows.append(Baseline(f"untrained {name}", "untrained", "", name, systems))
    return rows


# --- nodes ------------------------------------------------------------------------------------------------------------------------


class _NodeBuilder:
    def __init__(self, plan: Plan) -> None:
        self.plan, self.study = plan, plan.study
        self.nodes: list[Node] = []
        self.maker: dict[str, str] = {}  # artefact identity -> id of the node that makes it

    def build(self) -> None:
        for teacher in {cell.teacher: None for cell in self.plan.cells if cell.teacher}:
            entry = self.study.teachers[teacher]
            if entry.kind == "trained":
                student = _resolve_teacher(self.study, teacher).student
                self._mine(entry.strategy, (entry.seed,))
                block = {"teacher": None, "losses": {"lce": {}}, "architecture": student.architecture, "training": student.training}
                self._add("03_train", f"teacher-{teacher}", self._common(entry.strategy, (entry.seed,)) | block, (student,))
        blocks = self._blocks()
        for block in blocks:
            self._mine(block[0].strategy, self._seeds(block))
        for block in blocks:
            teacher = next((cell.teacher for cell in block if cell.teacher), "")
            if teacher:
                self._score(block[0].strategy, teacher, self._seeds(block))
        trained = [self._train(block) for block in blocks]
        rows = list(self.plan.baselines)
        evaluated = [self._evaluate(block, values, rows) for block, values in zip(blocks, trained, strict=True)]
        evaluated += [self._evaluate_baseline(row, trained[0]) for row in rows]
        artefacts = tuple(spec for node in evaluated for spec in node.artefacts)
        needs = tuple(identity(spec) for spec in artefacts)
        self._add("05_analyse", "analyse", {"study": self.plan.path}, (), needs=needs, extra=self.plan.report_version)

    def _blocks(self) -> list[list[Cell]]:
        """Pack cells that share strategy, teacher, architecture, seeds and training (but for what a loss may set) into nodes."""
        shared: dict[Any, list[Cell]] = {}
        teachers: dict[Any, str] = {}
        for cell in self.plan.cells:
            if cell.teacher:
                teachers.setdefault((cell.strategy, cell.architecture, tuple(cell.students)), cell.teacher)
        for cell in self.plan.cells:
            seeds = tuple(cell.students)
            teacher = cell.teacher or teachers.get((cell.strategy, cell.architecture, seeds), "")
            training = next(iter(cell.students.values())).training
            rest = training.model_dump(exclude=set(params.LossSettings.model_fields))
            rest["embeddings"] = training.embedding_learning_rate is None  # a loss's settings can change it, but not clear it
            shared.setdefault((cell.strategy, teacher, cell.architecture, seeds, json.dumps(rest)), []).append(cell)
        blocks: list[list[Cell]] = []
        for cells in shared.values():
            block: list[Cell] = []
            for cell in cells:
                full = (len(block) + 1) * len(cell.students) > self.study.workflow.students_per_node
                if block and (full or cell.loss in {other.loss for other in block}):
                    blocks.append(block)
                    block = []
                block.append(cell)
            blocks.append(block)
        return blocks

    @staticmethod
    def _seeds(block: list[Cell]) -> tuple[int, ...]:
        return tuple(block[0].students)

    def _common(self, strategy: str, seeds: tuple[int, ...]) -> dict[str, Any]:
        study = self.study
        return {
            "collection": study.collections.train,
            "strategy": _resolve_strategy(study, strategy),
            "group_size": study.group_size,
            "shortage": study.shortage,
            "seeds": list(seeds),
        }

    def _mine(self, strategy: str, seeds: tuple[int, ...]) -> None:
        wanted = [seed for seed in seeds if identity(_groups(self.study, strategy, seed)) not in self.maker]
        if wanted:
            specs = tuple(_groups(self.study, strategy, seed) for seed in wanted)
            self._add("01_mine", strategy, self._common(strategy, tuple(wanted)), specs)

    def _score(self, strategy: str, teacher: str, seeds: tuple[int, ...]) -> None:
        resolved = _resolve_teacher(self.study, teacher)
        specs = [params.ScoresSpec(groups=_groups(self.study, strategy, seed), teacher=resolved) for seed in seeds]
        specs = [spec for spec in specs if identity(spec) not in self.maker]
        if specs:
            values = self._common(strategy, tuple(spec.groups.seed for spec in specs)) | {"teacher": resolved}
            self._add("02_score", f"{strategy}-{teacher}", values, tuple(specs))

    def _train(self, block: list[Cell]) -> dict[str, Any]:
        first = next(iter(block[0].students.values()))
        teacher = next((cell.teacher for cell in block if cell.teacher), "")
        losses = {}
        for cell in block:
            training = next(iter(cell.students.values())).training
            own = {name: getattr(training, name) for name in params.LossSettings.model_fields if hasattr(training, name)}
            base = {name: getattr(first.training, name) for name in own}
            losses[cell.loss] = {name: value for name, value in own.items() if value != base[name]}
            if cell.temperature != 1.0:
                losses[cell.loss]["temperature"] = cell.temperature
        values = self._common(block[0].strategy, self._seeds(block)) | {
            "teacher": _resolve_teacher(self.study, teacher) if teacher else None,
            "losses": losses,
            "architecture": self.study.architectures[block[0].architecture],
            "training": first.training,
        }
        parsed = params.TrainParameters.model_validate(_plain(values))
        specs = tuple(student for cell in block for student in cell.students.values())
        if {identity(spec) for spec in specs} != {identity(spec) for spec in parsed.students().values()}:
            raise ParameterError(
                f"study {self.study.name}: {block[0].name} cannot be said as notebook parameters; "
                "an override clears a value that its block sets"
            )
        self._add("03_train", self._block_name(block), values, specs)
        return values

    @staticmethod
    def _block_name(block: list[Cell]) -> str:
        teacher = next((cell.teacher for cell in block if cell.teacher), "")
        parts = (block[0].architecture, block[0].strategy, teacher, "+".join(cell.loss for cell in block))
        return "-".join(part for part in parts if part)

    def _evaluation_values(self) -> dict[str, Any]:
        return {
            "test_collections": list(self.study.collections.test),
            "first_stages": list(self.plan.first_stages),
            "measures": list(self.study.evaluation.measures),
            "precision": self.study.evaluation.precision,
        }

    def _evaluate(self, block: list[Cell], values: dict[str, Any], rows: list[Baseline]) -> Node:
        """Evaluate a block's students, and those of the baseline ``rows`` that it can say; these leave ``rows``."""
        teacher = next((cell.teacher for cell in block if cell.teacher), "")
        seeds = params.untrained_seeds(self.study.architectures[block[0].architecture], self._seeds(block))
        own = [
            row
            for row in rows
            if row.system == "bm25"
            or (row.system == "teacher" and row.teacher == teacher)
            or (row.system == "untrained" and row.architecture == block[0].architecture and tuple(row.systems) == seeds)
        ]
        for row in own:
            rows.remove(row)
        systems = [system for row in own for system in row.systems.values()]
        systems += [params.StudentSystem(student=student) for cell in block for student in cell.students.values()]
        specs = tuple(spec for system in systems for spec in self.plan.evaluations(system))
        kinds = [*dict.fromkeys(row.system for row in own), "student"]
        return self._add("04_evaluate", self._block_name(block), values | self._evaluation_values() | {"systems": kinds}, specs)

    def _evaluate_baseline(self, row: Baseline, values: dict[str, Any]) -> Node:
        """Evaluate a row that no block of cells could take along."""
        own: dict[str, Any] = {"systems": [row.system]}
        if row.system == "teacher":
            own["teacher"] = _resolve_teacher(self.study, row.teacher)
        elif row.system == "untrained":
            own |= {"architecture": self.study.architectures[row.architecture], "seeds": list(row.systems)}
        specs = tuple(spec for system in row.systems.values() for spec in self.plan.evaluations(system))
        return self._add("04_evaluate", row.name.replace(" ", "-"), values | self._evaluation_values() | own, specs)

    def _add(
        self, notebook: str, name: str, values: dict[str, Any], artefacts: tuple[Any, ...], needs: tuple[str, ...] = (), extra: str = ""
    ) -> Node:
        parameters = _plain(values)
        record = [parameters, sorted(identity(spec) for spec in artefacts), sorted(needs), notebook_digest(notebook), extra]
        digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:12]
        before = set(needs) | {found for spec in artefacts for found in upstream(spec)}
        node_needs = dict.fromkeys(self.maker[found] for found in sorted(before) if found in self.maker)
        name = f"{notebook}-{name}"
        taken = {node.name for node in self.nodes}
        name = next(candidate for candidate in chain([name], (f"{name}-{n}" for n in count(2))) if candidate not in taken)
        node = Node(f"{notebook}-{digest}", name, notebook, parameters, artefacts, tuple(node_needs))
        self.nodes.append(node)
        for spec in artefacts:
            self.maker.setdefault(identity(spec), node.id)
        return node


def _plain(value: Any) -> Any:
    """Turn parameter classes into what YAML and papermill can carry."""
    if isinstance(value, params.Part):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


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
    """Tell whether a node has been executed and everything it makes is still there."""
    made = all(store.has(spec) for spec in node.artefacts)
    report = node.notebook != "05_analyse" or report_is_current(plan)
    return made and report and (node_folder(node.id) / "notebook.ipynb").is_file()


def report_is_current(plan: Plan) -> bool:
    """Tell whether the study's folder holds the report of this very study, made by the code as it is."""
    record = plan.folder / "study.json"
    if not (plan.folder / "report.html").is_file() or not record.is_file():
        return False
    return json.loads(record.read_text(encoding="utf-8"))["report_version"] == plan.report_version


def prepare(plan: Plan) -> None:
    """Write every node's parameters.yaml, and set aside executed notebooks whose artefacts are gone so that they run again."""
    store = Store()
    for node in plan.nodes:
        folder = node_folder(node.id)
        folder.mkdir(parents=True, exist_ok=True)
        parameters = folder / "parameters.yaml"
        if not parameters.is_file():
            temporary = folder / ".parameters.tmp"
            temporary.write_text(yaml.safe_dump(node.parameters, sort_keys=False), encoding="utf-8")
            temporary.replace(parameters)
        if not is_done(node, plan, store):
            (folder / "notebook.ipynb").unlink(missing_ok=True)


def publish(plan: Plan) -> Path:
    """Copy the executed notebooks to ``outputs/<study>/notebooks`` under names a person can read; return the study's folder."""
    target = plan.folder / "notebooks"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for node in plan.nodes:
        executed = node_folder(node.id) / "notebook.ipynb"
        if not executed.is_file():
            raise StoreError(f"{node.name} has not been executed with the code as it is now; run `make study STUDY={plan.path}` again")
        shutil.copyfile(executed, target / f"{node.name}.ipynb")
    return plan.folder


# --- what it will cost ------------------------------------------------------------------------------------------------------------


def estimate(plan: Plan, store: Store) -> list[dict[str, Any]]:
    """Estimate what each cell, and each teacher that is trained, costs in CPU seconds of training.

    Measured students of the same architecture set the rate where the store has some.

    Returns:
        One record a cell: cell, students, done, documents, cpu_seconds (of what is left), basis (``measured`` or ``guessed``).
    """
    measured: dict[str, list[float]] = {}
    for path in (store.root / "student").glob("*/manifest.json"):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        seconds = manifest["cost"]["cpu_seconds"]
        if seconds > 0:
            key = json.dumps(manifest["parameters"]["architecture"], sort_keys=True)
            measured.setdefault(key, []).append(manifest["counts"]["documents_seen"] / seconds)
    records = []
    teachers = {
        row.name: [system.teacher.student for system in row.systems.values()]
        for row in plan.baselines
        if row.system == "teacher" and next(iter(row.systems.values())).teacher.kind == "trained"
    }
    for name, students in (teachers | {cell.name: list(cell.students.values()) for cell in plan.cells}).items():
        left = [student for student in students if not store.has(student)]
        documents = students[0].training.steps(students[0].groups.group_size) * students[0].training.queries_per_batch
        documents *= students[0].training.accumulation_steps * students[0].groups.group_size
        key = json.dumps(students[0].architecture.model_dump(mode="json"), sort_keys=True)
        rate = statistics.median(measured[key]) if key in measured else GUESSED_DOCUMENTS_PER_SECOND[students[0].architecture.kind]
        records.append(
            {
                "cell": name,
                "students": len(students),
                "done": len(students) - len(left),
                "documents": documents,
                "cpu_seconds": round(documents * len(left) / rate, 1),
                "basis": "measured" if key in measured else "guessed",
            }
        )
    return records

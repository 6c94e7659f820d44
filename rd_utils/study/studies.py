"""Studies: what a YAML under ``params/`` may say, and how it is read.

A study names its architectures, retrievers, strategies and teachers, and its grids name these. The names stand for the classes that
notebooks' parameters have too (see :mod:`rd_utils.study.context`); :meth:`Study.on` gives them for one of its collections, and
:mod:`rd_utils.study.plan` expands the study to cells and notebook runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Literal, NamedTuple, cast

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, ValidationError, ValidationInfo, field_validator, model_validator

from rd_utils.data.leakage import ids_overlap
from rd_utils.mining.retrievers import Pooled, Reranked
from rd_utils.mining.strategies import Graph, Ranked
from rd_utils.store import project_root, resolve_path, suite_root
from rd_utils.study import yaml_files
from rd_utils.study.bounds import (
    LONGEST_NAME,
    NAME,
    Alpha,
    Depth,
    Few,
    Fraction,
    Level,
    Margin,
    MeasureName,
    Measures,
    Name,
    Rate,
    Scale,
    Seed,
    Seeds,
    Share,
    Temperature,
    Text,
    Unique,
    Watts,
    nearest,
    shown,
)
from rd_utils.study.context import Context, Impossible, adapter, named_in
from rd_utils.study.explain import ParameterError, listed, problems_of, sound
from rd_utils.study.kinds import Architecture, Collection, Encoder, IndexedRetriever, Part, Precision, Retriever, Strategy, Teacher, within
from rd_utils.study.settings import Augmentation, Training, TrainingChanges
from rd_utils.study.specs import EntropyCut, FirstStage, GroupsSpec, Probe, Search, Unrefreshed, check_rates
from rd_utils.study.systems import UntrainedSystem
from rd_utils.training.losses import LOSSES, LossName


class StudyCollections(Part):
    """Where a study trains and where it tests."""

    train: Collection
    test: tuple[Collection, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _leave_stands_at_the_test(self) -> StudyCollections:
        if self.train.shared_queries == "allow":
            raise ValueError("train.shared_queries does nothing there; say it in the test collection whose queries may be training queries")
        return self


StrategyName = Annotated[Name, named_in("strategies")]
TeacherName = Annotated[Name, named_in("teachers")]
ArchitectureName = Annotated[Name, named_in("architectures")]
AugmentationName = Annotated[Name, named_in("augmentations", "none")]
CutName = Annotated[Name, named_in("cuts", "all")]


class NamedAugmentation(Augmentation):
    """A named augmentation of a study; ``random_share`` of the negatives are replaced by corpus-random documents."""

    random_share: Share = 0.0


class SearchedRates(Part):
    """The learning rates that are tried for an architecture."""

    learning_rates: Annotated[tuple[Rate, ...], Field(min_length=2, max_length=1_000), Unique]
    embedding_ratio: Scale = 1.0

    @model_validator(mode="after")
    def _rates_can_be_compared(self) -> SearchedRates:
        check_rates(self.learning_rates, self.embedding_ratio)
        return self


class SearchSettings(Part):
    """The search of a study: for each loss and each of ``architectures``, on one strategy, teacher and seed; see :class:`Search`.

    It runs on the first of the study's collections, and its choice holds for all of them.
    """

    architectures: dict[ArchitectureName, SearchedRates] = Field(min_length=1)
    strategy: Unrefreshed
    teacher: Teacher | None = None
    validation: Collection
    first_stages: tuple[FirstStage, ...] = Field(min_length=1)
    measure: MeasureName = "nDCG@10"
    seed: Seed = 0


class EvaluationSettings(Part):
    """First stages and measures of a study; ``untrained`` names architectures to evaluate untrained that no grid trains."""

    first_stages: tuple[FirstStage, ...] = Field(min_length=1)
    untrained: Annotated[tuple[ArchitectureName, ...], Unique] = ()
    measures: Measures = ("nDCG@10", "AP", "RR@10", "R@100")
    precision: Precision = "fp32"


class AnalysisSettings(Part):
    """What the analysis compares; the margins are fixed before anything is seen.

    Verdicts rest on ``equivalence_margin``, in units of the measure; what ``margins_shown`` would have said stands beside them. Energy that
    no counter measured is estimated from ``watts_per_core`` (and ``gpu_watts``), see :mod:`rd_utils.cost.energy`.
    """

    measure: MeasureName = "nDCG@10"
    baseline_strategy: StrategyName
    equivalence_margin: Margin = 0.02
    margins_shown: Annotated[tuple[Margin, ...], Unique] = (0.01, 0.02)
    watts_per_core: Watts = 10.0
    gpu_watts: Watts | None = None
    alpha: Alpha = 0.05
    level: Level = 0.95


class Grid(Part):
    """One block of cells: the product of its lists."""

    strategies: Annotated[tuple[StrategyName, ...], Field(min_length=1), Unique]
    teachers: Annotated[tuple[TeacherName, ...], Unique] = ()
    losses: Annotated[tuple[LossName, ...], Field(min_length=1), Unique]
    architectures: Annotated[tuple[ArchitectureName, ...], Field(min_length=1), Unique]
    temperatures: Annotated[tuple[Temperature, ...], Field(min_length=1), Unique] = (1.0,)
    target_entropies: Annotated[tuple[Fraction, ...], Unique] = ()
    augmentations: Annotated[tuple[AugmentationName, ...], Field(min_length=1), Unique] = ("none",)
    cuts: Annotated[tuple[CutName, ...], Field(min_length=1), Unique] = ("all",)
    seeds: Seeds

    @model_validator(mode="after")
    def _teachers_where_needed(self) -> Grid:
        distils = [loss for loss in self.losses if LOSSES[loss].needs_teacher]
        if distils and not self.teachers:
            raise ValueError(f"the loss {distils[0]!r} distils a teacher, but the grid names no teachers")
        if self.teachers and not distils:
            raise ValueError(f"the grid names the teacher {self.teachers[0]!r}, but none of its losses {list(self.losses)} uses one")
        if self.target_entropies and self.temperatures != (1.0,):
            raise ValueError("a grid dials temperatures or target_entropies, not both; write two grids")
        return self


class When(Part):
    """Which cells an override meets; an absent key meets all."""

    strategy: StrategyName | None = None
    teacher: TeacherName | None = None
    loss: LossName | None = None
    architecture: ArchitectureName | None = None
    augmentation: AugmentationName | None = None
    cut: CutName | None = None


class OverrideValues(TrainingChanges):
    """What an override sets: training settings, of which a learning rate is then not searched, and a teacher's temperature."""

    temperature: Temperature | None = None


class Override(Part):
    """Settings that some cells have of their own."""

    when: When
    set: OverrideValues


class WorkflowSettings(Part):
    """How students are packed into notebook runs, at most how many in one; it changes no result."""

    students_per_node: Depth = 12


class Study(Part):
    """One YAML under ``params/``: a grid, its seeds and its analysis.

    ``collections`` is one pair of training and test collections or a list of them; every cell is trained on each. ``reference`` names the
    bi-encoder, untrained, in which diameters are measured; ``probe`` says on how many queries and documents each student's own behaviour is
    measured, before and after training. ``base`` names the file under ``params/bases`` whose keys hold where the study
    has none of its own (see :func:`load_study`).
    """

    name: Annotated[Name, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
    base: Name | None = None
    question: Text
    collections: tuple[StudyCollections, ...] = Field(min_length=1)
    architectures: dict[Name, Architecture]
    retrievers: dict[Name, Retriever]
    strategies: dict[Name, Strategy]
    teachers: dict[Name, Teacher] = {}
    reference: Encoder | None = None
    probe: Probe | None = None
    augmentations: dict[Name, NamedAugmentation] = {}
    cuts: dict[Name, EntropyCut] = {}
    group_size: Few = Field(default=16, ge=2)
    shortage: Literal["drop"] | Strategy = "drop"
    draws: Few = 1
    training: Training
    search: SearchSettings | None = None
    grids: tuple[Grid, ...] = Field(min_length=1)
    overrides: tuple[Override, ...] = ()
    evaluation: EvaluationSettings
    analysis: AnalysisSettings
    workflow: WorkflowSettings = WorkflowSettings()

    _said: dict[str, object] = PrivateAttr()
    _collection: Collection = PrivateAttr()

    @field_validator("name")
    @classmethod
    def _leaves_the_store_alone(cls, name: str) -> str:
        if name == "store":
            raise ValueError("'store' is the folder of the artefacts, beside those of studies; choose another name")
        return name

    @model_validator(mode="wrap")
    @classmethod
    def _in_context(cls, values: object, handler: ModelWrapValidatorHandler[Study], info: ValidationInfo) -> Study:
        if not isinstance(values, dict):
            return handler(values)
        values = _paired(values)
        with _context(values, info.context) as context:
            study = handler(context.resolved())
        study._said, study._collection = values, context.setting("collection")
        problems = rules(study, values)
        if problems:
            raise ValueError("\n".join(problems))
        return study

    @property
    def said(self) -> dict[str, object]:
        """Return what the study was read from, names as names."""
        return self._said

    @property
    def collection(self) -> Collection:
        """Return the training collection that the named parts are for."""
        return self._collection

    def on(self, collection: Collection) -> Study:
        """Return the study with its named parts as they are on another training collection."""
        if collection == self.collection:
            return self
        return Study.model_validate(self._said, context={"collection": collection})

    def untrained(self, architecture: str, seed: int = 0) -> UntrainedSystem:
        """Return a named architecture before training."""
        return UntrainedSystem(architecture=self.architectures[architecture], collection=self.collection, seed=seed)

    def augmentation(self, name: str) -> Augmentation:
        """Return a named augmentation of texts and targets; the share of random documents is part of the groups."""
        if name == "none":
            return Augmentation()
        return Augmentation(**self.augmentations[name].model_dump(exclude={"random_share"}))

    def groups(self, strategy: str, seed: int, augmentation: str = "none", cut: str = "all") -> GroupsSpec:
        """Return the groups of a named strategy and a seed."""
        return GroupsSpec(
            collection=self.collection,
            strategy=self.strategies[strategy],
            group_size=self.group_size,
            shortage=self.shortage,
            draws=self.draws if self.strategies[strategy].refresh is None else 1,
            random_share=0.0 if augmentation == "none" else self.augmentations[augmentation].random_share,
            cut=None if cut == "all" else self.cuts[cut],
            seed=seed,
        )

    def searched(self, architecture: str) -> Search | None:
        """Return how the learning rate of a named architecture is chosen, were this study's collection the first."""
        if self.search is None or architecture not in self.search.architectures:
            return None
        own = {name: getattr(self.search, name) for name in SearchSettings.model_fields if name != "architectures"}
        return Search(collection=self.collection, **own, **dict(self.search.architectures[architecture]))

    def name_of(self, part: Strategy | Retriever | Teacher) -> str | None:
        """Return the first name of a part; None where it has none."""
        table = {Strategy: self.strategies, Retriever: self.retrievers, Teacher: self.teachers}
        (named,) = (parts for family, parts in table.items() if isinstance(part, family))
        return next((name for name, other in named.items() if other == part), None)


def _context(values: dict[str, object], given: dict[str, object] | None = None) -> Context:
    """Return what stands around the parts of a study: its values and its first training collection, or the one given."""
    if given is None:
        pairs = values.get("collections")
        first = pairs[0] if isinstance(pairs, list | tuple) and pairs else None
        train = first.get("train") if isinstance(first, dict) else getattr(first, "train", None)
        try:
            given = {"collection": adapter(Collection).validate_python(train)}
        except ValidationError:
            given = {"collection": Impossible("is not sound")}
    return Context(Study, values, **given)


# --- rules ------------------------------------------------------------------------------------------------------------------------


def rules(study: Study | SimpleNamespace, said: dict[str, object]) -> list[str]:
    """Return what is wrong with how a study's parts go together, each as ``place: problem``.

    Args:
        study: a study, or the sound parts of one (see :func:`rd_utils.study.explain.sound`): what is None there is passed over.
        said: what it was read from.
    """
    problems = [*_reserved(study), *_augmentations(study), *_strategies(study), *_size(study), *_shortage(study, said.get("shortage"))]
    return [*problems, *_validation(study), *_searched_teacher(study, said.get("search")), *_analysis(study)]


def _reserved(study: Study | SimpleNamespace) -> Iterator[str]:
    for field, name in (("cuts", "all"), ("augmentations", "none"), ("strategies", "drop")):
        if name in (getattr(study, field) or {}):
            yield f"{field}.{name}: the name {name!r} has a meaning of its own; choose another"


def _augmentations(study: Study | SimpleNamespace) -> Iterator[str]:
    for name, augmentation in (study.augmentations or {}).items():
        top, share, size = getattr(augmentation, "top_k", None), getattr(augmentation, "random_share", None), study.group_size
        if top is not None and size is not None and top > size:
            yield f"augmentations.{name}.top_k is {top}, but a group has {size} documents"
        if share and size is not None and not round(share * (size - 1)):
            yield f"augmentations.{name}.random_share is {share}, not one of {size - 1} negatives"


def _strategies(study: Study | SimpleNamespace) -> Iterator[str]:
    for name, strategy in (study.strategies or {}).items():
        if isinstance(strategy, Graph) and not isinstance(strategy.retriever, IndexedRetriever):
            yield f"strategies.{name}.retriever: {strategy.retriever.label!r} reads no documents; a graph needs bm25 or a dense one"
        match strategy:
            case Ranked(depth=depth, retriever=Reranked(from_depth=from_depth)) if depth > from_depth:
                yield f"strategies.{name}.depth: the retriever's from_depth is {from_depth}, less than {depth}; raise it"


def _size(study: Study | SimpleNamespace) -> Iterator[str]:
    """Yield a size that nobody means."""
    students = 0
    for grid in study.grids or ():
        lists = (getattr(grid, name, None) or () for name in Grid.model_fields)
        students += math.prod(max(1, len(values)) for values in lists)
    students *= len(study.collections or ())
    if students > MOST_STUDENTS:
        yield f"grids: about {students:,} students, more than {MOST_STUDENTS:,}; write studies of their own"


MOST_STUDENTS = 100_000


def _shortage(study: Study | SimpleNamespace, said: object) -> Iterator[str]:
    fill = study.shortage
    if isinstance(fill, Strategy) and any(isinstance(part, Teacher | Encoder | Pooled) for part in within(fill)):
        yield (
            f"shortage: {shown(said)} cannot fill, since what it draws from is made from groups or a teacher itself; "
            "name a corpus_random strategy, or one of a bm25 or run_file retriever without a filter"
        )


def _validation(study: Study | SimpleNamespace) -> Iterator[str]:
    validation = getattr(study.search, "validation", None)
    if not isinstance(validation, Collection) or validation.shared_queries == "allow":
        return
    for pair in study.collections or ():
        tests = getattr(pair, "test", None) or ()
        for kind, collection in (("training", getattr(pair, "train", None)), *(("test", test) for test in tests)):
            if isinstance(collection, Collection) and ids_overlap(validation, collection):
                yield (
                    f"search.validation: {validation.label} shares queries with the {kind} collection "
                    f"{collection.label}, so the learning rate would not be chosen on queries of its own; choose another split, "
                    "or part them by random_split, or by skip_queries and max_queries"
                )


def _searched_teacher(study: Study | SimpleNamespace, said: object) -> Iterator[str]:
    losses = {loss for grid in study.grids or () for loss in getattr(grid, "losses", None) or ()}
    distils = any(loss in LOSSES and LOSSES[loss].needs_teacher for loss in losses)
    if distils and isinstance(said, dict) and said.get("teacher") is None:
        yield "search.teacher: a loss of the grids distils a teacher; name the one that the search uses"


def _analysis(study: Study | SimpleNamespace) -> Iterator[str]:
    measures, asked = getattr(study.evaluation, "measures", None), getattr(study.analysis, "measure", None)
    if measures and asked is not None and asked not in measures:
        yield f"analysis.measure: unknown name {shown(asked)}{nearest(asked, measures)}"


# --- reading ----------------------------------------------------------------------------------------------------------------------


class Draft(NamedTuple):
    """What was read of a study's file and its bases.

    Attributes:
        path: of the study's own file.
        study: None where something is wrong with it.
        sound: the study, or what of it can be read (see :func:`rd_utils.study.params.sound`).
        problems: what is wrong, each with its line.
        line: turns a problem into one with its line.
    """

    path: Path
    study: Study | None
    sound: Study | SimpleNamespace
    problems: list[str]
    line: Callable[[str], str]


def load_study(path: str | Path, base: str | None = None) -> Study:
    """Read and validate one study file.

    A study with ``base: NAME`` starts from ``bases/NAME.yaml``, found beside it or in a folder above: mappings are merged key by key, and
    where both have a value the study's own holds. A base may have a base of its own.

    Args:
        path: the study's file.
        base: replaces the study's own ``base`` and ``collections``, and is then part of its name, so that reports on different bases lie
            side by side.

    Raises:
        ParameterError: a file cannot be read, or says what cannot be; the message lists all problems.
    """
    draft = read_study(path, base)
    if draft.study is None:
        raise ParameterError(listed(str(draft.path), draft.problems))
    return draft.study


def read_study(path: str | Path, base: str | None = None) -> Draft:
    """Read one study file as far as it can be read; see :func:`load_study`.

    Raises:
        ParameterError: a file cannot be read, or there is no such base.
    """
    path = file_of(path)
    values, files = _whole(path, base)

    def line(problem: str) -> str:
        return f"{_line(problem, files)}{problem}"

    try:
        study = Study.model_validate(values)
    except ValidationError as error:
        with _context(_paired(values)) as context:
            parts = cast("SimpleNamespace", sound(Study, context.resolved()))
        return Draft(path, None, parts, [line(problem) for problem in [*problems_of(error, Study), *rules(parts, values)]], line)
    return Draft(path, study, study, [], line)


def run_command(study: str | Path, base: str | None = None) -> str:
    """Return the command that runs a study, to be named as a remedy.

    >>> run_command("params/tour.yaml", "scifact")
    'rd run params/tour.yaml --base scifact'
    """
    return f"rd run {study}" + (f" --base {base}" if base else "")


def file_of(path: str | Path) -> Path:
    """Return a study's file: as it is named from the working folder, else from the project's root, else among the suite's own."""
    path = Path(path).expanduser()
    return path if path.exists() or not (found := resolve_path(str(path))).is_file() else found


def files_of(path: str | Path, base: str | None = None) -> list[Path]:
    """Return the files that say a study, its own first, then its base and what that is based on.

    Raises:
        ParameterError: a file cannot be read, or there is no such base.
    """
    return [settings.path for settings in _whole(file_of(path), base)[1]]


def _whole(path: Path, base: str | None) -> tuple[dict[str, object], list[yaml_files.Settings]]:
    """Return a study's values, merged with those of its base or of another, and the files that they are from, its own first."""
    settings = yaml_files.read(path, "study")
    values = dict(settings.values)
    if base is not None and base != values.get("base"):
        name = values.get("name")
        values |= {"base": base} | ({"name": f"{name}_{base}"} if isinstance(name, str) else {})
        values.pop("collections", None)
    return _on_base(settings._replace(values=values))


def _paired(values: dict[str, object]) -> dict[str, object]:
    """Return a study's values with its collections as a list of pairs."""
    one = values.get("collections")
    return values | {"collections": [one]} if isinstance(one, dict) else values


def _line(problem: str, files: list[yaml_files.Settings]) -> str:
    """Return where a problem's place stands, ``line 3: ``, with the file where it is a base's; nothing for what stands nowhere."""
    place = problem.partition(": ")[0].partition(" is ")[0]
    found = [(*file.line_of(place), -number, file) for number, file in enumerate(files)]
    deep, line, number, file = max(found, key=lambda item: (item[0], item[2]))
    if not deep:
        return ""
    return f"line {line}: " if not number else f"{file.path.parent.name}/{file.path.name} line {line}: "


def _on_base(settings: yaml_files.Settings, above: tuple[str, ...] = ()) -> tuple[dict[str, object], list[yaml_files.Settings]]:
    """Return a study's values merged with those of its base, and the files they are from, its own first."""
    base = settings.values.get("base")
    if base is None:
        return settings.values, [settings]
    if not isinstance(base, str) or not NAME.fullmatch(base) or len(base) > LONGEST_NAME:
        raise ParameterError(
            f"{settings.path}: base: {shown(base)} is no name of a file in params/bases{nearest('', _bases(settings.path))}"
        )
    if base in above:
        raise ParameterError(f"{settings.path}: bases on one another: {' -> '.join((*above, base))}; delete one of these `base`")
    below, files = _on_base(yaml_files.read(_base_file(settings.path, base), "base"), (*above, base))
    return _merged(below, settings.values), [settings, *files]


def _base_folders(path: Path) -> list[Path]:
    """Return where the bases of a study are looked for: beside it and above, nearest first, then the project's and the suite's own."""
    places = [*path.resolve().parents, project_root() / "params", suite_root() / "params"]
    return list(dict.fromkeys(folder / "bases" for folder in places if (folder / "bases").is_dir()))


def _bases(path: Path) -> list[str]:
    return sorted(file.stem for folder in _base_folders(path) for file in folder.glob("*.yaml"))


def _base_file(path: Path, base: str) -> Path:
    for folder in _base_folders(path):
        if (folder / f"{base}.yaml").is_file():
            return folder / f"{base}.yaml"
    raise ParameterError(f"{path}: no base {base!r}{nearest(base, _bases(path))}")


def _merged(below: dict[str, object], above: dict[str, object]) -> dict[str, object]:
    """Merge mappings key by key; a value that states a ``kind`` or ``source``, or is no mapping, replaces the one below whole."""
    merged = dict(below)
    for key, value in above.items():
        under = below.get(key)
        if isinstance(value, dict) and isinstance(under, dict) and not {"kind", "source"} & value.keys():
            value = _merged(under, value)
        merged[key] = value
    return merged

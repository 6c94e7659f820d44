"""Studies: what a YAML under ``params/`` may say, and how it is read.

A study names its retrievers, strategies, teachers and architectures, and its grids name these. The names are resolved to the parts of
:mod:`rd_utils.params` by :mod:`rd_utils.resolve`, and expanded to cells and notebook runs by :mod:`rd_utils.plan`.
"""

from __future__ import annotations

import graphlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union

from pydantic import Field, ValidationError, field_validator, model_validator

from rd_utils import yaml_files
from rd_utils.bounds import (
    LONGEST_NAME,
    NAME,
    Alpha,
    Count,
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
    shown,
)
from rd_utils.leakage import ids_overlap
from rd_utils.losses import LOSSES, LossName
from rd_utils.params import (
    BM25,
    Architecture,
    Augmentation,
    BiArchitecture,
    Collection,
    CorpusRandom,
    CutPart,
    DenseIndex,
    Draw,
    EntropyName,
    FileTeacher,
    Filtering,
    Flat,
    LoadedTeacher,
    Oracle,
    ParameterError,
    Part,
    Precision,
    Probe,
    RunFile,
    Training,
    TrainingChanges,
    check_rates,
    listed,
    nearest,
    problems_of,
    sound,
)


class StudyCollections(Part):
    """Where a study trains and where it tests."""

    train: Collection
    test: tuple[Collection, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _leave_stands_at_the_test(self) -> StudyCollections:
        if self.train.shared_queries == "allow":
            raise ValueError("train.shared_queries does nothing there; say it in the test collection whose queries may be training queries")
        return self


class DenseEntry(Part):
    """A named retriever of a study: a named bi-encoder, before training or trained on a named strategy's groups."""

    kind: Literal["dense"] = "dense"
    architecture: Name
    strategy: Name | None = None
    loss: LossName = "lce"
    teacher: Name | None = None
    training: Training | None = None
    index: DenseIndex = Flat()
    seed: Seed = 0


class RerankedEntry(Part):
    """A named retriever of a study: another's top ``from_depth`` re-ranked by a named teacher."""

    kind: Literal["reranked"] = "reranked"
    retriever: Name
    from_depth: Depth = 200
    teacher: Name


class PooledEntry(Part):
    """A named retriever of a study: the union of other named ones, at most ``at_most`` documents from each."""

    kind: Literal["pooled"] = "pooled"
    retrievers: Annotated[tuple[Name, ...], Field(min_length=2), Unique]
    at_most: Depth = 10


class FilterEntry(Filtering):
    """False-negative filtering by a named teacher; see :class:`FalseNegativeFilter`."""

    teacher: Name


class FromCandidatesEntry(Part):
    """A named strategy of a study: drawn from a named retriever's candidates; see :class:`FromCandidates`."""

    kind: Literal["candidates"] = "candidates"
    retriever: Name
    from_rank: Depth = 1
    depth: Depth = 200
    draw: Draw = "uniform"
    draw_temperature: Temperature = 1.0
    filter: FilterEntry | None = None


class GraphEntry(Part):
    """A named strategy of a study: drawn from the positive's neighbours under a named retriever; see :class:`Graph`."""

    kind: Literal["graph"] = "graph"
    retriever: Name
    from_rank: Depth = 1
    depth: Depth = 100
    draw: Draw = "uniform"
    draw_temperature: Temperature = 1.0


class DiameterTargetedEntry(Part):
    """A named strategy of a study: groups of a chosen diameter in the study's ``reference``; see :class:`DiameterTargeted`."""

    kind: Literal["diameter_targeted"] = "diameter_targeted"
    retriever: Name
    from_rank: Depth = 1
    depth: Depth = 200
    quantile: Share
    trials: Few = Field(default=64, ge=2)


class RefreshedEntry(Part):
    """A named strategy of a study: a named strategy's groups at first, then the student's own candidates; see :class:`Refresh`."""

    kind: Literal["refreshed"] = "refreshed"
    start: Name
    every: Count
    from_rank: Depth = 1
    depth: Depth = 100
    draw: Draw = "uniform"
    draw_temperature: Temperature = 1.0


class TrainedTeacherEntry(Part):
    """A named teacher of a study: a named architecture trained on a named strategy's groups, with LCE unless said otherwise."""

    kind: Literal["trained"] = "trained"
    architecture: Name
    strategy: Name
    loss: LossName = "lce"
    teacher: Name | None = None
    training: Training
    seed: Seed = 0


class EncoderTeacherEntry(Part):
    """A named teacher of a study: a named bi-encoder before training."""

    kind: Literal["encoder"] = "encoder"
    architecture: Name
    precision: Precision = "fp32"


class BM25TeacherEntry(Part):
    """A named teacher of a study: a named BM25 retriever's score of every pair."""

    kind: Literal["bm25"] = "bm25"
    retriever: Name


class EnsembleTeacherEntry(Part):
    """A named teacher of a study: the mean of named ones, standardised over the groups of a named strategy."""

    kind: Literal["ensemble"] = "ensemble"
    members: Annotated[tuple[Name, ...], Field(min_length=2), Unique]
    strategy: Name
    seed: Seed = 0


class CutEntry(Part):
    """A named part of the training queries, by a named teacher's entropy over their groups; see :class:`EntropyCut`."""

    teacher: Name
    entropy: EntropyName = "pairwise_entropy"
    temperature: Temperature = 1.0
    part: CutPart


class AugmentationEntry(Augmentation):
    """A named augmentation of a study; ``random_share`` of the negatives are replaced by corpus-random documents."""

    random_share: Share = 0.0


class FirstStageEntry(Part):
    """What systems rank: a named retriever's top ``depth``, or with kind full the whole collection."""

    kind: Literal["rerank", "full"] = "rerank"
    retriever: Name
    depth: Depth = 100


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

    architectures: dict[Name, SearchedRates] = Field(min_length=1)
    strategy: Name
    teacher: Name | None = None
    validation: Collection
    first_stages: tuple[FirstStageEntry, ...] = Field(min_length=1)
    measure: MeasureName = "nDCG@10"
    seed: Seed = 0


class EvaluationSettings(Part):
    """First stages and measures of a study; ``untrained`` names architectures to evaluate untrained that no grid trains."""

    first_stages: tuple[FirstStageEntry, ...] = Field(min_length=1)
    untrained: Annotated[tuple[Name, ...], Unique] = ()
    measures: Measures = ("nDCG@10", "AP", "RR@10", "R@100")
    precision: Precision = "fp32"


class AnalysisSettings(Part):
    """What the analysis compares; the margins are fixed before anything is seen.

    Verdicts rest on ``equivalence_margin``, in units of the measure; what ``margins_shown`` would have said stands beside them. Energy that
    no counter measured is estimated from ``watts_per_core`` (and ``gpu_watts``), see :mod:`rd_utils.energy`.
    """

    measure: MeasureName = "nDCG@10"
    baseline_strategy: Name
    equivalence_margin: Margin = 0.02
    margins_shown: Annotated[tuple[Margin, ...], Unique] = (0.01, 0.02)
    watts_per_core: Watts = 10.0
    gpu_watts: Watts | None = None
    alpha: Alpha = 0.05
    level: Level = 0.95


class Grid(Part):
    """One block of cells: the product of its lists."""

    strategies: Annotated[tuple[Name, ...], Field(min_length=1), Unique]
    teachers: Annotated[tuple[Name, ...], Unique] = ()
    losses: Annotated[tuple[LossName, ...], Field(min_length=1), Unique]
    architectures: Annotated[tuple[Name, ...], Field(min_length=1), Unique]
    temperatures: Annotated[tuple[Temperature, ...], Field(min_length=1), Unique] = (1.0,)
    target_entropies: Annotated[tuple[Fraction, ...], Unique] = ()
    augmentations: Annotated[tuple[Name, ...], Field(min_length=1), Unique] = ("none",)
    cuts: Annotated[tuple[Name, ...], Field(min_length=1), Unique] = ("all",)
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

    strategy: Name | None = None
    teacher: Name | None = None
    loss: LossName | None = None
    architecture: Name | None = None
    augmentation: Name | None = None
    cut: Name | None = None


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


RetrieverEntry = Annotated[Union[BM25, DenseEntry, RerankedEntry, PooledEntry, RunFile], Field(discriminator="kind")]
StrategyEntry = Annotated[
    Union[CorpusRandom, FromCandidatesEntry, GraphEntry, DiameterTargetedEntry, RefreshedEntry], Field(discriminator="kind")
]
TeacherEntry = Annotated[
    Union[Oracle, LoadedTeacher, TrainedTeacherEntry, EncoderTeacherEntry, BM25TeacherEntry, FileTeacher, EnsembleTeacherEntry],
    Field(discriminator="kind"),
]


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
    retrievers: dict[Name, RetrieverEntry]
    strategies: dict[Name, StrategyEntry]
    teachers: dict[Name, TeacherEntry] = {}
    architectures: dict[Name, Architecture]
    reference: Name | None = None
    probe: Probe | None = None
    augmentations: dict[Name, AugmentationEntry] = {}
    cuts: dict[Name, CutEntry] = {}
    group_size: Few = Field(default=16, ge=2)
    shortage: Name = "drop"
    draws: Few = 1
    training: Training
    search: SearchSettings | None = None
    grids: tuple[Grid, ...] = Field(min_length=1)
    overrides: tuple[Override, ...] = ()
    evaluation: EvaluationSettings
    analysis: AnalysisSettings
    workflow: WorkflowSettings = WorkflowSettings()

    @field_validator("name")
    @classmethod
    def _leaves_the_store_alone(cls, name: str) -> str:
        if name == "store":
            raise ValueError("'store' is the folder of the artefacts, beside those of studies; choose another name")
        return name

    @field_validator("collections", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _names_exist(self) -> Study:
        problems = list(problems_of_names(self))
        if problems:
            raise ValueError("\n".join(problems))
        return self


# --- names ------------------------------------------------------------------------------------------------------------------------


def problems_of_names(study: Any) -> list[str]:
    """Return what is wrong with how a study's parts name one another, each as ``place: problem``.

    Args:
        study: a study, or the sound parts of one (see :func:`rd_utils.params.sound`): what is None there is passed over.
    """
    checks = (_unknown, _made_of_themselves, _retrievers, _teachers, _augmentations, _strategies, _grids, _references, _search, _analysis)
    return [problem for check in checks for problem in check(study)]


def _entries(study: Any, kind: str) -> dict[str, Any]:
    """Return the named parts of one kind."""
    return getattr(study, _PLURALS[kind]) or {}


def _kind(study: Any, of: str, name: Any) -> str | None:
    """Return the kind of a named part; None where it is unknown."""
    return getattr(_entries(study, of).get(name), "kind", None)


_PLURALS = {
    "retriever": "retrievers", "strategy": "strategies", "teacher": "teachers", "architecture": "architectures",
    "augmentation": "augmentations", "cut": "cuts",
}  # fmt: skip
_RESERVED = {"cut": "all", "augmentation": "none", "strategy": "drop"}  # what a name of that kind stands for of itself


def _unknown_name(study: Any, kind: str, name: Any, where: str, *more: str) -> Iterator[str]:
    choices = (*more, *_entries(study, kind))
    if isinstance(name, str) and name not in choices and getattr(study, _PLURALS[kind]) is not None:
        yield f"{where}: unknown name {shown(name)}{nearest(name, choices)}"


def _unknown(study: Any) -> Iterator[str]:
    """Yield the names that stand for nothing."""
    for kind in ("retriever", "strategy", "teacher"):
        for name, entry in _entries(study, kind).items():
            for what, other in _named_parts(entry):
                yield from _unknown_name(study, what, other, f"{_PLURALS[kind]}.{name}.{what}")
    for name, entry in _entries(study, "cut").items():
        yield from _unknown_name(study, "teacher", getattr(entry, "teacher", None), f"cuts.{name}.teacher")
    for number, grid in enumerate(study.grids or ()):
        for kind in ("strategy", "teacher", "architecture", "augmentation", "cut"):
            more = (_RESERVED[kind],) if kind in ("augmentation", "cut") else ()
            for name in getattr(grid, _PLURALS[kind], None) or ():
                yield from _unknown_name(study, kind, name, f"grids[{number}].{_PLURALS[kind]}", *more)
    for number, override in enumerate(study.overrides or ()):
        for kind in ("strategy", "teacher", "architecture", "augmentation", "cut"):
            more = (_RESERVED[kind],) if kind in ("augmentation", "cut") else ()
            name = getattr(getattr(override, "when", None), kind, None)
            yield from _unknown_name(study, kind, name, f"overrides[{number}].when.{kind}", *more)
    for part, settings in (("evaluation", study.evaluation), ("search", study.search)):
        for number, stage in enumerate(getattr(settings, "first_stages", None) or ()):
            yield from _unknown_name(study, "retriever", getattr(stage, "retriever", None), f"{part}.first_stages[{number}].retriever")
    for name in getattr(study.evaluation, "untrained", None) or ():
        yield from _unknown_name(study, "architecture", name, "evaluation.untrained")
    yield from _unknown_name(study, "architecture", study.reference, "reference")
    yield from _unknown_name(study, "strategy", study.shortage, "shortage", "drop")
    for kind in ("strategy", "teacher"):
        yield from _unknown_name(study, kind, getattr(study.search, kind, None), f"search.{kind}")
    for name in getattr(study.search, "architectures", None) or ():
        yield from _unknown_name(study, "architecture", name, "search.architectures")
    yield from _unknown_name(study, "strategy", getattr(study.analysis, "baseline_strategy", None), "analysis.baseline_strategy")
    for kind, reserved in _RESERVED.items():
        if reserved in _entries(study, kind):
            yield f"{_PLURALS[kind]}.{reserved}: the name {reserved!r} has a meaning of its own; choose another"


def _made_of_themselves(study: Any) -> Iterator[str]:
    """Yield a way round on which an entry is made, in the end, from itself."""
    kinds = ("retriever", "strategy", "teacher")
    uses = {(kind, name): list(_named_parts(entry)) for kind in kinds for name, entry in _entries(study, kind).items()}
    try:
        graphlib.TopologicalSorter(uses).prepare()
    except graphlib.CycleError as error:
        way = error.args[1][::-1]
        round_it = " -> ".join(f"{kind} {name}" for kind, name in way)
        yield f"{_PLURALS[way[0][0]]}.{way[0][1]}: made from itself: {round_it}; let one of them name another"


def _bi_encoder(study: Any, architecture: Any) -> bool:
    """Tell whether a named architecture is a bi-encoder, or unknown."""
    kind = _kind(study, "architecture", architecture)
    return kind is None or kind in BiArchitecture.kinds


def _retrievers(study: Any) -> Iterator[str]:
    for name, entry in _entries(study, "retriever").items():
        kind, where = getattr(entry, "kind", None), f"retrievers.{name}"
        if kind == "dense" and entry.strategy is None and (entry.teacher, entry.training) != (None, None):
            yield f"{where}: without a strategy it is not trained; leave teacher and training out, or name one"
        if kind == "dense" and not _bi_encoder(study, entry.architecture):
            yield f"{where}.architecture: {entry.architecture!r} is no bi-encoder; full retrieval needs embeddings"
        deepest = [
            strategy.depth
            for strategy in _entries(study, "strategy").values()
            if getattr(strategy, "kind", None) == "candidates" and strategy.retriever == name and strategy.depth is not None
        ]
        if kind == "reranked" and entry.from_depth is not None and max(deepest, default=0) > entry.from_depth:
            yield f"{where}: from_depth is {entry.from_depth}, less than the depth of a strategy that draws from it; raise it"


def _teachers(study: Any) -> Iterator[str]:
    for name, entry in _entries(study, "teacher").items():
        kind, where = getattr(entry, "kind", None), f"teachers.{name}"
        if kind == "bm25" and _kind(study, "retriever", entry.retriever) not in (None, "bm25"):
            yield f"{where}.retriever: {entry.retriever!r} is no bm25 retriever; its scores are not known for every pair"
        if kind == "encoder" and not _bi_encoder(study, entry.architecture):
            yield f"{where}.architecture: {entry.architecture!r} is no bi-encoder; untrained, its head is random"
        if kind == "ensemble" and _kind(study, "strategy", entry.strategy) == "refreshed":
            yield f"{where}.strategy: {entry.strategy!r} is drawn anew while a student trains; calibrate on another"


def _augmentations(study: Any) -> Iterator[str]:
    for name, entry in _entries(study, "augmentation").items():
        top, share, size = getattr(entry, "top_k", None), getattr(entry, "random_share", None), study.group_size
        if top is not None and size is not None and top > size:
            yield f"augmentations.{name}.top_k is {top}, but a group has {size} documents"
        if share and size is not None and not round(share * (size - 1)):
            yield f"augmentations.{name}.random_share is {share}, not one of {size - 1} negatives"


def _strategies(study: Any) -> Iterator[str]:
    for name, entry in _entries(study, "strategy").items():
        kind = getattr(entry, "kind", None)
        if kind == "graph" and _kind(study, "retriever", entry.retriever) not in (None, "bm25", "dense"):
            yield f"strategies.{name}.retriever: {entry.retriever!r} reads no documents; a graph needs bm25 or a dense one"


def _grids(study: Any) -> Iterator[str]:
    """Yield a size that nobody means."""
    students = 0
    for grid in study.grids or ():
        lists = (getattr(grid, name, None) or () for name in Grid.model_fields)
        students += math.prod(max(1, len(values)) for values in lists)
    students *= len(study.collections or ())
    if students > MOST_STUDENTS:
        yield f"grids: about {students:,} students, more than {MOST_STUDENTS:,}; write studies of their own"


MOST_STUDENTS = 100_000


def _references(study: Any) -> Iterator[str]:
    if study.reference is not None and not _bi_encoder(study, study.reference):
        yield f"reference: {study.reference!r} is no bi-encoder; distances need embeddings"
    if study.reference is None and any(
        getattr(entry, "kind", None) == "diameter_targeted" for entry in _entries(study, "strategy").values()
    ):
        yield "reference: a diameter_targeted strategy needs a reference: name a bi-encoder of `architectures`"
    fill = _entries(study, "strategy").get(study.shortage)
    kind = getattr(fill, "kind", None)
    if kind not in (None, "corpus_random"):
        plain = kind in ("candidates", "graph") and _kind(study, "retriever", fill.retriever) in (None, "bm25", "run_file")
        if not plain or getattr(fill, "filter", None) is not None:
            yield (
                f"shortage: {study.shortage!r} cannot fill, since what it draws from is made from groups or a teacher itself; "
                "name a corpus_random strategy, or one of a bm25 or run_file retriever without a filter"
            )


def _search(study: Any) -> Iterator[str]:
    search = study.search
    if search is None:
        return
    validation = search.validation if isinstance(search.validation, Part) else None
    for pair in study.collections or ():
        tests = getattr(pair, "test", None) or ()
        for kind, collection in (("training", getattr(pair, "train", None)), *(("test", test) for test in tests)):
            if validation is None or not isinstance(collection, Part) or validation.shared_queries == "allow":
                continue
            if ids_overlap(validation, collection):
                yield (
                    f"search.validation: {validation.label} shares queries with the {kind} collection "
                    f"{collection.label}, so the learning rate would not be chosen on queries of its own; choose another split, "
                    "or part them by random_split, or by skip_queries and max_queries"
                )
    if _kind(study, "strategy", search.strategy) == "refreshed":
        yield "search.strategy: a refreshed strategy cannot be searched on; name the one that it starts from"
    losses = {loss for grid in study.grids or () for loss in getattr(grid, "losses", None) or ()}
    if search.teacher is None and any(loss in LOSSES and LOSSES[loss].needs_teacher for loss in losses):
        yield "search.teacher: a loss of the grids distils a teacher; name the one that the search uses"


def _analysis(study: Any) -> Iterator[str]:
    measures, asked = getattr(study.evaluation, "measures", None), getattr(study.analysis, "measure", None)
    if measures and asked is not None and asked not in measures:
        yield f"analysis.measure: unknown name {shown(asked)}{nearest(asked, measures)}"


def _named_parts(entry: Any) -> Iterator[tuple[str, str]]:
    """Yield (kind, name) of every other entry that a retriever's, strategy's or teacher's entry names."""
    for field, kind in (
        ("retriever", "retriever"), ("retrievers", "retriever"), ("strategy", "strategy"), ("start", "strategy"),
        ("teacher", "teacher"), ("members", "teacher"), ("architecture", "architecture"), ("filter", "filter"),
    ):  # fmt: skip
        value = getattr(entry, field, None)
        if kind == "filter" and value is not None:
            yield from (("teacher", name) for name in (value.teacher,) if name is not None)
        elif value is not None:
            yield from ((kind, name) for name in ((value,) if isinstance(value, str) else value) if name is not None)


# --- reading ----------------------------------------------------------------------------------------------------------------------


class Draft(NamedTuple):
    """What was read of a study's file and its bases.

    Attributes:
        path: of the study's own file.
        study: None where something is wrong with it.
        sound: the study, or what of it can be read (see :func:`rd_utils.params.sound`).
        problems: what is wrong, each with its line.
        line: turns a problem into one with its line.
    """

    path: Path
    study: Study | None
    sound: Any
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
    path = Path(path)
    settings = yaml_files.read(path, "study")
    values = dict(settings.values)
    if base is not None and base != values.get("base"):
        name = values.get("name")
        values |= {"base": base} | ({"name": f"{name}_{base}"} if isinstance(name, str) else {})
        values.pop("collections", None)
    values, files = _on_base(settings._replace(values=values))

    def line(problem: str) -> str:
        return f"{_line(problem, files)}{problem}"

    try:
        study = Study.model_validate(values)
    except ValidationError as error:
        parts = sound(Study, _paired(values))
        return Draft(path, None, parts, [line(problem) for problem in [*problems_of(error, Study), *problems_of_names(parts)]], line)
    return Draft(path, study, study, [], line)


def _paired(values: dict[str, Any]) -> dict[str, Any]:
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


def _on_base(settings: yaml_files.Settings, above: tuple[str, ...] = ()) -> tuple[dict[str, Any], list[yaml_files.Settings]]:
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
    return [folder / "bases" for folder in path.resolve().parents if (folder / "bases").is_dir()]


def _bases(path: Path) -> list[str]:
    return sorted(file.stem for folder in _base_folders(path) for file in folder.glob("*.yaml"))


def _base_file(path: Path, base: str) -> Path:
    for folder in _base_folders(path):
        if (folder / f"{base}.yaml").is_file():
            return folder / f"{base}.yaml"
    raise ParameterError(f"{path}: no base {base!r}{nearest(base, _bases(path))}")


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Merge mappings key by key; a value that states a ``kind`` or ``source``, or is no mapping, replaces the one below whole."""
    merged = dict(below)
    for key, value in above.items():
        nested = isinstance(value, dict) and isinstance(below.get(key), dict) and not {"kind", "source"} & value.keys()
        merged[key] = _merged(below[key], value) if nested else value
    return merged

"""Studies: what a YAML under ``params/`` may say, and how it is read.

A study names its retrievers, strategies, teachers and architectures, and its grids name these. The names are resolved to the parts of
:mod:`rd_utils.params` by :mod:`rd_utils.resolve`, and expanded to cells and notebook runs by :mod:`rd_utils.plan`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import yaml
from pydantic import Field, field_validator, model_validator

from rd_utils.leakage import ids_overlap
from rd_utils.params import (
    BI_ENCODERS,
    BM25,
    NEEDS_TEACHER,
    Architecture,
    Augmentation,
    Collection,
    CorpusRandom,
    CutPart,
    DenseIndex,
    Draw,
    EntropyName,
    FileTeacher,
    Flat,
    LoadedTeacher,
    LossName,
    Oracle,
    ParameterError,
    Part,
    Precision,
    Probe,
    RunFile,
    Training,
    TrainingChanges,
    known,
    nearest,
    parse,
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
    architecture: str
    strategy: str | None = None
    loss: LossName = "lce"
    teacher: str | None = None
    training: Training | None = None
    index: DenseIndex = Flat()
    seed: int = Field(default=0, ge=0)


class RerankedEntry(Part):
    """A named retriever of a study: another's top ``from_depth`` re-ranked by a named teacher."""

    kind: Literal["reranked"] = "reranked"
    retriever: str
    from_depth: int = Field(default=200, ge=1)
    teacher: str


class PooledEntry(Part):
    """A named retriever of a study: the union of other named ones, at most ``at_most`` documents from each."""

    kind: Literal["pooled"] = "pooled"
    retrievers: tuple[str, ...] = Field(min_length=2)
    at_most: int = Field(default=10, ge=1)


class FilterEntry(Part):
    """False-negative filtering by a named teacher; see :class:`FalseNegativeFilter`."""

    teacher: str
    rule: Literal["absolute_margin", "relative_margin", "share"] = "absolute_margin"
    value: float = Field(ge=0)
    units: Literal["raw", "sigmoid", "exp"] = "raw"


class FromCandidatesEntry(Part):
    """A named strategy of a study: drawn from a named retriever's candidates; see :class:`FromCandidates`."""

    kind: Literal["candidates"] = "candidates"
    retriever: str
    from_rank: int = Field(default=1, ge=1)
    depth: int = Field(default=200, ge=1)
    draw: Draw = "uniform"
    draw_temperature: float = Field(default=1.0, gt=0)
    filter: FilterEntry | None = None


class GraphEntry(Part):
    """A named strategy of a study: drawn from the positive's neighbours under a named retriever; see :class:`Graph`."""

    kind: Literal["graph"] = "graph"
    retriever: str
    from_rank: int = Field(default=1, ge=1)
    depth: int = Field(default=100, ge=1)
    draw: Draw = "uniform"
    draw_temperature: float = Field(default=1.0, gt=0)


class DiameterTargetedEntry(Part):
    """A named strategy of a study: groups of a chosen diameter in the study's ``reference``; see :class:`DiameterTargeted`."""

    kind: Literal["diameter_targeted"] = "diameter_targeted"
    retriever: str
    from_rank: int = Field(default=1, ge=1)
    depth: int = Field(default=200, ge=1)
    quantile: float = Field(ge=0, le=1)
    trials: int = Field(default=64, ge=2)


class RefreshedEntry(Part):
    """A named strategy of a study: a named strategy's groups at first, then the student's own candidates; see :class:`Refresh`."""

    kind: Literal["refreshed"] = "refreshed"
    start: str
    every: int = Field(ge=1)
    from_rank: int = Field(default=1, ge=1)
    depth: int = Field(default=100, ge=1)
    draw: Draw = "uniform"
    draw_temperature: float = Field(default=1.0, gt=0)


class TrainedTeacherEntry(Part):
    """A named teacher of a study: a named architecture trained on a named strategy's groups, with LCE unless said otherwise."""

    kind: Literal["trained"] = "trained"
    architecture: str
    strategy: str
    loss: LossName = "lce"
    teacher: str | None = None
    training: Training
    seed: int = Field(default=0, ge=0)


class EncoderTeacherEntry(Part):
    """A named teacher of a study: a named bi-encoder before training."""

    kind: Literal["encoder"] = "encoder"
    architecture: str
    precision: Precision = "fp32"


class BM25TeacherEntry(Part):
    """A named teacher of a study: a named BM25 retriever's score of every pair."""

    kind: Literal["bm25"] = "bm25"
    retriever: str


class EnsembleTeacherEntry(Part):
    """A named teacher of a study: the mean of named ones, standardised over the groups of a named strategy."""

    kind: Literal["ensemble"] = "ensemble"
    members: tuple[str, ...] = Field(min_length=2)
    strategy: str
    seed: int = Field(default=0, ge=0)


class CutEntry(Part):
    """A named part of the training queries, by a named teacher's entropy over their groups; see :class:`EntropyCut`."""

    teacher: str
    entropy: EntropyName = "pairwise_entropy"
    temperature: float = Field(default=1.0, gt=0)
    part: CutPart


class AugmentationEntry(Augmentation):
    """A named augmentation of a study; ``random_share`` of the negatives are replaced by corpus-random documents."""

    random_share: float = Field(default=0.0, ge=0, le=1)


class FirstStageEntry(Part):
    """What systems rank: a named retriever's top ``depth``, or with kind full the whole collection."""

    kind: Literal["rerank", "full"] = "rerank"
    retriever: str
    depth: int = Field(default=100, ge=1)


class SearchedRates(Part):
    """The learning rates that are tried for an architecture."""

    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=2)
    embedding_ratio: float = Field(default=1.0, gt=0)


class SearchSettings(Part):
    """The search of a study: for each loss and each of ``architectures``, on one strategy, teacher and seed; see :class:`Search`.

    It runs on the first of the study's collections, and its choice holds for all of them.
    """

    architectures: dict[str, SearchedRates] = Field(min_length=1)
    strategy: str
    teacher: str | None = None
    validation: Collection
    first_stages: tuple[FirstStageEntry, ...] = Field(min_length=1)
    measure: str = "nDCG@10"
    seed: int = Field(default=0, ge=0)


class EvaluationSettings(Part):
    """First stages and measures of a study; ``untrained`` names architectures to evaluate untrained that no grid trains."""

    first_stages: tuple[FirstStageEntry, ...] = Field(min_length=1)
    untrained: tuple[str, ...] = ()
    measures: tuple[str, ...] = ("nDCG@10", "AP", "RR@10", "R@100")
    precision: Precision = "fp32"


class AnalysisSettings(Part):
    """What the analysis compares; the margins are fixed before anything is seen.

    Verdicts rest on ``equivalence_margin``, in units of the measure; what ``margins_shown`` would have said stands beside them. Energy that
    no counter measured is estimated from ``watts_per_core`` (and ``gpu_watts``), see :mod:`rd_utils.energy`.
    """

    measure: str = "nDCG@10"
    baseline_strategy: str
    equivalence_margin: float = Field(default=0.02, gt=0)
    margins_shown: tuple[Annotated[float, Field(gt=0)], ...] = (0.01, 0.02)
    watts_per_core: float = Field(default=10.0, gt=0)
    gpu_watts: float | None = Field(default=None, gt=0)
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    level: float = Field(default=0.95, gt=0.5, lt=1)


class Grid(Part):
    """One block of cells: the product of its lists."""

    strategies: tuple[str, ...] = Field(min_length=1)
    teachers: tuple[str, ...] = ()
    losses: tuple[LossName, ...] = Field(min_length=1)
    architectures: tuple[str, ...] = Field(min_length=1)
    temperatures: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1.0,), min_length=1)
    target_entropies: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    augmentations: tuple[str, ...] = Field(default=("none",), min_length=1)
    cuts: tuple[str, ...] = Field(default=("all",), min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _teachers_where_needed(self) -> Grid:
        distils = [loss for loss in self.losses if NEEDS_TEACHER[loss]]
        if distils and not self.teachers:
            raise ValueError(f"the loss {distils[0]!r} distils a teacher, but the grid names no teachers")
        if self.teachers and not distils:
            raise ValueError(f"the grid names the teacher {self.teachers[0]!r}, but none of its losses {list(self.losses)} uses one")
        if self.target_entropies and self.temperatures != (1.0,):
            raise ValueError("a grid dials temperatures or target_entropies, not both; write two grids")
        for name in type(self).model_fields:
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name} repeats a value: {list(values)}")
        return self


class When(Part):
    """Which cells an override meets; an absent key meets all."""

    strategy: str | None = None
    teacher: str | None = None
    loss: LossName | None = None
    architecture: str | None = None
    augmentation: str | None = None
    cut: str | None = None


class OverrideValues(TrainingChanges):
    """What an override sets: training settings, of which a learning rate is then not searched, and a teacher's temperature."""

    temperature: float | None = Field(default=None, gt=0)


class Override(Part):
    """Settings that some cells have of their own."""

    when: When
    set: OverrideValues


class WorkflowSettings(Part):
    """How students are packed into notebook runs, at most how many in one; it changes no result."""

    students_per_node: int = Field(default=12, ge=1)


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

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_]*$")
    base: str | None = None
    question: str
    collections: tuple[StudyCollections, ...] = Field(min_length=1)
    retrievers: dict[str, RetrieverEntry]
    strategies: dict[str, StrategyEntry]
    teachers: dict[str, TeacherEntry] = {}
    architectures: dict[str, Architecture]
    reference: str | None = None
    probe: Probe | None = None
    augmentations: dict[str, AugmentationEntry] = {}
    cuts: dict[str, CutEntry] = {}
    group_size: int = Field(default=16, ge=2)
    shortage: str = "drop"
    draws: int = Field(default=1, ge=1)
    training: Training
    search: SearchSettings | None = None
    grids: tuple[Grid, ...] = Field(min_length=1)
    overrides: tuple[Override, ...] = ()
    evaluation: EvaluationSettings
    analysis: AnalysisSettings
    workflow: WorkflowSettings = WorkflowSettings()

    @field_validator("collections", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _names_exist(self) -> Study:
        named = {"retriever": self.retrievers, "strategy": self.strategies, "teacher": self.teachers, "architecture": self.architectures}
        uses: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for kind, entries in (("retriever", self.retrievers), ("strategy", self.strategies), ("teacher", self.teachers)):
            for name, entry in entries.items():
                where = f"{'strategies' if kind == 'strategy' else kind + 's'}.{name}"
                uses[(kind, name)] = list(_named_parts(entry))
                for what, other in uses[(kind, name)]:
                    known(other, named[what], f"{where}.{what}")
                if entry.kind == "bm25" and kind == "teacher" and self.retrievers[entry.retriever].kind != "bm25":
                    raise ValueError(
                        f"{where}.retriever: {entry.retriever!r} is no bm25 retriever; its scores are not known for every pair"
                    )
        _check_acyclic(uses)
        for name, entry in self.retrievers.items():
            if entry.kind == "dense" and entry.strategy is None and (entry.teacher, entry.training) != (None, None):
                raise ValueError(f"retrievers.{name}: without a strategy it is not trained; leave teacher and training out, or name one")
            if entry.kind == "reranked" and any(
                strategy.kind == "candidates" and strategy.retriever == name and strategy.depth > entry.from_depth
                for strategy in self.strategies.values()
            ):
                raise ValueError(
                    f"retrievers.{name}: from_depth is {entry.from_depth}, less than the depth of a strategy that draws from it"
                )
            if entry.kind == "dense" and not isinstance(self.architectures[entry.architecture], BI_ENCODERS):
                raise ValueError(
                    f"retrievers.{name}.architecture: {entry.architecture!r} is no bi-encoder; full retrieval needs embeddings"
                )
        for name, entry in self.teachers.items():
            if entry.kind == "encoder" and not isinstance(self.architectures[entry.architecture], BI_ENCODERS):
                raise ValueError(f"teachers.{name}.architecture: {entry.architecture!r} is no bi-encoder; untrained, its head is random")
            if entry.kind == "ensemble" and self.strategies[entry.strategy].kind == "refreshed":
                raise ValueError(f"teachers.{name}.strategy: {entry.strategy!r} is drawn anew while a student trains; calibrate on another")
        for name, entry in self.augmentations.items():
            if entry.top_k is not None and entry.top_k > self.group_size:
                raise ValueError(f"augmentations.{name}.top_k is {entry.top_k}, but a group has {self.group_size} documents")
            if entry.random_share and not round(entry.random_share * (self.group_size - 1)):
                raise ValueError(f"augmentations.{name}.random_share is {entry.random_share}, not one of {self.group_size - 1} negatives")
        for name, entry in self.strategies.items():
            if entry.kind == "graph" and self.retrievers[entry.retriever].kind not in ("bm25", "dense"):
                raise ValueError(f"strategies.{name}.retriever: {entry.retriever!r} reads no documents; a graph needs bm25 or a dense one")
        for name, entry in self.cuts.items():
            known(entry.teacher, self.teachers, f"cuts.{name}.teacher")
        for reserved, entries in (("all", self.cuts), ("none", self.augmentations), ("drop", self.strategies)):
            if reserved in entries:
                raise ValueError(f"the name {reserved!r} has a meaning of its own; choose another")
        dimensions = {
            "strategies": self.strategies,
            "teachers": self.teachers,
            "architectures": self.architectures,
            "augmentations": ("none", *self.augmentations),
            "cuts": ("all", *self.cuts),
        }
        for number, grid in enumerate(self.grids):
            for field, choices in dimensions.items():
                for name in getattr(grid, field):
                    known(name, choices, f"grids[{number}].{field}")
        for number, override in enumerate(self.overrides):
            for field, choices in (
                ("strategy", self.strategies),
                ("teacher", self.teachers),
                ("architecture", self.architectures),
                ("augmentation", dimensions["augmentations"]),
                ("cut", dimensions["cuts"]),
            ):
                value = getattr(override.when, field)
                if value is not None:
                    known(value, choices, f"overrides[{number}].when.{field}")
        for number, stage in enumerate(self.evaluation.first_stages):
            known(stage.retriever, self.retrievers, f"evaluation.first_stages[{number}].retriever")
        for name in self.evaluation.untrained:
            known(name, self.architectures, "evaluation.untrained")
        if self.reference is not None:
            known(self.reference, self.architectures, "reference")
            if not isinstance(self.architectures[self.reference], BI_ENCODERS):
                raise ValueError(f"reference: {self.reference!r} is no bi-encoder; distances need embeddings")
        elif any(entry.kind == "diameter_targeted" for entry in self.strategies.values()):
            raise ValueError("a diameter_targeted strategy needs a reference: name a bi-encoder of `architectures`")
        if self.shortage != "drop":
            known(self.shortage, {"drop": None, **self.strategies}, "shortage")
            fill = self.strategies[self.shortage]
            plain = fill.kind in ("candidates", "graph") and self.retrievers[fill.retriever].kind in ("bm25", "run_file")
            if fill.kind != "corpus_random" and (not plain or getattr(fill, "filter", None) is not None):
                raise ValueError(
                    f"shortage: {self.shortage!r} cannot fill, since what it draws from is made from groups or a teacher itself; "
                    "name a corpus_random strategy, or one of a bm25 or run_file retriever without a filter"
                )
        if self.search is not None:
            for pair in self.collections:
                for kind, collection in (("training", pair.train), *(("test", test) for test in pair.test)):
                    allowed = self.search.validation.shared_queries == "allow"
                    if not allowed and ids_overlap(self.search.validation, collection):
                        raise ValueError(
                            f"search.validation: {self.search.validation.label} shares queries with the {kind} collection "
                            f"{collection.label}, so the learning rate would not be chosen on queries of its own; choose another split, "
                            "or part them by random_split, or by skip_queries and max_queries"
                        )
            known(self.search.strategy, self.strategies, "search.strategy")
            if self.strategies[self.search.strategy].kind == "refreshed":
                raise ValueError("search.strategy: a refreshed strategy cannot be searched on; name the one that it starts from")
            for name in self.search.architectures:
                known(name, self.architectures, "search.architectures")
            for number, stage in enumerate(self.search.first_stages):
                known(stage.retriever, self.retrievers, f"search.first_stages[{number}].retriever")
            distils = any(NEEDS_TEACHER[loss] for grid in self.grids for loss in grid.losses)
            if self.search.teacher is not None:
                known(self.search.teacher, self.teachers, "search.teacher")
            elif distils:
                raise ValueError("search.teacher: a loss of the grids distils a teacher; name the one that the search uses")
        known(self.analysis.baseline_strategy, self.strategies, "analysis.baseline_strategy")
        known(self.analysis.measure, dict.fromkeys(self.evaluation.measures), "analysis.measure")
        return self


def _named_parts(entry: Any) -> Iterator[tuple[str, str]]:
    """Yield (kind, name) of every other entry that a retriever's, strategy's or teacher's entry names."""
    for field, kind in (
        ("retriever", "retriever"), ("retrievers", "retriever"), ("strategy", "strategy"), ("start", "strategy"),
        ("teacher", "teacher"), ("members", "teacher"), ("architecture", "architecture"), ("filter", "filter"),
    ):  # fmt: skip
        value = getattr(entry, field, None)
        if kind == "filter" and value is not None:
            yield "teacher", value.teacher
        elif value is not None:
            for name in (value,) if isinstance(value, str) else value:
                yield kind, name


def _check_acyclic(uses: dict[tuple[str, str], list[tuple[str, str]]]) -> None:
    """Raise where an entry is made, in the end, from itself."""
    done: set[tuple[str, str]] = set()

    def visit(key: tuple[str, str], path: tuple[tuple[str, str], ...]) -> None:
        if key in path:
            raise ValueError("made from itself: " + " -> ".join(f"{kind} {name}" for kind, name in (*path[path.index(key) :], key)))
        if key not in done:
            for other in uses.get(key, []):
                visit(other, (*path, key))
            done.add(key)

    for key in uses:
        visit(key, ())


# --- reading ----------------------------------------------------------------------------------------------------------------------


def load_study(path: str | Path, base: str | None = None) -> Study:
    """Read and validate one study file.

    A study with ``base: NAME`` starts from ``bases/NAME.yaml``, found beside it or in a folder above: mappings are merged key by key, and
    where both have a value the study's own holds. A base may have a base of its own.

    Args:
        path: the study's file.
        base: replaces the study's own ``base`` and ``collections``, and is then part of its name, so that reports on different bases lie
            side by side.
    """
    path = Path(path)
    values = _read_yaml(path)
    if base is not None and base != values.get("base"):
        values |= {"base": base, "name": f"{values.get('name')}_{base}"}
        values.pop("collections", None)
    return parse(Study, _on_base(path, values), str(path))


def _on_base(path: Path, values: dict[str, Any], above: tuple[str, ...] = ()) -> dict[str, Any]:
    base = values.get("base")
    if base is None:
        return values
    if base in above:
        raise ParameterError(f"{path}: bases on one another: {' -> '.join((*above, base))}; delete one of these `base`")
    below = _base_file(path, str(base))
    return _merged(_on_base(below, _read_yaml(below), (*above, base)), values)


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path("params")
        raise ParameterError(f"no study file {path}{nearest(path.name, sorted(p.name for p in folder.glob('*.yaml')))}")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        raise ParameterError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ParameterError(f"{path} holds {type(values).__name__}, expected a mapping of parameters")
    return values


def _base_file(path: Path, base: str) -> Path:
    folders = [folder / "bases" for folder in path.resolve().parents if (folder / "bases").is_dir()]
    for folder in folders:
        if (folder / f"{base}.yaml").is_file():
            return folder / f"{base}.yaml"
    choices = sorted(file.stem for folder in folders for file in folder.glob("*.yaml"))
    raise ParameterError(f"{path}: no base {base!r}{nearest(base, choices)}")


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Merge mappings key by key; a value that states a ``kind`` or ``source``, or is no mapping, replaces the one below whole."""
    merged = dict(below)
    for key, value in above.items():
        nested = isinstance(value, dict) and isinstance(below.get(key), dict) and not {"kind", "source"} & value.keys()
        merged[key] = _merged(below[key], value) if nested else value
    return merged


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML in which a repeated key is an error and ``1e-5`` is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


_UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)

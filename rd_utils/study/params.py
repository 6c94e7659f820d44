"""Typed parameters: what a notebook's parameter cell may say, and the door to all parameter classes.

Every class refuses unknown keys; :mod:`rd_utils.study.explain` says what is wrong in one line per offender. The families are in
:mod:`rd_utils.study.kinds`, their kinds in a module each; the *specs* name one artefact each and are built from them (see
:mod:`rd_utils.workflow.pipeline` for how each is made). What a study may say is in :mod:`rd_utils.study.studies`.
"""
# ruff: noqa: F401

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from rd_utils.data.sources import (
    SPLIT_PARTS,
    AsRead,
    DocumentedCollection,
    Documents,
    EmbeddedCollection,
    FolderCollection,
    IrDatasetsCollection,
    PseudoQueries,
    RandomSplit,
)
from rd_utils.mining.retrievers import (
    BM25,
    IVFPQ,
    Dense,
    Flat,
    IVFOnDisk,
    Pooled,
    Reranked,
    RunFile,
)
from rd_utils.mining.strategies import CorpusRandom, DiameterTargeted, FalseNegativeFilter, Filtering, FromCandidates, Graph, Refreshed
from rd_utils.models.architectures import (
    BiEncoder,
    CrossEncoder,
    InteractionCross,
    StaticBi,
    StaticLate,
    StaticSparse,
    TinyBertBi,
    TinyBertCross,
    TinyBertLate,
    TinyBertSparse,
)
from rd_utils.scoring.teacher_kinds import BM25Teacher, EncoderTeacher, EnsembleTeacher, FileTeacher, LoadedTeacher, Oracle, TrainedTeacher
from rd_utils.study.bounds import Count, Few, Fraction, Measures, Name, PathText, Seeds, Share, Temperature, Unique, nearest
from rd_utils.study.context import Context
from rd_utils.study.explain import ParameterError, attempt, explain, known, listed, parse, problems_of, sound
from rd_utils.study.kinds import (
    Architecture,
    BiArchitecture,
    Collection,
    DenseIndex,
    Draw,
    DualArchitecture,
    Encoder,
    FromScratch,
    IndexedRetriever,
    Kind,
    LateArchitecture,
    Part,
    Precision,
    Refresh,
    Retriever,
    SparseArchitecture,
    Spec,
    Strategy,
    System,
    Teacher,
    Tokenizer,
    tag_of,
    within,
)
from rd_utils.study.settings import OF_TRAINING, Augmentation, Training, TrainingChanges
from rd_utils.study.specs import (
    BehaviourSpec,
    CandidatesSpec,
    CutPart,
    DescriptionSpec,
    DocsSpec,
    EntropyCut,
    EntropyName,
    EvaluationSpec,
    FirstStage,
    GroupsSpec,
    IndexSpec,
    LexiconSpec,
    LexiconTokenizer,
    ModelTokenizer,
    NeighboursSpec,
    PairsSpec,
    Probe,
    QueriesSpec,
    ScoresSpec,
    Search,
    SearchSpec,
    StudentSpec,
    TokensSpec,
    VectorsSpec,
    check_rates,
    search_spec,
    with_rate,
)
from rd_utils.study.systems import FirstStageSystem, StudentSystem, TeacherSystem, UntrainedSystem, serves
from rd_utils.training.losses import LOSSES, LossName


class LossSettings(TrainingChanges):
    """One way to train: the loss, how the teacher's scores enter it, and what it changes in the training settings.

    ``loss`` is needed only where the name under which the settings stand is not a loss's own, such as ``kl-T4``.
    """

    loss: LossName | None = None
    temperature: Temperature = 1.0
    target_entropy: Fraction | None = None
    augmentation: Augmentation = Augmentation()
    search: Search | None = None

    def apply(self, training: Training) -> Training:
        """Return ``training`` with these settings' own values in place."""
        own = {name: getattr(self, name) for name in OF_TRAINING if getattr(self, name) is not None}
        return Training(**training.model_dump() | own)


class MineParameters(Part):
    """Parameters of ``01_mine``.

    What is said in short (see ``study.kinds.Kind``) takes the rest from here: a ``reference`` or teacher that names no collection
    has ``collection``. ``test_collections`` may be ``own``: what belongs to ``collection`` (see
    :func:`rd_utils.data.collections.own_tests`), which ``notebook.validate`` looks up.
    """

    collection: Collection
    strategy: Strategy
    group_size: Few = Field(default=16, ge=2)
    shortage: Literal["drop"] | Strategy = "drop"
    draws: Few = 1
    random_share: Share = 0.0
    cut: EntropyCut | None = None
    reference: Encoder | None = None
    test_collections: Literal["own"] | tuple[Collection, ...] = ()
    seeds: Seeds = (0,)

    @model_validator(mode="wrap")
    @classmethod
    def _in_context(cls, values: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(values, dict):
            return handler(values)
        with Context(cls, values):
            return handler(values)

    def groups(self, seed: int) -> GroupsSpec:
        """Return the groups artefact of one seed."""
        own = {name: getattr(self, name) for name in GroupsSpec.model_fields if name != "seed"}
        return GroupsSpec(**own, seed=seed)

    def specs(self) -> list[Spec]:
        """Return what the notebook makes; the error that this raises is one of the parameters."""
        return [self.groups(self.seeds[0])]


class ScoreParameters(MineParameters):
    """Parameters of ``02_score``."""

    teacher: Teacher

    def scores(self, seed: int) -> ScoresSpec:
        """Return the teacher-scores artefact of one seed."""
        return ScoresSpec(groups=self.groups(seed), teacher=self.teacher)

    def specs(self) -> list[Spec]:
        """Return what the notebook makes."""
        return [self.scores(self.seeds[0])]


class TrainParameters(MineParameters):
    """Parameters of ``03_train``: ``losses`` names every way to train on these groups."""

    teacher: Teacher | None = None
    losses: dict[Name, LossSettings] = Field(min_length=1)
    architecture: Architecture
    training: Training
    refresh: Refresh | None = None
    probe: Probe | None = None

    @model_validator(mode="after")
    def _losses_exist(self) -> TrainParameters:
        for name, settings in self.losses.items():
            if settings.loss is None:
                known(name, LOSSES, "losses")
        return self

    def student(self, name: str, seed: int) -> StudentSpec:
        """Return the student artefact of one of ``losses`` and a seed."""
        settings = self.losses[name]
        loss = settings.loss or name
        return StudentSpec(
            groups=self.groups(seed),
            loss=loss,
            teacher=self.teacher if LOSSES[loss].needs_teacher else None,
            temperature=settings.temperature,
            target_entropy=settings.target_entropy,
            augmentation=settings.augmentation,
            architecture=self.architecture,
            training=settings.apply(self.training),
            refresh=self.refresh or self.strategy.refresh,
            search=settings.search,
            seed=seed,
        )

    def students(self) -> dict[tuple[str, int], StudentSpec]:
        """Return every student of the notebook, keyed by (name in ``losses``, seed)."""
        return {(name, seed): self.student(name, seed) for name in self.losses for seed in self.seeds}

    def descriptions(self) -> dict[tuple[str, int], DescriptionSpec]:
        """Return what describes every student's groups, as its augmentation and temperature change them; empty without ``reference``."""
        if self.reference is None:
            return {}
        return {
            (name, seed): DescriptionSpec(
                groups=self.groups(seed),
                teacher=self.teacher,
                temperature=settings.temperature,
                target_entropy=settings.target_entropy,
                augmentation=settings.augmentation,
                reference=self.reference,
                seed=seed,
            )
            for name, settings in self.losses.items()
            for seed in self.seeds
        }

    def behaviours(self) -> dict[tuple[str, int], BehaviourSpec]:
        """Return what describes every student itself, before and after training; empty without ``probe``."""
        if self.probe is None:
            return {}
        return {key: BehaviourSpec(student=student, teacher=self.teacher, probe=self.probe) for key, student in self.students().items()}

    def specs(self) -> list[Spec]:
        """Return what the notebook makes."""
        students = self.students()
        searches = [search for student in students.values() if (search := search_spec(student)) is not None]
        return [*students.values(), *searches, *self.descriptions().values(), *self.behaviours().values()]


class SearchParameters(Part):
    """Parameters of ``06_search``: the students whose learning rate is chosen, each by its ``search``."""

    students: tuple[StudentSpec, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _all_search(self) -> SearchParameters:
        for number, student in enumerate(self.students):
            if student.search is None:
                raise ValueError(f"students[{number}] has no search; there is nothing to choose")
        return self

    def specs(self) -> list[Spec]:
        """Return what the notebook makes."""
        return [search for student in self.students if (search := search_spec(student)) is not None]


class EvaluateParameters(TrainParameters):
    """Parameters of ``04_evaluate``."""

    first_stages: tuple[FirstStage, ...] = Field(default=(FirstStage(),), min_length=1)
    measures: Measures = ("nDCG@10", "AP", "RR@10", "R@100")
    precision: Precision = "fp32"
    systems: Annotated[tuple[Literal["first_stage", "teacher", "untrained", "student"], ...], Unique] = (
        "first_stage",
        "teacher",
        "untrained",
        "student",
    )

    @model_validator(mode="after")
    def _something_to_test_on(self) -> EvaluateParameters:
        if not self.systems:
            raise ValueError("systems is empty; name at least one to evaluate")
        if not self.test_collections:
            raise ValueError("test_collections is empty, or the collection has none of its own; name at least one to evaluate on")
        return self

    def evaluations(self) -> list[EvaluationSpec]:
        """Return one evaluation per system, test collection and first stage that the system can serve."""
        systems: list[System] = []
        if "first_stage" in self.systems:
            systems += [
                FirstStageSystem(retriever=retriever) for retriever in dict.fromkeys(stage.retriever for stage in self.first_stages)
            ]
        if "teacher" in self.systems and self.teacher is not None:
            systems.append(TeacherSystem(teacher=self.teacher))
        if "untrained" in self.systems:
            systems += [
                UntrainedSystem(architecture=self.architecture, collection=self.collection, seed=seed)
                for seed in untrained_seeds(self.architecture, self.seeds)
            ]
        if "student" in self.systems:
            systems += [StudentSystem(student=student) for student in self.students().values()]
        return [
            EvaluationSpec(system=system, collection=collection, first_stage=stage, measures=self.measures, precision=self.precision)
            for collection in self.test_collections
            if isinstance(collection, Collection)  # not "own", which is looked up before
            for system in systems
            for stage in sorted(self.first_stages, key=lambda stage: stage.kind != "full")  # full first: it encodes what re-ranking needs
            if serves(system, stage)
        ]

    def specs(self) -> list[Spec]:
        """Return what the notebook makes; what is tested on the collection's ``own`` is known once these are."""
        return [*self.evaluations()] if self.test_collections != "own" else super().specs()


class AnalyseParameters(Part):
    """Parameters of what shows one study, 05 and 08; ``base`` is what the study was run on, where it was not its own."""

    study: PathText
    base: Name | None = None


class AdviseParameters(Part):
    """Parameters of ``09_advise``: the studies whose cells are pooled, and on how many training queries features are measured."""

    studies: Annotated[tuple[PathText, ...], Field(min_length=1), Unique]
    base: Name | None = None
    pilot: Count = Field(default=200, ge=10)


class ClaimsParameters(Part):
    """Parameters of ``10_claims``: folders of results by patterns, the studies that are left out, and the smallest effect that matters."""

    results: PathText
    sizes: PathText = "docs/results/scaling_*"
    leave_out: Annotated[tuple[Name, ...], Unique] = ()
    margin: Fraction = 0.01


def untrained_seeds(architecture: Architecture, seeds: tuple[int, ...]) -> tuple[int, ...]:
    """Return the seeds that an untrained student differs by: one is enough for a checkpoint's embeddings, which hold nothing random."""
    return (0,) if isinstance(architecture, BiEncoder) else tuple(seeds)

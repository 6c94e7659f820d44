"""Specs: each names one artefact of the store, by everything that it is made from."""

from __future__ import annotations

import functools
from typing import Annotated, ClassVar, Literal, cast

from pydantic import AfterValidator, Field, model_validator

from rd_utils.data.sources import AsRead
from rd_utils.study.bounds import (
    FASTEST,
    Count,
    Depth,
    Few,
    Fraction,
    MeasureName,
    Measures,
    ModelText,
    Prompt,
    Rate,
    Scale,
    Seed,
    Share,
    Temperature,
    Width,
)
from rd_utils.study.kinds import (
    Architecture,
    BiArchitecture,
    Collection,
    DualArchitecture,
    Encoder,
    IndexedRetriever,
    Named,
    Part,
    Precision,
    Refresh,
    Retriever,
    Spec,
    Strategy,
    System,
    Teacher,
    Tokenizer,
    check_teachers,
)
from rd_utils.study.settings import Augmentation, Training
from rd_utils.training.losses import LOSSES, LossName


def _stays(strategy: Strategy) -> Strategy:
    if strategy.refresh is not None:
        raise ValueError("a refreshed strategy is drawn anew while a student trains; name the one that it starts from")
    return strategy


Unrefreshed = Annotated[Strategy, AfterValidator(_stays)]
FirstOf = Annotated[Strategy, AfterValidator(lambda strategy: strategy.first)]  # groups are those from before the first step


class DocsSpec(Spec):
    """The documents of a collection, shared by all its splits."""

    stage: ClassVar[str] = "docs"
    collection: AsRead


class QueriesSpec(Spec):
    """The queries and qrels of one split."""

    stage: ClassVar[str] = "queries"
    collection: AsRead


class CandidatesSpec(Spec):
    """A retriever's top ``depth`` documents of every query."""

    stage: ClassVar[str] = "candidates"
    collection: AsRead
    retriever: Retriever
    depth: Depth

    @model_validator(mode="after")
    def _oracle_knows_the_collection(self) -> CandidatesSpec:
        check_teachers(self.collection, self.retriever)
        return self


EntropyName = Literal["pairwise_entropy", "positive_entropy", "listwise_entropy"]
CutPart = Literal[
    "lower_half", "upper_half", "quarter_1", "quarter_2", "quarter_3", "quarter_4", "inside_fence", "outside_fence"
]  # see rd_utils.scoring.entropy.cut


class EntropyCut(Part):
    """The training queries whose teacher entropy lies in one part of the distribution over queries; parts of one kind partition them."""

    teacher: Teacher
    entropy: EntropyName = "pairwise_entropy"
    temperature: Temperature = 1.0
    part: CutPart


class GroupsSpec(Spec):
    """Training groups: a query, a positive in column 0 and ``group_size - 1`` negatives.

    ``shortage`` says what happens when a strategy has too few documents: ``drop`` the group, or fill it from the strategy given; both are
    counted. ``draws`` is how often each positive's negatives are drawn: once, or afresh for each of the first ``draws`` epochs.
    ``random_share`` is the share of the negatives that corpus-random documents replace. ``cut`` keeps the groups of a part of the queries.
    """

    stage: ClassVar[str] = "groups"
    collection: AsRead
    strategy: FirstOf
    group_size: Few = Field(default=16, ge=2)
    shortage: Literal["drop"] | FirstOf = "drop"
    draws: Few = 1
    random_share: Share = 0.0
    cut: EntropyCut | None = None
    seed: Seed = 0

    @model_validator(mode="after")
    def _oracle_knows_the_collection(self) -> GroupsSpec:
        check_teachers(self.collection, self.strategy, self.shortage, self.cut)
        return self


class VectorsSpec(Spec):
    """The embeddings of a collection's documents."""

    stage: ClassVar[str] = "vectors"
    collection: AsRead
    encoder: Encoder


class IndexSpec(Spec):
    """What a retriever searches instead of the documents themselves, shared by all splits, strategies and teachers that use it."""

    stage: ClassVar[str] = "index"
    collection: AsRead
    retriever: IndexedRetriever


class NeighboursSpec(Spec):
    """What a retriever finds for the text of every labelled positive, the positive itself left out."""

    stage: ClassVar[str] = "neighbours"
    collection: AsRead
    retriever: Retriever
    depth: Depth

    @model_validator(mode="after")
    def _oracle_knows_the_collection(self) -> NeighboursSpec:
        check_teachers(self.collection, self.retriever)
        return self


class Search(Part):
    """A learning rate chosen on validation queries: for the student's loss and architecture, on one collection, strategy and teacher.

    The student is trained once per rate, with the embeddings' rate ``embedding_ratio`` times it, on groups drawn once, without augmentation
    and at temperature 1; the rate with the highest mean of ``measure`` over the first stages is taken, the lower of two equal ones.
    """

    learning_rates: Annotated[tuple[Rate, ...], Field(min_length=2, max_length=1_000)]
    embedding_ratio: Scale = 1.0
    collection: Collection
    strategy: Unrefreshed
    teacher: Teacher | None = None
    validation: Collection
    first_stages: tuple[FirstStage, ...] = Field(min_length=1)
    measure: MeasureName = "nDCG@10"
    seed: Seed = 0

    @model_validator(mode="after")
    def _rates_can_be_compared(self) -> Search:
        check_rates(self.learning_rates, self.embedding_ratio)
        check_teachers(self.collection, self.strategy, self.teacher)
        check_teachers(self.validation, self.first_stages)
        return self


class StudentSpec(Spec):
    """A trained student.

    ``target_entropy`` solves for the temperature at which the teacher has that mean pairwise entropy on the training groups.
    """

    stage: ClassVar[str] = "student"
    groups: GroupsSpec
    loss: LossName
    teacher: Teacher | None = None
    temperature: Temperature = 1.0
    target_entropy: Fraction | None = None
    augmentation: Augmentation = Augmentation()
    architecture: Architecture
    training: Training
    refresh: Refresh | None = None
    search: Search | None = None
    seed: Seed = 0

    __hash__ = Spec.__hash__  # inherited anyway, but pyright believes that only what it can see is hashable

    @model_validator(mode="after")
    def _loss_and_teacher_agree(self) -> StudentSpec:
        if LOSSES[self.loss].needs_teacher and self.teacher is None:
            raise ValueError(f"the loss {self.loss!r} distils a teacher, but none is given; name a teacher or use loss: lce")
        if not LOSSES[self.loss].needs_teacher and self.teacher is not None:
            raise ValueError(f"the loss {self.loss!r} uses no teacher; set teacher to null, or choose kl, ranknet or margin_mse")
        if not LOSSES[self.loss].uses_temperature and (self.temperature != 1.0 or self.target_entropy is not None):
            raise ValueError(f"the loss {self.loss!r} has no use for a temperature; leave temperature and target_entropy out")
        if self.target_entropy is not None and (self.teacher is None or self.temperature != 1.0):
            raise ValueError("target_entropy solves for the teacher's temperature: give a teacher, and no temperature of your own")
        if self.teacher is None and (self.augmentation.changes_scores or self.augmentation.hard_weight):
            raise ValueError("noise, top_k, ranks and hard_weight change a teacher's scores or weight, but this loss uses no teacher")
        apart = isinstance(self.architecture, DualArchitecture)
        if self.training.in_batch_negatives:
            if not apart:
                raise ValueError("in_batch_negatives is not for a cross-encoder, which would score every query with every document")
            if self.loss != "lce" and not self.augmentation.hard_weight:
                raise ValueError(
                    f"in_batch_negatives has no teacher scores for the loss {self.loss!r}; use loss: lce, or give LCE a hard_weight"
                )
        if self.refresh is not None and not isinstance(self.architecture, BiArchitecture):
            raise ValueError("refresh draws from what the student retrieves, which needs a bi-encoder")
        if self.refresh is not None and self.groups.draws > 1:
            raise ValueError("refresh draws the groups anew itself; leave draws at 1")
        check_teachers(self.groups.collection, self.teacher)
        return self


class SearchSpec(Spec):
    """The choice of a learning rate among ``candidates``, students that differ in nothing else, on validation queries."""

    stage: ClassVar[str] = "search"
    candidates: tuple[StudentSpec, ...] = Field(min_length=2)
    collection: Collection
    first_stages: tuple[FirstStage, ...] = Field(min_length=1)
    measure: MeasureName

    @model_validator(mode="after")
    def _can_be_compared(self) -> SearchSpec:
        if not isinstance(self.candidates[0].architecture, DualArchitecture) and all(stage.kind == "full" for stage in self.first_stages):
            raise ValueError("search.first_stages: a cross-encoder serves no full retrieval; add a stage of kind rerank")
        return self


class DescriptionSpec(Spec):
    """What training groups are like, before and after augmentation: diameter, entropies, density ratio.

    Distances are of the embeddings of ``reference``; entropies are of ``teacher`` where one is given.
    """

    stage: ClassVar[str] = "description"
    groups: GroupsSpec
    teacher: Teacher | None = None
    temperature: Temperature = 1.0
    target_entropy: Fraction | None = None
    augmentation: Augmentation = Augmentation()
    reference: Encoder
    seed: Seed = 0

    @model_validator(mode="after")
    def _oracle_knows_the_collection(self) -> DescriptionSpec:
        check_teachers(self.groups.collection, self.teacher)
        return self


class Probe(Part):
    """What a student's behaviour is measured on: groups of so many training queries, the same for all strategies, and so many documents."""

    queries: Count = Field(default=200, ge=2)
    docs: Count = Field(default=1000, ge=50)
    seed: Seed = 0


class BehaviourSpec(Spec):
    """What a student is like before and after training: its own space, if it has one, and its scores beside those of ``teacher``."""

    stage: ClassVar[str] = "behaviour"
    student: StudentSpec
    teacher: Teacher | None = None
    probe: Probe = Probe()

    @model_validator(mode="after")
    def _oracle_knows_the_collection(self) -> BehaviourSpec:
        check_teachers(self.student.groups.collection, self.teacher)
        return self


class ScoresSpec(Spec):
    """A teacher's scores of every document of every group."""

    stage: ClassVar[str] = "scores"
    groups: GroupsSpec
    teacher: Teacher

    @model_validator(mode="after")
    def _oracle_knows_the_collection(self) -> ScoresSpec:
        check_teachers(self.groups.collection, self.teacher)
        return self


class PairsSpec(Spec):
    """A teacher's scores of pairs of a collection's queries and documents: all that were ever asked for (see ``scoring.pairs``)."""

    stage: ClassVar[str] = "pairs"
    teacher: Teacher
    collection: AsRead


class FirstStage(Part):
    """What a system ranks: a retriever's top ``depth`` (re-ranking), or with ``full`` the whole collection."""

    kind: Literal["rerank", "full"] = "rerank"
    retriever: Retriever = Field(default_factory=lambda: cast("Retriever", Retriever.kinds["bm25"]()))
    depth: Depth = 100

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return "full" if self.kind == "full" else f"{self.retriever.label}@{self.depth}"


class EvaluationSpec(Spec):
    """One system's run on one test collection and its measures per query."""

    stage: ClassVar[str] = "evaluation"
    system: System
    collection: Collection
    first_stage: FirstStage
    measures: Measures = ("nDCG@10", "AP", "RR@10", "R@100")
    precision: Precision = "fp32"

    @model_validator(mode="after")
    def _possible(self) -> EvaluationSpec:
        check_teachers(self.collection, self.first_stage, self.system)
        if (
            self.first_stage.kind == "full"
            and self.system.kind != "first_stage"
            and not isinstance(self.system.underlying, DualArchitecture)
        ):
            raise ValueError("full retrieval needs a bi-encoder or a retriever; use first_stage kind 'rerank' for others")
        return self


class TokensSpec(Spec):
    """Documents or queries as one flat array of token ids with offsets."""

    stage: ClassVar[str] = "tokens"
    of: Literal["docs", "queries"]
    collection: AsRead
    tokenizer: Tokenizer


class LexiconSpec(Spec):
    """Word-level tokenizer and token vectors of a collection's documents, from which students from scratch start."""

    stage: ClassVar[str] = "lexicon"
    docs: DocsSpec
    dimension: Width = Field(ge=2)
    weights: Literal["equal", "idf"] = Field(default="equal", exclude_if=lambda value: value == "equal")
    encoder: ModelText | None = Field(default=None, exclude_if=lambda value: value is None)

    @property
    def outside(self) -> tuple[Named, ...]:
        """Return the encoder."""
        return () if self.encoder is None else (Named("model", self.encoder),)


class ModelTokenizer(Tokenizer):
    """The tokenizer of a checkpoint, and what the model that reads its tokens puts before queries and documents."""

    kind: Literal["model"] = "model"
    model: ModelText
    query_prompt: Prompt = Field(default="", exclude_if=lambda value: not value)
    document_prompt: Prompt = Field(default="", exclude_if=lambda value: not value)

    @property
    def outside(self) -> tuple[Named, ...]:
        """Return the model."""
        return (Named("model", self.model),)


class LexiconTokenizer(Tokenizer):
    """The tokenizer of a lexicon."""

    kind: Literal["lexicon"] = "lexicon"
    lexicon: LexiconSpec


@functools.cache
def search_spec(student: StudentSpec) -> SearchSpec | None:
    """Return the artefact that chooses a student's learning rate; None where it has one of its own."""
    search = student.search
    if search is None:
        return None
    groups = GroupsSpec(
        collection=search.collection,
        strategy=search.strategy,
        group_size=student.groups.group_size,
        shortage=student.groups.shortage,
        seed=search.seed,
    )
    distils = LOSSES[student.loss].needs_teacher
    in_batch = student.training.in_batch_negatives and not distils  # a distilled loss needs a hard_weight for them
    plain = student.training.model_copy(update={"in_batch_negatives": in_batch})
    candidates = tuple(
        StudentSpec(
            groups=groups,
            loss=student.loss,
            teacher=search.teacher if distils else None,
            architecture=student.architecture,
            training=with_rate(plain, rate, search.embedding_ratio),
            seed=search.seed,
        )
        for rate in sorted(set(search.learning_rates))
    )
    return SearchSpec(candidates=candidates, collection=search.validation, first_stages=search.first_stages, measure=search.measure)


def check_rates(rates: tuple[float, ...], embedding_ratio: float) -> None:
    """Raise a ValueError unless a search has two rates or more, and those of the embeddings are learning rates too."""
    if len(set(rates)) < 2:
        raise ValueError(f"learning_rates is {list(rates)}, one rate only; give two or more to choose from")
    for rate in rates:
        if not 0 < float(f"{rate * embedding_ratio:.6g}") <= FASTEST:
            raise ValueError(
                f"embedding_ratio is {embedding_ratio:g}, which makes a learning rate of {rate * embedding_ratio:g} of {rate:g}; expected "
                f"one above 0 and at most {FASTEST}"
            )


def with_rate(training: Training, rate: float, embedding_ratio: float) -> Training:
    """Return ``training`` at another learning rate, the embeddings' in the given ratio to it."""
    return training.model_copy(update={"learning_rate": rate, "embedding_learning_rate": float(f"{rate * embedding_ratio:.6g}")})

"""Typed parameters: what a notebook's parameter cell may say, and what names an artefact.

Every class refuses unknown keys; :func:`explain` turns pydantic's errors into one line per offender with the nearest valid name.
The *parts* (collection, retriever, strategy, teacher, architecture, training) are values; the *specs* name one artefact each and are
built from parts (see :mod:`rd_utils.pipeline` for how each is made). What a study may say is in :mod:`rd_utils.studies`.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from rd_utils.bounds import (
    FASTEST,
    BelowOne,
    Count,
    DatasetId,
    Depth,
    Few,
    Flag,
    Fraction,
    Length,
    MeasureName,
    Measures,
    ModelText,
    Name,
    PathText,
    Position,
    Prompt,
    Rate,
    Scale,
    Seed,
    Seeds,
    Share,
    Spread,
    Temperature,
    Unique,
    Width,
    shown,
)


class Part(BaseModel):
    """Base of all parameter classes: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


Precision = Literal["fp32", "bf16", "fp16"]


class ParameterError(ValueError):
    """Parameters that cannot be run; the message names the offender and the remedy."""


def _limit(max_queries: int | None, skip_queries: int = 0) -> str:
    if max_queries is None and not skip_queries:
        return ""
    end = "" if max_queries is None else str(skip_queries + max_queries)
    return f"[{skip_queries or ''}:{end}]"


# --- collections ------------------------------------------------------------------------------------------------------------------


class RandomSplit(Part):
    """One of three parts into which a collection's queries fall at random, by ``shares`` of train, validation and test and a ``seed``.

    Collections that differ in ``part`` alone have no query in common, nor one text under two ids, and together have all queries with a
    qrel (see :func:`rd_utils.collections.random_part`).
    """

    part: Literal["train", "validation", "test"]
    shares: tuple[Share, Share, Share] = (0.8, 0.1, 0.1)
    seed: Seed = 0

    @model_validator(mode="after")
    def _shares_are_of_a_whole(self) -> RandomSplit:
        if abs(sum(self.shares) - 1) > 1e-9:
            raise ValueError(f"shares {list(self.shares)} sum to {sum(self.shares):g}; expected those of train, validation and test, sum 1")
        if not self.share:
            raise ValueError(f"the share of the part {self.part!r} is 0 in {list(self.shares)}, so it has no query; give it a share")
        return self

    @property
    def share(self) -> float:
        """Return the share of this part."""
        return self.shares[SPLIT_PARTS.index(self.part)]

    @property
    def label(self) -> str:
        """Return what tables add to the collection's name."""
        return f"/random-{self.part}-{'-'.join(f'{share:g}' for share in self.shares)}-{self.seed}"


SPLIT_PARTS = ("train", "validation", "test")  # in the order of shares
SharedQueries = Literal["refuse", "allow"]


class _Queries(Part):
    """What every collection may say of its queries.

    ``random_split`` keeps a random part of them; ``skip_queries`` and ``max_queries`` then count within that part. ``shared_queries``
    belongs to a test or validation collection: whether some of its queries may be training queries too (see :mod:`rd_utils.leakage`).
    """

    random_split: RandomSplit | None = Field(default=None, exclude_if=lambda value: value is None)
    shared_queries: SharedQueries = Field(default="refuse", exclude_if=lambda value: value == "refuse")

    @property
    def _part(self) -> str:
        return self.random_split.label if self.random_split else ""


class EmbeddedCollection(_Queries):
    """The synthetic collection that the package generates (see :mod:`rd_utils.synthetic`)."""

    source: Literal["embedded"] = "embedded"
    profile: Literal["smallest", "default"] = "smallest"
    world: Literal["additive", "compositional"] = "additive"
    seed: Seed = 13
    split: Literal["train", "validation", "test"] = "train"
    max_queries: Count | None = None

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return f"embedded-{self.profile}-{self.world}-{self.seed}/{self.split}{self._part}{_limit(self.max_queries)}"


class IrDatasetsCollection(_Queries):
    """A collection known to ir_datasets, by its id.

    ``max_queries`` keeps the first ones by sorted query_id, after the ``skip_queries`` first ones, so that one split can be cut into
    training and validation queries.
    """

    source: Literal["ir_datasets"] = "ir_datasets"
    id: DatasetId
    skip_queries: Position = 0
    max_queries: Count | None = None

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return f"{self.id}{self._part}{_limit(self.max_queries, self.skip_queries)}"


class FolderCollection(_Queries):
    """A local folder in BEIR layout: corpus.jsonl, queries.jsonl, qrels/<split>.tsv."""

    source: Literal["folder"] = "folder"
    path: PathText
    split: Name = "train"
    skip_queries: Position = 0
    max_queries: Count | None = None

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return f"{Path(self.path).name}/{self.split}{self._part}{_limit(self.max_queries, self.skip_queries)}"


Documents = Annotated[Union[EmbeddedCollection, IrDatasetsCollection, FolderCollection], Field(discriminator="source")]


class PseudoQueries(_Queries):
    """The documents of another collection with queries drawn from them, so that a collection without training queries can be trained on.

    Each query is ``words`` words of one document, which is its only positive (see :func:`rd_utils.augmentation.pseudo_queries`).
    """

    source: Literal["pseudo_queries"] = "pseudo_queries"
    documents: Documents
    queries: Count = 1000
    words: tuple[Few, Few] = (3, 8)
    weighting: Literal["idf", "uniform"] = "idf"
    seed: Seed = 0

    @model_validator(mode="after")
    def _words_ordered(self) -> PseudoQueries:
        if self.words[0] > self.words[1]:
            raise ValueError(f"words is {list(self.words)}; expected the least, then the most words of a query")
        return self

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return f"{self.documents.label}/pseudo-{self.queries}-{self.seed}{self._part}"


Collection = Annotated[Union[EmbeddedCollection, IrDatasetsCollection, FolderCollection, PseudoQueries], Field(discriminator="source")]


def _as_read(collection: Any) -> Any:
    return collection if collection.shared_queries == "refuse" else collection.model_copy(update={"shared_queries": "refuse"})


AsRead = Annotated[Collection, AfterValidator(_as_read)]  # what is read of a collection does not depend on what may be shared with it


# --- retrievers and strategies ----------------------------------------------------------------------------------------------------


STEMMERS = (  # the algorithms of PyStemmer; porter is English too, as of 1980, and dutch_porter the older one for Dutch
    "arabic", "armenian", "basque", "catalan", "czech", "danish", "dutch", "dutch_porter", "english", "esperanto", "estonian", "finnish",
    "french", "german", "greek", "hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian", "persian",
    "polish", "porter", "portuguese", "romanian", "russian", "serbian", "sesotho", "spanish", "swedish", "tamil", "turkish", "yiddish",
)  # fmt: skip
STOPWORDS = (  # the languages of bm25s and stopwordsiso
    "afrikaans", "arabic", "armenian", "basque", "bengali", "breton", "bulgarian", "catalan", "chinese", "croatian", "czech", "danish",
    "dutch", "english", "esperanto", "estonian", "finnish", "french", "galician", "german", "greek", "gujarati", "hebrew", "hindi",
    "hungarian", "indonesian", "irish", "italian", "japanese", "korean", "kurdish", "latin", "latvian", "lithuanian", "malay", "marathi",
    "norwegian", "persian", "polish", "portuguese", "romanian", "russian", "sesotho", "slovak", "slovenian", "somali", "spanish",
    "swahili", "swedish", "tagalog", "thai", "turkish", "ukrainian", "urdu", "vietnamese", "yoruba", "zulu",
)  # fmt: skip


class BM25(Part):
    """BM25 by bm25s; ``form`` is its idf, as :mod:`rd_utils.retrieval` writes them out.

    ``words``, ``stemmer`` and ``stopwords`` are its analysis, the way from a text to what is counted (see :mod:`rd_utils.words`): words
    between spaces or pairs of characters, a Snowball algorithm, and a language's stop words.
    """

    kind: Literal["bm25"] = "bm25"
    k1: Scale = 1.2
    b: Share = 0.75
    form: Literal["lucene", "robertson"] = "lucene"
    words: Literal["words", "character_pairs"] = Field(default="words", exclude_if=lambda value: value == "words")
    stemmer: Literal[*STEMMERS, "none"] = "english"
    stopwords: Literal[*STOPWORDS, "none"] = "english"

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return "bm25"


class Flat(Part):
    """Every document's inner product with the query: exact."""

    kind: Literal["flat"] = "flat"


class _InvertedFile(Part):
    """Base of the indexes that look only into the ``nprobe`` of ``nlist`` cells that are nearest to a query.

    Cells are trained on ``sample`` documents; ``refine`` times the depth is found and scored again with the embeddings.
    """

    nlist: Depth = 4096
    nprobe: Depth = 64
    sample: Count = 200_000
    refine: Few = 4

    @model_validator(mode="after")
    def _probes_are_cells(self) -> _InvertedFile:
        if self.nprobe > self.nlist:
            raise ValueError(f"nprobe is {self.nprobe}, above nlist {self.nlist}; no more cells than there are can be looked into")
        return self


class IVFPQ(_InvertedFile):
    """An inverted file of vectors that are cut into ``m`` parts of a byte each (product quantisation)."""

    kind: Literal["ivf_pq"] = "ivf_pq"
    m: Few = 48


class IVFOnDisk(_InvertedFile):
    """An inverted file of the vectors themselves."""

    kind: Literal["ivf_on_disk"] = "ivf_on_disk"


DenseIndex = Annotated[Union[Flat, IVFPQ, IVFOnDisk], Field(discriminator="kind")]


class Dense(Part):
    """Search by a bi-encoder's embeddings (faiss, inner product): a checkpoint, or a student that the suite trained."""

    kind: Literal["dense"] = "dense"
    encoder: Encoder
    index: DenseIndex = Flat()

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return "dense"


class Reranked(Part):
    """A retriever's top ``from_depth`` re-ranked by a teacher."""

    kind: Literal["reranked"] = "reranked"
    retriever: Retriever
    from_depth: Depth = 200
    teacher: Teacher

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return f"reranked {self.retriever.label}"


class Pooled(Part):
    """The union of several retrievers, at most ``at_most`` documents from each, ordered by the best rank that any of them gave."""

    kind: Literal["pooled"] = "pooled"
    retrievers: Annotated[tuple[Retriever, ...], Field(min_length=2, max_length=1_000)]
    at_most: Depth = 10

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return "pooled"


class RunFile(Part):
    """A run made elsewhere, in TREC format: ``query_id Q0 doc_id rank score tag``; ``name`` is what tables call it."""

    kind: Literal["run_file"] = "run_file"
    path: PathText
    name: Name

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return self.name


def bm25_of(retriever: Any) -> BM25 | None:
    """Return the BM25 that a retriever is, re-ranks or pools, the first where it pools several; None where it has none."""
    if isinstance(retriever, BM25):
        return retriever
    inner = retriever.retrievers if isinstance(retriever, Pooled) else (retriever.retriever,) if isinstance(retriever, Reranked) else ()
    return next((found for part in inner if (found := bm25_of(part))), None)


Retriever = Annotated[Union[BM25, Dense, Reranked, Pooled, RunFile], Field(discriminator="kind")]
Draw = Literal["uniform", "top", "softmax"]


class Filtering(Part):
    """The rule of a :class:`FalseNegativeFilter`, whoever its teacher is."""

    rule: Literal["absolute_margin", "relative_margin", "share"] = "absolute_margin"
    value: Spread
    units: Literal["raw", "sigmoid", "exp"] = "raw"

    @model_validator(mode="after")
    def _something_is_kept(self) -> Filtering:
        if self.rule == "share" and self.value > 1:
            raise ValueError(f"value is {self.value:g}; expected a share of the positive's score, at most 1")
        if self.rule != "share" and self.units != "raw" and self.value >= 1:
            raise ValueError(f"value is {self.value:g}; in units of {self.units} scores are probabilities, so expected a margin below 1")
        return self


class FalseNegativeFilter(Filtering):
    """Drops candidates that a teacher finds likely relevant, measured against the query's lowest-scored positive.

    With p the positive's score and d the candidate's, both in ``units``, a candidate is dropped where

    - ``absolute_margin``: d > p - value;
    - ``relative_margin``: d > p - value * abs(p);
    - ``share``: d > value * p, which needs units in which scores are positive.

    ``raw`` takes the teacher's scores as they are, ``sigmoid`` maps log-odds and ``exp`` log-probabilities to probabilities.
    """

    teacher: Teacher


class CorpusRandom(Part):
    """Negatives drawn uniformly from the whole collection."""

    kind: Literal["corpus_random"] = "corpus_random"


class FromCandidates(Part):
    """Negatives drawn from the ranks ``from_rank`` to ``depth`` of a retriever's top ``depth``.

    Known positives are taken out before ranks are counted, so a query draws from as many documents fewer as it has positives in the list.

    ``draw``: ``top`` takes the best, ``uniform`` draws without replacement, ``softmax`` draws without replacement with inclusion
    probabilities proportional to softmax(score / draw_temperature), capped at 1.
    """

    kind: Literal["candidates"] = "candidates"
    retriever: Retriever = BM25()
    from_rank: Depth = 1
    depth: Depth = 200
    draw: Draw = "uniform"
    draw_temperature: Temperature = 1.0
    filter: FalseNegativeFilter | None = None

    @model_validator(mode="after")
    def _window_is_open(self) -> FromCandidates:
        _check_window(self.from_rank, self.depth)
        return self


class Graph(Part):
    """Negatives drawn from the neighbours of the positive document: what a retriever finds for the positive's own text."""

    kind: Literal["graph"] = "graph"
    retriever: Retriever = BM25()
    from_rank: Depth = 1
    depth: Depth = 100
    draw: Draw = "uniform"
    draw_temperature: Temperature = 1.0

    @model_validator(mode="after")
    def _window_is_open(self) -> Graph:
        _check_window(self.from_rank, self.depth)
        return self


class DiameterTargeted(Part):
    """Groups whose diameter in a reference encoder lies at a chosen quantile of those that the same candidates allow.

    For every group ``trials`` trial groups are drawn from the candidates, from a narrow neighbourhood up to all of them, and the one whose
    diameter ranks nearest to ``quantile`` is taken: 0 the most compact, 1 the widest.
    """

    kind: Literal["diameter_targeted"] = "diameter_targeted"
    retriever: Retriever = BM25()
    from_rank: Depth = 1
    depth: Depth = 200
    quantile: Share
    trials: Few = Field(default=64, ge=2)
    reference: Encoder

    @model_validator(mode="after")
    def _window_is_open(self) -> DiameterTargeted:
        _check_window(self.from_rank, self.depth)
        return self


def _check_window(from_rank: int, depth: int) -> None:
    if from_rank > depth:
        raise ValueError(f"from_rank is {from_rank}, below depth {depth}; ranks from_rank to depth are drawn from")


Strategy = Annotated[Union[CorpusRandom, FromCandidates, Graph, DiameterTargeted], Field(discriminator="kind")]


# --- architectures ----------------------------------------------------------------------------------------------------------------


class StaticBi(Part):
    """Bi-encoder from scratch: the mean of token vectors, dot product times ``scale``."""

    kind: Literal["static_bi"] = "static_bi"
    dimension: Width = Field(default=64, ge=2)
    scale: Scale = 4.0
    initial_norm: Scale = 2.0


class InteractionCross(Part):
    """Cross-encoder from scratch: K-NRM, kernel-pooled cosine similarities of token vectors and a small feed-forward scorer."""

    kind: Literal["interaction_cross"] = "interaction_cross"
    dimension: Width = Field(default=64, ge=2)
    kernels: Few = Field(default=11, ge=2)
    hidden: Width = 16


class TinyBertBi(Part):
    """Bi-encoder from scratch: a tiny BERT over the embedded token vectors, mean pooling, dot product times ``scale``."""

    kind: Literal["tiny_bert_bi"] = "tiny_bert_bi"
    dimension: Width = Field(default=64, ge=8)
    layers: Few = 1
    heads: Few = 4
    feed_forward: Width = 128
    scale: Scale = 1.0
    initial_norm: Scale = 4.0

    @model_validator(mode="after")
    def _heads_divide(self) -> TinyBertBi:
        if self.dimension % self.heads:
            raise ValueError(f"{self.heads} heads do not divide the dimension {self.dimension}; choose a divisor")
        return self


class TinyBertCross(Part):
    """Cross-encoder from scratch: a tiny BERT whose first attention layer starts as a soft matching of the two segments."""

    kind: Literal["tiny_bert_cross"] = "tiny_bert_cross"
    dimension: Width = Field(default=64, ge=8)
    layers: Few = 2
    feed_forward: Width = 64
    initial_norm: Scale = 4.0


class BiEncoder(Part):
    """Bi-encoder from a Hugging Face or sentence-transformers checkpoint; query and document share the weights.

    ``model`` is a hub name, a folder, or ``package:NAME/FOLDER`` (a folder inside an installed Python package). Texts are cut at
    ``max_length`` or ``max_query_length`` tokens, or at the checkpoint's own limit where it is lower.
    """

    kind: Literal["bi_encoder"] = "bi_encoder"
    model: ModelText
    pooling: Literal["checkpoint", "cls", "mean"] = "checkpoint"
    similarity: Literal["dot", "cosine"] = "dot"
    scale: Scale = 1.0
    max_length: Length = Field(default=256, ge=8)
    max_query_length: Length = 64


class CrossEncoder(Part):
    """Cross-encoder from a Hugging Face checkpoint; a missing classification head is drawn from the seed.

    A pair of more than ``max_length`` tokens is cut as ``CrossEncoder.predict`` cuts it, the longer text first; ``max_query_length`` has no
    effect, because a saved cross-encoder has no limit of the query alone. ``labels=2`` scores with the log-softmax of the relevant class,
    as the published students do (so at most 0).
    """

    kind: Literal["cross_encoder"] = "cross_encoder"
    model: ModelText
    labels: Literal[1, 2] = 1
    max_length: Length = Field(default=256, ge=8)
    max_query_length: Length = 64


Architecture = Annotated[Union[StaticBi, InteractionCross, TinyBertBi, TinyBertCross, BiEncoder, CrossEncoder], Field(discriminator="kind")]
BI_ENCODERS = (StaticBi, TinyBertBi, BiEncoder)
FROM_SCRATCH = (StaticBi, InteractionCross, TinyBertBi, TinyBertCross)


# --- training and evaluation ------------------------------------------------------------------------------------------------------


class Training(Part):
    """The budget, in documents seen (accumulation included), and the optimiser.

    One optimiser step sees ``queries_per_batch * accumulation_steps`` groups; the number of steps follows from the budget. ``schedule`` is
    what follows the linear warm-up. ``stop_at`` ends training early, in documents seen, with the learning rate where the whole budget would
    have it: an early checkpoint of the same run. ``in_batch_negatives`` adds the documents of the batch's other groups to the contrastive
    loss (bi-encoders only).

    ``processes`` train the student together on one machine, one a GPU (without GPUs, sharing its cores); see :mod:`rd_utils.launch`. A step
    is the same step whatever their number: ``queries_per_batch`` is the whole batch's, which they share, so that neither the batch nor the
    learning rate is to be scaled. The documents and their order are the same, but sums round otherwise and dropout draws other masks, so
    the number is part of what a student is.
    """

    documents: Count
    stop_at: Count | None = None
    queries_per_batch: Depth = 8
    accumulation_steps: Depth = 1
    in_batch_negatives: Flag = False
    learning_rate: Rate = 1e-5
    embedding_learning_rate: Rate | None = None
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    weight_decay: BelowOne = 0.01
    warmup_share: Share = 0.1
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    max_gradient_norm: Scale | None = 1.0
    precision: Precision = "fp32"
    checkpoint_every: Count | None = None
    processes: Few = 1

    @model_validator(mode="after")
    def _processes_can_share_a_batch(self) -> Training:
        if self.processes > self.queries_per_batch:
            raise ValueError(
                f"processes is {self.processes}, but queries_per_batch, which they share, is {self.queries_per_batch}; lower processes, or "
                "raise queries_per_batch and lower accumulation_steps by as much"
            )
        if self.processes > 1 and self.in_batch_negatives:
            raise ValueError(
                f"in_batch_negatives needs a batch's groups in one process, but processes is {self.processes}; leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _stops_before_the_end(self) -> Training:
        if self.stop_at is not None and self.stop_at >= self.documents:
            raise ValueError(f"stop_at is {self.stop_at}, not below the {self.documents} documents of the budget; leave it out")
        return self

    def steps(self, group_size: int) -> int:
        """Return the number of optimiser steps that see at least ``documents`` documents.

        >>> Training(documents=24_000_000, queries_per_batch=8, accumulation_steps=2).steps(group_size=16)
        93750
        """
        per_step = self.queries_per_batch * self.accumulation_steps * group_size
        return -(-self.documents // per_step)


LossName = Literal["lce", "ranknet", "ranknet_thresholded", "margin_mse", "margin_mse_all_pairs", "kl", "listnet", "lambda_loss"]
NEEDS_TEACHER: dict[str, bool] = {name: name != "lce" for name in get_args(LossName)}
USES_TEMPERATURE: dict[str, bool] = {name: name not in ("lce", "ranknet_thresholded") for name in get_args(LossName)}


class Augmentation(Part):
    """What training changes in its inputs and targets; the default changes nothing (see :mod:`rd_utils.augmentation`).

    Inputs, drawn afresh every epoch: ``query_dropout`` and ``query_replacement`` are the probabilities that a query's word is left out or
    replaced by one of its ``neighbours`` nearest words; ``document_span`` is the share of a document that a random span keeps. Targets:
    ``noise`` is the SD of what is added to each teacher score, once per group and document; ``top_k`` levels the scores below the
    teacher's k best of the group; ``ranks`` replaces scores by ``1 - rank``; ``smoothing`` moves that share of the target's mass to the
    uniform distribution; ``hard_weight`` is the weight of LCE beside the distillation loss.
    """

    query_dropout: BelowOne = 0.0
    query_replacement: BelowOne = 0.0
    neighbours: Few = 5
    document_span: Share = Field(default=1.0, gt=0)
    noise: Spread = 0.0
    top_k: Few | None = None
    ranks: Flag = False
    smoothing: BelowOne = 0.0
    hard_weight: BelowOne = 0.0

    @property
    def changes_texts(self) -> bool:
        """Tell whether training reads other texts than the collection's."""
        return bool(self.query_dropout or self.query_replacement or self.document_span < 1)

    @property
    def changes_scores(self) -> bool:
        """Tell whether training sees other scores than the teacher's."""
        return bool(self.noise or self.top_k or self.ranks)


# --- teachers ---------------------------------------------------------------------------------------------------------------------


class Oracle(Part):
    """The embedded collection's Bayes-optimal teacher: log(max(E, floor)), E the expected grade given both texts.

    Below the floor a document counts as irrelevant without degrees. Without it (1e-30) the scores of documents that share nothing with
    the query spread over tens of units, which margins and pairwise entropies are then made of. ``noise`` is the SD of a normal deviate that
    is added to every pair's score, fixed per pair and ``noise_seed``.
    """

    kind: Literal["oracle"] = "oracle"
    floor: Fraction = Field(default=1e-4, ge=1e-30)
    noise: Spread = 0.0
    noise_seed: Seed = 0


class LoadedTeacher(Part):
    """A cross-encoder loaded by name, folder or ``package:NAME/FOLDER``; its raw output is the score.

    Pairs are cut as :class:`CrossEncoder` says.
    """

    kind: Literal["loaded"] = "loaded"
    model: ModelText
    max_length: Length = Field(default=256, ge=8)
    max_query_length: Length = 64
    precision: Precision = "fp32"


class TrainedTeacher(Part):
    """A student of the suite as a teacher: a cross-encoder or bi-encoder trained on its own groups (``stop_at`` makes a weaker one)."""

    kind: Literal["trained"] = "trained"
    student: StudentSpec


class EncoderTeacher(Part):
    """A bi-encoder as a teacher: the scaled dot product of its embeddings."""

    kind: Literal["encoder"] = "encoder"
    encoder: Encoder
    precision: Precision = "fp32"


class FileTeacher(Part):
    """Scores made elsewhere: a Parquet file with query_id, doc_id, score, or a TREC run; a pair that it lacks is an error."""

    kind: Literal["file"] = "file"
    path: PathText


class BM25Teacher(Part):
    """BM25 as a teacher: its score of every pair, 0 where query and document share no word."""

    kind: Literal["bm25"] = "bm25"
    retriever: BM25 = BM25()


class EnsembleTeacher(Part):
    """The mean of several teachers, each standardised to mean 0 and SD 1 over the groups of ``calibration``."""

    kind: Literal["ensemble"] = "ensemble"
    members: Annotated[tuple[Teacher, ...], Field(min_length=2, max_length=1_000)]
    calibration: GroupsSpec

    @model_validator(mode="after")
    def _members_differ(self) -> EnsembleTeacher:
        if len(set(self.members)) != len(self.members):
            raise ValueError("an ensemble names the same teacher twice; give each member once")
        _check_oracle(self.calibration.collection, self.members)
        return self


Teacher = Annotated[
    Union[Oracle, LoadedTeacher, TrainedTeacher, EncoderTeacher, BM25Teacher, FileTeacher, EnsembleTeacher],
    Field(discriminator="kind"),
]


# --- specs: one artefact each -----------------------------------------------------------------------------------------------------


class Spec(Part):
    """Base of the classes that name one artefact."""

    stage: ClassVar[str]


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
        _check_oracle(self.collection, self.retriever)
        return self


EntropyName = Literal["pairwise_entropy", "positive_entropy", "listwise_entropy"]
CutPart = Literal[
    "lower_half", "upper_half", "quarter_1", "quarter_2", "quarter_3", "quarter_4", "inside_fence", "outside_fence"
]  # see rd_utils.entropy.cut


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
    strategy: Strategy
    group_size: Few = Field(default=16, ge=2)
    shortage: Literal["drop"] | Strategy = "drop"
    draws: Few = 1
    random_share: Share = 0.0
    cut: EntropyCut | None = None
    seed: Seed = 0

    @model_validator(mode="after")
    def _oracle_knows_the_collection(self) -> GroupsSpec:
        _check_oracle(self.collection, self.strategy, self.shortage, self.cut)
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
    retriever: BM25 | Dense = Field(discriminator="kind")


class NeighboursSpec(Spec):
    """What a retriever finds for the text of every labelled positive, the positive itself left out."""

    stage: ClassVar[str] = "neighbours"
    collection: AsRead
    retriever: Retriever
    depth: Depth

    @model_validator(mode="after")
    def _oracle_knows_the_collection(self) -> NeighboursSpec:
        _check_oracle(self.collection, self.retriever)
        return self


class Refresh(Part):
    """Negatives drawn anew every ``every`` steps from what the student itself ranks highest."""

    every: Count
    from_rank: Depth = 1
    depth: Depth = 100
    draw: Draw = "uniform"
    draw_temperature: Temperature = 1.0


class Search(Part):
    """A learning rate chosen on validation queries: for the student's loss and architecture, on one collection, strategy and teacher.

    The student is trained once per rate, with the embeddings' rate ``embedding_ratio`` times it, on groups drawn once, without augmentation
    and at temperature 1; the rate with the highest mean of ``measure`` over the first stages is taken, the lower of two equal ones.
    """

    learning_rates: Annotated[tuple[Rate, ...], Field(min_length=2, max_length=1_000)]
    embedding_ratio: Scale = 1.0
    collection: Collection
    strategy: Strategy
    teacher: Teacher | None = None
    validation: Collection
    first_stages: tuple[FirstStage, ...] = Field(min_length=1)
    measure: MeasureName = "nDCG@10"
    seed: Seed = 0

    @model_validator(mode="after")
    def _rates_can_be_compared(self) -> Search:
        check_rates(self.learning_rates, self.embedding_ratio)
        _check_oracle(self.collection, self.strategy, self.teacher)
        _check_oracle(self.validation, self.first_stages)
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

    @model_validator(mode="after")
    def _loss_and_teacher_agree(self) -> StudentSpec:
        if NEEDS_TEACHER[self.loss] and self.teacher is None:
            raise ValueError(f"the loss {self.loss!r} distils a teacher, but none is given; name a teacher or use loss: lce")
        if not NEEDS_TEACHER[self.loss] and self.teacher is not None:
            raise ValueError(f"the loss {self.loss!r} uses no teacher; set teacher to null, or choose kl, ranknet or margin_mse")
        if not USES_TEMPERATURE[self.loss] and (self.temperature != 1.0 or self.target_entropy is not None):
            raise ValueError(f"the loss {self.loss!r} has no use for a temperature; leave temperature and target_entropy out")
        if self.target_entropy is not None and (self.teacher is None or self.temperature != 1.0):
            raise ValueError("target_entropy solves for the teacher's temperature: give a teacher, and no temperature of your own")
        if self.teacher is None and (self.augmentation.changes_scores or self.augmentation.hard_weight):
            raise ValueError("noise, top_k, ranks and hard_weight change a teacher's scores or weight, but this loss uses no teacher")
        bi_encoder = isinstance(self.architecture, BI_ENCODERS)
        if self.training.in_batch_negatives:
            if not bi_encoder:
                raise ValueError("in_batch_negatives needs a bi-encoder: a cross-encoder would score every query with every document")
            if self.loss != "lce" and not self.augmentation.hard_weight:
                raise ValueError(
                    f"in_batch_negatives has no teacher scores for the loss {self.loss!r}; use loss: lce, or give LCE a hard_weight"
                )
        if self.refresh is not None and not bi_encoder:
            raise ValueError("refresh draws from what the student retrieves, which needs a bi-encoder")
        if self.refresh is not None and self.groups.draws > 1:
            raise ValueError("refresh draws the groups anew itself; leave draws at 1")
        _check_oracle(self.groups.collection, self.teacher)
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
        if not any(serves(StudentSystem(student=self.candidates[0]), stage) for stage in self.first_stages):
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
        _check_oracle(self.groups.collection, self.teacher)
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
        _check_oracle(self.student.groups.collection, self.teacher)
        return self


class ScoresSpec(Spec):
    """A teacher's scores of every document of every group."""

    stage: ClassVar[str] = "scores"
    groups: GroupsSpec
    teacher: Teacher

    @model_validator(mode="after")
    def _oracle_knows_the_collection(self) -> ScoresSpec:
        _check_oracle(self.groups.collection, self.teacher)
        return self


class PairsSpec(Spec):
    """A teacher's scores of pairs of a collection's queries and documents: all that were ever asked for (see :mod:`rd_utils.scoring`)."""

    stage: ClassVar[str] = "pairs"
    teacher: Teacher
    collection: AsRead


class FirstStageSystem(Part):
    """A retriever's own ranking, as a row of the table."""

    kind: Literal["first_stage"] = "first_stage"
    retriever: Retriever = BM25()


class TeacherSystem(Part):
    """A teacher re-ranking the first stage."""

    kind: Literal["teacher"] = "teacher"
    teacher: Teacher


class UntrainedSystem(Part):
    """A student before its first step; ``collection`` is where from-scratch students take their vocabulary from."""

    kind: Literal["untrained"] = "untrained"
    architecture: Architecture
    collection: AsRead
    seed: Seed = 0


class StudentSystem(Part):
    """A trained student."""

    kind: Literal["student"] = "student"
    student: StudentSpec


System = Annotated[Union[FirstStageSystem, TeacherSystem, UntrainedSystem, StudentSystem], Field(discriminator="kind")]
Encoder = Annotated[Union[UntrainedSystem, StudentSystem], Field(discriminator="kind")]


class FirstStage(Part):
    """What a system ranks: a retriever's top ``depth`` (re-ranking), or with ``full`` the whole collection."""

    kind: Literal["rerank", "full"] = "rerank"
    retriever: Retriever = BM25()
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
        _check_oracle(self.collection, self.first_stage, *((self.system,) if self.system.kind in ("teacher", "first_stage") else ()))
        architecture = architecture_of(self.system)
        if self.first_stage.kind == "full" and self.system.kind != "first_stage" and not isinstance(architecture, BI_ENCODERS):
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


class ModelTokenizer(Part):
    """The tokenizer of a checkpoint, and what the model that reads its tokens puts before queries and documents."""

    kind: Literal["model"] = "model"
    model: ModelText
    query_prompt: Prompt = Field(default="", exclude_if=lambda value: not value)
    document_prompt: Prompt = Field(default="", exclude_if=lambda value: not value)


class LexiconTokenizer(Part):
    """The tokenizer of a lexicon."""

    kind: Literal["lexicon"] = "lexicon"
    lexicon: LexiconSpec


Tokenizer = Annotated[Union[ModelTokenizer, LexiconTokenizer], Field(discriminator="kind")]

for _late in [part for part in globals().values() if isinstance(part, type) and issubclass(part, Part)]:
    _late.model_rebuild()


def architecture_of(system: Any) -> Any | None:
    """Return the architecture behind a system, or None where it has none (a retriever, the oracle)."""
    if system.kind == "student":
        return system.student.architecture
    if system.kind == "untrained":
        return system.architecture
    if system.kind == "teacher" and system.teacher.kind == "trained":
        return system.teacher.student.architecture
    if system.kind == "teacher" and system.teacher.kind == "encoder":
        return architecture_of(system.teacher.encoder)
    return None


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
    in_batch = student.training.in_batch_negatives and not NEEDS_TEACHER[student.loss]  # a distilled loss needs a hard_weight for them
    plain = student.training.model_copy(update={"in_batch_negatives": in_batch})
    candidates = tuple(
        StudentSpec(
            groups=groups,
            loss=student.loss,
            teacher=search.teacher if NEEDS_TEACHER[student.loss] else None,
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


def _check_oracle(collection: Any, *parts: Any) -> None:
    """Raise a ValueError where an oracle is asked about another collection than the embedded one, in whatever part it stands."""
    if collection.source != "embedded" and any(isinstance(part, Oracle) for part in within(parts, below=Spec)):
        raise ValueError(f"the oracle knows the embedded collection only, not {collection.label!r}; use a trained or loaded teacher")


def within(value: Any, below: type[Part] | None = None) -> Iterator[Part]:
    """Yield all parts of a value, itself included; what is inside parts of the class ``below`` is left out."""
    if isinstance(value, Part):
        yield value
        if below is None or not isinstance(value, below):
            for name in type(value).model_fields:
                yield from within(getattr(value, name), below)
    elif isinstance(value, dict):
        for item in value.values():
            yield from within(item, below)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from within(item, below)


# --- notebook parameters ----------------------------------------------------------------------------------------------------------


class TrainingChanges(Part):
    """What some students have of their own in the training settings; an absent value leaves the setting as it is."""

    documents: Count | None = None
    stop_at: Count | None = None
    queries_per_batch: Depth | None = None
    accumulation_steps: Depth | None = None
    in_batch_negatives: Flag | None = None
    learning_rate: Rate | None = None
    embedding_learning_rate: Rate | None = None
    weight_decay: BelowOne | None = None
    processes: Few | None = None


OF_TRAINING = tuple(TrainingChanges.model_fields)


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

    A ``reference`` that names no collection takes its vocabulary from ``collection``. ``test_collections`` may be ``own``: what belongs to
    ``collection`` (see :func:`rd_utils.collections.own_tests`), which ``notebook.validate`` looks up.
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

    @model_validator(mode="before")
    @classmethod
    def _reference_of_the_collection(cls, values: Any) -> Any:
        reference = values.get("reference") if isinstance(values, dict) else None
        if not isinstance(reference, dict) or reference.get("kind") != "untrained" or "collection" not in values:
            return values
        return values | {"reference": {"collection": values["collection"]} | reference}

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
                known(name, NEEDS_TEACHER, "losses")
        return self

    def student(self, name: str, seed: int) -> StudentSpec:
        """Return the student artefact of one of ``losses`` and a seed."""
        settings = self.losses[name]
        loss = settings.loss or name
        return StudentSpec(
            groups=self.groups(seed),
            loss=loss,
            teacher=self.teacher if NEEDS_TEACHER[loss] else None,
            temperature=settings.temperature,
            target_entropy=settings.target_entropy,
            augmentation=settings.augmentation,
            architecture=self.architecture,
            training=settings.apply(self.training),
            refresh=self.refresh,
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
        searches = [search_spec(student) for student in students.values() if student.search is not None]
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
        return [search_spec(student) for student in self.students]


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
        systems: list[Any] = []
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
            for system in systems
            for stage in sorted(self.first_stages, key=lambda stage: stage.kind != "full")  # full first: it encodes what re-ranking needs
            if serves(system, stage)
        ]

    def specs(self) -> list[Spec]:
        """Return what the notebook makes; what is tested on the collection's ``own`` is known once these are."""
        return self.evaluations() if self.test_collections != "own" else super().specs()


class AnalyseParameters(Part):
    """Parameters of ``05_analyse``; ``base`` is what the study was run on, where it was not its own."""

    study: PathText
    base: Name | None = None


class AdviseParameters(Part):
    """Parameters of ``09_advise``: the studies whose cells are pooled, and on how many training queries features are measured."""

    studies: Annotated[tuple[PathText, ...], Field(min_length=1), Unique]
    base: Name | None = None
    pilot: Count = Field(default=200, ge=10)


def untrained_seeds(architecture: Any, seeds: tuple[int, ...]) -> tuple[int, ...]:
    """Return the seeds that an untrained student differs by: one is enough for a checkpoint's embeddings, which hold nothing random."""
    return (0,) if isinstance(architecture, BiEncoder) else tuple(seeds)


def serves(system: Any, stage: FirstStage) -> bool:
    """Tell whether a system can rank a first stage: full retrieval needs a bi-encoder, and a retriever ranks what it retrieves."""
    if system.kind == "first_stage":  # a row of its own stage, not of the others
        return system.retriever == stage.retriever
    return stage.kind == "rerank" or isinstance(architecture_of(system), BI_ENCODERS)


def known(name: str, choices: Any, where: str) -> None:
    """Raise a ValueError that lists the choices and the nearest one unless ``name`` is among them."""
    if name not in choices:
        raise ValueError(f"{where}: unknown name {shown(name)}{nearest(name, choices)}")


def nearest(name: str, choices: Any) -> str:
    """Return a clause that suggests the nearest choice and lists all.

    >>> nearest("bm52", ["bm25", "corpus_random"])
    "; did you mean 'bm25'? (choices: bm25, corpus_random)"
    """
    choices = [str(choice) for choice in choices]
    close = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{hint} (choices: {', '.join(choices)})" if choices else ""


# --- reading and explaining -------------------------------------------------------------------------------------------------------


def parse(model: type[Part], values: dict[str, Any], where: str) -> Any:
    """Validate ``values`` as ``model``, and what it stands for: the artefacts that it names.

    Raises:
        ParameterError: one line per offender, with the nearest valid name.
    """
    parsed, problems = attempt(model, values)
    if problems:
        raise ParameterError(listed(where, problems))
    return parsed


def attempt(model: type[Part], values: dict[str, Any]) -> tuple[Any, list[str]]:
    """Validate ``values`` as ``model``, and what it stands for.

    Returns:
        The parameters and no problem; or what of them is sound (see :func:`sound`), and the problems.
    """
    try:
        parsed = model.model_validate(values)
    except ValidationError as error:
        return sound(model, values), problems_of(error, model)
    try:
        if hasattr(parsed, "specs"):
            parsed.specs()
    except ValidationError as error:
        return parsed, problems_of(error, model)
    return parsed, []


def explain(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """Turn a validation error into one line per offender, naming the nearest valid name."""
    return listed(where, problems_of(error, model))


def listed(where: str, problems: Iterable[str]) -> str:
    """Return problems as one message: how many, then each on a line of its own.

    >>> print(listed("study x", ["training.documents: required, but missing"]))
    study x: 1 problem
      training.documents: required, but missing
    """
    lines = list(dict.fromkeys(problems))
    return f"{where}: {len(lines)} problem{'s' if len(lines) != 1 else ''}\n  " + "\n  ".join(lines)


def sound(annotation: Any, value: Any) -> Any:
    """Return what of a value is as its type wants it: the value itself, or the sound parts of it, with None in place of the others."""
    try:
        return _adapter(annotation).validate_python(value)
    except ValidationError:
        pass
    options = [option for option in annotations(annotation) if option is not type(None)]
    tags = {value.get(key) for key in ("kind", "source") if isinstance(value.get(key), str)} if isinstance(value, dict) else set()
    tagged = [option for option in options if tag_of(option) in tags] if len(options) > 1 else options
    if len(tagged) != 1:
        return None
    (option,) = tagged
    if isinstance(option, type) and issubclass(option, Part) and isinstance(value, dict):
        fields = {
            name: (Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation, field)
            for name, field in option.model_fields.items()
        }
        return SimpleNamespace(
            **{
                name: sound(of, value[name]) if name in value else None if field.is_required() else field.get_default()
                for name, (of, field) in fields.items()
            }
        )
    inside = [argument for argument in get_args(option) if argument is not Ellipsis]
    if get_origin(option) is dict and isinstance(value, dict):
        return {name: sound(inside[1], item) for name, item in value.items()}
    if get_origin(option) is tuple and isinstance(value, list):
        return tuple(sound(inside[0], item) for item in value)
    return None


@functools.cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return what is wrong, each as ``place: problem; remedy`` without the place where it is the whole."""
    items = error.errors()
    deeper = {item["loc"][:end] for item in items for end in range(len(item["loc"]))}
    kept = [item for item in items if item["type"] != "too_short" or item["loc"] not in deeper]  # only short because of what is inside it
    found = []
    for item in kept:
        place, options = _place(model, item["loc"])
        beside = [other for other in kept if other is not item and _place(model, other["loc"])[0].startswith(place)]
        if item["type"] == "literal_error" and beside and not isinstance(item["input"], str):
            continue  # a part was meant, whose own mistakes are listed
        if (
            item["type"] in _NO_MAPPING | {"tuple_type"}
            and isinstance(item["input"], str)
            and any(other["type"] == "literal_error" for other in beside)
        ):
            continue  # one line says what may stand here, name or part
        text = _problem(item, place, options)
        found += text.split("\n") if not place else [f"{place}: {text}"]
    return list(dict.fromkeys(found))


_NO_MAPPING = {"model_type", "model_attributes_type", "dict_type", "union_tag_not_found"}
_BOUNDS = {
    "greater_than",
    "greater_than_equal",
    "less_than",
    "less_than_equal",
    "finite_number",
    "string_type",
    "string_too_long",
}


def _problem(item: Any, place: str, options: list[Any]) -> str:
    """Return what is wrong with one value, and what is right.

    Args:
        item: as pydantic lists it.
        place: where the value stands.
        options: what may stand there.
    """
    kind, value, context = item["type"], item["input"], item.get("ctx", {})
    if kind == "extra_forbidden":
        name = str(item["loc"][-1])
        return f"unknown parameter {shown(name)}{nearest(name, sorted(_fields_of(options)))}"
    if kind == "missing":
        return "required, but missing"
    if kind == "union_tag_invalid":
        return f"unknown {context['discriminator'].strip(chr(39))} {shown(context['tag'])}{_suggested(context['tag'], options)}"
    if kind == "literal_error" or (kind in _NO_MAPPING and _choices(options)):
        if isinstance(value, dict):
            tag = "source" if any("source" in part.model_fields for part in options if _is_part(part)) else "kind"
            return f"a {tag} is missing{nearest('', _choices(options))}"
        parts = " is no mapping" if kind in _NO_MAPPING else " is not a valid value"
        return f"{shown(value)}{parts}{_suggested(value, options, place)}"
    if kind in _NO_MAPPING:
        return f"{shown(value)} is no mapping{nearest('', sorted(_fields_of(options)))}"
    if kind == "tuple_type":
        return f"{shown(value)} is no list; write [...]"
    if kind in _BOUNDS:
        return f"{item['msg']}, not {shown(value)}"
    return item["msg"].removeprefix("Value error, ")


def _suggested(value: Any, options: list[Any], place: str = "") -> str:
    """Return a clause that says how a value is written where its meaning is plain, and what else may stand there."""
    choices = _choices(options)
    tags = {tag_of(part): part for part in options if _is_part(part)}
    written = ""
    if isinstance(value, str) and place and value in tags:
        written = _written(value, tags[value])
    elif isinstance(value, str) and place:
        inside = (
            f"{{kind: {tag}, {field}: {_written(value, part)}}}"
            for tag, model in tags.items()
            for field in model.model_fields
            for part in annotations(model.model_fields[field].annotation)
            if _is_part(part) and tag_of(part) == value
        )
        written = next(inside, "")
    if not written:
        return nearest(str(value), choices)
    papermill = f"with papermill -y '{{{place}: {written}}}'; " if "." not in place else ""
    return f"; write {written} ({papermill}choices: {', '.join(map(str, choices))})"


def _written(tag: str, model: type[BaseModel]) -> str:
    key = "kind" if "kind" in model.model_fields else "source"
    needed = [f"{name}: ..." for name, field in model.model_fields.items() if field.is_required()]
    return "{" + ", ".join([f"{key}: {tag}", *needed]) + "}"


def _is_part(option: Any) -> bool:
    return isinstance(option, type) and issubclass(option, BaseModel)


def tag_of(model: Any) -> Any:
    """Return the ``kind`` or ``source`` that a class of parts has; None where it has neither."""
    if not _is_part(model):
        return None
    return next((model.model_fields[key].default for key in ("kind", "source") if key in model.model_fields), None)


def _choices(options: list[Any]) -> list[Any]:
    """Return the names that a place may hold, and the kinds of the parts that it may hold."""
    names = [name for option in options if get_origin(option) is Literal for name in get_args(option)]
    return names + [tag_of(part) for part in options if _is_part(part) and tag_of(part) is not None]


def _fields_of(options: list[Any]) -> set[str]:
    return {name for part in options if _is_part(part) for name in part.model_fields}


def annotations(annotation: Any) -> list[Any]:
    """Return what an annotation may be, each: classes, literals, tuples and mappings."""
    if get_origin(annotation) is Annotated:
        return annotations(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [option for argument in get_args(annotation) for option in annotations(argument)]
    return [annotation]


def _place(model: type[BaseModel], location: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """Return a place of a validation error as people write it, and what may stand there; of an unknown parameter, what it stands in."""
    options, names = [model], []
    for place, part in enumerate(location):
        if location[place + 1 :] == ("[key]",):  # the key of a mapping itself is wrong
            keys = [get_args(option)[0] for option in options if get_origin(option) is dict]
            return ".".join([*names, str(part)]), [inner for key in keys for inner in annotations(key)]
        tagged = [option for option in options if _is_part(option) and tag_of(option) == part]
        found = [inner for option in options for argument in _arguments(option, part) for inner in annotations(argument)]
        if tagged and not found:
            options = tagged
        elif found:
            options = found
        elif isinstance(part, str) and "[" in part:
            continue  # what pydantic calls one of several types
        names.append(str(part))
    return ".".join(names), options


def _arguments(option: Any, part: Any) -> list[Any]:
    """Return what stands at a field, position or key of a type; nothing where it has no such."""
    if _is_part(option):
        return [option.model_fields[part].annotation] if part in option.model_fields else []
    inside = [argument for argument in get_args(option) if argument is not Ellipsis]
    if get_origin(option) is tuple and isinstance(part, int) and inside:
        return [inside[part] if 1 < len(inside) > part else inside[0]]
    return inside[1:] if get_origin(option) is dict else []

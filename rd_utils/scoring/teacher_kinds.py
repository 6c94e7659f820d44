"""Teachers: what scores pairs of query and document, for a student to learn from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, cast

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from rd_utils.cost.workload import SECONDS, Counter, Work
from rd_utils.data import collections
from rd_utils.data.sources import EmbeddedCollection
from rd_utils.data.worlds import any_size
from rd_utils.mining import retrieval
from rd_utils.mining.retrievers import BM25
from rd_utils.models.architectures import CrossEncoder, InteractionCross
from rd_utils.models.encoding import asking, on_device, text_tokens
from rd_utils.scoring import teachers
from rd_utils.scoring.pairs import Scored, Scorer, kept_scores
from rd_utils.stages.docs import DOCS
from rd_utils.stages.index import INDEX
from rd_utils.stages.queries import QUERIES
from rd_utils.stages.vectors import VECTORS
from rd_utils.store import resolve_path
from rd_utils.study.bounds import Fraction, Length, ModelText, PathText, Seed, Spread
from rd_utils.study.context import Context
from rd_utils.study.graph import collection_inputs, token_inputs, tokenizer_of, vectors_of
from rd_utils.study.kinds import (
    Architecture,
    BiArchitecture,
    Collection,
    DualArchitecture,
    Encoder,
    Named,
    Part,
    Precision,
    Teacher,
    check_teachers,
)
from rd_utils.study.settings import TrainedOn, groups_of
from rd_utils.study.specs import GroupsSpec, ScoresSpec, StudentSpec, Unrefreshed
from rd_utils.study.stage import Given, Inputs, prefixed
from rd_utils.study.systems import StudentSystem

if TYPE_CHECKING:
    from rd_utils.mining.bm25 import Index


class ScoringTeacher(Teacher):
    """Base of the teachers that score pairs themselves: what they scored is kept (see :mod:`rd_utils.scoring.pairs`)."""

    @property
    def fast(self) -> bool:
        """Tell whether a pair is scored without reading its texts together."""
        return True

    @property
    def scorers(self) -> tuple[ScoringTeacher, ...]:
        """Return itself."""
        return (self,)

    def scorer(self, collection: Collection, given: Given) -> Scorer:
        """Return what maps rows of queries and of documents (n,) each to scores (n,), from what ``inputs`` named."""
        raise NotImplementedError

    def scores(self, collection: Collection, query_rows: np.ndarray, doc_rows: np.ndarray, given: Given) -> Scored:
        """Return the scores that are kept, and those of the other pairs."""
        return kept_scores(self, collection, query_rows, doc_rows, given)

    def work(self, work: Work, collection: Collection, pairs: float, counter: Counter) -> Work:
        """Return the work of keeping the scores of so many pairs with that of scoring them."""
        raise NotImplementedError


class Oracle(ScoringTeacher):
    """The embedded collection's Bayes-optimal teacher: log(max(E, floor)), E the expected grade given both texts.

    Below the floor a document counts as irrelevant without degrees. Without it (1e-30) the scores of documents that share nothing with
    the query spread over tens of units, which margins and pairwise entropies are then made of. ``noise`` is the SD of a normal deviate that
    is added to every pair's score, fixed per pair and ``noise_seed``.
    """

    kind: Literal["oracle"] = "oracle"
    floor: Fraction = Field(default=1e-4, ge=1e-30)
    noise: Spread = 0.0
    noise_seed: Seed = 0

    def check(self, collection: Collection) -> None:
        """Raise a ValueError unless it is the embedded collection, the only one with degrees of relevance for every pair."""
        if collection.source != "embedded":
            raise ValueError(f"the oracle knows the embedded collection only, not {collection.label!r}; use a trained or loaded teacher")
        known = cast("EmbeddedCollection", collection)
        if known.documents is not None and not any_size(known.world):
            raise ValueError(f"the oracle of the world {known.world!r} knows its profiles' numbers of documents only; leave out documents")

    def inputs(self, collection: Collection) -> Inputs:
        """Return the texts, whose order the rows count."""
        return collection_inputs(collection)

    def scorer(self, collection: Collection, given: Given) -> Scorer:
        """Return the score that the generator of the collection knows, with the noise of the pair."""
        known = cast("EmbeddedCollection", collection)
        generated = collections.generated(known)
        rows = pd.Index(generated.queries[known.split]["query_id"]).get_indexer(pd.Index(given(QUERIES).frame["query_id"]))
        least, n_docs = np.log(self.floor), len(given(DOCS).frame)

        def score(query_rows: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
            scores = np.maximum(generated.oracle_scores(known.split, rows[query_rows], doc_rows), least)
            if self.noise:
                scores = scores + self.noise * teachers.pair_noise(rows[query_rows] * n_docs + doc_rows, self.noise_seed)
            return scores

        return score

    def work(self, work: Work, collection: Collection, pairs: float, counter: Counter) -> Work:
        """Add the oracle's time of every pair."""
        return replace(work, cpu_seconds=pairs * SECONDS["oracle's pair"])


class LoadedTeacher(ScoringTeacher):
    """A cross-encoder loaded by name, folder or ``package:NAME/FOLDER``; its raw output is the score.

    Pairs are cut as :class:`CrossEncoder` says.
    """

    version: ClassVar[int] = 2  # 2: products in fp32 by torch's own on processors without AVX-512
    kind: Literal["loaded"] = "loaded"
    model: ModelText
    max_length: Length = Field(default=256, ge=8)
    max_query_length: Length = 64
    precision: Precision = "fp32"

    @property
    def fast(self) -> bool:
        """Tell that texts are read together."""
        return False

    def inputs(self, collection: Collection) -> Inputs:
        """Return the texts and their tokens."""
        return collection_inputs(collection) | token_inputs(tokenizer_of(self, collection), collection)

    def scorer(self, collection: Collection, given: Given) -> Scorer:
        """Return the model's raw output."""
        from rd_utils import models

        model = on_device(models.load_scorer(self.model, max_length=self.max_length, max_query_length=self.max_query_length))
        texts = text_tokens(given)
        return lambda query_rows, doc_rows: model.score_pairs(*texts, query_rows, doc_rows, precision=self.precision)

    def work(self, work: Work, collection: Collection, pairs: float, counter: Counter) -> Work:
        """Add reading every pair."""
        as_student = CrossEncoder(model=self.model, max_length=self.max_length, max_query_length=self.max_query_length)
        return counter.read_pairs(work, as_student, collection, collection, pairs, self.precision)

    @property
    def outside(self) -> tuple[Named, ...]:
        """Return the model."""
        return (Named("model", self.model),)


class ModelTeacher(ScoringTeacher):
    """Base of the teachers whose model the suite trains, or could."""

    @property
    def encoder_behind(self) -> Encoder:
        """Return the model."""
        raise NotImplementedError

    @property
    def precision_of_scores(self) -> Precision:
        """Return the precision in which it scores."""
        raise NotImplementedError

    @property
    def underlying(self) -> Architecture:
        """Return the architecture behind the scores."""
        return self.encoder_behind.underlying

    @property
    def fast(self) -> bool:
        """Tell whether a pair is scored without reading its texts together."""
        return isinstance(self.underlying, DualArchitecture | InteractionCross)

    def inputs(self, collection: Collection) -> Inputs:
        """Return the texts, their tokens, and a bi-encoder's embeddings of the documents."""
        embeds = isinstance(self.underlying, BiArchitecture)
        vectors: Inputs = {"vectors": vectors_of(collection, self.encoder_behind)} if embeds else {}
        return collection_inputs(collection) | vectors | self.encoder_behind.inputs(collection)

    def scorer(self, collection: Collection, given: Given) -> Scorer:
        """Return the model's score: a bi-encoder's scaled inner product, a cross-encoder's output."""
        student, precision = self.encoder_behind.open(given), self.precision_of_scores
        texts = text_tokens(given)
        if isinstance(self.underlying, BiArchitecture):
            query_vectors, doc_vectors = asking(student, texts[0], precision=precision), given(VECTORS)
            return lambda query_rows, doc_rows: np.einsum("nd,nd->n", query_vectors[query_rows], doc_vectors[doc_rows])
        return lambda query_rows, doc_rows: student.score_pairs(*texts, query_rows, doc_rows, precision=precision)

    def work(self, work: Work, collection: Collection, pairs: float, counter: Counter) -> Work:
        """Add embedding the queries, or reading every pair."""
        return counter.read_pairs(work, self.underlying, collection, self.encoder_behind.trained_on, pairs, self.precision_of_scores)


class TrainedTeacher(ModelTeacher):
    """A student of the suite as a teacher: a cross-encoder or bi-encoder trained on its own groups (``stop_at`` makes a weaker one)."""

    kind: Literal["trained"] = "trained"
    student: StudentSpec
    short: ClassVar[type[Part]] = TrainedOn

    @classmethod
    def whole(cls, values: dict[str, object], context: Context) -> dict[str, object]:
        """Make the student of an architecture and the strategy that it is trained on."""
        if "student" in values or not values.keys() & TrainedOn.model_fields.keys():
            return values
        said = TrainedOn.model_validate({name: value for name, value in values.items() if name != "kind"})
        return {"kind": "trained", "student": said.student(context)}

    @property
    def encoder_behind(self) -> Encoder:
        """Return the student."""
        return StudentSystem(student=self.student)

    @property
    def precision_of_scores(self) -> Precision:
        """Return the precision in which it was trained."""
        return self.student.training.precision


class _Untrained(Part):
    """A bi-encoder before training."""

    architecture: BiArchitecture


class EncoderTeacher(ModelTeacher):
    """A bi-encoder as a teacher: the scaled dot product of its embeddings."""

    kind: Literal["encoder"] = "encoder"
    encoder: Encoder
    precision: Precision = "fp32"
    short: ClassVar[type[Part]] = _Untrained

    @classmethod
    def whole(cls, values: dict[str, object], context: Context) -> dict[str, object]:
        """Make the encoder of an architecture."""
        if "encoder" in values or "architecture" not in values:
            return values
        said = _Untrained.model_validate({"architecture": values["architecture"]})
        others = {name: value for name, value in values.items() if name != "architecture"}
        return others | {"encoder": {"kind": "untrained", "architecture": said.architecture}}

    @property
    def encoder_behind(self) -> Encoder:
        """Return the bi-encoder."""
        return self.encoder

    @property
    def precision_of_scores(self) -> Precision:
        """Return the precision."""
        return self.precision


class FileTeacher(Teacher):
    """Scores made elsewhere: a Parquet file with query_id, doc_id, score, or a TREC run; a pair that it lacks is an error."""

    kind: Literal["file"] = "file"
    path: PathText

    @property
    def scorers(self) -> tuple[ScoringTeacher, ...]:
        """Return nobody: its scores are kept in the file."""
        return ()

    def inputs(self, collection: Collection) -> Inputs:
        """Return the texts, whose ids the file names."""
        return collection_inputs(collection)

    def scores(self, collection: Collection, query_rows: np.ndarray, doc_rows: np.ndarray, given: Given) -> Scored:
        """Look the pairs up."""
        ids = given(QUERIES).frame["query_id"], given(DOCS).frame["doc_id"]
        return Scored(teachers.file_scorer(teachers.read_scores(resolve_path(self.path)), *ids)(query_rows, doc_rows), 0)

    @property
    def outside(self) -> tuple[Named, ...]:
        """Return the file."""
        return (Named("file", self.path),)


class BM25Teacher(ScoringTeacher):
    """BM25 as a teacher: its score of every pair, 0 where query and document share no word."""

    kind: Literal["bm25"] = "bm25"
    retriever: BM25 = BM25()

    def inputs(self, collection: Collection) -> Inputs:
        """Return the texts and the index."""
        return collection_inputs(collection) | self.retriever.inputs(collection)

    def scorer(self, collection: Collection, given: Given) -> Scorer:
        """Return BM25's score."""
        return retrieval.bm25_scorer(cast("Index", given(INDEX)), given(QUERIES).frame["text"], self.retriever)

    def work(self, work: Work, collection: Collection, pairs: float, counter: Counter) -> Work:
        """Add BM25's time of every pair."""
        return replace(work, cpu_seconds=pairs * SECONDS["BM25's pair"])


class _Calibrated(Part):
    """The groups of a strategy, over which the members of an ensemble are standardised."""

    strategy: Unrefreshed
    seed: Seed = 0


class EnsembleTeacher(Teacher):
    """The mean of several teachers, each standardised to mean 0 and SD 1 over the groups of ``calibration``."""

    kind: Literal["ensemble"] = "ensemble"
    members: Annotated[tuple[Teacher, ...], Field(min_length=2, max_length=1_000)]
    calibration: GroupsSpec
    short: ClassVar[type[Part]] = _Calibrated

    @classmethod
    def whole(cls, values: dict[str, object], context: Context) -> dict[str, object]:
        """Make the groups of the strategy on which members are standardised."""
        if "calibration" in values or not values.keys() & _Calibrated.model_fields.keys():
            return values
        own = {name: values[name] for name in ("kind", "members") if name in values}
        said = _Calibrated.model_validate({name: value for name, value in values.items() if name not in own})
        return own | {"calibration": groups_of(said.strategy, said.seed, context)}

    @model_validator(mode="after")
    def _members_differ(self) -> EnsembleTeacher:
        if len(set(self.members)) != len(self.members):
            raise ValueError("an ensemble names the same teacher twice; give each member once")
        check_teachers(self.calibration.collection, self.members)
        return self

    @property
    def scorers(self) -> tuple[ScoringTeacher, ...]:
        """Return those of the members."""
        return tuple(scorer for member in self.members for scorer in member.scorers)

    def inputs(self, collection: Collection) -> Inputs:
        """Return what every member needs, and its scores of the groups for calibration."""
        needed: Inputs = {}
        for number, member in enumerate(self.members):
            needed[f"calibration_{number}"] = ScoresSpec(groups=self.calibration, teacher=member)
            needed |= prefixed(f"member_{number}_", member.inputs(collection))
        return needed

    def scores(self, collection: Collection, query_rows: np.ndarray, doc_rows: np.ndarray, given: Given) -> Scored:
        """Return the mean of the members' standardised scores, and their disagreement."""
        every, means, deviations, scored = [], [], [], 0
        for number, member in enumerate(self.members):
            calibration = given.open(f"calibration_{number}").astype(np.float64)
            means.append(calibration.mean())
            deviations.append(calibration.std())
            own = member.scores(collection, query_rows, doc_rows, given.part(f"member_{number}_"))
            every.append(own.scores)
            scored += own.scored_now
        scores, disagreement = teachers.combine(np.stack(every), np.array(means), np.array(deviations))
        return Scored(scores, scored, disagreement)

"""Teachers: what scores pairs of query and document, for a student to learn from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rd_utils.bounds import Fraction, Length, ModelText, PathText, Seed, Spread
from rd_utils.kinds import Architecture, Collection, Encoder, Precision, Teacher, check_teachers
from rd_utils.retrievers import BM25
from rd_utils.specs import GroupsSpec, StudentSpec


class Oracle(Teacher):
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


class LoadedTeacher(Teacher):
    """A cross-encoder loaded by name, folder or ``package:NAME/FOLDER``; its raw output is the score.

    Pairs are cut as :class:`CrossEncoder` says.
    """

    kind: Literal["loaded"] = "loaded"
    model: ModelText
    max_length: Length = Field(default=256, ge=8)
    max_query_length: Length = 64
    precision: Precision = "fp32"


class TrainedTeacher(Teacher):
    """A student of the suite as a teacher: a cross-encoder or bi-encoder trained on its own groups (``stop_at`` makes a weaker one)."""

    kind: Literal["trained"] = "trained"
    student: StudentSpec

    @property
    def underlying(self) -> Architecture | None:
        """Return the architecture behind the scores."""
        return self.student.architecture


class EncoderTeacher(Teacher):
    """A bi-encoder as a teacher: the scaled dot product of its embeddings."""

    kind: Literal["encoder"] = "encoder"
    encoder: Encoder
    precision: Precision = "fp32"

    @property
    def underlying(self) -> Architecture | None:
        """Return the architecture behind the scores."""
        return self.encoder.underlying


class FileTeacher(Teacher):
    """Scores made elsewhere: a Parquet file with query_id, doc_id, score, or a TREC run; a pair that it lacks is an error."""

    kind: Literal["file"] = "file"
    path: PathText


class BM25Teacher(Teacher):
    """BM25 as a teacher: its score of every pair, 0 where query and document share no word."""

    kind: Literal["bm25"] = "bm25"
    retriever: BM25 = BM25()


class EnsembleTeacher(Teacher):
    """The mean of several teachers, each standardised to mean 0 and SD 1 over the groups of ``calibration``."""

    kind: Literal["ensemble"] = "ensemble"
    members: Annotated[tuple[Teacher, ...], Field(min_length=2, max_length=1_000)]
    calibration: GroupsSpec

    @model_validator(mode="after")
    def _members_differ(self) -> EnsembleTeacher:
        if len(set(self.members)) != len(self.members):
            raise ValueError("an ensemble names the same teacher twice; give each member once")
        check_teachers(self.calibration.collection, self.members)
        return self

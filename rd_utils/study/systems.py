"""Systems: what is evaluated; those with a model of their own embed too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rd_utils.data.sources import AsRead
from rd_utils.mining.retrievers import BM25
from rd_utils.models.encoding import on_device, untrained
from rd_utils.study.bounds import Seed
from rd_utils.study.context import Context
from rd_utils.study.graph import architecture_inputs
from rd_utils.study.kinds import Architecture, Collection, DualArchitecture, Encoder, Retriever, System, Teacher
from rd_utils.study.specs import FirstStage, StudentSpec
from rd_utils.study.stage import Given, Inputs

if TYPE_CHECKING:
    from rd_utils.models import Student


class FirstStageSystem(System):
    """A retriever's own ranking, as a row of the table."""

    kind: Literal["first_stage"] = "first_stage"
    retriever: Retriever = BM25()


class TeacherSystem(System):
    """A teacher re-ranking the first stage."""

    kind: Literal["teacher"] = "teacher"
    teacher: Teacher

    @property
    def underlying(self) -> Architecture | None:
        """Return the architecture behind the scores."""
        return self.teacher.underlying


class UntrainedSystem(Encoder):
    """A student before its first step; ``collection`` is where from-scratch students take their vocabulary from."""

    kind: Literal["untrained"] = "untrained"
    architecture: Architecture
    collection: AsRead
    seed: Seed = 0

    @classmethod
    def whole(cls, values: dict[str, object], context: Context) -> dict[str, object]:
        """Take the collection of the study or the notebook where none is said."""
        return values if "collection" in values else values | {"collection": context.setting("collection")}

    @property
    def underlying(self) -> Architecture:
        """Return the architecture behind the scores."""
        return self.architecture

    @property
    def trained_on(self) -> Collection:
        """Return the collection of the vocabulary."""
        return self.collection

    def inputs(self, collection: Collection) -> Inputs:
        """Return the lexicon, if it starts from one, and the tokens."""
        return architecture_inputs(self.architecture, self.collection, collection)

    def open(self, given: Given) -> Student:
        """Return the student before its first step."""
        return on_device(untrained(self.architecture, self.seed, given))


class StudentSystem(Encoder):
    """A trained student."""

    kind: Literal["student"] = "student"
    student: StudentSpec

    @property
    def underlying(self) -> Architecture:
        """Return the architecture behind the scores."""
        return self.student.architecture

    @property
    def trained_on(self) -> Collection:
        """Return the collection that it was trained on."""
        return self.student.groups.collection

    def inputs(self, collection: Collection) -> Inputs:
        """Return the student and the tokens that it reads."""
        return {"student": self.student} | architecture_inputs(self.student.architecture, self.trained_on, collection)

    def open(self, given: Given) -> Student:
        """Return the trained student."""
        return given.open("student")


def serves(system: System, stage: FirstStage) -> bool:
    """Tell whether a system can rank a first stage: full retrieval asks it to read documents by themselves; a retriever ranks its own."""
    if isinstance(system, FirstStageSystem):  # a row of its own stage, not of the others
        return system.retriever == stage.retriever
    return stage.kind == "rerank" or isinstance(system.underlying, DualArchitecture)

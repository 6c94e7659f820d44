"""Students as stages open them, and texts as they embed them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from rd_utils.stages.lexicon import LEXICON
from rd_utils.stages.tokens import TOKENS
from rd_utils.study.kinds import Architecture, BiArchitecture, Precision
from rd_utils.study.stage import Given
from rd_utils.workflow.progress import Pushed

if TYPE_CHECKING:
    from rd_utils.models import BiStudent, Student
    from rd_utils.models.dual_students import DualStudent
    from rd_utils.models.students import Progress
    from rd_utils.models.tokens import TokenTable


def on_device(student: Student) -> Student:
    """Move a student to where accelerate would train it: an accelerator, if there is one."""
    from accelerate import PartialState

    return student.to(PartialState().device)


def untrained(architecture: Architecture, seed: int, given: Given) -> Student:
    """Return a student before its first step, on the CPU."""
    from rd_utils import models

    return models.build(architecture, seed=seed, lexicon=given(LEXICON) if "lexicon" in given else None)


def text_tokens(given: Given) -> tuple[TokenTable, TokenTable]:
    """Return the tokens of the queries and documents that a student reads."""
    return given(TOKENS, "query_tokens"), given(TOKENS, "doc_tokens")


def represented(student: DualStudent, texts: TokenTable, *, kind: str, precision: str = "fp32", progress: Progress | None = None) -> Any:
    """Represent texts; one without a token says nothing, whatever a model makes of special tokens alone."""
    found = student.encode(texts, kind=kind, precision=precision, progress=progress)
    return student.silence(found, texts.text_lengths() == 0)


def encoded(student: Student, texts: TokenTable, *, kind: str, precision: str = "fp32", progress: Progress | None = None) -> np.ndarray:
    """Embed texts by a bi-encoder; one without a token has the zero vector."""
    return represented(cast("BiStudent", student), texts, kind=kind, precision=precision, progress=progress)


def asking(student: Student, queries: TokenTable, *, precision: str = "fp32") -> np.ndarray:
    """Embed queries so that their inner products with documents are the student's scores."""
    return encoded(student, queries, kind="query", precision=precision) * np.float32(cast(BiArchitecture, student.architecture).scale)


def embedded(student: Student, docs: TokenTable, path: Path, chunks: Path, given: Given, precision: Precision = "fp32") -> np.ndarray:
    """Write documents' embeddings to a file, a chunk at a time, and return them memory-mapped."""
    from rd_utils.mining import dense
    from rd_utils.models.tokens import take

    def embed(start: int, stop: int) -> np.ndarray:
        part = docs if stop - start == len(docs) else take(docs, np.arange(start, stop))
        return encoded(student, part, kind="document", precision=precision, progress=Pushed(given.track, "encoding documents"))

    return dense.embed_in_chunks(len(docs), embed, path, chunks)

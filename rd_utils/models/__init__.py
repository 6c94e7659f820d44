"""Students of four families, which score groups of pre-tokenised texts.

A student wraps a genuine model of sentence-transformers (its ``model``), so that what is saved is theirs and scores text
as the student did:

- bi-encoders: ``SentenceTransformer(folder)``; a student's score is ``architecture.scale`` times the dot product of its embeddings;
- learned sparse encoders: ``SparseEncoder(folder)``; the score is ``scale`` times the dot product of its sparse embeddings;
- late-interaction encoders: ``MultiVectorEncoder(folder)``; the score is ``scale`` times MaxSim of its token embeddings;
- cross-encoders: ``CrossEncoder(folder)``; with ``labels=2`` the student's score is the logarithm of column 1 of
  ``predict(pairs, apply_softmax=True)``;
- the interaction cross-encoder: ``CrossEncoder(folder, trust_remote_code=True)`` where this package is installed, because its one
  module is :class:`KernelInteraction`.

Texts arrive as token tables (``models.tokens``), so that a batch costs a gather and not a call of the tokenizer. Within a batch a
text that repeats is encoded once. Encoders that :mod:`rd_utils.models.packed` serves run without padding over one stream of all its texts;
other models run as they are, texts of similar length together.

A checkpoint (:mod:`rd_utils.models.checkpoints`) is served as its own library serves it: its prompts, its truncation of embeddings, its own
limits where they are below the study's, pairs that are too long cut as ``predict`` cuts them. After building, a few texts are read both
ways, and a checkpoint that is not read alike is refused. Weights are float32 whatever is stored; a precision decides the arithmetic alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rd_utils.models.bi_students import BiStudent
    from rd_utils.models.building import (
        bi_encoder,
        build,
        cross_encoder,
        interaction_cross,
        load,
        load_scorer,
        refusals,
        resolve_model,
        static_bi,
        static_late,
        static_sparse,
        tiny_bert_bi,
        tiny_bert_cross,
        tiny_bert_late,
        tiny_bert_sparse,
        tokenizer_of,
    )
    from rd_utils.models.cross_students import CrossStudent
    from rd_utils.models.interaction import KernelInteraction, KernelPooling
    from rd_utils.models.late_students import LateStudent
    from rd_utils.models.sparse_students import SparseStudent
    from rd_utils.models.students import GroupBatch, Student, check_precision

_OF = {  # what is imported, with torch and transformers, when it is first asked for: parameters and stages are read without them
    "building": (
        "bi_encoder", "build", "cross_encoder", "interaction_cross", "load", "load_scorer", "refusals", "resolve_model", "static_bi",
        "static_late", "static_sparse", "tiny_bert_bi", "tiny_bert_cross", "tiny_bert_late", "tiny_bert_sparse", "tokenizer_of",
    ),
    "bi_students": ("BiStudent",),
    "late_students": ("LateStudent",),
    "sparse_students": ("SparseStudent",),
    "cross_students": ("CrossStudent",),
    "interaction": ("KernelInteraction", "KernelPooling"),
    "students": ("GroupBatch", "Student", "check_precision"),
}  # fmt: skip
__all__ = [
    "BiStudent", "CrossStudent", "GroupBatch", "KernelInteraction", "KernelPooling", "LateStudent",
    "SparseStudent", "Student", "bi_encoder", "build", "check_precision",
    "cross_encoder", "interaction_cross", "load", "load_scorer", "refusals", "resolve_model", "static_bi", "static_late",
    "static_sparse", "tiny_bert_bi",
    "tiny_bert_cross", "tiny_bert_late", "tiny_bert_sparse", "tokenizer_of",
]  # fmt: skip


def __getattr__(name: str) -> object:
    for module, names in _OF.items():
        if name in names:
            value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

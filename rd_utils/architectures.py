"""Architectures: what is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rd_utils.bounds import Few, Length, ModelText, Scale, Width
from rd_utils.kinds import Architecture, BiArchitecture, FromScratch


class StaticBi(BiArchitecture, FromScratch):
    """Bi-encoder from scratch: the mean of token vectors, dot product times ``scale``."""

    kind: Literal["static_bi"] = "static_bi"
    dimension: Width = Field(default=64, ge=2)
    scale: Scale = 4.0
    initial_norm: Scale = 2.0


class InteractionCross(FromScratch):
    """Cross-encoder from scratch: K-NRM, kernel-pooled cosine similarities of token vectors and a small feed-forward scorer."""

    kind: Literal["interaction_cross"] = "interaction_cross"
    dimension: Width = Field(default=64, ge=2)
    kernels: Few = Field(default=11, ge=2)
    hidden: Width = 16


class TinyBertBi(BiArchitecture, FromScratch):
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


class TinyBertCross(FromScratch):
    """Cross-encoder from scratch: a tiny BERT whose first attention layer starts as a soft matching of the two segments."""

    kind: Literal["tiny_bert_cross"] = "tiny_bert_cross"
    dimension: Width = Field(default=64, ge=8)
    layers: Few = 2
    feed_forward: Width = 64
    initial_norm: Scale = 4.0


class BiEncoder(BiArchitecture):
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


class CrossEncoder(Architecture):
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

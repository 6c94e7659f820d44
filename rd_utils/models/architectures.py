"""Architectures: what is trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from rd_utils.cost import flops
from rd_utils.cost.flops import Flops, Shape
from rd_utils.study.bounds import Few, Length, ModelText, Scale, Width
from rd_utils.study.kinds import Architecture, BiArchitecture, DualArchitecture, FromScratch, LateArchitecture, Named, SparseArchitecture

if TYPE_CHECKING:
    from rd_utils.cost.workload import Length as LengthOf
    from rd_utils.cost.workload import Lengths
    from rd_utils.models import Student

SCRATCH_LENGTH, SCRATCH_QUERY_LENGTH = 256, 64  # most tokens that students from scratch read of a text or pair, and of a query


class StaticBi(BiArchitecture, FromScratch):
    """Bi-encoder from scratch: the mean of token vectors, ``similarity`` (a dot product, or the cosine) times ``scale``."""

    kind: Literal["static_bi"] = "static_bi"
    dimension: Width = Field(default=64, ge=2)
    scale: Scale = 4.0
    initial_norm: Scale = 2.0
    similarity: Literal["dot", "cosine"] = Field(default="dot", exclude_if=lambda value: value == "dot")

    @property
    def width(self) -> int:
        """Return the dimensions of its embeddings."""
        return self.dimension

    def parameters(self, words: int) -> int:
        """Return the coordinates of all words."""
        return words * self.dimension

    def reads(self, length: LengthOf) -> tuple[Lengths, Lengths]:
        """Return whole queries and documents."""
        return length("queries"), length("docs")

    def embedding(self, text: Lengths) -> Flops:
        """Return the additions of the mean of token vectors."""
        return flops.static(self.dimension, text.mean)

    def build(self, lexicon: Path | None) -> Student:
        """Return the lexicon's vectors with noise."""
        from rd_utils import models

        return models.static_bi(self, lexicon)


class InteractionCross(FromScratch):
    """Cross-encoder from scratch: K-NRM, kernel-pooled cosine similarities of token vectors and a small feed-forward scorer."""

    kind: Literal["interaction_cross"] = "interaction_cross"
    dimension: Width = Field(default=64, ge=2)
    kernels: Few = Field(default=11, ge=2)
    hidden: Width = 16

    def parameters(self, words: int) -> int:
        """Return the vectors and norms of all words, and the scorer's weights."""
        return words * (self.dimension + 1) + (self.kernels + 1) * self.hidden + self.hidden + 1

    def reads(self, length: LengthOf) -> tuple[Lengths, Lengths]:
        """Return queries, and the documents alone: it joins nothing."""
        query = length("queries", cut=SCRATCH_QUERY_LENGTH)
        return query, length("docs", cut=SCRATCH_LENGTH - query.mean)

    def pair(self, query: Lengths, read: Lengths) -> Flops:
        """Return the operations of kernels on all cosines."""
        return flops.interaction(self.dimension, self.kernels, self.hidden, query.mean, read.mean)

    def build(self, lexicon: Path | None) -> Student:
        """Return the lexicon's vectors with noise, and a scorer."""
        from rd_utils import models

        return models.interaction_cross(self, lexicon)


class _Transformer(Architecture):
    """Base of the architectures with a transformer."""

    version: ClassVar[int] = 2  # 2: products in fp32 by torch's own on processors without AVX-512

    if TYPE_CHECKING:
        max_length: int
        max_query_length: int

    @property
    def longest(self) -> tuple[int, int]:
        """Return the most tokens of a query, and of a document or pair."""
        return SCRATCH_QUERY_LENGTH, SCRATCH_LENGTH

    @property
    def labels_of_head(self) -> int:
        """Return the outputs of its classification head; 0 where it has none."""
        return 0

    def parameters(self, words: int) -> int | None:
        """Return those of the encoder and its head."""
        shape = self.shape
        if shape is None:
            return None
        return flops.parameters(shape, words if isinstance(self, FromScratch) else shape.vocabulary, self.labels_of_head)


class _TransformerDual(_Transformer, DualArchitecture):
    """Base of those with a transformer that read queries and documents each by itself."""

    def reads(self, length: LengthOf) -> tuple[Lengths, Lengths]:
        """Return queries and documents, each framed by two special tokens."""
        query, document = self.longest
        return length("queries", cut=query, special=2), length("docs", cut=document, special=2)

    def embedding(self, text: Lengths) -> Flops | None:
        """Return the operations of one pass."""
        return None if self.shape is None else flops.encoder(self.shape, text.mean, text.square)


class _TransformerBi(_TransformerDual, BiArchitecture):
    """Base of the bi-encoders with a transformer."""


class _TransformerSparse(_TransformerDual, SparseArchitecture):
    """Base of the learned sparse encoders: an encoder, and a masked language model's head at every token."""

    def parameters(self, words: int) -> int | None:
        """Return those of the encoder, and of a head whose matrix is that of the words."""
        shape, encoder = self.shape, super().parameters(words)
        if shape is None or encoder is None:
            return None
        return encoder + shape.hidden**2 + 3 * shape.hidden + (words if isinstance(self, FromScratch) else shape.vocabulary)

    def embedding(self, text: Lengths) -> Flops | None:
        """Return the operations of one pass, and of the scores of all words at every token."""
        shape, encoder = self.shape, super().embedding(text)
        return None if shape is None or encoder is None else encoder + flops.words_of_tokens(shape, text.mean)


class _TransformerLate(_TransformerDual, LateArchitecture):
    """Base of the late-interaction encoders: an encoder, and a projection of every token."""

    projection: Width = Field(default=128, ge=2)

    @property
    def width(self) -> int:
        """Return the dimensions of a token's vector."""
        return self.projection

    def parameters(self, words: int) -> int | None:
        """Return those of the encoder and of the projection."""
        shape, encoder = self.shape, super().parameters(words)
        return None if shape is None or encoder is None else encoder + shape.hidden * self.projection

    def embedding(self, text: Lengths) -> Flops | None:
        """Return the operations of one pass and of the projection."""
        shape, encoder = self.shape, super().embedding(text)
        return None if shape is None or encoder is None else encoder + flops.Flops(2.0 * text.mean * shape.hidden * self.projection)


class _TransformerCross(_Transformer):
    """Base of the cross-encoders with a transformer."""

    @property
    def labels_of_head(self) -> int:
        """Return the outputs of its classification head."""
        return 1

    def reads(self, length: LengthOf) -> tuple[Lengths, Lengths]:
        """Return queries, and pairs framed by three special tokens."""
        longest = self.longest[1]
        query = length("queries", cut=longest)
        return query, length("docs", cut=longest, special=query.mean + 3)

    def pair(self, query: Lengths, read: Lengths) -> Flops | None:
        """Return the operations of one pass over the pair, and of the head."""
        shape = self.shape
        return None if shape is None else flops.encoder(shape, read.mean, read.square) + flops.head(shape, self.labels_of_head)


class TinyBert(_Transformer, FromScratch):
    """Base of the tiny BERTs that read queries and documents each by itself."""

    dimension: Width = Field(default=64, ge=8)
    layers: Few = 1
    heads: Few = 4
    feed_forward: Width = 128
    word_weights: Literal["equal"] = Field(default="equal", exclude_if=lambda value: value == "equal")  # LayerNorm undoes lengths

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.dimension % self.heads:
            raise ValueError(f"{self.heads} heads do not divide the dimension {self.dimension}; choose a divisor")
        return self

    @property
    def shape(self) -> Shape:
        """Return its shape."""
        words, longest = flops.LEXICON_WORDS, SCRATCH_LENGTH
        return Shape(self.layers, self.dimension, self.feed_forward, self.heads, words, positions=longest)


class TinyBertBi(_TransformerBi, TinyBert):
    """Bi-encoder from scratch: a tiny BERT over the embedded token vectors, mean pooling, dot product times ``scale``."""

    kind: Literal["tiny_bert_bi"] = "tiny_bert_bi"
    scale: Scale = 1.0
    initial_norm: Scale = 4.0

    def build(self, lexicon: Path | None) -> Student:
        """Return a random transformer over the lexicon's vectors."""
        from rd_utils import models

        return models.tiny_bert_bi(self, lexicon)


class TinyBertCross(_TransformerCross, FromScratch):
    """Cross-encoder from scratch: a tiny BERT whose first attention layer starts as a soft matching of the two segments."""

    kind: Literal["tiny_bert_cross"] = "tiny_bert_cross"
    dimension: Width = Field(default=64, ge=8)
    layers: Few = 2
    feed_forward: Width = 64
    word_weights: Literal["equal"] = Field(default="equal", exclude_if=lambda value: value == "equal")  # LayerNorm undoes lengths
    initial_norm: Scale = 4.0

    @property
    def shape(self) -> Shape:
        """Return its shape."""
        words, longest = flops.LEXICON_WORDS, SCRATCH_LENGTH
        return Shape(self.layers, self.dimension, self.feed_forward, 1, words, positions=longest, first_row=True)

    def build(self, lexicon: Path | None) -> Student:
        """Return a transformer over the lexicon's vectors that starts as a soft matching."""
        from rd_utils import models

        return models.tiny_bert_cross(self, lexicon)


class StaticSparse(_TransformerSparse, FromScratch):
    """Learned sparse encoder from scratch: every word becomes, by itself, the words that it is like; SPLADE without layers."""

    kind: Literal["static_sparse"] = "static_sparse"
    dimension: Width = Field(default=64, ge=8)
    initial_norm: Scale = 1.0

    @property
    def shape(self) -> Shape:
        """Return the shape of an encoder without layers."""
        return Shape(0, self.dimension, 0, 1, flops.LEXICON_WORDS, positions=SCRATCH_LENGTH)

    def build(self, lexicon: Path | None) -> Student:
        """Return the lexicon's vectors with noise."""
        from rd_utils import models

        return models.static_sparse(self, lexicon)


class StaticLate(_TransformerLate, FromScratch):
    """Late interaction from scratch: a vector a word, projected and normalised; ColBERT without layers."""

    kind: Literal["static_late"] = "static_late"
    dimension: Width = Field(default=64, ge=8)
    projection: Width = Field(default=64, ge=2)
    word_weights: Literal["equal"] = Field(default="equal", exclude_if=lambda value: value == "equal")  # normalised away

    @property
    def shape(self) -> Shape:
        """Return the shape of an encoder without layers."""
        return Shape(0, self.dimension, 0, 1, flops.LEXICON_WORDS, positions=SCRATCH_LENGTH)

    def build(self, lexicon: Path | None) -> Student:
        """Return the lexicon's vectors with noise."""
        from rd_utils import models

        return models.static_late(self, lexicon)


class TinyBertSparse(_TransformerSparse, TinyBert):
    """Learned sparse encoder from scratch: SPLADE on a tiny BERT."""

    kind: Literal["tiny_bert_sparse"] = "tiny_bert_sparse"
    initial_norm: Scale = 1.0

    def build(self, lexicon: Path | None) -> Student:
        """Return a random transformer over the lexicon's vectors."""
        from rd_utils import models

        return models.tiny_bert_sparse(self, lexicon)


class TinyBertLate(_TransformerLate, TinyBert):
    """Late interaction from scratch: ColBERT on a tiny BERT."""

    kind: Literal["tiny_bert_late"] = "tiny_bert_late"
    projection: Width = Field(default=64, ge=2)
    initial_norm: Scale = 4.0

    def build(self, lexicon: Path | None) -> Student:
        """Return a random transformer over the lexicon's vectors."""
        from rd_utils import models

        return models.tiny_bert_late(self, lexicon)


class BiEncoder(_TransformerBi):
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

    @property
    def shape(self) -> Shape | None:
        """Return the checkpoint's shape; None where it is unknown."""
        return flops.checkpoint_shape(self.model, self.pooling)

    @property
    def longest(self) -> tuple[int, int]:
        """Return the most tokens of a query and of a document."""
        return self.max_query_length, self.max_length

    def build(self, lexicon: Path | None) -> Student:
        """Load the checkpoint."""
        from rd_utils import models

        return models.bi_encoder(self)

    @property
    def outside(self) -> tuple[Named, ...]:
        """Return the model."""
        return (Named("model", self.model),)


class CrossEncoder(_TransformerCross):
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

    @property
    def shape(self) -> Shape | None:
        """Return the checkpoint's shape; None where it is unknown."""
        return flops.checkpoint_shape(self.model)

    @property
    def longest(self) -> tuple[int, int]:
        """Return the most tokens of a query alone, and of a pair."""
        return self.max_query_length, self.max_length

    @property
    def labels_of_head(self) -> int:
        """Return the outputs of its classification head."""
        return self.labels

    def build(self, lexicon: Path | None) -> Student:
        """Load the checkpoint, with a random head where it has none."""
        from rd_utils import models

        return models.cross_encoder(self)

    @property
    def outside(self) -> tuple[Named, ...]:
        """Return the model."""
        return (Named("model", self.model),)

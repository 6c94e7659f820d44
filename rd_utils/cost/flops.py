"""Floating-point operations and parameters of students and teachers, from the shape of their architecture alone.

A multiplication and the addition of its result are two operations, as data sheets count them. ``matrix`` are those of matrix products,
which are what a transformer's time goes into and what a device's peak is stated for; ``other`` are the elementwise ones of the students
without a transformer, which wait for memory. Padding, softmax, layer norms, activations and dropout are left out, as is customary.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace
from pathlib import Path

from rd_utils.files import StoreError
from rd_utils.store.paths import resolve_path

BACKWARD = 2.0  # of the forward: one product for the inputs' gradient, one for the weights' (Kaplan et al. 2020, section 2.1)
OPTIMISER = (
    3.5  # elementwise operations of 8 bytes: a fused AdamW moves 28 a parameter and step, and waits for them, not for its arithmetic
)
LEXICON_WORDS = 10_000  # words of a lexicon that is not made yet: the embedded collections have 1,500 and 11,000
_KERNEL = 8.0  # elementwise operations of a Gaussian kernel on one cosine: difference, square, scale, clamp, exponential, sum


@dataclass(frozen=True)
class Flops:
    """Operations of one piece of work.

    >>> Flops(3.0, 1.0) * 2 + Flops(1.0)
    Flops(matrix=7.0, other=2.0)
    """

    matrix: float = 0.0
    other: float = 0.0

    def __add__(self, more: Flops) -> Flops:
        """Return the sum."""
        return Flops(self.matrix + more.matrix, self.other + more.other)

    def __mul__(self, times: float) -> Flops:
        """Return so many times the work."""
        return Flops(self.matrix * times, self.other * times)

    @property
    def total(self) -> float:
        """Return all operations."""
        return self.matrix + self.other


@dataclass(frozen=True)
class Shape:
    """What the operations of a BERT-like encoder follow from.

    Attributes:
        layers: number of transformer layers.
        hidden: width of the residual stream.
        feed_forward: width of the feed-forward layer.
        heads: number of attention heads, which change no count of operations.
        vocabulary: number of tokens.
        embedding: width of the token embeddings where it is not ``hidden`` (small ELECTRA).
        positions: most positions.
        types: token types.
        first_row: whether only the first token's last state is used, so that the last layer is computed for one row.
    """

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    vocabulary: int
    embedding: int | None = None
    positions: int = 512
    types: int = 2
    first_row: bool = False


_BERT_BASE = Shape(12, 768, 3072, 12, 30522)
_MINILM_6 = Shape(6, 384, 1536, 12, 30522)
_MINILM_12 = Shape(12, 384, 1536, 12, 30522)
_DISTILBERT = Shape(6, 768, 3072, 12, 30522, types=0)
_MPNET = Shape(12, 768, 3072, 12, 30527, positions=514, types=0)

# From the config.json of each model on the Hugging Face hub; by the last part of the name, which is all that its mirrors share.
KNOWN = {
    "bert-base-uncased": _BERT_BASE,
    "bert-large-uncased": Shape(24, 1024, 4096, 16, 30522),
    "co-condenser-marco": _BERT_BASE,
    "distilbert-base-uncased": _DISTILBERT,
    "electra-small-discriminator": Shape(12, 256, 1024, 4, 30522, embedding=128),
    "electra-base-discriminator": _BERT_BASE,
    "electra-large-discriminator": Shape(24, 1024, 4096, 16, 30522),
    "ms-marco-electra-base": _BERT_BASE,
    "MiniLM-L6-H384-uncased": _MINILM_6,
    "MiniLM-L12-H384-uncased": _MINILM_12,
    "all-MiniLM-L6-v2": _MINILM_6,
    "all-MiniLM-L12-v2": _MINILM_12,
    "ms-marco-MiniLM-L-6-v2": _MINILM_6,
    "ms-marco-MiniLM-L-12-v2": _MINILM_12,
    "mpnet-base": _MPNET,
    "all-mpnet-base-v2": _MPNET,
    "roberta-base": Shape(12, 768, 3072, 12, 50265, positions=514, types=1),
    "msmarco-distilbert-base-tas-b": _DISTILBERT,
}
_BERT_LIKE = ("bert", "electra", "distilbert", "roberta", "xlm-roberta", "camembert", "mpnet")


@functools.cache
def checkpoint_shape(model: str, pooling: str = "cls") -> Shape | None:
    """Return the shape of a checkpoint; None where nobody here knows it.

    A checkpoint in a folder says it in its ``config.json``; one that is only named is looked up in ``KNOWN``. Nothing is downloaded.

    Args:
        model: a hub name, a folder, or ``package:NAME/FOLDER``.
        pooling: ``cls`` where the first token alone is read, ``mean``, or ``checkpoint`` for what the folder says.
    """
    try:
        folder = resolve_path(model)
    except StoreError:
        return None
    shape = _read_shape(folder) if folder.is_dir() else KNOWN.get(model.rsplit("/", 1)[-1])
    return None if shape is None else replace(shape, first_row=_first_row(pooling, folder))


def _read_shape(folder: Path) -> Shape | None:
    path = folder / "config.json"
    if not path.is_file():
        return None
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.get("model_type") not in _BERT_LIKE:
        return None
    names = {
        "layers": ("num_hidden_layers", "n_layers"),
        "hidden": ("hidden_size", "dim"),
        "feed_forward": ("intermediate_size", "hidden_dim"),
        "heads": ("num_attention_heads", "n_heads"),
        "vocabulary": ("vocab_size",),
    }
    said = {field: next((config[key] for key in keys if key in config), None) for field, keys in names.items()}
    found = {field: number for field, number in said.items() if number is not None}
    if len(found) < len(names):
        return None
    embedding = config.get("embedding_size", found["hidden"])
    types = 0 if config["model_type"] in ("distilbert", "mpnet") else config.get("type_vocab_size", 2)
    return Shape(
        found["layers"],
        found["hidden"],
        found["feed_forward"],
        found["heads"],
        found["vocabulary"],
        embedding=None if embedding == found["hidden"] else embedding,
        positions=config.get("max_position_embeddings", 512),
        types=types,
    )


def _first_row(pooling: str, folder: Path) -> bool:
    """Tell whether pooling reads the first token alone."""
    if pooling != "checkpoint":
        return pooling == "cls"
    path = folder / "1_Pooling" / "config.json"
    return path.is_file() and bool(json.loads(path.read_text(encoding="utf-8")).get("pooling_mode_cls_token"))


def encoder(shape: Shape, length: float, square: float | None = None) -> Flops:
    """Return the operations of one forward pass of a BERT-like encoder over one text.

    With L tokens, width d, feed-forward width f and N layers, a layer takes

        ``8 L d^2`` (queries, keys, values, output) ``+ 4 L^2 d`` (attention) ``+ 4 L d f`` (feed-forward).

    Where only the first token's last state is used, the last layer computes its keys and values for all tokens and the rest for one row:
    ``4 L d^2 + 4 d^2 + 4 L d + 4 d f``. Without the quadratic part this is 2 operations a parameter (embeddings left out) and token.

    Source: J. Kaplan et al., Scaling Laws for Neural Language Models, 2020, table 1 (whose attention is causal, so half of this).

    Args:
        shape: the encoder's shape.
        length: L, or its mean over texts.
        square: the mean of L squared over texts; ``length ** 2`` where it is None.

    BERT-base has 85 million parameters beside its embeddings, so one token of a short text takes twice as many operations:

    >>> round(encoder(KNOWN["bert-base-uncased"], 1).matrix / 1e6)
    170
    """
    d, f = shape.hidden, shape.feed_forward
    square = length**2 if square is None else square
    layer = 8 * length * d**2 + 4 * square * d + 4 * length * d * f
    last = 4 * length * d**2 + 4 * d**2 + 4 * length * d + 4 * d * f if shape.first_row else layer
    widening = 0.0 if shape.embedding is None else 2 * length * shape.embedding * d
    return Flops((shape.layers - 1) * layer + last + widening if shape.layers else widening)


def head(shape: Shape, labels: int = 1) -> Flops:
    """Return the operations of a classification head: a layer as wide as the encoder, and the labels."""
    return Flops(2.0 * shape.hidden**2 + 2.0 * shape.hidden * labels)


def words_of_tokens(shape: Shape, length: float) -> Flops:
    """Return the operations of a masked language model's head at every token: a layer, and the scores of all words."""
    return Flops(2.0 * length * shape.hidden * (shape.hidden + shape.vocabulary))


def static(dimension: int, length: float) -> Flops:
    """Return the operations of a text's mean of token vectors: one addition a token and coordinate."""
    return Flops(0.0, length * dimension)


def interaction(dimension: int, kernels: int, hidden: int, query_length: float, length: float, cosines: float | None = None) -> Flops:
    """Return the operations of one pair's kernel-pooled cosines and their scorer; the words' norms belong to a pass.

    With width d, K kernels and a hidden layer of h, a pair of m query words and n document words takes ``2 d c + 2 K h + 2 h`` in matrix
    products, and K kernels on m n cosines. A pass multiplies each distinct query word with each distinct document word of all its pairs,
    once, and pairs look their cosines up, so that c, a pair's share of them, is distinct query words times distinct document words over
    pairs. That depends on how texts fall into passes: it may be below m n (words in common) or above it (queries in a pass that have
    none). Plans count c = m n, which is exact for a pass of one pair of distinct words.

    Args:
        dimension: d.
        kernels: K.
        hidden: h.
        query_length: m.
        length: n.
        cosines: c; m n where it is None.
    """
    cells = query_length * length
    scorer = 2.0 * kernels * hidden + 2.0 * hidden
    return Flops(2.0 * dimension * (cells if cosines is None else cosines) + scorer, _KERNEL * cells * kernels)


def parameters(shape: Shape, vocabulary: int, labels: int = 0) -> int:
    """Return the number of parameters of a BERT-like encoder with its pooler, and of a head with so many labels."""
    d, f, e = shape.hidden, shape.feed_forward, shape.embedding or shape.hidden
    embeddings = (vocabulary + shape.positions + shape.types + 2) * e + (0 if e == d else e * d + d)
    layer = 4 * (d**2 + d) + 2 * d * f + f + d + 4 * d
    return embeddings + shape.layers * layer + d**2 + d + labels * (d + 1)

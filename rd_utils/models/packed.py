"""A BERT-like encoder over texts laid end to end: the same numbers as the model's own forward pass, without its padding.

``transformers`` pads a batch to its longest text and computes everything for every position. Here the texts of a batch lie end to end in
order of length, each padded to a small multiple at the most; the linear layers, activations and layer norms run over that one stream, and
only attention looks at texts one by one, all texts of one length together. Where pooling reads the first token alone, the last layer
computes queries, attention output and feed-forward for those tokens only. The weights stay the model's, so that it is saved as it is.

It serves the encoders that have BERT's layers under BERT's names (Devlin et al. 2019): BERT, RoBERTa, XLM-RoBERTa, CamemBERT, ELECTRA.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeGuard, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, _softmax_backward_data, nn  # pyright: ignore[reportPrivateImportUsage]  # stable, not public
from transformers import BertModel, CamembertModel, ElectraModel, RobertaModel, XLMRobertaModel
from transformers.activations import GELUActivation
from transformers.models.bert.modeling_bert import BertLayer

from rd_utils.models.shared import Context
from rd_utils.models.tokens import TokenTable
from rd_utils.processor import processor

POSITIONS_FROM_PADDING = ("roberta", "xlm-roberta", "camembert")  # they count positions from behind the padding token's number
FAMILIES = ("bert", "electra", *POSITIONS_FROM_PADDING)
# Lengths are rounded up to a multiple: fewer attention calls for a few tokens of padding. Calls cost more on an accelerator.
MULTIPLE = 4
MULTIPLE_ON_ACCELERATOR = 32
# On a CPU, blocks whose products have fewer multiplications are attended in fp32 in a pass in bf16: oneDNN compiles each product for its
# shape, about 1 ms, for longer than it computes, and the shapes of small ones seldom recur. A hundred million take 3 ms in fp32.
SMALL = 100_000_000


class Block(NamedTuple):
    """``texts`` neighbouring texts of one padded length, the first of which begins at token ``start``."""

    start: int
    texts: int
    length: int
    mask: Tensor | None  # (texts, 1, 1, length), 0 for tokens and -inf for padding; None where nothing is padded
    padded: int  # most padding of one of them


class Stream(NamedTuple):
    """Texts laid end to end, the longest first.

    ``order`` says which text stands where: text ``order[i]`` is the i-th of the stream.
    """

    ids: Tensor  # (tokens,)
    positions: Tensor  # (tokens,) from 0 within each text
    types: Tensor | None  # (tokens,)
    firsts: Tensor  # (texts,) where each text begins
    lengths: Tensor  # (texts,) without padding
    blocks: tuple[Block, ...]
    order: np.ndarray


def can_pack(model: nn.Module) -> TypeGuard[BertModel]:
    """Tell whether a transformers model is an encoder that :class:`PackedEncoder` serves, by BERT's names: of its families' own classes."""
    config = getattr(model, "config", None)
    if type(model) not in (BertModel, ElectraModel, RobertaModel, XLMRobertaModel, CamembertModel):
        return False
    if getattr(config, "model_type", None) not in FAMILIES or not layers_of(cast(BertModel, model)):
        return False
    absolute = getattr(config, "position_embedding_type", None) in (None, "absolute")
    return absolute and not any(getattr(config, name, 0) for name in ("is_decoder", "add_cross_attention", "chunk_size_feed_forward"))


def layers_of(model: BertModel) -> list[BertLayer]:
    """Return the layers of an encoder."""
    return cast("list[BertLayer]", list(model.encoder.layer))


def by_onednn(device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether products on a device are multiplied by oneDNN; see :attr:`rd_utils.processor.Processor.onednn_is_fastest`."""
    if not (device.type == "cpu" and torch.backends.mkldnn.is_available()):
        return False
    return dtype in (torch.float32, torch.bfloat16) and processor().onednn_is_fastest


def filling(tokens: int) -> int:
    """Return how many tokens of no text follow those of a pass, where oneDNN multiplies: up to a sixteenth, so that their number recurs.

    It compiles each product for its shape, which takes 1.5 ms in fp32 and up to 7 in bf16, and keeps what it has compiled.

    >>> filling(6931), filling(7168), filling(9)
    (237, 0, 0)
    """
    return -tokens % (1 << max(tokens.bit_length() - 5, 0))


def lay_out(
    texts: TokenTable,
    pad: int,
    *,
    types: tuple[np.ndarray, tuple[int, int]] | None = None,
    device: torch.device | str = "cpu",
    multiple: int = MULTIPLE,
) -> Stream:
    """Lay framed and cut texts end to end, the longest first, each padded to the next multiple of a few tokens.

    Args:
        texts: The texts as the model reads them, special tokens included; none is empty.
        pad: The padding token's id.
        types: Where the second part of every text begins, (n,), and the token types of the two parts; None where all are of type 0.
        device: Where the tensors go.
        multiple: What lengths are rounded up to.

    >>> table = TokenTable(ids=np.array([7, 8, 9, 5, 6], dtype=np.int32), offsets=np.array([0, 1, 4, 5]))
    >>> stream = lay_out(table, pad=0, multiple=2)
    >>> stream.ids.tolist(), stream.order.tolist(), stream.firsts.tolist()
    ([8, 9, 5, 0, 7, 0, 6, 0], [1, 0, 2], [0, 4, 6])
    """
    lengths = texts.lengths()
    padded = -(-lengths // multiple) * multiple
    order = np.argsort(-padded, kind="stable")
    lengths, padded = lengths[order], padded[order]
    ends = np.cumsum(padded)
    firsts = ends - padded
    positions = np.arange(int(ends[-1])) - np.repeat(firsts, padded)
    is_token = positions < np.repeat(lengths, padded)
    sources = np.repeat(texts.offsets[order], padded) + positions
    ids = np.where(is_token, texts.ids[np.where(is_token, sources, 0)], pad)
    type_ids = None
    if types is not None:
        starts, (one, other) = types
        type_ids = np.where(positions < np.repeat(starts[order], padded), one, other) * is_token
    device = torch.device(device)
    paddings = None
    if not is_token.all():
        paddings = to_device(np.where(is_token, np.float32(0.0), np.float32(-np.inf)), device)
    blocks = _blocks(lengths, padded, firsts, paddings)
    positions = positions * is_token  # padding may reach beyond the last position that the model knows
    numbers = [ids, positions, firsts, lengths, *([] if type_ids is None else [type_ids])]
    ids, positions, starts, lengths, *type_ids = together_to_device(numbers, device)
    return Stream(ids, positions, type_ids[0] if type_ids else None, starts, lengths, blocks, order)


def _blocks(lengths: np.ndarray, padded: np.ndarray, firsts: np.ndarray, paddings: Tensor | None) -> tuple[Block, ...]:
    """Put texts of one padded length together."""
    blocks, begin = [], 0
    for end in [*(np.flatnonzero(np.diff(padded)) + 1).tolist(), len(padded)]:
        texts, length, start = end - begin, int(padded[begin]), int(firsts[begin])
        most = length - int(lengths[begin:end].min())
        mask = paddings[start : start + texts * length].view(texts, 1, 1, length) if most and paddings is not None else None
        blocks.append(Block(start, texts, length, mask, most))
        begin = end
    return tuple(blocks)


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """Move an array; to a GPU through pinned memory, so that the host does not wait for what the GPU was given to do before."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def together_to_device(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """Move flat arrays of integers in one copy, as int64.

    >>> [part.tolist() for part in together_to_device([np.array([1, 2]), np.array([True])], torch.device("cpu"))]
    [[1, 2], [1]]
    """
    moved = to_device(np.concatenate([values.astype(np.int64) for values in arrays]), device)
    return list(moved.split([len(values) for values in arrays]))


class PackedEncoder:
    """Runs an encoder's own layers over a :class:`Stream`.

    Args:
        model: The encoder without a head (``BertModel``, ``RobertaModel``, ``ElectraModel`` ...).
    """

    def __init__(self, model: BertModel) -> None:
        self.embeddings, self.layers = model.embeddings, [_Layer(layer) for layer in layers_of(model)]
        self.project = getattr(model, "embeddings_project", None)  # of ELECTRA, where embeddings are narrower than the layers
        self.first_position = cast(int, model.config.pad_token_id) + 1 if model.config.model_type in POSITIONS_FROM_PADDING else 0

    def reads(self, texts: TokenTable) -> bool:
        """Tell whether these texts can be laid out: none is empty, nor names the padding token where positions are counted by it."""
        return bool((texts.lengths() > 0).all()) and not (self.first_position and (texts.ids == self.first_position - 1).any())

    def lay_out(
        self,
        texts: TokenTable,
        pad: int,
        *,
        types: tuple[np.ndarray, tuple[int, int]] | None = None,
        device: torch.device | str = "cpu",
    ) -> Stream:
        """Lay texts out as this encoder runs best on their device; see :func:`lay_out`."""
        multiple = MULTIPLE if torch.device(device).type == "cpu" else MULTIPLE_ON_ACCELERATOR
        return lay_out(texts, pad, types=types, device=device, multiple=multiple)

    def __call__(self, stream: Stream, *, first_only: bool = False, max_tokens: int | None = None) -> Tensor:
        """Return the last hidden states.

        Args:
            stream: The texts.
            first_only: Whether the texts' first tokens are all that is wanted.
            max_tokens: Most tokens that go through the layers at a time, so that what they leave stays in the processor's cache; a block
                is never split. The embeddings are looked up once, so their table has one gradient a stream.

        Returns:
            (tokens, width), or with ``first_only`` (texts, width), in the order of the stream.
        """
        states = self._embed(stream)
        parts, sizes = [], []
        for blocks in _portions(stream.blocks, max_tokens):
            parts.append(blocks)
            sizes.append(sum(block.texts * block.length for block in blocks))
        firsts = stream.firsts.split([sum(block.texts for block in blocks) for blocks in parts])
        outputs = [
            self._encode(x, blocks, where if first_only else None)
            for x, blocks, where in zip(states.split(sizes), parts, firsts, strict=True)
        ]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    @contextmanager
    def frozen(self, dtype: torch.dtype) -> Iterator[None]:
        """Hold the weights in the form that the processor's library multiplies fastest, while the block runs and they do not change.

        In fp32 on a CPU, and wherever oneDNN multiplies them, see :func:`by_onednn`; elsewhere it does nothing.
        """
        products = [product for layer in self.layers for product in layer.products]
        device = products[0].parts[0].weight.device
        if not (by_onednn(device, dtype) or (device.type == "cpu" and dtype == torch.float32)):
            yield
            return
        for product in products:
            product.frozen = dtype
        try:
            yield
        finally:
            for product in products:
                product.frozen = product.held = None

    def _embed(self, stream: Stream) -> Tensor:
        own = self.embeddings
        places, types = own.position_embeddings.weight, own.token_type_embeddings.weight
        if stream.types is None:
            places = places + types[0]  # a row for a position, not for a token
        states = own.word_embeddings(stream.ids) + F.embedding(stream.positions + self.first_position, places)
        if stream.types is not None:
            states = states + F.embedding(stream.types, types)
        states = dropout(own.LayerNorm(states), own.dropout)
        return states if self.project is None else self.project(states)

    def _encode(self, states: Tensor, blocks: Sequence[Block], firsts: Tensor | None) -> Tensor:
        start, device = blocks[0].start, states.device.type
        blocks = [block._replace(start=block.start - start) for block in blocks]
        if device != "cpu" and torch.is_autocast_enabled(device):  # once, not in every layer: each conversion is a kernel's launch
            dtype = torch.get_autocast_dtype(device)
            blocks = [block if block.mask is None else block._replace(mask=block.mask.to(dtype)) for block in blocks]
        tokens = len(states)
        if by_onednn(states.device, states.dtype):
            states = F.pad(states, (0, 0, 0, filling(tokens)))
        for layer in self.layers[:-1]:
            states = layer(states, states, blocks, False)
        asking = states if firsts is None else states[firsts - start]
        states = self.layers[-1](asking, states, blocks, firsts is not None)
        return states if firsts is not None else states[:tokens]


class _Layer:
    """One of the encoder's layers: attention and feed-forward, each with dropout, residual and layer norm."""

    def __init__(self, layer: BertLayer) -> None:
        self.attention, self.after, self.contract = layer.attention.self, layer.attention.output, layer.output
        own = self.attention
        scale = own.attention_head_size**-0.5  # of the scores, applied to what makes the queries: that is a matrix, not a stream
        self.all_three = _Product(own.query, own.key, own.value, scale=scale)
        self.queries, self.keys_values = _Product(own.query, scale=scale), _Product(own.key, own.value)
        self.mix, self.widen = _Product(self.after.dense), _Product(layer.intermediate.dense, then=layer.intermediate.intermediate_act_fn)
        self.narrow = _Product(self.contract.dense)
        self.products = (self.all_three, self.queries, self.keys_values, self.mix, self.widen, self.narrow)

    def __call__(self, asking: Tensor, states: Tensor, blocks: Sequence[Block], first_only: bool) -> Tensor:
        """Run it; ``asking`` are the tokens that are wanted: all of ``states``, or the first of every text."""
        context = self.attend(asking, states, blocks, first_only)
        asking = self.after.LayerNorm(_add_dropped(asking, self.mix(context), self.after.dropout))
        return self.contract.LayerNorm(_add_dropped(asking, self.narrow(self.widen(asking)), self.contract.dropout))

    def attend(self, asking: Tensor, states: Tensor, blocks: Sequence[Block], first_only: bool) -> Tensor:
        """Return the contexts of ``asking``."""
        own = self.attention
        queries, states = (self.queries(asking), self.keys_values(states)) if first_only else (None, self.all_three(states))
        rate = own.dropout.p if own.dropout.training else 0.0
        attend = _fused_attention if _is_fused(states, first_only) else _Attention.apply
        with torch.autocast(states.device.type, enabled=False):  # the types are chosen there
            return attend(queries, states, own.num_attention_heads, blocks, rate)


class _Product:
    """Linear layers that read the same states, as one product, and what is applied to it; ``scale`` multiplies what the first one gives."""

    def __init__(self, *parts: nn.Linear, then: nn.Module | None = None, scale: float | None = None) -> None:
        self.parts, self.then, self.scale = parts, then, scale
        self.frozen: torch.dtype | None = None  # the type that weights are held in, where they do not change
        self.held: tuple[Tensor, Tensor] | None = None

    def __call__(self, states: Tensor) -> Tensor:
        if self.frozen is not None and by_onednn(states.device, self.frozen):
            if self.held is None:
                weight, bias = (values.detach().to(self.frozen) for values in self._weights())
                self.held = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous()), bias
            rows = _in_company(states.to(self.frozen))
            if isinstance(self.then, GELUActivation):
                return _multiply(rows, *self.held, "gelu", "none")[: len(states)]
            output = _multiply(rows, *self.held)[: len(states)]
        elif self.frozen is not None:
            if self.held is None:
                self.held = self._weights()
            output = F.linear(states, *self.held)
        else:
            weight, bias = self._weights()
            dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype
            if torch.is_grad_enabled() and by_onednn(states.device, dtype):
                output = _Linear.apply(states.to(dtype), weight.to(dtype), bias.to(dtype))
            else:
                output = F.linear(states, weight, bias)
        return output if self.then is None else self.then(output)

    def _weights(self) -> tuple[Tensor, Tensor]:
        (weight, bias), *others = [(part.weight, part.bias) for part in self.parts]
        if self.scale is not None:
            weight, bias = weight * self.scale, bias * self.scale
        if not others:
            return weight, bias
        return torch.cat([weight, *(part for part, _ in others)]), torch.cat([bias, *(part for _, part in others)])


class _Linear(torch.autograd.Function):
    """``x W' + b`` by oneDNN, which multiplies these shapes a tenth to a quarter faster than what torch calls for it."""

    @staticmethod
    def forward(context: Context, states: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return the product, (tokens, outputs)."""
        context.save_for_backward(states, weight)
        return _multiply(states, weight, bias)

    @staticmethod
    def backward(context: Context, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of states, weight and bias."""
        states, weight = context.saved_tensors
        gradient = gradient.contiguous()
        return _multiply(gradient, weight.t().contiguous(), None), gradient.t() @ states, gradient.sum(dim=0)


def _multiply(states: Tensor, weight: Tensor, bias: Tensor | None, then: str = "none", algorithm: str = "") -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(states, weight, bias, then, [], algorithm)


def _in_company(rows: Tensor) -> Tensor:
    """Double a row that is alone: oneDNN sums its products in another order than those of several rows, which then differ more often."""
    return rows if len(rows) != 1 else rows.expand(2, -1).contiguous()


class _Attended(Context):
    heads: int
    blocks: Sequence[Block]
    rate: float
    parts: int
    shapes: tuple[torch.Size | None, torch.Size]  # of queries and states


class _Attention(torch.autograd.Function):
    """Dot-product attention (Vaswani et al. 2017) within each text: softmax(Q K^T) V, block by block; the queries come scaled.

    One function for all blocks, with a backward pass of its own: it writes into one gradient, where slices of one tensor would each get a
    gradient of the whole size. On a CPU, at these lengths, plain products are faster than the library's fused attention.
    """

    @staticmethod
    def forward(context: _Attended, queries: Tensor | None, states: Tensor, heads: int, blocks: Sequence[Block], rate: float) -> Tensor:
        """Return the contexts, (asking tokens, width).

        Args:
            context: What the backward pass reads.
            queries: (texts, width), of the first token of every text; None where every token asks.
            states: The keys and values, side by side: (tokens, 2 * width); with the queries before them where every token asks.
            heads: Number of heads.
            blocks: The texts.
            rate: Of dropout.
        """
        parts = 3 if queries is None else 2
        width = states.shape[1] // parts
        shapes = [(block.texts * heads, block.length if queries is None else 1, block.length) for block in blocks]
        keeps: Sequence[Tensor | None] = [None] * len(blocks)
        if rate:
            sizes = [texts * asked * length for texts, asked, length in shapes]
            drawn = _keep(sum(sizes), rate, states.dtype).split(sizes)
            keeps = [part.view(shape) for part, shape in zip(drawn, shapes, strict=True)]
        output = states.new_empty(len(states) if queries is None else len(queries), width)
        kept: list[Tensor] = []
        row = 0
        for block, keep, (_, asked, length) in zip(blocks, keeps, shapes, strict=True):
            tokens = states[block.start : block.start + block.texts * block.length]
            dtype = _attended_in(states, block.texts * asked * length * width)
            by_head = _copied(_by_head(tokens, block.texts, parts, heads), dtype).view(parts, block.texts * heads, block.length, -1)
            rows = slice(row, row + block.texts * asked)
            row = rows.stop
            q = by_head[0] if queries is None else queries[rows].to(dtype).view(block.texts * heads, 1, -1)
            k, v = by_head[-2], by_head[-1]
            scores = torch.bmm(q, k.transpose(1, 2))
            if block.mask is not None:  # added to the last columns, where it is not 0
                scores.view(block.texts, heads, -1, block.length)[..., -block.padded :] += block.mask[..., -block.padded :].to(scores.dtype)
            weights = torch.softmax(scores, -1)
            keep = None if keep is None else keep.to(dtype)
            found = torch.bmm(weights if keep is None else weights * keep, v)
            _by_head(output[rows], block.texts, 1, heads).copy_(found.view(1, block.texts, heads, -1, width // heads))
            if any(context.needs_input_grad):
                kept += [q, k, v, weights, *([] if keep is None else [keep])]
        output[row:] = 0
        context.save_for_backward(*kept)
        context.heads, context.blocks, context.rate, context.parts = heads, blocks, rate, parts
        context.shapes = None if queries is None else queries.shape, states.shape
        return output

    @staticmethod
    def backward(context: _Attended, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of queries and states."""
        with torch.autocast(gradient.device.type, enabled=False):  # as in the forward pass
            return _Attention._differentiate(context, gradient)

    @staticmethod
    def _differentiate(context: _Attended, gradient: Tensor) -> tuple[Tensor | None, ...]:
        heads, parts, each = context.heads, context.parts, 5 if context.rate else 4
        of_states = gradient.new_empty(context.shapes[1])
        of_queries = None if context.shapes[0] is None else gradient.new_empty(context.shapes[0])
        row = 0
        for number, block in enumerate(context.blocks):
            q, k, v, weights, *keep = context.saved_tensors[number * each : (number + 1) * each]
            rows = slice(row, row + block.texts * q.shape[1])
            row = rows.stop
            own = _copied(_by_head(gradient[rows], block.texts, 1, heads), q.dtype).view(q.shape)
            of_parts = k.new_empty((parts, *k.shape))
            torch.bmm((weights * keep[0] if keep else weights).transpose(1, 2), own, out=of_parts[-1])
            of_weights = torch.bmm(own, v.transpose(1, 2))
            if keep:
                of_weights.mul_(keep[0])
            of_scores = _softmax_backward_data(of_weights, weights, -1, weights.dtype)
            torch.bmm(of_scores.transpose(1, 2), q, out=of_parts[-2])
            if of_queries is None:
                torch.bmm(of_scores, k, out=of_parts[0])
            else:
                of_queries[rows] = torch.bmm(of_scores, k).view(block.texts, -1)
            tokens = of_states[block.start : block.start + block.texts * block.length]
            _by_head(tokens, block.texts, parts, heads).copy_(of_parts.view(parts, block.texts, heads, block.length, -1))
        of_states[sum(block.texts * block.length for block in context.blocks) :] = 0
        return of_queries, of_states, None, None, None


def _fused_attention(queries: Tensor | None, states: Tensor, heads: int, blocks: Sequence[Block], rate: float) -> Tensor:
    """Compute the same by the library's fused attention, which is faster on an accelerator."""
    parts = 3 if queries is None else 2
    width = states.shape[1] // parts
    asking = [None] * len(blocks) if queries is None else queries.to(states.dtype).split([block.texts for block in blocks])
    sizes = [block.texts * block.length for block in blocks]
    *parts_of, rest = states.split([*sizes, len(states) - sum(sizes)])
    outputs = []
    for block, first, tokens in zip(blocks, asking, parts_of, strict=True):
        *q, k, v = _by_head(tokens, block.texts, parts, heads)
        q = q[0] if first is None else _by_head(first, block.texts, 1, heads)[0]
        mask = None if block.mask is None else block.mask.to(states.dtype)
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=rate, scale=1.0)
        outputs.append(context.transpose(1, 2).reshape(-1, width))
    if queries is None and len(rest):
        outputs.append(rest.new_zeros(len(rest), width))
    return torch.cat(outputs)


def _is_fused(states: Tensor, first_only: bool) -> bool:
    """Tell whether the library's fused attention is the faster one.

    On a CPU only for whole texts without gradients (for single tokens its last bits depend on the thread), in bf16 only with AMX.
    """
    if states.device.type != "cpu":
        return True
    suits = states.dtype == torch.float32 or (states.dtype == torch.bfloat16 and processor().fuses_bf16_attention)
    return suits and not torch.is_grad_enabled() and not first_only


def _attended_in(states: Tensor, multiplications: int) -> torch.dtype:
    """Return the type that a block is attended in by plain products of so many multiplications; see :data:`SMALL`."""
    small = states.device.type == "cpu" and states.dtype == torch.bfloat16 and multiplications < SMALL
    return torch.float32 if small else states.dtype


def _copied(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Copy values in their order and convert them, in one go."""
    return torch.empty(values.shape, dtype=dtype, device=values.device).copy_(values)


def _by_head(tokens: Tensor, texts: int, parts: int, heads: int) -> Tensor:
    """View (texts * length, parts * width) as (parts, texts, heads, length, width / heads)."""
    return tokens.view(texts, len(tokens) // texts, parts, heads, -1).permute(2, 0, 3, 1, 4)


def dropout(states: Tensor, module: nn.Dropout) -> Tensor:
    """Apply a dropout layer (Srivastava et al. 2014); on a CPU by :func:`_keep`, a third of the library's time."""
    if not module.training or not module.p:
        return states
    if states.device.type != "cpu":
        return F.dropout(states, module.p)
    return states * _keep(states.numel(), module.p, states.dtype).view(states.shape)


def _add_dropped(states: Tensor, change: Tensor, module: nn.Dropout) -> Tensor:
    """Return ``states + dropout(change)``, on a CPU in one pass."""
    if not module.training or not module.p or states.device.type != "cpu":
        return states + dropout(change, module)
    return torch.addcmul(states, change, _keep(change.numel(), module.p, change.dtype).view(change.shape))


def _keep(count: int, rate: float, dtype: torch.dtype) -> Tensor:
    """Draw numbers, (count,): 0 with probability ``rate``, to within 2**-17, else 1 over the probability to be kept.

    Their random bits are numpy's, seeded from torch's generator: half the time of torch's own.
    """
    dropped = round(rate * 65536)
    source = np.random.Generator(np.random.SFC64(int(torch.empty((), dtype=torch.int64).random_())))
    words = source.integers(0, 2**64 - 1, size=-(-count // 4), dtype=np.uint64, endpoint=True).view(np.int16)[:count]
    keep = torch.ge(torch.from_numpy(words), dropped - 32768, out=torch.empty(count, dtype=dtype))
    return keep.mul_(65536 / (65536 - dropped))


def _portions(blocks: Sequence[Block], max_tokens: int | None) -> list[list[Block]]:
    portions: list[list[Block]] = []
    size = 0
    for block in blocks:
        tokens = block.texts * block.length
        if not portions or (max_tokens is not None and size + tokens > max_tokens):
            portions.append([])
            size = 0
        portions[-1].append(block)
        size += tokens
    return portions


def mean_of_tokens(states: Tensor, stream: Stream) -> Tensor:
    """Average the states of every text's tokens, padding left out: (tokens, width) -> (texts, width), in the order of the stream."""
    means = []
    for block in stream.blocks:
        part = states[block.start : block.start + block.texts * block.length].view(block.texts, block.length, -1)
        if block.mask is not None:
            part = part * (block.mask[:, 0, 0] == 0).to(part.dtype).unsqueeze(-1)
        means.append(part.sum(dim=1))
    return torch.cat(means) / stream.lengths.to(states.dtype).unsqueeze(1)

"""The largest products within segments: the maximum over a text's tokens of learned sparse vectors, and MaxSim's over a document's.

With segments s of tokens (texts), token vectors x_i, and vectors y_v with offsets b_v,

    ``out[s, v] = max over i in s of (x_i . y_v + b_v)``.

Each distinct token is multiplied with each y once, and no product is kept for the way back: a maximum passes its gradient to the one token
that it is of, so that a sparse matrix of tokens by y, with as many entries as there are maxima with a gradient, gives all gradients by two
products. The plain expression holds several arrays of tokens times y.
"""

from __future__ import annotations

from typing import cast

import numba
import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from rd_utils.data.runs import blocks
from rd_utils.models.packed import to_device
from rd_utils.models.shared import Context

_PRODUCTS = 1 << 26  # products that are held at once


class _Saved(Context):
    at: np.ndarray | Tensor  # (segments, V) the token of each maximum, -1 where a segment has none


class SegmentMaxima(torch.autograd.Function):
    """The largest product of each segment with each vector: (tokens, d), (V, d) -> (segments, V)."""

    @staticmethod
    def forward(context: _Saved, tokens: Tensor, vectors: Tensor, bias: Tensor | None, places: np.ndarray, offsets: np.ndarray) -> Tensor:
        """Return the maxima, at least in float32; a segment without a token has 0.

        Args:
            context: of autograd.
            tokens: (U, d), each distinct one once.
            vectors: (V, d).
            bias: (V,) b, or None for 0.
            places: int64 (n,), which of ``tokens`` stands at each place of the segments, end to end.
            offsets: int64 (S + 1,): segment s is ``places[offsets[s]:offsets[s + 1]]``.
        """
        context.save_for_backward(tokens, vectors)
        dtype = torch.promote_types(tokens.dtype, torch.float32)
        maxima = torch.zeros(len(offsets) - 1, len(vectors), dtype=dtype, device=tokens.device)
        on_cpu = tokens.device.type == "cpu"
        at = torch.full(maxima.shape, -1, dtype=torch.int32, device=tokens.device)
        most = max(1, _PRODUCTS // max(1, len(vectors)))
        for first, last in [(0, len(offsets) - 1)] if len(tokens) <= most else blocks(offsets, most):
            own = places[offsets[first] : offsets[last]]
            used, local = np.unique(own, return_inverse=True)
            rows = to_device(used, tokens.device)
            products = tokens[rows] @ vectors.T if bias is None else torch.addmm(bias, tokens[rows], vectors.T)
            products = products.to(dtype)
            into, bounds = (maxima[first:last], at[first:last]), offsets[first : last + 1] - offsets[first]
            if on_cpu and products.dtype == torch.float32:
                _largest(products.numpy(), local, bounds, used.astype(np.int32), into[0].numpy(), into[1].numpy())
            else:
                _largest_padded(products, local, bounds, rows, *into)
        context.at = at
        return maxima

    @staticmethod
    def backward(context: _Saved, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None, None]:
        """Return the gradients of the tokens, the vectors and the bias."""
        tokens, vectors = context.saved_tensors
        at = cast(Tensor, context.at)
        segments, columns = torch.nonzero(gradient * (at >= 0), as_tuple=True)
        values, rows = gradient[segments, columns], at[segments, columns].long()
        bias = None
        if context.needs_input_grad[2]:
            bias = torch.zeros(len(vectors), dtype=gradient.dtype, device=gradient.device).index_add_(0, columns, values)
        if gradient.device.type == "cpu":
            matrix = csr_matrix((values.numpy(), (rows.numpy(), columns.numpy())), shape=(len(tokens), len(vectors)))
            x, y = tokens.to(values.dtype).numpy(), vectors.to(values.dtype).numpy()
            own, others = torch.from_numpy(matrix @ y), torch.from_numpy(matrix.T @ x)
            return own.to(tokens.dtype), others.to(vectors.dtype), bias, None, None
        values = values.to(tokens.dtype)[:, None]
        of_tokens = torch.zeros_like(tokens).index_add_(0, rows, values * vectors[columns])
        of_vectors = torch.zeros_like(vectors).index_add_(0, columns, values * tokens[rows])
        return of_tokens, of_vectors, bias, None, None


def segment_maxima(tokens: Tensor, vectors: Tensor, bias: Tensor | None, places: np.ndarray, offsets: np.ndarray) -> Tensor:
    """Return the largest product of each segment with each vector, (segments, V); see :class:`SegmentMaxima`."""
    return SegmentMaxima.apply(tokens, vectors, bias, places, offsets)


@numba.njit(cache=True, nogil=True)
def _largest(products, places, offsets, rows, maxima, at):  # pragma: no cover
    """Fill each segment's maxima, and the token that each is of: the first of equal ones."""
    for segment in range(len(offsets) - 1):
        best, where = maxima[segment], at[segment]
        for place in range(offsets[segment], offsets[segment + 1]):
            product, row = products[places[place]], rows[places[place]]
            if place == offsets[segment]:
                for column in range(products.shape[1]):
                    best[column], where[column] = product[column], row
                continue
            for column in range(products.shape[1]):
                better = product[column] > best[column]
                best[column] = product[column] if better else best[column]
                where[column] = row if better else where[column]


def _largest_padded(products: Tensor, places: np.ndarray, offsets: np.ndarray, rows: Tensor, maxima: Tensor, at: Tensor) -> None:
    """Do the same by padding segments of similar length, where no compiled loop does it."""
    from rd_utils.models.tokens import length_buckets

    lengths = np.diff(offsets)
    most = max(1, _PRODUCTS // max(1, products.shape[1]))
    for bucket in length_buckets(lengths, most):
        longest = int(lengths[bucket].max(initial=0))
        if not longest:
            continue
        steps = np.arange(longest)
        inside = steps < lengths[bucket][:, None]
        padded = places[np.where(inside, offsets[bucket][:, None] + steps, offsets[bucket][:, None])]  # the first token again
        padded[lengths[bucket] == 0] = 0
        index = to_device(padded, products.device)
        values, found = products[index].max(dim=1)  # (segments, V)
        kept = to_device(bucket[lengths[bucket] > 0], products.device)
        told = to_device(np.flatnonzero(lengths[bucket] > 0), products.device)
        maxima[kept] = values[told]
        at[kept] = rows[index.gather(1, found)[told]].to(torch.int32)

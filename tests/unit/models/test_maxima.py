"""Largest products within segments: their values, gradients, portions and ties, against the plain expression."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rd_utils.models import maxima
from rd_utils.models.maxima import segment_maxima

PLACES, OFFSETS = np.array([3, 0, 3, 6, 1, 1, 2, 5, 4]), np.array([0, 3, 3, 8, 9])  # the second segment has no token


def plain(tokens: torch.Tensor, vectors: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    products = tokens @ vectors.T + (0.0 if bias is None else bias)
    rows = [torch.from_numpy(PLACES[start:stop]) for start, stop in zip(OFFSETS[:-1], OFFSETS[1:], strict=True)]
    return torch.stack([products[row].max(dim=0).values if len(row) else torch.zeros(len(vectors), dtype=tokens.dtype) for row in rows])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("products", [1 << 26, 11])
@pytest.mark.parametrize("biased", [True, False])
def test_maxima_and_gradients_equal_the_plain_expression(dtype, products, biased, monkeypatch):
    monkeypatch.setattr(maxima, "_PRODUCTS", products)
    generator = torch.Generator().manual_seed(0)
    tokens, vectors, bias = (torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for shape in ((7, 4), (5, 4), (5,)))
    bias = bias if biased else None
    found, expected = segment_maxima(tokens, vectors, bias, PLACES, OFFSETS), plain(tokens, vectors, bias)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(found.shape, generator=generator, dtype=dtype)
    inputs = [tokens, vectors] + ([bias] if bias is not None else [])
    for own, other in zip(
        torch.autograd.grad((found * weights).sum(), inputs), torch.autograd.grad((expected * weights).sum(), inputs), strict=True
    ):
        torch.testing.assert_close(own, other)


def test_the_first_of_equal_tokens_gets_the_gradient_and_a_segment_without_a_token_has_none():
    tokens = torch.tensor([[1.0], [1.0]], requires_grad=True)
    found = segment_maxima(tokens, torch.tensor([[2.0]]), None, np.array([1, 0]), np.array([0, 2, 2]))
    assert found.tolist() == [[2.0], [0.0]]
    found.sum().backward()
    assert tokens.grad is not None and tokens.grad.tolist() == [[0.0], [2.0]]

"""How much arithmetic a row needs, and how fast this machine does it: the share of the peak that ours reaches.

The peak is measured, not read off a data sheet: matrix products alone, on one thread, at the row's own shapes and precision.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from benchmarks.worker import serve


def transformer_flops(
    lengths: Sequence[int], *, layers: int, dimension: int, feed_forward: int, first_token_only: bool = False, training: bool = False
) -> float:
    """Return the floating-point operations that texts need in a transformer's matrix products, without padding.

    With T the tokens of all texts, d the dimension, f the feed-forward width and L_i the length of text i, a layer needs

        2 T d (3 d)  [queries, keys, values]  +  2 * 2 d sum L_i^2  [scores and their use]  +  2 T d d  [output]  +  2 * 2 T d f.

    Where only the first token is read, the last layer needs keys and values of all T tokens, but the rest for the n first tokens alone:
    ``2 T d (2 d) + 2 n d d + 4 d T + 2 n d d + 4 n d f``. Training needs three times the forward pass: once forward, and backward one
    product for the inputs and one for the weights. Embeddings, layer norms, activations, dropout and the optimiser count nothing.

    Args:
        lengths: Tokens of every distinct text, special tokens included.
        layers: Number of layers.
        dimension: Width d.
        feed_forward: Width f.
        first_token_only: Whether only the first token's vector is used.
        training: Whether gradients are needed.

    Two tokens, width 1, feed-forward 1: 12 + 16 + 4 + 8.

    >>> transformer_flops([2], layers=1, dimension=1, feed_forward=1)
    40.0
    >>> transformer_flops([2], layers=1, dimension=1, feed_forward=1, first_token_only=True)  # 8 + 2 + 8 + 2 + 4
    24.0
    """
    tokens, texts, squares = float(sum(lengths)), len(lengths), float(sum(length * length for length in lengths))
    d, f = dimension, feed_forward
    whole = 6 * tokens * d * d + 4 * d * squares + 2 * tokens * d * d + 4 * tokens * d * f
    last = 4 * tokens * d * d + 2 * texts * d * d + 4 * d * tokens + 2 * texts * d * d + 4 * texts * d * f if first_token_only else whole
    return ((layers - 1) * whole + last) * (3 if training else 1)


def shapes(tokens: int, dimension: int, feed_forward: int) -> list[list[int]]:
    """Return the shapes (m, k, n) of a layer's products with weights."""
    return [
        [tokens, dimension, 3 * dimension],
        [tokens, dimension, dimension],
        [tokens, dimension, feed_forward],
        [tokens, feed_forward, dimension],
    ]


def make(settings: dict[str, Any]):
    """Return what measures the peak: GFLOP/s over ``shapes`` in ``precision``, each shape as often as it stands there."""
    import torch

    def answer(command: dict[str, Any]) -> dict[str, Any]:
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[command["precision"]]
        operations = seconds = 0.0
        for m, k, n in command["shapes"]:
            layer = torch.nn.Linear(k, n, bias=False, dtype=dtype)
            x = torch.randn(m, k).to(dtype)
            with torch.inference_mode():
                layer(x)
                best, end = float("inf"), time.perf_counter() + command.get("seconds", 0.4)
                while time.perf_counter() < end:
                    began = time.perf_counter()
                    layer(x)
                    best = min(best, time.perf_counter() - began)
            operations += 2.0 * m * k * n
            seconds += best
        return {"gflops": operations / seconds / 1e9}

    return answer


if __name__ == "__main__":
    serve(make, ("torch",))

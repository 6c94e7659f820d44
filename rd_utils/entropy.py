"""How undecided a teacher is about its groups: three entropies that answer three questions.

- ``pairwise_entropy``: over all pairs of a group, how open is the order of the two documents?
- ``positive_entropy``: over the pairs with the labelled positive, how open is it whether the positive wins?
- ``listwise_entropy``: how widely does the teacher's softmax spread over the group?

They order sampling strategies differently (a random negative is a coin toss against another random negative, and no
rival of the positive), so a table says which one it shows, or shows all three. None of them measures how good the
teacher is: noise spreads its scores, and a noisier teacher can look surer. They depend on the scale of the scores:
compare them within one teacher and one temperature.

Numbers are float64 throughout; 0 log 0 is 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

_BLOCK_VALUES = 4_000_000  # score differences held at once: 32 MB
_NO_MASS = 1e3  # exp(-1e3) is 0 in float64, and 0 * 1e3 is 0: differences are cut here, before they can be infinite


def pairwise_entropy(teacher_scores: ArrayLike, temperature: float = 1.0) -> np.ndarray:
    """Compute the mean binary entropy of the teacher's order over all pairs of a group.

    ``mean over i < j of h(sigmoid((g_i - g_j) / T))``, ``h(p) = -p log2 p - (1 - p) log2 (1 - p)``.

    Args:
        teacher_scores: (n, group) raw scores, group at least 2; any real numbers, log-probabilities included.
        temperature: Divides the scores.

    Returns:
        (n,) in bits, in [0, 1]: 0 where every pair is ordered without doubt, 1 where all scores are equal.

    Raises:
        ValueError: If a score is not finite, a group has fewer than two documents, or the temperature is not positive.

    A pair at odds of 3 to 1 has h(3/4) = 0.8113 bits:

    >>> pairwise_entropy([[math.log(3), 0.0], [7.0, 7.0]]).round(4).tolist()
    [0.8113, 1.0]
    """
    scores = _checked(teacher_scores, temperature)
    first, second = np.triu_indices(scores.shape[1], k=1)
    blocks = [_pair_entropy(block[:, first], block[:, second], temperature) for block in _blocks(scores, len(first))]
    return np.concatenate(blocks) if blocks else np.empty(0)


def positive_entropy(teacher_scores: ArrayLike, temperature: float = 1.0) -> np.ndarray:
    """Compute the mean binary entropy of the teacher's order over the pairs that hold the labelled positive.

    ``mean over j > 0 of h(sigmoid((g_0 - g_j) / T))``; the positive is column 0.

    Args:
        teacher_scores: (n, group) raw scores, positive first, group at least 2.
        temperature: Divides the scores.

    Returns:
        (n,) in bits, in [0, 1]. Low where the positive is surely above *or surely below* the others.

    Raises:
        ValueError: As :func:`pairwise_entropy`.

    Two equal negatives are a coin toss for the pairwise entropy, and do not count here:

    >>> group = [[50.0, 0.0, 0.0]]
    >>> pairwise_entropy(group).round(4).tolist(), positive_entropy(group).round(4).tolist()
    ([0.3333], [0.0])
    """
    scores = _checked(teacher_scores, temperature)
    blocks = [_pair_entropy(block[:, :1], block[:, 1:], temperature) for block in _blocks(scores, scores.shape[1])]
    return np.concatenate(blocks) if blocks else np.empty(0)


def listwise_entropy(teacher_scores: ArrayLike, temperature: float = 1.0) -> np.ndarray:
    """Compute the normalised Shannon entropy of the teacher's softmax over a group.

    ``-sum_i p_i log2 p_i / log2(group)`` with ``p = softmax(g / T)``. Times ``log2(group)`` it is in bits.

    Args:
        teacher_scores: (n, group) raw scores, group at least 2.
        temperature: Divides the scores.

    Returns:
        (n,) without unit, in [0, 1]: 0 where one document has all the mass, 1 where all scores are equal.

    Raises:
        ValueError: As :func:`pairwise_entropy`.

    Half, a quarter, a quarter is 1.5 bits of log2 3 = 1.585:

    >>> listwise_entropy([[math.log(2), 0.0, 0.0]]).round(4).tolist()
    [0.9464]
    """
    scores = _checked(teacher_scores, temperature)
    with np.errstate(over="ignore"):
        gap = np.minimum((scores.max(axis=1, keepdims=True) - scores) / temperature, _NO_MASS)  # behind the best one
    mass = np.exp(-gap)
    total = mass.sum(axis=1)
    nats = np.log(total) + (mass * gap).sum(axis=1) / total
    return np.clip(nats / np.log(scores.shape[1]), 0.0, 1.0)


def entropies(teacher_scores: ArrayLike, temperature: float = 1.0) -> pd.DataFrame:
    """Compute all three entropies of every group.

    Args:
        teacher_scores: (n, group) raw scores, positive first, group at least 2.
        temperature: Divides the scores.

    Returns:
        n rows in the order of the groups; columns ``pairwise_entropy`` and ``positive_entropy`` (bits),
        ``listwise_entropy`` (share of ``log2(group)``).

    Raises:
        ValueError: As :func:`pairwise_entropy`.

    >>> entropies([[50.0, 0.0, 0.0]]).round(4).values.tolist()
    [[0.3333, 0.0, 0.0]]
    """
    scores = _checked(teacher_scores, temperature)
    return pd.DataFrame(
        {
            "pairwise_entropy": pairwise_entropy(scores, temperature),
            "positive_entropy": positive_entropy(scores, temperature),
            "listwise_entropy": listwise_entropy(scores, temperature),
        }
    )


def _pair_entropy(first: np.ndarray, second: np.ndarray, temperature: float) -> np.ndarray:
    """Return the row means of h(sigmoid((first - second) / T)) in bits.

    With ``a = |first - second| / T`` and ``e = exp(-a)``: h = (log(1 + e) + a e / (1 + e)) / ln 2, which loses no
    digits at either end.
    """
    with np.errstate(over="ignore"):
        gap = np.minimum(np.abs(first - second) / temperature, _NO_MASS)
    decay = np.exp(-gap)
    nats = np.log1p(decay) + gap * decay / (1.0 + decay)
    return np.clip(nats.mean(axis=1) / math.log(2), 0.0, 1.0)


def _blocks(scores: np.ndarray, values_per_row: int) -> Iterator[np.ndarray]:
    """Yield consecutive rows in blocks whose differences stay within a fixed memory."""
    rows = max(1, _BLOCK_VALUES // values_per_row)
    for start in range(0, len(scores), rows):
        yield scores[start : start + rows]


def _checked(teacher_scores: ArrayLike, temperature: float) -> np.ndarray:
    """Return the scores as a finite float64 array of shape (n, group), or raise."""
    scores = np.asarray(teacher_scores, dtype=np.float64)
    if scores.ndim != 2:
        raise ValueError(f"teacher_scores has shape {scores.shape}; expected two dimensions, (groups, group size)")
    if scores.shape[1] < 2:
        raise ValueError(f"a group has {scores.shape[1]} document(s); expected at least 2 to compare")
    missing = ~np.isfinite(scores)
    if missing.any():
        row, column = np.argwhere(missing)[0]
        raise ValueError(
            f"{int(missing.sum())} of {scores.size} teacher_scores are not finite, the first ({scores[row, column]}) "
            f"for document {column} of group {row}; a missing score is an error: "
            "score every document of every group first"
        )
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature}; expected a positive, finite number (1 leaves the scores as they are)")
    return scores

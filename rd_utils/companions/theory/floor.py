"""The floor: a distillation loss is a divergence plus the teacher's entropy, and no student reduces the second.

The soft RankNet loss of a pair with teacher margin ``a = (g_0 - g_d) / T`` and student margin ``z = f_0 - f_d`` is, with
``p = sigmoid(a)``,

    ``l(p, z) = -p log sigmoid(z) - (1 - p) log sigmoid(-z) = softplus(z) - p z``.

Natural logarithms throughout the theory: losses, divergences and entropies are in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from scipy.special import expit, log_expit, log_softmax
from torch import Tensor

from rd_utils.companions.theory.arrays import TRIVIAL, TheoryError, score_arrays
from rd_utils.scoring import entropy
from rd_utils.training import losses


def pairwise_decomposition(
    teacher_scores: ArrayLike, student_scores: ArrayLike, temperature: float = 1.0, *, pairs: Literal["all", "positive"] = "all"
) -> pd.DataFrame:
    """Split each group's soft RankNet loss into the divergence that a student can reduce and the teacher's entropy, its floor.

    ``mean over pairs of -p log s - (1 - p) log(1 - s) = mean of KL(p || s) + mean of h(p)`` with ``p = sigmoid((g_i - g_j) / T)``,
    ``s = sigmoid(f_i - f_j)``. The loss comes from ``training.losses.ranknet``, the entropy from ``scoring.entropy``, the
    divergence from its own formula, so that ``residual = loss - divergence - entropy`` is a test. As h is concave, KL is the Bregman
    divergence of -h (Banerjee, Merugu, Dhillon, Ghosh 2005, Clustering with Bregman Divergences, JMLR 6).

    Args:
        teacher_scores: (n, group) raw scores, positive first.
        student_scores: (n, group) scores of the same documents.
        temperature: Divides the teacher's scores.
        pairs: ``all`` pairs of a group, or those with the ``positive`` only.

    Returns:
        One row a group: loss, divergence, entropy, residual, in nats.

    Raises:
        ValueError: A score is not finite, shapes differ, a group has fewer than two documents, or the temperature is not positive.

    The teacher gives odds of 3 to 1, the student is undecided: log 2 = 0.1308 + 0.5623.

    >>> pairwise_decomposition([[math.log(3), 0.0]], [[0.0, 0.0]]).round(4).values.tolist()
    [[0.6931, 0.1308, 0.5623, 0.0]]
    """
    teachers, students = score_arrays(teacher_scores, student_scores, temperature)
    group = teachers.shape[1]
    if pairs not in ("all", "positive"):
        raise TheoryError(f"pairs is {pairs!r}; choose all, or positive for those with the labelled positive")
    first, second = np.triu_indices(group, k=1) if pairs == "all" else (np.zeros(group - 1, dtype=int), np.arange(1, group))
    _, divergence, _ = pair_terms((teachers[:, first] - teachers[:, second]) / temperature, students[:, first] - students[:, second])
    floor = (entropy.pairwise_entropy if pairs == "all" else entropy.positive_entropy)(teachers, temperature) * TRIVIAL
    if pairs == "all":
        loss = _by_group(losses.ranknet, teachers, students, temperature)
    else:  # each pair as a group of two
        taught, learnt = (np.stack([scores[:, first].ravel(), scores[:, second].ravel()], axis=1) for scores in (teachers, students))
        loss = _by_group(losses.ranknet, taught, learnt, temperature).reshape(len(teachers), group - 1).mean(axis=1)
    return _decomposed(loss, divergence.mean(axis=1), floor)


def listwise_decomposition(teacher_scores: ArrayLike, student_scores: ArrayLike, temperature: float = 1.0) -> pd.DataFrame:
    """Split each group's listwise softmax loss into divergence and entropy.

    ``-sum_i p_i log s_i = KL(p || s) + H(p)`` with ``p = softmax(g / T)``, ``s = softmax(f)``; the loss is
    :func:`rd_utils.training.losses.listnet`, the entropy that of :mod:`rd_utils.scoring.entropy` times ``log(group)``.

    Args:
        teacher_scores: (n, group) raw scores.
        student_scores: (n, group) scores of the same documents.
        temperature: Divides the teacher's scores.

    Returns:
        One row a group: loss, divergence, entropy, residual, in nats.

    Raises:
        ValueError: As :func:`pairwise_decomposition`.

    Half, a quarter, a quarter against a flat student: log 3 = 0.0589 + 1.0397.

    >>> listwise_decomposition([[math.log(2), 0.0, 0.0]], [[0.0, 0.0, 0.0]]).round(4).values.tolist()
    [[1.0986, 0.0589, 1.0397, 0.0]]
    """
    teachers, students = score_arrays(teacher_scores, student_scores, temperature)
    log_targets = log_softmax(teachers / temperature, axis=1)
    divergence = (np.exp(log_targets) * (log_targets - log_softmax(students, axis=1))).sum(axis=1)
    floor = entropy.listwise_entropy(teachers, temperature) * math.log(teachers.shape[1])
    return _decomposed(_by_group(losses.listnet, teachers, students, temperature), divergence, floor)


def pair_terms(teacher_margins: ArrayLike, student_margins: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute loss, divergence and entropy of pairs, elementwise.

    With ``p = sigmoid(a)``, ``s = sigmoid(z)``: ``l = softplus(z) - p z``, ``KL(p || s) = p log(p / s) + (1 - p) log((1 - p) / (1 - s))``,
    ``h = -p log p - (1 - p) log(1 - p)``, each from logarithms of sigmoids, which lose no digits.

    Args:
        teacher_margins: a, the teacher's score differences divided by the temperature; any shape.
        student_margins: z, of a shape that broadcasts with it.

    Returns:
        Three float64 arrays in nats; the first is the sum of the other two.

    >>> [round(float(term), 4) for term in pair_terms(math.log(3), 0.0)]
    [0.6931, 0.1308, 0.5623]
    """
    a, z = np.broadcast_arrays(np.asarray(teacher_margins, dtype=np.float64), np.asarray(student_margins, dtype=np.float64))
    p, q = expit(a), expit(-a)
    divergence = p * (log_expit(a) - log_expit(z)) + q * (log_expit(-a) - log_expit(-z))
    floor = -p * log_expit(a) - q * log_expit(-a)
    return np.logaddexp(0.0, z) - p * z, np.maximum(divergence, 0.0), floor


def _by_group(loss: Callable[..., Tensor], teachers: np.ndarray, students: np.ndarray, temperature: float) -> np.ndarray:
    """Compute a loss, which is a mean over a batch, for each group alone, in float64."""
    one_by_one = zip(torch.from_numpy(students).split(1), torch.from_numpy(teachers).split(1), strict=True)
    return np.array([loss(student, teacher, temperature).item() for student, teacher in one_by_one])


def _decomposed(loss: np.ndarray, divergence: np.ndarray, floor: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"loss": loss, "divergence": divergence, "entropy": floor, "residual": loss - divergence - floor})

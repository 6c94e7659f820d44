"""Labels against a teacher's probabilities: the noise that a drawn label adds to a gradient, and distillation removes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from scipy.special import entr, log_softmax
from torch import Tensor

from rd_utils.companions.theory.arrays import TheoryError, score_arrays
from rd_utils.training import losses


def label_noise(
    teacher_scores: ArrayLike, student_scores: ArrayLike, temperature: float = 1.0, *, draws: int = 0, seed: int = 0
) -> pd.DataFrame:
    """Compare training on labels that are drawn from a teacher's softmax with training on the softmax itself.

    With ``y ~ p = softmax(g / T)``, ``s = softmax(f)`` and e_y the y-th unit vector, the contrastive loss -log s_y has the gradient
    ``s - e_y`` in the scores. Its expectation ``s - p`` is the gradient of KL(p || s), so distillation replaces a random gradient by its
    conditional expectation given the group (Rao and Blackwell: Blackwell 1947, Annals of Mathematical Statistics 18), and removes the
    variance ``E ||e_y - p||^2 = 1 - sum_i p_i^2``. By Jensen ``sum p^2 >= exp(-H(p))``, so that is at most ``1 - exp(-H)``, with equality
    where p is uniform on its support.

    Args:
        teacher_scores: (n, group) raw scores.
        student_scores: (n, group) scores of the same documents.
        temperature: Divides the teacher's scores.
        draws: How many labels to draw for each group, to measure the variance; 0 for none.
        seed: Of these draws.

    Returns:
        One row a group: entropy (H, nats), removed (``1 - sum p^2``), limit (``1 - exp(-H)``), enumerated (the variance of the gradients of
        :func:`rd_utils.training.losses.lce`, over all labels), bias (the largest difference of their mean from the gradient of
        :func:`rd_utils.training.losses.kl`), and with draws also sampled (the mean of ``||e_y - p||^2`` over the labels drawn).

    Half, a quarter, a quarter: 1 - 3/8, at most 1 - 2^-1.5.

    >>> label_noise([[np.log(2), 0.0, 0.0]], [[1.0, 0.0, 0.0]])[["removed", "limit", "enumerated"]].round(4).values.tolist()
    [[0.625, 0.6464, 0.625]]
    """
    teachers, students = score_arrays(teacher_scores, student_scores, temperature)
    log_targets = log_softmax(teachers / temperature, axis=1)
    p = np.exp(log_targets)
    by_label, distilled = _gradients(teachers, students, temperature)
    expected = np.einsum("ny,nyg->ng", p, by_label)
    h = -(p * log_targets).sum(axis=1)
    frame = pd.DataFrame(
        {
            "entropy": h,
            "removed": 1 - (p**2).sum(axis=1),
            "limit": -np.expm1(-h),
            "enumerated": np.einsum("ny,nyg->n", p, (by_label - expected[:, None]) ** 2),
            "bias": np.abs(expected - distilled).max(axis=1),
        }
    )
    if draws:
        labels = _draw_labels(p, draws, seed)
        frame["sampled"] = (1 - 2 * np.take_along_axis(p, labels, axis=1) + (p**2).sum(axis=1, keepdims=True)).mean(axis=1)
    return frame


def _gradients(teachers: np.ndarray, students: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients in the scores of the contrastive loss by label, (n, label, group), and of distillation, (n, group)."""
    n, group = teachers.shape
    scores, targets = torch.from_numpy(students.copy()).requires_grad_(), torch.from_numpy(teachers)
    by_label = np.empty((n, group, group))
    for label in range(group):
        order = [label, *(other for other in range(group) if other != label)]  # a loss takes column 0 for the label
        by_label[:, label] = n * torch.autograd.grad(losses.lce(scores[:, order]), scores)[0].numpy()
    return by_label, n * torch.autograd.grad(losses.kl(scores, targets, temperature), scores)[0].numpy()


def _draw_labels(p: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Draw labels of every group: (n, draws)."""
    ends = np.cumsum(p, axis=1)
    u = np.random.default_rng(seed).random((len(p), draws)) * ends[:, -1:]
    return np.minimum((u[:, :, None] >= ends[:, None, :]).sum(axis=2), p.shape[1] - 1)


def noise_limits(group: int, points: int = 100) -> pd.DataFrame:
    """Compute between which limits the variance that a teacher removes lies, given its listwise entropy.

    At most ``1 - exp(-H)`` (Jensen). At least what a target with one large probability and all others equal has: among all targets of the
    same ``sum p^2`` that one has the highest entropy (Harremoes, Topsoe 2001, Inequalities between Entropy and Index of Coincidence
    Derived from Information Diagrams, IEEE Transactions on Information Theory 47).

    Args:
        group: Documents of a group, at least 2.
        points: How many rows.

    Returns:
        entropy (nats, rising from 0 to ``log(group)``), low, high.

    >>> noise_limits(2, points=3).round(4).values.tolist()
    [[0.0, 0.0, 0.0], [0.5623, 0.375, 0.4301], [0.6931, 0.5, 0.5]]
    """
    if group < 2:
        raise TheoryError(f"a group has {group} document(s); expected at least 2")
    other = np.linspace(0, 1 / group, points)
    largest = 1 - (group - 1) * other
    h = entr(largest) + (group - 1) * entr(other)
    return pd.DataFrame({"entropy": h, "low": 1 - largest**2 - (group - 1) * other**2, "high": -np.expm1(-h)})


class GradientNoise(NamedTuple):
    """What drawing labels adds to the gradient of a batch, in the space of the weights.

    Attributes:
        distilled: the squared norm of the gradient of KL.
        variance: the exact variance (trace) of the gradient of the contrastive loss over the labels.
        sampled: the mean squared distance of gradients with drawn labels from that of KL; estimates ``variance``.
        distance: the distance of their mean from the gradient of KL; its square has the expectation ``variance / draws``.
        draws: how many.
    """

    distilled: float
    variance: float
    sampled: float
    distance: float
    draws: int


def gradient_noise(
    scores: Tensor, weights: Sequence[Tensor], teacher_scores: ArrayLike, temperature: float = 1.0, *, draws: int, seed: int
) -> GradientNoise:
    """Compare the two gradients of a batch of groups in the space of a student's weights.

    With J_b the Jacobian of the scores of group b (group, weights) and ``K_b = J_b J_b^T``, the gradient of the batch is ``mean over b of
    J_b^T (s_b - e_y)``, and as labels of different groups are independent its variance is
    ``1 / B^2 sum_b (sum_i p_i K_ii - p^T K p)``; score space has K = I. The Jacobians are computed row by row: meant for small students.

    Args:
        scores: (B, group) a student's scores of a batch, with their graph.
        weights: The weights, which the scores depend on.
        teacher_scores: (B, group) raw scores of the same documents.
        temperature: Divides the teacher's scores.
        draws: How often the labels of the batch are drawn.
        seed: Of the draws.

    Returns:
        The norms; see :class:`GradientNoise`.
    """
    teachers, _ = score_arrays(teacher_scores, scores.detach().numpy(), temperature)
    p = np.exp(log_softmax(teachers / temperature, axis=1))
    n_groups, group = p.shape

    def gradient(value: Tensor) -> Tensor:
        found = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True, materialize_grads=True)
        return torch.cat([part.reshape(-1).double() for part in found])

    variance = 0.0
    for b in range(n_groups):
        jacobian = torch.stack([gradient(scores[b, i]) for i in range(group)])
        gram = (jacobian @ jacobian.T).numpy()
        variance += float(p[b] @ np.diag(gram) - p[b] @ gram @ p[b]) / n_groups**2
    distilled = gradient(losses.kl(scores, torch.from_numpy(teachers), temperature))
    total, squares = torch.zeros_like(distilled), 0.0
    columns = np.arange(group)
    for labels in _draw_labels(p, draws, seed).T:
        order = np.where(columns == 0, labels[:, None], np.where(columns == labels[:, None], 0, columns))  # the label changes places with 0
        drawn = gradient(losses.lce(scores.gather(1, torch.from_numpy(order))))
        total += drawn
        squares += float((drawn - distilled).square().sum())
    distance = float((total / draws - distilled).norm())
    return GradientNoise(float(distilled.square().sum()), variance, squares / draws, distance, draws)

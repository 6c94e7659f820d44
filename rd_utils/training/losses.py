"""Training losses of a group, the same for bi-encoders and cross-encoders.

Every loss takes ``student_scores`` of shape ``(batch, group)`` with the labelled positive in column 0; a distillation
loss also takes ``teacher_scores`` of the same shape. The temperature divides the teacher's scores only: the student is
never rescaled, and no loss is multiplied by the square of the temperature. ``smoothing`` e moves that share of the
target's mass to the uniform distribution: over the group, over the two orders of a pair, or, for margins, towards 0.

Every loss is a scalar, the mean over the groups of the batch, so that equal slices of a batch average to its loss. Plain functions
compute; :func:`group_loss` checks what it is given, then computes, and is what training calls. A new loss is a function
and its entry in :data:`LOSSES`. :mod:`rd_utils.training.trainer_losses` carries all of them into the trainers of
sentence-transformers.
"""

from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor
else:

    class _Later(NamedTuple):
        """A module that is imported when it is first used: a study names losses, and is read without the second that torch takes."""

        module: str

        def __getattr__(self, name: str) -> object:
            return getattr(importlib.import_module(self.module), name)

    torch, F = _Later("torch"), _Later("torch.nn.functional")


def at_least_float32(scores: Tensor) -> Tensor:
    """Return scores in float32, or in their own dtype where that is wider."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def _like(teacher_scores: Tensor, student_scores: Tensor) -> Tensor:
    """Return the teacher's scores in the dtype and on the device of the student's, without gradient."""
    return teacher_scores.detach().to(device=student_scores.device, dtype=student_scores.dtype)


def _pair_differences(scores: Tensor) -> Tensor:
    """Return ``scores[:, i] - scores[:, j]`` for all i < j: (batch, group) -> (batch, group * (group - 1) / 2)."""
    first, second = torch.triu_indices(scores.shape[1], scores.shape[1], offset=1, device=scores.device)
    return scores[:, first] - scores[:, second]


def _smoothed_softmax(teacher_scores: Tensor, temperature: float, smoothing: float) -> Tensor:
    """Return ``(1 - e) softmax(g / T) + e / G`` for every document of every group."""
    probabilities = torch.softmax(teacher_scores / temperature, dim=1)
    return (1 - smoothing) * probabilities + smoothing / probabilities.shape[1]


def _mean_over_ordered_pairs(pair_losses: Tensor, order: Tensor) -> Tensor:
    """Return the mean of a group's pairs that have an order (not 0), a group without any counting 0, averaged over the batch."""
    ordered = order != 0
    return ((pair_losses * ordered).sum(dim=1) / ordered.sum(dim=1).clamp(min=1)).mean()


def lce(
    student_scores: Tensor,
    teacher_scores: Tensor | None = None,
    temperature: float = 1.0,
    smoothing: float = 0.0,
    others: Tensor | None = None,
) -> Tensor:
    """Compute the localised contrastive estimation loss: the positive against its own group.

    ``mean over the batch of -(1 - e) log s_0 - (e / G) sum_i log s_i`` with ``s = softmax(f)``, in nats, e the smoothing.
    ``others`` join the denominator of the softmax as further negatives; smoothing spreads over the group only, so that
    they only ever push their own scores down. The floor is the entropy of the smoothed label, 0 without smoothing.

    Args:
        student_scores: (batch, group), positive first.
        teacher_scores: Unused; present so that all losses are called alike.
        temperature: Unused.
        smoothing: Share of the label that is spread over the group, the positive included, in [0, 1).
        others: (batch, m), the student's scores of further negatives; -inf leaves one out.

    Returns:
        A scalar, in float32 or the dtype of ``student_scores`` where that is wider.

    Two documents with equal scores cost ln 2; two more negatives with the same score make it ln 4:

    >>> round(lce(torch.tensor([[3.0, 3.0]])).item(), 4)
    0.6931
    >>> round(lce(torch.tensor([[3.0, 3.0]]), others=torch.tensor([[3.0, 3.0, -math.inf]])).item(), 4)
    1.3863
    """
    students = at_least_float32(student_scores)
    scores = students if others is None else torch.cat([students, others.to(students)], dim=1)
    log_shares = torch.log_softmax(scores, dim=1)[:, : students.shape[1]]
    labels = torch.zeros(len(students), dtype=torch.long, device=students.device)
    return (1 - smoothing) * F.nll_loss(log_shares, labels) - smoothing * log_shares.mean()


def ranknet(student_scores: Tensor, teacher_scores: Tensor, temperature: float = 1.0, smoothing: float = 0.0) -> Tensor:
    """Compute RankNet with soft targets: every pair of the group ordered as surely as the teacher orders it.

    With ``p = (1 - e) sigmoid((g_i - g_j) / T) + e / 2`` and ``s = sigmoid(f_i - f_j)``: the mean over pairs i < j, then
    over the batch, of ``-p log s - (1 - p) log(1 - s)``, in nats. Its floor is the mean binary entropy of the targets p:
    without smoothing the teacher's pairwise entropy (:mod:`rd_utils.scoring.entropy`) times ln 2.

    Args:
        student_scores: (batch, group), positive first.
        teacher_scores: (batch, group), raw scores of the same documents.
        temperature: Divides the teacher's scores.
        smoothing: Share e of a pair's target that is split evenly between its two orders, in [0, 1).

    A student that is undecided about a pair pays ln 2, whatever the teacher says:

    >>> round(ranknet(torch.tensor([[0.0, 0.0]]), torch.tensor([[5.0, 1.0]])).item(), 4)
    0.6931
    """
    students = at_least_float32(student_scores)
    targets = torch.sigmoid(_pair_differences(_like(teacher_scores, students)) / temperature)
    targets = (1 - smoothing) * targets + smoothing / 2
    return F.binary_cross_entropy_with_logits(_pair_differences(students), targets)


def ranknet_thresholded(student_scores: Tensor, teacher_scores: Tensor, temperature: float = 1.0, smoothing: float = 0.0) -> Tensor:
    """Compute RankNet with hard targets: every pair of the group ordered as the teacher orders it, however unsure it is.

    With ``p = (1 - e) [g_i > g_j] + e / 2`` and ``s = sigmoid(f_i - f_j)``: the mean over a group's pairs i < j with
    ``g_i != g_j`` of ``-p log s - (1 - p) log(1 - s)``, in nats, then the mean over all groups of the batch. Ties make no
    pair; a group of ties alone contributes 0 and is counted in the mean. Its floor is the binary entropy of e / 2, so 0
    without smoothing, which no finite scores reach: the teacher's entropy is gone from the loss.

    Args:
        student_scores: (batch, group), positive first.
        teacher_scores: (batch, group), raw scores of the same documents; only their order is used.
        temperature: Unused: it changes no order.
        smoothing: Share e of a pair's target that is split evenly between its two orders, in [0, 1).

    One pair counts, (0, 1) and (1, 2) being undecided by the student and (0, 2) tied by the teacher:

    >>> round(ranknet_thresholded(torch.tensor([[1.0, 1.0, 1.0]]), torch.tensor([[5.0, 1.0, 5.0]])).item(), 4)
    0.6931
    """
    students = at_least_float32(student_scores)
    order = _pair_differences(teacher_scores.detach().to(students.device)).sign().to(students.dtype)  # in the teacher's own dtype
    targets = (1 - smoothing) * (order + 1) / 2 + smoothing / 2
    pair_losses = F.binary_cross_entropy_with_logits(_pair_differences(students), targets, reduction="none")
    return _mean_over_ordered_pairs(pair_losses, order)


def margin_mse(student_scores: Tensor, teacher_scores: Tensor, temperature: float = 1.0, smoothing: float = 0.0) -> Tensor:
    """Compute the squared error of the positive's margins over the other documents of its group.

    The mean over j > 0, then over the batch, of ``((f_0 - f_j) - (1 - e) (g_0 - g_j) / T)^2``. Its floor is 0.

    Args:
        student_scores: (batch, group), positive first.
        teacher_scores: (batch, group), raw scores of the same documents.
        temperature: Divides the teacher's scores.
        smoothing: Share e by which the teacher's margins shrink, in [0, 1).

    Returns:
        A scalar, in squared units of the student's scores.

    The student's margin is 1, the teacher's 4, halved by the temperature to 2:

    >>> margin_mse(torch.tensor([[1.0, 0.0]]), torch.tensor([[4.0, 0.0]]), temperature=2.0).item()
    1.0
    """
    students = at_least_float32(student_scores)
    teachers = _like(teacher_scores, students)
    targets = (1 - smoothing) * ((teachers[:, :1] - teachers[:, 1:]) / temperature)
    return F.mse_loss(students[:, :1] - students[:, 1:], targets)


def margin_mse_all_pairs(student_scores: Tensor, teacher_scores: Tensor, temperature: float = 1.0, smoothing: float = 0.0) -> Tensor:
    """Compute the squared error of the margins of all pairs of the group, not only those with the positive.

    The mean over pairs i < j, then over the batch, of ``((f_i - f_j) - (1 - e) (g_i - g_j) / T)^2``. Its floor is 0. With
    ``r = f - (1 - e) g / T`` it is ``2 G / (G - 1)`` times the mean squared deviation of r from its mean over the group:
    a regression of scores up to a shift of each group, in which the positive plays no part of its own.

    Args:
        student_scores: (batch, group), in any order.
        teacher_scores: (batch, group), raw scores of the same documents.
        temperature: Divides the teacher's scores.
        smoothing: Share e by which the teacher's margins shrink, in [0, 1).

    Returns:
        A scalar, in squared units of the student's scores.

    A flat student pays the mean of the teacher's squared margins 1, 3 and 2:

    >>> round(margin_mse_all_pairs(torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[3.0, 2.0, 0.0]])).item(), 4)
    4.6667
    """
    students = at_least_float32(student_scores)
    targets = (1 - smoothing) * (_pair_differences(_like(teacher_scores, students)) / temperature)
    return F.mse_loss(_pair_differences(students), targets)


def kl(student_scores: Tensor, teacher_scores: Tensor, temperature: float = 1.0, smoothing: float = 0.0) -> Tensor:
    """Compute the Kullback-Leibler divergence of the student's softmax over the group from the teacher's.

    ``mean over the batch of sum_i p_i (log p_i - log s_i)`` with ``p = (1 - e) softmax(g / T) + e / G``,
    ``s = softmax(f)``, in nats. Its floor is 0, with smoothing too.

    Args:
        student_scores: (batch, group), positive first.
        teacher_scores: (batch, group), raw scores of the same documents.
        temperature: Divides the teacher's scores.
        smoothing: Share e of the teacher's mass that is spread over the group, in [0, 1).

    Returns:
        A scalar, at least 0.

    Teacher (3/4, 1/4), student (1/2, 1/2): 0.75 ln 1.5 + 0.25 ln 0.5.

    >>> round(kl(torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3), 0.0]])).item(), 4)
    0.1308
    """
    students = at_least_float32(student_scores)
    targets = _smoothed_softmax(_like(teacher_scores, students), temperature, smoothing)
    return F.kl_div(torch.log_softmax(students, dim=1), targets, reduction="batchmean")


def listnet(student_scores: Tensor, teacher_scores: Tensor, temperature: float = 1.0, smoothing: float = 0.0) -> Tensor:
    """Compute top-one ListNet: the cross-entropy of the student's softmax over the group under the teacher's.

    ``mean over the batch of -sum_i p_i log s_i`` with ``p = (1 - e) softmax(g / T) + e / G``, ``s = softmax(f)``, in nats.
    It is :func:`kl` plus the entropy of p, which is its floor (without smoothing the teacher's listwise entropy times
    ln G) and does not depend on the student: the gradients of the two losses are equal, and so is what they train.

    Args:
        student_scores: (batch, group), positive first.
        teacher_scores: (batch, group), raw scores of the same documents.
        temperature: Divides the teacher's scores.
        smoothing: Share e of the teacher's mass that is spread over the group, in [0, 1).

    A flat student pays ln G, whatever the teacher says:

    >>> round(listnet(torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3), 0.0]])).item(), 4)
    0.6931
    """
    students = at_least_float32(student_scores)
    return F.cross_entropy(students, _smoothed_softmax(_like(teacher_scores, students), temperature, smoothing))


def lambda_loss(student_scores: Tensor, teacher_scores: Tensor, temperature: float = 1.0, smoothing: float = 0.0) -> Tensor:
    """Compute the pairwise logistic loss with LambdaRank's weights: a pair counts by what swapping it changes in nDCG.

    With ``p = (1 - e) softmax(g / T) + e / G``, gains ``p / max DCG`` (max DCG: of the documents sorted by p) and r the
    ranks in the order of the student's present scores: the mean over a group's pairs with ``g_i > g_j`` of
    ``-|gain_i - gain_j| |1 / log2(1 + r_i) - 1 / log2(1 + r_j)| log2 sigmoid(f_i - f_j)``, in bits, then the mean over
    all groups of the batch. Ties make no pair; a group of ties alone contributes 0 and is counted in the mean. The weights
    carry no gradient. Its floor is 0, which no finite scores reach.

    ``LambdaLoss`` of sentence-transformers with its ``LambdaRankScheme`` is the same loss where no scores are tied and its
    labels are ``log2(1 + p)``; its gains are ``2^label - 1`` for given labels, and it takes one mean over the pairs of the
    whole batch, so that groups with fewer ties weigh more.

    Args:
        student_scores: (batch, group), in any order; of equal scores the one in the lower column ranks higher.
        teacher_scores: (batch, group), raw scores of the same documents.
        temperature: Divides the teacher's scores.
        smoothing: Share e of the teacher's mass that is spread over the group before gains are taken, in [0, 1).

    Gains (3/4, 1/4) / max DCG 0.9077, discounts 1 and 0.6309: 0.5508 times 0.3691, times 1 bit for an undecided student.

    >>> round(lambda_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3), 0.0]])).item(), 4)
    0.2033
    """
    students = at_least_float32(student_scores)
    teachers = _like(teacher_scores, students)
    relevance = _smoothed_softmax(teachers, temperature, smoothing)
    discounts = 1 / torch.log2(torch.arange(2, students.shape[1] + 2, device=students.device, dtype=students.dtype))
    ideal = (relevance.sort(dim=1, descending=True).values * discounts).sum(dim=1, keepdim=True)
    ranks = students.detach().argsort(dim=1, descending=True, stable=True).argsort(dim=1)  # from 0
    weights = _pair_differences(relevance / ideal).abs() * _pair_differences(discounts[ranks]).abs()
    order = _pair_differences(teachers).sign()
    pair_losses = -weights * F.logsigmoid(order * _pair_differences(students)) / math.log(2)
    return _mean_over_ordered_pairs(pair_losses, order)


class Loss(NamedTuple):
    """A loss as a value: what it is called, what it computes for a group (e is the smoothing), what it needs and its source.

    ``version`` is raised when the function computes something else than before.
    """

    name: str
    function: Callable[..., Tensor]
    formula: str
    source: str
    needs_teacher: bool = True
    uses_temperature: bool = True
    version: int = 1


def group_loss(
    name: str,
    student_scores: Tensor,
    teacher_scores: Tensor | None = None,
    temperature: float = 1.0,
    *,
    smoothing: float = 0.0,
    hard_weight: float = 0.0,
    others: Tensor | None = None,
    teacher_is_finite: bool = False,
) -> Tensor:
    """Check a batch of groups and compute the named loss on it, a scalar with the gradient of ``student_scores`` and ``others``.

    With a ``hard_weight`` w it is ``(1 - w) * loss + w * lce``, both with the same smoothing. The students' values are not
    checked for nan (that would wait for an accelerator at every step); the teacher's are, since a missing score must never
    pass as a number.

    Args:
        name: A key of :data:`LOSSES`.
        student_scores: (batch, group), positive first, group at least 2.
        teacher_scores: (batch, group), finite; a loss that needs no teacher ignores them.
        temperature: Divides the teacher's scores; positive and finite.
        smoothing: Share of the targets' mass that is moved to the uniform distribution, in [0, 1); see each loss.
        hard_weight: Weight of LCE beside a distillation loss, in [0, 1).
        others: (batch, m), the student's scores of further negatives without teacher scores, such as the documents of
            the batch's other groups; -inf leaves one out. They join LCE's denominator, alone or under ``hard_weight``.
        teacher_is_finite: Whether the teacher's scores were looked through before: on an accelerator that waits for it.

    Raises:
        ValueError: If anything does not fit: ``hard_weight`` is given to LCE, say, or ``others`` to a loss without LCE in it.

    >>> group_loss("margin_mse", torch.tensor([[1.0, 0.0]]), torch.tensor([[4.0, 0.0]])).item()
    9.0
    >>> group_loss("margin_mse", torch.tensor([[1.0, 1.0]]), torch.tensor([[4.0, 0.0]]), hard_weight=0.5).item()  # (16 + ln 2) / 2
    8.346573829650879
    >>> group_loss("kl", torch.tensor([[1.0, 0.0]]))
    Traceback (most recent call last):
        ...
    ValueError: the loss 'kl' distils a teacher, but teacher_scores is None; pass its (1, 2) scores, or use 'lce'
    """
    loss, shape = find_loss(name), tuple(student_scores.shape)
    _check_input(name, student_scores, temperature, smoothing, hard_weight, others)
    if name == "lce":
        return lce(student_scores, smoothing=smoothing, others=others)
    if loss.needs_teacher:
        teacher_scores = _checked_teacher(name, teacher_scores, shape, teacher_is_finite)
    value = loss.function(student_scores, teacher_scores, temperature, smoothing)
    if not hard_weight:
        return value
    return (1 - hard_weight) * value + hard_weight * lce(student_scores, smoothing=smoothing, others=others)


def find_loss(name: str) -> Loss:
    """Return the loss of that name.

    Raises:
        ValueError: If there is none; lists the choices and the nearest match.

    >>> find_loss("lce").needs_teacher
    False
    >>> find_loss("marginmse")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: unknown loss 'marginmse'; choose from kl, lambda_loss, ...; did you mean 'margin_mse'?
    """
    if name in LOSSES:
        return LOSSES[name]
    nearest = difflib.get_close_matches(str(name).lower(), LOSSES, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise ValueError(f"unknown loss {name!r}; choose from {', '.join(sorted(LOSSES))}{hint}")


def check_positive(name: str, number: float) -> None:
    """Raise a ValueError unless a temperature or a scale is positive and finite."""
    if not 0 < number < math.inf:
        raise ValueError(f"{name} is {number}; expected a positive, finite number (1 leaves the scores as they are)")


def _check_share(name: str, number: float) -> None:
    if not 0 <= number < 1:
        raise ValueError(f"{name} is {number}; expected a share, at least 0 and below 1 (0 changes nothing)")


def _check_input(
    name: str, student_scores: Tensor, temperature: float, smoothing: float, hard_weight: float, others: Tensor | None
) -> None:
    check_positive("temperature", temperature)
    _check_share("smoothing", smoothing)
    _check_share("hard_weight", hard_weight)
    shape = tuple(student_scores.shape)
    if len(shape) != 2:
        raise ValueError(f"student_scores has shape {shape}; expected two dimensions, (batch, group)")
    if shape[0] == 0:
        raise ValueError(f"student_scores has shape {shape}, a batch without groups; expected at least one")
    if shape[1] < 2:
        raise ValueError(f"a group has {shape[1]} document(s); expected the positive and at least one negative")
    if others is not None and (others.ndim != 2 or len(others) != shape[0]):
        raise ValueError(f"others has shape {tuple(others.shape)}; expected ({shape[0]}, m), the scores of m further negatives per group")
    if name == "lce" and hard_weight:
        raise ValueError(f"hard_weight is {hard_weight}, but the loss is 'lce' itself; leave it at 0, or name a distillation loss")
    if name != "lce" and others is not None and not hard_weight:
        raise ValueError(f"others have no teacher scores for the loss {name!r}; use 'lce', or give it a hard_weight")


def _checked_teacher(name: str, teacher_scores: Tensor | None, shape: tuple[int, ...], is_finite: bool) -> Tensor:
    """Return the teacher's scores if they are present, of the right shape and finite; raise otherwise."""
    if teacher_scores is None:
        without = " or ".join(repr(loss.name) for loss in LOSSES.values() if not loss.needs_teacher)
        raise ValueError(f"the loss {name!r} distils a teacher, but teacher_scores is None; pass its {shape} scores, or use {without}")
    if tuple(teacher_scores.shape) != shape:
        raise ValueError(
            f"teacher_scores has shape {tuple(teacher_scores.shape)}, student_scores {shape}; expected the same "
            "(batch, group): one score for the positive and for every negative, in the order of the documents"
        )
    if is_finite:
        return teacher_scores
    finite = torch.isfinite(teacher_scores)
    if not finite.all():
        row, column = (~finite).nonzero()[0].tolist()
        raise ValueError(
            f"{int((~finite).sum())} of {finite.numel()} teacher_scores are not finite, the first "
            f"({teacher_scores[row, column].item()}) for document {column} of group {row}; "
            "a missing score is an error: score every document of every group first"
        )
    return teacher_scores


_PAIR_TERM = "-p log s - (1-p) log(1-s)"
LOSSES: dict[str, Loss] = {
    "lce": Loss(
        name="lce",
        function=lce,
        needs_teacher=False,
        uses_temperature=False,
        formula="-(1-e) log s_0 - (e/G) sum_i log s_i, s = softmax(f)",
        source="Gao, Dai, Callan 2021, Rethink Training of BERT Rerankers in Multi-Stage Retrieval Pipeline, arXiv 2101.08751; "
        "smoothing: Szegedy et al. 2016, Rethinking the Inception Architecture for Computer Vision, CVPR",
    ),
    "ranknet": Loss(
        name="ranknet",
        function=ranknet,
        formula=f"mean over i<j of {_PAIR_TERM}, p = (1-e) sigmoid((g_i-g_j)/T) + e/2, s = sigmoid(f_i-f_j)",
        source="Burges et al. 2005, Learning to Rank using Gradient Descent, ICML",
    ),
    "ranknet_thresholded": Loss(
        name="ranknet_thresholded",
        function=ranknet_thresholded,
        uses_temperature=False,
        formula=f"mean over i<j with g_i != g_j of {_PAIR_TERM}, p = (1-e) [g_i > g_j] + e/2, s = sigmoid(f_i-f_j)",
        source="Burges et al. 2005, Learning to Rank using Gradient Descent, ICML, with target probabilities 0 and 1",
    ),
    "margin_mse": Loss(
        name="margin_mse",
        function=margin_mse,
        formula="mean over j>0 of ((f_0-f_j) - (1-e) (g_0-g_j)/T)^2",
        source="Hofstätter et al. 2020, Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge "
        "Distillation, arXiv 2010.02666",
    ),
    "margin_mse_all_pairs": Loss(
        name="margin_mse_all_pairs",
        function=margin_mse_all_pairs,
        formula="mean over i<j of ((f_i-f_j) - (1-e) (g_i-g_j)/T)^2",
        source="Hofstätter et al. 2020, arXiv 2010.02666, over all pairs of the group in place of those with the positive",
    ),
    "kl": Loss(
        name="kl",
        function=kl,
        formula="sum_i p_i (log p_i - log s_i), p = (1-e) softmax(g/T) + e/G, s = softmax(f)",
        source="Hinton, Vinyals, Dean 2015, Distilling the Knowledge in a Neural Network, arXiv 1503.02531; "
        "over a group of documents: Lin, Yang, Lin 2020, arXiv 2010.11386",
    ),
    "listnet": Loss(
        name="listnet",
        function=listnet,
        formula="-sum_i p_i log s_i, p = (1-e) softmax(g/T) + e/G, s = softmax(f)",
        source="Cao, Qin, Liu, Tsai, Li 2007, Learning to Rank: From Pairwise Approach to Listwise Approach, ICML",
    ),
    "lambda_loss": Loss(
        name="lambda_loss",
        function=lambda_loss,
        formula="mean over g_i>g_j of -|p_i-p_j|/maxDCG |1/log2(1+r_i) - 1/log2(1+r_j)| log2 sigmoid(f_i-f_j), "
        "p = (1-e) softmax(g/T) + e/G, r = the student's ranks",
        source="Burges 2010, From RankNet to LambdaRank to LambdaMART: An Overview, MSR-TR-2010-82; "
        "Wang, Li, Golbandi, Bendersky, Najork 2018, The LambdaLoss Framework for Ranking Metric Optimization, CIKM",
    ),
}

# The name of a loss, as a type.
if TYPE_CHECKING:
    LossName = str
else:
    LossName = Literal[tuple(LOSSES)]

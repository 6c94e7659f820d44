"""The theory behind the study, each term computed from data: the floor, the range, the deviation, the sampler, and what labels add.

The soft RankNet loss of a pair with teacher margin ``a = (g_0 - g_d) / T`` and student margin ``z = f_0 - f_d`` is, with
``p = sigmoid(a)``,

    ``l(p, z) = -p log sigmoid(z) - (1 - p) log sigmoid(-z) = softplus(z) - p z``,

and everything here follows from three facts: it is a divergence plus the teacher's entropy (:func:`pairwise_decomposition`); with
``|z| <= B`` it lies in an interval of width B (:func:`loss_range`), where B is a Lipschitz constant times a distance
(:func:`margin_bounds`); and a mean over independent groups deviates from its expectation by an amount that such a width controls
(:func:`hoeffding`, :func:`empirical_bernstein`). The trivial student, which scores everything alike, pays ``log 2`` on every pair: a
bound on the loss that is not below ``log 2`` says nothing, and :class:`Certificate` says so.

Natural logarithms throughout: losses, divergences and entropies of this module are in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from pydantic import Field, model_validator
from scipy import stats as distributions
from scipy.optimize import brentq
from scipy.spatial.distance import cdist
from scipy.special import entr, expit, log_expit, log_softmax, rel_entr
from torch import Tensor

from rd_utils.analysis import locality, stats
from rd_utils.data.collections import positives
from rd_utils.models.tokens import TokenTable, take
from rd_utils.scoring import entropy
from rd_utils.study import bounds, params
from rd_utils.study.graph import tokenizer_of
from rd_utils.training import losses

TRIVIAL = math.log(2)  # nats: what a student that scores everything alike pays on any pair, whatever the teacher says
_LOG_2 = math.log(2)
_BLOCK_VALUES = 4_000_000  # numbers held at once in a block: 32 MB


class TheoryError(ValueError):
    """A term of the theory is undefined for what was given; the message names the first offender."""


# --- 1 the floor ------------------------------------------------------------------------------------------------------------------


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
    teachers, students = _scores(teacher_scores, student_scores, temperature)
    group = teachers.shape[1]
    if pairs not in ("all", "positive"):
        raise TheoryError(f"pairs is {pairs!r}; choose all, or positive for those with the labelled positive")
    first, second = np.triu_indices(group, k=1) if pairs == "all" else (np.zeros(group - 1, dtype=int), np.arange(1, group))
    _, divergence, _ = pair_terms((teachers[:, first] - teachers[:, second]) / temperature, students[:, first] - students[:, second])
    floor = (entropy.pairwise_entropy if pairs == "all" else entropy.positive_entropy)(teachers, temperature) * _LOG_2
    if pairs == "all":
        loss = _by_group(losses.ranknet, teachers, students, temperature)
    else:  # each pair as a group of two
        both = [np.stack([scores[:, first].ravel(), scores[:, second].ravel()], axis=1) for scores in (teachers, students)]
        loss = _by_group(losses.ranknet, *both, temperature).reshape(len(teachers), group - 1).mean(axis=1)
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
    teachers, students = _scores(teacher_scores, student_scores, temperature)
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


def _scores(teacher_scores: ArrayLike, student_scores: ArrayLike, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Return both as finite float64 arrays of one shape (n, group), or raise."""
    teachers, students = (np.ascontiguousarray(scores, dtype=np.float64) for scores in (teacher_scores, student_scores))
    if teachers.ndim != 2 or teachers.shape != students.shape or teachers.shape[1] < 2:
        raise TheoryError(
            f"teacher_scores has shape {teachers.shape}, student_scores {students.shape}; "
            "expected the same (groups, group size), at least 2 documents a group"
        )
    for name, scores in (("teacher_scores", teachers), ("student_scores", students)):
        _finite(scores, name, "score every document of every group first")
    if not 0 < temperature < math.inf:
        raise TheoryError(f"temperature is {temperature}; expected a positive, finite number")
    return teachers, students


def _finite(values: np.ndarray, name: str, remedy: str) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        place = tuple(bad[0].tolist())
        raise TheoryError(f"{len(bad)} of {values.size} values of {name} are not finite, the first ({values[place]}) at {place}; {remedy}")


# --- 2 the range ------------------------------------------------------------------------------------------------------------------


def loss_range(bound: ArrayLike, target: ArrayLike | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Compute the interval in which the loss of a pair lies when the student's margin is at most ``bound`` in size.

    Over all teachers it is exactly ``[softplus(-B), softplus(B)]``, of width B: l is a mean of ``softplus(-z)`` and ``softplus(z)`` with
    weights p and 1 - p, both of which lie there, and p = 1, z = B and p = 0, z = B attain the ends. For one teacher probability p the
    lowest value is at ``z = logit(p)``, cut to [-B, B] (h(p) where it is inside), the highest ``softplus(B) - min(p, 1 - p) B``.

    Args:
        bound: B, at least 0.
        target: p, or None for all of them.

    Returns:
        The lowest and the highest loss, in nats.

    Raises:
        TheoryError: The bound is negative or no number, or the target is no probability.

    >>> [round(float(end), 4) for end in loss_range(2.0)]
    [0.1269, 2.1269]
    >>> [round(float(end), 4) for end in loss_range(2.0, target=0.5)]  # an undecided teacher: about half of the width
    [0.6931, 1.1269]
    """
    bound = np.asarray(bound, dtype=np.float64)
    if not (bound >= 0).all():
        raise TheoryError(f"the bound of the margins is {bound.min()}; expected numbers of at least 0")
    if target is None:
        return np.logaddexp(0.0, -bound), np.logaddexp(0.0, bound)
    p = np.asarray(target, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise TheoryError(f"target holds {p.min()} to {p.max()}; expected probabilities")
    with np.errstate(divide="ignore"):
        best = np.clip(np.log(p) - np.log1p(-p), -bound, bound)
    return np.logaddexp(0.0, best) - p * best, np.logaddexp(0.0, bound) - np.minimum(p, 1 - p) * bound


def margin_bounds(query_vectors: np.ndarray, group_vectors: np.ndarray) -> pd.DataFrame:
    """Bound a bi-encoder's margins within each group by geometry: ``|f(q, d_0) - f(q, d)| <= ||u_q|| ||x_0 - x_d||``.

    The score ``<u_q, x_d>`` is Lipschitz in x with the constant ``L = ||u_q||`` (Cauchy and Schwarz), in the student's own, unnormalised
    space. The reach, the largest distance from the positive to a negative, is at most the group's diameter; ``bound = L * reach``.

    Args:
        query_vectors: (n, d) query embeddings u, the scale of the scores included.
        group_vectors: (n, group, d) document embeddings x, the positive first.

    Returns:
        One row a group: lipschitz, reach, diameter, bound, largest_margin (the largest ``|f_0 - f_d|``, at most the bound).

    Raises:
        TheoryError: Shapes do not fit, or a number is not finite.

    A query along the first axis; negatives at distances 3 and 4 from the positive, 5 from each other, of which the first lies along it:

    >>> margin_bounds(np.array([[2.0, 0.0]]), np.array([[[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]])).values.tolist()
    [[2.0, 4.0, 5.0, 8.0, 6.0]]
    """
    u, x = np.asarray(query_vectors, dtype=np.float64), np.asarray(group_vectors, dtype=np.float64)
    if u.ndim != 2 or x.ndim != 3 or len(u) != len(x) or u.shape[1] != x.shape[2] or x.shape[1] < 2:
        raise TheoryError(
            f"query_vectors has shape {u.shape}, group_vectors {x.shape}; expected (n, d) and (n, group, d), group at least 2"
        )
    _finite(u, "query_vectors", "encode in fp32")
    _finite(x, "group_vectors", "encode in fp32")
    lipschitz = np.linalg.norm(u, axis=1)
    reach = np.linalg.norm(x[:, 1:] - x[:, :1], axis=2).max(axis=1)
    diameter = np.array([cdist(group, group).max() for group in x])
    margins = np.abs(np.einsum("nd,ngd->ng", u, x[:, :1] - x[:, 1:])).max(axis=1)
    return pd.DataFrame(
        {"lipschitz": lipschitz, "reach": reach, "diameter": diameter, "bound": lipschitz * reach, "largest_margin": margins}
    )


def collection_diameter(vectors: np.ndarray, *, exact_up_to: int = 20_000) -> float:
    """Bound the distance of any two documents of a collection, which is known before any query or label is.

    The largest pairwise distance; above ``exact_up_to`` documents twice the largest distance from the mean embedding, which is never less.

    Args:
        vectors: (n_docs, d) embeddings, not normalised.
        exact_up_to: The largest collection whose pairs are all looked at.

    >>> square = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0], [3.0, 4.0]])
    >>> collection_diameter(square), collection_diameter(square, exact_up_to=1)
    (5.0, 5.0)
    """
    x = np.asarray(vectors, dtype=np.float64)
    if x.ndim != 2 or not len(x):
        raise TheoryError(f"vectors has shape {x.shape}; expected (n_docs, d), at least one document")
    _finite(x, "vectors", "encode in fp32")
    if len(x) > exact_up_to:
        return float(2 * np.linalg.norm(x - x.mean(axis=0), axis=1).max())
    rows = max(1, _BLOCK_VALUES // len(x))
    return float(max(cdist(x[start : start + rows], x).max() for start in range(0, len(x), rows)))


# --- 3 deviations -----------------------------------------------------------------------------------------------------------------


def hoeffding(width: float, n: int, delta: float) -> float:
    """Compute by how much an expectation can exceed the mean of n independent values in an interval of known width.

    ``E X <= mean + width sqrt(log(1 / delta) / (2 n))`` with probability at least ``1 - delta`` (Hoeffding 1963, Probability
    Inequalities for Sums of Bounded Random Variables, JASA 58). The interval must be known before the values.

    >>> round(hoeffding(2.0, 200, 0.05), 4)  # 2 sqrt(2.9957 / 400)
    0.1731
    """
    _sample(n, delta)
    _positive(width, "width", zero=True)
    return width * math.sqrt(math.log(1 / delta) / (2 * n))


def empirical_bernstein(values: ArrayLike, width: float, delta: float) -> float:
    """Compute the same with the values' own variance in it, so that the width counts with 1 / n only.

    ``E X <= mean + sqrt(2 V log(2 / delta) / n) + 7 width log(2 / delta) / (3 (n - 1))`` with probability at least ``1 - delta``, V the
    sample variance with n - 1 (Maurer, Pontil 2009, Empirical Bernstein Bounds and Sample Variance Penalization, COLT, Theorem 4).

    Args:
        values: (n,) independent values of an interval of this width, n at least 2.
        width: Of the interval, known before the values.
        delta: The probability that the bound fails.

    Returns:
        The deviation, in the units of the values.

    Raises:
        TheoryError: There are fewer than two values, one is not finite, they do not fit into an interval of this width, or delta is none.

    >>> round(empirical_bernstein([0.0, 1.0] * 50, 1.0, 0.05), 4)  # V = 0.2525, log 40 = 3.6889
    0.2234
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or len(x) < 2:
        raise TheoryError(f"values has shape {x.shape}; expected (n,), n at least 2")
    _finite(x, "values", "compute them first")
    _sample(len(x), delta)
    _positive(width, "width", zero=True)
    if np.ptp(x) > width * (1 + 1e-9) + 1e-12:
        raise TheoryError(
            f"the values spread over {np.ptp(x):.6g}, more than the width {width:.6g} that was promised; the bound would be wrong"
        )
    log_term = math.log(2 / delta)
    return math.sqrt(2 * float(x.var(ddof=1)) * log_term / len(x)) + 7 * width * log_term / (3 * (len(x) - 1))


def vc_deviation(dimension: int, n: int, delta: float) -> float:
    """Compute the classical deviation over a class of VC dimension V, for losses in [0, 1].

    ``sqrt((V (log(2 n / V) + 1) + log(4 / delta)) / n)`` (Vapnik 1998, Statistical Learning Theory). Its first term bounds the logarithm of
    the growth function at 2 n points by Sauer's lemma and needs ``2 n >= V``; below that the growth function is at most ``2^(2 n)``,
    and the term is ``2 n log 2``, with which the deviation exceeds 1 for any n.

    >>> round(vc_deviation(10, 10_000, 0.05), 4), round(vc_deviation(60_000, 150, 0.05), 4)
    (0.0951, 1.1898)
    """
    _sample(n, delta)
    _positive(dimension, "dimension")
    growth = dimension * (math.log(2 * n / dimension) + 1) if 2 * n >= dimension else 2 * n * _LOG_2
    return math.sqrt((growth + math.log(4 / delta)) / n)


def clopper_pearson(errors: int, n: int, delta: float) -> float:
    """Compute the exact upper limit of an error rate from independent trials.

    The largest rate at which ``errors`` or fewer of n have a probability of at least ``delta`` (Clopper, Pearson 1934, Biometrika 26).

    >>> round(clopper_pearson(0, 60, 0.05), 4)  # 1 - 0.05^(1 / 60)
    0.0487
    """
    _sample(n, delta)
    if not 0 <= errors <= n:
        raise TheoryError(f"{errors} errors in {n} trials; expected between 0 and {n}")
    return float(distributions.binomtest(int(errors), n, alternative="less").proportion_ci(1 - delta, method="exact").high)


def kl_inverse(estimate: float, budget: float) -> float:
    """Find the largest r in [estimate, 1] with ``kl(estimate || r) <= budget``, kl of two Bernoulli distributions.

    >>> round(kl_inverse(0.0, math.log(2)), 4)  # kl(0 || r) = -log(1 - r)
    0.5
    """
    if not 0 <= estimate <= 1 or not budget >= 0:
        raise TheoryError(f"estimate is {estimate}, budget {budget}; expected a number in [0, 1] and one of at least 0")

    def excess(rate: float) -> float:
        return float(rel_entr(estimate, rate) + rel_entr(1 - estimate, 1 - rate)) - budget

    last = 1 - 1e-12
    if estimate >= last or excess(last) <= 0:
        return 1.0
    return float(brentq(excess, estimate, last, xtol=1e-12)) if budget > 0 else estimate


def pac_bayes(gibbs: dict[float, ArrayLike], squared_distance: float, n: int, delta: float) -> pd.DataFrame:
    """Bound the risk of a randomised student by how far training has moved its weights.

    Prior ``N(w_0, sigma^2 I)`` at the initial weights, posterior ``N(w, sigma^2 I)`` at the trained ones:
    ``KL(Q || P) = ||w - w_0||^2 / (2 sigma^2)``. For every Q at once, with probability at least ``1 - delta`` over n independent groups
    with losses in [0, 1], ``kl(empirical || true) <= (KL(Q || P) + log(2 sqrt(n) / delta)) / n`` (Maurer 2004, A Note on the PAC Bayesian
    Theorem, n at least 8; the form goes back to McAllester 1999). Each of the k values of sigma gets delta / (2 k), and as much goes to
    the estimate of the empirical loss of Q from m perturbations, by ``kl(mean || empirical) <= log(2 k / delta) / m``. The initial
    weights must not depend on the groups.

    Args:
        gibbs: sigma -> (m,) mean losses, in [0, 1], over the n groups, of students drawn from the posterior.
        squared_distance: ``||w - w_0||^2`` over all trained weights.
        n: How many independent groups.
        delta: The probability that any of the bounds fails.

    Returns:
        One row a sigma: sigma, divergence (KL of the weights, nats), estimate, empirical (its upper limit), bound; all hold together.

    Raises:
        TheoryError: A loss is outside [0, 1], n is below 8, or there is no sigma.

    >>> pac_bayes({1.0: [0.1] * 100}, 10.0, 1000, 0.05).round(3).values.tolist()
    [[1.0, 5.0, 0.1, 0.2, 0.269]]
    """
    _sample(n, delta)
    if n < 8 or not gibbs:
        raise TheoryError(f"n is {n}, with {len(gibbs)} values of sigma; expected at least 8 groups and one sigma")
    _positive(squared_distance, "squared_distance", zero=True)
    share, rows = delta / (2 * len(gibbs)), []
    for sigma, found in gibbs.items():
        _positive(sigma, "sigma")
        values = np.asarray(found, dtype=np.float64)
        if values.ndim != 1 or not len(values) or not ((values >= 0) & (values <= 1)).all():
            raise TheoryError(f"the losses for sigma {sigma} are not all in [0, 1]; clip and scale them first")
        divergence = squared_distance / (2 * sigma**2)
        empirical = kl_inverse(float(values.mean()), math.log(1 / share) / len(values))
        bound = kl_inverse(empirical, (divergence + math.log(2 * math.sqrt(n) / share)) / n)
        rows.append((sigma, divergence, float(values.mean()), empirical, bound))
    return pd.DataFrame(rows, columns=["sigma", "divergence", "estimate", "empirical", "bound"])


class Certificate(NamedTuple):
    """An upper bound on a risk that holds with probability at least ``1 - delta``, and what it is worth.

    ``vacuous``: the bound is not below ``trivial``, the risk of a student that scores everything alike.
    """

    name: str
    estimate: float
    bound: float
    trivial: float
    vacuous: bool
    n: int
    delta: float


def certificate(name: str, estimate: float, bound: float, trivial: float, n: int, delta: float) -> Certificate:
    """Return a certificate, vacuous unless its bound is below the trivial risk.

    >>> certificate("order", 0.1, 0.2, 0.5, 100, 0.05).vacuous, certificate("VC", 0.1, 1.3, 0.5, 100, 0.05).vacuous
    (False, True)
    """
    return Certificate(name, float(estimate), float(bound), float(trivial), not bound < trivial, int(n), float(delta))


def certify_order(margins: ArrayLike, delta: float, name: str = "order") -> Certificate:
    """Certify how often a student puts a labelled positive below, or level with, a negative.

    Args:
        margins: (n,) student margins of positive over negative, one pair a query, so that they are independent.
        delta: The probability that the bound fails.
        name: Of the certificate.

    Returns:
        By :func:`clopper_pearson`, against the 1/2 of a coin.

    >>> [round(number, 4) for number in certify_order([1.0] * 59 + [-1.0], 0.05)[1:4]]
    [0.0167, 0.0766, 0.5]
    """
    z = np.asarray(margins, dtype=np.float64)
    if z.ndim != 1 or not len(z):
        raise TheoryError(f"margins has shape {z.shape}; expected (n,), one pair a query")
    _finite(z, "margins", "score every document first")
    errors = int((z <= 0).sum())
    return certificate(name, errors / len(z), clopper_pearson(errors, len(z), delta), 0.5, len(z), delta)


def certify_loss(
    values: ArrayLike, bound: float, delta: float, *, method: Literal["bernstein", "hoeffding"] = "bernstein", name: str = "soft loss"
) -> Certificate:
    """Certify the mean soft loss of positive pairs from independent groups.

    Args:
        values: (n,) a group's mean loss over its positive pairs, one group a query.
        bound: B, known beforehand: every margin behind the values is at most B in size.
        delta: The probability that the bound fails.
        method: ``bernstein`` (:func:`empirical_bernstein`) or ``hoeffding``; choose before looking.
        name: Of the certificate.

    Returns:
        Against log 2, the loss of the trivial student.
    """
    x = np.asarray(values, dtype=np.float64)
    low, high = loss_range(bound)
    outside = (x < low - 1e-9) | (x > high + 1e-9)
    if outside.any():
        raise TheoryError(
            f"{int(outside.sum())} losses are outside [{low:.4g}, {high:.4g}], the range of margins up to {bound:.4g}; raise the bound"
        )
    if method not in ("bernstein", "hoeffding"):
        raise TheoryError(f"method is {method!r}; choose bernstein or hoeffding")
    deviation = empirical_bernstein(x, float(bound), delta) if method == "bernstein" else hoeffding(float(bound), len(x), delta)
    return certificate(name, x.mean(), x.mean() + deviation, TRIVIAL, len(x), delta)


def bound_terms(certificates: Sequence[Certificate]) -> pd.DataFrame:
    """Set what was observed beside what is certified, and both beside the trivial student: the rows of a chart of bounds.

    Args:
        certificates: All against the same trivial risk, so that one line stands for it.

    Returns:
        Two rows a certificate and one of the trivial risk: name, value, kind (``observed``, ``bound`` or ``trivial``), vacuous (False but
        for a bound that is not below the trivial risk), as :func:`rd_utils.report.charts.bound_chart` takes them.

    Raises:
        TheoryError: There is no certificate, one name occurs twice, or they are against different trivial risks.

    >>> bound_terms([certificate("soft loss", 0.4, 0.9, TRIVIAL, 50, 0.05)]).round(2).values.tolist()  # doctest: +NORMALIZE_WHITESPACE
    [['soft loss, observed', 0.4, 'observed', False], ['soft loss, bound', 0.9, 'bound', True],
     ['all documents alike', 0.69, 'trivial', False]]
    """
    names, trivials = [one.name for one in certificates], sorted({one.trivial for one in certificates})
    if len(trivials) != 1:
        raise TheoryError(f"{len(names)} certificates against the trivial risks {trivials}; expected one or more, all against the same")
    if len(set(names)) < len(names):
        raise TheoryError(f"the certificate {next(name for name in names if names.count(name) > 1)!r} occurs twice; name each once")
    rows = []
    for one in certificates:
        rows.append((f"{one.name}, observed", one.estimate, "observed", False))
        rows.append((f"{one.name}, bound", one.bound, "bound", one.vacuous))
    rows.append(("all documents alike", trivials[0], "trivial", False))
    return pd.DataFrame(rows, columns=["name", "value", "kind", "vacuous"])


def _sample(n: int, delta: float) -> None:
    if n < 1 or not 0 < delta < 1:
        raise TheoryError(f"n is {n}, delta {delta}; expected at least one value and a probability between 0 and 1")


def _positive(number: float, name: str, zero: bool = False) -> None:
    if not (0 <= number if zero else 0 < number) or not math.isfinite(number):
        raise TheoryError(f"{name} is {number}; expected a finite number {'of at least' if zero else 'above'} 0")


# --- 4 a population that is known ---------------------------------------------------------------------------------------------------


class Population(NamedTuple):
    """Everything about finitely many held-out queries and all documents, for one teacher and one student.

    Attributes:
        teacher_margins: (Q, N) ``(g_0 - g_d) / T`` of each query's positive over each document.
        student_margins: (Q, N) ``f_0 - f_d``.
        distances: (Q, N) ``||x_0 - x_d||`` in the student's space.
        lipschitz: (Q,) ``||u_q||``.
        allowed: (Q, N) the documents that are no known positives; the others are never drawn.
    """

    teacher_margins: np.ndarray
    student_margins: np.ndarray
    distances: np.ndarray
    lipschitz: np.ndarray
    allowed: np.ndarray


class Sampler(NamedTuple):
    """A strategy on a population: ``n_pooled`` negatives uniformly from each query's pool, the others uniformly from the other documents.

    A pool with fewer documents gives them all; corpus-random documents fill the rest.
    """

    name: str
    pools: list[np.ndarray]  # per query, the columns of its pool, allowed and distinct; empty for corpus-random
    n_pooled: int
    n_negatives: int


def sampler_law(sampler: Sampler, allowed: np.ndarray) -> np.ndarray:
    """Compute the distribution nu_q of one negative of a group: inclusion probability over the number of negatives.

    With a the probability that the pool gives d, t documents taken from the pool, u from the rest and N allowed: the inclusion is
    ``a + (1 - a) u / (N - t)``. The expectation of a group's mean loss is ``sum_d nu_q(d) l_q(d)``, although its negatives are distinct and
    so not independent: an expectation of a sum needs no independence.

    Args:
        sampler: The strategy.
        allowed: (Q, N) of the population.

    Returns:
        (Q, N), rows summing to 1.

    Two of three documents from a pool of two, the third from the other two: a pool's document is certain, the others have 1/2.

    >>> sampler_law(Sampler("x", [np.array([0, 1])], 2, 3), np.array([[True, True, True, True]])).round(4).tolist()
    [[0.3333, 0.3333, 0.1667, 0.1667]]
    """
    law = np.zeros(allowed.shape)
    for row, pool in enumerate(sampler.pools):
        taken = min(sampler.n_pooled, len(pool))
        others = int(allowed[row].sum())
        if others < sampler.n_negatives:
            raise TheoryError(f"query {row} has {others} allowed documents for {sampler.n_negatives} negatives; make smaller groups")
        if len(pool) and not allowed[row, pool].all():
            raise TheoryError(f"the pool of query {row} holds documents that are not allowed; take known positives out of it")
        law[row, pool] = taken / max(len(pool), 1)
        if others > taken:
            law[row] += (1 - law[row]) * (sampler.n_negatives - taken) / (others - taken) * allowed[row]
    return law / sampler.n_negatives


def law_terms(population: Population, law: np.ndarray) -> pd.DataFrame:
    """Compute each query's exact expectations under a distribution of negatives.

    Args:
        population: What is known.
        law: (Q, N) distributions over its documents.

    Returns:
        One row a query: loss, divergence, entropy (nats; the first is the sum of the others), low and high: what locality alone allows
        for the loss, ``sum_d nu(d) softplus(-+ L ||x_0 - x_d||)``, whatever the teacher says.
    """
    if law.shape != population.allowed.shape or not np.allclose(law.sum(axis=1), 1) or (law[~population.allowed] != 0).any():
        raise TheoryError(
            f"law has shape {law.shape}; expected {population.allowed.shape}, rows that sum to 1, and 0 where nothing is allowed"
        )
    terms = pair_terms(population.teacher_margins, population.student_margins)
    limits = loss_range(population.lipschitz[:, None] * population.distances)
    columns = zip(("loss", "divergence", "entropy", "low", "high"), (*terms, *limits), strict=True)
    return pd.DataFrame({name: (law * values).sum(axis=1) for name, values in columns})


def largest_density_ratio(target: np.ndarray, sampling: np.ndarray) -> float:
    """Compute kappa, the largest ratio of target to sampling probability over all queries and documents; see rd_utils.analysis.locality.

    As losses are not negative, ``R_mu = sum mu l <= kappa sum nu l = kappa R_nu``. It is infinite where the sampler never draws a document
    that the target asks for: then no number of groups says anything about the target.
    """
    return max(locality.density_ratio(mu, nu) for mu, nu in zip(target, sampling, strict=True))


def draw_negatives(sampler: Sampler, allowed: np.ndarray, query_rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw the negatives of independent groups of given queries.

    Args:
        sampler: The strategy.
        allowed: (Q, N) of the population.
        query_rows: (n,) the query of each group.
        generator: Of the draws.

    Returns:
        (n, n_negatives) document columns, distinct within a group.
    """
    negatives = np.empty((len(query_rows), sampler.n_negatives), dtype=np.int64)
    for row in np.unique(query_rows):
        groups = np.flatnonzero(query_rows == row)
        pool, rest = sampler.pools[row], np.flatnonzero(allowed[row])
        taken = min(sampler.n_pooled, len(pool))
        pooled = _distinct(pool, taken, len(groups), generator)
        negatives[groups] = np.concatenate([pooled, _distinct(rest, sampler.n_negatives - taken, len(groups), generator, pooled)], axis=1)
    return negatives


def _distinct(pool: np.ndarray, k: int, size: int, generator: np.random.Generator, taken: np.ndarray | None = None) -> np.ndarray:
    """Draw ``size`` times k distinct values of a pool, none of those taken already: (size, k)."""
    n_taken = 0 if taken is None else taken.shape[1]
    if k == 0:
        return np.empty((size, 0), dtype=np.int64)
    if len(pool) < (k + n_taken) ** 2:  # repeats would be the rule: order the whole pool at random instead
        keys = generator.random((size, len(pool)))
        if n_taken:
            keys[(pool[None, :, None] == taken[:, None, :]).any(axis=2)] = 2.0
        return pool[np.argpartition(keys, k - 1, axis=1)[:, :k]]
    drawn, left = np.empty((size, k), dtype=np.int64), np.arange(size)
    while len(left):  # groups with a repeat are drawn anew as a whole, which leaves the others uniform
        drawn[left] = pool[generator.integers(len(pool), size=(len(left), k))]
        whole = drawn[left] if taken is None else np.concatenate([drawn[left], taken[left]], axis=1)
        ordered = np.sort(whole, axis=1)
        left = left[(ordered[:, 1:] == ordered[:, :-1]).any(axis=1)]
    return drawn


def simulate(population: Population, sampler: Sampler, *, n: int, n_repeats: int, seed: int) -> np.ndarray:
    """Draw samples of independent groups, queries uniformly with replacement, and compute each group's mean loss over its positive pairs.

    Args:
        population: What is known.
        sampler: How negatives are drawn.
        n: Groups of a sample.
        n_repeats: Samples.
        seed: Of the draws.

    Returns:
        (n_repeats, n) losses in nats, all independent and of one distribution, whose mean is that of :func:`law_terms`.
    """
    generator = np.random.default_rng(seed)
    query_rows = generator.integers(len(population.lipschitz), size=n * n_repeats)
    columns = draw_negatives(sampler, population.allowed, query_rows, generator)
    at = (query_rows[:, None], columns)
    return pair_terms(population.teacher_margins[at], population.student_margins[at])[0].mean(axis=1).reshape(n_repeats, n)


def deviation_table(samples: np.ndarray, risk: float, width: float, delta: float, sizes: Sequence[int]) -> pd.DataFrame:
    """Compare what the bounds promise with what happened in repeated samples.

    Args:
        samples: (n_repeats, n) losses, as :func:`simulate` gives.
        risk: Their true expectation.
        width: Of the interval that holds every loss, known beforehand.
        delta: The probability with which a bound may fail.
        sizes: Of the samples to look at; the first so many groups of each repeat.

    Returns:
        One row a size: n, gap (the 1 - delta quantile of risk - estimate over repeats), hoeffding, bernstein (its mean over repeats) and
        the shares of repeats in which the risk exceeded the estimate by more: hoeffding_fails, bernstein_fails.
    """
    rows = []
    for n in sizes:
        if not 2 <= n <= samples.shape[1]:
            raise TheoryError(f"a sample size is {n}; expected between 2 and {samples.shape[1]}, the groups that were drawn")
        part = samples[:, :n]
        gaps = risk - part.mean(axis=1)
        simple, own = hoeffding(width, n, delta), np.array([empirical_bernstein(row, width, delta) for row in part])
        rows.append((n, np.quantile(gaps, 1 - delta), simple, own.mean(), (gaps > simple).mean(), (gaps > own).mean()))
    return pd.DataFrame(rows, columns=["n", "gap", "hoeffding", "bernstein", "hoeffding_fails", "bernstein_fails"])


# --- 5 labels against a teacher's probabilities -------------------------------------------------------------------------------------


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

    >>> label_noise([[math.log(2), 0.0, 0.0]], [[1.0, 0.0, 0.0]])[["removed", "limit", "enumerated"]].round(4).values.tolist()
    [[0.625, 0.6464, 0.625]]
    """
    teachers, students = _scores(teacher_scores, student_scores, temperature)
    n, group = teachers.shape
    log_targets = log_softmax(teachers / temperature, axis=1)
    p = np.exp(log_targets)
    scores, targets = torch.from_numpy(students.copy()).requires_grad_(), torch.from_numpy(teachers)
    by_label = np.empty((n, group, group))
    for label in range(group):
        order = [label, *(other for other in range(group) if other != label)]  # a loss takes column 0 for the label
        by_label[:, label] = n * torch.autograd.grad(losses.lce(scores[:, order]), scores)[0].numpy()
    expected = np.einsum("ny,nyg->ng", p, by_label)
    distilled = n * torch.autograd.grad(losses.kl(scores, targets, temperature), scores)[0].numpy()
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
    teachers, _ = _scores(teacher_scores, scores.detach().numpy(), temperature)
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


# --- 6 replacing a share of the negatives -------------------------------------------------------------------------------------------


class ShareEffect(NamedTuple):
    """What replacing a share of the negatives by corpus-random ones does to the bias ``b`` of the expected loss.

    ``bias(share) = (1 - share) b + share b_u``. ``can_fall``: some share makes it smaller in size, if and only if ``(b_u - b) b < 0``;
    ``falls_below``: every share above 0 and below this one does; ``best``: the share with the smallest, ``clip(b / (b - b_u), 0, 1)``.
    """

    can_fall: bool
    falls_below: float
    best: float
    at_best: float


def share_effect(bias: float, uniform_bias: float) -> ShareEffect:
    """Tell whether, and how far, corpus-random documents bring the expected loss of a strategy nearer to that of the target.

    ``|b + share (b_u - b)| < |b|`` if and only if ``share (b_u - b)`` has the other sign than b and is smaller than ``2 |b|``.

    Args:
        bias: b, the strategy's expected loss minus the target's.
        uniform_bias: b_u, that of corpus-random negatives minus the target's.

    >>> share_effect(0.375, -0.125)
    ShareEffect(can_fall=True, falls_below=1.0, best=0.75, at_best=0.0)
    >>> share_effect(0.125, -0.375)  # a quarter is best, half is as bad as nothing
    ShareEffect(can_fall=True, falls_below=0.5, best=0.25, at_best=0.0)
    >>> share_effect(0.1, 0.3).can_fall
    False
    """
    if not (math.isfinite(bias) and math.isfinite(uniform_bias)):
        raise TheoryError(f"bias is {bias}, uniform_bias {uniform_bias}; expected finite numbers")
    step = uniform_bias - bias
    if step * bias >= 0:
        return ShareEffect(False, 0.0, 0.0, float(bias))
    best = min(1.0, bias / -step)
    at_best = uniform_bias if best == 1.0 else 0.0
    return ShareEffect(True, min(1.0, 2 * abs(bias) / abs(step)), best, float(at_best))


def bias_table(terms: dict[str, pd.DataFrame], target: str, *, uniform: str = "corpus_random", seed: int | None = None) -> pd.DataFrame:
    """Compute each strategy's bias against a target, its two parts, and what a share of corpus-random negatives does to it.

    The bias ``b = R_nu - R_mu`` splits into that of the divergence, which is the student's, and that of the entropy, which is the teacher's
    alone: known before training, and in the objective a constant that moves no minimiser.

    Args:
        terms: strategy -> one row a query, the same queries in the same order, columns loss, divergence, entropy: exact
            (:func:`law_terms`) or of one drawn group each (:func:`pairwise_decomposition` of positive pairs). Give the frames their query
            ids as index: indices are compared, and where they are row numbers only the lengths are.
        target: The strategy whose draws stand for the target: corpus-random for the uniform distribution, a retriever's whole window for
            re-ranking.
        uniform: The strategy that draws from the whole collection.
        seed: Of a bootstrap over queries where the terms are of drawn groups; None where they are exact.

    Returns:
        One row a strategy: strategy, bias, (low, high with a seed: a 95 % interval,) divergence, entropy (its parts), can_fall,
        falls_below, best, at_best (see :class:`ShareEffect`), divergence_can_fall (the same question of the divergence alone).

    Raises:
        TheoryError: A strategy is unknown, or the queries differ in number or, where the frames are indexed by them, by name or in order.
    """
    for name in (target, uniform):
        if name not in terms:
            raise TheoryError(f"no strategy {name!r}{params.nearest(name, terms)}")
    if len({len(frame) for frame in terms.values()}) != 1:
        counts = {name: len(frame) for name, frame in terms.items()}
        raise TheoryError(f"the strategies have different numbers of queries, {counts}; keep the queries that all have")
    for name, frame in terms.items():
        if not frame.index.equals(terms[target].index):
            place = int(np.flatnonzero(frame.index != terms[target].index)[0])
            raise TheoryError(
                f"the query in row {place} is {terms[target].index[place]!r} under {target} and {frame.index[place]!r} under {name}; "
                "bring all strategies to the same queries in the same order"
            )
    parts = ["loss", "divergence", "entropy"]
    means = {name: frame[parts].mean() - terms[target][parts].mean() for name, frame in terms.items()}
    rows = []
    for name, frame in terms.items():
        bias, random = means[name], means[uniform]
        row = {"strategy": name, "bias": bias["loss"]}
        if seed is not None:
            paired = frame["loss"].to_numpy() - terms[target]["loss"].to_numpy()
            interval = stats.bootstrap_interval(paired, seed=seed)
            row |= {"low": interval.low, "high": interval.high}
        effect = share_effect(bias["loss"], random["loss"])
        row |= {"divergence": bias["divergence"], "entropy": bias["entropy"], **effect._asdict()}
        row["divergence_can_fall"] = share_effect(bias["divergence"], random["divergence"]).can_fall
        rows.append(row)
    return pd.DataFrame(rows)


# --- from a collection to arrays ----------------------------------------------------------------------------------------------------


class TheoryParameters(params.Part):
    """Parameters of ``07_theory``.

    The first ``training_queries`` queries by sorted query_id train the student; of the others ``held_out_queries`` (or all) are held out.
    """

    collection: params.Documents
    training_queries: bounds.Count = Field(ge=8)
    held_out_queries: bounds.Count | None = Field(default=None, ge=2)
    strategies: dict[bounds.Name, params.Strategy]
    trained_on: bounds.Name
    targets: Annotated[tuple[bounds.Name, ...], Field(min_length=1), bounds.Unique]
    random_share: bounds.Fraction = 0.2
    group_size: bounds.Few = Field(default=16, ge=2)
    teacher: params.Teacher
    loss: params.LossName = "ranknet"
    temperature: bounds.Temperature = 1.0
    architecture: params.Architecture
    training: params.Training
    seed: bounds.Seed = Field(default=0, lt=2**53)  # times a thousand, it is torch's
    n: Annotated[tuple[bounds.Count, ...], Field(min_length=1), bounds.Unique]
    n_repeats: bounds.Few = Field(default=200, ge=20)
    delta: bounds.Fraction = 0.05
    clip: bounds.Scale = 2.0
    sigmas: Annotated[tuple[bounds.Scale, ...], Field(min_length=1), bounds.Unique] = (0.03, 0.1, 0.3, 1.0)
    perturbations: bounds.Few = Field(default=20, ge=2)

    @model_validator(mode="after")
    def _runs(self) -> TheoryParameters:
        for name in (self.trained_on, *self.targets, "corpus_random"):
            params.known(name, self.strategies, "strategies")
        if self.strategies["corpus_random"].kind != "corpus_random":
            raise ValueError(f"the strategy named corpus_random is of kind {self.strategies['corpus_random'].kind}; give it its own kind")
        if not isinstance(self.architecture, params.BiArchitecture):
            raise ValueError(f"architecture is {self.architecture.kind}; the range needs scores that are dot products, so a bi-encoder")
        if not params.LOSSES[self.loss].uses_temperature:
            raise ValueError(
                f"loss is {self.loss}, which ignores the teacher's probabilities; choose one that distils them, such as ranknet or kl"
            )
        if self.collection.max_queries is not None and self.collection.max_queries <= self.training_queries:
            raise ValueError(f"training_queries is {self.training_queries} of {self.collection.max_queries}; leave some to hold out")
        return self

    @property
    def knows_all(self) -> bool:
        """Tell whether the true risk is known: on the embedded collection, where the exact teacher scores every document."""
        return self.collection.source == "embedded"

    def student(self) -> params.StudentSpec:
        """Return the student, trained on the first queries."""
        part = self.collection.model_copy(update={"max_queries": self.training_queries})
        return params.StudentSpec(
            groups=self.groups(self.trained_on).model_copy(update={"collection": part}),
            loss=self.loss,
            teacher=self.teacher,
            temperature=self.temperature,
            architecture=self.architecture,
            training=self.training,
            seed=self.seed,
        )

    def groups(self, name: str, random_share: float = 0.0) -> params.GroupsSpec:
        """Return the groups of a strategy for all queries, short ones filled with corpus-random documents."""
        return params.GroupsSpec(
            collection=self.collection,
            strategy=self.strategies[name],
            group_size=self.group_size,
            shortage=params.CorpusRandom(),
            random_share=random_share,
            seed=self.seed,
        )

    def specs(self) -> list[params.Spec]:
        """Return what the notebook makes."""
        groups = [self.groups(name) for name in self.strategies]
        return [self.student(), *(params.ScoresSpec(groups=each, teacher=self.teacher) for each in groups)]


class Steepness(NamedTuple):
    """A bound on ``||u_q||``, the scale of the scores included, over all queries that the risk is about.

    ``known``: it follows from the student alone, before any query is drawn; otherwise it is an assumption. ``why``: which of them, in
    words.
    """

    bound: float
    known: bool
    why: str


class HeldOut(NamedTuple):
    """Groups as arrays, one a query: what a student and a teacher make of them.

    Attributes:
        query_ids: (n,).
        query_rows: (n,) rows of the collection's queries.
        doc_rows: (n, group) rows of its documents, the positive first.
        teacher_scores: (n, group) raw scores.
        student_scores: (n, group).
        query_vectors: (n, d), the scale of the scores included.
        group_vectors: (n, group, d).
    """

    query_ids: np.ndarray
    query_rows: np.ndarray
    doc_rows: np.ndarray
    teacher_scores: np.ndarray
    student_scores: np.ndarray
    query_vectors: np.ndarray
    group_vectors: np.ndarray

    def clipped_losses(self, temperature: float, clip: float) -> np.ndarray:
        """Return each group's mean loss over its positive pairs, of the student whose margins are cut to ``[-clip, clip]``."""
        teacher = (self.teacher_scores[:, :1] - self.teacher_scores[:, 1:]) / temperature
        student = np.clip(self.student_scores[:, :1] - self.student_scores[:, 1:], -clip, clip)
        return pair_terms(teacher, student)[0].mean(axis=1)

    def locality_limits(self) -> pd.DataFrame:
        """Return low and high of each group: what the distances from the positive allow for its mean loss, whatever the teacher says."""
        distances = np.linalg.norm(self.group_vectors[:, 1:] - self.group_vectors[:, :1], axis=2)
        low, high = loss_range(np.linalg.norm(self.query_vectors, axis=1)[:, None] * distances)
        return pd.DataFrame({"low": low.mean(axis=1), "high": high.mean(axis=1)})

    def one_margin(self, seed: int) -> np.ndarray:
        """Return the student's margin of the positive over one negative of each group, drawn uniformly."""
        columns = np.random.default_rng(seed).integers(1, self.student_scores.shape[1], size=len(self.student_scores))
        return self.student_scores[:, 0] - self.student_scores[np.arange(len(columns)), columns]


def split_queries(parameters: TheoryParameters, query_ids: ArrayLike) -> tuple[list[str], list[str]]:
    """Return the training and the held-out query ids, as the parameters cut them.

    Args:
        parameters: How many of each.
        query_ids: Of all queries that have groups.
    """
    ordered = sorted(set(query_ids))
    held_out = ordered[parameters.training_queries :][: parameters.held_out_queries]
    if len(held_out) < 2:
        raise TheoryError(
            f"{len(ordered)} queries leave {len(held_out)} beside {parameters.training_queries} for training; lower training_queries"
        )
    return ordered[: parameters.training_queries], held_out


def steepness(pipeline: Any, parameters: TheoryParameters, samples: Sequence[HeldOut]) -> Steepness:
    """Bound the trained student's ``||u_q||`` over queries that nobody has seen, which Hoeffding's and Bernstein's interval needs.

    A static encoder's query is a mean of token vectors, and no mean is longer than the longest of what it averages:
    ``||u_q|| <= scale max_t ||v_t||``. Under the cosine every query has length 1, so it is the scale. Of any other encoder nothing follows
    from this module; the largest of the queries at hand is returned, as an assumption about the others.

    Args:
        pipeline: Makes what is missing.
        parameters: Of the notebook.
        samples: Groups whose queries are at hand, for the encoders of which nothing is known beforehand.

    Returns:
        The bound, and on what it rests.
    """
    architecture = parameters.architecture
    if isinstance(architecture, params.StaticBi):
        longest = np.linalg.norm(pipeline.student(parameters.student()).token_vectors().astype(np.float64), axis=1).max()
        return Steepness(float(architecture.scale * longest), True, "a query is a mean of token vectors: scale x the longest of them")
    if getattr(architecture, "similarity", "dot") == "cosine":
        return Steepness(float(architecture.scale), True, "every query has length 1: the scale")
    vectors = np.concatenate([sample.query_vectors for sample in samples])
    largest = float(np.linalg.norm(vectors, axis=1).max())
    return Steepness(largest, False, f"assumed: no query is longer than the longest of the {len(vectors)} that were read")


def read_groups(pipeline: Any, parameters: TheoryParameters, name: str, *, random_share: float = 0.0, trained: bool = False) -> HeldOut:
    """Read the groups of a strategy, one a query (its first positive, so that they are independent), and score them.

    Args:
        pipeline: Makes what is missing.
        parameters: Of the notebook.
        name: The strategy.
        random_share: The share of corpus-random negatives in place of its own.
        trained: The training queries' groups instead of the held-out ones.
    """
    spec = parameters.groups(name, random_share)
    groups = pipeline.groups(spec)
    training, held_out = split_queries(parameters, pipeline.qrels(parameters.collection)["query_id"])
    keep = groups["query_id"].isin(training if trained else held_out) & ~groups["query_id"].duplicated()
    query_rows, doc_rows = (rows[keep.to_numpy()] for rows in pipeline.group_rows(spec))
    teachers = pipeline.group_scores(params.ScoresSpec(groups=spec, teacher=parameters.teacher))[keep.to_numpy()].astype(np.float64)
    used, place = np.unique(doc_rows, return_inverse=True)
    queries, docs = _vectors(pipeline, parameters, query_rows, used)
    vectors = docs[place.reshape(doc_rows.shape)]
    students = np.einsum("nd,ngd->ng", queries, vectors)
    return HeldOut(groups.loc[keep, "query_id"].to_numpy(), query_rows, doc_rows, teachers, students, queries, vectors)


def read_population(pipeline: Any, parameters: TheoryParameters, held_out: HeldOut) -> tuple[Population, list[Sampler]]:
    """Score every document for the held-out queries, and return the population with the strategies on it.

    Args:
        pipeline: Makes what is missing.
        parameters: Of the notebook; strategies must be corpus-random or draw uniformly from candidates without a filter.
        held_out: Any strategy's held-out groups, which name the queries and their positives.

    Returns:
        The population, and one sampler a strategy.

    Raises:
        TheoryError: A strategy's probabilities are not those of a uniform pool.
    """
    collection, n_docs = parameters.collection, len(pipeline.docs(parameters.collection))
    rows, n = held_out.query_rows, len(held_out.query_rows)
    queries, docs = _vectors(pipeline, parameters, rows, np.arange(n_docs))
    positive = held_out.doc_rows[:, 0]
    every = np.tile(np.arange(n_docs), n)
    teachers = pipeline.teacher_scores(parameters.teacher, collection, np.repeat(rows, n_docs), every)[0].reshape(n, n_docs)
    students = queries @ docs.T
    own = np.arange(n)
    known = positives(pipeline.qrels(collection))
    known = known[known["query_id"].isin(held_out.query_ids) & known["doc_id"].isin(set(pipeline.docs(collection)["doc_id"]))]
    allowed = np.ones((n, n_docs), dtype=bool)
    of_query = {query_id: row for row, query_id in enumerate(held_out.query_ids)}
    allowed[known["query_id"].map(of_query).to_numpy(), pipeline.doc_rows(collection, known["doc_id"])] = False
    population = Population(
        teacher_margins=(teachers[own, positive][:, None] - teachers.astype(np.float64)) / parameters.temperature,
        student_margins=students[own, positive][:, None] - students,
        distances=cdist(docs[positive], docs),
        lipschitz=np.linalg.norm(queries, axis=1),
        allowed=allowed,
    )
    return population, [_sampler(pipeline, parameters, name, held_out.query_ids, allowed) for name in parameters.strategies]


def with_share(sampler: Sampler, random_share: float) -> Sampler:
    """Return the sampler with a share of its negatives, rounded to whole documents, replaced by corpus-random ones.

    >>> with_share(Sampler("bm25", [], 15, 15), 0.2)[2:]
    (12, 15)
    """
    kept = sampler.n_negatives - round(random_share * sampler.n_negatives)
    return sampler._replace(name=f"{sampler.name} with {random_share:g} random", n_pooled=min(sampler.n_pooled, kept))


def perturbed_losses(
    pipeline: Any, parameters: TheoryParameters, sample: HeldOut, sigmas: Sequence[float], draws: int
) -> tuple[dict[float, np.ndarray], float, int]:
    """Draw students from Gaussians around the trained weights, and compute their losses on groups, for :func:`pac_bayes`.

    Args:
        pipeline: Makes what is missing.
        parameters: Of the notebook.
        sample: The groups.
        sigmas: Standard deviations of the weights.
        draws: Students of each.

    Returns:
        sigma -> (draws,) mean losses of positive pairs, of margins cut to ``[-clip, clip]``, scaled from their range to [0, 1]; the squared
        distance of the trained from the initial weights; and how many weights there are.
    """
    from rd_utils.models import GroupBatch

    spec = parameters.student()
    student = pipeline.student(spec).cpu()
    start = pipeline.untrained(spec.architecture, spec.groups.collection, spec.seed).cpu()
    tokenizer = tokenizer_of(spec.architecture, parameters.collection)
    texts = (pipeline.tokens(of, parameters.collection, tokenizer) for of in ("queries", "docs"))
    batch = GroupBatch(*texts, sample.query_rows, sample.doc_rows)
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    centre = [weight.detach().clone() for weight in weights]
    first = [weight.detach() for weight in start.parameters() if weight.requires_grad]
    distance = sum(float((a.double() - b.double()).square().sum()) for a, b in zip(centre, first, strict=True))
    low, high = loss_range(parameters.clip)
    found = {}
    with torch.no_grad():
        for number, sigma in enumerate(sigmas):
            generator = torch.Generator().manual_seed(parameters.seed * 1000 + number)
            values = []
            for _ in range(draws):
                for weight, middle in zip(weights, centre, strict=True):
                    weight.copy_(middle + sigma * torch.randn(middle.shape, generator=generator))
                scores = student(batch).double().numpy()
                values.append(sample._replace(student_scores=scores).clipped_losses(parameters.temperature, parameters.clip).mean())
            found[sigma] = (np.array(values) - low) / (high - low)
        for weight, middle in zip(weights, centre, strict=True):
            weight.copy_(middle)
    return found, distance, sum(weight.numel() for weight in weights)


def batch_noise(
    pipeline: Any, parameters: TheoryParameters, sample: HeldOut, *, batches: int = 3, groups: int = 8, draws: int = 200
) -> pd.DataFrame:
    """Measure :func:`gradient_noise` of the trained student on a few batches of groups.

    Args:
        pipeline: Makes what is missing.
        parameters: Of the notebook.
        sample: The groups; the first ``batches * groups`` are used.
        batches: How many.
        groups: Of a batch.
        draws: How often the labels of a batch are drawn.

    Returns:
        One row a batch: the columns of :class:`GradientNoise`, and entropy, the batch's mean listwise entropy (nats).
    """
    from rd_utils.models import GroupBatch

    if len(sample.query_rows) < batches * groups:
        raise TheoryError(f"{len(sample.query_rows)} groups are fewer than {batches} batches of {groups}; ask for fewer or smaller ones")
    student = pipeline.student(parameters.student()).cpu().eval()
    tokenizer = tokenizer_of(parameters.architecture, parameters.collection)
    queries, docs = (pipeline.tokens(of, parameters.collection, tokenizer) for of in ("queries", "docs"))
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    rows = []
    for number in range(batches):
        part = slice(number * groups, (number + 1) * groups)
        scores = student(GroupBatch(queries, docs, sample.query_rows[part], sample.doc_rows[part]))
        teachers = sample.teacher_scores[part]
        noise = gradient_noise(scores, weights, teachers, parameters.temperature, draws=draws, seed=parameters.seed + number)
        own = entropy.listwise_entropy(teachers, parameters.temperature).mean() * math.log(teachers.shape[1])
        rows.append(noise._asdict() | {"entropy": own})
    return pd.DataFrame(rows)


def document_vectors(pipeline: Any, parameters: TheoryParameters) -> np.ndarray:
    """Return the trained student's embeddings of all documents, float64 (n_docs, d), not normalised but where its similarity is cosine."""
    return _vectors(pipeline, parameters, np.empty(0, dtype=np.int64), np.arange(len(pipeline.docs(parameters.collection))))[1]


def _vectors(pipeline: Any, parameters: TheoryParameters, query_rows: np.ndarray, doc_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the trained student's embeddings of queries, times the scale of its scores, and of documents, float64."""
    student = pipeline.student(parameters.student())
    tokenizer = tokenizer_of(parameters.architecture, parameters.collection)

    def encoded(of: str, rows: np.ndarray, kind: str) -> np.ndarray:
        table: TokenTable = pipeline.tokens(of, parameters.collection, tokenizer)
        return student.encode(take(table, rows), kind=kind).astype(np.float64)

    queries = encoded("queries", query_rows, "query") if len(query_rows) else np.empty((0, 0))
    return queries * parameters.architecture.scale, encoded("docs", doc_rows, "document")


def _sampler(pipeline: Any, parameters: TheoryParameters, name: str, query_ids: np.ndarray, allowed: np.ndarray) -> Sampler:
    """Return a strategy on the population: the same window of ranks as rd_utils.mining.sampling draws from."""
    strategy, m = parameters.strategies[name], parameters.group_size - 1
    if strategy.kind == "corpus_random":
        return Sampler(name, [np.empty(0, dtype=np.int64)] * len(query_ids), 0, m)
    if strategy.kind != "candidates" or strategy.draw != "uniform" or strategy.filter is not None:
        raise TheoryError(
            f"the strategy {name} does not draw uniformly from unfiltered candidates, so its exact risk is not computed; leave it out"
        )
    spec = params.CandidatesSpec(collection=parameters.collection, retriever=strategy.retriever, depth=strategy.depth)
    run = pipeline.candidates(spec)
    run = run[run["query_id"].isin(query_ids)]
    rows = pd.Series(pipeline.doc_rows(parameters.collection, run["doc_id"])).groupby(run["query_id"].to_numpy(), sort=False)
    found = {query_id: group.to_numpy() for query_id, group in rows}
    pools = [found.get(query_id, np.empty(0, dtype=np.int64)) for query_id in query_ids]
    pools = [pool[allowed[row, pool]][strategy.from_rank - 1 : strategy.depth] for row, pool in enumerate(pools)]
    return Sampler(name, pools, m, m)

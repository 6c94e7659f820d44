"""The range and the deviation: with ``|z| <= B`` a loss spans at most B, and a mean over groups keeps near its expectation.

B is a Lipschitz constant times a distance (:func:`margin_bounds`). The trivial student, which scores everything alike, pays ``log 2``
on every pair: a bound on the loss that is not below it says nothing, and :class:`Certificate` says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats as distributions
from scipy.optimize import brentq
from scipy.spatial.distance import cdist
from scipy.special import rel_entr

from rd_utils.companions.theory.arrays import TRIVIAL, TheoryError, finite

_BLOCK_VALUES = 4_000_000  # numbers held at once in a block: 32 MB


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
    finite(u, "query_vectors", "encode in fp32")
    finite(x, "group_vectors", "encode in fp32")
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
    finite(x, "vectors", "encode in fp32")
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
    finite(x, "values", "compute them first")
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
    growth = dimension * (math.log(2 * n / dimension) + 1) if 2 * n >= dimension else 2 * n * TRIVIAL
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
    return float(np.asarray(brentq(excess, estimate, last, xtol=1e-12))) if budget > 0 else estimate


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
    finite(z, "margins", "score every document first")
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

"""Two systems on queries and seeds that are both drawn at random: would other queries AND other seeds say the same?

What a paired test over queries says of values averaged over seeds is true of these very students. A claim about two ways of training is
about students that were not trained, too; so seeds are a second sample, crossed with the queries. With ``D_sq`` the difference of two
systems with seed s on query q,

    ``D_sq = mu + seed_s + query_q + rest_sq``,   ``Var(mean) = seed_sd^2 / S + query_sd^2 / Q + residual_sd^2 / (S Q)``,

all three variances estimated from the mean squares of the two-way layout. They have very different degrees of freedom (Q - 1 and S - 1),
so the test averages over what their estimates leave open (:class:`Crossed`), and so do the equivalence test, the interval and the margin.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, special

_ROUNDING = 1e-12  # differences that vary by less than this are one constant, seen through float rounding
_BLOCK_ROWS = 200  # estimates whose tails are computed at once, each over some thousand nodes


class Spread(NamedTuple):
    """Standard deviations of one query's difference, in units of the measure, by where they come from.

    Attributes:
        query: of what all seeds share on a query.
        seed: of what a seed shifts on all queries.
        residual: of what is particular to a seed and a query.
    """

    query: float
    seed: float
    residual: float


class Crossed(NamedTuple):
    """A mean difference with the estimated variances of that mean, from S seeds and Q queries.

    With MS the mean squares of the two-way layout, ``by_query = MS_query / (S Q)``, ``by_seed = MS_seed / (S Q)`` and
    ``residual = MS_residual / (S Q)``; ``E[by_query + by_seed - residual]`` is the variance of the mean. ``by_query (Q - 1)`` and
    ``by_seed (S - 1)`` over their expectations are chi-square with Q - 1 and S - 1 degrees of freedom. So given the data the variance is
    taken to be

        ``V = by_query / W_q + max(0, by_seed / W_s - residual)``,   W_q, W_s chi-square over their degrees of freedom,

    and ``P(|mean| exceeds x)`` is the mean of ``2 Phi(-x / sqrt(V))`` over W_q and W_s. Where nothing depends on seeds this is the paired t
    test over queries, where nothing depends on queries the t test over seeds; between them it is the Behrens-Fisher solution, which is
    conservative (simulated in :mod:`simulation`). With one seed nothing is known of seeds, ``by_seed`` and ``residual`` are 0,
    and the test is about these students only.

    Source: R. A. Fisher, Annals of Eugenics 6, 1935; G. K. Robinson, Annals of Statistics 4, 1976, for its size; S. Weerahandi, Journal of
    the American Statistical Association 88, 1993, for differences of mean squares.
    """

    mean: float
    by_query: float
    by_seed: float
    residual: float
    n_queries: int
    n_seeds: int
    seed_freedom: float

    def spread(self) -> Spread:
        """Return the estimated standard deviations; a variance whose estimate is below 0 is 0.

        They are of the paired layout, in which both systems have the same seeds.
        """
        query = (self.by_query - self.residual) * self.n_queries
        seed = (self.by_seed - self.residual) * self.n_seeds
        rest = self.residual * self.n_queries * self.n_seeds
        return Spread(math.sqrt(max(0.0, query)), math.sqrt(max(0.0, seed)), math.sqrt(max(0.0, rest)))

    def tail(self, bound: float) -> float:
        """Return the probability that a mean of expectation 0 exceeds ``bound``, in one direction.

        >>> round(Crossed(0.0, 1.0, 0.0, 0.0, 10, 1, 0).tail(2.262157), 4)  # Student's t with 9 degrees of freedom
        0.025
        """
        return float(tails(bound, self.by_query, self.by_seed, self.residual, n_queries=self.n_queries, seed_freedom=self.seed_freedom))

    def reach(self, tail: float) -> float:
        """Return the bound that a mean of expectation 0 exceeds, in one direction, with this probability (below 0.5)."""
        if self._constant():
            return 0.0
        if self.by_seed <= 0:
            return float(-special.stdtrit(self.n_queries - 1, tail) * math.sqrt(self.by_query))
        query, seed, rest = (np.array([part]) for part in (self.by_query, self.by_seed, self.residual))
        (scale,), weights = _scales(query, seed, rest, self.n_queries, self.seed_freedom)
        density, bound, step = weights / scale / math.sqrt(2 * math.pi), 0.0, math.inf
        while step > 1e-12 * bound:  # Newton's method: the tail is convex above 0, so it comes from below and cannot overshoot
            left = float(special.ndtr(-bound / scale) @ weights) - tail
            step = left / float(density @ np.exp(-((bound / scale) ** 2) / 2))
            bound += step
        return bound

    def p_difference(self) -> float:
        """Return the two-sided p-value of no difference."""
        if self._constant():
            return 1.0 if abs(self.mean) <= _ROUNDING else 0.0
        return min(1.0, 2 * self.tail(abs(self.mean)))

    def p_equivalence(self, margin: float) -> float:
        """Return the p-value of TOST: the larger of those of ``difference > -margin`` and ``difference < margin``."""
        if self._constant():
            return 0.0 if abs(self.mean) < margin - _ROUNDING else 1.0
        return self.tail(margin - abs(self.mean))

    def interval(self, level: float) -> tuple[float, float]:
        """Return the two-sided interval of the difference."""
        half = self.reach((1 - level) / 2)
        return self.mean - half, self.mean + half

    def smallest_margin(self, alpha: float) -> float:
        """Return the margin above which TOST accepts every margin at this alpha, and below which none."""
        return abs(self.mean) + self.reach(alpha)

    def _constant(self) -> bool:
        return self.by_query <= _ROUNDING**2 and self.by_seed <= _ROUNDING**2


def tails(
    bound: ArrayLike, by_query: ArrayLike, by_seed: ArrayLike, residual: ArrayLike, *, n_queries: int, seed_freedom: float
) -> np.ndarray:
    """Compute :meth:`Crossed.tail` for many estimates of one design at once.

    Args:
        bound: (...) what a mean of expectation 0 would have to exceed.
        by_query: (...) as in :class:`Crossed`, and so ``by_seed`` and ``residual``; all four broadcast.
        by_seed: (...)
        residual: (...)
        n_queries: of each estimate.
        seed_freedom: degrees of freedom of ``by_seed``.

    Returns:
        (...) probabilities.

    >>> tails([2.262157, 0.0], 1.0, 0.0, 0.0, n_queries=10, seed_freedom=1).round(4).tolist()
    [0.025, 0.5]
    """
    parts = np.broadcast_arrays(*(np.asarray(part, dtype=float) for part in (bound, by_query, by_seed, residual)))
    shape = parts[0].shape
    limit, query, seed, rest = (part.ravel() for part in parts)
    constant = (query <= _ROUNDING**2) & (seed <= _ROUNDING**2)
    found = np.where(np.abs(limit) <= _ROUNDING, 0.5, (limit < 0).astype(float))  # of what does not vary
    alone = ~constant & (seed <= 0)
    found[alone] = special.stdtr(n_queries - 1, -limit[alone] / np.sqrt(query[alone]))
    both = np.flatnonzero(~constant & (seed > 0))
    for start in range(0, len(both), _BLOCK_ROWS):
        rows = both[start : start + _BLOCK_ROWS]
        scale, weights = _scales(query[rows], seed[rows], rest[rows], n_queries, seed_freedom)
        found[rows] = np.minimum(1.0, special.ndtr(-limit[rows, None] / scale) @ weights)
    return found.reshape(shape)


def _scales(
    by_query: np.ndarray, by_seed: np.ndarray, residual: np.ndarray, n_queries: int, seed_freedom: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, nodes) values of sqrt(V) for n estimates, and the (nodes,) weights, which sum to 1."""
    w_query, p_query = _smooth_chi_square(n_queries - 1, 9) if n_queries > 50 else _chi_square(n_queries - 1, 101)
    w_seed, p_seed = _chi_square(seed_freedom, 201)
    queries = by_query[:, None] / w_query
    seeds = np.maximum(0.0, by_seed[:, None] / w_seed - residual[:, None])
    variance = queries[:, :, None] + seeds[:, None, :]
    return np.sqrt(np.maximum(variance, 1e-300)).reshape(len(variance), -1), np.outer(p_query, p_seed).ravel()


@functools.cache
def _chi_square(freedom: float, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of the trapezoid rule, on the logarithm, for expectations over chi-square by its degrees of freedom."""
    half = freedom / 2
    low, high = special.gammaincinv(half, 1e-12), special.gammainccinv(half, 1e-12)
    values = np.linspace(math.log(low), math.log(high), nodes)
    log_density = half * (values - math.log(half)) - np.exp(values) + half  # of the logarithm, up to a constant
    weights = np.exp(log_density)
    return np.exp(values) / half, weights / weights.sum()


@functools.cache
def _smooth_chi_square(freedom: float, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the same by Gauss's rule, which needs few nodes where the freedom is large and the integrand smooth.

    Source: G. H. Golub, J. H. Welsch, Mathematics of Computation 23, 1969.
    """
    half, degree = freedom / 2, np.arange(nodes)
    values, vectors = linalg.eigh_tridiagonal(2 * degree + half, np.sqrt(degree[1:] * (degree[1:] + half - 1)))
    return values / half, vectors[0] ** 2


# --- from values ------------------------------------------------------------------------------------------------------------------


def crossed(delta: np.ndarray) -> Crossed:
    """Estimate from differences of two systems that were trained with the same seeds.

    Args:
        delta: (n_seeds, n_queries) differences.

    Raises:
        ValueError: there are fewer than two queries, or a difference is not finite.

    Two seeds, of which one says 0.1 and the other 0.3 of every query: only the seeds matter, and two of them show little.

    >>> found = crossed(np.array([[0.1, 0.1, 0.1], [0.3, 0.3, 0.3]]))
    >>> round(found.p_difference(), 3)  # a t of 2 with 1 degree of freedom
    0.295
    """
    values = _matrix(delta, "delta")
    n_seeds, n_queries = values.shape
    by_query, by_seed, residual = _variances(values)
    return Crossed(float(values.mean()), by_query, by_seed, residual, n_queries, n_seeds, max(1, n_seeds - 1))


def crossed_apart(before: np.ndarray, after: np.ndarray) -> Crossed:
    """Estimate from two systems whose seeds have nothing in common, such as students of one recipe split in two groups.

    Seeds vary within each system, and their variance is pooled over both: with S_a and S_b seeds, ``by_seed`` is the pooled variance of
    the seeds' means times ``1 / S_a + 1 / S_b``, with ``S_a + S_b - 2`` degrees of freedom; ``residual`` likewise.

    Args:
        before: (S_a, n_queries) values.
        after: (S_b, n_queries) values of the same queries; S_a + S_b is at least 3, else nothing is known of the seeds.

    Raises:
        ValueError: the queries differ in number, or there are fewer than two queries or three seeds.
    """
    a, b = _matrix(before, "before"), _matrix(after, "after")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"before has {a.shape[1]} queries, after {b.shape[1]}; expected the same queries in the same order")
    freedom, n_queries = len(a) + len(b) - 2, a.shape[1]
    if freedom < 1:
        raise ValueError("before and after have one seed each; expected at least three seeds in all, to know their spread")
    delta = b.mean(axis=0) - a.mean(axis=0)
    share = (1 / len(a) + 1 / len(b)) / freedom
    seeds = sum(float(((part.mean(axis=1) - part.mean()) ** 2).sum()) for part in (a, b))
    rest = sum(float((_residuals(part) ** 2).sum()) for part in (a, b)) / (n_queries - 1)
    by_query = _none_of_rounding(float(delta.var(ddof=1)), delta) / n_queries
    return Crossed(float(delta.mean()), by_query, seeds * share, rest * share / n_queries, n_queries, len(a) + len(b), freedom)


def _matrix(values: np.ndarray, name: str) -> np.ndarray:
    found = np.asarray(values, dtype=float)
    if found.ndim != 2 or found.shape[0] < 1:
        raise ValueError(f"{name} has shape {found.shape}; expected (n_seeds, n_queries)")
    if found.shape[1] < 2:
        raise ValueError(f"{found.shape[1]} queries; expected at least 2, since a spread over queries cannot be known from fewer")
    if not np.isfinite(found).all():
        seed, query = np.argwhere(~np.isfinite(found))[0]
        raise ValueError(f"{int((~np.isfinite(found)).sum())} values of {name} are not finite, the first of seed {seed}, query {query}")
    return found


def _variances(values: np.ndarray) -> tuple[float, float, float]:
    """Return what queries, seeds and the rest contribute to the variance of the mean of (n_seeds, n_queries) differences."""
    n_seeds, n_queries = values.shape
    over_queries, over_seeds = values.mean(axis=0), values.mean(axis=1)
    by_query = _none_of_rounding(float(over_queries.var(ddof=1)), over_queries) / n_queries
    if n_seeds == 1:
        return by_query, 0.0, 0.0
    by_seed = _none_of_rounding(float(over_seeds.var(ddof=1)), over_seeds) / n_seeds
    residual = float((_residuals(values) ** 2).sum()) / ((n_seeds - 1) * (n_queries - 1)) / (n_seeds * n_queries)
    return by_query, by_seed, residual


def _residuals(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()


def _none_of_rounding(variance: float, values: np.ndarray) -> float:
    return 0.0 if np.ptp(values) <= _ROUNDING else variance


# --- seeds of several contrasts ---------------------------------------------------------------------------------------------------


class Pooled(NamedTuple):
    """The variance of one contrast's differences over seeds, estimated from ``n`` contrasts that are taken to share it.

    Few seeds say little about seeds; the seeds of all strategies under one architecture and loss say more.

    Attributes:
        variance: of one seed's difference, averaged over queries.
        freedom: its degrees of freedom.
        n: contrasts or systems behind it.
        p_homogeneous: Bartlett's test that their variances are one.
    """

    variance: float
    freedom: float
    n: int
    p_homogeneous: float

    def allowed(self, alpha: float = 0.1) -> bool:
        """Tell whether the test of homogeneity allows pooling."""
        return self.variance > _ROUNDING**2 and self.p_homogeneous >= alpha


def pooled_between(means: np.ndarray) -> Pooled | None:
    """Pool the seeds of K systems for the difference of any two of them.

    With m_ks the mean of system k with seed s, what seeds shift for all systems cancels in a difference; so its variance is twice the mean
    square of the interaction, ``2 sum of (m_ks - m_k. - m_.s + m_..)^2 / ((K - 1)(S - 1))``, with (K - 1)(S - 1) degrees of freedom.

    Args:
        means: (K, S) over queries.

    Returns:
        None with fewer than three systems or two seeds.
    """
    n, n_seeds = means.shape
    if n < 3 or n_seeds < 2:
        return None
    freedom = (n - 1) * (n_seeds - 1)
    rest = _residuals(means)
    return Pooled(2 * float((rest**2).sum()) / freedom, freedom, n, _homogeneous(rest))


def pooled_over(differences: np.ndarray) -> Pooled | None:
    """Pool the seeds of K contrasts whose systems have nothing in common but perhaps what a seed shifts in all of them.

    With d_ks the difference of contrast k with seed s, ``MS_seed / K + (K - 1) / K MS_rest`` estimates the variance of one difference; its
    degrees of freedom are Satterthwaite's, from S - 1 where a seed shifts all contrasts alike to K (S - 1) where it does not.

    Args:
        differences: (K, S), averaged over queries.

    Returns:
        None with fewer than three contrasts or two seeds.

    Source: F. E. Satterthwaite, Biometrics Bulletin 2, 1946.
    """
    n, n_seeds = differences.shape
    if n < 3 or n_seeds < 2:
        return None
    rest = _residuals(differences)
    common = float(differences.mean(axis=0).var(ddof=1))
    own = (n - 1) / n * float((rest**2).sum()) / ((n - 1) * (n_seeds - 1))
    total = common + own
    if total <= 0:
        return None
    freedom = total**2 / (common**2 / (n_seeds - 1) + own**2 / ((n - 1) * (n_seeds - 1)))
    return Pooled(total, freedom, n, _homogeneous(rest))


def _homogeneous(rest: np.ndarray) -> float:
    """Return the p-value of Bartlett's test over the rows of (K, S) residuals; 0 where a row has none while others have."""
    squares = (rest**2).sum(axis=1)
    if squares.max() <= _ROUNDING**2:
        return 1.0
    if squares.min() <= _ROUNDING**2:
        return 0.0
    n, freedom = len(rest), rest.shape[1] - 1
    variances = squares / freedom
    statistic = n * freedom * math.log(variances.mean()) - freedom * float(np.log(variances).sum())
    return float(special.gammaincc((n - 1) / 2, statistic / (1 + (n + 1) / (3 * n * freedom)) / 2))


def with_pooled(found: Crossed, pooled: Pooled | None) -> Crossed:
    """Return an estimate with the seeds' variance of several contrasts in the place of its own, where that is allowed and not smaller.

    The test of homogeneity misses most contrasts whose seeds vary more than the others', so a contrast's own variance is kept where it is
    the larger one; the degrees of freedom are the pooled ones all the same (simulated in :mod:`rd_utils.analysis.simulation`).
    """
    if found.n_seeds < 2 or pooled is None or not pooled.allowed():
        return found
    return found._replace(by_seed=max(found.by_seed, pooled.variance / found.n_seeds), seed_freedom=pooled.freedom)


# --- how many queries and seeds ---------------------------------------------------------------------------------------------------


def provable_margin(spread: Spread, n_queries: int, n_seeds: int, *, alpha: float = 0.05, power: float = 0.8, n_pooled: int = 1) -> float:
    """Return the margin within which so many queries and seeds would show two equal systems equivalent, with this probability.

    With the variances at their expectations, TOST needs ``|mean| + reach(alpha) < margin``, and ``|mean|`` stays below
    ``z((1 + power) / 2) sqrt(Var(mean))`` with probability ``power``. With one seed the margin is that of these very students.

    Args:
        spread: of the difference.
        n_queries: at least 2.
        n_seeds: at least 1.
        alpha: of each one-sided test.
        power: the probability asked for.
        n_pooled: systems whose seeds are pooled (:func:`pooled_between`).

    An SD of 0.2 over queries and seeds that do not matter: as :func:`rd_utils.analysis.power.queries_needed`, 858 queries for 0.02.

    >>> round(provable_margin(Spread(0.2, 0.0, 0.0), 858, 3), 4), round(provable_margin(Spread(0.2, 0.01, 0.0), 858, 3), 4)
    (0.02, 0.0318)
    """
    if n_queries < 2 or n_seeds < 1:
        raise ValueError(f"n_queries is {n_queries}, n_seeds {n_seeds}; expected at least 2 and 1")
    rest = spread.residual**2 / (n_queries * n_seeds)
    by_query = spread.query**2 / n_queries + rest
    by_seed = spread.seed**2 / n_seeds + rest if n_seeds > 1 else 0.0
    freedom = max(1, n_seeds - 1) * max(1, n_pooled - 1)
    expected = Crossed(0.0, by_query, by_seed, rest if n_seeds > 1 else 0.0, n_queries, n_seeds, freedom)
    sd = math.sqrt(by_query + max(0.0, by_seed - rest))
    return expected.reach(alpha) + float(special.ndtri((1 + power) / 2)) * sd


def queries_needed(
    spread: Spread, margin: float, n_seeds: int, *, alpha: float = 0.05, most: int = 10_000_000, n_pooled: int = 1
) -> int | None:
    """Return the smallest number of queries with which :func:`provable_margin` is at most ``margin``; None where ``most`` do not do.

    >>> queries_needed(Spread(0.2, 0.0, 0.0), 0.02, 3), queries_needed(Spread(0.2, 0.02, 0.0), 0.02, 3)
    (858, None)
    """
    fixed = spread.seed**2 / n_seeds if n_seeds > 1 else 0.0
    left = (margin / 2.926) ** 2 - fixed  # where the normal distribution puts it, at alpha 0.05
    guess = (spread.query**2 + spread.residual**2 / n_seeds) / left if left > 0 else most
    return _smallest(lambda n: provable_margin(spread, n, n_seeds, alpha=alpha, n_pooled=n_pooled) <= margin, 2, most, guess)


def seeds_needed(spread: Spread, margin: float, n_queries: int, *, alpha: float = 0.05, most: int = 1000, n_pooled: int = 1) -> int | None:
    """Return the smallest number of seeds with which :func:`provable_margin` is at most ``margin``.

    At least two; None where ``most`` are too few, since the queries alone leave more open.

    >>> seeds_needed(Spread(0.1, 0.01, 0.0), 0.02, 1000), seeds_needed(Spread(0.2, 0.01, 0.0), 0.02, 300)
    (5, None)
    """
    return _smallest(lambda n: provable_margin(spread, n_queries, n, alpha=alpha, n_pooled=n_pooled) <= margin, 2, most, 4)


def _smallest(enough: Callable[[int], bool], least: int, most: int, guess: float) -> int | None:
    """Return the smallest number from which on a condition holds, which more never undoes, searching outwards from a guess."""
    above = min(most, max(least + 1, math.ceil(guess)))
    step = max(1, above // 16)
    below = above
    while not enough(above):
        if above == most:
            return None
        below, above, step = above, min(most, above + step), 4 * step
    while below >= least and enough(below):
        below, above, step = max(least - 1, below - step), below, 4 * step
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if enough(middle) else (middle, above)
    return above

"""How often does each rule err? Studies are simulated whose true difference is known, and every rule judges them.

Two systems at hand, whose seeds will not be drawn again (:func:`error_rates`). Three rules see the same simulated queries:

- ``tost``: this package's paired TOST says that two systems are equivalent;
- ``t_test``: its paired t-test says that they are different;
- ``published``: the rule of the study's public code as committed joins them (:func:`rd_utils.companions.published.equivalence`).

Two ways of training, of which other seeds would have made other systems (:func:`crossed_rates`): the tests on queries and seeds
(:mod:`rd_utils.analysis.crossed`) beside those on queries alone and the published rule.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special, stats
from statsmodels.stats.proportion import proportion_confint

from rd_utils.analysis import crossed
from rd_utils.analysis.crossed import Spread
from rd_utils.analysis.power import tost_power
from rd_utils.companions import published

RULES = ("tost", "t_test", "published")
CROSSED_RULES = (
    ("queries and seeds", "different"),
    ("queries only", "different"),
    ("queries and seeds", "equivalent"),
    ("queries only", "equivalent"),
    ("published", "joined"),
)  # and what each says, in the order of the rows of crossed_rates

_BLOCK_VALUES = 500_000  # numbers held at once in each of about six float64 arrays
_ROUNDING = 1e-12  # as in stats: differences that vary by less are one constant


@dataclass(frozen=True, kw_only=True)
class TwoSystems:
    """Studies of two systems at hand.

    Of each query, system a has a value that is normal with SD ``query_sd``, and system b has that value plus a difference, normal with mean
    ``true_difference`` and SD ``sd``. The mean of a's values does not matter to any rule.

    Attributes:
        n_queries: Numbers of queries of a study, each at least 2.
        true_differences: In units of the measure.
        margin: The equivalence margin of ``tost``, in units of the measure.
        sd: Of the differences over queries, in units of the measure; not used where observed differences are drawn.
        query_sd: Of system a's values over queries. Only the published rule sees it, since it takes the systems for independent samples.
        alpha: Of ``tost`` and ``t_test``; the published rule has its own.
        n_simulations: Studies per number of queries. Every true difference shifts the same draws, and every rule judges the same studies,
            so that rows of one ``n_queries`` differ by the rule and the shift alone.

    Raises:
        ValueError: If a setting is out of its range.
    """

    n_queries: Sequence[int] = (43, 300, 2000)
    true_differences: Sequence[float] = (0.0, 0.02)
    margin: float = 0.02
    sd: float = 0.2
    query_sd: float = 0.3
    alpha: float = 0.05
    n_simulations: int = 2000

    def __post_init__(self) -> None:
        for name, setting in (("margin", self.margin), ("sd", self.sd), ("query_sd", self.query_sd)):
            if not 0 < setting < math.inf:
                raise ValueError(f"{name} is {setting}; expected a finite number above 0, in units of the measure")
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha}; expected a number above 0 and below 1")
        if self.n_simulations < 1:
            raise ValueError(f"n_simulations is {self.n_simulations}; expected at least 1")
        if few := [n for n in self.n_queries if n < 2]:
            raise ValueError(f"n_queries has {few[0]}; expected at least 2, since a spread over queries cannot be known from fewer")
        _check_true(self.true_differences)


def _check_true(differences: Sequence[float]) -> None:
    if wrong := [true for true in differences if not math.isfinite(true)]:
        raise ValueError(f"true_differences has {wrong[0]}; expected finite numbers, in units of the measure")


def error_rates(studies: TwoSystems, *, seed: int, differences: np.ndarray | None = None) -> pd.DataFrame:
    """Count how often each rule reaches its verdict in simulated studies of two systems.

    For ``tost``, the rate is the power where the true difference is 0, and the type I error where it is the margin or more; for ``t_test``,
    it is the type I error where the true difference is 0, and the power elsewhere. ``published`` rejects nothing when it joins two systems,
    so that its rate is neither. Evidence of equivalence would make the rate grow with the queries where the systems are equal, and would
    not give it with few queries where they are not.

    Args:
        studies: What is simulated.
        seed: Of the draws; a number of queries has draws of its own, whatever the others are.
        differences: (m,) the observed differences of a real study, one per query. They are centred, drawn with replacement and shifted,
            instead of being normal.

    Returns:
        One row per n_queries, true_difference and rule, in the order given: ``rule``, ``n_queries``, ``true_difference``, ``rate`` (of
        "equivalent", "different" and "joined"), ``low`` and ``high`` (its 95 % Wilson interval: what the number of simulations leaves
        open), ``n_simulations``, and ``expected``, the exact rate for normal differences: :func:`rd_utils.analysis.power.tost_power`, and
        the noncentral t distribution; NaN for the published rule and for resampled differences.

    Raises:
        ValueError: If the differences are fewer than two, not finite, or all equal.

    Two equal systems: our test shows it seldom with 300 queries and nearly always with 2000; the published rule joins them however few the
    queries are.

    >>> rates = error_rates(TwoSystems(n_queries=[8, 300, 2000], true_differences=[0.0]), seed=0)
    >>> rates.pivot(index="n_queries", columns="rule", values="rate")[["tost", "published"]].round(1).values.tolist()
    [[0.0, 1.0], [0.1, 1.0], [1.0, 1.0]]
    >>> rates.loc[rates["rule"] == "tost", "expected"].round(3).tolist()
    [0.0, 0.069, 0.995]

    Source: E. B. Wilson, Journal of the American Statistical Association, 1927, for the interval.
    """
    centred = None if differences is None else _centred(differences)
    rows = []
    for n in studies.n_queries:
        counts = _counted(studies, n, np.random.default_rng([seed, n]), centred)
        for true, of_rules in zip(studies.true_differences, counts, strict=True):
            exact = (math.nan,) * 2 if centred is not None else _exact(n, studies.sd, studies.margin, true, studies.alpha)
            for rule, count, expected in zip(RULES, of_rules, (*exact, math.nan), strict=True):
                rows.append((rule, n, float(true), *_with_interval(count, studies.n_simulations), studies.n_simulations, expected))
    return pd.DataFrame(rows, columns=["rule", "n_queries", "true_difference", "rate", "low", "high", "n_simulations", "expected"])


def _counted(studies: TwoSystems, n: int, rng: np.random.Generator, centred: np.ndarray | None) -> np.ndarray:
    """Return in how many studies of n queries each rule reaches its verdict, (true differences, rules)."""
    counts = np.zeros((len(studies.true_differences), len(RULES)), dtype=int)
    size = max(1, _BLOCK_VALUES // n)
    for start in range(0, studies.n_simulations, size):
        shape = (min(size, studies.n_simulations - start), n)
        a = rng.normal(0.0, studies.query_sd, shape)
        noise = rng.normal(0.0, studies.sd, shape) if centred is None else centred[rng.integers(0, len(centred), shape)]
        for index, true in enumerate(studies.true_differences):
            counts[index] += _verdicts(a, noise + true, margin=studies.margin, alpha=studies.alpha).sum(axis=1)
    return counts


def _with_interval(count: int, n: int) -> tuple[float, float, float]:
    """Return a rate with its 95 % Wilson interval, whose ends rounding may put 1e-19 inside a rate of 0 or 1."""
    rate = count / n
    low, high = np.asarray(proportion_confint(count, n, alpha=0.05, method="wilson")).tolist()
    return float(rate), float(min(low, rate)), float(max(high, rate))


@dataclass(frozen=True, kw_only=True)
class TwoWays:
    """Studies of two ways of training, whose seeds and queries are both drawn at random.

    The difference on query q with seed s is ``true_difference + seed_s + query_q + rest_sq``, all normal.

    Attributes:
        n_queries: Q, numbers of queries, each at least 3.
        n_seeds: S, numbers of seeds, each at least 2: with one seed the test is that over queries only.
        seed_sds: SDs of what a seed shifts on all queries, in units of the measure.
        true_differences: In units of the measure.
        margin: The equivalence margin, in units of the measure.
        query_sd: Of what all seeds share on a query, in units of the measure.
        residual_sd: Of what is particular to a seed and a query.
        value_sd: Of system a's values over queries, averaged over seeds; only the published rule sees it.
        systems: How many systems the variance over seeds is pooled over, all with this ``seed_sd``
            (:func:`rd_utils.analysis.crossed.with_pooled`); 2: not pooled.
        alpha: Of the tests; the published rule has its own.
        n_simulations: Studies per number of queries and of seeds. Every seed SD scales, and every true difference shifts, the same draws.

    Raises:
        ValueError: If a setting is out of its range.
    """

    n_queries: Sequence[int] = (60, 300, 2000)
    n_seeds: Sequence[int] = (2, 3, 5, 10)
    seed_sds: Sequence[float] = (0.0, 0.005, 0.01, 0.02)
    true_differences: Sequence[float] = (0.0, 0.02)
    margin: float = 0.02
    query_sd: float = 0.15
    residual_sd: float = 0.08
    value_sd: float = 0.3
    systems: int = 2
    alpha: float = 0.05
    n_simulations: int = 2000

    def __post_init__(self) -> None:
        spread = {name: getattr(self, name) for name in ("query_sd", "residual_sd", "value_sd", "margin")}
        for name, setting in [*spread.items(), *(("seed_sds has", sd) for sd in self.seed_sds)]:
            least = 0.0 if name in ("residual_sd", "seed_sds has") else math.ulp(0.0)
            if not least <= setting < math.inf:
                said = name if " " in name else f"{name} is"
                raise ValueError(f"{said} {setting}; expected a finite number {'of at least' if least == 0 else 'above'} 0")
        if not 0 < self.alpha < 0.5 or self.n_simulations < 1 or self.systems < 2:
            raise ValueError(
                f"alpha is {self.alpha}, n_simulations {self.n_simulations}, systems {self.systems}; expected 0 < alpha < 0.5, at least 1, "
                "at least 2"
            )
        for name, numbers, fewest in (("n_queries", self.n_queries, 3), ("n_seeds", self.n_seeds, 2)):
            if few := [number for number in numbers if number < fewest]:
                raise ValueError(f"{name} has {few[0]}; expected at least {fewest}")
        _check_true(self.true_differences)


def crossed_rates(studies: TwoWays, *, seed: int) -> pd.DataFrame:
    """Count how often each rule reaches its verdict on two ways of training.

    The mean and the mean squares of such a layout are independent, normal and chi-square (:class:`crossed.Crossed`), so they are drawn as
    such, without the layout. The published rule averages over seeds; what it needs beyond, the squares of both systems' values over
    queries, is drawn given those of the differences: system a's values, of SD ``value_sd``, do not depend on them.

    A rate is an error where the truth is otherwise: *different* at a true difference of 0, *equivalent* at the margin; elsewhere it is
    power. By the crossed test neither error exceeds ``alpha`` by more than a tenth of it. Where an error falls far below, power is lost:
    few seeds cannot tell what a seed shifts on all queries from what is particular to a seed and a query, and the test allows for either.
    With alpha 0.05, *different* comes out in at least 2 % of the studies of equal systems where ``seed_sd^2 / S`` is at least three times
    ``query_sd^2 / Q + residual_sd^2 / (S Q)``, and else with five seeds or more and ``residual_sd <= 1.5 query_sd``, or three or four seeds
    and ``residual_sd <= 2 / 3 query_sd``; not with two, whose one degree of freedom leaves nearly everything open.

    Args:
        studies: What is simulated.
        seed: Of the draws; a design has draws of its own, whatever the others are.

    Returns:
        One row per n_queries, n_seeds, seed_sd, true_difference and rule, in the order given: ``rule`` and ``verdict`` (of
        ``CROSSED_RULES``), the four, ``rate``, ``low`` and ``high`` (its 95 % Wilson interval), ``n_simulations``.

    Three seeds that shift all of 2,000 queries by an SD of 0.01: the queries alone take that for a difference in every third study.

    >>> rates = crossed_rates(TwoWays(n_queries=[2000], n_seeds=[3], seed_sds=[0.01], true_differences=[0.0]), seed=0)
    >>> rates["rate"].round(1)[:2].tolist()  # by the crossed test, and by queries only
    [0.0, 0.3]
    """
    rows, n = [], studies.n_simulations
    for queries, seeds in itertools.product(studies.n_queries, studies.n_seeds):
        drawn = _drawn(queries, seeds, studies.systems, n, np.random.default_rng([seed, queries, seeds]))
        for seed_sd in studies.seed_sds:
            study = _study(drawn, Spread(studies.query_sd, seed_sd, studies.residual_sd), studies.value_sd)
            for true in studies.true_differences:
                found = _crossed_verdicts(study, true, margin=studies.margin, alpha=studies.alpha)
                design = queries, seeds, float(seed_sd), float(true)
                rows += [(*rule, *design, float(said.mean())) for rule, said in zip(CROSSED_RULES, found, strict=True)]
    table = pd.DataFrame(rows, columns=["rule", "verdict", "n_queries", "n_seeds", "seed_sd", "true_difference", "rate"])
    low, high = proportion_confint((table["rate"] * n).round(), n, alpha=0.05, method="wilson")
    return table.assign(low=np.minimum(low, table["rate"]), high=np.maximum(high, table["rate"]), n_simulations=n)


class _Drawn(NamedTuple):
    """Draws of one design, before anything scales them: normal of mean 0, or chi-square over its degrees of freedom."""

    n_queries: int
    n_seeds: int
    seed_freedom: int
    mean: np.ndarray
    by_query: np.ndarray
    by_seed: np.ndarray
    residual: np.ndarray
    with_values: np.ndarray  # of the values of system a, along the differences over queries: normal
    values: np.ndarray  # and across them: chi-square, NOT over its degrees of freedom


class _Study(NamedTuple):
    """The estimates of many studies of one design at a true difference of 0, as arrays; ``squares`` is what the published rule needs."""

    n_queries: int
    seed_freedom: int
    mean: np.ndarray
    by_query: np.ndarray
    by_seed: np.ndarray
    residual: np.ndarray
    squares: np.ndarray


def _drawn(n_queries: int, n_seeds: int, systems: int, n: int, rng: np.random.Generator) -> _Drawn:
    seed_freedom = (systems - 1) * (n_seeds - 1)
    mean, with_values = rng.normal(size=(2, n))
    by_query, own, residual = (
        rng.chisquare(freedom, n) / freedom for freedom in (n_queries - 1, n_seeds - 1, (n_queries - 1) * (n_seeds - 1))
    )
    by_seed = own
    if systems > 2:  # as crossed.with_pooled: the pooled variance, of which the contrast's own is a part, or its own where that is larger
        others = rng.chisquare(seed_freedom - (n_seeds - 1), n)
        by_seed = np.maximum(own, (own * (n_seeds - 1) + others) / seed_freedom)
    return _Drawn(n_queries, n_seeds, seed_freedom, mean, by_query, by_seed, residual, with_values, rng.chisquare(n_queries - 2, n))


def _study(drawn: _Drawn, spread: Spread, value_sd: float) -> _Study:
    rest = spread.residual**2 / (drawn.n_queries * drawn.n_seeds)
    queries, seeds = spread.query**2 / drawn.n_queries, spread.seed**2 / drawn.n_seeds
    by_query = drawn.by_query * (queries + rest)
    of_differences = by_query * drawn.n_queries * (drawn.n_queries - 1)
    along = drawn.with_values * value_sd
    of_a = along**2 + drawn.values * value_sd**2
    squares = 2 * of_a + 2 * along * np.sqrt(of_differences) + of_differences  # of a, and of a plus the differences
    mean = drawn.mean * math.sqrt(queries + seeds + rest)
    return _Study(drawn.n_queries, drawn.seed_freedom, mean, by_query, drawn.by_seed * (seeds + rest), drawn.residual * rest, squares)


def _crossed_verdicts(study: _Study, true: float, *, margin: float, alpha: float) -> np.ndarray:
    """Judge many studies; return (rules, studies) bool, in the order of CROSSED_RULES."""
    mean = study.mean + true
    different = _below(study, np.abs(mean), alpha / 2)
    equivalent = _below(study, margin - np.abs(mean), alpha)
    _, _, joined = published.equivalence_of(mean, study.squares, study.n_queries, study.n_queries)
    return np.stack([*different, *equivalent, joined])


def _below(study: _Study, bound: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Tell where the tail beyond a bound is below alpha, by the crossed test and over queries only.

    The crossed variance is never below that over queries, so that the crossed test needs to be asked only where the other one rejects.
    """
    alone = special.stdtr(study.n_queries - 1, -bound / np.sqrt(study.by_query)) < alpha
    at = np.flatnonzero(alone)
    estimates = (part[at] for part in (study.by_query, study.by_seed, study.residual))
    both = alone.copy()
    both[at] = crossed.tails(bound[at], *estimates, n_queries=study.n_queries, seed_freedom=study.seed_freedom) < alpha
    return both, alone


def _centred(differences: np.ndarray) -> np.ndarray:
    values = np.asarray(differences, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"differences has shape {values.shape}; expected (m,), one number per query, m at least 2")
    missing = ~np.isfinite(values)
    if missing.any():
        raise ValueError(f"{int(missing.sum())} of {len(values)} differences are not finite, the first at position {int(missing.argmax())}")
    if np.ptp(values) <= _ROUNDING:
        raise ValueError(f"all {len(values)} differences are {values[0]:g}; expected some that vary: there is nothing to resample")
    return values - values.mean()


def _verdicts(a: np.ndarray, delta: np.ndarray, *, margin: float, alpha: float) -> np.ndarray:
    """Judge (simulations, queries) values of system a and differences; return (rules, simulations) bool, in the order of RULES."""
    p_difference, p_equivalence = _paired_p_values(delta, margin)
    _, _, joined = published.equivalence(a, a + delta)
    return np.stack([p_equivalence < alpha, p_difference < alpha, joined])


def _paired_p_values(delta: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Compute the p-values of :func:`rd_utils.analysis.stats.paired_difference` for many studies at once.

    Args:
        delta: (simulations, queries) differences.
        margin: The equivalence margin.

    Returns:
        p_difference and p_equivalence, (simulations,) each.
    """
    n = delta.shape[1]
    mean, error = delta.mean(axis=1), delta.std(axis=1, ddof=1) / math.sqrt(n)
    constant = np.ptp(delta, axis=1) <= _ROUNDING  # few resampled differences may all be the same
    error[constant] = 1.0
    p_difference = 2 * special.stdtr(n - 1, -np.abs(mean) / error)
    p_equivalence = special.stdtr(n - 1, (np.abs(mean) - margin) / error)  # of the two, the test on the side of the mean
    p_difference[constant] = np.abs(mean[constant]) <= _ROUNDING
    p_equivalence[constant] = np.abs(mean[constant]) >= margin - _ROUNDING
    return p_difference, p_equivalence


def _exact(n: int, sd: float, margin: float, true: float, alpha: float) -> tuple[float, float]:
    """Return the exact rates of tost and t_test for normal differences."""
    critical, shift = stats.t.ppf(1 - alpha / 2, n - 1), true * math.sqrt(n) / sd
    different = stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift)
    return tost_power(n, sd, margin, difference=true, alpha=alpha), float(different)

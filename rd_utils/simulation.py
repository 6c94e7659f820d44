"""How often does each rule err? Studies are simulated whose true difference is known, and every rule judges them.

Three rules see the same simulated queries:

- ``tost``: this package's paired TOST says that two systems are equivalent;
- ``t_test``: its paired t-test says that they are different;
- ``published``: the rule of the study's public code as committed joins them (:func:`rd_utils.published.equivalence`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import special, stats
from statsmodels.stats.proportion import proportion_confint

from rd_utils import published
from rd_utils.stats import tost_power

RULES = ("tost", "t_test", "published")

_BLOCK_VALUES = 500_000  # numbers held at once in each of about six float64 arrays
_ROUNDING = 1e-12  # as in rd_utils.stats: differences that vary by less are one constant


def error_rates(
    *,
    n_queries: Sequence[int] = (43, 300, 2000),
    true_differences: Sequence[float] = (0.0, 0.02),
    margin: float = 0.02,
    sd: float = 0.2,
    query_sd: float = 0.3,
    alpha: float = 0.05,
    n_simulations: int = 2000,
    seed: int,
    differences: np.ndarray | None = None,
) -> pd.DataFrame:
    """Count how often each rule reaches its verdict in simulated studies of two systems.

    Of each query, system a has a value that is normal with SD ``query_sd``, and system b has that value plus a
    difference, normal with mean ``true_difference`` and SD ``sd``. The mean of a's values does not matter to any rule.

    For ``tost``, the rate is the power where the true difference is 0, and the type I error where it is the margin or
    more; for ``t_test``, it is the type I error where the true difference is 0, and the power elsewhere. ``published``
    rejects nothing when it joins two systems, so that its rate is neither. Evidence of equivalence would make the rate
    grow with the queries where the systems are equal, and would not give it with few queries where they are not.

    Args:
        n_queries: Numbers of queries of a study, each at least 2.
        true_differences: In units of the measure.
        margin: The equivalence margin of ``tost``, in units of the measure.
        sd: Of the differences over queries, in units of the measure; not used where ``differences`` are given.
        query_sd: Of system a's values over queries. Only the published rule sees it, since it takes the systems for
            independent samples.
        alpha: Of ``tost`` and ``t_test``; the published rule has its own.
        n_simulations: Studies per number of queries. Every true difference shifts the same draws, and every rule judges
            the same studies, so that rows of one ``n_queries`` differ by the rule and the shift alone.
        seed: Of the draws; a number of queries has draws of its own, whatever the others are.
        differences: (m,) the observed differences of a real study, one per query. They are centred, drawn with
            replacement and shifted, instead of being normal.

    Returns:
        One row per n_queries, true_difference and rule, in the order given: ``rule``, ``n_queries``,
        ``true_difference``, ``rate`` (of "equivalent", "different" and "joined"), ``low`` and ``high`` (its 95 % Wilson
        interval: what the number of simulations leaves open), ``n_simulations``, and ``expected``, the exact rate for
        normal differences: :func:`rd_utils.stats.tost_power`, and the noncentral t distribution; NaN for the published
        rule and for resampled differences.

    Raises:
        ValueError: If a setting is out of its range, or the differences are fewer than two, not finite, or all equal.

    Two equal systems: our test shows it seldom with 300 queries and nearly always with 2000; the published rule joins them
    however few the queries are.

    >>> rates = error_rates(n_queries=[8, 300, 2000], true_differences=[0.0], seed=0)
    >>> rates.pivot(index="n_queries", columns="rule", values="rate")[["tost", "published"]].round(1).values.tolist()
    [[0.0, 1.0], [0.1, 1.0], [1.0, 1.0]]
    >>> rates.loc[rates["rule"] == "tost", "expected"].round(3).tolist()
    [0.0, 0.069, 0.995]

    Source: E. B. Wilson, Journal of the American Statistical Association, 1927, for the interval.
    """
    for name, setting in (("margin", margin), ("sd", sd), ("query_sd", query_sd)):
        if not 0 < setting < math.inf:
            raise ValueError(f"{name} is {setting}; expected a finite number above 0, in units of the measure")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; expected a number above 0 and below 1")
    if n_simulations < 1:
        raise ValueError(f"n_simulations is {n_simulations}; expected at least 1")
    if few := [n for n in n_queries if n < 2]:
        raise ValueError(f"n_queries has {few[0]}; expected at least 2, since a spread over queries cannot be known from fewer")
    if wrong := [true for true in true_differences if not math.isfinite(true)]:
        raise ValueError(f"true_differences has {wrong[0]}; expected finite numbers, in units of the measure")
    centred = None if differences is None else _centred(differences)

    rows = []
    for n in n_queries:
        rng = np.random.default_rng([seed, n])
        counts = np.zeros((len(true_differences), len(RULES)), dtype=int)
        size = max(1, _BLOCK_VALUES // n)
        for start in range(0, n_simulations, size):
            shape = (min(size, n_simulations - start), n)
            a = rng.normal(0.0, query_sd, shape)
            noise = rng.normal(0.0, sd, shape) if centred is None else centred[rng.integers(0, len(centred), shape)]
            for index, true in enumerate(true_differences):
                counts[index] += _verdicts(a, noise + true, margin=margin, alpha=alpha).sum(axis=1)
        for true, of_rules in zip(true_differences, counts, strict=True):
            expected = (math.nan,) * 3 if centred is not None else (*_exact(n, sd, margin, true, alpha), math.nan)
            for rule, count, exact in zip(RULES, of_rules, expected, strict=True):
                low, high = proportion_confint(count, n_simulations, alpha=0.05, method="wilson")
                rate = count / n_simulations
                low, high = min(low, rate), max(high, rate)  # which rounding may put 1e-19 inside a rate of 0 or 1
                rows.append((rule, n, float(true), float(rate), float(low), float(high), n_simulations, exact))
    columns = ["rule", "n_queries", "true_difference", "rate", "low", "high", "n_simulations", "expected"]
    return pd.DataFrame(rows, columns=columns)


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
    """Compute the p-values of :func:`rd_utils.stats.paired_difference` for many studies at once.

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

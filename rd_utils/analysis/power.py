"""How many queries paired TOST needs to show equivalence, exactly, for normal differences."""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy import special


def tost_power(n: int, sd: float, margin: float, *, difference: float = 0.0, alpha: float = 0.05) -> float:
    """Compute the probability that paired TOST shows equivalence, for normal differences.

    With n - 1 = v degrees of freedom, t the ``1 - alpha`` quantile of Student's distribution and S the standard
    deviation of the sample, both one-sided tests reject when ``|mean| + t S / sqrt(n) < margin``. The mean and S are
    independent, and ``u = S / sd`` has the density f of ``sqrt(chi2(v) / v)``, so

    ``power = integral over u of max(0, Phi((margin - difference) r - t u) + Phi((margin + difference) r - t u) - 1) f(u)``

    with ``r = sqrt(n) / sd``: exact, and equal to a difference of two values of Owen's Q function. (Adding the powers of
    the two tests, each by the noncentral t, and subtracting 1 is an approximation, which can be negative.) Where
    ``|difference| = margin`` the result is the type I error of TOST: alpha for many queries, and less for few.

    Args:
        n: Queries, at least 2.
        sd: Of the differences over queries, in units of the measure.
        margin: The equivalence margin, in units of the measure.
        difference: The true one, in units of the measure.
        alpha: Of each one-sided test.

    Returns:
        A probability.

    Raises:
        ValueError: If a setting is out of its range.

    With an SD of 0.2, 43 queries can hardly show equivalence within 0.02, and 2000 queries almost surely do:

    >>> [round(tost_power(n, 0.2, 0.02), 3) for n in (43, 300, 2000)]
    [0.0, 0.069, 0.995]

    Source: K. F. Phillips, Journal of Pharmacokinetics and Biopharmaceutics, 1990, by the Q function of D. B. Owen,
    Biometrika, 1965; the test is D. J. Schuirmann's, Journal of Pharmacokinetics and Biopharmaceutics, 1987.
    """
    _check_power_settings(sd, margin, difference, alpha)
    if n < 2:
        raise ValueError(f"n is {n}; expected at least 2 queries, since a spread over queries cannot be known from fewer")
    if sd == 0:
        return float(abs(difference) < margin)
    plus, minus = (margin + difference) * math.sqrt(n) / sd, (margin - difference) * math.sqrt(n) / sd
    return _both_reject(plus, minus, float(special.stdtrit(n - 1, 1 - alpha)), n - 1)


def _both_reject(plus: float, minus: float, t: float, freedom: int) -> float:
    """Integrate :func:`tost_power` over u; ``plus`` and ``minus`` are the margin's distances in standard errors."""
    # By Gaussian concentration, less than 1e-17 of the mass of u lies outside these bounds, whatever the degrees of freedom.
    lowest, highest = max(0.0, 1 - 10 / math.sqrt(freedom)), 1 + 9 / math.sqrt(freedom)
    # Legendre's rule needs a smooth integrand: cut where a Phi turns, and where the positive part ends.
    turns = [minus / t, (plus + minus) / (2 * t), plus / t] if t else []
    cuts = np.unique(np.clip([lowest, *turns, highest], lowest, highest))
    nodes, weights = _legendre()
    half = np.diff(cuts)[:, None] / 2
    u = ((cuts[:-1, None] + half) + half * nodes).ravel()
    e = u - 1
    log_density = freedom * (np.log(u) - e - e * e / 2) - np.log(u)  # up to a constant; no large terms that cancel, however many queries
    mass = (half * weights).ravel() * np.exp(log_density)
    shows = np.clip(special.ndtr(plus - t * u) - special.ndtr(t * u - minus), 0, None)
    return min(1.0, float(mass @ shows / mass.sum()))


def queries_needed(sd: float, margin: float, *, alpha: float = 0.05, power: float = 0.8, difference: float = 0.0) -> int | None:
    """Find the smallest number of queries at which paired TOST has a given power.

    Args:
        sd: Of the differences over queries, in units of the measure.
        margin: The equivalence margin, in units of the measure.
        alpha: Of each one-sided test.
        power: The probability of showing equivalence that is asked for.
        difference: The true one, in units of the measure.

    Returns:
        The smallest n at which :func:`tost_power` reaches ``power``: 2 when sd is 0, and None when the true difference
        is not within the margin, since no number is enough then.

    Raises:
        ValueError: If a setting is out of its range.

    About ``((z(1 - alpha) + z((1 + power) / 2)) sd / margin) ** 2 = (2.926 * 10) ** 2 = 856``, and a little more for the
    SD that is not known; half the margin takes four times as many:

    >>> queries_needed(0.2, 0.02), queries_needed(0.2, 0.01)
    (858, 3427)

    Source: as :func:`tost_power`.
    """
    _check_power_settings(sd, margin, difference, alpha)
    if not 0 < power < 1:
        raise ValueError(f"power is {power}; expected a number above 0 and below 1")
    if abs(difference) >= margin:
        return None

    def enough(n: int) -> bool:
        return tost_power(n, sd, margin, difference=difference, alpha=alpha) >= power

    # From 2 queries on, the power may fall at first (the spread is then hardly known), and rises after that: one crossing.
    if enough(2):
        return 2
    z = special.ndtri(1 - alpha) + special.ndtri((1 + power) / 2 if difference == 0 else power)
    above = max(3, math.ceil((z * sd / (margin - abs(difference))) ** 2))  # where the normal distribution puts it
    step = max(1, above // 100)
    below = above
    while not enough(above):
        below, above, step = above, above + step, 2 * step
    while below > 2 and enough(below):
        below, above, step = max(2, below - step), below, 2 * step
    while above - below > 1:  # not enough below, enough above
        middle = (below + above) // 2
        below, above = (below, middle) if enough(middle) else (middle, above)
    return above


def _check_power_settings(sd: float, margin: float, difference: float, alpha: float) -> None:
    if not 0 <= sd < math.inf:
        raise ValueError(f"sd is {sd}; expected a finite number of at least 0, in units of the measure")
    if not 0 < margin < math.inf:
        raise ValueError(f"margin is {margin}; expected a finite number above 0, in units of the measure")
    if not math.isfinite(difference):
        raise ValueError(f"difference is {difference}; expected a finite number, in units of the measure")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; expected a number above 0 and below 1")


@functools.cache
def _legendre() -> tuple[np.ndarray, np.ndarray]:
    return special.roots_legendre(100)

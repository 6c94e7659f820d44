"""What an effect is over collections: a random-effects meta-analysis of one estimate a collection.

Each collection has an estimate y_i of its own true effect theta_i, with a variance v_i that other queries and seeds would show; the true
effects vary over collections with variance tau^2 around the mean that is asked for. Estimates are weighted by 1 / (v_i + tau^2), tau^2 by
Paule and Mandel's equation; the interval of the mean is Hartung, Knapp, Sidik and Jonkman's, which is Student's with k - 1 degrees of
freedom and keeps its level with few collections. Where estimates agree better than their variances allow, the plain standard error stands
instead of theirs, so that the interval is never shorter than queries and seeds allow.

Sources: R. C. Paule, J. Mandel, Journal of Research of the NBS 87, 1982; J. Hartung, G. Knapp, Statistics in Medicine 20, 2001, with the
correction of C. Roever, G. Knapp, T. Friede, BMC Medical Research Methodology 15, 2015; the prediction interval of J. P. T. Higgins,
S. G. Thompson, D. J. Spiegelhalter, Journal of the Royal Statistical Society A 172, 2009.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


class Combined(NamedTuple):
    """The mean effect over collections.

    Attributes:
        estimate: The weighted mean, in units of the measure.
        se: Its standard error by Hartung and Knapp.
        tau: Standard deviation of the true effects over collections.
        i_squared: Share of the estimates' variation that is of true effects and not of queries and seeds, in [0, 1].
        p_heterogeneity: Of Cochran's Q: that all collections have one effect.
        n: Collections.
    """

    estimate: float
    se: float
    tau: float
    i_squared: float
    p_heterogeneity: float
    n: int

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the interval of the mean effect."""
        half = float(stats.t.ppf((1 + level) / 2, self.n - 1)) * self.se
        return self.estimate - half, self.estimate + half

    def prediction(self, level: float = 0.95) -> tuple[float, float]:
        """Return the interval in which the true effect of one more collection lies; NaN below three collections."""
        if self.n < 3:
            return math.nan, math.nan
        half = float(stats.t.ppf((1 + level) / 2, self.n - 2)) * math.hypot(self.tau, self.se)
        return self.estimate - half, self.estimate + half

    def p_above(self, bound: float) -> float:
        """Return the one-sided p-value against a mean effect of ``bound`` or less."""
        if self.se == 0:
            return 0.0 if self.estimate > bound else 1.0
        return float(stats.t.sf((self.estimate - bound) / self.se, self.n - 1))

    def p_below(self, bound: float) -> float:
        """Return the one-sided p-value against a mean effect of ``bound`` or more."""
        if self.se == 0:
            return 0.0 if self.estimate < bound else 1.0
        return float(stats.t.cdf((self.estimate - bound) / self.se, self.n - 1))


def combined(estimates: ArrayLike, variances: ArrayLike) -> Combined:
    """Combine one estimate a collection.

    Args:
        estimates: (k,), in units of the measure.
        variances: (k,), of the estimates, above 0.

    Raises:
        ValueError: Fewer than two estimates, other shapes, a value that is not finite, or a variance that is not above 0.

    Example:
        >>> found = combined([0.02, 0.03, 0.04], [1e-4, 1e-4, 1e-4])
        >>> round(found.estimate, 4), round(found.tau, 4), [round(end, 4) for end in found.interval()]
        (0.03, 0.0, [0.0052, 0.0548])
    """
    from statsmodels.stats.meta_analysis import combine_effects

    y, v = np.asarray(estimates, dtype=float), np.asarray(variances, dtype=float)
    if y.ndim != 1 or y.shape != v.shape or len(y) < 2:
        raise ValueError(f"{y.shape} estimates and {v.shape} variances: expected one of each a collection, of two collections or more")
    if not (np.isfinite(y).all() and np.isfinite(v).all() and (v > 0).all()):
        raise ValueError(
            "an estimate or a variance is not finite, or a variance is not above 0: expected measured values of every collection"
        )
    found: Any = combine_effects(y, v, method_re="iterated")  # Paule and Mandel's
    tau2 = max(0.0, float(found.tau2))
    q = float(found.q)
    weights = 1 / (v + tau2)
    estimate = float(weights @ y / weights.sum())
    spread = float(weights @ (y - estimate) ** 2 / (len(y) - 1))
    se = math.sqrt(max(1.0, spread) / weights.sum())
    i_squared = max(0.0, 1 - (len(y) - 1) / q) if q > 0 else 0.0
    return Combined(estimate, se, math.sqrt(tau2), i_squared, float(stats.chi2.sf(q, len(y) - 1)), len(y))

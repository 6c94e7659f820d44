"""How effects change with size: of a strategy, of a loss and its teacher, over documents, training queries or a student's budget.

Each size gives one estimate of an effect, over queries and seeds (:mod:`rd_utils.companions.claims`). Over sizes a line is fitted,

    ``effect = at_base + slope * log2(size / base)``,

by weighted least squares with weights 1 / (v + tau^2), v the estimate's variance and tau^2 what sizes vary beyond the line, at least 0 and
such that the weighted squares of the residuals have their expectation (Paule and Mandel's equation for a regression). Intervals are
Student's with k - 2 degrees of freedom, by the covariance of Knapp and Hartung, never narrower than the plain one. What the line says of a
size that nobody measured is a prediction with tau in it, and an extrapolation.

Source: G. Knapp, J. Hartung, Improved tests for a random effects meta-regression with a single covariate, Statistics in Medicine 22, 2003.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize, stats

from rd_utils.analysis.tables import records
from rd_utils.companions import claims
from rd_utils.companions.claims import Claim, Contrast, Term, where_read
from rd_utils.exchange.results import found


def _effect(name: str, more: tuple[str, str], less: tuple[str, str]) -> Contrast:
    plus, minus = ({"strategy": strategy, "loss": loss} for strategy, loss in (more, less))
    return Contrast(name, (Term(1, plus), Term(-1, minus)), "away")


EFFECTS = Claim(
    0,
    "effects",
    "What a strategy, a loss and its teacher change.",
    "",
    (
        _effect("BM25 less random, under LCE", ("bm25", "lce"), ("corpus_random", "lce")),
        _effect("BM25 less random, under KL", ("bm25", "kl"), ("corpus_random", "kl")),
        _effect("filtered less BM25, under KL", ("pooled_filtered", "kl"), ("bm25", "kl")),
        _effect("KL less LCE, on BM25's negatives", ("bm25", "kl"), ("bm25", "lce")),
    ),
    "all",
)
"""The effects that are followed over sizes, in the form of a claim; nothing is confirmed or refuted by them."""

MS_MARCO = {"documents": 8_841_823, "training_queries": 502_939, "documents_seen": 12_000_000}
"""Sizes of MS MARCO passage retrieval and of the published budget, for what the fits say of it (ir_datasets; arXiv 2505.21058)."""


NO_TREND = "no trend shown"


class Line(NamedTuple):
    """An effect over sizes.

    Attributes:
        at_base: The effect at the base size.
        slope: Change of the effect each time the size doubles.
        covariance: Of both, (2, 2).
        tau: Standard deviation of the effects around the line, beyond queries and seeds.
        base: The base size.
        n: Sizes.
    """

    at_base: float
    slope: float
    covariance: np.ndarray
    tau: float
    base: float
    n: int

    def slope_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the interval of the slope."""
        half = self._t(level) * math.sqrt(self.covariance[1, 1])
        return self.slope - half, self.slope + half

    def predicted(self, size: float, level: float = 0.95) -> tuple[float, float, float]:
        """Return the effect at a size and the interval in which the effect of one collection of that size lies."""
        at = np.array([1.0, math.log2(size / self.base)])
        value = self.at_base + self.slope * math.log2(size / self.base)
        half = self._t(level) * math.sqrt(float(at @ self.covariance @ at) + self.tau**2)
        return value, value - half, value + half

    def trend(self, level: float = 0.95) -> str:
        """Return what the effect does from the base size on: ``grows`` away from zero, ``shrinks`` (and in the end turns), or neither."""
        low, high = self.slope_interval(level)
        if low <= 0 <= high:
            return NO_TREND
        return "grows" if self.slope * self.at_base >= 0 else "shrinks"

    def _t(self, level: float) -> float:
        return float(stats.t.ppf((1 + level) / 2, self.n - 2))


def fit(sizes: ArrayLike, estimates: ArrayLike, variances: ArrayLike, *, base: float | None = None) -> Line:
    """Fit a line to an effect over sizes.

    Args:
        sizes: (k,), above 0, at least three.
        estimates: (k,), in units of the measure.
        variances: (k,), of the estimates, above 0.
        base: The size at which ``at_base`` stands; the smallest where it is not said.

    Raises:
        ValueError: Fewer than three sizes, a value that is not finite, or a size or variance that is not above 0.

    Example:
        >>> line = fit([1000, 2000, 4000, 8000], [0.01, 0.02, 0.03, 0.04], [1e-6] * 4)
        >>> round(line.at_base, 4), round(line.slope, 4), line.trend(), round(line.predicted(16000)[0], 3)
        (0.01, 0.01, 'grows', 0.05)
    """
    import statsmodels.api as sm

    x, y, v = (np.asarray(values, dtype=float) for values in (sizes, estimates, variances))
    if not (x.shape == y.shape == v.shape and x.ndim == 1 and len(x) >= 3):
        raise ValueError(f"{x.shape} sizes, {y.shape} estimates, {v.shape} variances: expected one of each, of three sizes or more")
    if not (np.isfinite([x, y, v]).all() and (x > 0).all() and (v > 0).all()):
        raise ValueError("a size, estimate or variance is not finite, or a size or variance is not above 0: expected measured values")
    start = float(x.min() if base is None else base)
    design = sm.add_constant(np.log2(x / start), has_constant="add")

    def weighted(tau2: float) -> Any:
        return sm.WLS(y, design, weights=cast("Any", 1 / (v + tau2))).fit()

    def excess(tau2: float) -> float:
        """Return by how much the weighted squares exceed their expectation at a tau^2."""
        return float(weighted(tau2).ssr) - (len(x) - 2)

    tau2, most = 0.0, float(10 * np.var(y) + v.max())
    if excess(0.0) > 0 and excess(most) < 0:
        tau2 = cast("float", optimize.brentq(excess, 0.0, most))
    found = weighted(tau2)
    scale = max(1.0, float(found.ssr) / (len(x) - 2))
    at_base, slope = map(float, found.params)
    return Line(at_base, slope, np.asarray(found.normalized_cov_params) * scale, math.sqrt(tau2), start, len(x))


AXES = {
    "documents": "documents in the collection",
    "training_queries": "training queries",
    "documents_seen": "documents that a student sees",
}
"""What is varied, one thing at a time, and what it is called."""


def estimates(pattern: str, leave_out: Sequence[str] = ()) -> pd.DataFrame:
    """Read the effects at every size from folders of results.

    What a study varies over its collections is its axis; one of a single collection is a size of what its students see.

    Args:
        pattern: as in :func:`rd_utils.exchange.results.found`.
        leave_out: as there.

    Returns:
        The rows of :func:`rd_utils.companions.claims.estimates` for :data:`EFFECTS`, each with its ``axis`` and ``size``.

    Raises:
        ValueError: a study varies nothing, or several things, over its collections.
    """
    tables = []
    for results in found(pattern, leave_out):
        table = where_read(claims.estimates(results.per_query(), [EFFECTS]))
        places: dict[str, dict[str, int]] = results.about["collections"]
        varied = [axis for axis in AXES if len({sizes.get(axis) for sizes in places.values()}) > 1]
        if len(places) == 1:
            sizes = dict.fromkeys(places, float(results.table("cells")["documents_seen"].mean()))
            varied = ["documents_seen"]
        elif len(varied) == 1:
            sizes = {place: float(each[varied[0]]) for place, each in places.items()}
        else:
            raise ValueError(
                f"{results.study} varies {', '.join(varied) or 'nothing'} over its collections; expected one of {', '.join(AXES)}"
            )
        tables.append(table.assign(axis=varied[0], size=table["collection"].map(sizes)))
    return pd.concat(tables, ignore_index=True)


def lines(estimates: pd.DataFrame) -> pd.DataFrame:
    """Fit every effect over the sizes of every axis that has three or more.

    Args:
        estimates: of :func:`estimates`.

    Returns:
        One row an axis, effect, architecture and first stage: ``axis, contrast, architecture, first_stage, n`` (sizes), ``at_base, slope,
        low, high`` (of the slope, a doubling), ``tau, trend``, what the line says of :data:`MS_MARCO`'s size (``far, far_low, far_high``),
        and the ``line``, for other predictions.
    """
    rows = []
    keys = ["axis", "contrast", "architecture", "first_stage"]
    in_order = estimates.sort_values("axis", key=lambda axes: axes.map(list(AXES).index), kind="stable")
    for place, part in in_order.groupby(keys, sort=False):
        if part["size"].nunique() < 3:
            continue
        line = fit(part["size"], part["estimate"], part["variance"])
        far = line.predicted(MS_MARCO[str(place[0])])
        rows.append([*place, line.n, line.at_base, line.slope, *line.slope_interval(), line.tau, line.trend(), *far, line])
    return pd.DataFrame(rows, columns=[*keys, "n", "at_base", "slope", "low", "high", "tau", "trend", "far", "far_low", "far_high", "line"])


def in_words(lines: pd.DataFrame) -> list[str]:
    """Return what the effects do over each axis and what that says of :data:`MS_MARCO`, a sentence each.

    Args:
        lines: of :func:`lines`.
    """
    said = []
    for axis, part in lines.groupby("axis", sort=False):
        moved = [_moved(row) for row in records(part) if row["trend"] != NO_TREND]
        rest = len(part) - len(moved)
        still = [f"{'the other' if moved else 'all'} {rest}: {NO_TREND}"] if rest else []
        said.append(f"More {AXES[str(axis)]}: {'; '.join(moved + still)}.")
        clear = part[(part["far_low"] > 0) | (part["far_high"] < 0)]
        named = [f"{row['contrast']} ({row['architecture']}): {row['far']:+.3f}" for row in records(clear)]
        sign = f"of the sign of {len(clear)} of {len(part)} effects: {', '.join(named)}" if named else "of the sign of no effect"
        said.append(f"At MS MARCO's {MS_MARCO[str(axis)]:,} the lines are sure {sign}.")
    return said


def _moved(row: Mapping[str, Any]) -> str:
    """Say how an effect moves, and at what size its line crosses zero where that lies ahead."""
    line: Line = row["line"]
    what, change = f"{row['contrast']} ({row['architecture']})", f"by {row['slope']:+.4f} a doubling from {row['at_base']:+.3f}"
    turns = line.base * 2 ** (-line.at_base / line.slope)
    if row["trend"] == "shrinks" and turns <= MS_MARCO[row["axis"]]:
        return f"{what} turns at {float(f'{turns:.1g}'):,.0f}, {change}"
    return f"{what} {row['trend']} {change}"

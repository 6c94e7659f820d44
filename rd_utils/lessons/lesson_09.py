"""Lesson 9, is B better than A: paired and unpaired intervals, two one-sided tests, and four verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import altair as alt
import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from rd_utils.analysis import stats
from rd_utils.lessons.checks import Exercise, Function, Value
from rd_utils.report.drawing import BAND, INK, PALETTE, padded_domain

A, B = np.array([0.50, 0.60, 0.70]), np.array([0.53, 0.62, 0.74])
"""What two systems reach on the toy's three queries."""
MARGIN = 0.02
CASES = {"a clear gain": (0.040, 0.056), "a copy, nearly": (0.002, 0.056), "small and sure": (0.010, 0.020), "noisy": (0.015, 0.150)}
"""Mean and SD of the differences of four contrasts."""
QUERIES = 60


def judged(a: np.ndarray, b: np.ndarray, margin: float = MARGIN) -> stats.PairedDifference:
    """Return what the package says of two systems' values of the same queries."""
    names = pd.MultiIndex.from_product([["toy"], [f"q{number:03d}" for number in range(len(a))]], names=stats.QUERY_KEYS)
    return stats.paired_difference(pd.Series(a, names), pd.Series(b, names), equivalence_margin=margin)


def paired(a: np.ndarray, b: np.ndarray) -> list[float]:
    """Return the paired interval of b - a by the package."""
    found = judged(a, b)
    return [found.low, found.high]


def unpaired(a: np.ndarray, b: np.ndarray) -> list[float]:
    """Return the interval of the difference of two means whose queries are unknown, of equal variances, by scipy."""
    found = scipy_stats.ttest_ind(b, a).confidence_interval(0.95)
    return [float(found.low), float(found.high)]


def decide(delta: np.ndarray, margin: float) -> list[bool]:
    """Return whether differences show that two systems differ, and that they are equivalent, by the package."""
    found = judged(np.zeros(len(delta)), delta, margin)
    return [found.different, found.equivalent]


def differences(name: str) -> np.ndarray:
    """Return one difference per query of one of :data:`CASES`, with just its mean and SD."""
    mean, deviation = CASES[name]
    drawn = scipy_stats.norm.ppf((np.arange(QUERIES) + 0.5) / QUERIES)
    return mean + deviation * drawn / drawn.std(ddof=1)


def contrasts(deltas: Mapping[str, np.ndarray], margin: float = MARGIN) -> pd.DataFrame:
    """Return what the package says of differences per query, a row each, as the chart with the slider takes them."""
    rows = [{"contrast": name} | judged(np.zeros(len(delta)), delta, margin)._asdict() for name, delta in deltas.items()]
    return pd.DataFrame(rows)


# --- pictures ---------------------------------------------------------------------------------------------------------------------


def two_ways(a: np.ndarray = A, b: np.ndarray = B, *, margin: float = MARGIN, height: int = 150) -> alt.HConcatChart:
    """Draw the queries' values under both systems, a line a query, and beside them the interval of the difference, paired and unpaired.

    Args:
        a: One value per query.
        b: The same queries.
        margin: Of equivalence, a band around 0.
        height: Of both panels, in pixels.
    """
    queries = [f"query {number + 1}" for number in range(len(a))]
    frame = pd.DataFrame({"query": queries * 2, "system": ["A"] * len(a) + ["B"] * len(b), "value": [*a, *b]})
    x = alt.X("system:N", title="system", axis=alt.Axis(labelAngle=0), scale=alt.Scale(type="point", padding=0.5))
    y = alt.Y("value:Q", title="nDCG of a query", scale=alt.Scale(domain=padded_domain(frame["value"], 0.15), nice=False))
    base = alt.Chart(frame).encode(x=x, y=y)
    ends = base.transform_filter("datum.system == 'B'").mark_text(align="left", dx=10).encode(text="query:N")
    slopes = alt.layer(
        base.mark_line(color=PALETTE[0], strokeWidth=2).encode(detail="query:N"),
        base.mark_point(filled=True, size=70, opacity=1, color=PALETTE[0]),
        ends,
    ).properties(width=190, height=height, title=alt.TitleParams("three queries", fontSize=12))
    difference = float(b.mean() - a.mean())
    rows = [["paired", difference, *paired(a, b)], ["unpaired", difference, *unpaired(a, b)]]
    intervals = pd.DataFrame(rows, columns=["interval", "difference", "low", "high"])
    span = alt.Scale(domain=padded_domain(pd.concat([intervals["low"], intervals["high"]]), 0.08), nice=False)
    across = alt.X("difference:Q", title="difference in nDCG (shaded: the margin)", scale=span, axis=alt.Axis(tickCount=6))
    down = alt.Y("interval:N", title=None, sort=["paired", "unpaired"])
    told = ["interval:N", *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("difference", "low", "high"))]
    shown = alt.Chart(intervals).encode(y=down, tooltip=told)
    band = alt.Chart(pd.DataFrame({"from": [-margin], "to": [margin]})).mark_rect(color=BAND)
    forest = alt.layer(
        band.encode(x=alt.X("from:Q", scale=span), x2="to:Q"),
        alt.Chart(intervals.head(1)).mark_rule(color=INK).encode(x=alt.datum(0)),
        shown.mark_rule(strokeWidth=2.5, color=PALETTE[1]).encode(x=alt.X("low:Q", scale=span), x2="high:Q"),
        shown.mark_point(filled=True, size=80, opacity=1, color=PALETTE[1]).encode(x=across),
    ).properties(width=330, height=height, title=alt.TitleParams("95 % intervals of the mean difference", fontSize=12))
    return alt.hconcat(slopes, forest, spacing=34)


# --- exercises --------------------------------------------------------------------------------------------------------------------


def _two(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    n = int(rng.integers(3, 12))
    a = rng.normal(0.5, 0.2, size=n)
    return a, a + rng.normal(0.03, 0.05, size=n)


def _tested(rng: np.random.Generator) -> tuple[np.ndarray, float]:
    n = int(rng.integers(4, 20))
    delta = rng.normal(size=n)
    error = 0.05 / math.sqrt(n)
    delta = error * rng.uniform(-4, 4) + 0.05 * (delta - delta.mean()) / delta.std(ddof=1)
    return delta, float(abs(delta.mean()) + error * rng.uniform(0.5, 3.5))


def _spread(delta: np.ndarray, *, level: float = 0.95, ddof: int = 1, per: float = 0.5) -> list[float]:
    half = scipy_stats.t.ppf((1 + level) / 2, len(delta) - 1) * delta.std(ddof=ddof) / len(delta) ** per
    return [float(delta.mean() - half), float(delta.mean() + half)]


def _normal(a: np.ndarray, b: np.ndarray) -> list[float]:
    half = scipy_stats.norm.ppf(0.975) * (b - a).std(ddof=1) / math.sqrt(len(a))
    return [float((b - a).mean() - half), float((b - a).mean() + half)]


def _apart(
    error: Callable[[np.ndarray, np.ndarray], float], freedom: Callable[[int], int]
) -> Callable[[np.ndarray, np.ndarray], list[float]]:
    def interval(a: np.ndarray, b: np.ndarray) -> list[float]:
        half = scipy_stats.t.ppf(0.975, freedom(len(a))) * error(a, b)
        return [float(b.mean() - a.mean() - half), float(b.mean() - a.mean() + half)]

    return interval


def _both(a: np.ndarray, b: np.ndarray, ddof: int = 1) -> float:
    return math.sqrt((a.var(ddof=ddof) + b.var(ddof=ddof)) / len(a))


def _one_sided(delta: np.ndarray, margin: float, ddof: int = 1) -> tuple[float, float]:
    error, freedom = delta.std(ddof=ddof) / math.sqrt(len(delta)), len(delta) - 1
    above = float(scipy_stats.t.sf((delta.mean() + margin) / error, freedom))
    return above, float(scipy_stats.t.cdf((delta.mean() - margin) / error, freedom))


def _differ(delta: np.ndarray, level: float = 0.95) -> bool:
    low, high = _spread(delta, level=level)
    return not low <= 0 <= high


_ERRORS = [0.056 / math.sqrt(QUERIES), 0.17 * math.sqrt(2 / QUERIES)]
_ONE_SIDE = "that interval is of A - B; B is asked for less A"
_NUMPY = "numpy's std and var divide by n; a sample's divide by n - 1: ddof=1"

EXERCISES: Mapping[str, Exercise] = {
    "paired": Function(
        paired,
        _two,
        (
            "one difference per query; then the interval of a mean",
            "the standard error is the SD of the differences over the square root of n",
            "mean - t error and mean + t error, t = scipy.stats.t.ppf(0.975, n - 1)",
        ),
        {
            _NUMPY: lambda a, b: _spread(b - a, ddof=0),
            "1.96 is of the normal distribution; the SD is estimated here, and t with n - 1 degrees of freedom is larger": _normal,
            "that is 90 %: t leaves 2.5 % on either side": lambda a, b: _spread(b - a, level=0.9),
            "that is where single queries lie; a mean is known better, by the square root of n": lambda a, b: _spread(b - a, per=0),
            "the SD is divided by n; its square root does": lambda a, b: _spread(b - a, per=1),
            _ONE_SIDE: lambda a, b: _spread(a - b),
            "that is the unpaired interval: take the difference query by query first": unpaired,
        },
    ),
    "unpaired": Function(
        unpaired,
        _two,
        (
            "the variance of a difference of two unrelated means is the sum of their variances",
            "the error is the root of (variance of a + variance of b) / n",
            "mean - t error and mean + t error, t = scipy.stats.t.ppf(0.975, 2 n - 2)",
        ),
        {
            _NUMPY: _apart(lambda a, b: _both(a, b, ddof=0), lambda n: 2 * n - 2),
            "two means were estimated, of n queries each: 2 n - 2 degrees of freedom": _apart(_both, lambda n: n - 1),
            "variances add up, SDs do not: square them, sum, and take the root": _apart(
                lambda a, b: (a.std(ddof=1) + b.std(ddof=1)) / math.sqrt(len(a)), lambda n: 2 * n - 2
            ),
            "both systems' means are uncertain; this has the variance of one": _apart(
                lambda a, b: b.std(ddof=1) / math.sqrt(len(a)), lambda n: 2 * n - 2
            ),
            "the variance is not yet divided by n": _apart(lambda a, b: math.sqrt(a.var(ddof=1) + b.var(ddof=1)), lambda n: 2 * n - 2),
            "that is the paired interval; here nobody knows which value belongs to which": paired,
            _ONE_SIDE: lambda a, b: unpaired(b, a),
        },
    ),
    "tost": Function(
        stats.tost,
        _tested,
        (
            "two t tests, each of one side: is the mean above -margin, and is it below +margin?",
            "the first has p = stats.t.sf((mean + margin) / error, n - 1), the second p = stats.t.cdf((mean - margin) / error, n - 1)",
            "both have to reject, so the larger of the two p-values counts",
        ),
        {
            "one of the two tests is not enough: both must reject, so the larger p-value counts": lambda d, m: min(_one_sided(d, m)),
            "the p-values are not added up; the larger counts": lambda d, m: sum(_one_sided(d, m)),
            _NUMPY: lambda d, m: max(_one_sided(d, m, ddof=0)),
            "that tests for a difference: the margin has no part in it": lambda d, m: judged(np.zeros(len(d)), d, m).p_difference,
            "the tails are turned: small has to mean that the mean lies within the margin": lambda d, m: 1 - max(_one_sided(d, m)),
            "the margin lies on both sides at its whole length; this takes half": lambda d, m: max(_one_sided(d, m / 2)),
            "each test is of one side; do not double its p-value": lambda d, m: 2 * max(_one_sided(d, m)),
        },
    ),
    "decide": Function(
        decide,
        _tested,
        (
            "two answers, to two questions: is 0 outside the paired interval, and does TOST reject?",
            "the interval is paired(zeros, delta) with zeros = np.zeros(len(delta)); TOST rejects where tost(delta, margin) < 0.05",
            "return [low > 0 or high < 0, tost(delta, margin) < 0.05]",
        ),
        {
            "no difference shown is no equivalence shown: the second answer is TOST's": lambda d, m: [_differ(d), not _differ(d)],
            "the first answer is of the difference, the second of the equivalence": lambda d, m: decide(d, m)[::-1],
            "the test for a difference is two-sided at 5 %: the interval of 95 %, not of 90 %": lambda d, m: [
                _differ(d, 0.9),
                decide(d, m)[1],
            ],
            "TOST at 5 % is the interval of 90 % within the margin; you asked it of 95 %": lambda d, m: [
                decide(d, m)[0],
                max(map(abs, _spread(d))) < m,
            ],
            "that the mean lies within the margin shows nothing yet: how sure is it?": lambda d, m: [decide(d, m)[0], abs(d.mean()) < m],
            "TOST rejects where its p-value is small": lambda d, m: [decide(d, m)[0], not decide(d, m)[1]],
        },
    ),
    "two standard errors": Value(
        _ERRORS,
        (
            "paired: one sample of 60 differences, SD .056; unpaired: two samples of 60 values, SD .17 each",
            "the root of 60 is 7.75, that of 2 is 1.41",
        ),
        mistakes={
            "the unpaired one has two means, whose variances add up": [_ERRORS[0], 0.17 / math.sqrt(QUERIES)],
            "the paired one first": _ERRORS[::-1],
            "divide by the root of 60, not by 60": [0.056 / 60, 0.17 * math.sqrt(2) / 60],
            "variances add up, SDs do not": [_ERRORS[0], 0.34 / math.sqrt(QUERIES)],
        },
    ),
    "queries for a margin": Value(
        (2.926 * 0.056 / MARGIN) ** 2,
        ("put the SD and the margin into the formula", ".056 / .02 = 2.8, times 2.926, squared"),
        digits=0,
        mistakes={
            "square it: the error falls with the root of the number of queries": 2.926 * 0.056 / MARGIN,
            "that is for a margin of .01": (2.926 * 0.056 / 0.01) ** 2,
            "that is the SD of single values; paired queries have that of the differences, .056": (2.926 * 0.17 / MARGIN) ** 2,
            "that is the package's number, in which the SD is itself estimated; the formula takes it as known": 69,
        },
    ),
    "verdicts at 0.01": Value(
        ["different", "undecided", "different", "undecided"],
        (
            "put the slider on 0.01 and read from top to bottom",
            "the thin lines do not know the margin, so who differs stays; who is equivalent is what may change",
        ),
        mistakes={
            "those are the verdicts at 0.02": ["different", "equivalent", "both", "undecided"],
            "the thick line of the third row ends at .014: is it within .01?": ["different", "undecided", "both", "undecided"],
            "the thick line of the second row reaches beyond .01": ["different", "equivalent", "different", "undecided"],
            "what is not shown to differ is not thereby equivalent": ["different", "equivalent", "different", "equivalent"],
        },
    ),
    "shuffled queries": Value(
        ["paired interval"],
        (
            "which of the three looks at which value belongs to which query?",
            "neither a mean nor a variance of one system's values minds their order",
        ),
        mistakes={
            "the mean of the differences is the difference of the means, in any order": ["mean difference", "paired interval"],
            "the unpaired interval knows no pairs, so it cannot miss them": ["paired interval", "unpaired interval"],
            "look again: what do the differences do when each query meets another's value?": ["unpaired interval"],
            "means and variances of a system's values have no order": ["mean difference", "paired interval", "unpaired interval"],
        },
    ),
}

"""Are two systems different, equivalent, both, or undecided? Paired over queries, by a margin fixed beforehand.

A system's values are one number per test query, averaged over its seeds first (:func:`seed_mean`). Queries are known by
``(test_collection, query_id)``: query ids repeat between collections. Difference and equivalence are two questions, and
each has its own test: a t-test that fails to reject shows nothing; equivalence is shown by two one-sided tests (TOST)
that both reject. Families of p-values are corrected with :func:`holm`. Equivalence is not transitive: show pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

QUERY_KEYS = ("test_collection", "query_id")

_ROUNDING = 1e-12  # differences that vary by less than this are one constant, seen through float rounding


# --- over seeds ------------------------------------------------------------------------------------------------------


def seed_mean(per_query: pd.DataFrame, *, value: str = "value") -> pd.DataFrame:
    """Average every query's value over the seeds.

    Every column other than ``seed`` and ``value`` is a key (the test collection, the query, and whichever of cell,
    measure ... the table has). Each query of a cell must have every seed of that cell, since a mean over fewer seeds is
    another quantity.

    Args:
        per_query: One row per key and seed; columns ``test_collection``, ``query_id``, ``seed``, ``value``, and any
            further keys.
        value: The name of the column with the values.

    Returns:
        One row per key, sorted by the keys: the keys, ``value`` (the mean), ``n_seeds``.

    Raises:
        ValueError: If a column or a value is missing, a key has two rows of one seed, or a query lacks a seed of its
            cell.

    >>> rows = [("dl19", "q1", 0, 0.2), ("dl19", "q1", 1, 0.4), ("dl19", "q2", 0, 1.0), ("dl19", "q2", 1, 0.0)]
    >>> means = seed_mean(pd.DataFrame(rows, columns=["test_collection", "query_id", "seed", "value"]))
    >>> means["value"].round(3).tolist(), means["n_seeds"].tolist()
    ([0.3, 0.5], [2, 2])
    """
    keys = _checked_keys(per_query, value)
    groups = per_query.groupby(keys, sort=True, dropna=False, observed=True)[value]
    return groups.agg(**{value: "mean", "n_seeds": "size"}).reset_index()


def spread_over_seeds(per_query: pd.DataFrame, *, value: str = "value") -> pd.DataFrame:
    """Describe how a cell's mean over queries varies with the seed.

    A seed's value is the mean over the queries of one test collection; the spread is taken over those. To average over
    collections, average the rows of the result: each collection counts once, however many queries it has.

    Args:
        per_query: As for :func:`seed_mean`.
        value: The name of the column with the values.

    Returns:
        One row per key without the query (test collection and whichever of cell, measure ... there are), sorted: the
        keys, ``mean``, ``sd`` (over seeds, n - 1; NaN with one seed, when it is unknown), ``n_seeds``, ``n_queries``.

    Raises:
        ValueError: As :func:`seed_mean`.

    Seed 0 has the mean 0.6, seed 1 the mean 0.2:

    >>> rows = [("dl19", "q1", 0, 0.2), ("dl19", "q1", 1, 0.4), ("dl19", "q2", 0, 1.0), ("dl19", "q2", 1, 0.0)]
    >>> spread = spread_over_seeds(pd.DataFrame(rows, columns=["test_collection", "query_id", "seed", "value"]))
    >>> spread[["mean", "sd"]].round(3).values.tolist(), spread["n_seeds"].tolist()
    ([[0.4, 0.283]], [2])
    """
    keys = [key for key in _checked_keys(per_query, value) if key != "query_id"]
    per_seed = per_query.groupby([*keys, "seed"], sort=True, dropna=False, observed=True)[value].agg(["mean", "size"])
    groups = per_seed.reset_index().groupby(keys, sort=True, dropna=False, observed=True)
    return groups.agg(mean=("mean", "mean"), sd=("mean", "std"), n_seeds=("mean", "size"), n_queries=("size", "first")).reset_index()


def _checked_keys(per_query: pd.DataFrame, value: str) -> list[str]:
    """Return the keys of a complete table: unique keys, no missing value, every query with every seed of its cell."""
    needed = [*QUERY_KEYS, "seed", value]
    if absent := [column for column in needed if column not in per_query.columns]:
        raise ValueError(f"per_query has no column {absent[0]!r}; expected {needed} and any further keys, found {list(per_query.columns)}")
    keys = [*QUERY_KEYS, *(column for column in per_query.columns if column not in needed)]
    repeated = per_query.duplicated([*keys, "seed"])
    if repeated.any():
        first = per_query.loc[repeated, [*keys, "seed"]].iloc[0].to_dict()
        raise ValueError(
            f"{int(repeated.sum())} rows repeat a key, the first {first}; expected one row per {[*keys, 'seed']}: "
            "do not mix runs, and keep the test collection and the measure in columns of their own"
        )
    missing = per_query[value].isna()
    if missing.any():
        first = per_query.loc[missing, [*keys, "seed"]].iloc[0].to_dict()
        raise ValueError(f"{int(missing.sum())} values are missing, the first for {first}; evaluate every query first")
    cell_keys = [key for key in keys if key != "query_id"]
    for cell, rows in per_query.groupby(cell_keys, sort=True, dropna=False, observed=True):
        n_seeds, n_queries = rows["seed"].nunique(dropna=False), rows["query_id"].nunique(dropna=False)
        if len(rows) != n_seeds * n_queries:
            counts = rows.groupby("query_id", sort=True, dropna=False).size()
            short = counts[counts < n_seeds].index[0]
            raise ValueError(
                f"query {short!r} has {counts[short]} of the {n_seeds} seeds of "
                f"{dict(zip(cell_keys, cell, strict=True))}; "
                "expected every query with every seed: finish or leave out the unfinished seed"
            )
    return keys


# --- two systems on the same queries ---------------------------------------------------------------------------------


class PairedDifference(NamedTuple):
    """What the queries say about two systems; ``difference`` is ``mean_b - mean_a``, in units of the measure.

    ``low`` and ``high`` bound the difference at the level that was asked for. ``p_equivalence`` is the larger of the
    two one-sided p-values. At the same alpha, TOST accepts every margin above ``smallest_margin`` and none below.
    """

    n_queries: int
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    p_difference: float
    p_equivalence: float
    equivalent: bool
    different: bool
    verdict: Literal["different", "equivalent", "both", "undecided"]
    smallest_margin: float


def differences(a: pd.Series, b: pd.Series) -> pd.Series:
    """Subtract system a from system b query by query.

    Args:
        a: One value per query, averaged over seeds, indexed by ``(test_collection, query_id)``.
        b: The same queries, in any order.

    Returns:
        ``b - a``, sorted by the index.

    Raises:
        ValueError: If an index has other levels or repeats a query, a value is missing, or the sets of queries differ.

    >>> queries = pd.MultiIndex.from_tuples([("dl19", "q1"), ("dl20", "q1")], names=QUERY_KEYS)
    >>> differences(pd.Series([0.25, 0.5], queries), pd.Series([1.0, 0.5], queries[::-1])).tolist()
    [0.25, 0.5]
    """
    for name, values in (("a", a), ("b", b)):
        if tuple(values.index.names) != QUERY_KEYS:
            raise ValueError(
                f"{name} is indexed by {list(values.index.names)}; expected {list(QUERY_KEYS)}, since query ids repeat "
                "between collections: use set_index(['test_collection', 'query_id'])"
            )
        if values.index.has_duplicates:
            raise ValueError(
                f"{name} has {int(values.index.duplicated().sum())} repeated queries, the first "
                f"{values.index[values.index.duplicated()][0]}; expected one value per query: average over seeds first"
            )
        if values.isna().any():
            raise ValueError(
                f"{name} has {int(values.isna().sum())} missing values, the first for "
                f"{values.index[values.isna()][0]}; evaluate every query first"
            )
    only_a, only_b = a.index.difference(b.index), b.index.difference(a.index)
    if len(only_a) or len(only_b):
        first = (only_a if len(only_a) else only_b)[0]
        raise ValueError(
            f"the systems were not evaluated on the same queries: {len(only_a)} only in a, {len(only_b)} only in b, "
            f"the first {first}; expected the same index: evaluate both on one set of queries"
        )
    return (b.astype(float) - a.astype(float)).sort_index()


def paired_difference(
    a: pd.Series, b: pd.Series, *, level: float = 0.95, equivalence_margin: float = 0.02, alpha: float = 0.05
) -> PairedDifference:
    """Test system b against system a: a paired t-test for a difference, paired TOST for equivalence.

    Equivalent means that both one-sided t-tests, of ``difference > -margin`` and of ``difference < margin``, reject at
    ``alpha``: the larger of their p-values is below it. The margin is in units of the measure and is fixed before the
    values are seen. All queries count alike; where several collections of unequal size are pooled, the large ones
    dominate, so compare collection by collection.

    Args:
        a: One value per query, averaged over seeds, indexed by ``(test_collection, query_id)``.
        b: The same queries, in any order.
        level: Of the t interval of the difference.
        equivalence_margin: In units of the measure, for instance 0.02 nDCG@10.
        alpha: Of both tests; correct a family of pairs with :func:`holm` on the p-values.

    Returns:
        A :class:`PairedDifference`; its verdict is ``different`` or ``equivalent``, ``both`` (a difference that is
        there and within the margin) or ``undecided``. Differences that do not vary at all have no t statistic: their
        p-values are the limits 0 and 1.

    Raises:
        ValueError: As :func:`differences`; and if there are fewer than two queries, or a setting is out of its range.

    >>> queries = pd.MultiIndex.from_product([["dl19"], ["q1", "q2", "q3", "q4"]], names=QUERY_KEYS)
    >>> a = pd.Series([0.1, 0.5, 0.3, 0.7], queries)
    >>> paired_difference(a, a + [0.002, -0.001, 0.0, -0.001]).verdict
    'equivalent'
    >>> paired_difference(a, a + [0.21, 0.20, 0.19, 0.20]).verdict
    'different'
    """
    settings = (("level", level, 1), ("alpha", alpha, 1), ("equivalence_margin", equivalence_margin, math.inf))
    for name, setting, upper in settings:
        if not 0 < setting < upper:
            raise ValueError(f"{name} is {setting}; expected a number above 0 and below {upper}")
    delta = differences(a, b)
    n = len(delta)
    if n < 2:
        raise ValueError(f"{n} queries; expected at least 2, since a spread over queries cannot be known from fewer")
    before = a.reindex(delta.index).to_numpy(float)
    after = b.reindex(delta.index).to_numpy(float)
    difference = float(delta.mean())
    if np.ptp(delta.to_numpy()) <= _ROUNDING:
        low = high = difference
        p_difference = 1.0 if abs(difference) <= _ROUNDING else 0.0
        p_equivalence = 0.0 if abs(difference) < equivalence_margin - _ROUNDING else 1.0
        smallest_margin = abs(difference)
    else:
        test = stats.ttest_rel(after, before)
        low, high = (float(bound) for bound in test.confidence_interval(level))
        p_difference = float(test.pvalue)
        p_equivalence = float(ttost_paired(after, before, -equivalence_margin, equivalence_margin)[0])
        smallest_margin = abs(difference) + float(stats.t.ppf(1 - alpha, n - 1) * stats.sem(delta))
    different, equivalent = p_difference < alpha, p_equivalence < alpha
    verdict = {
        (True, False): "different",
        (False, True): "equivalent",
        (True, True): "both",
        (False, False): "undecided",
    }[different, equivalent]
    return PairedDifference(
        n_queries=n,
        mean_a=float(before.mean()),
        mean_b=float(after.mean()),
        difference=difference,
        low=low,
        high=high,
        p_difference=p_difference,
        p_equivalence=p_equivalence,
        equivalent=equivalent,
        different=different,
        verdict=verdict,
        smallest_margin=smallest_margin,
    )


def holm(p_values: ArrayLike) -> np.ndarray:
    """Correct a family of p-values by Holm's step-down rule.

    The k-th smallest of m is multiplied by ``m - k + 1``, made monotone, and cut at 1. Comparing the result with alpha
    bounds the chance of one or more false rejections in the family by alpha, whatever the dependence between the tests.

    Args:
        p_values: (m,) numbers in [0, 1].

    Returns:
        (m,) corrected p-values in the order given.

    Raises:
        ValueError: If a p-value is missing or outside [0, 1].

    >>> holm([0.01, 0.04, 0.03]).round(4).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=float)
    if values.ndim != 1:
        raise ValueError(f"p_values has shape {values.shape}; expected one dimension, the family of tests")
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise ValueError(f"{int(wrong.sum())} p-values are not in [0, 1], the first ({values[first]}) at position {first}")
    return multipletests(values, method="holm")[1] if len(values) else values


class Interval(NamedTuple):
    """A mean with its interval."""

    estimate: float
    low: float
    high: float


def bootstrap_interval(
    values: pd.Series | Sequence[float] | np.ndarray, *, seed: int, n_resamples: int = 2000, level: float = 0.95
) -> Interval:
    """Bound a mean over queries by the percentile bootstrap.

    Queries are drawn with replacement. For two systems pass their :func:`differences`, so that a query brings both of
    its values.

    Args:
        values: One number per query. A Series is sorted by its index first, so that the order of its rows does not
            matter.
        seed: Of the resampling.
        n_resamples: How often the queries are drawn.
        level: Of the interval.

    Returns:
        The mean, and the ``(1 - level) / 2`` and ``(1 + level) / 2`` quantiles of the resampled means.

    Raises:
        ValueError: If there are fewer than two values, one is missing, or a setting is out of its range.

    >>> interval = bootstrap_interval([0.0, 1.0] * 50, seed=0)
    >>> interval.estimate, round(interval.low, 1), round(interval.high, 1)
    (0.5, 0.4, 0.6)
    """
    if isinstance(values, pd.Series):
        values = values.sort_index()
    numbers = np.asarray(values, dtype=float)
    if numbers.ndim != 1 or len(numbers) < 2:
        raise ValueError(f"values has shape {numbers.shape}; expected (n,), one number per query, n at least 2")
    missing = ~np.isfinite(numbers)
    if missing.any():
        first = int(np.argmax(missing))
        raise ValueError(f"{int(missing.sum())} of {len(numbers)} values are not finite, the first at position {first}")
    if not 0 < level < 1 or n_resamples < 1:
        raise ValueError(f"level is {level}, n_resamples {n_resamples}; expected 0 < level < 1 and n_resamples >= 1")
    interval = stats.bootstrap(
        (numbers,),
        np.mean,
        n_resamples=n_resamples,
        batch=max(1, 2_000_000 // len(numbers)),
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
        vectorized=True,
    ).confidence_interval
    return Interval(estimate=float(numbers.mean()), low=float(interval.low), high=float(interval.high))

"""Are two systems different, equivalent, both, or undecided? Paired over queries, by a margin fixed beforehand.

A system's values are one number per test query, averaged over its seeds first (:func:`seed_mean`). Queries are known by
``(test_collection, query_id)``: query ids repeat between collections. Difference and equivalence are two questions, and
each has its own test: a t-test that fails to reject shows nothing; equivalence is shown by two one-sided tests (TOST)
that both reject. Families of p-values are corrected with :func:`holm`. Equivalence is not transitive: show pairs, or
letters of :func:`cliques`, never chains. How many queries it takes to show equivalence is :func:`queries_needed`.
:func:`randomisation_test` asks nothing of the shape of the differences. All of these speak of the systems at hand; the
verdicts of a study, whose students other seeds would have trained otherwise, rest on :mod:`rd_utils.analysis.crossed`.
"""

from __future__ import annotations

import functools
import math
import string
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import networkx
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from rd_utils.analysis.power import queries_needed

QUERY_KEYS = ("test_collection", "query_id")
Verdict = Literal["different", "equivalent", "both", "undecided"]
VERDICTS: dict[tuple[bool, bool], Verdict] = {
    (True, False): "different",
    (False, True): "equivalent",
    (True, True): "both",
    (False, False): "undecided",
}  # by (different, equivalent)

_ROUNDING = 1e-12  # differences that vary by less than this are one constant, seen through float rounding
_BLOCK_VALUES = 2_000_000  # numbers of a resampling that are held at once


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
    return pd.DataFrame({value: groups.mean(), "n_seeds": groups.size()}).reset_index()


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
    ``queries_needed`` is the number of queries with which TOST, at the same margin and alpha, would show equivalence
    with probability 0.8 if the systems were equal in truth and the differences had the SD seen here
    (:func:`queries_needed`); it says how large a study has to be, not what this one shows.
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
    verdict: Verdict
    smallest_margin: float
    queries_needed: int | None


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
    if len(delta) < 2:
        raise ValueError(f"{len(delta)} queries; expected at least 2, since a spread over queries cannot be known from fewer")
    before, after = (system.reindex(delta.index).to_numpy(float) for system in (a, b))
    return _judged(before, after, delta, level, equivalence_margin, alpha)


def _judged(before: np.ndarray, after: np.ndarray, delta: pd.Series, level: float, margin: float, alpha: float) -> PairedDifference:
    """Return both tests of values of two systems on the same queries."""
    n, difference = len(delta), float(delta.mean())
    if np.ptp(delta.to_numpy()) <= _ROUNDING:
        low = high = difference
        p_difference = 1.0 if abs(difference) <= _ROUNDING else 0.0
        smallest_margin, sd = abs(difference), 0.0
    else:
        test = stats.ttest_rel(after, before)
        low, high = (float(bound) for bound in test.confidence_interval(level))
        p_difference = float(test.pvalue)
        smallest_margin = abs(difference) + float(stats.t.ppf(1 - alpha, n - 1) * stats.sem(delta))
        sd = float(delta.std())
    p_equivalence = tost(delta, margin)
    different, equivalent = p_difference < alpha, p_equivalence < alpha
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
        verdict=VERDICTS[different, equivalent],
        smallest_margin=smallest_margin,
        queries_needed=queries_needed(sd, margin, alpha=alpha),
    )


def tost(delta: ArrayLike, equivalence_margin: float) -> float:
    """Compute the p-value of paired TOST: the larger of those of ``difference > -margin`` and ``difference < margin``.

    Args:
        delta: One difference per query, of values averaged over seeds (:func:`differences`).
        equivalence_margin: In units of the measure, fixed beforehand.

    Returns:
        The p-value; its limit 0 or 1 where the differences do not vary.

    >>> round(tost([0.01, -0.01, 0.02, -0.02], 0.02), 3)
    0.058
    """
    values = np.asarray(delta, dtype=float)
    if np.ptp(values) <= _ROUNDING:
        return 0.0 if abs(values.mean()) < equivalence_margin - _ROUNDING else 1.0
    return float(DescrStatsW(values).ttost_mean(-equivalence_margin, equivalence_margin)[0])


def randomisation_test(delta: pd.Series | Sequence[float] | np.ndarray, *, seed: int, n_resamples: int = 4999) -> float:
    """Test for a difference by turning the signs of the paired differences round at random.

    If two systems were exchangeable query by query, each difference could as well have had the other sign. With
    ``T = |sum of delta|``, and T* the same with random signs, the two-sided p-value is
    ``(1 + #{T* >= T}) / (n_resamples + 1)``: the observed signs are one of the draws, so that it is never 0. No shape of
    the differences is assumed, which makes it a check of the t-test where they are far from normal.

    Args:
        delta: One difference per query, of values averaged over seeds (:func:`differences`). A Series is sorted by its
            index first, so that the order of its rows does not matter.
        seed: Of the signs.
        n_resamples: How often the signs are drawn.

    Returns:
        The p-value, at least ``1 / (n_resamples + 1)``.

    Raises:
        ValueError: If there are fewer than two differences, one is not finite, or n_resamples is below 1.

    Of the 1024 ways to sign ten equal differences, two are as extreme as all plus, so that p is about 0.002:

    >>> round(randomisation_test([0.1] * 10, seed=0, n_resamples=99_999), 3)
    0.002

    Source: R. A. Fisher, The Design of Experiments, 1935; M. Smucker, J. Allan, B. Carterette, CIKM 2007, for retrieval;
    B. Phipson, G. Smyth, Statistical Applications in Genetics and Molecular Biology, 2010, for the 1 that is added.
    """
    numbers = _finite_values(delta, "delta")
    if n_resamples < 1:
        raise ValueError(f"n_resamples is {n_resamples}; expected at least 1")
    # Sums that are equal on paper may differ by rounding; without the slack such ties would be lost from the count.
    observed = abs(numbers.sum()) - _ROUNDING * np.abs(numbers).sum()
    few = len(numbers) * n_resamples <= 2 * _BLOCK_VALUES  # the contrasts of a study share their queries, and so the draws
    blocks = _kept_turns(seed, n_resamples, len(numbers)) if few else _turns(seed, n_resamples, len(numbers))
    as_extreme = sum(int((np.abs(numbers.sum() - 2 * (turned @ numbers)) >= observed).sum()) for turned in blocks)
    return (1 + as_extreme) / (n_resamples + 1)


def _turns(seed: int, n_resamples: int, n: int) -> Iterator[np.ndarray]:
    """Yield blocks of (draws, n) zeros and ones: which differences are turned round."""
    rng = np.random.default_rng(seed)
    for draws in _blocks(n_resamples, n):
        yield rng.integers(0, 2, size=(draws, n), dtype=np.int8).astype(np.float64)


@functools.lru_cache(maxsize=2)
def _kept_turns(seed: int, n_resamples: int, n: int) -> tuple[np.ndarray, ...]:
    return tuple(_turns(seed, n_resamples, n))


# --- families --------------------------------------------------------------------------------------------------------


def cliques(systems: Sequence[str], equivalent: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Give one letter to each largest possible set of systems that are ALL pairwise equivalent.

    Equivalence is not transitive: when a is equivalent to b and b to c, nothing follows for a and c, whose difference may
    be up to twice the margin. So chains are not joined; a system that belongs to several sets has several letters, and
    two systems are equivalent exactly when they share one.

    Args:
        systems: Names, in the order of the display.
        equivalent: The pairs that were shown to be equivalent, in any order.

    Returns:
        The letters of each system, in the order of ``systems``: "" for one that is equivalent to no other. The sets are
        the maximal cliques of two or more, in the order of their members' positions, named a, b ... z, aa, ab ...;
        where there are more than 26 of them, a system's letters are separated by spaces.

    Raises:
        ValueError: If a system comes twice, or a pair is of one system or has one that is not in ``systems``.

    >>> cliques(["bm25", "lce", "kl", "ranknet"], [("lce", "kl"), ("kl", "ranknet")])
    {'bm25': '', 'lce': 'a', 'kl': 'ab', 'ranknet': 'b'}
    >>> cliques(["bm25", "lce", "kl", "ranknet"], [("lce", "kl"), ("kl", "ranknet"), ("ranknet", "lce")])
    {'bm25': '', 'lce': 'a', 'kl': 'a', 'ranknet': 'a'}
    """
    position = {system: index for index, system in enumerate(systems)}
    if len(position) < len(systems):
        twice = next(system for index, system in enumerate(systems) if position[system] != index)
        raise ValueError(f"system {twice!r} comes twice; expected every system once")
    graph = networkx.Graph()
    for pair in equivalent:
        if unknown := [system for system in pair if system not in position]:
            raise ValueError(f"the pair {pair} has the unknown system {unknown[0]!r}; expected two of {list(systems)}")
        if len(set(pair)) != 2:
            raise ValueError(f"the pair {pair} is of one system; expected two different ones")
        graph.add_edge(*(position[system] for system in pair))
    found: list[list[int]] = sorted(sorted(clique) for clique in networkx.find_cliques(graph))  # every node has an edge: none is of size 1
    letters: dict[str, list[str]] = {system: [] for system in systems}
    for index, members in enumerate(found):
        for member in members:
            letters[systems[member]].append(letter(index))
    separator = "" if len(found) <= len(string.ascii_lowercase) else " "
    return {system: separator.join(own) for system, own in letters.items()}


def letter(index: int) -> str:
    """Return a, b ... z, aa, ab ... for 0, 1 ..., as spreadsheets name columns.

    Args:
        index: Of a group of systems, from 0.

    Raises:
        ValueError: If the index is negative.

    >>> [letter(index) for index in (0, 25, 26, 27, 701, 702)]
    ['a', 'z', 'aa', 'ab', 'zz', 'aaa']
    """
    if index < 0:
        raise ValueError(f"index is {index}; expected 0 or more")
    before, last = divmod(index, len(string.ascii_lowercase))
    return (letter(before - 1) if before else "") + string.ascii_lowercase[last]


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
    # statsmodels.multipletests says the same, and collects all garbage at each call: a good part of a second in a large process.
    order = np.argsort(values, kind="stable")
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1.0)
    return corrected


# --- resampling ------------------------------------------------------------------------------------------------------


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
    numbers = _finite_values(values, "values")
    _check_resampling(level, n_resamples)
    interval = stats.bootstrap(
        (numbers,),
        np.mean,
        n_resamples=n_resamples,
        batch=max(1, _BLOCK_VALUES // len(numbers)),
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
        vectorized=True,
    ).confidence_interval
    return Interval(estimate=float(numbers.mean()), low=float(interval.low), high=float(interval.high))


def _finite_values(values: pd.Series | Sequence[float] | np.ndarray, name: str) -> np.ndarray:
    """Return one number per query, sorted by the index where there is one."""
    if isinstance(values, pd.Series):
        values = values.sort_index()
    numbers = np.asarray(values, dtype=float)
    if numbers.ndim != 1 or len(numbers) < 2:
        raise ValueError(f"{name} has shape {numbers.shape}; expected (n,), one number per query, n at least 2")
    missing = ~np.isfinite(numbers)
    if missing.any():
        first = int(np.argmax(missing))
        raise ValueError(f"{int(missing.sum())} of {len(numbers)} values are not finite, the first at position {first}")
    return numbers


def _check_resampling(level: float, n_resamples: int) -> None:
    if not 0 < level < 1 or n_resamples < 1:
        raise ValueError(f"level is {level}, n_resamples {n_resamples}; expected 0 < level < 1 and n_resamples >= 1")


def _blocks(n_resamples: int, n: int) -> list[int]:
    """Split the resamples of n numbers into blocks that hold about _BLOCK_VALUES numbers each."""
    size = max(1, _BLOCK_VALUES // n)
    return [min(size, n_resamples - start) for start in range(0, n_resamples, size)]

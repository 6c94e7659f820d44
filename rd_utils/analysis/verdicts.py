"""Verdicts on two systems, over queries and seeds: what a contrast says, and families of them corrected by Holm's method.

The estimates behind them are :mod:`rd_utils.analysis.crossed`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from rd_utils.analysis.crossed import (
    Crossed,
    Pooled,
    crossed,
    crossed_apart,
    pooled_between,
    queries_needed,
    seeds_needed,
    with_pooled,
)

THESE_ONLY = ", these students only"  # of a verdict that rests on one seed

# What decide adds to a table of contrasts.
DECIDED = ("p_holm", "p_equivalence_holm", "p_queries_holm", "different", "equivalent", "verdict", "verdict_queries")


class Contrast(NamedTuple):
    """What queries and seeds say about two systems; ``difference`` is ``mean_b - mean_a``, in units of the measure.

    Without a suffix everything is of :class:`Crossed`: of queries and seeds both; ``..._queries`` is of the paired t tests over queries on
    values averaged over seeds, which speak of these very students. ``queries_needed`` and ``seeds_needed`` say how many of the one, at the
    present number of the other, would show equivalence at the margin with probability 0.8 if the systems were equal in truth and their
    differences spread as seen here; None where no number does, and ``seeds_needed`` also with one seed. ``seed_share`` is the share of the
    variance of the mean that seeds leave open, ``1 - (query_sd^2 / Q) / Var(mean)``; NaN with one seed. ``seeds_pooled`` is how many
    contrasts the variance over seeds was estimated from, with ``seed_freedom`` degrees of freedom.
    """

    n_queries: int
    n_seeds: int
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    p_difference: float
    p_equivalence: float
    smallest_margin: float
    queries_needed: int | None
    seeds_needed: int | None
    low_queries: float
    high_queries: float
    p_queries: float
    p_equivalence_queries: float
    query_sd: float
    seed_sd: float
    residual_sd: float
    seed_share: float
    seed_freedom: float
    seeds_pooled: int


def contrast(
    a: pd.DataFrame,
    b: pd.DataFrame,
    *,
    level: float = 0.95,
    equivalence_margin: float = 0.02,
    alpha: float = 0.05,
    pooled: Pooled | None = None,
) -> Contrast:
    """Compare system b with system a.

    Args:
        a: one row per query, indexed by ``(test_collection, query_id)``, one column per seed. A system that has no seed of its own, such as
            a retriever, has one column, which stands beside every seed of the other.
        b: the same queries and seeds, in any order.
        level: of the intervals.
        equivalence_margin: in units of the measure, fixed beforehand.
        alpha: of each one-sided test behind the smallest margin and what is needed.
        pooled: the variance over seeds, of several contrasts; not used where its test of homogeneity does not allow it.

    Raises:
        ValueError: a setting is out of its range, the queries or seeds differ, or a value is missing.

    Two seeds and three queries, of which b gains 0.1 with one seed and 0.3 with the other: different for these students, not for others.

    >>> queries = pd.MultiIndex.from_product([["dl19"], ["q1", "q2", "q3"]], names=["test_collection", "query_id"])
    >>> a = pd.DataFrame({0: 0.5, 1: 0.5}, index=queries)
    >>> found = contrast(a, a + [0.1, 0.3])
    >>> round(found.difference, 3), round(found.p_difference, 3), found.p_queries
    (0.2, 0.295, 0.0)
    """
    return said_of(*aligned(a, b), level, equivalence_margin, alpha, pooled)[0]


def said_of(
    before: np.ndarray, after: np.ndarray, level: float, equivalence_margin: float, alpha: float, pooled: Pooled | None
) -> tuple[Contrast, Crossed]:
    """Return what (n_queries, n_seeds) values of two systems say, and the estimate behind it; see :func:`contrast`.

    Where the systems have different numbers of seeds, these have nothing in common (:func:`crossed_apart`), ``n_seeds`` counts both, and
    what is needed takes each system to have their harmonic mean, rounded down.
    """
    for name, setting, upper in (("level", level, 1), ("alpha", alpha, 0.5), ("equivalence_margin", equivalence_margin, math.inf)):
        if not 0 < setting < upper:
            raise ValueError(f"{name} is {setting}; expected a number above 0 and below {upper}")
    apart = before.shape[1] != after.shape[1]
    found = crossed_apart(before.T, after.T) if apart else with_pooled(crossed((after - before).T), pooled)
    students = found._replace(by_seed=0.0, residual=0.0)
    n_each = 2 / (1 / before.shape[1] + 1 / after.shape[1]) if apart else found.n_seeds
    spread, variance = found._replace(n_seeds=n_each).spread(), found.by_query + max(0.0, found.by_seed - found.residual)
    several = found.n_seeds > 1
    low, high = found.interval(level)
    low_queries, high_queries = students.interval(level)
    row = Contrast(
        n_queries=found.n_queries,
        n_seeds=found.n_seeds,
        mean_a=float(before.mean()),
        mean_b=float(after.mean()),
        difference=found.mean,
        low=low,
        high=high,
        p_difference=found.p_difference(),
        p_equivalence=found.p_equivalence(equivalence_margin),
        smallest_margin=found.smallest_margin(alpha),
        queries_needed=queries_needed(spread, equivalence_margin, max(1, int(n_each)), alpha=alpha),
        seeds_needed=seeds_needed(spread, equivalence_margin, found.n_queries, alpha=alpha) if several else None,
        low_queries=low_queries,
        high_queries=high_queries,
        p_queries=students.p_difference(),
        p_equivalence_queries=students.p_equivalence(equivalence_margin),
        query_sd=spread.query,
        seed_sd=spread.seed if several else math.nan,
        residual_sd=spread.residual if several else math.nan,
        seed_share=1 - max(0.0, found.by_query - found.residual) / variance if several and variance > 0 else math.nan,
        seed_freedom=found.seed_freedom if several else 0.0,
        seeds_pooled=pooled.n if several and not apart and pooled is not None and pooled.allowed() else 1,
    )
    return row, found


def aligned(a: pd.DataFrame, b: pd.DataFrame, *, apart: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return (n_queries, n_seeds) values of two systems on the same queries, in one order, and with the same seeds.

    A system of one column stands beside every seed of the other. With ``apart`` two systems may have different numbers of seeds, which then
    have nothing in common.

    Raises:
        ValueError: an index or the columns have duplicates, a value is missing, or queries or seeds differ.
    """
    for name, frame in (("a", a), ("b", b)):
        if frame.columns.has_duplicates:
            raise ValueError(f"{name} has seed {frame.columns[frame.columns.duplicated()][0]} twice; expected one column per seed")
        if frame.shape[1] < 1:
            raise ValueError(f"{name} has no columns; expected one per seed")
    several = min(a.shape[1], b.shape[1]) > 1
    if several and not (apart and a.shape[1] != b.shape[1]) and (only_one := set(a.columns) ^ set(b.columns)):
        raise ValueError(
            f"the systems were not trained with the same seeds: a has {list(a.columns)}, b has {list(b.columns)}; expected the "
            f"same columns: train with, or leave out, seed {sorted(only_one)[0]}"
        )
    queries = a.index
    if not (queries.is_unique and queries.is_monotonic_increasing and queries.equals(b.index)):
        from rd_utils.analysis.stats import differences  # a second of imports, which a plan's margins do without

        differences(a.iloc[:, 0], b.iloc[:, 0])  # says what is wrong with the queries
        queries = a.index.sort_values()
    values = [frame.reindex(queries)[sorted(frame.columns)].to_numpy(dtype=float) for frame in (a, b)]
    for name, found in zip("ab", values, strict=True):
        if np.isnan(found).any():
            query = np.argwhere(np.isnan(found))[0][0]
            raise ValueError(
                f"{name} has {int(np.isnan(found).sum())} missing values, the first for {queries[query]}; evaluate every query first"
            )
    if several:
        return values[0], values[1]
    n_seeds = max(found.shape[1] for found in values)
    before, after = (np.broadcast_to(found, (len(queries), n_seeds)) for found in values)
    return before, after


# --- families ---------------------------------------------------------------------------------------------------------------------


def decide(table: pd.DataFrame, by: Sequence[str], *, alpha: float, margins: Iterable[str] = ()) -> pd.DataFrame:
    """Correct the p-values of contrasts within each family by Holm's method, and give the verdicts.

    Args:
        table: one row a contrast, with the fields of :class:`Contrast`.
        by: the columns that tell families apart; none: all rows are one.
        alpha: of each family of tests.
        margins: columns with p-values of equivalence at further margins, each a family of its own; they become bools.

    Returns:
        The table with ``p_holm``, ``p_equivalence_holm``, ``p_queries_holm``, ``different``, ``equivalent``, ``verdict``, and
        ``verdict_queries``, what the query-only tests say, corrected likewise. A verdict that rests on one seed says so in words.
    """
    from rd_utils.analysis import stats  # a second of imports, which a plan's margins do without

    families = table.groupby(list(by), sort=False, dropna=False) if by else None

    def corrected(name: str) -> pd.Series:
        if families is None:
            return pd.Series(stats.holm(table[name]), index=table.index)
        return families[name].transform(lambda values: stats.holm(values.to_numpy()))

    names = {"p_difference": "p_holm", "p_equivalence": "p_equivalence_holm", "p_queries": "p_queries_holm"}
    found = table.assign(**{new: corrected(name) for name, new in names.items()}, **{name: corrected(name) < alpha for name in margins})
    found["different"], found["equivalent"] = found["p_holm"] < alpha, found["p_equivalence_holm"] < alpha
    students = zip(found["p_queries_holm"] < alpha, corrected("p_equivalence_queries") < alpha, strict=True)
    these = np.where(found["n_seeds"] == 1, THESE_ONLY, "")
    both = zip(found["different"], found["equivalent"], strict=True)
    found["verdict"] = [stats.VERDICTS[pair] + only for pair, only in zip(both, these, strict=True)]
    found["verdict_queries"] = [stats.VERDICTS[pair] for pair in students]
    return found


def verdict_word(verdict: str) -> str:
    """Return the one word of a verdict, without what it rests on.

    >>> verdict_word("equivalent, these students only")
    'equivalent'
    """
    return verdict.partition(",")[0]


def pairwise(
    values: Mapping[str, pd.DataFrame],
    *,
    level: float,
    equivalence_margin: float,
    alpha: float,
    margins: Iterable[float] = (),
    apart: bool = False,
) -> pd.DataFrame:
    """Compare every pair of systems on the same queries and seeds, with both questions corrected for the number of pairs.

    Args:
        values: by system, one row per query and one column per seed, as for :func:`contrast`.
        level: of the interval of each difference, which is of that pair alone.
        equivalence_margin: in units of the measure, fixed beforehand.
        alpha: of each family of tests.
        margins: further margins at which equivalence is tested, in units of the measure.
        apart: whether two systems may have different numbers of seeds (:func:`aligned`).

    Where three systems or more with the same seeds are compared, the variance over seeds of their differences is pooled over all
    (:func:`pooled_between`) if that is allowed; a system of one column has no part in it.

    Returns:
        One row per unordered pair, in the order of the systems: ``system_a``, ``system_b``, the fields of :class:`Contrast` (b minus a),
        what :func:`decide` adds over all pairs, and for each further margin m a bool ``equivalent_{m:g}``, whose p-values are a family of
        their own over the same pairs. ``low``, ``high``, ``smallest_margin`` and what is needed are of the pair alone, uncorrected.

    Raises:
        ValueError: as :func:`contrast`; and if there are fewer than two systems, or a margin comes twice.

    >>> queries = pd.MultiIndex.from_product([["dl19"], ["q1", "q2", "q3", "q4"]], names=["test_collection", "query_id"])
    >>> lce = pd.DataFrame({0: [0.1, 0.5, 0.3, 0.7]}, queries)
    >>> values = {"lce": lce, "kl": lce.add([0.002, -0.001, 0, -0.001], axis=0), "bm25": lce.sub([0.21, 0.2, 0.19, 0.2], axis=0)}
    >>> found = pairwise(values, level=0.95, equivalence_margin=0.02, alpha=0.05)
    >>> found[["system_a", "system_b"]].assign(verdict=found["verdict"].map(verdict_word)).values.tolist()
    [['lce', 'kl', 'equivalent'], ['lce', 'bm25', 'different'], ['kl', 'bm25', 'different']]
    """
    if len(values) < 2:
        raise ValueError(f"values has {len(values)} systems; expected at least 2")
    named = margin_columns(margins)
    several = [frame[sorted(frame.columns)].mean(axis=0) for frame in values.values() if frame.shape[1] > 1]
    alike = len({tuple(means.index) for means in several}) == 1
    together, rows = pooled_between(np.stack(several)) if alike else None, []
    for (system_a, a), (system_b, b) in itertools.combinations(values.items(), 2):
        pooled = together if min(a.shape[1], b.shape[1]) > 1 else None
        found, estimated = said_of(*aligned(a, b, apart=apart), level, equivalence_margin, alpha, pooled)
        row = {"system_a": system_a, "system_b": system_b} | found._asdict()
        rows.append(row | {name: estimated.p_equivalence(margin) for name, margin in named.items()})
    return decide(pd.DataFrame(rows), [], alpha=alpha, margins=named)


def margin_columns(margins: Iterable[float]) -> dict[str, float]:
    """Return further margins by the name of the column that says whether two systems are equivalent at them.

    Raises:
        ValueError: a margin is not a finite number above 0, or comes twice.

    >>> margin_columns([0.01, 0.02])
    {'equivalent_0.01': 0.01, 'equivalent_0.02': 0.02}
    """
    named: dict[str, float] = {}
    for margin in margins:
        if not 0 < margin < math.inf:
            raise ValueError(f"a margin is {margin}; expected finite numbers above 0, in units of the measure")
        if f"equivalent_{margin:g}" in named:
            raise ValueError(f"margin {margin:g} comes twice (six digits count); expected every further margin once")
        named[f"equivalent_{margin:g}"] = margin
    return named

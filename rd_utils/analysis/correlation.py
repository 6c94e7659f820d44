"""Which quantities of queries go together: rank correlations with bootstrap intervals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from rd_utils.analysis.behaviour import row_blocks
from rd_utils.study.explain import nearest

_LEAST_ROWS = 3  # with two rows every correlation is 1 or -1
_CORRELATION_COLUMNS = ["x", "y", "n", "spearman", "low", "high", "p", "pearson", "note"]


def correlations(
    table: pd.DataFrame,
    of: Sequence[str],
    with_: Sequence[str],
    *,
    seed: int,
    n_resamples: int = 2000,
    level: float = 0.95,
    by: Sequence[str] = (),
) -> pd.DataFrame:
    """Correlate quantities over queries: Spearman's rank correlation with its interval, and Pearson's beside it.

    The interval is the percentile bootstrap of Spearman's over rows, the same resamples for every pair of columns, and every part with as
    many rows; ranks are taken within each resample, ties at their mean. p is scipy's, of Spearman's, two-sided and by the t approximation.

    Args:
        table: one row a query (average over seeds first, since rows are taken as independent).
        of: numeric columns x.
        with_: numeric columns y.
        seed: of the resampling.
        n_resamples: how often the rows are drawn.
        level: of the interval.
        by: columns that split the table into parts, each correlated on its own, in the order of first appearance.

    Returns:
        One row a part, x and y: the columns of ``by``, x, y, n (rows), spearman, low, high, p, pearson, note. Where a column is constant,
        or a part has fewer than 3 rows, the five numbers are NaN and the note says why. Resamples in which a column is constant have no
        correlation: the interval is of the others, and the note counts them. Otherwise the note is empty.

    Raises:
        ValueError: a column is absent, not numeric, or has a value that is not finite, or a setting is out of its range.

    >>> table = pd.DataFrame({"entropy": [0.1, 0.2, 0.3, 0.4], "AP": [0.9, 0.5, 0.6, 0.1], "flat": 1.0})
    >>> found = correlations(table, ["entropy"], ["AP", "flat"], seed=0)
    >>> found[["spearman", "p"]].round(4).values.tolist()
    [[-0.8, 0.2], [nan, nan]]
    >>> found["note"][1]
    'flat is constant'
    """
    of, with_, by = list(of), list(with_), list(by)
    measured = list(dict.fromkeys([*of, *with_]))
    _check_table(table, measured, by, level, n_resamples)
    rows = []
    for place, part in table.groupby(by, sort=False, dropna=False, observed=True) if by else [((), table)]:
        values = {name: part[name].to_numpy(dtype=np.float64) for name in measured}
        resampled = _resampled_correlations(values, of, with_, seed, n_resamples) if len(part) >= _LEAST_ROWS else {}
        for x, y in itertools.product(of, with_):
            about = dict(zip(by, place, strict=True)) | {"x": x, "y": y, "n": len(part)}
            rows.append(about | _correlated(x, y, values, resampled.get((x, y)), level))
    return pd.DataFrame(rows, columns=[*by, *_CORRELATION_COLUMNS])


def _correlated(x: str, y: str, values: dict[str, np.ndarray], resampled: np.ndarray | None, level: float) -> dict[str, float | str]:
    """Return one row of :func:`correlations`, of two columns."""
    from scipy import stats

    n = len(values[x])
    nothing = dict.fromkeys(["spearman", "low", "high", "p", "pearson"], math.nan)
    if n < _LEAST_ROWS or resampled is None:
        return nothing | {"note": f"{n} rows; a correlation needs at least {_LEAST_ROWS}"}
    if constant := [name for name in dict.fromkeys((x, y)) if _is_constant(values[name])]:
        return nothing | {"note": " and ".join(constant) + (" is constant" if len(constant) == 1 else " are constant")}
    spearman, p = np.asarray(stats.spearmanr(values[x], values[y])).tolist()
    defined = resampled[np.isfinite(resampled)]
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]) if len(defined) else (math.nan, math.nan)
    left_out = len(resampled) - len(defined)
    return {
        "spearman": spearman,
        "low": float(low),
        "high": float(high),
        "p": p,
        "pearson": float(np.asarray(stats.pearsonr(values[x], values[y]))[0]),
        "note": f"a column is constant in {left_out} of {len(resampled)} resamples" if left_out else "",
    }


def _resampled_correlations(
    values: dict[str, np.ndarray], of: list[str], with_: list[str], seed: int, n_resamples: int
) -> dict[tuple[str, str], np.ndarray]:
    """Return Spearman's correlation of each pair of columns in every resample of the rows, NaN where a column is constant there."""
    from scipy import stats

    n = len(next(iter(values.values()), ()))
    generator = np.random.default_rng(seed)
    found: dict[tuple[str, str], list[np.ndarray]] = {(x, y): [] for x in of for y in with_}
    for block in row_blocks(n_resamples, n):
        drawn = generator.integers(n, size=(len(block), n))
        directions = {}
        for name, column in values.items():
            ranks = stats.rankdata(column[drawn], axis=1) - (n + 1) / 2
            norms = np.linalg.norm(ranks, axis=1, keepdims=True)
            directions[name] = ranks / np.where(norms > 0, norms, np.nan)
        for x, y in found:
            found[x, y].append(np.einsum("ij,ij->i", directions[x], directions[y]))
    return {pair: np.clip(np.concatenate(parts), -1.0, 1.0) for pair, parts in found.items()}


def _check_table(table: pd.DataFrame, measured: list[str], by: list[str], level: float, n_resamples: int) -> None:
    """Refuse a table that lacks a column or a number."""
    for name in [*measured, *by]:
        if name not in table.columns:
            raise ValueError(f"the table has no column {name!r}{nearest(name, table.columns)}")
    if taken := [name for name in by if name in _CORRELATION_COLUMNS]:
        raise ValueError(f"the column {taken[0]!r} of by is the name of a result; rename it")
    if not 0 < level < 1 or n_resamples < 1:
        raise ValueError(f"level is {level}, n_resamples {n_resamples}; expected 0 < level < 1 and n_resamples >= 1")
    for name in measured:
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise ValueError(f"the column {name!r} is of type {table[name].dtype}; expected numbers")
        missing = np.flatnonzero(~np.isfinite(table[name].to_numpy(dtype=np.float64, na_value=np.nan)))
        if len(missing):
            raise ValueError(
                f"{len(missing)} of {len(table)} values of {name!r} are not finite, the first in row {missing[0]}; "
                "count these queries apart, and leave them out of every column"
            )


def _is_constant(values: np.ndarray) -> bool:
    """Tell whether values are equal but for rounding."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())

"""Effectiveness against cost: which cells nothing cheaper reaches, and what the last step of effectiveness costs.

Costs are at least 0 and lower is better; values (a measure's mean) are better when higher. What counts as a step worth paying for is the
reader's choice, made beforehand: the equivalence margin, 0.01 by default. The frontier is one of means: two neighbours on it may well be
equivalent, which only a test over queries can say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

PRICE_COLUMNS = ("best", "best_value", "best_cost", "cheapest", "cheapest_value", "cheapest_cost", "extra_cost", "cost_ratio")
MARGINAL_COLUMNS = (
    "cheaper",
    "cheaper_value",
    "cheaper_cost",
    "dearer",
    "dearer_value",
    "dearer_cost",
    "gain",
    "extra_cost",
    "cost_per_step",
)

_ROUNDING = 1e-12  # 0.62 is within 0.01 of 0.63, but not of the float 0.63


def frontier(points: pd.DataFrame, *, cost: str, value: str, by: Sequence[str] = ()) -> pd.Series:
    """Mark the rows that are not dominated.

    A row is dominated when another row of its group costs no more and is worth no less, and is strictly better in one of the two. Of two
    rows of one value only the cheaper can stand, of two of one cost only the better; rows that agree in both stand or fall together.

    Args:
        points: One row a cell.
        cost: The column with the costs.
        value: The column with the values.
        by: Columns that tell groups apart, each with a frontier of its own (the first stage, the collection ...).

    Returns:
        ``on_frontier``: one bool a row, with the index of ``points``.

    Raises:
        ValueError: A column is missing, or a cost or value is not finite, or a cost is negative.

    The third is dearer than the second and no better; the last is dearer and better:

    >>> cells = pd.DataFrame({"cost": [1.0, 2.0, 3.0, 4.0], "value": [0.50, 0.60, 0.60, 0.62]})
    >>> frontier(cells, cost="cost", value="value").tolist()
    [True, True, False, True]
    """
    costs, values = _checked(points, cost, value, by)
    marked = np.zeros(len(points), dtype=bool)
    for _, rows in _groups(points, by):
        marked[rows] = _not_dominated(costs[rows], values[rows])
    return pd.Series(marked, index=points.index, name="on_frontier")


def price_of_last(
    points: pd.DataFrame, *, cost: str, value: str, step: float = 0.01, by: Sequence[str] = (), name: str = "cell"
) -> pd.DataFrame:
    """Compare the best row of each group with the cheapest row that is at most ``step`` worse.

    ``extra_cost = cost(best) - cost(cheapest)`` over the rows with ``value >= value(best) - step``: what the last ``step`` of
    effectiveness costs. Of rows of the best value the cheapest is the best; of equally cheap rows the better is the cheapest; what is
    left equal is decided by name.

    Args:
        points: One row a cell.
        cost: The column with the costs.
        value: The column with the values.
        step: How much worse is still good enough, in units of the value.
        by: Columns that tell groups apart.
        name: The column with the names of the rows.

    Returns:
        One row a group, sorted by it: the ``by`` columns, best, best_value, best_cost, cheapest, cheapest_value, cheapest_cost,
        extra_cost, cost_ratio (best over cheapest: 1 when both are one row, infinite when the cheapest costs nothing and the best
        something).

    Raises:
        ValueError: As :func:`frontier`, or a name is missing, or ``step`` is negative or not finite.

    The last 0.01 costs three more, four times as much:

    >>> cells = pd.DataFrame({"cell": ["bm25", "dense", "teacher"], "cost": [1.0, 2.0, 4.0], "value": [0.615, 0.61, 0.625]})
    >>> price_of_last(cells, cost="cost", value="value")[["best", "cheapest", "extra_cost", "cost_ratio"]].values.tolist()
    [['teacher', 'bm25', 3.0, 4.0]]
    """
    names, costs, values = _named(points, cost, value, by, name, PRICE_COLUMNS)
    if not (math.isfinite(step) and step >= 0):
        raise ValueError(f"step is {step}; expected a number of at least 0, in units of {value!r}")
    records = []
    for key, rows in _groups(points, by):
        best = min(rows, key=lambda row: (-values[row], costs[row], names[row]))
        enough = [row for row in rows if values[row] >= values[best] - step - _ROUNDING]
        cheapest = min(enough, key=lambda row: (costs[row], -values[row], names[row]))
        extra = costs[best] - costs[cheapest]
        ratio = 1.0 if extra == 0 else costs[best] / costs[cheapest] if costs[cheapest] > 0 else math.inf
        ends = [entry for row in (best, cheapest) for entry in (names[row], values[row], costs[row])]
        records.append((*key, *ends, extra, ratio))
    return pd.DataFrame(records, columns=[*by, *PRICE_COLUMNS])


def marginal(
    points: pd.DataFrame, *, cost: str, value: str, step: float = 0.01, by: Sequence[str] = (), name: str = "cell"
) -> pd.DataFrame:
    """Walk each group's frontier from cheap to dear and price every gain.

    ``cost_per_step = extra_cost / gain * step``, from one point of the frontier to the next. Rows that agree in cost and value are one
    point, under the first of their names. The prices need not rise along the way: where one falls, the point before it is a poor buy.

    Args:
        points: One row a cell.
        cost: The column with the costs.
        value: The column with the values.
        step: The gain that ``cost_per_step`` is the price of, in units of the value.
        by: Columns that tell groups apart.
        name: The column with the names of the rows.

    Returns:
        One row a pair of neighbours, sorted by group and cost; a frontier of one point has none: the ``by`` columns, cheaper,
        cheaper_value, cheaper_cost, dearer, dearer_value, dearer_cost, gain (of value, above 0), extra_cost (above 0), cost_per_step.

    Raises:
        ValueError: As :func:`frontier`, or a name is missing, or ``step`` is not above 0 or not finite.

    >>> cells = pd.DataFrame({"cell": ["bm25", "dense", "teacher"], "cost": [1.0, 2.0, 4.0], "value": [0.50, 0.54, 0.55]})
    >>> marginal(cells, cost="cost", value="value")[["cheaper", "dearer", "cost_per_step"]].round(6).values.tolist()
    [['bm25', 'dense', 0.25], ['dense', 'teacher', 2.0]]
    """
    names, costs, values = _named(points, cost, value, by, name, MARGINAL_COLUMNS)
    if not (math.isfinite(step) and step > 0):
        raise ValueError(f"step is {step}; expected a number above 0, in units of {value!r}")
    records = []
    for key, rows in _groups(points, by):
        on = rows[_not_dominated(costs[rows], values[rows])]
        first: dict[float, int] = {}  # on a frontier a cost has one value: the rows of one cost are one point
        for row in sorted(on, key=lambda row: (costs[row], names[row])):
            first.setdefault(float(costs[row]), row)
        walk = list(first.values())
        for cheaper, dearer in zip(walk, walk[1:], strict=False):
            gain, extra = values[dearer] - values[cheaper], costs[dearer] - costs[cheaper]
            ends = [entry for row in (cheaper, dearer) for entry in (names[row], values[row], costs[row])]
            records.append((*key, *ends, gain, extra, extra / gain * step))
    return pd.DataFrame(records, columns=[*by, *MARGINAL_COLUMNS])


def _not_dominated(costs: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mark what is better than all that is cheaper, and as good as the best of its own cost."""
    order = np.lexsort((-values, costs))
    sorted_costs, sorted_values = costs[order], values[order]
    first = np.searchsorted(sorted_costs, sorted_costs, side="left")  # the best row of the same cost
    so_far = np.concatenate([[-np.inf], np.maximum.accumulate(sorted_values)])
    marked = np.empty(len(costs), dtype=bool)
    marked[order] = (sorted_values == sorted_values[first]) & (sorted_values > so_far[first])
    return marked


def _groups(points: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[tuple, np.ndarray]]:
    """Yield each group's key and the positions of its rows, sorted by key."""
    if not len(points):
        return
    if not by:
        yield (), np.arange(len(points))
        return
    positions = pd.Series(np.arange(len(points)))
    for key, rows in positions.groupby([points[column].reset_index(drop=True) for column in by], sort=True, observed=True):
        yield (key if isinstance(key, tuple) else (key,)), rows.to_numpy()


def _checked(points: pd.DataFrame, cost: str, value: str, by: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the costs and values of a table that has them all."""
    if isinstance(by, str):
        raise ValueError(f"by is {by!r}; expected a list of columns: [{by!r}]")
    for column in (cost, value, *by):
        if column not in points.columns:
            raise ValueError(f"points has no column {column!r}; found {list(points.columns)}")
    for column in by:
        _refuse(points[column].isna().to_numpy(), points, column, "missing; every row needs its group")
    numbers = []
    for column in (cost, value):
        if not pd.api.types.is_numeric_dtype(points[column]):
            raise ValueError(f"column {column!r} has dtype {points[column].dtype}; expected numbers")
        numbers.append(points[column].to_numpy(dtype=np.float64, na_value=np.nan))
        _refuse(~np.isfinite(numbers[-1]), points, column, "not finite; evaluate and cost every cell first")
    _refuse(numbers[0] < 0, points, cost, "negative; a cost is at least 0")
    return numbers[0], numbers[1]


def _named(
    points: pd.DataFrame, cost: str, value: str, by: Sequence[str], name: str, columns: Sequence[str]
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the names, costs and values of a table whose groups can stand beside ``columns``."""
    costs, values = _checked(points, cost, value, by)
    if name not in points.columns:
        raise ValueError(f"points has no column {name!r} with the names of its rows; found {list(points.columns)}")
    _refuse(points[name].isna().to_numpy(), points, name, "missing; every row needs a name")
    if taken := [column for column in by if column in columns]:
        raise ValueError(f"by holds {taken[0]!r}, which is a column of the result; rename it")
    return [str(entry) for entry in points[name]], costs, values


def _refuse(bad: np.ndarray, points: pd.DataFrame, column: str, wrong: str) -> None:
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        row = points.iloc[first].to_dict()
        raise ValueError(f"{int(bad.sum())} of {len(points)} entries of {column!r} are {wrong}; the first is row {first}, {row}")

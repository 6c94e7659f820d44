"""Lesson 8, are locality and entropy two dials: a table cut into two effects and their interaction, and how sure its best cells are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from rd_utils.analysis import factorial
from rd_utils.lessons.checks import Exercise, Function, Value
from rd_utils.report.drawing import DASHES, DIMENSIONS, INK, PALETTE, PLACE, SHAPES
from rd_utils.study.studies import AnalysisSettings

ROWS, COLUMNS = ("compact", "wide"), ("low", "high")
TABLES = {
    "two dials": pd.DataFrame([[0.60, 0.64], [0.62, 0.66]], index=ROWS, columns=COLUMNS),
    "one dial": pd.DataFrame([[0.60, 0.68], [0.66, 0.62]], index=ROWS, columns=COLUMNS),
}
"""Means of four students each: the width of the groups down, the teacher's entropy across."""
BY_HAND = pd.DataFrame([[0.50, 0.60], [0.56, 0.58]], index=ROWS, columns=COLUMNS)


def study(values: np.ndarray, rows: Sequence[object], columns: Sequence[float]) -> pd.DataFrame:
    """Return values (rows, columns, seeds, queries), or means over queries, as the package's factorials take them: rows are strategies."""
    values = values if values.ndim == 4 else values[..., None]
    of_rows, of_columns, seeds, queries = (axis.ravel() for axis in np.indices(values.shape))
    frame = pd.DataFrame(
        {"strategy": np.asarray(rows, dtype=object)[of_rows], "target_entropy": np.asarray(columns, dtype=float)[of_columns]}
    )
    frame = frame.assign(seed=seeds, query_id=queries.astype(str), value=values.ravel(), system="student", cell="", measure="nDCG@10")
    return frame.assign(**{name: "" for name in (*PLACE, *DIMENSIONS) if name not in frame})


def shares(values: np.ndarray) -> np.ndarray:
    """Return the five shares of the variance of values (rows, columns, seeds) by the package."""
    found = factorial.two_way(study(values, [f"r{row}" for row in range(len(values))], range(values.shape[1])))
    return found["share"].to_numpy(dtype=float)


def surface(values: np.ndarray, rows: Sequence[object], columns: Sequence[float]) -> pd.DataFrame:
    """Return means of values (rows, columns, seeds, queries) and how often each was the best of its row, by the package."""
    return factorial.surfaces(study(values, rows, columns), AnalysisSettings(baseline_strategy="none"))


def resampled(values: np.ndarray, draws: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the share of draws of seeds and queries in which each column was the best of its row, by the package."""
    return factorial.how_often_best(np.stack([_drawn(values, *draw) for draw in draws]))


def _drawn(values: np.ndarray, seeds: np.ndarray, queries: np.ndarray) -> np.ndarray:
    return values[:, :, seeds][..., queries].mean(axis=(2, 3))


# --- pictures ---------------------------------------------------------------------------------------------------------------------


def heat(
    means: pd.DataFrame, *, down: str = "groups", across: str = "entropy", cell: int = 62, title: str = ""
) -> alt.LayerChart | alt.FacetChart:
    """Draw a table as a map: a colour and a number a cell, the best cell of each row outlined.

    Args:
        means: Rows and columns as they are to be named.
        down: What the rows are.
        across: What the columns are.
        cell: Width and two thirds of it the height of a cell, in pixels.
        title: Above the map.
    """
    table = means.rename(index=str, columns=str)
    frame = table.rename_axis("row").reset_index().melt("row", var_name="column", value_name="mean")
    frame["best"] = frame["mean"] == frame.groupby("row")["mean"].transform("max")
    low, high = float(frame["mean"].min()), float(frame["mean"].max())
    x = alt.X("column:O", title=across, sort=list(table.columns), axis=alt.Axis(labelAngle=0, orient="bottom"))
    y = alt.Y("row:O", title=down, sort=list(table.index))
    base = alt.Chart(frame).encode(x=x, y=y)
    colour = alt.Color("mean:Q", scale=alt.Scale(scheme="blues", domain=[low - 0.5 * (high - low), high + 1.2 * (high - low)]), legend=None)
    layers = [
        base.mark_rect().encode(color=colour, tooltip=["row:O", "column:O", alt.Tooltip("mean:Q", format=".3f")]),
        base.transform_filter("datum.best").mark_rect(filled=False, stroke=PALETTE[1], strokeWidth=3.5),
        base.mark_text(fontSize=13, color=INK).encode(text=alt.Text("mean:Q", format=".3f")),
    ]
    size = {"width": cell * table.shape[1], "height": 2 * cell // 3 * len(table)}
    return alt.layer(*layers).properties(**size, title=alt.TitleParams(title, fontSize=12))


def lines(means: pd.DataFrame, *, width: int = 152, height: int = 110) -> alt.LayerChart | alt.FacetChart:
    """Draw the same table as lines, one a row: parallel where the two act separately."""
    table = means.rename(index=str, columns=str)
    frame = table.rename_axis("row").reset_index().melt("row", var_name="column", value_name="mean")
    names = list(table.index)
    x = alt.X(
        "column:O", title="entropy", sort=list(table.columns), axis=alt.Axis(labelAngle=0), scale=alt.Scale(type="point", padding=0.9)
    )
    y = alt.Y("mean:Q", title="nDCG", scale=alt.Scale(domain=[0.58, 0.7], nice=False), axis=alt.Axis(tickCount=4))
    count = len(names)
    colour = alt.Color("row:N", sort=names, scale=alt.Scale(domain=names, range=list(PALETTE[:count])), legend=None)
    dash = alt.StrokeDash("row:N", sort=names, scale=alt.Scale(domain=names, range=list(DASHES[:count])), legend=None)
    shape = alt.Shape("row:N", sort=names, scale=alt.Scale(domain=names, range=list(SHAPES[:count])), legend=None)
    base = alt.Chart(frame).encode(x=x, y=y, color=colour)
    last = base.transform_filter(alt.datum["column"] == list(table.columns)[-1])
    layers = [
        base.mark_line(strokeWidth=2).encode(strokeDash=dash),
        base.mark_point(filled=True, size=70, opacity=1).encode(shape=shape),
        last.mark_text(align="left", dx=10, fontSize=12).encode(text="row:N"),
    ]
    return alt.layer(*layers).properties(width=width, height=height)


def tables() -> alt.HConcatChart:
    """Draw the toy's two tables, each as a map and, beneath it, as lines."""
    parts = [alt.vconcat(heat(table, title=name, cell=76), lines(table), spacing=12) for name, table in TABLES.items()]
    return alt.hconcat(*parts, spacing=60)


# --- exercises --------------------------------------------------------------------------------------------------------------------


def _table(rng: np.random.Generator) -> tuple[np.ndarray]:
    return (rng.normal(0.6, 0.05, size=(int(rng.integers(2, 5)), int(rng.integers(2, 5)))),)


def _seeded(rng: np.random.Generator) -> tuple[np.ndarray]:
    (table,) = _table(rng)
    return (table[:, :, None] + rng.normal(0, 0.03, size=(*table.shape, int(rng.integers(2, 4)))),)


def _asked(rng: np.random.Generator) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    (table,) = _table(rng)
    seeds, queries = int(rng.integers(2, 4)), int(rng.integers(3, 6))
    values = 0.2 * table[:, :, None, None] + rng.normal(0.4, 0.1, size=(*table.shape, seeds, queries))
    return values, [(rng.integers(0, seeds, size=seeds), rng.integers(0, queries, size=queries)) for _ in range(20)]


def interaction(table: np.ndarray) -> np.ndarray:
    """Return what rows and columns leave of a table of means."""
    return table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True) + table.mean()


def _parts(values: np.ndarray) -> list[np.ndarray]:
    """Return the five parts of values (rows, columns, seeds), each of their own shape."""
    grand, cells = values.mean(), values.mean(axis=2, keepdims=True)
    row, column, seed = (values.mean(axis=axes, keepdims=True) - grand for axes in ((1, 2), (0, 2), (0, 1)))
    return [row, column, cells - row - column - grand, seed, values - cells - seed]


def _of_parts(measure: Callable[[np.ndarray], float], spread: bool = True) -> Callable[[np.ndarray], np.ndarray]:
    """Return shares of a measure of each part, which stands once for every value, or only once where it is not spread."""

    def found(values: np.ndarray) -> np.ndarray:
        amounts = np.array([measure(np.broadcast_to(part, values.shape) if spread else part) for part in _parts(values)])
        return amounts / amounts.sum()

    return found


def _squares(part: np.ndarray) -> float:
    return float((part**2).sum())


def _sums(values: np.ndarray) -> np.ndarray:
    return np.array([_squares(np.broadcast_to(part, values.shape)) for part in _parts(values)])


def _mean_squares(values: np.ndarray) -> np.ndarray:
    rows, columns, seeds = values.shape
    found = _sums(values) / [rows - 1, columns - 1, (rows - 1) * (columns - 1), seeds - 1, (rows * columns - 1) * (seeds - 1)]
    return found / found.sum()


def _without_blocks(values: np.ndarray) -> np.ndarray:
    found = _sums(values)
    found[4] += found[3]
    return found / found.sum()


def _explained(values: np.ndarray) -> np.ndarray:
    found = _sums(values)
    return found / found[:4].sum()


def _wins(values: np.ndarray, draws: Sequence[tuple[np.ndarray, np.ndarray]], pick: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return np.mean([pick(_drawn(values, *draw)) for draw in draws], axis=0)


_HAND = (interaction(BY_HAND.to_numpy()) ** 2).sum()
_ALL = [4 * 0.01**2, 4 * 0.03**2, float(_HAND)]
_SHARES = [part / sum(_ALL) for part in _ALL]

EXERCISES: Mapping[str, Exercise] = {
    "interaction": Function(
        interaction,
        _table,
        (
            "what is left of a cell when its row and its column have had their say?",
            "take the mean of the row off, and that of the column; then the grand mean has gone twice",
            "table - the rows' means (axis=1, keepdims=True) - the columns' means (axis=0) + table.mean()",
        ),
        {
            "the grand mean is part of both means, and so was taken off twice: add it once": lambda t: interaction(t) - t.mean(),
            "only the rows' means are taken off; the columns' still have to go": lambda t: t - t.mean(axis=1, keepdims=True),
            "only the columns' means are taken off; the rows' still have to go": lambda t: t - t.mean(axis=0, keepdims=True),
            "that is what rows and columns say together; the interaction is what the table has besides": lambda t: t - interaction(t),
            "that is the deviation from the grand mean: the effects of rows and columns are still in it": lambda t: t - t.mean(),
            "the sign is turned: the table less what rows and columns say": lambda t: -interaction(t),
        },
    ),
    "shares": Function(
        shares,
        _seeded,
        (
            "five parts add up to every value: row, column, interaction, seed, and what is left; square each, and sum",
            "a row's effect stands in every column and with every seed, and counts each time; keepdims=True makes it broadcast",
            "np.broadcast_to(part, values.shape) ** 2, its sum for each part, divided by the sum of the five",
        ),
        {
            "those are the sums of squares; divide them by their total": _sums,
            "a row's effect stands in every column and with every seed, and counts each time: broadcast before the sum": _of_parts(
                _squares, spread=False
            ),
            "those are shares of mean squares; here no sum is divided by its degrees of freedom": _mean_squares,
            "the seeds are still in the rest: take their effect off there, since it has a part of its own": _without_blocks,
            "the rest is part of the total too": _explained,
            "square the parts; this takes their absolute values": _of_parts(lambda part: float(np.abs(part).sum())),
        },
    ),
    "how often best": Function(
        resampled,
        _asked,
        (
            "for each draw: the table of means over the seeds and queries drawn, then the best column of each row, counted",
            "values[:, :, seeds][..., queries].mean(axis=(2, 3)) is the table of one draw; its argmax(axis=1) has a column a row",
            "wins[np.arange(rows), best] += 1 for each draw, at the end divided by the number of draws",
        ),
        {
            "that is the best row of each column; ask for the best column of each row: axis=1": lambda values, draws: _wins(
                values, draws, lambda means: np.eye(len(means))[means.argmax(axis=0)].T
            ),
            "that is the best cell of the whole table; every row has a best of its own": lambda values, draws: _wins(
                values, draws, lambda means: (means == means.max()).astype(float)
            ),
            "those are numbers of draws; divide by how many there are": lambda values, draws: resampled(values, draws) * len(draws),
            "that is how often each was the worst": lambda values, draws: resampled(-values, draws),
            "nothing is drawn here: each draw has seeds and queries of its own": lambda values, draws: np.eye(values.shape[1])[
                values.mean(axis=(2, 3)).argmax(axis=1)
            ],
            "the queries are drawn, but the seeds are not": lambda values, draws: resampled(
                values, [(np.arange(values.shape[2]), queries) for _, queries in draws]
            ),
            "the seeds are drawn, but the queries are not": lambda values, draws: resampled(
                values, [(seeds, np.arange(values.shape[3])) for seeds, _ in draws]
            ),
        },
    ),
    "shares of a 2 x 2": Value(
        _SHARES,
        (
            "the grand mean is .56, the rows' means are .55 and .57, the columns' .53 and .59",
            "so a row's effect is .01 either way, a column's .03, and the upper left cell has .50 - .55 - .53 + .56 = -.02 left",
            "squares of 1, 3 and 2 hundredths are as 1 : 9 : 4",
        ),
        mistakes={
            "square the effects first": [1 / 6, 3 / 6, 2 / 6],
            "those are the sums of squares; divide each by their total": _ALL,
            "rows first: compact and wide": [_SHARES[1], _SHARES[0], _SHARES[2]],
            "the interaction is part of the total too": [0.1, 0.9, 0.4],
        },
    ),
    "two seeds": Value(
        0.75,
        (
            "write down the four draws of two seeds, and the mean difference in each",
            "the differences of the draws are +.02, +.005, +.005 and -.01",
        ),
        digits=2,
        mistakes={
            "each seed has one vote only where it alone is drawn; what do the mixed draws say?": 0.5,
            "that is the verdict of the mean; some draws have the second seed twice": 1.0,
            "first then second and second then first are two draws, not one": 0.67,
            "that is how often high is the best": 0.25,
        },
    ),
    "a better row": Value(
        ["rows"],
        (
            "what becomes of the mean of each row, of each column, and of the grand mean?",
            "both columns' means rise by the same amount, and so does the grand mean; what does that do to their differences?",
        ),
        mistakes={
            "every column's mean rises by the same amount, so the columns' effects stay": ["rows", "columns"],
            "a cell, its row, its column and the grand mean: what rises in one of them is taken off in another": ["rows", "interaction"],
            "look at one cell's interaction before and after": ["rows", "columns", "interaction"],
            "the wide row rises and the compact one does not: that is a matter of rows": ["columns"],
        },
    ),
}

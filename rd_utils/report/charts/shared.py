"""What charts share: checks of their frames, panels, legends and axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypedDict

import altair as alt
import numpy as np
import pandas as pd

from rd_utils.analysis.tables import Row, records
from rd_utils.analysis.verdicts import THESE_ONLY
from rd_utils.report.drawing import (
    INK,
    MUTED,
    PALETTE,
    SETTINGS,
    as_setting,
    as_text,
    distinct,
    joined,
    plain_number,
    require,
    shape_scale,
    value_scale,
)
from rd_utils.study.params import nearest

WIDEST = 900  # pixels

QUANTITIES = {
    "diameter_q99": "own diameter q99",
    "intrinsic_dimension": "TwoNN dimension",
    "effective_rank": "effective rank",
    "uniformity": "uniformity (log)",
    "divergence": "KL to teacher (nats)",
}
COSTS = {
    "total_cpu_seconds": "total CPU seconds",
    "train_wall_seconds": "training wall-clock seconds",
    "joules": "energy (joules)",
    "documents_seen": "documents seen",
}
STATES = {"before": ("#D55E00", "circle"), "after": ("#0072B2", "triangle-up")}
BOUND_KINDS = {"observed": ("#0072B2", "circle"), "bound": ("#D55E00", "diamond"), "trivial": ("#767676", "square")}
INKS = {"different": INK, "equivalent": "white", "both": INK, "undecided": "white"}  # of a text on the verdict's colour


class Halo(TypedDict, total=False):
    """How a text's edge is drawn."""

    stroke: str
    strokeWidth: int


HALO: tuple[Halo, ...] = ({"stroke": "white", "strokeWidth": 3}, {})  # a text is drawn twice, first as its white edge
LABEL = 7  # pixels a character of 12-point text takes at most, nearly


def finite(frame: pd.DataFrame, columns: Sequence[str], name: str) -> None:
    """Raise a ValueError that names the first value that is missing or not finite."""
    for column in columns:
        values = pd.to_numeric(frame[column], errors="coerce")
        bad = ~np.isfinite(values.to_numpy(dtype=float, na_value=np.nan))
        if bad.any():
            first = frame[column][bad].tolist()[0]
            raise ValueError(
                f"{name} has {int(bad.sum())} of {len(frame)} rows whose {column} is no finite number, the first is {first!r} "
                f"in row {int(np.flatnonzero(bad)[0])}; leave such rows out before drawing, and say how many"
            )


def known_only(values: pd.Series, choices: Sequence[str] | Mapping[str, object], name: str) -> None:
    """Raise a ValueError that names the first value that is no choice, and the nearest one."""
    unknown = [value for value in values if value not in choices]
    if unknown:
        raise ValueError(f"{len(unknown)} unknown {name}(s), the first is {unknown[0]!r}{nearest(str(unknown[0]), choices)}")


def plain_verdicts(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the rows with each verdict as one word, and what the legend calls them: on one seed they are of these students only."""
    legend = "verdict" + (THESE_ONLY if frame["verdict"].str.endswith(THESE_ONLY).any() else "")
    return frame.assign(verdict=frame["verdict"].str.removesuffix(THESE_ONLY)), legend


def once_each(frame: pd.DataFrame, keys: Sequence[str], name: str) -> None:
    """Raise a ValueError where two rows would be drawn in one place."""
    twice = frame.loc[frame.duplicated(list(keys)), list(keys)]
    if len(twice):
        first = ", ".join(repr(value) for value in twice.iloc[0].tolist())
        raise ValueError(
            f"{len(twice)} row(s) of {name} share {', '.join(keys)} with another, the first is {first}; choose rows, or pass by= the "
            "columns that tell them apart"
        )


def bracketed(frame: pd.DataFrame, value: str, name: str) -> None:
    """Raise a ValueError where an interval does not hold its value."""
    finite(frame, [value, "low", "high"], name)
    bad = frame[(frame["low"] > frame[value]) | (frame["high"] < frame[value])]
    if len(bad):
        row = bad.iloc[0]
        raise ValueError(f"{len(bad)} interval(s) of {name} do not hold their {value}, the first is [{row['low']:g}, {row['high']:g}] of "
                         f"{row[value]:g}")  # fmt: skip


def positive(frame: pd.DataFrame, column: str, name: str) -> None:
    """Raise a ValueError where a logarithmic axis cannot show a value."""
    finite(frame, [column], name)
    bad = frame[frame[column] <= 0]
    if len(bad):
        raise ValueError(f"{len(bad)} row(s) of {name} have a {column} that is not above 0, the first is {bad[column].tolist()[0]!r}; "
                         "a logarithmic axis cannot show it")  # fmt: skip


def paneled(frame: pd.DataFrame, by: Sequence[str], name: str) -> pd.DataFrame:
    """Add ``panel``, what the columns ``by`` say, joined; numbers are told with their column's name."""
    require(frame, by, name)

    def _said(column: str) -> list[str]:
        numeric = pd.api.types.is_numeric_dtype(frame[column]) and not pd.api.types.is_bool_dtype(frame[column])
        return [
            f"{column.replace('_', ' ')} {as_setting(value)}" if numeric and as_setting(value) else as_setting(value)
            for value in frame[column]
        ]

    parts = [_said(column) for column in by]
    return frame.assign(panel=[joined(*values) for values in zip(*parts, strict=True)] if parts else "")


def facet(
    layers: Sequence[alt.Chart],
    frame: pd.DataFrame,
    width: int,
    height: int | alt.Step,
    columns: int,
    framed: bool = True,
    title: int = 0,
    **resolve: Literal["independent", "shared"],
) -> alt.LayerChart | alt.FacetChart:
    """Layer marks over one frame, in wrapped panels if it has several; every panel has its own x axis, so that none hangs in the air.

    A panel's title takes ``title`` pixels, or the panel's width and a little more.
    """
    chart = alt.layer(*layers, data=frame).properties(width=width, height=height)
    chart = chart if framed else chart.properties(view=alt.ViewBackground(strokeOpacity=0))
    panels = distinct(frame["panel"])
    if not panels:
        return chart
    header = alt.Header(labelLimit=max(width + 40, title), labelAnchor="start")
    chart = chart.facet(facet=alt.Facet("panel:N", sort=panels, title=None, header=header), columns=min(columns, len(panels)))
    return chart.resolve_axis(x="independent").resolve_scale(**resolve) if len(panels) > columns else chart.resolve_scale(**resolve)


def fitting(width: int, n_panels: int, beside: int, gap: int = 20) -> int:
    """Return how many panels of a width stand side by side when ``beside`` pixels go to labels and legend."""
    return int(np.clip((WIDEST - beside + gap) // (width + gap), 1, max(1, n_panels)))


def beside_names(names: Iterable[object], limit: int = 260) -> int:
    """Return about how many pixels the longest of some names takes."""
    return min(limit, 12 + LABEL * max((len(str(name)) for name in names), default=0))


def by_name(
    column: str, names: Sequence[str], title: str, legend: alt.typing.Optional[alt.Legend | None] = alt.Undefined
) -> tuple[alt.Color, alt.Shape]:
    """Return a colour and a shape that tell the same names apart, with one legend."""
    colour = alt.Color(f"{column}:N", sort=list(names), title=title, scale=value_scale(names, PALETTE), legend=legend)
    return colour, alt.Shape(f"{column}:N", sort=list(names), title=title, scale=shape_scale(names), legend=legend)


def by_kind(column: str, kinds: Mapping[str, tuple[str, str]], values: pd.Series, title: str | None) -> tuple[alt.Color, alt.Shape]:
    """Return the colour and the shape that each kind has in every chart; the legend lists the kinds that occur."""
    present = [name for name in kinds if name in set(values)]
    colours, shapes = (alt.Scale(domain=present, range=[kinds[name][place] for name in present]) for place in (0, 1))
    return (
        alt.Color(f"{column}:N", title=title, scale=colours, sort=present),
        alt.Shape(f"{column}:N", title=title, scale=shapes, sort=present),
    )


def log_axis(low: float, high: float, *, scientific: bool = False) -> alt.Axis:
    """Return a logarithmic axis that writes 1, 2 and 5 times powers of ten over less than three decades, powers of ten over more.

    Large numbers are written with SI's letters, or as 1e+4; small ones never with a letter, since SI's m for a thousandth misleads.
    """
    digit = "round(datum.value / pow(10, floor(log(datum.value) / LN10 + 1e-9)))"
    written = "[1, 2, 5]" if high < 1000 * low else "[1]"
    form = "datum.value < 1e4 ? '~g' : '~e'" if scientific else "datum.value < 1 ? '~g' : '~s'"
    return alt.Axis(labelExpr=f"indexof({written}, {digit}) < 0 ? '' : format(datum.value, {form})", labelOverlap=True)


def hint(text: str) -> alt.TitleParams:
    """Return a small title that says what a click or a drag does."""
    return alt.TitleParams(text, fontSize=11, fontWeight="normal", fontStyle="italic", color=MUTED, anchor="start")


def settings_of(frame: pd.DataFrame, but: str = "") -> list[str]:
    """Return for each row what sets it apart beside strategy, teacher, loss and architecture; what all rows share goes without saying.

    A temperature and a target entropy are of the teacher, so they are compared, and said, only where there is one. ``but`` names a setting
    that is said elsewhere.
    """
    taught = frame["teacher"].map(as_text) != ""
    values = {name: frame.loc[taught, name] if name in SETTINGS[:2] else frame[name] for name in SETTINGS if name != but}
    varied = {name for name, column in values.items() if column.nunique(dropna=False) > 1}

    def one(row: Row) -> str:
        dial = f"T={plain_number(row['temperature'])}" if "temperature" in varied else ""
        if "target_entropy" in varied and as_text(row["target_entropy"]):
            dial = f"H={plain_number(row['target_entropy'])}"
        plain = {"augmentation": "none", "cut": "all"}
        others = [row[name] for name in plain if name in varied and row[name] != plain[name]]
        return joined(dial if as_text(row["teacher"]) else "", *others)

    return [one(row) for row in records(frame)]


def intervals(shown: alt.Chart, x: alt.X, y: alt.Y, colour: alt.Color, shape: alt.Shape, told: list[alt.Tooltip]) -> list[alt.Chart]:
    """Return the marks of values with their intervals ``low`` to ``high``, line by line."""
    return [
        shown.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=colour, tooltip=told),
        shown.mark_point(filled=True, size=75, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=told),
    ]


def forest(
    frame: pd.DataFrame,
    x: alt.X,
    marks: tuple[alt.Color, alt.Shape],
    told: list[alt.Tooltip],
    *,
    width: int,
    step: int,
    beside: int,
    margin: float | None = None,
) -> alt.LayerChart | alt.FacetChart:
    """Draw the values of ``row`` with their intervals and the zero rule, in panels; ``beside`` pixels go to labels and legend.

    A ``margin`` is a dashed rule on either side of zero.
    """
    rows = distinct(frame["row"])
    y = alt.Y("row:N", sort=rows, title=None, scale=alt.Scale(domain=rows), axis=alt.Axis(grid=True))
    base = alt.Chart()
    once = base.transform_aggregate(rows="count()", groupby=["panel"])
    rules = [once.mark_rule(color=INK).encode(x=alt.datum(0))]
    for end in () if margin is None else (-margin, margin):
        rules.append(once.mark_rule(color=MUTED, strokeDash=[4, 3]).encode(x=alt.datum(end)))
    columns = fitting(width, frame["panel"].nunique(), beside)
    return facet([*rules, *intervals(base, x, y, *marks, told)], frame, width, step * len(rows) + 8, columns)

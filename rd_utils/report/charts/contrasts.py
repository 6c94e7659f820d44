"""Charts of systems against each other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from rd_utils.analysis.tables import records
from rd_utils.report.charts.cells import _note_layers
from rd_utils.report.charts.shared import (
    INKS,
    LABEL,
    WIDEST,
    beside_names,
    by_kind,
    facet,
    finite,
    fitting,
    intervals,
    known_only,
    once_each,
    paneled,
    plain_verdicts,
    settings_of,
)
from rd_utils.report.drawing import (
    ACROSS_COLUMNS,
    BAND,
    DIFFERENCE_COLUMNS,
    DIMENSIONS,
    INK,
    INTERVALS,
    PALETTE,
    VERDICTS,
    distinct,
    empty_panels,
    joined,
    require,
    select,
    tooltips,
)


def split_rows(contrasts: pd.DataFrame, limit: int = 60) -> dict[str, pd.DataFrame]:
    """Split contrasts into parts that a forest chart can show: one a family, and where that is too long one an architecture, loss ...

    Args:
        contrasts: Differences, or contrasts across collections.
        limit: The most lines of one chart, over all of its panels; a single contrast may have more.

    Returns:
        The parts by name, in order of appearance: the family, and what else a part was split by.

    >>> frame = pd.DataFrame({"family": ["strategy"] * 3, "architecture": ["static", "static", "cross"]})
    >>> frame = frame.assign(contrast=["a - b", "c - b", "a - b"], loss="lce", teacher="", strategy="a", cut="all", augmentation="none")
    >>> frame = frame.assign(temperature=1.0, target_entropy=float("nan"))
    >>> {name: len(part) for name, part in split_rows(frame, limit=2).items()}
    {'strategy static': 2, 'strategy cross': 1}
    """
    require(contrasts, ("family", "contrast", *DIMENSIONS), "contrasts")
    parts = {str(family): part for family, part in contrasts.groupby("family", sort=False)}
    for column in ("architecture", "loss", "teacher", "contrast"):
        split: dict[str, pd.DataFrame] = {}
        for name, part in parts.items():
            lines = _lines(part)
            if lines["comparison"].nunique() * lines["row"].nunique() <= limit:
                split[name] = part
            else:
                split |= {" ".join([name, *distinct([value])]): own for value, own in part.groupby(column, sort=False)}
        parts = split
    return parts


def _lines(contrasts: pd.DataFrame) -> pd.DataFrame:
    """Add ``comparison`` (the panel) and ``row`` (the line in it), which tell the contrasts of one family apart."""
    family = str(contrasts["family"].iloc[0])
    contrast, architecture, loss, teacher = (contrasts[name] for name in ("contrast", "architecture", "loss", "teacher"))
    panel, line = (architecture, loss, teacher), (contrast, contrasts["strategy"])
    if family == "loss":
        panel, line = (architecture, contrast, teacher), (contrasts["strategy"],)
    elif family == "strategy":
        line = (contrast,)
    elif family == "teacher":
        panel = (architecture, loss)
    elif family == "strategy x loss":  # the contrast of strategies, then that of losses
        parts = contrast.str.partition(", ")
        panel, line = (architecture, parts[2], teacher), (parts[0],)
    settings = settings_of(contrasts, but=family)
    return contrasts.assign(
        comparison=[joined(*parts) for parts in zip(*panel, strict=True)],
        row=[joined(*parts) for parts in zip(*line, settings, strict=True)],
    )


def forest_chart(
    differences: pd.DataFrame,
    *,
    measure: str | None = None,
    collection: str | None = None,
    test_collection: str | None = None,
    family: str | None = None,
    equivalence_margin: float | None = None,
    width: int = 300,
) -> alt.FacetChart:
    """Draw each paired difference with its interval, the zero rule and the shaded band of the equivalence margin.

    One column of panels a first stage, one row an architecture, loss and teacher (of the family of losses, the contrast); contrasts, or
    strategies, down the side, largest mean difference first. Colour and shape both tell the verdict. With more than about 60 lines pass
    the parts of :func:`split_rows`.

    Args:
        differences: One row a comparison.
        measure: Which measure; may be left out when the frame holds only one.
        collection: Which training collection; likewise.
        test_collection: Which test collection; likewise.
        family: Which family of contrasts; likewise.
        equivalence_margin: Which margin, in units of the measure; likewise.
        width: Of one panel, in pixels.

    Returns:
        A faceted chart whose ``data`` is the frame it shows.

    Raises:
        ValueError: A column is missing, a choice is not made or unknown, or a verdict is unknown.
    """
    require(differences, DIFFERENCE_COLUMNS, "differences")
    choices = {"measure": measure, "test_collection": test_collection, "collection": collection, "family": family}
    differences = select(differences, "differences", **choices, equivalence_margin=equivalence_margin)
    differences, legend = plain_verdicts(differences)
    known_only(differences["verdict"], VERDICTS, "verdict")
    margin = float(differences["equivalence_margin"].iloc[0])
    frame = differences[list(DIFFERENCE_COLUMNS)].assign(margin_low=-margin, margin_high=margin)
    name = measure or str(frame["measure"].iloc[0])
    title = [f"difference in {name}", f"(shaded: ±{margin:g})"]
    return _contrasts(frame, "difference", "verdict", VERDICTS, title, tooltips(frame, DIFFERENCE_COLUMNS), width, legend)


def across_chart(across: pd.DataFrame, *, measure: str | None = None, family: str | None = None, width: int = 300) -> alt.FacetChart:
    """Draw each contrast's mean difference over collections with its t interval; colour and shape tell whether it excludes 0.

    Panels and lines are those of :func:`forest_chart`; with more than about 60 lines, or several families, pass the parts of
    :func:`split_rows`.

    Args:
        across: One row a contrast and first stage.
        measure: Which measure; may be left out when the frame holds only one.
        family: Which family of contrasts; likewise.
        width: Of one panel, in pixels.

    Returns:
        A faceted chart whose ``data`` is the frame it shows.

    Raises:
        ValueError: A column is missing, or a choice is not made or unknown.
    """
    require(across, ACROSS_COLUMNS, "across")
    across = select(across, "across", measure=measure, family=family)
    excludes = (across["low"] > 0) | (across["high"] < 0)
    interval = np.where(across["low"].isna(), "one collection", np.where(excludes, "excludes 0", "holds 0"))
    title = [f"mean difference in {across['measure'].iloc[0]}", "over collections"]
    frame = across.assign(interval=interval)
    return _contrasts(frame, "mean", "interval", INTERVALS, title, tooltips(frame, ACROSS_COLUMNS), width, "interval")


def _contrasts(
    frame: pd.DataFrame,
    value: str,
    kind: str,
    kinds: Mapping[str, tuple[str, str]],
    title: list[str],
    tooltip: list[alt.Tooltip],
    width: int,
    legend: str,
) -> alt.FacetChart:
    """Draw values with their intervals, line by line and panel by panel; ``kinds`` gives each value of ``kind`` a colour and a shape."""
    frame = _lines(frame).assign(role="comparison")
    rows = _line_order(frame, value)
    colour, shape = by_kind(kind, kinds, frame[kind], legend)
    x = alt.X(f"{value}:Q", title=title, axis=alt.Axis(tickCount=5))
    y = alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(grid=True))
    stages, panels = distinct(frame["first_stage"]), distinct(frame["comparison"])
    notes = empty_panels(frame, "comparison", "first_stage")
    height = 18 * len(rows) + 8
    frame = pd.concat([frame, notes], ignore_index=True) if len(notes) else frame
    shown = alt.Chart().transform_filter("datum.role == 'comparison'")
    band = []
    if "margin_low" in frame.columns:
        once = shown.transform_aggregate(rows="count()", groupby=["margin_low", "margin_high"])
        band = [once.mark_rect(color=BAND, opacity=0.8).encode(x=alt.X("margin_low:Q"), x2="margin_high:Q")]
    layers = [
        *band,
        shown.transform_aggregate(rows="count()", groupby=["role"]).mark_rule(color=INK, strokeWidth=1).encode(x=alt.datum(0)),
        *intervals(shown, x, y, colour, shape, tooltip),
        *_note_layers(notes, width, height),
    ]
    header = alt.Header(labelAngle=0, labelAnchor="start", labelOrient="top", labelPadding=-12)
    return (
        alt.layer(*layers, data=frame)
        .properties(width=width, height=height)
        .facet(
            column=alt.Column("first_stage:N", sort=stages, title=None),
            row=alt.Row("comparison:N", sort=panels, title=None, header=header),
            spacing={"row": 18, "column": 14},
        )
    )


def _line_order(frame: pd.DataFrame, value: str) -> list[str]:
    """Return the lines of a forest, largest mean first; lines of one contrast stay together."""
    block = "family" if frame["family"].iloc[0] in ("loss", "strategy x loss") else "contrast"
    means = frame.assign(block=frame.groupby(block)[value].transform("mean"), line=frame.groupby("row")[value].transform("mean"))
    return distinct(means.sort_values(["block", "line"], ascending=False, kind="stable")["row"])


def matrix_chart(
    pairs: pd.DataFrame,
    letters: Mapping[str, str] | pd.DataFrame | None = None,
    *,
    order: Sequence[str] | None = None,
    by: Sequence[str] = (),
) -> alt.LayerChart | alt.FacetChart:
    """Draw every pair of systems once: colour and mark tell the verdict, the text the difference, row minus column.

    A system's letters stand behind its name; systems that share a letter are equivalent, each to each (a clique: equivalence is not
    transitive, so the matrix, not the letters, is the finding). 2 to about 20 systems are readable.

    Args:
        pairs: One row a pair: system_a, system_b, difference (a minus b, in units of the measure), verdict, p_holm, p_equivalence_holm,
            smallest_margin; and the columns of ``by``. A pair may be missing: its place is then empty.
        letters: A system's letters, or a frame with system, letters and the columns of ``by``.
        order: Systems from top to bottom; by default those of system_a, then those of system_b, as they first appear.
        by: Columns that make panels, such as first_stage and measure.

    Returns:
        A chart whose ``data`` is the frame it shows: pairs turned so that the row is the earlier system (role ``pair``), and one row a
        system (role ``name``).

    Raises:
        ValueError: A column, a value or a system's letters are missing, a verdict is unknown, a pair occurs twice or is of one system, or
            a system is not in the order.
    """
    measured = ("difference", "verdict", "p_holm", "p_equivalence_holm", "smallest_margin")
    require(pairs, ("system_a", "system_b", *measured), "pairs")
    finite(pairs, ["difference"], "pairs")
    pairs, judged = plain_verdicts(pairs)
    known_only(pairs["verdict"], VERDICTS, "verdict")
    systems = list(order) if order is not None else distinct([*pairs["system_a"], *pairs["system_b"]])
    frame = _turned(pairs, systems, by)
    named = _lettered(_diagonal(frame, systems, by), letters, by)
    table = pd.concat([frame, named], ignore_index=True)

    n = len(systems)
    beside = max((LABEL * len(name) - 30 * rank for rank, name in enumerate(systems)), default=0)
    width, height = int(np.clip((WIDEST - 90 - beside) // n, 29, 46)), 32
    told = tooltips(frame, [*by, "row", "column", *measured]), None if letters is None else tooltips(named, [*by, "row", "letters"])
    layers = _matrix_marks(systems, pairs["verdict"], judged, width, *told)
    longest = beside_names(table["panel"], WIDEST - 40)
    columns = fitting(max(width * n, longest), frame["panel"].nunique(), 110 + beside, 40 + beside)
    return facet(layers, table, width * n, height * n, columns, framed=False, title=longest)


def _matrix_marks(
    systems: list[str],
    verdicts: pd.Series,
    judged: str,
    width: int,
    pair_told: list[alt.Tooltip],
    letters_told: list[alt.Tooltip] | None,
) -> list[alt.Chart]:
    """Return the marks of pairs, then those of systems on the diagonal, with their letters where these are known."""
    scale = alt.Scale(domain=systems, paddingInner=0.05, paddingOuter=0.0)
    x = alt.X("column:N", sort=systems, title=None, scale=scale, axis=None)
    y = alt.Y("row:N", sort=systems, title=None, scale=scale, axis=None)
    colour, shape = by_kind("verdict", VERDICTS, verdicts, f"{judged} (row minus column)")
    legend = alt.Legend(orient="bottom", direction="horizontal", titleLimit=300)
    colour, shape = colour.legend(legend), shape.legend(legend)
    dark = [name for name, ink in INKS.items() if ink == INK]
    ink = alt.condition(" || ".join(f"datum.verdict == '{name}'" for name in dark), alt.value(INK), alt.value("white"))
    pair = alt.Chart().transform_filter("datum.role == 'pair'").encode(x=x, y=y)
    system = alt.Chart().transform_filter("datum.role == 'name'").encode(x=x, y=y)
    half = width // 2
    layers = [
        pair.mark_rect().encode(color=colour, tooltip=pair_told),
        pair.mark_point(filled=True, size=30, opacity=1, yOffset=-7).encode(shape=shape, fill=ink),
        pair.mark_text(dy=7, fontSize=11 if width >= 40 else 9.5).encode(text="text:N", color=ink),
        system.mark_text(align="right", dx=half - 8 if letters_told is None else 6 - half, fontSize=12).encode(text="row:N"),
        system.mark_text(align="left", angle=320, fontSize=12, limit=160).encode(y=alt.value(-8), text="row:N"),
    ]
    if letters_told is not None:
        layers.append(system.mark_text(fontSize=12, fontWeight="bold", color=PALETTE[0]).encode(text="letters:N", tooltip=letters_told))
    return layers


def _turned(pairs: pd.DataFrame, systems: list[str], by: Sequence[str]) -> pd.DataFrame:
    """Return the pairs turned so that the row is the earlier system, with their panel and what is written of them."""
    place = {system: rank for rank, system in enumerate(systems)}
    first, second = (pairs[column].map(place) for column in ("system_a", "system_b"))
    known_only(pd.concat([pairs["system_a"], pairs["system_b"]]), systems, "system")
    if (first == second).any():
        same = pairs["system_a"][first == second]
        raise ValueError(f"{len(same)} row(s) of pairs compare a system with itself, the first {same.iloc[0]!r}; leave them out")
    frame = paneled(pairs, by, "pairs").assign(
        row=pairs["system_a"].where(first < second, pairs["system_b"]),
        column=pairs["system_b"].where(first < second, pairs["system_a"]),
        difference=pairs["difference"].where(first < second, -pairs["difference"]),
        role="pair",
    )
    once_each(frame, ["panel", "row", "column"], "pairs")
    frame["text"] = [re.sub(r"(?<=[+−])0\.", ".", f"{value:+.3f}".replace("-", "−")) for value in frame["difference"]]
    return frame


def _diagonal(frame: pd.DataFrame, systems: list[str], by: Sequence[str]) -> pd.DataFrame:
    """Return a row a panel and system that stands in it."""
    panels = frame.drop_duplicates("panel")[["panel", *by]]
    inside = {panel: set(part["row"]) | set(part["column"]) for panel, part in frame.groupby("panel")}
    return pd.DataFrame(
        [
            {**panel, "row": name, "column": name, "role": "name"}
            for panel in records(panels)
            for name in systems
            if name in inside[panel["panel"]]
        ]
    )


def _lettered(named: pd.DataFrame, letters: Mapping[str, str] | pd.DataFrame | None, by: Sequence[str]) -> pd.DataFrame:
    """Add each system's letters."""
    if letters is None:
        return named
    if isinstance(letters, pd.DataFrame):
        require(letters, ("system", "letters", *by), "letters")
        once_each(letters, [*by, "system"], "letters")
        found = named.merge(letters.rename(columns={"system": "row"})[[*by, "row", "letters"]], on=[*by, "row"], how="left")
    else:
        found = named.assign(letters=named["row"].map(dict(letters)))
    missing = found.loc[found["letters"].isna(), "row"]
    if len(missing):
        raise ValueError(
            f"letters holds nothing for {len(missing)} system(s), the first is {missing.iloc[0]!r}; a system in no clique has ''"
        )
    return found

"""Charts of groups and teachers."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd
from scipy.spatial import ConvexHull, QhullError

from rd_utils.report.charts.shared import by_name, finite, hint, known_only, settings_of
from rd_utils.report.drawing import (
    BAND,
    DESCRIPTION_COLUMNS,
    ENTROPIES,
    INK,
    MUTED,
    PALETTE,
    SETTINGS,
    as_text,
    choose,
    distinct,
    joined,
    padded_domain,
    plain_number,
    require,
    shape_scale,
    tooltips,
    value_scale,
    varying,
)
from rd_utils.study.params import nearest


def rank_chart(ranks: pd.DataFrame, *, width: int = 420, height: int = 180) -> alt.Chart:
    """Draw how many negatives stand at which rank among their query's candidates.

    Args:
        ranks: Column rank; rows without one (documents from elsewhere) are left out.
        width: In pixels.
        height: In pixels.
    """
    require(ranks, ("rank",), "ranks")
    found = ranks["rank"].dropna().to_numpy(dtype=float)
    step = max(1, int(np.ceil(found.max(initial=1.0) / 20)))
    edges = np.arange(1, found.max(initial=1.0) + step + 1, step)
    bars = pd.DataFrame({"first": edges[:-1], "after": edges[1:], "negatives": np.histogram(found, bins=edges)[0]})
    x = alt.X("first:Q", bin="binned", title="rank among the candidates")
    chart = alt.Chart(bars).mark_bar(color=PALETTE[0]).encode(x=x, x2="after:Q", y=alt.Y("negatives:Q", title="negatives"))
    return chart.properties(width=width, height=height)


def score_chart(teacher_scores: np.ndarray, *, groups: int = 250, width: int = 420, height: int = 180) -> alt.Chart:
    """Draw the distributions of a teacher's scores of labelled positives and of negatives, each scaled to the same area.

    Args:
        teacher_scores: (n_groups, group_size), the positive in column 0.
        groups: How many groups are shown, spread evenly over those there are.
        width: In pixels.
        height: In pixels.
    """
    shown = teacher_scores[:: -(-len(teacher_scores) // groups)]
    role = np.where(np.arange(shown.size) % shown.shape[1] == 0, "positive", "negative")
    frame = pd.DataFrame({"role": role, "score": shown.ravel().round(3)})
    density = alt.Chart(frame).transform_density("score", groupby=["role"], as_=["score", "density"]).mark_area(opacity=0.5)
    encoding = {"x": alt.X("score:Q", title="teacher score"), "y": alt.Y("density:Q", title="density")}
    return density.encode(**encoding, color=alt.Color("role:N", title=None)).properties(width=width, height=height)


def temperature_chart(dial: pd.DataFrame, *, width: int = 420, height: int = 200) -> alt.Chart:
    """Draw mean entropies against the temperature.

    Args:
        dial: Index temperature; one column an entropy.
        width: In pixels.
        height: In pixels.
    """
    long = dial.rename_axis("temperature").reset_index().melt("temperature", var_name="which", value_name="entropy")
    x = alt.X("temperature:Q", scale=alt.Scale(type="log"), title="temperature")
    encoding = {"y": alt.Y("entropy:Q", title="mean entropy"), "color": alt.Color("which:N", title=None)}
    return alt.Chart(long).mark_line(point=True).encode(x=x, **encoding).properties(width=width, height=height)


def entropy_chart(entropy: pd.DataFrame, *, collection: str | None = None, width: int = 220) -> alt.FacetChart:
    """Draw the three mean entropies per strategy and teacher, each in a panel of its own, on one axis from 0 to 1.

    Args:
        entropy: Columns strategy, teacher, pairwise_entropy, positive_entropy, listwise_entropy (all in [0, 1]), and a
            temperature that sets rows apart and a training collection if there is one.
        collection: Which training collection; may be left out when the frame holds only one.
        width: Of one panel, in pixels.

    Returns:
        A faceted chart whose ``data`` is the frame in long form: one row a strategy, teacher and kind of entropy.

    Raises:
        ValueError: A column is missing, or a value is outside [0, 1].
    """
    require(entropy, ("strategy", "teacher", *ENTROPIES), "entropy")
    entropy = choose(entropy, "collection", collection, "entropy") if "collection" in entropy.columns else entropy
    teachers = entropy["teacher"].map(as_text)
    if varying(entropy, ["temperature"]):
        teachers = [joined(name, f"T={plain_number(t)}") for name, t in zip(teachers, entropy["temperature"], strict=True)]
    keep = [column for column in entropy.columns if column not in ENTROPIES]
    frame = _by_kind(entropy.assign(label=teachers), [*keep, "label"])
    labels, strategies = distinct(frame["label"]), distinct(frame["strategy"])
    height = len(strategies) * (12 + 11 * len(labels))
    chart = (
        alt.Chart(frame)
        .mark_point(filled=True, size=75, opacity=1)
        .encode(
            x=alt.X("value:Q", title="mean entropy", scale=alt.Scale(domain=[0, 1])),
            y=alt.Y(
                "strategy:N",
                sort=strategies,
                title=None,
                scale=alt.Scale(domain=strategies, padding=0),
                axis=alt.Axis(tickBand="extent", grid=True),
            ),
            yOffset=alt.YOffset("label:N", sort=labels, scale=alt.Scale(domain=labels, paddingOuter=0.6)),
            color=alt.Color("label:N", sort=labels, title="teacher", scale=value_scale(labels, PALETTE)),
            shape=alt.Shape("label:N", sort=labels, title="teacher", scale=shape_scale(labels)),
            tooltip=tooltips(frame, [*keep, "entropy", "value"]),
        )
        .properties(width=width, height=height)
    )
    return chart.facet(column=alt.Column("kind:N", sort=list(ENTROPIES.values()), title=None))


def _by_kind(entropy: pd.DataFrame, keep: list[str]) -> pd.DataFrame:
    """Return a row an entropy, all of them shares."""
    frame = entropy.melt(keep, list(ENTROPIES), "entropy", "value")
    outside = frame[~frame["value"].between(0, 1 + 1e-9) & frame["value"].notna()]
    if not outside.empty:
        first = outside.iloc[0]
        raise ValueError(
            f"{len(outside)} entropies lie outside [0, 1], the first is {first['entropy']} = {first['value']:g} of "
            f"{first['strategy']}; divide a listwise entropy by log2 of the group size"
        )
    return frame.assign(kind=frame["entropy"].map(ENTROPIES))


def locality_chart(
    descriptions: pd.DataFrame, *, entropy: str = "pairwise_entropy", collection: str | None = None, width: int = 340, height: int = 320
) -> alt.FacetChart:
    """Draw how wide training groups are against how undecided the teacher is about them, one labelled mark a strategy.

    Where augmentation or a solved temperature changes the groups, a line leads from what they are before (hollow, labelled with the
    strategy) to what training sees (filled, labelled with what changed them). One panel a teacher.

    Args:
        descriptions: One row a strategy, teacher, augmentation, part of the queries, dial and state.
        entropy: Which of the three entropies.
        collection: Which training collection; may be left out when the frame holds only one.
        width: Of one panel, in pixels.
        height: Of one panel, in pixels.

    Returns:
        A faceted chart whose ``data`` is the frame it shows; of labels that would lie on one another only the first is not empty.

    Raises:
        ValueError: A column is missing, the choice is not made or unknown, or the entropy is unknown or of no group.
    """
    if entropy not in ENTROPIES:
        raise ValueError(f"unknown entropy {entropy!r}{nearest(entropy, ENTROPIES)}")
    require(descriptions, (*DESCRIPTION_COLUMNS, entropy), "descriptions")
    frame = choose(descriptions, "collection", collection, "descriptions")
    frame = _moves(frame[frame[entropy].notna()], entropy)
    strategies, states = distinct(frame["strategy"]), [state for state in ("before", "after") if state in set(frame["state"])]
    x = alt.X(
        "diameter_q99:Q",
        title="mean diameter (0.99-quantile of distances)",
        scale=alt.Scale(domain=padded_domain(frame["diameter_q99"], 0.12)),
    )
    y = alt.Y("entropy:Q", title=f"mean entropy, {ENTROPIES[entropy]}", scale=alt.Scale(domain=padded_domain(frame["entropy"], 0.08)))
    scales = value_scale(strategies, PALETTE), shape_scale(strategies)
    colour = alt.Color("strategy:N", sort=strategies, title="strategy", scale=scales[0])
    shape = alt.Shape("strategy:N", sort=strategies, title="strategy", scale=scales[1])
    fill = alt.Fill("strategy:N", sort=strategies, title="strategy", scale=scales[0])
    opacity = alt.FillOpacity("state:N", sort=states, title="state", scale=alt.Scale(domain=["before", "after"], range=[0.0, 1.0]))
    measured = ["diameter_q99", "diameter", "mean_distance", "entropy", "density_ratio", "coverage", "solved_temperature"]
    tooltip = tooltips(frame, ["strategy", "teacher", *SETTINGS, "state", *measured])
    base = alt.Chart().encode(x=x, y=y)
    marks = base.mark_point(size=70, opacity=1)
    layers = [
        base.mark_line(strokeWidth=1, opacity=0.6).encode(color=colour, detail="name:N", order="order:Q"),
        marks.encode(color=colour, shape=shape, fill=fill, fillOpacity=opacity, tooltip=tooltip),
        base.transform_filter("datum.label != ''").mark_text(dy=-10, fontSize=10, color=INK).encode(text="label:N"),
    ]
    column = alt.Column("teacher:N", sort=distinct(frame["teacher"]), title=None)
    return alt.layer(*layers, data=frame).properties(width=width, height=height).facet(column=column)


def _moves(frame: pd.DataFrame, entropy: str) -> pd.DataFrame:
    """Return the groups with the line that they lie on, and the labels that can be read."""
    if frame.empty:
        raise ValueError(f"descriptions holds no {entropy}; it needs a teacher")
    after, settings = frame["state"] == "after", pd.Series(settings_of(frame), frame.index)
    whole = pd.Series([joined(*parts) for parts in zip(frame["strategy"], settings, strict=True)], frame.index)
    moved = whole.isin(set(whole[after]))
    frame = frame.rename(columns={entropy: "entropy"}).assign(name=whole, order=after.astype(int))
    frame["label"] = settings.where(after, frame["strategy"].where(moved, whole))
    frame.loc[frame.round(4).duplicated(["teacher", "label", "diameter_q99", "entropy"]), "label"] = ""
    return frame


def neighbourhood_chart(points: pd.DataFrame, *, title: str = "", size: int = 420) -> alt.LayerChart | alt.FacetChart:
    """Draw a group in a plane, with the hull around it, among the documents beside it; with several random shares a slider sets one.

    Args:
        points: One row a document: x, y, kind (``positive``, ``negative``, ``random`` or ``other``, which is no member), doc_id, text,
            and for members random_share, diameter and mean_distance (of the whole group; blank for others, who are there at every share).
        title: What the group belongs to, such as its query's text.
        size: Width and height, in pixels.

    Returns:
        A chart whose ``data`` is the frame it shows.

    Raises:
        ValueError: A column is missing, a place is no number, or a kind is none.
    """
    require(points, ("x", "y", "kind", "doc_id", "text", "random_share", "diameter", "mean_distance"), "points")
    finite(points, ["x", "y"], "points")
    known_only(points["kind"], _MEMBERS, "kind")
    frame = points.reset_index(drop=True)
    members = frame[frame["kind"] != "other"]
    finite(members, ["random_share", "diameter", "mean_distance"], "members")
    shares = sorted(members["random_share"].unique())
    hulls = pd.concat([_hull(group).assign(random_share=share) for share, group in members.groupby("random_share")], ignore_index=True)
    kinds = [kind for kind in _MEMBERS if kind in set(frame["kind"])]
    marks = [_MEMBERS[kind] for kind in kinds]
    x = alt.X(
        "x:Q",
        title=None,
        axis=alt.Axis(labels=False, ticks=False, grid=False),
        scale=alt.Scale(domain=padded_domain(frame["x"]), nice=False),
    )
    y = alt.Y(
        "y:Q",
        title=None,
        axis=alt.Axis(labels=False, ticks=False, grid=False),
        scale=alt.Scale(domain=padded_domain(frame["y"]), nice=False),
    )
    legend = alt.Legend(symbolOpacity=1)
    colour = alt.Color(
        "kind:N", title=None, sort=kinds, scale=alt.Scale(domain=kinds, range=[colour for colour, _ in marks]), legend=legend
    )
    shape = alt.Shape("kind:N", title=None, sort=kinds, scale=alt.Scale(domain=kinds, range=[shape for _, shape in marks]))
    told = tooltips(frame, ["kind", "doc_id", "text", "random_share", "diameter"])
    of_share = "datum.random_share == share" if len(shares) > 1 else "isValid(datum.random_share)"
    dots = alt.Chart(frame).mark_point(filled=True).encode(x=x, y=y, color=colour, shape=shape, tooltip=told)
    around = alt.Chart(hulls).transform_filter(of_share).mark_line(filled=True, fill=BAND, color=MUTED, strokeWidth=1)
    said = alt.Chart(members.drop_duplicates("random_share")).transform_filter(of_share)
    layers = alt.layer(
        around.encode(x=x, y=y, order="order:O"),
        dots.transform_filter("datum.kind == 'other'").mark_point(filled=True, size=14, opacity=0.5),
        dots.transform_filter(f"datum.kind != 'other' && {of_share}").mark_point(filled=True, size=70, opacity=1),
        said.transform_calculate(
            said="'diameter ' + format(datum.diameter, '.2f') + ', mean distance ' + format(datum.mean_distance, '.2f')"
        )
        .mark_text(align="left", baseline="top", fontSize=13, fontWeight="bold")
        .encode(x=alt.value(6), y=alt.value(6), text="said:N"),
    )
    chart = layers.properties(width=size, height=size, title=title)
    if len(shares) < 2:
        return chart
    steps = np.diff(shares)
    if not np.allclose(steps, steps[0]):
        raise ValueError(f"the random shares {shares} do not lie evenly, so no slider sets them")
    slider = alt.binding_range(min=shares[0], max=shares[-1], step=float(steps[0]), name="random share ")
    return chart.add_params(alt.param(name="share", value=shares[0], bind=slider))


_MEMBERS = {
    "positive": (PALETTE[0], "diamond"),
    "negative": (PALETTE[1], "circle"),
    "random": (PALETTE[2], "square"),
    "other": (MUTED, "circle"),
}


def _hull(group: pd.DataFrame) -> pd.DataFrame:
    """Return the corners of the hull around points, in order and closed: x, y, order; all of the points where they span no area."""
    plane = group[["x", "y"]].drop_duplicates().reset_index(drop=True)
    try:
        plane = plane.iloc[ConvexHull(plane.to_numpy()).vertices]
    except (QhullError, ValueError):  # fewer than three points, or on one line
        pass
    return pd.concat([plane, plane.head(1)], ignore_index=True).assign(order=range(len(plane) + 1))


def queries_chart(
    groups: pd.DataFrame, *, entropy: str = "pairwise_entropy", max_groups: int = 2000, n_listed: int = 15
) -> alt.HConcatChart:
    """Draw groups by diameter and entropy; dragging over some lists them and counts their strategies.

    Without a drag all groups are counted, and the first are listed.

    Args:
        groups: One row a group: query_id, strategy, the entropy, diameter_q99 (cosine distance), query (its text), documents (the texts of
            the positive and the negatives); value (of the query, in units of a measure) where known, for the tooltip, which may be blank.
        entropy: The column with the entropy.
        max_groups: How many groups are drawn, spread evenly over the rows; the title says of how many.
        n_listed: How many groups are listed.

    Returns:
        Charts side by side whose common ``data`` is the frame they show, the entropy as ``entropy``.

    Raises:
        ValueError: A column or a value is missing, or no group may be drawn.
    """
    require(groups, ("query_id", "strategy", entropy, "diameter_q99", "query", "documents"), "groups")
    if max_groups < 1 or n_listed < 1:
        raise ValueError(f"max_groups is {max_groups}, n_listed {n_listed}; expected at least 1 of each")
    finite(groups, [entropy, "diameter_q99"], "groups")
    kept = np.unique(np.linspace(0, len(groups) - 1, min(max_groups, len(groups))).round().astype(int))
    columns = ["query_id", "strategy", entropy, "diameter_q99", "query", "documents", *(["value"] if "value" in groups.columns else [])]
    frame = groups.iloc[kept][columns].rename(columns={entropy: "entropy"}).reset_index(drop=True)
    strategies = distinct(frame["strategy"])
    shown = f"all {len(frame):,} groups" if len(frame) == len(groups) else f"{len(frame):,} of {len(groups):,} groups, evenly spread"

    brush = alt.selection_interval(name="brush")
    marks = by_name("strategy", strategies, "strategy", None)  # the bars below the list are the legend
    tip = ["query_id", "strategy", "diameter_q99", "entropy", "value", "query", "documents"]
    told = tooltips(frame, tip)
    scatter = _scattered(frame, brush, marks, entropy, f"{shown}; drag over some to list the first {n_listed}", told)
    listing, bars = _listing(brush, marks, n_listed, told), _counts(brush, marks, strategies)
    return alt.hconcat(scatter, alt.vconcat(listing, bars, spacing=16), data=frame, spacing=24)


def _scattered(
    frame: pd.DataFrame, brush: alt.Parameter, marks: tuple[alt.Color, alt.Shape], entropy: str, said: str, told: list[alt.Tooltip]
) -> alt.Chart:
    """Draw a mark a group, to be dragged over."""
    colour, shape = marks
    title = f"entropy, {ENTROPIES[entropy]}" if entropy in ENTROPIES else entropy
    return (
        alt.Chart()
        .mark_point(filled=True, size=32)
        .encode(
            x=alt.X(
                "diameter_q99:Q",
                title="diameter q99 (cosine distance)",
                scale=alt.Scale(domain=padded_domain(frame["diameter_q99"]), nice=False),
            ),
            y=alt.Y("entropy:Q", title=title, scale=alt.Scale(domain=padded_domain(frame["entropy"]), nice=False)),
            color=colour,
            shape=shape,
            opacity=alt.condition(brush, alt.value(0.75), alt.value(0.08)),
            tooltip=told,
        )
        .properties(width=350, height=400, name="groups", title=hint(said))
        .add_params(brush)
    )


_LEFT, _WIDE, _INDENT = 10, 430, 150  # pixels of the listing: of its dots, of all, and of the strategies' names below it


def _listing(
    brush: alt.Parameter, marks: tuple[alt.Color, alt.Shape], n_listed: int, told: list[alt.Tooltip]
) -> alt.LayerChart | alt.FacetChart:
    """List the first groups that were dragged over: query, then documents."""
    colour, shape = marks
    place = alt.Y("place:O", axis=None, scale=alt.Scale(domain=list(range(1, n_listed + 1))))
    listed = (
        alt.Chart()
        .transform_filter(brush)
        .transform_window(place="row_number()")
        .transform_filter(f"datum.place <= {n_listed}")
        .encode(y=place, tooltip=told)
    )
    texts = listed.mark_text(align="left", baseline="middle")
    dots = listed.mark_point(filled=True, size=45, opacity=1).encode(x=alt.value(_LEFT), color=colour, shape=shape)
    heading = alt.Chart(alt.InlineData([{}])).mark_text(align="left", fontWeight="bold", dy=-10)
    return alt.layer(
        dots,
        texts.mark_text(limit=150, align="left").encode(x=alt.value(_LEFT + 10), text="query:N"),
        texts.mark_text(limit=_WIDE - 180, align="left", color=MUTED).encode(x=alt.value(_LEFT + 170), text="documents:N"),
        heading.encode(x=alt.value(_LEFT + 10), y=alt.value(0), text=alt.value("query")),
        heading.encode(x=alt.value(_LEFT + 170), y=alt.value(0), text=alt.value("positive, then negatives")),
    ).properties(width=_WIDE, height=18 * n_listed, name="listing")


def _counts(brush: alt.Parameter, marks: tuple[alt.Color, alt.Shape], strategies: list[str]) -> alt.LayerChart | alt.FacetChart:
    """Count the groups that were dragged over, strategy by strategy."""
    colour, shape = marks
    place = alt.Y("strategy:N", sort=strategies, axis=None, scale=alt.Scale(domain=strategies))
    count = alt.X(
        "count():Q",
        title="groups",
        scale=alt.Scale(range=[_INDENT, _WIDE], nice=False),
        axis=alt.Axis(tickMinStep=1, tickCount=5, format=",d", domain=False),
    )
    told = ["strategy:N", alt.Tooltip("count():Q", title="groups")]
    every = alt.Chart().transform_aggregate(rows="count()", groupby=["strategy"]).encode(y=place)
    return alt.layer(
        alt.Chart().transform_filter(brush).mark_bar().encode(x=count, y=place, color=colour, tooltip=told),
        every.mark_point(filled=True, size=45, opacity=1).encode(x=alt.value(_LEFT), color=colour, shape=shape),
        every.mark_text(align="left", limit=_INDENT - 26).encode(x=alt.value(_LEFT + 10), text="strategy:N"),
    ).properties(width=_WIDE, height=18 * len(strategies), name="strategies")

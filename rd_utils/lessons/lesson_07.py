"""Lesson 7, how wide is a group: the diameter, what it bounds, and what it does not say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from rd_utils.analysis import locality, tables
from rd_utils.companions.theory import deviation
from rd_utils.lessons import toy
from rd_utils.lessons.checks import Exercise, Function, Value
from rd_utils.report.drawing import BAND, INK, MUTED, PALETTE, SHAPES

GROUPS = {"compact": ("f3", "f2", "f1", "f4"), "wide": ("f3", "a1", "b4", "a3")}
"""Two groups of q2, the labelled positive first: near documents, of which two are relevant, and documents of other things."""
QUERY = "q2"


def directions(names: Sequence[str]) -> np.ndarray:
    """Return the vectors of documents of the toy, each divided by its length: (documents, 2)."""
    vectors = np.stack([toy.vector(name) for name in names])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def widest(vectors: np.ndarray) -> float:
    """Return the diameter of one group by the package: the largest distance of its directions."""
    return float(locality.diameters(vectors, np.arange(len(vectors))[None], distance="euclidean")["diameter"].iloc[0])


def margin_bound(query: np.ndarray, vectors: np.ndarray) -> float:
    """Return L x diameter of one group by the package, the documents' vectors of length 1."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = deviation.margin_bounds(np.asarray(query)[None], unit[None]).iloc[0]
    return float(found["lipschitz"] * found["diameter"])


def false_share(grades: np.ndarray) -> float:
    """Return the share of false negatives as the package counts it in notebook 01. grades: (groups, documents), positive first."""
    ids = np.array([f"d{number}" for number in range(grades.size)]).reshape(grades.shape)
    groups = pd.DataFrame({"doc_ids": list(ids), "inclusion": list(np.ones(grades.shape)), "density_ratio": 1.0})
    documents = pd.DataFrame({"doc_id": ids.ravel(), "grade": grades.ravel(), "x": 1.0, "y": 0.0})
    drawn: Any = SimpleNamespace(frame=groups)  # of a draw, only its table is looked at
    return float(np.asarray(tables.draw_table({"groups": drawn}, documents)["false"], dtype=float)[0])


# --- pictures ---------------------------------------------------------------------------------------------------------------------


def hulls(groups: Mapping[str, Sequence[str]] = GROUPS, query: str = QUERY, *, size: int = 222) -> alt.HConcatChart:
    """Draw groups in the plane, each a hull on the circle with its diameter, and beneath each the interval of margins that it allows.

    Args:
        groups: Names of the toy's documents by the name of the group, the labelled positive first.
        query: Of the toy; its vector is not divided by its length.
        size: Of a panel, in pixels.
    """
    scale = float(np.linalg.norm(toy.vector(query)))
    most = 1.15 * max(scale * widest(directions(names)) for names in groups.values())
    columns = [
        alt.vconcat(_plane(name, names, query, size), _interval(names, query, most, size), spacing=16) for name, names in groups.items()
    ]
    return alt.hconcat(*columns, spacing=30)


def _plane(name: str, names: Sequence[str], query: str, size: int) -> alt.LayerChart | alt.FacetChart:
    points = directions(names)
    relevant = toy.grades()[query][list(names)].to_numpy() > 0
    kinds = ["positive", *("relevant, no label" if known else "not relevant" for known in relevant[1:])]
    outward = 1.24 * points
    table = {"document": names, "x": points[:, 0], "y": points[:, 1], "kind": kinds, "label_x": outward[:, 0], "label_y": outward[:, 1]}
    frame = pd.DataFrame(table)
    around = np.linspace(0, 2 * np.pi, 181)
    circle = pd.DataFrame({"x": np.cos(around), "y": np.sin(around), "order": range(181)})
    turned = np.argsort(np.arctan2(points[:, 1] - points[:, 1].mean(), points[:, 0] - points[:, 0].mean()))
    ordered = frame.iloc[turned]
    hull = pd.concat([ordered, ordered.head(1)]).assign(order=range(len(names) + 1))
    first, second = np.triu_indices(len(names), k=1)
    apart = np.linalg.norm(points[first] - points[second], axis=1)
    widest = int(apart.argmax())
    ends = frame.iloc[[int(first[widest]), int(second[widest])]]
    span = alt.Scale(domain=[-1.35, 1.35], nice=False)
    x = alt.X("x:Q", title="x", scale=span, axis=alt.Axis(values=[-1, 0, 1], grid=False))
    y = alt.Y("y:Q", title="y", scale=span, axis=alt.Axis(values=[-1, 0, 1], grid=False))
    towards = toy.vector(query) / np.linalg.norm(toy.vector(query))
    arrow = pd.DataFrame({"x": [0.0], "y": [0.0], "x2": [0.78 * towards[0]], "y2": [0.78 * towards[1]], "name": [query]})
    shown = ["positive", "relevant, no label", "not relevant"]
    colour = alt.Color(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=shown, range=[PALETTE[0], PALETTE[1], MUTED]),
        legend=alt.Legend(orient="top", columns=1),
    )
    shape = alt.Shape("kind:N", title=None, scale=alt.Scale(domain=shown, range=list(SHAPES[:3])))
    rim = alt.Chart(circle).mark_line(color="#c8c8c8", strokeWidth=1).encode(x=x, y=y, order="order:O")
    filled = alt.Chart(hull).mark_line(filled=True, fill=BAND, fillOpacity=1, color=MUTED, strokeWidth=1).encode(x=x, y=y, order="order:O")
    longest = alt.Chart(ends).mark_line(color=INK, strokeWidth=3).encode(x=x, y=y)
    spoke = alt.Chart(arrow).mark_rule(color=INK, strokeDash=[4, 3]).encode(x=x, y=y, x2="x2:Q", y2="y2:Q")
    called = alt.Chart(arrow).mark_text(align="right", dx=-6, dy=20, fontStyle="italic").encode(x="x2:Q", y="y2:Q", text="name:N")
    dots = (
        alt.Chart(frame)
        .mark_point(filled=True, size=75, opacity=1)
        .encode(x=x, y=y, color=colour, shape=shape, tooltip=["document", "kind"])
    )
    labels = alt.Chart(frame).mark_text(baseline="middle").encode(x="label_x:Q", y="label_y:Q", text="document:N")
    title = f"{name}: diameter {apart.max():.2f}"
    layers = alt.layer(rim, filled, longest, spoke, called, dots, labels)
    return layers.properties(width=size, height=size, title=alt.TitleParams(title, fontSize=12))


def _interval(names: Sequence[str], query: str, most: float, size: int) -> alt.LayerChart | alt.FacetChart:
    points, towards = directions(names), toy.vector(query)
    reach = margin_bound(towards, points)
    margins = pd.DataFrame({"document": names[1:], "margin": (points[:1] - points[1:]) @ towards})
    x = alt.X(
        "from:Q", title="margin of the positive", scale=alt.Scale(domain=[-most, most], nice=False), axis=alt.Axis(values=[-4, -2, 0, 2, 4])
    )
    bar = alt.Chart(pd.DataFrame({"from": [-reach], "to": [reach]})).mark_bar(color=BAND, stroke=MUTED, height=26).encode(x=x, x2="to:Q")
    ends = (
        alt.Chart(pd.DataFrame({"at": [-reach, reach]})).mark_text(dy=-21, color=INK).encode(x="at:Q", text=alt.Text("at:Q", format="+.2f"))
    )
    ticks = (
        alt.Chart(margins)
        .mark_tick(color=INK, thickness=2, height=26)
        .encode(x="margin:Q", tooltip=["document", alt.Tooltip("margin:Q", format=".2f")])
    )
    return alt.layer(bar, ticks, ends).properties(width=size, height=64)


# --- exercises --------------------------------------------------------------------------------------------------------------------


def _vectors(rng: np.random.Generator) -> tuple[np.ndarray]:
    return (rng.normal(scale=2, size=(int(rng.integers(4, 8)), int(rng.integers(2, 5)))),)


def _bounded(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    (vectors,) = _vectors(rng)
    return rng.normal(scale=2, size=vectors.shape[1]), vectors


def _false(rng: np.random.Generator) -> tuple[np.ndarray]:
    grades = rng.integers(0, 4, size=(int(rng.integers(3, 6)), int(rng.integers(4, 8)))) * (rng.random() < 0.8)
    grades[:, 0] = rng.integers(1, 4, size=len(grades))
    grades[0, 1:3] = 0, 1  # one of each, so that every rule says something else
    return (grades,)


def _apart(vectors: np.ndarray) -> np.ndarray:
    first, second = np.triu_indices(len(vectors), k=1)
    return np.linalg.norm(vectors[first] - vectors[second], axis=1)


def _unit(vectors: np.ndarray, axis: int = 1) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=axis, keepdims=True)


_BOTH = {name: margin_bound(toy.vector(QUERY), directions(names)) for name, names in GROUPS.items()}
_LENGTH = float(np.linalg.norm(toy.vector(QUERY)))

EXERCISES: Mapping[str, Exercise] = {
    "diameter": Function(
        widest,
        _vectors,
        (
            "first the directions: every vector divided by its own length; then the distances of all pairs; then the largest",
            "np.linalg.norm(vectors, axis=1, keepdims=True) has the lengths, a row a document",
            "unit[:, None] - unit[None, :] has all differences; the norm over the last axis, and its max()",
        ),
        {
            "the vectors still have their lengths: divide each by its own": lambda v: float(_apart(v).max()),
            "the lengths are those of the columns: every document's own is over axis=1": lambda v: float(_apart(_unit(v, 0)).max()),
            "that is the mean distance; the diameter is the largest": lambda v: float(_apart(_unit(v)).mean()),
            "that is the squared distance": lambda v: float(_apart(_unit(v)).max() ** 2),
            "that is 1 - cos, another distance: half the square of this one": lambda v: float(_apart(_unit(v)).max() ** 2 / 2),
            "that is the farthest from the positive; two other documents may lie farther apart": (
                lambda v: float(np.linalg.norm(_unit(v)[1:] - _unit(v)[0], axis=1).max())
            ),
            "that is the smallest distance": lambda v: float(_apart(_unit(v)).min()),
        },
    ),
    "bound": Function(
        margin_bound,
        _bounded,
        (
            "the length of the query's vector times the diameter",
            "np.linalg.norm(query) * diameter(vectors), with your own diameter",
        ),
        {
            "the query's length is squared here; L is the length itself": lambda q, v: float(q @ q * widest(v)),
            "the length of the query is missing: it scales every score": lambda q, v: widest(v),
            "the documents' vectors still have their lengths: divide each by its own": lambda q, v: float(
                np.linalg.norm(q) * _apart(v).max()
            ),
            "this adds the coordinates of the query; its length is the root of the sum of their squares": (
                lambda q, v: float(np.abs(q).sum() * widest(v))
            ),
            "that is the largest margin of these documents; the bound is of any that lie so near each other": (
                lambda q, v: float(np.abs((_unit(v)[:, None] - _unit(v)[None]) @ q).max())
            ),
            "the interval reaches so far to both sides; the bound is one side": lambda q, v: 2 * margin_bound(q, v),
        },
    ),
    "false share": Function(
        false_share,
        _false,
        (
            "which columns are negatives, and which of their grades say that they are none?",
            "column 0 is the positive; a negative is false where its grade is above 0",
            "(grades[:, 1:] > 0).mean()",
        ),
        {
            "the positive in column 0 is no negative: leave it out": lambda grades: float((grades > 0).mean()),
            "that is the share of true negatives": lambda grades: float((grades[:, 1:] == 0).mean()),
            "a grade of 1 is relevant too: above 0, not above 1": lambda grades: float((grades[:, 1:] > 1).mean()),
            "that is the mean grade; count the negatives whose grade is above 0": lambda grades: float(grades[:, 1:].mean()),
            "that is their number; divide by the number of negatives": lambda grades: float((grades[:, 1:] > 0).sum()),
            "that is a number a group; divide by the negatives of a group too": lambda grades: float(
                (grades[:, 1:] > 0).sum(axis=1).mean()
            ),
        },
    ),
    "three directions": Value(
        2.0,
        (
            "on a circle of radius 1 two points at an angle a lie 2 sin(a / 2) apart",
            "the angles between them are 60, 120 and 180 degrees: 1, 1.732 and 2",
        ),
        mistakes={
            "that is an angle's distance, but not the largest: look at all three pairs": 3**0.5,
            "that is the smallest": 1.0,
            "that is the mean of the three distances": (3 + 3**0.5) / 3,
            "that is 2 sin(a) rather than 2 sin(a / 2)": 0.0,
        },
    ),
    "bounds of two groups": Value(
        [_BOTH["compact"], _BOTH["wide"]],
        (
            "L is the length of q2's vector, (0.6, 2.2)",
            "the root of 0.36 + 4.84 is 2.28; multiply it by each diameter, which the picture has",
            "bound(toy.vector('q2'), ...) of the vectors of each group, the compact one first",
        ),
        digits=2,
        mistakes={
            "those are the diameters; L times each is asked for": [_BOTH["compact"] / _LENGTH, _BOTH["wide"] / _LENGTH],
            "the compact one first": [_BOTH["wide"], _BOTH["compact"]],
            "L is the length of the query's vector; this takes its square": [_BOTH["compact"] * _LENGTH, _BOTH["wide"] * _LENGTH],
            "those are the whole intervals; the bound is one side": [2 * _BOTH["compact"], 2 * _BOTH["wide"]],
        },
    ),
    "twice as long": Value(
        ["bound"],
        ("what does the query's vector take part in?", "directions of documents do not know the query; L does"),
        mistakes={
            "the diameter is of the documents' directions, where the query has no part": ["diameter", "bound"],
            "the false negatives are a matter of which documents are in the group, not of the query's length": ["bound", "false share"],
            "the bound is L x diameter, and L has doubled": ["diameter"],
        },
    ),
}

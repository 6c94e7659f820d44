"""Lesson 4, which negatives: the chance of a false negative, filters, and the density ratio."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd
from scipy.special import expit

from rd_utils.data.runs import Run
from rd_utils.lessons.checks import Exercise, Function, Value
from rd_utils.mining import sampling
from rd_utils.report.drawing import INK, MUTED, PALETTE

KINDS = ("label", "hidden relevant", "irrelevant")


def brackets(
    kinds: Mapping[str, str], strategies: Mapping[str, Sequence[str]], *, width: int = 400, step: int = 44
) -> alt.typing.ChartType:
    """Draw a ranked list as a line of dots, and beneath it a bracket for each strategy: over which documents it draws, a tick at each.

    Args:
        kinds: What each document is, one of :data:`KINDS`, in the order of the list.
        strategies: What each strategy draws from, by its name.
        width: In pixels, of the list.
        step: Pixels from one line to the next.
    """
    places = {name: place for place, name in enumerate(kinds, 1)}
    top = "the list"
    lines = list(strategies)
    docs = pd.DataFrame([(name, places[name], kind, top) for name, kind in kinds.items()], columns=["document", "place", "kind", "line"])
    drawn = [(place, line, kinds[name]) for line, names in strategies.items() for name in names if (place := places[name])]
    ends = [
        (line, min(map(places.__getitem__, names)), max(map(places.__getitem__, names)), _said(names, kinds))
        for line, names in strategies.items()
    ]
    row = alt.Y("line:N", title=None, sort=[top, *lines], scale=alt.Scale(domain=[top, *lines]), axis=alt.Axis(labelLimit=260, grid=False))
    scale = alt.Scale(domain=[0.5, len(kinds) + 2.4], nice=False)
    marks = alt.Axis(values=list(places.values()), format="d", grid=False)
    across = alt.X("place:Q", title="place in the list", scale=scale, axis=marks)
    colours = alt.Scale(domain=KINDS, range=[PALETTE[0], PALETTE[1], MUTED])
    shapes = alt.Scale(domain=KINDS, range=["diamond", "triangle-up", "circle"])
    colour = alt.Color("kind:N", title=None, scale=colours, legend=alt.Legend(orient="bottom"))
    shape = alt.Shape("kind:N", title=None, scale=shapes)
    base = alt.Chart(docs).encode(x=across, y=row)
    dots = base.mark_point(filled=True, size=170, opacity=1).encode(color=colour, shape=shape, tooltip=["document", "kind"])
    names = base.mark_text(dy=18, color=INK).encode(text="document:N")
    spans = alt.Chart(pd.DataFrame(ends, columns=["line", "first", "last", "said"])).encode(y=row)
    rules = spans.mark_rule(color=INK, strokeWidth=1.5).encode(x=alt.X("first:Q", scale=scale), x2="last:Q")
    chances = spans.mark_text(align="left", color=INK).encode(x=alt.value(_pixel(len(kinds) + 0.5, len(kinds), width)), text="said:N")
    heading = alt.Chart(pd.DataFrame({"line": [top], "said": ["false negatives"]})).mark_text(align="left", color=INK)
    heading = heading.encode(x=alt.value(_pixel(len(kinds) + 0.5, len(kinds), width)), y=row, text="said:N")
    ticks = alt.Chart(pd.DataFrame(drawn, columns=["place", "line", "kind"])).encode(x=across, y=row)
    irrelevant = ticks.transform_filter("datum.kind === 'irrelevant'").mark_tick(color=INK, thickness=2, size=14, orient="vertical")
    hidden = (
        ticks.transform_filter("datum.kind !== 'irrelevant'").mark_point(filled=True, size=110, opacity=1).encode(color=colour, shape=shape)
    )
    return alt.layer(rules, irrelevant, hidden, heading, chances, dots, names).properties(width=width, height=step * (len(strategies) + 1))


def _said(names: Sequence[str], kinds: Mapping[str, str]) -> str:
    return f"{sum(kinds[name] == KINDS[1] for name in names)} of {len(names)}"


def _pixel(place: float, length: int, width: int) -> float:
    return (place - 0.5) / (length + 1.9) * width


# --- exercises --------------------------------------------------------------------------------------------------------------------


def kept(rule: str, units: str) -> Callable[[np.ndarray, float, float], np.ndarray]:
    """Return what tells which candidates the suite's filter keeps, by their scores, the positive's, and the rule's value."""

    def which(scores: np.ndarray, positive: float, value: float) -> np.ndarray:
        n = len(scores)
        run = Run(np.array([0, n]), np.arange(n, dtype=np.int32), -np.arange(float(n)))
        left, _ = sampling.filter_false_negatives(run, scores, np.array([positive]), rule=rule, value=value, units=units)
        return np.isin(np.arange(n), left.docs)

    return which


def _scored(low: float, high: float) -> Callable[[np.random.Generator], tuple[np.ndarray, float, float]]:
    def some(rng: np.random.Generator) -> tuple[np.ndarray, float, float]:
        return rng.normal(scale=2, size=8), float(rng.normal(0.5, 1.5)), float(rng.uniform(low, high))

    return some


_KEPT = "that is what is dropped; return which candidates are kept"
_SCORES = "those are the scores that are kept; return the comparison itself, a True or False for every candidate"
_PLACES = "those are the places of what is kept; return the comparison itself, a True or False for every candidate"

EXERCISES: Mapping[str, Exercise] = {
    "absolute margin": Function(
        kept("absolute_margin", "raw"),
        _scored(0.5, 2.5),
        (
            "a candidate is dropped when it comes within the margin of the positive, or above it",
            "what is the highest score that a candidate may have?",
            "scores <= positive - margin",
        ),
        {
            _KEPT: lambda scores, positive, margin: scores > positive - margin,
            _SCORES: lambda scores, positive, margin: scores[scores <= positive - margin],
            _PLACES: lambda scores, positive, margin: np.flatnonzero(scores <= positive - margin),
            "the margin is counted from the positive's score: positive - margin": lambda scores, positive, margin: scores <= margin,
            "the limit lies below the positive, not above: positive - margin": lambda scores, positive, margin: scores <= positive + margin,
            "this drops only what scores above the positive: where is the margin?": lambda scores, positive, margin: scores <= positive,
            "a candidate far above the positive is dropped too: compare without abs": (
                lambda scores, positive, margin: abs(scores - positive) >= margin
            ),
        },
    ),
    "relative margin": Function(
        kept("relative_margin", "raw"),
        _scored(0.1, 0.9),
        (
            "the margin is a part of the positive's score",
            "and the positive may score below 0: the limit still has to lie below it",
            "scores <= positive - part * abs(positive)",
        ),
        {
            _KEPT: lambda scores, positive, part: scores > positive - part * abs(positive),
            "below 0 this limit lies above the positive: the margin is part * abs(positive)": (
                lambda scores, positive, part: scores <= positive - part * positive
            ),
            "the limit lies below the positive, not above: positive - part * abs(positive)": (
                lambda scores, positive, part: scores <= positive + part * abs(positive)
            ),
            "the margin is a part of the positive's score, the same for all candidates": (
                lambda scores, positive, part: scores <= positive - part * abs(scores)
            ),
            "that is a part of the positive, not the positive less a part of it": lambda scores, positive, part: scores <= part * positive,
            "that margin does not depend on the positive: multiply it by abs(positive)": (
                lambda scores, positive, part: scores <= positive - part
            ),
        },
    ),
    "share": Function(
        kept("share", "sigmoid"),
        _scored(0.3, 0.9),
        (
            "turn both scores into probabilities first",
            "the probability of a log-odds s is 1 / (1 + exp(-s))",
            "keep where the candidate's probability is at most part times the positive's",
        ),
        {
            _KEPT: lambda scores, positive, part: expit(scores) > part * expit(positive),
            "the candidate's score is still a log-odds: turn both into probabilities": (
                lambda scores, positive, part: scores <= part * expit(positive)
            ),
            "that asks nothing of the positive: its probability, times part, is the limit": (
                lambda scores, positive, part: expit(scores) <= part
            ),
            "a share of log-odds means nothing, they may be below 0: turn both into probabilities": (
                lambda scores, positive, part: scores <= part * positive
            ),
            "that is a margin in probabilities; the share multiplies": lambda scores, positive, part: (
                expit(scores) <= expit(positive) - part
            ),
            "exp gives odds, not probabilities: 1 / (1 + exp(-s))": (
                lambda scores, positive, part: np.exp(scores) <= part * np.exp(positive)
            ),
            "the sign within exp is wrong: 1 / (1 + exp(s)) is the probability of not being relevant": (
                lambda scores, positive, part: expit(-scores) <= part * expit(-positive)
            ),
        },
    ),
    "false at random": Value(
        2 / 7,
        ("how many documents may be drawn? the label is none of them", "two of seven"),
        mistakes={
            "the label cannot be drawn as a negative: seven documents are left": 2 / 8,
            "the label is relevant, but it is no false negative: it is not drawn": 3 / 8,
        },
    ),
    "false from the list": Value(
        2 / 5,
        ("which five are the first but for the label? how many of them are hidden relevant?", "f2, f4, f1, a1, b1"),
        mistakes={
            "the label does not count among the five: take the sixth of the list too": 1 / 4,
            "f1 is relevant too, at place 4": 1 / 5,
            "the label is no false negative: it is not drawn": 3 / 5,
        },
    ),
    "kappa": Value(
        [15 / 7, np.inf],
        (
            "which document is least likely to be drawn, and how many times likelier would it be under uniform draws?",
            "a document that is not on the list comes by the random draws only: 7 of 15",
            "without random draws a document that is not on the list never comes, and a number over 0 has no end: np.inf",
        ),
        digits=2,
        mistakes={
            "that is the list's share over all; the documents that the list lacks come by the 7 random ones": [15 / 8, np.inf],
            "kappa is uniform over drawn, so that it is never below 1": [7 / 15, np.inf],
            "without random draws there are documents that never come: the ratio has no end, np.inf": [15 / 7, 1.0],
        },
    ),
    "none of ten": Value(
        1 - 0.05**0.1,
        (
            "if the share were s, how probable would ten irrelevant ones in a row be?",
            "(1 - s) ** 10 = 0.05",
            "s = 1 - 0.05 ** (1 / 10)",
        ),
        mistakes={
            "that is what you saw; a share above 0 may show none among ten too": 0.0,
            "that is the chance of one irrelevant one, 1 - s": 0.05**0.1,
            "the root is the tenth: ten must be irrelevant in a row": 1 - 0.05,
        },
    ),
}

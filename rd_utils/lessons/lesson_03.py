"""Lesson 3, a ranker in thirty lines: the contrastive loss, and the loop that trains word vectors by it."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from rd_utils.lessons.checks import Exercise, Function, Value
from rd_utils.report.drawing import INK, MUTED, PALETTE, SHAPES
from rd_utils.training import losses

PARTS = ("query", "labelled", "other of the group", "not in the group")


def moved(before: pd.DataFrame, after: pd.DataFrame, parts: Mapping[str, str], *, scale: float = 80) -> alt.typing.ChartType:
    """Draw where texts were and where a step has put them, with an arrow between, and the line through the query and the origin.

    Args:
        before: ``x, y`` by name.
        after: The same afterwards.
        parts: The part of each text, by its name: one of :data:`PARTS`.
        scale: Pixels for a unit, the same in both directions, so that angles are right.
    """
    frame = before.join(after, rsuffix="_after").loc[list(parts)].rename_axis("name").reset_index()
    frame["part"] = frame["name"].map(parts)
    run, rise = frame["x_after"] - frame["x"], frame["y_after"] - frame["y"]
    frame["length"], frame["angle"] = np.hypot(run, rise), np.degrees(np.arctan2(run, rise))  # clockwise from upwards
    reached = np.concatenate([frame[["x", "y"]].to_numpy(), frame[["x_after", "y_after"]].to_numpy()])
    low, high = np.floor(reached.min(axis=0) * 2 - 0.3) / 2, np.ceil(reached.max(axis=0) * 2 + 0.3) / 2
    across, along = (alt.Scale(domain=[float(low[axis]), float(high[axis])], nice=False, zero=False) for axis in (0, 1))
    base = alt.Chart(frame).encode(x=alt.X("x:Q", title="x", scale=across), y=alt.Y("y:Q", title="y", scale=along))
    names = [part for part in PARTS if part in set(parts.values())]
    inks: dict[str, str] = dict(zip(PARTS, (INK, *PALETTE[:2], MUTED), strict=True))
    marks: dict[str, str] = dict(zip(PARTS, ("diamond", *SHAPES[:2], "cross"), strict=True))
    colours = alt.Scale(domain=names, range=[inks[part] for part in names])
    shapes = alt.Scale(domain=names, range=[marks[part] for part in names])
    colour = alt.Color("part:N", title=None, scale=colours, legend=alt.Legend(orient="bottom", symbolOpacity=1))
    end = _end(frame, high)
    direction = pd.DataFrame({"x": [0.0, end[0]], "y": [0.0, end[1]]})
    line = alt.Chart(direction).mark_line(color=MUTED, strokeDash=[3, 3], strokeWidth=1).encode(x="x:Q", y="y:Q")
    dots = base.mark_point(filled=True, size=70, opacity=0.55).encode(color=colour, shape=alt.Shape("part:N", title=None, scale=shapes))
    far = base.transform_filter("datum.length > 0.02")
    shafts = far.mark_rule(strokeWidth=2).encode(x2="x_after:Q", y2="y_after:Q", color=colour)
    heads = far.mark_point(filled=True, shape="triangle", size=70, opacity=1).encode(
        x=alt.X("x_after:Q", scale=across), y=alt.Y("y_after:Q", scale=along), angle=alt.Angle("angle:Q", scale=None), color=colour
    )
    labels = [
        base.transform_filter(alt.FieldOneOfPredicate(field="part", oneOf=named)).mark_text(**where, color=INK).encode(text="name:N")
        for named, where in (
            (["query", "not in the group"], {"dx": -9, "dy": 10, "align": "right"}),
            (["labelled"], {"dx": -9, "dy": -8, "align": "right"}),
            (["other of the group"], {"dx": 10, "align": "left"}),
        )
    ]
    size = (high - low) * scale
    return alt.layer(line, dots, shafts, heads, *labels).properties(width=float(size[0]), height=float(size[1]))


def _end(frame: pd.DataFrame, high: np.ndarray) -> np.ndarray:
    """Return where the line from the origin through the query leaves the picture, at the right or above."""
    place = frame.loc[frame["part"] == "query", ["x", "y"]].to_numpy()[0]
    return place * min(high[axis] / place[axis] for axis in (0, 1) if place[axis] > 0)


# --- exercises --------------------------------------------------------------------------------------------------------------------


def trained(vectors: Tensor, queries: Tensor, documents: Tensor, rows: Tensor, steps: int, rate: float) -> Tensor:
    """Return word vectors after steps of gradient descent on the suite's LCE, by torch's own optimiser."""
    weights = vectors.clone().requires_grad_()
    optimiser = torch.optim.SGD([weights], lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        losses.lce(_scores(weights, queries, documents, rows)).backward()
        optimiser.step()
    return weights.detach()


def _scores(vectors: Tensor, queries: Tensor, documents: Tensor, rows: Tensor) -> Tensor:
    return ((queries @ vectors)[:, None] * (documents @ vectors)[rows]).sum(-1)


def _descent(slopes: str = "query and documents", sign: int = 1, heap: bool = False, total: bool = False):  # noqa: ANN202
    """Return a loop with one mistake."""

    def loop(vectors: Tensor, queries: Tensor, documents: Tensor, rows: Tensor, steps: int, rate: float) -> Tensor:
        weights, kept = vectors.clone(), torch.zeros_like(vectors)
        for _ in range(steps):
            weights = weights.detach().requires_grad_()
            asked, read = queries @ weights, documents @ weights
            asked, read = (asked.detach() if slopes == "documents" else asked), (read.detach() if slopes == "query" else read)
            scores = (asked[:, None] * read[rows]).sum(-1)
            loss = losses.lce(scores) * (len(rows) if total else 1)
            (slope,) = torch.autograd.grad(loss, weights)
            kept = kept + slope if heap else slope
            weights = weights - sign * rate * kept
        return weights.detach()

    return loop


def _some_scores(rng: np.random.Generator) -> tuple[Tensor]:
    return (torch.from_numpy(rng.normal(scale=2, size=(3, 4))),)


def _some_texts(rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor, int, float]:
    """Return word vectors, the shares of words in two queries and five documents, two groups of three, steps and rate."""
    queries, documents = (rng.dirichlet(np.full(6, 0.5), size) for size in (2, 5))
    rows = np.array([rng.permutation(5)[:3] for _ in range(2)])
    tensors = [torch.from_numpy(array) for array in (rng.normal(scale=2, size=(6, 2)), queries, documents, rows)]
    return *tensors, int(rng.integers(2, 5)), float(rng.uniform(0.2, 0.8))  # pyright: ignore[reportReturnType]


def _log_shares(scores: Tensor) -> Tensor:
    return torch.log_softmax(scores, dim=1)


EXERCISES: Mapping[str, Exercise] = {
    "lce": Function(
        losses.lce,
        _some_scores,
        (
            "a group's scores become shares that sum to 1; the loss asks how much of it the first column has",
            "take torch.log_softmax over the documents of each group, and of that the first column",
            "-torch.log_softmax(scores, dim=1)[:, 0].mean()",
        ),
        {
            "the sign is wrong: the loss is minus the logarithm, so that it falls when the positive's share rises": (
                lambda scores: _log_shares(scores)[:, 0].mean()
            ),
            "where is the logarithm? this is a share, the loss is minus its natural logarithm": (
                lambda scores: -torch.softmax(scores, dim=1)[:, 0].mean()
            ),
            "the softmax goes over the documents of a group, which is dim=1, not over the groups": (
                lambda scores: -torch.log_softmax(scores, dim=0)[:, 0].mean()
            ),
            "the mean over the groups is asked for, not their sum: else the size of a batch changes the size of a step": (
                lambda scores: -_log_shares(scores)[:, 0].sum()
            ),
            "that is the logarithm of a mean; take each group's own logarithm first, then the mean": (
                lambda scores: -torch.softmax(scores, dim=1)[:, 0].mean().log()
            ),
            "that is row 0, which is one group; the positives are column 0: [:, 0]": lambda scores: -_log_shares(scores)[0].mean(),
            "a loss for each group; return one number, their mean": lambda scores: -_log_shares(scores)[:, 0],
            "this is the mean over all columns; only column 0 is labelled": lambda scores: -_log_shares(scores).mean(),
            "that is in bits; torch, and the suite, take the natural logarithm": lambda scores: (
                -_log_shares(scores)[:, 0].mean() / np.log(2)
            ),
            "the positive belongs into the sum below too: without it the loss has no lower end": (
                lambda scores: (torch.logsumexp(scores[:, 1:], dim=1) - scores[:, 0]).mean()
            ),
            "the positive is in column 0, counted from 0": lambda scores: -_log_shares(scores)[:, 1].mean(),
        },
        gradient=True,
    ),
    "train": Function(
        trained,
        _some_texts,
        (
            "each step: texts from word vectors, scores from texts, loss, its gradient, and a move against it",
            "(queries @ vectors)[:, None] * (documents @ vectors)[rows] is (groups, documents, 2); its sum over the last axis is the score",
            "loss.backward() fills vectors.grad; optimiser.step() moves; optimiser.zero_grad() empties it before the next step",
        ),
        {
            "it climbs: a step goes against the gradient, vectors - rate * gradient": _descent(sign=-1),
            "the gradients of earlier steps are still in: empty them with zero_grad() before each backward()": _descent(heap=True),
            "only the documents move: the query is made of words too, so do not detach it": _descent("documents"),
            "only the query moves: the documents are made of words too, so do not detach them": _descent("query"),
            "the loss is the mean over the groups, not their sum: the steps are as many times too long as there are groups": (
                _descent(total=True)
            ),
            "that is one step; take as many as steps says": (
                lambda vectors, queries, documents, rows, steps, rate: trained(vectors, queries, documents, rows, 1, rate)
            ),
            "that is one step too few: range(steps) takes as many as steps says": (
                lambda vectors, queries, documents, rows, steps, rate: trained(vectors, queries, documents, rows, steps - 1, rate)
            ),
            "nothing has moved: does the optimiser hold the vectors, and is step() called?": lambda *given: given[0],
            "the rate is not used: give it to the optimiser": (
                lambda vectors, queries, documents, rows, steps, rate: trained(vectors, queries, documents, rows, steps, 1.0)
            ),
        },
    ),
    "lce of equal scores": Value(
        float(losses.lce(torch.zeros(1, 3, dtype=torch.float64))),
        ("what share has each of three equal scores?", "minus the natural logarithm of 1/3"),
        mistakes={
            "that is in bits: take the natural logarithm": np.log2(3),
            "that is the share; the loss is minus its logarithm": 1 / 3,
            "the sign is wrong: the logarithm of a share is negative, the loss is not": -np.log(3),
        },
    ),
    "pull on equal scores": Value(
        [2 / 3, -1 / 3, -1 / 3],
        ("the gradient of each score is its share, less 1 for the labelled one", "the pull is minus the gradient: up for the labelled one"),
        mistakes={
            "that is the gradient; the pull is minus it": [-2 / 3, 1 / 3, 1 / 3],
            "those are the shares: from the labelled one's take 1, then change the sign of all": [1 / 3, 1 / 3, 1 / 3],
            "all three sum to 0: what the labelled one gains the others lose": [1, -1 / 3, -1 / 3],
        },
    ),
    "positive in column 2": Value(
        "b4",
        (
            "which document does the loop take for the labelled one?",
            "nothing but its column tells the loop which document is labelled: it pulls up whatever stands in column 0",
        ),
        mistakes={
            "f3 carries the label, but it stands in column 2 now, and the loss looks at column 0": "f3",
            "f2 stood first before training, and answers best; as a negative it is pushed down all the same": "f2",
        },
    ),
}

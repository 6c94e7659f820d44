"""Lesson 5, what a teacher adds: the distillation losses and what they pull at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from rd_utils.lessons import toy
from rd_utils.lessons.checks import Exercise, Function, Value
from rd_utils.report.drawing import BAND, INK, MUTED, PALETTE
from rd_utils.training import losses

NAMES = {"LCE": losses.lce, "KL": losses.kl, "RankNet": losses.ranknet, "MarginMSE": losses.margin_mse}
_QUERY, _GROUP = toy.GROUP
_TEACHER = [float(toy.scores()[_QUERY][name]) for name in _GROUP]


def pull(loss: Callable[..., Tensor], student: Sequence[float], temperature: float = 1.0) -> list[float]:
    """Return what a loss pulls at the student's scores of the toy's group with: minus its gradient."""
    scores = torch.tensor([student], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(scores, torch.tensor([_TEACHER], dtype=torch.float64), temperature), scores)
    return (-slope[0]).tolist()


# --- pictures ---------------------------------------------------------------------------------------------------------------------


def pulls(temperatures: Sequence[float] = (0.5, 1.0, 1.52, 4.0), *, width: int = 118, height: int = 66) -> alt.FacetChart:
    """Draw the toy's group on the score axis, a row of panels a loss, a column a temperature: where each document is pulled to.

    Args:
        temperatures: Of the teacher, from left to right.
        width: Of a panel, in pixels.
        height: Of a panel, in pixels.
    """
    rows = [
        [name, f"T = {temperature:g}", document, place, 0.0, force]
        for name, loss in NAMES.items()
        for temperature in temperatures
        for place, (document, force) in enumerate(zip(_GROUP, pull(loss, [0.0] * 3, temperature), strict=True))
    ]
    frame = pd.DataFrame(rows, columns=["loss", "T", "document", "place", "student", "pull"])
    columns = alt.Column("T:N", title="the teacher's temperature", sort=[f"T = {temperature:g}" for temperature in temperatures])
    header = alt.Header(labelAngle=0, labelAlign="left", labelPadding=4)
    marks = alt.layer(*_arrows(alt.Chart(), (-3.0, 5.4), [0]), data=frame).properties(width=width, height=height)
    return marks.facet(row=alt.Row("loss:N", title=None, sort=list(NAMES), header=header), column=columns).properties(spacing=8)


def dials(*, width: int = 440, height: int = 84) -> alt.FacetChart:
    """Draw the same with sliders for the student's three scores and the teacher's temperature; the browser computes the pulls."""
    scores = [
        alt.param(name=f"of_{name}", value=0, bind=alt.binding_range(min=-6, max=6, step=0.25, name=f"student's score of {name} "))
        for name in _GROUP
    ]
    temperature = alt.param(name="temperature", value=1, bind=alt.binding_range(min=0.25, max=6, step=0.05, name="temperature T "))
    rows = [[loss, document, place] for loss in NAMES for place, document in enumerate(_GROUP)]
    frame = pd.DataFrame(rows, columns=["loss", "document", "place"])
    base = alt.Chart().transform_calculate(student=_PLACE, pull=_pull())
    header = alt.Header(labelAngle=0, labelAlign="left", labelPadding=4)
    marks = alt.layer(*_arrows(base, (-8.6, 11.6), [-6, -4, -2, 0, 2, 4, 6]), data=frame).properties(width=width, height=height)
    return marks.facet(row=alt.Row("loss:N", title=None, sort=list(NAMES), header=header)).add_params(temperature, *scores)


def _arrows(base: alt.Chart, span: tuple[float, float], ticks: list[float]) -> list[alt.Chart]:
    """Return the layers of a panel: the document that no label knows on a band, a dot a student's score, an arrow and its number a pull.

    The arrow of a pull x is 2.6 x / (0.5 + |x|) long, so that small ones can be seen and large ones fit.
    """
    y = alt.Y("document:N", title=None, sort=list(_GROUP), axis=alt.Axis(ticks=False, domain=False))
    axis = alt.Axis(values=ticks, tickCount=len(ticks), grid=True)
    x = alt.X("student:Q", title="student's score", axis=axis, scale=alt.Scale(domain=list(span), nice=False))
    told = base.transform_calculate(
        tip="datum.student + 2.6 * datum.pull / (0.5 + abs(datum.pull))",
        size="abs(datum.pull)",
        number="abs(datum.pull) < 0.005 ? '0' : format(datum.pull, '+.2f')",
    )
    way = alt.ColorValue(PALETTE[0], condition={"test": "datum.pull < 0", "value": PALETTE[1]})
    seen = alt.OpacityValue(1, condition={"test": "datum.size < 0.005", "value": 0})
    band = told.transform_filter("datum.place == 1").mark_rect(color=BAND).encode(y=y)
    shaft = told.mark_rule(strokeWidth=2.5).encode(x=x, x2="tip:Q", y=y, color=way, opacity=seen)
    head = told.mark_point(filled=True, size=70, opacity=1).encode(
        x="tip:Q",
        y=y,
        color=way,
        shape=alt.ShapeValue("triangle-right", condition={"test": "datum.pull < 0", "value": "triangle-left"}),
        opacity=seen,
    )
    dot = told.mark_point(filled=True, size=14, color=INK, opacity=1).encode(x=x, y=y)
    number = told.mark_text(align="right", baseline="middle", color=MUTED, fontSize=11).encode(
        x=alt.datum(span[1]),
        y=y,
        text="number:N",
        tooltip=["loss:N", "document:N", alt.Tooltip("pull:Q", format="+.3f")],
    )
    return [band, dot, shaft, head, number]


_PLACE = f"[{', '.join(f'of_{name}' for name in _GROUP)}][datum.place]"


def _pull() -> str:
    """Return Vega's expression of the pull of ``datum.loss`` at the document of ``datum.place``, of the parameters that sliders set."""
    places = range(len(_GROUP))
    student, teacher = [f"of_{name}" for name in _GROUP], [f"({score:g} / temperature)" for score in _TEACHER]

    def share(scores: list[str], place: int) -> str:
        return f"1 / ({' + '.join(f'exp({other} - {scores[place]})' for other in scores)})"

    def wins(scores: list[str], place: int) -> str:
        return " + ".join(f"1 / (1 + exp({scores[other]} - {scores[place]}))" for other in places if other != place)

    def excess(place: int) -> str:  # of the student's margin over the teacher's
        return f"(({student[0]} - {student[place]}) - ({teacher[0]} - {teacher[place]}))"

    pulls = {
        "LCE": [f"{int(place == 0)} - {share(student, place)}" for place in places],
        "KL": [f"{share(teacher, place)} - {share(student, place)}" for place in places],
        "RankNet": [f"(({wins(teacher, place)}) - ({wins(student, place)})) / {len(_GROUP)}" for place in places],
        "MarginMSE": [f"-({excess(1)} + {excess(2)})", excess(1), excess(2)],
    }
    chosen = [f"datum.loss == '{loss}' ? [{', '.join(pulls[loss])}][datum.place]" for loss in NAMES]
    return " : ".join([*chosen, "0"])


# --- exercises --------------------------------------------------------------------------------------------------------------------


def _groups(rng: np.random.Generator) -> tuple[Tensor, Tensor, float]:
    batch, group = int(rng.integers(2, 5)), int(rng.integers(3, 6))
    student, teacher = torch.from_numpy(rng.normal(size=(batch, group))), torch.from_numpy(rng.normal(scale=2, size=(batch, group)))
    return student, teacher, float(rng.choice([0.5, 1.5, 2.0, 3.0]))


def _pairs(scores: Tensor, offset: int = 1) -> Tensor:
    first, second = torch.triu_indices(scores.shape[1], scores.shape[1], offset=offset)
    return scores[:, first] - scores[:, second]


def _kl(student: Tensor, teacher: Tensor, dim: int = 1) -> Tensor:
    p = torch.log_softmax(teacher, dim)
    return p.exp() * (p - torch.log_softmax(student, dim))


def _cross(student: Tensor, targets: Tensor) -> Tensor:
    return torch.nn.functional.binary_cross_entropy_with_logits(student, targets, reduction="none")


def _margins(student: Tensor, teacher: Tensor, temperature: float, first: int = 1) -> Tensor:
    return ((student[:, :1] - student[:, first:]) - (teacher[:, :1] - teacher[:, first:]) / temperature) ** 2


_SQUARE = "no loss of the suite is multiplied by the square of the temperature"
_FORGOTTEN = "the temperature is forgotten: divide the teacher's scores by it"
_WRONG_SIDE = "the temperature divides the teacher's scores; this multiplies them"
_BOTH = "the temperature divides the teacher's scores only; the student's stay as they are"

EXERCISES: Mapping[str, Exercise] = {
    "kl": Function(
        losses.kl,
        _groups,
        (
            "two softmaxes over the documents of a group, then the sum of p (log p - log s) over the documents",
            "torch.log_softmax(teacher / temperature, dim=1) is log p; p is its exp()",
            "sum over dim=1, the documents, then take the mean over the groups",
        ),
        {
            _FORGOTTEN: lambda f, g, t: _kl(f, g).sum(1).mean(),
            _WRONG_SIDE: lambda f, g, t: _kl(f, g * t).sum(1).mean(),
            _BOTH: lambda f, g, t: _kl(f / t, g / t).sum(1).mean(),
            "the two are the wrong way round: the teacher's p weighs the logarithms, not the student's s": (
                lambda f, g, t: _kl(g / t, f).sum(1).mean()
            ),
            "this is a mean over documents; KL sums over the documents of a group, and takes the mean over groups only": (
                lambda f, g, t: _kl(f, g / t).mean()
            ),
            "a sign is wrong: KL is never negative; it is the sum of p (log p - log s)": lambda f, g, t: -_kl(f, g / t).sum(1).mean(),
            "the sum runs over the documents of a group, dim=1, and the mean over groups": lambda f, g, t: _kl(f, g / t).sum(0).mean(),
            "this sums over the groups too; take the mean over them": lambda f, g, t: _kl(f, g / t).sum(),
            "the softmax runs over the documents of a group, dim=1, not over the groups": lambda f, g, t: _kl(f, g / t, 0).sum(1).mean(),
            "this is in bits; the losses use the natural logarithm": lambda f, g, t: _kl(f, g / t).sum(1).mean() / np.log(2),
            "the gradient is right, but the value is the cross-entropy: add sum p log p, the teacher's part": (
                lambda f, g, t: -(torch.softmax(g / t, 1) * torch.log_softmax(f, 1)).sum(1).mean()
            ),
            _SQUARE: lambda f, g, t: t**2 * _kl(f, g / t).sum(1).mean(),
            "T divides the teacher's scores only, and the suite multiplies no loss by its square": (
                lambda f, g, t: t**2 * _kl(f / t, g / t).sum(1).mean()
            ),
        },
        gradient=True,
    ),
    "ranknet": Function(
        losses.ranknet,
        _groups,
        (
            "for every pair i < j the teacher gives a chance p that i wins, and the student gives s; the loss is their cross-entropy",
            "first, second = torch.triu_indices(G, G, offset=1) has the pairs; p = sigmoid((g_i - g_j) / T), s = sigmoid(f_i - f_j)",
            "-(p log s + (1 - p) log(1 - s)), then the mean over all pairs and groups; logsigmoid(x) and logsigmoid(-x) are the logarithms",
        ),
        {
            _FORGOTTEN: lambda f, g, t: _cross(_pairs(f), torch.sigmoid(_pairs(g))).mean(),
            _WRONG_SIDE: lambda f, g, t: _cross(_pairs(f), torch.sigmoid(_pairs(g) * t)).mean(),
            _BOTH: lambda f, g, t: _cross(_pairs(f) / t, torch.sigmoid(_pairs(g) / t)).mean(),
            "this forgets how sure the teacher is: p is a probability, not 0 or 1": (
                lambda f, g, t: _cross(_pairs(f), (_pairs(g) > 0).to(f)).mean()
            ),
            "a sign is wrong: where the teacher prefers i, s = sigmoid(f_i - f_j) must be large": (
                lambda f, g, t: _cross(-_pairs(f), torch.sigmoid(_pairs(g) / t)).mean()
            ),
            "these are only the pairs with the positive; RankNet takes all pairs i < j": (
                lambda f, g, t: _cross(f[:, :1] - f[:, 1:], torch.sigmoid((g[:, :1] - g[:, 1:]) / t)).mean()
            ),
            "a sign is wrong: the loss is minus the sum of p log s and (1 - p) log(1 - s)": (
                lambda f, g, t: -_cross(_pairs(f), torch.sigmoid(_pairs(g) / t)).mean()
            ),
            "this sums over pairs and groups; take the mean over both": lambda f, g, t: _cross(
                _pairs(f), torch.sigmoid(_pairs(g) / t)
            ).sum(),
            "take the mean over the pairs, not the sum": lambda f, g, t: _cross(_pairs(f), torch.sigmoid(_pairs(g) / t)).sum(1).mean(),
            "a document makes no pair with itself: offset=1": (
                lambda f, g, t: _cross(_pairs(f, 0), torch.sigmoid(_pairs(g, 0) / t)).mean()
            ),
            "the second half is missing: (1 - p) log(1 - s) counts too": (
                lambda f, g, t: -(torch.sigmoid(_pairs(g) / t) * torch.nn.functional.logsigmoid(_pairs(f))).mean()
            ),
            "this is in bits; the losses use the natural logarithm": (
                lambda f, g, t: _cross(_pairs(f), torch.sigmoid(_pairs(g) / t)).mean() / np.log(2)
            ),
        },
        gradient=True,
    ),
    "margin_mse": Function(
        losses.margin_mse,
        _groups,
        (
            "a margin is the positive's score minus another document's; compare the student's margins with the teacher's",
            "student[:, :1] - student[:, 1:] are the student's margins; the teacher's are divided by the temperature",
            "square the difference of the margins, and take the mean of all",
        ),
        {
            _FORGOTTEN: lambda f, g, t: _margins(f, g, 1.0).mean(),
            _WRONG_SIDE: lambda f, g, t: _margins(f, g, 1 / t).mean(),
            _BOTH: lambda f, g, t: _margins(f / t, g, t).mean(),
            "the positive has no margin over itself: leave column 0 out of the mean": lambda f, g, t: _margins(f, g, t, 0).mean(),
            "this compares scores; MarginMSE compares the positive's margins": lambda f, g, t: ((f - g / t) ** 2).mean(),
            "these are the margins of all pairs; MarginMSE takes those of the positive": (
                lambda f, g, t: ((_pairs(f) - _pairs(g) / t) ** 2).mean()
            ),
            "this sums over margins and groups; take the mean over both": lambda f, g, t: _margins(f, g, t).sum(),
            "square each margin's error before the mean, so that errors of two signs do not cancel": (
                lambda f, g, t: (((f[:, :1] - f[:, 1:]) - (g[:, :1] - g[:, 1:]) / t).mean(1) ** 2).mean()
            ),
            "that is the root of the mean squared error; leave the root away": lambda f, g, t: _margins(f, g, t).mean().sqrt(),
            _SQUARE: lambda f, g, t: t**2 * _margins(f, g, t).mean(),
            "take the mean over the margins, not the sum": lambda f, g, t: _margins(f, g, t).sum(1).mean(),
            "a sign is wrong: both margins are the positive's score minus the other's": (
                lambda f, g, t: ((f[:, 1:] - f[:, :1] - (g[:, :1] - g[:, 1:]) / t) ** 2).mean()
            ),
            "this is the absolute error; square it": lambda f, g, t: _margins(f, g, t).sqrt().mean(),
            "there is no factor of 1/2 before the square": lambda f, g, t: _margins(f, g, t).mean() / 2,
        },
        gradient=True,
    ),
    "KL's pull on f2": Value(
        pull(losses.kl, [0.0] * 3)[1],
        (
            "KL's gradient at a document is s - p, the student's share less the teacher's; the pull is minus that",
            "the student gives each of three documents 1/3; the teacher gives f2 e^1 / (e^2 + e^1 + e^-3)",
            "0.2676 - 0.3333",
        ),
        mistakes={
            "that is the gradient; the pull is minus the gradient": -pull(losses.kl, [0.0] * 3)[1],
            "that is the teacher's share of f2; the student's third is still to be taken off": pull(losses.kl, [0.0] * 3)[1] + 1 / 3,
            "that is LCE's pull, which asks no teacher": -1 / 3,
        },
    ),
    "where KL turns": Value(
        1.5237956,
        (
            "look for the temperature at which the teacher's share of f2 is what the student gives it",
            "the share is e^(1/T) / (e^(2/T) + e^(1/T) + e^(-3/T)); divide by e^(1/T): it is 1/3 where e^(1/T) + e^(-4/T) = 2",
            "at T = 1.5 the left side is 2.02, at T = 1.6 it is 1.95; go on halving",
        ),
        digits=2,
        mistakes={
            "that is 1 / T": 1 / 1.5237956,
            "this leaves b4 out: e^(1/T) = 2 is not enough, e^(-4/T) counts too": 1 / np.log(2),
        },
    ),
    "swap two columns": Value(
        ["lce", "margin_mse"],
        (
            "which of the four ask who the labelled positive is?",
            "KL sums over all documents and RankNet over all pairs, in whatever order they stand; the other two treat column 0 by itself",
        ),
        mistakes={
            "MarginMSE takes the margins of column 0, so it asks for the positive too": ["lce"],
            "KL sums over the documents of a group, in whatever order they stand": ["lce", "kl", "margin_mse"],
            "RankNet sees every pair once: turned round, p and s become 1 - p and 1 - s, which costs the same": [
                "lce",
                "ranknet",
                "margin_mse",
            ],
            "KL and RankNet see all documents alike": ["lce", "kl", "ranknet", "margin_mse"],
        },
    ),
}

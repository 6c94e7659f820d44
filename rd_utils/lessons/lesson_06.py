"""Lesson 6, how sure is the teacher: three entropies, and the floor that they are of a loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from rd_utils.companions.theory import floor
from rd_utils.lessons import toy
from rd_utils.lessons.checks import Exercise, Function, Value
from rd_utils.report.drawing import DASHES, INK, MUTED, PALETTE, SHAPES
from rd_utils.scoring import entropy

_QUERY, _GROUP = toy.GROUP
_TEACHER = [float(toy.scores()[_QUERY][name]) for name in _GROUP]
_KINDS = ("pairwise", "positive", "listwise")


# --- pictures ---------------------------------------------------------------------------------------------------------------------


def parts(
    students: Mapping[str, Sequence[float]], teacher: Sequence[float], temperature: float = 1.0, *, width: int = 380
) -> alt.LayerChart | alt.FacetChart:
    """Draw the RankNet loss of one group as a bar a student, cut into the teacher's entropy, its floor, and the divergence, in bits.

    Args:
        students: Scores of the group's documents, by what the student is called.
        teacher: Scores of the same documents.
        temperature: Divides the teacher's scores.
        width: Of the panel, in pixels.
    """
    rows = []
    for name, scores in students.items():
        cut = floor.pairwise_decomposition([list(teacher)], [list(scores)], temperature).iloc[0] / math.log(2)
        rows.append([name, "floor: the teacher's entropy", 0.0, cut["entropy"], cut["loss"]])
        rows.append([name, "divergence: what training can remove", cut["entropy"], cut["loss"], cut["loss"]])
    frame = pd.DataFrame(rows, columns=["student", "part", "from", "to", "loss"])
    frame["bits"] = frame["to"] - frame["from"]
    names = list(frame["part"].unique())
    y = alt.Y("student:N", title="student", sort=list(students))
    base = alt.Chart(frame).encode(y=y)
    bar = base.mark_bar(stroke="white", height=22).encode(
        x=alt.X("from:Q", title="RankNet loss (bits)", scale=alt.Scale(domain=[0, 1.12 * float(frame["to"].max())], nice=False)),
        x2="to:Q",
        color=alt.Color(
            "part:N",
            title=None,
            sort=names,
            scale=alt.Scale(domain=names, range=[MUTED, PALETTE[4]]),
            legend=alt.Legend(orient="top", direction="vertical"),
        ),
        tooltip=["student", "part", alt.Tooltip("bits:Q", format=".3f")],
    )
    middle = base.transform_calculate(middle="(datum.from + datum.to) / 2").transform_filter("datum.bits > 0.1")
    inside = middle.mark_text(baseline="middle").encode(
        x="middle:Q",
        text=alt.Text("bits:Q", format=".2f"),
        color=alt.ColorValue(INK, condition={"test": "datum.from == 0", "value": "white"}),
    )
    whole = base.transform_filter("datum.from > 0").mark_text(align="left", dx=5).encode(x="to:Q", text=alt.Text("loss:Q", format=".2f"))
    edge = alt.Chart(frame.head(1)).mark_rule(strokeDash=[4, 3], color=INK).encode(x="to:Q")
    return alt.layer(bar, inside, whole, edge).properties(width=width, height=alt.Step(34))


def dial(*, width: int = 132) -> alt.HConcatChart:
    """Draw what the toy's teacher believes at a temperature that a slider sets, and the three entropies; the browser computes them."""
    temperature = alt.param(name="temperature", value=1, bind=alt.binding_range(min=0.1, max=10, step=0.1, name="temperature T "))
    pairs = [(i, j) for i in range(len(_GROUP)) for j in range(i + 1, len(_GROUP))]
    scores = [f"({score:g} / temperature)" for score in _TEACHER]
    share = [f"1 / ({' + '.join(f'exp({other} - {own})' for other in scores)})" for own in scores]
    win = [f"1 / (1 + exp({scores[j]} - {scores[i]}))" for i, j in pairs]

    def listed(values: Sequence[str]) -> str:
        return f"[{', '.join(values)}][datum.place]"

    def bars(
        names: Sequence[str], values: Sequence[str], title: str, axis: str, colour: str, most: float = 1.0
    ) -> alt.LayerChart | alt.FacetChart:
        frame = pd.DataFrame({"name": names, "place": range(len(names))})
        base = alt.Chart(frame).transform_calculate(value=listed(values)).encode(y=alt.Y("name:N", title=None, sort=list(names)))
        scale = alt.Scale(domain=[0, 1.4 * most], nice=False)
        bar = base.mark_bar(color=colour).encode(x=alt.X("value:Q", title=axis, scale=scale, axis=alt.Axis(values=[0, 0.5, 1])))
        number = base.mark_text(align="left", dx=4).encode(x="value:Q", text=alt.Text("value:Q", format=".3f"))
        return alt.layer(bar, number).properties(width=width, height=alt.Step(30), title=alt.TitleParams(title, fontSize=12))

    def doubt(p: str) -> str:  # of a share, in bits; 0 log 0 is 0
        return f"(({p}) > 1e-12 ? -({p}) * log({p}) / LN2 : 0)"

    def of_pair(place: int) -> str:
        return f"({doubt(win[place])} + {doubt(f'1 - {win[place]}')})"

    positive = [place for place, pair in enumerate(pairs) if pair[0] == 0]
    entropies = [
        f"({' + '.join(of_pair(place) for place in range(len(pairs)))}) / {len(pairs)}",
        f"({' + '.join(of_pair(place) for place in positive)}) / {len(positive)}",
        f"({' + '.join(doubt(p) for p in share)}) / (log({len(_GROUP)}) / LN2)",
    ]
    over = [f"{_GROUP[i]} over {_GROUP[j]}" for i, j in pairs]
    drawn = alt.hconcat(
        bars(over, win, "of a pair", "probability", PALETTE[5]),
        bars(_GROUP, share, "of the group", "share", PALETTE[5]),
        bars(_KINDS, entropies, "so the entropy is", "bits (listwise: share)", PALETTE[0]),
        spacing=14,
    )
    return drawn.add_params(temperature)


def curves(entropies: pd.DataFrame, *, width: int = 420, height: int = 220) -> alt.LayerChart | alt.FacetChart:
    """Draw mean pairwise entropy against the temperature, a line a teacher.

    Args:
        entropies: One row a teacher and temperature: teacher, temperature, entropy.
        width: Of the panel, in pixels.
        height: Of the panel, in pixels.
    """
    names = list(entropies["teacher"].unique())
    one = entropies["teacher"].unique().size
    base = alt.Chart(entropies).encode(
        x=alt.X(
            "temperature:Q",
            title="temperature T",
            scale=alt.Scale(type="log", nice=False),
            axis=alt.Axis(values=[0.25, 0.5, 1, 2, 4, 8, 16]),
        ),
        y=alt.Y("entropy:Q", title="mean pairwise entropy (bits)", scale=alt.Scale(domain=[0, 1])),
        color=alt.Color("teacher:N", title="teacher", sort=names, scale=alt.Scale(domain=names, range=list(PALETTE[:one]))),
        tooltip=["teacher", alt.Tooltip("temperature:Q", format=".2f"), alt.Tooltip("entropy:Q", format=".3f")],
    )
    line = base.mark_line(strokeWidth=2).encode(
        strokeDash=alt.StrokeDash("teacher:N", title="teacher", sort=names, scale=alt.Scale(domain=names, range=list(DASHES[:one])))
    )
    point = base.mark_point(filled=True, size=50, opacity=1).encode(
        shape=alt.Shape("teacher:N", title="teacher", sort=names, scale=alt.Scale(domain=names, range=list(SHAPES[:one])))
    )
    said = alt.Chart(pd.DataFrame({"temperature": [1.0]})).mark_rule(strokeDash=[4, 3], color=MUTED).encode(x="temperature:Q")
    return alt.layer(said, line, point).properties(width=width, height=height)


# --- exercises --------------------------------------------------------------------------------------------------------------------


def _group(rng: np.random.Generator) -> tuple[np.ndarray, float]:
    return rng.normal(scale=3, size=int(rng.integers(3, 7))), float(rng.choice([0.5, 1.5, 2.0, 3.0]))


def _dialled(rng: np.random.Generator) -> tuple[np.ndarray, float]:
    return rng.normal(scale=3, size=int(rng.integers(3, 7))), float(rng.uniform(0.3, 0.9))


def _one(measure: Callable[..., np.ndarray]) -> Callable[[np.ndarray, float], float]:
    return lambda scores, temperature: float(measure(np.asarray(scores)[None], temperature)[0])


PAIRWISE, POSITIVE, LISTWISE = (_one(entropy.ENTROPIES[f"{kind}_entropy"]) for kind in _KINDS)


def _h(p: np.ndarray) -> np.ndarray:
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))


def _sure(scores: np.ndarray, temperature: float, offset: int = 1) -> np.ndarray:
    first, second = np.triu_indices(len(scores), k=offset)
    return 1 / (1 + np.exp((scores[second] - scores[first]) / temperature))


def _mass(scores: np.ndarray, temperature: float) -> np.ndarray:
    mass = np.exp((scores - scores.max()) / temperature)
    return mass / mass.sum()


def _reached(scores: np.ndarray, target: float) -> float:
    """Return the temperature at which a group's pairwise entropy is the target, to ten digits."""
    return entropy.solve_temperature(np.asarray(scores)[None], target, tolerance=1e-12)


def _halved(measure: Callable[..., float], wrong_way: bool = False) -> Callable[[np.ndarray, float], float]:
    def search(scores: np.ndarray, target: float) -> float:
        low, high = 1e-3, 1e3
        for _ in range(60):
            middle = math.sqrt(low * high)
            if (measure(scores, middle) < target) != wrong_way:
                low = middle
            else:
                high = middle
        return low

    return search


def _noise_entropy(deviation: float) -> float:
    """Return E h(sigmoid(e)), e normal with mean 0 and a standard deviation, by the trapezoidal rule."""
    e = np.linspace(-10 * deviation, 10 * deviation, 20_001)
    bits = entropy.pairwise_entropy(np.stack([e, np.zeros_like(e)], axis=1))
    weights = np.exp(-0.5 * (e / deviation) ** 2)
    return float((bits * weights).sum() / weights.sum())


_LOG = "entropies are in bits: the binary logarithm, not the natural one"
_FORGOTTEN = "the temperature is forgotten: divide the scores by it"
_WRONG_SIDE = "the temperature divides the scores; this multiplies them"
_THREE = [PAIRWISE(np.array(_TEACHER), 1.0), POSITIVE(np.array(_TEACHER), 1.0), LISTWISE(np.array(_TEACHER), 1.0)]
_NOISE = _noise_entropy(2 * math.sqrt(2))  # the difference of two scores with noise of SD 2 each

EXERCISES: Mapping[str, Exercise] = {
    "pairwise": Function(
        PAIRWISE,
        _group,
        (
            "for every pair i < j: the probability that i is better, then how open that is, then the mean",
            "np.triu_indices(len(scores), k=1) lists the pairs; p = 1 / (1 + exp(-(g_i - g_j) / T))",
            "binary(p).mean(), with the function above",
        ),
        {
            _LOG: lambda g, t: PAIRWISE(g, t) * math.log(2),
            _FORGOTTEN: lambda g, t: PAIRWISE(g, 1.0),
            _WRONG_SIDE: lambda g, t: PAIRWISE(g, 1 / t),
            "these are only the pairs with the positive, which is another entropy; take all pairs i < j": POSITIVE,
            "an entropy for each pair; return one number, their mean": lambda g, t: _h(_sure(g, t)),
            "take the mean over the pairs, not the sum": lambda g, t: float(_h(_sure(g, t)).sum()),
            "a document makes no pair with itself: k=1": lambda g, t: float(_h(_sure(g, t, 0)).mean()),
            "this takes the mean probability first; take the entropy of every pair, then the mean": lambda g, t: float(
                _h(_sure(g, t).mean())
            ),
            "half of it is missing: p and 1 - p both count": lambda g, t: float(-(_sure(g, t) * np.log2(_sure(g, t))).mean()),
            "a sign is wrong: an entropy is never negative": lambda g, t: -PAIRWISE(g, t),
        },
    ),
    "listwise": Function(
        LISTWISE,
        _group,
        (
            "one softmax over the group, the entropy of its shares, divided by the most that this can be",
            "p = softmax(g / T), then -sum p log2 p",
            "G documents of equal shares have log2 G bits: divide by np.log2(len(scores))",
        ),
        {
            "that is in bits; divide by log2 of the number of documents, the most there can be": lambda g, t: (
                LISTWISE(g, t) * math.log2(len(g))
            ),
            "that is in nats, and still to be divided by the most there can be: ln G, or log2 G for bits": lambda g, t: (
                LISTWISE(g, t) * math.log(len(g))
            ),
            "that is a perplexity, a number of documents; the share is the entropy over log2 G": lambda g, t: (
                2 ** (LISTWISE(g, t) * math.log2(len(g)))
            ),
            "this takes the binary entropy of each share; here the shares are one distribution: -sum p log2 p": lambda g, t: float(
                _h(_mass(g, t)).mean()
            ),
            "divide by log2 G once; here the number of documents itself divides": lambda g, t: LISTWISE(g, t) * math.log2(len(g)) / len(g),
            "the two logarithms differ: use the binary one above and below, or the natural one in both": lambda g, t: (
                LISTWISE(g, t) * math.log(2)
            ),
            _FORGOTTEN: lambda g, t: LISTWISE(g, 1.0),
            _WRONG_SIDE: lambda g, t: LISTWISE(g, 1 / t),
            "a sign is wrong: an entropy is never negative": lambda g, t: -LISTWISE(g, t),
            "that is the mean over pairs; here there is one softmax over the group": PAIRWISE,
            "shares do not sum to 1: this takes the binary entropy of each, but 1 - p is the others' share": (
                lambda g, t: float(_h(_mass(g, t)).sum() / math.log2(len(g)))
            ),
        },
    ),
    "temperature for": Function(
        _reached,
        _dialled,
        (
            "entropy rises with the temperature, so halve an interval that holds the answer, again and again",
            "keep the upper half where pairwise(scores, middle) is still below the target, the lower half where it is not",
            "start at 0.001 and 1000; with middle = (low * high) ** 0.5 sixty halvings are more than enough",
        ),
        {
            "the wrong half was kept: where the entropy is below the target, the temperature has to rise": _halved(
                PAIRWISE, wrong_way=True
            ),
            "that is 1 / T; the temperature divides": lambda g, target: 1 / _reached(g, target),
            "this solves for the entropy over positive pairs; the target is of all pairs": _halved(POSITIVE),
            "this solves for the listwise entropy; the target is pairwise": _halved(LISTWISE),
            "this solves in natural units: the target is in bits": _halved(lambda g, t: PAIRWISE(g, t) * math.log(2)),
        },
    ),
    "three entropies": Value(
        _THREE,
        (
            "pairs first: differences of 1, 5 and 4 make sigmoid(1) = .731, sigmoid(5) = .993 and sigmoid(4) = .982",
            "their binary entropies are .840, .058 and .130; the pairs with the positive are those of 1 and 5",
            "the softmax is .727, .268, .005: .880 bits of at most log2 3 = 1.585",
        ),
        mistakes={
            "the last one is in bits; divide it by log2 3": [*_THREE[:2], _THREE[2] * math.log2(3)],
            "these are in nats; use the binary logarithm": [value * math.log(2) for value in _THREE[:2]] + [_THREE[2]],
            "the first two are the wrong way round": [_THREE[1], _THREE[0], _THREE[2]],
            "the second mean has two pairs, not three: those with the positive": [_THREE[0], _THREE[1] * 2 / 3, _THREE[2]],
        },
    ),
    "temperature of the group": Value(
        _reached(np.array(_TEACHER), 0.7),
        ("use your temperature_for on the scores 2, 1, -3", "it lies between 2, where the entropy is .62, and 4, where it is .87"),
        digits=2,
        mistakes={
            "that solves for the entropy over positive pairs": _halved(POSITIVE)(np.array(_TEACHER), 0.7),
            "that solves for the listwise entropy": _halved(LISTWISE)(np.array(_TEACHER), 0.7),
            "that is 1 / T": 1 / _reached(np.array(_TEACHER), 0.7),
        },
    ),
    "two irrelevant documents": Value(
        _NOISE,
        (
            "draw many pairs of scores from a normal distribution of mean 0 and SD 2, and take the mean of their pairwise entropies",
            "np.random.default_rng(0).normal(0, 2, size=(100000, 2)) has a pair a row; a pair is a group of two",
            "rd.entropy.pairwise_entropy(that).mean()",
        ),
        digits=2,
        mistakes={
            "that is the entropy without noise: equal scores": 1.0,
            "each of the two scores has noise of its own, so their difference has a larger SD than 2": _noise_entropy(2.0),
            "that is noise of variance 2; the SD is 2": _noise_entropy(math.sqrt(2)),
            "that is in nats; an entropy is in bits": _NOISE * math.log(2),
        },
    ),
    "the floor in nats": Value(
        PAIRWISE(np.array(_TEACHER), 1.0) * math.log(2),
        (
            "the loss of a student that has the teacher's own scores is all floor",
            "losses are in nats, entropies in bits: a bit is ln 2 = .693 nats",
            ".3426 x .6931",
        ),
        mistakes={
            "that is in bits; the loss is in nats, and a bit is .693 of them": PAIRWISE(np.array(_TEACHER), 1.0),
            "that multiplies numbers that were rounded before: take four decimals of each, .3426 x .6931": 0.238,
            "a bit is ln 2 nats: multiply, where this divides": PAIRWISE(np.array(_TEACHER), 1.0) / math.log(2),
            "that is the mean over positive pairs; RankNet takes all pairs": POSITIVE(np.array(_TEACHER), 1.0) * math.log(2),
        },
    ),
}

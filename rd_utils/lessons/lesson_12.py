"""Lesson 12, from claim to evidence: a contrast, a verdict over collections, and what moves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd
from scipy import stats

from rd_utils.analysis import meta
from rd_utils.companions import claims
from rd_utils.lessons.checks import Exercise, Function, Value
from rd_utils.report.drawing import BAND, INK, PALETTE

CELLS = ("random, LCE", "mined, LCE", "random, KL", "mined, KL")
TOY = pd.DataFrame(
    [[0.50, 0.58, 0.57, 0.60], [0.40, 0.46, 0.46, 0.49], [0.60, 0.64, 0.66, 0.69]],
    index=pd.Index(["apples", "the firm", "bridges"], name="collection"),
    columns=list(CELLS),
)
"""Mean nDCG@10 of four cells on three collections."""
CODES: dict[str, int] = {"confirmed": 1, "undecided": 0, "refuted": -1}
MARGIN = claims.MARGIN


def claim(
    number: int, words: str, cells: Sequence[Mapping[str, str]], weights: Sequence[float], expects: claims.Expects = "above"
) -> claims.Claim:
    """Return a claim of one contrast.

    Args:
        number: Of the claim.
        words: What it says.
        cells: Strategy and loss of each, and what else tells cells apart.
        weights: One a cell.
        expects: As in the protocol: ``above``, ``zero``, ``not below`` or ``away``.
    """
    terms = tuple(claims.Term(weight, cell) for weight, cell in zip(weights, cells, strict=True))
    return claims.Claim(number, words, words, "", (claims.Contrast(words, terms, expects),), "all")


_TOY_CELLS = [{"strategy": strategy, "loss": loss} for loss in ("lce", "kl") for strategy in ("random", "mined")]
TOY_CLAIM = claim(1, "gain under LCE less under KL", _TOY_CELLS, (-1, 1, 1, -1))


def estimates(values: Sequence[float] | np.ndarray, variance: float = 1e-4) -> pd.DataFrame:
    """Return estimates of the toy's claim as the package has them, one a collection.

    Args:
        values: The estimates.
        variance: Of each, over queries and seeds.
    """
    place = {"test_collection": "test", "architecture": "bi", "first_stage": "full", "variance": variance, "n_queries": 100, "n_seeds": 3}
    names = [f"c{number}" for number in range(len(values))]
    about = {"claim": 1, "contrast": TOY_CLAIM.contrasts[0].name, "study": names, "collection": names}
    return pd.DataFrame(about | place | {"estimate": np.asarray(values, dtype=float)})


def values(pattern: str = "docs/results/claims_*", architecture: str = "bi") -> pd.DataFrame:
    """Return the values per query of committed results, of one architecture where its verdicts are read.

    Args:
        pattern: Of folders of results.
        architecture: ``bi`` or ``cross``.
    """
    from rd_utils.exchange import results

    parts = [found.per_query() for found in results.found(pattern)]
    stage = claims.FIRST_STAGE[architecture]
    kept = [part[(part["architecture"] == architecture) & (part["first_stage"] == stage)] for part in parts]
    return pd.concat([part for part in kept if len(part)], ignore_index=True)


# --- pictures ---------------------------------------------------------------------------------------------------------------------


def forest(effects: pd.Series, margin: float = MARGIN, *, width: int = 420) -> alt.LayerChart | alt.FacetChart:
    """Draw the effect in each collection, and their mean with its 95 % interval; the band lies between 0 and the margin.

    Args:
        effects: By the name of the collection.
        margin: The smallest effect that matters.
        width: Of the panel, in pixels.
    """
    mean, low, high = interval(effects.to_numpy())
    order = [*effects.index, "together"]
    each = pd.DataFrame({"row": list(effects.index), "effect": effects.to_numpy()})
    whole = pd.DataFrame({"row": ["together"], "effect": [mean], "low": [low], "high": [high]})
    span = alt.Scale(domain=[min(low, 0.0) - 0.01, high + 0.01], nice=False)
    y = alt.Y("row:N", title=None, sort=order)
    band = alt.Chart(pd.DataFrame({"from": [0.0], "to": [margin]})).mark_rect(color=BAND).encode(x=alt.X("from:Q"), x2="to:Q")
    zero = alt.Chart(pd.DataFrame({"at": [0.0]})).mark_rule(color=INK).encode(x="at:Q")
    dots = alt.Chart(each).mark_point(filled=True, size=80, opacity=1, color=PALETTE[0]).encode(
        x=alt.X("effect:Q", title="gain under LCE less under KL, nDCG@10", scale=span, axis=alt.Axis(format="+.2f")), y=y
    )  # fmt: skip
    bar = alt.Chart(whole).mark_rule(strokeWidth=2, color=PALETTE[1]).encode(x="low:Q", x2="high:Q", y=y)
    point = alt.Chart(whole).mark_point(filled=True, size=100, opacity=1, color=PALETTE[1], shape="diamond").encode(x="effect:Q", y=y)
    numbers = alt.Chart(pd.concat([each, whole])).mark_text(dy=-12, color=INK).encode(
        x="effect:Q", y=y, text=alt.Text("effect:Q", format="+.2f")
    )  # fmt: skip
    return alt.layer(band, zero, bar, dots, point, numbers).properties(width=width, height=alt.Step(36))


def verdict_map(
    estimates: pd.DataFrame, combined: pd.DataFrame, margin: float = MARGIN, *, step: int = 20
) -> alt.LayerChart | alt.FacetChart:
    """Draw the verdict of every contrast in every collection by itself, and over all of them, a row a contrast.

    Args:
        estimates: of ``rd.claims.estimates``, of one architecture.
        combined: of ``rd.claims.combine``, of the same.
        margin: The smallest effect that matters.
        step: Width and height of a field, in pixels.
    """
    each = claims.alone(estimates, margin=margin)
    names = [study.removeprefix("claims_") for study in each["study"]]
    fields = pd.concat([each.assign(column=names), combined.assign(column="TOGETHER")], ignore_index=True)
    fields["row"] = fields["claim"].astype(str) + "  " + fields["contrast"].astype(str)
    fields["sign"] = fields["verdict"].map({"confirmed": "+", "refuted": "–", "undecided": ""})
    columns, order = [*sorted(set(names)), "TOGETHER"], list(dict.fromkeys(fields.sort_values("claim", kind="stable")["row"]))
    kinds = ["confirmed", "undecided", "refuted"]
    base = alt.Chart(fields[["row", "column", "verdict", "sign", "estimate"]]).encode(
        x=alt.X("column:N", title=None, sort=columns, axis=alt.Axis(labelAngle=-60, orient="bottom", labelLimit=140)),
        y=alt.Y("row:N", title=None, sort=order, axis=alt.Axis(labelLimit=300)),
    )
    field = base.mark_rect(stroke="white", strokeWidth=2).encode(
        color=alt.Color(
            "verdict:N", title=None, sort=kinds, scale=alt.Scale(domain=kinds, range=[PALETTE[0], "#dddddd", PALETTE[1]]),
            legend=alt.Legend(orient="top"),
        ),
        tooltip=["column", "row", "verdict", alt.Tooltip("estimate:Q", format="+.3f")],
    )  # fmt: skip
    sign = base.mark_text(color="white", fontWeight="bold", baseline="middle").encode(text="sign:N")
    return alt.layer(field, sign).properties(width=alt.Step(step), height=alt.Step(step))


# --- exercises --------------------------------------------------------------------------------------------------------------------


def effect(random_lce: np.ndarray, mined_lce: np.ndarray, random_kl: np.ndarray, mined_kl: np.ndarray) -> float:
    """Return the toy's contrast in one collection by the package. Each: (queries,)."""
    cells = (random_lce, mined_lce, random_kl, mined_kl)
    names = [f"q{number:03}" for number in range(len(random_lce))]
    place = {"study": "toy", "collection": "toy", "test_collection": "test", "architecture": "bi", "first_stage": "full", "seed": 0}
    about = {"system": "student", "augmentation": "none", "cut": "all"}
    parts = [
        pd.DataFrame({"query_id": names, "value": values}).assign(cell=f"{cell['strategy']} {cell['loss']}", **cell, **place, **about)
        for cell, values in zip(_TOY_CELLS, cells, strict=True)
    ]
    return float(claims.estimates(pd.concat(parts), (TOY_CLAIM,))["estimate"].iloc[0])


def interval(effects: np.ndarray) -> list[float]:
    """Return the mean over collections and the ends of its 95 % interval, by the package, collections counting alike."""
    found = meta.combined(effects, np.full(len(effects), 1e-9))
    return [found.estimate, *found.interval()]


def verdict(effects: np.ndarray, margin: float) -> int:
    """Return 1 for confirmed, -1 for refuted, 0 for undecided, of a claim that an effect is above 0, by the package."""
    found = claims.combine(estimates(effects, 1e-9), margin=margin, claims=(TOY_CLAIM,))
    return CODES[str(found["verdict"].iloc[0])]


def without_each(effects: np.ndarray, margin: float) -> list[int]:
    """Return the verdict without the first collection, without the second, and so on, by the package."""
    return [verdict(np.delete(effects, place), margin) for place in range(len(effects))]


def _four(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    return tuple(rng.uniform(size=(4, int(rng.integers(3, 8)))))


def _effects(rng: np.random.Generator) -> tuple[np.ndarray]:
    return (rng.normal(rng.choice([0.0, 0.02]), 0.03, size=int(rng.integers(3, 9))),)


def _margined(rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Return effects of four or five collections that lie so many standard errors from 0, and from the margin."""
    number, spread = int(rng.integers(4, 6)), float(rng.uniform(0.01, 0.03))
    from_zero, from_margin = (float(rng.choice(choices)) for choices in ((-1.0, 1.8, 2.6, 8.0), (-8.0, -1.9, -0.5, 0.5)))
    drawn = rng.normal(size=number)
    effects = spread * ((drawn - drawn.mean()) / drawn.std(ddof=1) + from_zero / number**0.5)
    return effects, max(0.001, float(effects.mean()) - from_margin * spread / number**0.5)


def _t(effects: np.ndarray, bound: float = 0.0) -> float:
    return float((effects.mean() - bound) / (effects.std(ddof=1) / len(effects) ** 0.5))


def _decided(effects: np.ndarray, margin: float, *, level: float = 0.95, confirm: float = 0.0, refute: float = 1.0, first: int = -1) -> int:
    """Return a verdict by rules that may be wrong: the bounds of both tests in margins, the level, and which of them goes first."""
    limit = float(stats.t.ppf(level, len(effects) - 1))
    above, below = _t(effects, confirm * margin) > limit, _t(effects, refute * margin) < -limit
    if above and below:
        return first
    return 1 if above else -1 if below else 0


def _normal(effects: np.ndarray, margin: float) -> int:
    return -1 if _t(effects, margin) < -1.645 else 1 if _t(effects) > 1.645 else 0


def _spanned(effects: np.ndarray, *, quantile: float | None = None, freedom: int = 1, ddof: int = 1, root: bool = True) -> list[float]:
    n = len(effects)
    times = float(stats.t.ppf(0.975, n - freedom)) if quantile is None else quantile
    half = times * effects.std(ddof=ddof) / (n**0.5 if root else 1)
    return [float(effects.mean()), float(effects.mean() - half), float(effects.mean() + half)]


_EFFECTS = np.array([0.05, 0.03, 0.01])
_SE = 0.02 / 3**0.5
_LIMIT = float(stats.t.ppf(0.95, 2))

EXERCISES: Mapping[str, Exercise] = {
    "effect": Function(
        effect,
        _four,
        (
            "two gains, one less the other; then the mean over queries",
            "a gain is mined less random, under one loss",
            "((mined_lce - random_lce) - (mined_kl - random_kl)).mean()",
        ),
        {
            "the sign is turned: the gain under LCE comes first": lambda a, b, c, d: -effect(a, b, c, d),
            "this adds the two gains; the question is by how much they differ": lambda a, b, c, d: float((b - a + d - c).mean()),
            "that compares the mined alone: what a loss does by itself counts too, and should not": lambda a, b, c, d: float(
                (b - d).mean()
            ),
            "that is the gain under LCE alone": lambda a, b, c, d: float((b - a).mean()),
            "take the mean over the queries, not the sum": lambda a, b, c, d: float((b - a - d + c).sum()),
            "one number a collection: the mean over its queries": lambda a, b, c, d: b - a - d + c,
        },
    ),
    "interval over collections": Function(
        interval,
        _effects,
        (
            "mean, standard error, and a quantile of Student's distribution",
            "the standard error is effects.std(ddof=1) / len(effects) ** 0.5; there are len(effects) - 1 degrees of freedom",
            "stats.t.ppf(0.975, n - 1) of them to either side",
        ),
        {
            "1.96 is for many collections; with few, take Student's quantile": lambda e: _spanned(e, quantile=1.96),
            "that is the spread of the collections; divide it by the root of their number": lambda e: _spanned(e, root=False),
            "std() divides by n; the spread of a sample divides by n - 1: ddof=1": lambda e: _spanned(e, ddof=0),
            "n collections have n - 1 degrees of freedom": lambda e: _spanned(e, freedom=0),
            "that is an interval of 90 %: 2.5 % are left out at each end": lambda e: _spanned(
                e, quantile=float(stats.t.ppf(0.95, len(e) - 1))
            ),
            "in the order mean, low, high": lambda e: [*interval(e)[1:], interval(e)[0]],
        },
    ),
    "verdict": Function(
        verdict,
        _margined,
        (
            "two one-sided tests: against 0 and against the margin; refuted goes first",
            "with limit = stats.t.ppf(0.95, n - 1): refuted if (mean - margin) / error < -limit, confirmed if mean / error > limit",
            "if the first holds return -1; else if the second holds return 1; else return 0",
        ),
        {
            "a mean above 0 by chance is no confirmation: ask how far it is from 0 in standard errors": lambda e, m: (
                1 if e.mean() > 0 else -1
            ),
            "the tests are one-sided: the 0.95 quantile, not 0.975": lambda e, m: _decided(e, m, level=0.975),
            "confirming is against 0, refuting against the margin; here both are against the margin": (
                lambda e, m: _decided(e, m, confirm=1.0)
            ),
            "confirming is against 0, refuting against the margin; here both are against 0": lambda e, m: _decided(e, m, refute=0.0),
            "an effect that is surely there, and surely below the margin, is refuted: ask that first": lambda e, m: _decided(e, m, first=1),
            "not confirmed is not refuted: there is a third verdict": lambda e, m: 1 if _decided(e, m) == 1 else -1,
            "1.645 is for many collections; with few, take Student's quantile": _normal,
            "the codes are turned: 1 is confirmed": lambda e, m: -verdict(e, m),
        },
    ),
    "without each": Function(
        without_each,
        _margined,
        (
            "one verdict a collection, that of all others",
            "np.delete(effects, place) has all but one",
            "[verdict(np.delete(effects, place), margin) for place in range(len(effects))]",
        ),
        {
            "the verdicts are right, their order is turned": lambda e, m: without_each(e, m)[::-1],
            "those say whether a verdict moves; the verdicts are asked for": lambda e, m: [
                one != verdict(e, m) for one in without_each(e, m)
            ],
            "that is the verdict of all, again and again": lambda e, m: [verdict(e, m)] * len(e),
            "that is how many verdicts move; one verdict a collection is asked for": (
                lambda e, m: sum(one != verdict(e, m) for one in without_each(e, m))
            ),
            "the verdict of all stands before the others: leave it out": lambda e, m: [verdict(e, m), *without_each(e, m)],
        },
    ),
    "three effects": Value(
        _EFFECTS,
        (
            "for each collection two gains, then their difference",
            "apples: .58 - .50 under LCE, .60 - .57 under KL",
            ".08 - .03, .06 - .03, .04 - .03",
        ),
        mistakes={
            "those are the gains under LCE; take off those under KL": [0.08, 0.06, 0.04],
            "those are the gains under KL": [0.03, 0.03, 0.03],
            "the sign is turned: LCE comes first": -_EFFECTS,
            "those are sums of the two gains": [0.11, 0.09, 0.07],
        },
    ),
    "t of the toy": Value(
        0.03 / _SE,
        ("the mean over its standard error", "the spread of .05, .03, .01 is .02; divide it by the root of 3", ".03 / .01155"),
        digits=1,
        mistakes={
            "that divides by the spread; its standard error is smaller by the root of 3": 1.5,
            "the spread divides by n - 1 = 2 before the root": 0.03 / (_EFFECTS.std() / 3**0.5),
            "the standard error has the root of 3, not 3": 0.03 / (0.02 / 3),
        },
    ),
    "margin that refutes": Value(
        0.03 + _LIMIT * _SE,
        (
            "refuted is where the mean lies more than 2.92 standard errors below the margin",
            "so the margin is the mean and 2.92 standard errors",
            ".03 + 2.92 x .01155",
        ),
        mistakes={
            "the test is one-sided: 2.92, not 4.30": 0.03 + float(stats.t.ppf(0.975, 2)) * _SE,
            "that is for many collections; for three the quantile is 2.92": 0.03 + 1.645 * _SE,
            "that takes the spread; its standard error is asked for": 0.03 + _LIMIT * 0.02,
            "that is the mean, which chance may have raised": 0.03,
        },
    ),
    "a fourth collection": Value(
        ["confirmed", "undecided", "undecided"],
        (
            "a fourth collection changes the mean, and the spread as well",
            "with three degrees of freedom the limit is 2.35; compute t for each of the three",
            "t is 3.67, 0.88 and 2.09",
        ),
        mistakes={
            "the last one raises the mean, and the spread more: compute its t": ["confirmed", "undecided", "confirmed"],
            "one collection below 0 refutes nothing: the mean has to lie surely below the margin": ["confirmed", "refuted", "undecided"],
            "both of them": ["confirmed", "refuted", "confirmed"],
            "the first adds a degree of freedom and lies where the mean was: compute its t": ["undecided", "undecided", "undecided"],
        },
    ),
    "claim 6": Value(
        [-1, 1, 1, -1],
        (
            "a gain under LCE less a gain under KL, as in the toy",
            "the gain by filtering is filtered less pooled",
            "(filtered LCE - pooled LCE) - (filtered KL - pooled KL): read off the signs",
        ),
        mistakes={
            "the signs are turned: this is above 0 where KL gains more": [1, -1, -1, 1],
            "this adds the two gains; the claim is that one is larger": [-1, 1, -1, 1],
            "that compares the filtered alone: what a loss does by itself counts too, and should not": [0, 1, 0, -1],
            "that is the gain under LCE alone": [-1, 1, 0, 0],
        },
    ),
}

"""Lesson 1, how good is a ranking: nDCG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from rd_utils.evaluation import measures
from rd_utils.lessons.checks import Exercise, Function, Value
from rd_utils.report.drawing import INK, MUTED, PALETTE


def gains(rankings: Mapping[str, Sequence[float]], *, width: int = 260, height: int = 130) -> alt.FacetChart:
    """Draw rankings above each other: a bar a place, its grade outlined, what the discount leaves of it filled.

    Args:
        rankings: Grades from the first place on, by the name of the ranking.
        width: Of a panel, in pixels.
        height: Of a panel, in pixels.
    """
    rows = [[name, place, grade, grade / np.log2(place + 1)] for name, grades in rankings.items() for place, grade in enumerate(grades, 1)]
    frame = pd.DataFrame(rows, columns=["ranking", "place", "grade", "gain"])
    base = alt.Chart().encode(x=alt.X("place:O", title="place", axis=alt.Axis(labelAngle=0)))
    outline = base.mark_bar(fillOpacity=0, stroke=MUTED, strokeWidth=1).encode(
        y=alt.Y("grade:Q", title="grade", axis=alt.Axis(tickCount=3))
    )
    filled = base.mark_bar(color=PALETTE[0]).encode(y="gain:Q", tooltip=["ranking", "place", "grade", alt.Tooltip("gain:Q", format=".3f")])
    number = base.mark_text(dy=-7, color=INK).encode(
        y="gain:Q", text=alt.condition("datum.gain > 0", alt.Text("gain:Q", format=".2f"), alt.value(""))
    )
    header = alt.Header(title=None, labelAnchor="start")
    chart = alt.layer(outline, filled, number, data=frame).properties(width=width, height=height)
    return chart.facet(row=alt.Row("ranking:N", sort=list(rankings), header=header))


# --- exercises --------------------------------------------------------------------------------------------------------------------


def measured(grades: np.ndarray, k: int) -> float:
    """Return nDCG@k of a ranking by ir_measures, as the suite evaluates: the grades of its documents from the first to the last."""
    ids = [f"d{place}" for place in range(len(grades))]
    run = pd.DataFrame({"query_id": "q", "doc_id": ids, "score": -np.arange(float(len(grades))), "rank": np.arange(1, len(grades) + 1)})
    qrels = pd.DataFrame({"query_id": "q", "doc_id": ids, "relevance": np.asarray(grades, dtype=int)})
    found, _ = measures.measure_run(run, qrels, (f"nDCG@{k}",))
    return float(found["value"].iloc[0])


def _dcg(gains: np.ndarray, k: int, first: int = 2) -> float:
    gains = np.asarray(gains, dtype=float)[:k]
    return float((gains / np.log2(np.arange(first, first + len(gains)))).sum())


def _ideal(grades: np.ndarray) -> np.ndarray:
    return np.sort(np.asarray(grades))[::-1]


def _graded(rng: np.random.Generator) -> tuple[np.ndarray, int]:
    grades = rng.integers(0, 4, 8)
    grades[rng.integers(8)] = 3  # else nothing is relevant, and nothing is measured
    return grades, int(rng.integers(2, 9))


def _without_log(grades: np.ndarray, k: int) -> float:
    discount = np.arange(1, min(k, len(grades)) + 1)
    return float((np.asarray(grades)[:k] / discount).sum() / (_ideal(grades)[:k] / discount).sum())


_GAINS = "this counts 2^grade - 1 where the suite, like trec_eval, counts the grade itself; both are called nDCG, so say which"

EXERCISES: Mapping[str, Exercise] = {
    "ndcg": Function(
        measured,
        _graded,
        (
            "write the sum of grade x discount over the first k places, then divide it by the most that these grades could reach",
            "the discount of place i, counted from 1, is 1 / log2(i + 1)",
            "the most is reached when the grades stand in falling order: sort all of them, then cut at k",
        ),
        {
            "the discount is 1 / log2(place + 1), not 1 / place: it falls slowly": _without_log,
            "divide by the sum that the best order of the same grades reaches": _dcg,
            "sort all grades before you cut at k: a good document at place k + 1 belongs to the best order": (
                lambda grades, k: _dcg(grades, k) / max(_dcg(_ideal(np.asarray(grades)[:k]), k), 1e-12)
            ),
            "cut at k too: only the first k places count": lambda grades, k: _dcg(grades, len(grades)) / _dcg(_ideal(grades), k),
            "k is not used: cut the ranking, and the best one, at k": (
                lambda grades, k: _dcg(grades, len(grades)) / _dcg(_ideal(grades), len(grades))
            ),
            _GAINS: lambda grades, k: _dcg(2.0 ** np.asarray(grades) - 1, k) / _dcg(2.0 ** _ideal(grades) - 1, k),
            "places count from 1, so that the first discount is 1 / log2(2) = 1": (
                lambda grades, k: _dcg(grades, k, 3) / _dcg(_ideal(grades), k, 3)
            ),
        },
    ),
    "ndcg of 3, 0, 2": Value(
        measured(np.array([3, 0, 2, 0, 1, 0]), 3),
        ("add 3 x 1, 0 x .631 and 2 x .5, then divide", "the best order is 3, 2, 1: 3 x 1 + 2 x .631 + 1 x .5 = 4.762"),
        mistakes={
            "that is the sum itself; divide it by the sum of the best order": 4.0,
            "the best order takes all six grades: 3, 2, 1, not 3, 2, 0": 4 / (3 + 2 * 0.63093),
        },
    ),
    "ndcg of 2, 3, 0": Value(
        measured(np.array([2, 3, 0, 0, 1, 0]), 3),
        ("add 2 x 1, 3 x .631 and 0 x .5, then divide by the same 4.762",),
        mistakes={"the best order takes all six grades: 3, 2, 1, not 3, 2, 0": (2 + 3 * 0.63093) / (3 + 2 * 0.63093)},
    ),
    "swap 9 and 11": Value(
        ["nDCG@10", "R@10"],
        (
            "what do measures that are cut at 10 know of place 11?",
            "recall@10 counts the relevant documents among ten; RR looks at the first relevant one only, which stands higher",
        ),
        mistakes={
            "RR looks at the first relevant document only, which stands at place 2 before and after": ["nDCG@10", "R@10", "RR"],
            "recall@10 counts relevant documents among the first ten: one of them leaves": ["nDCG@10"],
        },
    ),
}

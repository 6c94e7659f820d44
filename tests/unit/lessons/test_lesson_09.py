"""The numbers of lesson 9, by plain mathematics, with quantiles of Student's distribution from tables."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from rd_utils.analysis import stats
from rd_utils.lessons import lesson_09

T = {2: 4.303, 4: 2.776, 59: 2.001}  # the 0.975 quantile, by degrees of freedom
T90 = 1.671  # the 0.95 quantile of 59


def test_the_numbers_that_lesson_9_quotes_of_its_toy() -> None:
    a, b = lesson_09.A.tolist(), lesson_09.B.tolist()
    delta = [after - before for before, after in zip(a, b, strict=True)]
    assert statistics.mean(delta) == pytest.approx(0.03) and statistics.stdev(delta) == pytest.approx(0.01)
    paired = T[2] * 0.01 / math.sqrt(3)
    unpaired = T[4] * math.sqrt((statistics.variance(a) + statistics.variance(b)) / 3)
    assert lesson_09.paired(lesson_09.A, lesson_09.B) == pytest.approx([0.03 - paired, 0.03 + paired], abs=1e-5)
    assert lesson_09.unpaired(lesson_09.A, lesson_09.B) == pytest.approx([0.03 - unpaired, 0.03 + unpaired], abs=1e-4)
    assert 9 < unpaired / paired < 10


def test_paired_007_against_unpaired_031_and_67_queries_for_a_margin_of_02() -> None:
    errors = lesson_09.EXERCISES["two standard errors"].value
    assert errors == pytest.approx([0.056 / math.sqrt(60), math.sqrt(2 * 0.17**2 / 60)])
    assert [round(error, 3) for error in errors] == [0.007, 0.031]
    assert round(lesson_09.EXERCISES["queries for a margin"].value) == 67
    # 1.6449 and 1.2816 are the normal quantiles of 0.95 and 0.9: a probability of 0.1 on either side leaves 0.8
    assert 1.6449 + 1.2816 == pytest.approx(2.926, abs=1e-3)
    assert stats.queries_needed(0.056, 0.02) == 69 in lesson_09.EXERCISES["queries for a margin"].mistakes.values()
    assert (2.926 * 0.056 / 0.01) ** 2 / 67.12 == pytest.approx(4, abs=1e-2)


@pytest.mark.parametrize(
    ("margin", "verdicts"),
    [
        (0.02, ["different", "equivalent", "both", "undecided"]),
        (0.01, ["different", "undecided", "different", "undecided"]),
        (0.06, ["both", "equivalent", "both", "equivalent"]),
    ],
)
def test_the_four_contrasts_have_the_verdicts_that_their_intervals_say(margin: float, verdicts: list[str]) -> None:
    said = []
    for mean, deviation in lesson_09.CASES.values():
        error = deviation / math.sqrt(60)
        different, equivalent = abs(mean) > T[59] * error, abs(mean) + T90 * error < margin
        said.append({(1, 0): "different", (0, 1): "equivalent", (1, 1): "both", (0, 0): "undecided"}[different, equivalent])
    deltas = {name: lesson_09.differences(name) for name in lesson_09.CASES}
    assert lesson_09.contrasts(deltas, margin)["verdict"].tolist() == said == verdicts
    if margin == 0.01:
        assert lesson_09.EXERCISES["verdicts at 0.01"].value == verdicts


def test_contrasts_have_just_the_mean_and_the_sd_that_they_are_said_to_have() -> None:
    for name, (mean, deviation) in lesson_09.CASES.items():
        delta = lesson_09.differences(name)
        assert len(delta) == 60 and delta.mean() == pytest.approx(mean) and delta.std(ddof=1) == pytest.approx(deviation)


def test_an_order_of_the_queries_is_seen_by_the_paired_interval_alone() -> None:
    a, b = lesson_09.A, lesson_09.B[[2, 0, 1]]
    assert b.mean() - a.mean() == pytest.approx(0.03)
    assert lesson_09.unpaired(a, b) == pytest.approx(lesson_09.unpaired(a, lesson_09.B))
    assert lesson_09.paired(a, b) != pytest.approx(lesson_09.paired(a, lesson_09.B), abs=0.1)


def test_tost_at_5_percent_is_the_90_percent_interval_within_the_margin() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        delta = rng.normal(rng.normal(scale=0.01), 0.05, size=60)
        inside = abs(delta.mean()) + T90 * delta.std(ddof=1) / math.sqrt(60)
        if abs(inside - 0.02) > 1e-4:
            assert lesson_09.decide(delta, 0.02)[1] == (inside < 0.02)

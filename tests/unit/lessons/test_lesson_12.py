"""The numbers of lesson 12, by plain mathematics."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from rd_utils.companions import claims
from rd_utils.lessons import lesson_12

EFFECTS = [0.05, 0.03, 0.01]


def t_of(effects: list[float], bound: float = 0.0) -> float:
    mean = sum(effects) / len(effects)
    spread = math.sqrt(sum((effect - mean) ** 2 for effect in effects) / (len(effects) - 1))
    return (mean - bound) / (spread / math.sqrt(len(effects)))


def judged(effects: list[float], margin: float) -> str:
    limit = stats.t.ppf(0.95, len(effects) - 1)
    return "refuted" if t_of(effects, margin) < -limit else "confirmed" if t_of(effects) > limit else "undecided"


def test_the_numbers_that_lesson_12_quotes() -> None:
    toy = lesson_12.TOY
    own = (toy["mined, LCE"] - toy["random, LCE"]) - (toy["mined, KL"] - toy["random, KL"])
    assert own.tolist() == pytest.approx(EFFECTS) and list(lesson_12.EXERCISES["three effects"].value) == pytest.approx(EFFECTS)
    assert ((toy["mined, LCE"] - toy["random, LCE"]) > (toy["mined, KL"] - toy["random, KL"])).all()
    half = 4.303 * 0.02 / math.sqrt(3)
    assert [0.03 - half, 0.03 + half] == pytest.approx([-0.02, 0.08], abs=5e-4)
    assert lesson_12.interval(np.array(EFFECTS)) == pytest.approx([0.03, 0.03 - half, 0.03 + half], abs=1e-5)
    assert t_of(EFFECTS) == pytest.approx(2.6, abs=5e-3) and lesson_12.EXERCISES["t of the toy"].value == pytest.approx(t_of(EFFECTS))
    assert stats.t.ppf(0.95, 2) == pytest.approx(2.92, abs=5e-4) and judged(EFFECTS, 0.01) == "undecided"
    refuting = lesson_12.EXERCISES["margin that refutes"].value
    assert refuting == pytest.approx(0.03 + 2.92 * 0.02 / math.sqrt(3), abs=5e-5)
    assert (judged(EFFECTS, refuting - 1e-3), judged(EFFECTS, refuting + 1e-3)) == ("undecided", "refuted")


def test_a_fourth_collection() -> None:
    said = [judged([*EFFECTS, fourth], 0.01) for fourth in (0.03, -0.03, 0.13)]
    assert said == lesson_12.EXERCISES["a fourth collection"].value
    assert [t_of([*EFFECTS, fourth]) for fourth in (0.03, -0.03, 0.13)] == pytest.approx([3.67, 0.88, 2.09], abs=5e-3)
    assert stats.t.ppf(0.95, 3) == pytest.approx(2.35, abs=5e-3)


def test_the_packages_verdict_is_that_of_two_one_sided_tests_on_every_trial() -> None:
    exercise = lesson_12.EXERCISES["verdict"]
    seen = set()
    for effects, margin in exercise.trials():
        expected = judged(effects.tolist(), margin)
        assert lesson_12.verdict(effects, margin) == lesson_12.CODES[expected]
        seen.add(expected)
    assert seen == set(lesson_12.CODES)


def test_a_claim_of_ones_own_is_judged_as_the_five_are() -> None:
    names = [f"q{number}" for number in range(4)]
    place = {"study": "s", "collection": "c", "test_collection": "t", "architecture": "bi", "first_stage": "full", "system": "student"}
    rows = [
        {"cell": f"{strategy}-{loss}", "strategy": strategy, "loss": loss, "seed": 0, "query_id": name, "value": value, **place}
        | {"augmentation": "none", "cut": "all"}
        for strategy, loss, value in (("a", "lce", 0.2), ("b", "lce", 0.5), ("a", "kl", 0.4), ("b", "kl", 0.6))
        for name in names
    ]
    cells = [{"strategy": strategy, "loss": loss} for loss in ("lce", "kl") for strategy in "ab"]
    own = lesson_12.claim(6, "b gains more under LCE", cells, lesson_12.EXERCISES["claim 6"].value)
    assert claims.estimates(pd.DataFrame(rows), (own,))["estimate"].tolist() == pytest.approx([(0.5 - 0.2) - (0.6 - 0.4)])


def test_committed_results_are_read_of_one_architecture_where_its_verdicts_are_read() -> None:
    values = lesson_12.values()
    assert set(values["architecture"]) == {"bi"} and set(values["first_stage"]) == {"full"} and values["study"].nunique() >= 5

"""The numbers of lesson 5, by plain mathematics, and its picture with sliders, which a browser computes."""

from __future__ import annotations

import json
import math
import re

import pytest
import vl_convert

from rd_utils.lessons import lesson_05, toy
from rd_utils.report import drawing
from rd_utils.training import losses

TEACHER = (2.0, 1.0, -3.0)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def share(scores: tuple[float, ...], place: int) -> float:
    return math.exp(scores[place]) / sum(math.exp(score) for score in scores)


def test_the_numbers_that_lesson_5_quotes() -> None:
    query, group = toy.GROUP
    assert tuple(toy.scores()[query][list(group)]) == TEACHER
    assert toy.LABELS[query] == group[0] == "f3" and list(toy.grades()[query][list(group)]) == [2, 3, 0]
    of_f2 = [share(tuple(score / temperature for score in TEACHER), 1) for temperature in (1.5237, 1.5239)]
    assert of_f2[0] < 1 / 3 < of_f2[1] and round(1.5238, 2) == 1.52
    assert share(TEACHER, 1) - 1 / 3 == pytest.approx(-0.066, abs=5e-4)
    signs = [lesson_05.pull(losses.kl, [0.0] * 3, at)[1] < 0 for at in (0.5, 1.0, 4.0)]
    assert signs == [True, True, False]
    for temperature in (0.5, 1.0, 1.52, 4.0):
        wins = sigmoid(4 / temperature) - 0.5, 0.5 - sigmoid(1 / temperature)  # over b4, and against f3
        assert lesson_05.pull(losses.ranknet, [0.0] * 3, temperature)[1] == pytest.approx(sum(wins) / 3) and sum(wins) > 0
        assert lesson_05.pull(losses.margin_mse, [0.0] * 3, temperature)[1] == pytest.approx(-1 / temperature)
        assert lesson_05.pull(losses.lce, [0.0] * 3, temperature) == pytest.approx([2 / 3, -1 / 3, -1 / 3])
    assert 2.015 < math.exp(1 / 1.5) + math.exp(-4 / 1.5) < 2.025 and 1.945 < math.exp(1 / 1.6) + math.exp(-4 / 1.6) < 1.955  # the hints


@pytest.mark.parametrize(("student", "temperature"), [([0.0, 0.0, 0.0], 1.0), ([1.5, -0.5, 2.25], 0.6), ([2.0, 1.0, -3.0], 1.0)])
def test_the_sliders_compute_what_the_losses_do(student: list[float], temperature: float) -> None:
    spec = drawing.notebook_spec(drawing.chart_spec(lesson_05.dials()))
    values = {"temperature": temperature} | dict(zip(("of_f3", "of_f2", "of_b4"), student, strict=True))
    parameters = {parameter["name"]: parameter for parameter in spec["params"]}
    for name, value in values.items():
        assert parameters[name]["bind"]["input"] == "range"
        parameters[name]["value"] = value
    svg = vl_convert.vegalite_to_svg(json.dumps(spec), vl_version="5.8")
    shown = {
        (loss, document): float(number.replace("\u2212", "-"))
        for document, loss, number in re.findall(r"document: (\w+); number: [^;]*; loss: (\w+); pull: ([+\u2212\-][\d.]+)", svg)
    }
    for name, loss in lesson_05.NAMES.items():
        for document, force in zip(("f3", "f2", "b4"), lesson_05.pull(loss, student, temperature), strict=True):
            assert shown[name, document] == pytest.approx(force, abs=6e-4), (name, document)

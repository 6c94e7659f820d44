"""The numbers of lesson 6, by plain mathematics, and its picture with a slider, which a browser computes."""

from __future__ import annotations

import json
import math
import re

import pytest
import vl_convert
from scipy.integrate import quad

from rd_utils.lessons import lesson_06, toy
from rd_utils.report import drawing

TEACHER = (2.0, 1.0, -3.0)


def h(p: float) -> float:
    return -sum(q * math.log2(q) for q in (p, 1 - p) if 0 < q < 1)


def win(difference: float, temperature: float = 1.0) -> float:
    return 1 / (1 + math.exp(-difference / temperature))


def three(temperature: float = 1.0) -> list[float]:
    of_pairs = [h(win(difference, temperature)) for difference in (1, 5, 4)]
    mass = [math.exp(score / temperature) for score in TEACHER]
    listwise = -sum(m / sum(mass) * math.log2(m / sum(mass)) for m in mass) / math.log2(3)
    return [sum(of_pairs) / 3, (of_pairs[0] + of_pairs[1]) / 2, listwise]


def test_the_numbers_that_lesson_6_quotes() -> None:
    query, group = toy.GROUP
    assert tuple(toy.scores()[query][list(group)]) == TEACHER
    assert three() == pytest.approx([0.343, 0.449, 0.556], abs=5e-4)
    assert lesson_06.EXERCISES["three entropies"].value == pytest.approx(three())
    assert [h(win(difference)) for difference in (1, 5, 4)] == pytest.approx([0.840, 0.058, 0.130], abs=5e-4)
    assert [win(difference) for difference in (1, 5, 4)] == pytest.approx([0.731, 0.993, 0.982], abs=5e-4)
    assert three()[2] * math.log2(3) == pytest.approx(0.880, abs=6e-4)
    assert three()[0] * math.log(2) == pytest.approx(0.343 * 0.693, abs=5e-4) == pytest.approx(0.237, abs=1e-3)
    assert three(2)[0] == pytest.approx(0.62, abs=5e-3) and three(4)[0] == pytest.approx(0.87, abs=6e-3)
    assert three(lesson_06.EXERCISES["temperature of the group"].value)[0] == pytest.approx(0.7, abs=1e-9)
    assert lesson_06.EXERCISES["temperature of the group"].value == pytest.approx(2.39, abs=5e-3)
    for temperature in (0.1, 0.3, 0.5, 1, 2, 4, 10):
        pairwise, positive, listwise = three(temperature)
        assert pairwise < positive < listwise


def test_noise_of_sd_2_in_each_of_two_equal_scores_leaves_054_bits() -> None:
    spread = 2 * math.sqrt(2)  # of the difference of two scores
    density = math.sqrt(2 * math.pi) * spread
    expected, _ = quad(lambda e: h(win(e)) * math.exp(-0.5 * (e / spread) ** 2) / density, -30, 30)
    assert expected == pytest.approx(0.5415, abs=5e-5)
    assert lesson_06.EXERCISES["two irrelevant documents"].value == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 2.5, 10.0])
def test_the_slider_computes_what_the_entropies_are(temperature: float) -> None:
    spec = drawing.notebook_spec(drawing.chart_spec(lesson_06.dial()))
    (parameter,) = [parameter for parameter in spec["params"] if parameter["name"] == "temperature"]
    assert parameter["bind"]["input"] == "range"
    parameter["value"] = temperature
    svg = vl_convert.vegalite_to_svg(json.dumps(spec), vl_version="5.8")
    found = re.findall(r"value: ([^;]+); name: ([^\"]+)\"", svg)
    shown = {name: float(value.replace("\u2212", "-")) for value, name in found}
    assert [shown[kind] for kind in ("pairwise", "positive", "listwise")] == pytest.approx(three(temperature), abs=1e-6)
    assert shown["f3 over f2"] == pytest.approx(win(1, temperature), abs=6e-4)
    mass = [math.exp((score - 2) / temperature) for score in TEACHER]
    assert shown["f3"] == pytest.approx(1 / sum(mass), abs=6e-4)

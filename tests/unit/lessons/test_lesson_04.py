"""Lesson 4: the numbers that it quotes, by plain arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from rd_utils.analysis import locality
from rd_utils.lessons import checks, lesson_04, toy

LIST = ["f2", "f4", "f3", "f1", "a1", "b1", "a4", "a2"]


def others() -> list[str]:
    return [name for name in LIST if name != toy.LABELS["q2"]]


def test_the_list_of_eight_is_that_of_the_dot_products() -> None:
    query = toy.vector("q2")
    found = sorted(toy.DOCUMENTS, key=lambda name: -sum(a * b for a, b in zip(query, toy.vector(name), strict=True)))
    assert found[:8] == LIST
    relevant = {name for name in LIST if toy.grades().q2[name] > 0}
    assert toy.LABELS["q2"] in relevant and len(relevant) == 3 and len(LIST) == 8


def test_the_numbers_that_lesson_4_quotes() -> None:
    hidden = [name for name in others() if toy.grades().q2[name] > 0]
    known = checks.exercises()
    at_random, from_list = Fraction(len(hidden), len(others())), Fraction(len(set(hidden) & set(others()[:5])), 5)
    assert (at_random, from_list) == (Fraction(2, 7), Fraction(2, 5))
    assert known["false at random"].value == float(at_random) and known["false from the list"].value == float(from_list)
    for n_docs in (7, 100):  # of which the list has five
        uniform = np.full(n_docs, 1 / n_docs)
        listed = np.where(np.arange(n_docs) < 5, 1 / 5, 0)
        assert locality.density_ratio(uniform, 7 / 15 * uniform + 8 / 15 * listed) == pytest.approx(15 / 7)
        assert math.isinf(locality.density_ratio(uniform, listed))
    assert known["kappa"].value == [15 / 7, math.inf] and round(15 / 7, 2) == 2.14
    assert round(known["none of ten"].value, 3) == 0.259 and (1 - known["none of ten"].value) ** 10 == pytest.approx(0.05)


def test_what_the_filters_of_lesson_4_keep() -> None:
    scores, positive = toy.scores().q2, toy.scores().q2[toy.LABELS["q2"]]
    odds = {name: 1 / (1 + math.exp(-scores[name])) for name in LIST}
    dropped = {
        "absolute margin 2": [name for name in others() if scores[name] > positive - 2],
        "absolute margin 3": [name for name in others() if scores[name] > positive - 3],
        "relative margin .6": [name for name in others() if scores[name] > positive - 0.6 * abs(positive)],
        "share .5": [name for name in others() if odds[name] > 0.5 * odds["f3"]],
    }
    assert dropped == {
        "absolute margin 2": ["f2", "f1"],
        "absolute margin 3": ["f2", "f4", "f1"],
        "relative margin .6": ["f2"],
        "share .5": ["f2", "f1"],
    }
    values = np.array([scores[name] for name in others()])
    for name, rule, value, units in (
        ("absolute margin 3", "absolute_margin", 3.0, "raw"),
        ("relative margin .6", "relative_margin", 0.6, "raw"),
        ("share .5", "share", 0.5, "sigmoid"),
    ):
        left = lesson_04.kept(rule, units)(values, positive, value)
        assert [doc for doc, stays in zip(others(), left, strict=True) if not stays] == dropped[name]

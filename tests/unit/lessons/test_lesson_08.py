"""The numbers of lesson 8, by plain mathematics: effects, interactions and shares of tables of two by two."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from rd_utils.analysis import factorial
from rd_utils.lessons import lesson_08


def parts(table: list[list[float]]) -> tuple[float, float, float]:
    """Return the sums of squares of rows, columns and interaction of a table of two by two."""
    (a, b), (c, d) = table
    rows, columns, both = (a + b - c - d) / 4, (a + c - b - d) / 4, (a - b - c + d) / 4
    return 4 * rows**2, 4 * columns**2, 4 * both**2


def shares(table: list[list[float]]) -> list[float]:
    squares = parts(table)
    return [square / sum(squares) for square in squares]


def test_the_numbers_that_lesson_8_quotes() -> None:
    two, one = ([list(row) for row in table.to_numpy()] for table in lesson_08.TABLES.values())
    assert two == [[0.60, 0.64], [0.62, 0.66]] and one == [[0.60, 0.68], [0.66, 0.62]]
    assert shares(two) == pytest.approx([0.2, 0.8, 0.0]) and shares(one) == pytest.approx([0.0, 0.1, 0.9])
    assert two[1][0] - two[0][0] == pytest.approx(0.02) == pytest.approx(two[1][1] - two[0][1])  # what wide groups bring
    assert two[0][1] - two[0][0] == pytest.approx(0.04) == pytest.approx(two[1][1] - two[1][0])  # what a high entropy brings
    assert [row.index(max(row)) for row in two] == [1, 1] and [row.index(max(row)) for row in one] == [1, 0]


def test_the_exercises_of_lesson_8_by_hand() -> None:
    by_hand = [[0.50, 0.60], [0.56, 0.58]]
    assert lesson_08.BY_HAND.to_numpy().tolist() == by_hand
    assert np.mean(by_hand) == pytest.approx(0.56)
    assert np.mean(by_hand, axis=1) == pytest.approx([0.55, 0.57]) and np.mean(by_hand, axis=0) == pytest.approx([0.53, 0.59])
    assert 0.50 - 0.55 - 0.53 + 0.56 == pytest.approx(-0.02)
    assert lesson_08.EXERCISES["shares of a 2 x 2"].value == pytest.approx([1 / 14, 9 / 14, 4 / 14])
    assert shares(by_hand) == pytest.approx([1 / 14, 9 / 14, 4 / 14])
    better = [(first + second) / 2 > 0 for first, second in product((0.02, -0.01), repeat=2)]
    assert lesson_08.EXERCISES["two seeds"].value == sum(better) / 4 == 0.75
    raised = [by_hand[0], [value + 0.05 for value in by_hand[1]]]
    changed = [not np.isclose(one, other) for one, other in zip(parts(by_hand), parts(raised), strict=True)]
    assert lesson_08.EXERCISES["a better row"].value == ["rows"] and changed == [True, False, False]


def test_a_table_is_what_its_rows_and_columns_say_and_its_interaction() -> None:
    table = np.random.default_rng(0).normal(size=(3, 4))
    left = lesson_08.interaction(table)
    assert left.sum(axis=0) == pytest.approx(np.zeros(4)) and left.sum(axis=1) == pytest.approx(np.zeros(3))
    assert lesson_08.interaction(table[:, :1] + table[:1, :]) == pytest.approx(np.zeros((3, 4)))


def test_shares_are_of_the_whole_and_seeds_have_their_own() -> None:
    values = np.random.default_rng(1).normal(size=(3, 3, 2))
    assert lesson_08.shares(values).sum() == pytest.approx(1)
    shifted = np.zeros((2, 2, 2)) + np.array([0.1, -0.1]) + np.array([[0.2], [-0.2]])[:, :, None]
    assert lesson_08.shares(shifted) == pytest.approx([0.8, 0, 0, 0.2, 0])


def test_how_often_best_agrees_with_the_packages_surface() -> None:
    values = 0.5 + np.random.default_rng(2).normal(scale=0.1, size=(2, 3, 2, 40))
    rng = np.random.default_rng(0)
    draws = [(rng.integers(0, 2, 2), rng.integers(0, 40, 40)) for _ in range(2000)]
    mine = lesson_08.resampled(values, draws)
    theirs = factorial.optima(lesson_08.surface(values, ["compact", "wide"], [0.05, 0.2, 0.6]))
    assert mine.sum(axis=1) == pytest.approx([1, 1])
    assert mine == pytest.approx(theirs.to_numpy(dtype=float), abs=0.05)

"""The numbers of lesson 10, by plain arithmetic."""

from __future__ import annotations

from itertools import pairwise

import pytest

from rd_utils.lessons import lesson_10

RECIPES = {  # seconds, calls, nDCG
    "BM25": (1, 0, 0.450),
    "LCE, random": (5, 0, 0.600),
    "LCE": (4, 0, 0.630),
    "KL": (4, 4800, 0.650),
    "KL, twice": (6, 9600, 0.655),
}


def bill(name: str, price: float) -> float:
    seconds, calls, _ = RECIPES[name]
    return seconds + price * calls


def standing(price: float) -> list[str]:
    """Return the names on the frontier, from cheap to dear."""

    def dominates(one: str, other: str) -> bool:
        first, second = (bill(one, price), -RECIPES[one][2]), (bill(other, price), -RECIPES[other][2])
        return first != second and all(x <= y for x, y in zip(first, second, strict=True))

    stands = [name for name in RECIPES if not any(dominates(other, name) for other in RECIPES)]
    return sorted(stands, key=lambda name: bill(name, price))


def test_the_toy_is_the_table_that_the_lesson_prints() -> None:
    table = lesson_10.POINTS.set_index("name")
    assert {name: tuple(row) for name, row in table.iterrows()} == RECIPES
    assert 300 * 16 == RECIPES["KL"][1] == RECIPES["KL, twice"][1] / 2


@pytest.mark.parametrize("price", [0.0, 0.001, 0.01])
def test_the_frontier_by_plain_comparison(price: float) -> None:
    costs = lesson_10.bills(lesson_10.POINTS["cpu_seconds"].to_numpy(), lesson_10.POINTS["teacher_calls"].to_numpy(), price)
    found = lesson_10.on_frontier(costs, lesson_10.POINTS["value"].to_numpy())
    assert set(lesson_10.POINTS["name"][found]) == set(standing(price))


def test_the_numbers_that_lesson_10_quotes() -> None:
    assert standing(0.001) == ["BM25", "LCE", "KL", "KL, twice"]
    assert standing(0.0) == ["BM25", "KL", "KL, twice"] == lesson_10.EXERCISES["a free teacher"].value
    assert bill("KL, twice", 0.001) == pytest.approx(15.6) and bill("KL", 0.001) == pytest.approx(8.8)
    assert lesson_10.EXERCISES["the last .01"].value == pytest.approx(15.6 - 8.8)
    steps = [
        (bill(dear, 0.001) - bill(cheap, 0.001)) / (RECIPES[dear][2] - RECIPES[cheap][2]) * 0.01
        for cheap, dear in pairwise(standing(0.001))
    ]
    assert steps == pytest.approx([1 / 6, 2.4, 13.6])
    costs = lesson_10.bills(lesson_10.POINTS["cpu_seconds"].to_numpy(), lesson_10.POINTS["teacher_calls"].to_numpy(), 0.001)
    assert lesson_10.prices(costs, lesson_10.POINTS["value"].to_numpy(), 0.01) == pytest.approx(steps)


def test_lce_needs_no_teachers_call_and_kl_is_worth_one_up_to_two_milliseconds() -> None:
    assert RECIPES["LCE"][1] == 0 and lesson_10.EXERCISES["teacher calls"].value == [0, 4800, 4800]
    price = lesson_10.EXERCISES["what a call may cost"].value / 1000
    gain = (RECIPES["KL"][2] - RECIPES["LCE"][2]) / 0.01 * 5
    assert bill("KL", price) - bill("LCE", price) == pytest.approx(gain) and round(1000 * price, 2) == 2.08

"""Lesson 3: the numbers that it quotes, by plain arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rd_utils.lessons import checks, lesson_03, toy


def test_a_text_stands_at_the_mean_of_its_words() -> None:
    places = toy.word_vectors()
    for name in [*toy.DOCUMENTS, *toy.QUERIES]:
        assert places.loc[toy.words(name)].mean().to_numpy() == pytest.approx(toy.vector(name), abs=1e-12)
    assert (toy.shares() @ places).to_numpy() == pytest.approx(toy.vectors()[["x", "y"]].to_numpy(), abs=1e-12)
    assert {word for name in toy.DOCUMENTS | toy.QUERIES for word in toy.words(name)} == set(places.index)


def a_step(order: tuple[str, ...], places: dict[str, list[float]], rate: float) -> tuple[float, list[float]]:
    """Take a step of LCE on the group of q2 in place, word by word; return the loss and the shares before it."""
    at = {name: np.mean([places[word] for word in toy.words(name)], axis=0) for name in ("q2", *order)}
    powers = [math.exp(float(at["q2"] @ at[name])) for name in order]
    shares = [power / sum(powers) for power in powers]
    slopes = [share - (place == 0) for place, share in enumerate(shares)]
    changes = {name: slope * at["q2"] for name, slope in zip(order, slopes, strict=True)}
    changes["q2"] = sum(slope * at[name] for name, slope in zip(order, slopes, strict=True))
    for name, change in changes.items():
        for word in toy.words(name):
            places[word] = places[word] - rate * change / len(toy.words(name))
    return -math.log(shares[0]), shares


def scored(places: dict[str, list[float]], names: tuple[str, ...]) -> list[float]:
    at = {name: np.mean([places[word] for word in toy.words(name)], axis=0) for name in ("q2", *names)}
    return [float(at["q2"] @ at[name]) for name in names]


def words_in_the_plane() -> dict[str, np.ndarray]:
    return {word: np.array(place) for word, place in toy._WORD_PLACES.items()}


def test_the_numbers_that_lesson_3_quotes() -> None:
    _, group = toy.GROUP
    places = words_in_the_plane()
    assert scored(places, group) == pytest.approx([5.46, 6.26, -1.52])
    loss, shares = a_step(group, places, 4.0)
    assert (round(loss, 3), [round(share, 4) for share in shares]) == (1.171, [0.3099, 0.6898, 0.0003])
    moved = {}
    for name in [*toy.DOCUMENTS, "q2"]:
        moved[name] = math.dist(np.mean([places[word] for word in toy.words(name)], axis=0), toy.vector(name))
    assert {name for name, length in moved.items() if length > 0.005} == {"q2", "a1", "a2", "a3", "f1", "f2", "f3", "b4"}
    assert 9.5 < moved["f2"] / moved["b4"] < 10.5
    assert toy.words("b4")[2] in toy.words("f3")  # new

    places = words_in_the_plane()
    for _ in range(20):
        a_step(group, places, 1.0)
    first, best, other = scored(places, group)
    assert first > best > other and round(math.log(sum(math.exp(score - first) for score in (first, best, other))), 3) == 0.016


def test_the_exercises_of_lesson_3() -> None:
    known = checks.exercises()
    assert known["lce of equal scores"].value == pytest.approx(math.log(3)) and round(math.log(3), 3) == 1.099
    places = words_in_the_plane()
    for _ in range(20):
        a_step(("b4", "f2", "f3"), places, 1.0)
    found = dict(zip(("f3", "f2", "b4"), scored(places, ("f3", "f2", "b4")), strict=True))
    assert max(found, key=found.__getitem__) == known["positive in column 2"].value


def test_the_loop_takes_the_steps_of_plain_arithmetic() -> None:
    _, group = toy.GROUP
    places = words_in_the_plane()
    a_step(group, places, 4.0)
    shares, vectors = torch.tensor(toy.shares().to_numpy()), torch.tensor(toy.word_vectors().to_numpy())
    rows = torch.tensor([[list(toy.DOCUMENTS).index(name) for name in group]])
    stepped = lesson_03.trained(vectors, shares[[13]], shares[:12], rows, 1, 4.0)
    assert stepped.numpy() == pytest.approx(np.array(list(places.values())), abs=1e-9)

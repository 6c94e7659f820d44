"""Lesson 2: the numbers that it quotes, by plain arithmetic."""

from __future__ import annotations

import math

import pytest

from rd_utils.lessons import checks, toy
from rd_utils.lessons.lesson_02 import scored


def by_hand(query: str, documents: dict[str, list[str]]) -> dict[str, float]:
    """Return the score of every document for a query: the formula of the lesson, written out."""
    mean = sum(map(len, documents.values())) / len(documents)
    found = {}
    for name, words in documents.items():
        found[name] = 0.0
        for word in toy.words(query):
            n = sum(word in other for other in documents.values())
            f = words.count(word)
            found[name] += math.log(1 + (len(documents) - n + 0.5) / (n + 0.5)) * f / (f + 1.2 * (0.25 + 0.75 * len(words) / mean))
    return found


DOCUMENTS = {name: toy.words(name) for name in toy.DOCUMENTS}


def test_the_numbers_that_lesson_2_quotes() -> None:
    known = checks.exercises()
    assert sum(map(len, DOCUMENTS.values())) / 12 == 5.75 and sum("appl" in words for words in DOCUMENTS.values()) == 5
    scores = by_hand("q2", DOCUMENTS)
    assert known["bm25 of q2 and f3"].value == pytest.approx(scores["f3"]) and round(scores["f3"], 3) == 0.359
    assert scores["a1"] == scores["a2"] == scores["f1"] > scores["a3"] > scores["f3"] > 0 and sum(map(bool, scores.values())) == 5
    unmatched = [
        [query, name]
        for query in toy.QUERIES
        for name, score in by_hand(query, DOCUMENTS).items()
        if toy.grades()[query][name] > 0 and score == 0
    ]
    assert unmatched == [known["scores 0"].value] == [["q2", "f2"]]


def test_f2_in_other_words() -> None:
    rewritten = DOCUMENTS | {"f2": ["appl", "report", "record", "profit"]}
    before, after = by_hand("q2", DOCUMENTS), by_hand("q2", rewritten)
    assert sorted(after, key=lambda name: -after[name]).index("f2") + 1 == checks.exercises()["f2 in other words"].value
    assert all(after[name] < before[name] for name in before if before[name] > 0) and checks.exercises()["the others"].value == "fall"


def test_the_formula_is_that_of_the_suite() -> None:
    for query in toy.QUERIES:
        for name, score in by_hand(query, DOCUMENTS).items():
            assert scored(toy.words(query), DOCUMENTS[name], list(DOCUMENTS.values())) == pytest.approx(score, abs=1e-6)


def test_vectors_put_the_best_answer_of_q2_first_and_a_sentence_of_the_firm_second() -> None:
    query = toy.vector("q2")
    found = sorted(toy.DOCUMENTS, key=lambda name: -float(query @ toy.vector(name)))
    assert found[:3] == ["f2", "f4", "f3"] and toy.grades().q2["f4"] == 0

"""The course: every check knows the right answer and the wrong ones, and readers' notebooks are the solved ones with dots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from notebook_cells import cells, code, outputs, tags
from studies_on_disk import ROOT

from rd_utils import lessons
from rd_utils.lessons import checks, readers, terms, toy
from rd_utils.lessons.checks import Function, Value

SOLVED = sorted((ROOT / checks.SOLUTIONS).glob("*.ipynb"))
MISTAKES = [(name, hint) for name, exercise in checks.exercises().items() for hint in exercise.mistakes]
EXERCISES = list(checks.exercises())


@pytest.fixture(autouse=True)
def nothing_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_asked", type(checks._asked)())


def sources(path: Path, kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == kind]


def unbroken(said: str) -> str:
    return " ".join(said.split())


# --- every exercise ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXERCISES)
def test_the_right_answer_is_right(name: str) -> None:
    exercise = checks.exercises()[name]
    answer = exercise.reference if isinstance(exercise, Function) else exercise.value
    assert checks.verdict(name, answer).startswith(f"right: {name}")


@pytest.mark.parametrize(("name", "hint"), MISTAKES, ids=[f"{name}: {hint[:30]}" for name, hint in MISTAKES])
def test_a_mistake_that_people_make_earns_its_own_hint(name: str, hint: str) -> None:
    said = checks.verdict(name, checks.exercises()[name].mistakes[hint])
    assert said.startswith("not yet:") and f" hint: {hint}" in unbroken(said)
    assert max(map(len, said.splitlines())) <= checks.WIDTH


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_left_open_is_not_yet_right_and_costs_no_hint(name: str) -> None:
    assert checks.verdict(name, ...).startswith("not yet: put your answer")
    assert not checks._asked


@pytest.mark.parametrize("name", EXERCISES)
def test_a_solution_is_shown_when_asked_for(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    lessons.solution(name)
    shown = capsys.readouterr().out
    assert shown.strip() and "..." not in shown.split("\n")[-2]


def test_hints_get_plainer_and_then_the_solution_is_offered() -> None:
    exercise = checks.exercises()["ndcg"]
    said = [unbroken(checks.verdict("ndcg", lambda grades, k: 0.123)) for _ in range(4)]
    assert [hint in text for hint, text in zip(exercise.hints, said, strict=False)] == [True] * 3
    assert "lessons.solution('ndcg')" in said[-1] and exercise.hints[-1] in said[-1] and "solution" not in said[0]


def test_what_is_wrong_is_said_first_thing_first() -> None:
    exercise = Function(lambda x: x * 2, lambda rng: (rng.normal(size=3),), ("double it",))
    assert exercise.wrong(lambda x: np.where(np.arange(3) == 1, 0.0, x * 2)).startswith("the value at 1 is 0, not right")
    assert "has the shape (2,), not (3,)" in exercise.wrong(lambda x: 2 * x[:2])
    assert "it raises ZeroDivisionError" in exercise.wrong(lambda x: 1 / 0)
    assert "returns nothing" in exercise.wrong(lambda x: None)
    assert exercise.wrong(lambda x: x * np.nan).startswith("the value at 0 is not a number")


def test_an_answer_that_only_seems_right_is_not_right() -> None:
    exercise = Function(lambda x: x * 2, lambda rng: (torch.from_numpy(rng.normal(size=3)),), ("double it",))
    assert not exercise.wrong(lambda x: (x.clone().requires_grad_() * 2).detach())
    assert "changes what it is given" in exercise.wrong(lambda x: x.mul_(2))
    assert ".detach()" in exercise.wrong(lambda x: x.clone().requires_grad_() * 2)


def test_a_gradient_is_compared_too() -> None:
    exercise = Function(lambda x: (x**2).sum(), lambda rng: (torch.from_numpy(rng.normal(size=3)),), ("square it",), gradient=True)
    assert not exercise.wrong(lambda x: (x * x).sum())
    assert "gradient is not there" in exercise.wrong(lambda x: (x.detach() ** 2).sum())
    assert "the gradient at 0" in exercise.wrong(lambda x: (x * x.detach()).sum())


def test_numbers_are_right_to_their_digits_and_words_whatever_their_case() -> None:
    number = Value(0.84, ("divide",), digits=3)
    assert not number.wrong(0.8404) and number.wrong(0.8406) and number.wrong(None)
    words = Value(["nDCG@10", "R@10"], ("which",))
    assert not words.wrong(("ndcg@10", "R@10 ")) and words.wrong(["R@10"])


def test_a_number_that_is_right_but_for_how_it_is_written_is_told_so() -> None:
    numbers = Value([2 / 3, -1 / 3], ("divide",), digits=3)
    assert numbers.wrong([0.67, -0.33]) and "3 decimals are asked for" in numbers.nearly([0.67, -0.33])
    assert "in percent" in numbers.nearly([66.67, -33.33])
    assert not any(map(numbers.nearly, ([0.66, -0.33], [0.7, -0.3], "b4", None, 0.67)))
    assert "0.26" in checks.verdict("none of ten", 0.26) and "3 decimals" in checks.verdict("none of ten", 0.26)
    assert not checks._asked


def test_a_number_for_a_word_is_wrong_and_no_error() -> None:
    assert Value("b4", ("which",)).wrong(0) and Value(["b4"], ("which",)).wrong(0.5) and Value(0.5, ("half",)).wrong("b4")


def test_an_unknown_exercise_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="there is no exercise 'ndgc'.*ndcg"):
        lessons.check("ndgc", 1)


# --- the notebooks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SOLVED, ids=lambda path: path.stem)
class TestEveryLesson:
    def test_the_readers_notebook_is_the_solved_one_with_dots(self, path: Path) -> None:
        own = path.parents[1] / path.name
        assert own.read_text(encoding="utf-8") == readers.written(path), "run python -m rd_utils.lessons"
        tagged = [cell for cell in cells(path) if checks.TAG in tags(cell)]
        dotted = [source for source in sources(own, "code") if "..." in source]
        assert len(tagged) == len(dotted) >= 4
        assert not [cell for cell in cells(own) if cell.get("outputs") or cell.get("execution_count")]

    def test_the_first_use_of_every_term_leads_to_the_glossary(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        assert text == readers.with_links(path), "run python -m rd_utils.lessons"
        assert text.count("docs/glossary.md#") >= 3

    def test_every_check_was_run_and_says_right(self, path: Path) -> None:
        found = [cell for cell in code(path) if "check(" in "".join(cell["source"])]
        assert len(found) >= 3
        for cell in found:
            text = "".join("".join(output.get("text", "")) for output in cell["outputs"])
            assert text.count("right: ") == "".join(cell["source"]).count("check(") and "not yet" not in text
            assert "nbval-check-output" in tags(cell)

    def test_it_has_the_form_of_a_lesson(self, path: Path) -> None:
        text = "\n".join(sources(path, "markdown"))
        number = int(path.stem[:2])
        assert text.startswith(f"# Lesson {number} ")
        for part in ("**Question.**", "**You write**", "**Time.**", "## A prediction", "## Your code", "## The same by the package"):
            assert part in text, part
        for part in ("## On data", "## Exercises", "**1, ", "**2, ", "**3, ", "## What you can do now"):
            assert part in text, part
        assert "prediction = " in "\n".join(sources(path, "code"))

    def test_what_it_shows_fits_a_window(self, path: Path) -> None:
        shown = outputs(path)
        assert not [output for output in shown if output["output_type"] == "error" or output.get("name") == "stderr"]
        assert any("image/png" in output.get("data", {}) for output in shown)
        assert max(len(line) for output in shown for line in "".join(output.get("text", "")).splitlines()) <= 107


def test_every_exercise_is_asked_in_one_lesson() -> None:
    asked = [source for path in SOLVED for source in sources(path, "code")]
    for name in EXERCISES:
        assert sum(source.count(f'check("{name}"') for source in asked) == 1, name


# --- the toy ----------------------------------------------------------------------------------------------------------------------


def test_the_toy_is_whole() -> None:
    assert (len(toy.DOCUMENTS), len(toy.QUERIES), toy.grades().size, toy.scores().size) == (12, 4, 48, 48)
    assert set(toy.vectors().index) == set(toy.DOCUMENTS) | set(toy.QUERIES)
    for query, label in toy.LABELS.items():
        assert toy.grades()[query][label] >= 2
    best = toy.grades().idxmax()
    assert [query for query in toy.QUERIES if best[query] != toy.LABELS[query]] == ["q2", "q3"]
    assert toy.scores().idxmax().to_dict() == toy.LABELS


def test_a_term_is_linked_once_where_it_is_first_used_in_its_own_sense() -> None:
    glossary = "### false negative\nx\n### negative\nx\n### BM25\nx\n### entropy\nx\n"
    texts = [
        "# BM25\nA `BM25` and a [BM25](bm25.md): $BM25$.",
        "BM25 draws false negatives, and negative numbers.",
        "*Negatives*; BM25's entropies.",
    ]
    title = [{"cell_type": "markdown", "source": ["# BM25"]}]
    notebook = {
        "cells": title + [{"cell_type": "markdown", "source": [text]} for text in texts] + [{"cell_type": "code", "source": ["BM25"]}]
    }
    terms.linked(notebook, glossary, "g.md")
    once = ["".join(cell["source"]) for cell in notebook["cells"]]
    assert once == [
        "# BM25",
        texts[0],
        "[BM25](g.md#bm25) draws [false negatives](g.md#false-negative), and negative numbers.",
        "*[Negatives](g.md#negative)*; BM25's [entropies](g.md#entropy).",
        "BM25",
    ]
    terms.linked(notebook, glossary, "g.md")
    assert ["".join(cell["source"]) for cell in notebook["cells"]] == once

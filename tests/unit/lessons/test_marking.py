"""Marks count the lesson's own checks, whatever students did to them, their files' names, or their outputs."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from studies_on_disk import ROOT

from rd_utils.lessons import __main__ as command
from rd_utils.lessons import checks, marking

SOLVED = sorted((ROOT / checks.SOLUTIONS).glob("*.ipynb"))
FIRST = json.loads(SOLVED[0].read_text(encoding="utf-8"))
LESSON = marking.lessons()[0]


def student(**sources: str) -> dict[str, Any]:
    """The first lesson's first code cell and those with a check or a solution, some of other source."""
    cells = [cell for cell in FIRST["cells"] if cell["cell_type"] == "code"]
    wanted = [cells[0], *(cell for cell in cells[1:] if checks.TAG in cell["metadata"].get("tags", []) or cell["id"] in LESSON.checks)]
    own = copy.deepcopy(FIRST) | {"cells": copy.deepcopy(wanted)}
    for cell in own["cells"]:
        cell["source"] = sources.get(f"c{cell['id']}", "".join(cell["source"]))
    return own


def solution_before(exercise: str) -> str:
    """The id of the cell that a reader writes for an exercise of the first lesson."""
    last = ""
    for cell in FIRST["cells"]:
        last = cell["id"] if checks.TAG in cell["metadata"].get("tags", []) else last
        if cell["id"] in LESSON.checks and f'check("{exercise}"' in "".join(cell["source"]):
            return last
    raise AssertionError(exercise)


def check_of(exercise: str) -> str:
    return next(name for name, source in LESSON.checks.items() if f'check("{exercise}"' in source)


def test_every_exercise_is_graded_once() -> None:
    names = [name for lesson in marking.lessons() for name in lesson.exercises]
    assert sorted(names) == sorted(checks.exercises())


@pytest.mark.parametrize("path", SOLVED, ids=lambda path: path.stem)
def test_a_lesson_is_known_by_its_cells_and_its_solved_notebook_is_all_right(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    lesson = marking.lesson_of(notebook, marking.lessons())
    assert lesson is not None and lesson.name == path.stem
    found = marking.marked(notebook, lesson, "x.ipynb")
    assert list(found.right) == lesson.exercises and not found.wrong


def test_a_check_that_was_changed_stands_again_and_outputs_are_gone() -> None:
    place = check_of("ndcg")
    own = student(**{f"c{place}": 'print("right: ndcg")'})
    fresh = {cell["id"]: cell for cell in marking.restored(own, LESSON)["cells"]}
    assert fresh[place]["source"] == LESSON.checks[place] and not any(cell["outputs"] for cell in fresh.values())


def test_only_the_lessons_own_checks_count_and_one_that_is_gone_is_not_right() -> None:
    own = student()
    for cell in own["cells"]:
        if cell["id"] == check_of("ndcg"):
            cell["id"] = "copied"
    found = marking.marked(own, LESSON, "x.ipynb")
    assert "ndcg" in found.wrong and len(found.right) == len(LESSON.exercises) - 1


def test_a_class_is_run_and_graded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RD_OUTPUTS", str(tmp_path / "outputs"))
    (tmp_path / "class" / "anna").mkdir(parents=True)
    wrong = {f"c{solution_before('swap 9 and 11')}": "changed = 1 / 0", f"c{check_of('ndcg')}": 'print("right: ndcg")'}
    wrong[f"c{solution_before('ndcg')}"] = "def ndcg(grades, k):\n    return 0.5"
    (tmp_path / "class" / "anna" / "homework.ipynb").write_text(json.dumps(student(**wrong)))
    (tmp_path / "class" / "notes.ipynb").write_text(json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    (tmp_path / "class" / "torn.ipynb").write_text("{")
    assert command.main(["mark", str(tmp_path / "class")]) == 0
    head, anna, notes, torn = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert head == ["notebook", "lesson", "right", "of", "not yet"]
    assert anna[:2] == ["anna/homework.ipynb", LESSON.name] and anna[3] == str(len(LESSON.exercises))
    assert set(anna[4].split(", ")) == {"ndcg", "swap 9 and 11"} and int(anna[2]) == len(LESSON.exercises) - 2
    assert notes == ["notes.ipynb", "", "0", "0", "it has no check of a lesson"] and torn[4] == "it is no notebook"


def test_a_folder_without_notebooks_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["mark", str(tmp_path)]) == 2
    assert "holds no notebook" in capsys.readouterr().err

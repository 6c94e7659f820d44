"""Marks of a class: ``python -m rd_utils.lessons mark FOLDER`` runs students' notebooks and counts the checks that say *right*.

A lesson is recognised by the ids of its cells, whatever its file is called. Every check stands again as the lesson has it before anything
runs, and only what those cells print counts: a check that a student has changed or copied decides nothing. Students' code is run as it
stands, so it is run where it can do no harm.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rd_utils.lessons.checks import SOLUTIONS
from rd_utils.store import shipped

SECONDS = 300  # that a cell may take
_ASKED = re.compile(r'\bcheck\("([^"]+)"')
_RIGHT = re.compile(r"^right: (.+?)(?:, as the package has it on \d+ random inputs)?$", re.MULTILINE)


class MarkingError(ValueError):
    """There is nothing to mark; the message says what was expected."""


class Lesson(NamedTuple):
    """A lesson as it is marked: its name, and the source of every cell with checks by the cell's id."""

    name: str
    checks: Mapping[str, str]

    @property
    def exercises(self) -> list[str]:
        """The names of its exercises, in their order."""
        return [name for source in self.checks.values() for name in _ASKED.findall(source)]


class Mark(NamedTuple):
    """What one notebook has: the lesson, the exercises that are right, and those that are not.

    ``problem`` says why a notebook was not run to its end; it is empty where it was.
    """

    notebook: str
    lesson: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    problem: str = ""


def lessons() -> list[Lesson]:
    """Return all lessons, in their order."""
    found = []
    for path in sorted(shipped(SOLUTIONS).glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources = {cell["id"]: "".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"}
        found.append(Lesson(path.stem, {name: source for name, source in sources.items() if _ASKED.search(source)}))
    return found


def lesson_of(notebook: Mapping[str, Any], known: Iterable[Lesson]) -> Lesson | None:
    """Return the lesson that a notebook is of: that of most of its checks; None where it has none."""
    ids = {cell.get("id") for cell in notebook["cells"]}
    best = max(known, key=lambda lesson: len(ids & lesson.checks.keys()), default=None)
    return best if best is not None and ids & best.checks.keys() else None


def restored(notebook: Mapping[str, Any], lesson: Lesson) -> dict[str, Any]:
    """Return a notebook with every check as the lesson has it, and without outputs."""
    fresh = copy.deepcopy(dict(notebook))
    for cell in fresh["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
            cell["source"] = lesson.checks.get(cell.get("id", ""), cell["source"])
    return fresh


def marked(notebook: Mapping[str, Any], lesson: Lesson, name: str, problem: str = "") -> Mark:
    """Return the mark of a notebook that has run: which of the lesson's checks say *right*."""
    printed = {
        cell["id"]: "".join("".join(output.get("text", "")) for output in cell["outputs"])
        for cell in notebook["cells"]
        if cell["cell_type"] == "code" and cell.get("id") in lesson.checks
    }
    said = {exercise for text in printed.values() for exercise in _RIGHT.findall(text)}
    right = tuple(exercise for exercise in lesson.exercises if exercise in said)
    return Mark(name, lesson.name, right, tuple(exercise for exercise in lesson.exercises if exercise not in said), problem)


def mark(path: Path, name: str, known: Iterable[Lesson]) -> Mark:
    """Run a notebook, cell by cell whatever fails, and return its mark."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        lesson = lesson_of(notebook, known)
    except (ValueError, KeyError, TypeError):
        return Mark(name, "", (), (), "it is no notebook")
    if lesson is None:
        return Mark(name, "", (), (), "it has no check of a lesson")
    fresh: Any = nbformat.from_dict(restored(notebook, lesson))
    client = NotebookClient(fresh, timeout=SECONDS, kernel_name="python3", allow_errors=True)
    problem = ""
    try:
        client.execute(cwd=str(shipped(SOLUTIONS)))
    except CellTimeoutError:
        problem = f"a cell took more than {SECONDS} seconds"
    except DeadKernelError:
        problem = "its kernel died"
    return marked(fresh, lesson, name, problem)


def as_table(marks: Iterable[Mark]) -> str:
    """Return marks as lines of a table that a spreadsheet reads: tabs between the columns."""
    lines = ["notebook\tlesson\tright\tof\tnot yet"]
    for one in marks:
        numbers = [str(len(one.right)), str(len(one.right) + len(one.wrong))]
        lines.append("\t".join([one.notebook, one.lesson, *numbers, "; ".join(filter(None, [one.problem, ", ".join(one.wrong)]))]))
    return "\n".join(lines)


def folder(place: Path) -> list[Mark]:
    """Mark all notebooks in a folder and in those within it, in the order of their names.

    Raises:
        MarkingError: there is no such folder, or no notebook in it.
    """
    paths = sorted(path for path in place.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
    if not paths:
        raise MarkingError(f"{place} holds no notebook; name the folder that students' notebooks lie in, each student's in one of its own")
    known = lessons()
    return [mark(path, path.relative_to(place).as_posix(), known) for path in paths]

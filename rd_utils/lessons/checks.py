"""Checks of what a reader writes: right, or the first thing that is wrong and a hint; asked again, the next hint.

A mistake that people make is recognised by its answer, and has a hint of its own; for any other there are general ones, from vague to
plain. The solution is shown only when asked for.
"""

from __future__ import annotations

import functools
import importlib
import json
import math
import pkgutil
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from rd_utils.store import shipped
from rd_utils.study.explain import nearest

TOLERANCE = 1e-6
TRIALS = 20
WIDTH = 100  # characters of a line of what a check says: as many as JupyterLab shows beside its list of files
SOLUTIONS = "notebooks/lessons/solutions"
TAG = "solution"  # of a cell that a reader writes
_asked: Counter[str] = Counter()


@dataclass(frozen=True)
class Function:
    """An exercise whose answer is a function: it must agree with the package's own on random input, in gradient too where that is asked.

    Attributes:
        reference: The package's own.
        inputs: Arguments from a generator.
        hints: From vague to plain, one at a time.
        mistakes: What people write instead, by the hint that it earns.
        gradient: Whether the gradient with respect to the first argument is compared.
    """

    reference: Callable[..., Any]
    inputs: Callable[[np.random.Generator], tuple[Any, ...]]
    hints: Sequence[str]
    mistakes: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    gradient: bool = False

    def trials(self) -> list[tuple[Any, ...]]:
        """Return the arguments of every trial, always the same."""
        rng = np.random.default_rng(0)
        return [self.inputs(rng) for _ in range(TRIALS)]

    def wrong(self, answer: Callable[..., Any], right: Callable[..., Any] | None = None) -> str:
        """Say what is wrong with an answer, the first thing that is; nothing where it is right."""
        for arguments, own in zip(self.trials(), self.trials(), strict=True):
            expected = self._outcome(right or self.reference, arguments)
            try:
                given = self._outcome(answer, own)
            except Exception as error:  # noqa: BLE001
                return f"it raises {type(error).__name__}: {error}"
            if given[0] is None:
                return "it returns nothing: put your answer in place of the dots, with return"
            if any(_changed(mine, before) for mine, before in zip(own, arguments, strict=True)):
                return "it changes what it is given, so that a second call begins elsewhere: work on a copy, such as x.clone()"
            for name, mine, theirs in zip(("the value", "the gradient"), given, expected, strict=False):
                if fault := _differs(mine, theirs):
                    return f"{name} {fault}, for {_shown(arguments)}"
        return ""

    def _outcome(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> list[np.ndarray | None]:
        if not self.gradient:
            value = function(*arguments)
            if isinstance(value, torch.Tensor) and value.requires_grad:
                raise ValueError("what it returns still keeps track of gradients, which numpy refuses: return it with .detach()")
            return [_array(value)]
        first = arguments[0].detach().clone().requires_grad_()
        value = function(first, *arguments[1:])
        if not (isinstance(value, torch.Tensor) and value.requires_grad):
            return [_array(value), None]
        (slope,) = torch.autograd.grad(value.sum(), first)
        return [_array(value), _array(slope)]


@dataclass(frozen=True)
class Value:
    """An exercise whose answer is a number, some numbers, or a word.

    Attributes:
        value: The right answer.
        hints: From vague to plain, one at a time.
        digits: Decimals to which a number must be right.
        mistakes: What people answer instead, by the hint that it earns.
    """

    value: Any
    hints: Sequence[str]
    digits: int = 3
    mistakes: Mapping[str, Any] = field(default_factory=dict)

    def wrong(self, answer: Any, right: Any = None) -> str:
        """Say what is wrong with an answer; nothing where it is right."""
        right = self.value if right is None else right
        if isinstance(right, str) or (isinstance(right, Sequence) and any(isinstance(part, str) for part in right)):
            return "" if _same_words(answer, right) else f"{answer!r} is not it"
        try:
            given = _array(answer)
        except (TypeError, ValueError):
            return f"{answer!r} is no number"
        return _differs(given, _array(right), 0.5000001 * 10.0**-self.digits)

    def nearly(self, answer: Any) -> str:
        """Say what keeps an answer from being right that is right but for how it is written; nothing for any other."""
        try:
            given, right = _array(answer), _array(self.value)
        except (TypeError, ValueError):
            return ""
        if given is None:
            return ""
        if self.digits > 1 and (given == np.round(given, self.digits - 1)).all():
            coarser = 0.5000001 * 10.0 ** (1 - self.digits)
            if not _differs(given, right, coarser):
                return f"right as far as it goes: {self.digits} decimals are asked for, or the whole of what Python computes"
        if not _differs(given / 100, right, 0.5000001 * 10.0**-self.digits):
            return "that is in percent: divide by 100"
        return ""


Exercise = Function | Value


def check(name: str, answer: Any) -> None:
    """Print whether an answer is right; if it is not, the first thing that is wrong and a hint, another one each time.

    Args:
        name: Of the exercise.
        answer: A function, a number, several, or a word, as the exercise asks.

    Raises:
        ValueError: There is no exercise of that name.
    """
    print(verdict(name, answer))


def verdict(name: str, answer: Any) -> str:
    """Return what :func:`check` prints."""
    exercise = _exercise(name)
    if answer is ... or answer is None or (isinstance(exercise, Function) and not callable(answer)):
        return f"not yet: put your answer in place of the dots, then run both cells. Stuck? lessons.solution({name!r})"
    fault = exercise.wrong(answer)
    if not fault:
        _asked.pop(name, None)
        return f"right: {name}" + (f", as the package has it on {TRIALS} random inputs" if isinstance(exercise, Function) else "")
    hint = next((hint for hint, mistake in exercise.mistakes.items() if not exercise.wrong(answer, mistake)), "")
    if not hint and isinstance(exercise, Value):
        hint = exercise.nearly(answer)
    if not hint:
        hint = exercise.hints[min(_asked[name], len(exercise.hints) - 1)]
        _asked[name] += 1
    said = [f"not yet: {fault}.", f"hint: {hint}"]
    if _asked[name] >= len(exercise.hints):
        said.append(f"To see one: lessons.solution({name!r}).")
    return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="    ", break_on_hyphens=False) for line in said)


def solution(name: str) -> None:
    """Print the solution of an exercise, as the solved lesson has it.

    Raises:
        ValueError: There is no exercise of that name.
    """
    _exercise(name)
    for path in sorted(shipped(SOLUTIONS).glob("*.ipynb")):
        last = ""
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            if TAG in cell["metadata"].get("tags", []):
                last = source
            elif cell["cell_type"] == "code" and f'check("{name}"' in source:
                print(last)
                return
    raise ValueError(f"no solved lesson checks {name!r}")


@functools.cache
def exercises() -> dict[str, Exercise]:
    """Return the exercises of all lessons by name: those of every module ``lesson_NN``."""
    import rd_utils.lessons as room

    found: dict[str, Exercise] = {}
    for module in pkgutil.iter_modules(room.__path__):
        if module.name.startswith("lesson_"):
            own: Mapping[str, Exercise] = importlib.import_module(f"{room.__name__}.{module.name}").EXERCISES
            if twice := found.keys() & own.keys():
                raise ValueError(f"{module.name} has an exercise of another lesson's name: {', '.join(sorted(twice))}")
            found |= own
    return found


def _exercise(name: str) -> Exercise:
    for module in [module for key, module in sys.modules.items() if key.startswith("rd_utils.lessons.lesson_")]:
        if name in module.EXERCISES:  # of the lesson that is open: importing all twelve takes seconds
            return module.EXERCISES[name]
    if name not in exercises():
        raise ValueError(f"there is no exercise {name!r}{nearest(name, exercises())}")
    return exercises()[name]


# --- comparing --------------------------------------------------------------------------------------------------------------------


def _array(value: Any) -> np.ndarray | None:
    if value is None or value is ...:
        return None
    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    return np.asarray(value, dtype=float)


def _differs(mine: np.ndarray | None, theirs: np.ndarray | None, tolerance: float = TOLERANCE) -> str:
    """Say where two arrays differ first; nothing where they do not."""
    if mine is None or theirs is None:
        return "" if theirs is None else "is not there: compute with torch throughout, and detach nothing"
    if mine.shape != theirs.shape:
        return f"has the shape {mine.shape}, not {theirs.shape}"
    near = np.isclose(mine, theirs, rtol=TOLERANCE, atol=tolerance, equal_nan=True)
    if near.all():
        return ""
    place = tuple(int(axis) for axis in np.argwhere(~near)[0])
    where = f" at {place[0] if len(place) == 1 else place}" if place else ""
    return f"{where} is {_number(mine[place])}, not right".strip()


def _number(value: float) -> str:
    return "not a number" if math.isnan(value) else f"{value:.6g}"


def _same_words(answer: Any, right: Any) -> bool:
    def plain(value: Any) -> list[str]:
        return [str(part).strip().lower() for part in (value if isinstance(value, Sequence) and not isinstance(value, str) else [value])]

    return plain(answer) == plain(right)


def _changed(mine: Any, before: Any) -> bool:
    if isinstance(before, torch.Tensor):
        return not torch.equal(mine, before)
    return isinstance(before, np.ndarray) and not np.array_equal(mine, before, equal_nan=before.dtype.kind == "f")


def _shown(arguments: tuple[Any, ...]) -> str:
    said = []
    longest = 60 if len(arguments) <= 3 else 12  # of many only the first few numbers
    for argument in arguments:
        array = argument.detach().numpy() if isinstance(argument, torch.Tensor) else argument
        if isinstance(array, np.ndarray):
            text = " ".join(np.array2string(np.round(array, 3), separator=", ").split())
        else:
            text = f"{array:.3g}" if isinstance(array, float) else repr(array)
        said.append(text if len(text) <= longest else text[: longest - 3] + "...")
    return ", ".join(said)

"""What all of the theory takes and refuses: scores of groups as finite arrays, and the loss that needs no training."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

TRIVIAL = math.log(2)  # nats: what a student that scores everything alike pays on any pair, whatever the teacher says


class TheoryError(ValueError):
    """A term of the theory is undefined for what was given; the message names the first offender."""


def score_arrays(teacher_scores: ArrayLike, student_scores: ArrayLike, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Return both as finite float64 arrays of one shape (n, group), or raise."""
    teachers, students = (np.ascontiguousarray(scores, dtype=np.float64) for scores in (teacher_scores, student_scores))
    if teachers.ndim != 2 or teachers.shape != students.shape or teachers.shape[1] < 2:
        raise TheoryError(
            f"teacher_scores has shape {teachers.shape}, student_scores {students.shape}; "
            "expected the same (groups, group size), at least 2 documents a group"
        )
    for name, scores in (("teacher_scores", teachers), ("student_scores", students)):
        finite(scores, name, "score every document of every group first")
    if not 0 < temperature < math.inf:
        raise TheoryError(f"temperature is {temperature}; expected a positive, finite number")
    return teachers, students


def finite(values: np.ndarray, name: str, remedy: str) -> None:
    """Raise an error where a value is not finite, naming the first and the remedy."""
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        place = tuple(bad[0].tolist())
        raise TheoryError(f"{len(bad)} of {values.size} values of {name} are not finite, the first ({values[place]}) at {place}; {remedy}")

"""Which student a study's validation queries prefer: of a cell its seed, of all cells the cell by its mean over seeds, then its seed.

Test queries take no part in it: the queries are those of ``search.validation``, on which learning rates are chosen too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rd_utils.store import StoreError
from rd_utils.study.params import ParameterError

if TYPE_CHECKING:
    from rd_utils.study.plan import Cell, Plan
    from rd_utils.workflow.pipeline import Pipeline

ALL = "best"  # names all cells, where a cell is asked for


class Choice(NamedTuple):
    """A student that was chosen.

    Attributes:
        cell: its cell.
        seed: its seed.
        measure: by which it was chosen, the mean over queries and first stages.
        validation: label of the collection with the queries.
        values: of every student of its cell, by seed.
        cells: mean over seeds of every cell that was asked about, the best first.
    """

    cell: Cell
    seed: int
    measure: str
    validation: str
    values: dict[int, float]
    cells: dict[str, float]


def choose(plan: Plan, cells: Sequence[Cell], pipeline: Pipeline) -> Choice:
    """Return the student that ranks validation queries best; of equal ones the first.

    Evaluations on validation queries that are missing are made; no student is trained.

    Args:
        plan: of the study.
        cells: among which is chosen, of one training collection.
        pipeline: makes and opens.

    Raises:
        ParameterError: the study names no validation queries.
        StoreError: a student is not trained yet.
    """
    from rd_utils.study.params import EvaluationSpec, StudentSystem, serves

    search = plan.study.search
    if search is None:
        raise ParameterError(
            f"study {plan.study.name} names no validation queries (search.validation), so none of its students is the best"
        )
    untrained = sum(not pipeline.store.has(student) for cell in cells for student in cell.students.values())
    if untrained:
        raise StoreError(f"{untrained} students of study {plan.study.name} are not trained yet; `rd run {plan.path}` trains them")
    found: dict[str, dict[int, float]] = {}
    for cell in pipeline.track(cells, "evaluating on validation queries", len(cells)):
        for seed, student in cell.students.items():
            system = StudentSystem(student=student)
            specs = [
                EvaluationSpec(system=system, collection=search.validation, first_stage=stage, measures=(search.measure,))
                for stage in search.first_stages
                if serves(system, stage)
            ]
            value = float(np.mean([pipeline.open(spec)["value"].mean() for spec in specs]))
            found.setdefault(cell.name, {})[seed] = value
    means = {name: float(np.mean(list(values.values()))) for name, values in found.items()}
    best = max(means, key=means.__getitem__)
    values = found[best]
    ranked = dict(sorted(means.items(), key=lambda item: -item[1]))
    (cell,) = (cell for cell in cells if cell.name == best)
    return Choice(cell, max(values, key=values.__getitem__), search.measure, search.validation.label, values, ranked)


def as_text(choice: Choice) -> str:
    """Return how a student was chosen, in a sentence or two."""
    values = ", ".join(f"seed {seed} {value:.4f}" for seed, value in choice.values.items())
    among = "" if len(choice.cells) == 1 else f" Its cell has the best mean over seeds of {len(choice.cells)}: {_listed(choice.cells)}."
    return f"Chosen by {choice.measure} on the validation queries of {choice.validation}, no test query: {values}.{among}"


def _listed(means: dict[str, float], most: int = 3) -> str:
    shown = ", ".join(f"{name} {value:.4f}" for name, value in list(means.items())[:most])
    return shown + (", ..." if len(means) > most else "")

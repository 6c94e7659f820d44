"""Where numbers come from: the executed notebooks of a study, by what they made.

The workflow copies them to ``notebooks/`` beside the report.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

import pandas as pd

from rd_utils.store import identity
from rd_utils.study.params import StudentSystem
from rd_utils.study.plan import Plan
from rd_utils.study.stage import inputs


class Notebooks(NamedTuple):
    """Where a study's executed notebooks lie, relative to its report, as :func:`rd_utils.study.node_files.publish` puts them.

    Attributes:
        analysis: the one that wrote the report.
        made: by the identity of an artefact.
        evaluated: by training collection and row of the main table, of a row's first seed.
        trained: by training collection and cell, of its first seed.
        mined: by training collection and strategy, of its first seed.
        scored: by training collection, strategy and teacher, of its first seed.
    """

    analysis: str
    made: dict[str, str]
    evaluated: dict[tuple[str, ...], str]
    trained: dict[tuple[str, ...], str]
    mined: dict[tuple[str, ...], str]
    scored: dict[tuple[str, ...], str]


def executed_notebooks(plan: Plan) -> Notebooks:
    """Return where the notebooks are that made a study's numbers.

    Args:
        plan: the study.
    """
    made: dict[str, str] = {}
    found = Notebooks("", made, {}, {}, {}, {})
    for node in plan.nodes:
        path = f"notebooks/{quote(node.name)}.ipynb"
        if node.notebook == "05c_report":
            found = found._replace(analysis=path)
        for spec in node.artefacts:
            made.setdefault(identity(spec), path)
    rows = [(plan.labels[row.pair], row.name, system) for row in plan.baselines for system in row.systems.values()]
    for cell in plan.cells:
        for student in cell.students.values():
            rows.append((cell.collection, cell.name, StudentSystem(student=student)))
            found.trained.setdefault((cell.collection, cell.name), made[identity(student)])
            needed = inputs(student)
            if identity(needed["groups"]) in made:
                found.mined.setdefault((cell.collection, cell.strategy), made[identity(needed["groups"])])
            if "scores" in needed and identity(needed["scores"]) in made:
                found.scored.setdefault((cell.collection, cell.strategy, cell.teacher), made[identity(needed["scores"])])
    for collection, name, system in rows:
        for spec in plan.evaluations(system, collection)[:1]:
            found.evaluated.setdefault((collection, name), made[identity(spec)])
    return found


def paths(known: dict[tuple[str, ...], str], frame: pd.DataFrame, *columns: str) -> list[str]:
    """Return for each row of a frame the path of what its columns name, "" where there is none."""
    return [known.get(tuple(key), "") for key in frame[list(columns)].itertuples(index=False)]

"""The choice of a learning rate among students that differ in nothing else, on validation queries."""

from __future__ import annotations

from itertools import chain, count
from pathlib import Path

import numpy as np
import pandas as pd

from rd_utils.cost.workload import Counter, Work
from rd_utils.store import Draft
from rd_utils.study.specs import EvaluationSpec, SearchSpec
from rd_utils.study.stage import Given, Inputs, Stage
from rd_utils.study.systems import StudentSystem, serves


def search_evaluations(spec: SearchSpec) -> list[list[EvaluationSpec]]:
    """Return the evaluations that a choice rests on: one list a candidate, one evaluation a first stage that it can serve."""
    stages = sorted(spec.first_stages, key=lambda stage: stage.kind != "full")
    systems = [StudentSystem(student=student) for student in spec.candidates]
    return [
        [
            EvaluationSpec(system=system, collection=spec.collection, first_stage=stage, measures=(spec.measure,))
            for stage in stages
            if serves(system, stage)
        ]
        for system in systems
    ]


def _inputs(spec: SearchSpec) -> Inputs:
    return {f"evaluation_{number}": evaluation for number, evaluation in enumerate(chain(*search_evaluations(spec)))}


def _make(spec: SearchSpec, given: Given, draft: Draft) -> None:
    numbers, rows = count(), []  # of the evaluations, in the order of the inputs
    for student, evaluations in zip(spec.candidates, search_evaluations(spec), strict=True):
        values = [given.open(f"evaluation_{next(numbers)}")["value"].mean() for _ in evaluations]
        rows.append({"learning_rate": student.training.learning_rate, spec.measure: float(np.mean(values))})
    table = pd.DataFrame(rows)
    table["chosen"] = np.arange(len(table)) == int(table[spec.measure].to_numpy().argmax())  # the first, so the lowest, of equal ones
    table.to_parquet(draft.folder / "search.parquet", index=False)
    draft.counts |= {"candidates": len(table), "learning_rate": float(table.loc[table["chosen"], "learning_rate"].iloc[0])}


def _read(folder: Path, spec: SearchSpec, given: Given) -> pd.DataFrame:
    return pd.read_parquet(folder / "search.parquet")


def _work(spec: SearchSpec, counter: Counter) -> Work:
    return Work("search", cpu_seconds=0.01, disk=5e3)


SEARCH = Stage(name="search", version=1, spec=SearchSpec, inputs=_inputs, make=_make, work=_work, read=_read)

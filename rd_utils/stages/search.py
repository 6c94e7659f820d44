"""The choice of a learning rate among students that differ in nothing else, on validation queries."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from rd_utils import params
from rd_utils.graph import search_evaluations
from rd_utils.stage import Given, Inputs, Stage
from rd_utils.store import Draft
from rd_utils.workload import Counter, Work


def _inputs(spec: params.SearchSpec) -> Inputs:
    return {f"evaluation_{number}": evaluation for number, evaluation in enumerate(chain(*search_evaluations(spec)))}


def _make(spec: params.SearchSpec, given: Given, draft: Draft) -> None:
    from rd_utils.stages.evaluation import EVALUATION

    numbers, rows = iter(range(len(_inputs(spec)))), []
    for student, evaluations in zip(spec.candidates, search_evaluations(spec), strict=True):
        values = [given(EVALUATION, f"evaluation_{number}")["value"].mean() for _, number in zip(evaluations, numbers)]  # noqa: B905
        rows.append({"learning_rate": student.training.learning_rate, spec.measure: float(np.mean(values))})
    table = pd.DataFrame(rows)
    table["chosen"] = np.arange(len(table)) == int(table[spec.measure].to_numpy().argmax())  # the first, so the lowest, of equal ones
    table.to_parquet(draft.folder / "search.parquet", index=False)
    draft.counts |= {"candidates": len(table), "learning_rate": float(table.loc[table["chosen"], "learning_rate"].iloc[0])}


def _read(folder: Path, spec: params.SearchSpec, given: Given) -> pd.DataFrame:
    return pd.read_parquet(folder / "search.parquet")


def _work(spec: params.SearchSpec, counter: Counter) -> Work:
    return Work("search", cpu_seconds=0.01, disk=5e3)


SEARCH = Stage(name="search", version=1, spec=params.SearchSpec, inputs=_inputs, make=_make, work=_work, read=_read)

"""A teacher's scores of every document of every group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rd_utils import params, sampling
from rd_utils.graph import teacher_inputs
from rd_utils.runs import arrow, named
from rd_utils.scoring import ensemble_scores, teacher_scores
from rd_utils.stage import Given, Inputs, Stage, prefixed
from rd_utils.stages.groups import GROUPS
from rd_utils.store import Draft
from rd_utils.workload import BYTES, SECONDS, Counter, Work


def _inputs(spec: params.ScoresSpec) -> Inputs:
    return {"groups": spec.groups} | prefixed("teacher_", teacher_inputs(spec.teacher, spec.groups.collection))


def _make(spec: params.ScoresSpec, given: Given, draft: Draft) -> None:
    groups, collection = given(GROUPS), spec.groups.collection
    pairs = np.repeat(groups.query_rows, spec.groups.group_size), groups.doc_rows.astype(np.int64).ravel()
    columns = {"query_id": arrow(named(groups.query_ids, groups.query_rows))}
    if spec.teacher.kind == "ensemble":
        scores, disagreement, scored = ensemble_scores(spec.teacher, collection, *pairs, given.part("teacher_"))
        columns["disagreement"] = sampling.column(disagreement.reshape(groups.doc_rows.shape))
    else:
        scores, scored = teacher_scores(spec.teacher, collection, *pairs, given.part("teacher_"))
    columns["teacher_scores"] = sampling.column(scores.reshape(groups.doc_rows.shape))
    pq.write_table(pa.table(columns), draft.folder / "scores.parquet")
    draft.counts |= {"pairs": groups.doc_rows.size, "pairs_scored_now": scored}


def _read(folder: Path, spec: params.ScoresSpec, given: Given) -> np.ndarray:
    return sampling.matrix(pq.read_table(folder / "scores.parquet", columns=["teacher_scores"])["teacher_scores"])


def _work(spec: params.ScoresSpec, counter: Counter) -> Work:
    documents = counter.groups(spec.groups) * spec.groups.group_size
    size = documents * BYTES["score"]
    return Work("scores", cpu_seconds=documents * SECONDS["pair looked up"], disk=size, memory=8 * size)


SCORES = Stage(name="scores", version=1, spec=params.ScoresSpec, inputs=_inputs, make=_make, work=_work, read=_read)

"""A teacher's scores of every document of every group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rd_utils.cost.workload import BYTES, SECONDS, Counter, Work
from rd_utils.data.runs import arrow, named
from rd_utils.mining import sampling
from rd_utils.stages.groups import GROUPS
from rd_utils.store import Draft
from rd_utils.study.specs import ScoresSpec
from rd_utils.study.stage import Given, Inputs, Stage, prefixed


def _inputs(spec: ScoresSpec) -> Inputs:
    return {"groups": spec.groups} | prefixed("teacher_", spec.teacher.inputs(spec.groups.collection))


def _make(spec: ScoresSpec, given: Given, draft: Draft) -> None:
    groups, collection = given(GROUPS), spec.groups.collection
    pairs = np.repeat(groups.query_rows, spec.groups.group_size), groups.doc_rows.astype(np.int64).ravel()
    columns = {"query_id": arrow(named(groups.query_ids, groups.query_rows))}
    scored = spec.teacher.scores(collection, *pairs, given.part("teacher_"))
    if scored.disagreement is not None:
        columns["disagreement"] = sampling.column(scored.disagreement.reshape(groups.doc_rows.shape))
    columns["teacher_scores"] = sampling.column(scored.scores.reshape(groups.doc_rows.shape))
    pq.write_table(pa.table(columns), draft.folder / "scores.parquet")
    draft.counts |= {"pairs": groups.doc_rows.size, "pairs_scored_now": scored.scored_now}


def _read(folder: Path, spec: ScoresSpec, given: Given) -> np.ndarray:
    return sampling.matrix(pq.read_table(folder / "scores.parquet", columns=["teacher_scores"])["teacher_scores"])


def _work(spec: ScoresSpec, counter: Counter) -> Work:
    documents = counter.groups(spec.groups) * spec.groups.group_size
    size = documents * BYTES["score"]
    return Work("scores", cpu_seconds=documents * SECONDS["pair looked up"], disk=size, memory=8 * size)


SCORES = Stage(name="scores", version=1, spec=ScoresSpec, inputs=_inputs, make=_make, work=_work, read=_read)

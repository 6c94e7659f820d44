"""One system's run on one test collection and its measures per query."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pandas as pd

from rd_utils.cost.flops import Flops
from rd_utils.cost.workload import BYTES, SECONDS, Counter, Work
from rd_utils.data import collections, leakage
from rd_utils.data.runs import Run
from rd_utils.evaluation.measures import measure_run, rank, write_run
from rd_utils.models.encoding import embedded, represented, text_tokens
from rd_utils.stages.candidates import CANDIDATES
from rd_utils.stages.docs import DOCS
from rd_utils.stages.queries import QUERIES
from rd_utils.store import Draft, identity
from rd_utils.study.graph import collection_inputs
from rd_utils.study.kinds import BiArchitecture, DualArchitecture, Encoder
from rd_utils.study.specs import CandidatesSpec, EvaluationSpec, QueriesSpec
from rd_utils.study.stage import Given, Inputs, Stage, prefixed
from rd_utils.study.systems import FirstStageSystem, TeacherSystem
from rd_utils.workflow.progress import LOGGER, Pushed

if TYPE_CHECKING:
    from rd_utils.models.dual_students import DualStudent
    from rd_utils.scoring.teacher_kinds import ModelTeacher


def _inputs(spec: EvaluationSpec) -> Inputs:
    return collection_inputs(spec.collection) | _first_stage(spec) | _system(spec)


def _first_stage(spec: EvaluationSpec) -> Inputs:
    """Return the candidates that are re-ranked, or that are the first stage's own row."""
    own = spec.system.retriever if isinstance(spec.system, FirstStageSystem) else None
    if spec.first_stage.kind == "full" and own is None:
        return {}
    retriever = own or spec.first_stage.retriever
    return {"candidates": CandidatesSpec(collection=spec.collection, retriever=retriever, depth=spec.first_stage.depth)}


def _system(spec: EvaluationSpec) -> Inputs:
    """Return what the evaluated system is made from."""
    if isinstance(spec.system, TeacherSystem):
        return prefixed("teacher_", spec.system.teacher.inputs(spec.collection))
    return {} if isinstance(spec.system, FirstStageSystem) else cast("Encoder", spec.system).inputs(spec.collection)


def _make(spec: EvaluationSpec, given: Given, draft: Draft) -> None:
    queries, docs = given(QUERIES), given(DOCS)
    absent, without = collections.absent_positives(queries.qrels, docs.frame["doc_id"], spec.collection.label)
    ranked, scores, scored = _scored(spec, given)
    run = rank(ranked, scores, queries.frame["query_id"], docs.frame["doc_id"], docs.ties)
    per_query, counts = measure_run(run, queries.qrels, spec.measures)
    shutil.rmtree(given.store.checkpoints(spec), ignore_errors=True)  # an open mapping outlives its file
    write_run(run, draft.folder / "run.trec", spec.system.kind)
    per_query.to_parquet(draft.folder / "per_query.parquet", index=False)
    draft.counts |= counts | {"pairs_scored": scored}
    draft.counts |= {"positives_not_in_collection": absent, "queries_without_positive_in_collection": without}
    if absent:
        LOGGER.warning(
            "%s: %d positives are not in the collection, %d queries have no other; no system can find them",
            *(spec.collection.label, absent, without),
        )


def _scored(spec: EvaluationSpec, given: Given) -> tuple[Run, np.ndarray, int]:
    """Return the documents that a system ranks, its scores of them (n_pairs,), and how many pairs were scored for it."""
    system, own = spec.system, given
    if isinstance(system, FirstStageSystem):
        run = given(CANDIDATES)
        return run, run.scores, 0
    run = given(CANDIDATES) if "candidates" in given else None
    if isinstance(system, TeacherSystem):
        own = given.part("teacher_")
        if run is not None:
            doc_rows = np.asarray(run.docs, dtype=np.int64)
            scored = system.teacher.scores(spec.collection, run.rows(), doc_rows, own)
            return run, scored.scores, scored.scored_now
        encoder = cast("ModelTeacher", system.teacher).encoder_behind  # a bi-encoder, or it would not serve the stage
    else:
        encoder = cast("Encoder", system)
    student = encoder.open(own)
    if run is None:  # a full retrieval: the student reads queries and documents each by itself
        apart, ties = cast("DualStudent", student), given(DOCS).ties
        texts = _represented(encoder, spec, apart, own)
        run = apart.search(texts.docs, texts.queries, spec.first_stage.depth, ties, workers=given.workers)
        return run, run.scores, len(run) * len(ties)
    query_rows, doc_rows = run.rows(), np.asarray(run.docs, dtype=np.int64)
    if isinstance(student.architecture, DualArchitecture):
        apart = cast("DualStudent", student)
        texts = _represented(encoder, spec, apart, own, np.unique(doc_rows))
        return run, apart.match(texts.queries, query_rows, texts.docs, np.searchsorted(texts.rows, doc_rows)), len(doc_rows)
    progress = Pushed(given.track, "scoring pairs")
    return run, student.score_pairs(*text_tokens(own), query_rows, doc_rows, precision=spec.precision, progress=progress), len(doc_rows)


class _Texts(NamedTuple):
    """What a student makes of a collection's texts."""

    rows: np.ndarray  # of the documents
    docs: Any
    queries: Any


def _represented(encoder: Encoder, spec: EvaluationSpec, student: DualStudent, given: Given, rows: np.ndarray | None = None) -> _Texts:
    """Return what a student makes of queries and documents; the last system's are kept, so that two first stages encode once."""
    from rd_utils.models.tokens import take

    queries, docs = text_tokens(given)
    every = np.arange(len(docs))
    rows = every if rows is None else rows
    key = (encoder, identity(QueriesSpec(collection=spec.collection)), spec.precision)

    def encode() -> _Texts:
        scratch = given.store.checkpoints(spec)
        scratch.mkdir(parents=True, exist_ok=True)
        read = docs if len(rows) == len(every) else take(docs, rows)
        if isinstance(student.architecture, BiArchitecture):
            found = embedded(student, read, scratch / "vectors.npy", scratch / "chunks", given, spec.precision)
        else:
            found = represented(
                student, read, kind="document", precision=spec.precision, progress=Pushed(given.track, "encoding documents")
            )
        return _Texts(rows, found, represented(student, queries, kind="query", precision=spec.precision))

    return given.latest("vectors", key, encode, lambda kept: bool(np.isin(rows, kept.rows).all()))


def _read(folder: Path, spec: EvaluationSpec, given: Given) -> pd.DataFrame:
    return collections.read_table(folder, "per_query")


def _work(spec: EvaluationSpec, counter: Counter) -> Work:
    sizes, system, stage = counter.known.sizes(spec.collection), spec.system, spec.first_stage
    pairs = sizes.queries * min(stage.depth, sizes.docs)
    seconds = pairs * SECONDS["pair ranked"]
    work = Work(f"evaluation {system.kind} {stage.kind}", cpu_seconds=seconds, disk=pairs * BYTES["run"], memory=100 * pairs)
    if isinstance(system, FirstStageSystem):
        return work
    if isinstance(system, TeacherSystem):
        scored = counter.pairs(system.teacher, spec.collection, pairs)
        return work if not scored else _joined(work, scored)
    encoder = cast("Encoder", system)
    architecture, trained_on = encoder.underlying, encoder.trained_on
    work = replace(work, mode="infer", precision=spec.precision, model_memory=4 * counter.weights(architecture, trained_on))
    if not isinstance(architecture, DualArchitecture):
        tokens, counted = counter.scoring(architecture, spec.collection, trained_on, pairs)
        return counter.model(replace(work, documents=pairs, tokens=tokens), architecture, counted)
    # of independent lists of documents this many differ; an upper bound of what real lists, which overlap, leave to be encoded
    docs = sizes.docs if stage.kind == "full" else sizes.docs * -math.expm1(-pairs / sizes.docs)
    docs = 0.0 if counter.encoded else docs
    tokens, counted = counter.encoding(architecture, spec.collection, trained_on, docs, 0.0 if counter.encoded else sizes.queries)
    work = counter.model(replace(work, documents=docs, tokens=tokens, kind=work.kind + " again" * counter.encoded), architecture, counted)
    return counter.searched(work, architecture, spec.collection, trained_on) if stage.kind == "full" else work


def _joined(work: Work, parts: list[Work]) -> Work:
    """Return an evaluation's work with that of the teacher whose pairs it ranks; of an ensemble's members the last model is named."""
    last = parts[-1]
    return replace(
        work,
        kind=f"{work.kind} {'+'.join(part.kind.removeprefix('pairs ') for part in parts)}",
        documents=sum(part.documents for part in parts),
        tokens=sum(part.tokens for part in parts),
        flops=sum((part.flops for part in parts), start=Flops()),
        mode="infer" if any(part.mode for part in parts) else "",
        precision=last.precision,
        architecture=next((part.architecture for part in parts if part.architecture is not None), None),
        cpu_seconds=work.cpu_seconds + sum(part.cpu_seconds for part in parts),
        disk=work.disk + sum(part.disk for part in parts),
        model_memory=max(part.model_memory for part in parts),
        unknown=next((part.unknown for part in parts if part.unknown), ""),
    )


EVALUATION = Stage(
    name="evaluation",
    version=1,
    spec=EvaluationSpec,
    inputs=_inputs,
    make=_make,
    work=_work,
    read=_read,
    before=leakage.check_evaluation,
    libraries=("ir_measures", "rd_utils.mining.bm25", "rd_utils.models", "rd_utils.mining.dense"),
)

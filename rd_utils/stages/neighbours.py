"""What a retriever finds for the text of every labelled positive, the positive itself left out."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from rd_utils import params, retrieval, sampling
from rd_utils.graph import collection_inputs, index_inputs, vectors_of
from rd_utils.runs import Run
from rd_utils.stage import Given, Inputs, Stage
from rd_utils.stages.candidates import say_short, search
from rd_utils.stages.docs import DOCS
from rd_utils.stages.queries import QUERIES
from rd_utils.store import Draft
from rd_utils.workload import BYTES, SECONDS, Counter, Work, encoder_of, searched_by


def _inputs(spec: params.NeighboursSpec) -> Inputs:
    vectors: Inputs = {"vectors": vectors_of(spec.collection, spec.retriever.encoder)} if spec.retriever.kind == "dense" else {}
    return collection_inputs(spec.collection) | vectors | index_inputs(spec.retriever, spec.collection)


def _make(spec: params.NeighboursSpec, given: Given, draft: Draft) -> None:
    if spec.retriever.kind not in ("bm25", "dense"):
        raise sampling.SamplingError(f"a graph is made by bm25 or a dense retriever, not by {spec.retriever.kind!r}")
    docs = given(DOCS)
    found = given(QUERIES).positives(docs)[1]
    rows = np.unique(found[found >= 0])
    run = search(spec, docs.frame["text"].take(rows), rows, spec.depth + 1, given, draft)
    run = retrieval.neighbours(Run(run.offsets, run.docs, run.scores, keys=rows), spec.depth)
    run.save(draft.folder)
    shutil.rmtree(given.store.checkpoints(spec), ignore_errors=True)
    draft.counts |= {"documents": len(rows), "pairs": len(run.docs)}
    if spec.retriever.kind == "bm25":
        draft.counts["documents_below_depth"] = say_short(spec, run, "documents", given)


def _read(folder: Path, spec: params.NeighboursSpec, given: Given) -> Run:
    return Run.load(folder)


def _work(spec: params.NeighboursSpec, counter: Counter) -> Work:
    sizes = counter.known.sizes(spec.collection)
    asking = min(sizes.positives, sizes.docs)
    pairs = asking * min(spec.depth, sizes.docs)
    work = Work(f"neighbours {searched_by(spec.retriever)}", disk=pairs * BYTES["candidate"], memory=2 * pairs * BYTES["candidate"])
    work = replace(work, cpu_seconds=pairs * SECONDS["candidate"])
    words = counter.known.words(spec.collection)
    if spec.retriever.kind == "bm25":
        return counter.bm25_search(work, spec.collection, asking, words[1] / words[0])  # a document's text is a long query
    return counter.dense_search(work, encoder_of(spec.retriever.encoder)[0], asking, sizes.docs, spec.retriever.index)


NEIGHBOURS = Stage(name="neighbours", version=1, spec=params.NeighboursSpec, inputs=_inputs, make=_make, work=_work, read=_read)

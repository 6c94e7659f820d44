"""What a retriever finds for the text of every labelled positive, the positive itself left out."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from rd_utils.cost.workload import BYTES, SECONDS, Counter, Work
from rd_utils.data.runs import Run
from rd_utils.mining import retrieval, sampling
from rd_utils.stages.candidates import say_short
from rd_utils.stages.docs import DOCS
from rd_utils.stages.queries import QUERIES
from rd_utils.store import Draft
from rd_utils.study.graph import collection_inputs
from rd_utils.study.kinds import IndexedRetriever
from rd_utils.study.specs import NeighboursSpec
from rd_utils.study.stage import Given, Inputs, Stage


def _searching(spec: NeighboursSpec) -> IndexedRetriever:
    if not isinstance(spec.retriever, IndexedRetriever):
        raise sampling.SamplingError(f"a graph is made by bm25 or a dense retriever, not by {spec.retriever.tag!r}")
    return spec.retriever


def _inputs(spec: NeighboursSpec) -> Inputs:
    texts = collection_inputs(spec.collection)
    if not isinstance(spec.retriever, IndexedRetriever):
        return texts  # what cannot be made says so where it is made
    index = spec.retriever.index_of(spec.collection)
    return texts | spec.retriever.index_inputs(spec.collection) | ({"index": index} if index else {})


def _make(spec: NeighboursSpec, given: Given, draft: Draft) -> None:
    retriever = _searching(spec)
    found = given(QUERIES).positives(given(DOCS))[1]
    rows = np.unique(found[found >= 0])
    run = retriever.nearest(spec, rows, spec.depth + 1, given, draft)
    run = retrieval.neighbours(Run(run.offsets, run.docs, run.scores, keys=rows), spec.depth)
    run.save(draft.folder)
    shutil.rmtree(given.store.checkpoints(spec), ignore_errors=True)
    draft.counts |= {"documents": len(rows), "pairs": len(run.docs)}
    if retriever.lexical is not None:
        draft.counts["documents_below_depth"] = say_short(spec, run, "documents", given)


def _work(spec: NeighboursSpec, counter: Counter) -> Work:
    sizes = counter.known.sizes(spec.collection)
    asking = min(sizes.positives, sizes.docs)
    pairs = asking * min(spec.depth, sizes.docs)
    work = Work(
        f"neighbours {spec.retriever.way}",
        disk=pairs * BYTES["candidate"],
        memory=2 * pairs * BYTES["candidate"],
        cpu_seconds=pairs * SECONDS["candidate"],
    )
    return _searching(spec).nearest_work(work, spec, asking, counter)


def _read(folder: Path, spec: NeighboursSpec, given: Given) -> Run:
    return Run.load(folder)


NEIGHBOURS = Stage(name="neighbours", version=1, spec=NeighboursSpec, inputs=_inputs, make=_make, work=_work, read=_read)

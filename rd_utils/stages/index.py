"""What a retriever searches instead of the documents themselves: BM25's postings, or an inverted file of vectors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rd_utils import flops, params
from rd_utils.graph import docs_of, vectors_of
from rd_utils.stage import Given, Inputs, Stage
from rd_utils.stages.docs import DOCS
from rd_utils.stages.vectors import VECTORS
from rd_utils.store import Draft
from rd_utils.workload import BYTES, DENSE_RATE, POSTINGS, SECONDS, Counter, Work, encoder_of, posting_bytes


def workers() -> int:
    """Return how many processes or threads may work at once: as many as OMP_NUM_THREADS says, or as there are cores."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _inputs(spec: params.IndexSpec) -> Inputs:
    docs: Inputs = {"docs": docs_of(spec.collection)}
    return docs | ({"vectors": vectors_of(spec.collection, spec.retriever.encoder)} if spec.retriever.kind == "dense" else {})


def _make(spec: params.IndexSpec, given: Given, draft: Draft) -> None:
    from rd_utils import bm25, dense

    shards, retriever = given.store.checkpoints(spec), spec.retriever
    if retriever.kind == "dense":
        vectors = given(VECTORS)
        dense.build(vectors, retriever.index, draft.folder, shards=shards, track=given.track)
        draft.counts |= {"documents": len(vectors), "cells": retriever.index.nlist}
        return
    index = bm25.build(given(DOCS).frame["text"], retriever, draft.folder, shards=shards, workers=workers(), track=given.track)
    draft.counts |= {"documents": index.n_docs, "words": len(index.words), "postings": len(index.docs)}


def _read(folder: Path, spec: params.IndexSpec, given: Given) -> Any:
    from rd_utils import bm25, dense

    return dense.load(folder, spec.retriever.index) if spec.retriever.kind == "dense" else bm25.Index.load(folder)


def _work(spec: params.IndexSpec, counter: Counter) -> Work:
    docs, retriever = counter.known.sizes(spec.collection).docs, spec.retriever
    if retriever.kind == "bm25":
        words = docs * counter.known.words(spec.collection)[1]
        size = words * POSTINGS * BYTES["posting"]
        return Work("index bm25", cpu_seconds=words * SECONDS["word indexed"], disk=size, memory=3 * size)  # with the shards
    width = flops.dimension(encoder_of(retriever.encoder)[0]) or 0
    size = docs * posting_bytes(retriever.index, width)
    seconds = 2.0 * width * docs * retriever.index.nlist / DENSE_RATE  # every document against every list's centre
    return Work(f"index {retriever.index.kind}", cpu_seconds=seconds, disk=size, memory=size)


INDEX = Stage(
    name="index",
    version=1,
    spec=params.IndexSpec,
    inputs=_inputs,
    make=_make,
    work=_work,
    read=_read,
    libraries=("rd_utils.bm25", "rd_utils.dense"),
)

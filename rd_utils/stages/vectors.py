"""The embeddings of a collection's documents."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np

from rd_utils.cost.workload import BYTES, Counter, Work
from rd_utils.models.encoding import embedded
from rd_utils.stages.tokens import TOKENS
from rd_utils.store import Draft
from rd_utils.study.graph import docs_of
from rd_utils.study.kinds import BiArchitecture
from rd_utils.study.specs import VectorsSpec
from rd_utils.study.stage import Given, Inputs, Stage


def _inputs(spec: VectorsSpec) -> Inputs:
    needed = {"docs": docs_of(spec.collection)} | spec.encoder.inputs(spec.collection)
    return {role: part for role, part in needed.items() if role != "query_tokens"}


def _make(spec: VectorsSpec, given: Given, draft: Draft) -> None:
    student, docs = spec.encoder.open(given), given(TOKENS, "doc_tokens")
    vectors = embedded(student, docs, draft.folder / "vectors.npy", given.store.checkpoints(spec), given)
    draft.counts |= {"documents": len(vectors), "dimension": vectors.shape[1]}
    draft.counts["documents_without_word"] = int((docs.text_lengths() == 0).sum())


def _read(folder: Path, spec: VectorsSpec, given: Given) -> np.ndarray:
    return np.load(folder / "vectors.npy", mmap_mode="r")


def _work(spec: VectorsSpec, counter: Counter) -> Work:
    docs, trained_on = counter.known.sizes(spec.collection).docs, spec.encoder.trained_on
    architecture = cast("BiArchitecture", spec.encoder.underlying)
    tokens, counted = counter.encoding(architecture, spec.collection, trained_on, docs, 0)
    width = architecture.width or 0
    size = BYTES["vector"] * width * docs
    work = Work("vectors", documents=docs, tokens=tokens, mode="infer", disk=size, memory=size + 4 * tokens)
    return counter.model(work, architecture, counted, model_memory=4 * counter.weights(architecture, trained_on))


VECTORS = Stage(
    name="vectors",
    version=1,
    spec=VectorsSpec,
    inputs=_inputs,
    make=_make,
    work=_work,
    read=_read,
    libraries=("rd_utils.models", "rd_utils.mining.dense"),
)

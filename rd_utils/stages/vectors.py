"""The embeddings of a collection's documents."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rd_utils import params
from rd_utils.encoding import embedded, open_encoder
from rd_utils.graph import docs_of, encoder_inputs
from rd_utils.stage import Given, Inputs, Stage
from rd_utils.stages.tokens import TOKENS
from rd_utils.store import Draft


def _inputs(spec: params.VectorsSpec) -> Inputs:
    needed = {"docs": docs_of(spec.collection)} | encoder_inputs(spec.encoder, spec.collection)
    return {role: part for role, part in needed.items() if role != "query_tokens"}


def _make(spec: params.VectorsSpec, given: Given, draft: Draft) -> None:
    student, docs = open_encoder(spec.encoder, given), given(TOKENS, "doc_tokens")
    vectors = embedded(student, docs, draft.folder / "vectors.npy", given.store.checkpoints(spec), given)
    draft.counts |= {"documents": len(vectors), "dimension": vectors.shape[1]}
    draft.counts["documents_without_word"] = int((docs.text_lengths() == 0).sum())


def _read(folder: Path, spec: params.VectorsSpec, given: Given) -> np.ndarray:
    return np.load(folder / "vectors.npy", mmap_mode="r")


VECTORS = Stage(
    name="vectors",
    version=1,
    spec=params.VectorsSpec,
    inputs=_inputs,
    make=_make,
    read=_read,
    libraries=("rd_utils.models", "rd_utils.dense"),
)

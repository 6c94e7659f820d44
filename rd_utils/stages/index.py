"""What a retriever searches instead of the documents themselves: BM25's postings, or an inverted file of vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rd_utils.cost.workload import Counter, Work
from rd_utils.store import Draft
from rd_utils.study.graph import docs_of
from rd_utils.study.specs import IndexSpec
from rd_utils.study.stage import Given, Inputs, Stage

if TYPE_CHECKING:
    import faiss

    from rd_utils.mining.bm25 import Index


def _inputs(spec: IndexSpec) -> Inputs:
    return {"docs": docs_of(spec.collection)} | spec.retriever.index_inputs(spec.collection)


def _make(spec: IndexSpec, given: Given, draft: Draft) -> None:
    spec.retriever.build(spec, given, draft)


def _work(spec: IndexSpec, counter: Counter) -> Work:
    return spec.retriever.index_work(spec, counter)


def _read(folder: Path, spec: IndexSpec, given: Given) -> Index | faiss.IndexIVF:
    return spec.retriever.open(folder)


INDEX = Stage(
    name="index",
    version=1,
    spec=IndexSpec,
    inputs=_inputs,
    make=_make,
    work=_work,
    read=_read,
    libraries=("rd_utils.mining.bm25", "rd_utils.mining.dense"),
)

"""A retriever's top documents of every query."""

from __future__ import annotations

import shutil
from pathlib import Path

from rd_utils.cost.workload import BYTES, SECONDS, Counter, Work
from rd_utils.data.runs import Run
from rd_utils.mining import words
from rd_utils.stages.docs import DOCS
from rd_utils.stages.queries import QUERIES
from rd_utils.store import Draft
from rd_utils.study.graph import collection_inputs
from rd_utils.study.kinds import Retriever
from rd_utils.study.specs import CandidatesSpec, NeighboursSpec
from rd_utils.study.stage import Given, Inputs, Stage
from rd_utils.workflow.progress import LOGGER


def _inputs(spec: CandidatesSpec) -> Inputs:
    return collection_inputs(spec.collection) | spec.retriever.inputs(spec.collection)


def _make(spec: CandidatesSpec, given: Given, draft: Draft) -> None:
    run = spec.retriever.search(spec, given, draft)
    run.save(draft.folder)
    shutil.rmtree(given.store.checkpoints(spec), ignore_errors=True)
    draft.counts |= {"queries": len(given(QUERIES).frame), "pairs": len(run.docs)}
    draft.dropped["queries_without_candidates"] = int((run.lengths() == 0).sum())
    if spec.retriever.lexical is spec.retriever:
        draft.counts["queries_below_depth"] = say_short(spec, run, "queries", given)


def say_short(spec: CandidatesSpec | NeighboursSpec, run: Run, of: str, given: Given) -> int:
    """Return how many lists of a search by words are shorter than asked for, and say why where most are."""
    wanted = min(spec.depth, len(given(DOCS).ties) - (of == "documents"))
    short = int((run.lengths() < wanted).sum())
    lexical = spec.retriever.lexical
    if lexical is not None and 2 * short > len(run):
        why = misfit(spec.retriever, given) or "their words stand in no more documents; lower depth, or fill shortages"
        said = f"{spec.collection.label}: {short} of {len(run)} {of} find fewer than {wanted} documents by BM25"
        LOGGER.warning("%s (%s): %s", said, words.analysed_as(lexical), why)
    return short


def misfit(retriever: Retriever | None, given: Given) -> str:
    """Say why the analysis of the BM25 in a retriever does not fit a collection's first documents and queries, if it does not."""
    lexical = None if retriever is None else retriever.lexical
    if lexical is None:
        return ""
    texts = (given(DOCS).frame["text"], given(QUERIES).frame["text"])
    return words.misfit(lexical, [text for column in texts for text in column.array[: words.SAMPLE].tolist()])


def _work(spec: CandidatesSpec, counter: Counter) -> Work:
    sizes = counter.known.sizes(spec.collection)
    pairs = sizes.queries * min(spec.depth, sizes.docs)
    work = Work(
        f"candidates {spec.retriever.way}",
        disk=pairs * BYTES["candidate"],
        memory=2 * pairs * BYTES["candidate"],
        cpu_seconds=pairs * SECONDS["candidate"],
    )
    return spec.retriever.work(work, spec, counter)


def _read(folder: Path, spec: CandidatesSpec, given: Given) -> Run:
    return Run.load(folder)


CANDIDATES = Stage(name="candidates", version=1, spec=CandidatesSpec, inputs=_inputs, make=_make, work=_work, read=_read)

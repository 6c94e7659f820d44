"""A retriever's top documents of every query."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rd_utils import dense, params, retrieval, words
from rd_utils.encoding import encoded, open_encoder
from rd_utils.graph import collection_inputs, retriever_inputs
from rd_utils.progress import LOGGER
from rd_utils.runs import Run
from rd_utils.scoring import teacher_scores
from rd_utils.stage import Given, Inputs, Stage
from rd_utils.stages.docs import DOCS
from rd_utils.stages.index import INDEX, workers
from rd_utils.stages.queries import QUERIES
from rd_utils.stages.tokens import TOKENS
from rd_utils.stages.vectors import VECTORS
from rd_utils.store import Draft, resolve_path
from rd_utils.workload import BYTES, SECONDS, Counter, Work, encoder_of, searched_by


def _inputs(spec: params.CandidatesSpec) -> Inputs:
    return collection_inputs(spec.collection) | retriever_inputs(spec.retriever, spec.collection)


def _make(spec: params.CandidatesSpec, given: Given, draft: Draft) -> None:
    queries, retriever, ties = given(QUERIES).frame, spec.retriever, given(DOCS).ties
    if retriever.kind in ("bm25", "dense"):
        run = search(spec, queries["text"], None, spec.depth, given, draft)
    elif retriever.kind == "reranked":
        run = given(CANDIDATES)
        scores, draft.counts["pairs_scored_now"] = teacher_scores(
            retriever.teacher, spec.collection, run.rows(), run.docs, given.part("teacher_")
        )
        run = retrieval.rerank(run, scores, spec.depth, ties)
    elif retriever.kind == "pooled":
        runs = [given(CANDIDATES, f"candidates_{number}") for number in range(len(retriever.retrievers))]
        run = retrieval.pooled_candidates(runs, retriever.at_most, spec.depth, ties)
    else:
        ids = queries["query_id"], given(DOCS).frame["doc_id"]
        run = retrieval.run_file_candidates(resolve_path(retriever.path), *ids, spec.depth, ties, draft.dropped)
    run.save(draft.folder)
    shutil.rmtree(given.store.checkpoints(spec), ignore_errors=True)
    draft.counts |= {"queries": len(queries), "pairs": len(run.docs)}
    draft.dropped["queries_without_candidates"] = int((run.lengths() == 0).sum())
    if retriever.kind == "bm25":
        draft.counts["queries_below_depth"] = say_short(spec, run, "queries", given)


def search(spec: Any, texts: pd.Series, rows: np.ndarray | None, depth: int, given: Given, draft: Draft) -> Run:
    """Search a collection with BM25 or a bi-encoder: for its queries, or for the documents in ``rows``."""
    retriever, ties = spec.retriever, given(DOCS).ties
    index = given(INDEX) if "index" in given else None
    options = {"folder": given.store.checkpoints(spec), "track": given.track}
    if retriever.kind == "bm25":
        return retrieval.bm25_candidates(index, texts, retriever, depth, ties, workers=workers(), **options)
    vectors = given(VECTORS)
    if rows is None:
        asked = encoded(open_encoder(retriever.encoder, given), given(TOKENS, "query_tokens"), kind="query")
    else:
        asked = vectors[rows]
    if index is None:
        return dense.search(vectors, asked, depth, ties, **options)
    run = dense.search(vectors, asked, depth, ties, index=index, refine=retriever.index.refine, **options)
    draft.counts["recall"], draft.counts["recall_queries"] = dense.recall(vectors, asked, run, depth, ties)
    return run


def say_short(spec: Any, run: Run, of: str, given: Given) -> int:
    """Return how many lists of a search by BM25 are shorter than asked for, and say why where most are."""
    wanted = min(spec.depth, len(given(DOCS).ties) - (of == "documents"))
    short = int((run.lengths() < wanted).sum())
    if 2 * short > len(run):
        why = misfit(spec.retriever, given) or "their words stand in no more documents; lower depth, or fill shortages"
        said = f"{spec.collection.label}: {short} of {len(run)} {of} find fewer than {wanted} documents by BM25"
        LOGGER.warning("%s (%s): %s", said, words.analysed_as(spec.retriever), why)
    return short


def misfit(retriever: Any, given: Given) -> str:
    """Say why the analysis of the BM25 in a retriever does not fit a collection's first documents and queries, if it does not."""
    retriever = params.bm25_of(retriever)
    if retriever is None:
        return ""
    texts = (given(DOCS).frame["text"], given(QUERIES).frame["text"])
    return words.misfit(retriever, [text for column in texts for text in column.array[: words.SAMPLE].tolist()])


def _read(folder: Path, spec: params.CandidatesSpec, given: Given) -> Run:
    return Run.load(folder)


def _work(spec: params.CandidatesSpec, counter: Counter) -> Work:
    sizes, retriever = counter.known.sizes(spec.collection), spec.retriever
    pairs = sizes.queries * min(spec.depth, sizes.docs)
    work = Work(
        f"candidates {searched_by(retriever)}",
        disk=pairs * BYTES["candidate"],
        memory=2 * pairs * BYTES["candidate"],
        cpu_seconds=pairs * SECONDS["candidate"],
    )
    if retriever.kind == "bm25":
        return counter.bm25_search(work, spec.collection, sizes.queries, 1.0)
    if retriever.kind == "dense":
        architecture, trained_on = encoder_of(retriever.encoder)
        tokens, counted = counter.encoding(architecture, spec.collection, trained_on, 0, sizes.queries)
        work = replace(work, tokens=tokens, documents=sizes.queries, mode="infer")
        return counter.dense_search(counter.model(work, architecture, counted), architecture, sizes.queries, sizes.docs, retriever.index)
    if retriever.kind == "pooled":  # every list that is pooled is read
        read = sizes.queries * retriever.at_most * len(retriever.retrievers)
        return replace(
            work, cpu_seconds=read * SECONDS["pair looked up"] + pairs * SECONDS["pair looked up"], memory=40 * (read + pairs)
        )
    read = sizes.queries * retriever.from_depth if retriever.kind == "reranked" else pairs
    return replace(work, cpu_seconds=read * SECONDS["pair looked up"], memory=40 * (read + pairs))


CANDIDATES = Stage(name="candidates", version=1, spec=params.CandidatesSpec, inputs=_inputs, make=_make, work=_work, read=_read)

"""The queries and qrels of one split."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from rd_utils.cost.workload import BYTES, SECONDS, Counter, Work
from rd_utils.data import collections
from rd_utils.data.runs import rows_of
from rd_utils.data.sources import PseudoQueries
from rd_utils.stages.docs import DOCS, Docs, warn_of_texts
from rd_utils.store import Draft
from rd_utils.study.graph import docs_of
from rd_utils.study.specs import QueriesSpec
from rd_utils.study.stage import Given, Inputs, Stage
from rd_utils.training import augmentation


class Queries:
    """Queries as they lie in the store, each file read when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Return query_id, text."""
        return collections.read_table(self.folder, "queries")

    @cached_property
    def qrels(self) -> pd.DataFrame:
        """Return query_id, doc_id, relevance."""
        return collections.read_table(self.folder, "qrels")

    def rows(self, query_ids: pd.Series) -> np.ndarray:
        """Return the rows of query_ids that are known."""
        return rows_of(query_ids, self.frame["query_id"])

    def positives(self, docs: Docs) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of the queries and documents of the qrels above 0, int64 (n,) each, -1 for a document that is not there."""
        known = collections.positives(self.qrels)
        return self.rows(known["query_id"]), rows_of(known["doc_id"], docs.frame["doc_id"])


def _inputs(spec: QueriesSpec) -> Inputs:
    return {"docs": docs_of(spec.collection)} if spec.collection.source == "pseudo_queries" else {}


def _make(spec: QueriesSpec, given: Given, draft: Draft) -> None:
    pseudo = spec.collection
    if isinstance(pseudo, PseudoQueries):
        queries, qrels = augmentation.pseudo_queries(
            given(DOCS).frame, pseudo.queries, words=pseudo.words, weighting=pseudo.weighting, seed=pseudo.seed
        )
        queries, qrels = (part.reset_index(drop=True) for part in collections.random_part(pseudo, queries, qrels))
    else:
        queries, qrels = collections.read_queries(pseudo, given.track)
    collections.write_table(queries, draft.folder, "queries")
    qrels.to_parquet(draft.folder / "qrels.parquet", index=False)
    draft.counts |= {"queries": len(queries), "qrels": len(qrels), "positives": len(collections.positives(qrels))}
    wordless = queries["query_id"][~collections.has_word(queries["text"])]
    draft.counts["queries_without_word"] = len(wordless)
    if len(wordless):
        warn_of_texts(spec.collection, "queries", len(wordless), len(queries), wordless.iloc[0])


def _read(folder: Path, spec: QueriesSpec, given: Given) -> Queries:
    return Queries(folder)


def _work(spec: QueriesSpec, counter: Counter) -> Work:
    queries = counter.known.sizes(spec.collection).queries
    size = queries * counter.known.words(spec.collection)[0] * BYTES["word"]
    return Work("queries", cpu_seconds=queries * SECONDS["query read"], disk=size, memory=size)


QUERIES = Stage(name="queries", version=1, spec=QueriesSpec, inputs=_inputs, make=_make, work=_work, read=_read)

"""What notebooks ask for by name: the artefacts of a study, opened and made where they are missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from rd_utils.data import collections
from rd_utils.data.runs import Run, rows_of
from rd_utils.mining import sampling
from rd_utils.models import encoding
from rd_utils.store import identity, one_look
from rd_utils.study import params
from rd_utils.study.graph import architecture_inputs, docs_of
from rd_utils.study.kinds import Architecture, Collection, Teacher, Tokenizer
from rd_utils.study.stage import Given
from rd_utils.workflow.maker import Maker

if TYPE_CHECKING:
    from rd_utils.models import Student
    from rd_utils.models.tokens import TokenTable

T = TypeVar("T")


class Pipeline(Maker):
    """A maker whose artefacts have names."""

    def frame(self, spec: params.Spec, name: str) -> pd.DataFrame:
        """Return one table of an artefact: a Parquet file, or an Arrow file, which is memory-mapped."""
        return self.kept(name, spec, lambda folder: collections.read_table(folder, name))

    def docs(self, collection: Collection) -> pd.DataFrame:
        """Return doc_id, text; the strings stay in a file that is mapped into memory."""
        spec = docs_of(collection)
        return self.kept("docs", spec, lambda _: self.open(spec).frame)

    def queries(self, collection: Collection) -> pd.DataFrame:
        """Return query_id, text."""
        spec = params.QueriesSpec(collection=collection)
        return self.kept("queries", spec, lambda _: self.open(spec).frame)

    def qrels(self, collection: Collection) -> pd.DataFrame:
        """Return query_id, doc_id, relevance."""
        spec = params.QueriesSpec(collection=collection)
        return self.kept("qrels", spec, lambda _: self.open(spec).qrels)

    def run(self, spec: params.CandidatesSpec | params.NeighboursSpec) -> Run:
        """Return candidates, a list for every query, or neighbours, a list for every positive, whose rows are its keys."""
        return self.open(spec)

    def candidates(self, spec: params.CandidatesSpec | params.NeighboursSpec) -> pd.DataFrame:
        """Return a run as query_id, doc_id, score; for neighbours query_id is a positive's doc_id."""
        doc_ids = self.docs(spec.collection)["doc_id"]
        ids = doc_ids if spec.stage == "neighbours" else self.queries(spec.collection)["query_id"]
        return self.kept("candidates", spec, lambda _: self.run(spec).frame(ids, doc_ids))

    def groups(self, spec: params.GroupsSpec) -> pd.DataFrame:
        """Return the groups by ids, positive first: query_id, draw, doc_ids, n_filled, n_random, inclusion, density_ratio."""
        return self.kept("groups by ids", spec, lambda _: self.drawn(spec).frame)

    def drawn(self, spec: params.GroupsSpec) -> sampling.Groups:
        """Return the groups as flat arrays of row numbers."""
        return self.open(spec)

    def group_rows(self, spec: params.GroupsSpec) -> tuple[np.ndarray, np.ndarray]:
        """Return the groups as rows: queries (n,) and documents (n, group_size), int64."""
        groups = self.drawn(spec)
        return groups.query_rows, groups.doc_rows.astype(np.int64)

    def group_scores(self, spec: params.ScoresSpec) -> np.ndarray:
        """Return the teacher's scores (n_groups, group_size), float32, aligned with the groups."""
        return self.open(spec)

    def ranked(self, spec: params.EvaluationSpec) -> pd.DataFrame:
        """Return what a system ranked, the documents of a query from the first to the last: query_id, doc_id, score."""
        columns = {"query_id": pa.large_string(), "Q0": pa.string(), "doc_id": pa.large_string(), "rank": pa.int64(), "score": pa.float64()}
        run = csv.read_csv(  # our own file, so that nothing of it has to be checked, which takes six times as long
            self.build(spec) / "run.trec",
            read_options=csv.ReadOptions(column_names=[*columns, "tag"]),
            parse_options=csv.ParseOptions(delimiter=" ", quote_char=False),
            convert_options=csv.ConvertOptions(
                column_types=columns, include_columns=["query_id", "doc_id", "score"], strings_can_be_null=False, null_values=[]
            ),
        )
        return run.to_pandas()

    def vectors(self, spec: params.VectorsSpec) -> np.ndarray:
        """Return the embeddings of a collection's documents, (n_docs, dimension), memory-mapped."""
        return self.open(spec)

    def tokens(self, of: Literal["docs", "queries"], collection: Collection, tokenizer: Tokenizer) -> TokenTable:
        """Return the token table of the documents or queries."""
        collection = docs_of(collection).collection if of == "docs" else collection
        return self.open(params.TokensSpec(of=of, collection=collection, tokenizer=tokenizer))

    def query_rows(self, collection: Collection, query_ids: pd.Series) -> np.ndarray:
        """Return the rows of query_ids in the collection's queries."""
        return _rows(query_ids, self.queries(collection)["query_id"], collection)

    def doc_rows(self, collection: Collection, doc_ids: pd.Series) -> np.ndarray:
        """Return the rows of doc_ids in the collection's documents."""
        return _rows(doc_ids, self.docs(collection)["doc_id"], collection)

    def untrained(self, architecture: Architecture, collection: Collection, seed: int) -> Student:
        """Return a student before its first step, on the accelerator if there is one."""
        parts = architecture_inputs(architecture, collection, collection)
        return encoding.on_device(encoding.untrained(architecture, seed, Given(self, parts)))

    def student(self, spec: params.StudentSpec) -> Student:
        """Return a trained student, training it first where it is missing."""
        return self.open(spec)

    def teacher_scores(
        self, teacher: Teacher, collection: Collection, query_rows: np.ndarray, doc_rows: np.ndarray
    ) -> tuple[np.ndarray, int]:
        """Return a teacher's scores of pairs, scoring those that are missing; and how many were missing."""
        scored = teacher.scores(collection, query_rows, doc_rows, Given(self, teacher.inputs(collection)))
        return scored.scores, scored.scored_now

    def kept(self, name: str, spec: params.Spec, read: Callable[[Path], T]) -> T:
        """Return what ``read`` makes of an artefact's folder, kept in memory under a name."""
        with one_look():
            return self.once(("kept", name, identity(spec)), lambda: self.read(spec, read))


def _rows(ids: pd.Series, known: pd.Series, collection: Collection) -> np.ndarray:
    """Return the rows of ids, which must all be known."""
    rows = rows_of(ids, known)
    if (rows < 0).any():
        unknown = np.asarray(ids, dtype=object)[rows < 0]
        said = f"{len(unknown)} values of {known.name} are unknown, the first is {unknown[0]!r}"
        raise collections.CollectionError(f"{collection.label}: {said}")
    return rows

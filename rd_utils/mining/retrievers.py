"""Retrievers: what ranks the documents of a collection for a query, and the indexes of embeddings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, cast

import numpy as np
from pydantic import Field, model_validator

from rd_utils.cost.workload import BYTES, DENSE_RATE, POSTINGS, RECALL_QUERIES, SECONDS, Counter, Work, dense_search
from rd_utils.data.runs import Run
from rd_utils.mining import dense, retrieval
from rd_utils.mining.words import STEMMERS, STOPWORDS
from rd_utils.models.encoding import encoded
from rd_utils.stages.candidates import CANDIDATES
from rd_utils.stages.docs import DOCS
from rd_utils.stages.index import INDEX
from rd_utils.stages.queries import QUERIES
from rd_utils.stages.tokens import TOKENS
from rd_utils.stages.vectors import VECTORS
from rd_utils.store import Draft, resolve_path
from rd_utils.study.bounds import Count, Depth, Few, Name, PathText, Scale, Share
from rd_utils.study.context import Context
from rd_utils.study.graph import vectors_of
from rd_utils.study.kinds import (
    BiArchitecture,
    Collection,
    DenseIndex,
    Encoder,
    IndexedRetriever,
    Named,
    Part,
    Retriever,
    ScoredPool,
    Strategy,
    Teacher,
)
from rd_utils.study.settings import TrainedOn, Training
from rd_utils.study.specs import CandidatesSpec, IndexSpec, NeighboursSpec
from rd_utils.study.stage import Given, Inputs, prefixed

if TYPE_CHECKING:
    import faiss
    import pandas as pd

    from rd_utils.mining.bm25 import Index

    Stemmer = Stopwords = str
else:
    Stemmer, Stopwords = Literal[*STEMMERS, "none"], Literal[*STOPWORDS, "none"]


class BM25(IndexedRetriever):
    """BM25 by bm25s; ``form`` is its idf, as :mod:`rd_utils.mining.retrieval` writes them out.

    ``words``, ``stemmer`` and ``stopwords`` are its analysis, the way from a text to what is counted (see ``mining.words``): words
    between spaces or pairs of characters, a Snowball algorithm, and a language's stop words.
    """

    kind: Literal["bm25"] = "bm25"
    k1: Scale = 1.2
    b: Share = 0.75
    form: Literal["lucene", "robertson"] = "lucene"
    words: Literal["words", "character_pairs"] = Field(default="words", exclude_if=lambda value: value == "words")
    stemmer: Stemmer = "english"
    stopwords: Stopwords = "english"

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return "bm25"

    @property
    def lexical(self) -> BM25:
        """Return itself."""
        return self

    def index_of(self, collection: Collection) -> IndexSpec:
        """Return the postings of a collection's documents."""
        return IndexSpec(collection=collection.undivided(), retriever=self)

    def index_inputs(self, collection: Collection) -> Inputs:
        """Return nothing: it reads the documents alone."""
        return {}

    def inputs(self, collection: Collection) -> Inputs:
        """Return the index."""
        return {"index": self.index_of(collection)}

    def build(self, spec: IndexSpec, given: Given, draft: Draft) -> None:
        """Write the postings of the documents."""
        from rd_utils.mining import bm25

        texts, shards = given(DOCS).frame["text"], given.store.checkpoints(spec)
        index = bm25.build(texts, self, draft.folder, shards=shards, workers=given.workers, track=given.track)
        draft.counts |= {"documents": index.n_docs, "words": len(index.words), "postings": len(index.docs)}

    def open(self, folder: Path) -> Index:
        """Open the postings, memory-mapped."""
        from rd_utils.mining import bm25

        return bm25.Index.load(folder)

    def search(self, spec: CandidatesSpec, given: Given, draft: Draft) -> Run:
        """Return the documents with the highest scores."""
        return self._search(spec, given(QUERIES).frame["text"], spec.depth, given)

    def nearest(self, spec: NeighboursSpec, rows: np.ndarray, depth: int, given: Given, draft: Draft) -> Run:
        """Search for documents' own texts."""
        return self._search(spec, given(DOCS).frame["text"].take(rows), depth, given)

    def _search(self, spec: CandidatesSpec | NeighboursSpec, texts: pd.Series, depth: int, given: Given) -> Run:
        folder, ties, index = given.store.checkpoints(spec), given(DOCS).ties, cast("Index", given(INDEX))
        return retrieval.bm25_candidates(index, texts, self, depth, ties, workers=given.workers, folder=folder, track=given.track)

    def index_work(self, spec: IndexSpec, counter: Counter) -> Work:
        """Return what the postings take, with their shards."""
        words = counter.known.sizes(spec.collection).docs * counter.known.words(spec.collection)[1]
        size = words * POSTINGS * BYTES["posting"]
        return Work("index bm25", cpu_seconds=words * SECONDS["word indexed"], disk=size, memory=3 * size)

    def work(self, work: Work, spec: CandidatesSpec, counter: Counter) -> Work:
        """Add a search for every query."""
        return self._searched(work, spec.collection, counter.known.sizes(spec.collection).queries, 1.0, counter)

    def nearest_work(self, work: Work, spec: NeighboursSpec, asking: float, counter: Counter) -> Work:
        """Add a search for so many documents, whose texts are long queries."""
        words = counter.known.words(spec.collection)
        return self._searched(work, spec.collection, asking, words[1] / words[0], counter)

    def _searched(self, work: Work, collection: Collection, queries: float, longer: float, counter: Counter) -> Work:
        docs, words = counter.known.sizes(collection).docs, counter.known.words(collection)[1]
        seconds = queries * docs * longer * SECONDS["document met by a query"]
        memory = docs * words * POSTINGS * BYTES["posting"]  # of the mapped index
        return replace(work, cpu_seconds=work.cpu_seconds + seconds, memory=work.memory + memory)


class Flat(DenseIndex):
    """Every document's inner product with the query: exact."""

    kind: Literal["flat"] = "flat"

    def compared(self, queries: float, docs: float) -> float:
        """Return how many vectors so many queries are compared with: all."""
        return queries * docs

    def posting_bytes(self, width: int) -> float:
        """Return 0: it has no file of its own."""
        return 0.0


class InvertedFile(DenseIndex):
    """Base of the indexes that look only into the ``nprobe`` of ``nlist`` cells that are nearest to a query.

    Cells are trained on ``sample`` documents; ``refine`` times the depth is found and scored again with the embeddings.
    """

    nlist: Depth = 4096
    nprobe: Depth = 64
    sample: Count = 200_000
    refine: Few = 4
    codes: ClassVar[int] = 0  # of each part of a vector, which are trained too; 0 where vectors are kept as they are

    @model_validator(mode="after")
    def _probes_are_cells(self) -> InvertedFile:
        if self.nprobe > self.nlist:
            raise ValueError(f"nprobe is {self.nprobe}, above nlist {self.nlist}; no more cells than there are can be looked into")
        return self

    def compared(self, queries: float, docs: float) -> float:
        """Return how many vectors so many queries are compared with: all centres, and the documents of ``nprobe`` of ``nlist`` cells.

        For a few queries the recall is then measured by an exhaustive search.
        """
        return queries * (self.nlist + docs * self.nprobe / self.nlist) + min(RECALL_QUERIES, queries) * docs

    @property
    def parts(self) -> int:
        """Return into how many parts a vector is cut."""
        return 1

    def untrained(self, dimension: int) -> faiss.IndexIVF:
        """Return an index without documents, whose cells are not trained yet."""
        raise NotImplementedError


class IVFPQ(InvertedFile):
    """An inverted file of vectors that are cut into ``m`` parts of a byte each (product quantisation)."""

    kind: Literal["ivf_pq"] = "ivf_pq"
    m: Few = 48
    codes: ClassVar[int] = 256

    @property
    def parts(self) -> int:
        """Return into how many parts a vector is cut."""
        return self.m

    def untrained(self, dimension: int) -> faiss.IndexIVF:
        """Return an index of codes."""
        import faiss

        return faiss.IndexIVFPQ(faiss.IndexFlatIP(dimension), dimension, self.nlist, self.m, 8, faiss.METRIC_INNER_PRODUCT)

    def posting_bytes(self, width: int) -> float:
        """Return the bytes of a document: its row, and the codes of its parts."""
        return 8.0 + self.m


class IVFOnDisk(InvertedFile):
    """An inverted file of the vectors themselves."""

    kind: Literal["ivf_on_disk"] = "ivf_on_disk"

    def untrained(self, dimension: int) -> faiss.IndexIVF:
        """Return an index of vectors."""
        import faiss

        return faiss.IndexIVFFlat(faiss.IndexFlatIP(dimension), dimension, self.nlist, faiss.METRIC_INNER_PRODUCT)

    def posting_bytes(self, width: int) -> float:
        """Return the bytes of a document: its row, and its vector."""
        return 8.0 + BYTES["vector"] * width


class DenseInShort(TrainedOn):
    """A bi-encoder before training, or trained on a strategy's groups."""

    architecture: BiArchitecture
    strategy: Strategy | None = None
    training: Training | None = None

    @model_validator(mode="after")
    def _trained_or_not(self) -> DenseInShort:
        if self.strategy is None and (self.teacher, self.training) != (None, None):
            raise ValueError("without a strategy it is not trained; leave teacher and training out, or name one")
        return self


class Dense(IndexedRetriever):
    """Search by a bi-encoder's embeddings (faiss, inner product): a checkpoint, or a student that the suite trained."""

    kind: Literal["dense"] = "dense"
    encoder: Encoder
    index: DenseIndex = Flat()
    short: ClassVar[type[Part] | None] = DenseInShort

    @classmethod
    def whole(cls, values: dict[str, object], context: Context) -> dict[str, object]:
        """Make the encoder of an architecture, and of the strategy that it is trained on."""
        if "encoder" in values or not values.keys() & DenseInShort.model_fields.keys():
            return values
        own = {name: values[name] for name in ("kind", "index") if name in values}
        said = DenseInShort.model_validate({name: value for name, value in values.items() if name not in own})
        if said.strategy is None:
            return own | {"encoder": {"kind": "untrained", "architecture": said.architecture, "seed": said.seed}}
        student = said.student(context) | {"training": said.training or context.setting("training")}
        return own | {"encoder": {"kind": "student", "student": student}}

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return "dense"

    @property
    def way(self) -> str:
        """Return what shares its speed with this: the index too, where there is one."""
        return self.kind if isinstance(self.index, Flat) else f"{self.kind} {self.index.tag}"

    @property
    def _architecture(self) -> BiArchitecture:
        return cast("BiArchitecture", self.encoder.underlying)  # another has no embeddings, and is refused where a study is read

    @property
    def _inverted(self) -> InvertedFile:
        return cast("InvertedFile", self.index)  # a flat one is never built, opened or given

    def index_of(self, collection: Collection) -> IndexSpec | None:
        """Return the inverted file of a collection's documents; None where all embeddings are gone through."""
        return None if isinstance(self.index, Flat) else IndexSpec(collection=collection.undivided(), retriever=self)

    def index_inputs(self, collection: Collection) -> Inputs:
        """Return the embeddings of the documents."""
        return {"vectors": vectors_of(collection, self.encoder)}

    def inputs(self, collection: Collection) -> Inputs:
        """Return the embeddings, the index if there is one, and what embeds the queries."""
        index = self.index_of(collection)
        return self.index_inputs(collection) | ({"index": index} if index else {}) | self.encoder.inputs(collection)

    def build(self, spec: IndexSpec, given: Given, draft: Draft) -> None:
        """Write the inverted file."""
        vectors = given(VECTORS)
        dense.build(vectors, self._inverted, draft.folder, shards=given.store.checkpoints(spec), track=given.track)
        draft.counts |= {"documents": len(vectors), "cells": self._inverted.nlist}

    def open(self, folder: Path) -> faiss.IndexIVF:
        """Open the inverted file, memory-mapped."""
        return dense.load(folder, self._inverted)

    def search(self, spec: CandidatesSpec, given: Given, draft: Draft) -> Run:
        """Return the documents with the largest inner products with the query."""
        asked = encoded(self.encoder.open(given), given(TOKENS, "query_tokens"), kind="query")
        return self._search(spec, asked, spec.depth, given, draft)

    def nearest(self, spec: NeighboursSpec, rows: np.ndarray, depth: int, given: Given, draft: Draft) -> Run:
        """Return the documents with the largest inner products with documents."""
        return self._search(spec, given(VECTORS)[rows], depth, given, draft)

    def _search(self, spec: CandidatesSpec | NeighboursSpec, asked: np.ndarray, depth: int, given: Given, draft: Draft) -> Run:
        vectors, ties, folder = given(VECTORS), given(DOCS).ties, given.store.checkpoints(spec)
        if "index" not in given:
            return dense.search(vectors, asked, depth, ties, folder=folder, track=given.track)
        refine, index = self._inverted.refine, cast("faiss.IndexIVF", given(INDEX))
        run = dense.search(vectors, asked, depth, ties, index=index, refine=refine, folder=folder, track=given.track)
        draft.counts["recall"], draft.counts["recall_queries"] = dense.recall(vectors, asked, run, depth, ties)
        return run

    def index_work(self, spec: IndexSpec, counter: Counter) -> Work:
        """Return what the inverted file takes: every document is compared with every cell's centre."""
        docs, width = counter.known.sizes(spec.collection).docs, self._architecture.width or 0
        size = docs * self.index.posting_bytes(width)
        seconds = 2.0 * width * docs * self._inverted.nlist / DENSE_RATE
        return Work(f"index {self.index.tag}", cpu_seconds=seconds, disk=size, memory=size)

    def work(self, work: Work, spec: CandidatesSpec, counter: Counter) -> Work:
        """Add embedding every query, and a search for it."""
        sizes, architecture = counter.known.sizes(spec.collection), self._architecture
        tokens, counted = counter.encoding(architecture, spec.collection, self.encoder.trained_on, 0, sizes.queries)
        work = replace(work, tokens=tokens, documents=sizes.queries, mode="infer")
        return dense_search(counter.model(work, architecture, counted), architecture, sizes.queries, sizes.docs, self.index)

    def nearest_work(self, work: Work, spec: NeighboursSpec, asking: float, counter: Counter) -> Work:
        """Add a search for so many documents."""
        return dense_search(work, self._architecture, asking, counter.known.sizes(spec.collection).docs, self.index)


class Reranked(Retriever):
    """A retriever's top ``from_depth`` re-ranked by a teacher."""

    kind: Literal["reranked"] = "reranked"
    retriever: Retriever
    from_depth: Depth = 200
    teacher: Teacher

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return f"reranked {self.retriever.label}"

    @property
    def inner(self) -> tuple[Retriever, ...]:
        """Return the retriever whose candidates are re-ranked."""
        return (self.retriever,)

    @property
    def scored_pool(self) -> ScoredPool:
        """Return the candidates that are re-ranked."""
        return ScoredPool(self.teacher, self.retriever, self.from_depth)

    def inputs(self, collection: Collection) -> Inputs:
        """Return the candidates to re-rank, and what the teacher needs."""
        inner = CandidatesSpec(collection=collection, retriever=self.retriever, depth=self.from_depth)
        return {"candidates": inner} | prefixed("teacher_", self.teacher.inputs(collection))

    def search(self, spec: CandidatesSpec, given: Given, draft: Draft) -> Run:
        """Return the candidates in the order of the teacher's scores."""
        run = given(CANDIDATES)
        scored = self.teacher.scores(spec.collection, run.rows(), run.docs, given.part("teacher_"))
        draft.counts["pairs_scored_now"] = scored.scored_now
        return retrieval.rerank(run, scored.scores, spec.depth, given(DOCS).ties)

    def work(self, work: Work, spec: CandidatesSpec, counter: Counter) -> Work:
        """Add looking up the candidates' scores."""
        return _read(work, counter.known.sizes(spec.collection).queries * self.from_depth)


class Pooled(Retriever):
    """The union of several retrievers, at most ``at_most`` documents from each, ordered by the best rank that any of them gave."""

    kind: Literal["pooled"] = "pooled"
    retrievers: Annotated[tuple[Retriever, ...], Field(min_length=2, max_length=1_000)]
    at_most: Depth = 10

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return "pooled"

    @property
    def inner(self) -> tuple[Retriever, ...]:
        """Return the retrievers whose candidates are pooled."""
        return self.retrievers

    def inputs(self, collection: Collection) -> Inputs:
        """Return the candidates of every retriever."""
        return {
            f"candidates_{number}": CandidatesSpec(collection=collection, retriever=inner, depth=self.at_most)
            for number, inner in enumerate(self.retrievers)
        }

    def search(self, spec: CandidatesSpec, given: Given, draft: Draft) -> Run:
        """Return the union of the candidates."""
        runs = [given(CANDIDATES, f"candidates_{number}") for number in range(len(self.retrievers))]
        return retrieval.pooled_candidates(runs, self.at_most, spec.depth, given(DOCS).ties)

    def work(self, work: Work, spec: CandidatesSpec, counter: Counter) -> Work:
        """Add reading every list that is pooled, and looking up every pair that is left."""
        sizes = counter.known.sizes(spec.collection)
        pairs, read = sizes.queries * min(spec.depth, sizes.docs), sizes.queries * self.at_most * len(self.retrievers)
        return replace(work, cpu_seconds=(read + pairs) * SECONDS["pair looked up"], memory=40 * (read + pairs))


class RunFile(Retriever):
    """A run made elsewhere, in TREC format: ``query_id Q0 doc_id rank score tag``; ``name`` is what tables call it."""

    kind: Literal["run_file"] = "run_file"
    path: PathText
    name: Name

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return self.name

    def inputs(self, collection: Collection) -> Inputs:
        """Return nothing: the run is the user's file."""
        return {}

    def search(self, spec: CandidatesSpec, given: Given, draft: Draft) -> Run:
        """Read the run."""
        ids = given(QUERIES).frame["query_id"], given(DOCS).frame["doc_id"]
        return retrieval.run_file_candidates(resolve_path(self.path), *ids, spec.depth, given(DOCS).ties, draft.dropped)

    def work(self, work: Work, spec: CandidatesSpec, counter: Counter) -> Work:
        """Add reading the file's lines."""
        sizes = counter.known.sizes(spec.collection)
        return _read(work, sizes.queries * min(spec.depth, sizes.docs))

    @property
    def outside(self) -> tuple[Named, ...]:
        """Return the file."""
        return (Named("file", self.path),)


def _read(work: Work, read: float) -> Work:
    """Return the work of candidates that are read, not searched for."""
    written = work.disk / BYTES["candidate"]
    return replace(work, cpu_seconds=read * SECONDS["pair looked up"], memory=40 * (read + written))

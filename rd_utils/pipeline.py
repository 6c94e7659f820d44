"""How each artefact is made: the one place where parameters, the store and the stages' functions meet.

``Pipeline().build(spec)`` returns the artefact's folder; what is missing upstream is made first, what is there is reused. Two processes
that want the same artefact wait for each other. An artefact that was damaged since it was made is made again, with a warning.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rd_utils import augmentation, collections, entropy, evaluation, leakage, locality, params, retrieval, sampling, teachers, words
from rd_utils.progress import LOGGER, Track, track
from rd_utils.runs import Run, arrow, named, rows_of
from rd_utils.store import (
    Damage,
    Draft,
    Store,
    StoreError,
    check_outside,
    docs_of,
    identity,
    index_of,
    inputs,
    lexicon_of,
    one_look,
    pool_of,
    resolve_path,
    search_evaluations,
    teacher_files,
    teacher_identity,
    tokenizer_of,
    unchanged,
    vectors_of,
)

if TYPE_CHECKING:
    from rd_utils.models import Student
    from rd_utils.tokens import TokenTable
    from rd_utils.training import GroupTable, TrainingRecord


class Pipeline:
    """Makes artefacts and reads them back; keeps what it read in memory, so that a notebook reads each artefact once.

    Args:
        store: where artefacts lie (default: the project's outputs).
        track: shows progress.
    """

    def __init__(self, store: Store | None = None, track: Track = track) -> None:
        self.store = store or Store()
        self.track = track
        self._memory: dict[tuple[str, str], Any] = {}
        self._vectors: tuple[str, dict[str, Any]] = ("", {})
        self.compared: set[Any] = set()  # collections that were found to share no queries
        self._scoring: list[dict[str, Any]] = []  # of the artefact that is being made

    @property
    def scoring(self) -> list[dict[str, Any]]:
        """Return what teachers scored for the artefact that is being made; see :class:`rd_utils.store.Draft`."""
        return self._scoring

    def build(self, spec: Any) -> Path:
        """Return the folder of an artefact, making it and what it needs first where they are missing or damaged.

        Raises:
            StoreError: what it is made from is not there or changes meanwhile, or the disk refuses.
        """
        with one_look():
            if not self.store.sound(spec):
                check_outside(spec)
                if spec.stage == "evaluation":  # before anything is trained
                    leakage.check_evaluation(spec, self)
                for part in inputs(spec).values():
                    self.build(part)
                _import_for(spec)
                name = f"{spec.stage} {identity(spec)}"
                with self.store.lock(name.replace(" ", "-"), f"makes {name}", self.track):
                    if not self.store.sound(spec):
                        self._make(spec, name)
            return self.store.folder(spec)

    def _make(self, spec: Any, name: str) -> None:
        damaged = self.store.damage(spec)
        if damaged:
            LOGGER.warning("%s/%s, so %s is made again; %s", damaged.folder, "; ".join(damaged.problems), name, damaged.depending())
        LOGGER.info("making %s", name)
        make: Callable[[Any, Draft], None] = getattr(self, f"_make_{spec.stage}")
        outer = self._scoring
        try:
            with self.store.draft(spec) as draft:
                self._scoring = draft.scoring
                make(spec, draft)
        finally:
            self._scoring = outer
        if damaged:
            self._compare_with_what_was(damaged, spec, name)

    def _compare_with_what_was(self, damaged: Damage, spec: Any, name: str) -> None:
        """Say whether an artefact that was damaged is now what it was before."""
        now = self.store.manifest(spec)["files"]
        if damaged.files is None:
            LOGGER.warning("%s is made again; its old manifest could not say whether to the same bytes", name)
        elif now == damaged.files:
            LOGGER.warning("%s is made again, to the same bytes as before the damage", name)
        else:
            other = sorted(file for file in now.keys() | damaged.files.keys() if now.get(file) != damaged.files.get(file))
            LOGGER.warning("%s is made again, to other bytes than before in %s; %s", name, ", ".join(other), damaged.depending())

    def manifest(self, spec: Any) -> dict[str, Any]:
        """Return the manifest of an artefact, making it first where it is missing."""
        with one_look():
            self.build(spec)
            return self.store.manifest(spec)

    def _remember(self, kind: str, spec: Any, read: Callable[[Path], Any]) -> Any:
        """Return what ``read`` makes of an artefact's folder, kept in memory under its identity."""
        with one_look():
            key = (kind, identity(spec))
            if key not in self._memory:
                self._memory[key] = self._opened(spec, read)
            return self._memory[key]

    def _opened(self, spec: Any, read: Callable[[Path], Any]) -> Any:
        """Return what ``read`` makes of an artefact's folder; where it fails because of damage, that is what is raised."""
        folder = self.build(spec)
        try:
            return read(folder)
        except Exception as error:
            if not isinstance(error, StoreError) and (damaged := self.store.damage(spec, hashed_up_to=float("inf"))):
                raise StoreError(damaged.say()) from error
            raise

    # --- reading ------------------------------------------------------------------------------------------------------------------

    def frame(self, spec: Any, name: str) -> pd.DataFrame:
        """Return one table of an artefact: a Parquet file, or an Arrow file, which is memory-mapped."""
        return self._remember(name, spec, lambda folder: collections.read_table(folder, name))

    def docs(self, collection: Any) -> pd.DataFrame:
        """Return doc_id, text; the strings stay in a file that is mapped into memory."""
        return self.frame(docs_of(collection), "docs")

    def ties(self, collection: Any) -> np.ndarray:
        """Return each document's rank among the sorted doc_ids, int32 (n_docs,): the order in which equal scores are listed."""
        spec = docs_of(collection)
        return self._remember("ties", spec, lambda folder: np.asarray(np.load(folder / "ties.npy", mmap_mode="r")))

    def queries(self, collection: Any) -> pd.DataFrame:
        """Return query_id, text."""
        return self.frame(params.QueriesSpec(collection=collection), "queries")

    def qrels(self, collection: Any) -> pd.DataFrame:
        """Return query_id, doc_id, relevance."""
        return self.frame(params.QueriesSpec(collection=collection), "qrels")

    def run(self, spec: params.CandidatesSpec | params.NeighboursSpec) -> Run:
        """Return candidates, a list for every query, or neighbours, a list for every positive, whose rows are its keys."""
        return self._remember("run", spec, Run.load)

    def candidates(self, spec: params.CandidatesSpec | params.NeighboursSpec) -> pd.DataFrame:
        """Return a run as query_id, doc_id, score; for neighbours query_id is a positive's doc_id."""
        doc_ids = self.docs(spec.collection)["doc_id"]
        ids = doc_ids if spec.stage == "neighbours" else self.queries(spec.collection)["query_id"]
        return self._remember("candidates", spec, lambda _: self.run(spec).frame(ids, doc_ids))

    def groups(self, spec: params.GroupsSpec) -> pd.DataFrame:
        """Return the groups by ids, positive first: query_id, draw, doc_ids, n_filled, n_random, inclusion, density_ratio."""
        return self._remember("groups", spec, lambda _: self.drawn(spec).frame)

    def drawn(self, spec: params.GroupsSpec) -> sampling.Groups:
        """Return the groups as flat arrays of row numbers."""

        def read(folder: Path) -> sampling.Groups:
            ids = self.queries(spec.collection)["query_id"], self.docs(spec.collection)["doc_id"]
            return sampling.Groups.load(folder / "groups.parquet", *ids)

        return self._remember("drawn", spec, read)

    def group_scores(self, spec: params.ScoresSpec) -> np.ndarray:
        """Return the teacher's scores (n_groups, group_size), float32, aligned with the groups."""

        def read(folder: Path) -> np.ndarray:
            return sampling.matrix(pq.read_table(folder / "scores.parquet", columns=["teacher_scores"])["teacher_scores"])

        return self._remember("group scores", spec, read)

    def tokens(self, of: str, collection: Any, tokenizer: Any) -> TokenTable:
        """Return the token table of the documents or queries."""
        from rd_utils.tokens import TokenTable

        collection = docs_of(collection).collection if of == "docs" else collection
        spec = params.TokensSpec(of=of, collection=collection, tokenizer=tokenizer)
        return self._remember("tokens", spec, TokenTable.load)

    def query_rows(self, collection: Any, query_ids: pd.Series) -> np.ndarray:
        """Return the rows of query_ids in the collection's queries."""
        return self._rows(params.QueriesSpec(collection=collection), "queries", "query_id", query_ids)

    def doc_rows(self, collection: Any, doc_ids: pd.Series) -> np.ndarray:
        """Return the rows of doc_ids in the collection's documents."""
        return self._rows(docs_of(collection), "docs", "doc_id", doc_ids)

    def _rows(self, spec: Any, name: str, key: str, ids: Any) -> np.ndarray:
        rows = rows_of(ids, self.frame(spec, name)[key])
        if (rows < 0).any():
            unknown = np.asarray(ids, dtype=object)[rows < 0]
            raise collections.CollectionError(
                f"{spec.collection.label}: {len(unknown)} values of {key} are unknown, the first is {unknown[0]!r}"
            )
        return rows

    def index(self, collection: Any, retriever: Any) -> Any:
        """Return a retriever's index of a collection's documents, memory-mapped; None where it has none."""
        from rd_utils import bm25, dense

        spec = index_of(collection, retriever)
        if spec is None:
            return None
        read = bm25.Index.load if retriever.kind == "bm25" else lambda folder: dense.load(folder, retriever.index)
        return self._remember("index", spec, read)

    def group_rows(self, spec: params.GroupsSpec) -> tuple[np.ndarray, np.ndarray]:
        """Return the groups as rows: queries (n,) and documents (n, group_size), int64."""
        groups = self.drawn(spec)
        return groups.query_rows, groups.doc_rows.astype(np.int64)

    # --- students -----------------------------------------------------------------------------------------------------------------

    def untrained(self, architecture: Any, collection: Any, seed: int, on_device: bool = True) -> Student:
        """Return a student before its first step, on the accelerator if there is one, or left on the CPU."""
        from rd_utils import models

        lexicon = lexicon_of(architecture, collection)
        if lexicon is None:
            student = models.build(architecture, seed=seed, lexicon=None)
        else:
            student = self._opened(lexicon, lambda folder: models.build(architecture, seed=seed, lexicon=folder))
        return _on_device(student) if on_device else student

    def student(self, spec: params.StudentSpec) -> Student:
        """Return a trained student, training it first where it is missing."""
        from rd_utils import models

        return self._opened(spec, lambda folder: _on_device(models.load(folder / "model")))

    def _system(self, system: Any) -> tuple[Student, Any]:
        """Return the student behind a system, trained or not, and the tokenizer that it reads."""
        if system.kind == "student":
            spec = system.student
            return self.student(spec), tokenizer_of(spec.architecture, spec.groups.collection)
        student = self.untrained(system.architecture, system.collection, system.seed)
        return student, tokenizer_of(system.architecture, system.collection)

    # --- teachers -----------------------------------------------------------------------------------------------------------------

    def teacher_scores(self, teacher: Any, collection: Any, query_rows: np.ndarray, doc_rows: np.ndarray) -> tuple[np.ndarray, int]:
        """Return a teacher's scores of pairs, scoring those that are missing; and how many were missing."""
        if teacher.kind == "ensemble":
            scores, _, scored = self.ensemble_scores(teacher, collection, query_rows, doc_rows)
            return scores, scored
        if teacher.kind == "file":
            return self._teacher(teacher, collection)(query_rows, doc_rows), 0
        n_docs = len(self.docs(collection))
        name = f"{teacher_identity(teacher, collection)}-{identity(params.QueriesSpec(collection=collection))[:10]}"
        kept = teachers.PairScores(self.store.root / "pairs" / name, n_docs)
        pairs = kept.pairs(query_rows, doc_rows)
        wanted = teachers.distinct(pairs)
        scored, wall, cpu = 0, 0.0, 0.0
        if len(kept.missing(wanted)):  # where nothing is, nothing is written, a lock neither
            with self.store.lock(f"pairs-{name}", f"scores pairs of the teacher {name}", self.track):
                kept = teachers.PairScores(kept.folder, n_docs)
                before = kept.seconds
                scored = self._score_missing(teacher, collection, kept, wanted)
            wall, cpu = (round(float(value), 3) for value in kept.seconds - before)
        bill = {"teacher": name, "pairs": len(wanted), "scored_now": scored, "wall_seconds": wall, "cpu_seconds": cpu}
        self._scoring.append(bill)
        return kept.lookup(pairs), scored

    def _score_missing(self, teacher: Any, collection: Any, kept: teachers.PairScores, wanted: np.ndarray) -> int:
        """Score the pairs that have no score yet; return how many these were."""
        if not len(kept.missing(wanted)):  # another process has scored them meanwhile
            return 0
        with unchanged(teacher_files(teacher), f"the scorer {teacher.kind}"):
            score = self._teacher(teacher, collection)
        if _scores_fast(teacher):
            return teachers.score_missing(kept, wanted, score, track=self.track)
        lengths = self._pair_lengths(teacher, collection)
        return teachers.score_missing(kept, wanted, score, chunk=2_000, lengths=lengths, track=self.track)

    def ensemble_scores(
        self, teacher: params.EnsembleTeacher, collection: Any, query_rows: np.ndarray, doc_rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Return an ensemble's scores of pairs, its disagreement about them, and how many pairs its members had not scored before."""
        members, means, deviations, scored = [], [], [], 0
        for member in teacher.members:
            calibration = self.group_scores(params.ScoresSpec(groups=teacher.calibration, teacher=member)).astype(np.float64)
            means.append(calibration.mean())
            deviations.append(calibration.std())
            scores, new = self.teacher_scores(member, collection, query_rows, doc_rows)
            members.append(scores)
            scored += new
        return *teachers.combine(np.stack(members), np.array(means), np.array(deviations)), scored

    def _teacher(self, teacher: Any, collection: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        if teacher.kind == "oracle":
            from rd_utils import synthetic

            generated = synthetic.generate(collection.profile, collection.world, collection.seed)
            every = pd.Index(generated.queries[collection.split]["query_id"])
            rows = every.get_indexer(pd.Index(self.queries(collection)["query_id"]))
            least, n_docs = np.log(teacher.floor), len(self.docs(collection))

            def oracle(query_rows: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
                scores = np.maximum(generated.oracle_scores(collection.split, rows[query_rows], doc_rows), least)
                if teacher.noise:
                    scores = scores + teacher.noise * teachers.pair_noise(rows[query_rows] * n_docs + doc_rows, teacher.noise_seed)
                return scores

            return oracle
        if teacher.kind == "file":
            scores = teachers.read_scores(resolve_path(teacher.path))
            return teachers.file_scorer(scores, self.queries(collection)["query_id"], self.docs(collection)["doc_id"])
        if teacher.kind == "bm25":
            index = self.index(collection, teacher.retriever)
            return retrieval.bm25_scorer(index, self.queries(collection)["text"], teacher.retriever)
        from rd_utils import models

        if teacher.kind in ("trained", "encoder"):
            system = params.StudentSystem(student=teacher.student) if teacher.kind == "trained" else teacher.encoder
            precision = teacher.student.training.precision if teacher.kind == "trained" else teacher.precision
            student, tokenizer = self._system(system)
            if isinstance(student.architecture, params.BI_ENCODERS):
                query_vectors = _encoded(student, self.tokens("queries", collection, tokenizer), kind="query", precision=precision)
                query_vectors, doc_vectors = query_vectors * student.architecture.scale, self.vectors(vectors_of(collection, system))
                return lambda query_rows, doc_rows: np.einsum("nd,nd->n", query_vectors[query_rows], doc_vectors[doc_rows])
        else:
            student = _on_device(
                models.load_scorer(teacher.model, max_length=teacher.max_length, max_query_length=teacher.max_query_length)
            )
            precision = teacher.precision
            tokenizer = tokenizer_of(teacher, collection)
        queries, docs = self.tokens("queries", collection, tokenizer), self.tokens("docs", collection, tokenizer)
        return lambda query_rows, doc_rows: student.score_pairs(queries, docs, query_rows, doc_rows, precision=precision)

    def _pair_lengths(self, teacher: Any, collection: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """Return what tells the tokens of pairs whose texts a teacher reads together, before it cuts them."""
        if teacher.kind == "trained":
            tokenizer = tokenizer_of(teacher.student.architecture, teacher.student.groups.collection)
        else:
            tokenizer = tokenizer_of(teacher, collection)
        queries, docs = (self.tokens(of, collection, tokenizer).lengths() for of in ("queries", "docs"))
        return lambda query_rows, doc_rows: queries[query_rows] + docs[doc_rows]

    # --- making -------------------------------------------------------------------------------------------------------------------

    def _make_docs(self, spec: params.DocsSpec, draft: Draft) -> None:
        folder = _collection_folder(spec.collection)
        written = collections.write_docs(spec.collection, draft.folder / "docs.arrow", folder, self.track)
        np.save(draft.folder / "ties.npy", written.ties)
        draft.counts |= {"documents": written.documents, "documents_without_text": written.without_text}
        draft.counts["documents_without_word"] = written.without_word
        if written.without_word:
            _warn_of_texts(spec.collection, "documents", written.without_word, written.documents, written.first_without_word)

    def _make_queries(self, spec: params.QueriesSpec, draft: Draft) -> None:
        pseudo = spec.collection
        if pseudo.source == "pseudo_queries":
            queries, qrels = augmentation.pseudo_queries(
                self.docs(pseudo.documents), pseudo.queries, words=pseudo.words, weighting=pseudo.weighting, seed=pseudo.seed
            )
            queries, qrels = (part.reset_index(drop=True) for part in collections.random_part(pseudo, queries, qrels))
        else:
            queries, qrels = collections.read_queries(spec.collection, _collection_folder(spec.collection), self.track)
        collections.write_table(queries, draft.folder, "queries")
        qrels.to_parquet(draft.folder / "qrels.parquet", index=False)
        draft.counts |= {"queries": len(queries), "qrels": len(qrels), "positives": len(collections.positives(qrels))}
        wordless = queries["query_id"][~collections.has_word(queries["text"])]
        draft.counts["queries_without_word"] = len(wordless)
        if len(wordless):
            _warn_of_texts(spec.collection, "queries", len(wordless), len(queries), wordless.iloc[0])

    def _make_lexicon(self, spec: params.LexiconSpec, draft: Draft) -> None:
        from rd_utils import lexicon
        from rd_utils.tokens import tokenize

        texts = self.docs(spec.docs.collection)["text"].tolist()
        tokenizer = lexicon.build_tokenizer(texts)
        table = tokenize(texts, tokenizer)
        vectors = lexicon.token_vectors(table.ids, table.offsets, tokenizer.get_vocab_size(), spec.dimension)
        tokenizer.save(str(draft.folder / "tokenizer.json"))
        np.save(draft.folder / "vectors.npy", vectors)
        draft.counts |= {"words": tokenizer.get_vocab_size(), "tokens": len(table.ids)}

    def _make_tokens(self, spec: params.TokensSpec, draft: Draft) -> None:
        from rd_utils import models
        from rd_utils.tokens import count_unknown, tokenize

        if spec.tokenizer.kind == "lexicon":
            from tokenizers import Tokenizer

            tokenizer = self._opened(spec.tokenizer.lexicon, lambda folder: Tokenizer.from_file(str(folder / "tokenizer.json")))
        else:
            tokenizer = models.tokenizer_of(spec.tokenizer)
        texts = self.docs(spec.collection) if spec.of == "docs" else self.queries(spec.collection)
        prompt = getattr(spec.tokenizer, "query_prompt" if spec.of == "queries" else "document_prompt", "")
        table = tokenize(self.track(iter(texts["text"]), f"tokenising {spec.of}", len(texts)), tokenizer, prompt=prompt)
        table.save(draft.folder)
        draft.counts |= {"texts": len(table), "tokens": len(table.ids)}
        unknown = count_unknown(table, tokenizer)
        if unknown:
            draft.counts["unknown_tokens"] = unknown
        if unknown * 2 > len(table.ids):
            _warn_of_unknown_words(spec, unknown / len(table.ids))

    def _make_vectors(self, spec: params.VectorsSpec, draft: Draft) -> None:
        student, tokenizer = self._system(spec.encoder)
        docs = self.tokens("docs", spec.collection, tokenizer)
        vectors = self._embedded(student, docs, draft.folder / "vectors.npy", self.store.checkpoints(spec), "fp32")
        draft.counts |= {"documents": len(vectors), "dimension": vectors.shape[1]}
        draft.counts["documents_without_word"] = int((docs.text_lengths() == 0).sum())

    def _embedded(self, student: Student, docs: TokenTable, path: Path, chunks: Path, precision: str) -> np.ndarray:
        """Write documents' embeddings to a file, a chunk at a time, and return them memory-mapped."""
        from rd_utils import dense
        from rd_utils.tokens import take

        def embed(start: int, stop: int) -> np.ndarray:
            part = docs if stop - start == len(docs) else take(docs, np.arange(start, stop))
            return _encoded(student, part, kind="document", precision=precision, progress=_Pushed(self.track, "encoding documents"))

        return dense.embed_in_chunks(len(docs), embed, path, chunks)

    def vectors(self, spec: params.VectorsSpec) -> np.ndarray:
        """Return the embeddings of a collection's documents, (n_docs, dimension), memory-mapped."""
        return self._remember("vectors", spec, lambda folder: np.load(folder / "vectors.npy", mmap_mode="r"))

    def _make_index(self, spec: params.IndexSpec, draft: Draft) -> None:
        from rd_utils import bm25, dense

        shards, retriever = self.store.checkpoints(spec), spec.retriever
        if retriever.kind == "dense":
            vectors = self.vectors(vectors_of(spec.collection, retriever.encoder))
            dense.build(vectors, retriever.index, draft.folder, shards=shards, track=self.track)
            draft.counts |= {"documents": len(vectors), "cells": retriever.index.nlist}
            return
        texts = self.docs(spec.collection)["text"]
        index = bm25.build(texts, spec.retriever, draft.folder, shards=shards, workers=_workers(), track=self.track)
        draft.counts |= {"documents": index.n_docs, "words": len(index.words), "postings": len(index.docs)}

    def _make_candidates(self, spec: params.CandidatesSpec, draft: Draft) -> None:
        queries, retriever, ties, needed = self.queries(spec.collection), spec.retriever, self.ties(spec.collection), inputs(spec)
        if retriever.kind in ("bm25", "dense"):
            run = self._found(spec, queries["text"], None, spec.depth, draft)
        elif retriever.kind == "reranked":
            run = self.run(needed["candidates"])
            scores, draft.counts["pairs_scored_now"] = self.teacher_scores(retriever.teacher, spec.collection, run.rows(), run.docs)
            run = retrieval.rerank(run, scores, spec.depth, ties)
        elif retriever.kind == "pooled":
            runs = [self.run(part) for role, part in needed.items() if role.startswith("candidates")]
            run = retrieval.pooled_candidates(runs, retriever.at_most, spec.depth, ties)
        else:
            ids = queries["query_id"], self.docs(spec.collection)["doc_id"]
            run = retrieval.run_file_candidates(resolve_path(retriever.path), *ids, spec.depth, ties, draft.dropped)
        run.save(draft.folder)
        shutil.rmtree(self.store.checkpoints(spec), ignore_errors=True)
        draft.counts |= {"queries": len(queries), "pairs": len(run.docs)}
        draft.dropped["queries_without_candidates"] = int((run.lengths() == 0).sum())
        if retriever.kind == "bm25":
            draft.counts["queries_below_depth"] = self._say_short(spec, run, "queries")

    def _found(self, spec: Any, texts: pd.Series, rows: np.ndarray | None, depth: int, draft: Draft) -> Run:
        """Search a collection with BM25 or a bi-encoder: for its queries, or for the documents in ``rows``."""
        from rd_utils import dense

        retriever, ties, index = spec.retriever, self.ties(spec.collection), self.index(spec.collection, spec.retriever)
        options = {"folder": self.store.checkpoints(spec), "track": self.track}
        if retriever.kind == "bm25":
            return retrieval.bm25_candidates(index, texts, retriever, depth, ties, workers=_workers(), **options)
        vectors = self.vectors(vectors_of(spec.collection, retriever.encoder))
        if rows is None:
            student, tokenizer = self._system(retriever.encoder)
            asked = _encoded(student, self.tokens("queries", spec.collection, tokenizer), kind="query")
        else:
            asked = vectors[rows]
        if index is None:
            return dense.search(vectors, asked, depth, ties, **options)
        run = dense.search(vectors, asked, depth, ties, index=index, refine=retriever.index.refine, **options)
        draft.counts["recall"], draft.counts["recall_queries"] = dense.recall(vectors, asked, run, depth, ties)
        return run

    def _say_short(self, spec: Any, run: Run, of: str) -> int:
        """Return how many lists of a search by BM25 are shorter than asked for, and say why where most are."""
        wanted = min(spec.depth, len(self.ties(spec.collection)) - (of == "documents"))
        short = int((run.lengths() < wanted).sum())
        if 2 * short > len(run):
            why = self._misfit(spec.retriever, spec.collection) or "their words stand in no more documents; lower depth, or fill shortages"
            said = f"{spec.collection.label}: {short} of {len(run)} {of} find fewer than {wanted} documents by BM25"
            LOGGER.warning("%s (%s): %s", said, words.analysed_as(spec.retriever), why)
        return short

    def _misfit(self, retriever: Any, collection: Any) -> str:
        """Say why the analysis of the BM25 in a retriever does not fit a collection's first documents and queries, if it does not."""
        retriever = params.bm25_of(retriever)
        if retriever is None:
            return ""
        texts = (self.docs(collection)["text"], self.queries(collection)["text"])
        return words.misfit(retriever, [text for column in texts for text in column.array[: words.SAMPLE].tolist()])

    def _make_neighbours(self, spec: params.NeighboursSpec, draft: Draft) -> None:
        if spec.retriever.kind not in ("bm25", "dense"):
            raise sampling.SamplingError(f"a graph is made by bm25 or a dense retriever, not by {spec.retriever.kind!r}")
        docs = self.docs(spec.collection)
        found = rows_of(collections.positives(self.qrels(spec.collection))["doc_id"], docs["doc_id"])
        rows = np.unique(found[found >= 0])
        run = self._found(spec, docs["text"].take(rows), rows, spec.depth + 1, draft)
        run = retrieval.neighbours(Run(run.offsets, run.docs, run.scores, keys=rows), spec.depth)
        run.save(draft.folder)
        shutil.rmtree(self.store.checkpoints(spec), ignore_errors=True)
        draft.counts |= {"documents": len(rows), "pairs": len(run.docs)}
        if spec.retriever.kind == "bm25":
            draft.counts["documents_below_depth"] = self._say_short(spec, run, "documents")

    def _make_groups(self, spec: params.GroupsSpec, draft: Draft) -> None:
        if spec.cut is not None:
            self._cut_groups(spec, draft)
            return
        needed = inputs(spec)
        pool, draft.dropped["false_negatives"] = self._pool(spec.strategy, spec.collection)
        fill, n_filtered = (None, 0) if spec.shortage == "drop" else self._pool(spec.shortage, spec.collection)
        draft.dropped["false_negatives_of_the_fill"] = n_filtered
        drawn = sampling.draw_groups(
            self.docs(spec.collection)["doc_id"],
            self.qrels(spec.collection),
            strategy=spec.strategy,
            group_size=spec.group_size,
            shortage=spec.shortage,
            seed=spec.seed,
            draws=spec.draws,
            random_share=spec.random_share,
            query_ids=self.queries(spec.collection)["query_id"],
            candidates=pool,
            fill_candidates=fill,
            vectors=self.vectors(needed["vectors"]) if "vectors" in needed else None,
            without_word=self._without_word(spec.collection),
            why_short=lambda: self._misfit(getattr(spec.strategy, "retriever", None), spec.collection),
            track=self.track,
        )
        drawn.save(draft.folder / "groups.parquet")
        draft.counts |= drawn.counts
        draft.dropped |= drawn.dropped

    def _without_word(self, collection: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of a collection's queries, and of its labelled positives, that have no word."""
        docs = self.docs(collection)
        found = rows_of(collections.positives(self.qrels(collection))["doc_id"], docs["doc_id"])
        rows = np.unique(found[found >= 0])
        wordless = ~collections.has_word(self.queries(collection)["text"])
        return np.flatnonzero(wordless), rows[~collections.has_word(docs["text"].take(rows))]

    def _pool(self, strategy: Any, collection: Any) -> tuple[Run | None, int]:
        """Return what a strategy draws from, likely false negatives left out where it filters, and how many these were."""
        spec = pool_of(strategy, collection)
        if spec is None:
            return None, 0
        pool = self.run(spec)
        if getattr(strategy, "filter", None) is None:
            return pool, 0
        keep = strategy.filter
        known = collections.positives(self.qrels(collection))
        docs = rows_of(known["doc_id"], self.docs(collection)["doc_id"])
        usable = (docs >= 0) & ~np.isin(docs, self._without_word(collection)[1])  # the score of a positive without a word is no measure
        queries, docs = self.query_rows(collection, known["query_id"])[usable], docs[usable]
        pairs = np.concatenate([pool.rows(), queries]), np.concatenate([pool.docs, docs])
        scores, _ = self.teacher_scores(keep.teacher, collection, *pairs)
        lowest = np.full(len(pool), np.nan)
        np.fmin.at(lowest, queries, scores[len(pool.docs) :])
        trained_on = ~np.isnan(lowest)[pool.rows()]  # no group is drawn for a query without a positive
        return sampling.filter_false_negatives(
            pool.keep(trained_on), scores[: len(pool.docs)][trained_on], lowest, rule=keep.rule, value=keep.value, units=keep.units
        )

    def _cut_groups(self, spec: params.GroupsSpec, draft: Draft) -> None:
        needed = inputs(spec)
        groups, scores = self.drawn(needed["groups"]), self.group_scores(needed["scores"])
        own = spec.cut
        query_ids = named(groups.query_ids, groups.query_rows)
        kept = groups.take(entropy.cut_queries(query_ids, scores, entropy=own.entropy, temperature=own.temperature, part=own.part))
        kept.save(draft.folder / "groups.parquet")
        n_queries = len(np.unique(kept.query_rows))
        draft.counts |= {"groups": len(kept), "queries": n_queries, "documents": len(kept) * spec.group_size}
        draft.dropped |= {"groups_of_other_parts": len(groups) - len(kept)}

    def _make_scores(self, spec: params.ScoresSpec, draft: Draft) -> None:
        query_rows, doc_rows = self.group_rows(spec.groups)
        collection, repeated = spec.groups.collection, np.repeat(query_rows, spec.groups.group_size)
        columns = {"query_id": arrow(named(self.queries(collection)["query_id"], query_rows))}
        if spec.teacher.kind == "ensemble":
            scores, disagreement, scored = self.ensemble_scores(spec.teacher, collection, repeated, doc_rows.ravel())
            columns["disagreement"] = sampling.column(disagreement.reshape(doc_rows.shape))
        else:
            scores, scored = self.teacher_scores(spec.teacher, collection, repeated, doc_rows.ravel())
        columns["teacher_scores"] = sampling.column(scores.reshape(doc_rows.shape))
        pq.write_table(pa.table(columns), draft.folder / "scores.parquet")
        draft.counts |= {"pairs": doc_rows.size, "pairs_scored_now": scored}

    def _make_student(self, spec: params.StudentSpec, draft: Draft) -> None:
        settings = self._training(spec)
        if spec.search is not None:
            draft.counts["learning_rate"] = settings.learning_rate
        groups, temperature = self._training_groups(spec)
        progress = _Pushed(self.track, f"training {spec.architecture.kind}, {spec.loss}, seed {spec.seed}")
        if settings.processes > 1:
            from rd_utils import launch

            launch.train_student(spec, groups, temperature, self.store, draft, settings.processes, progress)
        else:
            student = self.untrained(spec.architecture, spec.groups.collection, spec.seed)
            record = self.train_student(student, spec, groups, temperature, progress)
            save_student(student, record, draft.folder)
            draft.counts |= {"steps": record.steps, "documents_seen": record.documents_seen, "tokens_seen": record.tokens_seen}
        draft.counts |= {"temperature": temperature}

    def _training(self, spec: params.StudentSpec) -> params.Training:
        """Return a student's training settings, with the learning rate that its search chose."""
        if spec.search is None:
            return spec.training
        choice = self.frame(params.search_spec(spec), "search").query("chosen").iloc[0]
        return params.with_rate(spec.training, float(choice["learning_rate"]), spec.search.embedding_ratio)

    def _training_groups(self, spec: params.StudentSpec) -> tuple[GroupTable, float]:
        """Return what a student is trained on, and the temperature that divides the teacher's scores."""
        from rd_utils import training

        collection = spec.groups.collection
        query_rows, doc_rows = self.group_rows(spec.groups)
        scores, temperature = self._targets(spec)
        positives = None
        if spec.training.in_batch_negatives:
            docs = self.docs(collection)
            known = collections.positives(self.qrels(collection))
            rows = rows_of(known["doc_id"], docs["doc_id"])
            positives = np.unique(self.query_rows(collection, known["query_id"][rows >= 0]) * len(docs) + rows[rows >= 0])
        return training.GroupTable(query_rows, doc_rows, scores, draws=spec.groups.draws, positive_pairs=positives), temperature

    def train_student(
        self,
        student: Student,
        spec: params.StudentSpec,
        groups: GroupTable,
        temperature: float,
        progress: Callable[[int, int, float], None],
    ) -> TrainingRecord:
        """Train a student in place, alone or as one of several processes; what it is made from is in the store."""
        from rd_utils import training

        collection, settings = spec.groups.collection, self._training(spec)
        tokenizer = tokenizer_of(spec.architecture, collection)
        queries, docs = self.tokens("queries", collection, tokenizer), self.tokens("docs", collection, tokenizer)
        return training.train(
            student,
            queries,
            docs,
            groups,
            loss=spec.loss,
            temperature=temperature,
            training=settings,
            seed=spec.seed,
            smoothing=spec.augmentation.smoothing,
            hard_weight=spec.augmentation.hard_weight,
            texts=self._texts(spec.augmentation, student, queries, docs, spec.seed) if spec.augmentation.changes_texts else None,
            regroup=self._regroup(spec, queries, docs) if spec.refresh else None,
            regroup_every=spec.refresh.every if spec.refresh else None,
            checkpoint_folder=self.store.checkpoints(spec) if settings.checkpoint_every else None,
            progress=progress,
        )

    def _targets(self, spec: Any) -> tuple[np.ndarray | None, float]:
        """Return the teacher scores that a student is trained on, augmented, and the temperature that divides them."""
        if spec.teacher is None:
            return None, 1.0
        scores = self.group_scores(params.ScoresSpec(groups=spec.groups, teacher=spec.teacher))
        scores = augmentation.augment_scores(scores, spec.augmentation, spec.seed)
        if spec.target_entropy is None:
            return scores, spec.temperature
        return scores, entropy.solve_temperature(scores, spec.target_entropy)

    def _texts(
        self, own: params.Augmentation, student: Student, queries: TokenTable, docs: TokenTable, seed: int
    ) -> Callable[[int], tuple[TokenTable, TokenTable]]:
        """Return what gives an epoch's augmented token tables."""
        words = student.vocabulary()
        starts = augmentation.word_starts(words)
        neighbours = None
        if own.query_replacement:
            markers = ("[", "<")  # special tokens are no words
            whole = np.flatnonzero(starts & np.array([word[:1] not in markers and any(map(str.isalnum, word)) for word in words]))
            neighbours = augmentation.nearest_words(student.token_vectors(), whole, own.neighbours)
        return lambda epoch: augmentation.augment_texts(queries, docs, own, starts=starts, neighbours=neighbours, seed=seed, epoch=epoch)

    def _regroup(self, spec: params.StudentSpec, queries: TokenTable, docs: TokenTable) -> Callable[[int, Any], Any]:
        """Return what draws the groups anew from a student's own candidates."""
        from rd_utils import dense, training

        collection, refresh = spec.groups.collection, spec.refresh
        strategy = params.FromCandidates(**refresh.model_dump(exclude={"every"}))  # its retriever is the student
        doc_ids, n_docs = self.docs(collection)["doc_id"], len(docs)
        first = self.drawn(spec.groups)
        wanted = first.query_rows * n_docs + first.doc_rows[:, 0]  # the queries and positives, whose shortage or cut decided

        def regroup(number: int, student: Student) -> Any:
            vectors = _encoded(student, docs, kind="document"), _encoded(student, queries, kind="query")
            run = dense.search(*vectors, refresh.depth + 20, self.ties(collection))
            drawn = sampling.draw_groups(
                doc_ids,
                self.qrels(collection),
                strategy=strategy,
                group_size=spec.groups.group_size,
                shortage=params.CorpusRandom(),
                seed=_seed_of(spec.seed, number, 6),
                random_share=spec.groups.random_share,
                query_ids=self.queries(collection)["query_id"],
                candidates=run,
            )
            pairs = drawn.query_rows * n_docs + drawn.doc_rows[:, 0]
            order = np.argsort(pairs)
            drawn = drawn.take(order[np.searchsorted(pairs, wanted, sorter=order)])
            query_rows, flat = drawn.query_rows, drawn.doc_rows.astype(np.int64).ravel()
            scores = None
            if spec.teacher is not None:
                repeated = np.repeat(query_rows, spec.groups.group_size)
                scores, _ = self.teacher_scores(spec.teacher, collection, repeated, flat)
                scores = scores.reshape(len(drawn), -1).astype(np.float32)
                scores = augmentation.augment_scores(scores, spec.augmentation, _seed_of(spec.seed, number, 5))
            return training.GroupTable(query_rows, flat.reshape(len(drawn), -1), scores)

        return regroup

    def _make_search(self, spec: params.SearchSpec, draft: Draft) -> None:
        rows = []
        for student, evaluations in zip(spec.candidates, search_evaluations(spec), strict=True):
            values = [self.frame(evaluation, "per_query")["value"].mean() for evaluation in evaluations]
            rows.append({"learning_rate": student.training.learning_rate, spec.measure: float(np.mean(values))})
        table = pd.DataFrame(rows)
        table["chosen"] = np.arange(len(table)) == int(table[spec.measure].to_numpy().argmax())  # the first, so the lowest, of equal ones
        table.to_parquet(draft.folder / "search.parquet", index=False)
        draft.counts |= {"candidates": len(table), "learning_rate": float(table.loc[table["chosen"], "learning_rate"].iloc[0])}

    def _make_description(self, spec: params.DescriptionSpec, draft: Draft) -> None:
        groups = self.groups(spec.groups)
        collection, doc_rows = spec.groups.collection, self.group_rows(spec.groups)[1]
        spec_of_vectors = vectors_of(collection, spec.reference)
        scores = self.group_scores(params.ScoresSpec(groups=spec.groups, teacher=spec.teacher)) if spec.teacher else None
        after_scores, temperature = self._targets(spec)
        base = 1.0 if spec.target_entropy is not None else spec.temperature
        parts = {"before": (self.vectors(spec_of_vectors), scores, base)}
        if spec.augmentation != params.Augmentation() or spec.target_entropy is not None:
            vectors = parts["before"][0]
            if spec.augmentation.document_span < 1:
                student, tokenizer = self._system(spec.reference)
                texts = self.tokens("queries", collection, tokenizer), self.tokens("docs", collection, tokenizer)
                _, docs = self._texts(spec.augmentation, student, *texts, spec.seed)(0)
                vectors = _encoded(student, docs, kind="document")
            parts["after"] = (vectors, after_scores, temperature)
        frames = []
        for state, (vectors, of_state, divisor) in parts.items():
            frame = locality.diameters(vectors, doc_rows).assign(query_id=groups["query_id"], density_ratio=groups["density_ratio"])
            if of_state is not None:
                frame = frame.join(entropy.entropies(of_state, divisor))
            frames.append(frame.assign(state=state))
        table = pd.concat(frames, ignore_index=True)
        measured = table["diameter_q99"].notna()  # missing where fewer than two documents of a group have a word
        table[measured].reset_index(drop=True).to_parquet(draft.folder / "description.parquet", index=False)
        draft.counts |= {"groups": len(groups), "temperature": temperature}
        draft.dropped["groups_without_distance"] = int((~measured).sum()) // len(parts)
        wordless = ~np.asarray(parts["before"][0][np.unique(doc_rows)]).any(axis=1)
        draft.dropped["documents_without_word"] = int(wordless.sum())

    def _make_behaviour(self, spec: params.BehaviourSpec, draft: Draft) -> None:
        from rd_utils import behaviour

        own, probe = spec.student, spec.probe
        collection, groups = own.groups.collection, self.groups(own.groups)
        rng = np.random.default_rng(probe.seed)
        query_ids = rng.permutation(self.queries(collection)["query_id"].to_numpy())[: probe.queries]
        has_word = collections.has_word(self.docs(collection)["text"])
        sample = np.sort(rng.permutation(np.flatnonzero(has_word))[: probe.docs])
        draft.dropped["documents_without_word"] = int((~has_word).sum())
        keep = ((groups["draw"] == 0) & groups["query_id"].isin(set(query_ids))).to_numpy()
        query_rows, doc_rows = (rows[keep] for rows in self.group_rows(own.groups))
        teacher = self.group_scores(params.ScoresSpec(groups=own.groups, teacher=spec.teacher))[keep] if spec.teacher else None
        temperature = self.manifest(own)["counts"]["temperature"]
        measured, bins, summary = [], [], []
        dimension = self._density_dimension(own, sample)
        for state in ("before", "after"):
            student = self.untrained(own.architecture, collection, own.seed) if state == "before" else self.student(own)
            scores, vectors, rows, asked = self._probed(student, own, query_rows, doc_rows, sample)
            values: dict[str, float] = {}
            frame = pd.DataFrame({"query_id": groups.loc[keep, "query_id"].to_numpy()})
            if vectors is not None:
                space = vectors[np.searchsorted(rows, sample)]
                space = space[space.any(axis=1)]  # a student may know no word of a text
                for name, measure in (
                    ("uniformity", behaviour.uniformity),
                    ("effective_rank", behaviour.effective_rank),
                    ("intrinsic_dimension", lambda vectors: behaviour.two_nn(vectors).dimension),
                    ("log_density", lambda vectors: behaviour.knn_density(np.unique(vectors, axis=0), dimension=dimension).mean()),
                ):
                    try:
                        values[name] = float(measure(space))
                    except ValueError as reason:  # a space that collapsed to a few points has none; a finding, not a reason to stop
                        LOGGER.warning("%s training, the space has no %s: %s", state, name.replace("_", " "), reason)
                        draft.dropped[f"{name}_{state}"] = 1
                if len(frame):
                    frame = frame.join(locality.diameters(vectors, np.searchsorted(rows, doc_rows)))
                    positives = vectors[np.searchsorted(rows, doc_rows[:, 0])]
                    told = asked.any(axis=1) & positives.any(axis=1)
                    if told.any():
                        values["alignment"] = behaviour.alignment(asked[told], positives[told])
            if len(frame):
                frame = frame.join(entropy.entropies(scores).add_prefix("student_"))
                frame = frame.join(behaviour.score_shape(scores).add_prefix("score_"))
                if teacher is not None:
                    frame["divergence"] = behaviour.divergence(teacher, scores, temperature)
                    table, calibration = behaviour.calibration(teacher, scores, temperature=temperature, direction="student")
                    bins.append(table.assign(state=state))
                    values |= {f"calibration_{name}": value for name, value in calibration._asdict().items()}
            if "diameter_q99" in frame:
                draft.dropped[f"groups_without_distance_{state}"] = int(frame["diameter_q99"].isna().sum())
                frame = frame[frame["diameter_q99"].notna()]
            measured.append(frame.assign(state=state))
            summary += [{"state": state, "quantity": name, "value": float(value)} for name, value in values.items()]
        tables = {"groups": pd.concat(measured, ignore_index=True)}
        tables |= {"summary": pd.DataFrame(summary, columns=["state", "quantity", "value"])}
        tables |= {"calibration": pd.concat(bins, ignore_index=True)} if bins else {}
        for name, table in tables.items():
            table.to_parquet(draft.folder / f"{name}.parquet", index=False)
        draft.counts |= {"groups": int(keep.sum()), "documents": len(sample), "temperature": temperature}

    def _density_dimension(self, spec: params.StudentSpec, sample: np.ndarray) -> float:
        """Return the intrinsic dimension of seed 0's space before training: the unit of densities, one for all students of a kind.

        It is kept in memory, because a notebook asks for it once a student.
        """
        from rd_utils import behaviour

        if not isinstance(spec.architecture, params.BI_ENCODERS):
            return float("nan")
        collection, precision = spec.groups.collection, spec.training.precision
        key = (spec.architecture.model_dump_json() + precision, f"{identity(docs_of(collection))} {sample.tobytes().hex()}")
        if key not in self._memory:
            untrained = self.untrained(spec.architecture, collection, 0)
            nothing = np.zeros(0, dtype=np.int64)
            vectors = self._probed(untrained, spec, nothing, nothing.reshape(0, spec.groups.group_size), sample)[1]
            self._memory[key] = behaviour.two_nn(vectors).dimension
        return self._memory[key]

    def _probed(
        self, student: Student, spec: params.StudentSpec, query_rows: np.ndarray, doc_rows: np.ndarray, sample: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, np.ndarray | None]:
        """Return a student's scores of groups (n, group_size); a bi-encoder's embeddings of documents, with their rows, and of queries."""
        from rd_utils.tokens import take

        collection, precision = spec.groups.collection, spec.training.precision
        tokenizer = tokenizer_of(spec.architecture, collection)
        queries, docs = self.tokens("queries", collection, tokenizer), self.tokens("docs", collection, tokenizer)
        if not isinstance(spec.architecture, params.BI_ENCODERS):
            repeated = np.repeat(query_rows, doc_rows.shape[1])
            scores = student.score_pairs(queries, docs, repeated, doc_rows.ravel(), precision=precision)
            return np.asarray(scores, dtype=np.float64).reshape(doc_rows.shape), None, sample, None
        rows, asked = np.union1d(sample, doc_rows), np.unique(query_rows)
        vectors = _encoded(student, take(docs, rows), kind="document", precision=precision)
        if not len(asked):
            return np.zeros(doc_rows.shape), vectors, rows, None
        own = _encoded(student, take(queries, asked), kind="query", precision=precision) * np.float32(student.architecture.scale)
        own = own[np.searchsorted(asked, query_rows)]
        return np.einsum("nd,ngd->ng", own, vectors[np.searchsorted(rows, doc_rows)], dtype=np.float64), vectors, rows, own

    def _make_evaluation(self, spec: params.EvaluationSpec, draft: Draft) -> None:
        qrels, docs = self.qrels(spec.collection), self.docs(spec.collection)["doc_id"]
        absent, without = collections.absent_positives(qrels, docs, spec.collection.label)
        run, scored = self._run(spec)
        per_query, counts = evaluation.measure_run(run, qrels, spec.measures)
        shutil.rmtree(self.store.checkpoints(spec), ignore_errors=True)  # an open mapping outlives its file
        evaluation.write_run(run, draft.folder / "run.trec", spec.system.kind)
        per_query.to_parquet(draft.folder / "per_query.parquet", index=False)
        draft.counts |= counts | {"pairs_scored": scored}
        draft.counts |= {"positives_not_in_collection": absent, "queries_without_positive_in_collection": without}
        if absent:
            LOGGER.warning(
                "%s: %d positives are not in the collection, %d queries have no other; no system can find them",
                *(spec.collection.label, absent, without),
            )

    def _run(self, spec: params.EvaluationSpec) -> tuple[pd.DataFrame, int]:
        """Rank a system's documents; return the run and how many pairs were scored for it."""
        from rd_utils import dense

        system, collection = spec.system, spec.collection
        needed, ties = inputs(spec), self.ties(collection)
        if system.kind == "teacher" and spec.first_stage.kind == "full":  # a bi-encoder, or it would not serve the stage
            own = system.teacher
            system = params.StudentSystem(student=own.student) if own.kind == "trained" else own.encoder
        run = self.run(needed["candidates"]) if "candidates" in needed else None
        if system.kind == "first_stage":
            return self._ranked(collection, run, run.scores), 0
        if spec.first_stage.kind == "full":
            student, tokenizer = self._system(system)
            vectors = self._vectors_of(system, spec, student, tokenizer)
            run = dense.search(vectors["docs"], vectors["queries"], spec.first_stage.depth, ties)
            return self._ranked(collection, run, run.scores), len(run) * len(ties)
        query_rows, doc_rows = run.rows(), np.asarray(run.docs, dtype=np.int64)
        if system.kind == "teacher":
            scores, scored = self.teacher_scores(system.teacher, collection, query_rows, doc_rows)
        else:
            student, tokenizer = self._system(system)
            scored = len(query_rows)
            if isinstance(student.architecture, params.BI_ENCODERS):
                vectors = self._vectors_of(system, spec, student, tokenizer, np.unique(doc_rows))
                place = np.searchsorted(vectors["rows"], doc_rows)
                scores = np.einsum("ij,ij->i", vectors["queries"][query_rows], vectors["docs"][place], dtype=np.float64)
            else:
                queries, docs = self.tokens("queries", collection, tokenizer), self.tokens("docs", collection, tokenizer)
                scores = student.score_pairs(
                    queries, docs, query_rows, doc_rows, precision=spec.precision, progress=_Pushed(self.track, "scoring pairs")
                )
        return self._ranked(collection, run, scores), scored

    def _ranked(self, collection: Any, run: Run, scores: np.ndarray) -> pd.DataFrame:
        """Return a run by ids, queries in sorted order, documents by (-score, doc_id)."""
        ids = self.queries(collection)["query_id"], self.docs(collection)["doc_id"]
        return evaluation.rank(run, scores, *ids, self.ties(collection))

    def _vectors_of(self, system: Any, spec: Any, student: Student, tokenizer: Any, rows: np.ndarray | None = None) -> dict[str, Any]:
        """Return a student's query and document vectors; the last system's are kept, so that two first stages encode once."""
        from rd_utils.tokens import take

        every = np.arange(len(self.docs(spec.collection)))
        rows = every if rows is None else rows
        key = " ".join((system.model_dump_json(), identity(params.QueriesSpec(collection=spec.collection)), spec.precision))
        if self._vectors[0] != key or not np.isin(rows, self._vectors[1]["rows"]).all():
            queries, docs = self.tokens("queries", spec.collection, tokenizer), self.tokens("docs", spec.collection, tokenizer)
            read = docs if len(rows) == len(every) else take(docs, rows)
            scratch = self.store.checkpoints(spec)
            scratch.mkdir(parents=True, exist_ok=True)
            vectors = {
                "rows": rows,
                "docs": self._embedded(student, read, scratch / "vectors.npy", scratch / "chunks", spec.precision),
                "queries": _encoded(student, queries, kind="query", precision=spec.precision) * np.float32(student.architecture.scale),
            }
            self._vectors = (key, vectors)
        return self._vectors[1]


def _encoded(student: Student, texts: TokenTable, **options: Any) -> np.ndarray:
    """Embed texts; one without a token has the zero vector, since what a model makes of special tokens alone says nothing of it."""
    vectors = student.encode(texts, **options)
    vectors[texts.text_lengths() == 0] = 0.0
    return vectors


def _warn_of_texts(collection: Any, of: str, wordless: int, n: int, first: str) -> None:
    """Say that texts have no word, and which is the first."""
    follows = "nothing is retrieved for them, nor learnt" if of == "queries" else "nothing retrieves them, and they have no embedding"
    LOGGER.warning("%s: %d of %d %s have no word, the first is %r; %s", collection.label, wordless, n, of, first, follows)


def _warn_of_unknown_words(spec: params.TokensSpec, share: float) -> None:
    """Say that most tokens of a collection are unknown to a tokenizer."""
    LOGGER.warning(
        "%s: %.0f %% of the tokens of its %s are unknown to the tokenizer of %s, to which most words are so the same; name a model of this "
        "language, or look whether the tokenizer is the model's own",
        spec.collection.label,
        100 * share,
        spec.of,
        getattr(spec.tokenizer, "model", "the lexicon"),
    )


def save_student(student: Student, record: TrainingRecord, folder: Path) -> None:
    """Write a trained student and its history into an artefact's folder."""
    student.save(folder / "model")
    record.history.to_parquet(folder / "history.parquet", index=False)


def _import_for(spec: Any) -> None:
    """Import what a stage needs before its cost is measured, so that the first artefact of a process does not pay for the imports."""
    text = spec.model_dump_json() if spec.stage in ("candidates", "groups", "scores") else ""
    light = text and not any(f'"kind":"{kind}"' in text for kind in ("untrained", "student", "trained", "encoder", "loaded"))
    if spec.stage in ("index", "candidates", "neighbours", "evaluation") or '"kind":"bm25"' in text:
        from rd_utils import bm25  # noqa: F401
    if spec.stage in ("student", "evaluation", "scores", "candidates", "tokens", "lexicon", "vectors", "search", "behaviour") and not light:
        import ir_measures  # noqa: F401

        from rd_utils import lexicon, models, tokens, training  # noqa: F401


def _workers() -> int:
    """Return how many processes or threads may work at once: as many as OMP_NUM_THREADS says, or as there are cores."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _seed_of(seed: int, number: int, purpose: int) -> int:
    """Return the seed of one purpose of one refresh of a student."""
    return int(np.random.SeedSequence([seed, number, purpose]).generate_state(1)[0])


def _scores_fast(teacher: Any) -> bool:
    """Tell whether a teacher scores a pair without reading its texts together."""
    system = params.TeacherSystem(teacher=teacher)
    return teacher.kind in ("oracle", "bm25") or isinstance(params.architecture_of(system), (*params.BI_ENCODERS, params.InteractionCross))


def _on_device(student: Student) -> Student:
    """Move a student to where accelerate would train it: an accelerator, if there is one."""
    from accelerate import PartialState

    return student.to(PartialState().device)


class _Pushed:
    """Shows work that reports how far it is, through a ``track``, which pulls."""

    def __init__(self, track: Track, description: str) -> None:
        self.track, self.description = track, description
        self.steps: Any = None
        self.shown = 0

    def __call__(self, done: int, total: int, *rest: Any) -> None:
        if self.steps is None:
            self.steps = iter(self.track(range(total), self.description, total))
            next(self.steps, None)
        while self.shown < done:
            next(self.steps, None)
            self.shown += 1


def _collection_folder(collection: Any) -> Path | None:
    return resolve_path(collection.path) if collection.source == "folder" else None

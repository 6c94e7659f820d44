"""How each artefact is made: the one place where parameters, the store and the stages' functions meet.

``Pipeline().build(spec)`` returns the artefact's folder; what is missing upstream is made first, what is there is reused. Two processes
that want the same artefact wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rd_utils import collections, evaluation, params, retrieval, sampling, teachers
from rd_utils.progress import LOGGER, Track, track
from rd_utils.store import (
    Draft,
    Store,
    docs_of,
    identity,
    inputs,
    lexicon_of,
    resolve_path,
    teacher_identity,
    tokenizer_of,
)

if TYPE_CHECKING:
    from rd_utils.models import Student
    from rd_utils.tokens import TokenTable


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

    def build(self, spec: Any) -> Path:
        """Return the folder of an artefact, making it and what it needs first where they are missing."""
        if self.store.has(spec):
            return self.store.folder(spec)
        for part in inputs(spec).values():
            self.build(part)
        _import_for(spec.stage)
        with self.store.lock(f"{spec.stage}-{identity(spec)}"):
            if not self.store.has(spec):
                LOGGER.info("making %s %s", spec.stage, identity(spec))
                make: Callable[[Any, Draft], None] = getattr(self, f"_make_{spec.stage}")
                with self.store.draft(spec) as draft:
                    make(spec, draft)
        return self.store.folder(spec)

    def manifest(self, spec: Any) -> dict[str, Any]:
        """Return the manifest of an artefact, making it first where it is missing."""
        self.build(spec)
        return self.store.manifest(spec)

    def _remember(self, kind: str, spec: Any, read: Callable[[], Any]) -> Any:
        key = (kind, identity(spec))
        if key not in self._memory:
            self.build(spec)
            self._memory[key] = read()
        return self._memory[key]

    # --- reading ------------------------------------------------------------------------------------------------------------------

    def frame(self, spec: Any, name: str) -> pd.DataFrame:
        """Return one Parquet table of an artefact."""
        return self._remember(name, spec, lambda: pd.read_parquet(self.store.folder(spec) / f"{name}.parquet"))

    def docs(self, collection: Any) -> pd.DataFrame:
        """Return doc_id, text."""
        return self.frame(docs_of(collection), "docs")

    def queries(self, collection: Any) -> pd.DataFrame:
        """Return query_id, text."""
        return self.frame(params.QueriesSpec(collection=collection), "queries")

    def qrels(self, collection: Any) -> pd.DataFrame:
        """Return query_id, doc_id, relevance."""
        return self.frame(params.QueriesSpec(collection=collection), "qrels")

    def candidates(self, spec: params.CandidatesSpec) -> pd.DataFrame:
        """Return a run."""
        return self.frame(spec, "candidates")

    def groups(self, spec: params.GroupsSpec) -> pd.DataFrame:
        """Return query_id, doc_ids (positive first), n_filled."""
        return self.frame(spec, "groups")

    def group_scores(self, spec: params.ScoresSpec) -> np.ndarray:
        """Return the teacher's scores (n_groups, group_size), aligned with the groups."""
        return np.stack(self.frame(spec, "scores")["teacher_scores"].to_list()).astype(np.float32)

    def tokens(self, of: str, collection: Any, tokenizer: Any) -> TokenTable:
        """Return the token table of the documents or queries."""
        from rd_utils.tokens import TokenTable

        collection = docs_of(collection).collection if of == "docs" else collection
        spec = params.TokensSpec(of=of, collection=collection, tokenizer=tokenizer)
        return self._remember("tokens", spec, lambda: TokenTable.load(self.store.folder(spec)))

    def query_rows(self, collection: Any, query_ids: pd.Series) -> np.ndarray:
        """Return the rows of query_ids in the collection's queries."""
        return self._rows(params.QueriesSpec(collection=collection), "queries", "query_id", query_ids)

    def doc_rows(self, collection: Any, doc_ids: pd.Series) -> np.ndarray:
        """Return the rows of doc_ids in the collection's documents."""
        return self._rows(docs_of(collection), "docs", "doc_id", doc_ids)

    def _rows(self, spec: Any, name: str, key: str, ids: Any) -> np.ndarray:
        index = self._remember(f"index of {name}", spec, lambda: pd.Index(self.frame(spec, name)[key]))
        rows = index.get_indexer(pd.Index(ids))
        if (rows < 0).any():
            unknown = np.asarray(ids, dtype=object)[rows < 0]
            raise collections.CollectionError(
                f"{spec.collection.label}: {len(unknown)} values of {key} are unknown, the first is {unknown[0]!r}"
            )
        return rows

    def group_rows(self, spec: params.GroupsSpec) -> tuple[np.ndarray, np.ndarray]:
        """Return the groups as rows: queries (n,) and documents (n, group_size)."""
        groups = self.groups(spec)
        flat = self.doc_rows(spec.collection, np.concatenate(groups["doc_ids"].to_numpy()))
        return self.query_rows(spec.collection, groups["query_id"]), flat.reshape(len(groups), spec.group_size)

    # --- students -----------------------------------------------------------------------------------------------------------------

    def untrained(self, architecture: Any, collection: Any, seed: int) -> Student:
        """Return a student before its first step."""
        from rd_utils import models

        lexicon = lexicon_of(architecture, collection)
        return _on_device(models.build(architecture, seed=seed, lexicon=self.build(lexicon) if lexicon else None))

    def student(self, spec: params.StudentSpec) -> Student:
        """Return a trained student, training it first where it is missing."""
        from rd_utils import models

        return _on_device(models.load(self.build(spec) / "model"))

    def _system(self, system: Any) -> tuple[Student, Any]:
        """Return the student behind a system and the tokenizer that it reads."""
        if system.kind == "student":
            spec = system.student
            return self.student(spec), tokenizer_of(spec.architecture, spec.groups.collection)
        student = self.untrained(system.architecture, system.collection, system.seed)
        return student, tokenizer_of(system.architecture, system.collection)

    # --- teachers -----------------------------------------------------------------------------------------------------------------

    def teacher_scores(self, teacher: Any, collection: Any, query_rows: np.ndarray, doc_rows: np.ndarray) -> tuple[np.ndarray, int]:
        """Return a teacher's scores of pairs, scoring those that are missing; and how many were missing."""
        n_docs = len(self.docs(collection))
        name = f"{teacher_identity(teacher, collection)}-{identity(params.QueriesSpec(collection=collection))[:10]}"
        with self.store.lock(f"pairs-{name}"):
            kept = teachers.PairScores(self.store.root / "pairs" / name, n_docs)
            pairs = kept.pairs(query_rows, doc_rows)
            scored = 0
            if len(kept.missing(pairs)):
                score = self._teacher(teacher, collection)
                scored = teachers.score_missing(kept, pairs, score, chunk=50_000 if teacher.kind == "oracle" else 2_000, track=self.track)
            return kept.lookup(pairs), scored

    def _teacher(self, teacher: Any, collection: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        if teacher.kind == "oracle":
            from rd_utils import synthetic

            generated = synthetic.generate(collection.profile, collection.world, collection.seed)
            every = pd.Index(generated.queries[collection.split]["query_id"])
            rows = every.get_indexer(pd.Index(self.queries(collection)["query_id"]))
            least = np.log(teacher.floor)
            return lambda query_rows, doc_rows: np.maximum(generated.oracle_scores(collection.split, rows[query_rows], doc_rows), least)
        from rd_utils import models

        if teacher.kind == "trained":
            architecture, precision = teacher.student.architecture, teacher.student.training.precision
            student = self.student(teacher.student)
            tokenizer = tokenizer_of(architecture, teacher.student.groups.collection)
        else:
            student = _on_device(
                models.load_scorer(teacher.model, max_length=teacher.max_length, max_query_length=teacher.max_query_length)
            )
            precision = teacher.precision
            tokenizer = params.ModelTokenizer(model=teacher.model)
        queries, docs = self.tokens("queries", collection, tokenizer), self.tokens("docs", collection, tokenizer)
        return lambda query_rows, doc_rows: student.score_pairs(queries, docs, query_rows, doc_rows, precision=precision)

    # --- making -------------------------------------------------------------------------------------------------------------------

    def _make_docs(self, spec: params.DocsSpec, draft: Draft) -> None:
        docs = collections.read_docs(spec.collection, _collection_folder(spec.collection), self.track)
        docs.to_parquet(draft.folder / "docs.parquet", index=False)
        draft.counts |= {"documents": len(docs), "documents_without_text": int((docs["text"].str.len() == 0).sum())}

    def _make_queries(self, spec: params.QueriesSpec, draft: Draft) -> None:
        queries, qrels = collections.read_queries(spec.collection, _collection_folder(spec.collection), self.track)
        queries.to_parquet(draft.folder / "queries.parquet", index=False)
        qrels.to_parquet(draft.folder / "qrels.parquet", index=False)
        draft.counts |= {"queries": len(queries), "qrels": len(qrels), "positives": len(collections.positives(qrels))}

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
        from rd_utils.tokens import tokenize

        if spec.tokenizer.kind == "lexicon":
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(self.build(spec.tokenizer.lexicon) / "tokenizer.json"))
        else:
            tokenizer = models.tokenizer_of(spec.tokenizer)
        texts = self.docs(spec.collection) if spec.of == "docs" else self.queries(spec.collection)
        table = tokenize(self.track(texts["text"].tolist(), f"tokenising {spec.of}", len(texts)), tokenizer)
        table.save(draft.folder)
        draft.counts |= {"texts": len(table), "tokens": len(table.ids)}

    def _make_candidates(self, spec: params.CandidatesSpec, draft: Draft) -> None:
        docs, queries = self.docs(spec.collection), self.queries(spec.collection)
        if spec.retriever.kind == "bm25":
            run = retrieval.bm25_candidates(docs, queries, spec.retriever, spec.depth, self.track)
        else:
            from rd_utils import models

            architecture = params.BiEncoder(
                model=spec.retriever.model,
                similarity="cosine" if spec.retriever.normalise else "dot",
                **({"max_length": spec.retriever.max_length} if spec.retriever.max_length else {}),
            )
            student = _on_device(models.build(architecture, seed=0))
            doc_vectors, query_vectors = self._encode_all(student, spec.collection, tokenizer_of(architecture, spec.collection))
            run = retrieval.dense_candidates(docs["doc_id"], doc_vectors, queries, query_vectors, spec.depth)
        run.to_parquet(draft.folder / "candidates.parquet", index=False)
        found = run["query_id"].nunique()
        draft.counts |= {"queries": len(queries), "pairs": len(run)}
        draft.dropped["queries_without_candidates"] = len(queries) - found

    def _make_groups(self, spec: params.GroupsSpec, draft: Draft) -> None:
        candidates = None
        if spec.strategy.kind == "candidates":
            candidates = self.candidates(inputs(spec)["candidates"])
        drawn = sampling.draw_groups(
            self.docs(spec.collection)["doc_id"],
            self.qrels(spec.collection),
            strategy=spec.strategy,
            group_size=spec.group_size,
            shortage=spec.shortage,
            seed=spec.seed,
            candidates=candidates,
            track=self.track,
        )
        drawn.frame.to_parquet(draft.folder / "groups.parquet", index=False)
        draft.counts |= drawn.counts
        draft.dropped |= drawn.dropped

    def _make_scores(self, spec: params.ScoresSpec, draft: Draft) -> None:
        groups = self.groups(spec.groups)
        query_rows, doc_rows = self.group_rows(spec.groups)
        repeated = np.repeat(query_rows, spec.groups.group_size)
        scores, scored = self.teacher_scores(spec.teacher, spec.groups.collection, repeated, doc_rows.ravel())
        frame = groups[["query_id"]].assign(teacher_scores=list(scores.reshape(doc_rows.shape)))
        frame.to_parquet(draft.folder / "scores.parquet", index=False)
        draft.counts |= {"pairs": doc_rows.size, "pairs_scored_now": scored}

    def _make_student(self, spec: params.StudentSpec, draft: Draft) -> None:
        from rd_utils import training

        collection = spec.groups.collection
        student = self.untrained(spec.architecture, collection, spec.seed)
        tokenizer = tokenizer_of(spec.architecture, collection)
        query_rows, doc_rows = self.group_rows(spec.groups)
        scores = self.group_scores(params.ScoresSpec(groups=spec.groups, teacher=spec.teacher)) if spec.teacher else None
        record = training.train(
            student,
            self.tokens("queries", collection, tokenizer),
            self.tokens("docs", collection, tokenizer),
            training.GroupTable(query_rows, doc_rows, scores),
            loss=spec.loss,
            temperature=spec.temperature,
            training=spec.training,
            seed=spec.seed,
            checkpoint_folder=self.store.checkpoints(spec) if spec.training.checkpoint_every else None,
            progress=_Pushed(self.track, f"training {spec.architecture.kind}, {spec.loss}, seed {spec.seed}"),
        )
        student.save(draft.folder / "model")
        record.history.to_parquet(draft.folder / "history.parquet", index=False)
        draft.counts |= {"steps": record.steps, "documents_seen": record.documents_seen, "tokens_seen": record.tokens_seen}

    def _make_evaluation(self, spec: params.EvaluationSpec, draft: Draft) -> None:
        run, scored = self._run(spec)
        per_query, counts = evaluation.measure_run(run, self.qrels(spec.collection), spec.measures)
        evaluation.write_run(run, draft.folder / "run.trec", spec.system.kind)
        per_query.to_parquet(draft.folder / "per_query.parquet", index=False)
        draft.counts |= counts | {"pairs_scored": scored}

    def _run(self, spec: params.EvaluationSpec) -> tuple[pd.DataFrame, int]:
        """Rank a system's documents; return the run and how many pairs were scored for it."""
        system, collection = spec.system, spec.collection
        needed = inputs(spec)
        candidates = self.candidates(needed["candidates"]) if "candidates" in needed else None
        if system.kind == "bm25":
            run = candidates
            return evaluation.rank(run["query_id"].to_numpy(), run["doc_id"].to_numpy(), run["score"].to_numpy()), 0
        if spec.first_stage.kind == "full":
            student, tokenizer = self._system(system)
            vectors = self._vectors_of(system, spec, student, tokenizer)
            queries = self.queries(collection)
            run = retrieval.dense_candidates(
                self.docs(collection)["doc_id"], vectors["docs"], queries, vectors["queries"], spec.first_stage.depth
            )
            return evaluation.rank(run["query_id"].to_numpy(), run["doc_id"].to_numpy(), run["score"].to_numpy()), len(queries) * len(
                self.docs(collection)
            )
        query_rows = self.query_rows(collection, candidates["query_id"])
        doc_rows = self.doc_rows(collection, candidates["doc_id"])
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
        return evaluation.rank(candidates["query_id"].to_numpy(), candidates["doc_id"].to_numpy(), scores), scored

    def _vectors_of(self, system: Any, spec: Any, student: Student, tokenizer: Any, rows: np.ndarray | None = None) -> dict[str, Any]:
        """Return a student's query and document vectors; the last system's are kept, so that two first stages encode once."""
        from rd_utils.tokens import take

        every = np.arange(len(self.docs(spec.collection)))
        rows = every if rows is None else rows
        key = " ".join((system.model_dump_json(), identity(params.QueriesSpec(collection=spec.collection)), spec.precision))
        if self._vectors[0] != key or not np.isin(rows, self._vectors[1]["rows"]).all():
            queries, docs = self.tokens("queries", spec.collection, tokenizer), self.tokens("docs", spec.collection, tokenizer)
            vectors = {
                "rows": rows,
                "docs": student.encode(
                    docs if len(rows) == len(every) else take(docs, rows),
                    kind="document",
                    precision=spec.precision,
                    progress=_Pushed(self.track, "encoding documents"),
                ),
                "queries": student.encode(queries, kind="query", precision=spec.precision) * np.float32(student.architecture.scale),
            }
            self._vectors = (key, vectors)
        return self._vectors[1]

    def _encode_all(self, student: Student, collection: Any, tokenizer: Any) -> tuple[np.ndarray, np.ndarray]:
        queries, docs = self.tokens("queries", collection, tokenizer), self.tokens("docs", collection, tokenizer)
        doc_vectors = student.encode(docs, kind="document", progress=_Pushed(self.track, "encoding documents"))
        return doc_vectors, student.encode(queries, kind="query")


def _import_for(stage: str) -> None:
    """Import what a stage needs before its cost is measured, so that the first artefact of a process does not pay for the imports."""
    if stage in ("student", "evaluation", "scores", "candidates", "tokens", "lexicon"):
        import ir_measures  # noqa: F401

        from rd_utils import lexicon, models, tokens, training  # noqa: F401


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

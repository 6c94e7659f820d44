"""The suite's side of every row, through the functions that its pipeline calls. ``settings["work"]`` names the class.

Nothing else under ``benchmarks`` imports the suite's engine, so that a change of its interface is met here (and in :mod:`benchmarks.data`).
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers.common import Groups, Trains
from benchmarks.roofline import transformer_flops
from benchmarks.worker import Clock, memory, serve

PACKAGES = ("rd-utils", "torch", "transformers", "sentence-transformers", "tokenizers", "numpy", "bm25s", "faiss-cpu")


class Needed(NamedTuple):
    """What a step, or a pass over pairs or texts, needs."""

    flops: float
    tokens: int
    texts: int  # or pairs


def _sizes(needed: list[Needed]) -> dict[str, float]:
    """Return what several steps need together, the tokens of one pass, and those of a text."""
    tokens, texts = (sum(getattr(one, name) for one in needed) for name in ("tokens", "texts"))
    each = {"tokens_per_step": min(tokens // len(needed), 8192), "tokens_per_text": tokens / texts}
    return {"flops": sum(one.flops for one in needed), **each}


def _architecture(settings: dict[str, Any]) -> Any:
    from rd_utils.study import params

    limits = {"max_length": settings["max_length"], "max_query_length": settings["max_query_length"]}
    if settings["kind"] == "bi":
        return params.BiEncoder(
            model=settings["model"], pooling=settings["pooling"], similarity=settings.get("similarity", "dot"), **limits
        )
    return params.CrossEncoder(model=settings["model"], **limits)


class _Texts:
    """Token tables of a collection's groups, and the arithmetic that its texts need."""

    def __init__(self, settings: dict[str, Any]) -> None:
        from rd_utils import models
        from rd_utils.models.tokens import tokenize

        self.settings = settings
        self.groups = Groups(settings["data"])
        self.architecture = _architecture(settings)
        self.student = models.build(self.architecture, seed=0)
        self.tokenize = lambda texts: tokenize(texts, self.student.tokenizer)
        began = time.perf_counter()
        self.queries, self.docs = self.tokenize(self.groups.queries), self.tokenize(self.groups.docs)
        self.tokenise_seconds = time.perf_counter() - began
        self.config = self.student.model[0].model.config
        self.lengths = self.queries.lengths(), self.docs.lengths()

    def text_flops(self, queries: np.ndarray, docs: np.ndarray, training: bool) -> Needed:
        """Return what embedding distinct texts needs."""
        limits = self.settings["max_query_length"], self.settings["max_length"]
        lengths = [*np.minimum(self.lengths[0][queries] + 2, limits[0]), *np.minimum(self.lengths[1][np.unique(docs)] + 2, limits[1])]
        return self._flops(lengths, training, self.settings["pooling"] == "cls")

    def pair_flops(self, queries: np.ndarray, docs: np.ndarray, training: bool) -> Needed:
        """Return what scoring pairs needs."""
        left = np.minimum(self.lengths[0][queries], self.settings["max_query_length"])
        return self._flops(np.minimum(left + self.lengths[1][docs] + 3, self.settings["max_length"]).tolist(), training, True)

    def _flops(self, lengths: Any, training: bool, first_token_only: bool) -> Needed:
        size = {
            "layers": self.config.num_hidden_layers,
            "dimension": self.config.hidden_size,
            "feed_forward": self.config.intermediate_size,
        }
        flops = transformer_flops(lengths, **size, first_token_only=first_token_only, training=training)
        return Needed(flops, int(sum(lengths)), len(lengths))

    def shape(self) -> dict[str, int]:
        """Return the widths that the peak is measured at, and the depth."""
        own = self.config
        return {"dimension": own.hidden_size, "feed_forward": own.intermediate_size, "layers": own.num_hidden_layers}


class Training(_Texts, Trains):
    """``rd_utils.training.loop.train`` on given groups in a given order."""

    def __call__(self, command: dict[str, Any]) -> dict[str, Any]:
        """Take steps, and say what they needed."""
        if self.paced is None:
            self.batches = np.array(command["groups"]).reshape(-1, command["batch"])
        answer = super().__call__(command)
        done = self.batches[self.paced.steps - command["steps"] : self.paced.steps]
        counted = self.text_flops if self.settings["kind"] == "bi" else self._pairs_of
        needed = [counted(self.groups.query_rows[rows], self.groups.doc_rows[rows], True) for rows in done]
        return answer | _sizes(needed) | self.shape() | {"tokenise_seconds": self.tokenise_seconds}

    def train(self, groups: list[int], batch: int, tick: Any) -> None:
        """Train on groups in their order, ``batch`` a step."""
        from rd_utils.study import params
        from rd_utils.training.groups import GroupTable, group_order
        from rd_utils.training.loop import train

        rows, data = np.array(groups), self.groups
        placed = np.empty_like(rows)
        placed[group_order(len(rows), 7, 0, len(rows))] = rows  # so that train's own order of the groups is the given one
        training = params.Training(
            documents=data.doc_rows[rows].size, queries_per_batch=batch, learning_rate=1e-5, warmup_share=0.0, schedule="constant",
            precision=self.settings.get("precision", "fp32"),
        )  # fmt: skip
        train(
            self.student, self.queries, self.docs, GroupTable(data.query_rows[placed], data.doc_rows[placed], data.scores[placed]),
            loss="margin_mse", temperature=1.0, training=training, seed=7, progress=lambda *_: tick(),
        )  # fmt: skip

    def scores(self, groups: list[int]) -> list[float]:
        """Return the untrained student's scores of groups."""
        queries, docs = self.groups.query_rows[groups], self.groups.doc_rows[groups]
        return self.student.score_pairs(self.queries, self.docs, np.repeat(queries, docs.shape[1]), docs.ravel()).astype(float).tolist()

    def _pairs_of(self, queries: np.ndarray, docs: np.ndarray, training: bool) -> Needed:
        return self.pair_flops(np.repeat(queries, docs.shape[1]), docs.ravel(), training)


class Scoring(_Texts):
    """``student.score_pairs``; the tokenising of the texts is counted, as the peers take texts."""

    def __call__(self, command: dict[str, Any]) -> dict[str, Any]:
        """Score the pairs of ``command``."""
        query_rows, doc_rows = np.array(command["query_rows"]), np.array(command["doc_rows"])
        queries, query_of_pair = np.unique(query_rows, return_inverse=True)
        docs, doc_of_pair = np.unique(doc_rows, return_inverse=True)
        clock = Clock()
        tables = self.tokenize([self.groups.queries[row] for row in queries]), self.tokenize([self.groups.docs[row] for row in docs])
        scores = self.student.score_pairs(*tables, query_of_pair, doc_of_pair, precision=self.settings.get("precision", "fp32"))
        rates = clock.rates("pairs", len(scores))
        sizes = _sizes([self.pair_flops(query_rows, doc_rows, False)])
        return rates | {"scores": scores.astype(float).tolist()} | sizes | self.shape()


class Bm25:
    """``bm25.build`` and ``retrieval.bm25_candidates``, in one process."""

    def __init__(self, settings: dict[str, Any]) -> None:
        import pandas as pd

        from rd_utils.data.runs import tie_order
        from rd_utils.mining import bm25, retrieval
        from rd_utils.study import params

        self.build, self.candidates, self.retriever, self.depth = bm25.build, retrieval.bm25_candidates, params.BM25(), settings["depth"]
        folder = Path(settings["root"]) / f"synthetic-{settings['docs'][settings['short']]}"
        read = {name: (folder / f"{name}.txt").read_text(encoding="ascii").splitlines() for name in ("docs", "queries")}
        self.docs, self.queries = (pd.Series(read.pop(name), dtype="str") for name in ("docs", "queries"))
        self.ties = tie_order([str(row) for row in range(len(self.docs))])
        with tempfile.TemporaryDirectory() as scratch:  # compiles, once a machine
            index = self.build(self.docs[:2], self.retriever, Path(scratch))
            self.candidates(index, self.queries[:2], self.retriever, 1, self.ties[:2])
        self.before = memory()

    def __call__(self, command: dict[str, Any]) -> dict[str, Any]:
        """Index all documents and rank them for every query."""
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            index = self.build(self.docs, self.retriever, Path(folder))
            indexed = time.perf_counter()
            run = self.candidates(index, self.queries, self.retriever, self.depth, self.ties)
            ended = time.perf_counter()
            first = [run.scores[run.offsets[row] : run.offsets[row + 1]][:10] for row in range(20)]
        return {
            "index_seconds": indexed - began,
            "query_ms": 1000 * (ended - indexed) / len(self.queries),
            "peak_mb": memory("VmHWM"),
            "added_mb": memory("VmHWM") - self.before,
            "scores": np.concatenate(first).astype(float).tolist(),
        }


class Dense(_Texts):
    """Candidates of queries by a bi-encoder: tokenise, ``student.encode`` and ``dense.search``."""

    def __call__(self, command: dict[str, Any]) -> dict[str, Any]:
        """Find ``depth`` candidates of the queries among the documents of ``command``."""
        from rd_utils.data.runs import tie_order
        from rd_utils.mining import dense

        query_rows, doc_rows = command["query_rows"], command["doc_rows"]
        precision = self.settings.get("precision", "fp32")
        clock = Clock()
        queries = self.tokenize([self.groups.queries[row] for row in query_rows])
        docs = self.tokenize([self.groups.docs[row] for row in doc_rows])
        vectors = self.student.encode(docs, kind="document", precision=precision)
        asked = self.student.encode(queries, kind="query", precision=precision)
        run = dense.search(vectors, asked, command["depth"], tie_order([str(row) for row in doc_rows]))
        rates = clock.rates("documents", len(doc_rows))
        sizes = _sizes([self.text_flops(np.array(query_rows), np.array(doc_rows), False)])
        return rates | {"best": run.scores[run.offsets[:-1]].astype(float).tolist()} | sizes | self.shape()


class PairScores:
    """``teachers.PairScores``: written once by :func:`write_pairs`, opened by a fresh process."""

    def __init__(self, settings: dict[str, Any]) -> None:
        from rd_utils.scoring import teachers

        self.make = teachers.PairScores
        folder = Path(settings["folders"][settings["short"]])
        self.folder, self.n_docs = folder / "ours", settings["n_docs"]
        batches = np.load(folder / "batches.npz")
        self.batches = [batches[name] for name in ("query_rows", "doc_rows")]
        self.before = memory()

    def __call__(self, command: dict[str, Any]) -> dict[str, Any]:
        """Open the scores, look the first pair up, then every batch of 8 x 16."""
        queries, docs = self.batches
        began = time.perf_counter()
        kept = self.make(self.folder, self.n_docs)
        first = kept.lookup(kept.pairs(queries[0, :1], docs[0, 0, :1]))
        load = time.perf_counter() - began
        total, began = 0.0, time.perf_counter()
        for batch_queries, batch_docs in zip(queries, docs, strict=True):
            total += float(kept.lookup(kept.pairs(batch_queries[:, None], batch_docs).ravel()).sum())
        seconds = time.perf_counter() - began
        return {
            "load_seconds": load,
            "added_mb": max(memory() - self.before, 0.001),
            "lookup_rate": docs.size / seconds,
            "disk_mb": sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file()) / 1e6,
            "scores": [float(first[0]), total / docs.size],
        }


def write_pairs(
    folder: Path, n_docs: int, query_rows: np.ndarray, doc_rows: np.ndarray, scores: np.ndarray, chunk: int = 2_500_000
) -> None:
    """Write scores of pairs as the pipeline keeps them."""
    from rd_utils.scoring.teachers import PairScores as Kept

    kept = Kept(folder, n_docs)
    pairs = kept.pairs(query_rows, doc_rows)
    for start in range(0, len(pairs), chunk):
        kept.add(pairs[start : start + chunk], scores[start : start + chunk])
    kept.merge()


class Grid:
    """Cells of a grid through :class:`rd_utils.workflow.pipeline.Pipeline`: what cells share is made once."""

    def __init__(self, settings: dict[str, Any]) -> None:
        # imports are counted on neither side
        import bm25s  # noqa: F401
        import ir_measures  # noqa: F401
        import Stemmer  # noqa: F401

        from rd_utils.workflow import pipeline  # noqa: F401

        self.settings = settings

    def __call__(self, command: dict[str, Any]) -> dict[str, Any]:
        """Make every student of ``command["cells"]`` in an empty store."""
        from rd_utils.store import Store
        from rd_utils.study import params
        from rd_utils.workflow.pipeline import Pipeline
        from rd_utils.workflow.progress import untracked

        settings = self.settings
        folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
        collection = params.FolderCollection(path=command["collection"], split="train")
        teacher = params.LoadedTeacher(
            model=settings["teacher"], max_length=settings["max_length"], max_query_length=settings["max_query_length"]
        )
        architectures = {kind: _architecture(settings | {"kind": kind, "model": model}) for kind, model in settings["models"].items()}
        try:
            began = time.perf_counter()
            pipeline = Pipeline(Store(folder), untracked)
            for strategy, loss, kind, seed in command["cells"]:
                drawn = params.FromCandidates(retriever=params.BM25(), depth=settings["depth"], **settings["strategies"][strategy])
                groups = params.GroupsSpec(collection=collection, strategy=drawn, seed=seed)
                training = params.Training(documents=command["documents"], queries_per_batch=8, learning_rate=1e-5)
                own = {"teacher": teacher, "architecture": architectures[kind], "training": training, "seed": seed}
                pipeline.build(params.StudentSpec(groups=groups, loss=loss, **own))
            seconds = time.perf_counter() - began
        finally:
            shutil.rmtree(folder)
        return {"seconds": seconds, "seconds_per_cell": seconds / len(command["cells"])}


WORK = {"training": Training, "scoring": Scoring, "bm25": Bm25, "dense": Dense, "pairs": PairScores, "grid": Grid}

if __name__ == "__main__":
    serve(lambda settings: WORK[settings["work"]](settings), PACKAGES)

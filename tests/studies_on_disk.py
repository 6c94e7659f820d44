"""Plans of small studies, and stores whose manifests say what a test says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from rd_utils.evaluation.measures import write_run
from rd_utils.exchange.results import ABOUT
from rd_utils.scoring.teachers import PairScores
from rd_utils.store import Store, file_sha256, upstream, write_manifest
from rd_utils.study import params, plan
from rd_utils.workflow.pipeline import Pipeline

ROOT = Path(__file__).resolve().parents[1]
NAN = float("nan")
EMBEDDED = {"source": "embedded", "profile": "smallest"}

# Wall seconds of an artefact of each stage; CPU seconds are twice as many.
SECONDS = {"docs": 1, "queries": 2, "lexicon": 4, "tokens": 8, "candidates": 16, "groups": 32, "scores": 64, "student": 1024}
SECONDS |= {"evaluation": 4096, "search": 16384, "index": 0, "vectors": 0, "description": 0, "behaviour": 0}
RATES = {"oracle": 1, "trained": 3}  # wall seconds a pair of a teacher
PAIRS, NEW = 100, 20  # pairs of every artefact with scores, and how many of them had none before
SCORES = {kind: SECONDS["scores"] + (PAIRS - NEW) * rate for kind, rate in RATES.items()}  # what scores are charged: every pair at its rate

SEARCH = {
    "architectures": {"static": {"learning_rates": [0.003, 0.01]}},
    "strategy": "bm25",
    "teacher": "oracle",
    "validation": EMBEDDED | {"split": "validation"},
    "first_stages": [{"kind": "rerank", "retriever": "bm25", "depth": 100}],
}
AUGMENTED = {
    "reference": "static",
    "augmentations": {"spans": {"document_span": 0.5}, "random_half": {"random_share": 0.5}},
    "strategies": {
        "corpus_random": {"kind": "corpus_random"},
        "anew": {"kind": "refreshed", "start": "bm25", "every": 2},
        "bm25": {"kind": "candidates", "retriever": "bm25", "depth": 100},
    },
    "cuts": {"upper": {"teacher": "oracle", "part": "upper_half"}},
    "overrides": [],
}
GRID = {"strategies": ["bm25"], "teachers": ["oracle"], "losses": ["lce", "kl"], "architectures": ["static"], "seeds": [0, 1]}


class Tables(Pipeline):
    """A pipeline whose groups, candidates and scores are tables by ids, as a test puts them, instead of row numbers."""

    def groups(self, spec: params.GroupsSpec) -> pd.DataFrame:
        return self.frame(spec, "groups")

    def candidates(self, spec: params.CandidatesSpec) -> pd.DataFrame:
        return self.frame(spec, "candidates")

    def group_scores(self, spec: params.ScoresSpec) -> np.ndarray:
        return np.stack(self.frame(spec, "scores")["teacher_scores"].to_list())


def planned(tmp_path: Path, *without: str, **changes: Any) -> plan.Plan:
    """Return the plan of the smallest study with other values of some keys, and without others."""
    values = yaml.safe_load((ROOT / "params" / "smallest.yaml").read_text()) | changes
    values = {key: value for key, value in values.items() if key not in without}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(values))
    return plan.load_plan(tmp_path / "study.yaml")


def bill(teacher: str, pairs: int = PAIRS, new: int = NEW) -> dict[str, Any]:
    """Return what a manifest says of pairs that a teacher scored."""
    return {
        "teacher": teacher,
        "pairs": pairs,
        "scored_now": new,
        "wall_seconds": RATES[teacher] * new,
        "cpu_seconds": 2 * RATES[teacher] * new,
    }


def price_pairs(store: Store) -> None:
    """Keep ten scores of every teacher, at its seconds a pair."""
    for teacher, rate in RATES.items():
        kept = PairScores(store.root / "pairs" / teacher, n_docs=1)
        if not len(kept):
            kept.add(np.arange(10), np.zeros(10), seconds=(10.0 * rate, 20.0 * rate))


def put(store: Store, spec: Any, counts=None, dropped=None, scoring=None, cost=None, **tables: Any) -> None:
    """Put an artefact into the store as if it had been made in the seconds of its stage; a teacher's scores have a bill."""
    folder = store.folder(spec)
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet")
    known = {"wall_seconds": 1.0 * SECONDS[spec.stage], "cpu_seconds": 2.0 * SECONDS[spec.stage], "gpu_seconds": 0.0, "peak_memory_mb": 1.0}
    known |= {"energy": {"joules": None, "method": "none", "reason": "no counter"}}
    if scoring is None:
        scoring = [bill(spec.teacher.kind)] if spec.stage == "scores" else []
    manifest = {"cost": known | (cost or {}), "counts": counts or {}, "dropped": dropped or {}, "parameters": {}, "scoring": scoring}
    seal(folder, manifest)


def seal(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest of what stands in an artefact's folder."""
    written = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    about = {"stage": folder.parent.name, "identity": folder.name, "inputs": {}}
    about |= {"files": {str(path.relative_to(folder)): file_sha256(path) for path in written}}
    about |= {"sizes": {str(path.relative_to(folder)): path.stat().st_size for path in written}}
    write_manifest(folder, about | manifest)


def put_all(store: Store, this: plan.Plan) -> None:
    """Put everything into the store that is not there yet of what the students of a plan and their evaluations are made from."""
    price_pairs(store)
    counts = {
        "student": {"documents_seen": 10, "tokens_seen": 100, "temperature": 1.0},
        "groups": {"groups": 20, "queries": 20},
        "evaluation": {"queries_judged": 3, "pairs_scored": 7},
    }
    systems = [(system, this.labels[row.pair]) for row in this.baselines for system in row.systems.values()]
    systems += [(params.StudentSystem(student=student), cell.collection) for cell, student in students(this)]
    for system, collection in systems:
        for evaluation in this.evaluations(system, collection):
            for spec in [*upstream(evaluation).values(), evaluation]:
                if not store.has(spec):
                    put(store, spec, counts.get(spec.stage))


def students(this: plan.Plan) -> list[tuple[plan.Cell, params.StudentSpec]]:
    """Return every student of a plan with its cell."""
    return [(cell, student) for cell in this.cells for student in cell.students.values()]


def put_run(store: Store, spec: params.EvaluationSpec, run: Any, **tables: Any) -> None:
    """Put an evaluation with its run into the store."""
    folder = store.folder(spec)
    folder.mkdir(parents=True, exist_ok=True)
    write_run(run, folder / "run.trec", "x")
    put(store, spec, **tables)


def put_results(folder: Path, about: dict, tables: dict[str, pd.DataFrame]) -> None:
    """Write a folder of results as an export leaves it: tables, and what is said of them with their hashes."""
    folder.mkdir(parents=True)
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet")
    files = {path.name: {"sha256": file_sha256(path)} for path in folder.glob("*.parquet")}
    (folder / ABOUT).write_text(json.dumps(about | {"files": files}))

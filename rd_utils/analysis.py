"""A study's tables, from its finished artefacts: results, measures per query, summary over seeds, paired differences, cost.

Everything that an analysis notebook shows starts here; nothing is parsed from a file name, and a missing artefact is an error.
"""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from rd_utils import params, stats
from rd_utils.pipeline import Pipeline
from rd_utils.plan import Plan
from rd_utils.store import identity, inputs

CELL = ["system", "strategy", "teacher", "loss", "architecture", "augmentation", "temperature"]
RESULT_COLUMNS = [
    "study", "cell", "system", "collection", "strategy", "teacher", "loss", "architecture", "augmentation", "temperature", "seed",
    "test_collection", "first_stage", "measure", "value",
]  # fmt: skip


def per_query(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return every measure of every query: the columns of ``results.parquet`` and query_id."""
    frames = []
    for keys, system in _systems(plan):
        for spec in plan.evaluations(system):
            frame = pipeline.frame(spec, "per_query")
            frames.append(frame.assign(**keys, test_collection=spec.collection.label, first_stage=spec.first_stage.label))
    columns = [*RESULT_COLUMNS[:-2], "query_id", "measure", "value"]
    table = pd.concat(frames, ignore_index=True)[columns]
    twice = table.duplicated(["cell", "seed", "test_collection", "first_stage", "query_id", "measure"])
    if twice.any():
        raise ValueError(f"{int(twice.sum())} rows of per_query stand twice, the first is {table[twice].iloc[0].to_dict()}")
    return table


def results(per_query: pd.DataFrame) -> pd.DataFrame:
    """Average over the judged queries: one row a cell, seed, test collection, first stage and measure."""
    keys = RESULT_COLUMNS[:-1]
    return per_query.groupby(keys, sort=False, dropna=False)["value"].mean().reset_index()[RESULT_COLUMNS]


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """Return the mean, and the standard deviation over seeds (n - 1; NaN with one seed), of every cell, measure by measure."""
    keys = ["test_collection", "first_stage", "measure", "cell", *CELL]
    grouped = results.groupby(keys, sort=False, dropna=False)["value"]
    return grouped.agg(mean="mean", sd="std", n_seeds="size").reset_index()


def differences(per_query: pd.DataFrame, settings: params.AnalysisSettings) -> pd.DataFrame:
    """Compare cells pairwise over queries, on values averaged over seeds.

    Two families of contrasts, each between cells that differ in one thing only:

    - every strategy against ``settings.baseline_strategy``, same teacher, loss, architecture and temperature;
    - every distillation loss against LCE, same strategy and architecture.

    Returns:
        One row a contrast, test collection and first stage: the difference with its interval, p-values (``p_holm``: Holm over each
        family within a test collection and first stage), the TOST verdict at ``settings.equivalence_margin``, the smallest margin that
        the data could have proved. Empty where a study has nothing to contrast.
    """
    trained = per_query[(per_query["system"] == "student") & (per_query["measure"] == settings.measure)]
    means = stats.seed_mean(trained[["cell", "test_collection", "first_stage", "query_id", "seed", "value"]])
    cells = trained.drop_duplicates("cell").set_index("cell")[CELL[1:]]
    seeds = trained.groupby("cell")["seed"].agg(lambda values: tuple(sorted(set(values))))
    rows = []
    for (collection, stage), frame in means.groupby(["test_collection", "first_stage"], sort=False):
        values = {name: part.set_index(["test_collection", "query_id"])["value"] for name, part in frame.groupby("cell")}
        for family, before, after, contrast in _contrasts(cells, settings.baseline_strategy):
            if before not in values or after not in values or seeds[before] != seeds[after]:
                continue
            found = stats.paired_difference(
                values[before],
                values[after],
                level=settings.level,
                equivalence_margin=settings.equivalence_margin,
                alpha=settings.alpha,
            )
            about = cells.loc[after, ["strategy", "teacher", "loss", "architecture", "temperature"]].to_dict()
            rows.append(
                {"test_collection": collection, "first_stage": stage, "measure": settings.measure, "family": family, "contrast": contrast}
                | about
                | {"cell_before": before, "cell_after": after, "equivalence_margin": settings.equivalence_margin}
                | found._asdict()
            )
    if not rows:
        return pd.DataFrame(columns=["test_collection", "first_stage", "measure", "family", "contrast", "difference", "verdict"])
    table = pd.DataFrame(rows)
    table["p_holm"] = np.nan
    for _, part in table.groupby(["test_collection", "first_stage", "family"], sort=False):
        table.loc[part.index, "p_holm"] = stats.holm(part["p_difference"].to_numpy())
    return table


def _contrasts(cells: pd.DataFrame, baseline: str) -> list[tuple[str, str, str, str]]:
    """Return (family, cell before, cell after, label) of cells that differ in one thing."""
    found = []
    same = {"strategy": ["teacher", "loss", "architecture", "augmentation", "temperature"], "loss": ["strategy", "architecture", "augmentation"]}
    for after, cell in cells.iterrows():
        if cell["strategy"] != baseline:
            alike = (cells[same["strategy"]] == cell[same["strategy"]]).all(axis=1) & (cells["strategy"] == baseline)
            found += [("strategy", before, after, f"{cell['strategy']} - {baseline}") for before in cells.index[alike]]
        if cell["loss"] != "lce":
            alike = (cells[same["loss"]] == cell[same["loss"]]).all(axis=1) & (cells["loss"] == "lce")
            found += [("loss", before, after, f"{cell['loss']} - lce") for before in cells.index[alike]]
    return found


def costs(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return the cost of every cell and seed, from the manifests of what it was made of.

    Mining and teacher scores are shared by the cells that use them; a cell's row carries what they cost in full, because a cell alone
    would have paid it. What a teacher's own training cost is part of its scores.
    """
    rows = []
    for cell in plan.cells:
        for seed, student in cell.students.items():
            trained = pipeline.store.manifest(student)
            scores = params.ScoresSpec(groups=student.groups, teacher=student.teacher) if student.teacher else None
            evaluations = plan.evaluations(params.StudentSystem(student=student))
            mine = _cost(pipeline, _upstream(student.groups))
            score = _cost(pipeline, _upstream(scores) - _upstream(student.groups)) if scores else (0.0, 0.0)
            evaluate = _cost(pipeline, set(evaluations))
            train = (trained["cost"]["wall_seconds"], trained["cost"]["cpu_seconds"])
            rows.append(
                {
                    "study": plan.study.name,
                    "cell": cell.name,
                    "seed": seed,
                    "identity": identity(student),
                    "manifest": f"store/student/{identity(student)}/manifest.json",
                    **{name: getattr(cell, name) for name in CELL[1:]},
                    "mine_wall_seconds": mine[0],
                    "score_wall_seconds": score[0],
                    "train_wall_seconds": train[0],
                    "evaluate_wall_seconds": evaluate[0],
                    "mine_cpu_seconds": mine[1],
                    "score_cpu_seconds": score[1],
                    "train_cpu_seconds": train[1],
                    "evaluate_cpu_seconds": evaluate[1],
                    "total_cpu_seconds": mine[1] + score[1] + train[1] + evaluate[1],
                    "documents_seen": trained["counts"]["documents_seen"],
                    "tokens_seen": trained["counts"]["tokens_seen"],
                    "peak_memory_mb": trained["cost"]["peak_memory_mb"],
                    "parameters": json.dumps(trained["parameters"], sort_keys=True),
                }
            )
    return pd.DataFrame(rows)


def histories(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return the training losses of every cell and seed: cell, seed, step, documents_seen, loss, learning_rate."""
    parts = [
        pipeline.frame(student, "history").assign(cell=cell.name, seed=seed, loss_name=cell.loss, architecture=cell.architecture)
        for cell in plan.cells
        for seed, student in cell.students.items()
    ]
    return pd.concat(parts, ignore_index=True)


def group_entropies(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return the mean entropies of every strategy's groups under every teacher, over all seeds; empty without a teacher."""
    from rd_utils.entropy import entropies

    specs: dict[str, tuple[str, str, params.ScoresSpec]] = {}
    for cell in plan.cells:
        for student in cell.students.values():
            if student.teacher:
                spec = params.ScoresSpec(groups=student.groups, teacher=student.teacher)
                specs[identity(spec)] = (cell.strategy, cell.teacher, spec)
    parts = [entropies(pipeline.group_scores(spec)).assign(strategy=strategy, teacher=teacher) for strategy, teacher, spec in specs.values()]
    columns = ["strategy", "teacher", "pairwise_entropy", "positive_entropy", "listwise_entropy"]
    if not parts:
        return pd.DataFrame(columns=columns)
    return pd.concat(parts).groupby(["strategy", "teacher"], sort=False)[columns[2:]].mean().reset_index()[columns]


def judged(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return, for each test collection and first stage, the counts of judged and unjudged queries of the first baseline's run."""
    rows = []
    for keys, system in _systems(plan):
        if keys["system"] == "bm25":
            for spec in plan.evaluations(system):
                counts = pipeline.store.manifest(spec)["counts"]
                rows.append({"test_collection": spec.collection.label, "first_stage": spec.first_stage.label} | counts)
    return pd.DataFrame(rows).drop(columns="pairs_scored", errors="ignore")


def _systems(plan: Plan) -> list[tuple[dict[str, Any], Any]]:
    """Return every row of the study with its keys: baselines first, then the cells seed by seed."""
    study = {"study": plan.study.name, "collection": plan.study.collections.train.label}
    rows: list[tuple[dict[str, Any], Any]] = []
    for row in plan.baselines:
        keys = study | {"cell": row.name, "system": row.system, "strategy": "", "teacher": row.teacher, "loss": ""}
        keys |= {"architecture": row.architecture, "augmentation": "none", "temperature": 1.0}
        rows += [(keys | {"seed": seed}, system) for seed, system in row.systems.items()]
    for cell in plan.cells:
        keys = study | {"cell": cell.name, "system": "student"} | {name: getattr(cell, name) for name in CELL[1:]}
        rows += [(keys | {"seed": seed}, params.StudentSystem(student=student)) for seed, student in cell.students.items()]
    return rows


def _upstream(spec: Any) -> set[Any]:
    """Return an artefact and all that it was made from."""
    return {spec} | set(chain.from_iterable(_upstream(part) for part in inputs(spec).values()))


def _cost(pipeline: Pipeline, specs: set[Any]) -> tuple[float, float]:
    """Return the wall and CPU seconds that artefacts took."""
    costs = [pipeline.store.manifest(spec)["cost"] for spec in specs]
    return round(sum(c["wall_seconds"] for c in costs), 3), round(sum(c["cpu_seconds"] for c in costs), 3)

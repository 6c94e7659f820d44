"""A study's tables, from its finished artefacts: results, measures per query, summary over seeds, paired differences, cost.

Everything that an analysis notebook shows starts here; nothing is parsed from a file name, and a missing artefact is an error.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rd_utils import params, stats
from rd_utils.pipeline import Pipeline
from rd_utils.plan import Plan
from rd_utils.progress import LOGGER
from rd_utils.store import identity, inputs, upstream

DIMENSIONS = ["strategy", "teacher", "loss", "architecture", "augmentation", "cut", "temperature", "target_entropy"]
CELL = ["system", *DIMENSIONS]
RESULT_COLUMNS = ["study", "cell", "system", "collection", *DIMENSIONS, "seed", "test_collection", "first_stage", "measure", "value"]


def per_query(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return every measure of every query: the columns of ``results.parquet`` and query_id."""
    frames = []
    for keys, system in _systems(plan):
        for spec in plan.evaluations(system, keys["collection"]):
            frame = pipeline.frame(spec, "per_query")
            frames.append(frame.assign(**keys, test_collection=spec.collection.label, first_stage=spec.first_stage.label))
    columns = [*RESULT_COLUMNS[:-2], "query_id", "measure", "value"]
    table = pd.concat(frames, ignore_index=True)[columns]
    twice = table.duplicated(["cell", "collection", "seed", "test_collection", "first_stage", "query_id", "measure"])
    if twice.any():
        raise ValueError(f"{int(twice.sum())} rows of per_query stand twice, the first is {table[twice].iloc[0].to_dict()}")
    return table


def results(per_query: pd.DataFrame) -> pd.DataFrame:
    """Average over the judged queries: one row a cell, seed, test collection, first stage and measure."""
    keys = RESULT_COLUMNS[:-1]
    return per_query.groupby(keys, sort=False, dropna=False)["value"].mean().reset_index()[RESULT_COLUMNS]


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """Return the mean, and the standard deviation over seeds (n - 1; NaN with one seed), of every cell, measure by measure."""
    keys = ["collection", "test_collection", "first_stage", "measure", "cell", *CELL]
    grouped = results.groupby(keys, sort=False, dropna=False)["value"]
    return grouped.agg(mean="mean", sd="std", n_seeds="size").reset_index()


def differences(per_query: pd.DataFrame, settings: params.AnalysisSettings) -> pd.DataFrame:
    """Compare cells pairwise over queries, on values averaged over seeds.

    Families of contrasts, each between cells that differ in one thing only:

    - every strategy against ``settings.baseline_strategy``;
    - every distillation loss against LCE, which has no teacher and no temperature;
    - every augmentation against none, every part of the queries against all of them, every teacher against the study's first, and every
      temperature against 1.

    Returns:
        One row a contrast, test collection and first stage: the difference with its interval, p-values, the same corrected by Holm over
        each family within a test collection and first stage (``p_holm``, ``p_equivalence_holm``), and the verdict, which rests on the
        corrected ones: different where p_holm, equivalent (TOST at ``settings.equivalence_margin``) where p_equivalence_holm is below
        ``settings.alpha``. The smallest margin that the data could have proved is of the contrast alone. Cells whose seeds differ are not
        compared; ``attrs["skipped"]`` counts them. Empty where a study has nothing to contrast.
    """
    trained = per_query[(per_query["system"] == "student") & (per_query["measure"] == settings.measure)]
    means = stats.seed_mean(trained[["cell", "collection", "test_collection", "first_stage", "query_id", "seed", "value"]])
    cells = trained.drop_duplicates("cell").set_index("cell")[DIMENSIONS]
    seeds = trained.groupby("cell")["seed"].agg(lambda values: tuple(sorted(set(values))))
    contrasts = _contrasts(cells, settings.baseline_strategy)
    rows, skipped = [], 0
    for (trained_on, collection, stage), frame in means.groupby(["collection", "test_collection", "first_stage"], sort=False):
        values = {name: part.set_index(["test_collection", "query_id"])["value"] for name, part in frame.groupby("cell")}
        for family, before, after, contrast in contrasts:
            if before not in values or after not in values:
                continue
            if seeds[before] != seeds[after]:
                skipped += 1
                continue
            found = stats.paired_difference(
                values[before],
                values[after],
                level=settings.level,
                equivalence_margin=settings.equivalence_margin,
                alpha=settings.alpha,
            )
            where = {"collection": trained_on, "test_collection": collection, "first_stage": stage, "measure": settings.measure}
            rows.append(
                where
                | {"family": family, "contrast": contrast}
                | cells.loc[after].to_dict()
                | {"cell_before": before, "cell_after": after, "equivalence_margin": settings.equivalence_margin}
                | found._asdict()
            )
    if not rows:
        names = ["collection", "test_collection", "first_stage", "measure", "family", "contrast", "difference", "verdict"]
        return pd.DataFrame(columns=names)
    table = pd.DataFrame(rows)
    for raw, corrected in (("p_difference", "p_holm"), ("p_equivalence", "p_equivalence_holm")):
        table[corrected] = np.nan
        for _, part in table.groupby(["collection", "test_collection", "first_stage", "family"], sort=False):
            table.loc[part.index, corrected] = stats.holm(part[raw].to_numpy())
    table["different"] = table["p_holm"] < settings.alpha
    table["equivalent"] = table["p_equivalence_holm"] < settings.alpha
    names = {(True, True): "both", (True, False): "different", (False, True): "equivalent", (False, False): "undecided"}
    table["verdict"] = [names[pair] for pair in zip(table["different"], table["equivalent"], strict=True)]
    table.attrs["skipped"] = skipped
    return table


def _contrasts(cells: pd.DataFrame, baseline: str) -> list[tuple[str, str, str, str]]:
    """Return (family, cell before, cell after, label) of cells that differ in one thing."""
    comparable = cells.fillna({"target_entropy": 0.0})
    teachers = [teacher for teacher in dict.fromkeys(cells["teacher"]) if teacher]
    of_teacher = {"teacher", "temperature", "target_entropy"}
    families = {  # dimension -> the value compared with, and what else may differ
        "strategy": (baseline, set()),
        "loss": ("lce", of_teacher),
        "augmentation": ("none", set()),
        "cut": ("all", set()),
        "teacher": (teachers[0] if teachers else "", {"temperature"} if comparable["target_entropy"].any() else set()),
        "temperature": (1.0, set()),
    }
    found = []
    for family, (value, free) in families.items():
        same = [name for name in DIMENSIONS if name != family and name not in free]
        before = {tuple(row[name] for name in same): cell for cell, row in comparable.iterrows() if row[family] == value}
        for after, cell in comparable.iterrows():
            alike = before.get(tuple(cell[name] for name in same))
            if alike is not None and cell[family] != value and (family in ("loss", "strategy") or cell[family] != ""):
                shown = f"{cell[family]:g} - {value:g}" if family == "temperature" else f"{cell[family]} - {value}"
                found.append((family, alike, after, shown))
    return found


def across(differences: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Return each contrast over the collections of a study: what a conclusion rests on where a collection's own seed moves single cells.

    Returns:
        One row a contrast and first stage: ``n_collections``, ``mean`` and ``sd`` of the differences over collections, Student's t interval
        ``low``, ``high`` over them (NaN with one collection), ``n_positive``, and how many of the collections' verdicts call it
        ``different`` and ``equivalent``.
    """
    from scipy.stats import t

    keys = ["first_stage", "measure", "family", "contrast", *DIMENSIONS]
    table = differences.groupby(keys, sort=False, dropna=False).agg(
        n_collections=("difference", "size"),
        mean=("difference", "mean"),
        sd=("difference", "std"),
        n_positive=("difference", lambda values: int((values > 0).sum())),
        different=("different", "sum"),
        equivalent=("equivalent", "sum"),
    )
    half = t.ppf((1 + level) / 2, np.maximum(table["n_collections"] - 1, 1)) * table["sd"] / np.sqrt(table["n_collections"])
    return table.assign(low=table["mean"] - half, high=table["mean"] + half).reset_index()


def best(summary: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return the trained cell with the highest mean of a measure, per test collection and first stage."""
    trained = summary[(summary["measure"] == measure) & (summary["system"] == "student")]
    ordered = trained.sort_values("mean", ascending=False, kind="stable")
    return ordered.groupby(["collection", "test_collection", "first_stage"], sort=False).head(1)


def costs(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return the cost of every cell and seed, from the manifests of what it was made of.

    Mining and teacher scores are shared by the cells that use them; a cell's row carries what they cost in full, as a cell alone would have
    paid it. A pair is scored once however many groups it stands in, so a cell's scores are charged by the pair, at the mean cost of the
    pairs that this teacher did score for the study. What a teacher's own training cost is part of its scores; a student's lexicon and token
    tables are part of its training.
    """
    rates = _scoring_rates(plan, pipeline)
    rows = []
    for cell in plan.cells:
        for seed, student in cell.students.items():
            trained = pipeline.store.manifest(student)
            scores = params.ScoresSpec(groups=student.groups, teacher=student.teacher) if student.teacher else None
            evaluations = plan.evaluations(params.StudentSystem(student=student), cell.collection)
            groups = upstream(student.groups) | {identity(student.groups): student.groups}
            mine = _cost(pipeline, groups)
            texts = {key: spec for key, spec in upstream(student).items() if spec.stage in ("lexicon", "tokens")}
            score = (0.0, 0.0)
            if scores:
                pairs, rate = pipeline.store.manifest(scores)["counts"]["pairs"], rates[student.teacher]
                teacher = _cost(pipeline, {key: spec for key, spec in upstream(scores).items() if key not in groups | texts})
                score = (round(teacher[0] + pairs * rate[0], 3), round(teacher[1] + pairs * rate[1], 3))
            evaluate = _cost(pipeline, {identity(spec): spec for spec in evaluations})
            train = _cost(pipeline, texts | {identity(student): student})
            rows.append(
                {
                    "study": plan.study.name,
                    "cell": cell.name,
                    "collection": cell.collection,
                    "seed": seed,
                    "identity": identity(student),
                    "manifest": f"store/student/{identity(student)}/manifest.json",
                    **{name: getattr(cell, name) for name in DIMENSIONS},
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


def _scoring_rates(plan: Plan, pipeline: Pipeline) -> dict[Any, tuple[float, float]]:
    """Return the wall and CPU seconds that each teacher's scored pairs took on average; 0 where another study scored them all."""
    specs = {
        params.ScoresSpec(groups=student.groups, teacher=student.teacher)
        for cell in plan.cells
        for student in cell.students.values()
        if student.teacher
    }
    rates = {}
    for teacher in {spec.teacher for spec in specs}:
        manifests = [pipeline.store.manifest(spec) for spec in specs if spec.teacher == teacher]
        manifests = [manifest for manifest in manifests if manifest["counts"]["pairs_scored_now"]]
        scored = max(1, sum(manifest["counts"]["pairs_scored_now"] for manifest in manifests))
        rates[teacher] = tuple(sum(m["cost"][f"{kind}_seconds"] for m in manifests) / scored for kind in ("wall", "cpu"))
    return rates


def histories(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return the training losses of every cell and seed: cell, seed, step, documents_seen, loss, learning_rate."""
    parts = [
        pipeline.frame(student, "history").assign(cell=cell.name, collection=cell.collection, seed=seed)
        for cell in plan.cells
        for seed, student in cell.students.items()
    ]
    return pd.concat(parts, ignore_index=True)


def learning_rates(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return what every search of the study tried: architecture, loss, learning_rate, the measure on validation queries, chosen."""
    searches = {
        identity(params.search_spec(student)): params.search_spec(student)
        for cell in plan.cells
        for student in cell.students.values()
        if student.search
    }
    frames = [
        pipeline.frame(search, "search").assign(architecture=search.candidates[0].architecture.kind, loss=search.candidates[0].loss)
        for search in searches.values()
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["architecture", "loss", "learning_rate", "chosen"])


def descriptions(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return what every cell's groups are like, before and after augmentation and temperature, averaged over groups and then seeds.

    Returns:
        One row a collection, strategy, teacher, augmentation, part of the queries, temperature and state (``before``, ``after``): means of
        the diameters (``diameter_q99`` also as median and 0.99-quantile), the entropies, the median ``density_ratio``, and ``coverage``
        of the relevant test documents. Empty without a ``reference``.
    """
    keys = ["collection", "strategy", "teacher", "augmentation", "cut", "temperature", "target_entropy", "state"]
    rows, seen = [], set()
    for cell in plan.cells:
        for seed, student in cell.students.items():
            spec = plan.description(cell, student)
            if spec is None or identity(spec) in seen:
                continue
            seen.add(identity(spec))
            counts = pipeline.manifest(spec)["counts"]
            coverage = np.mean([value for name, value in counts.items() if name.startswith("coverage ")] or [np.nan])
            for state, frame in pipeline.frame(spec, "description").groupby("state", sort=False):
                about = {name: getattr(cell, name) for name in keys[:-1]} | {"state": state, "seed": seed}
                measured = frame.drop(columns=["query_id", "state", "density_ratio"]).mean().to_dict()
                measured |= {"diameter_median": frame["diameter_q99"].median(), "diameter_high": frame["diameter_q99"].quantile(0.99)}
                measured |= {"density_ratio": frame["density_ratio"].median(), "coverage": coverage}
                rows.append(about | measured | {"solved_temperature": counts["temperature"]})
    if not rows:
        return pd.DataFrame(columns=keys)
    return pd.DataFrame(rows).groupby(keys, sort=False, dropna=False).mean(numeric_only=True).drop(columns="seed").reset_index()


def group_entropies(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return the mean entropies of every strategy's groups under every teacher, over all seeds; empty without a teacher."""
    from rd_utils.entropy import entropies

    specs: dict[str, tuple[str, str, params.ScoresSpec]] = {}
    for cell in plan.cells:
        for student in cell.students.values():
            if student.teacher:
                spec = params.ScoresSpec(groups=student.groups, teacher=student.teacher)
                specs.setdefault(identity(spec), (_groups_name(cell, student.groups), cell.teacher, spec))
    parts = [
        entropies(pipeline.group_scores(spec)).assign(strategy=strategy, teacher=teacher) for strategy, teacher, spec in specs.values()
    ]
    columns = ["strategy", "teacher", "pairwise_entropy", "positive_entropy", "listwise_entropy"]
    if not parts:
        return pd.DataFrame(columns=columns)
    return pd.concat(parts).groupby(["strategy", "teacher"], sort=False)[columns[2:]].mean().reset_index()[columns]


def groups_made(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return how many groups each strategy and seed has, and what was dropped or filled: where these differ, students saw other queries."""
    rows, seen = [], set()
    for cell in plan.cells:
        for seed, student in cell.students.items():
            if identity(student.groups) not in seen:
                seen.add(identity(student.groups))
                manifest = pipeline.store.manifest(student.groups)
                about = {"collection": cell.collection, "strategy": _groups_name(cell, student.groups), "seed": seed}
                rows.append(about | manifest["counts"] | manifest["dropped"])
    return pd.DataFrame(rows)


def _groups_name(cell: Any, groups: params.GroupsSpec) -> str:
    """Return what a table calls a cell's groups: the strategy, and what else the groups themselves were changed by."""
    parts = [cell.strategy, cell.augmentation if groups.random_share else "", cell.cut if groups.cut else ""]
    return " ".join(part for part in parts if part)


def judged(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return, for each test collection and first stage, the counts of judged and unjudged queries of the first baseline's run."""
    rows = []
    for keys, system in _systems(plan):
        if keys["system"] == "first_stage":
            for spec in plan.evaluations(system, keys["collection"]):
                counts = pipeline.store.manifest(spec)["counts"]
                rows.append({"test_collection": spec.collection.label, "first_stage": spec.first_stage.label} | counts)
    return pd.DataFrame(rows).drop(columns="pairs_scored", errors="ignore")


def _systems(plan: Plan) -> list[tuple[dict[str, Any], Any]]:
    """Return every row of the study with its keys: baselines first, then the cells seed by seed."""
    rows: list[tuple[dict[str, Any], Any]] = []
    blank = dict.fromkeys(DIMENSIONS, "") | {"augmentation": "none", "cut": "all", "temperature": 1.0, "target_entropy": float("nan")}
    for row in plan.baselines:
        keys = {"study": plan.study.name, "collection": plan.labels[row.pair], "cell": row.name, "system": row.system} | blank
        keys |= {"teacher": row.teacher, "architecture": row.architecture}
        rows += [(keys | {"seed": seed}, system) for seed, system in row.systems.items()]
    for cell in plan.cells:
        keys = {"study": plan.study.name, "collection": cell.collection, "cell": cell.name, "system": "student"}
        keys |= {name: getattr(cell, name) for name in DIMENSIONS}
        rows += [(keys | {"seed": seed}, params.StudentSystem(student=student)) for seed, student in cell.students.items()]
    return rows


def _cost(pipeline: Pipeline, specs: dict[str, Any]) -> tuple[float, float]:
    """Return the wall and CPU seconds that artefacts took."""
    costs = [pipeline.store.manifest(spec)["cost"] for spec in specs.values()]
    return round(sum(c["wall_seconds"] for c in costs), 3), round(sum(c["cpu_seconds"] for c in costs), 3)


# --- what single notebooks show ---------------------------------------------------------------------------------------------------


def evaluate(parameters: params.EvaluateParameters, pipeline: Pipeline) -> pd.DataFrame:
    """Evaluate what an evaluation notebook names; one row a system, seed, test collection, first stage, query and measure."""
    frames = []
    names = {identity(student): name for (name, _), student in parameters.students().items()}
    for spec in parameters.evaluations():
        system = spec.system
        label = system.retriever.label if system.kind == "first_stage" else system.kind
        label = names[identity(system.student)] if system.kind == "student" else label
        seed = system.student.seed if system.kind == "student" else getattr(system, "seed", -1)
        about = {"row": label, "seed": seed, "test_collection": spec.collection.label, "first_stage": spec.first_stage.label}
        frames.append(pipeline.frame(spec, "per_query").assign(**about))
    columns = ["row", "seed", "test_collection", "first_stage", "query_id", "measure", "value"]
    return pd.concat(frames, ignore_index=True)[columns]


def mean_table(values: pd.DataFrame, index: list[str], digits: int = 3) -> pd.DataFrame:
    """Average over queries and then seeds; rows ``index``, columns measures, rounded."""
    per_seed = values.groupby([*index, "seed", "measure"], sort=False)["value"].mean()
    table = per_seed.groupby([*index, "measure"], sort=False).mean().unstack("measure", sort=False).round(digits)
    return table.sort_index(level=index[:-1], sort_remaining=False) if len(index) > 1 else table


def true_grades(pipeline: Pipeline, spec: params.GroupsSpec) -> np.ndarray:
    """Return the true grade of every document of every group, (n_groups, group_size): known for the embedded collection only.

    Raises:
        ValueError: for any other collection, whose unjudged documents nobody graded.
    """
    collection = spec.collection
    if collection.source != "embedded":
        raise ValueError(f"the true grades of {collection.label!r} are unknown; only the embedded collection knows them")
    from rd_utils import synthetic

    generated = synthetic.generate(collection.profile, collection.world, collection.seed)
    every = pd.Index(generated.queries[collection.split]["query_id"])
    query_rows, doc_rows = pipeline.group_rows(spec)
    rows = every.get_indexer(pd.Index(pipeline.queries(collection)["query_id"]))
    return generated.grades(collection.split)[rows[query_rows][:, None], doc_rows]


def negative_ranks(pipeline: Pipeline, spec: params.GroupsSpec) -> pd.DataFrame:
    """Return the candidate rank of every negative of a strategy that draws from candidates: query_id, doc_id, rank."""
    candidates = pipeline.candidates(inputs(spec)["candidates"])
    candidates = candidates.assign(rank=candidates.groupby("query_id").cumcount() + 1)
    groups = pipeline.groups(spec)
    negatives = groups.assign(doc_id=groups["doc_ids"].map(lambda ids: list(ids)[1:])).explode("doc_id")[["query_id", "doc_id"]]
    return negatives.merge(candidates[["query_id", "doc_id", "rank"]], how="left", on=["query_id", "doc_id"])


# --- the study's folder -----------------------------------------------------------------------------------------------------------


def write(
    plan: Plan,
    pipeline: Pipeline,
    per_query: pd.DataFrame,
    results: pd.DataFrame,
    summary: pd.DataFrame,
    differences: pd.DataFrame,
    costs: pd.DataFrame,
    entropies: pd.DataFrame,
    charts: dict[str, Any],
) -> list[Path]:
    """Write a study's tables, charts and report into its folder.

    Args:
        plan: the study.
        pipeline: where its artefacts lie.
        per_query: of :func:`per_query`; likewise the other tables.
        results: see there.
        summary: see there.
        differences: see there.
        costs: see there.
        entropies: see there.
        charts: Altair charts by name, as the notebook showed them.

    Returns:
        The files written, but for the charts.
    """
    from rd_utils import report

    folder = plan.folder
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"results": results, "per_query": per_query, "cells": costs, "summary": summary, "differences": differences}
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)
    for name, chart in charts.items():
        report.save_chart(chart, folder / "charts" / _file_name(name))
    page = report.html_report(
        _sections(plan, pipeline, summary, differences, costs, entropies, charts),
        f"Study {plan.study.name}",
        folder / "report.html",
        study=plan.study.name,
        identity=plan.report_version,
        about=plan.study.question,
    )
    record = {"study": plan.study.name, "report_version": plan.report_version, "parameters": plan.study.model_dump(mode="json")}
    (folder / "study.json").write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
    LOGGER.info("wrote %s", page)
    return [folder / f"{name}.parquet" for name in tables] + [page]


def _sections(
    plan: Plan,
    pipeline: Pipeline,
    summary: pd.DataFrame,
    differences: pd.DataFrame,
    costs: pd.DataFrame,
    entropies: pd.DataFrame,
    charts: dict[str, Any],
) -> list[Any]:
    from rd_utils.report import Figure, Section, Table, cells_table, differences_table, main_table

    study, settings = plan.study, plan.study.analysis
    collections = list(dict.fromkeys(summary["test_collection"]))
    measures = study.evaluation.measures
    seeds = sorted({seed for cell in plan.cells for seed in cell.students})

    def figures(start: str, caption: str) -> list[Any]:
        return [Figure(chart, f"{caption} ({name})") for name, chart in charts.items() if name.startswith(start)]

    sections = [
        Section(
            "What was run",
            [
                f"{len(plan.cells)} cells (strategy x teacher x loss x architecture x temperature) with the seeds "
                f"{', '.join(map(str, seeds))}: "
                f"{sum(len(cell.students) for cell in plan.cells)} students, trained on `{study.collections.train.label}` in groups of "
                f"{study.group_size} (one positive), tested on {', '.join(f'`{name}`' for name in collections)}.",
                "A seed draws the groups, the initial weights and the order of training, so the spread over seeds holds all three.",
                "First stages: " + ", ".join(f"`{stage.label}`" for stage in plan.first_stages) + ". `full` searches the whole collection "
                "and is for BM25 and bi-encoders; the others re-rank the named candidates. Every list is cut at the first stage's depth.",
            ],
            [
                Table(groups_made(plan, pipeline), "Training groups. Where strategies differ in queries, students saw different ones."),
                Table(judged(plan, pipeline), "Test queries: judged ones are averaged over, unjudged ones only counted."),
            ],
        ),
        Section(
            "Effectiveness",
            [
                f"Mean and standard deviation over seeds, of means over the judged queries. "
                f"The measure that is compared below is {settings.measure}."
            ],
            [
                *(
                    Table(main_table(summary, measures=measures, test_collection=name), f"All systems on {name}.", highlight=True)
                    for name in collections
                ),
                *figures("effectiveness", "Means as large marks, seeds as small ones, baselines as lines"),
            ],
        ),
        Section(
            "Differences",
            [
                "Cells that differ in one thing only, compared query by query on values averaged over seeds. Intervals are "
                "Student's t over "
                f"queries at level {settings.level:g}; they do not hold the variance over seeds, and are not corrected. Verdicts rest "
                "on p-values that Holm's method corrects within each family, test collection and first stage, so an interval that just "
                "excludes 0 may stand beside the verdict undecided.",
                f"{differences.attrs.get('skipped', 0)} contrasts were left out because their cells have different seeds.",
                f"Equivalence is TOST with the margin {settings.equivalence_margin:g} that the study's file fixed: both one-sided "
                "tests must "
                f"reject at {settings.alpha:g}. The smallest margin is the one that these data could just have proved. Equivalence is not "
                "transitive: read each row by itself.",
            ],
            [
                *figures("differences", "Differences with intervals; the band is the equivalence margin"),
                *([Table(differences_table(differences), "Every contrast.")] if len(differences) else []),
            ],
        ),
        Section(
            "Cost",
            [
                "What a cell would have paid alone: mining, teacher scores (with the teacher's own training), training, evaluation, in CPU "
                "seconds of the machine in its manifests. The study itself paid shared parts once."
            ],
            figures("cost", "Effectiveness against cost; the line joins the cells that no cheaper cell reaches"),
        ),
        Section(
            "Teachers and training",
            ["Pairwise, positive and listwise entropy order strategies differently; each bar says which it is."],
            [
                *([Table(entropies, "Mean entropies of the teachers over the training groups.")] if len(entropies) else []),
                *figures("entropy", "Mean entropies"),
                *figures("losses", "Training loss by step; each loss has a unit of its own"),
            ],
        ),
        Section(
            "Where each number comes from",
            ["A student's identity is the name of its folder; its manifest holds parameters, inputs, versions, cost and checksums."],
            [
                Table(
                    cells_table(costs, manifest="../store/student/{identity}/manifest.json"),
                    "Cells, seeds and manifests.",
                    links=("manifest",),
                )
            ],
        ),
    ]
    return sections


def _file_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")

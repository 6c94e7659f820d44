"""A study's folder: its tables, charts and report, written from what the analysis notebook computed and showed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

from rd_utils import report
from rd_utils.analysis import ROWS_SHOWN, judged
from rd_utils.characteristics import groups_made
from rd_utils.pipeline import Pipeline
from rd_utils.plan import DIMENSIONS, Plan
from rd_utils.progress import LOGGER
from rd_utils.report import Figure, Section, Table


def write(plan: Plan, pipeline: Pipeline, tables: dict[str, pd.DataFrame], charts: dict[str, Any]) -> list[Path]:
    """Write a study's tables, charts and report into its folder.

    Args:
        plan: the study.
        pipeline: where its artefacts lie.
        tables: results, per_query, summary, differences and cells (of :func:`costs`); and, where the study has them, across,
            learning_rates, descriptions, entropies, variance (of :func:`two_way`) and strategy_spread.
        charts: Altair charts by name, as the notebook showed them; a name's first word says which section shows it.

    Returns:
        The files written, but for the charts; a table without rows is not written.

    Raises:
        ValueError: a table that every study has is missing.
    """
    needed = ("results", "per_query", "summary", "differences", "cells")
    if missing := [name for name in needed if name not in tables]:
        raise ValueError(f"tables lacks {', '.join(missing)}; expected {', '.join(needed)} and what else the study has")
    folder = plan.folder
    folder.mkdir(parents=True, exist_ok=True)
    written = {name: table for name, table in tables.items() if len(table) or name in needed}
    for name, table in written.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)
    for name, chart in charts.items():
        report.save_chart(chart, folder / "charts" / _file_name(name))
    page = report.html_report(
        [section for section in _sections(plan, pipeline, written, charts) if section.blocks],
        f"Study {plan.study.name}",
        folder / "report.html",
        study=plan.study.name,
        identity=plan.report_version,
        about=plan.study.question,
    )
    record = {"study": plan.study.name, "report_version": plan.report_version, "parameters": plan.study.model_dump(mode="json")}
    (folder / "study.json").write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
    LOGGER.info("wrote %s", page)
    return [folder / f"{name}.parquet" for name in written] + [page]


def _sections(plan: Plan, pipeline: Pipeline, tables: dict[str, pd.DataFrame], charts: dict[str, Any]) -> list[Any]:
    """Return the report's sections; one without a table or figure is not shown."""
    study, settings = plan.study, plan.study.analysis
    summary, differences = tables["summary"], tables["differences"]
    pairs = list(dict.fromkeys(zip(summary["collection"], summary["test_collection"], strict=True)))

    def figures(start: str, caption: str) -> list[Any]:
        return [Figure(chart, f"{caption} ({name})") for name, chart in charts.items() if name.split()[0] == start]

    def table(name: str, show: Any, caption: str) -> list[Any]:
        return [Table(show(tables[name]), caption)] if name in tables and len(tables[name]) else []

    skipped, shown = differences.attrs.get("skipped", 0), len(differences) <= ROWS_SHOWN
    rates = tables.get("learning_rates", pd.DataFrame(columns=["search", "at_end"]))
    return [
        Section(
            "What was run",
            _what_was_run(plan),
            [
                Table(
                    _mean_over_seeds(groups_made(plan, pipeline)),
                    "Training groups, means over seeds. Where strategies differ in queries, students saw different ones.",
                    digits=1,
                ),
                Table(judged(plan, pipeline), "Test queries: judged ones are averaged over, unjudged ones only counted."),
            ],
        ),
        Section(
            "Learning rates",
            [
                f"Chosen on validation queries, once for each loss and architecture, for all strategies alike: {rates['search'].nunique()} "
                f"searches. In {int(rates['at_end'].sum())} of them the first or the last rate was best, so a better one may lie beyond "
                "it. Neighbouring rates are often equal for all that the validation queries can tell."
            ],
            [
                *figures("rates", "What each rate reached; the large mark is the one taken"),
                *table("learning_rates", lambda frame: report.search_table(frame, study.search.measure), "Every rate that was tried."),
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
                    Table(
                        report.main_table(summary, measures=study.evaluation.measures, collection=train, test_collection=test),
                        f"All systems on {test}" + (f", trained on {train}." if len(pairs) > 1 else "."),
                        highlight=True,
                    )
                    for train, test in pairs
                ),
                *figures("effectiveness", "Means as large marks, seeds as small ones, baselines as lines"),
                *table(
                    "strategy_spread",
                    lambda frame: report.spread_table(frame, settings.measure),
                    "How far the strategies' means lie apart: highest minus lowest, and their standard deviation.",
                ),
            ],
        ),
        Section(
            "Differences",
            [
                "Cells that differ in one thing only, compared query by query on values averaged over seeds. Intervals are Student's t "
                f"over queries at level {settings.level:g}; they do not hold the variance over seeds, and are not corrected. Verdicts rest "
                "on p-values that Holm's method corrects within each family, collection and first stage, so an interval that just excludes "
                "0 may stand beside the verdict undecided.",
                f"{skipped} contrasts were left out because their cells have different seeds.",
                f"Equivalence is TOST with the margin {settings.equivalence_margin:g} that the study's file fixed: both one-sided tests "
                f"must reject at {settings.alpha:g}. The smallest margin is the one that these data could just have proved. Equivalence is "
                "not transitive: read each row by itself.",
                *([] if shown else [f"The {len(differences):,} contrasts are in `differences.parquet`, too many to print."]),
            ],
            [
                *figures("differences", "Differences with intervals; the band is the equivalence margin"),
                *(table("differences", report.differences_table, "Every contrast.") if shown else []),
            ],
        ),
        Section(
            "Across collections",
            [
                "The same contrasts, each collection counting once. What a collection happens to hold moves single cells more than the "
                "seed of their training does, so a conclusion about strategies or losses rests on these means and their t intervals over "
                f"collections at level {settings.level:g}. They are not corrected for their number."
            ],
            [
                *figures("across", "Mean differences over collections with intervals"),
                *table("across", report.across_table, "Every contrast over the collections."),
            ]
            if len(pairs) > 1
            else [],
        ),
        Section(
            "Strategy and entropy as factors",
            [
                "Strategies, crossed with temperatures that fix the teacher's entropy, make a factorial; where each strategy fixes the "
                "diameter of its groups, one of locality and entropy. Its variance splits into what the strategy explains, what the "
                "entropy explains, what only both together explain, and what is left to the seeds. Each effect is tested against the seeds."
            ],
            [
                *figures("surface", "Means over seeds"),
                *table(
                    "variance",
                    lambda frame: report.variance_table(frame[frame["measure"] == settings.measure]),
                    f"Shares of the variance of {settings.measure}, with p-values of F tests.",
                ),
            ],
        ),
        Section(
            "Locality and entropy",
            [
                "How wide the groups of each strategy are in one fixed encoder, and how undecided the teacher is about them, before and "
                "after what augmentation and temperature do. Pairwise, positive and listwise entropy order strategies differently; each "
                "axis and column says which it is."
            ],
            [
                *figures("locality", "Diameter and entropy of the training groups; a line leads from before to after augmentation"),
                *table("descriptions", report.description_table, "Means over groups and seeds; the density ratio is a median."),
                *figures("entropy", "Mean entropies"),
                *table("entropies", lambda frame: frame, "Mean entropies of the teachers over the training groups."),
            ],
        ),
        Section(
            "Cost",
            [
                "What a cell would have paid alone: mining, teacher scores (with the teacher's own training), training (with the search of "
                "its learning rate), evaluation, in CPU seconds of the machine in its manifests. The study itself paid shared parts once."
            ],
            figures("cost", "Effectiveness against cost; the line joins the cells that no cheaper cell reaches"),
        ),
        Section(
            "Training",
            ["A loss that still falls steeply at the end says that the budget, not the recipe, decided."],
            figures("losses", "Training loss by step; each loss has a unit of its own"),
        ),
        Section(
            "Where each number comes from",
            ["A student's identity is the name of its folder; its manifest holds parameters, inputs, versions, cost and checksums."],
            [
                Table(
                    report.cells_table(tables["cells"], manifest="../store/student/{identity}/manifest.json"),
                    "Cells, seeds and manifests.",
                    links=("manifest",),
                )
            ],
        ),
    ]


def _what_was_run(plan: Plan) -> list[str]:
    """Return the paragraphs that say what a study trained, where, and from which first stages."""
    students = [student for cell in plan.cells for student in cell.students.values()]
    names = {cell.name for cell in plan.cells}
    seeds = ", ".join(str(seed) for seed in sorted({student.seed for student in students}))
    collections = plan.study.collections
    where = [f"`{pair.train.label}`, tested on {', '.join(f'`{test.label}`' for test in pair.test)}" for pair in collections]
    stages = dict.fromkeys(stage.label for pair in range(len(collections)) for stage in plan.first_stages(pair))
    varied = [name for name in DIMENSIONS if len({str(getattr(cell, name)) for cell in plan.cells if getattr(cell, name) != ""}) > 1]
    return [
        f"{len(names)} cells with the seeds {seeds} on {len(collections)} training collection{'s' if len(collections) > 1 else ''}: "
        f"{len(students):,} students, trained in groups of {plan.study.group_size} (one positive). "
        + (f"Cells differ in {', '.join(varied).replace('_', ' ')}." if varied else ""),
        "Trained on " + "; on ".join(where) + ".",
        "A seed draws the groups, the initial weights and the order of training, so the spread over seeds holds all three.",
        "First stages: " + ", ".join(f"`{label}`" for label in stages) + ". `full` searches the whole collection and is for retrievers and "
        "bi-encoders; the others re-rank the named candidates. Every list is cut at the first stage's depth.",
    ]


def _mean_over_seeds(groups: pd.DataFrame) -> pd.DataFrame:
    """Return the counts of groups, one row a collection and strategy."""
    return groups.groupby(["collection", "strategy"], sort=False).mean(numeric_only=True).drop(columns="seed").reset_index()


def _file_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")

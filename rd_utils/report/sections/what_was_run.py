"""What a study trained, where and from which first stages; its groups and its test queries."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from rd_utils.analysis.characteristics import groups_made
from rd_utils.analysis.tables import judged
from rd_utils.report.findings import Findings
from rd_utils.report.layout import plain
from rd_utils.report.page import Table
from rd_utils.report.sources import paths
from rd_utils.study.plan import DIMENSIONS

ORDER, TITLE = 10, "What was run"


def applies(study: Findings) -> bool:
    """Every study was run."""
    return True


def words(study: Findings) -> list[str]:
    """Say what was trained and on what, what a seed draws, and what the first stages are."""
    plan, collections = study.plan, study.plan.study.collections
    students = [student for cell in plan.cells for student in cell.students.values()]
    seeds = ", ".join(str(seed) for seed in sorted({student.seed for student in students}))
    where = [f"`{pair.train.label}`, tested on {', '.join(f'`{test.label}`' for test in pair.test)}" for pair in collections]
    stages = dict.fromkeys(stage.label for pair in range(len(collections)) for stage in plan.first_stages(pair))
    varied = [name for name in DIMENSIONS if len({str(getattr(cell, name)) for cell in plan.cells if getattr(cell, name) != ""}) > 1]
    return [
        f"{len({cell.name for cell in plan.cells})} cells with the seeds {seeds} on {len(collections)} training "
        f"collection{'s' if len(collections) > 1 else ''}: {len(students):,} students, trained in groups of {plan.study.group_size} (one "
        "positive). " + (f"Cells differ in {', '.join(varied).replace('_', ' ')}." if varied else ""),
        "Trained on " + "; on ".join(where) + ".",
        "A seed draws the groups, the initial weights and the order of training, so the spread over seeds holds all three.",
        "First stages: " + ", ".join(f"`{label}`" for label in stages) + ". `full` searches the whole collection and is for retrievers and "
        "bi-encoders; the others re-rank the named candidates. Every list is cut at the first stage's depth.",
    ]


def blocks(study: Findings) -> Iterator[Table]:
    """Yield the counts of groups and of test queries."""
    groups = mean_over_seeds(groups_made(study.plan, study.pipeline))
    yield Table(
        plain(groups),
        "Training groups, means over seeds. Where strategies differ in queries, students saw different ones. Filled documents were drawn "
        "by the shortage policy; candidates of which a filter removed none may hold false negatives all the same. A name leads to the "
        "executed notebook that drew the first seed's.",
        digits=1,
        hrefs={"strategy": paths(study.notebooks.mined, groups, "collection", "strategy")},
    )
    tested = judged(study.plan, study.pipeline)
    yield Table(plain(tested), "Test queries: judged ones are averaged over, unjudged ones only counted.")


def mean_over_seeds(groups: pd.DataFrame) -> pd.DataFrame:
    """Return the counts of groups, one row a collection and strategy."""
    names = {"false_negatives": "candidates removed by the filter", "false_negatives_of_the_fill": "removed from the fill"}
    means = groups.groupby(["collection", "strategy"], sort=False).mean(numeric_only=True).drop(columns="seed")
    whole = [name for name in means if (means[name] % 1 == 0).all()]  # a count that all seeds share is no mean to show with a decimal
    means = means.astype(dict.fromkeys(whole, "int64"))
    return means.rename(columns=names).rename(columns=lambda name: name.replace("_", " ")).reset_index()

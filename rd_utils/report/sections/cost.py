"""What a cell would have paid alone, and what effectiveness costs."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from rd_utils.analysis.tables import at
from rd_utils.cost.costs import STAGES
from rd_utils.report.charts import pareto_chart
from rd_utils.report.findings import Findings
from rd_utils.report.in_short import cheapest
from rd_utils.report.layout import plain
from rd_utils.report.page import Figure, Table, figure
from rd_utils.report.sections.effectiveness import DRAWN
from rd_utils.report.sources import paths

ORDER, TITLE = 140, "Cost"
ENDS = {
    "prices": "What the last 0.01 costs: the best cell, and the cheapest at most 0.01 worse.",
    "walk": "Along the frontier, from cheap to dear: what each gain costs, per 0.01.",
}


def applies(study: Findings) -> bool:
    """Every study has paid."""
    return True


def words(study: Findings) -> list[str]:
    """Say what is charged to a cell, and how energy is known."""
    return [
        "What a cell would have paid alone: mining, teacher scores (with the teacher's own training), training (with the search of its "
        "learning rate), evaluation, in CPU seconds of the machine in its manifests; a teacher's pair has one price in seconds, whoever "
        "scored it first. The study itself paid shared parts once. Energy: " + ", ".join(sorted(set(study.cells["energy"]))) + "."
    ]


def blocks(study: Findings) -> Iterator[Table | Figure]:
    """Yield the frontier, means by stage, and the pairs of cells that say what a gain costs; a cell leads to its evaluation."""
    evaluated = study.notebooks.evaluated
    for name, pair in list(study.pairs.items())[:DRAWN]:
        chart = pareto_chart(at(study.points, **pair), measure=study.measure, by=["first_stage"])
        caption = "Effectiveness against cost; the line joins the cells that no cheaper cell reaches; bars: SD over seeds"
        yield figure(f"cost {name}", chart, caption)
    yield Table(cost_table(study.cells), "Means over cells and seeds: CPU seconds by stage, teacher calls, energy.", digits=1)
    if len(study.differences):
        equal = cheapest(study)
        hrefs = {column: paths(evaluated, equal, "collection", column) for column in ("best", "cheapest")}
        caption = (
            f"The cell with the highest mean {study.measure}, and the cheapest that was shown to be equivalent to it; costs in CPU seconds "
            "a seed. `saved` is the share of the best cell's cost that the cheapest saves."
        )
        yield Table(plain(equal), caption, hrefs=hrefs, name="cheapest")
    for name, caption in ENDS.items():
        pairs: pd.DataFrame = getattr(study, name)
        if len(pairs):
            ends = [column for column in ("best", "cheapest", "cheaper", "dearer") if column in pairs]
            yield Table(plain(pairs), caption, hrefs={column: paths(evaluated, pairs, "collection", column) for column in ends})


def cost_table(cells: pd.DataFrame) -> pd.DataFrame:
    """Return mean costs by architecture and strategy."""
    names = {f"{stage}_cpu_seconds": f"{stage} (CPU s)" for stage in STAGES}
    names |= {"total_cpu_seconds": "total (CPU s)", "shared_cpu_seconds": "shared (CPU s)"}
    names |= {"total_teacher_calls": "teacher calls", "total_joules": "energy (J)", "documents_seen": "documents seen"}
    means = cells.groupby(["architecture", "strategy"], sort=False)[list(names)].agg(lambda column: column.mean(skipna=False))
    return means.rename(columns=names).reset_index()

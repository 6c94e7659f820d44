"""Means of every system, per collection and over collections, and how far the strategies' lie apart."""

from __future__ import annotations

from collections.abc import Iterator

from rd_utils.analysis.tables import first_place
from rd_utils.report.charts import cells_chart, effectiveness_chart
from rd_utils.report.findings import Findings
from rd_utils.report.layout import macro_table, main_table, spread_table
from rd_utils.report.page import Figure, Table, figure

ORDER, TITLE = 30, "Effectiveness"
DRAWN = 6  # pairs of collections that have figures of their own
CLICKED = 20_000  # values that a chart to click on can carry


def applies(study: Findings) -> bool:
    """Every study has results."""
    return True


def words(study: Findings) -> list[str]:
    """Say what is averaged, which measure is compared, and how a cell's name reads."""
    return [
        "Mean and standard deviation over seeds, of means over the judged queries. The measure that is compared below is "
        f"{study.measure}. A cell's name reads architecture-strategy-teacher-loss, then its dials; first stages, untrained students and "
        "teachers stand on top. A name leads to the executed notebook that evaluated the first seed."
    ]


def all_systems(collection: str, test_collection: str, pairs: int) -> str:
    """Return the caption of the table of all systems of a pair of collections, of so many; by it the table is found in a report."""
    return f"All systems on {test_collection}" + (f", trained on {collection}." if pairs > 1 else ".")


def blocks(study: Findings) -> Iterator[Table | Figure]:
    """Yield a table of all systems a pair of collections, macro means, charts of cells and queries, and the strategies' spread."""
    for number, pair in enumerate(study.pairs.values()):
        shown = main_table(study.summary, measures=study.plan.study.evaluation.measures, **pair)
        caption = all_systems(pair["collection"], pair["test_collection"], len(study.pairs))
        hrefs = {"cell": [study.notebooks.evaluated.get((pair["collection"], cell), "") for cell in shown.index]}
        # the box above everything refers to the first of these tables
        yield Table(shown, caption, highlight=True, hrefs=hrefs, name="" if number else "effectiveness")
    if len(study.macro):
        shown = macro_table(study.macro, study.measure)
        yield Table(shown, f"Macro {study.measure} over collections, ± SD over collections.", name="macro")
    for name, pair in list(study.pairs.items())[:DRAWN]:
        chart = effectiveness_chart(study.summary, study.results, measure=study.measure, **pair)
        yield figure(f"effectiveness {name}", chart, "Means as large marks, seeds as small ones, baselines as lines")
    values, means = first_place(study.per_query, study.summary, study.measure)
    if len(values) <= CLICKED:
        chart = cells_chart(values, means, measure=study.measure)
        yield figure("queries", chart, "A click on a cell shows its queries against those of all cells; values averaged over seeds")
    if len(study.strategy_spread):
        caption = "How far the strategies' means lie apart: highest minus lowest, and their standard deviation."
        yield Table(spread_table(study.strategy_spread, study.measure), caption, name="strategy_spread")

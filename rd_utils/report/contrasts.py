"""What the sections on contrasts share: which contrasts each of them shows, their charts and their tables."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from rd_utils.analysis.tables import ROWS_SHOWN, at
from rd_utils.report.charts import forest_chart, split_rows
from rd_utils.report.drawing import AGAINST
from rd_utils.report.findings import Findings
from rd_utils.report.layout import DETAILS, differences_table
from rd_utils.report.page import Figure, Table, figure
from rd_utils.report.sections.effectiveness import DRAWN
from rd_utils.report.sources import Notebooks, paths

INTERACTION = "strategy x loss"  # the family of contrasts of gains


def between_cells(differences: pd.DataFrame) -> pd.DataFrame:
    """Return the contrasts of cells that differ in one thing."""
    return differences[~differences["family"].isin([*AGAINST, INTERACTION])]


def forests(study: Findings, contrasts: pd.DataFrame, caption: str) -> Iterator[Figure]:
    """Draw contrasts with their intervals, a figure a pair of collections and part that one can show."""
    for name, pair in list(study.pairs.items())[:DRAWN]:
        drawn = at(contrasts, **pair)
        for part, rows in split_rows(drawn).items() if len(drawn) else ():
            yield figure(f"differences {part} {name}", forest_chart(rows), caption)


def contrasts_table(contrasts: pd.DataFrame, name: str, caption: str, notebooks: Notebooks) -> Iterator[Table]:
    """Lay contrasts out as a table whose details are folded; none where there are too many to print."""
    if 0 < len(contrasts) <= ROWS_SHOWN:
        shown = differences_table(contrasts)
        ends = {"cell": "cell_after", "compared with": "cell_before"}
        hrefs = {title: paths(notebooks.evaluated, contrasts, "collection", column) for title, column in ends.items() if title in shown}
        yield Table(shown, caption, hrefs=hrefs, secondary=DETAILS, verdicts=("verdict", "verdict (these students)"), name=name)

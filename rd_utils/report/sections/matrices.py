"""Who is equivalent to whom: every pair of strategies, everything else equal."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt
import pandas as pd

from rd_utils.analysis.tables import at
from rd_utils.report.charts import matrix_chart
from rd_utils.report.findings import Findings
from rd_utils.report.layout import matrix_table
from rd_utils.report.page import Figure, Table, figure
from rd_utils.report.sections.effectiveness import DRAWN
from rd_utils.study.plan import DIMENSIONS

ORDER, TITLE = 80, "Who is equivalent to whom"
PRINTED = 8  # more matrices are drawn and written, not printed


def applies(study: Findings) -> bool:
    """Tell whether there are three strategies under one loss."""
    return len(study.matrices) > 0


def words(study: Findings) -> list[str]:
    """Say what is corrected, and what letters mean."""
    return [
        "Every pair of strategies, everything else equal, corrected by Holm's method over the pairs of one matrix. Strategies that share a "
        "letter are all equivalent to each other."
    ]


def blocks(study: Findings) -> Iterator[Table | Figure]:
    """Yield a figure an architecture and first stage, then the matrices as tables."""
    for name, pair in list(study.pairs.items())[:DRAWN]:
        for (stage, architecture), part in at(study.matrices, **pair).groupby(["first_stage", "architecture"], sort=False):
            yield figure(f"matrix {architecture} {stage} {name}", matrix_figure(part), "Row minus column")
    matrices = study.matrix_parts()
    for name, part in matrices if len(matrices) <= PRINTED else ():
        yield Table(matrix_table(part), f"{name}: row minus column; = equivalent, * different.")


def matrix_figure(pairs: pd.DataFrame) -> alt.typing.ChartType:
    """Draw the matrices of one architecture and first stage, a panel for each loss (and whatever else varies).

    Args:
        pairs: rows of :func:`rd_utils.analysis.contrasts.matrices`.
    """
    varied = [name for name in DIMENSIONS if name not in ("strategy", "loss") and pairs[name].nunique(dropna=False) > 1]
    by = ["loss", *varied]
    names = [pairs[["system_a", "letters_a", *by]], pairs[["system_b", "letters_b", *by]]]
    letters = pd.concat([part.set_axis(["system", "letters", *by], axis=1) for part in names]).drop_duplicates()
    turned = pairs.assign(difference=-pairs["difference"])  # the chart's row minus its column
    return matrix_chart(turned, letters, by=by)

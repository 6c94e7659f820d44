"""What goes with effectiveness, query by query."""

from __future__ import annotations

from collections.abc import Iterator

import altair as alt
import pandas as pd

from rd_utils.analysis.tables import at
from rd_utils.report.charts import correlation_chart
from rd_utils.report.findings import Findings
from rd_utils.report.page import Figure, figure
from rd_utils.report.sections.effectiveness import DRAWN

ORDER, TITLE = 130, "What goes with effectiveness"


def applies(study: Findings) -> bool:
    """Tell whether a teacher is among the baselines, and a cell at temperature 1."""
    return len(study.relations) > 0


def words(study: Findings) -> list[str]:
    """Say what is correlated, and that it describes."""
    return [
        f"Spearman's rank correlation over test queries between {study.measure} and what the teacher and the student make of a query's "
        "candidates. It describes; easy queries are easy for both. Intervals are bootstrap percentiles, not corrected for their number."
    ]


def blocks(study: Findings) -> Iterator[Figure]:
    """Yield a figure a pair of collections."""
    for name, pair in list(study.pairs.items())[:DRAWN]:
        caption = "Correlations over queries; entropy and divergence are of the first teacher that the baselines evaluate"
        yield figure(f"relations {name}", relations_figure(study.relations, **pair), caption)


def relations_figure(relations: pd.DataFrame, collection: str, test_collection: str) -> alt.typing.ChartType:
    """Draw the correlations over queries of one training and test collection and its first re-ranked stage, a panel a quantity.

    Args:
        relations: of :func:`rd_utils.analysis.characteristics.relations`.
        collection: what was trained on.
        test_collection: what was tested on.
    """
    drawn = at(relations, collection=collection, test_collection=test_collection)
    drawn = drawn[(drawn["first_stage"] == drawn["first_stage"].iloc[0]) & drawn["spearman"].notna()]
    label = drawn["architecture"] + " " + drawn["loss"] + " " + drawn["teacher"] + " " + drawn["strategy"]
    label = label.str.replace("  ", " ")  # no teacher
    return correlation_chart(drawn.assign(label=label, quantity=drawn["x"]), by=["quantity"], width=150)

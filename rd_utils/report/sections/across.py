"""The contrasts over collections, each counting once."""

from __future__ import annotations

from collections.abc import Iterator

from rd_utils.report.charts import across_chart, split_rows
from rd_utils.report.findings import Findings
from rd_utils.report.layout import across_table
from rd_utils.report.page import Figure, Table, figure

ORDER, TITLE = 90, "Across collections"


def applies(study: Findings) -> bool:
    """Tell whether there are several collections."""
    return len(study.pairs) > 1 and len(study.across) > 0


def words(study: Findings) -> list[str]:
    """Say why a conclusion rests on these means."""
    return [
        "The same contrasts, each collection counting once. What a collection happens to hold can move single cells more than the seed of "
        "their training does, so a conclusion about strategies or losses rests on these means and their t intervals over collections at "
        f"level {study.settings.level:g}. They are not corrected for their number."
    ]


def blocks(study: Findings) -> Iterator[Table | Figure]:
    """Yield the charts, a part each, and the table."""
    for part, contrasts in split_rows(study.across).items():
        yield figure(f"across {part}", across_chart(contrasts), "Mean differences over collections with intervals")
    yield Table(across_table(study.across), "Every contrast over the collections.", name="across")

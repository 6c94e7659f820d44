"""Every cell against what the grid does not train: its first stage, its untrained self, its teacher."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from rd_utils.report.contrasts import forests
from rd_utils.report.drawing import AGAINST
from rd_utils.report.findings import Findings
from rd_utils.report.layout import baselines_table
from rd_utils.report.page import Figure, Table
from rd_utils.report.sources import paths
from rd_utils.study.plan import PLACE

ORDER, TITLE = 50, "Against the baselines"


def applies(study: Findings) -> bool:
    """Tell whether a cell stands against a baseline."""
    return len(_against(study)) > 0


def words(study: Findings) -> list[str]:
    """Say what a cell is compared with, and what varies where a baseline is not trained."""
    return [
        "Every cell minus the first stage that it re-ranks (or that searches instead of it), minus its untrained self, and minus the "
        "teacher, by the same test. A baseline that is not trained has no seeds, so only the cell's own vary. Each kind of baseline is a "
        "family of its own for Holm's method."
    ]


def blocks(study: Findings) -> Iterator[Table | Figure]:
    """Yield the charts, and one table of every cell beside its baselines, whose CSV holds each contrast in full."""
    against = _against(study)
    for family in AGAINST:
        yield from forests(study, against[against["family"] == family], "Cells minus baselines; the band is the equivalence margin")
    shown = baselines_table(against)
    cells = against.drop_duplicates([*PLACE, "measure", "cell_after"])
    hrefs = {"cell": paths(study.notebooks.evaluated, cells, "collection", "cell_after")}
    caption = "Every cell's mean, and what it gains over each baseline: difference, interval, verdict."
    verdicts = [name for name in shown.columns.map(str) if name.startswith("minus ")]
    yield Table(shown, caption, hrefs=hrefs, verdicts=verdicts, name="baselines", data=against)


def _against(study: Findings) -> pd.DataFrame:
    return study.differences[study.differences["family"].isin(AGAINST)]

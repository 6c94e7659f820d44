"""Where each number comes from: every cell and seed with its identity and manifest."""

from __future__ import annotations

from collections.abc import Iterator

from rd_utils.report.findings import Findings
from rd_utils.report.layout import cells_table
from rd_utils.report.page import Table
from rd_utils.report.sources import paths

ORDER, TITLE = 170, "Where each number comes from"


def applies(study: Findings) -> bool:
    """Every number comes from somewhere."""
    return True


def words(study: Findings) -> list[str]:
    """Say what a manifest holds."""
    return ["A student's identity is the name of its folder; its manifest holds parameters, inputs, versions, cost and checksums."]


def blocks(study: Findings) -> Iterator[Table]:
    """Yield the cells and seeds."""
    hrefs = {
        "cell": paths(study.notebooks.evaluated, study.cells, "collection", "cell"),
        "identity": [study.notebooks.made.get(identity, "") for identity in study.cells["identity"]],
    }
    yield Table(
        cells_table(study.cells, manifest="../store/student/{identity}/manifest.json"),
        "Cells, seeds and manifests; a cell leads to the notebook that evaluated it, an identity to the one that trained it.",
        links=("manifest",),
        hrefs=hrefs,
    )

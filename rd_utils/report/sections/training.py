"""How the training losses fell."""

from __future__ import annotations

from collections.abc import Iterator

from rd_utils.report.charts import learning_chart
from rd_utils.report.findings import Findings
from rd_utils.report.page import Figure, figure

ORDER, TITLE = 160, "Training"


def applies(study: Findings) -> bool:
    """Tell whether there is a student."""
    return len(study.history) > 0


def words(study: Findings) -> list[str]:
    """Say what a steep end means."""
    return ["A loss that still falls steeply at the end says that the budget, not the recipe, decided."]


def blocks(study: Findings) -> Iterator[Figure]:
    """Yield the losses."""
    yield figure("losses", learning_chart(study.history), "Training loss by step; each loss has a unit of its own")

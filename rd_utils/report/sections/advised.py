"""Whether advice from what is known before training would have helped."""

from __future__ import annotations

from collections.abc import Iterator

from rd_utils.report.charts import regret_chart
from rd_utils.report.findings import Findings
from rd_utils.report.page import Figure, figure

ORDER, TITLE = 150, "Advice"


def applies(study: Findings) -> bool:
    """Tell whether there was something to choose, and something known of it."""
    return len(study.regrets) > 0


def words(study: Findings) -> list[str]:
    """Say what advice rests on, what a regret is, and what the advice comes to."""
    return [
        f"From what is known of the groups before training, on a pilot of {Findings.PILOT} queries, a ridge regression advises where it "
        "has not looked. A regret is what a choice lacks to the best cell in hindsight, which was chosen on the same test queries: an "
        "upper bound.",
        *study.advice,
    ]


def blocks(study: Findings) -> Iterator[Figure]:
    """Yield the regrets."""
    chart = regret_chart(study.regrets, measure=study.measure)
    yield figure("regret", chart, "Mean regret with bootstrap intervals over what was left out")

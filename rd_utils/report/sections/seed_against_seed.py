"""One recipe against itself: does a test hold over seeds?"""

from __future__ import annotations

from collections.abc import Iterator

from rd_utils.report.findings import Findings
from rd_utils.report.layout import seeds_table
from rd_utils.report.page import Table

ORDER, TITLE = 70, "Seed against seed"


def applies(study: Findings) -> bool:
    """Tell whether a cell has several seeds."""
    return len(study.seed_against_seed) > 0


def words(study: Findings) -> list[str]:
    """Say what an honest test does here."""
    alpha = study.settings.alpha
    return [
        "One recipe against itself: the students of one seed of a cell against those of another. There is nothing to find, so a test at "
        f"{alpha:g} should call about {alpha:.0%} of them different. Where the test over queries alone calls more, its verdicts are on "
        "these students and not on recipes; where the test over queries and seeds does, its p-values are too small."
    ]


def blocks(study: Findings) -> Iterator[Table]:
    """Yield how often each test was wrong."""
    caption = "How often one seed was called different from another, by architecture."
    yield Table(seeds_table(study.seed_against_seed), caption, name="seed_against_seed")

"""Contrasts of cells that differ in one thing only."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from rd_utils.analysis.tables import ROWS_SHOWN
from rd_utils.report.contrasts import between_cells, contrasts_table, forests
from rd_utils.report.findings import Findings
from rd_utils.report.page import Figure, Table

ORDER, TITLE = 40, "Differences"


def applies(study: Findings) -> bool:
    """Tell whether two cells differ in one thing only."""
    return len(between_cells(study.differences)) > 0


def words(study: Findings) -> list[str]:
    """Say what the tests ask, what a verdict rests on, and how many are equivalent, fragile or not printed."""
    settings, contrasts = study.settings, between_cells(study.differences)
    paragraphs = [
        "Cells that differ in one thing only, compared on the value of every query and seed. Verdicts, intervals and p-values rest on a "
        "test in which both are random: other test queries could have been asked, and another seed of the same recipe could have been "
        f"trained. Intervals are at level {settings.level:g} and not corrected. Verdicts rest on p-values that Holm's method corrects "
        "within each family, collection and first stage, so an interval that just excludes 0 may stand beside the verdict undecided. Where "
        "a test of homogeneity allows it, the variance over seeds is pooled over contrasts that differ in the strategy alone: `seeds "
        "pooled` counts them.",
        "Folded beside each contrast is what a test over queries alone says, on values averaged over seeds. It answers for these very "
        "students, as they lie in the store; whether the recipe would do it again, it does not ask.",
        f"{study.differences.attrs.get('skipped', 0)} contrasts were left out because their cells have different seeds.",
        f"Equivalence is TOST with the margin {settings.equivalence_margin:g} that the study's file fixed: both one-sided tests must "
        f"reject at {settings.alpha:g}. The smallest margin is the one that these data could just have proved; the seeds and the queries "
        f"needed are how many would prove {settings.equivalence_margin:g} four times in five, were the two in truth equal; these three are "
        "of the contrast alone. Equivalence is not transitive: read each row by itself.",
    ]
    counts = [(margin, f"equivalent_{margin:g}") for margin in settings.margins_shown]
    if at_margins := [f"{int(contrasts[name].sum())} at {margin:g}" for margin, name in counts if name in contrasts]:
        paragraphs.append(f"Equivalent, of {len(contrasts):,} contrasts: " + ", ".join(at_margins) + ".")
    paragraphs.append(_fragile(contrasts))
    if len(contrasts) > ROWS_SHOWN:
        paragraphs.append(f"The {len(contrasts):,} contrasts are in `differences.parquet`, too many to print.")
    return paragraphs


def _fragile(contrasts: pd.DataFrame) -> str:
    """Say how many verdicts another reasonable look denies, and how much of the variance is the seeds'."""
    share = contrasts["seed_share"].median()
    seeds = f" Of the variance of a difference, seeds leave open a median {share:.0%}: what more of them could take away."
    return (
        f"{int(contrasts['fragile'].sum())} of {len(contrasts):,} verdicts are fragile: these very students are different or equivalent, "
        "but other seeds may not be; or signs flipped at random deny the difference." + ("" if pd.isna(share) else seeds)
    )


def blocks(study: Findings) -> Iterator[Table | Figure]:
    """Yield the charts, then a table a family."""
    contrasts = between_cells(study.differences)
    yield from forests(study, contrasts, "Differences with intervals; the band is the equivalence margin")
    if len(contrasts) <= ROWS_SHOWN:
        for family, part in contrasts.groupby("family", sort=False):
            yield from contrasts_table(part, f"differences {family}", f"Every contrast of the family {family}.", study.notebooks)

"""Strategy and entropy as two factors, and what each explains."""

from __future__ import annotations

from collections.abc import Iterator

from rd_utils.analysis.factorial import optima
from rd_utils.analysis.tables import at
from rd_utils.report.charts import simple_effects_chart, surface_chart
from rd_utils.report.findings import Findings
from rd_utils.report.layout import variance_table
from rd_utils.report.page import Figure, Table, figure
from rd_utils.report.sections.effectiveness import DRAWN

ORDER, TITLE = 100, "Strategy and entropy as factors"


def applies(study: Findings) -> bool:
    """Tell whether strategies are crossed with target entropies."""
    return len(study.variance) > 0


def words(study: Findings) -> list[str]:
    """Say what the shares are of, and what the effects are tested against."""
    return [
        "Strategies, crossed with temperatures that fix the teacher's entropy, make a factorial; where each strategy fixes the diameter of "
        "its groups, one of locality and entropy. Its variance splits into what the strategy explains, what the entropy explains, what "
        "only both together explain, what the seeds explain, and the rest. Every cell has the same seeds; so a seed is a block, and each "
        "effect is tested against what blocks leave over."
    ]


def blocks(study: Findings) -> Iterator[Table | Figure]:
    """Yield the maps of means, the lines with intervals, the shares and the optima."""
    drawn = list(study.pairs.items())[:DRAWN]
    for name, pair in drawn:
        yield figure(f"surface {name}", surface_chart(study.summary, study.measure, **pair), "Means over seeds")
    for name, pair in drawn:
        chart = simple_effects_chart(at(study.surfaces, **pair), measure=study.measure, by=["loss", "first_stage"])
        yield figure(f"effects {name}", chart, "Means with bootstrap intervals over seeds and queries")
    caption = f"Shares of the variance of {study.measure}, with intervals over queries (jackknife) and p-values (F, Holm)."
    yield Table(variance_table(at(study.variance, measure=study.measure)), caption, name="variance")
    if len(study.surfaces):
        caption = "How often, over resamples of seeds and queries, a target entropy was the best of its strategy."
        yield Table(optima(study.surfaces).reset_index(), caption, name="surfaces")

"""What each search of a learning rate tried and took."""

from __future__ import annotations

from collections.abc import Iterator

from rd_utils.report.charts import search_chart
from rd_utils.report.findings import Findings
from rd_utils.report.layout import search_table
from rd_utils.report.page import Figure, Table, figure

ORDER, TITLE = 20, "Learning rates"


def applies(study: Findings) -> bool:
    """Tell whether the study searches its learning rates."""
    return len(study.learning_rates) > 0


def words(study: Findings) -> list[str]:
    """Say on what rates were chosen, and how often the end of the list was the best."""
    rates, search = study.learning_rates, study.plan.study.search
    where = ""
    if search:
        strategy = study.plan.study.name_of(search.strategy)
        where = f" of `{search.validation.label}`, on the groups of `{strategy}` of the first collection"
    return [
        f"Chosen on validation queries{where}, once for each loss and architecture, for all strategies and collections alike: "
        f"{rates['search'].nunique()} searches. In {int(rates['at_end'].sum())} of them the first or the last rate was best, so a better "
        "one may lie beyond it. Neighbouring rates are often equal for all that the validation queries can tell."
    ]


def blocks(study: Findings) -> Iterator[Table | Figure]:
    """Yield what each rate reached; an architecture leads to the notebook that searched."""
    if not (search := study.plan.study.search):
        return
    rates, measure = study.learning_rates, search.measure
    yield figure("rates", search_chart(rates, measure), "What each rate reached; the large mark is the one taken")
    hrefs = {"architecture": [study.notebooks.made.get(searched, "") for searched in rates["search"].drop_duplicates()]}
    yield Table(search_table(rates, measure), "Every rate that was tried, on validation queries; * taken.", hrefs=hrefs)

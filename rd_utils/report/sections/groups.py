"""How wide the strategies' groups are, and how undecided the teacher is about them, before anything is trained on them."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from rd_utils.report.charts import entropy_chart, locality_chart, queries_chart
from rd_utils.report.findings import Findings
from rd_utils.report.layout import description_table, plain
from rd_utils.report.page import Figure, Table, figure
from rd_utils.report.sources import paths

ORDER, TITLE = 110, "Locality and entropy"


def applies(study: Findings) -> bool:
    """Tell whether there is a reference encoder or a teacher."""
    return len(study.descriptions) > 0 or len(study.entropies) > 0


def words(study: Findings) -> list[str]:
    """Say which entropy is which."""
    return [
        "How wide the groups of each strategy are in one fixed encoder, and how undecided the teacher is about them, before and after what "
        "augmentation and temperature do. Pairwise, positive and listwise entropy may order strategies differently; each axis and column "
        "says which it is."
    ]


def blocks(study: Findings) -> Iterator[Table | Figure]:
    """Yield diameters beside entropies, the teachers' entropies, whose strategies lead to their notebooks, and single groups."""
    taught = described(study)
    for label in dict.fromkeys(taught["collection"]) if len(taught) else ():
        caption = "Diameter and entropy of the training groups; a line leads from before to after augmentation, a lone mark did not move"
        yield figure(f"locality {label}", locality_chart(taught, collection=label), caption)
    if len(study.descriptions):
        caption = "Means over groups and seeds; the density ratio is a median."
        yield Table(description_table(study.descriptions), caption, name="descriptions")
    entropies = study.entropies
    if len(entropies):
        for label in dict.fromkeys(entropies["collection"]):
            yield figure(f"entropy {label}", entropy_chart(entropies, collection=label), "Mean entropies")
        hrefs = {"strategy": paths(study.notebooks.scored, entropies, "collection", "strategy", "teacher")}
        yield Table(plain(entropies), "Mean entropies of the teachers over the training groups.", hrefs=hrefs)
    if len(study.examples):
        yield figure("groups", queries_chart(study.examples), "Single groups of the first collection; drag over some to list them")


def described(study: Findings) -> pd.DataFrame:
    """Return the descriptions of groups that a teacher has scored."""
    found = study.descriptions
    return found[found["pairwise_entropy"].notna()] if "pairwise_entropy" in found else found[:0]

"""What training made of the students: their spaces, and how they agree with the teacher."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import altair as alt
import pandas as pd

from rd_utils.analysis.characteristics import pooled_bins
from rd_utils.report.charts import QUANTITIES, behaviour_chart, calibration_chart
from rd_utils.report.drawing import MISSING, as_setting
from rd_utils.report.findings import Findings
from rd_utils.report.layout import plain
from rd_utils.report.page import Figure, Table, figure
from rd_utils.report.sources import paths
from rd_utils.study.plan import DIMENSIONS

ORDER, TITLE = 120, "What training made of the students"
COLUMNS = {
    "diameter_q99": "own diameter q99", "intrinsic_dimension": "TwoNN dimension", "log_density": "log density",
    "effective_rank": "effective rank", "uniformity": "uniformity", "alignment": "alignment", "score_sd": "SD of scores",
    "score_skewness": "skewness", "student_pairwise_entropy": "pairwise entropy", "divergence": "KL to teacher",
    "calibration_error": "calibration error", "calibration_slope": "slope", "calibration_agreement": "agreement",
}  # fmt: skip


def applies(study: Findings) -> bool:
    """Tell whether the study probes its students."""
    return len(study.behaviours) > 0


def words(study: Findings) -> list[str]:
    """Say what is measured, of which students, on what."""
    return [
        "Before the first step and after the last, on the same probe queries and documents for all strategies: of a bi-encoder's own "
        "space, the diameter of its training groups, intrinsic dimension (TwoNN), effective rank and uniformity; of any student, the "
        "divergence KL(teacher || student) over its own strategy's groups of the probe queries, in nats, so that strategies start apart, "
        "and how its pair probabilities agree with the teacher's. The figure shows bi-encoders where there are any."
    ]


def blocks(study: Findings) -> Iterator[Table | Figure]:
    """Yield the quantities before and after, whose cells lead to the notebooks that trained them, and the reliability diagrams."""
    for label in dict.fromkeys(study.behaviours["collection"]):
        caption = "From before training to after it; means over seeds and the queries that all strategies have"
        yield figure(f"behaviour {label}", behaviour_figure(study.behaviours, label), caption)
    shown = behaviour_table(study.behaviours)
    hrefs = {"cell": paths(study.notebooks.trained, shown, "collection", "cell")}
    yield Table(plain(shown), "Means over seeds, from before training to after it.", hrefs=hrefs)
    for label in dict.fromkeys(study.calibration["collection"]):
        caption = "Pairs by the student's probability, and the mean probability that the teacher gives the same document"
        yield figure(f"calibration {label}", calibration_figure(study.calibration, label), caption)


def behaviour_figure(behaviours: pd.DataFrame, collection: str) -> alt.typing.ChartType:
    """Draw what training did to the spaces of a collection's bi-encoders, or to the scores where there are no bi-encoders.

    Args:
        behaviours: the first table of :func:`rd_utils.analysis.characteristics.behaviours`.
        collection: whose students.
    """
    values = behaviours[behaviours["collection"] == collection]
    wanted = [name for name in QUANTITIES if name in set(values["quantity"])]
    space = [name for name in wanted if name != "divergence"]
    values = values[values["quantity"].isin(wanted)].rename(columns={"mean": "value"})
    if space:  # panels without a space would be empty
        values = values[values["cell"].isin(values.loc[values["quantity"].isin(space), "cell"])]
    values = values.assign(recipe=recipe(values))
    return behaviour_chart(values.sort_values("quantity", key=lambda names: names.map(wanted.index), kind="stable"))


def calibration_figure(bins: pd.DataFrame, collection: str) -> alt.typing.ChartType:
    """Draw how a collection's students agree with the teacher, a panel a recipe, pooled over strategies.

    Args:
        bins: the second table of :func:`rd_utils.analysis.characteristics.behaviours`.
        collection: whose students.
    """
    pairs = bins[bins["collection"] == collection]
    return calibration_chart(pooled_bins(pairs.assign(recipe=recipe(pairs)), ["recipe", "state"]), by=["recipe"])


def recipe(cells: pd.DataFrame) -> pd.Series:
    """Return what a cell is beside its strategy, of what varies; a dial with its sign."""
    signs = {"temperature": "T=", "target_entropy": "H="}
    varied = [name for name in DIMENSIONS[1:] if cells[name].map(as_setting).nunique() > 1]
    names = dict.fromkeys(["architecture", "loss", *varied])
    parts = [[signs.get(name, "") + text if text else "" for text in cells[name].map(as_setting)] for name in names]
    return pd.Series([" ".join(filter(None, row)) for row in zip(*parts, strict=True)], index=cells.index)


def behaviour_table(behaviours: pd.DataFrame) -> pd.DataFrame:
    """Return what students are like before and after training, one row a collection and cell, "before > after" in each column."""
    shown = behaviours[behaviours["quantity"].isin(COLUMNS)]
    wide = shown.pivot_table(index=["collection", "cell"], columns=["quantity", "state"], values="mean", sort=False)
    columns = {
        title: [
            MISSING if pd.isna(after) else f"{before:.2f} > {after:.2f}"
            for before, after in cast(pd.DataFrame, wide[name]).reindex(columns=["before", "after"]).itertuples(index=False)
        ]
        for name, title in COLUMNS.items()
        if name in wide.columns.get_level_values(0)
    }
    return pd.DataFrame(columns, index=wide.index).reset_index()

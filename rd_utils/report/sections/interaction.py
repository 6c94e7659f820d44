"""What a strategy gains under one loss beyond what it gains under LCE."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from rd_utils.report.contrasts import INTERACTION, contrasts_table, forests
from rd_utils.report.findings import Findings
from rd_utils.report.page import Figure, Table

ORDER, TITLE = 60, "Strategy x loss"


def applies(study: Findings) -> bool:
    """Tell whether a strategy and the baseline strategy stand under LCE and another loss."""
    return len(_gains(study)) > 0


def words(study: Findings) -> list[str]:
    """Say what a row is, and what its sign means."""
    return [
        "Does a strategy gain more under one loss than under another? Each row is what a strategy gains over the baseline strategy "
        f"`{study.settings.baseline_strategy}` under a loss, minus what it gains under LCE: above 0, the loss makes more of the strategy."
    ]


def blocks(study: Findings) -> Iterator[Table | Figure]:
    """Yield the charts and the table."""
    gains = _gains(study)
    yield from forests(study, gains, "Gains minus gains under LCE; the band is the equivalence margin")
    yield from contrasts_table(gains, "interaction", "Every difference of gains.", study.notebooks)


def _gains(study: Findings) -> pd.DataFrame:
    return study.differences[study.differences["family"] == INTERACTION]

"""The forest of a claim: a row a collection, then all together, then one more; the margin dashed."""

from __future__ import annotations

import pandas as pd
import pytest

from rd_utils.companions import claims
from rd_utils.report import charts, drawing

STUDIES = {"claims_cosqa": 0.03, "claims_world_additive": 0.01, "claims_arguana": -0.02}


def frames() -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = [
        [3, contrast.name, study, study, study, architecture, stage, effect, 1e-4, 100, 3]
        for contrast in claims.CLAIMS[2].contrasts
        for study, effect in STUDIES.items()
        for architecture, stage in (("bi", "full"), ("cross", "bm25@100"))
    ]
    names = ["claim", "contrast", "study", "collection", "test_collection", "architecture", "first_stage"]
    estimates = pd.DataFrame(rows, columns=[*names, "estimate", "variance", "n_queries", "n_seeds"])
    return claims.shown(estimates, claims.combine(estimates), 3)


def test_collections_stand_by_their_kind_of_text_and_effect_then_all_together():
    chart = charts.claim_chart(*frames(), margin=0.01)
    panel = chart.data[chart.data["panel"] == chart.data["panel"].iloc[0]]
    assert panel["row"].tolist() == ["arguana", "cosqa", "world_additive", "together", "one more collection"]
    assert panel["kind"].tolist() == ["arguments", "code", "made", "together", "one more collection"]
    assert chart.data["panel"].nunique() == 4


def test_intervals_are_of_the_estimates_and_the_margin_is_dashed_on_both_sides():
    chart = charts.claim_chart(*frames(), margin=0.01)
    cosqa = chart.data[chart.data["row"] == "cosqa"].iloc[0]
    assert (cosqa["low"], cosqa["high"]) == pytest.approx((0.03 - 1.9842 * 0.01, 0.03 + 1.9842 * 0.01), abs=1e-5)
    layers = drawing.chart_spec(chart)["spec"]["layer"]
    dashed = [layer["encoding"]["x"]["datum"] for layer in layers if "strokeDash" in layer["mark"]]
    assert dashed == [-0.01, 0.01]


def test_what_is_missing_or_twice_is_refused():
    estimates, combined = frames()
    with pytest.raises(ValueError, match="'kind'"):
        charts.claim_chart(estimates.drop(columns="kind"), combined, margin=0.01)
    with pytest.raises(ValueError, match="share"):
        charts.claim_chart(pd.concat([estimates, estimates.iloc[[0]]]), combined, margin=0.01)

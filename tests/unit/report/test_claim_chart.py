"""The forest of a claim: a row a collection, then all together, then one more; the margin dashed."""

from __future__ import annotations

import pandas as pd
import pytest

from rd_utils.companions import claims, scaling
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


def sized() -> pd.DataFrame:
    rows = [
        ["documents", contrast.name, "bi", "full", size, 0.01 * number, 1e-5, 300]
        for contrast in scaling.EFFECTS.contrasts
        for number, size in enumerate([8e3, 32e3, 128e3], 1)
    ]
    return pd.DataFrame(rows, columns=["axis", "contrast", "architecture", "first_stage", "size", "estimate", "variance", "n_queries"])


def test_an_effect_over_sizes_has_its_points_and_a_line_that_reaches_the_size_it_predicts():
    estimates = sized()
    chart = charts.scaling_chart(estimates, scaling.lines(estimates))
    panel = chart.data[chart.data["panel"] == "BM25 less random, under LCE | documents"]
    points, line = panel[panel["of"] == "measured"], panel[panel["of"] == "fitted"]
    assert points["estimate"].tolist() == [0.01, 0.02, 0.03]
    assert points["high"].iloc[0] == pytest.approx(0.01 + 1.968 * 1e-5**0.5, abs=1e-5)
    assert line["size"].agg(["min", "max"]).tolist() == pytest.approx([8e3, 8_841_823])
    assert line["estimate"].iloc[0] == pytest.approx(0.01) and line["low"].iloc[-1] < line["estimate"].iloc[-1] < line["high"].iloc[-1]
    with pytest.raises(ValueError, match="not above 0"):
        charts.scaling_chart(estimates.assign(size=0.0), scaling.lines(estimates))

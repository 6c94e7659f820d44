"""Charts with a slider: what the browser computes at a setting is what the package computes."""

from __future__ import annotations

import html
import json
import re

import altair as alt
import numpy as np
import pandas as pd
import pytest
import vl_convert

from rd_utils.analysis import stats
from rd_utils.cost import frontier
from rd_utils.report import charts, drawing


def shown(chart: alt.LayerChart | alt.FacetChart, **settings: float) -> str:
    """Return the SVG of a chart with its sliders set."""
    spec = drawing.notebook_spec(drawing.chart_spec(chart))
    for parameter in spec["params"]:
        assert parameter["bind"]["input"] == "range"
        parameter["value"] = settings.pop(parameter["name"])
    assert not settings
    return html.unescape(vl_convert.vegalite_to_svg(json.dumps(spec), vl_version="5.8"))


# --- verdicts by the margin -------------------------------------------------------------------------------------------------------


def make_contrasts() -> pd.DataFrame:
    rng, rows = np.random.default_rng(0), []
    names = pd.MultiIndex.from_product([["toy"], [f"q{number}" for number in range(60)]], names=stats.QUERY_KEYS)
    for name, mean, deviation in (
        ("gain", 0.04, 0.05),
        ("copy", 0.0, 0.05),
        ("sure", 0.01, 0.01),
        ("noisy", 0.01, 0.2),
        ("loss", -0.03, 0.05),
    ):
        delta = rng.normal(mean, deviation, size=60)
        rows.append({"contrast": name} | stats.paired_difference(pd.Series(0.0, names), pd.Series(delta, names))._asdict())
    return pd.DataFrame(rows)


@pytest.mark.parametrize("margin", [0.005, 0.02, 0.06])
def test_the_slider_of_the_margin_gives_tosts_verdicts(margin: float) -> None:
    frame = make_contrasts()
    svg = shown(charts.margin_chart(frame, measure="nDCG@10"), margin=margin)
    found = dict(re.findall(r'contrast: (\w+);[^"]*verdict: (\w+)"', svg))
    equivalent = frame["smallest_margin"] < margin
    expected = [stats.VERDICTS[bool(one), bool(other)] for one, other in zip(frame["different"], equivalent, strict=True)]
    assert found == dict(zip(frame["contrast"], expected, strict=True))
    for name, verdict in found.items():
        row = frame.set_index("contrast").loc[name]
        within = max(abs(row["difference"] - (reach := row["smallest_margin"] - abs(row["difference"]))), abs(row["difference"] + reach))
        assert (verdict in ("equivalent", "both")) == (within < margin)


def test_the_chart_of_margins_refuses_what_it_cannot_draw() -> None:
    frame = make_contrasts()
    with pytest.raises(ValueError, match="lacks 1"):
        charts.margin_chart(frame.drop(columns="smallest_margin"))
    with pytest.raises(ValueError, match="no finite number"):
        charts.margin_chart(frame.assign(low=np.nan))
    with pytest.raises(ValueError, match="share contrast with another"):
        charts.margin_chart(pd.concat([frame, frame.head(1)]))


# --- a frontier by the price of a call --------------------------------------------------------------------------------------------


def make_recipes() -> pd.DataFrame:
    rows = [["bm25", 1.0, 0, 0.45], ["random", 5.0, 0, 0.6], ["lce", 4.0, 0, 0.63], ["kl", 4.0, 4800, 0.65], ["twice", 6.0, 9600, 0.655]]
    rows.append(["as good", 9.0, 0, 0.65])
    return pd.DataFrame(rows, columns=["name", "cpu_seconds", "teacher_calls", "value"])


@pytest.mark.parametrize("price", [0.0, 0.001, 0.0012, 0.01])
def test_the_slider_of_the_price_finds_the_frontier(price: float) -> None:
    frame = make_recipes()
    svg = shown(charts.price_chart(frame, measure="nDCG@10"), price=price)
    points = [dict(re.findall(r"(\w+): ([\w. ]+)", label)) for label in re.findall(r'aria-label="([^"]*stands: [^"]*)"', svg)]
    found = {point["name"]: (point["stands"], float(point["cost"])) for point in points if "value" in point}
    priced = frame.assign(cost=frame["cpu_seconds"] + price * frame["teacher_calls"]).set_index("name")
    stands = frontier.frontier(priced, cost="cost", value="value")
    assert {name: kind == "on the frontier" for name, (kind, _) in found.items()} == stands.to_dict()
    assert {name: cost for name, (_, cost) in found.items()} == pytest.approx(priced["cost"].to_dict(), rel=1e-3)


def test_the_chart_of_prices_refuses_what_it_cannot_draw() -> None:
    frame = make_recipes()
    with pytest.raises(ValueError, match="lacks 1"):
        charts.price_chart(frame.drop(columns="teacher_calls"))
    with pytest.raises(ValueError, match="share name with another"):
        charts.price_chart(pd.concat([frame, frame.head(1)]))
    with pytest.raises(ValueError, match=r"1 row\(s\) of points cost nothing or less, the first is 'lce'"):
        charts.price_chart(frame.assign(cpu_seconds=frame["cpu_seconds"].where(frame["name"] != "lce", 0.0)))

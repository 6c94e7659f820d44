"""The page of a comparison: its verdict first, its charts hold what was computed, and the same comparison gives the same bytes."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rd_utils.analysis import compare
from rd_utils.report.charts import query_differences_chart
from rd_utils.report.drawing import chart_spec
from rd_utils.study.params import ParameterError
from tests import commands


@pytest.fixture
def results(tmp_path, monkeypatch) -> dict[str, np.ndarray]:
    """Write four systems on 40 queries, one of them far below; return their values."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(2)
    base = rng.uniform(0.3, 0.7, 40)
    values = {name: base + shift + rng.normal(0, 0.01, 40) for name, shift in (("a", -0.2), ("b", 0.0), ("c", 0.002), ("d", 0.001))}
    rows = [(name, f"q{n}", "AP", value) for name, own in values.items() for n, value in enumerate(own)]
    pd.DataFrame(rows, columns=["name", "qid", "measure", "value"]).to_csv("r.csv", index=False)
    return values


def charts_of(page: str) -> list[pd.DataFrame]:
    """Return the data of the page's charts."""
    found = []
    for packed in re.findall(r'<script type="application/gzip" data-chart="[^"]+">([^<]+)</script>', page):
        held = json.loads(gzip.decompress(base64.b64decode(packed)))
        found.append(pd.DataFrame(held["datasets"][held["shown"]]["columns"]))
    return found


def in_short(page: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page[page.index('id="in-short"') : page.index("<nav")]))


def test_a_page_of_two_says_the_verdict_first_and_shows_every_query(results):
    printed = commands.asked(compare, "r.csv#a", "r.csv#b", "--report", "two.html")
    page = Path("two.html").read_text(encoding="utf-8")
    said = in_short(page)
    assert "Does B differ from A, or are they equivalent? A is r.csv#a, B is r.csv#b." in said
    assert said.index("Different: a difference is shown") < said.index("B is higher by ")
    assert printed.splitlines()[0] + "." in said
    forest, queries = charts_of(page)
    assert forest["difference"][0] == pytest.approx((results["b"] - results["a"]).mean(), rel=1e-5)
    assert (forest["margin_low"][0], forest["margin_high"][0]) == (-0.02, 0.02)
    assert queries["difference"].tolist() == pytest.approx(sorted(results["b"] - results["a"]), rel=1e-5)
    assert "rd compare 'r.csv#a' 'r.csv#b'" in html.unescape(page) and "Comparison r.csv#a against r.csv#b · identity" in page
    first = Path("two.html").read_bytes()
    commands.asked(compare, "r.csv#a", "r.csv#b", "--report", "two.html")
    assert Path("two.html").read_bytes() == first


def test_a_page_of_several_has_the_matrix_its_groups_and_pairs_with_the_highest(results):
    found = commands.recorded(compare, *(f"r.csv#{name}" for name in "abcd"), "--report", "four.html")
    page = Path("four.html").read_text(encoding="utf-8")
    assert "Groups whose members are all equivalent to each other in AP: B, C, D." in in_short(page)
    forest, matrix, queries = charts_of(page)
    assert sorted(forest["contrast"]) == sorted(f"{row['b']} - {row['a']}" for row in found["matrices"][0]["pairs"])
    turned = matrix[(matrix["row"] == "A") & (matrix["column"] == "B")]["difference"].iloc[0]
    assert turned == pytest.approx((results["a"] - results["b"]).mean(), rel=1e-5)
    assert queries["panel"].nunique() == 6 and len(queries) == 6 * 40


def test_costs_stand_on_the_page(tmp_path, outputs):
    from tests.unit.analysis import test_compare as two

    study = two.written(tmp_path)
    two.finish(study, two.LCE, two.KL)
    commands.asked(compare, two.LCE, two.KL, "--study", study, "--report", tmp_path / "cells.html")
    page = (tmp_path / "cells.html").read_text(encoding="utf-8")
    assert "B costs 9,415.0 CPU seconds a seed against 9,287.0, 1.01 times as much" in in_short(page)
    assert ">9,415<" in page and "bm25@100" in page and "Undecided: neither is shown" in in_short(page)


def test_what_a_page_cannot_be_called_is_refused_before_anything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("page.txt", "folder.html"):
        (tmp_path / "folder.html").mkdir(exist_ok=True)
        with pytest.raises(ParameterError, match=f"--report {name}: expected the name of a page"):
            commands.asked(compare, "nothing", "here", "--report", name)


def test_a_chart_of_many_queries_keeps_the_mean_of_all():
    values = pd.DataFrame({"panel": "B - A", "query_id": [f"q{n}" for n in range(2500)], "difference": np.linspace(-0.1, 0.3, 2500) ** 3})
    shown = pd.DataFrame(next(iter(chart_spec(query_differences_chart(values, equivalence_margin=0.02))["datasets"].values())))
    assert len(shown) == 834 and shown["mean"].iloc[0] == pytest.approx(values["difference"].mean())
    assert shown["rank"].tolist()[:3] == [1, 4, 7] and set(shown["side"]) == {"higher", "lower"}
    with pytest.raises(ValueError, match="no finite number"):
        query_differences_chart(values.assign(difference=np.nan), equivalence_margin=0.02)

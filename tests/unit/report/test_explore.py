"""What is asked of a study while it is explored, on a small study that is made for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import vl_convert
import yaml
from studies_on_disk import ROOT

import rd_utils as rd
from rd_utils.report import charts, drawing
from rd_utils.report.show import StudyReport

LCE, KL = "static-bm25-lce", "static-bm25-oracle-kl"


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> StudyReport:
    folder: Path = tmp_path_factory.mktemp("explored")
    said = yaml.safe_load((ROOT / "params" / "smallest.yaml").read_text())
    said["teachers"].pop("cross")
    said["architectures"].pop("interaction")
    said["training"]["documents"] = 4000
    said["grids"], said["overrides"] = said["grids"][:1], []
    said["evaluation"]["measures"] = ["nDCG@10"]
    (folder / "params").mkdir()
    (folder / "params" / "small.yaml").write_text(yaml.safe_dump(said))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RD_OUTPUTS", str(folder / "outputs"))
        yield rd.load(str(folder / "params" / "small.yaml"))


def test_a_query_has_every_document_that_was_drawn_with_its_label_and_the_teachers_score(study):
    table = study.see_query()
    cells = {cell.strategy: cell for cell in study.plan.cells}
    query_id = None
    for name in ("corpus_random", "bm25"):
        groups = study.pipeline.groups(cells[name].students[0].groups)
        query_id = query_id or groups["query_id"].iloc[0]
        (ids,) = groups.loc[groups["query_id"] == query_id, "doc_ids"]
        assert table.loc[ids[0], name] == "◆" and (table.loc[list(ids[1:]), name] == "●").all()
        assert (table[name] != "").sum() == len(ids)
    positive = table[table["bm25"] == "◆"].iloc[0]
    assert positive["label"] == "3" and table["teacher"].is_monotonic_decreasing and set(table["label"]) <= {"-", "1", "2", "3"}
    train = study.plan.study.collections[0].train
    assert table.attrs["query"] == study.pipeline.queries(train).set_index("query_id")["text"][query_id]
    assert study.see_query(query_id, teacher="oracle").equals(table)
    with pytest.raises(ValueError, match="no group of the training query 'q-none'"):
        study.see_query("q-none")
    with pytest.raises(ValueError, match="did you mean 'oracle'"):
        study.see_query(teacher="orcale")


def test_two_cells_are_shown_on_the_queries_that_tell_them_apart(study):
    table = study.see_pair(KL, LCE, queries=7)
    per_query = study.per_query
    rows = per_query[(per_query["first_stage"] == per_query["first_stage"].iloc[0]) & (per_query["measure"] == "nDCG@10")]
    means = rows.groupby(["cell", "query_id"])["value"].mean()
    every = (means[KL] - means[LCE]).abs()
    assert table["difference"].abs().tolist() == sorted(every, reverse=True)[:7]
    for query_id, row in table.iterrows():
        assert row[KL] == pytest.approx(means[KL, query_id]) and row["difference"] == pytest.approx(row[KL] - row[LCE])
    first = study.see_pair(KL, "BM25", queries=100)
    found = first[f"first of {KL}"].str.startswith("* ")
    assert 0 < found.mean() < 1 and first.loc[first["BM25"] == 1, "first of BM25"].str.startswith("* ").all()
    with pytest.raises(ValueError, match="unknown name 'static-bm25-kl'; did you mean"):
        study.see_pair("static-bm25-kl", LCE)


def test_a_group_is_drawn_with_its_diameter_at_every_random_share(study):
    chart = study.see_group("bm25", shares=(0.0, 0.5, 1.0), nearest=30)
    members = pd.concat([layer.data for layer in chart.layer if "diameter" in layer.data], ignore_index=True)
    members = members[members["kind"] != "other"].drop_duplicates(["doc_id", "random_share"])
    assert members.groupby("random_share")["kind"].value_counts().unstack(fill_value=0).to_dict("list") == {
        "negative": [15, 7, 0], "positive": [1, 1, 1], "random": [0, 8, 15]
    }  # fmt: skip
    cell = next(cell for cell in study.plan.cells if cell.strategy == "bm25")
    description = study.pipeline.frame(study.plan.description(cell, cell.students[0]), "description")
    groups = study.pipeline.groups(cell.students[0].groups)
    before = description[description["state"] == "before"].reset_index(drop=True)
    at_none = members[members["random_share"] == 0]
    assert set(at_none["doc_id"]) == set(groups["doc_ids"].iloc[0])
    assert at_none["diameter"].iloc[0] == pytest.approx(before["diameter_q99"].iloc[0], abs=1e-5)

    spec = drawing.notebook_spec(drawing.chart_spec(chart))
    (slider,) = spec["params"]
    assert (slider["bind"]["min"], slider["bind"]["max"], slider["bind"]["step"]) == (0.0, 1.0, 0.5)
    shown = {}
    for share, part in members.groupby("random_share"):
        slider["value"] = share
        shown[share] = vl_convert.vegalite_to_svg(json.dumps(spec), vl_version="5.8")
        said = f"diameter {part['diameter'].iloc[0]:.2f}, mean distance {part['mean_distance'].iloc[0]:.2f}"
        assert said in shown[share]
    assert len(set(shown.values())) == 3
    with pytest.raises(ValueError, match="did you mean 'bm25'"):
        study.see_group("bm52")


def test_slider_is_left_out_of_one_share_and_refuses_what_it_cannot_set(study):
    assert not study.see_group("bm25", shares=(0.0,)).to_dict().get("params")
    with pytest.raises(ValueError, match="do not lie evenly"):
        study.see_group("bm25", shares=(0.0, 0.1, 1.0))


def test_hull_of_what_spans_no_area_is_what_there_is():
    line = pd.DataFrame({"x": [0.0, 1.0, 2.0], "y": [0.0, 1.0, 2.0]})
    points = line.assign(kind=["positive", "negative", "negative"], doc_id=list("abc"), text="", random_share=0.0)
    points = points.assign(diameter=1.0, mean_distance=0.5)
    assert charts.neighbourhood_chart(points).to_dict()
    with pytest.raises(ValueError, match="kind"):
        charts.neighbourhood_chart(points.assign(kind="neighbour"))


def test_training_is_drawn_for_the_cells_that_are_asked_for(study):
    drawn = study.see_training(KL).data
    assert set(drawn["cell"]) == {KL} and set(drawn["seed"]) == {0, 1}
    assert len(set(study.see_training().data["cell"])) == 4
    with pytest.raises(ValueError, match="unknown name"):
        study.see_training("kl")


def test_cost_of_a_cell_adds_up(study):
    paid = study.see_cost(KL)
    assert paid.index.tolist() == ["mine", "score", "train", "evaluate", "total"]
    assert np.allclose(paid.iloc[:-1].sum(), paid.loc["total"]) and paid.loc["total", "teacher calls"] > 0
    assert study.see_cost(LCE).loc["total", "teacher calls"] == 0
    every = study.cells[study.cells["cell"] == KL]
    assert paid.loc["train", "CPU seconds"] == pytest.approx(every["train_cpu_seconds"].mean())


def test_means_are_drawn_with_their_interval_over_queries(study):
    drawn = study.see_means(KL, "BM25").data
    assert drawn["system"].tolist() == [KL, "BM25"]
    per_query = study.per_query
    rows = per_query[(per_query["first_stage"] == per_query["first_stage"].iloc[0]) & (per_query["cell"] == KL)]
    values = rows.groupby("query_id")["value"].mean().to_numpy()
    half = 2.0010 * values.std(ddof=1) / len(values) ** 0.5  # t of 59 degrees of freedom
    assert len(values) == 60 and drawn.loc[0, ["mean", "low", "high"]].tolist() == pytest.approx(
        [values.mean(), values.mean() - half, values.mean() + half], abs=1e-5
    )
    assert set(study.see_means().data["system"]) == {row.name for row in (*study.plan.baselines, *study.plan.cells)}
    with pytest.raises(ValueError, match="2 do"):
        charts.means_chart(pd.DataFrame({"a": [0.5]}))


def test_sliders_of_margin_and_price_begin_with_what_the_study_says(study):
    (margin,) = drawing.chart_spec(study.see_margin())["params"]
    assert (margin["value"], margin["bind"]["max"]) == (0.02, 0.06)
    drawn = study.see_margin("strategy").data
    strategy = study.differences.query("family == 'strategy'")
    assert set(drawn["contrast"]) == set(strategy["cell_after"]) and drawn["difference"].abs().is_monotonic_decreasing
    with pytest.raises(ValueError, match="did you mean 'loss'"):
        study.see_margin("losses")

    priced = study.see_price()
    (price,) = drawing.chart_spec(priced)["params"]
    paid = study.cells[["score_cpu_seconds", "total_teacher_calls"]].sum()
    assert price["value"] == pytest.approx(paid["score_cpu_seconds"] / paid["total_teacher_calls"])
    points = priced.data.set_index("name")
    assert set(points.index) == {cell.name for cell in study.plan.cells}
    total = study.see_cost(KL).loc["total", "CPU seconds"] - study.see_cost(KL).loc["score", "CPU seconds"]
    assert points.loc[KL, "cpu_seconds"] == pytest.approx(total) and points.loc[LCE, "teacher_calls"] == 0

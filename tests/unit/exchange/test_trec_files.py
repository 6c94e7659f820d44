"""Runs and qrels that leave the store: what other tools measure in them is what the study measured."""

from __future__ import annotations

import functools
import json

import ir_measures
import pandas as pd
import pytest
import yaml
from studies_on_disk import ROOT

from rd_utils.exchange import export
from rd_utils.store import StoreError, file_sha256
from rd_utils.study import plan as planning
from rd_utils.study.params import ParameterError, StudentSystem
from rd_utils.workflow.pipeline import Pipeline
from tests import commands

CELL, LABEL = "static-bm25-lce", "embedded-smallest-additive-13/test"
asked = functools.partial(commands.asked, export)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of which one cell, one seed of it, and BM25 are evaluated; its file, plan and pipeline."""
    folder = tmp_path_factory.mktemp("study")
    values = yaml.safe_load((ROOT / "params" / "smallest.yaml").read_text())
    values["training"]["documents"] = 640
    (folder / "study.yaml").write_text(yaml.safe_dump(values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RD_OUTPUTS", str(folder / "outputs"))
        plan, pipeline = planning.load_plan(folder / "study.yaml"), Pipeline()
        cell = next(cell for cell in plan.cells if cell.name == CELL)
        bm25 = next(row for row in plan.baselines if row.name == "BM25")
        for system in (StudentSystem(student=cell.students[0]), *bm25.systems.values()):
            for spec in plan.evaluations(system, cell.collection):
                pipeline.build(spec)
        yield folder / "study.yaml", plan, pipeline


def measured(run, qrels) -> dict[str, float]:
    """Return nDCG@10 by query, as ir_measures reads the two files."""
    found = ir_measures.iter_calc(
        [ir_measures.parse_measure("nDCG@10")], list(ir_measures.read_trec_qrels(str(qrels))), list(ir_measures.read_trec_run(str(run)))
    )
    return {one.query_id: one.value for one in found}


@pytest.mark.parametrize("row, ending, seed", [(CELL, ".seed0.trec", 0), ("bm25", ".trec", None)])
def test_exported_runs_and_qrels_give_the_measures_of_the_study(study, tmp_path, row, ending, seed):
    file, plan, pipeline = study
    options = () if seed is None else ("--seed", seed)
    said = asked("run", row, tmp_path / "runs", "--study", file, *options)
    asked("qrels", LABEL, tmp_path / "qrels", "--study", file)
    record = json.loads((tmp_path / "runs" / export.PROVENANCE).read_text())
    assert set(record["runs"]) == {path.name for path in (tmp_path / "runs").glob("*.trec")} == set(said.splitlines()[1:])
    assert {one["first_stage"] for one in record["runs"].values()} == {"bm25@100", "full"}
    for name, about in record["runs"].items():
        path = tmp_path / "runs" / name
        assert name.startswith(f"{row}.embedded-smallest-additive-13-test.") and name.endswith(ending)
        assert about["sha256"] == file_sha256(path) and about["seed"] == seed and about["lines"] == len(path.read_text().splitlines())
        frame = pd.read_parquet(pipeline.store.root / "evaluation" / about["evaluation"] / "per_query.parquet")
        ours = frame[frame["measure"] == "nDCG@10"].set_index("query_id")["value"]
        theirs = measured(path, tmp_path / "qrels")
        assert theirs.keys() == set(ours.index) and all(theirs[query] == pytest.approx(value) for query, value in ours.items())
        assert {line.split()[5] for line in path.read_text().splitlines()} == {row if seed is None else f"{row}.seed{seed}"}


def test_places_narrow_what_is_exported(study, tmp_path):
    file, _, _ = study
    asked("run", "bm25", tmp_path / "runs", "--study", file, "--test", LABEL, "--first-stage", "full")
    assert [path.name for path in (tmp_path / "runs").glob("*.trec")] == ["bm25.embedded-smallest-additive-13-test.full.trec"]


@pytest.mark.parametrize(
    "options, error, said",
    [
        (("run", CELL, "new"), StoreError, "evaluation artefact"),  # seed 1 is not evaluated
        (("run", CELL, "new", "--seed", 7), ParameterError, "has no seed 7; it has 0, 1"),
        (("run", "bm26", "new"), ParameterError, "did you mean"),
        (("run", "bm25", "new", "--first-stage", "ful"), ParameterError, "did you mean 'full'?"),
        (("run", "bm25", "new", "--test", "x"), ParameterError, "--test: bm25 has no runs of 'x'"),
        (("run", "bm25", "."), ParameterError, ". exists; name a folder that does not"),
        (("qrels", "embedded-smallest-additive-13/tests", "new"), ParameterError, f"did you mean '{LABEL}'?"),
        (("qrels", LABEL, "new", "--split", "test"), ParameterError, "name one of them by its label"),
    ],
)
def test_what_it_refuses(study, tmp_path, monkeypatch, options, error, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as found:
        asked(*options, "--study", study[0])
    assert said in str(found.value) and not list(tmp_path.iterdir())


def test_qrels_of_a_folder_are_the_judgements_that_stand_there(toy, tmp_path, outputs):
    asked("qrels", toy, tmp_path / "test.qrels", "--split", "test")
    assert (tmp_path / "test.qrels").read_text() == "q3 0 d3 2\nq3 0 d2 1\nq1 0 d2 0\n"
    with pytest.raises(ParameterError, match="has the splits test, train; name one with --split"):
        asked("qrels", toy, tmp_path / "new")
    with pytest.raises(ParameterError, match="no qrels for the split 'tset'; did you mean 'test'"):
        asked("qrels", toy, tmp_path / "new", "--split", "tset")
    with pytest.raises(ParameterError, match="ir_datasets knows no id 'vaswany'; did you mean 'vaswani'"):
        asked("qrels", "vaswany", tmp_path / "new")

"""Results of a finished study: what is kept of its report, where it says it comes from, and what is refused when it is read."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from studies_on_disk import planned

from rd_utils.analysis import prospects
from rd_utils.exchange import export, results
from rd_utils.study.params import ParameterError
from tests.commands import asked

PLACE = {"collection": "c", "test_collection": "t", "first_stage": "full"}
CELL = {"cell": "bi-bm25-kl", "system": "student", "strategy": "bm25", "teacher": "oracle", "loss": "kl", "architecture": "bi"}
CELL |= {"augmentation": "none", "cut": "all", "temperature": 1.0, "target_entropy": 0.4}


@pytest.fixture
def study(outputs, tmp_path, monkeypatch):
    """A study whose report holds one line a table, of a collection that is not there."""
    monkeypatch.setattr(prospects, "prospects", lambda plan, pipeline: {"documents": 7.0})
    monkeypatch.setattr(prospects, "sizes", lambda plan, pipeline: {"c": {"documents": 7}})
    plan = planned(tmp_path)
    plan.folder.mkdir(parents=True)
    measure = plan.study.analysis.measure
    value = {"measure": measure, "value": 0.123456789}
    costs = {f"{step}_cpu_seconds": 1.0 for step in ("mine", "score", "train", "evaluate", "total")}
    costs |= {"total_teacher_calls": 5.0, "total_joules": 2.0, "documents_seen": 7}
    tables = {
        "per_query": [
            CELL | PLACE | value | {"seed": 0, "query_id": "q1"},
            CELL | PLACE | {"measure": "AP", "value": 0.5, "seed": 0, "query_id": "q1"},
        ],
        "summary": [CELL | PLACE | {"measure": measure, "mean": 0.1, "sd": 0.0, "n_seeds": 1}],
        "differences": [PLACE | {"contrast": "kl - lce", "difference": 0.1, "low_queries": 0.0, "verdict": "different"}],
        "learning_rates": [{"architecture": "bi", "loss": "kl", "learning_rate": 0.01, "chosen": True}],
        "options": [{"strategy": "bm25", "value": 0.1, "pairwise_entropy": 0.5}],
        "descriptions": [{"strategy": "bm25", "diameter_q99": 0.5}],
        "cells": [{"cell": "bi-bm25-kl", "collection": "c", "seed": 0, "identity": "abc", "manifest": "{}"} | costs],
    }
    for name, rows in tables.items():
        pd.DataFrame(rows).to_parquet(plan.folder / f"{name}.parquet")
    (plan.folder / "study.json").write_text("{}")
    return plan


def exported(study, tmp_path, name: str = "found"):
    asked(export, "results", tmp_path / "study.yaml", tmp_path / "results" / name)
    return tmp_path / "results" / name


def test_one_measure_is_kept_in_single_precision_with_where_it_comes_from(study, tmp_path):
    folder = exported(study, tmp_path)
    table = pd.read_parquet(folder / "per_query.parquet")
    assert len(table) == 1 and table["value"].dtype == "float32"
    about = json.loads((folder / results.ABOUT).read_text())
    assert (about["study"], about["measure"]) == (study.study.name, study.study.analysis.measure)
    assert about["command"].startswith("rd run ") and set(about["files"]) == {path.name for path in folder.glob("*.parquet")}
    assert about["prospects"] == {"documents": 7.0}
    assert pd.read_parquet(folder / "cells.parquet")["identity"].tolist() == ["abc"]
    assert "low_queries" not in pd.read_parquet(folder / "differences.parquet")
    assert not (folder / "factorial.parquet").exists()


def test_a_factorial_is_kept_where_there_is_one(study, tmp_path):
    pd.DataFrame({"term": ["strategy"], "share": [0.5]}).to_parquet(study.folder / "variance.parquet")
    assert pd.read_parquet(exported(study, tmp_path) / "factorial.parquet")["share"].tolist() == [0.5]


def test_what_was_exported_is_read_under_its_study(study, tmp_path, monkeypatch):
    monkeypatch.setenv("RD_PROJECT", str(tmp_path))
    exported(study, tmp_path)
    table = results.read("results/*")
    assert table["study"].tolist() == [study.study.name]
    assert table["value"].item() == pytest.approx(0.123456789, abs=1e-7)


def test_what_cannot_be_read_is_refused_by_name(study, tmp_path, monkeypatch):
    monkeypatch.setenv("RD_PROJECT", str(tmp_path))
    with pytest.raises(ParameterError, match="no folder results/\\* holds results"):
        results.read("results/*")
    folder = exported(study, tmp_path)
    with pytest.raises(ParameterError, match="no results of 'othr'"):
        results.read("results/*", ["othr"])
    with pytest.raises(ParameterError, match="leave_out leaves nothing"):
        results.read("results/*", [study.study.name])
    exported(study, tmp_path, "again")
    with pytest.raises(ParameterError, match="stands in another folder too"):
        results.read("results/*")
    with (folder / "per_query.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ParameterError, match="is not what results.json beside it says"):
        results.read("results/found")


def test_a_study_that_is_not_finished_has_no_results(outputs, tmp_path):
    planned(tmp_path)
    with pytest.raises(ParameterError, match="holds no finished report; `rd run"):
        asked(export, "results", tmp_path / "study.yaml", tmp_path / "found")

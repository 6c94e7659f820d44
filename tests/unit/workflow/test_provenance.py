"""Verifying a store, making a cell again, and walking from a number to what it rests on: on one cell of a small study."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from studies_on_disk import ROOT

from rd_utils import __main__ as command
from rd_utils.store import Store, StoreError, identity, write_manifest
from rd_utils.study import params, plan
from rd_utils.study.params import ParameterError
from rd_utils.workflow import provenance
from rd_utils.workflow.pipeline import Pipeline
from rd_utils.workflow.progress import untracked

CELL = "static-bm25-oracle-kl"


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A study of which one cell is finished."""
    folder = tmp_path_factory.mktemp("study")
    values = yaml.safe_load((ROOT / "params" / "smallest.yaml").read_text())
    values["training"]["documents"] = 640
    (folder / "study.yaml").write_text(yaml.safe_dump(values))
    before = os.environ.get("RD_OUTPUTS")
    os.environ["RD_OUTPUTS"] = str(folder / "outputs")
    try:
        this, pipeline = plan.load_plan(folder / "study.yaml"), Pipeline(track=untracked)
        (cell,) = [cell for cell in this.cells if cell.name == CELL]
        for student in cell.students.values():
            for spec in this.evaluations(params.StudentSystem(student=student), cell.collection):
                pipeline.build(spec)
    finally:
        os.environ.pop("RD_OUTPUTS") if before is None else os.environ.update(RD_OUTPUTS=before)
    return folder / "study.yaml"


@pytest.fixture
def store(study, monkeypatch) -> Store:
    monkeypatch.setenv("RD_OUTPUTS", str(study.parent / "outputs"))
    return Store()


def evaluations(study) -> list[params.EvaluationSpec]:
    return [spec for _, _, spec in provenance.evaluations_of(plan.load_plan(study), CELL, None)]


def said(capsys, *arguments: str) -> tuple[int, str, str]:
    status = command.main(list(arguments))
    return status, *capsys.readouterr()


# --- verify


def test_a_sound_store_and_a_study_that_is_not_finished_are_verified(study, store, capsys):
    status, out, _ = said(capsys, "verify")
    assert status == 0 and re.fullmatch(r"20 artefacts, \d+ files, [\d.]+ MB: all as they were made\n", out)
    status, out, _ = said(capsys, "verify", str(study))
    assert status == 0 and re.search(r"^20 artefacts, .*: \d+ not made yet$", out, re.MULTILINE)


def test_damage_unfinished_and_unknown_things_are_listed_with_a_remedy_and_can_be_discarded(study, store, capsys):
    spec = evaluations(study)[0]
    folder, content = store.folder(spec), (store.folder(spec) / "per_query.parquet").read_bytes()
    ended = subprocess.Popen(["true"])
    ended.wait()
    (folder / "per_query.parquet").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (folder / "notes.txt").write_text("mine")
    leftover, running = (store.root / "docs" / f".{'0' * 20}.{socket.gethostname()}.{pid}" for pid in (ended.pid, os.getpid()))
    unfinished, unknown = store.root / "docs" / ("1" * 20), store.root / "photos"
    checkpoint = store.checkpoints(spec)
    for made in (leftover, running, unfinished, unknown, checkpoint):
        made.mkdir(parents=True)
    status, out, _ = said(capsys, "verify")
    assert status == 1
    for line in (
        f"damaged: {folder}: per_query.parquet is damaged: its SHA-256 is .*delete the folder and run again",
        f"unfinished: {unfinished}: it has no manifest.json, so it counts as not made; delete it, or run again",
        f"leftover: {leftover}: a process that has ended was writing it",
        f"leftover: {checkpoint}: what it was kept for is finished",
        f"unknown: {unknown}: nothing of the store is called so",
        ": 1 damaged, 2 leftover, 1 unfinished, 1 unknown$",
    ):
        assert re.search(line, out, re.MULTILINE), line
    assert str(running) not in out
    status, out, _ = said(capsys, "verify", "--discard")
    assert status == 1 and "deleted 4 of these" in out
    assert not folder.exists() and not leftover.exists() and not unfinished.exists() and unknown.exists() and running.exists()
    Pipeline(store, track=untracked).build(spec)
    running.rmdir()
    unknown.rmdir()
    assert (folder / "per_query.parquet").read_bytes() == content and said(capsys, "verify")[0] == 0


def test_damaged_scores_of_pairs_and_parts_of_long_work_are_found(study, store, capsys):
    (pairs,) = (store.root / "pairs").iterdir()
    (held,) = [path for path in pairs.rglob("*") if path.name in ("scores.npy", "shard-000000-000001.npz")][-1:]
    content = held.read_bytes()
    held.write_bytes(content[:-1])
    part = store.root / "checkpoints" / ("2" * 20) / "0-8"
    part.mkdir(parents=True)
    part.with_name("0-8.sha256").write_text("0" * 64)
    (part.parent / "checkpoint.pt").write_bytes(b"no archive")
    for arguments in ((), (str(study),)):
        status, out, _ = said(capsys, "verify", *arguments)
        assert status == 1 and f"{held.name} is damaged" in out and "scores them again" in out
        assert arguments or ("the checkpoint is damaged" in out and "this part is not what was written" in out)
    held.write_bytes(content)
    said(capsys, "verify", "--discard")
    assert said(capsys, "verify")[0] == 0


# --- rerun


def test_a_cell_repeats_to_the_byte(study, store, capsys, monkeypatch):
    threads = provenance.recorded_threads(plan.load_plan(study), CELL, store)
    monkeypatch.setenv("OMP_NUM_THREADS", threads) if threads else monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    status, out, _ = said(capsys, "rerun", CELL, "--study", str(study), "--seed", "1")
    lines = out.splitlines()
    assert status == 0 and all(line.startswith("same bytes") for line in lines[:-1]) and len(lines) > 10
    number = len(lines) - 1
    status, out, _ = said(capsys, "rerun", CELL, "--study", str(study), "--seed", "1", "--json")
    answer = json.loads(out)
    assert status == 0 and answer["repeats"] and answer["seeds"] == [1] and len(answer["artefacts"]) == len(lines) - 1
    assert {one["outcome"] for one in answer["artefacts"]} == {"same"}
    assert re.match(rf"{CELL} \(seeds 1\) made again in \d+ s: {number} of {number} artefacts are the same, byte for byte", lines[-1])


def test_what_does_not_repeat_is_named_and_the_exit_status_says_so(study, store, capsys, monkeypatch):
    threads = provenance.recorded_threads(plan.load_plan(study), CELL, store)
    monkeypatch.setenv("OMP_NUM_THREADS", threads) if threads else monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    spec = evaluations(study)[0]
    folder, manifest = store.folder(spec), store.manifest(spec)
    content = (folder / "run.trec").read_bytes()
    (folder / "run.trec").write_bytes(content + b"\n")
    changed = json.loads(json.dumps(manifest))
    changed["files"]["run.trec"], changed["sizes"]["run.trec"] = provenance.files.tree_sha256(folder / "run.trec"), len(content) + 1
    write_manifest(folder, changed)
    status, out, _ = said(capsys, "rerun", CELL, "--study", str(study), "--seed", "0")
    (folder / "run.trec").write_bytes(content)
    write_manifest(folder, manifest)
    assert status == 1 and re.search(rf"^DIFFERS +evaluation +{identity(spec)}  run.trec: other bytes$", out, re.MULTILINE)
    assert "1 differ by more than is promised" in out


def test_a_cell_that_is_not_finished_or_unknown_is_said_before_anything_is_made(study, store, capsys):
    for name, message in (
        (
            "static-bm25-lce",
            "is not finished, so there is nothing to compare with: the store lacks .*2 student, 4 evaluation; run it first",
        ),
        ("static-bm25-oracl-kl", "has no cell 'static-bm25-oracl-kl'; did you mean 'static-bm25-oracle-kl'"),
    ):
        with pytest.raises((StoreError, ParameterError), match=message):
            provenance.rerun(plan.load_plan(study), name, store, study.parent / "never")
    with pytest.raises(ParameterError, match="has no seed 7; it has 0, 1"):
        provenance.specs_of(plan.load_plan(study), CELL, 7)
    assert not (study.parent / "never").exists()


SCORED = pd.DataFrame({"query_id": ["1", "2"], "teacher_scores": [np.float32([3, 1]), np.float32([-2, 0])]})
MEASURED = pd.DataFrame({"query_id": ["1", "2"], "value": [1.0, 0.5]})


def put(root: Path, stage: str, table: pd.DataFrame, teacher: str = "oracle", **changes) -> Path:
    """Write an artefact of one table by hand."""
    folder = root / stage / ("a" * 20)
    folder.mkdir(parents=True)
    table.to_parquet(folder / "table.parquet", index=False)
    record = {"stage": stage, "identity": "a" * 20, "parameters": {"groups": {"teacher": {"kind": teacher}}}, "inputs": {}, "cost": {}}
    record |= {"counts": {"pairs": 4, "pairs_scored_now": len(str(root))}, "dropped": {}, "scoring": [{}] if stage == "scores" else []}
    record |= {"machine": {"processor": "x86_64", "threads": "1"}, "sizes": {}}
    record["files"] = {"table.parquet": provenance.files.tree_sha256(folder / "table.parquet")}
    write_manifest(folder, record | changes)
    return folder


def moved(table: pd.DataFrame, by: float) -> pd.DataFrame:
    return table.assign(**{table.columns[-1]: table[table.columns[-1]] + np.float32(by)})


@pytest.mark.parametrize(
    ("stage", "teacher", "by", "below", "changes", "outcome"),
    [
        ("scores", "trained", 0.0, False, {}, "same"),
        ("scores", "trained", 1e-4, False, {}, "moved"),
        ("scores", "trained", 1e-2, False, {}, "differs"),  # further than rounding moves scores
        ("scores", "oracle", 1e-4, False, {}, "differs"),  # nothing learned scored them
        ("evaluation", "trained", 1e-3, False, {}, "differs"),  # what it is made from is the same
        ("evaluation", "trained", 1e-3, True, {}, "moved"),
        ("evaluation", "trained", 0.1, True, {}, "differs"),
        ("evaluation", "oracle", 1e-3, False, {"machine": {"processor": "arm64", "threads": "1"}}, "moved"),
        ("evaluation", "oracle", 1e-3, False, {"machine": {"processor": "x86_64", "threads": "2"}}, "moved"),
        ("evaluation", "oracle", 0.0, False, {"counts": {"pairs": 5}}, "differs"),
        ("evaluation", "oracle", 0.0, False, {"files": {}}, "differs"),
    ],
)
def test_what_is_promised_of_a_repetition_is_allowed_and_nothing_else(tmp_path, stage, teacher, by, below, changes, outcome):
    table = SCORED if stage == "scores" else MEASURED
    one, other = put(tmp_path / "one", stage, table, teacher), put(tmp_path / "other", stage, moved(table, by), teacher, **changes)
    found = provenance.compare_artefacts(one, other, below)
    assert found.outcome == outcome, found
    if outcome == "moved":
        assert re.match(r"other bytes, \w+ by [\d.e-]+ at most", found.files["table.parquet"])


# --- trace


def test_a_trace_leads_from_the_mean_to_everything_below(study, store, capsys):
    status, out, _ = said(capsys, "trace", str(study), CELL, "nDCG@10", "--format", "json")
    found = json.loads(out)
    assert status == 0 and len(found["numbers"]) == 2
    for entry in found["numbers"]:
        values = []
        for one in entry["seeds"].values():
            table = pd.read_parquet(store.root / "evaluation" / one["evaluation"] / "per_query.parquet")
            values.append(table.loc[table["measure"] == "nDCG@10", "value"].mean())
            assert one["value"] == values[-1] and one["queries"] == 60
        assert entry["mean"] == pytest.approx(np.mean(values), abs=1e-15) and set(entry["seeds"]) == {"0", "1"}
    assert {own["stage"] for own in found["artefacts"].values()} >= {"docs", "queries", "groups", "scores", "student", "evaluation"}
    for own in found["artefacts"].values():
        assert own["packages"]["numpy"] and own["versions"]
        assert {part["identity"] for part in own["inputs"].values()} <= set(found["artefacts"])
        for name, digest in own["files"].items():
            assert provenance.files.tree_sha256(Path(own["folder"]) / name) == digest
    status, text, _ = said(capsys, "trace", str(study), CELL, "nDCG@10")
    assert f"{found['numbers'][0]['mean']:.6f}  mean over 2 seeds: trained on embedded-smallest" in text
    assert all(key in text for key in found["artefacts"]) and text.count("parameters ") == len(found["artefacts"])
    assert "parameters groups (see groups), loss kl, teacher oracle, architecture static_bi" in text
    assert re.search(r"20 of 20: revision .*Python 3", text) and max(map(len, text.splitlines())) <= 400


def test_an_unknown_measure_or_damaged_value_is_said(study, store, capsys):
    status, _, error = said(capsys, "trace", str(study), CELL, "nDCG@1O")
    assert status == 2 and "no measure 'nDCG@1O'; did you mean 'nDCG@10'? (choices: nDCG@10, AP" in error
    path = store.folder(evaluations(study)[0]) / "per_query.parquet"
    content = path.read_bytes()
    path.write_bytes(b"")
    status, _, error = said(capsys, "trace", str(study), CELL, "nDCG@10")
    path.write_bytes(content)
    assert status == 2 and "per_query.parquet is damaged: it has 0 bytes" in error

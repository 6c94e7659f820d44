"""Runs of the workflow: what is broken runs again, runs take turns, and what ended runs left is cleared."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from studies_on_disk import planned, put_all

from rd_utils import durable, kernels
from rd_utils.__main__ import main
from rd_utils.store import Store, StoreError, identity
from rd_utils.study import node_files, plan
from rd_utils.workflow import turns

ROOT = Path(__file__).resolve().parents[3]
BOOK = {"cells": [{"cell_type": "code", "source": "1", "outputs": []}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def execute(this: plan.Plan) -> None:
    """Let every node of a plan be done, its artefacts apart."""
    for node in this.nodes:
        place = node_files.node_folder(node.id) / "notebook.ipynb"
        place.parent.mkdir(parents=True, exist_ok=True)
        durable.write_text(place, json.dumps(kernels.sealed(BOOK)))


def report(this: plan.Plan) -> None:
    this.folder.mkdir(parents=True, exist_ok=True)
    (this.folder / "report.html").write_text("<p>all</p>")
    (this.folder / "results.parquet").write_bytes(bytes(300))
    node_files.write_record(this, [this.folder / "results.parquet", this.folder / "report.html"])


@pytest.fixture
def finished(tmp_path, outputs, monkeypatch):
    """A study of which everything is done, as far as a plan can see."""
    this = planned(tmp_path)
    monkeypatch.setattr(Store, "has", lambda store, spec: True)
    monkeypatch.setattr(Store, "sound", lambda store, spec: True, raising=False)
    node_files.prepare(this)
    execute(this)
    report(this)
    assert all(node_files.is_done(node, this, Store()) for node in this.nodes)
    return this


def left(this: plan.Plan) -> list[str]:
    """Return the notebooks that a run would execute."""
    node_files.prepare(this)
    return [node.notebook for node in this.nodes if not (node_files.node_folder(node.id) / "notebook.ipynb").exists()]


def empty(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def folder(path):
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("something")


def foreign(path):
    path.write_text('["of", "something", "else"]')


HARMS = [empty, cut, flip, folder, foreign, Path.unlink]


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", ["study.json", "report.html", "results.parquet"])
def test_a_report_that_is_not_whole_is_made_again(finished, harm, name, capsys):
    assert left(finished) == []
    harm(finished.folder / name)
    assert left(finished) == ["05c_report"]
    assert str(finished.folder / name) in capsys.readouterr().err
    durable.remove(finished.folder / name)
    execute(finished)
    report(finished)
    assert left(finished) == []


@pytest.mark.parametrize("harm", HARMS[:-1])
def test_an_executed_notebook_that_is_not_whole_runs_again(finished, harm, capsys):
    node = finished.nodes[1]
    harm(node_files.node_folder(node.id) / "notebook.ipynb")
    assert left(finished) == [node.notebook]
    assert f"{node.name} runs again: {node_files.node_folder(node.id) / 'notebook.ipynb'} is damaged" in capsys.readouterr().err


def test_the_executed_notebook_of_another_node_counts_as_damaged(finished):
    first, second = (node_files.node_folder(node.id) / "notebook.ipynb" for node in finished.nodes[:2])
    second.with_name("executed.ipynb").write_text(json.dumps(BOOK))
    kernels.put(second.with_name("executed.ipynb"), second)
    assert left(finished) == []
    shutil.copyfile(second, first)
    assert left(finished) == [finished.nodes[0].notebook]


@pytest.mark.parametrize("harm", HARMS)
def test_parameters_are_written_again_where_they_are_not_what_was_planned(finished, harm):
    path = node_files.node_folder(finished.nodes[0].id) / "parameters.yaml"
    harm(path)
    node_files.prepare(finished)
    assert yaml.safe_load(path.read_text()) == finished.nodes[0].parameters


def test_what_is_published_is_what_was_executed_whatever_stood_there(finished):
    copies = finished.folder / "notebooks"
    copies.write_text("a file in the folder's place")
    node_files.publish(finished)
    names = sorted(f"{node.name}.ipynb" for node in finished.nodes)
    assert sorted(path.name for path in copies.iterdir()) == names
    stamps = {path: path.stat().st_mtime_ns for path in copies.iterdir()}
    first = copies / names[0]
    flip(first)
    folder(copies / names[1])
    (copies / "01_mine-of-before.ipynb").write_text("{}")
    node_files.publish(finished)
    assert sorted(path.name for path in copies.iterdir()) == names
    assert {json.loads(path.read_text())["metadata"]["rd_utils"]["sha256"] for path in copies.iterdir()} == {
        kernels.sealed(BOOK)["metadata"]["rd_utils"]["sha256"]
    }
    assert {path for path in copies.iterdir() if path.stat().st_mtime_ns != stamps[path]} == {first, copies / names[1]}  # the others stand
    empty(node_files.node_folder(finished.nodes[0].id) / "notebook.ipynb")
    with pytest.raises(StoreError, match="has not been executed .*notebook.ipynb is damaged.*rd run"):
        node_files.publish(finished)


PUBLISH = (
    "import sys; from rd_utils.study import node_files, plan; "
    "this = plan.load_plan(sys.argv[1]); [node_files.publish(this) for _ in range(20)]"
)


def test_two_that_publish_at_once_end_well(finished, tmp_path):
    both = [subprocess.Popen([sys.executable, "-c", PUBLISH, str(tmp_path / "study.yaml")], stderr=subprocess.PIPE) for _ in range(2)]
    assert [(process.communicate()[1], process.returncode) for process in both] == [(b"", 0)] * 2
    assert len(list((finished.folder / "notebooks").iterdir())) == len(finished.nodes)


# --- turns ------------------------------------------------------------------------------------------------------------------------

HOLD = (
    "import sys, time; from rd_utils.study import node_files, plan; from rd_utils.workflow import turns; "
    "turn = turns.begin(plan.load_plan(sys.argv[1])); print('turn', flush=True); "
)


def run(study: Path, then: str) -> subprocess.Popen:
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", HOLD + then, str(study)], **streams)


def test_a_run_waits_for_another_of_its_study_and_says_for_whom_and_goes_on_when_that_is_killed(tmp_path, outputs):
    this = planned(tmp_path)
    first = run(tmp_path / "study.yaml", "time.sleep(600)")
    assert first.stdout.readline() == "turn\n"
    second = run(tmp_path / "study.yaml", "turn.leave()")
    said = second.stderr.readline()
    assert f"another run of study smallest (process {first.pid} on {socket.gethostname()}, since 2" in said and "waiting" in said
    time.sleep(2.5)
    assert second.poll() is None  # it waits
    assert not turns.Turn(this).take(wait=False)
    first.kill()
    first.communicate()
    out, _ = second.communicate(timeout=200)
    assert out == "turn\n" and second.returncode == 0
    assert turns.Turn(this).take(wait=False)


def test_studies_that_share_what_is_left_to_do_take_turns_and_others_run_at_once(tmp_path, outputs):
    study = planned(tmp_path)
    (tmp_path / "part").mkdir()
    (tmp_path / "other").mkdir()
    grids = [grid.model_dump(mode="json", exclude_unset=True) for grid in study.study.grids]
    part = planned(tmp_path / "part", "overrides", name="part", grids=grids[:1])
    assert {node.id for node in part.nodes} & {node.id for node in study.nodes}
    planned(tmp_path / "other", "overrides", name="other", grids=[grids[0] | {"seeds": [7]}], group_size=8)
    first = run(tmp_path / "study.yaml", "input()")
    assert first.stdout.readline() == "turn\n"
    other = run(tmp_path / "other" / "study.yaml", "turn.leave()")
    assert other.communicate(timeout=200)[0] == "turn\n"
    sharing = run(tmp_path / "part" / "study.yaml", "turn.leave()")
    assert "another run of study smallest" in sharing.stderr.readline()
    first.communicate("go\n", timeout=200)
    assert sharing.communicate(timeout=200)[0] == "turn\n"


def test_a_finished_study_holds_up_no_study_that_shares_its_nodes(finished, tmp_path):
    (tmp_path / "part").mkdir()
    grids = [grid.model_dump(mode="json", exclude_unset=True) for grid in finished.study.grids]
    part = planned(tmp_path / "part", "overrides", name="part", grids=grids[:1])
    turn = turns.Turn(part)
    assert turn.take(wait=False)
    shared = {node.id for node in part.nodes} & {node.id for node in finished.nodes}
    assert shared and not shared & set(json.loads(turn.record.read_text())["keys"])
    turn.leave()


# --- leftovers --------------------------------------------------------------------------------------------------------------------


def test_what_ended_runs_left_is_cleared_and_what_is_alive_is_not(tmp_path, outputs, capsys):
    this = planned(tmp_path)
    node_files.prepare(this)
    store = Store()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host, node = socket.gethostname(), node_files.node_folder(this.nodes[0].id)
    specs = this.specs()[:4]
    folders = [store.root / specs[0].stage / f".{identity(specs[0])}.{ended.pid}", store.checkpoints(specs[1])]
    kept = [store.checkpoints(specs[2]), store.root / specs[3].stage / f".{identity(specs[3])}.{ended.pid}"]
    for path in (*folders, *kept):
        path.mkdir(parents=True)
    (kept[0] / "checkpoint").write_text("half way")
    gone = [
        node / f"running-{host}.{ended.pid}.ipynb",
        node / f"running-{ended.pid}.ipynb",
        this.folder / f".report.{host}.{ended.pid}.partial.html",
    ]
    alive = [node / f"running-{host}.{os.getpid()}.ipynb", node / f"running-elsewhere.{ended.pid}.ipynb"]
    this.folder.mkdir(parents=True, exist_ok=True)
    for path in (*gone, *alive):
        path.write_text("{")
    with store.lock(f"{specs[3].stage}-{identity(specs[3])}"):  # somebody makes this one
        turn = turns.begin(this)
    turn.leave()
    assert not [path for path in (*gone, *folders) if path.exists()] and all(path.exists() for path in (*alive, *kept))
    assert "removed what ended runs left: 5 files and folders" in capsys.readouterr().err


def test_checkpoints_of_what_is_complete_are_cleared(tmp_path, outputs):
    this = planned(tmp_path)
    put_all(Store(), this)
    student = this.cells[0].students[0]
    (Store().checkpoints(student)).mkdir(parents=True)
    (Store().checkpoints(student) / "checkpoint").write_text("the last step")
    assert Store().checkpoints(student) in turns.clear_leftovers(this, Store())
    assert not Store().checkpoints(student).exists()


def test_nursery_folders_go_with_their_process(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = [tmp_path / f"rd-nursery-{ended.pid}-abc", tmp_path / "rd-nursery-x1y2z3"]
    kept = tmp_path / f"rd-nursery-{os.getpid()}-abc"
    for path in (*gone, kept):
        path.mkdir()
    assert set(gone) <= set(kernels.clear_nurseries()) and kept.exists() and not any(path.exists() for path in gone)


# --- disks that refuse ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("only root can mount a small disk, and not everywhere")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_named_and_the_next_run_goes_on(disk, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RD_OUTPUTS", str(disk))
    planned(tmp_path)
    (disk / "filler").write_bytes(b"x" * (4 << 20 if shutil.disk_usage(disk).free > 4 << 20 else shutil.disk_usage(disk).free))
    assert main(["prepare", str(tmp_path / "study.yaml")]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("no space left on the disk that holds") == 1 and str(disk) in printed.err and "Traceback" not in printed.err
    (disk / "filler").unlink()
    assert main(["prepare", str(tmp_path / "study.yaml")]) == 0


def test_a_read_only_disk_is_named_unless_everything_is_done(disk, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RD_OUTPUTS", str(disk))
    monkeypatch.setattr(Store, "has", lambda store, spec: True)
    monkeypatch.setattr(Store, "sound", lambda store, spec: True, raising=False)
    this = planned(tmp_path)
    node_files.prepare(this)
    execute(this)
    report(this)
    node_files.publish(this)
    node_files.write_nodes(this)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert main(["prepare", str(tmp_path / "study.yaml")]) == 0
    assert "everything is done, and nothing is written" in capsys.readouterr().err
    assert node_files.publish(this) == this.folder and main(["publish", str(tmp_path / "study.yaml")]) == 0
    node_files.write_nodes(this)
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    (this.folder / "report.html").unlink()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert main(["prepare", str(tmp_path / "study.yaml")]) == 2
    assert "its disk is read-only" in capsys.readouterr().err

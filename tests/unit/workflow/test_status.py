"""How far a study is, read from its nodes' folders."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from rd_utils import kernels
from rd_utils.study import node_files
from rd_utils.study.plan import load_plan
from rd_utils.workflow import status
from tests.commands import asked

STUDY = "params/smallest.yaml"


@pytest.fixture
def plan(outputs, monkeypatch):
    """A study, every node of which is done that has an executed notebook."""
    monkeypatch.setattr(status, "is_done", lambda node, plan, store: (node_files.node_folder(node.id) / "notebook.ipynb").exists())
    return load_plan(STUDY)


@pytest.fixture
def watch(plan, monkeypatch):
    """A look at it, each notebook of which is expected to take ten seconds."""
    found = status.Watch(plan, times=False)
    found.expected = {node.id: 10.0 for node in plan.nodes}
    return found


def book(ago: float, duration: float | None = None, exception: bool | None = None) -> dict:
    began = (datetime.now(UTC) - timedelta(seconds=ago)).isoformat()
    return {"metadata": {"papermill": {"start_time": began, "duration": duration, "exception": exception}}}


def put(node, name: str, notebook: dict, *lines: str) -> None:
    folder = node_files.node_folder(node.id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(notebook))
    (folder / "log.txt").write_text("\n".join(lines))


def running(pid: int) -> str:
    return f"running-{socket.gethostname()}.{pid}.ipynb"


@pytest.fixture
def gone() -> int:
    """A process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_nothing_has_begun(watch):
    found = watch.look()
    assert {look.state for look in found.looks} == {"waiting"} and not found.is_done and found.seconds_left is None
    assert status.as_text(found) == f"smallest: 0 of {len(found.looks)} notebooks done"


def test_what_is_at_work_says_its_last_line(watch, plan):
    put(plan.nodes[0], running(os.getpid()), book(30.0), "Executing Cell 3---", "making index", "BM25: 3 of 4, 7 s", "", "Ending Cell 3---")
    found = watch.look()
    (look,) = found.of("running")
    assert look.lines == ("BM25: 3 of 4, 7 s",) and look.seconds == pytest.approx(30.0, abs=20)
    assert re.search(rf"^  {re.escape(look.node.name)}, \d+ s: BM25: 3 of 4, 7 s$", status.as_text(found), re.MULTILINE)


def test_a_cell_that_raised_is_told_from_a_run_that_ended(watch, plan, gone):
    failed, stopped = plan.nodes[:2]
    put(failed, running(gone), book(5.0, exception=True), *(f"line {n}" for n in range(40)), "ValueError: the loss is nan")
    put(stopped, running(gone), book(5.0), "training: 3 of 9, 2 s")
    found = watch.look()
    assert [look.node for look in found.of("failed")] == [failed] and [look.node for look in found.of("stopped")] == [stopped]
    (look,) = found.of("failed")
    assert len(look.lines) == status.LINES and look.lines[-1] == "ValueError: the loss is nan"
    text = status.as_text(found)
    assert f"failed: {failed.name}, see {look.log}" in text and "  | ValueError: the loss is nan" in text
    assert f"stopped with their run: {stopped.name}" in text
    assert status.as_record(found)["nodes"][0]["state"] == "failed"


def test_the_time_left_is_corrected_by_what_was_done(watch, plan):
    """Two notebooks took twice what was expected, so each of the others will; of the one at work half is over."""
    n = len(plan.nodes)
    for node in plan.nodes[:2]:
        put(node, "notebook.ipynb", book(100.0, duration=20.0))
    put(plan.nodes[2], running(os.getpid()), book(10.0))
    found = watch.look()
    assert found.seconds_left == pytest.approx(20.0 * (n - 3) + 10.0, abs=2.0)
    put(plan.nodes[3], running(os.getpid()), book(100.0))  # takes longer than expected: a quarter of that more; two share the rest
    assert watch.look().seconds_left == pytest.approx((20.0 * (n - 4) + 10.0 + 25.0) / 2, abs=2.0)


def test_expected_is_what_a_plan_expects_of_what_is_missing(plan):
    """The nodes' seconds add up to those of the plan, but that none takes less than a notebook does."""
    from rd_utils.cost import devices, estimates
    from rd_utils.store import Store

    total = estimates.estimate(plan, Store(), devices.device_of(None)).total
    expected = status.Watch(plan).expected
    assert expected.keys() == {node.id for node in plan.nodes} and min(expected.values()) >= status.LEAST
    planned = total.left_core_seconds + total.left_gpu_seconds
    assert planned <= sum(expected.values()) <= planned + status.LEAST * len(plan.nodes)


def test_the_command_says_it_to_people_and_programs(plan, gone, capsys):
    put(plan.nodes[0], running(gone), book(5.0, exception=True), "ValueError: broken")
    assert asked(status, STUDY) == 1 and "1 failed" in capsys.readouterr().out
    assert asked(status, STUDY, "--json") == 1
    record = json.loads(capsys.readouterr().out)
    assert record["study"] == "smallest" and not record["done"] and record["nodes"][0]["lines"] == ["ValueError: broken"]


def test_who_watches_sees_the_end(watch, plan):
    """A node's process ends while one watches."""
    node = plan.nodes[0]
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    put(node, running(process.pid), book(1.0), "making groups")
    first = watch.look()
    process.communicate(b"\n")
    began = time.monotonic()
    last = status._watched(watch, first)
    assert [look.node for look in last.of("stopped")] == [node] and not last.of("running") and time.monotonic() - began < 60


def test_a_done_notebook_counts_by_its_own_seconds(watch, plan):
    put(plan.nodes[0], "notebook.ipynb", kernels.sealed(book(9.0, duration=3.5), plan.nodes[0].id))
    (look,) = watch.look().of("done")
    assert look.seconds == 3.5

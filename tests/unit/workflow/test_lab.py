"""``rd lab``: which copies are made, kept and refreshed, and what JupyterLab is started on."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from studies_on_disk import ROOT

from rd_utils import __main__ as commands
from rd_utils.study.explain import ParameterError
from rd_utils.workflow import lab


def notebook(place: Path, *sources: str, output: str = "") -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    outputs = [{"output_type": "stream", "name": "stdout", "text": output}] if output else []
    cells = [{"cell_type": "code", "source": source, "outputs": outputs, "metadata": {}} for source in sources]
    place.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return place


def first_source(place: Path) -> str:
    return json.loads(place.read_text())["cells"][0]["source"]


def test_copies_are_made_once_and_what_the_reader_changed_is_kept(tmp_path):
    suite, mine = tmp_path / "notebooks", tmp_path / "lab"
    for name in ("a.ipynb", "b.ipynb", "lessons/c.ipynb", ".ipynb_checkpoints/a-checkpoint.ipynb"):
        notebook(suite / name, "x = 1")
    assert lab.refresh(suite, mine)[0].endswith("3 of 3 are new")
    assert sorted(path.relative_to(mine).as_posix() for path in mine.rglob("*.ipynb")) == ["a.ipynb", "b.ipynb", "lessons/c.ipynb"]
    assert lab.refresh(suite, mine)[0].endswith("0 of 3 are new")

    notebook(mine / "a.ipynb", "x = 2")  # changed
    notebook(mine / "b.ipynb", "x = 1", output="1")  # only run
    assert lab.refresh(suite, mine) == [f"{mine}: a copy of the notebooks, yours to change; 0 of 3 are new"]
    for name in ("a.ipynb", "b.ipynb"):
        notebook(suite / name, "x = 3")
    lines = lab.refresh(suite, mine)
    assert lines[0].endswith("1 of 3 are new") and lines[1].startswith("  a.ipynb is as you changed it") and len(lines) == 2
    assert (first_source(mine / "a.ipynb"), first_source(mine / "b.ipynb")) == ("x = 2", "x = 3")

    (mine / "a.ipynb").unlink()
    assert lab.refresh(suite, mine)[0].endswith("1 of 3 are new") and first_source(mine / "a.ipynb") == "x = 3"


def test_a_broken_copy_and_one_of_the_readers_own_are_left_alone(tmp_path):
    suite, mine = tmp_path / "notebooks", tmp_path / "lab"
    notebook(suite / "a.ipynb", "x = 1")
    notebook(suite / "b.ipynb", "x = 1")
    notebook(mine / "a.ipynb", "mine = 1")
    lab.refresh(suite, mine)
    (mine / "b.ipynb").write_text("<<<<<<< half a notebook")
    notebook(suite / "b.ipynb", "x = 2")
    assert [line.split()[0] for line in lab.refresh(suite, mine)[1:]] == ["a.ipynb", "b.ipynb"]
    assert first_source(mine / "a.ipynb") == "mine = 1" and (mine / "b.ipynb").read_text().startswith("<<<<<<<")


@pytest.fixture
def started(monkeypatch) -> list:
    calls: list = []
    monkeypatch.setattr(subprocess, "call", lambda command, **more: calls.append((command, more)) or 0)
    return calls


def run(*words: str) -> int:
    return lab.run(commands.command_line("lab").parse_args(["lab", *words]))


def test_a_checkout_opens_on_a_copy_of_its_first_notebook(tmp_path, monkeypatch, started, capsys):
    monkeypatch.chdir(ROOT)
    assert run("--to", str(tmp_path / "mine"), "--", "--no-browser") == 0
    ((command, more),) = started
    assert command[-2:] == ["--no-browser", str(tmp_path / "mine" / lab.FIRST)] and "--ip=127.0.0.1" in command
    assert f"--ServerApp.root_dir={tmp_path / 'mine'}" in command and more["env"]["RD_PROJECT"] == str(ROOT)
    assert (tmp_path / "mine" / lab.FIRST).read_bytes() == (ROOT / "notebooks" / lab.FIRST).read_bytes()
    assert "yours to change" in capsys.readouterr().out

    assert run("--originals") == 0
    assert started[1][0][-1] == str(ROOT / "notebooks" / lab.FIRST) and f"--ServerApp.root_dir={ROOT}" in started[1][0]


def test_a_project_of_ones_own_is_opened_itself(tmp_path, monkeypatch, started):
    assert commands.main(["init", str(tmp_path / "mine")]) == 0
    monkeypatch.chdir(tmp_path / "mine")
    assert run() == 0 and not (tmp_path / "mine" / "lab").exists()
    assert started[0][0][-1] == str(tmp_path / "mine" / "notebooks" / lab.FIRST)
    assert (tmp_path / "mine" / "notebooks" / "lessons" / "01_how_good_is_a_ranking.ipynb").is_file()
    with pytest.raises(ParameterError, match="nothing is copied here"):
        run("--to", "elsewhere")


def test_what_cannot_be_is_refused_before_anything_starts(tmp_path, monkeypatch, started):
    monkeypatch.chdir(ROOT)
    with pytest.raises(ParameterError, match="among the notebooks themselves"):
        run("--to", "notebooks/copy")
    (tmp_path / "params").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError, match="no notebooks in"):
        run()
    assert not started

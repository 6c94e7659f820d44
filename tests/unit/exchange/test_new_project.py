"""A project of one's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rd_utils.exchange import new_project
from rd_utils.store import paths
from rd_utils.study.nodes import NOTEBOOKS
from rd_utils.study.params import ParameterError
from rd_utils.study.plan import load_plan
from tests.commands import asked
from tests.toys import write_words


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.delenv("RD_OUTPUTS", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "mine"


def test_a_project_has_a_study_that_is_valid_and_the_notebooks_that_it_runs(folder, monkeypatch):
    said = asked(new_project, folder)
    assert re.search(r"begin with: cd .*mine; rd run params/own/first.yaml$", said)
    monkeypatch.chdir(folder)
    plan = load_plan("params/own/first.yaml")
    assert paths.project_root() == folder and plan.folder == folder / "outputs" / "first"
    assert len(plan.cells) == 6 and all(paths.shipped(f"notebooks/{name}.ipynb").is_relative_to(folder) for name in NOTEBOOKS)
    readme = (folder / "README.md").read_text()
    assert all((folder / path).exists() for path in re.findall(r"^    rd \w+ (params/\S+)", readme, re.MULTILINE))


def test_what_is_there_stays(folder):
    (folder / "params" / "own").mkdir(parents=True)
    (folder / "params" / "own" / "first.yaml").write_text("mine")
    assert "1 that were there stay" in asked(new_project, folder)
    assert (folder / "params" / "own" / "first.yaml").read_text() == "mine"
    assert f"0 files written, {len(NOTEBOOKS) and sum(1 for path in folder.rglob('*') if path.is_file())}" in asked(new_project, folder)


def test_an_edited_notebook_is_another_node(folder, monkeypatch):
    asked(new_project, folder)
    monkeypatch.chdir(folder)
    before = {node.notebook: node.id for node in load_plan("params/own/first.yaml").nodes}
    book = folder / "notebooks" / "04_evaluate.ipynb"
    book.write_text(book.read_text().replace("**Question.**", "**The question.**", 1))
    after = {node.notebook: node.id for node in load_plan("params/own/first.yaml").nodes}
    assert {name for name in before if before[name] != after[name]} == {"04_evaluate"}


def test_a_collection_gets_its_study_in_the_project(folder, tmp_path):
    toy = write_words(tmp_path / "toy")
    said = asked(new_project, folder, "--collection", toy)
    (study,) = (path for path in (folder / "params" / "own").glob("*.yaml") if path.name != "first.yaml")
    assert f"rd run params/own/{study.name}" in said and load_plan(study).study.name == study.stem
    with pytest.raises(ParameterError, match="nowhere"):
        asked(new_project, folder, "--collection", "nowhere")


def test_its_study_is_the_readmes(root):
    (text,) = re.findall(r"```yaml\n(.*?)```", (root / "README.md").read_text(), re.DOTALL)
    assert text == new_project.STUDY

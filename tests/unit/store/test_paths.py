"""Which folder is the project, and what comes from the suite where the project has none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rd_utils.store import outputs_root, paths, project_of, project_root, resolve_path, shipped, suite_root

STUDY = Path("params") / "own" / "mine.yaml"


@pytest.fixture
def empty(tmp_path, monkeypatch) -> Path:
    """A folder in no project, as the working folder."""
    monkeypatch.delenv("RD_OUTPUTS", raising=False)
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def study(folder: Path, name: Path = STUDY) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("name: mine\n")
    return folder / name


def test_a_folder_above_with_params_is_the_project(empty, monkeypatch):
    below = study(empty).parent
    monkeypatch.chdir(below)
    assert project_root() == empty == project_root(below) and outputs_root() == empty / "outputs"


def test_without_one_the_working_folder_is(empty):
    assert project_root() == empty and outputs_root() == empty / "outputs"


@pytest.mark.parametrize(
    ("name", "here", "expected"),
    [
        (STUDY, False, "other"),  # a study in a project is of that project
        (STUDY, True, "other"),
        (Path("mine.yaml"), False, "other"),  # a study in no project makes its folder one
        (Path("mine.yaml"), True, "empty"),  # unless one works in a project
        (Path("missing.yaml"), False, "empty"),
    ],
)
def test_a_study_elsewhere_is_of_its_own_project(empty, tmp_path, name, here, expected):
    file = study(tmp_path / "other", name) if name.name != "missing.yaml" else tmp_path / "other" / name
    if here:
        study(empty)
    with project_of(file):
        assert project_root() == tmp_path / expected
        assert project_root(empty) == empty  # whoever asks for a place gets its own
    assert project_root() == empty and paths.PROJECT not in os.environ


def test_what_was_named_to_this_process_holds(empty, tmp_path, monkeypatch):
    monkeypatch.setenv(paths.PROJECT, str(tmp_path / "named"))
    with project_of(study(tmp_path / "other")):
        assert project_root() == tmp_path / "named"
    assert project_root() == tmp_path / "named"


def test_the_project_comes_before_the_suite(empty):
    assert resolve_path("params/tour.yaml") == suite_root() / "params" / "tour.yaml" == shipped("params/tour.yaml")
    own = study(empty, Path("params/tour.yaml"))
    assert resolve_path("params/tour.yaml") == own == shipped("params/tour.yaml")
    assert resolve_path("data/none") == empty / "data" / "none"
    assert resolve_path(str(own)) == own

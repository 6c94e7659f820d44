"""What `rd run` tells Snakemake, and that it refuses before it starts anything."""

from __future__ import annotations

import argparse
import os
import sys

import pytest

from rd_utils.store import project_root
from rd_utils.study.params import ParameterError
from rd_utils.study.plan import load_plan
from rd_utils.workflow import running

STUDY = "params/smallest.yaml"


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    running.add_arguments(parser)
    return parser.parse_args([STUDY, *arguments])


@pytest.fixture(scope="module")
def plan():
    return load_plan(STUDY)


def command(plan, *arguments: str) -> list[str]:
    return running.command_of(options(*arguments), plan)


def test_a_study_is_named_as_its_project_sees_it(plan, monkeypatch):
    monkeypatch.chdir(project_root() / "notebooks")
    found = running.command_of(options(), load_plan(f"../{STUDY}"))
    assert f"study={STUDY}" in found and found[:3] == [sys.executable, "-m", "snakemake"]
    assert found[found.index("--cores") + 1] == str(os.cpu_count()) and (project_root() / "Snakefile").samefile(
        found[found.index("--snakefile") + 1]
    )


def test_what_is_asked_for_reaches_snakemake(plan):
    found = command(plan, "--cores", "3", "--threads", "2", "--base", "scifact", "--plain", "--snakemake=--dry-run")
    assert found[found.index("--cores") + 1] == "3" and "--dry-run" in found[: found.index("--config")]
    assert found[found.index("--config") + 1 :] == [f"study={STUDY}", "base=scifact", "nursery=0", "threads=2"]


def test_a_profile_is_the_suites_or_a_folder(plan, tmp_path):
    found = command(plan, "--profile", "slurm")
    assert "--cores" not in found  # the profile says how many jobs there are
    assert found[found.index("--profile") + 1] == str(project_root() / "params" / "profiles" / "slurm")
    (tmp_path / "config.yaml").write_text("jobs: 3\n")
    assert command(plan, "--profile", str(tmp_path))[4] == str(tmp_path)
    with pytest.raises(ParameterError, match=r"--profile slum: no folder .*did you mean 'slurm'"):
        command(plan, "--profile", "slum")


@pytest.mark.parametrize("name", ["cores", "threads"])
def test_no_cores_are_refused(plan, name):
    with pytest.raises(ParameterError, match=f"--{name} 0: give 1 or more"):
        command(plan, f"--{name}", "0")

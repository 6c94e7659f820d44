"""The cluster profiles: Snakemake can read them, they name every stage, and their keys are options of Snakemake and of its plugins."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from snakemake.cli import get_argument_parser
from snakemake.profiles import ProfileConfigFileParser

from rd_utils.study import nodes

ROOT = Path(__file__).resolve().parents[3]
PROFILES = sorted((ROOT / "params" / "profiles").glob("*/config.yaml"))
EXECUTORS = [path.parent.name for path in PROFILES]
STAGES = {nodes.stage_of(notebook) for notebook in nodes.NOTEBOOKS}
WITH_MODELS = STAGES - {"report"}


@pytest.fixture(params=PROFILES, ids=EXECUTORS)
def path(request) -> Path:
    return request.param


def read(path: Path) -> dict[str, list[str] | str]:
    with path.open(encoding="utf-8") as stream:
        return dict(ProfileConfigFileParser().parse(stream))


def resources(path: Path) -> dict[str, dict[str, str]]:
    """Return what each stage asks for, as Snakemake is told it on the command line: stage:name=value."""
    found: dict[str, dict[str, str]] = {}
    for text in read(path)["set-resources"]:
        stage, name, value = re.fullmatch(r"(\w+):(\w+)=(.+)", text).groups()
        found.setdefault(stage, {})[name] = value
    return found


def test_the_two_profiles_are_there():
    assert EXECUTORS == ["kubernetes", "slurm"]


def test_a_profile_runs_on_what_its_folder_says(path):
    assert read(path)["executor"] == path.parent.name


def test_every_stage_is_named_and_no_other(path):
    assert set(resources(path)) == STAGES
    assert {text.partition("=")[0] for text in read(path)["set-threads"]} == STAGES


def test_the_stages_are_the_rules_of_the_workflow(tmp_path):
    command = [sys.executable, "-m", "snakemake", "--list-rules", "--cores", "1", "--nolock", "--config", "study=params/smallest.yaml"]
    listed = subprocess.run(command, cwd=ROOT, env=os.environ | {"RD_OUTPUTS": str(tmp_path)}, capture_output=True, text=True)
    assert listed.returncode == 0, listed.stderr
    assert set(listed.stdout.split()) == STAGES | {"study"}


def test_every_stage_says_its_memory_which_a_second_attempt_doubles(path):
    for stage, asked in resources(path).items():
        assert int(re.fullmatch(r"(\d+) \* attempt", asked["mem_mb"])[1]) >= 1000, stage
    assert int(read(path)["retries"]) >= 1


def test_every_slurm_job_says_its_time():
    (path,) = [path for path in PROFILES if path.parent.name == "slurm"]
    assert all(int(asked["runtime"]) > 0 for asked in resources(path).values())
    assert "runtime=60" in read(path)["default-resources"]


def test_stages_that_run_models_ask_for_a_gpu_and_for_none_where_there_are_none(path, monkeypatch):
    monkeypatch.delenv("RD_GPUS", raising=False)
    assert {stage: asked["gpu"] for stage, asked in resources(path).items() if "gpu" in asked} == dict.fromkeys(WITH_MODELS, "1")
    monkeypatch.setenv("RD_GPUS", "0")
    assert all(int(asked.get("gpu", 0)) == 0 for asked in resources(path).values())


def test_kubernetes_is_not_told_of_gpus_that_there_are_none_of(monkeypatch):
    """Its plugin looks for the resource's name, not for its value, and then demands a manufacturer."""
    (path,) = [path for path in PROFILES if path.parent.name == "kubernetes"]
    monkeypatch.delenv("RD_GPUS", raising=False)
    assert all("gpu_manufacturer" in asked for stage, asked in resources(path).items() if stage in WITH_MODELS)
    monkeypatch.setenv("RD_GPUS", "0")
    assert all(set(asked) == {"mem_mb"} for asked in resources(path).values())


def test_threads_can_be_set_from_outside(path, monkeypatch):
    monkeypatch.setenv("RD_THREADS", "2")
    assert set(read(path)["set-threads"]) == {f"{stage}={1 if stage == 'report' else 2}" for stage in STAGES}


def test_keys_are_options_of_snakemake_or_settings_of_the_plugin(path):
    options = {option for action in get_argument_parser()._actions for option in action.option_strings}
    own = {key for key in read(path) if not key.startswith(f"{path.parent.name}-") and not key.startswith("__")}
    assert {key for key in own if f"--{key}" not in options} == set()


def test_the_plugins_know_their_settings(path):
    name = f"snakemake_executor_plugin_{path.parent.name}"
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"no {name}; pip install -e '.[cluster]'")
    known = {field.name.replace("_", "-") for field in dataclasses.fields(importlib.import_module(name).ExecutorSettings)}
    prefix = f"{path.parent.name}-"
    text = path.read_text(encoding="utf-8")
    used = {key.removeprefix(prefix) for key in read(path) if key.startswith(prefix)}
    used |= set(re.findall(rf"^# {prefix}([\w-]+):", text, re.MULTILINE))
    assert used and used <= known, used - known

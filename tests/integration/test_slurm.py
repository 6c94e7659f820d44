"""A study submitted to a real Slurm with the shipped profile: a job killed midway, the run resubmitted, the artefacts those of a local run.

``make test-slurm`` runs it: on the cluster that ``sinfo`` shows, or on one of this machine's own that tests/slurm/setup.sh sets up.
``RD_SLURM_STUDY=params/embedded.yaml make test-slurm`` takes another study than the small one.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from rd_utils import plan

STUDY = os.environ.get("RD_SLURM_STUDY", "params/smallest_cluster.yaml")
MINUTES = 180
pytestmark = [pytest.mark.slurm, pytest.mark.timeout(MINUTES * 60)]


class Cluster(NamedTuple):
    """A Slurm that runs: what its clients need in the environment, and Snakemake on its command line."""

    environment: dict[str, str]
    options: tuple[str, ...]
    shared: bool  # other machines may run its jobs, so outputs must lie where they see them


def succeeds(*command: str, environment: dict[str, str] | None = None) -> bool:
    return shutil.which(command[0]) is not None and not subprocess.run(command, env=environment, capture_output=True).returncode


@pytest.fixture(scope="module")
def cluster(root) -> Iterator[Cluster]:
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("no snakemake-executor-plugin-slurm; pip install -e '.[cluster]', or make test-slurm")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "RD_GPUS": "0", "RD_THREADS": "1"}
    polling = ("--slurm-init-seconds-before-status-checks", "3")
    if succeeds("sinfo"):
        accounting = () if succeeds("sacct") else ("--slurm-status-command", "squeue")
        yield Cluster(environment, (*polling, *accounting), shared=True)
        return
    folder = Path(tempfile.mkdtemp(prefix="slurm_"))  # munged wants a short path that everybody may enter
    script = str(root / "tests" / "slurm" / "setup.sh")
    started = subprocess.run([script, "up", str(folder)], capture_output=True, text=True)
    if started.returncode == 3:
        folder.rmdir()
        pytest.skip(f"no Slurm here: {started.stderr.strip()}")
    assert started.returncode == 0, started.stderr
    try:
        found = {"SLURM_CONF": started.stdout.strip(), "PATH": f"{folder / 'bin'}{os.pathsep}{path}"}
        yield Cluster(environment | found, (*polling, "--slurm-status-command", "squeue", "--latency-wait", "10"), shared=False)
    finally:
        subprocess.run([script, "down", str(folder)], check=True)
        shutil.rmtree(folder)


class Made(NamedTuple):
    """What the two runs left."""

    on_slurm: Path
    locally: Path
    killed: str  # the node whose job was cancelled
    interrupted: str  # what Snakemake printed when a job had been cancelled, and when it was run again
    resumed: str
    kept: dict[Path, int]  # manifests that the interrupted run left, and when they were written


def squeue(environment: dict[str, str]) -> dict[str, str]:
    """Return the ids of the running jobs of the stage of training, by node."""
    listed = subprocess.run(["squeue", "--noheader", "--states=RUNNING", "--format=%i %k"], env=environment, capture_output=True, text=True)
    found = re.findall(r"^(\d+) rule_train_wildcards_(\S+)$", listed.stdout, re.MULTILINE)
    return {node: job for job, node in found}


def manifests(outputs: Path) -> list[Path]:
    return sorted((outputs / "store").glob("*/*/manifest.json"))


@pytest.fixture(scope="module")
def made(cluster, root, tmp_path_factory) -> Iterator[Made]:
    folder = root / "outputs" / f"test_slurm_{os.getpid()}" if cluster.shared else tmp_path_factory.mktemp("outputs")
    on_slurm, locally = folder / "on_slurm", folder / "locally"
    of_study = ["--config", f"study={STUDY}", "base="]
    command = [sys.executable, "-m", "snakemake", "--profile", "params/profiles/slurm", *cluster.options]
    environment = cluster.environment | {"RD_OUTPUTS": str(on_slurm)}
    try:
        started = subprocess.Popen(
            [*command, "--retries", "0", *of_study], cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        killed = ""
        while not killed and started.poll() is None:
            for node, job in squeue(environment).items():
                log = on_slurm / "store" / "nodes" / node / "log.txt"
                if not killed and log.is_file() and log.stat().st_size:  # its notebook has begun
                    subprocess.run(["scancel", job], env=environment, check=True)
                    killed = node
            time.sleep(0.2)
        interrupted, _ = started.communicate()
        assert killed, f"no training job ran:\n{interrupted[-4000:]}"
        assert started.returncode != 0, interrupted[-4000:]
        assert not (on_slurm / "store" / "nodes" / killed / "notebook.ipynb").exists()
        kept = {path: path.stat().st_mtime_ns for path in manifests(on_slurm)}
        resumed = subprocess.run([*command, *of_study], cwd=root, env=environment, capture_output=True, text=True)
        assert resumed.returncode == 0, (resumed.stdout + resumed.stderr)[-4000:]
        options = ["--cores", "2", "--nolock", "--rerun-triggers", "mtime"]
        local = subprocess.run(
            [sys.executable, "-m", "snakemake", *options, *of_study],
            cwd=root,
            env=cluster.environment | {"RD_OUTPUTS": str(locally)},
            capture_output=True,
            text=True,
        )
        assert local.returncode == 0, local.stderr[-4000:]
        yield Made(on_slurm, locally, killed, interrupted, resumed.stdout + resumed.stderr, kept)
    finally:
        if cluster.shared:
            shutil.rmtree(folder, ignore_errors=True)


def submitted(printed: str) -> list[str]:
    """Return the nodes that were submitted, from the names of their jobs' logs."""
    return re.findall(r"submitted with SLURM jobid \d+ \(log: \S+/rule_\w+/([\w-]+)/\d+\.log\)", printed)


def nodes_of(outputs: Path, root: Path) -> list[plan.Node]:
    previous = os.environ.get("RD_OUTPUTS")
    os.environ["RD_OUTPUTS"] = str(outputs)
    try:
        return plan.load_plan(root / STUDY).nodes
    finally:
        os.environ.pop("RD_OUTPUTS") if previous is None else os.environ.update(RD_OUTPUTS=previous)


def test_every_node_was_a_job_and_only_what_was_missing_was_submitted_again(made, root):
    nodes = {node.id: node for node in nodes_of(made.on_slurm, root)}
    first, second = submitted(made.interrupted), submitted(made.resumed)
    print(f"{len(nodes)} nodes; {len(first)} jobs, of which {nodes[made.killed].name} was killed, then {len(second)} jobs")
    assert set(first) | set(second) == set(nodes)
    assert set(first) & set(second) == {made.killed}
    assert "02_score" in {nodes[node].notebook for node in first} and "05_analyse" in {nodes[node].notebook for node in second}


def test_the_interruption_cost_no_finished_artefact(made):
    assert made.kept
    assert {path: path.stat().st_mtime_ns for path in made.kept} == made.kept


def test_each_job_logged_where_a_local_run_does(made, root):
    for node in nodes_of(made.on_slurm, root):
        for outputs in (made.on_slurm, made.locally):
            assert (outputs / "store" / "nodes" / node.id / "log.txt").stat().st_size > 0


def test_the_artefacts_are_those_of_a_local_run(made):
    """Students' weights, evaluations and all other artefacts: the same identities, and the same bytes in every file."""
    left, right = (
        {str(path.relative_to(outputs).parent): json.loads(path.read_text())["files"] for path in manifests(outputs)}
        for outputs in (made.on_slurm, made.locally)
    )
    assert set(left) == set(right)
    print(", ".join(f"{stage} {sum(name.split('/')[1] == stage for name in left)}" for stage in sorted({n.split("/")[1] for n in left})))
    assert {name for name in left if left[name] != right[name]} == set()
    assert any(name.endswith(".safetensors") for key, files in left.items() if "/student/" in key for name in files)
    assert any("/evaluation/" in key for key in left)


def test_the_report_rests_on_the_same_numbers(made, root):
    name = plan.load_plan(root / STUDY).study.name
    for table in ("results", "per_query"):
        left, right = (pd.read_parquet(outputs / name / f"{table}.parquet") for outputs in (made.on_slurm, made.locally))
        pd.testing.assert_frame_equal(left, right, check_exact=True)

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

import numpy as np
import pandas as pd
import pytest

from rd_utils.store import file_sha256
from rd_utils.study import plan
from rd_utils.study.nodes import Node

STUDY = os.environ.get("RD_SLURM_STUDY", "params/smallest_cluster.yaml")
MINUTES = 180
LEARNED = {"loaded", "trained", "encoder"}  # kinds of teachers whose scores move by rounding with the company of a pair
SCORES = 2e-4  # in standard deviations: each of two scores is within 1e-4 of the exact one
MEASURES = 0.01  # below scores that moved, students see other last digits: means of measures and losses hardly move
pytestmark = pytest.mark.timeout(MINUTES * 60)


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


def nodes_of(outputs: Path, root: Path) -> list[Node]:
    previous = os.environ.get("RD_OUTPUTS")
    os.environ["RD_OUTPUTS"] = str(outputs)
    try:
        return plan.load_plan(root / STUDY).nodes
    finally:
        os.environ.pop("RD_OUTPUTS") if previous is None else os.environ.update(RD_OUTPUTS=previous)


@pytest.mark.slurm
def test_every_node_was_a_job_and_only_what_was_missing_was_submitted_again(made, root):
    nodes = {node.id: node for node in nodes_of(made.on_slurm, root)}
    first, second = submitted(made.interrupted), submitted(made.resumed)
    print(f"{len(nodes)} nodes; {len(first)} jobs, of which {nodes[made.killed].name} was killed, then {len(second)} jobs")
    assert set(first) | set(second) == set(nodes)
    assert set(first) & set(second) == {made.killed}
    assert "02_score" in {nodes[node].notebook for node in first} and "05c_report" in {nodes[node].notebook for node in second}


@pytest.mark.slurm
def test_the_interruption_cost_no_finished_artefact(made):
    assert made.kept
    assert {path: path.stat().st_mtime_ns for path in made.kept} == made.kept


@pytest.mark.slurm
def test_each_job_logged_where_a_local_run_does(made, root):
    for node in nodes_of(made.on_slurm, root):
        for outputs in (made.on_slurm, made.locally):
            assert (outputs / "store" / "nodes" / node.id / "log.txt").stat().st_size > 0


def learned(parameters: object) -> bool:
    """Tell whether a learned teacher stands anywhere in an artefact's parameters."""
    if isinstance(parameters, dict):
        return parameters.get("kind") in LEARNED or any(map(learned, parameters.values()))
    return isinstance(parameters, list) and any(map(learned, parameters))


def numbers(column: pd.Series) -> np.ndarray | None:
    """Return the finite fractions of a column, lists of them end to end; None for a column of something else."""
    values = np.concatenate(column.to_list()) if len(column) and isinstance(column.iloc[0], np.ndarray) else column.to_numpy()
    return values[np.isfinite(values)].astype(float) if values.dtype.kind == "f" else None


def apart(one: pd.DataFrame, other: pd.DataFrame, same_pairs: bool = False) -> str:
    """Say how two tables differ by more than moved scores explain: empty where they do not.

    Queries are equal, and means within ``MEASURES`` (of themselves above 1); scores of the same pairs are within ``SCORES`` one by one.
    """
    if list(one) != list(other) or len(one) != len(other):
        return "another shape"
    if "query_id" in one and not one["query_id"].equals(other["query_id"]):
        return "other queries"
    for name in one:
        left, right = numbers(one[name]), numbers(other[name])
        if left is None or right is None or not len(left) + len(right):
            continue
        if not len(left) * len(right):
            return f"{name}: numbers in one alone"
        if same_pairs:
            spread = numbers(one["teacher_scores"]).std()
            if len(left) != len(right) or not np.abs(left - right).max() <= SCORES * spread + 1e-5:  # five decimals are kept
                return f"{name}: scores differ"
        elif abs(left.mean() - right.mean()) > MEASURES * max(1.0, abs(left.mean())):
            return f"{name}: means differ"
    return ""


def unlike(outputs: Path, others: Path) -> dict[str, str]:
    """Name the artefacts of two stores that are less alike than is promised, and say how.

    The same bytes; but a learned teacher's scores, which other jobs may have asked for in other batches, and what rests on them, may
    move (see :func:`apart`). What has inputs of the same bytes and asks no such teacher has the same bytes itself.
    """
    left, right = (
        {str(path.relative_to(folder / "store").parent): json.loads(path.read_text()) for path in manifests(folder)}
        for folder in (outputs, others)
    )
    found = dict.fromkeys(left.keys() ^ right.keys(), "in one store alone")
    moved = {name for name in left.keys() & right.keys() if left[name]["files"] != right[name]["files"]}
    for name in moved:
        one, other = left[name], right[name]
        below = moved & {f"{part['stage']}/{part['identity']}" for part in one["inputs"].values()}
        counts = [{key: n for key, n in each["counts"].items() if key != "pairs_scored_now"} for each in (one, other)]
        if not below and not (one["scoring"] and learned(one["parameters"])):
            found[name] = "other bytes"
        elif one["files"].keys() != other["files"].keys():
            found[name] = "other files"
        elif counts[0].keys() != counts[1].keys() or any(abs(n - counts[1][key]) > MEASURES * n for key, n in counts[0].items()):
            found[name] = "other counts"
        else:
            for table in (file for file in one["files"] if file.endswith(".parquet")):
                pair = [pd.read_parquet(folder / "store" / name / table) for folder in (outputs, others)]
                if text := apart(*pair, same_pairs=one["stage"] == "scores" and not below):
                    found[name] = f"{table}: {text}"
    return found


@pytest.mark.slurm
def test_the_artefacts_are_those_of_a_local_run(made):
    names = [path.parent.parent.name for path in manifests(made.locally)]
    print(", ".join(f"{stage} {names.count(stage)}" for stage in sorted(set(names))))
    assert unlike(made.on_slurm, made.locally) == {}
    assert {"student", "evaluation"} <= set(names)


@pytest.mark.slurm
def test_the_report_rests_on_the_same_numbers(made, root):
    this = plan.load_plan(root / STUDY)
    exact = not any(learned(spec.model_dump(mode="json")) for spec in this.specs())
    for table in ("results", "per_query"):
        left, right = (pd.read_parquet(outputs / this.study.name / f"{table}.parquet") for outputs in (made.on_slurm, made.locally))
        if exact:
            pd.testing.assert_frame_equal(left, right, check_exact=True)
        else:
            assert apart(left, right) == ""


def put(outputs: Path, stage: str, table: pd.DataFrame, teacher: str = "oracle", inputs: tuple[str, ...] = ()) -> None:
    """Write an artefact of one table; scores ask their teacher, all others rest on what they name."""
    folder = outputs / "store" / stage / "a"
    folder.mkdir(parents=True, exist_ok=True)
    table.to_parquet(folder / f"{stage}.parquet", index=False)
    record = {
        "stage": stage,
        "parameters": {"groups": {"teacher": {"kind": teacher}}},
        "inputs": {name: {"stage": name, "identity": "a"} for name in inputs},
        "counts": {"pairs": 4, "pairs_scored_now": len(str(outputs))},
        "scoring": [{"teacher": "its identity"}] if stage == "scores" else [],
        "files": {f"{stage}.parquet": file_sha256(folder / f"{stage}.parquet")},
    }
    (folder / "manifest.json").write_text(json.dumps(record))


SCORED = pd.DataFrame({"query_id": ["1", "2"], "teacher_scores": [np.float32([3, 1]), np.float32([-2, 0])]})
HISTORY = pd.DataFrame({"step": [1, 2], "loss": [0.7, 0.6]})
MEASURED = pd.DataFrame({"query_id": ["1", "2"], "value": [1.0, 0.5]})


def moved(table: pd.DataFrame, by: float) -> pd.DataFrame:
    return table.assign(**{table.columns[-1]: table[table.columns[-1]] + np.float32(by)})


@pytest.mark.parametrize(
    ("teacher", "scores", "history", "measured", "expected"),
    [
        ("oracle", SCORED, HISTORY, MEASURED, {}),
        ("trained", SCORED, HISTORY, MEASURED, {}),
        ("trained", moved(SCORED, 1e-4), moved(HISTORY, 1e-3), moved(MEASURED, 1e-3), {}),
        ("trained", moved(SCORED, 1e-4), HISTORY, MEASURED, {}),
        ("oracle", moved(SCORED, 1e-4), moved(HISTORY, 1e-3), MEASURED, {"scores/a": "other bytes"}),
        ("trained", SCORED, moved(HISTORY, 1e-3), MEASURED, {"student/a": "other bytes"}),
        ("trained", SCORED, HISTORY, moved(MEASURED, 1e-3), {"evaluation/a": "other bytes"}),
        (
            "trained",
            moved(SCORED, 1e-2),
            HISTORY,
            MEASURED,
            {"scores/a": "scores.parquet: teacher_scores: scores differ"},
        ),
        ("trained", moved(SCORED, 1e-4), moved(HISTORY, 0.1), MEASURED, {"student/a": "student.parquet: loss: means differ"}),
        ("trained", SCORED[::-1], HISTORY, MEASURED, {"scores/a": "scores.parquet: other queries"}),
        ("trained", SCORED[:1], HISTORY, MEASURED, {"scores/a": "scores.parquet: another shape"}),
        ("trained", SCORED, HISTORY, None, {"evaluation/a": "in one store alone"}),
    ],
)
def test_stores_are_as_alike_as_is_promised(tmp_path, teacher, scores, history, measured, expected):
    for outputs, tables in ((tmp_path / "one", (SCORED, HISTORY, MEASURED)), (tmp_path / "another", (scores, history, measured))):
        for stage, table, below in zip(("scores", "student", "evaluation"), tables, ((), ("scores",), ("student",)), strict=True):
            if table is not None:
                put(outputs, stage, table.reset_index(drop=True), teacher, below)
    assert unlike(tmp_path / "one", tmp_path / "another") == expected

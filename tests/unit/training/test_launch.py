"""Students trained by several processes: as one process trains them, and nothing left when something goes wrong."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from studies_on_disk import planned

from rd_utils.__main__ import main
from rd_utils.models.encoding import text_tokens
from rd_utils.store import Meter, Store, identity
from rd_utils.study import params
from rd_utils.study.stage import Given
from rd_utils.training import launch
from rd_utils.training.groups import TrainingError
from rd_utils.training.launch import LaunchError
from rd_utils.workflow.pipeline import Pipeline
from rd_utils.workflow.progress import LOGGER, untracked

ROOT = Path(__file__).resolve().parents[3]
COLLECTION = params.EmbeddedCollection(max_queries=12)
BUDGET = {"documents": 120, "queries_per_batch": 5, "learning_rate": 1e-3}  # slices of 3 and 2 queries of every 5


@pytest.fixture
def pipeline(tmp_path, monkeypatch) -> Pipeline:
    return pipeline_in(tmp_path, monkeypatch)


def pipeline_in(folder: Path, patch: pytest.MonkeyPatch) -> Pipeline:
    patch.setenv("OMP_NUM_THREADS", "1")
    patch.setattr(launch, "_places", lambda: (2, "cores"))  # two processes also train on one core, only slower
    return Pipeline(Store(folder / "store"), track=untracked)


def student(
    processes: int, architecture: params.Part | None = None, refresh: params.Refresh | None = None, **training
) -> params.StudentSpec:
    return params.StudentSpec(
        groups=params.GroupsSpec(collection=COLLECTION, strategy=params.CorpusRandom(), group_size=4),
        loss="kl",
        teacher=params.Oracle(),
        architecture=architecture or params.StaticBi(dimension=8),
        training=params.Training(**BUDGET | {"processes": processes} | training),
        refresh=refresh,
    )


WORKER = """
import json, sys, time
from pathlib import Path
from rd_utils.training import launch, loop
def steal(batch, run):
{body}
scores = loop._Run._scores
def watched(run, batch):
    steal(batch, run)
    return scores(run, batch)
loop._Run._scores = watched
launch.work(Path(sys.argv[1]))
"""
SEEN = """
    with open(f"{folder}/seen-{{run.accelerator.process_index}}.jsonl", "a") as log:
        log.write(json.dumps([batch.query_rows.tolist(), batch.doc_rows.tolist()]) + "\\n")
"""


def workers_do(body: str, tmp_path: Path, monkeypatch) -> None:
    """Let every worker run some lines before it scores a batch."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER.format(body=body.format(folder=tmp_path)))
    monkeypatch.setattr(launch, "WORKER", (str(script),))


def seen(tmp_path: Path, rank: int) -> list[list]:
    return [json.loads(line) for line in (tmp_path / f"seen-{rank}.jsonl").read_text().splitlines()]


def running(text: str, but: int = 0) -> list[str]:
    """Return the commands of this machine's processes in which a text stands, but for one and this."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in command and int(process.parent.name) not in (os.getpid(), but):
            found.append(f"{process.parent.name} {command}")
    return found


def nothing_is_left(text: str, but: int = 0, within: float = 120) -> bool:
    end = time.monotonic() + within
    while running(text, but) and time.monotonic() < end:
        time.sleep(0.2)
    return running(text, but) == []


def margins(pipeline: Pipeline, system: params.Part) -> np.ndarray:
    """Score all documents for three queries, less each query's mean, which no loss sees."""
    given = Given(pipeline, system.inputs(COLLECTION))
    student, (queries, docs) = system.open(given), text_tokens(given)
    rows = np.repeat(np.arange(3), len(docs)), np.tile(np.arange(len(docs)), 3)
    scores = student.score_pairs(queries, docs, *rows).reshape(3, -1)
    return scores - scores.mean(axis=1, keepdims=True)


ARCHITECTURES = {
    "static_bi": (params.StaticBi(dimension=8), {}),
    "tiny_bert_cross": (params.TinyBertCross(dimension=8), {"accumulation_steps": 2}),
    "static_sparse": (params.StaticSparse(dimension=8, query_flops=0.1, document_flops=0.1), {"accumulation_steps": 2}),
}


class Trained(NamedTuple):
    """A student of one process and of two: their pipeline, the batches of each process, and the steps that the notebook was told of."""

    one: params.StudentSpec
    two: params.StudentSpec
    pipeline: Pipeline
    alone: list[list]
    slices: tuple[list[list], list[list]]
    told: list[int]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train a student by one process and by two, once for all tests that look at them."""
    made: dict[str, Trained] = {}

    def of(architecture: str) -> Trained:
        if architecture not in made:
            with pytest.MonkeyPatch.context() as patch:
                made[architecture] = train_twice(architecture, tmp_path_factory.mktemp(architecture), patch)
        return made[architecture]

    return of


def train_twice(architecture: str, folder: Path, patch: pytest.MonkeyPatch) -> Trained:
    from rd_utils.training import loop

    part, settings = ARCHITECTURES[architecture]
    one, two = (student(processes, part, **settings) for processes in (1, 2))
    pipeline, told, alone, scores = pipeline_in(folder, patch), [], [], loop._Run._scores
    patch.setattr(
        loop._Run,
        "_scores",
        lambda run, batch: alone.append([batch.query_rows.tolist(), batch.doc_rows.tolist()]) or scores(run, batch),
    )
    pipeline.build(one)
    workers_do(SEEN, folder, patch)
    patch.setattr(pipeline, "track", lambda items, *rest: (told.append(item) or item for item in items))
    pipeline.build(two)
    return Trained(one, two, pipeline, alone, (seen(folder, 0), seen(folder, 1)), told)


@pytest.mark.parametrize(
    "architecture",
    [
        pytest.param("static_bi", id="static_bi"),
        pytest.param("static_sparse", id="static_sparse"),
        pytest.param("tiny_bert_cross", marks=pytest.mark.slow, id="tiny_bert_cross"),
    ],
)
def test_two_processes_see_the_documents_of_one_in_their_order_and_lose_as_much(trained, architecture) -> None:
    one, two, pipeline, alone, (first, second), told = trained(architecture)
    part = ARCHITECTURES[architecture][0]
    assert [len(rows) for rows, _ in first[:2]] == [3, 3] and [len(rows) for rows, _ in second[:2]] == [2, 2]
    assert [[a + b for a, b in zip(*slices, strict=True)] for slices in zip(first, second, strict=True)] == alone
    histories = [pipeline.frame(spec, "history").copy() for spec in (one, two)]
    np.testing.assert_allclose(histories[1]["loss"], histories[0]["loss"], rtol=1e-5)
    for history in histories:
        history.insert(0, "added", history.pop("penalty") if "penalty" in history else 0.0)
    np.testing.assert_allclose(histories[1]["added"], histories[0]["added"], rtol=1e-5)  # over the texts of both
    assert (histories[0]["added"].iloc[-1] > 0) == (architecture == "static_sparse")
    apart = [history.drop(columns=["loss", "added"]) for history in histories]
    assert apart[0].equals(apart[1])
    manifests = [pipeline.manifest(spec) for spec in (one, two)]
    assert manifests[0]["counts"] == manifests[1]["counts"]
    # not weights: one without effect on the loss (a bias that shifts all scores) has gradients of rounding alone, which Adam scales up
    systems = params.UntrainedSystem(architecture=part, collection=COLLECTION), *(params.StudentSystem(student=spec) for spec in (one, two))
    untrained, before, after = (margins(pipeline, system) for system in systems)
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-2 * (before - untrained).std())
    assert told[-1] == len(histories[0]) - 1  # the notebook's bar reached its end

    cost = manifests[1]["cost"]
    assert "processes" not in manifests[0]["cost"] and [process["rank"] for process in cost["processes"]] == [0, 1]
    assert cost["cpu_seconds"] > 2, "two interpreters with torch take seconds, which are theirs and not the notebook's"
    assert cost["peak_memory_mb"] > sum(process["peak_memory_mb"] for process in cost["processes"]) > 0
    assert sorted(path.name for path in (pipeline.store.root / "student").iterdir()) == sorted(map(identity, (one, two)))
    assert identity(one) != identity(two)


@pytest.mark.slow
def test_an_error_of_the_training_reaches_the_notebook_as_in_one_process(pipeline, tmp_path, monkeypatch) -> None:
    workers_do("    if run.done == 1: next(run.student.parameters()).data.fill_(float('nan'))", tmp_path, monkeypatch)
    with pytest.raises(TrainingError, match="^the loss is nan at step 2 of 6 .*lower the learning rate"):
        pipeline.build(student(2))
    assert not pipeline.store.has(student(2)) and list((pipeline.store.root / "student").iterdir()) == []
    assert nothing_is_left(str(tmp_path))


@pytest.mark.slow
def test_a_killed_worker_ends_the_others_and_is_named(pipeline, tmp_path, monkeypatch) -> None:
    workers_do("    if run.done == 1 and run.accelerator.process_index == 1: import os; os.kill(os.getpid(), 9)", tmp_path, monkeypatch)
    with pytest.raises(LaunchError, match="^process 1 of the 2 that train the student was killed by SIGKILL; out of memory is the usual"):
        pipeline.build(student(2))
    assert nothing_is_left(str(tmp_path))


NOTEBOOK = """
import signal
from pathlib import Path
from rd_utils.study import params
from rd_utils.training import launch
from rd_utils.workflow.pipeline import Pipeline
from rd_utils.store import Store
signal.signal(signal.SIGINT, signal.default_int_handler)  # as a kernel has it, also where a shell had it ignored
launch._places = lambda: (2, "cores")
launch.WORKER = ({script!r},)
pipeline, spec = Pipeline(Store(Path({store!r}))), params.StudentSpec.model_validate_json(Path({spec!r}).read_text())
try:
    pipeline.build(spec)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    input()
    pipeline.build(spec)  # the cell is run again
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_no_process_outlives_the_notebooks_interrupt_or_its_end(pipeline, tmp_path, monkeypatch) -> None:
    """The workers write that they train, then sleep; they end when the notebook is interrupted, and when it is killed."""
    workers_do('    Path("{folder}", f"trains-{{run.accelerator.process_index}}").touch(); time.sleep(900)', tmp_path, monkeypatch)
    (tmp_path / "spec.json").write_text(student(2).model_dump_json())
    code = NOTEBOOK.format(script=launch.WORKER[0], store=str(pipeline.store.root), spec=str(tmp_path / "spec.json"))
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    notebook = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **streams)
    try:
        both_train(tmp_path, notebook)
        notebook.send_signal(signal.SIGINT)
        assert notebook.stdout.readline() == "interrupted\n"
        assert nothing_is_left(str(tmp_path), but=notebook.pid) and notebook.poll() is None
        for path in tmp_path.glob("trains-*"):
            path.unlink()
        notebook.stdin.write("again\n")
        notebook.stdin.flush()
        both_train(tmp_path, notebook)
        notebook.kill()
        notebook.wait(timeout=100)
        assert nothing_is_left(str(tmp_path))
    finally:
        notebook.kill()
        notebook.communicate()


def both_train(folder: Path, notebook: subprocess.Popen) -> None:
    """Wait until both workers have begun to train."""
    end = time.monotonic() + 360
    while len(list(folder.glob("trains-*"))) < 2 and notebook.poll() is None and time.monotonic() < end:
        time.sleep(0.2)
    assert len(list(folder.glob("trains-*"))) == 2 and len(running(str(folder))) >= 4  # supervisor and workers beside it


@pytest.mark.slow
def test_an_error_of_one_process_is_named_and_both_go_on_from_their_checkpoint(trained, pipeline, tmp_path, monkeypatch) -> None:
    straight, cut = (student(2, checkpoint_every=every) for every in (None, 2))
    workers_do(SEEN + "    if run.done == 3 and run.accelerator.process_index == 1: raise KeyError('cut off')", tmp_path, monkeypatch)
    with pytest.raises(LaunchError, match="(?s)^process 1 of the 2 that train the student failed by KeyError: 'cut off'.*steal"):
        pipeline.build(cut)
    assert nothing_is_left(str(tmp_path))
    kept = pipeline.store.checkpoints(cut) / "checkpoint.pt"
    assert torch.load(kept, weights_only=True)["done"] == 2 and len(seen(tmp_path, 1)) == 4
    workers_do(SEEN, tmp_path, monkeypatch)
    pipeline.build(cut)
    assert len(seen(tmp_path, 1)) == 4 + 4  # steps 3 to 6 of 6: the third once more
    assert not kept.exists()
    before = trained("static_bi")
    assert before.two == straight
    assert before.pipeline.frame(straight, "history").equals(pipeline.frame(cut, "history"))
    manifests = before.pipeline.manifest(straight), pipeline.manifest(cut)
    models = [{name: digest for name, digest in manifest["files"].items() if name.endswith(".safetensors")} for manifest in manifests]
    assert models[0] and models[0] == models[1]


@pytest.mark.slow
def test_groups_are_drawn_anew_and_texts_augmented_in_every_process_alike(pipeline) -> None:
    refresh = params.Refresh(every=2, depth=20)
    one, two = (
        student(processes, refresh=refresh).model_copy(update={"augmentation": params.Augmentation(query_dropout=0.2, document_span=0.5)})
        for processes in (1, 2)
    )
    pipeline.build(one)
    history, manifest = pipeline.frame(two, "history"), pipeline.manifest(two)
    np.testing.assert_allclose(history["loss"], pipeline.frame(one, "history")["loss"], rtol=1e-4)
    assert len(manifest["scoring"]) == len(pipeline.manifest(one)["scoring"]) == 2  # refreshed before steps 3 and 5
    assert sum(bill["scored_now"] for bill in manifest["scoring"]) <= 5  # the pairs are known from the other student


def test_what_children_say_is_in_the_log_and_how_far_they_are_is_not(pipeline, tmp_path, monkeypatch, caplog) -> None:
    """The supervisor runs whatever a worker is: here two that say something and how far they are."""
    script = tmp_path / "talks.py"
    script.write_text("from rd_utils.training import launch\nprint('hello')\nsay = launch._say_steps()\nsay(1, 2)\nsay(2, 2)\n")
    monkeypatch.setattr(launch, "WORKER", (str(script),))
    monkeypatch.setattr(LOGGER, "propagate", True)
    steps = []
    with caplog.at_level(logging.INFO, logger="rd_utils"):
        launch.run(tmp_path, 2, lambda done, total: steps.append((done, total)))
    assert sorted(steps) == [(1, 2), (1, 2), (2, 2), (2, 2)]
    assert [message for message in caplog.messages if "hello" in message] == ["training process: hello"] * 2


def test_more_processes_than_the_machine_has_places_for_are_refused_before_the_start(monkeypatch) -> None:
    monkeypatch.setattr(launch, "_places", lambda: (4, "GPUs"))
    launch.check(4)
    with pytest.raises(LaunchError, match="^training.processes is 5, but this machine has 4 GPUs for them; lower it to 4 or less"):
        launch.check(5)
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(LaunchError, match="already one of 4 that a launcher started .*without torchrun or accelerate launch"):
        launch.check(2)


def test_a_machine_without_gpus_has_a_place_for_each_of_its_cores() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has GPUs")
    assert launch._places() == (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(), "cores")


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"processes": 0}, "greater than or equal to 1"),
        ({"processes": 6}, "processes is 6, but queries_per_batch, which they share, is 5; lower processes, or raise queries_per_batch"),
        ({"processes": 2, "in_batch_negatives": True}, "in_batch_negatives needs a batch's groups in one process, but processes is 2"),
    ],
)
def test_settings_that_processes_cannot_share_are_refused(tmp_path, capsys, training, message) -> None:
    with pytest.raises(ValidationError, match=message):
        params.Training(**BUDGET | training)
    this = planned(tmp_path)
    changed = this.study.model_dump(mode="json", exclude_none=True)
    changed["training"] |= {"queries_per_batch": 5} | training
    (tmp_path / "nonsense.yaml").write_text(json.dumps(changed))
    assert main(["check", str(tmp_path / "nonsense.yaml")]) == 2
    assert message in capsys.readouterr().err


def test_an_override_gives_some_cells_processes(tmp_path) -> None:
    """Every seed of a big student on two GPUs, the small ones on one."""
    override = {"when": {"architecture": "static"}, "set": {"processes": 2}}
    cells = planned(tmp_path, overrides=[override]).cells
    found = {cell.architecture: {spec.training.processes for spec in cell.students.values()} for cell in cells}
    assert found.pop("static") == {2} and all(numbers == {1} for numbers in found.values())


def test_processes_are_charged_for_their_gpus_and_memory() -> None:
    cost = Meter().read([{"rank": rank, "wall_seconds": 9.0, "gpu_seconds": 7.5, "peak_memory_mb": 1000.0} for rank in (0, 1)])
    assert cost["gpu_seconds"] == 15.0 and cost["peak_memory_mb"] > 2000 and len(cost["processes"]) == 2

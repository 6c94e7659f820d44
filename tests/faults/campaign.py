"""A campaign of faults against a small study: kills, damage, full disks, rivals and inputs that go away, each followed to the end.

After every fault the study is run again, and what it leaves is compared with a reference to the byte (of manifests all but costs and
surroundings). An outcome is *repaired*, *refused* (an error that names a file and a remedy, after which the study ends well), *unread* (a
damaged file that nothing needed, and that checking finds), or a failure: *silent* (other bytes, and nobody said so), *raw* (an error
without file or remedy), *stuck* (the study does not end well again), *hang*, *orphans*, or *broken* (a child that ends otherwise).

    python -m tests.faults.campaign --kills 200 --damages 500 --workers 2 --record FILE

Children are forked from a process that has made the study once, so that a fault costs a second. Every fault has a number, which with the
seed decides everything about it; a campaign that is started again with its record goes on where it was, and ``--only KIND:NUMBER`` tries
one alone.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STUDY = HERE / "tiny.yaml"
FAILURES = ("silent", "raw", "stuck", "hang", "orphans", "broken")
SECONDS = 180.0  # after which a child hangs
REFUSED = 3  # exit status of a child whose study was refused
SAME = ("stage", "identity", "parameters", "inputs", "seed", "versions", "content", "counts", "dropped", "files", "sizes")  # of a manifest


# --- counting writes, and killing at one ------------------------------------------------------------------------------------------


class Writes:
    """Counts what this process does to the files below a folder, and acts just before one of these steps."""

    def __init__(self) -> None:
        self.count, self.at, self.act, self.below = 0, 0, lambda: None, "nothing yet"
        sys.addaudithook(self._heard)
        sync = os.fsync

        def counted(entry: int) -> None:
            self._step()
            sync(entry)

        os.fsync = counted

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            if not (mode and set("wax+") & set(mode)) and not (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
                return
        elif event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir"):
            path = arguments[0]
        else:
            return
        if isinstance(path, (str, os.PathLike)) and str(path).startswith(self.below):
            self._step()

    def _step(self) -> None:
        self.count += 1
        if self.count == self.at:
            self.act()

    def watch(self, below: Path, at: int = 0, act: Callable[[], None] | None = None) -> None:
        """Count from nothing what is done below a folder, and act before step ``at``: by default, be killed."""
        self.count, self.below, self.at = 0, str(below), at
        self.act = act or (lambda: os.kill(os.getpid(), signal.SIGKILL))


class Ended(NamedTuple):
    """How a child ended: ``status`` as of :func:`os.waitstatus_to_exitcode`, None where it had to be ended; and what it said last."""

    status: int | None
    said: str


def child(work: Callable[[], None], kill_after: float | None = None, seconds: float = SECONDS) -> Ended:
    """Fork a child that works, and wait for it; what it raises it says, and ends with :data:`REFUSED`."""
    with tempfile.TemporaryFile("w+") as said:
        pid = os.fork()
        if not pid:
            status = 1
            try:
                for stream in (1, 2):
                    os.dup2(said.fileno(), stream)
                work()
                status = 0
            except Exception as error:
                status = REFUSED
                print(f"\n\x1e{type(error).__name__}: {error}", file=sys.stderr)
                print("\x1e" + traceback.format_exc(), file=sys.stderr)
            finally:
                with contextlib.suppress(Exception):
                    sys.stderr.flush()
                    sys.stdout.flush()
                os._exit(status)
        deadline = time.monotonic() + (seconds if kill_after is None else kill_after)
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                break
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                status = None if kill_after is None else signal.SIGKILL
                break
            time.sleep(0.01)
        said.seek(0)
        text = said.read()
    return Ended(None if status is None else os.waitstatus_to_exitcode(status), text)


# --- the reference ----------------------------------------------------------------------------------------------------------------


class Bench:
    """A small study, made once: its plan, the steps and seconds of every artefact, and what every file must be in the end."""

    def __init__(self, folder: Path) -> None:
        from rd_utils.store import identity
        from rd_utils.study import plan

        self.folder, self.outputs = folder, folder / "reference"
        os.environ["RD_OUTPUTS"] = str(self.outputs)
        self.writes = Writes()
        self.plan = plan.load_plan(STUDY)
        self.specs = {identity(spec): spec for spec in self.plan.specs()}
        self.steps: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        pipeline = self.pipeline(self.outputs)
        for key, spec in self.specs.items():
            self.writes.watch(self.outputs)
            began = time.monotonic()
            pipeline.build(spec)
            self.steps[key], self.seconds[key] = self.writes.count, time.monotonic() - began
        self.writes.watch(self.outputs)
        self.run(self.outputs)
        self.steps["run"] = self.writes.count
        self.writes.watch(Path("nothing"))
        self.expected = contents(self.outputs)
        self.half = folder / "half"
        self._interrupt()

    def pipeline(self, outputs: Path) -> Any:
        from rd_utils.store import Store
        from rd_utils.workflow.pipeline import Pipeline
        from rd_utils.workflow.progress import untracked

        return Pipeline(Store(outputs / "store"), track=untracked)

    def build(self, outputs: Path, keys: Iterable[str] = ()) -> None:
        """Make artefacts, and then all of the study."""
        pipeline = self.pipeline(outputs)
        for key in (*keys, *self.specs):
            pipeline.build(self.specs[key])

    def run(self, outputs: Path) -> None:
        """Do what the workflow does, with an execution of notebooks that makes their artefacts and writes a report of one page."""
        from rd_utils import kernels
        from rd_utils.study import node_files
        from rd_utils.workflow import turns

        os.environ["RD_OUTPUTS"] = str(outputs)
        turn, pipeline = turns.begin(self.plan), self.pipeline(outputs)
        node_files.write_nodes(self.plan)
        for node in self.plan.nodes:
            place = node_files.node_folder(node.id) / "notebook.ipynb"
            if place.exists():
                continue
            for spec in node.artefacts:
                pipeline.build(spec)
            if node.notebook == "05c_report":
                report(self.plan)
            draft = place.with_name(f"running-{os.getpid()}.ipynb")
            draft.write_text(json.dumps({"cells": [{"source": node.name}], "metadata": {}, "nbformat": 4}))
            kernels.put(draft, place)
            draft.unlink()
        node_files.publish(self.plan)
        turn.leave()

    def copy(self, name: str, of: Path | None = None) -> Path:
        """Return a copy of the finished study, for a fault."""
        place = self.folder / "trials" / name
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(of or self.outputs, place)
        return place

    def _interrupt(self) -> None:
        """Keep a store in which a training was killed between two checkpoints."""
        key = next(key for key, spec in self.specs.items() if spec.stage == "student" and spec.training.checkpoint_every)
        for step in range(self.steps[key], 0, -1):
            self.half = self.copy("half")
            shutil.rmtree(self.artefact(self.half, key))
            child(lambda step=step: (self.writes.watch(self.half, step), self.pipeline(self.half).build(self.specs[key])))
            if [path for path in (self.half / "store" / "checkpoints").rglob("*") if path.is_file()]:
                break
        self.half = self.half.rename(self.folder / "half")

    def artefact(self, outputs: Path, key: str) -> Path:
        return outputs / "store" / self.specs[key].stage / key

    def needing(self, key: str) -> list[str]:
        """Return the artefacts that are made from one directly."""
        from rd_utils.store import identity
        from rd_utils.study.stage import inputs

        return [other for other, spec in self.specs.items() if key in {identity(part) for part in inputs(spec).values()}]

    def differing(self, outputs: Path) -> list[str]:
        """Return the files that are not what they are in the reference."""
        found = contents(outputs)
        return sorted(name for name in self.expected.keys() | found.keys() if self.expected.get(name) != found.get(name))


def report(plan: Any) -> None:
    """Write files such as an analysis writes, of the same bytes every time."""
    from rd_utils import durable
    from rd_utils.study.node_files import write_record

    files = [plan.folder / name for name in ("results.parquet", "tables/main.csv", "charts/main.svg", "report.html")]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.write_text(path, f"the study's {path.name}\n" * 20)
    write_record(plan, files)


def contents(outputs: Path) -> dict[str, str]:
    """Return what must be the same again of every file of a study's outputs; drafts, locks and logs are not part of it."""
    found = {}
    for path in sorted(outputs.rglob("*")):
        name = path.relative_to(outputs).as_posix()
        if not path.is_file() or re.search(r"(^|/)(locks|runs|checkpoints)/|\.log$|log\.txt$", name):
            continue
        if name.startswith("store/pairs/"):  # in shards as they came; their scores stand in the artefacts
            continue
        content = path.read_bytes()
        if path.name == "manifest.json":
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                manifest = json.loads(content)
                manifest["counts"] = {key: value for key, value in manifest["counts"].items() if not key.startswith("pairs_scored")}
                content = json.dumps([manifest[key] for key in SAME], sort_keys=True).encode()
        found[name] = hashlib.sha256(content).hexdigest()
    return found


# --- what is done to files --------------------------------------------------------------------------------------------------------


def harm(path: Path, how: str, chance: random.Random, others: list[Path]) -> None:
    """Damage one file."""
    content = path.read_bytes()
    if how == "flip" and content:
        place = chance.randrange(len(content))
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << chance.randrange(8))]) + content[place + 1 :])
    elif how == "cut" and content:
        path.write_bytes(content[: chance.randrange(len(content))])
    elif how == "longer":
        path.write_bytes(content + chance.randbytes(1 + chance.randrange(64)))
    elif how == "zeros" and content:
        path.write_bytes(bytes(len(content)))
    elif how == "delete":
        path.unlink()
    elif how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "swap":
        path.write_bytes(chance.choice([other for other in others if other.is_file() and other.read_bytes() != content]).read_bytes())
    else:
        path.write_bytes(b"")


HARMS = ("flip", "cut", "empty", "delete", "folder", "swap", "longer", "zeros", "flip")


def outcome(bench: Bench, outputs: Path, again: Callable[[], None], hurt: Iterable[Path] = ()) -> tuple[str, str]:
    """Run a study again until it ends well or cannot, following what it says; return the outcome, and why it is one."""
    refused = ""
    for _ in range(4):
        ended = child(again)
        if ended.status is None:
            return "hang", ended.said[-600:]
        if ended.status == 0:
            differing = bench.differing(outputs)
            unread = {path.relative_to(outputs).as_posix() for path in hurt}
            if not differing:
                return ("refused" if refused else "repaired"), refused
            if set(differing) <= unread and all(_is_found(outputs / name) for name in differing):
                return "unread", ", ".join(differing)
            return "silent", f"{', '.join(differing[:4])} {ended.said[-400:]}"
        if ended.status != REFUSED:
            return "broken", f"status {ended.status} {ended.said[-600:]}"
        said = ended.said.split("\x1e")[1].strip()
        if str(outputs) not in said or ";" not in said:
            return "raw", ended.said[-1200:]
        refused = said
        named = re.findall(rf"{re.escape(str(outputs))}[^\s,;:'\"]*", said)
        remedy = re.search(r"(?:delete|remove) (?:the (?:folder|file) )?(\S+)", said)
        target = Path(remedy.group(1).strip("`'\".,;:")) if remedy else None
        for path in [target] if target and str(target).startswith(str(outputs)) else [Path(named[0])] if remedy else []:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return "stuck", refused


def _is_found(path: Path) -> bool:
    """Tell whether checking an artefact finds that one of its files is damaged."""
    from rd_utils.store import damage_of

    folder = next((folder for folder in path.parents if re.fullmatch(r"[0-9a-f]{20}", folder.name)), None)
    return folder is not None and damage_of(folder, float("inf")) is not None


# --- kinds of faults --------------------------------------------------------------------------------------------------------------


def kill_at_write(bench: Bench, number: int, chance: random.Random) -> tuple[str, str]:
    """Kill the making of an artefact before one of its writes, sometimes its making after that too."""
    outputs = bench.copy(f"kill-{os.getpid()}")
    key = chance.choice(sorted(bench.specs))
    shutil.rmtree(bench.artefact(outputs, key))
    if chance.random() < 0.5:
        shutil.rmtree(outputs / "store" / "pairs")
    for _ in range(1 + (chance.random() < 0.2)):
        step = 1 + chance.randrange(bench.steps[key])
        while step:
            ended = child(lambda step=step: (bench.writes.watch(outputs, step), bench.build(outputs, [key])))
            if ended.status != 0:
                break
            shutil.rmtree(bench.artefact(outputs, key))  # fewer writes were left to do, or none
            step //= 2
    if ended.status != -9:
        return ("hang" if ended.status is None else "raw"), ended.said[-600:]
    return outcome(bench, outputs, lambda: bench.build(outputs))


def kill_any_time(bench: Bench, number: int, chance: random.Random) -> tuple[str, str]:
    """Kill the making of a few artefacts at any time."""
    outputs = bench.copy(f"time-{os.getpid()}")
    keys = chance.sample(sorted(bench.specs), 4)
    for key in keys:
        shutil.rmtree(bench.artefact(outputs, key))
    shutil.rmtree(outputs / "store" / "pairs")
    after = chance.random() * sum(bench.seconds[key] for key in keys)
    for _ in range(6):
        ended = child(lambda: bench.build(outputs, keys), kill_after=after)
        if ended.status != 0:
            break
        for key in keys:
            shutil.rmtree(bench.artefact(outputs, key), ignore_errors=True)
        after /= 2
    if ended.status != -9:
        return "raw", ended.said[-600:]
    return outcome(bench, outputs, lambda: bench.build(outputs))


def kill_a_run(bench: Bench, number: int, chance: random.Random) -> tuple[str, str]:
    """Kill what the workflow itself writes, before one of its writes; nothing of it may be left in the end."""
    outputs = bench.copy(f"run-{os.getpid()}")
    step = 1 + chance.randrange(bench.steps["run"])
    while step:
        shutil.rmtree(outputs / "store" / "nodes")
        shutil.rmtree(outputs / bench.plan.study.name)
        ended = child(lambda step=step: (bench.writes.watch(outputs, step), bench.run(outputs)))
        if ended.status != 0:
            break
        step //= 2  # it had fewer writes to do than the reference
    if ended.status != -9:
        return "raw", ended.said[-600:]
    return outcome(bench, outputs, lambda: bench.run(outputs))


def damage_artefact(bench: Bench, number: int, chance: random.Random) -> tuple[str, str]:
    """Damage files of an artefact, then make what is made from it."""
    outputs = bench.copy(f"damage-{os.getpid()}")
    stage = chance.choice(sorted({spec.stage for spec in bench.specs.values()}))
    key = chance.choice(sorted(key for key, spec in bench.specs.items() if spec.stage == stage))
    every = [path for path in (outputs / "store").rglob("*") if path.is_file() and path.parent.parent.name in stage]
    files = sorted(path for path in bench.artefact(outputs, key).rglob("*") if path.is_file())
    hurt = chance.sample(files, min(len(files), 1 + (chance.random() < 0.15)))
    for path in hurt:
        harm(path, chance.choice(HARMS), chance, [*every, *files, *bench.artefact(bench.outputs, sorted(bench.specs)[0]).glob("*.json")])
    made = bench.needing(key)
    for other in made:
        shutil.rmtree(bench.artefact(outputs, other))
    return outcome(bench, outputs, lambda: bench.build(outputs, made) if made else bench.run(outputs), hurt)


def damage_pairs(bench: Bench, number: int, chance: random.Random) -> tuple[str, str]:
    """Damage a teacher's kept scores, then score."""
    outputs = bench.copy(f"pairs-{os.getpid()}")
    files = sorted(path for path in (outputs / "store" / "pairs").rglob("*") if path.is_file())
    harm(chance.choice(files), chance.choice(HARMS), chance, files)
    made = [key for key, spec in bench.specs.items() if spec.stage == "scores"]
    for key in made:
        shutil.rmtree(bench.artefact(outputs, key))
    return outcome(bench, outputs, lambda: bench.build(outputs, made))


def damage_checkpoint(bench: Bench, number: int, chance: random.Random) -> tuple[str, str]:
    """Damage what an interrupted training goes on from."""
    outputs = bench.copy(f"checkpoint-{os.getpid()}", bench.half)
    files = sorted(path for path in (outputs / "store" / "checkpoints").rglob("*") if path.is_file())
    harm(chance.choice(files), chance.choice(HARMS), chance, sorted(path for path in (outputs / "store").rglob("*.json")))
    return outcome(bench, outputs, lambda: bench.build(outputs))


def damage_outputs(bench: Bench, number: int, chance: random.Random) -> tuple[str, str]:
    """Damage what the workflow writes: executed notebooks, parameters, the report and its record, what is published."""
    outputs = bench.copy(f"outputs-{os.getpid()}")
    places = [outputs / bench.plan.study.name, outputs / "store" / "nodes"]
    files = sorted(path for place in places for path in place.rglob("*") if path.is_file() and path.name != "lock")
    hurt = chance.sample(files, 1 + (chance.random() < 0.3))
    for path in hurt:
        harm(path, chance.choice(HARMS), chance, files)
    return outcome(bench, outputs, lambda: bench.run(outputs), hurt)


def full_disk(bench: Bench, number: int, chance: random.Random) -> tuple[str, str]:
    """Let the disk be full at some point, and enlarge it."""
    disk = bench.folder / "trials" / f"disk-{os.getpid()}"
    disk.mkdir(parents=True, exist_ok=True)
    needed = sum(4 * -(-path.stat().st_size // 4096) for path in bench.outputs.rglob("*") if path.is_file())
    size = chance.randrange(64, needed * 3 // 4)
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", disk], capture_output=True).returncode:
        return "skipped", "only root can mount a small disk, and not everywhere"
    try:
        outputs = disk / "outputs"
        ended = child(lambda: bench.run(outputs))
        if ended.status != REFUSED or "no space left on the disk that holds" not in ended.said.split("\x1e")[1]:
            return ("hang" if ended.status is None else "raw"), f"{size} KB {ended.said[-900:]}"
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        found = outcome(bench, outputs, lambda: (bench.build(outputs), bench.run(outputs)))
        return ("refused" if found[0] == "repaired" else found[0]), found[1]
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def rivals(bench: Bench, number: int, chance: random.Random) -> tuple[str, str]:
    """Let two processes make the study at once, in other orders, and kill one of them every other time."""
    outputs = bench.copy(f"rivals-{os.getpid()}")
    kept = {key for key, spec in bench.specs.items() if spec.stage in ("docs", "queries", "lexicon", "tokens") and number % 3}
    for key in bench.specs.keys() - kept:
        shutil.rmtree(bench.artefact(outputs, key))
    shutil.rmtree(outputs / "store" / "pairs")
    orders = [chance.sample(sorted(bench.specs), len(bench.specs)) for _ in range(2)]
    pids = []
    for order in orders:
        if not (pid := os.fork()):
            ended = child(lambda order=order: bench.build(outputs, order))
            os._exit(0 if ended.status == 0 else 1)
        pids.append(pid)
    if number % 2:
        time.sleep(chance.random() * 3)
        with contextlib.suppress(OSError):  # the child that makes the study, of the one that waits for it; it may have ended
            for pid in Path(f"/proc/{pids[0]}/task/{pids[0]}/children").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    if statuses[1] or (statuses[0] and not number % 2):
        return "broken", f"statuses {statuses}"
    return outcome(bench, outputs, lambda: (bench.build(outputs), bench.run(outputs)))


def inputs_change(bench: Bench, number: int, chance: random.Random) -> tuple[str, str]:
    """Let a file of a person's collection vanish or change while its artefacts are made.

    Right is what the files were when the identities were taken, or an error that names the file; never other content under that identity.
    """
    from rd_utils.store import identity
    from rd_utils.study import params

    folder = bench.folder / "trials" / f"inputs-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    write_collection(folder / "toy")
    collection = params.FolderCollection(path=str(folder / "toy"), split="train")
    spec = params.EvaluationSpec(
        system=params.FirstStageSystem(retriever=params.BM25()),
        collection=collection,
        first_stage=params.FirstStage(kind="full", depth=3),
        measures=("nDCG@10",),
    )
    key = identity(spec)
    bench.pipeline(folder / "whole").build(spec)
    expected = contents(folder / "whole")
    path = chance.choice([folder / "toy" / name for name in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv")])
    how = chance.choice(["delete", "cut", "change"])

    def act() -> None:
        if how == "delete":
            path.unlink()
        elif how == "cut":
            path.write_bytes(path.read_bytes()[:-20])
        else:
            path.write_text(path.read_text().replace("cat", "cow").replace("\t1", "\t2"))

    step = 1 + chance.randrange(60)
    ended = child(lambda: (bench.writes.watch(folder / "tried", step, act), bench.pipeline(folder / "tried").build(spec)))
    if ended.status is None:
        return "hang", ended.said[-600:]
    made = contents(folder / "tried")
    wrong = [name for name, content in made.items() if name in expected and expected[name] != content]
    if wrong:
        return "silent", f"{how} {path.name} at step {step}: {wrong[:3]} under the identity of the old content ({key})"
    if ended.status == REFUSED:
        said = ended.said.split("\x1e")[1]
        return ("refused", said) if path.name in said or str(folder / "toy") in said else ("raw", ended.said[-900:])
    return "repaired", ""


def write_collection(folder: Path) -> None:
    (folder / "qrels").mkdir(parents=True)
    texts = ["the cat sat on the mat", "a cat chased a dog", "the dog slept", "stock markets fell", "rain fell on the hills"]
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"_id": f"d{n}", "text": text}) + "\n" for n, text in enumerate(texts)))
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": f"q{n}", "text": text}) + "\n" for n, text in enumerate(texts[:3])))
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t1\nq2\td2\t1\n")


KILLS = {"kill at a write": (kill_at_write, 4), "kill at any time": (kill_any_time, 3), "kill of a run": (kill_a_run, 3)}
DAMAGES = {
    "damaged artefact": (damage_artefact, 6),
    "damaged pairs": (damage_pairs, 1),
    "damaged checkpoint": (damage_checkpoint, 1),
    "damaged outputs": (damage_outputs, 2),
}
OTHERS = {"full disk": (full_disk, 1), "rivals": (rivals, 1), "changing inputs": (inputs_change, 3)}
KINDS = {kind: fault for group in (KILLS, DAMAGES, OTHERS) for kind, (fault, _) in group.items()}


# --- the campaign -----------------------------------------------------------------------------------------------------------------


def faults(kills: int, damages: int, others: int) -> list[tuple[str, int]]:
    """Return the kinds and numbers of a campaign's faults, the kinds mixed."""
    found = []
    for group, wanted in ((KILLS, kills), (DAMAGES, damages), (OTHERS, others)):
        weight = sum(share for _, share in group.values())
        for kind, (_, share) in group.items():
            found += [(kind, number) for number in range(-(-wanted * share // weight))]
    return sorted(found, key=lambda fault: hashlib.sha256(repr(fault).encode()).digest())


def one(bench: Bench, kind: str, number: int, seed: int) -> tuple[str, str]:
    """Try one fault; an error of the campaign itself is one of its outcomes."""
    try:
        return KINDS[kind](bench, number, random.Random(f"{seed} {kind} {number}"))
    except Exception:
        return "broken", traceback.format_exc()


def campaign(
    bench: Bench, wanted: list[tuple[str, int]], seed: int, record: Path, workers: int = 1, seconds: float = 1e9
) -> dict[tuple[str, str], int]:
    """Try faults that the record has not, by so many workers, until all are tried or the time is over; return how many had each outcome."""
    tried = read(record, seed)
    todo = [fault for fault in wanted if fault not in tried]
    deadline = time.monotonic() + seconds
    pids = []
    for worker in range(workers):
        if not (pid := os.fork()):
            try:
                for kind, number in todo[worker::workers]:
                    if time.monotonic() > deadline:
                        break
                    began = time.monotonic()
                    found, why = one(bench, kind, number, seed)
                    line = {"seed": seed, "kind": kind, "number": number, "outcome": found, "why": why}
                    line["seconds"] = round(time.monotonic() - began, 2)
                    with record.open("a", encoding="utf-8") as stream:
                        stream.write(json.dumps(line) + "\n")
            finally:
                os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    asked = set(wanted)
    return Counter((kind, found) for (kind, number), (found, _) in read(record, seed).items() if (kind, number) in asked)


def read(record: Path, seed: int) -> dict[tuple[str, int], tuple[str, str]]:
    """Return the outcomes that a record holds of a seed."""
    lines = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()] if record.is_file() else []
    return {(line["kind"], line["number"]): (line["outcome"], line["why"]) for line in lines if line["seed"] == seed}


def table(counts: dict[tuple[str, str], int]) -> str:
    """Return the outcomes by kind of fault, as text."""
    columns = ["repaired", "refused", "unread", "skipped", *FAILURES]
    lines = [["fault", "tried", *columns]]
    for kind in sorted({kind for kind, _ in counts}):
        own = [counts.get((kind, column), 0) for column in columns]
        lines.append([kind, *map(str, (sum(own), *own))])
    return "\n".join("".join(cell.ljust(20) if not place else cell.rjust(10) for place, cell in enumerate(line)) for line in lines)


def main(arguments: list[str] | None = None) -> int:
    """Run a campaign; return 0 where nothing failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--damages", type=int, default=500)
    parser.add_argument("--others", type=int, default=50)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("RD_FAULTS_SEED", "0")))
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no fault after so long")
    parser.add_argument("--record", type=Path, help="goes on where it was (default: nothing is kept)")
    parser.add_argument("--only", help="one fault, KIND:NUMBER")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="rd-faults-") as folder:
        began = time.monotonic()
        bench = Bench(Path(folder))
        print(f"reference: {len(bench.specs)} artefacts, {len(bench.expected)} files, {time.monotonic() - began:.0f} s", flush=True)
        if options.only:
            kind, _, number = options.only.rpartition(":")
            print(*one(bench, kind, int(number), options.seed), sep="\n")
            return 0
        wanted = faults(options.kills, options.damages, options.others)
        record = options.record or Path(folder) / "record.jsonl"
        began = time.monotonic()
        counts = campaign(bench, wanted, options.seed, record, options.workers, options.seconds)
        print(table(counts), f"\n{sum(counts.values())} of {len(wanted)} faults in {time.monotonic() - began:.0f} s", flush=True)
        failed = {fault: found for fault, found in read(record, options.seed).items() if found[0] in FAILURES and fault in set(wanted)}
        for (kind, number), (found, why) in failed.items():
            print(f"--- {found}: {kind}:{number}\n{why}")
    return 1 if failed or sum(counts.values()) < len(wanted) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Faults of whole runs: `make study` of a study of four notebooks, one of whose processes is killed, or that has a rival.

    python -m tests.faults.runs

A chain of runs makes one study: in each of them another kind of process is killed as soon as there is one, nothing may compute on, and
the last run ends well. There is a chain with and without the nursery, on one core and on two. Then two runs of one study, and runs of two
studies that share nodes, are started at once. In the end every artefact and the table of results have the bytes that an undisturbed run
gives.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import yaml

from tests.faults.campaign import HERE, ROOT, contents

STUDY = HERE / "least.yaml"
KILLED = ("snakemake", "run", "make", "nursery", "shell", "command", "papermill", "kernel")
SECONDS = 1200.0  # after which a run hangs
ORPHAN_SECONDS = 30.0  # within which everything ends with a process


class Process(NamedTuple):
    """A process of a run."""

    pid: int
    parent: int
    command: str


def processes(outputs: Path) -> list[Process]:
    """Return the processes that work for a folder of outputs."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"RD_OUTPUTS={outputs}\0".encode() in (entry / "environ").read_bytes() + b"\0":
                state, parent, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if state not in "ZX":
                    found.append(Process(int(entry.name), int(parent), command))
    return found


def kind_of(process: Process, by_pid: dict[int, Process]) -> str:
    """Return what a process of a run is, one of :data:`KILLED`, or "" for others."""
    command, parent = process.command, by_pid.get(process.parent)
    if "nursery.main()" in command:
        above = 0
        while parent is not None and "nursery.main()" in parent.command:
            above, parent = above + 1, by_pid.get(parent.parent)
        return ("nursery", "papermill", "kernel")[min(above, 2)]
    if "ipykernel_launcher" in command:
        return "kernel"
    if command.startswith("make "):
        return "make"
    if "rd_utils run " in command and " -c " not in command:
        return "run"
    if "/papermill " in command:
        return "papermill"
    if "kernels.py" in command:
        return "shell" if " -c " in command else "command"
    return "snakemake" if "-m snakemake --cores" in command and " -c " not in command else ""


def start(outputs: Path, study: Path, nursery: int, cores: int) -> subprocess.Popen:
    """Start a run as a person does; its standard output and error go to a file beside the outputs."""
    with outputs.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(
            ["make", "--no-print-directory", "study", "READY=", f"STUDY={study}", f"NURSERY={nursery}", f"CORES={cores}"],
            cwd=ROOT,
            env={key: value for key, value in os.environ.items() if not key.startswith("RD_")} | {"RD_OUTPUTS": str(outputs)},
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )


def ends_well(run: subprocess.Popen) -> str:
    """Wait for a run; return what is wrong with its end, "" where nothing is."""
    try:
        status = run.wait(SECONDS)
    except subprocess.TimeoutExpired:
        run.kill()
        return "hang"
    return f"broken: status {status}" if status else ""


def kill_one(outputs: Path, run: subprocess.Popen, wanted: str, delay: float) -> str:
    """Kill a process of a kind soon after it has appeared, and wait until all have ended; return what is wrong."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        by_pid = {process.pid: process for process in processes(outputs)}
        chosen = [process for process in by_pid.values() if kind_of(process, by_pid) == wanted]
        begun = any(kind_of(process, by_pid) == "snakemake" for process in by_pid.values())  # before, make only checks the study
        if chosen and begun:
            time.sleep(delay)
            with contextlib.suppress(ProcessLookupError):
                os.kill(chosen[0].pid, signal.SIGKILL)
                break
        if run.poll() is not None:
            return "" if run.returncode == 0 else f"broken: it ended by itself with status {run.returncode}"
        time.sleep(0.05)
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.wait(SECONDS if wanted in ("shell", "command", "papermill", "kernel", "nursery") else ORPHAN_SECONDS)
    deadline = time.monotonic() + ORPHAN_SECONDS
    while time.monotonic() < deadline:
        if not (left := processes(outputs)):
            return ""
        time.sleep(0.2)
    for process in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    return "orphans: " + "; ".join(process.command[:80] for process in left)


def made(outputs: Path, name: str) -> dict[str, str]:
    """Return what must be the same of a finished study: its artefacts and its table of results."""
    found = contents(outputs)
    return {
        key: value
        for key, value in found.items()
        if (key.startswith("store/") and "/nodes/" not in key) or key == f"{name}/results.parquet"
    }


def report_is_whole(outputs: Path, study: Path) -> bool:
    """Tell whether a study's report and executed notebooks are whole."""
    code = "import sys; from rd_utils.study import node_files, plan; from rd_utils.store import Store; this = plan.load_plan(sys.argv[1]); "
    code += "sys.exit(not all(node_files.is_done(node, this, Store()) for node in this.nodes))"
    return subprocess.run([sys.executable, "-c", code, str(study)], cwd=ROOT, env=os.environ | {"RD_OUTPUTS": str(outputs)}).returncode == 0


def chain(folder: Path, reference: dict[str, str], nursery: int, cores: int, seed: int) -> dict[str, str]:
    """Make a study by runs of which all but the last lose a process; return what is wrong by what was killed."""
    chance, outputs, found = random.Random(f"{seed} {nursery} {cores}"), folder / f"nursery-{nursery}-cores-{cores}", {}
    for wanted in chance.sample(KILLED, len(KILLED)):
        if wanted != "nursery" or nursery:
            run = start(outputs, STUDY, nursery, cores)
            found[wanted] = kill_one(outputs, run, wanted, chance.random() * 3)
    found["the end"] = ends_well(start(outputs, STUDY, nursery, cores)) or _compared(outputs, STUDY, "least", reference)
    return found


def _compared(outputs: Path, study: Path, name: str, reference: dict[str, str]) -> str:
    own = made(outputs, name)
    differing = [key for key in reference.keys() | own.keys() if reference.get(key) != own.get(key)]
    if differing:
        return f"silent: {', '.join(sorted(differing)[:5])}"
    if left := [str(path) for pattern in ("running-*", ".*.partial*") for path in outputs.rglob(pattern)]:
        return f"left: {', '.join(left[:3])}"
    return "" if report_is_whole(outputs, study) else "broken: the report is not whole"


def rivals(folder: Path, reference: dict[str, str]) -> dict[str, str]:
    """Start two runs of one study at once, and two of studies that share nodes; return what is wrong."""
    outputs = folder / "twice"
    both = [start(outputs, STUDY, 1, 1) for _ in range(2)]
    found = {"the same twice": "; ".join(filter(None, map(ends_well, both))) or _compared(outputs, STUDY, "least", reference)}
    log = outputs.with_suffix(".log").read_text()
    if "another run of study least" not in log:
        found["the same twice"] += " nobody waited"
    other = folder / "other.yaml"
    values = yaml.safe_load(STUDY.read_text())
    values["name"] = "other"
    values["grids"].append(values["grids"][0] | {"seeds": [1]})
    other.write_text(yaml.safe_dump(values))
    outputs = folder / "overlapping"
    both = [start(outputs, STUDY, 1, 1), start(outputs, other, 1, 1)]
    found["overlapping"] = "; ".join(filter(None, map(ends_well, both)))
    own = made(outputs, "least")
    if not found["overlapping"] and any(own.get(key) != value for key, value in reference.items()):
        found["overlapping"] = "silent: " + ", ".join(key for key, value in reference.items() if own.get(key) != value)
    if not found["overlapping"] and not (report_is_whole(outputs, STUDY) and report_is_whole(outputs, other)):
        found["overlapping"] = "broken: a report is not whole"
    return found


def main() -> int:
    """Run all chains and rivals; return 0 where nothing failed."""
    seed, failed = int(os.environ.get("RD_FAULTS_SEED", "0")), 0
    with tempfile.TemporaryDirectory(prefix="rd-faults-") as place:
        folder = Path(place)
        began = time.monotonic()
        wrong = ends_well(start(folder / "reference", STUDY, 1, 1))
        if wrong:
            print((folder / "reference.log").read_text()[-4000:], wrong)
            return 1
        reference = made(folder / "reference", "least")
        print(f"reference: {len(reference)} files, {time.monotonic() - began:.0f} s", flush=True)
        tried = {
            f"NURSERY={nursery} CORES={cores}": (chain, (folder, reference, nursery, cores, seed)) for nursery in (1, 0) for cores in (1, 2)
        }
        tried["rivals"] = (rivals, (folder, reference))
        for name, (work, arguments) in tried.items():
            began = time.monotonic()
            for what, wrong in work(*arguments).items():
                failed += bool(wrong)
                print(f"{name:22}{what:16}{wrong or 'well'}", flush=True)
            print(f"{name:22}{time.monotonic() - began:.0f} s", flush=True)
        if failed:
            print(*(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in folder.glob("*.log")), sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

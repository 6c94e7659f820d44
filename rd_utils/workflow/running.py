"""``rd run STUDY``: Snakemake on the suite's Snakefile, in the project's root, with one display of how far the whole study is.

In a terminal the display is a bar with a line for every notebook at work; what Snakemake says is shown where it fails, and lies in
``.snakemake/log``. Elsewhere Snakemake's own lines are the log: one a notebook.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import IO

from rd_utils import kernels
from rd_utils.store import project_root, shipped, suite_root
from rd_utils.study.explain import ParameterError, nearest
from rd_utils.study.plan import Plan, load_plan
from rd_utils.training import reporting
from rd_utils.workflow.status import SECONDS_BETWEEN_LOOKS, Watch, drawn

ALWAYS = ("--nolock", "--rerun-incomplete", "--rerun-triggers", "mtime", "--show-failed-logs")
KEPT = 400  # lines of Snakemake that are shown where it fails
LOUD = ("study: ", "error: ")  # what is shown at once, as it begins


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser."""
    parser.add_argument("study", help="a study file, such as params/embedded.yaml")
    parser.add_argument("--base", help="run it on another base: the name of a file in params/bases")
    parser.add_argument("--cores", type=int, help="notebooks at the same time (default: all cores, or what the profile says)")
    parser.add_argument("--profile", help="how a cluster runs it: slurm, kubernetes, or a folder with a config.yaml of Snakemake")
    parser.add_argument("--threads", type=int, help="of one notebook (default: 1)")
    parser.add_argument("--plain", action="store_true", help="start every notebook in a process of its own, not by a fork")
    parser.add_argument("--report-to", default="", metavar="TRACKER", help="tell losses to tensorboard, trackio or wandb, or several: a,b")
    parser.add_argument(
        "--snakemake", action="append", default=[], metavar="OPTION", help="hand it to Snakemake: --snakemake=--dry-run; as often as wanted"
    )


def run(options: argparse.Namespace) -> int:
    """Run a study; return Snakemake's exit status.

    Raises:
        ParameterError: the study is not valid, or there is no such profile or tracker.
    """
    kernels.end_with_the_process_above()
    told = {reporting.TO: ",".join(trackers)} if (trackers := reporting.trackers(options.report_to or None)) else {}
    plan = load_plan(options.study, options.base or None, inputs=True)
    shown = sys.stderr.isatty() and not options.snakemake
    child = subprocess.Popen(
        [*command_of(options, plan), "--quiet", "rules", "reason", *(("host", "progress") if shown else ())],
        cwd=project_root(),
        env=os.environ | {kernels.ENDS_WITH: str(os.getpid()), "PATH": _path()} | told,
        **({"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"} if shown else {}),
    )
    signal.signal(signal.SIGINT, lambda *_: None)  # a terminal's Ctrl-C reaches Snakemake too, which ends its notebooks
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: child.send_signal(number))
    status = _shown(child, plan) if shown else child.wait()
    if status == 0 and not options.snakemake:
        print(f"report: {plan.folder / 'report.html'}")
    return status if status >= 0 else 128 - status


def command_of(options: argparse.Namespace, plan: Plan) -> list[str]:
    """Return Snakemake's command for a study.

    Raises:
        ParameterError: there is no such profile, or a number that is none of cores or threads.
    """
    for name in ("cores", "threads"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise ParameterError(f"--{name} {value}: give 1 or more")
    command = [sys.executable, "-m", "snakemake"]
    if cores := options.cores or (None if options.profile else os.cpu_count() or 1):
        command += ["--cores", str(cores)]
    if options.profile:
        command += ["--profile", str(_profile(options.profile))]
    config = {"study": plan.path, "base": options.base or "", "nursery": int(not options.plain)}
    config |= {"threads": options.threads} if options.threads else {}
    snakefile = ("--snakefile", str(suite_root() / "Snakefile"))
    plain = ("--nocolor",) if os.environ.get("NO_COLOR") else ()
    return [*command, *snakefile, *ALWAYS, *plain, *options.snakemake, "--config", *(f"{key}={value}" for key, value in config.items())]


def _path() -> str:
    """Return where notebook runs find programs: first those of this environment, whether it is activated or not."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def _profile(named: str) -> Path:
    own = Path(named).expanduser()
    folder = own if (own / "config.yaml").is_file() else shipped(f"params/profiles/{named}")
    if (folder / "config.yaml").is_file():
        return folder.resolve()
    known = sorted(path.parent.name for path in shipped("params/profiles").glob("*/config.yaml"))
    raise ParameterError(f"--profile {named}: no folder with a config.yaml, and no profile of that name{nearest(named, known)}")


def _shown(child: subprocess.Popen[str], plan: Plan) -> int:
    """Show how far the study is until Snakemake ends, and what it said where it fails; return its exit status."""
    from rich.console import Console
    from rich.live import Live

    said: deque[str] = deque(maxlen=KEPT)
    console = Console(stderr=True)

    def read(stream: IO[str]) -> None:
        for line in stream:
            if line.startswith(LOUD):
                console.print(line.rstrip(), markup=False, highlight=False)
            else:
                said.append(line)

    reader = threading.Thread(target=read, args=(child.stdout,), daemon=True)
    reader.start()
    watch = Watch(plan)
    with Live(drawn(watch.look()), console=console, transient=True) as live:
        while True:
            try:
                status = child.wait(SECONDS_BETWEEN_LOOKS)
                break
            except subprocess.TimeoutExpired:
                live.update(drawn(watch.look()))
    reader.join()
    if status:
        sys.stderr.writelines(said)
    return status

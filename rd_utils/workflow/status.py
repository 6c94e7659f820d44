"""How far a study is: which of its notebooks are done, at work, failed or waiting, and how long the rest will take.

Everything is read from the folders of the study's nodes, so that a run can be watched from another terminal or another machine.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rd_utils import durable
from rd_utils.store import Store, identity
from rd_utils.study.node_files import is_done, node_folder
from rd_utils.study.nodes import Node
from rd_utils.study.plan import Plan

if TYPE_CHECKING:
    from rich.console import RenderableType

State = Literal["done", "running", "failed", "stopped", "waiting"]
SECONDS_BETWEEN_LOOKS = 2.0  # of who watches
LINES = 12  # of a failed notebook's log that are shown
LEAST = 5.0  # seconds that a notebook is expected to take, whatever it makes
OVERDUE = 0.25  # of the seconds that a notebook has been running: what it still needs at least
_CHATTER = ("Executing Cell", "Ending Cell", "[IPKernelApp]", "Generating grammar")  # lines of a log that say nothing of the work
FACTORS = (0.1, 10.0)  # between which what was measured corrects what was expected


class Look(NamedTuple):
    """A node as it is now.

    Attributes:
        node: the node.
        state: ``failed`` where a cell raised an error, ``stopped`` where the run ended around it.
        seconds: how long its notebook took, or has been running; None where it has not begun.
        lines: the last lines of its log, of a node at work one, of a failed one several.
    """

    node: Node
    state: State
    seconds: float | None = None
    lines: tuple[str, ...] = ()

    @property
    def log(self) -> Path:
        """Return the file of its log."""
        return node_folder(self.node.id) / "log.txt"


class Status(NamedTuple):
    """A study as it is now.

    Attributes:
        study: its name.
        looks: of every node, in the order of the plan.
        seconds_left: what the rest takes as far as is known (see :class:`Watch`); None where nothing runs.
    """

    study: str
    looks: list[Look]
    seconds_left: float | None

    def of(self, state: State) -> list[Look]:
        """Return the nodes in a state."""
        return [look for look in self.looks if look.state == state]

    @property
    def is_done(self) -> bool:
        """Tell whether nothing is left."""
        return all(look.state == "done" for look in self.looks)


class Watch:
    """Looks at a study again and again.

    A node is expected to take what ``rd plan`` expects of the artefacts that were missing at the first look, corrected by what the nodes
    took that are done since. The time left is the sum of what nodes still need, over as many at a time as are at work now.

    Args:
        plan: the study.
        times: whether times are wanted; looking is quicker without.
    """

    def __init__(self, plan: Plan, times: bool = True) -> None:
        self.plan = plan
        store = Store()
        self.done = {node.id: 0.0 for node in plan.nodes if is_done(node, plan, store)}
        left = [node for node in plan.nodes if node.id not in self.done]
        self.expected = _expected(plan, left, store) if times and left else {}
        self.took: dict[str, float] = {}  # of nodes done since the first look

    def look(self) -> Status:
        """Return the study as it is now."""
        looks = [self._look(node) for node in self.plan.nodes]
        return Status(self.plan.study.name, looks, self._left(looks))

    def _look(self, node: Node) -> Look:
        folder = node_folder(node.id)
        if node.id in self.done or (folder / "notebook.ipynb").exists():
            if node.id not in self.done:
                self.done[node.id] = self.took[node.id] = _papermill(folder / "notebook.ipynb").get("duration") or 0.0
            return Look(node, "done", self.done[node.id] or None)
        state: State = "waiting"
        for draft in folder.glob("running-*.ipynb"):
            about = _papermill(draft)
            if not durable.is_left(draft, draft.stem.removeprefix("running-")):
                began = about.get("start_time")
                seconds = time.time() - datetime.fromisoformat(began).timestamp() if began else 0.0
                return Look(node, "running", seconds, _last_lines(folder / "log.txt", 1))
            state = "failed" if about.get("exception") else "stopped"
        return Look(node, state, None, _last_lines(folder / "log.txt", LINES) if state == "failed" else ())

    def _left(self, looks: list[Look]) -> float | None:
        at_work = sum(look.state == "running" for look in looks)
        if not at_work or not self.expected:
            return None
        expected = sum(self.expected[node] for node in self.took)
        factor = min(max(sum(self.took.values()) / expected, FACTORS[0]), FACTORS[1]) if expected else 1.0
        left = 0.0
        for look in looks:
            if look.state != "done":
                whole = factor * self.expected[look.node.id]
                elapsed = look.seconds or 0.0
                left += max(whole - elapsed, OVERDUE * elapsed)
        return left / at_work


def _expected(plan: Plan, left: list[Node], store: Store) -> dict[str, float]:
    """Return the seconds that each of the nodes that are left is expected to take for what is missing now."""
    from rd_utils.cost import devices, estimates

    found = estimates.estimate(plan, store, devices.device_of(None))
    seconds = {key: cost.left_core_seconds + cost.left_gpu_seconds for key, cost in found.artefacts.items()}
    of_node = {node.id: sum(seconds.get(identity(spec), 0.0) for spec in node.artefacts) for node in left}
    total = found.total
    rest = total.left_core_seconds + total.left_gpu_seconds - sum(of_node.values())  # pairs that are scored, starts
    return {node: max(LEAST, seconds + max(0.0, rest) / len(left)) for node, seconds in of_node.items()}


def _papermill(notebook: Path) -> dict[str, Any]:
    """Return what papermill wrote into a notebook's metadata; nothing where it cannot be read now."""
    try:
        return dict(json.loads(notebook.read_text(encoding="utf-8"))["metadata"]["papermill"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _last_lines(log: Path, n: int) -> tuple[str, ...]:
    """Return the last lines of a log that say something."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 20_000))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return ()
    said = [line.rstrip() for line in lines if line.strip() and not line.startswith(_CHATTER)]
    return tuple(said[-n:])


# --- shown ------------------------------------------------------------------------------------------------------------------------


def as_text(status: Status) -> str:
    """Return a study's status for a reader: a line in sum, one for every node at work, and the last lines of those that failed."""
    lines = [summary(status)]
    lines += [f"  {_at_work(look)}" for look in status.of("running")]
    for look in status.of("failed"):
        lines += ["", f"failed: {look.node.name}, see {look.log}", *(f"  | {line}" for line in look.lines)]
    if stopped := status.of("stopped"):
        lines += ["", f"stopped with their run: {', '.join(look.node.name for look in stopped)}"]
    return "\n".join(lines)


def summary(status: Status) -> str:
    """Return how far a study is, in a line.

    >>> summary(Status("tour", [Look(Node("a", "a", "01_mine", {}, (), ()), "done")], None))
    'tour: 1 of 1 notebooks done'
    """
    counts = Counter(look.state for look in status.looks)
    parts = [f"{status.study}: {counts['done']} of {len(status.looks)} notebooks done"]
    parts += [f"{counts[state]} {state}" for state in ("running", "failed", "stopped") if counts[state]]
    if status.seconds_left is not None:
        parts.append(f"about {duration(status.seconds_left)} left")
    return ", ".join(parts)


def _at_work(look: Look) -> str:
    said = f": {look.lines[-1]}" if look.lines else ""
    return f"{look.node.name}, {duration(look.seconds or 0.0)}{said}"


def duration(seconds: float) -> str:
    """Return seconds in words.

    >>> duration(40), duration(400), duration(40_000)
    ('40 s', '7 min', '11.1 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3600:.1f} h"


def as_record(status: Status) -> dict[str, object]:
    """Return a study's status for a program."""
    nodes = [
        {
            "node": look.node.id,
            "name": look.node.name,
            "state": look.state,
            "seconds": look.seconds,
            "log": str(look.log),
            "lines": list(look.lines),
        }
        for look in status.looks
    ]
    return {"study": status.study, "done": status.is_done, "seconds_left": status.seconds_left, "nodes": nodes}


def drawn(status: Status) -> RenderableType:
    """Return a study's status as a terminal shows it while it changes: a bar, and a line for every node at work."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(padding=(0, 1))
    head.add_row(ProgressBar(len(status.looks), len(status.of("done")), width=30), Text(summary(status)))
    return Group(head, *(Text(f"  {_at_work(look)}", overflow="ellipsis", no_wrap=True) for look in status.of("running")))


# --- the command ------------------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser."""
    parser.add_argument("study", help="a study file, such as params/embedded.yaml")
    parser.add_argument("--base", help="the study as run on another base: the name of a file in params/bases")
    parser.add_argument("--watch", action="store_true", help="go on looking until nothing runs any more (Ctrl-C ends it)")
    parser.add_argument("--json", action="store_true", help="as JSON, every notebook run with its state, seconds and log")


def run(options: argparse.Namespace) -> int:
    """Print how far a study is; return 1 where a notebook has failed."""
    from rd_utils.study.plan import load_plan

    watch = Watch(load_plan(options.study, options.base or None), times=True)
    status = watch.look()
    if options.watch:
        status = _watched(watch, status)
    print(json.dumps(as_record(status), indent=1) if options.json else as_text(status))
    return int(bool(status.of("failed")))


def _watched(watch: Watch, status: Status) -> Status:
    """Show a study until nothing runs any more; return its last status."""
    from rich.console import Console
    from rich.live import Live

    with Live(drawn(status), console=Console(stderr=True), transient=True) as live:
        try:
            while status.of("running"):
                time.sleep(SECONDS_BETWEEN_LOOKS)
                status = watch.look()
                live.update(drawn(status))
        except KeyboardInterrupt:
            pass
    return status

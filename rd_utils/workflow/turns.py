"""A run of a study's workflow: its turn among other runs, what it removes before it starts, and what it says when it cannot."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import IO

import filelock

from rd_utils import durable, kernels
from rd_utils.store import Store, StoreError, outputs_root
from rd_utils.study.node_files import is_done, node_folder, prepare
from rd_utils.study.params import ParameterError
from rd_utils.study.plan import Plan
from rd_utils.study.stage import stages

SECONDS_BETWEEN_LOOKS = 1.0  # of a run that waits for another
REFUSALS = (ParameterError, StoreError, OSError)  # what :func:`begin` may raise, for :func:`told` to word


def begin(plan: Plan, wait: bool = True) -> Turn:
    """Wait for other runs that need the same nodes, then make everything ready for this one; a finished study is left as it stands.

    Args:
        plan: the study.
        wait: whether to wait; where not, and others are at work, nothing is made ready.

    Returns:
        What keeps other runs waiting, as long as this process lives.

    Raises:
        ParameterError, StoreError: the study cannot be run.
        OSError: its folders cannot be written, and something is left to do.
    """
    turn = Turn(plan)
    try:
        if turn.take(wait):
            prepare(plan)
            if cleared := clear_leftovers(plan, Store()):
                _say(f"removed what ended runs left: {len(cleared)} files and folders, the first is {cleared[0]}")
        else:
            _say(f"{turn.other} is at work on what this study needs; nothing is made ready meanwhile")
    except OSError as error:
        store = Store()
        refused = durable.explain(error, error.filename or outputs_root())
        if refused is None or error.errno == errno.ENOSPC or not all(is_done(node, plan, store) for node in plan.nodes):
            raise
        _say(f"everything is done, and nothing is written: {refused}")
    return turn


def _say(text: str) -> None:
    print(f"study: {text}", file=sys.stderr, flush=True)


def told(error: Exception) -> str:
    """Return what to tell a person of an error: of a disk that refuses, what helps."""
    if isinstance(error, OSError):
        return durable.explain(error, error.filename or outputs_root()) or f"{type(error).__name__}: {error}"
    return str(error)


class Turn:
    """The right to execute a study's nodes and to write into its folder, which one run has at a time; it ends with the process.

    Held are the study's name and every node that is not done yet: one byte each of one file, which the system locks (``fcntl``), and lets
    go whatever ends the process. So a second run of a study waits for the first and finds everything done, studies that share nodes to
    execute take turns, and others run at the same time.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.folder = node_folder("nothing").parent / "runs"
        self.record = self.folder / f"{socket.gethostname()}.{os.getpid()}.json"
        self.stream: IO[bytes] | None = None
        self.other = ""  # the run that has the turn

    def take(self, wait: bool = True) -> bool:
        """Wait for the turn, saying for whom; return whether it was taken, which it is unless ``wait`` is false."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.stream = stream = (self.folder / "lock").open("ab")
        while True:
            store = Store()
            keys = [f"study {self.plan.study.name}", *(node.id for node in self.plan.nodes if not is_done(node, self.plan, store))]
            if self._lock(stream, keys):
                about = {"study": self.plan.study.name, "since": time.strftime("%Y-%m-%d %H:%M:%S"), "keys": keys}
                durable.write_text(self.record, json.dumps(about))
                return True
            other = self._holder(keys)
            if not wait:
                self.other = other
                self.leave()
                return False
            if other != self.other:
                self.other = other
                _say(f"{other} is at work on what this study needs; waiting for it")
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def leave(self) -> None:
        """Let others have their turn."""
        if self.stream is not None:
            self.stream.close()
            self.stream = None
            with contextlib.suppress(OSError):
                durable.remove(self.record)

    def _lock(self, stream: IO[bytes], keys: list[str]) -> bool:
        """Lock all of the keys, or none."""
        fcntl.lockf(stream, fcntl.LOCK_UN)
        for key in keys:
            place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big")
            try:
                fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise StoreError(
                        f"{self.folder / 'lock'} cannot be locked ({error.strerror}), so two runs could write the same files; "
                        "name a folder in RD_OUTPUTS on a file system with locks"
                    ) from None
                fcntl.lockf(stream, fcntl.LOCK_UN)
                return False
        return True

    def _holder(self, keys: list[str]) -> str:
        """Return what to call a run that holds one of the keys."""
        for path in sorted(self.folder.glob("*.json")):
            if durable.is_left(path, path.stem):
                durable.remove(path)
                continue
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                about = json.loads(path.read_text(encoding="utf-8"))
                if set(keys) & set(about["keys"]):
                    host, _, pid = path.stem.rpartition(".")
                    return f"another run of study {about['study']} (process {pid} on {host}, since {about['since']})"
        return "another run"


# --- leftovers --------------------------------------------------------------------------------------------------------------------


def clear_leftovers(plan: Plan, store: Store) -> list[Path]:
    """Remove what processes that are gone were writing: notebooks, drafts, sockets, empty checkpoint folders; return what was removed.

    A file whose name says its process goes when that process has ended; a draft or a checkpoint folder of an artefact goes when nobody
    holds the artefact's lock.
    """
    nodes = [node_folder(node.id) for node in plan.nodes]
    own = (plan.folder, *(plan.folder / name for name in ("notebooks", "tables", "charts")))
    found = [path for folder in (*own, nodes[0].parent, nodes[0].parent / "runs", *nodes) for path in durable.clear(folder)]
    for path in (path for folder in nodes for path in folder.glob("running-*.ipynb")):
        if durable.is_left(path, path.stem.removeprefix("running-")):
            durable.remove(path)
            found.append(path)
    drafts = [path for path in store.root.glob("*/.*") if path.parent.name in stages()]
    checkpoints = [path for path in (store.root / "checkpoints").glob("*") if _is_spent(store, path)]
    for path in [*drafts, *checkpoints]:
        if _free(store, path.name.lstrip(".").partition(".")[0]):
            durable.remove(path)
            found.append(path)
    return found + kernels.clear_nurseries()


def _is_spent(store: Store, checkpoints: Path) -> bool:
    """Tell whether nothing can go on from a checkpoint folder: it is empty, or what it was for is complete."""
    if any(store.root.glob(f"*/{checkpoints.name}/manifest.json")):
        return True
    return checkpoints.is_dir() and not any(checkpoints.iterdir())


def _free(store: Store, key: str) -> bool:
    """Tell whether nobody makes the artefact of an identity now."""
    for path in (store.root / "locks").glob(f"*-{key}.lock"):
        lock = filelock.FileLock(path)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            return False
        lock.release()
    return True

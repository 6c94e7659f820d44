"""Run a node in a forked child of a process that has imported everything already, or as plain papermill where there is none.

Importing torch and what stands on it costs a fresh kernel 5 to 8 seconds. A *nursery* (:mod:`rd_utils.nursery`) does it once for a run of
Snakemake. This module is the other side: :func:`start` and :func:`stop` in the process that runs the study, and the command of a node,
which asks the nursery to run papermill and waits::

    python -S -P rd_utils/kernels.py NOTEBOOK OUTPUT --cwd notebooks ...     # the arguments of papermill
    python -S -P rd_utils/kernels.py --node FOLDER EXECUTED LOG NOTEBOOK --cwd notebooks ...

The second form is the workflow's: the notebook is executed in the node's folder, and put in its place when it has ended well, sealed
(:func:`sealed`) and flushed, so that what stands there is whole.

It imports nothing but the standard library and one module that does the same, because it is itself part of what a node costs. A node runs
as plain papermill where no nursery is named or none answers (on another host of a cluster, say), where its environment differs from the
nursery's, and where the package has changed on disk since the nursery imported it; its log says which.

A node ends with the run that it belongs to. Its command looks twice a second whether the processes live that stand between it and the
run's own, which :func:`begin_run` names; when one of them has ended, however it did, the command ends what it has started, and itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

if TYPE_CHECKING or __package__:
    from rd_utils import durable
else:  # a node's command, which does not import the package
    _found = importlib.util.spec_from_file_location("durable", Path(__file__).with_name("durable.py"))
    durable = importlib.util.module_from_spec(_found)
    _found.loader.exec_module(durable)

ADDRESS = "RD_NURSERY"  # the environment variable that holds the folder of the nursery's socket
RUN = "RD_RUN"  # the one that holds the run's own process, as HOST PID STARTED
ENDS_WITH = "RD_ENDS_WITH"  # the one that holds the process that started a run, which ends with it
SOCKET = "socket"
NURSERY = "rd-nursery-"  # begins the name of that folder
SEAL = "rd_utils"  # the key of a notebook's metadata under which its checksum stands
SECONDS_BETWEEN_LOOKS = 0.5  # at the processes that a node's command ends with
GRACE_SECONDS = 5.0  # between asking a node to end and killing it
SHOWN = 3  # differing environment variables that a refusal names


class Notebook(TypedDict, total=False):
    """A notebook's JSON, of which only the metadata matter here."""

    metadata: dict[str, object]


def supported() -> bool:
    """Tell whether this platform can fork a process that has loaded numerical libraries, and end children with their parent: Linux."""
    return sys.platform == "linux"


def node_environment(threads: int, allocator: str) -> dict[str, str]:
    """Return the variables of a node's environment that are read when a process starts or imports, so that a nursery needs them too.

    Args:
        threads: of one node.
        allocator: the value of GLIBC_TUNABLES.

    >>> node_environment(2, "")["OMP_NUM_THREADS"]
    '2'
    """
    libraries = ("OMP", "GOTO", "OPENBLAS", "MKL", "VECLIB", "NUMEXPR")  # Snakemake sets all of these for a job
    variables = {f"{library}_NUM_THREADS" if library != "VECLIB" else "VECLIB_MAXIMUM_THREADS": str(threads) for library in libraries}
    return variables | {"GLIBC_TUNABLES": allocator, "TOKENIZERS_PARALLELISM": "false"}


# --- the nursery's life, seen from the process that runs a study ------------------------------------------------------------------


def start(environment: dict[str, str], *, cwd: str, idle_seconds: float = 900.0) -> subprocess.Popen | None:
    """Start a nursery and name it to every process that this one starts; it imports when the first node asks.

    It ends by :func:`stop`, when this process has ended, or when no node has run for ``idle_seconds``.

    Args:
        environment: the nodes' environment, apart from what :mod:`rd_utils.nursery` lets differ.
        cwd: the kernels' working folder, from which they import.
        idle_seconds: how long it waits for a node.

    Returns:
        The process, or None where the platform cannot (see :func:`supported`).
    """
    if not supported():
        return None
    prefix = f"{NURSERY}{os.getpid()}-"
    folder = tempfile.mkdtemp(prefix=prefix)  # mode 700
    if len(folder) > 80:  # a socket's path has about 100 bytes
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix=prefix, dir="/tmp")
    command = "from rd_utils import nursery; nursery.main()"  # as a kernel does: sys.path begins with the working folder
    with socket.socket(socket.AF_UNIX) as listener:  # bound here, so that a node can ask from now on
        listener.bind(os.path.join(folder, SOCKET))
        listener.listen(64)
        nursery = subprocess.Popen(
            [sys.executable, "-c", command, folder, str(listener.fileno()), str(os.getpid()), str(idle_seconds)],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=(listener.fileno(),),
            start_new_session=True,  # Ctrl-C reaches the nodes through their commands
        )
    os.environ[ADDRESS] = folder
    return nursery


def stop(nursery: subprocess.Popen | None = None) -> None:
    """End a nursery, where there is one, and every node that still runs in it."""
    folder = os.environ.pop(ADDRESS, None)
    if nursery is not None:
        nursery.terminate()
        nursery.wait()
    if folder is not None:  # it has removed its folder, unless it was killed
        shutil.rmtree(folder, ignore_errors=True)


def clear_nurseries() -> list[Path]:
    """Remove the folders of nurseries that are gone, and return them: this user's, whose socket nobody listens to."""
    found = []
    for folder in {path for place in (tempfile.gettempdir(), "/tmp") for path in Path(place).glob(f"{NURSERY}*")}:
        owner = folder.name.removeprefix(NURSERY).partition("-")[0]
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid == os.getuid() and not (owner.isdigit() and durable.lives(int(owner))) and not _answers(folder):
                durable.remove(folder)
                found.append(folder)
    return found


def _answers(folder: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(folder / SOCKET))
        except TimeoutError:
            return True
        except OSError:
            return False
    return True


# --- what ends together -----------------------------------------------------------------------------------------------------------


def begin_run() -> None:
    """Name this process to its nodes as the run that they belong to; it ends with the process that started it, where that is named."""
    os.environ[RUN] = f"{socket.gethostname()} {os.getpid()} {durable.started(os.getpid())}"
    end_with_the_process_above()


def end_with_the_process_above() -> None:
    """Kill this process, and so what it has started, when the process has ended that started it, such as `make`, and named itself."""
    above = os.environ.pop(ENDS_WITH, "")
    if not above.isdigit():
        return

    def end() -> None:
        print("study: what started this run has ended, so it ends too; run again to go on", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    began = durable.started(int(above))
    if began is None:
        end()
    else:
        _watch({int(above): began}, end)


def _above() -> dict[int, str]:
    """Return the processes that this one ends with, and when they started: its parent, and what stands above it up to the run's own.

    Raises:
        ProcessLookupError: the run has ended already.
    """
    parent = os.getppid()
    found = {parent: durable.started(parent) or ""}
    host, _, rest = os.environ.get(RUN, "").partition(" ")
    if host != socket.gethostname():
        return found
    pid, _, began = rest.partition(" ")
    run = int(pid)
    if durable.started(run) != began:
        raise ProcessLookupError(f"the run (process {run}) has ended")
    while parent not in (run, 0, 1) and os.path.isdir("/proc/self"):
        parent = int(Path(f"/proc/{parent}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
        found[parent] = durable.started(parent) or ""
    return (found if parent == run else {os.getppid(): found[os.getppid()]}) | {run: began}


def _watch(processes: dict[int, str], act: Callable[[], None]) -> None:
    """Act, in a thread, when one of these processes has ended."""

    def watch() -> None:
        while all(durable.started(pid) == began for pid, began in processes.items()):
            time.sleep(SECONDS_BETWEEN_LOOKS)
        act()

    threading.Thread(target=watch, daemon=True).start()


def _end_process(pid: int) -> None:
    """Ask a process to end, and kill it when it does not."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while durable.lives(pid):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.05)


# --- an executed notebook ---------------------------------------------------------------------------------------------------------


def sealed(notebook: Notebook, node: str = "") -> Notebook:
    """Return a notebook whose metadata says its node and the SHA-256 of all the rest, by which :func:`damage` knows that it is whole."""
    metadata = {key: value for key, value in notebook.get("metadata", {}).items() if key != SEAL} | {SEAL: {"node": node}}
    text = json.dumps(notebook | {"metadata": metadata}, sort_keys=True, ensure_ascii=False)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return notebook | {"metadata": metadata | {SEAL: {"node": node, "sha256": digest}}}


def damage(path: Path, strictly: bool = True) -> str | None:
    """Return what is wrong with the executed notebook in a node's folder, None where it is whole.

    Args:
        path: the notebook.
        strictly: whether it needs a seal, of the folder's own node; a seal that is there must fit.
    """
    try:
        notebook = json.loads(path.read_bytes())
        whole = isinstance(notebook, dict) and not (strictly and SEAL not in notebook["metadata"])
        if whole and SEAL in notebook.get("metadata", {}):
            node = notebook["metadata"][SEAL]["node"]
            whole = sealed(cast(Notebook, notebook), node) == notebook and node in ("", path.parent.name)
    except FileNotFoundError:
        return f"{path} is missing"
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        whole = False
    return None if whole else f"{path} is damaged"


def put(executed: Path, place: Path) -> None:
    """Put an executed notebook in its place in its node's folder, sealed."""
    notebook = sealed(json.loads(executed.read_bytes()), place.parent.name)
    text = json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False)
    durable.write_bytes(place, (text + "\n").encode("utf-8", "surrogatepass"))


# --- the command of a node --------------------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    """Run one of the two forms of the command; return its exit status."""
    try:
        above = _above()
    except (OSError, ValueError):
        print("the run that this node belongs to has ended; run again", file=sys.stderr)
        return 1
    if arguments[:1] == ["--node"]:
        folder, place, log, *rest = arguments[1:]
        return run_node(Path(folder), Path(place), Path(log), rest, above)
    return run(arguments, above)


def run_node(folder: Path, place: Path, log: Path, arguments: list[str], above: dict[int, str]) -> int:
    """Execute a notebook in a node's folder, with a log, and put it in its place when it has ended well; return the exit status.

    A full or read-only disk is named on what was this process's standard error, because the log may lie on it.
    """
    told = os.dup(2)
    draft = folder / f"running-{socket.gethostname()}.{os.getpid()}.ipynb"
    try:
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
        for number in (1, 2):
            os.dup2(stream, number)
        os.close(stream)
        status = run([arguments[0], str(draft), *arguments[1:]], above)
        if status == 0:
            put(draft, place)
            durable.remove(draft)
    except OSError as error:
        status = 1
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    except ValueError:
        status = 1
        os.write(2, f"{draft} is no whole notebook after its execution; run again\n".encode())
    if status:
        for written in dict.fromkeys((str(folder), tempfile.gettempdir(), os.path.expanduser("~"))):
            if refused := durable.refusal(written):
                os.write(told, f"error: {refused}\n".encode())
                break
    return status


def run(arguments: list[str], above: dict[int, str] | None = None) -> int:
    """Run papermill with these arguments in the nursery, or plainly; return its exit status.

    What the node writes to standard output and standard error goes where this process's goes. An interrupt or a termination of this
    process is passed on; when it vanishes, the nursery ends the node.

    Args:
        arguments: papermill's.
        above: the processes that the node ends with, and when they started.
    """
    node: list[int] = []

    def forward(number: int, frame: object) -> None:
        if not node:  # nothing has started yet
            os._exit(128 + number)
        with contextlib.suppress(ProcessLookupError):
            os.kill(node[0], number)

    def end() -> None:
        os.write(2, f"{arguments[0]} ends, because a process above it has ended; run again\n".encode())
        for pid in node:
            _end_process(pid)
        os._exit(1)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)
    if above:
        _watch(above, end)
    folder = os.environ.get(ADDRESS)
    ended = _in_nursery(folder, arguments, node) if folder else ""
    return ended if isinstance(ended, int) else _plain(arguments, node, ended)


def _in_nursery(folder: str, arguments: list[str], node: list[int]) -> int | str:
    """Run papermill in the nursery of that folder; return its exit status, or why it has to run plainly."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(os.path.join(folder, SOCKET))
    except OSError:
        return "no nursery answers"
    request = json.dumps({"arguments": arguments, "cwd": os.getcwd(), "environment": dict(os.environ)}).encode() + b"\n"
    answers = connection.makefile("r", encoding="utf-8")
    rest = ""
    try:
        sent = socket.send_fds(connection, [request], [1, 2])
        if sent < len(request):
            connection.sendall(request[sent:])
        word, _, rest = answers.readline().strip().partition(" ")
        if word == "refused":
            return rest
        if word != "started":
            return "the nursery ended"
        node.append(int(rest))
        word, _, rest = answers.readline().strip().partition(" ")
    except OSError:
        word = ""
    if word == "ended":
        return _status(int(rest), arguments[0])
    if not node:
        return "the nursery ended"
    _end_process(node[0])
    print(f"the nursery ended while {arguments[0]} ran in it; run again", file=sys.stderr)
    return 1


def _plain(arguments: list[str], node: list[int], reason: str = "") -> int:
    """Run papermill in a fresh process, which gets a termination when this one ends, and return its exit status."""
    if reason:
        print(f"run as plain papermill: {reason}", file=sys.stderr, flush=True)
    library = ctypes.CDLL(None) if supported() else None
    child = subprocess.Popen(["papermill", *arguments], preexec_fn=functools.partial(library.prctl, 1, signal.SIGTERM) if library else None)
    node.append(child.pid)
    return _status(child.wait(), arguments[0])


def _status(status: int, notebook: str) -> int:
    """Return the exit status as a shell has it, and say which signal ended the process where one did."""
    if status >= 0:
        return status
    print(f"the process that ran {notebook} was ended by signal {-status}; run again", file=sys.stderr)
    return 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

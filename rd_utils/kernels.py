"""Run a node in a forked child of a process that has imported everything already, or as plain papermill where there is none.

Importing torch and what stands on it costs a fresh kernel 5 to 8 seconds. A *nursery* (:mod:`rd_utils.nursery`) does it once for a run of
Snakemake. This module is the other side: :func:`start` and :func:`stop` in the process that runs the study, and the command of a node,
which asks the nursery to run papermill and waits::

    python -S -P rd_utils/kernels.py NOTEBOOK OUTPUT --cwd notebooks ...     # the arguments of papermill

It imports nothing but the standard library, not even the package, because it is itself part of what a node costs. A node runs as plain
papermill where no nursery is named or none answers (on another host of a cluster, say), where its environment differs from the
nursery's, and where the package has changed on disk since the nursery imported it; its log says which.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

ADDRESS = "RD_NURSERY"  # the environment variable that holds the folder of the nursery's socket
SOCKET = "socket"
SHOWN = 3  # differing environment variables that a refusal names


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
    folder = tempfile.mkdtemp(prefix="rd-nursery-")  # mode 700
    if len(folder) > 80:  # a socket's path has about 100 bytes
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix="rd-nursery-", dir="/tmp")
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


# --- the command of a node --------------------------------------------------------------------------------------------------------


def run(arguments: list[str]) -> int:
    """Run papermill with these arguments in the nursery; return its exit status, or become plain papermill.

    What the node writes to standard output and standard error goes where this process's goes. An interrupt or a termination of this
    process is passed on; when it vanishes, the nursery ends the node.
    """
    folder = os.environ.get(ADDRESS)
    if not folder:
        return _plain(arguments)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(os.path.join(folder, SOCKET))
    except OSError:
        return _plain(arguments, "no nursery answers")
    node: list[int] = []

    def forward(number: int, frame: object) -> None:
        if not node:  # nothing has started yet
            os._exit(128 + number)
        with contextlib.suppress(ProcessLookupError):
            os.kill(node[0], number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)
    request = json.dumps({"arguments": arguments, "cwd": os.getcwd(), "environment": dict(os.environ)}).encode() + b"\n"
    answers = connection.makefile("r", encoding="utf-8")
    try:
        sent = socket.send_fds(connection, [request], [1, 2])
        if sent < len(request):
            connection.sendall(request[sent:])
        word, _, rest = answers.readline().strip().partition(" ")
        if word == "refused":
            return _plain(arguments, rest)
        if word != "started":
            return _plain(arguments, "the nursery ended")
        node.append(int(rest))
        word, _, rest = answers.readline().strip().partition(" ")
    except OSError:
        word = ""
    if word == "ended":
        status = int(rest)
        if status < 0:
            print(f"the process that ran {arguments[0]} was ended by signal {-status}; run again", file=sys.stderr)
            return 128 - status
        return status
    if not node:
        return _plain(arguments, "the nursery ended")
    with contextlib.suppress(ProcessLookupError):
        os.kill(node[0], signal.SIGTERM)
    print(f"the nursery ended while {arguments[0]} ran in it; run again", file=sys.stderr)
    return 1


def _plain(arguments: list[str], reason: str = "") -> int:
    """Become papermill in a fresh process."""
    if reason:
        print(f"run as plain papermill: {reason}", file=sys.stderr, flush=True)
    os.execvp("papermill", ["papermill", *arguments])


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))

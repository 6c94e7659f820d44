"""The process that imports once what every node needs, and forks two children for each node: papermill and its kernel.

For a node that :func:`rd_utils.kernels.run` asks for, the nursery forks a *node* process, which forks a *kernel* process before anything
runs in it, then runs papermill's own command; a provisioner of jupyter_client hands papermill that kernel where it would start a fresh
interpreter. So each notebook has a kernel process of its own, a child of a process that has done nothing but import: environment,
working folder, global state, random state and death are its own. What differs from a fresh interpreter:

- all kernels of a run share one hash seed (PYTHONHASHSEED), and the addresses of what was imported;
- modules are imported before the first cell, so an import takes no time, shows no warning (the first node's log has those), and is in no
  artefact's CPU seconds; the peak memory counts every kernel's imports alike, some 560 MB, most of them pages that the kernels share.

Nothing here starts a thread or an accelerator before a fork: a nursery that finds an accelerator's driver open after its imports serves
nobody. Two libraries start threads when they are loaded, and take care of a fork themselves: OpenBLAS, where it may use several, and
Arrow's allocator.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import importlib.util
import json
import logging
import os
import pkgutil
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

import rd_utils
from rd_utils.kernels import GRACE_SECONDS, SHOWN

# What the package imports late, inside a function, and libraries at their first use; the package's own modules come first.
IMPORTED = (
    "papermill.cli",
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.debugger",  # a kernel imports debugpy whether it is debugged or not
    "torch",
    "transformers",
    "sentence_transformers",
    "faiss",
    "bm25s",
    "ir_datasets",
    "ir_measures",
    "pytrec_eval",
    "Stemmer",
    "altair",
    "vl_convert",
    "pyarrow.parquet",
    "tqdm.auto",
)
# Variables that no import reads, and that differ from one process to the next.
MAY_DIFFER = ("_", "SHLVL", "PWD", "OLDPWD", "PS1", "PS2", "TMPDIR", "TMP", "TEMP", "TEMPDIR")
MAY_DIFFER_PREFIX = "RD_"
LOCAL_NAME = "rd-nursery"
POLL_SECONDS = 0.5  # how often the nursery looks whether its parent lives


class Request(NamedTuple):
    """What a node's command asks for, and its standard output and standard error."""

    arguments: list[str]
    cwd: str
    environment: dict[str, str]
    streams: list[int]


def main() -> None:
    """Serve until the parent ends, nobody asks for long, or a signal says so: ``FOLDER LISTENER PARENT IDLE_SECONDS`` in sys.argv."""
    folder, listener, parent, idle_seconds = sys.argv[1:]
    if sys.path[0] == "":  # ipykernel puts it where it has it
        del sys.path[0]
    nursery = Nursery(Path(folder), socket.socket(fileno=int(listener)), int(parent), float(idle_seconds))
    try:
        nursery.serve()
    finally:
        nursery.close()


class Nursery:
    """Listens on a socket in ``folder``, its own, and keeps one connection for each node that runs."""

    def __init__(self, folder: Path, listener: socket.socket, parent: int, idle_seconds: float) -> None:
        self.folder, self.listener, self.parent, self.idle_seconds, self.pid = folder, listener, parent, idle_seconds, os.getpid()
        self.environment = dict(os.environ)
        self.nodes: dict[int, socket.socket] = {}
        self.files: dict[str, tuple[int, int]] | None = None  # the package's, as they were imported
        self.added: dict[str, str] = {}  # to the environment, by imports
        self.ending = self.importing = False
        self.woken, self.waker = socket.socketpair()
        self.waker.setblocking(False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(self.woken, selectors.EVENT_READ)
        signal.set_wakeup_fd(self.waker.fileno())
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGTERM, self._end)
        _signal_at_end(parent, signal.SIGTERM)  # one that ended before is noticed by :meth:`serve`, so that the folder goes too

    def _end(self, number: int, frame: object) -> None:
        self.ending = True
        if self.importing:  # for seconds, in which nothing runs here
            raise SystemExit(0)

    def serve(self) -> None:
        """Fork a node for every request until the end."""
        last = time.monotonic()
        while not self.ending and os.getppid() == self.parent:
            for key, _ in self.selector.select(POLL_SECONDS):
                if key.fileobj is self.listener:
                    self._answer(self.listener.accept()[0])
                elif key.fileobj is self.woken:
                    self.woken.recv(4096)
                else:  # a node's command says nothing after its request, so it has vanished
                    self._vanished(key.fd)
            self._reap()
            if self.nodes:
                last = time.monotonic()
            elif time.monotonic() - last > self.idle_seconds:
                return

    def close(self) -> None:
        """End the nodes that run, and leave no socket."""
        self.listener.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        for end in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.nodes:
                os.kill(pid, end)
            deadline = time.monotonic() + GRACE_SECONDS
            while self.nodes and time.monotonic() < deadline:
                self._reap()
                time.sleep(0.02)

    def _answer(self, connection: socket.socket) -> None:
        request = None
        try:
            connection.settimeout(10.0)
            request = _read(connection)
            refusal = self._refusal(request)
            if refusal:
                connection.sendall(f"refused {refusal}\n".encode())
                connection.close()
            else:
                pid = self._fork(request, connection)
                self.nodes[pid] = connection
                self.selector.register(connection, selectors.EVENT_READ)
                connection.sendall(f"started {pid}\n".encode())
        except (OSError, ValueError):  # the command is gone already; a node that was forked is ended when its connection is read
            if connection not in self.nodes.values():
                connection.close()
        finally:
            for stream in request.streams if request else ():
                os.close(stream)

    def _refusal(self, request: Request) -> str:
        """Return why a node must not run here, empty where it may; imports when the first node asks."""
        names = sorted(self.environment.keys() | request.environment.keys())
        differing = [name for name in names if _matters(name) and self.environment.get(name) != request.environment.get(name)]
        if differing:
            more = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
            return f"the environment differs from the nursery's in {', '.join(differing[:SHOWN])}{more}"
        if self.files is None:
            files = package_files()
            self.importing = True
            try:
                with _streams(request.streams):
                    self.added = import_everything()
            finally:
                self.importing = False
            self.files = files  # where something failed, the next node tries again
        if package_files() != self.files:
            return "the package has changed since the nursery imported it"
        if drivers := _open_drivers():
            return f"importing has opened an accelerator ({drivers[0]})"
        return ""

    def _fork(self, request: Request, connection: socket.socket) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            _end_with(self.pid, signal.SIGTERM)
            for held in (self.listener, self.woken, self.waker, connection, *self.nodes.values(), self.selector):
                held.close()
            status = _run_node(request, self.added)
        except BaseException:  # nothing may run on into the nursery's own loop
            traceback.print_exc()
        finally:
            _leave(status)

    def _vanished(self, descriptor: int) -> None:
        self.selector.unregister(descriptor)
        for pid, connection in self.nodes.items():
            if connection.fileno() == descriptor:
                os.kill(pid, signal.SIGTERM)

    def _reap(self) -> None:
        for pid in list(self.nodes):
            done, status = os.waitpid(pid, os.WNOHANG)
            if not done:
                continue
            connection = self.nodes.pop(pid)
            with contextlib.suppress(KeyError):  # its command has vanished
                self.selector.unregister(connection)
            with contextlib.suppress(OSError):
                connection.sendall(f"ended {os.waitstatus_to_exitcode(status)}\n".encode())
            connection.close()


# --- what the nursery checks and imports ------------------------------------------------------------------------------------------


def package_files() -> dict[str, tuple[int, int]]:
    """Return the size and the time of change of each of the package's files."""
    files = {}
    for path in sorted(Path(rd_utils.__file__).parent.rglob("*.py")):
        about = path.stat()
        files[str(path)] = (about.st_size, about.st_mtime_ns)
    return files


def import_everything() -> dict[str, str]:
    """Import the package's modules and what nodes import besides; return the environment variables that imports have added.

    A module that cannot be imported is left to the node that needs it, which then says so. One that is there but fails is named here too.
    """
    before = dict(os.environ)
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # papermill sets it for its kernels
    own = [module.name for module in pkgutil.walk_packages(rd_utils.__path__, "rd_utils.") if module.name != "rd_utils.__main__"]
    for name in (*IMPORTED, *own):
        try:
            importlib.import_module(name)
        except ImportError:  # of an extra that is not installed
            pass
        except Exception as error:
            print(f"{name} cannot be imported: {type(error).__name__}: {error}", file=sys.stderr)
    import nbformat

    nbformat.validate(nbformat.v4.new_notebook())  # compiles the schema, which papermill needs in every node
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page that holds an object
    return {name: value for name, value in os.environ.items() if name not in before}


@contextlib.contextmanager
def _streams(streams: list[int]) -> Iterator[None]:
    """Let what is printed go to a node's log for a while: an import may have something to say."""
    own = [os.dup(1), os.dup(2)]
    try:
        for number, stream in enumerate(streams, start=1):
            os.dup2(stream, number)
        yield
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        for number, stream in enumerate(own, start=1):
            os.dup2(stream, number)
            os.close(stream)


def _matters(name: str) -> bool:
    return name not in MAY_DIFFER and not name.startswith(MAY_DIFFER_PREFIX)


def _open_drivers() -> list[str]:
    """Return the accelerators' device files that this process holds open: what has been started does not survive a fork."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            target = os.readlink(entry)
            if target.startswith(("/dev/nvidia", "/dev/kfd", "/dev/dri", "/dev/accel")):
                found.append(target)
    return found


def _read(connection: socket.socket) -> Request:
    """Read one request: a line of JSON, with the two streams beside its first byte."""
    data, streams, _, _ = socket.recv_fds(connection, 1 << 16, 2)
    try:
        while not data.endswith(b"\n"):
            more = connection.recv(1 << 16)
            if not more:
                raise OSError("the command ended within its request")
            data += more
        return Request(**json.loads(data), streams=streams)
    except (OSError, ValueError):
        for stream in streams:
            os.close(stream)
        raise


# --- in a node's process ----------------------------------------------------------------------------------------------------------


def _run_node(request: Request, added: dict[str, str]) -> int:
    """Run papermill's command with a kernel forked from this process; return its exit status."""
    for number, stream in enumerate(request.streams, start=1):
        os.dup2(stream, number)
        os.close(stream)
    cast(TextIOWrapper, sys.stdout).reconfigure(line_buffering=os.isatty(1))
    os.chdir(request.cwd)
    _set_environment(request.environment)
    WarmProvisioner.kernel = Kernel(added)  # before papermill starts threads and sockets

    from papermill import cli

    factory = KernelProvisionerFactory.instance()
    factory.provisioners[LOCAL_NAME] = EntryPoint(LOCAL_NAME, f"{__name__}:WarmProvisioner", factory.GROUP_NAME)
    factory.default_provisioner_name = LOCAL_NAME
    sys.argv = [shutil.which("papermill") or "papermill", *request.arguments]
    try:
        cli.papermill(prog_name="papermill")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    finally:
        WarmProvisioner.kernel.release()
    return 0


class Kernel:
    """A forked process that waits to be told its connection file, then is an ipykernel; behaves as the Popen of one."""

    stdin = stdout = stderr = None

    def __init__(self, added: dict[str, str]) -> None:
        self.channel, channel = socket.socketpair()
        self.returncode: int | None = None
        self.used = False
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid:
            channel.close()
            return
        status = 1
        try:
            os.setsid()  # as jupyter_client starts a kernel: an interrupt of the terminal is not for it
            _end_with(parent, signal.SIGKILL)
            self.channel.close()
            with channel:
                order = channel.makefile("rb").readline()
            status = _be_kernel(**json.loads(order), parent=parent, added=added) if order else 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:  # nothing may run on into papermill's process
            traceback.print_exc()
        finally:
            _leave(status)

    def launch(self, arguments: list[str], cwd: str, environment: dict[str, str]) -> None:
        """Let the process become the kernel of a connection file, once."""
        self.used = True
        order = {"arguments": arguments, "cwd": cwd, "environment": environment}
        self.channel.sendall(json.dumps(order).encode() + b"\n")
        self.channel.close()

    def release(self) -> None:
        """Let a process that was never used end."""
        if not self.used:
            self.channel.close()

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal, or None while the kernel runs."""
        if self.returncode is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self) -> int:
        """Wait for the end and return the exit status."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to a kernel that has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the kernel."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask the kernel to end."""
        self.send_signal(signal.SIGTERM)


class WarmProvisioner(LocalProvisioner):
    """Gives papermill the forked kernel, the first time that it starts one for this interpreter; else starts a fresh interpreter."""

    kernel: Kernel

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Launch the kernel as the command would."""
        ours = cmd[1:3] == ["-m", "ipykernel_launcher"] and os.path.realpath(cmd[0]) == os.path.realpath(sys.executable)
        if not ours or self.kernel.used:
            return await super().launch_kernel(cmd, **kwargs)
        self.cwd = os.path.abspath(kwargs.get("cwd") or os.getcwd())
        self.kernel.launch(cmd[3:], self.cwd, {**kwargs.get("env", os.environ), "JPY_PARENT_PID": str(os.getpid())})
        self.process = self.kernel
        self.pid = self.pgid = self.kernel.pid  # it leads its own session
        return self.connection_info


# --- in a kernel's process --------------------------------------------------------------------------------------------------------


def _be_kernel(arguments: list[str], cwd: str, environment: dict[str, str], parent: int, added: dict[str, str]) -> int:
    """Do what ``python -m ipykernel_launcher`` does, in this process."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.chdir(cwd)
    _set_environment(added | environment)
    sys.argv = [cast(ModuleSpec, importlib.util.find_spec("ipykernel_launcher")).origin or "", *arguments]
    _seed_anew()

    from ipykernel.kernelapp import IPKernelApp

    inherited = {id(stream): name for name in ("stdout", "stderr") for stream in (getattr(sys, name), getattr(sys, f"__{name}__"))}
    app = IPKernelApp.instance(parent_handle=parent)
    app.initialize(arguments)
    handlers = logging._handlerList  # pyright: ignore[reportAttributeAccessIssue]  # private, and the only list of them
    for reference in list(handlers):  # a library that logs to what standard error was when it was imported
        handler = reference()
        if isinstance(handler, logging.StreamHandler) and id(handler.stream) in inherited and handler not in app.log.handlers:
            handler.setStream(getattr(sys, inherited[id(handler.stream)]))
    app.start()
    return 0


def _seed_anew() -> None:
    """Seed the global generators that numpy and torch seed from the system when they are imported; Python's own does it at a fork."""
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.seed()  # the processor's alone: an accelerator has not started


# --- in both ----------------------------------------------------------------------------------------------------------------------


def _set_environment(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # found again from the environment


def _end_with(parent: int, number: int) -> None:
    """End with the parent: by a signal, or now if it is gone already."""
    if not _signal_at_end(parent, number):
        os._exit(1)


def _signal_at_end(parent: int, number: int) -> bool:
    """Get a signal when the parent ends, however it does; return whether it was still there."""
    ctypes.CDLL(None).prctl(1, number)  # PR_SET_PDEATHSIG
    return os.getppid() == parent


def _leave(status: int) -> NoReturn:
    """End a forked process as an interpreter ends, without the frames that it has inherited."""
    try:
        threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]  # as an interpreter does, by no public name
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)

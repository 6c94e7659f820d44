"""Nodes that fork from a nursery: the same as in a fresh interpreter, apart from one another, and gone when they should be."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from rd_utils import kernels

pytestmark = [
    pytest.mark.skipif(not kernels.supported(), reason="no nursery on this platform"),
    pytest.mark.timeout(600),
]
ALLOCATOR = "glibc.malloc.trim_threshold=4294967296"
PLAIN = "run as plain papermill"


FORKERS = ("__init__.py", "kernels.py", "nursery.py", "durable.py")
HEAVY = ("torch", "transformers", "sentence_transformers", "faiss", "bm25s", "ir_datasets", "ir_measures", "altair", "vl_convert")


class Place:
    """A copy of the package, and commands of nodes; an empty one has what forks alone, and no library that is slow to import."""

    def __init__(self, folder: Path, root: Path, empty: bool = False) -> None:
        self.folder = folder
        (folder / "notebooks").mkdir()
        if empty:
            (folder / "rd_utils").mkdir()
            for name in FORKERS:
                shutil.copyfile(root / "rd_utils" / name, folder / "rd_utils" / name)
            for name in HEAVY:
                (folder / f"{name}.py").write_text("raise ImportError('not here')\n")
        else:
            shutil.copytree(root / "rd_utils", folder / "rd_utils", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "rd_utils" / "zz_broken.py").write_text("raise RuntimeError('it fails when it is imported')\n")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = os.environ | kernels.node_environment(1, ALLOCATOR) | {"PATH": path, "PYTHONPATH": str(folder)}

    def command(self, name: str, *cells: str) -> list[str]:
        book = nbformat.v4.new_notebook(metadata={"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}})
        book.cells = [nbformat.v4.new_code_cell(source, id=f"c{number}") for number, source in enumerate(cells)]
        nbformat.write(book, self.folder / f"{name}.ipynb")
        node = [sys.executable, "-S", "-P", str(self.folder / "rd_utils" / "kernels.py"), f"{name}.ipynb", f"{name}-out.ipynb"]
        return [*node, "--cwd", "notebooks", "--log-output", "--no-progress-bar"]

    def start(self, name: str, *cells: str, forked: bool = True, **variables: str) -> subprocess.Popen:
        environment = self.environment | variables
        if forked:
            environment[kernels.ADDRESS] = os.environ[kernels.ADDRESS]
        command = self.command(name, *cells)
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, **streams)

    def run(self, name: str, *cells: str, forked: bool = True, **variables: str) -> tuple[int, str]:
        """Return the exit status and the log."""
        process = self.start(name, *cells, forked=forked, **variables)
        log, _ = process.communicate(timeout=300)
        assert not forked or variables or PLAIN not in log, log
        return process.returncode, log

    def outputs(self, name: str) -> list[str]:
        """Return what each cell printed, or the name and text of its error."""
        book = json.loads((self.folder / f"{name}-out.ipynb").read_text())
        texts = []
        for cell in book["cells"]:
            made = cell.get("outputs", [])
            texts.append("".join("".join(output.get("text", "")) or "".join(output.get("traceback", "")) for output in made))
        return texts


@pytest.fixture(scope="module")
def place(root, tmp_path_factory):
    made = Place(tmp_path_factory.mktemp("place"), root)
    nursery = kernels.start(made.environment, cwd=str(made.folder / "notebooks"))
    made.nursery = nursery
    made.first = made.run("first", "print(1)")  # for which the nursery imports
    yield made
    folder = Path(os.environ[kernels.ADDRESS])
    kernels.stop(nursery)
    assert nursery.returncode == 0 and not folder.exists()


@pytest.fixture(scope="module")
def empty_place(root, tmp_path_factory):
    """Where what is looked at is which processes there are, so that no nursery of its own takes seconds to import what nobody uses."""
    return Place(tmp_path_factory.mktemp("empty"), root, empty=True)


def gone(pid: int, seconds: float = 200.0) -> bool:
    """Wait until a process has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True  # nobody has fetched its status yet
        except OSError:
            return True
        time.sleep(0.05)
    return False


def appears(path: Path, seconds: float = 200.0) -> str:
    """Wait until a file has a whole line, and return it."""
    deadline = time.monotonic() + seconds
    while not (path.is_file() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline, f"no {path.name}"
        time.sleep(0.05)
    return path.read_text()


STATE = """
import logging, os, signal, sys, threading
print(os.getcwd(), sys.argv[0], sys.path, os.path.realpath(sys.executable), __name__, sys.flags)
print(logging.root.handlers, logging.root.level, [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)])
print(type(get_ipython()), type(sys.stdin), type(sys.stdout), type(sys.displayhook), len(threading.enumerate()), get_ipython().config)
print(os.getsid(0) == os.getpid(), os.environ["JPY_PARENT_PID"] == str(os.getppid()), os.read(0, 1))
"""
ENVIRONMENT = """
import json, os
print(json.dumps({name: value for name, value in os.environ.items() if name not in ("RD_NURSERY", "JPY_PARENT_PID", "JPY_SESSION_NAME")}))
"""
USE = """
import rd_utils, torch
print(rd_utils.__file__, torch.get_num_threads(), float(torch.rand(1, generator=torch.Generator().manual_seed(1))))
print(float((torch.ones(300, 300) @ torch.ones(300, 300)).sum()))
"""


def shown(log: str) -> str:
    """Return a log without what differs from run to run."""
    return re.sub(r"(?m)^(Input|Output) Notebook.*\n", "", log)


def test_a_forked_kernel_is_as_a_fresh_one(place):
    """But for the variables that imports add to the environment, which are there before the first cell."""
    assert place.run("state", STATE, USE, ENVIRONMENT)[0] == 0
    assert place.run("state-fresh", STATE, USE, ENVIRONMENT, forked=False)[0] == 0
    *forked, forked_environment = place.outputs("state")
    *fresh, fresh_environment = place.outputs("state-fresh")
    assert str(place.folder / "rd_utils") in fresh[1]
    drop = lambda text: re.sub(r"'connection_file': '[^']*'", "", text)  # noqa: E731
    assert list(map(drop, forked)) == list(map(drop, fresh))
    assert json.loads(fresh_environment).items() <= json.loads(forked_environment).items()


def test_a_module_that_fails_is_named_once_and_ends_nothing(place):
    assert place.first[0] == 0 and place.first[1].count("rd_utils.zz_broken cannot be imported: RuntimeError: it fails") == 1
    assert "zz_broken" not in place.run("second", "print(2)")[1]


def test_commands_that_break_off_leave_no_descriptor_in_the_nursery(place):
    held = Path(f"/proc/{place.nursery.pid}/fd")
    before = len(list(held.iterdir()))
    refused = json.dumps({"arguments": [], "cwd": "", "environment": {"NOTHING": "alike"}}).encode() + b"\n"
    for request in (b"no request\n", b"half a request", refused) * 5:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.path.join(os.environ[kernels.ADDRESS], kernels.SOCKET))
            socket.send_fds(connection, [request], [1, 2])
    assert place.run("afterwards", "print(3)")[0] == 0
    deadline = time.monotonic() + 200
    while len(list(held.iterdir())) > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(list(held.iterdir())) == before


def test_an_import_that_is_cut_off_is_tried_again(monkeypatch):
    from rd_utils import nursery

    asked = nursery.Nursery.__new__(nursery.Nursery)
    asked.environment, asked.files, asked.importing, calls = {}, None, False, []

    def importing():
        calls.append(asked.importing)
        if len(calls) == 1:
            raise OSError("no file left")
        return {"A": "b"}

    monkeypatch.setattr(nursery, "import_everything", importing)
    monkeypatch.setattr(nursery, "_open_drivers", list)
    request = nursery.Request([], "", {}, [])
    with pytest.raises(OSError, match="no file left"):
        asked._refusal(request)
    assert not asked.importing and asked.files is None
    assert asked._refusal(request) == "" and asked.added == {"A": "b"} and calls == [True, True] and not asked.importing


def test_nodes_do_not_see_each_other(place):
    leave = """
import builtins, os, random, sys
import numpy as np, torch
os.environ["LEFT"] = builtins.left = sys.modules["left"] = "something"
np.random.seed(0); torch.manual_seed(0); random.seed(0)
os.chdir("/")
import rd_utils.study.params
rd_utils.study.params.left = 1
"""
    look = """
import builtins, os, random, sys
import numpy as np, torch
import rd_utils.study.params
print("LEFT" in os.environ, hasattr(builtins, "left"), "left" in sys.modules, hasattr(rd_utils.study.params, "left"), os.getcwd())
print(np.random.random(), random.random(), torch.initial_seed(), torch.rand(1).item())
"""
    assert place.run("leave", leave)[0] == 0
    assert place.run("look", look)[0] == place.run("look-again", look)[0] == 0
    first, second = place.outputs("look")[0].splitlines(), place.outputs("look-again")[0].splitlines()
    assert first[0] == second[0] == f"False False False False {place.folder / 'notebooks'}"
    assert not set(first[1].split()) & set(second[1].split())  # every kernel draws its own


def test_nodes_run_at_the_same_time(place):
    """Each waits for the other, so that one after the other could not end."""
    meet = "import pathlib, time\npathlib.Path('{0}').touch()\nwhile not pathlib.Path('{1}').exists(): time.sleep(0.02)"
    nodes = [place.start(f"meet-{a}", meet.format(a, b)) for a, b in ("xy", "yx")]
    assert [(node.communicate(timeout=300), node.returncode)[1] for node in nodes] == [0, 0]


def test_a_failing_cell_gives_what_plain_papermill_gives(place):
    cells = ("print('before')", "raise ValueError('no such teacher')", "print('never')")
    forked, fresh = place.run("fail", *cells), place.run("fail", *cells, forked=False)
    assert forked[0] == fresh[0] == 1 and "ValueError: no such teacher" in forked[1]
    assert shown(forked[1]).splitlines()[-1] == shown(fresh[1]).splitlines()[-1]
    assert [line for line in forked[1].splitlines() if "Cell" in line] == [line for line in fresh[1].splitlines() if "Cell" in line]
    book = json.loads((place.folder / "fail-out.ipynb").read_text())
    texts = ["".join(cell["source"]) for cell in book["cells"]]
    assert any("print('never')" in text for text in texts)  # the whole notebook, run as far as it went


def test_a_kernel_that_dies_is_an_error_and_touches_no_other(place):
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    forked, fresh = place.run("dead", kill), place.run("dead", kill, forked=False)
    assert forked[0] == fresh[0] == 138
    assert shown(forked[1]).splitlines()[-1] == shown(fresh[1]).splitlines()[-1] == "nbclient.exceptions.DeadKernelError: Kernel died"
    assert place.run("after", "print('alive')")[0] == 0 and place.outputs("after") == ["alive\n"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 1), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -9)])
def test_a_node_that_is_stopped_leaves_no_process(place, number, status):
    """Also where its command is killed and can say nothing."""
    pids = place.folder / f"pids-{number}"
    wait = f"import os, time\nopen('{pids}', 'w').write(f'{{os.getpid()}} {{os.getppid()}}\\n')\ntime.sleep(600)"
    node = place.start(f"stopped-{number}", wait)
    kernel, papermill = map(int, appears(pids).split())
    node.send_signal(number)
    node.communicate(timeout=200)
    assert node.returncode == status
    assert gone(papermill) and gone(kernel)
    assert place.run("next", "print(1)")[0] == 0


def test_a_nursery_and_its_nodes_end_with_their_parent(empty_place):
    """The parent is killed, so it can stop nothing."""
    parent = f"""
import os, sys, subprocess, time
sys.path.insert(0, {str(empty_place.folder)!r})
from rd_utils import kernels
nursery = kernels.start(dict(os.environ), cwd="notebooks")
print(nursery.pid, os.environ[kernels.ADDRESS], flush=True)
time.sleep(600)
"""
    command = [sys.executable, "-c", parent]
    process = subprocess.Popen(command, cwd=empty_place.folder, env=empty_place.environment, stdout=subprocess.PIPE, text=True)
    pid, folder = process.stdout.readline().split()
    process.kill()
    process.wait()
    process.stdout.close()
    assert gone(int(pid))
    deadline = time.monotonic() + 200  # the folder and the process go in either order, as seen from here
    while Path(folder).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(folder).exists()


RUNNING = "import os, time\nopen('{0}', 'w').write(f'{{os.getpid()}} {{os.getppid()}}\\n')\ntime.sleep(600)"
RUN_OF_A_STUDY = """
import os, subprocess, sys
sys.path.insert(0, {place!r})
from rd_utils import kernels
os.environ[kernels.ENDS_WITH] = {ends_with!r}
kernels.begin_run()
nursery = kernels.start(dict(os.environ), cwd="notebooks") if {forked} else None
os.environ["RD_OUTPUTS"] = {place!r}  # differs from the nursery's, as a node's variables may
job = subprocess.Popen(["bash", "-c", {command!r} + "; echo never > {place}/went-on-{name}"])
print(os.getpid(), nursery.pid if nursery else 0, job.pid, flush=True)
job.wait()
kernels.stop(nursery)
"""


def study(place: Place, name: str, forked: bool = True, ends_with: str = "") -> tuple[subprocess.Popen, list[int]]:
    """Start what stands for Snakemake with one node; return it, and the processes: itself, nursery, shell, kernel, papermill."""
    pids = place.folder / f"pids-{name}"
    node = place.command(name, RUNNING.format(pids))
    folder = place.folder / f"node-{name}"
    folder.mkdir()
    at = node.index(f"{name}.ipynb")
    node[at : at + 2] = ["--node", str(folder), str(folder / "notebook.ipynb"), str(folder / "log.txt"), f"{name}.ipynb"]
    script = RUN_OF_A_STUDY.format(place=str(place.folder), ends_with=ends_with, forked=forked, command=shlex.join(node), name=name)
    environment = {key: value for key, value in place.environment.items() if key not in (kernels.ADDRESS, kernels.RUN)}
    run = subprocess.Popen([sys.executable, "-c", script], cwd=place.folder, env=environment, stdout=subprocess.PIPE, text=True)
    started = [int(pid) for pid in run.stdout.readline().split()]
    return run, [*started, *map(int, appears(pids).split())]


@pytest.mark.parametrize(
    ("forked", "killed"),
    [(True, "run"), (True, "nursery"), (True, "shell"), (False, "run"), (False, "shell"), (False, "papermill")],
)
def test_nothing_computes_on_when_one_process_is_killed(empty_place, forked, killed):
    """Neither the node nor its kernel, nor does the node begin again elsewhere."""
    name = f"{killed}-{forked}"
    run, pids = study(empty_place, name, forked)
    of = dict(zip(("run", "nursery", "shell", "kernel", "papermill"), pids, strict=True))
    os.kill(of[killed], signal.SIGKILL)
    assert gone(of["kernel"]) and gone(of["papermill"]) and gone(of["shell"])
    run.communicate(timeout=200)
    assert gone(of["run"]) and (not forked or gone(of["nursery"]))
    log = (empty_place.folder / f"node-{name}" / "log.txt").read_text()
    assert PLAIN not in log and "run again" in log, log
    assert not (empty_place.folder / f"node-{name}" / "notebook.ipynb").exists()


def test_a_run_ends_with_what_started_it(empty_place):
    make = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    run, pids = study(empty_place, "made", ends_with=str(make.pid))
    make.kill()
    make.wait()
    run.communicate(timeout=200)
    assert run.returncode == -signal.SIGKILL and all(gone(pid) for pid in pids)
    make.stdin.close()


def test_a_node_of_a_run_that_has_ended_does_not_begin(place):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    status, log = place.run("too-late", "print(1)", forked=False, RD_RUN=f"{socket.gethostname()} {ended.pid} 1")
    assert status == 1 and log == "the run that this node belongs to has ended; run again\n"


def test_an_executed_notebook_stands_in_its_place_whole_and_sealed(place):
    name, folder = "sealed", place.folder / "node-sealed"
    node = place.command(name, "print('é')")
    folder.mkdir()
    at = node.index(f"{name}.ipynb")
    node[at : at + 2] = ["--node", str(folder), str(folder / "notebook.ipynb"), str(folder / "log.txt"), f"{name}.ipynb"]
    environment = place.environment | {kernels.ADDRESS: os.environ[kernels.ADDRESS]}
    assert subprocess.run(node, cwd=place.folder, env=environment).returncode == 0
    assert sorted(path.name for path in folder.iterdir()) == ["log.txt", "notebook.ipynb"]
    path = folder / "notebook.ipynb"
    assert kernels.damage(path) is None and nbformat.validate(nbformat.read(path, as_version=4)) is None
    content = path.read_bytes()
    for at in range(0, len(content), 97):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        if kernels.damage(path) is None:  # the seal's own name, or a blank that JSON does not mind
            assert json.loads(path.read_bytes())["cells"] == json.loads(content)["cells"]
        path.write_bytes(content[:at])
        assert kernels.damage(path) == f"{path} is damaged"
    path.unlink()
    assert kernels.damage(path) == f"{path} is missing"


def test_a_node_on_a_full_disk_says_so_where_it_was_started(place):
    disk = place.folder / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("only root can mount a small disk, and not everywhere")
    try:
        node = place.command("full", "print('x' * 100_000)")
        at = node.index("full.ipynb")
        node[at : at + 2] = ["--node", str(disk), str(disk / "notebook.ipynb"), str(disk / "log.txt"), "full.ipynb"]
        environment = place.environment | {kernels.ADDRESS: os.environ[kernels.ADDRESS]}
        done = subprocess.run(node, cwd=place.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 1 and not (disk / "notebook.ipynb").exists()
        assert done.stderr == f"error: no space left on the disk that holds {disk}; free some and run again: what is finished is kept\n"
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        assert subprocess.run(node, cwd=place.folder, env=environment).returncode == 0 and kernels.damage(disk / "notebook.ipynb") is None
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_node_runs_plainly_where_it_must(place, tmp_path):
    """Another environment, no nursery at the address; at last, since it ends what forks, changed code."""
    say = "print('ran')"
    status, log = place.run("other", say, OMP_NUM_THREADS="2")
    assert status == 0 and log.startswith(f"{PLAIN}: the environment differs from the nursery's in OMP_NUM_THREADS\n")
    status, log = place.run("nowhere", say, forked=False, RD_NURSERY=str(tmp_path))
    assert status == 0 and log.startswith(f"{PLAIN}: no nursery answers\n")
    (place.folder / "rd_utils" / "training" / "losses.py").touch()
    status, log = place.run("changed", say, RD_NODE="a variable that may differ")
    assert status == 0 and log.startswith(f"{PLAIN}: the package has changed since the nursery imported it\n")
    assert [place.outputs(name) for name in ("other", "nowhere", "changed")] == [["ran\n"]] * 3


def test_planning_a_study_imports_no_learning_library():
    """Snakemake reads the plan first, and a node's own command imports nothing of the package."""
    seen = "import sys, rd_utils.study.plan, rd_utils.kernels; "
    seen += "print(sorted({'torch', 'transformers', 'altair', 'papermill'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    client = subprocess.run(
        [sys.executable, "-S", "-P", "-X", "importtime", kernels.__file__], env={"PATH": ""}, capture_output=True, text=True
    )
    assert "FileNotFoundError" in client.stderr and "papermill" in client.stderr  # there is no papermill to become
    assert not re.search(r"\b(rd_utils|numpy|pydantic|asyncio|zmq)\b", client.stderr.partition("Traceback")[0])

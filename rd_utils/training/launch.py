"""A student trained by several processes of one machine, started from a notebook: one a GPU, or one or more cores of a processor.

``training.processes`` of a study says how many. :mod:`rd_utils.stages.student` calls :func:`train_student`, which starts

    the notebook's process  >  a supervisor (torch.distributed's elastic launcher)  >  one worker a GPU or share of the cores

and waits. All are fresh interpreters, so it does not matter whether the notebook has used the GPU, or trained another student, before;
the launchers that fork a notebook refuse both. Nothing is pickled: a worker is told where the store and the groups lie, maps tokens and
groups into memory, and calls the stage's own ``train``. The first worker saves the student and says how far it is.

What ends ends together. A worker that fails stops the others, and its own error is raised in the notebook. When the notebook's process is
interrupted or killed, even by SIGKILL, the supervisor and the workers read the end of their standard input, and exit.

On a cluster, ask for one node, one task and its GPUs, and run the notebook in it as anywhere else; nothing of ``srun`` or ``torchrun`` is
needed, since the notebook's process starts the workers itself. Under Slurm, four GPUs for a study with ``training: {processes: 4}``:

    sbatch --nodes=1 --ntasks=1 --gpus-per-node=4 --cpus-per-task=16 --wrap "papermill notebooks/03_train.ipynb out.ipynb -f FILE.yaml"

A job that is cut off goes on from its last checkpoint (``training.checkpoint_every``) when it is submitted again. Workers meet on the
loopback address, at a port that the system gives, so that jobs on one node do not meet each other. More than one node is not supported.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import numpy as np

from rd_utils.processor import cores
from rd_utils.store import Draft, Store, identity, peak_memory_mb
from rd_utils.study.specs import StudentSpec
from rd_utils.study.stage import Given, inputs
from rd_utils.workflow import progress

if TYPE_CHECKING:
    from rd_utils.training.groups import GroupTable

WORKER: tuple[str, ...] = ("-m", "rd_utils.training.launch", "work")  # what Python runs as a worker, before the folder of the task

_EVENT = "\x1erd_utils "  # begins a line by which the first worker says how far it is; all other lines are for the log
_SECONDS_BETWEEN_EVENTS = 0.2
_SECONDS_TO_END = 5  # for a worker to end when asked, before it is killed
_COLLECTIVE_MINUTES = 30  # a worker that waits longer for the others gives up
_LINES_KEPT = 30
_MAP_FROM = 1 << 20  # bytes; a smaller file is read, which also serves empty arrays, that numpy cannot map
_ARRAYS = ("query_rows", "doc_rows", "teacher_scores", "positive_pairs")


class LaunchError(RuntimeError):
    """Several processes cannot train a student here, or one of them failed; the message says which, why and what to do."""


def check(processes: int) -> None:
    """Raise before anything is started where this machine cannot hold so many processes.

    Args:
        processes: How many are to share a student.

    Raises:
        LaunchError: There are fewer GPUs (without any, fewer cores), or this process is itself one of several.
    """
    others = int(os.environ.get("WORLD_SIZE", "1"))
    if others > 1:
        raise LaunchError(
            f"training.processes is {processes}, but this process is already one of {others} that a launcher started (WORLD_SIZE); "
            "start the notebook without torchrun or accelerate launch: it starts its own processes"
        )
    places, unit = _places()
    if processes > places:
        raise LaunchError(
            f"training.processes is {processes}, but this machine has {places} {unit} for them; lower it to {places} or less, or run on a "
            f"machine (ask for a job) with {processes}"
        )


def train_student(
    spec: StudentSpec,
    groups: GroupTable,
    temperature: float,
    store: Store,
    draft: Draft,
    processes: int,
    progress: Callable[[int, int], None],
) -> None:
    """Train a student by several processes, and leave in the draft what one process would.

    Args:
        spec: The student; everything that it is made from is in the store.
        groups: Its groups.
        temperature: Divides teacher scores.
        store: Where artefacts lie.
        draft: Receives the model, the history, the counts, the teachers' bills and the processes' costs.
        processes: How many.
        progress: Called with the steps done and their total.

    Raises:
        LaunchError: See :func:`check`; or a process was killed, or failed by an error of its own.
        TrainingError: The training itself cannot start or go on, as in one process.
    """
    check(processes)
    folder = draft.folder.with_name(f"{draft.folder.name}.launch")  # a name that the store clears when this process is killed
    folder.mkdir()
    try:
        for name in _ARRAYS:
            if getattr(groups, name) is not None:
                np.save(folder / f"{name}.npy", getattr(groups, name))
        task = {
            "spec": spec.model_dump(mode="json"),
            "identity": identity(spec),
            "store": str(store.root.resolve()),
            "draft": str(draft.folder.resolve()),
            "draws": groups.draws,
            "temperature": temperature,
        }
        (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
        run(folder, processes, progress)
        told = [json.loads((folder / f"process-{rank}.json").read_text(encoding="utf-8")) for rank in range(processes)]
    finally:
        _remove(folder)
    draft.counts |= told[0]["counts"]
    draft.processes = [one["cost"] for one in told]
    for bills in zip(*(one["scoring"] for one in told), strict=True):  # the process that came first has scored for all
        draft.scoring.append(bills[0] | {name: sum(b[name] for b in bills) for name in ("scored_now", "wall_seconds", "cpu_seconds")})


def run(folder: Path, processes: int, on_step: Callable[[int, int], None]) -> None:
    """Start the supervisor and its workers on a folder with a task, pass on how far they are, and return when all have ended well.

    Raises:
        LaunchError: A process was killed or failed.
        TrainingError: What a worker's training raised.
    """
    command = [sys.executable, "-m", "rd_utils.training.launch", "supervise", str(folder), str(processes), *WORKER]
    last_lines: deque[str] = deque(maxlen=_LINES_KEPT)
    supervisor = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=_environment(processes),
        start_new_session=True,  # an interrupt of the notebook reaches it in one way only, the end of its standard input
    )

    stdin, stdout = cast(IO[str], supervisor.stdin), cast(IO[str], supervisor.stdout)

    def hang_up() -> None:
        with suppress(OSError):
            stdin.close()

    def hang_up_after_the_supervisor() -> None:  # killed, it leaves workers, which would hold standard output open
        supervisor.wait()
        hang_up()

    threading.Thread(target=hang_up_after_the_supervisor, daemon=True).start()
    try:
        for line in stdout:  # ends when the last process that can write to it has
            if line.startswith(_EVENT):
                on_step(*json.loads(line.removeprefix(_EVENT)))
            elif line.strip():
                last_lines.append(line.rstrip())
                progress.LOGGER.info("training process: %s", line.rstrip())
    finally:
        hang_up()
        try:
            supervisor.wait(timeout=4 * _SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            supervisor.kill()
            supervisor.wait()
        stdout.close()
    if supervisor.returncode:
        _raise_the_cause(folder, processes, supervisor.returncode, last_lines)


def _has_gpu() -> bool:
    import torch
    from accelerate import PartialState

    return cast(torch.device, PartialState().device).type != "cpu"


def _places() -> tuple[int, str]:
    """Return how many processes this machine can hold, and of what."""
    import torch

    if not _has_gpu():
        return cores(), "cores"
    return torch.accelerator.device_count(), "GPUs"


def _environment(processes: int) -> dict[str, str]:
    """Return the workers' environment: this process's, its threads shared out, and no address but the loopback."""
    import torch

    environment = dict(os.environ)
    environment["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // processes))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    environment["PYTHONUNBUFFERED"] = "1"
    if not _has_gpu():
        environment["ACCELERATE_USE_CPU"] = "true"  # accelerate would otherwise let each worker train alone
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    return environment


def _raise_the_cause(folder: Path, processes: int, code: int, last_lines: deque[str]) -> None:
    """Raise what went wrong first: a process that was killed, or else the earliest error; what followed from it is in the log."""
    from rd_utils.training.groups import TrainingError

    record = folder / "failures.json"
    failures = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    killed = {int(rank): -status for rank, status in failures.items() if status < 0 and -status != signal.SIGTERM}
    again = "run again to go on from the last checkpoint, if training.checkpoint_every is set, else from the start"
    if killed:
        rank, number = next(iter(killed.items()))
        cause = "; out of memory is the usual reason: lower queries_per_batch and raise accumulation_steps by as much, or "
        raise LaunchError(
            f"process {rank} of the {processes} that train the student was killed by {signal.Signals(number).name}"
            f"{cause if number == signal.SIGKILL else '; '}{again}"
        )
    errors = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("error-*.json")]
    if not errors:
        raise LaunchError(
            f"the {processes} processes that train the student ended with status {code} and no error of their own; {again}; "
            "the last they said:\n" + "\n".join(last_lines)
        )
    first = min(errors, key=lambda error: error["time"])
    if first["kind"] == TrainingError.__name__:
        raise TrainingError(first["message"])
    if first["errno"] is not None:
        raise OSError(first["errno"], first["message"])
    raise LaunchError(
        f"process {first['rank']} of the {processes} that train the student failed by {first['kind']}: {first['message']}\n"
        f"{first['traceback']}"
    )


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


# --- the supervisor ---------------------------------------------------------------------------------------------------------------


def supervise(folder: Path, processes: int, worker: list[str]) -> int:
    """Start the workers by torch's elastic launcher, stop all when one fails, and record how those that failed ended."""
    _at_the_end_of_input(lambda: os.kill(os.getpid(), signal.SIGTERM))  # the launcher then ends its workers
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=f"{folder.name}-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",  # a free port, and no name to look up
        rdzv_configs={"is_host": True},
        local_addr="127.0.0.1",
        max_restarts=0,
        shutdown_timeout=_SECONDS_TO_END,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder / "logs")),
    )
    try:
        elastic_launch(config, sys.executable)(*worker, str(folder))
    except ChildFailedError as error:
        _write(folder / "failures.json", {rank: failure.exitcode for rank, failure in error.failures.items()})
        return 1
    except SignalException:
        return 1
    return 0


# --- a worker ---------------------------------------------------------------------------------------------------------------------


def work(folder: Path) -> None:
    """Train as one of the processes that a supervisor started; an error is written down before the process ends."""
    _at_the_end_of_input(lambda: os._exit(1))
    rank = int(os.environ["RANK"])
    try:
        _train(folder, rank)
    except BaseException as error:
        _write(
            folder / f"error-{rank}.json",
            {
                "rank": rank,
                "kind": type(error).__name__,
                "message": str(error),
                "errno": getattr(error, "errno", None),
                "traceback": traceback.format_exc(),
                "time": time.time(),
            },
        )
        os._exit(1)  # the others may wait in a collective operation, and a tidy exit would wait for them


def _train(folder: Path, rank: int) -> None:
    start = time.perf_counter()
    import torch
    from accelerate import PartialState

    from rd_utils.models.encoding import untrained
    from rd_utils.stages import student as stage
    from rd_utils.training.groups import GroupTable
    from rd_utils.workflow.maker import Maker

    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    spec = StudentSpec.model_validate(task["spec"])
    if identity(spec) != task["identity"]:
        raise LaunchError("the code or the parameters' files have changed since the notebook's kernel started; restart the kernel")
    arrays = {name: _open(path) for name in _ARRAYS if (path := folder / f"{name}.npy").is_file()}
    draft = Draft(Path(task["draft"]))
    given = Given(Maker(Store(Path(task["store"])), track=progress.untracked), inputs(spec), draft=draft)
    groups = GroupTable(**arrays, draws=task["draws"])
    # made before the processes join: among joined ones, transformers writes and reads some checkpoints in the first alone
    student = untrained(spec.architecture, spec.seed, given)
    cpu = os.environ.get("ACCELERATE_USE_CPU") == "true"
    state = PartialState(cpu=cpu, timeout=timedelta(minutes=_COLLECTIVE_MINUTES))
    record = stage.train(student.to(state.device), spec, groups, task["temperature"], given, _say_steps())
    if rank == 0:
        stage.save(student, record, draft.folder)
    wall = round(time.perf_counter() - start, 3)
    cost = {
        "rank": rank,
        "wall_seconds": wall,
        "gpu_seconds": wall if torch.cuda.is_initialized() else 0.0,
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }
    counts = {"steps": record.steps, "documents_seen": record.documents_seen, "tokens_seen": record.tokens_seen}
    _write(folder / f"process-{rank}.json", {"counts": counts, "cost": cost, "scoring": draft.scoring})
    state.destroy_process_group()


def _open(path: Path) -> np.ndarray:
    """Return an array, which processes share in memory where it is large."""
    return np.load(path, mmap_mode="r" if path.stat().st_size > _MAP_FROM else None)


def _say_steps() -> Callable[..., None]:
    """Return what tells the notebook's process how far the training is, a few times a second and at its end."""
    said = -float("inf")

    def say(done: int, total: int, *rest: object) -> None:
        nonlocal said
        if done == total or time.monotonic() - said > _SECONDS_BETWEEN_EVENTS:
            said = time.monotonic()
            # one write, of less than a pipe takes at once, on a line of its own: what other processes say cannot stand inside it
            os.write(1, f"\n{_EVENT}{json.dumps([done, total])}\n".encode())

    return say


def _at_the_end_of_input(act: Callable[[], None]) -> None:
    """Act when standard input ends, which it does when the notebook's process does, however it ended."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        act()

    threading.Thread(target=watch, daemon=True).start()


def _write(path: Path, record: object) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record), encoding="utf-8")
    os.replace(partial, path)


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(Path(sys.argv[2]))
    else:
        sys.exit(supervise(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))

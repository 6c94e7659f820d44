"""What making an artefact costs, and what it was made with."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rd_utils.cost import energy
from rd_utils.processor import processor
from rd_utils.store.manifests import Spent, Surroundings

PACKAGES = (
    "PyStemmer", "accelerate", "bm25s", "faiss-cpu", "ir_datasets", "ir_measures", "numba", "numpy", "pandas", "pyarrow", "scipy",
    "sentence-transformers", "stopwordsiso", "tokenizers", "torch", "transformers",
)  # fmt: skip


class Meter:
    """Wall and CPU seconds (children included), energy where a counter can be read, and peak memory since it was made.

    ``gpu_seconds`` are the wall seconds of a process that has started an accelerator: what the device was held for, not what it was busy.
    """

    def __init__(self) -> None:
        try:  # Linux: start a new high-water mark for this process
            Path("/proc/self/clear_refs").write_text("5")
            self.per_artefact = True
        except OSError:
            self.per_artefact = False
        energy.meter().start()
        self.wall, self.cpu = time.perf_counter(), cpu_seconds()

    def read(self, processes: Sequence[Spent] = ()) -> Spent:
        """Return the seconds since the start, the energy and the peak memory in MB.

        Where other ``processes`` did the work, the accelerators' seconds are theirs, and the peak is the sum of all peaks, the most that
        can have been in use at once; each one's own figures stand beside.
        """
        wall = round(time.perf_counter() - self.wall, 3)
        own = wall if _uses_accelerator() else 0.0
        peaks = [peak_memory_mb(), *(process["peak_memory_mb"] for process in processes)]
        cost: Spent = {
            "wall_seconds": wall,
            "cpu_seconds": round(cpu_seconds() - self.cpu, 3),
            "gpu_seconds": round(sum(process["gpu_seconds"] for process in processes), 3) if processes else own,
            "energy": energy.meter().read(),
            "peak_memory_mb": round(sum(peaks), 1),
            "peak_memory_of": "artefact" if self.per_artefact else "process so far",
        }
        return {**cost, "processes": list(processes)} if processes else cost


def peak_memory_mb() -> float:
    """Return this process's peak memory in MB: on Linux since its mark was last cleared, elsewhere since its start."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def _uses_accelerator() -> bool:
    """Tell whether this process has started an accelerator; does not import torch to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized()


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and its finished children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@functools.cache
def _surroundings() -> str:
    root = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str | None:
        if not (root / ".git").exists():  # an installed package may lie inside somebody's repository
            return None
        try:
            done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    status = git("status", "--porcelain", "--untracked-files=no")
    record = {
        "git": {"revision": git("rev-parse", "HEAD") or _installed_revision(), "modified": None if status is None else bool(status)},
        "packages": versions,
        "machine": {
            "system": platform.platform(),
            "processor": processor().kind,
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
        },
    }
    return json.dumps(record)


def _installed_revision() -> str | None:
    """Return the revision that pip installed the package from, where it was told a repository."""
    try:
        record = importlib.metadata.distribution("rd-utils").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return None
    return json.loads(record or "{}").get("vcs_info", {}).get("commit_id")


def surroundings() -> Surroundings:
    """Return the git revision, package versions and machine."""
    return json.loads(_surroundings())

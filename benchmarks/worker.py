"""One way of doing a row's work, as a process that takes commands over stdin and answers over stdout, one JSON object a line.

The process starts once and loads what it needs; then each command is one repeat. So the ways of a row can take turns, only one computes at
a time, and nobody pays for starting up. Python's standard library only: peers run it in environments of their own.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

Answer = Callable[[dict[str, Any]], dict[str, Any]]


def serve(make: Callable[[dict[str, Any]], Answer], packages: tuple[str, ...]) -> None:
    """Answer commands until stdin ends.

    Args:
        make: Takes the settings (the process's first argument, JSON) and returns what answers a command.
        packages: Distributions whose versions the results name.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not stand between the answers

    def send(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        answer = make(json.loads(sys.argv[1]))
        send({"ready": True, "versions": {name: _version(name) for name in packages}})
    except Exception as error:  # whatever a library raises is the reason why it is missing from the table
        traceback.print_exc()
        send({"error": _reason(error)})
        return
    for line in sys.stdin:
        gc.collect()
        try:
            send(answer(json.loads(line)))
        except Exception as error:
            traceback.print_exc()
            send({"error": _reason(error)})


class Clock:
    """Wall and CPU seconds since it was made: on one thread they differ by what other processes took from it."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def rates(self, name: str, count: int) -> dict[str, Any]:
        """Return the seconds, and ``count`` a second of either, as ``<name>_per_second`` and ``<name>_per_cpu_second``."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return {"seconds": wall, "cpu_seconds": cpu, name: count, f"{name}_per_second": count / wall, f"{name}_per_cpu_second": count / cpu}


def memory(field: str = "VmRSS") -> float:
    """Return this process's resident memory (``VmRSS``) or its highest so far (``VmHWM``), in MB of 1e6 bytes."""
    with open("/proc/self/status", encoding="ascii") as stream:
        for line in stream:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"/proc/self/status has no {field}; choose VmRSS or VmHWM")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".split("\n")[0][:300]

"""What every row shares: ways that take turns, ratios, the table and the results file.

A family of rows is one set of ways that do the same work, repeat by repeat: ours, peer A, peer B, ours, peer A, ... A line of the table
compares two or more ways of a family on one of the numbers that they answer. Every ratio says how many times better ours is: ours over the
peer where more is better, the peer over ours where less is. It is taken within each repeat, where both met the same state of the machine,
and its median is what counts.
"""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import json
import os
import platform
import re
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.environments import HERE, PROJECT, ROOT, python_of
from rd_utils.processor import cores, processor

RESULTS = HERE / "results"
PATIENCE = 900  # seconds that one answer may take
SCHEMA = 1


def malloc() -> str:
    """Return the allocator settings of the suite's own runs, which every way of every row gets too."""
    return re.search(r'^MALLOC = "(.*)"$', (ROOT / "Snakefile").read_text(encoding="utf-8"), re.M).group(1)


@dataclass(frozen=True)
class Way:
    """One way of doing a family's work: a worker module, in which environment, with which settings.

    ``fresh`` starts a new process for every repeat, where memory or a first use is what is measured.
    """

    name: str
    module: str
    settings: dict[str, Any] = field(default_factory=dict)
    environment: str = PROJECT
    fresh: bool = False

    @property
    def refused(self) -> str | None:
        """Return why this machine cannot show the way at its best: it emulates bf16, at a tenth of fp32's speed, whoever asks."""
        if "bf16" not in (self.settings.get("precision"), self.settings.get("hint")) or processor().multiplies_bf16:
            return None
        return f"this processor ({processor().kind}) has no instructions for bf16, which takes about ten times as long as fp32"


@dataclass(frozen=True)
class Line:
    """One line of the table: a number of the answers, ours (the best of these ways) against peers; ``target`` is a ratio, or None."""

    name: str
    number: str
    unit: str
    ours: tuple[str, ...]
    peers: tuple[str, ...]
    target: float | None = None
    higher: bool = True
    known_absent: tuple[tuple[str, str], ...] = ()  # peers that cannot be run anywhere here, and why


@dataclass(frozen=True)
class Family:
    """Rows that share their work: ways, lines, and the commands of the repeats, in the full and the short form."""

    name: str
    title: str
    ways: tuple[Way, ...]
    lines: tuple[Line, ...]
    repeats: int
    command: Callable[[int, bool], dict[str, Any]]  # of a repeat (-1: the warm-up), whether in the short form
    short_repeats: int = 1
    prepare: Callable[[bool], None] = lambda short: None
    warm_up: bool = True
    precisions: dict[str, str] = field(default_factory=dict)  # way: precision, for those whose roofline share is measured
    work: tuple[str, str] | None = None  # train or infer, bi or cross: what their rates tell an estimate of a study's cost
    check: str = "scores"  # a key of the answers that must agree between ways: what a row calls equal numerics


# --- workers ----------------------------------------------------------------------------------------------------------------------


class WorkerError(RuntimeError):
    """A worker cannot start or answer; the message is the reason that the results name."""


class Worker:
    """A running way."""

    def __init__(self, way: Way, short: bool) -> None:
        self.way = way
        try:
            python = python_of(way.environment)
        except FileNotFoundError as reason:
            raise WorkerError(str(reason)) from None
        self.log = tempfile.TemporaryFile()
        settings = json.dumps(way.settings | {"short": short})
        self.process = subprocess.Popen(
            [str(python), "-m", way.module, settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=surroundings(),
            cwd=ROOT,
        )
        self._buffer = b""
        self.versions = self._read(PATIENCE).get("versions", {})

    def ask(self, command: dict[str, Any], patience: float = PATIENCE) -> dict[str, Any]:
        """Send a command and return its answer.

        Raises:
            WorkerError: The worker failed, ended or took longer than ``patience`` seconds.
        """
        try:
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise WorkerError(self._ended()) from None
        return self._read(patience)

    def close(self) -> None:
        """End the process."""
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def _read(self, patience: float) -> dict[str, Any]:
        end = time.monotonic() + patience
        while b"\n" not in self._buffer:
            if not select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                self.process.kill()
                raise WorkerError(f"gave no answer within {patience:.0f} s")
            data = os.read(self.process.stdout.fileno(), 1 << 20)
            if not data:
                raise WorkerError(self._ended())
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def _ended(self) -> str:
        code = self.process.wait()
        self.log.seek(0)
        lines = [line for line in self.log.read().decode(errors="replace").splitlines() if line.strip()]
        return f"the process ended with {code}: {(lines or ['no message'])[-1][:200]}"


def surroundings() -> dict[str, str]:
    """Return the environment variables that all ways share: one thread, the suite's allocator settings, no network."""
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON", "NUMBA")}
    more = {"GLIBC_TUNABLES": malloc(), "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    return (
        os.environ | threads | more | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore", "TQDM_DISABLE": "1"}
    )


# --- running a family -------------------------------------------------------------------------------------------------------------


def run_family(
    family: Family, short: bool, *, start: Callable[[Way, bool], Any] = Worker, say: Callable[[str], None] = print, only: Sequence[str] = ()
) -> dict[str, Any]:
    """Run all ways of a family in turns.

    A way that fails is left out from there on, its repeats so far are dropped, and the reason is kept: no way is silently absent.

    Args:
        family: The family.
        short: Whether to run the short form.
        start: Makes what has ``ask``, ``close`` and ``versions`` of a way.
        say: Told what happens.
        only: Names of the ways to run; all where it is empty.

    Returns:
        ``ways`` (name: answers, one a repeat; error; versions), ``seconds`` and the settings.
    """
    began = time.monotonic()
    repeats = family.short_repeats if short else family.repeats
    ways = [way for way in family.ways if not only or way.name in only]
    found: dict[str, dict[str, Any]] = {
        way.name: {"answers": [], "error": way.refused, "refused": way.refused is not None, "check": None, "versions": {}, **asdict(way)}
        for way in ways
    }
    running: dict[str, Any] = {}

    def ask(way: Way, repeat: int) -> None:
        entry = found[way.name]
        if entry["error"]:
            return
        try:
            if way.name not in running:
                running[way.name] = start(way, short)
                entry["versions"] = running[way.name].versions
            answer = running[way.name].ask({"repeat": repeat, **family.command(repeat, short)})
            check = answer.pop(family.check, None)
            entry["check"] = entry["check"] or check
            if repeat >= 0:
                entry["answers"].append(answer)
        except WorkerError as reason:
            entry["error"], entry["answers"] = str(reason), []
            say(f"  {way.name}: {reason}")
        if way.fresh or entry["error"]:
            _close(running, way.name)

    try:
        try:
            family.prepare(short)
        except Exception as reason:  # the data of this family cannot be had: its lines say so
            for entry in found.values():
                entry["error"] = f"no data: {type(reason).__name__}: {reason}"[:300]
            ways = []
        with ThreadPoolExecutor(2) as pool:  # nothing is measured yet, so two share the cores
            list(pool.map(lambda way: ask(way, -1), [way for way in ways if family.warm_up and not way.fresh]))
        for repeat in range(repeats):
            for way in ways:
                ask(way, repeat)
            say(f"  {family.name}: repeat {repeat + 1} of {repeats}, {time.monotonic() - began:.0f} s")
    finally:
        for name in list(running):
            _close(running, name)
    return {
        "title": family.title,
        "repeats": repeats,
        "command": family.command(0, short) if ways else None,
        "seconds": round(time.monotonic() - began, 1),
        "ways": found,
        "agreement": agreement(family, found),
    }


def _close(running: dict[str, Any], name: str) -> None:
    if name in running:
        running.pop(name).close()


def agreement(family: Family, ways: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return, for every way, the largest difference of what it first answered under ``family.check`` from what the first way did."""
    answers = {name: way["check"] for name, way in ways.items() if way["check"]}
    own = next((answers[way.name] for way in family.ways if way.name in answers), [])
    return {
        name: max((abs(a - b) for a, b in zip(own, values, strict=False)), default=0.0) if len(values) == len(own) else float("inf")
        for name, values in answers.items()
    }


# --- lines of the table -----------------------------------------------------------------------------------------------------------


def ratios(ours: Sequence[float], peer: Sequence[float], higher: bool) -> list[float]:
    """Return how many times better ours is, repeat by repeat.

    >>> ratios([4.0, 6.0], [2.0, 2.0], higher=True), ratios([1.0, 2.0], [4.0, 2.0], higher=False)
    ([2.0, 3.0], [4.0, 1.0])
    """
    return [(a / b if higher else b / a) if min(a, b) > 0 else float("nan") for a, b in zip(ours, peer, strict=True)]


def compare(line: Line, family: dict[str, Any], cpu: bool = False, short: bool = False) -> dict[str, Any]:
    """Compare ours with the peers on one line.

    Args:
        line: The line.
        family: What :func:`run_family` returned.
        cpu: Whether to compare by CPU seconds where a line is a rate: what is left to do on a machine that is busy.
        short: Whether it was the short form, whose one repeat begins before anybody is warm: it shows that a row runs, and has no ratios.

    Returns:
        The medians, ratios (median, least, most, all) against every peer and the best one, ``reached`` (None where a side is missing or
        there is no target), the missing with their reasons, and whether a side is for other processors alone (``elsewhere``).
    """
    if cpu:
        line = replace(line, number=line.number.replace("_per_second", "_per_cpu_second"))
    values, missing = {}, dict(line.known_absent)
    for name in (*line.ours, *line.peers):
        way = family["ways"].get(name)
        if way is None:
            missing[name] = "not among the ways that were run"
        elif way["error"]:
            missing[name] = way["error"]
        elif any(line.number not in answer for answer in way["answers"]) or not way["answers"]:
            missing[name] = f"answers no {line.number}"
        else:
            values[name] = [float(answer[line.number]) for answer in way["answers"]]
    best = max if line.higher else min
    own = best((name for name in line.ours if name in values), key=lambda name: statistics.median(values[name]), default=None)
    peers = [name for name in line.peers if name in values]
    row: dict[str, Any] = {
        "line": line.name,
        "unit": line.unit,
        "number": line.number,
        "higher_is_better": line.higher,
        "target": line.target,
        "ours": own,
        "ours_median": statistics.median(values[own]) if own else None,
        "medians": {name: statistics.median(numbers) for name, numbers in values.items()},
        "ratios": {},
        "best_peer": None,
        "ratio": None,
        "reached": None,
        "missing": missing,
        "peers": peers,
        "elsewhere": any(all(family["ways"].get(name, {}).get("refused") for name in side) for side in (line.ours, line.peers)),
    }
    if own is None or not peers:
        return row
    row["best_peer"] = best(peers, key=lambda name: statistics.median(values[name]))
    if short:
        return row
    for name in peers:
        found = ratios(values[own], values[name], line.higher)
        row["ratios"][name] = {"median": statistics.median(found), "least": min(found), "most": max(found), "all": found}
    row["ratio"] = row["ratios"][row["best_peer"]]["median"]
    if line.target is not None:
        row["reached"] = bool(row["ratio"] >= line.target)
    return row


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the comparison as text: a line each, its peers below it, and what is missing with the reason."""
    head = ("row", "ours", "best peer", "ratio (least to most)", "target", "reached", "of peak")
    cells = [head]
    for row in rows:
        best = row["best_peer"]
        cells.append(
            (
                f"{row['line']} [{row['unit']}]",
                "missing" if row["ours"] is None else f"{_short(row['ours_median'])} ({row['ours']})",
                "none" if best is None else f"{_short(row['medians'][best])} ({best})",
                _spread(row["ratios"].get(best)),
                "-" if row["target"] is None else f"{_short(row['target'])}",
                {True: "yes", False: "NO", None: "-"}[row["reached"]],
                "-" if row.get("roofline") is None else f"{row['roofline']['share']:.0%}",
            )
        )
        others = (name for name in row["peers"] if name != best)
        for name in sorted(others, key=lambda name: row["medians"][name], reverse=row["higher_is_better"]):
            cells.append(("", "", f"  {_short(row['medians'][name])} ({name})", _spread(row["ratios"].get(name)), "", "", ""))
        cells += [("", "", f"  missing: {name}: {reason}", None, None, None, None) for name, reason in row["missing"].items()]
    widths = [max(len(line[column]) for line in cells if line[3] is not None) for column in range(len(head))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True) if text is not None).rstrip() for line in cells
    )


def _spread(ratio: dict[str, Any] | None) -> str:
    return "-" if ratio is None else f"{_short(ratio['median'])} ({_short(ratio['least'])} to {_short(ratio['most'])})"


def not_measured(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a sentence for every line that has no answer of ours or of any peer, but those that are for other processors."""
    found = []
    for row in rows:
        if (row["ours"] is None or row["best_peer"] is None) and not row["elsewhere"]:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in row["missing"].items())
            found.append(f"{row['line']} was not measured: {reasons}")
    return found


def _short(value: float) -> str:
    """Return a number in three significant digits, without exponent.

    >>> _short(0.012345), _short(4.5), _short(1234567.0)
    ('0.0123', '4.50', '1,234,567')
    """
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    if value == 0 or abs(value) >= 1:
        return f"{value:.3g}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{value:.3g}"


# --- results ----------------------------------------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """Return the processor, its cores and instruction sets, the memory and the system."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"^model name\s*:\s*(.*)$", text, re.M)
    flags = re.search(r"^flags\s*:\s*(.*)$", text, re.M)
    wanted = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_bf16", "amx_int8")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "kind": processor().kind,
        "processor": model.group(1) if model else platform.processor(),
        "cores": cores(),
        "memory_gb": round(memory / 1e9, 1),
        "instruction_sets": [flag for flag in wanted if flags and flag in flags.group(1).split()],
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def write_results(
    name: str, short: bool, families: dict[str, Any], rows: list[dict[str, Any]], seconds: float, throughput: Sequence[dict[str, Any]] = ()
) -> Path:
    """Write ``results/<name>.json``: machine, versions, settings, every answer of every repeat, and the lines of the table.

    ``throughput`` is for :func:`rd_utils.cost.devices.read_benchmarks`.
    """
    versions = {
        name: _version(name)
        for name in ("rd-utils", "torch", "transformers", "sentence-transformers", "tokenizers", "numpy", "bm25s", "faiss-cpu")
    }
    found = {
        "schema": SCHEMA,
        "name": name,
        "form": "short" if short else "full",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "machine": machine(),
        "versions": versions,
        "commit": _commit(),
        "threads": 1,
        "allocator": malloc(),
        "families": families,
        "lines": rows,
        "throughput": list(throughput),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    text = json.dumps(found, indent=1, allow_nan=True).replace(f"{ROOT}/", "")  # paths of this machine say nothing elsewhere
    path.write_text(text + "\n", encoding="utf-8")
    return path


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


@functools.cache  # once a run, before its own results make the tree differ
def _commit() -> str:
    made = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return made.stdout.strip() or "unknown"


def report(line: str) -> None:
    """Print at once, also into a pipe."""
    print(line, file=sys.stdout, flush=True)

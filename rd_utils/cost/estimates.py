"""What a study will cost before it is run: tokens, operations, hours, energy, memory and disk, each with the basis that it rests on.

Every artefact of the plan is priced on its own. What a model computes is counted (:mod:`rd_utils.cost.flops`) and divided by a rate:

- ``measured``: what artefacts of the same kind in the store took, of the same architecture and precision where a model computes;
- ``benchmark``: the share of the device's peak in the measurement files of ``benchmarks/results`` (:mod:`rd_utils.cost.devices`);
- ``assumed``: a stated share of the device's peak, and stated CPU seconds for what is no matrix product.

What an artefact takes is counted in ``cost.workload``. A model whose shape nobody here knows has no estimate: it is named, and left
out of every sum. Energy is always an estimate, watts times seconds (:mod:`rd_utils.cost.energy`).
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from pydantic import ValidationError

from rd_utils import kernels
from rd_utils.cost import energy
from rd_utils.cost.devices import Benchmark, Device, read_benchmarks
from rd_utils.cost.workload import Asked, Counter, Known, Work, demanded
from rd_utils.stages.search import search_evaluations
from rd_utils.store import Store, identity, one_look, shipped
from rd_utils.store.canonical import versions
from rd_utils.store.manifests import Manifest
from rd_utils.study import node_files, params
from rd_utils.study import plan as planning
from rd_utils.study.kinds import ScoredPool, Spec, Strategy
from rd_utils.study.params import ParameterError
from rd_utils.study.stage import made_whole
from rd_utils.study.studies import AnalysisSettings

N = TypeVar("N", int, float)

STAGES = {
    "texts": "documents, queries, lexicons, token tables",
    "mine": "indexes, candidates, neighbours, vectors, groups",
    "helpers": "students that teach or retrieve",
    "score": "pairs that teachers score, for whatever asks first",
    "search": "students and evaluations that choose a learning rate",
    "train": "the cells' students",
    "describe": "descriptions of groups and behaviour of students",
    "evaluate": "runs and measures",
    "start": "starting notebooks",
}
START_SECONDS = 10.0  # CPU seconds of starting one notebook, which imports torch and sentence-transformers
FORKED_SECONDS = 0.45  # of starting one that is forked from a process with its imports done, as a run on this machine does after the first
BASE_MEMORY = 0.6e9  # bytes of a process with its libraries imported


@dataclass
class Cost:
    """A sum of priced work. ``gpu_seconds`` and ``core_seconds`` are of all of it, ``left_*`` of what the store does not hold yet."""

    artefacts: int = 0
    done: int = 0
    documents: float = 0.0
    tokens: float = 0.0
    flops: float = 0.0
    gpu_seconds: float = 0.0
    core_seconds: float = 0.0
    left_gpu_seconds: float = 0.0
    left_core_seconds: float = 0.0
    joules: float = 0.0
    disk: float = 0.0
    memory: float = 0.0
    device_memory: float = 0.0
    bases: dict[str, float] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)

    def __add__(self, more: Cost) -> Cost:
        """Return the sum; of memory the larger, since artefacts are made one after the other."""
        return Cost(
            artefacts=self.artefacts + more.artefacts,
            done=self.done + more.done,
            documents=self.documents + more.documents,
            tokens=self.tokens + more.tokens,
            flops=self.flops + more.flops,
            gpu_seconds=self.gpu_seconds + more.gpu_seconds,
            core_seconds=self.core_seconds + more.core_seconds,
            left_gpu_seconds=self.left_gpu_seconds + more.left_gpu_seconds,
            left_core_seconds=self.left_core_seconds + more.left_core_seconds,
            joules=self.joules + more.joules,
            disk=self.disk + more.disk,
            memory=max(self.memory, more.memory),
            device_memory=max(self.device_memory, more.device_memory),
            bases=_added(self.bases, more.bases),
            unknown=_added(self.unknown, more.unknown),
        )

    @property
    def basis(self) -> str:
        """Return what the seconds rest on, the most of them first; what makes less than a hundredth of them is not named."""
        seconds = sum(self.bases.values())
        named = sorted((name for name in self.bases if self.bases[name] >= 0.01 * seconds), key=lambda name: -self.bases[name])
        return ", ".join([*named, *(["unknown"] if self.unknown else [])])


def _added(one: dict[str, N], more: dict[str, N]) -> dict[str, N]:
    return one | {name: one[name] + number if name in one else number for name, number in more.items()}


# --- what it costs ----------------------------------------------------------------------------------------------------------------


class Prices:
    """Turn work into seconds on a device.

    Args:
        device: where models compute; the rest is done by cores.
        benchmarks: measurements, of which those of the device count.
    """

    def __init__(self, device: Device, benchmarks: list[Benchmark]) -> None:
        self.device = device
        self.benchmarks = [entry for entry in benchmarks if entry.device == device.name]
        self.ratios: dict[tuple[str, str, str], float] = {}

    def learn(self, known: Known, counter: Counter) -> None:
        """Set what the store's artefacts took beside what their work would cost: all seconds over all estimates, for each kind of work.

        Those of the code as it is come first; earlier ones count only for kinds that it has not made yet.
        """
        full = {
            (json.dumps(m["parameters"].get("system"), sort_keys=True), json.dumps(m["parameters"].get("collection"), sort_keys=True))
            for _, m in known.manifests.get("evaluation", [])
            if _first_stage(m) == "full"
        }
        sums: dict[bool, dict[tuple[str, str, str], np.ndarray]] = {True: {}, False: {}}
        for stage, entries in known.manifests.items():
            known_stage = made_whole().get(stage)
            if known_stage is None:
                continue
            for _, manifest in entries:
                try:
                    spec = known_stage.spec.model_validate(manifest["parameters"])
                except ValidationError:
                    continue  # of a version that knew other parameters
                own = manifest["parameters"]
                place = tuple(json.dumps(own.get(name), sort_keys=True) for name in ("system", "collection"))
                encoded = stage == "evaluation" and _first_stage(manifest) == "rerank" and place in full
                into = sums[manifest.get("versions") == versions(spec)]
                for work, seconds in self._measured(spec, manifest, counter, encoded):
                    model, rest, _ = self.base(work)
                    into.setdefault(_key(work), np.zeros(2))
                    into[_key(work)] += (seconds, model + rest)
        for found in (sums[False], sums[True]):
            self.ratios |= {key: spent / counted for key, (spent, counted) in found.items() if spent > 0 and counted > 0}

    def _measured(self, spec: Spec, manifest: Manifest, counter: Counter, encoded: bool) -> Iterator[tuple[Work, float]]:
        if "scoring" not in manifest and spec.stage in ("scores", "candidates", "groups"):
            return  # of a version that did not tell a teacher's seconds from the artefact's
        cost, bills = manifest["cost"], manifest.get("scoring", [])
        work = counter.work(spec, encoded)
        on_gpu = cost.get("gpu_seconds", 0.0) > 0
        if work.mode and on_gpu != self.device.gpu:
            return
        unit: Literal["wall_seconds", "cpu_seconds"] = "wall_seconds" if on_gpu else "cpu_seconds"
        spent = cost[unit] - (0.0 if spec.stage == "evaluation" else sum(bill[unit] for bill in bills))
        seen = manifest["counts"].get("documents_seen")
        times = seen / work.documents if seen and work.documents else 1.0
        yield replace(work, documents=work.documents * times, flops=work.flops * times), max(spent, 0.0)
        asked = _asked(spec)
        if asked is not None and asked[0].kind != "ensemble" and len(bills) == 1 and bills[0]["scored_now"]:
            for part in counter.pairs(*asked, bills[0]["scored_now"]):
                yield part, bills[0][unit]

    def base(self, work: Work) -> tuple[float, float, str]:
        """Return seconds of a work's model and of the rest before any measurement of the store, and what the model's rest on."""
        if work.unknown:
            return work.documents, work.cpu_seconds, "assumed"  # a second a document, which only a measurement turns into an estimate
        if not work.mode:
            return 0.0, work.cpu_seconds, "assumed"
        peak = self.device.peak.get(work.precision, None if self.device.gpu else self.device.peak["fp32"])
        if peak is None:
            raise ParameterError(
                f"device {self.device.name} has no peak in {work.precision}, which the study asks for; it has {', '.join(self.device.peak)}"
            )
        measured = self._rate(work)
        if measured is not None:  # of a whole step
            return work.flops.matrix / measured, work.cpu_seconds, "benchmark"
        elementwise = 8.0 * work.flops.other / self.device.bandwidth
        return work.flops.matrix / (peak * getattr(self.device, work.mode)) + elementwise, work.cpu_seconds, "assumed"

    def _rate(self, work: Work) -> float | None:
        """Return the operations a second of the benchmarks nearest in shape; None where nothing like it was measured on this device."""
        shape = None if work.architecture is None else work.architecture.shape
        entries = [entry for entry in self.benchmarks if (entry.work, entry.precision) == (work.mode, work.precision)]
        if shape is None or not entries:
            return None
        kind = "bi" if isinstance(work.architecture, params.DualArchitecture) else "cross"
        entries = [entry for entry in entries if entry.kind == kind] or entries
        away = [abs(math.log(entry.hidden / shape.hidden)) + abs(math.log(entry.layers / shape.layers)) for entry in entries]
        return float(np.median([entry.flops_per_second for entry, distance in zip(entries, away, strict=True) if distance == min(away)]))

    def price(self, work: Work, settings: AnalysisSettings, done: bool = False) -> Cost:
        """Return what one artefact costs.

        Args:
            work: what it takes.
            settings: the study's ``analysis``, whose watts count.
            done: whether the store holds it.
        """
        model, rest, basis = self.base(work)
        ratio = self.ratios.get(_key(work)) if self.device.here else None
        unknown = {}
        if work.unknown and ratio is None:
            model, unknown = 0.0, {work.unknown: 1}
        if ratio is not None:
            model, rest, basis = model * ratio, rest * ratio, "measured"
        bases = {name: seconds for name, seconds in ((basis, model), (basis if ratio is not None else "assumed", rest)) if seconds}
        if len(bases) == 1 and model and rest:
            bases = {basis: model + rest}
        gpu, core = (model, rest) if self.device.gpu else (0.0, model + rest)
        watts = settings.gpu_watts or self.device.watts
        joules = energy.estimate(core, gpu if watts is not None else 0.0, watts_per_core=settings.watts_per_core, gpu_watts=watts)
        on_device = self.device.gpu and work.mode
        return Cost(
            artefacts=1,
            done=int(done),
            documents=work.documents,
            tokens=work.tokens,
            flops=work.flops.total,
            gpu_seconds=gpu,
            core_seconds=core,
            left_gpu_seconds=0.0 if done else gpu,
            left_core_seconds=0.0 if done else core,
            joules=joules,
            disk=work.disk,
            memory=BASE_MEMORY + work.memory + (0.0 if on_device else work.model_memory),
            device_memory=work.model_memory if on_device else 0.0,
            bases=bases,
            unknown=unknown,
        )


def _first_stage(manifest: Manifest) -> object:
    """Return the kind of an evaluation's first stage."""
    first_stage = manifest["parameters"].get("first_stage")
    return first_stage.get("kind") if isinstance(first_stage, dict) else None


def _asked(spec: Spec) -> Asked | None:
    """Return the teacher that an artefact asks for scores, and the collection of the pairs; None where it asks none."""
    match spec:
        case params.ScoresSpec():
            return spec.teacher, spec.groups.collection
        case params.CandidatesSpec(retriever=params.Retriever(scored_pool=ScoredPool() as scored)):
            return scored.teacher, spec.collection
        case params.GroupsSpec(strategy=Strategy(scored_pool=ScoredPool() as scored)):
            return scored.teacher, spec.collection
        case _:
            return None


def _key(work: Work) -> tuple[str, str, str]:
    architecture = "" if work.architecture is None else work.architecture.model_dump_json()
    return work.kind, architecture, work.precision if work.mode else ""


class Estimate(NamedTuple):
    """What a study will cost.

    Attributes:
        device: on what.
        stages: by stage of :data:`STAGES`.
        cells: of every cell its students, what describes them and their evaluations; what cells share is in the stages alone.
        helpers: of every student that teaches or retrieves, and of every search.
        nodes, nodes_done: notebook runs.
        assumed: names of collections whose texts' lengths are assumed.
        precisions: that the device does not compute in, priced as fp32.
        artefacts: of every artefact by its identity, the pairs that teachers score left out.
    """

    device: Device
    stages: dict[str, Cost]
    cells: dict[str, tuple[planning.Cell, Cost]]
    helpers: dict[str, Cost]
    nodes: int
    nodes_done: int
    assumed: list[str]
    precisions: list[str]
    artefacts: dict[str, Cost]

    @property
    def total(self) -> Cost:
        """Return the study's sum."""
        return sum(self.stages.values(), start=Cost())


@one_look()
def estimate(plan: planning.Plan, store: Store, device: Device, benchmarks: list[Benchmark] | None = None) -> Estimate:
    """Estimate what every artefact of a study costs, in sum by stage and by cell.

    Args:
        plan: the study.
        store: what is done, and what it took.
        device: where models compute.
        benchmarks: measurements of devices; those of ``benchmarks/results`` where it is None.

    Returns:
        The sums. An artefact in the store costs nothing more (``left_*``), but is in the sums.
    """
    benchmarks = read_benchmarks(shipped("benchmarks/results")) if benchmarks is None else benchmarks
    known = Known(store)
    counter, prices, settings = Counter(known), Prices(device, benchmarks), plan.study.analysis
    if device.here:
        prices.learn(known, counter)
    specs = plan.specs()
    present = {identity(spec): store.has(spec) for spec in specs}
    of_cells = {identity(student) for cell in plan.cells for student in cell.students.values()}
    chosen = [spec for spec in specs if isinstance(spec, params.SearchSpec)]
    searched = {identity(student) for spec in chosen for student in spec.candidates}
    searched |= {identity(spec) for search in chosen for spec in (search, *(e for es in search_evaluations(search) for e in es))}
    evaluations = [spec for spec in specs if isinstance(spec, params.EvaluationSpec)]
    full = {(spec.system, spec.collection) for spec in evaluations if spec.first_stage.kind == "full"}
    again = {identity(spec) for spec in evaluations if spec.first_stage.kind == "rerank" and (spec.system, spec.collection) in full}
    stages = {name: Cost() for name in STAGES}
    costs: dict[str, Cost] = {}
    for spec in specs:
        key = identity(spec)
        costs[key] = prices.price(counter.work(spec, encoded=key in again), settings, present[key])
        stages[_stage(spec, key, of_cells, searched)] += costs[key]
    stages["score"] += _scoring(specs, present, counter, prices, settings)
    done = sum(node_files.is_done(node, plan, store) for node in plan.nodes)
    forked = device.here and kernels.supported()
    for number in range(len(plan.nodes)):  # the first of all, and the first of those that are left, start afresh
        seconds = FORKED_SECONDS if forked and number not in (0, done) else START_SECONDS
        stages["start"] += prices.price(Work("start", cpu_seconds=seconds), settings, number < done)
    read = {spec.collection.model_dump_json(): spec.collection for spec in specs if isinstance(spec, params.TokensSpec)}
    tables = {json.dumps(m["parameters"].get("collection"), sort_keys=True) for _, m in known.manifests.get("tokens", [])}
    assumed = [c.label for c in read.values() if json.dumps(c.model_dump(mode="json"), sort_keys=True) not in tables]
    lacking = {spec.training.precision for spec in specs if isinstance(spec, params.StudentSpec)} - device.peak.keys()
    return Estimate(
        device,
        stages,
        _of_cells(plan, costs),
        _of_helpers(plan, costs, of_cells),
        len(plan.nodes),
        done,
        assumed,
        sorted(lacking),
        costs,
    )


def _stage(spec: Spec, key: str, of_cells: set[str], searched: set[str]) -> str:
    if spec.stage == "student":
        return "train" if key in of_cells else "search" if key in searched else "helpers"
    if key in searched:
        return "search"
    stages = {"scores": "score", "description": "describe", "behaviour": "describe", "evaluation": "evaluate"}
    stages |= dict.fromkeys(("docs", "queries", "lexicon", "tokens"), "texts")
    return stages.get(spec.stage, "mine")


def _scoring(specs: Sequence[Spec], present: dict[str, bool], counter: Counter, prices: Prices, settings: AnalysisSettings) -> Cost:
    """Return what teachers' pairs cost; done are those that the artefacts in the store asked for."""
    total, scored = Cost(), demanded([spec for spec in specs if present[identity(spec)]], counter)
    for (teacher, collection), pairs in demanded(specs, counter).items():
        finished = min(1.0, scored.get((teacher, collection), 0.0) / pairs) if pairs else 1.0
        for work in counter.pairs(teacher, collection, pairs):
            cost = prices.price(work, settings)
            left = {"left_gpu_seconds": cost.gpu_seconds * (1 - finished), "left_core_seconds": cost.core_seconds * (1 - finished)}
            total += replace(cost, done=int(finished == 1.0), **left)
    return total


def _of_cells(plan: planning.Plan, costs: dict[str, Cost]) -> dict[str, tuple[planning.Cell, Cost]]:
    """Return every cell's own cost: what several cells share is the first one's."""
    found, charged = {}, set()
    several = len(plan.labels) > 1
    for cell in plan.cells:
        sum_of_cell = Cost()
        for student in cell.students.values():
            parts = [student, plan.description(cell, student), plan.behaviour(cell, student)]
            parts += plan.evaluations(params.StudentSystem(student=student), cell.collection)
            for key in [identity(part) for part in parts if part is not None]:
                if key not in charged:
                    charged.add(key)
                    sum_of_cell += costs[key]
        found[f"{cell.name} on {cell.collection}" if several else cell.name] = (cell, sum_of_cell)
    return found


def _of_helpers(plan: planning.Plan, costs: dict[str, Cost], of_cells: set[str]) -> dict[str, Cost]:
    found: dict[str, Cost] = {}
    for node in plan.nodes:
        for spec in node.artefacts:
            if isinstance(spec, params.StudentSpec) and identity(spec) not in of_cells:
                found[node.name.removeprefix("03_train-")] = costs[identity(spec)]
            elif isinstance(spec, params.SearchSpec):
                first = spec.candidates[0]
                name = f"search {first.architecture.kind} {first.loss}"
                found[name] = sum((costs[identity(student)] for student in spec.candidates), start=found.get(name, Cost()))
    return found


# --- shown ------------------------------------------------------------------------------------------------------------------------


_COLUMNS = ("tokens", "flops", "gpu_seconds", "core_seconds", "left_gpu_seconds", "left_core_seconds", "joules")


def records(found: Estimate) -> list[dict[str, str | int | float | None]]:
    """Return one record for the study, each stage, each cell, and each student or search beside the cells, in SI units.

    Of a cell, ``students`` and ``done`` are its students; of all others, artefacts. ``unknown`` names what has no estimate.
    """
    rows = [("study", "total", found.total, None)]
    rows += [("stage", name, cost, None) for name, cost in found.stages.items()]
    rows += [("beside the cells", name, cost, None) for name, cost in found.helpers.items()]
    rows += [("cell", name, cost, cell) for name, (cell, cost) in found.cells.items()]
    return [
        {
            "level": level,
            "name": name,
            "students": len(cell.students) if cell else None,
            "artefacts": cost.artefacts,
            "done": cost.done,
            "documents": round(cost.documents),
            "tokens": round(cost.tokens),
            "flops": float(f"{cost.flops:.6g}"),
            **{column: round(getattr(cost, column), 3) for column in _COLUMNS[2:]},
            "disk_bytes": round(cost.disk),
            "memory_bytes": round(cost.memory),
            "device_memory_bytes": round(cost.device_memory),
            "device": found.device.name,
            "basis": cost.basis,
            "unknown": ", ".join(cost.unknown),
        }
        for level, name, cost, cell in rows
    ]


def show(found: Estimate, form: str = "text", *, cells: bool = False, cores: int = 1) -> str:
    """Return an estimate as text, CSV or JSON.

    Args:
        found: the estimate.
        form: ``text`` (totals, stages, groups of equal cells), ``csv`` or ``json`` (:func:`records`).
        cells: whether the text names every cell.
        cores: that work at the same time, for the wall time.
    """
    if form == "json":
        return json.dumps(records(found), indent=1)
    if form == "csv":
        from rd_utils.report.forms import no_formula

        rows, stream = records(found), io.StringIO()
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: no_formula(value) for name, value in row.items()} for row in rows)
        return stream.getvalue().rstrip("\n")
    total, device = found.total, found.device
    unit, seconds = ("h", 3600.0) if max(total.gpu_seconds, total.core_seconds) >= 3600 * 3 else ("s", 1.0)
    wall = total.left_gpu_seconds + total.left_core_seconds / cores
    parts = [f"{_number(total.left_gpu_seconds / seconds)} GPU {unit}"] if device.gpu else []
    parts += [f"{_number(total.left_core_seconds / seconds)} core {unit}", f"{_number(total.joules / 3.6e6)} kWh in all"]
    where = f"one {device.name} and {_cores(cores)}" if device.gpu else _cores(cores)
    lines = [f"left: about {_number(wall / seconds)} {unit} on {where}: {', '.join(parts)}"]
    memory = f", {_number(total.device_memory / 1e9)} GB on the device" if device.gpu else ""
    lines += [f"leaves {_number(total.disk / 1e9)} GB on disk; largest artefact: about {_number(total.memory / 1e9)} GB of memory{memory}"]
    lines += [f"notebook runs: {found.nodes}, done {found.nodes_done}, left {found.nodes - found.nodes_done}", ""]
    lines += _table(
        "stage", [(name, cost) for name, cost in found.stages.items() if cost.artefacts] + [("total", total)], unit, seconds, device
    )
    rows = [(name, cost) for name, (_, cost) in found.cells.items()] if cells else _grouped(found)
    lines += ["", *_table("cell" if cells else "equal cells", rows, unit, seconds, device)]
    if cells and found.helpers:
        lines += ["", *_table("beside the cells", list(found.helpers.items()), unit, seconds, device)]
    return "\n".join([*lines, *_remarks(found)])


def _cores(cores: int) -> str:
    return "one core" if cores == 1 else f"{cores} cores"


def _grouped(found: Estimate) -> list[tuple[str, Cost]]:
    """Return cells of one architecture and budget as one row each."""
    groups: dict[tuple[str, int], list[tuple[planning.Cell, Cost]]] = {}
    for cell, cost in found.cells.values():
        student = next(iter(cell.students.values()))
        budget = student.training.stop_at or student.training.documents
        groups.setdefault((cell.architecture, budget), []).append((cell, cost))
    rows = []
    for (architecture, budget), members in groups.items():
        students = sum(len(cell.students) for cell, _ in members)
        name = f"{architecture}: {len(members)} cells, {students} students of {budget:,} documents"
        rows.append((name, sum((cost for _, cost in members), start=Cost())))
    return rows


def _table(what: str, rows: list[tuple[str, Cost]], unit: str, seconds: float, device: Device) -> list[str]:
    is_left = any(cost.done for _, cost in rows)
    amounts = [("gpu_seconds", "GPU", device.gpu), ("core_seconds", "core", True)]
    amounts += [("left_gpu_seconds", "left GPU", device.gpu and is_left), ("left_core_seconds", "left core", is_left)]
    shown = [(name, title) for name, title, wanted in amounts if wanted]
    watt_hours, of_energy = (3.6e6, "kWh") if sum(cost.joules for _, cost in rows) >= 3.6e6 else (3600.0, "Wh")
    header = [what, "done", "tokens", "FLOP", *(f"{title} {unit}" for _, title in shown), of_energy, "disk GB", "basis"]
    body = []
    for name, cost in rows:
        cells = [name, f"{cost.done:,}/{cost.artefacts:,}", _power(cost.tokens), _power(cost.flops)]
        cells += [_number(getattr(cost, amount) / seconds) for amount, _ in shown]
        body.append([*cells, _number(cost.joules / watt_hours), _number(cost.disk / 1e9), cost.basis])
    widths = [max(len(row[column]) for row in [header, *body]) for column in range(len(header))]
    last = len(header) - 1
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell if column == last else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [header, *body]
    ]


def _remarks(found: Estimate) -> list[str]:
    remarks = [""]
    unknown = found.total.unknown
    if unknown:
        remarks.append(f"not counted, for want of {', '.join(f'{what} ({n:,} artefacts)' for what, n in unknown.items())}")
    if found.assumed:
        shown = ", ".join(found.assumed[:3]) + (f" and {len(found.assumed) - 3} more" if len(found.assumed) > 3 else "")
        remarks.append(f"lengths of texts are assumed, until their token tables are made: {shown}")
    if found.precisions:
        remarks.append(f"this device does not compute in {', '.join(found.precisions)}, which is priced as fp32; see --device")
    remarks.append("pairs that two pools share are counted twice; energy is watts times seconds; basis: see rd_utils/cost/estimates.py")
    return remarks


def _number(value: float) -> str:
    """Return a number in three digits, thousands apart.

    >>> _number(0.0), _number(0.01234), _number(3.456), _number(98765.4)
    ('0', '0.012', '3.5', '98,765')
    """
    if value == 0:
        return "0"
    if value >= 10:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _power(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}".replace("e+0", "e").replace("e+", "e")

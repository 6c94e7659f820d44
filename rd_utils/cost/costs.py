"""What every cell of a study cost, from the manifests of what it was made of: seconds, teacher calls, tokens, energy.

Two questions, two columns: what a cell would have paid alone (every artefact upstream of it in full), and what it paid in this study
(``shared_*``: every artefact's charge split evenly between the students that use it). A teacher's pair is charged to every artefact that
uses it, so the shares add up to what the study paid where no pair is used twice, and to more otherwise.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import NamedTuple

import numpy as np
import pandas as pd

from rd_utils.analysis.tables import at
from rd_utils.cost import energy, frontier
from rd_utils.scoring import teachers
from rd_utils.store import identity, one_look, upstream
from rd_utils.store.manifests import Manifest
from rd_utils.study import params
from rd_utils.study.kinds import Spec
from rd_utils.study.plan import DIMENSIONS, PLACE, Cell, Plan
from rd_utils.study.stage import inputs
from rd_utils.study.studies import AnalysisSettings
from rd_utils.workflow.pipeline import Pipeline

STAGES = ("mine", "score", "train", "evaluate")
_CHARGED = ("wall_seconds", "cpu_seconds", "gpu_seconds", "joules", "teacher_calls")  # the order in every array below


Parts = dict[str, dict[str, Spec]]  # artefacts by identity, by the stage that they are charged to


class Bill(NamedTuple):
    """What one artefact is charged with: the amounts in the order of ``_CHARGED``, and how its energy is known."""

    amounts: np.ndarray
    energy: str


@one_look()
def costs(plan: Plan, pipeline: Pipeline, cells: set[str] | None = None) -> pd.DataFrame:
    """Return the cost of every cell and seed, from the manifests of what it was made of.

    Every artefact upstream of a student is charged in full, once, as the cell alone would have paid it:

    - mine: the groups and what they were made from, with the training of a retriever or of a teacher that re-ranks, filters or cuts;
    - score: the teacher's scores and what else they needed, such as the teacher's own training;
    - train: the student, its lexicon and token tables, and the search that chose its learning rate, with all that the search trained and
      evaluated;
    - evaluate: the student's evaluations.

    A pair is scored once however many artefacts use it, so scores are charged by the pair, at this teacher's mean wall and CPU seconds a
    pair; where one teacher both filters and labels, pairs that do both are charged twice. GPU seconds and measured joules have no such
    price: they stay with the artefact that they were spent on, the first to need a pair. Estimated joules follow the CPU seconds charged.

    Args:
        plan: the study.
        pipeline: where its artefacts lie.
        cells: names of the cells to give; all of them where it is None. Shares always count every student of the study.

    Returns:
        One row a cell, collection and seed: keys, ``<stage>_<amount>`` for the four stages and the amounts wall_seconds, cpu_seconds,
        gpu_seconds (wall seconds with an accelerator started), joules, teacher_calls (pairs that a teacher scored); ``total_<amount>`` over
        the stages; ``shared_cpu_seconds`` and ``shared_teacher_calls``; ``energy``, how the joules are known; documents_seen, tokens_seen,
        peak_memory_mb, and the student's identity, manifest and parameters.
    """
    students = [(cell, seed, student, _parts(plan, cell, student)) for cell in plan.cells for seed, student in cell.students.items()]
    uses = Counter(key for *_, parts in students for specs in parts.values() for key in specs)
    paid: dict[str, Bill] = {}
    rates: dict[str, np.ndarray] = {}
    rows = []
    for cell, seed, student, parts in students:
        if cells is not None and cell.name not in cells:
            continue
        for specs in parts.values():
            for key, spec in specs.items():
                if key not in paid:
                    paid[key] = _bill(pipeline, spec, rates, plan.study.analysis)
        made = identity(student)
        keys = {"study": plan.study.name, "cell": cell.name, "collection": cell.collection, "seed": seed}
        keys |= {"identity": made, "manifest": f"store/student/{made}/manifest.json"}
        settings = {name: getattr(cell, name) for name in DIMENSIONS}
        sources = " + ".join(sorted({paid[key].energy for specs in parts.values() for key in specs}))
        spent = {**_amounts(parts, paid, uses), "energy": sources}
        rows.append({**keys, **settings, **spent, **_trained(pipeline.store.manifest(student))})
    return pd.DataFrame(rows)


def _trained(manifest: Manifest) -> dict[str, object]:
    """Return what a student's manifest says of its training."""
    return {
        "documents_seen": manifest["counts"]["documents_seen"],
        "tokens_seen": manifest["counts"]["tokens_seen"],
        "peak_memory_mb": manifest["cost"]["peak_memory_mb"],
        "parameters": json.dumps(manifest["parameters"], sort_keys=True),
    }


def _amounts(parts: Parts, paid: dict[str, Bill], uses: Counter[str]) -> dict[str, float]:
    """Return what a student is charged with in each stage and in all, and its share of what students share."""
    charged = {stage: sum((paid[key].amounts for key in specs), start=np.zeros(len(_CHARGED))) for stage, specs in parts.items()}
    shared = sum((paid[key].amounts / uses[key] for specs in parts.values() for key in specs), start=np.zeros(len(_CHARGED)))
    amounts: dict[str, float] = {}
    for place, amount in enumerate(_CHARGED):
        amounts |= {f"{stage}_{amount}": _rounded(charged[stage][place]) for stage in STAGES}
        amounts[f"total_{amount}"] = sum(amounts[f"{stage}_{amount}"] for stage in STAGES)
    return amounts | {f"shared_{name}": _rounded(shared[_CHARGED.index(name)]) for name in ("cpu_seconds", "teacher_calls")}


def by_stage(costs: pd.DataFrame) -> pd.DataFrame:
    """Average costs over the cells and seeds that pay for the same stages: those of one architecture, strategy, teacher and loss.

    Args:
        costs: of :func:`costs`.

    Returns:
        Mean CPU seconds of every stage, and the teacher's calls as a text: the least to the most where they differ, as with a pair that
        the search of a learning rate has had scored already.

    >>> paid = pd.DataFrame({"architecture": "bi", "strategy": "bm25", "teacher": ["", "oracle", "oracle"], "loss": ["lce", "kl", "kl"]})
    >>> paid = paid.assign(total_teacher_calls=[0, 4800, 9600], **{f"{stage}_cpu_seconds": 1.0 for stage in STAGES})
    >>> by_stage(paid)["teacher_calls"].tolist()
    ['0', '4,800 to 9,600']
    """
    alike = costs.assign(teacher=costs["teacher"].fillna("")).groupby(["architecture", "strategy", "teacher", "loss"], sort=False)
    calls = alike["total_teacher_calls"].agg(lambda paid: " to ".join(f"{calls:,.0f}" for calls in sorted({paid.min(), paid.max()})))
    return alike[[f"{stage}_cpu_seconds" for stage in STAGES]].mean().assign(teacher_calls=calls)


def _rounded(amount: float) -> float:
    return round(float(amount), 3)


def _parts(plan: Plan, cell: Cell, student: params.StudentSpec) -> Parts:
    """Return every artefact that a student and its evaluations need, by the stage that it is charged to."""
    needed = inputs(student)
    texts = {identity(part) for part in needed.values() if part.stage in ("lexicon", "tokens")}
    groups, scores = (_with_upstream(needed[role]) if role in needed else {} for role in ("groups", "scores"))
    mine = {key: spec for key, spec in groups.items() if key not in texts}
    score = {key: spec for key, spec in scores.items() if key not in mine and key not in texts}
    train = {key: spec for key, spec in _with_upstream(student).items() if key not in mine and key not in score}
    evaluations = plan.evaluations(params.StudentSystem(student=student), cell.collection)
    return {"mine": mine, "score": score, "train": train, "evaluate": {identity(spec): spec for spec in evaluations}}


def _with_upstream(spec: Spec) -> dict[str, Spec]:
    """Return an artefact and everything that it is made from, by identity."""
    return upstream(spec) | {identity(spec): spec}


def _bill(pipeline: Pipeline, spec: Spec, rates: dict[str, np.ndarray], settings: AnalysisSettings) -> Bill:
    """Return what an artefact is charged with.

    A teacher's pairs are scored for whichever artefact comes first; so what scoring took is taken off, and every pair that the artefact
    uses is charged at what a pair of that teacher took on average.
    """
    manifest = pipeline.store.manifest(spec)
    cost, calls = manifest["cost"], 0
    own = np.array([cost["wall_seconds"], cost["cpu_seconds"]])
    charged = own.copy()
    for used in manifest["scoring"]:
        folder = pipeline.store.root / "pairs" / used["teacher"]
        if used["teacher"] not in rates and folder.is_dir():
            rates[used["teacher"]] = teachers.PairScores(folder).rate()
        if used["teacher"] in rates:
            charged += used["pairs"] * rates[used["teacher"]] - np.array([used["wall_seconds"], used["cpu_seconds"]])
        calls += used["pairs"]
    charged = np.maximum(charged, 0.0)
    gpu, record = cost["gpu_seconds"], cost["energy"]
    if record["joules"] is None and gpu and settings.gpu_watts is None:
        joules, known = np.nan, "unknown: analysis.gpu_watts is not set"
    else:
        joules, known = energy.label(record, charged[1], gpu, watts_per_core=settings.watts_per_core, gpu_watts=settings.gpu_watts)
    return Bill(np.array([*charged, gpu, joules, calls]), known)


def points(summary: pd.DataFrame, costs: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Put effectiveness beside cost.

    Args:
        summary: of :func:`rd_utils.analysis.tables.summary`.
        costs: of :func:`costs`.
        measure: whose means are the values.

    Returns:
        One row a training and test collection, first stage and trained cell: its dimensions, ``value`` and ``sd`` over seeds; the means
        over seeds of every ``total_`` and ``shared_`` amount; and ``on_frontier``: no cell of the same collections and first stage that
        costs no more CPU seconds is better, and none as good costs less.
    """
    trained = at(summary, system="student", measure=measure).rename(columns={"mean": "value"})
    amounts = [name for name in costs.columns if name.startswith(("total_", "shared_"))]
    price = costs.groupby(["collection", "cell"], sort=False)[amounts].mean().reset_index()
    table = trained[[*PLACE, "cell", *DIMENSIONS, "value", "sd"]].merge(
        price, on=["collection", "cell"], how="left", validate="many_to_one"
    )
    return table.assign(on_frontier=frontier.frontier(table, cost="total_cpu_seconds", value="value", by=PLACE))


def walk(points: pd.DataFrame, step: float = 0.01) -> pd.DataFrame:
    """Return what each gain along the frontier costs, in CPU seconds a ``step`` of effectiveness (``cost.frontier.marginal``)."""
    return frontier.marginal(points, cost="total_cpu_seconds", value="value", step=step, by=PLACE)


def prices(points: pd.DataFrame, step: float = 0.01) -> pd.DataFrame:
    """Return what the last ``step`` of effectiveness costs in CPU seconds (:func:`rd_utils.cost.frontier.price_of_last`)."""
    return frontier.price_of_last(points, cost="total_cpu_seconds", value="value", step=step, by=PLACE)

"""A trained student in a folder of its own, with a model card made from its manifest, its study's results and nothing else."""

from __future__ import annotations

import argparse
import math
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rd_utils.exchange import best_student
from rd_utils.study.kinds import Architecture, BiArchitecture, DualArchitecture, LateArchitecture, SparseArchitecture
from rd_utils.study.params import ParameterError

if TYPE_CHECKING:
    import pandas as pd

    from rd_utils.analysis.comparison import Comparison
    from rd_utils.exchange.best_student import Choice
    from rd_utils.store import Store
    from rd_utils.store.manifests import Manifest
    from rd_utils.study.plan import Cell, Plan
    from rd_utils.study.specs import EvaluationSpec, StudentSpec

    Verdict = tuple[str, Comparison]  # what a cell is compared with, and how it compares

LEVEL = 0.95  # of the intervals
_KNOWN_ELSEWHERE = ("sentence-transformers", "transformers", "torch")


class Measured(NamedTuple):
    """A measure's mean over a test collection's queries, with a t interval over queries at :data:`LEVEL`."""

    test_collection: str
    first_stage: str
    measure: str
    n_queries: int
    mean: float
    low: float
    high: float


class Told(NamedTuple):
    """What a card tells.

    Attributes:
        plan: of the study.
        point: the student's cell.
        seed: the student's.
        student: what it is.
        manifest: its own.
        measured: of every student of the cell that the store has evaluated, by seed.
        verdicts: how the cell compares with what it was not trained to be.
        choice: how the student was chosen; empty where it was asked for by name.
    """

    plan: Plan
    point: Cell
    seed: int
    student: StudentSpec
    manifest: Manifest
    measured: dict[int, list[Measured]]
    verdicts: list[Verdict]
    choice: str


def write(
    plan: Plan, point: Cell, seed: int, store: Store, folder: Path, named: tuple[str, str | None], choice: Choice | None = None
) -> None:
    """Write a finished student's model and its card into a folder.

    Args:
        plan: of the study.
        point: the student's cell.
        seed: the student's.
        store: where it lies.
        folder: where it goes.
        named: the study's file and base, as a person names them.
        choice: how it was chosen, where it was.

    Raises:
        StoreError: the student, or an evaluation of it, is not in the store as it was made.
    """
    student = point.students[seed]
    for spec in (student, *_evaluations(plan, point, seed)):
        store.verify(spec)
    shutil.copytree(store.folder(student) / "model", folder)
    of_seeds = {
        each: [
            one
            for spec in _evaluations(plan, point, each)
            if store.has(spec)
            for one in measured(store.folder(spec), spec.collection.label, spec.first_stage.label)
        ]
        for each in point.students
    }
    said = "" if choice is None else best_student.as_text(choice)
    told = Told(plan, point, seed, student, store.manifest(student), of_seeds, list(_verdicts(plan, point, named)), said)
    as_card(told).save(folder / "README.md")


def _evaluations(plan: Plan, point: Cell, seed: int) -> list[EvaluationSpec]:
    """Return what a student of a cell is tested by."""
    from rd_utils.study.params import StudentSystem

    return plan.evaluations(StudentSystem(student=point.students[seed]), point.collection)


def measured(folder: Path, test_collection: str, first_stage: str) -> Iterator[Measured]:
    """Yield the measures of an evaluation's folder, with intervals over queries: ``mean +- t(n - 1) sd / sqrt(n)``."""
    import pandas as pd

    from rd_utils.analysis.crossed import crossed

    values: pd.DataFrame = pd.read_parquet(folder / "per_query.parquet")
    for measure, own in values.groupby("measure", sort=False)["value"]:
        bounds = crossed(own.to_numpy()[None]).interval(LEVEL) if len(own) > 1 else (math.nan, math.nan)
        yield Measured(test_collection, first_stage, str(measure), len(own), float(own.mean()), *bounds)


def _verdicts(plan: Plan, point: Cell, named: tuple[str, str | None]) -> Iterator[Verdict]:
    """Yield the comparisons of a cell with BM25 and with its untrained self, as far as the store has both, by the study's own measure."""
    from rd_utils.analysis import compare
    from rd_utils.analysis.comparison import Result
    from rd_utils.store import StoreError

    parser = argparse.ArgumentParser()
    compare.add_arguments(parser)
    study, base = named
    settings = ["--study", study, *(["--base", base] if base else []), "--measure", plan.study.analysis.measure]
    for other in ("bm25", "untrained"):
        try:
            found = compare.answer(parser.parse_args([other, point.name, *settings]))
        except (ParameterError, StoreError):  # no such row, or it is not finished
            continue
        if isinstance(found, Result):  # of two rows
            yield from ((other, row) for row in found.comparisons if row.collection == point.collection)


# --- the card -------------------------------------------------------------------------------------------------------------------


def as_card(told: Told) -> Any:
    """Return the model card of a student, as huggingface_hub writes it."""
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    from rd_utils.store import resolve_path

    student = told.student
    task, family = _family(student.architecture)
    base = getattr(student.architecture, "model", None)
    data = ModelCardData(
        model_name=f"{told.plan.study.name} {told.point.name}, seed {told.seed}",
        library_name="sentence-transformers",
        pipeline_tag=task,
        tags=["sentence-transformers", "ranking-distillation", family],
        base_model=base if base and not resolve_path(base).is_dir() else None,  # a hub's
        eval_results=[
            EvalResult(
                task_type=task,
                dataset_type=one.test_collection,
                dataset_name=one.test_collection,
                dataset_config=one.first_stage,
                metric_type=one.measure,
                metric_value=round(one.mean, 6),
            )
            for one in told.measured[told.seed]
        ],
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{_body(told)}")


def _body(told: Told) -> str:
    from tabulate import tabulate

    plan, point, seed, student, manifest, of_seeds, verdicts, choice = told
    groups, training = student.groups, student.training
    cost, pairs = manifest["cost"], sum(charge["scored_now"] for charge in manifest["scoring"])
    joules = cost["energy"]["joules"]
    energy = "" if joules is None else f", {joules / 3600:.3g} Wh ({cost['energy']['method']})"
    teacher = (
        "none: labels"
        if student.teacher is None
        else f"{point.teacher}, {student.teacher.kind}, temperature {manifest['counts']['temperature']:g}"
    )
    recipe = {
        "base": getattr(student.architecture, "model", None) or f"from scratch ({student.architecture.kind})",
        "trained on": groups.collection.label,
        "negatives": f"{point.strategy}, {groups.strategy.kind}, groups of {groups.group_size}",
        "loss": student.loss,
        "teacher": teacher,
        "documents seen": f"{manifest['counts'].get('documents_seen', training.documents):,}",
        "queries a step": f"{training.queries_per_batch}",
        "learning rate": f"{manifest['counts'].get('learning_rate', training.learning_rate):g}",
        "seed": str(seed),
        "training took": f"{cost['cpu_seconds']:,.1f} CPU s{energy}; {pairs:,} pairs were scored by the teacher meanwhile",
    }
    measures = [
        (one.test_collection, one.first_stage, one.measure, f"{one.mean:.4f}", f"{one.low:.4f} to {one.high:.4f}", one.n_queries,
         _over_seeds([other.mean for every in of_seeds.values() for other in every if other[:3] == one[:3]]))
        for one in of_seeds[seed]
    ]  # fmt: skip
    against = [
        (other, row.test_collection, row.first_stage, row.measure, f"{row.difference:+.4f}",
         f"{row.low:+.4f} to {row.high:+.4f}", row.verdict)
        for other, row in verdicts
    ]  # fmt: skip
    parts = [
        f"# {plan.study.name}: {point.name}, seed {seed}",
        plan.study.question,
        *([choice] if choice else []),
        "## Use",
        _use(student),
        "## Recipe",
        tabulate([*recipe.items()], ["", ""], tablefmt="github", disable_numparse=True),
        "## Measures",
        f"Means over test queries, with intervals over queries at {LEVEL:.0%}; and the recipe's mean over its seeds, with their SD.",
        tabulate(
            measures,
            ["test collection", "first stage", "measure", "mean", "interval", "queries", "over seeds"],
            tablefmt="github",
            disable_numparse=True,
        ),
    ]
    if against:
        heads = ["against", "test collection", "first stage", "measure", "difference", "interval", "verdict"]
        parts += [
            "The recipe, all its seeds, against what it was not trained to be; intervals over queries and seeds:",
            tabulate(against, heads, tablefmt="github", disable_numparse=True),
        ]
    machine = manifest["machine"]
    versions = ", ".join(
        f"{name} {manifest['packages'][name]}" for name in ("rd-utils", *_KNOWN_ELSEWHERE) if manifest["packages"].get(name)
    )
    parts += [
        "## Limits",
        "Measured on the collections above alone. Its licence is its base model's and its training texts'; none is granted here.",
        "## Provenance",
        f"Student `{manifest['identity']}` of the study `{plan.study.name}`; {versions}; processor {machine.get('processor')}.",
    ]
    return "\n\n".join(parts) + "\n"


def _over_seeds(means: list[float]) -> str:
    if len(means) < 2:
        return "one seed"
    return f"{statistics.mean(means):.4f}, SD {statistics.stdev(means):.4f} ({len(means)})"


def _family(architecture: Architecture) -> tuple[str, str]:
    """Return the hub's name of the task, and the family of an architecture."""
    if isinstance(architecture, SparseArchitecture):
        return "feature-extraction", "sparse-encoder"
    if isinstance(architecture, LateArchitecture):
        return "sentence-similarity", "late-interaction"
    return ("sentence-similarity", "bi-encoder") if isinstance(architecture, BiArchitecture) else ("text-ranking", "cross-encoder")


def _use(student: StudentSpec) -> str:
    """Return how a saved student is loaded and asked."""
    if isinstance(student.architecture, BiArchitecture):
        return """\
```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("FOLDER")
queries = model.encode_query(["a question"])
documents = model.encode_document(["a document", "another one"])
print(queries @ documents.T)
```"""
    if isinstance(student.architecture, DualArchitecture):
        model = "SparseEncoder" if isinstance(student.architecture, SparseArchitecture) else "MultiVectorEncoder"
        return f"""\
```python
from sentence_transformers import {model}

model = {model}("FOLDER")
queries = model.encode_query(["a question"])
documents = model.encode_document(["a document", "another one"])
print(model.similarity(queries, documents))
```"""
    trust = ", trust_remote_code=True" if student.architecture.kind == "interaction_cross" else ""
    needs = "It needs the package rd-utils installed.\n\n" if trust else ""
    return f"""\
{needs}```python
from sentence_transformers import CrossEncoder

model = CrossEncoder("FOLDER"{trust})
print(model.predict([("a question", "a document"), ("a question", "another one")]))
```"""

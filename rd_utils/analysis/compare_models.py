"""Models on a collection: each is run on its queries, as a study's evaluation would, and kept in the store.

A side is ``bm25``; a checkpoint, by its hub name, folder or ``package:NAME/FOLDER``; a run file; or a trained row of a study,
``STUDY.yaml:CELL``. BM25 and bi-encoders search the whole collection, cross-encoders re-rank BM25's top documents; with ``--rerank`` all
of them do. Each is the artefact that a study would make of it, so what is in the store already is not made again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rd_utils.analysis.compare_runs import DEFAULTS, MEASURES
from rd_utils.analysis.comparison import COST_PARTS, Place, Result, Values, asked_settings, by_query_and_seed
from rd_utils.analysis.systems import Costs, Family, between, letter
from rd_utils.study.params import ParameterError

if TYPE_CHECKING:
    import pandas as pd

    from rd_utils.study.kinds import Collection, Spec, System
    from rd_utils.study.params import BM25, BiEncoder, EvaluationSpec, FirstStage, LoadedTeacher
    from rd_utils.workflow.pipeline import Pipeline

DEPTH, LONGEST = 100, 512
SPLIT = "test"
OPTIONS = ("split", "rerank", "depth", "max_length", "precision")  # that need --collection


class Ranker(NamedTuple):
    """A side: what it is in words, its systems by seed (-1 where it has none), and what it ranks."""

    name: str
    about: str
    systems: dict[int, System]
    first_stage: FirstStage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of models to the parser of the command."""
    group = parser.add_argument_group("models on a collection")
    group.add_argument(
        "--collection", metavar="ID|FOLDER", help="run each side on it: bm25, a model's hub name or folder, a run file, or STUDY.yaml:CELL"
    )
    group.add_argument("--split", metavar="NAME", help="of a folder: the file of qrels; of an id: what is behind it (default: test)")
    group.add_argument(
        "--rerank", action="store_true", default=None, help="every side re-ranks BM25's top documents (default: as each is used)"
    )
    group.add_argument("--depth", type=int, metavar="N", help=f"documents a query that are ranked (default: {DEPTH})")
    group.add_argument(
        "--max-length", type=int, metavar="N", help=f"tokens of a text or pair (default: {LONGEST}, or the model's own limit)"
    )
    group.add_argument("--precision", choices=("fp32", "bf16", "fp16"), help="of models (default: fp32)")


def compare_models(options: argparse.Namespace) -> Result | Family:
    """Run what the options name on a collection, where the store lacks it, and compare.

    Raises:
        ParameterError: an option, the collection, a model, a file or a measure is not what it should be; nothing is made before.
        StoreError: a row of a study is not trained.
    """
    from rd_utils.evaluation.measures import EvaluationError, try_measures
    from rd_utils.workflow.pipeline import Pipeline

    settings, measures = asked_settings(options, DEFAULTS), tuple(dict.fromkeys(options.measure or MEASURES))
    try:
        try_measures(measures)
    except EvaluationError as error:
        raise ParameterError(f"--measure: {error}") from None
    for number, side in enumerate(options.sides):
        if (first := options.sides.index(side)) < number:
            raise ParameterError(f"{letter(first)} and {letter(number)} are one system, {side}; name two")
    collection = collection_of(options.collection, options.split)
    pipeline = Pipeline()
    bm25 = _analysed(collection, pipeline)
    rankers = [_ranker(options, number, bm25, collection) for number in range(len(options.sides))]
    evaluations = [
        {seed: _evaluation(one, system, collection, measures, options.precision) for seed, system in one.systems.items()} for one in rankers
    ]
    stages = list(dict.fromkeys(one.first_stage.label for one in rankers))
    values, costs = [], []
    for one, specs in zip(rankers, evaluations, strict=True):
        values.append(Values(one.name, _measured(specs, measures, " or ".join(stages), pipeline)))
        costs.append(_cost(list(specs.values()), pipeline))
    about = [f"{letter(number)} is {one.about}" for number, one in enumerate(rankers)]
    counts = pipeline.manifest(next(iter(evaluations[0].values())))["counts"]
    about += [f"collection: {collection.label}; {counts['queries_judged']:,} judged queries", *_said_of_counts(evaluations, pipeline)]
    notes = ["CPU seconds are those that were spent when each part was made: of BM25 its index and search, of a model encoding or scoring"]
    return between(values, settings, about, [Costs(collection.label, max(len(one.systems) for one in rankers), costs)], notes)


# --- what is run ------------------------------------------------------------------------------------------------------------------


def collection_of(named: str, split: str | None) -> Collection:
    """Return a collection: a folder in BEIR's layout, or an id of ir_datasets, alone or with its split behind it.

    Raises:
        ParameterError: there is none, or it has no such queries.
    """
    from rd_utils.data import collections
    from rd_utils.data.sources import FolderCollection, IrDatasetsCollection
    from rd_utils.store import project_path
    from rd_utils.study.params import parse

    folder = Path(named).expanduser()
    if folder.is_dir() or named.startswith((".", "~", "/")):
        found: Collection = parse(FolderCollection, {"path": project_path(folder), "split": split or SPLIT}, "--collection")
    else:
        judged = not split and collections.is_judged(named)
        found = parse(IrDatasetsCollection, {"id": named if judged else f"{named}/{split or SPLIT}"}, "--collection")
    try:
        collections.check_source(found)
    except collections.CollectionError as error:
        raise ParameterError(f"--collection {error}") from None
    return found


def _analysed(collection: Collection, pipeline: Pipeline) -> BM25:
    """Return BM25 with the analysis that fits the collection's texts."""
    from rd_utils.exchange.new_study import SAMPLE, analysis_of

    texts = pipeline.docs(collection)["text"]
    return analysis_of(texts.iloc[:: max(1, len(texts) // SAMPLE)].astype(str))


def _ranker(options: argparse.Namespace, number: int, bm25: BM25, collection: Collection) -> Ranker:
    """Return what a side is."""
    from rd_utils.analysis.compare import parted
    from rd_utils.data import reading
    from rd_utils.mining.words import analysed_as
    from rd_utils.study.params import BiEncoder, FirstStage, FirstStageSystem, LoadedTeacher, RunFile, TeacherSystem, parse

    side, depth = options.sides[number], DEPTH if options.depth is None else options.depth
    limit = LONGEST if options.max_length is None else options.max_length
    again = parse(FirstStage, {"retriever": bm25, "depth": depth}, "--depth")
    whole = again if options.rerank else FirstStage(kind="full", retriever=bm25, depth=depth)
    if side.lower() == "bm25":
        return Ranker(side, f"BM25, {analysed_as(bm25)}", {-1: FirstStageSystem(retriever=bm25)}, whole)
    path = Path(side).expanduser()
    if reading.is_file(path):
        run = parse(RunFile, {"path": str(path.resolve()), "name": "run"}, letter(number))
        return Ranker(side, f"the run {side}", {-1: FirstStageSystem(retriever=run)}, FirstStage(kind="full", retriever=run, depth=depth))
    if parted(side) is not None:
        return _trained(side, options, again, whole)
    _check_model(side, letter(number))
    lengths: dict[str, object] = {"model": side, "max_length": limit, "max_query_length": limit}
    if _is_cross(side):
        teacher = parse(LoadedTeacher, lengths | {"precision": options.precision or "fp32"}, letter(number))
        _served(teacher, letter(number))
        said = f"cross-encoder {side}, re-ranks {again.label}, {limit} tokens at most, or its own limit"
        return Ranker(side, said, {-1: TeacherSystem(teacher=teacher)}, again)
    architecture = parse(BiEncoder, lengths | _compared_by(side), letter(number))
    _served(architecture, letter(number))
    does = f"re-ranks {again.label}" if options.rerank else "searches all documents"
    said = f"bi-encoder {side}, compared by {architecture.similarity}, {does}, {limit} tokens at most, or its own limit"
    return Ranker(side, said, {-1: _before(architecture, collection)}, whole)


def _trained(side: str, options: argparse.Namespace, again: FirstStage, whole: FirstStage) -> Ranker:
    """Return a row of a study: a cell's students, or what it was not trained to be."""
    from rd_utils.analysis.compare import parted, side_of
    from rd_utils.store import Store, StoreError, identity, upstream
    from rd_utils.study.params import StudentSystem, serves
    from rd_utils.study.plan import load_plan
    from rd_utils.study.studies import run_command

    study, name = parted(side) or ("", side)
    row = side_of(load_plan(study, options.base or None), name)
    if len(row.systems) > 1:
        raise ParameterError(f"{side} is trained on {', '.join(row.systems)}; name a row of a study of one training collection")
    (systems,) = row.systems.values()
    store = Store()
    for system in systems.values():
        needed = [system.student] if isinstance(system, StudentSystem) else []
        for spec in [*needed, *(part for one in needed for part in upstream(one).values() if part.stage == "student")]:
            if not store.has(spec):
                command = run_command(study, options.base)
                raise StoreError(f"{side} is not finished: the store has no student artefact {identity(spec)}; `{command}` makes it")
    stage = whole if all(_searches(system) or serves(system, whole) for system in systems.values()) else again
    does = "searches all documents" if stage.kind == "full" else f"re-ranks {stage.label}"
    seeds = ", ".join(map(str, systems)) if min(systems) >= 0 else "none"
    return Ranker(side, f"{row.name} of the study {row.plan.study.name}, seeds {seeds}, {does}", dict(systems), stage)


def _searches(system: System) -> bool:
    return system.kind == "first_stage"


def _before(architecture: BiEncoder, collection: Collection) -> System:
    """Return a checkpoint as it is: nothing of it is drawn, and nothing trained."""
    from rd_utils.study.params import UntrainedSystem

    return UntrainedSystem(architecture=architecture, collection=collection)


def _is_cross(model: str) -> bool:
    """Tell whether a checkpoint is a cross-encoder: its library saved it as one, or it has a head for scores and no library's modules."""
    from rd_utils.models import checkpoints

    if checkpoints.modules(model):
        return checkpoints.family(model) == "CrossEncoder"
    return any(name.endswith("ForSequenceClassification") for name in checkpoints.config(model).get("architectures") or [])


def _compared_by(model: str) -> dict[str, str]:
    """Return how a bi-encoder's texts become vectors, and how these are compared, as sentence-transformers does without being told."""
    from rd_utils.models import checkpoints

    similarity = checkpoints.settings(model).get("similarity_fn_name")
    pooling = "checkpoint" if checkpoints.modules(model) else "mean"
    return {"similarity": "dot" if similarity == "dot" else "cosine", "pooling": pooling}


def _check_model(model: str, name: str) -> None:
    """Refuse what is no model, before anything is asked of it."""
    from rd_utils.models import checkpoints
    from rd_utils.store import StoreError, resolve_path

    try:
        if not resolve_path(model).is_dir() and not checkpoints.config(model) and not checkpoints.modules(model):
            raise ParameterError(
                f"{name}: {model} is neither bm25, a file, STUDY.yaml:CELL, the folder of a model, nor a model of a hub that can be reached"
            )
    except (checkpoints.CheckpointError, StoreError) as error:
        raise ParameterError(f"{name}: {error}") from None


def _served(part: BiEncoder | LoadedTeacher, name: str) -> None:
    """Refuse a checkpoint that cannot be served; the message says why."""
    from rd_utils.models import checkpoints

    try:
        checkpoints.check(part)
    except checkpoints.CheckpointError as error:
        raise ParameterError(f"{name}: {error}") from None


# --- what it says -----------------------------------------------------------------------------------------------------------------


def _evaluation(one: Ranker, system: System, collection: Collection, measures: Sequence[str], precision: str | None) -> EvaluationSpec:
    """Return the evaluation of a system; the usual measures are always among them, so that asking for another makes nothing again."""
    from rd_utils.study.params import EvaluationSpec, parse

    every = EvaluationSpec.model_fields["measures"].default
    values = {"system": system, "collection": collection, "first_stage": one.first_stage, "precision": precision or "fp32"}
    return parse(EvaluationSpec, values | {"measures": tuple(dict.fromkeys([*every, *measures]))}, one.name)


def _measured(specs: dict[int, EvaluationSpec], measures: Sequence[str], stage: str, pipeline: Pipeline) -> dict[Place, pd.DataFrame]:
    """Return a side's values by place, a column a seed, making what is missing."""
    import pandas as pd

    from rd_utils.data.collections import CollectionError
    from rd_utils.models.checkpoints import CheckpointError

    label = next(iter(specs.values())).collection.label
    try:
        frames = [pipeline.frame(spec, "per_query").assign(seed=seed, test_collection=label) for seed, spec in specs.items()]
    except (CheckpointError, CollectionError) as error:
        raise ParameterError(str(error)) from None
    table = pd.concat(frames, ignore_index=True)
    return {(measure, None, label, stage): by_query_and_seed(table, measure) for measure in measures}


def _cost(specs: Sequence[EvaluationSpec], pipeline: Pipeline) -> dict[str, float]:
    """Return the CPU seconds of a side by part, a seed's mean: of the evaluation and of all that it is made from but the texts."""
    from rd_utils.store import identity, upstream

    parts: dict[str, float] = {part: 0.0 for part in COST_PARTS}
    for spec in specs:
        every: dict[str, Spec] = upstream(spec) | {identity(spec): spec}
        for one in every.values():
            if one.stage not in ("docs", "queries", "pairs"):
                seconds = pipeline.store.manifest(one)["cost"]["cpu_seconds"] / len(specs)
                parts[_PART_OF.get(one.stage, "train")] += seconds
    return parts | {"total": sum(parts.values())}


_PART_OF = {"candidates": "mine", "index": "mine", "scores": "score", "tokens": "evaluate", "vectors": "evaluate", "evaluation": "evaluate"}


def _said_of_counts(evaluations: Sequence[dict[int, EvaluationSpec]], pipeline: Pipeline) -> list[str]:
    """Say where a run has nothing for a judged query, which then counts 0."""
    lines = []
    for number, specs in enumerate(evaluations):
        lacking = max(pipeline.manifest(spec)["counts"]["queries_without_result"] for spec in specs.values())
        if lacking:
            lines.append(f"{letter(number)} lacks {lacking:,.0f} of the judged queries, which count 0")
    return lines

"""A study's tables, from its finished artefacts: measures per query, results, summary over seeds, and what single notebooks show.

Everything that an analysis notebook shows starts here; nothing is parsed from a file name, and a missing artefact is an error.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pandas as pd

from rd_utils.mining.sampling import Groups
from rd_utils.store import identity
from rd_utils.study import params
from rd_utils.study.plan import DIMENSIONS, PLACE, Plan
from rd_utils.workflow.pipeline import Pipeline

Row = dict[str, Any]  # of a frame, by column
CELL = ["system", *DIMENSIONS]
# What is known of groups before training, on which advice rests.
FEATURES = ["pairwise_entropy", "positive_entropy", "listwise_entropy", "diameter_q99", "mean_distance", "log_density_ratio"]
FEATURES += ["retrieved_share"]  # of a pilot, for which no judgement is looked at
ROWS_SHOWN = 200  # a longer table of contrasts is written, not printed
RESULT_COLUMNS = ["study", "cell", "system", "collection", *DIMENSIONS, "seed", "test_collection", "first_stage", "measure", "value"]


def per_query(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return every measure of every query: the columns of ``results.parquet`` and query_id."""
    frames = []
    for keys, system in _systems(plan):
        for spec in plan.evaluations(system, keys["collection"]):
            frame = pipeline.frame(spec, "per_query")
            frames.append(frame.assign(**keys, test_collection=spec.collection.label, first_stage=spec.first_stage.label))
    columns = [*RESULT_COLUMNS[:-2], "query_id", "measure", "value"]
    table = pd.concat(frames, ignore_index=True)[columns]
    twice = table.duplicated(["cell", "collection", "seed", "test_collection", "first_stage", "query_id", "measure"])
    if twice.any():
        raise ValueError(f"{int(twice.sum())} rows of per_query stand twice, the first is {table[twice].iloc[0].to_dict()}")
    return table


def results(per_query: pd.DataFrame) -> pd.DataFrame:
    """Average over the judged queries: one row a cell, seed, test collection, first stage and measure."""
    keys = RESULT_COLUMNS[:-1]
    return per_query.groupby(keys, sort=False, dropna=False)["value"].mean().reset_index()[RESULT_COLUMNS]


def summary(results: pd.DataFrame) -> pd.DataFrame:
    """Return the mean, and the standard deviation over seeds (n - 1; NaN with one seed), of every cell, measure by measure."""
    keys = [*PLACE, "measure", "cell", *CELL]
    grouped = results.groupby(keys, sort=False, dropna=False)["value"]
    return grouped.agg(mean="mean", sd="std", n_seeds="size").reset_index()


def macro(summary: pd.DataFrame) -> pd.DataFrame:
    """Average each row of the main table over the collections, each of which counts once, however many queries it has.

    Returns:
        One row a first stage, measure and system: ``mean`` and ``sd`` (n - 1) of the collections' means, ``n_collections``. A system that
        is not on every pair of a training and a test collection is left out, since a mean over fewer is another quantity. Empty with one.
    """
    keys = ["first_stage", "measure", "cell", *CELL]
    pairs = len(summary.drop_duplicates(["collection", "test_collection"]))
    table = summary.groupby(keys, sort=False, dropna=False)["mean"].agg(mean="mean", sd="std", n_collections="size").reset_index()
    return table[table["n_collections"] == pairs] if pairs > 1 else table[:0]


def options(results: pd.DataFrame, descriptions: pd.DataFrame, costs: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return what :mod:`rd_utils.companions.advice` chooses from: every cell with what was known of its groups before training.

    Args:
        results: of :func:`results`.
        descriptions: of :func:`rd_utils.analysis.characteristics.descriptions`, on a pilot where advice is to rest on one.
        costs: of :func:`rd_utils.cost.costs.costs`.
        measure: whose mean over seeds is the ``value``.

    Returns:
        One row a training and test collection, first stage and cell without augmentation or cut: the dimensions, the pilot's means after
        temperature (of a cell that learns without a teacher, under the teacher that the study measures its groups with),
        ``log_density_ratio``, ``value``, and ``cost`` in CPU seconds. ``attrs["left_out"]`` names the cells whose groups nobody described
        under their own name, such as those of a refreshed strategy, which starts from another's. Where nothing was described, as in a study
        without a reference, there is no row, and nothing that is known of groups has a column.
    """
    trained = at(results, system="student", measure=measure)
    trained = trained[(trained["augmentation"] == "none") & (trained["cut"] == "all")]
    keys = [*PLACE, "cell", *DIMENSIONS]
    table = trained.groupby(keys, sort=False, dropna=False)["value"].mean().reset_index()
    if descriptions.empty:
        nothing = table[:0].assign(cost=pd.Series(dtype=float))
        nothing.attrs["left_out"] = sorted(set(table["cell"]))
        return nothing
    described = descriptions[(descriptions["augmentation"] == "none") & (descriptions["cut"] == "all")].copy()
    described["log_density_ratio"] = np.log(described["density_ratio"])
    on = ["collection", "strategy", "teacher", "temperature", "target_entropy"]
    described = described.drop_duplicates(on, keep="last")  # "after" is last
    first = described.drop_duplicates([name for name in on if name != "teacher"]).assign(teacher="")  # of cells that learn without one
    described = pd.concat([described[described["teacher"] != ""], first])
    known = [name for name in FEATURES if name in described]
    offered = table.merge(described[[*on, *known]], on=on, how="inner", validate="many_to_one")
    price = costs.groupby(["collection", "cell"], sort=False)["total_cpu_seconds"].mean().rename("cost").reset_index()
    offered = offered.merge(price, on=["collection", "cell"], how="left", validate="many_to_one")
    offered.attrs["left_out"] = sorted(set(table["cell"]) - set(offered["cell"]))
    return offered


def strategy_spread(results: pd.DataFrame) -> pd.DataFrame:
    """Return how far apart strategies lie: by how much the choice of one matters, under each loss, teacher and architecture.

    Returns:
        One row a training and test collection, first stage, measure, and everything in which cells differ beside the strategy:
        ``n_strategies`` (at least 2; others have no spread and no row), ``lowest`` and ``highest`` strategy, ``spread`` (maximum minus
        minimum of the means over seeds) and ``sd`` (of those means, n - 1).
    """
    keys = [*PLACE, "measure", *(name for name in DIMENSIONS if name != "strategy")]
    trained = results[results["system"] == "student"]
    means = trained.groupby([*keys, "strategy"], sort=False, dropna=False)["value"].mean().reset_index("strategy")
    rows = []
    for place, part in means.groupby(level=keys, sort=False, dropna=False):
        if len(part) > 1:
            lowest, highest = part["value"].to_numpy().argmin(), part["value"].to_numpy().argmax()
            names = {"lowest": part["strategy"].iloc[lowest], "highest": part["strategy"].iloc[highest]}
            spread = {"spread": part["value"].max() - part["value"].min(), "sd": part["value"].std()}
            rows.append(dict(zip(keys, place, strict=True)) | {"n_strategies": len(part)} | names | spread)
    return pd.DataFrame(rows, columns=[*keys, "n_strategies", "lowest", "highest", "spread", "sd"])


def records(frame: pd.DataFrame) -> list[Row]:
    """Return a frame's rows; its columns' names are texts."""
    return cast("list[Row]", frame.to_dict("records"))


def at(frame: pd.DataFrame, **where: object) -> pd.DataFrame:
    """Return the rows that have these values, such as those of one training and one test collection."""
    return frame[(frame[list(where)] == list(where.values())).all(axis=1)]


def first_place(per_query: pd.DataFrame, summary: pd.DataFrame, measure: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the trained cells' values query by query, averaged over seeds, and their means, on the first collection and first stage.

    Returns:
        cell, query_id, value; and cell, mean, sd.
    """
    trained, means = (at(frame, system="student", measure=measure) for frame in (per_query, summary))
    where = records(trained[PLACE].head(1))[0]
    values = at(trained, **where).groupby(["cell", "query_id"], sort=False)["value"].mean().reset_index()
    return values, at(means, **where)[["cell", "mean", "sd"]]


def best(summary: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return the trained cell with the highest mean of a measure, per test collection and first stage."""
    trained = at(summary, system="student", measure=measure)
    ordered = trained.sort_values("mean", ascending=False, kind="stable")
    return ordered.groupby(PLACE, sort=False).head(1)


def groups_counted(plan: Plan, pipeline: Pipeline) -> dict[tuple[str, str], int]:
    """Return how many groups each cell's first seed is trained on, by training collection and cell."""
    found = {}
    for cell in plan.cells:
        student = next(iter(cell.students.values()))
        found[cell.collection, cell.name] = int(pipeline.store.manifest(student.groups)["counts"]["groups"])
    return found


def judged(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return, for each test collection and first stage, the counts of judged and unjudged queries of the first baseline's run."""
    rows = []
    for keys, system in _systems(plan):
        if keys["system"] == "first_stage":
            for spec in plan.evaluations(system, keys["collection"]):
                counts = pipeline.store.manifest(spec)["counts"]
                rows.append({"test_collection": spec.collection.label, "first_stage": spec.first_stage.label} | counts)
    return pd.DataFrame(rows).drop(columns="pairs_scored", errors="ignore").drop_duplicates(ignore_index=True)


def _systems(plan: Plan) -> list[tuple[Row, params.System]]:
    """Return every row of the study with its keys: baselines first, then the cells seed by seed."""
    rows: list[tuple[Row, params.System]] = []
    blank: Row = dict.fromkeys(DIMENSIONS, "") | {"augmentation": "none", "cut": "all", "temperature": 1.0, "target_entropy": float("nan")}
    for row in plan.baselines:
        keys = {"study": plan.study.name, "collection": plan.labels[row.pair], "cell": row.name, "system": row.system} | blank
        keys |= {"teacher": row.teacher, "architecture": row.architecture}
        rows += [(keys | {"seed": seed}, system) for seed, system in row.systems.items()]
    for cell in plan.cells:
        keys = {"study": plan.study.name, "collection": cell.collection, "cell": cell.name, "system": "student"}
        keys |= {name: getattr(cell, name) for name in DIMENSIONS}
        rows += [(keys | {"seed": seed}, params.StudentSystem(student=student)) for seed, student in cell.students.items()]
    return rows


# --- what single notebooks show ---------------------------------------------------------------------------------------------------


def evaluate(parameters: params.EvaluateParameters, pipeline: Pipeline) -> pd.DataFrame:
    """Evaluate what an evaluation notebook names; one row a system, seed, test collection, first stage, query and measure."""
    frames = []
    names = {identity(student): name for (name, _), student in parameters.students().items()}
    for spec in parameters.evaluations():
        system = spec.system
        label, seed = system.kind, -1
        if isinstance(system, params.FirstStageSystem):
            label = system.retriever.label
        elif isinstance(system, params.StudentSystem):
            label, seed = names[identity(system.student)], system.student.seed
        elif isinstance(system, params.UntrainedSystem):
            seed = system.seed
        about = {"row": label, "seed": seed, "test_collection": spec.collection.label, "first_stage": spec.first_stage.label}
        frames.append(pipeline.frame(spec, "per_query").assign(**about))
    columns = ["row", "seed", "test_collection", "first_stage", "query_id", "measure", "value"]
    return pd.concat(frames, ignore_index=True)[columns]


def mean_table(values: pd.DataFrame, index: list[str], digits: int = 3) -> pd.DataFrame:
    """Average over queries and then seeds; rows ``index``, columns measures, rounded."""
    per_seed = values.groupby([*index, "seed", "measure"], sort=False)["value"].mean()
    table = per_seed.groupby([*index, "measure"], sort=False).mean().unstack("measure", sort=False).round(digits)
    return table.sort_index(level=index[:-1], sort_remaining=False) if len(index) > 1 else table


def true_grades(pipeline: Pipeline, spec: params.GroupsSpec) -> np.ndarray:
    """Return the true grade of every document of every group, (n_groups, group_size): known for the embedded collection only.

    Raises:
        ValueError: for any other collection, whose unjudged documents nobody graded.
    """
    collection = spec.collection
    if not isinstance(collection, params.EmbeddedCollection):
        raise ValueError(f"the true grades of {collection.label!r} are unknown; only the embedded collection knows them")
    from rd_utils.data import collections

    generated = collections.generated(collection)
    every = pd.Index(generated.queries[collection.split]["query_id"])
    query_rows, doc_rows = pipeline.group_rows(spec)
    rows = every.get_indexer(pd.Index(pipeline.queries(collection)["query_id"]))
    return generated.grades_of(collection.split, rows[query_rows][:, None], doc_rows)


def negative_ranks(pipeline: Pipeline, spec: params.GroupsSpec) -> pd.DataFrame:
    """Return the rank of every negative in the list that its strategy draws from: the query's, or for a graph the positive's.

    Returns:
        Columns query_id, doc_id and rank, counted from 1 over the whole list, known positives included; NaN for a document from elsewhere.

    Raises:
        ValueError: the strategy draws from no list.
    """
    pool = spec.strategy.pool_of(spec.collection)
    if pool is None:
        raise ValueError(f"the strategy {spec.strategy.kind} draws from no ranked list, so its negatives have no ranks")
    run = pipeline.candidates(pool).rename(columns={"query_id": "key"}).assign(rank=pipeline.run(pool).ranks())
    groups = pipeline.groups(spec)
    key = groups["doc_ids"].str[0] if spec.strategy.kind == "graph" else groups["query_id"]
    negatives = groups.assign(key=key, doc_id=groups["doc_ids"].str[1:]).explode("doc_id")
    negatives = negatives[["query_id", "key", "doc_id"]]
    return negatives.merge(run[["key", "doc_id", "rank"]], how="left", on=["key", "doc_id"]).drop(columns="key")


# --- what the notebooks show on a toy ---------------------------------------------------------------------------------------------


def draw_table(draws: dict[str, Groups], documents: pd.DataFrame) -> pd.DataFrame:
    """Describe what strategies draw for one query.

    Args:
        draws: strategy -> groups of the same query and positive, drawn often.
        documents: doc_id, grade, and the columns of an embedding.

    Returns:
        One row a strategy: ``first``, the negatives of the first draw; per document its probability to be among the negatives
        (0 where no draw has it, NaN where it is not known); ``kappa``, the density ratio; and means over the draws: ``diameter`` (the
        0.99-quantile of cosine distances) and ``false``, the share of the negatives whose grade is above 0.

    Of four documents, the positive d1 among them, two negatives are drawn, so each of three documents in two of three draws:

    >>> from rd_utils.mining import sampling
    >>> documents = pd.DataFrame({"doc_id": ["d1", "d2", "d3", "d4"], "grade": [1, 1, 0, 0], "x": [1, 1, 0, 0], "y": [0, 0, 1, 1]})
    >>> qrels = pd.DataFrame({"query_id": ["q"], "doc_id": ["d1"], "relevance": [1]})
    >>> options = {"strategy": params.CorpusRandom(), "group_size": 3, "shortage": "drop", "seed": 0, "draws": 20}
    >>> draw_table({"corpus_random": sampling.draw_groups(documents["doc_id"], qrels, **options)}, documents)[["d2", "kappa"]].round(2)
                     d2  kappa
    corpus_random  0.67    1.0
    """
    from rd_utils.analysis import locality

    place = pd.Index(documents["doc_id"])
    vectors, relevant = documents.drop(columns=["doc_id", "grade"]).to_numpy(dtype=float), documents["grade"].to_numpy() > 0
    rows = {}
    for name, drawn in draws.items():
        groups = drawn.frame
        doc_rows = place.get_indexer(pd.Index(np.concatenate(groups["doc_ids"].to_list()))).reshape(len(groups), -1)
        probability = pd.Series(0.0, index=place.delete(doc_rows[0, 0]))
        for doc_ids, inclusion in zip(groups["doc_ids"], groups["inclusion"], strict=True):
            probability[doc_ids[1:]] = inclusion[1:]
        rows[name] = {"first": " ".join(groups["doc_ids"].iloc[0][1:])} | probability.to_dict()
        rows[name] |= {"kappa": groups["density_ratio"].median(), "diameter": locality.diameters(vectors, doc_rows)["diameter_q99"].mean()}
        rows[name] |= {"false": relevant[doc_rows[:, 1:]].mean()}
    return pd.DataFrame.from_dict(rows, orient="index")

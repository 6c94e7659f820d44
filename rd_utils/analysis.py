"""A study's tables, from its finished artefacts: results, measures per query, summary over seeds, paired differences, cost.

Everything that an analysis notebook shows starts here; nothing is parsed from a file name, and a missing artefact is an error.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rd_utils import params, stats, studies
from rd_utils.pipeline import Pipeline
from rd_utils.plan import Plan
from rd_utils.progress import LOGGER
from rd_utils.sampling import Groups
from rd_utils.store import identity, inputs, pool_of, upstream

DIMENSIONS = ["strategy", "teacher", "loss", "architecture", "augmentation", "cut", "temperature", "target_entropy"]
CELL = ["system", *DIMENSIONS]
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
    keys = ["collection", "test_collection", "first_stage", "measure", "cell", *CELL]
    grouped = results.groupby(keys, sort=False, dropna=False)["value"]
    return grouped.agg(mean="mean", sd="std", n_seeds="size").reset_index()


def differences(per_query: pd.DataFrame, settings: studies.AnalysisSettings) -> pd.DataFrame:
    """Compare cells pairwise over queries, on values averaged over seeds.

    Families of contrasts, each between cells that differ in one thing only:

    - every strategy against ``settings.baseline_strategy``;
    - every distillation loss against LCE, which has no teacher and no temperature;
    - every augmentation against none, every part of the queries against all of them, every teacher against the study's first, and every
      temperature against 1.

    Returns:
        One row a contrast, test collection and first stage: the difference with its interval, p-values, the same corrected by Holm over
        each family within a test collection and first stage (``p_holm``, ``p_equivalence_holm``), and the verdict, which rests on the
        corrected ones: different where p_holm, equivalent (TOST at ``settings.equivalence_margin``) where p_equivalence_holm is below
        ``settings.alpha``. The smallest margin that the data could have proved is of the contrast alone. Cells whose seeds differ are not
        compared; ``attrs["skipped"]`` counts them. Empty where a study has nothing to contrast.
    """
    trained = per_query[(per_query["system"] == "student") & (per_query["measure"] == settings.measure)]
    means = stats.seed_mean(trained[["cell", "collection", "test_collection", "first_stage", "query_id", "seed", "value"]])
    cells = trained.drop_duplicates("cell").set_index("cell")[DIMENSIONS]
    seeds = trained.groupby(["collection", "cell"])["seed"].agg(lambda values: tuple(sorted(set(values))))
    contrasts = _contrasts(cells, settings.baseline_strategy)
    rows, skipped = [], 0
    for (trained_on, collection, stage), frame in means.groupby(["collection", "test_collection", "first_stage"], sort=False):
        values = {name: part.set_index(["test_collection", "query_id"])["value"] for name, part in frame.groupby("cell")}
        for family, before, after, contrast in contrasts:
            if before not in values or after not in values:
                continue
            if seeds[trained_on, before] != seeds[trained_on, after]:
                skipped += 1
                continue
            found = stats.paired_difference(
                values[before],
                values[after],
                level=settings.level,
                equivalence_margin=settings.equivalence_margin,
                alpha=settings.alpha,
            )
            where = {"collection": trained_on, "test_collection": collection, "first_stage": stage, "measure": settings.measure}
            rows.append(
                where
                | {"family": family, "contrast": contrast}
                | cells.loc[after].to_dict()
                | {"cell_before": before, "cell_after": after, "equivalence_margin": settings.equivalence_margin}
                | found._asdict()
            )
    if not rows:
        names = ["collection", "test_collection", "first_stage", "measure", "family", "contrast", "difference", "verdict"]
        table = pd.DataFrame(columns=names)
        table.attrs["skipped"] = skipped
        return table
    table = pd.DataFrame(rows)
    for raw, corrected in (("p_difference", "p_holm"), ("p_equivalence", "p_equivalence_holm")):
        table[corrected] = np.nan
        for _, part in table.groupby(["collection", "test_collection", "first_stage", "family"], sort=False):
            table.loc[part.index, corrected] = stats.holm(part[raw].to_numpy())
    table["different"] = table["p_holm"] < settings.alpha
    table["equivalent"] = table["p_equivalence_holm"] < settings.alpha
    names = {(True, True): "both", (True, False): "different", (False, True): "equivalent", (False, False): "undecided"}
    table["verdict"] = [names[pair] for pair in zip(table["different"], table["equivalent"], strict=True)]
    table.attrs["skipped"] = skipped
    return table


def _contrasts(cells: pd.DataFrame, baseline: str) -> list[tuple[str, str, str, str]]:
    """Return (family, cell before, cell after, label) of cells that differ in one thing.

    A loss that distils differs from LCE also in having a teacher and a dial; in every other family all but the one dimension agree, a
    missing target entropy with a missing one.

    Args:
        cells: the dimensions of each cell, in the study's order, indexed by its name.
        baseline: the strategy that the others are compared with.
    """
    comparable = cells.fillna({"target_entropy": 0.0})
    teachers = [teacher for teacher in dict.fromkeys(cells["teacher"]) if teacher]
    compared_with = {
        "strategy": baseline,
        "loss": "lce",
        "augmentation": "none",
        "cut": "all",
        "teacher": teachers[0] if teachers else "",
        "temperature": 1.0,
    }
    found = []
    for family, value in compared_with.items():
        free = {"teacher", "temperature", "target_entropy"} if family == "loss" else set()
        same = [name for name in DIMENSIONS if name != family and name not in free]
        before = {tuple(row[name] for name in same): cell for cell, row in comparable.iterrows() if row[family] == value}
        for after, row in comparable.iterrows():
            alike = before.get(tuple(row[name] for name in same))
            if alike is not None and row[family] not in (value, ""):
                shown = f"{row[family]:g} - {value:g}" if family == "temperature" else f"{row[family]} - {value}"
                found.append((family, alike, after, shown))
    return found


def across(differences: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Return each contrast over the collections of a study: what a conclusion rests on where a collection's own seed moves single cells.

    A collection counts once, however many queries it has: ``mean +- t((1 + level) / 2, n - 1) * sd / sqrt(n)``.

    Args:
        differences: of :func:`differences`; each pair of a training and a test collection counts as one collection, so pairs that share
            one are not independent of each other.
        level: of the interval.

    Returns:
        One row a contrast and first stage: ``n_collections``, ``mean`` and ``sd`` of the differences over collections, Student's t interval
        ``low``, ``high`` over them (NaN with one collection), ``n_positive``, and how many of the collections' verdicts call it
        ``different`` and ``equivalent``.

    >>> one = {"first_stage": "full", "measure": "AP", "family": "strategy", "contrast": "bm25 - random"} | dict.fromkeys(DIMENSIONS, "")
    >>> one |= {"different": True, "equivalent": False}
    >>> table = across(pd.DataFrame([one | {"difference": value} for value in (0.01, 0.02, 0.03)]))
    >>> table[["n_collections", "mean", "low", "high", "n_positive"]].round(4).values.tolist()
    [[3.0, 0.02, -0.0048, 0.0448, 3.0]]
    """
    from scipy.stats import t

    keys = ["first_stage", "measure", "family", "contrast", *DIMENSIONS]
    if differences.empty:
        columns = ["n_collections", "mean", "sd", "n_positive", "different", "equivalent", "low", "high"]
        return pd.DataFrame(columns=[*keys, *columns])
    table = differences.groupby(keys, sort=False, dropna=False).agg(
        n_collections=("difference", "size"),
        mean=("difference", "mean"),
        sd=("difference", "std"),
        n_positive=("difference", lambda values: int((values > 0).sum())),
        different=("different", "sum"),
        equivalent=("equivalent", "sum"),
    )
    half = t.ppf((1 + level) / 2, np.maximum(table["n_collections"] - 1, 1)) * table["sd"] / np.sqrt(table["n_collections"])
    return table.assign(low=table["mean"] - half, high=table["mean"] + half).reset_index()


def factorials(results: pd.DataFrame, rows: str = "strategy", columns: str = "target_entropy") -> pd.DataFrame:
    """Return :func:`two_way` of every factorial that a study holds; cells that make none are left out, and an empty frame says so.

    A factorial has at least two values of ``rows``, two of ``columns`` and two seeds.
    """
    about = ["collection", "test_collection", "first_stage", "measure", *(name for name in DIMENSIONS if name not in (rows, columns))]
    dialled = results[(results["system"] == "student") & ~results[[rows, columns]].replace("", np.nan).isna().any(axis=1)]
    parts = [
        two_way(part, rows, columns)
        for _, part in dialled.groupby(about, sort=False, dropna=False)
        if min(part[rows].nunique(), part[columns].nunique(), part["seed"].nunique()) > 1
        and len(part) == part[rows].nunique() * part[columns].nunique() * part["seed"].nunique()
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*about, "source", "df", "share", "F", "p"])


def two_way(results: pd.DataFrame, rows: str = "strategy", columns: str = "target_entropy") -> pd.DataFrame:
    """Split the variance of a balanced factorial, with seeds as replicates: fixed effects, an interaction, and the rest.

    ``SS = SS_rows + SS_columns + SS_interaction + SS_seeds``; each effect is tested by ``F = MS_effect / MS_seeds``.

    Args:
        results: of :func:`results`; cells without a value of ``rows`` or ``columns`` (such as LCE, which has no target entropy) are no part
            of the factorial.
        rows: a dimension.
        columns: another.

    Returns:
        Four rows a factorial: ``source`` (``rows``, ``columns``, ``interaction``, ``seeds``), ``df``, ``sum_of_squares``, ``share`` (of
        the total), ``F`` and ``p`` (NaN for seeds). A factorial is a training and test collection, first stage, measure, and everything in
        which cells differ beside ``rows`` and ``columns``.

    Raises:
        ValueError: there is no factorial, or one has fewer than two rows, columns or seeds, or a combination lacks a seed.

    Source: R. A. Fisher, Statistical Methods for Research Workers, 1925, chapter VII.
    """
    if wrong := [name for name in (rows, columns) if name not in DIMENSIONS]:
        raise ValueError(f"{wrong[0]!r} is no dimension{params.nearest(wrong[0], DIMENSIONS)}")
    factorial = results[(results["system"] == "student") & ~results[[rows, columns]].replace("", np.nan).isna().any(axis=1)]
    if factorial.empty:
        raise ValueError(f"no trained cell has both a {rows} and a {columns}; a factorial needs at least two of each")
    free = {"teacher", "temperature", "target_entropy"} if "loss" in (rows, columns) else set()
    keys = ["collection", "test_collection", "first_stage", "measure"]
    keys += [name for name in DIMENSIONS if name not in (rows, columns) and name not in free]
    found = []
    for place, part in factorial.groupby(keys, sort=False, dropna=False):
        where = dict(zip(keys, place, strict=True))
        found += [where | effect for effect in _effects(_cube(part, rows, columns, where), rows, columns)]
    return pd.DataFrame(found)


def _cube(part: pd.DataFrame, rows: str, columns: str, where: dict[str, Any]) -> np.ndarray:
    """Return the values of a factorial, (rows, columns, seeds)."""
    names = [list(dict.fromkeys(part[name])) for name in (rows, columns, "seed")]
    for kind, values in zip((rows, columns, "seed"), names, strict=True):
        if len(values) < 2:
            raise ValueError(f"the factorial {where} has one {kind} only, {values[0]!r}; expected at least 2")
    counts = part.groupby([rows, columns, "seed"], sort=False).size().reindex(pd.MultiIndex.from_product(names), fill_value=0)
    wrong = counts[counts != 1]
    if len(wrong):
        first = dict(zip((rows, columns, "seed"), wrong.index[0], strict=True))
        raise ValueError(
            f"the factorial {where} is not balanced: {len(wrong)} of {len(counts)} combinations do not have one value, the first is "
            f"{first} with {wrong.iloc[0]}; train every combination with the same seeds, or choose cells that are"
        )
    values = part.set_index([rows, columns, "seed"])["value"].reindex(counts.index)
    return values.to_numpy(dtype=float).reshape([len(each) for each in names])


def _effects(cube: np.ndarray, rows: str, columns: str) -> list[dict[str, Any]]:
    """Return the analysis of variance of values (rows, columns, seeds)."""
    from scipy.stats import f

    n_rows, n_columns, n_seeds = cube.shape
    grand, cells = cube.mean(), cube.mean(axis=2)
    by_row, by_column = cells.mean(axis=1, keepdims=True), cells.mean(axis=0, keepdims=True)
    squares = {
        rows: n_columns * n_seeds * ((by_row - grand) ** 2).sum(),
        columns: n_rows * n_seeds * ((by_column - grand) ** 2).sum(),
        "interaction": n_seeds * ((cells - by_row - by_column + grand) ** 2).sum(),
        "seeds": ((cube - cells[:, :, None]) ** 2).sum(),
    }
    freedom = [n_rows - 1, n_columns - 1, (n_rows - 1) * (n_columns - 1), n_rows * n_columns * (n_seeds - 1)]
    total, residual = sum(squares.values()), squares["seeds"] / freedom[-1]
    effects = []
    for (source, square), df in zip(squares.items(), freedom, strict=True):
        ratio = square / df / residual if source != "seeds" and residual > 0 else np.nan
        share = square / total if total > 0 else np.nan
        effects.append(
            {"source": source, "df": df, "sum_of_squares": square, "share": share, "F": ratio, "p": f.sf(ratio, df, freedom[-1])}
        )
    return effects


def strategy_spread(results: pd.DataFrame) -> pd.DataFrame:
    """Return how far apart strategies lie: by how much the choice of one matters, under each loss, teacher and architecture.

    Returns:
        One row a training and test collection, first stage, measure, and everything in which cells differ beside the strategy:
        ``n_strategies`` (at least 2; others have no spread and no row), ``lowest`` and ``highest`` strategy, ``spread`` (maximum minus
        minimum of the means over seeds) and ``sd`` (of those means, n - 1).
    """
    keys = ["collection", "test_collection", "first_stage", "measure", *(name for name in DIMENSIONS if name != "strategy")]
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


def best(summary: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return the trained cell with the highest mean of a measure, per test collection and first stage."""
    trained = summary[(summary["measure"] == measure) & (summary["system"] == "student")]
    ordered = trained.sort_values("mean", ascending=False, kind="stable")
    return ordered.groupby(["collection", "test_collection", "first_stage"], sort=False).head(1)


def costs(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return the cost of every cell and seed, from the manifests of what it was made of.

    Every artefact upstream of a student is charged in full, once, as the cell alone would have paid it:

    - mining: the groups and what they were made from, with the training of a retriever or of a teacher that re-ranks, filters or cuts;
    - scoring: the teacher's scores and what else they needed, such as the teacher's own training;
    - training: the student, its lexicon and token tables, and the search that chose its learning rate, with all that the search trained
      and evaluated;
    - evaluation: the student's evaluations.

    A pair is scored once however many groups it stands in, so scores are charged by the pair, at this teacher's cost of a pair.
    """
    students = [(cell, seed, student) for cell in plan.cells for seed, student in cell.students.items()]
    needed: dict[str, Any] = {}
    for _, _, student in students:
        needed |= upstream(student)
    rates = _scoring_rates(pipeline, [spec for spec in needed.values() if spec.stage == "scores"])
    paid: dict[str, np.ndarray] = {}

    def charge(specs: dict[str, Any]) -> np.ndarray:
        for key, spec in specs.items():
            if key not in paid:
                paid[key] = _seconds(pipeline, spec, rates)
        return sum((paid[key] for key in specs), start=np.zeros(2))

    rows = []
    for cell, seed, student in students:
        trained = pipeline.store.manifest(student)
        parts = inputs(student)
        texts = {identity(part) for part in parts.values() if part.stage in ("lexicon", "tokens")}
        groups, scores = (_with_upstream(parts[role]) if role in parts else {} for role in ("groups", "scores"))
        mine = {key: spec for key, spec in groups.items() if key not in texts}
        score = {key: spec for key, spec in scores.items() if key not in mine and key not in texts}
        train = {key: spec for key, spec in _with_upstream(student).items() if key not in mine and key not in score}
        evaluations = plan.evaluations(params.StudentSystem(student=student), cell.collection)
        seconds = {
            "mine": charge(mine),
            "score": charge(score),
            "train": charge(train),
            "evaluate": charge({identity(spec): spec for spec in evaluations}),
        }
        rows.append(
            {
                "study": plan.study.name,
                "cell": cell.name,
                "collection": cell.collection,
                "seed": seed,
                "identity": identity(student),
                "manifest": f"store/student/{identity(student)}/manifest.json",
                **{name: getattr(cell, name) for name in DIMENSIONS},
                **{f"{part}_wall_seconds": round(float(wall), 3) for part, (wall, _) in seconds.items()},
                **{f"{part}_cpu_seconds": round(float(cpu), 3) for part, (_, cpu) in seconds.items()},
                "total_cpu_seconds": sum(round(float(cpu), 3) for _, cpu in seconds.values()),
                "documents_seen": trained["counts"]["documents_seen"],
                "tokens_seen": trained["counts"]["tokens_seen"],
                "peak_memory_mb": trained["cost"]["peak_memory_mb"],
                "parameters": json.dumps(trained["parameters"], sort_keys=True),
            }
        )
    return pd.DataFrame(rows)


def _with_upstream(spec: Any) -> dict[str, Any]:
    """Return an artefact and everything that it is made from, by identity."""
    return upstream(spec) | {identity(spec): spec}


def _seconds(pipeline: Pipeline, spec: Any, rates: dict[Any, np.ndarray]) -> np.ndarray:
    """Return the wall and CPU seconds that an artefact is charged with."""
    manifest = pipeline.store.manifest(spec)
    if spec.stage == "scores":
        members = spec.teacher.members if spec.teacher.kind == "ensemble" else (spec.teacher,)
        return manifest["counts"]["pairs"] * sum(rates[member] for member in members)
    return np.array([manifest["cost"]["wall_seconds"], manifest["cost"]["cpu_seconds"]])


def _scoring_rates(pipeline: Pipeline, scores: list[params.ScoresSpec]) -> dict[Any, np.ndarray]:
    """Return each teacher's wall and CPU seconds a pair, where it scored most pairs at once; 0 where another study scored them all."""
    most: dict[Any, int] = {}
    rates: dict[Any, np.ndarray] = {}
    for spec in scores:
        manifest = pipeline.store.manifest(spec)
        scored = manifest["counts"]["pairs_scored_now"]
        if scored > most.get(spec.teacher, 0):
            most[spec.teacher] = scored
            rates[spec.teacher] = np.array([manifest["cost"]["wall_seconds"], manifest["cost"]["cpu_seconds"]]) / scored
        rates.setdefault(spec.teacher, np.zeros(2))
    return rates


def histories(plan: Plan, pipeline: Pipeline, points: int = 60) -> pd.DataFrame:
    """Return the training losses of every cell and seed, averaged over equal stretches of steps where there are more than ``points``.

    Returns:
        collection, cell, strategy, recipe (what else the cell is), seed, step and documents_seen (the last of the stretch), loss,
        learning_rate (their means over the stretch).
    """
    columns = ["collection", "cell", "strategy", "recipe", "seed", "step", "documents_seen", "loss", "learning_rate"]
    parts = []
    for cell in plan.cells:
        own = [cell.architecture, cell.loss, cell.teacher]
        own += [f"T={cell.temperature:g}"] if cell.temperature != 1 else []
        own += [f"H={cell.target_entropy:g}"] if cell.target_entropy == cell.target_entropy else []
        own += [name for name, plain in ((cell.augmentation, "none"), (cell.cut, "all")) if name != plain]
        recipe = " · ".join(part for part in own if part)
        about = {"collection": cell.collection, "cell": cell.name, "strategy": cell.strategy, "recipe": recipe}
        for seed, student in cell.students.items():
            frame = pipeline.frame(student, "history")
            stretch = np.arange(len(frame)) * points // len(frame) if len(frame) > points else np.arange(len(frame))
            means = frame.groupby(stretch).agg({"step": "last", "documents_seen": "last", "loss": "mean", "learning_rate": "mean"})
            parts.append(means.assign(**about, seed=seed))
    return pd.concat(parts, ignore_index=True)[columns]


def learning_rates(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return what every search of the study tried.

    Returns:
        One row a search and learning rate: architecture (the study's name), loss, search (its identity), learning_rate, the measure on
        validation queries under its own name, chosen, and at_end: chosen, though no rate beyond it was tried. Empty without a search.
    """
    searches: dict[str, tuple[Any, params.SearchSpec]] = {}
    for cell in plan.cells:
        for student in cell.students.values():
            if student.search is not None:
                search = params.search_spec(student)
                searches.setdefault(identity(search), (cell, search))
    columns = ["architecture", "loss", "search", "learning_rate", plan.study.search.measure if plan.study.search else "value", "chosen"]
    frames = []
    for key, (cell, search) in searches.items():
        frame = pipeline.frame(search, "search").sort_values("learning_rate", ignore_index=True)
        ends = frame.index.isin([0, len(frame) - 1])
        frames.append(frame.assign(architecture=cell.architecture, loss=cell.loss, search=key, at_end=frame["chosen"] & ends))
    return pd.concat(frames, ignore_index=True)[[*columns, "at_end"]] if frames else pd.DataFrame(columns=[*columns, "at_end"])


def descriptions(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return what every cell's groups are like, before and after augmentation and temperature, averaged over groups and then seeds.

    Groups that cells share are described once, under the teacher that measures their entropy, also where a cell learns without one. Groups
    that are drawn anew while a student trains are described as they are at first.

    Returns:
        One row a collection, strategy, teacher, augmentation, part of the queries, temperature and state (``before``, ``after``): means of
        the diameters (``diameter_q99`` also as median and 0.99-quantile), the entropies, the median ``density_ratio``, and ``coverage``
        of the relevant test documents, averaged over test collections. Empty without a ``reference``.
    """
    keys = ["collection", "strategy", "teacher", "augmentation", "cut", "temperature", "target_entropy", "state"]
    teachers = {student.teacher: cell.teacher for cell in plan.cells for student in cell.students.values() if student.teacher}
    rows, seen = [], set()
    for cell, seed, student in _students(plan):
        spec = plan.description(cell, student)
        if spec is None or identity(spec) in seen:
            continue
        seen.add(identity(spec))
        about = {name: getattr(cell, name) for name in ("collection", "strategy", "augmentation", "cut")}
        about |= {"teacher": teachers.get(spec.teacher, ""), "temperature": spec.temperature, "seed": seed}
        about["target_entropy"] = np.nan if spec.target_entropy is None else spec.target_entropy
        counts = pipeline.manifest(spec)["counts"]
        coverage = np.mean([value for name, value in counts.items() if name.startswith("coverage ")] or [np.nan])
        for state, frame in pipeline.frame(spec, "description").groupby("state", sort=False):
            measured = frame.drop(columns=["query_id", "state", "density_ratio"]).mean().to_dict()
            measured |= {"diameter_median": frame["diameter_q99"].median(), "diameter_high": frame["diameter_q99"].quantile(0.99)}
            measured |= {"density_ratio": frame["density_ratio"].median(), "coverage": coverage}
            rows.append(about | {"state": state} | measured | {"solved_temperature": counts["temperature"]})
    if not rows:
        return pd.DataFrame(columns=keys)
    return pd.DataFrame(rows).groupby(keys, sort=False, dropna=False).mean(numeric_only=True).drop(columns="seed").reset_index()


def group_entropies(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return the mean entropies of every strategy's groups under every teacher, over all seeds; empty without a teacher."""
    from rd_utils.entropy import entropies

    specs: dict[str, tuple[str, str, str, params.ScoresSpec]] = {}
    for cell, _, student in _students(plan):
        if student.teacher:
            spec = params.ScoresSpec(groups=student.groups, teacher=student.teacher)
            specs.setdefault(identity(spec), (cell.collection, _groups_name(cell, student.groups), cell.teacher, spec))
    keys, kinds = ["collection", "strategy", "teacher"], ["pairwise_entropy", "positive_entropy", "listwise_entropy"]
    parts = [
        entropies(pipeline.group_scores(spec))[kinds].assign(collection=collection, strategy=strategy, teacher=teacher)
        for collection, strategy, teacher, spec in specs.values()
    ]
    if not parts:
        return pd.DataFrame(columns=[*keys, *kinds])
    return pd.concat(parts).groupby(keys, sort=False)[kinds].mean().reset_index()


def groups_made(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return how many groups each strategy and seed has, and what was dropped or filled: where these differ, students saw other queries."""
    rows, seen = [], set()
    for cell, seed, student in _students(plan):
        if identity(student.groups) not in seen:
            seen.add(identity(student.groups))
            manifest = pipeline.store.manifest(student.groups)
            about = {"collection": cell.collection, "strategy": _groups_name(cell, student.groups), "seed": seed}
            rows.append(about | manifest["counts"] | manifest["dropped"])
    return pd.DataFrame(rows)


def _students(plan: Plan) -> list[tuple[Any, int, params.StudentSpec]]:
    """Return every cell, seed and student; those that draw anew last, so that groups bear the name of the strategy that they start from."""
    students = [(cell, seed, student) for cell in plan.cells for seed, student in cell.students.items()]
    return sorted(students, key=lambda entry: entry[2].refresh is not None)


def _groups_name(cell: Any, groups: params.GroupsSpec) -> str:
    """Return what a table calls a cell's groups: the strategy, and what else the groups themselves were changed by."""
    parts = [cell.strategy, cell.augmentation if groups.random_share else "", cell.cut if groups.cut else ""]
    return " ".join(part for part in parts if part)


def judged(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return, for each test collection and first stage, the counts of judged and unjudged queries of the first baseline's run."""
    rows = []
    for keys, system in _systems(plan):
        if keys["system"] == "first_stage":
            for spec in plan.evaluations(system, keys["collection"]):
                counts = pipeline.store.manifest(spec)["counts"]
                rows.append({"test_collection": spec.collection.label, "first_stage": spec.first_stage.label} | counts)
    return pd.DataFrame(rows).drop(columns="pairs_scored", errors="ignore").drop_duplicates(ignore_index=True)


def _systems(plan: Plan) -> list[tuple[dict[str, Any], Any]]:
    """Return every row of the study with its keys: baselines first, then the cells seed by seed."""
    rows: list[tuple[dict[str, Any], Any]] = []
    blank = dict.fromkeys(DIMENSIONS, "") | {"augmentation": "none", "cut": "all", "temperature": 1.0, "target_entropy": float("nan")}
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
        label = system.retriever.label if system.kind == "first_stage" else system.kind
        label = names[identity(system.student)] if system.kind == "student" else label
        seed = system.student.seed if system.kind == "student" else getattr(system, "seed", -1)
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
    if collection.source != "embedded":
        raise ValueError(f"the true grades of {collection.label!r} are unknown; only the embedded collection knows them")
    from rd_utils import synthetic

    generated = synthetic.generate(collection.profile, collection.world, collection.seed)
    every = pd.Index(generated.queries[collection.split]["query_id"])
    query_rows, doc_rows = pipeline.group_rows(spec)
    rows = every.get_indexer(pd.Index(pipeline.queries(collection)["query_id"]))
    return generated.grades(collection.split)[rows[query_rows][:, None], doc_rows]


def negative_ranks(pipeline: Pipeline, spec: params.GroupsSpec) -> pd.DataFrame:
    """Return the rank of every negative in the list that its strategy draws from: the query's, or for a graph the positive's.

    Returns:
        Columns query_id, doc_id and rank, counted from 1 over the whole list, known positives included; NaN for a document from elsewhere.

    Raises:
        ValueError: the strategy draws from no list.
    """
    pool = pool_of(spec.strategy, spec.collection)
    if pool is None:
        raise ValueError(f"the strategy {spec.strategy.kind} draws from no ranked list, so its negatives have no ranks")
    run = pipeline.frame(pool, pool.stage).rename(columns={"query_id": "key"})
    run = run.assign(rank=run.groupby("key").cumcount() + 1)
    groups = pipeline.groups(spec)
    key = groups["doc_ids"].str[0] if spec.strategy.kind == "graph" else groups["query_id"]
    negatives = groups.assign(key=key, doc_id=groups["doc_ids"].map(lambda ids: list(ids)[1:])).explode("doc_id")
    negatives = negatives[["query_id", "key", "doc_id"]]
    return negatives.merge(run[["key", "doc_id", "rank"]], how="left", on=["key", "doc_id"]).drop(columns="key")


# --- the study's folder -----------------------------------------------------------------------------------------------------------


def write(plan: Plan, pipeline: Pipeline, tables: dict[str, pd.DataFrame], charts: dict[str, Any]) -> list[Path]:
    """Write a study's tables, charts and report into its folder.

    Args:
        plan: the study.
        pipeline: where its artefacts lie.
        tables: results, per_query, summary, differences and cells (of :func:`costs`); and, where the study has them, across,
            learning_rates, descriptions, entropies, variance (of :func:`two_way`) and strategy_spread.
        charts: Altair charts by name, as the notebook showed them; a name's first word says which section shows it.

    Returns:
        The files written, but for the charts; a table without rows is not written.

    Raises:
        ValueError: a table that every study has is missing.
    """
    from rd_utils import report

    needed = ("results", "per_query", "summary", "differences", "cells")
    if missing := [name for name in needed if name not in tables]:
        raise ValueError(f"tables lacks {', '.join(missing)}; expected {', '.join(needed)} and what else the study has")
    folder = plan.folder
    folder.mkdir(parents=True, exist_ok=True)
    written = {name: table for name, table in tables.items() if len(table) or name in needed}
    for name, table in written.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)
    for name, chart in charts.items():
        report.save_chart(chart, folder / "charts" / _file_name(name))
    page = report.html_report(
        [section for section in _sections(plan, pipeline, written, charts) if section.blocks],
        f"Study {plan.study.name}",
        folder / "report.html",
        study=plan.study.name,
        identity=plan.report_version,
        about=plan.study.question,
    )
    record = {"study": plan.study.name, "report_version": plan.report_version, "parameters": plan.study.model_dump(mode="json")}
    (folder / "study.json").write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
    LOGGER.info("wrote %s", page)
    return [folder / f"{name}.parquet" for name in written] + [page]


def _sections(plan: Plan, pipeline: Pipeline, tables: dict[str, pd.DataFrame], charts: dict[str, Any]) -> list[Any]:
    """Return the report's sections; one without a table or figure is not shown."""
    from rd_utils import report
    from rd_utils.report import Figure, Section, Table

    study, settings = plan.study, plan.study.analysis
    summary, differences = tables["summary"], tables["differences"]
    pairs = list(dict.fromkeys(zip(summary["collection"], summary["test_collection"], strict=True)))

    def figures(start: str, caption: str) -> list[Any]:
        return [Figure(chart, f"{caption} ({name})") for name, chart in charts.items() if name.split()[0] == start]

    def table(name: str, show: Any, caption: str) -> list[Any]:
        return [Table(show(tables[name]), caption)] if name in tables and len(tables[name]) else []

    skipped, shown = differences.attrs.get("skipped", 0), len(differences) <= ROWS_SHOWN
    rates = tables.get("learning_rates", pd.DataFrame(columns=["search", "at_end"]))
    return [
        Section(
            "What was run",
            _what_was_run(plan),
            [
                Table(
                    _mean_over_seeds(groups_made(plan, pipeline)),
                    "Training groups, means over seeds. Where strategies differ in queries, students saw different ones.",
                    digits=1,
                ),
                Table(judged(plan, pipeline), "Test queries: judged ones are averaged over, unjudged ones only counted."),
            ],
        ),
        Section(
            "Learning rates",
            [
                f"Chosen on validation queries, once for each loss and architecture, for all strategies alike: {rates['search'].nunique()} "
                f"searches. In {int(rates['at_end'].sum())} of them the first or the last rate was best, so a better one may lie beyond "
                "it. Neighbouring rates are often equal for all that the validation queries can tell."
            ],
            [
                *figures("rates", "What each rate reached; the large mark is the one taken"),
                *table("learning_rates", lambda frame: report.search_table(frame, study.search.measure), "Every rate that was tried."),
            ],
        ),
        Section(
            "Effectiveness",
            [
                f"Mean and standard deviation over seeds, of means over the judged queries. "
                f"The measure that is compared below is {settings.measure}."
            ],
            [
                *(
                    Table(
                        report.main_table(summary, measures=study.evaluation.measures, collection=train, test_collection=test),
                        f"All systems on {test}" + (f", trained on {train}." if len(pairs) > 1 else "."),
                        highlight=True,
                    )
                    for train, test in pairs
                ),
                *figures("effectiveness", "Means as large marks, seeds as small ones, baselines as lines"),
                *table(
                    "strategy_spread",
                    lambda frame: report.spread_table(frame, settings.measure),
                    "How far the strategies' means lie apart: highest minus lowest, and their standard deviation.",
                ),
            ],
        ),
        Section(
            "Differences",
            [
                "Cells that differ in one thing only, compared query by query on values averaged over seeds. Intervals are Student's t "
                f"over queries at level {settings.level:g}; they do not hold the variance over seeds, and are not corrected. Verdicts rest "
                "on p-values that Holm's method corrects within each family, collection and first stage, so an interval that just excludes "
                "0 may stand beside the verdict undecided.",
                f"{skipped} contrasts were left out because their cells have different seeds.",
                f"Equivalence is TOST with the margin {settings.equivalence_margin:g} that the study's file fixed: both one-sided tests "
                f"must reject at {settings.alpha:g}. The smallest margin is the one that these data could just have proved. Equivalence is "
                "not transitive: read each row by itself.",
                *([] if shown else [f"The {len(differences):,} contrasts are in `differences.parquet`, too many to print."]),
            ],
            [
                *figures("differences", "Differences with intervals; the band is the equivalence margin"),
                *(table("differences", report.differences_table, "Every contrast.") if shown else []),
            ],
        ),
        Section(
            "Across collections",
            [
                "The same contrasts, each collection counting once. What a collection happens to hold moves single cells more than the "
                "seed of their training does, so a conclusion about strategies or losses rests on these means and their t intervals over "
                f"collections at level {settings.level:g}. They are not corrected for their number."
            ],
            [
                *figures("across", "Mean differences over collections with intervals"),
                *table("across", report.across_table, "Every contrast over the collections."),
            ]
            if len(pairs) > 1
            else [],
        ),
        Section(
            "Strategy and entropy as factors",
            [
                "Strategies, crossed with temperatures that fix the teacher's entropy, make a factorial; where each strategy fixes the "
                "diameter of its groups, one of locality and entropy. Its variance splits into what the strategy explains, what the "
                "entropy explains, what only both together explain, and what is left to the seeds. Each effect is tested against the seeds."
            ],
            [
                *figures("surface", "Means over seeds"),
                *table(
                    "variance",
                    lambda frame: report.variance_table(frame[frame["measure"] == settings.measure]),
                    f"Shares of the variance of {settings.measure}, with p-values of F tests.",
                ),
            ],
        ),
        Section(
            "Locality and entropy",
            [
                "How wide the groups of each strategy are in one fixed encoder, and how undecided the teacher is about them, before and "
                "after what augmentation and temperature do. Pairwise, positive and listwise entropy order strategies differently; each "
                "axis and column says which it is."
            ],
            [
                *figures("locality", "Diameter and entropy of the training groups; a line leads from before to after augmentation"),
                *table("descriptions", report.description_table, "Means over groups and seeds; the density ratio is a median."),
                *figures("entropy", "Mean entropies"),
                *table("entropies", lambda frame: frame, "Mean entropies of the teachers over the training groups."),
            ],
        ),
        Section(
            "Cost",
            [
                "What a cell would have paid alone: mining, teacher scores (with the teacher's own training), training (with the search of "
                "its learning rate), evaluation, in CPU seconds of the machine in its manifests. The study itself paid shared parts once."
            ],
            figures("cost", "Effectiveness against cost; the line joins the cells that no cheaper cell reaches"),
        ),
        Section(
            "Training",
            ["A loss that still falls steeply at the end says that the budget, not the recipe, decided."],
            figures("losses", "Training loss by step; each loss has a unit of its own"),
        ),
        Section(
            "Where each number comes from",
            ["A student's identity is the name of its folder; its manifest holds parameters, inputs, versions, cost and checksums."],
            [
                Table(
                    report.cells_table(tables["cells"], manifest="../store/student/{identity}/manifest.json"),
                    "Cells, seeds and manifests.",
                    links=("manifest",),
                )
            ],
        ),
    ]


def _what_was_run(plan: Plan) -> list[str]:
    """Return the paragraphs that say what a study trained, where, and from which first stages."""
    students = [student for cell in plan.cells for student in cell.students.values()]
    names = {cell.name for cell in plan.cells}
    seeds = ", ".join(str(seed) for seed in sorted({student.seed for student in students}))
    collections = plan.study.collections
    where = [f"`{pair.train.label}`, tested on {', '.join(f'`{test.label}`' for test in pair.test)}" for pair in collections]
    stages = dict.fromkeys(stage.label for pair in range(len(collections)) for stage in plan.first_stages(pair))
    varied = [name for name in DIMENSIONS if len({str(getattr(cell, name)) for cell in plan.cells if getattr(cell, name) != ""}) > 1]
    return [
        f"{len(names)} cells with the seeds {seeds} on {len(collections)} training collection{'s' if len(collections) > 1 else ''}: "
        f"{len(students):,} students, trained in groups of {plan.study.group_size} (one positive). "
        + (f"Cells differ in {', '.join(varied).replace('_', ' ')}." if varied else ""),
        "Trained on " + "; on ".join(where) + ".",
        "A seed draws the groups, the initial weights and the order of training, so the spread over seeds holds all three.",
        "First stages: " + ", ".join(f"`{label}`" for label in stages) + ". `full` searches the whole collection and is for retrievers and "
        "bi-encoders; the others re-rank the named candidates. Every list is cut at the first stage's depth.",
    ]


def _mean_over_seeds(groups: pd.DataFrame) -> pd.DataFrame:
    """Return the counts of groups, one row a collection and strategy."""
    return groups.groupby(["collection", "strategy"], sort=False).mean(numeric_only=True).drop(columns="seed").reset_index()


def _file_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


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

    >>> from rd_utils import sampling
    >>> documents = pd.DataFrame({"doc_id": ["d1", "d2", "d3", "d4"], "grade": [1, 1, 0, 0], "x": [1, 1, 0, 0], "y": [0, 0, 1, 1]})
    >>> qrels = pd.DataFrame({"query_id": ["q"], "doc_id": ["d1"], "relevance": [1]})
    >>> options = {"strategy": params.CorpusRandom(), "group_size": 3, "shortage": "drop", "seed": 0, "draws": 20}
    >>> draw_table({"corpus_random": sampling.draw_groups(documents["doc_id"], qrels, **options)}, documents)[["d2", "kappa"]].round(2)
                     d2  kappa
    corpus_random  0.67    1.0
    """
    from rd_utils import locality

    place = pd.Index(documents["doc_id"])
    vectors, relevant = documents.drop(columns=["doc_id", "grade"]).to_numpy(dtype=float), documents["grade"].to_numpy() > 0
    rows = {}
    for name, drawn in draws.items():
        groups = drawn.frame
        doc_rows = place.get_indexer(np.concatenate(groups["doc_ids"].to_list())).reshape(len(groups), -1)
        probability = pd.Series(0.0, index=place.delete(doc_rows[0, 0]))
        for doc_ids, inclusion in zip(groups["doc_ids"], groups["inclusion"], strict=True):
            probability[doc_ids[1:]] = inclusion[1:]
        rows[name] = {"first": " ".join(groups["doc_ids"].iloc[0][1:])} | probability.to_dict()
        rows[name] |= {"kappa": groups["density_ratio"].median(), "diameter": locality.diameters(vectors, doc_rows)["diameter_q99"].mean()}
        rows[name] |= {"false": relevant[doc_rows[:, 1:]].mean()}
    return pd.DataFrame.from_dict(rows, orient="index")

"""What a study's groups, teachers and students are like, from its finished artefacts: searches, curves, locality, entropy, behaviour.

How effective the students are is :mod:`rd_utils.analysis.tables`; what they cost is :mod:`rd_utils.cost.costs`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import numpy as np
import pandas as pd

from rd_utils.analysis import behaviour, correlation, locality
from rd_utils.data.collections import positives
from rd_utils.scoring import entropy
from rd_utils.store import identity
from rd_utils.study import params
from rd_utils.study.graph import docs_of
from rd_utils.study.plan import DIMENSIONS, PLACE, Cell, Plan
from rd_utils.workflow.pipeline import Pipeline


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
    searches: dict[str, tuple[Cell, params.SearchSpec]] = {}
    for cell in plan.cells:
        for student in cell.students.values():
            if (search := params.search_spec(student)) is not None:
                searches.setdefault(identity(search), (cell, search))
    columns = ["architecture", "loss", "search", "learning_rate", plan.study.search.measure if plan.study.search else "value", "chosen"]
    frames = []
    for key, (cell, search) in searches.items():
        frame = pipeline.frame(search, "search").sort_values("learning_rate", ignore_index=True)
        ends = frame.index.isin([0, len(frame) - 1])
        frames.append(frame.assign(architecture=cell.architecture, loss=cell.loss, search=key, at_end=frame["chosen"] & ends))
    return pd.concat(frames, ignore_index=True)[[*columns, "at_end"]] if frames else pd.DataFrame(columns=[*columns, "at_end"])


def descriptions(plan: Plan, pipeline: Pipeline, pilot: int | None = None) -> pd.DataFrame:
    """Return what every cell's groups are like, before and after augmentation and temperature, over groups and seeds.

    All strategies of a collection (and part of its queries) are described on the same queries: those for which every one of them has a
    group. Groups that cells share are described once, under the teacher that measures their entropy, also where a cell learns without one.
    Groups that are drawn anew while a student trains are described as they are at first.

    Args:
        plan: the study.
        pipeline: where its artefacts lie.
        pilot: describe this many training queries only, drawn with seed 0, and in place of ``coverage``, which needs judgements,
            ``retrieved_share``: the share of the documents that the first stage ranks among its 10 best for a test query which the
            negatives contain. A target entropy's temperature is that of the whole study's groups all the same.

    Returns:
        One row a collection, strategy, teacher, augmentation, part of the queries, temperature and state (``before``, ``after``):
        ``n_queries``; means of the diameters (``diameter_q99`` also as median, with its bootstrap interval over the groups of all seeds,
        and as 0.99-quantile) and of the entropies; the median ``density_ratio``, missing where it is not known of every group; and,
        averaged over seeds, ``coverage``: the share of the relevant test documents that the negatives contain, at equal numbers of sampled
        documents within a collection, and ``solved_temperature``. Empty without a ``reference``.
    """
    keys = ["collection", "strategy", "teacher", "augmentation", "cut", "temperature", "target_entropy", "state"]
    teachers = {student.teacher: cell.teacher for cell in plan.cells for student in cell.students.values() if student.teacher}
    described: dict[str, tuple[Cell, params.DescriptionSpec]] = {}
    for cell, _, student in _students(plan):
        if (spec := plan.description(cell, student)) is not None:
            described.setdefault(identity(spec), (cell, spec))
    if not described:
        return pd.DataFrame(columns=keys)
    covered = coverages(plan, pipeline, ((cell.collection, spec.groups) for cell, spec in described.values()), pilot)
    frames = []
    for cell, spec in described.values():
        frame = pipeline.frame(spec, "description")
        frame = frame if pilot is None else frame[frame["query_id"].isin(_pilot(pipeline, spec.groups.collection, pilot))]
        about = {name: getattr(cell, name) for name in ("collection", "strategy", "augmentation", "cut")}
        about |= {"teacher": teachers.get(spec.teacher, "") if spec.teacher else "", "temperature": spec.temperature}
        about["target_entropy"] = np.nan if spec.target_entropy is None else spec.target_entropy
        share = "coverage" if pilot is None else "retrieved_share"
        about |= {share: covered[identity(spec.groups)], "solved_temperature": pipeline.manifest(spec)["counts"]["temperature"]}
        frames.append(frame.assign(**about))
    rows = []
    for place, part in pd.concat(_on_common_queries(frames), ignore_index=True).groupby(keys, sort=False, dropna=False):
        measured = part.drop(columns=[*keys, "query_id", "density_ratio"]).mean().to_dict()
        measured |= {"diameter_median": part["diameter_q99"].median(), "diameter_high": part["diameter_q99"].quantile(0.99)}
        if len(part) > 1:  # one group has no spread
            spread = locality.summarise(part[["diameter_q99"]], seed=0, n_resamples=200).iloc[0]
            measured |= {"diameter_median_low": spread["low"], "diameter_median_high": spread["high"]}
        measured["density_ratio"] = part["density_ratio"].median(skipna=False)
        rows.append(dict(zip(keys, place, strict=True)) | {"n_queries": part["query_id"].nunique()} | measured)
    return pd.DataFrame(rows)


def _on_common_queries(frames: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return frames of one strategy and seed each on the queries that all of the same collection and part of the queries have."""
    common: dict[tuple[str, str], set[str]] = {}
    for frame in frames:
        if len(frame):
            place, here = (frame["collection"].iloc[0], frame["cut"].iloc[0]), set(frame["query_id"])
            common[place] = common.get(place, here) & here
    places = [(frame["collection"].iloc[0], frame["cut"].iloc[0]) if len(frame) else None for frame in frames]
    return [frame[frame["query_id"].isin(common[place])] for frame, place in zip(frames, places, strict=True) if place]


def coverages(
    plan: Plan, pipeline: Pipeline, groups: Iterable[tuple[str, params.GroupsSpec]], pilot: int | None = None
) -> dict[str, float]:
    """Return the share of a collection's relevant test documents (with a pilot: of those retrieved) in the negatives, by groups' identity.

    All groups of a collection are looked at to the same number of sampled documents, that of the smallest of them: coverage grows with it.
    Of groups that are drawn several times only the first draw counts. NaN where no test collection has the same documents.

    Args:
        plan: the study.
        pipeline: where its artefacts lie.
        groups: training collections' labels, each with groups that are drawn from it.
        pilot: as for :func:`descriptions`.
    """
    shares: dict[str, float] = {}
    by_collection: dict[str, dict[str, params.GroupsSpec]] = {}
    for label, spec in groups:
        by_collection.setdefault(label, {})[identity(spec)] = spec
    for label, specs in by_collection.items():
        pair = plan.labels.index(label)
        collections = plan.study.collections[pair]
        same = [test for test in collections.test if docs_of(test) == docs_of(collections.train)]  # other documents may bear the same ids
        negatives = {}
        for key, spec in specs.items():
            frame = pipeline.groups(spec)
            frame = frame[frame["draw"] == 0]
            frame = frame if pilot is None else frame[frame["query_id"].isin(_pilot(pipeline, spec.collection, pilot))]
            negatives[key] = frame["doc_ids"].str[1:]
        sampled = min(int(lists.str.len().sum()) for lists in negatives.values())
        if pilot is None:
            wanted = [set(positives(pipeline.qrels(test))["doc_id"]) for test in same]
        else:
            wanted = [_retrieved(pipeline, test, plan.first_stages(pair)[0]) for test in same]
        for key, lists in negatives.items():
            found = [locality.coverage(lists, documents, sampled=sampled) for documents in wanted] if sampled else []
            shares[key] = float(np.mean(found)) if found else float("nan")
    return shares


def _pilot(pipeline: Pipeline, collection: params.Collection, queries: int) -> set[str]:
    """Return the training queries of a pilot: the same for all strategies."""
    query_ids = pipeline.queries(collection)["query_id"].to_numpy()
    return set(np.random.default_rng(0).permutation(query_ids)[:queries])


def _retrieved(pipeline: Pipeline, test: params.Collection, stage: params.FirstStage) -> set[str]:
    """Return the documents that a first stage ranks among the 10 best for some test query."""
    run = pipeline.candidates(params.CandidatesSpec(collection=test, retriever=stage.retriever, depth=stage.depth))
    return set(run.groupby("query_id", sort=False).head(10)["doc_id"])


def group_entropies(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return the mean entropies of every strategy's groups under every teacher, over all seeds and the queries that all strategies share.

    Returns:
        collection, strategy (with what else its groups were changed by), teacher, n_queries, the three entropies; empty without a teacher.
    """
    specs: dict[str, tuple[Cell, params.ScoresSpec]] = {}
    for cell, _, student in _students(plan):
        if student.teacher:
            spec = params.ScoresSpec(groups=student.groups, teacher=student.teacher)
            specs.setdefault(identity(spec), (cell, spec))
    keys, kinds = ["collection", "strategy", "teacher"], ["pairwise_entropy", "positive_entropy", "listwise_entropy"]
    frames = []
    for cell, spec in specs.values():
        frame = entropy.entropies(pipeline.group_scores(spec))[kinds]
        about = {"collection": cell.collection, "cut": cell.cut, "teacher": cell.teacher, "strategy": _groups_name(cell, spec.groups)}
        frames.append(frame.assign(query_id=pipeline.groups(spec.groups)["query_id"].to_numpy(), **about))
    if not frames:
        return pd.DataFrame(columns=[*keys, "n_queries", *kinds])
    grouped = pd.concat(_on_common_queries(frames)).groupby(keys, sort=False)
    means = grouped[kinds].mean()
    means.insert(0, "n_queries", grouped["query_id"].nunique())
    return means.reset_index()


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


def _students(plan: Plan) -> list[tuple[Cell, int, params.StudentSpec]]:
    """Return every cell, seed and student; those that draw anew last, so that groups bear the name of the strategy that they start from."""
    students = [(cell, seed, student) for cell in plan.cells for seed, student in cell.students.items()]
    return sorted(students, key=lambda entry: entry[2].refresh is not None)


def _groups_name(cell: Cell, groups: params.GroupsSpec) -> str:
    """Return what a table calls a cell's groups: the strategy, and what else the groups themselves were changed by."""
    parts = [cell.strategy, cell.augmentation if groups.random_share else "", cell.cut if groups.cut else ""]
    return " ".join(part for part in parts if part)


def example_groups(plan: Plan, pipeline: Pipeline, queries: int = 150, characters: int = 160) -> pd.DataFrame:
    """Return single groups of every strategy to look at, of the first collection, each strategy's first seed, and the same queries.

    Args:
        plan: the study.
        pipeline: where its artefacts lie.
        queries: how many training queries, drawn with seed 0.
        characters: how much of each text is kept.

    Returns:
        One row a strategy and group, as it is before augmentation: query_id, strategy, diameter_q99, the three entropies, query (text),
        documents (the texts of its first four, the positive first). Empty without a ``reference`` or a teacher.
    """
    seen, parts = set(), []
    for cell, _, student in _students(plan):
        spec = plan.description(cell, student)
        plain = cell.collection == plan.labels[0] and (cell.cut, cell.augmentation) == ("all", "none")
        if not plain or spec is None or spec.teacher is None or cell.strategy in seen:
            continue
        seen.add(cell.strategy)
        collection, groups = spec.groups.collection, pipeline.groups(spec.groups)
        described = pipeline.frame(spec, "description")
        described = described[described["state"] == "before"].reset_index(drop=True)
        keep = groups["query_id"].isin(_pilot(pipeline, collection, queries)).to_numpy()
        texts = {
            name: frame.set_index(key)["text"].str.slice(0, characters)
            for name, key, frame in (("query", "query_id", pipeline.queries(collection)), ("docs", "doc_id", pipeline.docs(collection)))
        }
        columns = ["query_id", "diameter_q99", "pairwise_entropy", "positive_entropy", "listwise_entropy"]
        documents = [" | ".join(texts["docs"].loc[list(ids[:4])]) for ids in groups.loc[keep, "doc_ids"]]
        shown = described.loc[keep, columns].assign(strategy=cell.strategy, documents=documents)
        parts.append(shown.assign(query=shown["query_id"].map(texts["query"])))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["query_id", "strategy"])


# --- students ---------------------------------------------------------------------------------------------------------------------


def behaviours(plan: Plan, pipeline: Pipeline) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what every cell's students are like before and after training, over seeds.

    Diameters, entropies, score shapes and divergences are means over the same queries for all strategies of a collection (and part of its
    queries): those of the probe whose group every cell has, ``n_queries`` of them. Calibration is over the pairs of all groups of the
    cell's own probe.

    Returns:
        Two frames, both empty where the study has no ``probe``.

        - one row a collection, cell, state (``before``, ``after``) and quantity: ``mean`` and ``sd`` over seeds (n - 1). Of a bi-encoder's
          own space: ``diameter_q99`` and ``mean_distance`` of its training groups, ``intrinsic_dimension``, ``log_density`` (both missing
          where the space has collapsed), ``effective_rank``, ``uniformity``, ``alignment``; of the scores: ``student_`` entropies,
          ``score_`` shape (over groups whose scores differ), ``divergence`` from the teacher, ``calibration_`` figures;
        - one row a collection, cell, state and bin (``low``, ``high``) of the student's pair probability: n_pairs, ``mean_student``
          and ``mean_teacher``, over all seeds; bins without pairs are left out.
    """
    specs = []
    for cell, seed, student in _students(plan):
        if (spec := plan.behaviour(cell, student)) is not None:
            specs.append((cell, seed, spec))
    about = ["collection", "cell", *DIMENSIONS, "state"]
    if not specs:
        return pd.DataFrame(columns=[*about, "quantity", "n_queries", "mean", "sd"]), pd.DataFrame(columns=about)
    frames, measured, bins = [], [], []
    for cell, seed, spec in specs:
        keys = {"collection": cell.collection, "cell": cell.name} | {name: getattr(cell, name) for name in DIMENSIONS}
        frames.append(pipeline.frame(spec, "groups").assign(**keys, seed=seed))
        measured.append(pipeline.frame(spec, "summary").assign(**keys, seed=seed))
        if spec.teacher is not None and len(frames[-1]):
            renamed = {"student": "mean_student", "teacher": "mean_teacher"}
            bins.append(pipeline.frame(spec, "calibration").rename(columns=renamed).assign(**keys))
    groups = pd.concat(_on_common_queries(frames) or frames[:1], ignore_index=True)
    by_seed = groups.groupby([*about, "seed"], sort=False, dropna=False)
    n_queries = by_seed["query_id"].nunique().groupby(level=about, sort=False, dropna=False).min()
    means = cast(pd.Series, by_seed.mean(numeric_only=True).rename_axis(columns="quantity").stack(future_stack=True))
    measured.append(means.rename("value").dropna().reset_index())  # without what a cross-encoder has not
    table = pd.concat(measured, ignore_index=True).groupby([*about, "quantity"], sort=False, dropna=False)["value"]
    table = table.agg(mean="mean", sd="std").reset_index()
    table = table.merge(n_queries.rename("n_queries").reset_index(), on=about, how="left")
    if not bins:
        return table, pd.DataFrame(columns=about)
    pairs = pd.concat(bins, ignore_index=True)
    return table, pooled_bins(pairs[pairs["n_pairs"] > 0], about)


def pooled_bins(bins: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Pool bins of pairs: the pairs of each bin together, and their mean probabilities.

    Args:
        bins: ``low``, ``high``, ``n_pairs`` (above 0), ``mean_student``, ``mean_teacher``, and the columns of ``by``.
        by: what is not pooled over.
    """
    means = ["mean_student", "mean_teacher"]
    sums = bins.assign(**{name: bins[name] * bins["n_pairs"] for name in means})
    sums = sums.groupby([*by, "low", "high"], sort=False, dropna=False)[["n_pairs", *means]].sum().reset_index()
    return sums.assign(**{name: sums[name] / sums["n_pairs"] for name in means})


def by_query(plan: Plan, pipeline: Pipeline) -> pd.DataFrame:
    """Return, for every cell and test query that is re-ranked, what the teacher and the student make of its candidates.

    Returns:
        One row a collection, test collection, first stage, cell and query, averaged over seeds: ``value`` (of the compared measure), the
        ``reference_teacher`` (the first that the study's baselines evaluate), its ``pairwise_entropy`` and ``listwise_entropy`` over the
        candidates, and ``divergence``: KL(softmax(teacher / T) || softmax(student)) over them in nats, with the cell's own temperature
        where it learns from this teacher, and 1 otherwise. Queries with fewer than two candidates are left out. Empty without such a
        teacher.
    """
    columns = [*PLACE, "cell", *DIMENSIONS, "reference_teacher", "query_id"]
    measured = ["value", "pairwise_entropy", "listwise_entropy", "divergence"]
    rows = []
    for pair, label in enumerate(plan.labels):
        teacher = next((row for row in plan.baselines if row.pair == pair and row.system == "teacher"), None)
        if teacher is None:
            continue
        stages = plan.evaluations(next(iter(teacher.systems.values())), label)
        judged = {_place(spec): _Candidates(pipeline, spec) for spec in stages if spec.first_stage.kind == "rerank"}
        for cell in (cell for cell in plan.cells if cell.collection == label):
            for student in cell.students.values():
                own_teacher = cell.teacher == teacher.teacher
                temperature = pipeline.store.manifest(student)["counts"]["temperature"] if own_teacher else 1.0
                for spec in plan.evaluations(params.StudentSystem(student=student), label):
                    if _place(spec) not in judged:
                        continue
                    values = pipeline.frame(spec, "per_query")
                    values = values[values["measure"] == plan.study.analysis.measure].set_index("query_id")["value"]
                    own = judged[_place(spec)].beside(pipeline, spec, temperature).join(values, how="inner")
                    about = {"collection": label, "test_collection": spec.collection.label, "first_stage": spec.first_stage.label}
                    about |= {"cell": cell.name, "reference_teacher": teacher.teacher} | {name: getattr(cell, name) for name in DIMENSIONS}
                    rows.append(own.rename_axis("query_id").reset_index().assign(**about))
    if not rows:
        return pd.DataFrame(columns=[*columns, *measured])
    return pd.concat(rows, ignore_index=True).groupby(columns, sort=False, dropna=False)[measured].mean().reset_index()


class _Candidates:
    """A teacher's scores of the candidates of one test collection and first stage, by which students' scores of the same are measured."""

    def __init__(self, pipeline: Pipeline, spec: params.EvaluationSpec) -> None:
        self.run = self._sorted(pipeline, spec)
        sizes = self.run.groupby("query_id", sort=False).size()
        starts = sizes.cumsum() - sizes
        self.blocks = [  # of queries with equally many candidates: their ids, and the places of their candidates in the run
            (sizes.index[sizes == size], starts[sizes == size].to_numpy()[:, None] + np.arange(size))
            for size in sorted(set(sizes[sizes > 1]))
        ]
        scores = self.run["score"].to_numpy()
        kinds = {"pairwise_entropy": entropy.pairwise_entropy, "listwise_entropy": entropy.listwise_entropy}
        self.entropies = pd.concat(
            pd.DataFrame({name: measure(scores[at]) for name, measure in kinds.items()}, index=ids) for ids, at in self.blocks
        )

    def beside(self, pipeline: Pipeline, spec: params.EvaluationSpec, temperature: float) -> pd.DataFrame:
        """Return the teacher's entropies and its divergence from a student, by query.

        Raises:
            ValueError: the student ranked other candidates.
        """
        run = self._sorted(pipeline, spec)
        keys = ["query_id", "doc_id"]
        if len(run) != len(self.run) or (run[keys].to_numpy() != self.run[keys].to_numpy()).any():
            raise ValueError(f"{_place(spec)}: a student and the teacher ranked other candidates; evaluate both on the same first stage")
        taught, scores = self.run["score"].to_numpy(), run["score"].to_numpy()
        found = [pd.Series(behaviour.divergence(taught[at], scores[at], temperature), index=ids) for ids, at in self.blocks]
        return self.entropies.assign(divergence=pd.concat(found))

    @staticmethod
    def _sorted(pipeline: Pipeline, spec: params.EvaluationSpec) -> pd.DataFrame:
        return pipeline.ranked(spec).sort_values(["query_id", "doc_id"], ignore_index=True)


def relations(by_query: pd.DataFrame, level: float, n_resamples: int = 500) -> pd.DataFrame:
    """Correlate effectiveness over queries with what the teacher and the student make of the candidates, cell by cell.

    Args:
        by_query: of :func:`by_query`; cells with an augmentation, a cut or a dialled temperature are left out.
        level: of the bootstrap intervals.
        n_resamples: how often queries are drawn.

    Returns:
        As ``analysis.correlation.correlations``, by training and test collection, first stage, architecture, loss, teacher and strategy.
    """
    by = [*PLACE, "architecture", "loss", "teacher", "strategy", "reference_teacher"]
    of = ["pairwise_entropy", "listwise_entropy", "divergence"]
    undialled = by_query["target_entropy"].isna() & (by_query["temperature"] == 1)
    plain = by_query[(by_query["augmentation"] == "none") & (by_query["cut"] == "all") & undialled]
    if plain.empty:
        return pd.DataFrame(columns=[*by, "x", "y", "n", "spearman", "low", "high", "p", "pearson", "note"])
    return correlation.correlations(plain, of, ["value"], seed=0, n_resamples=n_resamples, level=level, by=by)


def _place(spec: params.EvaluationSpec) -> str:
    return f"{spec.collection.label} {spec.first_stage.label}"

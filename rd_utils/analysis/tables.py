"""A study's tables, from its finished artefacts: results, measures per query, summary over seeds, paired differences, cost.

Everything that an analysis notebook shows starts here; nothing is parsed from a file name, and a missing artefact is an error.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from rd_utils import params, studies
from rd_utils.analysis import crossed, stats
from rd_utils.analysis.questions import contrasts
from rd_utils.pipeline import Pipeline
from rd_utils.plan import DIMENSIONS, PLACE, Plan
from rd_utils.sampling import Groups
from rd_utils.store import identity

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


def differences(per_query: pd.DataFrame, settings: studies.AnalysisSettings) -> pd.DataFrame:
    """Compare cells with each other and with the baselines, over queries and seeds.

    Families of contrasts between cells that differ in one thing only:

    - ``strategy``: every strategy against ``settings.baseline_strategy``;
    - ``loss``: every distillation loss against LCE, which has no teacher and no temperature;
    - ``augmentation`` against none, ``cut``: every part of the queries against all of them, ``teacher`` against the study's first,
      ``temperature`` against 1;
    - ``strategy x loss``: what a strategy gains over the baseline strategy under a loss, minus what it gains under LCE; ``mean_b`` and
      ``mean_a`` are the two gains, ``cell_after`` the cell with both, ``cell_before`` the one with neither;

    and of every cell against rows that the grid does not train: ``first stage`` (such as BM25), ``untrained`` (itself before its first
    step), ``against teacher`` (its teacher, or the study's first where it learns without).

    Returns:
        One row a contrast, test collection and first stage: the fields of :class:`rd_utils.analysis.crossed.Contrast`; ``p_holm``,
        ``p_equivalence_holm`` and ``p_queries_holm``, corrected by Holm over each family within a test collection and first stage; and
        ``verdict``, which rests on the first two (different below ``settings.alpha``; equivalent by TOST at the study's margin).
        ``equivalent_<m>`` says the same of each of ``settings.margins_shown``, each margin a family of its own. ``verdict_queries`` is what
        the query-only tests say of these very students. ``p_randomisation`` (sign flips over queries) and ``seed_differences``, the mean
        difference seed by seed, stand beside. Cells whose seeds differ are not compared; ``attrs["skipped"]`` counts them. Empty where a
        study has nothing to contrast.

        ``fragile``: the verdict would not survive another reasonable look. The students at hand are different or equivalent by
        ``verdict_queries``, but other seeds may not be (the crossed test does not say so); or ``verdict`` says different, but
        ``p_randomisation`` is not below ``alpha``.
    """
    measured = at(per_query, measure=settings.measure)
    trained = at(measured, system="student")
    cells = trained.drop_duplicates("cell").set_index("cell")[DIMENSIONS]
    margins = crossed.margin_columns(settings.margins_shown)
    rows, skipped = [], 0
    for place, here in measured.groupby(PLACE, sort=False):
        values = {name: by_seed(part) for name, part in here.groupby("cell", sort=False)}
        pairs = {}  # (family, contrast, cell before, cell after) -> the values of both ends
        for family, before, after, label in [*contrasts(cells, settings.baseline_strategy), *_against_baselines(cells, here)]:
            if before in values and after in values:
                first = _beside(values[before], values[after], baseline=before not in cells.index)
                if first is None:
                    skipped += 1
                else:
                    pairs[family, label, before, after] = first, values[after]
        for label, corner, after, gains in _interactions(cells, settings.baseline_strategy):
            if all(name in values for name in gains) and len({tuple(values[name].columns) for name in gains}) == 1:
                less, more = (values[gains[end + 1]] - values[gains[end]] for end in (0, 2))
                pairs["strategy x loss", label, corner, after] = less, more
        pooled = _pooled(pairs, cells)
        where = dict(zip(PLACE, place, strict=True)) | {"measure": settings.measure}
        rows += [where | _row(key, cells, *ends, pooled.get(key), settings, margins) for key, ends in pairs.items()]
    if not rows:
        names = [*PLACE, "measure", "family", "contrast", *DIMENSIONS, "cell_before", "cell_after", "equivalence_margin"]
        names += [*crossed.Contrast._fields, "p_homogeneous", "p_randomisation", "seed_differences", *margins, *crossed.DECIDED, "fragile"]
        table = pd.DataFrame(columns=names)
    else:
        table = crossed.decide(pd.DataFrame(rows), [*PLACE, "family"], alpha=settings.alpha, margins=margins)
        denied = (table["verdict_queries"] != "undecided") & (table["verdict"].map(crossed.verdict_word) != table["verdict_queries"])
        table["fragile"] = denied | (table["different"] & (table["p_randomisation"] >= settings.alpha))
    table.attrs["skipped"] = skipped
    return table


def by_seed(values: pd.DataFrame) -> pd.DataFrame:
    """Lay out one system's values of one measure: a row a query, indexed by (test_collection, query_id), a column a seed.

    Raises:
        ValueError: a query has two values of one seed, or lacks a seed.
    """
    stats.seed_mean(values[["test_collection", "query_id", "seed", "value"]])  # checks that the table is complete
    return values.pivot(index=["test_collection", "query_id"], columns="seed", values="value")


def _beside(before: pd.DataFrame, after: pd.DataFrame, baseline: bool) -> pd.DataFrame | None:
    """Return the first system's values with the seeds of the second; None where it has others.

    A baseline may have one column, which stands beside every seed, or more seeds than a cell, for the sake of other cells.
    """
    if list(before.columns) == list(after.columns) or baseline and before.shape[1] == 1:
        return before
    return before[after.columns] if baseline and set(after.columns) <= set(before.columns) else None


def _pooled(pairs: dict[Any, Any], cells: pd.DataFrame) -> dict[Any, crossed.Pooled | None]:
    """Return what the contrasts of one place know together about seeds: those of all strategies, everything else equal.

    Contrasts with two baselines are two groups: one cell's seeds, counted twice, would know no more.
    """
    groups: dict[Any, list[Any]] = {}
    others = [name for name in DIMENSIONS if name != "strategy"]
    shared = {row[0]: row[1:] for row in cells[others].fillna({"target_entropy": 0.0}).itertuples(name=None)}
    for key, (_, values) in pairs.items():
        family, _, before, after = key
        baseline = "" if before in cells.index else before
        groups.setdefault((family, baseline, shared[after], tuple(values.columns)), []).append(key)
    found: dict[Any, crossed.Pooled | None] = {}
    for (family, *_), keys in groups.items():
        means = [[end.mean(axis=0).to_numpy() for end in pairs[key]] for key in keys]
        if family == "strategy":  # all against one: the baseline is a system like the others
            together = crossed.pooled_between(np.stack([means[0][0], *(after for _, after in means)]))
        else:
            together = crossed.pooled_over(np.stack([after - before for before, after in means]))
        found |= dict.fromkeys(keys, together)
    return found


def _row(
    key: tuple[str, str, str, str],
    cells: pd.DataFrame,
    a: pd.DataFrame,
    b: pd.DataFrame,
    pooled: crossed.Pooled | None,
    settings: studies.AnalysisSettings,
    margins: dict[str, float],
) -> dict[str, Any]:
    """Return one contrast with its p-values, until Holm has seen them."""
    family, label, before, after = key
    margin, (values_a, values_b) = settings.equivalence_margin, crossed.aligned(a, b)
    found, estimated = crossed.said_of(values_a, values_b, settings.level, margin, settings.alpha, pooled)
    delta = values_b - values_a
    return (
        {"family": family, "contrast": label}
        | cells.loc[after].to_dict()
        | {"cell_before": before, "cell_after": after, "equivalence_margin": margin}
        | found._asdict()
        | {"p_homogeneous": math.nan if pooled is None else pooled.p_homogeneous}
        | {"p_randomisation": stats.randomisation_test(delta.mean(axis=1), seed=0), "seed_differences": delta.mean(axis=0).tolist()}
        | {name: estimated.p_equivalence(further) for name, further in margins.items()}
    )


def seed_against_seed(per_query: pd.DataFrame, settings: studies.AnalysisSettings) -> pd.DataFrame:
    """Ask of each architecture how often a test calls one and the same recipe different from itself.

    ``queries only``: the paired t test over queries between every two seeds of a cell. ``queries and seeds``: the crossed test
    (:func:`crossed.crossed_apart`) between two halves of a cell's seeds, in every way to halve them; with three seeds, one
    against two. All at ``settings.alpha``, uncorrected: of an honest test this share is different, or fewer.

    Returns:
        One row a place, architecture and test: ``n_seeds`` (most of a cell), ``n_comparisons``, ``n_different`` and ``share``. Cells of one
        seed, and for ``queries and seeds`` of two, have nothing to compare.
    """
    trained = at(per_query, system="student", measure=settings.measure)
    keys = [*PLACE, "architecture"]
    counts: dict[tuple[Any, ...], list[int]] = {}
    for (*place, _), part in trained.groupby([*keys, "cell"], sort=False):
        values = by_seed(part).to_numpy(dtype=float).T
        pairs = itertools.combinations(range(len(values)), 2)
        alone = [crossed.crossed(values[[b]] - values[[a]]) for a, b in pairs]
        halves = [crossed.crossed_apart(values[list(a)], values[list(b)]) for a, b in _halves(len(values))]
        for test, found in (("queries only", alone), ("queries and seeds", halves)):
            if found:
                count = counts.setdefault((*place, test), [0, 0, 0])
                different = sum(each.p_difference() < settings.alpha for each in found)
                counts[*place, test] = [max(count[0], len(values)), count[1] + len(found), count[2] + different]
    names = ["n_seeds", "n_comparisons", "n_different"]
    table = pd.DataFrame([[*key, *count] for key, count in counts.items()], columns=[*keys, "test", *names])
    return table.assign(share=table["n_different"] / table["n_comparisons"])


def _halves(n_seeds: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return every way to split seeds in two halves, each once; with an odd number the first half is smaller.

    >>> _halves(3), len(_halves(4))
    ([((0,), (1, 2)), ((1,), (0, 2)), ((2,), (0, 1))], 3)
    """
    if n_seeds < 3:
        return []
    splits = [(part, tuple(s for s in range(n_seeds) if s not in part)) for part in itertools.combinations(range(n_seeds), n_seeds // 2)]
    return [split for split in splits if n_seeds % 2 or split[0] < split[1]]


def matrices(per_query: pd.DataFrame, settings: studies.AnalysisSettings) -> pd.DataFrame:
    """Compare every pair of strategies, everything else equal: who is equivalent to whom, which no comparison with one baseline says.

    Returns:
        The columns of :func:`crossed.pairwise` with the strategies as ``system_a``, ``system_b``, corrected over the pairs of one
        matrix; ``letters_a`` and ``letters_b``, the cliques of strategies that are all equivalent to each other; and what the matrix is of:
        training and test collection, first stage, measure, and every dimension but the strategy. Matrices have at least three strategies
        with the same seeds; those with other seeds are left out of one. ``attrs["left_out"]`` names them, each with its place: all of a
        place where no three have the same seeds.
    """
    trained = at(per_query, system="student", measure=settings.measure)
    keys = [*PLACE, "measure", *(name for name in DIMENSIONS if name != "strategy")]
    told = [name for name in keys if name in keys[:3] or trained[name].nunique(dropna=False) > 1]
    tables, left_out = [], []
    for place, part in trained.groupby(keys, sort=False, dropna=False):
        seeds = part.groupby("strategy", sort=False)["seed"].agg(lambda values: tuple(sorted(set(values))))
        if len(seeds) < 3:
            continue
        alike = [name for name in seeds.index if seeds[name] == seeds.mode().iloc[0]]
        alike = alike if len(alike) > 2 else []
        values = dict(zip(keys, place, strict=True))
        where = ", ".join(str(values[name]) for name in told if values[name] != "" and not pd.isna(values[name]))
        left_out += [f"{name} ({where})" for name in seeds.index if name not in alike]
        if not alike:
            continue
        found = crossed.pairwise(
            {name: by_seed(part[part["strategy"] == name]) for name in alike},
            level=settings.level,
            equivalence_margin=settings.equivalence_margin,
            alpha=settings.alpha,
            margins=settings.margins_shown,
        )
        pairs = found.loc[found["equivalent"], ["system_a", "system_b"]].itertuples(index=False, name=None)
        letters = stats.cliques(alike, pairs)
        found = found.assign(letters_a=found["system_a"].map(letters), letters_b=found["system_b"].map(letters))
        tables.append(found.assign(**dict(zip(keys, place, strict=True))))
    columns = [*keys, "system_a", "system_b", "difference", "verdict", "letters_a", "letters_b"]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    table.attrs["left_out"] = left_out
    return table


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


def _against_baselines(cells: pd.DataFrame, here: pd.DataFrame) -> list[tuple[str, str, str, str]]:
    """Return (family, baseline, cell, label) of every cell against what its place has of baselines.

    Args:
        cells: as for :func:`rd_utils.analysis.questions.contrasts`.
        here: the values of one place, of one measure, baselines included.
    """
    rows = here.loc[here["system"] != "student", ["cell", "system", "teacher", "architecture"]].drop_duplicates()
    teachers = rows.loc[rows["system"] == "teacher", "teacher"].tolist()
    first = next((teacher for teacher in dict.fromkeys(cells["teacher"]) if teacher in teachers), "")
    found = []
    for row in rows.itertuples(index=False):
        for cell, own in cells.iterrows():
            if row.system == "first_stage":
                found.append(("first stage", row.cell, cell, f"trained - {row.cell}"))
            elif row.system == "untrained" and row.architecture == own["architecture"]:
                found.append(("untrained", row.cell, cell, "trained - untrained"))
            elif row.system == "teacher" and row.teacher == (own["teacher"] or first):
                found.append(("against teacher", row.cell, cell, f"trained - {row.cell}"))
    return found


def _interactions(cells: pd.DataFrame, baseline: str) -> list[tuple[str, str, str, tuple[str, str, str, str]]]:
    """Return (label, corner, cell, four cells) of every strategy and loss that have both a baseline strategy and LCE beside them.

    The four cells are the baseline strategy and the strategy under LCE, then the same under the loss.
    """
    pairs = contrasts(cells, baseline)
    plain = {after: before for family, before, after, _ in pairs if family == "strategy"}
    lce = {after: before for family, before, after, _ in pairs if family == "loss"}
    said = {(family, after): label for family, _, after, label in pairs}
    found = []
    for after in cells.index:
        if after in plain and after in lce and plain.get(lce[after]) == lce.get(plain[after], ""):
            corner = plain[lce[after]]
            label = f"{said['strategy', after]}, {said['loss', after]}"
            found.append((label, corner, after, (corner, lce[after], plain[after], after)))
    return found


def across(differences: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Return each contrast over the collections of a study: what a conclusion rests on where a collection's own seed moves single cells.

    A collection counts once, however many queries it has. Collections and seeds both vary: where every collection has the same seeds the
    interval is that of :class:`crossed.Crossed` with the collections in the place of the queries; with one seed it is Student's,
    ``mean +- t((1 + level) / 2, n - 1) * sd / sqrt(n)``, and about these students only.

    Args:
        differences: of :func:`differences`; each pair of a training and a test collection counts as one collection, so pairs that share
            one are not independent of each other.
        level: of the interval.

    Returns:
        One row a contrast and first stage: ``n_collections``, ``n_seeds``, ``mean`` and ``sd`` of the differences over collections, the
        interval ``low``, ``high`` (NaN with one collection), ``n_positive``, and how many of the collections' verdicts call it
        ``different`` and ``equivalent``.

    >>> one = {"first_stage": "full", "measure": "AP", "family": "strategy", "contrast": "bm25 - random"} | dict.fromkeys(DIMENSIONS, "")
    >>> one |= {"different": True, "equivalent": False}
    >>> rows = [one | {"difference": value, "seed_differences": [value]} for value in (0.01, 0.02, 0.03)]
    >>> table = across(pd.DataFrame(rows))
    >>> table[["n_collections", "mean", "low", "high", "n_positive"]].round(4).values.tolist()
    [[3.0, 0.02, -0.0048, 0.0448, 3.0]]
    """
    keys = ["first_stage", "measure", "family", "contrast", *DIMENSIONS]
    columns = ["n_collections", "n_seeds", "mean", "sd", "n_positive", "different", "equivalent", "low", "high"]
    rows = []
    for place, part in differences.groupby(keys, sort=False, dropna=False) if len(differences) else ():
        lengths = {len(each) for each in part["seed_differences"]}
        n_seeds = lengths.pop() if len(lengths) == 1 else 1
        by_collection = part["seed_differences"].to_list() if n_seeds > 1 else part[["difference"]].to_numpy()
        low = high = math.nan
        if len(part) > 1:
            low, high = crossed.crossed(np.array(by_collection, dtype=float).T).interval(level)
        found = [len(part), n_seeds, part["difference"].mean(), part["difference"].std(), int((part["difference"] > 0).sum())]
        rows.append([*place, *found, int(part["different"].sum()), int(part["equivalent"].sum()), low, high])
    return pd.DataFrame(rows, columns=[*keys, *columns])


def factorials(per_query: pd.DataFrame, settings: studies.AnalysisSettings) -> pd.DataFrame:
    """Return :func:`two_way` of every factorial of strategy and target entropy, with intervals; cells that make none are left out.

    A factorial has at least two strategies, two target entropies and two seeds. The intervals are of the shares of the compared measure,
    over test queries (the jackknife, the same queries for all cells), with the trained students as they are; how other seeds would change
    the effects is in the F test, whose error is what seeds change from cell to cell.

    Returns:
        As :func:`two_way`, with ``low`` and ``high`` of ``share``, and ``p_holm``: the p-values of rows, columns and interaction, corrected
        by Holm over those of all factorials here (all three NaN for other measures). ``attrs["incomplete"]`` counts the sets of cells that
        have two strategies and two target entropies, but lack a cell or a seed of a factorial. An empty frame says that there is none.
    """
    factors = ["strategy", "target_entropy"]
    about = [*PLACE, "measure", *(name for name in DIMENSIONS if name not in factors)]
    dialled = per_query[(per_query["system"] == "student") & per_query["target_entropy"].notna()]
    found, incomplete = _complete(dialled, about, seeds=2)
    parts = []
    for part in found:
        effects = two_way(results(part), *factors)
        if part["measure"].iloc[0] == settings.measure:
            low, high = _share_interval(part, *factors, settings.level)
            effects = effects.assign(low=low, high=high)
        parts.append(effects)
    empty = pd.DataFrame(columns=[*about, "source", "df", "share", "F", "p", "low", "high", "p_holm"])
    table = pd.concat([empty, *parts], ignore_index=True) if parts else empty
    tested = (table["measure"] == settings.measure) & table["p"].notna()
    table.loc[tested, "p_holm"] = stats.holm(table.loc[tested, "p"])
    table = table.astype({"p_holm": float})
    table.attrs["incomplete"] = incomplete
    return table


def _complete(dialled: pd.DataFrame, about: list[str], seeds: int) -> tuple[list[pd.DataFrame], int]:
    """Return the rows of every factorial of strategy and target entropy, and how many sets of trained cells fall short of one.

    A factorial crosses at least two strategies with at least two target entropies, each with the same seeds, so many at least.

    Args:
        dialled: rows of trained cells with a target entropy.
        about: the columns that tell factorials apart; a set of cells that falls short on several test collections, first stages or
            measures counts once.
        seeds: how many a factorial needs.
    """
    factors = ["strategy", "target_entropy", "seed"]
    own = [place for place, name in enumerate(about) if name not in ("test_collection", "first_stage", "measure")]
    found, short = [], set()
    for place, part in dialled.groupby(about, sort=False, dropna=False):
        sizes = [part[name].nunique() for name in factors]
        if min(sizes[:2]) < 2:
            continue
        if sizes[2] >= seeds and len(part[factors].drop_duplicates()) == math.prod(sizes):
            found.append(part)
        else:
            short.add(tuple(place[each] for each in own))
    return found, len(short)


def _share_interval(part: pd.DataFrame, rows: str, columns: str, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of the five shares of a factorial: Student's t with the jackknife's standard error over queries, cut at 0 and 1.

    A bootstrap would not do: the noise that resampling adds lifts small shares, so that its interval lies above the estimate.
    Source: J. W. Tukey, Annals of Mathematical Statistics 29, 1958.
    """
    cube = _query_cube(part, rows, columns)
    n_queries = cube.shape[-1]
    if n_queries < 2:
        return np.full(5, np.nan), np.full(5, np.nan)

    def shares(means: np.ndarray) -> np.ndarray:
        return np.array([effect["share"] for effect in _effects(means, rows, columns)])

    total = cube.sum(axis=-1)
    without = np.array([shares((total - cube[..., place]) / (n_queries - 1)) for place in range(n_queries)])
    error = np.sqrt((n_queries - 1) / n_queries * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    half, share = t.ppf((1 + level) / 2, n_queries - 1) * error, shares(total / n_queries)
    return np.clip(share - half, 0, 1), np.clip(share + half, 0, 1)


def _query_cube(part: pd.DataFrame, rows: str, columns: str) -> np.ndarray:
    """Return the values of a factorial, (rows, columns, seeds, queries)."""
    names = [list(dict.fromkeys(part[name])) for name in (rows, columns, "seed", "query_id")]
    values = part.set_index([rows, columns, "seed", "query_id"])["value"].reindex(pd.MultiIndex.from_product(names))
    if values.isna().any():
        raise ValueError(f"a factorial lacks a value, the first for {values.index[values.isna()][0]}; evaluate every query of every cell")
    return values.to_numpy(dtype=float).reshape([len(each) for each in names])


def surfaces(per_query: pd.DataFrame, settings: studies.AnalysisSettings, n_resamples: int = 2000) -> pd.DataFrame:
    """Return the response surface of every factorial of strategy and target entropy, with what its means are sure of.

    Returns:
        One row a factorial, strategy and target entropy: ``mean`` of the compared measure over seeds and queries, its hierarchical
        bootstrap interval ``low``, ``high`` over both, and ``optimal``: the share of the resamples in which this entropy was the best of
        its strategy's. One entropy with a share near 1 is a known optimum; several with similar shares are a plateau.
        ``attrs["incomplete"]`` counts the sets of cells that have two strategies and two target entropies, but lack a cell or a seed.
    """
    about = [*PLACE, *(name for name in DIMENSIONS if name not in ("strategy", "target_entropy"))]
    trained = at(per_query, system="student", measure=settings.measure)
    dialled = trained[trained["target_entropy"].notna()]
    found, incomplete = _complete(dialled, about, seeds=1)
    tables = []
    for part in found:
        cube = _query_cube(part, "strategy", "target_entropy")
        rng, (_, n_columns, n_seeds, n_queries) = np.random.default_rng(0), cube.shape
        seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=n_resamples) / n_seeds
        queries = rng.multinomial(n_queries, np.full(n_queries, 1 / n_queries), size=n_resamples) / n_queries
        means = np.einsum("rcsb,bs->brc", cube @ queries.T, seeds)
        best = np.eye(n_columns)[means.argmax(axis=2)].mean(axis=0)
        low, high = np.quantile(means, [(1 - settings.level) / 2, (1 + settings.level) / 2], axis=0)
        names = pd.MultiIndex.from_product([dict.fromkeys(part[name]) for name in ("strategy", "target_entropy")])
        columns = {"mean": cube.mean(axis=(2, 3)), "low": low, "high": high, "optimal": best}
        table = pd.DataFrame({name: values.ravel() for name, values in columns.items()}, index=names)
        table = table.rename_axis(["strategy", "target_entropy"])
        tables.append(table.reset_index().assign(**part[about].iloc[0].to_dict()))
    columns = ["strategy", "target_entropy", "mean", "low", "high", "optimal", *about]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    table.attrs["incomplete"] = incomplete
    return table


def optima(surfaces: pd.DataFrame) -> pd.DataFrame:
    """Lay out, strategy by strategy, how often each target entropy was the best; nothing is averaged.

    Args:
        surfaces: of :func:`surfaces`.

    Returns:
        ``optimal``, one column a target entropy, ascending; one row a strategy, of every training and test collection, first stage and
        dimension that has several values: the index, with the strategy last. NaN where a surface has no such entropy.

    Raises:
        ValueError: a strategy and target entropy of one surface stand twice.

    >>> rows = [("kl", "bm25", 0.3, 0.9), ("kl", "bm25", 0.6, 0.1), ("ranknet", "bm25", 0.3, 0.2), ("ranknet", "bm25", 0.6, 0.8)]
    >>> table = optima(pd.DataFrame(rows, columns=["loss", "strategy", "target_entropy", "optimal"]).assign(teacher="t"))
    >>> table.to_dict("index")
    {('kl', 'bm25'): {0.3: 0.9, 0.6: 0.1}, ('ranknet', 'bm25'): {0.3: 0.2, 0.6: 0.8}}
    """
    own = (*PLACE, *(name for name in DIMENSIONS if name not in ("strategy", "target_entropy")))
    keys = [name for name in own if name in surfaces and surfaces[name].nunique(dropna=False) > 1] + ["strategy"]
    entries = surfaces.set_index([*keys, "target_entropy"])["optimal"]
    if entries.index.has_duplicates:
        twice = entries.index[entries.index.duplicated()]
        first = twice.to_frame().iloc[0].to_dict()
        raise ValueError(f"{len(twice)} entries of surfaces stand twice, the first is {first}; give each surface once")
    rows = entries.index.droplevel("target_entropy").drop_duplicates()
    return entries.unstack("target_entropy").reindex(rows)


def options(results: pd.DataFrame, descriptions: pd.DataFrame, costs: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return what :mod:`rd_utils.advice` chooses from: every cell with what was known of its groups before training.

    Args:
        results: of :func:`results`.
        descriptions: of :func:`rd_utils.analysis.characteristics.descriptions`, on a pilot where advice is to rest on one.
        costs: of :func:`rd_utils.costs.costs`.
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


def two_way(results: pd.DataFrame, rows: str = "strategy", columns: str = "target_entropy") -> pd.DataFrame:
    """Split the variance of a balanced factorial, with seeds as blocks: two effects, their interaction, the seeds, and the rest.

    A seed draws the same initial weights and order for every cell, so that the values of one seed rise and fall together: seeds are blocks,
    not replicates. With y_rcs the value of row r, column c and seed s, and a dot where a mean is taken,

    ``SS = SS_rows + SS_columns + SS_interaction + SS_seeds + SS_residual``,

    ``SS_seeds = RC sum over s of (y_..s - y_...)^2``, ``SS_residual = sum of (y_rcs - y_rc. - y_..s + y_...)^2``; the residual, what a seed
    changes in one cell more than in the others, has ``(RC - 1)(S - 1)`` degrees of freedom, and ``F = MS_effect / MS_residual``.

    Args:
        results: of :func:`results`; cells without a value of ``rows`` or ``columns`` (such as LCE, which has no target entropy) are no part
            of the factorial.
        rows: a dimension.
        columns: another.

    Returns:
        Five rows a factorial: ``source`` (``rows``, ``columns``, ``interaction``, ``seeds``, ``residual``), ``df``, ``sum_of_squares``,
        ``share`` (of the total; the five sum to 1), ``omega_squared`` (the share without what the residual alone would put there,
        ``(SS - df MS_residual) / (SS_total + MS_residual)``), ``F`` and ``p``; the last three are NaN for seeds and residual. F and p are
        NaN also where no residual is left. A factorial is a training and test collection, first stage, measure, and everything in which
        cells differ beside ``rows`` and ``columns``.

    Raises:
        ValueError: there is no factorial, or one has fewer than two rows, columns or seeds, or a combination lacks a seed.

    Source: R. A. Fisher, The Design of Experiments, 1935, for blocks; W. L. Hays, Statistics, 1963, for omega squared.
    """
    if wrong := [name for name in (rows, columns) if name not in DIMENSIONS]:
        raise ValueError(f"{wrong[0]!r} is no dimension{params.nearest(wrong[0], DIMENSIONS)}")
    factorial = results[(results["system"] == "student") & ~results[[rows, columns]].replace("", np.nan).isna().any(axis=1)]
    if factorial.empty:
        raise ValueError(f"no trained cell has both a {rows} and a {columns}; a factorial needs at least two of each")
    free = {"teacher", "temperature", "target_entropy"} if "loss" in (rows, columns) else set()
    keys = [*PLACE, "measure"]
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
    """Return the analysis of variance of values (rows, columns, seeds), with seeds as blocks."""
    from scipy.stats import f

    n_rows, n_columns, n_seeds = cube.shape
    grand, cells, by_seed = cube.mean(), cube.mean(axis=2), cube.mean(axis=(0, 1))
    by_row, by_column = cells.mean(axis=1, keepdims=True), cells.mean(axis=0, keepdims=True)
    squares = {
        rows: n_columns * n_seeds * ((by_row - grand) ** 2).sum(),
        columns: n_rows * n_seeds * ((by_column - grand) ** 2).sum(),
        "interaction": n_seeds * ((cells - by_row - by_column + grand) ** 2).sum(),
        "seeds": n_rows * n_columns * ((by_seed - grand) ** 2).sum(),
        "residual": ((cube - cells[:, :, None] - by_seed + grand) ** 2).sum(),
    }
    freedom = [n_rows - 1, n_columns - 1, (n_rows - 1) * (n_columns - 1), n_seeds - 1, (n_rows * n_columns - 1) * (n_seeds - 1)]
    total, error = sum(squares.values()), squares["residual"] / freedom[-1]
    some_left = squares["residual"] > 1e-20 * total  # what is below is rounding
    effects = []
    for (source, square), df in zip(squares.items(), freedom, strict=True):
        tested = source not in ("seeds", "residual")
        ratio = square / df / error if tested and some_left else np.nan
        share = square / total if total > 0 else np.nan
        omega = (square - df * error) / (total + error) if tested and total > 0 else np.nan
        effect = {"source": source, "df": df, "sum_of_squares": square, "share": share, "omega_squared": omega}
        effects.append(effect | {"F": ratio, "p": f.sf(ratio, df, freedom[-1])})
    return effects


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


def at(frame: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """Return the rows that have these values, such as those of one training and one test collection."""
    return frame[(frame[list(where)] == list(where.values())).all(axis=1)]


def first_place(per_query: pd.DataFrame, summary: pd.DataFrame, measure: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the trained cells' values query by query, averaged over seeds, and their means, on the first collection and first stage.

    Returns:
        cell, query_id, value; and cell, mean, sd.
    """
    trained, means = (at(frame, system="student", measure=measure) for frame in (per_query, summary))
    where = trained[PLACE].iloc[0].to_dict()
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
    pool = spec.strategy.pool_of(spec.collection)
    if pool is None:
        raise ValueError(f"the strategy {spec.strategy.kind} draws from no ranked list, so its negatives have no ranks")
    run = pipeline.candidates(pool).rename(columns={"query_id": "key"}).assign(rank=pipeline.run(pool).ranks())
    groups = pipeline.groups(spec)
    key = groups["doc_ids"].str[0] if spec.strategy.kind == "graph" else groups["query_id"]
    negatives = groups.assign(key=key, doc_id=groups["doc_ids"].map(lambda ids: list(ids)[1:])).explode("doc_id")
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

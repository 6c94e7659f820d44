"""Contrasts of a study's cells with each other and with the baselines, over queries and seeds, and over collections."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from rd_utils.analysis import crossed, stats, verdicts
from rd_utils.analysis.questions import contrasts
from rd_utils.analysis.tables import Row, at, records
from rd_utils.study import studies
from rd_utils.study.plan import DIMENSIONS, PLACE


class Named(NamedTuple):
    """Which contrast: its family, what it is called, and the two cells."""

    family: str
    label: str
    before: str
    after: str


Ends = dict[Named, tuple[pd.DataFrame, pd.DataFrame]]  # the values of both


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
        One row a contrast, test collection and first stage: the fields of :class:`rd_utils.analysis.verdicts.Contrast`; ``p_holm``,
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
    margins = verdicts.margin_columns(settings.margins_shown)
    rows, skipped = [], 0
    for place, here in measured.groupby(PLACE, sort=False):
        pairs, uneven = _pairs(here, cells, settings.baseline_strategy)
        skipped += uneven
        pooled = _pooled(pairs, cells)
        where = dict(zip(PLACE, place, strict=True)) | {"measure": settings.measure}
        rows += [where | _row(key, cells, a, b, pooled.get(key), settings, margins) for key, (a, b) in pairs.items()]
    if not rows:
        names = [*PLACE, "measure", "family", "contrast", *DIMENSIONS, "cell_before", "cell_after", "equivalence_margin"]
        names += [*verdicts.Contrast._fields, "p_homogeneous", "p_randomisation", "seed_differences", *margins]
        names += [*verdicts.DECIDED, "fragile"]
        table = pd.DataFrame(columns=names)
    else:
        table = verdicts.decide(pd.DataFrame(rows), [*PLACE, "family"], alpha=settings.alpha, margins=margins)
        denied = (table["verdict_queries"] != "undecided") & (table["verdict"].map(verdicts.verdict_word) != table["verdict_queries"])
        table["fragile"] = denied | (table["different"] & (table["p_randomisation"] >= settings.alpha))
    table.attrs["skipped"] = skipped
    return table


def _pairs(here: pd.DataFrame, cells: pd.DataFrame, baseline: str) -> tuple[Ends, int]:
    """Return the contrasts of one place, and how many there would be if their cells had the same seeds."""
    values = {name: by_seed(part) for name, part in here.groupby("cell", sort=False)}
    pairs: Ends = {}
    skipped = 0
    for family, before, after, label in [*contrasts(cells, baseline), *_against_baselines(cells, here)]:
        if before in values and after in values:
            first = _beside(values[before], values[after], baseline=before not in cells.index)
            if first is None:
                skipped += 1
            else:
                pairs[Named(family, label, before, after)] = first, values[after]
    for label, corner, after, gains in _interactions(cells, baseline):
        if all(name in values for name in gains) and len({tuple(values[name].columns) for name in gains}) == 1:
            less, more = (values[gains[end + 1]] - values[gains[end]] for end in (0, 2))
            pairs[Named("strategy x loss", label, corner, after)] = less, more
    return pairs, skipped


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


def _pooled(pairs: Ends, cells: pd.DataFrame) -> dict[Named, crossed.Pooled | None]:
    """Return what the contrasts of one place know together about seeds: those of all strategies, everything else equal.

    Contrasts with two baselines are two groups: one cell's seeds, counted twice, would know no more.
    """
    groups: dict[tuple[object, ...], list[Named]] = {}
    others = [name for name in DIMENSIONS if name != "strategy"]
    shared = {row[0]: row[1:] for row in cells[others].fillna({"target_entropy": 0.0}).itertuples(name=None)}
    for key, (_, values) in pairs.items():
        baseline = "" if key.before in cells.index else key.before
        groups.setdefault((key.family, baseline, shared[key.after], tuple(values.columns)), []).append(key)
    found: dict[Named, crossed.Pooled | None] = {}
    for (family, *_), keys in groups.items():
        means = [[end.mean(axis=0).to_numpy() for end in pairs[key]] for key in keys]
        if family == "strategy":  # all against one: the baseline is a system like the others
            together = crossed.pooled_between(np.stack([means[0][0], *(after for _, after in means)]))
        else:
            together = crossed.pooled_over(np.stack([after - before for before, after in means]))
        found |= dict.fromkeys(keys, together)
    return found


def _row(
    key: Named,
    cells: pd.DataFrame,
    a: pd.DataFrame,
    b: pd.DataFrame,
    pooled: crossed.Pooled | None,
    settings: studies.AnalysisSettings,
    margins: dict[str, float],
) -> Row:
    """Return one contrast with its p-values, until Holm has seen them."""
    margin, (values_a, values_b) = settings.equivalence_margin, verdicts.aligned(a, b)
    found, estimated = verdicts.said_of(values_a, values_b, settings.level, margin, settings.alpha, pooled)
    delta = values_b - values_a
    dimensions = records(cells.loc[[key.after]])[0]
    return (
        {"family": key.family, "contrast": key.label}
        | dimensions
        | {"cell_before": key.before, "cell_after": key.after, "equivalence_margin": margin}
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
    counts: dict[tuple[object, ...], list[int]] = {}
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
        The columns of :func:`verdicts.pairwise` with the strategies as ``system_a``, ``system_b``, corrected over the pairs of one
        matrix; ``letters_a`` and ``letters_b``, the cliques of strategies that are all equivalent to each other; and what the matrix is of:
        training and test collection, first stage, measure, and every dimension but the strategy. Matrices have at least three strategies
        with the same seeds; those with other seeds are left out of one. ``attrs["left_out"]`` names them, each with its place: all of a
        place where no three have the same seeds.
    """
    trained = at(per_query, system="student", measure=settings.measure)
    keys = [*PLACE, "measure", *(name for name in DIMENSIONS if name != "strategy")]
    told = [name for name in keys if name in keys[:3] or trained[name].nunique(dropna=False) > 1]
    tables, left_out = [], []
    for _, part in trained.groupby(keys, sort=False, dropna=False):
        seeds = part.groupby("strategy", sort=False)["seed"].agg(lambda values: tuple(sorted(set(values))))
        if len(seeds) < 3:
            continue
        alike = [name for name in seeds.index if seeds[name] == seeds.mode().iloc[0]]
        alike = alike if len(alike) > 2 else []
        values = records(part[keys].head(1))[0]
        where = ", ".join(str(values[name]) for name in told if values[name] != "" and not pd.isna(values[name]))
        left_out += [f"{name} ({where})" for name in seeds.index if name not in alike]
        if not alike:
            continue
        found = verdicts.pairwise(
            {name: by_seed(part[part["strategy"] == name]) for name in alike},
            level=settings.level,
            equivalence_margin=settings.equivalence_margin,
            alpha=settings.alpha,
            margins=settings.margins_shown,
        )
        pairs = found.loc[found["equivalent"], ["system_a", "system_b"]].itertuples(index=False, name=None)
        letters = stats.cliques(alike, pairs)
        found = found.assign(letters_a=found["system_a"].map(letters), letters_b=found["system_b"].map(letters))
        tables.append(found.assign(**values))
    columns = [*keys, "system_a", "system_b", "difference", "verdict", "letters_a", "letters_b"]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    table.attrs["left_out"] = left_out
    return table


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

"""Factorials of strategy and target entropy: what each explains of the variance, and where the best entropy lies."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy.stats import t

from rd_utils.analysis import stats
from rd_utils.analysis.tables import Row, at, records, results
from rd_utils.study import studies
from rd_utils.study.params import nearest
from rd_utils.study.plan import DIMENSIONS, PLACE


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
    factors = "strategy", "target_entropy"
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
        rng, (n_seeds, n_queries) = np.random.default_rng(0), cube.shape[2:]
        seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=n_resamples) / n_seeds
        queries = rng.multinomial(n_queries, np.full(n_queries, 1 / n_queries), size=n_resamples) / n_queries
        means = np.einsum("rcsb,bs->brc", cube @ queries.T, seeds)
        best = how_often_best(means)
        low, high = np.quantile(means, [(1 - settings.level) / 2, (1 + settings.level) / 2], axis=0)
        names = pd.MultiIndex.from_product([dict.fromkeys(part[name]) for name in ("strategy", "target_entropy")])
        columns = {"mean": cube.mean(axis=(2, 3)), "low": low, "high": high, "optimal": best}
        table = pd.DataFrame({name: values.ravel() for name, values in columns.items()}, index=names)
        table = table.rename_axis(["strategy", "target_entropy"])
        tables.append(table.reset_index().assign(**records(part[about].head(1))[0]))
    columns = ["strategy", "target_entropy", "mean", "low", "high", "optimal", *about]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    table.attrs["incomplete"] = incomplete
    return table


def how_often_best(means: np.ndarray) -> np.ndarray:
    """Return the share of resamples in which each column's mean was the highest of its row; of equal ones the first is it.

    Args:
        means: (resamples, rows, columns).

    Returns:
        (rows, columns), the sum of each row 1.

    >>> how_often_best(np.array([[[0.6, 0.5]], [[0.4, 0.5]], [[0.7, 0.2]], [[0.6, 0.1]]])).tolist()
    [[0.75, 0.25]]
    """
    return np.eye(means.shape[2])[means.argmax(axis=2)].mean(axis=0)


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
    rows = entries.reset_index("target_entropy").index.drop_duplicates()
    return entries.unstack("target_entropy").reindex(rows)


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
        raise ValueError(f"{wrong[0]!r} is no dimension{nearest(wrong[0], DIMENSIONS)}")
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


def _cube(part: pd.DataFrame, rows: str, columns: str, where: Row) -> np.ndarray:
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


def _effects(cube: np.ndarray, rows: str, columns: str) -> list[Row]:
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

"""The tables that are shown of a study: finished frames laid out as texts; no statistic is computed.

What the frames hold, :mod:`rd_utils.report.drawing` says; :mod:`rd_utils.report.forms` writes a table in other forms. A table shows one
training collection and one of its test collections; where a frame holds several, ``collection`` and ``test_collection`` choose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pandas as pd

from rd_utils.analysis.tables import records
from rd_utils.analysis.verdicts import THESE_ONLY
from rd_utils.report.drawing import (
    ACROSS_COLUMNS,
    AGAINST,
    BASELINES,
    COST_COLUMNS,
    DESCRIPTION_COLUMNS,
    DIFFERENCE_COLUMNS,
    DIMENSIONS,
    MISSING,
    PLACE,
    SETTINGS,
    SUMMARY_COLUMNS,
    as_setting,
    as_text,
    choose,
    distinct,
    plain_number,
    require,
    select,
    varying,
)
from rd_utils.report.forms import relative


def mean_sd(mean: float, sd: float, n_seeds: int, digits: int = 3) -> str:
    """Write a mean, with its standard deviation where there are several seeds.

    >>> mean_sd(0.5123, 0.0041, 3), mean_sd(0.5123, float("nan"), 1)
    ('0.512 ± 0.004', '0.512')
    """
    if math.isnan(mean):
        return MISSING
    return f"{mean:.{digits}f}" + (f" ± {sd:.{digits}f}" if n_seeds > 1 and not math.isnan(sd) else "")


def main_table(
    summary: pd.DataFrame,
    *,
    measures: Sequence[str] | None = None,
    collection: str | None = None,
    test_collection: str | None = None,
    first_stages: Sequence[str] | None = None,
    rows: Sequence[str] = ("cell",),
    digits: int = 3,
) -> pd.DataFrame:
    """Return the table of all systems: first stages, untrained, teachers, then cells in the order of the summary.

    Args:
        summary: Means of cells and baselines.
        measures: Which measures, in this order; all by default.
        collection: Which training collection; may be left out when the frame holds only one.
        test_collection: Which test collection; likewise.
        first_stages: Which first stages, in this order; all by default.
        rows: Columns of the summary that make the index, such as ``("cell", "n_seeds")``; ``cell`` must be among them.
        digits: Decimals shown.

    Returns:
        Strings such as "0.512 ± 0.004" ("–" where a system was not evaluated), columns (first_stage, measure).
        ``attrs["n_baselines"]`` counts the baseline rows.

    Raises:
        ValueError: A column is missing, a choice is not made or unknown, or a cell has two rows for one column.
    """
    if "cell" not in rows:
        raise ValueError(f"rows is {tuple(rows)}, but 'cell' must be among them: it tells the rows apart")
    require(summary, (*SUMMARY_COLUMNS, *rows), "summary")
    frame = select(summary, "summary", test_collection=test_collection, collection=collection)
    measures = list(measures or distinct(frame["measure"]))
    first_stages = list(first_stages or distinct(frame["first_stage"]))
    frame = _once_each(frame, measures, first_stages)
    rank = {system: index for index, system in enumerate(BASELINES)}
    ordered = frame.sort_values("system", key=lambda names: names.map(rank).fillna(len(rank)), kind="stable")
    systems = ordered.drop_duplicates("cell")
    values = {
        (row["cell"], row["first_stage"], row["measure"]): mean_sd(row["mean"], row["sd"], row["n_seeds"], digits) for row in records(frame)
    }
    every = [(stage, measure) for stage in first_stages for measure in measures]
    columns = [column for column in every if any((cell, *column) in values for cell in systems["cell"])]
    texts = [[values.get((cell, *column), MISSING) for column in columns] for cell in systems["cell"]]
    labels = [[as_text(value) for value in systems[row]] for row in rows]
    index = pd.Index(labels[0], name="cell") if len(rows) == 1 else pd.MultiIndex.from_arrays(labels, names=list(rows))
    table = pd.DataFrame(texts, index=index, columns=pd.MultiIndex.from_tuples(columns, names=["first_stage", "measure"]))
    table.attrs["n_baselines"] = int(systems["system"].isin(BASELINES).sum())
    return table


def _once_each(frame: pd.DataFrame, measures: Sequence[str], first_stages: Sequence[str]) -> pd.DataFrame:
    """Return the rows of some measures and first stages, each of which there must be, and once for a cell."""
    for column, wanted in (("measure", measures), ("first_stage", first_stages)):
        for value in wanted:
            choose(frame, column, value, "summary")
    frame = frame[frame["measure"].isin(measures) & frame["first_stage"].isin(first_stages)]
    repeated = frame[frame.duplicated(["cell", "first_stage", "measure"])]
    if not repeated.empty:
        first = repeated.iloc[0]
        raise ValueError(
            f"{len(repeated)} row(s) of summary repeat a cell, first stage and measure, the first is "
            f"{first['cell']!r}, {first['first_stage']!r}, {first['measure']!r}"
        )
    return frame


def _p_value(value: float) -> str:
    """Write a p-value with three decimals, or as below the smallest that they can show.

    >>> _p_value(0.0314), _p_value(0.0002)
    ('0.031', '< 0.001')
    """
    return MISSING if pd.isna(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _count(value: float) -> str:
    """Write a count; one that is not known, or has no end, is a dash.

    >>> _count(1200.0), _count(float("nan")), _count(float("inf"))
    ('1,200', '–', '–')
    """
    return f"{int(value):,}" if pd.notna(value) and math.isfinite(value) else MISSING


def _share(value: float) -> str:
    return MISSING if pd.isna(value) else f"{value:.0%}"


# What is folded of the contrasts until a reader asks for it: the column, its title in differences_table, and how it is written.
_DETAILS: tuple[tuple[str, str, Callable[..., str]], ...] = (
    ("p_queries_holm", "p (these students, Holm)", _p_value),
    ("verdict_queries", "verdict (these students)", as_text),
    ("n_seeds", "seeds", _count),
    ("n_queries", "queries", _count),
    ("seeds_pooled", "seeds pooled", _count),
    ("seed_share", "seed share", _share),
    ("seeds_needed", "seeds needed, uncorrected", _count),
    ("queries_needed", "queries needed, uncorrected", _count),
    ("cell_after", "cell", as_text),
    ("cell_before", "compared with", as_text),
)
DETAILS = ("interval (these students)", *(title for _, title, _ in _DETAILS))


def differences_table(differences: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """Return the comparisons as a table: contrast, verdict, difference with its interval, p-values, smallest margin; then the details.

    A verdict, its interval and its p-values are of a test in which queries and seeds vary; both p-values are corrected by Holm over their
    family; where the frame has only the raw one of equivalence, its title says no Holm. "fragile" stands behind a verdict that would not
    survive another reasonable look (:func:`contrasts.differences`). What is of the contrast alone says so: "smallest margin,
    uncorrected" is the one that these data could just have proved.

    Details (:data:`DETAILS`) are what a test over queries alone says, which is of these very students; how many seeds and queries there
    are, and from how many contrasts the variance over seeds was estimated; "seed share", the share of the variance of the difference that
    seeds leave open; how many seeds and queries the margin needs; and the two cells. Columns with one value only (say one measure) are
    left out, for the caption to state; contrast and verdict stay, and so do the details that the frame has. A dimension that the contrast
    itself names is blank.

    Args:
        differences: One row a comparison.
        digits: Decimals shown.

    Returns:
        One row a comparison, all columns text but for the margins.

    Raises:
        ValueError: A column is missing.
    """
    require(differences, DIFFERENCE_COLUMNS, "differences")
    table = _named(differences, _places(differences))
    table["verdict"] = _verdicts(differences)
    table["difference [interval]"] = _intervals(differences, digits)
    corrected = "p_equivalence_holm" in differences
    equivalence = ("p_equivalence_holm", "p equivalence (Holm)") if corrected else ("p_equivalence", "p equivalence")
    for column, title in (("p_holm", "p (Holm)"), equivalence):
        table[title] = [_p_value(value) for value in differences[column]]
    table["smallest margin, uncorrected"] = [MISSING if pd.isna(v) else f"{v:.{digits}f}" for v in differences["smallest_margin"]]
    if differences["equivalence_margin"].nunique() > 1:
        table["margin"] = differences["equivalence_margin"]
    if "low_queries" in differences:
        bounds = zip(differences["low_queries"], differences["high_queries"], strict=True)
        table["interval (these students)"] = [f"[{low:+.{digits}f}, {high:+.{digits}f}]" for low, high in bounds]
    for column, title, write in _DETAILS:
        if column in differences:
            table[title] = [write(value) for value in differences[column]]
    return table.reset_index(drop=True)


def _verdicts(contrasts: pd.DataFrame) -> list[str]:
    """Return the verdicts, with a word for those that are fragile."""
    fragile = contrasts["fragile"] if "fragile" in contrasts else [False] * len(contrasts)
    return [verdict + (", fragile" if shaky else "") for verdict, shaky in zip(contrasts["verdict"], fragile, strict=True)]


def _intervals(contrasts: pd.DataFrame, digits: int = 3) -> list[str]:
    """Write differences with their intervals."""
    bounds = zip(contrasts["difference"], contrasts["low"], contrasts["high"], strict=True)
    return [f"{difference:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]" for difference, low, high in bounds]


def baselines_table(differences: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """Return every cell beside what it did not train for: the first stages, its untrained self and its teacher.

    Args:
        differences: Contrasts of the families of :data:`drawing.AGAINST`, the cell minus the baseline; other rows are not shown.
        digits: Decimals shown.

    Returns:
        One row a place and cell: its mean, then a column a family with "difference [interval] verdict", a dash where there is none; of a
        family in which a cell has several baselines, a column each.

    Raises:
        ValueError: A column is missing, no row is of those families, or a cell has two contrasts with one baseline.
    """
    require(differences, (*DIFFERENCE_COLUMNS, "cell_before", "cell_after", "mean_b"), "differences")
    shown = differences[differences["family"].isin(AGAINST)]
    require(shown, (), "differences of the baselines")
    keys = [*PLACE, "cell_after"]
    named = {name for name, part in shown.groupby("family") if part.duplicated(keys).any() or part["cell_before"].nunique() == 1}
    told = [
        f"minus {before if family in named else AGAINST[family]}"
        for family, before in zip(shown["family"], shown["cell_before"], strict=True)
    ]
    texts = [f"{interval} {verdict}" for interval, verdict in zip(_intervals(shown, digits), _verdicts(shown), strict=True)]
    shown = shown.assign(told=told, text=texts)
    if shown.duplicated([*keys, "told"]).any():
        first = shown[shown.duplicated([*keys, "told"])].iloc[0]
        raise ValueError(f"{first['cell_after']!r} stands against {first['cell_before']!r} twice in one place; give each contrast once")
    families = dict(zip(told, shown["family"], strict=True))
    order = sorted(families, key=lambda title: list(AGAINST).index(families[title]))
    wide = shown.pivot(index=keys, columns="told", values="text").reindex(pd.MultiIndex.from_frame(shown[keys].drop_duplicates()))
    table = wide[order].fillna(MISSING).rename_axis(columns=None).reset_index()
    title = str(shown["measure"].iloc[0]) if shown["measure"].nunique() == 1 else "mean"
    table.insert(len(keys), title, [f"{mean:.{digits}f}" for mean in shown.drop_duplicates(keys)["mean_b"]])
    return table.drop(columns=[name for name in PLACE if name not in _places(shown)]).rename(columns={"cell_after": "cell"})


def seeds_table(seeds: pd.DataFrame) -> pd.DataFrame:
    """Return how often one recipe, seed against seed, is called different from itself, by each test.

    Args:
        seeds: One row an architecture, place and test: architecture, test, n_comparisons, n_different, share, n_seeds.

    Returns:
        One row an architecture and place: seeds, comparisons, and one column a test, such as "26 of 84 (31%)".

    Raises:
        ValueError: A column is missing, or a test stands twice.

    >>> row = {"architecture": "cross", "n_seeds": 3, "n_comparisons": 84}
    >>> rows = [row | {"test": "queries only", "n_different": 26, "share": 26 / 84}]
    >>> rows += [row | {"test": "queries and seeds", "n_different": 4, "share": 4 / 84}]
    >>> seeds_table(pd.DataFrame(rows)).astype(str).iloc[0].tolist()
    ['cross', '3', '26 of 84 (31%)', '4 of 84 (5%)']
    """
    require(seeds, ("architecture", "test", "n_comparisons", "n_different", "share", "n_seeds"), "seed_against_seed")
    keys = [*varying(seeds, PLACE), "architecture", "n_seeds"]
    counts = seeds[["n_different", "n_comparisons", "share"]].itertuples(index=False)
    text = [f"{int(different)} of {int(compared)} ({share:.0%})" for different, compared, share in counts]
    told = seeds.assign(text=text, told="called different by " + seeds["test"])
    wide = told.pivot(index=keys, columns="told", values="text").reindex(pd.MultiIndex.from_frame(told[keys].drop_duplicates()))
    return wide[distinct(told["told"])].fillna(MISSING).rename_axis(columns=None).reset_index().rename(columns={"n_seeds": "seeds"})


def _named(contrasts: pd.DataFrame, place: Sequence[str]) -> pd.DataFrame:
    """Return the columns that say which contrast a row is: ``place``, and of the family and the dimensions those that vary."""
    own = {name: contrasts["family"] == name for name in DIMENSIONS}
    varied = [name for name in DIMENSIONS if contrasts.loc[~own[name], name].nunique(dropna=False) > 1]
    table = contrasts[[*place, *varying(contrasts, ["family"]), *varied]].copy()
    for name in varied:
        table[name] = table[name].map(as_setting).where(~own[name], "")
    return table.assign(contrast=contrasts["contrast"])


def _places(frame: pd.DataFrame) -> list[str]:
    """Return the columns that say where a row was measured, those that vary; no training collection that the test collection tells."""
    told = (frame.groupby("test_collection", dropna=False)["collection"].nunique() == 1).all()
    return [name for name in varying(frame, PLACE) if name != "collection" or not told]


def across_table(across: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """Return the contrasts over collections as a table: mean difference with its t interval, and in how many collections it holds.

    Args:
        across: One row a contrast and first stage.
        digits: Decimals shown.

    Returns:
        One row a contrast; columns with one value only are left out, as in :func:`differences_table`.

    Raises:
        ValueError: A column is missing.
    """
    require(across, ACROSS_COLUMNS, "across")
    table = _named(across, varying(across, ("measure", "first_stage")))
    table["mean difference [interval]"] = [
        f"{mean:+.{digits}f}" + ("" if math.isnan(low) else f" [{low:+.{digits}f}, {high:+.{digits}f}]")
        for mean, low, high in zip(across["mean"], across["low"], across["high"], strict=True)
    ]
    table["SD"] = [MISSING if pd.isna(value) else f"{value:.{digits}f}" for value in across["sd"]]
    for column, title in (("n_positive", "positive in"), ("different", "different in"), ("equivalent", "equivalent in")):
        table[title] = [f"{int(count)} of {n}" for count, n in zip(across[column], across["n_collections"], strict=True)]
    return table.reset_index(drop=True)


def matrix_table(pairs: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """Return one matrix of pairwise comparisons as a table: row minus column, and a sign for the verdict.

    ``=`` equivalent, ``*`` different, ``=*`` both, no sign undecided; the letters are of the cliques whose members are all equivalent.

    Args:
        pairs: One row a pair of one matrix: system_a, system_b, difference (b minus a), verdict, letters_a, letters_b.
        digits: Decimals shown.

    Returns:
        One row and one column a system, text; the lower triangle is filled, the rest empty.

    Raises:
        ValueError: A column is missing, or a pair stands twice, as it does where the rows are of several matrices.

    >>> row = {"system_a": "bm25", "system_b": "dense", "difference": -0.011, "verdict": "equivalent", "letters_a": "a", "letters_b": "a"}
    >>> matrix_table(pd.DataFrame([row])).loc["dense", "bm25"]
    '-0.011 ='
    """
    require(pairs, ("system_a", "system_b", "difference", "verdict", "letters_a", "letters_b"), "pairs")
    if pairs.duplicated(["system_a", "system_b"]).any():
        raise ValueError("a pair of systems stands twice; give the rows of one matrix")
    signs = {"equivalent": " =", "different": " *", "both": " =*", "undecided": ""}
    systems = distinct([*pairs["system_a"], *pairs["system_b"]])
    letters = dict(zip(pairs["system_a"], pairs["letters_a"], strict=True)) | dict(zip(pairs["system_b"], pairs["letters_b"], strict=True))
    table = pd.DataFrame("", index=pd.Index(systems, name="row minus column"), columns=systems)
    for row in records(pairs):
        sign = signs[row["verdict"].removesuffix(THESE_ONLY)]
        table.loc[row["system_b"], row["system_a"]] = f"{row['difference']:+.{digits}f}{sign}"
    table.insert(0, "equivalent to", [letters[system] or MISSING for system in systems])
    return table


def search_table(table: pd.DataFrame, measure: str, *, digits: int = 3) -> pd.DataFrame:
    """Return what each search tried: one row an architecture and loss, one column a learning rate, the rate taken with an asterisk.

    Args:
        table: As for :func:`rd_utils.report.charts.search_chart`.
        measure: The column to show.
        digits: Decimals shown.

    Raises:
        ValueError: A column is missing.
    """
    require(table, ("architecture", "loss", "learning_rate", "chosen", measure), "learning_rates")
    shown = table.assign(
        text=[f"{value:.{digits}f}{' *' if taken else ''}" for value, taken in zip(table[measure], table["chosen"], strict=True)]
    )
    keys = ["architecture", "loss", *(["search"] if "search" in table.columns else [])]
    wide = shown.pivot_table(index=keys, columns="learning_rate", values="text", aggfunc="first", sort=False).reset_index()
    wide = wide[[*keys, *sorted(set(table["learning_rate"]))]].fillna(MISSING)
    wide = wide if wide.duplicated(["architecture", "loss"]).any() else wide.drop(columns="search", errors="ignore")
    return wide.rename(columns=lambda name: plain_number(name)).rename_axis(columns=None)


def description_table(descriptions: pd.DataFrame) -> pd.DataFrame:
    """Return the diameters and entropies of training groups, before and after augmentation and temperature.

    Args:
        descriptions: One row a strategy, teacher, augmentation, part of the queries, dial and state.

    Returns:
        One row each; settings with one value only are left out, the strategy stays.

    Raises:
        ValueError: A column is missing.
    """
    require(descriptions, DESCRIPTION_COLUMNS, "descriptions")
    names = {
        "diameter_q99": "diameter q99, mean", "diameter_median": "median", "diameter_high": "q99", "mean_distance": "mean distance",
        "pairwise_entropy": "pairwise entropy", "positive_entropy": "positive entropy", "listwise_entropy": "listwise entropy",
        "density_ratio": "density ratio", "coverage": "coverage", "solved_temperature": "temperature solved for",
    }  # fmt: skip
    keys = ("collection", "strategy", "teacher", *SETTINGS, "state")
    shown = varying(descriptions, keys)
    shown = [name for name in keys if name in shown or name == "strategy"]
    if "target_entropy" not in shown:
        names.pop("solved_temperature")
    table = descriptions[[*shown, *(name for name in names if name in descriptions.columns and descriptions[name].notna().any())]]
    table = table.assign(**{name: table[name].map(as_setting) for name in SETTINGS if name in shown})
    return table.rename(columns=names).reset_index(drop=True)


def variance_table(variance: pd.DataFrame) -> pd.DataFrame:
    """Return the shares of a factorial's variance, one row a factorial, one column a source, with interval and p-value of its F test.

    The sources are the two factors, their interaction, the seeds and the residual. "Holm p" is the p-value corrected over the effects of
    all factorials, "p" that of the effect alone, which is shown where there is no corrected one.

    Args:
        variance: One row a factorial and source: ``source``, ``share``, ``p``, ``p_holm`` (corrected), ``low`` and ``high`` (of the share)
            where known, and what tells factorials apart.

    Raises:
        ValueError: A column is missing.
    """
    require(variance, (*PLACE, "loss", "source", "share", "p"), "variance")
    dimensions = [name for name in DIMENSIONS if name in variance.columns]
    keys = [*_places(variance), *(name for name in dimensions if name == "loss" or varying(variance, [name]))]
    shown = variance.assign(**{name: variance[name].map(as_setting) for name in keys})
    lows, highs, corrected = (variance[name] if name in variance else [math.nan] * len(variance) for name in ("low", "high", "p_holm"))
    shown["text"] = [
        f"{share:.1%}"
        + ("" if pd.isna(low) else f" [{low:.1%}, {high:.1%}]")
        + (_effect_p("p", p) if pd.isna(holm) else _effect_p("Holm p", holm))
        for share, low, high, p, holm in zip(variance["share"], lows, highs, variance["p"], corrected, strict=True)
    ]
    wide = shown.pivot_table(index=keys, columns="source", values="text", aggfunc="first", sort=False)[distinct(variance["source"])]
    return wide.reset_index().rename_axis(columns=None)


def _effect_p(name: str, value: float) -> str:
    """Write a p-value in brackets behind an effect; nothing where there was no test.

    >>> _effect_p("p", 0.0314), _effect_p("Holm p", 0.0002)
    (' (p = 0.031)', ' (Holm p < 0.001)')
    """
    text = _p_value(value)
    return "" if pd.isna(value) else f" ({name} {text})" if text.startswith("<") else f" ({name} = {text})"


def spread_table(spread: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return how far apart the strategies' means lie, of one measure; what all rows share is left out.

    Args:
        spread: One row a collection, first stage, measure, loss, teacher, architecture ...
        measure: Which measure.

    Raises:
        ValueError: A column is missing, or the measure is unknown.
    """
    require(spread, (*PLACE, "loss", "n_strategies", "lowest", "highest", "spread", "sd"), "strategy_spread")
    spread = choose(spread, "measure", measure, "strategy_spread")
    keys = [*_places(spread), *varying(spread, DIMENSIONS)]
    table = spread[[*keys, "lowest", "highest", "spread", "sd"]].reset_index(drop=True)
    return table.assign(**{name: table[name].map(as_setting) for name in SETTINGS if name in table.columns}).rename(columns={"sd": "SD"})


def cells_table(costs: pd.DataFrame, *, manifest: str = "student/{identity}/manifest.json") -> pd.DataFrame:
    """Return the table that traces each number: a row a cell and seed with its costs, identity and manifest.

    Args:
        costs: One row a cell and seed.
        manifest: The manifest's path relative to the report, with ``{identity}`` in it.

    Returns:
        One row a cell and seed; the last two columns are identity and manifest.

    Raises:
        ValueError: A column is missing, or the path is absolute or has no ``{identity}``.
    """
    require(costs, COST_COLUMNS, "costs")
    if "{identity}" not in manifest:
        raise ValueError(f"manifest is {manifest!r}, but must hold '{{identity}}', as in 'student/{{identity}}/manifest.json'")
    relative(manifest)
    columns = {
        "cell": "cell", "collection": "collection", "seed": "seed", "documents_seen": "documents seen", "tokens_seen": "tokens seen",
        "train_wall_seconds": "training wall s", "total_cpu_seconds": "total CPU s", "peak_memory_mb": "peak memory MB",
    }  # fmt: skip
    columns = columns if costs["collection"].nunique() > 1 else {name: columns[name] for name in columns if name != "collection"}
    table = costs[[column for column in columns if column in costs.columns]].rename(columns=columns)
    table["identity"] = costs["identity"]
    table["manifest"] = [manifest.replace("{identity}", as_text(identity)) for identity in costs["identity"]]
    return table.reset_index(drop=True)


def macro_table(macro: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return macro means of one measure as text, one row a cell, one column a first stage.

    Args:
        macro: Of :func:`rd_utils.analysis.tables.macro`.
        measure: Which measure.
    """
    shown = macro[macro["measure"] == measure]
    text = [mean_sd(*told) for told in zip(shown["mean"], shown["sd"], shown["n_collections"], strict=True)]
    wide = shown.assign(text=text).pivot_table(index="cell", columns="first_stage", values="text", aggfunc="first", sort=False)
    return wide.rename_axis(columns=None).reset_index()


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame as it is printed: without the places that all rows share, names without underscores."""
    places = [name for name in PLACE if name in frame and name not in varying(frame, [name])]
    shown = frame.drop(columns=places if len(frame) > 1 else ["measure"], errors="ignore")
    return shown.rename(columns=lambda name: name.replace("_", " "))

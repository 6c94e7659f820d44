"""What two systems come to, measure by measure: their comparison, its cost, and the words and tables in which it is said.

Difference and equivalence are two questions with a test each, in which queries and seeds vary (see :mod:`rd_utils.analysis.verdicts`).
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rd_utils.study.params import ParameterError

if TYPE_CHECKING:
    import pandas as pd

STRICT_MARGIN = 0.01  # equivalence is shown at this margin too, whatever the margin asked for
PLACE = ("measure", "collection", "test_collection", "first_stage")
COST_PARTS = ("mine", "score", "train", "evaluate", "total")
TITLES = {"collection": "trained on", "test_collection": "tested on", "first_stage": "first stage"}


class Settings(NamedTuple):
    """What a comparison is made with: the margin in units of the measure, ``seed`` of the resampling."""

    margin: float
    alpha: float
    level: float
    seed: int


class Comparison(NamedTuple):
    """What one measure in one place says of B against A; ``difference`` is ``mean_b - mean_a``.

    ``low``, ``high``, both p-values and the verdict are over queries and seeds, where there are several; those with ``queries`` in their
    names are the t test over queries alone, on values averaged over seeds. ``collection`` and ``first_stage`` are None for files, and
    ``n_seeds`` where each side is one file; where the sides have different numbers of seeds it counts both. The variance over seeds is
    that of these two systems alone; a study's report may pool it over strategies.
    """

    measure: str
    collection: str | None
    test_collection: str
    first_stage: str | None
    n_queries: int
    n_seeds: int | None
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    low_queries: float
    high_queries: float
    p_difference: float
    p_queries: float
    p_randomisation: float
    p_equivalence: float
    p_equivalence_strict: float
    verdict: str
    smallest_margin: float
    queries_needed: int | None
    seeds_needed: int | None


class Cost(NamedTuple):
    """CPU seconds of A and of B for one seed, the mean over ``n_seeds``, by part; ``ratio`` is B's total over A's, None where A's is 0."""

    collection: str
    n_seeds: int
    cpu_seconds_a: dict[str, float]
    cpu_seconds_b: dict[str, float]
    ratio: float | None


Place = tuple[str, str | None, str, str | None]  # measure, training collection, test collection, first stage


class Values(NamedTuple):
    """A system's values in each place, (n_queries, n_seeds), indexed by ``(test_collection, query_id)``."""

    name: str
    values: Mapping[Place, pd.DataFrame]


class Result(NamedTuple):
    """All that is printed: ``about`` says what was compared, ``notes`` what a reader of the numbers has to know.

    ``systems`` are both with their values, and ``costs`` what they cost.
    """

    a: str
    b: str
    settings: Settings
    about: list[str]
    comparisons: list[Comparison]
    costs: list[Cost]
    notes: list[str]
    systems: Sequence[Values] = ()


def asked_settings(options: argparse.Namespace, defaults: Mapping[str, float]) -> Settings:
    """Return the settings asked for, checked; what was not asked for is as in ``defaults``."""
    asked = {name: getattr(options, name) for name in ("margin", "alpha", "level")}
    found = {name: defaults[name] if value is None else value for name, value in asked.items()}
    for name, least, upper in (("margin", 1e-6, 1.0), ("alpha", 1e-9, 0.5), ("level", 1e-9, 1.0)):
        if not least <= found[name] < upper:
            raise ParameterError(f"--{name} is {found[name]}; expected a number above 0 and below {upper:g}")
    if not 0 <= options.seed < 2**63:
        raise ParameterError(f"--seed is {options.seed}; expected a whole number, 0 or above and below 2**63")
    return Settings(**found, seed=options.seed)


def compare_values(
    a: pd.DataFrame, b: pd.DataFrame, settings: Settings, *, measure: str, collection: str | None = None, first_stage: str | None = None
) -> Comparison:
    """Compare two systems on the queries of one test collection, on values averaged over seeds.

    Args:
        a: (n_queries, n_seeds) values, indexed by ``(test_collection, query_id)``; the columns are the seeds. One column for what has none.
        b: the same queries, and the same seeds; or as many others as there are, which then have nothing in common with those of ``a``.
        settings: margin, alpha, level, and the seed of the resampling.
        measure: its name.
        collection: label of the training collection; None for runs.
        first_stage: its label; None for runs.

    Raises:
        ParameterError: the queries differ, there are fewer than two, or a value is missing.
    """
    from rd_utils.analysis import stats, verdicts

    try:
        before, after = verdicts.aligned(a, b, apart=True)
        found, estimated = verdicts.said_of(before, after, settings.level, settings.margin, settings.alpha, None)
        p_randomisation = stats.randomisation_test(after.mean(axis=1) - before.mean(axis=1), seed=settings.seed)
    except ValueError as error:
        raise ParameterError(f"{measure}: {error}") from error
    verdict = stats.VERDICTS[found.p_difference < settings.alpha, found.p_equivalence < settings.alpha]
    return Comparison(
        measure=measure,
        collection=collection,
        test_collection=str(a.index[0][0]),
        first_stage=first_stage,
        n_queries=found.n_queries,
        n_seeds=None if collection is None and found.n_seeds == 1 else found.n_seeds,
        mean_a=found.mean_a,
        mean_b=found.mean_b,
        difference=found.difference,
        low=found.low,
        high=found.high,
        low_queries=found.low_queries,
        high_queries=found.high_queries,
        p_difference=found.p_difference,
        p_queries=found.p_queries,
        p_randomisation=p_randomisation,
        p_equivalence=found.p_equivalence,
        p_equivalence_strict=estimated.p_equivalence(STRICT_MARGIN),
        verdict=verdict + (verdicts.THESE_ONLY if collection is not None and found.n_seeds == 1 else ""),
        smallest_margin=found.smallest_margin,
        queries_needed=found.queries_needed,
        seeds_needed=found.seeds_needed,
    )


def by_query_and_seed(values: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return the values of a measure as (queries, seeds); a run has one column."""
    values = values[values["measure"] == measure]
    keys = ["test_collection", "query_id"]
    if "seed" not in values:
        return values.set_index(keys)[["value"]]
    return values.pivot(index=keys, columns="seed", values="value")


# --- saying it ----------------------------------------------------------------------------------------------------------------------


def notes_on(comparisons: Sequence[Comparison], settings: Settings) -> list[str]:
    """Return what a reader has to know beside the numbers, and where the methods disagree."""
    if len(comparisons) == 1:
        notes = ["p-values are of this comparison alone: a single comparison is its own family, so they are not corrected"]
    else:
        notes = [f"each p-value is of its own comparison alone: none is corrected for the {len(comparisons)} comparisons shown"]
    notes.append(
        f"queries (seeds) needed: so many would show equivalence at {settings.margin:g} with probability 0.8, with the present number of "
        "the other, if A and B were equal in truth"
    )
    if any(row.n_seeds == 1 for row in comparisons):
        notes.append("one seed: how much the difference varies with the seed is not known; verdicts are about these students only")
    for row in comparisons:
        label = label_of(row, comparisons)
        if (row.p_queries < settings.alpha) != (row.p_randomisation < settings.alpha):
            notes.append(f"{label}the t-test and the randomisation test disagree at {settings.alpha:g}; take the verdict with care")
        if row.p_queries < settings.alpha <= row.p_difference:
            notes.append(f"{label}these very students differ (p over queries {p_text(row.p_queries)}), but other seeds may not")
    return notes


def sentence(row: Comparison, settings: Settings) -> str:
    """Return one comparison as a plain sentence.

    >>> numbers = dict(n_queries=43, n_seeds=None, mean_a=0.5, mean_b=0.521, difference=0.021, low=0.010, high=0.032)
    >>> numbers |= dict(low_queries=0.010, high_queries=0.032, p_difference=0.0004, p_queries=0.0004, p_randomisation=0.001)
    >>> numbers |= dict(p_equivalence=0.571, p_equivalence_strict=0.97, verdict="different", smallest_margin=0.030)
    >>> numbers |= dict(queries_needed=None, seeds_needed=None)
    >>> row = Comparison(measure="nDCG@10", collection=None, test_collection="t", first_stage=None, **numbers)
    >>> print(sentence(row, Settings(0.02, 0.05, 0.95, 0)))
    B is higher by 0.021 nDCG@10 [0.010, 0.032]: different, equivalence at 0.02 not shown (p < 0.001, TOST p 0.571)
    """
    amount = f"{abs(row.difference):.3f}"
    if float(amount) == 0:
        start = f"B and A are {'equal' if row.difference == 0 else 'less than 0.0005 apart'} in {row.measure}, B - A"
    elif row.difference > 0:
        start = f"B is higher by {amount} {row.measure}"
    else:
        start = f"B is lower by {amount} {row.measure}, B - A"
    word, comma, only = row.verdict.partition(", ")
    verdict = (
        {
            "different": f"different, equivalence at {settings.margin:g} not shown",
            "equivalent": f"equivalent at {settings.margin:g}, no difference shown",
            "both": f"different, and yet equivalent at {settings.margin:g}",
            "undecided": f"undecided, neither a difference nor equivalence at {settings.margin:g} is shown",
        }[word]
        + comma
        + only
    )
    p, tost = (f"p {p_text(value).replace('<', '< ')}" for value in (row.p_difference, row.p_equivalence))
    return f"{start} {interval_text(row.low, row.high, 3)}: {verdict} ({p}, TOST {tost})"


def as_text(result: Result) -> str:
    """Return the answer in a sentence, then what was compared, the tables and the notes."""
    rows, settings = result.comparisons, result.settings
    lines = [_answer(result)]
    if len(rows) > 1:
        lines += [f"  {label_of(row, rows)}{sentence(row, settings)}" for row in rows]
    lines += [cost_sentence(cost, len(result.costs) > 1, rows[0].n_seeds is not None) for cost in result.costs]
    fixed = [
        f"{TITLES[name]}: {getattr(rows[0], name)}"
        for name in PLACE[1:]
        if name not in varying(rows) and result.costs and getattr(rows[0], name) is not None
    ]
    fixed.append(f"margin {settings.margin:g}, alpha {settings.alpha:g}, intervals at level {settings.level:g}, seed {settings.seed}")
    lines += ["", f"A: {result.a}", f"B: {result.b}", *result.about, *fixed, ""]
    place = {TITLES.get(name, name): [getattr(row, name) for row in rows] for name in PLACE if name in ("measure", *varying(rows))}
    several = (rows[0].n_seeds or 1) > 1
    numbers = {
        "queries": [str(row.n_queries) for row in rows],
        "seeds": [str(row.n_seeds) for row in rows],
        "A": [f"{row.mean_a:.4f}" for row in rows],
        "B": [f"{row.mean_b:.4f}" for row in rows],
        "B - A": [f"{row.difference:+.4f}" for row in rows],
        "over queries and seeds": [interval_text(row.low, row.high) for row in rows],
        "over queries": [interval_text(row.low_queries, row.high_queries) for row in rows],
    }
    if not several:
        numbers.pop("over queries and seeds")
    if rows[0].n_seeds is None:
        numbers.pop("seeds")
    tests = {
        "p": [p_text(row.p_difference) for row in rows],
        "p over queries": [p_text(row.p_queries) for row in rows],
        "p randomisation": [p_text(row.p_randomisation) for row in rows],
        f"TOST p at {settings.margin:g}": [p_text(row.p_equivalence) for row in rows],
        f"TOST p at {STRICT_MARGIN:g}": [p_text(row.p_equivalence_strict) for row in rows],
        "verdict": [row.verdict for row in rows],
        "smallest margin": [f"{row.smallest_margin:.4f}" for row in rows],
        "queries needed": ["none suffice" if row.queries_needed is None else f"{row.queries_needed:,}" for row in rows],
        "seeds needed": ["none suffice" if row.seeds_needed is None else f"{row.seeds_needed:,}" for row in rows],
    }
    if not several:
        del tests["p over queries"], tests["seeds needed"]
    lines += [*table_lines(place | numbers), "", *table_lines(place | tests)]
    if result.costs:
        place_title, seconds_title = cost_titles(rows[0].n_seeds is not None)
        own = {place_title: [cost.collection for cost in result.costs for _ in "AB"], seconds_title: ["A", "B"] * len(result.costs)}
        both = [part for cost in result.costs for part in (cost.cpu_seconds_a, cost.cpu_seconds_b)]
        lines += ["", *table_lines(own | {part: [f"{seconds[part]:,.1f}" for seconds in both] for part in COST_PARTS})]
    return "\n".join([*lines, "", *(f"note: {note}" for note in result.notes)])


def as_record(result: Result) -> dict[str, object]:
    """Return the same as a dict for JSON."""
    return {
        "answer": _answer(result),
        "a": result.a,
        "b": result.b,
        "settings": result.settings._asdict() | {"strict_margin": STRICT_MARGIN},
        "about": result.about,
        "comparisons": [row._asdict() for row in result.comparisons],
        "costs": [cost._asdict() for cost in result.costs],
        "notes": result.notes,
    }


def _answer(result: Result) -> str:
    rows = result.comparisons
    if len(rows) == 1:
        return sentence(rows[0], result.settings)
    verdicts = ", ".join(f"{count} {name}" for name, count in Counter(row.verdict for row in rows).items())
    differences = [row.difference for row in rows]
    spread = f", B - A from {min(differences):+.3f} to {max(differences):+.3f} {rows[0].measure}" if "measure" not in varying(rows) else ""
    return f"{len(rows)} comparisons of B with A{spread}: {verdicts} (equivalence at {result.settings.margin:g})"


def cost_titles(trained: bool) -> tuple[str, str]:
    """Return what a table of costs calls the collection and the seconds: of what was trained, or of what was run as it is."""
    return (TITLES["collection"], "CPU seconds a seed") if trained else ("collection", "CPU seconds")


def cost_sentence(cost: Cost, several: bool, trained: bool) -> str:
    """Return what B costs beside A, in a sentence."""
    totals = f"{cost.cpu_seconds_b['total']:,.1f} {cost_titles(trained)[1]} against {cost.cpu_seconds_a['total']:,.1f}"
    ratio = "A's is 0, so there is no ratio" if cost.ratio is None else f"{cost.ratio:.2f} times as much"
    return f"B costs {totals}, {ratio}" + (f", on {cost.collection}" if several else "")


def varying(rows: Sequence[Comparison]) -> list[str]:
    """Return in what of their places comparisons differ."""
    return [name for name in PLACE if len({getattr(row, name) for row in rows}) > 1]


def label_of(row: Comparison, rows: Sequence[Comparison]) -> str:
    """Return what tells one comparison from the others, with a colon; nothing where it is the only one."""
    parts = [str(getattr(row, name)) for name in varying(rows)]
    return f"{', '.join(parts)}: " if parts else ""


def p_text(value: float) -> str:
    """Write a p-value to three decimals, or as below the smallest that they can show."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def interval_text(low: float, high: float, digits: int = 4) -> str:
    """Write an interval."""
    shown = (f"{round(bound, digits) + 0.0:.{digits}f}" for bound in (low, high))  # no minus before a zero
    return f"[{', '.join(shown)}]"


def table_lines(columns: dict[str, list[str]]) -> list[str]:
    """Return aligned lines: names left, everything else right."""
    left = {"measure", "verdict", "CPU seconds a seed", "CPU seconds", "collection", "system", "pair", "group", *TITLES.values()}
    widths = {name: max(len(name), *map(len, cells)) for name, cells in columns.items()}
    header = {name: name for name in columns}
    body = [{name: cells[number] for name, cells in columns.items()} for number in range(len(next(iter(columns.values()))))]
    return [
        "  ".join(f"{row[name]:{'<' if name in left else '>'}{width}}" for name, width in widths.items()).rstrip()
        for row in [header, *body]
    ]

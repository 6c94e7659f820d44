"""Two systems or more: two are compared (:mod:`rd_utils.analysis.comparison`), several pair by pair, as one family.

Of several systems every pair is asked both questions, and both are corrected for the number of pairs by Holm's method, as a study's report
does (:func:`rd_utils.analysis.verdicts.pairwise`). Systems that are all equivalent to each other are a group: the maximal cliques, since
equivalence is not transitive.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rd_utils.analysis.comparison import (
    STRICT_MARGIN,
    TITLES,
    Cost,
    Place,
    Result,
    Settings,
    Values,
    compare_values,
    cost_titles,
    interval_text,
    notes_on,
    p_text,
    table_lines,
)
from rd_utils.study.params import ParameterError

if TYPE_CHECKING:
    import pandas as pd

MOST = len(string.ascii_uppercase)
SIGNS = {"equivalent": " =", "different": " *", "both": " =*", "undecided": ""}
_PAIR = (
    "difference", "low", "high", "low_queries", "high_queries", "p_difference", "p_holm", "p_equivalence", "p_equivalence_holm", "verdict",
    "smallest_margin", "n_queries", "n_seeds", "queries_needed", "seeds_needed",
)  # fmt: skip


class Costs(NamedTuple):
    """CPU seconds of every system for one seed, the mean over ``n_seeds``, by part."""

    collection: str
    n_seeds: int
    cpu_seconds: list[dict[str, float]]


class Matrix(NamedTuple):
    """Every pair of systems in one place.

    Attributes:
        place: measure, training collection, test collection, first stage.
        n_queries: of the test collection.
        means: of each system, over queries and seeds, by its letter.
        n_seeds: of each system, by its letter.
        pairs: as :func:`rd_utils.analysis.verdicts.pairwise` gives them; systems go by their letters.
        letters: of the groups that a system is in.
        groups: of systems that are all equivalent to each other, by letter.
    """

    place: Place
    n_queries: int
    means: dict[str, float]
    n_seeds: dict[str, int]
    pairs: pd.DataFrame
    letters: dict[str, str]
    groups: dict[str, list[str]]


class Family(NamedTuple):
    """All that is printed of several systems: ``names`` by letter, and what else :class:`rd_utils.analysis.comparison.Result` has."""

    names: dict[str, str]
    settings: Settings
    about: list[str]
    matrices: list[Matrix]
    costs: list[Costs]
    notes: list[str]
    systems: Sequence[Values] = ()


def letter(number: int) -> str:
    """Return what a side goes by: A, B, C and so on.

    >>> letter(0), letter(25)
    ('A', 'Z')
    """
    return string.ascii_uppercase[number]


def between(
    systems: Sequence[Values], settings: Settings, about: Sequence[str], costs: Sequence[Costs] = (), notes: Sequence[str] = ()
) -> Result | Family:
    """Compare systems in every place that all of them have.

    Args:
        systems: two or more.
        settings: of the comparison.
        about: what was compared.
        costs: what it cost.
        notes: what a reader has to know besides what is always said.

    Raises:
        ParameterError: their queries differ, there are fewer than two, or a value is missing.
    """
    places = [place for place in systems[0].values if all(place in other.values for other in systems)]
    if len(systems) == 2:
        a, b = systems
        rows = [
            compare_values(a.values[place], b.values[place], settings, measure=place[0], collection=place[1], first_stage=place[3])
            for place in places
        ]
        return Result(
            a.name, b.name, settings, list(about), rows, [_of_two(cost) for cost in costs], [*notes_on(rows, settings), *notes], systems
        )
    names = {letter(number): system.name for number, system in enumerate(systems)}
    matrices = [_matrix(place, dict(zip(names, (system.values[place] for system in systems), strict=True)), settings) for place in places]
    said = [*_notes(matrices, settings), *notes]
    return Family(names, settings, list(about), matrices, list(costs), said, systems)


def _of_two(cost: Costs) -> Cost:
    of_a, of_b = cost.cpu_seconds
    return Cost(cost.collection, cost.n_seeds, of_a, of_b, of_b["total"] / of_a["total"] if of_a["total"] > 0 else None)


def _matrix(place: Place, values: Mapping[str, pd.DataFrame], settings: Settings) -> Matrix:
    from rd_utils.analysis import stats, verdicts

    try:
        pairs = verdicts.pairwise(
            values,
            level=settings.level,
            equivalence_margin=settings.margin,
            alpha=settings.alpha,
            margins=[] if settings.margin == STRICT_MARGIN else [STRICT_MARGIN],
            apart=True,
        )
    except ValueError as error:
        raise ParameterError(f"{place[0]}: {error}") from error
    if place[1] is None and all(frame.shape[1] == 1 for frame in values.values()):  # systems without seeds
        pairs["verdict"] = pairs["verdict"].map(verdicts.verdict_word)
    letters = stats.cliques(list(values), pairs.loc[pairs["equivalent"], ["system_a", "system_b"]].itertuples(index=False, name=None))
    split = {system: own.split() if " " in own else list(own) for system, own in letters.items()}
    groups: dict[str, list[str]] = {}
    for system, own in split.items():
        for name in own:
            groups.setdefault(name, []).append(system)
    return Matrix(
        place,
        len(next(iter(values.values()))),
        {name: float(frame.to_numpy().mean()) for name, frame in values.items()},
        {name: frame.shape[1] for name, frame in values.items()},
        pairs,
        letters,
        dict(sorted(groups.items(), key=lambda item: (len(item[0]), item[0]))),
    )


# --- saying it ----------------------------------------------------------------------------------------------------------------------


def as_text(family: Family) -> str:
    """Return the answer in a sentence, then what was compared, a matrix and the pairs of each place, and the notes."""
    settings, matrices = family.settings, family.matrices
    lines = [answer(family)]
    if len(matrices) > 1:
        lines += [f"  {label_of(matrix, matrices)}: {sentence(matrix, family)}" for matrix in matrices]
    lines += ["", *(f"{key}: {name}" for key, name in family.names.items()), *family.about]
    if len(matrices) == 1:
        lines += [f"{TITLES[name]}: {value}" for name, value in zip(TITLES, matrices[0].place[1:], strict=True) if value is not None]
    lines.append(f"margin {settings.margin:g}, alpha {settings.alpha:g}, intervals at level {settings.level:g}")
    for matrix in matrices:
        lines += ["", *([f"{label_of(matrix, matrices)}:"] if len(matrices) > 1 else []), *_tables(matrix)]
    if family.costs:
        lines += ["", *_costs(family)]
    return "\n".join([*lines, "", *(f"note: {note}" for note in family.notes)])


def _tables(matrix: Matrix) -> list[str]:
    systems, several = list(matrix.means), max(matrix.n_seeds.values()) > 1
    signed = {
        (row["system_b"], row["system_a"]): f"{row['difference']:+.4f}{SIGNS[row['verdict'].partition(',')[0]]}"
        for row in matrix.pairs.to_dict("records")
    }
    square = {
        "system": systems,
        "seeds": [str(matrix.n_seeds[name]) for name in systems],
        matrix.place[0]: [f"{matrix.means[name]:.4f}" for name in systems],
        "group": [matrix.letters[name] or "-" for name in systems],
    } | {f"minus {column}": [signed.get((row, column), "") for row in systems] for column in systems[:-1]}
    pairs = matrix.pairs.to_dict("records")
    needed = {name: ["none suffice" if row[name] is None or row[name] != row[name] else f"{int(row[name]):,}" for row in pairs]
              for name in ("queries_needed", "seeds_needed")}  # fmt: skip
    listed = {
        "pair": [f"{row['system_b']} - {row['system_a']}" for row in pairs],
        "difference": [f"{row['difference']:+.4f}" for row in pairs],
        "over queries and seeds" if several else "over queries": [interval_text(row["low"], row["high"]) for row in pairs],
        "p": [p_text(row["p_difference"]) for row in pairs],
        "p Holm": [p_text(row["p_holm"]) for row in pairs],
        "TOST p": [p_text(row["p_equivalence"]) for row in pairs],
        "TOST p Holm": [p_text(row["p_equivalence_holm"]) for row in pairs],
        "verdict": [row["verdict"] for row in pairs],
        "smallest margin": [f"{row['smallest_margin']:.4f}" for row in pairs],
        "queries needed": needed["queries_needed"],
        "seeds needed": needed["seeds_needed"],
    }
    if not several:
        del square["seeds"], listed["seeds needed"]
    groups = "; ".join(f"{name} = {', '.join(members)}" for name, members in matrix.groups.items())
    return [
        *table_lines(square),
        "",
        f"row minus column: = equivalent, * different, =* both, no sign undecided; {matrix.n_queries:,} queries",
        f"groups of systems that are all equivalent to each other: {groups or 'none'}",
        "",
        *table_lines(listed),
    ]


def _costs(family: Family) -> list[str]:
    every = [(cost, key, parts) for cost in family.costs for key, parts in zip(family.names, cost.cpu_seconds, strict=True)]
    place, seconds = cost_titles(any(max(matrix.n_seeds.values()) > 1 or matrix.place[1] is not None for matrix in family.matrices))
    own = {place: [cost.collection for cost, *_ in every], seconds: [key for _, key, _ in every]}
    return table_lines(own | {part: [f"{parts[part]:,.1f}" for *_, parts in every] for part in every[0][2]})


def answer(family: Family) -> str:
    """Return the answer in one sentence."""
    if len(family.matrices) == 1:
        return sentence(family.matrices[0], family)
    verdicts = Counter(verdict for matrix in family.matrices for verdict in matrix.pairs["verdict"])
    counted = ", ".join(f"{count} {name}" for name, count in verdicts.items())
    return f"{len(family.names)} systems in {len(family.matrices)} places: {counted} (equivalence at {family.settings.margin:g})"


def sentence(matrix: Matrix, family: Family) -> str:
    """Return what one place says, in a sentence."""
    ordered = sorted(matrix.means, key=lambda name: -matrix.means[name])
    means = ", ".join(f"{name} {matrix.means[name]:.3f}" for name in ordered)
    counted = ", ".join(f"{count} {name}" for name, count in Counter(matrix.pairs["verdict"]).items())
    top = ordered[0]
    own = [row for row in matrix.pairs.to_dict("records") if top in (row["system_a"], row["system_b"])]
    beaten = all(row["different"] for row in own)
    first = f"{top} ({family.names[top]}) is highest{', and different from all others' if beaten else ''}"
    pairs = f"of {len(matrix.pairs)} pairs {counted} (Holm's method, equivalence at {family.settings.margin:g})"
    return f"{first}: {matrix.place[0]} of {means}; {pairs}"


def label_of(matrix: Matrix, matrices: Sequence[Matrix]) -> str:
    """Return what tells one place from the others."""
    varying = [at for at in range(4) if len({other.place[at] for other in matrices}) > 1]
    return ", ".join(str(matrix.place[at]) for at in varying)


def _notes(matrices: Sequence[Matrix], settings: Settings) -> list[str]:
    n = len(matrices[0].pairs) if matrices else 0
    notes = [
        f"Holm's method corrects each of the two questions for the {n} pairs"
        + (" of one place; places are not corrected for each other" if len(matrices) > 1 else "")
        + "; intervals, p, TOST p, smallest margins and what is needed are of a pair alone",
        "equivalence is not transitive: systems share a group only where each is equivalent to each",
        f"queries (seeds) needed: so many would show equivalence at {settings.margin:g} with probability 0.8, with the present number of "
        "the other, if the two were equal in truth",
    ]
    if any((matrix.pairs["seeds_pooled"] > 1).any() for matrix in matrices):
        notes.append("the variance over seeds is pooled over all systems with the same seeds, where a test of homogeneity allows it")
    if any(matrix.place[1] is not None and (matrix.pairs["n_seeds"] == 1).any() for matrix in matrices):
        notes.append("one seed: how much a difference varies with the seed is not known; verdicts are about these students only")
    return notes


def as_record(family: Family) -> dict[str, object]:
    """Return the same as a dict for JSON."""
    return {
        "answer": answer(family),
        "systems": family.names,
        "settings": family.settings._asdict() | {"strict_margin": STRICT_MARGIN},
        "about": family.about,
        "matrices": [
            dict(zip(("measure", *TITLES), matrix.place, strict=True))
            | {
                "n_queries": matrix.n_queries,
                "means": matrix.means,
                "n_seeds": matrix.n_seeds,
                "pairs": [_pair(row) for row in matrix.pairs.to_dict("records")],
                "groups": list(matrix.groups.values()),
            }
            for matrix in family.matrices
        ],
        "costs": [{"collection": cost.collection, "n_seeds": cost.n_seeds} | dict(zip(family.names, cost.cpu_seconds, strict=True))
                  for cost in family.costs],
        "notes": family.notes,
    }  # fmt: skip


def _pair(row: Mapping[Hashable, object]) -> dict[str, object]:
    """Return a pair with what is not known as None."""
    return {"a": row["system_a"], "b": row["system_b"]} | {name: None if row[name] != row[name] else row[name] for name in _PAIR}

"""The command ``power``: what so many queries and seeds can prove, and how many a margin needs, before anything is run."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from typing import NamedTuple

from tabulate import tabulate

from rd_utils.analysis import crossed
from rd_utils.analysis.compare_runs import DEFAULTS
from rd_utils.analysis.crossed import Spread
from rd_utils.study.explain import nearest
from rd_utils.study.params import ParameterError

MARGIN, ALPHA = DEFAULTS["margin"], DEFAULTS["alpha"]
POWER = 0.8
QUERIES = (50, 100, 300, 1000, 3000, 10_000)  # rows of the table
SEEDS = (1, 3, 5, 10)  # its columns
_NEVER = "none are enough"
SDS = ("sd_queries", "sd_seeds", "sd_both")


class Power(NamedTuple):
    """All that is printed.

    Attributes:
        spread: of a query's difference, in units of the measure.
        basis: where it is from.
        margin: of equivalence, in units of the measure; ``alpha`` of each one-sided test.
        margins: the smallest provable one by queries and seeds.
        queries: that ``margin`` needs by seeds, None where no number is enough.
        seeds: that ``margin`` needs with the queries asked for, None where no number is enough; empty where none were asked for.
        notes: what a reader of the numbers has to know.
    """

    spread: Spread
    basis: str
    margin: float
    alpha: float
    margins: dict[int, dict[int, float]]
    queries: dict[int, int | None]
    seeds: dict[int, int | None]
    notes: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser."""
    parser.add_argument("--queries", type=int, metavar="N", help="that systems are tested on (default: a table)")
    parser.add_argument("--seeds", type=int, metavar="N", help="that students are trained with (default: a table)")
    parser.add_argument("--margin", type=float, help=f"of equivalence, in units of the measure (default: the study's own; {MARGIN})")
    parser.add_argument("--alpha", type=float, help=f"of each one-sided test (default: the study's own; {ALPHA})")
    parser.add_argument("--sd-queries", type=float, metavar="SD", help="of a query's difference, over queries")
    parser.add_argument("--sd-seeds", type=float, metavar="SD", help="of what a seed shifts on all queries (default: 0)")
    parser.add_argument("--sd-both", type=float, metavar="SD", help="of what is particular to a seed and a query (default: 0)")
    parser.add_argument("--pilot", nargs=2, metavar=("A", "B"), help="two TREC runs: take the SD over queries of their differences")
    parser.add_argument("--qrels", metavar="FILE|ID", help="judge the pilot runs by a TREC qrels file or an ir_datasets id")
    parser.add_argument("--measure", metavar="NAME", help="of the pilot runs (default: nDCG@10)")
    parser.add_argument(
        "--study", metavar="FILE", help="take what earlier studies with the same architecture measured, else what is assumed"
    )
    parser.add_argument("--base", metavar="NAME", help="the study as run on another base: the name of a file in params/bases")
    parser.add_argument("--architecture", metavar="NAME", help="one of the study's, where it has several")
    parser.add_argument("--json", action="store_true", help="print the same numbers as one JSON object")


def run(options: argparse.Namespace) -> str:
    """Answer what the options ask; return the text to print.

    Raises:
        ParameterError: an option, a file or a name is not what it should be.
    """
    found = answer(options)
    if options.json:
        return json.dumps(found._asdict() | {"spread": found.spread._asdict()}, indent=1, allow_nan=False)
    return as_text(found)


def answer(options: argparse.Namespace) -> Power:
    """Compute what :func:`run` prints."""
    _check(options)
    spread, basis, margin, alpha, notes = _spread(options)
    margin, alpha = (own if asked is None else asked for asked, own in ((options.margin, margin), (options.alpha, alpha)))
    queries = QUERIES if options.queries is None else (options.queries,)
    varies = spread.seed > 0 or spread.residual > 0
    seeds = (options.seeds,) if options.seeds is not None else SEEDS if varies else (1,)
    return Power(
        spread,
        basis,
        margin,
        alpha,
        {n: {m: crossed.provable_margin(spread, n, m, alpha=alpha, power=POWER) for m in seeds} for n in queries},
        {m: crossed.queries_needed(spread, margin, m, alpha=alpha) for m in seeds},
        {n: crossed.seeds_needed(spread, margin, n, alpha=alpha) for n in queries if options.queries is not None and varies},
        notes,
    )


def _check(options: argparse.Namespace) -> None:
    """Refuse numbers out of their ranges, and options that exclude each other or lack another."""
    for name, least in (("queries", 2), ("seeds", 1)):
        if (value := getattr(options, name)) is not None and not least <= value <= 10_000_000:
            raise ParameterError(f"--{name} is {value}; expected a whole number from {least} to 10,000,000")
    for name, upper in (("margin", 1.0), ("alpha", 0.5)):
        if (value := getattr(options, name)) is not None and not 0 < value < upper:
            raise ParameterError(f"--{name} is {value}; expected a number above 0 and below {upper:g}")
    for name in SDS:
        if (value := getattr(options, name)) is not None and not 0 <= value <= 1:
            raise ParameterError(f"--{name.replace('_', '-')} is {value}; expected a number from 0 to 1, in units of the measure")
    ways = {"--sd-queries": options.sd_queries is not None, "--pilot": bool(options.pilot), "--study": bool(options.study)}
    chosen = [name for name, given in ways.items() if given]
    if len(chosen) > 1:
        raise ParameterError(f"{' and '.join(chosen)} exclude each other: each says how differences spread; give one")
    needs = {
        "--sd-queries": [f"--{name.replace('_', '-')}" for name in SDS[1:] if getattr(options, name) is not None],
        "--pilot": [f"--{name}" for name in ("qrels", "measure") if getattr(options, name) is not None],
        "--study": [f"--{name}" for name in ("base", "architecture") if getattr(options, name) is not None],
    }
    for needed, given in needs.items():
        if given and not ways[needed]:
            raise ParameterError(f"{given[0]} needs {needed}")
    if options.pilot and options.qrels is None:
        raise ParameterError("--qrels is missing: name a TREC qrels file or an ir_datasets id to judge the pilot runs by")


def _spread(options: argparse.Namespace) -> tuple[Spread, str, float, float, list[str]]:
    """Return how differences spread, where that is from, the margin and alpha that go with it, and notes."""
    if options.sd_queries is not None:
        return Spread(*(getattr(options, name) or 0.0 for name in SDS)), "as given", MARGIN, ALPHA, []
    if options.pilot:
        return _of_pilot(options)
    if options.study:
        return _of_study(options)
    from rd_utils.analysis.questions import ASSUMED_ELSE

    return ASSUMED_ELSE, "assumed; --pilot, --study or --sd-queries give your own", MARGIN, ALPHA, []


def _of_pilot(options: argparse.Namespace) -> tuple[Spread, str, float, float, list[str]]:
    from rd_utils.analysis import verdicts
    from rd_utils.analysis.compare_runs import MEASURES, measured_runs

    measure = options.measure or MEASURES[0]
    (a, b), _ = measured_runs(tuple(options.pilot), options.qrels, (measure,))
    before, after = verdicts.aligned(a[measure], b[measure])
    differences = (after - before)[:, 0]
    sd = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    if not sd > 0:
        raise ParameterError(f"--pilot: the runs' {measure} differ on too few of {len(differences)} judged queries to show a spread")
    notes = ["two runs say nothing of seeds: the numbers hold for these very systems; --sd-seeds with --sd-queries, or --study, add seeds"]
    error = sd / math.sqrt(2 * (len(differences) - 1))
    notes.append(f"the SD itself is known to within {error:.3f} (its standard error); needed queries vary with its square")
    return Spread(sd, 0.0, 0.0), f"{measure} of the pilot runs on {len(differences):,} judged queries", MARGIN, ALPHA, notes


def _of_study(options: argparse.Namespace) -> tuple[Spread, str, float, float, list[str]]:
    from rd_utils.analysis.questions import known_spread
    from rd_utils.study.plan import load_plan

    plan = load_plan(options.study, options.base or None)
    names = list(dict.fromkeys(cell.architecture for cell in plan.cells))
    name = options.architecture or (names[0] if len(names) == 1 else None)
    if name is None:
        raise ParameterError(f"--architecture is missing: {options.study} has {', '.join(names)}; name one")
    if name not in names:
        raise ParameterError(f"--architecture: {options.study} trains no {name!r}{nearest(name, names)}")
    spread, basis = known_spread(plan, name)
    settings = plan.study.analysis
    return spread, f"{basis} for {name}", settings.equivalence_margin, settings.alpha, []


def as_text(found: Power) -> str:
    """Return the answer as text."""
    spread = found.spread
    lines = [
        f"spread of a query's difference: {spread.query:.3f} over queries, {spread.seed:.3f} over seeds, {spread.residual:.3f} both",
        f"({found.basis})",
        "",
        f"smallest margin that two equal systems are shown equivalent within, with probability {POWER:g} (alpha {found.alpha:g}):",
        "",
        _table(found.margins, "queries", "{:.4f}"),
        "",
        f"queries that a margin of {found.margin:g} needs:",
        "",
        _table({"queries": found.queries}, "", "{:,}"),
    ]
    for queries, seeds in found.seeds.items():
        lines += ["", f"seeds that it needs with {queries:,} queries: {seeds or _NEVER}"]
    if 1 in found.queries and (spread.seed or spread.residual):
        lines += ["", "note: with one seed the verdict is about these very students; others may differ"]
    return "\n".join([*lines, *(f"\nnote: {note}" for note in found.notes)])


def _table(rows: dict, first: str, form: str) -> str:
    columns: Sequence[int] = list(next(iter(rows.values())))
    shown = [
        [f"{name:,}" if isinstance(name, int) else name, *(_NEVER if value is None else form.format(value) for value in row.values())]
        for name, row in rows.items()
    ]
    heads = [first, *(f"{n} seed{'s' * (n > 1)}" for n in columns)]
    return tabulate(shown, heads, disable_numparse=True, stralign="right", tablefmt="simple")

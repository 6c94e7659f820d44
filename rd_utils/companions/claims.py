"""The study's five claims, what each predicts of cells of a grid, and what a set of finished studies says of them.

A claim is a few *contrasts*: weighted sums of cells, each expected above zero, at zero, not below zero, or away from it, by a margin that
is fixed beforehand. One collection gives one estimate of a contrast, paired over queries and seeds (:mod:`rd_utils.analysis.crossed`);
estimates are combined over collections (:mod:`rd_utils.analysis.meta`), each architecture by itself, and a verdict follows from the
combined effect. The claims are those of section 1 of A. Parry, D. Ganguly, S. MacAvaney, Disentangling Locality and Entropy in Ranking
Distillation, arXiv 2505.21058, 2025; which contrasts stand for them is this suite's protocol (docs/protocol.md).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, cast

import pandas as pd

from rd_utils.analysis import crossed, meta, stats

Expects = Literal["above", "zero", "not below", "away"]
Verdict = Literal["confirmed", "refuted", "undecided"]
MARGIN = 0.01
ALPHA = 0.05
FIRST_STAGE = {
    "bi": "full",
    "cross": "bm25@100",
    "minilm_bi": "bm25@20",
    "minilm_cross": "bm25@20",
}  # where an architecture's verdict is read; other architectures: any first stage
MADE = "made"  # the kind of text whose teacher is exact
TASKS = {
    "arguana": "arguments",
    "checkthat20": "claims",
    "scifact": "claims",
    "cosqa": "code",
    "pystdlib": "code",
    "documented_code_search": "code",
    "stard": "questions",
    "xquadr_de": "questions",
    "xquadr_ar": "questions",
    "datafinder": "other search",
    "documented_see_also": "other search",
    "reversedict": "other search",
    "vaswani": "other search",
}
"""Kinds of text by the study, without ``claims_``; a world of the embedded collection is :data:`MADE`."""
HARD = ("bm25", "dense", "teacher", "pooled", "pooled_filtered", "graph")
_UNSAID = {"augmentation": "none", "cut": "all"}


class Term(NamedTuple):
    """A weight, and the cells whose mean it multiplies: a value or several for each dimension that is named."""

    weight: float
    cells: Mapping[str, str | float | tuple[str, ...]]


@dataclass(frozen=True)
class Contrast:
    """One weighted sum of cells that a claim says something of.

    Attributes:
        name: What it is, in words.
        terms: Of the sum.
        expects: ``above``: the effect is above 0, and not below the margin. ``zero``: it is within the margin. ``not below``: it is not
            below minus the margin. ``away``: it differs from 0.
    """

    name: str
    terms: tuple[Term, ...]
    expects: Expects


@dataclass(frozen=True)
class Claim:
    """One claim of the study.

    Attributes:
        number: In the study's order.
        title: In a few words.
        words: What it says.
        section: Of the paper.
        contrasts: That stand for it.
        holds: Whether the claim needs ``all`` of them, or ``any``.
    """

    number: int
    title: str
    words: str
    section: str
    contrasts: tuple[Contrast, ...]
    holds: Literal["all", "any"]


def _cells(strategy: str | tuple[str, ...], loss: str = "kl", **more: str | float) -> dict[str, str | float | tuple[str, ...]]:
    taught = {} if loss == "lce" else {"teacher": "teacher"}
    return {"strategy": strategy, "loss": loss} | taught | more


def _dialled(strategy: str | tuple[str, ...], entropy: float, **more: str) -> dict[str, str | float | tuple[str, ...]]:
    return _cells(strategy, teacher="unfloored", target_entropy=entropy, **more)


def _gain_lost(loss: str, name: str, mined: tuple[str, ...] = HARD, what: str = "") -> Contrast:
    """Return by how much the mean gain of the mined strategies over corpus-random is smaller under a loss than under LCE."""
    terms = (
        Term(1, _cells(mined, "lce")), Term(-1, _cells("corpus_random", "lce")),
        Term(-1, _cells(mined, loss)), Term(1, _cells("corpus_random", loss)),
    )  # fmt: skip
    return Contrast(f"gain{what} under LCE less under {name}", terms, "above")


CLAIMS = (
    Claim(
        1,
        "negatives under distillation",
        "Negatives that help under a contrastive loss can be spurious or harmful under distillation.",
        "1, 5",
        (
            _gain_lost("kl", "KL"),
            _gain_lost("margin_mse", "MarginMSE"),
            _gain_lost("ranknet", "RankNet"),
        ),
        "any",
    ),
    Claim(
        2,
        "locality and entropy act separately",
        "The locality of groups and the entropy of the teacher on them act separately.",
        "3, 4",
        (
            Contrast(
                "locality x entropy",
                (
                    Term(1, _dialled("diameter_90", 0.8)), Term(-1, _dialled("diameter_10", 0.8)),
                    Term(-1, _dialled("diameter_90", 0.2)), Term(1, _dialled("diameter_10", 0.2)),
                ),
                "zero",
            ),
            Contrast(
                "wide less local groups",
                (
                    Term(0.5, _dialled("diameter_90", 0.8)), Term(-0.5, _dialled("diameter_10", 0.8)),
                    Term(0.5, _dialled("diameter_90", 0.2)), Term(-0.5, _dialled("diameter_10", 0.2)),
                ),
                "away",
            ),
            Contrast(
                "an unsure less a sure teacher",
                (
                    Term(1, _dialled(("diameter_10", "diameter_90"), 0.8)),
                    Term(-1, _dialled(("diameter_10", "diameter_90"), 0.2)),
                ),
                "away",
            ),
        ),
        "all",
    ),
    Claim(
        3,
        "moderate entropy is best",
        "Moderate teacher entropy is best: a surer teacher is trivially met, a flatter one is noise.",
        "4, 5",
        (
            Contrast(
                "moderate (0.4 bits) less sure (0.2)",
                (Term(1, _dialled(("bm25", "pooled"), 0.4)), Term(-1, _dialled(("bm25", "pooled"), 0.2))),
                "above",
            ),
            Contrast(
                "moderate (0.4 bits) less unsure (0.8)",
                (Term(1, _dialled(("bm25", "pooled"), 0.4)), Term(-1, _dialled(("bm25", "pooled"), 0.8))),
                "above",
            ),
        ),
        "all",
    ),
    Claim(
        4,
        "augmentation trades bias for variance",
        "Augmenting inputs or targets can trade bias for variance, where groups are local or the teacher is sure.",
        "4",
        (
            Contrast(
                "augmented less plain inputs, pooled",
                (
                    Term(0.5, _cells("pooled", augmentation="random_third")), Term(0.5, _cells("pooled", augmentation="query_dropout")),
                    Term(-1, _cells("pooled")),
                ),
                "above",
            ),
            Contrast(
                "augmented less plain targets, sure teacher",
                (
                    Term(0.5, _dialled("pooled", 0.2, augmentation="smoothing")),
                    Term(0.5, _dialled("pooled", 0.2, augmentation="hard_half")),
                    Term(-1, _dialled("pooled", 0.2)),
                ),
                "above",
            ),
        ),
        "any",
    ),
    Claim(
        5,
        "cheaper negatives do as well",
        "Much cheaper training data does as well as negatives of many retrievers that a cross-encoder has filtered.",
        "5, 6",
        (
            Contrast(
                "BM25 less pooled and filtered, under KL",
                (Term(1, _cells("bm25")), Term(-1, _cells("pooled_filtered"))),
                "not below",
            ),
            Contrast(
                "random less pooled and filtered, under KL",
                (Term(1, _cells("corpus_random")), Term(-1, _cells("pooled_filtered"))),
                "not below",
            ),
        ),
        "any",
    ),
)  # fmt: skip


PRETRAINED = (
    replace(CLAIMS[0], contrasts=(_gain_lost("kl", "KL", ("bm25", "pooled_filtered"), " of BM25, filtered"),)),
    CLAIMS[4],
)
"""What the smaller grid of pretrained students can say of claims 1 and 5: judged by itself, beside the verdicts."""


# --- one estimate a collection ----------------------------------------------------------------------------------------------------


def estimates(per_query: pd.DataFrame, claims: Iterable[Claim] = CLAIMS) -> pd.DataFrame:
    """Return every contrast's estimate in every collection, for every architecture and first stage that has all of its cells.

    Args:
        per_query: of finished studies, one measure, with the columns of a report's ``per_query.parquet``.
        claims: Whose contrasts are asked for.

    Returns:
        One row a contrast and place: ``claim, contrast, study, collection, test_collection, architecture, first_stage, estimate, variance``
        (of the estimate, over queries and seeds), ``n_queries``, ``n_seeds``.

    Raises:
        ValueError: A term of a contrast meets two cells of one name, or seeds differ between its cells.
    """
    trained = per_query[per_query["system"] == "student"]
    rows = []
    places = ["study", "collection", "test_collection", "architecture", "first_stage"]
    for place, here in trained.groupby(places, sort=False, observed=True):
        laid_out = _by_cell(here)
        cells = cast("list[dict[str, Any]]", here.drop_duplicates("cell").astype(object).to_dict("records"))
        for claim in claims:
            for contrast in claim.contrasts:
                delta = _sum(contrast, cells, laid_out)
                if delta is None:
                    continue
                found = crossed.crossed(delta.to_numpy(dtype=float).T)
                variance = max(found.by_query, found.by_query + found.by_seed - found.residual)
                values = [found.mean, variance, found.n_queries, found.n_seeds]
                rows.append([claim.number, contrast.name, *place, *values])
    return pd.DataFrame(rows, columns=["claim", "contrast", *places, "estimate", "variance", "n_queries", "n_seeds"])


def _by_cell(here: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the values of every cell, a row a query and a column a seed."""
    twice = here.duplicated(["cell", "seed", "query_id"])
    if twice.any():
        row = here[twice].iloc[0]
        raise ValueError(f"{row['study']}: {row['cell']} has query {row['query_id']!r} of seed {row['seed']} twice; expected one value")
    wide = here.astype({"cell": str, "query_id": str}).pivot(index="query_id", columns=["cell", "seed"], values="value").sort_index(axis=1)
    if wide.isna().any(axis=None):
        cell, seed = cast("tuple[str, int]", wide.columns[wide.isna().any()][0])
        raise ValueError(f"{here['study'].iloc[0]}: {cell} lacks a query of seed {seed} that other cells have; expected every value")
    return {cell: cast("pd.DataFrame", wide[cell]) for cell in map(str, wide.columns.unique("cell"))}


def _sum(contrast: Contrast, cells: Sequence[Mapping[str, Any]], laid_out: dict[str, pd.DataFrame]) -> pd.DataFrame | None:
    """Return the weighted sum of cells, a row a query and a column a seed; None where a cell is not there."""
    total: pd.DataFrame | None = None
    for weight, wanted in contrast.terms:
        several = {name: value if isinstance(value, tuple) else (value,) for name, value in (_UNSAID | dict(wanted)).items()}
        combinations = list(itertools.product(*several.values()))
        for combination in combinations:
            asked = dict(zip(several, combination, strict=True))
            met = [cell["cell"] for cell in cells if all(_is(cell[name], value) for name, value in asked.items())]
            if not met:
                return None
            if len(met) > 1:
                raise ValueError(f"{contrast.name!r} meets {len(met)} cells, {', '.join(met[:3])}, where one is meant")
            part = laid_out[met[0]] * (weight / len(combinations))
            if total is not None and list(total.columns) != list(part.columns):
                raise ValueError(f"{contrast.name!r}: {met[0]} has the seeds {list(part.columns)}, others {list(total.columns)}")
            total = part if total is None else total + part
    return total


def _is(found: Any, wanted: str | float) -> bool:
    return math.isclose(float(found), wanted, rel_tol=1e-5) if isinstance(wanted, float) else found == wanted


def where_read(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table whose ``first_stage`` is the one where verdicts on their ``architecture`` are read."""
    places = zip(table["architecture"], table["first_stage"], strict=True)
    return table[[FIRST_STAGE.get(architecture, stage) == stage for architecture, stage in places]]


def task(study: str) -> str:
    """Return the kind of text of a study of the claims: one of :data:`TASKS`, ``made`` for a world, else ``own``.

    >>> task("claims_cosqa"), task("claims_world_additive"), task("mine")
    ('code', 'made', 'own')
    """
    name = study.removeprefix("claims_")
    return MADE if name.startswith("world_") else TASKS.get(name, "own")


# --- over collections -------------------------------------------------------------------------------------------------------------


def combine(estimates: pd.DataFrame, *, margin: float = MARGIN, alpha: float = ALPHA, claims: Sequence[Claim] = CLAIMS) -> pd.DataFrame:
    """Combine the estimates of every contrast over collections, each architecture by itself, where its verdict is read.

    Confirming and refuting are two families of one-sided tests, each corrected by Holm over all contrasts and architectures. With ``m`` the
    margin and ``t`` the mean effect over collections:

    ========= ================================== =============================
    expects   confirmed when                     refuted when
    ========= ================================== =============================
    above     t > 0, and not refuted             t < m
    zero      -m < t < m                         t < -m or t > m
    not below t > -m                             t < -m
    away      t < 0 or t > 0, and not refuted    -m < t < m
    ========= ================================== =============================

    Args:
        estimates: of :func:`estimates`; of more than one first stage that of :data:`FIRST_STAGE` counts.
        margin: The smallest effect that matters, in units of the measure.
        alpha: Level of each family.
        claims: That were asked about.

    Returns:
        One row a contrast and architecture: ``claim, contrast, expects, architecture, n`` (collections), ``estimate, se, low, high``
        (the interval at 1 - alpha), ``low_next, high_next`` (in which one more collection's effect lies), ``tau, i_squared,
        p_heterogeneity, p_confirm, p_refute`` (Holm-corrected), ``verdict``.
    """
    asked: dict[tuple[int, str], Expects] = {
        (claim.number, contrast.name): contrast.expects for claim in claims for contrast in claim.contrasts
    }
    counted = where_read(estimates)
    rows = []
    for (number, name, architecture), part in counted.groupby(["claim", "contrast", "architecture"], sort=False):
        expects = asked.get((cast("int", number), str(name)))
        if len(part) < 2 or expects is None:
            continue
        found = meta.combined(part["estimate"], part["variance"])
        about = {"claim": number, "contrast": name, "expects": expects, "architecture": architecture, "n": found.n}
        low, high = found.interval(1 - alpha)
        low_next, high_next = found.prediction(1 - alpha)
        about |= {"estimate": found.estimate, "se": found.se, "low": low, "high": high, "low_next": low_next, "high_next": high_next}
        about |= {"tau": found.tau, "i_squared": found.i_squared, "p_heterogeneity": found.p_heterogeneity}
        rows.append(about | dict(zip(("p_confirm", "p_refute"), _tests(found, expects, margin), strict=True)))
    if not rows:
        raise ValueError("no contrast has estimates of two collections or more; add finished studies of the claims' grid")
    table = pd.DataFrame(rows)
    for name in ("p_confirm", "p_refute"):
        table[name] = stats.holm(table[name])
    table["verdict"] = [_verdict(*both, alpha) for both in zip(table["p_confirm"], table["p_refute"], strict=True)]
    return table


def alone(estimates: pd.DataFrame, *, margin: float = MARGIN, alpha: float = ALPHA, claims: Sequence[Claim] = CLAIMS) -> pd.DataFrame:
    """Return the estimates with the ``verdict`` that each would have by itself, of its own queries and seeds and without a correction.

    Args:
        estimates: of :func:`estimates`.
        margin: As in :func:`combine`.
        alpha: Level of each test.
        claims: That were asked about.
    """
    asked: dict[tuple[int, str], Expects] = {
        (claim.number, contrast.name): contrast.expects for claim in claims for contrast in claim.contrasts
    }
    said = []
    for row in cast("list[dict[str, Any]]", estimates.to_dict("records")):
        own = meta.Combined(row["estimate"], math.sqrt(row["variance"]), 0.0, 0.0, 1.0, row["n_queries"])
        said.append(_verdict(*_tests(own, asked[row["claim"], row["contrast"]], margin), alpha))
    return estimates.assign(verdict=said)


def _tests(found: meta.Combined, expects: Expects, margin: float) -> tuple[float, float]:
    """Return the p-values that confirm and that refute, uncorrected."""
    above, below = found.p_above, found.p_below
    within = max(above(-margin), below(margin))
    if expects == "above":
        return above(0.0), below(margin)
    if expects == "not below":
        return above(-margin), below(-margin)
    if expects == "zero":
        return within, min(1.0, 2 * min(above(margin), below(-margin)))
    return min(1.0, 2 * min(above(0.0), below(0.0))), within


def _verdict(p_confirm: float, p_refute: float, alpha: float) -> Verdict:
    if p_refute < alpha:
        return "refuted"  # also an effect that is surely there, and surely below the margin
    return "confirmed" if p_confirm < alpha else "undecided"


# --- a verdict a claim ------------------------------------------------------------------------------------------------------------


def verdicts(
    estimates: pd.DataFrame,
    kinds: Mapping[str, str] | None = None,
    *,
    margin: float = MARGIN,
    alpha: float = ALPHA,
    claims: Sequence[Claim] = CLAIMS,
) -> pd.DataFrame:
    """Return one verdict a claim: confirmed, refuted, undecided, or what it depends on.

    An architecture's verdict: with ``all``, confirmed when every contrast is, refuted when one is; with ``any`` the other way round. A
    claim's: that of all architectures where they agree; *depends on the architecture* where one confirms and another refutes; *depends on
    the kind of text* where, for one architecture, the collections of one kind confirm and those of another refute; else undecided.

    Args:
        estimates: of :func:`estimates`.
        kinds: Study to kind of text, within which verdicts are looked at alone; by default made text and real text.
        margin: As in :func:`combine`.
        alpha: As in :func:`combine`.
        claims: That were asked about.

    Returns:
        One row a claim: ``claim, title, verdict, why`` (the verdicts that it follows from, in words).
    """
    whole = combine(estimates, margin=margin, alpha=alpha, claims=claims)
    known = kinds or {study: MADE if task(study) == MADE else "real" for study in estimates["study"].unique()}
    named = pd.Series([known[study] for study in estimates["study"]], index=estimates.index)
    by_kind: dict[str, pd.DataFrame] = {}
    for kind, part in estimates.groupby(named):
        if part["study"].nunique() > 1:
            by_kind[str(kind)] = combine(part, margin=margin, alpha=alpha, claims=claims)
    rows = []
    for claim in claims:
        found = of_architectures(whole, claim)
        if not found:
            continue
        split = {kind: of_architectures(table, claim) for kind, table in by_kind.items()}
        verdict, why = _of_claim(found, split)
        rows.append([claim.number, claim.title, verdict, why])
    return pd.DataFrame(rows, columns=["claim", "title", "verdict", "why"])


def of_architectures(combined: pd.DataFrame, claim: Claim) -> dict[str, Verdict]:
    """Return the verdict of every architecture that has all of a claim's contrasts."""
    of_claim = combined[combined["claim"] == claim.number]
    found: dict[str, Verdict] = {}
    for architecture, part in of_claim.groupby("architecture", sort=False):
        each = set(part["verdict"])
        if len(part) < len(claim.contrasts):
            continue
        first, last = ("refuted", "confirmed") if claim.holds == "all" else ("confirmed", "refuted")
        found[str(architecture)] = first if first in each else last if each == {last} else "undecided"
    return found


def _of_claim(found: dict[str, Verdict], split: dict[str, dict[str, Verdict]]) -> tuple[str, str]:
    said = ", ".join(f"{name}: {verdict}" for name, verdict in found.items())
    if len(set(found.values())) == 1 and "undecided" not in found.values():
        return next(iter(found.values())), said
    if {"confirmed", "refuted"} <= set(found.values()):
        return "depends on the architecture", said
    for architecture in found:
        of_kinds = {kind: each.get(architecture, "undecided") for kind, each in split.items()}
        if {"confirmed", "refuted"} <= set(of_kinds.values()):
            return "depends on the kind of text", f"{architecture}: " + ", ".join(f"{kind} {verdict}" for kind, verdict in of_kinds.items())
    return "undecided", said


def standing(per_query: pd.DataFrame) -> pd.DataFrame:
    """Return how many cells of each study end below their untrained self, or below BM25, on average over queries and seeds.

    Returns:
        One row a study and architecture, in the first stage where its verdicts are read: ``cells``, how many of them are ``below_bm25`` and
        ``below_untrained``, and the means ``bm25``, ``untrained``, ``best`` (cell) and ``teacher`` (NaN where there is none).
    """
    means = per_query.groupby(["study", "first_stage", "system", "architecture", "cell", "collection"], observed=True)["value"].mean()
    means = means.reset_index()
    rows = []
    for (study, architecture), part in means[means["system"] == "student"].groupby(["study", "architecture"], sort=False, observed=True):
        stage = FIRST_STAGE.get(str(architecture), part["first_stage"].iloc[0])
        here = means[(means["study"] == study) & (means["first_stage"] == stage)]
        cells = part.loc[part["first_stage"] == stage, "value"]

        def of(system: str, here: pd.DataFrame = here, architecture: object = architecture) -> float:
            rows = here[(here["system"] == system) & (here["architecture"].isin([architecture, ""]))]
            return float(rows["value"].iloc[0]) if len(rows) else math.nan

        first, untrained, teacher = of("first_stage"), of("untrained"), of("teacher")
        below = [int((cells < first).sum()), int((cells < untrained).sum())]
        rows.append([study, architecture, len(cells), *below, first, untrained, cells.max(), teacher])
    names = ["cells", "below_bm25", "below_untrained", "bm25", "untrained", "best", "teacher"]
    return pd.DataFrame(rows, columns=["study", "architecture", *names])


def shown(estimates: pd.DataFrame, combined: pd.DataFrame, number: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what :func:`rd_utils.report.charts.claim_chart` draws of a claim: its estimates with their kinds of text, and their mean."""
    together = combined[combined["claim"] == number]
    counted = {(row.contrast, row.architecture) for row in together.itertuples()}
    of_claim = where_read(estimates[estimates["claim"] == number])
    places = zip(of_claim["contrast"], of_claim["architecture"], strict=True)
    drawn = of_claim[[place in counted for place in places]]
    names = [study.removeprefix("claims_") for study in drawn["study"]]
    return drawn.assign(collection=names, kind=[task(study) for study in drawn["study"]]), together


def fragile(
    estimates: pd.DataFrame, *, margin: float = MARGIN, margins: Sequence[float] = (0.005, 0.02), claims: Sequence[Claim] = CLAIMS
) -> pd.DataFrame:
    """Return what moves each claim's verdict: a collection that is left out, or another margin.

    Returns:
        One row a claim: ``claim, verdict``, and ``moved_by``: each change with the verdict that it gives, or nothing.
    """

    def judged(part: pd.DataFrame, margin: float) -> dict[int, str]:
        table = verdicts(part, margin=margin, claims=claims)
        return dict(zip(table["claim"], table["verdict"], strict=True))

    whole = judged(estimates, margin)
    changes = {f"margin {other:g}": judged(estimates, other) for other in margins if other != margin}
    studies = list(dict.fromkeys(estimates["study"]))
    for study in studies if len(studies) > 2 else ():
        changes[f"without {study.removeprefix('claims_')}"] = judged(estimates[estimates["study"] != study], margin)
    rows = []
    for number, verdict in whole.items():
        moved = [f"{change}: {table[number]}" for change, table in changes.items() if table.get(number, verdict) != verdict]
        rows.append([number, verdict, "; ".join(moved)])
    return pd.DataFrame(rows, columns=["claim", "verdict", "moved_by"])


def outlook(combined: pd.DataFrame, *, margin: float = MARGIN, alpha: float = ALPHA, most: int = 200) -> pd.DataFrame:
    """Return what would decide each undecided contrast: how many collections in all, if the mean and its spread stay what they are.

    With k collections the standard error shrinks by sqrt(n / k), and Student's t has k - 1 degrees of freedom; the level is alpha over the
    number of tests of a family, as Holm has it at worst. More queries or seeds help only with what is not true variation over collections,
    ``1 - i_squared``.

    Args:
        combined: of :func:`combine`.
        margin: As there.
        alpha: As there.
        most: Collections beyond which no number is given.

    Returns:
        One row an undecided contrast and architecture: ``claim, contrast, architecture, n, leans`` (the verdict that the mean leans to),
        ``needed`` (collections; NaN beyond ``most``, or where the mean lies on the border) and ``asks_for`` (``other collections``, or
        ``more queries or seeds`` where most of the variation is theirs).
    """
    level, rows = alpha / len(combined), []
    for about in combined[combined["verdict"] == "undecided"].to_dict("records"):
        row = cast("dict[str, Any]", about)
        now = meta.Combined(*(row[name] for name in meta.Combined._fields))
        leans, needed = "undecided", math.nan
        for k in range(now.n + 1, most + 1):
            then = now._replace(n=k, se=now.se * math.sqrt(now.n / k))
            found = _verdict(*_tests(then, row["expects"], margin), level)
            if found != "undecided":
                leans, needed = found, k
                break
        asks_for = "other collections" if now.i_squared >= 0.5 else "more queries or seeds"
        rows.append([row["claim"], row["contrast"], row["architecture"], now.n, leans, needed, asks_for])
    return pd.DataFrame(rows, columns=["claim", "contrast", "architecture", "n", "leans", "needed", "asks_for"])


def in_words(number: int, fragile: pd.DataFrame, outlook: pd.DataFrame) -> list[str]:
    """Return a claim's verdict, what moves it and what would decide its open contrasts, a sentence each.

    Args:
        number: Of the claim.
        fragile: of :func:`fragile`.
        outlook: of :func:`outlook`.
    """
    row = fragile[fragile["claim"] == number].iloc[0]
    moved_by = row["moved_by"] or "no other margin that was tried, and no collection left out"
    lines = [f"Verdict: {row['verdict']}.", f"Moved by: {moved_by}."]
    for asked in cast("list[dict[str, Any]]", outlook[outlook["claim"] == number].to_dict("records")):
        needed = asked["needed"]
        decided = "at no number in sight" if math.isnan(needed) else f"{asked['leans']} at {needed:.0f}, if its mean and spread stay"
        where = f"{asked['contrast']}, {asked['architecture']}"
        lines.append(f"Open with {asked['n']} collections: {where}: {decided}; asks for {asked['asks_for']}.")
    return lines

"""Rules of the study's public code as committed on 2025-05-29, written anew from what they do, to set beside this package's own.

Nothing else in the package computes with them: they are here to be compared. Each function says what the published rule does, and where
ours lives; the number of an erratum is that of the project's list of places where the public code differs from its description
(https://github.com/Parry-Parry/locality-and-entropy). Which revision the published tables came from is not known, so a difference that
shows here is one between rules, and no statement about those tables.

:func:`compare_verdicts` and :func:`compare_strategies` put the rules of the statistics side by side on a study's own values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import sparse, special
from scipy import stats as distributions
from scipy.sparse import csgraph

from rd_utils.analysis import stats, verdicts

if TYPE_CHECKING:
    import altair as alt

    from rd_utils.study.studies import AnalysisSettings

ALPHA = 0.1  # of the published one-sided tests
MARGIN_SHARE = 0.001  # of the observed difference: the published margin

_PLACE = ["collection", "test_collection", "first_stage"]


# --- entropy ----------------------------------------------------------------------------------------------------------------------


def group_entropy(scores: ArrayLike) -> np.ndarray:
    """Divide scores by their sum, and take the entropy of what is positive (erratum 2).

    Published: ``m_i = g_i / sum_j g_j``; ``H = -sum of m_i ln m_i over m_i > 0``, in nats; 0 where the sum is 0. A teacher's
    log-probabilities are at most 0, so the best document gets the *least* mass; and where signs are mixed, the positive masses sum to more
    than 1, so that H may exceed ``ln G`` or fall below 0.

    Ours: :func:`rd_utils.scoring.entropy.listwise_entropy`, of ``softmax(g / T)``, over ``log2 G``.

    Args:
        scores: (..., group) raw scores of the teacher.

    Returns:
        (...) in nats.

    Raises:
        ValueError: a score is not finite, or there are fewer than two.

    A teacher that is sure of the first document, one that is flat (ln 3 = 1.0986), and scores whose sum is 0:

    >>> group_entropy([[-0.01, -5.0, -6.0], [-1.0, -1.0, -1.0], [1.0, 1.0, -2.0]]).round(4).tolist()
    [0.6957, 1.0986, 0.0]
    """
    scores = _checked(scores, "scores")
    total = scores.sum(axis=-1, keepdims=True)
    masses = np.divide(scores, total, out=np.zeros_like(scores), where=total != 0)
    return special.entr(np.maximum(masses, 0.0)).sum(axis=-1)


def run_entropy(scores: ArrayLike, *, lowest: float = 1e-6) -> np.ndarray:
    """Shift scores only where *all* are at most 0, divide by their sum, and take the entropy (erratum 14).

    Published: where every score is at most 0, all are shifted until they are positive; then ``p_i = g_i / sum_j g_j`` and
    ``H = -sum_i p_i log2 p_i``, in bits. One positive score among negative ones, and nothing is shifted: negative "probabilities" have no
    logarithm, and a probability of 0 has none either, so the entropy is NaN.

    Ours: :func:`rd_utils.scoring.entropy.listwise_entropy`: a softmax needs no shift, and is the same for all of them.

    Args:
        scores: (..., group) raw scores of the teacher.
        lowest: what the lowest score becomes where the scores are shifted, above 0. The rule's description leaves it open; it hardly
            matters while it is small beside the differences of scores.

    Returns:
        (...) in bits; NaN where the published rule gives no number.

    Raises:
        ValueError: a score is not finite, there are fewer than two, or ``lowest`` is not above 0.

    Shifted by 3, the scores are 2, 1 and 0; the same scores 2.5 higher are not shifted; and 3.5 higher they are 2.5, 1.5 and 0.5:

    >>> run_entropy([[-1.0, -2.0, -3.0], [1.5, 0.5, -0.5], [2.5, 1.5, 0.5]]).round(3).tolist()
    [0.918, nan, 1.352]
    """
    scores = _checked(scores, "scores")
    if not 0 < lowest < np.inf:
        raise ValueError(f"lowest is {lowest}; expected a number above 0, since the shift makes scores positive")
    all_at_most_0 = (scores <= 0).all(axis=-1, keepdims=True)
    shifted = np.where(all_at_most_0, scores - scores.min(axis=-1, keepdims=True) + lowest, scores)
    with np.errstate(divide="ignore", invalid="ignore"):  # what the published rule runs into
        masses = shifted / shifted.sum(axis=-1, keepdims=True)
        return -(masses * np.log2(masses)).sum(axis=-1)


def entropy_cut(values: ArrayLike, part: str) -> np.ndarray:
    """Keep the three quarters of the queries that a part's name does not speak of (erratum 4).

    Published: ``upper_quartile`` keeps the values below the third quartile Q3, ``lower_quartile`` those above the first, Q1; each
    keeps about three quarters, and they share the middle half.

    Ours: :func:`rd_utils.scoring.entropy.cut`, whose names say what is kept, and whose parts partition the queries.

    Args:
        values: (n,) one finite value per query.
        part: ``upper_quartile`` or ``lower_quartile``.

    Returns:
        (n,) bool, True where the query is kept; quartiles interpolate linearly.

    Raises:
        ValueError: the part is unknown, or a value is not finite.

    >>> entropy_cut([1, 2, 3, 4], "upper_quartile").tolist(), entropy_cut([1, 2, 3, 4], "lower_quartile").tolist()
    ([True, True, True, False], [False, True, True, True])
    """
    values = _checked(values, "values")
    if part == "upper_quartile":
        return values < np.quantile(values, 0.75)
    if part == "lower_quartile":
        return values > np.quantile(values, 0.25)
    raise ValueError(f"unknown part {part!r}; expected upper_quartile or lower_quartile")


# --- negatives --------------------------------------------------------------------------------------------------------------------


class TeacherNegatives(NamedTuple):
    """What the published rule drew, and the probability that the positive is among it."""

    doc_ids: list[str]
    probability_of_positive: float


def teacher_negatives(
    doc_ids: Sequence[str], teacher_scores: ArrayLike, *, positive: str, keep: int, n_negatives: int, seed: int
) -> TeacherNegatives:
    """Rank candidates with the positive among them, keep the best, and sample negatives of these (erratum 17).

    Published: the positive is ranked with the others. Where it comes among the ``keep`` best, as a good teacher will have it, it is drawn
    as its own negative with probability ``n_negatives / keep``: 15 of 100.

    Ours: :func:`rd_utils.mining.sampling.draw_groups` takes every positive of the query out before anything is ranked or cut.

    Args:
        doc_ids: (n,) the candidates of one query.
        teacher_scores: (n,) the teacher's scores of them.
        positive: the doc_id of the group's positive.
        keep: how many of the best are kept.
        n_negatives: how many of these are sampled uniformly, without replacement.
        seed: of the draw.

    Returns:
        The doc_ids drawn, in the order of the draw, and the probability.

    Raises:
        ValueError: ids and scores differ in number, an id stands twice, a score is not finite, or there are too few documents.

    >>> drawn = teacher_negatives(["d1", "d2", "d3"], [3.0, 2.0, 1.0], positive="d1", keep=2, n_negatives=1, seed=0)
    >>> drawn.doc_ids[0] in ("d1", "d2"), drawn.probability_of_positive
    (True, 0.5)
    """
    scores = _checked(teacher_scores, "teacher_scores")
    if scores.shape != (len(doc_ids),):
        raise ValueError(f"teacher_scores has shape {scores.shape} for {len(doc_ids)} doc_ids; expected one score for each")
    if len(set(doc_ids)) < len(doc_ids):
        raise ValueError("a doc_id stands twice among the candidates; expected each document once")
    if not 1 <= n_negatives <= keep <= len(doc_ids):
        raise ValueError(
            f"n_negatives is {n_negatives}, keep {keep}, and there are {len(doc_ids)} documents; "
            "expected 1 <= n_negatives <= keep <= documents"
        )
    kept = sorted(range(len(doc_ids)), key=lambda row: (-scores[row], doc_ids[row]))[:keep]
    drawn = np.random.default_rng(seed).choice(kept, size=n_negatives, replace=False)
    among = any(doc_ids[row] == positive for row in kept)
    return TeacherNegatives([doc_ids[int(row)] for row in drawn], n_negatives / keep if among else 0.0)


# --- locality ---------------------------------------------------------------------------------------------------------------------


def diameter(vectors: ArrayLike, alpha: float = 0.99) -> np.ndarray:
    """Measure a group after each *dimension* was normalised across the group (errata 28 and 30).

    Published: ``y_ic = x_ic / sqrt(sum_j x_jc^2)`` with j over the documents of the group, and then the alpha-quantile of the Euclidean
    distances of all pairs of y. A document's embedding does not get norm 1, and what a dimension weighs depends on the rest of the group.

    Ours: :func:`rd_utils.analysis.locality.diameters`, each embedding normalised over its own dimensions.

    Args:
        vectors: (..., group, d) embeddings.
        alpha: the quantile, interpolated linearly.

    Returns:
        (...) distances.

    Raises:
        ValueError: a number is not finite, a group has fewer than two documents, a dimension is 0 all over a group (the published rule
            divides by 0 there), or alpha is out of its range.

    Two documents at a right angle come out at sqrt 2, whatever their lengths, by either rule; a nearly equal pair does not come out near 0:

    >>> diameter([[[3.0, 0.0], [0.0, 0.5]], [[1.0, 0.01], [1.0, -0.01]]]).round(4).tolist()
    [1.4142, 1.4142]
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    if vectors.ndim < 2 or vectors.shape[-2] < 2 or not np.isfinite(vectors).all():
        raise ValueError(
            f"vectors has shape {vectors.shape}; expected finite numbers, (..., documents of a group, dimensions), 2 documents or more"
        )
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha is {alpha}; expected a quantile above 0 and at most 1")
    norms = np.linalg.norm(vectors, axis=-2, keepdims=True)
    if (norms == 0).any():
        raise ValueError(
            f"dimension {np.argwhere(norms == 0)[0][-1]} is 0 in every document of a group, and the published rule divides by its norm; "
            "leave the dimension out"
        )
    scaled = vectors / norms
    first, second = np.triu_indices(vectors.shape[-2], k=1)
    distances = np.linalg.norm(scaled[..., first, :] - scaled[..., second, :], axis=-1)
    return np.quantile(distances, alpha, axis=-1)


def density_ratio(teacher_scores: ArrayLike, target: ArrayLike | None = None) -> float:
    """Take a teacher's scores, divided by their sum, for the sampling distribution (erratum 35).

    Published: ``nu_i = g_i / sum_j g_j`` and ``kappa = max_i mu_i / nu_i``. Of log-probabilities, the best document has the least mass
    and sets kappa, which so grows with the teacher's certainty; where signs are mixed, negative masses never win the maximum, and kappa
    may fall below 1, which a ratio of densities cannot.

    Ours: :func:`rd_utils.analysis.locality.density_ratio`, with nu the probabilities with which the strategy draws the documents.

    Args:
        teacher_scores: (n,) raw scores.
        target: (n,) probabilities mu; uniform where None.

    Returns:
        kappa; infinite where a score is 0.

    Raises:
        ValueError: a score is not finite, their sum is 0, or the target is not one number a score.

    >>> [round(density_ratio(scores), 3) for scores in ([-1.0, -1.0, -1.0], [-0.01, -5.0, -6.0], [3.0, 2.0, -0.5])]
    [1.0, 367.0, 0.75]
    """
    scores = _checked(teacher_scores, "teacher_scores")
    mu = np.full(len(scores), 1 / len(scores)) if target is None else _checked(target, "target")
    if scores.ndim != 1 or mu.shape != scores.shape:
        raise ValueError(f"teacher_scores has shape {scores.shape}, target {mu.shape}; expected (n,) over the same documents")
    if scores.sum() == 0:
        raise ValueError("the scores sum to 0, and the published rule divides by their sum")
    nu = scores / scores.sum()
    ratio = np.divide(mu, nu, out=np.full(len(nu), np.inf), where=nu != 0)
    return float(ratio[mu > 0].max())


# --- equivalence ------------------------------------------------------------------------------------------------------------------


def joined(p_lower: ArrayLike, p_upper: ArrayLike, *, alpha: float = ALPHA) -> np.ndarray:
    """Call two systems equivalent where both one-sided p-values are ABOVE alpha (erratum 38).

    Published: joined where neither test rejects. What the tests would have to reject, for equivalence to be shown, is that the difference
    is as large as the margin; so the surer the equivalence, the less are the systems joined, and few noisy queries join anything.

    Ours: equivalent where the larger of the two is BELOW alpha (:func:`rd_utils.analysis.stats.paired_difference`).

    Args:
        p_lower: (...) against "the difference is at most minus the margin".
        p_upper: (...) against "the difference is at least the margin".
        alpha: both must be above it.

    Returns:
        (...) bool.

    >>> joined([0.001, 0.4], [0.002, 0.6]).tolist()
    [False, True]
    """
    return (np.asarray(p_lower) > alpha) & (np.asarray(p_upper) > alpha)


class Equivalence(NamedTuple):
    """Two one-sided p-values, and whether the published rule joins the systems."""

    p_lower: np.ndarray
    p_upper: np.ndarray
    joined: np.ndarray


def equivalence(
    before: ArrayLike, after: ArrayLike, *, margin_share: float = MARGIN_SHARE, alpha: float = ALPHA, axis: int = -1
) -> Equivalence:
    """Join two systems unless one of two one-sided tests rejects, at a margin taken from the data (errata 37, 38 and 39).

    Published: with ``d = mean(after) - mean(before)`` and the margin ``m = margin_share * |d|``, two one-sided t tests as if the samples
    were independent (pooled variance, ``n_before + n_after - 2`` degrees of freedom):

    - ``p_lower = P(t >= (d + m) / se)``, against "the difference is at most -m";
    - ``p_upper = P(t <= (d - m) / se)``, against "the difference is at least m";

    and :func:`joined` where BOTH are above alpha. Since m is below ``|d|``, the larger of the two is never below 0.5, so that equivalence
    cannot be shown; the smaller one is, nearly, that of a one-sided test for a difference, and "joined" says that it did not reject.

    Ours: :func:`stats.paired_difference`: differences of values of the same query, a margin in units of the measure that is fixed
    beforehand, and equivalent where the larger p-value is BELOW alpha.

    Args:
        before: (..., n) values of one system; leading axes broadcast.
        after: (..., m) values of the other.
        margin_share: of the observed difference.
        alpha: both p-values must be above it.
        axis: of the queries.

    Returns:
        p_lower, p_upper (float64) and joined (bool), each with the leading axes. Two samples that are one and the same constant have no t
        statistic: their p-values are NaN, and they are not joined.

    Raises:
        ValueError: a sample has fewer than two values, a value is not finite, or a setting is out of its range.

    Every query gains 0.2, and still the systems are joined, since d / se = 0.2 / sqrt(0.0667 / 2) = 1.095 with 6 degrees of freedom:

    >>> p_lower, p_upper, together = equivalence([0.1, 0.3, 0.5, 0.7], [0.3, 0.5, 0.7, 0.9])
    >>> round(float(p_lower), 3), round(float(p_upper), 3), bool(together)
    (0.157, 0.842, True)

    Source of the two one-sided tests: D. J. Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987.
    """
    if not 0 <= margin_share < np.inf or not 0 < alpha < 1:
        raise ValueError(f"margin_share is {margin_share}, alpha {alpha}; expected margin_share at least 0 and 0 < alpha < 1")
    first, second = (np.moveaxis(np.asarray(values, dtype=np.float64), axis, -1) for values in (before, after))
    first, second = _checked(first, "before"), _checked(second, "after")
    n_first, n_second = first.shape[-1], second.shape[-1]
    difference = second.mean(axis=-1) - first.mean(axis=-1)
    squares = [np.where(np.ptp(part, axis=-1) > 0, part.var(axis=-1) * part.shape[-1], 0.0) for part in (first, second)]  # no rounding left
    return equivalence_of(difference, squares[0] + squares[1], n_first, n_second, margin_share=margin_share, alpha=alpha)


def equivalence_of(
    difference: ArrayLike, squares: ArrayLike, n_before: int, n_after: int, *, margin_share: float = MARGIN_SHARE, alpha: float = ALPHA
) -> Equivalence:
    """Judge as :func:`equivalence` from what it needs of two samples.

    Args:
        difference: (...) ``mean(after) - mean(before)``.
        squares: (...) squared deviations from the means of their samples, summed over both.
        n_before: values of the one sample.
        n_after: values of the other.
        margin_share: of the observed difference.
        alpha: both p-values must be above it.

    Four queries of each, which gain 0.2, as in :func:`equivalence`:

    >>> round(float(equivalence_of(0.2, 0.2 + 0.2, 4, 4).p_lower), 3)
    0.157
    """
    difference, freedom = np.asarray(difference, dtype=np.float64), n_before + n_after - 2
    error = np.sqrt(np.asarray(squares) / freedom * (1 / n_before + 1 / n_after))
    margin = margin_share * np.abs(difference)
    with np.errstate(divide="ignore", invalid="ignore"):  # constant samples: an infinite statistic, or none
        p_lower = distributions.t.sf((difference + margin) / error, freedom)
        p_upper = distributions.t.cdf((difference - margin) / error, freedom)
    return Equivalence(p_lower, p_upper, joined(p_lower, p_upper, alpha=alpha))


def joined_components(systems: Sequence[str], edges: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Letter systems by the connected components of what is joined, as if equivalence were transitive (erratum 41).

    Published: A joined with B and B with C puts A and C into one group, however far apart they are.

    Ours: :func:`rd_utils.analysis.stats.cliques`: two systems share a letter only where they are equivalent themselves.

    Args:
        systems: their names.
        edges: the pairs that are joined.

    Returns:
        system -> the letter of its component, "" for one that is joined with no other; letters follow the order of the systems (after z
        come aa, ab ...).

    Raises:
        ValueError: a name stands twice, or an edge names a system that is not there.

    >>> joined_components(["A", "B", "C", "D"], [("A", "B"), ("B", "C")])
    {'A': 'a', 'B': 'a', 'C': 'a', 'D': ''}
    """
    row = {name: place for place, name in enumerate(systems)}
    if len(row) < len(systems):
        raise ValueError(f"a system stands twice in {list(systems)}; expected each once")
    edges = list(edges)
    if unknown := [name for edge in edges for name in edge if name not in row]:
        raise ValueError(f"an edge names {unknown[0]!r}, which is none of the systems {list(systems)}")
    ends = ([row[a] for a, _ in edges], [row[b] for _, b in edges])
    graph = sparse.coo_array((np.ones(len(edges)), ends), shape=(len(row), len(row)))
    _, component = csgraph.connected_components(graph, directed=False)
    groups = component.tolist()
    shared = [label for label in dict.fromkeys(groups) if groups.count(label) > 1]
    letters = {label: stats.letter(place) for place, label in enumerate(shared)}
    return {name: letters.get(label, "") for name, label in zip(row, groups, strict=True)}


# --- tables of results ------------------------------------------------------------------------------------------------------------


def pooled_by_query_id(frame: pd.DataFrame) -> pd.Series:
    """Key values of several test collections by the query id alone, so that of equal ids the last wins (erratum 40).

    Published: a table over all collections in which a query id that two of them share (as "1" is) has one value.

    Ours: :mod:`rd_utils.analysis.stats` knows queries by ``(test_collection, query_id)``, and refuses a key that stands twice.

    Args:
        frame: columns query_id and value (others do not matter), in the order in which they were written.

    Returns:
        The values, indexed by query_id, in the order in which each id first stands.

    Raises:
        ValueError: a column is missing.

    >>> rows = [("nfcorpus", "1", 0.25), ("nfcorpus", "2", 0.5), ("scifact", "1", 1.0)]
    >>> pooled_by_query_id(pd.DataFrame(rows, columns=["test_collection", "query_id", "value"])).to_dict()
    {'1': 1.0, '2': 0.5}
    """
    if absent := [name for name in ("query_id", "value") if name not in frame.columns]:
        raise ValueError(f"the frame has no column {absent[0]!r}; expected query_id and value, found {list(frame.columns)}")
    return frame.groupby("query_id", sort=False)["value"].agg(lambda values: values.iloc[-1])


def split_of(name: str) -> str:
    """Read which part of the queries a student was trained on from the third part of a file's name (erratum 42).

    Published: ``name.split("-")[2]``, right for a data set whose name has no hyphen, and the loss for one whose name has one.

    Ours: :mod:`rd_utils.analysis.tables` keeps what a cell is in columns, and reads nothing from a name.

    Args:
        name: of a file, data set first.

    Returns:
        The third part.

    Raises:
        ValueError: the name has fewer than three parts.

    >>> split_of("scifact-LCE-lower_quartile"), split_of("trec-covid-LCE-lower_quartile")
    ('lower_quartile', 'LCE')
    """
    parts = name.split("-")
    if len(parts) < 3:
        raise ValueError(f"{name!r} has {len(parts)} parts between hyphens; the published rule reads the third")
    return parts[2]


# --- on a study's own values ------------------------------------------------------------------------------------------------------


def compare_verdicts(values: Mapping[str, pd.DataFrame], *, equivalence_margin: float, alpha: float, level: float = 0.95) -> pd.DataFrame:
    """Set the published verdict of every pair of systems beside ours.

    The published rule sees values averaged over seeds; ours sees the seeds.

    Args:
        values: by system, one row a query, indexed by ``(test_collection, query_id)``, and one column a seed.
        equivalence_margin: ours, in units of the measure.
        alpha: of our tests, which Holm's method corrects over all pairs of the table: that is the family. The published rule keeps its own
            0.1, uncorrected.
        level: of the interval of the difference.

    Returns:
        One row a pair, in the order of the systems: system_a, system_b, difference (b - a), published_p_lower, published_p_upper,
        published_joined, n_seeds, p_difference, p_equivalence, p_holm, p_equivalence_holm (the last two corrected), equivalent, different,
        verdict, which are of queries and seeds; p_queries, p_equivalence_queries and verdict_queries, of queries only, corrected likewise;
        and of the pair alone, uncorrected: smallest_margin, the one that these data could just have proved, and queries_needed to show
        equivalence at the margin if the systems were equal (see :class:`rd_utils.analysis.verdicts.Contrast`).

    Raises:
        ValueError: as :func:`rd_utils.analysis.verdicts.pairwise`.

    Every query gains about 0.2; the published rule joins the two, ours calls them different:

    >>> queries = pd.MultiIndex.from_product([["toy"], ["q1", "q2", "q3", "q4"]], names=["test_collection", "query_id"])
    >>> a = pd.DataFrame({0: [0.1, 0.3, 0.5, 0.7], 1: [0.2, 0.2, 0.5, 0.7]}, index=queries)
    >>> row = compare_verdicts({"A": a, "B": a + [0.2, 0.21]}, equivalence_margin=0.02, alpha=0.05).iloc[0]
    >>> bool(row["published_joined"]), row["verdict"]
    (True, 'different')
    """
    ours = verdicts.pairwise(values, level=level, equivalence_margin=equivalence_margin, alpha=alpha)
    means = pd.DataFrame({system: frame.mean(axis=1) for system, frame in values.items()}).sort_index()
    before, after = (means[ours[end].tolist()].to_numpy().T for end in ("system_a", "system_b"))
    published = equivalence(before, after)
    table = ours[["system_a", "system_b", "difference"]].assign(
        published_p_lower=published.p_lower, published_p_upper=published.p_upper, published_joined=published.joined
    )
    return table.join(ours[_OURS])


def compare_strategies(per_query: pd.DataFrame, settings: AnalysisSettings) -> pd.DataFrame:
    """Compare, by both rules, the cells of a study that differ in the strategy only.

    A block holds the cells that agree in everything else: collection, test collection, first stage, loss, architecture, teacher ..., and
    seeds. The published rule sees values averaged over the seeds. Our tests are those of :func:`tables.differences`, the family
    is another: Holm's correction runs here over all pairs of strategies of a collection, test collection and first stage, all blocks
    together; there over the contrasts with the baseline strategy alone, and in :func:`tables.matrices` over the pairs of one
    block. This family holds both of the others, so corrected p-values are never smaller here, and a pair that is decided there may be
    undecided here.

    Args:
        per_query: of :func:`rd_utils.analysis.tables.per_query`.
        settings: the study's, for its measure, margin, alpha and level.

    Returns:
        One row a pair: collection, test_collection, first_stage, measure, block (what its cells share), strategy_a and strategy_b, then the
        columns of :func:`compare_verdicts`, whose systems are the cells. Empty where no two cells differ in the strategy only.
        ``attrs["alone"]`` counts the cells that have no such partner, once a first stage.

    Raises:
        ValueError: as :func:`rd_utils.analysis.contrasts.by_seed` and :func:`compare_verdicts`.
    """
    from rd_utils.analysis.contrasts import by_seed
    from rd_utils.analysis.tables import at, records
    from rd_utils.study.plan import DIMENSIONS

    trained = per_query[(per_query["system"] == "student") & (per_query["measure"] == settings.measure)]
    shared = [name for name in DIMENSIONS if name != "strategy"]
    cells = trained.groupby([*_PLACE, "cell"], sort=False).agg(
        {name: "first" for name in DIMENSIONS} | {"seed": lambda seeds: tuple(sorted(set(seeds)))}
    )
    told = [name for name in shared if cells[name].nunique(dropna=False) > 1]
    parts, alone = [], 0
    for _, block in cells.reset_index().groupby([*_PLACE, *shared, "seed"], sort=False, dropna=False):
        if len(block) < 2:
            alone += 1
            continue
        where = records(block[_PLACE].head(1))[0]
        here = at(trained, **where)
        values = {cell: by_seed(here[here["cell"] == cell]) for cell in block["cell"]}
        judged = compare_verdicts(values, equivalence_margin=settings.equivalence_margin, alpha=settings.alpha, level=settings.level)
        strategy = block.set_index("cell")["strategy"]
        about = where | {"measure": settings.measure, "block": _block_name(block, told)}
        ends = {f"strategy_{end}": judged[f"system_{end}"].map(strategy) for end in "ab"}
        judged = judged.assign(**about, **ends)
        parts.append(judged[[*about, *ends, *(name for name in judged if name not in about and name not in ends)]])
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_COMPARED)
    table = verdicts.decide(found, _PLACE, alpha=settings.alpha) if parts else found
    table.attrs["alone"] = alone
    return table


def cross_table(compared: pd.DataFrame) -> pd.DataFrame:
    """Count pairs by the published verdict (rows: joined, not joined) and by ours (columns), whether it rests on one seed or more.

    Args:
        compared: of :func:`compare_verdicts` or :func:`compare_strategies`.

    >>> pairs = pd.DataFrame({"published_joined": [True, True, False], "verdict": ["different", "undecided", "different"]})
    >>> cross_table(pairs).loc["joined"].to_dict()
    {'different': 1, 'equivalent': 0, 'both': 0, 'undecided': 1}
    """
    rows = compared["published_joined"].map({True: "joined", False: "not joined"})
    table = pd.crosstab(rows, compared["verdict"].map(verdicts.verdict_word)) if len(compared) else pd.DataFrame()
    table = table.reindex(index=["joined", "not joined"], columns=_VERDICTS, fill_value=0).astype(int)
    return table.rename_axis(index="published", columns="ours")


def changes(compared: pd.DataFrame) -> dict[str, int]:
    """Count the equivalences that appear, vanish and stay when the published verdict is replaced by ours.

    Args:
        compared: of :func:`compare_verdicts` or :func:`compare_strategies`.

    Returns:
        pairs; appear (ours only), vanish (published only), stay (both rules); and, of those that vanish, how many pairs are different by
        our rule (vanish_different) and how many cannot be told (vanish_undecided).

    >>> pairs = pd.DataFrame({"published_joined": [True, True, False], "equivalent": [True, False, True]})
    >>> changes(pairs.assign(different=[False, True, False]))
    {'pairs': 3, 'appear': 1, 'vanish': 1, 'stay': 1, 'vanish_different': 1, 'vanish_undecided': 0}
    """
    published, ours, different = (compared[name].to_numpy(dtype=bool) for name in ("published_joined", "equivalent", "different"))
    vanish = published & ~ours
    counts = {"pairs": len(compared), "appear": ~published & ours, "vanish": vanish, "stay": published & ours}
    counts |= {"vanish_different": vanish & different, "vanish_undecided": vanish & ~different}
    return {name: int(np.sum(count)) for name, count in counts.items()}


def letter_groups(compared: pd.DataFrame) -> pd.DataFrame:
    """Letter the strategies of each block by both rules: connected components of what is joined, and cliques of what is equivalent.

    Args:
        compared: of :func:`compare_strategies`.

    Returns:
        One row a block and strategy: collection, test_collection, first_stage, block, strategy, published, ours: letters, or "" for a
        strategy that is in no group with another.
    """
    rows = []
    keys = ["collection", "test_collection", "first_stage", "block"]
    for place, pairs in compared.groupby(keys, sort=False):
        systems = list(dict.fromkeys([*pairs["strategy_a"], *pairs["strategy_b"]]))
        joined_pairs, equivalent_pairs = (
            list(pairs.loc[pairs[name].astype(bool), ["strategy_a", "strategy_b"]].itertuples(index=False, name=None))
            for name in ("published_joined", "equivalent")
        )
        published, ours = joined_components(systems, joined_pairs), stats.cliques(systems, equivalent_pairs)
        rows += [(*place, name, published[name], ours[name]) for name in systems]
    return pd.DataFrame(rows, columns=[*keys, "strategy", "published", "ours"])


def verdict_chart(compared: pd.DataFrame, *, equivalence_margin: float, width: int = 300, height: int = 260) -> alt.FacetChart:
    """Draw the smaller published p-value of each pair against its observed difference, coloured by our verdict.

    Above the line at 0.1 the published rule joins the pair; between the dashed lines the observed difference is within our margin. One
    panel a first stage.

    Args:
        compared: of :func:`compare_strategies`, one row a pair at least.
        equivalence_margin: ours, in units of the measure.
        width: of a panel, in pixels.
        height: of a panel, in pixels.

    Raises:
        ValueError: there is no pair to draw.
    """
    import altair as alt

    from rd_utils.report.drawing import MUTED, VERDICTS

    if compared.empty:
        raise ValueError("there is no pair to draw; a study needs two cells that differ in the strategy only")
    frame = compared.assign(
        published_p=compared[["published_p_lower", "published_p_upper"]].min(axis=1),
        pair=compared["strategy_b"].astype(str) + " - " + compared["strategy_a"].astype(str),
        verdict=compared["verdict"].map(verdicts.verdict_word),
        line=ALPHA,
        low=-equivalence_margin,
        high=equivalence_margin,
    ).drop(columns=["system_a", "system_b"])
    shown = [name for name in VERDICTS if name in set(frame["verdict"])]
    colours, shapes = (alt.Scale(domain=shown, range=[VERDICTS[name][place] for name in shown]) for place in (0, 1))
    measure = frame["measure"].iloc[0]
    told = (("difference", ".4f"), ("published_p", ".3f"))
    reach = 1.15 * max(equivalence_margin, frame["difference"].abs().max())
    marks = (
        alt.Chart()
        .mark_point(filled=True, size=90, opacity=0.85)
        .encode(
            x=alt.X("difference:Q", title=f"observed difference, {measure}", axis=alt.Axis(tickCount=5)).scale(domain=[-reach, reach]),
            y=alt.Y("published_p:Q", title="smaller published p-value").scale(domain=[0, 0.5]),
            color=alt.Color("verdict:N", title="our verdict", scale=colours),
            shape=alt.Shape("verdict:N", title="our verdict", scale=shapes),
            tooltip=["test_collection:N", "block:N", "pair:N", *(alt.Tooltip(f"{name}:Q", format=form) for name, form in told)],
        )
    )
    rule = alt.Chart().mark_rule(color=MUTED, strokeWidth=1)
    lines = [rule.encode(y="line:Q"), *(rule.mark_rule(color=MUTED, strokeDash=[4, 3]).encode(x=f"{end}:Q") for end in ("low", "high"))]
    layers = alt.layer(*lines, marks, data=frame).properties(width=width, height=height)
    return layers.facet(column=alt.Column("first_stage:N", sort=list(dict.fromkeys(frame["first_stage"])), title=None))


# --- small things -----------------------------------------------------------------------------------------------------------------

_VERDICTS = ["different", "equivalent", "both", "undecided"]
_OURS = [
    "n_seeds",
    "p_difference",
    "p_equivalence",
    "p_holm",
    "p_equivalence_holm",
    "equivalent",
    "different",
    "verdict",
    "p_queries",
    "p_equivalence_queries",
    "p_queries_holm",
    "verdict_queries",
    "smallest_margin",
    "queries_needed",
]
_COMPARED = [
    *_PLACE, "measure", "block", "strategy_a", "strategy_b", "system_a", "system_b", "difference", "published_p_lower", "published_p_upper",
    "published_joined", *_OURS,
]  # fmt: skip


def _checked(values: ArrayLike, name: str) -> np.ndarray:
    """Return float64 values (..., n), n at least 2, all finite."""
    values = np.asarray(values, dtype=np.float64)
    if not values.ndim or values.shape[-1] < 2:
        raise ValueError(f"{name} has shape {values.shape}; expected (..., n) with n at least 2")
    bad = ~np.isfinite(values)
    if bad.any():
        raise ValueError(
            f"{int(bad.sum())} of {values.size} {name} are not finite, the first at {tuple(map(int, np.argwhere(bad)[0]))}; "
            "expected a number for each: a missing one is an error"
        )
    return values


def _block_name(block: pd.DataFrame, told: Sequence[str]) -> str:
    """Return what the cells of a block share, of the dimensions that tell blocks apart.

    >>> block = pd.DataFrame({"teacher": [""], "loss": ["kl"], "temperature": [2.0], "target_entropy": [float("nan")]})
    >>> _block_name(block, list(block))
    'kl temperature=2'
    """
    said = [
        value if isinstance(value, str) else "" if pd.isna(value) else f"{name}={value:g}" for name, value in block[told].iloc[0].items()
    ]
    return " ".join(filter(None, said))

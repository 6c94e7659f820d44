"""What a student is like, beside how well it ranks: its embedding space, the shape of its scores, and how far they follow the teacher.

- the space: :func:`two_nn` (intrinsic dimension), :func:`knn_density`, :func:`effective_rank`, :func:`uniformity`, :func:`alignment`;
- the scores of its groups: :func:`score_shape`;
- the scores beside the teacher's: :func:`calibration` (pair by pair), :func:`divergence` (group by group);
- what goes with what over queries: :func:`correlations`.

Embeddings are those of the student that is described, not of the encoder that it began as; a comparison of students takes the same texts.
Neighbours are exact. Distances between neighbours are metrics: ``euclidean``, of the L2-normalised embeddings, sqrt(2 - 2 cos), in
[0, 2]; or ``angular``, arccos(cos), in [0, pi] radians. Numbers are float64 throughout.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from rd_utils.study.explain import nearest

Distance = Literal["euclidean", "angular"]
Pairs = Literal["all", "positive"]
Direction = Literal["teacher", "student"]

_BLOCK_VALUES = 4_000_000  # numbers held at once in each of a few float64 arrays: 32 MB
_SAME = 1e-6  # embeddings closer than this are one text's: float32 and the padding of its batch move it about as much
_LEAST_POINTS = 20


# --- the embedding space ----------------------------------------------------------------------------------------------------------


class Dimension(NamedTuple):
    """An intrinsic dimension, the number of distinct points that it rests on, and of the copies that were set aside."""

    dimension: float
    n_used: int
    n_duplicates: int


def two_nn(vectors: np.ndarray, *, distance: Distance = "euclidean", discard: float = 0.1) -> Dimension:
    """Estimate the intrinsic dimension of embeddings from the distances to each one's two nearest neighbours.

    Where the density is locally constant, ``mu = r2 / r1`` has ``F(mu) = 1 - mu^-d``. So ``-log(1 - F) = d log mu``: a line through the
    origin, fitted by least squares with F the empirical ``i / n`` of the i-th smallest mu. The largest mu, which are noisy, are left out.
    A point that repeats an earlier one has no mu: it is removed first, and counted. Points closer than 1e-6 are one point here, since
    float32 and the make-up of a batch move the embedding of one text by about as much.

    Args:
        vectors: (n, d) embeddings, L2-normalised here.
        distance: ``euclidean`` or ``angular``.
        discard: share of the largest mu that is not fitted, at most 0.5. The very largest never is, since its F is 1.

    Returns:
        dimension, n_used (the distinct points) and n_duplicates; the last two sum to n.

    Raises:
        ValueError: an embedding is zero or not finite, fewer than 20 points are distinct, all mu are 1, or a setting is unknown or out of
            its range. ``cosine`` is refused: ``1 - cos`` is no metric, and as the square of one (halved) it halves the dimension.

    Source: E. Facco, M. d'Errico, A. Rodriguez, A. Laio, Estimating the intrinsic dimension of datasets by a minimal neighborhood
    information, Scientific Reports 7, 2017.

    Points on a circle, and half of them a second time:

    >>> angles = np.random.default_rng(0).uniform(0, 2 * math.pi, 500)
    >>> circle = np.column_stack([np.cos(angles), np.sin(angles)])
    >>> found = two_nn(np.concatenate([circle, circle[:250]]))
    >>> round(found.dimension, 1), found.n_used, found.n_duplicates
    (1.0, 500, 250)
    """
    _check_distance(distance)
    if not 0 <= discard <= 0.5:
        raise ValueError(f"discard is {discard}; expected the share of the largest ratios to leave out, in [0, 0.5]")
    unit = _normalised(vectors)
    repeats = _repeats(unit)
    distinct = unit[~repeats]
    n = len(distinct)
    if n < _LEAST_POINTS:
        raise ValueError(f"{n} of {len(unit)} embeddings are distinct; expected at least {_LEAST_POINTS}: embed more texts")
    first, second = _neighbour_distances(distinct, 2, distance).T
    fitted = min(int(n * (1 - discard)), n - 1)
    log_mu = np.log(np.sort(second / first)[:fitted])
    if log_mu[-1] <= 1e-9:  # all 1 but for rounding
        raise ValueError(
            f"the two nearest neighbours of all {fitted} fitted points are equally far, so that no dimension is finite; "
            "embeddings on a grid or of unrelated directions have none that distances could tell"
        )
    height = -np.log1p(-np.arange(1, fitted + 1) / n)
    return Dimension(float(log_mu @ height / (log_mu @ log_mu)), n, int(repeats.sum()))


def knn_density(vectors: np.ndarray, *, k: int = 10, dimension: float, distance: Distance = "euclidean") -> np.ndarray:
    """Estimate the log density of the embeddings around each of them, from the distance to its k-th nearest neighbour.

    ``log k - log(n - 1) - log V_d - d log r_k``, ``V_d = pi^(d/2) / Gamma(d/2 + 1)`` the volume of the unit ball in d dimensions: the share
    of the other points within r_k, per volume. A point is excluded from its own neighbours by its index; copies of it count.

    Args:
        vectors: (n, d) embeddings, L2-normalised here.
        k: which neighbour, at least 1 and below n.
        dimension: intrinsic, one for all points, such as :func:`two_nn` gives. Log densities of different dimensions are in different
            units: what is compared shares one dimension, one k and one distance.
        distance: ``euclidean`` or ``angular``.

    Returns:
        (n,) natural logarithms, in the order of the embeddings.

    Raises:
        ValueError: an embedding is zero or not finite, a point has k copies of itself (its density is infinite), or a setting is unknown or
            out of its range.

    Source: D. O. Loftsgaarden, C. P. Quesenberry, A nonparametric estimate of a multivariate density function, Annals of Mathematical
    Statistics 36, 1965.

    Four points a quarter turn apart: one of three others within pi / 2 to either side, 1 / (3 pi) per radian.

    >>> square = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    >>> (1 / np.exp(knn_density(square, k=1, dimension=1, distance="angular")) / math.pi).round(6).tolist()
    [3.0, 3.0, 3.0, 3.0]
    """
    _check_distance(distance)
    if not 0 < dimension < math.inf:
        raise ValueError(f"dimension is {dimension}; expected a positive, finite number, such as two_nn gives")
    unit = _normalised(vectors)
    if not 1 <= k < len(unit):
        raise ValueError(f"k is {k} with {len(unit)} embeddings; expected at least 1 and fewer than the embeddings")
    radius = _neighbour_distances(unit, k, distance)[:, -1]
    copies = np.flatnonzero(radius <= _SAME)
    if len(copies):
        raise ValueError(
            f"{len(copies)} of {len(unit)} embeddings have {k} or more copies, the first is row {copies[0]}: their density is infinite; "
            "embed each text once, or raise k"
        )
    log_volume = dimension / 2 * math.log(math.pi) - math.lgamma(dimension / 2 + 1)
    return math.log(k) - math.log(len(unit) - 1) - log_volume - dimension * np.log(radius)


def effective_rank(vectors: np.ndarray, *, centred: bool = True) -> float:
    """Compute in how many directions embeddings spread, each counted by its share.

    ``exp(-sum_i p_i log p_i)``, ``p_i = s_i / sum s`` of the singular values s.

    Args:
        vectors: (n, d) embeddings, lengths and all: normalise them first where only directions count.
        centred: subtract the mean embedding first. A mean that all embeddings share (anisotropy) is otherwise one strong direction.

    Returns:
        At least 1 (one direction has everything), at most min(n, d) (all directions are equal).

    Raises:
        ValueError: an embedding is not finite, or they do not spread at all.

    Source: O. Roy, M. Vetterli, The effective rank: a measure of effective dimensionality, EUSIPCO 2007.

    >>> round(effective_rank(3 * np.eye(4), centred=False), 6), round(effective_rank(3 * np.eye(4)), 6)
    (4.0, 3.0)
    """
    from scipy import special

    vectors = _finite(vectors)
    size = np.linalg.norm(vectors)
    singular = np.linalg.svd(vectors - vectors.mean(axis=0) if centred else vectors, compute_uv=False)
    if not singular[0] > 1e-12 * size:  # nothing but rounding is left
        raise ValueError(f"{len(vectors)} embeddings are all {'equal' if centred else 'zero'}: they spread in no direction")
    return float(np.exp(special.entr(singular / singular.sum()).sum()))


def uniformity(vectors: np.ndarray, *, t: float = 2.0) -> float:
    """Compute how evenly embeddings lie on the sphere: the lower, the more evenly.

    ``log mean exp(-t ||x - y||^2)`` over the pairs of different rows, x and y L2-normalised.

    Args:
        vectors: (n, d) embeddings, n at least 2; copies count as pairs at distance 0.
        t: how local the look is, positive; 2 is the source's.

    Returns:
        In [-4t, 0]: 0 where all point the same way. Points spread evenly over a sphere of many dimensions, where two are almost always at
        right angles, come to -2t.

    Raises:
        ValueError: an embedding is zero or not finite, there are fewer than two, or t is not positive.

    Source: T. Wang, P. Isola, Understanding contrastive representation learning through alignment and uniformity on the hypersphere, ICML
    2020.

    >>> round(uniformity(np.array([[2.0, 0.0], [0.0, 1.0]])), 6)
    -4.0
    """
    from scipy import special

    if not 0 < t < math.inf:
        raise ValueError(f"t is {t}; expected a positive, finite number")
    unit = _normalised(vectors)
    n = len(unit)
    if n < 2:
        raise ValueError(f"{n} embedding; expected at least 2 to have a pair")
    sums = []
    for rows in row_blocks(n, n):
        exponent = -t * _squared_distances(unit, rows)
        exponent[np.arange(len(rows)), rows] = -np.inf  # a row is no pair with itself
        sums.append(special.logsumexp(exponent))
    return float(special.logsumexp(sums) - math.log(n * (n - 1)))


def alignment(queries: np.ndarray, positives: np.ndarray) -> float:
    """Compute how far queries lie from their positives: the lower, the closer.

    ``mean ||x - y||^2`` over rows, x and y L2-normalised.

    Args:
        queries: (n, d) embeddings.
        positives: (n, d) embeddings, row by row the query's positive.

    Returns:
        In [0, 4]; 2 where they are at right angles.

    Raises:
        ValueError: the shapes differ, or an embedding is zero or not finite.

    Source: as :func:`uniformity`.

    >>> alignment(np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [3.0, 0.0]]))
    1.0
    """
    x, y = _normalised(queries, "queries"), _normalised(positives, "positives")
    if x.shape != y.shape:
        raise ValueError(f"queries has shape {x.shape}, positives {y.shape}; expected one positive for each query, in its order")
    return float(((x - y) ** 2).sum(axis=1).mean())


# --- scores -----------------------------------------------------------------------------------------------------------------------


def score_shape(scores: ArrayLike) -> pd.DataFrame:
    """Describe how the scores of each group are distributed.

    Moments are the group's own, divided by its size: the group is all there is. ``skewness = m3 / m2^1.5``,
    ``kurtosis = m4 / m2^2 - 3`` (excess: 0 for the normal).

    Args:
        scores: (n, group) raw scores of a student or a teacher, group at least 2.

    Returns:
        One row a group, in the order given: mean, sd, skewness, kurtosis, range (maximum minus minimum), gap (best minus second best).
        A group whose scores are all equal has no shape: its skewness and kurtosis are NaN, and its range is 0. Count these and leave them
        out before going on; they are not left out here.

    Raises:
        ValueError: a score is not finite, or a group has fewer than two documents.

    >>> score_shape([[2.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]).round(4).values.tolist()
    [[0.5, 0.866, 1.1547, -0.6667, 2.0, 2.0], [1.0, 0.0, nan, nan, 0.0, 0.0]]
    """
    from scipy import stats

    scores = _scores("scores", scores)
    ordered = np.sort(scores, axis=1)
    low, spread = ordered[:, 0], ordered[:, -1] - ordered[:, 0]
    uneven = spread > 0
    shape = np.full((len(scores), 3), [0.0, np.nan, np.nan])
    if uneven.any():
        # shape does not depend on place and scale: in units of the range, far from 0 or not, no digit is lost
        placed = (ordered[uneven] - low[uneven, None]) / spread[uneven, None]
        deviation = placed.std(axis=1) * spread[uneven]
        shape[uneven] = np.stack([deviation, stats.skew(placed, axis=1), stats.kurtosis(placed, axis=1)], axis=1)
    columns = {"mean": scores.mean(axis=1), "sd": shape[:, 0], "skewness": shape[:, 1], "kurtosis": shape[:, 2]}
    return pd.DataFrame(columns | {"range": spread, "gap": ordered[:, -1] - ordered[:, -2]})


class Calibration(NamedTuple):
    """How a student's odds of pairs compare with the teacher's.

    ``error``: mean of ``|mean student - mean teacher probability|`` over bins, weighted by their pairs. ``slope`` and ``intercept``: of the
    least squares line of student on teacher logits (NaN where all teacher logits are equal). ``agreement``: the share of pairs that both
    order alike, of those that the teacher orders (NaN where it orders none); a tie of the student agrees with no order. ``n_pairs`` counts
    all pairs, ``n_teacher_ties`` those that the teacher does not order.

    The line is fitted with i the document that the teacher prefers (by position where it has a tie), on logits, ``(g_i - g_j) / T`` and
    ``f_i - f_j``, which are not clipped: a few very sure pairs can set the slope.

    The direction of the bins changes what the error means. Under ``teacher`` every p is at least 1/2, so a bin tells how sure the teacher
    is of its order where the student gives that order s; a student that is right on average but knows less than the teacher has an error,
    since the direction was chosen by what it does not know. Under ``student`` (i the document that the student prefers) s covers [1/2, 1]
    and the error is the usual one: 0 for every student whose s is the mean p of the pairs that have it.

    Source of the error: M. P. Naeini, G. F. Cooper, M. Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, AAAI
    2015.
    """

    error: float
    slope: float
    intercept: float
    agreement: float
    n_pairs: int
    n_teacher_ties: int


def calibration(
    teacher_scores: ArrayLike,
    student_scores: ArrayLike,
    *,
    temperature: float = 1.0,
    bins: int = 10,
    pairs: Pairs = "all",
    direction: Direction = "teacher",
) -> tuple[pd.DataFrame, Calibration]:
    """Compare the student's probability that one document is above another with the teacher's, over the pairs within groups.

    ``p = sigmoid((g_i - g_j) / T)`` of the teacher, ``s = sigmoid(f_i - f_j)`` of the student. A pair read backwards has 1 - p and 1 - s,
    so each is taken once, in one direction.

    Args:
        teacher_scores: (n, group) raw scores, positive first, group at least 2.
        student_scores: (n, group) raw scores of the same documents.
        temperature: divides the teacher's scores.
        bins: of equal width over [0, 1], each closed below (the last one at both ends).
        pairs: ``all`` of a group, or those with the ``positive`` (column 0).
        direction: whose preference decides how a pair is read for the bins, ``teacher`` or ``student``; ties by position.

    Returns:
        A table, one row a bin of s, in ascending order: low, high, n_pairs, student (mean s), teacher (mean p); the means of an empty bin
        are NaN. And the :class:`Calibration`.

    Raises:
        ValueError: a score is not finite, the shapes differ, there are no groups, or a setting is unknown or out of its range.

    The teacher says 3 to 1 and 9 to 1, the student 1 to 1 and 3 to 1: s is 0.5 and 0.75, p is 0.75 and 0.9.

    >>> table, found = calibration([[math.log(3), 0.0], [math.log(9), 0.0]], [[0.0, 0.0], [math.log(3), 0.0]], bins=2)
    >>> table.round(4).values.tolist()
    [[0.0, 0.5, 0.0, nan, nan], [0.5, 1.0, 2.0, 0.625, 0.825]]
    >>> round(found.error, 4), round(found.slope, 4), round(found.intercept, 4), found.agreement
    (0.2, 1.0, -1.0986, 0.5)
    """
    from scipy import special

    x, y = _logits(*_both(teacher_scores, student_scores, temperature), temperature, pairs)
    if direction not in get_args(Direction):
        raise ValueError(f"unknown direction {direction!r}{nearest(direction, get_args(Direction))}")
    ordered = x != 0
    agreement = float((np.sign(x) == np.sign(y))[ordered].mean()) if ordered.any() else math.nan
    preferred = np.where(x < 0, -1.0, 1.0)
    sign = np.where(y < 0, -1.0, 1.0) if direction == "student" else preferred
    table, error = _reliability(special.expit(sign * x), special.expit(sign * y), bins)
    slope, intercept = _line(preferred * x, preferred * y)
    return table, Calibration(error, slope, intercept, agreement, len(x), int((~ordered).sum()))


def _logits(teacher: np.ndarray, student: np.ndarray, temperature: float, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits of every pair within a group, by the teacher and by the student."""
    if pairs not in get_args(Pairs):
        raise ValueError(f"unknown pairs {pairs!r}{nearest(pairs, get_args(Pairs))}")
    if not len(teacher):
        raise ValueError("there are no groups; expected at least one, to have a pair")
    group = teacher.shape[1]
    first, second = np.triu_indices(group, k=1) if pairs == "all" else (np.zeros(group - 1, dtype=int), np.arange(1, group))
    return ((teacher[:, first] - teacher[:, second]) / temperature).ravel(), (student[:, first] - student[:, second]).ravel()


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return slope and intercept of the least squares; NaN where x is one value."""
    from scipy import stats

    if np.ptp(x) <= 0:
        return math.nan, math.nan
    slope, intercept = np.asarray(stats.linregress(x, y))[:2].tolist()
    return slope, intercept


def _reliability(p: np.ndarray, s: np.ndarray, bins: int) -> tuple[pd.DataFrame, float]:
    """Return the bins of s with the means of both, and the expected calibration error over them."""
    if bins < 1:
        raise ValueError(f"bins is {bins}; expected at least 1")
    at = np.minimum((s * bins).astype(int), bins - 1)
    n_pairs = np.bincount(at, minlength=bins)
    filled = n_pairs > 0
    means = {name: np.full(bins, np.nan) for name in ("student", "teacher")}
    for name, values in (("student", s), ("teacher", p)):
        means[name][filled] = np.bincount(at, weights=values, minlength=bins)[filled] / n_pairs[filled]
    edges = np.arange(bins + 1) / bins
    table = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "n_pairs": n_pairs} | means)
    return table, float(np.abs(means["student"] - means["teacher"])[filled] @ n_pairs[filled] / len(s))


def divergence(teacher_scores: ArrayLike, student_scores: ArrayLike, temperature: float) -> np.ndarray:
    """Compute how far the student's distribution over each group is from the teacher's.

    ``KL(softmax(g / T) || softmax(f)) = sum_i p_i (log p_i - log s_i)``.

    Args:
        teacher_scores: (n, group) raw scores, group at least 2.
        student_scores: (n, group) raw scores of the same documents.
        temperature: divides the teacher's scores, and those only.

    Returns:
        (n,) in nats, at least 0: 0 where the student's scores are the teacher's over T, but for a constant.

    Raises:
        ValueError: a score is not finite, the shapes differ, or the temperature is not positive.

    3/4 log(3/2) + 1/4 log(1/2):

    >>> divergence([[math.log(3), 0.0]], [[7.0, 7.0]], 1.0).round(4).tolist()
    [0.1308]
    """
    from scipy import special

    teacher, student = _both(teacher_scores, student_scores, temperature)
    log_p = special.log_softmax(teacher / temperature, axis=1)
    log_s = special.log_softmax(student, axis=1)
    return np.maximum((np.exp(log_p) * (log_p - log_s)).sum(axis=1), 0.0)  # below 0 by rounding only


# --- shared -----------------------------------------------------------------------------------------------------------------------


def _check_distance(distance: str) -> None:
    if distance == "cosine":
        raise ValueError(
            "distance 'cosine' is refused: 1 - cos is no metric (a detour can be shorter than the direct way), and grows with the square "
            "of one, which halves the dimension and bends the density; choose euclidean or angular"
        )
    if distance not in get_args(Distance):
        raise ValueError(f"unknown distance {distance!r}{nearest(distance, get_args(Distance))}")


def _finite(vectors: np.ndarray, name: str = "vectors") -> np.ndarray:
    """Return (n, d) float64 embeddings, n and d at least 1, without NaN or infinity."""
    vectors = np.asarray(vectors, dtype=np.float64)
    if vectors.ndim != 2 or not vectors.size:
        raise ValueError(f"{name} has shape {vectors.shape}; expected (n, d), one embedding a row, at least one")
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise ValueError(f"{len(bad)} of {len(vectors)} embeddings of {name} are not finite, the first is row {bad[0]}; encode in fp32")
    return vectors


def _normalised(vectors: np.ndarray, name: str = "vectors") -> np.ndarray:
    """Return (n, d) float64 embeddings of norm 1."""
    vectors = _finite(vectors, name)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    zero = np.flatnonzero(norms == 0)
    if len(zero):
        raise ValueError(
            f"{len(zero)} of {len(vectors)} embeddings of {name} are zero, the first is row {zero[0]}; they have no direction: "
            "look at that text (it may be empty)"
        )
    return vectors / norms


def row_blocks(n: int, values_per_row: int) -> Iterator[np.ndarray]:
    """Yield the indices of consecutive rows, as many at a time as memory is meant to hold."""
    size = max(1, _BLOCK_VALUES // max(1, values_per_row))
    for start in range(0, n, size):
        yield np.arange(start, min(start + size, n))


def _squared_distances(unit: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return (rows, n) squared Euclidean distances, right to about 1e-15."""
    return np.maximum(2.0 - 2.0 * (unit[rows] @ unit.T), 0.0)


def _repeats(unit: np.ndarray) -> np.ndarray:
    """Tell which rows repeat an earlier one; no two of the others are the same."""
    repeats = np.zeros(len(unit), dtype=bool)
    for rows in row_blocks(len(unit), len(unit)):
        same = _squared_distances(unit, rows) <= _SAME**2
        repeats[rows] = (same & (np.arange(len(unit)) < rows[:, None])).any(axis=1)
    return repeats


def _neighbour_distances(unit: np.ndarray, k: int, distance: Distance) -> np.ndarray:
    """Return (n, k) distances to the k nearest other rows, ascending; k is below n."""
    n, d = unit.shape
    found = np.empty((n, k))
    for rows in row_blocks(n, n + k * d):
        squared = _squared_distances(unit, rows)
        squared[np.arange(len(rows)), rows] = np.inf  # by its index: a copy may stand before it
        neighbours = np.argpartition(squared, k - 1, axis=1)[:, :k]
        # 2 - 2 cos loses the digits of small distances; the difference of the vectors keeps them
        found[rows] = np.linalg.norm(unit[rows, None] - unit[neighbours], axis=2)
    found.sort(axis=1)
    return found if distance == "euclidean" else 2.0 * np.arcsin(np.minimum(found / 2.0, 1.0))


def _scores(name: str, scores: ArrayLike) -> np.ndarray:
    """Return finite (n, group) float64 scores."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(f"{name} has shape {scores.shape}; expected (groups, group size) with at least 2 documents a group")
    missing = np.argwhere(~np.isfinite(scores))
    if len(missing):
        row, column = missing[0]
        raise ValueError(
            f"{len(missing)} of {scores.size} {name} are not finite, the first ({scores[row, column]}) for document {column} of group "
            f"{row}; score every document of every group first"
        )
    return scores


def _both(teacher_scores: ArrayLike, student_scores: ArrayLike, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of both for the same documents."""
    teacher, student = _scores("teacher_scores", teacher_scores), _scores("student_scores", student_scores)
    if teacher.shape != student.shape:
        raise ValueError(f"teacher_scores has shape {teacher.shape}, student_scores {student.shape}; expected the same documents")
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature}; expected a positive, finite number (1 leaves the scores as they are)")
    return teacher, student

"""How undecided a teacher is about its groups: three entropies that answer three questions.

- ``pairwise_entropy``: over all pairs of a group, how open is the order of the two documents?
- ``positive_entropy``: over the pairs with the labelled positive, how open is it whether the positive wins?
- ``listwise_entropy``: how widely does the teacher's softmax spread over the group?

They order sampling strategies differently (a random negative is a coin toss against another random negative, and no
rival of the positive), so a table says which one it shows, or shows all three. None of them measures how good the
teacher is: noise spreads its scores, and a noisier teacher can look surer. They depend on the scale of the scores:
compare them within one teacher and one temperature.

:func:`solve_temperature` inverts the pairwise entropy; :func:`cut_queries` keeps the training groups of a part of the queries by entropy.
Numbers are float64 throughout; 0 log 0 is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from rd_utils.study.explain import nearest

_BLOCK_VALUES = 4_000_000  # score differences held at once: 32 MB
_NO_MASS = 1e3  # exp(-1e3) is 0 in float64, and 0 * 1e3 is 0: differences are cut here, before they can be infinite

_KINDS = (
    ("lower_half", "upper_half"),
    ("quarter_1", "quarter_2", "quarter_3", "quarter_4"),
    ("inside_fence", "outside_fence"),
)  # the parts of one kind partition the queries


class EntropyError(ValueError):
    """An entropy cannot be reached or queries cannot be cut as asked; the message says what can be done."""


def pairwise_entropy(teacher_scores: ArrayLike, temperature: float = 1.0) -> np.ndarray:
    """Compute the mean binary entropy of the teacher's order over all pairs of a group.

    ``mean over i < j of h(sigmoid((g_i - g_j) / T))``, ``h(p) = -p log2 p - (1 - p) log2 (1 - p)``.

    Args:
        teacher_scores: (n, group) raw scores, group at least 2; any real numbers, log-probabilities included.
        temperature: Divides the scores.

    Returns:
        (n,) in bits, in [0, 1]: 0 where every pair is ordered without doubt, 1 where all scores are equal.

    Raises:
        ValueError: If a score is not finite, a group has fewer than two documents, or the temperature is not positive.

    A pair at odds of 3 to 1 has h(3/4) = 0.8113 bits:

    >>> pairwise_entropy([[math.log(3), 0.0], [7.0, 7.0]]).round(4).tolist()
    [0.8113, 1.0]
    """
    scores = _checked(teacher_scores, temperature)
    first, second = np.triu_indices(scores.shape[1], k=1)
    blocks = [_pair_entropy(block[:, first], block[:, second], temperature) for block in _blocks(scores, len(first))]
    return np.concatenate(blocks) if blocks else np.empty(0)


def positive_entropy(teacher_scores: ArrayLike, temperature: float = 1.0) -> np.ndarray:
    """Compute the mean binary entropy of the teacher's order over the pairs that hold the labelled positive.

    ``mean over j > 0 of h(sigmoid((g_0 - g_j) / T))``; the positive is column 0.

    Args:
        teacher_scores: (n, group) raw scores, positive first, group at least 2.
        temperature: Divides the scores.

    Returns:
        (n,) in bits, in [0, 1]. Low where the positive is surely above *or surely below* the others.

    Raises:
        ValueError: As :func:`pairwise_entropy`.

    Two equal negatives are a coin toss for the pairwise entropy, and do not count here:

    >>> group = [[50.0, 0.0, 0.0]]
    >>> pairwise_entropy(group).round(4).tolist(), positive_entropy(group).round(4).tolist()
    ([0.3333], [0.0])
    """
    scores = _checked(teacher_scores, temperature)
    blocks = [_pair_entropy(block[:, :1], block[:, 1:], temperature) for block in _blocks(scores, scores.shape[1])]
    return np.concatenate(blocks) if blocks else np.empty(0)


def listwise_entropy(teacher_scores: ArrayLike, temperature: float = 1.0) -> np.ndarray:
    """Compute the normalised Shannon entropy of the teacher's softmax over a group.

    ``-sum_i p_i log2 p_i / log2(group)`` with ``p = softmax(g / T)``. Times ``log2(group)`` it is in bits.

    Args:
        teacher_scores: (n, group) raw scores, group at least 2.
        temperature: Divides the scores.

    Returns:
        (n,) without unit, in [0, 1]: 0 where one document has all the mass, 1 where all scores are equal.

    Raises:
        ValueError: As :func:`pairwise_entropy`.

    Half, a quarter, a quarter is 1.5 bits of log2 3 = 1.585:

    >>> listwise_entropy([[math.log(2), 0.0, 0.0]]).round(4).tolist()
    [0.9464]
    """
    scores = _checked(teacher_scores, temperature)
    with np.errstate(over="ignore"):
        gap = np.minimum((scores.max(axis=1, keepdims=True) - scores) / temperature, _NO_MASS)  # behind the best one
    mass = np.exp(-gap)
    total = mass.sum(axis=1)
    nats = np.log(total) + (mass * gap).sum(axis=1) / total
    return np.clip(nats / np.log(scores.shape[1]), 0.0, 1.0)


def entropies(teacher_scores: ArrayLike, temperature: float = 1.0) -> pd.DataFrame:
    """Compute all three entropies of every group.

    Args:
        teacher_scores: (n, group) raw scores, positive first, group at least 2.
        temperature: Divides the scores.

    Returns:
        n rows in the order of the groups; columns ``pairwise_entropy`` and ``positive_entropy`` (bits),
        ``listwise_entropy`` (share of ``log2(group)``).

    Raises:
        ValueError: As :func:`pairwise_entropy`.

    >>> entropies([[50.0, 0.0, 0.0]]).round(4).values.tolist()
    [[0.3333, 0.0, 0.0]]
    """
    scores = _checked(teacher_scores, temperature)
    return pd.DataFrame(
        {
            "pairwise_entropy": pairwise_entropy(scores, temperature),
            "positive_entropy": positive_entropy(scores, temperature),
            "listwise_entropy": listwise_entropy(scores, temperature),
        }
    )


def solve_temperature(teacher_scores: ArrayLike, target: float, *, tolerance: float = 1e-4) -> float:
    """Find the temperature at which the mean pairwise entropy of the groups equals a target.

    The mean never falls with T: with ``x = (g_i - g_j) / T`` and ``s = sigmoid(x)``, each pair has
    ``d h(s) / d log T = x^2 s (1 - s) / ln 2``, which lies between 0 and 0.64. It runs from the share of tied pairs (T to 0: a tie is
    1 bit at any temperature) up to 1 (T to infinity), both excluded. The root in log T is found by Brent's method; as the slope is below
    0.64, ``tolerance`` bounds both the relative error of T and the error of the entropy in bits. Only equal scores are ties: scores
    that differ by rounding only are ordered by a temperature that is low enough.

    Args:
        teacher_scores: (n, group) raw scores, n at least 1, group at least 2.
        target: Mean pairwise entropy, in bits, above the share of tied pairs and below 1.
        tolerance: Largest error.

    Returns:
        The temperature, in units of the scores.

    Raises:
        EntropyError: If no temperature reaches the target, or there are no groups.
        ValueError: As :func:`pairwise_entropy`.

    A pair at odds of 3 to 1 has 0.8113 bits at temperature 1, and so has a pair at odds of 9 to 1 at temperature 2:

    >>> [round(solve_temperature([[math.log(odds), 0.0]], 0.8113), 2) for odds in (3, 9)]
    [1.0, 2.0]
    """
    from scipy.optimize import brentq

    scores = _checked(teacher_scores, 1.0)
    if not len(scores):
        raise EntropyError("there are no groups; a temperature is found from the teacher's scores of at least one")
    tied = _tied_share(scores)
    if not tied < target < 1:
        reach = f"any temperature reaches more than {tied:.6g} and less than 1" if tied < 1 else "all scores are equal at 1 bit everywhere"
        raise EntropyError(
            f"no temperature gives a mean pairwise entropy of {target} bits: {tied:.2%} of the pairs within groups are tied (1 bit at any "
            f"temperature), so {reach}; choose a target in that range, or a teacher with fewer ties (for the oracle: lower its floor)"
        )

    def excess(log_temperature: float) -> float:
        return float(pairwise_entropy(scores, math.exp(log_temperature)).mean()) - target

    low = high = math.log(np.ptp(scores, axis=1).mean())
    step = 1.0
    while excess(low) > 0:
        low, high, step = low - step, low, 2 * step
    while excess(high) < 0:
        low, high, step = high, high + step, 2 * step
    return math.exp(cast("float", brentq(excess, low, high, xtol=tolerance)))


def cut(values: np.ndarray, part: str) -> np.ndarray:
    """Tell which queries lie in one part of the distribution of a value over queries; the parts of one kind partition them.

    Each name says what is *kept*, with n values in ascending order, equal ones in the order of their positions:

    - ``lower_half``, ``upper_half``: ranks [0, n/2) and [n/2, n);
    - ``quarter_1`` (lowest) to ``quarter_4`` (highest): ranks [(i - 1) n/4, i n/4) for quarter i; all bounds are rounded down, so that
      sizes differ by at most 1, also where values are tied;
    - ``inside_fence``, ``outside_fence``: within Tukey's fence [Q1 - 1.5 IQR, Q3 + 1.5 IQR], or not; quartiles interpolate linearly. The
      fence keeps most queries, and nothing may lie outside.

    Args:
        values: (n,) one finite value per query.
        part: The part to keep.

    Returns:
        (n,) bool, True where the query is kept.

    Raises:
        ValueError: If the part is unknown, or a value is not finite.

    Source of the fence: J. W. Tukey, Exploratory Data Analysis, 1977.

    >>> values = np.array([0.9, 0.1, 0.5, 0.5])
    >>> cut(values, "upper_half").tolist(), cut(values, "quarter_1").tolist()
    ([True, False, False, True], [False, True, False, False])
    """
    kind = _kind(part)
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"values has shape {values.shape}; expected one value per query")
    unusable = np.flatnonzero(~np.isfinite(values))
    if len(unusable):
        raise ValueError(
            f"{len(unusable)} of {len(values)} values are not finite, the first ({values[unusable[0]]}) of query {unusable[0]}; "
            "expected a number for every query"
        )
    if part.endswith("_fence"):
        q1, q3 = np.quantile(values, [0.25, 0.75]) if len(values) else (0.0, 0.0)
        reach = 1.5 * (q3 - q1)
        inside = (values >= q1 - reach) & (values <= q3 + reach)
        return inside if part == "inside_fence" else ~inside
    at = kind.index(part)
    first, last = (len(values) * bound // len(kind) for bound in (at, at + 1))
    kept = np.zeros(len(values), dtype=bool)
    kept[np.argsort(values, kind="stable")[first:last]] = True
    return kept


def cut_queries(query_ids: Sequence[str], teacher_scores: ArrayLike, *, entropy: str, temperature: float, part: str) -> np.ndarray:
    """Tell which groups belong to the queries in one part of the distribution of the teacher's entropy.

    A query's entropy is the mean over its groups, so that a query counts once however many groups it has. Queries are cut in the order
    of their ids (see :func:`cut`), whatever the order of the groups.

    Args:
        query_ids: (n,) the query of each group.
        teacher_scores: (n, group) raw scores of the groups, positive first.
        entropy: ``pairwise_entropy``, ``positive_entropy`` or ``listwise_entropy``.
        temperature: Divides the scores.
        part: The part to keep, as :func:`cut` names them.

    Returns:
        (n,) bool, True where the group's query is kept.

    Raises:
        EntropyError: If no query lies in the part.
        ValueError: As :func:`cut` and the entropies; if the entropy is unknown, or ids and scores differ in number.

    Query b is undecided, and keeps both of its groups:

    >>> scores = [[9.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    >>> cut_queries(["a", "b", "b"], scores, entropy="pairwise_entropy", temperature=1.0, part="upper_half").tolist()
    [False, True, True]
    """
    if entropy not in ENTROPIES:
        raise ValueError(f"unknown entropy {entropy!r}{nearest(entropy, ENTROPIES)}")
    kind = _kind(part)
    per_group = ENTROPIES[entropy](teacher_scores, temperature)
    if len(query_ids) != len(per_group):
        raise ValueError(f"{len(query_ids)} query_ids for {len(per_group)} groups of teacher_scores; expected one for each group")
    names, query = np.unique(np.asarray(query_ids, dtype=object), return_inverse=True)
    values = np.bincount(query, weights=per_group) / np.bincount(query) if len(names) else np.zeros(0)
    kept = cut(values, part)
    if not kept.any():
        sizes = ", ".join(f"{name} {int(cut(values, name).sum())}" for name in kind)
        raise EntropyError(f"no query lies in {part} of {entropy} (of {len(names)} queries: {sizes}); choose a part that holds queries")
    return kept[query]


def _kind(part: str) -> tuple[str, ...]:
    """Return the parts that partition the queries together with ``part``."""
    for kind in _KINDS:
        if part in kind:
            return kind
    raise ValueError(f"unknown part {part!r}{nearest(part, [name for kind in _KINDS for name in kind])}")


def _tied_share(scores: np.ndarray) -> float:
    """Return the share of pairs within groups whose scores are equal."""
    first, second = np.triu_indices(scores.shape[1], k=1)
    ties = sum(int((block[:, first] == block[:, second]).sum()) for block in _blocks(scores, len(first)))
    return ties / (len(scores) * len(first))


def _pair_entropy(first: np.ndarray, second: np.ndarray, temperature: float) -> np.ndarray:
    """Return the row means of h(sigmoid((first - second) / T)) in bits.

    With ``a = |first - second| / T`` and ``e = exp(-a)``: h = (log(1 + e) + a e / (1 + e)) / ln 2, which loses no
    digits at either end.
    """
    with np.errstate(over="ignore"):
        gap = np.minimum(np.abs(first - second) / temperature, _NO_MASS)
    decay = np.exp(-gap)
    nats = np.log1p(decay) + gap * decay / (1.0 + decay)
    return np.clip(nats.mean(axis=1) / math.log(2), 0.0, 1.0)


def _blocks(scores: np.ndarray, values_per_row: int) -> Iterator[np.ndarray]:
    """Yield consecutive rows in blocks whose differences stay within a fixed memory."""
    rows = max(1, _BLOCK_VALUES // values_per_row)
    for start in range(0, len(scores), rows):
        yield scores[start : start + rows]


def _checked(teacher_scores: ArrayLike, temperature: float) -> np.ndarray:
    """Return the scores as a finite float64 array of shape (n, group), or raise."""
    scores = np.asarray(teacher_scores, dtype=np.float64)
    if scores.ndim != 2:
        raise ValueError(f"teacher_scores has shape {scores.shape}; expected two dimensions, (groups, group size)")
    if scores.shape[1] < 2:
        raise ValueError(f"a group has {scores.shape[1]} document(s); expected at least 2 to compare")
    missing = ~np.isfinite(scores)
    if missing.any():
        row, column = np.argwhere(missing)[0]
        raise ValueError(
            f"{int(missing.sum())} of {scores.size} teacher_scores are not finite, the first ({scores[row, column]}) "
            f"for document {column} of group {row}; a missing score is an error: "
            "score every document of every group first"
        )
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature}; expected a positive, finite number (1 leaves the scores as they are)")
    return scores


ENTROPIES: dict[str, Callable[[ArrayLike, float], np.ndarray]] = {
    "pairwise_entropy": pairwise_entropy,
    "positive_entropy": positive_entropy,
    "listwise_entropy": listwise_entropy,
}

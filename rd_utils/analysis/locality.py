"""How compact the documents of a training group are in an embedding space, and how a sampler's draws lie to what they stand for.

- ``diameter``, ``diameter_q99``, ``mean_distance``: largest, 0.99-quantile and mean pairwise distance within a group;
- density ratio: how much more a target weighs a document than the sampler draws it, at the worst document;
- coverage: the share of test documents that some training group contains.

A distance says something about one embedding space: compare strategies in one fixed encoder, or in the student's own space, over the same
queries. With ``distance="cosine"`` it is 1 - cos, in [0, 2]; with ``"euclidean"`` the Euclidean distance of the L2-normalised embeddings,
sqrt(2 - 2 cos), in [0, 2], which is a metric (1 - cos breaks the triangle inequality).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd

Distance = Literal["cosine", "euclidean"]

_BLOCK_VALUES = 4_000_000  # numbers held at once in each of about three float64 arrays: 100 MB


class LocalityError(ValueError):
    """A measure of locality is undefined for what was given; the message names the first offender."""


# --- within a group ---------------------------------------------------------------------------------------------------------------


def pairwise_distances(vectors: np.ndarray, *, distance: Distance = "cosine") -> np.ndarray:
    """Compute the distances of all pairs of embeddings within each group.

    Args:
        vectors: (n, group, d), group at least 2; every embedding is L2-normalised over its own d dimensions first.
        distance: ``cosine`` or ``euclidean``.

    Returns:
        (n, group * (group - 1) / 2) float64, the pairs in the order (0, 1), (0, 2) ... (1, 2) ..., as scipy's pdist.

    Raises:
        LocalityError: an embedding is zero or not finite, or a group has fewer than two documents.

    >>> pairwise_distances(np.array([[[3.0, 0.0], [0.0, 0.5], [-1.0, 0.0]]])).tolist()
    [[1.0, 2.0, 1.0]]
    """
    vectors = np.asarray(vectors)
    if vectors.ndim != 3:
        raise LocalityError(f"vectors has shape {vectors.shape}; expected (groups, documents of a group, dimensions)")
    n, group, d = vectors.shape
    places = np.arange(n * group).reshape(n, group)
    distances = [
        _distances(_normalised(vectors[block], places[block], "row {} of all groups laid end to end"), distance)
        for block in _blocks(n, group, d)
    ]
    return np.concatenate(distances) if distances else np.zeros((0, group * (group - 1) // 2))


def diameters(vectors: np.ndarray, doc_rows: np.ndarray, *, alpha: float = 0.99, distance: Distance = "cosine") -> pd.DataFrame:
    """Measure how wide each group is.

    A zero embedding is a text without a word (see :func:`rd_utils.mining.dense.search`): it has no direction and is left out of its
    group, whose measures are missing where fewer than two documents are left.

    Args:
        vectors: (n_docs, d) embeddings of the collection's documents.
        doc_rows: (n, group) the rows of each group's documents, group at least 2.
        alpha: the quantile that ``diameter_q99`` gives, interpolated linearly.
        distance: ``cosine`` or ``euclidean``.

    Returns:
        One row a group, in the order given: diameter (the largest pairwise distance), diameter_q99, mean_distance.

    Raises:
        LocalityError: an embedding is not finite, a row does not exist, or a group has fewer than two documents.

    Two orthogonal documents and one halfway between, at 1 - cos 45 degrees = 0.2929 from both:

    >>> diameters(np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([[0, 1, 2], [2, 2, 0]])).round(4).values.tolist()
    [[1.0, 0.9859, 0.5286], [0.2929, 0.2929, 0.1953]]
    """
    vectors, doc_rows = np.asarray(vectors), np.asarray(doc_rows)
    if vectors.ndim != 2 or doc_rows.ndim != 2:
        raise LocalityError(f"vectors has shape {vectors.shape}, doc_rows {doc_rows.shape}; expected (n_docs, d) and (n, group)")
    if not 0 < alpha <= 1:
        raise LocalityError(f"alpha is {alpha}; expected a quantile above 0 and at most 1")
    outside = doc_rows[(doc_rows < 0) | (doc_rows >= len(vectors))]
    if len(outside):
        raise LocalityError(f"{len(outside)} document rows do not exist, the first is {outside[0]}; there are {len(vectors)} embeddings")
    n, group = doc_rows.shape
    measured = np.empty((n, 3))
    for block in _blocks(n, group, vectors.shape[1]):
        rows = doc_rows[block]
        found = vectors[rows]
        told = np.any(found, axis=-1)
        for size in np.unique(told.sum(axis=1)).tolist():  # groups of one size; but for texts without a word they are all of one
            own = np.flatnonzero(told.sum(axis=1) == size)
            if size < 2:
                measured[block.start + own] = np.nan
                continue
            kept = told[own]
            left = found[own][kept].reshape(len(own), size, -1), rows[own][kept].reshape(len(own), size)
            distances = _distances(_normalised(*left, "document row {}"), distance)
            quantiles = np.quantile(distances, alpha, axis=1)
            measured[block.start + own] = np.stack([distances.max(axis=1), quantiles, distances.mean(axis=1)], axis=1)
    return pd.DataFrame(measured, columns=["diameter", "diameter_q99", "mean_distance"])


def _blocks(n: int, group: int, d: int) -> list[slice]:
    """Return slices over n groups that each hold about _BLOCK_VALUES numbers."""
    if group < 2:
        raise LocalityError(f"groups have {group} documents; expected at least 2, since one has no distance")
    size = max(1, _BLOCK_VALUES // (group * (d + group)))
    return [slice(start, start + size) for start in range(0, n, size)]


def _normalised(vectors: np.ndarray, places: np.ndarray, where: str) -> np.ndarray:
    """Return float64 embeddings of norm 1 over the last axis; ``places`` says what to call each in an error."""
    vectors = vectors.astype(np.float64)
    norms = np.linalg.norm(vectors, axis=-1)
    bad = ~(np.isfinite(norms) & (norms > 0))
    if bad.any():
        raise LocalityError(
            f"{int(bad.sum())} embeddings are zero or not finite, the first is {where.format(places[bad][0])}; they have no direction: "
            "look at that document's text (it may be empty), or encode in fp32"
        )
    return vectors / norms[..., None]


def _distances(unit: np.ndarray, distance: Distance) -> np.ndarray:
    if distance not in get_args(Distance):
        raise LocalityError(f"unknown distance {distance!r}; choose one of {', '.join(get_args(Distance))}")
    first, second = np.triu_indices(unit.shape[1], k=1)
    cosine = np.clip(1.0 - (unit @ unit.swapaxes(1, 2))[:, first, second], 0.0, 2.0)  # rounding may leave the range by 1e-16
    return cosine if distance == "cosine" else np.sqrt(2.0 * cosine)


# --- between distributions, and between collections -------------------------------------------------------------------------------


def density_ratio(target: np.ndarray, sampling: np.ndarray) -> float:
    """Compute the largest ratio of target to sampling probability over the documents that the target can give.

    ``kappa = max over d with mu(d) > 0 of mu(d) / nu(d)``. It is 1 where both agree, and never below: two distributions over the same
    documents cannot differ in one direction only.

    Args:
        target: (n,) probabilities mu of the documents.
        sampling: (n,) probabilities nu with which one draw of the strategy gives each of the same documents; the inclusion probabilities
            of k draws without replacement, divided by k. A teacher's scores are neither.

    Returns:
        kappa, at least 1; infinite where the target gives a document that the sampler never draws.

    Raises:
        LocalityError: a probability is negative or no number, or they do not sum to 1 within 1e-6.

    A uniform target over four documents, of which the sampler draws the last one time in eight:

    >>> density_ratio(np.array([0.25, 0.25, 0.25, 0.25]), np.array([0.375, 0.25, 0.25, 0.125]))
    2.0
    """
    target, sampling = np.asarray(target, dtype=np.float64), np.asarray(sampling, dtype=np.float64)
    if target.ndim != 1 or target.shape != sampling.shape:
        raise LocalityError(f"target has shape {target.shape}, sampling {sampling.shape}; expected (n,) over the same documents")
    for name, probabilities in (("target", target), ("sampling", sampling)):
        bad = np.flatnonzero(~(probabilities >= 0))
        if len(bad):
            raise LocalityError(
                f"{name} has {len(bad)} negative or missing probabilities, the first is {probabilities[bad[0]]} at position {bad[0]}; "
                "give the probabilities of the draws, not scores"
            )
        if not abs(probabilities.sum() - 1.0) <= 1e-6:
            raise LocalityError(
                f"{name} sums to {probabilities.sum():.6g}; expected 1 within 1e-6: divide inclusion probabilities by the number of draws"
            )
    support = target > 0
    if (sampling[support] == 0).any():
        return float("inf")
    ratio = (target[support] / target.sum()) / (sampling[support] / sampling.sum())
    return max(1.0, float(ratio.max()))  # 1 or more but for rounding


def coverage(doc_ids_of_groups: Iterable[Sequence[str]], wanted: set[str], *, sampled: int | None = None) -> float:
    """Compute the share of wanted documents that some training group contains.

    It grows with the number of documents that are looked at: compare strategies at the same ``sampled``.

    Args:
        doc_ids_of_groups: the documents of each group, in the order of training.
        wanted: judged (or retrieved) test documents.
        sampled: how many documents to look at, group after group, each as often as it stands there (default: all).

    Returns:
        The share, in [0, 1].

    Raises:
        LocalityError: nothing is wanted, or the groups hold fewer documents than ``sampled``.

    >>> groups = [["d1", "d2"], ["d1", "d3"], ["d4", "d5"]]
    >>> coverage(groups, {"d1", "d3", "d4", "d9"}), coverage(groups, {"d1", "d3", "d4", "d9"}, sampled=3)
    (0.75, 0.25)
    """
    if not wanted:
        raise LocalityError("no documents are wanted, so there is no share of them; give the judged documents of a test collection")
    if sampled is not None and sampled < 1:
        raise LocalityError(f"sampled is {sampled}; expected at least 1 document")
    covered: set[str] = set()
    seen = 0
    for doc_ids in doc_ids_of_groups:
        looked_at = doc_ids if sampled is None else doc_ids[: sampled - seen]
        covered.update(wanted.intersection(looked_at))
        seen += len(looked_at)
        if seen == sampled:
            break
    if sampled is not None and seen < sampled:
        raise LocalityError(f"the groups hold {seen} documents, fewer than the {sampled} asked for; compare at the smallest count of all")
    return len(covered) / len(wanted)


# --- over a training set ----------------------------------------------------------------------------------------------------------


def summarise(per_group: pd.DataFrame, *, seed: int, n_resamples: int = 2000, level: float = 0.95) -> pd.DataFrame:
    """Describe each quantity over the groups of a training set: median with its interval, and 0.99-quantile; never a lone maximum.

    The interval is the percentile bootstrap over groups, as if they were independent; groups that share a query are not quite, so it is
    then somewhat narrow.

    Args:
        per_group: one row a group, one numeric column a quantity (as :func:`diameters` gives).
        seed: of the resampling, the same resamples for every quantity.
        n_resamples: how often the groups are drawn.
        level: of the interval.

    Returns:
        One row a column, in their order: quantity, n_groups, median, low, high, q99.

    Raises:
        LocalityError: there are fewer than two groups, a value is not finite, or a setting is out of its range.

    >>> summarise(pd.DataFrame({"diameter": np.arange(101) / 100}), seed=0)[["n_groups", "median", "q99"]].values.tolist()
    [[101.0, 0.5, 0.99]]
    """
    from scipy import stats

    if len(per_group) < 2:
        raise LocalityError(f"{len(per_group)} groups; expected at least 2, since a spread over groups cannot be known from fewer")
    if not 0 < level < 1 or n_resamples < 1:
        raise LocalityError(f"level is {level}, n_resamples {n_resamples}; expected 0 < level < 1 and n_resamples >= 1")
    rows = []
    for quantity, column in per_group.items():
        values = column.to_numpy(dtype=np.float64)
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise LocalityError(
                f"{len(bad)} of {len(values)} values of {quantity} are not finite, the first is {values[bad[0]]} in group {bad[0]}; "
                "count these groups apart"
            )
        interval = stats.bootstrap(
            (values,),
            np.median,
            n_resamples=n_resamples,
            batch=max(1, _BLOCK_VALUES // len(values)),
            confidence_level=level,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
        rows.append((quantity, len(values), np.median(values), interval.low, interval.high, np.quantile(values, 0.99)))
    return pd.DataFrame(rows, columns=["quantity", "n_groups", "median", "low", "high", "q99"])

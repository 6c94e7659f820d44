"""Strategies: which documents stand beside a query's positive in a training group.

One group per (query, labelled positive, draw). Every document known to be relevant to the query (relevance above 0) is excluded before
ranking and drawing, the documents of a group are distinct, and each query draws from random streams of its own, so that the groups of one
query do not depend on which other queries there are, nor those of one draw on how many draws there are.

A group is put together in steps of fixed sizes: documents of the strategy's pool, documents of the pool that fills a shortage, and
documents drawn uniformly from the rest of the collection. So a document that the pools give with probability a has the inclusion
probability ``a + (1 - a) * u / (N - t)``: N documents are no positives, t are taken from pools, and u are drawn from the collection.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import expit

from rd_utils.data.collections import positives
from rd_utils.data.runs import Run, blocks, named, rows_of, tie_order
from rd_utils.study.kinds import Strategy
from rd_utils.workflow.progress import Track, untracked

_CERTAIN = 1 - 1e-12  # inclusion probabilities above are 1 but for rounding


class SamplingError(ValueError):
    """Groups cannot be drawn as asked; the message says what to change."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Training groups as flat arrays, n groups of G documents, and what was lost on the way.

    Attributes:
        query_ids: the ids of all queries, which ``query_rows`` count.
        doc_ids: the ids of all documents, which ``doc_rows`` count.
        query_rows: int64 (n,).
        draw: int64 (n,), from 0.
        doc_rows: int32 (n, G), the positive first.
        n_filled: int64 (n,), documents that the shortage policy filled in.
        n_random: int64 (n,), corpus-random documents in place of the strategy's.
        inclusion: float64 (n, G), each document's probability to be in the group (1 for the positive, NaN where it is not known).
        density_ratio: float64 (n,), kappa = max of mu / nu over the N documents that are no positives, mu = 1 / N,
            nu = inclusion / negatives (1 for corpus-random groups, infinite where some document cannot be drawn, NaN where not known).
        dropped: counts by reason; a group that is short counts once per draw.
        counts: counts of what was made.
    """

    query_ids: pd.Series
    doc_ids: pd.Series
    query_rows: np.ndarray
    draw: np.ndarray
    doc_rows: np.ndarray
    n_filled: np.ndarray
    n_random: np.ndarray
    inclusion: np.ndarray
    density_ratio: np.ndarray
    dropped: dict[str, int]
    counts: dict[str, int]

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self.query_rows)

    @property
    def frame(self) -> pd.DataFrame:
        """Return the groups as people read them: query_id, draw, doc_ids, n_filled, n_random, inclusion, density_ratio."""
        columns = {name: getattr(self, name) for name in _COLUMNS if name not in ("query_rows", "doc_rows", "inclusion")}
        ids = np.asarray(named(self.doc_ids, self.doc_rows.ravel()), dtype=object).reshape(self.doc_rows.shape)
        lists = {"doc_ids": ids.tolist(), "inclusion": self.inclusion.tolist()}
        values = {"query_id": named(self.query_ids, self.query_rows)} | columns | lists
        order = ["query_id", "draw", "doc_ids", "n_filled", "n_random", "inclusion", "density_ratio"]
        return pd.DataFrame(values)[order].astype({"query_id": "str"})

    def take(self, places: np.ndarray) -> Groups:
        """Return some of the groups, by places or a Boolean array; the counts stay those of all."""
        return replace(self, **{name: getattr(self, name)[places] for name in _COLUMNS})

    def save(self, path: Path) -> None:
        """Write the groups as a Parquet file of row numbers, with lists of fixed length."""
        pq.write_table(pa.table({name: column(getattr(self, name)) for name in _COLUMNS}), path)

    @classmethod
    def load(cls, path: Path, query_ids: pd.Series, doc_ids: pd.Series) -> Groups:
        """Read what :meth:`save` wrote; ``dropped`` and ``counts`` stay with the artefact's manifest."""
        table = pq.read_table(path)
        return cls(query_ids, doc_ids, **{name: matrix(table[name]) for name in _COLUMNS}, dropped={}, counts={})


_COLUMNS = ("query_rows", "draw", "doc_rows", "n_filled", "n_random", "inclusion", "density_ratio")


def column(array: np.ndarray) -> pa.Array:
    """Return an array (n,) as a column of numbers, one of (n, length) as a column of lists of that length."""
    flat = pa.array(np.ascontiguousarray(array).ravel())
    return flat if array.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, array.shape[1])


def matrix(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of numbers as an array (n,), one of lists of a fixed length as (n, length)."""
    flat = column.combine_chunks()
    if not pa.types.is_fixed_size_list(column.type):
        return flat.to_numpy(zero_copy_only=False)
    return flat.flatten().to_numpy(zero_copy_only=False).reshape(len(column), column.type.list_size)


class PoolPart(NamedTuple):
    """What a group takes from one pool.

    Attributes:
        strategy: that draws.
        rows: int64 (n,), the documents that it draws from.
        inclusion: float64 (n,), each one's probability to be taken; NaN where it is not known.
        size: how many are taken.
        distances: (n + 1, n + 1), between the rows and, last, the positive, where a diameter is the target and fewer than all are taken.
    """

    strategy: Strategy
    rows: np.ndarray
    inclusion: np.ndarray
    size: int
    distances: np.ndarray | None = None


class _Plan(NamedTuple):
    """What every draw of one positive's group shares."""

    positive: int
    parts: list[PoolPart]
    n_filled: int
    rows: np.ndarray  # of all pools, sorted
    inclusion: np.ndarray  # of these rows, and last of every other document
    density_ratio: float


_NO_ROWS, _NO_SCORES = np.empty(0, dtype=np.int64), np.empty(0)


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the random stream of ``name``: PCG64 seeded by the seed and the first 8 bytes of the name's SHA-256."""
    return np.random.default_rng([seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")])


def draw_groups(
    doc_ids: pd.Series,
    qrels: pd.DataFrame,
    *,
    strategy: Strategy,
    group_size: int,
    shortage: Strategy | Literal["drop"],
    seed: int,
    draws: int = 1,
    random_share: float = 0.0,
    query_ids: pd.Series | None = None,
    candidates: Run | None = None,
    fill_candidates: Run | None = None,
    vectors: np.ndarray | None = None,
    without_word: tuple[np.ndarray, np.ndarray] | None = None,
    why_short: Callable[[], str] = str,
    track: Track = untracked,
) -> Groups:
    """Draw ``draws`` groups for every labelled positive.

    Args:
        doc_ids: the ids of the collection's documents.
        qrels: query_id, doc_id, relevance of the training split.
        strategy: one of the strategies of :mod:`rd_utils.study.params`.
        group_size: documents of a group, its positive included.
        shortage: ``"drop"`` a group whose pool is too small, or the strategy to fill it from (not a diameter-targeted one).
        seed: of the draws.
        draws: how often each positive's negatives are drawn, independently.
        random_share: the share of the negatives that corpus-random documents replace, rounded to whole documents (halves to even); it
            changes nothing where the strategy is corpus-random.
        query_ids: the ids of the queries whose rows the runs and the groups count; by default those of the qrels, sorted.
        candidates: the run that the strategy draws from, best first, a list a query; for ``study.params.Graph`` its keys are the
            rows of positives.
        fill_candidates: the same for the strategy that fills shortages.
        vectors: (documents, d) reference embeddings in the order of ``doc_ids``, of any norm, for
            :class:`rd_utils.study.params.DiameterTargeted`.
        without_word: the rows of queries, and those of documents, that have no word. No group is drawn for such a query or positive: every
            score of it says nothing, so that nothing can be learnt. They are counted, and stay known positives.
        why_short: called where no group is left: why the candidates are few, and the remedy, if something else than depth is to blame.
        track: wraps an iterable to show progress.

    Returns:
        The groups, sorted by (draw, query_id, positive).

    Raises:
        SamplingError: no group is left, the collection is too small, the candidates are missing, unordered or of another collection, or the
            shortage policy cannot fill.
    """
    query_ids = pd.Series(sorted(set(qrels["query_id"])), dtype="str") if query_ids is None else query_ids
    task = _Task.of(doc_ids, query_ids, qrels, strategy, shortage, group_size, seed, draws, random_share, vectors, without_word)
    if candidates is not None and task.vectors is not None and strategy.in_space:
        candidates = candidates.keep(np.any(task.vectors, axis=1)[candidates.docs])  # a zero embedding has no distance
    pools = [
        _Pools.of(candidates, strategy, task.queries, task.known, task.n_docs, "candidates"),
        _Pools.of(fill_candidates, shortage, task.queries, task.known, task.n_docs, "fill_candidates"),
    ]
    made = _Made(len(task.known) * draws, group_size)
    for number in track(np.argsort(task.query_order[task.asked]).tolist(), "drawing groups", len(task.asked)):
        task.draw(number, pools, made)
    if not made.n:
        raise SamplingError(f"no group could be drawn: {task.losses()}; " + (why_short() or _DEEPER))
    return task.groups(made, qrels)


_DEEPER = "raise depth, lower group_size, or let shortage fill from corpus_random"


@dataclass(frozen=True, eq=False)
class _Task:
    """What all queries share while groups are drawn; see :func:`draw_groups`.

    Attributes:
        queries: int64 (n,), rows of the queries of known positives, in order.
        known: int64 (n,), rows of their documents.
        bounds: of each query's positives.
        wordless: (n,), whether the query or the positive has no word.
        n_pooled: documents of a group that come from pools.
        n_random: documents of a group that are drawn from the whole collection in their place.
    """

    doc_ids: pd.Series
    query_ids: pd.Series
    strategy: Strategy
    shortage: Strategy | Literal["drop"]
    group_size: int
    seed: int
    draws: int
    vectors: np.ndarray | None
    queries: np.ndarray
    known: np.ndarray
    bounds: np.ndarray
    wordless: np.ndarray
    n_pooled: int
    n_random: int
    dropped: dict[str, int]

    @classmethod
    def of(
        cls,
        doc_ids: pd.Series,
        query_ids: pd.Series,
        qrels: pd.DataFrame,
        strategy: Strategy,
        shortage: Strategy | Literal["drop"],
        group_size: int,
        seed: int,
        draws: int,
        random_share: float,
        vectors: np.ndarray | None,
        without_word: tuple[np.ndarray, np.ndarray] | None,
    ) -> _Task:
        """Check what is asked for, and find the known positives."""
        n_negatives = group_size - 1
        _check(len(doc_ids), strategy, shortage, vectors)
        n_random = round(random_share * n_negatives) if strategy.pooled else 0
        relevant = positives(qrels)
        queries, known = _positive_rows(relevant, query_ids, doc_ids)
        wordless = np.zeros(len(known), dtype=bool)
        if without_word is not None:
            wordless = np.isin(queries, without_word[0]) | np.isin(known, without_word[1])
        dropped = {"positives_not_in_collection": len(relevant) - len(known), "groups_for_shortage": 0}
        dropped["groups_without_word"] = int(wordless.sum()) * draws
        return cls(
            doc_ids=doc_ids,
            query_ids=query_ids,
            strategy=strategy,
            shortage=shortage,
            group_size=group_size,
            seed=seed,
            draws=draws,
            vectors=vectors,
            queries=queries,
            known=known,
            bounds=np.append(np.flatnonzero(np.diff(queries, prepend=-1)), len(queries)),
            wordless=wordless,
            n_pooled=n_negatives - n_random if strategy.pooled else 0,
            n_random=n_random,
            dropped=dropped,
        )

    @property
    def n_docs(self) -> int:
        """Return the number of documents of the collection."""
        return len(self.doc_ids)

    @cached_property
    def asked(self) -> np.ndarray:
        """Return the row of each query that has a known positive."""
        return self.queries[self.bounds[:-1]]

    @cached_property
    def names(self) -> np.ndarray:
        """Return the ids of these queries."""
        return np.asarray(named(self.query_ids, self.asked), dtype=object)

    @cached_property
    def query_order(self) -> np.ndarray:
        """Return the rank of each query among the sorted ids."""
        return tie_order(self.query_ids)

    def draw(self, number: int, pools: list[_Pools | None], made: _Made) -> None:
        """Draw all groups of one query."""
        query_id, own = self.names[number], range(self.bounds[number], self.bounds[number + 1])
        excluded = set(self.known[own.start : own.stop].tolist())
        n_negatives, n_others = self.group_size - 1, self.n_docs - len(excluded)
        if n_others < n_negatives:
            raise SamplingError(
                f"query {query_id!r}: the collection has {n_others} documents that are not positives, "
                f"fewer than the {n_negatives} negatives of a group; lower group_size"
            )
        plans = [plan for place in own if not self.wordless[place] and (plan := self._planned(place, pools, excluded, n_others))]
        for draw in range(self.draws):
            generator = stream(self.seed, query_id if draw == 0 else f"{query_id}\0{draw}")
            for plan in plans:
                negatives = np.concatenate([_NO_ROWS, *(part.strategy.take(part, generator) for part in plan.parts)])
                if len(negatives) < n_negatives:
                    without = excluded | set(negatives.tolist())
                    negatives = np.concatenate([negatives, uniform_rows(self.n_docs, n_negatives - len(negatives), without, generator)])
                made.add(int(self.asked[number]), draw, plan, negatives)

    def _planned(self, place: int, pools: list[_Pools | None], excluded: set[int], n_others: int) -> _Plan | None:
        """Return what the groups of one positive are put together from; None, and counted, where that is too little."""
        positive, parts, missing = int(self.known[place]), [], self.n_pooled
        for pool in pools:
            if missing and pool is not None:
                parts.append(_part(pool.source, pool.list_of(place), missing, excluded, parts[0].rows if parts else _NO_ROWS))
                missing -= parts[-1].size
        if missing and (self.shortage == "drop" or self.shortage.pooled):
            self.dropped["groups_for_shortage"] += self.draws
            return None
        if parts and self.strategy.in_space and parts[0].size < len(parts[0].rows):
            vectors = cast("np.ndarray", self.vectors)  # or it would have been refused
            parts[0] = parts[0]._replace(distances=_cosine_distances(vectors, [*parts[0].rows, positive], self.doc_ids))
        return _plan(positive, parts, self.n_pooled - parts[0].size if parts else 0, self.group_size - 1, n_others)

    def losses(self) -> str:
        """Say what was lost."""
        lost = self.dropped
        without = f", {lost['groups_without_word']} had a query or positive without a word" if lost["groups_without_word"] else ""
        return (
            f"{lost['groups_for_shortage']} were short of {self.n_pooled} candidates, "
            f"{lost['positives_not_in_collection']} positives are not in the collection{without}"
        )

    def groups(self, made: _Made, qrels: pd.DataFrame) -> Groups:
        """Return the groups that were made, sorted, with their counts."""
        arrays = {name: array[: made.n] for name, array in made.arrays.items()}
        doc_order = tie_order(self.doc_ids)
        order = np.lexsort((doc_order[arrays["doc_rows"][:, 0]], self.query_order[arrays["query_rows"]], arrays["draw"]))
        arrays = {name: array[order] for name, array in arrays.items()} | {"n_random": np.full(made.n, self.n_random, dtype=np.int64)}
        counts = {
            "queries_without_positive": int(qrels["query_id"].nunique() - len(self.asked)),
            "documents_filled": int(arrays["n_filled"].sum()),
            "groups_filled": int((arrays["n_filled"] > 0).sum()),
            "documents_random": int(arrays["n_random"].sum()),
            "groups": made.n,
            "queries": len(np.unique(arrays["query_rows"])),
            "documents": made.n * self.group_size,
        }
        return Groups(self.query_ids, self.doc_ids, **arrays, dropped=self.dropped, counts=counts)


def _check(n_docs: int, strategy: Strategy, shortage: Strategy | Literal["drop"], vectors: np.ndarray | None) -> None:
    if shortage != "drop" and not getattr(shortage, "fills", False):
        fitting = ", ".join(tag for tag, kind in Strategy.kinds.items() if issubclass(kind, Strategy) and kind.fills)
        which = getattr(shortage, "tag", shortage)
        raise SamplingError(f"a shortage cannot be filled from {which!r}: drop the group, or fill from one of {fitting}")
    if strategy.in_space and vectors is None:
        raise SamplingError(f"the strategy {strategy.tag} needs the documents' reference embeddings; give vectors")
    if vectors is not None and len(vectors) != n_docs:
        raise SamplingError(f"{len(vectors)} vectors for {n_docs} documents; give one row per document, in the order of doc_ids")


class _Made:
    """The groups that are drawn so far, in arrays that are as long as there can be groups."""

    def __init__(self, most: int, group_size: int) -> None:
        self.n = 0
        self.arrays = {
            "query_rows": np.empty(most, dtype=np.int64),
            "draw": np.empty(most, dtype=np.int64),
            "doc_rows": np.empty((most, group_size), dtype=np.int32),
            "n_filled": np.empty(most, dtype=np.int64),
            "inclusion": np.empty((most, group_size)),
            "density_ratio": np.empty(most),
        }

    def add(self, query: int, draw: int, plan: _Plan, negatives: np.ndarray) -> None:
        """Add one group."""
        values = self.arrays
        values["query_rows"][self.n], values["draw"][self.n] = query, draw
        values["doc_rows"][self.n, 0], values["doc_rows"][self.n, 1:] = plan.positive, negatives
        values["inclusion"][self.n, 0], values["inclusion"][self.n, 1:] = 1.0, _inclusion_of(negatives, plan)
        values["n_filled"][self.n], values["density_ratio"][self.n] = plan.n_filled, plan.density_ratio
        self.n += 1


def uniform_rows(n_docs: int, k: int, excluded: set[int], generator: np.random.Generator) -> np.ndarray:
    """Draw k distinct rows uniformly from those not excluded, in the order in which they were drawn."""
    chosen: dict[int, None] = {}
    if k + len(excluded) > n_docs // 2:  # a small collection: list what is left
        left = np.array(sorted(set(range(n_docs)) - excluded), dtype=np.int64)
        return generator.choice(left, size=k, replace=False)
    while len(chosen) < k:
        for row in generator.integers(n_docs, size=k).tolist():
            if row not in excluded and len(chosen) < k:
                chosen.setdefault(row)
    return np.fromiter(chosen, dtype=np.int64)


def from_pool(pool: np.ndarray, k: int, draw: str, generator: np.random.Generator, inclusion: np.ndarray | None = None) -> np.ndarray:
    """Take k rows of a ranked pool, or all of a smaller one: the top ones, uniformly, or with given inclusion probabilities.

    Random draws run over the sorted rows, so that rank plays no part.

    Args:
        pool: rows, best first.
        k: how many.
        draw: ``top``, ``uniform`` or ``softmax``.
        generator: of the draws.
        inclusion: (len(pool),) inclusion probabilities, for ``softmax`` only.
    """
    if draw == "top":
        return pool[:k]
    order = np.argsort(pool)
    if draw == "softmax" and inclusion is not None and k < len(pool):
        return pool[order][systematic_sample(inclusion[order], generator)]
    return generator.choice(pool[order], size=min(k, len(pool)), replace=False)


def inclusion_probabilities(scores: np.ndarray, k: int, draw: str, temperature: float = 1.0) -> np.ndarray:
    """Compute the probability of each document of a ranked pool to be among the k that are drawn from it.

    ``top``: 1 for the first k, then 0. ``uniform``: ``k / n``. ``softmax``: ``min(1, c * w)`` with ``w = softmax(scores / temperature)``
    and c such that the probabilities sum to k. All are 1 where the pool holds no more than k.

    Args:
        scores: (n,) of the pool, best first.
        k: how many are drawn.
        draw: ``top``, ``uniform`` or ``softmax``.
        temperature: divides the scores.

    Returns:
        (n,) probabilities that sum to min(k, n).

    Weights of 4, 2, 1 and 1 eighths, of which the first is capped where three are drawn:

    >>> inclusion_probabilities(np.log([4.0, 2.0, 1.0, 1.0]), 3, "softmax").round(6).tolist()
    [1.0, 1.0, 0.5, 0.5]
    >>> inclusion_probabilities(np.log([4.0, 2.0, 1.0, 1.0]), 1, "softmax").round(6).tolist()
    [0.5, 0.25, 0.125, 0.125]
    """
    n = len(scores)
    if n <= k or k == 0:
        return np.full(n, float(k > 0))
    if draw == "uniform":
        return np.full(n, k / n)
    if draw == "top":
        return (np.arange(n) < k).astype(np.float64)
    log_weights = np.asarray(scores, dtype=np.float64) / temperature
    order = np.argsort(-log_weights, kind="stable")
    heavy_first = log_weights[order]
    log_rest = np.logaddexp.accumulate(heavy_first[::-1])[::-1]  # of the weights from here on
    uncapped = np.log(k - np.arange(k)) + heavy_first[:k] - log_rest[:k] <= 0
    n_capped = int(np.argmax(uncapped)) if uncapped.any() else k - 1
    probabilities = np.exp(np.minimum(np.log(k - n_capped) + log_weights - log_rest[n_capped], 0.0))
    probabilities[order[:n_capped]] = 1.0
    return probabilities


def systematic_sample(inclusion: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw a sample of fixed size with exactly these inclusion probabilities: randomised systematic sampling.

    The probabilities are laid end to end in random order, and every whole step from one uniform start takes the document in which it falls
    (W. G. Madow, On the theory of systematic sampling, II, Annals of Mathematical Statistics 20, 1949).

    Args:
        inclusion: (n,) in [0, 1], with a whole sum k.
        generator: of the draw.

    Returns:
        (k,) places in ``inclusion``, in random order.

    >>> sorted(systematic_sample(np.array([1.0, 0.0, 1.0]), np.random.default_rng(0)).tolist())
    [0, 2]
    """
    certain = np.flatnonzero(inclusion > _CERTAIN)  # apart, so that rounding cannot put two steps into one document
    order = generator.permutation(np.flatnonzero(inclusion <= _CERTAIN))
    ends = np.cumsum(inclusion[order])
    left = round(float(inclusion.sum())) - len(certain)
    if left:
        steps = (generator.random() + np.arange(left)) * (ends[-1] / left)
        places = np.minimum(np.searchsorted(ends, steps, side="right"), len(order) - 1)
        certain = np.concatenate([certain, order[places]])
    return generator.permutation(certain)


def diameter_targeted(distances: np.ndarray, k: int, *, quantile: float, trials: int, generator: np.random.Generator) -> np.ndarray:
    """Draw k documents of a pool such that the group's diameter ranks at a quantile of what the pool allows.

    Each trial draws an anchor from the pool uniformly and a whole number m from k to the pool's size log-uniformly, and then k of the m
    documents that are nearest to the anchor (itself among them) uniformly. Its diameter is the 0.99-quantile of the pairwise distances of
    the positive and the k documents. The trial whose diameter ranks nearest to ``quantile * (trials - 1)`` is taken, the first of equals.

    Args:
        distances: (n + 1, n + 1) pairwise distances of the pool's n documents, and last of the positive.
        k: how many, at the most n.
        quantile: 0 the most compact trial, 1 the widest.
        trials: how many trial groups are compared.
        generator: of the draws.

    Returns:
        (k,) places in the pool.

    Of the points 0, 1 and 10 beside a positive at 0, the two near ones make the narrowest group:

    >>> points = np.array([0.0, 1.0, 10.0, 0.0])
    >>> narrow = diameter_targeted(abs(points[:, None] - points), 2, quantile=0, trials=64, generator=np.random.default_rng(0))
    >>> sorted(narrow.tolist())
    [0, 1]
    """
    n = len(distances) - 1
    anchors = generator.integers(n, size=trials)
    sizes = np.minimum(np.exp(generator.uniform(np.log(k), np.log(n + 1), size=trials)).astype(np.int64), n)
    keys = generator.random((trials, n))
    keys[np.arange(n) >= sizes[:, None]] = 2.0  # outside of the neighbourhood
    nearest = np.argsort(distances[anchors, :n], axis=1, kind="stable")
    members = np.take_along_axis(nearest, np.argsort(keys, axis=1)[:, :k], axis=1)
    groups = np.column_stack([np.full(trials, n), members])
    first, second = np.triu_indices(k + 1, k=1)
    diameters = np.quantile(distances[groups[:, first], groups[:, second]], 0.99, axis=1)
    ranks = np.empty(trials)
    ranks[np.argsort(diameters, kind="stable")] = np.arange(trials)
    return members[np.argmin(np.abs(ranks - quantile * (trials - 1)))]


def filter_false_negatives(
    candidates: Run, scores: np.ndarray, lowest_positive: np.ndarray, *, rule: str, value: float, units: str
) -> tuple[Run, int]:
    """Drop the candidates that a teacher finds likely relevant.

    With p the score of the query's lowest-scored positive and d the candidate's, both in ``units``, a candidate is dropped where
    ``d > p - value`` (``absolute_margin``), ``d > p - value * abs(p)`` (``relative_margin``) or ``d > value * p`` (``share``).

    Args:
        candidates: a run with a list a query.
        scores: (n_pairs,) the teacher's raw scores of these pairs.
        lowest_positive: (n_lists,) raw score of each query's lowest-scored known positive; NaN where it has none.
        rule: as :class:`rd_utils.study.params.FalseNegativeFilter` names it.
        value: the margin or share.
        units: ``raw``, ``sigmoid`` (of log-odds) or ``exp`` (of log-probabilities).

    Returns:
        The candidates that are left, in their order, and the number dropped.

    Raises:
        SamplingError: a score is missing, a query with candidates has no positive's score, or the rule does not fit the units.

    >>> run = Run(np.array([0, 3]), np.array([0, 1, 2], dtype=np.int32), np.array([9.0, 8.0, 7.0]))
    >>> kept, n_dropped = filter_false_negatives(
    ...     run, np.array([5.5, 5.0, 1.0]), np.array([6.0]), rule="absolute_margin", value=1.0, units="raw"
    ... )
    >>> kept.docs.tolist(), n_dropped
    ([1, 2], 1)
    """
    if np.shape(scores) != (len(candidates.docs),):
        raise SamplingError(f"scores have the shape {np.shape(scores)} for {len(candidates.docs)} candidates; give one score per pair")
    if np.shape(lowest_positive) != (len(candidates),):
        raise SamplingError(
            f"lowest_positive has the shape {np.shape(lowest_positive)} for {len(candidates)} lists; give one score per list"
        )
    kept = np.zeros(len(candidates.docs), dtype=bool)
    for start, stop in blocks(candidates.offsets):
        inside = slice(candidates.offsets[start], candidates.offsets[stop])
        rows = candidates.part(start, stop).rows()
        positive = np.repeat(np.asarray(lowest_positive[start:stop], dtype=np.float64), np.diff(candidates.offsets[start : stop + 1]))
        own = np.asarray(scores[inside], dtype=np.float64)
        kept[inside] = _kept(rows, own, positive, rule, value, units)
    return candidates.keep(kept), int(len(kept) - kept.sum())


def _kept(rows: np.ndarray, scores: np.ndarray, positive: np.ndarray, rule: str, value: float, units: str) -> np.ndarray:
    """Tell which pairs a filter keeps."""

    def check(bad: np.ndarray, problem: str, remedy: str) -> None:
        if bad.any():
            offenders = pd.unique(rows[bad])
            raise SamplingError(f"{len(offenders)} queries have {problem}, the first is the query in row {offenders[0]}; {remedy}")

    check(~np.isfinite(positive), "no finite teacher score of a positive", "score every query's positives with the filter's teacher")
    check(~np.isfinite(scores), "candidates without a finite teacher score", "score all of them with the filter's teacher")
    if units == "exp":
        above = (scores > 0) | (positive > 0)
        check(above, "scores above 0, which are no log-probabilities", "use units raw, or sigmoid for log-odds")
    convert = {"raw": lambda x: x, "sigmoid": expit, "exp": np.exp}[units]
    scores, positive = convert(scores), convert(positive)
    if rule == "share":
        remedy = "use units sigmoid (for log-odds) or exp (for log-probabilities), or a margin"
        check(positive <= 0, f"a positive that scores 0 or less in units {units}, which has no share", remedy)
        return scores <= value * positive
    return scores <= positive - value * {"absolute_margin": np.ones(len(positive)), "relative_margin": np.abs(positive)}[rule]


def _positive_rows(relevant: pd.DataFrame, query_ids: pd.Series, doc_ids: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the positives that are in the collection, sorted by query and document: the rows of their queries, and their own."""
    queries, docs = rows_of(relevant["query_id"], query_ids), rows_of(relevant["doc_id"], doc_ids)
    if (queries < 0).any():
        first = relevant["query_id"].iloc[int(np.argmax(queries < 0))]
        raise SamplingError(f"{int((queries < 0).sum())} qrels are of queries that there are not, the first is {first!r}; compare the ids")
    queries, docs = queries[docs >= 0], docs[docs >= 0]
    order = np.lexsort((docs, queries))
    return queries[order], docs[order]


class _Pools(NamedTuple):
    """A run that a strategy draws from, and which of its lists belongs to each positive (-1: none)."""

    source: Strategy
    run: Run
    lists: np.ndarray

    @classmethod
    def of(
        cls, run: Run | None, source: Strategy | Literal["drop"], queries: np.ndarray, known: np.ndarray, n_docs: int, name: str
    ) -> _Pools | None:
        """Find the lists of positives, of their queries or for a graph of themselves; None for a strategy that draws from no run."""
        if source == "drop" or not source.pooled:
            return None
        if run is None:
            raise SamplingError(f"the strategy {source.kind} draws from a retriever's run; give {name}")
        asked = known if source.of_positives else queries
        keys = np.arange(len(run)) if run.keys is None else run.keys
        order = np.argsort(keys, kind="stable")
        places = np.minimum(np.searchsorted(keys, asked, sorter=order), max(len(keys) - 1, 0))
        lists = np.where(keys[order[places]] == asked, order[places], -1) if len(keys) else np.full(len(asked), -1)
        if len(run.docs) and not run.lengths()[lists[lists >= 0]].any():
            raise SamplingError(
                f"{name}: no list is that of a {'positive' if source.of_positives else 'query'} of the qrels; the first answers row "
                f"{keys[0]}; give a run over the same queries and documents"
            )
        if len(run.docs) and not 0 <= run.docs.min() <= run.docs.max() < n_docs:
            raise SamplingError(f"{name}: rows from {run.docs.min()} to {run.docs.max()} of {n_docs} documents; make the run again")
        if source.weighs_scores and not np.isfinite(run.scores).all():
            bad = np.flatnonzero(~np.isfinite(run.scores))
            row = f"that of row {run.rows()[bad[0]]}, document row {run.docs[bad[0]]}"
            raise SamplingError(f"{name}: {len(bad)} scores are not finite, the first is {row}; the draw softmax needs scores")
        return cls(source, run, lists)

    def list_of(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of a positive's pool, best first, and their scores."""
        number = self.lists[place]
        if number < 0:
            return _NO_ROWS, _NO_SCORES
        inside = slice(self.run.offsets[number], self.run.offsets[number + 1])
        return np.asarray(self.run.docs[inside], dtype=np.int64), np.asarray(self.run.scores[inside])


def _part(strategy: Strategy, ranked: tuple[np.ndarray, np.ndarray], wanted: int, excluded: set[int], taken: np.ndarray) -> PoolPart:
    """Cut a strategy's pool for one positive: known positives out, then the window of ranks, then what is taken already."""
    rows, scores = ranked
    first, last = strategy.window
    ranks = np.flatnonzero(~np.isin(rows, list(excluded)))[first - 1 : last]
    ranks = ranks[~np.isin(rows[ranks], taken)]
    return strategy.part(rows[ranks], scores[ranks], min(wanted, len(ranks)))


def _plan(positive: int, parts: list[PoolPart], n_filled: int, n_negatives: int, n_others: int) -> _Plan:
    """Add to a group's parts the inclusion probabilities and the density ratio that follow."""
    n_taken = sum(part.size for part in parts)
    elsewhere = (n_negatives - n_taken) / (n_others - n_taken) if n_negatives > n_taken else 0.0
    rows = np.concatenate([_NO_ROWS, *(part.rows for part in parts)])
    from_pools = np.concatenate([_NO_SCORES, *(part.inclusion for part in parts)])
    order = np.argsort(rows)
    inclusion = (from_pools + (1 - from_pools) * elsewhere)[order]
    lowest = elsewhere if len(rows) < n_others else inclusion.min()  # nothing is less likely than a document that no pool holds
    ratio = np.maximum(n_negatives / n_others / lowest, 1.0) if lowest != 0 else np.inf  # below 1 by rounding only; NaN stays
    return _Plan(positive, parts, n_filled, rows[order], np.append(inclusion, elsewhere), float(ratio))


def _inclusion_of(rows: np.ndarray, plan: _Plan) -> np.ndarray:
    places = np.searchsorted(plan.rows, rows)
    known = np.append(plan.rows, -1)[places] == rows
    return plan.inclusion[np.where(known, places, -1)]


def _cosine_distances(vectors: np.ndarray, rows: list[int], ids: pd.Series) -> np.ndarray:
    """Compute ``1 - cos`` between the embeddings at ``rows``, in float64."""
    found = np.asarray(vectors[rows], dtype=np.float64)
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    bad = np.flatnonzero(~((norms > 0) & np.isfinite(norms)).ravel())
    if len(bad):
        raise SamplingError(f"the embedding of document {ids.iloc[rows[bad[0]]]!r} has the norm {norms[bad[0], 0]}; embed it again")
    found /= norms
    distances = 1 - found @ found.T
    np.fill_diagonal(distances, 0.0)
    return distances

"""Strategies: how the negatives of training groups are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self, cast

import numpy as np
from pydantic import Field, model_validator

from rd_utils.cost.workload import SECONDS
from rd_utils.data.runs import Run
from rd_utils.mining import sampling
from rd_utils.mining.retrievers import BM25
from rd_utils.mining.sampling import PoolPart
from rd_utils.stages.candidates import CANDIDATES
from rd_utils.stages.docs import DOCS
from rd_utils.stages.neighbours import NEIGHBOURS
from rd_utils.stages.queries import QUERIES
from rd_utils.study.bounds import Depth, Few, Share, Spread, Temperature
from rd_utils.study.context import Context
from rd_utils.study.graph import vectors_of
from rd_utils.study.kinds import Collection, Draw, Encoder, Part, Refresh, Retriever, ScoredPool, Strategy, Teacher
from rd_utils.study.specs import CandidatesSpec, NeighboursSpec
from rd_utils.study.stage import Given, Inputs, prefixed


class Filtering(Part):
    """The rule of a :class:`FalseNegativeFilter`, whoever its teacher is."""

    rule: Literal["absolute_margin", "relative_margin", "share"] = "absolute_margin"
    value: Spread
    units: Literal["raw", "sigmoid", "exp"] = "raw"

    @model_validator(mode="after")
    def _something_is_kept(self) -> Filtering:
        if self.rule == "share" and self.value > 1:
            raise ValueError(f"value is {self.value:g}; expected a share of the positive's score, at most 1")
        if self.rule != "share" and self.units != "raw" and self.value >= 1:
            raise ValueError(f"value is {self.value:g}; in units of {self.units} scores are probabilities, so expected a margin below 1")
        return self


class FalseNegativeFilter(Filtering):
    """Drops candidates that a teacher finds likely relevant, measured against the query's lowest-scored positive.

    With p the positive's score and d the candidate's, both in ``units``, a candidate is dropped where

    - ``absolute_margin``: d > p - value;
    - ``relative_margin``: d > p - value * abs(p);
    - ``share``: d > value * p, which needs units in which scores are positive.

    ``raw`` takes the teacher's scores as they are, ``sigmoid`` maps log-odds and ``exp`` log-probabilities to probabilities.
    """

    teacher: Teacher


class Ranked(Strategy):
    """Base of the strategies that draw from the ranks ``from_rank`` to ``depth`` of a retriever's lists."""

    if TYPE_CHECKING:
        retriever: Retriever
        from_rank: int
        depth: int

    @property
    def window(self) -> tuple[int, int]:
        """Return the first and the last rank."""
        return self.from_rank, self.depth

    @model_validator(mode="after")
    def _window_is_open(self) -> Self:
        if self.from_rank > self.depth:
            raise ValueError(f"from_rank is {self.from_rank}, below depth {self.depth}; ranks from_rank to depth are drawn from")
        return self

    def pool_of(self, collection: Collection) -> CandidatesSpec | NeighboursSpec:
        """Return the retriever's candidates."""
        return CandidatesSpec(collection=collection, retriever=self.retriever, depth=self.depth)

    def inputs(self, collection: Collection) -> Inputs:
        """Return what is drawn from."""
        return {"pool": self.pool_of(collection)}

    def pool(self, collection: Collection, given: Given, wordless: np.ndarray) -> tuple[Run, int]:
        """Return the candidates."""
        return given(CANDIDATES, "pool"), 0


class _Drawn(Ranked):
    """Base of the strategies whose ``draw`` says how documents are taken from the window."""

    if TYPE_CHECKING:
        draw: Draw
        draw_temperature: float

    @property
    def weighs_scores(self) -> bool:
        """Tell whether documents are drawn by the softmax of their scores."""
        return self.draw == "softmax"

    def part(self, rows: np.ndarray, scores: np.ndarray, size: int) -> PoolPart:
        """Return the window with the inclusion probabilities of the draw."""
        return PoolPart(self, rows, sampling.inclusion_probabilities(scores, size, self.draw, self.draw_temperature), size)

    def take(self, part: PoolPart, generator: np.random.Generator) -> np.ndarray:
        """Take the best, or draw without replacement."""
        return sampling.from_pool(part.rows, part.size, self.draw, generator, part.inclusion)


class CorpusRandom(Strategy):
    """Negatives drawn uniformly from the whole collection."""

    kind: Literal["corpus_random"] = "corpus_random"
    pooled: ClassVar[bool] = False

    def pool_of(self, collection: Collection) -> None:
        """Return None: no run is drawn from."""

    def inputs(self, collection: Collection) -> Inputs:
        """Return nothing but what every group needs."""
        return {}

    def pool(self, collection: Collection, given: Given, wordless: np.ndarray) -> tuple[None, int]:
        """Return no run."""
        return None, 0


class FromCandidates(_Drawn):
    """Negatives drawn from the ranks ``from_rank`` to ``depth`` of a retriever's top ``depth``.

    Known positives are taken out before ranks are counted, so a query draws from as many documents fewer as it has positives in the list.

    ``draw``: ``top`` takes the best, ``uniform`` draws without replacement, ``softmax`` draws without replacement with inclusion
    probabilities proportional to softmax(score / draw_temperature), capped at 1.
    """

    kind: Literal["candidates"] = "candidates"
    retriever: Retriever = BM25()
    from_rank: Depth = 1
    depth: Depth = 200
    draw: Draw = "uniform"
    draw_temperature: Temperature = 1.0
    filter: FalseNegativeFilter | None = None

    @property
    def scored_pool(self) -> ScoredPool | None:
        """Return the candidates that are filtered."""
        return None if self.filter is None else ScoredPool(self.filter.teacher, self.retriever, self.depth)

    def inputs(self, collection: Collection) -> Inputs:
        """Return the candidates, and what the teacher needs that filters them."""
        filtering = prefixed("filter_", self.filter.teacher.inputs(collection)) if self.filter else {}
        return super().inputs(collection) | filtering

    def pool(self, collection: Collection, given: Given, wordless: np.ndarray) -> tuple[Run, int]:
        """Return the candidates, without what the filter drops."""
        (pool, _), keep = super().pool(collection, given, wordless), self.filter
        if keep is None:
            return pool, 0
        queries, docs = given.whole(QUERIES).positives(given.whole(DOCS))
        usable = (docs >= 0) & ~np.isin(docs, wordless)
        queries, docs = queries[usable], docs[usable]
        pairs = np.concatenate([pool.rows(), queries]), np.concatenate([pool.docs, docs])
        scores = keep.teacher.scores(collection, *pairs, given.part("filter_")).scores
        lowest = np.full(len(pool), np.nan)
        np.fmin.at(lowest, queries, scores[len(pool.docs) :])
        trained_on = ~np.isnan(lowest)[pool.rows()]  # no group is drawn for a query without a positive
        return sampling.filter_false_negatives(
            pool.keep(trained_on), scores[: len(pool.docs)][trained_on], lowest, rule=keep.rule, value=keep.value, units=keep.units
        )


class Graph(_Drawn):
    """Negatives drawn from the neighbours of the positive document: what a retriever finds for the positive's own text."""

    kind: Literal["graph"] = "graph"
    of_positives: ClassVar[bool] = True
    retriever: Retriever = BM25()
    from_rank: Depth = 1
    depth: Depth = 100
    draw: Draw = "uniform"
    draw_temperature: Temperature = 1.0

    def pool_of(self, collection: Collection) -> NeighboursSpec:
        """Return the neighbours of the positives."""
        return NeighboursSpec(collection=collection, retriever=self.retriever, depth=self.depth)

    def pool(self, collection: Collection, given: Given, wordless: np.ndarray) -> tuple[Run, int]:
        """Return the neighbours."""
        return given(NEIGHBOURS, "pool"), 0


class DiameterTargeted(Ranked):
    """Groups whose diameter in a reference encoder lies at a chosen quantile of those that the same candidates allow.

    For every group ``trials`` trial groups are drawn from the candidates, from a narrow neighbourhood up to all of them, and the one whose
    diameter ranks nearest to ``quantile`` is taken: 0 the most compact, 1 the widest.
    """

    kind: Literal["diameter_targeted"] = "diameter_targeted"
    retriever: Retriever = BM25()
    from_rank: Depth = 1
    depth: Depth = 200
    quantile: Share
    trials: Few = Field(default=64, ge=2)
    reference: Encoder
    in_space: ClassVar[bool] = True
    fills: ClassVar[bool] = False

    @classmethod
    def whole(cls, values: dict[str, object], context: Context) -> dict[str, object]:
        """Take the reference of the study or the notebook where none is said."""
        if "reference" in values:
            return values
        reference = context.setting("reference")
        if reference is None:
            raise ValueError("a diameter_targeted strategy needs a reference: name a bi-encoder")
        return values | {"reference": reference}

    def inputs(self, collection: Collection) -> Inputs:
        """Return the candidates, and the embeddings in which diameters are measured."""
        return super().inputs(collection) | {"vectors": vectors_of(collection, self.reference)}

    def part(self, rows: np.ndarray, scores: np.ndarray, size: int) -> PoolPart:
        """Return the window; which of its documents are likely is not known, unless all are taken."""
        inclusion = np.full(len(rows), np.nan if size < len(rows) else 1.0)
        return PoolPart(self, np.sort(rows), inclusion, size)

    def take(self, part: PoolPart, generator: np.random.Generator) -> np.ndarray:
        """Draw trial groups, and take the one whose diameter ranks nearest to the quantile."""
        if part.size == len(part.rows):
            return generator.permutation(part.rows)
        distances = cast("np.ndarray", part.distances)  # which a strategy in space is given
        chosen = sampling.diameter_targeted(distances, part.size, quantile=self.quantile, trials=self.trials, generator=generator)
        return part.rows[chosen]

    def seconds_more(self, groups: float) -> float:
        """Return the time of the trial groups' diameters."""
        return groups * self.trials * SECONDS["group described"]


class Refreshed(Refresh, Strategy):
    """Another strategy's groups at first, then the student's own candidates, every ``every`` steps."""

    kind: Literal["refreshed"] = "refreshed"
    start: Strategy
    fills: ClassVar[bool] = False

    @property
    def first(self) -> Strategy:
        """Return what the groups are drawn by before the first step."""
        return self.start.first

    @property
    def refresh(self) -> Refresh:
        """Return how groups are drawn anew while the student trains."""
        return Refresh(**{name: getattr(self, name) for name in Refresh.model_fields})

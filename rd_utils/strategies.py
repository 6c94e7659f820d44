"""Strategies: how the negatives of training groups are drawn."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from rd_utils import sampling
from rd_utils.bounds import Depth, Few, Share, Spread, Temperature
from rd_utils.graph import vectors_of
from rd_utils.kinds import Collection, Draw, Encoder, Part, Retriever, Strategy, Teacher
from rd_utils.retrievers import BM25
from rd_utils.runs import Run
from rd_utils.specs import CandidatesSpec, NeighboursSpec
from rd_utils.stage import Given, Inputs, prefixed
from rd_utils.stages.candidates import CANDIDATES
from rd_utils.stages.docs import DOCS
from rd_utils.stages.neighbours import NEIGHBOURS
from rd_utils.stages.queries import QUERIES


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


class CorpusRandom(Strategy):
    """Negatives drawn uniformly from the whole collection."""

    kind: Literal["corpus_random"] = "corpus_random"

    def pool_of(self, collection: Collection) -> None:
        """Return None: no run is drawn from."""

    def inputs(self, collection: Collection) -> Inputs:
        """Return nothing but what every group needs."""
        return {}

    def pool(self, collection: Collection, given: Given, wordless: np.ndarray) -> tuple[None, int]:
        """Return no run."""
        return None, 0


class FromCandidates(Strategy):
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

    @model_validator(mode="after")
    def _window_is_open(self) -> FromCandidates:
        _check_window(self.from_rank, self.depth)
        return self

    def pool_of(self, collection: Collection) -> CandidatesSpec:
        """Return the retriever's candidates."""
        return CandidatesSpec(collection=collection, retriever=self.retriever, depth=self.depth)

    def inputs(self, collection: Collection) -> Inputs:
        """Return the candidates, and what the teacher needs that filters them."""
        filtering = prefixed("filter_", self.filter.teacher.inputs(collection)) if self.filter else {}
        return {"pool": self.pool_of(collection)} | filtering

    def pool(self, collection: Collection, given: Given, wordless: np.ndarray) -> tuple[Run, int]:
        """Return the candidates, without what the filter drops."""
        pool, keep = given(CANDIDATES, "pool"), self.filter
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


class Graph(Strategy):
    """Negatives drawn from the neighbours of the positive document: what a retriever finds for the positive's own text."""

    kind: Literal["graph"] = "graph"
    retriever: Retriever = BM25()
    from_rank: Depth = 1
    depth: Depth = 100
    draw: Draw = "uniform"
    draw_temperature: Temperature = 1.0

    @model_validator(mode="after")
    def _window_is_open(self) -> Graph:
        _check_window(self.from_rank, self.depth)
        return self

    def pool_of(self, collection: Collection) -> NeighboursSpec:
        """Return the neighbours of the positives."""
        return NeighboursSpec(collection=collection, retriever=self.retriever, depth=self.depth)

    def inputs(self, collection: Collection) -> Inputs:
        """Return the neighbours."""
        return {"pool": self.pool_of(collection)}

    def pool(self, collection: Collection, given: Given, wordless: np.ndarray) -> tuple[Run, int]:
        """Return the neighbours."""
        return given(NEIGHBOURS, "pool"), 0


class DiameterTargeted(Strategy):
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
    fills: ClassVar[bool] = False

    @model_validator(mode="after")
    def _window_is_open(self) -> DiameterTargeted:
        _check_window(self.from_rank, self.depth)
        return self

    def pool_of(self, collection: Collection) -> CandidatesSpec:
        """Return the retriever's candidates."""
        return CandidatesSpec(collection=collection, retriever=self.retriever, depth=self.depth)

    def inputs(self, collection: Collection) -> Inputs:
        """Return the candidates, and the embeddings in which diameters are measured."""
        return {"pool": self.pool_of(collection), "vectors": vectors_of(collection, self.reference)}

    def pool(self, collection: Collection, given: Given, wordless: np.ndarray) -> tuple[Run, int]:
        """Return the candidates."""
        return given(CANDIDATES, "pool"), 0


def _check_window(from_rank: int, depth: int) -> None:
    if from_rank > depth:
        raise ValueError(f"from_rank is {from_rank}, below depth {depth}; ranks from_rank to depth are drawn from")

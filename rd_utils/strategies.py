"""Strategies: how the negatives of training groups are drawn."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rd_utils.bounds import Depth, Few, Share, Spread, Temperature
from rd_utils.kinds import Draw, Encoder, Part, Retriever, Strategy, Teacher
from rd_utils.retrievers import BM25


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

    @model_validator(mode="after")
    def _window_is_open(self) -> DiameterTargeted:
        _check_window(self.from_rank, self.depth)
        return self


def _check_window(from_rank: int, depth: int) -> None:
    if from_rank > depth:
        raise ValueError(f"from_rank is {from_rank}, below depth {depth}; ranks from_rank to depth are drawn from")

"""Replacing a share of the negatives: what that does to the bias of a strategy's objective."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from rd_utils.analysis import stats
from rd_utils.companions.theory.arrays import TheoryError
from rd_utils.study import params


class ShareEffect(NamedTuple):
    """What replacing a share of the negatives by corpus-random ones does to the bias ``b`` of the expected loss.

    ``bias(share) = (1 - share) b + share b_u``. ``can_fall``: some share makes it smaller in size, if and only if ``(b_u - b) b < 0``;
    ``falls_below``: every share above 0 and below this one does; ``best``: the share with the smallest, ``clip(b / (b - b_u), 0, 1)``.
    """

    can_fall: bool
    falls_below: float
    best: float
    at_best: float


def share_effect(bias: float, uniform_bias: float) -> ShareEffect:
    """Tell whether, and how far, corpus-random documents bring the expected loss of a strategy nearer to that of the target.

    ``|b + share (b_u - b)| < |b|`` if and only if ``share (b_u - b)`` has the other sign than b and is smaller than ``2 |b|``.

    Args:
        bias: b, the strategy's expected loss minus the target's.
        uniform_bias: b_u, that of corpus-random negatives minus the target's.

    >>> share_effect(0.375, -0.125)
    ShareEffect(can_fall=True, falls_below=1.0, best=0.75, at_best=0.0)
    >>> share_effect(0.125, -0.375)  # a quarter is best, half is as bad as nothing
    ShareEffect(can_fall=True, falls_below=0.5, best=0.25, at_best=0.0)
    >>> share_effect(0.1, 0.3).can_fall
    False
    """
    if not (math.isfinite(bias) and math.isfinite(uniform_bias)):
        raise TheoryError(f"bias is {bias}, uniform_bias {uniform_bias}; expected finite numbers")
    step = uniform_bias - bias
    if step * bias >= 0:
        return ShareEffect(False, 0.0, 0.0, float(bias))
    best = min(1.0, bias / -step)
    at_best = uniform_bias if best == 1.0 else 0.0
    return ShareEffect(True, min(1.0, 2 * abs(bias) / abs(step)), best, float(at_best))


def bias_table(terms: dict[str, pd.DataFrame], target: str, *, uniform: str = "corpus_random", seed: int | None = None) -> pd.DataFrame:
    """Compute each strategy's bias against a target, its two parts, and what a share of corpus-random negatives does to it.

    The bias ``b = R_nu - R_mu`` splits into that of the divergence, which is the student's, and that of the entropy, which is the teacher's
    alone: known before training, and in the objective a constant that moves no minimiser.

    Args:
        terms: strategy -> one row a query, the same queries in the same order, columns loss, divergence, entropy: exact
            (:func:`law_terms`) or of one drawn group each (:func:`pairwise_decomposition` of positive pairs). Give the frames their query
            ids as index: indices are compared, and where they are row numbers only the lengths are.
        target: The strategy whose draws stand for the target: corpus-random for the uniform distribution, a retriever's whole window for
            re-ranking.
        uniform: The strategy that draws from the whole collection.
        seed: Of a bootstrap over queries where the terms are of drawn groups; None where they are exact.

    Returns:
        One row a strategy: strategy, bias, (low, high with a seed: a 95 % interval,) divergence, entropy (its parts), can_fall,
        falls_below, best, at_best (see :class:`ShareEffect`), divergence_can_fall (the same question of the divergence alone).

    Raises:
        TheoryError: A strategy is unknown, or the queries differ in number or, where the frames are indexed by them, by name or in order.
    """
    for name in (target, uniform):
        if name not in terms:
            raise TheoryError(f"no strategy {name!r}{params.nearest(name, terms)}")
    if len({len(frame) for frame in terms.values()}) != 1:
        counts = {name: len(frame) for name, frame in terms.items()}
        raise TheoryError(f"the strategies have different numbers of queries, {counts}; keep the queries that all have")
    for name, frame in terms.items():
        if not frame.index.equals(terms[target].index):
            place = int(np.flatnonzero(frame.index != terms[target].index)[0])
            raise TheoryError(
                f"the query in row {place} is {terms[target].index[place]!r} under {target} and {frame.index[place]!r} under {name}; "
                "bring all strategies to the same queries in the same order"
            )
    parts = ["loss", "divergence", "entropy"]
    means = {name: frame[parts].mean() - terms[target][parts].mean() for name, frame in terms.items()}
    rows = []
    for name, frame in terms.items():
        bias, random = means[name], means[uniform]
        row = {"strategy": name, "bias": bias["loss"]}
        if seed is not None:
            paired = frame["loss"].to_numpy() - terms[target]["loss"].to_numpy()
            interval = stats.bootstrap_interval(paired, seed=seed)
            row |= {"low": interval.low, "high": interval.high}
        effect = share_effect(bias["loss"], random["loss"])
        row |= {"divergence": bias["divergence"], "entropy": bias["entropy"], **effect._asdict()}
        row["divergence_can_fall"] = share_effect(bias["divergence"], random["divergence"]).can_fall
        rows.append(row)
    return pd.DataFrame(rows)

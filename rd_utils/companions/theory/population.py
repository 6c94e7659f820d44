"""A population that is known: where every document of every query is scored, true risks are, and bounds can be watched at work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from rd_utils.analysis import locality
from rd_utils.companions.theory.arrays import TheoryError
from rd_utils.companions.theory.deviation import empirical_bernstein, hoeffding, loss_range
from rd_utils.companions.theory.floor import pair_terms


class Population(NamedTuple):
    """Everything about finitely many held-out queries and all documents, for one teacher and one student.

    Attributes:
        teacher_margins: (Q, N) ``(g_0 - g_d) / T`` of each query's positive over each document.
        student_margins: (Q, N) ``f_0 - f_d``.
        distances: (Q, N) ``||x_0 - x_d||`` in the student's space.
        lipschitz: (Q,) ``||u_q||``.
        allowed: (Q, N) the documents that are no known positives; the others are never drawn.
    """

    teacher_margins: np.ndarray
    student_margins: np.ndarray
    distances: np.ndarray
    lipschitz: np.ndarray
    allowed: np.ndarray


class Sampler(NamedTuple):
    """A strategy on a population: ``n_pooled`` negatives uniformly from each query's pool, the others uniformly from the other documents.

    A pool with fewer documents gives them all; corpus-random documents fill the rest.
    """

    name: str
    pools: list[np.ndarray]  # per query, the columns of its pool, allowed and distinct; empty for corpus-random
    n_pooled: int
    n_negatives: int


def sampler_law(sampler: Sampler, allowed: np.ndarray) -> np.ndarray:
    """Compute the distribution nu_q of one negative of a group: inclusion probability over the number of negatives.

    With a the probability that the pool gives d, t documents taken from the pool, u from the rest and N allowed: the inclusion is
    ``a + (1 - a) u / (N - t)``. The expectation of a group's mean loss is ``sum_d nu_q(d) l_q(d)``, although its negatives are distinct and
    so not independent: an expectation of a sum needs no independence.

    Args:
        sampler: The strategy.
        allowed: (Q, N) of the population.

    Returns:
        (Q, N), rows summing to 1.

    Two of three documents from a pool of two, the third from the other two: a pool's document is certain, the others have 1/2.

    >>> sampler_law(Sampler("x", [np.array([0, 1])], 2, 3), np.array([[True, True, True, True]])).round(4).tolist()
    [[0.3333, 0.3333, 0.1667, 0.1667]]
    """
    law = np.zeros(allowed.shape)
    for row, pool in enumerate(sampler.pools):
        taken = min(sampler.n_pooled, len(pool))
        others = int(allowed[row].sum())
        if others < sampler.n_negatives:
            raise TheoryError(f"query {row} has {others} allowed documents for {sampler.n_negatives} negatives; make smaller groups")
        if len(pool) and not allowed[row, pool].all():
            raise TheoryError(f"the pool of query {row} holds documents that are not allowed; take known positives out of it")
        law[row, pool] = taken / max(len(pool), 1)
        if others > taken:
            law[row] += (1 - law[row]) * (sampler.n_negatives - taken) / (others - taken) * allowed[row]
    return law / sampler.n_negatives


def law_terms(population: Population, law: np.ndarray) -> pd.DataFrame:
    """Compute each query's exact expectations under a distribution of negatives.

    Args:
        population: What is known.
        law: (Q, N) distributions over its documents.

    Returns:
        One row a query: loss, divergence, entropy (nats; the first is the sum of the others), low and high: what locality alone allows
        for the loss, ``sum_d nu(d) softplus(-+ L ||x_0 - x_d||)``, whatever the teacher says.
    """
    if law.shape != population.allowed.shape or not np.allclose(law.sum(axis=1), 1) or (law[~population.allowed] != 0).any():
        raise TheoryError(
            f"law has shape {law.shape}; expected {population.allowed.shape}, rows that sum to 1, and 0 where nothing is allowed"
        )
    terms = pair_terms(population.teacher_margins, population.student_margins)
    limits = loss_range(population.lipschitz[:, None] * population.distances)
    columns = zip(("loss", "divergence", "entropy", "low", "high"), (*terms, *limits), strict=True)
    return pd.DataFrame({name: (law * values).sum(axis=1) for name, values in columns})


def largest_density_ratio(target: np.ndarray, sampling: np.ndarray) -> float:
    """Compute kappa, the largest ratio of target to sampling probability over all queries and documents; see rd_utils.analysis.locality.

    As losses are not negative, ``R_mu = sum mu l <= kappa sum nu l = kappa R_nu``. It is infinite where the sampler never draws a document
    that the target asks for: then no number of groups says anything about the target.
    """
    return max(locality.density_ratio(mu, nu) for mu, nu in zip(target, sampling, strict=True))


def draw_negatives(sampler: Sampler, allowed: np.ndarray, query_rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw the negatives of independent groups of given queries.

    Args:
        sampler: The strategy.
        allowed: (Q, N) of the population.
        query_rows: (n,) the query of each group.
        generator: Of the draws.

    Returns:
        (n, n_negatives) document columns, distinct within a group.
    """
    negatives = np.empty((len(query_rows), sampler.n_negatives), dtype=np.int64)
    for row in np.unique(query_rows):
        groups = np.flatnonzero(query_rows == row)
        pool, rest = sampler.pools[row], np.flatnonzero(allowed[row])
        taken = min(sampler.n_pooled, len(pool))
        pooled = _distinct(pool, taken, len(groups), generator)
        negatives[groups] = np.concatenate([pooled, _distinct(rest, sampler.n_negatives - taken, len(groups), generator, pooled)], axis=1)
    return negatives


def _distinct(pool: np.ndarray, k: int, size: int, generator: np.random.Generator, taken: np.ndarray | None = None) -> np.ndarray:
    """Draw ``size`` times k distinct values of a pool, none of those taken already: (size, k)."""
    n_taken = 0 if taken is None else taken.shape[1]
    if k == 0:
        return np.empty((size, 0), dtype=np.int64)
    if len(pool) < (k + n_taken) ** 2:  # repeats would be the rule: order the whole pool at random instead
        keys = generator.random((size, len(pool)))
        if taken is not None and n_taken:
            keys[(pool[None, :, None] == taken[:, None, :]).any(axis=2)] = 2.0
        return pool[np.argpartition(keys, k - 1, axis=1)[:, :k]]
    drawn, left = np.empty((size, k), dtype=np.int64), np.arange(size)
    while len(left):  # groups with a repeat are drawn anew as a whole, which leaves the others uniform
        drawn[left] = pool[generator.integers(len(pool), size=(len(left), k))]
        whole = drawn[left] if taken is None else np.concatenate([drawn[left], taken[left]], axis=1)
        ordered = np.sort(whole, axis=1)
        left = left[(ordered[:, 1:] == ordered[:, :-1]).any(axis=1)]
    return drawn


def simulate(population: Population, sampler: Sampler, *, n: int, n_repeats: int, seed: int) -> np.ndarray:
    """Draw samples of independent groups, queries uniformly with replacement, and compute each group's mean loss over its positive pairs.

    Args:
        population: What is known.
        sampler: How negatives are drawn.
        n: Groups of a sample.
        n_repeats: Samples.
        seed: Of the draws.

    Returns:
        (n_repeats, n) losses in nats, all independent and of one distribution, whose mean is that of :func:`law_terms`.
    """
    generator = np.random.default_rng(seed)
    query_rows = generator.integers(len(population.lipschitz), size=n * n_repeats)
    columns = draw_negatives(sampler, population.allowed, query_rows, generator)
    at = (query_rows[:, None], columns)
    return pair_terms(population.teacher_margins[at], population.student_margins[at])[0].mean(axis=1).reshape(n_repeats, n)


def deviation_table(samples: np.ndarray, risk: float, width: float, delta: float, sizes: Sequence[int]) -> pd.DataFrame:
    """Compare what the bounds promise with what happened in repeated samples.

    Args:
        samples: (n_repeats, n) losses, as :func:`simulate` gives.
        risk: Their true expectation.
        width: Of the interval that holds every loss, known beforehand.
        delta: The probability with which a bound may fail.
        sizes: Of the samples to look at; the first so many groups of each repeat.

    Returns:
        One row a size: n, gap (the 1 - delta quantile of risk - estimate over repeats), hoeffding, bernstein (its mean over repeats) and
        the shares of repeats in which the risk exceeded the estimate by more: hoeffding_fails, bernstein_fails.
    """
    rows = []
    for n in sizes:
        if not 2 <= n <= samples.shape[1]:
            raise TheoryError(f"a sample size is {n}; expected between 2 and {samples.shape[1]}, the groups that were drawn")
        part = samples[:, :n]
        gaps = risk - part.mean(axis=1)
        simple, own = hoeffding(width, n, delta), np.array([empirical_bernstein(row, width, delta) for row in part])
        rows.append((n, np.quantile(gaps, 1 - delta), simple, own.mean(), (gaps > simple).mean(), (gaps > own).mean()))
    return pd.DataFrame(rows, columns=["n", "gap", "hoeffding", "bernstein", "hoeffding_fails", "bernstein_fails"])

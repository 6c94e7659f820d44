"""The oracle of the embedded collection: the exact posterior of a pair's grade, in floats, by Bayes' rule.

Nothing of the collection depends on it: it is made from the generator's parameters, where a teacher or a chart asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.special import logsumexp

from rd_utils.data.latent import (
    BACKGROUND,
    GRADES,
    IN_PASSING,
    LAY,
    TECHNICAL,
    TOPIC,
    Tokens,
    Vocabulary,
    passage_offsets,
    relation_of,
    zipf,
)
from rd_utils.data.worlds import WORLDS, Profile, World

if TYPE_CHECKING:
    from rd_utils.data.synthetic import EmbeddedCollection

_LogRatio = tuple[sp.csr_array, sp.csr_array]


class Oracle:
    """The exact posterior expectation of a pair's grade, given both texts and the generator's parameters.

    It never looks at the latent states that were drawn.

    For states s = (topic, facet): E[grade | q, d] = sum_s P(s | q) D(d, s), where D(d, s) = sum over the document's
    states of their posterior times the grade that such a document has for a query of state s. Both are found by
    enumerating all states.

    A query has at least one token that was drawn from its topic: P(q | s) = prod_i p_i - prod_i (p_i - topic part of
    p_i). So P(s | q) is exactly 0 for most topics, and query posteriors are kept sparse. A document of a *topical* world
    has such a token too, but its states are drawn first: there the difference is divided by the probability of that.

    A document of passages x_1 .. x_k, one of which is drawn from its states s, at a place that nobody knows, has the likelihood
    prod_j O(x_j) * mean_j (P(x_j | s) / O(x_j)), where O(x) = sum_s' P(s') P(x | s', in passing). A near copy, taken by itself, is drawn as
    any document is, from its states, so its posterior is that of any document: the two texts are given, not the whole collection, where an
    original would tell more of its copy. Translation maps words one to one, and is undone.

    A query has its states from one of the N documents of aboutness 0. Given a document of these, it is that one, or a copy or the original
    of it, with the probability c = m E[1 / N], m documents to expect of one origin; then the two have the same states and the grade is 3:
    E[grade | q, d] = (sum_s P(s | q) (D'(d, s) + 3 S(d, s))) / (1 - c P(aboutness 0 | d) + sum_s P(s | q) S(d, s)), with
    S(d, s) = c P(s, aboutness 0 | d) / P(s), and D' as D, but documents of aboutness 0 counted 1 - c times. In worlds that do not know the
    source c is 0.

    Attributes:
        documents: float32 (n_docs, n_topics * n_facets), the array D, or D' + 3 S.
        sources: float32 of the same shape, the array S; None where c is 0.
    """

    def __init__(self, collection: EmbeddedCollection, block: int = 500) -> None:
        """Prepare the documents' side.

        Args:
            collection: The collection.
            block: Documents per block; a block takes about ``block * n_topics * n_facets * 60`` bytes.
        """
        self._collection = collection
        self._profile = collection.profile
        self._world = WORLDS[collection.world]
        self._parts = _word_probabilities(collection.profile, self._world, collection._vocabulary)
        self._queries: dict[str, sp.csr_array] = {}
        v = collection._vocabulary
        topic, facet = v.topic_prior / v.topic_prior.sum(), v.facet_prior / v.facet_prior.sum()
        self._log_prior = (np.log(topic)[:, None] + np.log(facet)[None, :]).ravel()
        self.sources: np.ndarray | None = None
        self.documents = self._document_factors(block)

    def query_posterior(self, split: str) -> sp.csr_array:
        """Return P(topic, facet | query text), sparse float64 (n_queries, n_topics * n_facets), rows summing to 1."""
        if split not in self._queries:
            self._queries[split] = self._query_posterior(self._collection._tokens[split])
        return self._queries[split]

    def expected_grades(self, split: str, query_rows: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
        """Return E[grade | both texts] of aligned pairs, float64 (n,)."""
        posterior = self.query_posterior(split)
        query_rows, doc_rows = check_pairs(query_rows, doc_rows, len(posterior.indptr) - 1, len(self.documents))
        expected = np.empty(len(query_rows))
        order = np.argsort(query_rows, kind="stable")
        starts = np.flatnonzero(np.diff(query_rows[order], prepend=-1))
        for group in np.split(order, starts[1:]):
            if len(group) == 0:
                continue
            query = query_rows[group[0]]
            row = slice(posterior.indptr[query], posterior.indptr[query + 1])
            states, weights = posterior.indices[row], posterior.data[row]
            docs = doc_rows[group]
            expected[group] = (self.documents[docs[:, None], states] * weights).sum(axis=1)
            if self.sources is not None:
                expected[group] /= self._apart[docs] + (self.sources[docs[:, None], states] * weights).sum(axis=1)
                expected[group] = np.minimum(expected[group], GRADES.max())  # which float32 may round up
        return expected

    def _document_factors(self, block: int) -> np.ndarray:
        p, passages = self._profile, self._world.passages
        tokens = self._collection._tokens["docs"]
        counts = Tokens(tokens.ids, passage_offsets(tokens.offsets, passages)).counts(len(self._collection._vocabulary.words))
        ratios = [[self._log_ratio(r, roles) for roles in p.document_roles] for r in (LAY, TECHNICAL)]
        likelihood = self._logs_of_one if passages == 1 else self._logs_of_passages
        n_topics, n_facets, block = p.n_topics, p.n_facets, max(block // passages, 1)
        facets = np.arange(n_facets)
        relation = relation_of(facets[:, None], facets[None, :], p.facets_per_group)
        factors, same = np.empty((p.n_docs, n_topics * n_facets), dtype=np.float32), same_source(p, self._world)
        if same:
            self.sources, self._apart = np.empty_like(factors), np.empty(p.n_docs)
        for start in range(0, p.n_docs, block):
            rows = slice(start, min(start + block, p.n_docs))
            logs = likelihood(counts[rows.start * passages : rows.stop * passages], ratios)
            logs -= logs.max(axis=(0, 1, 3))[None, None, :, None]
            np.exp(logs, out=logs)
            posterior = logs.sum(axis=0)
            posterior /= posterior.sum(axis=(0, 2))[None, :, None]
            if self.sources is not None:
                self._apart[rows] = 1 - same * posterior[0].sum(axis=1)
                self.sources[rows] = same * posterior[0] / np.exp(self._log_prior)
                posterior[0] *= 1 - same
            out = np.zeros((rows.stop - start, n_topics, n_facets))
            for h in range(3):
                table = GRADES[relation, h].astype(float)  # symmetric in the two facets
                out += posterior[h].reshape(-1, n_topics, n_facets) @ table
            factors[rows] = out.reshape(len(out), -1)
            if self.sources is not None:
                factors[rows] += GRADES[0, 0] * self.sources[rows]
        return factors

    def _logs_of_one(self, counts: sp.csr_array, ratios: list[list[_LogRatio]]) -> np.ndarray:
        """Return the log joint probability of documents and states but for a factor of each document, (2, 3, n_docs, n_states)."""
        p, lengths = self._profile, counts.sum(axis=1)
        registers, aboutness = log_shares(p)
        logs = np.empty((2, 3, len(lengths), len(self._log_prior)))
        for r in (LAY, TECHNICAL):
            for h, roles in enumerate(p.document_roles):
                whole, without = ratios[r][h]
                logs[r, h] = _product(counts, whole)
                logs[r, h] += self._log_prior
                logs[r, h] += (registers[r] + aboutness[h] + lengths * np.log(roles[BACKGROUND] / 1000))[:, None]
                if self._world.topical:
                    with np.errstate(divide="ignore"):
                        logs[r, h] += np.log(-np.expm1(_product(counts, without)))
                    logs[r, h] -= np.log(-np.expm1(lengths * np.log1p(-roles[TOPIC] / 1000)))[:, None]
        return logs

    def _logs_of_passages(self, counts: sp.csr_array, ratios: list[list[_LogRatio]]) -> np.ndarray:
        """Return the same of documents of several passages, whose counts follow each other.

        A passage's ratio P(x | s) / O(x) is no larger than that of the shares of its roles, to the power of its words, over the prior of s:
        1e150 for a hundred words, so that their sum needs no logarithms.
        """
        p, passages, lengths = self._profile, self._world.passages, counts.sum(axis=1)
        registers, aboutness = log_shares(p)
        backgrounds = [lengths * np.log(roles[BACKGROUND] / 1000) for roles in p.document_roles]
        logs = np.empty((2, 3, len(lengths) // passages, len(self._log_prior)))
        for r in (LAY, TECHNICAL):
            of_others = _product(counts, ratios[r][IN_PASSING][0]) + self._log_prior
            other = logsumexp(of_others, axis=1) + backgrounds[IN_PASSING]
            for h in range(3):
                ratio = _product(counts, ratios[r][h][0])
                ratio += (backgrounds[h] - other)[:, None]
                np.exp(ratio, out=ratio)
                with np.errstate(divide="ignore"):
                    logs[r, h] = np.log(ratio.reshape(-1, passages, ratio.shape[1]).sum(axis=1))
                logs[r, h] += self._log_prior
                logs[r, h] += (registers[r] + aboutness[h] + other.reshape(-1, passages).sum(axis=1))[:, None]
        return logs

    def _query_posterior(self, tokens: Tokens) -> sp.csr_array:
        p, v = self._profile, self._collection._vocabulary
        counts = Tokens(v.translation[tokens.ids], tokens.offsets).counts(len(v.words))
        registers = np.log([p.lay_queries / 100, 1 - p.lay_queries / 100])
        ratios = [self._log_ratio(r, p.query_roles) for r in (LAY, TECHNICAL)]
        blocks = []
        for start in range(0, len(tokens.offsets) - 1, 500):
            block = counts[start : start + 500]
            logs = np.empty((2, block.shape[0], len(self._log_prior)))
            for r, (with_topic, without) in enumerate(ratios):
                logs[r] = (block @ with_topic).toarray() + self._log_prior + registers[r]
                with np.errstate(divide="ignore"):
                    logs[r] += np.log(-np.expm1((block @ without).toarray()))
            logs -= logs.max(axis=(0, 2))[None, :, None]
            posterior = np.exp(logs).sum(axis=0)
            posterior /= posterior.sum(axis=1, keepdims=True)
            blocks.append(sp.csr_array(posterior))
        return sp.csr_array(sp.vstack(blocks))

    def _log_ratio(self, register: int, roles: Sequence[int]) -> _LogRatio:
        """Return log(p / background part of p) and log((p - topic part of p) / p), sparse (n_words, n_states)."""
        parts = self._parts
        per_role = [parts.topic[register], parts.facet[register], parts.domain, parts.entity]
        total = sum(matrix * (share / 1000) for matrix, share in zip(per_role, roles, strict=False))
        scale = sp.diags_array(1 / (roles[BACKGROUND] / 1000 * parts.background))
        ratio = sp.csr_array(scale @ total)  # p / background part - 1
        whole = ratio.copy()
        whole.data = 1 / (1 + whole.data)
        by_topic = sp.csr_array(scale @ (per_role[TOPIC] * (roles[TOPIC] / 1000)))
        without = sp.csr_array(by_topic.multiply(whole))
        without.data = np.log1p(np.negative(without.data))
        ratio.data = np.log1p(ratio.data)
        return ratio, without


def check_pairs(query_rows: np.ndarray, doc_rows: np.ndarray, n_queries: int, n_docs: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of pairs as int64; refuse pairs that are not aligned, and rows that do not exist."""
    query_rows, doc_rows = np.asarray(query_rows, dtype=np.int64), np.asarray(doc_rows, dtype=np.int64)
    if query_rows.shape != doc_rows.shape or query_rows.ndim != 1:
        raise ValueError(f"Pairs are not aligned: {query_rows.shape} query rows and {doc_rows.shape} doc rows; expected two (n,) arrays.")
    for name, rows, n in (("query", query_rows, n_queries), ("doc", doc_rows, n_docs)):
        if len(rows) and (rows.min() < 0 or rows.max() >= n):
            bad = rows[(rows < 0) | (rows >= n)]
            raise ValueError(f"{len(bad)} {name} rows do not exist, the first is {bad[0]}: expected 0 to {n - 1}.")
    return query_rows, doc_rows


def log_shares(profile: Profile) -> tuple[np.ndarray, np.ndarray]:
    """Return the logs of the shares of documents by register and by aboutness."""
    p = profile
    return np.log([p.lay_documents / 100, 1 - p.lay_documents / 100]), np.log(np.array(p.aboutness) / sum(p.aboutness))


def same_source(profile: Profile, world: World) -> float:
    """Return the probability that a query's states are those of a document because this, or a copy or its original, is their source."""
    p, copies = profile, world.copies / 100
    if not world.knows_source:
        return 0.0
    about = p.aboutness[0] / sum(p.aboutness)
    of_one_origin = 1 + copies / (1 - copies) + copies  # itself, copies of its origin, and the origin of a copy
    return of_one_origin * (1 - (1 - about) ** p.n_docs) / (p.n_docs * about)


def _product(counts: sp.csr_array, logs: sp.csr_array) -> np.ndarray:
    """Return for each text and state the sum of its words' logs."""
    return sp.csr_array(counts @ logs).toarray()


@dataclass(frozen=True, eq=False)
class _WordProbabilities:
    """Word probabilities by role: sparse (n_words, n_topics * n_facets), for topic and facet one per register."""

    topic: tuple[sp.csr_array, sp.csr_array]
    facet: tuple[sp.csr_array, sp.csr_array]
    domain: sp.csr_array
    entity: sp.csr_array
    background: np.ndarray


def _word_probabilities(profile: Profile, world: World, vocabulary: Vocabulary) -> _WordProbabilities:
    p, v, n_words = profile, vocabulary, len(vocabulary.words)
    n_states = p.n_topics * p.n_facets
    topic, facet = np.divmod(np.arange(n_states), p.n_facets)
    domain = topic // p.topics_per_domain

    def matrix(words: np.ndarray, weights: np.ndarray) -> sp.csr_array:
        """Return the matrix of words (n_states, k) that have the integer weights (k,) in each state."""
        data = np.broadcast_to(weights / weights.sum(), words.shape).ravel()
        columns = np.repeat(np.arange(n_states), words.shape[1])
        return sp.csr_array(sp.coo_array((data, (words.ravel(), columns)), shape=(n_words, n_states)))

    def leaked(per_register: list[sp.csr_array]) -> tuple[sp.csr_array, sp.csr_array]:
        keep, leak = 1 - p.leak / 100, p.leak / 100
        return per_register[0] * keep + per_register[1] * leak, per_register[1] * keep + per_register[0] * leak

    by_facet = [matrix(v.facet[facet, :, r], zipf(p.facet_concepts, 3)) for r in (LAY, TECHNICAL)]
    if world.specific:
        specific = world.specific / 100
        own = [matrix(v.specific[domain, facet, :, r], zipf(p.specific_concepts, 3)) for r in (LAY, TECHNICAL)]
        by_facet = [sp.csr_array(a * (1 - specific) + b * specific) for a, b in zip(by_facet, own, strict=True)]

    return _WordProbabilities(
        topic=leaked([matrix(v.topic[topic, :, r], zipf(p.topic_concepts, 2)) for r in (LAY, TECHNICAL)]),
        facet=leaked(by_facet),
        domain=matrix(v.domain[domain], zipf(p.domain_words, 4)),
        entity=matrix(v.entity[topic, facet], np.ones(p.entities)),
        background=background_of(p, v),
    )


def background_of(profile: Profile, vocabulary: Vocabulary) -> np.ndarray:
    """Return the probability of each word in the background, (n_words,)."""
    p, v = profile, vocabulary
    pools = [
        v.topic.ravel(),
        np.concatenate([v.facet.ravel(), v.specific.ravel()]),
        v.domain.ravel(),
        v.entity.ravel(),
        v.name,
        v.background,
    ]
    weights = [np.ones(len(pool)) for pool in pools[:4]] + [zipf(p.n_names, p.name_shift), zipf(p.n_background, 2)]
    if len(v.foreign):
        pools.append(v.foreign)
        weights.append(np.ones(len(v.foreign)))
    background = np.zeros(len(v.words))
    for share, pool, weight in zip(p.mentions, pools, weights, strict=True):
        np.add.at(background, pool, share / 100 * weight / weight.sum())
    background[background == 0] = 1  # words that homonyms have replaced everywhere: no text has them
    return background

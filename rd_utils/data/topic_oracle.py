"""The oracle of an embedded collection of any size: the same posterior as :mod:`rd_utils.data.oracle`, by the topics that words point to.

Every word has one role besides the background. So the logarithm of a text's likelihood, over that of the background alone, is a sum over
the words that point to topics, to a facet, to the topics of a domain, and to single states (topic, facet). A document points to a few dozen
of a large collection's topics. All others are alike but for their prior and for the facet: what they add to the normaliser is the prior
that is left, times a sum over facets. No array has an entry for a text's every state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse as sp

from rd_utils.data.latent import BACKGROUND, DOMAIN, ENTITY, FACET, GRADES, LAY, TECHNICAL, TOPIC, Tokens, Vocabulary, zipf
from rd_utils.data.oracle import background_of, check_pairs, log_shares, same_source
from rd_utils.data.worlds import WORLDS, Profile, World, any_size

if TYPE_CHECKING:
    from rd_utils.data.synthetic import EmbeddedCollection

QUERIES = 2_000  # whose posteriors are found at once
PAIRS = 1 << 17  # whose grades are


class TopicOracle:
    """The exact posterior expectation of a pair's grade; the formulas are those of :class:`rd_utils.data.oracle.Oracle`.

    Args:
        collection: The collection, of a world that this serves.
        block: Documents at once; a block takes about ``block * 30 * n_facets * 200`` bytes, where a document points to 30 topics.
    """

    def __init__(self, collection: EmbeddedCollection, block: int = 500) -> None:
        if not any_size(collection.world):
            raise ValueError(f"The world {collection.world!r} has no oracle by topics: its documents have passages of several topics.")
        self._collection, self.block = collection, block
        self._profile, self._world = collection.profile, WORLDS[collection.world]
        v = collection._vocabulary
        self._words = _pointers(self._profile, self._world, v)
        self._topic_prior, self._facet_prior = v.topic_prior / v.topic_prior.sum(), v.facet_prior / v.facet_prior.sum()
        self._queries: dict[str, sp.csr_array] = {}

    def query_posterior(self, split: str) -> sp.csr_array:
        """Return P(topic, facet | query text), sparse float64 (n_queries, n_topics * n_facets), rows summing to 1.

        The entries of a topic are all of its facets, in their order.
        """
        if split not in self._queries:
            v, tokens = self._collection._vocabulary, self._collection._tokens[split]
            tokens = Tokens(v.translation[tokens.ids], tokens.offsets)
            rows = np.arange(len(tokens.offsets) - 1)
            blocks = [self._query_posterior(tokens.of(rows[start : start + QUERIES])) for start in range(0, len(rows), QUERIES)]
            self._queries[split] = sp.csr_array(sp.vstack(blocks))
        return self._queries[split]

    def expected_grades(self, split: str, query_rows: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
        """Return E[grade | both texts] of aligned pairs, float64 (n,), in time that grows with these pairs and their documents."""
        n_facets, tokens = self._profile.n_facets, self._collection._tokens["docs"]
        posterior = self.query_posterior(split)
        query_rows, doc_rows = check_pairs(query_rows, doc_rows, len(posterior.indptr) - 1, self._profile.n_docs)
        ends, topics = posterior.indptr // n_facets, posterior.indices[::n_facets] // n_facets
        weights = posterior.data.reshape(-1, n_facets)
        expected = np.empty(len(query_rows))
        order = np.argsort(doc_rows, kind="stable")
        docs, starts = np.unique(doc_rows[order], return_index=True)
        starts = np.append(starts, len(order))
        for first in range(0, len(docs), self.block):
            block = docs[first : first + self.block]
            known, end = self._documents(tokens.of(block)), starts[first + len(block)]
            for start in range(starts[first], end, PAIRS):
                pairs = order[start : min(start + PAIRS, end)]
                doc = np.searchsorted(block, doc_rows[pairs])
                pair, entry = _entries(ends, query_rows[pairs])  # the topics of each pair's query
                keys = doc[pair] * self._profile.n_topics + topics[entry]
                grades = known.grades.of(keys, doc[pair], self._topic_prior[topics[entry]])
                expected[pairs] = np.bincount(pair, (grades * weights[entry]).sum(axis=1), len(pairs))
                if known.sources is not None:
                    sources = known.sources.of(keys, doc[pair], np.ones(len(keys)))
                    sources = np.bincount(pair, (sources * weights[entry]).sum(axis=1), len(pairs))
                    expected[pairs] = (expected[pairs] + GRADES[0, 0] * sources) / (known.apart[doc] + sources)
                expected[pairs] = np.minimum(expected[pairs], GRADES.max())  # which rounding may exceed
        return expected

    def _documents(self, tokens: Tokens) -> _Documents:
        p, n, lengths, said = self._profile, len(tokens.offsets) - 1, np.diff(tokens.offsets), self._said(tokens)
        keys = np.unique(np.concatenate([said["topic"].cell, said["domain"].cell, said["state"].cell // p.n_facets]))
        doc, topic = np.divmod(keys, p.n_topics)
        registers, aboutness = log_shares(p)
        logs, others = np.empty((2, 3, len(keys), p.n_facets)), np.empty((2, 3, n, p.n_facets))
        for r in (LAY, TECHNICAL):
            for h, roles in enumerate(p.document_roles):
                by_facet, own, rest = self._sums(said, keys, n, r, roles)
                by_facet += (registers[r] + aboutness[h] + lengths * np.log(roles[BACKGROUND] / 1000))[:, None]
                if self._world.topical:
                    by_facet -= np.log(-np.expm1(lengths * np.log1p(-roles[TOPIC] / 1000)))[:, None]
                    own += _log_any(own)
                logs[r, h] = by_facet[doc] + own[:, None] + rest
                others[r, h] = -np.inf if self._world.topical else by_facet
        top = others.max(axis=(0, 1, 3))
        np.maximum.at(top, doc, logs.max(axis=(0, 1, 3)))
        prior = self._topic_prior[topic][:, None] * self._facet_prior
        posterior = np.exp(logs - top[doc][:, None]).sum(axis=0) * prior  # (aboutness, document and topic, facet)
        alike = np.exp(others - top[:, None]).sum(axis=0) * self._facet_prior  # of each other topic, over its prior
        left = np.maximum(1 - np.bincount(doc, self._topic_prior[topic], n), 0)
        total = np.bincount(doc, posterior.sum(axis=2).sum(axis=0), n) + left * alike.sum(axis=2).sum(axis=0)
        posterior /= total[doc][:, None]
        alike /= total[:, None]
        same, sources = same_source(p, self._world), None
        about = np.bincount(doc, posterior[0].sum(axis=1), n) + left * alike[0].sum(axis=1)
        if same:
            sources = _Values(keys, same * posterior[0] / prior, same * alike[0] / self._facet_prior)
            posterior[0] *= 1 - same
            alike[0] *= 1 - same
        grades = _Values(keys, _graded(posterior, p.facets_per_group), _graded(alike, p.facets_per_group))
        return _Documents(grades, sources, 1 - same * about)

    def _query_posterior(self, tokens: Tokens) -> sp.csr_array:
        p, n, said = self._profile, len(tokens.offsets) - 1, self._said(tokens)
        registers = np.log([p.lay_queries / 100, 1 - p.lay_queries / 100])
        keys = np.unique(said["topic"].cell)  # a query has a word that was drawn from its topic
        query, topic = np.divmod(keys, p.n_topics)
        logs = np.empty((2, len(keys), p.n_facets))
        for r in (LAY, TECHNICAL):
            by_facet, own, rest = self._sums(said, keys, n, r, p.query_roles)
            logs[r] = by_facet[query] + (own + _log_any(own) + registers[r])[:, None] + rest
        top = np.full(n, -np.inf)
        np.maximum.at(top, query, logs.max(axis=(0, 2)))
        posterior = np.exp(logs - top[query][:, None]).sum(axis=0) * (self._topic_prior[topic][:, None] * self._facet_prior)
        posterior /= np.bincount(query, posterior.sum(axis=1), n)[query][:, None]
        states = topic[:, None] * p.n_facets + np.arange(p.n_facets)
        ends = np.concatenate([[0], np.cumsum(np.bincount(query, minlength=n))]) * p.n_facets
        return sp.csr_array((posterior.ravel(), states.ravel(), ends), shape=(n, p.n_topics * p.n_facets))

    def _said(self, tokens: Tokens) -> dict[str, _Said]:
        """Return what the words of texts point to, by the kind of pointer."""
        counts = tokens.counts(len(self._collection._vocabulary.words))
        rows, found = np.repeat(np.arange(len(tokens.offsets) - 1), np.diff(counts.indptr)), {}
        for name, pointers in self._words.items():
            at, entry = _entries(pointers.ends, counts.indices)
            found[name] = _Said(rows[at] * pointers.n_keys + pointers.keys[entry], entry, counts.data[at])
        return found

    def _sums(
        self, said: dict[str, _Said], keys: np.ndarray, n: int, register: int, roles: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return sums of words' log(p / background part of p): of texts and facets, of keys by topics' words, of keys and facets by others.

        A key is a text's row times the number of topics, plus a topic. What points to no key is left out.
        """
        n_facets, share, logs = self._profile.n_facets, np.array(roles) / roles[BACKGROUND], {}
        for name, pointers in self._words.items():
            entry = said[name].entry
            logs[name] = said[name].count * np.log1p(share[pointers.roles[entry]] * pointers.odds[register][entry])
        by_facet = _summed(said["facet"].cell, logs["facet"], n * n_facets).reshape(n, n_facets)
        slot, known = _slots(keys, said["topic"].cell)
        own = _summed(slot[known], logs["topic"][known], len(keys))
        slot, known = _slots(keys, said["domain"].cell)
        rest = np.repeat(_summed(slot[known], logs["domain"][known], len(keys)), n_facets)
        key, facet = np.divmod(said["state"].cell, n_facets)
        slot, known = _slots(keys, key)
        rest += _summed((slot * n_facets + facet)[known], logs["state"][known], len(rest))
        return by_facet, own, rest.reshape(-1, n_facets)


class _Values(NamedTuple):
    """Values of documents by topic and facet: those of ``keys`` (document and topic), and those of a document's all other topics."""

    keys: np.ndarray
    pointed: np.ndarray  # (len(keys), n_facets)
    alike: np.ndarray  # (n_docs, n_facets)

    def of(self, keys: np.ndarray, doc: np.ndarray, factor: np.ndarray) -> np.ndarray:
        """Return the values of keys, (len(keys), n_facets); where nothing points there those of the document, times a factor."""
        slot, known = _slots(self.keys, keys)
        found = self.alike[doc] * factor[:, None]
        found[known] = self.pointed[slot[known]]
        return found


class _Documents(NamedTuple):
    """What a block of documents gives to expectations: D or D', S where a query's source counts, and what the latter leave of 1."""

    grades: _Values
    sources: _Values | None
    apart: np.ndarray


class _Pointers(NamedTuple):
    """What words point to: those of word w are ``ends[w]`` to ``ends[w + 1]``."""

    ends: np.ndarray
    n_keys: int
    keys: np.ndarray
    roles: np.ndarray
    odds: np.ndarray  # (2, n): probability of the word in that role by register, over that in the background


class _Said(NamedTuple):
    """What texts' words point to: cell (the text's row times the number of keys, plus the key), pointer, and count of the word."""

    cell: np.ndarray
    entry: np.ndarray
    count: np.ndarray


def _entries(ends: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all entries of rows, row i having ``ends[i]`` to ``ends[i + 1]``: the place of each in ``rows``, and its number.

    >>> [found.tolist() for found in _entries(np.array([0, 2, 2, 5]), np.array([2, 1, 0]))]
    [[0, 0, 0, 2, 2], [2, 3, 4, 0, 1]]
    """
    lengths = np.diff(ends)[rows]
    place = np.repeat(np.arange(len(rows)), lengths)
    return place, np.arange(len(place)) + np.repeat(ends[rows] - (np.cumsum(lengths) - lengths), lengths)


def _summed(at: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Return the sum of the values at each of n places, as floats also where there is none."""
    return np.bincount(at, values, n).astype(np.float64, copy=False)


def _slots(keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each value is in sorted keys, and whether it is there."""
    if not len(keys):
        return np.zeros(len(wanted), dtype=np.int64), np.zeros(len(wanted), dtype=bool)
    slot = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return slot, keys[slot] == wanted


def _log_any(own: np.ndarray) -> np.ndarray:
    """Return the log of the share of a likelihood in which a word was drawn from the topic, -inf where none can have been."""
    with np.errstate(divide="ignore"):
        return np.log(-np.expm1(-own))


def _graded(posterior: np.ndarray, facets_per_group: int) -> np.ndarray:
    """Return what a query of each facet expects of documents, (n, n_facets), given their posterior (aboutness, n, facet)."""
    groups = np.arange(posterior.shape[2]) // facets_per_group
    of_group = np.add.reduceat(posterior, np.arange(0, len(groups), facets_per_group), axis=2)
    same, near, far = GRADES.astype(float)  # by aboutness
    grades = np.zeros(posterior.shape[1:])
    for h in range(3):  # no difference of large numbers
        grades += (same - near)[h] * posterior[h] + (near - far)[h] * of_group[h][:, groups] + far[h] * of_group[h].sum(axis=1)[:, None]
    return grades


def _pointers(profile: Profile, world: World, vocabulary: Vocabulary) -> dict[str, _Pointers]:
    """Return what words point to: to topics by one of their forms, to a facet, to the topics of a domain, to states."""
    p, v, n_words = profile, vocabulary, len(vocabulary.words)
    background, keep, leak = background_of(p, v), 1 - p.leak / 100, p.leak / 100

    def forms(words: np.ndarray, weights: np.ndarray, keys: np.ndarray, role: int) -> tuple[np.ndarray, ...]:
        """Return word, key, role and probabilities by register of words (key, concept, register)."""
        share = (weights / weights.sum())[:, None] * np.array([[[keep, leak]], [[leak, keep]]])  # (said in, concept, register)
        chances = np.broadcast_to(share[:, None], (2, *words.shape)).reshape(2, -1)
        key = np.repeat(keys, words[0].size)
        return words.ravel(), key, np.full(words.size, role), chances

    def plain(words: np.ndarray, weights: np.ndarray, keys: np.ndarray, role: int) -> tuple[np.ndarray, ...]:
        """Return the same of words (key, k), which are those of both registers."""
        chances = np.broadcast_to(weights / weights.sum(), (2, *words.shape)).reshape(2, -1)
        return words.ravel(), np.repeat(keys, words.shape[1]), np.full(words.size, role), chances

    def gathered(n_keys: int, *kinds: tuple[np.ndarray, ...]) -> _Pointers:
        """Return the pointers by word; where a word stands for a key twice, as one form of both registers does, chances are added."""
        word, key, role, chances = (np.concatenate(column, axis=-1) for column in zip(*kinds, strict=True))
        cells, first, at = np.unique(word * n_keys + key, return_index=True, return_inverse=True)
        word, key = np.divmod(cells, n_keys)
        summed = np.stack([np.bincount(at, each, len(cells)) for each in chances])
        ends = np.concatenate([[0], np.cumsum(np.bincount(word, minlength=n_words))])
        return _Pointers(ends, n_keys, key, role[first], summed / background[word])

    topics, states = np.arange(p.n_topics), np.arange(p.n_topics * p.n_facets)
    facet_words = forms(v.facet, zipf(p.facet_concepts, 3), np.arange(p.n_facets), FACET)
    of_states = [plain(v.entity.reshape(len(states), -1), np.ones(p.entities), states, ENTITY)]
    if world.specific:
        facet_words = (*facet_words[:3], facet_words[3] * (1 - world.specific / 100))
        own = v.specific[topics // p.topics_per_domain].reshape(len(states), p.specific_concepts, 2)
        own = forms(own, zipf(p.specific_concepts, 3), states, FACET)
        of_states.append((*own[:3], own[3] * (world.specific / 100)))
    return {
        "topic": gathered(p.n_topics, forms(v.topic, zipf(p.topic_concepts, 2), topics, TOPIC)),
        "facet": gathered(p.n_facets, facet_words),
        "domain": gathered(p.n_topics, plain(v.domain[topics // p.topics_per_domain], zipf(p.domain_words, 4), topics, DOMAIN)),
        "state": gathered(len(states), *of_states),
    }

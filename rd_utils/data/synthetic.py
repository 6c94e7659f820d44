"""The embedded collection: a synthetic test collection whose exact relevance posterior is known.

Every document has a latent *topic* (grouped into domains), *facet* (grouped into facet groups), *register* (lay or
technical) and *aboutness* (0: about its topic, 2: mentions it in passing); every query has a topic, a facet and a
register. The grade of a pair follows from these states alone. Texts are drawn word by word from a mixture that the
states set, so Bayes' rule gives E[grade | both texts] exactly: an *oracle* teacher whose scores are calibrated by
construction, and against which every trained teacher can be held.

Two worlds share the states of their documents: in the ``additive`` one a facet is said with the same words in all
domains; in the ``compositional`` one 70 % of a facet's tokens come from words of its own in each domain.

Up to the texts there are integers only: one PCG64 stream per purpose and split, integer weights, cumulative sums,
``Generator.integers`` and ``searchsorted``. So the collection is the same, byte for byte, on every platform. Floats
enter with the oracle.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
import scipy.sparse as sp

SPLITS = ("train", "validation", "test")
FLOOR = 1e-30

TOPIC, FACET, DOMAIN, ENTITY, BACKGROUND = range(5)
LAY, TECHNICAL = range(2)

GRADES = np.array([[3, 2, 1], [2, 1, 0], [1, 0, 0]], dtype=np.int8)
"""Grade of a pair of one topic, by facet relation (same, same group, other) and the document's aboutness (0, 1, 2)."""

FUNCTION_WORDS = {"the": 12, "of": 8, "and": 6, "in": 4, "for": 3, "with": 3, "to": 2, "by": 2}
"""Glue words with their weights, put before words of documents whatever the latent states: they tell nothing."""

CONSONANTS, VOWELS, LAST_VOWELS = "bdfklmnprstvz", "aeiou", "aou"
REFUSED = re.compile("puta|puto|pedo|kaka|dodo|nazi")


@dataclass(frozen=True)
class Profile:
    """The size of an embedded collection and its percentages.

    Attributes:
        n_docs: Number of documents.
        n_queries: Number of train, validation and test queries.
        n_domains: Number of domains.
        topics_per_domain: Topics in each domain.
        n_facets: Number of facets, in groups of ``facets_per_group``.
        n_background: Words of the background.
        n_names: Rare words of the background.
        document_roles: For aboutness 0, 1, 2: per mille of tokens from topic, facet, domain, entity, background.
        query_roles: The same for queries.
        mentions: Percentages of background tokens that are: any topic's form, any facet's form, any domain's word, any
            entity, a name, a background word.
    """

    n_docs: int
    n_queries: tuple[int, int, int]
    n_domains: int
    topics_per_domain: int
    n_facets: int
    facets_per_group: int = 4
    n_background: int = 400
    n_names: int = 1200
    topic_concepts: int = 8
    facet_concepts: int = 6
    specific_concepts: int = 3
    domain_words: int = 20
    entities: int = 2
    shared: int = 35
    homonyms: int = 30
    leak: int = 15
    lay_documents: int = 45
    lay_queries: int = 85
    aboutness: tuple[int, int, int] = (3, 4, 3)
    document_roles: tuple[tuple[int, ...], ...] = (
        (300, 160, 120, 50, 370),
        (200, 110, 120, 20, 550),
        (120, 70, 120, 4, 686),
    )
    query_roles: tuple[int, ...] = (410, 220, 50, 100, 220)
    mentions: tuple[int, ...] = (12, 1, 3, 6, 12, 66)
    document_length: tuple[int, int] = (20, 60)
    query_lengths: tuple[int, ...] = (0, 0, 0, 2, 4, 4, 3, 2, 1)

    @property
    def n_topics(self) -> int:
        """Return the number of topics over all domains."""
        return self.n_domains * self.topics_per_domain


PROFILES = {
    "default": Profile(n_docs=8000, n_queries=(4000, 150, 300), n_domains=32, topics_per_domain=8, n_facets=12),
    "smallest": Profile(
        n_docs=1200,
        n_queries=(300, 40, 60),
        n_domains=6,
        topics_per_domain=5,
        n_facets=8,
        n_background=200,
        n_names=300,
        document_length=(14, 40),
    ),
}
WORLDS = {"additive": 0, "compositional": 70}
"""Per cent of facet tokens that come from words of the (domain, facet) pair."""


# --- integers only: words, latent states, tokens ----------------------------------------------------------------------


class _Streams:
    """Independent PCG64 generators of one seed, by name; asking again for a name goes on with its generator."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.generators: dict[str, np.random.Generator] = {}

    def __call__(self, name: str) -> np.random.Generator:
        if name not in self.generators:
            key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
            self.generators[name] = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, key])))
        return self.generators[name]

    def below(self, name: str, high: int, size: int | tuple[int, ...]) -> np.ndarray:
        """Draw integers in 0 .. high - 1 from the stream of that name."""
        return self(name).integers(0, high, size=size, dtype=np.int64)

    def draw(self, name: str, weights: np.ndarray | Sequence[int], size: int | tuple[int, ...]) -> np.ndarray:
        """Draw indices with the given integer weights from the stream of that name."""
        cumulative = np.cumsum(np.asarray(weights, dtype=np.int64))
        return np.searchsorted(cumulative, self.below(name, int(cumulative[-1]), size), side="right")

    def order(self, name: str, n: int) -> np.ndarray:
        """Draw a permutation of 0 .. n - 1 from the stream of that name."""
        return np.argsort(self.below(name, 2**62, n), kind="stable")


def _zipf(n: int, shift: int) -> np.ndarray:
    """Return the integer weights floor(1e6 / (k + shift)) of ranks k = 0 .. n - 1."""
    return 1_000_000 // (np.arange(n, dtype=np.int64) + shift)


@dataclass(frozen=True, eq=False)
class _Vocabulary:
    """Word ids of every role; index ``words`` with them."""

    words: list[str]
    topic: np.ndarray  # (topic, concept, register)
    facet: np.ndarray  # (facet, concept, register)
    specific: np.ndarray  # (domain, facet, concept, register)
    domain: np.ndarray  # (domain, k)
    entity: np.ndarray  # (topic, facet, k)
    name: np.ndarray
    background: np.ndarray
    topic_prior: np.ndarray  # integer weights
    facet_prior: np.ndarray


def _pseudo_words(streams: _Streams, n: int) -> list[str]:
    """Return n different words of two or three consonant-vowel syllables, which no English stemmer changes."""
    words: dict[str, None] = {}
    while len(words) < n:
        size = 4096
        long = streams.below("words/length", 3, size) > 0
        consonants = streams.below("words/consonants", len(CONSONANTS), (size, 3))
        vowels = streams.below("words/vowels", len(VOWELS), (size, 2))
        last = streams.below("words/last", len(LAST_VOWELS), size)
        for i in range(size):
            word = CONSONANTS[consonants[i, 0]] + VOWELS[vowels[i, 0]]
            if long[i]:
                word += CONSONANTS[consonants[i, 1]] + VOWELS[vowels[i, 1]]
            word += CONSONANTS[consonants[i, 2]] + LAST_VOWELS[last[i]]
            if not REFUSED.search(word):
                words[word] = None
    return list(words)[:n]


def _vocabulary(profile: Profile, specific_share: int, streams: _Streams) -> _Vocabulary:
    p, count = profile, 0

    def take(*shape: int) -> np.ndarray:
        nonlocal count
        ids = np.arange(count, count + int(np.prod(shape)), dtype=np.int64).reshape(shape)
        count += ids.size
        return ids

    def share(forms: np.ndarray, name: str) -> np.ndarray:
        """Give both registers one form in the drawn concepts."""
        same = streams.below(name, 100, forms.shape[:-1]) < p.shared
        forms[..., TECHNICAL] = np.where(same, forms[..., LAY], forms[..., TECHNICAL])
        return forms

    background, name, domain = take(p.n_background), take(p.n_names), take(p.n_domains, p.domain_words)
    facet = share(take(p.n_facets, p.facet_concepts, 2), "words/facet-shared")
    own = share(take(p.n_topics, p.topic_concepts, 2), "words/topic-shared")
    entity = take(p.n_topics, p.n_facets, p.entities)
    specific = take(p.n_domains, p.n_facets, p.specific_concepts if specific_share else 0, 2)
    specific = share(specific, "words/specific-shared")

    # Homonyms: a form is replaced by a form of a topic of another domain.
    replaced = streams.below("words/homonym", 100, own.shape) < p.homonyms
    other_domain = np.arange(p.n_topics)[:, None, None] // p.topics_per_domain
    other_domain = (other_domain + 1 + streams.below("words/homonym-domain", p.n_domains - 1, own.shape)) % p.n_domains
    other_topic = other_domain * p.topics_per_domain + streams.below("words/homonym-topic", p.topics_per_domain, own.shape)
    other_concept = streams.below("words/homonym-concept", p.topic_concepts, own.shape)
    other = own[other_topic, other_concept, streams.below("words/homonym-register", 2, own.shape)]
    return _Vocabulary(
        words=_pseudo_words(streams, count),
        topic=np.where(replaced, other, own),
        facet=facet,
        specific=specific,
        domain=domain,
        entity=entity,
        name=name,
        background=background,
        topic_prior=_zipf(p.n_topics, 20)[streams.order("prior/topic", p.n_topics)],
        facet_prior=_zipf(p.n_facets, 10)[streams.order("prior/facet", p.n_facets)],
    )


def _draw_words(
    streams: _Streams,
    prefix: str,
    profile: Profile,
    specific_share: int,
    vocabulary: _Vocabulary,
    role: np.ndarray,
    topic: np.ndarray,
    facet: np.ndarray,
    register: np.ndarray,
) -> np.ndarray:
    """Draw one word id per token, given its role and its text's states (four arrays of one shape)."""
    p, v, shape = profile, vocabulary, role.shape

    def below(name: str, high: int) -> np.ndarray:
        return streams.below(f"{prefix}/{name}", high, shape)

    def draw(name: str, weights: np.ndarray | Sequence[int]) -> np.ndarray:
        return streams.draw(f"{prefix}/{name}", weights, shape)

    said = register ^ (below("leak", 100) < p.leak)
    domain = topic // p.topics_per_domain
    by_topic = v.topic[topic, draw("topic-word", _zipf(p.topic_concepts, 2)), said]
    by_facet = v.facet[facet, draw("facet-word", _zipf(p.facet_concepts, 3)), said]
    if specific_share:
        own = v.specific[domain, facet, draw("specific-word", _zipf(p.specific_concepts, 3)), said]
        by_facet = np.where(below("specific", 100) < specific_share, own, by_facet)
    by_domain = v.domain[domain, draw("domain-word", _zipf(p.domain_words, 4))]
    by_entity = v.entity[topic, facet, below("entity-word", p.entities)]

    mention = draw("mention", p.mentions)
    pools = [v.topic, np.concatenate([v.facet.ravel(), v.specific.ravel()]), v.domain, v.entity]
    mentioned = [pool.ravel()[below(f"mention-{i}", pool.size)] for i, pool in enumerate(pools)]
    mentioned.append(v.name[draw("name", _zipf(p.n_names, 50))])
    mentioned.append(v.background[draw("background-word", _zipf(p.n_background, 2))])
    by_background = np.choose(mention, mentioned)
    return np.choose(role, [by_topic, by_facet, by_domain, by_entity, by_background])


@dataclass(frozen=True, eq=False)
class Latent:
    """Latent states of a set of texts, one integer array each.

    Attributes:
        topic: Topic of each text.
        facet: Facet of each text.
        register: 0 lay, 1 technical.
        aboutness: Of documents: 0 about the topic, 1 partly, 2 in passing. Of queries: all 0.
    """

    topic: np.ndarray
    facet: np.ndarray
    register: np.ndarray
    aboutness: np.ndarray


@dataclass(frozen=True, eq=False)
class _Tokens:
    """Word ids of a set of texts without glue: text i has ``ids[offsets[i]:offsets[i + 1]]``."""

    ids: np.ndarray
    offsets: np.ndarray

    def counts(self, n_words: int) -> sp.csr_array:
        """Return the (n_texts, n_words) matrix of word counts."""
        shape = (len(self.offsets) - 1, n_words)
        matrix = sp.csr_array((np.ones(len(self.ids)), self.ids.astype(np.int32), self.offsets.astype(np.int32)), shape=shape)
        matrix.sum_duplicates()
        return matrix


def _draw_documents(profile: Profile, specific_share: int, vocabulary: _Vocabulary, streams: _Streams) -> tuple[Latent, _Tokens]:
    p, n = profile, profile.n_docs
    latent = Latent(
        topic=streams.draw("docs/topic", vocabulary.topic_prior, n),
        facet=streams.draw("docs/facet", vocabulary.facet_prior, n),
        register=(streams.below("docs/register", 100, n) >= p.lay_documents).astype(np.int64),
        aboutness=streams.draw("docs/aboutness", p.aboutness, n),
    )
    shortest, longest = p.document_length
    length = shortest + streams.below("docs/length", longest - shortest + 1, (n, 2)).min(axis=1)
    offsets = np.concatenate([[0], np.cumsum(length)])
    text = np.repeat(np.arange(n), length)
    thresholds = np.cumsum(np.array(p.document_roles, dtype=np.int64), axis=1)[latent.aboutness[text]]
    role = (streams.below("docs/role", 1000, len(text))[:, None] >= thresholds).sum(axis=1)
    states = (latent.topic[text], latent.facet[text], latent.register[text])
    return latent, _Tokens(_draw_words(streams, "docs", p, specific_share, vocabulary, role, *states), offsets)


def _draw_queries(
    profile: Profile,
    specific_share: int,
    vocabulary: _Vocabulary,
    streams: _Streams,
    split: str,
    n: int,
    about: Latent,
    taken: set[bytes],
) -> tuple[Latent, _Tokens]:
    """Draw n queries; one without a token of its topic, or with the words of an earlier one, is drawn anew.

    Both rejections leave the posterior exact: the first is part of the likelihood, the second looks at texts only.
    """
    p, chunk, longest = profile, 512, len(profile.query_lengths) - 1
    sources = np.flatnonzero(about.aboutness == 0)
    states: list[tuple[int, int, int]] = []
    bags: list[np.ndarray] = []
    while len(states) < n:
        source = sources[streams.below(f"{split}/source", len(sources), chunk)]
        topic, facet = about.topic[source], about.facet[source]
        register = (streams.below(f"{split}/register", 100, chunk) >= p.lay_queries).astype(np.int64)
        length = streams.draw(f"{split}/length", p.query_lengths, chunk)
        role = streams.draw(f"{split}/role", p.query_roles, (chunk, longest))
        wide = [np.repeat(state[:, None], longest, axis=1) for state in (topic, facet, register)]
        words = _draw_words(streams, split, p, specific_share, vocabulary, role, *wide)
        for i in range(chunk):
            bag = words[i, : length[i]]
            key = np.sort(bag).tobytes()
            if len(states) == n or key in taken or not (role[i, : length[i]] == TOPIC).any():
                continue
            taken.add(key)
            states.append((int(topic[i]), int(facet[i]), int(register[i])))
            bags.append(bag)
    columns = np.array(states, dtype=np.int64).reshape(-1, 3).T
    latent = Latent(columns[0], columns[1], columns[2], np.zeros(n, dtype=np.int64))
    offsets = np.cumsum([0] + [len(bag) for bag in bags])
    return latent, _Tokens(np.concatenate([*bags, np.zeros(0, dtype=np.int64)]), offsets)


def _document_texts(tokens: _Tokens, words: list[str], streams: _Streams) -> list[str]:
    """Write tokens as sentences of 6 to 12 words, with function words before a quarter of the words, and commas."""
    n = len(tokens.ids)
    function = list(FUNCTION_WORDS)
    glue = streams.draw("docs/glue-word", list(FUNCTION_WORDS.values()), n).tolist()
    glued = (streams.below("docs/glue", 100, n) < 25).tolist()
    comma = (streams.below("docs/comma", 100, n) < 9).tolist()
    sentence = (6 + streams.below("docs/sentence", 7, n)).tolist()
    ids, offsets = tokens.ids.tolist(), tokens.offsets.tolist()
    texts = []
    for start, end in zip(offsets[:-1], offsets[1:], strict=True):
        parts: list[str] = []
        first, stop = True, start
        for i in range(start, end):
            if first:
                stop = i + sentence[i]
                if end - stop < 4:
                    stop = end
            word = words[ids[i]]
            if glued[i]:
                word = f"{function[glue[i]]} {word}"
            if first:
                word = word[0].upper() + word[1:]
            first = i + 1 == stop
            parts.append(word + "." if first else word + "," if comma[i] and i + 2 < stop else word)
        texts.append(" ".join(parts))
    return texts


# --- the collection ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class EmbeddedCollection:
    """A synthetic collection with its latent states and its oracle.

    Attributes:
        profile: Its sizes and percentages.
        world: ``additive`` or ``compositional``.
        seed: Its seed.
        docs: ``doc_id, text``.
        queries: By split: ``query_id, text``.
        qrels: By split: ``query_id, doc_id, relevance``. train: one labelled document per query, of true grade 2 or 3;
            validation and test: all documents of grade 1 and more.
        latent: Latent states of ``docs`` and of the queries of each split.
    """

    profile: Profile
    world: str
    seed: int
    docs: pd.DataFrame
    queries: dict[str, pd.DataFrame]
    qrels: dict[str, pd.DataFrame]
    latent: dict[str, Latent]
    _vocabulary: _Vocabulary = field(repr=False)
    _tokens: dict[str, _Tokens] = field(repr=False)

    def grades(self, split: str) -> np.ndarray:
        """Return the true grade of every pair, also where no label says so.

        Args:
            split: One of the splits that were generated.

        Returns:
            int8 array (n_queries, n_docs) with values 0 to 3.
        """
        return _grades(self.profile, self.latent[self._known(split)], self.latent["docs"])

    def geometry(self, of: str = "docs") -> np.ndarray:
        """Return the true geometry: unit vectors of one-hot blocks.

        The squared shares are: domain 0.30, topic 0.40, facet group 0.15, facet 0.15.

        Args:
            of: ``docs`` or a split.

        Returns:
            float64 array (n_texts, n_domains + n_topics + n_groups + n_facets); a dot product is the summed share of
            what two texts agree on.
        """
        p, latent = self.profile, self.latent[of if of == "docs" else self._known(of)]
        parts = (
            (latent.topic // p.topics_per_domain, p.n_domains, 0.30),
            (latent.topic, p.n_topics, 0.40),
            (latent.facet // p.facets_per_group, -(-p.n_facets // p.facets_per_group), 0.15),
            (latent.facet, p.n_facets, 0.15),
        )
        return np.concatenate([np.sqrt(share) * np.eye(n)[state] for state, n, share in parts], axis=1)

    @cached_property
    def oracle(self) -> Oracle:
        """The exact posterior of this collection's texts, prepared once."""
        return Oracle(self)

    def oracle_scores(self, split: str, query_rows: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
        """Return log max(E[grade | both texts], 1e-30) of aligned pairs.

        Args:
            split: The queries' split.
            query_rows: Row numbers in ``queries[split]``, shape (n,).
            doc_rows: Row numbers in ``docs``, shape (n,).

        Returns:
            float64 array (n,); a pair's value does not depend on the other pairs.
        """
        return np.log(np.maximum(self.oracle.expected_grades(self._known(split), query_rows, doc_rows), FLOOR))

    def oracle_matrix(self, split: str) -> np.ndarray:
        """Return the oracle scores of all pairs of a split, float64 (n_queries, n_docs)."""
        n_queries, n_docs = len(self.queries[self._known(split)]), len(self.docs)
        scores = np.empty((n_queries, n_docs))
        for row in range(n_queries):
            scores[row] = self.oracle_scores(split, np.full(n_docs, row), np.arange(n_docs))
        return scores

    def _known(self, split: str) -> str:
        if split not in self.queries:
            raise KeyError(_unknown("split", split, self.queries))
        return split


def _grades(profile: Profile, queries: Latent, docs: Latent) -> np.ndarray:
    """Return the (n_queries, n_docs) grades: the table's where topics agree, else 0."""
    facets = np.arange(profile.n_facets)
    table = GRADES[_relation(facets[:, None], facets[None, :], profile.facets_per_group)]  # (facet of query, facet of document, aboutness)
    flat = table.reshape(profile.n_facets, -1)
    grades = np.take(flat[queries.facet], docs.facet * 3 + docs.aboutness, axis=1)
    grades *= queries.topic[:, None] == docs.topic[None, :]
    return grades


def _relation(facet: np.ndarray, other: np.ndarray, facets_per_group: int) -> np.ndarray:
    """Return 0 where facets are the same, 1 where their groups are, else 2."""
    return np.where(facet == other, 0, np.where(facet // facets_per_group == other // facets_per_group, 1, 2))


def _unknown(what: str, name: str, choices: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(name), list(choices), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {what} {name!r}: expected one of {', '.join(map(repr, choices))}.{hint}"


def generate(profile: str | Profile, world: str = "additive", seed: int = 13, splits: Sequence[str] = SPLITS) -> EmbeddedCollection:
    """Generate the embedded collection: the same arguments give the same bytes on every platform.

    Each split has random streams of its own, so the number of queries in one changes no query of another (but for the
    one rule that a train query with the very words of a test or validation query is drawn anew), and more queries
    extend a split without changing it.

    Args:
        profile: A name in ``PROFILES``, or a profile.
        world: A name in ``WORLDS``.
        seed: An integer >= 0.
        splits: The splits wanted; the others are left out of the result.

    Returns:
        The collection, without its oracle's arrays (made at first use).

    Raises:
        KeyError: On an unknown profile, world or split.
        ValueError: On a negative seed.

    Example:
        >>> collection = generate("smallest")
        >>> len(collection.docs), {split: len(queries) for split, queries in collection.queries.items()}
        (1200, {'train': 300, 'validation': 40, 'test': 60})
    """
    if isinstance(profile, str):
        if profile not in PROFILES:
            raise KeyError(_unknown("profile", profile, PROFILES))
        profile = PROFILES[profile]
    if world not in WORLDS:
        raise KeyError(_unknown("world", world, WORLDS))
    for split in splits:
        if split not in SPLITS:
            raise KeyError(_unknown("split", split, SPLITS))
    if seed < 0:
        raise ValueError(f"The seed is {seed}: expected an integer >= 0.")
    streams, share = _Streams(seed), WORLDS[world]
    vocabulary = _vocabulary(profile, share, streams)
    about, doc_tokens = _draw_documents(profile, share, vocabulary, streams)
    latent, tokens = {"docs": about}, {"docs": doc_tokens}
    taken: set[bytes] = set()
    for split in reversed(SPLITS):  # test first: nothing that train does reaches it
        n = profile.n_queries[SPLITS.index(split)]
        latent[split], tokens[split] = _draw_queries(profile, share, vocabulary, streams, split, n, about, taken)
    doc_ids = np.array([f"d{i:05d}" for i in range(profile.n_docs)])
    queries, qrels = {}, {}
    for split in SPLITS:
        if split not in splits:
            continue
        ids, offsets = tokens[split].ids.tolist(), tokens[split].offsets.tolist()
        texts = [" ".join(vocabulary.words[i] for i in ids[a:b]) for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
        query_ids = np.array([f"{split}-{i:05d}" for i in range(len(texts))])
        queries[split] = pd.DataFrame({"query_id": query_ids, "text": texts})
        grades = _grades(profile, latent[split], about)
        query_rows, doc_rows = _labels(grades, streams) if split == "train" else np.nonzero(grades)
        qrels[split] = pd.DataFrame(
            {
                "query_id": query_ids[query_rows],
                "doc_id": doc_ids[doc_rows],
                "relevance": grades[query_rows, doc_rows].astype(np.int64),
            }
        )
    docs = pd.DataFrame({"doc_id": doc_ids, "text": _document_texts(doc_tokens, vocabulary.words, streams)})
    kept = {"docs", *splits}
    return EmbeddedCollection(
        profile=profile,
        world=world,
        seed=seed,
        docs=docs,
        queries=queries,
        qrels=qrels,
        latent={name: value for name, value in latent.items() if name in kept},
        _vocabulary=vocabulary,
        _tokens={name: value for name, value in tokens.items() if name in kept},
    )


def _labels(grades: np.ndarray, streams: _Streams) -> tuple[np.ndarray, np.ndarray]:
    """Draw one document of grade 2 (weight 1) or 3 (weight 4) per query."""
    weights = np.cumsum(np.array([0, 0, 1, 4], dtype=np.int32)[grades], axis=1, dtype=np.int32)
    aim = streams.below("train/label", 2**62, len(grades)) % weights[:, -1]
    return np.arange(len(grades)), (weights <= aim[:, None]).sum(axis=1)


def fingerprint(collection: EmbeddedCollection) -> str:
    """Return the SHA-256 of a collection's documents, queries and qrels, in their order, as hexadecimal digits."""
    digest = hashlib.sha256()
    tables = [("docs", collection.docs)]
    tables += [(f"queries/{split}", collection.queries[split]) for split in SPLITS if split in collection.queries]
    tables += [(f"qrels/{split}", collection.qrels[split]) for split in SPLITS if split in collection.qrels]
    for name, table in tables:
        digest.update(f"{name}\n".encode())
        for row in zip(*(table[column].tolist() for column in table.columns), strict=True):
            digest.update(("\t".join(map(str, row)) + "\n").encode())
    return digest.hexdigest()


# --- floats: the oracle -----------------------------------------------------------------------------------------------


class Oracle:
    """The exact posterior expectation of a pair's grade, given both texts and the generator's parameters.

    It never looks at the latent states that were drawn.

    For states s = (topic, facet): E[grade | q, d] = sum_s P(s | q) D(d, s), where D(d, s) = sum over the document's
    states of their posterior times the grade that such a document has for a query of state s. Both are found by
    enumerating all states.

    A query has at least one token that was drawn from its topic: P(q | s) = prod_i p_i - prod_i (p_i - topic part of
    p_i). So P(s | q) is exactly 0 for most topics, and query posteriors are kept sparse.

    Attributes:
        documents: float32 (n_docs, n_topics * n_facets), the array D.
    """

    def __init__(self, collection: EmbeddedCollection, block: int = 500) -> None:
        """Prepare the documents' side.

        Args:
            collection: The collection.
            block: Documents per block; a block takes about ``block * n_topics * n_facets * 60`` bytes.
        """
        self._collection = collection
        self._profile = collection.profile
        self._parts = _word_probabilities(collection.profile, WORLDS[collection.world], collection._vocabulary)
        self._queries: dict[str, sp.csr_array] = {}
        v = collection._vocabulary
        topic, facet = v.topic_prior / v.topic_prior.sum(), v.facet_prior / v.facet_prior.sum()
        self._log_prior = (np.log(topic)[:, None] + np.log(facet)[None, :]).ravel()
        self.documents = self._document_factors(block)

    def query_posterior(self, split: str) -> sp.csr_array:
        """Return P(topic, facet | query text), sparse float64 (n_queries, n_topics * n_facets), rows summing to 1."""
        if split not in self._queries:
            self._queries[split] = self._query_posterior(self._collection._tokens[split])
        return self._queries[split]

    def expected_grades(self, split: str, query_rows: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
        """Return E[grade | both texts] of aligned pairs, float64 (n,)."""
        query_rows, doc_rows = np.asarray(query_rows, dtype=np.int64), np.asarray(doc_rows, dtype=np.int64)
        if query_rows.shape != doc_rows.shape or query_rows.ndim != 1:
            raise ValueError(
                f"Pairs are not aligned: {query_rows.shape} query rows and {doc_rows.shape} doc rows; expected two (n,) arrays."
            )
        posterior = self.query_posterior(split)
        for name, rows, n in (("query", query_rows, len(posterior.indptr) - 1), ("doc", doc_rows, len(self.documents))):
            if len(rows) and (rows.min() < 0 or rows.max() >= n):
                bad = rows[(rows < 0) | (rows >= n)]
                raise ValueError(f"{len(bad)} {name} rows do not exist, the first is {bad[0]}: expected 0 to {n - 1}.")
        expected = np.empty(len(query_rows))
        order = np.argsort(query_rows, kind="stable")
        starts = np.flatnonzero(np.diff(query_rows[order], prepend=-1))
        for group in np.split(order, starts[1:]):
            if len(group) == 0:
                continue
            query = query_rows[group[0]]
            row = slice(posterior.indptr[query], posterior.indptr[query + 1])
            states, weights = posterior.indices[row], posterior.data[row]
            expected[group] = (self.documents[doc_rows[group][:, None], states] * weights).sum(axis=1)
        return expected

    def _document_factors(self, block: int) -> np.ndarray:
        p = self._profile
        counts = self._collection._tokens["docs"].counts(len(self._collection._vocabulary.words))
        lengths = counts.sum(axis=1)
        registers = np.log([p.lay_documents / 100, 1 - p.lay_documents / 100])
        aboutness = np.log(np.array(p.aboutness) / sum(p.aboutness))
        ratios = [[self._log_ratio(r, roles)[0] for roles in p.document_roles] for r in (LAY, TECHNICAL)]
        n_topics, n_facets = p.n_topics, p.n_facets
        facets = np.arange(n_facets)
        relation = _relation(facets[:, None], facets[None, :], p.facets_per_group)
        factors = np.empty((p.n_docs, n_topics * n_facets), dtype=np.float32)
        for start in range(0, p.n_docs, block):
            rows = slice(start, min(start + block, p.n_docs))
            logs = np.empty((2, 3, rows.stop - start, n_topics * n_facets))
            for r in (LAY, TECHNICAL):
                for h, roles in enumerate(p.document_roles):
                    logs[r, h] = (counts[rows] @ ratios[r][h]).toarray()
                    logs[r, h] += self._log_prior
                    logs[r, h] += (registers[r] + aboutness[h] + lengths[rows] * np.log(roles[BACKGROUND] / 1000))[:, None]
            logs -= logs.max(axis=(0, 1, 3))[None, None, :, None]
            np.exp(logs, out=logs)
            posterior = logs.sum(axis=0)
            posterior /= posterior.sum(axis=(0, 2))[None, :, None]
            out = np.zeros((rows.stop - start, n_topics, n_facets))
            for h in range(3):
                table = GRADES[relation, h].astype(float)  # symmetric in the two facets
                out += posterior[h].reshape(-1, n_topics, n_facets) @ table
            factors[rows] = out.reshape(len(out), -1)
        return factors

    def _query_posterior(self, tokens: _Tokens) -> sp.csr_array:
        p = self._profile
        counts = tokens.counts(len(self._collection._vocabulary.words))
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

    def _log_ratio(self, register: int, roles: Sequence[int]) -> tuple[sp.csr_array, sp.csr_array]:
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


@dataclass(frozen=True, eq=False)
class _WordProbabilities:
    """Word probabilities by role: sparse (n_words, n_topics * n_facets), for topic and facet one per register."""

    topic: tuple[sp.csr_array, sp.csr_array]
    facet: tuple[sp.csr_array, sp.csr_array]
    domain: sp.csr_array
    entity: sp.csr_array
    background: np.ndarray


def _word_probabilities(profile: Profile, specific_share: int, vocabulary: _Vocabulary) -> _WordProbabilities:
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

    by_facet = [matrix(v.facet[facet, :, r], _zipf(p.facet_concepts, 3)) for r in (LAY, TECHNICAL)]
    if specific_share:
        own = [matrix(v.specific[domain, facet, :, r], _zipf(p.specific_concepts, 3)) for r in (LAY, TECHNICAL)]
        by_facet = [sp.csr_array(a * (1 - specific_share / 100) + b * (specific_share / 100)) for a, b in zip(by_facet, own, strict=True)]

    pools = [
        v.topic.ravel(),
        np.concatenate([v.facet.ravel(), v.specific.ravel()]),
        v.domain.ravel(),
        v.entity.ravel(),
        v.name,
        v.background,
    ]
    weights = [np.ones(len(pool)) for pool in pools[:4]] + [_zipf(p.n_names, 50), _zipf(p.n_background, 2)]
    background = np.zeros(n_words)
    for share, pool, weight in zip(p.mentions, pools, weights, strict=True):
        np.add.at(background, pool, share / 100 * weight / weight.sum())
    background[background == 0] = 1  # words that homonyms have replaced everywhere: no text has them
    return _WordProbabilities(
        topic=leaked([matrix(v.topic[topic, :, r], _zipf(p.topic_concepts, 2)) for r in (LAY, TECHNICAL)]),
        facet=leaked(by_facet),
        domain=matrix(v.domain[domain], _zipf(p.domain_words, 4)),
        entity=matrix(v.entity[topic, facet], np.ones(p.entities)),
        background=background,
    )

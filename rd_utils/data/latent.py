"""What the texts of the embedded collection are drawn from: profiles, words, latent states, tokens, and the grades that follow.

There are integers only: one PCG64 stream per purpose and split, integer weights, cumulative sums, ``Generator.integers`` and
``searchsorted``. So the collection is the same, byte for byte, on every platform.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from rd_utils.data.worlds import Profile, World

TOPIC, FACET, DOMAIN, ENTITY, BACKGROUND = range(5)
LAY, TECHNICAL = range(2)
IN_PASSING = 2

GRADES = np.array([[3, 2, 1], [2, 1, 0], [1, 0, 0]], dtype=np.int8)
"""Grade of a pair of one topic, by facet relation (same, same group, other) and the document's aboutness (0, 1, 2)."""

FUNCTION_WORDS = {"the": 12, "of": 8, "and": 6, "in": 4, "for": 3, "with": 3, "to": 2, "by": 2}
"""Glue words with their weights, put before words of documents whatever the latent states: they tell nothing."""

CONSONANTS, VOWELS, LAST_VOWELS = "bdfklmnprstvz", "aeiou", "aou"
SHORT_WORDS = 1 << 15  # so many words have two or three syllables, of which there are 167,310; the others have four
BLOCK = 1 << 15  # documents whose words are drawn, or written, at once; no draw depends on it
REFUSED = re.compile("puta|puto|pedo|kaka|dodo|nazi")


class Streams:
    """Independent PCG64 generators of one seed, by name; asking again for a name goes on with its generator."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.generators: dict[str, np.random.Generator] = {}

    def __call__(self, name: str) -> np.random.Generator:
        """Return the generator of that name."""
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


def zipf(n: int, shift: int) -> np.ndarray:
    """Return the integer weights floor(1e6 / (k + shift)) of ranks k = 0 .. n - 1."""
    return 1_000_000 // (np.arange(n, dtype=np.int64) + shift)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Word ids of every role; index ``words`` with them."""

    words: list[str]
    topic: np.ndarray  # (topic, concept, register)
    facet: np.ndarray  # (facet, concept, register)
    specific: np.ndarray  # (domain, facet, concept, register)
    domain: np.ndarray  # (domain, k)
    entity: np.ndarray  # (topic, facet, k)
    name: np.ndarray
    background: np.ndarray
    foreign: np.ndarray  # words of the queries' language alone
    translation: np.ndarray  # of each word to the other language, itself where both have it; twice makes the word again
    topic_prior: np.ndarray  # integer weights
    facet_prior: np.ndarray


def _pseudo_words(streams: Streams, n: int) -> list[str]:
    """Return n different words of consonant-vowel syllables, which no English stemmer changes: of two or three, then of four."""
    words: dict[str, None] = {}
    while len(words) < min(n, SHORT_WORDS):
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
    words = dict.fromkeys(list(words)[:SHORT_WORDS])
    while len(words) < n:
        size = 1 << 16
        consonants = streams.below("words/consonants-of-four", len(CONSONANTS), (size, 4)).tolist()
        vowels = streams.below("words/vowels-of-four", len(VOWELS), (size, 3)).tolist()
        last = streams.below("words/last-of-four", len(LAST_VOWELS), size).tolist()
        for (a, b, c, d), (e, f, g), h in zip(consonants, vowels, last, strict=True):
            word = CONSONANTS[a] + VOWELS[e] + CONSONANTS[b] + VOWELS[f] + CONSONANTS[c] + VOWELS[g] + CONSONANTS[d] + LAST_VOWELS[h]
            if not REFUSED.search(word):
                words[word] = None
    return list(words)[:n]


def vocabulary_of(profile: Profile, world: World, streams: Streams) -> Vocabulary:
    """Give every role its words."""
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
    specific = take(p.n_domains, p.n_facets, p.specific_concepts if world.specific else 0, 2)
    specific = share(specific, "words/specific-shared")

    in_both = np.concatenate([name.ravel(), entity.ravel()])
    translated = np.setdiff1d(np.arange(count), in_both)
    if world.translated:
        translated = translated[streams.below("words/translated", 100, len(translated)) < world.translated]
    else:
        translated = translated[:0]
    foreign = take(len(translated))
    translation = np.arange(count)
    translation[translated], translation[foreign] = foreign, translated

    # Homonyms: a form is replaced by a form of a topic of another domain.
    replaced = streams.below("words/homonym", 100, own.shape) < p.homonyms
    other_domain = np.arange(p.n_topics)[:, None, None] // p.topics_per_domain
    other_domain = (other_domain + 1 + streams.below("words/homonym-domain", p.n_domains - 1, own.shape)) % p.n_domains
    other_topic = other_domain * p.topics_per_domain + streams.below("words/homonym-topic", p.topics_per_domain, own.shape)
    other_concept = streams.below("words/homonym-concept", p.topic_concepts, own.shape)
    other = own[other_topic, other_concept, streams.below("words/homonym-register", 2, own.shape)]
    return Vocabulary(
        words=_pseudo_words(streams, count),
        topic=np.where(replaced, other, own),
        facet=facet,
        specific=specific,
        domain=domain,
        entity=entity,
        name=name,
        background=background,
        foreign=foreign,
        translation=translation,
        topic_prior=zipf(p.n_topics, p.topic_shift)[streams.order("prior/topic", p.n_topics)],
        facet_prior=zipf(p.n_facets, 10)[streams.order("prior/facet", p.n_facets)],
    )


def _draw_words(
    streams: Streams,
    prefix: str,
    profile: Profile,
    world: World,
    vocabulary: Vocabulary,
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
    by_topic = v.topic[topic, draw("topic-word", zipf(p.topic_concepts, 2)), said]
    by_facet = v.facet[facet, draw("facet-word", zipf(p.facet_concepts, 3)), said]
    if world.specific:
        own = v.specific[domain, facet, draw("specific-word", zipf(p.specific_concepts, 3)), said]
        by_facet = np.where(below("specific", 100) < world.specific, own, by_facet)
    by_domain = v.domain[domain, draw("domain-word", zipf(p.domain_words, 4))]
    by_entity = v.entity[topic, facet, below("entity-word", p.entities)]

    mention = draw("mention", p.mentions)
    pools = [v.topic, np.concatenate([v.facet.ravel(), v.specific.ravel()]), v.domain, v.entity]
    mentioned = [pool.ravel()[below(f"mention-{i}", pool.size)] for i, pool in enumerate(pools)]
    mentioned.append(v.name[draw("name", zipf(p.n_names, p.name_shift))])
    mentioned.append(v.background[draw("background-word", zipf(p.n_background, 2))])
    if len(v.foreign):
        mentioned.append(v.foreign[below("foreign-word", len(v.foreign))])
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
        place: Of documents of several passages: the one that was drawn from these states.
        copy_of: Of documents some of which are copies: the row that was copied, -1 for an original.
    """

    topic: np.ndarray
    facet: np.ndarray
    register: np.ndarray
    aboutness: np.ndarray
    place: np.ndarray | None = None
    copy_of: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Tokens:
    """Word ids of a set of texts without glue: text i has ``ids[offsets[i]:offsets[i + 1]]``."""

    ids: np.ndarray
    offsets: np.ndarray

    def of(self, rows: np.ndarray) -> Tokens:
        """Return the tokens of some texts, in this order."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return Tokens(self.ids[np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)], offsets)

    def counts(self, n_words: int) -> sp.csr_array:
        """Return the (n_texts, n_words) matrix of word counts."""
        shape = (len(self.offsets) - 1, n_words)
        matrix = sp.csr_array((np.ones(len(self.ids)), self.ids.astype(np.int32), self.offsets.astype(np.int32)), shape=shape)
        matrix.sum_duplicates()
        return matrix


def passage_offsets(offsets: np.ndarray, passages: int) -> np.ndarray:
    """Return where each passage of each document begins, and where the last one ends.

    >>> passage_offsets(np.array([0, 7, 10]), 3).tolist()
    [0, 2, 4, 7, 8, 9, 10]
    """
    starts = offsets[:-1, None] + np.diff(offsets)[:, None] * np.arange(passages) // passages
    return np.append(starts.ravel(), offsets[-1])


def draw_documents(profile: Profile, world: World, vocabulary: Vocabulary, streams: Streams) -> tuple[Latent, Tokens]:
    """Draw the documents' states, and their tokens from these."""
    p, n = profile, profile.n_docs
    topic = streams.draw("docs/topic", vocabulary.topic_prior, n)
    facet = streams.draw("docs/facet", vocabulary.facet_prior, n)
    register = (streams.below("docs/register", 100, n) >= p.lay_documents).astype(np.int64)
    aboutness = streams.draw("docs/aboutness", p.aboutness, n)
    shortest, longest = p.document_length
    length = shortest + streams.below("docs/length", longest - shortest + 1, (n, 2)).min(axis=1)
    place = copy_of = other_topic = other_facet = None
    source = np.arange(n)
    if world.copies:
        is_copy = streams.below("docs/copy", 100, n) < world.copies
        originals = np.flatnonzero(~is_copy)
        source = np.where(is_copy, originals[streams.below("docs/copied", len(originals), n)], source)
        topic, facet, register, aboutness, length = (state[source] for state in (topic, facet, register, aboutness, length))
        copy_of = np.where(is_copy, source, -1)
    if world.passages > 1:
        place = streams.below("docs/place", world.passages, n)
        other_topic = streams.draw("docs/other-topic", vocabulary.topic_prior, n * world.passages)
        other_facet = streams.draw("docs/other-facet", vocabulary.facet_prior, n * world.passages)
    offsets = np.concatenate([[0], np.cumsum(length)])
    thresholds = np.cumsum(np.array(p.document_roles, dtype=np.int64), axis=1)
    blocks = [(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]

    def states_of(start: int, stop: int) -> list[np.ndarray]:
        """Return topic, facet, register and aboutness of every token of some documents."""
        text = np.repeat(np.arange(start, stop), length[start:stop])
        states = [state[text] for state in (topic, facet, register, aboutness)]
        if place is not None and other_topic is not None and other_facet is not None:
            passages = np.diff(passage_offsets(offsets[start : stop + 1], world.passages))
            passage = np.repeat(np.arange(start * world.passages, stop * world.passages), passages)
            other = passage % world.passages != place[text]
            states[:2] = np.where(other, other_topic[passage], states[0]), np.where(other, other_facet[passage], states[1])
            states[3] = np.where(other, IN_PASSING, states[3])
        return states

    role = np.empty(offsets[-1], dtype=np.int8)
    for start, stop in blocks:
        drawn = streams.below("docs/role", 1000, int(offsets[stop] - offsets[start]))
        role[offsets[start] : offsets[stop]] = (drawn[:, None] >= thresholds[states_of(start, stop)[3]]).sum(axis=1)
    while world.topical:
        text = np.repeat(np.arange(n), length)
        without = np.flatnonzero(np.bincount(text[role == TOPIC], minlength=n)[text] == 0)
        if not len(without):
            break
        again = streams.below("docs/role-again", 1000, len(without))
        role[without] = (again[:, None] >= thresholds[aboutness[text[without]]]).sum(axis=1)
    ids = np.empty(offsets[-1], dtype=np.int64)
    for start, stop in blocks:
        tokens = slice(offsets[start], offsets[stop])
        ids[tokens] = _draw_words(streams, "docs", p, world, vocabulary, role[tokens], *states_of(start, stop)[:3])
    for start, stop in blocks if copy_of is not None else []:
        tokens = slice(offsets[start], offsets[stop])
        text = np.repeat(np.arange(start, stop), length[start:stop])
        kept = (source[text] != text) & (streams.below("docs/redrawn", 100, len(text)) >= world.redrawn)
        ids[tokens] = np.where(kept, ids[offsets[source[text]] + np.arange(offsets[start], offsets[stop]) - offsets[text]], ids[tokens])
    return Latent(topic, facet, register, aboutness, place, copy_of), Tokens(ids, offsets)


def draw_queries(
    profile: Profile,
    world: World,
    vocabulary: Vocabulary,
    streams: Streams,
    split: str,
    n: int,
    about: Latent,
    taken: set[bytes],
) -> tuple[Latent, Tokens]:
    """Draw n queries; one without a token of its topic, or with the words of an earlier one, is drawn anew.

    Both rejections leave the posterior exact: the first is part of the likelihood, the second looks at texts only. Words are translated
    last, each to another, so that a text says as much of its states as before.
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
        words = _draw_words(streams, split, p, world, vocabulary, role, *wide)
        for i in range(chunk):
            bag = words[i, : length[i]]
            key = np.sort(bag).tobytes()
            if len(states) == n or key in taken or not (role[i, : length[i]] == TOPIC).any():
                continue
            taken.add(key)
            states.append((int(topic[i]), int(facet[i]), int(register[i])))
            bags.append(vocabulary.translation[bag])
    columns = np.array(states, dtype=np.int64).reshape(-1, 3).T
    latent = Latent(columns[0], columns[1], columns[2], np.zeros(n, dtype=np.int64))
    offsets = np.cumsum([0] + [len(bag) for bag in bags])
    return latent, Tokens(np.concatenate([*bags, np.zeros(0, dtype=np.int64)]), offsets)


def written(tokens: Tokens, words: list[str], streams: Streams, prefix: str) -> list[str]:
    """Write tokens as sentences of 6 to 12 words, with function words before a quarter of the words, and commas."""
    function = list(FUNCTION_WORDS)
    texts: list[str] = []
    for block in range(0, len(tokens.offsets) - 1, BLOCK):
        offsets = tokens.offsets[block : block + BLOCK + 1]
        ids, offsets = tokens.ids[offsets[0] : offsets[-1]].tolist(), (offsets - offsets[0]).tolist()
        n = len(ids)
        glue = streams.draw(f"{prefix}/glue-word", list(FUNCTION_WORDS.values()), n).tolist()
        glued = (streams.below(f"{prefix}/glue", 100, n) < 25).tolist()
        comma = (streams.below(f"{prefix}/comma", 100, n) < 9).tolist()
        sentence = (6 + streams.below(f"{prefix}/sentence", 7, n)).tolist()
        for start, end in itertools.pairwise(offsets):
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


def true_grades(profile: Profile, queries: Latent, docs: Latent) -> np.ndarray:
    """Return the (n_queries, n_docs) grades, 0 of the pairs that are not relevant."""
    grades = np.zeros((len(queries.topic), len(docs.topic)), dtype=np.int8)
    pairs = relevant(profile, queries, docs)
    grades[pairs.query_rows, pairs.doc_rows] = pairs.grades
    return grades


class Relevant(NamedTuple):
    """The pairs of a grade above 0, sorted by query and document: three arrays of one length."""

    query_rows: np.ndarray
    doc_rows: np.ndarray
    grades: np.ndarray  # int8


def relevant(profile: Profile, queries: Latent, docs: Latent) -> Relevant:
    """Return the pairs of a grade above 0; none but those of one topic are looked at."""
    by_topic = np.argsort(docs.topic, kind="stable")
    sizes = np.bincount(docs.topic, minlength=profile.n_topics)
    lengths = sizes[queries.topic]
    query_rows = np.repeat(np.arange(len(lengths)), lengths)
    starts = (np.cumsum(sizes) - sizes)[queries.topic] - (np.cumsum(lengths) - lengths)
    doc_rows = by_topic[np.repeat(starts, lengths) + np.arange(len(query_rows))]
    grades = grades_of(profile, queries, docs, query_rows, doc_rows)
    above = grades > 0
    return Relevant(query_rows[above], doc_rows[above], grades[above])


def grades_of(profile: Profile, queries: Latent, docs: Latent, query_rows: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
    """Return the grades of pairs, int8: the table's where topics agree, else 0."""
    relation = relation_of(queries.facet[query_rows], docs.facet[doc_rows], profile.facets_per_group)
    return GRADES[relation, docs.aboutness[doc_rows]] * (queries.topic[query_rows] == docs.topic[doc_rows])


def relation_of(facet: np.ndarray, other: np.ndarray, facets_per_group: int) -> np.ndarray:
    """Return 0 where facets are the same, 1 where their groups are, else 2."""
    return np.where(facet == other, 0, np.where(facet // facets_per_group == other // facets_per_group, 1, 2))

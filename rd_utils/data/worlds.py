"""What worlds of the embedded collection there are, and how large it is: parameters alone.

A *profile* says sizes and percentages, a *world* what differs in it: each has one property turned up. Nothing is imported here but what
a study needs to know of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

SPLITS = ("train", "validation", "test")


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
        topic_shift: What is added to a topic's rank: the larger, the more alike are topics in how often they occur.
        name_shift: The same for names.
        mentions: Percentages of background tokens that are: any topic's form, any facet's form, any domain's word, any
            entity, a name, a background word; and, where queries have words of their own, any of these.
        resized: Whether the number of documents is another than a named profile's, or could be: then the oracle goes by the topics that
            words point to (:mod:`rd_utils.data.topic_oracle`).
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
    topic_shift: int = 20
    name_shift: int = 50
    resized: bool = False

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


def lesser_of_two(shortest: int, longest: int) -> tuple[int, ...]:
    """Return the integer weights of the lengths 0 .. longest when a length is the lesser of two even draws, as a document's is.

    >>> lesser_of_two(2, 4)
    (0, 0, 5, 3, 1)
    """
    return (0,) * shortest + tuple(2 * (longest - n) + 1 for n in range(shortest, longest + 1))


@dataclass(frozen=True)
class World:
    """What differs in one world.

    Attributes:
        specific: Per cent of facet tokens that come from words of the (domain, facet) pair.
        passages: Parts of about one length into which a document falls. One of them, at any place, is drawn from the document's topic and
            facet; each other from a topic and facet of its own, with the roles of a document that mentions them in passing.
        copies: Per cent of documents that copy another one, which is no copy itself: its states, its length, and most of its words.
        redrawn: Per cent of a copy's tokens that are drawn anew from these states.
        translated: Per cent of words, names and entities aside, for which queries have another word; each word has its own.
        topical: Whether every document has a word that was drawn from its topic.
        sentences: Whether queries are written in sentences, as documents are.
        labels: Labelled documents of a train query, if it has so many relevant ones.
        label_weights: How much more often a document is drawn for a label, by its grade.
        knows_source: Whether the oracle takes into account that a query's topic and facet are those of one of the documents. The first two
            worlds are older than that, and their oracle rather low in the middle: it takes the two texts' states for independent.
        changes: Fields of a profile that differ in this world, by the profile's name.
    """

    specific: int = 0
    passages: int = 1
    copies: int = 0
    redrawn: int = 0
    translated: int = 0
    topical: bool = False
    sentences: bool = False
    labels: int = 1
    label_weights: tuple[int, int, int, int] = (0, 0, 1, 4)
    knows_source: bool = True
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def _both(**changes: object) -> dict[str, dict[str, object]]:
    """Return changes that are the same in every profile."""
    return dict.fromkeys(PROFILES, changes)


WORLDS: dict[str, World] = {
    "additive": World(knows_source=False),
    "compositional": World(specific=70, knows_source=False),
    "long_documents": World(
        passages=5,
        changes={"default": {"document_length": (150, 300)}, "smallest": {"document_length": (75, 150)}},
    ),
    "graded": World(
        labels=5,
        label_weights=(0, 1, 2, 4),
        changes={"default": {"n_domains": 8, "topics_per_domain": 3}, "smallest": {"n_domains": 3, "topics_per_domain": 2}},
    ),
    "near_duplicates": World(copies=40, redrawn=15),
    "two_vocabularies": World(translated=60, changes=_both(mentions=(12, 1, 3, 6, 12, 58, 8))),
    "by_example": World(
        sentences=True,
        changes={
            name: {
                "query_roles": profile.document_roles[0],
                "query_lengths": lesser_of_two(*profile.document_length),
                "lay_queries": profile.lay_documents,
            }
            for name, profile in PROFILES.items()
        },
    ),
    "short_answers": World(
        topical=True,
        changes=_both(
            document_length=(3, 8),
            document_roles=((450, 220, 60, 100, 170), (350, 180, 100, 50, 320), (250, 130, 120, 10, 490)),
        ),
    ),
}

if TYPE_CHECKING:
    WorldName = str
else:
    WorldName = Literal[*WORLDS]


def profile_of(name: str, world: str, documents: int | None = None, training_queries: int | None = None) -> Profile:
    """Return a profile as a world has it, with so many documents and training queries if they are given.

    >>> profile_of("default", "additive").document_length, profile_of("default", "short_answers").document_length
    ((20, 60), (3, 8))
    """
    profile = dataclasses.replace(PROFILES[name], **WORLDS[world].changes.get(name, {}))
    if training_queries is not None:
        profile = dataclasses.replace(profile, n_queries=(training_queries, *profile.n_queries[1:]))
    return profile if documents is None else with_documents(profile, documents)


def with_documents(profile: Profile, documents: int) -> Profile:
    """Return a profile of so many documents, about more or fewer domains in proportion, two at least, and with more or fewer names.

    What a topic's or a name's share is beside the others' stays, so a query has about as many relevant documents as before.

    >>> larger = with_documents(PROFILES["default"], 64_000)
    >>> larger.n_domains, larger.n_topics, larger.n_names, larger.topic_shift
    (256, 2048, 9600, 160)
    """
    domains = max(2, (2 * profile.n_domains * documents + profile.n_docs) // (2 * profile.n_docs))

    def in_proportion(number: int) -> int:
        return max(1, number * domains // profile.n_domains)

    return dataclasses.replace(
        profile,
        n_docs=documents,
        n_domains=domains,
        n_names=in_proportion(profile.n_names),
        topic_shift=in_proportion(profile.topic_shift),
        name_shift=in_proportion(profile.name_shift),
        resized=True,
    )


def any_size(world: str) -> bool:
    """Tell whether the oracle of a world knows any number of documents; where they have passages of several topics, it does not.

    >>> [world for world in WORLDS if not any_size(world)]
    ['long_documents']
    """
    return WORLDS[world].passages == 1

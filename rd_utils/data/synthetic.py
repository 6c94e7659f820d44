"""The embedded collection: a synthetic test collection whose exact relevance posterior is known.

Every document has a latent *topic* (grouped into domains), *facet* (grouped into facet groups), *register* (lay or
technical) and *aboutness* (0: about its topic, 2: mentions it in passing); every query has a topic, a facet and a
register. The grade of a pair follows from these states alone. Texts are drawn word by word from a mixture that the
states set, so Bayes' rule gives E[grade | both texts] exactly: an *oracle* teacher whose scores are calibrated by
construction, and against which every trained teacher can be held.

There are several worlds (:mod:`rd_utils.data.worlds`), each with one property turned up, and each with its exact posterior:

- ``additive``: a facet is said with the same words in all domains.
- ``compositional``: 70 % of a facet's tokens come from words of its own in each domain.
- ``long_documents``: one of five passages, at an unknown place, is about the document's topic; the others mention other topics.
- ``graded``: a query has over a hundred relevant documents of three grades, and five labelled ones.
- ``near_duplicates``: two in five documents are near copies of another one.
- ``two_vocabularies``: queries have words of their own for three words in five, names and entities aside.
- ``by_example``: a query is a text like that of a document about its topic.
- ``short_answers``: a document has three to eight words.

Up to the texts there are integers only (:mod:`rd_utils.data.latent`); floats enter with the oracle (:mod:`rd_utils.data.oracle`).
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from rd_utils.data.latent import (
    Latent,
    Relevant,
    Streams,
    Tokens,
    Vocabulary,
    draw_documents,
    draw_queries,
    grades_of,
    relevant,
    true_grades,
    vocabulary_of,
    written,
)
from rd_utils.data.oracle import Oracle
from rd_utils.data.topic_oracle import TopicOracle
from rd_utils.data.worlds import PROFILES, SPLITS, WORLDS, Profile, World, profile_of

FLOOR = 1e-30


@dataclass(frozen=True, eq=False)
class EmbeddedCollection:
    """A synthetic collection with its latent states and its oracle.

    Attributes:
        profile: Its sizes and percentages.
        world: Its world's name.
        seed: Its seed.
        queries: By split: ``query_id, text``.
        qrels: By split: ``query_id, doc_id, relevance``. train: one labelled document per query, of true grade 2 or 3 (in a world with
            more labels, several of any grade); validation and test: all documents of grade 1 and more.
        latent: Latent states of ``docs`` and of the queries of each split.
    """

    profile: Profile
    world: str
    seed: int
    queries: dict[str, pd.DataFrame]
    qrels: dict[str, pd.DataFrame]
    latent: dict[str, Latent]
    _vocabulary: Vocabulary = field(repr=False)
    _tokens: dict[str, Tokens] = field(repr=False)

    def grades(self, split: str) -> np.ndarray:
        """Return the true grade of every pair, also where no label says so.

        Args:
            split: One of the splits that were generated.

        Returns:
            int8 array (n_queries, n_docs) with values 0 to 3.
        """
        return true_grades(self.profile, self.latent[self._known(split)], self.latent["docs"])

    def grades_of(self, split: str, query_rows: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
        """Return the true grades of pairs, also where no label says so.

        Args:
            split: One of the splits that were generated.
            query_rows: Row numbers in ``queries[split]``.
            doc_rows: Row numbers in ``docs``, of a shape that fits theirs.

        Returns:
            int8 array of that shape with values 0 to 3.
        """
        return grades_of(self.profile, self.latent[self._known(split)], self.latent["docs"], query_rows, doc_rows)

    @cached_property
    def docs(self) -> pd.DataFrame:
        """The documents: ``doc_id, text``, written at first use."""
        texts = written(self._tokens["docs"], self._vocabulary.words, Streams(self.seed), "docs")
        return pd.DataFrame({"doc_id": _ids("d", self.profile.n_docs), "text": texts})

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
    def oracle(self) -> Oracle | TopicOracle:
        """The exact posterior of this collection's texts, prepared once."""
        return TopicOracle(self) if self.profile.resized else Oracle(self)

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
        n_queries, n_docs = len(self.queries[self._known(split)]), self.profile.n_docs
        scores = np.empty((n_queries, n_docs))
        if isinstance(self.oracle, TopicOracle):
            for start in range(0, n_docs, self.oracle.block):
                docs = np.arange(start, min(start + self.oracle.block, n_docs))
                pairs = np.repeat(np.arange(n_queries), len(docs)), np.tile(docs, n_queries)
                scores[:, docs] = self.oracle_scores(split, *pairs).reshape(n_queries, len(docs))
            return scores
        for row in range(n_queries):
            scores[row] = self.oracle_scores(split, np.full(n_docs, row), np.arange(n_docs))
        return scores

    def _known(self, split: str) -> str:
        if split not in self.queries:
            raise KeyError(_unknown("split", split, self.queries))
        return split


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
        profile: A name in ``PROFILES``, which the world may change, or a profile that is taken as it stands.
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
    profile = _checked(profile, world, seed, splits)
    streams, known = Streams(seed), WORLDS[world]
    vocabulary = vocabulary_of(profile, known, streams)
    about, doc_tokens = draw_documents(profile, known, vocabulary, streams)
    latent, tokens = {"docs": about}, {"docs": doc_tokens}
    taken: set[bytes] = set()
    for split in reversed(SPLITS):  # test first: nothing that train does reaches it
        n = profile.n_queries[SPLITS.index(split)]
        latent[split], tokens[split] = draw_queries(profile, known, vocabulary, streams, split, n, about, taken)
    doc_ids = _ids("d", profile.n_docs)
    queries, qrels = {}, {}
    for split in (split for split in SPLITS if split in splits):
        texts = written(tokens[split], vocabulary.words, streams, split) if known.sentences else _plain(tokens[split], vocabulary.words)
        queries[split] = pd.DataFrame({"query_id": _ids(f"{split}-", len(texts)), "text": texts})
        pairs = relevant(profile, latent[split], about)
        labelled = _labels(pairs, len(texts), known, streams) if split == "train" else pairs
        query_ids = queries[split]["query_id"].to_numpy()[labelled.query_rows]
        relevance = labelled.grades.astype(np.int64)
        qrels[split] = pd.DataFrame({"query_id": query_ids, "doc_id": doc_ids[labelled.doc_rows], "relevance": relevance})
    latent, tokens = {name: latent[name] for name in ("docs", *queries)}, {name: tokens[name] for name in ("docs", *queries)}
    return EmbeddedCollection(profile, world, seed, queries, qrels, latent, vocabulary, tokens)


def _checked(profile: str | Profile, world: str, seed: int, splits: Sequence[str]) -> Profile:
    """Return the profile; refuse what there is not."""
    if isinstance(profile, str) and profile not in PROFILES:
        raise KeyError(_unknown("profile", profile, PROFILES))
    if world not in WORLDS:
        raise KeyError(_unknown("world", world, WORLDS))
    for split in splits:
        if split not in SPLITS:
            raise KeyError(_unknown("split", split, SPLITS))
    if seed < 0:
        raise ValueError(f"The seed is {seed}: expected an integer >= 0.")
    return profile_of(profile, world) if isinstance(profile, str) else profile


def _ids(prefix: str, n: int) -> np.ndarray:
    """Return n ids of five digits or, where these are too few, all of more, so that their order is that of numbers."""
    digits = max(5, len(str(n - 1)))
    return np.array([f"{prefix}{i:0{digits}d}" for i in range(n)])


def _plain(tokens: Tokens, words: list[str]) -> list[str]:
    ids, offsets = tokens.ids.tolist(), tokens.offsets.tolist()
    return [" ".join(words[i] for i in ids[a:b]) for a, b in zip(offsets[:-1], offsets[1:], strict=True)]


def _labels(pairs: Relevant, n_queries: int, world: World, streams: Streams) -> Relevant:
    """Draw a query's labelled documents, no document twice, by the weights of their grades."""
    weights = np.array(world.label_weights, dtype=np.int64)[pairs.grades]
    ends = np.cumsum(np.bincount(pairs.query_rows, minlength=n_queries))
    drawn = []
    for label in range(world.labels):
        cumulative = np.concatenate([[0], np.cumsum(weights)])
        before = cumulative[np.concatenate([[0], ends[:-1]])]
        total = cumulative[ends] - before
        aim = streams.below(f"train/label-{label}" if label else "train/label", 2**62, n_queries) % np.maximum(total, 1)
        rows = np.searchsorted(cumulative[1:], (before + aim)[total > 0], side="right")
        weights[rows] = 0
        drawn.append(rows)
    rows = np.sort(np.concatenate(drawn))
    return Relevant(*(column[rows] for column in pairs))


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

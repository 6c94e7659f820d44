"""The worlds of the embedded collection: each has the one property that its name says, in both profiles."""

from __future__ import annotations

import functools

import ir_measures
import numpy as np
import pandas as pd
import pytest

from rd_utils.data import latent, leakage
from rd_utils.data.latent import GRADES, Tokens, passage_offsets
from rd_utils.data.synthetic import EmbeddedCollection, fingerprint, generate
from rd_utils.data.worlds import PROFILES, WORLDS, profile_of
from rd_utils.study import params

generated = functools.cache(generate)


def default(world: str) -> EmbeddedCollection:
    return generated("default", world, 13, ("test",))


def mean_words(collection: EmbeddedCollection, of: str) -> float:
    return np.diff(collection._tokens[of].offsets).mean()


def own_words(collection: EmbeddedCollection) -> np.ndarray:
    """Return for every token of the documents whether it is a form of its document's topic."""
    tokens, n_words = collection._tokens["docs"], len(collection._vocabulary.words)
    forms = np.zeros((collection.profile.n_topics, n_words), dtype=bool)
    forms[np.arange(len(forms))[:, None], collection._vocabulary.topic.reshape(len(forms), -1)] = True
    return forms[np.repeat(collection.latent["docs"].topic, np.diff(tokens.offsets)), tokens.ids]


# --- all ------------------------------------------------------------------------------------------------------------------------------


def test_a_study_knows_the_worlds_by_name() -> None:
    for world in WORLDS:
        assert params.EmbeddedCollection(world=world).label == f"embedded-smallest-{world}-13/train"
    with pytest.raises(ValueError, match="near_duplicates.*short_answers"):
        params.EmbeddedCollection(world="near_duplicate")


@pytest.mark.parametrize("world", WORLDS)
def test_a_world_changes_what_it_says_of_a_profile(world: str) -> None:
    for name, profile in PROFILES.items():
        changed, changes = profile_of(name, world), WORLDS[world].changes.get(name, {})
        assert {field for field, value in vars(changed).items() if value != getattr(profile, field)} == set(changes)
        assert all(sum(roles) == 1000 for roles in (*changed.document_roles,)) and sum(changed.mentions) == 100
        assert len(changed.mentions) == (7 if WORLDS[world].translated else 6)
    assert PROFILES["default"].n_docs == profile_of("default", world).n_docs == 8000


@pytest.mark.parametrize(
    ("world", "bytes_of"),
    {
        "long_documents": "818cd878b319cc670cb13091d4fb698398802ea35ab4548cc1e3e10ac1d79f2c",
        "near_duplicates": "66f79b7cb4378df8e1bbfc359cda9cf8975833fb293e0427ee44afe6bfebd3c9",
    }.items(),
)
def test_fingerprint_of_the_default_profile_is_the_literal_one(world: str, bytes_of: str) -> None:
    assert fingerprint(generated("default", world)) == bytes_of


def test_level_of_the_oracle_in_the_default_profile() -> None:
    """In the world of many relevant documents."""
    collection = default("graded")
    scores = collection.oracle_matrix("test")
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    ids = collection.queries["test"]["query_id"].to_numpy(), collection.docs["doc_id"].to_numpy()[rows.ravel()]
    run = pd.DataFrame({"query_id": np.repeat(ids[0], 10), "doc_id": ids[1], "score": np.tile(-np.arange(10.0), len(rows))})
    measure = ir_measures.nDCG @ 10
    assert ir_measures.calc_aggregate([measure], collection.qrels["test"], run)[measure] == pytest.approx(0.904, abs=0.0011)


def test_worlds_that_differ_in_their_texts_alone_have_the_same_grades() -> None:
    alike = ("additive", "compositional", "long_documents", "two_vocabularies", "short_answers")
    first, *others = (generated("smallest", world).latent["docs"] for world in alike)
    for other in others:
        for name in ("topic", "facet", "register", "aboutness"):
            np.testing.assert_array_equal(getattr(first, name), getattr(other, name))


def test_queries_of_splits_differ_so_nothing_leaks() -> None:
    """Documents of one text would be no leak: only queries are held apart."""
    for world in WORLDS:
        train = params.EmbeddedCollection(world=world)
        collection = generated("smallest", world)
        for split in ("validation", "test"):
            leakage.refuse_shared(train, params.EmbeddedCollection(world=world, split=split), lambda _: None)
            shared = leakage.shared_queries(
                (collection.queries["train"], collection.qrels["train"]),
                (collection.queries[split], collection.qrels[split]),
                one_source=True,
            )
            assert shared.empty


# --- each -----------------------------------------------------------------------------------------------------------------------------


def test_long_documents_have_one_passage_on_their_topic_anywhere() -> None:
    collection = default("long_documents")
    passages, tokens, states = WORLDS["long_documents"].passages, collection._tokens["docs"], collection.latent["docs"]
    assert 190 < mean_words(collection, "docs") < 210
    assert states.place is not None
    assert (np.abs(np.bincount(states.place, minlength=passages) / 8000 - 1 / passages) < 0.02).all()
    offsets = passage_offsets(tokens.offsets, passages)
    sizes = np.diff(offsets).reshape(-1, passages)
    assert (sizes.max(axis=1) - sizes.min(axis=1) <= 1).all() and (sizes.sum(axis=1) == np.diff(tokens.offsets)).all()
    shares = np.add.reduceat(own_words(collection), offsets[:-1]).reshape(-1, passages) / sizes
    there = np.arange(passages) == states.place[:, None]
    assert shares[there].mean() > 0.18 and shares[~there].mean() < 0.02


def test_where_the_passage_stands_is_nothing_to_the_oracle() -> None:
    collection = generated("smallest", "long_documents")
    passages, tokens = WORLDS["long_documents"].passages, collection._tokens["docs"]
    even = np.flatnonzero(np.diff(tokens.offsets) % passages == 0)[:50]
    ids = tokens.ids.copy()
    for doc in even:
        start, end = tokens.offsets[doc : doc + 2]
        ids[start:end] = ids[start:end].reshape(passages, -1)[::-1].ravel()
    before = collection.oracle.documents
    after = type(collection)(**{**vars(generate("smallest", "long_documents")), "_tokens": {"docs": Tokens(ids, tokens.offsets)}})
    np.testing.assert_allclose(after.oracle.documents[even], before[even], rtol=1e-4, atol=1e-12)


def test_graded_queries_have_a_hundred_relevant_documents_of_three_grades_and_several_labels() -> None:
    grades = default("graded").grades("test")
    assert [(grades == grade).sum(axis=1).mean() > least for grade, least in ((1, 100), (2, 30), (3, 8))] == [True] * 3
    labels = generated("smallest", "graded").qrels["train"]
    assert (labels.groupby("query_id").size() == 5).all() and labels["relevance"].value_counts(normalize=True).min() > 0.15


def test_near_duplicates_share_their_states_and_most_words() -> None:
    collection = default("near_duplicates")
    states, tokens = collection.latent["docs"], collection._tokens["docs"]
    assert states.copy_of is not None
    copies = np.flatnonzero(states.copy_of >= 0)
    originals = states.copy_of[copies]
    assert abs(len(copies) / 8000 - 0.4) < 0.02 and (states.copy_of[originals] == -1).all()
    for name in ("topic", "facet", "register", "aboutness"):
        values = getattr(states, name)
        np.testing.assert_array_equal(values[copies], values[originals])
    kept = [
        tokens.ids[slice(*tokens.offsets[a : a + 2])] == tokens.ids[slice(*tokens.offsets[b : b + 2])]
        for a, b in zip(copies, originals, strict=True)
    ]
    assert 0.84 < np.concatenate(kept).mean() < 0.88  # 85 %, and a few words that are drawn again
    assert collection.docs["text"].is_unique


def test_a_near_copy_by_itself_is_drawn_as_any_document() -> None:
    """So its posterior is; the share of words of its topic, which the posterior goes by, is that of originals."""
    collection = default("near_duplicates")
    states, offsets = collection.latent["docs"], collection._tokens["docs"].offsets
    shares = np.add.reduceat(own_words(collection), offsets[:-1]) / np.diff(offsets)
    assert states.copy_of is not None
    for aboutness in range(3):
        of = states.aboutness == aboutness
        assert abs(shares[of & (states.copy_of >= 0)].mean() - shares[of & (states.copy_of < 0)].mean()) < 0.01


def test_two_vocabularies_share_names_and_entities_and_some_words() -> None:
    collection, plain = default("two_vocabularies"), default("additive")
    v = collection._vocabulary
    np.testing.assert_array_equal(v.translation[v.translation], np.arange(len(v.words)))
    assert (v.translation[v.name] == v.name).all() and (v.translation[v.entity] == v.entity).all()
    old = len(plain._vocabulary.words)
    others = np.setdiff1d(np.arange(old), np.concatenate([v.name, v.entity.ravel()]))
    assert abs((v.translation[others] >= old).mean() - 0.6) < 0.02
    assert len(v.foreign) == (v.translation[:old] >= old).sum() == len(v.words) - old
    # Word by word the queries are those of the additive world, but for a mention of a word of the other language.
    ours, theirs = collection._tokens["test"], plain._tokens["test"]
    np.testing.assert_array_equal(ours.offsets, theirs.offsets)
    assert (v.translation[ours.ids] == theirs.ids).mean() > 0.95 and (ours.ids == theirs.ids).mean() < 0.6


def test_documents_mention_the_queries_words_so_that_lexicons_have_them() -> None:
    collection = generated("smallest", "two_vocabularies")
    known = np.isin(collection._tokens["test"].ids, collection._tokens["docs"].ids)
    assert known.mean() > 0.9


def test_a_query_by_example_is_like_a_document() -> None:
    collection = default("by_example")
    assert abs(mean_words(collection, "test") - mean_words(collection, "docs")) < 1.5
    assert (collection.latent["test"].register == 0).mean() == pytest.approx((collection.latent["docs"].register == 0).mean(), abs=0.08)
    assert collection.queries["test"]["text"].str.endswith(".").all()
    assert not collection.queries["test"]["text"].isin(collection.docs["text"]).any()


def test_short_answers_have_few_words_one_of_them_of_their_topic() -> None:
    collection = default("short_answers")
    lengths = np.diff(collection._tokens["docs"].offsets)
    assert (lengths.min(), lengths.max()) == (3, 8) and 4 < lengths.mean() < 5
    assert np.add.reduceat(own_words(collection), collection._tokens["docs"].offsets[:-1]).min() >= 1


def test_grades_have_one_table_in_every_world() -> None:
    for world in WORLDS:
        collection = generated("smallest", world)
        queries, docs = collection.latent["test"], collection.latent["docs"]
        relation = latent.relation_of(queries.facet[:, None], docs.facet[None, :], collection.profile.facets_per_group)
        wanted = GRADES[relation, docs.aboutness] * (queries.topic[:, None] == docs.topic)
        np.testing.assert_array_equal(collection.grades("test"), wanted)

"""The embedded collection in any size: nothing else moves, a query's relevant documents stay as many, and the oracle stays exact."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from rd_utils.cost.workload import Counter, Known
from rd_utils.data import collections, latent, leakage
from rd_utils.data.latent import SHORT_WORDS, Streams, Tokens
from rd_utils.data.oracle import Oracle
from rd_utils.data.synthetic import EmbeddedCollection, _ids, fingerprint, generate
from rd_utils.data.topic_oracle import TopicOracle
from rd_utils.data.worlds import WORLDS, any_size, profile_of
from rd_utils.store import Store
from rd_utils.study import graph, params
from rd_utils.study.explain import ParameterError
from tests.unit.data.test_synthetic import FINGERPRINTS

SERVED = [world for world in WORLDS if any_size(world)]


@pytest.fixture(scope="module", params=SERVED)
def collection(request: pytest.FixtureRequest) -> EmbeddedCollection:
    return generate(profile_of("smallest", request.param, 2400, 500), request.param)


# --- the collection -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", WORLDS)
def test_as_many_documents_as_the_profile_has_are_its_own(world: str) -> None:
    profile = profile_of("smallest", world, 1200, 300)
    assert profile.resized and fingerprint(generate(profile, world)) == FINGERPRINTS[world]


@pytest.mark.parametrize("world", ["long_documents", "near_duplicates", "short_answers"])
def test_blocks_of_documents_change_no_byte(world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent, "BLOCK", 97)
    assert fingerprint(generate("smallest", world)) == FINGERPRINTS[world]


@pytest.mark.parametrize("world", ["additive", "graded"])
def test_more_documents_are_about_more_topics_and_a_query_has_as_many_relevant_ones(world: str) -> None:
    def numbers(documents: int) -> tuple[float, int]:
        profile = profile_of("smallest", world, documents)
        found = [generate(profile, world, seed, ("validation", "test")) for seed in range(3)]
        return float(np.mean([len(each.qrels["test"]) / 60 for each in found])), len(found[0]._vocabulary.words)

    small, large = numbers(1200), numbers(9600)
    assert large[0] == pytest.approx(small[0], rel=0.15) and large[1] > 3.5 * small[1]


def test_fewer_documents_are_of_two_domains_at_least() -> None:
    profile = profile_of("default", "additive", 100, 5)
    assert (profile.n_domains, profile.n_topics, profile.n_names, profile.topic_shift, profile.n_queries) == (2, 16, 75, 1, (5, 150, 300))
    found = generate(profile, splits=("train",))
    assert len(found.docs) == 100 and len(found.queries["train"]) == 5


def test_training_queries_extend_the_profiles_and_change_no_other(collection: EmbeddedCollection) -> None:
    fewer = generate(profile_of("smallest", collection.world, 2400, 60), collection.world)
    pd.testing.assert_frame_equal(fewer.queries["train"], collection.queries["train"].head(60))
    pd.testing.assert_frame_equal(fewer.qrels["train"], collection.qrels["train"].head(len(fewer.qrels["train"])))
    pd.testing.assert_frame_equal(fewer.qrels["test"], collection.qrels["test"])
    pd.testing.assert_frame_equal(fewer.docs, collection.docs)


def test_words_get_longer_where_there_are_many_and_the_first_ones_stay() -> None:
    words = latent._pseudo_words(Streams(13), SHORT_WORDS + 20_000)
    assert words[:SHORT_WORDS] == latent._pseudo_words(Streams(13), SHORT_WORDS) and len(set(words)) == len(words)
    assert words[:15_000] == latent._pseudo_words(Streams(13), 15_000)
    longer = words[SHORT_WORDS:]
    assert all(re.fullmatch(r"([bdfklmnprstvz][aeiou]){3}[bdfklmnprstvz][aou]", word) for word in longer)
    assert pytest.importorskip("Stemmer").Stemmer("english").stemWords(longer) == longer


def test_ids_are_as_wide_as_the_last_one_so_that_their_order_is_that_of_numbers() -> None:
    assert _ids("d", 3).tolist() == ["d00000", "d00001", "d00002"] and _ids("d", 100_000)[-1] == "d99999"
    ids = _ids("d", 100_001)
    assert ids[-1] == "d100000" and (np.sort(ids) == ids).all()


def test_grades_of_pairs_are_those_of_all_pairs(collection: EmbeddedCollection) -> None:
    queries, docs = np.arange(60)[:, None], np.arange(0, 2400, 7)[None]
    grades = collection.grades_of("test", queries, docs)
    assert grades.dtype == np.int8
    np.testing.assert_array_equal(grades, collection.grades("test")[queries, docs])


# --- the oracle -----------------------------------------------------------------------------------------------------------------------


def test_the_oracle_by_topics_is_that_of_all_states(collection: EmbeddedCollection) -> None:
    dense, by_topic = Oracle(collection), collection.oracle
    assert isinstance(by_topic, TopicOracle)
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        grades = collection.grades(split)
        relevant = np.nonzero(grades)
        n_queries, n_docs = grades.shape
        queries = np.concatenate([relevant[0], rng.integers(0, n_queries, 20_000)])
        docs = np.concatenate([relevant[1], rng.integers(0, n_docs, 20_000)])
        theirs, ours = dense.expected_grades(split, queries, docs), by_topic.expected_grades(split, queries, docs)
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-33)  # theirs are float32
        assert (theirs > 1).sum() > 500 and ours.max() <= 3
        np.testing.assert_allclose(by_topic.query_posterior(split).sum(axis=1), 1)
        gap = abs(by_topic.query_posterior(split) - dense.query_posterior(split))
        assert gap.max() < 1e-12


def test_a_pairs_score_depends_neither_on_the_other_pairs_nor_on_blocks(
    collection: EmbeddedCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = collection.oracle_matrix("test")
    rng = np.random.default_rng(0)
    queries, docs = rng.integers(0, 60, 300), rng.integers(0, 2400, 300)
    np.testing.assert_array_equal(collection.oracle_scores("test", queries, docs), matrix[queries, docs])
    np.testing.assert_array_equal(collection.oracle_scores("test", queries[:3], docs[:3]), matrix[queries[:3], docs[:3]])
    monkeypatch.setattr("rd_utils.data.topic_oracle.PAIRS", 11)
    small = TopicOracle(collection, block=7)
    np.testing.assert_array_equal(np.log(np.maximum(small.expected_grades("test", queries, docs), 1e-30)), matrix[queries, docs])
    assert len(collection.oracle_scores("test", np.array([], dtype=int), np.array([], dtype=int))) == 0
    with pytest.raises(ValueError, match="1 doc rows do not exist, the first is 2400: expected 0 to 2399"):
        collection.oracle_scores("test", np.array([0]), np.array([2400]))


def test_a_document_whose_words_point_nowhere_is_as_likely_about_any_topic() -> None:
    made = generate(profile_of("smallest", "additive", 1200))
    names = Tokens(np.repeat(made._vocabulary.name[:6], 4), np.arange(0, 25, 2))
    of_names = EmbeddedCollection(**{**{k: v for k, v in vars(made).items() if k != "oracle"}, "_tokens": {**made._tokens, "docs": names}})
    grades = of_names.oracle.expected_grades("test", np.arange(60), np.zeros(60, dtype=int))
    # Of a document of which nothing is known but two words of the background, the topic has its prior.
    posterior = made.oracle.query_posterior("test").toarray().reshape(60, made.profile.n_topics, -1).sum(axis=2)
    likeliest = posterior @ (made._vocabulary.topic_prior / made._vocabulary.topic_prior.sum())
    assert (grades < 2 * likeliest).all() and (grades > 0.2 * likeliest).all()


def test_the_world_that_has_no_oracle_in_any_size_says_so() -> None:
    resized = params.EmbeddedCollection(world="long_documents", documents=300)
    groups = params.GroupsSpec(collection=resized, strategy=params.CorpusRandom())
    with pytest.raises(ParameterError, match="the oracle of the world 'long_documents' knows its profiles' numbers of documents only"):
        params.parse(params.ScoresSpec, {"groups": groups, "teacher": {"kind": "oracle"}}, "")
    found = generate(profile_of("smallest", "long_documents", 300), "long_documents", splits=("test",))
    with pytest.raises(ValueError, match="The world 'long_documents' has no oracle by topics"):
        _ = found.oracle
    params.Oracle().check(params.EmbeddedCollection(world="long_documents", training_queries=10))


# --- its parameters -------------------------------------------------------------------------------------------------------------------


def test_sizes_are_part_of_label_and_identity_where_they_are_said() -> None:
    plain, sized = params.EmbeddedCollection(), params.EmbeddedCollection(documents=2400, training_queries=500)
    assert not {"documents", "training_queries"} & plain.model_dump().keys()
    assert plain.label == "embedded-smallest-additive-13/train"
    assert sized.label == "embedded-smallest-additive-13-2400-documents-500-queries/train"
    assert params.EmbeddedCollection(training_queries=9, split="test").label == "embedded-smallest-additive-13-9-queries/test"
    others = params.EmbeddedCollection(documents=2400, split="test")
    assert graph.docs_of(sized) == graph.docs_of(others) != graph.docs_of(plain)
    for documents in (99, 2_000_001):
        with pytest.raises(ValueError, match="documents"):
            params.EmbeddedCollection(documents=documents)


def test_queries_of_several_sizes_are_held_apart_as_before() -> None:
    train = params.EmbeddedCollection(documents=2400, training_queries=500)
    assert not leakage.ids_overlap(train, train.model_copy(update={"split": "test"}))
    assert leakage.ids_overlap(train, train.model_copy(update={"training_queries": 50}))
    assert not leakage.ids_overlap(train, train.model_copy(update={"documents": 4800}))


def test_it_is_read_in_its_size_and_planned_without_being_read(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    sized = params.EmbeddedCollection(documents=150, training_queries=20)
    queries, qrels = collections.read_queries(sized)
    assert len(collections.read_docs(sized)) == 150 and len(queries) == 20 and set(qrels["query_id"]) <= set(queries["query_id"])
    monkeypatch.setattr(collections, "generated", lambda collection: pytest.fail("it was generated"))
    known = Counter(Known(Store(tmp_path))).known
    large = params.EmbeddedCollection(profile="default", documents=512_000, training_queries=32_000)
    assert known.sizes(large) == (512_000, 32_000, 32_000)
    assert known.sizes(large.model_copy(update={"split": "test"})) == (512_000, 300, 300)
    assert known.lexicon_words(params.StaticBi(), large) == 64 * known.lexicon_words(
        params.StaticBi(), params.EmbeddedCollection(profile="default")
    )

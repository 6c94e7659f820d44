"""The embedded collection: same bytes everywhere, exact oracle, levels that leave something to learn."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import bm25s
import ir_measures
import numpy as np
import pandas as pd
import pytest

from rd_utils.data import latent, synthetic
from rd_utils.data.latent import FUNCTION_WORDS
from rd_utils.data.oracle import Oracle
from rd_utils.data.synthetic import fingerprint, generate
from rd_utils.data.worlds import WORLDS, Profile, World, profile_of

FINGERPRINTS = {
    "additive": "fc47ce357d8ba3523abb523b08b4fe250732e1472717c16fc7feeb109f681e1c",
    "compositional": "bd722167eb2d6ccc60f16a6f9dbf6dfa4f32e85f6ef4319d530d1587db1d52f2",
    "long_documents": "28a50ed0b4b09cb3c292b588d0d7e9156fd501dc775838857d5f46429bd6c8ef",
    "graded": "c72a6aaf8ae3695da633ec94d6d413e410192a10462652bd28b39b2645272765",
    "near_duplicates": "ce29a2b83e62662db37fb47e0f321f2acf69a904819bb083f7f8a86ce868b55c",
    "two_vocabularies": "1e5981fb3d2f4a684a15a33e15fe80919f9181eeb08417ffe666482cb3deb8c7",
    "by_example": "1372d7e2857b44cbb6ded578c28fa150f95a71b05978acc109163d008d045902",
    "short_answers": "e5478d5952842589f4ed252be163fdb8cf7113bea7a06d69720ea0bae716528f",
}
LEVELS = {  # nDCG@10 of BM25, of the oracle re-ranking its top 100, of the oracle; share of false negatives among 20 documents
    "additive": (0.443, 0.794, 0.881, 0.252),
    "compositional": (0.484, 0.839, 0.920, 0.290),
    "long_documents": (0.211, 0.630, 0.808, 0.125),
    "graded": (0.456, 0.826, 0.874, 0.488),
    "near_duplicates": (0.417, 0.817, 0.909, 0.278),
    "two_vocabularies": (0.206, 0.609, 0.880, 0.161),
    "by_example": (0.523, 0.896, 0.944, 0.300),
    "short_answers": (0.255, 0.594, 0.766, 0.186),
}
TINY = Profile(
    n_docs=300,
    n_queries=(20, 5, 10),
    n_domains=2,
    topics_per_domain=2,
    n_facets=4,
    facets_per_group=2,
    n_background=30,
    n_names=10,
    domain_words=5,
    homonyms=50,
)


def tiny(world: str) -> Profile:
    """Return TINY as a world has it; documents stay short enough to multiply their words' probabilities."""
    changes = dict(WORLDS[world].changes.get("smallest", {}))
    return dataclasses.replace(TINY, **(changes if world != "long_documents" else {}))


@pytest.fixture(scope="module", params=list(WORLDS))
def collection(request: pytest.FixtureRequest) -> synthetic.EmbeddedCollection:
    return generate("smallest", request.param, 13)


@pytest.fixture(scope="module")
def bm25(collection: synthetic.EmbeddedCollection) -> np.ndarray:
    """BM25 scores (n_queries, n_docs) of the test queries."""
    documents = bm25s.tokenize(collection.docs["text"].tolist(), stopwords="en", show_progress=False)
    index = bm25s.BM25(method="lucene", k1=1.2, b=0.75, backend="numpy")
    index.index(documents, show_progress=False)
    return np.stack([index.get_scores(words_of(text)) for text in collection.queries["test"]["text"]])


def ndcg(collection: synthetic.EmbeddedCollection, scores: np.ndarray) -> float:
    queries, docs = collection.queries["test"]["query_id"], collection.docs["doc_id"]
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    run = pd.DataFrame(
        {
            "query_id": np.repeat(queries.to_numpy(), 10),
            "doc_id": docs.to_numpy()[rows.ravel()],
            "score": np.tile(-np.arange(10.0), len(rows)),
        }
    )
    measure = ir_measures.nDCG @ 10
    return ir_measures.calc_aggregate([measure], collection.qrels["test"], run)[measure]


def words_of(text: str) -> list[str]:
    return [word for word in re.findall(r"[a-z]+", text.lower()) if word not in FUNCTION_WORDS]


# --- determinism ------------------------------------------------------------------------------------------------------


def test_fingerprint_is_the_literal_one(collection: synthetic.EmbeddedCollection) -> None:
    assert fingerprint(collection) == FINGERPRINTS[collection.world]


def test_fingerprint_is_the_same_under_any_hash_seed() -> None:
    code = "from rd_utils.data.synthetic import fingerprint, generate; print(fingerprint(generate('smallest')))"
    root = Path(synthetic.__file__).resolve().parents[1]
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "4321")
    }
    assert found == {FINGERPRINTS["additive"]}


def test_fingerprint_sees_a_changed_label_and_a_changed_seed(collection: synthetic.EmbeddedCollection) -> None:
    train = collection.qrels["train"].copy()
    train.loc[0, "relevance"] = 5 - train.loc[0, "relevance"]
    changed = dataclasses.replace(collection, qrels={**collection.qrels, "train": train})
    assert fingerprint(changed) != fingerprint(collection)
    assert fingerprint(generate("smallest", collection.world, 14)) != fingerprint(collection)


def test_more_train_queries_change_no_other_text_and_extend_train(collection: synthetic.EmbeddedCollection) -> None:
    larger = dataclasses.replace(profile_of("smallest", collection.world), n_queries=(1300, 40, 60))
    other = generate(larger, collection.world, 13)
    pd.testing.assert_frame_equal(other.docs, collection.docs)
    for split in ("validation", "test"):
        pd.testing.assert_frame_equal(other.queries[split], collection.queries[split])
        pd.testing.assert_frame_equal(other.qrels[split], collection.qrels[split])
    pd.testing.assert_frame_equal(other.queries["train"].head(300), collection.queries["train"])
    pd.testing.assert_frame_equal(other.qrels["train"].head(len(collection.qrels["train"])), collection.qrels["train"])


def test_more_test_queries_extend_test() -> None:
    larger = generate(dataclasses.replace(profile_of("smallest", "additive"), n_queries=(300, 40, 700)), splits=("test",))
    pd.testing.assert_frame_equal(larger.queries["test"].head(60), generate("smallest").queries["test"])


def test_asking_for_one_split_gives_the_same_split(collection: synthetic.EmbeddedCollection) -> None:
    only = generate("smallest", collection.world, 13, splits=("train",))
    assert set(only.queries) == set(only.qrels) == {"train"}
    pd.testing.assert_frame_equal(only.queries["train"], collection.queries["train"])
    pd.testing.assert_frame_equal(only.qrels["train"], collection.qrels["train"])
    with pytest.raises(KeyError, match="Unknown split 'test': expected one of 'train'"):
        only.grades("test")


def test_worlds_share_their_documents_latent_states_but_not_their_texts() -> None:
    additive, compositional = generate("smallest"), generate("smallest", "compositional")
    for name in ("topic", "facet", "register", "aboutness"):
        np.testing.assert_array_equal(getattr(additive.latent["docs"], name), getattr(compositional.latent["docs"], name))
    assert (additive.docs["text"] != compositional.docs["text"]).mean() > 0.7


# --- texts ------------------------------------------------------------------------------------------------------------


def test_sizes_and_ids_are_the_profiles(collection: synthetic.EmbeddedCollection) -> None:
    assert collection.docs["doc_id"].tolist() == [f"d{i:05d}" for i in range(1200)]
    for split, n in (("train", 300), ("validation", 40), ("test", 60)):
        assert collection.queries[split]["query_id"].tolist() == [f"{split}-{i:05d}" for i in range(n)]
    assert list(collection.docs.columns) == ["doc_id", "text"]
    assert list(collection.queries["test"].columns) == ["query_id", "text"]
    assert list(collection.qrels["test"].columns) == ["query_id", "doc_id", "relevance"]


def test_words_are_pronounceable_and_unlike_function_words(collection: synthetic.EmbeddedCollection) -> None:
    words = {word for text in collection.docs["text"] for word in words_of(text)}
    assert len(words) > 600
    assert [word for word in words if not re.fullmatch(r"([bdfklmnprstvz][aeiou]){1,2}[bdfklmnprstvz][aou]", word)] == []


def test_english_stemming_changes_no_word(collection: synthetic.EmbeddedCollection) -> None:
    stemmer = pytest.importorskip("Stemmer").Stemmer("english")
    words = sorted({word for text in collection.docs["text"] for word in words_of(text)})
    assert stemmer.stemWords(words) == words


def test_documents_are_sentences_and_queries_are_plain_words(collection: synthetic.EmbeddedCollection) -> None:
    sentence = r"[A-Z][a-z]*(,? [a-z]+)*\."
    for text in collection.docs["text"]:
        assert re.fullmatch(f"{sentence}( {sentence})*", text), text
        assert not re.search(r"\b(" + "|".join(FUNCTION_WORDS) + r")\b[,.]", text), text
    query = f"{sentence}( {sentence})*" if WORLDS[collection.world].sentences else r"[a-z]+( [a-z]+){2,7}"
    for text in itertools.chain(*(queries["text"] for queries in collection.queries.values())):
        assert re.fullmatch(query, text), text
    lengths = [len(words_of(text)) for text in collection.docs["text"]]
    shortest, longest = collection.profile.document_length
    assert shortest <= min(lengths) < shortest + (longest - shortest) / 6
    assert longest - (longest - shortest) / 4 < max(lengths) <= longest


def test_no_text_is_there_twice(collection: synthetic.EmbeddedCollection) -> None:
    assert collection.docs["text"].is_unique
    bags = [tuple(sorted(words_of(text))) for queries in collection.queries.values() for text in queries["text"]]
    assert len(bags) == len(set(bags)) == 400


def test_counts_behind_the_oracle_are_those_of_the_texts(collection: synthetic.EmbeddedCollection) -> None:
    words = collection._vocabulary.words
    for name, texts in (("docs", collection.docs["text"]), ("test", collection.queries["test"]["text"])):
        counts = collection._tokens[name].counts(len(words))
        for i in (0, 7, len(texts) - 1):
            row = counts[[i]].tocoo()
            assert Counter(words_of(texts[i])) == {words[j]: n for j, n in zip(row.coords[1], row.data, strict=True)}


# --- grades and labels ------------------------------------------------------------------------------------------------


def test_grade_table_by_hand() -> None:
    queries = latent.Latent(*(np.array(a) for a in ([0], [1], [0], [0])))
    docs = latent.Latent(*(np.array(a) for a in ([0, 0, 0, 0, 0, 0, 1], [1, 1, 1, 0, 0, 3, 1], [0] * 7, [0, 1, 2, 0, 2, 0, 0])))
    # facets 0 and 1 are one group, 2 and 3 the other
    assert latent.true_grades(TINY, queries, docs).tolist() == [[3, 2, 1, 2, 0, 1, 0]]


def test_qrels_are_the_grades(collection: synthetic.EmbeddedCollection) -> None:
    for split in ("validation", "test"):
        qrels, grades = collection.qrels[split], collection.grades(split)
        rows = collection.queries[split].set_index("query_id").index.get_indexer(qrels["query_id"])
        columns = collection.docs.set_index("doc_id").index.get_indexer(qrels["doc_id"])
        assert rows.min() >= 0 and columns.min() >= 0
        rebuilt = np.zeros_like(grades)
        rebuilt[rows, columns] = qrels["relevance"]
        np.testing.assert_array_equal(rebuilt, grades)
        assert (grades == 3).any(axis=1).all()  # every query has a document of the highest grade


def test_train_labels_are_drawn_by_the_weights_of_grades(collection: synthetic.EmbeddedCollection) -> None:
    world, qrels, grades = WORLDS[collection.world], collection.qrels["train"], collection.grades("train")
    rows = collection.queries["train"].set_index("query_id").index.get_indexer(qrels["query_id"])
    columns = collection.docs.set_index("doc_id").index.get_indexer(qrels["doc_id"])
    np.testing.assert_array_equal(grades[rows, columns], qrels["relevance"])
    weights = np.array(world.label_weights)[grades]
    assert (np.bincount(rows, minlength=300) == np.minimum((weights > 0).sum(axis=1), world.labels)).all()
    assert not qrels.duplicated(["query_id", "doc_id"]).any() and (np.diff(rows) >= 0).all()
    assert set(qrels["relevance"]) == {grade for grade, weight in enumerate(world.label_weights) if weight}
    # The expected share of grade 3 follows from the grades and their weights; labels without replacement come a little short of it.
    share = (weights * (grades == 3)).sum(axis=1) / weights.sum(axis=1)
    deviation = math.sqrt((share * (1 - share)).sum() / world.labels) / 300
    short = 0.02 if world.labels > 1 else 0
    assert -4 * deviation - short < (qrels["relevance"] == 3).mean() - share.mean() < 4 * deviation


def test_train_labels_leave_false_negatives(collection: synthetic.EmbeddedCollection) -> None:
    relevant = (collection.grades("train") >= 2).sum(axis=1)
    assert (relevant - 1).mean() > 3  # unlabelled documents of grade 2 and 3 per query
    assert (relevant > 1).mean() > 0.8


def test_geometry_is_unit_length_and_orders_pairs_by_what_they_share(
    collection: synthetic.EmbeddedCollection,
) -> None:
    docs, queries = collection.geometry(), collection.geometry("test")
    np.testing.assert_allclose((docs**2).sum(axis=1), 1)
    cosine, grades = queries @ docs.T, collection.grades("test")
    np.testing.assert_allclose(cosine[grades == 3], 1)
    same_topic = collection.latent["test"].topic[:, None] == collection.latent["docs"].topic
    assert cosine[same_topic].min() > 0.70 - 1e-9  # domain .30 and topic .40
    assert cosine[~same_topic].max() < 0.60 + 1e-9  # domain .30, facet group .15 and facet .15


# --- the oracle -------------------------------------------------------------------------------------------------------


def brute_force(collection: synthetic.EmbeddedCollection, query: str, doc: str) -> float:
    """E[grade | query, doc] by enumerating states, and places of the passage, and multiplying word probabilities one by one."""
    p, v, world = collection.profile, collection._vocabulary, WORLDS[collection.world]
    specific = world.specific / 100
    other_language = {v.words[i]: v.words[j] for i, j in enumerate(v.translation)}
    query_words, doc_words = [other_language[word] for word in words_of(query)], words_of(doc)
    cuts = [len(doc_words) * i // world.passages for i in range(world.passages + 1)]
    passages = [doc_words[start:end] for start, end in itertools.pairwise(cuts)]

    def zipf(n: int, shift: int) -> list[float]:
        weights = [1_000_000 // (k + shift) for k in range(n)]
        return [weight / sum(weights) for weight in weights]

    def add(into: Counter, share: float, ids: np.ndarray, weights: list[float] | None = None) -> None:
        ids = np.asarray(ids).ravel()
        for i, word in enumerate(ids):
            into[v.words[word]] += share * (weights[i] if weights else 1 / len(ids))

    background: Counter = Counter()
    for share, ids, weights in (
        (p.mentions[0], v.topic, None),
        (p.mentions[1], np.concatenate([v.facet.ravel(), v.specific.ravel()]), None),
        (p.mentions[2], v.domain, None),
        (p.mentions[3], v.entity, None),
        (p.mentions[4], v.name, zipf(p.n_names, 50)),
        (p.mentions[5], v.background, zipf(p.n_background, 2)),
        *((share, v.foreign, None) for share in p.mentions[6:]),
    ):
        add(background, share / 100, ids, weights)

    def parts(t: int, f: int, r: int) -> list[Counter]:
        topic, facet, domain, entity = Counter(), Counter(), Counter(), Counter()
        d = t // p.topics_per_domain
        for said, share in ((r, 1 - p.leak / 100), (1 - r, p.leak / 100)):
            add(topic, share, v.topic[t, :, said], zipf(p.topic_concepts, 2))
            add(facet, share * (1 - specific), v.facet[f, :, said], zipf(p.facet_concepts, 3))
            if specific:
                add(facet, share * specific, v.specific[d, f, :, said], zipf(p.specific_concepts, 3))
        add(domain, 1, v.domain[d], zipf(p.domain_words, 4))
        add(entity, 1, v.entity[t, f])
        return [topic, facet, domain, entity, background]

    def likelihood(words: list[str], roles: tuple[int, ...], of: list[Counter], skip: int | None = None) -> float:
        return math.prod(
            sum(share / 1000 * part[word] for i, (share, part) in enumerate(zip(roles, of, strict=True)) if i != skip) for word in words
        )

    states = list(itertools.product(range(p.n_topics), range(p.n_facets)))
    words_by_state = {(t, f, r): parts(t, f, r) for t, f in states for r in range(2)}
    prior = {(t, f): float(v.topic_prior[t] * v.facet_prior[f]) for t, f in states}
    prior = {state: weight / sum(prior.values()) for state, weight in prior.items()}
    others = [
        [sum(prior[s] * likelihood(words, p.document_roles[2], words_by_state[*s, r]) for s in states) for words in passages]
        for r in range(2)
    ]

    def of_document(state: tuple[int, int, int], h: int) -> float:
        roles, of = p.document_roles[h], words_by_state[state]
        if world.topical:
            drawn = likelihood(doc_words, roles, of) - likelihood(doc_words, roles, of, 0)
            return drawn / (1 - (1 - roles[0] / 1000) ** len(doc_words))
        places = range(world.passages)
        return sum(
            math.prod(likelihood(passages[i], roles, of) if i == place else others[state[2]][i] for i in places) / world.passages
            for place in places
        )

    expected = 0.0
    posterior_q, posterior_d = Counter(), Counter()
    for (t, f, r), of in words_by_state.items():
        lay = p.lay_queries if r == 0 else 100 - p.lay_queries
        drawn = likelihood(query_words, p.query_roles, of) - likelihood(query_words, p.query_roles, of, 0)
        posterior_q[t, f] += prior[t, f] * lay * drawn
        lay = p.lay_documents if r == 0 else 100 - p.lay_documents
        for h in range(3):
            posterior_d[t, f, h] += prior[t, f] * lay * p.aboutness[h] * of_document((t, f, r), h)
    weight_q, weight_d = sum(posterior_q.values()), sum(posterior_d.values())
    same = same_source(p, world) if world.knows_source else 0
    total = 0.0
    for (tq, fq), a in posterior_q.items():
        for (td, fd, h), b in posterior_d.items():
            weight = a / weight_q * b / weight_d
            if h == 0:
                weight *= 1 - same + same / prior[tq, fq] * ((tq, fq) == (td, fd))
            total += weight
            if tq == td:
                relation = 0 if fq == fd else 1 if fq // p.facets_per_group == fd // p.facets_per_group else 2
                expected += weight * int(latent.GRADES[relation, h])
    return expected / total


def same_source(p: Profile, world: World) -> float:
    """Return how probably a document of aboutness 0 is of one origin with that from which a query has its states: m E[1 / N]."""
    about, n, copies = p.aboutness[0] / sum(p.aboutness), p.n_docs, world.copies / 100
    one_of_all = sum(math.comb(n - 1, k) * about**k * (1 - about) ** (n - 1 - k) / (k + 1) for k in range(n))
    per_original = 1 / (1 - copies)  # documents of one origin
    return one_of_all * ((1 - copies) * per_original + copies * (1 + per_original))


@pytest.mark.parametrize("world", WORLDS)
def test_oracle_equals_enumeration_of_all_states(world: str) -> None:
    small = generate(tiny(world), world, 5)
    queries, docs = np.array([0, 0, 3, 7]), np.array([0, 11, 200, 299])
    truth = [brute_force(small, small.queries["test"]["text"][q], small.docs["text"][d]) for q, d in zip(queries, docs, strict=True)]
    np.testing.assert_allclose(small.oracle_scores("test", queries, docs), np.log(truth), rtol=0, atol=1e-5)


@pytest.mark.parametrize("world", WORLDS)
def test_oracle_is_calibrated(world: str) -> None:
    """In each bin the mean true grade is the mean posterior expectation, over four collections.

    A teacher that said twice the truth would fail in every bin; one that does not know that a query has its states from a document is
    too low where it is sure, which in the older worlds is let pass.
    """
    low_at_the_top = 0 if WORLDS[world].knows_source else 0.08
    expected, truth = [], []
    for seed in range(13, 17):
        found = generate("smallest", world, seed)
        expected += [np.exp(found.oracle_matrix(split)) for split in found.queries]
        truth += [found.grades(split).astype(float) for split in found.queries]
    expected, truth = np.vstack(expected), np.vstack(truth)
    assert abs(expected.mean() / truth.mean() - 1) < 0.04
    for low, high in itertools.pairwise([0, 0.1, 0.3, 0.7, 1.1, 1.6, 2.2, 3.01]):
        inside = (expected >= low) & (expected < high)
        gap = ((truth - expected) * inside).sum() / inside.sum()
        assert abs(gap - low_at_the_top * (low > 2)) < 0.08, (low, high)


def test_query_posteriors_are_distributions(collection: synthetic.EmbeddedCollection) -> None:
    posterior = collection.oracle.query_posterior("train")
    np.testing.assert_allclose(posterior.sum(axis=1), 1)
    assert posterior.data.min() >= 0
    assert posterior.nnz / posterior.shape[0] < posterior.shape[1] / 2  # most topics are ruled out


def test_a_pairs_score_does_not_depend_on_the_other_pairs(collection: synthetic.EmbeddedCollection) -> None:
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, 60, 500), rng.integers(0, 1200, 500)
    some = collection.oracle_scores("test", rows, columns)
    np.testing.assert_array_equal(some, collection.oracle_matrix("test")[rows, columns])
    np.testing.assert_array_equal(some[100:103], collection.oracle_scores("test", rows[100:103], columns[100:103]))
    assert some.dtype == np.float64 and some.min() >= math.log(1e-30) and some.max() <= math.log(3)
    assert len(collection.oracle_scores("test", np.array([], dtype=int), np.array([], dtype=int))) == 0


@pytest.mark.parametrize("world", WORLDS)
def test_block_size_does_not_change_the_oracle(world: str) -> None:
    small = generate(tiny(world), world)
    whole, parts = Oracle(small, block=300).documents, Oracle(small, block=7).documents
    np.testing.assert_allclose(whole, parts, rtol=1e-6)


def test_oracle_beats_bm25_and_bm25_beats_chance(collection: synthetic.EmbeddedCollection, bm25: np.ndarray) -> None:
    chance = ndcg(collection, np.random.default_rng(0).random(bm25.shape))
    oracle = collection.oracle_matrix("test")
    reranked = np.where(np.argsort(np.argsort(-bm25, axis=1, kind="stable"), axis=1) < 100, oracle, -99)
    levels = tuple(round(ndcg(collection, scores), 3) for scores in (bm25, reranked, oracle))
    assert ndcg(collection, collection.grades("test")) == pytest.approx(1)
    assert chance < levels[0] / 2
    assert levels[0] + 0.2 < levels[1] < levels[2]
    assert levels == pytest.approx(LEVELS[collection.world][:3], abs=0.0011)


def test_share_of_false_negatives_is_known(collection: synthetic.EmbeddedCollection) -> None:
    """Of the 20 documents that share most words with a train query, so many are relevant and not labelled."""
    words = len(collection._vocabulary.words)
    shared = (collection._tokens["train"].counts(words) > 0).astype(int) @ (collection._tokens["docs"].counts(words) > 0).astype(int).T
    first = np.argsort(-shared.toarray(), axis=1, kind="stable")[:, :20]
    unlabelled = collection.grades("train") > 0
    rows = collection.queries["train"].set_index("query_id").index.get_indexer(collection.qrels["train"]["query_id"])
    unlabelled[rows, collection.docs.set_index("doc_id").index.get_indexer(collection.qrels["train"]["doc_id"])] = False
    assert np.take_along_axis(unlabelled, first, axis=1).mean() == pytest.approx(LEVELS[collection.world][3], abs=0.0011)


# --- errors -----------------------------------------------------------------------------------------------------------


def test_unknown_names_are_refused_with_the_choices() -> None:
    with pytest.raises(KeyError, match="Unknown profile 'smalest': expected one of 'default', 'smallest'. Did you mean"):
        generate("smalest")
    with pytest.raises(KeyError, match="Unknown world 'adition'"):
        generate("smallest", "adition")
    with pytest.raises(KeyError, match="Unknown split 'dev'"):
        generate("smallest", splits=("dev",))
    with pytest.raises(ValueError, match="The seed is -1"):
        generate("smallest", seed=-1)


def test_pairs_that_do_not_exist_are_refused() -> None:
    tiny = generate(TINY)
    with pytest.raises(ValueError, match="1 doc rows do not exist, the first is 300: expected 0 to 299"):
        tiny.oracle_scores("test", np.array([0, 1]), np.array([0, 300]))
    with pytest.raises(ValueError, match="not aligned"):
        tiny.oracle_scores("test", np.array([0, 1]), np.array([0]))

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
from rd_utils.data.latent import FUNCTION_WORDS, PROFILES, Profile
from rd_utils.data.oracle import Oracle
from rd_utils.data.synthetic import fingerprint, generate

FINGERPRINTS = {
    "additive": "fc47ce357d8ba3523abb523b08b4fe250732e1472717c16fc7feeb109f681e1c",
    "compositional": "bd722167eb2d6ccc60f16a6f9dbf6dfa4f32e85f6ef4319d530d1587db1d52f2",
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


@pytest.fixture(scope="module", params=["additive", "compositional"])
def collection(request: pytest.FixtureRequest) -> synthetic.EmbeddedCollection:
    return generate("smallest", request.param, 13)


@pytest.fixture(scope="module")
def bm25(collection: synthetic.EmbeddedCollection) -> np.ndarray:
    """BM25 scores (n_queries, n_docs) of the test queries."""
    documents = bm25s.tokenize(collection.docs["text"].tolist(), stopwords="en", show_progress=False)
    index = bm25s.BM25(method="lucene", k1=1.2, b=0.75, backend="numpy")
    index.index(documents, show_progress=False)
    return np.stack([index.get_scores(text.split()) for text in collection.queries["test"]["text"]])


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
    larger = dataclasses.replace(PROFILES["smallest"], n_queries=(1300, 40, 60))
    other = generate(larger, collection.world, 13)
    pd.testing.assert_frame_equal(other.docs, collection.docs)
    for split in ("validation", "test"):
        pd.testing.assert_frame_equal(other.queries[split], collection.queries[split])
        pd.testing.assert_frame_equal(other.qrels[split], collection.qrels[split])
    pd.testing.assert_frame_equal(other.queries["train"].head(300), collection.queries["train"])
    pd.testing.assert_frame_equal(other.qrels["train"].head(300), collection.qrels["train"])


def test_more_test_queries_extend_test() -> None:
    larger = generate(dataclasses.replace(PROFILES["smallest"], n_queries=(300, 40, 700)), splits=("test",))
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
    assert len(words) > 1000
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
    for text in itertools.chain(*(queries["text"] for queries in collection.queries.values())):
        assert re.fullmatch(r"[a-z]+( [a-z]+){2,7}", text), text
    lengths = [len(words_of(text)) for text in collection.docs["text"]]
    assert 14 <= min(lengths) < 18 and 34 < max(lengths) <= 40


def test_no_text_is_there_twice(collection: synthetic.EmbeddedCollection) -> None:
    assert collection.docs["text"].is_unique
    bags = [tuple(sorted(text.split())) for queries in collection.queries.values() for text in queries["text"]]
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


def test_a_train_label_is_one_document_of_grade_2_or_3(collection: synthetic.EmbeddedCollection) -> None:
    qrels, grades = collection.qrels["train"], collection.grades("train")
    assert qrels["query_id"].tolist() == collection.queries["train"]["query_id"].tolist()
    columns = collection.docs.set_index("doc_id").index.get_indexer(qrels["doc_id"])
    np.testing.assert_array_equal(grades[np.arange(300), columns], qrels["relevance"])
    assert set(qrels["relevance"]) == {2, 3}
    # Weight 4 for grade 3 and 1 for grade 2: the expected share of grade 3 follows from the grades.
    threes, twos = (grades == 3).sum(axis=1), (grades == 2).sum(axis=1)
    share = 4 * threes / (4 * threes + twos)
    deviation = math.sqrt((share * (1 - share)).sum()) / 300
    assert abs((qrels["relevance"] == 3).mean() - share.mean()) < 4 * deviation


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
    """E[grade | query, doc] by enumerating states and adding up word probabilities one by one."""
    p, v = collection.profile, collection._vocabulary
    specific = latent.WORLDS[collection.world] / 100

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

    def likelihood(text: str, roles: tuple[int, ...], of: list[Counter], skip: int | None = None) -> float:
        return math.prod(
            sum(share / 1000 * part[word] for i, (share, part) in enumerate(zip(roles, of, strict=True)) if i != skip)
            for word in words_of(text)
        )

    expected = 0.0
    posterior_q, posterior_d = Counter(), Counter()
    for t, f, r in itertools.product(range(p.n_topics), range(p.n_facets), range(2)):
        of = parts(t, f, r)
        prior = float(v.topic_prior[t] * v.facet_prior[f])
        lay = p.lay_queries if r == 0 else 100 - p.lay_queries
        posterior_q[t, f] += prior * lay * (likelihood(query, p.query_roles, of) - likelihood(query, p.query_roles, of, 0))
        lay = p.lay_documents if r == 0 else 100 - p.lay_documents
        for h in range(3):
            posterior_d[t, f, h] += prior * lay * p.aboutness[h] * likelihood(doc, p.document_roles[h], of)
    weight_q, weight_d = sum(posterior_q.values()), sum(posterior_d.values())
    for (tq, fq), a in posterior_q.items():
        for (td, fd, h), b in posterior_d.items():
            if tq == td:
                relation = 0 if fq == fd else 1 if fq // p.facets_per_group == fd // p.facets_per_group else 2
                expected += a / weight_q * b / weight_d * int(latent.GRADES[relation, h])
    return expected


@pytest.mark.parametrize("world", ["additive", "compositional"])
def test_oracle_equals_enumeration_of_all_states(world: str) -> None:
    tiny = generate(TINY, world, 5)
    queries, docs = np.array([0, 0, 3, 7]), np.array([0, 11, 200, 299])
    truth = [brute_force(tiny, tiny.queries["test"]["text"][q], tiny.docs["text"][d]) for q, d in zip(queries, docs, strict=True)]
    np.testing.assert_allclose(tiny.oracle_scores("test", queries, docs), np.log(truth), rtol=0, atol=1e-5)


def test_oracle_is_calibrated(collection: synthetic.EmbeddedCollection) -> None:
    """In each bin the mean true grade is the mean posterior expectation, within 4 standard errors over queries.

    Pairs of one query hang together, so the error is that of query-level sums. A teacher that said twice the truth
    would fail in every bin.
    """
    expected = np.exp(np.vstack([collection.oracle_matrix(split) for split in collection.queries]))
    truth = np.vstack([collection.grades(split) for split in collection.queries]).astype(float)
    assert abs(expected.mean() / truth.mean() - 1) < 0.05
    for low, high in itertools.pairwise([0, 0.1, 0.3, 0.7, 1.1, 1.6, 2.2, 3.01]):
        inside = (expected >= low) & (expected < high)
        gap = ((truth - expected) * inside).sum(axis=1)
        assert abs(gap.sum()) < 4 * math.sqrt((gap**2).sum()), (low, high)
        assert abs(gap.sum()) / inside.sum() < 0.12, (low, high)


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


def test_block_size_does_not_change_the_oracle() -> None:
    tiny = generate(TINY)
    whole, parts = Oracle(tiny, block=300).documents, Oracle(tiny, block=7).documents
    np.testing.assert_allclose(whole, parts, rtol=1e-6)


def test_oracle_beats_bm25_and_bm25_beats_chance(collection: synthetic.EmbeddedCollection, bm25: np.ndarray) -> None:
    """Chance: a random order has nDCG@10 of about 0.013 here (mean of five orders)."""
    chance = ndcg(collection, np.random.default_rng(0).random(bm25.shape))
    lexical, best = ndcg(collection, bm25), ndcg(collection, collection.oracle_matrix("test"))
    perfect = ndcg(collection, collection.grades("test"))
    assert chance < 0.05
    assert 0.38 < lexical < 0.55
    assert 0.80 < best < 0.97
    assert perfect == pytest.approx(1)
    reranked = np.where(np.argsort(np.argsort(-bm25, axis=1, kind="stable"), axis=1) < 100, collection.oracle_matrix("test"), -99)
    assert lexical + 0.2 < ndcg(collection, reranked) < best


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

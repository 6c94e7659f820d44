"""Candidates: BM25 against the formula, ties, dense search."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from rd_utils.data.runs import Run, blocks, tie_order
from rd_utils.mining import bm25 as bm25_index
from rd_utils.mining import retrieval
from rd_utils.study import params


def frame(kind, texts):
    return pd.DataFrame({f"{kind}_id": list(texts), "text": list(texts.values())})


DOCS = {"d1": "cat cat mat", "d2": "cat dog", "d3": "dog dog dog bird", "d4": "fish", "d5": "fish bird"}
PLAIN = {"stemmer": "none", "stopwords": "none"}


def bm25(query, form, k1=1.2, b=0.75):
    """The formula, written out."""
    docs = {doc_id: text.split() for doc_id, text in DOCS.items()}
    mean = sum(map(len, docs.values())) / len(docs)
    scores = dict.fromkeys(docs, 0.0)
    for word in query.split():
        n = sum(word in words for words in docs.values())
        odds = (len(docs) - n + 0.5) / (n + 0.5)
        idf = math.log(1 + odds) if form == "lucene" else max(0.0, math.log(odds))
        for doc_id, words in docs.items():
            tf = words.count(word)
            scores[doc_id] += idf * tf / (tf + k1 * (1 - b + b * len(words) / mean))
    return scores


def found_by(folder, docs, queries, retriever, depth):
    """BM25's candidates as a frame."""
    index = bm25_index.build(docs["text"], retriever, folder)
    run = retrieval.bm25_candidates(index, queries["text"], retriever, depth, tie_order(docs["doc_id"]))
    return run.frame(queries["query_id"], docs["doc_id"])


@pytest.mark.parametrize("form", ["lucene", "robertson"])
@pytest.mark.parametrize("query", ["cat", "cat dog", "bird bird fish"])
def test_bm25_is_the_stated_formula(tmp_path, form, query):
    run = found_by(tmp_path, frame("doc", DOCS), frame("query", {"q": query}), params.BM25(form=form, **PLAIN), depth=5)
    expected = {doc_id: score for doc_id, score in bm25(query, form).items() if score > 0}
    found = dict(zip(run["doc_id"], run["score"], strict=True))
    ratio = {found[d] / expected[d] for d in expected}  # the published forms differ by the constant k1 + 1, which ranks nothing
    assert set(found) == set(expected)
    assert max(ratio) - min(ratio) < 1e-4
    assert min(abs(value - constant) for value in ratio for constant in (1.0, 2.2)) < 1e-4


def test_ties_are_listed_by_doc_id_also_at_the_cut(tmp_path):
    docs = {f"d{i}": "same words" for i in (3, 1, 2, 10)}
    run = found_by(tmp_path, frame("doc", docs), frame("query", {"q": "same"}), params.BM25(**PLAIN), depth=3)
    assert run["doc_id"].tolist() == ["d1", "d10", "d2"]


def test_a_query_that_shares_no_word_has_no_candidates(tmp_path):
    run = found_by(tmp_path, frame("doc", DOCS), frame("query", {"q": "zebra", "r": "fish"}), params.BM25(**PLAIN), depth=5)
    assert set(run["query_id"]) == {"r"}


def test_english_stems_and_stop_words(tmp_path):
    docs = {"d1": "the runner was running", "d2": "the walker"}
    run = found_by(tmp_path, frame("doc", docs), frame("query", {"q": "the runs"}), params.BM25(), depth=5)
    assert run["doc_id"].tolist() == ["d1"]


def test_top_k_against_a_full_sort():
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 20, size=200).astype(float)
    ties = tie_order(np.array([f"d{i}" for i in generator.permutation(200)], dtype=object))
    expected = sorted(range(200), key=lambda row: (-scores[row], ties[row]))
    for k in (1, 7, 50, 200, 300):
        assert retrieval.top_k(scores, k, ties).tolist() == expected[:k]
    assert retrieval.top_k(scores, 200, ties, above=10.0).tolist() == [row for row in expected if scores[row] > 10]


# --- runs from other runs ---


QUERY_IDS, DOC_IDS = pd.Series([f"q{i}" for i in range(6)]), pd.Series([f"d{i}" for i in range(40)])
TIES = tie_order(DOC_IDS)


def run_of(**queries):
    """A run of documents in rank order, with falling scores."""
    rows = [(query_id, doc_id, 100.0 - i) for query_id, doc_ids in queries.items() for i, doc_id in enumerate(doc_ids.split())]
    return Run.from_frame(pd.DataFrame(rows, columns=["query_id", "doc_id", "score"]), QUERY_IDS, DOC_IDS)


def listed(run, query_ids=QUERY_IDS, doc_ids=DOC_IDS):
    return {query_id: " ".join(part["doc_id"]) for query_id, part in run.frame(query_ids, doc_ids).groupby("query_id", sort=False)}


def same(one, two):
    return all(np.array_equal(getattr(one, name), getattr(two, name)) for name in ("offsets", "docs", "scores"))


def test_truncating_keeps_the_best_of_every_query():
    assert listed(retrieval.truncate(run_of(q1="d3 d1 d2", q2="d1"), 2)) == {"q1": "d3 d1", "q2": "d1"}


def test_erratum_16_a_pool_is_ordered_by_ranks_and_combines_no_scores():
    one, two = run_of(q2="d5 d1", q1="d1 d2 d3"), run_of(q1="d3 d4 d1", q3="d9")
    pool = retrieval.pooled_candidates([one, two], at_most=3, depth=10, ties=TIES)
    # best ranks in q1: d1 1, d3 1, d2 2, d4 2
    assert listed(pool) == {"q1": "d1 d3 d2 d4", "q2": "d5 d1", "q3": "d9"}
    assert pool.scores.tolist() == [1.0, 1.0, 0.5, 0.5, 1.0, 0.5, 1.0]
    shifted = Run(one.offsets, one.docs, one.scores * 1e6)
    assert same(retrieval.pooled_candidates([shifted, two], at_most=3, depth=10, ties=TIES), pool)
    assert same(retrieval.pooled_candidates([two, one], at_most=3, depth=10, ties=TIES), pool)
    with pytest.raises(retrieval.RetrievalError, match=r"runs of \[2, 6\] queries cannot be pooled"):
        retrieval.pooled_candidates([one, two.part(0, 2)], at_most=3, depth=10, ties=TIES)


def test_erratum_20_each_run_brings_its_top_documents_by_rank():
    one, two = run_of(q1="d1 d2 d3"), run_of(q1="d3 d4 d1")
    assert listed(retrieval.pooled_candidates([one, two], at_most=1, depth=10, ties=TIES)) == {"q1": "d1 d3"}
    assert listed(retrieval.pooled_candidates([one, two], at_most=3, depth=3, ties=TIES)) == {"q1": "d1 d3 d2"}


@pytest.mark.parametrize("block", [1, 17, 1 << 20])
def test_a_pool_against_a_loop(monkeypatch, block):
    monkeypatch.setattr(retrieval, "blocks", lambda offsets: blocks(offsets, block))
    generator = np.random.default_rng(0)
    runs = [run_of(**{f"q{q}": " ".join(f"d{i}" for i in generator.permutation(40)[:25]) for q in range(6)}) for _ in range(4)]
    pool = retrieval.pooled_candidates(runs, at_most=10, depth=20, ties=TIES).frame(QUERY_IDS, DOC_IDS)
    assert pool["query_id"].nunique() == 6
    for query_id, part in pool.groupby("query_id"):
        best = {}
        for run in runs:
            run = run.frame(QUERY_IDS, DOC_IDS)
            for rank, doc_id in enumerate(run.loc[run["query_id"] == query_id, "doc_id"][:10], start=1):
                best[doc_id] = min(rank, best.get(doc_id, rank))
        expected = sorted(best, key=lambda doc_id: (best[doc_id], doc_id))[:20]
        assert part["doc_id"].tolist() == expected
        assert part["score"].tolist() == [1 / best[doc_id] for doc_id in expected]


@pytest.mark.parametrize("block", [1, 5, 1 << 20])
def test_reranking_orders_by_the_new_score_then_doc_id(monkeypatch, block):
    monkeypatch.setattr(retrieval, "blocks", lambda offsets: blocks(offsets, block))
    candidates = run_of(q1="d3 d2 d10 d1", q2="d1 d2")
    scores = np.array([-1.0, -0.5, -0.5000001, -2.0, -9.0, -8.0])  # d2 and d10 are equal to 5 decimals
    run = retrieval.rerank(candidates, scores, 3, TIES)
    assert listed(run) == {"q1": "d10 d2 d3", "q2": "d2 d1"}
    assert run.scores.tolist() == [-0.5, -0.5, -1.0, -8.0, -9.0]
    order = np.array([2, 0, 1, 3, 5, 4])
    shuffled = Run(candidates.offsets, candidates.docs[order], candidates.scores)
    assert same(retrieval.rerank(shuffled, scores[order], 3, TIES), run)


def test_erratum_23_reranking_scores_every_candidate_before_it_cuts():
    candidates = run_of(q1="d1 d2 d3 d4")
    assert listed(retrieval.rerank(candidates, np.array([1.0, 2.0, 3.0, 4.0]), 2, TIES)) == {"q1": "d4 d3"}
    with pytest.raises(retrieval.RetrievalError, match="2 scores for 4 candidates"):
        retrieval.rerank(candidates, np.array([1.0, 2.0]), 2, TIES)
    message = "1 of 4 scores are no finite numbers, the first is that of the query in row 1, the document in row 3"
    with pytest.raises(retrieval.RetrievalError, match=message):
        retrieval.rerank(candidates, np.array([1.0, 2.0, np.nan, 0.0]), 2, TIES)


def test_a_run_file_is_ranked_by_its_scores(tmp_path):
    path = tmp_path / "elsewhere.trec"
    path.write_text("q1 Q0 d2 1 0.0000001 x\nq1 Q0 d3 2 0.5 x\nq1 Q0 d1 3 0.0000002 x\nother Q0 d1 1 1 x\nq0 Q0 d2 1 1 x\nq0 Q0 d1 1 1 x\n")
    ids = pd.Series(["q1", "q0"]), pd.Series(["d1", "d2", "d3"])
    run = retrieval.run_file_candidates(path, *ids, 5, np.arange(3))
    assert listed(run, *ids) == {"q0": "d1 d2", "q1": "d3 d1 d2"}
    dropped: dict[str, int] = {}
    assert listed(retrieval.run_file_candidates(path, *ids, 1, np.arange(3), dropped), *ids) == {"q0": "d1", "q1": "d3"}
    assert dropped == {"pairs_of_other_queries": 1}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (None, "run.trec: there is no such file; put it there, or correct the path"),
        (
            "q1 Q0 d1 1 2 x\nq1 Q0 d8 2 1 x\nq1 Q0 d9 3 1 x\nq2 Q0 d8 1 1 x\n",
            "2 documents that the collection does not have, the first is 'd8'",
        ),
        ("1 Q0 d1 1 2 x\n2 Q0 d1 1 2 x\n", "2 queries, none of which is among the collection's 1; the first is '1'"),
        ("", "run.trec: holds no scored pair; expected query_id, doc_id and score"),
        ("q1 Q0 d1 1 2 x\nq1 Q0 d1 2 1 x\n", "line 2: scores query 'q1', document 'd1' again, after line 1"),
        ("q1 Q0 d1 1 -inf x\n", "line 1: the score '-inf' of query 'q1', document 'd1' is no finite number"),
        ("q1 d1 0.5\n", "line 1: 'q1 d1 0.5' has 3 fields; expected lines of six fields"),
    ],
)
def test_unusable_run_files_are_refused(tmp_path, lines, message):
    path = tmp_path / "run.trec"
    if lines is not None:
        path.write_text(lines)
    with pytest.raises(retrieval.RetrievalError, match=message):
        retrieval.run_file_candidates(path, pd.Series(["q1"]), pd.Series(["d1", "d2"]), 5, np.arange(2))


def test_erratum_34_a_document_is_left_out_of_its_neighbours_by_id_not_by_place(tmp_path):
    docs = frame("doc", {"d1": "cat mat", "d2": "cat mat", "d3": "cat dog", "d4": "dog"})
    index = bm25_index.build(docs["text"], params.BM25(**PLAIN), tmp_path)
    run = retrieval.bm25_candidates(index, docs["text"], params.BM25(**PLAIN), 4, np.arange(4))
    ids = docs["doc_id"], docs["doc_id"]
    assert listed(run, *ids)["d2"] == "d1 d2 d3"  # the duplicate stands first
    assert listed(retrieval.neighbours(run, depth=2), *ids) == {"d1": "d2 d3", "d2": "d1 d3", "d3": "d4 d1", "d4": "d3"}
    assert listed(retrieval.neighbours(run, depth=1), *ids) == {"d1": "d2", "d2": "d1", "d3": "d4", "d4": "d3"}
    of_two = retrieval.neighbours(run.take(np.array([3, 1])), depth=1)
    assert (of_two.keys.tolist(), of_two.docs.tolist()) == ([3, 1], [2, 0])


def test_bm25_takes_whole_documents_as_queries(tmp_path):
    """A query of 300 words, most of them repeated, is the sum over its words."""
    generator = np.random.default_rng(0)
    docs = {f"d{i}": " ".join(generator.choice(["cat", "dog", "bird", "fish", "mat"], 12, p=[0.1, 0.1, 0.2, 0.3, 0.3])) for i in range(30)}
    text = " ".join(generator.choice(["cat", "dog", "bird"], 300))
    run = found_by(tmp_path, frame("doc", docs), frame("query", {"q": text}), params.BM25(**PLAIN), depth=30)
    words = frame("query", {"cat": "cat", "dog": "dog", "bird": "bird"})
    single = found_by(tmp_path, frame("doc", docs), words, params.BM25(**PLAIN), depth=30)
    expected = single.assign(score=single["score"] * single["query_id"].map(text.split().count)).groupby("doc_id")["score"].sum()
    np.testing.assert_allclose(run.set_index("doc_id")["score"].sort_index(), expected.sort_index(), rtol=1e-3)


def test_bm25_as_a_scorer_agrees_with_the_candidates_and_is_0_where_no_word_is_shared(tmp_path):
    docs = pd.DataFrame({"doc_id": ["a", "b", "c"], "text": ["red fish", "blue fish fish", "green bird"]})
    queries = pd.DataFrame({"query_id": ["q1", "q2"], "text": ["fish", "nothing known"]})
    plain = params.BM25(stemmer="none", stopwords="none")
    score = retrieval.bm25_scorer(bm25_index.build(docs["text"], plain, tmp_path), queries["text"], plain)
    run = found_by(tmp_path, docs, queries, plain, 3).set_index("doc_id")["score"]
    found = score(np.array([1, 0, 0, 0]), np.array([0, 2, 1, 0]))
    assert found[:2].tolist() == [0.0, 0.0]
    assert found[2:].round(5).tolist() == [run["b"], run["a"]]

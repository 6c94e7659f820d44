"""Texts without a word, from mining to evaluation: counted, left out of what needs vectors, and nothing stops for one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rd_utils.data import collections
from rd_utils.store import Store
from rd_utils.study import params
from rd_utils.study.graph import vectors_of
from rd_utils.workflow.pipeline import Pipeline
from rd_utils.workflow.progress import untracked

WORDS = "cat dog mat rain hill stock market price fall rise sleep chase river stone bread wine".split()
BLANK, PICTURE, MARKS = "d60", "d61", "d62"  # documents without a word
N = 60


def text(number: int) -> str:
    drawn = np.random.default_rng(number).choice(WORDS, size=6, replace=False)
    return " ".join([*drawn, f"name{number}"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """60 documents with words and three without; of the training queries one has no word, and one has a positive without."""
    path = tmp_path_factory.mktemp("small") / "small"
    (path / "qrels").mkdir(parents=True)
    docs = {f"d{n:02}": text(n) for n in range(N)} | {BLANK: " \t\n", PICTURE: "\U0001f600 \U0001f680", MARKS: "?! ..."}
    queries = {f"q{n:02}": " ".join(text(n).split()[3:]) for n in range(24)} | {"blank": "  ", "marks": "?!", "of_blank": "cat mat"}
    (path / "corpus.jsonl").write_text("".join(json.dumps({"_id": key, "text": value}) + "\n" for key, value in docs.items()))
    (path / "queries.jsonl").write_text("".join(json.dumps({"_id": key, "text": value}) + "\n" for key, value in queries.items()))
    train = [*((f"q{n:02}", f"d{n:02}") for n in range(16)), ("blank", "d01"), ("of_blank", BLANK)]
    test = [*((f"q{n:02}", f"d{n:02}") for n in range(16, 24)), ("marks", "d03"), ("q20", MARKS)]
    for split, rows in (("train", train), ("test", test)):
        lines = ["query-id\tcorpus-id\tscore", *(f"{query}\t{doc}\t1" for query, doc in rows)]
        (path / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return Pipeline(Store(tmp_path_factory.mktemp("store")), track=untracked)


@pytest.fixture(scope="module")
def train(folder):
    return params.FolderCollection(path=str(folder), split="train")


@pytest.fixture(scope="module")
def test(folder):
    return params.FolderCollection(path=str(folder), split="test")


STATIC = params.StaticBi(dimension=8)
BERT = params.TinyBertBi(dimension=8, heads=2, feed_forward=8)
CROSS = params.InteractionCross(dimension=8)
TRAINING = params.Training(documents=128, queries_per_batch=8, learning_rate=0.01)
WITHOUT = [60, 61, 62]


def dense(train, architecture=STATIC):
    return params.Dense(encoder=params.UntrainedSystem(architecture=architecture, collection=train))


def groups(train, strategy, **changes):
    return params.GroupsSpec(**{"collection": train, "strategy": strategy, "group_size": 4, "shortage": params.CorpusRandom()} | changes)


def test_a_word_is_a_letter_a_digit_or_an_underscore():
    texts = ["a", "7", "_", "\u732b", "\u00e9", "", " \t", "?!", "\U0001f600", "\u200b"]
    assert collections.has_word(np.array(texts, dtype=object)).tolist() == [True] * 5 + [False] * 5


def test_they_are_counted_with_the_collection_and_the_first_is_named(pipeline, train, test, caplog):
    from rd_utils.study.graph import docs_of

    with caplog.at_level("WARNING", logger="rd_utils"):
        counts = pipeline.manifest(docs_of(train))["counts"]
        assert pipeline.manifest(params.QueriesSpec(collection=train))["counts"]["queries_without_word"] == 1
        assert pipeline.manifest(params.QueriesSpec(collection=test))["counts"]["queries_without_word"] == 1
    assert (counts["documents"], counts["documents_without_text"], counts["documents_without_word"]) == (63, 1, 3)
    said = " | ".join(record.getMessage() for record in caplog.records)
    assert "small/train: 3 of 63 documents have no word, the first is 'd60'" in said
    assert "small/test: 1 of 9 queries have no word, the first is 'marks'; nothing is retrieved for them" in said


@pytest.mark.parametrize("architecture", [STATIC, BERT], ids=lambda architecture: architecture.kind)
def test_dense_candidates_list_none_of_them_and_find_nothing_for_a_query_without_a_word(pipeline, train, architecture):
    vectors = pipeline.vectors(vectors_of(train, dense(train, architecture).encoder))
    assert np.flatnonzero(~vectors.any(axis=1)).tolist() == WITHOUT
    spec = params.CandidatesSpec(collection=train, retriever=dense(train, architecture), depth=63)
    run, ids = pipeline.run(spec), pipeline.queries(train)["query_id"].tolist()
    assert run.lengths().tolist() == [0 if query_id == "blank" else N for query_id in ids]
    assert not np.isin(run.docs, WITHOUT).any()
    assert pipeline.manifest(spec)["dropped"]["queries_without_candidates"] == 1


STRATEGIES = {
    "corpus_random": lambda train: params.CorpusRandom(),
    "bm25": lambda train: params.FromCandidates(depth=20),
    "dense": lambda train: params.FromCandidates(retriever=dense(train), depth=20),
    "graph": lambda train: params.Graph(retriever=dense(train), depth=20),
    "bm25_graph": lambda train: params.Graph(depth=20),
    "diameter_targeted": lambda train: params.DiameterTargeted(quantile=0.5, trials=8, reference=dense(train).encoder, depth=20),
    "filtered": lambda train: params.FromCandidates(
        retriever=dense(train),
        depth=60,
        filter=params.FalseNegativeFilter(teacher=params.EncoderTeacher(encoder=dense(train).encoder), value=0.0),
    ),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_no_group_is_drawn_for_a_query_or_a_positive_without_a_word(pipeline, train, name):
    spec = groups(train, STRATEGIES[name](train), draws=2)
    drawn, manifest = pipeline.groups(spec), pipeline.manifest(spec)
    assert sorted(set(drawn["query_id"])) == [f"q{n:02}" for n in range(16)]
    assert manifest["dropped"]["groups_without_word"] == 4  # two positives, drawn twice
    assert not drawn["doc_ids"].str[0].isin([BLANK, PICTURE, MARKS]).any()


def test_a_pool_made_elsewhere_may_hold_them_and_they_are_no_trial_of_a_diameter(pipeline, train, tmp_path):
    docs = ["d60", "d61", "d02", "d03", "d04", "d05", "d06"]
    lines = [f"q{n:02} Q0 {doc} {rank} {9 - rank} x" for n in range(16) for rank, doc in enumerate(docs, start=1) if doc != f"d{n:02}"]
    (tmp_path / "own.run").write_text("\n".join(lines) + "\n")
    own = params.RunFile(path=str(tmp_path / "own.run"), name="own")
    target = params.DiameterTargeted(retriever=own, quantile=0.5, trials=8, reference=dense(train).encoder, depth=20)
    assert not pipeline.groups(groups(train, target, group_size=3))["doc_ids"].explode().isin(["d60", "d61"]).any()
    plain = pipeline.groups(groups(train, params.FromCandidates(retriever=own, depth=20), group_size=7))
    assert plain["doc_ids"].explode().isin(["d60", "d61"]).any()  # as a negative one teaches what it can


@pytest.mark.parametrize("architecture", [STATIC, BERT, CROSS], ids=lambda architecture: architecture.kind)
def test_a_study_runs_from_mining_to_evaluation(pipeline, train, test, architecture):
    """Query ``marks`` has a positive, so it counts, as 0; no run lists a document without a word."""
    scored = params.ScoresSpec(groups=groups(train, params.CorpusRandom(), group_size=30), teacher=params.BM25Teacher())
    assert pipeline.groups(scored.groups)["doc_ids"].explode().isin([BLANK, PICTURE, MARKS]).any()
    student = params.StudentSpec(
        groups=scored.groups, loss="kl", teacher=scored.teacher, architecture=architecture, training=TRAINING, seed=0
    )
    assert np.isfinite(pipeline.frame(student, "history")["loss"]).all()
    reference = dense(train).encoder
    description = pipeline.frame(params.DescriptionSpec(groups=scored.groups, teacher=scored.teacher, reference=reference), "description")
    assert len(description) == 16 and np.isfinite(description[["diameter", "diameter_q99", "mean_distance"]]).all(axis=None)
    probe = params.BehaviourSpec(student=student, teacher=scored.teacher, probe=params.Probe(queries=10, docs=50))
    assert len(pipeline.frame(probe, "groups")) and pipeline.manifest(probe)["dropped"]["documents_without_word"] == 3
    system = params.StudentSystem(student=student)
    for kind in ("rerank", "full"):
        stage = params.FirstStage(kind=kind, depth=63)
        if not params.serves(system, stage):
            continue
        spec = params.EvaluationSpec(system=system, collection=test, first_stage=stage)
        per_query, counts = pipeline.frame(spec, "per_query"), pipeline.manifest(spec)["counts"]
        assert (counts["queries_judged"], counts["queries_without_result"]) == (9, 1)
        assert per_query[per_query["query_id"] == "marks"]["value"].eq(0).all()
        assert per_query[per_query["query_id"] != "marks"]["value"].gt(0).any()
        run = (pipeline.store.folder(spec) / "run.trec").read_text()
        assert not any(f" {doc} " in run for doc in (BLANK, PICTURE, MARKS)) and "marks" not in run


def test_an_interaction_model_scores_pairs_of_which_no_text_has_a_word(pipeline, train):
    student = pipeline.untrained(CROSS, train, 0)
    from rd_utils.study.graph import tokenizer_of

    tables = [pipeline.tokens(of, train, tokenizer_of(CROSS, train)) for of in ("queries", "docs")]
    row = pipeline.queries(train)["query_id"].tolist().index("blank")
    alone = student.score_pairs(*tables, np.array([row]), np.array([60]))
    beside = student.score_pairs(*tables, np.array([row, 0, 0]), np.array([60, 60, 0]))
    assert np.isfinite(beside).all() and alone[0] == beside[0] == beside[1]


def test_students_that_draw_anew_and_cut_documents_go_on(pipeline, train):
    augmentation = params.Augmentation(document_span=0.5, query_dropout=0.2)
    refresh = params.Refresh(every=1, depth=20)
    student = params.StudentSpec(
        groups=groups(train, params.CorpusRandom()), loss="lce", architecture=STATIC, training=TRAINING, augmentation=augmentation,
        refresh=refresh,
    )  # fmt: skip
    assert np.isfinite(pipeline.frame(student, "history")["loss"]).all()


def test_a_collection_none_of_whose_positives_has_a_word_says_so(pipeline, tmp_path, folder):
    import shutil

    from rd_utils.mining.sampling import SamplingError

    shutil.copytree(folder, tmp_path / "none")
    (tmp_path / "none" / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nof_blank\td60\t1\nblank\td01\t1\n")
    collection = params.FolderCollection(path=str(tmp_path / "none"), split="train")
    with pytest.raises(SamplingError, match="2 had a query or positive without a word"):
        pipeline.groups(groups(collection, params.CorpusRandom()))

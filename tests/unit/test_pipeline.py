"""The pipeline on the toy collection: every stage, reuse, and the errors that name an id."""

from __future__ import annotations

import numpy as np
import pytest

from rd_utils import params
from rd_utils.collections import CollectionError
from rd_utils.pipeline import Pipeline
from rd_utils.progress import untracked
from rd_utils.store import Store, identity, inputs

PLAIN = params.BM25(stemmer="none", stopwords="none")


@pytest.fixture
def pipeline(tmp_path):
    return Pipeline(Store(tmp_path / "store"), track=untracked)


@pytest.fixture
def train(toy):
    return params.FolderCollection(path=str(toy), split="train")


def student(train, loss="lce", seed=0):
    return params.StudentSpec(
        groups=params.GroupsSpec(collection=train, strategy=params.CorpusRandom(), group_size=3, seed=seed),
        loss=loss,
        architecture=params.StaticBi(dimension=4),
        training=params.Training(documents=24, queries_per_batch=2, learning_rate=0.05),
        seed=seed,
    )


def evaluation(system, toy, kind="full"):
    stage = params.FirstStage(kind=kind, retriever=PLAIN, depth=6)
    return params.EvaluationSpec(system=system, collection=params.FolderCollection(path=str(toy), split="test"), first_stage=stage)


def test_a_student_is_made_from_the_collection_down_and_ranks(pipeline, toy, train):
    spec = evaluation(params.StudentSystem(student=student(train)), toy)
    per_query = pipeline.frame(spec, "per_query")
    assert per_query["query_id"].unique().tolist() == ["q1", "q3"]
    counts = pipeline.manifest(student(train))["counts"]
    assert counts["documents_seen"] == 24 and counts["steps"] == 4
    assert (pipeline.store.folder(spec) / "run.trec").read_text().count("\n") == 2 * 6


def test_the_same_parameters_give_the_same_bytes_in_another_store(pipeline, toy, train, tmp_path):
    other = Pipeline(Store(tmp_path / "other"), track=untracked)
    spec = evaluation(params.StudentSystem(student=student(train)), toy)
    first, second = (p.manifest(spec)["files"] for p in (pipeline, other))
    assert first == second and set(first) == {"run.trec", "per_query.parquet"}
    first, second = (p.manifest(student(train))["files"] for p in (pipeline, other))
    assert first == second


def test_what_is_there_is_not_made_again(pipeline, toy, train):
    spec = student(train)
    pipeline.build(spec)
    stamp = (pipeline.store.folder(spec) / "manifest.json").stat().st_mtime_ns
    Pipeline(pipeline.store, track=untracked).build(spec)
    assert (pipeline.store.folder(spec) / "manifest.json").stat().st_mtime_ns == stamp


def test_a_manifest_names_its_inputs_by_identity(pipeline, train):
    manifest = pipeline.manifest(student(train))
    assert manifest["inputs"]["groups"]["identity"] == identity(student(train).groups)
    assert set(manifest["inputs"]) == set(inputs(student(train)))


def test_reranking_orders_only_the_candidates(pipeline, toy, train):
    system = params.UntrainedSystem(architecture=params.StaticBi(dimension=4), collection=train)
    per_stage = {kind: pipeline.build(evaluation(system, toy, kind)) for kind in ("full", "rerank")}
    ranked = {
        kind: {tuple(line.split()[:3:2]) for line in (path / "run.trec").read_text().splitlines()} for kind, path in per_stage.items()
    }
    candidates = pipeline.candidates(inputs(evaluation(system, toy, "rerank"))["candidates"])
    assert ranked["rerank"] == set(zip(candidates["query_id"], candidates["doc_id"], strict=True)) < ranked["full"]


def test_full_and_reranked_scores_of_a_pair_agree(pipeline, toy, train):
    system = params.StudentSystem(student=student(train))
    scores = {}
    for kind in ("full", "rerank"):
        lines = [line.split() for line in (pipeline.build(evaluation(system, toy, kind)) / "run.trec").read_text().splitlines()]
        scores[kind] = {(line[0], line[2]): float(line[4]) for line in lines}
    for pair, score in scores["rerank"].items():
        assert scores["full"][pair] == pytest.approx(score, abs=2e-5)


def test_oracle_scores_are_kept_once_and_floored(pipeline):
    collection = params.EmbeddedCollection(max_queries=5)
    teacher = params.Oracle(floor=1e-2)
    scores, scored = pipeline.teacher_scores(teacher, collection, np.array([0, 1, 1]), np.array([3, 4, 4]))
    assert scored == 2 and scores[1] == scores[2]
    assert (scores >= np.float32(np.log(1e-2)) - 1e-5).all()
    assert pipeline.teacher_scores(teacher, collection, np.array([1]), np.array([4]))[1] == 0
    assert pipeline.teacher_scores(params.Oracle(floor=1e-3), collection, np.array([1]), np.array([4]))[1] == 1


def test_query_limits_do_not_shift_the_oracles_rows(pipeline):
    few, all_of_them = params.EmbeddedCollection(max_queries=5), params.EmbeddedCollection()
    rows = pipeline.query_rows(all_of_them, pipeline.queries(few)["query_id"])
    docs = np.arange(5)
    first, _ = pipeline.teacher_scores(params.Oracle(), few, np.arange(5), docs)
    second, _ = pipeline.teacher_scores(params.Oracle(), all_of_them, rows, docs)
    assert first.tolist() == second.tolist()


def test_an_unknown_id_is_named(pipeline, train):
    with pytest.raises(CollectionError, match="1 values of doc_id are unknown, the first is 'zz'"):
        pipeline.doc_rows(train, ["d1", "zz"])


def test_teacher_scores_stand_in_the_order_of_the_groups(pipeline):
    groups = params.GroupsSpec(collection=params.EmbeddedCollection(max_queries=4), strategy=params.CorpusRandom(), group_size=3)
    spec = params.ScoresSpec(groups=groups, teacher=params.Oracle())
    matrix = pipeline.group_scores(spec)
    query_rows, doc_rows = pipeline.group_rows(groups)
    one, _ = pipeline.teacher_scores(params.Oracle(), groups.collection, query_rows[2:3], doc_rows[2, 1:2])
    assert matrix.shape == (4, 3) and matrix[2, 1] == one[0]


def test_a_study_charges_every_seed_for_its_pairs_also_those_scored_for_another(tmp_path, monkeypatch):
    from pathlib import Path

    from rd_utils import analysis, plan

    monkeypatch.setenv("RD_OUTPUTS", str(tmp_path))
    planned = plan.load_plan(Path(__file__).resolve().parents[2] / "params" / "smallest.yaml")
    planned.cells = [cell for cell in planned.cells if cell.name == "static-bm25-oracle-kl"]
    pipeline = Pipeline(track=untracked)
    analysis.per_query(planned, pipeline)
    costs = analysis.costs(planned, pipeline)
    assert costs["score_cpu_seconds"].nunique() == 1 and (costs["score_cpu_seconds"] > 0).all()
    parts = ["mine", "score", "train", "evaluate"]
    assert costs["total_cpu_seconds"].to_numpy() == pytest.approx(costs[[f"{part}_cpu_seconds" for part in parts]].sum(axis=1).to_numpy())

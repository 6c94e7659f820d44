"""Test queries that are training queries: found by id and by text, and refused before anything is computed."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from studies_on_disk import planned

from rd_utils.data import leakage
from rd_utils.data.leakage import LeakageError
from rd_utils.store import Store
from rd_utils.study import params
from rd_utils.study.params import EmbeddedCollection, IrDatasetsCollection, PseudoQueries
from rd_utils.workflow import notebook
from rd_utils.workflow.pipeline import Pipeline
from rd_utils.workflow.progress import untracked


def parts(queries, qrels):
    frames = pd.DataFrame(queries, columns=["query_id", "text"]), pd.DataFrame(qrels, columns=["query_id", "doc_id", "relevance"])
    return tuple(frames)


TRAIN = parts([("1", "cat mat"), ("2", "stock markets"), ("3", "never learnt")], [("1", "a", 1), ("2", "b", 1), ("3", "b", 0)])
TEST = parts(
    [("1", "another text"), ("4", " Stock\tMARKETS "), ("5", "sleeping dog"), ("6", "cat mat"), ("3", "never learnt")],
    [("1", "a", 1), ("4", "b", 2), ("5", "c", 2), ("3", "c", 1), ("6", "a", 0)],
)


@pytest.mark.parametrize(
    ("one_source", "found"),
    [
        (True, [["1", "1", "another text", "id"], ["4", "2", " Stock\tMARKETS ", "text"]]),
        (False, [["4", "2", " Stock\tMARKETS ", "text"]]),
    ],
)
def test_queries_are_shared_by_id_in_one_source_and_by_text_everywhere(one_source, found):
    """Query 6 has no positive in the test, so that all systems score 0 on it; query 3 has none in training: nothing is learnt from it."""
    assert leakage.shared_queries(TRAIN, TEST, one_source=one_source).values.tolist() == found


def beir(folder, texts, **splits):
    """Write a folder of three documents and the queries and splits given; each query's positive is d1."""
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"_id": f"d{n}", "text": t}) + "\n" for n, t in enumerate(["a", "b", "c"])))
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in texts.items()))
    for split, ids in splits.items():
        rows = ["query-id\tcorpus-id\tscore", *(f"{key}\td1\t1" for key in ids)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    return str(folder)


def study(tmp_path, train, test, **changes):
    """Return the plan of a small study on collections of one's own."""
    grid = {"strategies": ["corpus_random"], "losses": ["lce"], "architectures": ["static"], "seeds": [0]}
    changes = {"collections": {"train": train, "test": [test]}, "teachers": {}, "grids": [grid], "overrides": []} | changes
    strategies = {"corpus_random": {"kind": "corpus_random"}}
    return planned(tmp_path, **({"strategies": strategies} | changes))


def folder(path, split, **changes):
    return {"source": "folder", "path": path, "split": split} | changes


def test_a_folder_whose_splits_share_a_query_is_refused_with_the_remedy_and_its_key_allows_it(tmp_path):
    path = beir(tmp_path / "own", {"q1": "one", "q2": "two", "q3": "three", "q4": "TWO "}, train=["q1", "q2"], test=["q1", "q3", "q4"])
    with pytest.raises(LeakageError) as refused:
        study(tmp_path, folder(path, "train"), folder(path, "test"))
    assert str(refused.value) == (
        "study smallest: 2 of the 3 queries of own/test are also training queries of own/train (1 by id, 1 by text), the first is 'q1', "
        "there 'q1': 'one'; part them (random_split, or skip_queries and max_queries), or, where students may be tested on what they "
        "learnt from, say shared_queries: allow in own/test"
    )
    assert study(tmp_path, folder(path, "train"), folder(path, "test", shared_queries="allow")).cells


def test_another_folder_may_have_the_same_ids_but_not_the_same_texts(tmp_path):
    one = beir(tmp_path / "one", {"q1": "one", "q2": "two"}, train=["q1", "q2"])
    other = beir(tmp_path / "other", {"q1": "another", "q2": "more"}, test=["q1", "q2"])
    third = beir(tmp_path / "third", {"q9": "Two"}, test=["q9"])
    assert study(tmp_path, folder(one, "train"), folder(other, "test")).cells
    with pytest.raises(LeakageError, match="0 by id, 1 by text.*the first is 'q9', there 'q2': 'Two'"):
        study(tmp_path, folder(one, "train"), folder(third, "test"))


def test_windows_and_random_parts_of_one_split_are_apart_but_for_texts_under_two_ids(tmp_path):
    path = beir(tmp_path / "own", {f"q{n}": f"text {n % 9}" for n in range(10)}, all=[f"q{n}" for n in range(10)])
    assert study(tmp_path, folder(path, "all", max_queries=5), folder(path, "all", skip_queries=5, max_queries=4)).cells
    with pytest.raises(LeakageError, match="the first is 'q9', there 'q0': 'text 0'"):
        study(tmp_path, folder(path, "all", max_queries=5), folder(path, "all", skip_queries=5))
    split = [{"shares": [0.6, 0.0, 0.4], "part": part} for part in ("train", "test")]
    assert study(tmp_path, *(folder(path, "all", random_split=part) for part in split)).cells
    with pytest.raises(LeakageError, match="by id"):
        study(tmp_path, folder(path, "all", random_split=split[0]), folder(path, "all"))


@pytest.mark.parametrize(
    ("train", "test", "refused"),
    [
        ({"split": "train"}, {"split": "test"}, ""),
        ({"split": "train"}, {"split": "train", "max_queries": 3}, "3 of the 3 queries.*3 by id, 0 by text.*train-00000"),
        ({"split": "train", "random_split": {"part": "train"}}, {"split": "train", "random_split": {"part": "test"}}, ""),
        ({"split": "train", "random_split": {"part": "train"}}, {"split": "train", "random_split": {"part": "test", "seed": 1}}, "by id"),
    ],
)
def test_the_embedded_collections_splits_and_parts_are_apart(tmp_path, train, test, refused):
    train, test = ({"source": "embedded", "profile": "smallest"} | own for own in (train, test))
    if not refused:
        assert study(tmp_path, train, test).cells
    else:
        with pytest.raises(LeakageError, match=refused):
            study(tmp_path, train, test)


def test_an_embedded_collection_is_not_generated_to_be_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(leakage.collections, "read_queries", lambda collection: pytest.fail(f"{collection.label} was read"))
    assert planned(tmp_path).cells


def test_validation_queries_are_compared_by_text_too(tmp_path):
    path = beir(tmp_path / "own", {"q1": "one", "q2": "two", "q3": "One"}, train=["q1"], dev=["q3"], test=["q2"])
    search = {"architectures": {"static": {"learning_rates": [0.003, 0.01]}}, "strategy": "corpus_random"}
    search |= {"validation": folder(path, "dev"), "first_stages": [{"kind": "rerank", "retriever": "bm25", "depth": 100}]}
    with pytest.raises(LeakageError, match="1 of the 1 queries of own/dev are also training queries of own/train"):
        study(tmp_path, folder(path, "train"), folder(path, "test"), search=search)
    search["validation"]["shared_queries"] = "allow"
    assert study(tmp_path, folder(path, "train"), folder(path, "test"), search=search).cells


def test_the_key_does_nothing_for_a_training_collection_and_is_refused_there(tmp_path):
    embedded = {"source": "embedded", "profile": "smallest"}
    with pytest.raises(params.ParameterError, match="shared_queries does nothing there"):
        study(tmp_path, embedded | {"shared_queries": "allow"}, embedded | {"split": "test"})


def test_the_key_is_part_of_an_evaluation_alone():
    """What is read of a collection is the same with and without it."""
    plain, leave = IrDatasetsCollection(id="vaswani"), IrDatasetsCollection(id="vaswani", shared_queries="allow")
    assert "shared_queries" not in plain.model_dump() and "random_split" not in plain.model_dump()
    assert params.QueriesSpec(collection=plain) == params.QueriesSpec(collection=leave)
    assert params.CandidatesSpec(collection=plain, retriever=params.BM25(), depth=5) == params.CandidatesSpec(
        collection=leave, retriever=params.BM25(), depth=5
    )
    system = params.FirstStageSystem()
    specs = {params.EvaluationSpec(system=system, collection=one, first_stage=params.FirstStage()) for one in (plain, leave)}
    assert len(specs) == 2


def test_scifacts_splits_share_two_claims_and_a_download_is_never_begun(real_collections, tmp_path, monkeypatch):
    train, test = IrDatasetsCollection(id="beir/scifact/train"), IrDatasetsCollection(id="beir/scifact/test")
    with pytest.raises(LeakageError, match=r"2 of the 300 queries.*the first is '1292', there '1291'"):
        leakage.refuse_shared(train, test, leakage._read_where_cheap)


def test_what_would_have_to_be_downloaded_is_left_for_later(monkeypatch, tmp_path):
    import ir_datasets

    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path))
    before = ir_datasets.lazy_libs.requests
    assert leakage._read_where_cheap(IrDatasetsCollection(id="antique/test")) is None
    assert ir_datasets.lazy_libs.requests is before
    assert leakage._read_where_cheap(IrDatasetsCollection(id="msmarco-passage/train")) is None  # too many to be read while one waits


def test_pseudo_queries_of_one_seed_are_one_source():
    documents = IrDatasetsCollection(id="vaswani")
    one, other = (PseudoQueries(documents=documents, queries=10, seed=seed) for seed in (0, 1))
    assert leakage.ids_overlap(one, one.model_copy(update={"queries": 5})) and not leakage.ids_overlap(one, other)
    with pytest.raises(LeakageError, match=r"the queries of vaswani/pseudo-10-0 are also training queries of vaswani/pseudo-10-0"):
        leakage.refuse_shared(one, one, lambda collection: None)


SHARED = {"train": EmbeddedCollection(max_queries=20), "test": EmbeddedCollection(max_queries=5)}
OWN = {"strategy": {"kind": "corpus_random"}, "architecture": {"kind": "static_bi"}, "training": {"documents": 64}, "losses": {"lce": {}}}


def test_a_notebook_refuses_before_it_trains_and_a_pipeline_before_it_evaluates(tmp_path, monkeypatch):
    monkeypatch.setenv("RD_OUTPUTS", str(tmp_path))
    values = OWN | {"collection": SHARED["train"].model_dump(), "test_collections": [SHARED["test"].model_dump()]}
    with pytest.raises(LeakageError, match="5 of the 5 queries"):
        notebook.validate(params.TrainParameters, dict(values))
    with pytest.raises(LeakageError, match="5 of the 5 queries"):
        notebook.validate(params.EvaluateParameters, dict(values))
    assert notebook.validate(params.EvaluateParameters, values | {"systems": ["first_stage", "untrained"]})
    allowed = values | {"test_collections": [SHARED["test"].model_dump() | {"shared_queries": "allow"}]}
    assert notebook.validate(params.EvaluateParameters, dict(allowed))
    pipeline = Pipeline(Store(tmp_path / "store"), track=untracked)
    parameters = params.EvaluateParameters(**values)
    first_stage, _, student = parameters.evaluations()
    assert pipeline.build(first_stage)
    with pytest.raises(LeakageError, match="5 of the 5 queries"):
        pipeline.build(student)
    assert not list((tmp_path / "store").glob("student/*"))
    assert pipeline.build(params.EvaluateParameters(**allowed).evaluations()[-1])

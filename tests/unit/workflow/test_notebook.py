"""What notebooks say about their parameters."""

from __future__ import annotations

import pytest

from rd_utils.study import params
from rd_utils.study.params import ParameterError
from rd_utils.workflow import notebook

GOOD = {"collection": {"source": "embedded"}, "strategy": {"kind": "corpus_random"}, "seeds": [0]}


def test_only_plain_values_of_the_namespace_are_parameters():
    namespace = GOOD | {"np": pytest, "_private": 3, "In": [1], "function": len}
    assert notebook.validate(params.MineParameters, namespace).group_size == 16


def test_a_name_that_papermill_would_only_warn_about_is_refused():
    with pytest.raises(ParameterError, match="unknown parameter 'group_sise'; did you mean 'group_size'"):
        notebook.validate(params.MineParameters, GOOD | {"group_sise": 4})


def test_a_second_run_without_a_new_kernel_takes_no_result_for_a_parameter():
    namespace = dict(GOOD)
    notebook.validate(params.MineParameters, namespace)
    namespace |= {"counts": {"a": 1}, "chart": None, "group_size": 8}
    assert notebook.validate(params.MineParameters, namespace).group_size == 8
    with pytest.raises(ParameterError, match="did you mean 'group_size'"):
        notebook.validate(params.MineParameters, namespace | {"group_sise": 4})


def test_what_is_about_to_run_is_printed(capsys):
    values = GOOD | {"strategy": {"kind": "candidates", "depth": 50}, "teacher": {"kind": "oracle"}, "training": {"documents": 10}}
    values |= {"losses": {"lce": {}, "kl": {"temperature": 2.0}}, "architecture": {"kind": "static_bi"}}
    notebook.describe(params.parse(params.TrainParameters, values, "parameters"))
    lines = {line[:17].strip(): line[18:] for line in capsys.readouterr().out.splitlines()}
    assert set(lines) == set(params.TrainParameters.model_fields)
    assert lines["collection"] == "embedded-smallest-additive-13/train"
    assert lines["strategy"] == "candidates(depth=50)"
    assert lines["losses"] == "lce, kl(temperature=2.0)"


def test_parts_within_parts_are_printed_by_what_they_are(capsys):
    strategy = {"kind": "candidates", "retriever": {"kind": "pooled", "retrievers": [{"kind": "bm25"}, {"kind": "bm25", "b": 0.5}]}}
    notebook.describe(params.parse(params.MineParameters, GOOD | {"strategy": strategy, "seeds": [0, 2]}, "parameters"))
    lines = {line[:17].strip(): line[18:] for line in capsys.readouterr().out.splitlines()}
    assert lines["strategy"] == "candidates(retriever=pooled(retrievers=bm25, bm25(b=0.5)))"
    assert lines["seeds"] == "0, 2" and lines["cut"] == "None"


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (params.ScoreParameters, {"teacher": {"kind": "bm25"}}),
        (params.TrainParameters, {"losses": {"lce": {}}, "architecture": {"kind": "static_bi"}, "training": {"documents": 10}}),
    ],
)  # fmt: skip
def test_notebooks_with_the_parameters_of_groups_take_them_all(model, values):
    groups = {"draws": 2, "random_share": 0.5, "shortage": {"kind": "corpus_random"}, "group_size": 4}
    groups["cut"] = {"teacher": {"kind": "bm25"}, "part": "upper_half"}
    spec = notebook.validate(model, GOOD | groups | values).groups(3)
    assert (spec.draws, spec.random_share, spec.group_size, spec.seed, spec.cut.part) == (2, 0.5, 4, 3, "upper_half")
    assert spec.shortage == params.CorpusRandom()


def test_seeds_that_repeat_and_losses_that_no_one_knows_are_refused():
    with pytest.raises(ParameterError, match=r"seeds: 1 repeats in \[1, 1\]"):
        notebook.validate(params.MineParameters, GOOD | {"seeds": [1, 1]})
    values = GOOD | {"losses": {"kl-T4": {"temperature": 4.0}}, "architecture": {"kind": "static_bi"}, "training": {"documents": 10}}
    with pytest.raises(ParameterError, match="losses: unknown name 'kl-T4'; did you mean 'kl'"):
        notebook.validate(params.TrainParameters, values)
    named = values | {"losses": {"kl-T4": {"loss": "kl", "temperature": 4.0}}, "teacher": {"kind": "bm25"}}
    student = notebook.validate(params.TrainParameters, named).student("kl-T4", 0)
    assert (student.loss, student.temperature) == ("kl", 4.0)


OWN = {"test_collections": "own", "reference": {"kind": "untrained", "architecture": {"kind": "static_bi"}}}


@pytest.mark.parametrize("seed", [13, 14])
def test_reference_and_test_collections_follow_the_collection(seed):
    found = notebook.validate(params.MineParameters, GOOD | OWN | {"collection": {"source": "embedded", "seed": seed}})
    assert found.reference.collection == params.EmbeddedCollection(seed=seed)
    assert found.test_collections == (params.EmbeddedCollection(seed=seed, split="test"),)


def test_a_reference_that_names_its_collection_keeps_it():
    reference = OWN["reference"] | {"collection": {"source": "embedded", "seed": 2}}
    found = notebook.validate(params.MineParameters, GOOD | {"reference": reference})
    assert found.reference.collection == params.EmbeddedCollection(seed=2) and found.test_collections == ()


def test_a_folder_without_a_test_split_has_no_test_collection_and_cannot_be_evaluated(toy):
    (toy / "qrels" / "test.tsv").unlink()
    own = GOOD | OWN | {"collection": {"source": "folder", "path": str(toy)}}
    assert notebook.validate(params.MineParameters, own).test_collections == ()
    own |= {"losses": {"lce": {}}, "architecture": {"kind": "static_bi"}, "training": {"documents": 10}}
    with pytest.raises(ParameterError, match="test_collections is empty, or the collection has none of its own; name at least one"):
        notebook.validate(params.EvaluateParameters, own)


def test_texts_are_said_whole_in_lines_that_fit(capsys):
    text = "d1: " + " ".join(f"co-word{n}" for n in range(60))
    notebook.say(text, "short")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= notebook.WIDTH and lines[-1] == "short"
    assert [word for line in lines[:-1] for word in line.split()] == text.split()

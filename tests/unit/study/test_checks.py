"""What only the outside knows, and all problems at once: of studies by ``check``, of notebooks by their second cell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from rd_utils.__main__ import main
from rd_utils.companions.theory import held_out
from rd_utils.cost import devices
from rd_utils.evaluation.measures import EvaluationError, try_measures
from rd_utils.store import outside
from rd_utils.study import params, plan
from rd_utils.study.params import ParameterError
from rd_utils.workflow import notebook

SMALLEST = Path(__file__).resolve().parents[3] / "params" / "smallest.yaml"
REAL = {"source": "ir_datasets", "id": "beir/scifact/train"}
ORACLE, BM25 = {"kind": "oracle"}, {"kind": "bm25"}
RANDOM = {"kind": "corpus_random"}


def changed(folder: Path, change) -> Path:
    values = yaml.safe_load(SMALLEST.read_text())
    change(values)
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def refused(path: Path, capsys) -> str:
    """Return what ``check`` prints of a study that it refuses."""
    assert main(["check", str(path)]) == 2
    return capsys.readouterr().err


# --- studies ------------------------------------------------------------------------------------------------------------------------


def test_problems_of_every_kind_are_told_together_each_with_its_line(outputs, tmp_path, capsys):
    def change(values):
        values["training"]["documents"] = True
        values["grids"][0]["strategies"] = ["bm52"]
        values["grids"][1]["seeds"] = [2**63]
        values["collections"]["test"] = [{"source": "ir_datasets", "id": "beir/scifact/tset"}]
        values["architectures"]["other"] = {"kind": "cross_encoder", "model": "./no/such/folder"}
        values["evaluation"]["measures"] = ["nDCG@10", "ndcg@10"]
        values["strategies"]["a/b"] = RANDOM

    path = changed(tmp_path, change)
    said = refused(path, capsys)
    lines = path.read_text().splitlines()
    assert said.startswith(f"error: study {path}: 7 problems\n")
    for text in (
        "training.documents: True is no whole number",
        "grids[0].strategies[0]: unknown name 'bm52'; did you mean 'bm25'?",
        "grids[1].seeds[0]: 9223372036854775808 is too large",
        "ir_datasets knows no id 'beir/scifact/tset'; did you mean 'beir/scifact/test'?",
        "architectures.other.model: no folder ./no/such/folder",
        "unknown measure 'ndcg@10'; did you mean 'nDCG@10'?",
        "'a/b' is no name",
    ):
        (line,) = [each for each in said.splitlines() if text in each]
        number = int(line.split()[1].rstrip(":"))
        assert lines[number - 1].strip().strip("-").strip()  # a line of the file, which is not blank
    assert lines[int(said.split("training.documents")[0].split()[-1].rstrip(":")) - 1].strip() == "documents: true"


def test_a_problem_in_a_base_names_the_bases_file_and_line(tmp_path):
    (tmp_path / "bases").mkdir()
    below = yaml.safe_load(SMALLEST.read_text()) | {"group_size": 1}
    (tmp_path / "bases" / "one.yaml").write_text(yaml.safe_dump({"group_size": below.pop("group_size")} | below, sort_keys=False))
    (tmp_path / "own.yaml").write_text("name: own\nbase: one\nquestion: '?'\n")
    with pytest.raises(ParameterError, match=r"bases/one.yaml line 1: group_size: Input should be greater than or equal to 2, not 1"):
        plan.load_plan(tmp_path / "own.yaml")


@pytest.mark.parametrize("base", ["x" * 300, "a/b", "../bases/embedded", "", 5, ["embedded"], {"a": 1}, True])
def test_a_base_is_the_name_of_a_file(tmp_path, base):
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"name": "own", "question": "?", "base": base}))
    with pytest.raises(ParameterError, match="own.yaml: base: .* is no name of a file in params/bases"):
        plan.load_plan(tmp_path / "own.yaml")


@pytest.mark.parametrize(
    ("name", "message"),
    [("a/b", "is no name"), ("../x", "is no name"), ("x" * 81, "is no name"), ("store", "choose another name"), ("Study", "pattern")],
)
def test_a_study_writes_into_a_folder_of_its_own(tmp_path, name, message):
    with pytest.raises(ParameterError, match=message):
        plan.load_plan(changed(tmp_path, lambda values: values.update(name=name)))


def test_a_whole_section_that_is_missing_is_one_problem(tmp_path):
    with pytest.raises(ParameterError, match=r"1 problem\n  architectures: required, but missing$"):
        plan.load_plan(changed(tmp_path, lambda values: values.pop("architectures")))


def real(values: dict[str, Any]) -> None:
    """Train and test a study on a real collection, with a teacher that knows it."""
    values["collections"] = {"train": REAL | {"skip_queries": 60}, "test": [{"source": "ir_datasets", "id": "vaswani"}]}
    values["teachers"] = {"oracle": ORACLE, "lexical": BM25 | {"retriever": "bm25"}}
    values["grids"] = [{"strategies": ["bm25"], "teachers": ["lexical"], "losses": ["kl"], "architectures": ["static"], "seeds": [0]}]
    values["overrides"], values["analysis"]["baseline_strategy"] = [], "bm25"


def searched(values: dict[str, Any]) -> None:
    values["search"] = {"architectures": {"static": {"learning_rates": [0.01, 0.1]}}, "strategy": "bm25", "teacher": "oracle"}
    values["search"] |= {"validation": REAL | {"max_queries": 60}, "first_stages": [{"retriever": "bm25"}]}


def filtered(values: dict[str, Any]) -> None:
    values["strategies"]["bm25"]["filter"] = {"teacher": "oracle", "value": 1.0}


def reranked(values: dict[str, Any]) -> None:
    values["retrievers"]["again"] = {"kind": "reranked", "retriever": "bm25", "teacher": "oracle"}
    values["retrievers"]["pool"] = {"kind": "pooled", "retrievers": ["bm25", "again"]}
    values["strategies"]["bm25"]["retriever"] = "pool"


def cut(values: dict[str, Any]) -> None:
    values["cuts"] = {"low": {"teacher": "oracle", "part": "lower_half"}}
    values["grids"][0]["cuts"] = ["low"]


def combined(values: dict[str, Any]) -> None:
    values["teachers"]["both"] = {"kind": "ensemble", "members": ["oracle", "lexical"], "strategy": "bm25"}
    values["grids"][0]["teachers"] = ["both"]


def ranked(values: dict[str, Any]) -> None:
    values["retrievers"]["again"] = {"kind": "reranked", "retriever": "bm25", "teacher": "oracle"}
    values["evaluation"]["first_stages"] = [{"kind": "rerank", "retriever": "again"}]


@pytest.mark.parametrize("place", [searched, filtered, reranked, cut, combined, ranked], ids=lambda place: place.__name__)
def test_an_oracle_on_a_real_collection_is_refused_wherever_it_stands(outputs, tmp_path, capsys, place, real_collections):
    def change(values):
        real(values)
        place(values)

    said = refused(changed(tmp_path, change), capsys)
    assert "the oracle knows the embedded collection only, not 'beir/scifact/train[60:]'" in said or "not 'vaswani'" in said
    assert "Traceback" not in said


def test_every_run_file_that_is_missing_is_named(outputs, tmp_path, capsys):
    def change(values):
        for name in ("one", "two"):
            values["retrievers"][name] = {"kind": "run_file", "path": str(tmp_path / name), "name": name}
            values["strategies"][name] = {"kind": "candidates", "retriever": name}
        values["grids"][0]["strategies"] = ["one", "two"]
        values["analysis"]["baseline_strategy"] = "one"

    said = refused(changed(tmp_path, change), capsys)
    assert "2 problems" in said and all(f"no file {tmp_path / name}; put it there" in said for name in ("one", "two"))


def test_names_of_notebook_runs_are_names_that_files_can_have(tmp_path):
    long = {"strategy": "s" * 80, "teacher": "t" * 80, "architecture": "a" * 80}

    def change(values):
        values["strategies"] = {long["strategy"]: RANDOM}
        values["teachers"] = {long["teacher"]: ORACLE}
        values["architectures"] = {long["architecture"]: {"kind": "static_bi"}}
        values["grids"] = [{"strategies": [long["strategy"]], "teachers": [long["teacher"]], "losses": ["lce", "kl"]}]
        values["grids"][0] |= {"architectures": [long["architecture"]], "seeds": [0]}
        values |= {"overrides": [], "reference": None}
        values["analysis"]["baseline_strategy"] = long["strategy"]

    names = [node.name for node in plan.load_plan(changed(tmp_path, change)).nodes]
    assert max(len(name.encode()) for name in names) <= 220 and len(set(names)) == len(names)


# --- measures -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nDCG@0"], "'nDCG@0' has the cutoff 0; expected one from 1"),
        (["R@0"], "cutoff 0"),
        (["AP@00"], "cutoff 00"),
        (["nDCG@10", "nDCG@10"], "named twice"),
        (["NDCG@10"], "is written 'nDCG@10'"),
        (["ndcg@10"], "unknown measure 'ndcg@10'; did you mean 'nDCG@10'"),
        (["map"], "did you mean 'AP'"),
        (["P"], "'P' cannot be computed: invalid param cutoff"),
        (["AP(rel=0)"], "cannot be computed"),
        (["Compat(p=2.0)"], "has p 2.0; expected a number from 0 to 1"),
        (["ERR@20"], "reads numbers alone as ids"),
        (["AP(nosuch=1)"], "unknown measure|cannot be computed"),
        (["__import__('os')"], "measure"),
    ],
)  # fmt: skip
def test_measures_that_cannot_be_computed_are_refused_and_end_no_process(names, message):
    with pytest.raises(EvaluationError, match=message):
        try_measures(tuple(names))


def test_measures_that_can_be_computed_pass():
    try_measures(("nDCG@10", "AP", "AP(rel=2)", "RR@10", "R@1000", "P@5", "Judged@10", "Success@1", "IPrec@0.1", "NumRet"))


# --- notebooks ----------------------------------------------------------------------------------------------------------------------

CELL = {
    "collection": {"source": "embedded"}, "strategy": RANDOM, "seeds": [0], "teacher": BM25, "losses": {"kl": {}}, "group_size": 4,
    "architecture": {"kind": "static_bi"}, "training": {"documents": 10}, "test_collections": [{"source": "embedded", "split": "test"}],
}  # fmt: skip


def cell(**changes) -> str:
    """Return what the second cell of 04 says of parameters that it refuses."""
    with pytest.raises(ParameterError) as error:
        notebook.validate(params.EvaluateParameters, CELL | changes)
    return str(error.value)


@pytest.mark.parametrize(
    ("changes", "written"),
    [
        ({"strategy": "graf"}, "did you mean 'graph'? (choices: corpus_random, candidates, graph, "),
        ({"strategy": "run_file"}, "'run_file' is no mapping; write {kind: candidates, retriever: {kind: run_file, path: ..., name: ...}}"),
        ({"strategy": "refreshed"}, "write {kind: refreshed, every: ..., start: ...} (with papermill -y '{strategy: {kind: refreshed"),
        ({"shortage": "drob"}, "did you mean 'drop'?"),
        ({"collection": "folder"}, "write {source: folder, path: ...}"),
        ({"teacher": "loaded"}, "write {kind: loaded, model: ...}"),
        ({"architecture": "cross_encoder"}, "write {kind: cross_encoder, model: ...}"),
        ({"strategy": {"kind": "candidates", "retriever": "bm52"}}, "retriever: 'bm52' is no mapping; did you mean 'bm25'?"),
        ({"strategy": {"depth": 3}}, "strategy: a kind is missing; (choices: corpus_random"),
        ({"strategy": None}, "strategy: None is no mapping"),
        ({"losses": {"kl": {"loss": "klx"}}}, "'klx' is not a valid value; did you mean 'kl'?"),
        ({"losses": "kl"}, "losses: 'kl' is no mapping"),
        ({"first_stages": "bm25"}, "first_stages: 'bm25' is no list"),
        ({"test_collections": "ovn"}, "did you mean 'own'?"),
        ({"test_collections": {"source": "embedded"}}, "is no list; write [...]"),
    ],
)  # fmt: skip
def test_a_name_where_a_part_belongs_is_answered_with_how_it_is_written(changes, written):
    said = cell(**changes)
    assert said.startswith("parameters: 1 problem\n") and written in said


@pytest.mark.parametrize(
    "changes",
    [
        {"teacher": ORACLE},
        {"strategy": {"kind": "candidates", "filter": {"teacher": ORACLE, "value": 1.0}}},
        {"strategy": {"kind": "candidates", "retriever": {"kind": "reranked", "retriever": BM25, "teacher": ORACLE}}},
        {"cut": {"teacher": ORACLE, "part": "lower_half"}},
        {"shortage": {"kind": "candidates", "filter": {"teacher": ORACLE, "value": 1.0}}},
        {"teacher": {"kind": "ensemble", "members": [ORACLE, BM25], "calibration": {"collection": CELL["collection"], "strategy": RANDOM}}},
        {"first_stages": [{"retriever": {"kind": "reranked", "retriever": BM25, "teacher": ORACLE}}]},
    ],
    ids=["teacher", "filter", "reranked", "cut", "shortage", "ensemble", "first stage"],
)  # fmt: skip
def test_an_oracle_on_a_real_collection_is_refused_in_the_parameters(changes):
    elsewhere = {"collection": REAL, "test_collections": [{"source": "ir_datasets", "id": "vaswani"}]}
    assert "the oracle knows the embedded collection only" in cell(**elsewhere | changes)


def test_all_that_is_not_there_is_named_at_once(tmp_path):
    said = cell(
        collection={"source": "folder", "path": str(tmp_path / "nosuch")},
        test_collections=[{"source": "ir_datasets", "id": "beir/scifact/trian"}],
        teacher={"kind": "file", "path": str(tmp_path / "scores.parquet")},
        architecture={"kind": "bi_encoder", "model": "package:no_such_package/model"},
        measures=["nDCG@10", "nDGC@10"],
    )
    assert "parameters: 5 problems" in said
    for text in (
        "collection: no folder",
        "did you mean 'beir/scifact/train'?",
        "teacher.path: no file",
        "'no_such_package' is not installed",
    ):
        assert text in said
    assert "measures[1]: unknown measure 'nDGC@10'" in said


def test_a_folder_and_a_file_are_named_with_the_nearest(toy, tmp_path):
    said = cell(collection={"source": "folder", "path": str(toy.with_name("toi"))})
    assert "did you mean 'toy'?" in said


def test_07_takes_no_seed_that_torch_would_not(outputs):
    values = {"collection": {"source": "embedded"}, "training_queries": 10, "strategies": {"corpus_random": RANDOM}}
    values |= {"trained_on": "corpus_random"}
    values |= {
        "teacher": ORACLE,
        "architecture": {"kind": "static_bi"},
        "training": {"documents": 10},
    }
    assert notebook.validate(held_out.TheoryParameters, dict(values)).seed == 0
    with pytest.raises(ParameterError, match="seed: Input should be less than 9007199254740992, not 9007199254740992"):
        notebook.validate(held_out.TheoryParameters, values | {"seed": 2**53})


# --- devices ------------------------------------------------------------------------------------------------------------------------

DEVICE = {"name": "own", "peak": {"fp32": 1e13}, "bandwidth": 1e12}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (yaml.safe_dump(DEVICE | {"peak": {}}), "peak: Dictionary should have at least 1 item"),
        (yaml.safe_dump(DEVICE | {"peak": {"fp64": 1.0}}), "'fp64' is not a valid value; did you mean 'fp16'"),
        (yaml.safe_dump(DEVICE | {"bandwidth": float("nan")}), "bandwidth: Input should be a finite number"),
        (yaml.safe_dump(DEVICE | {"gpu": False, "peak": {"bf16": 1e13}}), "a core needs fp32"),
        ("[]", "holds a list"),
        ("a: [", "is not valid YAML: line 1"),
        (json.dumps(DEVICE | {"watts": -3}), "watts: Input should be greater than 0, not -3"),
    ],
)  # fmt: skip
def test_files_of_devices_are_refused_like_studies(tmp_path, content, message):
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(DEVICE))
    assert devices.device_of(str(path)).peak == {"fp32": 1e13}
    path.write_text(content)
    with pytest.raises(ParameterError) as error:
        devices.device_of(str(path))
    assert message in str(error.value) and "own.yaml" in str(error.value)


def test_a_checkpoint_is_told_where_the_study_names_it_not_where_it_is_used(tmp_path):
    def change(values):
        values["retrievers"] |= {"again": {"kind": "reranked", "retriever": "bm25", "teacher": "gone"}}
        values["retrievers"] |= {"dense": {"kind": "dense", "architecture": "absent"}}
        values["architectures"]["absent"] = {"kind": "bi_encoder", "model": "./no/such/bi"}
        values["teachers"]["gone"] = {"kind": "loaded", "model": "./no/such/cross"}

    with pytest.raises(ParameterError) as error:
        plan.load_plan(changed(tmp_path, change))
    assert "architectures.absent.model: no folder ./no/such/bi" in str(error.value)
    assert "teachers.gone.model: no folder ./no/such/cross" in str(error.value) and "2 problems" in str(error.value)


def test_a_command_is_one_look_at_what_a_person_owns(monkeypatch):
    looks = []

    def load(*_, **__):
        looks.append(outside._LOOK.get())
        raise ParameterError("enough")

    monkeypatch.setattr(plan, "load_plan", load)
    assert main(["check", "params/smallest.yaml"]) == 2
    assert looks == [{}] and outside._LOOK.get() is None

"""Plans: cells, nodes, and the studies that ship."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from rd_utils import params, plan
from rd_utils.__main__ import main
from rd_utils.params import ParameterError
from rd_utils.store import identity

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted((ROOT / "params").rglob("*.yaml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: str(path.relative_to(ROOT / "params")))
def test_every_study_that_ships_is_valid_and_plans(path):
    planned = plan.load_plan(path)
    made = {identity(spec) for node in planned.nodes for spec in node.artefacts}
    students = {identity(student) for cell in planned.cells for student in cell.students.values()}
    assert students <= made
    wanted = {
        identity(s) for cell in planned.cells for y in cell.students.values() for s in planned.evaluations(params.StudentSystem(student=y))
    }
    wanted |= {identity(s) for row in planned.baselines for y in row.systems.values() for s in planned.evaluations(y)}
    assert wanted <= made
    before: set[str] = set()
    for node in planned.nodes:
        assert set(node.needs) <= before, f"{node.name} needs what comes later"
        before.add(node.id)
    assert len(before) == len({node.name for node in planned.nodes}) == len(planned.nodes)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: str(path.relative_to(ROOT / "params")))
def test_every_nodes_parameters_are_what_its_notebook_accepts(path):
    classes = {
        "01_mine": params.MineParameters,
        "02_score": params.ScoreParameters,
        "03_train": params.TrainParameters,
        "04_evaluate": params.EvaluateParameters,
        "05_analyse": params.AnalyseParameters,
    }
    for node in plan.load_plan(path).nodes:
        parsed = params.parse(classes[node.notebook], yaml.safe_load(yaml.safe_dump(node.parameters)), node.name)
        if node.notebook == "03_train":
            assert {identity(s) for s in parsed.students().values()} == {identity(s) for s in node.artefacts}
        if node.notebook == "04_evaluate":
            assert {identity(s) for s in parsed.evaluations()} == {identity(s) for s in node.artefacts}


def test_the_published_protocol_is_stated_exactly():
    study = params.load_study(ROOT / "params" / "paper" / "msmarco.yaml")
    training = study.training
    assert study.collections.train.id == "msmarco-passage/train/triples-small"
    assert study.group_size == 16
    assert training.steps(16) == 93_750
    assert (training.queries_per_batch, training.accumulation_steps, training.learning_rate) == (8, 2, 1e-5)
    assert (training.warmup_share, training.precision) == (0.1, "fp16")
    teacher = study.teachers["electra"]
    assert (teacher.strategy, teacher.architecture, teacher.training.documents) == ("bm25", "electra_cross", 532_761 * 16)
    bm25 = study.retrievers["bm25"]
    assert (bm25.k1, bm25.b, study.strategies["bm25"].depth) == (1.2, 0.75, 200)
    bi, cross = study.architectures["bert_bi"], study.architectures["electra_cross"]
    assert (bi.model, bi.pooling, bi.similarity) == ("bert-base-uncased", "cls", "dot")
    assert (cross.model, cross.labels) == ("google/electra-base-discriminator", 2)
    assert set(study.evaluation.measures) == {"nDCG@10", "AP(rel=2)"}
    assert {c.id for c in study.collections.test} == {f"msmarco-passage/trec-dl-20{year}/judged" for year in (19, 20)}
    assert len(plan.load_plan(ROOT / "params" / "paper" / "msmarco.yaml").cells) == 2 * 4 * 2


def changed(tmp_path, change) -> Path:
    values = yaml.safe_load((ROOT / "params" / "smallest.yaml").read_text())
    change(values)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_lce_has_one_cell_however_many_teachers_there_are(tmp_path):
    def change(values):
        values["grids"] = [values["grids"][0] | {"teachers": ["oracle", "cross"]}]
        values["overrides"] = []

    names = [cell.name for cell in plan.load_plan(changed(tmp_path, change)).cells]
    assert names.count("static-bm25-lce") == 1
    assert {"static-bm25-oracle-kl", "static-bm25-cross-kl"} <= set(names)


def test_an_override_reaches_its_cells_only_and_one_that_meets_none_is_refused(tmp_path):
    def change(values):
        values["overrides"].append({"when": {"loss": "kl", "strategy": "bm25"}, "set": {"learning_rate": 0.5, "temperature": 2.0}})

    cells = {cell.name: next(iter(cell.students.values())) for cell in plan.load_plan(changed(tmp_path, change)).cells}
    assert cells["static-bm25-oracle-kl-T2"].training.learning_rate == 0.5
    assert cells["static-corpus_random-oracle-kl"].training.learning_rate == 0.01
    assert cells["static-bm25-lce"].training.learning_rate == 0.01
    with pytest.raises(ParameterError, match="meets no cell"):
        plan.load_plan(changed(tmp_path, lambda v: v["overrides"].append({"when": {"loss": "ranknet"}, "set": {"learning_rate": 1.0}})))


def test_packing_changes_no_artefact(tmp_path):
    def artefacts(path):
        return {identity(spec) for node in plan.load_plan(path).nodes for spec in node.artefacts}

    packed = artefacts(changed(tmp_path, lambda values: None))
    alone = artefacts(changed(tmp_path, lambda values: values.__setitem__("workflow", {"students_per_node": 1})))
    assert packed == alone


def test_two_studies_share_what_they_have_in_common(tmp_path):
    first = plan.load_plan(ROOT / "params" / "smallest.yaml")
    second = plan.load_plan(changed(tmp_path, lambda values: values["grids"][0].__setitem__("seeds", [0, 1, 2])))
    own, other = ({identity(spec) for spec in p.specs()} for p in (first, second))
    assert own < other


def test_an_unknown_measure_or_model_folder_is_refused_before_anything_starts(tmp_path):
    def measure(values):
        values["evaluation"]["measures"] = ["nDCG@10", "nDGC@10"]

    with pytest.raises(ParameterError, match="unknown measure 'nDGC@10'; did you mean 'nDCG@10'"):
        plan.load_plan(changed(tmp_path, measure))

    def model(values):
        values["architectures"]["static"] = {"kind": "bi_encoder", "model": "./no/such/folder"}

    with pytest.raises(ParameterError, match="no folder ./no/such/folder"):
        plan.load_plan(changed(tmp_path, model))


def test_check_and_plan_print_and_mistakes_end_with_2(outputs, tmp_path, capsys):
    assert main(["check", str(ROOT / "params" / "smallest.yaml")]) == 0
    assert "6 cells, 12 students" in capsys.readouterr().out
    assert main(["plan", str(ROOT / "params" / "smallest.yaml")]) == 0
    printed = capsys.readouterr().out
    assert "interaction-bm25-cross-kl" in printed and "guessed" in printed
    assert main(["check", str(tmp_path / "none.yaml")]) == 2
    assert "no study file" in capsys.readouterr().err


def test_the_estimate_uses_what_was_measured(outputs):
    from rd_utils.store import Store

    planned, store = plan.load_plan(ROOT / "params" / "smallest.yaml"), Store()
    student = planned.cells[0].students[0]
    with store.draft(student) as draft:
        draft.counts["documents_seen"] = 20480
    manifest = store.folder(student) / "manifest.json"
    record = json.loads(manifest.read_text())
    record["cost"]["cpu_seconds"] = 2.0
    manifest.write_text(json.dumps(record))
    records = {record["cell"]: record for record in plan.estimate(planned, store)}
    first = records[planned.cells[0].name]
    assert (first["done"], first["students"], first["basis"], first["cpu_seconds"]) == (1, 2, "measured", 2.0)
    assert records["interaction-bm25-lce"]["basis"] == "guessed"
    assert records["teacher cross"]["students"] == 1


def test_prepare_sets_aside_a_notebook_whose_artefacts_are_gone(outputs):
    planned = plan.load_plan(ROOT / "params" / "smallest.yaml")
    plan.prepare(planned)
    node = planned.nodes[0]
    folder = plan.node_folder(node.id)
    assert yaml.safe_load((folder / "parameters.yaml").read_text()) == node.parameters
    (folder / "notebook.ipynb").write_text("{}")
    plan.prepare(planned)
    assert not (folder / "notebook.ipynb").exists()

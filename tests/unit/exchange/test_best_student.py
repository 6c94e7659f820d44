"""The student that is exported as the best is the one that validation queries prefer, and no other."""

from __future__ import annotations

import functools
from pathlib import Path

import ir_measures
import pytest
import yaml

from rd_utils.exchange import export
from rd_utils.store import StoreError
from rd_utils.study.params import EvaluationSpec, ParameterError, StudentSystem
from rd_utils.study.plan import Plan, load_plan
from rd_utils.workflow.pipeline import Pipeline
from tests import commands

asked = functools.partial(commands.asked, export)
LESS = {  # of the smallest study; the strategies differ, one cell sees few documents
    "grids": [{"strategies": ["corpus_random", "bm25"], "losses": ["lce"], "architectures": ["static"], "seeds": [0, 1, 2]}],
    "overrides": [{"when": {"strategy": "corpus_random"}, "set": {"documents": 320}}],
    "search": {
        "architectures": {"static": {"learning_rates": [0.003, 0.01]}},
        "strategy": "bm25",
        "validation": {"source": "embedded", "profile": "smallest", "split": "validation"},
        "first_stages": [{"kind": "rerank", "retriever": "bm25", "depth": 20}],
    },
}


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory):
    """A study whose students are trained and evaluated; its file, plan and pipeline."""
    values = yaml.safe_load((root / "params" / "smallest.yaml").read_text()) | LESS | {"name": "less"}
    values["training"] = values["training"] | {"documents": 3200}
    file = tmp_path_factory.mktemp("less") / "less.yaml"
    file.write_text(yaml.safe_dump(values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RD_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        with pytest.raises(StoreError, match="6 students of study less are not trained yet; `rd run .*less.yaml` trains them"):
            asked("student", "best", file.with_name("never"), "--study", file)
        plan, pipeline = load_plan(file), Pipeline()
        for cell in plan.cells:
            for student in cell.students.values():
                for spec in plan.evaluations(StudentSystem(student=student), cell.collection):
                    pipeline.build(spec)
        yield file, plan, pipeline


@pytest.fixture(scope="module")
def values(trained) -> dict[tuple[str, int], float]:
    """nDCG@10 on the validation queries of every student, by ir_measures on its own run."""
    _, plan, pipeline = trained
    validation, (stage,) = plan.study.search.validation, plan.study.search.first_stages
    qrels = pipeline.qrels(validation)
    found = {}
    for cell in plan.cells:
        for seed, student in cell.students.items():
            spec = EvaluationSpec(system=StudentSystem(student=student), collection=validation, first_stage=stage, measures=("nDCG@10",))
            measure, run = ir_measures.nDCG @ 10, ir_measures.read_trec_run(str(pipeline.build(spec) / "run.trec"))
            found[cell.name, seed] = ir_measures.calc_aggregate([measure], qrels, run)[measure]
    return found


def best_of(values: dict[tuple[str, int], float], cell: str) -> int:
    return max((seed for name, seed in values if name == cell), key=lambda seed: values[cell, seed])


def exported(trained, place: Path, *arguments: object) -> tuple[str, str, Path]:
    file, _, _ = trained
    said = asked("student", *arguments[:1], place, "--study", file, *arguments[1:])
    return said, (place / "README.md").read_text(), place / "model.safetensors"


def weights(plan: Plan, pipeline: Pipeline, cell: str, seed: int) -> bytes:
    (student,) = (one.students[seed] for one in plan.cells if one.name == cell)
    return (pipeline.store.folder(student) / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("cell", ["static-corpus_random-lce", "static-bm25-lce"])
def test_of_a_cell_the_best_seed_on_validation_queries_is_taken(trained, values, cell, tmp_path):
    said, card, model = exported(trained, tmp_path / "student", cell, "--best")
    seed = best_of(values, cell)
    assert f"{cell}, seed {seed}," in said and model.read_bytes() == weights(*trained[1:], cell, seed)
    for text in (said, card):
        assert all(f"seed {n} {values[cell, n]:.4f}" in text for n in range(3)) and "no test query" in text


def test_of_all_cells_the_one_with_the_best_mean_is(trained, values, tmp_path):
    means = {name: sum(value for (cell, _), value in values.items() if cell == name) / 3 for name, _ in values}
    best = max(means, key=means.__getitem__)
    assert len(set(means.values())) == 2
    said, card, model = exported(trained, tmp_path / "student", "best")
    assert model.read_bytes() == weights(*trained[1:], best, best_of(values, best))
    shown = ", ".join(f"{name} {means[name]:.4f}" for name in sorted(means, key=lambda name: -means[name]))
    assert f"Its cell has the best mean over seeds of 2: {shown}." in card and f"{best}, seed" in said


def test_the_card_gives_the_mean_over_seeds(trained, tmp_path):
    _, plan, pipeline = trained
    _, card, _ = exported(trained, tmp_path / "student", "static-bm25-lce")
    (cell,) = (cell for cell in plan.cells if cell.name == "static-bm25-lce")
    means = []
    for student in cell.students.values():
        spec = plan.evaluations(StudentSystem(student=student), cell.collection)[0]
        frame = pipeline.frame(spec, "per_query")
        means.append(frame.loc[frame["measure"] == "nDCG@10", "value"].mean())
    mean = sum(means) / 3
    deviation = (sum((one - mean) ** 2 for one in means) / 2) ** 0.5
    assert f"{mean:.4f}, SD {deviation:.4f} (3)" in card and "Chosen" not in card


def test_what_cannot_be_chosen_is_told(trained, tmp_path):
    file = trained[0]
    with pytest.raises(ParameterError, match="--seed and --best"):
        asked("student", "static-bm25-lce", tmp_path / "never", "--study", file, "--best", "--seed", 1)
    with pytest.raises(ParameterError, match="study smallest names no validation queries"):
        asked("student", "static-bm25-lce", tmp_path / "never", "--study", "params/smallest.yaml", "--best")
    with pytest.raises(ParameterError, match="--collection: the study does not train on 'x'"):
        asked("student", "best", tmp_path / "never", "--study", file, "--collection", "x")
    assert not (tmp_path / "never").exists()

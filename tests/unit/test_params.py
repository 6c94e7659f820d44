"""Parameters: what is refused, and how the message helps."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rd_utils import params
from rd_utils.params import ParameterError

SMALLEST = Path(__file__).resolve().parents[2] / "params" / "smallest.yaml"


def study(tmp_path: Path, change) -> Path:
    values = yaml.safe_load(SMALLEST.read_text())
    change(values)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def set_in(*place):
    *path, key, value = place

    def change(values):
        for part in path:
            values = values[part]
        values[key] = value

    return change


@pytest.mark.parametrize(
    ("change", "offender", "remedy"),
    [
        (set_in("group_sise", 8), "unknown parameter 'group_sise'", "did you mean 'group_size'"),
        (set_in("strategies", "bm25", "depht", 3), "strategies.bm25.candidates.depht", "did you mean 'depth'"),
        (set_in("architectures", "static", "kind", "static_by"), "unknown kind 'static_by'", "did you mean 'static_bi'"),
        (set_in("grids", 0, "strategies", ["bm52"]), "unknown name 'bm52'", "did you mean 'bm25'"),
        (set_in("grids", 0, "losses", ["klx"]), "'klx' is not a valid value", "did you mean 'kl'"),
        (set_in("grids", 0, "teachers", []), "the loss 'kl' distils a teacher", "names no teachers"),
        (set_in("grids", 0, "losses", ["lce"]), "names the teacher 'oracle'", "none of its losses"),
        (set_in("grids", 0, "seeds", [1, 1]), "seeds repeats a value", "[1, 1]"),
        (set_in("analysis", "measure", "nDCG@100"), "unknown name 'nDCG@100'", "did you mean 'nDCG@10'"),
        (set_in("analysis", "equivalence_margin", 0), "analysis.equivalence_margin", "greater than 0"),
        (set_in("teachers", "cross", "architecture", "static"), "a trained teacher is a cross-encoder", "'static' is a bi-encoder"),
        (set_in("collections", "train", {"source": "ir_datasets", "id": "beir/scifact/train"}), "the oracle knows", "trained or loaded"),
        (set_in("training", {}), "training.documents", "required"),
    ],
)  # fmt: skip
def test_mistakes_are_refused_with_the_offender_and_the_remedy(tmp_path, change, offender, remedy):
    with pytest.raises(ParameterError) as error:
        params.load_study(study(tmp_path, change))
    assert offender in str(error.value)
    assert remedy in str(error.value)


def test_a_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "embedded.yaml").write_text("")
    with pytest.raises(ParameterError, match="did you mean 'embedded.yaml'"):
        params.load_study(tmp_path / "embeded.yaml")


def test_a_repeated_key_is_refused(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("name: a\nname: b\n")
    with pytest.raises(ParameterError, match="'name' stands twice"):
        params.load_study(path)


def test_yaml_numbers_like_1e_5_are_numbers(tmp_path):
    path = study(tmp_path, set_in("training", "learning_rate", "REPLACE"))
    path.write_text(path.read_text().replace("REPLACE", "1e-5"))
    assert params.load_study(path).training.learning_rate == 1e-5


def test_all_problems_are_listed_at_once(tmp_path):
    def change(values):
        values["group_sise"] = 8
        values["grids"][0]["losses"] = ["klx"]

    with pytest.raises(ParameterError, match="2 problems"):
        params.load_study(study(tmp_path, change))


def test_the_published_budget_makes_93750_steps():
    training = params.Training(documents=24_000_000, queries_per_batch=8, accumulation_steps=2)
    assert training.steps(group_size=16) == 93_750
    assert params.Training(documents=24_000_001, queries_per_batch=8, accumulation_steps=2).steps(16) == 93_751


def test_erratum_1_a_distillation_loss_without_a_teacher_is_refused():
    groups = {"collection": {"source": "embedded"}, "strategy": {"kind": "corpus_random"}}
    common = {"groups": groups, "architecture": {"kind": "static_bi"}, "training": {"documents": 10}}
    with pytest.raises(ParameterError, match="distils a teacher, but none is given"):
        params.parse(params.StudentSpec, common | {"loss": "kl"}, "parameters")
    with pytest.raises(ParameterError, match="uses no teacher"):
        params.parse(params.StudentSpec, common | {"loss": "lce", "teacher": {"kind": "oracle"}}, "parameters")


def test_loss_settings_change_only_what_they_name():
    training = params.Training(documents=100, learning_rate=1e-3, queries_per_batch=4)
    changed = params.LossSettings(learning_rate=1e-2, temperature=3.0).apply(training)
    assert (changed.learning_rate, changed.documents, changed.queries_per_batch) == (1e-2, 100, 4)


def test_full_retrieval_is_refused_for_cross_encoders():
    with pytest.raises(ParameterError, match="full retrieval needs a bi-encoder"):
        params.parse(
            params.EvaluationSpec,
            {
                "system": {"kind": "untrained", "architecture": {"kind": "interaction_cross"}, "collection": {"source": "embedded"}},
                "collection": {"source": "embedded", "split": "test"},
                "first_stage": {"kind": "full"},
            },
            "parameters",
        )

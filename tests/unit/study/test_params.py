"""Parameters: what is refused, and how the message helps."""

from __future__ import annotations

import pytest

from rd_utils.study import params
from rd_utils.study.params import ParameterError


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


BI, CROSS = {"kind": "static_bi"}, {"kind": "interaction_cross"}
ORACLE = {"kind": "oracle"}


def student(**changes) -> params.StudentSpec:
    groups = {"collection": {"source": "embedded"}, "strategy": {"kind": "corpus_random"}, **changes.pop("groups", {})}
    training = {"documents": 10, **changes.pop("training", {})}
    common = {"groups": groups, "architecture": BI, "training": training, "loss": "lce"}
    return params.parse(params.StudentSpec, common | changes, "parameters")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_entropy": 0.5}, "the loss 'lce' has no use for a temperature"),
        ({"temperature": 2.0}, "the loss 'lce' has no use for a temperature"),
        ({"loss": "kl", "teacher": ORACLE, "target_entropy": 0.5, "temperature": 2.0}, "give a teacher, and no temperature"),
        ({"loss": "kl", "teacher": ORACLE, "target_entropy": 1.0}, "target_entropy: Input should be less than 1"),
        ({"augmentation": {"noise": 1.0}}, "this loss uses no teacher"),
        ({"augmentation": {"top_k": 2}}, "this loss uses no teacher"),
        ({"augmentation": {"ranks": True}}, "this loss uses no teacher"),
        ({"augmentation": {"hard_weight": 0.5}}, "this loss uses no teacher"),
        ({"training": {"in_batch_negatives": True}, "architecture": CROSS}, "in_batch_negatives is not for a cross-encoder"),
        ({"training": {"in_batch_negatives": True}, "loss": "kl", "teacher": ORACLE}, "no teacher scores for the loss 'kl'"),
        ({"loss": "ranknet_thresholded", "teacher": ORACLE, "temperature": 2.0}, "'ranknet_thresholded' has no use for a temperature"),
        ({"training": {"stop_at": 10}}, "stop_at is 10, not below the 10 documents of the budget"),
        ({"refresh": {"every": 2}, "architecture": CROSS}, "refresh draws from what the student retrieves, which needs a bi-encoder"),
        ({"refresh": {"every": 2}, "groups": {"draws": 2}}, "leave draws at 1"),
        ({"loss": "kl", "teacher": ORACLE, "groups": {"collection": {"source": "ir_datasets", "id": "vaswani"}}}, "the oracle knows"),
    ],
)  # fmt: skip
def test_students_that_cannot_be_trained_are_refused(changes, message):
    with pytest.raises(ParameterError, match=message):
        student(**changes)


def test_what_a_student_may_have_is_accepted():
    assert student(augmentation={"smoothing": 0.1, "query_dropout": 0.1}).augmentation.changes_texts
    assert student(training={"in_batch_negatives": True}).training.in_batch_negatives
    mixed = student(training={"in_batch_negatives": True}, loss="kl", teacher=ORACLE, augmentation={"hard_weight": 0.5})
    assert mixed.augmentation.hard_weight == 0.5 and not mixed.augmentation.changes_scores
    assert student(loss="kl", teacher=ORACLE, target_entropy=0.5).target_entropy == 0.5
    assert student(refresh={"every": 2}).refresh.depth == 100


@pytest.mark.parametrize("kind", ["candidates", "graph", "diameter_targeted"])
def test_a_window_of_ranks_that_is_closed_is_refused(kind):
    values = {"kind": kind, "from_rank": 11, "depth": 10}
    reference = {"kind": "untrained", "architecture": BI, "collection": {"source": "embedded"}}
    values |= {"quantile": 0.5, "reference": reference} if kind == "diameter_targeted" else {}
    common = {"collection": {"source": "embedded"}}
    with pytest.raises(ParameterError, match="from_rank is 11, below depth 10"):
        params.parse(params.GroupsSpec, common | {"strategy": values}, "parameters")
    assert params.parse(params.GroupsSpec, common | {"strategy": values | {"from_rank": 10}}, "parameters").strategy.from_rank == 10


def test_pseudo_queries_need_ordered_lengths_and_know_no_oracle():
    documents = {"source": "embedded"}
    with pytest.raises(ParameterError, match=r"words is \[4, 3\]; expected the least, then the most"):
        params.parse(params.PseudoQueries, {"documents": documents, "words": [4, 3]}, "parameters")
    pseudo = {"source": "pseudo_queries", "documents": documents, "queries": 5}
    with pytest.raises(
        ParameterError, match="the oracle knows the embedded collection only, not 'embedded-smallest-additive-13/train/pseudo-5-0'"
    ):
        student(loss="kl", teacher=ORACLE, groups={"collection": pseudo})


def test_an_ensemble_names_each_member_once_and_none_of_them_may_be_an_unfit_oracle():
    calibration = {"collection": {"source": "embedded"}, "strategy": {"kind": "corpus_random"}}
    values = {"kind": "ensemble", "members": [ORACLE, {"kind": "bm25"}], "calibration": calibration}
    assert len(student(loss="kl", teacher=values).teacher.members) == 2
    with pytest.raises(ParameterError, match="an ensemble names the same teacher twice"):
        student(loss="kl", teacher=values | {"members": [ORACLE, ORACLE]})
    with pytest.raises(ParameterError, match="the oracle knows the embedded collection only, not 'vaswani'"):
        student(loss="kl", teacher=values, groups={"collection": {"source": "ir_datasets", "id": "vaswani"}})


def test_a_search_trains_one_candidate_a_rate_that_differs_in_nothing_else():
    search = {"learning_rates": [0.1, 0.01, 0.1], "embedding_ratio": 0.5, "collection": {"source": "embedded"}, "teacher": ORACLE}
    search |= {"strategy": {"kind": "corpus_random"}, "validation": {"source": "embedded", "split": "validation"}, "first_stages": [{}]}
    own = student(loss="kl", teacher=ORACLE, search=search, augmentation={"noise": 1.0}, seed=3, groups={"seed": 3, "group_size": 4})
    candidates = params.search_spec(own).candidates
    assert [candidate.training.learning_rate for candidate in candidates] == [0.01, 0.1]  # in order, each once
    assert [candidate.training.embedding_learning_rate for candidate in candidates] == [0.005, 0.05]
    assert {candidate.seed for candidate in candidates} == {0} and {candidate.groups.group_size for candidate in candidates} == {4}
    assert all(candidate.augmentation == params.Augmentation() and candidate.search is None for candidate in candidates)
    assert params.search_spec(student()) is None
    lce = params.search_spec(student(search=search)).candidates[0]
    assert lce.loss == "lce" and lce.teacher is None


TRAIN = {
    "collection": {"source": "embedded"},
    "strategy": {"kind": "corpus_random"},
    "teacher": ORACLE,
    "losses": {"lce": {}, "kl": {"temperature": 2.0}},
    "architecture": BI,
    "training": {"documents": 10},
    "seeds": [0, 3],
}


def test_every_student_of_a_notebook_has_a_behaviour_beside_one_teacher_where_there_is_a_probe():
    parsed = params.parse(params.TrainParameters, TRAIN | {"probe": {"queries": 5, "docs": 50}}, "parameters")
    behaviours = parsed.behaviours()
    assert {key: spec.student for key, spec in behaviours.items()} == parsed.students()
    assert len(behaviours) == 4 and behaviours["lce", 3].student.teacher is None
    assert {spec.teacher for spec in behaviours.values()} == {params.Oracle()}  # also of LCE, which learns without one
    assert {spec.probe for spec in behaviours.values()} == {params.Probe(queries=5, docs=50)}
    assert params.parse(params.TrainParameters, TRAIN, "parameters").behaviours() == {}


def test_a_probe_needs_no_reference_and_a_description_no_test_collection():
    parsed = params.parse(params.TrainParameters, TRAIN | {"probe": {}}, "parameters")
    assert parsed.descriptions() == {} and len(parsed.behaviours()) == 4
    assert params.Probe() == params.Probe(queries=200, docs=1000, seed=0)
    assert "test" not in params.DescriptionSpec.model_fields


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        ({"queries": 1}, "probe.queries: Input should be greater than or equal to 2"),
        ({"docs": 49}, "probe.docs: Input should be greater than or equal to 50"),
        ({"seed": -1}, "probe.seed: Input should be greater than or equal to 0"),
        ({"querys": 5}, "probe.querys: unknown parameter 'querys'; did you mean 'queries'"),
    ],
)
def test_a_probe_that_is_too_small_to_say_anything_is_refused(probe, message):
    with pytest.raises(ParameterError, match=message):
        params.parse(params.TrainParameters, TRAIN | {"probe": probe}, "parameters")


def test_notebook_06_refuses_a_student_without_a_search():
    with pytest.raises(ParameterError, match=r"students\[0\] has no search"):
        params.parse(params.SearchParameters, {"students": [student().model_dump(mode="json")]}, "parameters")


def test_labels_say_which_queries_are_meant():
    assert params.IrDatasetsCollection(id="vaswani", skip_queries=60).label == "vaswani[60:]"
    assert params.IrDatasetsCollection(id="vaswani", skip_queries=60, max_queries=40).label == "vaswani[60:100]"
    assert params.FolderCollection(path="a/b", max_queries=5).label == "b/train[:5]"
    pseudo = params.PseudoQueries(documents=params.IrDatasetsCollection(id="vaswani"), queries=9, seed=2)
    assert pseudo.label == "vaswani/pseudo-9-2"


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

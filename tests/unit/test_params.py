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
        (set_in("teachers", "cross", "architecture", "interacton"), "teachers.cross.architecture", "did you mean 'interaction'"),
        (set_in("teachers", "cross", "strategy", "bm52"), "teachers.cross.strategy: unknown name 'bm52'", "did you mean 'bm25'"),
        (set_in("strategies", "bm25", "retriever", "bm52"), "strategies.bm25.retriever: unknown name 'bm52'", "did you mean 'bm25'"),
        (set_in("strategies", "bm25", "filter", {"teacher": "orakle", "value": 1}), "strategies.bm25.teacher: unknown", "mean 'oracle'"),
        (set_in("strategies", "graph", {"kind": "graph", "retriever": "bm52"}), "strategies.graph.retriever", "did you mean 'bm25'"),
        (set_in("strategies", "r", {"kind": "refreshed", "start": "bm52", "every": 2}), "strategies.r.strategy", "did you mean 'bm25'"),
        (set_in("strategies", "d", {"kind": "diameter_targeted", "retriever": "bm25", "quantile": 0.5}), "needs a reference", "bi-encoder"),
        (set_in("retrievers", "dense", {"kind": "dense", "architecture": "statik"}), "retrievers.dense.architecture", "mean 'static'"),
        (set_in("retrievers", "p", {"kind": "pooled", "retrievers": ["bm25", "bm2"]}), "retrievers.p.retriever", "did you mean 'bm25'"),
        (set_in("retrievers", "p", {"kind": "pooled", "retrievers": ["bm25"]}), "retrievers.p.pooled.retrievers", "at least 2"),
        (set_in("retrievers", "r", {"kind": "reranked", "retriever": "bm25", "teacher": "cros"}), "retrievers.r.teacher", "mean 'cross'"),
        (set_in("teachers", "e", {"kind": "encoder", "architecture": "statik"}), "teachers.e.architecture", "did you mean 'static'"),
        (set_in("teachers", "e", {"kind": "ensemble", "members": ["oracle", "x"], "strategy": "bm25"}), "teachers.e.teacher", "oracle"),
        (set_in("teachers", "e", {"kind": "ensemble", "members": ["oracle"], "strategy": "bm25"}), "e.ensemble.members", "at least 2"),
        (set_in("teachers", "e", {"kind": "ensemble", "members": ["oracle", "cross"], "strategy": "b"}), "teachers.e.strategy", "bm25"),
        (set_in("teachers", "l", {"kind": "bm25", "retriever": "bm52"}), "teachers.l.retriever", "did you mean 'bm25'"),
        (set_in("cuts", {"low": {"teacher": "orakle", "part": "lower_half"}}), "cuts.low.teacher", "did you mean 'oracle'"),
        (set_in("cuts", {"low": {"teacher": "oracle", "part": "lower_halve"}}), "'lower_halve' is not a valid value", "mean 'lower_half'"),
        (set_in("cuts", {"all": {"teacher": "oracle", "part": "lower_half"}}), "the name 'all' has a meaning of its own", "choose another"),
        (set_in("augmentations", {"none": {"noise": 1}}), "the name 'none' has a meaning of its own", "choose another"),
        (set_in("strategies", "drop", {"kind": "corpus_random"}), "the name 'drop' has a meaning of its own", "choose another"),
        (set_in("grids", 0, "cuts", ["lower"]), "grids[0].cuts: unknown name 'lower'", "choices: all"),
        (set_in("grids", 0, "augmentations", ["nose"]), "grids[0].augmentations: unknown name 'nose'", "did you mean 'none'"),
        (set_in("grids", 1, "teachers", ["cros"]), "grids[1].teachers", "did you mean 'cross'"),
        (set_in("grids", 1, "architectures", ["statik"]), "grids[1].architectures", "did you mean 'static'"),
        (set_in("overrides", 0, "when", {"architecture": "interactio"}), "overrides[0].when.architecture", "did you mean 'interaction'"),
        (set_in("overrides", 0, "when", {"cut": "al"}), "overrides[0].when.cut", "did you mean 'all'"),
        (set_in("overrides", 0, "when", {"augmentation": "nose"}), "overrides[0].when.augmentation", "did you mean 'none'"),
        (set_in("reference", "statik"), "reference: unknown name 'statik'", "did you mean 'static'"),
        (set_in("reference", "interaction"), "'interaction' is no bi-encoder", "embeddings"),
        (set_in("shortage", "bm52"), "shortage: unknown name 'bm52'", "did you mean 'bm25'"),
        (set_in("evaluation", "first_stages", 0, "retriever", "bm52"), "evaluation.first_stages[0].retriever", "did you mean 'bm25'"),
        (set_in("evaluation", "untrained", ["statik"]), "evaluation.untrained: unknown name 'statik'", "did you mean 'static'"),
        (set_in("analysis", "baseline_strategy", "bm52"), "analysis.baseline_strategy", "did you mean 'bm25'"),
        (set_in("collections", []), "collections", "at least 1"),
        (set_in("training", {}), "training.documents", "required"),
    ],
)  # fmt: skip
def test_mistakes_are_refused_with_the_offender_and_the_remedy(tmp_path, change, offender, remedy):
    with pytest.raises(ParameterError) as error:
        params.load_study(study(tmp_path, change))
    assert offender in str(error.value)
    assert remedy in str(error.value)


def searched(**changes):
    """Return what gives the study a search, with some of its settings changed; None takes one away."""
    search = {"architectures": {"static": {"learning_rates": [0.01, 0.1]}}, "strategy": "bm25", "teacher": "oracle"}
    search |= {"validation": {"source": "embedded", "split": "validation"}, "first_stages": [{"retriever": "bm25"}]}
    return set_in("search", {key: value for key, value in (search | changes).items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "offender", "remedy"),
    [
        ({"strategy": "bm52"}, "search.strategy: unknown name 'bm52'", "did you mean 'bm25'"),
        ({"teacher": "orakle"}, "search.teacher: unknown name 'orakle'", "did you mean 'oracle'"),
        ({"teacher": None}, "search.teacher: a loss of the grids distils a teacher", "name the one that the search uses"),
        ({"first_stages": [{"retriever": "bm52"}]}, "search.first_stages[0].retriever", "did you mean 'bm25'"),
        ({"architectures": {"statik": {"learning_rates": [0.01, 0.1]}}}, "search.architectures: unknown name 'statik'", "mean 'static'"),
        ({"architectures": {"static": {"learning_rates": [0.01]}}}, "search.architectures.static.learning_rates", "at least 2"),
    ],
)  # fmt: skip
def test_mistakes_of_a_search_are_refused(tmp_path, changes, offender, remedy):
    params.load_study(study(tmp_path, searched()))
    with pytest.raises(ParameterError) as error:
        params.load_study(study(tmp_path, searched(**changes)))
    assert offender in str(error.value)
    assert remedy in str(error.value)


def test_entries_that_are_made_from_themselves_are_refused_with_the_way_round(tmp_path):
    def change(values):
        values["retrievers"] |= {
            "pool": {"kind": "pooled", "retrievers": ["bm25", "again"]},
            "again": {"kind": "reranked", "retriever": "bm25", "teacher": "late"},
        }
        values["strategies"]["pooled"] = {"kind": "candidates", "retriever": "pool"}
        values["teachers"]["late"] = {"kind": "trained", "architecture": "interaction", "strategy": "pooled", "training": {"documents": 9}}

    with pytest.raises(ParameterError, match="retriever again -> teacher late -> strategy pooled -> retriever pool -> retriever again"):
        params.load_study(study(tmp_path, change))
    with pytest.raises(ParameterError, match="made from itself: strategy a -> strategy a"):
        params.load_study(study(tmp_path, set_in("strategies", "a", {"kind": "refreshed", "start": "a", "every": 2})))


def test_a_bm25_teacher_needs_a_bm25_retriever(tmp_path):
    def change(values):
        values["retrievers"]["dense"] = {"kind": "dense", "architecture": "static"}
        values["teachers"]["lexical"] = {"kind": "bm25", "retriever": "dense"}

    with pytest.raises(ParameterError, match="teachers.lexical.retriever: 'dense' is no bm25 retriever"):
        params.load_study(study(tmp_path, change))


def test_one_pair_of_collections_is_a_list_of_one(tmp_path):
    one = params.load_study(SMALLEST)
    several = params.load_study(study(tmp_path, lambda values: values.__setitem__("collections", [values["collections"]])))
    assert one == several
    assert [pair.train.split for pair in one.collections] == ["train"]


# --- bases ------------------------------------------------------------------------------------------------------------------------


def on_bases(tmp_path: Path, own: dict, **bases: dict) -> Path:
    """Write a study of ``own`` keys under params/ablations and the files of params/bases; return the study's path."""
    for name, values in bases.items():
        (tmp_path / "bases").mkdir(exist_ok=True)
        (tmp_path / "bases" / f"{name}.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / "ablations").mkdir()
    path = tmp_path / "ablations" / "own.yaml"
    path.write_text(yaml.safe_dump(own))
    return path


def without(values: dict, *keys: str) -> dict:
    return {key: value for key, value in values.items() if key not in keys}


@pytest.fixture
def below() -> dict:
    return without(yaml.safe_load(SMALLEST.read_text()), "name", "question")


def test_a_study_takes_from_its_base_what_it_does_not_say_itself(tmp_path, below):
    own = {
        "name": "own",
        "question": "?",
        "base": "one",
        "training": {"learning_rate": 0.5},
        "strategies": {"mine": {"kind": "corpus_random"}},
    }
    study = params.load_study(on_bases(tmp_path, own, one=below))
    assert (study.training.learning_rate, study.training.documents) == (0.5, 20_000)  # mappings are merged key by key
    assert set(study.strategies) == {"corpus_random", "bm25", "mine"}
    assert study.grids == params.load_study(SMALLEST).grids


def test_a_part_that_says_its_kind_replaces_the_one_below_whole_and_so_does_a_list(tmp_path, below):
    grid = {"strategies": ["bm25"], "losses": ["lce"], "architectures": ["static"], "seeds": [7]}
    own = {
        "name": "own",
        "question": "?",
        "base": "one",
        "strategies": {"bm25": {"kind": "candidates", "retriever": "bm25"}},
        "grids": [grid],
    }
    study = params.load_study(on_bases(tmp_path, own, one=below))
    assert study.strategies["bm25"].depth == 200  # the default, not the 100 of the base
    assert [list(grid.seeds) for grid in study.grids] == [[7]]


def test_a_base_may_have_a_base_and_the_nearer_one_holds(tmp_path, below):
    own = {"name": "own", "question": "?", "base": "two"}
    path = on_bases(tmp_path, own, one=below | {"group_size": 4, "draws": 2}, two={"base": "one", "group_size": 8})
    study = params.load_study(path)
    assert (study.group_size, study.draws, study.base) == (8, 2, "two")


def test_one_argument_moves_a_study_to_another_base_and_says_so_in_its_name(tmp_path, below):
    path = on_bases(tmp_path, {"name": "own", "question": "?", "base": "one"}, one=below, other=below | {"group_size": 8})
    moved = params.load_study(path, "other")
    assert (moved.name, moved.base, moved.group_size) == ("own_other", "other", 8)
    assert params.load_study(path, "one") == params.load_study(path)
    assert params.load_study(path).name == "own"


def test_an_unknown_base_names_the_nearest(tmp_path, below):
    path = on_bases(tmp_path, {"name": "own", "question": "?", "base": "on"}, one=below, two=below)
    with pytest.raises(ParameterError, match=r"no base 'on'; did you mean 'one'\? \(choices: one, two\)"):
        params.load_study(path)
    with pytest.raises(ParameterError, match="no base 'tow'; did you mean 'two'"):
        params.load_study(path, "tow")


def test_bases_on_one_another_are_refused(tmp_path):
    path = on_bases(tmp_path, {"name": "own", "question": "?", "base": "one"}, one={"base": "two"}, two={"base": "one"})
    with pytest.raises(ParameterError, match="one.*two"):
        params.load_study(path)


def test_a_mistake_in_a_base_is_refused_like_one_in_the_study(tmp_path, below):
    path = on_bases(tmp_path, {"name": "own", "question": "?", "base": "one"}, one=below | {"group_sise": 3})
    with pytest.raises(ParameterError, match="unknown parameter 'group_sise'; did you mean 'group_size'"):
        params.load_study(path)


# --- files and numbers ------------------------------------------------------------------------------------------------------------


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
        ({"training": {"in_batch_negatives": True}, "architecture": CROSS}, "in_batch_negatives needs a bi-encoder"),
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": ["kl"]}, "the loss 'kl' distils a teacher, but the grid names no teachers"),
        ({"teachers": ["oracle"]}, "none of its losses"),
        ({"teachers": ["oracle"], "losses": ["kl"], "target_entropies": [0.5], "temperatures": [2.0]}, "not both; write two grids"),
        ({"cuts": ["all", "all"]}, "cuts repeats a value"),
        ({"temperatures": []}, "temperatures: Tuple should have at least 1 item"),
        ({"teachers": ["oracle"], "losses": ["kl"], "target_entropies": [1.0]}, "less than 1"),
    ],
)  # fmt: skip
def test_grids_that_make_no_cells_or_the_same_twice_are_refused(changes, message):
    values = {"strategies": ["bm25"], "losses": ["lce"], "architectures": ["bi"], "seeds": [0]}
    params.parse(params.Grid, values, "parameters")
    with pytest.raises(ParameterError, match=message):
        params.parse(params.Grid, values | changes, "parameters")


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

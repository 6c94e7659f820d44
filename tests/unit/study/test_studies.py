"""Studies: what is refused and how the message helps, bases, names that name one another."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from rd_utils.study import params, studies
from rd_utils.study.params import ParameterError

SMALLEST = Path(__file__).resolve().parents[3] / "params" / "smallest.yaml"


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


def without_reference(values):
    del values["reference"]
    values["strategies"]["d"] = {"kind": "diameter_targeted", "retriever": "bm25", "quantile": 0.5}


@pytest.mark.parametrize(
    ("change", "offender", "remedy"),
    [
        (set_in("group_sise", 8), "unknown parameter 'group_sise'", "did you mean 'group_size'"),
        (set_in("strategies", "bm25", "depht", 3), "strategies.bm25.depht", "did you mean 'depth'"),
        (set_in("architectures", "static", "kind", "static_by"), "unknown kind 'static_by'", "did you mean 'static_bi'"),
        (set_in("grids", 0, "strategies", ["bm52"]), "unknown name 'bm52'", "did you mean 'bm25'"),
        (set_in("grids", 0, "losses", ["klx"]), "'klx' is not a valid value", "did you mean 'kl'"),
        (set_in("grids", 0, "teachers", []), "the loss 'kl' distils a teacher", "names no teachers"),
        (set_in("grids", 0, "losses", ["lce"]), "names the teacher 'oracle'", "none of its losses"),
        (set_in("grids", 0, "seeds", [1, 1]), "grids[0].seeds: 1 repeats", "[1, 1]"),
        (set_in("analysis", "measure", "nDCG@100"), "unknown name 'nDCG@100'", "did you mean 'nDCG@10'"),
        (set_in("analysis", "equivalence_margin", 0), "analysis.equivalence_margin", "greater than 0"),
        (set_in("analysis", "margins_shown", [0.01, 0]), "analysis.margins_shown[1]", "greater than 0"),
        (set_in("analysis", "watts_per_core", 0), "analysis.watts_per_core", "greater than 0"),
        (set_in("analysis", "gpu_watts", -1), "analysis.gpu_watts", "greater than 0"),
        (set_in("analysis", "watts_per_cor", 5), "unknown parameter 'watts_per_cor'", "did you mean 'watts_per_core'"),
        (set_in("probe", {"queries": 1}), "probe.queries", "greater than or equal to 2"),
        (set_in("probe", {"documents": 500}), "unknown parameter 'documents'", "choices: docs, queries, seed"),
        (set_in("teachers", "cross", "architecture", "interacton"), "teachers.cross.architecture", "did you mean 'interaction'"),
        (set_in("teachers", "cross", "strategy", "bm52"), "teachers.cross.strategy: unknown name 'bm52'", "did you mean 'bm25'"),
        (set_in("strategies", "bm25", "retriever", "bm52"), "strategies.bm25.retriever: unknown name 'bm52'", "did you mean 'bm25'"),
        (set_in("strategies", "bm25", "filter", {"teacher": "orakle", "value": 1}), "bm25.filter.teacher: unknown", "mean 'oracle'"),
        (set_in("strategies", "graph", {"kind": "graph", "retriever": "bm52"}), "strategies.graph.retriever", "did you mean 'bm25'"),
        (set_in("strategies", "r", {"kind": "refreshed", "start": "bm52", "every": 2}), "strategies.r.start", "did you mean 'bm25'"),
        (without_reference, "a diameter_targeted strategy needs a reference", "name a bi-encoder"),
        (set_in("retrievers", "dense", {"kind": "dense", "architecture": "statik"}), "retrievers.dense.architecture", "mean 'static'"),
        (set_in("retrievers", "p", {"kind": "pooled", "retrievers": ["bm25", "bm2"]}), "retrievers.p.retrievers[1]", "did you mean 'bm25'"),
        (set_in("retrievers", "p", {"kind": "pooled", "retrievers": ["bm25"]}), "retrievers.p.retrievers", "at least 2"),
        (set_in("retrievers", "r", {"kind": "reranked", "retriever": "bm25", "teacher": "cros"}), "retrievers.r.teacher", "mean 'cross'"),
        (set_in("teachers", "e", {"kind": "encoder", "architecture": "statik"}), "teachers.e.architecture", "did you mean 'static'"),
        (set_in("teachers", "e", {"kind": "ensemble", "members": ["oracle", "x"], "strategy": "bm25"}), "teachers.e.members[1]", "oracle"),
        (set_in("teachers", "e", {"kind": "ensemble", "members": ["oracle"], "strategy": "bm25"}), "teachers.e.members", "at least 2"),
        (set_in("teachers", "e", {"kind": "ensemble", "members": ["oracle", "cross"], "strategy": "b"}), "teachers.e.strategy", "bm25"),
        (set_in("teachers", "l", {"kind": "bm25", "retriever": "bm52"}), "teachers.l.retriever", "did you mean 'bm25'"),
        (set_in("cuts", {"low": {"teacher": "orakle", "part": "lower_half"}}), "cuts.low.teacher", "did you mean 'oracle'"),
        (set_in("cuts", {"low": {"teacher": "oracle", "part": "lower_halve"}}), "'lower_halve' is not a valid value", "mean 'lower_half'"),
        (set_in("cuts", {"all": {"teacher": "oracle", "part": "lower_half"}}), "the name 'all' has a meaning of its own", "choose another"),
        (set_in("augmentations", {"none": {"noise": 1}}), "the name 'none' has a meaning of its own", "choose another"),
        (set_in("strategies", "drop", {"kind": "corpus_random"}), "the name 'drop' has a meaning of its own", "choose another"),
        (set_in("grids", 0, "cuts", ["lower"]), "grids[0].cuts[0]: unknown name 'lower'", "choices: all"),
        (set_in("grids", 0, "augmentations", ["nose"]), "grids[0].augmentations[0]: unknown name 'nose'", "did you mean 'none'"),
        (set_in("grids", 1, "teachers", ["cros"]), "grids[1].teachers[0]", "did you mean 'cross'"),
        (set_in("grids", 1, "architectures", ["statik"]), "grids[1].architectures[0]", "did you mean 'static'"),
        (set_in("overrides", 0, "when", {"architecture": "interactio"}), "overrides[0].when.architecture", "did you mean 'interaction'"),
        (set_in("overrides", 0, "when", {"cut": "al"}), "overrides[0].when.cut", "did you mean 'all'"),
        (set_in("overrides", 0, "when", {"augmentation": "nose"}), "overrides[0].when.augmentation", "did you mean 'none'"),
        (set_in("reference", "statik"), "reference: unknown name 'statik'", "did you mean 'static'"),
        (set_in("reference", "interaction"), "'interaction' is no bi-encoder", "embeddings"),
        (set_in("shortage", "bm52"), "shortage: unknown name 'bm52'", "did you mean 'bm25'"),
        (set_in("evaluation", "first_stages", 0, "retriever", "bm52"), "evaluation.first_stages[0].retriever", "did you mean 'bm25'"),
        (set_in("evaluation", "untrained", ["statik"]), "evaluation.untrained[0]: unknown name 'statik'", "did you mean 'static'"),
        (set_in("analysis", "baseline_strategy", "bm52"), "analysis.baseline_strategy", "did you mean 'bm25'"),
        (set_in("collections", []), "collections", "at least 1"),
        (set_in("training", {}), "training.documents", "required"),
    ],
)  # fmt: skip
def test_mistakes_are_refused_with_the_offender_and_the_remedy(tmp_path, change, offender, remedy):
    with pytest.raises(ParameterError) as error:
        studies.load_study(study(tmp_path, change))
    assert offender in str(error.value)
    assert remedy in str(error.value)


REFRESHED = {"kind": "refreshed", "start": "bm25", "every": 2}


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
        ({"strategy": REFRESHED}, "search.strategy: a refreshed strategy", "name the one that it starts from"),
        ({"teacher": None}, "search.teacher: a loss of the grids distils a teacher", "name the one that the search uses"),
        ({"first_stages": [{"retriever": "bm52"}]}, "search.first_stages[0].retriever", "did you mean 'bm25'"),
        ({"architectures": {"statik": {"learning_rates": [0.01, 0.1]}}}, "architectures.statik: unknown name 'statik'", "mean 'static'"),
        ({"architectures": {"static": {"learning_rates": [0.01]}}}, "search.architectures.static.learning_rates", "at least 2"),
    ],
)  # fmt: skip
def test_mistakes_of_a_search_are_refused(tmp_path, changes, offender, remedy):
    studies.load_study(study(tmp_path, searched()))
    with pytest.raises(ParameterError) as error:
        studies.load_study(study(tmp_path, searched(**changes)))
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
        studies.load_study(study(tmp_path, change))
    with pytest.raises(ParameterError, match="made from itself: strategy a -> strategy a"):
        studies.load_study(study(tmp_path, set_in("strategies", "a", {"kind": "refreshed", "start": "a", "every": 2})))


def test_a_bm25_teacher_needs_a_bm25_retriever(tmp_path):
    def change(values):
        values["retrievers"]["dense"] = {"kind": "dense", "architecture": "static"}
        values["teachers"]["lexical"] = {"kind": "bm25", "retriever": "dense"}

    with pytest.raises(ParameterError, match="teachers.lexical.retriever: 'dense' is no bm25 retriever"):
        studies.load_study(study(tmp_path, change))


def test_what_the_analysis_shows_has_defaults_and_a_study_may_have_no_probe(tmp_path):
    smallest = studies.load_study(SMALLEST)
    assert smallest.analysis.margins_shown == (0.01, 0.02) and smallest.analysis.equivalence_margin in smallest.analysis.margins_shown
    assert (smallest.analysis.watts_per_core, smallest.analysis.gpu_watts) == (10.0, None)
    assert smallest.probe == params.Probe(queries=100, docs=300)
    own = studies.load_study(study(tmp_path, set_in("analysis", "margins_shown", [])))
    assert own.analysis.margins_shown == ()
    assert studies.load_study(study(tmp_path, lambda values: values.pop("probe"))).probe is None


def test_one_pair_of_collections_is_a_list_of_one(tmp_path):
    one = studies.load_study(SMALLEST)
    several = studies.load_study(study(tmp_path, lambda values: values.__setitem__("collections", [values["collections"]])))
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
    study = studies.load_study(on_bases(tmp_path, own, one=below))
    assert (study.training.learning_rate, study.training.documents) == (0.5, 20_000)  # mappings are merged key by key
    assert set(study.strategies) == {"corpus_random", "bm25", "mine"}
    assert study.grids == studies.load_study(SMALLEST).grids


def test_a_part_that_says_its_kind_replaces_the_one_below_whole_and_so_does_a_list(tmp_path, below):
    grid = {"strategies": ["bm25"], "losses": ["lce"], "architectures": ["static"], "seeds": [7]}
    own = {
        "name": "own",
        "question": "?",
        "base": "one",
        "strategies": {"bm25": {"kind": "candidates", "retriever": "bm25"}},
        "grids": [grid],
    }
    study = studies.load_study(on_bases(tmp_path, own, one=below))
    assert study.strategies["bm25"].depth == 200  # the default, not the 100 of the base
    assert [list(grid.seeds) for grid in study.grids] == [[7]]


def test_a_base_may_have_a_base_and_the_nearer_one_holds(tmp_path, below):
    own = {"name": "own", "question": "?", "base": "two"}
    path = on_bases(tmp_path, own, one=below | {"group_size": 4, "draws": 2}, two={"base": "one", "group_size": 8})
    study = studies.load_study(path)
    assert (study.group_size, study.draws, study.base) == (8, 2, "two")


def test_one_argument_moves_a_study_to_another_base_and_says_so_in_its_name(tmp_path, below):
    path = on_bases(tmp_path, {"name": "own", "question": "?", "base": "one"}, one=below, other=below | {"group_size": 8})
    moved = studies.load_study(path, "other")
    assert (moved.name, moved.base, moved.group_size) == ("own_other", "other", 8)
    assert studies.load_study(path, "one") == studies.load_study(path)
    assert studies.load_study(path).name == "own"


def test_an_unknown_base_names_the_nearest(tmp_path, below):
    path = on_bases(tmp_path, {"name": "own", "question": "?", "base": "on"}, one=below, two=below)
    with pytest.raises(ParameterError, match=r"no base 'on'; did you mean 'one'\? \(choices: .*embedded, one, .*two, vaswani\)"):
        studies.load_study(path)
    with pytest.raises(ParameterError, match="no base 'tow'; did you mean 'two'"):
        studies.load_study(path, "tow")


def test_bases_on_one_another_are_refused(tmp_path):
    path = on_bases(tmp_path, {"name": "own", "question": "?", "base": "one"}, one={"base": "two"}, two={"base": "one"})
    with pytest.raises(ParameterError, match="one.*two"):
        studies.load_study(path)


def test_a_mistake_in_a_base_is_refused_like_one_in_the_study(tmp_path, below):
    path = on_bases(tmp_path, {"name": "own", "question": "?", "base": "one"}, one=below | {"group_sise": 3})
    with pytest.raises(ParameterError, match="unknown parameter 'group_sise'; did you mean 'group_size'"):
        studies.load_study(path)


# --- files and numbers ------------------------------------------------------------------------------------------------------------


def test_a_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "embedded.yaml").write_text("")
    with pytest.raises(ParameterError, match="did you mean 'embedded.yaml'"):
        studies.load_study(tmp_path / "embeded.yaml")


def test_a_repeated_key_is_refused(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("name: a\nname: b\n")
    with pytest.raises(ParameterError, match="'name' stands twice"):
        studies.load_study(path)


def test_yaml_numbers_like_1e_5_are_numbers(tmp_path):
    path = study(tmp_path, set_in("training", "learning_rate", "REPLACE"))
    path.write_text(path.read_text().replace("REPLACE", "1e-5"))
    assert studies.load_study(path).training.learning_rate == 1e-5


def test_all_problems_are_listed_at_once(tmp_path):
    def change(values):
        values["group_sise"] = 8
        values["grids"][0]["losses"] = ["klx"]

    with pytest.raises(ParameterError, match="2 problems"):
        studies.load_study(study(tmp_path, change))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": ["kl"]}, "the loss 'kl' distils a teacher, but the grid names no teachers"),
        ({"teachers": ["oracle"]}, "none of its losses"),
        ({"teachers": ["oracle"], "losses": ["kl"], "target_entropies": [0.5], "temperatures": [2.0]}, "not both; write two grids"),
        ({"cuts": ["all", "all"]}, "cuts: 'all' repeats"),
        ({"temperatures": []}, "temperatures: Tuple should have at least 1 item"),
        ({"teachers": ["oracle"], "losses": ["kl"], "target_entropies": [1.0]}, "less than 1"),
    ],
)  # fmt: skip
def test_grids_that_make_no_cells_or_the_same_twice_are_refused(changes, message):
    values = {"strategies": ["bm25"], "losses": ["lce"], "architectures": ["bi"], "seeds": [0]}
    params.parse(studies.Grid, values, "parameters")
    with pytest.raises(ParameterError, match=message):
        params.parse(studies.Grid, values | changes, "parameters")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda v: v["retrievers"].update(d={"kind": "dense", "architecture": "static", "teacher": "oracle"}),
            "without a strategy it is not",
        ),
        (lambda v: v["teachers"].update(e={"kind": "encoder", "architecture": "interaction"}), "is no bi-encoder; only these have embedd"),
        (lambda v: v.update(augmentations={"top": {"top_k": 17}}), "top_k is 17, but a group has 16"),
        (lambda v: v.update(augmentations={"few": {"random_share": 0.01}}), "not one of 15 negatives"),
    ],
)
def test_what_would_do_nothing_or_fail_later_is_refused(tmp_path, change, message):
    with pytest.raises(ParameterError, match=message):
        studies.load_study(study(tmp_path, change))


def test_a_shortage_is_not_filled_from_what_needs_groups_itself(tmp_path):
    def change(values):
        values["retrievers"]["d"] = {"kind": "dense", "architecture": "static", "strategy": "bm25"}
        values["strategies"]["d"] = {"kind": "candidates", "retriever": "d"}
        values["shortage"] = "d"

    with pytest.raises(ParameterError, match="shortage: 'd' is made from what needs it itself"):
        studies.load_study(study(tmp_path, change))


def test_a_reranked_list_is_as_deep_as_what_draws_from_it(tmp_path):
    def change(values):
        values["retrievers"]["r"] = {"kind": "reranked", "retriever": "bm25", "teacher": "oracle", "from_depth": 50}
        values["strategies"]["r"] = {"kind": "candidates", "retriever": "r", "depth": 100}

    with pytest.raises(ParameterError, match="from_depth is 50, less than"):
        studies.load_study(study(tmp_path, change))


def test_another_base_brings_its_own_collections(tmp_path, below):
    own = {"name": "own", "question": "?", "base": "one", "collections": below["collections"]}
    path = on_bases(tmp_path, own, one=below, two=below)
    moved = below["collections"] | {"train": below["collections"]["train"] | {"seed": 99}}
    (tmp_path / "bases" / "two.yaml").write_text(yaml.safe_dump(below | {"collections": moved}))
    assert studies.load_study(path).collections[0].train.seed == 13
    assert studies.load_study(path, "two").collections[0].train.seed == 99


@pytest.mark.parametrize(
    ("validation", "shared"),
    [
        ({"source": "ir_datasets", "id": "beir/scifact/train", "max_queries": 60}, None),
        ({"source": "ir_datasets", "id": "beir/scifact/train", "max_queries": 61}, "training collection"),
        ({"source": "ir_datasets", "id": "beir/scifact/train"}, "training collection"),
        ({"source": "ir_datasets", "id": "beir/scifact/test", "skip_queries": 10, "max_queries": 5}, "test collection"),
    ],
)
def test_a_learning_rate_is_not_chosen_on_training_or_test_queries(validation, shared):
    study = copy.deepcopy(studies.load_study(SMALLEST.parent / "scifact_grid.yaml").said)
    study["search"]["validation"] = validation
    if shared is None:
        studies.Study.model_validate(study)
    else:
        with pytest.raises(ValueError, match=f"search.validation: .* shares queries with the {shared}"):
            studies.Study.model_validate(study)

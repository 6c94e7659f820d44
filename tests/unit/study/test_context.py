"""What names stand for, in a study on one of its collections and in a notebook, and what is said in short."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rd_utils.store import identity
from rd_utils.study import params, plan, studies
from rd_utils.study.params import ParameterError

SMALLEST = Path(__file__).resolve().parents[3] / "params" / "smallest.yaml"
TRAIN = {"source": "embedded", "split": "train"}
BUDGET = {"documents": 64, "queries_per_batch": 2, "learning_rate": 0.5}


def add_everything(values: dict) -> None:
    """Give the smallest study one entry of every kind."""
    values["retrievers"] |= {
        "untrained": {"kind": "dense", "architecture": "static", "seed": 3},
        "dense": {"kind": "dense", "architecture": "static", "strategy": "bm25", "loss": "kl", "teacher": "cross", "seed": 2},
        "cheap": {"kind": "dense", "architecture": "static", "strategy": "bm25", "training": BUDGET},
        "reranked": {"kind": "reranked", "retriever": "pool", "from_depth": 30, "teacher": "cross"},
        "pool": {"kind": "pooled", "retrievers": ["bm25", "dense"], "at_most": 7},
        "elsewhere": {"kind": "run_file", "path": "no.run", "name": "elsewhere"},
    }
    values["strategies"] |= {
        "hard": {"kind": "candidates", "retriever": "reranked", "from_rank": 3, "depth": 20, "draw": "softmax", "draw_temperature": 2.0},
        "filtered": {
            "kind": "candidates",
            "retriever": "bm25",
            "filter": {"teacher": "cross", "rule": "share", "value": 0.9, "units": "sigmoid"},
        },
        "graph": {"kind": "graph", "retriever": "dense", "depth": 9},
        "narrow": {"kind": "diameter_targeted", "retriever": "pool", "depth": 14, "quantile": 0.25, "trials": 8},
        "refreshed": {"kind": "refreshed", "start": "hard", "every": 5, "depth": 40, "draw": "top"},
    }
    values["teachers"] |= {
        "bi": {"kind": "encoder", "architecture": "static"},
        "lexical": {"kind": "bm25", "retriever": "bm25"},
        "file": {"kind": "file", "path": "no.parquet"},
        "all": {"kind": "ensemble", "members": ["bi", "lexical"], "strategy": "bm25", "seed": 4},
    }
    values["augmentations"] = {"noisy": {"noise": 1.0, "random_share": 0.5}}
    values["cuts"] = {"low": {"teacher": "all", "entropy": "listwise_entropy", "temperature": 2.0, "part": "quarter_1"}}
    values["reference"] = "static"
    values["shortage"] = "bm25"
    values["search"] = {
        "architectures": {"static": {"learning_rates": [0.01, 0.1], "embedding_ratio": 2.0}},
        "strategy": "bm25",
        "teacher": "oracle",
        "validation": {"source": "embedded", "split": "validation"},
        "first_stages": [{"retriever": "bm25", "depth": 10}],
    }


def load(tmp_path: Path, change=None) -> studies.Study:
    values = yaml.safe_load(SMALLEST.read_text())
    add_everything(values)
    if change:
        change(values)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(values))
    return studies.load_study(path)


@pytest.fixture
def study(tmp_path) -> studies.Study:
    return load(tmp_path)


def test_a_dense_retriever_is_an_untrained_encoder_or_a_student_of_its_own(study):
    untrained = study.retrievers["untrained"]
    assert untrained.encoder == params.UntrainedSystem(architecture=study.architectures["static"], collection=study.collection, seed=3)
    student = study.retrievers["dense"].encoder.student
    assert (student.loss, student.seed, student.groups.seed) == ("kl", 2, 2)
    assert student.teacher == study.teachers["cross"] and student.training == study.training
    assert student.groups.strategy == study.strategies["bm25"] and student.search is None
    assert study.retrievers["cheap"].encoder.student.training == params.Training(**BUDGET)


def test_retrievers_are_made_from_the_retrievers_and_teachers_that_they_name(study):
    pool = study.retrievers["pool"]
    assert pool == params.Pooled(retrievers=(study.retrievers["bm25"], study.retrievers["dense"]), at_most=7)
    assert study.retrievers["reranked"] == params.Reranked(retriever=pool, from_depth=30, teacher=study.teachers["cross"])
    assert study.retrievers["bm25"] == params.BM25()
    assert study.retrievers["elsewhere"].label == "elsewhere"


def test_strategies_keep_every_setting_of_their_entry(study):
    hard = study.strategies["hard"]
    assert (hard.from_rank, hard.depth, hard.draw, hard.draw_temperature) == (3, 20, "softmax", 2.0)
    assert hard.retriever == study.retrievers["reranked"]
    keep = study.strategies["filtered"].filter
    assert keep == params.FalseNegativeFilter(teacher=study.teachers["cross"], rule="share", value=0.9, units="sigmoid")
    assert study.strategies["bm25"].filter is None
    assert study.strategies["graph"] == params.Graph(retriever=study.retrievers["dense"], depth=9)
    narrow = study.strategies["narrow"]
    assert (narrow.quantile, narrow.trials, narrow.reference) == (0.25, 8, study.untrained("static"))
    assert study.strategies["corpus_random"] == params.CorpusRandom()


def test_a_refreshed_strategy_starts_from_another_and_then_draws_anew(study):
    assert study.strategies["refreshed"].first == study.strategies["hard"] == study.strategies["hard"].first
    assert study.strategies["refreshed"].refresh == params.Refresh(every=5, depth=40, draw="top")
    assert study.strategies["hard"].refresh is None


def test_draws_are_not_repeated_where_a_strategy_refreshes(tmp_path):
    study = load(tmp_path, lambda values: values.__setitem__("draws", 3))
    assert (study.groups("hard", 0).draws, study.groups("refreshed", 0).draws) == (3, 1)


def test_teachers_are_made_from_what_they_name(study):
    assert study.teachers["bi"] == params.EncoderTeacher(encoder=study.untrained("static"))
    assert study.teachers["lexical"] == params.BM25Teacher(retriever=params.BM25())
    assert study.teachers["file"] == params.FileTeacher(path="no.parquet")
    assert study.teachers["oracle"] == params.Oracle()
    ensemble = study.teachers["all"]
    assert ensemble.members == (study.teachers["bi"], study.teachers["lexical"])
    assert ensemble.calibration == study.groups("bm25", 4)
    assert study.teachers["cross"].student.training == params.Training(**study.said["teachers"]["cross"]["training"])


def test_groups_carry_the_studys_size_shortage_random_share_and_cut(study):
    groups = study.groups("hard", seed=6, augmentation="noisy", cut="low")
    assert (groups.seed, groups.group_size, groups.random_share) == (6, 16, 0.5)
    assert groups.shortage == study.strategies["bm25"]
    assert groups.cut == params.EntropyCut(teacher=study.teachers["all"], entropy="listwise_entropy", temperature=2.0, part="quarter_1")
    plain = study.groups("hard", seed=6)
    assert (plain.random_share, plain.cut) == (0.0, None)


def test_an_augmentation_is_of_texts_and_targets_its_random_share_of_the_groups(study):
    assert study.augmentation("noisy") == params.Augmentation(noise=1.0)
    assert study.augmentation("none") == params.Augmentation()


def test_a_search_runs_on_the_first_collection_and_its_choice_holds_for_all(tmp_path):
    other = {"source": "embedded", "seed": 14}

    def change(values):
        values["collections"] = [
            values["collections"],
            {"train": other | {"split": "train"}, "test": [other | {"split": "test"}]},
        ]

    study = load(tmp_path, change)
    search = study.searched("static")
    planned = plan.Plan(study, "study.yaml")
    assert {student.search for cell in planned.cells for student in cell.students.values() if cell.architecture == "static"} == {search}
    assert {cell.collection for cell in planned.cells} == {pair.train.label for pair in study.collections}
    assert search.collection == study.collections[0].train and search.strategy == study.strategies["bm25"]
    assert (search.learning_rates, search.embedding_ratio) == ((0.01, 0.1), 2.0)
    assert search.first_stages == (params.FirstStage(retriever=params.BM25(), depth=10),)
    assert study.searched("interaction") is None


def test_collections_share_no_student_and_each_starts_from_its_own_vocabulary(tmp_path):
    study = load(tmp_path)
    both = [study.on(params.EmbeddedCollection(split="train", seed=seed)) for seed in (13, 14)]
    students = [on.retrievers["dense"].encoder.student for on in both]
    assert students[0].groups.collection != students[1].groups.collection
    assert identity(students[0]) != identity(students[1])
    assert both[0] is study and both[1].reference.collection.seed == 14


def test_what_names_share_is_one_artefact(study):
    assert identity(study.groups("hard", 0)) == identity(study.groups("refreshed", 0))
    assert study.retrievers["reranked"].teacher == study.strategies["filtered"].filter.teacher


def test_a_study_without_a_reference_or_a_search_has_none(tmp_path):
    def change(values):
        values |= {"reference": None, "search": None}
        del values["strategies"]["narrow"]

    study = load(tmp_path, change)
    assert study.reference is None and study.searched("static") is None


# --- names and kinds that stand alone ---------------------------------------------------------------------------------------------

MINED = {"collection": TRAIN, "strategy": "bm25"}


@pytest.mark.parametrize(
    ("changes", "meant"),
    [
        ({"strategy": "bm25"}, {"strategy": {"kind": "candidates", "retriever": {"kind": "bm25"}}}),
        ({"strategy": "corpus_random"}, {"strategy": {"kind": "corpus_random"}}),
        ({"strategy": {"kind": "graph", "retriever": "bm25"}}, {"strategy": {"kind": "graph"}}),
        ({"collection": "embedded"}, {"collection": {"source": "embedded"}}),
        ({"shortage": "corpus_random"}, {"shortage": {"kind": "corpus_random"}}),
        ({"reference": "static_bi"}, {"reference": {"kind": "untrained", "architecture": {"kind": "static_bi"}, "collection": TRAIN}}),
        (
            {"reference": "static_bi", "strategy": {"kind": "diameter_targeted", "quantile": 0.5}},
            {
                "reference": "static_bi",
                "strategy": {
                    "kind": "diameter_targeted",
                    "quantile": 0.5,
                    "reference": {"kind": "untrained", "architecture": {"kind": "static_bi"}, "collection": TRAIN},
                },
            },
        ),
        (
            {"strategy": {"kind": "candidates", "retriever": {"kind": "dense", "architecture": "static_bi", "seed": 4}}},
            {
                "strategy": {
                    "kind": "candidates",
                    "retriever": {
                        "kind": "dense",
                        "encoder": {"kind": "untrained", "architecture": {"kind": "static_bi"}, "collection": TRAIN, "seed": 4},
                    },
                }
            },
        ),
        (
            {"teacher": {"kind": "trained", "architecture": "interaction_cross", "strategy": "bm25", "training": BUDGET, "seed": 2}},
            {
                "teacher": {
                    "kind": "trained",
                    "student": {
                        "groups": MINED | {"group_size": 4, "draws": 2, "seed": 2},
                        "loss": "lce",
                        "architecture": {"kind": "interaction_cross"},
                        "training": BUDGET,
                        "seed": 2,
                    },
                }
            },
        ),
        (
            {"teacher": {"kind": "ensemble", "members": ["oracle", "bm25"], "strategy": "corpus_random"}},
            {
                "teacher": {
                    "kind": "ensemble",
                    "members": [{"kind": "oracle"}, {"kind": "bm25"}],
                    "calibration": MINED | {"strategy": {"kind": "corpus_random"}, "group_size": 4, "draws": 2},
                }
            },
        ),
    ],
)
def test_a_notebook_takes_names_and_what_is_said_in_short(changes, meant):
    common = MINED | {"group_size": 4, "draws": 2, "teacher": {"kind": "oracle"}}
    assert params.parse(params.ScoreParameters, common | changes, "parameters") == params.parse(
        params.ScoreParameters, common | meant, "parameters"
    )


def test_a_notebook_may_refresh_its_groups_by_its_strategy():
    common = {"collection": TRAIN, "losses": {"lce": {}}, "architecture": "static_bi", "training": BUDGET}
    short = params.parse(params.TrainParameters, common | {"strategy": {"kind": "refreshed", "start": "bm25", "every": 5}}, "parameters")
    long = params.parse(params.TrainParameters, common | {"strategy": "bm25", "refresh": {"every": 5}}, "parameters")
    assert short.students() == long.students() and short.groups(0) == long.groups(0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": {"kind": "trained", "architecture": "static_bi", "strategy": "bm25"}}, "teacher.training: required, but missing"),
        (
            {"teacher": {"kind": "trained", "architecture": "static_bi", "strategy": "bm25", "training": BUDGET, "los": "kl"}},
            "teacher.los: unknown parameter 'los'; did you mean 'loss'",
        ),
        (
            {"teacher": {"kind": "encoder", "architecture": "interaction_cross"}},
            "teacher.architecture: .*choices: static_bi, tiny_bert_bi",
        ),
        ({"strategy": {"kind": "diameter_targeted", "quantile": 0.5}}, "strategy: a diameter_targeted strategy needs a reference"),
        ({"teacher": {"kind": "bm25", "retriever": "oracle"}}, "teacher.retriever: 'oracle' is no mapping"),
        ({"strategy": "bm52"}, "strategy: 'bm52' is no mapping; .*choices: corpus_random"),
    ],
)
def test_what_is_said_in_short_is_refused_in_its_own_place(changes, message):
    common = MINED | {"teacher": {"kind": "oracle"}}
    with pytest.raises(ParameterError, match=f"1 problem\n  {message}"):
        params.parse(params.ScoreParameters, common | changes, "parameters")


def test_a_study_may_write_parts_out_where_it_may_name_them(tmp_path):
    def change(values):
        values["strategies"]["inline"] = {
            "kind": "candidates",
            "retriever": {"kind": "pooled", "retrievers": ["bm25", {"kind": "bm25", "b": 1}]},
        }
        values["strategies"]["random"] = "corpus_random"
        values["evaluation"]["first_stages"] = [{"retriever": {"kind": "bm25", "k1": 2.0}}]
        values["shortage"] = {"kind": "corpus_random"}

    study = load(tmp_path, change)
    assert study.strategies["inline"].retriever.retrievers == (params.BM25(), params.BM25(b=1))
    assert study.strategies["random"] == study.groups("inline", 0).shortage == params.CorpusRandom()
    assert study.name_of(study.evaluation.first_stages[0].retriever) is None
    assert study.name_of(study.strategies["hard"]) == "hard"


def test_a_name_of_another_kind_is_refused(tmp_path):
    for table, part, message in (
        ("retrievers", {"kind": "dense", "architecture": "interaction"}, "'interaction' is no bi-encoder"),
        ("teachers", {"kind": "bm25", "retriever": "dense"}, "'dense' is no bm25 retriever"),
        ("strategies", {"kind": "graph", "retriever": "pool"}, "'pooled' reads no documents; a graph needs bm25 or a dense one"),
    ):
        with pytest.raises(ParameterError, match=message):
            load(tmp_path, lambda values, table=table, part=part: values[table].__setitem__("x", part))


def test_a_part_on_another_collection_is_refused_there_with_its_place(tmp_path):
    def change(values):
        values["collections"] = [values["collections"], {"train": {"source": "ir_datasets", "id": "vaswani", "max_queries": 50}, "test": [
            {"source": "ir_datasets", "id": "vaswani", "skip_queries": 50}]}]  # fmt: skip

    with pytest.raises(plan.PlanError, match="teachers.all: the oracle knows the embedded collection only|the oracle knows"):
        plan.Plan(load(tmp_path, change), "study.yaml")

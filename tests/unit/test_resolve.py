"""Resolving: what a study's names stand for on one of its collections."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rd_utils import params, studies
from rd_utils.resolve import Resolver
from rd_utils.store import identity

SMALLEST = Path(__file__).resolve().parents[2] / "params" / "smallest.yaml"
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


@pytest.fixture
def resolver(study) -> Resolver:
    return Resolver(study, params.EmbeddedCollection(**TRAIN))


def test_a_dense_retriever_is_an_untrained_encoder_or_a_student_of_its_own(resolver, study):
    untrained = resolver.retriever("untrained")
    assert untrained.encoder == params.UntrainedSystem(architecture=study.architectures["static"], collection=resolver.collection, seed=3)
    student = resolver.retriever("dense").encoder.student
    assert (student.loss, student.seed, student.groups.seed) == ("kl", 2, 2)
    assert student.teacher == resolver.teacher("cross") and student.training == study.training
    assert student.groups.strategy == resolver.strategy("bm25") and student.search is None
    assert resolver.retriever("cheap").encoder.student.training == params.Training(**BUDGET)


def test_retrievers_are_made_from_the_retrievers_and_teachers_that_they_name(resolver):
    pool = resolver.retriever("pool")
    assert pool == params.Pooled(retrievers=(resolver.retriever("bm25"), resolver.retriever("dense")), at_most=7)
    assert resolver.retriever("reranked") == params.Reranked(retriever=pool, from_depth=30, teacher=resolver.teacher("cross"))
    assert resolver.retriever("bm25") == params.BM25()
    assert resolver.retriever("elsewhere").label == "elsewhere"


def test_strategies_keep_every_setting_of_their_entry(resolver):
    hard = resolver.strategy("hard")
    assert (hard.from_rank, hard.depth, hard.draw, hard.draw_temperature) == (3, 20, "softmax", 2.0)
    assert hard.retriever == resolver.retriever("reranked")
    keep = resolver.strategy("filtered").filter
    assert keep == params.FalseNegativeFilter(teacher=resolver.teacher("cross"), rule="share", value=0.9, units="sigmoid")
    assert resolver.strategy("bm25").filter is None
    assert resolver.strategy("graph") == params.Graph(retriever=resolver.retriever("dense"), depth=9)
    narrow = resolver.strategy("narrow")
    assert (narrow.quantile, narrow.trials, narrow.reference) == (0.25, 8, resolver.untrained("static"))
    assert resolver.strategy("corpus_random") == params.CorpusRandom()


def test_a_refreshed_strategy_starts_from_another_and_then_draws_anew(resolver):
    assert resolver.strategy("refreshed") == resolver.strategy("hard")
    assert resolver.refresh("refreshed") == params.Refresh(every=5, depth=40, draw="top")
    assert resolver.refresh("hard") is None


def test_draws_are_not_repeated_where_a_strategy_refreshes(tmp_path):
    resolver = Resolver(load(tmp_path, lambda values: values.__setitem__("draws", 3)), params.EmbeddedCollection(**TRAIN))
    assert (resolver.groups("hard", 0).draws, resolver.groups("refreshed", 0).draws) == (3, 1)


def test_teachers_are_made_from_what_they_name(resolver, study):
    assert resolver.teacher("bi") == params.EncoderTeacher(encoder=resolver.untrained("static"))
    assert resolver.teacher("lexical") == params.BM25Teacher(retriever=params.BM25())
    assert resolver.teacher("file") == params.FileTeacher(path="no.parquet")
    assert resolver.teacher("oracle") == params.Oracle()
    ensemble = resolver.teacher("all")
    assert ensemble.members == (resolver.teacher("bi"), resolver.teacher("lexical"))
    assert ensemble.calibration == resolver.groups("bm25", 4)
    assert resolver.teacher("cross").student.training == study.teachers["cross"].training


def test_groups_carry_the_studys_size_shortage_random_share_and_cut(resolver):
    groups = resolver.groups("hard", seed=6, augmentation="noisy", cut="low")
    assert (groups.seed, groups.group_size, groups.random_share) == (6, 16, 0.5)
    assert groups.shortage == resolver.strategy("bm25")
    assert groups.cut == params.EntropyCut(teacher=resolver.teacher("all"), entropy="listwise_entropy", temperature=2.0, part="quarter_1")
    plain = resolver.groups("hard", seed=6)
    assert (plain.random_share, plain.cut) == (0.0, None)


def test_an_augmentation_is_of_texts_and_targets_its_random_share_of_the_groups(resolver):
    assert resolver.augmentation("noisy") == params.Augmentation(noise=1.0)
    assert resolver.augmentation("none") == params.Augmentation()


def test_a_search_runs_on_the_first_collection_and_its_choice_holds_for_all(tmp_path):
    other = {"source": "embedded", "seed": 14}

    def change(values):
        values["collections"] = [
            values["collections"],
            {"train": other | {"split": "train"}, "test": [other | {"split": "test"}]},
        ]

    study = load(tmp_path, change)
    first, second = (Resolver(study, pair.train) for pair in study.collections)
    search = second.search("static")
    assert search == first.search("static")
    assert search.collection == study.collections[0].train and search.strategy == first.strategy("bm25")
    assert (search.learning_rates, search.embedding_ratio) == ((0.01, 0.1), 2.0)
    assert search.first_stages == (params.FirstStage(retriever=params.BM25(), depth=10),)
    assert first.search("interaction") is None


def test_collections_share_no_student_and_each_starts_from_its_own_vocabulary(tmp_path):
    study = load(tmp_path)
    resolvers = [Resolver(study, params.EmbeddedCollection(split="train", seed=seed)) for seed in (13, 14)]
    students = [resolver.retriever("dense").encoder.student for resolver in resolvers]
    assert students[0].groups.collection != students[1].groups.collection
    assert identity(students[0]) != identity(students[1])
    assert resolvers[1].reference.collection.seed == 14


def test_what_names_share_is_one_artefact(resolver):
    assert identity(resolver.groups("hard", 0)) == identity(resolver.groups("refreshed", 0))
    assert resolver.retriever("reranked").teacher == resolver.strategy("filtered").filter.teacher


def test_a_study_without_a_reference_or_a_search_has_none(tmp_path):
    def change(values):
        values |= {"reference": None, "search": None}
        del values["strategies"]["narrow"]

    resolver = Resolver(load(tmp_path, change), params.EmbeddedCollection(**TRAIN))
    assert resolver.reference is None and resolver.search("static") is None

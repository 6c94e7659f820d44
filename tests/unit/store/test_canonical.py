"""Identities: what changes one, and what does not."""

from __future__ import annotations

import dataclasses
import itertools
import json

import pytest

from rd_utils import store
from rd_utils.store import canonical
from rd_utils.study import graph, params
from rd_utils.study.plan import load_plan
from rd_utils.study.stage import stages
from rd_utils.training.losses import LOSSES

COLLECTION = params.EmbeddedCollection()
ENCODER = params.UntrainedSystem(architecture=params.StaticBi(), collection=COLLECTION)
GROUPS = params.GroupsSpec(collection=COLLECTION, strategy=params.FromCandidates())
STUDENT = params.StudentSpec(groups=GROUPS, loss="lce", architecture=params.StaticBi(), training=params.Training(documents=64))
KINDS = {  # every kind of the package, in a place where others could stand, with as many defaults as it has; a new one is added here
    "collection": [
        COLLECTION, params.IrDatasetsCollection(id="x"), params.FolderCollection(path="x"), params.PseudoQueries(documents=COLLECTION),
        params.DocumentedCollection(),
    ],
    "retriever": [
        params.BM25(), params.Dense(encoder=ENCODER), params.Reranked(retriever=params.BM25(), teacher=params.Oracle()),
        params.Pooled(retrievers=(params.BM25(), params.BM25())), params.RunFile(path="x", name="x"),
    ],
    "index": [params.Flat(), params.IVFPQ(), params.IVFOnDisk()],
    "strategy": [
        params.CorpusRandom(), params.FromCandidates(), params.Graph(), params.DiameterTargeted(quantile=0.5, reference=ENCODER),
        params.Refreshed(start=params.CorpusRandom(), every=2),
    ],
    "architecture": [
        params.StaticBi(), params.InteractionCross(), params.TinyBertBi(), params.TinyBertCross(), params.StaticSparse(),
        params.StaticLate(), params.TinyBertSparse(), params.TinyBertLate(), params.BiEncoder(model="x"), params.CrossEncoder(model="x"),
    ],
    "teacher": [
        params.Oracle(), params.LoadedTeacher(model="x"), params.TrainedTeacher(student=STUDENT), params.EncoderTeacher(encoder=ENCODER),
        params.BM25Teacher(), params.FileTeacher(path="x"),
        params.EnsembleTeacher(members=(params.Oracle(), params.BM25Teacher()), calibration=GROUPS),
    ],
    "system": [
        params.FirstStageSystem(), params.TeacherSystem(teacher=params.Oracle()), ENCODER, params.StudentSystem(student=STUDENT),
    ],
    "tokenizer": [
        params.ModelTokenizer(model="x"), params.LexiconTokenizer(lexicon=params.LexiconSpec(docs=graph.docs_of(COLLECTION), dimension=4)),
    ],
    "first stage": [params.FirstStage(), params.FirstStage(kind="full")],
}  # fmt: skip


def tagged(model=params.Part):
    shipped = model.__module__.startswith("rd_utils.") and model.__module__ != "rd_utils.study.studies"
    own = [model] if {"kind", "source"} & set(model.model_fields) and shipped else []
    return set(own).union(*map(tagged, model.__subclasses__()))


def test_the_list_above_has_every_kind():
    missing = tagged() - {type(kind) for kinds in KINDS.values() for kind in kinds}
    assert not missing, f"add one of each to KINDS in this file: {sorted(kind.__name__ for kind in missing)}"


@pytest.mark.parametrize("family", KINDS)
def test_no_two_kinds_collide_and_what_is_said_of_one_makes_it_again(family):
    said = [canonical.canonical(kind) for kind in KINDS[family]]
    assert all(one != other for one, other in itertools.combinations(said, 2))
    for kind, text in zip(KINDS[family], said, strict=True):
        assert type(kind).model_validate(json.loads(json.dumps(text))) == kind


def test_the_canonical_form_of_every_artefact_of_a_study_makes_it_again():
    plan = load_plan("params/smallest.yaml")
    specs = {key: part for spec in plan.specs() for key, part in (store.upstream(spec) | {store.identity(spec): spec}).items()}
    said = {key: json.dumps([spec.stage, canonical.canonical(spec)], sort_keys=True) for key, spec in specs.items()}
    assert len(set(said.values())) == len(specs) > 80
    assert all(type(spec).model_validate(json.loads(said[key])[1]) == spec for key, spec in specs.items())


def test_a_default_is_left_out_and_a_tag_stays():
    assert canonical.canonical(GROUPS) == {"collection": {"source": "embedded"}, "strategy": {"kind": "candidates"}}
    other = GROUPS.model_copy(update={"strategy": params.FromCandidates(retriever=params.BM25(b=0.5)), "seed": 3})
    assert canonical.canonical(other)["strategy"] == {"kind": "candidates", "retriever": {"kind": "bm25", "b": 0.5}}
    assert canonical.canonical(other)["seed"] == 3


@pytest.fixture
def raised(monkeypatch):
    """Raises a version for the time of a test."""

    def raise_version(where, name: str) -> None:
        if where is stages:
            monkeypatch.setitem(stages(), name, dataclasses.replace(stages()[name], version=2))
        elif where is LOSSES:
            monkeypatch.setitem(LOSSES, name, LOSSES[name]._replace(version=2))
        else:
            monkeypatch.setattr(where, name, 2)
        store.identity.cache_clear()

    yield raise_version
    monkeypatch.undo()
    store.identity.cache_clear()


SCORES = params.ScoresSpec(groups=GROUPS, teacher=params.Oracle())
KL = STUDENT.model_copy(update={"loss": "kl", "teacher": params.Oracle()})
ALL = {
    "docs": graph.docs_of(COLLECTION), "groups": GROUPS, "random": GROUPS.model_copy(update={"strategy": params.CorpusRandom()}),
    "scores": SCORES, "lce": STUDENT, "kl": KL,
}  # fmt: skip


@pytest.mark.parametrize(
    ("where", "name", "changed"),
    [
        (stages, "docs", set(ALL)),
        (stages, "groups", {"groups", "random", "scores", "lce", "kl"}),
        (stages, "student", {"lce", "kl"}),
        (LOSSES, "kl", {"kl"}),
        (params.Oracle, "version", {"scores", "kl"}),
        (params.FromCandidates, "version", {"groups", "scores", "lce", "kl"}),
        (params.BM25, "version", {"groups", "scores", "lce", "kl"}),  # which stands there by default
        (params.Training, "version", {"lce", "kl"}),
        (params.CorpusRandom, "version", {"random"}),
        (params.Graph, "version", set()),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", ""),
)
def test_a_raised_version_changes_what_is_made_by_it_and_nothing_else(raised, where, name, changed):
    before = {key: store.identity(spec) for key, spec in ALL.items()}
    raised(where, name)
    after = {key: store.identity(spec) for key, spec in ALL.items()}
    assert {key for key in ALL if before[key] != after[key]} == changed


def test_the_pairs_of_a_teacher_lie_elsewhere_when_its_version_or_that_of_scoring_is_raised(raised):
    pairs = params.PairsSpec(teacher=params.Oracle(), collection=COLLECTION)
    found = [store.identity(pairs)]
    for where, name in ((params.Oracle, "version"), (stages, "pairs")):
        raised(where, name)
        found.append(store.identity(pairs))
    assert len(set(found)) == 3

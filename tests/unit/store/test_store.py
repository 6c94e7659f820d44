"""The store: identities, atomic writes, manifests."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import types

import pytest

from rd_utils import store
from rd_utils.store import Store, StoreError, identities, identity, meter, outside
from rd_utils.study import graph, params, stage

DOCS = params.DocsSpec(collection=params.EmbeddedCollection())


def groups(**changes) -> params.GroupsSpec:
    return params.GroupsSpec(collection=params.EmbeddedCollection(), strategy=params.CorpusRandom(), **changes)


def test_a_changed_parameter_changes_the_identity_and_the_same_one_does_not():
    assert identity(groups()) == identity(groups())
    assert identity(groups()) == identity(groups(group_size=16))  # the default said aloud
    assert len({identity(groups()), identity(groups(seed=1)), identity(groups(group_size=8))}) == 3


def test_splits_share_their_documents():
    train, test = params.EmbeddedCollection(split="train"), params.EmbeddedCollection(split="test", max_queries=5)
    assert identity(graph.docs_of(train)) == identity(graph.docs_of(test))
    beir = [params.IrDatasetsCollection(id=f"beir/scifact/{split}") for split in ("train", "test")]
    assert identity(graph.docs_of(beir[0])) == identity(graph.docs_of(beir[1]))


def test_parts_of_one_split_and_pseudo_queries_share_their_documents(toy):
    cut = params.IrDatasetsCollection(id="beir/scifact/train", skip_queries=60, max_queries=10)
    whole = params.IrDatasetsCollection(id="beir/scifact/test")
    assert graph.docs_of(cut) == graph.docs_of(whole) == graph.docs_of(params.PseudoQueries(documents=cut))
    own = params.FolderCollection(path=str(toy), split="test", skip_queries=1)
    assert graph.docs_of(own) == graph.docs_of(params.FolderCollection(path=str(toy)))
    assert len({identity(params.QueriesSpec(collection=c)) for c in (cut, whole, params.PseudoQueries(documents=cut))}) == 3
    assert stage.inputs(params.QueriesSpec(collection=params.PseudoQueries(documents=cut))) == {"docs": graph.docs_of(cut)}
    assert stage.inputs(params.QueriesSpec(collection=cut)) == {}


def test_the_vectors_of_documents_are_shared_by_all_that_search_teach_or_measure_by_them():
    train, test = params.EmbeddedCollection(), params.EmbeddedCollection(split="test", max_queries=5)
    encoder = params.UntrainedSystem(architecture=params.StaticBi(dimension=4), collection=train)
    candidates = params.CandidatesSpec(collection=test, retriever=params.Dense(encoder=encoder), depth=5)
    scores = params.ScoresSpec(groups=groups(), teacher=params.EncoderTeacher(encoder=encoder))
    narrow = params.GroupsSpec(collection=train, strategy=params.DiameterTargeted(quantile=0.5, reference=encoder))
    description = params.DescriptionSpec(groups=groups(), reference=encoder)
    vectors = graph.vectors_of(test, encoder)
    assert "query_tokens" not in stage.inputs(vectors)
    for spec in (candidates, scores, narrow, description):
        assert identity(vectors) in store.upstream(spec)


ENCODER = params.UntrainedSystem(architecture=params.StaticBi(dimension=4), collection=params.EmbeddedCollection())
WINDOW = params.FromCandidates(depth=50)
KEEP = params.FalseNegativeFilter(teacher=params.BM25Teacher(), value=0.75)
STUDENT = params.StudentSpec(
    groups=groups(),
    loss="kl",
    teacher=params.Oracle(),
    architecture=params.StaticBi(dimension=4),
    training=params.Training(documents=64),
    search=params.Search(
        learning_rates=(0.1, 0.2),
        collection=params.EmbeddedCollection(),
        strategy=params.CorpusRandom(),
        teacher=params.Oracle(),
        validation=params.EmbeddedCollection(split="validation"),
        first_stages=(params.FirstStage(),),
    ),
    refresh=params.Refresh(every=4),
)
DESCRIPTION = params.DescriptionSpec(groups=groups(), reference=ENCODER)
BEHAVIOUR = params.BehaviourSpec(student=STUDENT)
OTHER = {  # a value of each field that is not the one above, and not the default
    "from_rank": 2, "depth": 51, "draw": "top", "draw_temperature": 2.0, "filter": KEEP, "retriever": params.BM25(b=0.5), "at_most": 3,
    "from_depth": 70, "teacher": params.Oracle(noise=1.0), "rule": "share", "value": 0.5, "units": "sigmoid", "quantile": 0.25, "trials": 9,
    "reference": ENCODER.model_copy(update={"seed": 1}), "encoder": ENCODER.model_copy(update={"seed": 1}), "precision": "bf16",
    "retrievers": (params.BM25(), params.BM25(b=0.1)), "members": (params.BM25Teacher(), params.Oracle()), "calibration": groups(seed=9),
    "floor": 1e-3, "noise": 2.0, "noise_seed": 3, "every": 5, "learning_rates": (0.1, 0.3), "embedding_ratio": 0.5, "measure": "AP",
    "collection": params.EmbeddedCollection(seed=14), "strategy": WINDOW, "validation": params.EmbeddedCollection(split="test"),
    "first_stages": (params.FirstStage(depth=5),), "seed": 8, "group_size": 5, "shortage": params.CorpusRandom(), "draws": 2,
    "random_share": 0.5, "entropy": "listwise_entropy", "temperature": 2.0, "part": "upper_half", "target_entropy": 0.5,
    "augmentation": params.Augmentation(noise=1.0), "student": STUDENT.model_copy(update={"seed": 9}), "queries": 7, "words": (2, 8),
    "weighting": "uniform", "documents": params.EmbeddedCollection(seed=14), "groups": groups(seed=5),
    "cut": params.EntropyCut(teacher=params.Oracle(), part="lower_half"), "probe": params.Probe(docs=51), "docs": 60,
    "random_split": params.RandomSplit(part="test"),
    "index": params.IVFPQ(), "nlist": 100, "nprobe": 3, "sample": 5000, "refine": 2, "m": 16,
}  # fmt: skip


def of_groups(strategy):
    return params.GroupsSpec(collection=params.EmbeddedCollection(), strategy=strategy)


def of_scores(teacher):
    return params.ScoresSpec(groups=groups(), teacher=teacher)


def of_candidates(retriever):
    return params.CandidatesSpec(collection=params.EmbeddedCollection(), retriever=retriever, depth=10)


@pytest.mark.parametrize(
    ("part", "whole"),
    [
        (params.Dense(encoder=ENCODER), of_candidates),
        (params.IVFPQ(), lambda part: of_candidates(params.Dense(encoder=ENCODER, index=part))),
        (params.IVFOnDisk(), lambda part: of_candidates(params.Dense(encoder=ENCODER, index=part))),
        (params.Reranked(retriever=params.BM25(), teacher=params.Oracle()), of_candidates),
        (params.Pooled(retrievers=(params.BM25(), params.Dense(encoder=ENCODER))), of_candidates),
        (WINDOW, of_groups),
        (KEEP, lambda part: of_groups(params.FromCandidates(filter=part))),
        (params.Graph(), of_groups),
        (params.DiameterTargeted(quantile=0.5, reference=ENCODER), of_groups),
        (groups(), lambda part: part),
        (params.EntropyCut(teacher=params.BM25Teacher(), part="lower_half"), lambda part: groups(cut=part)),
        (params.Oracle(), of_scores),
        (params.EncoderTeacher(encoder=ENCODER), of_scores),
        (params.BM25Teacher(), of_scores),
        (params.EnsembleTeacher(members=(params.Oracle(), params.BM25Teacher()), calibration=groups()), of_scores),
        (STUDENT.refresh, lambda part: STUDENT.model_copy(update={"refresh": part})),
        (STUDENT.search, lambda part: STUDENT.model_copy(update={"search": part})),
        (params.PseudoQueries(documents=params.EmbeddedCollection()), lambda part: params.QueriesSpec(collection=part)),
        (DESCRIPTION, lambda part: part),
        (BEHAVIOUR, lambda part: part),
        (BEHAVIOUR.probe, lambda part: BEHAVIOUR.model_copy(update={"probe": part})),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, params.Part) else "",
)  # fmt: skip
def test_every_setting_of_every_part_changes_the_identity(part, whole):
    """But for a collection's ``shared_queries``, which says nothing of what is read (see test_leakage)."""
    found = {"unchanged": identity(whole(part))}
    for field in type(part).model_fields:
        if field not in ("kind", "source", "shared_queries"):
            assert getattr(part, field) != OTHER[field]
            found[field] = identity(whole(part.model_copy(update={field: OTHER[field]})))
    assert len(set(found.values())) == len(found) > 1


def test_the_content_of_a_run_or_a_file_of_scores_is_part_of_the_identity_and_its_absence_no_error(tmp_path):
    path = tmp_path / "file.run"
    specs = [of_candidates(params.RunFile(path=str(path), name="x")), of_scores(params.FileTeacher(path=str(path)))]
    found = []
    for text in (None, "q Q0 d 1 1.0 x\n", "q Q0 d 1 2.0 x\n"):
        if text is not None:
            path.write_text(text)
        found.append([identity(spec) for spec in specs])
        assert store.outside_content(specs[0])[str(path)] == ("missing" if text is None else store.file_sha256(path))
    assert all(len(set(column)) == 3 for column in zip(*found, strict=True))


def test_a_cut_is_made_from_the_groups_and_scores_of_all_queries():
    cut = groups(cut=params.EntropyCut(teacher=params.Oracle(), part="lower_half"))
    texts = graph.collection_inputs(params.EmbeddedCollection())
    assert stage.inputs(cut) == texts | {"groups": groups(), "scores": params.ScoresSpec(groups=groups(), teacher=params.Oracle())}


def test_a_behaviour_is_made_from_the_student_its_groups_and_texts_and_from_scores_where_a_teacher_is_named():
    collection = groups().collection
    texts = graph.collection_inputs(collection) | graph.architecture_inputs(STUDENT.architecture, collection, collection)
    roles = {"student": STUDENT, "groups": groups()} | texts
    assert stage.inputs(BEHAVIOUR) == roles and {"lexicon", "doc_tokens", "query_tokens"} < set(roles)
    teacher = params.BM25Teacher()  # need not be the one that the student learnt from
    measured = BEHAVIOUR.model_copy(update={"teacher": teacher})
    assert stage.inputs(measured) == roles | {"scores": params.ScoresSpec(groups=groups(), teacher=teacher)}
    assert identity(STUDENT.groups) in store.upstream(BEHAVIOUR) and identity(measured) != identity(BEHAVIOUR)


def test_a_description_rests_on_no_test_collection():
    documents = {identity(graph.docs_of(params.EmbeddedCollection()))}
    upstream = store.upstream(DESCRIPTION)
    assert {key for key, part in upstream.items() if part.stage == "docs"} == documents
    assert [part.collection.split for part in upstream.values() if part.stage == "queries"] == ["train"]


def test_everything_upstream_comes_after_what_it_is_made_from():
    evaluation = params.EvaluationSpec(
        system=params.StudentSystem(student=STUDENT), collection=params.EmbeddedCollection(split="test"), first_stage=params.FirstStage()
    )
    order = list(store.upstream(evaluation))
    assert {part.stage for part in store.upstream(evaluation).values()} >= {"docs", "groups", "scores", "search", "evaluation", "student"}
    for place, part in enumerate(store.upstream(evaluation).values()):
        assert {identity(needed) for needed in stage.inputs(part).values()} <= set(order[:place])


def test_an_input_of_another_identity_changes_the_identity(monkeypatch):
    before = identity(groups())
    store.identity.cache_clear()
    monkeypatch.setitem(stage.stages(), "docs", dataclasses.replace(stage.stages()["docs"], version=2))
    try:
        assert identity(groups()) != before
    finally:
        monkeypatch.undo()
        store.identity.cache_clear()
    assert identity(groups()) == before


def test_identity_is_the_same_under_another_hash_seed():
    code = "from rd_utils import store; from rd_utils.study import params; c = params.EmbeddedCollection();"
    code += "print(store.identity(params.GroupsSpec(collection=c, strategy=params.FromCandidates())))"
    found = {
        subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
    assert len(found.pop().strip()) == 20


def test_a_folder_collections_content_is_part_of_the_identity(toy):
    spec = params.DocsSpec(collection=params.FolderCollection(path=str(toy)))
    before = identity(spec)
    (toy / "corpus.jsonl").write_text('{"_id": "d1", "text": "other"}\n')
    assert identity(spec) != before


# --- what lies outside ------------------------------------------------------------------------------------------------------------


def test_a_file_of_the_same_length_written_in_the_same_instant_is_seen_as_changed(toy):
    spec = params.QueriesSpec(collection=params.FolderCollection(path=str(toy)))
    path, found = toy / "queries.jsonl", []
    text = path.read_text()
    for word in ("cat", "dog", "cow", "cat"):
        path.write_text(text.replace("cat", word))
        found.append(identity(spec))
    assert len(set(found)) == 3 and found[0] == found[-1]


def test_a_file_that_has_not_changed_is_not_read_again(toy, monkeypatch):
    spec = params.QueriesSpec(collection=params.FolderCollection(path=str(toy)))
    for path in toy.rglob("*"):
        os.utime(path, (1e9, 1e9))
    monkeypatch.setattr(outside, "_RECENT", -(10**18))  # as if the files had been there for long
    before = identity(spec)
    monkeypatch.setattr(outside, "tree_sha256", lambda path: pytest.fail(f"{path} was read again"))
    assert identity(spec) == before == identity(params.QueriesSpec(collection=params.FolderCollection(path=str(toy))))


def outside_of(kind, tmp_path, toy):
    """Return a spec that names something by path, and a file that it thereby rests on."""
    path = tmp_path / "named"
    if kind == "collection":
        return of_candidates(params.BM25()).model_copy(update={"collection": params.FolderCollection(path=str(toy))}), toy / "corpus.jsonl"
    if kind == "model":
        path.mkdir()
        return params.TokensSpec(
            of="docs", collection=DOCS.collection, tokenizer=params.ModelTokenizer(model=str(path))
        ), path / "vocab.txt"
    if kind == "run of a pool":
        retriever = params.Pooled(retrievers=(params.BM25(), params.RunFile(path=str(path), name="x")))
        return of_groups(params.FromCandidates(retriever=retriever)), path
    file = params.FileTeacher(path=str(path))
    if kind == "member of an ensemble":
        return of_scores(params.EnsembleTeacher(members=(params.BM25Teacher(), file), calibration=groups())), path
    return STUDENT.model_copy(update={"teacher": file, "search": None, "refresh": None}), path


@pytest.mark.parametrize("kind", ["collection", "model", "run of a pool", "member of an ensemble", "scores of a student"])
def test_whatever_is_named_by_path_is_looked_at_whenever_something_is_asked(kind, tmp_path, toy):
    spec, path = outside_of(kind, tmp_path, toy)
    path.write_text("one")
    before, above = identity(spec), list(store.upstream(spec))
    path.write_text("two")
    assert identity(spec) != before
    assert kind == "model" or list(store.upstream(spec)) != above
    path.write_text("one")
    assert identity(spec) == before and list(store.upstream(spec)) == above


def test_one_look_is_of_one_moment_and_what_names_nothing_by_path_is_remembered_for_good(toy, monkeypatch):
    spec = params.DocsSpec(collection=params.FolderCollection(path=str(toy)))
    with store.one_look():
        before = identity(spec)
        (toy / "corpus.jsonl").write_text('{"_id": "d1", "text": "other"}\n')
        assert identity(spec) == before
        with store.one_look():
            assert identity(spec) == before
        with store.one_look(fresh=True):
            assert identity(spec) != before
    assert identity(spec) != before
    known = identity(groups())
    assert store.named_outside(groups()) == ()
    monkeypatch.setattr(identities, "inputs", lambda spec: pytest.fail("was made again"))
    assert identity(groups()) == known


def test_what_is_missing_outside_is_named_all_at_once(tmp_path):
    lost = params.FolderCollection(path=str(tmp_path / "lost"))
    spec = params.CandidatesSpec(collection=lost, retriever=params.RunFile(path=str(tmp_path / "a.run"), name="a"), depth=5)
    message = rf"candidates \w+ cannot be made: there is no folder {tmp_path}/lost, no file {tmp_path}/a.run; put it there, or name another"
    with pytest.raises(StoreError, match=message):
        store.check_outside(spec)


@pytest.mark.parametrize("change", ["changed", "gone", "another"])
def test_a_file_that_changes_while_an_artefact_is_made_from_it_leaves_nothing_behind(tmp_path, toy, change):
    kept, spec = Store(tmp_path / "store"), params.DocsSpec(collection=params.FolderCollection(path=str(toy)))
    folder = kept.folder(spec)
    with pytest.raises(StoreError, match=f"{toy} changed while docs {folder.name} was made from it, so nothing was kept; run again"):
        with kept.draft(spec) as draft:
            (draft.folder / "docs.arrow").write_bytes(b"old")
            if change == "gone":
                (toy / "corpus.jsonl").unlink()
            else:
                (toy / ("corpus.jsonl" if change == "changed" else "more.jsonl")).write_text("{}")
    assert not folder.exists() and not kept.has(spec) and not list(folder.parent.iterdir())


def test_what_a_stage_does_not_read_may_change_meanwhile(tmp_path, toy):
    kept = Store(tmp_path / "store")
    spec = params.CandidatesSpec(collection=params.FolderCollection(path=str(toy)), retriever=params.BM25(), depth=5)
    folder = kept.folder(spec)
    with kept.draft(spec):
        (toy / "corpus.jsonl").write_text("{}")
    assert (folder / "manifest.json").is_file() and folder != kept.folder(spec)


# --- drafts and manifests ---------------------------------------------------------------------------------------------------------


def test_a_draft_appears_whole_with_its_manifest(tmp_path):
    kept = Store(tmp_path)
    with kept.draft(DOCS) as draft:
        (draft.folder / "docs.parquet").write_bytes(b"abc")
        draft.counts["documents"] = 3
        assert not kept.has(DOCS)
    manifest = kept.manifest(DOCS)
    assert manifest["files"] == {"docs.parquet": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
    assert manifest["sizes"] == {"docs.parquet": 3} and len(manifest["checksum"]) == 64
    assert manifest["counts"] == {"documents": 3}
    assert manifest["parameters"]["collection"]["source"] == "embedded"
    assert manifest["packages"]["torch"] and manifest["cost"]["wall_seconds"] >= 0 and manifest["cost"]["peak_memory_mb"] > 0
    kept.verify(DOCS)


def test_a_manifest_says_what_an_artefact_cost_and_what_teachers_scored_for_it(tmp_path):
    kept = Store(tmp_path)
    bill = {"teacher": "x", "pairs": 3, "scored_now": 1, "wall_seconds": 0.5, "cpu_seconds": 0.25}
    with kept.draft(DOCS) as draft:
        assert draft.scoring == []
        draft.scoring.append(bill)
    manifest = kept.manifest(DOCS)
    assert manifest["scoring"] == [bill]
    cost = manifest["cost"]
    assert set(cost) == {"wall_seconds", "cpu_seconds", "gpu_seconds", "energy", "peak_memory_mb", "peak_memory_of"}
    assert set(cost["energy"]) == {"joules", "method", "reason"} and cost["energy"]["reason"]
    with kept.draft(groups()):
        pass
    assert kept.manifest(groups())["scoring"] == []


@pytest.mark.parametrize(("started", "seconds"), [(True, 2.5), (False, 0.0)])
def test_an_accelerator_is_charged_for_as_long_as_a_process_holds_it(monkeypatch, started, seconds):
    clock = iter([10.0, 12.5])
    monkeypatch.setattr(meter.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(meter, "_uses_accelerator", lambda: started)
    found = store.Meter().read()
    assert (found["wall_seconds"], found["gpu_seconds"]) == (2.5, seconds)


def test_looking_for_an_accelerator_starts_none_and_imports_nothing(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert meter._uses_accelerator() is False and "torch" not in sys.modules
    for initialised in (True, False):
        torch = types.SimpleNamespace(cuda=types.SimpleNamespace(is_initialized=lambda initialised=initialised: initialised))
        monkeypatch.setitem(sys.modules, "torch", torch)
        assert meter._uses_accelerator() is initialised


def test_the_energy_of_an_artefact_is_of_its_own_window(tmp_path, monkeypatch):
    calls = []

    class Counter:
        def start(self):
            calls.append("start")

        def read(self):
            calls.append("read")
            return {"joules": 7.0, "method": "zeus", "reason": "test"}

    monkeypatch.setattr(meter.energy, "meter", Counter)
    kept = Store(tmp_path)
    with kept.draft(DOCS):
        calls.append("work")
    assert calls == ["start", "work", "read"] and kept.manifest(DOCS)["cost"]["energy"]["joules"] == 7.0


def test_a_failed_draft_leaves_nothing(tmp_path):
    kept = Store(tmp_path)
    with pytest.raises(RuntimeError), kept.draft(DOCS) as draft:
        (draft.folder / "docs.parquet").write_bytes(b"half")
        raise RuntimeError("killed")
    assert not kept.has(DOCS)
    assert list((tmp_path / "docs").iterdir()) == []


def test_what_a_killed_process_left_is_never_read_and_is_cleared(tmp_path):
    kept = Store(tmp_path)
    leftover = tmp_path / "docs" / f".{identity(DOCS)}.99999"
    leftover.mkdir(parents=True)
    (leftover / "docs.parquet").write_bytes(b"half")
    assert not kept.has(DOCS)
    with kept.draft(DOCS) as draft:
        (draft.folder / "docs.parquet").write_bytes(b"whole")
    assert not leftover.exists()
    assert kept.has(DOCS)


def test_a_folder_that_stands_there_without_a_manifest_is_replaced(tmp_path):
    kept = Store(tmp_path)
    kept.folder(DOCS).mkdir(parents=True)
    (kept.folder(DOCS) / "old.parquet").write_bytes(b"old")
    assert not kept.has(DOCS)
    with kept.draft(DOCS) as draft:
        (draft.folder / "docs.parquet").write_bytes(b"new")
    assert kept.sound(DOCS) and sorted(path.name for path in kept.folder(DOCS).iterdir()) == ["docs.parquet", "manifest.json"]
    assert list((tmp_path / "docs").iterdir()) == [kept.folder(DOCS)]


def test_a_draft_is_flushed_before_it_is_renamed(tmp_path, monkeypatch):
    calls, rename = [], os.rename
    monkeypatch.setattr(os, "fsync", lambda number: calls.append(os.path.basename(os.readlink(f"/proc/self/fd/{number}"))))
    monkeypatch.setattr(os, "rename", lambda *paths: (calls.append("renamed"), rename(*paths)))
    with Store(tmp_path).draft(DOCS) as draft:
        (draft.folder / "docs.parquet").write_bytes(b"new")
    place = calls.index("renamed")
    assert {"docs.parquet", "manifest.json", draft.folder.name} == set(calls[:place]) and calls[place + 1 :] == ["docs"]


def test_a_full_disk_is_said_plainly_and_loses_nothing(tmp_path):
    kept = Store(tmp_path)
    with pytest.raises(StoreError, match="no space left"), kept.draft(DOCS):
        raise OSError(28, "No space left on device")
    assert not kept.has(DOCS)


def test_verify_names_a_damaged_file(tmp_path):
    kept = Store(tmp_path)
    with kept.draft(DOCS) as draft:
        (draft.folder / "docs.parquet").write_bytes(b"abc")
    (kept.folder(DOCS) / "docs.parquet").write_bytes(b"abd")
    with pytest.raises(StoreError, match="docs.parquet is damaged"):
        kept.verify(DOCS)


def test_the_manifest_of_a_missing_artefact_says_what_to_do(tmp_path):
    with pytest.raises(StoreError, match="run the notebook of its stage"):
        Store(tmp_path).manifest(DOCS)


def test_a_package_model_that_is_not_installed_names_the_package():
    with pytest.raises(StoreError, match="'no_such_package' is not installed"):
        store.resolve_path("package:no_such_package/model")


def test_the_manifest_is_json_that_names_its_inputs(tmp_path):
    kept = Store(tmp_path)
    with kept.draft(groups()) as draft:
        (draft.folder / "groups.parquet").write_bytes(b"")
    text = (kept.folder(groups()) / "manifest.json").read_text()
    assert json.loads(text)["inputs"]["docs"] == {"stage": "docs", "identity": identity(DOCS)}

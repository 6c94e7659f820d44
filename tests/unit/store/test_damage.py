"""Damage of every file of every stage: noticed by the first opening, said with what depends on it, made again to the same bytes."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from toys import write_toy

from rd_utils import durable
from rd_utils.scoring import teachers
from rd_utils.store import Store, StoreError, artefacts, identity, upstream
from rd_utils.study import params
from rd_utils.study.stage import made_whole
from rd_utils.workflow.pipeline import Pipeline
from rd_utils.workflow.progress import untracked

BI = params.StaticBi(dimension=4)
DAMAGES = ("flip", "cut", "emptied", "deleted", "a folder")


def specs_of(folder: Path) -> dict[str, params.Spec]:
    """Return an artefact of every stage on the toy collection, by stage."""
    train, test = (params.FolderCollection(path=str(folder), split=split, shared_queries="allow") for split in ("train", "test"))
    groups = params.GroupsSpec(collection=train, strategy=params.FromCandidates(depth=5), group_size=3, shortage=params.CorpusRandom())
    encoder = params.UntrainedSystem(architecture=BI, collection=train)
    rates = {"learning_rates": (0.01, 0.1), "collection": train, "strategy": params.CorpusRandom(), "teacher": params.BM25Teacher()}
    student = params.StudentSpec(
        groups=groups,
        loss="kl",
        teacher=params.BM25Teacher(),
        architecture=BI,
        training=params.Training(documents=12, queries_per_batch=2),
        search=params.Search(validation=test, first_stages=(params.FirstStage(depth=5),), **rates),
    )
    cross = params.StudentSpec(
        groups=groups,
        loss="lce",
        architecture=params.InteractionCross(dimension=4),
        training=params.Training(documents=12, queries_per_batch=2),
    )
    graph = params.GroupsSpec(collection=train, strategy=params.Graph(depth=3), group_size=2, shortage=params.CorpusRandom())
    last = (
        params.EvaluationSpec(system=params.StudentSystem(student=student), collection=test, first_stage=params.FirstStage(depth=5)),
        params.DescriptionSpec(groups=groups, reference=encoder),
        params.BehaviourSpec(student=cross, probe=params.Probe(queries=2, docs=50)),
        graph,
    )
    found: dict[str, params.Spec] = {}
    for spec in last:
        for part in (*upstream(spec).values(), spec):
            found[part.stage] = part
    scores = params.ScoresSpec(groups=groups, teacher=student.teacher)
    return found | {"groups": groups, "scores": scores, "student": student, "evaluation": last[0]}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, dict[str, params.Spec]]:
    """A store with all stages, and an artefact of each."""
    root = tmp_path_factory.mktemp("damage")
    specs = specs_of(write_toy(root / "toy"))
    pipeline = Pipeline(Store(root / "store"), track=untracked)
    for spec in specs.values():
        pipeline.build(spec)
    assert set(specs) == set(made_whole())
    return root / "store", specs


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how in ("deleted", "a folder"):
        path.unlink()
        if how == "a folder":
            path.mkdir()
    elif how == "flip":  # one bit, in the middle
        place = len(content) // 2
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    else:
        path.write_bytes(content[:-1] if how == "cut" else b"")


@pytest.mark.parametrize("how", DAMAGES)
def test_damage_of_every_file_of_every_stage_is_noticed_by_the_first_opening_and_by_verify(made, how):
    root, specs = made
    tried = 0
    for stage, spec in specs.items():
        folder = Store(root).folder(spec)
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size):
            content = path.read_bytes()
            damage(path, how)
            name = str(path.relative_to(folder))
            fresh = Store(root)
            assert not fresh.sound(spec), f"{stage}: {name}"
            assert how == "flip" or not fresh.has(spec), f"{stage}: {name}"
            if name != "manifest.json":
                with pytest.raises(StoreError, match=f"{name} is (damaged|missing).*delete the folder .* and run again; "):
                    fresh.verify(spec)
            durable.write_bytes(path, content)
            assert Store(root).sound(spec) and Store(root).verify(spec) is None
            tried += 1
    assert tried >= 45


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("stage", list(made_whole()))
def test_what_is_damaged_is_made_again_to_the_same_bytes_and_said(made, caplog, stage, how):
    root, specs = made
    spec = specs[stage]
    before, folder = Store(root).manifest(spec)["files"], Store(root).folder(spec)
    damaged = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json" and path.stat().st_size]
    for path in damaged:
        damage(path, how)
    with caplog.at_level("WARNING", logger="rd_utils"):
        pipeline = Pipeline(Store(root), track=untracked)
        assert pipeline.build(spec) == folder
    assert pipeline.store.verify(spec) is None and pipeline.store.manifest(spec)["files"] == before
    said = caplog.text
    assert f"so {stage} {identity(spec)} is made again" in said and "is made again, to the same bytes as before the damage" in said
    assert str(damaged[0].relative_to(folder)) in said
    assert not list(folder.parent.glob(".*"))


@pytest.mark.parametrize("how", [*DAMAGES, "list", "another's", "lacking", "not UTF-8", "deep"])
def test_a_damaged_manifest_is_noticed_and_its_folder_replaced(made, caplog, how):
    root, specs = made
    spec, other = specs["groups"], specs["docs"]
    path = Store(root).folder(spec) / "manifest.json"
    before = Store(root).manifest(spec)["files"]
    if how in DAMAGES:
        damage(path, how)
    else:
        texts = {
            "list": "[]",
            "another's": (Store(root).folder(other) / "manifest.json").read_text(),
            "lacking": '{"files": {}}',
            "not UTF-8": "\udcff",
            "deep": "[" * 100_000,
        }
        path.write_bytes(texts[how].encode(errors="surrogateescape"))
    with pytest.raises(StoreError, match="does not exist" if how in ("deleted", "a folder") else r"manifest.json is .*; delete the folder"):
        Store(root).manifest(spec)
    with caplog.at_level("WARNING", logger="rd_utils"):
        Pipeline(Store(root), track=untracked).build(spec)
    assert Store(root).manifest(spec)["files"] == before and "manifest.json is" in caplog.text
    assert "its old manifest could not say whether to the same bytes" in caplog.text


def test_a_file_where_an_artefacts_folder_belongs_is_replaced(made):
    root, specs = made
    folder, before = Store(root).folder(specs["groups"]), Store(root).manifest(specs["groups"])["files"]
    shutil.rmtree(folder)
    folder.write_text("no folder")
    assert not Store(root).has(specs["groups"])
    Pipeline(Store(root), track=untracked).build(specs["groups"])
    assert Store(root).manifest(specs["groups"])["files"] == before


def test_a_changed_number_in_a_manifest_is_damage(made):
    root, specs = made
    path = Store(root).folder(specs["student"]) / "manifest.json"
    text = path.read_text()
    path.write_text(text.replace('"temperature": 1.0', '"temperature": 1.5'))
    assert path.read_text() != text
    with pytest.raises(StoreError, match="its checksum is another"):
        Store(root).manifest(specs["student"])
    path.write_text(text)


def test_the_message_says_what_is_made_from_a_damaged_file(made):
    root, specs = made
    path = Store(root).folder(specs["scores"]) / "scores.parquet"
    content = path.read_bytes()
    damage(path, "cut")
    with pytest.raises(StoreError) as caught:
        Store(root).verify(specs["scores"])
    size = len(content)
    assert f"scores.parquet is damaged: it has {size - 1:,} bytes, not {size:,}" in str(caught.value)
    assert "made from it are 1 evaluation, 1 student, which are right unless they were made after" in str(caught.value)
    path.write_bytes(content)


def test_damage_within_a_run_is_named_where_the_reader_only_chokes_on_it(made):
    """The file was sound when this process first opened the artefact."""
    root, specs = made
    pipeline = Pipeline(Store(root), track=untracked)
    folder = pipeline.build(specs["candidates"])
    content = (folder / "offsets.npy").read_bytes()
    damage(folder / "offsets.npy", "emptied")
    with pytest.raises(StoreError, match="offsets.npy is damaged: it has 0 bytes"):
        pipeline.run(specs["candidates"])
    (folder / "offsets.npy").write_bytes(content)
    assert len(pipeline.run(specs["candidates"])) == 2


def test_of_a_large_file_the_size_is_compared_at_once_and_the_hash_on_request(tmp_path, monkeypatch):
    monkeypatch.setattr(artefacts, "SMALL", 3)
    spec = params.DocsSpec(collection=params.EmbeddedCollection())
    with Store(tmp_path).draft(spec) as draft:
        (draft.folder / "docs.arrow").write_bytes(b"abcd")
    (Store(tmp_path).folder(spec) / "docs.arrow").write_bytes(b"abce")
    assert Store(tmp_path).sound(spec)
    with pytest.raises(StoreError, match="docs.arrow is damaged: its SHA-256 is "):
        Store(tmp_path).verify(spec)
    (Store(tmp_path).folder(spec) / "docs.arrow").write_bytes(b"abc")
    assert not Store(tmp_path).has(spec)


# --- scores of pairs --------------------------------------------------------------------------------------------------------------


def kept_pairs(folder: Path, merged: bool) -> teachers.PairScores:
    kept = teachers.PairScores(folder, n_docs=10)
    kept.add(np.arange(5), np.arange(5) / 2)
    if merged:
        kept.merge()
    return kept


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize(
    "name", ["main-000001/offsets.npy", "main-000001/documents.npy", "main-000001/scores.npy", "main-000001/about.json"]
)
def test_damaged_arrays_of_scores_are_scored_again(tmp_path, caplog, name, how):
    kept_pairs(tmp_path, merged=True)
    damage(tmp_path / name, how)
    with caplog.at_level("WARNING", logger="rd_utils"):
        again = teachers.PairScores(tmp_path, n_docs=10)
    assert again.missing(np.arange(7)).tolist() == list(range(7)) and Path(name).name in caplog.text
    assert teachers.score_missing(again, np.arange(7), lambda queries, docs: docs / 2) == 7
    caplog.clear()
    assert teachers.PairScores(tmp_path, n_docs=10).lookup(np.arange(7)).tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3] and not caplog.text


@pytest.mark.parametrize("how", ["flip", "cut", "emptied", "a folder"])
def test_a_damaged_shard_of_scores_is_scored_again(tmp_path, caplog, how):
    (path,) = [tmp_path / name for name in kept_pairs(tmp_path, merged=False)._shards]
    damage(path, how)
    with caplog.at_level("WARNING", logger="rd_utils"):
        again = teachers.PairScores(tmp_path, n_docs=10)
    assert len(again) == 0 and "shard-000000-000001.npz is damaged" in caplog.text
    teachers.score_missing(again, np.arange(5), lambda queries, docs: docs / 2)
    caplog.clear()
    assert teachers.PairScores(tmp_path, n_docs=10).lookup(np.arange(5)).tolist() == [0, 0.5, 1, 1.5, 2] and not caplog.text


def test_reading_scores_that_are_there_makes_nothing(tmp_path):
    assert len(teachers.PairScores(tmp_path / "none", n_docs=10)) == 0 and not (tmp_path / "none").exists()


# --- disks ------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path):
    """Mount a disk of some megabytes; yields its folder and what remounts it."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options: str) -> None:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)], capture_output=True)
        if done.returncode:
            pytest.skip("this user may not mount a disk")

    mount("size=1m")
    yield folder, mount
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_said_keeps_what_is_finished_and_more_room_is_enough(made, disk):
    _, specs = made
    folder, mount = disk
    (folder / "ballast").write_bytes(bytes(900_000))
    with pytest.raises(StoreError, match=f"no space left on the disk that holds {folder}/store.*; free some and run again"):
        for spec in specs.values():
            Pipeline(Store(folder / "store"), track=untracked).build(spec)
    assert not list((folder / "store").glob("*/.*"))
    kept = {path: path.stat().st_mtime_ns for path in (folder / "store").glob("*/*/manifest.json")}
    mount("remount", "size=20m")
    pipeline = Pipeline(Store(folder / "store"), track=untracked)
    for spec in specs.values():
        pipeline.build(spec)
        assert pipeline.store.manifest(spec)["files"] == Store(made[0]).manifest(spec)["files"]
    assert kept and {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_finished_store_on_a_read_only_disk_is_read_and_what_is_missing_is_refused(made, disk, toy):
    root, specs = made
    folder, mount = disk
    mount("remount", "size=20m")
    shutil.copytree(root, folder / "store")
    mount("remount", "ro")
    pipeline = Pipeline(Store(folder / "store"), track=untracked)
    for spec in specs.values():
        pipeline.build(spec)
    assert len(pipeline.frame(specs["evaluation"], "per_query")) and pipeline.student(specs["student"])
    rows = np.zeros(2, dtype=np.int64), np.array([0, 1])
    with pytest.raises(StoreError, match="its disk is read-only"):
        pipeline.teacher_scores(params.BM25Teacher(retriever=params.BM25(b=0.5)), specs["groups"].collection, *rows)
    query_rows, doc_rows = pipeline.group_rows(specs["groups"])
    repeated = np.repeat(query_rows, doc_rows.shape[1])
    scores, new = pipeline.teacher_scores(params.BM25Teacher(), specs["groups"].collection, repeated, doc_rows.ravel())
    assert new == 0 and len(scores) == doc_rows.size
    with pytest.raises(StoreError, match=f"{folder}.* cannot be written, its disk is read-only"):
        pipeline.build(params.DocsSpec(collection=params.FolderCollection(path=str(toy), split="train")))


# --- waiting ----------------------------------------------------------------------------------------------------------------------


def test_a_wait_says_for_whom_and_for_how_long(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(artefacts, "_FIRST_WORD", 0.2)
    release, held = threading.Event(), threading.Event()

    def hold():
        with Store(tmp_path).lock("scores-1", "makes scores 1"):
            held.set()
            release.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(20)
    timer = threading.Timer(1.0, release.set)
    timer.start()
    began = time.monotonic()
    with caplog.at_level("INFO", logger="rd_utils"), Store(tmp_path).lock("scores-1", "makes scores 1"):
        assert time.monotonic() - began >= 0.5
        assert (tmp_path / "locks" / "scores-1.json").is_file()
    holder.join()
    first, *rest = [record.getMessage() for record in caplog.records]
    assert first.startswith("waiting for another process that makes scores 1; it began 0 s ago (process ") and " on " in first
    assert rest and all(line.startswith("still waiting for another process that makes scores 1") for line in rest)
    assert not (tmp_path / "locks" / "scores-1.json").exists()
    caplog.clear()
    with caplog.at_level("INFO", logger="rd_utils"), Store(tmp_path).lock("scores-1"):
        assert not caplog.records

"""The store: identities, atomic writes, manifests."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from rd_utils import params, store
from rd_utils.store import Store, StoreError, identity

DOCS = params.DocsSpec(collection=params.EmbeddedCollection())


def groups(**changes) -> params.GroupsSpec:
    return params.GroupsSpec(collection=params.EmbeddedCollection(), strategy=params.CorpusRandom(), **changes)


def test_a_changed_parameter_changes_the_identity_and_the_same_one_does_not():
    assert identity(groups()) == identity(groups())
    assert identity(groups()) == identity(groups(group_size=16))  # the default said aloud
    assert len({identity(groups()), identity(groups(seed=1)), identity(groups(group_size=8))}) == 3


def test_splits_share_their_documents():
    train, test = params.EmbeddedCollection(split="train"), params.EmbeddedCollection(split="test", max_queries=5)
    assert identity(store.docs_of(train)) == identity(store.docs_of(test))
    beir = [params.IrDatasetsCollection(id=f"beir/scifact/{split}") for split in ("train", "test")]
    assert identity(store.docs_of(beir[0])) == identity(store.docs_of(beir[1]))


def test_an_input_of_another_identity_changes_the_identity(monkeypatch):
    before = identity(groups())
    store.identity.cache_clear()
    monkeypatch.setitem(store.CODE, "docs", ("collections", "synthetic", "retrieval"))
    try:
        assert identity(groups()) != before
    finally:
        monkeypatch.undo()
        store.identity.cache_clear()
    assert identity(groups()) == before


def test_identity_is_the_same_under_another_hash_seed():
    code = "from rd_utils import params, store; c = params.EmbeddedCollection();"
    code += "print(store.identity(params.GroupsSpec(collection=c, strategy=params.FromCandidates())))"
    found = {
        subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
    assert len(found.pop().strip()) == 20


def test_comments_and_docstrings_do_not_change_the_code_version(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "__file__", str(tmp_path / "store.py"))
    versions = []
    for text in ('def f():\n    """One."""\n    return 1\n', "def f():\n    '''Two.'''\n    return 1  # why\n", "def f():\n    return 2\n"):
        (tmp_path / "room.py").write_text(text)
        store.code_version.cache_clear()
        versions.append(store.code_version(("room",)))
    store.code_version.cache_clear()
    assert versions[0] == versions[1] != versions[2]


def test_a_folder_collections_content_is_part_of_the_identity(toy):
    spec = params.DocsSpec(collection=params.FolderCollection(path=str(toy)))
    before = identity(spec)
    (toy / "corpus.jsonl").write_text('{"_id": "d1", "text": "other"}\n')
    store.folder_fingerprint.cache_clear()
    store.identity.cache_clear()
    assert identity(spec) != before


def test_a_draft_appears_whole_with_its_manifest(tmp_path):
    kept = Store(tmp_path)
    with kept.draft(DOCS) as draft:
        (draft.folder / "docs.parquet").write_bytes(b"abc")
        draft.counts["documents"] = 3
        assert not kept.has(DOCS)
    manifest = kept.manifest(DOCS)
    assert manifest["files"] == {"docs.parquet": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
    assert manifest["counts"] == {"documents": 3}
    assert manifest["parameters"]["collection"]["source"] == "embedded"
    assert manifest["packages"]["torch"] and manifest["cost"]["wall_seconds"] >= 0 and manifest["cost"]["peak_memory_mb"] > 0
    kept.verify(DOCS)


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

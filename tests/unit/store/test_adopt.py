"""Taking over a store of 0.4.0 to 0.6.0: what is renamed, what stays, and what an interruption leaves."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from toys import write_toy

from rd_utils import durable
from rd_utils.__main__ import main
from rd_utils.store import MANIFEST, Store, adopt, identity, outside_content, upstream
from rd_utils.store.canonical import names_within
from rd_utils.study import params
from rd_utils.study.stage import stages
from rd_utils.training.losses import LOSSES
from rd_utils.workflow.maker import Maker
from rd_utils.workflow.progress import untracked


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, list[params.Spec]]:
    """A store of today with scores of groups, and the artefacts in it, each after its inputs."""
    root = tmp_path_factory.mktemp("adopt")
    collection = params.FolderCollection(path=str(write_toy(root / "toy")))
    groups = params.GroupsSpec(collection=collection, strategy=params.CorpusRandom(), group_size=3)
    scores = params.ScoresSpec(groups=groups, teacher=params.BM25Teacher())
    Maker(Store(root / "store"), track=untracked).build(scores)
    return root / "store", [*upstream(scores).values(), scores]


@pytest.fixture
def old(made, tmp_path, monkeypatch) -> Store:
    """The same store as an older version would have written it; what a golden run confirmed is all of it."""
    source, specs = made
    store, known = Store(tmp_path / "outputs" / "store"), {}
    shutil.copytree(source, store.root)
    for spec in specs:
        folder = store.folder(spec)
        manifest = json.loads((folder / MANIFEST).read_text())
        for name in ("versions", "checksum", "sizes", "content"):  # which 0.4.0 did not write
            del manifest[name]
        manifest["code"] = f"code of {spec.stage}"
        for part in manifest["inputs"].values():
            part["identity"] = known[part["identity"]]
        for bill in manifest["scoring"]:
            bill["teacher"] = "1234-5678"
        manifest["identity"] = adopt._old_identity(manifest, outside_content(spec))
        known[folder.name] = manifest["identity"]
        (folder / MANIFEST).write_text(json.dumps(manifest))
        folder.rename(folder.with_name(manifest["identity"]))
    (pairs,) = (store.root / "pairs").iterdir()
    pairs.rename(pairs.with_name("1234-5678"))
    entries = {spec.stage: {f"code of {spec.stage}": {"release": "0.4.0", "kinds": sorted(names_within(spec))}} for spec in specs}
    monkeypatch.setattr(adopt, "confirmed", lambda: entries)
    return store


def reasons(done: adopt.Adoption) -> dict[str, set[str]]:
    return {reason: {folder.parent.name for folder in folders} for reason, folders in done.left.items()}


def only(store: Store, stage: str) -> Path:
    (folder,) = (store.root / stage).iterdir()
    return folder


def is_whole(store: Store, specs: list[params.Spec]) -> bool:
    fresh = Store(store.root)
    for spec in specs:
        fresh.verify(spec)
    return all(len(list((store.root / spec.stage).iterdir())) == 1 for spec in specs)


def test_all_that_is_confirmed_is_found_by_the_store_of_today_with_its_pairs(old, made):
    specs = made[1]
    assert not any(Store(old.root).has(spec) for spec in specs)
    done = adopt.adopt(old)
    assert not done.left and done.adopted == {spec.stage: 1 for spec in specs} | {"pairs": 1}
    assert is_whole(old, specs)
    scores = specs[-1]
    pairs = params.PairsSpec(teacher=scores.teacher, collection=scores.groups.collection)
    assert old.folder(pairs).is_dir()
    manifest = old.manifest(scores)
    assert manifest["scoring"][0]["teacher"] == identity(pairs)
    assert manifest["adopted"]["code"] == "code of scores" and manifest["cost"] and "code" not in manifest
    before = {path: path.read_bytes() for path in old.root.rglob("*") if path.is_file()}
    assert not adopt.adopt(old).adopted  # again: nothing is left to do
    assert before == {path: path.read_bytes() for path in old.root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "docs.arrow").write_bytes(b"x"), "its docs.arrow is missing or damaged"),
        (lambda folder: (folder / "ties.npy").unlink(), "its ties.npy is missing or damaged"),
        (lambda folder: (folder / MANIFEST).unlink(), f"its {MANIFEST} is missing or damaged"),
        (lambda folder: (folder / MANIFEST).write_text("{}"), f"its {MANIFEST} lacks "),
    ],
)
def test_what_is_damaged_stays_and_all_that_was_made_from_it_with_nothing_renamed_before_all_was_looked_at(old, damage, reason):
    damage(only(old, "docs"))
    done = adopt.adopt(old)
    found = reasons(done)
    assert [text for text, of in found.items() if of == {"docs"} and text.startswith(reason)]
    assert {"groups", "index"} <= found["the docs that it was made from stays"] and "queries" in done.adopted
    assert found["no artefact that was taken over says whose they are"] == {"pairs"}
    assert not {"docs", "groups", "index", "scores", "pairs"} & set(done.adopted)


def entry(stage: str) -> dict:
    return adopt.confirmed()[stage][f"code of {stage}"]


def test_code_kinds_and_parameters_that_no_golden_run_had_are_not_taken_over(old):
    entry("groups")["kinds"].remove("CorpusRandom")
    adopt.confirmed()["index"].clear()
    path = only(old, "queries") / MANIFEST
    path.write_text(path.read_text().replace('"max_queries"', '"at_most"'))
    found = reasons(adopt.adopt(old))
    assert found["the golden run of 0.4.0 had no CorpusRandom"] == {"groups"}
    assert found["no golden run has compared the code that made it"] == {"index"}
    assert found["its parameters are not those of today"] == {"queries"}


def test_a_manifest_that_was_edited_or_a_collection_that_changed_is_noticed(old, made):
    path = only(old, "groups") / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["parameters"]["seed"] = 7
    path.write_text(json.dumps(manifest))
    found = reasons(adopt.adopt(old))
    assert found["its manifest is damaged, or what it names by path has another content now"] == {"groups"}
    assert found["the groups that it was made from stays"] == {"scores"}


def test_scores_that_moved_by_rounding_are_taken_over_when_asked_for_and_say_so(old, made, capsys):
    entry("scores")["rounding"] = ["BM25Teacher"]
    done = adopt.adopt(old)
    assert reasons(done)["scores of a learned teacher differ from today's by rounding; adopt --rounding takes them over"] == {"scores"}
    assert main(["adopt", str(old.root.parent), "--rounding"]) == 0
    assert capsys.readouterr().out == "adopted: 1 pairs, 1 scores\n"
    assert old.manifest(made[1][-1])["adopted"]["rounding"] is True and is_whole(old, made[1])


def test_what_would_be_written_otherwise_where_nobody_reads_stays_but_what_was_made_from_it_goes(old, capsys):
    entry("index")["but"] = ["about.json"]
    assert main(["adopt", str(old.root.parent)]) == 1
    said = capsys.readouterr().out
    assert said.startswith(
        "adopted: 1 docs, 1 groups, 1 pairs, 1 queries, 1 scores\nleft: 1 index: its about.json would be written otherwise"
    )


@pytest.mark.parametrize("at", range(1, 11))
def test_an_adoption_that_is_interrupted_goes_on(old, made, monkeypatch, at):
    calls = 0

    def interrupted(function):
        def call(*arguments):
            nonlocal calls
            calls += 1
            if calls == at:
                raise KeyboardInterrupt
            return function(*arguments)

        return call

    with monkeypatch.context() as patch:
        for name in ("write_text", "rename"):
            patch.setattr(durable, name, interrupted(getattr(durable, name)))
        with pytest.raises(KeyboardInterrupt):
            adopt.adopt(old)
    done = adopt.adopt(old)
    assert not done.left and is_whole(old, made[1])


def test_the_committed_list_names_stages_releases_and_kinds_that_there_are():
    names = {f"loss {loss}" for loss in LOSSES}
    waiting = [params.Part]
    while waiting:
        model = waiting.pop()
        names.add(model.__name__)
        waiting += model.__subclasses__()
    found = adopt.confirmed()
    assert set(found) == set(stages()) - {"pairs"}
    for stage, entries in found.items():
        assert {own["release"] for own in entries.values()} <= {"0.4.0", "0.5.0", "0.6.0"}, stage
        assert all(re.fullmatch("[0-9a-f]{64}", code) and set(own["kinds"]) <= names for code, own in entries.items()), stage

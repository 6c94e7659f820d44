"""A study as an RO-Crate: it holds what it says, damage is found, and with the artefacts it is verified where it lies."""

from __future__ import annotations

import functools
import json
from urllib.parse import unquote

import pytest
from rocrate.rocrate import ROCrate
from studies_on_disk import planned, seal

from rd_utils import __main__ as command
from rd_utils.exchange import crate, export
from rd_utils.store import Store, StoreError, file_sha256, identity
from rd_utils.study import node_files, studies
from rd_utils.study.params import ParameterError
from rd_utils.study.stage import inputs
from tests import commands

asked = functools.partial(commands.asked, export)
MADE = {"git": {"revision": "abc", "modified": False}, "packages": {"rd-utils": "0.6.0", "torch": "2.13.0"}, "machine": {"cores": 2}}
CONTENT = {"data/own": "f" * 64, "package:scipy": "1.17.1"}


@pytest.fixture
def study(outputs, tmp_path):
    """A finished study, each of whose artefacts is one file with its identity."""
    plan, store = planned(tmp_path), Store()
    for spec in plan.specs():
        folder = store.folder(spec)
        folder.mkdir(parents=True)
        (folder / "content.bin").write_text(identity(spec) * 10)
        below = {role: {"stage": part.stage, "identity": identity(part)} for role, part in inputs(spec).items()}
        rest = {"cost": {}, "counts": {}, "dropped": {}, "parameters": {}, "scoring": [], "content": CONTENT, **MADE}
        seal(folder, rest | {"inputs": below})
    (plan.folder / "notebooks").mkdir(parents=True)
    (plan.folder / "report.html").write_text("<p>found</p>")
    for node in plan.nodes:
        (plan.folder / "notebooks" / f"{node.name}.ipynb").write_text("{}")
    node_files.write_record(plan, [plan.folder / "report.html"])
    return plan


def test_a_crate_describes_every_file_and_what_artefacts_are_made_from(study, tmp_path, capsys):
    said = asked("study", tmp_path / "study.yaml", "--to", tmp_path / "crate")
    folder = tmp_path / "crate"
    described = {unquote(entity.id): entity for entity in ROCrate(folder).get_by_type("File")}
    on_disk = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert described.keys() == on_disk - {crate.METADATA}
    assert all(entity["sha256"] == file_sha256(folder / name) for name, entity in described.items())
    assert {f"outputs/smallest/notebooks/{node.name}.ipynb" for node in study.nodes} <= on_disk
    assert {"params/study.yaml", "README.md", "environment/constraints.txt", "environment/made_by.json"} <= on_disk
    assert not any(name.endswith("content.bin") for name in on_disk)
    graph = {one["@id"]: one for one in json.loads((folder / crate.METADATA).read_text())["@graph"]}
    student = next(spec for spec in study.specs() if spec.stage == "student")
    below = {f"outputs/store/{part.stage}/{identity(part)}/" for part in inputs(student).values()}
    assert {one["@id"] for one in graph[f"outputs/store/student/{identity(student)}/"]["isBasedOn"]} == below
    assert graph["./"]["mainEntity"] == {"@id": "params/study.yaml"} and graph["./"]["description"] == study.study.question
    assert graph["#torch-2.13.0"]["softwareVersion"] == "2.13.0" and graph[f"#outside-{'f' * 20}"]["name"] == "data/own"
    assert (
        graph["#sources-scipy-1.17.1"]["softwareVersion"] == "1.17.1"
        and "- the sources of scipy 1.17.1" in (folder / "README.md").read_text()
    )
    assert graph["#study"]["instrument"] == {"@id": "#rd-utils"} and graph["#rd-utils"]["softwareVersion"] == ["0.6.0"]
    assert json.loads((folder / "environment" / crate.MADE_BY).read_text()) == [{"artefacts": len(study.specs())} | MADE]
    assert file_sha256(folder / crate.METADATA) in said
    assert command.main(["verify", "--crate", str(folder)]) == 0
    assert "all as they were made" in capsys.readouterr().out


def test_with_its_artefacts_a_crate_is_verified_where_it_lies(study, tmp_path, monkeypatch, capsys):
    asked("study", tmp_path / "study.yaml", "--to", tmp_path / "crate", "--artefacts")
    monkeypatch.setenv("RD_OUTPUTS", str(tmp_path / "crate" / "outputs"))
    assert command.main(["verify", str(tmp_path / "crate" / "params" / "study.yaml")]) == 0
    assert f"{len(study.specs())} artefacts" in (out := capsys.readouterr().out) and "all as they were made" in out
    assert command.main(["verify", "--crate", str(tmp_path / "crate")]) == 0


def test_what_is_damaged_missing_or_added_is_found(study, tmp_path, capsys):
    folder = tmp_path / "crate"
    asked("study", tmp_path / "study.yaml", "--to", folder)
    report, notebook = folder / "outputs/smallest/report.html", next((folder / "outputs/smallest/notebooks").iterdir())
    report.write_text("<p>fount</p>")
    notebook.unlink()
    (folder / "params" / "study.yaml").write_text("name: other\n")
    (folder / "notes.txt").write_text("mine")
    assert command.main(["verify", "--crate", str(folder)]) == 1
    out = capsys.readouterr().out
    assert f"damaged: {report}: its SHA-256 is " in out and f"damaged: {notebook}: it is missing" in out
    assert f"damaged: {folder / 'params' / 'study.yaml'}: it has 12 bytes, not " in out
    assert f"unknown: {folder / 'notes.txt'}: the crate does not name it" in out and "3 damaged, 1 unknown" in out


def test_what_is_no_crate_is_refused(study, tmp_path):
    with pytest.raises(ParameterError, match="is no RO-Crate: it has no ro-crate-metadata.json"):
        crate.check(tmp_path)
    asked("study", tmp_path / "study.yaml", "--to", tmp_path / "crate")
    path = tmp_path / "crate" / crate.METADATA
    text = path.read_text()
    path.write_text(text.replace('"params/study.yaml"', '"../study.yaml"'))
    with pytest.raises(ParameterError, match="names '../study.yaml', which is not in the crate"):
        crate.check(tmp_path / "crate")
    path.write_text(text.replace('"sha256"', '"sha1"'))
    with pytest.raises(ParameterError, match="describes a file without size or sha256"):
        crate.check(tmp_path / "crate")
    path.write_text(text[:-100])
    with pytest.raises(ParameterError, match="cannot be read"):
        crate.check(tmp_path / "crate")


def test_a_study_that_is_not_finished_stays(study, tmp_path):
    file, again = tmp_path / "study.yaml", f"`rd run {tmp_path / 'study.yaml'}`"

    def refused(said: str, *options: str) -> None:
        with pytest.raises(StoreError) as error:
            asked("study", file, "--to", tmp_path / "crate", *options)
        assert said in str(error.value) and again in str(error.value) and not (tmp_path / "crate").exists()

    node = study.nodes[0]
    (study.folder / "notebooks" / f"{node.name}.ipynb").rename(tmp_path / "aside")
    refused(f"the executed notebook {node.name} is not in")
    (study.folder / "report.html").write_text("other")
    refused("report.html is damaged")
    student = next(spec for spec in study.specs() if spec.stage == "student")
    (Store().folder(student) / "content.bin").unlink()
    refused("the store lacks 1 student")
    with pytest.raises(ParameterError, match="exists; name a folder that does not"):
        asked("study", file, "--to", tmp_path)


def test_the_files_of_a_study_are_its_own_and_its_bases(root):
    own, *bases = studies.files_of(root / "params/ablations/losses.yaml")
    assert own == root / "params/ablations/losses.yaml" and bases == [root / "params/bases/embedded.yaml"]
    assert studies.files_of(root / "params/ablations/losses.yaml", "scifact")[1] == root / "params/bases/scifact.yaml"

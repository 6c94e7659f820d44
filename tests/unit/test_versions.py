"""Versions: what changes no identity, and what may not change without a raised version."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from rd_utils import store
from rd_utils.store import project_root
from rd_utils.study import params
from rd_utils.study.plan import load_plan
from rd_utils.study.stage import stages
from rd_utils.training import losses
from tests import versions

LIST = """
import json
from tests import versions
from tests.unit.test_versions import identities
print(json.dumps([identities(), versions.renew()]))
"""


def identities() -> dict[str, str]:
    """Return the stage of every artefact of a study, by identity."""
    found = {}
    for spec in load_plan("params/embedded.yaml").specs():
        found |= {key: part.stage for key, part in (store.upstream(spec) | {store.identity(spec): spec}).items()}
    return found


STRATEGY = '''

class Backwards(Strategy):
    """Negatives drawn from the end."""

    kind: Literal["backwards"] = "backwards"


class Graph('''
HARMLESS = {  # file, what is there, what is there instead
    "an error is worded otherwise": ("data/runs.py", "missing; make it again", "not there; make all of it again"),
    "a loss is added": (
        "training/losses.py",
        '    "ranknet": Loss(',
        '    "twice": Loss("twice", kl, "2 kl", "none"),\n    "ranknet": Loss(',
    ),
    "a strategy is added": ("mining/strategies.py", "\n\nclass Graph(", STRATEGY),
    "a setting with a default": (
        "study/settings.py",
        "    weight_decay: BelowOne = 0.01\n",
        "    weight_decay: BelowOne = 0.01\n    ema: BelowOne = 0.0\n",
    ),
    "a helper that nobody uses": ("mining/bm25.py", "\ndef build(", "\ndef helper():\n    return build\n\n\ndef build("),
}
BEHAVIOUR = {  # by what moves thereby: the edit, and some of what has a version and reaches it
    "training.losses._smoothed_softmax": (
        ("training/losses.py", "teacher_scores / temperature", "teacher_scores / (2 * temperature)"),
        {"loss kl", "loss listnet", "loss lambda_loss"},
    ),
    "data.latent.LAST_VOWELS": (
        ("data/latent.py", "LAST_VOWELS = ", 'LAST_VOWELS = "" + '),
        {"stage docs", "stage queries", "Oracle"},
    ),
    "stages.docs._make": (("stages/docs.py", 'draft.folder / "ties.npy"', 'draft.folder / "tied.npy"'), {"stage docs"}),
    "mining.bm25.Index.load": (("mining/bm25.py", "def load(", "def load(cls, *rest): ...\n    def loaded("), {"BM25"}),
}


def edit(folder: Path, file: str, old: str, new: str) -> None:
    path = folder / "rd_utils" / file
    text = path.read_text()
    assert old in text, f"{file} has no {old!r} any more: edit something else there"
    path.write_text(text.replace(old, new, 1))


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of the package, with the studies and notebooks of this one."""
    shutil.copytree(project_root() / "rd_utils", tmp_path / "rd_utils", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (project_root() / "tests").rglob("*versions.*"):
        (tmp_path / path.relative_to(project_root()).parent).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / path.relative_to(project_root()))
    shutil.copy(project_root() / "tests" / "definitions.py", tmp_path / "tests")
    for name in ("params", "notebooks", "pyproject.toml"):
        (tmp_path / name).symlink_to(project_root() / name)
    return tmp_path


def test_the_committed_file_says_what_the_sources_say():
    now, before = versions.current(), versions.read()
    found = versions.moved(before, now)
    assert not found, versions.say(found)
    assert now.lock == before, "run `python -m tests.versions`, and commit versions.json"


def test_harmless_edits_change_no_identity_and_move_no_version(copy):
    for file, old, new in HARMLESS.values():
        edit(copy, file, old, new)
    (copy / "rd_utils" / "elsewhere").mkdir()
    (copy / "rd_utils" / "elsewhere" / "__init__.py").touch()
    (copy / "rd_utils" / "data" / "runs.py").rename(copy / "rd_utils" / "elsewhere" / "runs.py")
    for path in (copy / "rd_utils").rglob("*.py"):
        path.write_text(path.read_text().replace("from rd_utils.data.runs import", "from rd_utils.elsewhere.runs import"))
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", LIST], cwd=copy, env=environment, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    *said, found = done.stdout.splitlines()
    after, status = json.loads(found)
    before = identities()
    assert [stage for key, stage in before.items() if key not in after] == [] and before == after and len(before) > 700
    assert status == 0, said
    lock = json.loads((copy / "tests" / "versions.json").read_text())
    assert {"loss twice", "Backwards"} <= set(lock["roots"]) and lock["roots"]["Training"]["defaults"]["ema"] == 0.0
    assert "elsewhere.runs.Run" in lock["definitions"]


def test_a_changed_behaviour_without_a_raised_version_is_found_and_named(copy):
    for change, _ in BEHAVIOUR.values():
        edit(copy, *change)
    found = versions.moved(versions.read(), versions.current(copy / "rd_utils"))
    beside = {"data.latent.CONSONANTS", "data.latent.VOWELS", "mining.bm25.Index.loaded"}  # of the same lines
    assert set(found) - set(BEHAVIOUR) == beside
    assert all(of <= set(found[name]) and name in versions.say(found) for name, (_, of) in BEHAVIOUR.items())
    assert found["stages.docs._make"] == ["stage docs"]
    name = "training.losses._smoothed_softmax"
    assert {of for of in found[name] if of.startswith("loss")} == BEHAVIOUR[name][1]


@pytest.fixture
def lock(tmp_path, monkeypatch) -> dict[str, dict[str, Any]]:
    """What the sources say, and a place of its own for the file."""
    now = versions.Current(versions.read(), {name: {} for name in versions.read()["roots"]})
    monkeypatch.setattr(versions, "current", lambda: now)
    monkeypatch.setattr(versions, "LOCK", tmp_path / "versions.json")
    return now.lock


def test_a_changed_default_without_a_raised_version_is_found_and_one_with_it_is_not(lock, monkeypatch, capsys):
    before = deepcopy(lock)
    before["roots"]["Training"]["defaults"]["betas"] = [0.9, 0.98]
    del before["roots"]["Training"]["defaults"]["schedule"]  # a field that is new
    versions.LOCK.write_text(json.dumps(before))
    assert versions.moved(before, versions.current()) == {"Training.betas: [0.9, 0.98] -> [0.9, 0.999]": ["Training"]}
    assert versions.renew() == 1 and versions.read() == before
    said = capsys.readouterr().out
    assert "  Training.betas: [0.9, 0.98] -> [0.9, 0.999] (of Training)\nraise the version" in said and "--same-bytes" in said
    lock["roots"]["Training"]["version"] = 2
    assert versions.renew() == 0 and versions.read() == lock
    assert capsys.readouterr().out.startswith("versions.json: ")


def test_what_moved_with_a_raised_version_may_move_and_the_rest_is_said_to_have_the_same_bytes(lock, capsys):
    before = deepcopy(lock)
    for loss in ("kl", "listnet"):
        before["roots"][f"loss {loss}"]["hash"] = "0"
    versions.LOCK.write_text(json.dumps(before))
    lock["roots"]["loss kl"]["version"] = 2
    assert versions.moved(before, versions.current()) == {"another set of definitions is reached": ["loss listnet"]}
    assert versions.renew() == 1 and versions.read() == before
    assert versions.renew(same_bytes=True) == 0 and versions.read() == lock
    assert versions.renew() == 0


def test_a_version_is_not_lowered(lock):
    before = deepcopy(lock)
    before["roots"]["loss kl"]["version"] = 3
    assert versions.moved(before, versions.current()) == {"the version was lowered": ["loss kl"]}


def test_every_stage_loss_and_class_of_parameters_has_a_version_in_the_file():
    known = set(versions.read()["roots"])
    assert known >= {f"stage {stage}" for stage in stages()} | {f"loss {loss}" for loss in losses.LOSSES}
    assert known >= {spec.__name__ for spec in params.Spec.__subclasses__()} | {"BM25", "Training", "RandomSplit", "Refresh", "EntropyCut"}
    assert not {"TrainParameters", "BM25Entry", "Part"} & known

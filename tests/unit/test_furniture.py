"""What surrounds the code: continuous integration, the container, hooks, forms and badges name what there is, and the hooks work."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from rd_utils.__main__ import VERBS

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEV = {Requirement(text).name for text in PROJECT["optional-dependencies"]["dev"]}
FORMS = ROOT / ".github" / "ISSUE_TEMPLATE"
HOOKS = {hook["id"]: hook for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"] for hook in repo["hooks"]}


def targets() -> set[str]:
    """Return what make can be asked for."""
    makefile = (ROOT / "Makefile").read_text().replace("$(VENV)", ".venv")
    return set(re.findall(r"^([.\w/-]+):(?!=)", makefile, re.MULTILINE))


def unknown(command: str) -> list[str]:
    """Return what a shell command names that there is not: targets of make, commands of rd, programs of the environment, files."""
    found = []
    for part in re.split(r"&&|;|\|", command):
        program, *words = shlex.split(part)
        words = [word for word in words if not re.match(r"-|[A-Z]+=", word)]
        name = program.removeprefix(".venv/bin/")
        if name == "make":
            found += [f"make {word}" for word in words if word not in targets()]
        elif name == "rd":
            found += [f"rd {word}" for word in words[:1] if word not in VERBS]
        elif program == name or name not in DEV:
            found.append(program)
        else:
            found += [word for word in words if "/" in word and not (ROOT / word).exists()]
    return found


def test_what_there_is_not_is_found():
    assert unknown("make tests") == ["make tests"] and unknown(".venv/bin/rd doctors") == ["rd doctors"]
    assert unknown("make .venv/.ready && ruff check") == ["ruff"]  # not that of the environment
    assert unknown(".venv/bin/pytest tests/no.py") == ["tests/no.py"] and unknown(".venv/bin/black .") == [".venv/bin/black"]


def test_the_workflow_runs_the_commands_of_the_readme_on_the_pythons_that_are_served():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    (job,) = workflow["jobs"].values()
    runs = [step["run"] for step in job["steps"] if "run" in step]
    assert [run.split()[:2] for run in runs[:2]] == [["make", "study"], ["make", "test"]]
    readme = (ROOT / "README.md").read_text()
    assert "    make study " in readme and "`make test`" in readme
    assert all(unknown(run) == [] for run in runs)
    pythons = job["strategy"]["matrix"]["python"]
    assert pythons == ["3.11", "3.12"]
    assert all(SpecifierSet(PROJECT["requires-python"]).contains(python) for python in pythons)
    assert workflow["permissions"] == {"contents": "read"}
    keyed = next(step["with"] for step in job["steps"] if "cache" in step.get("with", {}))["cache-dependency-path"].split()
    assert all([*ROOT.glob(pattern)] for pattern in keyed)
    assert "make test" in (ROOT / ".ci" / "run").read_text()  # the same elsewhere


def test_the_container_is_built_and_made_ready_by_what_there_is():
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    dockerfile = (ROOT / ".devcontainer" / container["build"]["dockerfile"]).read_text()
    assert unknown(container["postCreateCommand"]) == []
    (python,) = re.findall(r"^FROM python:([\d.]+)-", dockerfile, re.MULTILINE)
    assert SpecifierSet(PROJECT["requires-python"]).contains(python)
    assert f"USER {container['remoteUser']}" in dockerfile and container["remoteUser"] != "root"  # as whom JupyterLab does not start
    assert container["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"].endswith("/.venv/bin/python")


@pytest.mark.parametrize("path", sorted(set(FORMS.glob("*.yml")) - {FORMS / "config.yml"}), ids=lambda path: path.stem)
def test_a_form_asks_for_what_the_doctor_says(path):
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= set(form)
    asked = {part["id"]: part for part in form["body"] if part["type"] != "markdown"}
    assert len(asked) == sum(part["type"] != "markdown" for part in form["body"])  # no two have one name
    assert all(part["attributes"]["label"] for part in asked.values())
    assert "`rd doctor`" in asked["doctor"]["attributes"]["label"]
    if path.stem == "bug":
        assert asked["doctor"]["validations"] == {"required": True}
    for command in re.findall(r"`(?:\.venv/bin/)?rd (\w+)", path.read_text()):
        assert command in VERBS
    for page in re.findall(r"\bdocs/\w+\.md", path.read_text()):
        assert (ROOT / page).is_file()


def test_hooks_name_programs_of_the_environment():
    assert set(HOOKS) == {"ruff-check", "ruff-format", "notebooks"}
    assert all(unknown(hook["entry"]) == [] and hook["language"] == "system" for hook in HOOKS.values())


@pytest.mark.parametrize(("name", "spoilt", "status"), [("ruff-check", "import os\n\n", 1), ("ruff-format", "x = {  1:2 }\n", 0)])
def test_a_hook_mends_a_file_and_lets_a_sound_one_pass(tmp_path, name, spoilt, status):
    """A format that changed a file ends well: pre-commit sees for itself that it did."""
    path = tmp_path / "one.py"
    path.write_text(f'"""One."""\n\n{spoilt}')
    command = shlex.split(HOOKS[name]["entry"].replace(".venv/bin/", f"{Path(sys.executable).parent}/"))
    first, again = (
        subprocess.run([*command, "--config", str(ROOT / "pyproject.toml"), str(path)], capture_output=True, text=True) for _ in range(2)
    )
    assert (first.returncode, again.returncode) == (status, 0), first.stdout + again.stdout
    assert spoilt not in path.read_text() and path.read_text().startswith('"""One."""\n')


def test_badges_say_what_the_project_says():
    shown = {path.stem: path.read_text() for path in (ROOT / "docs" / "badges").glob("*.svg")}
    least = re.fullmatch(r">=([\d.]+)", PROJECT["requires-python"])[1]
    assert "<title>licence: " + PROJECT["license"] + "</title>" in shown["licence"]
    assert f"<title>Python: {least} or later</title>" in shown["python"]
    readme = (ROOT / "README.md").read_text()
    assert f"![Licence: {PROJECT['license']}](docs/badges/licence.svg)" in readme
    assert f"![Python {least} or later](docs/badges/python.svg)" in readme
    assert not re.search(r"!\[[^]]*\]\(https?:", readme)  # nothing that a service has to say

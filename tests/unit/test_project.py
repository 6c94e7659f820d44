"""The project's own files agree: imports, dependencies, environment, and the lock, which is what make installs."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAIN = [Requirement(text) for text in PROJECT["dependencies"]]
DEV = [Requirement(text) for text in PROJECT["optional-dependencies"]["dev"]]
CLUSTER = [Requirement(text) for text in PROJECT["optional-dependencies"]["cluster"]]
ENERGY = [Requirement(text) for text in PROJECT["optional-dependencies"]["energy"]]
IMPORT_NAMES = {"ir-datasets": "ir_datasets", "ir-measures": "ir_measures", "pystemmer": "Stemmer", "pyyaml": "yaml", "faiss-cpu": "faiss"}
IMPORT_NAMES |= {"pillow": "PIL", "scikit-learn": "sklearn"}
IMPORT_NAMES |= {"sentence-transformers": "sentence_transformers", "vl-convert-python": "vl_convert"}
NOT_IMPORTED = {"jupyterlab", "snakemake"}  # programs


def by_name(requirements):
    return {canonicalize_name(r.name): r for r in requirements}


def locked() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [re.fullmatch(r"([\w.-]+)==([\w.!]+)", line) for line in lines if line and not line.startswith("#")]
    assert all(pins), "every line of constraints.txt is name==version"
    return {canonicalize_name(pin[1]): pin[2] for pin in pins}


def imported() -> set[str]:
    found = set()
    for path in (ROOT / "rd_utils").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"rd_utils"}


def test_what_is_imported_is_declared_and_what_is_declared_is_used():
    names = {IMPORT_NAMES.get(name, name.replace("-", "_")): name for name in by_name(MAIN)}
    optional = set(by_name(ENERGY))
    assert imported() <= set(names) | optional, imported() - set(names)
    assert optional <= imported()
    assert {names[n] for n in names} - {names[n] for n in imported() - optional} == NOT_IMPORTED


def test_environment_yml_says_the_same_as_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert f"python{PROJECT['requires-python']}" in conda
    assert {"make", "git", "pip"} <= set(conda)
    assert pip == ["--constraint constraints.txt", "--editable .[dev]"]


def test_the_lock_pins_every_dependency_within_its_range():
    pins = locked()
    for name, requirement in by_name(MAIN + DEV).items():
        assert name in pins, f"{name} is not locked; run make lock"
        assert requirement.specifier.contains(pins[name]), (name, pins[name], str(requirement.specifier))


def test_the_lock_is_what_is_installed():
    differing = {}
    for name, version in locked().items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform
        if installed.split("+")[0] != version:
            differing[name] = (installed, version)
    assert not differing, f"installed and locked versions differ: {differing}; run make clean, then make test"


def test_the_cluster_extra_holds_the_plugin_of_every_profile():
    wanted = set()
    for path in (ROOT / "params" / "profiles").glob("*/config.yaml"):
        profile = yaml.safe_load(path.read_text())
        wanted.add(f"snakemake-executor-plugin-{profile['executor']}")
        if "default-storage-provider" in profile:
            wanted.add(f"snakemake-storage-plugin-{profile['default-storage-provider']}")
    assert wanted == set(by_name(CLUSTER))
    assert not wanted & set(locked())  # like energy's, these are not what make installs


def test_installed_plugins_are_within_the_ranges_of_the_cluster_extra():
    for name, requirement in by_name(CLUSTER).items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        assert requirement.specifier.contains(installed), (name, installed, str(requirement.specifier))


def test_make_installs_under_the_lock():
    assert "--constraint constraints.txt --editable '.[dev]'" in (ROOT / "Makefile").read_text()

"""Nodes on disk: whether one is done, what a run of a study finds ready, and the record of its report."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

from rd_utils import durable, kernels
from rd_utils.store import Store, StoreError, identity, outputs_root
from rd_utils.study.nodes import Node
from rd_utils.study.plan import Plan, check_inputs


def node_folder(node_id: str) -> Path:
    """Return where a node keeps its parameters, its executed notebook and its log."""
    return outputs_root() / "store" / "nodes" / node_id


def is_done(node: Node, plan: Plan, store: Store) -> bool:
    """Tell whether a node has been executed, its executed notebook is whole, and everything it makes is still there."""
    return _missing(node, plan, store) is None


def _missing(node: Node, plan: Plan, store: Store) -> str | None:
    """Return what keeps a node from being done: "" where it has not been executed, else what is broken; None where it is done."""
    executed = node_folder(node.id) / "notebook.ipynb"
    if not os.path.lexists(executed):
        return ""
    if damage := kernels.damage(executed):
        return damage
    if gone := next((spec for spec in node.artefacts if not store.sound(spec)), None):
        return f"the {gone.stage} artefact {identity(gone)} is damaged or not there any more"
    return report_damage(plan) if node.notebook == "05c_report" else None


def report_damage(plan: Plan) -> str | None:
    """Return what is wrong with the report in the study's folder, None where it is whole, of this study and made by the code as it is.

    The record ``study.json`` is written last, and has the size and the SHA-256 of every file that the analysis wrote.
    """
    path = plan.folder / "study.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        about_study = {key: record[key] for key in ("study", "report_version", "parameters")}
        files = {name: (about["size"], about["sha256"]) for name, about in record["files"].items()}
    except FileNotFoundError:
        return f"{path} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{path} is damaged"
    if about_study != _about(plan):
        return f"{path} is not of this study and the code as it is now"
    for name, about in files.items():
        file = plan.folder / name
        try:
            if (file.stat().st_size, _sha256(file)) != about:
                return f"{file} is damaged"
        except OSError:
            return f"{file} is missing"
    return None if "report.html" in files else f"{path} is damaged"


def write_record(plan: Plan, written: Iterable[Path]) -> None:
    """Write the record of a report, after the report itself: what it is of, and what :func:`report_damage` compares its files with."""
    files = {str(path.relative_to(plan.folder)): {"size": path.stat().st_size, "sha256": _sha256(path)} for path in written}
    durable.write_text(plan.folder / "study.json", json.dumps(_about(plan) | {"files": files}, indent=1, sort_keys=True))


def _about(plan: Plan) -> dict[str, object]:
    """Return what a report's record says of the study."""
    return {"study": plan.study.name, "report_version": plan.report_version, "parameters": plan.study.model_dump(mode="json")}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def prepare(plan: Plan) -> None:
    """Make a study's folders ready for a run, and say what was found broken.

    Every node's ``parameters.yaml`` is written, and executed notebooks are removed that are broken, or whose artefacts or report are, so
    that they run again.
    """
    check_inputs(plan)
    store = Store()
    for node in plan.nodes:
        folder = node_folder(node.id)
        if folder.exists() and not folder.is_dir():
            durable.remove(folder)
        folder.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(node.parameters, sort_keys=False)
        if _text(folder / "parameters.yaml") != text:
            durable.write_text(folder / "parameters.yaml", text)
        missing = _missing(node, plan, store)
        if missing:
            print(f"study: {node.name} runs again: {missing}", file=sys.stderr, flush=True)
            durable.remove(folder / "notebook.ipynb")


def _text(path: Path) -> str | None:
    """Return what a file says; None where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def write_nodes(plan: Plan) -> Path:
    """Write what the workflow's own processes need to know of the nodes, so that only the first of them expands the study."""
    path = outputs_root() / "store" / "nodes" / f"{plan.study.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps([[node.id, node.name, node.notebook, list(node.needs)] for node in plan.nodes])
    if _text(path) != text:  # jobs that were not told of the file may write at once
        durable.write_text(path, text)
    return path


def read_nodes(path: str | Path) -> dict[str, Node]:
    """Return the nodes that :func:`write_nodes` wrote, by id, without their parameters and artefacts."""
    rows = json.loads(Path(path).read_text(encoding="utf-8"))
    return {node: Node(node, name, notebook, {}, (), tuple(needs)) for node, name, notebook, needs in rows}


def publish(plan: Plan) -> Path:
    """Copy the executed notebooks to ``outputs/<study>/notebooks`` under names a person can read; return the study's folder.

    Raises:
        StoreError: a notebook has not been executed, or what was executed is damaged.
    """
    target = plan.folder / "notebooks"
    if target.exists() and not target.is_dir():
        durable.remove(target)
    target.mkdir(parents=True, exist_ok=True)
    for node in plan.nodes:
        executed = node_folder(node.id) / "notebook.ipynb"
        if damage := kernels.damage(executed, strictly=False):
            raise StoreError(f"{node.name} has not been executed with the code as it is now ({damage}); `rd run {plan.path}` again")
        copy, content = target / f"{node.name}.ipynb", executed.read_bytes()
        if not copy.is_file() or copy.read_bytes() != content:
            durable.write_bytes(copy, content)
    names = {f"{node.name}.ipynb" for node in plan.nodes}
    for path in target.iterdir():
        if path.name not in names and not path.name.startswith("."):
            durable.remove(path)
    return plan.folder

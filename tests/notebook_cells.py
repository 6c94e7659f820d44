"""Cells of notebooks on disk."""

from __future__ import annotations

import json
from pathlib import Path


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text())["cells"]


def code(path: Path) -> list[dict]:
    return [cell for cell in cells(path) if cell["cell_type"] == "code"]


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def outputs(path: Path) -> list[dict]:
    return [output for cell in code(path) for output in cell["outputs"]]

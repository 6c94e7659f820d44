"""Readers' notebooks, made from the solved ones: ``python -m rd_utils.lessons``.

A solved lesson is what its author edits. In a cell that is tagged ``solution`` a function keeps its name and its docstring, and a name its
place; what they are made of becomes dots. Outputs are dropped: the reader predicts first.
"""

from __future__ import annotations

import ast
import copy
import json
from pathlib import Path
from typing import Any

from rd_utils.lessons import terms
from rd_utils.lessons.checks import SOLUTIONS, TAG
from rd_utils.store import project_root

DOTS = "..."


def unsolved(source: str) -> str:
    r"""Return the source of a cell with its solution taken out.

    >>> print(unsolved("def double(x):\n    return 2 * x\n\nanswer = 4  # of two\nprint(answer)"))
    def double(x):
        ...
    <BLANKLINE>
    answer = ...  # of two
    print(answer)
    """
    lines = source.splitlines()
    for node in reversed(ast.parse(source).body):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1:] if ast.get_docstring(node) else node.body
            if first:
                lines[first[0].lineno - 1 : node.end_lineno] = [" " * first[0].col_offset + DOTS]
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            value = node.value
            assert value.end_lineno is not None
            rest = lines[value.end_lineno - 1].encode()[value.end_col_offset :].decode()
            start = lines[value.lineno - 1].encode()[: value.col_offset].decode()
            lines[value.lineno - 1 : value.end_lineno] = [start + DOTS + rest]
    return "\n".join(lines)


def reader(solved: dict[str, Any]) -> dict[str, Any]:
    """Return the reader's notebook of a solved one."""
    notebook = copy.deepcopy(solved)
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        cell["outputs"], cell["execution_count"] = [], None
        tags = cell["metadata"].pop("tags", [])
        if TAG in tags:
            cell["source"] = unsolved("".join(cell["source"])).splitlines(keepends=True)
    return notebook


def written(solved: Path) -> str:
    """Return the text of the reader's notebook of a solved one, which lies one folder nearer to the glossary."""
    text = _text(reader(json.loads(solved.read_text(encoding="utf-8"))))
    return text.replace(f"](../../../{terms.GLOSSARY.as_posix()}#", f"](../../{terms.GLOSSARY.as_posix()}#")


def with_links(solved: Path) -> str:
    """Return the text of a solved notebook with the glossary's terms linked: :func:`rd_utils.lessons.terms.linked`."""
    notebook = json.loads(solved.read_text(encoding="utf-8"))
    terms.linked(notebook, terms.load(), f"../../../{terms.GLOSSARY.as_posix()}")
    return _text(notebook)


def _text(notebook: dict[str, Any]) -> str:
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Link terms in the solved notebooks, write every reader's notebook whose solved one says otherwise, and say which were written."""
    for solved in sorted((project_root() / SOLUTIONS).glob("*.ipynb")):
        _write(solved, with_links(solved))
        _write(solved.parents[1] / solved.name, written(solved))


def _write(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
        print(f"{path.parent.name}/{path.name}: written")

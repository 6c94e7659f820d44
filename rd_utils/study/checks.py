"""What a study or a notebook names and only the outside knows: collections, models, files, measures; looked for before anything is made.

Every check is cheap, and all of what is wrong is returned at once.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from rd_utils.data.collections import CollectionError, check_source
from rd_utils.evaluation.measures import EvaluationError, try_measures
from rd_utils.models import checkpoints
from rd_utils.store import StoreError, resolve_path
from rd_utils.study import params
from rd_utils.study.bounds import shown

CHECKPOINTS = params.BiEncoder | params.CrossEncoder | params.LoadedTeacher
_HUB_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*(/[\w.-]+)?")


def problems(value: object, *, files: bool = True) -> list[str]:
    """Return what is wrong with what a value names, each as ``place: problem; remedy``.

    Args:
        value: parameters, a study, or the sound parts of one.
        files: whether run and score files have to be there.
    """
    named: dict[Named, str] = {}  # where each thing stands: of several places the outermost, which is where a study names it
    for place, part in places(value):
        if isinstance(part, str) and not re.search(r"(^|\.)(measure|measures\[\d+\])$", place):
            continue
        if isinstance(part, Named) and (part not in named or _steps(place) < _steps(named[part])):
            named[part] = place
    return list(dict.fromkeys(f"{place}{problem}" for part, place in named.items() for problem in _of(part, files)))


Named = params.Collection | CHECKPOINTS | params.RunFile | params.FileTeacher | str


def _steps(place: str) -> int:
    return place.count(".") + place.count("[")


def _of(part: Named, files: bool) -> Iterator[str]:
    """Yield what is wrong with one thing, each after what stands between its place and the problem."""
    if isinstance(part, params.Collection):
        yield from (f": {problem}" for problem in _of_collection(part))
    elif isinstance(part, CHECKPOINTS):
        yield from (f".model: {problem}" for problem in _of_checkpoint(part))
    elif isinstance(part, str):
        try:
            try_measures((part,))
        except EvaluationError as error:
            yield f": {error}"
    elif files and not resolve_path(part.path).is_file():
        yield f".path: no file {part.path}{_near(resolve_path(part.path))}; put it there, or name another"


def places(value: object, place: str = "") -> Iterator[tuple[str, object]]:
    """Yield every part, text and number of a value with its place, such as ``evaluation.measures[0]``."""
    yield place, value
    if isinstance(value, params.Part):
        for name in type(value).model_fields:
            yield from places(getattr(value, name), f"{place}.{name}".lstrip("."))
    elif isinstance(value, SimpleNamespace | dict):
        for name, item in (vars(value) if isinstance(value, SimpleNamespace) else value).items():
            yield from places(item, f"{place}.{name}".lstrip("."))
    elif isinstance(value, tuple | list):
        for number, item in enumerate(value):
            yield from places(item, f"{place}[{number}]")


def _of_collection(collection: params.Collection) -> Iterator[str]:
    source = collection.documents if isinstance(collection, params.PseudoQueries) else collection
    if isinstance(source, params.FolderCollection) and not resolve_path(source.path).is_dir():
        yield f"no folder {source.path}{_near(resolve_path(source.path))}; name an existing folder in BEIR layout"
        return
    try:
        check_source(source, queries=source is collection)
    except CollectionError as error:
        yield str(error)


def _near(path: Path) -> str:
    """Return a clause with what a path's own folder has that is called nearly so."""
    try:
        there = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError:
        there = []
    close = difflib.get_close_matches(path.name, there, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _of_checkpoint(part: params.BiEncoder | params.CrossEncoder | params.LoadedTeacher) -> Iterator[str]:
    """Yield why a checkpoint cannot be served: no such folder and no name of a hub, or what ``models.checkpoints.check`` refuses."""
    try:
        folder = resolve_path(part.model)
        if folder.is_dir():
            checkpoints.check(part)
        elif part.model.startswith(("/", ".", "~")) or not _HUB_NAME.fullmatch(part.model):
            yield f"no folder {shown(part.model)[1:-1]}{_near(folder)}; give a hub name or an existing folder"
    except (checkpoints.CheckpointError, StoreError) as error:
        yield str(error)

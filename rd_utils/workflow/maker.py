"""Makes artefacts and opens them; what they are is said by their stages.

``Maker().build(spec)`` returns an artefact's folder; what is missing upstream is made first, what is there is reused. Two processes
that want the same artefact wait for each other. An artefact that was damaged since it was made is made again, with a warning.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from rd_utils.store import Damage, Store, StoreError, check_outside, identity, one_look
from rd_utils.store.manifests import Manifest
from rd_utils.study.kinds import Architecture, Retriever, Spec, within
from rd_utils.study.stage import Given, inputs, stage_of
from rd_utils.workflow.progress import LOGGER, Track, track

T = TypeVar("T")


class Maker:
    """Makes artefacts and opens them; keeps what it opened in memory, so that a notebook reads each artefact once.

    Args:
        store: where artefacts lie (default: the project's outputs).
        track: shows progress.
    """

    def __init__(self, store: Store | None = None, track: Track = track) -> None:
        self.store = store or Store()
        self.track = track
        self._memory: dict[tuple[object, ...], Any] = {}
        self._latest: dict[str, tuple[object, Any]] = {}

    def build(self, spec: Spec) -> Path:
        """Return the folder of an artefact, making it and what it needs first where they are missing or damaged.

        Raises:
            StoreError: what it is made from is not there or changes meanwhile, or the disk refuses.
        """
        with one_look():
            if not self.store.sound(spec):
                check_outside(spec)
                stage_of(spec).before(spec, self)
                for part in inputs(spec).values():
                    self.build(part)
                _import_for(spec)
                name = f"{spec.stage} {identity(spec)}"
                with self.store.lock(name.replace(" ", "-"), f"makes {name}", self.track):
                    if not self.store.sound(spec):
                        self._make(spec, name)
            return self.store.folder(spec)

    def _make(self, spec: Spec, name: str) -> None:
        damaged = self.store.damage(spec)
        if damaged:
            LOGGER.warning("%s/%s, so %s is made again; %s", damaged.folder, "; ".join(damaged.problems), name, damaged.depending())
        LOGGER.info("making %s", name)
        make = stage_of(spec).make
        if make is None:
            raise StoreError(f"{name} is not made as a whole; build what asks for it")
        with self.store.draft(spec) as draft:
            try:
                make(spec, Given(self, inputs(spec), draft=draft), draft)
            except Exception as error:
                self._blame_damage(error, *inputs(spec).values())
                raise
        if damaged:
            _compare_with_what_was(damaged, self.store.manifest(spec)["files"], name)

    def _blame_damage(self, error: Exception, *specs: Spec) -> None:
        """Raise what is damaged of what was read, where an error that is none of the store's own came of it."""
        if isinstance(error, StoreError):
            return
        for spec in specs:
            if damaged := self.store.damage(spec, hashed_up_to=float("inf")):
                raise StoreError(damaged.say()) from error

    def manifest(self, spec: Spec) -> Manifest:
        """Return the manifest of an artefact, making it first where it is missing."""
        with one_look():
            self.build(spec)
            return self.store.manifest(spec)

    def open(self, spec: Spec) -> Any:
        """Return an artefact as its stage opens it, making it first where it is missing."""
        stage = stage_of(spec)

        def opened() -> object:
            return self.read(spec, lambda folder: stage.read(folder, spec, Given(self, inputs(spec))))

        with one_look():
            return self.once((spec.stage, identity(spec)), opened) if stage.keep else opened()

    def read(self, spec: Spec, read: Callable[[Path], T]) -> T:
        """Return what ``read`` makes of an artefact's folder; where it fails because of damage, that is what is raised."""
        folder = self.build(spec)
        try:
            return read(folder)
        except Exception as error:
            self._blame_damage(error, spec, *inputs(spec).values())
            raise

    def once(self, key: tuple[object, ...], make: Callable[[], T]) -> T:
        """Return what ``make`` returns, kept in memory under a key."""
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]

    def latest(self, name: str, key: object, make: Callable[[], T], serves: Callable[[T], bool]) -> T:
        """Return what ``make`` returned last under a name, if that was for the same key and serves; else make it, and forget the last."""
        known, kept = self._latest.pop(name, (None, None))
        if known != key or not serves(kept):
            kept = make()
        self._latest[name] = (key, kept)
        return kept


def _compare_with_what_was(damaged: Damage, now: dict[str, str], name: str) -> None:
    """Say whether an artefact that was damaged is now what it was before."""
    if damaged.files is None:
        LOGGER.warning("%s is made again; its old manifest could not say whether to the same bytes", name)
    elif now == damaged.files:
        LOGGER.warning("%s is made again, to the same bytes as before the damage", name)
    else:
        other = sorted(file for file in now.keys() | damaged.files.keys() if now.get(file) != damaged.files.get(file))
        LOGGER.warning("%s is made again, to other bytes than before in %s; %s", name, ", ".join(other), damaged.depending())


def _import_for(spec: Spec) -> None:
    """Import what a stage needs before its cost is measured, so that the first artefact of a process does not pay for the imports."""
    modules = list(stage_of(spec).libraries)
    if spec.stage in ("candidates", "groups", "scores", "neighbours"):
        parts = set(within(spec))
        if any(isinstance(part, Architecture) or any(named.kind == "model" for named in part.outside) for part in parts):
            modules += ["rd_utils.models", "rd_utils.training.loop"]
        if any(isinstance(part, Retriever) and part.lexical is part for part in parts):
            modules.append("rd_utils.mining.bm25")
    for module in modules:
        importlib.import_module(module)

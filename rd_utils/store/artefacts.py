"""The store: artefacts written under their identities, each as a whole or not at all.

A folder ``<root>/<stage>/<identity>`` exists only when it is complete: it is written under another name, flushed and renamed last. Its
manifest has the size and the SHA-256 of every file, and a checksum of itself, so that what was damaged since is noticed before it is used.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from rd_utils import durable, files
from rd_utils.files import StoreError, tree_sha256
from rd_utils.store.canonical import versions
from rd_utils.store.damage import MANIFEST, Damage, damage_of, read_manifest, unreadable, write_manifest
from rd_utils.store.identities import identity
from rd_utils.store.manifests import Charge, Manifest, Spent
from rd_utils.store.meter import Meter, surroundings
from rd_utils.store.outside import one_look, outside_content, read_by, signature_of, unchanged
from rd_utils.store.paths import outputs_root
from rd_utils.study.kinds import Spec
from rd_utils.study.stage import inputs
from rd_utils.workflow.progress import LOGGER, Track, untracked

# Of an artefact's files: up to how many bytes the hash of each is compared on the first opening of the artefact; all sizes always are.
SMALL = 8 * 1024 * 1024
_FIRST_WORD, _SELDOM = 3.0, 300.0  # seconds until a wait for another process is said for the first time, and at most between two times


class Draft:
    """An artefact that is being written; its folder disappears unless the block ends well.

    ``scoring`` lists what teachers scored for it: the folder of the teacher's pairs, how many pairs it used, how many of them had no score
    before, and the wall and CPU seconds that these took (part of the artefact's own). ``processes`` are the costs of the processes that
    made it for this one, where there were any (see :mod:`rd_utils.training.launch`).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: dict[str, int | float] = {}
        self.dropped: dict[str, int] = {}
        self.scoring: list[Charge] = []
        self.processes: list[Spent] = []


class Store:
    """Artefacts under ``root``, one folder each.

    Args:
        root: the folder; made when needed.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = Path(root) if root else outputs_root() / "store"
        self._seen: dict[Path, tuple[tuple[int, ...], int]] = {}  # manifests that were looked at, and up to which size files were hashed

    def folder(self, spec: Spec) -> Path:
        """Return where the artefact lies or would lie."""
        return self.root / spec.stage / identity(spec)

    def has(self, spec: Spec) -> bool:
        """Tell whether the artefact is complete: its manifest is sound, and every file is there in its size."""
        return self._looked(spec, 0)

    def sound(self, spec: Spec) -> bool:
        """Tell whether the artefact is complete, and every file up to 8 MiB what it was when it was made."""
        return self._looked(spec, SMALL)

    def _looked(self, spec: Spec, hashed_up_to: int) -> bool:
        """Tell whether nothing is wrong with an artefact; it is looked at once, unless its manifest is another since."""
        folder = self.folder(spec)
        try:
            signature = signature_of((folder / MANIFEST).stat())
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise unreadable(folder / MANIFEST, error) from error
        seen, up_to = self._seen.get(folder, ((), -1))
        if seen == signature and up_to >= hashed_up_to:
            return True
        if damage_of(folder, hashed_up_to) is not None:
            return False
        self._seen[folder] = (signature, hashed_up_to)
        return True

    def damage(self, spec: Spec, hashed_up_to: float = SMALL) -> Damage | None:
        """Return what is wrong with an artefact's folder; None where nothing is, or there is none."""
        folder = self.folder(spec)
        return damage_of(folder, hashed_up_to) if folder.exists() else None

    def manifest(self, spec: Spec) -> Manifest:
        """Return the manifest of a complete artefact.

        Raises:
            StoreError: there is none, or it is damaged.
        """
        folder = self.folder(spec)
        if not (folder / MANIFEST).is_file():
            raise StoreError(f"the {spec.stage} artefact {folder.name} does not exist; run the notebook of its stage, or rd run")
        return read_manifest(folder)

    @contextmanager
    def lock(self, name: str, doing: str = "has the lock", track: Track = untracked) -> Iterator[None]:
        """Hold a lock between processes, so that nothing is computed twice at the same time.

        Who holds it is written beside it, so that others can say for what they wait. A lock that a killed process held is free.

        Args:
            name: of the lock.
            doing: what the holder does, as those who wait say it: ``makes scores 0123``.
            track: shows a wait that lasts.
        """
        place = self.root / "locks" / f"{name}.lock"
        note = place.with_suffix(".json")
        with files.writing(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            held = filelock.FileLock(str(place))
            _acquire(held, note, doing, track)
        try:
            with suppress(OSError):  # it is for those who wait, and the lock holds without it
                note.write_text(json.dumps({"process": os.getpid(), "host": socket.gethostname(), "began": time.time()}), encoding="utf-8")
            yield
        finally:
            with suppress(OSError):
                note.unlink(missing_ok=True)
            held.release()

    def checkpoints(self, spec: Spec) -> Path:
        """Return where a long computation keeps what it needs to go on after an interruption."""
        return self.root / "checkpoints" / identity(spec)

    def verify(self, spec: Spec) -> None:
        """Compare every file of an artefact with its size and the SHA-256 in its manifest.

        Raises:
            StoreError: naming every file that differs or is missing.
        """
        self.manifest(spec)
        found = self.damage(spec, hashed_up_to=float("inf"))
        if found is not None:
            raise StoreError(found.say())

    @contextmanager
    def draft(self, spec: Spec) -> Iterator[Draft]:
        """Write one artefact: yields a :class:`Draft`, then adds the manifest, flushes all to the disk and renames the folder into place.

        A damaged folder that stands there stays until it is replaced.

        Raises:
            StoreError: the disk refuses, or a file of a person's own that this is made from changed meanwhile.
        """
        with one_look():
            final = self.folder(spec)
            draft = Draft(final.parent / f".{final.name}.{socket.gethostname()}.{os.getpid()}")
            try:
                with files.writing(self.root):
                    final.parent.mkdir(parents=True, exist_ok=True)
                    for leftover in final.parent.glob(f".{final.name}.*"):
                        shutil.rmtree(leftover, ignore_errors=True)
                    draft.folder.mkdir()
                    meter = Meter()
                    with unchanged(read_by(spec), f"{spec.stage} {final.name}"):
                        yield draft
                    self._finish(spec, draft, final, meter)
            except BaseException:
                shutil.rmtree(draft.folder, ignore_errors=True)
                raise

    def _finish(self, spec: Spec, draft: Draft, final: Path, meter: Meter) -> None:
        """Write the manifest of a draft, and put it into its place."""
        written = {str(path.relative_to(draft.folder)): path for path in sorted(draft.folder.rglob("*")) if path.is_file()}
        manifest: Manifest = {
            "stage": spec.stage,
            "identity": final.name,
            "parameters": spec.model_dump(mode="json"),
            "inputs": {role: {"stage": part.stage, "identity": identity(part)} for role, part in inputs(spec).items()},
            "seed": getattr(spec, "seed", None),
            "versions": versions(spec),
            "content": outside_content(spec),
            "counts": draft.counts,
            "dropped": draft.dropped,
            "cost": meter.read(draft.processes),
            "scoring": draft.scoring,
            "files": {name: tree_sha256(path) for name, path in written.items()},
            "sizes": {name: path.stat().st_size for name, path in written.items()},
            "node": os.environ.get("RD_NODE"),
            **surroundings(),
        }
        write_manifest(draft.folder, manifest)
        durable.flush(draft.folder)
        aside = draft.folder.with_name(f"{draft.folder.name}.damaged")
        if final.exists():
            os.rename(final, aside)
        durable.rename(draft.folder, final)
        durable.remove(aside)


def _acquire(held: filelock.FileLock, note: Path, doing: str, track: Track) -> None:
    """Wait for a lock, and say for what: after some seconds for the first time, then ever more seldom."""

    def attempts() -> Iterator[None]:
        patience = _FIRST_WORD
        while True:
            try:
                held.acquire(timeout=patience)
                return
            except filelock.Timeout:
                patience = min(2 * patience, _SELDOM)
                yield

    waiting = attempts()
    if next(waiting, StopIteration) is StopIteration:
        return
    LOGGER.info("waiting for %s", _holder(note, doing))
    for _ in track(waiting, f"waiting for another process that {doing}", None):
        LOGGER.info("still waiting for %s", _holder(note, doing))


def _holder(note: Path, doing: str) -> str:
    """Return who holds a lock, as far as it is known."""
    try:
        about = json.loads(note.read_text(encoding="utf-8"))
        since = f"it began {max(0.0, time.time() - about['began']):.0f} s ago (process {about['process']} on {about['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        since = "it has not said since when"
    return f"another process that {doing}; {since}"

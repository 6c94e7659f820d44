"""What lies outside: collections, models, runs and scores that a person owns and names by path, and the Python packages that texts are of.

They are looked at whenever an identity is asked for (:func:`one_look`), and remembered as long as they do not change.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from pathlib import Path

from rd_utils.files import StoreError, tree_sha256
from rd_utils.store.paths import resolve_path
from rd_utils.study.kinds import Named, Part, Spec, named_within
from rd_utils.study.stage import inputs

COLLECTIONS = ("collection", "package")  # kinds of what texts are read from
PYTHON = "python"  # what the standard library is called among packages
_RECENT = 2_000_000_000  # nanoseconds within which a file may change again without another time of change, on the coarsest file systems


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


@functools.cache
def named_outside(spec: Spec) -> tuple[Named, ...]:
    """Return what a spec, and everything that it is made from, names by path."""
    return tuple(dict.fromkeys(chain(named_within(spec), *(named_outside(part) for part in inputs(spec).values()))))


def content_of(named: Named) -> str | None:
    """Return the fingerprint of what is named; ``missing`` where it is not there; None for a model that is no folder, but a hub's.

    That of a Python package is its version.
    """
    look = _LOOK.get()
    if look is not None and named in look:
        return look[named]
    found = package_version(named.package) if named.kind == "package" else _content_at(resolve_path(named.name), named.kind)
    if look is not None:
        look[named] = found
    return found


def _content_at(path: Path, kind: str) -> str | None:
    try:
        if kind == "file":
            return file_sha256(path) if path.is_file() else "missing"
        return folder_fingerprint(path) if path.is_dir() else None if kind == "model" else "missing"
    except OSError as error:
        raise StoreError(
            f"{error.filename or path} cannot be read ({error.strerror or error}); make it readable, or name another"
        ) from error


def package_version(package: str) -> str:
    """Return the version of a Python package that is installed, of ``python`` that of Python; ``missing`` where it is not."""
    if package == PYTHON:
        return f"{platform.python_implementation()} {platform.python_version()}"
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def outside_content(spec: Spec) -> dict[str, str]:
    """Return the fingerprints of what a spec names by path: collections' and models' folders, files of scores and runs."""
    return {named.name: content for named in named_within(spec) if (content := content_of(named)) is not None}


def missing_outside(spec: Spec) -> str:
    """Return what an artefact is made from outside the store and is not there, each file and folder; empty where all is."""
    missing = [named for named in named_outside(spec) if content_of(named) == "missing"]
    return ", ".join(f"no {_said(named)}" for named in missing)


def _said(named: Named) -> str:
    """Return what is named, and where it lies."""
    if named.kind == "package":
        return f"Python package {named.package}"
    return f"{'file' if named.kind == 'file' else 'folder'} {resolve_path(named.name)}"


def teacher_files(teacher: Part) -> tuple[Named, ...]:
    """Return the models and files that a teacher is read from."""
    return tuple(named for named in named_within(teacher) if named.kind not in COLLECTIONS)


def read_by(spec: Spec) -> tuple[Named, ...]:
    """Return what an artefact's own stage reads of what its spec names: only documents and queries are read from a collection's sources."""
    return tuple(named for named in named_within(spec) if named.kind not in COLLECTIONS or spec.stage in ("docs", "queries"))


@contextmanager
def unchanged(names: Sequence[Named], what: str) -> Iterator[None]:
    """Check when the block ends well that what is named is as it was when it began, or when this look at the outside began.

    Args:
        names: what the block reads.
        what: it makes, as the message says it.

    Raises:
        StoreError: naming the first that changed meanwhile.
    """
    before = [content_of(named) for named in names]
    yield
    with one_look(fresh=True):
        for named, content in zip(names, before, strict=True):
            if content_of(named) != content:
                raise StoreError(
                    f"{_said(named).partition(' ')[2]} changed while {what} was made from it, so nothing was kept; run again when it stays"
                )


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
    signature = signature_of(about)
    known = _HASHES.get(path)
    if known is not None and known[0] == signature:
        return known[1]
    settled = time.time_ns() - max(about.st_mtime_ns, about.st_ctime_ns) > _RECENT
    digest = tree_sha256(path)
    if settled:
        _HASHES[path] = (signature, digest)
    return digest


def signature_of(about: os.stat_result) -> tuple[int, ...]:
    """Return what is another after a file has changed."""
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino

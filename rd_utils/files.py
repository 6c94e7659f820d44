"""What a disk refuses, in words; and what is kept in parts while long work lasts, with its hash beside it.

A part that was damaged since it was kept (:func:`keep_part`) is made again. How a file is written whole is in :mod:`rd_utils.durable`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rd_utils import durable
from rd_utils.workflow.progress import LOGGER

# What libraries say that keep the number of an error to themselves: numpy, torch, safetensors, faiss.
_SAY_FULL = re.compile(
    r"[Nn]o space left on device|[Dd]isk quota exceeded|StorageFull|\d+ requested and \d+ written|os error 28\b|code: 28\b"
    r"|iostream error"  # torch's writer of archives, which has deleted the draft before anyone can look
)
_SAY_READ_ONLY = re.compile(r"[Rr]ead-only file system|os error 30\b|code: 30\b")


class StoreError(RuntimeError):
    """The store cannot do what was asked; the message names the file and the remedy."""


# --- what a disk refuses ----------------------------------------------------------------------------------------------------------


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn the refusal of a disk into an error that says which disk, why, and what to do.

    Args:
        place: the file or folder that the block writes to or below.

    Raises:
        StoreError: the disk is full or over quota, read-only or failing, or access is denied; also where a library says so in its own way.
    """
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        if (said := refusal(error, Path(place))) is None:
            raise
        raise StoreError(said) from error


def refusal(error: BaseException, place: Path) -> str | None:
    """Return what to say of an error if it is the refusal of a disk; None for any other error."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno is not None:
            own = cause.filename if isinstance(cause.filename, str) and os.path.isabs(cause.filename) else place
            full = cause.errno in (errno.ENOSPC, errno.EDQUOT)
            if said := durable.explain(cause, place if full and Path(own).is_relative_to(place) else own):
                return said
        for said_by, number in ((_SAY_FULL, errno.ENOSPC), (_SAY_READ_ONLY, errno.EROFS)):
            if said_by.search(str(cause)):
                return durable.explain(OSError(number, ""), place)
    if isinstance(error, (OSError, RuntimeError)) and getattr(error, "errno", None) is None:  # a writer that does not say why it failed
        folder = next((folder for folder in (place, *place.parents) if folder.is_dir()), None)
        return durable.refusal(folder) if folder else None
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


# --- parts of long work -----------------------------------------------------------------------------------------------------------


def keep_part(draft: Path, place: Path) -> None:
    """Rename a finished part, a file or a folder, into its place, with its hash beside it: ``<place>.sha256``, which comes first."""
    durable.write_text(_sum_of(place), tree_sha256(draft))
    os.replace(draft, place)


def has_part(place: Path) -> bool:
    """Tell whether a part is there as it was written; one that was damaged since is said, deleted and to be made again."""
    place = Path(place)
    if not place.exists():
        return False
    if is_whole_part(place):
        return True
    LOGGER.warning("%s is damaged, so this part is made again", place)
    with writing(place):
        durable.remove(place)
    return False


def is_whole_part(place: Path) -> bool:
    """Tell whether a part is what was written."""
    try:
        return _sum_of(place).read_text(encoding="utf-8") == tree_sha256(place)
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError):
        return False


def has_sum(place: Path) -> bool:
    """Tell whether the hash of a part stands beside a place."""
    return _sum_of(place).is_file()


def broken_archive(path: Path) -> str | None:
    """Return what is wrong with a zip archive, such as a checkpoint of torch, by the CRC-32 of all that it holds; None where nothing is."""
    try:
        with zipfile.ZipFile(path) as held:
            return held.testzip()
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, IsADirectoryError) as error:
        return str(error)


def _sum_of(place: Path) -> Path:
    return place.with_name(f"{place.name}.sha256")


def tree_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or over the names and contents of all files below a folder."""
    path = Path(path)
    if not path.is_dir():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest = hashlib.sha256()
    for inner in sorted(inner for inner in path.rglob("*") if inner.is_file()):
        digest.update(f"{inner.relative_to(path).as_posix()}\0{tree_sha256(inner)}".encode())
    return digest.hexdigest()

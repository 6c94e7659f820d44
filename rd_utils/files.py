"""Files that are whole or absent: written beside their place, flushed to the disk, then renamed; and what a disk says when it refuses.

What is kept in parts while long work lasts (:func:`keep_part`) has its hash beside it, so that a part that was damaged since is made again.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rd_utils.progress import LOGGER

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = {
    errno.EROFS: "its disk is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.EIO: "its disk reports an input/output error; look after the disk first",
}
# What libraries say that keep the number of an error to themselves: numpy, torch, safetensors, faiss.
_SAY_FULL = re.compile(
    r"[Nn]o space left on device|[Dd]isk quota exceeded|StorageFull|\d+ requested and \d+ written|os error 28\b|code: 28\b"
)
_SAY_READ_ONLY = re.compile(r"[Rr]ead-only file system|os error 30\b|code: 30\b")
_PROBE = 1 << 16  # bytes that are written to find out whether a disk is full


class StoreError(RuntimeError):
    """The store cannot do what was asked; the message names the file and the remedy."""


# --- writing ----------------------------------------------------------------------------------------------------------------------


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a place beside ``path`` to write a file to; when the block ends well it is flushed and takes the place of ``path``.

    The place keeps the suffix, which some writers look at. A reader finds the old file or the new one, whatever interrupts the writing.
    """
    path = Path(path)
    draft = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield draft
        flush(draft)
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def write_text(path: Path, text: str, newline: str | None = None) -> None:
    """Write a text in UTF-8 so that the file is whole, the old one's place taken, or as it was before."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8", newline=newline)


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes so that the file is whole, the old one's place taken, or as it was before."""
    with replacing(path) as draft:
        draft.write_bytes(content)


def flush(path: Path) -> None:
    """Wait until a file, or every file and folder at and below a folder, is on the disk."""
    path = Path(path)
    if path.is_dir():
        for inner in sorted(path.iterdir()):
            flush(inner)
    if not path.is_symlink():
        flush_folder(path)


def flush_folder(path: Path) -> None:
    """Wait until what a folder lists, or a file holds, is on the disk; what lies below is not waited for."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # some network file systems cannot flush a folder
            raise
    finally:
        os.close(descriptor)


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
        own = getattr(cause, "filename", None) if isinstance(cause, OSError) else None
        where = Path(own) if isinstance(own, str) and os.path.isabs(own) and not Path(own).is_relative_to(place) else place
        number, text = cause.errno if isinstance(cause, OSError) else None, str(cause)
        if number in _FULL or _SAY_FULL.search(text):
            return _full(where if number in _FULL else place)
        if number in _REFUSED:
            return _refused(Path(own or place), number)
        if _SAY_READ_ONLY.search(text):
            return _refused(place, errno.EROFS)
    if isinstance(error, (OSError, RuntimeError)) and getattr(error, "errno", None) is None and _is_full(place):
        return _full(place)  # a writer that does not say why it failed
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _full(place: Path) -> str:
    return f"no space left on the disk that holds {place}; free some and run again: finished artefacts are kept"


def _refused(place: Path, number: int) -> str:
    if number == errno.EROFS:
        return (
            f"{place} cannot be written: {_REFUSED[number]}; make it writable, or set RD_OUTPUTS to a folder that is, in which `store` may "
            "be a link to this store: what is finished there is read where it lies"
        )
    return f"{place} cannot be read or written: {_REFUSED[number]}; mend that, or set RD_OUTPUTS to another folder, and run again"


def _is_full(place: Path) -> bool:
    """Tell whether nothing can be written where ``place`` lies, by trying."""
    folder = next((folder for folder in (place, *place.parents) if folder.is_dir()), None)
    if folder is None:
        return False
    probe = folder / f".probe.{os.getpid()}"
    try:
        with probe.open("wb") as stream:
            stream.write(os.urandom(_PROBE))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        return error.errno in _FULL
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    return False


# --- parts of long work -----------------------------------------------------------------------------------------------------------


def keep_part(draft: Path, place: Path) -> None:
    """Rename a finished part, a file or a folder, into its place, with its hash beside it: ``<place>.sha256``, which comes first."""
    write_text(_sum_of(place), tree_sha256(draft))
    os.replace(draft, place)


def has_part(place: Path) -> bool:
    """Tell whether a part is there as it was written; one that was damaged since is said, deleted and to be made again."""
    place = Path(place)
    if not place.exists():
        return False
    try:
        if _sum_of(place).read_text(encoding="utf-8") == tree_sha256(place):
            return True
    except (FileNotFoundError, UnicodeDecodeError):
        pass
    LOGGER.warning("%s is damaged, so this part is made again", place)
    with writing(place):
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
    return False


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

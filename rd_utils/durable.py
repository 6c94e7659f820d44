"""Files that are whole or not there: written beside, flushed to the disk, then renamed; and what to say when the disk refuses.

It imports nothing but the standard library, so that a node's command can use it (:mod:`rd_utils.kernels`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

ENDING = "partial"
STRANGER_SECONDS = 86_400.0  # how long what another machine's process left is let be: whether that process lives cannot be known here


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Write a file beside ``path`` and put it there when the block ends well; whatever happens, ``path`` is the old file or the new one.

    A folder that stands where the file belongs is removed.

    Yields:
        Where to write. Its name says the machine and the process, so that :func:`clear` knows it for a leftover.
    """
    path = Path(path)
    draft = path.with_name(beside(path.name))
    try:
        yield draft
        flush(draft)
        if path.is_dir() and not path.is_symlink():
            remove(path)
        os.replace(draft, path)
        _flush_entry(path.parent)
    finally:
        remove(draft)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a whole file, or leave the old one."""
    with replacing(path) as draft:
        draft.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write a whole text file in UTF-8 with the line ends that the text has, or leave the old one."""
    write_bytes(path, text.encode())


def flush(path: str | Path) -> None:
    """Bring a file, or a folder with all that is in it, to the disk: a rename must not reach it before the content does."""
    path = Path(path)
    if path.is_dir():
        for folder, _, names in os.walk(path):
            for name in names:
                _flush_entry(os.path.join(folder, name))
            _flush_entry(folder)
    else:
        _flush_entry(path)


def rename(draft: str | Path, final: str | Path) -> None:
    """Rename a flushed file or folder, and bring the new name to the disk."""
    os.rename(draft, final)
    _flush_entry(Path(final).parent)


def _flush_entry(path: str | Path) -> None:
    entry = os.open(path, os.O_RDONLY)
    try:
        os.fsync(entry)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # some network file systems cannot flush a folder
            raise
    finally:
        os.close(entry)


def remove(path: str | Path) -> None:
    """Remove what stands at a path, a file, a link or a folder with all that is in it; nothing there is no error."""
    path = Path(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


# --- leftovers --------------------------------------------------------------------------------------------------------------------


def beside(name: str) -> str:
    """Return the name under which this process writes what will be called ``name``; it keeps the suffix, which some writers look at."""
    stem, suffix = os.path.splitext(name)
    return f".{stem}.{socket.gethostname()}.{os.getpid()}.{ENDING}{suffix}"


def clear(folder: str | Path) -> list[Path]:
    """Remove from a folder what processes that are gone were writing; return what was removed.

    What another machine's process was writing goes when nobody has touched it for a day.
    """
    found = []
    for path in Path(folder).glob(f".*.{ENDING}*"):
        if is_left(path, path.name.rpartition(f".{ENDING}")[0]):
            remove(path)
            found.append(path)
    return found


def is_left(path: Path, owner: str) -> bool:
    """Tell whether the owner of a file or folder is gone.

    Args:
        path: The file or folder.
        owner: Ends with the machine and the process, as ``HOST.PID``, or is ``PID`` alone, of this machine.
    """
    rest, _, pid = owner.rpartition(".")
    if not pid.isdigit():
        return False
    if not rest or rest == socket.gethostname() or rest.endswith(f".{socket.gethostname()}"):
        return not lives(int(pid))
    with contextlib.suppress(OSError):
        return time.time() - path.lstat().st_mtime > STRANGER_SECONDS
    return False


def lives(pid: int) -> bool:
    """Tell whether a process of this machine is running; one that has ended and waits to be fetched is not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return started(pid) is not None


def started(pid: int) -> str | None:
    """Return what tells a process from a later one of the same number: when it started; None where it has ended.

    Where the system does not say (it is no Linux), "" stands for every process that there is.
    """
    if not os.path.isdir("/proc/self"):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return ""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            state, *fields = stream.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else fields[18]


# --- what to say ------------------------------------------------------------------------------------------------------------------


def explain(error: OSError, path: str | Path) -> str | None:
    """Return what to tell a person whose disk refuses, and what helps; None where the disk is not to blame.

    >>> explain(OSError(errno.ENOSPC, "No space left on device"), "outputs")
    'no space left on the disk that holds outputs; free some and run again: what is finished is kept'
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = "no space left on the disk" if error.errno == errno.ENOSPC else "the quota is used up of the disk"
        return f"{what} that holds {path}; free some and run again: what is finished is kept"
    if error.errno == errno.EROFS:
        return (
            f"{path} cannot be written, its disk is read-only; make it writable, or name another folder in RD_OUTPUTS and run again: what "
            "is finished is read where it lies, if `store` in that folder is a link to this store"
        )
    if error.errno == errno.EIO:
        return f"{path} cannot be read or written, its disk reports an error; look after the disk, then run again"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{path} cannot be written, permission is denied; ask for it, or name another folder in RD_OUTPUTS, and run again"
    return None


def refusal(folder: str | Path) -> str | None:
    """Return what to tell a person where a folder's disk takes no file of 64 KB now; None where it does."""
    probe = Path(folder) / beside("probe")
    try:
        probe.write_bytes(bytes(65_536))
        flush(probe)
    except OSError as error:
        return explain(error, folder)
    finally:
        with contextlib.suppress(OSError):
            remove(probe)
    return None

"""The refusals of disks, full and read-only ones real where a test may mount them, and the parts of long work."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from rd_utils import durable, files
from rd_utils.files import StoreError


@pytest.fixture
def small_disk(tmp_path):
    """A disk of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may not mount a disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def read_only(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


@pytest.mark.parametrize("write", [lambda path: durable.write_bytes(path, bytes(4 << 20)), lambda path: np.zeros(1 << 20).tofile(path)])
def test_a_full_disk_is_said_whoever_writes(small_disk, write):
    with pytest.raises(StoreError, match="no space left on the disk that holds .*disk.*; free some"), files.writing(small_disk):
        write(small_disk / "a")
    files_left = [path.name for path in small_disk.iterdir()]
    assert not [name for name in files_left if name.startswith(".")]


def test_a_library_that_does_not_say_why_it_failed_is_explained_by_the_full_disk(small_disk):
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "a").write_bytes(bytes(4 << 20))
    with pytest.raises(StoreError, match="no space left"), files.writing(small_disk):
        raise RuntimeError("unexpected pos 64 vs 0")
    (small_disk / "a").unlink()
    with pytest.raises(RuntimeError, match="unexpected pos"), files.writing(small_disk):
        raise RuntimeError("unexpected pos 64 vs 0")


def test_a_read_only_disk_is_said_with_what_to_do(small_disk):
    (small_disk / "a.txt").write_text("old")
    read_only(small_disk)
    with pytest.raises(StoreError, match="a.*cannot be written, its disk is read-only; make it writable, or .* RD_OUTPUTS"):
        with files.writing(small_disk):
            durable.write_text(small_disk / "a.txt", "new")
    assert (small_disk / "a.txt").read_text() == "old"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EDQUOT, "the quota is used up of the disk that holds /data/x"),
        (errno.EACCES, "/data/x cannot be written, permission is denied"),
    ],
)
def test_other_refusals_name_the_file_also_when_another_error_wraps_them(number, said, tmp_path):
    with pytest.raises(StoreError) as caught, files.writing(tmp_path):
        try:
            raise OSError(number, os.strerror(number), "/data/x")
        except OSError as error:
            raise ValueError("wrapped") from error
    assert str(caught.value).startswith(said)


def test_a_writer_of_archives_that_has_deleted_its_draft_tells_of_a_full_disk(tmp_path):
    with pytest.raises(StoreError, match=f"^no space left on the disk that holds {tmp_path}; "), files.writing(tmp_path):
        raise RuntimeError("basic_ios::clear: iostream error")


@pytest.mark.parametrize("error", [ValueError("no space for this word"), FileNotFoundError(errno.ENOENT, "no file", "/x"), KeyError("k")])
def test_other_errors_pass_as_they_are(error, tmp_path):
    with pytest.raises(type(error)) as caught, files.writing(tmp_path):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("change", ["flip", "cut", "empty", "no sum", "emptied sum"])
@pytest.mark.parametrize("folder", [False, True])
def test_a_part_that_was_damaged_is_said_and_made_again(tmp_path, caplog, change, folder):
    draft, place = tmp_path / ".draft", tmp_path / "0-8"
    content = draft
    if folder:
        draft.mkdir()
        content = draft / "docs.npy"
    content.write_bytes(b"abcdefgh")
    files.keep_part(draft, place)
    assert files.has_part(place) and not draft.exists() and not files.has_part(tmp_path / "8-16")
    content = place / "docs.npy" if folder else place
    if change == "no sum":
        (tmp_path / "0-8.sha256").unlink()
    elif change == "emptied sum":
        (tmp_path / "0-8.sha256").write_text("")
    else:
        content.write_bytes({"flip": b"abcdefgi", "cut": b"abcdefg", "empty": b""}[change])
    with caplog.at_level("WARNING", logger="rd_utils"):
        assert not files.has_part(place)
    assert not place.exists() and "0-8 is damaged, so this part is made again" in caplog.text

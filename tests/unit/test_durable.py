"""Files are whole or absent, leftovers are known by their process, and a disk that refuses is named."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rd_utils import durable

HOST = socket.gethostname()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    durable.write_text(path, "old\r\n")
    with pytest.raises(RuntimeError, match="half way"), durable.replacing(path) as draft:
        draft.write_text("new")
        raise RuntimeError("half way")
    assert path.read_bytes() == b"old\r\n" and os.listdir(tmp_path) == ["a.txt"]
    with durable.replacing(path) as draft:
        assert draft.suffix == ".txt" and draft.parent == tmp_path
        draft.write_text("new")
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_in_a_files_place_gives_way(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    durable.write_text(tmp_path / "a", "here")
    assert (tmp_path / "a").read_text() == "here"


def test_content_reaches_the_disk_before_the_name(tmp_path, monkeypatch):
    done = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda entry: (done.append(os.readlink(f"/proc/self/fd/{entry}")), sync(entry)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("rename"), rename(a, b)))
    durable.write_text(tmp_path / "a", "x")
    assert [Path(step).name for step in done] == [durable.beside("a"), "rename", tmp_path.name]


@pytest.mark.parametrize("number", [9, 15])
def test_what_a_killed_process_was_writing_is_cleared_and_nothing_else(tmp_path, number):
    code = "import sys, time; from rd_utils import durable\nwith durable.replacing(sys.argv[1]) as draft:\n draft.write_text('x')\n"
    code += " print('written', flush=True)\n time.sleep(600)"
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a.json")], stdout=subprocess.PIPE, text=True)
    writer.stdout.readline()
    (tmp_path / "b.json").write_text("whole")
    (tmp_path / f".c.elsewhere.{os.getpid()}.partial").write_text("of another machine")
    assert durable.clear(tmp_path) == []
    writer.send_signal(number)
    writer.communicate()
    assert [path.name for path in durable.clear(tmp_path)] == [f".a.{HOST}.{writer.pid}.partial.json"]
    old = time.time() - 2 * durable.STRANGER_SECONDS
    os.utime(tmp_path / f".c.elsewhere.{os.getpid()}.partial", (old, old))
    assert len(durable.clear(tmp_path)) == 1 and os.listdir(tmp_path) == ["b.json"]


def test_a_process_lives_until_it_has_ended():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    began = durable.started(child.pid)
    assert durable.lives(child.pid) and durable.lives(os.getpid()) and began != durable.started(os.getpid())
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not durable.lives(child.pid)  # it waits to be fetched
    child.wait()
    assert durable.started(child.pid) is None


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "no space left on the disk that holds /data/x; free some and run again"),
        (errno.EDQUOT, "the quota is used up of the disk that holds /data/x"),
        (errno.EROFS, "/data/x cannot be written, its disk is read-only"),
        (errno.EACCES, "/data/x cannot be written, permission is denied"),
    ],
)
def test_a_refusal_of_the_disk_is_worded(number, said):
    assert durable.explain(OSError(number, os.strerror(number)), "/data/x").startswith(said)
    assert durable.explain(OSError(errno.ENOENT, "no such file"), "/data/x") is None


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 KB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("only root can mount a small disk, and not everywhere")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_is_found_and_a_whole_file_stays_on_it(small_disk):
    durable.write_text(small_disk / "kept", "whole")
    assert durable.refusal(small_disk) is None
    with pytest.raises(OSError, match="No space left"):
        durable.write_bytes(small_disk / "kept", bytes(1 << 20))
    assert (small_disk / "kept").read_text() == "whole" and os.listdir(small_disk) == ["kept"]
    (small_disk / "filler").write_bytes(bytes(200_000))
    assert durable.refusal(small_disk).startswith(f"no space left on the disk that holds {small_disk}")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert durable.refusal(small_disk).startswith(f"{small_disk} cannot be written, its disk is read-only")

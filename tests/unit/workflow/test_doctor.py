"""What the doctor finds: in a sound environment, in broken ones, and in outputs and stores that are not as they should be."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from studies_on_disk import ROOT

from rd_utils import __main__ as command
from rd_utils import __version__
from rd_utils.processor import processor
from rd_utils.workflow import doctor


def examined(*checks) -> list[doctor.Finding]:
    return list(doctor.examined(checks))


def states(findings) -> set[str]:
    return {finding.state for finding in findings}


def asked(*options: str, **more: str) -> tuple[int, dict]:
    """Return the exit status and the answer of a process of its own."""
    command = [sys.executable, *options, "-m", "rd_utils", "doctor", "--json"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | more, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


# --- the whole ----------------------------------------------------------------------------------------------------------------------


def test_a_sound_environment_has_no_problem(outputs, capsys):
    assert command.main(["doctor", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {finding["about"] for finding in answer["findings"]} == {check.__name__ for check in doctor.CHECKS}
    assert answer["versions"]["rd-utils"] == __version__ and answer["versions"]["torch"] and "shtab" in answer["versions"]
    said = " ".join(finding["text"] for finding in answer["findings"])
    assert processor().kind in said and str(outputs) in said and "GB of memory" in said and "snakemake" in said


def test_without_any_package_everything_that_is_missing_is_a_finding():
    """Without site-packages, so that nothing but the standard library can be imported."""
    status, answer = asked("-S")
    problems = [finding for finding in answer["findings"] if finding["state"] == "problem"]
    assert status == 1 and answer["versions"]["torch"] is None
    assert "packages are missing: " in problems[0]["text"] and "sentence-transformers" in problems[0]["text"]
    assert all(finding["remedy"] for finding in answer["findings"] if finding["state"] != "ok")
    assert {finding["about"] for finding in answer["findings"]} == {check.__name__ for check in doctor.CHECKS}


@pytest.mark.parametrize(
    ("code", "said"),
    [("raise OSError('libx.so.1: cannot open')", "libx.so.1: cannot open"), ("import os; os.abort()", "exit status -6")],
)
def test_a_library_that_does_not_load_or_kills_its_process_is_named(tmp_path, monkeypatch, code, said):
    (tmp_path / "pyarrow.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (finding,) = [finding for finding in examined(doctor.machine) if finding.state == "problem"]
    assert finding.text.startswith("pyarrow does not load: ") and said in finding.text and finding.remedy


def test_a_check_that_fails_is_a_problem_and_the_others_go_on():
    def broken():
        yield "ok", "first", ""
        raise RuntimeError("no more")

    def lacking():
        yield from __import__("no_such_package")

    found = examined(broken, lacking, doctor.packages)
    assert [finding.state for finding in found[:3]] == ["ok", "problem", "problem"]
    assert found[1].text == "not examined: RuntimeError: no more" and "no_such_package" in found[2].text
    assert {finding.about for finding in found} == {"broken", "lacking", "packages"} and len(found) >= 5


def test_text_has_a_line_a_finding_its_remedy_and_the_counts(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    rows = [("a", "ok", "good"), ("b", "note", "so " * 40, "do"), ("c", "problem", "bad", "mend")]
    findings = [doctor.Finding(*row) for row in rows]
    lines = doctor.as_text(findings).splitlines()
    assert lines[0].split() == ["ok", "a", "good"] and lines[-1] == "1 problem, 1 note"
    assert lines[-3].strip() == "-> mend" and max(map(len, lines)) <= 100


# --- packages -----------------------------------------------------------------------------------------------------------------------


def distribution(folder: Path, name: str, version: str) -> None:
    """Install a package of a name and version, as far as its metadata goes."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_a_version_outside_its_range_is_a_problem_and_one_off_the_lock_a_note(tmp_path, monkeypatch):
    distribution(tmp_path, "tabulate", "0.1")
    distribution(tmp_path, "pyyaml", "6.99")
    monkeypatch.syspath_prepend(str(tmp_path))
    (finding,) = [finding for finding in examined(doctor.packages) if finding.state == "problem"]
    assert "tabulate 0.1 (not >=0.10)" in finding.text and "pyyaml" not in finding.text
    (finding,) = examined(doctor.lock)
    assert finding.state == "note" and re.search(r"pyyaml 6\.99 \(locked: 6\.\d", finding.text)


def test_the_lock_agrees_with_this_environment():
    assert states(examined(doctor.lock)) == {"ok"}  # make installs nothing else


def test_every_extra_is_there_or_names_what_is_missing():
    found = examined(doctor.extras)
    assert [finding.text.partition(":")[0] for finding in found] == ["dev", "docs", "cluster", "energy"]
    assert found[0].state == "ok"  # what runs this test is part of it
    for finding in found[1:]:
        lock = f"locks/{finding.text.partition(':')[0]}.txt"
        assert finding.state == "ok" or ("missing " in finding.text and lock in finding.remedy and (ROOT / lock).is_file())


# --- outputs and store --------------------------------------------------------------------------------------------------------------


def test_outputs_that_are_not_there_yet_are_fine_and_are_not_made(outputs):
    found = examined(doctor.project)
    assert states(found) <= {"ok", "note"} and f"{outputs}, to be made in {outputs.parent}: writable, with locks" in found[1].text.replace(
        " (RD_OUTPUTS)", ""
    )
    assert not outputs.exists() and list(outputs.parent.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a file system that takes no file, such as Linux's /proc")
def test_outputs_that_take_no_file_are_a_problem(tmp_path, monkeypatch):
    monkeypatch.setenv("RD_OUTPUTS", "/proc/self/outputs")
    (finding,) = [finding for finding in examined(doctor.project) if finding.state == "problem"]
    assert "it takes no file" in finding.text and "RD_OUTPUTS" in finding.remedy
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RD_OUTPUTS", str(tmp_path / "file"))
    (finding,) = [finding for finding in examined(doctor.project) if finding.state == "problem"]
    assert "is no folder" in finding.text


def test_a_file_system_without_locks_is_a_problem(outputs, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(doctor.fcntl, "lockf", refuse)
    (finding,) = [finding for finding in examined(doctor.project) if finding.state == "problem"]
    assert "no locks (No locks available)" in finding.text


def test_a_store_is_looked_at_by_names(outputs):
    assert "no store yet" in examined(doctor.store)[0].text
    ended = subprocess.Popen(["true"])
    ended.wait()
    stage = outputs / "store" / "groups"
    leftover = f".{3:020x}.{os.uname().nodename}.{ended.pid}"
    for name, files in ((f"{1:020x}", ["manifest.json"]), (f"{2:020x}", []), (leftover, []), ("x", [])):
        (stage / name).mkdir(parents=True)
        for file in files:
            (stage / name / file).write_text("{}")
    found = examined(doctor.store)
    assert found[0].text.startswith("2 artefacts in ")
    assert {finding.text.split(",")[0] for finding in found[1:]} == {"1 unfinished", "1 leftover", "1 unknown"}
    assert states(found[1:]) == {"note"} and all(finding.remedy for finding in found[1:])


# --- programs -----------------------------------------------------------------------------------------------------------------------


def test_without_snakemake_or_its_own_one_there_is_a_finding(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    found = {finding.text.split(" ")[0]: finding for finding in examined(doctor.programs)}
    assert found["snakemake"].state == "problem" and found["make"].state == found["git"].state == "note"

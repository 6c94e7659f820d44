"""The command line as a whole: its examples, its exit status, what a program reads, and what is said where a package is missing."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys

import pytest
from studies_on_disk import ROOT

from rd_utils import __main__ as commands
from rd_utils.study.plan import load_plan

ALL = [(name, example) for name, examples in commands.EXAMPLES.items() for example in examples]


@pytest.mark.parametrize(("name", "example"), ALL, ids=[example.replace("/", ".") for _, example in ALL])
def test_an_example_is_what_the_parser_takes(name, example):
    words = shlex.split(example)
    options = commands.command_line(words[0]).parse_args(words)
    assert options.command == name in commands.VERBS
    studies = getattr(options, "study", None) or []
    for study in [studies] if isinstance(studies, str) else studies:
        plan = load_plan(ROOT / study, getattr(options, "base", None))
        named = {getattr(options, part, None) for part in ("cell", "a", "b")} - {None}
        assert named <= {cell.name for cell in plan.cells}, named


def test_help_shows_the_examples_as_they_are_written_and_the_exit_status(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["rd"])
    for arguments, shown in ((["plan", "--help"], "\n  rd plan params/embedded.yaml --cores 2\n"), (["--help"], commands.STATUS)):
        with pytest.raises(SystemExit, match="0"):
            commands.main(arguments)
        assert shown in capsys.readouterr().out


def test_no_line_of_a_help_is_wider_than_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    for name in commands.VERBS:
        with pytest.raises(SystemExit):
            commands.main([name, "--help"])
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 140, name


def test_an_example_that_the_parser_does_not_take_is_found():
    with pytest.raises(SystemExit, match="2"):
        commands.command_line("plan").parse_args(["plan", "params/smallest.yaml", "--devices", "h200"])


def test_a_program_reads_what_a_person_does(outputs, capsys):
    study = str(ROOT / "params" / "smallest.yaml")

    def read(*arguments: str):
        assert commands.main([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    checked = read("check", study)
    assert (checked["study"], checked["valid"], checked["cells"]) == ("smallest", True, len(load_plan(study).cells))
    assert checked["notes"] and all(isinstance(note, str) for note in checked["notes"])
    commands.main(["plan", study, "--format", "json"])
    assert json.loads(capsys.readouterr().out) == read("plan", study) != []
    assert {node["state"] for node in read("status", study)["nodes"]} == {"waiting"}
    found = read("verify", study)
    assert found["artefacts"] == 0 and found["discarded"] == []
    assert {finding["kind"] for finding in found["findings"]} == {"missing"}


def test_every_command_that_answers_with_numbers_has_json(capsys):
    parser = commands.command_line(*commands.VERBS)
    (found,) = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    having = {name for name, command in found.items() if "--json" in command._option_string_actions}
    assert having >= {"check", "plan", "status", "compare", "power", "doctor", "verify", "trace", "rerun"}
    both = [command for command in found.values() if "--format" in command._option_string_actions]
    assert both and all(command._option_string_actions["--json"].dest == "format" for command in both)


def test_where_a_package_is_missing_a_command_names_it_and_the_doctor():
    """Without site-packages, so that nothing but the standard library can be imported."""
    done = subprocess.run([sys.executable, "-S", "-m", "rd_utils", "check", "x.yaml"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "is not installed; `rd doctor` says what else is missing" in done.stderr


def test_nothing_of_ours_is_coloured():
    """Also where it is asked for, so that NO_COLOR holds."""
    for arguments in (["--help"], ["check", "params/smallest.yaml"], ["check", "no.yaml"]):
        environment = os.environ | {"NO_COLOR": "1", "TERM": "xterm-256color"}
        done = subprocess.run([sys.executable, "-m", "rd_utils", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert "\x1b" not in done.stdout + done.stderr
    sources = "".join(path.read_text() for path in (ROOT / "rd_utils").rglob("*.py"))
    assert "\\x1b[" not in sources and "\\033[" not in sources

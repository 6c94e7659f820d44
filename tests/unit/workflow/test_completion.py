"""The scripts that complete the commands, asked by the shells themselves."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from studies_on_disk import ROOT

from rd_utils.__main__ import VERBS
from rd_utils.exchange.export import FORMATS
from rd_utils.workflow import completion

ASK = """
source /dev/stdin <<< "$SCRIPT"
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
found=$(complete -p rd); [[ "$found" =~ -F\\ ([^ ]+) ]] && "${BASH_REMATCH[1]}" rd "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def bash() -> str:
    if shutil.which("bash") is None:
        pytest.skip("no bash here")
    return completion.script("bash")


def completed(script: str, *words: str) -> list[str]:
    """Return what bash offers for the last of the words, with the project's folder as its own."""
    command = ["bash", "--norc", "--noprofile", "-c", ASK, "bash", *words]
    done = subprocess.run(command, env={"SCRIPT": script, "PATH": "/usr/bin:/bin"}, cwd=ROOT, capture_output=True, text=True, check=True)
    return sorted(filter(None, done.stdout.splitlines()))


def test_every_command_is_offered_and_one_that_is_begun_is_completed(bash):
    assert completed(bash, "rd", "") == sorted(VERBS)
    assert completed(bash, "rd", "com") == ["compare", "completion"]


@pytest.mark.parametrize("verb", ["check", "plan", "verify", "trace"])
def test_a_study_is_completed_with_files(bash, verb):
    assert completed(bash, "rd", verb, "params/smallest") == [
        "params/smallest.yaml", "params/smallest_cluster.yaml", "params/smallest_grid.yaml",
    ]  # fmt: skip


def test_an_option_is_completed_by_its_name_its_choices_and_what_it_names(bash):
    assert completed(bash, "rd", "plan", "params/smallest.yaml", "--c") == ["--cells", "--cores"]
    assert completed(bash, "rd", "plan", "params/smallest.yaml", "--format", "") == ["csv", "json", "text"]
    assert completed(bash, "rd", "compare", "a", "b", "--study", "params/scifact_") == ["params/scifact_grid.yaml"]
    bases = sorted(path.stem for path in (ROOT / "params" / "bases").glob("*.yaml"))
    assert completed(bash, "rd", "check", "params/smallest.yaml", "--base", "") == bases and "scifact" in bases
    assert completed(bash, "rd", "execute", "07") == ["07a_floor", "07b_bounds", "07c_bias"]
    assert completed(bash, "rd", "export", "groups", "cell", "folder", "--to", "") == sorted(FORMATS)
    assert completed(bash, "rd", "adopt", "not") == ["notebooks"]  # folders alone: no file begins so either
    assert completed(bash, "rd", "adopt", "README") == []


def test_names_that_no_shell_knows_are_left_alone(bash):
    assert completed(bash, "rd", "rerun", "params") == []


def test_zsh_takes_its_script(tmp_path):
    script = completion.script("zsh")
    assert script.startswith("#compdef rd\n")
    if shutil.which("zsh") is None:
        pytest.skip("no zsh here: its script was written, and not read by it")
    (tmp_path / "_rd").write_text(script)
    loaded = f"fpath=({tmp_path} $fpath); autoload -U compinit; compinit -u -d {tmp_path}/dump; autoload +X _rd; print $_comps[rd]"
    done = subprocess.run(["zsh", "-f", "-c", f"{loaded}; functions _rd"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("_rd\n") and "_rd_base () {" in done.stdout and "params/bases/*.yaml" in done.stdout

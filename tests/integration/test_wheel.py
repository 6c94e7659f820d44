"""The README's paths from an own folder and from runs to a verdict, walked from the wheel, in an empty folder, offline."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from rd_utils.workflow import lock
from tests.toys import write_words

pytestmark = pytest.mark.timeout(1200)
WITHOUT_THE_PACKAGE = """
import sys
from sentence_transformers import SentenceTransformer
model = SentenceTransformer("ranker")
queries, documents = model.encode_query(["word3 unseen"]), model.encode_document(["the word3 and the word2 of it", "the word9"])
assert queries.shape[0] == 1 and documents.shape[0] == 2
assert not any(name.startswith("rd_utils") for name in sys.modules)
print(model.similarity(queries, documents))
"""


@pytest.fixture(scope="module")
def place(root, tmp_path_factory) -> Path:
    """An empty folder, beside an environment that has the wheel, and all that it needs from this one's."""
    base = tmp_path_factory.mktemp("installed")
    wheels = base / "wheels"
    pip = [sys.executable, "-m", "pip", "--isolated", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(wheels), str(root)], check=True)
    venv.create(base / "env", symlinks=True)
    (packages,) = (base / "env" / "lib").glob("python*/site-packages")
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "--python", str(base / "env"), "install", "--no-deps", "--no-index", str(wheel)], check=True)
    (packages / "rest.pth").write_text(sysconfig.get_path("purelib") + "\n")  # a path alone: the editable package of there is not read
    folder = base / "empty"
    folder.mkdir()
    return folder


def run(place: Path, command: str, expected: int = 0) -> str:
    """Run a command as a shell with this environment does; return what it prints."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("RD_", "PYTHON", "VIRTUAL_ENV"))}
    environment["PATH"] = f"{place.parent / 'env' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", command], cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == expected, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def commands(root) -> list[str]:
    """The commands of the README's section on a folder of one's own, in their order."""
    section = (root / "README.md").read_text().split("## In a folder of your own")[1].split("\n## ")[0]
    return re.findall(r"^    (rd .*)$", section, re.M)


@pytest.fixture(scope="module")
def engineer(place, commands) -> dict[str, str]:
    """Walk the commands that need no runs; return what each printed."""
    write_words(place / "data" / "mine")
    said = {}
    for command in [command for command in commands if "a.run" not in command]:
        said[command] = run(place, f"{command} --cores 2" if command.startswith("rd run ") else command)
    return said


def of(said: dict[str, str], begin: str) -> str:
    """Return what the one command printed that begins so."""
    (found,) = (text for command, text in said.items() if command.startswith(begin))
    return found


def test_the_package_is_the_wheels(place, root):
    found = Path(run(place, "python -c 'import rd_utils; print(rd_utils.__file__)'").strip())
    assert found.is_relative_to(place.parent) and (found.parent / "suite" / "Snakefile").is_file()
    assert root not in map(Path, run(place, "python -c 'import sys; print(*sys.path, sep=chr(10))'").split())
    assert "params/own" not in run(place, f"ls -R {found.parent / 'suite'}")


def test_an_own_folder_leads_to_a_verdict_and_a_model(place, engineer):
    assert "61 documents" in of(engineer, "rd new") and "run it with: rd run params/own/mine.yaml" in of(engineer, "rd new")
    report = Path(re.fullmatch(r"report: (.*)\n", of(engineer, "rd run"))[1])
    assert report == place / "outputs" / "mine" / "report.html" and report.is_file()
    assert re.match(r"2 comparisons of B with A, B - A from .* nDCG@10", of(engineer, "rd compare BM25 "))
    assert (place / "ranker" / "README.md").is_file() and (place / "groups" / "provenance.json").is_file()
    run(place, f"python -c {shlex.quote(WITHOUT_THE_PACKAGE)}")
    assert "B is bi-encoder ranker, compared by cosine, searches all documents" in of(engineer, "rd compare bm25 ranker")


def test_the_study_says_that_it_is_done_and_whole(place, engineer):
    assert re.fullmatch(r"mine: (\d+) of \1 notebooks done\n", run(place, "rd status params/own/mine.yaml"))
    assert "MB: all as they were made" in run(place, "rd verify params/own/mine.yaml")


def test_two_runs_lead_to_a_verdict(place, commands):
    (place / "test.qrels").write_text("".join(f"q{n} 0 d{n} 1\n" for n in range(40)))
    for name, better in (("a", 0), ("b", 30)):  # b has thirty answers first, a all of them second
        rows = [(n, rank, doc) for n in range(40) for rank, doc in enumerate([f"d{n}", "other"] if n < better else ["other", f"d{n}"], 1)]
        (place / f"{name}.run").write_text("".join(f"q{n} Q0 {doc} {rank} {9 - rank} {name}\n" for n, rank, doc in rows))
    for command in [command for command in commands if "a.run" in command]:
        said = run(place, command)
        assert ("B is higher by 0.277" in said) == command.startswith("rd compare"), said


def test_the_suites_studies_are_found_and_a_typo_is_told(place):
    assert "valid; 6 cells, 12 students" in run(place, "rd check params/smallest.yaml")
    environment = f"cd {place.parent}; rd check params/smalest.yaml 2>&1"
    assert "did you mean 'smallest.yaml'" in run(place, environment, expected=2)


def test_a_project_is_made_and_its_study_can_be_run(place):
    assert "rd run params/own/first.yaml" in run(place, "rd init project")
    assert "valid" in run(place, "cd project && rd check params/own/first.yaml")
    assert "01_mine" in run(place, "cd project && rd run params/own/first.yaml --cores 1 --snakemake=--dry-run 2>&1; ls notebooks")


def test_the_lock_has_what_builds_the_wheel(root):
    assert "hatchling" in lock.read(root / "locks" / "build.txt")

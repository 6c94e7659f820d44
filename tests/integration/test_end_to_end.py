"""The smallest study through Snakemake and papermill: everything it promises is there, makes sense, and is made once."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from rd_utils import kernels
from rd_utils.analysis import prospects
from rd_utils.exchange import export
from rd_utils.exchange.results import ABOUT
from rd_utils.store import Store
from rd_utils.study import node_files, plan
from tests.commands import asked

STUDY = "params/smallest.yaml"
pytestmark = pytest.mark.timeout(1200)


def snakemake(root: Path, outputs: Path, *options: str, study: str = STUDY, nursery: int = 1) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--rerun-triggers", "mtime", "--nolock", "--rerun-incomplete"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"RD_OUTPUTS": str(outputs), "PATH": path}
    return subprocess.run(
        [*command, *options, "--config", f"study={study}", "base=", f"nursery={nursery}"],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def outputs(root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("outputs")
    done = snakemake(root, folder)
    logs = "\n".join(path.read_text()[-2000:] for path in folder.glob("store/nodes/*/log.txt")) if done.returncode else ""
    assert done.returncode == 0, done.stderr[-4000:] + logs
    return folder


@pytest.fixture(scope="module")
def planned(outputs, root):
    previous = os.environ.get("RD_OUTPUTS")
    os.environ["RD_OUTPUTS"] = str(outputs)
    yield plan.load_plan(root / STUDY)
    os.environ.pop("RD_OUTPUTS") if previous is None else os.environ.update(RD_OUTPUTS=previous)


@pytest.fixture(scope="module")
def results(outputs) -> pd.DataFrame:
    return pd.read_parquet(outputs / "smallest" / "results.parquet")


def test_the_study_folder_holds_what_the_readme_promises(outputs, planned):
    folder = outputs / "smallest"
    for name in ("report.html", "results.parquet", "per_query.parquet", "cells.parquet"):
        assert (folder / name).stat().st_size > 0
    assert {path.name for path in (folder / "notebooks").iterdir()} == {f"{node.name}.ipynb" for node in planned.nodes}
    assert {path.suffix for path in (folder / "charts").iterdir()} == {".json", ".svg", ".png"}
    assert {path.suffix for path in (folder / "tables").iterdir()} == {".html", ".md", ".csv", ".tex"}


def test_results_have_the_promised_columns_and_every_cell(results, planned):
    expected = (
        "study cell collection strategy teacher loss architecture augmentation temperature seed test_collection first_stage measure value"
    )
    assert set(expected.split()) <= set(results.columns)
    students = results[(results.system == "student") & (results.measure == "nDCG@10")]
    assert set(students.cell) == {cell.name for cell in planned.cells}
    assert set(results[results.system != "student"].cell) == {row.name for row in planned.baselines}
    assert results.value.between(0, 1).all()


def test_the_order_of_systems_is_sane(results):
    """Chance nDCG@10 over BM25's top 100 is about 0.15 here; seeds move a student by less than 0.02."""
    means = results[(results.measure == "nDCG@10") & (results.first_stage == "bm25@100")].groupby("cell").value.mean()
    assert 0.40 < means["BM25"] < 0.48
    assert means["teacher oracle"] > 0.74
    assert means["static-bm25-oracle-kl"] > means["BM25"] + 0.08
    assert means["static-bm25-oracle-kl"] > means["untrained static"] + 0.02
    assert means["interaction-bm25-lce"] > means["untrained interaction"] + 0.1
    assert means["static-bm25-oracle-kl"] < means["teacher oracle"]


def test_per_query_averages_to_results(outputs, results):
    per_query = pd.read_parquet(outputs / "smallest" / "per_query.parquet")
    assert per_query.query_id.nunique() == 60
    keys = [column for column in results.columns if column != "value"]
    again = per_query.groupby(keys, dropna=False).value.mean().reset_index()
    merged = results.merge(again, on=keys, suffixes=("", "_again"))
    assert len(merged) == len(results)
    assert (merged.value - merged.value_again).abs().max() < 1e-12


def test_cells_name_manifests_that_exist_with_cost_and_checksums(outputs, planned):
    cells = pd.read_parquet(outputs / "smallest" / "cells.parquet")
    store = Store(outputs / "store")
    assert len(cells) == sum(len(cell.students) for cell in planned.cells)
    assert (cells.total_cpu_seconds >= cells.train_cpu_seconds).all() and (cells.documents_seen == 20480).all()
    for path in cells.manifest:
        manifest = json.loads((outputs / path).read_text())
        assert manifest["node"] in {node.id for node in planned.nodes}
    for cell in planned.cells:
        for student in cell.students.values():
            store.verify(student)


def test_saved_students_load_as_what_they_are(outputs, planned):
    from sentence_transformers import CrossEncoder, SentenceTransformer

    store = Store(outputs / "store")
    students = {cell.architecture: store.folder(cell.students[0]) / "model" for cell in planned.cells}
    vectors = SentenceTransformer(str(students["static"])).encode(["kumovo pinupu", "ruzazu"])
    assert vectors.shape == (2, 64)
    scores = CrossEncoder(str(students["interaction"]), trust_remote_code=True).predict([("kumovo", "kumovo pinupu")])
    assert scores.shape == (1,)


def jobs(root: Path, outputs: Path, study: str = STUDY) -> dict[str, int]:
    """Return how many jobs of each rule are to run, as a dry run counts them."""
    done = snakemake(root, outputs, "--dry-run", study=study)
    assert done.returncode == 0, done.stderr
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE)}


def test_its_results_leave_the_outputs_with_what_is_known_of_the_collection(planned, tmp_path):
    said = asked(export, "results", STUDY, tmp_path / "found")
    about = json.loads((tmp_path / "found" / ABOUT).read_text())
    assert "tables of smallest" in said and set(about["prospects"]) == set(prospects.FEATURES)
    assert about["collections"] == {planned.cells[0].collection: {"documents": 1200, "training_queries": 300}}
    assert 0 < about["prospects"]["bm25_reciprocal_rank"] <= about["prospects"]["bm25_found"] <= 1
    kept = pd.read_parquet(tmp_path / "found" / "per_query.parquet")
    assert set(kept["cell"]) >= {cell.name for cell in planned.cells}


def test_running_again_runs_only_the_last_step(outputs, root):
    assert jobs(root, outputs) == {"study": 1, "total": 1}


def artefacts(outputs: Path) -> dict[str, dict[str, str]]:
    """Return the checksums of every artefact's files."""
    manifests = outputs.glob("store/*/*/manifest.json")
    return {str(path.relative_to(outputs)): json.loads(path.read_text())["files"] for path in manifests}


@pytest.fixture(scope="module")
def part(root, tmp_path_factory) -> Path:
    """A part of the study, made by nodes in fresh processes: mined, scored, trained, evaluated and reported."""
    folder = tmp_path_factory.mktemp("part")
    study = yaml.safe_load((root / STUDY).read_text())
    one = study["grids"][0] | {"strategies": ["bm25"], "losses": ["kl"]}
    less = {"teachers": {name: study["teachers"][name] for name in one["teachers"]}, "grids": [one], "overrides": []}
    path = folder / "part.yaml"
    path.write_text(yaml.safe_dump(study | less | {"name": "part", "analysis": study["analysis"] | {"baseline_strategy": "bm25"}}))
    done = snakemake(root, folder, study=str(path), nursery=0)
    assert done.returncode == 0, done.stderr[-3000:]
    return path


@pytest.mark.skipif(not kernels.supported(), reason="no nursery on this platform")
def test_nodes_that_fork_make_the_same_bytes_as_fresh_ones(outputs, results, planned, part):
    fresh, forked = artefacts(part.parent), artefacts(outputs)
    assert fresh.items() <= forked.items() and {name.split("/")[1] for name in fresh} == {name.split("/")[1] for name in forked}
    values = pd.read_parquet(part.parent / "part" / "results.parquet").drop(columns="study")
    assert len(values.merge(results)) == len(values) > 0  # on all columns, the value among them
    logs = {path: path.read_text() for path in outputs.glob("store/nodes/*/log.txt")}
    assert logs and not [path for path, log in logs.items() if "run as plain papermill" in log]  # every node was forked
    assert cells_run(part.parent).keys() == cells_run(outputs).keys() == {node.notebook for node in planned.nodes}
    assert all(ran <= cells_run(outputs)[notebook] for notebook, ran in cells_run(part.parent).items())


def test_what_is_lost_is_made_again_and_nothing_else(part, root, monkeypatch):
    monkeypatch.setenv("RD_OUTPUTS", str(part.parent))
    store = Store(part.parent / "store")
    node = next(node for node in plan.load_plan(part).nodes if node.notebook == "03_train")
    lost, *others = (spec for spec in node.artefacts if spec.stage == "student")
    kept = [store.folder(spec) / "manifest.json" for spec in others]
    before, stamps = store.manifest(lost)["files"], [path.stat().st_mtime_ns for path in kept]
    shutil.rmtree(store.folder(lost))
    assert jobs(root, part.parent, study=str(part)) == {"train": 1, "evaluate": 1, "report": 1, "study": 1, "total": 4}
    done = snakemake(root, part.parent, f"{node_files.node_folder(node.id)}/notebook.ipynb", study=str(part), nursery=0)
    assert done.returncode == 0, done.stderr[-3000:]
    assert kept and [path.stat().st_mtime_ns for path in kept] == stamps
    assert store.manifest(lost)["files"] == before  # the same bytes


def test_the_page_over_all_studies_leads_to_the_tables_of_its_report(outputs, planned, results, tmp_path, capsys):
    from rd_utils import __main__ as command

    assert command.main(["index", "--to", str(tmp_path / "all.html")]) == 0
    text, report = (tmp_path / "all.html").read_text(encoding="utf-8"), (outputs / "smallest" / "report.html").read_text(encoding="utf-8")
    rows = results[(results.system == "student") & (results.measure == planned.study.analysis.measure)]
    assert f"1 study, {len(rows) // rows.seed.nunique()} rows" in capsys.readouterr().out
    (anchor,) = set(re.findall(r'href="[^"]*smallest/report\.html#([\w-]+)"', text))
    table = report.partition(f'id="{anchor}"')[2].partition("</figure>")[0]
    assert "All systems on " in table and all(cell.name in table.replace("<wbr>", "") for cell in planned.cells)


def cells_run(outputs: Path) -> dict[str, set[tuple[tuple[str, int | None], ...]]]:
    """Return what was run of each notebook by its nodes, and in which order; parameters aside."""
    found: dict[str, set] = {}
    for path in outputs.glob("store/nodes/*/notebook.ipynb"):
        cells = [cell for cell in json.loads(path.read_text())["cells"] if "injected-parameters" not in cell["metadata"].get("tags", [])]
        ran = tuple(("".join(cell["source"]), cell.get("execution_count")) for cell in cells)
        found.setdefault(path.parent.name.rpartition("-")[0], set()).add(ran)
    return found


def browser() -> str | None:
    return next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)


@pytest.mark.skipif(browser() is None, reason="no Chromium on this machine")
def test_the_report_opens_in_a_browser_without_errors_and_draws_its_charts(outputs, tmp_path):
    command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    command += ["--disable-sync", "--no-first-run", f"--user-data-dir={tmp_path}", "--enable-logging=stderr", "--virtual-time-budget=30000"]
    page = outputs / "smallest" / "report.html"
    done = subprocess.run([*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=600)
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line], done.stderr[-2000:]
    charts = len(re.findall(r"<script[^>]*data-chart=", page.read_text()))
    assert charts >= 5
    assert len(re.findall(r'<div[^>]*class="chart[^"]*\bdrawn\b', done.stdout)) == charts


def test_a_stranger_can_check_the_finished_study(outputs, planned, root, tmp_path, monkeypatch):
    """As a crate with its artefacts: by its own hashes, and artefact by artefact where it lies."""
    from rd_utils import __main__ as command

    monkeypatch.setenv("RD_OUTPUTS", str(outputs))
    assert command.main(["export", "study", str(root / STUDY), "--to", str(tmp_path / "crate"), "--artefacts"]) == 0
    assert command.main(["verify", "--crate", str(tmp_path / "crate")]) == 0
    monkeypatch.setenv("RD_OUTPUTS", str(tmp_path / "crate" / "outputs"))
    assert command.main(["verify", str(tmp_path / "crate" / "params" / Path(STUDY).name)]) == 0
    assert all(Store().has(spec) for spec in planned.specs())

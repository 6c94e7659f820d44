"""The steps of a scale run on a collection of a thousand passages, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import scale

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.timeout(3600)  # a dozen processes and more, each with its imports, on a machine of a third of the speed


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_all_steps_of_a_thousand_passages(tmp_path):
    command = [sys.executable, "-m", "benchmarks.scale"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    settings = ["--full-queries", "2200000", "--folder", str(tmp_path)]
    options = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True, "timeout": 1500, "check": True}
    first = subprocess.run([*command, "run", "--sizes", "1k", *settings], **options)
    assert f"size 1 of 1, step 10 of {len(scale.STEPS)}: lookups, 1,000 passages, 250 queries" in first.stdout
    table = scale.measured(tmp_path)
    assert table["step"].tolist() == list(scale.STEPS)
    counts = {step: json.loads((tmp_path / "1000" / "results" / f"{step}.json").read_text())["counts"] for step in scale.STEPS}
    assert (counts["documents"]["documents"], counts["queries"]["queries"], counts["groups"]["groups"]) == (1000, 250, 250)
    assert counts["group_scores"]["pairs"] == 250 * scale.GROUP_SIZE
    assert 250 < counts["candidates_100"]["pairs"] <= counts["candidates_200"]["pairs"] == counts["scores"]["pairs"] <= 250 * 200
    assert counts["lookups"]["pairs"] == counts["scores"]["pairs"] + counts["group_scores"]["pairs_scored_now"]
    assert counts["vectors"]["documents"] == 1000 and counts["dense_candidates"]["pairs"] == 250 * scale.DEPTHS[0]
    assert (table[["wall_seconds", "cpu_seconds", "peak_rss_mb", "peak_anonymous_mb"]] > 0).all(axis=None)
    (tmp_path / "500" / "results").mkdir(parents=True)  # of another size, as if it had been measured before
    for path in (tmp_path / "1000" / "results").iterdir():
        smaller = json.loads(path.read_text()) | {"passages": 500, "queries": 125, "wall_seconds": 0.5}
        (tmp_path / "500" / "results" / path.name).write_text(json.dumps(smaller))
    again = subprocess.run([*command, "run", "--sizes", "1k,500", *settings], **options)
    assert f"size 2 of 2, step 10 of {len(scale.STEPS)}: lookups, 1,000 passages, 250 queries" in again.stdout
    assert scale.measured(tmp_path)["step"].tolist() == list(scale.STEPS) * 2
    said = [[line for line in run.stdout.splitlines() if line.startswith("  ")] for run in (first, again)]  # faiss prints too
    assert said[0] == said[1][len(scale.STEPS) :] and len(said[1]) == 2 * len(scale.STEPS)  # nothing was taken again: the same seconds
    subprocess.run([*command, "chart", "--folder", str(tmp_path), "--out", str(tmp_path / "docs")], **options)
    assert (tmp_path / "docs" / "scale.svg").is_file()

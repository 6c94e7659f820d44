"""Run a study from an empty store, as ``make study`` does; ``plain``: one student a node, every notebook a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.environments import HERE, ROOT
from benchmarks.worker import serve


def run(settings: dict[str, Any], command: dict[str, Any]) -> dict[str, Any]:
    """Run the study once; return its wall time in seconds and the number of notebooks that ran."""
    study = yaml.safe_load((HERE / "study.yaml").read_text(encoding="utf-8"))
    config = []
    if settings["plain"]:
        study["workflow"] = {"students_per_node": 1}
        config = ["nursery=0"]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        path, outputs = Path(folder) / "study.yaml", Path(folder) / "outputs"
        (Path(folder) / "bases").symlink_to(ROOT / "params" / "bases")
        path.write_text(yaml.safe_dump(study), encoding="utf-8")
        options = ["--cores", "2", "--nolock", "--rerun-triggers", "mtime", "--quiet", "rules"]
        began = time.perf_counter()
        made = subprocess.run(
            [sys.executable, "-m", "snakemake", *options, "--config", f"study={path}", *config],
            cwd=ROOT, env=os.environ | {"RD_OUTPUTS": str(outputs), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True, text=True,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        if made.returncode:
            errors = [line.strip() for line in made.stderr.splitlines() if "Error" in line] or made.stderr.splitlines()
            raise RuntimeError(f"snakemake ended with {made.returncode}: {' '.join(errors[:3]) or 'no message'}")
        notebooks = len(list(outputs.rglob("notebook.ipynb")))
    return {"seconds": seconds, "notebooks": notebooks}


if __name__ == "__main__":
    serve(lambda settings: lambda command: run(settings, command), ("snakemake", "papermill"))

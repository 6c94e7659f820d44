"""The campaign of faults in short, or whole (``RD_FAULTS=all``, ``make faults``)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WHOLE = os.environ.get("RD_FAULTS") == "all"
SIZES = (
    ["--kills", "200", "--damages", "500", "--others", "40"]
    if WHOLE
    else ["--kills", "6", "--damages", "14", "--others", "2", "--workers", "1"]
)

pytestmark = [
    pytest.mark.timeout(7200),
    pytest.mark.skipif(sys.platform != "linux", reason="children are forked from a process with numerical libraries, which Linux allows"),
]


def environment() -> dict[str, str]:
    own = {key: value for key, value in os.environ.items() if key not in ("RD_OUTPUTS", "RD_NURSERY", "RD_RUN")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return own | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PATH": path}


def told(module: str, *arguments: str) -> str:
    """Run a module of the campaign, which must end well; print and return what it said."""
    command = [sys.executable, "-m", f"tests.faults.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_study_ends_well_after_every_fault():
    said = told("campaign", *SIZES)
    tried, wanted = map(int, re.search(r"(\d+) of (\d+) faults", said).groups())
    assert tried == wanted >= (740 if WHOLE else 22)


@pytest.mark.skipif(not WHOLE, reason="takes many minutes; `make faults` does it")
def test_runs_lose_any_of_their_processes_and_have_rivals():
    told("runs")

"""A part of the embedded study, wall time on two cores: as ``make study`` runs it, and with a process for every student's notebooks."""

from __future__ import annotations

from typing import Any

from benchmarks.harness import Family, Line, Way

_MODULE = "benchmarks.studies"


def _command(repeat: int, short: bool) -> dict[str, Any]:
    return {}


FAMILIES = (
    Family(
        "study",
        "a part of the embedded study (benchmarks/study.yaml: 2 strategies x 2 losses x 3 seeds), once",
        (
            Way("ours", _MODULE, {"plain": False}),
            Way("plain papermill", _MODULE, {"plain": True}),
        ),
        (Line("study, two cores", "seconds", "s", ("ours",), ("plain papermill",), 3, higher=False),),
        repeats=1,  # it takes minutes
        short_repeats=0,
        command=_command,
        warm_up=False,
    ),
)

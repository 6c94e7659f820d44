"""Ranking distillation studies: which negatives, which teacher, which loss, and was it worth the cost?

The face of the package, which is all that notebooks import:

    import rd_utils as rd
    parameters, pipeline = rd.open(rd.params.MineParameters, globals())
    study = rd.load("params/smallest.yaml")
    study.show("differences")

Its names are imported when they are first asked for; importing the package imports none of its rooms.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

# Libraries that are imported in a notebook look for widgets that this package does not need.
warnings.filterwarnings("ignore", message="IProgress not found")

__version__ = "0.6.0"

_VERBS = {  # what opens, shows and prints, by the module that has it
    "open": "workflow.notebook", "say": "workflow.notebook", "nothing": "workflow.notebook", "headed": "workflow.notebook",
    "load": "report.show",
}  # fmt: skip
_MODULES = {  # in the order of the data's flow, by their rooms
    "params": "study", "graph": "study", "runs": "data", "retrieval": "mining", "sampling": "mining", "teachers": "scoring",
    "entropy": "scoring", "tokens": "models", "losses": "training", "augmentation": "training", "loop": "training", "search": "stages",
    "locality": "analysis", "tables": "analysis", "stats": "analysis", "factorial": "analysis", "simulation": "analysis",
    "characteristics": "analysis", "charts": "report", "forms": "report", "layout": "report", "drawing": "report", "costs": "cost",
    "theory": "companions", "published": "companions", "advice": "companions", "claims": "companions", "scaling": "companions",
    "recipes": "companions", "results": "exchange",
}  # fmt: skip

__all__ = [*_VERBS, *_MODULES]  # noqa: PLE0604  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        return getattr(importlib.import_module(f"{__name__}.{_VERBS[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{_MODULES[name]}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

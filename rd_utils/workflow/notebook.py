"""What every notebook begins with: its parameters, validated, and a pipeline whose work shows; and how it prints."""

from __future__ import annotations

import difflib
import os
import textwrap
import unicodedata
from collections.abc import Mapping, Sized
from typing import TypeVar, cast

import pandas as pd

from rd_utils.data import leakage
from rd_utils.data.collections import own_tests
from rd_utils.report import drawing
from rd_utils.store import outputs_root
from rd_utils.study import checks, params
from rd_utils.workflow.pipeline import Pipeline
from rd_utils.workflow.progress import LOGGER, log_to, show_below_cells

P = TypeVar("P", bound=params.Part)

WIDTH = 100  # characters of a printed line: what a notebook's page of 1280 pixels holds without a break

_HEADINGS = {
    "diameter_q99": "diameter", "mean_distance": "distance", "log_density_ratio": "log kappa", "retrieved_share": "retrieved",
    "intrinsic_dimension": "dimension", "effective_rank": "rank", "calibration_error": "calibration", "target_entropy": "target entropy",
}  # fmt: skip

_OF_THE_KERNEL = {"In", "Out", "exit", "quit", "open", "get_ipython"}


def validate(model: type[P], namespace: dict[str, object]) -> P:
    """Validate a notebook's parameter cell, the cell that papermill injects included.

    Call it, by :func:`open`, before anything else is assigned.

    Args:
        model: the notebook's parameter class.
        namespace: the notebook's globals.

    Returns:
        The parameters as one frozen value; ``test_collections="own"`` is replaced by what belongs to the collection.

    Raises:
        ParameterError: unknown, missing or impossible parameters, each with the nearest valid name; collections, folders, files or measures
            that are not there; or test queries that students are trained on (see :mod:`rd_utils.data.leakage`).
    """
    plain = (str, int, float, bool, list, tuple, dict, type(None))
    values = {
        name: value
        for name, value in namespace.items()
        if not name.startswith("_") and name not in _OF_THE_KERNEL and isinstance(value, plain)
    }
    # When a notebook is run again without a new kernel, its results stand among its globals: only what was there the first time, a
    # parameter, or what looks like one counts.
    first = cast("set[str]", namespace.setdefault("_parameters", set(values)))
    fields = list(model.model_fields)
    values = {n: v for n, v in values.items() if n in first or n in fields or difflib.get_close_matches(n, fields, 1, 0.8)}
    parameters = _valid(model, values)
    if isinstance(parameters, params.MineParameters) and parameters.test_collections == "own":
        parameters = _valid(model, values | {"test_collections": own_tests(parameters.collection)})
    if isinstance(parameters, params.TrainParameters):
        leakage.check_parameters(parameters, Pipeline())
    return parameters


def _valid(model: type[P], values: Mapping[str, object]) -> P:
    """Return parameters that can be, of what there is; all problems are told at once."""
    parameters, problems = params.attempt(model, values)
    problems += checks.problems(parameters)
    if problems or not isinstance(parameters, model):
        raise params.ParameterError(params.listed("parameters", problems))
    return parameters


def open(model: type[P], namespace: dict[str, object], *, show: bool = True) -> tuple[P, Pipeline]:  # noqa: A001
    """Begin a notebook: validate its parameters, print them, open the project's store, and set the theme of its charts.

    Progress shows below cells while it lasts and goes to a log; tables are shown uncut.

    Args:
        model: The notebook's parameter class.
        namespace: The notebook's globals, before anything else is assigned.
        show: Whether the parameters are printed.

    Returns:
        The parameters, as :func:`validate` returns them, and the pipeline that makes and reads what they name.

    Raises:
        ParameterError: As :func:`validate`.
    """
    parameters = validate(model, namespace)
    if show:
        describe(parameters)
    return parameters, open_pipeline()


def open_pipeline() -> Pipeline:
    """Return a pipeline on the project's store, with a notebook's progress, log, tables and theme."""
    pd.set_option("display.max_colwidth", None, "display.max_columns", None)
    drawing.use_theme()
    log_to(outputs_root() / "rd_utils.log")
    show_below_cells()
    LOGGER.info("notebook started, node %s", os.environ.get("RD_NODE", "none"))
    return Pipeline()


def describe(parameters: params.Part) -> None:
    """Print what is about to run, one line a parameter, without the settings that stand at their defaults."""
    for name in type(parameters).model_fields:
        say(f"{name:17} {_short(getattr(parameters, name))}", indent=18)


def say(*texts: str, indent: int = 4) -> None:
    """Print texts whole, in lines of about :data:`WIDTH` columns at most, the further lines of each indented.

    >>> say("d1: " + "a long text " * 9)
    d1: a long text a long text a long text a long text a long text a long text a long text a long text
        a long text
    """
    for text in texts:
        wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)  # two columns each
        width = WIDTH * len(text) // max(1, len(text) + wide)
        print(textwrap.fill(text, max(width, 2 * indent), subsequent_indent=" " * indent, break_on_hyphens=False))


def nothing(found: Sized, what: str, study: str = "params/tour.yaml") -> None:
    """Say why a section of a study's notebook is empty, where nothing was found, and which study fills it.

    >>> nothing([], "a target entropy")
    Nothing to show: this study lacks a target entropy, which params/tour.yaml has.
    >>> nothing([0.5], "a target entropy")
    """
    if not len(found):
        say(f"Nothing to show: this study lacks {what}, which {study} has.")


def headed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table under headings that a page can hold: short names of what is known of groups and students, no underscores.

    >>> headed(pd.DataFrame(columns=["diameter_q99", "positive_entropy", "cpu_seconds"])).columns.tolist()
    ['diameter', 'positive', 'cpu seconds']
    """
    return frame.rename(columns=lambda name: _HEADINGS.get(name, str(name).removesuffix("_entropy").replace("_", " ")))


def _short(value: object) -> str:
    if isinstance(value, params.Collection):
        return value.label
    if isinstance(value, params.Part):
        fields = value.model_dump(mode="json", exclude_defaults=True)
        name = getattr(value, "kind", None) or getattr(value, "source", None)
        inner = ", ".join(f"{key}={_short(getattr(value, key))}" for key in fields if key not in ("kind", "source"))
        return f"{name or ''}({inner})" if inner else (name or "")
    if isinstance(value, dict):
        return ", ".join(_named(key, _short(item)) for key, item in value.items())
    if isinstance(value, tuple):
        return ", ".join(_short(item) for item in value) or "none"
    return str(value)


def _named(name: str, text: str) -> str:
    """Return a name with what it stands for, once where that is the name itself."""
    if name == text:
        return name
    return f"{name}{text}" if text.startswith("(") else f"{name} {text}".rstrip()

"""Losses told to what people watch trainings with (TensorBoard, Weights & Biases, Trackio), by the trackers of accelerate.

It is asked for in the environment, ``RD_REPORT_TO=tensorboard`` (``rd run --report-to`` sets it), since it is no part of what a student is.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rd_utils.store import outputs_root
from rd_utils.study.explain import ParameterError, nearest
from rd_utils.workflow.progress import LOGGER

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

TO = "RD_REPORT_TO"  # the environment variable with their names, between commas
PROJECT = "ranking-distillation"  # what runs are grouped under, where they are
TOLD = 200  # losses of a training, at most
# The modules of which each needs one; tensorboardX writes TensorBoard's files without it.
NEEDS = {"tensorboard": ("tensorboard", "tensorboardX"), "trackio": ("trackio",), "wandb": ("wandb",)}


def trackers(names: str | None = None) -> list[str]:
    """Return the trackers that are asked for.

    Args:
        names: theirs, between commas (default: those of ``$RD_REPORT_TO``).

    Raises:
        ParameterError: there is no such tracker, or it is not installed.
    """
    text = os.environ.get(TO, "") if names is None else names
    asked = [name for part in text.split(",") if (name := part.strip())]
    for name in asked:
        if name not in NEEDS:
            raise ParameterError(f"report to {name!r}: no such tracker{nearest(name, NEEDS)}")
        if not any(importlib.util.find_spec(module) for module in NEEDS[name]):
            raise ParameterError(f"report to {name}: it is not installed; pip install {NEEDS[name][0]}")
    return asked


@contextmanager
def reporting(run: str, progress: Callable[..., None]) -> Iterator[Callable[..., None]]:
    """Yield what is called after every step (done, total, loss): ``progress``, and each tracker that is asked for.

    A tracker that fails costs no training: its error is logged, and it hears no more.

    Args:
        run: a name of the training, told to trackers.
        progress: what is called in any case.

    Raises:
        ParameterError: a tracker is not known or not installed.
    """
    found = {name: tracker for name in trackers() if (tracker := _started(name, run)) is not None}
    if not found:
        yield progress
        return

    def tell(done: int, total: int, loss: float | None = None, *rest: object) -> None:
        progress(done, total, loss, *rest)
        if loss is not None and (done % max(1, total // TOLD) == 0 or done == total):
            for name in list(found):
                try:
                    found[name].log({"loss": loss}, step=done)
                except Exception as error:
                    _failed(name, error)
                    del found[name]

    try:
        yield tell
    finally:
        for name, tracker in found.items():
            try:
                tracker.finish()
            except Exception as error:
                _failed(name, error)


def _started(name: str, run: str) -> GeneralTracker | None:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind = LOGGER_TYPE_TO_CLASS[name]
    try:
        if kind.requires_logging_directory:
            tracker = kind(run, logging_dir=str(outputs_root() / name))
        else:
            tracker = kind(PROJECT, name=run)
        tracker.start()
    except Exception as error:
        _failed(name, error)
        return None
    return tracker


def _failed(name: str, error: Exception) -> None:
    LOGGER.warning("nothing more is reported to %s: %s: %s", name, type(error).__name__, error)

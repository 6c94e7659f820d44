"""Progress of long work: a bar on standard error (a terminal, a notebook or a log) and a line in the log file now and then."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Track = Callable[[Iterable[Any], str, "int | None"], Iterable[Any]]

LOGGER = logging.getLogger("rd_utils")
SECONDS_BETWEEN_LINES = 10.0


def untracked(iterable: Iterable[Any], description: str, total: int | None) -> Iterable[Any]:
    """Show nothing: the default of functions that take a ``track``."""
    return iterable


def track(iterable: Iterable[Any], description: str, total: int | None = None) -> Iterator[Any]:
    """Yield from ``iterable`` with a bar on standard error and lines in the log, the last one with the rate."""
    from tqdm import tqdm

    start = last = time.monotonic()
    done = 0
    for item in tqdm(iterable, desc=description, total=total, file=sys.stderr, mininterval=1.0, delay=1.0, leave=False):
        yield item
        done += 1
        if time.monotonic() - last > SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            LOGGER.info("%s: %s of %s, %.0f s", description, done, "?" if total is None else total, last - start)
    LOGGER.info("%s: %d done in %.1f s", description, done, time.monotonic() - start)


def log_to(path: Path) -> None:
    """Append the package's log lines to a file; calling it again with the same file changes nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for handler in LOGGER.handlers:
        if isinstance(handler, logging.FileHandler) and Path(handler.baseFilename) == path.resolve():
            return
    handler = logging.FileHandler(path.resolve(), encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(message)s"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False

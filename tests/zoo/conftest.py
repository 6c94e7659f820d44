"""The library's own process, folders of models that tests share, and the count at the end."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from library import Library

BOUND = 1e-5  # in fp32; of the largest number of a text's vector, or of 1 where that is smaller
_CENSUS: Counter[str] = Counter()
_WORST: list[tuple[float, str]] = []


class Census:
    """Counts what was compared, refused and found different, which is printed at the end."""

    def compare(self, name: str, ours: np.ndarray, theirs: np.ndarray, texts: list, problems: list[str]) -> None:
        """Compare rows within the bound, and note the first text that differs among the problems."""
        _CENSUS[f"compared {name.split(':')[0]}"] += 1
        ours, theirs = (np.asarray(values, dtype=np.float64).reshape(len(texts), -1) for values in (ours, theirs))
        if ours.shape != theirs.shape:
            _CENSUS["differences"] += 1
            problems.append(f"{name}: shape {ours.shape}, the library's {theirs.shape}")
            return
        size = np.maximum(np.abs(theirs).max(axis=1, initial=0.0), 1.0)
        apart = np.abs(ours - theirs).max(axis=1, initial=0.0) / size
        apart[~np.isfinite(apart)] = np.inf  # and what is not finite in both is no answer either
        worst = int(np.argmax(apart))
        _WORST.append((float(apart[worst]), name))
        if apart[worst] > BOUND:
            _CENSUS["differences"] += 1
            wrong = np.flatnonzero(apart > BOUND)
            first = min(wrong, key=lambda row: len(str(texts[row])))
            problems.append(
                f"{name}: {len(wrong)} of {len(texts)} differ, by {apart[worst]:.2g} at most; the shortest {texts[first]!r:.200}: "
                f"{np.round(ours[first][:4], 5).tolist()}, the library's {np.round(theirs[first][:4], 5).tolist()}"
            )

    def count(self, what: str) -> None:
        """Count one more of something."""
        _CENSUS[what] += 1


@pytest.fixture(scope="session")
def census() -> Census:
    return Census()


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    found = Library(tmp_path_factory.mktemp("library"))
    yield found
    found.close()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """Make a case's folder once: its stages share it, and leave it as it is."""
    folders: dict[str, Path] = {}

    def of(case, build) -> Path:
        if case.id not in folders:
            folders[case.id] = build(case, tmp_path_factory.mktemp("animal"))
        return folders[case.id]

    return of


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _CENSUS:
        return
    kind = "the whole zoo" if os.environ.get("RD_ZOO") == "all" else "a part of the zoo (RD_ZOO=all, make zoo: the whole)"
    terminalreporter.section(kind)
    for what, number in sorted(_CENSUS.items()):
        terminalreporter.write_line(f"{number:6d} {what}")
    for apart, name in sorted(_WORST, reverse=True)[:3]:
        terminalreporter.write_line(f"{apart:6.1e} apart: {name}")

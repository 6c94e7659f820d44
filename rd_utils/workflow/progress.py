"""Progress of long work: a bar in a terminal, a log or below a notebook's cell while it runs, and a line in the log file now and then."""

from __future__ import annotations

import html
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from rd_utils import durable

Track = Callable[[Iterable[Any], str, "int | None"], Iterable[Any]]

LOGGER = logging.getLogger("rd_utils")
SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_BARS = 1.0  # and before the first: short work shows none
_TERMINAL = {"mininterval": _SECONDS_BETWEEN_BARS, "delay": _SECONDS_BETWEEN_BARS, "leave": False}
_COLUMNS = 90  # of a bar below a cell
_CURVES = (560, 160)  # pixels of the losses below a cell
_POINTS = 200  # of one curve


def untracked(iterable: Iterable[Any], description: str, total: int | None) -> Iterable[Any]:
    """Show nothing: the default of functions that take a ``track``."""
    return iterable


def track(iterable: Iterable[Any], description: str, total: int | None = None) -> Iterator[Any]:
    """Yield from ``iterable`` with a bar while it lasts and lines in the log, the last one with the rate.

    The bar stands on standard error; in a notebook it stands below the cell (see :class:`Cells`), and nothing of it stays.
    """
    from tqdm import tqdm

    start = last = time.monotonic()
    done = 0
    if _CELLS is None:
        steps, bar = tqdm(iterable, desc=description, total=total, file=sys.stderr, **_TERMINAL), None
    else:
        steps, bar = iterable, _CELLS.bar(description, total)
    try:
        for item in steps:
            yield item
            done += 1
            if bar:
                bar.show(done)
            if time.monotonic() - last > SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                LOGGER.info("%s: %s of %s, %.0f s", description, done, "?" if total is None else total, last - start)
    finally:
        if bar:
            bar.close()
    LOGGER.info("%s: %d done in %.1f s", description, done, time.monotonic() - start)


def log_to(path: Path) -> None:
    """Append the package's log lines to a file; calling it again with the same file changes nothing.

    A log that cannot be written keeps nothing from its work: it is said once where standard error goes.
    """
    for handler in LOGGER.handlers:
        if isinstance(handler, logging.FileHandler) and Path(handler.baseFilename) == path.resolve():
            return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _Log(path.resolve(), encoding="utf-8")
    except OSError as error:
        print(f"no log is kept: {durable.explain(error, path) or error}", file=sys.stderr)
        return
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(message)s"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False


class _Log(logging.FileHandler):
    """A log whose disk may fill up or be taken away."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once that lines are missing, without a traceback for each."""
        if not getattr(self, "said", False):
            self.said = True
            error = sys.exc_info()[1]
            found = durable.explain(error, self.baseFilename) if isinstance(error, OSError) else None
            print(f"lines of the log are missing: {found or error}", file=sys.stderr)


# --- in a notebook ----------------------------------------------------------------------------------------------------


_CELLS: Cells | None = None


def show_below_cells() -> None:
    """Let bars stand below cells from now on, if this process is a notebook's kernel; calling it again changes nothing.

    Lines of the log also go to where the kernel's own standard error went when it started: papermill's log, or JupyterLab's terminal.
    """
    global _CELLS
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if _CELLS is not None or not hasattr(shell, "kernel"):
        return
    _CELLS = Cells(shell)
    original = getattr(sys.stderr, "_original_stdstream_copy", None)  # ipykernel reads the stream itself, and shows it in the notebook
    if original is not None and os.environ.get("RD_NODE"):
        LOGGER.addHandler(logging.StreamHandler(os.fdopen(os.dup(original), "w", buffering=1, encoding="utf-8")))


class Cells:
    """What stands below the cell that runs.

    Bars are one output with a name, updated while work lasts. When the last bar ends the cell's output is cleared, so that a saved notebook
    holds no trace of it. Clearing would take with it what the cell showed before: where there is anything, bars are left to the log.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.shown = True  # by the cell that runs now, which began before anyone looked
        self.bars: list[CellBar] = []
        self.curves: dict[str, list[tuple[float, float]]] = {}  # by training: share of its steps done, loss
        self.name: str | None = None
        shell.events.register("pre_run_cell", self._begin)
        shell.display_pub.register_hook(self._note)
        for stream in (sys.stdout, sys.stderr):  # hooks belong to the thread that sends
            if hasattr(stream, "pub_thread"):
                kernel = cast("Any", stream)  # ipykernel's OutStream
                kernel.pub_thread.schedule(lambda kernel=kernel: kernel.register_hook(self._note))

    def bar(self, description: str, total: int | None) -> CellBar:
        """Return a bar that has not been drawn yet."""
        return CellBar(self, description, total)

    def draw(self) -> None:
        """Draw the bars that there are, below a cell that has shown nothing else, or take the last one away."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # only what was sent is known
        if self.bars and self.name is None and not self.shown:
            self.name = f"progress of cell {self.shell.execution_count}"
            self._publish({}, update=False)
        if self.name is None:
            return
        if self.bars or self.shown:  # by the work itself
            self._publish(self._content() if self.bars else {}, update=True)
        else:
            self.shell.display_pub.clear_output()
        if not self.bars:
            self.name = None

    def note_loss(self, description: str, done: int, total: int, loss: float) -> None:
        """Let the curve of a training below the cell that runs grow by a loss; it is drawn with the next bar."""
        curve = self.curves.setdefault(description, [])
        if not curve or done == total or done / total - curve[-1][0] >= 1 / _POINTS:
            curve.append((done / total, loss))

    def _content(self) -> dict[str, str]:
        lines = "\n".join(bar.line for bar in self.bars)
        if not self.curves:
            return {"text/plain": lines}
        return {"text/plain": lines, "text/html": f"<pre>{html.escape(lines)}</pre>{curves_svg(self.curves)}"}

    def _publish(self, data: dict[str, str], update: bool) -> None:
        before = self.shown
        self.shell.display_pub.publish(data=data, metadata={}, transient={"display_id": self.name}, update=update)
        self.shown = before

    def _begin(self, *_: object) -> None:
        self.shown, self.bars, self.curves, self.name = False, [], {}, None

    def _note(self, message: dict[str, object]) -> dict[str, object]:
        if message["msg_type"] in ("stream", "display_data"):
            self.shown = True
        return message


def curves_svg(curves: dict[str, list[tuple[float, float]]]) -> str:
    """Return the losses of trainings as a chart that a page shows at once: the last one in front, those before it pale.

    Args:
        curves: by training, points of the share of its steps that is done and the loss there.
    """
    width, height = _CURVES
    losses = [loss for points in curves.values() for _, loss in points]
    low, high = min(losses), max(losses)
    span = (high - low) or 1.0
    drawn = []
    for number, (name, points) in enumerate(curves.items(), start=1):
        path = " ".join(f"{share * width:.1f},{(high - loss) / span * height:.1f}" for share, loss in points)
        last = number == len(curves)
        style = 'stroke="#4c78a8" stroke-width="2"' if last else 'stroke="#999" stroke-opacity="0.4"'
        drawn.append(f'<polyline fill="none" {style} points="{path}"><title>{html.escape(name)}</title></polyline>')
    named, (_, now) = html.escape(name), points[-1]
    text = f"loss {now:.4g} (drawn from {low:.4g} to {high:.4g}), {named}, over its steps"
    return (
        f'<svg viewBox="-4 -4 {width + 8} {height + 24}" width="{width + 8}" role="img" aria-label="{text}" font-family="sans-serif">'
        f'{"".join(drawn)}<text x="0" y="{height + 16}" font-size="12" fill="currentColor">{text}</text></svg>'
    )


class CellBar:
    """One line below the cell that was running when it was made; elsewhere it draws nothing."""

    def __init__(self, cells: Cells, description: str, total: int | None) -> None:
        self.cells, self.description, self.total = cells, description, total
        self.cell = cells.shell.execution_count
        self.start = time.monotonic()
        self.due = self.start + _SECONDS_BETWEEN_BARS
        self.line = ""

    def show(self, done: int) -> None:
        """Draw the line anew, a second after the last at the earliest."""
        from tqdm import tqdm

        now = time.monotonic()
        if now < self.due or self.cell != self.cells.shell.execution_count:
            return
        self.due = now + _SECONDS_BETWEEN_BARS
        total = cast("int", self.total)  # tqdm takes None too, which its stubs leave out
        self.line = tqdm.format_meter(done, total, now - self.start, ncols=_COLUMNS, prefix=self.description)
        if self not in self.cells.bars:
            self.cells.bars.append(self)
        self.cells.draw()

    def close(self) -> None:
        """Take the line away, unless another cell has begun since."""
        if self in self.cells.bars:
            self.cells.bars.remove(self)
            if self.cell == self.cells.shell.execution_count:
                self.cells.draw()


class Pushed:
    """Shows work that reports how far it is, through a ``track``, which pulls."""

    def __init__(self, track: Track, description: str) -> None:
        self.track, self.description = track, description
        self.steps: Iterator[int] | None = None
        self.shown = 0
        self.told = time.monotonic()

    def __call__(self, done: int, total: int, loss: float | None = None, *rest: object) -> None:
        """Show that ``done`` of ``total`` steps are done; a loss grows a curve below a notebook's cell, and the log says it."""
        if loss is not None and _CELLS is not None:
            _CELLS.note_loss(self.description, done, total, loss)
        if self.steps is None:
            self.steps = iter(self.track(range(total), self.description, total))
            next(self.steps, None)
        while self.shown < done:
            next(self.steps, None)
            self.shown += 1
        if loss is not None and (done == total or time.monotonic() - self.told > SECONDS_BETWEEN_LINES):
            self.told = time.monotonic()
            LOGGER.info("%s: loss %.4g after %d of %d steps", self.description, loss, done, total)

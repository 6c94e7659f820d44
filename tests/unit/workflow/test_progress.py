"""Where progress shows, and that nothing of it stays in a notebook."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

import nbformat
import pytest
from nbclient import NotebookClient

from rd_utils.workflow import progress

START = """
import time
from rd_utils.workflow import notebook, progress
from rd_utils.workflow.progress import track

progress._SECONDS_BETWEEN_BARS = 0.1
pipeline = notebook.open_pipeline()
"""
WORK = "for step in track(range(10), {name!r}, 10):\n    time.sleep(0.06)\n"
CELLS = {
    "imports": "import rd_utils.training.loop, tqdm.auto",
    "plain": WORK.format(name="mining") + "print('mined')",
    "after a print": "print('before')\n" + WORK.format(name="scoring") + "print('after')",
    "after a display": "from IPython.display import HTML\ndisplay(HTML('<b>before</b>'))\n" + WORK.format(name="scoring"),
    "that prints": WORK.format(name="training") + "    if step == 7:\n        print('refreshed')",
    "nested": "for outer in track(range(2), 'outer', 2):\n    " + WORK.format(name="inner").replace("\n", "\n    "),
    "left early": WORK.format(name="left") + "    if step == 7: break\nprint('left')",
    "failed": WORK.format(name="training") + "    if step == 7: raise OSError('disk full')",
    "next": "print('next')",
    "with losses": "for name in ('first', 'a <second>'):\n    steps = progress.Pushed(track, name)\n"
    "    for step in range(1, 9):\n        time.sleep(0.06)\n        steps(step, 8, 4.0 / step)\nprint('trained')",
}


class Watched(NotebookClient):
    """Runs a notebook and keeps what its kernel said of bars, by cell."""

    lines: dict[int, list[str]]
    pages: dict[int, list[str]]

    def process_message(self, msg, cell, cell_index):
        if msg["msg_type"] == "update_display_data" and "text/plain" in msg["content"]["data"]:
            self.lines.setdefault(cell_index, []).append(msg["content"]["data"]["text/plain"])
            self.pages.setdefault(cell_index, []).append(msg["content"]["data"].get("text/html", ""))
        return super().process_message(msg, cell, cell_index)


Ran = dict[str, tuple[list[dict[str, Any]], list[str], list[str]]]


def run(cells: dict[str, str]) -> Ran:
    """Return the outputs of each cell, and what it showed meanwhile: the bars, and as HTML."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (START, *cells.values())])
    client = Watched(notebook, kernel_name="python3", allow_errors=True, timeout=300, coalesce_streams=True)
    client.lines, client.pages = {}, {}
    client.execute()
    assert not any(output.output_type == "error" for output in notebook.cells[0].outputs), notebook.cells[0].outputs
    return {
        name: ([dict(output) for output in notebook.cells[number].outputs], client.lines.get(number, []), client.pages.get(number, []))
        for number, name in enumerate(cells, start=1)
    }


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Ran:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RD_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        return run(CELLS)


def printed(text: str) -> list[dict[str, Any]]:
    return [{"output_type": "stream", "name": "stdout", "text": text}]


def test_a_bar_stands_below_its_cell_while_it_lasts_and_leaves_nothing(ran):
    outputs, lines, _ = ran["plain"]
    assert outputs == printed("mined\n")
    assert len(lines) >= 2 and all(line.startswith("mining") and "/10 " in line for line in lines)


def test_what_a_cell_has_shown_is_not_cleared(ran):
    assert ran["after a print"] == (printed("before\nafter\n"), [], [])
    (output,), lines, _ = ran["after a display"]
    assert output["data"]["text/html"] == "<b>before</b>" and not lines


def test_what_the_work_itself_prints_is_not_cleared(ran):
    outputs, lines, _ = ran["that prints"]
    assert "".join(output.get("text", "") for output in outputs) == "refreshed\n"
    assert lines and not any(output.get("data") for output in outputs)


def test_a_bar_within_a_bar_and_one_that_is_left_early_leave_nothing(ran):
    outputs, lines, _ = ran["nested"]
    assert outputs == [] and any("inner" in line for line in lines) and any("outer" in line for line in lines)
    assert ran["left early"][0] == printed("left\n")


def test_an_error_is_not_cleared_with_the_bar(ran):
    assert [output.get("evalue") for output in ran["failed"][0]] == ["disk full"]
    assert ran["next"] == (printed("next\n"), [], [])


def test_losses_grow_a_chart_that_leaves_nothing(ran):
    """The second training's curve stands before the first's; every point is one that was told."""
    outputs, _, pages = ran["with losses"]
    assert outputs == printed("trained\n")
    charts = [page for page in pages if "<svg" in page]
    first, last = charts[0], charts[-1]
    assert first.count("<polyline") == 1 and last.count("<polyline") == 2
    root = ElementTree.fromstring(last[last.index("<svg") :])
    assert [title.text for title in root.iter("title")] == ["first", "a <second>"] and "a <second>" in root.attrib["aria-label"]
    points = [tuple(map(float, point.split(","))) for point in list(root)[0].attrib["points"].split()]
    wide, high = progress._CURVES
    assert [x for x, _ in points] == pytest.approx([wide * step / 8 for step in range(1, 9)], abs=0.1)
    assert [y for _, y in points] == pytest.approx([(4.0 - 4.0 / step) / 3.5 * high for step in range(1, 9)], abs=0.1)


def test_a_loss_is_in_the_log(caplog):
    progress.LOGGER.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO, "rd_utils"):
            steps = progress.Pushed(progress.untracked, "training")
            for step in range(1, 4):
                steps(step, 3, 1.0 / step)
    finally:
        progress.LOGGER.removeHandler(caplog.handler)
    assert {record.getMessage() for record in caplog.records} == {"training: loss 0.3333 after 3 of 3 steps"}


def test_libraries_do_not_ask_for_widgets(ran):
    assert ran["imports"] == ([], [], [])


def test_a_node_of_a_study_writes_its_progress_to_its_log(outputs, monkeypatch, capfd):
    monkeypatch.setenv("RD_NODE", "train-1")
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # with it, ipykernel leaves the streams as they are
    assert run({"plain": CELLS["plain"]})["plain"][0] == printed("mined\n")
    assert "mining: 10 done in" in capfd.readouterr().err
    assert "mining: 10 done in" in (outputs / "rd_utils.log").read_text()


def test_elsewhere_a_bar_stands_on_standard_error():
    code = "import time\nfrom rd_utils.workflow.progress import track\n"
    code += "for step in track(range(24), 'mining', 24): time.sleep(0.1)\nprint('mined')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "mined\n" and "mining" in done.stderr


def test_items_pass_through_and_are_counted(caplog):
    progress.LOGGER.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO, "rd_utils"):
            assert list(progress.track("abc", "letters", 3)) == ["a", "b", "c"]
    finally:
        progress.LOGGER.removeHandler(caplog.handler)
    assert any("letters: 3 done in" in record.getMessage() for record in caplog.records)

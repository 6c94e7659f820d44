"""Where progress shows, and that nothing of it stays in a notebook."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

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
}


class Watched(NotebookClient):
    """Runs a notebook and keeps what its kernel said of bars, by cell."""

    lines: dict[int, list[str]]

    def process_message(self, msg, cell, cell_index):
        if msg["msg_type"] == "update_display_data" and "text/plain" in msg["content"]["data"]:
            self.lines.setdefault(cell_index, []).append(msg["content"]["data"]["text/plain"])
        return super().process_message(msg, cell, cell_index)


def run(cells: dict[str, str]) -> dict[str, tuple[list[dict[str, Any]], list[str]]]:
    """Return the outputs of each cell and the bars that it showed meanwhile."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (START, *cells.values())])
    client = Watched(notebook, kernel_name="python3", allow_errors=True, timeout=300, coalesce_streams=True)
    client.lines = {}
    client.execute()
    assert not any(output.output_type == "error" for output in notebook.cells[0].outputs), notebook.cells[0].outputs
    return {
        name: ([dict(output) for output in notebook.cells[number].outputs], client.lines.get(number, []))
        for number, name in enumerate(cells, start=1)
    }


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> dict[str, tuple[list[dict[str, Any]], list[str]]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RD_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        return run(CELLS)


def printed(text: str) -> list[dict[str, Any]]:
    return [{"output_type": "stream", "name": "stdout", "text": text}]


def test_a_bar_stands_below_its_cell_while_it_lasts_and_leaves_nothing(ran):
    outputs, lines = ran["plain"]
    assert outputs == printed("mined\n")
    assert len(lines) >= 2 and all(line.startswith("mining") and "/10 " in line for line in lines)


def test_what_a_cell_has_shown_is_not_cleared(ran):
    assert ran["after a print"] == (printed("before\nafter\n"), [])
    (output,), lines = ran["after a display"]
    assert output["data"]["text/html"] == "<b>before</b>" and not lines


def test_what_the_work_itself_prints_is_not_cleared(ran):
    outputs, lines = ran["that prints"]
    assert "".join(output.get("text", "") for output in outputs) == "refreshed\n"
    assert lines and not any(output.get("data") for output in outputs)


def test_a_bar_within_a_bar_and_one_that_is_left_early_leave_nothing(ran):
    outputs, lines = ran["nested"]
    assert outputs == [] and any("inner" in line for line in lines) and any("outer" in line for line in lines)
    assert ran["left early"][0] == printed("left\n")


def test_an_error_is_not_cleared_with_the_bar(ran):
    assert [output.get("evalue") for output in ran["failed"][0]] == ["disk full"]
    assert ran["next"] == (printed("next\n"), [])


def test_libraries_do_not_ask_for_widgets(ran):
    assert ran["imports"] == ([], [])


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

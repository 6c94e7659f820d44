"""The notebooks in a real JupyterLab, in the system's Chromium, without a network and untrusted, as a fresh clone shows them.

By default every notebook and every solved lesson is opened, the quickest are run, and sliders are moved; ``RD_BROWSER=all``
(``make browser``) runs all of them.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rd_utils.report import drawing

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
LESSONS = sorted((FOLDER / "lessons" / "solutions").glob("*.ipynb"))
NOTEBOOKS = [*sorted(FOLDER.glob("*.ipynb")), *LESSONS]
QUICK = {"00_start_here", "01_mine"}
BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
SECONDS = 600  # for anything that is waited for: a busy machine of a third of the speed

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on the path (Debian: apt-get install chromium)"),
]
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install -e '.[dev]')")

SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # all cells of a page are drawn, not only those in view
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
}
PANEL = ".jp-NotebookPanel:not(.lm-mod-hidden)"
DRAWN = f"{PANEL} .vega-embed canvas, {PANEL} .vega-embed svg.marks"

# What a page shows at the size of its window: printed lines that were broken, and outputs that are wider than their place.
CUT = """() => {
  const found = [];
  const panel = document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden)');
  for (const output of panel.querySelectorAll('.jp-OutputArea-output')) {
    if (output.scrollWidth > output.clientWidth + 1)
      found.push(`${output.scrollWidth} of ${output.clientWidth} pixels: ${output.textContent.slice(0, 60)}`);
    const printed = output.querySelector('pre');
    if (printed && output.dataset.mimeType === 'application/vnd.jupyter.stdout') {
      const lines = printed.textContent.replace(/\\n$/, '').split('\\n');
      const shown = Math.round(printed.getBoundingClientRect().height / parseFloat(getComputedStyle(printed).lineHeight));
      if (shown > lines.length) found.push(`broken: ${lines.reduce((a, b) => a.length < b.length ? b : a).slice(0, 160)}`);
    }
  }
  return found;
}"""


class Lab:
    """A JupyterLab with nobody's settings on a copy of the notebooks, and a page of a browser that reaches nothing else."""

    def __init__(self, folder: Path, page: Any, address: str) -> None:
        self.folder, self.page = folder, page
        self.said: list[str] = []
        self.outside: list[str] = []
        page.set_default_timeout(1000 * SECONDS)
        page.on("console", lambda message: self.said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.context.route("**/*", lambda route: self._pass(route, address))
        page.goto(address)
        page.wait_for_function("() => window.jupyterapp")
        page.evaluate("async () => { await jupyterapp.started; await jupyterapp.restored; }")

    def _pass(self, route: Any, address: str) -> None:
        if route.request.url.startswith((address.split("/lab")[0], "data:", "blob:")):
            route.continue_()
        else:
            self.outside.append(route.request.url)
            route.abort()

    def open(self, name: str) -> None:
        self.said.clear()
        self.outside.clear()
        self.page.evaluate("async path => { await jupyterapp.commands.execute('docmanager:open', {path}); }", name)
        self.page.wait_for_function("() => jupyterapp.shell.currentWidget?.context?.isReady && jupyterapp.shell.currentWidget.content")
        self.page.evaluate(
            "async () => { const here = jupyterapp.shell.currentWidget; await here.revealed; await here.sessionContext.ready; }"
        )

    def cells(self) -> list[dict[str, Any]]:
        """Return the code cells as the page holds them."""
        return self.page.evaluate(
            """() => [...jupyterapp.shell.currentWidget.content.model.cells].filter(cell => cell.type === 'code')
                .map(cell => ({...cell.toJSON(), trusted: cell.trusted}))"""
        )

    def wait_for_charts(self) -> int:
        """Wait until every chart that the cells hold is drawn, and return how many there are."""
        wanted = count_charts(self.cells())
        self.page.wait_for_function("([drawn, n]) => document.querySelectorAll(drawn).length >= n", arg=[DRAWN, wanted])
        return wanted

    def run(self) -> None:
        self.page.evaluate("async () => { await jupyterapp.commands.execute('notebook:run-all-cells'); }")

    def save(self) -> None:
        self.page.evaluate("async () => { await jupyterapp.commands.execute('docmanager:save'); }")

    def close(self) -> None:
        self.page.evaluate(
            "async () => { const here = jupyterapp.shell.currentWidget; await here.sessionContext.shutdown(); here.dispose(); }"
        )


def count_charts(cells: list[dict[str, Any]]) -> int:
    return sum(drawing.VEGA_LITE in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    for name, values in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {
        "RD_OUTPUTS": str(folder / "outputs"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),  # holds no signature: nothing is trusted
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "JUPYTER_TOKEN": token,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    options += ["--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={folder / 'notebooks'}"]
    log = (folder / "log.txt").open("w")
    server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, folder / "log.txt")
        with playwright.sync_playwright() as driver:
            alone = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
            browser = driver.chromium.launch(executable_path=BROWSER, args=alone, timeout=1000 * SECONDS)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            yield Lab(folder / "notebooks", page, f"http://127.0.0.1:{port}/lab?token={token}")
            browser.close()
    finally:
        server.terminate()
        server.wait()
        log.close()


def wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=SECONDS)
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


def named(path: Path) -> str:
    """Return what JupyterLab calls a notebook."""
    return path.relative_to(FOLDER).as_posix()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_fresh_clone_shows_every_chart_and_every_number(lab, path):
    lab.open(named(path))
    try:
        cells = lab.cells()
        assert not any(cell["trusted"] for cell in cells)
        assert count_charts(cells) == count_charts(read(path)["cells"])
        assert lab.wait_for_charts() == lab.page.locator(DRAWN).count()
        assert not lab.page.locator(f"{PANEL} .jp-RenderedText[data-mime-type*=stderr]").count()
        assert lab.page.evaluate(CUT) == []
        assert (lab.said, lab.outside) == ([], [])
    finally:
        lab.close()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_that_is_run_shows_the_same_and_is_saved_the_same(lab, path):
    if path.stem not in QUICK and os.environ.get("RD_BROWSER") != "all":
        pytest.skip("takes longer: RD_BROWSER=all (make browser) runs it")
    saved = []
    for _ in range(2):  # the second kernel finds everything made
        lab.open(named(path))
        try:
            lab.run()
            cells = lab.cells()
            assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
            assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
            assert lab.wait_for_charts() == count_charts(read(path)["cells"]) == lab.page.locator(DRAWN).count()
            assert not lab.page.locator(f"{PANEL} .jp-RenderedText[data-mime-type*=stderr]").count()
            assert lab.page.evaluate(CUT) == []
            assert (lab.said, lab.outside) == ([], [])
            lab.save()
        finally:
            lab.close()
        saved.append(read(lab.folder / named(path)))
    assert without_results(saved[0]) == without_results(read(path))
    changed = ["".join(before["source"]) for before, after in zip(saved[0]["cells"], saved[1]["cells"], strict=True) if before != after]
    assert not changed or path.stem not in QUICK, changed  # others print times


def without_results(notebook: dict[str, Any]) -> dict[str, Any]:
    """Return all that running must not change; the version of Python is the reader's own."""
    cells = [{key: value for key, value in cell.items() if key != "outputs"} for cell in notebook["cells"]]
    language = {key: value for key, value in notebook["metadata"]["language_info"].items() if key != "version"}
    return notebook | {"cells": cells, "metadata": notebook["metadata"] | {"language_info": language}}


# Every slider of a page, and what the chart that it belongs to shows, drawn as a picture.
SLIDERS = f"{PANEL} .vega-embed .vega-bind input[type=range]"


@pytest.mark.parametrize(
    ("path", "n"),
    [("00_start_here", 1), ("05a_results", 1), ("05b_locality", 1), ("05c_report", 1), ("lessons/solutions/05_what_a_teacher_adds", 4),
     ("lessons/solutions/06_how_sure_is_the_teacher", 1), ("lessons/solutions/09_is_b_better_than_a", 2),
     ("lessons/solutions/10_what_did_it_cost", 2)],
    ids=lambda value: str(value).rpartition("/")[2],
)  # fmt: skip
def test_a_slider_changes_what_is_drawn(lab, path, n):
    lab.open(f"{path}.ipynb")
    try:
        lab.wait_for_charts()
        sliders = lab.page.locator(SLIDERS)
        assert sliders.count() == n
        for number in range(n):
            slider = sliders.nth(number)
            slider.scroll_into_view_if_needed()
            chart = slider.locator("xpath=ancestor::div[contains(@class, 'vega-embed')]").locator("canvas, svg.marks").first
            box = slider.bounding_box()
            assert box["x"] + box["width"] <= 1280 and box["width"] > 60, box
            before = chart.screenshot()
            slider.focus()
            for key in ("End", "Home"):  # one of the two is not where it was
                slider.press(key)
            lab.page.wait_for_timeout(300)
            low = chart.screenshot()
            slider.press("End")
            lab.page.wait_for_timeout(300)
            assert len({before, low, chart.screenshot()}) >= 2, slider.evaluate("input => input.outerHTML")
        assert (lab.said, lab.outside) == ([], [])
    finally:
        lab.close()

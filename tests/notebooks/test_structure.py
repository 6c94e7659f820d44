"""What keeps notebooks checked: nbval compares nothing in a cell that was never run."""

from __future__ import annotations

import ast
import base64
import difflib
import io
import json
import re
from pathlib import Path

import nbformat
import pytest
from notebook_cells import cells, code, outputs, tags
from PIL import Image

from rd_utils import __main__ as commands
from rd_utils.companions.theory import held_out
from rd_utils.report import drawing
from rd_utils.study import nodes, params

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
PARAMETERS = {
    "01_mine": params.MineParameters,
    "02_score": params.ScoreParameters,
    "03_train": params.TrainParameters,
    "04_evaluate": params.EvaluateParameters,
    "05a_results": params.AnalyseParameters,
    "05b_locality": params.AnalyseParameters,
    "05c_report": params.AnalyseParameters,
    "06_search": params.SearchParameters,
    "07a_floor": held_out.TheoryParameters,
    "07b_bounds": held_out.BoundsParameters,
    "07c_bias": held_out.BiasParameters,
    "08_published": params.AnalyseParameters,
    "09_advise": params.AdviseParameters,
    "10_claims": params.ClaimsParameters,
}


BESIDE = ["05a_results", "05b_locality", "07a_floor", "07b_bounds", "07c_bias", "08_published", "09_advise", "10_claims"]
"""Notebooks that no study runs."""


def charts(path: Path) -> list[dict]:
    return [output for output in outputs(path) if any("vega" in kind for kind in output.get("data", {}))]


def test_the_main_line_is_complete():
    assert [path.stem for path in NOTEBOOKS] == ["00_start_here", *sorted([*nodes.NOTEBOOKS, *BESIDE])]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestEveryNotebook:
    def test_it_opens_with_question_inputs_outputs_and_time(self, path):
        first = "".join(cells(path)[0]["source"])
        for word in ("# ", "**Question.**", "**Inputs.**", "**Outputs.**", "**Time.**"):
            assert word in first, word

    def test_checked_cells_were_run_and_show_something(self, path):
        checked = [cell for cell in code(path) if "nbval-check-output" in tags(cell)]
        assert len(checked) >= 3
        for cell in checked:
            assert cell["execution_count"], "".join(cell["source"])
            assert any(output.get("name") == "stdout" for output in cell["outputs"]), "".join(cell["source"])

    def test_every_cell_was_run_in_order_without_an_error(self, path):
        counts = [cell["execution_count"] for cell in code(path)]
        assert counts == list(range(1, len(counts) + 1))
        assert not [o for cell in code(path) for o in cell["outputs"] if o["output_type"] == "error"]

    def test_outputs_hold_no_progress_bars_and_no_path_of_a_machine(self, path):
        for cell in code(path):
            for output in cell["outputs"]:
                assert output.get("name") != "stderr"
                text = json.dumps(output)
                assert not re.search(r"(?<![\w./:<])/(home|root|tmp|work|Users|var)/", text), text[:300]

    def test_printed_text_is_one_output_however_it_arrived(self, path):
        for cell in code(path):
            names = [output.get("name") for output in cell["outputs"]]
            assert not [a for a, b in zip(names, names[1:], strict=False) if a == b == "stdout"], "".join(cell["source"])

    def test_no_printed_line_is_wider_than_a_window_of_1280_pixels_shows(self, path):
        for output in outputs(path):
            for line in "".join(output.get("text", "")).splitlines():
                assert len(line) <= 107, line

    def test_no_output_names_an_outside_address(self, path):
        for output in outputs(path):
            shown = {kind: value for kind, value in output.get("data", {}).items() if not kind.startswith("image/")}
            text = json.dumps(shown).replace(drawing.SCHEMA, "")
            assert not re.search(r"https?:|src=|\bcdn\b|<script", text), text[:300]

    def test_every_chart_is_drawn_by_jupyterlab_and_has_its_picture(self, path):
        assert charts(path) or path.stem == "00_start_here"
        for output in charts(path):
            assert set(output["data"]) == {drawing.VEGA_LITE, "image/png", "text/plain"}
            assert output["data"][drawing.VEGA_LITE]["$schema"] == drawing.SCHEMA
            about = output["metadata"]["image/png"]
            picture = Image.open(io.BytesIO(base64.b64decode(output["data"]["image/png"])))
            assert picture.size == pytest.approx((1.5 * about["width"], 1.5 * about["height"]), abs=1)
            assert about["alt"].startswith("Chart")

    def test_there_is_at_least_as_much_prose_as_code(self, path):
        def characters(kind):  # white space aside
            chosen = [cell for cell in cells(path) if cell["cell_type"] == kind and "parameters" not in tags(cell)]
            return sum(len("".join("".join(cell["source"]).split())) for cell in chosen)

        assert characters("markdown") >= characters("code")

    def test_it_imports_the_face_of_the_package_alone(self, path):
        found = re.findall(r"^(?:from|import) rd_utils.*$", "\n".join("".join(cell["source"]) for cell in code(path)), re.M)
        assert found == ["import rd_utils as rd"]

    def test_cells_are_short_and_define_nothing(self, path):
        for cell in code(path):
            source = "".join(cell["source"])
            if "parameters" not in tags(cell):
                assert len(source.splitlines()) <= 12, source
            assert not re.search(r"^\s*(class|def) ", source, re.M), source


def test_what_differs_between_runs_with_the_same_results_is_dropped():
    def printed(text, name="stdout"):
        return nbformat.v4.new_output("stream", name=name, text=text)

    cell = nbformat.v4.new_code_cell("print(1)", metadata={"tags": ["nbval-check-output"], "papermill": {"duration": 1.0}, "execution": {}})
    cell.outputs = [printed("1\n"), printed("2\n"), nbformat.v4.new_output("display_data"), printed("!", "stderr"), printed("3\n")]
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"papermill": {"duration": 1.0}})
    commands.tidy(notebook)
    assert [output.text for output in cell.outputs] == ["1\n2\n3\n"]
    assert cell.metadata == {"tags": ["nbval-check-output"]} and notebook.metadata == {}


@pytest.mark.parametrize("name", PARAMETERS)
class TestParameterCells:
    def namespace(self, name):
        (cell,) = [c for c in code(next(p for p in NOTEBOOKS if p.stem == name)) if "parameters" in tags(c)]
        found: dict = {}
        exec("".join(cell["source"]), {"__builtins__": {}}, found)  # literals only: any call fails without builtins
        return found

    def test_the_defaults_are_literals_and_valid(self, name):
        assert params.parse(PARAMETERS[name], self.namespace(name), name)

    def test_every_parameter_is_shown(self, name):
        assert set(self.namespace(name)) == set(PARAMETERS[name].model_fields)

    def test_no_result_looks_like_a_parameter_when_the_notebook_is_run_again(self, name):
        """`notebook.validate` takes a global of such a name for a mistyped parameter."""
        cells_after = [c for c in code(next(p for p in NOTEBOOKS if p.stem == name)) if "parameters" not in tags(c)]
        fields = list(PARAMETERS[name].model_fields)
        for cell in cells_after:
            tree = ast.parse("".join(cell["source"]))
            own = {
                node.id
                for part in ast.walk(tree)
                if isinstance(part, ast.comprehension)
                for node in ast.walk(part.target)
                if isinstance(node, ast.Name)
            }
            stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
            for result in sorted(stored - own):
                assert not difflib.get_close_matches(result, fields, 1, 0.8), result


def test_a_notebook_that_is_not_there_is_named_before_any_is_executed(capsys):
    assert commands.main(["execute", "01_mine", "07a_flor"]) == 2
    said = capsys.readouterr()
    assert "no notebook '07a_flor'" in said.err and "did you mean '07a_floor'" in said.err and "01_mine.ipynb" not in said.out

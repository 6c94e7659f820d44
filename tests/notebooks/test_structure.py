"""What keeps notebooks checked: nbval compares nothing in a cell that was never run."""

from __future__ import annotations

import ast
import difflib
import json
import re
from pathlib import Path

import pytest

from rd_utils import params, plan, theory

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
PARAMETERS = {
    "01_mine": params.MineParameters,
    "02_score": params.ScoreParameters,
    "03_train": params.TrainParameters,
    "04_evaluate": params.EvaluateParameters,
    "05_analyse": params.AnalyseParameters,
    "06_search": params.SearchParameters,
    "07_theory": theory.TheoryParameters,
    "08_published": params.AnalyseParameters,
    "09_advise": params.AdviseParameters,
}


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text())["cells"]


def code(path: Path) -> list[dict]:
    return [cell for cell in cells(path) if cell["cell_type"] == "code"]


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def test_the_main_line_is_complete():
    assert [path.stem for path in NOTEBOOKS] == ["00_start_here", *plan.NOTEBOOKS, "07_theory", "08_published", "09_advise"]


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

    def test_there_is_at_least_as_much_prose_as_code(self, path):
        def characters(kind):  # white space aside
            chosen = [cell for cell in cells(path) if cell["cell_type"] == kind and "parameters" not in tags(cell)]
            return sum(len("".join("".join(cell["source"]).split())) for cell in chosen)

        assert characters("markdown") >= characters("code")

    def test_cells_are_short_and_define_nothing(self, path):
        for cell in code(path):
            source = "".join(cell["source"])
            if "parameters" not in tags(cell):
                assert len(source.splitlines()) <= 12, source
            assert not re.search(r"^\s*(class|def) ", source, re.M), source


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

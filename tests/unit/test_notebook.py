"""What notebooks say about their parameters."""

from __future__ import annotations

import pytest

from rd_utils import notebook, params
from rd_utils.params import ParameterError

GOOD = {"collection": {"source": "embedded"}, "strategy": {"kind": "corpus_random"}, "seeds": [0]}


def test_only_plain_values_of_the_namespace_are_parameters():
    namespace = GOOD | {"np": pytest, "_private": 3, "In": [1], "function": len}
    assert notebook.validate(params.MineParameters, namespace).group_size == 16


def test_a_name_that_papermill_would_only_warn_about_is_refused():
    with pytest.raises(ParameterError, match="unknown parameter 'group_sise'; did you mean 'group_size'"):
        notebook.validate(params.MineParameters, GOOD | {"group_sise": 4})


def test_a_second_run_without_a_new_kernel_takes_no_result_for_a_parameter():
    namespace = dict(GOOD)
    notebook.validate(params.MineParameters, namespace)
    namespace |= {"counts": {"a": 1}, "chart": None, "group_size": 8}
    assert notebook.validate(params.MineParameters, namespace).group_size == 8
    with pytest.raises(ParameterError, match="did you mean 'group_size'"):
        notebook.validate(params.MineParameters, namespace | {"group_sise": 4})


def test_what_is_about_to_run_is_printed(capsys):
    values = GOOD | {"strategy": {"kind": "candidates", "depth": 50}, "teacher": None, "training": {"documents": 10}}
    values |= {"losses": {"lce": {}, "kl": {"temperature": 2.0}}, "architecture": {"kind": "static_bi"}}
    notebook.describe(params.parse(params.TrainParameters, values, "parameters"))
    lines = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert lines["collection"] == "embedded-smallest-additive-13/train"
    assert lines["strategy"] == "candidates(depth=50)"
    assert lines["losses"] == "lce, kl(temperature=2.0)"

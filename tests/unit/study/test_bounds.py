"""Types of parameters: which numbers, names, paths and measures are accepted, and what is said of the others."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from rd_utils.companions.theory import held_out
from rd_utils.cost import devices
from rd_utils.study import bounds, params, studies
from rd_utils.study.params import ParameterError


def said(annotation: Any, value: Any) -> str:
    """Return what is said of a value; nothing where it is accepted."""
    try:
        TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        return error.errors()[0]["msg"]
    return ""


@pytest.mark.parametrize(
    ("annotation", "accepted", "refused"),
    [
        (bounds.Seed, [0, 2**63 - 1, 2e4], [-1, 2**63, 1.5, True, "1", None, math.nan, math.inf, 10**400]),
        (bounds.Count, [1, 10**12], [0, 10**12 + 1, True, 0.5]),
        (bounds.Depth, [1, 10**6], [0, 10**6 + 1]),
        (bounds.Share, [0, 1, 0.5], [-0.1, 1.1, math.nan, False, "0.5"]),
        (bounds.BelowOne, [0, 0.999], [1, 1.0, -1e-9, math.nan]),
        (bounds.Rate, [1e-5, 1, 10], [0, -1e-5, 10.001, math.inf, 1e9]),
        (bounds.Temperature, [1e-6, 1, 1e12], [0, -1, 1e-7, 1e13, math.inf]),
        (bounds.Margin, [1e-6, 0.02, 0.999], [0, 1, 64, math.inf, math.nan, -0.02]),
        (bounds.Alpha, [0.05, 0.499], [0, 0.5, 5e-324]),
        (bounds.Level, [0.51, 0.999], [0.5, 1, 95]),
        (bounds.Flag, [True, False], [0, 1, "yes", "true", None]),
        (bounds.Name, ["a", "kl-T4", "hn_v1.2+x@y", "x" * 80], ["", " ", "a/b", "..", ".a", "-a", "a b", "x" * 81, "é", "a\n", 5, b"a"]),
        (bounds.PathText, ["a/b.tsv", "/a b", "~/x", "é"], ["", " ", "a\0b", "a\nb", "~nobody/x", "x" * 256]),
        (bounds.ModelText, ["bert-base-uncased", "package:a/b", "./x"], ["package:", "package:a", "package:../b", "package:a.b/c"]),
        (bounds.MeasureName, ["nDCG@10", "AP(rel=2)", "IPrec@0.1"], ["nDCG@0", "R@000", "P@1000000", "a b", "nDCG@-1", "f()()", "AP\n"]),
        (bounds.Measures, [["AP"], ["AP", "RR"]], [[], ["AP", "AP"], "AP"]),
        (bounds.Seeds, [[0], [0, 1]], [[], [0, 0], [1, 1.0]]),
    ],
)  # fmt: skip
def test_what_is_accepted_and_what_is_not(annotation, accepted, refused):
    assert [value for value in accepted if said(annotation, value)] == []
    assert [value for value in refused if not said(annotation, value)] == []


def test_a_refusal_says_what_the_value_is_and_what_is_right():
    assert said(bounds.Count, True).endswith("True is no whole number; write one, without quotes")
    assert said(bounds.Rate, "1e-5").endswith("'1e-5' is no number; write one, without quotes")
    assert said(bounds.Count, 1.5).endswith("1.5 is no whole number; it has a fraction")
    assert "'nDCG@0' has the cutoff 0; expected one from 1 to 999,999" in said(bounds.MeasureName, "nDCG@0")
    assert said(bounds.Seeds, [3, 4, 3]).endswith("3 repeats in [3, 4, 3]; name each once")
    assert len(said(bounds.Name, "x" * 5_000)) < 250


def test_what_is_shown_of_a_value_is_short_and_printable():
    endless: list[Any] = []
    endless.append(endless)
    for value in ("x" * 10_000, "\ud800", "\u202e", 10**5_000, endless, ["x" * 99] * 99):
        text = bounds.shown(value)
        assert len(text) <= 70 and text.encode() and text.isprintable()


def unbounded(annotation: Any) -> bool:
    """Tell whether a type takes any number, truth value or text whatever."""
    if get_origin(annotation) in (Annotated, Literal):
        return False
    return annotation in (int, float, bool, str) or any(unbounded(argument) for argument in get_args(annotation))


@pytest.mark.parametrize("module", [params, studies, held_out, devices])
def test_no_field_of_a_parameter_class_is_without_bounds(module):
    classes = [part for part in vars(module).values() if isinstance(part, type) and issubclass(part, BaseModel)]
    fields = [
        f"{model.__name__}.{name}"
        for model in classes
        for name, field in model.model_fields.items()
        if not field.metadata and unbounded(field.annotation)
    ]
    assert classes and set(fields) <= {"Benchmark.device"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"betas": [0.9, 1.0]}, "training.betas[1]: Input should be less than 1, not 1.0"),
        ({"betas": [math.nan, 0.9]}, "training.betas[0]: Input should be a finite number, not nan"),
        ({"learning_rate": 1e9}, "training.learning_rate: Input should be less than or equal to 10, not 1000000000.0"),
        ({"documents": True}, "training.documents: True is no whole number"),
        ({"weight_decay": 1}, "training.weight_decay: Input should be less than 1, not 1"),
        ({"in_batch_negatives": 1}, "training.in_batch_negatives: 1 is neither true nor false"),
    ],
)
def test_settings_of_the_optimiser_that_mean_nothing_are_refused(change, message):
    values = {"collection": {"source": "embedded"}, "strategy": {"kind": "corpus_random"}, "architecture": {"kind": "static_bi"}}
    values |= {"losses": {"lce": {}}, "training": {"documents": 10}}
    params.parse(params.TrainParameters, values, "parameters")
    with pytest.raises(ParameterError) as error:
        params.parse(params.TrainParameters, values | {"training": {"documents": 10} | change}, "parameters")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rule": "share", "value": 1.5}, "value is 1.5; expected a share of the positive's score, at most 1"),
        ({"units": "sigmoid", "value": 1.0}, "in units of sigmoid scores are probabilities, so expected a margin below 1"),
        ({"value": math.inf}, "value: Input should be a finite number, not inf"),
    ],
)
def test_margins_of_filters_are_of_their_units(values, message):
    params.parse(params.FalseNegativeFilter, {"teacher": {"kind": "bm25"}, "value": 12.0}, "parameters")  # raw scores of BM25
    with pytest.raises(ParameterError) as error:
        params.parse(params.FalseNegativeFilter, {"teacher": {"kind": "bm25"}} | values, "parameters")
    assert message in str(error.value)


def test_rates_of_a_search_are_rates_after_the_ratio_too():
    with pytest.raises(ParameterError, match="embedding_ratio is 1000, which makes a learning rate of 100 of 0.1"):
        params.parse(studies.SearchedRates, {"learning_rates": [0.1, 0.01], "embedding_ratio": 1000}, "parameters")
    with pytest.raises(ParameterError, match="0.1 repeats"):
        params.parse(studies.SearchedRates, {"learning_rates": [0.1, 0.1]}, "parameters")


def test_heads_divide_the_dimension():
    with pytest.raises(ParameterError, match="4 heads do not divide the dimension 10"):
        params.parse(params.TinyBertBi, {"dimension": 10}, "parameters")


@pytest.mark.parametrize("kind", [params.TinyBertBi, params.TinyBertCross])
def test_words_are_not_weighted_where_a_normalisation_would_undo_it(kind):
    with pytest.raises(ParameterError, match="word_weights: 'idf' is not a valid value; .choices: equal"):
        params.parse(kind, {"word_weights": "idf"}, "parameters")

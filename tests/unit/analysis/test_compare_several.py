"""More than two systems: every pair, both questions corrected, and groups of equivalent ones."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy import stats as scipy_stats

from rd_utils.analysis import compare
from rd_utils.store import StoreError
from rd_utils.study.params import ParameterError
from tests import commands
from tests.unit.analysis import test_compare as two

asked = functools.partial(commands.asked, compare)
record = functools.partial(commands.recorded, compare)
study = two.study
RANDOM = "static-corpus_random-lce"


def written(shifts: dict[str, float], spread: float = 0.03) -> dict[str, np.ndarray]:
    """Write a file of four systems whose means are apart by shifts; return their values."""
    rng = np.random.default_rng(3)
    base = rng.uniform(0.2, 0.8, 80)
    values = {name: base + shift + rng.normal(0, spread, 80) for name, shift in shifts.items()}
    rows = [(name, f"q{n}", "nDCG@10", value) for name, own in values.items() for n, value in enumerate(own)]
    pd.DataFrame(rows, columns=["name", "qid", "measure", "value"]).to_csv("r.csv", index=False)
    return values


def test_every_pair_is_asked_and_corrected_as_scipy_and_pingouin_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = written({"a": 0.0, "b": 0.004, "c": 0.02, "d": 0.1})
    found = record(*(f"r.csv#{name}" for name in values), "--margin", "0.015")
    (matrix,) = found["matrices"]
    pairs = list(itertools.combinations(values, 2))
    tests = [scipy_stats.ttest_rel(values[b], values[a]) for a, b in pairs]
    tosts = [pingouin.tost(values[b], values[a], bound=0.015, paired=True)["pval"].iloc[0] for a, b in pairs]
    assert [(row["a"], row["b"]) for row in matrix["pairs"]] == [(a.upper(), b.upper()) for a, b in pairs]
    for name, expected in {
        "difference": [values[b].mean() - values[a].mean() for a, b in pairs],
        "p_difference": [test.pvalue for test in tests],
        "low": [test.confidence_interval(0.95).low for test in tests],
        "p_holm": pingouin.multicomp([test.pvalue for test in tests], method="holm")[1],
        "p_equivalence": tosts,
        "p_equivalence_holm": pingouin.multicomp(tosts, method="holm")[1],
    }.items():
        assert [row[name] for row in matrix["pairs"]] == pytest.approx(list(expected)), name
    words = {(True, False): "different", (False, True): "equivalent", (True, True): "both", (False, False): "undecided"}
    assert [row["verdict"] for row in matrix["pairs"]] == [
        words[row["p_holm"] < 0.05, row["p_equivalence_holm"] < 0.05] for row in matrix["pairs"]
    ]
    assert matrix["means"] == pytest.approx({name.upper(): own.mean() for name, own in values.items()})
    assert found["systems"] == {name.upper(): f"r.csv#{name}" for name in values}


def test_groups_are_cliques_and_chains_are_not_joined(tmp_path, monkeypatch):
    """b is equivalent to both others, which are not to each other."""
    monkeypatch.chdir(tmp_path)
    written({"a": 0.0, "b": 0.015, "c": 0.03, "d": 0.3}, spread=0.01)
    found = record(*(f"r.csv#{name}" for name in "abcd"))
    assert found["matrices"][0]["groups"] == [["A", "B"], ["B", "C"]]
    text = asked(*(f"r.csv#{name}" for name in "abcd"))
    assert text.splitlines()[0] == found["answer"] and found["answer"].startswith("D (r.csv#d) is highest, and different from all others:")
    assert "groups of systems that are all equivalent to each other: a = A, B; b = B, C" in text
    assert two.table(text, "group") == ["a", "ab", "b", "-"]
    assert two.table(text, "pair") == ["B - A", "C - A", "D - A", "C - B", "D - B", "D - C"]
    assert "Holm's method corrects each of the two questions for the 6 pairs" in text


def test_one_seed_a_system_says_nothing_of_students_where_files_have_no_seeds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written({"a": 0.0, "b": 0.1, "c": 0.2})
    text = asked("r.csv#a", "r.csv#b", "r.csv#c")
    assert "these students only" not in text and "seeds needed" not in text


def test_seeds_of_three_sides_are_pooled_and_sides_may_have_other_numbers_of_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written({f"{name}{seed}": 0.1 * place + 0.01 * seed for place, name in enumerate("abc") for seed in range(3)})
    sides = [",".join(f"r.csv#{name}{seed}" for seed in range(3)) for name in "abc"]
    (matrix,) = record(*sides)["matrices"]
    assert matrix["n_seeds"] == {"A": 3, "B": 3, "C": 3} and [row["n_seeds"] for row in matrix["pairs"]] == [3, 3, 3]
    (uneven,) = record(*sides[:2], "r.csv#c0,r.csv#c1")["matrices"]
    assert [row["n_seeds"] for row in uneven["pairs"]] == [3, 5, 5]
    assert "pooled over all systems" in asked(*sides) and "over queries and seeds" in asked(*sides)


# --- rows of studies ----------------------------------------------------------------------------------------------------------


def test_three_rows_of_a_study_have_a_matrix_in_each_place(study):
    this = two.finish(study, two.LCE, two.KL, RANDOM)
    two.rank_by_hand(this, "BM25", -0.2)
    found = record("bm25", two.LCE, two.KL, "--study", study)
    assert [matrix["first_stage"] for matrix in found["matrices"]] == ["bm25@100", "full"]
    for matrix in found["matrices"]:
        assert [row["difference"] for row in matrix["pairs"]] == pytest.approx([0.2, 0.4, 0.2])
        assert matrix["n_seeds"] == {"A": 1, "B": 2, "C": 2} and matrix["collection"] == this.labels[0]
    assert found["costs"] == [] and found["answer"].startswith("3 systems in 2 places: ")
    text = asked(RANDOM, two.LCE, two.KL, "--study", study)
    assert text.startswith("3 systems in 2 places: ") and "  full: C (" + two.KL + ") is highest" in text
    assert two.table(text, "CPU seconds a seed") == ["A", "B", "C"]


def test_rows_of_several_studies_are_named_with_their_study(study, tmp_path):
    two.finish(study, two.LCE)
    (tmp_path / "more").mkdir()
    other = two.written(tmp_path / "more", name="other")
    two.finish(other, two.KL)
    named = record(f"{study}:{two.LCE}", f"{other}:{two.KL}")
    assert named == record(two.LCE, two.KL, "--study", study, "--study", other)
    beside = record(two.LCE, f"{other}:{two.KL}", "--study", study)
    assert beside["comparisons"] == named["comparisons"]


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ((two.LCE, two.KL, two.LCE), "A and C are one cell, static-bm25-lce; name two"),
        ((two.LCE, two.KL, "nobody"), "no cell 'nobody'"),
    ],
)
def test_rows_that_are_refused(outputs, sides, message):
    with pytest.raises(ParameterError, match=message):
        asked(*sides, "--study", two.ROOT / "params" / "smallest.yaml")


def test_a_row_beside_a_file_is_refused_and_an_unfinished_one_says_what_makes_it(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError, match=r"study.yaml:bm25 is a row of a study, r.csv is not; name it as STUDY.yaml:CELL"):
        asked("study.yaml:bm25", "r.csv")
    with pytest.raises(ParameterError, match="is a row of a study, which has qrels; leave --qrels out"):
        asked("study.yaml:bm25", "r.csv", "--qrels", "q")
    with pytest.raises(StoreError, match="`rd run study.yaml` makes what is missing"):
        asked(f"study.yaml:{two.LCE}", f"study.yaml:{two.KL}", f"study.yaml:{RANDOM}")

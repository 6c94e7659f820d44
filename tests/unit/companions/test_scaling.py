"""Lines over sizes: recovered, covered as often as said, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from studies_on_disk import put_results

from rd_utils.companions import scaling

SIZES = np.array([8_000, 32_000, 128_000, 512_000])


def test_a_line_is_found_where_there_is_one_and_tau_is_nothing() -> None:
    line = scaling.fit(SIZES, 0.05 - 0.004 * np.log2(SIZES / 8_000), [1e-6] * 4)
    assert (line.at_base, line.slope, line.tau) == pytest.approx((0.05, -0.004, 0.0), abs=1e-9)
    assert line.trend() == "shrinks"
    assert line.predicted(16_000)[0] == pytest.approx(0.046)


def test_with_equal_variances_the_line_is_that_of_least_squares() -> None:
    y = np.array([0.01, 0.03, 0.02, 0.05])
    line = scaling.fit(SIZES, y, [1e-5] * 4)
    assert (line.slope, line.at_base) == pytest.approx(tuple(np.polyfit(np.log2(SIZES / 8_000), y, 1)))


def test_tau_makes_the_weighted_squares_what_is_expected() -> None:
    y, v = np.array([0.01, 0.08, 0.02, 0.09]), np.array([1e-5, 2e-5, 1e-5, 3e-5])
    line = scaling.fit(SIZES, y, v)
    residuals = y - line.at_base - line.slope * np.log2(SIZES / 8_000)
    assert ((residuals**2) / (v + line.tau**2)).sum() == pytest.approx(2.0, rel=1e-6)


def test_the_slope_is_covered_as_often_as_said() -> None:
    rng, held = np.random.default_rng(1), 0
    for _ in range(300):
        y = 0.02 + 0.003 * np.log2(SIZES / 8_000) + rng.normal(scale=0.01, size=4)
        low, high = scaling.fit(SIZES, y, [1e-4] * 4).slope_interval()
        held += low < 0.003 < high
    assert 0.93 <= held / 300 <= 1.0


def test_the_further_the_less_is_known() -> None:
    line = scaling.fit(SIZES, [0.01, 0.02, 0.02, 0.04], [1e-5] * 4)
    widths = [high - low for _, low, high in (line.predicted(size) for size in (64_000, 8_841_823))]
    assert widths[1] > 1.5 * widths[0]
    assert scaling.fit(SIZES, [0.0, 0.01, -0.01, 0.0], [1e-4] * 4).trend() == "no trend shown"


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ValueError, match="three sizes or more"):
        scaling.fit([1, 2], [0.1, 0.2], [1e-4] * 2)
    with pytest.raises(ValueError, match="not above 0"):
        scaling.fit([1, 2, 0], [0.1, 0.2, 0.3], [1e-4] * 3)


EFFECT = {
    ("bm25", "lce"): 0.02,
    ("corpus_random", "lce"): 0.0,
    ("bm25", "kl"): 0.03,
    ("corpus_random", "kl"): 0.0,
    ("pooled_filtered", "kl"): 0.05,
}


def exported(folder: Path, name: str, sizes: dict[str, dict[str, int]], seen: int, growth: dict[str, float]) -> None:
    """Write results in which the effects of BM25's negatives grow by so much a collection."""
    rows = [
        [f"bi-{strategy}-{loss}", strategy, loss, place, seed, f"q{query}", query / 40 + effect + (strategy == "bm25") * growth[place]]
        for place in sizes for (strategy, loss), effect in EFFECT.items() for seed in range(2) for query in range(20)
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["cell", "strategy", "loss", "collection", "seed", "query_id", "value"])
    table["value"] += np.random.default_rng(0).normal(scale=1e-3, size=len(table))
    about = {"system": "student", "architecture": "bi", "augmentation": "none", "cut": "all", "first_stage": "full", "teacher": "t"}
    tables = {
        "per_query": table.assign(**about, target_entropy=np.nan, temperature=1.0, test_collection=table["collection"]),
        "cells": pd.DataFrame({"documents_seen": [seen]}),
    }
    put_results(folder, {"study": name, "collections": sizes}, tables)


def test_effects_are_read_with_their_sizes_and_every_axis_has_its_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params").mkdir()
    sizes = {name: {"documents": documents, "training_queries": 10} for name, documents in {"a": 1000, "b": 2000, "c": 4000}.items()}
    exported(tmp_path / "results" / "scaling_documents", "scaling_documents", sizes, 64, {"a": 0.0, "b": 0.01, "c": 0.02})
    for number in range(3):
        small = {"a": {"documents": 1000, "training_queries": 10}}
        exported(tmp_path / "results" / f"scaling_{number}", f"scaling_{number}", small, 100 * 4**number, {"a": 0.0})
    read = scaling.estimates("results/scaling_*")
    assert read.groupby("axis")["size"].unique().map(sorted).to_dict() == {
        "documents": [1000, 2000, 4000],
        "documents_seen": [100, 400, 1600],
    }
    table = scaling.lines(read).set_index(["axis", "contrast"])
    grown = table.loc[("documents", "BM25 less random, under LCE")]
    assert (grown["at_base"], grown["slope"], grown["n"]) == (pytest.approx(0.02, abs=1e-3), pytest.approx(0.01, abs=1e-3), 3)
    assert (
        grown["far"] == pytest.approx(0.02 + 0.01 * np.log2(8_841_823 / 1000), abs=0.02)
        and grown["far_low"] < grown["far"] < grown["far_high"]
    )
    assert table.loc[("documents_seen", "BM25 less random, under LCE"), "slope"] == pytest.approx(0.0, abs=1e-3)
    words = scaling.in_words(scaling.lines(read))
    assert words[0].startswith("More documents in the collection: BM25 less random, under LCE (bi) grows by +0.0")
    assert words[1].startswith("At MS MARCO's 8,841,823 the lines are sure of the sign of ") and words[2].startswith(
        "More documents that a student sees: "
    )


def test_words_say_where_an_effect_turns():
    line = scaling.fit(SIZES, 0.02 - 0.005 * np.log2(SIZES / 8_000), [1e-8] * len(SIZES))
    row = {"axis": "documents", "contrast": "a less b", "architecture": "bi", "n": 4, "at_base": line.at_base, "slope": line.slope}
    row |= {"trend": line.trend(), "far": -0.03, "far_low": -0.04, "far_high": -0.02, "line": line}
    flat = row | {"contrast": "c less d", "trend": scaling.NO_TREND, "far": 0.0, "far_low": -0.1, "far_high": 0.1}
    assert scaling.in_words(pd.DataFrame([row, flat])) == [
        "More documents in the collection: a less b (bi) turns at 100,000, by -0.0050 a doubling from +0.020; the other 1: no trend shown.",
        "At MS MARCO's 8,841,823 the lines are sure of the sign of 1 of 2 effects: a less b (bi): -0.030.",
    ]
    assert scaling.in_words(pd.DataFrame([flat]))[0] == "More documents in the collection: all 1: no trend shown."


def test_a_study_that_varies_two_things_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params").mkdir()
    sizes = {"a": {"documents": 1000, "training_queries": 10}, "b": {"documents": 2000, "training_queries": 20}}
    exported(tmp_path / "results" / "both", "both", sizes, 64, {"a": 0.0, "b": 0.0})
    with pytest.raises(ValueError, match="both varies documents, training_queries"):
        scaling.estimates("results/both")

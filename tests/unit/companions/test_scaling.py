"""Lines over sizes: recovered, covered as often as said, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

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


def test_every_effect_has_a_line_by_the_sizes_of_studies_or_collections() -> None:
    rows = [
        [0, contrast.name, study, collection, "t", "bi", "full", 0.01 * number, 1e-5, 300, 3]
        for contrast in scaling.EFFECTS.contrasts
        for number, (study, collection) in enumerate([("s", "a"), ("s", "b"), ("s", "c")], 1)
    ]
    names = ["claim", "contrast", "study", "collection", "test_collection", "architecture", "first_stage", "estimate", "variance"]
    table = scaling.lines(pd.DataFrame(rows, columns=[*names, "n_queries", "n_seeds"]), {"a": 1.0, "b": 2.0, "c": 4.0})
    assert table["slope"].tolist() == pytest.approx([0.01] * 4) and set(table["contrast"]) == {c.name for c in scaling.EFFECTS.contrasts}

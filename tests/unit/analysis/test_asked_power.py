"""What the command power answers, by the formulas behind it, by simulation, and from two runs; and what it refuses."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy import stats as scipy_stats

from rd_utils.analysis import asked_power, crossed, power
from rd_utils.analysis.crossed import Spread
from rd_utils.study.params import ParameterError
from tests import commands

QRELS = "".join(f"q{n} 0 r 1\n" for n in range(40))


asked = functools.partial(commands.asked, asked_power)
record = functools.partial(commands.recorded, asked_power)


def test_without_seeds_it_is_the_exact_power_of_paired_tost():
    found = record("--sd-queries", 0.2, "--queries", 1000, "--margin", 0.02)
    assert found["queries"] == {"1": power.queries_needed(0.2, 0.02)} == {"1": 858}
    margin = found["margins"]["1000"]["1"]
    assert power.tost_power(1000, 0.2, margin) == pytest.approx(0.8, abs=2e-3)
    assert found["seeds"] == {} and found["basis"] == "as given"


def test_a_margin_is_shown_as_often_as_it_is_promised():
    (margin,) = record("--sd-queries", 0.25, "--queries", 120, "--alpha", 0.1)["margins"]["120"].values()
    values = np.random.default_rng(0).normal(0, 0.25, (20_000, 120))
    half = scipy_stats.t(119).ppf(0.9) * values.std(axis=1, ddof=1) / 120**0.5
    shown = (np.abs(values.mean(axis=1)) + half < margin).mean()
    assert shown == pytest.approx(0.8, abs=0.01)


def test_seeds_and_queries_that_a_margin_needs():
    found = record("--sd-queries", 0.1, "--sd-seeds", 0.01, "--queries", 1000, "--margin", 0.02)
    spread = Spread(0.1, 0.01, 0.0)
    assert found["spread"] == spread._asdict()
    assert found["seeds"] == {"1000": crossed.seeds_needed(spread, 0.02, 1000)} == {"1000": 5}
    assert list(found["margins"]["1000"]) == ["1", "3", "5", "10"]
    assert found["queries"]["3"] == crossed.queries_needed(spread, 0.02, 3)
    text = asked("--sd-queries", 0.2, "--sd-seeds", 0.03, "--queries", 300, "--seeds", 3)
    assert "none are enough" in text and "seeds that it needs with 300 queries" in text


def test_a_pilot_gives_the_spread_of_its_differences(tmp_path):
    rng = np.random.default_rng(1)
    ranks = rng.integers(1, 9, (2, 40))
    for name, of_run in zip("ab", ranks, strict=True):
        lines = [
            f"q{query} Q0 {'r' if place == rank else f'x{place}'} {place} {10 - place} {name}"
            for query, rank in enumerate(of_run)
            for place in range(1, rank + 1)
        ]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    (tmp_path / "qrels").write_text(QRELS)
    found = record("--pilot", tmp_path / "a", tmp_path / "b", "--qrels", tmp_path / "qrels", "--measure", "RR@10")
    assert found["spread"]["query"] == pytest.approx((1 / ranks[1] - 1 / ranks[0]).std(ddof=1))
    assert found["margins"].keys() == {str(n) for n in asked_power.QUERIES} and list(found["queries"]) == ["1"]
    assert "RR@10 of the pilot runs on 40 judged queries" in found["basis"] and "nothing of seeds" in found["notes"][0]
    (tmp_path / "same").write_text((tmp_path / "a").read_text())
    with pytest.raises(ParameterError, match="differ on too few of 40"):
        asked("--pilot", tmp_path / "a", tmp_path / "same", "--qrels", tmp_path / "qrels")


def test_a_study_gives_its_spread_margin_and_alpha(monkeypatch, tmp_path):
    monkeypatch.setenv("RD_OUTPUTS", str(tmp_path))  # where no study has measured anything
    found = record("--study", "params/smallest.yaml", "--architecture", "static")
    assert found["basis"] == "assumed for static" and found["spread"]["seed"] == 0.002
    assert found["margin"] == 0.02 and found["alpha"] == 0.05


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--queries", 1), "--queries is 1; expected a whole number from 2"),
        (("--seeds", 0), "--seeds is 0; expected a whole number from 1"),
        (("--margin", 0), "--margin is 0.0; expected a number above 0 and below 1"),
        (("--alpha", "nan"), "--alpha is nan; expected a number above 0 and below 0.5"),
        (("--sd-queries", -1), "--sd-queries is -1.0; expected a number from 0 to 1"),
        (("--sd-queries", 0.2, "--study", "params/smallest.yaml"), "--sd-queries and --study exclude each other"),
        (("--sd-seeds", 0.1), "--sd-seeds needs --sd-queries"),
        (("--qrels", "q"), "--qrels needs --pilot"),
        (("--architecture", "bi"), "--architecture needs --study"),
        (("--pilot", "a", "b"), "--qrels is missing"),
        (("--pilot", "a", "b", "--qrels", "missing"), "there is no run"),
        (("--study", "params/smallest.yaml"), "--architecture is missing: params/smallest.yaml has static, interaction"),
        (("--study", "params/smallest.yaml", "--architecture", "statik"), "did you mean 'static'"),
    ],
)
def test_what_it_refuses(arguments, said):
    with pytest.raises(ParameterError) as error:
        asked(*arguments)
    assert said in str(error.value)

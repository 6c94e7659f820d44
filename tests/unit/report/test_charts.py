"""Charts are checked by their specifications, on frames made by hand, and by the width of what is drawn."""

from __future__ import annotations

import functools
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest

from rd_utils.analysis import verdicts
from rd_utils.report import charts, drawing, page, pictures
from rd_utils.report.charts import shared

NAN = float("nan")
STRATEGIES = ("corpus-random", "bm25", "dense", "teacher", "pooled", "pooled-filtered", "graph")
VERDICTS = tuple(drawing.VERDICTS)


# --- frames of a study, made by hand ----------------------------------------------------------------------------------


def make_results() -> pd.DataFrame:
    """Two strategies, two architectures, two seeds; the cross-encoder is not evaluated in full retrieval."""
    rows = []

    def add(system: str, cell: str, stage: str, values: list[float], strategy="", teacher="", loss="", architecture=""):
        for seed, value in enumerate(values):
            rows.append(
                {
                    "study": "toy",
                    "cell": cell,
                    "collection": "toy/train",
                    "strategy": strategy,
                    "teacher": teacher,
                    "loss": loss,
                    "architecture": architecture,
                    "augmentation": "none",
                    "cut": "all",
                    "temperature": 1.0,
                    "target_entropy": NAN,
                    "seed": seed if len(values) > 1 else -1,
                    "test_collection": "toy/test",
                    "first_stage": stage,
                    "measure": "nDCG@10",
                    "value": value,
                    "system": system,
                }
            )

    add("student", "bm25-kl-static", "bm25@100", [0.50, 0.54], "bm25", "oracle", "kl", "static")
    add("student", "random-kl-static", "bm25@100", [0.44, 0.46], "corpus_random", "oracle", "kl", "static")
    add("student", "bm25-lce-cross", "bm25@100", [0.60, 0.62], "bm25", "", "lce", "cross")
    add("student", "bm25-kl-static", "full", [0.40, 0.44], "bm25", "oracle", "kl", "static")
    add("student", "random-kl-static", "full", [0.43, 0.45], "corpus_random", "oracle", "kl", "static")
    add("teacher", "teacher oracle", "bm25@100", [0.80], teacher="oracle")
    add("untrained", "untrained static", "bm25@100", [0.30, 0.32], architecture="static")
    add("first_stage", "BM25", "bm25@100", [0.42])
    add("first_stage", "BM25", "full", [0.42])
    return pd.DataFrame(rows)


def make_summary(results: pd.DataFrame | None = None) -> pd.DataFrame:
    keys = [column for column in drawing.SUMMARY_COLUMNS if column not in ("mean", "sd", "n_seeds")]
    grouped = (make_results() if results is None else results).groupby(keys, sort=False, dropna=False)["value"]
    return grouped.agg(mean="mean", sd="std", n_seeds="count").reset_index()


def make_differences() -> pd.DataFrame:
    rows = [
        ("bm25@100", "bm25 - corpus_random", "static", 0.07, 0.04, 0.10, "different"),
        ("bm25@100", "dense - corpus_random", "static", 0.001, -0.008, 0.010, "equivalent"),
        ("full", "bm25 - corpus_random", "static", 0.01, 0.002, 0.018, "both"),
        ("bm25@100", "bm25 - corpus_random", "cross", 0.02, -0.03, 0.07, "undecided"),
    ]
    return pd.DataFrame(
        [
            {
                "collection": "toy/train",
                "test_collection": "toy/test",
                "first_stage": stage,
                "measure": "nDCG@10",
                "family": "strategy",
                "contrast": contrast,
                "strategy": contrast.split(" ")[0],
                "augmentation": "none",
                "cut": "all",
                "temperature": 1.0,
                "target_entropy": NAN,
                "architecture": architecture,
                "loss": "kl",
                "teacher": "oracle",
                "difference": difference,
                "low": low,
                "high": high,
                "n_queries": 50,
                "n_seeds": 2,
                "p_difference": 0.0314,
                "p_equivalence": 0.2,
                "p_holm": 0.0004 if verdict == "different" else 0.25,
                "equivalent": verdict in ("equivalent", "both"),
                "different": verdict in ("different", "both"),
                "verdict": verdict,
                "verdict_queries": verdict,
                "smallest_margin": max(abs(low), abs(high)),
                "equivalence_margin": 0.02,
            }
            for stage, contrast, architecture, difference, low, high, verdict in rows
        ]
    )


def make_entropy() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "strategy": ["corpus_random", "bm25"] * 2,
            "teacher": ["oracle", "oracle", "weak", "weak"],
            "pairwise_entropy": [0.2, 0.4, 0.5, 0.7],
            "positive_entropy": [0.1, 0.3, 0.2, 0.6],
            "listwise_entropy": [0.15, 0.35, 0.45, 0.9],
        }
    )


def make_history(cells: int = 2) -> pd.DataFrame:
    rows = [(f"cell {c}", seed, step, 2.0 - step / 100 + c) for c in range(cells) for seed in (0, 1) for step in (0, 50, 100)]
    return pd.DataFrame(rows, columns=["cell", "seed", "step", "loss"])


def make_across() -> pd.DataFrame:
    """Two contrasts over three collections, and one that one collection only has."""
    rows = [
        ("bm25@100", "bm25 - corpus_random", 3, 0.02, 0.005, 0.0076, 0.0324),
        ("full", "bm25 - corpus_random", 3, 0.01, 0.02, -0.04, 0.06),
    ]
    rows += [("full", "dense - corpus_random", 1, -0.01, NAN, NAN, NAN)]
    about = {"measure": "nDCG@10", "family": "strategy", "teacher": "", "loss": "lce", "architecture": "static", "augmentation": "none"}
    about |= {"cut": "all", "temperature": 1.0, "target_entropy": NAN}
    names = ["first_stage", "contrast", "n_collections", "mean", "sd", "low", "high"]
    table = pd.DataFrame([about | dict(zip(names, row, strict=True)) for row in rows])
    return table.assign(strategy=[row[1].split(" ")[0] for row in rows], n_positive=[3, 2, 0], different=[2, 1, 0], equivalent=[1, 1, 0])


def make_search() -> pd.DataFrame:
    values = {"lce": (0.51, 0.55, 0.40), "kl": (0.50, 0.52, 0.56)}
    rows = [("static", loss, loss * 4, rate, value, value == max(of)) for loss, of in values.items()
            for rate, value in zip((0.003, 0.01, 0.03), of, strict=True)]  # fmt: skip
    return pd.DataFrame(rows, columns=["architecture", "loss", "search", "learning_rate", "nDCG@10", "chosen"])


def make_descriptions() -> pd.DataFrame:
    """Two strategies as they are drawn; one of them also with spans, which bring its groups together."""
    about = {"collection": "toy/train", "teacher": "oracle", "cut": "all", "temperature": 1.0, "target_entropy": NAN, "coverage": 0.25}
    rows = [
        ("corpus_random", "none", "before", 0.9, 0.2, 1.0),
        ("bm25", "none", "before", 0.6, 0.5, 2.5),
        ("bm25", "spans", "before", 0.6, 0.5, 2.5),
        ("bm25", "spans", "after", 0.5, 0.4, 2.5),
    ]
    names = ["strategy", "augmentation", "state", "diameter_q99", "pairwise_entropy", "density_ratio"]
    return pd.DataFrame([about | dict(zip(names, row, strict=True)) for row in rows])


def make_factorial() -> pd.DataFrame:
    """The summary of two strategies that fix a diameter, two target entropies and two losses; and one cell without a target."""
    one = make_summary().query("cell == 'bm25-kl-static'")
    cells = [
        one.assign(cell=f"{strategy}-{loss}-H{target:g}", strategy=strategy, loss=loss, target_entropy=target, mean=mean)
        for loss, means in (("kl", (0.4, 0.5, 0.6, 0.7)), ("ranknet", (0.1, 0.2, 0.3, 0.345)))
        for (strategy, target), mean in zip(
            [("diameter_90", 0.7), ("diameter_90", 0.2), ("diameter_10", 0.7), ("diameter_10", 0.2)], means, strict=True
        )
    ]
    return pd.concat([one, *cells], ignore_index=True)


def contrasts_of(family: str, losses: int = 3, strategies: int = 8, architectures: int = 2) -> pd.DataFrame:
    """The contrasts of one family in a full grid, as the analysis lists them."""
    one = make_differences().iloc[[0]].assign(family=family)
    rows = []
    for architecture in range(architectures):
        for loss in range(losses):
            for strategy in range(strategies):
                contrast = f"loss{loss} - lce" if family == "loss" else f"s{strategy} - random"
                names = {"architecture": f"a{architecture}", "loss": f"loss{loss}", "strategy": f"s{strategy}"}
                rows.append(one.assign(contrast=contrast, difference=strategy / 100, **names))
    return pd.concat(rows, ignore_index=True)


# --- frames of single charts, made by hand ----------------------------------------------------------------------------


def make_pairs(n: int = 4) -> pd.DataFrame:
    """All pairs of n systems; the further apart, the larger the difference, the verdicts by turns."""
    names = [f"{STRATEGIES[i % 7]}-{('lce', 'kl', 'ranknet')[i // 7]}" for i in range(n)]
    rows = [
        {
            "system_a": names[i], "system_b": names[j], "difference": (i - j) / 100 + 0.002, "verdict": VERDICTS[(i + j) % 4],
            "p_holm": 0.01, "p_equivalence_holm": 0.2, "smallest_margin": 0.03,
        }
        for i, j in itertools.combinations(range(n), 2)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def make_letters(n: int = 4) -> dict[str, str]:
    pairs = make_pairs(n)
    names = list(dict.fromkeys([*pairs["system_a"], *pairs["system_b"]]))
    return {name: "abcdefghijklmnopqrstuvwxyz"[i // 2] + ("z" if i % 3 else "") for i, name in enumerate(names)}


def make_groups(n: int = 60) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    strategy = np.arange(n) % 7
    return pd.DataFrame(
        {
            "query_id": [str(i) for i in range(n)],
            "strategy": [STRATEGIES[s] for s in strategy],
            "pairwise_entropy": np.clip(0.1 * strategy + generator.normal(0.2, 0.08, n), 0, 1),
            "diameter_q99": np.clip(1.0 - 0.08 * strategy + generator.normal(0, 0.05, n), 0, 2),
            "query": [f"query number {i}: does a rather long question fit?" for i in range(n)],
            "documents": [f"the positive document of {i} | a first negative that is long | a second negative" for i in range(n)],
            "value": np.where(np.arange(n) % 5 == 0, NAN, generator.uniform(0, 1, n)),
        }
    )


def make_cells(n: int = 6, queries: int = 50) -> tuple[pd.DataFrame, pd.DataFrame]:
    generator = np.random.default_rng(1)
    names = [f"{STRATEGIES[i % 7]}-{('kl', 'ranknet')[i % 2]}-static-oracle" for i in range(n)]
    rows = [
        (name, str(q), float(np.clip(generator.normal(0.3 + 0.05 * i, 0.3), 0, 1))) for i, name in enumerate(names) for q in range(queries)
    ]
    per_query = pd.DataFrame(rows, columns=["cell", "query_id", "value"])
    return per_query, per_query.groupby("cell", sort=False)["value"].mean().rename("mean").reset_index().assign(sd=0.01)


def make_rates() -> pd.DataFrame:
    rows = [
        {
            "rule": rule, "n_queries": n, "true_difference": true, "rate": (rate := base * (1 + 0.1 * i) * (1 if true == 0 else n / 400)),
            "low": rate * 0.8, "high": min(1, rate * 1.2), "expected": 0.05 if true == 0 else NAN,
        }
        for true, base in ((0.0, 0.05), (0.01, 0.4), (0.02, 0.9))
        for i, rule in enumerate(("paired t", "TOST, fixed margin", "TOST, 0.1 % of the difference"))
        for n in (25, 50, 100, 200)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def make_behaviour() -> pd.DataFrame:
    levels = {"effective_rank": 80, "uniformity": -2.5, "intrinsic_dimension": 14, "diameter_q99": 0.8}
    rows = [
        (strategy, recipe, state, quantity, level * (1 + 0.04 * i + (0.2 if state == "after" else 0)))
        for quantity, level in levels.items()
        for recipe in ("static · kl · oracle", "static · lce", "cross · ranknet · oracle")
        for i, strategy in enumerate(STRATEGIES[:5])
        for state in ("before", "after")
        if not (quantity == "uniformity" and recipe.startswith("cross"))
    ]
    return pd.DataFrame(rows, columns=["strategy", "recipe", "state", "quantity", "value"])


def make_bins() -> pd.DataFrame:
    rows = [
        (strategy, recipe, state, p, float(np.clip(0.5 + (p - 0.5) * (0.9 if state == "after" else 0.4), 0, 1)), 1000 + 300 * i)
        for strategy in STRATEGIES[:3]
        for recipe in ("static · kl", "cross · kl")
        for state in ("before", "after")
        for i, p in enumerate((0.05, 0.25, 0.5, 0.75, 0.95))
    ]
    return pd.DataFrame(rows, columns=["strategy", "recipe", "state", "mean_student", "mean_teacher", "n_pairs"])


def make_correlations() -> pd.DataFrame:
    names = ("pairwise_entropy", "positive_entropy", "diameter_q99", "KL(teacher, student)")
    rows = [
        (loss, x, "nDCG@10", rho, rho - 0.15, rho + 0.15)
        for j, loss in enumerate(("kl", "ranknet"))
        for x, rho in zip(names, (-0.3 + j / 5, 0.1, 0.05, -0.45), strict=True)
    ]
    return pd.DataFrame(rows, columns=["loss", "x", "y", "spearman", "low", "high"])


def make_points() -> pd.DataFrame:
    costs = (3, 5, 20, 40, 90, 400, 410)
    rows = [
        (strategy, loss, 0.3 + 0.03 * i + 0.01 * j, 0.01 if j else NAN, float(cost * (1 + j)))
        for i, (strategy, cost) in enumerate(zip(STRATEGIES, costs, strict=True))
        for j, loss in enumerate(("lce", "kl"))
    ]
    frame = pd.DataFrame(rows, columns=["strategy", "loss", "value", "sd", "total_cpu_seconds"])
    best = frame.sort_values("total_cpu_seconds")["value"].cummax()
    return frame.assign(on_frontier=frame["value"] >= best.reindex(frame.index), joules=frame["total_cpu_seconds"] * 30)


def make_regret() -> pd.DataFrame:
    rules = {"advice": 0.004, "always-bm25": 0.012, "best-on-others": 0.008, "random": 0.02}
    rows = [
        (rule, left_out, value * (1 + i), value * (1 + i) * 0.5, value * (1 + i) * 1.6)
        for i, left_out in enumerate(("collection", "teacher", "architecture"))
        for rule, value in rules.items()
    ]
    return pd.DataFrame(rows, columns=["rule", "left_out", "regret", "low", "high"])


def make_terms() -> pd.DataFrame:
    rows = [
        ("risk, observed on test queries", 0.21, "observed", False),
        ("teacher's entropy (the floor)", 0.12, "observed", False),
        ("deviation, from the diameters", 0.56, "bound", False),
        ("times the density ratio", 3.4, "bound", True),
        ("through the VC dimension", 4.1e6, "bound", True),
        ("the loss's own range", 1.0, "trivial", False),
    ]
    return pd.DataFrame(rows, columns=["name", "value", "kind", "vacuous"])


def make_surface() -> pd.DataFrame:
    rows = [
        (loss, f"diameter_{d}", h, (mean := 0.4 + d / 1000 + (h * (1 - h)) * (0.1 + 0.1 * i)), mean - 0.012, mean + 0.012)
        for i, loss in enumerate(("kl", "ranknet"))
        for d in (10, 50, 90)
        for h in (0.1, 0.3, 0.5, 0.7)
    ]
    return pd.DataFrame(rows, columns=["loss", "strategy", "target_entropy", "mean", "low", "high"])


FRAMES = {
    "matrix": make_pairs,
    "queries": make_groups,
    "error_rate": make_rates,
    "behaviour": make_behaviour,
    "calibration": make_bins,
    "correlation": make_correlations,
    "pareto": make_points,
    "regret": make_regret,
    "bound": make_terms,
    "simple_effects": make_surface,
}


def make_charts() -> dict[str, Any]:
    """Every chart, and some at the sizes that they are hard at."""
    stages = pd.concat([make_pairs(5).assign(first_stage=stage) for stage in ("bm25@100", "full")])
    return {
        "effectiveness": charts.effectiveness_chart(make_summary(), make_results()),
        "forest": charts.forest_chart(make_differences()),
        "across": charts.across_chart(make_across()),
        "entropy": charts.entropy_chart(make_entropy()),
        "locality": charts.locality_chart(make_descriptions()),
        "surface": charts.surface_chart(make_factorial(), "nDCG@10"),
        "search": charts.search_chart(make_search(), "nDCG@10"),
        "learning": charts.learning_chart(make_history()),
        "learning_small": charts.learning_chart(make_history(cells=7)),
        "matrix": charts.matrix_chart(make_pairs(), make_letters()),
        "matrix_two": charts.matrix_chart(make_pairs(2)),
        "matrix_large": charts.matrix_chart(make_pairs(20), make_letters(20)),
        "matrix_panels": charts.matrix_chart(stages, by=["first_stage"]),
        "queries": charts.queries_chart(make_groups()),
        "cells": charts.cells_chart(*make_cells()),
        "error_rate": charts.error_rate_chart(make_rates()),
        "behaviour": charts.behaviour_chart(make_behaviour()),
        "calibration": charts.calibration_chart(make_bins()),
        "correlation": charts.correlation_chart(make_correlations(), by=["loss"]),
        "pareto": charts.pareto_chart(make_points(), measure="nDCG@10"),
        "pareto_panels": charts.pareto_chart(
            pd.concat([make_points().assign(architecture=a) for a in ("static", "cross")]), cost="joules", by=["architecture"]
        ),
        "regret": charts.regret_chart(make_regret(), measure="nDCG@10"),
        "bound": charts.bound_chart(make_terms(), title="RankNet loss (bits)"),
        "simple_effects": charts.simple_effects_chart(make_surface(), measure="nDCG@10", by=["loss"]),
    }


NAMES = (
    "effectiveness forest across entropy locality surface search learning learning_small matrix matrix_two matrix_large matrix_panels "
    "queries cells error_rate behaviour calibration correlation pareto pareto_panels regret bound simple_effects"
).split()


@functools.cache
def drawn_once() -> dict[str, Any]:
    made = make_charts()
    assert list(made) == NAMES  # which are written down, so that collecting tests draws nothing
    return made


@functools.cache
def spec_of(name: str) -> dict[str, Any]:
    """Return a chart's specification, validated against the Vega-Lite schema."""
    drawn_once()[name].to_dict(validate=True)
    return drawing.chart_spec(drawn_once()[name])


def units_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the marks of a chart, from all of its views."""
    parts = [part for key in ("layer", "hconcat", "vconcat") for part in spec.get(key, [])] + ([spec["spec"]] if "spec" in spec else [])
    return [unit for part in parts for unit in units_of(part)] if parts else [spec]


def layers_of(spec: dict) -> list[dict]:
    """Return the unit specifications of a chart."""
    inner = spec.get("spec", spec)
    return inner.get("layer", [inner])


def mark_of(layer: dict) -> str:
    return layer["mark"]["type"] if isinstance(layer["mark"], dict) else layer["mark"]


def fields_of(part: Any) -> set[str]:
    """Return all fields that a chart encodes or facets by; what a tooltip or the data holds does not count."""
    if isinstance(part, list):
        return set().union(*map(fields_of, part))
    if not isinstance(part, dict):
        return set()
    own = {part["field"]} if part.get("field") else set()
    return own.union(*(fields_of(value) for key, value in part.items() if key not in ("datasets", "config", "tooltip")))


def rows_in(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return spec["datasets"][spec["data"]["name"]]


def rows_of(name: str, role: str | None = None) -> list[dict[str, Any]]:
    return [row for row in rows_in(spec_of(name)) if role is None or row["role"] == role]


@functools.cache
def svg_of(name: str) -> str:
    return pictures._svg(spec_of(name))


# --- theme ------------------------------------------------------------------------------------------------------------


def test_importing_the_module_enables_no_theme() -> None:
    code = "import altair; before = altair.theme.active; from rd_utils.report import charts, layout; print(before, altair.theme.active)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["default", "default"]


def test_theme_holds_okabe_and_itos_colours_and_readable_text() -> None:
    config = drawing.theme()["config"]
    assert config["range"]["category"] == [
        "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442",
    ]  # fmt: skip
    assert min(config[part]["labelFontSize"] for part in ("axis", "header", "legend")) == 12


def test_theme_holds_within_its_block_only() -> None:
    chart = alt.Chart(pd.DataFrame({"a": [1]})).mark_point().encode(x="a:Q")
    with drawing.use_theme():
        assert alt.theme.active == "rd_utils"
        assert chart.to_dict()["config"]["axis"]["titlePadding"] == 8
    assert alt.theme.active == "default"
    assert "axis" not in chart.to_dict()["config"]


# --- all charts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("effectiveness", {"value", "row", "variant", "architecture", "first_stage", "label", "system"}),
        (
            "forest",
            {
                "difference",
                "low",
                "high",
                "row",
                "verdict",
                "comparison",
                "first_stage",
                "margin_low",
                "margin_high",
                "label",
            },
        ),
        ("entropy", {"value", "strategy", "label", "kind"}),
        ("learning", {"step", "loss", "seed", "cell"}),
        ("learning_small", {"step", "loss", "seed", "cell"}),
        ("across", {"mean", "low", "high", "row", "interval", "comparison", "first_stage"}),
        ("search", {"learning_rate", "value", "loss", "search", "architecture"}),
        ("locality", {"diameter_q99", "entropy", "strategy", "state", "name", "order", "label", "teacher"}),
        ("surface", {"target_entropy", "strategy", "mean", "text", "panel", "first_stage"}),
        ("matrix", {"row", "column", "verdict", "text", "letters"}),
        ("matrix_panels", {"row", "column", "verdict", "text", "panel"}),
        ("queries", {"diameter_q99", "entropy", "strategy", "place", "query", "documents"}),
        ("cells", {"mean", "cell", "place", "value"}),
        ("error_rate", {"n_queries", "rate", "low", "high", "rule", "panel", "expected", "nominal"}),
        ("behaviour", {"state", "value", "strategy", "recipe"}),
        ("calibration", {"mean_student", "mean_teacher", "state", "n_pairs", "panel"}),
        ("correlation", {"spearman", "low", "high", "row", "interval", "panel"}),
        ("pareto", {"cost", "value", "low", "high", "strategy", "loss", "name", "frontier"}),
        ("regret", {"regret", "low", "high", "row", "rule", "panel"}),
        ("bound", {"value", "name", "kind", "text", "smallest"}),
        ("simple_effects", {"target_entropy", "mean", "low", "high", "strategy", "panel"}),
    ],
)
def test_chart_is_valid_and_encodes_its_fields(name: str, fields: set[str]) -> None:
    assert fields_of(spec_of(name)) == fields
    assert spec_of(name)["config"]["range"]["category"] == list(drawing.PALETTE)


@pytest.mark.parametrize("name", NAMES)
def test_chart_fits_a_page_and_writes_what_it_should(name: str) -> None:
    svg = svg_of(name)
    assert float(re.search(r'width="([\d.]+)"', svg)[1]) <= charts.WIDEST
    assert "NaN" not in svg and "undefined" not in svg


@pytest.mark.parametrize("name", NAMES)
def test_chart_holds_its_frame_and_every_view_that_can_be_clicked_has_a_name(name: str) -> None:
    assert isinstance(drawn_once()[name].data, pd.DataFrame)
    for param in spec_of(name).get("params", []):
        assert not re.search(r"param_\d|view_\d", json.dumps([param["name"], param.get("views")]))


def test_charts_are_the_same_when_drawn_again() -> None:
    again = make_charts()
    for name in ("learning", "matrix", "queries", "cells", "pareto_panels"):
        assert json.dumps(spec_of(name)) == json.dumps(drawing.chart_spec(again[name]))


@pytest.mark.parametrize("name", FRAMES)
def test_chart_names_the_column_that_is_missing_and_leaves_its_frame_as_it_was(name: str) -> None:
    frame, draw = FRAMES[name](), charts.CHARTS[name]
    before = frame.copy()
    needed = [column for column in frame.columns if column not in ("value", "joules", "loss") or name in ("behaviour", "bound")]
    needed += ["value", "loss"] if name == "pareto" else []
    draw(frame) if name not in ("correlation", "simple_effects") else draw(frame, by=["loss"])
    pd.testing.assert_frame_equal(frame, before)
    for column in needed:
        with pytest.raises(ValueError, match=rf"lacks 1 column\(s\), the first is '{column}'"):
            draw(frame.drop(columns=column))
    with pytest.raises(ValueError, match="has no rows"):
        draw(frame.iloc[:0])


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("matrix", "difference"), ("queries", "diameter_q99"), ("error_rate", "low"), ("behaviour", "value"),
        ("calibration", "mean_teacher"), ("correlation", "high"), ("pareto", "value"), ("pareto", "total_cpu_seconds"),
        ("regret", "regret"), ("bound", "value"),
        ("simple_effects", "target_entropy"),
    ],
)  # fmt: skip
def test_a_missing_value_is_an_error_with_its_row(name: str, column: str) -> None:
    frame = FRAMES[name]()
    frame[column] = frame[column].astype(float)
    frame.loc[1, column] = NAN
    with pytest.raises(ValueError, match=rf"1 of {len(frame)} rows whose {column} is no finite number, the first is nan in row 1"):
        charts.CHARTS[name](frame)


@pytest.mark.parametrize("name", ["matrix", "error_rate", "behaviour", "calibration", "correlation", "regret", "bound", "simple_effects"])
def test_two_rows_in_one_place_are_an_error(name: str) -> None:
    frame = FRAMES[name]()
    with pytest.raises(ValueError, match=r"share .* with another, the first is"):
        charts.CHARTS[name](pd.concat([frame, frame.iloc[[0]]]))


@pytest.mark.parametrize(("name", "column"), [("matrix", "verdict"), ("behaviour", "state"), ("calibration", "state"), ("bound", "kind")])
def test_an_unknown_kind_is_an_error_that_lists_the_choices(name: str, column: str) -> None:
    frame = FRAMES[name]()
    frame.loc[2, column] = "befor"
    with pytest.raises(ValueError, match=rf"1 unknown {column}\(s\), the first is 'befor'.*choices: "):
        charts.CHARTS[name](frame)


@pytest.mark.parametrize("name", ["matrix", "queries", "pareto"])
def test_charts_are_saved_and_shown_in_the_report(name: str, tmp_path: Path) -> None:
    files = pictures.save_chart(drawn_once()[name], tmp_path / name)
    assert files.png.read_bytes()[:4] == b"\x89PNG" and files.svg.stat().st_size > 1000
    sections = [page.Section("One", blocks=[page.Figure(drawn_once()[name], "A chart.")])]
    text = page.html_report(sections, "Title", tmp_path / "page.html", page.Imprint("toy", "ab")).read_text(encoding="utf-8")
    assert 'id="figure-1-chart"' in text


def test_gains_have_a_panel_a_loss_and_a_line_a_strategy() -> None:
    rows = make_differences().iloc[[0, 0]].assign(family="strategy x loss", loss=["kl", "ranknet"])
    chart = charts.forest_chart(rows.assign(contrast=["bm25 - corpus_random, kl - lce", "bm25 - corpus_random, ranknet - lce"]))
    assert chart.data[["comparison", "row"]].to_numpy().tolist() == [
        ["static · kl - lce · oracle", "bm25 - corpus_random"],
        ["static · ranknet - lce · oracle", "bm25 - corpus_random"],
    ]


def test_a_verdict_on_one_seed_looks_as_others_and_the_legend_says_whom_it_is_of() -> None:
    frame = make_differences()
    chart = charts.forest_chart(frame.assign(verdict=frame["verdict"] + verdicts.THESE_ONLY))
    assert chart.data["verdict"].dropna().tolist() == frame["verdict"].tolist()
    layers = chart.to_dict()["spec"]["layer"]
    colours = [layer["encoding"]["color"] for layer in layers if "color" in layer.get("encoding", {})]
    assert {colour["title"] for colour in colours} == {"verdict, these students only"}


def test_charts_ask_for_a_choice_and_name_the_nearest() -> None:
    summary = pd.concat([make_summary(), make_summary().assign(measure="RR@10")])
    with pytest.raises(ValueError, match=r"2 values of measure: \['nDCG@10', 'RR@10'\]; pass measure="):
        charts.effectiveness_chart(summary, make_results())
    with pytest.raises(ValueError, match="no measure 'nDGC@10'; did you mean 'nDCG@10'"):
        charts.effectiveness_chart(summary, make_results(), measure="nDGC@10")
    with pytest.raises(ValueError, match="summary lacks 1 column.*'n_seeds'"):
        charts.effectiveness_chart(summary.drop(columns="n_seeds"), make_results())


# --- cells and their effectiveness ------------------------------------------------------------------------------------


def test_effectiveness_shows_means_seeds_and_each_baseline_where_it_belongs() -> None:
    rows = rows_of("effectiveness")
    means = {(r["cell"], r["first_stage"]): r["value"] for r in rows if r["role"] == "mean"}
    assert means[("bm25-kl-static", "bm25@100")] == pytest.approx(0.52)
    assert len(means) == 5
    assert sorted(r["value"] for r in rows if r["role"] == "seed" and r["cell"] == "random-kl-static") == [
        0.43,
        0.44,
        0.45,
        0.46,
    ]
    references = sorted((r["label"], r["architecture"], r["first_stage"]) for r in rows if r["role"] == "reference")
    assert references == [
        ("BM25", "cross", "bm25@100"),
        ("BM25", "static", "bm25@100"),
        ("BM25", "static", "full"),
        ("teacher oracle", "cross", "bm25@100"),
        ("teacher oracle", "static", "bm25@100"),
        ("untrained static", "static", "bm25@100"),
    ]
    notes = [(r["label"], r["architecture"], r["first_stage"]) for r in rows if r["role"] == "note"]
    assert notes == [("not evaluated", "cross", "full")]


def test_labels_of_reference_rules_in_one_panel_lie_on_different_levels() -> None:
    rows = rows_of("effectiveness")
    panel = [r for r in rows if r["role"] == "reference" and (r["architecture"], r["first_stage"]) == ("static", "bm25@100")]
    assert sorted(r["level"] for r in panel) == [0, 1, 2]
    right = sorted((r["value"], r["level"]) for r in panel if r["side"] == "right")
    assert right[0][1] > right[1][1]  # the outer rule is taller: its label passes over the inner one


def test_effectiveness_names_temperatures_only_where_they_vary() -> None:
    summary, results = make_summary(), make_results()
    assert set(charts.effectiveness_chart(summary, results).data["variant"].dropna()) == {"kl · oracle", "lce"}
    hot = summary["cell"] == "random-kl-static"
    summary.loc[hot, "temperature"] = 2.5
    variants = set(charts.effectiveness_chart(summary, results).data["variant"].dropna())
    assert variants == {"kl · oracle · T=1", "kl · oracle · T=2.5", "lce"}


def test_effectiveness_gives_each_cell_a_line_when_there_are_more_variants_than_colours() -> None:
    summary = make_summary()
    one = summary[summary["cell"] == "bm25-kl-static"]
    many = pd.concat([one.assign(cell=f"cell {n}", teacher=f"teacher {n}") for n in range(9)])
    rows = make_results()
    results = pd.concat([rows[rows["cell"] == "bm25-kl-static"].assign(cell=f"cell {n}") for n in range(9)])
    spec = drawing.chart_spec(charts.effectiveness_chart(many, results))
    assert "variant" not in fields_of(spec)
    assert "strategy" in fields_of(spec)
    assert layers_of(spec)[0]["encoding"]["y"]["sort"][8] == "bm25 · kl · teacher 8"


def test_effectiveness_tells_cells_apart_by_every_setting_that_varies_and_by_no_other() -> None:
    results = make_results()
    random = results["cell"] == "random-kl-static"
    parts = [
        results,
        *(
            results[random].assign(cell=str(n), **change)
            for n, change in enumerate(({"target_entropy": 0.3}, {"cut": "upper_half"}, {"augmentation": "noise"}, {"temperature": 2.0}))
        ),
    ]
    results = pd.concat(parts)
    frame = charts.effectiveness_chart(make_summary(results), results).data
    variants = frame[frame["role"] == "mean"].drop_duplicates("cell").set_index("cell")["variant"].to_dict()
    assert variants == {
        "bm25-kl-static": "kl · oracle · T=1",
        "random-kl-static": "kl · oracle · T=1",
        "bm25-lce-cross": "lce",
        "0": "kl · oracle · H=0.3",
        "1": "kl · oracle · T=1 · upper_half",
        "2": "kl · oracle · T=1 · noise",
        "3": "kl · oracle · T=2",
    }


def test_a_chart_of_several_training_collections_asks_for_one() -> None:
    results = pd.concat([make_results(), make_results().assign(collection="other/train", test_collection="other/test", value=0.1)])
    summary = make_summary(results)
    with pytest.raises(ValueError, match="2 values of test_collection"):
        charts.effectiveness_chart(summary, results)
    chart = charts.effectiveness_chart(summary, results, test_collection="other/test")
    assert set(chart.data.loc[chart.data["role"] != "note", "value"]) == {0.1}


def test_cells_shows_the_best_cell_until_another_is_clicked() -> None:
    spec = spec_of("cells")
    assert spec["params"] == [
        {
            "name": "chosen", "views": ["cells"], "value": [{"cell": "pooled-filtered-ranknet-static-oracle"}],
            "select": {"type": "point", "fields": ["cell"], "toggle": False},
        }
    ]  # fmt: skip
    filtered = [
        unit for unit in units_of(spec) if {"param": "chosen", "empty": False} in [t.get("filter") for t in unit.get("transform", [])]
    ]
    assert len(filtered) == 2  # the queries and the name
    places = [row["place"] for row in rows_of("cells", "query") if row["cell"] == "bm25-ranknet-static-oracle"]
    values = [row["value"] for row in rows_of("cells", "query") if row["cell"] == "bm25-ranknet-static-oracle"]
    assert places == pytest.approx([100 * (i + 0.5) / 50 for i in range(50)]) and values == sorted(values)


def test_cells_refuses_frames_that_do_not_fit() -> None:
    per_query, summary = make_cells()
    with pytest.raises(ValueError, match="per_query has no row of 1 cell.*'corpus-random-kl-static-oracle'"):
        charts.cells_chart(per_query.iloc[50:], summary)
    with pytest.raises(ValueError, match="summary has no row of 1 cell"):
        charts.cells_chart(per_query, summary.iloc[1:])
    with pytest.raises(ValueError, match="share cell, query_id with another"):
        charts.cells_chart(pd.concat([per_query, per_query.iloc[:1]]), summary)
    both = pd.concat([per_query.assign(test_collection=name) for name in "ab"])
    assert len(charts.cells_chart(both, summary).data.query("role == 'query'")) == 600
    with pytest.raises(ValueError, match=r"lacks 1 column\(s\), the first is 'mean'"):
        charts.cells_chart(per_query, summary.drop(columns="mean"))


def test_query_chart_averages_over_seeds() -> None:
    rows = [("full", "kl", "q1", 0.2, "nDCG@10"), ("full", "kl", "q1", 0.4, "nDCG@10")]
    chart = charts.query_chart(pd.DataFrame(rows, columns=["first_stage", "row", "query_id", "value", "measure"]))
    assert chart.data["value"].round(6).tolist() == [0.3]


def test_surface_writes_every_mean_of_the_factorial_in_the_order_of_the_study() -> None:
    spec = spec_of("surface")
    rows = rows_in(spec)
    assert len(rows) == 2 * 2 * 2 * 2  # strategies, targets, losses, first stages; the cell without a target is none of them
    assert {(r["panel"], r["strategy"], r["target_entropy"]): r["text"] for r in rows}[("ranknet", "diameter_10", 0.2)] == ".345"
    colour, text = layers_of(spec)
    assert colour["encoding"]["y"]["sort"] == ["diameter_90", "diameter_10"]
    assert colour["encoding"]["x"]["sort"] == [0.2, 0.7]
    assert colour["encoding"]["color"]["scale"]["domain"] == [0.1, 0.7]
    assert (mark_of(colour), mark_of(text), text["encoding"]["text"]["field"]) == ("rect", "text", "text")


def test_surface_refuses_a_study_without_target_entropies_and_two_cells_in_one_place() -> None:
    with pytest.raises(ValueError, match="no trained cell with a target_entropy"):
        charts.surface_chart(make_summary(), "nDCG@10")
    factorial = make_factorial()
    with pytest.raises(ValueError, match="16 cells share a place with another, the first is 'diameter_90-kl-H0.7'"):
        charts.surface_chart(pd.concat([factorial, factorial]), "nDCG@10")


def test_panels_say_what_a_number_is() -> None:
    chart = charts.simple_effects_chart(make_surface().assign(temperature=2.0), by=["loss", "temperature"])
    assert set(chart.data["panel"]) == {"kl · temperature 2", "ranknet · temperature 2"}


# --- systems against each other ---------------------------------------------------------------------------------------


def test_every_mark_with_data_has_a_tooltip_with_all_its_fields() -> None:
    points = [layer for layer in layers_of(spec_of("forest")) if mark_of(layer) == "point"]
    assert [tip["field"] for tip in points[0]["encoding"]["tooltip"]] == list(drawing.DIFFERENCE_COLUMNS)


def test_forest_has_the_margin_band_the_zero_rule_and_verdicts_by_colour_and_shape() -> None:
    spec = spec_of("forest")
    band, zero = layers_of(spec)[:2]
    assert mark_of(band) == "rect"
    assert (band["encoding"]["x"]["field"], band["encoding"]["x2"]["field"]) == ("margin_low", "margin_high")
    compared = [r for r in rows_in(spec) if r["role"] == "comparison"]
    assert {(r["margin_low"], r["margin_high"]) for r in compared} == {(-0.02, 0.02)}
    assert (mark_of(zero), zero["encoding"]["x"]["datum"]) == ("rule", 0)
    point = next(layer for layer in layers_of(spec) if mark_of(layer) == "point")
    for channel in ("color", "shape"):
        scale = point["encoding"][channel]["scale"]
        assert scale["domain"] == ["different", "equivalent", "both", "undecided"]
        assert len(set(scale["range"])) == 4


def test_forest_fills_panels_without_a_comparison() -> None:
    rows = rows_of("forest")
    notes = [(r["comparison"], r["first_stage"]) for r in rows if r["role"] == "note"]
    assert notes == [("cross · kl · oracle", "full")]


def test_forest_puts_the_largest_mean_difference_first() -> None:
    point = next(x for x in layers_of(spec_of("forest")) if mark_of(x) == "point")
    assert point["encoding"]["y"]["sort"] == ["bm25 - corpus_random", "dense - corpus_random"]


@pytest.mark.parametrize("family", ["strategy", "loss"])
def test_forest_gives_every_contrast_a_place_of_its_own(family: str) -> None:
    data = charts.forest_chart(contrasts_of(family)).data
    assert not data.duplicated(["first_stage", "comparison", "row"]).any()
    assert data["comparison"].nunique() == 6 and data["row"].nunique() == 8


def test_forest_of_losses_names_strategies_down_the_side() -> None:
    chart = charts.forest_chart(contrasts_of("loss"))
    assert chart.data["comparison"].iloc[0] == "a0 · loss0 - lce · oracle"
    point = next(x for x in layers_of(drawing.chart_spec(chart)) if mark_of(x) == "point")
    assert point["encoding"]["y"]["sort"] == [f"s{n}" for n in range(7, -1, -1)]


def test_forest_tells_settings_apart_that_the_contrast_does_not_name() -> None:
    one = make_differences().iloc[[0]]
    strategy = pd.concat([one.assign(target_entropy=target) for target in (0.2, 0.7)])
    assert charts.forest_chart(strategy).data["row"].tolist() == ["bm25 - corpus_random · H=0.2", "bm25 - corpus_random · H=0.7"]
    noise = pd.concat([one.assign(family="augmentation", contrast=f"{n} - none", augmentation=n, strategy=s) for n in "ab" for s in "xy"])
    data = charts.forest_chart(noise).data
    assert sorted(data["row"]) == ["a - none · x", "a - none · y", "b - none · x", "b - none · y"]
    with pytest.raises(ValueError, match="2 values of family"):
        charts.forest_chart(pd.concat([strategy, noise]))


def test_long_forests_are_split_by_family_architecture_and_loss_without_losing_a_row() -> None:
    both = pd.concat([contrasts_of("strategy"), contrasts_of("loss", losses=9)], ignore_index=True)
    parts = charts.split_rows(both)
    assert list(parts) == ["strategy", *(f"loss a{a} loss{n}" for a in (0, 1) for n in range(9))]
    assert len(parts["strategy"]) == 48 and {len(parts[name]) for name in list(parts)[1:]} == {8}
    assert sorted(pd.concat(parts.values()).index) == sorted(both.index)
    for part in parts.values():
        assert len(charts.forest_chart(part).data) <= 60


def test_across_shows_intervals_over_collections_and_whether_they_exclude_0() -> None:
    chart = charts.across_chart(make_across())
    rows = chart.data[chart.data["role"] == "comparison"]
    assert rows["interval"].tolist() == ["excludes 0", "holds 0", "one collection"]
    point = next(x for x in layers_of(drawing.chart_spec(chart)) if mark_of(x) == "point")
    assert point["encoding"]["color"]["scale"]["domain"] == ["excludes 0", "holds 0", "one collection"]
    assert point["encoding"]["y"]["sort"] == ["bm25 - corpus_random", "dense - corpus_random"]


def test_forest_refuses_two_margins_and_unknown_verdicts() -> None:
    frame = make_differences()
    two = pd.concat([frame, frame.assign(equivalence_margin=0.01)])
    with pytest.raises(ValueError, match=r"2 values of equivalence_margin: \[0.02, 0.01\]"):
        charts.forest_chart(two)
    assert set(charts.forest_chart(two, equivalence_margin=0.01).data["margin_high"].dropna()) == {0.01}
    with pytest.raises(ValueError, match="1 unknown verdict.*'equvalent'; did you mean 'equivalent'"):
        charts.forest_chart(frame.replace({"verdict": {"both": "equvalent"}}))


def test_matrix_turns_every_pair_into_the_upper_triangle() -> None:
    pairs = make_pairs(3)
    pairs.loc[1, ["system_a", "system_b", "difference"]] = ["dense-lce", "corpus-random-lce", 0.018]  # as b minus a
    order = ["corpus-random-lce", "bm25-lce", "dense-lce"]
    shown = charts.matrix_chart(pairs, order=order).data.query("role == 'pair'")
    assert shown[["row", "column", "text"]].values.tolist() == [
        ["corpus-random-lce", "bm25-lce", "−.008"],
        ["corpus-random-lce", "dense-lce", "−.018"],
        ["bm25-lce", "dense-lce", "−.008"],
    ]
    reverse = charts.matrix_chart(pairs, order=order[::-1]).data.query("role == 'pair'")
    assert reverse["text"].tolist() == ["+.008", "+.018", "+.008"]
    assert (reverse["row"].map(order.index) > reverse["column"].map(order.index)).all()


def test_matrix_writes_differences_above_one_in_full() -> None:
    pairs = make_pairs(2).assign(difference=10.5)
    assert charts.matrix_chart(pairs).data["text"].iloc[0] == "+10.500"


def test_matrix_shows_verdicts_by_colour_and_mark_and_letters_beside_names() -> None:
    rect = next(unit for unit in units_of(spec_of("matrix")) if unit["mark"]["type"] == "rect")
    scale = rect["encoding"]["color"]["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True)) == {name: colour for name, (colour, _) in drawing.VERDICTS.items()}
    assert {row["row"]: row["letters"] for row in rows_of("matrix", "name")} == make_letters()
    # every pair's keys can be read by hovering
    assert [tip["field"] for tip in rect["encoding"]["tooltip"]] == [
        "row", "column", "difference", "verdict", "p_holm", "p_equivalence_holm", "smallest_margin",
    ]  # fmt: skip


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("verdict", VERDICTS)
def test_matrix_writes_readably_on_every_verdict(verdict: str) -> None:
    ink = {"white": 1.0}.get(shared.INKS[verdict], luminance(drawing.INK))
    ground = luminance(drawing.VERDICTS[verdict][0])
    assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) >= 4.5  # WCAG 2.1, level AA


def test_matrix_takes_letters_by_panel() -> None:
    stages = pd.concat([make_pairs(2).assign(first_stage=stage) for stage in ("bm25@100", "full")])
    letters = pd.DataFrame(
        [
            ("bm25@100", "corpus-random-lce", "a"),
            ("bm25@100", "bm25-lce", "a"),
            ("full", "corpus-random-lce", "b"),
            ("full", "bm25-lce", ""),
        ],
        columns=["first_stage", "system", "letters"],
    )
    chart = charts.matrix_chart(stages, letters, by=["first_stage"])
    assert chart.data.query("role == 'name'")["letters"].tolist() == ["a", "a", "b", ""]
    with pytest.raises(ValueError, match="letters holds nothing for 1 system.*'bm25-lce'"):
        charts.matrix_chart(stages, letters.iloc[:3], by=["first_stage"])
    with pytest.raises(ValueError, match="pass by= the columns"):
        charts.matrix_chart(stages)


def test_matrix_refuses_a_pair_of_one_system_and_one_that_is_not_in_the_order() -> None:
    pairs = make_pairs(2)
    with pytest.raises(ValueError, match="compare a system with itself, the first 'bm25-lce'"):
        charts.matrix_chart(pairs.assign(system_a="bm25-lce"))
    with pytest.raises(ValueError, match="unknown system.*'bm25-lce'"):
        charts.matrix_chart(pairs, order=["corpus-random-lce"])


# --- groups and teachers ----------------------------------------------------------------------------------------------


def test_rank_chart_counts_in_bins_however_many_negatives_there_are() -> None:
    ranks = pd.DataFrame({"rank": list(range(1, 101)) * 600 + [None]})
    chart = charts.rank_chart(ranks)
    assert chart.data["negatives"].tolist() == [3000] * 20
    assert (chart.data["first"].iloc[0], chart.data["after"].iloc[-1]) == (1, 101)


def test_score_chart_shows_a_spread_sample_of_large_sets() -> None:
    scores = np.arange(4000 * 16, dtype=float).reshape(4000, 16)
    data = charts.score_chart(scores).data
    assert len(data) == 250 * 16 and (data["role"] == "positive").sum() == 250
    assert data["score"].max() > scores.max() * 0.99


def test_entropy_shows_all_three_kinds_and_refuses_values_outside_their_range() -> None:
    frame = charts.entropy_chart(make_entropy()).data
    assert frame["kind"].value_counts(sort=False).to_dict() == {
        "pairwise (bits)": 4,
        "positive pairs (bits)": 4,
        "listwise (share of log G)": 4,
    }
    with pytest.raises(ValueError, match="1 entropies lie outside .*listwise_entropy = 2.5 of bm25"):
        charts.entropy_chart(make_entropy().replace({"listwise_entropy": {0.35: 2.5}}))


def test_entropy_of_several_collections_asks_for_one() -> None:
    both = pd.concat([make_entropy().assign(collection="a"), make_entropy().assign(collection="b", pairwise_entropy=0.9)])
    with pytest.raises(ValueError, match="2 values of collection"):
        charts.entropy_chart(both)
    frame = charts.entropy_chart(both, collection="b").data
    assert set(frame.loc[frame["entropy"] == "pairwise_entropy", "value"]) == {0.9}


def test_locality_leads_a_line_from_before_to_after_and_labels_each_place_once() -> None:
    rows = rows_of("locality")
    assert [(r["label"], r["state"], r["diameter_q99"], r["entropy"]) for r in rows] == [
        ("corpus_random", "before", 0.9, 0.2),
        ("bm25", "before", 0.6, 0.5),
        ("", "before", 0.6, 0.5),
        ("spans", "after", 0.5, 0.4),
    ]
    line = layers_of(spec_of("locality"))[0]
    assert (mark_of(line), line["encoding"]["detail"]["field"], line["encoding"]["order"]["field"]) == ("line", "name", "order")
    assert [r["name"] for r in rows] == ["corpus_random", "bm25", "bm25 · spans", "bm25 · spans"]


def test_locality_refuses_an_entropy_that_nothing_has() -> None:
    with pytest.raises(ValueError, match="unknown entropy 'pairwise'; did you mean 'pairwise_entropy'"):
        charts.locality_chart(make_descriptions(), entropy="pairwise")
    with pytest.raises(ValueError, match="holds no pairwise_entropy; it needs a teacher"):
        charts.locality_chart(make_descriptions().assign(pairwise_entropy=NAN))
    with pytest.raises(ValueError, match="2 values of collection"):
        charts.locality_chart(pd.concat([make_descriptions(), make_descriptions().assign(collection="b")]))


def test_queries_lists_the_first_groups_and_counts_all_without_a_drag() -> None:
    svg = svg_of("queries")
    listed = {int(number) for number in re.findall(r"query number (\d+)", svg.replace("aria-label", ""))}
    assert set(range(15)) <= listed
    units = units_of(spec_of("queries"))
    brushed = [unit for unit in units if {"filter": {"param": "brush"}} in unit.get("transform", [])]
    assert len(brushed) == 4  # marks, queries and documents of the list, and the bars
    assert spec_of("queries")["params"] == [{"name": "brush", "views": ["groups"], "select": {"type": "interval"}}]


def test_queries_thins_evenly_and_says_so() -> None:
    groups = make_groups(1000).rename(columns={"pairwise_entropy": "listwise_entropy"})
    chart = charts.queries_chart(groups, entropy="listwise_entropy", max_groups=10)
    assert chart.data["query_id"].tolist() == ["0", "111", "222", "333", "444", "555", "666", "777", "888", "999"]
    spec = drawing.chart_spec(chart)
    assert spec["hconcat"][0]["title"]["text"].startswith("10 of 1,000 groups, evenly spread")
    assert spec["hconcat"][0]["encoding"]["y"]["title"] == "entropy, listwise (share of log G)"
    with pytest.raises(ValueError, match="max_groups is 0"):
        charts.queries_chart(groups, entropy="listwise_entropy", max_groups=0)


# --- training and students --------------------------------------------------------------------------------------------


def test_search_marks_the_rate_that_was_taken() -> None:
    spec = spec_of("search")
    line, small, large = layers_of(spec)
    assert mark_of(line) == "line" and line["encoding"]["x"]["scale"]["type"] == "log"
    assert (small["transform"], large["transform"]) == ([{"filter": "!datum.chosen"}], [{"filter": "datum.chosen"}])
    assert large["mark"]["size"] > 4 * small["mark"]["size"]
    assert {(r["loss"], r["learning_rate"]) for r in rows_in(spec) if r["chosen"]} == {("lce", 0.01), ("kl", 0.03)}
    assert small["encoding"]["y"]["title"] == "nDCG@10 on validation queries"


def test_search_shows_a_measure_whose_name_holds_brackets() -> None:
    spec = drawing.chart_spec(charts.search_chart(make_search().rename(columns={"nDCG@10": "AP(rel=2)"}), "AP(rel=2)"))
    assert [r["value"] for r in rows_in(spec)][:3] == [0.51, 0.55, 0.40]
    with pytest.raises(ValueError, match="lacks 1 column.*'AP'"):
        charts.search_chart(make_search(), "AP")


def test_learning_draws_small_panels_for_many_cells() -> None:
    assert "facet" not in drawing.chart_spec(charts.learning_chart(make_history(cells=6)))["encoding"]
    spec = drawing.chart_spec(charts.learning_chart(make_history(cells=7)))
    assert spec["encoding"]["facet"]["field"] == "cell"
    assert spec["resolve"]["scale"]["y"] == "independent"


def test_learning_draws_a_panel_a_recipe_for_very_many_cells() -> None:
    history = make_history(cells=25)
    history = history.assign(strategy=[f"s{int(cell.split()[1]) % 5}" for cell in history["cell"]])
    history["recipe"] = [f"r{int(cell.split()[1]) // 5}" for cell in history["cell"]]
    spec = drawing.chart_spec(charts.learning_chart(history))
    assert (spec["encoding"]["facet"]["field"], spec["encoding"]["color"]["field"]) == ("recipe", "strategy")
    assert [part["field"] for part in spec["encoding"]["detail"]] == ["cell", "seed"]
    with pytest.raises(ValueError, match="2 values of collection"):
        charts.learning_chart(history.assign(collection=["a", "b"] * (len(history) // 2)))


def test_behaviour_leads_from_before_to_after_and_says_what_was_not_measured() -> None:
    assert [(row["recipe"], row["quantity"]) for row in rows_of("behaviour", "note")] == [("cross · ranknet · oracle", "uniformity")]
    assert svg_of("behaviour").count(">not measured<") == 1
    titles = [part["title"]["text"] for part in spec_of("behaviour")["concat"]]
    assert titles == [charts.QUANTITIES[quantity] for quantity in dict.fromkeys(make_behaviour()["quantity"])]
    assert titles[-1] == "own diameter q99"
    with pytest.raises(ValueError, match="1 of 55 lines of the table lack a state, the first is that of .*'corpus-random'"):
        charts.behaviour_chart(make_behaviour().iloc[1:])


def test_calibration_refuses_scores() -> None:
    with pytest.raises(ValueError, match=r"1 values of mean_student lie outside \[0, 1\], the first is 1.5; they are probabilities"):
        charts.calibration_chart(make_bins().replace({"mean_student": {0.05: 1.5}}).drop(range(5, 60)))


def test_calibration_draws_the_diagonal_in_every_panel() -> None:
    rule = next(unit for unit in units_of(spec_of("calibration")) if unit["mark"]["type"] == "rule")
    assert [rule["encoding"][channel]["datum"] for channel in ("x", "y", "x2", "y2")] == [0, 0, 1, 1]
    assert len({row["panel"] for row in rows_of("calibration")}) == 6


def test_correlation_says_which_intervals_exclude_zero() -> None:
    shown = [row["interval"] for row in rows_of("correlation")]
    assert shown == ["excludes 0", "holds 0", "holds 0", "excludes 0", "holds 0", "holds 0", "holds 0", "excludes 0"]


@pytest.mark.parametrize(
    ("name", "value"), [("correlation", "spearman"), ("error_rate", "rate"), ("regret", "regret"), ("simple_effects", "mean")]
)
def test_an_interval_beside_its_value_is_an_error(name: str, value: str) -> None:
    frame = FRAMES[name]()
    frame.loc[0, "low"] = frame.loc[0, value] + 0.001
    with pytest.raises(ValueError, match=rf"1 interval\(s\) of \w+ do not hold their {value}, the first is \["):
        charts.CHARTS[name](frame, **({"by": ["loss"]} if "loss" in frame.columns else {}))


# --- rules and choices ------------------------------------------------------------------------------------------------


def test_error_rate_has_a_rule_only_where_a_rate_is_expected() -> None:
    panels = {row["panel"]: row["nominal"] for row in rows_of("error_rate")}
    assert panels == {"true difference 0": "expected rate", "true difference 0.01": "", "true difference 0.02": ""}
    assert spec_of("error_rate")["resolve"]["scale"] == {"y": "independent"}


def test_error_rate_makes_panels_of_other_columns() -> None:
    rates = make_rates().rename(columns={"true_difference": "seed_sd"})
    (rows,) = drawing.chart_spec(charts.error_rate_chart(rates, by=["seed_sd"]))["datasets"].values()
    assert list(dict.fromkeys(row["panel"] for row in rows)) == ["seed sd 0", "seed sd 0.01", "seed sd 0.02"]


def test_pareto_names_the_frontier_and_selects_by_the_legend() -> None:
    spec = spec_of("pareto")
    assert [(param["name"], param["bind"], param["select"]["fields"]) for param in spec["params"]] == [
        ("only_strategy", "legend", ["strategy"]), ("only_loss", "legend", ["loss"]),
    ]  # fmt: skip
    named = set(re.findall(r">([\w-]+ · \w+)<", svg_of("pareto")))
    frontier = make_points().query("on_frontier")
    assert named == {f"{row.strategy} · {row.loss}" for row in frontier.itertuples()}
    assert 0 < len(frontier) < len(make_points())


def test_pareto_shows_another_cost_and_refuses_one_that_a_logarithm_cannot_show() -> None:
    titles = {unit["encoding"]["x"]["title"] for unit in units_of(spec_of("pareto_panels"))}
    assert titles == {"energy (joules), log scale"}
    with pytest.raises(ValueError, match=r"1 row\(s\) of points have a joules that is not above 0, the first is 0"):
        charts.pareto_chart(make_points().assign(joules=[0.0, *[1.0] * 13]), cost="joules")
    with pytest.raises(ValueError, match="on_frontier of points is int64; expected True or False"):
        charts.pareto_chart(make_points().astype({"on_frontier": int}))


def test_pareto_draws_no_bar_for_one_seed() -> None:
    rule = next(unit for unit in units_of(spec_of("pareto")) if unit["mark"]["type"] == "rule")
    assert rule["transform"] == [{"filter": "isValid(datum.sd)"}]
    assert {row["low"] is None for row in rows_of("pareto") if row["loss"] == "lce"} == {True}


# --- theory -----------------------------------------------------------------------------------------------------------


def test_bound_says_which_bounds_are_vacuous() -> None:
    assert [row["text"] for row in rows_of("bound")] == ["0.21", "0.12", "0.56", "3.4, vacuous", "4.1e+06, vacuous", "1"]
    with pytest.raises(ValueError, match="have a value that is not above 0, the first is 0"):
        charts.bound_chart(make_terms().replace({"value": {0.21: 0.0}}))
    with pytest.raises(ValueError, match="vacuous of terms is int64"):
        charts.bound_chart(make_terms().astype({"vacuous": int}))


def test_a_long_history_is_thinned_evenly_and_keeps_its_last_step() -> None:
    history = pd.DataFrame({"cell": "a", "seed": [0] * 1000 + [1] * 10, "step": [*range(1000), *range(10)], "loss": 1.0})
    shown = charts.learning_chart(history, points=120).data
    steps = {seed: part["step"].tolist() for seed, part in shown.groupby("seed")}
    assert len(steps[0]) == 112 and steps[0][-1] == 999 and set(np.diff(steps[0])) == {9} and steps[1] == [0, 9]

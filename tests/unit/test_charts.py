"""Charts are checked by their specifications, on frames made by hand, and by the width of what is drawn."""

from __future__ import annotations

import functools
import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rd_utils import charts, report

NAN = float("nan")
STRATEGIES = ("corpus-random", "bm25", "dense", "teacher", "pooled", "pooled-filtered", "graph")
VERDICTS = tuple(report.VERDICTS)


# --- frames made by hand ----------------------------------------------------------------------------------------------


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


@functools.cache
def drawn_once() -> dict[str, Any]:
    return make_charts()


@functools.cache
def spec_of(name: str) -> dict[str, Any]:
    """Return a chart's specification; to_dict has validated it against the Vega-Lite schema."""
    return report.chart_spec(drawn_once()[name])


def units_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the marks of a chart, from all of its views."""
    parts = [part for key in ("layer", "hconcat", "vconcat") for part in spec.get(key, [])] + ([spec["spec"]] if "spec" in spec else [])
    return [unit for part in parts for unit in units_of(part)] if parts else [spec]


def fields_of(part: Any) -> set[str]:
    """Return all fields that a chart encodes or facets by; what a tooltip or the data holds does not count."""
    if isinstance(part, list):
        return set().union(*map(fields_of, part))
    if not isinstance(part, dict):
        return set()
    own = {part["field"]} if part.get("field") else set()
    return own.union(*(fields_of(value) for key, value in part.items() if key not in ("datasets", "config", "tooltip")))


def rows_of(name: str, role: str | None = None) -> list[dict[str, Any]]:
    spec = spec_of(name)
    rows = spec["datasets"][spec["data"]["name"]]
    return [row for row in rows if role is None or row["role"] == role]


@functools.cache
def svg_of(name: str) -> str:
    return report._svg(spec_of(name))


NAMES = list(make_charts())


# --- all charts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fields"),
    [
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
    assert spec_of(name)["config"]["range"]["category"] == list(report.PALETTE)


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
    for name in ("matrix", "queries", "cells", "pareto_panels"):
        assert json.dumps(spec_of(name)) == json.dumps(report.chart_spec(again[name]))


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
    files = report.save_chart(drawn_once()[name], tmp_path / name)
    assert files.png.read_bytes()[:4] == b"\x89PNG" and files.svg.stat().st_size > 1000
    sections = [report.Section("One", blocks=[report.Figure(drawn_once()[name], "A chart.")])]
    page = report.html_report(sections, "Title", tmp_path / "page.html", study="toy", identity="ab").read_text(encoding="utf-8")
    assert 'id="figure-1-chart"' in page


# --- systems against each other ---------------------------------------------------------------------------------------


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
    assert dict(zip(scale["domain"], scale["range"], strict=True)) == {name: colour for name, (colour, _) in report.VERDICTS.items()}
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
    ink = {"white": 1.0}.get(charts._INKS[verdict], luminance(report.INK))
    ground = luminance(report.VERDICTS[verdict][0])
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


# --- groups and students ----------------------------------------------------------------------------------------------


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
    spec = report.chart_spec(chart)
    assert spec["hconcat"][0]["title"]["text"].startswith("10 of 1,000 groups, evenly spread")
    assert spec["hconcat"][0]["encoding"]["y"]["title"] == "entropy, listwise (share of log G)"
    with pytest.raises(ValueError, match="max_groups is 0"):
        charts.queries_chart(groups, entropy="listwise_entropy", max_groups=0)


def test_behaviour_leads_from_before_to_after_and_says_what_was_not_measured() -> None:
    assert [(row["recipe"], row["quantity"]) for row in rows_of("behaviour", "note")] == [("cross · ranknet · oracle", "uniformity")]
    assert svg_of("behaviour").count(">not measured<") == 1
    titles = [part["title"]["text"] for part in spec_of("behaviour")["hconcat"]]
    assert titles == list(charts.QUANTITIES.values())
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


def test_bound_says_which_bounds_are_vacuous() -> None:
    assert [row["text"] for row in rows_of("bound")] == ["0.21", "0.12", "0.56", "3.4, vacuous", "4.1e+06, vacuous", "1"]
    with pytest.raises(ValueError, match="have a value that is not above 0, the first is 0"):
        charts.bound_chart(make_terms().replace({"value": {0.21: 0.0}}))
    with pytest.raises(ValueError, match="vacuous of terms is int64"):
        charts.bound_chart(make_terms().astype({"vacuous": int}))


def test_panels_say_what_a_number_is() -> None:
    chart = charts.simple_effects_chart(make_surface().assign(temperature=2.0), by=["loss", "temperature"])
    assert set(chart.data["panel"]) == {"kl · temperature 2", "ranknet · temperature 2"}

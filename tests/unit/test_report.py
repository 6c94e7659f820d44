"""Tables are checked against literal strings, charts against their specifications, the page in a browser if present."""

from __future__ import annotations

import base64
import functools
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import pytest

from rd_utils import report

NAN = float("nan")
IDENTITY = "ab12" * 16
BROWSER = next((path for name in ("chromium", "google-chrome", "chromium-browser") if (path := shutil.which(name))), None)


# --- frames made by hand ----------------------------------------------------------------------------------------------


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
    keys = [column for column in report.SUMMARY_COLUMNS if column not in ("mean", "sd", "n_seeds")]
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
                "p_difference": 0.0314,
                "p_equivalence": 0.2,
                "p_holm": 0.0004 if verdict == "different" else 0.25,
                "equivalent": verdict in ("equivalent", "both"),
                "different": verdict in ("different", "both"),
                "verdict": verdict,
                "smallest_margin": max(abs(low), abs(high)),
                "equivalence_margin": 0.02,
            }
            for stage, contrast, architecture, difference, low, high, verdict in rows
        ]
    )


def make_costs() -> pd.DataFrame:
    seconds = {"bm25-kl-static": (20, 22), "random-kl-static": (10, 10), "bm25-lce-cross": (200, 220)}
    return pd.DataFrame(
        [
            {
                "cell": cell,
                "collection": "toy/train",
                "seed": seed,
                "identity": IDENTITY,
                "strategy": cell.split("-")[0],
                "teacher": "",
                "loss": cell.split("-")[1],
                "architecture": cell.split("-")[2],
                "augmentation": "none",
                "cut": "all",
                "temperature": 1.0,
                "target_entropy": NAN,
                "train_wall_seconds": value / 2,
                "train_cpu_seconds": value / 2,
                "total_cpu_seconds": float(value),
                "documents_seen": 16000,
                "tokens_seen": 1234567,
                "peak_memory_mb": 512.0,
                "parameters": "{}",
            }
            for cell, values in seconds.items()
            for seed, value in enumerate(values)
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


def make_charts() -> dict[str, alt.TopLevelMixin]:
    return {
        "effectiveness": report.effectiveness_chart(make_summary(), make_results()),
        "forest": report.forest_chart(make_differences()),
        "entropy": report.entropy_chart(make_entropy()),
        "learning": report.learning_chart(make_history()),
        "learning_small": report.learning_chart(make_history(cells=7)),
        "across": report.across_chart(make_across()),
        "search": report.search_chart(make_search(), "nDCG@10"),
        "locality": report.locality_chart(make_descriptions()),
        "surface": report.surface_chart(make_factorial(), "nDCG@10"),
    }


@functools.cache
def drawn_once() -> dict[str, alt.TopLevelMixin]:
    return make_charts()


@functools.cache
def spec_of(name: str) -> dict:
    """Return a chart's specification; to_dict has validated it against the Vega-Lite schema."""
    return report.chart_spec(drawn_once()[name])


def layers_of(spec: dict) -> list[dict]:
    """Return the unit specifications of a chart."""
    inner = spec.get("spec", spec)
    return inner.get("layer", [inner])


def mark_of(layer: dict) -> str:
    return layer["mark"]["type"] if isinstance(layer["mark"], dict) else layer["mark"]


def fields_of(spec: dict) -> set[str]:
    """Return all fields that a chart encodes or facets by."""
    found = set()

    def visit(part: object) -> None:
        if isinstance(part, dict):
            found.update([part["field"]] if isinstance(part.get("field"), str) else [])
            for key, value in part.items():
                if key not in ("datasets", "config", "tooltip"):
                    visit(value)
        elif isinstance(part, list):
            for value in part:
                visit(value)

    visit(spec)
    return found


def rows_of(spec: dict) -> list[dict]:
    return spec["datasets"][spec["data"]["name"]]


# --- theme ------------------------------------------------------------------------------------------------------------


def test_importing_the_module_enables_no_theme() -> None:
    code = "import altair; before = altair.theme.active; import rd_utils.report; print(before, altair.theme.active)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["default", "default"]


def test_theme_holds_okabe_and_itos_colours_and_readable_text() -> None:
    config = report.theme()["config"]
    assert config["range"]["category"] == [
        "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442",
    ]  # fmt: skip
    assert min(config[part]["labelFontSize"] for part in ("axis", "header", "legend")) == 12


def test_theme_holds_within_its_block_only() -> None:
    chart = alt.Chart(pd.DataFrame({"a": [1]})).mark_point().encode(x="a:Q")
    with report.use_theme():
        assert alt.theme.active == "rd_utils"
        assert chart.to_dict()["config"]["axis"]["titlePadding"] == 8
    assert alt.theme.active == "default"
    assert "axis" not in chart.to_dict()["config"]


# --- charts -----------------------------------------------------------------------------------------------------------


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
    ],
)
def test_chart_is_valid_and_encodes_its_fields(name: str, fields: set[str]) -> None:
    spec = spec_of(name)
    assert fields_of(spec) == fields
    assert spec["config"]["range"]["category"][0] == "#0072B2"


def test_charts_are_the_same_when_drawn_again() -> None:
    charts = make_charts()
    for name in ("learning",):  # these have parameters and views with names
        assert json.dumps(spec_of(name)) == json.dumps(report.chart_spec(charts[name]))


def test_every_mark_with_data_has_a_tooltip_with_all_its_fields() -> None:
    points = [layer for layer in layers_of(spec_of("forest")) if mark_of(layer) == "point"]
    assert [tip["field"] for tip in points[0]["encoding"]["tooltip"]] == list(report.DIFFERENCE_COLUMNS)


def test_effectiveness_shows_means_seeds_and_each_baseline_where_it_belongs() -> None:
    rows = rows_of(spec_of("effectiveness"))
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
    rows = rows_of(spec_of("effectiveness"))
    panel = [r for r in rows if r["role"] == "reference" and (r["architecture"], r["first_stage"]) == ("static", "bm25@100")]
    assert sorted(r["level"] for r in panel) == [0, 1, 2]
    right = sorted((r["value"], r["level"]) for r in panel if r["side"] == "right")
    assert right[0][1] > right[1][1]  # the outer rule is taller: its label passes over the inner one


def test_effectiveness_names_temperatures_only_where_they_vary() -> None:
    summary, results = make_summary(), make_results()
    assert set(report.effectiveness_chart(summary, results).data["variant"].dropna()) == {"kl · oracle", "lce"}
    hot = summary["cell"] == "random-kl-static"
    summary.loc[hot, "temperature"] = 2.5
    variants = set(report.effectiveness_chart(summary, results).data["variant"].dropna())
    assert variants == {"kl · oracle · T=1", "kl · oracle · T=2.5", "lce"}


def test_effectiveness_gives_each_cell_a_line_when_there_are_more_variants_than_colours() -> None:
    summary = make_summary()
    one = summary[summary["cell"] == "bm25-kl-static"]
    many = pd.concat([one.assign(cell=f"cell {n}", teacher=f"teacher {n}") for n in range(9)])
    rows = make_results()
    results = pd.concat([rows[rows["cell"] == "bm25-kl-static"].assign(cell=f"cell {n}") for n in range(9)])
    spec = report.chart_spec(report.effectiveness_chart(many, results))
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
    frame = report.effectiveness_chart(make_summary(results), results).data
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
        report.effectiveness_chart(summary, results)
    chart = report.effectiveness_chart(summary, results, test_collection="other/test")
    assert set(chart.data.loc[chart.data["role"] != "note", "value"]) == {0.1}
    table = report.main_table(summary, test_collection="other/test")
    assert set(table[("full", "nDCG@10")]) - {"–"} == {"0.100", "0.100 ± 0.000"}
    shared = summary.assign(test_collection="toy/test")
    with pytest.raises(ValueError, match=r"2 values of collection: \['toy/train', 'other/train'\]; pass collection="):
        report.main_table(shared)
    assert report.main_table(shared, collection="toy/train").equals(report.main_table(make_summary()))


def test_forest_has_the_margin_band_the_zero_rule_and_verdicts_by_colour_and_shape() -> None:
    spec = spec_of("forest")
    band, zero = layers_of(spec)[:2]
    assert mark_of(band) == "rect"
    assert (band["encoding"]["x"]["field"], band["encoding"]["x2"]["field"]) == ("margin_low", "margin_high")
    compared = [r for r in rows_of(spec) if r["role"] == "comparison"]
    assert {(r["margin_low"], r["margin_high"]) for r in compared} == {(-0.02, 0.02)}
    assert (mark_of(zero), zero["encoding"]["x"]["datum"]) == ("rule", 0)
    point = next(layer for layer in layers_of(spec) if mark_of(layer) == "point")
    for channel in ("color", "shape"):
        scale = point["encoding"][channel]["scale"]
        assert scale["domain"] == ["different", "equivalent", "both", "undecided"]
        assert len(set(scale["range"])) == 4


def test_forest_fills_panels_without_a_comparison() -> None:
    rows = rows_of(spec_of("forest"))
    notes = [(r["comparison"], r["first_stage"]) for r in rows if r["role"] == "note"]
    assert notes == [("cross · kl · oracle", "full")]


def test_forest_puts_the_largest_mean_difference_first() -> None:
    point = next(x for x in layers_of(spec_of("forest")) if mark_of(x) == "point")
    assert point["encoding"]["y"]["sort"] == ["bm25 - corpus_random", "dense - corpus_random"]


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


@pytest.mark.parametrize("family", ["strategy", "loss"])
def test_forest_gives_every_contrast_a_place_of_its_own(family: str) -> None:
    data = report.forest_chart(contrasts_of(family)).data
    assert not data.duplicated(["first_stage", "comparison", "row"]).any()
    assert data["comparison"].nunique() == 6 and data["row"].nunique() == 8


def test_forest_of_losses_names_strategies_down_the_side() -> None:
    chart = report.forest_chart(contrasts_of("loss"))
    assert chart.data["comparison"].iloc[0] == "a0 · loss0 - lce · oracle"
    point = next(x for x in layers_of(report.chart_spec(chart)) if mark_of(x) == "point")
    assert point["encoding"]["y"]["sort"] == [f"s{n}" for n in range(7, -1, -1)]


def test_forest_tells_settings_apart_that_the_contrast_does_not_name() -> None:
    one = make_differences().iloc[[0]]
    strategy = pd.concat([one.assign(target_entropy=target) for target in (0.2, 0.7)])
    assert report.forest_chart(strategy).data["row"].tolist() == ["bm25 - corpus_random · H=0.2", "bm25 - corpus_random · H=0.7"]
    noise = pd.concat([one.assign(family="augmentation", contrast=f"{n} - none", augmentation=n, strategy=s) for n in "ab" for s in "xy"])
    data = report.forest_chart(noise).data
    assert sorted(data["row"]) == ["a - none · x", "a - none · y", "b - none · x", "b - none · y"]
    with pytest.raises(ValueError, match="2 values of family"):
        report.forest_chart(pd.concat([strategy, noise]))


def test_long_forests_are_split_by_family_architecture_and_loss_without_losing_a_row() -> None:
    both = pd.concat([contrasts_of("strategy"), contrasts_of("loss", losses=9)], ignore_index=True)
    parts = report.split_rows(both)
    assert list(parts) == ["strategy", *(f"loss a{a} loss{n}" for a in (0, 1) for n in range(9))]
    assert len(parts["strategy"]) == 48 and {len(parts[name]) for name in list(parts)[1:]} == {8}
    assert sorted(pd.concat(parts.values()).index) == sorted(both.index)
    for part in parts.values():
        assert len(report.forest_chart(part).data) <= 60


def test_across_shows_intervals_over_collections_and_whether_they_exclude_0() -> None:
    chart = report.across_chart(make_across())
    rows = chart.data[chart.data["role"] == "comparison"]
    assert rows["interval"].tolist() == ["excludes 0", "holds 0", "one collection"]
    point = next(x for x in layers_of(report.chart_spec(chart)) if mark_of(x) == "point")
    assert point["encoding"]["color"]["scale"]["domain"] == ["excludes 0", "holds 0", "one collection"]
    assert point["encoding"]["y"]["sort"] == ["bm25 - corpus_random", "dense - corpus_random"]


def test_forest_refuses_two_margins_and_unknown_verdicts() -> None:
    frame = make_differences()
    two = pd.concat([frame, frame.assign(equivalence_margin=0.01)])
    with pytest.raises(ValueError, match=r"2 values of equivalence_margin: \[0.02, 0.01\]"):
        report.forest_chart(two)
    assert set(report.forest_chart(two, equivalence_margin=0.01).data["margin_high"].dropna()) == {0.01}
    with pytest.raises(ValueError, match="1 unknown verdict.*'equvalent'; did you mean 'equivalent'"):
        report.forest_chart(frame.replace({"verdict": {"both": "equvalent"}}))


def test_search_marks_the_rate_that_was_taken() -> None:
    spec = spec_of("search")
    line, small, large = layers_of(spec)
    assert mark_of(line) == "line" and line["encoding"]["x"]["scale"]["type"] == "log"
    assert (small["transform"], large["transform"]) == ([{"filter": "!datum.chosen"}], [{"filter": "datum.chosen"}])
    assert large["mark"]["size"] > 4 * small["mark"]["size"]
    assert {(r["loss"], r["learning_rate"]) for r in rows_of(spec) if r["chosen"]} == {("lce", 0.01), ("kl", 0.03)}
    assert small["encoding"]["y"]["title"] == "nDCG@10 on validation queries"


def test_search_shows_a_measure_whose_name_holds_brackets() -> None:
    spec = report.chart_spec(report.search_chart(make_search().rename(columns={"nDCG@10": "AP(rel=2)"}), "AP(rel=2)"))
    assert [r["value"] for r in rows_of(spec)][:3] == [0.51, 0.55, 0.40]
    with pytest.raises(ValueError, match="lacks 1 column.*'AP'"):
        report.search_chart(make_search(), "AP")


def test_locality_leads_a_line_from_before_to_after_and_labels_each_place_once() -> None:
    rows = rows_of(spec_of("locality"))
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
        report.locality_chart(make_descriptions(), entropy="pairwise")
    with pytest.raises(ValueError, match="holds no pairwise_entropy; it needs a teacher"):
        report.locality_chart(make_descriptions().assign(pairwise_entropy=NAN))
    with pytest.raises(ValueError, match="2 values of collection"):
        report.locality_chart(pd.concat([make_descriptions(), make_descriptions().assign(collection="b")]))


def test_surface_writes_every_mean_of_the_factorial_in_the_order_of_the_study() -> None:
    spec = spec_of("surface")
    rows = rows_of(spec)
    assert len(rows) == 2 * 2 * 2 * 2  # strategies, targets, losses, first stages; the cell without a target is none of them
    assert {(r["panel"], r["strategy"], r["target_entropy"]): r["text"] for r in rows}[("ranknet", "diameter_10", 0.2)] == ".345"
    colour, text = layers_of(spec)
    assert colour["encoding"]["y"]["sort"] == ["diameter_90", "diameter_10"]
    assert colour["encoding"]["x"]["sort"] == [0.2, 0.7]
    assert colour["encoding"]["color"]["scale"]["domain"] == [0.1, 0.7]
    assert (mark_of(colour), mark_of(text), text["encoding"]["text"]["field"]) == ("rect", "text", "text")


def test_surface_refuses_a_study_without_target_entropies_and_two_cells_in_one_place() -> None:
    with pytest.raises(ValueError, match="no trained cell with a target_entropy"):
        report.surface_chart(make_summary(), "nDCG@10")
    factorial = make_factorial()
    with pytest.raises(ValueError, match="16 cells share a place with another, the first is 'diameter_90-kl-H0.7'"):
        report.surface_chart(pd.concat([factorial, factorial]), "nDCG@10")


def test_entropy_shows_all_three_kinds_and_refuses_values_outside_their_range() -> None:
    frame = report.entropy_chart(make_entropy()).data
    assert frame["kind"].value_counts(sort=False).to_dict() == {
        "pairwise (bits)": 4,
        "positive pairs (bits)": 4,
        "listwise (share of log G)": 4,
    }
    with pytest.raises(ValueError, match="1 entropies lie outside .*listwise_entropy = 2.5 of bm25"):
        report.entropy_chart(make_entropy().replace({"listwise_entropy": {0.35: 2.5}}))


def test_learning_draws_small_panels_for_many_cells() -> None:
    assert "facet" not in report.chart_spec(report.learning_chart(make_history(cells=6)))["encoding"]
    spec = report.chart_spec(report.learning_chart(make_history(cells=7)))
    assert spec["encoding"]["facet"]["field"] == "cell"
    assert spec["resolve"]["scale"]["y"] == "independent"


def test_learning_draws_a_panel_a_recipe_for_very_many_cells() -> None:
    history = make_history(cells=25)
    history = history.assign(strategy=[f"s{int(cell.split()[1]) % 5}" for cell in history["cell"]])
    history["recipe"] = [f"r{int(cell.split()[1]) // 5}" for cell in history["cell"]]
    spec = report.chart_spec(report.learning_chart(history))
    assert (spec["encoding"]["facet"]["field"], spec["encoding"]["color"]["field"]) == ("recipe", "strategy")
    assert [part["field"] for part in spec["encoding"]["detail"]] == ["cell", "seed"]
    with pytest.raises(ValueError, match="2 values of collection"):
        report.learning_chart(history.assign(collection=["a", "b"] * (len(history) // 2)))


def test_entropy_of_several_collections_asks_for_one() -> None:
    both = pd.concat([make_entropy().assign(collection="a"), make_entropy().assign(collection="b", pairwise_entropy=0.9)])
    with pytest.raises(ValueError, match="2 values of collection"):
        report.entropy_chart(both)
    frame = report.entropy_chart(both, collection="b").data
    assert set(frame.loc[frame["entropy"] == "pairwise_entropy", "value"]) == {0.9}


def test_charts_ask_for_a_choice_and_name_the_nearest() -> None:
    summary = pd.concat([make_summary(), make_summary().assign(measure="RR@10")])
    with pytest.raises(ValueError, match=r"2 values of measure: \['nDCG@10', 'RR@10'\]; pass measure="):
        report.effectiveness_chart(summary, make_results())
    with pytest.raises(ValueError, match="no measure 'nDGC@10'; did you mean 'nDCG@10'"):
        report.effectiveness_chart(summary, make_results(), measure="nDGC@10")
    with pytest.raises(ValueError, match="summary lacks 1 column.*'n_seeds'"):
        report.effectiveness_chart(summary.drop(columns="n_seeds"), make_results())


# --- tables -----------------------------------------------------------------------------------------------------------


def test_main_table_puts_baselines_first_and_writes_means_with_deviations() -> None:
    table = report.main_table(make_summary())
    assert list(table.columns) == [("bm25@100", "nDCG@10"), ("full", "nDCG@10")]
    assert table.index.name == "cell"
    assert {cell: tuple(row) for cell, row in zip(table.index, table.to_numpy(), strict=True)} == {
        "BM25": ("0.420", "0.420"),
        "untrained static": ("0.310 ± 0.014", "–"),
        "teacher oracle": ("0.800", "–"),
        "bm25-kl-static": ("0.520 ± 0.028", "0.420 ± 0.028"),
        "random-kl-static": ("0.450 ± 0.014", "0.440 ± 0.014"),
        "bm25-lce-cross": ("0.610 ± 0.014", "–"),
    }
    assert list(table.index)[:3] == ["BM25", "untrained static", "teacher oracle"]
    assert table.attrs["n_baselines"] == 3


def test_main_table_follows_the_order_that_is_asked_for() -> None:
    summary = pd.concat([make_summary(), make_summary().assign(measure="RR@10")])
    table = report.main_table(summary, measures=["RR@10", "nDCG@10"], first_stages=["full"], rows=("cell", "n_seeds"), digits=1)
    assert list(table.columns) == [("full", "RR@10"), ("full", "nDCG@10")]
    assert list(table.index) == [("BM25", "1"), ("bm25-kl-static", "2"), ("random-kl-static", "2")]


def test_main_table_refuses_a_repeated_row_and_an_unknown_measure() -> None:
    with pytest.raises(ValueError, match="9 row.*repeat .*'bm25-kl-static', 'bm25@100', 'nDCG@10'"):
        report.main_table(pd.concat([make_summary(), make_summary()]))
    with pytest.raises(ValueError, match="no measure 'AP'"):
        report.main_table(make_summary(), measures=["AP"])


def test_styled_sets_the_best_cell_in_bold_and_leaves_baselines_out() -> None:
    page = report.styled(report.main_table(make_summary()), caption="All systems").to_html()
    bold = re.findall(r"((?:#T_rd_utils_row\d+_col\d+[,\s]*)+)\{[^}]*font-weight: bold", page)
    assert sorted(re.findall(r"row(\d+)_col(\d+)", " ".join(bold))) == [
        ("4", "1"),
        ("5", "0"),
    ]  # not the teacher's 0.800
    assert "All systems" in page
    assert page == report.styled(report.main_table(make_summary()), caption="All systems").to_html()


def test_to_markdown_writes_an_aligned_table() -> None:
    frame = pd.DataFrame({"strategy": ["bm25", "a|b"], "diameter": [0.5, NAN], "n": [1234, 7]})
    assert report.to_markdown(frame).splitlines() == [
        "| strategy | diameter |     n |",
        "| :------- | -------: | ----: |",
        "| bm25     |    0.500 | 1,234 |",
        "| a\\|b     |        – |     7 |",
    ]
    assert report.to_markdown(report.main_table(make_summary())).splitlines()[0] == (
        "| cell             | bm25@100 nDCG@10 |  full nDCG@10 |"
    )


def test_differences_table_writes_intervals_and_small_p_values() -> None:
    table = report.differences_table(make_differences())
    assert table.iloc[0].to_dict() == {
        "first_stage": "bm25@100",
        "architecture": "static",
        "contrast": "bm25 - corpus_random",
        "difference [interval]": "+0.070 [+0.040, +0.100]",
        "p (Holm)": "< 0.001",
        "p (equivalence)": "0.200",
        "smallest margin": "0.100",
        "verdict": "different",
    }


def test_differences_table_says_what_the_contrast_does_not() -> None:
    loss = make_differences().iloc[[0, 1]].assign(family="loss", contrast="kl - lce", strategy=["bm25", "dense"])
    noise = make_differences().iloc[[2]].assign(family="augmentation", contrast="noise - none", augmentation="noise", target_entropy=0.3)
    table = report.differences_table(pd.concat([loss, noise], ignore_index=True))
    assert table.loc[:, "family":"contrast"].to_dict("records") == [
        {"family": "loss", "strategy": "bm25", "target_entropy": "", "contrast": "kl - lce"},
        {"family": "loss", "strategy": "dense", "target_entropy": "", "contrast": "kl - lce"},
        {"family": "augmentation", "strategy": "bm25", "target_entropy": "0.3", "contrast": "noise - none"},
    ]


def test_tables_name_the_training_collection_only_where_the_test_collection_does_not_tell_it() -> None:
    here, there = make_differences(), make_differences().assign(collection="other/train")
    table = report.differences_table(pd.concat([here, there.assign(test_collection="other/test")], ignore_index=True))
    assert table["test_collection"].tolist() == ["toy/test"] * 4 + ["other/test"] * 4 and "collection" not in table.columns
    shared = report.differences_table(pd.concat([here, there], ignore_index=True))
    assert shared["collection"].tolist() == ["toy/train"] * 4 + ["other/train"] * 4 and "test_collection" not in shared.columns


def test_across_table_writes_intervals_and_in_how_many_collections_they_hold() -> None:
    table = report.across_table(make_across())
    assert table.iloc[0].to_dict() == {
        "first_stage": "bm25@100",
        "contrast": "bm25 - corpus_random",
        "mean difference [interval]": "+0.020 [+0.008, +0.032]",
        "SD": "0.005",
        "positive in": "3 of 3",
        "different in": "2 of 3",
        "equivalent in": "1 of 3",
    }
    assert table.iloc[2][["mean difference [interval]", "SD", "positive in"]].tolist() == ["-0.010", "–", "0 of 1"]


def test_search_table_has_a_column_a_rate_and_marks_the_one_that_was_taken() -> None:
    table = report.search_table(make_search(), "nDCG@10")
    assert list(table.columns) == ["architecture", "loss", "0.003", "0.01", "0.03"]
    assert table.to_numpy().tolist() == [
        ["static", "lce", "0.510", "0.550 *", "0.400"],
        ["static", "kl", "0.500", "0.520", "0.560 *"],
    ]
    twice = pd.concat([make_search(), make_search().assign(search="other")])
    assert sorted(report.search_table(twice, "nDCG@10")["search"]) == ["klklklkl", "lcelcelcelce", "other", "other"]


def test_description_table_leaves_out_what_all_rows_share() -> None:
    table = report.description_table(make_descriptions())
    assert list(table.columns) == [
        "strategy", "augmentation", "state", "diameter q99, mean", "pairwise entropy", "density ratio", "coverage",
    ]  # fmt: skip
    assert table.iloc[3].tolist() == ["bm25", "spans", "after", 0.5, 0.4, 2.5, 0.25]
    solved = make_descriptions().assign(target_entropy=[0.2, 0.2, 0.5, 0.5], solved_temperature=3.0)
    assert report.description_table(solved)[["target_entropy", "temperature solved for"]].iloc[2].tolist() == ["0.5", 3.0]


def test_variance_table_has_a_row_a_factorial_and_a_column_a_source() -> None:
    about = {"collection": "c", "test_collection": "t", "first_stage": "full", "measure": "AP", "teacher": "oracle"}
    rows = [
        about | {"loss": loss, "source": source, "share": share, "p": p}
        for loss in ("kl", "ranknet")
        for source, share, p in (("strategy", 0.5, 0.0001), ("target_entropy", 0.25, 0.04), ("interaction", 0.2, 0.5), ("seeds", 0.05, NAN))
    ]
    table = report.variance_table(pd.DataFrame(rows))
    assert list(table.columns) == ["loss", "strategy", "target_entropy", "interaction", "seeds"]
    assert table.iloc[0].tolist() == ["kl", "50.0% (p < 0.001)", "25.0% (p = 0.040)", "20.0% (p = 0.500)", "5.0%"]


def test_spread_table_names_the_strategies_at_the_ends() -> None:
    about = {"collection": "c", "test_collection": "t", "first_stage": "full", "teacher": "", "architecture": "static", "n_strategies": 3}
    rows = [
        about | {"measure": measure, "loss": loss, "lowest": "corpus_random", "highest": "bm25", "spread": 0.03, "sd": 0.01}
        for measure in ("AP", "nDCG@10")
        for loss in ("lce", "kl")
    ]
    table = report.spread_table(pd.DataFrame(rows), "AP")
    assert table.to_dict("records") == [
        {"loss": loss, "lowest": "corpus_random", "highest": "bm25", "spread": 0.03, "SD": 0.01} for loss in ("lce", "kl")
    ]


def test_cells_table_traces_each_seed_to_its_manifest_by_a_relative_path() -> None:
    table = report.cells_table(make_costs(), manifest="../store/student/{identity}/manifest.json")
    assert len(table) == 6
    assert list(table.columns)[-2:] == ["identity", "manifest"]
    assert table.loc[0, "manifest"] == f"../store/student/{IDENTITY}/manifest.json"
    for manifest, message in (("/store/{identity}", "not a relative path"), ("student/manifest.json", "must hold")):
        with pytest.raises(ValueError, match=message):
            report.cells_table(make_costs(), manifest=manifest)


# --- files ------------------------------------------------------------------------------------------------------------


def test_save_chart_writes_json_svg_and_png_and_the_same_bytes_again(tmp_path: Path) -> None:
    files = report.save_chart(make_charts()["learning"], tmp_path / "charts" / "cost.v1")
    assert [path.name for path in files] == ["cost.v1.json", "cost.v1.svg", "cost.v1.png"]
    assert json.loads(files.json.read_text(encoding="utf-8"))["$schema"].endswith(f"vega-lite/{alt.SCHEMA_VERSION}.json")
    assert files.svg.read_text(encoding="utf-8").startswith("<svg")
    assert files.png.read_bytes().startswith(b"\x89PNG\r\n")
    before = [path.read_bytes() for path in files]
    again = report.save_chart(make_charts()["learning"], tmp_path / "charts" / "cost.v1")
    assert [path.read_bytes() for path in again] == before


class Page(HTMLParser):
    """What a page holds: tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open:
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


NASTY = "</script><script>alert('x')</script>"


def make_sections() -> list[report.Section]:
    charts = make_charts()
    history = make_history().replace({"cell": {"cell 0": NASTY}})
    table = report.main_table(make_summary().replace({"cell": {"bm25-kl-static": NASTY}}))
    return [
        report.Section("What was asked & why", ["Is `bm25` < random?", "A second paragraph."]),
        report.Section(
            "Effectiveness",
            ["Means over two seeds."],
            [
                report.Table(table, "All systems.", highlight=True),
                report.Figure(charts["effectiveness"], "Means and seeds.", alt="Dots left of a rule"),
                report.Figure(charts["forest"], "Differences."),
            ],
        ),
        report.Section("Cost", [], [report.Figure(charts["learning"], "Cost."), report.Figure(charts["entropy"], "Entropy.")]),
        report.Section(
            f"Cells {NASTY}",
            [],
            [
                report.Table(report.cells_table(make_costs()), "Cells.", links=("manifest",)),
                report.Figure(report.learning_chart(history), f"Loss of {NASTY}"),
                report.Figure(charts["learning_small"], "Loss, panel by panel."),
            ],
        ),
    ]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("report") / "deep" / "report.html"
    return report.html_report(make_sections(), "Toy report", place, study="toy", identity="0123abcd", date="2026-01-02")


@pytest.fixture(scope="module")
def page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def test_page_loads_nothing_from_outside(page: Page, path: Path) -> None:
    places = [a[key] for _, a in page.tags for key in ("src", "href", "srcset", "action", "data") if a.get(key)]
    assert len(places) > 20
    for place in places:
        assert re.match(r"#section-\d+$|data:text/csv;|data:image/svg\+xml;|student/[0-9a-f]+/manifest\.json$", place), place
    assert not page.all("link") + page.all("iframe") + page.all("object")
    assert "@import" not in report.STYLE and "url(" not in report.STYLE
    policy = next(a for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")["content"]
    assert policy.startswith("default-src 'none'") and "http" not in policy and "unsafe-eval" not in policy
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_page_lists_every_section_in_its_contents(page: Page) -> None:
    anchors = [a["href"] for a in page.all("a") if (a.get("href") or "").startswith("#")]
    assert anchors == ["#section-1", "#section-2", "#section-3", "#section-4"]
    assert [a["id"] for a in page.all("section")] == [anchor[1:] for anchor in anchors]
    for title in ("What was asked & why", "Effectiveness", "Cost", f"Cells {NASTY}"):
        assert "".join(page.words).count(title) >= 2  # in the contents and as a heading


def test_page_escapes_names_wherever_they_stand(page: Page, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "alert('x')</script>" not in text
    assert NASTY in "".join(page.words)
    kinds = [a.get("type") for a in page.all("script")]
    assert kinds == ["application/json"] * 6 + [None, None]
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]


def test_page_is_accessible(page: Page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    assert all(a.get("alt") for a in page.all("img"))
    assert all(a.get("scope") in ("col", "row", "colgroup") for a in page.all("th"))
    charts = [a for a in page.all("div") if a.get("class") == "chart"]
    assert [a["aria-label"] for a in charts][:2] == ["Dots left of a rule", "Differences."]
    assert len(page.all("figcaption")) == len(page.all("figure")) == 8
    ids = [a["id"] for _, a in page.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    assert {a["aria-labelledby"] for _, a in page.tags if a.get("aria-labelledby")} <= set(ids)


def test_page_names_study_identity_the_date_that_was_passed_and_no_place(page: Page, path: Path) -> None:
    words = "".join(page.words)
    assert "Study toy" in words and "0123abcd" in words and words.count("2026-01-02") == 1
    text = path.read_text(encoding="utf-8")
    assert str(path.parent) not in text and str(Path.cwd()) not in text


def test_page_is_the_same_byte_for_byte_when_written_again(tmp_path: Path) -> None:
    figure = report.Figure(make_charts()["learning"], "Cost.")

    def write_once(name: str) -> bytes:
        sections = [report.Section("Cost", [], [figure])]
        return report.html_report(sections, "T", tmp_path / name, study="s", identity="i").read_bytes()

    assert write_once("a.html") == write_once("b.html")


def test_csv_links_hold_the_frames(page: Page) -> None:
    links = {a["download"]: a["href"] for a in page.all("a") if a.get("download")}
    assert list(links) == [
        "table-1.csv",
        *(f"figure-{n}.csv" for n in range(1, 5)),
        "table-2.csv",
        "figure-5.csv",
        "figure-6.csv",
    ]

    def read(name: str) -> pd.DataFrame:
        head, data = links[name].split(",", 1)
        assert head == "data:text/csv;charset=utf-8;base64"
        return pd.read_csv(io.BytesIO(base64.b64decode(data)), keep_default_na=False)

    table = read("table-1.csv")
    assert list(table.columns) == ["cell", "bm25@100 nDCG@10", "full nDCG@10"]
    assert table["cell"].tolist() == [
        "BM25",
        "untrained static",
        "teacher oracle",
        NASTY,
        "random-kl-static",
        "bm25-lce-cross",
    ]
    assert table["full nDCG@10"].tolist() == ["0.420", "–", "–", "0.420 ± 0.028", "0.440 ± 0.014", "–"]
    pd.testing.assert_frame_equal(read("figure-6.csv"), make_history(cells=7), check_dtype=False)
    pd.testing.assert_frame_equal(read("table-2.csv"), report.cells_table(make_costs()), check_dtype=False)


def test_report_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    def write_blocks(*blocks: object) -> None:
        report.html_report([report.Section("One", [], blocks)], "T", tmp_path / "r.html", study="s", identity="i")

    frame = pd.DataFrame({"x": [1], "place": ["https://example.org/x"]})
    outside = alt.Chart("data/points.csv").mark_point().encode(x="x:Q")
    with pytest.raises(ValueError, match="reads its data from 'data/points.csv'"):
        write_blocks(report.Figure(outside, "Outside", data=frame))
    with pytest.raises(ValueError, match="holds no frame of its own"):
        write_blocks(report.Figure(outside, "Outside"))
    with pytest.raises(ValueError, match="'https://example.org/x' is not a relative path"):
        write_blocks(report.Table(frame, "Links", links=("place",)))
    with pytest.raises(ValueError, match="no column 'plaec' to link; did you mean 'place'"):
        write_blocks(report.Table(frame, "Links", links=("plaec",)))
    with pytest.raises(ValueError, match="a block of type str"):
        write_blocks("text")
    with pytest.raises(ValueError, match="at least one Section"):
        report.html_report([], "T", tmp_path / "r.html", study="s", identity="i")
    assert not list(tmp_path.iterdir())


# --- in a browser -----------------------------------------------------------------------------------------------------


def browse(path: Path, profile: Path) -> tuple[str, list[str]]:
    """Open a page in a headless browser; return its document as it then stands, and what its console said."""
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
        "--disable-sync --no-first-run --disable-dev-shm-usage --enable-logging=stderr --v=0 "
        "--virtual-time-budget=10000 --dump-dom"
    )
    command = [str(BROWSER), *flags.split(), f"--user-data-dir={profile}", path.as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return run.stdout, [line for line in run.stderr.splitlines() if "CONSOLE" in line]


def drawn(document: str) -> dict[str, bool]:
    """Tell for each chart's place whether it is marked as drawn and holds an SVG."""
    pattern = r'<div class="(chart[^"]*)" id="(figure-\d+)-chart"[^>]*>(.*?)<img class="fallback"'
    places = re.findall(pattern, document, re.DOTALL)
    return {name: "drawn" in classes and "<svg" in inner for classes, name, inner in places}


@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on the path")
def test_browser_draws_every_chart_without_a_word_on_its_console(path: Path, tmp_path: Path) -> None:
    document, console = browse(path, tmp_path / "profile")
    assert console == []
    assert drawn(document) == {f"figure-{number}": True for number in range(1, 7)}


@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on the path")
def test_browser_keeps_the_picture_of_a_chart_that_cannot_be_drawn_and_draws_the_others(path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    text = path.read_text(encoding="utf-8")
    broken.write_text(text.replace('data-chart="figure-2-chart">{', 'data-chart="figure-2-chart">{{', 1), encoding="utf-8")
    document, console = browse(broken, tmp_path / "profile")
    assert len(console) == 1 and "figure-2-chart: SyntaxError" in console[0]
    assert drawn(document) == {f"figure-{number}": number != 2 for number in range(1, 7)}


def test_rank_chart_counts_in_bins_however_many_negatives_there_are() -> None:
    ranks = pd.DataFrame({"rank": list(range(1, 101)) * 600 + [None]})
    chart = report.rank_chart(ranks)
    assert chart.data["negatives"].tolist() == [3000] * 20
    assert (chart.data["first"].iloc[0], chart.data["after"].iloc[-1]) == (1, 101)


def test_score_chart_shows_a_spread_sample_of_large_sets() -> None:
    scores = np.arange(4000 * 16, dtype=float).reshape(4000, 16)
    data = report.score_chart(scores).data
    assert len(data) == 250 * 16 and (data["role"] == "positive").sum() == 250
    assert data["score"].max() > scores.max() * 0.99


def test_query_chart_averages_over_seeds() -> None:
    rows = [("full", "kl", "q1", 0.2, "nDCG@10"), ("full", "kl", "q1", 0.4, "nDCG@10")]
    chart = report.query_chart(pd.DataFrame(rows, columns=["first_stage", "row", "query_id", "value", "measure"]))
    assert chart.data["value"].round(6).tolist() == [0.3]

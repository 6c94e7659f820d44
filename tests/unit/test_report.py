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
                    "augmentation": "",
                    "temperature": 1.0 if system == "student" else NAN,
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
    add("bm25", "BM25", "bm25@100", [0.42])
    add("bm25", "BM25", "full", [0.42])
    return pd.DataFrame(rows)


def make_summary() -> pd.DataFrame:
    keys = [
        "test_collection",
        "first_stage",
        "measure",
        "cell",
        "system",
        "strategy",
        "teacher",
        "loss",
        "architecture",
    ]
    grouped = make_results().groupby([*keys, "temperature"], sort=False, dropna=False)["value"]
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
                "test_collection": "toy/test",
                "first_stage": stage,
                "measure": "nDCG@10",
                "contrast": contrast,
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
                "seed": seed,
                "identity": IDENTITY,
                "architecture": cell.split("-")[2],
                "strategy": cell.split("-")[0],
                "teacher": "",
                "loss": cell.split("-")[1],
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


def make_charts() -> dict[str, alt.TopLevelMixin]:
    return {
        "effectiveness": report.effectiveness_chart(make_summary(), make_results()),
        "forest": report.forest_chart(make_differences()),
        "cost": report.cost_chart(make_summary(), make_costs()),
        "entropy": report.entropy_chart(make_entropy()),
        "learning": report.learning_chart(make_history()),
        "learning_small": report.learning_chart(make_history(cells=7)),
    }


@functools.cache
def spec_of(name: str) -> dict:
    """Return a chart's specification; to_dict has validated it against the Vega-Lite schema."""
    return report.chart_spec(make_charts()[name])


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
                "contrast",
                "verdict",
                "comparison",
                "first_stage",
                "margin_low",
                "margin_high",
                "label",
            },
        ),
        ("cost", {"total_cpu_seconds", "mean", "architecture", "strategy", "first_stage", "frontier", "cell"}),
        ("entropy", {"value", "strategy", "label", "kind"}),
        ("learning", {"step", "loss", "seed", "cell"}),
        ("learning_small", {"step", "loss", "seed", "cell"}),
    ],
)
def test_chart_is_valid_and_encodes_its_fields(name: str, fields: set[str]) -> None:
    spec = spec_of(name)
    assert fields_of(spec) == fields
    assert spec["config"]["range"]["category"][0] == "#0072B2"


def test_charts_are_the_same_when_drawn_again() -> None:
    charts = make_charts()
    for name in ("cost", "learning"):  # these have parameters and views with names
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


def test_forest_refuses_two_margins_and_unknown_verdicts() -> None:
    frame = make_differences()
    two = pd.concat([frame, frame.assign(equivalence_margin=0.01)])
    with pytest.raises(ValueError, match=r"2 values of equivalence_margin: \[0.02, 0.01\]"):
        report.forest_chart(two)
    assert set(report.forest_chart(two, equivalence_margin=0.01).data["margin_high"].dropna()) == {0.01}
    with pytest.raises(ValueError, match="1 unknown verdict.*'equvalent'; did you mean 'equivalent'"):
        report.forest_chart(frame.replace({"verdict": {"both": "equvalent"}}))


def test_cost_axis_is_logarithmic_only_when_the_range_asks_for_it() -> None:
    spec = spec_of("cost")
    points = next(x for x in layers_of(spec) if mark_of(x) == "point")
    assert points["encoding"]["x"]["scale"]["type"] == "log"  # 10 to 210 seconds
    assert points["encoding"]["color"]["field"] == "architecture"
    assert points["encoding"]["shape"]["field"] == "strategy"
    near = make_costs().assign(total_cpu_seconds=[20.0, 22.0, 10.0, 10.0, 99.0, 99.0])
    points = next(x for x in layers_of(report.chart_spec(report.cost_chart(make_summary(), near))) if mark_of(x) == "point")
    assert points["encoding"]["x"]["scale"]["type"] == "linear"


def test_cost_frontier_holds_the_cells_that_no_cheaper_cell_reaches() -> None:
    frame = report.cost_chart(make_summary(), make_costs()).data
    cells = frame[frame["role"] == "cell"].set_index(["first_stage", "cell"])
    assert cells.loc[("bm25@100", "bm25-kl-static"), "total_cpu_seconds"] == 21.0
    on = cells["on_frontier"].astype(bool)
    assert sorted(cells.index[on]) == [
        ("bm25@100", "bm25-kl-static"),
        ("bm25@100", "bm25-lce-cross"),
        ("bm25@100", "random-kl-static"),
        ("full", "random-kl-static"),  # 0.44 at 10 s; the bm25 cell has 0.42 at 21 s
    ]


def test_cost_refuses_a_cell_without_a_cost() -> None:
    costs = make_costs()
    with pytest.raises(ValueError, match="no total_cpu_seconds for 1 cell.*'bm25-lce-cross'"):
        report.cost_chart(make_summary(), costs[costs["cell"] != "bm25-lce-cross"])


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


def test_charts_ask_for_a_choice_and_name_the_nearest() -> None:
    summary = pd.concat([make_summary(), make_summary().assign(measure="RR@10")])
    with pytest.raises(ValueError, match=r"2 values of measure: \['nDCG@10', 'RR@10'\]; pass measure="):
        report.cost_chart(summary, make_costs())
    with pytest.raises(ValueError, match="no measure 'nDGC@10'; did you mean 'nDCG@10'"):
        report.cost_chart(summary, make_costs(), measure="nDGC@10")
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
    files = report.save_chart(make_charts()["cost"], tmp_path / "charts" / "cost.v1")
    assert [path.name for path in files] == ["cost.v1.json", "cost.v1.svg", "cost.v1.png"]
    assert json.loads(files.json.read_text(encoding="utf-8"))["$schema"].endswith(f"vega-lite/{alt.SCHEMA_VERSION}.json")
    assert files.svg.read_text(encoding="utf-8").startswith("<svg")
    assert files.png.read_bytes().startswith(b"\x89PNG\r\n")
    before = [path.read_bytes() for path in files]
    again = report.save_chart(make_charts()["cost"], tmp_path / "charts" / "cost.v1")
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
        report.Section("Cost", [], [report.Figure(charts["cost"], "Cost."), report.Figure(charts["entropy"], "Entropy.")]),
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
    figure = report.Figure(make_charts()["cost"], "Cost.")

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

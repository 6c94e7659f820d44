"""Tables are checked against literal strings, the page by what it holds, and in a browser if present."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import altair as alt
import pandas as pd
import pytest
from test_charts import (
    make_across,
    make_descriptions,
    make_differences,
    make_entropy,
    make_history,
    make_results,
    make_search,
    make_summary,
)

from rd_utils import charts, report, tables

NAN = float("nan")
IDENTITY = "ab12" * 16
BROWSER = next((path for name in ("chromium", "google-chrome", "chromium-browser") if (path := shutil.which(name))), None)


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


def make_figures() -> dict[str, alt.TopLevelMixin]:
    return {
        "effectiveness": charts.effectiveness_chart(make_summary(), make_results()),
        "forest": charts.forest_chart(make_differences()),
        "entropy": charts.entropy_chart(make_entropy()),
        "learning": charts.learning_chart(make_history()),
        "learning_small": charts.learning_chart(make_history(cells=7)),
    }


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


def test_a_table_of_several_training_collections_asks_for_one() -> None:
    results = pd.concat([make_results(), make_results().assign(collection="other/train", test_collection="other/test", value=0.1)])
    summary = make_summary(results)
    table = report.main_table(summary, test_collection="other/test")
    assert set(table[("full", "nDCG@10")]) - {"–"} == {"0.100", "0.100 ± 0.000"}
    shared = summary.assign(test_collection="toy/test")
    with pytest.raises(ValueError, match=r"2 values of collection: \['toy/train', 'other/train'\]; pass collection="):
        report.main_table(shared)
    assert report.main_table(shared, collection="toy/train").equals(report.main_table(make_summary()))


def test_main_table_in_bold_leaves_baselines_out() -> None:
    written = tables.render(report.main_table(make_summary()), "markdown", highlight=True)
    assert re.findall(r"\*\*(.+?)\*\*", written) == ["0.440 ± 0.014", "0.610 ± 0.014"]  # not the teacher's 0.800


def test_differences_table_writes_intervals_and_small_p_values() -> None:
    table = report.differences_table(make_differences())
    assert table.iloc[0].to_dict() == {
        "first_stage": "bm25@100",
        "architecture": "static",
        "contrast": "bm25 - corpus_random",
        "difference [interval]": "+0.070 [+0.040, +0.100]",
        "p (Holm)": "< 0.001",
        "p (equivalence)": "0.200",
        "smallest margin (uncorrected)": "0.100",
        "verdict": "different",
    }


def test_differences_table_shows_what_verdicts_rest_on_and_says_what_is_not_corrected() -> None:
    more = {"p_equivalence_holm": 0.6, "queries_needed": [1200.0, NAN, 40.0, 7.0], "seed_share": [0.124, NAN, 1.0, 0.0]}
    more |= {"bootstrap_low": -0.01, "bootstrap_high": 0.15, "fragile": [True, False, True, False]}
    table = report.differences_table(make_differences().assign(**more))
    assert list(table.columns)[-9:] == [
        "difference [interval]", "p (Holm)", "p (equivalence, Holm)", "over seeds too", "smallest margin (uncorrected)",
        "queries needed (uncorrected)", "seed share", "verdict", "fragile",
    ]  # fmt: skip
    assert set(table["p (equivalence, Holm)"]) == {"0.600"}  # not the raw 0.200
    assert table["queries needed (uncorrected)"].tolist() == ["1,200", "–", "40", "7"]
    assert table["seed share"].tolist() == ["12%", "–", "100%", "0%"]
    assert table["fragile"].tolist() == ["yes", "", "yes", ""] and set(table["over seeds too"]) == {"[-0.010, +0.150]"}


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
    sources = (
        ("strategy", 0.5, 0.0001),
        ("target_entropy", 0.25, 0.04),
        ("interaction", 0.15, 0.5),
        ("seeds", 0.08, NAN),
        ("residual", 0.02, NAN),
    )
    rows = [about | {"loss": loss, "source": source, "share": share, "p": p} for loss in ("kl", "ranknet") for source, share, p in sources]
    table = report.variance_table(pd.DataFrame(rows))
    assert list(table.columns) == ["loss", "strategy", "target_entropy", "interaction", "seeds", "residual"]
    assert table.iloc[0].tolist() == ["kl", "50.0% (p < 0.001)", "25.0% (p = 0.040)", "15.0% (p = 0.500)", "8.0%", "2.0%"]


def test_variance_table_shows_the_corrected_p_value_where_there_is_one() -> None:
    about = {"collection": "c", "test_collection": "t", "first_stage": "full", "measure": "AP", "loss": "kl", "low": 0.1, "high": 0.9}
    values = (("strategy", 0.0001, 0.0006), ("target_entropy", 0.04, 0.12), ("interaction", 0.5, NAN), ("residual", NAN, NAN))
    rows = [about | {"source": source, "share": 0.25, "p": p, "p_holm": holm} for source, p, holm in values]
    assert report.variance_table(pd.DataFrame(rows)).iloc[0].tolist()[1:] == [
        "25.0% [10.0%, 90.0%] (Holm p < 0.001)",
        "25.0% [10.0%, 90.0%] (Holm p = 0.120)",
        "25.0% [10.0%, 90.0%] (p = 0.500)",
        "25.0% [10.0%, 90.0%]",
    ]


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
    files = report.save_chart(make_figures()["learning"], tmp_path / "charts" / "cost.v1")
    assert [path.name for path in files] == ["cost.v1.json", "cost.v1.svg", "cost.v1.png"]
    assert json.loads(files.json.read_text(encoding="utf-8"))["$schema"].endswith(f"vega-lite/{alt.SCHEMA_VERSION}.json")
    assert files.svg.read_text(encoding="utf-8").startswith("<svg")
    assert files.png.read_bytes().startswith(b"\x89PNG\r\n")
    before = [path.read_bytes() for path in files]
    again = report.save_chart(make_figures()["learning"], tmp_path / "charts" / "cost.v1")
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
    figures = make_figures()
    history = make_history().replace({"cell": {"cell 0": NASTY}})
    table = report.main_table(make_summary().replace({"cell": {"bm25-kl-static": NASTY}}))
    return [
        report.Section("What was asked & why", ["Is `bm25` < random?", "A second paragraph."]),
        report.Section(
            "Effectiveness",
            ["Means over two seeds."],
            [
                report.Table(table, "All systems.", highlight=True),
                report.Figure(figures["effectiveness"], "Means and seeds.", alt="Dots left of a rule"),
                report.Figure(figures["forest"], "Differences."),
            ],
        ),
        report.Section("Cost", [], [report.Figure(figures["learning"], "Cost."), report.Figure(figures["entropy"], "Entropy.")]),
        report.Section(
            f"Cells {NASTY}",
            [],
            [
                report.Table(report.cells_table(make_costs()), "Cells.", links=("manifest",)),
                report.Figure(charts.learning_chart(history), f"Loss of {NASTY}"),
                report.Figure(figures["learning_small"], "Loss, panel by panel."),
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
    figure = report.Figure(make_figures()["learning"], "Cost.")

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


def page_of(tmp_path: Path, *blocks: report.Table | report.Figure) -> str:
    path = report.html_report([report.Section("One", [], blocks)], "T", tmp_path / "r.html", study="s", identity="i")
    return path.read_text(encoding="utf-8")


def csv_of(page: str) -> str:
    return base64.b64decode(re.search(r"base64,([^\"]+)\">Data", page)[1]).decode("utf-8")


def test_page_and_csv_keep_the_names_of_a_matrix(tmp_path: Path) -> None:
    names = ["bm25", "dense"]
    matrix = pd.DataFrame([[NAN, 0.012], [-0.012, NAN]], index=names, columns=names)
    page = page_of(tmp_path, report.Table(matrix, "A matrix."))
    assert csv_of(page) == "row,bm25,dense\nbm25,,0.012\ndense,-0.012,\n"
    assert re.findall(r'<th scope="row">(.*?)</th>', page) == names
    named = page_of(tmp_path, report.Table(matrix.rename_axis("row minus column"), "A matrix."))
    assert csv_of(named).startswith("row minus column,bm25,dense\n")
    assert '<th scope="col">row minus column</th>' in named


def test_page_sets_the_highest_number_in_bold_whatever_it_is_written_like(tmp_path: Path) -> None:
    frame = pd.DataFrame({"tiny": [4e-05, 0.02, 0.01], "large": [12345.6, 999.0, 13.0], "n": [3, 2, 1], "name": ["3", "b", "c"]})
    frame.attrs["n_baselines"] = 1
    bold = r'<td class="number best">(.*?)</td>'
    page = page_of(tmp_path, report.Table(frame.iloc[[2, 0, 1]].reset_index(drop=True), "Numbers.", highlight=True))
    assert re.findall(bold, page) == ["12,346", "0.020"]  # not 4.0e-05, not 999; and no count
    assert page.count('<tr class="baseline last-baseline">') == 1


def test_csv_of_a_figure_holds_what_is_drawn_and_no_numbers_of_the_rows_that_were_picked(tmp_path: Path) -> None:
    chart = charts.forest_chart(make_differences().iloc[[3]])
    assert chart.data.index.tolist() == [3] and "row" in chart.data.columns
    header = csv_of(page_of(tmp_path, report.Figure(chart, "One contrast."))).splitlines()[0].split(",")
    assert header == list(chart.data.columns)


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

"""The page is checked by what it holds, and in a browser if present."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import pytest
from test_charts import make_differences, make_entropy, make_history, make_results, make_summary
from test_report import NAN, make_costs

from rd_utils.report import charts, layout, page

STYLE = (Path(page.__file__).parent / "page.css").read_text(encoding="utf-8")
BROWSER = next((path for name in ("chromium", "google-chrome", "chromium-browser") if (path := shutil.which(name))), None)


def make_figures() -> dict[str, alt.TopLevelMixin]:
    return {
        "effectiveness": charts.effectiveness_chart(make_summary(), make_results()),
        "forest": charts.forest_chart(make_differences()),
        "entropy": charts.entropy_chart(make_entropy()),
        "learning": charts.learning_chart(make_history()),
        "learning_small": charts.learning_chart(make_history(cells=7)),
    }


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


def packed(text: str, number: int) -> dict[str, Any]:
    """Return what lies in the page of a figure: specification, data column by column, and which data it shows."""
    found = re.search(rf'<script type="application/gzip" data-chart="figure-{number}-chart">(.*?)</script>', text)
    return json.loads(gzip.decompress(base64.b64decode(found[1])))


NASTY = "</script><script>alert('x')</script>"


def make_sections() -> list[page.Section]:
    figures = make_figures()
    history = make_history().replace({"cell": {"cell 0": NASTY}})
    table = layout.main_table(make_summary().replace({"cell": {"bm25-kl-static": NASTY}}))
    return [
        page.Section("What was asked & why", ["Is `bm25` < random?", "A second paragraph."]),
        page.Section(
            "Effectiveness",
            ["Means over two seeds."],
            [
                page.Table(table, "All systems.", highlight=True, name="everything"),
                page.Figure(figures["effectiveness"], "Means and seeds.", alt="Dots left of a rule"),
                page.Figure(figures["forest"], "Differences."),
            ],
        ),
        page.Section("Cost", [], [page.Figure(figures["learning"], "Cost."), page.Figure(figures["entropy"], "Entropy.")]),
        page.Section(
            f"Cells {NASTY}",
            [],
            [
                page.Table(layout.cells_table(make_costs()), "Cells.", links=("manifest",)),
                page.Figure(charts.learning_chart(history), f"Loss of {NASTY}"),
                page.Figure(figures["learning_small"], "Loss, panel by panel."),
            ],
            name="cells",
        ),
    ]


def make_short() -> page.Short:
    beside = pd.DataFrame({"best cell": [NASTY], "minus BM25": ["+0.100 [+0.080, +0.120] different, these students only"]})
    table = page.Table(beside, "The best", hrefs={"best cell": ["notebooks/04_evaluate-a%20b.ipynb"]}, verdicts=("minus BM25",))
    points = [page.Point("The best `cell` < 1.", ("everything", "nowhere", "cells"), table), page.Point("Nothing else.")]
    return page.Short(f"Which & why {NASTY}?", points, [f"A warning of {NASTY}."])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("report") / "deep" / "report.html"
    imprint = page.Imprint("toy", "0123abcd", "notebooks/05c_report-toy.ipynb", "2026-01-02")
    return page.html_report(make_sections(), "Toy report", place, imprint, short=make_short())


@pytest.fixture(scope="module")
def shown(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def test_page_loads_nothing_from_outside(shown: Page, path: Path) -> None:
    places = [a[key] for _, a in shown.tags for key in ("src", "href", "srcset", "action", "data") if a.get(key)]
    assert len(places) > 20
    for place in places:
        assert re.match(
            r"#(section-\d+|table-1|in-short)$|data:text/csv;|data:image/svg\+xml,|(student/[0-9a-f]+/manifest\.json|notebooks/.*\.ipynb)$",
            place,
        ), place
    assert not shown.all("link") + shown.all("iframe") + shown.all("object")
    assert "@import" not in STYLE and "url(" not in STYLE
    policy = next(a for a in shown.all("meta") if a.get("http-equiv") == "Content-Security-Policy")["content"]
    assert policy.startswith("default-src 'none'") and "http" not in policy and "unsafe-eval" not in policy
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_page_lists_every_section_in_its_contents(shown: Page) -> None:
    anchors = [a["href"] for a in shown.all("a") if (a.get("href") or "").startswith("#")]
    assert anchors[:2] == ["#table-1", "#section-4"]  # what is said in short is taken from them; a part that is not there has no link
    assert anchors[2:] == ["#in-short", "#section-1", "#section-2", "#section-3", "#section-4"]
    assert [a["id"] for a in shown.all("section")] == [anchor[1:] for anchor in anchors[2:]]
    for title in ("What was asked & why", "Effectiveness", "Cost", f"Cells {NASTY}"):
        assert "".join(shown.words).count(title) >= 2  # in the contents and as a heading


def test_page_escapes_names_wherever_they_stand(shown: Page, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "alert('x')</script>" not in text
    assert NASTY in "".join(shown.words)
    kinds = [a.get("type") for a in shown.all("script")]
    assert kinds == ["application/gzip"] * 7 + [None, None]
    assert not [a for _, a in shown.tags if any(name.startswith("on") for name in a)]


def test_page_is_accessible(shown: Page) -> None:
    assert shown.all("html")[0]["lang"] == "en"
    assert all(a.get("alt") for a in shown.all("img"))
    assert all(a.get("scope") in ("col", "row", "colgroup") for a in shown.all("th"))
    charts = [a for a in shown.all("div") if a.get("class") == "chart"]
    assert charts[0]["aria-label"] == "Dots left of a rule"
    assert charts[1]["aria-label"] == (
        "Differences. Panels: bm25@100, full. Panels: static · kl · oracle, cross · kl · oracle. Across, difference in nDCG@10 (shaded: "
        "±0.02): 0.001 to 0.07. Down: bm25 - corpus_random, dense - corpus_random. Colour, verdict: different, equivalent, both, undecided."
    )
    assert [a["alt"] for a in shown.all("img")] == [a["aria-label"] for a in charts]
    assert len(shown.all("figcaption")) == len(shown.all("figure")) == 8
    ids = [a["id"] for _, a in shown.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    assert {a["aria-labelledby"] for _, a in shown.tags if a.get("aria-labelledby")} <= set(ids)


def test_page_names_study_identity_the_date_that_was_passed_and_no_place(shown: Page, path: Path) -> None:
    words = "".join(shown.words)
    assert "Study toy" in words and "0123abcd" in words and words.count("2026-01-02") == 1
    text = path.read_text(encoding="utf-8")
    assert str(path.parent) not in text and str(Path.cwd()) not in text


def test_page_is_the_same_byte_for_byte_when_written_again(tmp_path: Path) -> None:
    figure = page.Figure(make_figures()["learning"], "Cost.")

    def write_once(name: str) -> bytes:
        sections = [page.Section("Cost", [], [figure])]
        return page.html_report(sections, "T", tmp_path / name, page.Imprint("s", "i")).read_bytes()

    assert write_once("a.html") == write_once("b.html")


def test_csv_links_of_tables_hold_the_frames(shown: Page) -> None:
    links = {a["download"]: a["href"] for a in shown.all("a") if a.get("download")}
    assert list(links) == ["table-1.csv", "table-2.csv"]

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
    pd.testing.assert_frame_equal(read("table-2.csv"), layout.cells_table(make_costs()), check_dtype=False)


def test_the_data_of_a_chart_lie_in_the_page_once_column_by_column(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    held = packed(text, 6)
    assert "datasets" not in held["spec"] and list(held["datasets"]) == [held["shown"]] == [held["spec"]["data"]["name"]]
    data = held["datasets"][held["shown"]]
    frame = pd.DataFrame(data["columns"])
    assert data["length"] == len(frame) == len(make_history(cells=7))
    pd.testing.assert_frame_equal(frame, make_history(cells=7), check_dtype=False, rtol=1e-5)
    assert re.findall(r'data-of="(figure-\d+)-chart" data-name="\1.csv" hidden', text) == [f"figure-{n}" for n in range(1, 7)]


def test_numbers_of_a_chart_have_six_digits_and_whole_ones_all(tmp_path: Path) -> None:
    unknown = pd.Series([NAN, None], dtype=object)  # as where a frame is joined to one without the column
    frame = pd.DataFrame({"x": [0.123456789, 1234567.0], "n": [1234567, 1], "name": [None, "b"], "unknown": unknown})
    text = page_of(tmp_path, page.Figure(alt.Chart(frame).mark_point().encode(x="x:Q", y="n:Q"), "Points."))
    held = packed(text, 1)
    columns = held["datasets"][held["shown"]]["columns"]
    assert columns == {"x": [0.123457, 1234567.0], "n": [1234567, 1], "name": [None, "b"], "unknown": [None, None]}


def test_the_picture_of_a_chart_keeps_its_words_and_rounds_its_places() -> None:
    path = '<path aria-label="x: 1" d="M1.234,-0.04L5,20.999"/>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg">{path}<text fill="#ff0000">0.123 &lt; 50%</text></svg>'
    assert page._picture(svg) == (
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'%3E%3Cpath d='M1.2,-0L5,21'/%3E"
        "%3Ctext fill='%23ff0000'%3E0.123 &amp;lt; 50%25%3C/text%3E%3C/svg%3E"
    )


def test_report_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    def write_blocks(*blocks: object) -> None:
        page.html_report([page.Section("One", [], blocks)], "T", tmp_path / "r.html", page.Imprint("s", "i"))

    frame = pd.DataFrame({"x": [1], "place": ["https://example.org/x"]})
    outside = alt.Chart("data/points.csv").mark_point().encode(x="x:Q")
    with pytest.raises(ValueError, match="reads its data from 'data/points.csv'"):
        write_blocks(page.Figure(outside, "Outside"))
    with pytest.raises(ValueError, match="holds no frame of its own"):
        write_blocks(page.Figure(alt.hconcat(alt.Chart(frame).mark_point(), alt.Chart(frame[["x"]]).mark_point()), "Two frames"))
    with pytest.raises(ValueError, match="'javascript:alert.1.' is not a relative path"):
        write_blocks(page.Table(frame, "Links", hrefs={"x": ["javascript:alert(1)"]}))
    with pytest.raises(ValueError, match="has 1 rows, but 2 links in column 'x'; give one a row"):
        write_blocks(page.Table(frame, "Links", hrefs={"x": ["a", "b"]}))
    with pytest.raises(ValueError, match="two parts of the report are named 'all'"):
        write_blocks(page.Table(frame, "One", name="all"), page.Table(frame, "Two", name="all"))
    with pytest.raises(ValueError, match="'https://example.org/x' is not a relative path"):
        write_blocks(page.Table(frame, "Links", links=("place",)))
    with pytest.raises(ValueError, match="no column 'plaec' to link; did you mean 'place'"):
        write_blocks(page.Table(frame, "Links", links=("plaec",)))
    with pytest.raises(ValueError, match="a block of type str"):
        write_blocks("text")
    with pytest.raises(ValueError, match="at least one Section"):
        page.html_report([], "T", tmp_path / "r.html", page.Imprint("s", "i"))
    assert not list(tmp_path.iterdir())


def page_of(tmp_path: Path, *blocks: page.Table | page.Figure) -> str:
    path = page.html_report([page.Section("One", [], blocks)], "T", tmp_path / "r.html", page.Imprint("s", "i"))
    return path.read_text(encoding="utf-8")


def csv_of(page: str) -> str:
    return base64.b64decode(re.search(r"base64,([^\"]+)\">Data", page)[1]).decode("utf-8")


def test_page_and_csv_keep_the_names_of_a_matrix(tmp_path: Path) -> None:
    names = ["bm25", "dense"]
    matrix = pd.DataFrame([[NAN, 0.012], [-0.012, NAN]], index=names, columns=names)
    text = page_of(tmp_path, page.Table(matrix, "A matrix."))
    assert csv_of(text) == "row,bm25,dense\nbm25,,0.012\ndense,-0.012,\n"
    assert re.findall(r'<th scope="row">(.*?)</th>', text) == names
    named = page_of(tmp_path, page.Table(matrix.rename_axis("row minus column"), "A matrix."))
    assert csv_of(named).startswith("row minus column,bm25,dense\n")
    assert '<th scope="col">row minus column</th>' in named


def test_page_sets_the_highest_number_in_bold_whatever_it_is_written_like(tmp_path: Path) -> None:
    frame = pd.DataFrame({"tiny": [4e-05, 0.02, 0.01], "large": [12345.6, 999.0, 13.0], "n": [3, 2, 1], "name": ["3", "b", "c"]})
    frame.attrs["n_baselines"] = 1
    bold = r'<td class="number best">(.*?)</td>'
    text = page_of(tmp_path, page.Table(frame.iloc[[2, 0, 1]].reset_index(drop=True), "Numbers.", highlight=True))
    assert re.findall(bold, text) == ["12,346", "0.020"]  # not 4.0e-05, not 999; and no count
    assert text.count('<tr class="baseline last-baseline">') == 1


def test_the_data_of_a_figure_hold_what_is_drawn_and_no_numbers_of_the_rows_that_were_picked(tmp_path: Path) -> None:
    chart = charts.forest_chart(make_differences().iloc[[3]])
    assert chart.data.index.tolist() == [3] and "row" in chart.data.columns
    held = packed(page_of(tmp_path, page.Figure(chart, "One contrast.")), 1)
    assert list(held["datasets"][held["shown"]]["columns"]) == list(chart.data.columns)


def rows_of(text: str) -> list[list[str]]:
    """Return the entries of every row of a page's tables."""
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr[^>]*>(.*?)</tr>", text)]


def test_verdicts_are_words_in_their_colour_only_where_a_column_is_judged(tmp_path: Path) -> None:
    frame = pd.DataFrame({"teacher": ["both"], "verdict": ["different, these students only, fragile"], "note": ["not different"]})
    text = page_of(tmp_path, page.Table(frame, "One."))
    assert rows_of(text)[1] == ["both", '<span class="verdict different">different</span>, these students only, fragile', "not different"]
    colours = dict(re.findall(r"--(different|equivalent|both|undecided): (#\w+)", STYLE.split("@media")[0]))
    dark = dict(re.findall(r"--(different|equivalent|both|undecided): (#\w+)", STYLE.split("@media")[1]))
    for ground, words in (("#ffffff", colours), ("#f2f6fa", colours), ("#15181b", dark), ("#1b232b", dark)):
        assert len(words) == 4 and all(contrast(ground, colour) >= 4.5 for colour in words.values())  # WCAG 2.1, level AA


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG 2.1 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_details_are_folded_and_a_filter_is_for_long_tables(tmp_path: Path) -> None:
    frame = pd.DataFrame({"contrast": list("abcdefghi"), "seeds": 3, "queries": 300})
    text = page_of(tmp_path, page.Table(frame, "Nine."), page.Table(frame[:2], "Two.", secondary=("seeds", "queries", "absent")))
    assert re.findall(r'<label for="(.*?)"> (.*?)</label>', text) == [("table-2-all", "2 more columns")]
    assert re.findall(r"<table ([^>]*)>", text)[1:] == [
        'aria-labelledby="table-2-caption"',
        'aria-labelledby="table-2-caption" class="folded"',
    ]
    assert rows_of(text)[-6:] == [["contrast"], ["a"], ["b"], ["contrast", "seeds", "queries"], ["a", "3", "300"], ["b", "3", "300"]]
    assert re.findall(r'<div class="parts"(.*?)>', text) == [' data-filter="table 1"', ""]


def test_a_table_wider_than_the_page_stands_in_parts_that_repeat_its_labels(tmp_path: Path) -> None:
    wide = pd.DataFrame({f"measure {n}": ["0.512 ± 0.004"] * 2 for n in range(12)}, index=pd.Index(["bm25", "dense"], name="cell"))
    heads = [row for row in rows_of(page_of(tmp_path, page.Table(wide, "Wide."))) if row[0] == "cell"]
    assert heads == [["cell", *(f"measure {n}" for n in part)] for part in (range(6), range(6, 12))]
    plain = wide.reset_index().assign(verdict="undecided")
    heads = [row for row in rows_of(page_of(tmp_path, page.Table(plain, "Wide, without an index."))) if row[0] == "cell"]
    assert [head[0] for head in heads] == ["cell", "cell"] and [name for head in heads for name in head[1:]] == list(plain.columns)[1:]


def test_what_is_said_in_short_stands_before_everything_and_leads_to_its_tables(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    box = text[text.index('<section class="short"') : text.index("<nav")]
    assert text.index('<section class="short"') < text.index("<nav") < text.index("<main>")
    assert re.findall(r'<a href="(.*?)">(table 1|section 4)</a>', box) == [("#table-1", "table 1"), ("#section-4", "section 4")]
    assert '<a href="notebooks/04_evaluate-a%20b.ipynb">' in box and "The best <code>cell</code> &lt; 1." in box
    assert "[+0.080,\N{NO-BREAK SPACE}+0.120]" in box and '<span class="verdict different">different</span>, these students only' in box
    assert '<div class="warnings" role="note"><h3>Warnings</h3><ul>' in box and "<script" not in box


# --- in a browser -----------------------------------------------------------------------------------------------------


def browse(path: Path, profile: Path) -> tuple[str, list[str]]:
    """Open a page in a headless browser; return its document as it then stands, and what its console said."""
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
        "--disable-sync --no-first-run --disable-dev-shm-usage --enable-logging=stderr --v=0 "
        "--virtual-time-budget=10000 --window-size=1280,900 --dump-dom"
    )
    command = [str(BROWSER), *flags.split(), f"--user-data-dir={profile}", path.as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=500, check=True)
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
    assert "hidden" not in "".join(re.findall(r'<button type="button" class="data"[^>]*>', document))
    assert document.count('aria-current="true"') == 1


@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on the path")
def test_browser_keeps_the_picture_of_a_chart_that_cannot_be_drawn_and_draws_the_others(path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    text = path.read_text(encoding="utf-8")
    nothing = base64.b64encode(gzip.compress(b"{{")).decode()
    broken.write_text(re.sub('(data-chart="figure-2-chart">)[^<]*', rf"\1{nothing}", text), encoding="utf-8")
    document, console = browse(broken, tmp_path / "profile")
    assert len(console) == 1 and "figure-2-chart: SyntaxError" in console[0]
    assert drawn(document) == {f"figure-{number}": number != 2 for number in range(1, 7)}


CLICKS = """<script>
const cells = place => [...document.querySelectorAll("#table-1 tbody tr")].map(row => row.cells[place].textContent);
const head = [...document.querySelectorAll("#table-1 thead th")].find(each => each.textContent === "share");
head.querySelector("button").click();
document.body.append(Object.assign(document.createElement("pre"), {id: "up", textContent: cells(0).join()}));
head.querySelector("button").click();
document.body.append(Object.assign(document.createElement("pre"), {id: "down", textContent: cells(0).join()}));
const box = document.querySelector("#table-1 .filter");
box.value = "even UNDECIDED";
box.dispatchEvent(new Event("input"));
const left = [...document.querySelectorAll("#table-1 tbody tr")].filter(row => !row.hidden).map(row => row.cells[0].textContent);
const found = document.querySelector("#table-1 .found").textContent;
document.body.append(Object.assign(document.createElement("pre"), {id: "left", textContent: left.join() + "; " + found}));
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on the path")
def test_browser_sorts_and_filters_tables_and_leaves_baselines_on_top(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"name": list("abcdefghij"), "share": ["1.0", "–", "10.0", "< 0.001", "-2.0", "9.5", "1,200", "0.001", "4e-05", "2"]}
    )
    frame = frame.assign(verdict=["even undecided", "odd undecided"] * 5)
    frame.attrs["n_baselines"] = 1
    text = page_of(tmp_path, page.Table(frame, "Ten rows."))
    (tmp_path / "r.html").write_text(text.replace("</body>", CLICKS + "</body>"), encoding="utf-8")
    document, console = browse(tmp_path / "r.html", tmp_path / "profile")
    assert console == []
    said = dict(re.findall(r'<pre id="(\w+)">(.*?)</pre>', document))
    assert said["up"] == "a,e,i,d,h,j,f,c,g,b" and said["down"] == "a,g,c,f,j,h,d,i,e,b"
    assert said["left"] == "a,g,c,i,e; 5 of 10 rows"


MEASURED = """<script>
const right = Math.max(...[...document.querySelectorAll("table")].map(table => table.getBoundingClientRect().right));
const text = [innerWidth, Math.ceil(right) <= document.documentElement.clientWidth, document.documentElement.scrollWidth <= innerWidth];
document.body.append(Object.assign(document.createElement("pre"), {id: "measured", textContent: text.join()}));
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on the path")
def test_browser_shows_a_whole_table_on_a_page_of_no_study(tmp_path: Path) -> None:
    """Without contents beside it there is room for columns that a report's page would spread over two parts."""
    frame = pd.DataFrame({f"column {n}": ["textofwords"] * 10 for n in range(13)})
    table = page.Table(frame, "Wide.", whole=True)
    made = page.html_report([page.Section("One", [], [table])], "Title", tmp_path / "r.html", None).read_text(encoding="utf-8")
    assert made.count("<table ") == 1 and "<nav" not in made and "<footer" not in made
    assert page_of(tmp_path, table._replace(whole=False)).count("<table ") == 2
    (tmp_path / "r.html").write_text(made.replace("</body>", MEASURED + "</body>"), encoding="utf-8")
    document, console = browse(tmp_path / "r.html", tmp_path / "profile")
    assert console == [] and dict(re.findall(r'<pre id="(\w+)">(.*?)</pre>', document))["measured"] == "1280,true,true"
    assert document.count("<button>") == 13 and 'class="filter"' in document


@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on the path")
def test_browser_shows_every_column_in_a_window_of_1280_pixels(tmp_path: Path) -> None:
    numbers = {f"measure@{n} of all": ["0.512 ± 0.004"] * 2 for n in range(15)}
    wide = pd.DataFrame(numbers, index=pd.Index(["interaction_cross-pooled_filtered-teacher-margin_mse"] * 2, name="cell"))
    details = {f"a detail with a longer title {n}": ["[-0.012, +0.034]"] * 2 for n in range(12)}
    contrasts = wide.reset_index().iloc[:, :6].assign(verdict="undecided, these students only, fragile", **details)
    text = page_of(tmp_path, page.Table(wide, "Wide."), page.Table(contrasts, "Contrasts.", secondary=list(details)))
    unfolded = text.replace('class="unfold"', 'class="unfold" checked')
    (tmp_path / "r.html").write_text(unfolded.replace("</body>", MEASURED + "</body>"), encoding="utf-8")
    document, console = browse(tmp_path / "r.html", tmp_path / "profile")
    assert console == []
    assert re.search(r'<pre id="measured">(.*?)</pre>', document)[1] == "1280,true,true"


HOSTILE = [
    NASTY,
    '"><img src=x onerror=alert(1)>',
    "' autofocus onfocus='alert(1)",
    "javascript:alert(1)",
    "]]><!--",
    "=1+cmd|' /C calc'!A0",
    "\u202ea\x00b",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_of_others_are_texts_wherever_the_page_shows_them(tmp_path: Path, path: Path, text: str) -> None:
    frame = pd.DataFrame(
        {"name": [text] * 12, "verdict": [f"{text} different"] * 12, text: range(12)}, index=pd.Index([text] * 12, name="row")
    )
    history = make_history().replace({"cell": {"cell 0": text}})
    blocks = [
        page.Table(frame, f"Of {text}", secondary=[text], name=text),
        page.Figure(charts.learning_chart(history), text),
    ]
    short = page.Short(text, [page.Point(text, (text,), page.Table(frame, text))], [text])
    made = page.html_report(
        [page.Section(text, [text], blocks, name=f"{text}.")], text, tmp_path / "report.html", page.Imprint(text, text, date=text),
        about=text, short=short, language=text,
    )  # fmt: skip
    found = Page(made.read_text(encoding="utf-8"))
    scripts = found.all("script")
    assert len(scripts) == 4 and all(set(each) <= {"type", "id", "data-chart"} for each in scripts)
    assert {name for _, attributes in found.tags for name in attributes if name.startswith("on") or name == "autofocus"} == set()
    plain = {tag for tag, _ in Page(path.read_text(encoding="utf-8")).tags}
    assert {tag for tag, _ in found.tags} == plain | {"input", "label"}  # of the folded column
    assert all(re.match(r"#|data:text/csv;", each["href"]) for each in found.all("a"))
    assert all(re.match(r"data:image/", each["src"]) for each in found.all("img"))
    data = next(each["href"] for each in found.all("a") if each.get("download"))
    rows = base64.b64decode(data.partition("base64,")[2]).decode()
    assert ("'=1+cmd" in rows) == text.startswith("=") and "\n=" not in rows


def test_a_link_with_a_scheme_is_refused(tmp_path: Path) -> None:
    for path in ("javascript:alert(1)", "JavaScript:x", "//example.org", "/etc/passwd", "data:text/html,x", "\\\\host"):
        table = page.Table(pd.DataFrame({"a": ["x"]}), "A table.", hrefs={"a": [path]})
        with pytest.raises(ValueError, match="is not a relative path"):
            page.html_report([page.Section("One", [], [table])], "Title", tmp_path / "r.html", page.Imprint("s", "i"))

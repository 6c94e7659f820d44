"""Tables: small ones against literal strings, LaTeX by its structure, CSV by reading it back, HTML by its parts."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rd_utils.report.drawing import MUTED
from rd_utils.report.forms import TableFiles, as_texts, flattened, latex_text, render, save_table

NAN = float("nan")


def main_table() -> pd.DataFrame:
    """A baseline and two cells under two first stages, as ``report.main_table`` writes them."""
    columns = [("bm25@100", "nDCG@10"), ("bm25@100", "AP(rel=2)"), ("full", "nDCG@10")]
    rows = [["0.420", "0.300", "–"], ["0.512 ± 0.003", "0.310 ± 0.010", "0.498 ± 0.001"], ["0.470 ± 0.020", "0.310 ± 0.020", "–"]]
    index = pd.Index(["BM25", "corpus_random & kl", "bm25 100%"], name="cell")
    table = pd.DataFrame(rows, index=index, columns=pd.MultiIndex.from_tuples(columns, names=["first_stage", "measure"]))
    table.attrs["n_baselines"] = 1
    return table


def mixed() -> pd.DataFrame:
    """Every kind of value that a table may hold."""
    index = pd.MultiIndex.from_tuples([("toy/train", "bm25"), ("toy/train", "dense"), ("other", "bm25")], names=["collection", "strategy"])
    columns = {
        "mean": [0.1 + 0.2, NAN, -0.05], "n_queries": [1200, 7, 12], "equivalent": [True, False, True],
        "p (Holm)": ["< 0.001", "0.031", "–"], "note": ["a|b, \"c\"", "*~^\\{}$#", None], "tiny": [4e-05, 3e-05, 0.0],
    }  # fmt: skip
    return pd.DataFrame(columns, index=index)


def matrix() -> pd.DataFrame:
    names = ["bm25", "dense"]
    return pd.DataFrame([[NAN, 0.012], [-0.012, NAN]], index=names, columns=names)


TABLES = {"main": main_table, "mixed": mixed, "matrix": matrix}


# --- CSV --------------------------------------------------------------------------------------------------------------


def test_csv_gives_every_value_back_as_it_was() -> None:
    table = mixed()
    back = pd.read_csv(io.StringIO(render(table, "csv", digits=1)), float_precision="round_trip").set_index(["collection", "strategy"])
    pd.testing.assert_frame_equal(back, table, check_dtype=False, check_exact=True)
    assert back["mean"].iloc[0] == 0.30000000000000004


def test_csv_has_one_line_of_names_and_texts_as_they_are() -> None:
    lines = render(main_table(), "csv", highlight=True, caption="said elsewhere").splitlines()
    assert lines == [
        "cell,bm25@100 nDCG@10,bm25@100 AP(rel=2),full nDCG@10",
        "BM25,0.420,0.300,–",
        "corpus_random & kl,0.512 ± 0.003,0.310 ± 0.010,0.498 ± 0.001",
        "bm25 100%,0.470 ± 0.020,0.310 ± 0.020,–",
    ]


def test_the_names_of_a_matrix_are_kept_and_a_plain_count_of_rows_is_not() -> None:
    assert render(matrix(), "csv").splitlines() == ["row,bm25,dense", "bm25,,0.012", "dense,-0.012,"]
    assert render(matrix(), "markdown").splitlines()[2].startswith("| bm25  |")
    assert flattened(pd.DataFrame({"a": [1, 2]})).columns.tolist() == ["a"]
    chosen = pd.DataFrame({"a": [1, 2, 3]}).iloc[1:]  # rows that were picked: their numbers say which
    assert flattened(chosen)["row"].tolist() == [1, 2]


# --- LaTeX ------------------------------------------------------------------------------------------------------------


def test_latex_of_the_main_table_letter_by_letter() -> None:
    written = render(main_table(), "latex", caption="Means of `nDCG@10` over 3 seeds, ± sd.", label="tab:main_1", highlight=True)
    assert (
        written
        == r"""\begin{table}
\centering
\caption{Means of \texttt{nDCG@10} over 3 seeds, $\pm$ sd.}
\label{tab:main_1}
\begin{tabular}{lrrr}
\toprule
 & \multicolumn{2}{c}{bm25@100} & full \\
\cmidrule(lr){2-3} \cmidrule(lr){4-4}
cell & nDCG@10 & AP(rel=2) & nDCG@10 \\
\midrule
BM25 & 0.420 & 0.300 & -- \\
\midrule
corpus\_random \& kl & \textbf{0.512 $\pm$ 0.003} & \textbf{0.310 $\pm$ 0.010} & \textbf{0.498 $\pm$ 0.001} \\
bm25 100\% & 0.470 $\pm$ 0.020 & \textbf{0.310 $\pm$ 0.020} & -- \\
\bottomrule
\end{tabular}
\end{table}
"""
    )


def test_latex_writes_the_label_of_a_block_of_rows_once() -> None:
    lines = render(mixed(), "latex").splitlines()
    assert [line.split(" & ")[:2] for line in lines[4:7]] == [["toy/train", "bm25"], ["", "dense"], ["other", "bm25"]]
    repeated = mixed().iloc[[0, 1, 0]]
    repeated.attrs["n_baselines"] = 1
    cells = [line.split(" & ")[0] for line in render(repeated, "latex").splitlines()[4:8]]
    assert cells == ["toy/train", r"\midrule", "toy/train", ""]  # said again below the baselines' rule


def columns_of(line: str) -> int:
    """Count the columns that a row fills; an escaped ampersand ends none."""
    spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
    return len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans) - len(spans)


def three_levels() -> pd.DataFrame:
    columns = pd.MultiIndex.from_tuples([("a", "x", "m"), ("a", "x", "n"), ("a", "y", "m"), ("", "y", "n")])
    return pd.DataFrame(np.arange(8.0).reshape(2, 4), columns=columns)


@pytest.mark.parametrize("make", [*TABLES.values(), three_levels])
@pytest.mark.parametrize("options", [{}, {"caption": "50 % of_all {#1}", "label": "tab:a"}, {"highlight": True}])
def test_latex_is_balanced_and_every_row_fills_every_column(make, options) -> None:
    written = render(make(), "latex", **options)
    assert re.sub(r"\\[{}]", "", written).count("{") == re.sub(r"\\[{}]", "", written).count("}")
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", written):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert opened == []
    assert re.sub(r"\\[$]", "", written).count("$") % 2 == 0
    n = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", written)[1])
    rows = [line for line in written.splitlines() if line.endswith(r"\\")]
    assert len(rows) == make().columns.nlevels + len(make())
    assert {columns_of(row) for row in rows} == {n}
    plain = "".join(line for line in written.splitlines() if line.endswith(r"\\"))
    assert not re.search(r"(?<!\\)[%#_^~]", plain) and plain.isascii()
    assert all(line == line.rstrip() or line.startswith(" ") for line in written.splitlines())


def test_latex_rules_lie_under_named_groups_only() -> None:
    lines = render(three_levels(), "latex").splitlines()
    assert lines[3] == r"\cmidrule(lr){1-3}"
    assert lines[5] == r"\cmidrule(lr){1-2} \cmidrule(lr){3-3} \cmidrule(lr){4-4}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & 50 % #1 {x} $y ~ ^ \\", r"a\_b \& 50 \% \#1 \{x\} \$y \textasciitilde{} \textasciicircum{} \textbackslash{}"),
        ("–", "--"),
        ("< 0.001", "$<$ 0.001"),
        ("-0.5", "$-$0.5"),
        ("bm25 - corpus-random", "bm25 - corpus-random"),
        ("2025-05", "2025-05"),
        ("4.0e-05", "4.0e-05"),
        ("[0.1, 0.2]", "{[}0.1, 0.2]"),  # after a line's end a bracket would be its argument
        ("* taken", "{*} taken"),
        ("two\nlines", "two lines"),
        ("", ""),
    ],
)
def test_latex_text(text: str, expected: str) -> None:
    assert latex_text(text) == expected


# --- Markdown ---------------------------------------------------------------------------------------------------------


def test_markdown_writes_an_aligned_table() -> None:
    frame = pd.DataFrame({"strategy": ["bm25", "a|b"], "diameter": [0.5, NAN], "n": [1234, 7]})
    assert render(frame, "markdown").splitlines() == [
        "| strategy   |   diameter |     n |",
        "|:-----------|-----------:|------:|",
        "| bm25       |      0.500 | 1,234 |",
        "| a\\|b       |          – |     7 |",
    ]
    heads = [text.strip() for text in render(main_table(), "markdown").splitlines()[0].split("|")[1:-1]]
    assert heads == ["cell", "bm25@100 nDCG@10", "bm25@100 AP(rel=2)", "full nDCG@10"]


def test_markdown_sets_the_best_in_bold_to_the_right_and_ends_with_its_caption() -> None:
    table = pd.DataFrame({"strategy": ["a|b", "<i>"], "n": [2, 3], "value": [0.5, 0.25]})
    assert render(table, "markdown", digits=2, highlight=True, caption="Two\nstrategies.") == (
        "| strategy   |   n |    value |\n"
        "|:-----------|----:|---------:|\n"
        "| a\\|b       |   2 | **0.50** |\n"
        "| \\<i>       |   3 |     0.25 |\n"
        "\n"
        "Table: Two strategies.\n"
    )


# --- HTML -------------------------------------------------------------------------------------------------------------


class Cells(HTMLParser):
    """The texts of a table's entries, and which are bold."""

    def __init__(self, written: str) -> None:
        super().__init__()
        self.entries: list[str] = []
        self.bold: list[str] = []
        self.open: list[str] = []
        self.feed(written)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        if tag in ("td", "th"):
            self.entries.append("")

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "strong" in self.open:
            self.bold.append(data)
        if {"td", "th"} & set(self.open):
            self.entries[-1] += data


def test_styler_shows_escaped_texts_and_the_best_in_bold() -> None:
    table = main_table()
    table.columns = table.columns.set_levels(["<full>", "bm25@100"], level=0)
    written = render(table, "styler", highlight=True, caption="a < b in `run`").to_html()
    cells = Cells(written)
    assert cells.bold == ["0.512 ± 0.003", "0.310 ± 0.010", "0.498 ± 0.001", "0.310 ± 0.020"]
    assert "&lt;full&gt;" in written and "<full>" not in written
    assert "<caption>a &lt; b in <code>run</code></caption>" in written
    assert "corpus_random & kl" in cells.entries


def test_styler_takes_rows_and_columns_that_repeat_a_name() -> None:
    table = pd.DataFrame([[0.1, 0.2], [0.3, 0.1]], index=pd.Index([0.0301, 0.0302], name="rate"), columns=["a", "b"])
    entries = Cells(render(table, "styler").to_html()).entries  # both rates read 0.030
    assert entries[-6:] == ["0.030", "0.100", "0.200", "0.030", "0.300", "0.100"]


def test_two_tables_of_one_page_have_names_of_their_own_and_the_same_table_the_same() -> None:
    names = [re.search(r'id="(T_\w+)"', render(table, "styler").to_html())[1] for table in (main_table(), matrix(), matrix())]
    assert names[0] != names[1] == names[2]


def test_styler_greys_the_baselines_and_puts_numbers_to_the_right() -> None:
    styles = render(main_table(), "styler").to_html().split("</style>")[0]
    assert re.search(rf"th\.row0 \{{\s*color: {MUTED}", styles) and ".row1" not in styles
    assert re.search(r"\.col0 \{\s*text-align: right", styles)
    assert ".col2 {" not in render(mixed(), "styler").to_html()  # a yes or no stands to the left


# --- what is bold -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["markdown", "latex"])
def test_bold_marks_numbers_as_shown_but_no_counts_texts_or_answers(to: str) -> None:
    bold = re.findall(r"\*\*(.+?)\*\*|\\textbf\{([^}]*)\}", render(mixed(), to, highlight=True))
    found = ["".join(pair) for pair in bold]
    assert found == ["0.300", "4.0e-05", "0.031"]  # by rows; what a p-value column means is its caller's: name the columns


def test_bold_is_kept_to_the_columns_that_are_named() -> None:
    assert render(mixed(), "markdown", highlight=["n_queries"]).count("**1,200**") == 1
    assert render(mixed(), "markdown", highlight=["n_queries"]).count("**") == 2
    table = main_table()
    assert render(table, "markdown", highlight=[("full", "nDCG@10")]).count("**") == 2
    with pytest.raises(ValueError, match="no column 'n_query' to highlight; did you mean 'n_queries'"):
        render(mixed(), "markdown", highlight=["n_query"])


def test_a_column_with_nothing_below_the_baselines_has_no_bold() -> None:
    table = main_table()
    table.iloc[1:, 2] = "–"
    assert [line.count("**") for line in render(table, "markdown", highlight=True).splitlines()] == [0, 0, 0, 4, 2]


def test_texts_tell_labels_sides_and_what_is_bold() -> None:
    texts = as_texts(main_table(), highlight=[("full", "nDCG@10")])
    assert (texts.n_labels, texts.n_baselines) == (1, 1)
    assert texts.heads == [("", "cell"), ("bm25@100", "nDCG@10"), ("bm25@100", "AP(rel=2)"), ("full", "nDCG@10")]
    assert texts.right == [False, True, True, True]
    assert texts.rows[1] == ["corpus_random & kl", "0.512 ± 0.003", "0.310 ± 0.010", "0.498 ± 0.001"]
    assert [row.index(True) for row in texts.best if any(row)] == [3]


# --- files and errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLES)
def test_save_table_writes_what_render_returns_and_the_same_bytes_again(name: str, tmp_path: Path) -> None:
    options = {"caption": "One table.", "label": "tab:one", "highlight": True}
    files = save_table(TABLES[name](), tmp_path / "deep" / "nDCG@10.v1", **options)
    assert files == TableFiles(*(tmp_path / "deep" / f"nDCG@10.v1.{ending}" for ending in ("html", "md", "csv", "tex")))
    assert files.markdown.read_text(encoding="utf-8") == render(TABLES[name](), "markdown", **options)
    assert files.latex.read_text(encoding="utf-8") == render(TABLES[name](), "latex", **options)
    assert files.csv.read_text(encoding="utf-8") == render(TABLES[name](), "csv")
    assert files.html.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    before = [path.read_bytes() for path in files]
    assert [path.read_bytes() for path in save_table(TABLES[name](), tmp_path / "again", **options)] == before


@pytest.mark.parametrize(
    ("table", "to", "options", "message"),
    [
        (matrix(), "html", {}, r"unknown form 'html' of a table.*\(choices: styler, markdown, csv, latex\)"),
        (matrix().iloc[:0], "csv", {}, "table has no rows"),
        (matrix(), "latex", {"label": "tab #1"}, "label is 'tab #1'"),
        (matrix().rename_axis("bm25"), "csv", {}, "1 column.*the first is 'bm25'; rename one"),
        (pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "b c"), ("a b", "c")])), "csv", {}, "the first is 'a b c'"),
    ],
)
def test_render_refuses_what_it_cannot_write(table, to, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        render(table, to, **options)


def test_render_leaves_the_table_as_it_was() -> None:
    for make in TABLES.values():
        table = make()
        for to in ("styler", "markdown", "csv", "latex"):
            render(table, to, highlight=True)
        pd.testing.assert_frame_equal(table, make())


def test_a_styler_says_its_caption_as_text_and_no_address_that_differs_between_runs():
    frame = pd.DataFrame({"a": [0.5]})
    assert repr(render(frame, "styler", caption="Means of `a`")) == "Table: Means of <code>a</code>"
    assert repr(render(frame, "styler")) == "Table"


# --- texts that someone else wrote --------------------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>", "</td></table><img src=x onerror=alert(1)>", "\"' onmouseover='alert(1)", "<a href='javascript:x'>y</a>",
    "[here](javascript:alert(1))", "![seen](http://example.org/pixel)", "https://example.org/?q", "www.example.org", "<https://example.org>",
    "a|b\n| c | d", "# head\r\n- item", "`code` ~~gone~~ **bold** __x__", "&lt;script&gt; &#60;", "$x^2$ \\(y\\)",
    "line\u2028two\x0cthree\x1b[31m",
    "\\input{/etc/passwd} \\write18{id}", "100 % #1 a&b {c} x_y ~ ^ \\", "% \\end{tabular}", "*", "[",
]  # fmt: skip
FORMULAS = [
    "=HYPERLINK(\"http://example.org\",\"x\")", "+1+cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", "@SUM(A1:A9)", "\t=1+1", "\r=1+1",
    " =1+1", "\n=1", "\uff1d1+1", "-", "+A1",
]  # fmt: skip


def hostile(texts) -> pd.DataFrame:
    """The texts as values, as names of rows, as a name of a level and as heads of columns."""
    frame = pd.DataFrame({"name": texts, texts[0]: [0.5] * len(texts)}, index=pd.Index(texts, name=texts[1]))
    frame[f"{texts[2]} 2"] = texts[::-1]
    return frame


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_html_holds_hostile_texts_as_texts() -> None:
    written = Tags(render(hostile(HOSTILE), "styler", caption=" ".join(HOSTILE)).to_html(doctype_html=True))
    known = {"html", "head", "meta", "style", "body", "table", "caption", "thead", "tbody", "tr", "th", "td", "code"}
    assert {tag for tag, _ in written.found} == known
    assert {name for _, attributes in written.found for name in attributes} <= {"id", "class", "charset", "type"}
    said = {" ".join(word.split()) for word in written.words}
    assert {" ".join(text.split()) for text in HOSTILE} <= said


def test_markdown_holds_hostile_texts_in_one_line_and_entry_each() -> None:
    written = render(hostile(HOSTILE), "markdown", caption=" ".join(HOSTILE))
    table, _, said = written.partition("\n\n")
    lines = table.splitlines()
    assert len(lines) == 2 + len(HOSTILE) and said.count("\n") == 1
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines} == {5}
    for mark in (r"<[A-Za-z/!]", r"\]\(", r"https?://", r"www\.", r"`", r"~", r"\$", r"&#?\w+;"):
        assert not re.search(rf"(?<!\\)(?:\\\\)*{mark}", table), mark


@pytest.mark.parametrize("text", HOSTILE)
def test_latex_holds_hostile_texts_as_texts(text: str) -> None:
    written = latex_text(text)
    commands = r"\\(textbackslash|textasciitilde|textasciicircum|textbar|dots)\{\}|\\[{}_&%#$]|\$(<|>|-|\\pm|\\cdot|\\times)\$|^\{[\[*]\}"
    assert not re.search(r"[\\{}_&%#$~^|<>\x00-\x1f\u2028]", re.sub(commands, "", written))


@pytest.mark.parametrize("text", FORMULAS)
def test_csv_holds_no_formula_whether_in_entries_rows_or_heads(text: str) -> None:
    frame = pd.DataFrame({"name": [text], "x": [-0.5], text: [text]}, index=pd.Index([text], name=f"{text} n"))
    rows, safe = list(csv.reader(io.StringIO(render(frame, "csv"), newline=""))), "'" + text.replace("\r", "\n")
    assert rows == [[f"{safe} n", "name", "x", safe], [safe, safe, "-0.5", safe]]


def test_csv_leaves_numbers_and_texts_of_numbers_as_they_are() -> None:
    texts = ["-0.5", "+0.012 [0.001, 0.023]", "-1.5e-05", "-0.500 ± 0.003", "a=b", "x-y", "user@host", "", "–"]
    frame = pd.DataFrame({"text": texts, "number": np.linspace(-1, 1, len(texts))})
    back = pd.read_csv(io.StringIO(render(frame, "csv")), keep_default_na=False, float_precision="round_trip")
    assert back["text"].tolist() == texts and back["number"].tolist() == frame["number"].tolist()

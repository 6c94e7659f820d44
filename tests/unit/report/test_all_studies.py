"""The page over all studies: what it reads of their folders, what it shows, and where its rows lead to."""

from __future__ import annotations

import base64
import io
import json
import re
from html import unescape
from pathlib import Path

import pandas as pd
import pytest
from commands import asked

from rd_utils.report import all_studies, page
from rd_utils.report.sections.effectiveness import all_systems
from rd_utils.study.params import ParameterError
from rd_utils.study.plan import DIMENSIONS, PLACE

PLACES = dict(zip(PLACE, ("toy/train", "toy/test", "full"), strict=True))
PLAIN = {"augmentation": "none", "cut": "all", "temperature": 1.0, "target_entropy": float("nan")}
# by cell: strategy, teacher, loss, temperature, and three queries' values of each seed
CELLS = {
    "bi-random-lce": ("random", "", "lce", 1.0, ((0.2, 0.4, 0.6),)),
    "bi-mined_hard-oracle-kl-T2": ("mined_hard", "oracle", "kl", 2.0, ((0.7, 0.8, 0.9),)),
}


def make_study(outputs: Path, name: str, report: bool = True, measure: str = "nDCG@10") -> Path:
    """Write the files that a finished study leaves."""
    folder = outputs / name
    folder.mkdir(parents=True)
    rows, points = [], []
    for cell, (strategy, teacher, loss, temperature, seeds) in CELLS.items():
        about = PLACES | {"cell": cell, "strategy": strategy, "teacher": teacher, "loss": loss, "architecture": "bi"} | PLAIN
        about["temperature"] = temperature
        points.append(about | {"total_cpu_seconds": 12.4, "total_gpu_seconds": 0.0, "total_joules": 1.0, "total_teacher_calls": 5.0})
        for seed, values in enumerate(seeds):
            for query, value in enumerate(values):
                for of, shown in ((measure, value), ("AP", 0.0)):
                    rows.append(about | {"system": "student", "seed": seed, "query_id": f"q{query}", "measure": of, "value": shown})
    rows.append(PLACES | dict.fromkeys(DIMENSIONS[:4], "") | PLAIN
                | {"cell": "BM25", "system": "first_stage", "seed": -1, "query_id": "q0", "measure": measure, "value": 0.9})  # fmt: skip
    contrast = PLACES | {"cell_after": [*CELLS][1], "difference": 0.4, "low": 0.25, "high": 0.55}
    differences = [
        contrast | {"family": "strategy", "verdict": "different, these students only", "fragile": False},
        contrast | {"family": "first stage", "verdict": "undecided", "fragile": True},
        contrast | {"family": "loss", "verdict": "equivalent", "fragile": False},
    ]
    for stem, frame in (("per_query", rows), ("points", points), ("differences", differences)):
        pd.DataFrame(frame).to_parquet(folder / f"{stem}.parquet", index=False)
    analysis = {"measure": measure, "level": 0.95, "baseline_strategy": "random", "equivalence_margin": 0.02}
    about = {"study": name, "parameters": {"question": f"Is {name} < all?", "analysis": analysis}}
    (folder / "study.json").write_text(json.dumps(about))
    if report:
        tables = [page.Table(pd.DataFrame({"a": [1]}), caption) for caption in ("Groups.", all_systems("toy/train", "toy/test", 1))]
        page.html_report([page.Section("One", [], tables)], name, folder / "report.html", page.Imprint(name, "0"))
    return folder


def rows_of(text: str, number: int = 2) -> list[list[str]]:
    """Return the texts of a table's rows."""
    table = text.partition(f'<figure class="table" id="table-{number}"')[2].partition("</figure>")[0]
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", table.partition("<tbody>")[2], re.DOTALL)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]
    return [[unescape(re.sub(r"<[^>]+>", "", cell)).replace("\xa0", " ") for cell in row] for row in cells]


def test_every_cell_of_every_study_has_a_row_the_highest_mean_first(outputs):
    for name in ("one", "two"):
        make_study(outputs, name)
    assert asked(all_studies) == f"{outputs / 'index.html'}: 2 studies, 4 rows"
    text = (outputs / "index.html").read_text(encoding="utf-8")
    rows = rows_of(text)
    assert [row[0] for row in rows] == ["one", "two", "one", "two"]
    # of 0.7, 0.8, 0.9 the mean is 0.8 and its standard error 0.1 / sqrt(3); a t of 2 degrees of freedom reaches 4.303
    assert rows[0] == [
        "one", "toy", "full", "mined_hard", "oracle", "kl", "bi", "T 2", "0.800 [0.552, 1.048]",
        "+0.400 [+0.250, +0.550] different, these students only", "+0.400 [+0.250, +0.550] undecided, fragile", "12",
    ]  # fmt: skip
    assert rows[2][3:] == ["random", "–", "lce", "bi", "", "0.400 [-0.097, 0.897]", "–", "–", "12"]
    assert [row[:2] for row in rows_of(text, 1)] == [["one", "Is one < all?"], ["two", "Is two < all?"]]
    assert rows_of(text, 1)[0][-2:] == ["0.800 bi-mined_hard-oracle-kl-T2", "1 different"]
    assert text.count('<span class="verdict different">') == 2 and text.count("<table ") == 2


def test_a_row_leads_to_its_table_in_the_report_from_wherever_the_page_lies(outputs, tmp_path):
    make_study(outputs, "one")
    make_study(outputs, "no_report", report=False)
    elsewhere = tmp_path / "pages" / "all.html"
    for options, before, place in (((), "", outputs / "index.html"), (("--to", elsewhere), "../outputs/", elsewhere)):
        asked(all_studies, *options)
        first, *rows = re.findall(r'<a href="([^"]*)"', place.read_text(encoding="utf-8"))
        assert first == f"{before}one/report.html" and (place.parent / first).is_file()
        assert rows == [f"{first}#table-2"] * 2  # the second table is of all systems, not the first


def test_the_data_hold_numbers_in_full(outputs):
    make_study(outputs, "one")
    asked(all_studies)
    packed = re.findall(r'download="table-2.csv" href="data:text/csv;charset=utf-8;base64,([^"]+)"', (outputs / "index.html").read_text())
    data = pd.read_csv(io.BytesIO(base64.b64decode(packed[0])))
    assert data.columns[0] == "study" and {"low", "high", "cpu_seconds", "difference, strategy", "cell"} <= set(data.columns)
    assert data["mean"].tolist() == pytest.approx([0.8, 0.4]) and data["seeds"].tolist() == [1, 1] and data["queries"].tolist() == [3, 3]


def test_a_measure_is_a_column_where_studies_differ_in_it(outputs):
    make_study(outputs, "one")
    make_study(outputs, "two", measure="RR@10")
    asked(all_studies)
    assert {(row[0], row[8]) for row in rows_of((outputs / "index.html").read_text(encoding="utf-8"))} == {
        ("one", "nDCG@10"),
        ("two", "RR@10"),
    }


def test_a_study_that_cannot_be_read_is_left_out_and_named(outputs):
    make_study(outputs, "one")
    (make_study(outputs, "damaged") / "per_query.parquet").write_bytes(b"PAR1")
    (make_study(outputs, "gone") / "differences.parquet").unlink()
    (make_study(outputs, "old") / "study.json").write_text("{}")
    said = asked(all_studies)
    assert "1 study, 2 rows" in said and said.count("left out: ") == 3
    text = (outputs / "index.html").read_text(encoding="utf-8")
    assert all(name in said and name in text.partition("Left out")[2] for name in ("damaged", "gone", "old"))


def test_without_a_study_or_with_a_folder_nothing_is_written(outputs, tmp_path):
    with pytest.raises(ParameterError, match="holds no finished study; `rd run params/smallest.yaml` makes one"):
        asked(all_studies)
    make_study(outputs, "old").joinpath("points.parquet").unlink()
    with pytest.raises(ParameterError, match="no finished study; left out: old"):
        asked(all_studies)
    with pytest.raises(ParameterError, match="is a folder; name a file in it"):
        asked(all_studies, "--to", tmp_path)
    assert not list(outputs.rglob("index.html"))

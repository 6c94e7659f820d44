"""Files that people write: what is read as it stands, and what is refused with its line."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import math
import os
import random

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rd_utils.data import jsonl, reading, trec
from rd_utils.data.reading import FileError

ODD_IDS = ["NA", "null", "nan", "None", "N/A", "", '"a', 'b"', '"c"', "007", "1e5", "1.0", "True", "#1", "'", "a,b", "-", "q\u0301", "文書"]


def written(tmp_path, content, name="file"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(read, path, *parts):
    """Check that a file is refused with its path and these parts of the message."""
    with pytest.raises(FileError) as error:
        list(read(path))
    message = str(error.value)
    assert str(path) in message and all(part in message for part in parts), message
    return message


def listed(path):
    return list(jsonl.texts(path))


# --- lines ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("block", [8, 13, 1 << 16])
def test_line_ends_marks_and_packing_are_no_text(tmp_path, monkeypatch, end, mark, packed, block):
    monkeypatch.setattr(reading, "BLOCK", block)
    pack = gzip.compress if packed else bytes
    lines = ['{"_id": "NA", "text": "a"}', "", '{"_id": "2", "text": "\u2028é"}']
    path = written(tmp_path, pack(mark + end.join(lines).encode()))
    assert listed(path) == [("NA", "a"), ("2", "\u2028é")]
    judged = trec.qrels(written(tmp_path, pack(mark + end.join(["q1 0 d1 1", "", "q2 0 d1 -1"]).encode())))
    assert judged.frame.values.tolist() == [["q1", "d1", 1], ["q2", "d1", -1]] and judged.lines.tolist() == [1, 3]
    run = trec.run(written(tmp_path, pack(mark + end.join(["NA\tQ0  null 0 1e3 t", " ", "q Q0 d 1 -.5 t", ""]).encode())))
    assert run.frame[["query_id", "doc_id", "score"]].values.tolist() == [["NA", "null", 1000.0], ["q", "d", -0.5]]
    assert run.lines.tolist() == [1, 3]


@pytest.mark.parametrize("read", [listed, trec.qrels, trec.run, trec.scores])
@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("q1 0 dé 1\n".encode("utf-16"), ["is UTF-16 or UTF-32", "save it as UTF-8"]),
        ("q1 0 d1 1\n".encode("utf-16-le"), ["line 1: holds a NUL character; it looks like UTF-16", "UTF-8"]),
        ("q1 0 d1 1\n".encode("utf-32"), ["UTF-32"]),
        (b"\n\nq1 0 d\xe9 1\n", ["line 3: byte 7 (0xe9) is not UTF-8, perhaps Latin-1", "save the file as UTF-8"]),
        (b"\r\n\rq1 0 d\xe9 1\n", ["line 3: byte 7 (0xe9)"]),
        (b"q1 0 d1 1\nq1 0 d\x002 1 and more of them\n", ["line 2: holds a NUL character", "take the NUL out"]),
        (gzip.compress(b"q1 0 d1 1\n" * 9, mtime=0)[:-9], ["damaged or cut"]),
        (gzip.compress(random.Random(0).randbytes(9999), mtime=0)[:500], ["damaged or cut"]),
        (gzip.compress(gzip.compress(b"q1 0 d1 1\n", mtime=0), mtime=0), ["compressed by gzip twice"]),
        (b"PK\x03\x04 and so on", ["zip archive", "unpack or convert it"]),
        (bz2.compress(b"q1 0 d1 1\n"), ["bzip2"]),
        (lzma.compress(b"q1 0 d1 1\n"), ["xz"]),
    ],
)
def test_other_encodings_and_kinds_are_refused(tmp_path, read, content, parts):
    refused(read, written(tmp_path, content), *parts)


@pytest.mark.parametrize("read", [listed, trec.qrels, trec.run, trec.scores])
def test_what_is_no_file_is_refused(tmp_path, read):
    refused(read, tmp_path / "none", "there is no such file; put it there")
    refused(read, tmp_path, "there is no such file, it is a folder")
    refused(read, tmp_path / ("n" * 300), "there is no such file")
    os.mkfifo(tmp_path / "pipe")  # would wait for ever
    refused(read, tmp_path / "pipe", "it is something else")


def test_a_line_without_an_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "LONGEST_LINE", 1 << 17)
    refused(
        listed, written(tmp_path, gzip.compress(b'{"_id": "1", "text": "' + b"a" * (1 << 20))), "line 1: is longer than 0 MiB; put line"
    )


def test_all_wrong_lines_are_counted_and_the_first_are_shown(tmp_path):
    path = written(tmp_path, "".join(f"q{i} 0 d{i} {'x' if i % 2 else 1}\n" for i in range(2000)))
    message = refused(trec.qrels, path, "1,000 lines are wrong; expected one such as 0 or 1", "line 2: the grade 'x'", "and 995 more")
    assert message.count("\n") == 6
    refused(trec.qrels, written(tmp_path, "q1 0 d 1\nq1 0 e x\nq1 0 f\n"), "line 2: the grade 'x' is", "; expected", "line 3: 'q1 0 f' has")


# --- JSON lines -------------------------------------------------------------------------------------------------------------------


def line_of(name, text="a", **more):
    return json.dumps({"_id": name, "text": text, **more}) + "\n"


def test_ids_are_the_characters_that_stand_there(tmp_path):
    names = [name for name in ODD_IDS if name]
    path = written(
        tmp_path,
        "".join(map(line_of, names)) + '{"_id": 7, "text": ""}\n{"_id": -0, "text": ""}\n{"_id": 123456789012345678901, "text": ""}',
    )
    assert [name for name, _ in listed(path)] == [*names, "7", "-0", "123456789012345678901"]


def test_titles_stand_before_texts(tmp_path):
    path = written(
        tmp_path, line_of("1", " b ", title="a") + line_of("2", title=None) + line_of("3", title="") + line_of("4", "\U0001f600")
    )
    assert list(jsonl.texts(path, titles=True)) == [("1", "a  b"), ("2", "a"), ("3", "a"), ("4", "\U0001f600")]
    assert listed(path)[0] == ("1", " b ")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("[1, 2]", "is a list, no object"),
        ("7", "is the number 7, no object"),
        ('"text"', "is a string, no object"),
        ("null", "is null, no object"),
        ("{broken", "is not valid JSON"),
        ('{"_id": "1", "text": "a"} {}', "is not valid JSON: '{}' follows"),
        ('{"_id": "1", "text": "a"},', "is not valid JSON: ',' follows"),
        ('{"_id": "1", "text": "a", "text": "b"}', "the key 'text' stands twice in one object"),
        ('{"_id": "1", "text": "a", "\\u005fid": "2"}', "the key '_id' stands twice"),
        ('{"_id": "1", "text": "a", "more": ' + "[" * 100_000, "is nested too deeply"),
        ('{"text": "a"}', "has no field '_id', only text"),
        ('{"_id": "1"}', "has no field 'text', only _id"),
        ('{"_id": null, "text": "a"}', "the field '_id' is null"),
        ('{"_id": 1.5, "text": "a"}', "the field '_id' is the number 1.5; write it as a string"),
        ('{"_id": 1e5, "text": "a"}', "the field '_id' is the number 100000.0"),
        ('{"_id": true, "text": "a"}', "the field '_id' is the truth value true"),
        ('{"_id": ["1"], "text": "a"}', "the field '_id' is a list"),
        ('{"_id": "", "text": "a"}', "the _id '' is empty"),
        ('{"_id": "a b", "text": "a"}', "the _id 'a b' holds white space, which the TREC format cannot say"),
        ('{"_id": "a\\u00a0b", "text": "a"}', "holds white space"),
        ('{"_id": "a\\n", "text": "a"}', "holds white space"),
        ('{"_id": "a\\u0000", "text": "a"}', "holds the invisible character U+0000"),
        ('{"_id": "\\ufeffa", "text": "a"}', "holds the invisible character U+FEFF"),
        ('{"_id": "' + "a" * 5000 + '", "text": "a"}', "has 5,000 characters, more than the 4,096"),
        ('{"_id": "a\\ud83d", "text": "a"}', "holds half a character (\\ud83d"),
        ('{"_id": "1", "text": null}', "the field 'text' of '1' is null; give it a value"),
        ('{"_id": "1", "text": 7}', "the field 'text' of '1' is the number 7; write it as a string"),
        ('{"_id": "1", "text": NaN}', "the field 'text' of '1' is NaN, which is no JSON"),
        ('{"_id": "1", "text": -Infinity}', "the field 'text' of '1' is an infinite number"),
        ('{"_id": "1", "text": ["a", "b"]}', "the field 'text' of '1' is a list"),
        ('{"_id": "1", "text": {"a": 1}}', "the field 'text' of '1' is an object"),
        ('{"_id": "1", "text": "broken \\ud83d"}', "the field 'text' of '1' holds half a character (\\ud83d"),
        ('{"_id": "1", "text": "\\udc00\\ud83d"}', "holds half a character (\\udc00"),
        ('{"_id": "1", "text": "a\\u0000b"}', "the field 'text' of '1' holds a NUL character"),
        ('{"_id": "1", "text": "a", "title": 7}', "the field 'title' of '1' is the number 7"),
        ('{"_id": "1", "text": "a", "title": ["b"]}', "the field 'title' of '1' is a list"),
        ('{"_id": ' + "9" * 5000 + ', "text": "a"}', "has 5,000 characters"),
    ],
)
def test_lines_that_are_refused(tmp_path, line, problem):
    path = written(tmp_path, line_of("x") + "\n" + line + "\n" + line_of("y"))
    refused(lambda path: jsonl.texts(path, titles=True), path, "line 3: ", problem)
    assert [name for name, _ in jsonl.texts(path, most=1)] == ["x"]


def test_escapes_that_are_whole_characters_are_read(tmp_path):
    path = written(tmp_path, '{"_id": "1", "text": "\\ud83d\\ude00 \\\\u0000 \\\\ud83d \\u00e9"}\n')
    assert listed(path) == [("1", "\U0001f600 \\u0000 \\ud83d é")]


def test_fields_that_nobody_reads_may_hold_anything(tmp_path):
    path = written(tmp_path, '{"_id": "1", "metadata": {"a": NaN, "b": [null, 1e999]}, "text": "a", "title": 7}\n')
    assert listed(path) == [("1", "a")]


def test_careful_reading_agrees_with_fast_reading(tmp_path):
    """White space around a line, which JSON allows, sends a whole block the slow way."""
    lines = [line_of(f"d{i}", f"text \u2029 {i}", title="t" * (i % 2)) for i in range(50)]
    fast = list(jsonl.texts(written(tmp_path, "".join(lines)), titles=True))
    slow = list(jsonl.texts(written(tmp_path, " \t" + " ".join(lines)), titles=True))
    assert fast == slow and len(fast) == 50


# --- qrels ------------------------------------------------------------------------------------------------------------------------

HEADER = "query-id\tcorpus-id\tscore\n"


def test_qrels_are_read_in_both_forms_with_ids_as_they_stand(tmp_path):
    names = [name for name in ODD_IDS if name]
    rows = [[name, other, grade] for name, other, grade in zip(names, reversed(names), [0, 1, 2, -1, 3] * 9, strict=False)]
    for lines in (HEADER + "".join(f"{q}\t{d}\t{g}\n" for q, d, g in rows), "".join(f"{q} 0\t{d} {g}\n" for q, d, g in rows)):
        assert trec.qrels(written(tmp_path, lines)).frame.values.tolist() == rows
    frame = trec.qrels(written(tmp_path, HEADER + "q\td\t1.0\nq\te\t+2\n")).frame
    assert frame["relevance"].tolist() == [1, 2] and frame.dtypes.astype(str).tolist() == ["str", "str", "int64"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "holds no judgement"),
        (HEADER, "holds no judgement"),
        ("q1\td1\t1\n", "line 1: 'q1\\td1\\t1' has 3 fields and is not the header; expected the header query-id"),
        ("query-id corpus-id score\nq1\td1\t1\n", "line 1: 'query-id corpus-id score' has 3 fields and is not the header"),
        ("q1\td1\n", "has 2 fields and is not the header"),
        ("query-id\titeration\tcorpus-id\tscore\n", "does not end with a whole number"),
        ("q1 d1 0 1\n", "line 1: the iteration 'd1' is neither a number nor Q0; expected the header"),
        (HEADER + "q1\td1\n", "line 2: 'q1\\td1' has 2 fields"),
        (HEADER + "q1\td1\t1\tmore\n", "line 2: 'q1\\td1\\t1\\tmore' has 4 fields"),
        (HEADER + "q1 d1 1\n", "line 2: 'q1 d1 1' has 1 fields"),
        ("q1 0 d1 1\nq1\td1\t1\n", "line 2: 'q1\\td1\\t1' has 3 fields"),
        (HEADER + "q1\td1\t0.5\n", "line 2: the grade '0.5' is no whole number"),
        (HEADER + "q1\td1\tgood\n", "the grade 'good'"),
        (HEADER + "q1\td1\t\n", "the grade ''"),
        (HEADER + "q1\td1\t1_0\n", "the grade '1_0' is no whole number"),
        (HEADER + "q1\td1\t٣\n", "the grade '٣' is no whole number"),
        (HEADER + "q1\td1\tnan\n", "the grade 'nan' is no whole number"),
        (HEADER + "q1\td1\t1000000000\n", "the grade '1000000000' is not between -10 and 100"),
        (HEADER + "q1\td1\t-11\n", "is not between"),
        (HEADER + "q1\td1\t" + "9" * 5000 + "\n", "is no whole number"),
        (HEADER + "\td1\t1\n", "line 2: the query id '' is empty"),
        (HEADER + "q1\td 1\t1\n", "line 2: the document id 'd 1' holds white space"),
        (HEADER + "q1 \td1\t1\n", "the query id 'q1 ' holds white space"),
        ("q1 0 d\u00a01 1\n", "the document id 'd\\xa01' holds white space"),
        ("q1 0 d1 1\n\nq1 0 d1 1\n", "line 3: judges query 'q1', document 'd1' again, after line 1 (the same grade: 1 after 1)"),
        ("q1 0 d1 1\nq1 0 d1 0\n", "line 2: judges query 'q1', document 'd1' again, after line 1 (another grade: 0 after 1)"),
    ],
)
def test_qrels_that_are_refused(tmp_path, content, problem):
    refused(trec.qrels, written(tmp_path, content), problem)


# --- runs and scores ------------------------------------------------------------------------------------------------------------------


def test_ranks_are_kept_and_scores_are_exact(tmp_path):
    run = trec.run(written(tmp_path, "q Q0 a 1 0.1 t\nq Q0 b two 1e-320 t\nq Q0 c 3 +5. t\n")).frame
    assert run["score"].tolist() == [0.1, 1e-320, 5.0] and run["rank"].tolist()[::2] == [1, 3] and math.isnan(run["rank"][1])


@pytest.mark.parametrize("score", ["nan", "inf", "-Infinity", "1e999", "1_0", "0x1p3", "1,5", "high", "٣"])
def test_scores_that_are_no_finite_numbers_are_refused(tmp_path, score):
    path = written(tmp_path, f"q Q0 a 1 0.1 t\nq Q0 b 1 {score} t\n")
    refused(trec.run, path, f"line 2: the score {score!r} of query 'q', document 'b' is no finite number; score the pair again")


TABLE = {"query_id": ["NA", "007"], "doc_id": ["null", '"d'], "score": [0.5, -1.0]}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"query_id": pa.array(TABLE["query_id"], pa.large_string())},
        {"query_id": pa.array(TABLE["query_id"]).dictionary_encode()},
        {"score": np.float32([0.5, -1])},
        {"score": pa.array([0.5, -1.0]).cast(pa.float16())},
        {"score": pa.array([0.5, -1.0]).dictionary_encode()},
        {"more": [[1], None]},
    ],
)
def test_parquet_is_known_by_its_content(tmp_path, change):
    pq.write_table(pa.table(TABLE | change), tmp_path / "scores.run")
    found = trec.scores(tmp_path / "scores.run")
    assert found.to_dict("list") == TABLE and found.dtypes.astype(str).tolist() == ["str", "str", "float64"]


def test_whole_numbers_are_ids_and_scores(tmp_path):
    pq.write_table(pa.table({"query_id": [7, 2**62], "doc_id": pa.array([1, 2], pa.uint8()), "score": [3, 4]}), tmp_path / "a.parquet")
    found = trec.scores(tmp_path / "a.parquet")
    assert found.values.tolist() == [["7", "1", 3.0], [str(2**62), "2", 4.0]]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"query_id": [True, False]}, "the column 'query_id' holds values of type 'bool'; expected text (or whole numbers)"),
        ({"doc_id": [b"a", b"b"]}, "the column 'doc_id' holds values of type 'binary'"),
        ({"doc_id": [["a"], ["b"]]}, "the column 'doc_id' holds values of type"),
        ({"score": ["0.5", "1"]}, "the column 'score' holds values of type 'string'; expected numbers"),
        ({"score": [True, False]}, "the column 'score' holds values of type 'bool'"),
        ({"score": [0.5, None]}, "row 2: the score nan is no finite number"),
        ({"query_id": ["", "a b"]}, "row 1: the query_id '' is empty"),
    ],
)
def test_tables_that_are_refused(tmp_path, change, problem):
    pq.write_table(pa.table(TABLE | change), tmp_path / "a.parquet")
    refused(trec.scores, tmp_path / "a.parquet", problem)


def test_ids_may_begin_as_other_kinds_of_file_do(tmp_path):
    for name in ("PAR1", "PAR12", "BZh9", "PK", "ARROW1"):
        path = written(tmp_path, f"{name} Q0 d1 1 2.0 t\n")
        assert trec.scores(path)["query_id"].tolist() == trec.run(path).frame["query_id"].tolist() == [name]


def test_damaged_and_foreign_tables_are_named(tmp_path):
    pq.write_table(pa.table(TABLE), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    for content in (whole[:-20], whole[: len(whole) // 2], b"PAR1", b"PAR1" + bytes(100) + b"PAR1"):
        refused(trec.scores, written(tmp_path, content, "b.parquet"), "cannot be read", "write it again")
    refused(trec.scores, written(tmp_path, "q Q0 d 1 1 t\n", "c.parquet"), "is no Parquet file", "or a TREC run")
    refused(trec.run, tmp_path / "a.parquet", "is a Parquet file, not lines of text")
    pd.DataFrame(TABLE).to_pickle(tmp_path / "d.parquet")
    refused(trec.scores, tmp_path / "d.parquet", "is no Parquet file")
    frame = pa.table([pa.array(["a"])] * 3, names=["query_id", "query_id", "doc_id"])
    pq.write_table(frame, tmp_path / "e.parquet")
    refused(trec.scores, tmp_path / "e.parquet", "has 2 times the column 'query_id'")


def test_a_file_is_found_under_its_packed_name(tmp_path):
    assert reading.present(tmp_path / "a.tsv") is None
    written(tmp_path, b"", "a.tsv.gz")
    assert reading.present(tmp_path / "a.tsv") == tmp_path / "a.tsv.gz"
    written(tmp_path, b"", "a.tsv")
    assert reading.present(tmp_path / "a.tsv") == tmp_path / "a.tsv"


def test_lines_of_three_fields_are_scored_pairs_below_a_header_or_without(tmp_path):
    rows = [["q1", "007", 2.0], ["NA", "d", -0.5]]
    for head in ("", "qid\tpid\tce-score\n"):
        table = trec.triples(written(tmp_path, f"{head}q1 007 2\n\nNA\td\t-.5\n"))
        assert table.frame.values.tolist() == rows and table.lines.tolist() == ([2, 4] if head else [1, 3])
    refused(trec.triples, written(tmp_path, "q1 d1 nan\n"), "line 1: the score 'nan' of query 'q1', document 'd1' is no finite number")
    refused(trec.triples, written(tmp_path, "q1 d1 1\nq1 d1\n"), "line 2: 'q1 d1' has 2 fields; expected lines of three fields")
    refused(trec.triples, written(tmp_path, "q1 d1 1\nq1 d1 2\n"), "line 2: scores query 'q1', document 'd1' again, after line 1")

"""Spoilt files: whatever a person's file holds is read as a careful reader would read it, or refused by name.

Every input is made from its number alone: a sound file, spoilt up to three times. What the package accepts must be what a second, naive
reading of the same bytes says, written here without the package; what that reading refuses, the package must refuse with its own error and
the file's name, and nothing else. ``RD_FUZZ=10000`` tries as many inputs; the default is a few hundred. ``RD_FUZZ_FROM`` begins elsewhere.
"""

from __future__ import annotations

import argparse
import collections as counting
import gzip
import json
import math
import os
import random
import re
import shutil
import signal
import zlib
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rd_utils.analysis import compare, compare_runs
from rd_utils.data import collections, jsonl, reading, runs
from rd_utils.data.collections import CollectionError
from rd_utils.data.runs import RunError
from rd_utils.scoring import teachers
from rd_utils.scoring.teachers import TeacherError
from rd_utils.study import params
from rd_utils.study.params import ParameterError

INPUTS = int(os.environ.get("RD_FUZZ", "300"))
FIRST = int(os.environ.get("RD_FUZZ_FROM", "0"))
SECONDS = 20  # that an input may take, on a busy machine
OUTCOMES: counting.Counter[str] = counting.Counter()


class Refused(Exception):
    """The naive reading finds no value in a file."""


# --- the naive reading ------------------------------------------------------------------------------------------------------------

SPACE = re.compile(rb"[ \t\n\r\x0b\x0c]+")
NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
NO_ID = re.compile("[\\s\\x00-\\x1f\\x7f-\\x9f\\ufeff]")


def naive_lines(data: bytes) -> list[bytes]:
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            raise Refused from None
        if data[:2] == b"\x1f\x8b":
            raise Refused
    while data[:3] == b"\xef\xbb\xbf":
        data = data[3:]
    if b"\0" in data:
        raise Refused
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused from None
    return re.split(rb"\r\n|\n|\r", data)


def naive_id(name: str) -> str:
    if not name or len(name) > 4096 or NO_ID.search(name):
        raise Refused
    try:
        name.encode()
    except UnicodeEncodeError:
        raise Refused from None
    return name


def naive_text(text: object) -> str:
    if type(text) is not str or "\0" in text:
        raise Refused
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refused from None
    return text


class Whole(str):
    """A whole number in JSON."""


def naive_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise Refused
    return dict(pairs)


def naive_texts(data: bytes, titles: bool) -> list[tuple[str, str]]:
    found = []
    for line in naive_lines(data):
        line = line.decode().strip()
        if not line:
            continue
        try:
            row = json.loads(line, object_pairs_hook=naive_object, parse_int=Whole)
        except (ValueError, RecursionError):
            raise Refused from None
        if type(row) is not dict or type(row.get("_id")) not in (str, Whole) or "text" not in row:
            raise Refused
        name, text = naive_id(str(row["_id"])), naive_text(row["text"])
        if titles:
            title = "" if row.get("title") is None else naive_text(row["title"])
            text = f"{title} {text}".strip()
        found.append((name, text))
    return found


def naive_rows(data: bytes, width: int, tabs: bool = False) -> list[list[bytes]]:
    rows = []
    for line in naive_lines(data):
        if line.strip(b" \t\x0b\x0c"):
            rows.append(line.split(b"\t") if tabs else [part for part in SPACE.split(line) if part])
    if any(len(row) != width for row in rows):
        raise Refused
    return rows


def naive_qrels(data: bytes) -> list[tuple[str, str, int]]:
    first = next((line for line in naive_lines(data) if line.strip()), b"")
    if [part.strip() for part in first.split(b"\t")] == [b"query-id", b"corpus-id", b"score"]:
        rows = naive_rows(data, 3, tabs=True)[1:]
    else:
        rows = naive_rows(data, 4)
        if not all(row[1] in (b"Q0", b"q0") or re.fullmatch(NUMBER, row[1].decode()) for row in rows):
            raise Refused
    found = {}
    for row in rows:
        pair = naive_id(row[0].decode()), naive_id(row[-2].decode())
        grade = re.fullmatch(r"([+-]?[0-9]+)(\.0*)?", row[-1].strip().decode())
        if pair in found or not grade or len(grade[1]) > 20 or not -10 <= int(grade[1]) <= 100:
            raise Refused
        found[pair] = int(grade[1])
    if not found:
        raise Refused
    return [(*pair, grade) for pair, grade in found.items()]


def naive_run(data: bytes) -> list[tuple[str, str, float]]:
    found = {}
    for row in naive_rows(data, 6):
        pair = naive_id(row[0].decode()), naive_id(row[2].decode())
        if not re.fullmatch(NUMBER, row[4].decode()):
            raise Refused
        score = float(row[4])
        if pair in found or not math.isfinite(score):
            raise Refused
        found[pair] = score
    return [(*pair, score) for pair, score in found.items()]


def naive_parquet(path: Path) -> list[tuple[str, str, float]]:
    found = {}
    try:
        with pq.ParquetFile(path) as file:
            table = file.read(columns=["query_id", "doc_id", "score"])  # damage in others changes nothing
        table.validate(full=True)
        if any(table.schema.names.count(name) != 1 for name in ("query_id", "doc_id", "score")):
            raise Refused
        if any(pa.types.is_binary(table.schema.field(name).type) for name in ("query_id", "doc_id")):
            raise Refused
        rows = table.select(["query_id", "doc_id", "score"]).to_pylist()
    except (pa.ArrowException, OSError, ValueError, MemoryError):
        raise Refused from None
    for row in rows:
        if any(type(row[name]) not in (str, int) for name in ("query_id", "doc_id")) or type(row["score"]) not in (int, float):
            raise Refused
        pair = naive_id(str(row["query_id"])), naive_id(str(row["doc_id"]))
        if pair in found or not math.isfinite(row["score"]):
            raise Refused
        found[pair] = float(row["score"])
    if not found:
        raise Refused
    return [(*pair, score) for pair, score in found.items()]


def naive_scores(path: Path) -> list[tuple[str, str, float]]:
    data = path.read_bytes()
    if data[:4] == b"PAR1":
        return naive_parquet(path)
    found = naive_run(data)
    if not found or path.suffix == ".parquet":
        raise Refused
    return found


def naive_folder(folder: Path, split: str) -> tuple[list, list, list]:
    """Return documents, queries and qrels; refuse what does not fit together."""
    docs = naive_texts((folder / "corpus.jsonl").read_bytes(), titles=True)
    qrels = naive_qrels((folder / "qrels" / f"{split}.tsv").read_bytes())
    judged = {query_id for query_id, _, _ in qrels}
    queries = [row for row in naive_texts((folder / "queries.jsonl").read_bytes(), titles=False) if row[0] in judged]
    for rows in (docs, queries):
        if not rows or len({name for name, _ in rows}) != len(rows):
            raise Refused
    positives = {doc_id for _, doc_id, grade in qrels if grade > 0}
    if judged != {name for name, _ in queries} or not positives or not positives & {name for name, _ in docs}:
        raise Refused
    return docs, queries, qrels


# --- sound files, and what spoils them -----------------------------------------------------------------------------------------------

IDS = ["NA", "null", "nan", "None", "N/A", '"a', 'b"', "007", "1e5", "é", "文", "\U0001f600", "x" * 300, "q1", "#", "'", "a,b", "-1", "0"]
BAD_IDS = ["", " ", "a b", "a\tb", "a\u00a0b", "a\u2028b", "a\u0000", "\ufeffa", "a\x85", "y" * 5000, "a\x1f"]
ODD_VALUES = [
    None,
    True,
    False,
    7,
    -0.0,
    1.5,
    10**30,
    math.nan,
    math.inf,
    [],
    ["a"],
    {},
    {"a": 1},
    "",
    " ",
    "a\ud83d",
    "\udc00",
    "a\0",
    "\\u0000",
]
GRADES = ["1", "0", "2", "-1", "3", "1.0", "+1", "100", "-10"]
BAD_GRADES = ["0.5", "good", "", "1e0", "101", "1000000000", "9" * 400, "nan", "inf", "1_0", "٣", "-", "1,0", "0x1", "-11", "None"]
SCORES = ["1", "-0.5", "1e-3", ".5", "5.", "+2", "0", "-0", "1E5", "123456789.123456789", "1e308", "5e-324"]
BAD_SCORES = ["nan", "inf", "-inf", "1e999", "high", "1_0", "0x1p3", "1,5", "٣", "--1", "1e", ".", "infinity", "NaN"]


def names_of(rng: random.Random, n: int, letter: str) -> list[str]:
    names = [f"{letter}{i}" for i in range(n)]
    for place in rng.sample(range(n), k=rng.randint(0, min(3, n))):
        names[place] = rng.choice(IDS) + letter
    return list(dict.fromkeys(names))


def json_line(rng: random.Random, row: dict) -> str:
    if rng.random() < 0.03:
        row["metadata"] = rng.choice([{}, {"a": [1, {"b": None}]}, math.nan, "text"])
    return json.dumps(row, ensure_ascii=rng.random() < 0.5)


def spoil_row(rng: random.Random, row: dict) -> str:
    """Return one JSON line that something is odd about."""
    key = rng.choice(["_id", "text", "title"])
    kind = rng.randrange(9)
    if kind == 0:
        row.pop(key, None)
    elif kind == 1:
        row[key] = rng.choice(ODD_VALUES)
    elif kind == 2:
        row["_id"] = rng.choice(BAD_IDS)
    elif kind == 3:
        row["_id"] = rng.choice([*IDS, 12, -3, 0])
    line = json.dumps(row)
    if kind == 4:
        line = line[:-1] + f', "{key}": "again"}}'
    elif kind == 5:
        line = rng.choice(
            ["[]", "7", '"a"', "null", "true", "{}", "{", "}", line + line, line + ",", f"[{line}]", " " + line + "\t", "NaN"]
        )
    elif kind == 6:
        deep = rng.choice([50, 100_000])
        line = line[:-1] + ', "more": ' + "[" * deep + "]" * deep + "}"
    elif kind == 7:
        line = line.replace('"_id": ', f'"_id": {rng.choice(["-0", "01", "1e5", "1.0", "9" * 5000, "-7", "+1"])}, "old": ', 1)
    elif kind == 8:
        line = line.replace('"_id"', '"\\u005fid"', 1)
    return line


def sound_texts(rng: random.Random, names: list[str], spoilt: int) -> str:
    rows = []
    for name in names:
        text = " ".join(rng.choices(["cat", "dog", "NA", "é", "文書", "\u2028", "\U0001f600", '"', "\\u0041", "\t"], k=rng.randint(0, 5)))
        rows.append({"_id": name, "text": text} | ({"title": rng.choice([None, "", "Title"])} if rng.random() < 0.3 else {}))
    lines = [json_line(rng, row) for row in rows]
    for _ in range(spoilt):
        place = rng.randrange(len(lines))
        lines[place] = spoil_row(rng, dict(rows[place]))
    return "\n".join(lines) + "\n"


def sound_qrels(rng: random.Random, query_ids: list[str], doc_ids: list[str], spoilt: int, beir: bool) -> str:
    rows = [[query_id, doc_id, rng.choice(GRADES)] for query_id in query_ids for doc_id in rng.sample(doc_ids, k=min(2, len(doc_ids)))]
    rows[0][2] = "1"
    lines = [([a, b, c] if beir else [a, "0", b, c]) for a, b, c in rows]
    for _ in range(spoilt):
        fields = rng.choice(lines)
        kind = rng.randrange(7)
        if kind == 0:
            fields[-1] = rng.choice(BAD_GRADES)
        elif kind == 1:
            fields[rng.choice([0, -2])] = rng.choice(BAD_IDS)
        elif kind == 2:
            fields.append("more")
        elif kind == 3:
            del fields[rng.randrange(len(fields))]
        elif kind == 4:
            lines.append(list(fields))
        elif kind == 5:
            fields[rng.choice([0, -2])] = rng.choice(IDS)
        elif rng.random() < 0.5:
            rng.shuffle(fields)
        else:
            fields[-1] += rng.choice([" ", "\r", "\u00a0", "\x0b"])
        if not fields:
            fields.append("")
    between = "\t" if beir else rng.choice(["\t", " ", "  "])
    head = ["query-id\tcorpus-id\tscore"] if beir and not (spoilt and rng.random() < 0.2) else []
    if spoilt and rng.random() < 0.1:
        head = [
            rng.choice(
                [
                    "query_id\tdoc_id\trelevance",
                    "query-id corpus-id score",
                    "query-id\tcorpus-id",
                    "a\tb\tc\td",
                    "",
                    "query-id\tcorpus-id\tscore ",
                ]
            )
        ]
    return "\n".join([*head, *(between.join(fields) for fields in lines)]) + "\n"


def sound_run(rng: random.Random, query_ids: list[str], doc_ids: list[str], spoilt: int) -> str:
    lines = []
    for query_id in query_ids:
        for rank, doc_id in enumerate(rng.sample(doc_ids, k=min(3, len(doc_ids)))):
            lines.append([query_id, "Q0", doc_id, str(rank), rng.choice(SCORES), "tag"])
    for _ in range(spoilt):
        fields = rng.choice(lines)
        kind = rng.randrange(7)
        if kind == 0:
            fields[4 if len(fields) > 4 else -1] = rng.choice(BAD_SCORES)
        elif kind == 1:
            fields[rng.choice([0, min(2, len(fields) - 1)])] = rng.choice(BAD_IDS)
        elif kind == 2:
            fields.append("more")
        elif kind == 3 and len(fields) > 1:
            del fields[rng.randrange(len(fields))]
        elif kind == 4:
            lines.append(list(fields))
        elif kind == 5:
            fields[rng.choice([0, min(2, len(fields) - 1)])] = rng.choice(IDS)
        else:
            fields[-1] += rng.choice([" ", "\r", "\u00a0", "\x0b", "\x1c"])
    between = rng.choice([" ", "\t", " \t "])
    return "\n".join(between.join(fields) for fields in lines) + "\n"


def spoil_bytes(rng: random.Random, data: bytes) -> bytes:
    """Spoil a file as disks, editors and other programs do."""
    kind = rng.randrange(18)
    at = rng.randrange(len(data) + 1)
    if kind == 0 and data:
        at = rng.randrange(len(data))
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    if kind == 1:
        return data[:at]
    if kind == 2:
        return data[:at] + rng.randbytes(rng.randint(1, 8)) + data[at:]
    if kind == 3:
        return data[:at] + b"\0" * rng.randint(1, 3) + data[at:]
    if kind in (4, 5):
        encoding = ("latin-1", "utf-16", "utf-16-le", "utf-32", "cp1252", "utf-8-sig")[rng.randrange(6)]
        return data.decode("utf-8", "replace").encode(encoding, "replace")
    if kind == 6:
        return data.replace(b"\n", b"\r\n")
    if kind == 7:
        return data.replace(b"\n", b"\r")
    if kind in (8, 9):
        return gzip.compress(data, mtime=0)
    if kind == 10:
        packed = gzip.compress(data, mtime=0)
        place = rng.randrange(len(packed))
        return rng.choice(
            [packed[:place], packed[:place] + b"\xff" + packed[place + 1 :], packed + b"\0\0", packed + b"more", packed + packed]
        )
    if kind == 11:
        return data.replace(b"\n", b"\n\n \n")
    if kind == 12:
        return data.rstrip(b"\n")
    if kind == 13:
        return rng.choice([b"", b"\n", b"\xef\xbb\xbf", b"\x1f\x8b", b" ", b"PK\x03\x04" + data, b"\xff\xfe", b"\x00", b"PAR1\x15\x04"])
    if kind == 14:
        return data[:at] + rng.choice(["\u2028", "\u00a0", "\ufeff", "\x0b", "\x0c", "\x1c", "\x85", "\t", " ", "\r"]).encode() + data[at:]
    if kind == 15:
        lines = data.split(b"\n")
        rng.shuffle(lines)
        return b"\n".join(lines)
    if kind == 16:
        return b"\xef\xbb\xbf" * rng.randint(1, 2) + data
    return data[:at] + data[rng.randrange(len(data) + 1) :]


def spoil_file(rng: random.Random, path: Path) -> None:
    """Put something else in a file's place, or nothing."""
    path.unlink()
    kind = rng.randrange(3)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        path.symlink_to(path)


def spoilt_content(rng: random.Random, make) -> bytes:
    """Make a file's content: sound, odd in its rows, or odd in its bytes."""
    rows = rng.choice([0, 0, 1, 1, 2])
    data = make(rows).encode("utf-8", "surrogatepass")
    for _ in range(rng.choice([0, 1, 1, 2]) if rows else rng.choice([0, 1, 1, 1, 2, 3])):
        data = spoil_bytes(rng, data)
    return data


# --- what is tried ------------------------------------------------------------------------------------------------------------------


def outcome(read, naive, error: type[Exception], named: list[str], what: str) -> None:
    """Check that a reading gives what the naive one gives, or is refused by the package's own error that names a file, as it is there."""
    try:
        expected = naive()
    except (Refused, OSError):
        expected = None
    try:
        found = read()
    except error as problem:
        OUTCOMES[f"{what} refused"] += 1
        message = str(problem)
        assert any(name in message for name in named), f"the message names no file: {message}"
        assert len(message) < 6000 and "Traceback" not in message
        assert expected is None, f"refused, where {expected!r} stands: {message}"
        return
    OUTCOMES[f"{what} accepted"] += 1
    assert expected is not None, f"accepted as {found!r}, which it does not say"
    assert found == expected


def rows_of(frame) -> list[tuple]:
    return list(frame.itertuples(index=False, name=None))


def try_texts(rng: random.Random, folder: Path) -> None:
    path = folder / rng.choice(["corpus.jsonl", "corpus.jsonl.gz"])
    path.write_bytes(spoilt_content(rng, lambda spoilt: sound_texts(rng, names_of(rng, rng.randint(1, 6), "d"), spoilt)))
    if rng.random() < 0.03:
        spoil_file(rng, path)
    titles = rng.random() < 0.5

    def naive() -> list[tuple[str, str]]:
        return naive_texts(path.read_bytes(), titles)

    outcome(lambda: list(jsonl.texts(path, CollectionError, titles=titles)), naive, CollectionError, [str(path)], "texts")


def try_qrels(rng: random.Random, folder: Path) -> None:
    path = folder / "qrels"
    ids = names_of(rng, rng.randint(1, 4), "q"), names_of(rng, rng.randint(1, 4), "d")
    path.write_bytes(spoilt_content(rng, lambda spoilt: sound_qrels(rng, *ids, spoilt, rng.random() < 0.5)))
    if rng.random() < 0.03:
        path.unlink()  # a folder, or nothing, may be an id of ir_datasets to compare
    read = lambda: rows_of(compare_runs.read_qrels(str(path)))  # noqa: E731
    outcome(read, lambda: naive_qrels(path.read_bytes()), ParameterError, [str(path)], "qrels")


def try_run(rng: random.Random, folder: Path) -> None:
    path = folder / "a.run"
    ids = names_of(rng, rng.randint(1, 4), "q"), names_of(rng, rng.randint(1, 4), "d")
    path.write_bytes(spoilt_content(rng, lambda spoilt: sound_run(rng, *ids, spoilt)))
    if rng.random() < 0.03:
        spoil_file(rng, path)
    outcome(lambda: rows_of(runs.read_run(path)), lambda: naive_run(path.read_bytes()), RunError, [str(path)], "run")


def try_scores(rng: random.Random, folder: Path) -> None:
    path = folder / rng.choice(["a.parquet", "scores"])
    n = rng.randint(0, 5)
    columns = {
        "query_id": [rng.choice(IDS) for _ in range(n)],
        "doc_id": [f"d{i}" for i in range(n)],
        "score": [float(rng.choice(SCORES)) for _ in range(n)],
    }
    tries = [
        ("query_id", list(range(n))),
        ("query_id", [float(i) for i in range(n)]),
        ("doc_id", [None] * n),
        ("doc_id", [b"d"] * n),
        ("doc_id", ["d0"] * n),
        ("doc_id", [["d"]] * n),
        ("score", list(range(n))),
        ("score", [str(i) for i in range(n)]),
        ("score", [True] * n),
        ("score", [math.nan] * n),
        ("score", [math.inf] * n),
        ("score", [None] * n),
        ("query_id", [rng.choice(BAD_IDS) for _ in range(n)]),
        ("other", ["x"] * n),
    ]
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        key, value = rng.choice(tries)
        columns[key] = value
    if rng.random() < 0.1:
        columns["docno"] = columns.pop("doc_id")
    kinds = {"query_id": pa.string(), "doc_id": pa.string(), "score": pa.float64()}
    table = pa.table(
        {key: pa.array(value) if value and value[0] is not None else pa.array(value, kinds.get(key)) for key, value in columns.items()}
    )
    pq.write_table(table, path, compression=rng.choice(["NONE", "SNAPPY", "ZSTD"]), use_dictionary=rng.random() < 0.5)
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        data = path.read_bytes()
        at = rng.randrange(len(data) + 1)
        flipped = bytearray(data)
        if data:
            flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(
            rng.choice([data[:at], bytes(flipped), bytes(flipped), data[:at] + rng.randbytes(4) + data[at + 4 :], data + b"x", data[at:]])
        )
    if rng.random() < 0.03:
        spoil_file(rng, path)
    outcome(lambda: rows_of(teachers.read_scores(path)), lambda: naive_scores(path), TeacherError, [str(path)], "scores")


def try_folder(rng: random.Random, folder: Path) -> None:
    (folder / "qrels").mkdir()
    doc_ids, query_ids = names_of(rng, rng.randint(2, 6), "d"), names_of(rng, rng.randint(1, 4), "q")
    makers = {
        "corpus.jsonl": lambda spoilt: sound_texts(rng, doc_ids, spoilt),
        "queries.jsonl": lambda spoilt: sound_texts(rng, query_ids, spoilt),
        "qrels/train.tsv": lambda spoilt: sound_qrels(rng, query_ids, doc_ids, spoilt, rng.random() < 0.8),
    }
    odd = rng.sample(list(makers), k=rng.choice([0, 1, 1, 1, 2]))
    for name, make in makers.items():
        (folder / name).write_bytes(spoilt_content(rng, make) if name in odd else make(0).encode())
    if rng.random() < 0.05:
        spoil_file(rng, folder / rng.choice(list(makers)))
    source = params.FolderCollection(path=str(folder), split="train")

    def read() -> tuple[list, list, list]:
        docs = collections.read_docs(source)
        queries, qrels = collections.read_queries(source)
        collections.absent_positives(qrels, docs["doc_id"], source.label)
        return rows_of(docs), rows_of(queries), rows_of(qrels)

    named = [str(folder), source.label]
    outcome(read, lambda: naive_folder(folder, "train"), CollectionError, named, "folder")

    def checked() -> tuple[list, list, list]:
        collections.check_source(source)
        return naive_folder(folder, "train")

    outcome(checked, lambda: naive_folder(folder, "train"), CollectionError, named, "check")


def try_compare(rng: random.Random, folder: Path) -> None:
    query_ids, doc_ids = names_of(rng, rng.randint(1, 5), "q"), names_of(rng, rng.randint(1, 5), "d")
    for name in "ab":
        data = (
            sound_run(rng, query_ids, doc_ids, 0).encode()
            if rng.random() < 0.7
            else spoilt_content(rng, lambda n: sound_run(rng, query_ids, doc_ids, n))
        )
        (folder / name).write_bytes(data)
    qrels = sound_qrels(rng, query_ids, doc_ids, 0, rng.random() < 0.5).encode()
    if rng.random() < 0.3:
        qrels = spoilt_content(rng, lambda n: sound_qrels(rng, query_ids, doc_ids, n, rng.random() < 0.5))
    (folder / "qrels").write_bytes(qrels)
    options = []
    if rng.random() < 0.3:
        odd = rng.choice(["nan", "inf", "-1", "0", "1", "0.5", "1e308", "1e-308", "0.999999999999", "-0.0"])
        options = [f"--{rng.choice(['margin', 'alpha', 'level'])}", odd]
    if rng.random() < 0.1:
        options += ["--seed", rng.choice(["-1", "0", str(2**31), str(2**63), str(2**70)])]
    parser = argparse.ArgumentParser()
    compare.add_arguments(parser)
    asked = parser.parse_args(
        [
            str(folder / "a"),
            str(folder / "b"),
            "--qrels",
            str(folder / "qrels"),
            "--measure",
            "RR@10",
            "--json",
            *[f"{options[i]}={options[i + 1]}" for i in range(0, len(options), 2)],
        ]
    )
    try:
        found = json.loads(compare.run(asked))
    except ParameterError as problem:
        OUTCOMES["compare refused"] += 1
        assert str(folder) in str(problem) or "--" in str(problem) or "RR@10" in str(problem), str(problem)
        return
    OUTCOMES["compare accepted"] += 1
    judged: dict[str, dict[str, int]] = {}
    for query_id, doc_id, grade in naive_qrels((folder / "qrels").read_bytes()):
        judged.setdefault(query_id, {})[doc_id] = grade
    for name, mean in (("a", "mean_a"), ("b", "mean_b")):
        ranked: dict[str, list[tuple[float, str]]] = {}
        for query_id, doc_id, score in naive_run((folder / name).read_bytes()):
            ranked.setdefault(query_id, []).append((-score, doc_id))
        gains = []
        for query_id, grades in judged.items():
            order = [doc_id for _, doc_id in sorted(ranked.get(query_id, []))]
            gains.append(next((1 / rank for rank, doc_id in enumerate(order, start=1) if grades.get(doc_id, 0) > 0), 0.0))
        assert found["comparisons"][0][mean] == pytest.approx(np.mean(gains), abs=1e-6)


KINDS = {"texts": try_texts, "qrels": try_qrels, "run": try_run, "scores": try_scores, "folder": try_folder, "compare": try_compare}
SHARES = [*["texts"] * 3, *["qrels"] * 2, *["run"] * 2, *["scores"] * 2, *["folder"] * 2, "compare"]


def too_long(*_) -> None:
    raise TimeoutError(f"an input took more than {SECONDS} seconds")


def try_input(number: int, folder: Path) -> str:
    """Try one input; return what was raw about it, if anything was."""
    rng = random.Random(number)
    kind = SHARES[number % len(SHARES)]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        with mock.patch.object(reading, "BLOCK", rng.choice([8, 13, 64, 1 << 16])):  # lines that begin in one block and end in another
            KINDS[kind](rng, folder)
    except Exception as error:  # whatever is raised is what is looked for
        return f"{number} ({kind}): {type(error).__name__}: {str(error)[:500]}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return ""


@pytest.mark.timeout(0)
def test_spoilt_files_are_read_as_they_stand_or_refused_by_name(tmp_path, capsys):
    raw = [found for number in range(FIRST, FIRST + INPUTS) if (found := try_input(number, tmp_path / "input"))]
    with capsys.disabled():
        print(f"\n{INPUTS:,} inputs: {dict(sorted(OUTCOMES.items()))}, raw {len(raw)}")
    assert not raw, f"{len(raw)} of {INPUTS}:\n" + "\n".join(raw[:20])
    accepted, refused = (sum(n for what, n in OUTCOMES.items() if what.endswith(end)) for end in ("accepted", "refused"))
    assert accepted > INPUTS / 10 and refused > INPUTS / 10  # or the inputs say little


def test_the_naive_reading_tells_sound_from_spoilt():
    """Else the two readings could agree on nothing."""
    assert naive_texts(b'{"_id": "NA", "text": "a"}\n', titles=True) == [("NA", "a")]
    assert naive_qrels(b"query-id\tcorpus-id\tscore\nq\td\t1.0\n") == naive_qrels(b"q 0 d 1") == [("q", "d", 1)]
    assert naive_run(b"q Q0 d 1 2.5 t\n") == [("q", "d", 2.5)]
    for read, data in ((naive_qrels, b"q 0 d 0.5"), (naive_run, b"q Q0 d 1 nan t"), (naive_qrels, b"q 0 d 1\nq 0 d 1")):
        with pytest.raises(Refused):
            read(data)
    with pytest.raises(Refused):
        naive_texts(b'{"_id": true, "text": "a"}', titles=False)

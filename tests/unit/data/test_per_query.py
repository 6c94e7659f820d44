"""Files of other programs that are damaged in any way are read or refused by name; nothing else comes of them."""

from __future__ import annotations

import json
import random

import pytest

from rd_utils.data import per_query

ROWS = [{"name": "bm25", "qid": str(n), "measure": "AP", "value": n / 10} for n in range(6)]
SOUND = [
    "name,qid,measure,value\n" + "".join(f"bm25,{row['qid']},AP,{row['value']}\n" for row in ROWS),
    json.dumps(ROWS),
    "".join(json.dumps(row) + "\n" for row in ROWS),
    json.dumps({name: {str(n): row[name] for n, row in enumerate(ROWS)} for name in per_query.COLUMNS}),
    json.dumps({"mteb_model_meta": {}, "default": {"test": {"q1": {"d1": 1.5, "d2": 0.5}, "q2": {}}}}),
]
PIECES = [
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"\t",
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    b"null",
    b"NaN",
    b"1e999",
    b"true",
    b" ",
    b'{"a":{}}',
]


@pytest.mark.parametrize("number", range(len(SOUND)))
def test_a_damaged_file_is_read_or_refused_with_its_name(tmp_path, number):
    rng, path, outcomes = random.Random(number), tmp_path / "file", {"read": 0, "refused": 0}
    for _ in range(300):
        content = bytearray(SOUND[number].encode())
        for _ in range(rng.randint(0, 3)):
            start = rng.randrange(len(content) + 1)
            content[start : start + rng.randint(0, 12)] = rng.choice(PIECES) if rng.random() < 0.8 else b""
        path.write_bytes(bytes(content))
        try:
            found = per_query.read(path)
        except per_query.FileError as error:
            assert str(path) in str(error)
            outcomes["refused"] += 1
        else:
            assert found.kind == "run" or len(found.results) or found.predictions
            outcomes["read"] += 1
    assert min(outcomes.values()) > 20


def test_what_is_nested_too_deeply_is_refused(tmp_path):
    (tmp_path / "deep").write_text("[" * 200_000)
    with pytest.raises(per_query.FileError, match="recursion"):
        per_query.read(tmp_path / "deep")

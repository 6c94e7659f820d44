"""YAML that people edit: what is read of it, and what is refused with which line."""

from __future__ import annotations

from pathlib import Path

import pytest

from rd_utils.study import yaml_files
from rd_utils.study.params import ParameterError


def written(folder: Path, content: bytes | str) -> Path:
    path = folder / "own.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def values(folder: Path, content: bytes | str) -> dict:
    return yaml_files.read(written(folder, content), "study").values


def test_numbers_and_truth_values_are_those_of_yaml_1_2_and_everything_else_is_a_text(tmp_path):
    text = "a: yes\nb: off\nc: 2020-01-01\nd: 1:30\ne: 010\nf: 0x1F\ng: ="
    assert values(tmp_path, text) == dict(zip("abcdefg", ["yes", "off", "2020-01-01", "1:30", "010", "0x1F", "="], strict=True))
    text = "a: true\nb: 1e-5\nc: 20_000\nd: ~\ne:\nf: -.5\ng: 1.0e4\nh: 0\non: -7"
    assert values(tmp_path, text) == {"a": True, "b": 1e-5, "c": 20000, "d": None, "e": None, "f": -0.5, "g": 1e4, "h": 0, "on": -7}
    assert values(tmp_path, "a: " + "9" * 5_000) == {"a": "9" * 5_000}  # no whole number that Python would read


def test_a_byte_order_mark_is_no_text_and_anchors_and_merges_are_read(tmp_path):
    assert values(tmp_path, b"\xef\xbb\xbfname: x") == {"name": "x"}
    assert values(tmp_path, "a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}") == {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}}


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: x\nquestion: \xff", "own.yaml line 2 is no UTF-8, the byte 0xff"),
        ("name: x".encode("utf-16"), "own.yaml line 1 is no UTF-8"),
        ("a: x\nb: \0", r"line 2: the character '\\x00' cannot stand in YAML"),
        ("a: " + "[" * 3_000 + "]" * 3_000, "line 1: nested more than 50 deep"),
        ("a:\n" + "".join(f"{' ' * n}- \n" for n in range(1, 200)), "nested more than 50 deep"),
        (BOMB, r"line \d: more than 100,000 values, with every alias written out"),
        ("a: &a\n  b: *a", "an alias stands for what it is part of"),
        ("a: 1\nb: *z", "line 2: found undefined alias 'z'"),
        ("a: 1\nb: !!python/object/apply:os.system ['true']", "line 2: the tag '.*python/object/apply:os.system' is not read"),
        ("a: !!timestamp x", "the tag .* is not read"),
        ("a: !!binary AA==", "the tag .* is not read"),
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' stands twice"),
        ("a: {b: 1, c: 2, b: 3}", "line 1: the key 'b' stands twice"),
        ("a: 1\n2: 3", "line 2: the key '2' is no text; put it in quotes"),
        ("null: 3", "the key 'null' is no text"),
        ("? [a]\n: 3", "the key a list or mapping is no text"),
        ('a: "\\ud800"', "holds half a character"),
        ("a: [1, 2", "line 1: while parsing a flow sequence"),
        ("a: 1\n---\nb: 2", "line 2: expected a single document"),
        ("", "own.yaml is empty"),
        ("# only a remark", "own.yaml is empty"),
        ("- a\n- b", "own.yaml holds a list, expected a mapping"),
        ("text", "own.yaml holds a single value, 'text'"),
        ("a: " + "x" * 600_000, "own.yaml has 600,003 bytes, too many"),
    ],
)  # fmt: skip
def test_damage_is_refused_with_the_file_and_the_line(tmp_path, content, message):
    with pytest.raises(ParameterError, match=message):
        values(tmp_path, content)


def test_nothing_is_made_of_a_tag(tmp_path):
    with pytest.raises(ParameterError):
        values(tmp_path, f"a: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']")
    assert not (tmp_path / "made").exists()


def test_what_is_no_file_is_said_with_the_nearest(tmp_path):
    written(tmp_path, "a: 1")
    for path, message in (
        (tmp_path / "onw.yaml", "no study file .*did you mean 'own.yaml'"),
        (tmp_path, "is a folder, no study file; name a file in it .*own.yaml"),
        (tmp_path / ("x" * 300), "cannot be read: File name too long"),
        ("a\0b", "no study file"),
        ("/dev/zero", "no study file"),
    ):
        with pytest.raises(ParameterError, match=message):
            yaml_files.read(path, "study")


def test_a_place_has_its_line(tmp_path):
    read = yaml_files.read(written(tmp_path, "a:\n  b: {kind: c,\n    d: 1}\ne:\n  - f: 2\n  - g.h: 3\n"), "study")
    assert read.line_of("a.b.d") == (3, 3)
    assert read.line_of("e[1].g.h") == read.line_of("e.1.g.h") == (3, 6)
    assert read.line_of("a.x.y") == (1, 1) and read.line_of("x")[0] == 0

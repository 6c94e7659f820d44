"""Corpora and queries as JSON lines: an id and a text in every line, under the guards of :mod:`rd_utils.data.reading`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rd_utils.data.reading import FileError, Problems, are_ids, blocks, id_problem, shown

JSON_FORM = 'expected one object a line, such as {"_id": "d1", "text": "a cat"}'

_ODD = re.compile(r"\\u(?:0000|[dD])")  # a NUL or half a character in JSON, perhaps


class _Integer(str):
    """A whole number as it stands in JSON; as an id it is these characters."""


class _Repeated(ValueError):
    """A key that stands twice in one object."""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Repeated(next(key for key in keys if keys.count(key) > 1))
    return found


_read_json = json.JSONDecoder(object_pairs_hook=_object, parse_int=_Integer).raw_decode


def texts(path: Path, error: type[ValueError] = FileError, *, titles: bool = False, most: int | None = None) -> Iterator[tuple[str, str]]:
    """Yield the ids and texts of a file of JSON lines, objects with ``_id`` and ``text``.

    Args:
        path: of the file.
        error: what is raised.
        titles: whether a ``title`` stands before the text, with a space between them and none around.
        most: stop after about so many lines.

    Raises:
        error: the file is no such file; a line is no object, lacks a field, repeats a key, or a field is not what it should be.
    """
    for _, names, values in _text_blocks(path, error, titles, most):
        yield from zip(names, values, strict=True)


def objects(path: Path, error: type[ValueError] = FileError) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the objects of a file of JSON lines with their line numbers; a whole number is the text that stands there.

    After the first wrong line nothing more is yielded: those that follow are only counted.

    Raises:
        error: the file cannot be read, or a line is no object or repeats a key.
    """
    problems = Problems(path, error)
    for start, _, text in blocks(problems):
        for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), start=start):
            if not line.strip():
                continue
            try:
                row = _parsed(line.strip())
            except ValueError as problem:
                problems.add(number, str(problem).replace(JSON_FORM, "expected one object a line"))
                continue
            if not problems.count:
                yield number, row
    problems.check()


def _text_blocks(
    path: Path, error: type[ValueError], titles: bool, most: int | None = None
) -> Iterator[tuple[Sequence[int], Sequence[str], Sequence[str]]]:
    """Yield line numbers, ids and texts by blocks; after the first wrong line only to count those that follow."""
    problems = Problems(path, error)
    for start, _, text in blocks(problems):
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        lines = text.split("\n")
        if most is not None:
            lines = lines[: max(most - start + 1, 0)]
        found = _fast_texts(lines, start, titles, odd="\\" in text and _ODD.search(text) is not None)
        if found is None:
            found = _careful_texts(lines, start, titles, problems)
        if not problems.count:
            yield found
        if most is not None and start + len(lines) > most:
            break
    problems.check()


def _fast_texts(lines: list[str], start: int, titles: bool, odd: bool) -> tuple[Sequence[int], list[str], list[str]] | None:
    """Return what lines say where they are beyond doubt; None where they have to be looked at one by one."""
    if odd:
        return None
    if lines[-1]:
        numbers: Sequence[int] = range(start, start + len(lines))
    else:
        numbers = range(start, start + len(lines) - 1)
        lines = lines[:-1]
    try:
        read = list(map(_read_json, lines))
        if [end for _, end in read] != list(map(len, lines)):
            return None
        names, values = [row["_id"] for row, _ in read], [row["text"] for row, _ in read]
        heads = [row.get("title") for row, _ in read] if titles else []
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if not {*map(type, names), *map(type, values)} <= {str} or not set(map(type, heads)) <= {str, type(None)} or not are_ids(names):
        return None
    if titles:
        values = [f"{head} {value}".strip() if head else value.strip() for head, value in zip(heads, values, strict=True)]
    return numbers, names, values


def _careful_texts(lines: list[str], start: int, titles: bool, problems: Problems) -> tuple[list[int], list[str], list[str]]:
    """Return what lines say, one by one, and note what is wrong with them."""
    numbers: list[int] = []
    names: list[str] = []
    values: list[str] = []
    for number, line in enumerate(lines, start=start):
        line = line.strip()
        if not line:
            continue
        try:
            row = _parsed(line)
            name = _id_of(row)
            text, title = _text_of(row, "text", name), _text_of(row, "title", name) if titles else ""
        except ValueError as problem:
            problems.add(number, str(problem))
            continue
        numbers.append(number)
        names.append(name)
        values.append(f"{title} {text}".strip() if titles else text)
    return numbers, names, values


def _parsed(line: str) -> dict[str, object]:
    try:
        row, end = _read_json(line)
    except _Repeated as key:
        raise ValueError(f"the key {shown(str(key))} stands twice in one object; keep one of them") from None
    except RecursionError:
        raise ValueError(f"is nested too deeply; {JSON_FORM}") from None
    except json.JSONDecodeError as reason:
        raise ValueError(f"is not valid JSON: {reason.msg} at character {reason.pos + 1} of {shown(line, 40)}; {JSON_FORM}") from None
    if end != len(line):
        raise ValueError(f"is not valid JSON: {shown(line[end:].strip(), 40)} follows what should be the line's end; {JSON_FORM}")
    if type(row) is not dict:
        raise ValueError(f"is {_kind(row)}, no object; {JSON_FORM}")
    return row


def _id_of(row: dict[str, object]) -> str:
    """Return the id of an object: a string, or a whole number as it stands."""
    name = _field(row, "_id")
    if name is None:
        raise ValueError("the field '_id' is null; give it a value, a string of its own")
    if not isinstance(name, str):
        raise ValueError(f"the field '_id' is {_kind(name)}; write it as a string")
    name = str(name)
    _refuse_halves("_id", name, name)
    problem = id_problem(name)
    if problem:
        raise ValueError(f"the _id {shown(name)} {problem}")
    return name


def _text_of(row: dict[str, object], key: str, name: str) -> str:
    """Return a text of an object; a title may be missing or null."""
    if key == "title" and row.get(key) is None:
        return ""
    text = _field(row, key)
    if text is None:
        raise ValueError(f"the field {key!r} of {shown(name)} is null; give it a value, an empty text where there is nothing to say")
    if not isinstance(text, str) or isinstance(text, _Integer):
        raise ValueError(f"the field {key!r} of {shown(name)} is {_kind(text)}; write it as a string")
    if "\0" in text:
        raise ValueError(f"the field {key!r} of {shown(name)} holds a NUL character; take it out")
    _refuse_halves(key, text, name)
    return text


def _field(row: dict[str, object], key: str) -> object:
    if key not in row:
        there = shown(", ".join(sorted(row)), 100)[1:-1] or "none at all"
        raise ValueError(f"has no field {key!r}, only {there}; {JSON_FORM}")
    return row[key]


def _refuse_halves(key: str, text: str, name: str) -> None:
    """Refuse half of a surrogate pair, which JSON can say and UTF-8 cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as reason:
        raise ValueError(
            f"the field {key!r} of {shown(name)} holds half a character (\\u{ord(text[reason.start]):04x}, a surrogate without its "
            "other half); write the whole character, or U+FFFD in its place"
        ) from None


def _kind(value: object) -> str:
    """Return in words what JSON says."""
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{'NaN' if math.isnan(value) else 'an infinite number'}, which is no JSON"
    if isinstance(value, (_Integer, float)):
        return f"the number {shown(value, 40) if isinstance(value, float) else value[:40]}"
    return {dict: "an object", list: "a list", str: "a string"}.get(type(value), "null")


def lines_of(path: Path, names: Sequence[str], error: type[ValueError] = FileError) -> dict[str, list[int]]:
    """Return the lines in which ids stand in a file of JSON lines that can be read; all of it is read again."""
    found: dict[str, list[int]] = {name: [] for name in names}
    for numbers, ids, _ in _text_blocks(path, error, titles=False):
        for number, name in zip(numbers, ids, strict=True):
            if name in found:
                found[name].append(number)
    return found

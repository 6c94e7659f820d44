"""Files that people write, read as they stand or refused: corpora, queries, qrels, TREC runs and tables of scores.

There is one set of guards for all of them. A file is UTF-8, with or without a byte order mark, Windows line ends and a last newline, plain
or gzip, whatever its name says. Ids are the characters that stand there: ``NA`` is an id, a quotation mark a character, ``007`` not 7.
Nothing is guessed, converted or left out: what is no id, text, grade or score is an error that names the file, the line, the value and the
remedy. All lines of a file that are wrong are counted, and the first of them shown.

Text is read in blocks of lines. A block is checked as a whole, and gone through line by line only where something in it is wrong.
"""

from __future__ import annotations

import gzip
import io
import itertools
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

BLOCK = 1 << 16  # bytes that are checked together, 8 at least; what stays in the cache of a core is faster by half
LONGEST_LINE = 1 << 26  # bytes
LONGEST_ID = 4096  # characters
LOWEST_GRADE, HIGHEST_GRADE = -10, 100
SHOWN = 5  # wrong lines that a message shows; all are counted

QRELS_FORMS = (
    "expected the header query-id, corpus-id, score and three columns with tabs between them, or TREC qrels: lines of four fields, "
    "query_id iteration doc_id relevance, without a header"
)
RUN_FORM = "expected lines of six fields: query_id Q0 doc_id rank score tag"
SCORES_FORM = "expected query_id, doc_id and score in a Parquet file, or a TREC run with lines: query_id Q0 doc_id rank score tag"
JSON_FORM = 'expected one object a line, such as {"_id": "d1", "text": "a cat"}'

Parts = list[tuple[np.ndarray | pa.Array, ...]]  # line numbers, query ids, document ids and values, of a block each
V = TypeVar("V")

AGAIN = "score the pair again, in fp32 where a lower precision overflowed"

_HEADER = [b"query-id", b"corpus-id", b"score"]
_NO_ID = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ufeff]")
_WHOLE = re.compile(rb"[+-]?[0-9]{1,20}(\.0*)?")
_NUMBER = re.compile(rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_ODD = re.compile(r"\\u(?:0000|[dD])")  # a NUL or half a character in JSON, perhaps
_PARQUET = re.compile(rb"PAR1[^\t\n\r -~]")  # PAR1 alone may well begin an id
_GZIP = b"\x1f\x8b"
_FOREIGN = {
    _PARQUET: "a Parquet file",
    re.compile(rb"PK\x03\x04"): "a zip archive",
    re.compile(rb"BZh[1-9]1AY&SY"): "compressed by bzip2",
    re.compile(rb"\xfd7zXZ"): "compressed by xz",
    re.compile(rb"\x28\xb5\x2f\xfd"): "compressed by zstd",
    re.compile(rb"ARROW1\x00"): "an Arrow file",
    re.compile(re.escape(_GZIP)): "compressed by gzip twice",
}
_WIDE = (b"\xff\xfe", b"\xfe\xff")  # the byte order marks of UTF-16; UTF-32 begins with one of them, or with NUL


class FileError(ValueError):
    """A file cannot be read as it stands; the message names it, the line, the value and the remedy."""


class Table(NamedTuple):
    """Rows of a file, and the lines that they stand in, counted from 1."""

    frame: pd.DataFrame
    lines: np.ndarray


class Problems:
    """What is wrong with a file: the first lines in words, all of them counted.

    Args:
        path: of the file.
        error: what is raised.
        unit: what is counted: lines, or the rows of a table.
    """

    def __init__(self, path: Path, error: type[ValueError] = FileError, unit: str = "line") -> None:
        self.path, self.error, self.unit = Path(path), error, unit
        self.count = 0
        self.shown: list[str] = []

    def add(self, line: int, problem: str) -> None:
        """Note what is wrong with a line."""
        self.count += 1
        if self.count <= SHOWN:
            self.shown.append(f"{self.unit} {line}: {problem}")

    def check(self) -> None:
        """Raise what was noted, if anything was."""
        if self.count == 1:
            raise self.error(f"{self.path} {self.shown[0]}")
        if self.count:
            raise self.error(self._several())

    def _several(self) -> str:
        """Return the message on several lines; a remedy that all of them share is said once."""
        said, remedies = zip(*((found[0], found[2]) for found in (shown.rpartition("; ") for shown in self.shown)), strict=True)
        shared = len(set(remedies)) == 1
        lines = said if shared else self.shown
        more = [f"and {self.count - len(lines):,} more"] if self.count > len(lines) else []
        remedy = f"; {remedies[0]}" if shared else ""
        return "\n  ".join([f"{self.path}: {self.count:,} {self.unit}s are wrong{remedy}", *lines, *more])

    def refuse(self, problem: str, line: int | None = None) -> NoReturn:
        """Raise what makes the rest of the file worthless, after what was noted before."""
        place = f"{self.path}: " if line is None else f"{self.path} line {line}: "
        before = f"; before it {self.count:,} lines are wrong, the first is {self.shown[0]}" if self.count else ""
        raise self.error(place + problem + before) from None


def present(path: Path) -> Path | None:
    """Return a file, or where it is missing the same name with ``.gz``; None where both are."""
    for found in (path, path.with_name(f"{path.name}.gz")):
        if is_file(found):
            return found
    return None


def weight(path: Path) -> int:
    """Return about how many bytes a file holds, unpacked; a packed one is taken for a quarter."""
    with path.open("rb") as stream:
        return path.stat().st_size * (4 if stream.read(2) == _GZIP else 1)


def shown(value: object, most: int = 60) -> str:
    """Return a value as a message shows it: on one line, not too long, and without half a character.

    >>> shown("d" * 100, 12), shown(3.5)
    ("'dddddddddd…", '3.5')
    """
    if isinstance(value, bytes):
        value = value[: 4 * most].decode("utf-8", "replace")
    said = repr(value[: 2 * most] if isinstance(value, str) else value)
    return said if len(said) <= most else said[: most - 1] + "…"


# --- lines ------------------------------------------------------------------------------------------------------------------------


def blocks(problems: Problems) -> Iterator[tuple[int, bytes, str]]:
    """Yield a text file in blocks of whole lines: the number of the first line, and the block as bytes and as text, without a NUL.

    Raises:
        error: there is no such file, it is of another kind or encoding, damaged, or a line of it is too long.
    """
    line = 1
    with _opened(problems) as stream:
        left = b""
        while True:
            try:
                part = stream.read(BLOCK)
            except (OSError, EOFError, zlib.error) as reason:
                problems.refuse(f"cannot be read ({reason}), the file is damaged or cut; copy or compress it again", line)
            if line == 1 and not left:
                part = _start(part, stream, problems)
            block = left + part
            end = len(block) if not part else max(block.rfind(b"\n"), block.rfind(b"\r", 0, -1)) + 1
            block, left = block[:end], block[end:]
            if len(left) > LONGEST_LINE:
                problems.refuse(f"is longer than {LONGEST_LINE >> 20} MiB; put line ends between the entries, or cut that text", line)
            if block:
                yield line, block, _text(block, line, problems)
                line += _line_ends(block)
            if not part:
                return


@contextmanager
def _opened(problems: Problems) -> Iterator[io.BufferedReader]:
    """Open a file, or what gzip packed into it."""
    path = problems.path
    if not is_file(path):
        problems.refuse(f"there is no such file{_instead(path)}; put it there, or correct the path")
    try:
        stream = path.open("rb")
    except OSError as reason:
        problems.refuse(f"cannot be opened ({reason.strerror}); check who may read it")
    with stream:
        packed = stream.peek(2)[:2] == _GZIP
        yield io.BufferedReader(gzip.GzipFile(fileobj=stream), BLOCK) if packed else stream


def _instead(path: Path) -> str:
    """Return what stands in a file's place."""
    try:
        return ", it is a folder" if path.is_dir() else ", it is something else" if path.exists() else ""
    except (OSError, ValueError) as reason:
        return f" ({reason})"


def is_file(path: Path) -> bool:
    """Tell whether a regular file is there, whatever the name is."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _start(part: bytes, stream: io.BufferedReader, problems: Problems) -> bytes:
    """Return the first bytes of a file without byte order marks; refuse what is no UTF-8."""
    for magic, kind in _FOREIGN.items():
        if magic.match(part):
            problems.refuse(f"is {kind}, not lines of text; unpack or convert it (gzip is read as it is)")
    if part.startswith(_WIDE):
        problems.refuse("is UTF-16 or UTF-32 by its byte order mark; save it as UTF-8")
    while part.startswith(b"\xef\xbb\xbf"):
        part = part[3:] or stream.read(BLOCK)
    return part


def _text(block: bytes, line: int, problems: Problems) -> str:
    """Return a block as text; refuse it where it holds a NUL, or bytes that are not UTF-8."""
    nul = block.find(b"\0")
    if nul >= 0:
        wide = block.count(b"\0") * 4 >= len(block)
        remedy = "it looks like UTF-16 or UTF-32; save it as UTF-8" if wide else "the file is damaged or no text; take the NUL out"
        problems.refuse(f"holds a NUL character; {remedy}", line + _line_ends(block[:nul]))
    try:
        return block.decode("utf-8")
    except UnicodeDecodeError as reason:
        before = block[: reason.start]
        place = reason.start - max(before.rfind(b"\n"), before.rfind(b"\r"))
        problems.refuse(
            f"byte {place} (0x{block[reason.start]:02x}) is not UTF-8, perhaps Latin-1 or Windows-1252; save the file as UTF-8",
            line + _line_ends(before),
        )


def _line_ends(block: bytes) -> int:
    """Count line ends: ``\\n``, ``\\r\\n`` or ``\\r``."""
    returns = block.count(b"\r")
    return block.count(b"\n") + (returns - block.count(b"\r\n") if returns else 0)


def count_lines(path: Path, error: type[ValueError] = FileError) -> int:
    """Count the lines of a text file that are not blank."""
    return sum(sum(1 for line in block.splitlines() if line and not line.isspace()) for _, block, _ in blocks(Problems(path, error)))


# --- ids --------------------------------------------------------------------------------------------------------------------------


def id_problem(name: str) -> str | None:
    """Return what keeps a string from being an id, with the remedy; None where nothing does.

    >>> id_problem("NA"), id_problem("a b")
    (None, 'holds white space, which the TREC format cannot say; rename it wherever it stands')
    """
    if not name:
        return "is empty; give it a name"
    found = _NO_ID.search(name)
    if found:
        what = "white space" if found[0].isspace() else f"the invisible character U+{ord(found[0]):04X}"
        return f"holds {what}, which the TREC format cannot say; rename it wherever it stands"
    if len(name) > LONGEST_ID:
        return f"has {len(name):,} characters, more than the {LONGEST_ID:,} that an id may have; shorten it"
    return None


def are_ids(names: Sequence[str]) -> bool:
    """Tell whether all of some strings are ids."""
    return not names or (all(names) and _NO_ID.search("".join(names)) is None and max(map(len, names)) <= LONGEST_ID)


# --- JSON lines -------------------------------------------------------------------------------------------------------------------


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


# --- fields between white space or tabs ----------------------------------------------------------------------------------------------


def qrels(path: Path, error: type[ValueError] = FileError) -> Table:
    """Read qrels: BEIR's three columns below a header with tabs between them, or TREC's four fields without a header.

    TREC's iteration is a number or Q0, so that lines in another order are no qrels by chance. A grade is a whole number from -10 to 100, of
    which those above 0 are relevant; some TREC tracks give -1 and -2, which count as 0 (but Bpref and infAP take them as not judged). Gains
    such as 2**grade would leave the range of numbers beyond 100.

    Returns:
        Frame query_id, doc_id (str), relevance (int64), in the order of the file.

    Raises:
        error: the file has another form, a line another number of fields; an id or a grade is none; a pair is judged twice.
    """
    problems, known, iterations = Problems(path, error), _Known(_grade), _Known(_iteration)
    parts: Parts = []
    beir: bool | None = None
    for start, block, _ in blocks(problems):
        lines = block.splitlines()
        if beir is None:
            first = next((at for at, line in enumerate(lines) if line and not line.isspace()), None)
            if first is None:
                continue
            beir = _is_header(lines[first], start + first, problems)
            if beir:
                lines[first] = b""
        numbers, columns = _columns(lines, start, 3 if beir else 4, b"\t" if beir else None, QRELS_FORMS, problems)
        query_ids, doc_ids, grades = columns[0], columns[-2], columns[-1]
        if not beir:
            iterations.read(columns[1], numbers, lambda value: f"the iteration {shown(value)}", problems)
        read = known.read(grades, numbers, lambda value: f"the grade {shown(value)}", problems)
        queries, docs = (_ids(names, numbers, key, problems) for names, key in ((query_ids, "query id"), (doc_ids, "document id")))
        if not problems.count:
            parts.append((numbers, queries, docs, np.array(read, dtype=np.int64)))
    problems.check()
    if not any(len(part[0]) for part in parts):
        problems.refuse(f"holds no judgement; {QRELS_FORMS}")
    table = _table(parts, "relevance")
    _refuse_twice(table, problems, "judges", "grade")
    return table


def run(path: Path, error: type[ValueError] = FileError) -> Table:
    """Read a TREC run: lines of six fields between white space, ``query_id Q0 doc_id rank score tag``.

    Scores rank, as in trec_eval; the column of ranks is kept for who wants to compare (NaN where it is no number).

    Returns:
        Frame query_id, doc_id (str), score, rank (float64), in the order of the file; without rows where all lines are blank.

    Raises:
        error: a line has fewer or more than six fields, an id is none, a score no finite number, or a pair stands twice.
    """
    problems, ranks = Problems(path, error), _Known(_number)
    parts: Parts = []
    for start, block, _ in blocks(problems):
        numbers, (query_ids, _, doc_ids, places, values, _) = _columns(block.splitlines(), start, 6, None, RUN_FORM, problems)
        scores = _scores(values, query_ids, doc_ids, numbers, problems)
        queries, docs = (_ids(names, numbers, key, problems) for names, key in ((query_ids, "query id"), (doc_ids, "document id")))
        if not problems.count:
            parts.append((numbers, queries, docs, scores, np.array([ranks[place] for place in places], dtype=np.float64)))
    problems.check()
    table = _table(parts, "score", "rank")
    _refuse_twice(table, problems, "scores", "score")
    return table


def scores(path: Path, error: type[ValueError] = FileError) -> pd.DataFrame:
    """Read scored pairs: a Parquet file with query_id, doc_id and score, or a TREC run.

    Returns:
        Frame query_id, doc_id (str), score (float64), in the order of the file.

    Raises:
        error: the file is missing, or of another kind or form; an id is none, a score no finite number, or a pair stands twice.
    """
    problems = Problems(path, error)
    with _opened(problems) as stream:
        head = stream.peek(5)[:5] if isinstance(stream.raw, io.FileIO) else b""
    is_parquet = _PARQUET.match(head) or (head[:4] == b"PAR1" and problems.path.suffix == ".parquet")
    if is_parquet:
        return _parquet_scores(Problems(path, error, "row"))
    if problems.path.suffix == ".parquet":
        problems.refuse(f"is no Parquet file, it does not begin with PAR1; {SCORES_FORM}, under another name")
    frame = run(path, error).frame[["query_id", "doc_id", "score"]]
    if frame.empty:
        problems.refuse(f"holds no scored pair; {SCORES_FORM}")
    return frame


def _is_header(line: bytes, number: int, problems: Problems) -> bool:
    """Tell whether the first line is BEIR's header, or a line of TREC qrels; refuse it where it is neither."""
    if [part.strip() for part in line.split(b"\t")] == _HEADER:
        return True
    fields = line.split()
    if len(fields) != 4:
        problems.refuse(f"{shown(line)} has {len(fields)} fields and is not the header; {QRELS_FORMS}", number)
    if not _WHOLE.fullmatch(fields[3]):
        problems.refuse(f"{shown(line)} does not end with a whole number, the grade; {QRELS_FORMS}", number)
    return False


def _columns(
    lines: list[bytes], start: int, width: int, between: bytes | None, expected: str, problems: Problems
) -> tuple[np.ndarray, list[tuple[bytes, ...]]]:
    """Return the numbers of the lines that are not blank, int64, and their fields by column; note lines with too few or too many."""
    rows = [line.split(between) for line in lines]
    if set(map(len, rows)) == {width} and all(fields[0] for fields in rows):
        return np.arange(start, start + len(lines)), list(zip(*rows, strict=True))
    numbers, kept = [], []
    for number, (line, fields) in enumerate(zip(lines, rows, strict=True), start=start):
        if not line or line.isspace():
            continue
        if len(fields) == width:
            numbers.append(number)
            kept.append(fields)
        else:
            problems.add(number, f"{shown(line)} has {len(fields)} fields; {expected}")
    return np.array(numbers, dtype=np.int64), list(zip(*kept, strict=True)) if kept else [()] * width


def _ids(names: Sequence[bytes], numbers: np.ndarray, what: str, problems: Problems) -> pa.Array:
    """Return ids as an Arrow column, which is of no use where one is noted as a problem."""
    found = b"\n".join(names).decode("utf-8").split("\n") if names else []
    if not are_ids(found):
        for number, name in zip(numbers.tolist(), found, strict=True):
            problem = id_problem(name)
            if problem:
                problems.add(number, f"the {what} {shown(name)} {problem}")
    return pa.array(found, type=pa.large_string())


class _Known(dict[bytes, V]):
    """Values by what stands in the file, each worked out once."""

    def __init__(self, parse: Callable[[bytes], V]) -> None:
        super().__init__()
        self.parse = parse

    def __missing__(self, said: bytes) -> V:
        value = self.parse(said)
        if len(self) < 100_000:
            self[said] = value
        return value

    def read(self, column: Sequence[bytes], numbers: np.ndarray, what: Callable[[bytes], str], problems: Problems) -> list[V]:
        """Return the values of a column, and note those that are none: their parser returns a string, which says why."""
        values = [self[said] for said in column]
        if str in set(map(type, values)):
            for number, said, value in zip(numbers.tolist(), column, values, strict=True):
                if isinstance(value, str):
                    problems.add(number, f"{what(said)} {value}")
        return values


def _iteration(said: bytes) -> float | str:
    """Return what TREC's second field says, which nobody uses: a document in its place would be another form of qrels."""
    value = 0.0 if said in (b"Q0", b"q0") else _number(said)
    return f"is neither a number nor Q0; {QRELS_FORMS}" if math.isnan(value) else value


def _grade(said: bytes) -> int | str:
    said = said.strip()
    if not _WHOLE.fullmatch(said):
        return "is no whole number; expected one such as 0 or 1"
    value = int(said.partition(b".")[0])
    if LOWEST_GRADE <= value <= HIGHEST_GRADE:
        return value
    return (
        f"is not between {LOWEST_GRADE} and {HIGHEST_GRADE}, beyond which gains such as 2**grade are no numbers any more; "
        "give grades such as 0, 1, 2, 3"
    )


def _number(said: bytes) -> float:
    return float(said) if _NUMBER.fullmatch(said) else math.nan


def _scores(
    column: Sequence[bytes], query_ids: Sequence[bytes], doc_ids: Sequence[bytes], numbers: np.ndarray, problems: Problems
) -> np.ndarray:
    """Return a column as float64; note values that are no finite numbers."""
    try:
        found = np.array(list(map(float, column)), dtype=np.float64)
        sound = bool(np.isfinite(found).all()) and b"_" not in b"".join(column)  # Python reads 1_000 as a thousand
    except ValueError:
        sound = False
    if sound:
        return found
    found = np.array(list(map(_number, column)), dtype=np.float64)
    for place in np.flatnonzero(~np.isfinite(found)).tolist():
        pair = f"query {shown(query_ids[place])}, document {shown(doc_ids[place])}"
        problems.add(int(numbers[place]), f"the score {shown(column[place])} of {pair} is no finite number; {AGAIN}")
    return found


def _table(parts: Parts, *names: str) -> Table:
    """Put parts (line numbers, query ids, document ids, values) end to end."""
    keys = ("query_id", "doc_id")
    columns = {key: pa.chunked_array([part[at] for part in parts], type=pa.large_string()) for at, key in enumerate(keys, start=1)}
    frame = as_frame(pa.table(columns))
    for at, name in enumerate(names, start=3):
        frame[name] = np.concatenate([part[at] for part in parts]) if parts else np.zeros(0)
    return Table(frame, np.concatenate([part[0] for part in parts]) if parts else np.zeros(0, dtype=np.int64))


def _refuse_twice(table: Table, problems: Problems, verb: str, value: str) -> None:
    """Refuse pairs that stand twice; both lines are named."""
    keys = ["query_id", "doc_id"]
    again = np.flatnonzero(table.frame.duplicated(keys).to_numpy())
    if not len(again):
        return
    frame = table.frame[keys]
    first = frame.iloc[again[:SHOWN]].assign(again=again[:SHOWN])
    where = frame.reset_index(names="place").merge(first, on=keys).groupby("again")["place"].min()
    values = table.frame.iloc[:, 2].tolist()
    for later, earlier in zip(where.index.tolist(), where.tolist(), strict=True):
        said = "the same" if values[later] == values[earlier] else "another"
        query_id, doc_id = frame.iloc[later]
        problems.add(
            int(table.lines[later]),
            f"{verb} query {shown(query_id)}, document {shown(doc_id)} again, after {problems.unit} {table.lines[earlier]} ({said} "
            f"{value}: {values[later]:g} after {values[earlier]:g}); keep one of them",
        )
    problems.count = len(again)
    problems.check()


def as_frame(table: pa.Table) -> pd.DataFrame:
    """Return an Arrow table as a frame; strings stay where Arrow has them."""
    return table.to_pandas(types_mapper={pa.large_string(): pd.StringDtype("pyarrow", na_value=np.nan)}.get)


# --- Parquet ----------------------------------------------------------------------------------------------------------------------


def _parquet_scores(problems: Problems) -> pd.DataFrame:
    names = ["query_id", "doc_id", "score"]
    try:
        with pq.ParquetFile(problems.path) as file:
            schema = file.schema_arrow
            for name in names:
                _check_column(schema, name, problems)
            table = file.read(columns=names).select(names)
    except problems.error:
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError) as reason:
        said = str(reason).strip().splitlines() or [type(reason).__name__]
        problems.refuse(f"cannot be read ({shown(said[0], 200)}), the file is damaged, cut or no Parquet file; write it again")
    lines = np.arange(1, len(table) + 1)
    columns = {name: _parquet_ids(table.column(name), name, problems) for name in names[:2]}
    values = _parquet_numbers(table.column("score"), problems)
    if not len(lines):
        problems.refuse(f"holds no scored pair; {SCORES_FORM}")
    problems.check()
    found = Table(as_frame(pa.table(columns)).assign(score=values), lines)
    _refuse_twice(found, problems, "scores", "score")
    return found.frame


def _check_column(schema: pa.Schema, name: str, problems: Problems) -> None:
    count = schema.names.count(name)
    if count != 1:
        there = shown(", ".join(schema.names), 200)[1:-1] or "none at all"
        problems.refuse(f"has {'no' if not count else f'{count} times the'} column {name!r}, only {there}; {SCORES_FORM}")
    kind = schema.field(name).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if name == "score":
        fits = pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)
    else:
        fits = pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not fits:
        expected = "numbers" if name == "score" else "text (or whole numbers)"
        problems.refuse(f"the column {name!r} holds values of type {shown(str(kind))}; expected {expected} in every row")


def _parquet_ids(column: pa.ChunkedArray, name: str, problems: Problems) -> pa.ChunkedArray:
    """Return ids as text; note rows without one."""
    try:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        column = column.cast(pa.large_string())
        column.validate(full=True)  # text that is not UTF-8 is found here
    except pa.ArrowException as reason:
        problems.refuse(f"the column {name!r} cannot be read as text ({shown(str(reason), 120)}); write it as UTF-8")
    for chunk_start, chunk in _starts(column):
        found = chunk.to_pylist()
        if None in found or not are_ids(found):
            for row, value in enumerate(found, start=chunk_start + 1):
                problem = "is missing; give every row one" if value is None else id_problem(value)
                if problem:
                    problems.add(row, f"the {name} {shown(value)} {problem}")
    return column


def _parquet_numbers(column: pa.ChunkedArray, problems: Problems) -> np.ndarray:
    """Return scores as float64; note those that are no finite numbers."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    values = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(~np.isfinite(values)).tolist():
        problems.add(row + 1, f"the score {float(values[row])} is no finite number; {AGAIN}")
    return values


def _starts(column: pa.ChunkedArray, size: int = 1 << 16) -> Iterator[tuple[int, pa.ChunkedArray]]:
    """Yield pieces of a column with the row at which each begins."""
    for start in itertools.count(0, size):
        if start >= len(column):
            return
        yield start, column.slice(start, size)

"""Qrels, TREC runs and tables of scores: a query, a document and a value in every row, under the guards of :mod:`rd_utils.data.reading`."""

from __future__ import annotations

import io
import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rd_utils.data.reading import PARQUET, SHOWN, FileError, Problems, are_ids, blocks, id_problem, opened, shown

QRELS_FORMS = (
    "expected the header query-id, corpus-id, score and three columns with tabs between them, or TREC qrels: lines of four fields, "
    "query_id iteration doc_id relevance, without a header"
)
RUN_FORM = "expected lines of six fields: query_id Q0 doc_id rank score tag"
SCORES_FORM = "expected query_id, doc_id and score in a Parquet file, or a TREC run with lines: query_id Q0 doc_id rank score tag"
TRIPLES_FORM = "expected lines of three fields between white space: query_id doc_id score; a header that ends with score may stand first"
AGAIN = "score the pair again, in fp32 where a lower precision overflowed"

LOWEST_GRADE, HIGHEST_GRADE = -10, 100
_HEADER = [b"query-id", b"corpus-id", b"score"]
_WHOLE = re.compile(rb"[+-]?[0-9]{1,20}(\.0*)?")
_NUMBER = re.compile(rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
Parts = list[tuple[np.ndarray | pa.Array, ...]]  # line numbers, query ids, document ids and values, of a block each
V = TypeVar("V")


class Table(NamedTuple):
    """Rows of a file, and the lines that they stand in, counted from 1."""

    frame: pd.DataFrame
    lines: np.ndarray


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


def triples(path: Path, error: type[ValueError] = FileError) -> Table:
    """Read scored pairs as lines of three fields between white space, ``query_id doc_id score``, below a header or without.

    Returns:
        Frame query_id, doc_id (str), score (float64), in the order of the file.

    Raises:
        error: a line has fewer or more than three fields, an id is none, a score no finite number, or a pair stands twice.
    """
    problems = Problems(path, error)
    parts: Parts = []
    for start, block, _ in blocks(problems):
        lines = block.splitlines()
        if start == 1 and len(head := lines[0].split()) == 3 and b"score" in head[2].lower():
            lines[0] = b""
        numbers, columns = _columns(lines, start, 3, None, TRIPLES_FORM, problems)
        query_ids, doc_ids, values = columns
        found = _scores(values, query_ids, doc_ids, numbers, problems)
        queries, docs = (_ids(names, numbers, key, problems) for names, key in ((query_ids, "query id"), (doc_ids, "document id")))
        if not problems.count:
            parts.append((numbers, queries, docs, found))
    problems.check()
    table = _table(parts, "score")
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
    with opened(problems) as stream:
        head = stream.peek(5)[:5] if isinstance(stream.raw, io.FileIO) else b""
    is_parquet = PARQUET.match(head) or (head[:4] == b"PAR1" and problems.path.suffix == ".parquet")
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

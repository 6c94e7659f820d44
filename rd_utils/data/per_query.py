"""What other programs say of systems, query by query: PyTerrier's results and MTEB's predictions, recognised by their content.

- Results: ``pt.Experiment(..., perquery=True)`` gives a frame name, qid, measure, value; it is read from CSV or TSV (``to_csv``, with or
  without the index) and from JSON (``to_json`` by columns, by records, or a record a line).
- Predictions: what ``mteb`` writes of a retrieval task into its prediction folder, ``{subset: {split: {query: {document: score}}}}`` beside
  ``mteb_model_meta``. They are runs, which qrels judge; mteb (2.26) writes no measure of single queries.

Anything else is taken for a TREC run (:func:`rd_utils.data.trec.run`), whose reader says what is wrong.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import pandas as pd

from rd_utils.data.reading import FileError, Problems, blocks, id_problem, shown

COLUMNS = ("name", "qid", "measure", "value")
RESULTS_FORM = (
    "expected PyTerrier's results query by query: the columns name, qid, measure and value, as pt.Experiment(perquery=True) gives"
)
PREDICTIONS_FORM = "expected MTEB's predictions: {subset: {split: {query: {document: score}}}} beside mteb_model_meta"
JSON_FORMS = f"{RESULTS_FORM}; or {PREDICTIONS_FORM.removeprefix('expected ')}"
META = "mteb_model_meta"


class Contents(NamedTuple):
    """What a file holds.

    Attributes:
        kind: of the file; of a ``run`` nothing else is read yet.
        results: name, query_id, measure, value (float64) of each result; empty for other kinds.
        predictions: by ``subset/split``, the scores of documents by query; empty for other kinds.
    """

    kind: Literal["run", "results", "predictions"]
    results: pd.DataFrame
    predictions: dict[str, dict[str, dict[str, float]]]


def read(path: Path, error: type[ValueError] = FileError) -> Contents:
    """Read a file of results or predictions, or say that it is neither and may be a run.

    Raises:
        error: it begins like results or predictions and is damaged, or holds something else; the message names the line or the entry.
    """
    problems = Problems(path, error)
    parts = blocks(problems)
    head = next(parts, (1, b"", ""))[2]
    first = next((line for line in head.splitlines() if line.strip()), "")
    nothing = pd.DataFrame(columns=["name", "query_id", "measure", "value"])
    if first.lstrip()[:1] in ("{", "["):
        return _of_json(head + "".join(text for *_, text in parts), problems, nothing)
    between = "\t" if "\t" in first else ","
    names = [name.strip().strip('"') for name in first.split(between)]
    if len(set(names) & set(COLUMNS)) >= 2:
        text = head + "".join(text for *_, text in parts)
        return Contents("results", _of_table(text, between, problems), {})
    return Contents("run", nothing, {})


# --- PyTerrier --------------------------------------------------------------------------------------------------------------------


def _of_table(text: str, between: str, problems: Problems) -> pd.DataFrame:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=between)
    header: list[str] = []
    found: list[tuple[int, dict[str, object]]] = []
    try:
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if not header:
                header = [cell.strip() for cell in row]
                _check_columns(header, problems, rows.line_num)
            elif len(row) != len(header):
                problems.add(rows.line_num, f"has {len(row)} fields, the header {len(header)}; {RESULTS_FORM}")
            else:
                found.append((rows.line_num, dict(zip(header, row, strict=True))))
    except csv.Error as reason:
        problems.refuse(f"is no line of a table ({reason}); {RESULTS_FORM}", rows.line_num)
    return _results(found, problems)


def _check_columns(names: Iterable[object], problems: Problems, line: int | None) -> None:
    there = [str(name) for name in names]
    for name in COLUMNS:
        if there.count(name) != 1:
            said = "no" if name not in there else "more than one"
            problems.refuse(f"has {said} column {name!r}, its columns are {shown(', '.join(there), 200)}; {RESULTS_FORM}", line)


def _results(rows: Iterable[tuple[int, Mapping[str, object]]], problems: Problems) -> pd.DataFrame:
    """Return results as a frame; each row stands in a line, or is an entry of that number."""
    known: dict[tuple[str, str, str], int] = {}
    values: list[float] = []
    for line, row in rows:
        name, query, measure = (str(row[column]).strip() for column in COLUMNS[:3])
        value = _number(row["value"])
        wrong = id_problem(query)
        if not name or not measure:
            problems.add(line, f"the column {'measure' if name else 'name'} is empty; {RESULTS_FORM}")
        elif wrong:
            problems.add(line, f"the column qid: {shown(query)} {wrong}")
        elif value is None:
            problems.add(
                line, f"the column value: {shown(row['value'])} of {name}, query {shown(query)} is no finite number; measure it again"
            )
        elif (key := (name, query, measure)) in known:
            problems.add(line, f"{name}, query {shown(query)}, {measure} again, after {problems.unit} {known[key]}; keep one of them")
        else:
            known[key] = line
            values.append(value)
    problems.check()
    if not known:
        problems.refuse(f"holds no result; {RESULTS_FORM}")
    return pd.DataFrame(list(known), columns=["name", "query_id", "measure"]).assign(value=values)


def _number(said: object) -> float | None:
    if isinstance(said, bool) or not isinstance(said, int | float | str) or (isinstance(said, str) and "_" in said):
        return None
    try:
        value = float(said)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


# --- JSON -------------------------------------------------------------------------------------------------------------------------


def _of_json(text: str, problems: Problems, nothing: pd.DataFrame) -> Contents:
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as reason:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
        if reason.msg != "Extra data" or not all(line.lstrip().startswith("{") for _, line in lines):
            problems.refuse(f"column {reason.colno}: is no JSON ({reason.msg}); {JSON_FORMS}", reason.lineno)
        return Contents("results", _results(_of_lines(lines, problems), problems), {})
    except (RecursionError, ValueError) as reason:
        problems.refuse(f"{reason}; {JSON_FORMS}")
    entries = Problems(problems.path, problems.error, "entry")
    if isinstance(found, list):
        return Contents("results", _results(_of_records(found, entries), entries), {})
    if len(found.keys() & set(COLUMNS)) >= 2:
        return Contents("results", _results(_of_columns(found, problems), entries), {})
    if META in found or _is_nested(found):
        return Contents("predictions", nothing, _predictions(found, problems))
    problems.refuse(f"is an object of {shown(', '.join(map(str, list(found)[:5])), 100)}; {JSON_FORMS}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; of two entries under one name none is taken for the right one."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the entry {shown(next(name for name in names if names.count(name) > 1))} stands twice in an object; keep one")
    return found


def _of_lines(lines: list[tuple[int, str]], problems: Problems) -> list[tuple[int, Mapping[str, object]]]:
    found: list[tuple[int, Mapping[str, object]]] = []
    for number, line in lines:
        try:
            record = json.loads(line, object_pairs_hook=_once)
        except json.JSONDecodeError as reason:
            problems.refuse(f"column {reason.colno}: is no JSON ({reason.msg}); {RESULTS_FORM}", number)
        except ValueError as reason:
            problems.refuse(f"{reason}; {RESULTS_FORM}", number)
        _check_columns(record, problems, number)
        found.append((number, record))
    return found


def _of_records(records: list[Any], problems: Problems) -> list[tuple[int, Mapping[str, object]]]:
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            problems.refuse(f"entry {number} is {type(record).__name__}; {RESULTS_FORM}")
        if missing := [name for name in COLUMNS if name not in record]:
            problems.refuse(f"entry {number} has no {missing[0]!r}; {RESULTS_FORM}")
    return list(enumerate(records, start=1))


def _of_columns(columns: dict[str, Any], problems: Problems) -> list[tuple[int, Mapping[str, object]]]:
    """Return rows of an object of columns, each an object by row, as pandas writes it, or a list."""
    _check_columns(columns, problems, None)
    listed: dict[str, dict[Any, object]] = {}
    for name in COLUMNS:
        column = columns[name]
        if not isinstance(column, dict | list):
            problems.refuse(f"the column {name!r} is {type(column).__name__}; {RESULTS_FORM}")
        listed[name] = column if isinstance(column, dict) else dict(enumerate(column))
    rows = listed["name"].keys()
    for name, column in listed.items():
        if column.keys() != rows:
            problems.refuse(f"the column {name!r} has {len(column)} rows, 'name' {len(rows)}, or under other names; {RESULTS_FORM}")
    return [(number, {name: listed[name][row] for name in COLUMNS}) for number, row in enumerate(rows, start=1)]


# --- MTEB -------------------------------------------------------------------------------------------------------------------------


def _is_nested(found: object, depth: int = 4) -> bool:
    """Tell whether the first entry of each object leads four objects down, to a number."""
    if not depth:
        return isinstance(found, int | float)
    return isinstance(found, dict) and bool(found) and _is_nested(next(iter(found.values())), depth - 1)


def _predictions(found: dict[str, Any], problems: Problems) -> dict[str, dict[str, dict[str, float]]]:
    parts: dict[str, dict[str, dict[str, float]]] = {}

    def refuse(place: str, problem: str) -> NoReturn:
        problems.refuse(f"{place}: {problem}; {PREDICTIONS_FORM}")

    def entries(value: object, place: str, what: str) -> Iterable[tuple[str, Any]]:
        if not isinstance(value, dict):
            refuse(place, f"is {type(value).__name__}, not an object of {what}")
        return value.items()

    for subset, splits in entries({name: part for name, part in found.items() if name != META}, "the file", "subsets"):
        for split, queries in entries(splits, subset, "splits"):
            run: dict[str, dict[str, float]] = {}
            for query, documents in entries(queries, f"{subset} > {split}", "queries"):
                place = f"{subset} > {split} > {query}"
                if wrong := id_problem(query):
                    refuse(place, f"the query's id {wrong}")
                for document, score in entries(documents, place, "documents"):
                    if wrong := id_problem(document):
                        refuse(f"{place} > {document}", f"the document's id {wrong}")
                    if isinstance(score, str) or _number(score) is None:
                        refuse(f"{place} > {document}", f"the score {shown(score)} is no finite number")
                run[query] = {document: float(score) for document, score in documents.items()}
            if not any(run.values()):
                refuse(f"{subset} > {split}", "holds no scored document")
            parts[f"{subset}/{split}"] = run
    if not parts:
        problems.refuse(f"holds no predictions; {PREDICTIONS_FORM}")
    return parts

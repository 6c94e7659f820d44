"""What others write of queries and documents, recognised by its columns: lists of negatives, groups, scored pairs.

A *form* is a class of files. Its rows become lists: a query and its documents, by ids or by texts, those that are labelled relevant first,
with scores where the file has them. Runs and scored pairs of three fields are read as tables (:mod:`rd_utils.data.trec`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rd_utils.data import jsonl, trec
from rd_utils.data.reading import PARQUET, FileError, Problems, opened, shown

Kind = Literal["run", "scores", "negatives", "groups"]
Row = Mapping[str, Any]
AT_ONCE = 1 << 20  # pairs that are handed on together

QUERY_IDS = ("query_id", "qid", "query-id", "topic")
DOC_IDS = ("doc_id", "docid", "pid", "passage_id", "corpus-id", "document_id")
LISTS_OF_IDS = ("doc_ids", "document_ids", "docids", "pids", "passage_ids")
SCORES = ("score", "scores", "label", "labels")
_SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz")


class Listed(NamedTuple):
    """A query and documents of a system's list; the first ``positives`` of them are labelled relevant."""

    query: str
    docs: list[str]
    scores: list[float] | None
    positives: int = 0
    system: str = ""


class Pairs(NamedTuple):
    """Pairs end to end, in the order of the file.

    Attributes:
        system: whose lists they are of; empty where the file names none.
        queries: ids or texts.
        docs: ids or texts.
        scores: float64, NaN where there is none.
        positive: whether a document is labelled relevant.
    """

    system: str
    queries: list[str]
    docs: list[str]
    scores: np.ndarray
    positive: np.ndarray


class Form(NamedTuple):
    """A class of files.

    Attributes:
        name: as provenance says it.
        kinds: what may be taken from it.
        by_text: whether texts stand for ids.
        fits: tells whether a row is of it.
        lists: yields a row's lists, for a kind; raises a ValueError where the row does not say them.
    """

    name: str
    kinds: tuple[Kind, ...]
    by_text: bool
    fits: Callable[[Row], bool]
    lists: Callable[[Row, Kind], Iterator[Listed]]


# --- values -----------------------------------------------------------------------------------------------------------------------


def _text(value: object, what: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{what} is {shown(value)}; expected a text, or a whole number as an id")
    return str(value)


def _texts(value: object, what: str) -> list[str]:
    if not isinstance(value, list):
        raise ValueError(f"{what} is {shown(value)}; expected a list")
    return [_text(one, what) for one in value]


def _number(value: object, what: str) -> float:
    try:
        found = math.nan if isinstance(value, bool) else float(cast("Any", value))
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{what} is {shown(value)}, no finite number; {trec.AGAIN}")
    return found


def _numbers(value: object, what: str, expected: int) -> list[float]:
    if not isinstance(value, list) or len(value) != expected:
        found = len(value) if isinstance(value, list) else shown(value)
        raise ValueError(f"{what} holds {found}, not one number for each of {expected} documents; write one a document")
    return [_number(one, what) for one in value]


def _one_of(row: Row, names: Iterable[str]) -> str | None:
    return next((name for name in names if name in row), None)


def _key(row: Row, names: Iterable[str]) -> str:
    """Return the first of some names that a row has; a form that fits has one."""
    return cast("str", _one_of(row, names))


# --- forms ------------------------------------------------------------------------------------------------------------------------


def _of_rank_llm(row: Row, kind: Kind) -> Iterator[Listed]:
    query, candidates = row["query"], row["candidates"]
    if "qid" not in query or not all(isinstance(one, Mapping) and "docid" in one for one in candidates):
        raise ValueError("has a query without qid, or a candidate without docid; expected what rank_llm writes")
    scores = [_number(one.get("score"), "a candidate's score") for one in candidates]
    yield Listed(_text(query["qid"], "qid"), [_text(one["docid"], "docid") for one in candidates], scores)


def _of_hard_negatives(row: Row, kind: Kind) -> Iterator[Listed]:
    query, positives = _text(row["qid"], "qid"), _with_scores(row["pos"], "pos")
    for system, found in row["neg"].items():
        if found:  # a table has a column for every system
            docs, scores = _with_scores(found, f"neg of {system}")
            both = [*positives[1], *scores] if positives[1] is not None and scores is not None else None
            yield Listed(query, [*positives[0], *docs], both, len(positives[0]), str(system))


def _with_scores(found: object, what: str) -> tuple[list[str], list[float] | None]:
    """Return ids, and scores where each stands in an object with one."""
    if isinstance(found, list) and found and all(isinstance(one, Mapping) for one in found):
        rows = cast("list[Row]", found)
        ids = [_text(row.get(_one_of(row, DOC_IDS) or ""), f"an id of {what}") for row in rows]
        of = _one_of(rows[0], ("ce-score", "score"))
        return ids, None if of is None else [_number(row.get(of), f"{of} of {what}") for row in rows]
    ids = _texts(found, what)
    return ids, None if ids else []


def _of_tevatron(row: Row, kind: Kind) -> Iterator[Listed]:
    positives, negatives = (
        [_text(one["docid"], "docid") if isinstance(one, Mapping) and "docid" in one else _lacks(name) for one in row[name]]
        for name in ("positive_passages", "negative_passages")
    )
    yield Listed(_text(row["query_id"], "query_id"), positives + negatives, None, len(positives))


def _of_tevatron_ids(row: Row, kind: Kind) -> Iterator[Listed]:
    positives, negatives = (_texts(row[name], name) for name in ("positive_document_ids", "negative_document_ids"))
    yield Listed(_text(row["query_id"], "query_id"), positives + negatives, None, len(positives))


def _lacks(name: str) -> str:
    raise ValueError(f"has a passage in {name} without docid; expected what tevatron reads, with docid in every passage")


def _of_id_lists(row: Row, kind: Kind) -> Iterator[Listed]:
    docs = _texts(row[_key(row, LISTS_OF_IDS)], "the list of documents")
    of = _one_of(row, SCORES)
    scores = None if of is None or row[of] is None else _numbers(row[of], of, len(docs))
    yield Listed(_text(row[_key(row, QUERY_IDS)], "the query's id"), docs, scores, int(kind in ("groups", "negatives")))


def _of_id_pairs(row: Row, kind: Kind) -> Iterator[Listed]:
    query, doc = (_text(row[_key(row, names)], "an id") for names in (QUERY_IDS, DOC_IDS))
    yield Listed(query, [doc], [_number(row[_key(row, SCORES)], "the score")])


def _of_flag_embedding(row: Row, kind: Kind) -> Iterator[Listed]:
    positives, negatives = (_texts(row[name], name) for name in ("pos", "neg"))
    scores = None
    if row.get("pos_scores") is not None and row.get("neg_scores") is not None:
        scores = [
            *_numbers(row["pos_scores"], "pos_scores", len(positives)),
            *_numbers(row["neg_scores"], "neg_scores", len(negatives)),
        ]
    yield Listed(_text(row["query"], "query"), positives + negatives, scores, len(positives))


def _of_tuples(row: Row, kind: Kind) -> Iterator[Listed]:
    (query, said), (_, positive), *others = row.items()
    docs = [_text(value, name) for name, value in others if name.partition("_")[0] == "negative"]
    of = _one_of(row, SCORES)
    scored = of is not None and isinstance(row[of], list)  # a single number is the margin between positive and negative
    scores = _numbers(row[of], of, len(docs) + 1) if of is not None and scored else None
    yield Listed(_text(said, query), [_text(positive, "the positive"), *docs], scores, 1)


def _of_labelled(row: Row, kind: Kind) -> Iterator[Listed]:
    """Yield a labelled pair or list: whole numbers 0 and 1 are labels of negatives, what groups have there are a teacher's scores."""
    (query, said), (name, value), (of, values) = row.items()
    docs = _texts(value, name) if isinstance(value, list) else [_text(value, name)]
    numbers = _numbers(values if isinstance(values, list) else [values], of, len(docs))
    if kind == "groups" and len(docs) > 1:
        yield Listed(_text(said, query), docs, numbers, 1)
    elif of.startswith("score"):
        yield Listed(_text(said, query), docs, numbers, int(len(docs) > 1))
    elif set(numbers) <= {0.0, 1.0}:
        order = sorted(range(len(docs)), key=lambda place: -numbers[place])
        yield Listed(_text(said, query), [docs[place] for place in order], None, int(sum(numbers)))
    else:
        raise ValueError(f"{of} holds {shown(max(numbers, key=abs))}; expected 1 for a positive and 0 for a negative")


def _is_labelled(row: Row) -> bool:
    values = list(row.values())
    return len(values) == 3 and [*row][2] in SCORES and isinstance(values[0], str) and isinstance(values[1], str | list)


FORMS = (
    Form(
        "rank_llm's candidates",
        ("run", "scores"),
        False,
        lambda row: isinstance(row.get("query"), Mapping) and isinstance(row.get("candidates"), list),
        _of_rank_llm,
    ),
    Form(
        "hard negatives by system (msmarco-hard-negatives)",
        ("negatives",),
        False,
        lambda row: {"qid", "pos", "neg"} <= row.keys() and isinstance(row["neg"], Mapping),
        _of_hard_negatives,
    ),
    Form(
        "tevatron's passages",
        ("negatives", "groups"),
        False,
        lambda row: {"query_id", "positive_passages", "negative_passages"} <= row.keys(),
        _of_tevatron,
    ),
    Form(
        "tevatron's ids",
        ("negatives", "groups"),
        False,
        lambda row: {"query_id", "positive_document_ids", "negative_document_ids"} <= row.keys(),
        _of_tevatron_ids,
    ),
    Form(
        "lists of ids",
        ("run", "scores", "negatives", "groups"),
        False,
        lambda row: None not in (_one_of(row, QUERY_IDS), _one_of(row, LISTS_OF_IDS)),
        _of_id_lists,
    ),
    Form(
        "scored pairs by columns",
        ("run", "scores"),
        False,
        lambda row: None not in (_one_of(row, QUERY_IDS), _one_of(row, DOC_IDS), _one_of(row, SCORES)),
        _of_id_pairs,
    ),
    Form("FlagEmbedding's texts", ("negatives", "groups"), True, lambda row: {"query", "pos", "neg"} <= row.keys(), _of_flag_embedding),
    Form(
        "tuples of texts (sentence-transformers)",
        ("negatives", "groups"),
        True,
        lambda row: len(row) > 2 and any(name in row for name in ("negative", "negative_1")),
        _of_tuples,
    ),
    Form("labelled texts (sentence-transformers)", ("negatives", "groups"), True, _is_labelled, _of_labelled),
)
RUN = Form("TREC run", ("run", "scores"), False, lambda row: False, lambda row, kind: iter(()))
TRIPLES = RUN._replace(name="lines of query, document, score")


# --- files ------------------------------------------------------------------------------------------------------------------------


def files_in(path: Path, error: type[ValueError] = FileError) -> list[Path]:
    """Return a file, or those of a folder that hold its rows: ``train`` of an export, or what datasets saved to the disk.

    Raises:
        error: the folder has neither.
    """
    if not path.is_dir():
        return [path]
    exported = [path / f"train{suffix}" for suffix in _SUFFIXES if (path / f"train{suffix}").is_file()]
    found = exported[:1] or sorted(path.glob("data-*.arrow"))
    if not found:
        raise error(f"{path}: a folder without train.parquet, train.jsonl or data-*.arrow; name the files themselves")
    return found


def recognised(path: Path, kind: Kind, error: type[ValueError] = FileError) -> Form:
    """Return the form of a file, by its first row.

    Raises:
        error: the file cannot be read, holds nothing, or is of no form that a kind may be taken from.
    """
    problems = Problems(path, error)
    fitting = [form.name for form in FORMS if kind in form.kinds] + ([RUN.name, TRIPLES.name] if kind in RUN.kinds else [])
    expected = f"expected for {kind}: {', '.join(fitting)}"
    if (fields := _fields(path, error)) is not None:
        form = {6: RUN, 3: TRIPLES}.get(fields)
        if form is None or kind not in form.kinds:
            problems.refuse(f"its first line has {fields} fields between white space and is no JSON object; {expected}")
        return form
    row = next((row for _, row in _rows(path, error)), None)
    if row is None:
        problems.refuse(f"holds no row; {expected}")
    form = next((form for form in FORMS if form.fits(row)), None)
    if form is None or kind not in form.kinds:
        what = "is of no known form" if form is None else f"is of the form {form.name}, which has no {kind}"
        problems.refuse(f"{what}; its columns are {shown(', '.join(row), 200)[1:-1]}; {expected}")
    return form


def pairs(path: Path, form: Form, kind: Kind, error: type[ValueError] = FileError) -> Iterator[Pairs]:
    """Yield the pairs of a file, some hundred thousands of a system at a time, in the order of the file.

    Raises:
        error: naming the lines that do not say what the form says.
    """
    if form in (RUN, TRIPLES):
        frame = (trec.run if form is RUN else trec.triples)(path, error).frame
        if len(frame):
            queries, docs = frame["query_id"].tolist(), frame["doc_id"].tolist()
            yield Pairs("", queries, docs, frame["score"].to_numpy(dtype=np.float64), np.zeros(len(frame), dtype=bool))
        return
    waiting: dict[str, list[Listed]] = {}
    count = 0
    for one in _lists(path, form, kind, error):
        waiting.setdefault(one.system, []).append(one)
        count += len(one.docs)
        if count >= AT_ONCE:
            yield from _joined(waiting)
            waiting, count = {}, 0
    yield from _joined(waiting)


def _lists(path: Path, form: Form, kind: Kind, error: type[ValueError]) -> Iterator[Listed]:
    problems = Problems(path, error, "line" if _is_text(path, error) else "row")
    for number, row in _rows(path, error):
        try:
            if not form.fits(row):
                raise ValueError(f"is not of the form {form.name}, as the first is; its columns are {shown(', '.join(row), 200)[1:-1]}")
            found = list(form.lists(row, kind))
        except (ValueError, TypeError, AttributeError) as problem:
            problems.add(number, str(problem))
            continue
        if not problems.count:
            yield from found
    problems.check()


def _joined(waiting: dict[str, list[Listed]]) -> Iterator[Pairs]:
    for system, lists in waiting.items():
        yield Pairs(
            system,
            [one.query for one in lists for _ in one.docs],
            [doc for one in lists for doc in one.docs],
            np.array([score for one in lists for score in one.scores or [math.nan] * len(one.docs)], dtype=np.float64),
            np.array([place < one.positives for one in lists for place in range(len(one.docs))], dtype=bool),
        )


def _is_text(path: Path, error: type[ValueError]) -> bool:
    return path.suffix != ".arrow" and not PARQUET.match(_head(path, error))


def _head(path: Path, error: type[ValueError]) -> bytes:
    with opened(Problems(path, error)) as stream:
        return stream.read(1 << 12).removeprefix(b"\xef\xbb\xbf")


def _fields(path: Path, error: type[ValueError]) -> int | None:
    """Return how many fields the first line of a text has between white space; None of JSON and of tables."""
    if not _is_text(path, error):
        return None
    head = _head(path, error).lstrip()
    return None if head.startswith(b"{") or not head else len(head.splitlines()[0].split())


def _rows(path: Path, error: type[ValueError]) -> Iterator[tuple[int, Row]]:
    if _is_text(path, error):
        yield from jsonl.objects(path, error)
        return
    problems, number = Problems(path, error, "row"), 0
    try:
        for batch in _batches(path):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, OSError) as reason:
        said = str(reason).strip().splitlines() or [type(reason).__name__]
        problems.refuse(f"cannot be read ({shown(said[0], 200)}), the file is damaged, cut or of another kind; write it again")


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    if path.suffix == ".arrow":
        with pa.memory_map(str(path)) as source:
            yield from pa.ipc.open_stream(source)
    else:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=1024)

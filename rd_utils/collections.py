"""Collections as frames: docs (doc_id, text), queries (query_id, text), qrels (query_id, doc_id, relevance).

Every reader returns str ids in the source's own order, and checks that ids are unique and texts are there.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from rd_utils.params import SPLIT_PARTS, nearest
from rd_utils.progress import Track, untracked

DOCS = pa.schema([("doc_id", pa.large_string()), ("text", pa.large_string())])
BATCH = 1 << 16  # documents or queries that are read at once, as Python objects


WORD = re.compile(r"\w")  # a letter, a digit or an underscore: what a text without a word has none of
_WHOLE = {"skip_queries": 0, "max_queries": None}


class CollectionError(ValueError):
    """A collection cannot be read as asked; the message names the offender and the remedy."""


def read_docs(collection: Any, folder: Path | None = None, track: Track = untracked) -> pd.DataFrame:
    """Read the documents of a collection into memory.

    Args:
        collection: one of the collection classes of :mod:`rd_utils.params`.
        folder: where a ``folder`` collection lies (its ``path``, resolved).
        track: wraps an iterable to show progress; called as ``track(iterable, description, total)``.

    Returns:
        Frame doc_id, text; title and text joined where the source has both.

    Raises:
        CollectionError: there are no documents, a document has no id or text, or an id stands twice.
    """
    table = pa.Table.from_batches(doc_batches(collection, folder, track), schema=DOCS)
    _check_ids(table.column("doc_id"), collection.label)
    return _as_frame(table)


def write_docs(collection: Any, path: Path, folder: Path | None = None, track: Track = untracked) -> Written:
    """Write the documents of a collection as one Arrow file, as they are read: memory does not grow with their texts.

    Args:
        collection: one of the collection classes of :mod:`rd_utils.params`.
        path: of the file, which :func:`open_docs` maps into memory.
        folder: where a ``folder`` collection lies (its ``path``, resolved).
        track: wraps an iterable to show progress.

    Returns:
        How many documents there are, how many of them without text or without a word, and their ranks by id.

    Raises:
        CollectionError: there are no documents, a document has no id or text, or an id stands twice.
    """
    blank, without_word, first = 0, 0, ""
    with pa.ipc.new_file(path, DOCS) as writer:
        for batch in doc_batches(collection, folder, track):
            wordless = np.flatnonzero(~has_word(batch.column("text")))
            first = first or (batch.column("doc_id")[int(wordless[0])].as_py() if len(wordless) else "")
            without_word += len(wordless)
            blank += sum(not text.strip() for text in batch.column("text").take(pa.array(wordless)).tolist())
            writer.write_batch(batch)
    ids = _mapped(path).column("doc_id")
    order = _check_ids(ids, collection.label)
    ties = np.empty(len(order), dtype=np.int32)
    ties[order] = np.arange(len(order), dtype=np.int32)
    return Written(len(ids), blank, without_word, first, ties)


class Written(NamedTuple):
    """What :func:`write_docs` wrote.

    Attributes:
        documents: how many.
        without_text: how many of them have an empty text, or white space alone.
        without_word: how many have no letter, digit or underscore, those without text among them.
        first_without_word: the id of the first of these; empty where there is none.
        ties: int32 (documents,), each document's rank among the sorted ids: the order in which equal scores are listed.
    """

    documents: int
    without_text: int
    without_word: int
    first_without_word: str
    ties: np.ndarray


def has_word(texts: Any) -> np.ndarray:
    """Tell which texts have a word: a letter, a digit or an underscore somewhere.

    A text of white space, punctuation or pictures has none: no retriever finds it, and an embedding of it says nothing.

    Args:
        texts: strings, as a Series or an Arrow array.

    Returns:
        A Boolean for each text, (n,).

    >>> has_word(pd.Series(["a cat", " ", "?!", "7"])).tolist()
    [True, False, False, True]
    """
    texts = texts.array if isinstance(texts, pd.Series) else texts
    parts = (texts[start : start + BATCH].tolist() for start in range(0, len(texts), BATCH))  # never all in memory
    return np.fromiter((WORD.search(text) is not None for part in parts for text in part), dtype=bool, count=len(texts))


def open_docs(path: Path) -> pd.DataFrame:
    """Open what :func:`write_docs` wrote as a frame doc_id, text, whose strings stay in the file: it is there at once, and shared.

    A column that is turned into Python strings takes the memory that they take; ``series.array`` and Arrow's functions do not.
    """
    return _as_frame(_mapped(path))


def doc_batches(collection: Any, folder: Path | None = None, track: Track = untracked) -> Iterator[pa.RecordBatch]:
    """Yield the documents of a collection in its own order, doc_id and text, a batch of them at a time.

    Args:
        collection: one of the collection classes of :mod:`rd_utils.params`.
        folder: where a ``folder`` collection lies (its ``path``, resolved).
        track: wraps an iterable to show progress.

    Raises:
        CollectionError: a document has no id or text, or the source cannot be read.
    """
    if collection.source == "embedded":
        docs = _embedded(collection).docs
        yield from _batches(zip(docs["doc_id"], docs["text"], strict=True))
    elif collection.source == "ir_datasets":
        dataset = _ir_dataset(collection.id)
        with _downloads(collection.id):
            records = track(dataset.docs_iter(), f"reading documents of {collection.id}", dataset.docs_count())
            yield from _batches((doc.doc_id, doc.default_text()) for doc in records)
    else:
        rows = track(_json_lines(folder / "corpus.jsonl"), f"reading {folder.name}/corpus.jsonl", None)
        yield from _batches((_field(row, "_id", where), _title_and_text(row, where)) for where, row in rows)


def _batches(docs: Iterator[tuple[Any, Any]]) -> Iterator[pa.RecordBatch]:
    docs = iter(docs)
    while part := list(itertools.islice(docs, BATCH)):
        part = [_told(*doc, "document") for doc in part]
        columns = (pa.array([doc[place] for doc in part], type=pa.large_string()) for place in range(2))
        yield pa.record_batch(list(columns), schema=DOCS)


def _told(name: Any, text: Any, of: str) -> tuple[str, str]:
    """Return an id and a text as str; None is neither, and not the word "None"."""
    if name is None:
        raise CollectionError(f"a {of} has no id, its text begins {str(text)[:40]!r}; give it one in the source")
    if text is None:
        raise CollectionError(f"the {of} {str(name)!r} has no text; give it one in the source, an empty one where there is nothing to say")
    return str(name), str(text)


def _mapped(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _as_frame(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas(types_mapper={pa.large_string(): pd.StringDtype("pyarrow", na_value=np.nan)}.get)


def _check_ids(ids: pa.ChunkedArray, label: str) -> np.ndarray:
    """Return the rows sorted by id; ids must be there, each once."""
    if not len(ids):
        raise CollectionError(f"{label}: no doc was read; check the source")
    order = pc.sort_indices(ids)  # by UTF-8 bytes, which is the order of str
    ordered = ids.take(order)
    same = pc.equal(ordered[1:], ordered[:-1]).to_numpy() if len(ids) > 1 else np.zeros(0, dtype=bool)
    if same.any():
        at = np.flatnonzero(same)
        rows = np.sort(order.to_numpy()[at + 1])
        first = ids[int(rows[0])].as_py()
        raise CollectionError(f"{label}: {len(at)} values of doc_id stand twice, the first is {first!r}; ids must be unique")
    return order.to_numpy()


def read_queries(collection: Any, folder: Path | None = None, track: Track = untracked) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the queries and qrels of one split.

    Of the queries that have a qrel, ``random_split`` keeps a random part; ``max_queries`` then keeps the first ones by sorted query_id,
    after ``skip_queries`` of them.

    Returns:
        queries (query_id, text) and qrels (query_id, doc_id, relevance), the qrels of those queries only.
    """
    if collection.source == "embedded":
        generated = _embedded(collection)
        queries, qrels = generated.queries[collection.split], generated.qrels[collection.split]
    elif collection.source == "ir_datasets":
        dataset = _ir_dataset(collection.id)
        _check_parts(collection.id, dataset)
        with _downloads(collection.id):
            records = track(dataset.queries_iter(), f"reading queries of {collection.id}", dataset.queries_count())
            queries = _frame((_told(query.query_id, query.default_text(), "query") for query in records), ["query_id", "text"])
            records = track(dataset.qrels_iter(), f"reading qrels of {collection.id}", dataset.qrels_count())
            qrels = _frame(((q.query_id, q.doc_id, q.relevance) for q in records), ["query_id", "doc_id", "relevance"])
    else:
        rows = track(_json_lines(folder / "queries.jsonl"), f"reading {folder.name}/queries.jsonl", None)
        queries = _frame(((_field(row, "_id", where), _field(row, "text", where)) for where, row in rows), ["query_id", "text"])
        qrels = _read_qrels(folder / "qrels", collection.split)
        queries = queries[queries["query_id"].isin(qrels["query_id"])]  # BEIR keeps all splits' queries in one file
    queries = _checked(queries, "query_id", collection.label)
    unknown = sorted(set(qrels["query_id"]) - set(queries["query_id"]))
    if unknown:
        raise CollectionError(f"{collection.label}: {len(unknown)} queries of the qrels have no text, the first is {unknown[0]!r}")
    twice = qrels[qrels.duplicated(["query_id", "doc_id"])]
    if len(twice):
        raise CollectionError(
            f"{collection.label}: {len(twice)} qrels stand twice, the first is {tuple(twice.iloc[0][['query_id', 'doc_id']])}"
        )
    queries, qrels = random_part(collection, queries, qrels)
    skipped = getattr(collection, "skip_queries", 0)
    if collection.max_queries is not None or skipped:
        kept = sorted(set(qrels["query_id"]))[skipped:][: collection.max_queries]
        if not kept:
            raise CollectionError(f"{collection.label}: skip_queries leaves none of {qrels['query_id'].nunique()} queries; lower it")
        queries, qrels = queries[queries["query_id"].isin(kept)], qrels[qrels["query_id"].isin(kept)]
    return queries.reset_index(drop=True), qrels.reset_index(drop=True)


def random_part(collection: Any, queries: pd.DataFrame, qrels: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keep the part of the queries that a collection's ``random_split`` names; without one, all of them.

    The distinct texts (but for white space and case) of the queries that have a qrel are put in the order of the SHA-256 of the seed and
    the text, and cut at the shares' running sums of their number, rounded. So the parts are disjoint and complete, queries of one text are
    in one part, no part depends on the platform or on the order of the source, and a new query moves few others.

    Args:
        collection: one of the collection classes of :mod:`rd_utils.params`.
        queries: query_id, text.
        qrels: query_id, doc_id, relevance.

    Returns:
        queries and qrels of the part.

    Raises:
        CollectionError: no query falls into the part.
    """
    split = collection.random_split
    if split is None:
        return queries, qrels
    judged = queries[queries["query_id"].isin(qrels["query_id"])]
    texts = pd.Series(plain_texts(judged["text"]), index=judged.index)
    keys = {text: hashlib.sha256(f"{split.seed} {text}".encode()).digest() for text in texts}
    order = sorted(keys, key=keys.__getitem__)
    place = SPLIT_PARTS.index(split.part)
    start, stop = (round(sum(split.shares[:end]) * len(order)) for end in (place, place + 1))
    kept = judged[texts.isin(order[start:stop])]
    if kept.empty:
        raise CollectionError(
            f"{collection.label}: no query falls into the part {split.part!r}, a share of {split.share:g} of {len(order)} distinct texts; "
            "raise its share"
        )
    return kept, qrels[qrels["query_id"].isin(kept["query_id"])]


def plain_texts(texts: pd.Series) -> list[str]:
    """Return texts without what makes no other question of them: white space and case.

    >>> plain_texts(pd.Series([" Does it  rain?", "does it rain?"]))
    ['does it rain?', 'does it rain?']
    """
    return [" ".join(text.split()).casefold() for text in texts]


def check_source(collection: Any, folder: Path | None = None, queries: bool = True) -> None:
    """Check, without reading it, that a collection can be read: a known ir_datasets id (with queries, if wanted), a folder with its files.

    Raises:
        CollectionError: naming the offender and the nearest valid name.
    """
    if collection.source == "ir_datasets":
        dataset = _ir_dataset(collection.id)
        if queries:
            _check_parts(collection.id, dataset)
    elif collection.source == "folder":
        for name in ("corpus.jsonl", "queries.jsonl", f"qrels/{collection.split}.tsv"):
            if not (folder / name).is_file():
                there = sorted(p.stem for p in (folder / "qrels").glob("*.tsv")) if name.startswith("qrels") else []
                raise CollectionError(f"{collection.path}: no file {name}; a BEIR folder needs it{nearest(collection.split, there)}")


def _check_parts(name: str, dataset: Any) -> None:
    for part, has in (("queries", dataset.has_queries()), ("qrels", dataset.has_qrels())):
        if not has:
            raise CollectionError(f"ir_datasets id {name!r} has no {part}; name a split that has, such as {name}/train")


def own_tests(collection: Any, folder: Path | None = None) -> tuple[Any, ...]:
    """Return the test collection that belongs to a training collection, without reading it; empty where none is known.

    Of an embedded collection and of a folder the split ``test``; of an ir_datasets id the ``test`` beside or below it; of pseudo-queries
    what belongs to their documents, or these themselves where they have judged queries.

    >>> from rd_utils import params
    >>> [test.id for test in own_tests(params.IrDatasetsCollection(id="beir/scifact/train"))]
    ['beir/scifact/test']
    >>> own_tests(params.IrDatasetsCollection(id="vaswani"))
    ()
    """
    if collection.source == "pseudo_queries":
        documents = collection.documents
        judged = _is_judged(documents.id) if documents.source == "ir_datasets" else documents.split == "test"
        return own_tests(documents, folder) or ((documents,) if judged else ())
    if collection.source == "ir_datasets":
        ids = (f"{collection.id.rpartition('/')[0]}/test", f"{collection.id}/test")
        return tuple(collection.model_copy(update=_WHOLE | {"id": test}) for test in ids if test != collection.id and _is_judged(test))[:1]
    there = collection.source == "embedded" or (folder / "qrels" / "test.tsv").is_file()
    whole = {name: value for name, value in (_WHOLE | {"split": "test"}).items() if name in type(collection).model_fields}
    return (collection.model_copy(update=whole),) if there and collection.split != "test" else ()


def _is_judged(name: str) -> bool:
    """Tell whether ir_datasets knows an id that has queries and qrels; downloads nothing."""
    import ir_datasets

    if name not in ir_datasets.registry:
        return False
    dataset = ir_datasets.load(name)
    return dataset.has_queries() and dataset.has_qrels()


def positives(qrels: pd.DataFrame) -> pd.DataFrame:
    """Return the qrels with relevance above 0: the known positives."""
    return qrels[qrels["relevance"] > 0]


def write_table(frame: pd.DataFrame, folder: Path, name: str) -> None:
    """Write a table of texts as an Arrow file, uncompressed, so that :func:`read_table` can map it."""
    frame.to_feather(folder / f"{name}.arrow", compression="uncompressed")


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """Open an Arrow file, memory-mapped: texts are read when they are looked at; or read a Parquet file of that name."""
    path = folder / f"{name}.arrow"
    if path.is_file():
        return open_docs(path)
    return pd.read_parquet(folder / f"{name}.parquet")


def _embedded(collection: Any) -> Any:
    from rd_utils import synthetic

    return synthetic.generate(collection.profile, collection.world, collection.seed)


def _ir_dataset(name: str) -> Any:
    import ir_datasets

    try:
        return ir_datasets.load(name)
    except KeyError:
        raise CollectionError(f"ir_datasets knows no id {name!r}{_near_ids(name, list(ir_datasets.registry))}") from None


@contextmanager
def _downloads(name: str) -> Iterator[None]:
    """Turn a failed download into an error that says where a local copy goes."""
    try:
        yield
    except (OSError, EOFError, RuntimeError) as error:
        raise CollectionError(
            f"ir_datasets id {name!r} could not be read or downloaded ({type(error).__name__}: {error}); check the network, or put a local "
            "copy of its source where IR_DATASETS_HOME points"
        ) from error


def _near_ids(name: str, ids: list[str]) -> str:
    hint = nearest(name, ids).split(" (choices")[0]
    return hint if "did you mean" in hint else "; its catalogue lists all ids"


def _frame(rows: Iterator[tuple[Any, ...]], columns: list[str]) -> pd.DataFrame:
    """Return a frame of rows, of which only a part is in memory as Python objects."""
    types = {column: "int64" if column == "relevance" else "str" for column in columns}
    rows, parts = iter(rows), []
    while part := list(itertools.islice(rows, BATCH)):
        parts.append(pd.DataFrame.from_records(part, columns=columns).astype(types))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({column: [] for column in columns}).astype(types)


def _checked(frame: pd.DataFrame, key: str, label: str) -> pd.DataFrame:
    if frame.empty:
        raise CollectionError(f"{label}: no {key.removesuffix('_id')} was read; check the source")
    twice = frame[key][frame[key].duplicated()]
    if len(twice):
        raise CollectionError(f"{label}: {len(twice)} values of {key} stand twice, the first is {twice.iloc[0]!r}; ids must be unique")
    return frame.reset_index(drop=True)


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                where = f"{path.name} line {number}"
                try:
                    yield where, json.loads(line)
                except json.JSONDecodeError as error:
                    raise CollectionError(f"{where} is not valid JSON: {error}") from None


def _field(row: dict[str, Any], name: str, where: str) -> str:
    if name not in row:
        raise CollectionError(f"{where} has no field {name!r}; it has {', '.join(sorted(row))}")
    if row[name] is None:
        known = f"of {row['_id']!r} " if name != "_id" and row.get("_id") is not None else ""
        raise CollectionError(f"{where}: the field {name!r} {known}is null; give it a value, an empty text where there is nothing to say")
    return str(row[name])


def _title_and_text(row: dict[str, Any], where: str) -> str:
    title = str(row.get("title") or "")
    return f"{title} {_field(row, 'text', where)}".strip()


def _read_qrels(folder: Path, split: str) -> pd.DataFrame:
    path = folder / f"{split}.tsv"
    if not path.is_file():
        raise CollectionError(f"no qrels for split {split!r}{nearest(split, sorted(p.stem for p in folder.glob('*.tsv')))}")
    qrels = pd.read_csv(path, sep="\t", dtype=str)
    if list(qrels.columns) != ["query-id", "corpus-id", "score"]:
        raise CollectionError(f"{path.name} has columns {list(qrels.columns)}, expected query-id, corpus-id, score")
    qrels.columns = ["query_id", "doc_id", "relevance"]
    qrels["relevance"] = qrels["relevance"].astype("int64")
    return qrels

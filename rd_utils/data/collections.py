"""Collections as frames: docs (doc_id, text), queries (query_id, text), qrels (query_id, doc_id, relevance).

Every reader returns str ids in the source's own order, and checks that ids are unique and texts are there.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow.compute import equal, sort_indices  # pyright: ignore[reportAttributeAccessIssue] (made as it is imported)

from rd_utils.data import jsonl, reading, trec
from rd_utils.data.runs import rows_of
from rd_utils.data.sources import (
    SPLIT_PARTS,
    DocumentedCollection,
    EmbeddedCollection,
    FolderCollection,
    IrDatasetsCollection,
    PseudoQueries,
)
from rd_utils.data.worlds import profile_of
from rd_utils.store.paths import resolve_path
from rd_utils.study.explain import nearest
from rd_utils.study.kinds import Collection
from rd_utils.workflow.progress import Track, untracked

if TYPE_CHECKING:
    from rd_utils.data import documented, synthetic

DOCS = pa.schema([("doc_id", pa.large_string()), ("text", pa.large_string())])
BATCH = 1 << 16  # documents or queries that are read at once, as Python objects
WORD = re.compile(r"\w")  # a letter, a digit or an underscore: what a text without a word has none of
CORPUS, QUERIES = "corpus.jsonl", "queries.jsonl"  # of a folder
CHEAP_CORPUS, CHEAP_QUERIES = 32 << 20, 200 << 20  # bytes that are read where a collection is checked
FIRST_LINES = 1000  # that are read of larger files
_WHOLE = {"skip_queries": 0, "max_queries": None}


class _Record(Protocol):
    """A document, query or judgement of ir_datasets, with what is asked of each."""

    doc_id: object
    query_id: object
    relevance: object

    def default_text(self) -> object: ...


class _Dataset(Protocol):
    """What is asked of a data set of ir_datasets, whose own types say less."""

    def docs_iter(self) -> Iterator[_Record]: ...
    def docs_count(self) -> int | None: ...
    def queries_iter(self) -> Iterator[_Record]: ...
    def queries_count(self) -> int | None: ...
    def qrels_iter(self) -> Iterator[_Record]: ...
    def qrels_count(self) -> int | None: ...
    def has_queries(self) -> bool: ...
    def has_qrels(self) -> bool: ...


class CollectionError(ValueError):
    """A collection cannot be read as asked; the message names the offender and the remedy."""


def read_docs(collection: Collection, track: Track = untracked) -> pd.DataFrame:
    """Read the documents of a collection into memory.

    Args:
        collection: the collection.
        track: wraps an iterable to show progress; called as ``track(iterable, description, total)``.

    Returns:
        Frame doc_id, text; title and text joined where the source has both.

    Raises:
        CollectionError: there are no documents, a document has no id or text, or an id stands twice.
    """
    table = pa.Table.from_batches(doc_batches(collection, track), schema=DOCS)
    _check_ids(table.column("doc_id"), collection)
    return trec.as_frame(table)


def write_docs(collection: Collection, path: Path, track: Track = untracked) -> Written:
    """Write the documents of a collection as one Arrow file, as they are read: memory does not grow with their texts.

    Args:
        collection: the collection.
        path: of the file, which :func:`open_docs` maps into memory.
        track: wraps an iterable to show progress.

    Returns:
        How many documents there are, how many of them without text or without a word, and their ranks by id.

    Raises:
        CollectionError: there are no documents, a document has no id or text, or an id stands twice.
    """
    blank, without_word, first = 0, 0, ""
    with pa.ipc.new_file(path, DOCS) as writer:
        for batch in doc_batches(collection, track):
            wordless = np.flatnonzero(~has_word(batch.column("text")))
            first = first or (batch.column("doc_id")[int(wordless[0])].as_py() if len(wordless) else "")
            without_word += len(wordless)
            blank += sum(not text.strip() for text in batch.column("text").take(pa.array(wordless)).tolist())
            writer.write_batch(batch)
    ids = _mapped(path).column("doc_id")
    order = _check_ids(ids, collection)
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


def has_word(texts: pd.Series | pd.api.extensions.ExtensionArray | pa.Array) -> np.ndarray:
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
    return trec.as_frame(_mapped(path))


def doc_batches(collection: Collection, track: Track = untracked) -> Iterator[pa.RecordBatch]:
    """Yield the documents of a collection in its own order, doc_id and text, a batch of them at a time.

    Args:
        collection: the collection.
        track: wraps an iterable to show progress.

    Raises:
        CollectionError: a document has no id or text, or the source cannot be read.
    """
    match collection:
        case EmbeddedCollection():
            docs = generated(collection).docs
            yield from _batches(zip(docs["doc_id"], docs["text"], strict=True))
        case DocumentedCollection():
            docs = made_of_packages(collection).docs
            yield from _batches(zip(docs["doc_id"], docs["text"], strict=True))
        case IrDatasetsCollection():
            dataset = _ir_dataset(collection.id)
            with _downloads(collection.id):
                records = track(dataset.docs_iter(), f"reading documents of {collection.id}", dataset.docs_count())
                for batch in _batches(_told(doc.doc_id, doc.default_text(), "document") for doc in records):
                    _check_names(batch.column("doc_id").to_pylist())
                    yield batch
        case FolderCollection():
            path = file_of(resolve_path(collection.path), CORPUS)
            yield from _batches(track(jsonl.texts(path, CollectionError, titles=True), _bar(path), None))
        case _:
            raise TypeError(f"{collection.label} has no documents of its own")


def _bar(path: Path) -> str:
    return f"reading {path.parent.name}/{path.name}"


def _batches(docs: Iterable[tuple[str, str]]) -> Iterator[pa.RecordBatch]:
    docs = iter(docs)
    while part := list(itertools.islice(docs, BATCH)):
        names, texts = zip(*part, strict=True)
        yield pa.record_batch([_column(values, names) for values in (names, texts)], schema=DOCS)


def _told(name: object, text: object, of: str) -> tuple[str, str]:
    """Return an id and a text of ir_datasets as str; None is neither, and not the word "None"."""
    if name is None:
        raise CollectionError(f"a {of} has no id, its text begins {str(text)[:40]!r}; give it one in the source")
    if text is None:
        raise CollectionError(f"the {of} {str(name)!r} has no text; give it one in the source, an empty one where there is nothing to say")
    return str(name), str(text)


def _column(values: Sequence[str], names: Sequence[str]) -> pa.Array:
    """Return strings as an Arrow column; a text that UTF-8 cannot hold is refused, which in a folder the reader has done already."""
    try:
        return pa.array(values, type=pa.large_string())
    except UnicodeEncodeError as reason:
        name = next(name for name, value in zip(names, values, strict=True) if value == reason.object)
        raise CollectionError(f"the text of {name!r} holds half a character, a surrogate alone; correct it in the source") from None


def _check_names(names: Sequence[str]) -> None:
    """Refuse ids that no run could hold, which in a folder the reader has done already."""
    if not reading.are_ids(names):
        name, problem = next((name, problem) for name in names if (problem := reading.id_problem(name)))
        raise CollectionError(f"the id {reading.shown(name)} {problem}")


def _mapped(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _check_ids(ids: pa.ChunkedArray, collection: Collection) -> np.ndarray:
    """Return the rows sorted by id; ids must be there, each once."""
    if not len(ids):
        raise CollectionError(_none_read(collection, "doc", CORPUS))
    order = sort_indices(ids)  # by UTF-8 bytes, which is the order of str
    ordered = ids.take(order)
    same = equal(ordered[1:], ordered[:-1]).to_numpy() if len(ids) > 1 else np.zeros(0, dtype=bool)
    if same.any():
        at = np.flatnonzero(same)
        rows = np.sort(order.to_numpy()[at + 1])
        first = ids[int(rows[0])].as_py()
        raise CollectionError(_twice(collection, "doc_id", len(at), first, CORPUS))
    return order.to_numpy()


def read_queries(collection: Collection, track: Track = untracked) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the queries and qrels of one split.

    Of the queries that have a qrel, ``random_split`` keeps a random part; ``max_queries`` then keeps the first ones by sorted query_id,
    after ``skip_queries`` of them.

    Returns:
        queries (query_id, text) and qrels (query_id, doc_id, relevance), the qrels of those queries only.
    """
    match collection:
        case EmbeddedCollection():
            found = generated(collection)
            queries, qrels = found.queries[collection.split], found.qrels[collection.split]
        case DocumentedCollection():
            made = made_of_packages(collection)
            queries, qrels = made.queries[collection.split], made.qrels[collection.split]
        case IrDatasetsCollection():
            queries, qrels = _read_dataset(collection.id, track)
        case FolderCollection():
            queries, qrels = _read_folder(collection, track)
        case _:
            raise TypeError(f"the queries of {collection.label} are drawn from documents, not read")
    queries = _checked(queries, collection)
    if not isinstance(collection, FolderCollection):
        _check_qrels(queries, qrels, collection.label)
    queries, qrels = random_part(collection, queries, qrels)
    skipped = getattr(collection, "skip_queries", 0)
    if collection.max_queries is not None or skipped:
        kept = sorted(set(qrels["query_id"]))[skipped:][: collection.max_queries]
        if not kept:
            raise CollectionError(f"{collection.label}: skip_queries leaves none of {qrels['query_id'].nunique()} queries; lower it")
        queries, qrels = queries[queries["query_id"].isin(kept)], qrels[qrels["query_id"].isin(kept)]
    if positives(qrels).empty:
        raise CollectionError(
            f"{collection.label}: none of {len(qrels)} qrels is above 0, so nothing is relevant: there is nothing to learn, and every "
            "measure is 0; judge some documents above 0"
        )
    return queries.reset_index(drop=True), qrels.reset_index(drop=True)


def _read_dataset(name: str, track: Track) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the queries and qrels of an ir_datasets id."""
    dataset = _ir_dataset(name)
    _check_parts(name, dataset)
    with _downloads(name):
        records = track(dataset.queries_iter(), f"reading queries of {name}", dataset.queries_count())
        queries = _frame((_told(query.query_id, query.default_text(), "query") for query in records), ["query_id", "text"])
        records = track(dataset.qrels_iter(), f"reading qrels of {name}", dataset.qrels_count())
        return queries, _frame(((q.query_id, q.doc_id, q.relevance) for q in records), ["query_id", "doc_id", "relevance"])


def _read_folder(collection: FolderCollection, track: Track) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the queries that a folder's qrels name, and the qrels; BEIR keeps all splits' queries in one file."""
    path, qrels_path = file_of(resolve_path(collection.path), QUERIES), _qrels_file(collection)
    judged = trec.qrels(qrels_path, CollectionError)
    rows = track(jsonl.texts(path, CollectionError), _bar(path), None)
    queries = _frame(rows, ["query_id", "text"])
    unknown = np.flatnonzero(~judged.frame["query_id"].isin(queries["query_id"]))
    problems = reading.Problems(qrels_path, CollectionError)
    for row in unknown.tolist():
        name = reading.shown(judged.frame["query_id"].iloc[row])
        problems.add(int(judged.lines[row]), f"the query {name} has no text in {path.name}; add it there, or take the line out")
    problems.check()
    return queries[queries["query_id"].isin(judged.frame["query_id"])], judged.frame


def _check_qrels(queries: pd.DataFrame, qrels: pd.DataFrame, label: str) -> None:
    """Refuse qrels of queries without a text, and pairs that are judged twice; of a folder the reader has named the lines already."""
    unknown = sorted(set(qrels["query_id"]) - set(queries["query_id"]))
    if unknown:
        raise CollectionError(f"{label}: {len(unknown)} queries of the qrels have no text, the first is {unknown[0]!r}")
    twice = qrels[qrels.duplicated(["query_id", "doc_id"])]
    if len(twice):
        raise CollectionError(f"{label}: {len(twice)} qrels stand twice, the first is {tuple(twice.iloc[0][['query_id', 'doc_id']])}")


def random_part(collection: Collection, queries: pd.DataFrame, qrels: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keep the part of the queries that a collection's ``random_split`` names; without one, all of them.

    The distinct texts (but for white space and case) of the queries that have a qrel are put in the order of the SHA-256 of the seed and
    the text, and cut at the shares' running sums of their number, rounded. So the parts are disjoint and complete, queries of one text are
    in one part, no part depends on the platform or on the order of the source, and a new query moves few others.

    Args:
        collection: the collection.
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


def check_source(collection: Collection, queries: bool = True) -> None:
    """Check what is quickly known of a collection: an ir_datasets id (with queries, if wanted), a folder's files, the packages it is of.

    Of a folder, queries and qrels are read whole where they are no more than 200 MB, else the first 1,000 queries alone; the corpus whole
    up to 32 MB, else its first 1,000 lines.

    Raises:
        CollectionError: naming each offender, with the nearest valid name, or the file and the line.
    """
    if isinstance(collection, IrDatasetsCollection):
        dataset = _ir_dataset(collection.id)
        if queries:
            _check_parts(collection.id, dataset)
    elif isinstance(collection, DocumentedCollection):
        _check_packages(collection)
    elif isinstance(collection, FolderCollection):
        folder = resolve_path(collection.path)
        if not folder.is_dir():
            raise CollectionError(f"{collection.path}: there is no such folder; put the collection there, or correct the path")
        missing = [name for name in (CORPUS, QUERIES, f"qrels/{collection.split}.tsv") if reading.present(folder / name) is None]
        if missing:
            near = nearest(collection.split, splits(folder)) if missing[-1].startswith("qrels") else ""
            raise CollectionError(f"{collection.path}: no file {' and no '.join(missing)}; a BEIR folder needs it{near}")
        problems = []
        for check in (_check_corpus, *((_check_queries,) if queries else ())):
            try:
                check(collection)
            except CollectionError as error:
                problems.append(str(error))
        if problems:
            raise CollectionError("\n".join(problems))


def _check_packages(collection: DocumentedCollection) -> None:
    from rd_utils.data import documented

    try:
        documented.installed(collection.task)
    except documented.SourceError as error:
        raise CollectionError(str(error)) from None


def _check_corpus(collection: FolderCollection) -> None:
    path = file_of(resolve_path(collection.path), CORPUS)
    if reading.weight(path) > CHEAP_CORPUS:
        for _ in jsonl.texts(path, CollectionError, titles=True, most=FIRST_LINES):
            pass
        return
    docs = read_docs(collection)
    judged = trec.qrels(_qrels_file(collection), CollectionError)
    absent_positives(judged.frame, docs["doc_id"], collection.label)


def _check_queries(collection: FolderCollection) -> None:
    path, judged = file_of(resolve_path(collection.path), QUERIES), _qrels_file(collection)
    if reading.weight(path) + reading.weight(judged) <= CHEAP_QUERIES:
        read_queries(collection)
        return
    for _ in jsonl.texts(path, CollectionError, most=FIRST_LINES):
        pass


def absent_positives(qrels: pd.DataFrame, doc_ids: pd.Series, label: str) -> tuple[int, int]:
    """Count the positives that are no document of a collection, and the queries that have no other.

    Raises:
        CollectionError: no positive is a document.

    >>> qrels = pd.DataFrame({"query_id": ["q1", "q1", "q2"], "doc_id": ["d1", "d9", "d9"], "relevance": [1, 1, 1]})
    >>> absent_positives(qrels, pd.Series(["d1", "d2"]), "toy")
    (2, 1)
    """
    known = positives(qrels)
    absent = rows_of(known["doc_id"], doc_ids) < 0
    if len(known) and absent.all():
        raise CollectionError(
            f"{label}: none of the {len(known)} positives of the qrels is a document of the collection, the first is "
            f"{reading.shown(known['doc_id'].iloc[0])}, the first document {reading.shown(doc_ids.iloc[0])}; give qrels over the same "
            "documents, under the same ids"
        )
    return int(absent.sum()), known["query_id"].nunique() - known["query_id"][~absent].nunique()


def file_of(folder: Path, name: str) -> Path:
    """Return a file of a folder, or the same with ``.gz`` where that is there instead."""
    return reading.present(folder / name) or folder / name


def _qrels_file(collection: FolderCollection) -> Path:
    folder = resolve_path(collection.path)
    path = file_of(folder, f"qrels/{collection.split}.tsv")
    if not path.is_file():
        raise CollectionError(f"{folder}: no qrels for split {collection.split!r}{nearest(collection.split, splits(folder))}")
    return path


def splits(folder: Path) -> list[str]:
    """Return the names of a folder's files of qrels."""
    return sorted({path.name.partition(".tsv")[0] for path in (folder / "qrels").glob("*.tsv*")})


def _check_parts(name: str, dataset: _Dataset) -> None:
    for part, has in (("queries", dataset.has_queries()), ("qrels", dataset.has_qrels())):
        if not has:
            raise CollectionError(f"ir_datasets id {name!r} has no {part}; name a split that has, such as {name}/train")


def own_tests(collection: Collection) -> tuple[Collection, ...]:
    """Return the test collection that belongs to a training collection, without reading it; empty where none is known.

    Of an embedded or documented collection and of a folder the split ``test``; of an ir_datasets id the ``test`` beside or below it; of
    pseudo-queries what belongs to their documents, or these themselves where they have judged queries.

    >>> from rd_utils.study import params
    >>> [test.label for test in own_tests(params.IrDatasetsCollection(id="beir/scifact/train"))]
    ['beir/scifact/test']
    >>> own_tests(params.IrDatasetsCollection(id="vaswani"))
    ()
    """
    match collection:
        case PseudoQueries(documents=IrDatasetsCollection() as documents):
            return own_tests(documents) or ((documents,) if is_judged(documents.id) else ())
        case PseudoQueries(documents=EmbeddedCollection() | DocumentedCollection() | FolderCollection() as documents):
            return own_tests(documents) or ((documents,) if documents.split == "test" else ())
        case IrDatasetsCollection(id=name):
            ids = (f"{name.rpartition('/')[0]}/test", f"{name}/test")
            return tuple(collection.model_copy(update=_WHOLE | {"id": test}) for test in ids if test != name and is_judged(test))[:1]
        case EmbeddedCollection(split="train" | "validation") | DocumentedCollection(split="train" | "validation"):
            return (collection.model_copy(update={"max_queries": None, "split": "test"}),)
        case FolderCollection(path=path, split=split):
            there = split != "test" and reading.present(resolve_path(path) / "qrels" / "test.tsv") is not None
            return (collection.model_copy(update=_WHOLE | {"split": "test"}),) if there else ()
        case _:
            return ()


def is_judged(name: str) -> bool:
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


def generated(collection: EmbeddedCollection) -> synthetic.EmbeddedCollection:
    """Return the collection that the parameters of an embedded one say."""
    from rd_utils.data import synthetic

    profile = profile_of(collection.profile, collection.world, collection.documents, collection.training_queries)
    return synthetic.generate(profile, collection.world, collection.seed)


def made_of_packages(collection: DocumentedCollection) -> documented.Made:
    """Return what the sources of the installed packages give.

    Raises:
        CollectionError: a package is not there.
    """
    from rd_utils.data import documented

    try:
        return documented.make(collection.task)
    except documented.SourceError as error:
        raise CollectionError(f"{collection.label}: {error}") from None


def _ir_dataset(name: str) -> _Dataset:
    import ir_datasets

    try:
        return cast("_Dataset", ir_datasets.load(name))
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


def _frame(rows: Iterable[tuple[object, ...]], columns: list[str]) -> pd.DataFrame:
    """Return a frame of rows, of which only a part is in memory as Python objects."""
    types = {column: "int64" if column == "relevance" else "str" for column in columns}
    rows, parts = iter(rows), []
    while part := list(itertools.islice(rows, BATCH)):
        parts.append(pd.DataFrame.from_records(part, columns=columns).astype(types))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({column: [] for column in columns}).astype(types)


def _checked(queries: pd.DataFrame, collection: Collection) -> pd.DataFrame:
    if queries.empty:
        raise CollectionError(_none_read(collection, "query", QUERIES))
    twice = queries["query_id"][queries["query_id"].duplicated()]
    if len(twice):
        raise CollectionError(_twice(collection, "query_id", len(twice), twice.iloc[0], QUERIES))
    return queries.reset_index(drop=True)


def _file(collection: Collection, name: str) -> Path | None:
    return file_of(resolve_path(collection.path), name) if isinstance(collection, FolderCollection) else None


def _none_read(collection: Collection, what: str, name: str) -> str:
    path = _file(collection, name)
    return f"{collection.label}: no {what} was read{'' if path is None else f' from {path}'}; check the source"


def _twice(collection: Collection, key: str, n: int, first: str, name: str) -> str:
    """Return the message on ids that stand twice, with the lines of the first of them where they stand in a file."""
    path = _file(collection, name)
    where = "" if path is None else f" in {path} in lines {' and '.join(map(str, jsonl.lines_of(path, [first])[first][:3]))}"
    return f"{collection.label}: {n} values of {key} stand twice, the first is {reading.shown(first)}{where}; ids must be unique"

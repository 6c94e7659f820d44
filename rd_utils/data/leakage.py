"""Test queries that are training queries too, by id or by text: refused, unless the test collection says ``shared_queries: allow``.

A student that is tested on what it was trained on, or whose learning rate was chosen on it, looks better than it is. Queries count
that have a positive: from others nothing is learnt, and every system scores 0 on them. Two are the same query

- by id, where both collections read one source of queries (the splits of a data set or folder, the parts of a random split);
- by text, whatever their ids: white space and case aside.

Queries are compared where a study is checked, if they are at hand and few; when a training or evaluation notebook validates its parameters;
and, last, before a student is evaluated.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import pandas as pd

from rd_utils.data import collections, reading
from rd_utils.data.sources import DocumentedCollection, EmbeddedCollection, FolderCollection, IrDatasetsCollection
from rd_utils.store import resolve_path, upstream
from rd_utils.study import params
from rd_utils.study.explain import ParameterError
from rd_utils.study.kinds import Collection
from rd_utils.study.specs import EvaluationSpec, QueriesSpec, SearchSpec, StudentSpec

if TYPE_CHECKING:
    from rd_utils.study.studies import Study
    from rd_utils.workflow.maker import Maker
    from rd_utils.workflow.pipeline import Pipeline

CHEAP_QUERIES = 100_000  # of an ir_datasets id: so many are read in a second or two
CHEAP_BYTES = 32 << 20  # of a folder's queries and qrels

Queries = tuple[pd.DataFrame, pd.DataFrame]  # query_id, text; and qrels
Read = Callable[[Collection], Queries | None]


class LeakageError(ParameterError):
    """Test queries are training queries; the message says how many, which is the first, and the remedy."""


def shared_queries(train: Queries, test: Queries, *, one_source: bool) -> pd.DataFrame:
    """Find the test queries that are also training queries.

    Args:
        train: queries (query_id, text) and qrels (query_id, doc_id, relevance) of the training collection.
        test: the same of the test collection.
        one_source: whether one id means one query in both.

    Returns:
        One row a shared test query, in the order of their ids: query_id, train_id (of the same id, else the first of the same text), text,
        and by, which is ``id`` or ``text``.

    >>> label = pd.DataFrame({"query_id": ["1", "2"], "doc_id": ["a", "b"], "relevance": [1, 1]})
    >>> train = pd.DataFrame({"query_id": ["1", "2"], "text": ["cat mat", "stock markets"]})
    >>> test = pd.DataFrame({"query_id": ["1", "2"], "text": ["sleeping dog", "Cat  mat"]})
    >>> shared_queries((train, label), (test, label), one_source=False).values.tolist()
    [['2', '1', 'Cat  mat', 'text']]
    """
    learnt, asked = (
        queries[queries["query_id"].isin(collections.positives(qrels)["query_id"])].sort_values("query_id")
        for queries, qrels in (train, test)
    )
    of_text: dict[str, str] = {}
    for query_id, text in zip(learnt["query_id"], collections.plain_texts(learnt["text"]), strict=True):
        of_text.setdefault(text, query_id)
    ids = set(learnt["query_id"]) if one_source else set()
    rows = []
    for query_id, text, plain in zip(asked["query_id"], asked["text"], collections.plain_texts(asked["text"]), strict=True):
        if query_id in ids:
            rows.append((query_id, query_id, text, "id"))
        elif plain in of_text:
            rows.append((query_id, of_text[plain], text, "text"))
    return pd.DataFrame(rows, columns=["query_id", "train_id", "text", "by"])


def check_study(study: Study) -> None:
    """Compare the training, validation and test queries of a study, as far as they are at hand and few.

    Raises:
        LeakageError: a test collection shares queries with its training collection, or the validation collection of the search with either.
    """
    known: dict[str, Queries | None] = {}

    def read(collection: Collection) -> Queries | None:
        key = collection.model_dump_json(exclude={"shared_queries"})
        if key not in known:
            known[key] = _read_where_cheap(collection)
        return known[key]

    validation = () if study.search is None else (study.search.validation,)
    try:
        for pair in study.collections:
            for test in pair.test:
                refuse_shared(pair.train, test, read)
            for own in validation:
                refuse_shared(pair.train, own, read)
                for test in pair.test:
                    refuse_shared(own, test, read, of="validation")
    except LeakageError as error:
        raise LeakageError(f"study {study.name}: {error}") from None


def check_parameters(parameters: params.TrainParameters, pipeline: Pipeline) -> None:
    """Compare the training and test queries of a notebook that trains or evaluates students.

    Raises:
        LeakageError: they share queries.
    """
    if parameters.test_collections != "own" and "student" in getattr(parameters, "systems", ("student",)):
        for test in parameters.test_collections:
            refuse_shared(parameters.collection, test, lambda collection: (pipeline.queries(collection), pipeline.qrels(collection)))


def check_evaluation(spec: EvaluationSpec, maker: Maker) -> None:
    """Compare the queries of an evaluation with all that its system was trained, or its learning rate chosen, on.

    What ranks the very collection that its learning rate was chosen on is evaluated for another choice, not tested: that is let through.

    Raises:
        LeakageError: they share queries.
    """

    def read(one: Collection) -> Queries:
        queries = maker.open(QueriesSpec(collection=one))
        return queries.frame, queries.qrels

    made_from = upstream(spec).values()
    for of, learnt in (
        ("training", [part.groups.collection for part in made_from if isinstance(part, StudentSpec)]),
        ("validation", [part.collection for part in made_from if isinstance(part, SearchSpec) and part.collection != spec.collection]),
    ):
        for collection in dict.fromkeys(learnt):
            compare = functools.partial(refuse_shared, collection, spec.collection, read, of=of)
            maker.once(("compared", of, collection, spec.collection), compare)


def refuse_shared(train: Collection, test: Collection, read: Read, of: str = "training") -> None:
    """Refuse a test collection some of whose queries are those of another collection.

    Args:
        train: the collection that is learnt from.
        test: the collection that is tested on.
        read: returns the queries and qrels of a collection; None where that would take long.
        of: what the other collection's queries are called; the test collection's ``shared_queries`` may allow it that they are ``training``
            queries, the other one's that they are ``validation`` queries.

    Raises:
        LeakageError: with the number, the first of them, and the remedy.
    """
    leave = train if of == "validation" else test
    if leave.shared_queries == "allow":
        return
    overlap = ids_overlap(train, test)
    if isinstance(train, EmbeddedCollection) and _one_source(train, test):
        if not overlap:
            return  # all queries of an embedded collection differ, in every world
        read = collections.read_queries  # which takes seconds, but there is something to show
    learnt = read(train)
    asked = None if learnt is None else read(test)
    if learnt is None or asked is None:
        if overlap:
            raise LeakageError(f"the queries of {test.label} are also {of} queries of {train.label}{_remedy(leave)}")
        return
    found = shared_queries(learnt, asked, one_source=_one_source(train, test))
    if not len(found):
        return
    first, by_id = found.iloc[0], int((found["by"] == "id").sum())
    text = first["text"] if len(first["text"]) <= 80 else first["text"][:79] + "…"
    n = collections.positives(asked[1])["query_id"].nunique()
    raise LeakageError(
        f"{len(found)} of the {n} queries of {test.label} are also {of} queries of {train.label} ({by_id} by "
        f"id, {len(found) - by_id} by text), the first is {first['query_id']!r}, there {first['train_id']!r}: {text!r}{_remedy(leave)}"
    )


def _remedy(leave: Collection) -> str:
    return (
        "; part them (random_split, or skip_queries and max_queries), or, where students may be tested on what they learnt from, say "
        f"shared_queries: allow in {leave.label}"
    )


def ids_overlap(one: Collection, other: Collection) -> bool:
    """Tell, without reading them, whether two collections are one list of queries, or parts of one that may overlap."""
    return _listing(one) == _listing(other) and not _ids_apart(one, other)


def _listing(collection: Collection) -> Collection:
    """Return a collection without what takes a part of its queries."""
    whole = {
        "random_split": None,
        "shared_queries": "refuse",
        "max_queries": None,
        "skip_queries": 0,
        "queries": 1,
        "training_queries": None,
    }
    return collection.model_copy(update={name: value for name, value in whole.items() if name in type(collection).model_fields})


def _one_source(one: Collection, other: Collection) -> bool:
    """Tell whether an id means the same query in both: the splits of one data set, folder, or collection that comes along."""
    match one, other:
        case IrDatasetsCollection(), IrDatasetsCollection():
            import ir_datasets

            return ir_datasets.docs_parent_id(one.id) == ir_datasets.docs_parent_id(other.id)
        case FolderCollection(), FolderCollection():
            return resolve_path(one.path).resolve() == resolve_path(other.path).resolve()
        case EmbeddedCollection(), EmbeddedCollection():
            return (one.profile, one.world, one.seed, one.documents) == (other.profile, other.world, other.seed, other.documents)
        case DocumentedCollection(), DocumentedCollection():
            return one.task == other.task
        case _:
            return _listing(one) == _listing(other)


def _ids_apart(one: Collection, other: Collection) -> bool:
    """Tell whether two parts of one list of queries certainly have none in common."""
    part, other_part = one.random_split, other.random_split
    if part != other_part:
        if part is None or other_part is None:
            return False
        return part.model_copy(update={"part": "train"}) == other_part.model_copy(update={"part": "train"})
    windows = [(getattr(each, "skip_queries", 0), getattr(each, "max_queries", None)) for each in (one, other)]
    ends = [math.inf if most is None else skipped + most for skipped, most in windows]
    return max(skipped for skipped, _ in windows) >= min(ends)


def _read_where_cheap(collection: Collection) -> Queries | None:
    """Read queries and qrels that are on this machine and few; None for others."""
    if isinstance(collection, FolderCollection):
        folder = resolve_path(collection.path)
        names = collections.QUERIES, f"qrels/{collection.split}.tsv"
        size = sum(reading.weight(collections.file_of(folder, name)) for name in names)
        return collections.read_queries(collection) if size <= CHEAP_BYTES else None
    if not isinstance(collection, IrDatasetsCollection):
        return None
    import ir_datasets

    count = (ir_datasets.load(collection.id).queries_metadata() or {}).get("count")
    if count is None or count > CHEAP_QUERIES:
        return None
    with _nothing_downloaded() as wanted:
        try:
            return collections.read_queries(collection)
        except collections.CollectionError:
            if wanted:
                return None
            raise


@contextmanager
def _nothing_downloaded() -> Iterator[list[str]]:
    """Stop ir_datasets, silently, where it would go to the network; what is yielded is then no longer empty."""
    import ir_datasets

    wanted: list[str] = []

    def refuse() -> NoReturn:
        wanted.append("network")
        raise OSError("nothing is downloaded here")

    requests, disabled = ir_datasets.lazy_libs.requests, logging.root.manager.disable
    logging.disable(logging.WARNING)
    ir_datasets.lazy_libs.requests = refuse
    try:
        yield wanted
    finally:
        ir_datasets.lazy_libs.requests = requests
        logging.disable(disabled)

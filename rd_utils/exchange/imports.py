"""What others ranked, scored or mined becomes a part of a study: run files to draw negatives from, a file of scores to distil.

Files are recognised by their columns (:mod:`rd_utils.data.others`), their ids checked against a collection, and texts that stand for ids
looked up in it. What is written are the forms that the kinds ``run_file`` of retrievers and ``file`` of teachers read, with
``provenance.json``: the sources with their hashes, the form, what was counted, and what was left out and why.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np
import pandas as pd

from rd_utils.data import others
from rd_utils.data.runs import arrow, rows_of
from rd_utils.exchange import export, trec_files
from rd_utils.store import project_path
from rd_utils.study.bounds import LONGEST_NAME, NAME, shown
from rd_utils.study.params import ParameterError

if TYPE_CHECKING:
    import pyarrow as pa

    from rd_utils.study.kinds import Collection

KINDS = {
    "run": "a TREC run, scored pairs, or rank_llm's candidates: a retriever",
    "scores": "a TREC run, lines of query, document and score, a table with these columns, or rank_llm's candidates: a teacher",
    "negatives": "msmarco-hard-negatives, tevatron's passages, or what mine_hard_negatives returns: a retriever a system, to draw from",
    "groups": "what `export groups` writes: a retriever, whose lists are the groups' negatives, and a teacher",
}
SCORES = "scores.parquet"
FIRST = 5  # of what is left out, so many are named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser."""
    kinds = "; ".join(f"{name}: {about}" for name, about in KINDS.items())
    parser.add_argument("kind", choices=get_args(others.Kind), metavar="KIND", help=kinds)
    parser.add_argument("files", nargs="+", metavar="FILE", help="files of one form, or a folder that an export or datasets wrote")
    parser.add_argument("--to", metavar="FOLDER", help="where the parts go; it must not exist (default: data/NAME)")
    parser.add_argument("--name", help="what the parts are called in the study (default: the folder's name)")
    trec_files.add_collection(parser, "--collection", metavar="COLLECTION")
    parser.add_argument("--system", action="append", metavar="NAME", help="one of the file's systems; may be repeated (default: all)")
    parser.add_argument(
        "--by-rank",
        action="store_true",
        help="score 1 / rank, where the file has an order alone or another ranking's scores: rank_llm's listwise rankers leave the first's",
    )


class Known(NamedTuple):
    """Ids and texts of a collection: queries (query_id, text), documents (doc_id, text), and its positives as rows of both."""

    queries: pd.DataFrame
    docs: pd.DataFrame
    positives: np.ndarray

    def pair(self, query_rows: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
        """Return an integer for every pair of rows."""
        return query_rows.astype(np.int64) * len(self.docs) + doc_rows


class Found(NamedTuple):
    """Pairs of a system by rows, each once, in the order of the file: queries, documents, scores (NaN without), whether positive."""

    queries: np.ndarray
    docs: np.ndarray
    scores: np.ndarray
    positive: np.ndarray

    def take(self, kept: np.ndarray) -> Found:
        """Return some of the pairs."""
        return Found(*(column[kept] for column in self))


class LeftOut:
    """What is left out, by the reason: how many pairs, and the first of them."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, list[str]] = {}

    def note(self, reason: str, names: Sequence[str], number: int | None = None) -> None:
        """Count pairs, and name the first."""
        self.counts[reason] += len(names) if number is None else number
        known = self.first.setdefault(reason, [])
        known += [name for name in dict.fromkeys(names[:1000]) if name not in known][: FIRST - len(known)]

    def record(self) -> dict[str, dict[str, Any]]:
        """Return what provenance says."""
        return {reason: {"pairs": number, "first": self.first[reason]} for reason, number in self.counts.items() if number}


# --- the command ------------------------------------------------------------------------------------------------------------------


def run(options: argparse.Namespace) -> str:
    """Write the parts, and return the lines to paste into a study.

    Raises:
        ParameterError: an option or a file is not what it should be, or no id of it is of the collection.
    """
    from rd_utils.data.collections import CollectionError
    from rd_utils.store import file_sha256
    from rd_utils.workflow.progress import track

    if options.to is None and options.name is None:
        raise ParameterError("where do the parts go? Name the folder with --to, or the parts with --name")
    folder = _folder(options)
    name = folder.name if options.name is None else options.name
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise ParameterError(f"{shown(name)} is no name for a part of a study; give --name, letters, digits and any of _ . + - @")
    paths = [path for given in options.files for path in others.files_in(Path(given).expanduser(), ParameterError)]
    forms = {path: others.recognised(path, options.kind, ParameterError) for path in paths}
    if len({form.name for form in forms.values()}) > 1:
        said = ", ".join(f"{path} ({form.name})" for path, form in forms.items())
        raise ParameterError(f"these files are of several forms: {said}; import each form into a folder of its own")
    form = forms[paths[0]]
    collections = trec_files.named_collections(options.collection, options.study, options.base, options.split)
    try:
        known = _known(collections)
    except CollectionError as error:
        raise ParameterError(str(error)) from None
    left_out = LeftOut()
    chunks = (part for path in paths for part in others.pairs(path, form, options.kind, ParameterError))
    systems, read = _by_system(track(chunks, "reading pairs", None), known, form, options, left_out)
    parts = _Parts(name, folder, options, known, left_out, systems)
    with export.fresh(folder) as draft:
        draft.mkdir()
        parts.write(draft)
        export.write_provenance(
            draft,
            {
                "kind": options.kind,
                "form": form.name,
                "sources": [{"name": path.name, "size": path.stat().st_size, "sha256": file_sha256(path)} for path in paths],
                "collections": [one.label for one in collections],
                "found_by": "texts, white space and case aside where they differ" if form.by_text else "ids",
                "scores_are": parts.scores_are,
                "counts": {"pairs_read": read, **parts.counts},
                "left_out": left_out.record(),
                "files": {path.name: {"size": path.stat().st_size, "sha256": file_sha256(path)} for path in sorted(draft.iterdir())},
                "version": _version(),
            },
        )
    return "\n".join(parts.told(form, read))


def _version() -> str:
    from rd_utils import __version__

    return __version__


def _folder(options: argparse.Namespace) -> Path:
    from rd_utils.store import project_root

    return export.absent(options.to if options.to is not None else str(project_root() / "data" / options.name))


def _known(collections: Sequence[Collection]) -> Known:
    """Return the queries of some collections and the documents that they share, from the store, which reads them first where it must."""
    from rd_utils.data.collections import positives
    from rd_utils.workflow.pipeline import Pipeline

    pipeline = Pipeline()
    docs = pipeline.docs(collections[0])
    queries = pd.concat([pipeline.queries(one) for one in collections], ignore_index=True).drop_duplicates("query_id", ignore_index=True)
    judged = pd.concat([positives(pipeline.qrels(one)) for one in collections], ignore_index=True)
    query_rows, doc_rows = rows_of(judged["query_id"], queries["query_id"]), rows_of(judged["doc_id"], docs["doc_id"])
    there = (query_rows >= 0) & (doc_rows >= 0)
    known = Known(queries, docs, np.zeros(0, dtype=np.int64))
    return known._replace(positives=np.unique(known.pair(query_rows[there], doc_rows[there])))


# --- from names to rows -----------------------------------------------------------------------------------------------------------


class _Lookup:
    """Rows of ids, or of texts that stand for them: the first of equal texts."""

    def __init__(self, frame: pd.DataFrame, by_text: bool) -> None:
        self.names = frame["text"] if by_text else frame.iloc[:, 0]
        self.by_text = by_text
        self._plain: pa.ChunkedArray | None = None

    def rows(self, names: list[str]) -> np.ndarray:
        """Return the row of every name, -1 where there is none."""
        rows = rows_of(names, self.names)
        missing = np.flatnonzero(rows < 0)
        if self.by_text and len(missing):
            if self._plain is None:
                self._plain = _plain(arrow(self.names))
            rows[missing] = rows_of(_plain(arrow([names[place] for place in missing])), self._plain)
        return rows

    def shared(self, rows: np.ndarray) -> np.ndarray:
        """Tell which rows' texts other rows have too."""
        return np.asarray(pd.Series(self.names).duplicated(keep=False))[rows] if self.by_text else np.zeros(len(rows), dtype=bool)


def _plain(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts without what makes no other text of them: white space and case."""
    import pyarrow.compute as pc

    lower = pc.utf8_lower(texts)  # pyright: ignore[reportAttributeAccessIssue] (made as it is imported)
    spaced = pc.replace_substring_regex(lower, pattern=r"\s+", replacement=" ")  # pyright: ignore[reportAttributeAccessIssue]
    return pc.utf8_trim_whitespace(spaced)  # pyright: ignore[reportAttributeAccessIssue]


def _by_system(
    chunks: Iterator[others.Pairs], known: Known, form: others.Form, options: argparse.Namespace, left_out: LeftOut
) -> tuple[dict[str, Found], int]:
    """Return the pairs of every system that is asked for, by rows, and how many pairs were read.

    Raises:
        ParameterError: no pair is of the collection, or there is no such system.
    """
    of_queries, of_docs = _Lookup(known.queries, form.by_text), _Lookup(known.docs, form.by_text)
    gathered: dict[str, list[Found]] = {}
    read = 0
    seen: dict[str, None] = {}
    first: others.Pairs | None = None
    for part in chunks:
        seen[part.system] = None
        if options.system and part.system not in options.system:
            continue
        first = first or part
        read += len(part.docs)
        queries, docs = of_queries.rows(part.queries), of_docs.rows(part.docs)
        for rows, names, what in ((queries, part.queries, "query"), (np.where(queries < 0, 0, docs), part.docs, "document")):
            left_out.note(f"the collection has no such {what}", [names[place] for place in np.flatnonzero(rows < 0)])
        gathered.setdefault(part.system, []).append(Found(queries, docs, part.scores, part.positive).take((queries >= 0) & (docs >= 0)))
    unknown = [name for name in options.system or () if name not in seen]
    if unknown:
        raise ParameterError(f"--system: the file has no {unknown[0]!r}; it has {', '.join(filter(None, seen)) or 'none with a name'}")
    found = {name: _once(Found(*map(np.concatenate, zip(*parts, strict=True))), known, left_out) for name, parts in gathered.items()}
    if first is None or not sum(len(one.docs) for one in found.values()):
        what = "texts" if form.by_text else "ids"
        said = "no pair" if first is None else f"query {shown(first.queries[0])} and document {shown(first.docs[0])} first"
        ours = [shown(lookup.names.iloc[0]) for lookup in (of_queries, of_docs)]
        raise ParameterError(
            f"none of the {read:,} pairs is of the collection: the file has {said}, the collection query {ours[0]} and document {ours[1]}; "
            f"name the collection whose {what} these are"
        )
    shared = sum(int(of_docs.shared(one.docs).sum()) for one in found.values())
    if shared:
        left_out.note("another document has the same text, of which the first is taken; nothing is lost", [], shared)
    return found, read


def _once(found: Found, known: Known, left_out: LeftOut) -> Found:
    """Return every pair once, as it stood first, in the order of the file; a positive in one place is one everywhere."""
    pairs = known.pair(found.queries, found.docs)
    _, first, again = np.unique(pairs, return_index=True, return_inverse=True)
    positive = np.zeros(len(first), dtype=bool)
    np.logical_or.at(positive, again, found.positive)
    scores = found.scores[first][again]
    differs = ~np.isclose(scores, found.scores, rtol=1e-6, atol=1e-6, equal_nan=True)
    if differs.any():
        names = _names(found.take(np.flatnonzero(differs)[:FIRST]), known)
        left_out.note("the pair stands before with another score, which is taken", names, int(differs.sum()))
    order = np.argsort(first)
    once = found.take(first[order])
    return once._replace(positive=positive[order])


def _names(found: Found, known: Known) -> list[str]:
    queries, docs = known.queries["query_id"].take(found.queries), known.docs["doc_id"].take(found.docs)
    return [f"{query} {doc}" for query, doc in zip(queries, docs, strict=True)]


# --- parts ------------------------------------------------------------------------------------------------------------------------


class _Parts:
    """What is written of every system's pairs, and what is said of it.

    Attributes:
        runs: the lists of every part, by its name: rows of queries and documents, scores.
        scores: the pairs with real scores; None where there are none, or none are asked for.
        scores_are: what the scores of the runs are.
    """

    def __init__(
        self, name: str, folder: Path, options: argparse.Namespace, known: Known, left_out: LeftOut, systems: dict[str, Found]
    ) -> None:
        self.name, self.folder, self.kind, self.known, self.left_out = name, folder, options.kind, known, left_out
        self.runs: dict[str, Found] = {}
        scored = [one for one in systems.values() if not np.isnan(one.scores).all()]
        by_order = options.by_rank or not scored
        self.scores_are = "1 / rank, by the order of the file" if by_order else "the file's"
        if options.kind == "scores" and not scored and not options.by_rank:
            raise ParameterError("the file has no scores; have its order stand for them with --by-rank, or import it as negatives")
        for system, found in systems.items():
            lists = found if options.kind in ("run", "scores") else found.take(self._negatives(found))
            if by_order:
                lists = lists._replace(scores=1 / _ranks(lists.queries))
            elif missing := int(np.isnan(lists.scores).sum()):
                names = _names(lists.take(np.flatnonzero(np.isnan(lists.scores))[:1]), known)
                raise ParameterError(
                    f"{missing:,} of {len(lists.docs):,} pairs have no score, the first is {names[0]}, others have one; give every pair "
                    "one, or let the order of the file decide with --by-rank"
                )
            called = name if len(systems) == 1 else trec_files.fit(f"{name}_{system}")
            if called in self.runs or len(called) > LONGEST_NAME:
                raise ParameterError(f"the system {system!r} would be called {called}, which is too long or taken; import it by --system")
            if len(lists.docs):
                self.runs[called] = lists
        self.scores = None
        if options.kind == "scores":
            self.scores, self.runs = _joined(list(self.runs.values()), known), {}
        elif options.kind != "run" and scored and not options.by_rank:
            self.scores = _joined([one.take(~np.isnan(one.scores)) for one in scored], known)
        if not self.runs and self.scores is None:
            raise ParameterError("nothing is left: every document is a positive of its query; import negatives")

    def _negatives(self, found: Found) -> np.ndarray:
        """Tell which pairs are negatives: neither labelled relevant in the file nor by the qrels."""
        judged = np.isin(self.known.pair(found.queries, found.docs), self.known.positives)
        hidden = np.flatnonzero(judged & ~found.positive)
        if len(hidden):
            self.left_out.note("a negative that the qrels call relevant", _names(found.take(hidden[:FIRST]), self.known), len(hidden))
        return ~judged & ~found.positive

    @property
    def counts(self) -> dict[str, int]:
        """Return what provenance counts."""
        parts = {**self.runs, **({SCORES: self.scores} if self.scores is not None else {})}
        return {f"pairs of {name}": len(one.docs) for name, one in parts.items()} | {
            f"queries of {name}": len(np.unique(one.queries)) for name, one in parts.items()
        }

    def write(self, folder: Path) -> None:
        """Write a run a part, and the scores."""
        for name, found in self.runs.items():
            order = np.lexsort((-found.scores, found.queries))
            found = found.take(order)
            frame = self._frame(found).assign(iteration="Q0", rank=_ranks(found.queries), tag=name)
            columns = ["query_id", "iteration", "doc_id", "rank", "score", "tag"]
            frame[columns].to_csv(folder / f"{name}.trec", sep=" ", header=False, index=False, lineterminator="\n", quoting=3)
        if self.scores is not None:
            self._frame(self.scores).to_parquet(folder / SCORES, index=False)

    def _frame(self, found: Found) -> pd.DataFrame:
        queries, docs = self.known.queries["query_id"].take(found.queries), self.known.docs["doc_id"].take(found.docs)
        return pd.DataFrame({"query_id": queries.array, "doc_id": docs.array, "score": found.scores})

    def told(self, form: others.Form, read: int) -> Iterator[str]:
        """Yield what was done, what was left out, and the lines for a study."""
        yield f"{self.folder}: {read:,} pairs read ({form.name}); scores are {self.scores_are}"
        for reason, left in self.left_out.record().items():
            first = f", the first: {', '.join(map(shown, left['first']))}" if left["first"] else ""
            yield f"{left['pairs']:,} pairs: {reason}{first}"
        if form is others.FORMS[0] and self.scores_are == "the file's":
            yield "note: listwise rankers of rank_llm leave the first stage's scores, in their new order; --by-rank takes 1 / rank instead"
        yield from self._yaml()

    def _yaml(self) -> Iterator[str]:
        depths = {name: int(np.unique(found.queries, return_counts=True)[1].max()) for name, found in self.runs.items()}
        tables: dict[str, dict[str, dict[str, object]]] = {
            "retrievers": {
                name: {"kind": "run_file", "path": project_path(self.folder / f"{name}.trec"), "name": name} for name in self.runs
            },
            "strategies": {name: {"kind": "candidates", "retriever": name, "depth": depth} for name, depth in depths.items()},
            "teachers": {} if self.scores is None else {self.name: {"kind": "file", "path": project_path(self.folder / SCORES)}},
        }
        for table, parts in tables.items():
            if parts:
                yield f"{table}:"
                yield from (f"  {name}: {_inline(values)}" for name, values in parts.items())
        if self.scores is not None:
            yield "# the teacher has a score of these pairs alone: draw groups from what it scored, and positives with them"


def _ranks(queries: np.ndarray) -> np.ndarray:
    """Return every pair's place among those of its query, from 1, in the order in which they stand."""
    return pd.Series(queries).groupby(queries, sort=False).cumcount().to_numpy() + 1


def _joined(parts: list[Found], known: Known) -> Found:
    """Return the pairs of all systems, each once."""
    return _once(Found(*map(np.concatenate, zip(*parts, strict=True))), known, LeftOut())


def _inline(values: dict[str, object]) -> str:
    import yaml

    return yaml.safe_dump(values, default_flow_style=True, sort_keys=False, width=10_000).strip()

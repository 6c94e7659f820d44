"""Runs as flat arrays: for every query its documents, best first, as row numbers and scores, in files that memory-map.

A run of 500,000 queries at depth 200 is 100 million pairs: 1.2 GB here, of which a process reads what it touches. Scores are float64,
because many are rounded to 5 decimals and a float32 of 128 or more no longer tells these apart (a long text as a query scores thousands
under BM25), and because shares such as 1 / rank are not rounded at all.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import DTypeLike
from pyarrow.compute import index_in, sort_indices, unique  # pyright: ignore[reportAttributeAccessIssue] (made as it is imported)

from rd_utils import files
from rd_utils.data import trec
from rd_utils.workflow.progress import Track, untracked

DECIMALS = 5  # scores are rounded to 5 decimals before ranking: beyond that they depend on how texts fell into batches
_OFFSETS, _DOCS, _SCORES, _KEYS = "offsets.npy", "docs.npy", "scores.npy", "keys.npy"
Strings = pd.Series | pd.api.extensions.ExtensionArray | np.ndarray | pa.Array | pa.ChunkedArray | Sequence[str]
BLOCK = 1 << 21  # pairs that are worked on at once where a run is gone through


class RunError(ValueError):
    """A run cannot be made or read as asked; the message names the first offender and the remedy."""


@dataclass(frozen=True, eq=False, slots=True)
class Run:
    """Ranked lists end to end: list i is ``docs[offsets[i]:offsets[i + 1]]`` with its ``scores``, best first.

    Attributes:
        offsets: int64 (n_lists + 1,).
        docs: int32 (n_pairs,), rows of the collection's documents.
        scores: float64 (n_pairs,), never rising within a list.
        keys: int64 (n_lists,), the row of what each list answers, each once: a query, or for neighbours a document. None where list i
            answers query i.

    >>> run = Run(offsets=np.array([0, 2, 2, 3]), docs=np.array([5, 1, 4], dtype=np.int32), scores=np.array([2.0, 1.0, 7.0]))
    >>> len(run), run.lengths().tolist(), run.rows().tolist(), run.ranks().tolist()
    (3, [2, 0, 1], [0, 0, 2], [1, 2, 1])
    """

    offsets: np.ndarray
    docs: np.ndarray
    scores: np.ndarray
    keys: np.ndarray | None = None

    def __len__(self) -> int:
        """Return the number of lists."""
        return len(self.offsets) - 1

    def lengths(self) -> np.ndarray:
        """Return the number of documents of every list, int64 (n_lists,)."""
        return np.diff(self.offsets)

    def rows(self) -> np.ndarray:
        """Return for every pair the row of what its list answers, int64 (n_pairs,)."""
        return np.repeat(np.arange(len(self)) if self.keys is None else self.keys, self.lengths())

    def ranks(self) -> np.ndarray:
        """Return the rank of every pair within its list, counted from 1, int64 (n_pairs,)."""
        return np.arange(1, len(self.docs) + 1) - np.repeat(self.offsets[:-1], self.lengths())

    def take(self, lists: np.ndarray) -> Run:
        """Return some lists, in the order given; their keys say what they answer."""
        lists = np.asarray(lists, dtype=np.int64)
        places, offsets = _places(self.offsets, lists)
        keys = lists if self.keys is None else self.keys[lists]
        return Run(offsets, np.asarray(self.docs[places]), np.asarray(self.scores[places]), keys)

    def part(self, start: int, stop: int) -> Run:
        """Return the lists from ``start`` to before ``stop``; nothing is copied but the offsets."""
        inside = slice(int(self.offsets[start]), int(self.offsets[stop]))
        keys = np.arange(start, stop) if self.keys is None else self.keys[start:stop]
        return Run(self.offsets[start : stop + 1] - self.offsets[start], self.docs[inside], self.scores[inside], keys)

    def keep(self, kept: np.ndarray) -> Run:
        """Return the pairs marked by a Boolean array (n_pairs,), in their order; a list may become empty.

        >>> run = Run(offsets=np.array([0, 2, 3]), docs=np.array([5, 1, 4], dtype=np.int32), scores=np.array([2.0, 1.0, 7.0]))
        >>> left = run.keep(np.array([False, True, False]))
        >>> left.offsets.tolist(), left.docs.tolist()
        ([0, 1, 1], [1])
        """
        before = np.zeros(len(kept) + 1, dtype=np.int64)
        np.cumsum(kept, out=before[1:])
        return Run(before[self.offsets], self.docs[kept], self.scores[kept], self.keys)

    def save(self, folder: Path) -> None:
        """Write the arrays as ``.npy`` files into a folder, which is made where it is missing."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / _OFFSETS, np.asarray(self.offsets, dtype=np.int64))
        np.save(folder / _DOCS, np.asarray(self.docs, dtype=np.int32))
        np.save(folder / _SCORES, np.asarray(self.scores, dtype=np.float64))
        if self.keys is not None:
            np.save(folder / _KEYS, np.asarray(self.keys, dtype=np.int64))

    @classmethod
    def load(cls, folder: Path) -> Run:
        """Open what :meth:`save` wrote; documents and scores are memory-mapped.

        Raises:
            RunError: a file is missing, or the files do not belong together.
        """
        folder = Path(folder)
        missing = [name for name in (_OFFSETS, _DOCS, _SCORES) if not (folder / name).is_file()]
        if missing:
            raise RunError(f"no run in {folder}: {' and '.join(missing)} missing; make it again")
        offsets = np.load(folder / _OFFSETS)
        docs, scores = (np.load(folder / name, mmap_mode="r") for name in (_DOCS, _SCORES))
        keys = np.load(folder / _KEYS) if (folder / _KEYS).is_file() else None
        if not len(docs) == len(scores) == offsets[-1] or (keys is not None and len(keys) != len(offsets) - 1):
            raise RunError(
                f"the run in {folder} is damaged: {len(docs)} documents and {len(scores)} scores for a last offset of {offsets[-1]}"
                + ("" if keys is None else f", {len(keys)} keys for {len(offsets) - 1} lists")
                + "; make it again"
            )
        return cls(offsets, docs, scores, keys)

    def frame(self, query_ids: pd.Series, doc_ids: pd.Series) -> pd.DataFrame:
        """Return the run as people read it: query_id, doc_id (str), score (float64), one row a pair.

        Args:
            query_ids: the ids that lists answer: of the queries, or for neighbours of the documents.
            doc_ids: the ids of the documents.

        >>> run = Run(offsets=np.array([0, 1, 2]), docs=np.array([1, 0], dtype=np.int32), scores=np.array([2.0, 1.0]))
        >>> run.frame(pd.Series(["q1", "q2"]), pd.Series(["d1", "d2"])).values.tolist()
        [['q1', 'd2', 2.0], ['q2', 'd1', 1.0]]
        """
        frame = pd.DataFrame(
            {
                "query_id": named(query_ids, self.rows()),
                "doc_id": named(doc_ids, self.docs),
                "score": np.array(self.scores, dtype=np.float64),
            }
        )
        return frame.astype({"query_id": "str", "doc_id": "str"})

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, query_ids: pd.Series, doc_ids: pd.Series) -> Run:
        """Take a run from a table: one list for every query, in the order of ``query_ids``, each in the order of its rows.

        Args:
            frame: query_id, doc_id, score; every query's documents best first.
            query_ids: the ids of the queries.
            doc_ids: the ids of the documents.

        Raises:
            RunError: a query or document is unknown, a pair stands twice, or a document scores more than the one before.

        >>> frame = pd.DataFrame({"query_id": ["q2", "q2"], "doc_id": ["d2", "d1"], "score": [3.0, 1.0]})
        >>> run = Run.from_frame(frame, pd.Series(["q1", "q2"]), pd.Series(["d1", "d2"]))
        >>> run.offsets.tolist(), run.docs.tolist()
        ([0, 0, 2], [1, 0])
        """
        rows, docs = rows_of(frame["query_id"], query_ids), rows_of(frame["doc_id"], doc_ids)
        scores = frame["score"].to_numpy(dtype=np.float64)

        def check(bad: np.ndarray, problem: str, remedy: str) -> None:
            if bad.any():
                first = frame.iloc[int(np.argmax(bad))]
                row = f"query_id {first['query_id']!r}, doc_id {first['doc_id']!r}"
                raise RunError(f"{int(bad.sum())} rows of a run {problem}, the first is {row}; {remedy}")

        known = "compare the ids and their types"
        check(rows < 0, "name a query that there is not", known)
        check(docs < 0, "name a document that the collection does not have", known)
        check(pd.Series(rows * len(doc_ids) + docs).duplicated().to_numpy(), "stand twice", "list each document once")
        order = np.argsort(rows, kind="stable")
        rows, docs, scores = rows[order], docs[order], scores[order]
        rises = np.append(False, (np.diff(scores) > 0) & (np.diff(rows) == 0))
        rising = np.zeros(len(order), dtype=bool)
        rising[order] = rises
        check(rising, "score more than the row before", "sort the run best first")
        return cls(np.searchsorted(rows, np.arange(len(query_ids) + 1)), docs.astype(np.int32), scores)


def join(runs: Sequence[Run]) -> Run:
    """Put runs end to end: the lists of the first, then those of the second, and so on.

    >>> one = Run(offsets=np.array([0, 1]), docs=np.array([3], dtype=np.int32), scores=np.array([1.0]))
    >>> join([one, one]).offsets.tolist()
    [0, 1, 2]
    """
    lengths = np.concatenate([np.zeros(0, dtype=np.int64), *(run.lengths() for run in runs)])
    keys = [run.keys for run in runs if run.keys is not None]
    if keys and len(keys) < len(runs):
        raise RunError(f"{len(keys)} of {len(runs)} runs say what their lists answer, the others do not; give keys to all or to none")
    return Run(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([np.zeros(0, dtype=np.int32), *(run.docs for run in runs)]),
        np.concatenate([np.zeros(0), *(run.scores for run in runs)]),
        np.concatenate(keys) if keys else None,
    )


def made_in_parts(
    n: int, size: int, make: Callable[[int, int], Run], folder: Path | None = None, *, description: str = "runs", track: Track = untracked
) -> Run:
    """Make a run of many lists a part at a time, each written when it is done, so that an interrupted one goes on where it was.

    Args:
        n: number of lists.
        size: lists of a part.
        make: maps (start, stop) to the run of these lists.
        folder: where parts lie until the caller deletes it; None keeps them in memory. A run of a single part is never written.
        description: what a progress bar says.
        track: wraps an iterable to show progress.
    """
    parts, places = [], []
    starts = range(0, n, size)
    for start in track(starts, description, len(starts)):
        stop = min(start + size, n)
        if folder is None or n <= size:
            parts.append(make(start, stop))
            continue
        place = Path(folder) / f"{start}-{stop}"
        if not files.has_part(place):
            draft = place.with_name(f".{place.name}.{os.getpid()}")
            shutil.rmtree(draft, ignore_errors=True)
            make(start, stop).save(draft)
            files.keep_part(draft, place)
        places.append(place)
    return _read(places) if places else join(parts)


def _read(places: list[Path]) -> Run:
    """Return saved runs end to end, of which one is open at a time: each holds two files open, of which a process may have some 1,000."""
    lengths = [np.diff(np.load(place / _OFFSETS)) for place in places]
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    docs, scores, keys, start = np.empty(offsets[-1], dtype=np.int32), np.empty(offsets[-1]), [], 0
    for place in places:
        part = Run.load(place)
        inside = slice(start, start := start + len(part.docs))
        docs[inside], scores[inside] = part.docs, part.scores
        keys += [] if part.keys is None else [part.keys]
    return Run(offsets, docs, scores, np.concatenate(keys) if keys else None)


def blocks(offsets: np.ndarray, size: int = BLOCK) -> list[tuple[int, int]]:
    """Split lists into blocks of at most ``size`` pairs, (first list, last list + 1); a longer list makes a block of its own.

    >>> blocks(np.array([0, 2, 4, 9, 10]), size=4)
    [(0, 2), (2, 3), (3, 4)]
    """
    found, start, n = [], 0, len(offsets) - 1
    while start < n:
        stop = int(np.searchsorted(offsets, offsets[start] + size, side="right")) - 1
        stop = min(max(stop, start + 1), n)
        found.append((start, stop))
        start = stop
    return found


def _places(offsets: np.ndarray, lists: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the pairs of some lists stand, and the offsets that they have once they are put end to end."""
    lengths = np.diff(offsets)[lists]
    ends = np.zeros(len(lists) + 1, dtype=np.int64)
    np.cumsum(lengths, out=ends[1:])
    return np.repeat(offsets[lists] - ends[:-1], lengths) + np.arange(int(ends[-1])), ends


# --- runs in files ----------------------------------------------------------------------------------------------------------------


def read_run(path: Path) -> pd.DataFrame:
    """Read a TREC run: lines of six fields between white space, ``query_id Q0 doc_id rank score tag`` (see ``data.trec.run``).

    Returns:
        Frame query_id, doc_id (str), score (float64), in the order of the file.

    Raises:
        RunError: a line has fewer or more than six fields, an id is none, a score is no finite number, or a pair stands twice.
    """
    return trec.run(path, RunError).frame[["query_id", "doc_id", "score"]]


# --- ids and rows -----------------------------------------------------------------------------------------------------------------


def rows_of(ids: Strings, known: Strings) -> np.ndarray:
    """Return the row of every id among ``known`` ids, int64 (n,), -1 where there is none; no id becomes a Python object.

    >>> rows_of(pd.Series(["d3", "d1", "x"]), pd.Series(["d1", "d2", "d3"])).tolist()
    [2, 0, -1]
    """
    ids, known = arrow(ids), arrow(known)
    if len(ids) * 4 < len(known):  # a table of the few that are asked for, not of all that there are
        distinct = unique(ids)
        at = pc.fill_null(index_in(known, value_set=distinct), -1).to_numpy()
        rows = np.full(len(distinct) + 1, -1, dtype=np.int64)
        asked = np.flatnonzero(at >= 0)[::-1]  # the first of equal ids is the one that stays
        rows[at[asked]] = asked
        return rows[index_in(ids, value_set=distinct).to_numpy()]
    return pc.fill_null(index_in(ids, value_set=known), -1).to_numpy().astype(np.int64)


def named(ids: pd.Series | np.ndarray, rows: np.ndarray) -> pd.api.extensions.ExtensionArray | np.ndarray:
    """Return the ids of rows."""
    return ids.take(rows).array if isinstance(ids, pd.Series) else np.asarray(ids, dtype=object)[rows]


def tie_order(ids: Strings) -> np.ndarray:
    """Return each id's rank among the sorted ids, int64 (n,): the order in which equal scores are listed.

    >>> tie_order(np.array(["d9", "d10", "d1"], dtype=object)).tolist()
    [2, 1, 0]
    """
    order = np.empty(len(ids), dtype=np.int64)
    order[sort_indices(arrow(ids)).to_numpy()] = np.arange(len(ids))  # by UTF-8 bytes, which is the order of str
    return order


def arrow(ids: Strings) -> pa.ChunkedArray:
    """Return ids, or texts, as one Arrow column of long strings; a str column of pandas is not copied."""
    column = pa.array(ids, type=pa.large_string(), from_pandas=True) if not isinstance(ids, pa.ChunkedArray) else ids
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column], type=pa.large_string())


class ArrayWriter:
    """Writes a ``.npy`` file in pieces along its first axis, of which one is in memory at a time.

    Args:
        path: of the file.
        dtype: of its elements.
        shape: of the whole array.
    """

    def __init__(self, path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> None:
        self.path, self.dtype, self.shape = Path(path), np.dtype(dtype), tuple(map(int, shape))
        self.written = 0
        self._stream = self.path.open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(self._stream, header)

    def write(self, piece: np.ndarray) -> None:
        """Append a piece."""
        np.ascontiguousarray(piece, dtype=self.dtype).tofile(self._stream)
        self.written += piece.size

    def __enter__(self) -> ArrayWriter:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Close the file; an array that is shorter or longer than its shape is an error."""
        self._stream.close()
        if kind is None and self.written != math.prod(self.shape):
            raise RunError(f"{self.path}: {self.written} values were written for the shape {self.shape}; write all of them, once")

"""Merged scores of pairs: flat arrays that are written once, mapped into memory and searched, and the hashes that seal them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np

from rd_utils import durable, files
from rd_utils.store import SMALL

_ARRAYS = ("offsets", "documents", "scores")
_LONG_RUN = 8  # pairs of one query side by side, on average, from which on one search a query is the fastest


class About(TypedDict):
    """What merged arrays are of, and what scoring their pairs took."""

    n_docs: int | None
    wall_seconds: float
    cpu_seconds: float


class Arrays(NamedTuple):
    """The pairs of query row q stand at ``offsets[q]:offsets[q + 1]``, their documents sorted."""

    offsets: np.ndarray  # int64
    documents: np.ndarray  # int32
    scores: np.ndarray  # float32
    about: About

    @classmethod
    def none(cls) -> Arrays:
        """Return the arrays of no pairs."""
        about: About = {"n_docs": None, "wall_seconds": 0.0, "cpu_seconds": 0.0}
        return cls(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), about)

    @classmethod
    def open(cls, main: Path) -> Arrays:
        """Map what :meth:`write` wrote."""
        about = json.loads((main / "about.json").read_text(encoding="utf-8"))
        # plain views: slices of a memmap object cost more than the search in them
        offsets, documents, scores = (np.asarray(np.load(main / f"{name}.npy", mmap_mode="r")) for name in _ARRAYS)
        return cls(offsets, documents, scores, about)

    def search(self, pairs: np.ndarray, n_docs: int) -> tuple[np.ndarray, np.ndarray]:
        """Return where in the arrays each pair would stand, and whether it stands there."""
        if not len(self.documents) or not len(pairs):
            return np.zeros(len(pairs), dtype=np.int64), np.zeros(len(pairs), dtype=bool)
        query_rows = pairs // n_docs
        doc_rows = (pairs - query_rows * n_docs).astype(np.int32)
        outside = None
        if query_rows.max() > len(self.offsets) - 2:
            outside = query_rows > len(self.offsets) - 2
            query_rows[outside] = 0
        starts = [0, *((query_rows[1:] != query_rows[:-1]).nonzero()[0] + 1).tolist()]  # of the runs of pairs with one query
        if _LONG_RUN * len(starts) <= len(pairs):
            ends, heads = [*starts[1:], len(pairs)], query_rows[starts]
            lows, highs, documents = self.offsets[heads], self.offsets[heads + 1], self.documents
            parts = [
                documents[low:high].searchsorted(doc_rows[start:end])
                for low, high, start, end in zip(lows.tolist(), highs.tolist(), starts, ends, strict=True)
            ]
            places = np.concatenate(parts)
            lengths = np.subtract(ends, starts)
            places += lows.repeat(lengths)
            highs = highs.repeat(lengths)
        else:
            places, highs = self._bisect(query_rows, doc_rows)
        found = (self.documents.take(places, mode="clip") == doc_rows) & (places < highs)
        if outside is not None:
            found &= ~outside
        return places, found

    def _bisect(self, query_rows: np.ndarray, doc_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first place of each query's documents that is not below the document row, and the end of the places; all at once."""
        places, ends = self.offsets[query_rows] - 1, self.offsets[query_rows + 1]
        step = 1 << int((ends - places).max()).bit_length()
        while step := step >> 1:  # to the last place that is below: never past the query's own
            ahead = np.minimum(places + step, ends - 1)
            np.copyto(places, ahead, where=(self.documents.take(ahead, mode="clip") < doc_rows) & (ahead > places))
        return places + 1, ends

    def write(self, draft: Path, pairs: np.ndarray, scores: np.ndarray, about: About, n_docs: int, block: int) -> int:
        """Write these arrays with further sorted pairs in a folder, in blocks of so many pairs; return how many there are."""
        n_queries = max(len(self.offsets) - 1, int(pairs[-1]) // n_docs + 1 if len(pairs) else 0)
        counts = np.zeros(n_queries + 1, dtype=np.int64)
        counts[1 : len(self.offsets)] = np.diff(self.offsets)
        rows, new = np.unique(pairs // n_docs, return_counts=True)
        counts[rows + 1] += new
        offsets = np.cumsum(counts)
        np.save(draft / "offsets.npy", offsets)
        with (draft / "documents.npy").open("wb") as documents, (draft / "scores.npy").open("wb") as values:
            for stream, dtype in ((documents, "<i4"), (values, "<f4")):
                header = {"descr": dtype, "fortran_order": False, "shape": (int(offsets[-1]),)}
                np.lib.format.write_array_header_1_0(stream, header)
            for low, high in _row_blocks(offsets, block):
                block_documents, block_scores = self._merged(low, high, pairs, scores, n_docs)
                block_documents.tofile(documents)
                block_scores.tofile(values)
        (draft / "about.json").write_text(_sealed(dict(about), draft), encoding="utf-8")
        durable.flush(draft)
        return int(offsets[-1])

    def _merged(self, low: int, high: int, pairs: np.ndarray, scores: np.ndarray, n_docs: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the sorted documents and scores of the query rows from low to high, those of the sorted pairs among them."""
        ends = np.searchsorted(pairs, [low * n_docs, high * n_docs])
        pairs, scores = pairs[slice(*ends)], scores[slice(*ends)]
        known = self.offsets[np.minimum(np.arange(low, high + 1), len(self.offsets) - 1)]
        documents, kept = self.documents[known[0] : known[-1]], self.scores[known[0] : known[-1]]
        if not len(pairs):
            return documents, kept
        places = np.searchsorted(np.repeat(np.arange(low, high) * n_docs, np.diff(known)) + documents, pairs)
        return np.insert(documents, places, (pairs % n_docs).astype(np.int32)), np.insert(kept, places, scores)


def _row_blocks(offsets: np.ndarray, size: int) -> list[tuple[int, int]]:
    """Split rows into blocks of about ``size`` entries, at least a row each: the first row and the one after the last.

    >>> _row_blocks(np.array([0, 3, 3, 5, 9]), size=4)
    [(0, 2), (2, 3), (3, 4)]
    """
    blocks, low, n_rows = [], 0, len(offsets) - 1
    while low < n_rows:
        high = max(low + 1, int(np.searchsorted(offsets, offsets[low] + size, side="right")) - 1)
        blocks.append((low, min(high, n_rows)))
        low = high
    return blocks


_LOOKED_AT: set[tuple] = set()  # files of arrays, with their times, whose hashes were compared in this process


def _sealed(about: dict, main: Path) -> str:
    """Return what is said of merged arrays as text, with the size and hash of each, and a checksum."""
    sums = {f"{name}.npy": [(path := main / f"{name}.npy").stat().st_size, files.tree_sha256(path)] for name in _ARRAYS}
    about = about | {"files": sums}
    return json.dumps(about | {"checksum": _checksum(about)})


def seal_arrays(main: Path) -> None:
    """Give merged arrays that have no hashes yet those that they have."""
    about = json.loads((main / "about.json").read_bytes())
    if "files" not in about:
        durable.write_text(main / "about.json", _sealed(about, main))


def damage_of_arrays(main: Path, hashed_up_to: float) -> str | None:
    """Return what is wrong with a folder of merged arrays; None where nothing is.

    Args:
        main: the folder.
        hashed_up_to: bytes up to which a file's hash is compared too, once a process; all sizes always are.

    Raises:
        FileNotFoundError: the folder is not there.
    """
    try:
        about = json.loads((main / "about.json").read_bytes())
        sums = about["files"]
        if about["checksum"] != _checksum(about):
            return "about.json is damaged: its checksum is another"
    except FileNotFoundError:
        if not main.is_dir():
            raise
        return "about.json is missing"
    except (ValueError, KeyError, TypeError, RecursionError, IsADirectoryError):
        return "about.json is damaged: it is not what was written"
    for name, (size, digest) in sums.items():
        path = main / name
        if not path.is_file():
            return f"{name} is missing"
        found = path.stat()
        if found.st_size != size:
            return f"{name} is damaged: it has {found.st_size:,} bytes, not {size:,}"
        seen = (path, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        if size <= hashed_up_to and (seen not in _LOOKED_AT or hashed_up_to > SMALL):
            if files.tree_sha256(path) != digest:
                return f"{name} is damaged: its SHA-256 is another"
            _LOOKED_AT.add(seen)
    return None


def _checksum(about: dict) -> str:
    rest = {key: value for key, value in about.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()

"""Postings: which documents a word stands in and what it adds there, searched exactly, by any number of workers to the same bytes.

A search goes through blocks of documents whose sums stay in the processor's cache, so that it clears and sorts only what a query touched.
:mod:`rd_utils.mining.bm25` makes them of texts, :mod:`rd_utils.mining.impacts` of learned sparse vectors.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

import numba
import numpy as np

from rd_utils.data.runs import DECIMALS, Run, made_in_parts
from rd_utils.workflow.progress import Track, untracked

PART = 5_000  # queries between two writes of a long search
_BLOCK = 1 << 16  # documents whose sums a search holds at once: 256 KB
_UNITS = 10.0**DECIMALS  # of a score


class PostingsError(ValueError):
    """Postings cannot be searched as asked; the message names the offender and the remedy."""


class Postings(Protocol):
    """What is searched: word w stands in ``docs[offsets[w]:offsets[w + 1]]``, ascending, and adds ``scores`` there."""

    @property
    def offsets(self) -> np.ndarray:
        """Where each word's documents begin, int64 (n_words + 1,)."""
        ...

    @property
    def docs(self) -> np.ndarray:
        """Rows of the documents, int32 (n_postings,)."""
        ...

    @property
    def scores(self) -> np.ndarray:
        """What the word adds, float32 (n_postings,)."""
        ...

    @property
    def n_docs(self) -> int:
        """Documents of the collection, those without a word included."""
        ...


class Words(NamedTuple):
    """The words of texts that are looked up: text i has ``ids[offsets[i]:offsets[i + 1]]``, in its order, repeats included.

    ``weights`` multiply what each adds, float32 (n,); None where each counts as often as it stands there.
    """

    ids: np.ndarray
    offsets: np.ndarray
    weights: np.ndarray | None = None


def search(
    index: Postings,
    words: Words,
    depth: int,
    ties: np.ndarray,
    *,
    workers: int = 1,
    folder: Path | None = None,
    description: str = "postings over the queries",
    track: Track = untracked,
) -> Run:
    """Rank all documents for every query and keep the top ``depth``; documents whose score is 0 are left out.

    Args:
        index: what is searched.
        words: of the queries.
        depth: how many documents a query keeps at the most.
        ties: (n_docs,) the order in which documents of equal score are listed, as :func:`rd_utils.data.runs.tie_order` gives it.
        workers: threads; their number changes nothing in the run.
        folder: where a long search keeps what it has, until the caller deletes it (see :func:`rd_utils.data.runs.made_in_parts`).
        description: of the work, for its progress.
        track: wraps an iterable to show progress.

    Returns:
        One list a query, scores rounded to 5 decimals before ranking.

    Raises:
        PostingsError: ``ties`` are of another number of documents, or ``depth`` or ``workers`` is below 1.
    """
    if len(ties) != index.n_docs:
        raise PostingsError(f"{len(ties)} ids for an index of {index.n_docs} documents; give those of the collection that was indexed")
    if depth < 1 or workers < 1:
        raise PostingsError(f"depth is {depth} and workers {workers}; both must be at least 1")
    depth = min(depth, index.n_docs)
    ties = np.ascontiguousarray(ties, dtype=np.int64)
    order = np.empty(len(ties), dtype=np.int32)
    order[ties] = np.arange(len(ties), dtype=np.int32)

    def part(start: int, stop: int) -> Run:
        n = stop - start
        docs, scores, counts = np.empty((n, depth), dtype=np.int32), np.empty((n, depth)), np.zeros(n, dtype=np.int64)

        def rank(low: int, high: int) -> None:
            bounds = words.offsets[start + low : start + high + 1]
            _rank(
                index.offsets, index.docs, index.scores, index.n_docs, words.ids, words.weights, bounds, ties, order,
                docs[low:high], scores[low:high], counts[low:high],
            )  # fmt: skip

        shares = np.linspace(0, n, (min(n, 16 * workers) if workers > 1 else 1) + 1).astype(int)
        with ThreadPoolExecutor(workers) as threads:
            list(threads.map(rank, shares[:-1], shares[1:]))
        kept = np.arange(depth) < counts[:, None]
        return Run(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), docs[kept], scores[kept])

    return made_in_parts(len(words.offsets) - 1, PART, part, folder, description=description, track=track)


@numba.njit(cache=True, nogil=True)
def _rank(offsets, docs, scores, n_docs, words, weights, bounds, ties, order, out_docs, out_scores, counts):  # pragma: no cover
    """Fill each query's row with its best documents; ``weights`` of its words, or None where each counts once.

    A document's place is one integer: its score in units, then its place among ties, so that a heap of integers keeps the best.
    """
    depth = out_docs.shape[1]
    span = np.int64(1)
    while span < n_docs:
        span *= 2
    sums = np.zeros(min(_BLOCK, n_docs), dtype=np.float32)
    heap = np.empty(depth, dtype=np.int64)
    for query in range(len(bounds) - 1):
        own = words[bounds[query] : bounds[query + 1]]
        at, ends = offsets[own], offsets[own + 1]
        begun = at.copy()
        size, floor = 0, -np.inf
        for first in range(0, n_docs, _BLOCK):
            for number in range(len(own)):
                place, end, last = at[number], ends[number], first + _BLOCK
                begun[number] = place
                while place < end and docs[place] < last:
                    if weights is None:
                        sums[docs[place] - first] += scores[place]
                    else:
                        sums[docs[place] - first] += weights[bounds[query] + number] * scores[place]
                    place += 1
                at[number] = place
            for number in range(len(own)):
                for place in range(begun[number], at[number]):
                    total = sums[docs[place] - first]
                    sums[docs[place] - first] = 0
                    if total <= floor or total <= 0:
                        continue
                    units = np.int64(np.rint(np.float64(total) * _UNITS))
                    key = units * span + (span - 1 - ties[docs[place]])
                    if units == 0 or (size == depth and key <= heap[0]):
                        continue
                    if size < depth:
                        _rise(heap, size, key)
                        size += 1
                    else:
                        _sink(heap, size, key)
                    if size == depth:  # less than a unit below the worst that is kept: no rounding lifts it in
                        floor = (heap[0] // span - 1) / _UNITS
        counts[query] = size
        for rank in range(size - 1, -1, -1):  # the worst comes off the heap first
            out_docs[query, rank] = order[span - 1 - heap[0] % span]
            out_scores[query, rank] = (heap[0] // span) / _UNITS
            _sink(heap, rank, heap[rank])


@numba.njit(cache=True, nogil=True)
def _rise(heap, place, key):  # pragma: no cover
    """Add a key at the end of a heap whose least key is the first."""
    while place > 0 and heap[(place - 1) // 2] > key:
        heap[place] = heap[(place - 1) // 2]
        place = (place - 1) // 2
    heap[place] = key


@numba.njit(cache=True, nogil=True)
def _sink(heap, size, key):  # pragma: no cover
    """Put a key in the place of a heap's least."""
    parent, child = 0, 1
    while child < size:
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= key:
            break
        heap[parent] = heap[child]
        parent, child = child, 2 * child + 1
    heap[parent] = key

"""Dense search over memory-mapped embeddings: exhaustive in blocks of documents, or in an inverted file (faiss) that lies on disk.

An inverted file (Jegou, Douze and Schmid, Product quantization for nearest neighbor search, IEEE TPAMI 33, 2011) sorts documents into
``nlist`` cells by their nearest centroid and looks into the ``nprobe`` cells nearest to a query. What it finds is scored again with the
embeddings themselves, so that it may miss documents but gives none a wrong score. Memory is bounded by the blocks, not by the collection.

A zero vector is a text without a word: as a document it is found by nothing, as a query it finds nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from rd_utils import files
from rd_utils.data.runs import DECIMALS, ArrayWriter, Run, made_in_parts
from rd_utils.workflow.progress import Track, untracked

if TYPE_CHECKING:
    import faiss

    from rd_utils.mining.retrievers import InvertedFile

PART = 8192  # queries between two writes of a long search
BLOCK = 131_072  # documents that are searched, or added to an index, at once
CHUNK = 100_000  # texts that are embedded between two writes
_LARGEST = 1e15  # of an embedding: inner products of larger ones may overflow float32
_TIED = 32  # queries with ties at the depth that are searched again at once: 32 MB a block
_INDEX, _LISTS = "index.faiss", "lists.ivfdata"


class DenseError(ValueError):
    """A dense index cannot be made, read or searched as asked; the message names the offender and the remedy."""


# --- embeddings -------------------------------------------------------------------------------------------------------------------


def embed_in_chunks(
    n: int,
    embed: Callable[[int, int], np.ndarray],
    path: Path,
    chunks: Path,
    *,
    size: int = CHUNK,
) -> np.ndarray:
    """Write embeddings to a ``.npy`` file a chunk of texts at a time, so that an interrupted run goes on where it was.

    Args:
        n: number of texts.
        embed: maps (start, stop) to the embeddings of these texts, float32 (stop - start, dimension).
        path: the file.
        chunks: the folder where finished chunks lie; it is deleted at the end.
        size: texts of a chunk.

    Returns:
        The embeddings, float32 (n, dimension), memory-mapped.
    """
    if not n:  # the encoder says how wide nothing is
        np.save(path, np.asarray(embed(0, 0), dtype=np.float32))
        return np.load(path)
    chunks.mkdir(parents=True, exist_ok=True)
    places = [(start, min(start + size, n)) for start in range(0, n, size)]
    for start, stop in places:
        place = chunks / f"{start}-{stop}.npy"
        if not files.has_part(place):
            draft = place.with_name(f".{place.stem}.{os.getpid()}.npy")
            np.save(draft, np.asarray(embed(start, stop), dtype=np.float32))
            files.keep_part(draft, place)
    width = np.load(chunks / f"0-{places[0][1]}.npy", mmap_mode="r").shape[1]
    with ArrayWriter(path, np.float32, (n, width)) as out:
        for start, stop in places:  # one file open at a time
            out.write(np.load(chunks / f"{start}-{stop}.npy", mmap_mode="r"))
    shutil.rmtree(chunks)
    return np.load(path, mmap_mode="r")


# --- exhaustive search ------------------------------------------------------------------------------------------------------------


def search(
    doc_vectors: np.ndarray,
    query_vectors: np.ndarray,
    depth: int,
    ties: np.ndarray,
    *,
    index: faiss.IndexIVF | None = None,
    refine: int = 4,
    folder: Path | None = None,
    track: Track = untracked,
) -> Run:
    """Find the documents of the highest inner products for every query and keep the top ``depth``.

    Args:
        doc_vectors: (n_docs, d) float32, memory-mapped or not.
        query_vectors: (n_queries, d) float32.
        depth: how many documents a query keeps.
        ties: (n_docs,) as :func:`rd_utils.data.runs.tie_order` gives it.
        index: of :func:`load`, to look only into the cells near a query; None searches exhaustively.
        refine: how many times ``depth`` an index brings, to be scored again.
        folder: where a long search keeps what it has, until the caller deletes it (see :func:`rd_utils.data.runs.made_in_parts`).
        track: wraps an iterable to show progress.

    Returns:
        One list a query, an empty one where its vector is zero; scores rounded to 5 decimals before ranking, equal ones in the order of
        ``ties``, also at the depth's end. An index settles ties among what it finds.

    Raises:
        DenseError: the embeddings do not fit each other or ``ties``, or hold a number that is not finite.
    """
    if doc_vectors.shape[1] != query_vectors.shape[1]:
        dimensions = f"{doc_vectors.shape[1]} dimensions and queries {query_vectors.shape[1]}"
        raise DenseError(f"documents have {dimensions}; embed both with one encoder")
    if len(ties) != len(doc_vectors):
        raise DenseError(f"{len(ties)} ids for {len(doc_vectors)} embeddings; give those of the collection that was embedded")

    def part(start: int, stop: int) -> Run:
        asked = _block(query_vectors, start, stop, "query")
        told = np.asarray(asked.any(axis=1))
        asked = asked if told.all() else asked[told]
        if index is None:
            return _listed(*_exhaustive(doc_vectors, asked, depth, ties), told)
        scores, rows = _probed(index, doc_vectors, asked, min(len(doc_vectors), depth * refine))
        return _listed(*_best(scores, rows, depth, ties), told)

    return made_in_parts(len(query_vectors), PART, part, folder, description="dense search over the queries", track=track)


def _block(vectors: np.ndarray, start: int, stop: int, side: str) -> np.ndarray:
    """Return some embeddings as faiss wants them; one that is not finite would drop its document, or the whole list of its query."""
    block = np.ascontiguousarray(vectors[start:stop], dtype=np.float32)
    if block.size and not (block.max() <= _LARGEST and block.min() >= -_LARGEST):  # both are NaN where any number is
        bad = np.flatnonzero(~(np.abs(block) <= _LARGEST).all(axis=1))
        raise DenseError(
            f"the embeddings of {len(bad)} of {len(block)} texts are not finite, or above {_LARGEST:g}; the first is the "
            f"{side} in row {start + bad[0]}; embed them again in fp32, if a lower precision overflowed, or look at that text"
        )
    return block


def _exhaustive(doc_vectors: np.ndarray, asked: np.ndarray, depth: int, ties: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the best rows of each query by (-rounded score, tie), and their rounded scores."""
    wanted = min(len(doc_vectors), depth + max(20, depth // 5))  # a margin, in which most ties at the depth end
    scores, rows = _nearest(doc_vectors, asked, wanted)
    least = _rounded(scores, rows).min(axis=1, initial=np.inf)
    rows, scores = _best(scores, rows, depth, ties)
    if wanted < len(doc_vectors) and scores.size:
        tied = np.flatnonzero(least >= scores[:, -1])  # what was not found may be as good
        for start in range(0, len(tied), _TIED):
            part = tied[start : start + _TIED]
            rows[part], scores[part] = _sorted(doc_vectors, asked[part], depth, ties)
    return rows, scores


def _sorted(doc_vectors: np.ndarray, asked: np.ndarray, depth: int, ties: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what :func:`_exhaustive` does, by a sort of all documents that are as good as the best so far, however many are equal."""
    unique, places = np.unique(asked, axis=0, return_inverse=True)  # texts without a known word have one embedding
    best = [(np.zeros(0, dtype=np.int64), np.zeros(0))] * len(unique)
    for start in range(0, len(doc_vectors), BLOCK):
        block = _block(doc_vectors, start, start + BLOCK, "document")
        told = _told(block)
        block, here = (block, np.arange(start, start + len(block))) if told is None else (block[told], told + start)
        own = ties[here]
        for number, found in enumerate(unique @ block.T):
            rows, scores = best[number]
            found = _rounded(found)
            kept = np.arange(len(found))
            if len(rows) == depth:
                kept = np.flatnonzero((found > scores[-1]) | ((found == scores[-1]) & (own < ties[rows[-1]])))
            rows, scores = np.concatenate([rows, here[kept]]), np.concatenate([scores, found[kept]])
            order = np.lexsort((ties[rows], -scores))[:depth]
            best[number] = rows[order], scores[order]
    rows, scores = (np.array(values) for values in zip(*best, strict=True))
    places = places.reshape(-1)
    return rows[places], scores[places]


def _nearest(doc_vectors: np.ndarray, asked: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the highest inner products of each query and their rows, going through blocks of documents with the best so far at hand."""
    import faiss

    scores, rows = np.empty((len(asked), 0), dtype=np.float32), np.empty((len(asked), 0), dtype=np.int64)
    for start in range(0, len(doc_vectors), BLOCK):
        block = _block(doc_vectors, start, start + BLOCK, "document")
        told = _told(block)
        block = block if told is None else block[told]
        if not len(block) or not len(asked):
            continue
        found, places = faiss.knn(asked, block, min(wanted, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        places = places if told is None else told[places]
        scores, rows = np.concatenate([scores, found], axis=1), np.concatenate([rows, places + start], axis=1)
        if scores.shape[1] > wanted:
            best = np.argpartition(-scores, wanted - 1, axis=1)[:, :wanted]
            scores, rows = np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
    return scores, rows


def _told(block: np.ndarray) -> np.ndarray | None:
    """Return the places of the embeddings that are not zero; None where none is."""
    told = block.any(axis=1)
    return None if told.all() else np.flatnonzero(told)


def _rounded(scores: np.ndarray, rows: np.ndarray | int = 0) -> np.ndarray:
    """Return rounded scores; a row of -1 is no document."""
    return np.where(np.asarray(rows) < 0, -np.inf, np.round(scores.astype(np.float64), DECIMALS) + 0.0)


def _best(scores: np.ndarray, rows: np.ndarray, depth: int, ties: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the best of scored rows (n, k), and their rounded scores."""
    scores = _rounded(scores, rows)
    order = np.lexsort((ties[rows], -scores), axis=1)[:, :depth]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def _listed(rows: np.ndarray, scores: np.ndarray, told: np.ndarray) -> Run:
    """Return the lists of scored rows (n, k), best first; a row of -1 is no document. Queries that are not ``told`` have an empty list."""
    kept = rows >= 0
    lengths = np.zeros(len(told), dtype=np.int64)
    lengths[told] = kept.sum(axis=1)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Run(offsets, rows[kept].astype(np.int32), scores[kept])


# --- inverted files ---------------------------------------------------------------------------------------------------------------


def build(
    doc_vectors: np.ndarray, settings: InvertedFile, folder: Path, *, shards: Path | None = None, track: Track = untracked
) -> faiss.IndexIVF:
    """Build an inverted file: cells are trained on a sample, documents added in shards, and the lists of all shards merged on disk.

    Args:
        doc_vectors: (n_docs, d) float32, memory-mapped or not.
        settings: ``study.params.IVFPQ``, whose lists hold product-quantised vectors, or ``study.params.IVFOnDisk``, whose
            lists hold the vectors themselves.
        folder: where the index goes; made where it is missing.
        shards: where finished shards lie, so that an interrupted build goes on with the next; a folder of ``folder`` by default. It is
            deleted at the end.
        track: wraps an iterable to show progress.

    Returns:
        The index, opened from ``folder``.

    Raises:
        DenseError: there are fewer documents than cells, the vectors cannot be cut into that many parts, or one of them is not finite.
    """
    import faiss
    from faiss.contrib.ondisk import merge_ondisk

    n, dimension = doc_vectors.shape
    needed = max(settings.nlist, settings.codes)
    if n < needed or settings.sample < needed:
        raise DenseError(
            f"{n} documents, of which {settings.sample} may train, cannot fill {settings.nlist} cells"
            + (f" and {settings.codes} codes" if settings.codes else "")
            + "; lower nlist, raise sample, or search with index: {kind: flat}"
        )
    if dimension % settings.parts:
        raise DenseError(f"m is {settings.parts}, which does not divide the {dimension} dimensions of the embeddings; choose a divisor")
    folder, shards = Path(folder), Path(shards) if shards else Path(folder) / "shards"
    folder.mkdir(parents=True, exist_ok=True)
    shards.mkdir(parents=True, exist_ok=True)
    trained = shards / f"trained-{_digest(doc_vectors, settings)}.faiss"
    if not files.has_part(trained):
        _train(doc_vectors, settings, trained)
    starts = range(0, n, BLOCK)
    places = [str(_shard(doc_vectors, start, trained)) for start in track(starts, "dense: documents into cells", len(starts))]
    index = faiss.read_index(str(trained))
    merge_ondisk(index, places, str(folder / _LISTS))
    faiss.write_index(index, str(folder / _INDEX))
    del index
    shutil.rmtree(shards)
    return load(folder, settings)


def _train(doc_vectors: np.ndarray, settings: InvertedFile, place: Path) -> None:
    """Write an index without documents, whose cells are trained on a sample."""
    n = len(doc_vectors)
    for start in range(0, n, BLOCK):  # before the training, which takes long
        _block(doc_vectors, start, start + BLOCK, "document")
    sample = np.sort(np.random.default_rng(0).choice(n, size=min(n, settings.sample), replace=False))
    index = settings.untrained(doc_vectors.shape[1])
    index.train(np.ascontiguousarray(doc_vectors[sample], dtype=np.float32))
    _write(index, place)


def _shard(doc_vectors: np.ndarray, start: int, trained: Path) -> Path:
    """Return the file of the trained index with a block of the documents, made where it is missing."""
    import faiss

    place = trained.with_name(f"{trained.stem}-{start}.faiss")
    if not files.has_part(place):
        index = faiss.read_index(str(trained))
        block = np.ascontiguousarray(doc_vectors[start : start + BLOCK], dtype=np.float32)
        index.add_with_ids(block, np.arange(start, start + len(block), dtype=np.int64))
        _write(index, place)
    return place


def load(folder: Path, settings: InvertedFile) -> faiss.IndexIVF:
    """Open an inverted file, its lists memory-mapped.

    Args:
        folder: where :func:`build` wrote it.
        settings: as it was built.

    Raises:
        DenseError: a file is missing.
    """
    import faiss

    missing = [name for name in (_INDEX, _LISTS) if not (Path(folder) / name).is_file()]
    if missing:
        raise DenseError(f"no dense index in {folder}: {' and '.join(missing)} missing; build it again")
    index = cast("faiss.IndexIVF", faiss.read_index(str(Path(folder) / _INDEX), faiss.IO_FLAG_ONDISK_SAME_DIR | faiss.IO_FLAG_READ_ONLY))
    index.nprobe = settings.nprobe
    return index


def recall(
    doc_vectors: np.ndarray, query_vectors: np.ndarray, run: Run, depth: int, ties: np.ndarray, *, queries: int = 200, seed: int = 0
) -> tuple[float, int]:
    """Return the share of the exhaustive search's top ``depth`` that a run has, over a sample of queries, and how many these are."""
    sample = np.sort(np.random.default_rng(seed).permutation(len(query_vectors))[:queries])
    exact, found = search(doc_vectors, query_vectors[sample], depth, ties), run.take(sample)
    exact = Run(exact.offsets, exact.docs, exact.scores, sample)
    wanted, brought = (run.rows() * len(doc_vectors) + run.docs for run in (exact, found))
    return float(np.isin(wanted, brought).mean()) if len(wanted) else float("nan"), len(sample)


def _write(index: faiss.Index, place: Path) -> None:
    """Write an index as a whole or not at all."""
    import faiss

    draft = place.with_name(f".{place.name}.{os.getpid()}")
    faiss.write_index(index, str(draft))
    files.keep_part(draft, place)


def _digest(doc_vectors: np.ndarray, settings: InvertedFile) -> str:
    """Return what names the shards of an index: its settings, and a thousand of the vectors."""
    rows = np.linspace(0, len(doc_vectors) - 1, min(len(doc_vectors), 1000)).astype(int)
    digest = hashlib.blake2b(f"{settings.model_dump_json()} {doc_vectors.shape}".encode(), digest_size=10)
    digest.update(np.ascontiguousarray(doc_vectors[rows], dtype=np.float32).tobytes())
    return digest.hexdigest()


def _probed(index: faiss.IndexIVF, doc_vectors: np.ndarray, asked: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what an index finds, scored with the embeddings themselves; -1 where its cells hold too few."""
    _, rows = index.search(asked, wanted)
    scores = np.empty(rows.shape, dtype=np.float32)
    for number, own in enumerate(rows):
        found = doc_vectors[np.maximum(own, 0)]
        scores[number] = found @ asked[number]
        own[~found.any(axis=1)] = -1
    return scores, rows

"""Teacher scores: kept once per (teacher, query, document); only missing pairs are ever scored.

A :class:`PairScores` folder belongs to one teacher and one set of queries and documents. A pair is one integer,
``query_row * n_docs + doc_row``. What was just scored lies in shards, each written atomically, so an interrupted scoring loses at most the
chunk it was at. Now and then the shards are merged into flat arrays, 8 bytes a pair, which are mapped into memory and never read whole:

    main-000007/offsets.npy     int64    the pairs of query row q stand at offsets[q]:offsets[q + 1]
    main-000007/documents.npy   int32    their document rows, sorted within a query
    main-000007/scores.npy      float32  their scores
    main-000007/about.json      the number of documents, the seconds that scoring these pairs took, and the files' sizes and hashes
    shard-000007-000001.npz     pairs that were scored since, with their seconds; the format checks what it holds by itself (CRC-32)

A merge writes the next number's folder beside the last one and renames it into place; from then on the shards of the number before count
as merged, whether they are deleted yet or not. Every shard says what scoring it took, so that a pair has a price whoever paid it. Arrays or
a shard that were damaged since count as not there, with a warning: their pairs are scored again.
"""

from __future__ import annotations

import os
import re
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import filelock
import numpy as np
import pandas as pd

from rd_utils import durable, files
from rd_utils.data import trec
from rd_utils.data.runs import DECIMALS, rows_of
from rd_utils.scoring.arrays import About, Arrays, damage_of_arrays
from rd_utils.store import SMALL, cpu_seconds
from rd_utils.workflow.progress import LOGGER, Track, untracked

MERGE_PAIRS = 4_000_000  # shards are merged when they hold as many pairs; a merge works in blocks of as many
MERGE_SHARDS = 16  # or, at the end of a scoring, when there are more of them
MERGE_SHARE = 8  # or, then, when they hold at least this part of the merged pairs
_GOLDEN = 0x9E3779B97F4A7C15  # the increment of SplitMix64: 2**64 over the golden ratio, odd
MAIN, _SHARD = re.compile(r"main-(\d{6})"), re.compile(r"shard-(\d{6})-(\d{6})\.npz")


class TeacherError(ValueError):
    """A teacher's scores are missing or unusable; the message names the first offender."""


class PairScores:
    """The scores of one teacher over one set of queries and documents.

    Several processes may read a folder, and add to it: what one of them adds after another opened the folder, the other sees when it adds
    itself or opens the folder again.

    Args:
        folder: where the arrays and shards lie.
        n_docs: number of documents, which turns (query_row, doc_row) into one integer; None takes what the folder says (1 where it is
            empty), for those who only read what scoring took.

    Raises:
        TeacherError: the folder was made for another number of documents, or a pair cannot be written in 4 bytes a document.
    """

    def __init__(self, folder: Path, n_docs: int | None = None) -> None:
        self.folder = Path(folder)
        self._open()
        known = self._n_docs
        self.n_docs = n_docs if n_docs is not None else known or 1
        if known not in (None, self.n_docs):
            raise TeacherError(f"{self.folder} keeps scores over {known} documents, not {self.n_docs}; pairs are counted by them")
        if self.n_docs >= 2**31:
            raise TeacherError(f"{self.n_docs} documents are more than the {2**31 - 1} whose rows fit 4 bytes; split the collection")

    def __len__(self) -> int:
        self._gather()
        return len(self._main.documents) + len(self._recent[0])

    def pairs(self, query_rows: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
        """Return the integer of every (query_row, doc_row)."""
        return np.asarray(query_rows, dtype=np.int64) * self.n_docs + np.asarray(doc_rows, dtype=np.int64)

    def missing(self, pairs: np.ndarray) -> np.ndarray:
        """Return the pairs without a score, each once, sorted."""
        pairs = distinct(pairs)
        known = np.zeros(len(pairs), dtype=bool)
        for block in _blocks(len(pairs)):
            _, known[block] = self._search(pairs[block])
        return pairs[~known]

    def lookup(self, pairs: np.ndarray) -> np.ndarray:
        """Return the scores of pairs, float32 (n,).

        Raises:
            TeacherError: a pair has no score (a missing score is never 0, which would be the best log-probability).
        """
        if len(pairs) <= MERGE_PAIRS:
            scores, found = self._search(pairs)
        else:
            scores, found = np.empty(len(pairs), dtype=np.float32), np.empty(len(pairs), dtype=bool)
            for block in _blocks(len(pairs)):
                scores[block], found[block] = self._search(pairs[block])
        if not found.all():
            first = int(pairs[~found][0])
            raise TeacherError(
                f"{int((~found).sum())} of {len(pairs)} pairs have no teacher score, the first is query row {first // self.n_docs}, "
                f"document row {first % self.n_docs}; score them first (02_score)"
            )
        return scores

    def add(self, pairs: np.ndarray, scores: np.ndarray, seconds: tuple[float, float] = (0.0, 0.0)) -> None:
        """Write one shard of new scores, atomically, and take them in; merge the shards when they hold many pairs.

        Where a pair has a score already, that one stays.

        Args:
            pairs: (n,) integers.
            scores: (n,) raw scores.
            seconds: wall and CPU seconds that scoring them took.

        Raises:
            TeacherError: a score is not a finite number.
        """
        pairs, scores = np.asarray(pairs, dtype=np.int64), np.asarray(scores, dtype=np.float64)
        _check_finite(pairs, scores, self.n_docs)
        shard = {"pairs": pairs, "scores": np.round(scores, DECIMALS).astype(np.float32), "seconds": np.array(seconds, dtype=np.float64)}
        with files.writing(self.folder), _lock(self.folder):
            names = os.listdir(self.folder)
            for name in names:
                if name.startswith(".shard"):  # nobody else writes now, so a process was killed at it
                    durable.remove(self.folder / name)
            temporary = _drafted(self.folder, shard, self.n_docs)
            if self._number != _newest(names):  # another process has merged since
                self._open()
            self._take_in_shards(sorted(names))  # those of others, whose scores came first
            numbers = [int(found[2]) for found in map(_SHARD.fullmatch, names) if found and int(found[1]) == self._number]
            path = self.folder / f"shard-{self._number:06d}-{max(numbers, default=0) + 1:06d}.npz"
            durable.rename(temporary, path)
            self._take_in(path.name, shard)
            if self._n_new >= MERGE_PAIRS:
                self._merge()

    def tidy(self) -> None:
        """Merge the shards where they are many, or hold much beside what is merged: to be called when a scoring has ended."""
        if len(self._shards) > MERGE_SHARDS or (self._shards and self._n_new * MERGE_SHARE >= len(self._main.documents)):
            self.merge()

    def merge(self) -> None:
        """Merge all shards into the flat arrays: one pass over both, in blocks, so that memory does not grow with the number of pairs."""
        with files.writing(self.folder), _lock(self.folder):
            self._merge()

    def rate(self) -> np.ndarray:
        """Return wall and CPU seconds a pair, over everything that was ever scored here; 0 before anything was."""
        return self.seconds / max(len(self), 1)

    # --- reading ---

    def _open(self) -> None:
        """Map the newest arrays and read the shards beside them."""
        while True:
            names = _names(self.folder)
            try:
                self._read(names)
                return
            except FileNotFoundError:  # merged by another process since the folder was listed
                if names == _names(self.folder):
                    raise

    def _read(self, names: list[str]) -> None:
        self._number = _newest(names)
        self._main, main = Arrays.none(), self.folder / f"main-{self._number:06d}"
        if self._number and (wrong := damage_of_arrays(main, SMALL)):
            LOGGER.warning("%s/%s, so the pairs in these arrays are scored again when they are asked for", main, wrong)
        elif self._number:
            self._main = Arrays.open(main)
        self._n_docs = self._main.about["n_docs"]  # as the arrays or a shard say
        self.seconds = np.array([self._main.about["wall_seconds"], self._main.about["cpu_seconds"]])
        self._recent = np.zeros(0, np.int64), np.zeros(0, np.float32)  # sorted, and none of them in the arrays
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []  # taken in, but not sorted into the recent ones yet
        self._shards: list[str] = []
        self._n_new = 0  # pairs in them
        self._take_in_shards(names)

    def _take_in_shards(self, names: list[str]) -> None:
        """Take in the shards beside the arrays that are not taken in yet."""
        for name in names:
            numbered = _SHARD.fullmatch(name)
            if numbered and int(numbered[1]) == self._number and name not in self._shards:
                try:
                    shard = read_shard(self.folder / name)
                except TeacherError as error:
                    LOGGER.warning("%s, so its pairs are scored again when they are asked for", error)
                    continue
                self._n_docs = int(shard.pop("n_docs"))
                self._take_in(name, shard)

    def _take_in(self, name: str, shard: dict[str, np.ndarray]) -> None:
        self._shards.append(name)
        self._waiting.append((shard["pairs"], shard["scores"]))
        self._n_new += len(shard["pairs"])
        self.seconds = self.seconds + shard["seconds"]

    def _gather(self) -> None:
        """Sort the pairs that wait into the recent ones; where a pair stands twice, its first score stays."""
        if not self._waiting:
            return
        pairs, scores = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        order = np.argsort(pairs, kind="stable")  # of sorted shards it merges the runs
        order = order[np.append(True, np.diff(pairs[order]) > 0)[: len(order)]]
        pairs, scores = pairs[order], scores[order]
        known = self._main.search(pairs, self.n_docs)[1] | _find(self._recent[0], pairs)[1]
        pairs, scores = pairs[~known], scores[~known]
        places = np.searchsorted(self._recent[0], pairs)
        self._recent = np.insert(self._recent[0], places, pairs), np.insert(self._recent[1], places, scores)
        self._waiting = []

    def _search(self, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the score of each pair, and whether it has one."""
        pairs = np.asarray(pairs, dtype=np.int64)
        self._gather()
        places, found = self._main.search(pairs, self.n_docs)
        scores = self._main.scores.take(places, mode="clip") if len(self._main.scores) else np.zeros(len(pairs), dtype=np.float32)
        if len(self._recent[0]) and not found.all():
            left = np.flatnonzero(~found)
            places, recent = _find(self._recent[0], pairs[left])
            left = left[recent]
            found[left], scores[left] = True, self._recent[1][places[recent]]
        return scores, found

    def _merge(self) -> None:
        """Write the next number's arrays, from the last one's and the shards; the lock is held."""
        self._open()  # with the shards of other processes
        self._gather()
        pairs, scores = self._recent
        if not self._shards or not len(self):
            return
        draft = self.folder / ".main.tmp"
        shutil.rmtree(draft, ignore_errors=True)  # what a killed merge left
        draft.mkdir()
        start = time.perf_counter()
        about: About = {"n_docs": self.n_docs, "wall_seconds": float(self.seconds[0]), "cpu_seconds": float(self.seconds[1])}
        count = self._main.write(draft, pairs, scores, about, self.n_docs, MERGE_PAIRS)
        durable.rename(draft, self.folder / f"main-{self._number + 1:06d}")
        LOGGER.info("merged %d new pairs into %d, %.1f s", len(pairs), count, time.perf_counter() - start)
        _clear(self.folder, self._number + 1)
        self._open()


def _check_finite(pairs: np.ndarray, scores: np.ndarray, n_docs: int) -> None:
    bad = ~np.isfinite(scores)
    if bad.any():
        first = int(pairs[bad][0])
        raise TeacherError(
            f"the teacher gave {int(bad.sum())} scores that are no finite numbers, the first for query row {first // n_docs}, "
            f"document row {first % n_docs}; try precision fp32, or look at that text"
        )


def _drafted(folder: Path, shard: dict[str, np.ndarray], n_docs: int) -> Path:
    """Write a shard under a name that does not count."""
    temporary = folder / f".shard-{os.getpid()}.tmp"
    with temporary.open("wb") as stream:
        np.savez(stream, pairs=shard["pairs"], scores=shard["scores"], seconds=shard["seconds"], n_docs=np.array(n_docs))
    durable.flush(temporary)
    return temporary


def _lock(folder: Path) -> filelock.FileLock:
    folder.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(str(folder / ".lock"))


def _names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def _clear(folder: Path, number: int) -> None:
    """Delete the arrays and shards from before a number: what it holds already, and what an interrupted merge left."""
    for name in os.listdir(folder):
        main, shard = MAIN.fullmatch(name), _SHARD.fullmatch(name)
        if main and int(main[1]) < number:
            shutil.rmtree(folder / name, ignore_errors=True)
        if shard and int(shard[1]) < number:
            durable.remove(folder / name)


def read_shard(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a shard: n_docs, pairs, scores, seconds.

    Raises:
        TeacherError: the file is damaged.
    """
    try:
        with np.load(path) as shard:
            found = {part: shard[part] for part in ("n_docs", "pairs", "scores", "seconds")}
        if len(found["pairs"]) != len(found["scores"]) or found["seconds"].shape != (2,):
            raise ValueError("its arrays do not fit each other")
    except (
        zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, TypeError, NotImplementedError, AttributeError, IsADirectoryError,
    ) as error:  # fmt: skip
        raise TeacherError(f"{path} is damaged ({error})") from error
    return found


def score_missing(
    store: PairScores,
    pairs: np.ndarray,
    score: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *,
    chunk: int = 50_000,
    lengths: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    track: Track = untracked,
) -> int:
    """Score the pairs that have no score yet, a chunk at a time.

    Args:
        store: where scores are kept.
        pairs: integers as :meth:`PairScores.pairs` makes them.
        score: maps (query_rows, doc_rows) to raw scores.
        chunk: pairs per shard.
        lengths: maps (query_rows, doc_rows) to the lengths of pairs, such as their tokens: all that is missing is scored in this order, the
            longest first, so that the pairs of a chunk are of one length and its batches need no padding. None scores in the order of
            (query, document).
        track: wraps an iterable to show progress.

    Returns:
        How many pairs were scored.
    """
    missing = store.missing(pairs)
    if lengths is not None and len(missing) > chunk:
        missing = missing[np.argsort(-np.asarray(lengths(*np.divmod(missing, store.n_docs)), dtype=np.int64), kind="stable")]
    chunks = [missing[start : start + chunk] for start in range(0, len(missing), chunk)]
    for part in track(chunks, "teacher scores", len(chunks)):
        part = np.sort(part)
        wall, cpu = time.perf_counter(), cpu_seconds()
        scores = np.asarray(score(*np.divmod(part, store.n_docs)), dtype=np.float64)
        store.add(part, scores, (time.perf_counter() - wall, cpu_seconds() - cpu))
    if len(missing):
        store.tidy()
    return len(missing)


def distinct(pairs: np.ndarray) -> np.ndarray:
    """Return integers sorted, each once; those that are so already are not copied.

    >>> distinct(np.array([5, 2, 5])).tolist()
    [2, 5]
    """
    pairs = np.asarray(pairs, dtype=np.int64)
    if (pairs[1:] > pairs[:-1]).all():
        return pairs
    pairs = np.sort(pairs)  # by far the least memory: numpy's own unique keeps a hash table
    return pairs[np.append(True, pairs[1:] > pairs[:-1])]


def _newest(names: list[str]) -> int:
    """Return the highest number of the merged arrays among the names in a folder; 0 where nothing was merged yet."""
    return max((int(found[1]) for found in map(MAIN.fullmatch, names) if found), default=0)


def _blocks(n: int) -> list[slice]:
    return [slice(start, start + MERGE_PAIRS) for start in range(0, n, MERGE_PAIRS)]


def _find(known: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each pair would stand among the sorted ``known``, and whether it stands there."""
    places = np.searchsorted(known, pairs)
    found = np.zeros(len(pairs), dtype=bool)
    inside = places < len(known)
    found[inside] = known[places[inside]] == pairs[inside]
    return places, found


# --- scores made elsewhere --------------------------------------------------------------------------------------------------------


def read_scores(path: Path) -> pd.DataFrame:
    """Read scores made elsewhere: a Parquet file with query_id, doc_id and score, or a TREC run (see :func:`rd_utils.data.trec.scores`).

    Args:
        path: of the file; what it is is told by its content, a TREC run may be packed by gzip.

    Returns:
        Frame query_id, doc_id (str), score (float64), in the order of the file.

    Raises:
        TeacherError: the file is missing, damaged or lacks a column, an id is none, a score no finite number, or a pair stands twice.
    """
    return trec.scores(path, TeacherError)


def file_scorer(frame: pd.DataFrame, query_ids: pd.Series, doc_ids: pd.Series) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Make a function that looks scores up in a table.

    Pairs of the table with a query or document that is not listed are ignored.

    Args:
        frame: query_id, doc_id, score, as :func:`read_scores` gives it.
        query_ids: the ids of the query rows.
        doc_ids: the ids of the document rows.

    Returns:
        A function of (query_rows, doc_rows) that returns their scores (float64), and raises :class:`TeacherError` where the table lacks
        one: a missing score is never 0, which would be the best log-probability.

    >>> frame = pd.DataFrame({"query_id": ["q2", "q1"], "doc_id": ["d1", "d2"], "score": [-0.5, -2.0]})
    >>> score = file_scorer(frame, pd.Series(["q1", "q2"]), pd.Series(["d1", "d2"]))
    >>> score(np.array([0, 1]), np.array([1, 0])).tolist()
    [-2.0, -0.5]
    """
    n_docs = len(doc_ids)
    query_rows, doc_rows = rows_of(frame["query_id"], query_ids), rows_of(frame["doc_id"], doc_ids)
    known = (query_rows >= 0) & (doc_rows >= 0)
    pairs = query_rows[known] * n_docs + doc_rows[known]
    order = np.argsort(pairs)
    pairs, scores = pairs[order], frame["score"].to_numpy(dtype=np.float64)[known][order]

    def score(query_rows: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
        wanted = np.asarray(query_rows, dtype=np.int64) * n_docs + np.asarray(doc_rows, dtype=np.int64)
        places, found = _find(pairs, wanted)
        if not found.all():
            first = int(wanted[~found][0])
            raise TeacherError(
                f"{int((~found).sum())} of {len(wanted)} pairs have no score in the file, the first is query "
                f"{query_ids.iloc[first // n_docs]!r}, document {doc_ids.iloc[first % n_docs]!r}; score them with the teacher that made "
                "the file, or draw from documents that it scored"
            )
        return scores[places]

    return score


# --- noise and ensembles ----------------------------------------------------------------------------------------------------------


def pair_noise(pairs: np.ndarray, seed: int) -> np.ndarray:
    """Draw a standard normal deviate for every pair, fixed by (pair, seed) alone.

    Each pair seeds a SplitMix64 generator (Steele, Lea and Flood, 2014) of its own, whose first two outputs u1 in (0, 1] and u2 in [0, 1)
    become sqrt(-2 log u1) cos(2 pi u2) (Box and Muller, 1958). So a pair's noise depends neither on the other pairs nor on their order.

    Args:
        pairs: (n,) integers as :meth:`PairScores.pairs` makes them.
        seed: of the noise, at least 0.

    Returns:
        (n,) float64.

    >>> pair_noise(np.array([7, 8]), seed=0).round(3).tolist() == pair_noise(np.array([8, 7]), seed=0)[::-1].round(3).tolist()
    True
    """
    key = np.array([(seed + 1) * _GOLDEN % 2**64], dtype=np.uint64)
    state = _mix(np.asarray(pairs, dtype=np.int64).astype(np.uint64)) ^ _mix(key)
    first, second = (_mix(state + np.uint64(step * _GOLDEN % 2**64)) >> np.uint64(11) for step in (1, 2))  # 53 bits each
    return np.sqrt(-2.0 * np.log((first + np.uint64(1)) * 2.0**-53)) * np.cos(2.0 * np.pi * (second * 2.0**-53))


def _mix(bits: np.ndarray) -> np.ndarray:
    """Scramble 64-bit integers by SplitMix64's finaliser, a bijection (uint64 arithmetic wraps around)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def combine(scores: np.ndarray, means: np.ndarray, sds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average the standardised scores of several teachers, and say how far they disagree.

    ``z = (score - mean) / sd`` member by member; the ensemble's score is the mean of z over members, the disagreement its population SD.

    Args:
        scores: (members, n) raw scores.
        means: (members,) each member's mean over the calibration groups.
        sds: (members,) each member's SD over the calibration groups.

    Returns:
        (n,) scores and (n,) disagreements, in SDs of the members.

    Raises:
        TeacherError: a member scored all calibration groups alike, or the shapes do not fit.

    The first document has z = 1 under both teachers, the second z = 2 and z = -2:

    >>> combine(np.array([[3.0, 4.0], [20.0, -10.0]]), np.array([2.0, 10.0]), np.array([1.0, 10.0]))
    (array([1., 0.]), array([0., 2.]))
    """
    scores, means, sds = (np.asarray(values, dtype=np.float64) for values in (scores, means, sds))
    if scores.ndim != 2 or means.shape != scores.shape[:1] or sds.shape != scores.shape[:1]:
        raise TeacherError(
            f"scores have shape {scores.shape}, means {means.shape}, sds {sds.shape}; expected (members, n), (members,), (members,)"
        )
    flat = np.flatnonzero(~(sds >= 10.0**-DECIMALS))  # scores are kept to that precision
    if len(flat):
        raise TeacherError(
            f"{len(flat)} of {len(sds)} members have no spread over the calibration groups, the first is member {flat[0]} (counted from 0) "
            f"with an SD of {sds[flat[0]]:g}; leave it out, or calibrate on groups that it tells apart"
        )
    standardised = (scores - means[:, None]) / sds[:, None]
    return standardised.mean(axis=0), standardised.std(axis=0)

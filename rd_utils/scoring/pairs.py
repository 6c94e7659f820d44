"""Scores of pairs that are kept: what was scored once for any artefact is never scored again.

The scores of a teacher on a collection are an artefact that grows (``study.specs.PairsSpec``): nothing makes it as a whole, and
whoever needs pairs adds those that are missing, under a lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rd_utils.models.encoding import text_tokens
from rd_utils.scoring import teachers
from rd_utils.stages.docs import DOCS
from rd_utils.store import teacher_files, unchanged
from rd_utils.store.manifests import Charge
from rd_utils.study.kinds import Collection
from rd_utils.study.specs import PairsSpec
from rd_utils.study.stage import Given

if TYPE_CHECKING:
    from rd_utils.scoring.teacher_kinds import ScoringTeacher

Scorer = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of query rows and document rows (n,) each, scores (n,)


class Scored(NamedTuple):
    """Scores of pairs.

    Attributes:
        scores: float64 (n,).
        scored_now: how many different pairs had no score before.
        disagreement: (n,), of the teachers whose scores were combined; None where one alone scored.
    """

    scores: np.ndarray
    scored_now: int
    disagreement: np.ndarray | None = None


def kept_scores(teacher: ScoringTeacher, collection: Collection, query_rows: np.ndarray, doc_rows: np.ndarray, given: Given) -> Scored:
    """Return a teacher's scores of pairs, scoring those that are missing; the bill goes to the artefact that is being made."""
    n_docs = len(given(DOCS).frame)
    kept = teachers.PairScores(given.store.folder(PairsSpec(teacher=teacher, collection=collection)), n_docs)
    name = kept.folder.name
    pairs = kept.pairs(query_rows, doc_rows)
    wanted = teachers.distinct(pairs)
    scored, wall, cpu = 0, 0.0, 0.0
    if len(kept.missing(wanted)):  # where nothing is, nothing is written, a lock neither
        with given.store.lock(f"pairs-{name}", f"scores pairs of the teacher {name}", given.track):
            kept = teachers.PairScores(kept.folder, n_docs)
            before = kept.seconds
            scored = _score_missing(teacher, collection, kept, wanted, given)
        wall, cpu = (round(float(value), 3) for value in kept.seconds - before)
    if given.draft is not None:
        bill: Charge = {"teacher": name, "pairs": len(wanted), "scored_now": scored, "wall_seconds": wall, "cpu_seconds": cpu}
        given.draft.scoring.append(bill)
    return Scored(kept.lookup(pairs), scored)


def _score_missing(teacher: ScoringTeacher, collection: Collection, kept: teachers.PairScores, wanted: np.ndarray, given: Given) -> int:
    """Score the pairs that have no score yet; return how many these were."""
    if not len(kept.missing(wanted)):  # another process has scored them meanwhile
        return 0
    with unchanged(teacher_files(teacher), f"the scorer {teacher.tag}"):
        score = teacher.scorer(collection, given)
    if teacher.fast:
        return teachers.score_missing(kept, wanted, score, track=given.track)
    return teachers.score_missing(kept, wanted, score, chunk=2_000, lengths=pair_lengths(given), track=given.track)


def pair_lengths(given: Given) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return what tells the tokens of pairs whose texts a teacher reads together, before it cuts them."""
    queries, docs = (table.lengths() for table in text_tokens(given))
    return lambda query_rows, doc_rows: queries[query_rows] + docs[doc_rows]

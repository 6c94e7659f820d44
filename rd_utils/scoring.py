"""Teachers' scores of pairs: what was scored once for any artefact is kept, and never scored again.

The scores of a teacher on a collection are an artefact that grows (:class:`rd_utils.params.PairsSpec`): nothing makes it as a whole, and
whoever needs pairs adds those that are missing, under a lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from rd_utils import params, retrieval, teachers
from rd_utils.encoding import asking, on_device, open_encoder, text_tokens
from rd_utils.stage import Given
from rd_utils.stages.docs import DOCS
from rd_utils.stages.index import INDEX
from rd_utils.stages.queries import QUERIES
from rd_utils.stages.vectors import VECTORS
from rd_utils.store import resolve_path, teacher_files, unchanged

Scorer = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of query rows and document rows (n,) each, scores (n,)


def teacher_scores(
    teacher: Any, collection: params.Collection, query_rows: np.ndarray, doc_rows: np.ndarray, given: Given
) -> tuple[np.ndarray, int]:
    """Return a teacher's scores of pairs, scoring those that are missing; and how many were missing.

    Args:
        teacher: whoever scores.
        collection: whose queries and documents the rows count.
        query_rows: (n,).
        doc_rows: (n,).
        given: what :func:`rd_utils.graph.teacher_inputs` names.
    """
    if teacher.kind == "ensemble":
        scores, _, scored = ensemble_scores(teacher, collection, query_rows, doc_rows, given)
        return scores, scored
    if teacher.kind == "file":
        return scorer(teacher, collection, given)(query_rows, doc_rows), 0
    n_docs = len(given(DOCS).frame)
    kept = teachers.PairScores(given.store.folder(params.PairsSpec(teacher=teacher, collection=collection)), n_docs)
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
        bill = {"teacher": name, "pairs": len(wanted), "scored_now": scored, "wall_seconds": wall, "cpu_seconds": cpu}
        given.draft.scoring.append(bill)
    return kept.lookup(pairs), scored


def _score_missing(teacher: Any, collection: params.Collection, kept: teachers.PairScores, wanted: np.ndarray, given: Given) -> int:
    """Score the pairs that have no score yet; return how many these were."""
    if not len(kept.missing(wanted)):  # another process has scored them meanwhile
        return 0
    with unchanged(teacher_files(teacher), f"the scorer {teacher.kind}"):
        score = scorer(teacher, collection, given)
    if _scores_fast(teacher):
        return teachers.score_missing(kept, wanted, score, track=given.track)
    return teachers.score_missing(kept, wanted, score, chunk=2_000, lengths=pair_lengths(given), track=given.track)


def ensemble_scores(
    teacher: params.EnsembleTeacher, collection: params.Collection, query_rows: np.ndarray, doc_rows: np.ndarray, given: Given
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return an ensemble's scores of pairs, its disagreement about them, and how many pairs its members had not scored before."""
    from rd_utils.stages.scores import SCORES

    members, means, deviations, scored = [], [], [], 0
    for number, member in enumerate(teacher.members):
        calibration = given(SCORES, f"calibration_{number}").astype(np.float64)
        means.append(calibration.mean())
        deviations.append(calibration.std())
        scores, new = teacher_scores(member, collection, query_rows, doc_rows, given.part(f"member_{number}_"))
        members.append(scores)
        scored += new
    return *teachers.combine(np.stack(members), np.array(means), np.array(deviations)), scored


def scorer(teacher: Any, collection: Any, given: Given) -> Scorer:
    """Return what scores pairs of a collection's queries and documents."""
    queries, docs = given(QUERIES).frame, given(DOCS).frame
    if teacher.kind == "oracle":
        return _oracle(teacher, collection, queries["query_id"], len(docs))
    if teacher.kind == "file":
        return teachers.file_scorer(teachers.read_scores(resolve_path(teacher.path)), queries["query_id"], docs["doc_id"])
    if teacher.kind == "bm25":
        return retrieval.bm25_scorer(given(INDEX), queries["text"], teacher.retriever)
    from rd_utils import models

    if teacher.kind in ("trained", "encoder"):
        system = params.StudentSystem(student=teacher.student) if teacher.kind == "trained" else teacher.encoder
        precision = teacher.student.training.precision if teacher.kind == "trained" else teacher.precision
        student = open_encoder(system, given)
        if isinstance(student.architecture, params.BI_ENCODERS):
            query_vectors, doc_vectors = asking(student, text_tokens(given)[0], precision=precision), given(VECTORS)
            return lambda query_rows, doc_rows: np.einsum("nd,nd->n", query_vectors[query_rows], doc_vectors[doc_rows])
    else:
        student = on_device(models.load_scorer(teacher.model, max_length=teacher.max_length, max_query_length=teacher.max_query_length))
        precision = teacher.precision
    texts = text_tokens(given)
    return lambda query_rows, doc_rows: student.score_pairs(*texts, query_rows, doc_rows, precision=precision)


def _oracle(teacher: params.Oracle, collection: params.EmbeddedCollection, query_ids: pd.Series, n_docs: int) -> Scorer:
    from rd_utils import synthetic

    generated = synthetic.generate(collection.profile, collection.world, collection.seed)
    rows = pd.Index(generated.queries[collection.split]["query_id"]).get_indexer(pd.Index(query_ids))
    least = np.log(teacher.floor)

    def oracle(query_rows: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
        scores = np.maximum(generated.oracle_scores(collection.split, rows[query_rows], doc_rows), least)
        if teacher.noise:
            scores = scores + teacher.noise * teachers.pair_noise(rows[query_rows] * n_docs + doc_rows, teacher.noise_seed)
        return scores

    return oracle


def _scores_fast(teacher: Any) -> bool:
    """Tell whether a teacher scores a pair without reading its texts together."""
    system = params.TeacherSystem(teacher=teacher)
    return teacher.kind in ("oracle", "bm25") or isinstance(params.architecture_of(system), (*params.BI_ENCODERS, params.InteractionCross))


def pair_lengths(given: Given) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return what tells the tokens of pairs whose texts a teacher reads together, before it cuts them."""
    queries, docs = (table.lengths() for table in text_tokens(given))
    return lambda query_rows, doc_rows: queries[query_rows] + docs[doc_rows]

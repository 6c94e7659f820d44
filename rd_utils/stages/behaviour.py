"""What a student is like before and after training: its own space, if it has one, and its scores beside those of a teacher."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import pandas as pd

from rd_utils.analysis import behaviour, locality
from rd_utils.cost.workload import SECONDS, Counter, Work
from rd_utils.data import collections
from rd_utils.models.encoding import asking, encoded, on_device, text_tokens, untrained
from rd_utils.scoring import entropy
from rd_utils.stages.docs import DOCS
from rd_utils.stages.groups import GROUPS
from rd_utils.stages.queries import QUERIES
from rd_utils.stages.scores import SCORES
from rd_utils.stages.student import STUDENT
from rd_utils.store import Draft, identity
from rd_utils.study.graph import architecture_inputs, collection_inputs
from rd_utils.study.kinds import BiArchitecture, DualArchitecture
from rd_utils.study.specs import BehaviourSpec, Probe, ScoresSpec, StudentSpec
from rd_utils.study.stage import Given, Inputs, Stage
from rd_utils.workflow.progress import LOGGER

if TYPE_CHECKING:
    from rd_utils.models import Student


def _inputs(spec: BehaviourSpec) -> Inputs:
    student, collection = spec.student, spec.student.groups.collection
    scores: Inputs = {"scores": ScoresSpec(groups=student.groups, teacher=spec.teacher)} if spec.teacher else {}
    texts = collection_inputs(collection) | architecture_inputs(student.architecture, collection, collection)
    return {"student": student, "groups": student.groups} | scores | texts


class _Asked(NamedTuple):
    """What a student is asked: groups (n, group_size) of its training queries, and a sample of documents, as rows."""

    query_rows: np.ndarray
    doc_rows: np.ndarray
    sample: np.ndarray


class _Answer(NamedTuple):
    """What a student says: scores of the groups; of a bi-encoder, embeddings of the documents in ``rows``, and of the groups' queries."""

    scores: np.ndarray
    vectors: np.ndarray | None
    rows: np.ndarray
    queries: np.ndarray | None


def _make(spec: BehaviourSpec, given: Given, draft: Draft) -> None:
    own, groups = spec.student, given(GROUPS)
    sample, keep = _probe(spec.probe, given, draft)
    asked = _Asked(groups.query_rows[keep], groups.doc_rows.astype(np.int64)[keep], sample)
    query_ids = groups.frame.loc[keep, "query_id"].to_numpy()
    teacher = given(SCORES)[keep] if spec.teacher else None
    temperature = given.manifest("student")["counts"]["temperature"]
    dimension = _density_dimension(own, asked, given)
    measured, bins, summary = [], [], []
    for state in ("before", "after"):
        student = on_device(untrained(own.architecture, own.seed, given)) if state == "before" else given(STUDENT)
        answer = _answered(student, own, asked, given)
        values = _of_space(answer, asked, dimension, state, draft)
        frame = pd.DataFrame({"query_id": query_ids})
        if len(frame):
            frame = _of_groups(frame, answer, asked, values)
            if teacher is not None:
                frame["divergence"] = behaviour.divergence(teacher, answer.scores, temperature)
                table, calibration = behaviour.calibration(teacher, answer.scores, temperature=temperature, direction="student")
                bins.append(table.assign(state=state))
                values |= {f"calibration_{name}": value for name, value in calibration._asdict().items()}
        if "diameter_q99" in frame:
            draft.dropped[f"groups_without_distance_{state}"] = int(frame["diameter_q99"].isna().sum())
            frame = frame[frame["diameter_q99"].notna()]
        measured.append(frame.assign(state=state))
        summary += [{"state": state, "quantity": name, "value": float(value)} for name, value in values.items()]
    tables = {"groups": pd.concat(measured, ignore_index=True)}
    tables |= {"summary": pd.DataFrame(summary, columns=["state", "quantity", "value"])}
    tables |= {"calibration": pd.concat(bins, ignore_index=True)} if bins else {}
    for name, table in tables.items():
        table.to_parquet(draft.folder / f"{name}.parquet", index=False)
    draft.counts |= {"groups": int(keep.sum()), "documents": len(sample), "temperature": temperature}


def _probe(probe: Probe, given: Given, draft: Draft) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the documents that are looked at, and which groups are."""
    rng = np.random.default_rng(probe.seed)
    query_ids = rng.permutation(given(QUERIES).frame["query_id"].to_numpy())[: probe.queries]
    has_word = collections.has_word(given(DOCS).frame["text"])
    sample = np.sort(rng.permutation(np.flatnonzero(has_word))[: probe.docs])
    draft.dropped["documents_without_word"] = int((~has_word).sum())
    groups = given(GROUPS).frame
    return sample, ((groups["draw"] == 0) & groups["query_id"].isin(set(query_ids))).to_numpy()


def _of_space(answer: _Answer, asked: _Asked, dimension: float, state: str, draft: Draft) -> dict[str, float]:
    """Return what a bi-encoder's space is like: uniformity, rank, dimension, density; empty for others."""
    if answer.vectors is None:
        return {}
    values: dict[str, float] = {}
    space = answer.vectors[np.searchsorted(answer.rows, asked.sample)]
    space = space[space.any(axis=1)]  # a student may know no word of a text
    for name, measure in (
        ("uniformity", behaviour.uniformity),
        ("effective_rank", behaviour.effective_rank),
        ("intrinsic_dimension", lambda vectors: behaviour.two_nn(vectors).dimension),
        ("log_density", lambda vectors: behaviour.knn_density(np.unique(vectors, axis=0), dimension=dimension).mean()),
    ):
        try:
            values[name] = float(measure(space))
        except ValueError as reason:  # a space that collapsed to a few points has none; a finding, not a reason to stop
            LOGGER.warning("%s training, the space has no %s: %s", state, name.replace("_", " "), reason)
            draft.dropped[f"{name}_{state}"] = 1
    return values


def _of_groups(frame: pd.DataFrame, answer: _Answer, asked: _Asked, values: dict[str, float]) -> pd.DataFrame:
    """Add what a student makes of each group: diameters and the alignment of a space, the entropies and the shape of scores."""
    if answer.vectors is not None and answer.queries is not None:
        places = np.searchsorted(answer.rows, asked.doc_rows)
        frame = frame.join(locality.diameters(answer.vectors, places))
        positives = answer.vectors[places[:, 0]]
        told = answer.queries.any(axis=1) & positives.any(axis=1)
        if told.any():
            values["alignment"] = behaviour.alignment(answer.queries[told], positives[told])
    frame = frame.join(entropy.entropies(answer.scores).add_prefix("student_"))
    return frame.join(behaviour.score_shape(answer.scores).add_prefix("score_"))


def _density_dimension(spec: StudentSpec, asked: _Asked, given: Given) -> float:
    """Return the intrinsic dimension of seed 0's space before training: the unit of densities, one for all students of a kind.

    It is kept in memory, because a notebook asks for it once a student.
    """
    if not isinstance(spec.architecture, BiArchitecture):
        return float("nan")
    nothing = np.zeros(0, dtype=np.int64)

    def measure() -> float:
        student = on_device(untrained(spec.architecture, 0, given))
        answer = _answered(student, spec, _Asked(nothing, nothing.reshape(0, spec.groups.group_size), asked.sample), given)
        return behaviour.two_nn(cast("np.ndarray", answer.vectors)).dimension

    docs = identity(given.spec("docs", DOCS))
    return given.once(("dimension", spec.architecture, spec.training.precision, docs, asked.sample.tobytes()), measure)


def _answered(student: Student, spec: StudentSpec, asked: _Asked, given: Given) -> _Answer:
    """Ask a student for its scores, and a bi-encoder for its embeddings."""
    from rd_utils.models.tokens import take

    (queries, docs), precision = text_tokens(given), spec.training.precision
    query_rows, doc_rows, sample = asked
    if not isinstance(spec.architecture, BiArchitecture):
        repeated = np.repeat(query_rows, doc_rows.shape[1])
        scores = student.score_pairs(queries, docs, repeated, doc_rows.ravel(), precision=precision)
        return _Answer(np.asarray(scores, dtype=np.float64).reshape(doc_rows.shape), None, sample, None)
    rows, asking_rows = np.union1d(sample, doc_rows), np.unique(query_rows)
    vectors = encoded(student, take(docs, rows), kind="document", precision=precision)
    if not len(asking_rows):
        return _Answer(np.zeros(doc_rows.shape), vectors, rows, None)
    own = asking(student, take(queries, asking_rows), precision=precision)[np.searchsorted(asking_rows, query_rows)]
    scores = np.einsum("nd,ngd->ng", own, vectors[np.searchsorted(rows, doc_rows)], dtype=np.float64)
    return _Answer(scores, vectors, rows, own)


def _read(folder: Path, spec: BehaviourSpec, given: Given) -> dict[str, pd.DataFrame]:
    return {path.stem: collections.read_table(folder, path.stem) for path in sorted(folder.glob("*.parquet"))}


def _work(spec: BehaviourSpec, counter: Counter) -> Work:
    own, probe = spec.student, spec.probe
    architecture, collection = own.architecture, own.groups.collection
    pairs = probe.queries * own.groups.group_size
    if isinstance(architecture, DualArchitecture):
        tokens, counted = counter.encoding(architecture, collection, collection, 2 * (probe.docs + pairs) + probe.docs, 2 * probe.queries)
    else:
        tokens, counted = counter.scoring(architecture, collection, collection, 2 * pairs)
    work = Work("behaviour", documents=2 * pairs, tokens=tokens, mode="infer", precision=own.training.precision, disk=1e5)
    work = replace(work, cpu_seconds=probe.docs * SECONDS["document probed"])
    return counter.model(work, architecture, counted, model_memory=4 * counter.weights(architecture, collection))


BEHAVIOUR = Stage(
    name="behaviour",
    version=1,
    spec=BehaviourSpec,
    inputs=_inputs,
    make=_make,
    work=_work,
    read=_read,
    libraries=("rd_utils.models",),
)

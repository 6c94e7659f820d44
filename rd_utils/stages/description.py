"""What training groups are like, before and after augmentation: diameter, entropies, density ratio."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from rd_utils.analysis import locality
from rd_utils.cost.workload import SECONDS, Counter, Work
from rd_utils.models.encoding import encoded, text_tokens
from rd_utils.scoring import entropy
from rd_utils.stages.groups import GROUPS
from rd_utils.stages.scores import SCORES
from rd_utils.stages.student import augmented_texts, targets
from rd_utils.stages.vectors import VECTORS
from rd_utils.store import Draft
from rd_utils.study.graph import vectors_of
from rd_utils.study.settings import Augmentation
from rd_utils.study.specs import DescriptionSpec, ScoresSpec
from rd_utils.study.stage import Given, Inputs, Stage


def _inputs(spec: DescriptionSpec) -> Inputs:
    collection = spec.groups.collection
    scores: Inputs = {"scores": ScoresSpec(groups=spec.groups, teacher=spec.teacher)} if spec.teacher else {}
    texts = spec.reference.inputs(collection) if spec.augmentation.document_span < 1 else {}
    return {"groups": spec.groups, "vectors": vectors_of(collection, spec.reference)} | scores | texts


def _make(spec: DescriptionSpec, given: Given, draft: Draft) -> None:
    groups = given(GROUPS)
    doc_rows, told = groups.doc_rows.astype(np.int64), groups.frame
    scores = given(SCORES) if spec.teacher else None
    after_scores, temperature = targets(spec, given)
    base = 1.0 if spec.target_entropy is not None else spec.temperature
    states = {"before": (given(VECTORS), scores, base)}
    if spec.augmentation != Augmentation() or spec.target_entropy is not None:
        vectors = _augmented_vectors(spec, given) if spec.augmentation.document_span < 1 else given(VECTORS)
        states["after"] = (vectors, after_scores, temperature)
    frames = []
    for state, (vectors, of_state, divisor) in states.items():
        frame = locality.diameters(vectors, doc_rows).assign(query_id=told["query_id"], density_ratio=told["density_ratio"])
        if of_state is not None:
            frame = frame.join(entropy.entropies(of_state, divisor))
        frames.append(frame.assign(state=state))
    table = pd.concat(frames, ignore_index=True)
    measured = table["diameter_q99"].notna()  # missing where fewer than two documents of a group have a word
    table[measured].reset_index(drop=True).to_parquet(draft.folder / "description.parquet", index=False)
    draft.counts |= {"groups": len(groups), "temperature": temperature}
    draft.dropped["groups_without_distance"] = int((~measured).sum()) // len(states)
    wordless = ~np.asarray(given(VECTORS)[np.unique(doc_rows)]).any(axis=1)
    draft.dropped["documents_without_word"] = int(wordless.sum())


def _augmented_vectors(spec: DescriptionSpec, given: Given) -> np.ndarray:
    """Return the embeddings of the documents as the first epoch reads them."""
    student = spec.reference.open(given)
    _, docs = augmented_texts(spec.augmentation, student, *text_tokens(given), spec.seed)(0)
    return encoded(student, docs, kind="document")


def _read(folder: Path, spec: DescriptionSpec, given: Given) -> pd.DataFrame:
    return pd.read_parquet(folder / "description.parquet")


def _work(spec: DescriptionSpec, counter: Counter) -> Work:
    groups = counter.groups(spec.groups)
    return Work("description", cpu_seconds=groups * SECONDS["group described"], disk=100 * groups, memory=1000 * groups)


DESCRIPTION = Stage(name="description", version=1, spec=DescriptionSpec, inputs=_inputs, make=_make, work=_work, read=_read)

"""Training groups: a query, a positive in column 0 and negatives drawn by a strategy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rd_utils.cost.workload import BYTES, SECONDS, Counter, Work
from rd_utils.data import collections
from rd_utils.mining import sampling
from rd_utils.scoring import entropy
from rd_utils.stages.candidates import misfit
from rd_utils.stages.docs import DOCS
from rd_utils.stages.queries import QUERIES
from rd_utils.stages.vectors import VECTORS
from rd_utils.store import Draft
from rd_utils.study.graph import collection_inputs
from rd_utils.study.specs import EntropyCut, GroupsSpec, ScoresSpec
from rd_utils.study.stage import Given, Inputs, Stage, prefixed


def _inputs(spec: GroupsSpec) -> Inputs:
    texts = collection_inputs(spec.collection)
    if spec.cut is not None:
        groups = spec.model_copy(update={"cut": None})
        return texts | {"groups": groups, "scores": ScoresSpec(groups=groups, teacher=spec.cut.teacher)}
    own = prefixed("strategy_", spec.strategy.inputs(spec.collection))
    return texts | own | (prefixed("fill_", spec.shortage.inputs(spec.collection)) if spec.shortage != "drop" else {})


def _make(spec: GroupsSpec, given: Given, draft: Draft) -> None:
    if spec.cut is not None:
        _cut(spec, spec.cut, given, draft)
        return
    queries, docs = given(QUERIES), given(DOCS)
    wordless = _without_word(given)
    own = given.part("strategy_")
    pool, draft.dropped["false_negatives"] = spec.strategy.pool(spec.collection, own, wordless[1])
    fill, n_filtered = None, 0
    if spec.shortage != "drop":
        fill, n_filtered = spec.shortage.pool(spec.collection, given.part("fill_"), wordless[1])
    draft.dropped["false_negatives_of_the_fill"] = n_filtered
    drawn = sampling.draw_groups(
        docs.frame["doc_id"],
        queries.qrels,
        strategy=spec.strategy,
        group_size=spec.group_size,
        shortage=spec.shortage,
        seed=spec.seed,
        draws=spec.draws,
        random_share=spec.random_share,
        query_ids=queries.frame["query_id"],
        candidates=pool,
        fill_candidates=fill,
        vectors=own(VECTORS) if "vectors" in own else None,
        without_word=wordless,
        why_short=lambda: misfit(getattr(spec.strategy, "retriever", None), given),
        track=given.track,
    )
    drawn.save(draft.folder / "groups.parquet")
    draft.counts |= drawn.counts
    draft.dropped |= drawn.dropped


def _without_word(given: Given) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of a collection's queries, and of its labelled positives, that have no word."""
    docs, queries = given(DOCS), given(QUERIES)
    found = queries.positives(docs)[1]
    rows = np.unique(found[found >= 0])
    wordless = ~collections.has_word(queries.frame["text"])
    return np.flatnonzero(wordless), rows[~collections.has_word(docs.frame["text"].take(rows))]


def _cut(spec: GroupsSpec, cut: EntropyCut, given: Given, draft: Draft) -> None:
    """Keep the groups of the queries whose teacher entropy lies in one part of the distribution."""
    groups, scores = given(GROUPS), given.open("scores")
    query_ids = groups.query_ids.take(groups.query_rows).tolist()
    kept = groups.take(entropy.cut_queries(query_ids, scores, entropy=cut.entropy, temperature=cut.temperature, part=cut.part))
    kept.save(draft.folder / "groups.parquet")
    n_queries = len(np.unique(kept.query_rows))
    draft.counts |= {"groups": len(kept), "queries": n_queries, "documents": len(kept) * spec.group_size}
    draft.dropped |= {"groups_of_other_parts": len(groups) - len(kept)}


def _read(folder: Path, spec: GroupsSpec, given: Given) -> sampling.Groups:
    return sampling.Groups.load(folder / "groups.parquet", given(QUERIES).frame["query_id"], given(DOCS).frame["doc_id"])


def _work(spec: GroupsSpec, counter: Counter) -> Work:
    documents, sizes = counter.groups(spec) * spec.group_size, counter.known.sizes(spec.collection)
    pool = spec.strategy.pool_of(spec.collection) if spec.cut is None else None
    read = sizes.queries * min(pool.depth, sizes.docs) if pool else 0.0
    seconds = documents * SECONDS["document of a group"] + read * SECONDS["pair looked up"]
    if spec.cut is None:
        seconds += spec.strategy.seconds_more(counter.groups(spec))
    kind = f"groups {spec.strategy.kind}" if spec.cut is None else "groups cut"
    return Work(kind, cpu_seconds=seconds, disk=documents * BYTES["document of a group"], memory=40 * read + 60 * documents)


GROUPS = Stage(name="groups", version=1, spec=GroupsSpec, inputs=_inputs, make=_make, work=_work, read=_read)

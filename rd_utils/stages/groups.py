"""Training groups: a query, a positive in column 0 and negatives drawn by a strategy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rd_utils import collections, entropy, params, sampling
from rd_utils.graph import collection_inputs, pool_of, teacher_inputs, vectors_of
from rd_utils.runs import Run, named
from rd_utils.scoring import teacher_scores
from rd_utils.stage import Given, Inputs, Stage, prefixed
from rd_utils.stages.candidates import CANDIDATES, misfit
from rd_utils.stages.docs import DOCS
from rd_utils.stages.neighbours import NEIGHBOURS
from rd_utils.stages.queries import QUERIES
from rd_utils.stages.vectors import VECTORS
from rd_utils.store import Draft
from rd_utils.workload import BYTES, SECONDS, Counter, Work


def _inputs(spec: params.GroupsSpec) -> Inputs:
    texts = collection_inputs(spec.collection)
    if spec.cut is not None:
        groups = spec.model_copy(update={"cut": None})
        return texts | {"groups": groups, "scores": params.ScoresSpec(groups=groups, teacher=spec.cut.teacher)}
    own = prefixed("strategy_", _pool_inputs(spec.strategy, spec.collection))
    if spec.strategy.kind == "diameter_targeted":
        own["vectors"] = vectors_of(spec.collection, spec.strategy.reference)
    return texts | own | (prefixed("fill_", _pool_inputs(spec.shortage, spec.collection)) if spec.shortage != "drop" else {})


def _pool_inputs(strategy: Any, collection: params.Collection) -> Inputs:
    """Return what a strategy draws from, and what the teacher needs that filters it."""
    pool, keep = pool_of(strategy, collection), getattr(strategy, "filter", None)
    drawn: Inputs = {} if pool is None else {"pool": pool}
    return drawn | (prefixed("filter_", teacher_inputs(keep.teacher, collection)) if keep is not None else {})


def _make(spec: params.GroupsSpec, given: Given, draft: Draft) -> None:
    if spec.cut is not None:
        _cut(spec, spec.cut, given, draft)
        return
    queries, docs = given(QUERIES), given(DOCS)
    wordless = _without_word(given)
    pool, draft.dropped["false_negatives"] = _pool(spec.strategy, spec.collection, given, "strategy_", wordless[1])
    fill, n_filtered = (None, 0) if spec.shortage == "drop" else _pool(spec.shortage, spec.collection, given, "fill_", wordless[1])
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
        vectors=given(VECTORS) if "vectors" in given else None,
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


def _pool(
    strategy: Any, collection: params.Collection, given: Given, prefix: str, wordless: np.ndarray
) -> tuple[Run | None, int]:
    """Return what a strategy draws from, likely false negatives left out where it filters, and how many these were.

    The score of a positive without a word is no measure, so ``wordless`` documents set none.
    """
    own, keep = given.part(prefix), getattr(strategy, "filter", None)
    if "pool" not in own:
        return None, 0
    pool = own(NEIGHBOURS if strategy.kind == "graph" else CANDIDATES, "pool")
    if keep is None:
        return pool, 0
    queries, docs = given(QUERIES).positives(given(DOCS))
    usable = (docs >= 0) & ~np.isin(docs, wordless)
    queries, docs = queries[usable], docs[usable]
    pairs = np.concatenate([pool.rows(), queries]), np.concatenate([pool.docs, docs])
    scores, _ = teacher_scores(keep.teacher, collection, *pairs, own.part("filter_"))
    lowest = np.full(len(pool), np.nan)
    np.fmin.at(lowest, queries, scores[len(pool.docs) :])
    trained_on = ~np.isnan(lowest)[pool.rows()]  # no group is drawn for a query without a positive
    return sampling.filter_false_negatives(
        pool.keep(trained_on), scores[: len(pool.docs)][trained_on], lowest, rule=keep.rule, value=keep.value, units=keep.units
    )


def _cut(spec: params.GroupsSpec, cut: params.EntropyCut, given: Given, draft: Draft) -> None:
    """Keep the groups of the queries whose teacher entropy lies in one part of the distribution."""
    from rd_utils.stages.scores import SCORES

    groups, scores = given(GROUPS), given(SCORES)
    query_ids = named(groups.query_ids, groups.query_rows)
    kept = groups.take(entropy.cut_queries(query_ids, scores, entropy=cut.entropy, temperature=cut.temperature, part=cut.part))
    kept.save(draft.folder / "groups.parquet")
    n_queries = len(np.unique(kept.query_rows))
    draft.counts |= {"groups": len(kept), "queries": n_queries, "documents": len(kept) * spec.group_size}
    draft.dropped |= {"groups_of_other_parts": len(groups) - len(kept)}


def _read(folder: Path, spec: params.GroupsSpec, given: Given) -> sampling.Groups:
    return sampling.Groups.load(folder / "groups.parquet", given(QUERIES).frame["query_id"], given(DOCS).frame["doc_id"])


def _work(spec: params.GroupsSpec, counter: Counter) -> Work:
    documents, sizes = counter.groups(spec) * spec.group_size, counter.known.sizes(spec.collection)
    pool = pool_of(spec.strategy, spec.collection) if spec.cut is None else None
    read = sizes.queries * min(pool.depth, sizes.docs) if pool else 0.0
    seconds = documents * SECONDS["document of a group"] + read * SECONDS["pair looked up"]
    if spec.strategy.kind == "diameter_targeted" and spec.cut is None:
        seconds += counter.groups(spec) * spec.strategy.trials * SECONDS["group described"]
    kind = f"groups {spec.strategy.kind}" if spec.cut is None else "groups cut"
    return Work(kind, cpu_seconds=seconds, disk=documents * BYTES["document of a group"], memory=40 * read + 60 * documents)


GROUPS = Stage(name="groups", version=1, spec=params.GroupsSpec, inputs=_inputs, make=_make, work=_work, read=_read)

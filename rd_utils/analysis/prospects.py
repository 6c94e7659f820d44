"""What is known of a training collection before a student is trained on it: sizes, words that queries and positives share, score shapes.

All of it comes from texts, labels, BM25 and the teacher on the training queries; no test query is read. These are the features from which a
recipe can be predicted for a collection on which nothing was trained.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from rd_utils.scoring import entropy
from rd_utils.study import params

if TYPE_CHECKING:
    import pandas as pd

    from rd_utils.study.plan import Plan
    from rd_utils.workflow.pipeline import Pipeline

FEATURES = {
    "documents": "documents",
    "training_queries": "training queries with a labelled positive",
    "positives": "labelled positives a query",
    "document_words": "words of a document, median",
    "query_words": "words of a query, median",
    "overlap": "share of a query's words that its positive has, weighted by inverse document frequency",
    "bm25_found": "share of labelled positives among BM25's top 100",
    "bm25_reciprocal_rank": "reciprocal rank of the first labelled positive in BM25's top 100, 0 where there is none",
    "bm25_drop": "how much BM25's score falls from rank 1 to rank 10, as a share of the former",
    "teacher_reciprocal_rank": "reciprocal rank of the positive in its BM25 group by the teacher",
    "teacher_above": "share of BM25 negatives that the teacher scores above the positive: likely false negatives, or its errors",
    "teacher_entropy": "pairwise entropy of the teacher on BM25 groups at temperature 1, in bits",
}
"""What each feature is."""

_WORD = re.compile(r"\w+")


def prospects(plan: Plan, pipeline: Pipeline) -> dict[str, float]:
    """Return :data:`FEATURES` of a study's first training collection.

    A study without cells of the strategy ``bm25`` with a teacher lacks those of the teacher; one without a BM25 first stage those of BM25.
    """
    collection = plan.study.collections[0].train
    docs, queries, qrels = pipeline.docs(collection), pipeline.queries(collection), pipeline.qrels(collection)
    positives = qrels[qrels["relevance"] > 0]
    found = {name: float(size) for name, size in _size(docs, positives).items()}
    found["positives"] = len(positives) / max(1.0, found["training_queries"])
    found |= shared_words(docs, queries, positives)
    retriever = next((stage.retriever for stage in plan.study.evaluation.first_stages if stage.retriever.kind == "bm25"), None)
    if retriever is not None:
        spec = params.CandidatesSpec(collection=collection, retriever=retriever, depth=100)
        found |= first_ranks(pipeline.candidates(spec), positives)
    for cell in plan.cells:
        student = next(iter(cell.students.values()))
        if cell.strategy == "bm25" and student.teacher is not None and student.groups.collection == collection:
            found |= against_positive(pipeline.group_scores(params.ScoresSpec(groups=student.groups, teacher=student.teacher)))
            break
    return found


def sizes(plan: Plan, pipeline: Pipeline) -> dict[str, dict[str, int]]:
    """Return the ``documents``, and the ``training_queries`` with a labelled positive, of every training collection, by its label."""
    found = {}
    for pair in plan.study.collections:
        qrels = pipeline.qrels(pair.train)
        found[pair.train.label] = _size(pipeline.docs(pair.train), qrels[qrels["relevance"] > 0])
    return found


def _size(docs: pd.DataFrame, positives: pd.DataFrame) -> dict[str, int]:
    return {"documents": len(docs), "training_queries": int(positives["query_id"].nunique())}


def shared_words(docs: pd.DataFrame, queries: pd.DataFrame, positives: pd.DataFrame) -> dict[str, float]:
    """Return the median lengths, in words, and how much of a query its positive says (``overlap``, a mean over labelled pairs).

    >>> import pandas as pd
    >>> docs = pd.DataFrame({"doc_id": ["d1", "d2", "d3"], "text": ["a red car", "a car", "a tree"]})
    >>> queries = pd.DataFrame({"query_id": ["q"], "text": ["Red truck"]})
    >>> found = shared_words(docs, queries, pd.DataFrame({"query_id": ["q"], "doc_id": ["d1"]}))
    >>> found["document_words"], found["query_words"], round(found["overlap"], 2)  # the truck, in no document, weighs more than red
    (2.0, 2.0, 0.32)
    """
    words = {key: _WORD.findall(text.lower()) for key, text in zip(docs["doc_id"], docs["text"], strict=True)}
    asked = {key: _WORD.findall(text.lower()) for key, text in zip(queries["query_id"], queries["text"], strict=True)}
    counts: dict[str, int] = {}
    for own in words.values():
        for word in set(own):
            counts[word] = counts.get(word, 0) + 1

    def weight(word: str) -> float:
        return float(np.log((len(words) + 1) / (counts.get(word, 0) + 0.5)))

    shares = []
    for query_id, doc_id in zip(positives["query_id"], positives["doc_id"], strict=True):
        own, said = set(asked.get(query_id, ())), set(words.get(doc_id, ()))
        if own:
            shares.append(sum(weight(word) for word in own & said) / sum(weight(word) for word in own))
    return {
        "document_words": float(np.median([len(own) for own in words.values()])),
        "query_words": float(np.median([len(own) for own in asked.values()])),
        "overlap": float(np.mean(shares)) if shares else float("nan"),
    }


def first_ranks(candidates: pd.DataFrame, positives: pd.DataFrame) -> dict[str, float]:
    """Return where BM25 has the labelled positives, and how its scores fall.

    Args:
        candidates: query_id, doc_id, score: the top of every query.
        positives: query_id, doc_id.
    """
    ranked = candidates.sort_values(["query_id", "score", "doc_id"], ascending=[True, False, True])
    ranked = ranked.assign(rank=ranked.groupby("query_id", sort=False).cumcount() + 1)
    labelled = positives[["query_id", "doc_id"]].drop_duplicates().merge(ranked[["query_id", "doc_id", "rank"]], how="left")
    best = labelled.groupby("query_id")["rank"].min()
    tops = ranked[ranked["rank"].isin([1, 10])].pivot(index="query_id", columns="rank", values="score").dropna()
    fall = (tops[1] - tops[10]) / tops[1] if {1, 10} <= set(tops.columns) else tops.sum(axis=1) * np.nan
    return {
        "bm25_found": float(labelled["rank"].notna().mean()),
        "bm25_reciprocal_rank": float((1 / best).fillna(0.0).mean()),
        "bm25_drop": float(fall.mean()),
    }


def against_positive(scores: np.ndarray) -> dict[str, float]:
    """Return how a teacher sees labelled positives among their negatives.

    Args:
        scores: (n, G), the positive in column 0.

    >>> found = against_positive(np.array([[2.0, 1.0, 3.0], [5.0, 0.0, 0.0]]))
    >>> found["teacher_reciprocal_rank"], found["teacher_above"]
    (0.75, 0.25)
    """
    above = scores[:, 1:] > scores[:, :1]
    return {
        "teacher_reciprocal_rank": float((1 / (above.sum(axis=1) + 1)).mean()),
        "teacher_above": float(above.mean()),
        "teacher_entropy": float(np.mean(entropy.pairwise_entropy(scores))),
    }

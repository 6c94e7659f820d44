"""Measure the worlds of the embedded collection and write ``docs/data/worlds.csv``: ``python -m docs.worlds``, two minutes.

With names of worlds it prints these alone, in profile ``--profile``, and writes nothing.
"""

from __future__ import annotations

import argparse
import datetime
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import rd_utils
from docs.tables import DATA
from rd_utils.data.runs import Run, tie_order
from rd_utils.data.synthetic import EmbeddedCollection, generate
from rd_utils.data.worlds import WORLDS
from rd_utils.evaluation import measures
from rd_utils.mining import bm25
from rd_utils.mining.retrievers import BM25
from rd_utils.scoring.entropy import pairwise_entropy

DEPTH, GROUP, FLOOR = 100, 16, 1e-4
HEAD = """\
# study: Profile default, seed 13
# version: {version}
# date: {date}
# command: python -m docs.worlds
# measure: nDCG@10 of the test queries; documents by grade, shares unlabelled among BM25's first and entropy of the train queries
"""


def top(collection: EmbeddedCollection, split: str) -> Run:
    """Return the top 100 of BM25 for the queries of a split."""
    docs, queries = collection.docs, collection.queries[split]
    with tempfile.TemporaryDirectory() as folder:
        index = bm25.build(docs["text"].astype("str"), BM25(), Path(folder))
        return bm25.search(index, bm25.words_of(queries["text"].astype("str"), index, BM25()), DEPTH, tie_order(docs["doc_id"]))


def ndcg(collection: EmbeddedCollection, run: Run) -> float:
    """Return the mean nDCG@10 of a run of the test queries."""
    queries, docs = collection.queries["test"]["query_id"], collection.docs["doc_id"]
    ranked = measures.rank(run, run.scores, queries, docs, tie_order(docs))
    values, _ = measures.measure_run(ranked, collection.qrels["test"], ("nDCG@10",))
    return float(values["value"].mean())


def measured(world: str, profile: str) -> dict[str, str]:
    """Return what a world is like: sizes, relevant and unlabelled documents, effectiveness of BM25 and oracle, the oracle's entropy."""
    collection = generate(profile, world)
    grades, train, test = collection.grades("train"), top(collection, "train"), top(collection, "test")
    labels = collection.qrels["train"]
    labelled = np.zeros(grades.shape, dtype=bool)
    rows = [pd.Index(ids).get_indexer(pd.Index(wanted)) for ids, wanted in (
        (collection.queries["train"]["query_id"], labels["query_id"]), (collection.docs["doc_id"], labels["doc_id"])
    )]  # fmt: skip
    labelled[rows[0], rows[1]] = True
    queries = train.rows()
    unlabelled = (grades[queries, train.docs] > 0) & ~labelled[queries, train.docs]
    near = train.ranks() <= 20

    every = collection.oracle_matrix("test")
    whole = Run(np.arange(len(every) + 1) * every.shape[1], np.tile(np.arange(every.shape[1], dtype=np.int32), len(every)), every.ravel())
    ranked = Run(test.offsets, test.docs, every[test.rows(), test.docs])

    generator, groups = np.random.default_rng(0), []
    for query in range(len(grades)):
        pool = train.docs[train.offsets[query] : train.offsets[query + 1]]
        pool = pool[~labelled[query, pool]]
        if len(pool) >= GROUP - 1:
            positive = generator.choice(np.flatnonzero(labelled[query]), 1)
            groups.append((query, np.append(positive, generator.choice(pool, GROUP - 1, replace=False))))
    pairs = np.repeat([query for query, _ in groups], GROUP), np.concatenate([docs for _, docs in groups])
    scores = np.maximum(collection.oracle_scores("train", *pairs), np.log(FLOOR)).reshape(-1, GROUP)

    def length(name: str) -> str:
        return f"{np.diff(collection._tokens[name].offsets).mean():.1f}"

    used = np.unique(np.concatenate([tokens.ids for tokens in collection._tokens.values()]))
    return {
        "world": world,
        "documents": str(len(collection.docs)),
        "document_words": length("docs"),
        "query_words": length("test"),
        "vocabulary": str(len(used)),
        **{f"grade_{grade}": f"{(grades == grade).sum(axis=1).mean():.1f}" for grade in (1, 2, 3)},
        "unlabelled_20": f"{unlabelled[near].mean():.2f}",
        "unlabelled_100": f"{unlabelled.mean():.2f}",
        "bm25": f"{ndcg(collection, test):.3f}",
        "oracle_reranking": f"{ndcg(collection, ranked):.3f}",
        "oracle": f"{ndcg(collection, whole):.3f}",
        "pairwise_entropy": f"{pairwise_entropy(scores).mean():.2f}",
    }


def main() -> None:
    """Measure the worlds that were named, or write the file of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("worlds", nargs="*", metavar="world", help=", ".join(WORLDS))
    parser.add_argument("--profile", default="default")
    asked = parser.parse_args()
    rows = []
    for world in asked.worlds or WORLDS:
        before = time.process_time()
        rows.append(measured(world, asked.profile))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # of all until here
        print(*rows[-1].items(), f"{time.process_time() - before:.1f} CPU s, peak {peak:.2f} GB", sep="\n  ")
    if not asked.worlds:
        head = HEAD.format(version=rd_utils.__version__, date=datetime.date.today())
        (DATA / "worlds.csv").write_text(head + pd.DataFrame(rows).to_csv(index=False), encoding="utf-8")


if __name__ == "__main__":
    main()

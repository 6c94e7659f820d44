"""Groups: who may stand in one, what is counted, and that draws are repeatable."""

from __future__ import annotations

import collections
import itertools
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from rd_utils import params, sampling
from rd_utils.sampling import SamplingError

DOC_IDS = pd.Series([f"d{i:02d}" for i in range(20)])
QRELS = pd.DataFrame([("q1", "d00", 1), ("q1", "d01", 2), ("q1", "d02", 0), ("q2", "d05", 1)], columns=["query_id", "doc_id", "relevance"])
CANDIDATES = pd.DataFrame(
    [("q1", f"d{i:02d}", 20.0 - i) for i in range(10)] + [("q2", f"d{i:02d}", 20.0 - i) for i in (5, 6, 7)],
    columns=["query_id", "doc_id", "score"],
)


def draw(strategy=None, group_size=4, shortage="drop", seed=0, qrels=QRELS, candidates=CANDIDATES, doc_ids=DOC_IDS):
    strategy = strategy or params.FromCandidates(depth=10)
    return sampling.draw_groups(
        doc_ids, qrels, strategy=strategy, group_size=group_size, shortage=shortage, seed=seed, candidates=candidates
    )


@pytest.mark.parametrize("strategy", [params.CorpusRandom(), params.FromCandidates(depth=10), params.FromCandidates(depth=10, draw="top")])
@pytest.mark.parametrize("seed", range(5))
def test_errata_17_18_no_known_positive_is_a_negative_and_groups_are_unique(strategy, seed):
    found = draw(strategy, shortage=params.CorpusRandom(), seed=seed)
    positives = {"q1": {"d00", "d01"}, "q2": {"d05"}}
    assert [(row.query_id, row.doc_ids[0]) for row in found.frame.itertuples()] == [("q1", "d00"), ("q1", "d01"), ("q2", "d05")]
    for row in found.frame.itertuples():
        assert len(set(row.doc_ids)) == 4
        assert not set(row.doc_ids[1:]) & positives[row.query_id]


def test_a_document_judged_irrelevant_may_be_a_negative():
    drawn = {doc_id for seed in range(20) for doc_id in draw(params.FromCandidates(depth=10), seed=seed).frame.doc_ids[0][1:]}
    assert "d02" in drawn


def test_erratum_20_top_takes_the_best_ranks_after_the_positives_are_out():
    found = draw(params.FromCandidates(depth=10, draw="top"))
    assert found.frame.doc_ids[0] == ["d00", "d02", "d03", "d04"]


def test_erratum_19_a_shortage_is_dropped_or_filled_and_counted():
    dropped = draw()  # q2 has two candidates besides its positive, and needs three
    assert dropped.frame["query_id"].tolist() == ["q1", "q1"]
    assert dropped.dropped["groups_for_shortage"] == 1
    filled = draw(shortage=params.CorpusRandom())
    last = filled.frame.iloc[2]
    assert (filled.counts["groups_filled"], filled.counts["documents_filled"], last.n_filled) == (1, 1, 1)
    assert {"d06", "d07"} < set(last.doc_ids)


def test_positives_outside_the_collection_are_counted():
    extra = pd.concat([QRELS, pd.DataFrame([("q2", "gone", 1)], columns=QRELS.columns)])
    assert draw(shortage=params.CorpusRandom(), qrels=extra).dropped["positives_not_in_collection"] == 1


def test_no_group_at_all_is_an_error_with_the_remedy():
    with pytest.raises(SamplingError, match="raise depth, lower group_size, or or let shortage fill from corpus_random"):
        draw(group_size=15)
    with pytest.raises(SamplingError, match="lower group_size"):
        draw(params.CorpusRandom(), group_size=20)


def test_erratum_26_the_same_seed_draws_the_same_and_another_does_not():
    same, again, other = (draw(params.CorpusRandom(), seed=seed).frame["doc_ids"].tolist() for seed in (3, 3, 4))
    assert same == again != other


def test_groups_of_a_query_do_not_depend_on_the_other_queries():
    alone = draw(params.CorpusRandom(), qrels=QRELS[QRELS.query_id == "q2"]).frame
    assert alone.doc_ids[0] == draw(params.CorpusRandom()).frame.doc_ids[2]


def test_draws_are_the_same_in_processes_with_other_hash_seeds():
    code = (
        "import pandas as pd; from rd_utils import params, sampling;"
        "q = pd.DataFrame([('q1', 'd3', 1)], columns=['query_id', 'doc_id', 'relevance']);"
        "print(sampling.draw_groups(pd.Series([f'd{i}' for i in range(50)]), q, strategy=params.CorpusRandom(), group_size=8,"
        " shortage='drop', seed=5).frame.doc_ids[0])"
    )
    found = {
        subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True).stdout
        for seed in ("1", "2")
    }
    assert found == {"['d3', 'd38', 'd46', 'd24', 'd17', 'd9', 'd11', 'd15']\n"}


@pytest.mark.parametrize(("n_docs", "excluded"), [(6, {0}), (40, {3, 4})])
def test_corpus_random_is_uniform_over_what_is_left(n_docs, excluded):
    """Chi-squared over all pairs of documents; alpha 0.001 with a fixed seed."""
    generator = np.random.default_rng(0)
    counts = collections.Counter(tuple(sorted(sampling.uniform_rows(n_docs, 2, excluded, generator).tolist())) for _ in range(8000))
    pairs = list(itertools.combinations(sorted(set(range(n_docs)) - excluded), 2))
    assert set(counts) <= set(pairs)
    assert stats.chisquare([counts[pair] for pair in pairs]).pvalue > 0.001

"""Teacher scores: once per pair, never missing, never 0 by default."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rd_utils import teachers
from rd_utils.teachers import PairScores, TeacherError


def counting(calls):
    def score(query_rows, doc_rows):
        calls.append(len(query_rows))
        return -(query_rows * 10.0 + doc_rows)

    return score


def test_only_missing_pairs_are_scored_and_the_rest_is_kept(tmp_path):
    calls: list[int] = []
    kept = PairScores(tmp_path, n_docs=100)
    first = kept.pairs(np.array([0, 0, 1]), np.array([5, 6, 5]))
    assert teachers.score_missing(kept, first, counting(calls)) == 3
    again = PairScores(tmp_path, n_docs=100)
    both = again.pairs(np.array([0, 1, 1, 1]), np.array([5, 5, 7, 7]))
    assert teachers.score_missing(again, both, counting(calls)) == 1
    assert calls == [3, 1]
    assert again.lookup(both).tolist() == [-5.0, -15.0, -17.0, -17.0]
    assert len(PairScores(tmp_path, n_docs=100)) == 4


def test_erratum_7_a_missing_score_is_an_error_not_0(tmp_path):
    kept = PairScores(tmp_path, n_docs=10)
    kept.add(np.array([3]), np.array([-1.0]))
    with pytest.raises(TeacherError, match="1 of 2 pairs have no teacher score, the first is query row 1, document row 4"):
        kept.lookup(np.array([3, 14]))


def test_scores_that_are_no_numbers_are_refused_before_they_are_kept(tmp_path):
    kept = PairScores(tmp_path, n_docs=10)
    with pytest.raises(TeacherError, match="1 scores that are no finite numbers, the first for query row 2, document row 1"):
        kept.add(np.array([20, 21]), np.array([0.5, np.nan]))
    assert len(PairScores(tmp_path, n_docs=10)) == 0


def test_an_interrupted_scoring_keeps_its_finished_chunks(tmp_path):
    kept = PairScores(tmp_path, n_docs=10)
    calls: list[int] = []

    def failing(query_rows, doc_rows):
        if calls:
            raise KeyboardInterrupt
        return counting(calls)(query_rows, doc_rows)

    with pytest.raises(KeyboardInterrupt):
        teachers.score_missing(kept, np.arange(10), failing, chunk=4)
    assert len(PairScores(tmp_path, n_docs=10)) == 4
    assert teachers.score_missing(PairScores(tmp_path, n_docs=10), np.arange(10), counting(calls), chunk=4) == 6


def test_a_half_written_shard_is_not_read(tmp_path):
    (tmp_path / ".abc.1.tmp").write_bytes(b"half")
    assert len(PairScores(tmp_path, n_docs=10)) == 0


def test_shards_are_parquet_with_one_row_a_pair(tmp_path):
    PairScores(tmp_path, n_docs=10).add(np.array([7, 12]), np.array([0.25, 1.0]))
    (shard,) = tmp_path.glob("*.parquet")
    assert pd.read_parquet(shard).to_dict("list") == {"pair": [7, 12], "score": [0.25, 1.0]}

"""Runs and measures: order, ties, judged and unjudged queries."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from rd_utils.data import runs
from rd_utils.data.runs import Run, RunError, tie_order
from rd_utils.evaluation.measures import EvaluationError, measure_run, parse_measures, rank, write_run

QRELS = pd.DataFrame([("q1", "a", 2), ("q1", "b", 1), ("q1", "c", 0), ("q2", "a", 1)], columns=["query_id", "doc_id", "relevance"])


def ranked(rows):
    frame = pd.DataFrame(rows, columns=["query_id", "doc_id", "score"])
    query_ids, doc_ids = (pd.Series(frame[name].unique()[::-1]) for name in ("query_id", "doc_id"))
    run = Run.from_frame(frame.assign(score=0.0), query_ids, doc_ids)
    scores = frame.set_index(["query_id", "doc_id"])["score"]
    pairs = zip(query_ids[run.rows()], doc_ids[run.docs], strict=True)
    return rank(run, scores.loc[list(pairs)].to_numpy(), query_ids, doc_ids, tie_order(doc_ids))


def values(run, *measures):
    table, counts = measure_run(run, QRELS, measures)
    return {(row.query_id, row.measure): row.value for row in table.itertuples()}, counts


def test_ndcg_by_hand_with_linear_gain():
    run = ranked([("q1", "c", 3.0), ("q1", "a", 2.0), ("q1", "b", 1.0), ("q2", "a", 1.0)])
    found, _ = values(run, "nDCG@10", "RR@10", "AP")
    dcg, ideal = 2 / math.log2(3) + 1 / math.log2(4), 2 + 1 / math.log2(3)
    assert found["q1", "nDCG@10"] == pytest.approx(dcg / ideal)
    assert found["q1", "RR@10"] == pytest.approx(0.5)
    assert found["q1", "AP"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["q2", "nDCG@10"] == 1.0


def test_equal_scores_are_ranked_by_doc_id_and_the_measures_see_that_order():
    run = ranked([("q2", "b", 1.0), ("q2", "a", 1.0), ("q1", "a", 0.0)])
    assert run["doc_id"].tolist() == ["a", "a", "b"]
    assert values(run, "RR@10")[0]["q2", "RR@10"] == 1.0  # a library's own tie-break (descending ids) would say 0.5


def test_a_judged_query_without_result_counts_0_and_an_unjudged_one_not_at_all():
    run = ranked([("q1", "a", 1.0), ("q9", "a", 1.0)])
    found, counts = values(run, "nDCG@10")
    assert set(found) == {("q1", "nDCG@10"), ("q2", "nDCG@10")}
    assert found["q2", "nDCG@10"] == 0.0
    assert counts == {"queries_judged": 2, "queries_unjudged": 1, "queries_without_result": 1}


def test_unjudged_documents_show_in_judged_at_k():
    run = ranked([("q1", "a", 2.0), ("q1", "zz", 1.0), ("q2", "a", 1.0)])
    assert values(run, "Judged@2")[0]["q1", "Judged@2"] == 0.5


def test_a_run_file_comes_back_as_it_was(tmp_path):
    run = ranked([("q1", "c", 3.25), ("q1", "a", -2.0), ("q2", "b", 0.5)])
    write_run(run, tmp_path / "run.trec", "tag")
    assert (tmp_path / "run.trec").read_text().splitlines()[0] == "q1 Q0 c 1 3.25000 tag"
    pd.testing.assert_frame_equal(runs.read_run(tmp_path / "run.trec"), run)


def test_scores_of_a_run_file_fall_strictly_as_float32_so_that_tools_that_sort_by_score_agree(tmp_path):
    """Three documents tie above one that lies less than three float32 steps below; c would come first by descending id."""
    tied = [("q1", doc_id, 100.0) for doc_id in ("a", "b", "c")] + [("q1", "d", 100.0 - 1e-5), ("q1", "e", -1.0), ("q2", "a", 100.0)]
    run = ranked(tied)
    write_run(run, tmp_path / "run.trec", "tag")
    back = runs.read_run(tmp_path / "run.trec")
    assert back["doc_id"].tolist() == run["doc_id"].tolist() == ["a", "b", "c", "d", "e", "a"]
    assert (np.diff(back["score"].to_numpy(dtype=np.float32)[:5]) < 0).all()
    assert back["score"].to_numpy() == pytest.approx(run["score"].to_numpy(), abs=5e-5)
    assert [line.split()[4] for line in (tmp_path / "run.trec").read_text().splitlines()][::5] == ["100.00000", "100.00000"]


def read(tmp_path, *lines):
    (tmp_path / "run.trec").write_text("\n".join(lines) + "\n")
    return runs.read_run(tmp_path / "run.trec")


def test_ids_of_a_run_file_are_read_as_they_stand(tmp_path):
    run = read(tmp_path, "NA Q0 007 1 2.5 tag", 'null Q0 "d 2 -1e-3 tag', "1 Q0 1.0 3 7 null", "", "  nan\tQ0\td's\t1\t0\tNA")
    assert run["query_id"].tolist() == ["NA", "null", "1", "nan"]
    assert run["doc_id"].tolist() == ["007", '"d', "1.0", "d's"]
    assert run["score"].tolist() == [2.5, -0.001, 7.0, 0.0]


GOOD = "q1 Q0 a 1 2.0 tag"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([GOOD, "", "q1 Q0 b 2 1.0 tag more"], "line 3: 'q1 Q0 b 2 1.0 tag more' has 7 fields; expected lines of six"),
        (
            ["q1 Q0 b 2 1.0 tag more", "q1 Q0 a 1 2.0 tag more"],
            "2 lines are wrong; expected lines of six .*\n  line 1: .* has 7 fields\n  line 2: ",
        ),
        ([GOOD, "q1 Q0 b 2 1.0 tag more and more"], "line 2: .* has 9 fields"),
        ([GOOD, "q1 b 1.0"], "line 2: 'q1 b 1.0' has 3 fields"),
        ([GOOD, "", "q1 Q0 b 2 high tag"], "line 3: the score 'high' of query 'q1', document 'b' is no finite number"),
        ([GOOD, "q1 Q0 b 2 nan tag", "q1 Q0 c 3 inf tag"], "2 lines are wrong; score .*\n  line 2: the score 'nan' .*\n  line 3: "),
    ],
)
def test_a_line_that_is_no_run_is_named(tmp_path, lines, message):
    with pytest.raises(RunError, match=message):
        read(tmp_path, *lines)


def test_a_run_that_found_nothing_comes_back_empty(tmp_path):
    write_run(ranked([("q1", "a", 1.0)]).iloc[:0], tmp_path / "run.trec", "tag")
    run = runs.read_run(tmp_path / "run.trec")
    assert len(run) == 0 and run["score"].dtype == "float64"


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(EvaluationError, match="score of query 'q1', document 'b' is nan"):
        ranked([("q1", "a", 1.0), ("q1", "b", math.nan)])


def test_white_space_in_an_id_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="'a b' holds white space"):
        write_run(ranked([("q1", "a b", 1.0)]), tmp_path / "run.trec", "tag")


def test_an_unknown_measure_names_the_nearest():
    with pytest.raises(EvaluationError, match="did you mean 'nDCG@10'"):
        parse_measures(("nDGC@10",))

"""Teacher scores: once per pair, never missing, never 0 by default."""

from __future__ import annotations

import gzip
import math
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from rd_utils.scoring import teachers
from rd_utils.scoring.teachers import PairScores, TeacherError


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


def test_what_a_process_left_that_was_killed_within_a_shard_goes_with_the_next(tmp_path):
    kept = PairScores(tmp_path, n_docs=10)
    (tmp_path / ".shard-999999.tmp").write_bytes(b"the first bytes of a shard")
    kept.add(np.array([3]), np.array([-1.0]))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "shard-000000-000001.npz"]


def test_who_adds_sees_what_others_have_added_since(tmp_path):
    one, two = PairScores(tmp_path, n_docs=10), PairScores(tmp_path, n_docs=10)
    two.add(np.array([3, 5]), np.array([-1.0, -2.0]), (1.0, 2.0))
    assert len(one) == 0
    one.add(np.array([5, 7]), np.array([-9.0, -3.0]), (10.0, 20.0))
    assert one.lookup(np.array([3, 5, 7])).tolist() == [-1.0, -2.0, -3.0]  # the first score stays
    assert one.seconds.tolist() == [11.0, 22.0] and two.missing(np.array([7])).tolist() == [7]


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


def test_what_was_just_scored_lies_in_shards_and_what_is_merged_in_flat_arrays(tmp_path):
    kept = PairScores(tmp_path, n_docs=10)
    kept.add(np.array([12, 7]), np.array([0.25, 1.0]), seconds=(1.0, 2.0))
    kept.add(np.array([34]), np.array([-1.0]), seconds=(1.0, 2.0))
    assert visible(tmp_path) == ["shard-000000-000001.npz", "shard-000000-000002.npz"]
    kept.merge()
    assert visible(tmp_path) == ["main-000001"]
    arrays = {name: np.load(tmp_path / "main-000001" / f"{name}.npy") for name in ("offsets", "documents", "scores")}
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "offsets": [0, 1, 2, 2, 3],  # query 2 has none
        "documents": [7, 2, 4],
        "scores": [1.0, 0.25, -1.0],
    }
    assert [array.dtype for array in arrays.values()] == [np.int64, np.int32, np.float32]
    for store in (kept, PairScores(tmp_path, n_docs=10)):
        assert store.lookup(np.array([34, 7, 12, 7])).tolist() == [-1.0, 1.0, 0.25, 1.0]
        assert store.missing(np.array([35, 34, 1000, 20, 7, 0])).tolist() == [0, 20, 35, 1000]
        assert len(store) == 3 and store.seconds.tolist() == [2.0, 4.0]
    kept.merge()  # nothing new
    assert visible(tmp_path) == ["main-000001"]


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize("merge_pairs", [7, 64, 10_000])
def test_any_order_of_adding_and_merging_gives_what_a_dictionary_would(tmp_path, monkeypatch, merge_pairs):
    monkeypatch.setattr(teachers, "MERGE_PAIRS", merge_pairs)
    generator = np.random.default_rng(merge_pairs)
    n_docs, kept, table = 40, PairScores(tmp_path, n_docs=40), {}
    for step in range(60):
        if step % 9 == 8:
            kept.merge() if step % 2 else kept.tidy()
        if step % 13 == 12:
            kept = PairScores(tmp_path, n_docs=n_docs)
        width = generator.integers(1, 30 * n_docs)  # now few queries, now many, some of them never seen
        pairs = np.unique(generator.integers(width, size=generator.integers(1, 40)))
        if step % 3:
            pairs = generator.permutation(pairs)
        scores = np.round(generator.normal(size=len(pairs)), 3)
        kept.add(pairs, scores, seconds=(0.5, 1.0))
        for pair, score in zip(pairs.tolist(), np.float32(scores).tolist(), strict=True):
            table.setdefault(pair, score)  # the first score stays
        assert kept.seconds.tolist() == [0.5 * (step + 1), 1.0 * (step + 1)]
        wanted = generator.choice(list(table), size=generator.integers(1, 200))
        for asked in (wanted, np.sort(wanted), np.sort(list(table))):
            assert kept.lookup(asked).tolist() == [table[pair] for pair in asked.tolist()]
        some = generator.integers(-1 + 45 * n_docs, size=100)
        assert kept.missing(some).tolist() == sorted(set(some.tolist()) - set(table))
        assert len(kept) == len(table)
    again = PairScores(tmp_path, n_docs=n_docs)
    assert len(again) == len(table) and again.rate().tolist() == pytest.approx([30 / len(table), 60 / len(table)])


def test_an_interrupted_merge_loses_nothing_and_is_taken_up_again(tmp_path, monkeypatch):
    kept = PairScores(tmp_path, n_docs=10)
    kept.add(np.arange(5), np.arange(5.0), seconds=(1.0, 1.0))
    kept.merge()
    kept.add(np.arange(5, 25), np.arange(5.0, 25.0), seconds=(2.0, 2.0))

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # before the new arrays are complete
        patch.setattr(teachers.os, "rename", stop)
        with pytest.raises(KeyboardInterrupt):
            kept.merge()
    for store in (kept, PairScores(tmp_path, n_docs=10)):
        assert store.lookup(np.arange(25)).tolist() == list(range(25)) and store.seconds.tolist() == [3.0, 3.0]
    assert (tmp_path / ".main.tmp").is_dir()
    with monkeypatch.context() as patch:  # before what was merged is deleted
        patch.setattr(teachers, "_clear", stop)
        with pytest.raises(KeyboardInterrupt):
            kept.merge()
    assert visible(tmp_path) == ["main-000001", "main-000002", "shard-000001-000001.npz"] and not (tmp_path / ".main.tmp").exists()
    again = PairScores(tmp_path, n_docs=10)
    assert again.lookup(np.arange(25)).tolist() == list(range(25)) and len(again) == 25
    assert again.seconds.tolist() == [3.0, 3.0]  # no shard counts twice
    again.add(np.array([25]), np.array([25.0]), seconds=(1.0, 1.0))
    again.merge()
    assert visible(tmp_path) == ["main-000003"]
    assert PairScores(tmp_path, n_docs=10).lookup(np.arange(26)).tolist() == list(range(26))


def test_two_processes_that_add_to_one_folder_lose_nothing(tmp_path):
    one, two = PairScores(tmp_path, n_docs=10), PairScores(tmp_path, n_docs=10)
    one.add(np.arange(4), np.zeros(4), seconds=(1.0, 1.0))
    two.add(np.arange(10, 14), np.ones(4), seconds=(1.0, 1.0))  # which does not know what the first has added
    one.merge()  # the shards of both
    assert two.lookup(np.arange(10, 14)).tolist() == [1.0] * 4  # of its own memory, although the shard is gone
    two.add(np.array([20]), np.array([2.0]), seconds=(1.0, 1.0))
    for store in (two, PairScores(tmp_path, n_docs=10)):
        assert store.lookup(np.array([0, 10, 20])).tolist() == [0.0, 1.0, 2.0]
        assert len(store) == 9 and store.seconds.tolist() == [3.0, 3.0]


def test_a_reader_survives_a_merge_while_it_opens_the_folder(tmp_path, monkeypatch):
    kept = PairScores(tmp_path, n_docs=10)
    kept.add(np.arange(4), np.zeros(4))
    listdir, merged = os.listdir, []

    def list_and_merge(folder):
        names = listdir(folder)
        if not merged:
            merged.append(True)
            kept.merge()
        return names

    monkeypatch.setattr(teachers.os, "listdir", list_and_merge)
    assert len(PairScores(tmp_path, n_docs=10)) == 4


def test_a_killed_process_leaves_what_it_had_finished(tmp_path):
    code = """
import os, sys
import numpy as np
from pathlib import Path
from rd_utils.scoring import teachers
teachers.MERGE_PAIRS = 20
kept = teachers.PairScores(Path(sys.argv[1]), n_docs=100)
def score(query_rows, doc_rows):
    if query_rows.max() >= 5:
        os._exit(9)
    return query_rows * 100.0 + doc_rows
teachers.score_missing(kept, np.arange(1000), score, chunk=30)
"""
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=300).returncode == 9
    kept = PairScores(tmp_path, n_docs=100)
    assert len(kept) == 480 and kept.lookup(np.arange(480)).tolist() == list(range(480))  # the 17th chunk asks for query 5
    assert teachers.score_missing(kept, np.arange(1000), lambda q, d: q * 100.0 + d, chunk=30) == 520
    assert kept.lookup(np.arange(1000)).tolist() == list(range(1000))


def test_pairs_are_counted_by_the_number_of_documents(tmp_path):
    PairScores(tmp_path, n_docs=10).add(np.array([12]), np.array([0.5]), seconds=(3.0, 4.0))
    for merged in (False, True):
        with pytest.raises(TeacherError, match="keeps scores over 10 documents, not 11"):
            PairScores(tmp_path, n_docs=11)
        kept = PairScores(tmp_path)
        assert kept.n_docs == 10 and kept.rate().tolist() == [3.0, 4.0] and kept.lookup(np.array([12])).tolist() == [0.5]
        if not merged:
            kept.merge()
    with pytest.raises(TeacherError, match="2147483648 documents are more than the 2147483647"):
        PairScores(tmp_path / "large", n_docs=2**31)


def test_pairs_of_a_large_collection_do_not_overflow(tmp_path):
    kept = PairScores(tmp_path, n_docs=8_841_823)
    pairs = kept.pairs(np.array([0, 499_999, 499_999], dtype=np.int32), np.array([8_841_822, 0, 8_841_822], dtype=np.int32))
    kept.add(pairs, np.array([1.0, 2.0, 3.0]))
    kept.merge()
    assert kept.lookup(pairs[::-1]).tolist() == [3.0, 2.0, 1.0]
    assert kept.missing(np.concatenate([pairs, pairs + 1])).tolist() == sorted({*(pairs + 1).tolist()} - {*pairs.tolist()})


def test_memory_does_not_grow_with_the_pairs_that_are_merged(tmp_path, monkeypatch):
    monkeypatch.setattr(teachers, "MERGE_PAIRS", 20_000)
    kept = PairScores(tmp_path, n_docs=1000)
    for start in range(0, 200_000, 10_000):
        kept.add(np.arange(start, start + 10_000), np.zeros(10_000))
    kept.merge()
    kept.add(np.arange(200_000, 210_000), np.zeros(10_000))
    tracemalloc.start()
    kept.merge()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(kept) == 210_000 and peak < 1_200_000  # all the pairs alone are 1.7 MB


# --- the order of scoring ---


def test_pairs_are_scored_by_length_over_all_that_is_missing(tmp_path):
    lengths = np.random.default_rng(0).permutation(1000) % 50
    seen: list[np.ndarray] = []

    def score(query_rows, doc_rows):
        seen.append(query_rows * 10 + doc_rows)
        return np.zeros(len(query_rows))

    kept = PairScores(tmp_path, n_docs=10)
    kept.add(np.arange(100), np.zeros(100))
    assert teachers.score_missing(kept, np.arange(1000), score, chunk=90, lengths=lambda q, d: lengths[q * 10 + d]) == 900
    assert sorted(np.concatenate(seen).tolist()) == list(range(100, 1000))  # each once
    spans = [(lengths[part].max(), lengths[part].min()) for part in seen]
    assert all(before[1] >= after[0] for before, after in zip(spans, spans[1:], strict=False))
    assert [len(part) for part in seen] == [90] * 10
    assert kept.missing(np.arange(1000)).tolist() == []


# --- what a pair costs ---


def test_a_pair_costs_what_all_of_them_took_on_average(tmp_path):
    kept = PairScores(tmp_path, n_docs=10)
    assert kept.rate().tolist() == [0.0, 0.0]  # nothing was ever scored
    kept.add(np.arange(3), np.zeros(3), seconds=(6.0, 9.0))
    assert kept.rate().tolist() == [2.0, 3.0]
    kept.add(np.array([7]), np.zeros(1), seconds=(2.0, 1.0))
    assert kept.seconds.tolist() == [8.0, 10.0] and kept.rate().tolist() == [2.0, 2.5]
    kept.add(np.array([8]), np.zeros(1))  # scores that nobody timed
    assert kept.rate().tolist() == [1.6, 2.0]


def test_what_scoring_took_is_kept_with_the_scores(tmp_path):
    kept = PairScores(tmp_path, n_docs=10)
    kept.add(np.arange(3), np.zeros(3), seconds=(6.0, 9.5))
    kept.add(np.array([7]), np.zeros(1), seconds=(0.125, 0.25))
    again = PairScores(tmp_path, n_docs=10)
    assert again.seconds.tolist() == [6.125, 9.75] and again.rate().tolist() == [1.53125, 2.4375]
    again.merge()
    assert PairScores(tmp_path).seconds.tolist() == [6.125, 9.75]


def test_scoring_is_timed_and_looking_up_is_not(tmp_path, monkeypatch):
    clock = {"wall": 100.0, "cpu": 50.0}
    monkeypatch.setattr(teachers.time, "perf_counter", lambda: clock["wall"])
    monkeypatch.setattr(teachers, "cpu_seconds", lambda: clock["cpu"])

    def slow(query_rows, doc_rows):
        clock["wall"] += 0.5 * len(query_rows)
        clock["cpu"] += 2.0 * len(query_rows)
        return -(query_rows * 10.0 + doc_rows)

    kept = PairScores(tmp_path, n_docs=10)
    assert teachers.score_missing(kept, np.arange(10), slow, chunk=4) == 10
    assert kept.seconds.tolist() == [5.0, 20.0] and kept.rate().tolist() == [0.5, 2.0]
    clock["wall"] += 1000.0  # between the runs
    assert teachers.score_missing(kept, np.arange(12), slow) == 2
    kept.lookup(np.arange(12))
    assert kept.seconds.tolist() == [6.0, 24.0] and PairScores(tmp_path, n_docs=10).rate().tolist() == [0.5, 2.0]


# --- scores made elsewhere ---

TABLE = pd.DataFrame({"query_id": ["2", "1", "1"], "doc_id": ["d1", "d1", "d2"], "score": [-0.5, -1.5, 0.25]})


def test_scores_are_read_from_parquet_and_from_a_trec_run(tmp_path):
    TABLE.assign(note="more columns do no harm").to_parquet(tmp_path / "scores.parquet")
    lines = "".join(f"{q} Q0 {d} 1 {s} mine\n" for q, d, s in TABLE.itertuples(index=False))
    (tmp_path / "scores.trec").write_text(lines)
    with gzip.open(tmp_path / "scores.trec.gz", "wt") as stream:
        stream.write(lines)
    for name in ("scores.parquet", "scores.trec", "scores.trec.gz"):
        read = teachers.read_scores(tmp_path / name)
        assert read.to_dict("list") == TABLE.to_dict("list"), name
        assert read["score"].dtype == np.float64


def test_ids_that_are_whole_numbers_are_read_as_text(tmp_path):
    pd.DataFrame({"query_id": [7], "doc_id": [12], "score": np.float32([0.5])}).to_parquet(tmp_path / "scores.parquet")
    assert teachers.read_scores(tmp_path / "scores.parquet").to_dict("list") == {"query_id": ["7"], "doc_id": ["12"], "score": [0.5]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": [0.0, math.nan, math.inf]}, "2 rows are wrong; score the pair again.*\n  row 2: the score nan is no.*\n  row 3: "),
        ({"query_id": ["1", "1", "1"]}, "row 2: scores query '1', document 'd1' again, after row 1 .another score"),
        ({"query_id": ["1", None, "2"]}, "row 2: the query_id None is missing; give every row one"),
        ({"doc_id": [1.0, 2.0, 3.0]}, "the column 'doc_id' holds values of type 'double'; expected text .or whole numbers. in every row"),
    ],
)
def test_unusable_score_files_are_refused(tmp_path, change, message):
    TABLE.assign(**change).to_parquet(tmp_path / "scores.parquet")
    with pytest.raises(TeacherError, match=message):
        teachers.read_scores(tmp_path / "scores.parquet")


def test_missing_files_and_columns_say_what_was_expected(tmp_path):
    with pytest.raises(TeacherError, match="none.parquet: there is no such file; put it there, or correct the path"):
        teachers.read_scores(tmp_path / "none.parquet")
    TABLE.rename(columns={"doc_id": "docno"}).to_parquet(tmp_path / "scores.parquet")
    with pytest.raises(TeacherError, match="no column 'doc_id', only query_id, docno, score"):
        teachers.read_scores(tmp_path / "scores.parquet")
    (tmp_path / "short.trec").write_text("1 Q0 d1\n")
    with pytest.raises(TeacherError, match="short.trec line 1: '1 Q0 d1' has 3 fields; expected .*query_id Q0 doc_id rank score tag"):
        teachers.read_scores(tmp_path / "short.trec")
    (tmp_path / "words.trec").write_text("1 Q0 d1 1 high mine\n")
    with pytest.raises(TeacherError, match="line 1: the score 'high' of query '1', document 'd1' is no finite number"):
        teachers.read_scores(tmp_path / "words.trec")


def test_a_file_scorer_looks_up_what_a_dictionary_would():
    generator = np.random.default_rng(0)
    query_ids, doc_ids = pd.Series([f"q{i}" for i in range(20)]), pd.Series([f"d{i}" for i in range(30)])
    cells = generator.permutation(20 * 30)[:400]
    frame = pd.DataFrame(
        {"query_id": query_ids[cells // 30], "doc_id": doc_ids[cells % 30].to_numpy(), "score": generator.normal(size=400)}
    )
    elsewhere = pd.DataFrame({"query_id": ["q0", "other"], "doc_id": ["other", "d0"], "score": [9.0, 9.0]})
    score = teachers.file_scorer(pd.concat([elsewhere, frame]), query_ids, doc_ids)
    table = {(q, d): s for q, d, s in frame.itertuples(index=False)}
    wanted = generator.choice(cells, 50)  # some of them twice
    expected = [table[query_ids[cell // 30], doc_ids[cell % 30]] for cell in wanted]
    assert score(wanted // 30, wanted % 30).tolist() == expected


def test_erratum_7_a_pair_that_the_file_lacks_is_an_error_not_0():
    score = teachers.file_scorer(TABLE, pd.Series(["1", "2"]), pd.Series(["d1", "d2"]))
    with pytest.raises(TeacherError, match="2 of 3 pairs have no score in the file, the first is query '2', document 'd2'"):
        score(np.array([0, 1, 1]), np.array([0, 1, 1]))
    nothing = teachers.file_scorer(TABLE[:0], pd.Series(["1", "2"]), pd.Series(["d1", "d2"]))
    with pytest.raises(TeacherError, match="1 of 1 pairs have no score"):
        nothing(np.array([0]), np.array([0]))


# --- noise and ensembles ---


def splitmix64(state):
    """The published generator on Python's integers."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        yield z ^ z >> 31


def test_the_hash_is_splitmix64():
    outputs = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]  # the published ones of seed 0
    generator = splitmix64(0)
    assert [next(generator) for _ in range(3)] == outputs
    states = np.array([k * 0x9E3779B97F4A7C15 % 2**64 for k in (1, 2, 3)], dtype=np.uint64)
    assert teachers._mix(states).tolist() == outputs


def test_pair_noise_is_fixed_by_pair_and_seed_alone():
    pairs = np.random.default_rng(0).permutation(10_000) * 8_841_823
    noise = teachers.pair_noise(pairs, seed=3)
    order = np.random.default_rng(1).permutation(len(pairs))
    assert np.array_equal(teachers.pair_noise(pairs[order], seed=3), noise[order])
    assert np.array_equal(np.concatenate([teachers.pair_noise(part, seed=3) for part in np.array_split(pairs, 7)]), noise)
    assert teachers.pair_noise(pairs[:0], seed=3).shape == (0,)


def test_pair_noise_is_standard_normal_and_seeds_are_independent():
    pairs = np.arange(200_000)
    noise, other = teachers.pair_noise(pairs, seed=0), teachers.pair_noise(pairs, seed=1)
    error = 1 / math.sqrt(len(pairs))
    assert abs(noise.mean()) < 4 * error
    assert abs(noise.var() - 1) < 4 * math.sqrt(2) * error
    assert stats.kstest(noise, "norm").pvalue > 0.001
    assert abs(np.corrcoef(noise, other)[0, 1]) < 4 * error
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 4 * error
    assert abs(np.corrcoef(noise**2, other**2)[0, 1]) < 4 * error
    assert len(np.unique(noise)) == len(pairs)


def test_an_ensemble_is_the_mean_of_standardised_scores_by_hand():
    scores, disagreement = teachers.combine(np.array([[1.0, 5.0], [0.0, 2.0], [3.0, 3.0]]), np.array([1, 0, 3]), np.array([2, 1, 5]))
    np.testing.assert_allclose(scores, [0.0, 4 / 3])  # z = 0, 0, 0 and 2, 2, 0
    np.testing.assert_allclose(disagreement, [0.0, math.sqrt(8 / 9)])


def test_an_ensemble_does_not_depend_on_its_members_scales():
    scores = np.random.default_rng(0).normal(size=(3, 50))
    rescaled = scores * np.array([[10.0], [0.1], [1.0]]) + np.array([[-100.0], [0.0], [7.0]])
    expected = teachers.combine(scores, scores.mean(axis=1), scores.std(axis=1))
    found = teachers.combine(rescaled, rescaled.mean(axis=1), rescaled.std(axis=1))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(expected[0].mean(), 0.0, atol=1e-12)


def test_a_member_without_spread_is_named():
    for flat in (0.0, math.nan):
        with pytest.raises(TeacherError, match="1 of 2 members have no spread over the calibration groups, the first is member 1"):
            teachers.combine(np.zeros((2, 3)), np.zeros(2), np.array([1.0, flat]))
    with pytest.raises(TeacherError, match=r"expected \(members, n\)"):
        teachers.combine(np.zeros((2, 3)), np.zeros(3), np.ones(2))

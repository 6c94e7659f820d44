"""Runs: lists by hand, files that come back, parts that go on where they were, ids and rows."""

from __future__ import annotations

import os
import resource

import numpy as np
import pandas as pd
import pytest

from rd_utils.data import runs
from rd_utils.data.runs import Run, RunError

QUERY_IDS, DOC_IDS = pd.Series(["q2", "q1", "q3"]), pd.Series(["d9", "d10", "d1"])
FRAME = pd.DataFrame({"query_id": ["q1", "q1", "q2", "q1"], "doc_id": ["d1", "d9", "d10", "d10"], "score": [3.0, 3.0, 7.5, -1.0]})


def random_run(seed=0, n=40, keyed=False):
    generator = np.random.default_rng(seed)
    lengths = generator.integers(0, 6, n)
    docs = np.concatenate([generator.permutation(50)[:length] for length in lengths]).astype(np.int32)
    keys = generator.permutation(1000)[:n] if keyed else None
    scores = -np.sort(generator.random(len(docs)))  # falls over the whole run, so within every list
    return Run(np.concatenate([[0], np.cumsum(lengths)]), docs, -np.sort(-scores), keys)


def same(one, two):
    arrays = [(getattr(one, name), getattr(two, name)) for name in ("offsets", "docs", "scores", "keys")]
    return all(a is b is None or (a is not None and b is not None and np.array_equal(a, b)) for a, b in arrays)


# --- lists


def test_a_table_becomes_lists_in_the_order_of_the_queries_and_back():
    run = Run.from_frame(FRAME, QUERY_IDS, DOC_IDS)
    assert run.offsets.tolist() == [0, 1, 4, 4]
    assert run.docs.tolist() == [1, 2, 0, 1] and run.docs.dtype == np.int32
    assert run.scores.tolist() == [7.5, 3.0, 3.0, -1.0]
    back = run.frame(QUERY_IDS, DOC_IDS)
    assert back.values.tolist() == [["q2", "d10", 7.5], ["q1", "d1", 3.0], ["q1", "d9", 3.0], ["q1", "d10", -1.0]]
    assert back.dtypes.astype(str).tolist() == ["str", "str", "float64"]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.assign(query_id="q9"), "4 rows of a run name a query that there is not, the first is query_id 'q9', doc_id 'd1'; compare"),
        (FRAME.replace("d9", "x"), "1 rows of a run name a document that the collection does not have, .*doc_id 'x'"),
        (pd.concat([FRAME, FRAME[:1]]), "1 rows of a run stand twice, the first is query_id 'q1', doc_id 'd1'; list each document once"),
        (FRAME[::-1], "1 rows of a run score more than the row before, the first is query_id 'q1', doc_id 'd9'; sort the run best first"),
    ],
)
def test_tables_that_are_no_runs_are_refused(frame, message):
    with pytest.raises(RunError, match=message):
        Run.from_frame(frame, QUERY_IDS, DOC_IDS)


@pytest.mark.parametrize("keyed", [False, True])
def test_taking_parting_and_keeping_are_what_slices_say(keyed):
    run = random_run(keyed=keyed)
    keys = np.arange(40) if run.keys is None else run.keys
    lists = [(keys[i], run.docs[a:b].tolist()) for i, (a, b) in enumerate(zip(run.offsets[:-1], run.offsets[1:], strict=True))]

    def listed(part):
        own = zip(part.keys, part.offsets[:-1], part.offsets[1:], strict=True)
        return [(key, part.docs[a:b].tolist()) for key, a, b in own]

    order = np.random.default_rng(1).permutation(40)[:13]
    assert listed(run.take(order)) == [lists[i] for i in order]
    assert listed(run.part(7, 19)) == lists[7:19]
    even = run.keep(run.docs % 2 == 0)
    assert listed(even.part(0, 40)) == [(key, [doc for doc in docs if doc % 2 == 0]) for key, docs in lists]
    assert list(zip(run.rows(), run.docs, strict=True)) == [(key, doc) for key, docs in lists for doc in docs]
    assert run.ranks().tolist() == [rank for _, docs in lists for rank in range(1, len(docs) + 1)]


def test_blocks_cover_all_lists_once_and_hold_no_more_pairs_than_asked():
    run = random_run()
    for size in (1, 4, 10, 1000):
        found = runs.blocks(run.offsets, size)
        assert [start for start, _ in found] == [0, *(stop for _, stop in found[:-1])] and found[-1][1] == 40
        assert all(run.offsets[b] - run.offsets[a] <= size or b == a + 1 for a, b in found)


# --- files


@pytest.mark.parametrize("keyed", [False, True])
def test_a_run_comes_back_from_disk_mapped(tmp_path, keyed):
    run = random_run(keyed=keyed)
    run.save(tmp_path / "run")
    back = Run.load(tmp_path / "run")
    assert same(back, run) and isinstance(back.docs, np.memmap) and isinstance(back.scores, np.memmap)


def test_a_run_of_nothing_comes_back(tmp_path):
    Run(np.zeros(3, dtype=np.int64), np.zeros(0, dtype=np.int32), np.zeros(0)).save(tmp_path)
    back = Run.load(tmp_path)
    assert len(back) == 2 and back.frame(QUERY_IDS, DOC_IDS).empty


def test_damaged_files_are_refused(tmp_path):
    random_run(keyed=True).save(tmp_path)
    np.save(tmp_path / "scores.npy", np.zeros(3))
    with pytest.raises(RunError, match="is damaged: .* documents and 3 scores .*, 40 keys for 40 lists; make it again"):
        Run.load(tmp_path)
    (tmp_path / "docs.npy").unlink()
    with pytest.raises(RunError, match="no run in .*: docs.npy missing"):
        Run.load(tmp_path)


def test_float32_would_keep_rounded_scores_below_128_and_no_others():
    """What decides for float64: a long text as a query scores hundreds, and a share such as 1 / rank is not rounded."""
    small = np.random.default_rng(0).uniform(-128, 128, 10_000).round(5)
    assert (small.astype(np.float32).astype(np.float64).round(5) == small).all()
    for score in (300.00002, 1 / 3):
        assert np.float64(np.float32(score)) != score
    assert np.float64(np.float32(300.00002)).round(5) != 300.00002


def test_pieces_must_add_up_to_the_shape(tmp_path):
    with runs.ArrayWriter(tmp_path / "a.npy", np.float32, (3, 2)) as out:
        out.write(np.ones((1, 2)))
        out.write(np.zeros((2, 2)))
    assert np.load(tmp_path / "a.npy", mmap_mode="r").tolist() == [[1, 1], [0, 0], [0, 0]]
    with pytest.raises(RunError, match=r"4 values were written for the shape \(3, 2\)"):
        with runs.ArrayWriter(tmp_path / "b.npy", np.float32, (3, 2)) as out:
            out.write(np.zeros((2, 2)))


# --- parts


def test_parts_are_joined_and_an_interrupted_run_goes_on_where_it_was(tmp_path):
    run, made = random_run(), []

    def make(start, stop, fail=99):
        if start >= fail:
            raise KeyboardInterrupt
        made.append((start, stop))
        part = run.part(start, stop)
        return Run(part.offsets, part.docs, part.scores)

    for size in (1, 7, 40, 100):
        assert same(runs.made_in_parts(40, size, make), run)
    made.clear()
    with pytest.raises(KeyboardInterrupt):
        runs.made_in_parts(40, 15, lambda start, stop: make(start, stop, fail=20), tmp_path / "parts")
    assert made == [(0, 15), (15, 30)]
    assert same(runs.made_in_parts(40, 15, make, tmp_path / "parts"), run)
    assert made == [(0, 15), (15, 30), (30, 40)]


@pytest.mark.parametrize("keyed", [False, True])
def test_there_may_be_more_parts_than_files_that_a_process_may_open(tmp_path, keyed):
    run = random_run(keyed=keyed)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 10, hard))
    try:
        found = runs.made_in_parts(40, 1, run.part, tmp_path / "parts")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert same(found, run if keyed else Run(run.offsets, run.docs, run.scores, np.arange(40)))


def test_runs_are_joined_with_all_keys_or_none():
    keyed = random_run(keyed=True)
    assert same(runs.join([keyed.part(0, 9), keyed.part(9, 40)]), keyed)
    assert len(runs.join([])) == 0
    with pytest.raises(RunError, match="1 of 2 runs say what their lists answer"):
        runs.join([keyed, random_run()])


# --- ids and rows


def test_rows_are_those_of_a_dictionary_whatever_the_sizes():
    generator = np.random.default_rng(0)
    known = [f"d{i}" for i in generator.permutation(300)]
    place = {name: row for row, name in enumerate(known)}
    for size in (0, 1, 20, 1000):
        ids = [f"d{i}" for i in generator.integers(0, 330, size)]
        expected = [place.get(name, -1) for name in ids]
        for kind in (pd.Series, list, lambda x: np.array(x, dtype=object)):
            assert runs.rows_of(kind(ids), pd.Series(known, dtype="str")).tolist() == expected


def test_ties_are_in_the_order_of_str():
    ids = ["d9", "d10", "D1", "é", "zebra", "z", "\U0001f600", "ａ"]
    assert runs.tie_order(ids).tolist() == [sorted(ids).index(name) for name in ids]

"""Collections of any size, and how steps grow with them."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy import stats

from benchmarks import passages, scale

FILES = ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv")


def contents(folder):
    return [(folder / name).read_bytes() for name in FILES]


def test_the_same_seed_gives_the_same_bytes_whatever_the_shard(tmp_path):
    one, two, other = (passages.generate(tmp_path / name, 3500, 200, seed, shard) for name, seed, shard in SHARDS)
    assert contents(one) == contents(two) and contents(one)[0] != contents(other)[0]
    lines = [json.loads(line) for line in (one / "corpus.jsonl").open()]
    assert [line["_id"] for line in lines] == [str(number) for number in range(3500)]


SHARDS = (("one", 5, 1000), ("two", 5, 100_000), ("other", 6, 1000))


def test_an_interrupted_writing_goes_on_where_it_was(tmp_path, monkeypatch):
    whole = contents(passages.generate(tmp_path / "whole", 5500, 300, shard=2000))
    made, make = [], passages.make_block

    def stop(number, *rest):
        made.append(number)
        if len(made) == 4:
            raise KeyboardInterrupt
        return make(number, *rest)

    monkeypatch.setattr(passages, "make_block", stop)
    with pytest.raises(KeyboardInterrupt):
        passages.generate(tmp_path / "cut", 5500, 300, shard=2000)
    assert not (tmp_path / "cut" / "corpus.jsonl").exists()  # nothing that could be taken for a collection
    passages.generate(tmp_path / "cut", 5500, 300, shard=2000)
    assert contents(tmp_path / "cut") == whole and made == [0, 1, 2, 3, 2, 3, 4, 5]  # block 2 was not noted yet
    passages.generate(tmp_path / "cut", 5500, 300, shard=2000)
    assert len(made) == 8
    with pytest.raises(ValueError, match="holds the collection .*'seed': 0.*give another folder"):
        passages.generate(tmp_path / "cut", 5500, 300, seed=1)
    with pytest.raises(ValueError, match="11 queries for 10 passages"):
        passages.generate(tmp_path / "few", 10, 11)


def test_a_query_asks_with_words_of_its_one_positive_and_common_ones(tmp_path):
    folder = passages.generate(tmp_path, 4000, 500)
    texts = {row["_id"]: row["text"].split() for row in map(json.loads, (folder / "corpus.jsonl").open())}
    queries = {row["_id"]: row["text"].split() for row in map(json.loads, (folder / "queries.jsonl").open())}
    header, *qrels = (folder / "qrels" / "train.tsv").read_text().splitlines()
    assert header == "query-id\tcorpus-id\tscore" and len(qrels) == len(queries) == 500
    common = set(passages.vocabulary()[: passages.COMMON_WORDS])
    positives = set()
    for query, doc, relevance in (line.split("\t") for line in qrels):
        own = [word for word in queries[query] if word in texts[doc] and word not in common]
        assert relevance == "1" and 3 <= len(queries[query]) <= 8
        assert len(set(own)) >= 2 or sum(word not in common for word in texts[doc]) < 2
        assert set(queries[query]) <= set(texts[doc]) | common
        positives.add(doc)
    assert len(positives) == 500  # each of another passage


def test_words_follow_zipf_and_mandelbrots_law_and_lengths_their_mean():
    blocks = [passages.make_block(number, 50_000, 50, 0) for number in range(50)]
    lengths = np.concatenate([np.diff(block.offsets) for block in blocks])
    assert abs(lengths.mean() - passages.MEAN_WORDS) < 4 * lengths.std() / math.sqrt(len(lengths)) + 0.1  # the limits shift it a little
    words = np.concatenate([block.words for block in blocks])
    counts = np.bincount(words, minlength=passages.VOCABULARY)
    weights = 1 / (np.arange(1, passages.VOCABULARY + 1) + 2.7)
    bins = np.concatenate([[0, 1, 2, 5, 10, 33], np.geomspace(100, passages.VOCABULARY, 12).astype(int)])
    observed, expected = (np.add.reduceat(values, bins[:-1]) for values in (counts, weights / weights.sum() * len(words)))
    assert stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 0.001


def test_the_fitted_exponent_is_that_of_a_regression_of_logarithms():
    sizes = np.array([1e4, 3e4, 1e5, 3e5, 1e6])
    values = 2e-4 * sizes**1.1 * np.exp([0.1, -0.05, 0.02, -0.1, 0.03])
    found = scale.fit(sizes, values)
    import statsmodels.api as sm

    oracle = sm.OLS(np.log(values), sm.add_constant(np.log(sizes))).fit()
    assert [math.log(found["factor"]), found["exponent"]] == pytest.approx(oracle.params.tolist())
    assert [found["low"], found["high"]] == pytest.approx(oracle.conf_int()[1].tolist())
    assert math.isnan(scale.fit(sizes[:2], values[:2])["low"])


def test_sizes_are_read_and_refused():
    assert [scale.size_of(text) for text in scale.SIZES.split(",")] == [10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, scale.FULL]
    for text in ("0.5", "-3k", "1.0000001k"):
        with pytest.raises(scale.argparse.ArgumentTypeError, match="is no number of passages"):
            scale.size_of(text)


def test_slabs_cover_every_query_once(monkeypatch):
    monkeypatch.setattr(scale, "SLAB", 10)
    offsets = np.concatenate([[0], np.cumsum([3, 3, 0, 25, 1, 4, 0, 9])])
    slabs = scale._slabs(offsets)
    assert [stop for _, stop in slabs[:-1]] == [start for start, _ in slabs[1:]] and (slabs[0][0], slabs[-1][1]) == (0, 8)
    assert scale._slabs(np.array([0, 2, 4])) == [(0, 2)]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_watch_sees_the_memory_and_seconds_of_a_process_and_its_children():
    inner = "x = bytearray(80 << 20); import time; e = time.process_time() + 0.5\nwhile time.process_time() < e: pass\ntime.sleep(600)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    process = subprocess.Popen([sys.executable, "-c", outer])
    try:
        watch = scale.Watch(process.pid)
        end = time.monotonic() + 300
        while time.monotonic() < end and not (watch.cpu_seconds > 0.4 and watch.peaks["peak_anonymous_mb"] > 80):
            time.sleep(0.05)
            watch.look()
        found = watch.read()
    finally:
        for pid in reversed(scale._family(process.pid)):
            os.kill(pid, 9)
        process.wait()
    assert found["cpu_seconds"] > 0.4 and 80 < found["peak_anonymous_mb"] <= found["peak_rss_mb"] < 400 and found["wall_seconds"] > 0.3


def record_of(passages, step, seconds, memory):
    quantities = {"wall_seconds": seconds, "cpu_seconds": 2 * seconds, "peak_rss_mb": memory, "peak_anonymous_mb": memory / 2}
    return {"passages": passages, "queries": passages // 20, "step": step, **quantities, "counts": {"pairs": passages}}


def test_growth_is_fitted_to_the_results_that_are_there_and_drawn(tmp_path):
    with pytest.raises(ValueError, match="no results under .*; run `python -m benchmarks.scale run` first"):
        scale.measured(tmp_path)
    for passages_ in (10_000, 100_000, 300_000, 1_000_000):
        folder = tmp_path / str(passages_) / "results"
        folder.mkdir(parents=True)
        for step, exponent in (("index", 1.0), ("candidates_100", 2.0)):
            grown = passages_ >= 100_000
            seconds, memory = 5.0 + grown * 1e-9 * passages_**exponent, 100.0 + grown * math.sqrt(passages_ / 1e5)
            found = record_of(passages_, step, seconds, memory)
            (folder / f"{step}.json").write_text(json.dumps(found))
        (folder / "groups.running.json").write_text("{}")  # is under way
    table = scale.measured(tmp_path)
    assert table[["passages", "step"]].values.tolist()[:3] == [[10_000, "index"], [10_000, "candidates_100"], [100_000, "index"]]
    fitted = scale.growth(table).set_index(["step", "quantity"])
    assert fitted.loc[("candidates_100", "cpu_seconds"), ["base", "exponent"]].tolist() == pytest.approx([10.0, 2.0])
    assert fitted.loc[("candidates_100", "wall_seconds"), "at_full"] == pytest.approx(5 + 1e-9 * scale.FULL**2)
    assert fitted.loc[("index", "peak_rss_mb"), "exponent"] == pytest.approx(0.5) and (fitted["sizes"] == 3).all()
    assert scale.growth(table[table["passages"] <= 100_000]).empty  # one point is no line
    picture = scale.chart(tmp_path, tmp_path / "docs").read_text()
    assert "candidates 100: 2.00 (2.00 to 2.00)" in picture
    assert len(json.loads((tmp_path / "docs" / "scale.json").read_text())["measured"]) == 8


def test_the_dense_steps_find_what_an_exhaustive_search_finds(tmp_path):
    here = scale.Scale(1000, 50, tmp_path, 0)
    steps = ("generate", "documents", "queries", "encoder", "tokens", "vectors", "dense_index", "dense_candidates")
    counts = {step: scale.STEPS[step](here) for step in steps}
    assert counts["vectors"]["dimension"] == scale.DIMENSION and counts["dense_index"]["cells"] == 50
    assert (
        counts["dense_candidates"]["pairs"] == 50 * scale.DEPTHS[0] and counts["dense_candidates"]["recall"] > 0.9
    )  # all cells are looked into
    texts = [json.loads(line)["text"].split() for line in (tmp_path / "collection" / "corpus.jsonl").open()]
    assert counts["tokens"]["tokens"] == sum(map(len, texts))  # the encoder knows every word


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_step_counts_the_attempts_that_were_killed_and_is_not_taken_twice(tmp_path):
    here = scale.Scale(1000, 50, tmp_path, 0)
    results = tmp_path / "results"
    results.mkdir()
    killed = {"wall_seconds": 100.0, "cpu_seconds": 50.0, "peak_rss_mb": 9000.0, "peak_anonymous_mb": 1.0}
    (results / "generate.running.json").write_text(json.dumps({"attempts": [killed]}))
    record = scale.take_step("generate", here, tmp_path / "scale.log")
    assert record["wall_seconds"] > 100 and record["cpu_seconds"] > 50 and record["peak_rss_mb"] == 9000 and len(record["attempts"]) == 2
    assert 1 < record["peak_anonymous_mb"] < 1000
    assert [path.name for path in results.iterdir()] == ["generate.json"]
    (tmp_path / "collection" / "corpus.jsonl").unlink()
    assert scale.take_step("generate", here, tmp_path / "scale.log") == record
    with pytest.raises(RuntimeError, match="step documents at 1,000 passages failed with 1; its log is .*scale.log"):
        scale.take_step("documents", here, tmp_path / "scale.log")
    assert not (results / "documents.json").exists()

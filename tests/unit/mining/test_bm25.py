"""BM25's index beside bm25s itself: the same words, the same scores to the last bit, whatever the shards and workers."""

from __future__ import annotations

import filecmp
import os
import resource
import signal
import subprocess
import sys
import time

import bm25s
import numpy as np
import pandas as pd
import pytest
import Stemmer

from rd_utils.data.runs import tie_order
from rd_utils.mining import bm25, postings
from rd_utils.mining import words as words_of_texts
from rd_utils.mining.bm25 import BM25Error
from rd_utils.mining.postings import PostingsError
from rd_utils.mining.retrieval import top_k
from rd_utils.study import params

ODD = ["", "the of and", "nul\0inside the\nline", "İSTANBUL ΟΔΟΣ Σίσυφος café's", "a I x", "don't_stop 3.14 x_y", "Running RUNS runner"]
RETRIEVERS = {
    "lucene": params.BM25(),
    "robertson": params.BM25(form="robertson", k1=0.9, b=0.4),
    "plain": params.BM25(stemmer="none", stopwords="none"),
}


def texts(n, words, seed=0):
    generator = np.random.default_rng(seed)
    vocabulary = [f"{'bcdfg'[i % 5]}{'aeiou'[i % 7 % 5]}x{i}{'ing' if i % 3 else 's'}" for i in range(400)] + ["the", "Of", "and", "é", "x"]
    weights = 1 / np.arange(1, len(vocabulary) + 1)
    found = [" ".join(generator.choice(vocabulary, generator.integers(0, words), p=weights / weights.sum())) for _ in range(n)]
    return pd.Series(found)


DOCS = pd.concat([texts(700, 30), pd.Series(ODD)], ignore_index=True)
QUERIES = pd.concat([texts(60, 8, seed=1), pd.Series([*ODD, DOCS[3], "unknownword", "café ΟΔΟΣ"])], ignore_index=True)
TIES = tie_order([f"d{i}" for i in range(len(DOCS))])


def reference(retriever):
    """Return what bm25s says: every query's float32 scores of all documents."""
    options = {"stopwords": "en" if retriever.stopwords == "english" else None, "show_progress": False}
    options["stemmer"] = Stemmer.Stemmer("english") if retriever.stemmer == "english" else None
    index = bm25s.BM25(k1=retriever.k1, b=retriever.b, method=retriever.form, backend="numpy")
    index.index(bm25s.tokenize(DOCS.tolist(), **options), show_progress=False)
    found = []
    for words in bm25s.tokenize(QUERIES.tolist(), return_ids=False, **options):
        known = [word for word in words if word in index.vocab_dict]
        found.append(index.get_scores(known) if known else np.zeros(len(DOCS), dtype=np.float32))
    return np.array(found)


@pytest.mark.parametrize("name", RETRIEVERS)
def test_scores_are_those_of_bm25s_to_the_last_bit(tmp_path, name):
    retriever = RETRIEVERS[name]
    expected = reference(retriever)
    index = bm25.build(DOCS, retriever, tmp_path, shard_size=300)
    words = bm25.words_of(QUERIES, index, retriever)
    rows, docs = (grid.ravel() for grid in np.meshgrid(np.arange(len(QUERIES)), np.arange(len(DOCS)), indexing="ij"))
    assert (bm25.score_pairs(index, words, rows, docs).reshape(expected.shape) == expected).all()
    assert (expected > 0).sum() > 1000


@pytest.mark.parametrize("name", RETRIEVERS)
@pytest.mark.parametrize("depth", [1, 10, 5000])
def test_a_search_is_a_full_sort_of_the_rounded_scores(tmp_path, monkeypatch, name, depth):
    monkeypatch.setattr(postings, "PART", 17)
    retriever = RETRIEVERS[name]
    index = bm25.build(DOCS, retriever, tmp_path)
    run = bm25.search(index, bm25.words_of(QUERIES, index, retriever), depth, TIES)
    for number, scores in enumerate(np.round(reference(retriever).astype(np.float64), 5)):
        best = top_k(scores, depth, TIES, above=0.0)
        inside = slice(run.offsets[number], run.offsets[number + 1])
        assert run.docs[inside].tolist() == best.tolist()
        assert run.scores[inside].tolist() == scores[best].tolist()


@pytest.mark.parametrize("together", [1, 3, 4096])
def test_words_are_those_of_bm25s(monkeypatch, together):
    monkeypatch.setattr(bm25, "_TEXTS", together)
    for retriever in RETRIEVERS.values():
        stems, ids, lengths = bm25._tokenised(DOCS.tolist(), retriever)
        stemmer = Stemmer.Stemmer("english") if retriever.stemmer == "english" else None
        stopwords = "en" if retriever.stopwords == "english" else None
        expected = bm25s.tokenize(DOCS.tolist(), stopwords=stopwords, stemmer=stemmer, return_ids=False, show_progress=False)
        assert [stems[number] for number in ids] == [word for words in expected for word in words]
        assert lengths.tolist() == [len(words) for words in expected]
        assert stems == sorted(set(stems))


def test_thousands_of_words_outgrow_the_first_tables():
    """Words of one to nine letters, of which those of one are none; a hash table of the first size would be full."""
    generator = np.random.default_rng(0)
    letters = np.array(list("abcdefghij_0123"))
    words = ["".join(generator.choice(letters, length)) for length in generator.integers(1, 10, 60_000)]
    texts = [" ".join(words[start : start + 7]).upper() for start in range(0, 60_000, 7)] + ["", "", "a"]
    found, ids = bm25._numbered(texts, words_of_texts.splitter(params.BM25()))
    expected = [[word for word in text.lower().split() if len(word) > 1] for text in texts]
    assert len(found) == len(set(found)) > 40_000
    assert [found[number - 1] if number else None for number in ids] == [word for own in expected for word in [*own, None]]


def files_of(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("settings", [{"shard_size": 1}, {"shard_size": 100}, {"shard_size": 250, "workers": 2}, {"shard_size": 707}])
def test_neither_shards_nor_workers_change_a_byte(tmp_path, monkeypatch, settings):
    plain = bm25.build(DOCS[:300], RETRIEVERS["lucene"], tmp_path / "plain")
    monkeypatch.setattr(bm25, "_POSTINGS", 64)
    bm25.build(DOCS[:300], RETRIEVERS["lucene"], tmp_path / "other", **settings)
    names = files_of(tmp_path / "plain")
    assert names == files_of(tmp_path / "other") == ["about.json", "docs.npy", "offsets.npy", "scores.npy", "words.arrow"]
    assert filecmp.cmpfiles(tmp_path / "plain", tmp_path / "other", names, shallow=False) == (names, [], [])
    words = bm25.words_of(QUERIES, plain, RETRIEVERS["lucene"])
    one, two = (bm25.search(plain, words, 20, np.arange(300), workers=workers) for workers in (1, 3))
    assert all((getattr(one, name) == getattr(two, name)).all() for name in ("offsets", "docs", "scores"))


def test_blocks_of_documents_change_nothing(tmp_path, monkeypatch):
    """The kernel's blocks are compiled in, so its Python is run with blocks of 50 documents."""
    index = bm25.build(DOCS, RETRIEVERS["lucene"], tmp_path)
    words = bm25.words_of(QUERIES[:6], index, RETRIEVERS["lucene"])
    whole = bm25.search(index, words, 15, TIES)
    monkeypatch.setattr(postings, "_BLOCK", 50)
    monkeypatch.setattr(postings, "_rank", postings._rank.py_func)
    small = bm25.search(index, words, 15, TIES)
    assert small.docs.tolist() == whole.docs.tolist() and small.scores.tolist() == whole.scores.tolist()


def test_an_interrupted_build_goes_on_with_the_shards_that_it_has(tmp_path, monkeypatch):
    retriever, real, made = RETRIEVERS["lucene"], bm25._make_shard, []

    def make(place, *rest):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(place.name)
        real(place, *rest)

    monkeypatch.setattr(bm25, "_make_shard", make)
    with pytest.raises(KeyboardInterrupt):
        bm25.build(DOCS, retriever, tmp_path / "index", shards=tmp_path / "shards", shard_size=200)
    stamps = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "shards").iterdir() if path.is_dir()}
    assert len(stamps) == 2
    (tmp_path / "shards" / ".leftover.1").mkdir()
    read = []

    def again(place, *rest):
        read.append(place.is_dir())
        real(place, *rest)

    monkeypatch.setattr(bm25, "_make_shard", again)
    index = bm25.build(DOCS, retriever, tmp_path / "index", shards=tmp_path / "shards", shard_size=200)
    assert read == [True, True, False, False] and not (tmp_path / "shards").exists()
    whole = bm25.build(DOCS, retriever, tmp_path / "whole")
    assert (index.scores == whole.scores).all() and (index.docs == whole.docs).all()


def test_shards_of_other_texts_are_not_taken_for_these(tmp_path):
    retriever = RETRIEVERS["lucene"]
    names = {bm25._digest(list(texts), retriever) for texts in (["a b", "c"], ["a", "b c"], ["a b\0c"], ["a b", "c", ""])}
    assert len(names) == 4
    assert bm25._digest(["a"], retriever) != bm25._digest(["a"], RETRIEVERS["plain"])
    assert bm25._digest(["a"], retriever) == bm25._digest(["a"], RETRIEVERS["robertson"])  # words do not depend on the form


def test_a_collection_without_a_word_is_searched_in_vain(tmp_path):
    index = bm25.build(pd.Series(["", "the"]), RETRIEVERS["lucene"], tmp_path)
    assert (index.n_docs, len(index.words), len(index.docs)) == (2, 0, 0)
    run = bm25.search(index, bm25.words_of(pd.Series(["cat", ""]), index, RETRIEVERS["lucene"]), 3, np.arange(2))
    assert run.offsets.tolist() == [0, 0, 0]


def test_large_scores_keep_their_order(tmp_path):
    """A word that stands a thousand times in the query: scores of hundreds, still apart in the fifth decimal."""
    docs = pd.Series([" ".join(["cat"] * k + ["dog"] * (40 - k)) for k in range(40)])
    index = bm25.build(docs, RETRIEVERS["plain"], tmp_path)
    words = bm25.words_of(pd.Series(["cat dog " * 1000]), index, RETRIEVERS["plain"])
    run = bm25.search(index, words, 40, np.arange(40))
    scores = bm25.score_pairs(index, words, np.zeros(40, dtype=int), np.arange(40)).astype(np.float64).round(5)
    assert run.docs.tolist() == sorted(range(40), key=lambda row: (-scores[row], row)) and scores.max() > 20


def test_errors_name_what_is_wrong(tmp_path):
    retriever = RETRIEVERS["lucene"]
    with pytest.raises(BM25Error, match="there is no document to index"):
        bm25.build(pd.Series([], dtype="str"), retriever, tmp_path / "none")
    with pytest.raises(BM25Error, match="shard_size is 0 and workers 1"):
        bm25.build(DOCS, retriever, tmp_path / "none", shard_size=0)
    index = bm25.build(DOCS[:5], retriever, tmp_path / "few")
    words = bm25.words_of(QUERIES, index, retriever)
    with pytest.raises(PostingsError, match="4 ids for an index of 5 documents"):
        bm25.search(index, words, 3, np.arange(4))
    with pytest.raises(PostingsError, match="depth is 0"):
        bm25.search(index, words, 0, np.arange(5))
    np.save(tmp_path / "few" / "docs.npy", np.zeros(2, dtype=np.int32))
    with pytest.raises(BM25Error, match="is damaged: 2 documents"):
        bm25.Index.load(tmp_path / "few")
    (tmp_path / "few" / "scores.npy").unlink()
    with pytest.raises(BM25Error, match="no BM25 index in .*: scores.npy missing; build it again"):
        bm25.Index.load(tmp_path / "few")


def test_workers_end_with_a_parent_that_is_killed():
    script = "from rd_utils.mining import bm25; import os; "
    script += "print(bm25._pool(1).submit(os.getpid).result(), flush=True); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL
    worker, deadline = int(done.stdout), time.monotonic() + 200
    while time.monotonic() < deadline:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its parent")


def test_there_may_be_more_shards_than_files_that_a_process_may_open(tmp_path):
    whole = bm25.build(DOCS, params.BM25(), tmp_path / "whole")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 12, hard))
    try:
        many = bm25.build(DOCS, params.BM25(), tmp_path / "many", shard_size=30)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(DOCS) / 30 > 20 and (many.docs == whole.docs).all() and (many.scores == whole.scores).all()

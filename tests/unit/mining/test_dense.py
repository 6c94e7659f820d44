"""Dense search: brute force as the oracle, ties, blocks, inverted files, resumed builds."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from rd_utils.data.runs import Run, tie_order
from rd_utils.mining import dense
from rd_utils.mining.dense import DenseError
from rd_utils.mining.retrieval import top_k
from rd_utils.study import params

GENERATOR = np.random.default_rng(1)
CENTRES = GENERATOR.standard_normal((20, 16))
DOCS = (CENTRES[GENERATOR.integers(0, 20, 900)] + 0.4 * GENERATOR.standard_normal((900, 16))).astype(np.float32)
DOCS[7] = DOCS[3]  # ties
DOCS[499:506] = 3 * DOCS[499]
QUERIES = (DOCS[GENERATOR.integers(0, 900, 30)] + 0.1 * GENERATOR.standard_normal((30, 16))).astype(np.float32)
QUERIES[0] = DOCS[499]
TIES = tie_order([f"d{i}" for i in range(900)])
PQ = params.IVFPQ(nlist=16, nprobe=8, m=8, sample=900, refine=4)
ON_DISK = params.IVFOnDisk(nlist=16, nprobe=8, sample=600)


def exact(depth):
    scores = np.round(QUERIES.astype(np.float64) @ DOCS.astype(np.float64).T, 4)
    return [top_k(row, depth, TIES) for row in scores], scores


def same(one, two):
    return all(np.array_equal(getattr(one, name), getattr(two, name)) for name in ("offsets", "docs", "scores"))


@pytest.mark.parametrize("block", [97, 500, 900, 10_000])
@pytest.mark.parametrize("depth", [1, 10, 2000])
def test_an_exhaustive_search_finds_the_largest_inner_products(monkeypatch, block, depth):
    monkeypatch.setattr(dense, "BLOCK", block)
    monkeypatch.setattr(dense, "PART", 11)
    run = dense.search(DOCS, QUERIES, depth, TIES)
    best, scores = exact(depth)
    assert run.lengths().tolist() == [min(depth, 900)] * 30
    for number, expected in enumerate(best):
        inside = slice(run.offsets[number], run.offsets[number + 1])
        np.testing.assert_allclose(run.scores[inside], scores[number, expected], atol=2e-4)
        assert (np.diff(run.scores[inside]) <= 0).all()
    tied = [row for row in run.docs[: run.offsets[1]] if 499 <= row <= 505]
    assert tied == sorted(range(499, 506), key=lambda row: TIES[row])[: len(tied)] and len(tied) == min(depth, 7)


def test_an_exhaustive_search_is_that_of_faisss_flat_index():
    """What the suite did before it searched in blocks, to the last bit of the rounded scores."""
    import faiss

    index = faiss.IndexFlatIP(16)
    index.add(DOCS)
    scores, rows = index.search(QUERIES, 30)
    run = dense.search(DOCS, QUERIES, 10, TIES)
    for number in range(30):
        rounded = np.round(scores[number].astype(np.float64), 5)
        order = np.lexsort((TIES[rows[number]], -rounded))[:10]
        inside = slice(run.offsets[number], run.offsets[number + 1])
        assert run.docs[inside].tolist() == rows[number][order].tolist()
        assert run.scores[inside].tolist() == rounded[order].tolist()


def test_a_long_search_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(dense, "PART", 8)
    whole, real, calls = dense.search(DOCS, QUERIES, 5, TIES), dense._nearest, []

    def nearest(*arguments):
        calls.append(len(arguments[1]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(dense, "_nearest", nearest)
    with pytest.raises(KeyboardInterrupt):
        dense.search(DOCS, QUERIES, 5, TIES, folder=tmp_path / "parts")
    assert same(dense.search(DOCS, QUERIES, 5, TIES, folder=tmp_path / "parts"), whole)
    assert calls == [8, 8, 8, 8, 6]


# --- inverted files


@pytest.mark.parametrize("settings", [PQ, ON_DISK], ids=["ivf_pq", "ivf_on_disk"])
def test_an_inverted_file_that_looks_everywhere_is_exact(tmp_path, settings):
    """All cells, and so deep that product quantisation hides nothing: what is left are the embeddings' own scores."""
    settings = settings.model_copy(update={"nprobe": 16})
    index = dense.build(DOCS, settings, tmp_path)
    run = dense.search(DOCS, QUERIES, 10, TIES, index=index, refine=90)
    flat = dense.search(DOCS, QUERIES, 10, TIES)
    np.testing.assert_allclose(run.scores, flat.scores, atol=2e-5)
    assert dense.recall(DOCS, QUERIES, run, 10, TIES)[0] > 0.99


@pytest.mark.parametrize("settings", [PQ, ON_DISK], ids=["ivf_pq", "ivf_on_disk"])
def test_an_inverted_file_misses_some_and_says_how_many(tmp_path, settings):
    index = dense.build(DOCS, settings.model_copy(update={"nprobe": 1}), tmp_path)
    run = dense.search(DOCS, QUERIES, 100, TIES, index=index, refine=2)
    flat = dense.search(DOCS, QUERIES, 100, TIES)
    shares = []
    for number in range(30):
        found, wanted = (set(one.docs[one.offsets[number] : one.offsets[number + 1]].tolist()) for one in (run, flat))
        shares.append(len(found & wanted) / 100)
    value, n = dense.recall(DOCS, QUERIES, run, 100, TIES)
    assert value == pytest.approx(np.mean(shares)) and n == 30 and 0.1 < value < 0.9
    few, n = dense.recall(DOCS, QUERIES, run, 100, TIES, queries=5)
    chosen = np.random.default_rng(0).permutation(30)[:5]
    assert n == 5 and few == pytest.approx(np.mean(np.array(shares)[chosen]))
    assert (run.lengths() <= 100).all() and run.lengths().min() < 100  # a cell may hold fewer than are asked for


@pytest.mark.parametrize("settings", [PQ, ON_DISK], ids=["ivf_pq", "ivf_on_disk"])
def test_an_interrupted_build_goes_on_and_shards_change_nothing(tmp_path, monkeypatch, settings):
    whole = dense.search(DOCS, QUERIES, 10, TIES, index=dense.build(DOCS, settings, tmp_path / "whole"))
    monkeypatch.setattr(dense, "BLOCK", 250)
    real, written = dense._write, []

    def write(index, place):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(place.name)
        real(index, place)

    monkeypatch.setattr(dense, "_write", write)
    with pytest.raises(KeyboardInterrupt):
        dense.build(DOCS, settings, tmp_path / "again", shards=tmp_path / "shards")
    assert len(list((tmp_path / "shards").glob("*.faiss"))) == 3  # the trained index and two of four shards
    again = []
    monkeypatch.setattr(dense, "_write", lambda index, place: (again.append(place.name), real(index, place)))
    index = dense.build(DOCS, settings, tmp_path / "again", shards=tmp_path / "shards")
    assert len(again) == 2 and not set(again) & set(written) and not (tmp_path / "shards").exists()
    assert same(dense.search(DOCS, QUERIES, 10, TIES, index=index), whole)


def test_an_index_moves_with_its_folder(tmp_path):
    dense.build(DOCS, ON_DISK, tmp_path / "draft")
    (tmp_path / "draft").rename(tmp_path / "final")
    run = dense.search(DOCS, QUERIES, 10, TIES, index=dense.load(tmp_path / "final", ON_DISK))
    assert dense.recall(DOCS, QUERIES, run, 10, TIES)[0] > 0.8


def test_embeddings_are_written_in_chunks_that_outlive_an_interruption(tmp_path):
    asked = []

    def embed(start, stop, fail=False):
        asked.append((start, stop))
        if fail and start:
            raise KeyboardInterrupt
        return DOCS[start:stop]

    arguments = tmp_path / "vectors.npy", tmp_path / "chunks"
    with pytest.raises(KeyboardInterrupt):
        dense.embed_in_chunks(900, lambda start, stop: embed(start, stop, fail=True), *arguments, size=400)
    found = dense.embed_in_chunks(900, embed, *arguments, size=400)
    assert asked == [(0, 400), (400, 800), (400, 800), (800, 900)]
    assert isinstance(found, np.memmap) and (found == DOCS).all() and not (tmp_path / "chunks").exists()


def test_errors_name_what_is_wrong(tmp_path):
    with pytest.raises(DenseError, match="documents have 16 dimensions and queries 4; embed both with one encoder"):
        dense.search(DOCS, QUERIES[:, :4], 3, TIES)
    with pytest.raises(DenseError, match="5 ids for 900 embeddings"):
        dense.search(DOCS, QUERIES, 3, TIES[:5])
    with pytest.raises(DenseError, match="900 documents, of which 900 may train, cannot fill 5000 cells and 256 codes; lower nlist"):
        dense.build(DOCS, params.IVFPQ(nlist=5000, m=8, sample=900), tmp_path)
    with pytest.raises(DenseError, match="m is 5, which does not divide the 16 dimensions"):
        dense.build(DOCS, params.IVFPQ(nlist=16, nprobe=4, m=5), tmp_path)
    with pytest.raises(DenseError, match="no dense index in .*: index.faiss and lists.ivfdata missing"):
        dense.load(tmp_path, ON_DISK)
    with pytest.raises(ValidationError, match="nprobe is 64, above nlist 16"):
        params.IVFPQ(nlist=16)


@pytest.mark.parametrize("block", [64, 10_000])
@pytest.mark.parametrize("depth", [1, 7, 25, 390])
def test_ties_beyond_any_margin_are_settled_by_doc_id(monkeypatch, block, depth):
    """400 documents are equal, of which the last ones have the first ids; 20 are better for one query, and all are 0 for another."""
    monkeypatch.setattr(dense, "BLOCK", block)
    docs = np.repeat(np.array([[1.0, 0.0, 0.0], [2.0, 0.5, 0.0], [0.5, 0.0, 0.0]], dtype=np.float32), [400, 20, 80], axis=0)
    ties = np.arange(500)[::-1]
    queries = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0], [-1, 0, 0], [0, 0, 1]], dtype=np.float32)
    run = dense.search(docs, queries, depth, ties)
    for number, scores in enumerate(queries @ docs.T):
        inside = slice(run.offsets[number], run.offsets[number + 1])
        assert run.docs[inside].tolist() == top_k(scores, depth, ties).tolist()
        assert run.scores[inside].tolist() == scores[run.docs[inside]].tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_embeddings_that_are_not_finite_are_refused_by_row(tmp_path, monkeypatch, bad):
    monkeypatch.setattr(dense, "BLOCK", 250)
    monkeypatch.setattr(dense, "PART", 11)
    docs, queries = DOCS.copy(), QUERIES.copy()
    docs[700, 3] = docs[702, 3] = queries[14, 0] = bad
    with pytest.raises(DenseError, match="of 2 of 250 texts are not finite, .*; the first is the document in row 700; .* fp32"):
        dense.search(docs, QUERIES, 3, TIES)
    with pytest.raises(DenseError, match="the document in row 700"):
        dense.build(docs, ON_DISK, tmp_path / "bad")
    index = dense.build(DOCS, ON_DISK, tmp_path / "good")
    for options in ({}, {"index": index}):
        with pytest.raises(DenseError, match="of 1 of 11 texts are not finite, or above 1e\\+15; the first is the query in row 14"):
            dense.search(DOCS, queries, 3, TIES, **options)


def test_no_text_has_embeddings_of_the_right_width(tmp_path):
    found = dense.embed_in_chunks(0, lambda start, stop: DOCS[start:stop], tmp_path / "vectors.npy", tmp_path / "chunks")
    assert found.shape == (0, 16) and np.load(tmp_path / "vectors.npy").dtype == np.float32


def test_recall_of_nothing_is_no_number():
    nothing = Run(np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int32), np.zeros(0))
    assert np.isnan(dense.recall(DOCS, QUERIES[:0], nothing, 10, TIES)[0])


@pytest.mark.parametrize("block", [2, 10_000])
@pytest.mark.parametrize("depth", [2, 10])
def test_a_zero_vector_is_found_by_nothing_and_finds_nothing(monkeypatch, block, depth):
    """Documents 1 and 3 have no word: of the inner products 2, 0, -1, 0, -3 theirs would come second and third."""
    monkeypatch.setattr(dense, "BLOCK", block)
    docs = np.array([[2, 0], [0, 0], [-1, 0], [0, 0], [-3, 0]], dtype=np.float32)
    run = dense.search(docs, np.array([[0, 0], [1, 0], [0, 0]], dtype=np.float32), depth, np.arange(5))
    assert run.offsets.tolist() == [0, 0, min(depth, 3), min(depth, 3)]
    assert run.docs.tolist() == [0, 2, 4][:depth] and run.scores.tolist() == [2.0, -1.0, -3.0][:depth]
    tied = dense.search(np.repeat(docs, 40, axis=0), np.array([[0, 1]], dtype=np.float32), 3, np.arange(200)[::-1])
    assert tied.docs.tolist() == [199, 198, 197]  # all are 0, but 40 to 79 and 120 to 159 have no word
    nothing = dense.search(np.zeros((3, 2), dtype=np.float32), np.ones((2, 2), dtype=np.float32), depth, np.arange(3))
    assert len(nothing) == 2 and not len(nothing.docs)


def test_an_index_lists_no_zero_vector(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    vectors[::4] = 0
    settings = params.IVFOnDisk(nlist=2, nprobe=2, sample=200)
    index = dense.build(vectors, settings, tmp_path)
    asked = vectors[:3].copy()
    run = dense.search(vectors, asked, 160, np.arange(200), index=index)
    assert run.lengths().tolist() == [0, 150, 150] and (run.docs % 4 != 0).all()

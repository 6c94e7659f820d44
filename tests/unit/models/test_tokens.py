"""Token tables: what is stored, gathered and batched, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from rd_utils.models.tokens import TokenTable, gather, join, length_buckets, take, tokenize

VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "red": 5, "green": 6, "blue": 7}


def word_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return tokenizer


@pytest.fixture
def table() -> TokenTable:
    return TokenTable(ids=np.array([5, 6, 7, 5, 6], dtype=np.int32), offsets=np.array([0, 3, 3, 4, 5]))


def test_tokenize_keeps_the_order_of_texts_and_adds_no_special_token() -> None:
    table = tokenize(["red green", "", "purple", "blue"], word_tokenizer(), batch_size=2)
    assert table.ids.tolist() == [5, 6, 1, 7]
    assert table.offsets.tolist() == [0, 2, 2, 3, 4]
    assert (table.ids.dtype, table.offsets.dtype) == (np.int32, np.int64)


def test_tokenize_neither_truncates_nor_pads_nor_changes_the_tokenizer() -> None:
    tokenizer = word_tokenizer()
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=8)
    before = tokenizer.to_str()
    assert tokenize(["red green blue red"], tokenizer).lengths().tolist() == [4]
    assert tokenizer.to_str() == before


def test_tokenize_takes_fast_tokenizers_of_transformers() -> None:
    fast = PreTrainedTokenizerFast(tokenizer_object=word_tokenizer(), pad_token="[PAD]", unk_token="[UNK]")
    texts = ["red blue", "green"]
    assert tokenize(texts, fast).ids.tolist() == tokenize(texts, word_tokenizer()).ids.tolist() == [5, 7, 6]


def test_tokenize_reports_texts_done_and_takes_no_texts_at_all() -> None:
    done: list[int] = []
    tokenize(["red"] * 5, word_tokenizer(), batch_size=2, progress=done.append)
    assert done == [2, 4, 5]
    assert len(tokenize([], word_tokenizer())) == 0


def test_tokenize_refuses_what_is_no_text_and_what_is_no_fast_tokenizer() -> None:
    with pytest.raises(TypeError, match="text 1 is NoneType"):
        tokenize(["red", None], word_tokenizer())
    with pytest.raises(TypeError, match="not a fast tokenizer"):
        tokenize(["red"], object())


def test_rows_and_lengths(table: TokenTable) -> None:
    assert len(table) == 4
    assert table.lengths().tolist() == [3, 0, 1, 1]
    assert [table.row(i).tolist() for i in range(4)] == [[5, 6, 7], [], [5], [6]]
    with pytest.raises(IndexError, match="row 4 of a token table with 4 rows"):
        table.row(4)


def test_save_and_load_give_the_same_table_memory_mapped(table: TokenTable, tmp_path) -> None:
    table.save(tmp_path / "tokens")
    again = TokenTable.load(tmp_path / "tokens")
    assert isinstance(again.ids, np.memmap)
    assert again.ids.tolist() == table.ids.tolist() and again.offsets.tolist() == table.offsets.tolist()
    empty = TokenTable(ids=np.zeros(0, np.int32), offsets=np.zeros(3, np.int64))
    empty.save(tmp_path / "empty")
    assert TokenTable.load(tmp_path / "empty").lengths().tolist() == [0, 0]


def test_load_says_what_is_missing_or_damaged(table: TokenTable, tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="ids.npy and offsets.npy missing"):
        TokenTable.load(tmp_path)
    table.save(tmp_path)
    np.save(tmp_path / "ids.npy", table.ids[:-1])
    with pytest.raises(ValueError, match="4 ids, but the last offset is 5"):
        TokenTable.load(tmp_path)


def test_take_cuts_the_text_and_keeps_the_frame(table: TokenTable) -> None:
    taken = take(table, np.array([0, 1, 3]), max_length=4, prefix=[2, 4], suffix=[3])
    assert [taken.row(i).tolist() for i in range(3)] == [[2, 4, 5, 3], [2, 4, 3], [2, 4, 6, 3]]


def test_take_accepts_one_limit_per_row(table: TokenTable) -> None:
    taken = take(table, np.array([0, 0, 0]), max_length=np.array([1, 2, 9]))
    assert [taken.row(i).tolist() for i in range(3)] == [[5], [5, 6], [5, 6, 7]]


def test_join_puts_the_rows_of_the_second_table_after_those_of_the_first(table: TokenTable) -> None:
    joined = join([take(table, np.array([2])), take(table, np.array([0, 1]))])
    assert joined.ids.tolist() == [5, 5, 6, 7] and joined.offsets.tolist() == [0, 1, 4, 4]


def test_gather_pads_to_the_longest_row_with_rows_in_any_order_and_repeated(table: TokenTable) -> None:
    ids, lengths = gather(table, np.array([3, 0, 1, 3]), max_length=2, pad=9)
    assert ids.tolist() == [[6, 9], [5, 6], [9, 9], [6, 9]]
    assert lengths.tolist() == [1, 2, 0, 1]
    assert ids.dtype == np.int64


def test_gather_equals_a_loop_over_rows() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 9, size=50)
    table = TokenTable(ids=rng.integers(5, 99, lengths.sum()).astype(np.int32), offsets=np.concatenate([[0], np.cumsum(lengths)]))
    rows = rng.integers(0, 50, size=30)
    ids, found = gather(table, rows, max_length=7, prefix=[2], suffix=[3])
    for row, length, source in zip(ids.tolist(), found, rows, strict=True):
        expected = [2, *table.row(source)[:5].tolist(), 3]
        assert row == expected + [0] * (ids.shape[1] - len(expected)) and length == len(expected)


def test_length_buckets_cover_every_row_once_within_the_limit() -> None:
    lengths = np.random.default_rng(1).integers(0, 60, size=500)
    batches = length_buckets(lengths, max_tokens=256)
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    assert all(len(batch) * lengths[batch].max() <= 256 for batch in batches)
    longest = [lengths[batch].max() for batch in batches]
    assert longest == sorted(longest, reverse=True)


def test_a_row_longer_than_the_limit_is_a_batch_of_its_own_and_equal_lengths_keep_their_order() -> None:
    assert [b.tolist() for b in length_buckets(np.array([3, 3, 50, 3]), max_tokens=9)] == [[2], [0, 1, 3]]
    assert length_buckets(np.array([], dtype=int), max_tokens=9) == []
    with pytest.raises(ValueError, match="max_tokens is 0"):
        length_buckets(np.array([1]), max_tokens=0)

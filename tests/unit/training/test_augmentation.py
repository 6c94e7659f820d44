"""Augmentation of texts and scores, and queries made from documents: values by hand, invariants, shares within five standard errors."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from rd_utils.data.collections import CollectionError
from rd_utils.models.tokens import TokenTable
from rd_utils.study.params import Augmentation
from rd_utils.training.augmentation import (
    augment_scores,
    augment_texts,
    drop_words,
    keep_spans,
    nearest_words,
    pseudo_queries,
    replace_words,
    word_starts,
)

# Even tokens begin a word, odd ones continue it.
VOCABULARY = 40
STARTS = np.arange(VOCABULARY) % 2 == 0


def token_table(*rows: list[int]) -> TokenTable:
    ids = np.array([token for row in rows for token in row], dtype=np.int32)
    return TokenTable(ids=ids, offsets=np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64))


def rows_of(table: TokenTable) -> list[list[int]]:
    assert table.offsets[0] == 0 and table.offsets[-1] == len(table.ids) and (table.lengths() >= 0).all()
    assert (table.ids.dtype, table.offsets.dtype) == (np.int32, np.int64)
    return [table.row(i).tolist() for i in range(len(table))]


def random_table(n: int = 3000, seed: int = 0) -> TokenTable:
    """Return texts of 0 to 9 tokens, every tenth of them empty or so."""
    generator = np.random.default_rng(seed)
    return token_table(*(generator.integers(0, VOCABULARY, size=length).tolist() for length in generator.integers(0, 10, size=n)))


def words_of(row: list[int]) -> list[tuple[int, ...]]:
    """Return a text's words, each with its tokens: the plain loop that the vectorised code is held against."""
    words: list[list[int]] = []
    for token in row:
        if not words or STARTS[token]:
            words.append([])
        words[-1].append(token)
    return [tuple(word) for word in words]


def is_subsequence(part: list, whole: list) -> bool:
    rest = iter(whole)
    return all(item in rest for item in part)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def within_five_sigma(successes: int, trials: int, probability: float) -> bool:
    return abs(successes - trials * probability) < 5 * math.sqrt(trials * probability * (1 - probability))


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (["[PAD]", "[CLS]", "red", "##dish", "##es", "#", "blue"], [True, True, True, False, False, True, True]),
        (["<s>", "▁red", "dish", "▁", "▁blue", "##"], [False, True, False, True, True, False]),
        (["<s>", "Ġred", "dish", "Ġ", "Ġblue", "."], [False, True, False, True, True, False]),
        (["[PAD]", "red", "dish", "blue"], [True, True, True, True]),
        ([], []),
    ],
)
def test_word_starts_follow_the_convention_of_the_vocabulary(tokens, expected):
    found = word_starts(tokens)
    assert found.dtype == bool and found.tolist() == expected


def test_the_marker_of_most_tokens_is_the_convention():
    assert word_starts(["▁a", "▁b", "##", "c", "Ġ"]).tolist() == [True, True, False, False, False]


# --- leaving words out -----------------------------------------------------------------------------------------------


def test_all_words_but_one_go_at_share_one_and_each_is_as_likely_to_stay():
    # Words (2 3), (4), (6 7): the odd token 9 begins the second text, as the first of a text does in any case.
    table = token_table([2, 3, 4, 6, 7], [9], [])
    kept = [rows_of(drop_words(table, STARTS, 1.0, rng(seed))) for seed in range(3000)]
    assert all(rows[1:] == [[9], []] for rows in kept)
    firsts = [tuple(rows[0]) for rows in kept]
    assert set(firsts) == {(2, 3), (4,), (6, 7)}
    assert all(within_five_sigma(firsts.count(word), 3000, 1 / 3) for word in set(firsts))


def test_share_zero_leaves_all_words():
    table = random_table()
    assert rows_of(drop_words(table, STARTS, 0.0, rng())) == rows_of(table)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_whole_words_go_in_order_and_one_stays_in_each_text(share):
    before = random_table(1000)
    for old, new in zip(rows_of(before), rows_of(drop_words(before, STARTS, share, rng(1))), strict=True):
        assert new in subsets_of_words(old)


def subsets_of_words(row: list[int]) -> list[list[int]]:
    """Return the tokens of every choice of at least one word; of an empty text, itself."""
    words = words_of(row)
    choices = [[token for at, word in enumerate(words) if mask >> at & 1 for token in word] for mask in range(1, 1 << len(words))]
    return choices or [[]]


def test_words_go_with_the_probability_of_the_share():
    # Texts of 40 words never lose all at share 0.3 (0.3 ** 40), so that the rule of the last word does not touch the share.
    table = token_table(*[[0, 1] * 40 for _ in range(500)])
    kept = drop_words(table, STARTS, 0.3, rng(2))
    assert len(kept.ids) % 2 == 0 and (kept.ids[::2] == 0).all() and (kept.ids[1::2] == 1).all()
    assert within_five_sigma(20_000 - len(kept.ids) // 2, 20_000, 0.3)


def test_words_go_independently_within_a_text():
    table = token_table(*[[0, 2] for _ in range(4000)])
    rows = rows_of(drop_words(table, STARTS, 0.5, rng(3)))
    # Both stay with 1/4; both would go with 1/4, where either stays with 1/8.
    assert within_five_sigma(rows.count([0, 2]), 4000, 1 / 4)
    assert within_five_sigma(rows.count([0]), 4000, 3 / 8)
    assert within_five_sigma(rows.count([2]), 4000, 3 / 8)


# --- near words ------------------------------------------------------------------------------------------------------


def test_nearest_words_by_hand():
    vectors = np.array([[1.0, 0.0], [5.0, 0.0], [1.0, 1.0], [0.0, 2.0], [1.0, 0.1], [0.0, 0.0]])
    # Token 4 is no word; 0 and 1 point the same way; 5 has cosine 0 with all, so its neighbours are in the order of the ids.
    found = nearest_words(vectors, np.array([5, 3, 2, 1, 0]), k=2)
    assert found.dtype == np.int32
    assert found.tolist() == [[1, 2], [0, 2], [0, 1], [2, 0], [-1, -1], [0, 1]]


def test_fewer_words_than_neighbours_leave_the_rest_empty():
    assert nearest_words(np.eye(4), np.array([3, 1]), k=3).tolist() == [[-1] * 3, [3, -1, -1], [-1] * 3, [1, -1, -1]]
    assert (nearest_words(np.eye(4), np.array([], dtype=int), k=1) == -1).all()


def test_nearest_words_equal_sorting_all_cosines_across_blocks(monkeypatch):
    vectors, words = rng(5).normal(size=(60, 8)), np.arange(1, 60, 2)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    monkeypatch.setattr("rd_utils.training.augmentation._BLOCK", 7)
    found = nearest_words(vectors, words, k=4)
    for word in words:
        others = words[words != word]
        assert found[word].tolist() == others[np.argsort(-(unit[others] @ unit[word]))][:4].tolist()
    assert (found[::2] == -1).all()


def test_tied_words_are_in_the_order_of_their_ids():
    found = nearest_words(np.tile([[0.3, 0.7, 0.1]], (6, 1)), np.arange(6), k=3)
    assert found.tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2], [0, 1, 2], [0, 1, 2]]


def test_nearest_words_refuse_what_cannot_be_compared():
    with pytest.raises(ValueError, match="k is 0"):
        nearest_words(np.eye(3), np.arange(3), k=0)
    with pytest.raises(ValueError, match="words range from 0 to 3; expected token ids from 0 to 2"):
        nearest_words(np.eye(3), np.arange(4), k=1)
    with pytest.raises(ValueError, match="vectors of 1 words are not finite, the first is token 1"):
        nearest_words(np.array([[1.0], [np.nan], [np.nan]]), np.array([0, 1]), k=1)


# --- replacing words -------------------------------------------------------------------------------------------------

NEIGHBOURS = np.full((VOCABULARY, 3), -1)
NEIGHBOURS[[0, 2, 4]] = [[2, 4, 6], [0, 4, -1], [0, -1, -1]]


def test_only_single_token_words_with_neighbours_are_replaced():
    # 4 has the one neighbour 0; 6 has none; 4 5 is one word of two tokens; 4 at the end of a text is single, whatever follows.
    table = token_table([4, 6, 4, 5, 4], [], [5, 4], [4, 5])
    assert rows_of(replace_words(table, STARTS, NEIGHBOURS, 1.0, rng())) == [[0, 6, 4, 5, 0], [], [5, 0], [4, 5]]
    assert table.ids[0] == 4


def test_the_first_token_of_a_text_is_a_word_and_replaced_where_it_has_neighbours():
    neighbours = NEIGHBOURS.copy()
    neighbours[5, 0] = 8
    assert rows_of(replace_words(token_table([5, 2, 5], [5]), STARTS, neighbours, 1.0, rng())) == [[8, 2, 5], [8]]


def test_words_are_replaced_with_the_probability_of_the_share_by_any_neighbour():
    table = token_table([0] * 30_000, [2] * 30_000)
    first, second = rows_of(replace_words(table, STARTS, NEIGHBOURS, 0.3, rng(1)))
    assert set(first) == {0, 2, 4, 6} and set(second) == {0, 2, 4}
    assert all(within_five_sigma(first.count(token), 30_000, 0.1) for token in (2, 4, 6))
    assert all(within_five_sigma(second.count(token), 30_000, 0.15) for token in (0, 4))


def test_share_zero_replaces_nothing():
    assert rows_of(replace_words(random_table(), STARTS, NEIGHBOURS, 0.0, rng())) == rows_of(random_table())


def test_neighbours_of_another_vocabulary_are_refused():
    with pytest.raises(ValueError, match="neighbours has 39 rows for a vocabulary of 40 tokens"):
        replace_words(random_table(), STARTS, NEIGHBOURS[:-1], 0.5, rng())


# --- spans -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.99])
def test_spans_are_contiguous_and_of_the_length_of_the_share(share):
    before = token_table(*([100 * row + at for at in range(row % 12)] for row in range(240)))
    for old, new in zip(rows_of(before), rows_of(keep_spans(before, share, rng(1))), strict=True):
        assert len(new) == (max(1, round(share * len(old))) if old else 0)
        assert new == list(range(new[0], new[0] + len(new))) if new else not old
        assert set(new) <= set(old)


def test_spans_start_anywhere_alike():
    table = token_table(*[[0, 1, 2, 3, 4] for _ in range(4000)])
    starts = [row[0] for row in rows_of(keep_spans(table, 0.4, rng(2)))]
    assert set(starts) == {0, 1, 2, 3}
    assert stats.chisquare(np.bincount(starts)).pvalue > 0.001


def test_share_one_is_the_table_itself():
    table = random_table()
    assert keep_spans(table, 1.0, rng()) is table


def test_shares_out_of_range_and_foreign_tokens_are_refused():
    table = random_table()
    for share in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=f"share is {share}; expected a number from 0 to 1"):
            drop_words(table, STARTS, share, rng())
        with pytest.raises(ValueError, match=f"share is {share}; expected a number from 0 to 1"):
            replace_words(table, STARTS, NEIGHBOURS, share, rng())
    for share in (0.0, 1.1, math.nan):
        with pytest.raises(ValueError, match=f"share is {share}; expected a number above 0"):
            keep_spans(table, share, rng())
    with pytest.raises(ValueError, match="token 40 is not in the vocabulary of 40 tokens"):
        drop_words(token_table([1, 40]), STARTS, 0.5, rng())


# --- an epoch's texts ------------------------------------------------------------------------------------------------

ALL_ON = Augmentation(query_dropout=0.3, query_replacement=0.4, document_span=0.5)


def augmented(augmentation: Augmentation = ALL_ON, seed: int = 1, epoch: int = 0, neighbours: np.ndarray | None = NEIGHBOURS):
    return augment_texts(
        random_table(400, 1), random_table(400, 2), augmentation, starts=STARTS, neighbours=neighbours, seed=seed, epoch=epoch
    )


def test_the_same_seed_and_epoch_give_the_same_bytes_and_others_give_others():
    found, again = augmented(), augmented()
    for table, same in zip(found, again, strict=True):
        assert table.ids.tobytes() == same.ids.tobytes() and table.offsets.tobytes() == same.offsets.tobytes()
    for other in (augmented(epoch=1), augmented(seed=2)):
        for table, different in zip(found, other, strict=True):
            assert rows_of(table) != rows_of(different)


def test_texts_are_replaced_then_dropped_and_documents_cut():
    queries, docs = augmented(seed=7, epoch=3)
    replaced = replace_words(random_table(400, 1), STARTS, NEIGHBOURS, 0.4, np.random.default_rng([7, 3, 1]))
    assert rows_of(queries) == rows_of(drop_words(replaced, STARTS, 0.3, np.random.default_rng([7, 3, 2])))
    assert rows_of(docs) == rows_of(keep_spans(random_table(400, 2), 0.5, np.random.default_rng([7, 3, 3])))


def test_what_is_off_is_left_alone_and_moves_no_other_draw():
    queries, docs = augmented(Augmentation(), neighbours=None)
    assert rows_of(queries) == rows_of(random_table(400, 1)) and rows_of(docs) == rows_of(random_table(400, 2))
    only_docs = augmented(Augmentation(document_span=0.5), neighbours=None)
    assert rows_of(only_docs[0]) == rows_of(random_table(400, 1))
    assert rows_of(only_docs[1]) == rows_of(augmented()[1])


def test_empty_texts_and_empty_tables_survive():
    empty = token_table([], [], [])
    for rows in (empty, token_table()):
        queries, docs = augment_texts(rows, rows, ALL_ON, starts=STARTS, neighbours=NEIGHBOURS, seed=0, epoch=0)
        assert rows_of(queries) == rows_of(docs) == [[]] * len(rows)


def test_memory_mapped_tables_are_read_and_not_written(tmp_path):
    random_table(400, 1).save(tmp_path)
    mapped = TokenTable.load(tmp_path)
    queries, docs = augment_texts(mapped, mapped, ALL_ON, starts=STARTS, neighbours=NEIGHBOURS, seed=1, epoch=0)
    assert rows_of(queries) == rows_of(augmented()[0])
    assert type(queries.ids) is type(docs.ids) is np.ndarray


def test_replacement_without_neighbours_is_an_error():
    with pytest.raises(ValueError, match="query_replacement is 0.4, but there are no neighbours"):
        augmented(neighbours=None)


# --- scores ----------------------------------------------------------------------------------------------------------

SCORES = np.array([[3.0, 8.0, -2.0, 3.0, 5.0], [1.0, 1.0, 1.0, 1.0, 0.0]])


def test_scores_unchanged_are_float32_copies():
    found = augment_scores(SCORES, Augmentation(), seed=0)
    assert found.dtype == np.float32 and found.tolist() == SCORES.tolist()
    found[0, 0] = 99
    assert SCORES[0, 0] == 3.0


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        (1, [[-2, 8, -2, -2, -2], [1, 0, 0, 0, 0]]),
        (3, [[3, 8, -2, -2, 5], [1, 1, 1, 0, 0]]),  # of the two at 3, the first column is among the best three
        (5, [[3, 8, -2, 3, 5], [1, 1, 1, 1, 0]]),
    ],
)
def test_top_k_levels_what_is_below_the_k_best(k, expected):
    assert augment_scores(SCORES, Augmentation(top_k=k), seed=0).tolist() == expected


def test_ranks_by_hand():
    assert augment_scores(SCORES, Augmentation(ranks=True), seed=0).tolist() == [[-2.5, 0, -4, -2.5, -1], [-1.5, -1.5, -1.5, -1.5, -4]]
    assert augment_scores(SCORES, Augmentation(ranks=True, top_k=2), seed=0).tolist() == [[-3, 0, -3, -3, -1], [-0.5, -0.5, -3, -3, -3]]


def test_ranks_keep_the_order_and_forget_the_scale():
    scores = rng(3).normal(size=(50, 7))
    ranks = augment_scores(scores, Augmentation(ranks=True), seed=0)
    assert (np.argsort(-ranks, axis=1) == np.argsort(-scores, axis=1)).all()
    assert (ranks == augment_scores(np.exp(9 * scores), Augmentation(ranks=True), seed=0)).all()


def test_noise_has_its_standard_deviation_and_its_seed():
    zero = np.zeros((2000, 16))
    noise = augment_scores(zero, Augmentation(noise=0.5), seed=3)
    assert stats.kstest(noise.ravel(), stats.norm(scale=0.5).cdf).pvalue > 0.001
    assert abs(noise.std() - 0.5) < 5 * 0.5 / math.sqrt(2 * noise.size)
    assert noise.tobytes() == augment_scores(zero, Augmentation(noise=0.5), seed=3).tobytes()
    assert abs(np.corrcoef(noise.ravel(), augment_scores(zero, Augmentation(noise=0.5), seed=4).ravel())[0, 1]) < 5 / math.sqrt(noise.size)
    np.testing.assert_allclose(augment_scores(zero + 7, Augmentation(noise=1.0), seed=3), 7 + 2 * noise, rtol=1e-6)


def test_noise_comes_before_the_k_best_and_these_before_ranks():
    scores = rng(4).normal(size=(20, 6))
    noisy = augment_scores(scores, Augmentation(noise=1.0), seed=5)
    levelled = augment_scores(noisy, Augmentation(top_k=3), seed=0)
    assert (augment_scores(scores, Augmentation(noise=1.0, top_k=3), seed=5) == levelled).all()
    ranked = augment_scores(levelled, Augmentation(ranks=True), seed=0)
    assert (augment_scores(scores, Augmentation(noise=1.0, top_k=3, ranks=True), seed=5) == ranked).all()
    assert (np.sort(ranked, axis=1) == [-4.0, -4.0, -4.0, -2.0, -1.0, 0.0]).all()


def test_scores_that_cannot_be_changed_are_refused():
    with pytest.raises(ValueError, match="top_k is 6, but a group has 5 documents; lower top_k"):
        augment_scores(SCORES, Augmentation(top_k=6), seed=0)
    with pytest.raises(ValueError, match=r"shape \(5,\); expected two dimensions"):
        augment_scores(SCORES[0], Augmentation(), seed=0)


@pytest.mark.parametrize("missing", [math.nan, math.inf, -math.inf])
def test_erratum_07_a_missing_score_is_an_error(missing):
    scores = SCORES.copy()
    scores[1, 2] = missing
    with pytest.raises(ValueError, match=r"1 of 10 teacher_scores .* document 2 of group 1; a missing score"):
        augment_scores(scores, Augmentation(ranks=True), seed=0)


def test_no_groups_give_no_scores():
    assert augment_scores(np.empty((0, 4)), Augmentation(noise=1.0, top_k=2, ranks=True), seed=0).shape == (0, 4)


# --- queries from documents ------------------------------------------------------------------------------------------

DOCS = pd.DataFrame(
    {
        "doc_id": [f"d{number:02d}" for number in range(30)],
        "text": [" ".join(f"w{(7 * number + 3 * at) % 50}" for at in range(number + 1)) for number in range(30)],
    }
)


def draw_queries(docs=DOCS, n=10, words=(3, 5), weighting="idf", seed=0):
    return pseudo_queries(docs, n=n, words=words, weighting=weighting, seed=seed)


@pytest.mark.parametrize("weighting", ["idf", "uniform"])
def test_queries_are_words_of_their_documents_in_their_order(weighting):
    queries, qrels = draw_queries(n=28, weighting=weighting)
    assert list(queries.columns) == ["query_id", "text"] and list(qrels.columns) == ["query_id", "doc_id", "relevance"]
    assert queries["query_id"].tolist() == qrels["query_id"].tolist() == [f"pseudo-{number:06d}" for number in range(28)]
    assert (qrels["relevance"] == 1).all() and qrels["doc_id"].is_unique
    assert set(qrels["doc_id"]) == set(DOCS["doc_id"][2:])  # d00 and d01 have fewer than three words
    texts = DOCS.set_index("doc_id")["text"]
    for query, doc_id in zip(queries["text"], qrels["doc_id"], strict=True):
        words = query.split()
        assert len(set(words)) == len(words) and 3 <= len(words) <= min(5, len(texts[doc_id].split()))
        assert is_subsequence(words, texts[doc_id].split())


def test_words_are_lower_cased_distinct_and_no_stop_words():
    docs = pd.DataFrame({"doc_id": ["d"], "text": ["The Students, and the STUDENTS' teachers: not 2 of them! Élan"]})
    assert draw_queries(docs, n=1, words=(5, 99))[0]["text"].tolist() == ["students teachers 2 them élan"]


def test_lengths_are_uniform_between_least_and_most():
    docs = pd.DataFrame({"doc_id": [f"d{number}" for number in range(3000)], "text": "a1 b1 c1 d1 e1 f1 g1 h1"})
    lengths = draw_queries(docs, n=3000, words=(2, 5))[0]["text"].str.split().str.len()
    assert stats.chisquare(np.bincount(lengths)[2:]).pvalue > 0.001 and set(lengths) == {2, 3, 4, 5}


def test_words_are_drawn_in_proportion_to_idf():
    # Every document has "shared" and "own"; half have "half" and the others a word of their own: idf by hand, N = 2000.
    docs = pd.DataFrame(
        {"doc_id": [f"d{n}" for n in range(2000)], "text": [f"shared half own{n}" if n % 2 else f"shared x{n} y{n}" for n in range(2000)]}
    )
    shared, half, own = (math.log(1 + (2000 - n_t + 0.5) / (n_t + 0.5)) for n_t in (2000, 1000, 1))
    queries, qrels = draw_queries(docs, n=2000, words=(1, 1))
    odd = queries["text"][qrels["doc_id"].str[1:].astype(int) % 2 == 1]
    assert len(odd) == 1000 and within_five_sigma(int((odd == "half").sum()), 1000, half / (shared + half + own))
    assert not (queries["text"] == "shared").any() and 2000 * shared / (shared + half + own) < 0.1
    uniform = draw_queries(docs, n=2000, words=(1, 1), weighting="uniform")[0]["text"]
    assert within_five_sigma(int((uniform == "shared").sum()), 2000, 1 / 3)


def test_documents_are_drawn_uniformly():
    docs = DOCS[20:]
    counts = pd.concat([draw_queries(docs, n=3, seed=seed)[1]["doc_id"] for seed in range(400)]).value_counts()
    assert len(counts) == 10 and all(within_five_sigma(count, 400, 0.3) for count in counts)


def test_a_larger_number_adds_queries_and_the_order_of_documents_does_not_matter():
    queries, qrels = draw_queries(n=8)
    more = draw_queries(n=20)
    assert more[0][:8].equals(queries) and more[1][:8].equals(qrels)
    shuffled = draw_queries(DOCS.sample(frac=1, random_state=1), n=8)
    assert shuffled[0].equals(queries) and shuffled[1].equals(qrels)


def test_a_query_does_not_depend_on_the_other_documents_when_words_are_uniform():
    alone = draw_queries(DOCS[25:26], n=1, weighting="uniform")[0]["text"][0]
    queries, qrels = draw_queries(n=28, weighting="uniform")
    assert queries["text"][qrels["doc_id"] == "d25"].tolist() == [alone]


def test_erratum_26_the_same_seed_draws_the_same_in_processes_with_other_hash_seeds():
    assert draw_queries()[0].equals(draw_queries()[0]) and not draw_queries()[0].equals(draw_queries(seed=1)[0])
    code = (
        "import pandas as pd; from rd_utils.training.augmentation import pseudo_queries;"
        "d = pd.DataFrame({'doc_id': ['b', 'a'], 'text': ['red green blue pink grey', 'one two three four five']});"
        "print(*(frame.values.tolist() for frame in pseudo_queries(d, n=2, words=(2, 3), weighting='idf', seed=5)))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1 and "pseudo-000001" in found.pop()


def test_too_few_documents_with_enough_words_are_an_error():
    with pytest.raises(CollectionError, match=r"29 pseudo-queries asked of 28 documents that have at least 3 distinct words \(of 30\)"):
        draw_queries(n=29)
    with pytest.raises(ValueError, match="unknown weighting 'tf'.*idf, uniform"):
        draw_queries(weighting="tf")
    with pytest.raises(ValueError, match=r"words is \[5, 3\]; expected the least, then the most"):
        draw_queries(words=(5, 3))

"""Tokenizer ids by hand; token vectors that know which words are used alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tokenizers

from rd_utils.data.synthetic import EmbeddedCollection, generate
from rd_utils.models import lexicon
from rd_utils.models.lexicon import SPECIALS, build_tokenizer, principal_components, token_vectors, word_weights

TEXTS = ["The cat sat.", "The dog, the cat!", "A state-of-the-art DOG"]
# the 4, cat 2, dog 2, then once each: a, art, of, sat, state

# Car and auto stand in the same company, as do cat and kitten; never together.
SYNONYMS = [
    "car road wheel motor", "auto road wheel motor", "car wheel road fuel", "auto fuel road wheel",
    "cat milk fur paw", "kitten milk fur paw", "cat fur paw purr", "kitten purr fur paw",
]  # fmt: skip


def tokens_of(texts: list[str], tokenizer: tokenizers.Tokenizer, glue: bool = False) -> tuple[np.ndarray, np.ndarray]:
    ids = [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=glue)]
    return np.concatenate(ids), np.cumsum([0] + [len(row) for row in ids])


# --- tokenizer --------------------------------------------------------------------------------------------------------


def test_vocabulary_is_ordered_by_frequency_then_word() -> None:
    expected = [*SPECIALS, "the", "cat", "dog", "a", "art", "of", "sat", "state"]
    assert build_tokenizer(TEXTS).get_vocab() == {word: i for i, word in enumerate(expected)}


def test_specials_have_the_ids_0_to_4() -> None:
    tokenizer = build_tokenizer(TEXTS)
    assert [tokenizer.token_to_id(token) for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")] == [0, 1, 2, 3, 4]


def test_template_by_hand() -> None:
    tokenizer = build_tokenizer(TEXTS)
    single, pair = tokenizer.encode("Dog, cat?"), tokenizer.encode("the dog", "cow sat")
    assert single.ids == [2, 7, 6, 3]
    assert single.type_ids == [0, 0, 0, 0]
    assert pair.ids == [2, 5, 7, 3, 1, 11, 3]
    assert pair.type_ids == [0, 0, 0, 0, 1, 1, 1]
    assert tokenizer.encode("dog", add_special_tokens=False).ids == [7]


def test_max_words_keeps_the_most_frequent() -> None:
    tokenizer = build_tokenizer(TEXTS, max_words=2)
    assert tokenizer.get_vocab_size() == 7
    assert tokenizer.encode("the cat sat", add_special_tokens=False).ids == [5, 6, 1]


def test_words_that_look_like_specials_in_brackets_do_not_shift_ids() -> None:
    tokenizer = build_tokenizer(["see [MASK] and pad"])
    assert [tokenizer.id_to_token(i) for i in range(5)] == list(SPECIALS)
    assert tokenizer.get_vocab_size() == 5 + 4  # and, mask, pad, see


def test_saved_tokenizer_encodes_the_same(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(TEXTS)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in (*TEXTS, "unknown Cat; dog"):
        assert loaded.encode(text, "A dog").ids == tokenizer.encode(text, "A dog").ids


def test_order_of_texts_does_not_matter() -> None:
    assert build_tokenizer(TEXTS).to_str() == build_tokenizer(TEXTS[::-1]).to_str()


def test_texts_without_words_are_refused() -> None:
    with pytest.raises(ValueError, match="No word in 2 texts"):
        build_tokenizer(["", "?!"])
    with pytest.raises(ValueError, match="max_words is 0"):
        build_tokenizer(TEXTS, max_words=0)


# --- vectors ----------------------------------------------------------------------------------------------------------


def ppmi_by_hand(ids: np.ndarray, offsets: np.ndarray, size: int) -> np.ndarray:
    """The weighted matrix from its definition, by loops over pairs of tokens."""
    counts = np.zeros((size, size))
    for start, end in zip(offsets[:-1], offsets[1:], strict=True):
        for a in ids[start:end]:
            for b in ids[start:end]:
                counts[a, b] += a != b
    frequency = np.bincount(ids, minlength=size)
    weight = (frequency / frequency[frequency > 0].mean()) ** 0.25
    out = np.zeros((size, size))
    for a, b in np.argwhere(counts):
        pmi = np.log(counts[a, b] * counts.sum() / (counts[a].sum() * counts[b].sum()))
        out[a, b] = weight[a] * max(0, pmi) * weight[b]
    return out


def test_vectors_are_the_definitions() -> None:
    tokenizer = build_tokenizer(SYNONYMS)
    size = tokenizer.get_vocab_size()
    ids, offsets = tokens_of(SYNONYMS, tokenizer)
    matrix = ppmi_by_hand(ids, offsets, size)
    values, columns = np.linalg.eigh(matrix)
    values, columns = values[::-1][:3], columns[:, ::-1][:, :3]
    weight = (np.bincount(ids, minlength=size) / np.bincount(ids)[5:].mean()) ** 0.25
    rows = columns[5:] * np.sqrt(values) / weight[5:, None]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = token_vectors(ids, offsets, size, 3)
    np.testing.assert_allclose(found[5:] @ found[5:].T, rows @ rows.T, atol=1e-5)


def test_words_of_the_same_company_are_close() -> None:
    tokenizer = build_tokenizer(SYNONYMS)
    vectors = token_vectors(*tokens_of(SYNONYMS, tokenizer), tokenizer.get_vocab_size(), 2)
    row = {word: vectors[i] for word, i in tokenizer.get_vocab().items()}
    assert row["car"] @ row["auto"] > 0.95
    assert row["cat"] @ row["kitten"] > 0.95
    assert abs(row["car"] @ row["kitten"]) < 0.3


def test_words_that_stand_everywhere_do_not_spoil_the_others() -> None:
    glued = [f"the {text} of the" for text in SYNONYMS]
    tokenizer = build_tokenizer(glued)
    vectors = token_vectors(*tokens_of(glued, tokenizer), tokenizer.get_vocab_size(), 2)
    row = {word: vectors[i] for word, i in tokenizer.get_vocab().items()}
    assert row["car"] @ row["auto"] > 0.95
    assert row["cat"] @ row["kitten"] > 0.95
    assert abs(row["car"] @ row["kitten"]) < 0.3


def test_rows_have_length_one_and_specials_are_zero() -> None:
    tokenizer = build_tokenizer(SYNONYMS)
    vectors = token_vectors(*tokens_of(SYNONYMS, tokenizer), tokenizer.get_vocab_size(), 4)
    assert vectors.dtype == np.float32 and vectors.shape == (tokenizer.get_vocab_size(), 4)
    np.testing.assert_array_equal(vectors[:5], 0)
    np.testing.assert_allclose(np.linalg.norm(vectors[5:], axis=1), 1, atol=1e-6)


def test_special_tokens_in_the_documents_change_nothing() -> None:
    tokenizer = build_tokenizer(SYNONYMS)
    size = tokenizer.get_vocab_size()
    plain = token_vectors(*tokens_of(SYNONYMS, tokenizer), size, 3)
    np.testing.assert_array_equal(token_vectors(*tokens_of(SYNONYMS, tokenizer, glue=True), size, 3), plain)


def test_columns_beyond_the_rank_and_words_without_company_are_zero() -> None:
    vectors = token_vectors(np.array([5, 6, 5, 6, 7]), np.array([0, 2, 4, 5]), 9, 6)
    np.testing.assert_allclose(np.abs(vectors[5:7]), [[1, 0, 0, 0, 0, 0]] * 2, atol=1e-6)
    np.testing.assert_array_equal(vectors[7:], 0)  # 7 stands alone, 8 nowhere
    np.testing.assert_array_equal(token_vectors(np.array([1, 2]), np.array([0, 2]), 9, 6), 0)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="1 token ids are outside the vocabulary, the first is 9: expected 0 to 8"):
        token_vectors(np.array([5, 9]), np.array([0, 2]), 9, 2)
    with pytest.raises(ValueError, match="offsets do not fit 2 token ids"):
        token_vectors(np.array([5, 6]), np.array([0, 3]), 9, 2)
    with pytest.raises(ValueError, match="dimension is 0"):
        token_vectors(np.array([5, 6]), np.array([0, 2]), 9, 0)


@pytest.fixture(scope="module")
def smallest() -> tuple[EmbeddedCollection, tokenizers.Tokenizer, np.ndarray, np.ndarray]:
    collection = generate("smallest")
    texts = collection.docs["text"].tolist()
    tokenizer = build_tokenizer(texts)
    return collection, tokenizer, *tokens_of(texts, tokenizer)


def test_same_input_gives_the_same_bytes(smallest: tuple) -> None:
    _, tokenizer, ids, offsets = smallest
    first, second = (token_vectors(ids, offsets, tokenizer.get_vocab_size(), 16) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_rarer_words_are_placed_like_those_of_the_core(smallest: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    _, tokenizer, ids, offsets = smallest
    size = tokenizer.get_vocab_size()
    whole = token_vectors(ids, offsets, size, 16)
    monkeypatch.setattr(lexicon, "BLOCK", 170)
    np.testing.assert_allclose(token_vectors(ids, offsets, size, 16), whole, atol=1e-4)
    monkeypatch.setattr(lexicon, "CORE", 500)
    part = token_vectors(ids, offsets, size, 16)
    np.testing.assert_allclose(np.linalg.norm(part[5:], axis=1), 1, atol=1e-5)
    # Cosines of the frequent words with the rare ones tell the same story (chance: correlation 0).
    rare, frequent = np.arange(505, size), np.arange(5, 205)
    correlation = np.corrcoef((part[rare] @ part[frequent].T).ravel(), (whole[rare] @ whole[frequent].T).ravel())[0, 1]
    assert correlation > 0.6


def test_mean_vectors_retrieve_far_better_than_chance(smallest: tuple) -> None:
    """Share of grade >= 1 among the ten nearest documents. Chance is their share in the collection, about 0.02."""
    collection, tokenizer, ids, offsets = smallest
    vectors = token_vectors(ids, offsets, tokenizer.get_vocab_size(), 32)

    def means(ids: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        return np.add.reduceat(vectors[ids], offsets[:-1]) / np.diff(offsets)[:, None]

    queries = means(*tokens_of(collection.queries["test"]["text"].tolist(), tokenizer))
    relevant = collection.grades("test") >= 1
    nearest = np.argsort(-(queries @ means(ids, offsets).T), axis=1, kind="stable")[:, :10]
    assert relevant.mean() < 0.03
    assert np.take_along_axis(relevant, nearest, axis=1).mean() > 0.4


# --- weights and an encoder's vectors ---------------------------------------------------------------------------------


def test_word_weights_by_hand() -> None:
    tokenizer = build_tokenizer(TEXTS)
    ids, offsets = tokens_of(TEXTS, tokenizer)
    in_documents = np.array([3, 2, 2, 1, 1, 1, 1, 1])  # the, cat, dog, a, art, of, sat, state
    expected = np.log(4 / (in_documents + 0.5))
    weights = word_weights(ids, offsets, tokenizer.get_vocab_size())
    np.testing.assert_allclose(weights[len(SPECIALS) :], expected / expected.mean(), rtol=1e-6)
    assert (weights[: len(SPECIALS)] == 0).all()


def test_principal_components_keep_the_angles_of_centred_embeddings_where_nothing_is_cut() -> None:
    embeddings = np.random.default_rng(3).normal(size=(40, 6))
    vectors = principal_components(embeddings, 8)
    words = embeddings[len(SPECIALS) :] - embeddings[len(SPECIALS) :].mean(axis=0)
    unit = words / np.linalg.norm(words, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors[len(SPECIALS) :] @ vectors[len(SPECIALS) :].T, unit @ unit.T, atol=1e-5)
    assert (vectors[: len(SPECIALS)] == 0).all()
    assert (vectors[:, 6:] == 0).all()


def test_the_first_component_is_where_the_words_differ_most() -> None:
    embeddings = np.zeros((45, 4))
    embeddings[5:, 2] = np.linspace(-3, 3, 40)
    embeddings[5:, 0] = np.random.default_rng(0).normal(scale=0.01, size=40)
    vectors = principal_components(embeddings, 1)
    assert np.array_equal(vectors[5:, 0], np.sign(np.linspace(-3, 3, 40)))

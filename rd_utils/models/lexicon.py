"""Word-level tokenizer and token vectors of a collection's documents, where students without a checkpoint start.

Transformers and embedding models with random weights learn next to nothing from a few thousand queries. Token vectors
from the documents' co-occurrences (weighted positive pointwise mutual information, truncated SVD) cost seconds, need no
labels and no download, and give a start that already retrieves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import scipy.sparse as sp
import tokenizers
from scipy.sparse.linalg import eigsh
from tokenizers import models, normalizers, pre_tokenizers, processors

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Special tokens; a token's id is its index here."""

CORE = 10_000
"""So many most frequent words are decomposed; rarer ones are placed by their co-occurrences with these."""

BLOCK = 2_000


def build_tokenizer(texts: Iterable[str], max_words: int | None = None) -> tokenizers.Tokenizer:
    """Build a word-level tokenizer whose vocabulary is the texts' words, the most frequent first.

    Words are runs of letters, digits and underscores, lower-cased; punctuation separates words and is dropped. Ids 0 to
    4 are ``SPECIALS``, then words follow by (-frequency, word). A text becomes ``[CLS] a [SEP]``, a pair
    ``[CLS] a [SEP] b [SEP]`` with type ids 0 and 1.

    Args:
        texts: The documents.
        max_words: Keep this many words besides the specials; None keeps all. Others become ``[UNK]``.

    Returns:
        A tokenizer that ``save(path)`` writes as tokenizer.json.

    Raises:
        ValueError: If there is no word in the texts, or ``max_words`` is below 1.

    Example:
        >>> tokenizer = build_tokenizer(["A cat. A dog!"])
        >>> tokenizer.encode("a dog", "the cat").tokens
        ['[CLS]', 'a', 'dog', '[SEP]', '[UNK]', 'cat', '[SEP]']
    """
    if max_words is not None and max_words < 1:
        raise ValueError(f"max_words is {max_words}: expected at least 1, or None to keep all words.")
    normalizer = normalizers.Lowercase()
    splitter = pre_tokenizers.Split(tokenizers.Regex(r"\w+"), behavior="removed", invert=True)
    counts: Counter[str] = Counter()
    n_texts = 0
    for text in texts:
        n_texts += 1
        counts.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    if not counts:
        raise ValueError(f"No word in {n_texts} texts: expected texts with at least one letter or digit.")
    words = sorted(counts, key=lambda word: (-counts[word], word))[:max_words]
    vocabulary = {token: i for i, token in enumerate((*SPECIALS, *words))}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    tokenizer.add_special_tokens(list(SPECIALS))
    return tokenizer


def token_vectors(token_ids: np.ndarray, offsets: np.ndarray, vocabulary_size: int, dimension: int) -> np.ndarray:
    """Return token vectors from the documents' co-occurrences, without training.

    Let C_ij count the pairs of the words i and j in one document (X^T X without its diagonal),
    P_ij = max(0, log(C_ij * sum(C) / (C_i * C_j))) and w_i = (frequency of i / mean frequency)^0.25. The vectors are
    the rows of U sqrt(S) / w, scaled to length 1, where U S U^T is the best approximation of w_i P_ij w_j of that rank
    with S >= 0, over the ``CORE`` most frequent words. The weights keep the many rare words from drowning the frequent
    ones; words that stand everywhere have P near 0 with all others, and so hardly move the others' vectors.

    Args:
        token_ids: The documents' token ids, flat, shape (n_tokens,). Ids below ``len(SPECIALS)`` are passed over.
        offsets: Document i has ``token_ids[offsets[i]:offsets[i + 1]]``; shape (n_docs + 1,).
        vocabulary_size: V, the specials included.
        dimension: Columns of the result; those beyond the rank of P are 0.

    Returns:
        float32 array (vocabulary_size, dimension). Rows have length 1; those of specials, and of words without a word
        that they prefer to stand with, are 0. In each column the entry of largest magnitude in U is positive. Equal
        inputs give equal results.

    Raises:
        ValueError: On ids outside the vocabulary, offsets that do not fit, or a dimension below 1.

    Example:
        >>> ids = np.array([5, 6, 5, 6, 5, 6, 7, 8])  # words 5 and 6 stand together, and so do 7 and 8
        >>> vectors = token_vectors(ids, np.array([0, 2, 4, 6, 8]), 9, 2)
        >>> cosine = vectors @ vectors.T
        >>> bool(cosine[5, 6] > 0.99), bool(cosine[7, 8] > 0.99), bool(abs(cosine[5, 7]) < 0.01)
        (True, True, True)
    """
    token_ids, offsets = np.asarray(token_ids), np.asarray(offsets)
    _check(token_ids, offsets, vocabulary_size, dimension)
    vectors = np.zeros((vocabulary_size, dimension), dtype=np.float32)
    if not (token_ids >= len(SPECIALS)).any():
        return vectors
    words, frequency, counts = _by_frequency(token_ids, offsets)  # the first CORE of them are the core
    weight = (frequency / frequency.mean()) ** 0.25
    n_core = min(CORE, len(words))
    blocks = _weighted_ppmi(counts, weight, n_core)
    core = sp.csr_array(sp.vstack([next(blocks) for _ in range(0, n_core, BLOCK)]))
    if core.nnz == 0:
        return vectors
    values, columns = _largest(core, dimension)
    columns = columns * np.sign(columns[np.abs(columns).argmax(axis=0), np.arange(len(values))])
    # U sqrt(S) = (U S U^T) U / sqrt(S): the second form also places the rows of the rarer words.
    found = np.vstack([columns * np.sqrt(values), *(block @ columns / np.sqrt(values) for block in blocks)]) / weight[:, None]
    length = np.linalg.norm(found, axis=1, keepdims=True)
    found = np.where(length > 1e-9, found / np.maximum(length, 1e-9), 0)
    vectors[words, : len(values)] = found
    return vectors


def word_weights(token_ids: np.ndarray, offsets: np.ndarray, vocabulary_size: int) -> np.ndarray:
    """Return each word's inverse document frequency, log((N + 1) / (n + 1/2)) over its mean over the words that occur.

    Args:
        token_ids: The documents' token ids, flat, as :func:`token_vectors` takes them.
        offsets: Where each of the N documents begins and ends, (N + 1,).
        vocabulary_size: V, the specials included.

    Returns:
        float32 (V,); 0 for specials and for words of no document.

    Example:
        >>> ids = np.array([5, 6, 5, 7])  # word 5 stands in both documents
        >>> [round(float(weight), 2) for weight in word_weights(ids, np.array([0, 2, 4]), 8)]
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.35, 1.33, 1.33]
    """
    _check(token_ids, offsets, vocabulary_size, 1)
    words, _, counts = _by_frequency(token_ids, offsets)
    weights = np.zeros(vocabulary_size, dtype=np.float32)
    if len(words):
        in_documents = np.diff(sp.csc_array(counts).indptr)  # counts hold no zero, and each pair of document and word once
        found = np.log(len(offsets) / (in_documents + 0.5))
        weights[words] = found / found.mean()
    return weights


def principal_components(embeddings: np.ndarray, dimension: int) -> np.ndarray:
    """Return the principal components of words' embeddings, each row scaled to length 1.

    Args:
        embeddings: (V, m), those of the specials first; these are left out and are 0 in the result.
        dimension: Columns of the result; those beyond m are 0.

    Returns:
        float32 (V, dimension); in each column's direction the entry of largest magnitude is positive.
    """
    vectors = np.zeros((len(embeddings), dimension), dtype=np.float32)
    words = np.asarray(embeddings[len(SPECIALS) :], dtype=np.float64)
    words = words - words.mean(axis=0)
    directions = np.linalg.eigh(words.T @ words)[1][:, ::-1][:, :dimension]
    directions = directions * np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])])
    found = words @ directions
    length = np.linalg.norm(found, axis=1, keepdims=True)
    vectors[len(SPECIALS) :, : found.shape[1]] = np.where(length > 1e-9, found / np.maximum(length, 1e-9), 0)
    return vectors


def _by_frequency(token_ids: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray, sp.csr_array]:
    """Return the words, the most frequent first, how often each stands there, and their counts (n_docs, n_words)."""
    is_word, n_docs = token_ids >= len(SPECIALS), len(offsets) - 1
    rows = np.repeat(np.arange(n_docs), np.diff(offsets))[is_word]
    seen, words = np.unique(token_ids[is_word], return_inverse=True)
    frequency = np.bincount(words)
    order = np.argsort(-frequency, kind="stable")
    words = np.argsort(order)[words]
    counts = sp.csr_array(sp.coo_array((np.ones(len(words)), (rows, words)), shape=(n_docs, len(seen))))
    return seen[order], frequency[order], counts


def _check(token_ids: np.ndarray, offsets: np.ndarray, vocabulary_size: int, dimension: int) -> None:
    if dimension < 1:
        raise ValueError(f"The dimension is {dimension}: expected at least 1.")
    if len(offsets) < 1 or offsets[0] != 0 or offsets[-1] != len(token_ids) or (np.diff(offsets) < 0).any():
        raise ValueError(f"The offsets do not fit {len(token_ids)} token ids: expected 0 first, {len(token_ids)} last, ascending.")
    wrong = token_ids[(token_ids < 0) | (token_ids >= vocabulary_size)]
    if len(wrong):
        raise ValueError(
            f"{len(wrong)} token ids are outside the vocabulary, the first is {wrong[0]}: expected 0 to {vocabulary_size - 1}."
        )


def _weighted_ppmi(counts: sp.csr_array, weight: np.ndarray, n_core: int) -> Iterator[sp.csr_array]:
    """Yield w_i max(0, PMI_ij) w_j for columns j < n_core, in blocks of BLOCK rows: the core's rows, then the others'.

    Args:
        counts: Word counts (n_docs, n_words).
        weight: w, shape (n_words,).
        n_core: Words that are columns.
    """
    by_word = sp.csr_array(counts.T)
    core = counts[:, :n_core]
    n_words = len(weight)
    total = by_word @ counts.sum(axis=1) - by_word.power(2).sum(axis=1)  # row sums of C without its diagonal
    with np.errstate(divide="ignore"):
        log_total, log_all = np.log(total), np.log(total.sum())
    starts = [*range(0, n_core, BLOCK), *range(n_core, n_words, BLOCK)]
    for start, stop in zip(starts, [*starts[1:], n_words], strict=True):
        block = sp.csr_array(by_word[start:stop] @ core)
        row = start + np.repeat(np.arange(stop - start), np.diff(block.indptr))
        pair = row != block.indices
        values = np.zeros(block.nnz)
        values[pair] = np.log(block.data[pair]) + log_all - log_total[row[pair]] - log_total[block.indices[pair]]
        block.data = np.maximum(values, 0) * weight[row] * weight[block.indices]
        block.eliminate_zeros()
        yield block


def _largest(matrix: sp.csr_array, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return up to n largest positive eigenvalues, descending, and their eigenvectors as columns."""
    size = len(matrix.indptr) - 1
    if size <= 4 * n or size <= 64:
        values, columns = np.linalg.eigh(matrix.toarray())
    else:
        values, columns = eigsh(matrix, k=n, which="LA", v0=np.ones(size))
    order = np.argsort(-values, kind="stable")[:n]
    order = order[values[order] > 1e-9 * np.abs(values).max()]
    return values[order], columns[:, order]

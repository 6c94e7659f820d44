"""Word-level tokenizer and token vectors of a collection's own documents, from which students without a checkpoint start.

Transformers and embedding models with random weights learn next to nothing from a few thousand queries. Token vectors from the documents'
co-occurrences (weighted positive pointwise mutual information, truncated SVD) cost seconds, need no labels and no download, and give a
start that already retrieves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import scipy.sparse as sp
import tokenizers
from scipy.sparse.linalg import LinearOperator, eigsh
from tokenizers import models, normalizers, pre_tokenizers, processors

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Special tokens; a token's id is its index here."""


def build_tokenizer(texts: Iterable[str], max_words: int | None = None) -> tokenizers.Tokenizer:
    """Build a word-level tokenizer whose vocabulary is the texts' words, the most frequent first.

    Words are runs of letters, digits and underscores, lower-cased; punctuation separates words and is dropped. Ids 0 to 4 are ``SPECIALS``,
    then words follow by (-frequency, word). Encoding adds ``[CLS] a [SEP]``, and for a pair ``[CLS] a [SEP] b [SEP]`` with type ids 0 and 1.

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

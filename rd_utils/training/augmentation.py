"""Augmentation: what training changes in its inputs and its targets, and queries made from documents.

Inputs are token tables (``models.tokens``), changed over their flat arrays: words of a query replaced by near ones or left out, a
document cut down to a random span. Targets are the teacher's scores of the groups: noise, levelling below the k best, ranks. What changes
the loss itself (smoothing, a share of hard labels) is in ``training.losses``. Every draw comes from a stream of its seed, its epoch
and its purpose, so that turning one augmentation on does not move another's draws.
"""

from __future__ import annotations

import functools
import re
from collections import Counter

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from rd_utils.data.collections import CollectionError
from rd_utils.mining.retrieval import top_k
from rd_utils.mining.sampling import stream
from rd_utils.models.tokens import TokenTable, with_prompt_of, without_prompt
from rd_utils.study.explain import nearest
from rd_utils.study.settings import Augmentation

# Third word of the streams [seed, epoch, purpose]. Not 0: numpy pads short seeds with zeros, and [seed, epoch] orders the groups.
_REPLACEMENT, _DROPOUT, _SPAN, _NOISE = 1, 2, 3, 4
_MARKERS = {"##": False, "▁": True, "Ġ": True}  # marker of WordPiece, SentencePiece, byte-level BPE: does a marked token begin a word?
_BLOCK = 512  # words whose similarities to all words are held at once
_WORD = re.compile(r"\w+")


# --- inputs -------------------------------------------------------------------------------------------------------------------------


def word_starts(tokens: list[str]) -> np.ndarray:
    """Tell which tokens of a vocabulary begin a word.

    The convention is the one whose marker the most tokens bear: WordPiece (``##x`` continues), SentencePiece (``▁x`` begins), byte-level
    BPE (``Ġx`` begins); without any marker every token is a word. The first token of a text begins a word in any case, which is
    for the functions that read texts to see.

    Args:
        tokens: The vocabulary in the order of the ids.

    Returns:
        (len(tokens),) bool.

    >>> word_starts(["rank", "##ing", "loss"]).tolist(), word_starts(["▁rank", "ing", "▁loss"]).tolist()
    ([True, False, True], [True, False, True])
    """
    marked = {marker: np.array([token.startswith(marker) for token in tokens], dtype=bool) for marker in _MARKERS}
    marker = max(_MARKERS, key=lambda marker: int(marked[marker].sum()))
    if not marked[marker].any():
        return np.ones(len(tokens), dtype=bool)
    return marked[marker] == _MARKERS[marker]


def drop_words(table: TokenTable, starts: np.ndarray, share: float, generator: np.random.Generator) -> TokenTable:
    """Leave out every word, with all its tokens, independently with probability ``share``.

    At least one word of each text stays: a uniformly chosen one where all would go. A text without tokens stays as it is.

    Args:
        table: The texts.
        starts: (vocabulary,) bool, as :func:`word_starts` gives it.
        share: Probability of a word to go, from 0 to 1.
        generator: Of the draws.

    Returns:
        The table of the same number of texts.

    Raises:
        ValueError: If the share is no probability, or a token is not in the vocabulary.

    Where all words go, one stays, here the one of tokens 0 and 1:

    >>> table = TokenTable(ids=np.array([0, 1], dtype=np.int32), offsets=np.array([0, 2, 2]))
    >>> kept = drop_words(table, np.array([True, False]), 1.0, np.random.default_rng(0))
    >>> kept.ids.tolist(), kept.offsets.tolist()
    ([0, 1], [0, 2, 2])
    """
    _check_share(share)
    begins = _begins(table, starts)
    text = np.repeat(np.arange(len(table)), table.lengths())
    text_of_word = text[begins]
    words = np.bincount(text_of_word, minlength=len(table))
    kept = generator.random(len(text_of_word)) >= share
    spared = np.cumsum(words) - words + generator.integers(0, np.maximum(words, 1))
    emptied = (words > 0) & (np.bincount(text_of_word[kept], minlength=len(table)) == 0)
    kept[spared[emptied]] = True
    tokens = kept[np.cumsum(begins) - 1]
    return _table(table.ids[tokens], np.bincount(text[tokens], minlength=len(table)))


def nearest_words(vectors: np.ndarray, words: np.ndarray, k: int) -> np.ndarray:
    """Find the k nearest other words of every word, by the cosine of their vectors.

    Exhaustive, in float32; cosines are rounded to 5 decimals, and equal ones are in the order of the ids. A zero vector has cosine 0
    with every other.

    Args:
        vectors: (vocabulary, d) a vector per token.
        words: Ids of the tokens that may be replaced and may replace: whole words, so tokens that begin one.
        k: How many neighbours.

    Returns:
        (vocabulary, k) int32 ids, the nearest first; -1 in the rows of tokens that are not in ``words``, and after the last neighbour
        where there are fewer than k other words.

    Raises:
        ValueError: If k is below 1, an id is not in the vocabulary, or a vector is not finite.

    >>> nearest_words(np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [9.0, 9.0]]), np.array([0, 1, 2]), k=1).tolist()
    [[1], [0], [1], [-1]]
    """
    if k < 1:
        raise ValueError(f"k is {k}; expected at least 1 neighbour")
    words = np.unique(np.asarray(words, dtype=np.int64))
    if len(words) and not 0 <= words[0] <= words[-1] < len(vectors):
        raise ValueError(f"words range from {words[0]} to {words[-1]}; expected token ids from 0 to {len(vectors) - 1}")
    chosen = np.asarray(vectors, dtype=np.float32)[words]
    broken = np.flatnonzero(~np.isfinite(chosen).all(axis=1))
    if len(broken):
        raise ValueError(f"the vectors of {len(broken)} words are not finite, the first is token {words[broken[0]]}; expected numbers")
    norms = np.linalg.norm(chosen, axis=1, keepdims=True)
    unit = np.divide(chosen, norms, out=np.zeros_like(chosen), where=norms > 0)
    ties = np.arange(len(words))
    neighbours = np.full((len(vectors), k), -1, dtype=np.int32)
    for start in range(0, len(words), _BLOCK):
        cosines = np.round(unit[start : start + _BLOCK] @ unit.T, 5)
        for row, cosine in enumerate(cosines, start=start):
            cosine[row] = -np.inf  # top_k leaves it out
            found = words[top_k(cosine, k, ties)]
            neighbours[words[row], : len(found)] = found
    return neighbours


def replace_words(
    table: TokenTable, starts: np.ndarray, neighbours: np.ndarray, share: float, generator: np.random.Generator
) -> TokenTable:
    """Replace every word that is a single token and has neighbours, with probability ``share``, by one of them, chosen uniformly.

    Args:
        table: The texts.
        starts: (vocabulary,) bool, as :func:`word_starts` gives it.
        neighbours: (vocabulary, k) ids, as :func:`nearest_words` gives them.
        share: Probability of such a word to be replaced, from 0 to 1.
        generator: Of the draws.

    Returns:
        The table with the same offsets.

    Raises:
        ValueError: If the share is no probability, or a token is not in the vocabulary.

    The word of tokens 0 and 1 is not a single token, and 2 has the one neighbour 3:

    >>> table = TokenTable(ids=np.array([0, 1, 2], dtype=np.int32), offsets=np.array([0, 3]))
    >>> neighbours = np.array([[3], [-1], [3], [2]])
    >>> replace_words(table, np.array([True, False, True, True]), neighbours, 1.0, np.random.default_rng(0)).ids.tolist()
    [0, 1, 3]
    """
    _check_share(share)
    begins = _begins(table, starts)
    single = begins & np.append(begins[1:], True)
    choices = (neighbours >= 0).sum(axis=1)
    if len(choices) != len(starts):
        raise ValueError(f"neighbours has {len(choices)} rows for a vocabulary of {len(starts)} tokens; expected one for each token")
    ids = np.array(table.ids, dtype=np.int32)
    at = np.flatnonzero(single & (choices[ids] > 0))
    at = at[generator.random(len(at)) < share]
    ids[at] = neighbours[ids[at], generator.integers(0, choices[ids[at]])]
    return TokenTable(ids=ids, offsets=table.offsets)


def keep_spans(table: TokenTable, share: float, generator: np.random.Generator) -> TokenTable:
    """Cut every text down to a contiguous span of ``max(1, round(share * length))`` tokens at a uniform start.

    Args:
        table: The texts.
        share: Share of the tokens that stays, above 0 and up to 1, where the table itself is returned.
        generator: Of the draws.

    Returns:
        The table of the same number of texts; a text without tokens stays as it is.

    Raises:
        ValueError: If the share is not above 0 and up to 1.

    >>> table = TokenTable(ids=np.arange(10, dtype=np.int32), offsets=np.array([0, 10, 10]))
    >>> keep_spans(table, 0.3, np.random.default_rng(0)).lengths().tolist()
    [3, 0]
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; expected a number above 0 and up to 1")
    if share == 1:
        return table
    lengths = table.lengths()
    spans = np.minimum(np.maximum(np.rint(share * lengths).astype(np.int64), 1), lengths)
    starts = table.offsets[:-1] + generator.integers(0, lengths - spans + 1)
    positions = np.repeat(starts - (np.cumsum(spans) - spans), spans) + np.arange(int(spans.sum()))
    return _table(table.ids[positions], spans)


def augment_texts(
    queries: TokenTable,
    docs: TokenTable,
    augmentation: Augmentation,
    *,
    starts: np.ndarray,
    neighbours: np.ndarray | None,
    seed: int,
    epoch: int,
) -> tuple[TokenTable, TokenTable]:
    """Make one epoch's texts: words of the queries replaced, then left out; the documents cut down to spans.

    Prompts stay whole. Each of the three draws from the stream ``numpy.random.default_rng([seed, epoch, purpose])`` of its own.

    Args:
        queries: Tokens of the queries.
        docs: Tokens of the documents.
        augmentation: What to change; what is off leaves its table as it is.
        starts: (vocabulary,) bool, as :func:`word_starts` gives it.
        neighbours: (vocabulary, k) ids, as :func:`nearest_words` gives them; None where nothing is replaced.
        seed: Of the draws.
        epoch: Counts from 0; every epoch draws afresh.

    Returns:
        Queries and documents, rows in the same order.

    Raises:
        ValueError: If words are to be replaced and there are no neighbours.

    >>> table = TokenTable(ids=np.arange(8, dtype=np.int32), offsets=np.array([0, 8]))
    >>> half = Augmentation(document_span=0.5)
    >>> queries, docs = augment_texts(table, table, half, starts=np.ones(8, bool), neighbours=None, seed=0, epoch=0)
    >>> queries is table, len(docs.ids)
    (True, 4)
    """
    asked, docs_read = without_prompt(queries), without_prompt(docs)
    if augmentation.query_replacement:
        if neighbours is None:
            raise ValueError(f"query_replacement is {augmentation.query_replacement}, but there are no neighbours; give nearest_words(...)")
        generator = np.random.default_rng([seed, epoch, _REPLACEMENT])
        asked = replace_words(asked, starts, neighbours, augmentation.query_replacement, generator)
    if augmentation.query_dropout:
        asked = drop_words(asked, starts, augmentation.query_dropout, np.random.default_rng([seed, epoch, _DROPOUT]))
    docs_read = keep_spans(docs_read, augmentation.document_span, np.random.default_rng([seed, epoch, _SPAN]))
    return with_prompt_of(asked, queries), with_prompt_of(docs_read, docs)


# --- targets ------------------------------------------------------------------------------------------------------------------------


def augment_scores(teacher_scores: ArrayLike, augmentation: Augmentation, seed: int) -> np.ndarray:
    """Change the teacher's scores of the groups: noise, then levelling below the k best, then ranks.

    - ``noise``: a normal deviate of that SD is added to each score, drawn once per group and document;
    - ``top_k``: every document but the group's k best gets the group's lowest score; of equal scores the first columns are the best, so
      the positive before the others;
    - ``ranks``: a score becomes ``1 - rank``, rank 1 the best; equal scores share their mean rank.

    Args:
        teacher_scores: (n, group) raw scores, positive first.
        augmentation: What to change.
        seed: Of the noise.

    Returns:
        (n, group) float32.

    Raises:
        ValueError: If ``top_k`` exceeds the group, or a score is not finite.

    >>> scores = [[2.0, 5.0, 1.0, 0.0]]
    >>> augment_scores(scores, Augmentation(top_k=2), seed=0).tolist()
    [[2.0, 5.0, 0.0, 0.0]]
    >>> augment_scores(scores, Augmentation(top_k=2, ranks=True), seed=0).tolist()
    [[-1.0, 0.0, -2.5, -2.5]]
    """
    from scipy.stats import rankdata

    scores = np.array(teacher_scores, dtype=np.float64)
    if scores.ndim != 2:
        raise ValueError(f"teacher_scores has shape {scores.shape}; expected two dimensions, (groups, group size)")
    missing = np.argwhere(~np.isfinite(scores))
    if len(missing):
        row, column = missing[0]
        raise ValueError(
            f"{len(missing)} of {scores.size} teacher_scores are not finite, the first ({scores[row, column]}) for document {column} of "
            f"group {row}; a missing score is an error: score every document of every group first"
        )
    k, group_size = augmentation.top_k, scores.shape[1]
    if k is not None and k > group_size:
        raise ValueError(f"top_k is {k}, but a group has {group_size} documents; lower top_k")
    if augmentation.noise:
        scores += np.random.default_rng([seed, 0, _NOISE]).normal(scale=augmentation.noise, size=scores.shape)
    if k is not None:
        below = np.argsort(-scores, axis=1, kind="stable")[:, k:]
        np.put_along_axis(scores, below, scores.min(axis=1, keepdims=True), axis=1)
    if augmentation.ranks:
        scores = 1.0 - rankdata(-scores, axis=1)
    return scores.astype(np.float32)


# --- queries from documents ---------------------------------------------------------------------------------------------------------


def pseudo_queries(docs: pd.DataFrame, n: int, *, words: tuple[int, int], weighting: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make queries of words drawn from documents, each of which is its query's only positive.

    n distinct documents are drawn uniformly among those with at least ``words[0]`` distinct words. A query's length is uniform from
    ``words[0]`` to ``words[1]``, capped by the document's distinct words; its words are drawn one after the other without replacement,
    uniformly or with probability proportional to ``idf(t) = log(1 + (N - n_t + 0.5) / (n_t + 0.5))``, n_t of N documents having t, and
    stand in the order in which the document first has them. Words are ``\\w+``, lower-cased, without bm25s' English stop words.

    Each document draws from a stream of its own: its query depends on the collection only through the idf, the order of ``docs`` does not
    matter, and a larger n adds queries without changing those of a smaller one.

    Returns:
        queries (query_id, text) and qrels (query_id, doc_id, relevance), with ids from ``pseudo-000000`` and relevance 1.

    Raises:
        CollectionError: If fewer than n documents have enough words.
        ValueError: If the weighting (``idf`` or ``uniform``) is unknown, or words (the least, the most) is not ordered.

    Source: the simulated queries of L. Azzopardi, M. de Rijke, K. Balog, Building simulated queries for known-item topics, SIGIR 2007.

    >>> docs = pd.DataFrame({"doc_id": ["d1", "d2"], "text": ["The distillation of rankers", "of the"]})
    >>> queries, qrels = pseudo_queries(docs, n=1, words=(2, 4), weighting="idf", seed=0)
    >>> queries.values.tolist(), qrels.values.tolist()
    ([['pseudo-000000', 'distillation rankers']], [['pseudo-000000', 'd1', 1]])
    """
    least, most = words
    if weighting not in ("idf", "uniform"):
        raise ValueError(f"unknown weighting {weighting!r}{nearest(weighting, ['idf', 'uniform'])}")
    if not 1 <= least <= most:
        raise ValueError(f"words is {list(words)}; expected the least, then the most words of a query, from 1")
    text_of = dict(sorted(zip(docs["doc_id"], docs["text"], strict=True)))
    frequency, eligible = _words_of_all(text_of, least)
    if n > len(eligible):
        raise CollectionError(
            f"{n} pseudo-queries asked of {len(eligible)} documents that have at least {least} distinct words (of {len(text_of)}); "
            "ask for fewer, or lower the least number of words"
        )
    rows = []
    for number, at in enumerate(stream(seed, "pseudo-query documents").permutation(len(eligible))[:n]):
        doc_id = eligible[at]
        distinct = _distinct_words(text_of[doc_id])
        n_t = np.array([frequency[word] for word in distinct])
        weights = np.log1p((len(text_of) - n_t + 0.5) / (n_t + 0.5)) if weighting == "idf" else np.ones(len(distinct))
        text = _drawn_words(distinct, weights, words, stream(seed, f"pseudo-query {doc_id}"))
        rows.append((f"pseudo-{number:06d}", text, doc_id, 1))
    frame = pd.DataFrame(rows, columns=["query_id", "text", "doc_id", "relevance"])
    frame = frame.astype({"query_id": "str", "text": "str", "doc_id": "str", "relevance": "int64"})
    return frame[["query_id", "text"]], frame[["query_id", "doc_id", "relevance"]]


def _words_of_all(text_of: dict[str, str], least: int) -> tuple[Counter[str], list[str]]:
    """Return how many documents have each word, and which have at least so many distinct ones."""
    frequency, eligible = Counter[str](), []
    for doc_id, text in text_of.items():
        distinct = _distinct_words(text)
        frequency.update(distinct)
        if len(distinct) >= least:
            eligible.append(doc_id)
    return frequency, eligible


def _drawn_words(distinct: list[str], weights: np.ndarray, words: tuple[int, int], generator: np.random.Generator) -> str:
    length = min(int(generator.integers(words[0], words[1] + 1)), len(distinct))
    drawn = np.sort(generator.choice(len(distinct), size=length, replace=False, p=weights / weights.sum()))
    return " ".join(distinct[position] for position in drawn)


def _distinct_words(text: str) -> list[str]:
    """Return a text's distinct lower-cased words without stop words, in the order in which they first stand."""
    stop_words = _stop_words()
    return [word for word in dict.fromkeys(_WORD.findall(text.lower())) if word not in stop_words]


@functools.cache
def _stop_words() -> frozenset[str]:
    from bm25s.stopwords import STOPWORDS_EN

    return frozenset(STOPWORDS_EN)


def _begins(table: TokenTable, starts: np.ndarray) -> np.ndarray:
    """Tell of every token whether it begins a word of its text."""
    largest = int(np.max(table.ids, initial=-1))
    if largest >= len(starts):
        raise ValueError(f"token {largest} is not in the vocabulary of {len(starts)} tokens; texts and vocabulary are of two tokenizers")
    begins = np.asarray(starts)[table.ids]
    begins[table.offsets[:-1][table.lengths() > 0]] = True
    return begins


def _table(ids: np.ndarray, lengths: np.ndarray) -> TokenTable:
    return TokenTable(ids=np.asarray(ids), offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def _check_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; expected a number from 0 to 1")

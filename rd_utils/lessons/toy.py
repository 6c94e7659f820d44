"""The toy of all lessons: twelve sentences, four queries, and everything about them, written by hand.

Four sentences are of apples, four of the firm of that name, four of bridges, one of which is a game. Grades say how well a sentence answers
a query, 0 (not) to 3 (fully); a collection in use knows only one label a query, and those are not always the best. The teacher's scores
stand for what a large model would say; it knows what the labels do not. The vectors are of the plane, so that all of it can be drawn; every
word has one too, and a text's is the mean of those of its words.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

DOCUMENTS = {
    "a1": "An apple a day keeps the doctor away.",
    "a2": "Bake the apples with cinnamon until they are soft.",
    "a3": "Pears and apples keep for months in a cool cellar.",
    "a4": "The orchard sells its fruit from the end of August.",
    "f1": "Apple opened a store beside the river.",
    "f2": "The maker of the iPhone reported a record profit.",
    "f3": "Apple shares fell because the new phone was late.",
    "f4": "Its first computer was built in a garage.",
    "b1": "The old bridge over the river is closed for repairs.",
    "b2": "A stone arch carries the road across the water.",
    "b3": "Bridge is a card game for four players.",
    "b4": "Trains cross the new bridge every ten minutes.",
}
QUERIES = {
    "q1": "bake apples",
    "q2": "how is Apple earning",
    "q3": "crossing the river by road",
    "q4": "how to keep fruit fresh",
}
LABELS = {"q1": "a2", "q2": "f3", "q3": "b1", "q4": "a3"}
"""The one document that the labels know to be relevant, by query; of q2 and q3 it is not the best."""

_ORDER = list(DOCUMENTS)
#            a1  a2  a3  a4  f1  f2  f3  f4  b1  b2  b3  b4
_GRADES = {
    "q1": [   0,  3,  1,  0,  0,  0,  0,  0,  0,  0,  0,  0],
    "q2": [   0,  0,  0,  0,  1,  3,  2,  0,  0,  0,  0,  0],
    "q3": [   0,  0,  0,  0,  0,  0,  0,  0,  2,  3,  0,  1],
    "q4": [   0,  0,  3,  1,  0,  0,  0,  0,  0,  0,  0,  0],
}  # fmt: skip
_SCORES = {
    "q1": [ 0.5,  2.0,  1.0, -1.0, -3.0, -5.0, -4.5, -5.0, -6.0, -6.0, -5.5, -6.0],
    "q2": [-2.0, -4.0, -4.5, -4.0,  0.5,  1.0,  2.0, -0.5, -6.0, -6.0, -5.5, -3.0],
    "q3": [-6.0, -6.0, -5.5, -5.0, -1.0, -6.0, -6.0, -6.0,  2.0,  1.5, -3.0,  1.0],
    "q4": [ 0.0,  0.5,  3.0,  1.5, -4.0, -6.0, -6.0, -6.0, -6.0, -5.5, -6.0, -6.0],
}  # fmt: skip
_PLACES = {
    "a1": (-2.2, 1.6), "a2": (-2.9, 0.6), "a3": (-2.3, 0.3), "a4": (-1.6, 0.5),
    "f1": (0.4, 1.7), "f2": (0.9, 2.6), "f3": (0.3, 2.4), "f4": (1.5, 2.2),
    "b1": (1.8, -0.4), "b2": (2.2, -0.9), "b3": (0.4, -1.9), "b4": (1.5, -1.1),
    "q1": (-2.7, 0.9), "q2": (0.6, 2.2), "q3": (2.0, -0.6), "q4": (-2.0, 0.2),
}  # fmt: skip

_WORD_PLACES = {
    "appl": (-0.8, 1.5), "day": (-3.1, 2.2), "keep": (-2.4, 0.8), "doctor": (-2.2, 2.3), "away": (-2.5, 1.2), "bake": (-4.6, 0.3),
    "cinnamon": (-3.5, 0.7), "until": (-2.6, 0.8), "soft": (-3.0, -0.3), "pear": (-3.0, 0.3), "month": (-2.1, 0.2), "cool": (-3.2, -0.4),
    "cellar": (-2.3, -0.6), "orchard": (-2.3, 0.7), "sell": (-1.5, 1.0), "it": (0.0, 1.0), "fruit": (-2.0, 0.4), "from": (-1.9, -0.2),
    "end": (-1.4, 0.3), "august": (-2.1, 0.3), "open": (-0.2, 2.7), "store": (0.7, 2.8), "besid": (0.4, 1.6), "river": (1.9, -0.1),
    "maker": (0.4, 2.8), "iphon": (1.2, 3.2), "report": (0.8, 2.0), "record": (1.4, 2.5), "profit": (0.7, 2.5), "share": (0.0, 3.2),
    "fell": (0.7, 3.6), "becaus": (0.3, 2.4), "new": (0.8, 0.4), "phone": (0.9, 2.9), "late": (0.2, 2.8), "first": (1.5, 2.9),
    "comput": (2.4, 2.8), "built": (1.4, 2.2), "garag": (2.2, 2.1), "old": (1.5, 0.1), "bridg": (1.4, -1.0), "over": (2.4, 0.0),
    "close": (1.4, -0.6), "repair": (2.2, -0.8), "stone": (1.8, -0.7), "arch": (2.5, -0.3), "carri": (2.1, -1.5), "road": (2.1, -0.8),
    "across": (2.7, -1.0), "water": (2.0, -1.1), "card": (-0.2, -1.7), "game": (0.7, -1.8), "four": (-0.4, -2.4), "player": (0.5, -2.6),
    "train": (1.2, -1.1), "cross": (2.0, -0.9), "everi": (2.1, -1.2), "ten": (1.1, -1.9), "minut": (1.9, -2.0), "how": (0.2, 1.4),
    "earn": (2.4, 3.7), "fresh": (-3.8, -1.8),
}  # fmt: skip

GROUP = ("q2", ("f3", "f2", "b4"))
"""A group of training data: a query, its labelled positive first, a document that is relevant and has no label, and one that is not."""


def documents() -> pd.DataFrame:
    """Return the sentences: ``doc_id, text``."""
    return pd.DataFrame(DOCUMENTS.items(), columns=["doc_id", "text"])


def queries() -> pd.DataFrame:
    """Return the queries: ``query_id, text``."""
    return pd.DataFrame(QUERIES.items(), columns=["query_id", "text"])


def grades() -> pd.DataFrame:
    """Return how well each sentence answers each query, 0 to 3: (12 documents, 4 queries)."""
    return pd.DataFrame(_GRADES, index=_ORDER)


def scores() -> pd.DataFrame:
    """Return the teacher's score of every pair, log-odds up to a constant a query: (12 documents, 4 queries)."""
    return pd.DataFrame(_SCORES, index=_ORDER)


def vector(name: str) -> np.ndarray:
    """Return the place of a document or query in the plane, (2,)."""
    return np.array(_PLACES[name])


def vectors() -> pd.DataFrame:
    """Return the places of all documents and queries: ``x, y`` by name, with their ``text`` and ``kind``."""
    texts = DOCUMENTS | QUERIES
    kinds = {"a": "apples", "f": "the firm", "b": "bridges", "q": "query"}
    rows = [[name, *place, texts[name], kinds[name[0]]] for name, place in _PLACES.items()]
    return pd.DataFrame(rows, columns=["name", "x", "y", "text", "kind"]).set_index("name")


def words(name: str) -> list[str]:
    """Return the words of a document or query as BM25 takes them: in lower case, stemmed, without stop words.

    >>> words("q2")
    ['how', 'appl', 'earn']
    """
    from rd_utils.mining.retrievers import BM25
    from rd_utils.mining.words import splitter, stem, stop_words

    text, retriever = (DOCUMENTS | QUERIES)[name], BM25()
    stopped = set(stop_words(retriever))
    return list(stem([word for word in splitter(retriever)(text) if word not in stopped], retriever.stemmer))


def word_vectors() -> pd.DataFrame:
    """Return the places of all words in the plane: ``x, y`` by word. The mean of a text's words is the place of the text."""
    return pd.DataFrame.from_dict(_WORD_PLACES, orient="index", columns=["x", "y"]).rename_axis("word")


def shares() -> pd.DataFrame:
    """Return the share of each word in each text: a row a document or query, a column a word, each row's sum 1."""
    rows = {name: pd.Series(words(name)).value_counts(normalize=True) for name in [*DOCUMENTS, *QUERIES]}
    return pd.DataFrame(rows).T.reindex(columns=list(_WORD_PLACES)).fillna(0.0)

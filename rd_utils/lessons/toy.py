"""The toy of all lessons: twelve sentences, four queries, and everything about them, written by hand.

Four sentences are of apples, four of the firm of that name, four of bridges, one of which is a game. Grades say how well a sentence answers
a query, 0 (not) to 3 (fully); a collection in use knows only one label a query, and those are not always the best. The teacher's scores
stand for what a large model would say; it knows what the labels do not. The vectors are of the plane, so that all of it can be drawn.
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

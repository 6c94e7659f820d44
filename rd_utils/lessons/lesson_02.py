"""Lesson 2, words or vectors: BM25, and the mean of word vectors."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from transformers import PreTrainedTokenizerFast

from rd_utils.lessons.checks import Exercise, Function, Value
from rd_utils.mining import bm25
from rd_utils.mining.retrievers import BM25
from rd_utils.models.architectures import StaticBi
from rd_utils.models.bi_students import BiStudent
from rd_utils.models.lexicon import SPECIALS, build_tokenizer
from rd_utils.models.tokens import TokenTable
from rd_utils.report.drawing import INK, MUTED, PALETTE, SHAPES


def beside(
    places: pd.DataFrame, weights: pd.DataFrame, query: str, words: Sequence[str], best: str, *, height: int = 300
) -> alt.typing.ChartType:
    """Draw texts in the plane, and beside it which word stands in which document: what vectors see, and what BM25 sees.

    Args:
        places: ``x, y, kind`` by name: of the documents and the query.
        weights: What each word adds to the score of each document, (words, documents); 0 where it does not stand there.
        query: The name of the query.
        words: Its words.
        best: The document that answers it best; a line joins the two, and its column is outlined.
        height: Of both, in pixels.
    """
    plane = places.loc[[*weights.columns, query]].rename_axis("name").reset_index()
    kinds = list(dict.fromkeys(plane["kind"]))
    colours = alt.Scale(domain=kinds, range=[*PALETTE[: len(kinds) - 1], INK])
    shapes = alt.Scale(domain=kinds, range=[*SHAPES[: len(kinds) - 1], "diamond"])
    base = alt.Chart(plane).encode(
        x=alt.X("x:Q", title="x", scale=alt.Scale(nice=False, padding=24)),
        y=alt.Y("y:Q", title="y", scale=alt.Scale(nice=False, padding=18)),
    )
    dots = base.mark_point(filled=True, size=80, opacity=1).encode(
        color=alt.Color("kind:N", title=None, scale=colours, legend=alt.Legend(orient="bottom", columns=2)),
        shape=alt.Shape("kind:N", title=None, scale=shapes),
        tooltip=["name", "kind"],
    )
    labels = base.mark_text(dx=-8, dy=9, align="right", color=INK).encode(text="name:N")
    pair = alt.Chart(plane[plane["name"].isin([query, best])]).mark_line(color=MUTED, strokeDash=[3, 3]).encode(x="x:Q", y="y:Q")
    left = (pair + dots + labels).properties(width=230, height=height, title="vectors: who is near?")

    cells = weights.rename_axis("word").reset_index().melt("word", var_name="document", value_name="weight")
    rows = alt.Y("word:N", title="word", sort=list(weights.index), axis=alt.Axis(grid=False))
    columns = alt.X("document:N", title="document", sort=list(weights.columns), axis=alt.Axis(labelAngle=0, grid=False))
    grid = alt.Chart(cells).encode(x=columns, y=rows)
    heat = (
        grid.transform_filter("datum.weight > 0")
        .mark_rect(stroke="white")
        .encode(
            color=alt.Color("weight:Q", title="adds", scale=alt.Scale(scheme="blues", domain=[0, 1.2]), legend=alt.Legend(orient="bottom")),
            tooltip=["word", "document", alt.Tooltip("weight:Q", format=".3f")],
        )
    )
    number = (
        grid.transform_filter("datum.weight > 0")
        .mark_text(fontSize=8)
        .encode(text=alt.Text("weight:Q", format=".1f"), color=alt.condition("datum.weight > 0.65", alt.value("white"), alt.value(INK)))
    )
    frame = grid.mark_rect(fillOpacity=0, strokeWidth=1)
    asked = frame.transform_filter(alt.FieldOneOfPredicate(field="word", oneOf=list(words))).encode(stroke=alt.value(PALETTE[1]))
    wanted = frame.transform_filter(alt.datum.document == best).encode(stroke=alt.value(INK))
    right = (heat + number + asked + wanted).properties(width=270, height=height, title="words: who has which?")
    return alt.hconcat(left, right, spacing=24).resolve_scale(color="independent", shape="independent")


# --- exercises --------------------------------------------------------------------------------------------------------------------

_AS_IS = BM25(stemmer="none", stopwords="none")  # words are stems already
_VOCABULARY = ("arch", "bridge", "card", "door", "engine", "fruit", "garage", "house")


def scored(query: Sequence[str], document: Sequence[str], documents: Sequence[Sequence[str]]) -> float:
    """Return the suite's BM25 of a query and one of the documents, all given as lists of words."""
    texts = pd.Series([" ".join(words) for words in [*documents, query]], dtype="str")
    with tempfile.TemporaryDirectory() as folder:
        index = bm25.build(texts.iloc[:-1], _AS_IS, Path(folder))
        words = bm25.words_of(texts.iloc[-1:], index, _AS_IS)
        row = list(map(list, documents)).index(list(document))
        return float(bm25.score_pairs(index, words, np.array([0]), np.array([row]))[0])


def encoded(texts: Sequence[Sequence[int]], vectors: np.ndarray) -> np.ndarray:
    """Return the vectors of texts by a student of the suite that has these word vectors."""
    tokenizer = build_tokenizer([" ".join(f"word{number}" for number in range(len(vectors) - len(SPECIALS)))])
    embedding = StaticEmbedding(
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]"),
        embedding_weights=torch.tensor(vectors, dtype=torch.float32),
    )
    student = BiStudent(StaticBi(dimension=vectors.shape[1]), SentenceTransformer(modules=[embedding], device="cpu"))
    ids = np.concatenate([np.asarray(text, dtype=np.int32) for text in texts])
    return student.encode(TokenTable(ids=ids, offsets=np.cumsum([0, *map(len, texts)])), kind="document").astype(float)


def _own(
    query: Sequence[str],
    document: Sequence[str],
    documents: Sequence[Sequence[str]],
    *,
    k1: float = 1.2,
    b: float = 0.75,
    base: float = np.e,
    raw: bool = False,
    idf: bool = True,
    once: bool = True,
    total: bool = False,
) -> float:
    """Return BM25 with one mistake."""
    score = 0.0
    lengths = [len(other) for other in documents]
    for word in query:
        holding = sum(other.count(word) if total else word in other for other in documents)
        count, odds = document.count(word), (len(documents) - holding + 0.5) / (holding + 0.5)
        rare = np.log(odds if raw else 1 + odds) / np.log(base) if idf else 1.0
        saturated = count / (count + k1 * (1 - b + b * len(document) / np.mean(lengths)))
        score += rare * (saturated if once else count)
    return float(score)


def _some_texts(rng: np.random.Generator) -> tuple[list[str], list[str], list[list[str]]]:
    documents = [rng.choice(_VOCABULARY, size=rng.integers(3, 9)).tolist() for _ in range(6)]
    document = documents[int(rng.integers(6))]
    query = [*rng.choice(_VOCABULARY, size=2, replace=False).tolist(), document[0], document[0]]
    return query, document, documents


def _some_words(rng: np.random.Generator) -> tuple[list[list[int]], np.ndarray]:
    texts = [rng.integers(0, 12, size=rng.integers(2, 6)).tolist() for _ in range(4)]
    texts[0] += texts[0][:1]  # a word that stands twice
    return texts, rng.integers(-16, 17, size=(12, 3)) / 8


EXERCISES: Mapping[str, Exercise] = {
    "bm25": Function(
        scored,
        _some_texts,
        (
            "for each word of the query: how rare it is (idf), times how much of it the document has (between 0 and 1); add these up",
            "n counts documents with the word, f how often it stands in this one; the mean length is that of all documents",
            "idf = log(1 + (N - n + .5) / (n + .5)); the other factor is f / (f + 1.2 * (1 - .75 + .75 * length / mean length))",
        ),
        {
            "where is idf? a rare word has to count more than a common one": lambda *given: _own(*given, idf=False),
            "1 + is missing within the logarithm: a word in more than half of the documents would count less than nothing": (
                lambda *given: _own(*given, raw=True)
            ),
            "that is the binary logarithm; BM25 takes the natural one": lambda *given: _own(*given, base=2),
            "the document's length plays no part yet: divide it by the mean length of all": lambda *given: _own(*given, b=0.0),
            "f itself grows without end: take f / (f + ...), which stays below 1": lambda *given: _own(*given, once=False),
            "n is the number of documents that have the word, not how often it stands in all of them": lambda *given: _own(
                *given, total=True
            ),
            "a factor k1 + 1 = 2.2 is in older formulas; it changes no order, and the suite leaves it out": lambda *given: (
                2.2 * _own(*given)
            ),
            "this takes every word once; one that stands twice in the query counts twice": (
                lambda query, *rest: _own(list(dict.fromkeys(query)), *rest)
            ),
        },
    ),
    "encode": Function(
        encoded,
        _some_words,
        (
            "take the vectors of a text's words, and their mean",
            "vectors[text] has a row for every word of the text, repeats included; the mean goes over the rows",
            "np.array([vectors[text].mean(axis=0) for text in texts])",
        ),
        {
            "the mean is asked for, not the sum: a long text would have a long vector": (
                lambda texts, vectors: np.array([vectors[text].sum(axis=0) for text in texts])
            ),
            "a word that stands twice counts twice": lambda texts, vectors: np.array(
                [vectors[sorted({*text})].mean(axis=0) for text in texts]
            ),
            "divide by the length of the text, not by the number of all words": (
                lambda texts, vectors: np.array([vectors[text].sum(axis=0) / len(vectors) for text in texts])
            ),
            "the mean goes over the words, axis=0; one number for each dimension is left": (
                lambda texts, vectors: np.array([np.full(vectors.shape[1], vectors[text].mean()) for text in texts])
            ),
            "this makes every vector 1 long; the suite's student does so only where its similarity is the cosine": (
                lambda texts, vectors: np.array([_unit(vectors[text].mean(axis=0)) for text in texts])
            ),
        },
    ),
    "bm25 of q2 and f3": Value(
        float(np.log(1 + 7.5 / 5.5) / (1 + 1.2 * (0.25 + 0.75 * 7 / 5.75))),
        (
            "one word only is in both: appl, once in f3",
            "five of twelve documents have it: idf = log(1 + 7.5 / 5.5) = .860",
            "f3 has 7 words, the mean is 5.75: .860 / (1 + 1.2 * (.25 + .75 * 7 / 5.75))",
        ),
        mistakes={
            "that is idf alone; multiply it by f / (f + ...)": float(np.log(1 + 7.5 / 5.5)),
            "that is right for a document of mean length; f3 has 7 words": float(np.log(1 + 7.5 / 5.5) / 2.2),
            "that is in bits: take the natural logarithm": float(np.log2(1 + 7.5 / 5.5) / (1 + 1.2 * (0.25 + 0.75 * 7 / 5.75))),
            "length over mean length, 7 / 5.75, not the reverse": float(np.log(1 + 7.5 / 5.5) / (1 + 1.2 * (0.25 + 0.75 * 5.75 / 7))),
        },
    ),
    "scores 0": Value(
        ["q2", "f2"],
        ("look for a cell of grade 1 to 3 whose score is 0", "which answer says it all in other words than the question?"),
        mistakes={
            "f4 has the grade 0 for q2: it is of the firm, but does not say how it earns": ["q2", "f4"],
            "b2 has the word road, as q3 has": ["q3", "b2"],
            "a4 has the word fruit, as q4 has": ["q4", "a4"],
        },
    ),
    "f2 in other words": Value(
        1,
        (
            "it has one word of the query now, as five others have; in what do they differ?",
            "its four words make it the shortest of the six",
        ),
        mistakes={
            "that would be so if ties were broken by length the other way: a short document is the better for the same word": 6,
            "the others have one word of the query too, and are longer: the length decides": 2,
        },
    ),
    "the others": Value(
        "fall",
        ("what does one more document with the word do to its idf?", "idf goes from log(1 + 7.5 / 5.5) to log(1 + 6.5 / 6.5)"),
        mistakes={
            "their words are the same, but one more document has appl: it is less rare": "stay",
            "the mean length has fallen, which makes the others longer by comparison; and appl is less rare": "rise",
        },
    ),
}


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)

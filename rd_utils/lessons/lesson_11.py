"""Lesson 11, your own collection: faults in a folder, a folder of real descriptions, and a student that is asked a query."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from rd_utils import durable
from rd_utils.analysis import stats
from rd_utils.data import collections, documented, leakage
from rd_utils.lessons import toy
from rd_utils.lessons.checks import Exercise, Function, Value
from rd_utils.lessons.data import SMALL
from rd_utils.mining import retrieval
from rd_utils.report.drawing import INK, MUTED, PALETTE, SHAPES
from rd_utils.store import outputs_root, project_path

Qrels = Sequence[tuple[str, str, int]]


class Folder(NamedTuple):
    """What a folder in BEIR's layout holds: documents and queries as (id, text), and qrels (query, document, relevance) by split."""

    documents: Sequence[tuple[str, str]]
    queries: Sequence[tuple[str, str]]
    qrels: Mapping[str, Qrels]


def _broken() -> Folder:
    documents = [(name, text) for name, text in toy.DOCUMENTS.items()]
    documents.insert(2, ("a5", toy.DOCUMENTS["a2"]))
    documents.insert(12, ("b3", "The bridge of a violin holds its strings."))
    queries = [*toy.QUERIES.items(), ("q5", "Bake  Apples")]
    train = [("q1", "a2", 1), ("q2", "f9", 1), ("q4", "a3", 1)]
    return Folder(documents, queries, {"train": train, "test": [("q3", "b1", 1), ("q5", "a2", 1)]})


BROKEN = _broken()
"""The toy as a folder, with four faults."""
FAULTS = ("an id that stands twice", "a text that stands twice", "a label of no document", "a test query that is trained on")


def write(name: str, folder: Folder) -> Path:
    """Write a folder in BEIR's layout below ``outputs/lessons``, and return its place."""
    place = outputs_root() / "lessons" / name
    (place / "qrels").mkdir(parents=True, exist_ok=True)
    for file, texts in (("corpus", folder.documents), ("queries", folder.queries)):
        lines = [json.dumps({"_id": one, "text": text}, ensure_ascii=False) for one, text in texts]
        durable.write_text(place / f"{file}.jsonl", "\n".join(lines) + "\n")
    for split, qrels in folder.qrels.items():
        lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in qrels)]
        durable.write_text(place / "qrels" / f"{split}.tsv", "\n".join(lines) + "\n")
    return place


def of_splits(place: Path) -> dict[str, Any]:
    """Return the parameters of a student of a folder that has the splits ``train`` and ``test``."""
    train = {"source": "folder", "path": project_path(place), "split": "train"}
    return SMALL | {"collection": train, "test_collections": [train | {"split": "test"}], "teacher": None}


def at_random(place: Path) -> dict[str, Any]:
    """Return the parameters of students of a folder that has one split: 60 % of its queries are for training, 30 % for testing.

    The teacher is BM25, which needs no model.
    """
    shares = [0.6, 0.1, 0.3]
    train, test = (
        {"source": "folder", "path": project_path(place), "split": "all", "random_split": {"part": part, "shares": shares}}
        for part in ("train", "test")
    )
    return SMALL | {
        "collection": train,
        "test_collections": [test],
        "teacher": {"kind": "bm25", "retriever": {"kind": "bm25"}},
        "losses": {"lce": {}, "kl": {"temperature": 2.0}},
        "group_size": 8,
        "architecture": {"kind": "static_bi", "dimension": 256, "similarity": "cosine", "scale": 20, "word_weights": "idf"},
        "training": {"documents": 16384, "queries_per_batch": 32, "learning_rate": 0.001, "embedding_learning_rate": 0.001},
    }


def refused(settings: Mapping[str, Any]) -> str:
    """Return why the package refuses parameters, without the place of the folder; nothing where it does not."""
    from rd_utils.study import params
    from rd_utils.workflow import notebook

    try:
        notebook.validate(params.EvaluateParameters, dict(settings))
    except params.ParameterError as error:
        return str(error).replace(f"{outputs_root() / 'lessons'}/", "").replace(f"{project_path(outputs_root() / 'lessons')}/", "")
    return ""


def found(place: Path) -> str:
    """Return what ``rd new`` says of a folder."""
    from rd_utils.exchange import new_study
    from rd_utils.workflow.progress import untracked

    return new_study.as_text(new_study.look(str(place), untracked))


# --- three hundred descriptions ---------------------------------------------------------------------------------------------------

PACKAGES = ("networkx", "numpy", "scikit-learn", "scipy")
_NO_PROSE = re.compile(r"`|\.\. |>>>|::|\\|\$")
_REFERENCE = re.compile(r" ?\[\d+\]_")
_SECTION = re.compile(r"\n[^\n]+\n[-=]{3,}[ \t]*(?:\n|$)")


def descriptions(most: int = 300) -> Folder:
    """Return real text that is installed with the suite: what functions of Python packages say of themselves.

    A query is the first sentence of a function's documentation, its one relevant document the prose that follows, up to the first
    heading. Kept are sentences of 4 to 14 words and prose of 20 to 90, without markup, each once, in an order that has no meaning.
    """
    versions, kept = dict(documented.installed("see_also")), {}
    for package in PACKAGES:
        for function in documented.functions_of(package, versions[package])[0]:
            said = documented.without_see_also(documented.without_signature(function.documentation, function.name))
            sentence, prose = documented.first_sentence(said), " ".join(_SECTION.split(said)[0].split())
            text = _REFERENCE.sub("", prose.removeprefix(sentence)).strip(" .") + "."
            lengths = len(sentence.split()), len(text.split())
            if prose.startswith(sentence) and 4 <= lengths[0] <= 14 and 20 <= lengths[1] <= 90 and not _NO_PROSE.search(sentence + text):
                kept.setdefault(text, (function.id, sentence))
    one_each = {sentence: (name, text) for text, (name, sentence) in kept.items()}
    rows = sorted(((name, sentence, text) for sentence, (name, text) in one_each.items()), key=lambda row: _digest(row[0]))[:most]
    documents, queries = [(name, text) for name, _, text in rows], [(f"q.{name}", sentence) for name, sentence, _ in rows]
    return Folder(documents, queries, {"all": [(f"q.{name}", name, 1) for name, _, _ in rows]})


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


# --- verdict ----------------------------------------------------------------------------------------------------------------------


def by_query(values: pd.DataFrame, measure: str = "nDCG@10") -> pd.DataFrame:
    """Return a row a test query, a column a system: the mean over seeds of a measure. values: of ``rd.tables.evaluate``."""
    of_measure = values[values["measure"] == measure]
    return of_measure.pivot_table(index=["test_collection", "query_id"], columns="row", values="value", sort=False)


def verdicts(table: pd.DataFrame, pairs: Sequence[tuple[str, str]], margin: float) -> pd.DataFrame:
    """Return a row a pair of systems: how much better the second is than the first, with its 95 % interval over queries, and the verdict.

    Args:
        table: of :func:`by_query`.
        pairs: Names of its columns.
        margin: The smallest difference that matters.
    """
    rows = {}
    for before, after in pairs:
        judged = stats.paired_difference(table[before], table[after], equivalence_margin=margin)
        rows[f"{after} less {before}"] = {
            "difference": judged.difference, "low": judged.low, "high": judged.high, "verdict": judged.verdict, "queries": judged.n_queries
        }  # fmt: skip
    return pd.DataFrame(rows).T


# --- pictures ---------------------------------------------------------------------------------------------------------------------


def map_of(folder: Folder = BROKEN, *, width: int = 660, step: int = 19) -> alt.LayerChart | alt.FacetChart:
    """Draw a folder: queries on the left, documents on the right, a line for each label, and what is faulty in colours.

    Args:
        folder: Queries of one text, and documents of one text or id, are looked for.
        width: Of the panel, in pixels.
        step: Between two rows, in pixels.
    """
    names = {"text": FAULTS[1], "id": FAULTS[0], "absent": FAULTS[2], "shared": FAULTS[3], "none": "no fault"}
    ids, texts = [one for one, _ in folder.documents], [text for _, text in folder.documents]
    split_of = {query: split for split, qrels in folder.qrels.items() for query, _, _ in qrels}
    plain = {one: " ".join(text.split()).casefold() for one, text in folder.queries}
    asked = sorted(plain, key=lambda one: (min(other for other in plain if plain[other] == plain[one]), one))
    wanting = sorted({document for qrels in folder.qrels.values() for _, document, _ in qrels} - set(ids))
    rows = len(ids) + len(wanting)
    documents = [
        {"name": one, "text": text, "row": row, "fault": "id" if ids.count(one) > 1 else "text" if texts.count(text) > 1 else "none"}
        for row, (one, text) in enumerate(folder.documents)
    ]
    documents += [
        {"name": one, "text": "(there is no such document)", "row": len(ids) + row, "fault": "absent"} for row, one in enumerate(wanting)
    ]
    said, gap = dict(folder.queries), rows / len(asked)
    queries = [
        {
            "name": one,
            "text": f"{said[one]} ({split_of[one]})",
            "row": (place + 0.5) * gap - 0.5,
            "fault": "shared" if list(plain.values()).count(plain[one]) > 1 else "none",
        }
        for place, one in enumerate(asked)
    ]
    places = {row["name"]: row["row"] for row in reversed(documents)} | {row["name"]: row["row"] for row in queries}
    labels = [
        {"from": places[query], "to": places[document], "split": split}
        for split, qrels in folder.qrels.items()
        for query, document, _ in qrels
    ]
    left, right = 0.345, 0.47
    order = [*FAULTS, names["none"]]
    colour = alt.Color(
        "kind:N", title=None, scale=alt.Scale(domain=order, range=[PALETTE[1], PALETTE[2], PALETTE[3], PALETTE[4], MUTED]),
        legend=alt.Legend(orient="top", columns=3, labelLimit=260),
    )  # fmt: skip
    shape = alt.Shape("kind:N", title=None, scale=alt.Scale(domain=order, range=[*SHAPES[1:5], SHAPES[0]]))
    down = alt.Scale(domain=[rows - 0.4, -0.6], nice=False)
    y = alt.Y("row:Q", axis=None, scale=down)
    across = alt.Scale(domain=[0, 1], nice=False)
    lines = (
        alt.Chart(pd.DataFrame(labels).assign(x=left + 0.012, x2=right - 0.012))
        .mark_rule(color=INK, strokeWidth=1.2)
        .encode(
            x=alt.X("x:Q", scale=across, axis=None), x2="x2:Q", y=alt.Y("from:Q", scale=down, axis=None), y2="to:Q",
            strokeDash=alt.StrokeDash(
                "split:N",
                title="label for",
                scale=alt.Scale(domain=["train", "test"], range=[[1, 0], [5, 4]]),
                legend=alt.Legend(orient="top"),
            ),
        )
    )  # fmt: skip
    layers: list[Any] = [lines]
    for table, x, outward in ((queries, left, -1), (documents, right, 1)):
        frame = pd.DataFrame(table).assign(x=x)
        frame["kind"] = frame["fault"].map(names)
        frame["label"] = [f"{row['text']}  {row['name']}" if outward < 0 else f"{row['name']}  {row['text']}" for row in table]
        base = alt.Chart(frame).encode(x=alt.X("x:Q", scale=across, axis=None), y=y)
        layers.append(base.mark_point(filled=True, size=70, opacity=1).encode(color=colour, shape=shape, tooltip=["name", "text", "kind"]))
        words = base.encode(text="label:N")
        layers.append(words.mark_text(align="right", dx=-10, color=INK) if outward < 0 else words.mark_text(align="left", dx=10, color=INK))
    return alt.layer(*layers).properties(width=width, height=rows * step)


# --- exercises --------------------------------------------------------------------------------------------------------------------


def copies(texts: Sequence[str]) -> int:
    """Return how many documents share their text with another, as ``rd new`` counts them."""
    return int(pd.Series(list(texts)).duplicated(keep=False).sum())


def absent(qrels: Qrels, documents: Sequence[str]) -> int:
    """Return how many positives of the qrels are no document, by the package."""
    frame = pd.DataFrame(qrels, columns=["query_id", "doc_id", "relevance"])
    return collections.absent_positives(frame, pd.Series(list(documents)), "a folder")[0]


def shared(train: Sequence[str], test: Sequence[str]) -> int:
    """Return how many test queries are training queries by their text, by the package."""

    def split(texts: Sequence[str]) -> leakage.Queries:
        names = [f"{place:03}" for place in range(len(texts))]
        return pd.DataFrame({"query_id": names, "text": list(texts)}), pd.DataFrame({"query_id": names, "doc_id": "d", "relevance": 1})

    return len(leakage.shared_queries(split(train), split(test), one_source=False))


def ask(query: np.ndarray, documents: np.ndarray, k: int) -> np.ndarray:
    """Return the rows of the k documents of the highest scores, by the package."""
    return retrieval.top_k(documents @ query, k, np.arange(len(documents)))


_WORDS = ("apple", "bridge", "river", "phone", "fruit", "card")


def _texts(rng: np.random.Generator) -> tuple[list[str]]:
    texts = [" ".join(rng.choice(_WORDS[:3], size=2)) for _ in range(int(rng.integers(8, 14)))]
    return ([texts[0], texts[0], texts[0], texts[0].title(), *texts[1:], "a card", "A card"],)


def _judged(rng: np.random.Generator) -> tuple[list[tuple[str, str, int]], list[str]]:
    documents = [f"d{number}" for number in range(6)]
    pairs = {(f"q{rng.integers(4)}", f"d{rng.integers(9)}"): int(rng.integers(0, 3)) for _ in range(12)}
    pairs |= {("q0", "d0"): 1, ("q0", "d8"): 2, ("q1", "d8"): 1, ("q2", "d7"): 0}
    return [(query, document, relevance) for (query, document), relevance in pairs.items()], documents


def _asked(rng: np.random.Generator) -> tuple[list[str], list[str]]:
    train = [" ".join(rng.choice(_WORDS, size=2)) for _ in range(int(rng.integers(5, 9)))]
    others = [" ".join(rng.choice(_WORDS, size=3)) for _ in range(4)]
    written = [train[0], train[0].upper(), f" {train[1]} ", train[2].replace(" ", "   ").title(), train[0]]
    written += [train[3].replace(" ", "  "), train[1].replace(" ", "   ")]
    return [*train, train[0]], [written[place] for place in rng.permutation(7)] + others


def _vectors(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
    width = int(rng.integers(2, 6))
    return rng.normal(size=width), rng.normal(scale=2, size=(int(rng.integers(6, 12)), width)), int(rng.integers(2, 5))


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _met(test: Sequence[str], train: Sequence[str], plain: Callable[[str], str] = _plain) -> int:
    known = {plain(text) for text in train}
    return sum(plain(text) in known for text in test)


_WIDTH = 1.96 * (0.25 * 0.75 / 20) ** 0.5

EXERCISES: Mapping[str, Exercise] = {
    "copies": Function(
        copies,
        _texts,
        (
            "three documents of one text share it with another, all three of them",
            "count each text first; then add up the counts that are above 1",
            "Counter(texts) has the counts; sum(number for number in Counter(texts).values() if number > 1)",
        ),
        {
            "the first of several copies shares its text too: count it as well": lambda t: len(t) - len(set(t)),
            "that is the number of texts that repeat; the number of documents that have one is asked for": (
                lambda t: sum(t.count(text) > 1 for text in set(t))
            ),
            "texts count as they stand here: a capital letter makes another text": lambda t: copies([text.lower() for text in t]),
            "that is the number of documents whose text is their own alone": lambda t: len(t) - copies(t),
            "that is a share; divide by nothing": lambda t: copies(t) / len(t),
        },
    ),
    "absent": Function(
        absent,
        _judged,
        (
            "two things make a row count: its relevance, and that its document is not there",
            "relevance > 0 is a positive; rows of relevance 0 lose nothing",
            "sum(relevance > 0 and document not in documents for query, document, relevance in qrels)",
        ),
        {
            "a row of relevance 0 is no positive, and nothing is lost with it": lambda q, d: sum(row[1] not in d for row in q),
            "a document that two queries name is lost twice: count rows, not documents": (
                lambda q, d: len({row[1] for row in q if row[2] > 0 and row[1] not in d})
            ),
            "that is the number of queries; count rows": lambda q, d: len({row[0] for row in q if row[2] > 0 and row[1] not in d}),
            "these are the positives that are there": lambda q, d: sum(row[2] > 0 and row[1] in d for row in q),
            "this adds up their grades; count them": lambda q, d: sum(row[2] for row in q if row[1] not in d),
        },
    ),
    "shared": Function(
        shared,
        _asked,
        (
            "what makes two texts one question, whatever their capitals and blanks?",
            "' '.join(text.split()) leaves one blank between words and none around; casefold() takes the capitals away",
            "put the training texts into a set in that form, and count the test texts that are in it",
        ),
        {
            "blanks and capitals make no other question: bring both sides into one form": lambda a, b: _met(b, a, str),
            "capitals are taken care of, blanks are not": lambda a, b: _met(b, a, str.lower),
            "blanks are taken care of, capitals are not": lambda a, b: _met(b, a, lambda text: " ".join(text.split())),
            "strip() leaves the blanks between words": lambda a, b: _met(b, a, lambda text: text.strip().lower()),
            "that is the number of texts; a text that stands twice among the test queries counts twice": (
                lambda a, b: len({_plain(text) for text in a} & {_plain(text) for text in b})
            ),
            "that counts training queries; the test queries are asked for": lambda a, b: _met(a, b),
        },
    ),
    "ask": Function(
        ask,
        _vectors,
        (
            "a score a document, the rows in the order of the scores, the first k of them",
            "documents @ query has the scores; np.argsort puts the lowest first, so turn the signs",
            "np.argsort(-(documents @ query))[:k]",
        ),
        {
            "argsort puts the lowest first, and the best are wanted": lambda q, d, k: np.argsort(d @ q)[:k],
            "the right ones, the worst of them first: turn the order": lambda q, d, k: np.argsort(d @ q)[-k:],
            "those are the scores; the rows are asked for": lambda q, d, k: np.sort(d @ q)[::-1][:k],
            "this divides documents by their length; the score is the plain product": (
                lambda q, d, k: np.argsort(-(d @ q) / np.linalg.norm(d, axis=1))[:k]
            ),
            "these are the nearest; the highest products are asked for": (
                lambda q, d, k: np.argsort(np.linalg.norm(d - q, axis=1))[:k]
            ),
            "all rows come back; the first k are asked for": lambda q, d, k: np.argsort(-(d @ q)),
        },
    ),
    "five of twenty": Value(
        [0.25, _WIDTH],
        (
            "the share is 5 / 20",
            "its standard error is the root of p (1 - p) / n, and 95 % are 1.96 of them to either side",
            ".25 x .75 / 20 is .009375, whose root is .0968",
        ),
        digits=2,
        mistakes={
            "that is the standard error; 95 % are 1.96 of them": [0.25, _WIDTH / 1.96],
            "the root of n is missing: divide p (1 - p) by 20 first": [0.25, 1.96 * (0.25 * 0.75) ** 0.5],
            "the root is missing": [0.25, 1.96 * 0.25 * 0.75 / 20],
            "that is the whole width; one side is asked for": [0.25, 2 * _WIDTH],
        },
    ),
    "enough negatives": Value(
        288.12,
        (
            "now the half width is given and n is asked for",
            "1.96 x root(.25 x .75 / n) = .05: square both sides",
            "n = 1.96 x 1.96 x .1875 / .0025",
        ),
        digits=-1,
        mistakes={
            "that is for one standard error; 95 % are 1.96": 75.0,
            "the width shrinks with the root of n: square both sides": 1.96 * (0.25 * 0.75) ** 0.5 / 0.05,
            "that is the worst case, a share of .5; here it is .25": 384.16,
        },
    ),
    "what a fault does": Value(
        ["lower", "lower", "higher", "refused"],
        (
            "ask of each: may the ranker still reach 1, and does it know the answer already?",
            "what stands nowhere cannot be found; of two documents of one text only one is labelled",
            "a query that was trained on is no test any more",
        ),
        mistakes={
            "the copy is as good an answer as the labelled one, and counts as none": ["higher", "lower", "higher", "refused"],
            "a label of no document is not refused: a corpus may have lost some documents. It is counted, and cannot be found": (
                ["lower", "refused", "higher", "refused"]
            ),
            "the student has seen the answer to a shared query": ["lower", "lower", "lower", "refused"],
            "an id that stands twice means two documents, and nobody knows which one a label means": ["lower", "lower", "higher", "lower"],
        },
    ),
}  # fmt: skip

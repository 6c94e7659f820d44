"""A study of a collection that nobody has described yet: looks into it, says what it found, and writes a file that runs.

What is written is a start, with a reason at each choice: BM25 and dense negatives beside random ones, LCE and KL, a teacher that needs no
model, a small bi-encoder from scratch, learning rates chosen on validation queries that are set aside.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import yaml

from rd_utils import durable
from rd_utils.data import collections
from rd_utils.data.sources import Documents, FolderCollection, IrDatasetsCollection, RandomSplit
from rd_utils.exchange import as_folder
from rd_utils.mining import words
from rd_utils.store import project_path
from rd_utils.study.params import BM25, ParameterError, parse

if TYPE_CHECKING:
    import pandas as pd

    from rd_utils.workflow.progress import Track

SAMPLE = 1_000  # texts that tell languages and lengths
SPLITS = {"train": ("train",), "validation": ("validation", "dev", "valid", "val"), "test": ("test",)}
_OF_SPLIT = re.compile(f"/({'|'.join(name for names in SPLITS.values() for name in names)})$")
VALIDATION_SHARE = 0.15  # of the training queries, where no split is for validation
SHARES = (0.6, 0.1, 0.3)  # of all queries, where there is one split
GROUP_SIZE, QUERIES_PER_BATCH = 16, 32  # of the base
EPOCHS, DOCUMENTS = 40, (16_384, 131_072)  # of a student, at most and within
SEEDS = 3
STOP_SHARE = 0.1  # of the words: so many stop words tell a language


class Part(NamedTuple):
    """Queries of one use: ``collection`` names them; counts are of those with a qrel."""

    collection: Documents
    queries: int
    positives: int
    absent: int  # positives that are no document
    words: float  # a query, in the mean
    unknown: float  # share of the queries' words that stand in no document


class Found(NamedTuple):
    """What a collection is.

    Attributes:
        name: of the collection, as a study's name.
        docs: number of documents; ``words`` in the median and at the 0.95-quantile, ``twice`` with a text that another has.
        parts: train, validation and test queries.
        analysis: of BM25.
        shared: test queries that are training, and that are validation queries too.
        why: how the queries were divided.
    """

    name: str
    docs: int
    words: tuple[float, float]
    twice: int
    parts: dict[str, Part]
    analysis: BM25
    shared: tuple[int, int]
    why: str


# --- looking --------------------------------------------------------------------------------------------------------------------


def look(named: str, track: Track) -> Found:
    """Look into a collection.

    Args:
        named: a folder in BEIR's layout, or an id of ir_datasets.
        track: shows progress.

    Raises:
        ParameterError: there is no such collection, or it has no queries with positives.
    """
    try:
        whole, why = _divided(named)
        docs = collections.read_docs(next(iter(whole.values())), track)
        read = {use: collections.read_queries(collection, track) for use, collection in whole.items()}
        texts = docs["text"].astype(str)
        analysis = analysis_of(texts.iloc[:: max(1, len(texts) // SAMPLE)])
        split = words.splitter(analysis)
        known = {word for text in texts for word in split(text)}
        parts = {use: _part(whole[use], *read[use], docs["doc_id"], lambda text: [word in known for word in split(text)]) for use in whole}
    except collections.CollectionError as error:
        raise ParameterError(f"{named}: {error}") from None
    for use, part in parts.items():
        if part.queries < 2:
            raise ParameterError(f"{named}: {part.queries} {use} queries have a positive among the documents; a study needs some dozens")
    lengths = [len(text.split()) for text in texts]
    return Found(
        name=_name(named),
        docs=len(docs),
        words=(float(np.median(lengths)), float(np.quantile(lengths, 0.95))),
        twice=int(texts.duplicated(keep=False).sum()),
        parts=parts,
        analysis=analysis,
        shared=_shared(read),
        why=why,
    )


def _divided(named: str) -> tuple[dict[str, Documents], str]:
    """Return the collections of training, validation and test queries, and how they were found."""
    of_split = _splits(named)
    found = {use: next((of_split[name] for name in names if name in of_split), None) for use, names in SPLITS.items()}
    train, validation, test = found["train"], found["validation"], found["test"]
    if train is not None and test is not None:
        if validation is not None:
            return {"train": train, "validation": validation, "test": test}, "its own splits"
        shares = (1 - VALIDATION_SHARE, VALIDATION_SHARE, 0.0)
        parts = {use: _random(train, use, shares) for use in ("train", "validation")}
        return parts | {"test": test}, f"its own train and test; {VALIDATION_SHARE:.0%} of train set aside for validation"
    if len(of_split) == 1:
        (one,) = of_split.values()
        shares = " / ".join(f"{share:.0%}" for share in SHARES)
        return {use: _random(one, use, SHARES) for use in SPLITS}, f"one split, divided at random: {shares}"
    raise ParameterError(
        f"{named} has the splits {', '.join(of_split)}; expected train and test, or one split that is divided; rename a file of qrels"
    )


def _random(collection: Documents, use: str, shares: tuple[float, float, float]) -> Documents:
    return collection.model_copy(update={"random_split": RandomSplit(part=use, shares=shares)})  # pyright: ignore[reportArgumentType]


def _splits(named: str) -> dict[str, Documents]:
    """Return the splits of a folder or id by their names."""
    folder = Path(named).expanduser()
    if folder.is_dir() or named.startswith((".", "~", "/")):
        if not folder.is_dir():
            raise ParameterError(f"{named}: there is no such folder")
        if not (folder / "qrels").is_dir():
            raise ParameterError(
                f"{named}: expected a folder in BEIR's layout, corpus.jsonl, queries.jsonl and qrels/<split>.tsv, but it has no qrels; "
                "qrels/all.tsv with query-id, corpus-id and score is enough"
            )
        names = collections.splits(folder)
        if not names:
            raise ParameterError(f"{named}: qrels holds no .tsv file; qrels/all.tsv with query-id, corpus-id and score is enough")
        path = project_path(folder)
        return {name: parse(FolderCollection, {"path": path, "split": name}, named) for name in names}
    import ir_datasets

    stem = _OF_SPLIT.sub("", named)
    own = [name for names in SPLITS.values() for name in names if f"{stem}/{name}" in ir_datasets.registry]
    ids = {name: f"{stem}/{name}" for name in own if collections.is_judged(f"{stem}/{name}")}
    if not ids and collections.is_judged(named):
        ids = {"all": named}
    if not ids:
        collections.check_source(parse(IrDatasetsCollection, {"id": named}, "collection"))
        raise ParameterError(f"{named}: ir_datasets knows no judged queries of it")
    return {name: parse(IrDatasetsCollection, {"id": one}, named) for name, one in ids.items()}


def _name(named: str) -> str:
    stem = _OF_SPLIT.sub("", named.rstrip("/")).removeprefix("beir/")
    last = Path(stem).expanduser().resolve().name if Path(named).expanduser().is_dir() else stem
    return re.sub(r"[^a-z0-9]+", "_", last.lower()).strip("_") or "own"


def _part(
    collection: Documents, queries: pd.DataFrame, qrels: pd.DataFrame, doc_ids: pd.Series, are_known: Callable[[str], list[bool]]
) -> Part:
    positives = collections.positives(qrels)
    absent, without = collections.absent_positives(qrels, doc_ids, collection.label)
    asked = queries.loc[queries["query_id"].isin(set(positives["query_id"])), "text"].astype(str)
    known = [is_known for text in asked for is_known in are_known(text)]
    each, unknown = len(known) / max(1, len(asked)), 1 - sum(known) / max(1, len(known))
    return Part(collection, positives["query_id"].nunique() - without, len(positives) - absent, absent, each, unknown)


def _shared(read: dict[str, tuple[pd.DataFrame, pd.DataFrame]]) -> tuple[int, int]:
    from rd_utils.data.leakage import shared_queries

    train, validation = (len(shared_queries(read[use], read["test"], one_source=True)) for use in ("train", "validation"))
    return train, validation


def analysis_of(texts: Sequence[str] | pd.Series) -> BM25:
    """Return the analysis of BM25 that fits texts: by their script, and by whose stop words they hold most.

    >>> analysis_of(["Das ist nicht der Hund, der in dem Haus und auf der Bank liegt"]).stemmer
    'german'
    >>> analysis_of(["猫在垫子上"]).words
    'character_pairs'
    """
    sample = [str(text) for text in texts]
    plain = BM25(stemmer="none", stopwords="none")
    if words.misfit(plain, sample):
        return BM25(words="character_pairs", stemmer="none", stopwords="none")
    split = words.splitter(plain)
    said = [word for text in sample for word in split(text)]
    script = next(iter(words.scripts(sample)), "LATIN")
    shares = {
        name: sum(word in stop for word in said) / max(1, len(said))
        for name in words.stemmers_of(script)
        if name in words.STOPWORDS and (stop := set(words.stop_words(BM25(stemmer="none", stopwords=name))))
    }
    best = max(shares, key=shares.__getitem__, default=None)
    if best is None or shares[best] < STOP_SHARE:
        return BM25() if script == "LATIN" else plain
    return BM25(stemmer=best, stopwords=best)


# --- writing --------------------------------------------------------------------------------------------------------------------


def as_yaml(found: Found) -> str:
    """Return the study's file."""
    train, validation, test = (found.parts[use] for use in SPLITS)
    most = EPOCHS * train.positives * GROUP_SIZE
    step = GROUP_SIZE * QUERIES_PER_BATCH
    documents = max(DOCUMENTS[0], min(DOCUMENTS[1], most)) // step * step
    analysis = found.analysis
    allow = [{"shared_queries": "allow"} if number else {} for number in found.shared]
    shared = f" # {found.shared[0]} of its queries are training queries too" if found.shared[0] else ""
    return f"""\
# {found.name}: {found.docs:,} documents, {train.queries:,} training, {validation.queries:,} validation and {test.queries:,} test queries
# ({found.why}). A start: change what you know better, then check it.
name: {found.name}
base: embedded # says everything that is not said here: strategies, architectures, measures
question: Which negatives and which loss serve {found.name} best, and is a ranker better than BM25?

collections:
  train: {_inline(train.collection)}
  test: [{_inline(test.collection, allow[0])}]{shared}

retrievers: # also words: character_pairs, for text without spaces
  bm25: {{kind: bm25, words: {analysis.words}, stemmer: {analysis.stemmer}, stopwords: {analysis.stopwords}}}

# A teacher that needs no model: a cross-encoder trained on the labels, and BM25, both standardised. With a model, local or of a hub:
# `teacher: {{kind: loaded, model: cross-encoder/ms-marco-MiniLM-L6-v2}}`.
teachers:
  lexical: {{kind: bm25, retriever: bm25}}
  teacher: {{kind: ensemble, members: [strong, lexical], strategy: bm25}}
  unfloored: {{kind: ensemble, members: [strong, lexical], strategy: bm25}}

# From scratch, in seconds, to show how strategies and losses differ: it starts from words weighted by their inverse document frequency,
# about where BM25 is. A ranker to keep starts from a model, such as
# `mine: {{kind: bi_encoder, model: sentence-transformers/all-MiniLM-L6-v2, similarity: cosine, scale: 20}}`.
architectures:
  bi: {{kind: static_bi, dimension: 256, similarity: cosine, scale: 20, word_weights: idf}}

search: # learning rates are chosen there, never on the test queries
  architectures:
    bi: {{learning_rates: [0.0003, 0.001, 0.003, 0.01], embedding_ratio: 1.0}}
  validation: {_inline(validation.collection, allow[1])}

training: {{documents: {documents}}} # that a student sees: {documents / GROUP_SIZE / train.positives:.0f} epochs of its groups

grids:
  - strategies: [corpus_random, bm25, dense]
    teachers: [teacher]
    losses: [lce, kl]
    architectures: [bi]
    seeds: [{", ".join(map(str, range(SEEDS)))}]

analysis: {{equivalence_margin: 0.02}} # fixed before anything is seen
"""


def _inline(collection: Documents, more: Mapping[str, object] | None = None) -> str:
    """Return a collection as a mapping on one line."""
    every = collection.model_dump(mode="json")
    values = {name: every[name] for name in ("source", "id", "path", "split") if name in every}
    values |= {**collection.model_dump(mode="json", exclude_defaults=True), **(more or {})}
    return yaml.safe_dump(values, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000).strip()


def as_text(found: Found) -> str:
    """Return what was found, for a reader."""
    from tabulate import tabulate

    lines = [
        f"{found.docs:,} documents, {found.words[0]:.0f} words in the median, {found.words[1]:.0f} at the 95th percentile; "
        f"{found.twice:,} share their text with another",
        f"BM25 reads it as {words.analysed_as(found.analysis)}",
        f"queries: {found.why}",
        "",
        tabulate(
            [(use, *_figures(part)) for use, part in found.parts.items()],
            ["", "queries", "positives a query", "judged, no document", "words a query", "words in no document"],
            disable_numparse=True,
            stralign="right",
        ),
    ]
    if any(found.shared):
        train, validation = found.shared
        lines += ["", f"of the test queries {train} are training and {validation} validation queries too; take them out of one to be sure"]
    return "\n".join(lines)


def _figures(part: Part) -> tuple[str, ...]:
    positives = f"{part.positives / part.queries:.2f}"
    return f"{part.queries:,}", positives, f"{part.absent:,}", f"{part.words:.1f}", f"{part.unknown:.1%}"


# --- the command ----------------------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser."""
    parser.add_argument(
        "collection",
        metavar="COLLECTION",
        help="a folder, in BEIR's layout or of Parquet files; an id of ir_datasets; a hub's data set",
    )
    parser.add_argument("--to", metavar="FILE", help="where the study goes; it must not exist (default: params/own/NAME.yaml)")


def run(options: argparse.Namespace) -> str:
    """Look into a collection and write a study of it; return what to print.

    Raises:
        ParameterError: the collection cannot be read, or the file exists.
    """
    from rd_utils.store import project_root
    from rd_utils.workflow.progress import track

    if options.to and Path(options.to).expanduser().exists():
        raise ParameterError(f"{options.to} exists; name another file, or remove it")
    folder = as_folder.folder_of(options.collection, project_root() / "data" / _name(options.collection), track)
    found = look(options.collection if folder is None else str(folder), track)
    path = Path(options.to).expanduser() if options.to else project_root() / "params" / "own" / f"{found.name}.yaml"
    if path.exists():
        raise ParameterError(f"{path} exists; name another file with --to, or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write_text(path, as_yaml(found))
    where = "" if folder is None else f"{options.collection} lies in {project_path(folder)} now, in BEIR's layout\n"
    return f"{where}{as_text(found)}\n\n{_prospect(path)}"


def _prospect(path: Path) -> str:
    """Return what a study will cost and can show, and how it is run."""
    from rd_utils.analysis import questions
    from rd_utils.cost import devices, estimates
    from rd_utils.store import Store
    from rd_utils.study.plan import load_plan

    plan = load_plan(path)
    students = sum(len(cell.students) for cell in plan.cells)
    cost = estimates.show(estimates.estimate(plan, Store(), devices.device_of(None)), "text", cells=False, cores=1).splitlines()[0]
    lines = [
        f"written: {plan.path}; {len(plan.cells)} cells, {students} students",
        cost,
        *(f"note: {line}" for line in questions.before(plan)),
    ]
    return "\n".join([*lines, "", f"run it with: rd run {plan.path}"])

"""What making each artefact takes before any device is chosen: texts and tokens read, operations, bytes; and pairs that teachers score.

Numbers of documents and queries come from the store or the catalogue of ir_datasets, lengths of texts from the store's token tables, or
from :data:`WORDS`. Nothing is downloaded, and no collection is read.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from rd_utils.cost import flops
from rd_utils.cost.flops import Flops
from rd_utils.data.sources import DocumentedCollection, EmbeddedCollection, FolderCollection, IrDatasetsCollection, PseudoQueries
from rd_utils.data.worlds import SPLITS, WORLDS, profile_of
from rd_utils.store import Store, resolve_path
from rd_utils.store.manifests import Manifest
from rd_utils.study.graph import docs_of, lexicon_of, tokenizer_of
from rd_utils.study.kinds import (
    Architecture,
    BiArchitecture,
    Collection,
    DenseIndex,
    DualArchitecture,
    LateArchitecture,
    Precision,
    Retriever,
    ScoredPool,
    Spec,
    Strategy,
    Teacher,
    Tokenizer,
)
from rd_utils.study.specs import CandidatesSpec, GroupsSpec, LexiconSpec, NeighboursSpec, QueriesSpec, ScoresSpec, TokensSpec
from rd_utils.study.stage import stage_of

# Mean words of a query and of a document, for token tables that are not made yet: N. Thakur et al., BEIR, 2021, table 1. Vaswani counted.
WORDS = {
    "msmarco-passage": (5.96, 55.98),
    "beir/msmarco": (5.96, 55.98),
    "beir/trec-covid": (10.60, 160.77),
    "beir/nfcorpus": (3.30, 232.26),
    "beir/nq": (9.16, 78.88),
    "beir/hotpotqa": (17.61, 46.30),
    "beir/fiqa": (10.77, 132.32),
    "beir/arguana": (192.98, 166.80),
    "beir/webis-touche2020": (6.55, 292.37),
    "beir/cqadupstack": (8.59, 129.09),
    "beir/quora": (9.53, 11.44),
    "beir/dbpedia-entity": (5.39, 49.68),
    "beir/scidocs": (9.38, 176.19),
    "beir/fever": (8.13, 84.76),
    "beir/climate-fever": (20.13, 84.76),
    "beir/scifact": (12.37, 213.63),
    "vaswani": (10.89, 41.93),
}
OTHER_WORDS = (9.0, 100.0)  # of a collection that is not listed
WORD_PIECES = 1.35  # tokens a word: 1.16 on Vaswani, 1.56 on SciFact; makes 76 of a passage of MS MARCO
LEXICON_TOKENS = 1.25  # of the word-level tokenizer, which splits punctuation off

# CPU seconds of one core of a 2020s server processor; of the order of what the embedded study took, until the store says it better.
SECONDS = {
    "document read": 5e-5,
    "query read": 5e-5,
    "word to lexicon": 1e-5,
    "token": 2e-6,
    "word indexed": 3.7e-7,  # 11 s a million passages of 30 words
    "document met by a query": 3e-10,  # by BM25: 0.3 ms a million documents, at some 5 words a query
    "candidate": 8e-6,
    "document of a group": 1.2e-5,
    "group described": 4e-5,
    "document probed": 2e-4,
    "posting met": 2e-9,
    "pair ranked": 5e-6,  # sorted, measured and written
    "pair looked up": 1e-6,
    "oracle's pair": 1e-4,
    "BM25's pair": 1e-5,
}
DENSE_RATE = 3e10  # operations a core and second of an exhaustive dense search, which is a product of float32 matrices
BYTES = {
    "word": 6.0,
    "token": 4.0,
    "vector": 4.0,
    "posting": 8.0,
    "candidate": 12.0,  # a row and a float64
    "document of a group": 8.0,
    "score": 8.0,
    "pair": 8.0,
    "run": 45.0,
}
WEIGHTS = {"query": 30.0, "document": 100.0}  # words with a weight in a learned sparse vector
RECALL_QUERIES = 200  # for which what an inverted file found is compared with an exhaustive search
POSTINGS = 0.75  # different words of a document, by its words


@dataclass(frozen=True)
class Work:
    """What making one artefact takes, before any device is chosen.

    Attributes:
        kind: what shares its rate with this: artefacts of one kind are measured together.
        documents: texts or pairs that a model reads.
        tokens: their tokens.
        flops: what the model computes.
        mode: ``train`` or ``infer``; empty where no model computes.
        precision: of the model.
        architecture: of the model.
        cpu_seconds: of everything else, at the assumed rates.
        disk: bytes left in the store.
        memory: bytes of the process without the model.
        model_memory: bytes of the model, its optimiser and activations.
        unknown: what kept the model's work from being counted.
        assumed: whether sizes or lengths are assumed.
    """

    kind: str
    documents: float = 0.0
    tokens: float = 0.0
    flops: Flops = Flops()
    mode: str = ""
    precision: Precision = "fp32"
    architecture: Architecture | None = None
    cpu_seconds: float = 0.0
    disk: float = 0.0
    memory: float = 0.0
    model_memory: float = 0.0
    unknown: str = ""


class Sizes(NamedTuple):
    """How many documents, queries and known positives a collection has, and whether that is known."""

    docs: float
    queries: float
    positives: float


class Lengths(NamedTuple):
    """Mean tokens of a text as the model reads it, and the mean of their square."""

    mean: float
    square: float


# --- what is known of the texts ---------------------------------------------------------------------------------------------------


Length = Callable[..., Lengths]  # of a side, ``queries`` or ``docs``, framed by ``special`` tokens and ``cut`` to so many


class Known:
    """What the store's manifests and the catalogues say of collections, read once.

    Args:
        store: whose manifests count; artefacts of earlier versions of the code count too, since texts do not change with it.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.manifests: dict[str, list[tuple[Path, Manifest]]] = {}
        self.by_parameters: dict[tuple[str, str], tuple[Path, Manifest]] = {}
        for path in sorted(store.root.glob("*/*/manifest.json")):
            try:
                manifest = json.loads(path.read_text(encoding="utf-8"))
                _ = manifest["parameters"], manifest["counts"], manifest["cost"]
            except (OSError, ValueError, KeyError, TypeError):
                continue  # damaged, or being replaced: it counts as not there
            stage = path.parent.parent.name
            self.manifests.setdefault(stage, []).append((path.parent, manifest))
            self.by_parameters[stage, json.dumps(manifest["parameters"], sort_keys=True)] = (path.parent, manifest)
        self._sizes: dict[str, Sizes] = {}
        self._lengths: dict[str, np.ndarray | None] = {}

    def counts(self, spec: Spec) -> dict[str, int | float]:
        """Return the counts of an artefact of these parameters; empty where the store has none."""
        found = self.by_parameters.get((spec.stage, json.dumps(spec.model_dump(mode="json"), sort_keys=True)))
        return found[1]["counts"] if found else {}

    def sizes(self, collection: Collection) -> Sizes:
        """Return a collection's size: from the store, else from what is known without reading it (see :func:`listed`)."""
        key = collection.model_dump_json()
        if key not in self._sizes:
            docs = self.counts(docs_of(collection)).get("documents")
            read = self.counts(QueriesSpec(collection=collection))
            found = listed(collection) if docs is None or "queries" not in read else Sizes(0, 0, 0)
            queries, positives = read.get("queries", found.queries), read.get("positives", found.positives)
            self._sizes[key] = Sizes(docs or found.docs, queries, positives)
        return self._sizes[key]

    def words(self, collection: Collection) -> tuple[float, float]:
        """Return assumed mean words of a query and of a document."""
        match collection:
            case PseudoQueries():
                return sum(collection.words) / 2, self.words(collection.documents)[1]
            case EmbeddedCollection():
                profile = profile_of(collection.profile, collection.world)
                shortest, longest = profile.document_length
                drawn = profile.query_lengths
                queries = sum(n * share for n, share in enumerate(drawn)) / sum(drawn)
                return queries, shortest + (longest - shortest) / 3  # the lesser of two
            case DocumentedCollection():
                from rd_utils.data import documented

                return documented.WORDS[collection.task]
            case IrDatasetsCollection():
                return next((words for name, words in WORDS.items() if f"{collection.id}/".startswith(f"{name}/")), OTHER_WORDS)
            case _:
                return OTHER_WORDS

    def lengths(
        self, of: Literal["docs", "queries"], collection: Collection, tokenizer: Tokenizer, cut: float = math.inf, special: int = 0
    ) -> Lengths:
        """Return the tokens of a side's texts, framed by ``special`` tokens and cut to ``cut`` with them.

        Without a token table the mean is cut, which is too much where some texts are longer and some shorter than the cut.
        """
        spec = TokensSpec(of=of, collection=docs_of(collection).collection if of == "docs" else collection, tokenizer=tokenizer)
        key = spec.model_dump_json()
        if key not in self._lengths:
            found = self.by_parameters.get(("tokens", json.dumps(spec.model_dump(mode="json"), sort_keys=True)))
            path = found[0] / "offsets.npy" if found else None
            self._lengths[key] = np.diff(np.load(path)) if path is not None and path.is_file() else None
        table = self._lengths[key]
        if table is None or not len(table):
            words = self.words(collection)[of == "docs"]
            mean = min(words * (LEXICON_TOKENS if tokenizer.kind == "lexicon" else WORD_PIECES) + special, cut)
            return Lengths(mean, mean**2)
        framed = np.minimum(table + special, cut).astype(np.float64)
        return Lengths(float(framed.mean()), float((framed**2).mean()))

    def lexicon_words(self, architecture: Architecture, collection: Collection) -> int:
        """Return how many words the lexicon of a student from scratch has."""
        lexicon = lexicon_of(architecture, collection)
        return self.words_of(lexicon) if lexicon else 0

    def words_of(self, lexicon: LexiconSpec) -> int:
        """Return how many words a lexicon has; those of an embedded collection that is not read yet grow with its documents."""
        grown = lexicon.docs.collection
        factor = 1.0
        if isinstance(grown, EmbeddedCollection) and grown.documents is not None:
            factor = grown.documents / profile_of(grown.profile, grown.world).n_docs
        return int(self.counts(lexicon).get("words", flops.LEXICON_WORDS * factor))


def listed(collection: Collection) -> Sizes:
    """Return a collection's size without reading its texts."""
    match collection:
        case PseudoQueries():
            queries = _part(collection, collection.queries)
            return Sizes(listed(collection.documents).docs, queries, queries)
        case EmbeddedCollection():
            profile = profile_of(collection.profile, collection.world, collection.documents, collection.training_queries)
            queries = profile.n_queries[SPLITS.index(collection.split)]
            labels = WORLDS[collection.world].labels if collection.split == "train" else 1
            return _limited(collection, Sizes(profile.n_docs, queries, queries * labels))
        case DocumentedCollection():
            from rd_utils.data import documented

            return _limited(collection, Sizes(*documented.SIZES[collection.task, collection.split]))
        case FolderCollection():
            from rd_utils.data import collections, reading, trec

            folder = resolve_path(collection.path)
            docs = reading.count_lines(collections.file_of(folder, collections.CORPUS), collections.CollectionError)
            qrels = collections.file_of(folder, f"qrels/{collection.split}.tsv")
            if (
                not qrels.is_file()
            ):  # the documents alone are asked for, which all splits share under the name of one that need not be there
                return Sizes(docs, 0, 0)
            judged = trec.qrels(qrels, collections.CollectionError).frame
            return _limited(collection, Sizes(docs, judged["query_id"].nunique(), len(collections.positives(judged))))
        case IrDatasetsCollection():
            return _limited(collection, _catalogued(collection.id))
        case _:
            raise TypeError(f"nothing says how large {collection.label} is")


def _catalogued(name: str) -> Sizes:
    """Return what the catalogue of ir_datasets says of an id."""
    import ir_datasets

    dataset = ir_datasets.load(name)
    parts = ("docs", "queries", "qrels")
    has = {part: getattr(dataset, f"has_{part}")() for part in parts}
    docs, queries, qrels = ((getattr(dataset, f"{part}_metadata")() or {}) if has[part] else {} for part in parts)
    graded = qrels.get("fields", {}).get("relevance", {}).get("counts_by_value", {})
    positives = sum(n for grade, n in graded.items() if int(grade) > 0) or qrels.get("count", math.nan)
    return Sizes(docs.get("count", math.nan), queries.get("count", math.nan), positives)


def drawn(spec: GroupsSpec, sizes: Sizes) -> float:
    """Return how many groups are drawn from a collection of this size where none is dropped: one a positive and draw, less what is cut."""
    share = 1.0 if spec.cut is None else {"l": 0.5, "u": 0.5, "q": 0.25, "i": 0.9, "o": 0.1}[spec.cut.part[0]]
    return sizes.positives * spec.draws * share


def _limited(collection: EmbeddedCollection | DocumentedCollection | FolderCollection | IrDatasetsCollection, sizes: Sizes) -> Sizes:
    """Return what ``random_split``, ``skip_queries`` and ``max_queries`` leave, positives in proportion."""
    queries = _part(collection, sizes.queries) - getattr(collection, "skip_queries", 0)
    if collection.max_queries is not None:
        queries = min(queries, collection.max_queries)
    return sizes._replace(queries=queries, positives=sizes.positives * queries / sizes.queries)


def _part(collection: Collection, queries: float) -> float:
    """Return how many of so many queries ``random_split`` leaves."""
    return queries if collection.random_split is None else queries * collection.random_split.share


# --- what an artefact takes -------------------------------------------------------------------------------------------------------


class Counter:
    """Count the work of artefacts.

    Args:
        known: what is known of the texts.
        encoded: whether an evaluation finds its documents encoded.
    """

    def __init__(self, known: Known, encoded: bool = False) -> None:
        self.known, self.encoded = known, encoded

    def work(self, spec: Spec, encoded: bool = False) -> Work:
        """Return what making an artefact takes, without the pairs that teachers score for it (see :meth:`pairs`).

        Args:
            spec: the artefact.
            encoded: whether an evaluation finds its documents encoded, by a full retrieval of the same system.
        """
        return stage_of(spec).work(spec, Counter(self.known, encoded) if encoded else self)

    # --- models -------------------------------------------------------------------------------------------------------------------

    def reads(self, architecture: Architecture, collection: Collection, trained_on: Collection) -> tuple[Lengths, Lengths]:
        """Return the tokens of a query, and of what is read beside it: a document (bi-encoders, interaction), or the pair."""
        tokenizer = tokenizer_of(architecture, trained_on)
        return architecture.reads(functools.partial(self.known.lengths, collection=collection, tokenizer=tokenizer))

    def encoding(
        self, architecture: DualArchitecture, collection: Collection, trained_on: Collection, docs: float, queries: float
    ) -> tuple[float, Flops | None]:
        """Return the tokens and operations of embedding so many documents and queries."""
        query, doc = self.reads(architecture, collection, trained_on)
        each = architecture.embedding(query), architecture.embedding(doc)
        counted = None if each[0] is None or each[1] is None else each[0] * queries + each[1] * docs
        return query.mean * queries + doc.mean * docs, counted

    def searched(self, work: Work, architecture: DualArchitecture, collection: Collection, trained_on: Collection) -> Work:
        """Add a search of all documents for every query, on the processor."""
        sizes = self.known.sizes(collection)
        if isinstance(architecture, BiArchitecture):
            return dense_search(work, architecture, sizes.queries, sizes.docs)
        query, document = self.reads(architecture, collection, trained_on)
        if isinstance(architecture, LateArchitecture):
            operations = architecture.matching(query, document, 0) * sizes.queries * sizes.docs
            memory = sizes.docs * document.mean * BYTES["vector"] * (architecture.width or 0)
            return replace(work, cpu_seconds=work.cpu_seconds + operations / DENSE_RATE, memory=work.memory + memory)
        words = self.known.lexicon_words(architecture, collection) or getattr(architecture.shape, "vocabulary", 1)
        met = sizes.queries * sizes.docs * WEIGHTS["query"] * WEIGHTS["document"] / words
        memory = sizes.docs * WEIGHTS["document"] * BYTES["posting"]
        return replace(work, cpu_seconds=work.cpu_seconds + met * SECONDS["posting met"], memory=work.memory + memory)

    def scoring(
        self, architecture: Architecture, collection: Collection, trained_on: Collection, pairs: float
    ) -> tuple[float, Flops | None]:
        """Return the tokens and operations of scoring so many pairs with a cross-encoder."""
        query, read = self.reads(architecture, collection, trained_on)
        one = architecture.pair(query, read)
        tokens = (query.mean + read.mean if architecture.shape is None and one is not None else read.mean) * pairs
        return tokens, None if one is None else one * pairs

    def model(self, work: Work, architecture: Architecture, counted: Flops | None, *, model_memory: float = 0.0) -> Work:
        """Return work with a model's operations, or with the model named that could not be counted."""
        work = replace(work, architecture=architecture, model_memory=model_memory or work.model_memory)
        if counted is not None:
            return replace(work, flops=counted)
        return replace(work, unknown=f"the shape of {getattr(architecture, 'model', architecture.kind)}")

    def weights(self, architecture: Architecture, collection: Collection) -> float:
        """Return a model's number of parameters; 0 where its shape is unknown, which is said elsewhere."""
        return float(architecture.parameters(self.known.lexicon_words(architecture, collection)) or 0)

    def groups(self, spec: GroupsSpec) -> float:
        """Return how many groups there are: one a positive and draw, fewer where a part of the queries is kept or was counted."""
        counted = self.known.counts(spec).get("groups")
        if counted is not None:
            return counted
        return drawn(spec, self.known.sizes(spec.collection))

    def pairs(self, teacher: Teacher, collection: Collection, pairs: float) -> list[Work]:
        """Return what scoring so many pairs takes; each member of an ensemble scores them all, and a file none."""
        found = []
        for scorer in teacher.scorers if pairs else ():
            work = Work(f"pairs {scorer.tag}", documents=pairs, disk=pairs * BYTES["pair"], memory=40 * pairs)
            found.append(scorer.work(work, collection, pairs, self))
        return found

    def read_pairs(
        self, work: Work, architecture: Architecture, collection: Collection, trained_on: Collection, pairs: float, precision: Precision
    ) -> Work:
        """Add to the work of keeping scores that of a model: embedding the queries (documents' vectors are there), or reading pairs."""
        work = replace(work, mode="infer", precision=precision, cpu_seconds=pairs * SECONDS["pair looked up"])
        if isinstance(architecture, DualArchitecture):
            sizes = self.known.sizes(collection)
            docs = 0.0 if isinstance(architecture, BiArchitecture) else min(sizes.docs, pairs)  # a bi-encoder's embeddings are there
            tokens, counted = self.encoding(architecture, collection, trained_on, docs, min(sizes.queries, pairs))
        else:
            tokens, counted = self.scoring(architecture, collection, trained_on, pairs)
        return self.model(replace(work, tokens=tokens), architecture, counted, model_memory=4 * self.weights(architecture, trained_on))


def dense_search(work: Work, architecture: BiArchitecture, queries: float, docs: float, index: DenseIndex | None = None) -> Work:
    """Add a search by faiss on the processor, of all documents unless an index says less."""
    width = architecture.width or 0
    met = queries * docs if index is None else index.compared(queries, docs)
    memory = docs * (BYTES["vector"] * width + (0.0 if index is None else index.posting_bytes(width)))
    return replace(work, cpu_seconds=work.cpu_seconds + 2.0 * width * met / DENSE_RATE, memory=work.memory + memory)


Asked = tuple[Teacher, Collection]  # whose pairs are scored


def demanded(specs: Sequence[Spec], counter: Counter) -> dict[Asked, float]:
    """Return how many different pairs each teacher scores on each collection, whichever artefacts ask for them.

    A pool that is re-ranked or filtered is scored whole, and groups drawn from it cost nothing more. Of other pools of depth D every group
    draws k, and s independent draws meet ``D (1 - (1 - k / D)^s)`` different ones. Positives count once. What two pools share is counted
    twice, so this is an upper bound.
    """
    whole = _whole(specs, counter)
    drawn: dict[tuple[Asked, str, float], tuple[float, float]] = {}  # groups, and the share of the pool that no draw has met
    plain: dict[Asked, dict[str, float]] = {}
    for spec in specs:
        if not isinstance(spec, ScoresSpec):
            continue
        groups, key = spec.groups, (spec.teacher, spec.groups.collection)
        if groups.cut is not None and groups.cut.teacher == spec.teacher:
            continue  # the scores that the cut was made by
        number, negatives = counter.groups(groups) / groups.draws, groups.group_size - 1
        others = plain.setdefault(key, {})
        others["positives"] = max(others.get("positives", 0.0), number)
        pool = groups.strategy.pool_of(groups.collection)
        at_random = negatives * (groups.random_share if pool else 1.0)
        others["random"] = others.get("random", 0.0) + at_random * number * groups.draws
        if pool is None or _covered(pool, spec.teacher, whole.get(key, {})):
            continue
        depth = min(pool.depth, counter.known.sizes(groups.collection).docs) - groups.strategy.window[0] + 1
        times = 1 if getattr(groups.strategy, "draw", "uniform") == "top" else groups.draws
        place = (key, f"{pool.stage} {pool.retriever.model_dump_json()}", depth)
        most, missed = drawn.get(place, (0.0, 1.0))
        drawn[place] = (max(most, number), missed * (1 - min(1.0, (negatives - at_random) / depth)) ** times)
    found = {key: counter.known.sizes(key[1]).queries * sum(pools.values()) for key, pools in whole.items()}
    for key, others in plain.items():
        found[key] = found.get(key, 0.0) + sum(others.values())
    for (key, _, depth), (number, missed) in drawn.items():
        found[key] += number * depth * (1 - missed)
    return found


def _whole(specs: Sequence[Spec], counter: Counter) -> dict[Asked, dict[str, float]]:
    """Return the depth to which teachers score pools whole, by the pool's retriever."""
    whole: dict[Asked, dict[str, float]] = {}
    for spec in specs:
        match spec:
            case CandidatesSpec(retriever=Retriever(scored_pool=ScoredPool() as scored)):
                pass
            case GroupsSpec(cut=None, strategy=Strategy(scored_pool=ScoredPool() as scored)):
                pass
            case _:
                continue
        pools = whole.setdefault((scored.teacher, spec.collection), {})
        name = scored.retriever.model_dump_json()
        pools[name] = max(pools.get(name, 0.0), min(scored.depth, counter.known.sizes(spec.collection).docs))
    return whole


def _covered(pool: CandidatesSpec | NeighboursSpec, teacher: Teacher, whole: dict[str, float]) -> bool:
    """Tell whether a teacher scores a pool whole anyway."""
    if not isinstance(pool, CandidatesSpec):
        return False
    scored = pool.retriever.scored_pool
    if scored is not None and scored.teacher == teacher:
        return True
    return whole.get(pool.retriever.model_dump_json(), 0.0) >= pool.depth

"""Families and kinds: what may be said where a retriever, a strategy, a teacher is asked for.

A *family* is a class of what may stand in one place (:class:`Retriever`, :class:`Strategy`); a *kind* is a subclass of it, known by its tag
(``kind: Literal["bm25"] = "bm25"``). A field that is typed with a family takes every kind of it: defining the class is all that a new kind
needs. Everything here is frozen, and refuses what it does not know.
"""

from __future__ import annotations

import functools
import importlib
import operator
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, PlainValidator, TypeAdapter, model_validator

from rd_utils.study.bounds import Count, Depth, ModelText, Scale, Share, Temperature, Weight, shown
from rd_utils.study.context import Context, Impossible, Misnamed, UnknownName, Unsound, current

if TYPE_CHECKING:
    from pathlib import Path

    import faiss
    import numpy as np

    from rd_utils.cost.flops import Flops, Shape
    from rd_utils.cost.workload import Counter, Length, Lengths, Work
    from rd_utils.data.runs import Run
    from rd_utils.data.sources import RandomSplit
    from rd_utils.mining.bm25 import Index
    from rd_utils.mining.retrievers import BM25
    from rd_utils.mining.sampling import PoolPart
    from rd_utils.models import Student
    from rd_utils.scoring.pairs import Scored
    from rd_utils.scoring.teacher_kinds import ScoringTeacher
    from rd_utils.store import Draft
    from rd_utils.study.specs import CandidatesSpec, IndexSpec, NeighboursSpec
    from rd_utils.study.stage import Given, Inputs

Precision = Literal["fp32", "bf16", "fp16"]
Draw = Literal["uniform", "top", "softmax"]


PACKAGE = "package:"  # before the name of a Python package


class Named(NamedTuple):
    """What a part names by path: a ``collection`` or ``model`` folder, or a ``file`` of scores or of a run; or a ``package:NAME``."""

    kind: str
    name: str

    @property
    def package(self) -> str:
        """Return the Python package that is named."""
        return self.name.removeprefix(PACKAGE)


class Part(BaseModel):
    """Base of all parameter classes: frozen, and unknown keys are errors.

    Attributes:
        version: of what the class makes: raised where the same parameters are to give other bytes (see :mod:`rd_utils.store.canonical`).
    """

    __slots__ = ("_kept_hash",)  # neither compared, copied, dumped nor sent to another process
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
    version: ClassVar[int] = 1

    @property
    def outside(self) -> tuple[Named, ...]:
        """Return what this part itself names by path."""
        return ()

    def __eq__(self, other: object) -> bool:
        """Return whether two parts are of one class and have equal fields: pydantic's rule, in a third of its time."""
        if self is other or type(self) is not type(other):
            return self is other
        mine, others = self.__dict__, other.__dict__  # what a property remembered is in them too
        return mine == others or all(mine[name] == others[name] for name in type(self).model_fields)

    def __hash__(self) -> int:
        """Return the hash of the fields, computed once: parts within parts are looked up thousands of times in a plan."""
        try:
            return self._kept_hash
        except AttributeError:
            kept = hash((type(self), *(self.__dict__[name] for name in type(self).model_fields)))
            object.__setattr__(self, "_kept_hash", kept)
            return kept


class Spec(Part):
    """Base of the classes that name one artefact."""

    stage: ClassVar[str]

    if TYPE_CHECKING:  # the stubs of pydantic do not know that ``model_config`` freezes

        def __hash__(self) -> int: ...


def tag_of(model: object) -> str | None:
    """Return the ``kind`` or ``source`` by which a class of parts is known; None where it has neither.

    >>> tag_of(Retriever) is None
    True
    """
    fields = getattr(model, "__pydantic_fields__", None) or {}
    for name in ("kind", "source"):
        if name in fields and get_origin(fields[name].annotation) is Literal and len(get_args(fields[name].annotation)) == 1:
            return fields[name].default
    return None


class Kind(Part):
    """Base of all families.

    Where a kind is asked for, a text is the name of a part of the study, or of a kind that needs no more; and a kind may be said in short,
    where the study or the notebook has the rest.

    Attributes:
        tag_field: name of the field that says the kind.
        word: what one of the family is called.
        kinds: the kinds of a family by tag, filled as they are defined.
        short: the fields by which a kind may be said instead of its own.
    """

    tag_field: ClassVar[str] = "kind"
    word: ClassVar[str] = "part"
    kinds: ClassVar[dict[str, type[Kind]]] = {}
    short: ClassVar[type[Part] | None] = None
    _union: ClassVar[TypeAdapter[Any] | None] = None

    if TYPE_CHECKING:

        @property
        def kind(self) -> str:
            """Return the tag."""
            ...

    @property
    def tag(self) -> str:
        """Return the kind of this value."""
        return getattr(self, self.tag_field)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        """Register a kind with its families; start the list of a family."""
        tag = tag_of(cls)
        if tag is None:
            cls.kinds, cls._union = {}, None
            return
        for family in cls.__mro__[1:]:
            if issubclass(family, Kind) and family is not Kind and "kinds" in vars(family):
                other = family.kinds.setdefault(tag, cls)
                if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
                    raise TypeError(f"{cls.__qualname__}: {family.__name__} has a kind {tag!r} already, {other.__qualname__}")
                family.kinds[tag], family._union = cls, None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Kind], handler: GetCoreSchemaHandler) -> Mapping[str, object]:
        """Validate a kind by its fields, a family as the kind that the tag says, looked up when a value is there."""
        if tag_of(cls) is not None:
            return handler(source)
        return handler.generate_schema(Annotated[Any, PlainValidator(cls._chosen)])

    @classmethod
    def _chosen(cls, value: object) -> Kind:
        """Return a value of one of the family's kinds; errors stand under the tag."""
        if isinstance(value, Impossible):
            raise Misnamed(value.reason)
        if isinstance(value, str):
            value = cls.named(value) or value
        if isinstance(value, cls):
            return value
        if cls._union is None:
            importlib.import_module("rd_utils.study.params")  # which imports the module of every kind
            kinds = tuple(cls.kinds.values())
            union: Any = functools.reduce(operator.or_, kinds)
            union = Annotated[union, Field(discriminator=cls.tag_field)] if len(kinds) > 1 else union
            cls._union = TypeAdapter(union)
        return cls._union.validate_python(value)

    @model_validator(mode="before")
    @classmethod
    def _said(cls, value: object) -> object:
        if isinstance(value, str):
            known = cls.named(value)
            return value if known is None else dict(known)
        context = current()
        return cls.whole(value, context) if context is not None and type(value) is dict else value

    @classmethod
    def whole(cls, values: dict[str, object], context: Context) -> dict[str, object]:
        """Return a kind's fields, of what may be said in short."""
        return values

    @classmethod
    def needs_no_more(cls) -> bool:
        """Tell whether a kind's name alone says it."""
        return not any(field.is_required() for field in cls.model_fields.values())

    @classmethod
    def named(cls, name: str) -> Kind | None:
        """Return what a name stands for; None where it stands for nothing, and no study has names.

        Raises:
            Misnamed: the study has no such name, or another kind of that name.
        """
        context = current()
        table = None if context is None else context.table_of(cls)
        names = None if context is None or table is None else context.names(table)
        if table is not None and names is None:
            raise Unsound(f"{table} is missing")
        if context is not None and table is not None and name in (names or ()):
            value = context.part(table, name)
        elif name in cls.kinds and cls.kinds[name].needs_no_more():
            value = cls.kinds[name]()
        else:
            value = cls.otherwise(name, context)
        if value is None and names is not None:
            raise UnknownName(name, names)
        if value is not None and not isinstance(value, cls):
            tag = tag_of(cls)
            raise Misnamed(f"{shown(name)} is no {f'{tag} ' if tag else ''}{cls.word}")
        return value

    @classmethod
    def otherwise(cls, name: str, context: Context | None) -> Kind | None:
        """Return what a name of another family stands for here."""
        return None


# --- families ---------------------------------------------------------------------------------------------------------------------


class Collection(Kind):
    """Documents, queries and qrels (kinds: :mod:`rd_utils.data.sources`)."""

    tag_field: ClassVar[str] = "source"
    word: ClassVar[str] = "collection"

    if TYPE_CHECKING:

        @property
        def source(self) -> str:
            """Return the tag."""
            ...

        @property
        def shared_queries(self) -> str:
            """Return whether some queries may be training queries too."""
            ...

        @property
        def random_split(self) -> RandomSplit | None:
            """Return the part that is taken of its queries; None for all of them."""
            ...

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        raise NotImplementedError

    def undivided(self) -> Collection:
        """Return the collection of which this is a part: all parts share its documents."""
        raise NotImplementedError


class ScoredPool(NamedTuple):
    """What a retriever finds for a query, to a depth, where a teacher scores all of it."""

    teacher: Teacher
    retriever: Retriever
    depth: int


class Retriever(Kind):
    """What ranks a collection's documents for a query (kinds: :mod:`rd_utils.mining.retrievers`)."""

    word: ClassVar[str] = "retriever"

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        raise NotImplementedError

    @property
    def way(self) -> str:
        """Return what shares its speed with this."""
        return self.tag

    @property
    def inner(self) -> tuple[Retriever, ...]:
        """Return the retrievers that this one re-ranks or pools."""
        return ()

    @property
    def scored_pool(self) -> ScoredPool | None:
        """Return what a teacher scores whole for it; None where none does."""
        return None

    @property
    def lexical(self) -> BM25 | None:
        """Return the BM25 that it is, re-ranks or pools, the first where it pools several; None where it has none."""
        return next((lexical for part in self.inner if (lexical := part.lexical)), None)

    def inputs(self, collection: Collection) -> Inputs:
        """Return what is needed, beside the collection, before its queries can be searched for."""
        raise NotImplementedError

    def search(self, spec: CandidatesSpec, given: Given, draft: Draft) -> Run:
        """Return the top ``spec.depth`` documents of every query, from what ``inputs`` named."""
        raise NotImplementedError

    def work(self, work: Work, spec: CandidatesSpec, counter: Counter) -> Work:
        """Return the work of writing candidates with that of finding them."""
        raise NotImplementedError


class IndexedRetriever(Retriever):
    """A retriever that reads the documents, and searches what it made of them."""

    word: ClassVar[str] = "retriever that reads the documents, such as bm25 or a dense one"

    def index_of(self, collection: Collection) -> IndexSpec | None:
        """Return what it searches of a collection's documents; None where it goes through all embeddings."""
        raise NotImplementedError

    def index_inputs(self, collection: Collection) -> Inputs:
        """Return what its index is made from, beside the documents; and what it needs to search for documents."""
        raise NotImplementedError

    def build(self, spec: IndexSpec, given: Given, draft: Draft) -> None:
        """Write its index of the documents."""
        raise NotImplementedError

    def open(self, folder: Path) -> Index | faiss.IndexIVF:
        """Open its index, memory-mapped."""
        raise NotImplementedError

    def nearest(self, spec: NeighboursSpec, rows: np.ndarray, depth: int, given: Given, draft: Draft) -> Run:
        """Return the top documents for the text of each document in ``rows``."""
        raise NotImplementedError

    def index_work(self, spec: IndexSpec, counter: Counter) -> Work:
        """Return what its index takes."""
        raise NotImplementedError

    def nearest_work(self, work: Work, spec: NeighboursSpec, asking: float, counter: Counter) -> Work:
        """Return the work of writing neighbours of so many documents with that of finding them."""
        raise NotImplementedError


class DenseIndex(Kind):
    """How embeddings are searched (kinds: :mod:`rd_utils.mining.retrievers`)."""

    def compared(self, queries: float, docs: float) -> float:
        """Return how many vectors so many queries are compared with."""
        raise NotImplementedError

    def posting_bytes(self, width: int) -> float:
        """Return the bytes of a document of so many dimensions in the index's own file."""
        raise NotImplementedError


class Refresh(Part):
    """Negatives drawn anew every ``every`` steps from what the student itself ranks highest."""

    every: Count
    from_rank: Depth = 1
    depth: Depth = 100
    draw: Draw = "uniform"
    draw_temperature: Temperature = 1.0


class Strategy(Kind):
    """How the negatives of a group are drawn (kinds: :mod:`rd_utils.mining.strategies`)."""

    word: ClassVar[str] = "strategy"

    @property
    def first(self) -> Strategy:
        """Return what the groups are drawn by before the first step."""
        return self

    @property
    def refresh(self) -> Refresh | None:
        """Return how groups are drawn anew while the student trains; None where they stay."""
        return None

    @classmethod
    def otherwise(cls, name: str, context: Context | None) -> Kind | None:
        """Return the strategy that draws from a retriever's candidates, of the retriever's name."""
        known = context is not None and name in (context.names("retrievers") or ())
        bare = name in Retriever.kinds and Retriever.kinds[name].needs_no_more()
        return cls.kinds["candidates"].model_validate({"retriever": Retriever.named(name)}) if known or bare else None

    pooled: ClassVar[bool] = True  # whether negatives are drawn from a run, not from the whole collection
    of_positives: ClassVar[bool] = False  # whether the lists of that run answer positives, not queries
    in_space: ClassVar[bool] = False  # whether embeddings of the documents decide
    fills: ClassVar[bool] = True  # whether it may fill shortages of another

    @property
    def window(self) -> tuple[int, int]:
        """Return the first and the last rank that is drawn from."""
        raise NotImplementedError

    @property
    def weighs_scores(self) -> bool:
        """Tell whether the scores of the run decide, not its order alone."""
        return False

    @property
    def scored_pool(self) -> ScoredPool | None:
        """Return what a teacher scores whole for it; None where none does."""
        return None

    def part(self, rows: np.ndarray, scores: np.ndarray, size: int) -> PoolPart:
        """Return what a group takes: ``size`` of the documents in ``rows``, best first; 0 <= size <= len(rows), both may be 0."""
        raise NotImplementedError

    def take(self, part: PoolPart, generator: np.random.Generator) -> np.ndarray:
        """Draw from what :meth:`part` returned."""
        raise NotImplementedError

    def seconds_more(self, groups: float) -> float:
        """Return the CPU seconds of so many groups beside those that every strategy takes."""
        return 0.0

    def inputs(self, collection: Collection) -> Inputs:
        """Return what negatives are drawn from, in the role ``pool``, and what else drawing needs."""
        raise NotImplementedError

    def pool_of(self, collection: Collection) -> CandidatesSpec | NeighboursSpec | None:
        """Return the run that negatives are drawn from; None where they are drawn from the whole collection."""
        raise NotImplementedError

    def pool(self, collection: Collection, given: Given, wordless: np.ndarray) -> tuple[Run | None, int]:
        """Return that run, likely false negatives left out, and how many these were.

        The score of a positive without a word is no measure, so ``wordless`` documents set none.
        """
        raise NotImplementedError


class Architecture(Kind):
    """What is trained (kinds: :mod:`rd_utils.models.architectures`)."""

    word: ClassVar[str] = "architecture"

    @property
    def shape(self) -> Shape | None:
        """Return the shape of its transformer; None where it has none, or nobody here knows it."""
        return None

    def parameters(self, words: int) -> int | None:
        """Return the number of its parameters, with so many words in the lexicon if it has one; None where the shape is unknown."""
        raise NotImplementedError

    def reads(self, length: Length) -> tuple[Lengths, Lengths]:
        """Return the tokens of a query, and of what is read beside it: a document, or the pair.

        Args:
            length: of a side, ``queries`` or ``docs``, framed by ``special`` tokens and ``cut`` to so many.
        """
        raise NotImplementedError

    def pair(self, query: Lengths, read: Lengths) -> Flops | None:
        """Return the operations of scoring one pair; None where the shape is unknown."""
        raise NotImplementedError

    def build(self, lexicon: Path | None) -> Student:
        """Return a student before its first step, from the global random state."""
        raise NotImplementedError


class DualArchitecture(Architecture):
    """An architecture that reads a query and a document each by itself, so that documents can be searched."""

    word: ClassVar[str] = "architecture that reads queries and documents each by itself"
    if TYPE_CHECKING:
        scale: float

    def embedding(self, text: Lengths) -> Flops | None:
        """Return the operations of representing one text; None where the shape is unknown."""
        raise NotImplementedError

    def matching(self, query: Lengths, document: Lengths, words: int) -> float:
        """Return the operations of one pair of represented texts in training, with so many words in the vocabulary."""
        raise NotImplementedError


class BiArchitecture(DualArchitecture):
    """An architecture that embeds a query and a document each by itself, as one vector."""

    word: ClassVar[str] = "bi-encoder; only these have embeddings"

    @property
    def width(self) -> int | None:
        """Return the dimensions of its embeddings; None where the shape is unknown."""
        return None if self.shape is None else self.shape.hidden

    def matching(self, query: Lengths, document: Lengths, words: int) -> float:
        """Return the operations of an inner product."""
        return 2.0 * (self.width or 0)


class SparseArchitecture(DualArchitecture):
    """An architecture that makes a text a sparse vector over the vocabulary (see :class:`rd_utils.models.sparse_students.SparseStudent`).

    ``query_flops`` and ``document_flops`` weigh the penalty on weights of queries and of documents in the loss; it grows to its weight with
    the square of the training that is done, over the first ``flops_warmup`` of it.
    """

    word: ClassVar[str] = "learned sparse encoder"
    scale: Scale = 1.0
    query_flops: Weight = 3e-4
    document_flops: Weight = 1e-4
    flops_warmup: Share = 0.33

    def matching(self, query: Lengths, document: Lengths, words: int) -> float:
        """Return the operations of an inner product over all words."""
        return 2.0 * words

    def pressure(self, done: float) -> float:
        """Return by how much of its weight the penalty counts when a share of the training is done."""
        return min(1.0, done / self.flops_warmup) ** 2 if self.flops_warmup else 1.0


class LateArchitecture(DualArchitecture):
    """An architecture that makes a text a vector a token, compared by MaxSim (late interaction)."""

    word: ClassVar[str] = "late-interaction encoder"
    scale: Scale = 1.0

    @property
    def width(self) -> int | None:
        """Return the dimensions of a token's vector; None where they are unknown."""
        raise NotImplementedError

    def matching(self, query: Lengths, document: Lengths, words: int) -> float:
        """Return the operations of every token of the query with every token of the document."""
        return 2.0 * (self.width or 0) * query.mean * document.mean


class FromScratch(Architecture):
    """An architecture whose vocabulary comes from the documents that it is trained on, and whose token vectors start from them.

    ``word_weights`` multiplies the vector of a word that stands in n of N documents by its inverse document frequency,
    log((N + 1) / (n + 1/2)), over the mean of that over the words; ``equal`` leaves all at length 1. ``encoder``, a sentence encoder by hub
    name, folder, or ``package:NAME/FOLDER``, gives the vectors instead of the documents' co-occurrences: the principal components of its
    embeddings of the single words.
    """

    word_weights: Literal["equal", "idf"] = Field(default="equal", exclude_if=lambda value: value == "equal")
    encoder: ModelText | None = Field(default=None, exclude_if=lambda value: value is None)

    if TYPE_CHECKING:
        dimension: int

    @property
    def outside(self) -> tuple[Named, ...]:
        """Return the encoder of its words."""
        return () if self.encoder is None else (Named("model", self.encoder),)


class Teacher(Kind):
    """What scores pairs for a student to learn from (kinds: :mod:`rd_utils.scoring.teacher_kinds`)."""

    word: ClassVar[str] = "teacher"

    @property
    def underlying(self) -> Architecture | None:
        """Return the architecture behind the scores; None where there is none."""
        return None

    def check(self, collection: Collection) -> None:
        """Raise a ValueError where this teacher cannot score the pairs of a collection."""

    @property
    def scorers(self) -> tuple[ScoringTeacher, ...]:
        """Return the teachers that score pairs for this one: itself, or those that it combines."""
        raise NotImplementedError

    def inputs(self, collection: Collection) -> Inputs:
        """Return what is needed before pairs of a collection's queries and documents can be scored."""
        raise NotImplementedError

    def scores(self, collection: Collection, query_rows: np.ndarray, doc_rows: np.ndarray, given: Given) -> Scored:
        """Return the scores of pairs (n,), rows of the collection's queries and documents, from what ``inputs`` named."""
        raise NotImplementedError


class System(Kind):
    """What is evaluated (kinds: :mod:`rd_utils.study.systems`)."""

    @property
    def underlying(self) -> Architecture | None:
        """Return the architecture behind the scores; None where there is none."""
        return None


class Encoder(System):
    """A system with a model of its own, which embeds where that is a bi-encoder."""

    @classmethod
    def otherwise(cls, name: str, context: Context | None) -> Kind | None:
        """Return a bi-encoder before training, of the architecture's name."""
        architecture = None if context is None else BiArchitecture.named(name)
        if context is None or architecture is None:
            return None
        return cls.kinds["untrained"].model_validate({"architecture": architecture, "collection": context.setting("collection")})

    @property
    def underlying(self) -> Architecture:
        """Return the architecture of the model."""
        raise NotImplementedError

    @property
    def trained_on(self) -> Collection:
        """Return the collection that a model from scratch takes its vocabulary from."""
        raise NotImplementedError

    def inputs(self, collection: Collection) -> Inputs:
        """Return what is needed before a collection can be read."""
        raise NotImplementedError

    def open(self, given: Given) -> Student:
        """Return the model, on the accelerator if there is one."""
        raise NotImplementedError


class Tokenizer(Kind):
    """What cuts texts into tokens (kinds: :mod:`rd_utils.study.specs`)."""


# --- what stands inside what ------------------------------------------------------------------------------------------------------


def within(value: object, below: type[Part] | None = None) -> Iterator[Part]:
    """Yield all parts of a value, itself included; what is inside parts of the class ``below`` is left out."""
    if isinstance(value, Part):
        try:
            yield from _parts(value, below)
        except TypeError:  # a mapping within has no hash
            yield from _parts.__wrapped__(value, below)
    elif isinstance(value, dict | tuple | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from within(item, below)


@functools.lru_cache(maxsize=1 << 16)
def _parts(part: Part, below: type[Part] | None) -> tuple[Part, ...]:
    values = () if below is not None and isinstance(part, below) else (getattr(part, name) for name in type(part).model_fields)
    return (part, *(inner for value in values for inner in within(value, below)))


@functools.cache
def named_within(part: Part) -> tuple[Named, ...]:
    """Return what a part, or a part within it, names by path."""
    return tuple(dict.fromkeys(named for inner in within(part) for named in inner.outside))


def check_teachers(collection: Collection, *parts: object) -> None:
    """Raise a ValueError where a teacher, in whatever part it stands, is asked about a collection that it does not know."""
    for part in within(parts, below=Spec):
        if isinstance(part, Teacher):
            part.check(collection)

"""Collections: where documents, queries and qrels come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from rd_utils.data.worlds import WorldName
from rd_utils.study.bounds import Count, DatasetId, Few, Name, PathText, Position, Seed, Share
from rd_utils.study.kinds import PACKAGE, Collection, Named, Part


def _limit(max_queries: int | None, skip_queries: int = 0) -> str:
    if max_queries is None and not skip_queries:
        return ""
    end = "" if max_queries is None else str(skip_queries + max_queries)
    return f"[{skip_queries or ''}:{end}]"


class RandomSplit(Part):
    """One of three parts into which a collection's queries fall at random, by ``shares`` of train, validation and test and a ``seed``.

    Collections that differ in ``part`` alone have no query in common, nor one text under two ids, and together have all queries with a
    qrel (see :func:`rd_utils.data.collections.random_part`).
    """

    part: Literal["train", "validation", "test"]
    shares: tuple[Share, Share, Share] = (0.8, 0.1, 0.1)
    seed: Seed = 0

    @model_validator(mode="after")
    def _shares_are_of_a_whole(self) -> RandomSplit:
        if abs(sum(self.shares) - 1) > 1e-9:
            raise ValueError(f"shares {list(self.shares)} sum to {sum(self.shares):g}; expected those of train, validation and test, sum 1")
        if not self.share:
            raise ValueError(f"the share of the part {self.part!r} is 0 in {list(self.shares)}, so it has no query; give it a share")
        return self

    @property
    def share(self) -> float:
        """Return the share of this part."""
        return self.shares[SPLIT_PARTS.index(self.part)]

    @property
    def label(self) -> str:
        """Return what tables add to the collection's name."""
        return f"/random-{self.part}-{'-'.join(f'{share:g}' for share in self.shares)}-{self.seed}"


_WHOLE = {"max_queries": None, "random_split": None, "skip_queries": 0, "split": "train", "training_queries": None}
SPLIT_PARTS = ("train", "validation", "test")  # in the order of shares
SharedQueries = Literal["refuse", "allow"]


class _Queries(Collection):
    """What every collection may say of its queries.

    ``random_split`` keeps a random part of them; ``skip_queries`` and ``max_queries`` then count within that part. ``shared_queries``
    belongs to a test or validation collection: whether some of its queries may be training queries too (see :mod:`rd_utils.data.leakage`).
    """

    random_split: RandomSplit | None = Field(default=None, exclude_if=lambda value: value is None)
    shared_queries: SharedQueries = Field(default="refuse", exclude_if=lambda value: value == "refuse")

    @property
    def _part(self) -> str:
        return self.random_split.label if self.random_split else ""

    def undivided(self) -> Collection:
        """Return the collection of which this is a part: all parts share its documents."""
        changes = {name: value for name, value in _WHOLE.items() if name in type(self).model_fields}
        return self.model_copy(update=changes)


class Documents(_Queries):
    """A collection that has documents of its own."""


Many = Annotated[Count, Field(ge=100, le=2_000_000)]  # more would want words of five syllables


class EmbeddedCollection(Documents):
    """The synthetic collection that the package generates (see :mod:`rd_utils.data.synthetic`), in one of its worlds.

    It has the size of its ``profile`` but for ``documents``, with which its topics and words grow, and ``training_queries``.
    """

    source: Literal["embedded"] = "embedded"
    profile: Literal["smallest", "default"] = "smallest"
    world: WorldName = "additive"
    seed: Seed = 13
    split: Literal["train", "validation", "test"] = "train"
    documents: Many | None = Field(default=None, exclude_if=lambda value: value is None)
    training_queries: Count | None = Field(default=None, exclude_if=lambda value: value is None)
    max_queries: Count | None = None

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        sizes = {"documents": self.documents, "queries": self.training_queries}
        size = "".join(f"-{number}-{name}" for name, number in sizes.items() if number is not None)
        return f"embedded-{self.profile}-{self.world}-{self.seed}{size}/{self.split}{self._part}{_limit(self.max_queries)}"


class IrDatasetsCollection(Documents):
    """A collection known to ir_datasets, by its id.

    ``max_queries`` keeps the first ones by sorted query_id, after the ``skip_queries`` first ones, so that one split can be cut into
    training and validation queries.
    """

    source: Literal["ir_datasets"] = "ir_datasets"
    id: DatasetId
    skip_queries: Position = 0
    max_queries: Count | None = None

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return f"{self.id}{self._part}{_limit(self.max_queries, self.skip_queries)}"

    def undivided(self) -> Collection:
        """Return the collection of which this is a part: the data set whose documents those of ``id`` are, all of it."""
        import ir_datasets

        return super().undivided().model_copy(update={"id": ir_datasets.docs_parent_id(self.id)})


class FolderCollection(Documents):
    """A local folder in BEIR layout: corpus.jsonl, queries.jsonl, qrels/<split>.tsv."""

    source: Literal["folder"] = "folder"
    path: PathText
    split: Name = "train"
    skip_queries: Position = 0
    max_queries: Count | None = None

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return f"{Path(self.path).name}/{self.split}{self._part}{_limit(self.max_queries, self.skip_queries)}"

    @property
    def outside(self) -> tuple[Named, ...]:
        """Return the collection."""
        return (Named("collection", self.path),)


class DocumentedCollection(Documents):
    """Functions of the Python packages that the suite needs anyway, with their documentation (see :mod:`rd_utils.data.documented`).

    In the task ``code_search`` the first sentence of a docstring asks for the code, in ``see_also`` a documentation for those that it
    refers to. ``max_queries`` keeps the first ones by sorted query_id, which are of all modules.
    """

    source: Literal["documented"] = "documented"
    task: Literal["code_search", "see_also"] = "code_search"
    split: Literal["train", "validation", "test"] = "train"
    max_queries: Count | None = None

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return f"documented-{self.task}/{self.split}{self._part}{_limit(self.max_queries)}"

    @property
    def outside(self) -> tuple[Named, ...]:
        """Return the packages, whose versions decide the texts."""
        from rd_utils.data.documented import packages_of

        return tuple(Named("package", f"{PACKAGE}{package}") for package in packages_of(self.task))


class PseudoQueries(_Queries):
    """The documents of another collection with queries drawn from them, so that a collection without training queries can be trained on.

    Each query is ``words`` words of one document, which is its only positive (see :func:`rd_utils.training.augmentation.pseudo_queries`).
    """

    source: Literal["pseudo_queries"] = "pseudo_queries"
    documents: Documents
    queries: Count = 1000
    words: tuple[Few, Few] = (3, 8)
    weighting: Literal["idf", "uniform"] = "idf"
    seed: Seed = 0

    @model_validator(mode="after")
    def _words_ordered(self) -> PseudoQueries:
        if self.words[0] > self.words[1]:
            raise ValueError(f"words is {list(self.words)}; expected the least, then the most words of a query")
        return self

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return f"{self.documents.label}/pseudo-{self.queries}-{self.seed}{self._part}"

    def undivided(self) -> Collection:
        """Return the collection that the documents are of."""
        return self.documents.undivided()


def _as_read(collection: Collection) -> Collection:
    return collection if collection.shared_queries == "refuse" else collection.model_copy(update={"shared_queries": "refuse"})


AsRead = Annotated[Collection, AfterValidator(_as_read)]  # what is read of a collection does not depend on what may be shared with it

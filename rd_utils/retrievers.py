"""Retrievers: what ranks the documents of a collection for a query, and the indexes of embeddings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rd_utils.bounds import Count, Depth, Few, Name, PathText, Scale, Share
from rd_utils.kinds import DenseIndex, Encoder, IndexedRetriever, Retriever, Teacher

STEMMERS = (  # the algorithms of PyStemmer; porter is English too, as of 1980, and dutch_porter the older one for Dutch
    "arabic", "armenian", "basque", "catalan", "czech", "danish", "dutch", "dutch_porter", "english", "esperanto", "estonian", "finnish",
    "french", "german", "greek", "hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian", "persian",
    "polish", "porter", "portuguese", "romanian", "russian", "serbian", "sesotho", "spanish", "swedish", "tamil", "turkish", "yiddish",
)  # fmt: skip
STOPWORDS = (  # the languages of bm25s and stopwordsiso
    "afrikaans", "arabic", "armenian", "basque", "bengali", "breton", "bulgarian", "catalan", "chinese", "croatian", "czech", "danish",
    "dutch", "english", "esperanto", "estonian", "finnish", "french", "galician", "german", "greek", "gujarati", "hebrew", "hindi",
    "hungarian", "indonesian", "irish", "italian", "japanese", "korean", "kurdish", "latin", "latvian", "lithuanian", "malay", "marathi",
    "norwegian", "persian", "polish", "portuguese", "romanian", "russian", "sesotho", "slovak", "slovenian", "somali", "spanish",
    "swahili", "swedish", "tagalog", "thai", "turkish", "ukrainian", "urdu", "vietnamese", "yoruba", "zulu",
)  # fmt: skip


class BM25(IndexedRetriever):
    """BM25 by bm25s; ``form`` is its idf, as :mod:`rd_utils.retrieval` writes them out.

    ``words``, ``stemmer`` and ``stopwords`` are its analysis, the way from a text to what is counted (see :mod:`rd_utils.words`): words
    between spaces or pairs of characters, a Snowball algorithm, and a language's stop words.
    """

    kind: Literal["bm25"] = "bm25"
    k1: Scale = 1.2
    b: Share = 0.75
    form: Literal["lucene", "robertson"] = "lucene"
    words: Literal["words", "character_pairs"] = Field(default="words", exclude_if=lambda value: value == "words")
    stemmer: Literal[*STEMMERS, "none"] = "english"
    stopwords: Literal[*STOPWORDS, "none"] = "english"

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return "bm25"


class Flat(DenseIndex):
    """Every document's inner product with the query: exact."""

    kind: Literal["flat"] = "flat"


class _InvertedFile(DenseIndex):
    """Base of the indexes that look only into the ``nprobe`` of ``nlist`` cells that are nearest to a query.

    Cells are trained on ``sample`` documents; ``refine`` times the depth is found and scored again with the embeddings.
    """

    nlist: Depth = 4096
    nprobe: Depth = 64
    sample: Count = 200_000
    refine: Few = 4

    @model_validator(mode="after")
    def _probes_are_cells(self) -> _InvertedFile:
        if self.nprobe > self.nlist:
            raise ValueError(f"nprobe is {self.nprobe}, above nlist {self.nlist}; no more cells than there are can be looked into")
        return self


class IVFPQ(_InvertedFile):
    """An inverted file of vectors that are cut into ``m`` parts of a byte each (product quantisation)."""

    kind: Literal["ivf_pq"] = "ivf_pq"
    m: Few = 48


class IVFOnDisk(_InvertedFile):
    """An inverted file of the vectors themselves."""

    kind: Literal["ivf_on_disk"] = "ivf_on_disk"


class Dense(IndexedRetriever):
    """Search by a bi-encoder's embeddings (faiss, inner product): a checkpoint, or a student that the suite trained."""

    kind: Literal["dense"] = "dense"
    encoder: Encoder
    index: DenseIndex = Flat()

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return "dense"


class Reranked(Retriever):
    """A retriever's top ``from_depth`` re-ranked by a teacher."""

    kind: Literal["reranked"] = "reranked"
    retriever: Retriever
    from_depth: Depth = 200
    teacher: Teacher

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return f"reranked {self.retriever.label}"


class Pooled(Retriever):
    """The union of several retrievers, at most ``at_most`` documents from each, ordered by the best rank that any of them gave."""

    kind: Literal["pooled"] = "pooled"
    retrievers: Annotated[tuple[Retriever, ...], Field(min_length=2, max_length=1_000)]
    at_most: Depth = 10

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return "pooled"


class RunFile(Retriever):
    """A run made elsewhere, in TREC format: ``query_id Q0 doc_id rank score tag``; ``name`` is what tables call it."""

    kind: Literal["run_file"] = "run_file"
    path: PathText
    name: Name

    @property
    def label(self) -> str:
        """Return the name that tables show."""
        return self.name


def bm25_of(retriever: Retriever) -> BM25 | None:
    """Return the BM25 that a retriever is, re-ranks or pools, the first where it pools several; None where it has none."""
    if isinstance(retriever, BM25):
        return retriever
    inner = retriever.retrievers if isinstance(retriever, Pooled) else (retriever.retriever,) if isinstance(retriever, Reranked) else ()
    return next((found for part in inner if (found := bm25_of(part))), None)

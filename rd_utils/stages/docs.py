"""The documents of a collection, which all its splits share."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from rd_utils.cost.workload import BYTES, SECONDS, Counter, Work
from rd_utils.data import collections, documented
from rd_utils.data.sources import DocumentedCollection
from rd_utils.store import Draft
from rd_utils.study.kinds import Collection
from rd_utils.study.specs import DocsSpec
from rd_utils.study.stage import Given, Stage
from rd_utils.workflow.progress import LOGGER


class Docs:
    """Documents as they lie in the store, each file read when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Return doc_id, text; the strings stay in a file that is mapped into memory."""
        return collections.read_table(self.folder, "docs")

    @cached_property
    def ties(self) -> np.ndarray:
        """Return each document's rank among the sorted doc_ids, int32 (n_docs,): the order in which equal scores are listed."""
        return np.asarray(np.load(self.folder / "ties.npy", mmap_mode="r"))


def warn_of_texts(collection: Collection, of: str, wordless: int, n: int, first: str) -> None:
    """Say that texts have no word, and which is the first."""
    follows = "nothing is retrieved for them, nor learnt" if of == "queries" else "nothing retrieves them, and they have no embedding"
    LOGGER.warning("%s: %d of %d %s have no word, the first is %r; %s", collection.label, wordless, n, of, first, follows)


def _make(spec: DocsSpec, given: Given, draft: Draft) -> None:
    written = collections.write_docs(spec.collection, draft.folder / "docs.arrow", given.track)
    np.save(draft.folder / "ties.npy", written.ties)
    draft.counts |= {"documents": written.documents, "documents_without_text": written.without_text}
    draft.counts["documents_without_word"] = written.without_word
    if isinstance(spec.collection, DocumentedCollection):
        _count_sources(spec.collection, draft)
    if written.without_word:
        warn_of_texts(spec.collection, "documents", written.without_word, written.documents, written.first_without_word)


def _count_sources(collection: DocumentedCollection, draft: Draft) -> None:
    """Note what was read of packages and what was left out, and say where their versions are others than the published counts are of."""
    made = collections.made_of_packages(collection)
    draft.counts["functions"] = made.functions
    draft.dropped |= made.dropped
    if others := documented.unlike_pinned(collection.task):
        LOGGER.warning("%s: made of %s; its counts differ from the published ones", collection.label, others)


def _read(folder: Path, spec: DocsSpec, given: Given) -> Docs:
    return Docs(folder)


def _work(spec: DocsSpec, counter: Counter) -> Work:
    docs = counter.known.sizes(spec.collection).docs
    size = docs * counter.known.words(spec.collection)[1] * BYTES["word"]
    return Work("docs", cpu_seconds=docs * SECONDS["document read"], disk=size, memory=size + 60 * docs)  # uncompressed, to be mapped


DOCS = Stage(name="docs", version=1, spec=DocsSpec, inputs=lambda spec: {}, make=_make, work=_work, read=_read)

"""BM25 by bm25s (on numpy or numba) and by tantivy, called directly."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.worker import memory, serve

PACKAGES = ("bm25s", "numba", "numpy", "PyStemmer", "tantivy")


def read(settings: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the texts of documents and queries."""
    folder = Path(settings["root"]) / f"synthetic-{settings['docs'][settings['short']]}"
    docs, queries = ((folder / f"{name}.txt").read_text(encoding="ascii").splitlines() for name in ("docs", "queries"))
    return docs, queries


class Bm25s:
    """Tokenise to ids, index, then retrieve one query after the other."""

    def __init__(self, settings: dict[str, Any]) -> None:
        import bm25s
        import Stemmer

        self.settings, self.library, self.stemmer = settings, bm25s, Stemmer.Stemmer("english")
        self.docs, self.queries = read(settings)
        if settings["backend"] == "numba":  # compile before the clock runs
            self._answer(self.docs[:1000], self.queries[:5])
        self.before = memory()

    def __call__(self, command: dict[str, Any]) -> dict[str, Any]:
        """Index all documents and rank them for every query."""
        return self._answer(self.docs, self.queries)

    def _answer(self, docs: list[str], queries: list[str]) -> dict[str, Any]:
        options = {"stopwords": "en", "stemmer": self.stemmer, "show_progress": False}
        began = time.perf_counter()
        tokens = self.library.tokenize(docs, **options)
        index = self.library.BM25(k1=1.2, b=0.75, method="lucene", backend=self.settings["backend"])
        index.index(tokens, show_progress=False)
        del tokens
        indexed = time.perf_counter()
        k = min(self.settings["depth"], len(docs))
        asked = self.library.tokenize(queries, return_ids=False, **options)
        found = [index.retrieve([words], k=k, show_progress=False, n_threads=0).scores[0] for words in asked]
        ended = time.perf_counter()
        kept = [round(float(score), 5) for scores in found[:20] for score in scores[:10] if score > 0]
        result = {"index_seconds": indexed - began, "query_ms": 1000 * (ended - indexed) / len(queries), "scores": kept}
        return result | {"peak_mb": memory("VmHWM"), "added_mb": memory("VmHWM") - getattr(self, "before", 0.0)}


class Tantivy:
    """One writer thread; the analyser lower-cases, drops the same kind of words and stems; its scores quantise the documents' lengths."""

    def __init__(self, settings: dict[str, Any]) -> None:
        import tantivy
        from bm25s.stopwords import STOPWORDS_EN

        self.settings, self.library = settings, tantivy
        self.stop = list(STOPWORDS_EN)
        self.docs, self.queries = read(settings)
        self.before = memory()

    def __call__(self, command: dict[str, Any]) -> dict[str, Any]:
        """Index all documents and rank them for every query."""
        tantivy = self.library
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            builder = tantivy.SchemaBuilder()
            builder.add_text_field("text", stored=False, tokenizer_name="english", index_option="freq")
            builder.add_unsigned_field("row", stored=True)
            index = tantivy.Index(builder.build(), path=folder)
            analyser = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).filter(tantivy.Filter.lowercase())
            analyser = analyser.filter(tantivy.Filter.custom_stopword(self.stop)).filter(tantivy.Filter.stemmer("english")).build()
            index.register_tokenizer("english", analyser)
            writer = index.writer(heap_size=256_000_000, num_threads=1)
            for row, text in enumerate(self.docs):
                writer.add_document(tantivy.Document(text=text, row=row))
            writer.commit()
            writer.wait_merging_threads()
            index.reload()
            indexed = time.perf_counter()
            searcher = index.searcher()
            kept = []
            for number, text in enumerate(self.queries):
                hits = searcher.search(index.parse_query(text, ["text"]), self.settings["depth"]).hits
                rows = [(score, searcher.doc(address)["row"][0]) for score, address in hits]
                if number < 20:
                    kept += [round(float(score) / 2.2, 5) for score, _ in rows[:10]]  # it keeps the constant factor k1 + 1
            ended = time.perf_counter()
        result = {"index_seconds": indexed - began, "query_ms": 1000 * (ended - indexed) / len(self.queries), "scores": kept}
        return result | {"peak_mb": memory("VmHWM"), "added_mb": memory("VmHWM") - self.before}


def make(settings: dict[str, Any]) -> Any:
    """Return the worker of a backend."""
    return (Tantivy if settings["backend"] == "tantivy" else Bm25s)(settings)


if __name__ == "__main__":
    serve(make, PACKAGES)

"""BM25 over many short passages: tokenise and index, milliseconds a query, highest memory of the process."""

from __future__ import annotations

from typing import Any

from benchmarks import data
from benchmarks.harness import Family, Line, Way

_PEER = "benchmarks.peers.bm25"
DOCS = (1_000_000, 100_000)  # full, short
_SCALE = 1 / 1.1  # at most 1.1 times the best peer's time and memory

_settings = {"work": "bm25", "depth": 100, "docs": list(DOCS), "root": str(data.FOLDER)}
_WAYS = (
    Way("ours", "benchmarks.ours", _settings, fresh=True),
    # on numpy it indexes as on numba, and takes 0.16 s a query where numba takes 0.001
    Way("bm25s numba", _PEER, {**_settings, "backend": "numba"}, environment="bm25", fresh=True),
    Way("tantivy", _PEER, {**_settings, "backend": "tantivy"}, environment="bm25", fresh=True),
)
_PEERS = tuple(way.name for way in _WAYS[1:])
_ABSENT = (("pyserini", "needs Java 21 and a package that cannot be had here"),)


def _prepare(short: bool) -> None:
    data.synthetic(DOCS[short])


def _command(repeat: int, short: bool) -> dict[str, Any]:
    return {}


FAMILIES = (
    Family(
        "bm25",
        "BM25 (Lucene's form, k1 = 1.2, b = 0.75, English stemmer and stop words), 1,000,000 passages of 8 to 40 invented words, top 100",
        _WAYS,
        (
            Line("BM25, tokenise and index", "index_seconds", "s", ("ours",), _PEERS, _SCALE, higher=False, known_absent=_ABSENT),
            Line("BM25, a query", "query_ms", "ms", ("ours",), _PEERS, _SCALE, higher=False, known_absent=_ABSENT),
            Line("BM25, highest memory", "peak_mb", "MB", ("ours",), _PEERS, _SCALE, higher=False, known_absent=_ABSENT),
        ),
        repeats=3,  # each takes more than a minute over all ways
        command=_command,
        prepare=_prepare,
        warm_up=False,
    ),
)

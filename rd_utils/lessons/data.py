"""The data of the lessons: a small collection that the suite makes, and the settings by which a student of it is trained in seconds."""

from __future__ import annotations

from typing import Any

SMALL: dict[str, Any] = {
    "collection": {"source": "embedded", "profile": "smallest", "split": "train"},
    "strategy": {"kind": "candidates", "retriever": {"kind": "bm25"}, "depth": 100},
    "group_size": 16,
    "seeds": [0],
    "teacher": {"kind": "oracle"},
    "losses": {"lce": {}},
    "architecture": {"kind": "static_bi", "dimension": 64},
    "training": {"documents": 20000, "queries_per_batch": 32, "learning_rate": 0.01, "embedding_learning_rate": 0.01},
    "first_stages": [{"kind": "full", "retriever": {"kind": "bm25"}, "depth": 100}],
    "test_collections": "own",
    "measures": ["nDCG@10", "R@10"],
}
"""Parameters, as a study has them: a lesson says what it changes."""

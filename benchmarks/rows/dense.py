"""Dense candidates: encode documents and queries, search, keep the top of every query, against ``mine_hard_negatives``."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.harness import Family, Line, Way

_ST = "benchmarks.peers.sentence_transformers"
SIZES = (96, 48)  # documents a repeat: full, short
_settings = {
    "data": str(data.FOLDER / "long"), "model": str(data.FOLDER / "models" / "minilm"), "kind": "bi", "pooling": "checkpoint",
    "similarity": "cosine", "max_length": 256, "max_query_length": 256,
}  # fmt: skip
_WAYS = (
    Way("ours fp32", "benchmarks.ours", {**_settings, "work": "dense", "precision": "fp32"}),
    Way("ours bf16", "benchmarks.ours", {**_settings, "work": "dense", "precision": "bf16"}),
    Way("mine_hard_negatives fp32", _ST, {**_settings, "work": "mining", "precision": "fp32"}),
    Way("mine_hard_negatives bf16", _ST, {**_settings, "work": "mining", "precision": "bf16"}),
)
_RATE = ("documents_per_second", "documents/s")


def _prepare(short: bool) -> None:
    data.collection("long")
    data.model("minilm")


def _command(repeat: int, short: bool) -> dict[str, Any]:
    """Return queries with their positives, and these among other documents: other ones in every repeat."""
    groups = np.load(data.FOLDER / "long" / "groups.npz")
    rng = np.random.default_rng([5, repeat + 1])
    size = 24 if repeat < 0 else SIZES[short]
    chosen = rng.permutation(len(groups["query_rows"]))[: size // 10]
    queries, first = np.unique(groups["query_rows"][chosen], return_index=True)
    positives = groups["doc_rows"][chosen, 0][first]
    others = rng.permutation(np.setdiff1d(np.unique(groups["doc_rows"]), positives))[: size - len(np.unique(positives))]
    docs = rng.permutation(np.concatenate([np.unique(positives), others]))
    return {"query_rows": queries.tolist(), "positives": positives.tolist(), "doc_rows": docs.tolist(), "depth": 20}


FAMILIES = (
    Family(
        "dense",
        "dense candidates, long texts, all-MiniLM-L6-v2, 96 documents at a time: encode, search, top 20",
        _WAYS,
        (
            Line("dense candidates, fp32", *_RATE, ("ours fp32",), ("mine_hard_negatives fp32",)),
            Line("dense candidates, best against fp32", *_RATE, ("ours fp32", "ours bf16"), ("mine_hard_negatives fp32",), 2.0),
            Line("dense candidates, best against bf16", *_RATE, ("ours fp32", "ours bf16"), ("mine_hard_negatives bf16",), 1.2),
        ),
        repeats=5,
        command=_command,
        prepare=_prepare,
        precisions={"ours fp32": "fp32", "ours bf16": "bf16"},
        work=("infer", "bi"),
    ),
)

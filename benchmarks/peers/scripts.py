"""One cell of a grid as separate scripts would make it: read, mine with BM25, score with the teacher, write the files, train with rankers.

The teacher is the cross-encoder that ours uses too: by rankers' own ``CatTransformer``, as the study's scripts have it (``scorer``
"rankers", which needs the checkpoint with two labels), or by ``CrossEncoder.predict``, which is faster.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.rankers import Training, cat_transformer
from benchmarks.worker import serve

PACKAGES = ("rankers", "transformers", "torch", "sentence-transformers", "bm25s")


def _read(folder: Path) -> dict[str, Any]:
    """Return the texts of documents and queries by id, and the pairs of a query and a positive."""
    found = {}
    for name, file in (("docs", "corpus.jsonl"), ("queries", "queries.jsonl")):
        lines = (json.loads(line) for line in (folder / file).read_text(encoding="utf-8").splitlines())
        found[name] = {line["_id"]: line["text"] for line in lines}
    _, *qrels = (folder / "qrels" / "train.tsv").read_text(encoding="utf-8").splitlines()
    return found | {"positives": [line.split("\t")[:2] for line in qrels]}


class Scripts(Training):
    """A cell for itself."""

    def __init__(self, settings: dict[str, Any]) -> None:
        import bm25s  # noqa: F401
        import rankers  # noqa: F401
        import sentence_transformers  # noqa: F401
        import torch

        torch.set_num_threads(1)
        self.settings = settings

    def __call__(self, command: dict[str, Any]) -> dict[str, Any]:
        """Make the student of ``command["cell"]``."""
        strategy, _, kind, seed = command["cell"]
        began = time.perf_counter()
        collection = _read(Path(command["collection"]))
        rows = self._scored(self._mined(collection, strategy, seed), collection)
        steps = -(-command["documents"] // (8 * len(rows[0][1])))
        order = np.random.default_rng(seed).permutation(np.resize(np.arange(len(rows)), 8 * steps))
        self.load({**self.settings, "kind": kind, "model": self.settings["models"][kind], "attention": "eager"})
        self.fit([rows[row] for row in order], 8, lambda: None)
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "seconds_per_cell": seconds}

    def _mined(self, collection: dict[str, Any], strategy: str, seed: int) -> list[tuple[str, list[str]]]:
        """Return (query, documents' ids): a positive and fifteen negatives of the query's top documents."""
        import bm25s
        import Stemmer

        stemmer, rng = Stemmer.Stemmer("english"), np.random.default_rng(seed)
        options = {"stopwords": "en", "stemmer": stemmer, "show_progress": False}
        ids = list(collection["docs"])
        index = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
        index.index(bm25s.tokenize(list(collection["docs"].values()), **options), show_progress=False)
        words = bm25s.tokenize(list(collection["queries"].values()), return_ids=False, **options)
        found = index.retrieve(words, k=self.settings["depth"], show_progress=False).documents
        positives: dict[str, list[str]] = {}
        for query, doc in collection["positives"]:
            positives.setdefault(query, []).append(doc)
        groups = []
        for query, top in zip(collection["queries"], found, strict=True):
            pool = [ids[row] for row in top if ids[row] not in positives[query]]
            for positive in positives[query]:
                negatives = pool[:15] if strategy == "top" else rng.choice(pool, 15, replace=False).tolist()
                groups.append((query, [positive, *negatives]))
        return groups

    def _scored(self, groups: list[tuple[str, list[str]]], collection: dict[str, Any]) -> list[tuple[str, list[str], list[float]]]:
        """Return (query, documents, scores), every distinct pair scored once."""
        pairs = sorted({(query, doc) for query, docs in groups for doc in docs})
        score = self._by_rankers if self.settings["scorer"] == "rankers" else self._by_cross_encoder
        scores = dict(zip(pairs, score([(collection["queries"][query], collection["docs"][doc]) for query, doc in pairs]), strict=True))
        return [
            (collection["queries"][query], [collection["docs"][doc] for doc in docs], [scores[query, doc] for doc in docs])
            for query, docs in groups
        ]

    def _by_rankers(self, texts: list[tuple[str, str]]) -> list[float]:
        import pandas as pd

        transformer = cat_transformer(self.settings["teacher"] + "-2", self.settings["max_length"])
        frame = pd.DataFrame(texts, columns=["query", "text"])
        frame["qid"] = frame.groupby("query").ngroup().astype(str)
        frame["docno"] = frame.index.astype(str)
        scored = transformer.transform(frame)
        return scored.set_index("docno").loc[frame["docno"], "score"].astype(float).tolist()

    def _by_cross_encoder(self, texts: list[tuple[str, str]]) -> list[float]:
        import torch
        from sentence_transformers import CrossEncoder

        teacher = CrossEncoder(
            self.settings["teacher"], num_labels=1, max_length=self.settings["max_length"], device="cpu", activation_fn=torch.nn.Identity()
        )
        return teacher.predict(texts, show_progress_bar=False).astype(float).tolist()


if __name__ == "__main__":
    serve(Scripts, PACKAGES)

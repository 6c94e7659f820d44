"""Late-interaction encoders as students (ColBERT): a text is a vector a token, and a pair scores by MaxSim."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Transformer
from torch import Tensor, nn

from rd_utils.data.runs import Run
from rd_utils.models.dual_students import DualStudent
from rd_utils.models.maxima import segment_maxima
from rd_utils.models.packed import to_device
from rd_utils.models.students import GroupBatch, Progress
from rd_utils.models.tokens import TokenTable, join, length_buckets
from rd_utils.workflow.progress import Track, untracked

if TYPE_CHECKING:
    from rd_utils.study.kinds import LateArchitecture


class TokenVectors(NamedTuple):
    """The vectors of texts' tokens, end to end: text i has ``vectors[offsets[i]:offsets[i + 1]]``."""

    vectors: np.ndarray  # float32 (n, width)
    offsets: np.ndarray  # int64 (texts + 1,)

    def take(self, rows: np.ndarray) -> TokenVectors:
        """Return the texts of some rows."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(int(offsets[-1]))
        return TokenVectors(self.vectors[places], offsets)


class LateStudent(DualStudent):
    """A late-interaction encoder; a pair's score is ``architecture.scale`` times MaxSim of its two texts' token vectors,

        ``sum over tokens i of the query of the max over tokens j of the document of q_i . d_j``.

    Source: O. Khattab, M. Zaharia, ColBERT, SIGIR 2020.
    """  # fmt: skip

    architecture: LateArchitecture
    model: MultiVectorEncoder
    made = "the vectors"

    def forward(self, batch: GroupBatch, in_batch: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Score groups: (B, G); with ``in_batch`` also every query with every document of the batch (see :meth:`BiStudent.forward`)."""
        docs, doc_of_row = np.unique(batch.doc_rows, return_inverse=True)
        queries = self._prepared(self._prompted(batch.queries, "query"), batch.query_rows, "query")
        documents = self._prepared(self._prompted(batch.docs, "document"), docs, "document")
        vectors, places = self._vectors(join([queries, documents]), self._max_tokens())
        asking, answering = np.split(places, [len(queries.ids)])
        best = segment_maxima(vectors, vectors[to_device(asking, self.device)], None, answering, documents.offsets)  # (documents, tokens)
        scores = _sums(best.T, queries.offsets)
        return self._grouped(scores, doc_of_row.reshape(batch.doc_rows.shape), in_batch)

    def encode(
        self,
        table: TokenTable,
        *,
        kind: str,
        max_tokens: int | None = None,
        progress: Progress | None = None,
        precision: str = "fp32",
    ) -> TokenVectors:
        """Return the vectors of every text's tokens; see :meth:`DualStudent.encode`."""
        if kind not in self._prompts:
            raise ValueError(f"kind is {kind!r}; choose from {', '.join(self._prompts)}")
        max_tokens = self._inference_tokens(max_tokens)
        table = self._prompted(table, kind)
        lengths = self._framed_lengths(table, kind)
        found = TokenVectors(
            np.empty((int(lengths.sum()), self.architecture.width or 0), dtype=np.float32),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        )
        done = 0
        with self._inference(precision):
            for rows in length_buckets(lengths, max_tokens):
                texts = self._prepared(table, rows, kind)
                vectors, places = self._vectors(texts, max_tokens)
                own = vectors.float().cpu().numpy()[places]
                into = np.repeat(found.offsets[rows] - texts.offsets[:-1], texts.lengths()) + np.arange(len(own))
                found.vectors[into] = own
                done += len(rows)
                if progress is not None:
                    progress(done, len(table))
        return found

    def silence(self, texts: TokenVectors, rows: np.ndarray) -> TokenVectors:
        """Leave some texts no token."""
        if not rows.any():
            return texts
        lengths = np.diff(texts.offsets)
        kept = np.repeat(~rows, lengths)
        return TokenVectors(texts.vectors[kept], np.concatenate([[0], np.cumsum(np.where(rows, 0, lengths))]).astype(np.int64))

    def match(self, queries: TokenVectors, query_rows: np.ndarray, docs: TokenVectors, doc_rows: np.ndarray) -> np.ndarray:
        """Return the scaled MaxSim of pairs of texts, float64 (n,)."""
        return self.architecture.scale * maxsim(queries, query_rows, docs, doc_rows)

    def search(
        self,
        docs: TokenVectors,
        queries: TokenVectors,
        depth: int,
        ties: np.ndarray,
        *,
        workers: int = 1,
        folder: Path | None = None,
        track: Track = untracked,
    ) -> Run:
        """Go through the token vectors of all documents."""
        from rd_utils.mining import late

        asked = queries._replace(vectors=queries.vectors * np.float32(self.architecture.scale))
        return late.search(docs, asked, depth, ties, folder=folder, track=track)

    def _compared(self, ours: TokenVectors, theirs: Any) -> tuple[np.ndarray, np.ndarray]:
        return ours.vectors, np.concatenate([vectors.numpy() for vectors in theirs])

    def _vectors(self, texts: TokenTable, max_tokens: int) -> tuple[Tensor, np.ndarray]:
        """Return the vectors of prepared texts' distinct tokens, (U, width), and which of them stands at each place, (n,)."""
        states, places = self._states(cast(nn.Module, cast(Transformer, self.model[0]).model), texts, max_tokens)
        features = {"token_embeddings": states}
        for module in list(self.model)[1:]:
            features = module(features)
        return features["token_embeddings"], places


def maxsim(queries: TokenVectors, query_rows: np.ndarray, docs: TokenVectors, doc_rows: np.ndarray) -> np.ndarray:
    """Return MaxSim of pairs of texts, float64 (n,): the pairs of one query at a time, whose documents' tokens it meets in one product."""
    scores = np.empty(len(query_rows))
    order = np.argsort(query_rows, kind="stable")
    bounds = np.flatnonzero(np.diff(query_rows[order], prepend=-1, append=-1))
    for first, last in zip(bounds[:-1], bounds[1:], strict=True):
        pairs = order[first:last]
        own = queries.take(query_rows[pairs[:1]]).vectors
        documents = docs.take(doc_rows[pairs])
        scores[pairs] = largest(documents, own).sum(axis=1, dtype=np.float64)
    return scores


def largest(docs: TokenVectors, asked: np.ndarray) -> np.ndarray:
    """Return the largest product of each document's tokens with each vector, (documents, vectors); 0 for one without a token."""
    with torch.no_grad():
        places = np.arange(len(docs.vectors))
        return segment_maxima(torch.from_numpy(docs.vectors), torch.from_numpy(asked), None, places, docs.offsets).numpy()


def _sums(values: Tensor, offsets: np.ndarray) -> Tensor:
    """Return the sums of rows from one offset to the next: (n, m) -> (texts, m)."""
    owner = to_device(np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)), values.device)
    return torch.zeros(len(offsets) - 1, values.shape[1], dtype=values.dtype, device=values.device).index_add_(0, owner, values)

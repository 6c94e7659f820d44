"""Learned sparse encoders as students (SPLADE): a text is a vector over the vocabulary, and a pair scores by the words that both have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from scipy.sparse import csr_matrix, diags, vstack
from sentence_transformers import SparseEncoder
from sentence_transformers.base.modules import Transformer
from torch import Tensor, nn
from transformers import BertForMaskedLM

from rd_utils.data.runs import Run
from rd_utils.models.dual_students import DualStudent
from rd_utils.models.maxima import segment_maxima
from rd_utils.models.packed import to_device
from rd_utils.models.students import GroupBatch, Progress
from rd_utils.models.tokens import TokenTable, join, length_buckets
from rd_utils.workflow.progress import Track, untracked

if TYPE_CHECKING:
    from rd_utils.study.kinds import SparseArchitecture


class SparseStudent(DualStudent):
    """A learned sparse encoder; a pair's score is ``architecture.scale`` times the inner product of its two vectors.

    With the scores l_iv that a masked language model's head gives to the words v of the vocabulary at the tokens i of a text, the text is

        ``w_v = max over i of log(1 + max(0, l_iv))``.

    In training ``penalty`` is ``a_q F(queries) + a_d F(documents)``, where ``F = sum over v of (mean over texts of w_v)^2``
    (FLOPS), the mean over the texts of a batch, of those of all processes where there are several.

    Sources: T. Formal, B. Piwowarski, S. Clinchant, SPLADE, SIGIR 2021; T. Formal et al., SPLADE v2, 2021 (the maximum);
    B. Paria et al., Minimizing FLOPs to Learn Efficient Sparse Representations, ICLR 2020 (the penalty).
    """

    architecture: SparseArchitecture
    model: SparseEncoder
    made = "the weights"

    def forward(self, batch: GroupBatch, in_batch: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Score groups: (B, G); with ``in_batch`` also every query with every document of the batch (see :meth:`BiStudent.forward`)."""
        docs, doc_of_row, times = np.unique(batch.doc_rows, return_inverse=True, return_counts=True)
        prepared = [
            self._prepared(self._prompted(batch.queries, "query"), batch.query_rows, "query"),
            self._prepared(self._prompted(batch.docs, "document"), docs, "document"),
        ]
        weights = self._weights(join(prepared), self._max_tokens())
        queries, documents = weights.split([len(batch.query_rows), len(docs)])
        if self.training:
            each = to_device(times.astype(np.float32), self.device)  # a document counts as often as it stands in the groups
            own = self.architecture
            self.penalty = own.query_flops * flops(queries.sum(dim=0), len(queries))
            self.penalty = self.penalty + own.document_flops * flops(each @ documents, batch.doc_rows.size)
        scores = queries @ documents.T
        return self._grouped(scores, doc_of_row.reshape(batch.doc_rows.shape), in_batch)

    def encode(
        self,
        table: TokenTable,
        *,
        kind: str,
        max_tokens: int | None = None,
        progress: Progress | None = None,
        precision: str = "fp32",
    ) -> csr_matrix:
        """Return the weights of every text, float32 (n, vocabulary); see :meth:`DualStudent.encode`."""
        if kind not in self._prompts:
            raise ValueError(f"kind is {kind!r}; choose from {', '.join(self._prompts)}")
        max_tokens = self._inference_tokens(max_tokens)
        table = self._prompted(table, kind)
        parts: list[csr_matrix] = []
        order: list[np.ndarray] = []
        with self._inference(precision):
            for rows in length_buckets(self._framed_lengths(table, kind), max_tokens):
                parts.append(csr_matrix(self._weights(self._prepared(table, rows, kind), max_tokens).float().cpu().numpy()))
                order.append(rows)
                if progress is not None:
                    progress(sum(map(len, order)), len(table))
        if not parts:
            return csr_matrix((0, len(self._decoder.weight)), dtype=np.float32)
        return cast(csr_matrix, vstack(parts, format="csr"))[np.argsort(np.concatenate(order))]

    def silence(self, texts: csr_matrix, rows: np.ndarray) -> csr_matrix:
        """Give some texts no word."""
        return cast(csr_matrix, diags((~rows).astype(np.float32)) @ texts) if rows.any() else texts

    def match(self, queries: csr_matrix, query_rows: np.ndarray, docs: csr_matrix, doc_rows: np.ndarray) -> np.ndarray:
        """Return the scaled inner products of pairs of rows, float64 (n,)."""
        scores = np.empty(len(query_rows))
        for start in range(0, len(scores), 65_536):
            part = slice(start, start + 65_536)
            product = queries[query_rows[part]].astype(np.float64).multiply(docs[doc_rows[part]])
            scores[part] = np.asarray(product.sum(axis=1)).ravel()
        return self.architecture.scale * scores

    def search(
        self,
        docs: csr_matrix,
        queries: csr_matrix,
        depth: int,
        ties: np.ndarray,
        *,
        workers: int = 1,
        folder: Path | None = None,
        track: Track = untracked,
    ) -> Run:
        """Search the postings of the documents' weights."""
        from rd_utils.mining import impacts

        asked = queries * np.float32(self.architecture.scale)
        return impacts.search(impacts.index(docs), asked, depth, ties, workers=workers, folder=folder, track=track)

    def _compared(self, ours: csr_matrix, theirs: Any) -> tuple[np.ndarray, np.ndarray]:
        return ours.toarray(), theirs.to_dense().numpy()

    def pressure(self, done: float) -> float:
        """Return by how much of its weight the penalty counts: it grows with the square of what is done."""
        return self.architecture.pressure(done)

    @property
    def _head(self) -> nn.Module:
        """Return what gives every word of the vocabulary a score, at every token."""
        return cast(BertForMaskedLM, cast(Transformer, self.model[0]).model).cls.predictions

    @property
    def _decoder(self) -> nn.Linear:
        return cast(nn.Linear, self._head.decoder)

    def _weights(self, texts: TokenTable, max_tokens: int) -> Tensor:
        """Return the vectors of prepared texts, (n, vocabulary)."""
        own = cast(BertForMaskedLM, cast(Transformer, self.model[0]).model)
        states, places = self._states(own.bert, texts, max_tokens)
        asked = cast(nn.Module, self._head.transform)(states)
        best = segment_maxima(asked, self._decoder.weight.to(asked.dtype), self._decoder.bias.to(asked.dtype), places, texts.offsets)
        return torch.log1p(torch.relu(best))


def flops(total: Tensor, texts: int) -> Tensor:
    """Return ``sum over v of (mean over texts of w_v)^2``, of the sums (vocabulary,) of so many texts' weights.

    Where several processes share a batch the mean is over the texts of all; gradients are then averaged over the processes, so each gets as
    many times its own.
    """
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return (total / texts).square().sum()
    every = torch.cat([total.detach(), total.new_tensor([float(texts)])])
    distributed.all_reduce(every)
    mean = every[:-1] / every[-1]
    own = 2 * distributed.get_world_size() * (mean * total / every[-1]).sum()
    return mean.square().sum() + own - own.detach()

"""Bi-encoders as students: a query and a document are embedded each by itself, padded or packed, and scored by a dot product."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import Dropout, LayerNorm, Normalize, Pooling, StaticEmbedding
from torch import Tensor

from rd_utils.data.runs import Run
from rd_utils.models import packed
from rd_utils.models.dual_students import DualStudent
from rd_utils.models.shared import Context, same_tokenizer
from rd_utils.models.students import GroupBatch, Progress, in_order, long
from rd_utils.models.tokens import TokenTable, gather, is_token, join, length_buckets
from rd_utils.study.kinds import BiArchitecture, FromScratch
from rd_utils.workflow.progress import Track, untracked


class BiStudent(DualStudent):
    """A bi-encoder; the score of a pair is ``architecture.scale`` times the dot product of the two embeddings."""

    architecture: BiArchitecture
    model: SentenceTransformer
    made = "the embeddings"

    def __init__(self, architecture: BiArchitecture, model: SentenceTransformer) -> None:
        super().__init__(architecture, model)
        self.is_static = isinstance(model[0], StaticEmbedding)
        self._is_mean_alone = len(model) == 1 or isinstance(architecture, FromScratch)  # but for its length
        self._excluded: dict[str, int] = {}  # tokens of each kind's prompt, its special tokens included, that pooling leaves out
        if self.is_static:
            return
        if any(isinstance(module, Pooling) and not module.include_prompt for module in model):
            self._excluded = {kind: _prompt_length(model, prompt, kind) for kind, prompt in self._prompts.items() if prompt}
        if not _pools_tokens(model) or self._excluded:
            self._packed = None

    def forward(self, batch: GroupBatch, in_batch: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Score groups: (B, G); with ``in_batch`` also every query with every document of the batch.

        Args:
            batch: The groups.
            in_batch: Whether to return the scores of the other groups' documents too.

        Returns:
            The scores; with ``in_batch`` the pair of them and (B, number of distinct documents), the columns in the order of
            ``numpy.unique(batch.doc_rows)``, -inf for the documents of the query's own group.
        """
        docs, doc_of_row = np.unique(batch.doc_rows, return_inverse=True)
        prepared = {
            "query": self._prepared(self._prompted(batch.queries, "query"), batch.query_rows, "query"),
            "document": self._prepared(self._prompted(batch.docs, "document"), docs, "document"),
        }
        if self._excluded:
            queries, docs = (self._embed(texts, self._max_tokens(), kind) for kind, texts in prepared.items())
        else:  # one stream: the token embeddings get one gradient, not two
            embeddings = self._embed(join([*prepared.values()]), self._max_tokens())
            queries, docs = embeddings.split([len(batch.query_rows), len(docs)])
        scores = queries @ docs.T  # every query with every document of the batch: cheaper than gathering vectors
        return self._grouped(scores, doc_of_row.reshape(batch.doc_rows.shape), in_batch)

    def encode(
        self,
        table: TokenTable,
        *,
        kind: str,
        max_tokens: int | None = None,
        progress: Progress | None = None,
        precision: str = "fp32",
    ) -> np.ndarray:
        """Embed every text, float32 (n, dimension), unit vectors where the similarity is cosine; see :meth:`DualStudent.encode`."""
        if kind not in ("query", "document"):
            raise ValueError(f"kind is {kind!r}; choose from query, document")
        max_tokens = self._inference_tokens(max_tokens)
        table = self._prompted(table, kind)
        embeddings = np.empty((len(table), cast(int, self.model.get_embedding_dimension())), dtype=np.float32)
        done = 0
        with self._inference(precision):
            for rows in length_buckets(self._framed_lengths(table, kind), max_tokens):
                embeddings[rows] = self._embed(self._prepared(table, rows, kind), max_tokens, kind).float().cpu().numpy()
                done += len(rows)
                if progress is not None:
                    progress(done, len(table))
        return embeddings

    def silence(self, texts: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Give some texts the zero vector, in place."""
        texts[rows] = 0.0
        return texts

    def _scored(self, queries: np.ndarray, query_of_pair: np.ndarray, docs: np.ndarray, doc_of_pair: np.ndarray) -> np.ndarray:
        """Sum products in float32, a block of pairs at a time."""
        scores = np.empty(len(query_of_pair), dtype=np.float32)
        for start in range(0, len(scores), 65_536):
            part = slice(start, start + 65_536)
            scores[part] = np.einsum("nd,nd->n", queries[query_of_pair[part]], docs[doc_of_pair[part]])
        return np.float32(self.architecture.scale) * scores

    def match(self, queries: np.ndarray, query_rows: np.ndarray, docs: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
        """Return the scaled inner products of pairs of embeddings, float64 (n,)."""
        asked = queries * np.float32(self.architecture.scale)
        return np.einsum("ij,ij->i", asked[query_rows], docs[doc_rows], dtype=np.float64)

    def search(
        self,
        docs: np.ndarray,
        queries: np.ndarray,
        depth: int,
        ties: np.ndarray,
        *,
        workers: int = 1,
        folder: Path | None = None,
        track: Track = untracked,
    ) -> Run:
        """Go through the embeddings of all documents."""
        from rd_utils.mining import dense

        return dense.search(docs, queries * np.float32(self.architecture.scale), depth, ties, folder=folder, track=track)

    def _embed(self, texts: TokenTable, max_tokens: int, kind: str | None = None) -> Tensor:
        """Embed prepared texts, all of one kind where pooling leaves its prompt out: (n, dimension)."""
        if self.is_static and self._is_mean_alone and self.device.type == "cpu" and torch.is_grad_enabled():
            embeddings = _MeanOfTokens.apply(self._token_embeddings(), texts)
            if len(self.model) > 1:
                embeddings = F.normalize(embeddings, dim=1)
        elif self.is_static:
            features = {"input_ids": long(texts.ids, self.device), "offsets": long(texts.offsets[:-1], self.device)}
            embeddings = self.model(features)["sentence_embedding"]
        elif self._packed is not None and self._packed.reads(texts):
            embeddings = self._embed_packed(self._packed, texts, max_tokens)
        else:
            embeddings = self._embed_padded(texts, max_tokens, self._excluded.get(kind) if kind else None)
        return embeddings[:, : self.model.truncate_dim]  # None keeps all

    def _embed_packed(self, encoder: packed.PackedEncoder, texts: TokenTable, max_tokens: int) -> Tensor:
        pooling = cast(Pooling, self.model[1]).pooling_mode
        stream = encoder.lay_out(texts, self._pad, device=self.device)
        states = encoder(stream, first_only=pooling == "cls", max_tokens=max_tokens)
        features = {"sentence_embedding": states if pooling == "cls" else packed.mean_of_tokens(states, stream)}
        for module in list(self.model)[2:]:
            features = module(features)
        return in_order(features["sentence_embedding"], stream.order)

    def _embed_padded(self, texts: TokenTable, max_tokens: int, excluded: int | None) -> Tensor:
        side = self.model.tokenizer.padding_side
        buckets = length_buckets(texts.lengths(), max_tokens)
        embeddings = []
        for rows in buckets:
            ids, lengths = gather(texts, rows, pad=self._pad, padding_side=side)
            mask = is_token(lengths, side)
            if not ids.shape[1]:  # texts without a token, in a model without special tokens
                ids, mask = np.full((len(rows), 1), self._pad), np.zeros((len(rows), 1), dtype=bool)
            features: dict[str, Tensor | int] = {"input_ids": long(ids, self.device), "attention_mask": long(mask, self.device)}
            if excluded is not None:
                features["prompt_length"] = excluded
            embeddings.append(self.model(features)["sentence_embedding"])
        return in_order(torch.cat(embeddings), np.concatenate(buckets))


class _Shares(Context):
    shares: csr_matrix


class _MeanOfTokens(torch.autograd.Function):
    """The mean of every text's token vectors, as ``nn.EmbeddingBag`` computes it, with a backward pass that sorts nothing.

    With A (texts, vocabulary) the tokens' counts over the text's length, the means are A E, and the gradient of the table E is A' G.
    """

    @staticmethod
    def forward(context: _Shares, table: Tensor, texts: TokenTable) -> Tensor:
        """Return the means, (texts, dimension); an empty text has the mean 0."""
        lengths = texts.lengths()
        shares = np.repeat(1.0 / np.maximum(lengths, 1), lengths).astype(table.detach().numpy().dtype)
        context.shares = csr_matrix((shares, texts.ids, texts.offsets), shape=(len(texts), len(table)))
        return F.embedding_bag(torch.from_numpy(texts.ids.astype(np.int64)), table, torch.from_numpy(texts.offsets[:-1]), mode="mean")

    @staticmethod
    def backward(context: _Shares, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the table."""
        return torch.from_numpy(context.shares.T @ gradient.numpy()), None


def _pools_tokens(model: SentenceTransformer) -> bool:
    """Tell whether a model takes the first token or the mean of all, and goes on from the sentence's vector alone.

    Then :meth:`BiStudent._embed_packed` computes the same.
    """
    first, *rest = model
    if not rest or not isinstance(rest[0], Pooling) or rest[0].pooling_mode not in ("cls", "mean"):
        return False
    reader = cast(Transformer, first)
    text = reader.modality_config.get("text", {})
    is_plain = text == {"method": "forward", "method_output_name": "last_hidden_state"} and reader.module_output_name == "token_embeddings"
    on_vectors = (module for module in rest[1:] if not (isinstance(module, Dense) and module.module_input_name != "sentence_embedding"))
    return is_plain and len([module for module in on_vectors if type(module) in (Dense, Normalize, LayerNorm, Dropout)]) == len(rest) - 1


def _prompt_length(model: SentenceTransformer, prompt: str, kind: str) -> int:
    """Return how many leading positions pooling leaves out where it excludes a prompt, as the library counts them."""
    with same_tokenizer(model):
        return int(model.preprocess(["a"], prompt=prompt, task=kind)["prompt_length"])

"""Cross-encoders as students: a query and a document are read together, joined by the special tokens of their tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Transformer
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from rd_utils.models.interaction import KernelInteraction
from rd_utils.models.shared import SENTENCE, TEXTS, apply_module, features_of
from rd_utils.models.students import GroupBatch, Progress, Student, in_order, kept_end, long, packed_encoder
from rd_utils.models.tokens import TokenTable, beside, gather, is_token, length_buckets, longest_first, plain_copy, take, tokenize
from rd_utils.study.kinds import Architecture


class CrossStudent(Student):
    """A cross-encoder; the score of a pair is its raw output, or with ``labels=2`` the log-softmax of the relevant class."""

    model: CrossEncoder

    def __init__(self, architecture: Architecture, model: CrossEncoder) -> None:
        super().__init__(architecture, model)
        self._prompts["query"] = model.prompts.get(cast(str, model.default_prompt_name)) or ""
        self._max_length = cast(int, model.max_seq_length)
        self._frame = None if isinstance(model[0], KernelInteraction) else _pair_frame(model.tokenizer)  # which joins pairs by itself
        first = model[0]
        if isinstance(first, Transformer) and len(model) == 1:
            self._packed = packed_encoder(first.model)

    def forward(self, batch: GroupBatch) -> Tensor:
        """Score groups: (B, G)."""
        shape = batch.doc_rows.shape
        queries, docs = self._prompted(batch.queries, "query"), self._prompted(batch.docs, "document")
        pairs = np.repeat(batch.query_rows.astype(np.int64), shape[1]) * len(docs) + batch.doc_rows.reshape(-1)
        unique, pair_of_row = np.unique(pairs, return_inverse=True)
        query_rows, doc_rows = np.divmod(unique, len(docs))
        max_tokens = self._max_tokens()
        if self._packed is not None:
            scores = self._scores(queries, docs, query_rows, doc_rows, max_tokens)
        else:
            buckets = length_buckets(self._lengths(queries, docs, query_rows, doc_rows), max_tokens)
            parts = [self._scores(queries, docs, query_rows[rows], doc_rows[rows], max_tokens) for rows in buckets]
            scores = in_order(torch.cat(parts), np.concatenate(buckets))
        return scores[long(pair_of_row.reshape(shape), self.device)]

    def score_pairs(
        self,
        queries: TokenTable,
        docs: TokenTable,
        query_rows: np.ndarray,
        doc_rows: np.ndarray,
        *,
        max_tokens: int | None = None,
        progress: Progress | None = None,
        precision: str = "fp32",
    ) -> np.ndarray:
        """Score pairs in order of length; see :meth:`Student.score_pairs`."""
        query_rows, doc_rows = np.asarray(query_rows), np.asarray(doc_rows)
        queries, docs = self._prompted(queries, "query"), self._prompted(docs, "document")
        max_tokens = self._inference_tokens(max_tokens)
        scores = np.empty(len(query_rows), dtype=np.float32)
        done = 0
        with self._inference(precision):
            for rows in length_buckets(self._lengths(queries, docs, query_rows, doc_rows), max_tokens):
                scores[rows] = self._scores(queries, docs, query_rows[rows], doc_rows[rows], max_tokens).float().cpu().numpy()
                done += len(rows)
                if progress is not None:
                    progress(done, len(scores))
        return scores

    def read_both_ways(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield what is compared, as the student gives it and as the model's own library does: tokens of pairs, then scores."""
        prompt, long = self._prompts["query"], " ".join([SENTENCE] * self._max_length)
        texts = [*TEXTS, "", long]
        places = np.array([(0, 1), (1, 0), (0, 2), (2, 1), (0, 3), (3, 1), (3, 3)])
        tables = tokenize(texts, self.tokenizer, prompt=prompt), tokenize(texts, self.tokenizer)
        frame, (query_rows, doc_rows) = cast(PairFrame, self._frame), places.T
        ours = frame.pad_together(*frame.join(*tables, query_rows, doc_rows, self._max_length))
        theirs = self.model.preprocess([(texts[query], texts[doc]) for query, doc in places], prompt=prompt)
        for row in range(len(places)):
            yield "the tokens of a pair", features_of(ours, row), features_of(theirs, row)
        places = places[[0, 2]]  # of two lengths, so that the library pads one of them
        query_rows, doc_rows = places.T
        pairs = [(texts[query], texts[doc]) for query, doc in places]
        scores = self.model.predict(pairs, convert_to_tensor=True, show_progress_bar=False)
        if scores.ndim > 1:
            scores = torch.log_softmax(scores, dim=1)[:, 1]
        yield "the scores of pairs", self.score_pairs(*tables, query_rows, doc_rows, max_tokens=1), scores.numpy()

    def token_counts(self, batch: GroupBatch) -> int:
        """Count the tokens of every pair of a batch; see :meth:`Student.token_counts`."""
        query_rows = np.repeat(batch.query_rows, batch.doc_rows.shape[1])
        queries, docs = self._prompted(batch.queries, "query"), self._prompted(batch.docs, "document")
        return int(self._lengths(queries, docs, query_rows, batch.doc_rows.reshape(-1)).sum())

    def _lengths(self, queries: TokenTable, docs: TokenTable, query_rows: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
        query_lengths, doc_lengths = queries.lengths(query_rows), docs.lengths(doc_rows)
        if self._frame is not None:
            return np.minimum(query_lengths + doc_lengths + self._frame.special, self._max_length)
        longest_query = cast(KernelInteraction, self.model[0]).max_query_length
        return np.minimum(np.minimum(query_lengths, longest_query) + doc_lengths, self._max_length)

    def _scores(self, queries: TokenTable, docs: TokenTable, query_rows: np.ndarray, doc_rows: np.ndarray, max_tokens: int) -> Tensor:
        """Score pairs: (n,)."""
        frame = self._frame
        if frame is None:
            return self._run(cast(KernelInteraction, self.model[0]).features(queries, docs, query_rows, doc_rows))[:, 0]
        texts, starts = frame.join(queries, docs, query_rows, doc_rows, self._max_length)
        if self._packed is None or not self._packed.reads(texts):
            outputs = self._run(frame.pad_together(texts, starts))
        else:
            types = None if frame.types is None else (starts, frame.types)
            stream = self._packed.lay_out(texts, frame.pad, types=types, device=self.device)
            firsts = self._packed(stream, first_only=True, max_tokens=max_tokens)
            outputs = in_order(head(cast(Transformer, self.model[0]).model, firsts), stream.order)
        return outputs[:, 0] if outputs.shape[1] == 1 else torch.log_softmax(outputs.float(), dim=1)[:, 1]

    def _run(self, features: dict[str, Tensor]) -> Tensor:
        return self.model({name: values.to(self.device) for name, values in features.items()})["scores"]


def head(model: nn.Module, firsts: Tensor) -> Tensor:
    """Apply a sequence classifier's own head to the states of first tokens: (n, width) -> (n, labels)."""
    states = firsts.unsqueeze(1)  # heads read position 0 of every text
    pooler = getattr(model.base_model, "pooler", None)
    if pooler is not None:
        states = cast(nn.Dropout, model.dropout)(apply_module(pooler, states))
    return apply_module(cast(nn.Module, model.classifier), states)


class PairFrame(NamedTuple):
    """How a tokenizer joins two texts: ``prefix query middle document suffix``, and the token types of the two halves."""

    prefix: list[int]
    middle: list[int]
    suffix: list[int]
    types: tuple[int, int] | None
    pad: int
    keep: str  # which tokens of a text that is cut stay: first or last
    padding_side: str

    @property
    def special(self) -> int:
        """Return the number of special tokens of a pair."""
        return len(self.prefix) + len(self.middle) + len(self.suffix)

    def join(
        self, queries: TokenTable, docs: TokenTable, query_rows: np.ndarray, doc_rows: np.ndarray, max_length: int
    ) -> tuple[TokenTable, np.ndarray]:
        """Put pairs together, those that are too long cut as the tokenizer cuts them; also return where each document begins."""
        lengths = queries.lengths(query_rows), docs.lengths(doc_rows)
        query_lengths, doc_lengths = longest_first(*lengths, max(max_length - self.special, 0))
        query_frame = len(self.prefix) + len(self.middle)
        left = take(queries, query_rows, query_lengths + query_frame, prefix=self.prefix, suffix=self.middle, keep=self.keep)
        right = take(docs, doc_rows, doc_lengths + len(self.suffix), suffix=self.suffix, keep=self.keep)
        return TokenTable(*beside(left, right)), left.lengths()

    def pad_together(self, texts: TokenTable, starts: np.ndarray) -> dict[str, Tensor]:
        """Pad joined pairs into one block: ids, mask and token types, each (n, longest)."""
        ids, lengths = gather(texts, np.arange(len(texts)), pad=self.pad, padding_side=self.padding_side)
        mask = is_token(lengths, self.padding_side)
        features = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}
        if self.types is not None:
            types = np.where(np.cumsum(mask, axis=1) <= starts[:, None], self.types[0], self.types[1]) * mask
            features["token_type_ids"] = torch.from_numpy(types.astype(np.int64))
        return features


def _pair_frame(tokenizer: PreTrainedTokenizerBase) -> PairFrame:
    encoding = plain_copy(tokenizer).encode("a", "a", add_special_tokens=True)
    first, second = ([i for i, s in enumerate(encoding.sequence_ids) if s == side] for side in (0, 1))
    typed = "token_type_ids" in tokenizer.model_input_names
    return PairFrame(
        prefix=encoding.ids[: first[0]],
        middle=encoding.ids[first[-1] + 1 : second[0]],
        suffix=encoding.ids[second[-1] + 1 :],
        types=(encoding.type_ids[first[0]], encoding.type_ids[second[0]]) if typed else None,
        pad=cast(int, tokenizer.pad_token_id),
        keep=kept_end(tokenizer.truncation_side),
        padding_side=tokenizer.padding_side,
    )

"""What students share that read a query and a document each by itself: prompts, framing, limits, and the states of tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Transformer
from torch import Tensor, nn
from transformers import BertModel, PreTrainedTokenizerBase

from rd_utils.data.runs import Run
from rd_utils.models import packed
from rd_utils.models.shared import SENTENCE, TEXTS, features_of
from rd_utils.models.students import GroupBatch, Progress, Student, kept_end, long, packed_encoder
from rd_utils.models.tokens import TokenTable, gather, is_token, length_buckets, plain_copy, take, tokenize
from rd_utils.study.kinds import DualArchitecture
from rd_utils.workflow.progress import Track, untracked

DualModel = SentenceTransformer | SparseEncoder | MultiVectorEncoder


class States(NamedTuple):
    """The states of texts' tokens, each distinct one once: (U, width), and which of them stands at each place of the texts, end to end."""

    states: Tensor
    places: np.ndarray  # int64 (n,)


class DualStudent(Student):
    """A student that reads a query and a document each by itself, so that documents can be searched."""

    architecture: DualArchitecture
    model: DualModel
    made: ClassVar[str]  # what is made of texts, in messages

    def __init__(self, architecture: DualArchitecture, model: DualModel) -> None:
        super().__init__(architecture, model)
        self._prompts = {kind: model.prompts.get(kind) or "" for kind in self._prompts}
        first = model[0]
        if not isinstance(first, Transformer):  # of token vectors alone: nothing is put around a text
            cut = model.tokenizer.truncation or {}
            self._frame: tuple[list[int], list[int]] = ([], [])
            self._max_lengths: dict[str, int | None] = dict.fromkeys(self._prompts, cut.get("max_length"))  # most tokens of each kind
            self._keep = kept_end(cut.get("direction", "right"))
            return
        # BertModel's pooler is not part of a representation: without this its missing gradient stops distributed training
        pooler = getattr(first.model, "pooler", None)
        for parameter in pooler.parameters() if isinstance(pooler, nn.Module) else ():
            parameter.requires_grad_(False)
        self._pad: int = model.tokenizer.pad_token_id
        self._keep = kept_end(model.tokenizer.truncation_side)
        self._frame = _frame(model.tokenizer)
        longest = cast(int, model.max_seq_length)
        self._max_lengths = {"query": first.query_length or longest, "document": first.document_length or longest}
        self._packed = packed_encoder(first.model)

    def encode(
        self, table: TokenTable, *, kind: str, max_tokens: int | None = None, progress: Progress | None = None, precision: str = "fp32"
    ) -> Any:
        """Represent every text of a table without gradients, as the model's own ``encode_query`` or ``encode_document`` does.

        Args:
            table: The token table; one that was made without the model's prompt is tokenised anew where it holds its texts.
            kind: ``query`` or ``document``: which length limit and prompt apply.
            max_tokens: Most padded tokens of one forward pass; None is what suits the device.
            progress: Called with the number of texts done, and their total.
            precision: ``fp32``, or ``bf16`` or ``fp16`` under autocast.
        """
        raise NotImplementedError

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
        """Score pairs by what is made of their texts, of each once; see :meth:`Student.score_pairs`."""
        unique_queries, query_of_pair = np.unique(query_rows, return_inverse=True)
        unique_docs, doc_of_pair = np.unique(doc_rows, return_inverse=True)
        found, done, total = [], 0, len(unique_queries) + len(unique_docs)
        for kind, texts in (("query", take(queries, unique_queries)), ("document", take(docs, unique_docs))):
            shifted = _shifted(progress, done, total)
            found.append(self.encode(texts, kind=kind, max_tokens=max_tokens, progress=shifted, precision=precision))
            done += len(texts)
        return self._scored(found[0], query_of_pair, found[1], doc_of_pair)

    def _scored(self, queries: Any, query_of_pair: np.ndarray, docs: Any, doc_of_pair: np.ndarray) -> np.ndarray:
        """Return the scores of pairs of represented texts, float32 (n,)."""
        return self.match(queries, query_of_pair, docs, doc_of_pair).astype(np.float32)

    def read_both_ways(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield what is compared, as the student gives it and as the model's own library does: tokens, then what is made of texts."""
        for kind, prompt in self._prompts.items():
            texts = [*TEXTS, "", " ".join([SENTENCE] * (self._max_lengths[kind] or 1))]
            prepared = self._prepared(tokenize(texts, self.tokenizer, prompt=prompt), np.arange(len(texts)), kind)
            features = self.model.preprocess(texts, prompt=prompt, task=kind)
            if not isinstance(self.model[0], Transformer):
                yield f"the tokens of a {kind}", prepared.ids, features["input_ids"].numpy()
                continue
            for row in range(len(texts)):
                ids = prepared.row(row)
                yield f"the tokens of a {kind}", np.stack([ids, np.zeros_like(ids)]), features_of(features, row)
        for kind, encode in (("query", self.model.encode_query), ("document", self.model.encode_document)):
            ours = self.encode(tokenize(TEXTS, self.tokenizer), kind=kind, max_tokens=1)
            yield f"{self.made} of a {kind}", *self._compared(ours, encode(list(TEXTS), show_progress_bar=False))

    def _compared(self, ours: Any, theirs: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return what the student and the library made of texts, as arrays of one shape."""
        return ours, theirs

    def _grouped(self, scores: Tensor, columns: np.ndarray, in_batch: bool) -> Tensor | tuple[Tensor, Tensor]:
        """Return the scaled scores of the groups (B, G) out of those of every query with every document of the batch.

        With ``in_batch`` also the latter (B, documents), -inf for the documents of the query's own group.
        """
        own = long(columns, self.device)
        group_scores = self.architecture.scale * scores.gather(1, own)
        if not in_batch:
            return group_scores
        return group_scores, (self.architecture.scale * scores).scatter(1, own, -torch.inf)

    def silence(self, texts: Any, rows: np.ndarray) -> Any:
        """Return represented texts, of which those of some rows (bool) say nothing: what a model makes of special tokens alone."""
        raise NotImplementedError

    def match(self, queries: Any, query_rows: np.ndarray, docs: Any, doc_rows: np.ndarray) -> np.ndarray:
        """Return the scores of pairs of represented texts, (n,)."""
        raise NotImplementedError

    def search(
        self,
        docs: Any,
        queries: Any,
        depth: int,
        ties: np.ndarray,
        *,
        workers: int = 1,
        folder: Path | None = None,
        track: Track = untracked,
    ) -> Run:
        """Rank all represented documents for every represented query by the student's score; see :func:`rd_utils.mining.dense.search`."""
        raise NotImplementedError

    def token_counts(self, batch: GroupBatch) -> int:
        """Count every query of a batch once and every document of every group; see :meth:`Student.token_counts`."""
        queries, docs = self._prompted(batch.queries, "query"), self._prompted(batch.docs, "document")
        parts = [(queries, batch.query_rows, "query"), (docs, batch.doc_rows.reshape(-1), "document")]
        return sum(int(self._framed_lengths(table, kind, rows).sum()) for table, rows, kind in parts)

    def _framed_lengths(self, table: TokenTable, kind: str, rows: np.ndarray | None = None) -> np.ndarray:
        lengths, longest = table.lengths(rows), self._max_lengths[kind]
        return lengths if longest is None else np.minimum(lengths + sum(map(len, self._frame)), longest)

    def _prepared(self, table: TokenTable, rows: np.ndarray, kind: str) -> TokenTable:
        """Return the rows as the model takes them: framed by special tokens and cut; only cut where it is static."""
        prefix, suffix = self._frame
        return take(table, rows, self._max_lengths[kind], prefix=prefix, suffix=suffix, keep=self._keep)

    def _states(self, encoder: nn.Module, texts: TokenTable, max_tokens: int) -> States:
        """Return the last states of prepared texts' tokens.

        An encoder without layers looks each word up by itself, so that its states are those of the distinct words.
        """
        if isinstance(encoder, BertModel) and not packed.layers_of(encoder):
            words, places = np.unique(texts.ids, return_inverse=True)
            own = encoder.embeddings
            nowhere = own.position_embeddings.weight[0] + own.token_type_embeddings.weight[0]
            return States(own.LayerNorm(own.word_embeddings(long(words, self.device)) + nowhere), places.reshape(-1))
        lengths = texts.lengths()
        if self._packed is not None and self._packed.reads(texts):
            stream = self._packed.lay_out(texts, self._pad, device=self.device)
            begins = np.empty(len(texts), dtype=np.int64)
            begins[stream.order] = stream.firsts.cpu().numpy()
            return States(self._packed(stream, max_tokens=max_tokens), _from(begins, lengths))
        parts, begins, before = [], np.empty(len(texts), dtype=np.int64), 0
        side = self.model.tokenizer.padding_side
        for rows in length_buckets(lengths, max_tokens):
            ids, own_lengths = gather(texts, rows, pad=self._pad, padding_side=side)
            mask = is_token(own_lengths, side)
            states = encoder(input_ids=long(ids, self.device), attention_mask=long(mask, self.device)).last_hidden_state
            parts.append(states[packed.to_device(mask, self.device)])
            begins[rows] = before + np.cumsum(own_lengths) - own_lengths
            before += int(own_lengths.sum())
        return States(torch.cat(parts), _from(begins, lengths))


def _from(begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the places of texts that begin somewhere and go on for so many, end to end.

    >>> _from(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    ends = np.cumsum(lengths)
    return np.repeat(begins - (ends - lengths), lengths) + np.arange(int(ends[-1]) if len(ends) else 0)


def _shifted(progress: Progress | None, by: int, total: int) -> Progress | None:
    return None if progress is None else lambda done, _: progress(by + done, total)


def _frame(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the special tokens before a text and after it."""
    encoding = plain_copy(tokenizer).encode("a", add_special_tokens=True)
    text = [i for i, s in enumerate(encoding.sequence_ids) if s is not None]
    return encoding.ids[: text[0]], encoding.ids[text[-1] + 1 :]

"""Students: bi-encoders and cross-encoders that score groups of pre-tokenised texts.

A student wraps a genuine ``SentenceTransformer`` or ``CrossEncoder`` (its ``model``), so that what is saved is theirs and scores text
as the student did:

- bi-encoders: ``SentenceTransformer(folder)``; a student's score is ``architecture.scale`` times the dot product of its embeddings;
- cross-encoders: ``CrossEncoder(folder)``; with ``labels=2`` the student's score is the logarithm of column 1 of
  ``predict(pairs, apply_softmax=True)``;
- the interaction cross-encoder: ``CrossEncoder(folder, trust_remote_code=True)`` where this package is installed, because its one
  module is :class:`KernelInteraction`, below.

Texts arrive as token tables (:mod:`rd_utils.tokens`), so that a batch costs a gather and not a call of the tokenizer. Within a batch a
text that repeats is encoded once. Encoders that :mod:`rd_utils.packed` serves run without padding over one stream of all its texts;
other models run as they are, texts of similar length together.

A checkpoint (:mod:`rd_utils.checkpoints`) is served as its own library serves it: its prompts, its truncation of embeddings, its own
limits where they are below the study's, pairs that are too long cut as ``predict`` cuts them. After building, a few texts are read both
ways, and a checkpoint that is not read alike is refused. Weights are float32 whatever is stored; a precision decides the arithmetic alone.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter, ValidationError
from scipy.sparse import csr_matrix
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense, InputModule, Transformer
from sentence_transformers.sentence_transformer.modules import Dropout, LayerNorm, Normalize, Pooling, StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from rd_utils import architectures, checkpoints, packed
from rd_utils.checkpoints import CheckpointError
from rd_utils.kinds import Architecture, BiArchitecture, FromScratch
from rd_utils.settings import Training
from rd_utils.store import resolve_path
from rd_utils.teacher_kinds import LoadedTeacher
from rd_utils.tokens import TokenTable, beside, gather, is_token, join, length_buckets, longest_first, plain_copy, take, tokenize

SCRATCH_MAX_LENGTH = 256  # tokens of a text or pair, special tokens included, for the students from scratch that have a limit
SCRATCH_MAX_QUERY_LENGTH = 64
NOISE = 0.02  # standard deviation of what the seed adds to the token vectors of students from scratch
TRAINING_TOKENS = 8192  # most tokens of one forward pass within a training batch, on a CPU
INTERACTION_TOKENS = 12_288  # the same for the interaction cross-encoder
ACCELERATOR_TOKENS = 131_072  # the same on an accelerator, where few large passes are faster
INFERENCE_TOKENS = 8192  # the same without gradients, on a CPU
_FLOAT32 = {"dtype": torch.float32}
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LOGGER = logging.getLogger("rd_utils")
_ARCHITECTURE = "architecture.json"
_SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}

Progress = Callable[[int, int], None]


class GroupBatch(NamedTuple):
    """Groups to score: row b is query ``query_rows[b]`` with the documents ``doc_rows[b]``, the positive first."""

    queries: TokenTable
    docs: TokenTable
    query_rows: np.ndarray  # (B,)
    doc_rows: np.ndarray  # (B, G)


# --- students ---------------------------------------------------------------------------------------------------------------------


class Student(nn.Module):
    """What bi-encoders and cross-encoders share: an architecture, a sentence-transformers model, saving, parameter groups."""

    def __init__(self, architecture: Any, model: SentenceTransformer | CrossEncoder) -> None:
        super().__init__()
        self.architecture = architecture
        self.model = model
        self._packed: packed.PackedEncoder | None = None  # what runs the model's encoder; None where the model runs as it is
        self._prompts = {"query": "", "document": ""}  # what stands before the texts of each kind
        self._tokenised: dict[str, tuple[TokenTable, TokenTable]] = {}  # the last table of each kind that lacked its prompt, and with it

    @property
    def device(self) -> torch.device:
        """Return the device of the weights."""
        return next(self.parameters()).device

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | Tokenizer:
        """Return the tokenizer that the token tables must come from."""
        return self.model.tokenizer

    def save(self, folder: Path) -> None:
        """Write the sentence-transformers model, and ``architecture.json`` beside it."""
        folder = Path(folder)
        self.model.save(str(folder), create_model_card=False)
        (folder / _ARCHITECTURE).write_text(self.architecture.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def parameter_groups(self, training: Training) -> list[dict[str, Any]]:
        """Return the parameter groups of AdamW.

        Token embeddings take ``embedding_learning_rate`` where it is given. Weight decay is for matrices: not for embeddings, biases
        and the weights of layer norms.

        Args:
            training: Learning rates and weight decay.

        Returns:
            Dictionaries with ``name``, ``params``, ``lr`` and ``weight_decay``; parameters in the order of ``named_parameters``.
        """
        tokens = self._token_embeddings()
        tables = {id(m.weight) for m in self.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))}
        groups: dict[str, list[nn.Parameter]] = {"token embeddings": [], "matrices": [], "without decay": []}
        for parameter in self.parameters():
            if not parameter.requires_grad:
                continue
            if parameter is tokens:
                groups["token embeddings"].append(parameter)
            elif id(parameter) in tables or parameter.ndim < 2:
                groups["without decay"].append(parameter)
            else:
                groups["matrices"].append(parameter)
        rates = {"token embeddings": training.embedding_learning_rate or training.learning_rate}
        return [
            {
                "name": name,
                "params": parameters,
                "lr": rates.get(name, training.learning_rate),
                "weight_decay": training.weight_decay if name == "matrices" else 0.0,
            }
            for name, parameters in groups.items()
            if parameters
        ]

    def vocabulary(self) -> list[str]:
        """Return the tokenizer's tokens by id; an id without a token is an empty string."""
        words = {number: token for token, number in self.tokenizer.get_vocab().items()}
        return [words.get(number, "") for number in range(max(words) + 1)]

    def token_vectors(self) -> np.ndarray:
        """Return the token embeddings, float32 (vocabulary, dimension)."""
        return self._token_embeddings().detach().float().cpu().numpy()

    def token_counts(self, batch: GroupBatch) -> int:
        """Return how many tokens the texts of a batch have, each text of each group counted, cut and framed as the model sees them."""
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
        """Score pairs of texts without gradients.

        The same pairs in the same batches on the same kind of machine, with as many threads, have the same scores to the last bit. In other
        company a pair's score moves by rounding: a library may sum a product in another order for another number of rows. Both scores lie
        as far from the exact one as their precision does, so at most twice that far from each other. The interaction cross-encoder scores
        in float64 on a CPU, so that its float32 scores move by one unit in the last place at most, and hardly ever. Encoders in fp32 stay
        within 1e-4 standard deviations of the scores for the checkpoints that the tests hold; in bf16 the distance can reach a good part of
        a standard deviation, where a model is as sensitive as that to bf16 itself.

        Args:
            queries: Token table of the queries.
            docs: Token table of the documents.
            query_rows: The query of every pair, (n,).
            doc_rows: The document of every pair, (n,).
            max_tokens: Most padded tokens of one forward pass; None is what suits the device.
            progress: Called with the number of texts (bi-encoder) or pairs (cross-encoder) done, and their total.
            precision: ``fp32``, or ``bf16`` or ``fp16`` under autocast.

        Returns:
            The scores, float32 (n,).
        """
        raise NotImplementedError

    def _prompted(self, table: TokenTable, kind: str) -> TokenTable:
        """Return a table whose texts were tokenised with the prompt of their kind: the table itself, or its texts tokenised anew."""
        prompt = self._prompts[kind]
        if table.prompt == prompt:
            return table
        if table.texts is None:
            raise ValueError(
                f"the texts were tokenised with the prompt {table.prompt!r}, but this model reads a {kind} with the prompt {prompt!r}; "
                "tokenise them with it: tokenize(texts, student.tokenizer, prompt=...)"
            )
        if kind not in self._tokenised or self._tokenised[kind][0] is not table:
            self._tokenised[kind] = table, tokenize(table.texts, self.tokenizer, prompt=prompt)
        return self._tokenised[kind][1]

    def _token_embeddings(self) -> nn.Parameter:
        first = self.model[0]
        return first.model.get_input_embeddings().weight if isinstance(first, Transformer) else first.embedding.weight

    def _max_tokens(self) -> int:
        if self.device.type != "cpu":
            return ACCELERATOR_TOKENS
        return INTERACTION_TOKENS if isinstance(self.model[0], KernelInteraction) else TRAINING_TOKENS

    def _inference_tokens(self, max_tokens: int | None) -> int:
        if max_tokens is not None:
            return max_tokens
        return INFERENCE_TOKENS if self.device.type == "cpu" else ACCELERATOR_TOKENS

    @contextmanager
    def _inference(self, precision: str) -> Iterator[None]:
        """Evaluate without gradients, in a precision; the student's mode is restored afterwards."""
        check_precision(precision, self.device)
        mode, dtype = self.training, _DTYPES[precision]
        self.eval()
        try:
            with ExitStack() as stack:
                stack.enter_context(torch.inference_mode())
                if precision != "fp32":
                    stack.enter_context(torch.autocast(self.device.type, dtype=dtype))
                if self._packed is not None:
                    stack.enter_context(self._packed.frozen(dtype))
                yield
        finally:
            self.train(mode)


class BiStudent(Student):
    """A bi-encoder; the score of a pair is ``architecture.scale`` times the dot product of the two embeddings."""

    def __init__(self, architecture: Any, model: SentenceTransformer) -> None:
        super().__init__(architecture, model)
        self.is_static = isinstance(model[0], StaticEmbedding)
        self._prompts = {kind: model.prompts.get(kind) or "" for kind in self._prompts}
        self._excluded: dict[str, int] = {}  # tokens of each kind's prompt, its special tokens included, that pooling leaves out
        if self.is_static:
            cut = self.tokenizer.truncation or {}
            self._max_lengths = dict.fromkeys(self._prompts, cut.get("max_length"))
            self._keep = _kept_end(cut.get("direction", "right"))
            return
        # BertModel's pooler is not part of a sentence embedding: without this its missing gradient stops distributed training
        pooler = getattr(model[0].model, "pooler", None)
        for parameter in pooler.parameters() if isinstance(pooler, nn.Module) else ():
            parameter.requires_grad_(False)
        self._pad = self.tokenizer.pad_token_id
        self._keep = _kept_end(self.tokenizer.truncation_side)
        self._frame = _frame(self.tokenizer)
        self._max_lengths = {
            "query": model[0].query_length or model.max_seq_length,
            "document": model[0].document_length or model.max_seq_length,
        }
        if any(isinstance(module, Pooling) and not module.include_prompt for module in model):
            self._excluded = {kind: _prompt_length(model, prompt, kind) for kind, prompt in self._prompts.items() if prompt}
        self._packed = _packed_encoder(model[0].model) if _pools_tokens(model) and not self._excluded else None

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
        columns = _long(doc_of_row.reshape(batch.doc_rows.shape), self.device)
        group_scores = self.architecture.scale * scores.gather(1, columns)
        if not in_batch:
            return group_scores
        return group_scores, (self.architecture.scale * scores).scatter(1, columns, -torch.inf)

    def encode(
        self,
        table: TokenTable,
        *,
        kind: str,
        max_tokens: int | None = None,
        progress: Progress | None = None,
        precision: str = "fp32",
    ) -> np.ndarray:
        """Embed every text of a table without gradients, in order of length; rows are unit vectors where the similarity is cosine.

        They are what ``encode_query`` or ``encode_document`` of the model returns, its prompt and truncation included.

        Args:
            table: The token table; one that was made without the model's prompt is tokenised anew where it holds its texts.
            kind: ``query`` or ``document``: which length limit and prompt apply.
            max_tokens: Most padded tokens of one forward pass; None is what suits the device.
            progress: Called with the number of texts done, and their total.
            precision: ``fp32``, or ``bf16`` or ``fp16`` under autocast.

        Returns:
            The embeddings, float32 (n, dimension).
        """
        if kind not in ("query", "document"):
            raise ValueError(f"kind is {kind!r}; choose from query, document")
        max_tokens = self._inference_tokens(max_tokens)
        table = self._prompted(table, kind)
        embeddings = np.empty((len(table), self.model.get_embedding_dimension()), dtype=np.float32)
        done = 0
        with self._inference(precision):
            for rows in length_buckets(self._framed_lengths(table, kind), max_tokens):
                embeddings[rows] = self._embed(self._prepared(table, rows, kind), max_tokens, kind).float().cpu().numpy()
                done += len(rows)
                if progress is not None:
                    progress(done, len(table))
        return embeddings

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
        """Score pairs by the embeddings of their texts, each embedded once; see :meth:`Student.score_pairs`."""
        unique_queries, query_of_pair = np.unique(query_rows, return_inverse=True)
        unique_docs, doc_of_pair = np.unique(doc_rows, return_inverse=True)
        total = len(unique_queries) + len(unique_docs)

        def shifted(by: int) -> Progress | None:
            return None if progress is None else lambda done, _: progress(by + done, total)

        options = {"max_tokens": max_tokens, "precision": precision}
        query_vectors = self.encode(take(queries, unique_queries), kind="query", progress=shifted(0), **options)
        doc_vectors = self.encode(take(docs, unique_docs), kind="document", progress=shifted(len(unique_queries)), **options)
        scores = np.empty(len(query_of_pair), dtype=np.float32)
        for start in range(0, len(scores), 65_536):
            part = slice(start, start + 65_536)
            scores[part] = np.einsum("nd,nd->n", query_vectors[query_of_pair[part]], doc_vectors[doc_of_pair[part]])
        return np.float32(self.architecture.scale) * scores

    def read_both_ways(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield what is compared, as the student gives it and as the model's own library does: tokens, then embeddings."""
        for kind, prompt in self._prompts.items():
            limit = self._max_lengths[kind] or 1
            texts = [*_TEXTS, "", " ".join([_SENTENCE] * limit)]
            prepared = self._prepared(tokenize(texts, self.tokenizer, prompt=prompt), np.arange(len(texts)), kind)
            features = self.model.preprocess(texts, prompt=prompt, task=kind)
            if self.is_static:
                yield f"the tokens of a {kind}", prepared.ids, features["input_ids"].numpy()
                continue
            for row in range(len(texts)):
                ids = prepared.row(row)
                yield f"the tokens of a {kind}", np.stack([ids, np.zeros_like(ids)]), _features(features, row)
        for kind, encode in (("query", self.model.encode_query), ("document", self.model.encode_document)):
            ours = self.encode(tokenize(_TEXTS, self.tokenizer), kind=kind, max_tokens=1)
            yield f"the embeddings of a {kind}", ours, encode(list(_TEXTS), show_progress_bar=False)

    def token_counts(self, batch: GroupBatch) -> int:
        """Count every query of a batch once and every document of every group; see :meth:`Student.token_counts`."""
        queries, docs = self._prompted(batch.queries, "query"), self._prompted(batch.docs, "document")
        parts = [(queries, batch.query_rows, "query"), (docs, batch.doc_rows.reshape(-1), "document")]
        return sum(int(self._framed_lengths(table, kind, rows).sum()) for table, rows, kind in parts)

    def _framed_lengths(self, table: TokenTable, kind: str, rows: np.ndarray | None = None) -> np.ndarray:
        lengths = table.lengths() if rows is None else table.offsets[rows + 1] - table.offsets[rows]
        special = 0 if self.is_static else sum(map(len, self._frame))
        return lengths if self._max_lengths[kind] is None else np.minimum(lengths + special, self._max_lengths[kind])

    def _prepared(self, table: TokenTable, rows: np.ndarray, kind: str) -> TokenTable:
        """Return the rows as the model takes them: framed by special tokens and cut; only cut where it is static."""
        prefix, suffix = ((), ()) if self.is_static else self._frame
        return take(table, rows, self._max_lengths[kind], prefix=prefix, suffix=suffix, keep=self._keep)

    def _embed(self, texts: TokenTable, max_tokens: int, kind: str | None = None) -> Tensor:
        """Embed prepared texts, all of one kind where pooling leaves its prompt out: (n, dimension)."""
        if self.is_static and len(self.model) == 1 and self.device.type == "cpu" and torch.is_grad_enabled():
            embeddings = _MeanOfTokens.apply(self.model[0].embedding.weight, texts)
        elif self.is_static:
            features = {"input_ids": _long(texts.ids, self.device), "offsets": _long(texts.offsets[:-1], self.device)}
            embeddings = self.model(features)["sentence_embedding"]
        elif self._packed is not None and self._packed.reads(texts):
            embeddings = self._embed_packed(texts, max_tokens)
        else:
            embeddings = self._embed_padded(texts, max_tokens, self._excluded.get(kind))
        return embeddings[:, : self.model.truncate_dim]  # None keeps all

    def _embed_packed(self, texts: TokenTable, max_tokens: int) -> Tensor:
        pooling = self.model[1].pooling_mode
        stream = self._packed.lay_out(texts, self._pad, device=self.device)
        states = self._packed(stream, first_only=pooling == "cls", max_tokens=max_tokens)
        features = {"sentence_embedding": states if pooling == "cls" else packed.mean_of_tokens(states, stream)}
        for module in list(self.model)[2:]:
            features = module(features)
        return _in_order(features["sentence_embedding"], stream.order)

    def _embed_padded(self, texts: TokenTable, max_tokens: int, excluded: int | None) -> Tensor:
        side = self.tokenizer.padding_side
        buckets = length_buckets(texts.lengths(), max_tokens)
        embeddings = []
        for rows in buckets:
            ids, lengths = gather(texts, rows, pad=self._pad, padding_side=side)
            mask = is_token(lengths, side)
            if not ids.shape[1]:  # texts without a token, in a model without special tokens
                ids, mask = np.full((len(rows), 1), self._pad), np.zeros((len(rows), 1), dtype=bool)
            features = {"input_ids": _long(ids, self.device), "attention_mask": _long(mask, self.device)}
            if excluded is not None:
                features["prompt_length"] = excluded
            embeddings.append(self.model(features)["sentence_embedding"])
        return _in_order(torch.cat(embeddings), np.concatenate(buckets))


class _MeanOfTokens(torch.autograd.Function):
    """The mean of every text's token vectors, as ``nn.EmbeddingBag`` computes it, with a backward pass that sorts nothing.

    With A (texts, vocabulary) the tokens' counts over the text's length, the means are A E, and the gradient of the table E is A' G.
    """

    @staticmethod
    def forward(context: Any, table: Tensor, texts: TokenTable) -> Tensor:
        """Return the means, (texts, dimension); an empty text has the mean 0."""
        lengths = texts.lengths()
        shares = np.repeat(1.0 / np.maximum(lengths, 1), lengths).astype(table.detach().numpy().dtype)
        context.shares = csr_matrix((shares, texts.ids, texts.offsets), shape=(len(texts), len(table)))
        return F.embedding_bag(torch.from_numpy(texts.ids.astype(np.int64)), table, torch.from_numpy(texts.offsets[:-1]), mode="mean")

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the table."""
        return torch.from_numpy(context.shares.T @ gradient.numpy()), None


class CrossStudent(Student):
    """A cross-encoder; the score of a pair is its raw output, or with ``labels=2`` the log-softmax of the relevant class."""

    def __init__(self, architecture: Any, model: CrossEncoder) -> None:
        super().__init__(architecture, model)
        self.is_interaction = isinstance(model[0], KernelInteraction)
        self._prompts["query"] = model.prompts.get(model.default_prompt_name) or ""
        self._max_length = model.max_seq_length
        self._frame = None if self.is_interaction else _pair_frame(self.tokenizer)
        self._packed = None if self.is_interaction or len(model) > 1 else _packed_encoder(model[0].model)
        self._special = 0 if self.is_interaction else self._frame.special

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
            scores = _in_order(torch.cat(parts), np.concatenate(buckets))
        return scores[_long(pair_of_row.reshape(shape), self.device)]

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
        prompt, long = self._prompts["query"], " ".join([_SENTENCE] * self._max_length)
        texts = [*_TEXTS, "", long]
        places = np.array([(0, 1), (1, 0), (0, 2), (2, 1), (0, 3), (3, 1), (3, 3)])
        tables = tokenize(texts, self.tokenizer, prompt=prompt), tokenize(texts, self.tokenizer)
        ours = self._frame.pad_together(*self._frame.join(*tables, *places.T, self._max_length))
        theirs = self.model.preprocess([(texts[query], texts[doc]) for query, doc in places], prompt=prompt)
        for row in range(len(places)):
            yield "the tokens of a pair", _features(ours, row), _features(theirs, row)
        places = places[[0, 2]]  # of two lengths, so that the library pads one of them
        pairs = [(texts[query], texts[doc]) for query, doc in places]
        scores = self.model.predict(pairs, convert_to_tensor=True, show_progress_bar=False)
        if scores.ndim > 1:
            scores = torch.log_softmax(scores, dim=1)[:, 1]
        yield "the scores of pairs", self.score_pairs(*tables, *places.T, max_tokens=1), scores.numpy()

    def token_counts(self, batch: GroupBatch) -> int:
        """Count the tokens of every pair of a batch; see :meth:`Student.token_counts`."""
        query_rows = np.repeat(batch.query_rows, batch.doc_rows.shape[1])
        queries, docs = self._prompted(batch.queries, "query"), self._prompted(batch.docs, "document")
        return int(self._lengths(queries, docs, query_rows, batch.doc_rows.reshape(-1)).sum())

    def _lengths(self, queries: TokenTable, docs: TokenTable, query_rows: np.ndarray, doc_rows: np.ndarray) -> np.ndarray:
        query_lengths, doc_lengths = (
            table.offsets[rows + 1] - table.offsets[rows] for table, rows in ((queries, query_rows), (docs, doc_rows))
        )
        if self.is_interaction:
            query_lengths = np.minimum(query_lengths, self.model[0].max_query_length)
        return np.minimum(query_lengths + doc_lengths + self._special, self._max_length)

    def _scores(self, queries: TokenTable, docs: TokenTable, query_rows: np.ndarray, doc_rows: np.ndarray, max_tokens: int) -> Tensor:
        """Score pairs: (n,)."""
        if self.is_interaction:
            outputs = self._run(self.model[0].features(queries, docs, query_rows, doc_rows))
            return outputs[:, 0]
        texts, starts = self._frame.join(queries, docs, query_rows, doc_rows, self._max_length)
        if self._packed is None or not self._packed.reads(texts):
            outputs = self._run(self._frame.pad_together(texts, starts))
        else:
            types = None if self._frame.types is None else (starts, self._frame.types)
            stream = self._packed.lay_out(texts, self._frame.pad, types=types, device=self.device)
            firsts = self._packed(stream, first_only=True, max_tokens=max_tokens)
            outputs = _in_order(_head(self.model[0].model, firsts), stream.order)
        return outputs[:, 0] if outputs.shape[1] == 1 else torch.log_softmax(outputs.float(), dim=1)[:, 1]

    def _run(self, features: dict[str, Tensor]) -> Tensor:
        return self.model({name: values.to(self.device) for name, values in features.items()})["scores"]


def _packed_encoder(model: nn.Module) -> packed.PackedEncoder | None:
    encoder = getattr(model, "base_model", model)
    return packed.PackedEncoder(encoder) if packed.can_pack(encoder) else None


def _pools_tokens(model: SentenceTransformer) -> bool:
    """Tell whether a model takes the first token or the mean of all, and goes on from the sentence's vector alone.

    Then :meth:`BiStudent._embed_packed` computes the same.
    """
    first, *rest = model
    if not rest or not isinstance(rest[0], Pooling) or rest[0].pooling_mode not in ("cls", "mean"):
        return False
    text = first.modality_config.get("text", {})
    is_plain = text == {"method": "forward", "method_output_name": "last_hidden_state"} and first.module_output_name == "token_embeddings"
    on_vectors = (module for module in rest[1:] if not (isinstance(module, Dense) and module.module_input_name != "sentence_embedding"))
    return is_plain and len([module for module in on_vectors if type(module) in (Dense, Normalize, LayerNorm, Dropout)]) == len(rest) - 1


def _kept_end(truncation_side: str) -> str:
    return "last" if truncation_side == "left" else "first"


def _prompt_length(model: SentenceTransformer, prompt: str, kind: str) -> int:
    """Return how many leading positions pooling leaves out where it excludes a prompt, as the library counts them."""
    with _same_tokenizer(model):
        return int(model.preprocess(["a"], prompt=prompt, task=kind)["prompt_length"])


@contextmanager
def _same_tokenizer(model: SentenceTransformer | CrossEncoder) -> Iterator[None]:
    """Leave the tokenizer's own cutting and padding as they were: the library sets them when it reads texts, and they are saved with it."""
    engine = getattr(model.tokenizer, "backend_tokenizer", model.tokenizer)
    truncation, padding = engine.truncation, engine.padding
    try:
        yield
    finally:
        engine.no_truncation() if truncation is None else engine.enable_truncation(**truncation)
        engine.no_padding() if padding is None else engine.enable_padding(**padding)


def _head(model: nn.Module, firsts: Tensor) -> Tensor:
    """Apply a sequence classifier's own head to the states of first tokens: (n, width) -> (n, labels)."""
    states = firsts.unsqueeze(1)  # heads read position 0 of every text
    pooler = getattr(model.base_model, "pooler", None)
    return _apply(model.classifier, states if pooler is None else model.dropout(_apply(pooler, states)))


def _scores_alone(states: Tensor) -> bool:
    """Tell whether a score should depend as little as possible on the texts that share its batch: wherever it is not for training.

    A teacher's score of a pair is kept for good, and which pairs share its batch depends on which were scored before. What is small sums in
    float64, of which the score keeps 24 bits. On an accelerator float64 is slow or missing.
    """
    return states.device.type == "cpu" and not torch.is_grad_enabled()


def _apply(module: nn.Module, states: Tensor) -> Tensor:
    """Apply the last, small part of a model; see :func:`_scores_alone`."""
    if not _scores_alone(states):
        return module(states)
    weights = {name: weight.double() for name, weight in module.named_parameters()}
    return torch.func.functional_call(module, weights, (states.double(),))


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse a precision that the device cannot compute in, or that does not exist."""
    if precision not in ("fp32", "bf16", "fp16"):
        raise ValueError(f"precision is {precision!r}; choose from fp32, bf16, fp16")
    if precision == "fp16" and device.type == "cpu":
        raise ValueError("precision fp16 needs an accelerator, but the device is a cpu; use bf16 (half the memory, wider range) or fp32")
    if precision == "bf16" and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        LOGGER.warning("this processor has no instructions for bf16, which is then about ten times slower than fp32; use fp32")


# --- the interaction cross-encoder ------------------------------------------------------------------------------------------------


class KernelInteraction(InputModule):
    """K-NRM: kernel-pooled cosine similarities of query and document words, and a small feed-forward scorer.

    With cosines c_ij of query word i and document word j and Gaussian kernels (mu_k, sigma_k), the features are

        ``phi_k = sum_i exp(gate_i) log(1 + sum_j exp(-(c_ij - mu_k)^2 / (2 sigma_k^2)))``,

    where the gate is a learnt number per word. The means lie evenly from -0.9 to 1; the last kernel, at 1, is narrow and counts exact
    matches. Xiong, Dai, Callan, Liu, Power 2017, End-to-End Neural Ad-hoc Ranking with Kernel Pooling (without the gate).

    Args:
        tokenizer: A word-level tokenizer.
        vectors: Token vectors, float32 (V, dimension).
        kernels: Number of kernels.
        hidden: Width of the scorer's hidden layer.
        max_length: Most tokens of a query and a document together.
        max_query_length: Most tokens of a query.
    """

    config_keys = ["kernels", "hidden", "max_length", "max_query_length"]

    def __init__(
        self,
        tokenizer: Tokenizer,
        vectors: np.ndarray | Tensor,
        kernels: int = 11,
        hidden: int = 16,
        max_length: int = SCRATCH_MAX_LENGTH,
        max_query_length: int = SCRATCH_MAX_QUERY_LENGTH,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.kernels, self.hidden, self.max_length, self.max_query_length = kernels, hidden, max_length, max_query_length
        self.embedding = nn.Embedding.from_pretrained(torch.as_tensor(vectors).clone(), freeze=False)
        self.gate = nn.Embedding.from_pretrained(torch.zeros(len(vectors), 1), freeze=False)
        self.scorer = nn.Sequential(nn.Linear(kernels, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        self._kernels = [(mu, 0.12) for mu in np.linspace(-0.9, 1.0, kernels).tolist()[:-1]] + [(1.0, 0.05)]

    @property
    def max_seq_length(self) -> int:
        """Return the most tokens of a pair."""
        return self.max_length

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **kwargs: Any) -> dict[str, Tensor]:
        """Tokenise pairs of texts."""
        queries, docs = (tokenize([str(pair[side]) for pair in inputs], self.tokenizer) for side in (0, 1))
        rows = np.arange(len(inputs))
        return self.features(queries, docs, rows, rows)

    def features(self, queries: TokenTable, docs: TokenTable, query_rows: np.ndarray, doc_rows: np.ndarray) -> dict[str, Tensor]:
        """Gather pairs: ids (n, L) padded with -1; a long query is cut to its own limit, a document to what the query leaves."""
        query_ids, query_lengths = gather(queries, query_rows, self.max_query_length, pad=-1)
        doc_ids, _ = gather(docs, doc_rows, self.max_length - query_lengths, pad=-1)
        return {"query_ids": torch.from_numpy(query_ids), "doc_ids": torch.from_numpy(doc_ids)}

    def forward(self, features: dict[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:
        """Add ``scores`` (n, 1) to the features."""
        query_ids, doc_ids = features["query_ids"], features["doc_ids"]
        is_word = query_ids >= 0
        query_ids = query_ids.clamp(min=0)
        # each distinct query word against each distinct document word, once; pairs then look their cosines up
        asked, query_places = torch.unique(query_ids, return_inverse=True)
        words, doc_places = torch.unique(doc_ids.clamp(min=0), return_inverse=True)
        vectors = self.embedding(torch.cat([asked, words]))
        vectors = vectors.double() if _scores_alone(vectors) else vectors
        queries, docs = F.normalize(vectors, dim=-1).split([len(asked), len(words)])
        places = (query_places * len(words)).unsqueeze(2) + doc_places.unsqueeze(1)  # (n, Lq, Ld)
        cosines = (queries @ docs.T).flatten().index_select(0, places.flatten()).view(places.shape)
        cosines = cosines.masked_fill((doc_ids < 0).unsqueeze(1), _FAR)
        pooled = KernelPooling.apply(cosines, self._kernels)  # (n, Lq, K)
        gates = self.gate(query_ids).to(pooled.dtype).exp() * is_word.unsqueeze(-1)
        matches = (torch.log1p(pooled) * gates).sum(dim=1)
        features["scores"] = _apply(self.scorer, matches)
        return features

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write configuration, weights and tokenizer."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)
        self.tokenizer.save(str(Path(output_path) / "tokenizer.json"))

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> KernelInteraction:
        """Load what :meth:`save` wrote."""
        places = {k: v for k, v in kwargs.items() if k in ("token", "cache_folder", "revision", "local_files_only")}
        config = cls.load_config(model_name_or_path, subfolder=subfolder, **places)
        tokenizer = Tokenizer.from_file(cls.load_file_path(model_name_or_path, "tokenizer.json", subfolder=subfolder, **places))
        weights = cls.load_torch_weights(model_name_or_path, subfolder=subfolder, **places)
        module = cls(tokenizer, weights["embedding.weight"], **config)
        module.load_state_dict(weights)
        return module


class KernelPooling(torch.autograd.Function):
    """Sum Gaussian kernels over the last dimension: (..., L) -> (..., K), one kernel at a time.

    ``out[..., k] = sum_j exp(-(x_j - mu_k)^2 / (2 sigma_k^2))``. The plain expression would hold several arrays of K times the input;
    this keeps the input only and computes the kernels again on the way back.
    """

    @staticmethod
    def forward(context: Any, x: Tensor, kernels: list[tuple[float, float]]) -> Tensor:
        """Return the kernel sums, at least in float32."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        context.save_for_backward(x)
        context.kernels = kernels
        return torch.stack([_kernel(x - mu, sigma).sum(dim=-1) for mu, sigma in kernels], dim=-1)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the input."""
        (x,) = context.saved_tensors
        total = torch.zeros_like(x)
        for position, (mu, sigma) in enumerate(context.kernels):
            distance = x - mu
            slope = _kernel(distance, sigma).mul_(distance).mul_(gradient[..., position, None])
            total.add_(slope, alpha=-1 / sigma**2)
        return total, None


_FAR = 1e4  # a "cosine" so far from every kernel that it adds nothing


def _kernel(distance: Tensor, sigma: float) -> Tensor:
    # exp() is 10 to 50 times slower where its result underflows; exp(-80) is 2e-35
    return distance.square().mul_(-0.5 / sigma**2).clamp_(min=-80.0).exp_()


# --- building, loading ------------------------------------------------------------------------------------------------------------


def build(architecture: Any, *, seed: int, lexicon: Path | None = None) -> Student:
    """Build a student before its first step.

    Args:
        architecture: One of the architectures of :mod:`rd_utils.params`.
        seed: Draws what a student from scratch adds to its token vectors, and every head and layer that no checkpoint gives.
        lexicon: Folder with ``tokenizer.json`` and ``vectors.npy`` (V, dimension), for students from scratch.

    Returns:
        The student, in evaluation mode, on the CPU; the global random state is as before.

    Raises:
        ValueError: When a lexicon is missing or does not fit, or a checkpoint cannot be what the architecture asks for.
    """
    with torch.random.fork_rng(devices=[]), checkpoints.quiet():
        torch.manual_seed(seed)
        student = architecture.build(lexicon)
        if not isinstance(architecture, FromScratch):
            _refuse_what_is_read_otherwise(student.eval())
    return student.eval()


def load(folder: Path) -> Student:
    """Load what :meth:`Student.save` wrote.

    Raises:
        FileNotFoundError: When there is no student in the folder.
        CheckpointError: When the student is not whole, or names code that is not this package's.
    """
    folder = Path(folder)
    if not (folder / _ARCHITECTURE).exists():
        raise FileNotFoundError(
            f"no student in {folder}: {_ARCHITECTURE} is missing; for a model that this package did not save use build()"
        )
    try:
        architecture = TypeAdapter(Architecture).validate_json((folder / _ARCHITECTURE).read_bytes())
    except ValidationError as error:
        raise CheckpointError(
            f"{folder}: {_ARCHITECTURE} describes no student ({error.errors()[0]['msg']}); train the student again, or copy it again"
        ) from None
    checkpoints.check_files(str(folder))
    options = {"device": "cpu", "local_files_only": True, "model_kwargs": {"dtype": torch.float32}}
    with torch.random.fork_rng(devices=[]), checkpoints.loading(str(folder)) as loaded:
        if isinstance(architecture, architectures.InteractionCross):
            student = CrossStudent(architecture, _load_interaction(folder))
        elif isinstance(architecture, BiArchitecture):
            student = BiStudent(architecture, SentenceTransformer(str(folder), **options))
        else:
            student = CrossStudent(architecture, CrossEncoder(str(folder), activation_fn=nn.Identity(), **options))
        loaded.check(student.model)
        if isinstance(student.model[0], Transformer):
            _check_tokenizer(student.model[0], str(folder))
    return student.eval()


def _load_interaction(folder: Path) -> CrossEncoder:
    """Load an interaction cross-encoder; its one module is this package's own class, and no other code that a folder names is run."""
    expected = f"{KernelInteraction.__module__}.{KernelInteraction.__name__}"
    found = [part["type"] for part in checkpoints.modules(str(folder))]
    if found != [expected]:
        raise CheckpointError(
            f"{folder}: {_ARCHITECTURE} says interaction_cross, but its modules are {', '.join(map(str, found)) or 'missing'}; expected "
            f"{expected} alone, as this package saves it"
        )
    return CrossEncoder(modules=[KernelInteraction.load(str(folder), local_files_only=True)], device="cpu", activation_fn=nn.Identity())


def load_scorer(model: str, *, max_length: int = 256, max_query_length: int = 64) -> CrossStudent:
    """Load a trained cross-encoder, to score with: a hub name, a folder, or ``package:NAME/FOLDER``.

    Args:
        model: The checkpoint.
        max_length: Most tokens of a pair, special tokens included; one that is too long is cut as ``predict`` cuts it.
        max_query_length: Of no effect: ``predict`` has no limit of the query alone.

    Raises:
        CheckpointError: When the checkpoint has no whole classification head, and so would score at random, or cannot be served.
    """
    checkpoints.check(LoadedTeacher(model=model, max_length=max_length, max_query_length=max_query_length))
    labels = checkpoints.labels(model)
    architecture = architectures.CrossEncoder(model=model, labels=labels, max_length=max_length, max_query_length=max_query_length)
    with torch.random.fork_rng(devices=[]):
        student = cross_encoder(architecture, may_be_new=False)
        _refuse_what_is_read_otherwise(student.eval())
    return student.eval()


def refusals(parts: Iterable[Any]) -> list[str]:
    """Load the checkpoints that lie in folders, and say which cannot be served; models of the hub are left for when they are needed.

    Args:
        parts: Architectures and teachers of :mod:`rd_utils.params`; those without a checkpoint are passed over.

    Returns:
        One message for each checkpoint that is refused.
    """
    found = []
    for part in parts:
        if part.kind not in ("bi_encoder", "cross_encoder", "loaded") or not resolve_path(part.model).is_dir():
            continue
        try:
            load_scorer(part.model) if part.kind == "loaded" else build(part, seed=0)
        except ValueError as error:
            found.append(str(error))
    return found


def resolve_model(name: str) -> str:
    """Return what sentence-transformers loads: the folder that a name stands for (see :func:`rd_utils.store.resolve_path`), or a hub name.

    Raises:
        StoreError: When a ``package:`` name is malformed, its package is not installed, or has no such folder.
    """
    folder = resolve_path(name)
    return str(folder) if folder.is_dir() else name


def tokenizer_of(architecture: Any, lexicon: Path | None = None) -> PreTrainedTokenizerFast | Tokenizer:
    """Return the tokenizer whose ids a student of this architecture takes: a fast one of transformers, of tokenizers where it is static.

    Args:
        architecture: An architecture, or anything with the ``model`` of a checkpoint.
        lexicon: The lexicon's folder, for students from scratch.
    """
    if not isinstance(architecture, FromScratch):
        return checkpoints.tokenizer(architecture.model)
    engine = Tokenizer.from_file(str(_lexicon_file(architecture, lexicon, "tokenizer.json")))
    specials = [(token, engine.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    engine.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=specials)
    return PreTrainedTokenizerFast(
        tokenizer_object=engine,
        model_max_length=SCRATCH_MAX_LENGTH,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **_SPECIAL,
    )


def static_bi(architecture: architectures.StaticBi, lexicon: Path | None) -> BiStudent:
    """Build a student of this architecture from a lexicon."""
    tokenizer, vectors = tokenizer_of(architecture, lexicon), _vectors(architecture, lexicon)
    module = StaticEmbedding(tokenizer, embedding_weights=_noisy(vectors * architecture.initial_norm))
    return BiStudent(architecture, SentenceTransformer(modules=[module], device="cpu", similarity_fn_name="dot"))


def interaction_cross(architecture: architectures.InteractionCross, lexicon: Path | None) -> CrossStudent:
    """Build a student of this architecture from a lexicon."""
    tokenizer, vectors = tokenizer_of(architecture, lexicon), _vectors(architecture, lexicon)
    module = KernelInteraction(tokenizer.backend_tokenizer, _noisy(vectors), architecture.kernels, architecture.hidden)
    return CrossStudent(architecture, CrossEncoder(modules=[module], device="cpu", activation_fn=nn.Identity()))


def tiny_bert_bi(architecture: architectures.TinyBertBi, lexicon: Path | None) -> BiStudent:
    """Build a student of this architecture from a lexicon."""
    tokenizer, vectors = tokenizer_of(architecture, lexicon), _vectors(architecture, lexicon)
    if architecture.dimension % architecture.heads:
        raise ValueError(f"{architecture.heads} heads do not divide the dimension {architecture.dimension}; choose a divisor")
    bert = BertModel(_bert_config(architecture, tokenizer, heads=architecture.heads))
    _start_from_vectors(bert, vectors * architecture.initial_norm)
    with torch.no_grad():
        bert.embeddings.token_type_embeddings.weight.zero_()
    with tempfile.TemporaryDirectory() as folder:
        bert.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        transformer = Transformer(folder, max_seq_length=SCRATCH_MAX_LENGTH, query_length=SCRATCH_MAX_QUERY_LENGTH)
    modules = [transformer, Pooling(architecture.dimension, pooling_mode="mean")]
    return BiStudent(architecture, SentenceTransformer(modules=modules, device="cpu", similarity_fn_name="dot"))


def tiny_bert_cross(architecture: architectures.TinyBertCross, lexicon: Path | None) -> CrossStudent:
    """Build a student of this architecture from a lexicon."""
    tokenizer, vectors = tokenizer_of(architecture, lexicon), _vectors(architecture, lexicon)
    bert = BertForSequenceClassification(_bert_config(architecture, tokenizer, heads=1, num_labels=1))
    _start_from_vectors(bert.bert, vectors * architecture.initial_norm)
    _start_matching(bert)
    with tempfile.TemporaryDirectory() as folder:
        bert.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        model = CrossEncoder(folder, device="cpu", max_length=SCRATCH_MAX_LENGTH, activation_fn=nn.Identity(), local_files_only=True)
    return CrossStudent(architecture, model)


def bi_encoder(architecture: architectures.BiEncoder) -> BiStudent:
    """Load a bi-encoder's checkpoint."""
    checkpoints.check(architecture)
    path, name = resolve_model(architecture.model), architecture.model
    with checkpoints.loading(name) as loaded:
        if architecture.pooling == "checkpoint":
            model = SentenceTransformer(path, device="cpu", similarity_fn_name=architecture.similarity, model_kwargs=_FLOAT32)
        else:
            transformer = _transformer(path, name)
            modules = [transformer, Pooling(transformer.get_embedding_dimension(), pooling_mode=architecture.pooling)]
            model = SentenceTransformer(modules=modules, device="cpu", similarity_fn_name=architecture.similarity)
        model.float()
        loaded.check(model)
        if not isinstance(model[0], StaticEmbedding):  # which reads texts whole
            first = model[0]
            _check_tokenizer(first, name)
            _limit(first, name, architecture.max_length)
            query_length, document_length = first.query_length, first.document_length
            first.query_length = min(architecture.max_query_length, query_length or first.max_seq_length, first.max_seq_length)
            if document_length is not None:
                first.document_length = min(document_length, first.max_seq_length)
        if architecture.similarity == "cosine":  # a dot product of what encode() returns is then the cosine, everywhere
            if model.truncate_dim is not None:
                _truncate_by_a_module(model)
            if not isinstance(model[-1], Normalize):
                model.append(Normalize())
        return BiStudent(architecture, model)


def _truncate_by_a_module(model: SentenceTransformer) -> None:
    """Keep the first dimensions by a module and not after all modules, so that the vectors can be normalised after it.

    The module is a linear layer of the identity's first rows, which is not trained.
    """
    width, kept = _width(model), model.get_embedding_dimension()
    cut = Dense(width, kept, bias=False, activation_function=nn.Identity(), init_weight=torch.eye(kept, width)).requires_grad_(False)
    model.truncate_dim = None
    model.append(cut)


def _width(model: SentenceTransformer) -> int:
    """Return the dimension of a model's vectors before they are truncated."""
    with model.truncate_embeddings(None):
        return model.get_embedding_dimension()


def _transformer(path: str, name: str) -> Transformer:
    """Load the encoder of a checkpoint without what its own library puts behind it."""
    parts = checkpoints.modules(name)
    if parts:
        return Transformer.load(path, subfolder=parts[0]["path"], model_kwargs=_FLOAT32)
    transformer = Transformer(path, model_kwargs=_FLOAT32)
    if "message" in transformer.modality_config:
        raise CheckpointError(
            f"{name}: its tokenizer has a chat template, which its own library writes every text into, and which is not served; delete "
            "chat_template from tokenizer_config.json, or name another checkpoint"
        )
    return transformer


def cross_encoder(architecture: architectures.CrossEncoder, *, may_be_new: bool = True) -> CrossStudent:
    """Load a cross-encoder's checkpoint, with a random head where it has none, if that may be."""
    checkpoints.check(architecture)
    path, name = resolve_model(architecture.model), architecture.model
    with checkpoints.loading(name) as loaded:
        model = CrossEncoder(path, device="cpu", num_labels=architecture.labels, activation_fn=nn.Identity(), model_kwargs=_FLOAT32)
        model.float()
        loaded.check(model, may_be_new=may_be_new)
        if checkpoints.transformer_settings(name).get("do_lower_case"):
            checkpoints.lower_case(model.tokenizer)
        _check_tokenizer(model[0], name)
        _limit(model[0], name, architecture.max_length)
        return CrossStudent(architecture, model)


def _check_tokenizer(first: Transformer, name: str) -> None:
    checkpoints.check_tokenizer(name, first.tokenizer, first.model.get_input_embeddings().num_embeddings)


def _limit(first: Transformer, name: str, asked: int) -> None:
    """Set the most tokens that an encoder reads: as many as asked for, or fewer where it reads no more."""
    own = min(first.max_seq_length or asked, _positions(first.model) or asked)
    if asked > own:
        checkpoints.say(name, f"max_length is {asked}, but it reads at most {own} tokens, where texts are cut; set max_length to {own}")
    first.max_seq_length = min(asked, own)


def _positions(network: nn.Module) -> int | None:
    """Return how many positions an encoder has vectors for; None where nothing limits them."""
    for module in network.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, nn.Embedding):
            before = getattr(module, "padding_idx", None)  # of those that count from behind the padding token's number
            return table.num_embeddings - (before + 1 if isinstance(before, int) else 0)
    most = getattr(network.config, "max_position_embeddings", None)
    return most if most and most > 0 else None


# --- read as its own library reads it ---------------------------------------------------------------------------------------------


_SENTENCE = "The flow of air over a wing, and what it costs."
_TEXTS = ("air", _SENTENCE)


def _refuse_what_is_read_otherwise(student: Student) -> None:
    """Read a few texts both ways, by the student and by the model's own library, and refuse a checkpoint where they differ.

    The tokens of a short, an empty and a long text must be the same, and the outputs of two texts equal to a thousandth of the largest; the
    student computes each alone, so that a model whose output depends on the texts beside it is refused too.
    """
    name = student.architecture.model
    with _same_tokenizer(student.model), torch.inference_mode(), checkpoints.quiet():
        try:
            compared = list(student.read_both_ways())
        except Exception as error:
            raise CheckpointError(
                f"{name}: its own library cannot read texts with it ({type(error).__name__}: {' '.join(str(error).split())}); name another "
                "checkpoint"
            ) from error
    for what, ours, theirs in compared:
        rounding = 0.0 if theirs.dtype.kind == "i" else 1e-3 * np.abs(theirs).max(initial=0.0)
        if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=0, atol=rounding):
            side = getattr(student.tokenizer, "padding_side", "right")
            cause = (
                "; its padding_side is left, which moves what it reads: set it to right in tokenizer_config.json, or "
                if side == "left"
                else "; "
            )
            raise CheckpointError(
                f"{name}: {what} differ from those of its own library ({_shown(ours)} for {_shown(theirs)}), so that it cannot be served"
                f"{cause}name another checkpoint"
            )


def _shown(values: np.ndarray) -> str:
    return f"{' '.join(f'{value:g}' for value in values.reshape(-1)[:8])}{' ...' if values.size > 8 else ''}"


def _features(features: dict[str, Any], row: int) -> np.ndarray:
    """Return the tokens of one text as the library gives them to a model, with their types where they are not all 0."""
    unknown = sorted(features.keys() - {"input_ids", "attention_mask", "token_type_ids", "modality", "prompt_length"})
    if unknown:
        return np.array([-1])  # more than a student gives it
    mask = features["attention_mask"][row].numpy().astype(bool)
    ids = features["input_ids"][row].numpy()[mask]
    types = features["token_type_ids"][row].numpy()[mask] if "token_type_ids" in features else np.zeros_like(ids)
    return np.stack([ids, types])


def _bert_config(architecture: Any, tokenizer: PreTrainedTokenizerFast, **options: Any) -> BertConfig:
    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=architecture.dimension,
        num_hidden_layers=architecture.layers,
        num_attention_heads=options.pop("heads"),
        intermediate_size=architecture.feed_forward,
        max_position_embeddings=SCRATCH_MAX_LENGTH,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
        **options,
    )


@torch.no_grad()
def _start_from_vectors(bert: BertModel, vectors: Tensor) -> None:
    """Set the word embeddings, silence the positions, and make every residual branch small, so that the vectors pass at first."""
    bert.embeddings.word_embeddings.weight.copy_(_noisy(vectors))
    bert.embeddings.position_embeddings.weight.zero_()
    for layer in bert.encoder.layer:
        layer.attention.output.dense.weight.mul_(0.1)
        layer.output.dense.weight.mul_(0.1)


@torch.no_grad()
def _start_matching(bert: BertForSequenceClassification) -> None:
    """Make the first layer a soft matching of the two segments, and the second one read it.

    Two coordinates are reserved, and the words have 0 there. The last one is the segment: + for the query, - for the document. Queries
    and keys of the first layer are the words themselves, with the segment's sign turned, so that a word attends to its like in the
    OTHER segment, and half of what it finds there is subtracted from it. What is left of a matched word is small, so that after the
    layer norm its segment coordinate is large: the more of a query's words the document has, the larger it is over the query's words.
    In the second layer [CLS] averages it over the query into the last coordinate but one, from which the head starts.
    """
    dimension = bert.config.hidden_size
    segment, match = torch.eye(dimension)[[-1, -2]]
    embeddings, layers = bert.bert.embeddings, bert.bert.encoder.layer
    embeddings.word_embeddings.weight[:, -2:] = 0.0
    embeddings.token_type_embeddings.weight.copy_(torch.stack([3.5 * segment, -3.5 * segment]))
    matching = layers[0].attention
    matching.self.query.weight.copy_(torch.eye(dimension) - 2 * torch.outer(segment, segment))
    matching.self.key.weight.copy_(torch.eye(dimension))
    matching.self.value.weight.copy_(torch.eye(dimension))
    matching.output.dense.weight.copy_(-0.5 * torch.eye(dimension))
    if len(layers) > 1:
        reading = layers[1].attention
        reading.self.query.weight.add_(torch.outer(segment, segment))
        reading.self.key.weight.add_(torch.outer(segment, segment))
        reading.self.value.weight.add_(torch.outer(match, segment))
        reading.output.dense.weight.add_(torch.outer(match, match))
        bert.bert.pooler.dense.weight[0].copy_(32 / dimension**0.5 * match)
        bert.bert.pooler.dense.bias[0] = -21.2  # the coordinate is about 0.66 sqrt(dimension) for a query that matches nothing
        bert.classifier.weight[0, 0] = 4.0


def _noisy(vectors: Tensor) -> Tensor:
    """Add the seed's noise: what makes two seeds differ where nothing else is drawn."""
    return vectors + NOISE * torch.randn(vectors.shape)


def _lexicon_file(architecture: Any, lexicon: Path | None, name: str) -> Path:
    if lexicon is None:
        raise ValueError(
            f"{architecture.kind} starts from a lexicon, but none is given; pass the folder with tokenizer.json and vectors.npy"
        )
    path = Path(lexicon) / name
    if not path.exists():
        raise ValueError(f"the lexicon {lexicon} has no {name}; make the lexicon first")
    return path


def _vectors(architecture: Any, lexicon: Path | None) -> Tensor:
    vectors = np.load(_lexicon_file(architecture, lexicon, "vectors.npy"))
    if vectors.ndim != 2 or vectors.shape[1] != architecture.dimension:
        raise ValueError(
            f"the lexicon's vectors have shape {vectors.shape}, but {architecture.kind} asks for dimension {architecture.dimension}"
        )
    return torch.from_numpy(vectors.astype(np.float32))


# --- frames: special tokens around texts ------------------------------------------------------------------------------------------


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
        lengths = (table.offsets[rows + 1] - table.offsets[rows] for table, rows in ((queries, query_rows), (docs, doc_rows)))
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


def _frame(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the special tokens before a text and after it."""
    encoding = plain_copy(tokenizer).encode("a", add_special_tokens=True)
    text = [i for i, s in enumerate(encoding.sequence_ids) if s is not None]
    return encoding.ids[: text[0]], encoding.ids[text[-1] + 1 :]


def _pair_frame(tokenizer: PreTrainedTokenizerBase) -> PairFrame:
    encoding = plain_copy(tokenizer).encode("a", "a", add_special_tokens=True)
    first, second = ([i for i, s in enumerate(encoding.sequence_ids) if s == side] for side in (0, 1))
    typed = "token_type_ids" in tokenizer.model_input_names
    return PairFrame(
        prefix=encoding.ids[: first[0]],
        middle=encoding.ids[first[-1] + 1 : second[0]],
        suffix=encoding.ids[second[-1] + 1 :],
        types=(encoding.type_ids[first[0]], encoding.type_ids[second[0]]) if typed else None,
        pad=tokenizer.pad_token_id,
        keep=_kept_end(tokenizer.truncation_side),
        padding_side=tokenizer.padding_side,
    )


def _long(values: np.ndarray, device: torch.device) -> Tensor:
    return packed.to_device(values.astype(np.int64), device)


def _in_order(values: Tensor, order: np.ndarray) -> Tensor:
    """Undo an order: row ``order[i]`` of what comes back is row i of ``values``."""
    position = np.empty(len(order), dtype=np.int64)
    position[order] = np.arange(len(order))
    return values[packed.to_device(position, values.device)]

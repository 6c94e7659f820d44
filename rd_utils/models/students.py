"""Students: what is trained, embeds and scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import Dropout, LayerNorm, Normalize, Pooling, StaticEmbedding
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from rd_utils.models import packed
from rd_utils.models.interaction import KernelInteraction
from rd_utils.models.shared import (
    ACCELERATOR_TOKENS,
    ARCHITECTURE,
    DTYPES,
    INFERENCE_TOKENS,
    INTERACTION_TOKENS,
    LOGGER,
    SENTENCE,
    TEXTS,
    TRAINING_TOKENS,
    apply_module,
    features_of,
    same_tokenizer,
)
from rd_utils.models.tokens import TokenTable, beside, gather, is_token, join, length_buckets, longest_first, plain_copy, take, tokenize
from rd_utils.study.settings import Training

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
        (folder / ARCHITECTURE).write_text(self.architecture.model_dump_json(indent=2) + "\n", encoding="utf-8")

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
        mode, dtype = self.training, DTYPES[precision]
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
            texts = [*TEXTS, "", " ".join([SENTENCE] * limit)]
            prepared = self._prepared(tokenize(texts, self.tokenizer, prompt=prompt), np.arange(len(texts)), kind)
            features = self.model.preprocess(texts, prompt=prompt, task=kind)
            if self.is_static:
                yield f"the tokens of a {kind}", prepared.ids, features["input_ids"].numpy()
                continue
            for row in range(len(texts)):
                ids = prepared.row(row)
                yield f"the tokens of a {kind}", np.stack([ids, np.zeros_like(ids)]), features_of(features, row)
        for kind, encode in (("query", self.model.encode_query), ("document", self.model.encode_document)):
            ours = self.encode(tokenize(TEXTS, self.tokenizer), kind=kind, max_tokens=1)
            yield f"the embeddings of a {kind}", ours, encode(list(TEXTS), show_progress_bar=False)

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
        prompt, long = self._prompts["query"], " ".join([SENTENCE] * self._max_length)
        texts = [*TEXTS, "", long]
        places = np.array([(0, 1), (1, 0), (0, 2), (2, 1), (0, 3), (3, 1), (3, 3)])
        tables = tokenize(texts, self.tokenizer, prompt=prompt), tokenize(texts, self.tokenizer)
        ours = self._frame.pad_together(*self._frame.join(*tables, *places.T, self._max_length))
        theirs = self.model.preprocess([(texts[query], texts[doc]) for query, doc in places], prompt=prompt)
        for row in range(len(places)):
            yield "the tokens of a pair", features_of(ours, row), features_of(theirs, row)
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
    with same_tokenizer(model):
        return int(model.preprocess(["a"], prompt=prompt, task=kind)["prompt_length"])


def _head(model: nn.Module, firsts: Tensor) -> Tensor:
    """Apply a sequence classifier's own head to the states of first tokens: (n, width) -> (n, labels)."""
    states = firsts.unsqueeze(1)  # heads read position 0 of every text
    pooler = getattr(model.base_model, "pooler", None)
    return apply_module(model.classifier, states if pooler is None else model.dropout(apply_module(pooler, states)))


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse a precision that the device cannot compute in, or that does not exist."""
    if precision not in ("fp32", "bf16", "fp16"):
        raise ValueError(f"precision is {precision!r}; choose from fp32, bf16, fp16")
    if precision == "fp16" and device.type == "cpu":
        raise ValueError("precision fp16 needs an accelerator, but the device is a cpu; use bf16 (half the memory, wider range) or fp32")
    if precision == "bf16" and device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        LOGGER.warning("this processor has no instructions for bf16, which is then about ten times slower than fp32; use fp32")


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

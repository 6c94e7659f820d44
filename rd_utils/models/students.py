"""What students share: an architecture, a model of sentence-transformers that is trained, embeds and scores, and how it is saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from torch import Tensor, nn

from rd_utils.models import packed
from rd_utils.models.interaction import KernelInteraction
from rd_utils.models.shared import (
    ACCELERATOR_TOKENS,
    ARCHITECTURE,
    DTYPES,
    INFERENCE_TOKENS,
    INTERACTION_TOKENS,
    LOGGER,
    TRAINING_TOKENS,
    Model,
)
from rd_utils.models.tokens import AnyTokenizer, TokenTable, tokenize
from rd_utils.processor import processor
from rd_utils.study.kinds import Architecture
from rd_utils.study.settings import Training

Progress = Callable[[int, int], None]


class GroupBatch(NamedTuple):
    """Groups to score: row b is query ``query_rows[b]`` with the documents ``doc_rows[b]``, the positive first."""

    queries: TokenTable
    docs: TokenTable
    query_rows: np.ndarray  # (B,)
    doc_rows: np.ndarray  # (B, G)


class Student(nn.Module):
    """What all families share: an architecture, a sentence-transformers model, saving, parameter groups.

    Attributes:
        penalty: What the last forward pass adds to the loss in training, a number; None where a family adds nothing.
    """

    penalty: Tensor | None = None

    def __init__(self, architecture: Architecture, model: Model) -> None:
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
    def tokenizer(self) -> AnyTokenizer:
        """Return the tokenizer that the token tables must come from."""
        return self.model.tokenizer

    def save(self, folder: Path) -> None:
        """Write the sentence-transformers model, and ``architecture.json`` beside it."""
        folder = Path(folder)
        self.model.save(str(folder), create_model_card=False)
        (folder / ARCHITECTURE).write_text(self.architecture.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def parameter_groups(self, training: Training) -> list[dict[str, object]]:
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

    def pressure(self, done: float) -> float:
        """Return by how much of its weight ``penalty`` counts when a share of the training is done."""
        return 1.0

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

    def read_both_ways(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield what is compared, as the student gives it and as the model's own library does: tokens, then what it makes of texts."""
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

    def _token_embeddings(self) -> Tensor:
        first = self.model[0]
        if isinstance(first, Transformer):
            return cast(nn.Embedding, first.model.get_input_embeddings()).weight
        return cast(StaticEmbedding | KernelInteraction, first).embedding.weight

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


def packed_encoder(model: nn.Module) -> packed.PackedEncoder | None:
    """Return what runs the encoder of a transformers model without padding, None where nothing does."""
    encoder = getattr(model, "base_model", model)
    return packed.PackedEncoder(encoder) if packed.can_pack(encoder) else None


def kept_end(truncation_side: str) -> str:
    """Return which tokens of a text that is cut stay."""
    return "last" if truncation_side == "left" else "first"


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse a precision that the device cannot compute in, or that does not exist."""
    if precision not in ("fp32", "bf16", "fp16"):
        raise ValueError(f"precision is {precision!r}; choose from fp32, bf16, fp16")
    if precision == "fp16" and device.type == "cpu":
        raise ValueError("precision fp16 needs an accelerator, but the device is a cpu; use bf16 (half the memory, wider range) or fp32")
    if precision == "bf16" and device.type == "cpu" and not processor().multiplies_bf16:
        LOGGER.warning("this processor has no instructions for bf16, which is then about ten times slower than fp32; use fp32")


def long(values: np.ndarray, device: torch.device) -> Tensor:
    """Move an array of integers, as int64."""
    return packed.to_device(values.astype(np.int64), device)


def in_order(values: Tensor, order: np.ndarray) -> Tensor:
    """Undo an order: row ``order[i]`` of what comes back is row i of ``values``."""
    position = np.empty(len(order), dtype=np.int64)
    position[order] = np.arange(len(order))
    return values[packed.to_device(position, values.device)]

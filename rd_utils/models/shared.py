"""What students and their builders share: limits, the texts that are read both ways, and how a head is applied."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer, SparseEncoder
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

Model = SentenceTransformer | SparseEncoder | MultiVectorEncoder | CrossEncoder
NOISE = 0.02  # standard deviation of what the seed adds to the token vectors of students from scratch
TRAINING_TOKENS = 8192  # most tokens of one forward pass within a training batch, on a CPU
INTERACTION_TOKENS = 12_288  # the same for the interaction cross-encoder
ACCELERATOR_TOKENS = 131_072  # the same on an accelerator, where few large passes are faster
INFERENCE_TOKENS = 8192  # the same without gradients, on a CPU
FLOAT32 = {"dtype": torch.float32}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LOGGER = logging.getLogger("rd_utils")
ARCHITECTURE = "architecture.json"
SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
SENTENCE = "The flow of air over a wing, and what it costs."
TEXTS = ("air", SENTENCE)


class Context(FunctionCtx):
    """What a function of autograd leaves for its backward pass; what it leaves besides tensors stands in a class of its own."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]


def scores_alone(states: Tensor) -> bool:
    """Tell whether a score should depend as little as possible on the texts that share its batch: wherever it is not for training.

    A teacher's score of a pair is kept for good, and which pairs share its batch depends on which were scored before. What is small sums in
    float64, of which the score keeps 24 bits. On an accelerator float64 is slow or missing.
    """
    return states.device.type == "cpu" and not torch.is_grad_enabled()


def apply_module(module: nn.Module, states: Tensor) -> Tensor:
    """Apply the last, small part of a model; see :func:`scores_alone`."""
    if not scores_alone(states):
        return module(states)
    weights = {name: weight.double() for name, weight in module.named_parameters()}
    return torch.func.functional_call(module, weights, (states.double(),))


@contextmanager
def same_tokenizer(model: Model) -> Iterator[None]:
    """Leave the tokenizer's own cutting and padding as they were: the library sets them when it reads texts, and they are saved with it."""
    engine = getattr(model.tokenizer, "backend_tokenizer", model.tokenizer)
    truncation, padding = engine.truncation, engine.padding
    try:
        yield
    finally:
        engine.no_truncation() if truncation is None else engine.enable_truncation(**truncation)
        engine.no_padding() if padding is None else engine.enable_padding(**padding)


def features_of(features: dict[str, Tensor], row: int) -> np.ndarray:
    """Return the tokens of one text as the library gives them to a model, with their types where they are not all 0."""
    unknown = sorted(features.keys() - {"input_ids", "attention_mask", "token_type_ids", "modality", "prompt_length"})
    if unknown:
        return np.array([-1])  # more than a student gives it
    mask = features["attention_mask"][row].numpy().astype(bool)
    ids = features["input_ids"][row].numpy()[mask]
    types = features["token_type_ids"][row].numpy()[mask] if "token_type_ids" in features else np.zeros_like(ids)
    return np.stack([ids, types])

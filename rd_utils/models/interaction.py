"""The interaction cross-encoder: K-NRM, kernel-pooled cosine similarities of token vectors and a small feed-forward scorer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from sentence_transformers.base.modules import InputModule
from tokenizers import Tokenizer
from torch import Tensor, nn

from rd_utils.models.architectures import SCRATCH_LENGTH, SCRATCH_QUERY_LENGTH
from rd_utils.models.shared import Context, apply_module, scores_alone
from rd_utils.models.tokens import TokenTable, gather, tokenize


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

    __module__ = "rd_utils.models"  # the name under which students are saved

    tokenizer: Tokenizer
    config_keys = ["kernels", "hidden", "max_length", "max_query_length"]

    def __init__(
        self,
        tokenizer: Tokenizer,
        vectors: np.ndarray | Tensor,
        kernels: int = 11,
        hidden: int = 16,
        max_length: int = SCRATCH_LENGTH,
        max_query_length: int = SCRATCH_QUERY_LENGTH,
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

    def preprocess(self, inputs: Sequence[Sequence[object]], prompt: str | None = None, **kwargs: object) -> dict[str, Tensor]:
        """Tokenise pairs of texts."""
        queries, docs = (tokenize([str(pair[side]) for pair in inputs], self.tokenizer) for side in (0, 1))
        rows = np.arange(len(inputs))
        return self.features(queries, docs, rows, rows)

    def features(self, queries: TokenTable, docs: TokenTable, query_rows: np.ndarray, doc_rows: np.ndarray) -> dict[str, Tensor]:
        """Gather pairs: ids (n, L) padded with -1; a long query is cut to its own limit, a document to what the query leaves."""
        query_ids, query_lengths = gather(queries, query_rows, self.max_query_length, pad=-1)
        doc_ids, _ = gather(docs, doc_rows, self.max_length - query_lengths, pad=-1)
        return {"query_ids": torch.from_numpy(query_ids), "doc_ids": torch.from_numpy(doc_ids)}

    def forward(self, features: dict[str, Tensor], **kwargs: object) -> dict[str, Tensor]:
        """Add ``scores`` (n, 1) to the features."""
        query_ids, doc_ids = features["query_ids"], features["doc_ids"]
        is_word = query_ids >= 0
        query_ids = query_ids.clamp(min=0)
        # each distinct query word against each distinct document word, once; pairs then look their cosines up
        asked, query_places = torch.unique(query_ids, return_inverse=True)
        words, doc_places = torch.unique(doc_ids.clamp(min=0), return_inverse=True)
        vectors = self.embedding(torch.cat([asked, words]))
        vectors = vectors.double() if scores_alone(vectors) else vectors
        queries, docs = F.normalize(vectors, dim=-1).split([len(asked), len(words)])
        places = (query_places * len(words)).unsqueeze(2) + doc_places.unsqueeze(1)  # (n, Lq, Ld)
        cosines = (queries @ docs.T).flatten().index_select(0, places.flatten()).view(places.shape)
        cosines = cosines.masked_fill((doc_ids < 0).unsqueeze(1), _FAR)
        pooled = KernelPooling.apply(cosines, self._kernels)  # (n, Lq, K)
        gates = self.gate(query_ids).to(pooled.dtype).exp() * is_word.unsqueeze(-1)
        matches = (torch.log1p(pooled) * gates).sum(dim=1)
        features["scores"] = apply_module(self.scorer, matches)
        return features

    def save(self, output_path: str, *args: object, safe_serialization: bool = True, **kwargs: object) -> None:
        """Write configuration, weights and tokenizer."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)
        self.tokenizer.save(str(Path(output_path) / "tokenizer.json"))

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> KernelInteraction:
        """Load what :meth:`save` wrote."""
        places = {k: v for k, v in kwargs.items() if k in ("token", "cache_folder", "revision", "local_files_only")}
        config = cls.load_config(model_name_or_path, subfolder=subfolder, **places)
        file = cast(str, cls.load_file_path(model_name_or_path, "tokenizer.json", subfolder=subfolder, **places))
        weights = cast(dict[str, Tensor], cls.load_torch_weights(model_name_or_path, subfolder=subfolder, **places))
        module = cls(Tokenizer.from_file(file), weights["embedding.weight"], **config)
        module.load_state_dict(weights)
        return module


class _Kernels(Context):
    kernels: list[tuple[float, float]]


class KernelPooling(torch.autograd.Function):
    """Sum Gaussian kernels over the last dimension: (..., L) -> (..., K), one kernel at a time.

    ``out[..., k] = sum_j exp(-(x_j - mu_k)^2 / (2 sigma_k^2))``. The plain expression would hold several arrays of K times the input;
    this keeps the input only and computes the kernels again on the way back.
    """

    @staticmethod
    def forward(context: _Kernels, x: Tensor, kernels: list[tuple[float, float]]) -> Tensor:
        """Return the kernel sums, at least in float32."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        context.save_for_backward(x)
        context.kernels = kernels
        return torch.stack([_kernel(x - mu, sigma).sum(dim=-1) for mu, sigma in kernels], dim=-1)

    @staticmethod
    def backward(context: _Kernels, gradient: Tensor) -> tuple[Tensor, None]:
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

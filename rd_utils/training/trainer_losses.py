"""The losses of :mod:`rd_utils.training.losses` inside the trainers of sentence-transformers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from rd_utils.training.losses import LOSSES, at_least_float32, check_positive, find_loss, group_loss

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer


class BiEncoderGroupLoss(torch.nn.Module):
    """Train a ``SentenceTransformer`` on groups with any loss of :data:`LOSSES`, in a ``SentenceTransformerTrainer``.

    Columns of the data set, in this order: query, positive, negative_1, ..., negative_n; for a distillation loss also a
    ``label`` column with the list ``[g_0, g_1, ..., g_n]`` of raw teacher scores. The student's score is ``scale *
    similarity(query, document)``. There are no in-batch negatives.

    Args:
        model: The ``SentenceTransformer`` to train.
        loss: A key of :data:`LOSSES`.
        temperature: Divides the teacher's scores.
        scale: Multiplies the similarity, to give the scores a range that a softmax can use.
        similarity: ``dot``, or ``cosine`` (the dot product of unit vectors).

    Raises:
        ValueError: If the loss or the similarity is unknown, or the temperature or scale not positive.

    Follows the conventions of the losses of sentence-transformers 6.2.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        loss: str,
        temperature: float = 1.0,
        scale: float = 1.0,
        similarity: Literal["dot", "cosine"] = "dot",
    ) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        check_positive("scale", scale)
        if similarity not in ("dot", "cosine"):
            raise ValueError(f"unknown similarity {similarity!r}; choose from cosine, dot")
        self.model = model
        self.loss = find_loss(loss).name
        self.temperature = temperature
        self.scale = scale
        self.similarity = similarity

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | list[Tensor] | None = None) -> Tensor:
        """Compute the loss of a batch.

        Args:
            sentence_features: One dictionary of tokens per column: query, positive, negatives.
            labels: (batch, group) teacher scores; ignored by a loss that needs no teacher.

        Returns:
            A scalar.
        """
        from sentence_transformers.base.losses.merged_forward import embed_columns  # one pass over all document columns

        return self.compute_loss_from_embeddings(embed_columns(self.model, sentence_features), labels)

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor | list[Tensor] | None = None) -> Tensor:
        """Compute the loss from one (batch, dimension) tensor per column."""
        _check_columns(len(embeddings))
        query = at_least_float32(embeddings[0])
        documents = at_least_float32(torch.stack(list(embeddings[1:]), dim=1))  # (batch, group, dimension)
        if self.similarity == "cosine":
            query, documents = F.normalize(query, dim=-1), F.normalize(documents, dim=-1)
        student_scores = self.scale * (query.unsqueeze(1) * documents).sum(dim=-1)
        return group_loss(self.loss, student_scores, _teacher_scores(self.loss, labels), self.temperature)

    def get_config_dict(self) -> dict[str, str | float]:
        """Return the settings, for the model card."""
        return {
            "loss": self.loss,
            "temperature": self.temperature,
            "scale": self.scale,
            "similarity": self.similarity,
        }


class CrossEncoderGroupLoss(torch.nn.Module):
    """Train a ``CrossEncoder`` on groups with any loss of :data:`LOSSES`, in a ``CrossEncoderTrainer``.

    Columns of the data set as for :class:`BiEncoderGroupLoss`. The student's score is the model's raw output for
    (query, document), before any activation function, or, for a model with two outputs, the log-softmax of the second
    (so at most 0).

    Args:
        model: The ``CrossEncoder`` to train, with one or two outputs.
        loss: A key of :data:`LOSSES`.
        temperature: Divides the teacher's scores.
        scale: Multiplies the student's scores.

    Raises:
        ValueError: If the loss is unknown, the temperature or scale not positive, or the model has other outputs.

    Follows the conventions of the losses of sentence-transformers 6.2: the loss tokenises the pairs of texts itself.
    """

    def __init__(self, model: CrossEncoder, loss: str, temperature: float = 1.0, scale: float = 1.0) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        check_positive("scale", scale)
        if model.num_labels not in (1, 2):
            raise ValueError(
                f"the cross-encoder has {model.num_labels} outputs; expected 1 (a score), or 2 (irrelevant, relevant): "
                "load it with num_labels=1"
            )
        self.model = model
        self.loss = find_loss(loss).name
        self.temperature = temperature
        self.scale = scale
        self.num_labels = model.num_labels

    def forward(
        self,
        inputs: list[list[str]],
        labels: Tensor | list[Tensor] | None = None,
        prompt: str | None = None,
        task: str | None = None,
    ) -> Tensor:
        """Compute the loss of a batch.

        Args:
            inputs: One list of texts per column: queries, positives, negatives.
            labels: (batch, group) teacher scores, or a list of one tensor per group; ignored by a loss that needs no
                teacher.
            prompt: Passed on to the model's tokenisation.
            task: Passed on to the model's tokenisation.

        Returns:
            A scalar.
        """
        _check_columns(len(inputs))
        queries, columns = inputs[0], inputs[1:]
        pairs = [(query, column[row]) for row, query in enumerate(queries) for column in columns]
        features = self.model.preprocess(pairs, prompt=prompt, task=task)
        device = self.model.device
        features = {key: value.to(device) if isinstance(value, Tensor) else value for key, value in features.items()}
        outputs = at_least_float32(self.model(features)["scores"])
        if self.num_labels == 2:
            outputs = torch.log_softmax(outputs, dim=-1)[:, 1]
        student_scores = self.scale * outputs.reshape(len(queries), len(columns))
        return group_loss(self.loss, student_scores, _teacher_scores(self.loss, labels), self.temperature)

    def get_config_dict(self) -> dict[str, str | float]:
        """Return the settings, for the model card."""
        return {"loss": self.loss, "temperature": self.temperature, "scale": self.scale}


def _check_columns(n_columns: int) -> None:
    if n_columns < 3:
        raise ValueError(f"the data set has {n_columns} text columns; expected query, positive and at least one negative")


def _teacher_scores(loss: str, labels: Tensor | list[Tensor] | None) -> Tensor | None:
    """Return a batch's labels as one tensor, or None if the loss needs none.

    The data collator of bi-encoders gives a tensor, that of cross-encoders a list with one tensor per group.
    """
    if not LOSSES[loss].needs_teacher:
        return None
    return torch.stack(list(labels)) if isinstance(labels, (list, tuple)) else labels

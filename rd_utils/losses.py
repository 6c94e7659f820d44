"""Training losses of a group, the same for bi-encoders and cross-encoders.

Every loss takes ``student_scores`` of shape ``(batch, group)`` with the labelled positive in column 0; a distillation
loss also takes ``teacher_scores`` of the same shape. The temperature divides the teacher's scores only: the student is
never rescaled, and no loss is multiplied by the square of the temperature. Plain functions compute; :func:`group_loss`
checks what it is given, then computes, and is what training calls. Two modules at the end carry the same losses into
the trainers of sentence-transformers.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


def _at_least_float32(scores: Tensor) -> Tensor:
    """Return scores in float32, or in their own dtype where that is wider."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def _like(teacher_scores: Tensor, student_scores: Tensor) -> Tensor:
    """Return the teacher's scores in the dtype and on the device of the student's, without gradient."""
    return teacher_scores.detach().to(device=student_scores.device, dtype=student_scores.dtype)


def _pair_differences(scores: Tensor) -> Tensor:
    """Return ``scores[:, i] - scores[:, j]`` for all i < j: (batch, group) -> (batch, group * (group - 1) / 2)."""
    first, second = torch.triu_indices(scores.shape[1], scores.shape[1], offset=1, device=scores.device)
    return scores[:, first] - scores[:, second]


def lce(student_scores: Tensor, teacher_scores: Tensor | None = None, temperature: float = 1.0) -> Tensor:
    """Compute the localised contrastive estimation loss: the positive against its own group.

    ``mean over the batch of -log softmax(f)[0]``, in nats.

    Args:
        student_scores: (batch, group), positive first.
        teacher_scores: Unused; present so that all losses are called alike.
        temperature: Unused.

    Returns:
        A scalar, in float32 or the dtype of ``student_scores`` where that is wider.

    Two documents with equal scores cost ln 2:

    >>> round(lce(torch.tensor([[3.0, 3.0]])).item(), 4)
    0.6931
    """
    students = _at_least_float32(student_scores)
    return F.cross_entropy(students, torch.zeros(len(students), dtype=torch.long, device=students.device))


def ranknet(student_scores: Tensor, teacher_scores: Tensor, temperature: float = 1.0) -> Tensor:
    """Compute RankNet with soft targets: every pair of the group ordered as surely as the teacher orders it.

    With ``p = sigmoid((g_i - g_j) / T)`` and ``s = sigmoid(f_i - f_j)``: the mean over pairs i < j, then over the
    batch, of ``-p log s - (1 - p) log(1 - s)``, in nats. Its floor is the teacher's pairwise entropy
    (:mod:`rd_utils.entropy`) times ln 2.

    Args:
        student_scores: (batch, group), positive first.
        teacher_scores: (batch, group), raw scores of the same documents.
        temperature: Divides the teacher's scores.

    Returns:
        A scalar.

    A student that is undecided about a pair pays ln 2, whatever the teacher says:

    >>> round(ranknet(torch.tensor([[0.0, 0.0]]), torch.tensor([[5.0, 1.0]])).item(), 4)
    0.6931
    """
    students = _at_least_float32(student_scores)
    targets = torch.sigmoid(_pair_differences(_like(teacher_scores, students)) / temperature)
    return F.binary_cross_entropy_with_logits(_pair_differences(students), targets)


def margin_mse(student_scores: Tensor, teacher_scores: Tensor, temperature: float = 1.0) -> Tensor:
    """Compute the squared error of the positive's margins over the other documents of its group.

    The mean over j > 0, then over the batch, of ``((f_0 - f_j) - (g_0 - g_j) / T)^2``.

    Args:
        student_scores: (batch, group), positive first.
        teacher_scores: (batch, group), raw scores of the same documents.
        temperature: Divides the teacher's scores.

    Returns:
        A scalar, in squared units of the student's scores.

    The student's margin is 1, the teacher's 4, halved by the temperature to 2:

    >>> margin_mse(torch.tensor([[1.0, 0.0]]), torch.tensor([[4.0, 0.0]]), temperature=2.0).item()
    1.0
    """
    students = _at_least_float32(student_scores)
    teachers = _like(teacher_scores, students)
    return F.mse_loss(students[:, :1] - students[:, 1:], (teachers[:, :1] - teachers[:, 1:]) / temperature)


def kl(student_scores: Tensor, teacher_scores: Tensor, temperature: float = 1.0) -> Tensor:
    """Compute the Kullback-Leibler divergence of the student's softmax over the group from the teacher's.

    ``mean over the batch of sum_i p_i (log p_i - log s_i)`` with ``p = softmax(g / T)``, ``s = softmax(f)``, in nats.

    Args:
        student_scores: (batch, group), positive first.
        teacher_scores: (batch, group), raw scores of the same documents.
        temperature: Divides the teacher's scores.

    Returns:
        A scalar, at least 0.

    Teacher (3/4, 1/4), student (1/2, 1/2): 0.75 ln 1.5 + 0.25 ln 0.5.

    >>> round(kl(torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3), 0.0]])).item(), 4)
    0.1308
    """
    students = _at_least_float32(student_scores)
    targets = torch.softmax(_like(teacher_scores, students) / temperature, dim=1)
    return F.kl_div(torch.log_softmax(students, dim=1), targets, reduction="batchmean")


class Loss(NamedTuple):
    """A loss as a value: what it is called, what it computes, what it needs and where it comes from."""

    name: str
    function: Callable[..., Tensor]
    needs_teacher: bool
    formula: str
    source: str


def group_loss(name: str, student_scores: Tensor, teacher_scores: Tensor | None = None, temperature: float = 1.0) -> Tensor:
    """Check a batch of groups and compute the named loss on it.

    The students' values are not checked for nan (that would wait for an accelerator at every step); the teacher's are,
    since a missing score must never pass as a number.

    Args:
        name: A key of :data:`LOSSES`.
        student_scores: (batch, group), positive first, group at least 2.
        teacher_scores: (batch, group), finite; None for a loss that needs no teacher, which ignores them when they are
            given.
        temperature: Divides the teacher's scores; positive and finite.

    Returns:
        A scalar that carries the gradient of ``student_scores``.

    Raises:
        ValueError: If the name is unknown, a shape does not fit, the teacher's scores are absent or not finite, or the
            temperature is not positive.

    >>> group_loss("margin_mse", torch.tensor([[1.0, 0.0]]), torch.tensor([[4.0, 0.0]])).item()
    9.0
    >>> group_loss("kl", torch.tensor([[1.0, 0.0]]))
    Traceback (most recent call last):
        ...
    ValueError: the loss 'kl' distils a teacher, but teacher_scores is None; pass its (1, 2) scores, or use 'lce'
    """
    loss = find_loss(name)
    _check_positive("temperature", temperature)
    shape = tuple(student_scores.shape)
    if len(shape) != 2:
        raise ValueError(f"student_scores has shape {shape}; expected two dimensions, (batch, group)")
    if shape[0] == 0:
        raise ValueError(f"student_scores has shape {shape}, a batch without groups; expected at least one")
    if shape[1] < 2:
        raise ValueError(f"a group has {shape[1]} document(s); expected the positive and at least one negative")
    if loss.needs_teacher:
        teacher_scores = _checked_teacher(name, teacher_scores, shape)
    return loss.function(student_scores, teacher_scores, temperature)


def find_loss(name: str) -> Loss:
    """Return the loss of that name.

    Raises:
        ValueError: If there is none; lists the choices and the nearest match.

    >>> find_loss("lce").needs_teacher
    False
    >>> find_loss("marginmse")
    Traceback (most recent call last):
        ...
    ValueError: unknown loss 'marginmse'; choose from kl, lce, margin_mse, ranknet; did you mean 'margin_mse'?
    """
    if name in LOSSES:
        return LOSSES[name]
    nearest = difflib.get_close_matches(str(name).lower(), LOSSES, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise ValueError(f"unknown loss {name!r}; choose from {', '.join(sorted(LOSSES))}{hint}")


def _check_positive(name: str, number: float) -> None:
    if not 0 < number < math.inf:
        raise ValueError(f"{name} is {number}; expected a positive, finite number (1 leaves the scores as they are)")


def _checked_teacher(name: str, teacher_scores: Tensor | None, shape: tuple[int, int]) -> Tensor:
    """Return the teacher's scores if they are present, of the right shape and finite; raise otherwise."""
    if teacher_scores is None:
        without = " or ".join(repr(loss.name) for loss in LOSSES.values() if not loss.needs_teacher)
        raise ValueError(f"the loss {name!r} distils a teacher, but teacher_scores is None; pass its {shape} scores, or use {without}")
    if tuple(teacher_scores.shape) != shape:
        raise ValueError(
            f"teacher_scores has shape {tuple(teacher_scores.shape)}, student_scores {shape}; expected the same "
            "(batch, group): one score for the positive and for every negative, in the order of the documents"
        )
    finite = torch.isfinite(teacher_scores)
    if not finite.all():
        row, column = (~finite).nonzero()[0].tolist()
        raise ValueError(
            f"{int((~finite).sum())} of {finite.numel()} teacher_scores are not finite, the first "
            f"({teacher_scores[row, column].item()}) for document {column} of group {row}; "
            "a missing score is an error: score every document of every group first"
        )
    return teacher_scores


# --- the same losses inside the trainers of sentence-transformers ---------------------------------------------------


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
        model: torch.nn.Module,
        loss: str,
        temperature: float = 1.0,
        scale: float = 1.0,
        similarity: Literal["dot", "cosine"] = "dot",
    ) -> None:
        super().__init__()
        _check_positive("temperature", temperature)
        _check_positive("scale", scale)
        if similarity not in ("dot", "cosine"):
            raise ValueError(f"unknown similarity {similarity!r}; choose from cosine, dot")
        self.model = model
        self.loss = find_loss(loss).name
        self.temperature = temperature
        self.scale = scale
        self.similarity = similarity

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor | list[Tensor] | None = None) -> Tensor:
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
        query = _at_least_float32(embeddings[0])
        documents = _at_least_float32(torch.stack(list(embeddings[1:]), dim=1))  # (batch, group, dimension)
        if self.similarity == "cosine":
            query, documents = F.normalize(query, dim=-1), F.normalize(documents, dim=-1)
        student_scores = self.scale * (query.unsqueeze(1) * documents).sum(dim=-1)
        return group_loss(self.loss, student_scores, _teacher_scores(self.loss, labels), self.temperature)

    def get_config_dict(self) -> dict[str, Any]:
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

    def __init__(self, model: torch.nn.Module, loss: str, temperature: float = 1.0, scale: float = 1.0) -> None:
        super().__init__()
        _check_positive("temperature", temperature)
        _check_positive("scale", scale)
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
        outputs = _at_least_float32(self.model(features)["scores"])
        if self.num_labels == 2:
            outputs = torch.log_softmax(outputs, dim=-1)[:, 1]
        student_scores = self.scale * outputs.reshape(len(queries), len(columns))
        return group_loss(self.loss, student_scores, _teacher_scores(self.loss, labels), self.temperature)

    def get_config_dict(self) -> dict[str, Any]:
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


LOSSES: dict[str, Loss] = {
    "lce": Loss(
        name="lce",
        function=lce,
        needs_teacher=False,
        formula="-log softmax(f)[0]",
        source="Gao, Dai, Callan 2021, Rethink Training of BERT Rerankers in Multi-Stage Retrieval Pipeline, arXiv 2101.08751",
    ),
    "ranknet": Loss(
        name="ranknet",
        function=ranknet,
        needs_teacher=True,
        formula="mean over i<j of -p log s - (1-p) log(1-s), p = sigmoid((g_i-g_j)/T), s = sigmoid(f_i-f_j)",
        source="Burges et al. 2005, Learning to Rank using Gradient Descent, ICML",
    ),
    "margin_mse": Loss(
        name="margin_mse",
        function=margin_mse,
        needs_teacher=True,
        formula="mean over j>0 of ((f_0-f_j) - (g_0-g_j)/T)^2",
        source="Hofstätter et al. 2020, Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge "
        "Distillation, arXiv 2010.02666",
    ),
    "kl": Loss(
        name="kl",
        function=kl,
        needs_teacher=True,
        formula="sum_i p_i (log p_i - log s_i), p = softmax(g/T), s = softmax(f)",
        source="Hinton, Vinyals, Dean 2015, Distilling the Knowledge in a Neural Network, arXiv 1503.02531; "
        "over a group of documents: Lin, Yang, Lin 2020, arXiv 2010.11386",
    ),
}

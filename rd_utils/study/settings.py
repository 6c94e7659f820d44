"""What training may be told: the budget, the optimiser, the augmentation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from rd_utils.study.bounds import BelowOne, Count, Depth, Few, Flag, Rate, Scale, Seed, Share, Spread
from rd_utils.study.context import Context
from rd_utils.study.kinds import Architecture, Part, Precision, Strategy, Teacher
from rd_utils.training.losses import LossName


class Training(Part):
    """The budget, in documents seen (accumulation included), and the optimiser.

    One optimiser step sees ``queries_per_batch * accumulation_steps`` groups; the number of steps follows from the budget. ``schedule`` is
    what follows the linear warm-up. ``stop_at`` ends training early, in documents seen, with the learning rate where the whole budget would
    have it: an early checkpoint of the same run. ``in_batch_negatives`` adds the documents of the batch's other groups to the contrastive
    loss (bi-encoders only).

    ``processes`` train the student together on one machine, one a GPU (without GPUs, sharing its cores); see ``training.launch``. A step
    is the same step whatever their number: ``queries_per_batch`` is the whole batch's, which they share, so that neither the batch nor the
    learning rate is to be scaled. The documents and their order are the same, but sums round otherwise and dropout draws other masks, so
    the number is part of what a student is.
    """

    documents: Count
    stop_at: Count | None = None
    queries_per_batch: Depth = 8
    accumulation_steps: Depth = 1
    in_batch_negatives: Flag = False
    learning_rate: Rate = 1e-5
    embedding_learning_rate: Rate | None = None
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    weight_decay: BelowOne = 0.01
    warmup_share: Share = 0.1
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    max_gradient_norm: Scale | None = 1.0
    precision: Precision = "fp32"
    checkpoint_every: Count | None = None
    processes: Few = 1

    @model_validator(mode="after")
    def _processes_can_share_a_batch(self) -> Training:
        if self.processes > self.queries_per_batch:
            raise ValueError(
                f"processes is {self.processes}, but queries_per_batch, which they share, is {self.queries_per_batch}; lower processes, or "
                "raise queries_per_batch and lower accumulation_steps by as much"
            )
        if self.processes > 1 and self.in_batch_negatives:
            raise ValueError(
                f"in_batch_negatives needs a batch's groups in one process, but processes is {self.processes}; leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _stops_before_the_end(self) -> Training:
        if self.stop_at is not None and self.stop_at >= self.documents:
            raise ValueError(f"stop_at is {self.stop_at}, not below the {self.documents} documents of the budget; leave it out")
        return self

    def steps(self, group_size: int) -> int:
        """Return the number of optimiser steps that see at least ``documents`` documents.

        >>> Training(documents=24_000_000, queries_per_batch=8, accumulation_steps=2).steps(group_size=16)
        93750
        """
        per_step = self.queries_per_batch * self.accumulation_steps * group_size
        return -(-self.documents // per_step)


class Augmentation(Part):
    """What training changes in its inputs and targets; the default changes nothing (see :mod:`rd_utils.training.augmentation`).

    Inputs, drawn afresh every epoch: ``query_dropout`` and ``query_replacement`` are the probabilities that a query's word is left out or
    replaced by one of its ``neighbours`` nearest words; ``document_span`` is the share of a document that a random span keeps. Targets:
    ``noise`` is the SD of what is added to each teacher score, once per group and document; ``top_k`` levels the scores below the
    teacher's k best of the group; ``ranks`` replaces scores by ``1 - rank``; ``smoothing`` moves that share of the target's mass to the
    uniform distribution; ``hard_weight`` is the weight of LCE beside the distillation loss.
    """

    query_dropout: BelowOne = 0.0
    query_replacement: BelowOne = 0.0
    neighbours: Few = 5
    document_span: Share = Field(default=1.0, gt=0)
    noise: Spread = 0.0
    top_k: Few | None = None
    ranks: Flag = False
    smoothing: BelowOne = 0.0
    hard_weight: BelowOne = 0.0

    @property
    def changes_texts(self) -> bool:
        """Tell whether training reads other texts than the collection's."""
        return bool(self.query_dropout or self.query_replacement or self.document_span < 1)

    @property
    def changes_scores(self) -> bool:
        """Tell whether training sees other scores than the teacher's."""
        return bool(self.noise or self.top_k or self.ranks)


class TrainingChanges(Part):
    """What some students have of their own in the training settings; an absent value leaves the setting as it is."""

    documents: Count | None = None
    stop_at: Count | None = None
    queries_per_batch: Depth | None = None
    accumulation_steps: Depth | None = None
    in_batch_negatives: Flag | None = None
    learning_rate: Rate | None = None
    embedding_learning_rate: Rate | None = None
    weight_decay: BelowOne | None = None
    processes: Few | None = None


OF_TRAINING = tuple(TrainingChanges.model_fields)


class TrainedOn(Part):
    """A student in short: its architecture, and what it is trained on; the rest is the study's or the notebook's."""

    architecture: Architecture
    strategy: Strategy
    loss: LossName = "lce"
    teacher: Teacher | None = None
    training: Training
    seed: Seed = 0

    def student(self, context: Context) -> dict[str, object]:
        """Return the fields of the student."""
        own = {name: getattr(self, name) for name in ("loss", "teacher", "architecture", "training", "seed")}
        return own | {"groups": groups_of(self.strategy, self.seed, context), "refresh": self.strategy.refresh}


def groups_of(strategy: Strategy, seed: int, context: Context) -> dict[str, object]:
    """Return the fields of the groups that a strategy draws in a study or a notebook."""
    shared = {name: context.setting(name) for name in ("collection", "group_size", "shortage", "draws")}
    shared |= {"draws": 1} if strategy.refresh is not None else {}
    return shared | {"strategy": strategy, "seed": seed}

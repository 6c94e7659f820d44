"""One training loop for all students: groups of pre-tokenised texts, a loss of :mod:`rd_utils.losses`, AdamW, accelerate.

The order of the groups is a seeded permutation per epoch, over and over until the budget is spent. The learning rate rises linearly, then
falls linearly towards 0. The same seed gives the same weights on the same machine with the same number of threads, also when the run was
interrupted and resumed; other processors and thread counts round differently.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

from rd_utils.losses import find_loss, group_loss
from rd_utils.models import GroupBatch, Student, check_precision
from rd_utils.params import Training
from rd_utils.tokens import TokenTable

_MIXED_PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
_CHECKPOINT = "checkpoint.pt"


class TrainingError(ValueError):
    """Training that cannot start or go on; the message names the offender and the remedy."""


class GroupTable(NamedTuple):
    """Training groups as rows of the token tables: the positive in column 0, then the negatives."""

    query_rows: np.ndarray  # (n,)
    doc_rows: np.ndarray  # (n, G)
    teacher_scores: np.ndarray | None = None  # (n, G) float32, or None for a loss without a teacher


@dataclass(frozen=True)
class TrainingRecord:
    """What a run saw: one row of ``history`` per optimiser step, and totals."""

    history: pd.DataFrame  # step, documents_seen, loss, learning_rate
    documents_seen: int
    tokens_seen: int
    steps: int


def learning_rate_factor(step: int, steps: int, warmup_share: float) -> float:
    """Return what the learning rate is multiplied by at a step, counted from 0: a linear rise to 1, then a linear fall towards 0.

    >>> [round(learning_rate_factor(step, steps=5, warmup_share=0.4), 3) for step in range(5)]
    [0.333, 0.667, 1.0, 0.667, 0.333]
    """
    warmup = round(warmup_share * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (steps - step) / (steps - warmup)


def group_order(n_groups: int, seed: int, start: int, count: int) -> np.ndarray:
    """Return ``count`` group indices from position ``start`` of the endless order: a fresh permutation of all groups per epoch.

    >>> np.sort(group_order(4, seed=7, start=8, count=4)).tolist()
    [0, 1, 2, 3]
    """
    positions = np.arange(start, start + count)
    order = np.empty(count, dtype=np.int64)
    for epoch in range(start // n_groups, (start + count - 1) // n_groups + 1):
        permutation = np.random.default_rng(np.random.SeedSequence([seed, epoch])).permutation(n_groups)
        inside = positions // n_groups == epoch
        order[inside] = permutation[positions[inside] % n_groups]
    return order


def train(
    student: Student,
    queries: TokenTable,
    docs: TokenTable,
    groups: GroupTable,
    *,
    loss: str,
    temperature: float,
    training: Training,
    seed: int,
    checkpoint_folder: Path | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> TrainingRecord:
    """Train a student in place until the budget of documents is spent.

    Under ``accelerate launch`` or ``torchrun`` every process takes its slice of each micro-batch, and gradients are averaged so that the
    result is that of one process, but for rounding.

    Args:
        student: The student; it is trained in place and returned to evaluation mode.
        queries: Token table of the queries.
        docs: Token table of the documents.
        groups: The groups; teacher scores are needed by distillation losses and ignored by the others.
        loss: A name of :mod:`rd_utils.losses`.
        temperature: Divides teacher scores.
        training: Budget and optimiser.
        seed: Draws the order of the groups and dropout; the global random states are as before afterwards.
        checkpoint_folder: Where a checkpoint is kept every ``training.checkpoint_every`` steps, resumed from where it is present, and
            deleted at the end; None keeps none.
        progress: Called after every optimiser step with the steps done, their total, and the loss.

    Returns:
        The record of the run.

    Raises:
        TrainingError: Before the first step when the groups are malformed, teacher scores are missing, the precision does not suit the
            device or a checkpoint belongs to another run; later when the loss is no finite number.
    """
    _check_groups(groups, queries, docs, loss)
    device = PartialState().device
    check_precision(training.precision, device)
    AcceleratorState._reset_state()  # accelerate keeps one precision per process, and would refuse a second run with another
    accelerator = Accelerator(mixed_precision=_MIXED_PRECISION[training.precision])
    if training.queries_per_batch < accelerator.num_processes:
        raise TrainingError(
            f"queries_per_batch is {training.queries_per_batch}, but there are {accelerator.num_processes} processes to share a batch; "
            "raise it, or start fewer processes"
        )
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        run = _Run(student, accelerator, groups, loss, temperature, training, seed, checkpoint_folder)
        try:
            for step in range(run.done, run.steps):
                value = run.step(step, queries, docs)
                if progress is not None and accelerator.is_main_process:
                    progress(step + 1, run.steps, value)
        finally:
            run.release()
    return run.finish()


class _Run:
    """The state of one run: student, optimiser, history; and its checkpoint."""

    def __init__(
        self,
        student: Student,
        accelerator: Accelerator,
        groups: GroupTable,
        loss: str,
        temperature: float,
        training: Training,
        seed: int,
        checkpoint_folder: Path | None,
    ) -> None:
        self.accelerator, self.groups, self.loss, self.temperature = accelerator, groups, loss, temperature
        self.training, self.seed = training, seed
        self.group_size = groups.doc_rows.shape[1]
        self.steps = training.steps(self.group_size)
        self.groups_per_step = training.queries_per_batch * training.accumulation_steps
        self.history: list[tuple[int, int, float, float]] = []
        self.tokens_seen = 0
        self.done = 0
        self.student = student.train()
        optimiser = torch.optim.AdamW(student.parameter_groups(training), betas=training.betas, fused=True)
        self.rates = [group["lr"] for group in optimiser.param_groups]
        self.wrapped, self.optimiser = accelerator.prepare(student, optimiser)
        self.parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        keeps = checkpoint_folder is not None and training.checkpoint_every is not None
        self.checkpoint = Path(checkpoint_folder) / _CHECKPOINT if keeps else None
        if self.checkpoint is not None and self.checkpoint.exists():
            self._resume()

    def step(self, step: int, queries: TokenTable, docs: TokenTable) -> float:
        """Take one optimiser step and return the loss, the mean over the groups of the step."""
        training, accelerator = self.training, self.accelerator
        # dropout has a stream per step and process, so that a resumed run needs no random state from its checkpoint
        torch.manual_seed(int(np.random.SeedSequence([self.seed, step, accelerator.process_index]).generate_state(1)[0]))
        factor = learning_rate_factor(step, self.steps, training.warmup_share)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        order = group_order(len(self.groups.query_rows), self.seed, step * self.groups_per_step, self.groups_per_step)
        micro_batches = order.reshape(training.accumulation_steps, training.queries_per_batch)
        total = torch.zeros((), device=accelerator.device)
        for position, rows in enumerate(micro_batches):
            mine = np.array_split(rows, accelerator.num_processes)[accelerator.process_index]
            batch = GroupBatch(queries, docs, self.groups.query_rows[mine], self.groups.doc_rows[mine])
            teacher_scores = None
            if self.groups.teacher_scores is not None:
                teacher_scores = torch.from_numpy(self.groups.teacher_scores[mine]).to(accelerator.device)
            is_last = position == len(micro_batches) - 1
            with nullcontext() if is_last else accelerator.no_sync(self.wrapped):
                student_scores = self.wrapped(batch)
                # processes are averaged, so that each group weighs 1 / (groups of the step) whatever the slices' sizes
                weight = len(mine) * accelerator.num_processes / self.groups_per_step
                value = weight * group_loss(self.loss, student_scores, teacher_scores, self.temperature)
                accelerator.backward(value)
            total += value.detach()
            self.tokens_seen += self.student.token_counts(batch)
        value = float(accelerator.reduce(total, reduction="mean"))
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} at step {step + 1} of {self.steps} (learning rate {self.rates[-1] * factor:.3g}, precision "
                f"{training.precision}); lower the learning rate, keep max_gradient_norm, or use bf16 or fp32 in place of fp16"
            )
        if training.max_gradient_norm is not None:
            accelerator.clip_grad_norm_(self.parameters, training.max_gradient_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.done = step + 1
        documents = self.done * self.groups_per_step * self.group_size
        self.history.append((self.done, documents, value, max(self.rates) * factor))
        if self.checkpoint is not None and self.done % training.checkpoint_every == 0 and self.done < self.steps:
            self._save()
        return value

    def release(self) -> None:
        """Take accelerate's wrapping off the student."""
        self.optimiser.zero_grad(set_to_none=True)
        self.accelerator.unwrap_model(self.wrapped, keep_fp32_wrapper=False)
        for left_behind in ("forward", "_is_accelerate_prepared"):  # a second run would otherwise not be prepared
            self.student.__dict__.pop(left_behind, None)
        self.student.eval()

    def finish(self) -> TrainingRecord:
        """Delete the checkpoint and return what the run saw."""
        tokens = torch.tensor(self.tokens_seen, device=self.accelerator.device)
        tokens = int(self.accelerator.reduce(tokens, reduction="sum"))
        if self.checkpoint is not None and self.accelerator.is_main_process:
            self.checkpoint.unlink(missing_ok=True)
        history = pd.DataFrame(self.history, columns=["step", "documents_seen", "loss", "learning_rate"])
        documents = self.done * self.groups_per_step * self.group_size
        return TrainingRecord(history=history, documents_seen=documents, tokens_seen=tokens, steps=self.done)

    def _save(self) -> None:
        """Write the checkpoint beside its place, then rename it, so that it is whole or absent."""
        tokens = self.accelerator.gather(torch.tensor([self.tokens_seen], device=self.accelerator.device)).tolist()
        if self.accelerator.is_main_process:
            self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
            state = {
                "settings": self._settings(),
                "student": self.student.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "scaler": None if self.accelerator.scaler is None else self.accelerator.scaler.state_dict(),
                "done": self.done,
                "history": self.history,
                "tokens_seen": tokens,
            }
            partial = self.checkpoint.with_suffix(".partial")
            torch.save(state, partial)
            os.replace(partial, self.checkpoint)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.accelerator.device, weights_only=True)
        settings = self._settings()
        other = [name for name in settings if state["settings"].get(name) != settings[name]]
        if other:
            raise TrainingError(
                f"the checkpoint {self.checkpoint} belongs to another run: {', '.join(other)} differ; delete it, or use another folder"
            )
        self.student.load_state_dict(state["student"])
        self.optimiser.load_state_dict(state["optimiser"])
        if state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.done = state["done"]
        self.history = [tuple(row) for row in state["history"]]
        self.tokens_seen = state["tokens_seen"][self.accelerator.process_index]

    def _settings(self) -> dict[str, Any]:
        """Return what must be equal for a checkpoint to be continued."""
        digest = hashlib.sha256()
        for array in self.groups:
            if array is not None:
                digest.update(np.ascontiguousarray(array).tobytes())
        return {
            "architecture": self.student.architecture.model_dump_json(),
            "training": self.training.model_dump_json(),
            "loss": self.loss,
            "temperature": self.temperature,
            "seed": self.seed,
            "groups": digest.hexdigest(),
            "processes": self.accelerator.num_processes,
        }


def _check_groups(groups: GroupTable, queries: TokenTable, docs: TokenTable, loss: str) -> None:
    n_groups = len(groups.query_rows)
    if n_groups == 0:
        raise TrainingError("there are no training groups; sample some first")
    if groups.doc_rows.ndim != 2 or len(groups.doc_rows) != n_groups or groups.doc_rows.shape[1] < 2:
        raise TrainingError(f"doc_rows has shape {groups.doc_rows.shape}; expected ({n_groups}, group_size) with a group_size of 2 or more")
    for name, rows, table in (("query_rows", groups.query_rows, queries), ("doc_rows", groups.doc_rows, docs)):
        outside = (rows < 0) | (rows >= len(table))
        if outside.any():
            first = tuple(int(i) for i in np.argwhere(outside)[0])
            raise TrainingError(
                f"{int(outside.sum())} of {rows.size} {name} are outside of a token table with {len(table)} rows, "
                f"the first is {int(rows[first])} in group {first[0]}; the groups and the tokens are of different collections"
            )
    if not find_loss(loss).needs_teacher:
        return
    if groups.teacher_scores is None:
        raise TrainingError(f"the loss {loss!r} distils a teacher, but the groups have no teacher scores; score them, or use the loss lce")
    if groups.teacher_scores.shape != groups.doc_rows.shape:
        raise TrainingError(f"teacher_scores has shape {groups.teacher_scores.shape}, doc_rows {groups.doc_rows.shape}; they must be equal")
    missing = ~np.isfinite(groups.teacher_scores)
    if missing.any():
        group, column = (int(i) for i in np.argwhere(missing)[0])
        raise TrainingError(
            f"{int(missing.sum())} of {missing.size} teacher scores are missing or not finite, the first is "
            f"{groups.teacher_scores[group, column]} for document {column} of group {group}; score every document of every group first"
        )

"""One training loop for all students: groups of pre-tokenised texts, a loss of :mod:`rd_utils.training.losses`, AdamW, accelerate.

The order of the groups is a seeded permutation per epoch, over and over until the budget is spent. The learning rate rises linearly, then
follows its schedule. From epoch to epoch the negatives may be another draw (:class:`GroupTable`) and the texts other ones, and every so
many steps the groups may be drawn anew from what the student has learnt (:data:`Regroup`). The same seed gives the same weights on the same
machine with the same number of threads, also when the run was interrupted and resumed; other processors and thread counts round
differently.

Under ``accelerate launch``, ``torchrun`` or ``training.launch`` every process takes its slice of each micro-batch, and gradients are
averaged so that the result is that of one process, but for rounding and the masks of dropout. (``torchrun`` without a GPU needs
``ACCELERATE_USE_CPU=true``, or each process trains alone.) ``training.processes`` is for what starts them; it is not read here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypedDict, cast

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

from rd_utils import durable, files
from rd_utils.models import GroupBatch, Student, check_precision
from rd_utils.models.packed import to_device
from rd_utils.models.tokens import TokenTable
from rd_utils.study.settings import Training
from rd_utils.training.groups import GroupTable, TrainingError, check_groups, check_in_batch, group_order
from rd_utils.training.losses import group_loss
from rd_utils.workflow.progress import LOGGER

_MIXED_PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
_CHECKPOINT = "checkpoint.pt"

# The (queries, docs) token tables of an epoch, counted from 0 and a function of it alone, with the same rows as the originals; asked for
# once per change of epoch. A step takes the texts of the epoch in which it begins.
Texts = Callable[[int], tuple[TokenTable, TokenTable]]
# Draws the groups anew: called with n = 1, 2, ... before step n * regroup_every, with the student in evaluation mode and without
# gradients. What it returns replaces the groups, the positives in positive_pairs stay; it must depend on n and the student alone; every
# process calls it.
Regroup = Callable[[int, Student], GroupTable]
# Called after every optimiser step with the steps done, their total, and the loss; on a GPU one step later, so that nothing waits for it.
OnStep = Callable[[int, int, float], None]


@dataclass(frozen=True)
class TrainingRecord:
    """What a run saw: one row of ``history`` per optimiser step, and totals."""

    history: pd.DataFrame  # step, documents_seen, loss, learning_rate; penalty, a part of the loss, where the family adds one
    documents_seen: int
    tokens_seen: int
    steps: int


def learning_rate_factor(step: int, steps: int, warmup_share: float, schedule: str = "linear") -> float:
    """Return what the learning rate is multiplied by at a step, counted from 0: a linear rise to 1, then the schedule.

    With t the share of the steps after the warm-up that are done: ``linear`` is 1 - t, ``cosine`` (1 + cos(pi t)) / 2, ``constant`` 1.

    Args:
        step: Optimiser steps done.
        steps: Optimiser steps of the whole budget.
        warmup_share: Share of the steps that the rise takes.
        schedule: ``linear``, ``cosine`` or ``constant``.

    Returns:
        The factor, above 0 and at most 1.

    Raises:
        ValueError: When the schedule is unknown.

    >>> [round(learning_rate_factor(step, steps=5, warmup_share=0.4), 3) for step in range(5)]
    [0.333, 0.667, 1.0, 0.667, 0.333]
    >>> [round(learning_rate_factor(step, steps=5, warmup_share=0.4, schedule="cosine"), 3) for step in range(5)]
    [0.333, 0.667, 1.0, 0.75, 0.25]
    """
    if schedule not in ("linear", "cosine", "constant"):
        raise ValueError(f"schedule is {schedule!r}; choose from linear, cosine, constant")
    warmup = round(warmup_share * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    left = (steps - step) / (steps - warmup)
    return left if schedule == "linear" else (1 - math.cos(math.pi * left)) / 2


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
    smoothing: float = 0.0,
    hard_weight: float = 0.0,
    texts: Texts | None = None,
    regroup: Regroup | None = None,
    regroup_every: int | None = None,
    checkpoint_folder: Path | None = None,
    progress: OnStep | None = None,
) -> TrainingRecord:
    """Train a student in place until the budget of documents is spent, or ``training.stop_at`` is reached; leave it in evaluation mode.

    The budget counts the documents of the groups, accumulation included; in-batch negatives are no further documents. A run that stops
    early is the whole run up to there, bit for bit: the learning rate is that of the whole budget.

    Args:
        loss: A name of :mod:`rd_utils.training.losses`, where ``temperature``, ``smoothing`` and ``hard_weight`` are explained.
        seed: Draws the order of the groups and dropout; the global random states are as before afterwards.
        regroup_every: Optimiser steps between two calls of ``regroup``.
        checkpoint_folder: Where a checkpoint is kept every ``training.checkpoint_every`` steps, resumed from where it is present, and
            deleted at the end; None keeps none.

    Raises:
        TrainingError: Before the first step when the groups are malformed, teacher scores are missing, in-batch negatives are impossible,
            the precision does not suit the device or a checkpoint belongs to another run; later when the loss is no finite number, or
            ``texts`` or ``regroup`` return what does not fit.
    """
    check_groups(groups, queries, docs, loss)
    if training.in_batch_negatives:
        check_in_batch(student, groups, docs, loss, hard_weight)
    _check_regroup(regroup, regroup_every, groups)
    accelerator = _accelerator(training)
    with torch.random.fork_rng(devices=[accelerator.device] if accelerator.device.type == "cuda" else []):
        targets = {"temperature": temperature, "smoothing": smoothing, "hard_weight": hard_weight}
        run = _Run(student, accelerator, groups, loss, targets, training, seed, checkpoint_folder)
        run.go(queries, docs, texts, regroup, regroup_every, progress)
    return run.finish()


def _check_regroup(regroup: Regroup | None, regroup_every: int | None, groups: GroupTable) -> None:
    if (regroup is None) != (regroup_every is None) or (regroup_every is not None and regroup_every < 1):
        raise TrainingError(f"regroup_every is {regroup_every}, regroup {regroup}; give both, at least 1 step apart, or neither")
    if regroup is not None and groups.draws > 1:
        raise TrainingError(f"regroup draws the groups anew itself, but they come in {groups.draws} draws; leave draws at 1")


def _accelerator(training: Training) -> Accelerator:
    """Return what a run computes on, after a look at whether its settings suit the device and the processes."""
    check_precision(training.precision, cast(torch.device, PartialState().device))
    AcceleratorState._reset_state()  # accelerate keeps one precision per process, and would refuse a second run with another
    accelerator = Accelerator(mixed_precision=_MIXED_PRECISION[training.precision])
    if training.queries_per_batch < accelerator.num_processes:
        raise TrainingError(
            f"queries_per_batch is {training.queries_per_batch}, but there are {accelerator.num_processes} processes to share a batch; "
            "raise it, or start fewer processes"
        )
    if training.in_batch_negatives and accelerator.num_processes > 1:
        raise TrainingError(
            f"in_batch_negatives needs a batch's groups in one process, but {accelerator.num_processes} processes share it; start one"
        )
    return accelerator


class _Run:
    """The state of one run: student, optimiser, history; and its checkpoint."""

    def __init__(
        self,
        student: Student,
        accelerator: Accelerator,
        groups: GroupTable,
        loss: str,
        targets: dict[str, float],
        training: Training,
        seed: int,
        checkpoint_folder: Path | None,
    ) -> None:
        self.accelerator, self.groups, self.loss, self.targets = accelerator, groups, loss, targets
        self.training, self.seed = training, seed
        self.n_groups = len(groups.query_rows) // groups.draws
        self.group_size = groups.doc_rows.shape[1]
        self.steps = training.steps(self.group_size)
        self.last = self.steps
        if training.stop_at is not None:
            self.last = min(self.steps, training.model_copy(update={"documents": training.stop_at}).steps(self.group_size))
        self.groups_per_step = training.queries_per_batch * training.accumulation_steps
        self.losses = _Losses(training, self.last, self.groups_per_step * self.group_size)
        self.penalties: list[float] = []  # what was added to the loss of each step, where the family adds anything
        self.tokens_seen = 0
        self.done = 0
        self.student = student.train()
        optimiser = torch.optim.AdamW(student.parameter_groups(training), betas=training.betas, fused=True)
        self.rates = [group["lr"] for group in optimiser.param_groups]
        self.wrapped, self.optimiser = accelerator.prepare(student, optimiser)
        self.parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        self.regrouped = False
        self.checkpoint: _Checkpoint | None = None
        if checkpoint_folder is not None and training.checkpoint_every is not None:
            settings = {
                "architecture": student.architecture.model_dump_json(),
                "training": training.model_dump_json(),
                "loss": loss,
                **targets,
                "seed": seed,
                "groups": groups.digest().hex(),
                "processes": accelerator.num_processes,
            }
            self.checkpoint = _Checkpoint(Path(checkpoint_folder) / _CHECKPOINT, training.checkpoint_every, settings)
            if state := self.checkpoint.read():
                self._resume(state)

    def go(
        self,
        queries: TokenTable,
        docs: TokenTable,
        texts: Texts | None,
        regroup: Regroup | None,
        regroup_every: int | None,
        progress: OnStep | None,
    ) -> None:
        """Take all steps that are left, on the texts of their epochs."""
        epoch, tables = None, (queries, docs)
        if not self.accelerator.is_main_process:
            progress = None
        try:
            for step in range(self.done, self.last):
                if regroup is not None and regroup_every is not None and step and step % regroup_every == 0:
                    self.regroup(step // regroup_every, regroup, queries, docs)
                if texts is not None and epoch != (begun := step * self.groups_per_step // self.n_groups):
                    epoch, tables = begun, texts(begun)
                    _check_texts(tables, queries, docs, epoch)
                self.step(step, *tables)
                self.losses.tell(progress)
            self.losses.settle()
            self.losses.tell(progress)
        finally:
            self.release()

    def regroup(self, number: int, regroup: Regroup, queries: TokenTable, docs: TokenTable) -> None:
        """Replace the groups by what the student, as it is now, leads to."""
        self.losses.settle()
        self.student.eval()
        with torch.no_grad():
            groups = regroup(number, self.student)
        self.student.train()
        check_groups(groups, queries, docs, self.loss)
        if groups.doc_rows.shape != self.groups.doc_rows.shape or groups.draws != 1:
            raise TrainingError(
                f"regroup {number} returned doc_rows of shape {groups.doc_rows.shape} in {groups.draws} draws; expected "
                f"{self.groups.doc_rows.shape} in one: as many groups, of the same size, as at first"
            )
        digest = torch.frombuffer(bytearray(groups.digest()), dtype=torch.uint8).to(self.accelerator.device)
        if len(torch.unique(_gathered(self.accelerator, digest[None]), dim=0)) > 1:
            raise TrainingError(
                f"regroup {number} returned other groups in one process than in another; it must depend on its number and the student "
                "alone, and the processes' devices must be alike: use GPUs of one kind, or set training.processes to 1"
            )
        self.groups, self.regrouped = groups._replace(positive_pairs=self.groups.positive_pairs), True

    def step(self, step: int, queries: TokenTable, docs: TokenTable) -> None:
        """Take one optimiser step; its loss is the mean over the groups of the step."""
        training, accelerator = self.training, self.accelerator
        # dropout has a stream per step and process, so that a resumed run needs no random state from its checkpoint
        _seed(int(np.random.SeedSequence([self.seed, step, accelerator.process_index]).generate_state(1)[0]), accelerator.device)
        factor = learning_rate_factor(step, self.steps, training.warmup_share, training.schedule)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        order = group_order(self.n_groups, self.seed, step * self.groups_per_step, self.groups_per_step, self.groups.draws)
        micro_batches = order.reshape(training.accumulation_steps, training.queries_per_batch)
        total, added = torch.zeros((), device=accelerator.device), 0.0
        for position, rows in enumerate(micro_batches):
            mine = np.array_split(rows, accelerator.num_processes)[accelerator.process_index]
            batch = GroupBatch(queries, docs, self.groups.query_rows[mine], self.groups.doc_rows[mine])
            teacher_scores = None
            if self.groups.teacher_scores is not None:
                teacher_scores = to_device(self.groups.teacher_scores[mine], accelerator.device)
            is_last = position == len(micro_batches) - 1
            with nullcontext() if is_last else accelerator.no_sync(self.wrapped):
                student_scores, others = self._scores(batch)
                # processes are averaged, so that each group weighs 1 / (groups of the step) whatever the slices' sizes
                weight = len(mine) * accelerator.num_processes / self.groups_per_step
                value = weight * group_loss(
                    self.loss, student_scores, teacher_scores, others=others, teacher_is_finite=True, **self.targets
                )
                if self.student.penalty is not None:
                    penalty = self.student.pressure(step / self.steps) / len(micro_batches) * self.student.penalty
                    value, added = value + penalty, added + float(penalty.detach())
                accelerator.backward(value)
            total += value.detach()
            self.tokens_seen += self.student.token_counts(batch)
        before, mean = self.losses.sent, cast(torch.Tensor, accelerator.reduce(total, reduction="mean"))
        self.losses.sent = _Sent.send(step, max(self.rates) * factor, mean)
        if not _reads_late(accelerator.device):
            self.losses.settle()
        if training.max_gradient_norm is not None:
            accelerator.clip_grad_norm_(self.parameters, training.max_gradient_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.done = step + 1
        if self.student.penalty is not None:
            self.penalties.append(added)
        self.losses.note(before)
        if self.checkpoint is not None and self.done % self.checkpoint.every == 0 and self.done < self.last:
            self.losses.settle()
            self._save()

    def _scores(self, batch: GroupBatch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Score the groups of a batch, and with in-batch negatives every query with the other groups' documents, positives left out."""
        if not self.training.in_batch_negatives:
            return self.wrapped(batch), None
        scores, others = self.wrapped(batch, in_batch=True)
        known = self.groups.are_positive(batch.query_rows[:, None], np.unique(batch.doc_rows), batch.docs)  # (B, distinct documents)
        return scores, others.masked_fill(to_device(known, others.device), -math.inf)

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
        tokens = int(cast(torch.Tensor, self.accelerator.reduce(tokens, reduction="sum")))
        if self.checkpoint is not None and self.accelerator.is_main_process:
            durable.remove(self.checkpoint.path)
        history = pd.DataFrame(self.losses.history, columns=["step", "documents_seen", "loss", "learning_rate"])
        if self.penalties:
            history["penalty"] = self.penalties
        documents = self.done * self.groups_per_step * self.group_size
        return TrainingRecord(history=history, documents_seen=documents, tokens_seen=tokens, steps=self.done)

    def _save(self) -> None:
        accelerator = self.accelerator
        tokens = _gathered(accelerator, torch.tensor([self.tokens_seen], device=accelerator.device)).tolist()
        if self.checkpoint is not None and accelerator.is_main_process:
            self.checkpoint.write(
                {
                    "settings": self.checkpoint.settings,
                    "student": self.student.state_dict(),
                    "optimiser": self.optimiser.state_dict(),
                    "scaler": None if accelerator.scaler is None else accelerator.scaler.state_dict(),
                    "done": self.done,
                    "history": self.losses.history,
                    "penalties": self.penalties,
                    "tokens_seen": tokens,
                    "groups": _tensors(self.groups) if self.regrouped else None,
                }
            )
        accelerator.wait_for_everyone()

    def _resume(self, state: _State) -> None:
        self.student.load_state_dict(state["student"])
        self.optimiser.load_state_dict(state["optimiser"])
        if state["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.done = state["done"]
        self.losses.history = [(done, seen, loss, rate) for done, seen, loss, rate in state["history"]]
        self.penalties = list(state.get("penalties", []))
        self.tokens_seen = state["tokens_seen"][self.accelerator.process_index]
        if state["groups"] is not None:
            query_rows, doc_rows, scores = state["groups"]
            scores = None if scores is None else scores.numpy()
            self.groups, self.regrouped = GroupTable(query_rows.numpy(), doc_rows.numpy(), scores, self.groups.positive_pairs), True


class _State(TypedDict):
    """What a checkpoint holds."""

    settings: dict[str, object]
    student: dict[str, torch.Tensor]
    optimiser: dict[str, object]
    scaler: dict[str, object] | None
    done: int
    history: list[tuple[int, int, float, float]]
    penalties: list[float]
    tokens_seen: list[int]  # by each process
    groups: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None] | None  # queries, documents, teacher scores; where drawn anew


def _tensors(groups: GroupTable) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    scores = groups.teacher_scores
    return torch.tensor(groups.query_rows), torch.tensor(groups.doc_rows), None if scores is None else torch.tensor(scores)


class _Checkpoint(NamedTuple):
    """The file of a run's state, which is whole or absent."""

    path: Path
    every: int  # optimiser steps
    settings: dict[str, object]  # what must be equal for it to be continued; the groups are those of the start

    def write(self, state: _State) -> None:
        with files.writing(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with durable.replacing(self.path) as draft:
                torch.save(state, draft)

    def read(self) -> _State | None:
        """Return the state of this run, None where there is none; one that is not what was written is said and counts as not there."""
        if not self.path.exists():
            return None
        if broken := files.broken_archive(self.path):  # by the CRC-32 of all it holds
            LOGGER.warning("the checkpoint %s is damaged (%s), so the training begins anew", self.path, broken)
            return None
        state: _State = torch.load(self.path, map_location="cpu", weights_only=True)  # loading the states moves them to where they belong
        other = [name for name, value in self.settings.items() if state["settings"].get(name) != value]
        if other:
            raise TrainingError(
                f"the checkpoint {self.path} belongs to another run: {', '.join(other)} differ; delete it, or use another folder"
            )
        return state


class _Losses:
    """The losses of a run's steps, each of which may still be on its way to the host when the next step begins."""

    def __init__(self, training: Training, last: int, documents_per_step: int) -> None:
        self.precision, self.last, self.documents_per_step = training.precision, last, documents_per_step
        self.history: list[tuple[int, int, float, float]] = []
        self.sent: _Sent | None = None
        self.untold: list[tuple[int, float]] = []  # (steps done, loss) that progress has not heard of

    def settle(self) -> None:
        """Wait for the loss that is on its way."""
        sent, self.sent = self.sent, None
        self.note(sent)

    def tell(self, progress: OnStep | None) -> None:
        """Tell progress what is known and untold."""
        untold, self.untold = self.untold, []
        if progress is not None:
            for done, value in untold:
                progress(done, self.last, value)

    def note(self, sent: _Sent | None) -> None:
        """Write a step's loss down, and stop where it is no number."""
        if sent is None:
            return
        value, done = sent.read(), sent.step + 1
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} at step {done} of {self.last} (learning rate {sent.rate:.3g}, precision "
                f"{self.precision}); lower the learning rate, keep max_gradient_norm, or use bf16 or fp32 in place of fp16"
            )
        self.history.append((done, done * self.documents_per_step, value, sent.rate))
        self.untold.append((done, value))


class _Sent(NamedTuple):
    """A step's loss on its way to the host."""

    step: int
    rate: float
    value: torch.Tensor
    arrived: torch.Event | None  # of the copy from a GPU; None where there was nothing to copy

    @classmethod
    def send(cls, step: int, rate: float, value: torch.Tensor) -> _Sent:
        if value.device.type != "cuda":
            return cls(step, rate, value, None)
        copy = torch.empty(value.shape, dtype=value.dtype, pin_memory=True).copy_(value, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return cls(step, rate, copy, arrived)

    def read(self) -> float:
        if self.arrived is not None:
            self.arrived.synchronize()
        return float(self.value)


def _gathered(accelerator: Accelerator, tensor: torch.Tensor) -> torch.Tensor:
    """Return the rows of all processes."""
    return cast(torch.Tensor, accelerator.gather(tensor))


def _reads_late(device: torch.device) -> bool:
    """Tell whether a step's loss is read when the next step is on its way: a GPU would else have nothing to do meanwhile."""
    return device.type == "cuda"


def _seed(seed: int, device: torch.device) -> None:
    """Seed the generators that a step draws from; ``torch.manual_seed`` takes a millisecond where no accelerator has been started."""
    if device.type not in ("cpu", "cuda"):
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _check_texts(tables: tuple[TokenTable, TokenTable], queries: TokenTable, docs: TokenTable, epoch: int) -> None:
    found, expected = tuple(map(len, tables)), (len(queries), len(docs))
    if found != expected:
        raise TrainingError(f"the texts of epoch {epoch} have {found} rows (queries, docs); expected the {expected} of the originals")

"""One training loop for all students: groups of pre-tokenised texts, a loss of :mod:`rd_utils.training.losses`, AdamW, accelerate.

The order of the groups is a seeded permutation per epoch, over and over until the budget is spent. The learning rate rises linearly, then
follows its schedule. From epoch to epoch the negatives may be another draw (:class:`GroupTable`) and the texts other ones, and every so
many steps the groups may be drawn anew from what the student has learnt (:func:`train`). The same seed gives the same weights on the same
machine with the same number of threads, also when the run was interrupted and resumed; other processors and thread counts round
differently.
"""

from __future__ import annotations

import functools
import hashlib
import math
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

from rd_utils import durable, files
from rd_utils.models import BiStudent, GroupBatch, Student, check_precision
from rd_utils.models.packed import to_device
from rd_utils.models.tokens import TokenTable
from rd_utils.study.settings import Training
from rd_utils.training.losses import find_loss, group_loss
from rd_utils.workflow.progress import LOGGER

_MIXED_PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
_CHECKPOINT = "checkpoint.pt"


Texts = Callable[[int], tuple[TokenTable, TokenTable]]
Regroup = Callable[[int, Student], "GroupTable"]


class TrainingError(ValueError):
    """Training that cannot start or go on; the message names the offender and the remedy."""


class GroupTable(NamedTuple):
    """Training groups as rows of the token tables: the positive in column 0, then the negatives.

    With ``draws`` > 1 the rows are ``draws`` tables of n / draws base groups each, end to end in one order of queries and positives: the
    first draw of every group's negatives, then the second, and so on. Epoch e trains on draw e % draws, so that an epoch is n / draws
    groups long whatever the strategy.
    """

    query_rows: np.ndarray  # (n,)
    doc_rows: np.ndarray  # (n, G)
    teacher_scores: np.ndarray | None = None  # (n, G) float32, or None for a loss without a teacher
    positive_pairs: np.ndarray | None = None  # sorted int64, query_row * len(docs) + doc_row of all known positives, for in-batch negatives
    draws: int = 1


@dataclass(frozen=True)
class TrainingRecord:
    """What a run saw: one row of ``history`` per optimiser step, and totals."""

    history: pd.DataFrame  # step, documents_seen, loss, learning_rate
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


def group_order(n_groups: int, seed: int, start: int, count: int, draws: int = 1) -> np.ndarray:
    """Return ``count`` rows of groups from position ``start`` of the endless order: a fresh permutation of all base groups per epoch.

    Args:
        n_groups: Number of base groups, which is the length of an epoch.
        seed: Draws the permutations; the number of draws changes none of them.
        start: First position, from 0.
        count: Number of positions.
        draws: How many draws of every base group there are: epoch e takes rows ``e % draws * n_groups`` and on.

    Returns:
        Rows of a :class:`GroupTable`, int64 (count,).

    >>> np.sort(group_order(4, seed=7, start=8, count=4)).tolist()
    [0, 1, 2, 3]
    >>> np.sort(group_order(4, seed=7, start=4, count=4, draws=2)).tolist()
    [4, 5, 6, 7]
    """
    positions = np.arange(start, start + count)
    order = np.empty(count, dtype=np.int64)
    for epoch in range(start // n_groups, (start + count - 1) // n_groups + 1):
        permutation = _permutation(n_groups, seed, epoch)
        inside = positions // n_groups == epoch
        order[inside] = permutation[positions[inside] % n_groups] + epoch % draws * n_groups
    return order


@functools.lru_cache(maxsize=2)  # every step asks for its epoch's, which takes 10 ms for a million groups
def _permutation(n_groups: int, seed: int, epoch: int) -> np.ndarray:
    permutation = np.random.default_rng(np.random.SeedSequence([seed, epoch])).permutation(n_groups)
    permutation.flags.writeable = False
    return permutation


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
    progress: Callable[[int, int, float], None] | None = None,
) -> TrainingRecord:
    """Train a student in place until the budget of documents is spent, or ``training.stop_at`` is reached.

    The budget counts the documents of the groups, accumulation included; in-batch negatives are no further documents. A run that stops
    early is the whole run up to there, bit for bit: the learning rate is that of the whole budget.

    Under ``accelerate launch``, ``torchrun`` or ``training.launch`` every process takes its slice of each micro-batch, and gradients are
    averaged so that the result is that of one process, but for rounding and the masks of dropout. (``torchrun`` without a GPU needs
    ``ACCELERATE_USE_CPU=true``, or each process trains alone.) ``training.processes`` is for what starts them; it is not read here.

    Args:
        student: The student; it is trained in place and returned to evaluation mode.
        queries: Token table of the queries.
        docs: Token table of the documents.
        groups: The groups; teacher scores are needed by distillation losses and ignored by the others.
        loss: A name of :mod:`rd_utils.training.losses`.
        temperature: Divides teacher scores.
        training: Budget and optimiser.
        seed: Draws the order of the groups and dropout; the global random states are as before afterwards.
        smoothing: Share of the loss's targets that is moved to the uniform distribution; see :mod:`rd_utils.training.losses`.
        hard_weight: Weight of LCE beside a distillation loss.
        texts: Gives the (queries, docs) token tables of an epoch, counted from 0 and a function of it alone, with the same rows as
            ``queries`` and ``docs``; asked once per change of epoch. A step takes the texts of the epoch in which it begins.
        regroup: Draws the groups anew: called with n = 1, 2, ... before step n * ``regroup_every``, with the student in evaluation mode
            and without gradients. What it returns replaces the groups, the positives in ``positive_pairs`` stay; it must depend on n and
            the student alone; every process calls it.
        regroup_every: Optimiser steps between two calls of ``regroup``.
        checkpoint_folder: Where a checkpoint is kept every ``training.checkpoint_every`` steps, resumed from where it is present, and
            deleted at the end; None keeps none.
        progress: Called after every optimiser step with the steps done, their total, and the loss; on a GPU one step later, so that
            nothing waits for the loss.

    Returns:
        The record of the run.

    Raises:
        TrainingError: Before the first step when the groups are malformed, teacher scores are missing, in-batch negatives are impossible,
            the precision does not suit the device or a checkpoint belongs to another run; later when the loss is no finite number, or
            ``texts`` or ``regroup`` return what does not fit.
    """
    _check_groups(groups, queries, docs, loss)
    if training.in_batch_negatives:
        _check_in_batch(student, groups, docs, loss, hard_weight)
    if (regroup is None) != (regroup_every is None) or (regroup_every is not None and regroup_every < 1):
        raise TrainingError(f"regroup_every is {regroup_every}, regroup {regroup}; give both, at least 1 step apart, or neither")
    if regroup is not None and groups.draws > 1:
        raise TrainingError(f"regroup draws the groups anew itself, but they come in {groups.draws} draws; leave draws at 1")
    device = PartialState().device
    check_precision(training.precision, device)
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
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        targets = {"temperature": temperature, "smoothing": smoothing, "hard_weight": hard_weight}
        run = _Run(student, accelerator, groups, loss, targets, training, seed, checkpoint_folder)
        epoch, tables = None, (queries, docs)
        try:
            for step in range(run.done, run.last):
                if regroup is not None and step and step % regroup_every == 0:
                    run.regroup(step // regroup_every, regroup, queries, docs)
                if texts is not None and epoch != run.epoch(step):
                    epoch = run.epoch(step)
                    tables = texts(epoch)
                    _check_texts(tables, queries, docs, epoch)
                run.step(step, *tables)
                run.tell(progress)
            run.settle()
            run.tell(progress)
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
        self.history: list[tuple[int, int, float, float]] = []
        self.tokens_seen = 0
        self.done = 0
        self.reads_late = _reads_late(accelerator.device)
        self.sent: _Sent | None = None  # the loss that is still on its way
        self.untold: list[tuple[int, float]] = []  # (steps done, loss) that progress has not heard of
        self.student = student.train()
        optimiser = torch.optim.AdamW(student.parameter_groups(training), betas=training.betas, fused=True)
        self.rates = [group["lr"] for group in optimiser.param_groups]
        self.wrapped, self.optimiser = accelerator.prepare(student, optimiser)
        self.parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        keeps = checkpoint_folder is not None and training.checkpoint_every is not None
        self.checkpoint = Path(checkpoint_folder) / _CHECKPOINT if keeps else None
        self.settings = self._settings()
        self.regrouped = False
        if self.checkpoint is not None and self.checkpoint.exists() and _is_whole(self.checkpoint):
            self._resume()

    def epoch(self, step: int) -> int:
        """Return the epoch in which a step begins."""
        return step * self.groups_per_step // self.n_groups

    def regroup(self, number: int, regroup: Regroup, queries: TokenTable, docs: TokenTable) -> None:
        """Replace the groups by what the student, as it is now, leads to."""
        self.settle()
        self.student.eval()
        with torch.no_grad():
            groups = regroup(number, self.student)
        self.student.train()
        _check_groups(groups, queries, docs, self.loss)
        if groups.doc_rows.shape != self.groups.doc_rows.shape or groups.draws != 1:
            raise TrainingError(
                f"regroup {number} returned doc_rows of shape {groups.doc_rows.shape} in {groups.draws} draws; expected "
                f"{self.groups.doc_rows.shape} in one: as many groups, of the same size, as at first"
            )
        digest = torch.frombuffer(bytearray(_digest(groups).digest()), dtype=torch.uint8).to(self.accelerator.device)
        if len(torch.unique(self.accelerator.gather(digest[None]), dim=0)) > 1:
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
        total = torch.zeros((), device=accelerator.device)
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
                accelerator.backward(value)
            total += value.detach()
            self.tokens_seen += self.student.token_counts(batch)
        before = self.sent
        self.sent = _Sent.send(step, max(self.rates) * factor, accelerator.reduce(total, reduction="mean"))
        if not self.reads_late:
            self.settle()
        if training.max_gradient_norm is not None:
            accelerator.clip_grad_norm_(self.parameters, training.max_gradient_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.done = step + 1
        if before is not None:
            self._note(before)
        if self.checkpoint is not None and self.done % training.checkpoint_every == 0 and self.done < self.last:
            self.settle()
            self._save()

    def settle(self) -> None:
        """Wait for the loss that is on its way."""
        if self.sent is not None:
            sent, self.sent = self.sent, None
            self._note(sent)

    def tell(self, progress: Callable[[int, int, float], None] | None) -> None:
        """Tell progress what is known and untold."""
        untold, self.untold = self.untold, []
        if progress is not None and self.accelerator.is_main_process:
            for done, value in untold:
                progress(done, self.last, value)

    def _note(self, sent: _Sent) -> None:
        """Write a step's loss down, and stop where it is no number."""
        value, done = sent.read(), sent.step + 1
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} at step {done} of {self.last} (learning rate {sent.rate:.3g}, precision "
                f"{self.training.precision}); lower the learning rate, keep max_gradient_norm, or use bf16 or fp32 in place of fp16"
            )
        self.history.append((done, done * self.groups_per_step * self.group_size, value, sent.rate))
        self.untold.append((done, value))

    def _scores(self, batch: GroupBatch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Score the groups of a batch, and with in-batch negatives every query with the other groups' documents, positives left out."""
        if not self.training.in_batch_negatives:
            return self.wrapped(batch), None
        scores, others = self.wrapped(batch, in_batch=True)
        known = _find_positives(batch, self.groups.positive_pairs)
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
        tokens = int(self.accelerator.reduce(tokens, reduction="sum"))
        if self.checkpoint is not None and self.accelerator.is_main_process:
            durable.remove(self.checkpoint)
        history = pd.DataFrame(self.history, columns=["step", "documents_seen", "loss", "learning_rate"])
        documents = self.done * self.groups_per_step * self.group_size
        return TrainingRecord(history=history, documents_seen=documents, tokens_seen=tokens, steps=self.done)

    def _save(self) -> None:
        """Write the checkpoint beside its place, then rename it, so that it is whole or absent."""
        tokens = self.accelerator.gather(torch.tensor([self.tokens_seen], device=self.accelerator.device)).tolist()
        if self.accelerator.is_main_process:
            state = {
                "settings": self.settings,
                "student": self.student.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "scaler": None if self.accelerator.scaler is None else self.accelerator.scaler.state_dict(),
                "done": self.done,
                "history": self.history,
                "tokens_seen": tokens,
                "groups": [None if array is None else torch.tensor(array) for array in self.groups[:3]] if self.regrouped else None,
            }
            with files.writing(self.checkpoint.parent):
                self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
                with durable.replacing(self.checkpoint) as draft:
                    torch.save(state, draft)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)  # loading the states moves them to where they belong
        other = [name for name, value in self.settings.items() if state["settings"].get(name) != value]
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
        if state["groups"] is not None:
            arrays = [None if array is None else array.cpu().numpy() for array in state["groups"]]
            self.groups, self.regrouped = GroupTable(*arrays, positive_pairs=self.groups.positive_pairs), True

    def _settings(self) -> dict[str, Any]:
        """Return what must be equal for a checkpoint to be continued; the groups are those of the start."""
        return {
            "architecture": self.student.architecture.model_dump_json(),
            "training": self.training.model_dump_json(),
            "loss": self.loss,
            **self.targets,
            "seed": self.seed,
            "groups": _digest(self.groups).hexdigest(),
            "processes": self.accelerator.num_processes,
        }


def _is_whole(checkpoint: Path) -> bool:
    """Tell whether a checkpoint is what was written, by the CRC-32 of all it holds; one that is not is said and counts as not there."""
    broken = files.broken_archive(checkpoint)
    if broken is not None:
        LOGGER.warning("the checkpoint %s is damaged (%s), so the training begins anew", checkpoint, broken)
    return broken is None


class _Sent(NamedTuple):
    """A step's loss on its way to the host."""

    step: int
    rate: float
    value: torch.Tensor
    arrived: Any  # of the copy from a GPU: an event; None where there was nothing to copy

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


def _digest(groups: GroupTable) -> Any:
    digest = hashlib.sha256()
    for part in groups:
        if part is not None:
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest


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
    if groups.draws < 1 or n_groups % groups.draws:
        raise TrainingError(f"{n_groups} groups do not divide into {groups.draws} draws; every draw has one row per base group")
    keys = np.column_stack([groups.query_rows, groups.doc_rows[:, 0]]).reshape(groups.draws, -1, 2)
    moved = (keys != keys[0]).any(axis=2)
    if moved.any():
        draw, group = (int(i) for i in np.argwhere(moved)[0])
        raise TrainingError(
            f"draw {draw} of group {group} has another query or positive than draw 0, as have {int(moved.sum()) - 1} more; "
            "sort the groups by draw, and every draw in the same order"
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


def _check_in_batch(student: Student, groups: GroupTable, docs: TokenTable, loss: str, hard_weight: float) -> None:
    if not isinstance(student, BiStudent):
        raise TrainingError("in_batch_negatives needs a bi-encoder: a cross-encoder would score every query with every document of a batch")
    if find_loss(loss).needs_teacher and not hard_weight:
        raise TrainingError(f"in_batch_negatives have no teacher scores for the loss {loss!r}; use the loss lce, or give it a hard_weight")
    if groups.positive_pairs is None:
        raise TrainingError(
            "in_batch_negatives needs to know all positives, or some would be trained on as negatives, but positive_pairs is None; "
            "pass the sorted query_row * len(docs) + doc_row of every known positive"
        )
    if (np.diff(groups.positive_pairs) < 0).any():
        raise TrainingError("positive_pairs are not sorted; pass them in ascending order")
    unknown = ~_contains(groups.positive_pairs, _pair_numbers(groups.query_rows, groups.doc_rows[:, 0], docs))
    if unknown.any():
        raise TrainingError(
            f"the positives of {int(unknown.sum())} of {len(unknown)} groups are not among positive_pairs, the first of group "
            f"{int(unknown.argmax())}; make the pairs as query_row * len(docs) + doc_row of these same tables"
        )


def _pair_numbers(query_rows: np.ndarray, doc_rows: np.ndarray, docs: TokenTable) -> np.ndarray:
    return query_rows.astype(np.int64) * len(docs) + doc_rows


def _contains(positive_pairs: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Tell which pairs are among the sorted ones, by bisection: these are many, and asked for at every step."""
    if not len(positive_pairs):
        return np.zeros(pairs.shape, dtype=bool)
    places = np.searchsorted(positive_pairs, pairs)
    return positive_pairs[np.minimum(places, len(positive_pairs) - 1)] == pairs


def _find_positives(batch: GroupBatch, positive_pairs: np.ndarray) -> np.ndarray:
    """Tell which documents of a batch are known positives of which of its queries: (B, number of distinct documents)."""
    return _contains(positive_pairs, _pair_numbers(batch.query_rows[:, None], np.unique(batch.doc_rows), batch.docs))


def _check_texts(tables: tuple[TokenTable, TokenTable], queries: TokenTable, docs: TokenTable, epoch: int) -> None:
    found, expected = tuple(map(len, tables)), (len(queries), len(docs))
    if found != expected:
        raise TrainingError(f"the texts of epoch {epoch} have {found} rows (queries, docs); expected the {expected} of the originals")

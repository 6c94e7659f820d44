"""What the peers' workers share: reading the groups, and training that pauses between repeats. Needs numpy alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.worker import Clock


class Groups:
    """Texts and groups of a collection, as :mod:`benchmarks.data` writes them."""

    def __init__(self, folder: str) -> None:
        texts = json.loads((Path(folder) / "texts.json").read_text(encoding="utf-8"))
        arrays = np.load(Path(folder) / "groups.npz")
        self.queries, self.docs = texts["queries"], texts["docs"]
        self.query_rows, self.doc_rows, self.scores = (arrays[name] for name in ("query_rows", "doc_rows", "scores"))

    def rows(self, groups: list[int]) -> list[tuple[str, list[str], list[float]]]:
        """Return (query, documents, teacher scores) of groups."""
        return [
            (self.queries[self.query_rows[row]], [self.docs[doc] for doc in self.doc_rows[row]], self.scores[row].tolist())
            for row in groups
        ]


def trainer_arguments(folder: str, batch: int, steps: int, precision: str, settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what the trainers that are made from transformers' get: the same optimiser for all, and nothing but training.

    On a GPU (``settings["device"]``) batches may be made by ``settings["workers"]`` processes beside the trainer.
    """
    settings = settings or {}
    on_gpu = settings.get("device", "cpu") != "cpu"
    return {
        "output_dir": folder,
        "per_device_train_batch_size": batch,
        "max_steps": steps,
        "learning_rate": 1e-5,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch_fused",
        "bf16": precision == "bf16",
        "seed": 7,
        "use_cpu": not on_gpu,
        "save_strategy": "no",
        "eval_strategy": "no",
        "logging_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_num_workers": settings.get("workers", 0),
        "dataloader_pin_memory": on_gpu,
    }


def one_thread(settings: dict[str, Any]) -> str:
    """Return the device that the settings name; on a CPU let torch have one thread."""
    device = settings.get("device", "cpu")
    if device == "cpu":
        import torch

        torch.set_num_threads(1)
    return device


def trainer_callback(tick: Callable[[], None]) -> Any:
    """Return the callback that tells these trainers' steps."""
    from transformers import TrainerCallback

    class Ticks(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            tick()

    return Ticks()


class Paced:
    """A trainer that runs in a thread of its own and stops between repeats, so that a repeat is whole steps of one long training.

    The first step of a training is slower than the later ones; here it falls into the warm-up.

    Args:
        train: Trains, and calls what it is given at the end of every step.
        batch: Groups a step, for what is reported.
        group_size: Documents a group.
    """

    def __init__(self, train: Callable[[Callable[[], None]], None], batch: int, group_size: int) -> None:
        self._train, self._documents = train, batch * group_size
        self._resume, self._stopped = threading.Event(), threading.Event()
        self._left = 0
        self._error: BaseException | None = None
        self.steps = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def advance(self, steps: int) -> dict[str, Any]:
        """Let the trainer take so many steps; return their seconds and documents."""
        self._left = steps
        self._stopped.clear()
        clock = Clock()
        self._resume.set()
        if self._thread.ident is None:
            self._thread.start()
        self._stopped.wait()
        if self._error is not None:
            raise self._error
        return clock.rates("documents", steps * self._documents)

    def _run(self) -> None:
        try:
            self._train(self._tick)
            raise RuntimeError(f"the trainer ended after {self.steps} steps, before it was asked to")
        except BaseException as error:
            self._error = error
            self._stopped.set()

    def _tick(self) -> None:
        self.steps += 1
        self._left -= 1
        if self._left == 0:
            self._resume.clear()
            self._stopped.set()
            self._resume.wait()


class Trains:
    """What the training workers share: the first command brings all groups and starts the training, every command lets it take steps."""

    paced: Paced | None = None

    def __call__(self, command: dict[str, Any]) -> dict[str, Any]:
        """Take ``command["steps"]`` steps; the first answer also has the scores of the first batch before training, where there are any."""
        more = {}
        if self.paced is None:
            rows, batch = command["groups"], command["batch"]
            scores = self.scores(rows[:batch])
            more = {"scores": scores} if scores else {}
            self.paced = Paced(lambda tick: self.train(rows, batch, tick), batch, command["group_size"])
        return self.paced.advance(command["steps"]) | more

    def train(self, groups: list[int], batch: int, tick: Callable[[], None]) -> None:
        """Train on groups in their order, ``batch`` a step."""
        raise NotImplementedError

    def scores(self, groups: list[int]) -> list[float]:
        """Return the untrained model's scores of groups, or none where they cannot be compared with the others'."""
        return []

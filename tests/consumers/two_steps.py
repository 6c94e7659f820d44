"""What the scripts beside this one share. Each reads an export by a consumer's own loader and trains two steps by its own trainer.

They run in the consumers' environments, not the project's: ``PYTHON with_NAME.py EXPORT MODEL WORK`` prints one line of JSON.

- ``rows``: query, documents and scores (None where the consumer takes none) of every row, as the loader gives them.
- ``batch``: the same of the first step, as the loss is given them, in the words that the tokenizer made.
- ``losses``: of every step.
- ``moved``: whether the weights are others after it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

QUERY_LENGTH, DOCUMENT_LENGTH = 32, 128  # tokens, which no text of the test exceeds


def common(work: Path) -> dict[str, Any]:
    """Return what transformers' TrainingArguments of all consumers are given."""
    return {
        "output_dir": str(work / "trained"), "max_steps": 2, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "logging_steps": 1,
        "report_to": [], "save_strategy": "no", "use_cpu": True, "disable_tqdm": True,
    }  # fmt: skip


def words(tokenizer: Any, ids: Any, others: Container[str] = ()) -> list[str]:
    """Return the words of every text of a batch, but for special tokens and ``others``."""
    tokens = map(tokenizer.convert_ids_to_tokens, ids.tolist())
    return [" ".join(token for token in text if token not in tokenizer.all_special_tokens and token not in others) for text in tokens]


def grouped(queries: list[str], docs: list[str], scores: Any) -> list[Any]:
    """Return the rows of a batch whose documents stand one group behind the other."""
    size = len(docs) // len(queries)
    of_groups = [None] * len(queries) if scores is None else scores
    return [[query, docs[row * size : (row + 1) * size], of_groups[row]] for row, query in enumerate(queries)]


def train(trainer: Any, rows: list[Any], seen: list[Any]) -> dict[str, Any]:
    """Train, and return what the script prints; ``seen`` holds the batches that a hook noted meanwhile."""
    before = {name: weights.detach().clone() for name, weights in trainer.model.named_parameters()}
    trainer.train()
    moved = any(not weights.detach().equal(before[name]) for name, weights in trainer.model.named_parameters())
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"rows": rows, "batch": seen[0], "losses": losses, "moved": moved}


def answer(run: Callable[[Path, Path, Path], dict[str, Any]]) -> None:
    """Print what ``run`` returns for the folders on the command line; what libraries print goes to stderr."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        answers.write(json.dumps(run(*map(Path, sys.argv[1:]))) + "\n")

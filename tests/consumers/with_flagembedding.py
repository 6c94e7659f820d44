"""FlagEmbedding: the runner of its encoder-only embedders with distillation, which makes its data set, collator and trainer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import two_steps


def run(export: Path, model: Path, work: Path) -> dict[str, Any]:
    """Read the file of ``export`` and train an embedder of the encoder ``model``."""
    from FlagEmbedding.abc.finetune.embedder import AbsEmbedderDataArguments, AbsEmbedderModelArguments, AbsEmbedderTrainingArguments
    from FlagEmbedding.finetune.embedder.encoder_only.base import EncoderOnlyEmbedderRunner

    data = AbsEmbedderDataArguments(
        train_data=[str(export / "train.jsonl")], cache_path=str(work), knowledge_distillation=True, train_group_size=group_size(export),
        query_max_len=two_steps.QUERY_LENGTH, passage_max_len=two_steps.DOCUMENT_LENGTH,
    )  # fmt: skip
    runner = EncoderOnlyEmbedderRunner(
        model_args=AbsEmbedderModelArguments(str(model)),
        data_args=data,
        training_args=AbsEmbedderTrainingArguments(**two_steps.common(work)),
    )
    seen = []

    def note(_: Any, __: tuple[Any, ...], given: dict[str, Any]) -> None:
        texts = [two_steps.words(runner.tokenizer, given[part]["input_ids"]) for part in ("queries", "passages")]
        scores, n = given["teacher_scores"], len(texts[0])
        size = len(scores) // n
        seen.append(two_steps.grouped(*texts, [list(scores[row * size : (row + 1) * size]) for row in range(n)]))

    runner.model.register_forward_pre_hook(note, with_kwargs=True)
    return two_steps.train(runner.trainer, list(runner.train_dataset), seen)


def group_size(export: Path) -> int:
    """Return how many documents a group has."""
    with (export / "train.jsonl").open(encoding="utf-8") as file:
        row = json.loads(next(file))
    return len(row["pos"]) + len(row["neg"])


if __name__ == "__main__":
    two_steps.answer(run)

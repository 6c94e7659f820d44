"""PyLate: KDProcessing over the three tables, its Distillation, its collator, and the trainer that it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import two_steps


def run(export: Path, model: Path, work: Path) -> dict[str, Any]:
    """Read the tables of ``export`` and train a ColBERT of the encoder ``model``."""
    from datasets import load_dataset
    from pylate.losses import Distillation
    from pylate.models import ColBERT
    from pylate.utils import ColBERTCollator, KDProcessing
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

    def table(name: str) -> Any:
        return load_dataset("parquet", data_files=str(export / f"{name}.parquet"), split="train", cache_dir=str(work))

    groups = table("train")
    groups.set_transform(KDProcessing(queries=table("queries"), documents=table("documents")).transform)
    colbert = ColBERT(
        str(model), device="cpu", query_length=two_steps.QUERY_LENGTH, document_length=two_steps.DOCUMENT_LENGTH, embedding_size=8
    )
    loss, seen = Distillation(model=colbert), []

    def note(_: Any, given: tuple[Any, ...]) -> None:
        (query, docs), scores = given
        own = colbert.query_prefix, colbert.document_prefix
        texts = [two_steps.words(colbert.tokenizer, part["input_ids"], own) for part in (query, docs)]
        seen.append(two_steps.grouped(*texts, scores.tolist()))

    loss.register_forward_pre_hook(note)
    trainer = SentenceTransformerTrainer(
        model=colbert,
        args=SentenceTransformerTrainingArguments(**two_steps.common(work)),
        train_dataset=groups,
        loss=loss,
        data_collator=ColBERTCollator(tokenize_fn=colbert.tokenize),
    )
    rows = [[row["query"], row["documents"], row["scores"]] for row in groups]
    return two_steps.train(trainer, rows, seen)


if __name__ == "__main__":
    two_steps.answer(run)

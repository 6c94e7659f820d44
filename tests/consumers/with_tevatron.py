"""tevatron: its loader with its default preprocessor, its data set, collator, model and trainer. Its loss knows no teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import two_steps


def run(export: Path, model: Path, work: Path) -> dict[str, Any]:
    """Read the folder ``export`` and train a tied bi-encoder of the encoder ``model``."""
    import torch
    from tevatron.arguments import DataArguments, DenseTrainingArguments, ModelArguments
    from tevatron.data import QPCollator, TrainDataset
    from tevatron.datasets import HFTrainDataset
    from tevatron.modeling import DenseModel
    from tevatron.trainer import DenseTrainer
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model), use_fast=False)  # as its own command does: only slow ones take tokens
    data = DataArguments(
        dataset_name=str(export), dataset_proc_num=1, q_max_len=two_steps.QUERY_LENGTH, p_max_len=two_steps.DOCUMENT_LENGTH
    )
    loaded = HFTrainDataset(tokenizer, data, cache_dir=str(work)).process()

    def texts(tokens: list[list[int]]) -> list[str]:
        return [two_steps.words(tokenizer, torch.tensor([text]))[0] for text in tokens]

    rows = [[*texts([row["query"]]), texts(row["positives"] + row["negatives"]), None] for row in loaded]
    data.train_n_passages = len(rows[0][1])
    arguments = DenseTrainingArguments(**two_steps.common(work))
    dense, seen = DenseModel.build(ModelArguments(str(model)), data, arguments), []

    def note(_: Any, __: tuple[Any, ...], given: dict[str, Any]) -> None:
        batch = [two_steps.words(tokenizer, given[part]["input_ids"]) for part in ("query", "passage")]
        seen.append(two_steps.grouped(*batch, None))

    dense.register_forward_pre_hook(note, with_kwargs=True)
    dataset = TrainDataset(data, loaded, tokenizer)
    collator = QPCollator(tokenizer, max_q_len=data.q_max_len, max_p_len=data.p_max_len)
    trainer = DenseTrainer(model=dense, args=arguments, train_dataset=dataset, data_collator=collator)
    dataset.trainer = trainer
    return two_steps.train(trainer, rows, seen)


if __name__ == "__main__":
    two_steps.answer(run)

"""tevatron: its dataset, model and trainer, with MarginMSE put in the place of its contrastive loss, and padding to the longest text.

Its release on PyPI has no distillation loss, and its collator pads to the limit, which would be slower.
"""

from __future__ import annotations

import tempfile
from typing import Any

from benchmarks.peers.common import Groups, Trains, trainer_arguments, trainer_callback
from benchmarks.worker import serve

PACKAGES = ("tevatron", "transformers", "torch", "accelerate")


class Training(Trains):
    """``DenseTrainer`` on a tied bi-encoder, which pools the first token."""

    def __init__(self, settings: dict[str, Any]) -> None:
        import torch
        from transformers import AutoTokenizer

        torch.set_num_threads(1)
        self.settings, self.groups = settings, Groups(settings["data"])
        self.tokenizer = AutoTokenizer.from_pretrained(settings["model"])

    def train(self, groups: list[int], batch: int, tick: Any) -> None:
        """Train on groups in their order, ``batch`` a step."""
        import torch
        from tevatron.arguments import DataArguments, DenseTrainingArguments, ModelArguments
        from tevatron.data import TrainDataset
        from tevatron.modeling import DenseModel
        from tevatron.trainer import DenseTrainer
        from torch.utils.data import SequentialSampler

        settings = self.settings
        rows = self.groups.rows(groups)
        size = len(rows[0][1])

        class Scored(TrainDataset):
            def __getitem__(self, item: int) -> Any:
                return (*super().__getitem__(item), torch.tensor(rows[item][2]))

        class Distilling(DenseTrainer):
            def _get_train_sampler(self, *_: Any) -> Any:
                return SequentialSampler(self.train_dataset)

            def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> Any:
                query, passage, teacher = inputs
                queries, passages = model.encode_query(query)[1], model.encode_passage(passage)[1]
                scores = (queries[:, None] * passages.reshape(len(queries), size, -1)).sum(-1)
                return torch.nn.functional.mse_loss(scores[:, :1] - scores[:, 1:], teacher[:, :1] - teacher[:, 1:])

        def collate(features: list[Any]) -> Any:
            queries, passages, scores = zip(*features, strict=True)
            padded = [self.tokenizer.pad(part, padding=True, return_tensors="pt") for part in (list(queries), sum(passages, []))]
            return [*map(dict, padded), torch.stack(scores)]

        with tempfile.TemporaryDirectory() as folder:
            data = DataArguments(
                train_n_passages=size, q_max_len=settings["max_query_length"], p_max_len=settings["max_length"],
                positive_passage_no_shuffle=True, negative_passage_no_shuffle=True,
            )  # fmt: skip
            common = trainer_arguments(folder, batch, len(rows) // batch, settings.get("precision", "fp32"))
            arguments = DenseTrainingArguments(**common, remove_unused_columns=False)
            options = {"attn_implementation": settings["attention"]} if settings.get("attention") else {}
            model = DenseModel.build(ModelArguments(settings["model"]), data, arguments, **options)
            texts = [{"query": query, "positives": docs[:1], "negatives": docs[1:]} for query, docs, _ in rows]
            dataset = Scored(data, texts, self.tokenizer)
            trainer = Distilling(
                model=model, args=arguments, train_dataset=dataset, data_collator=collate, callbacks=[trainer_callback(tick)]
            )
            dataset.trainer = trainer
            trainer.train()


if __name__ == "__main__":
    serve(Training, PACKAGES)

"""rankers: its trainer with its Dot and Cat models, and its ``CatTransformer``."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.peers.common import Groups, Trains, one_thread, trainer_arguments, trainer_callback
from benchmarks.worker import Clock, serve

PACKAGES = ("rankers", "transformers", "torch", "accelerate", "python-terrier")


def write_files(folder: Path, rows: list[tuple[str, list[str], list[float]]]) -> Any:
    """Write groups as the library reads them: triples in JSON lines and teacher scores in gzip JSON; return its corpus."""
    from rankers import Corpus

    doc_ids: dict[str, str] = {}
    queries: dict[str, str] = {}
    teacher: dict[str, dict[str, float]] = {}
    with (folder / "groups.jsonl").open("w", encoding="utf-8") as stream:
        for number, (query, docs, scores) in enumerate(rows):
            ids = [doc_ids.setdefault(doc, str(len(doc_ids))) for doc in docs]
            queries[str(number)] = query
            teacher[str(number)] = dict(zip(ids, scores, strict=True))
            stream.write(json.dumps({"query_id": str(number), "doc_id_a": ids[0], "doc_id_b": ids[1:]}) + "\n")
    with gzip.open(folder / "teacher.json.gz", "wt") as stream:
        json.dump(teacher, stream)
    return Corpus(documents={number: doc for doc, number in doc_ids.items()}, queries=queries)


class Training(Trains):
    """``RankerTrainer``; the loss is MarginMSE on the group's scores."""

    def __init__(self, settings: dict[str, Any]) -> None:
        one_thread(settings)
        self.groups = Groups(settings["data"])
        self.load(settings)

    def load(self, settings: dict[str, Any]) -> None:
        """Load the student that ``settings`` name."""
        from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

        self.settings = settings
        self.tokenizer = AutoTokenizer.from_pretrained(settings["model"])
        options = {"attn_implementation": settings["attention"]} if settings.get("attention") else {}
        if settings["kind"] == "bi":
            from rankers import Dot, DotConfig

            encoder = AutoModel.from_pretrained(settings["model"], **options)
            config = DotConfig(settings["model"], pooling_type=settings["pooling"])
            self.model = Dot(encoder, self.tokenizer, config)
        else:
            from rankers import Cat

            encoder = AutoModelForSequenceClassification.from_pretrained(settings["model"], **options)
            self.model = Cat(encoder, self.tokenizer, AutoConfig.from_pretrained(settings["model"]))
        self.encoder = encoder

    def train(self, groups: list[int], batch: int, tick: Any) -> None:
        """Train on groups in their order, ``batch`` a step."""
        self.fit(self.groups.rows(groups), batch, tick)

    def fit(self, rows: list[Any], batch: int, tick: Any) -> None:
        """Train on (query, documents, scores) in their order, ``batch`` a step."""
        from rankers import CatDataCollator, DotDataCollator, RankerTrainer, RankerTrainingArguments, TrainingDataset
        from rankers.train.loss.torch import MarginMSELoss

        class Loss(MarginMSELoss):
            def forward(self, *arguments: Any, **more: Any) -> tuple[Any, dict[str, Any]]:
                return super().forward(*arguments, **more), {}  # the model takes the length of what a loss returns, which a scalar has not

        settings, size = self.settings, len(rows[0][1])
        with tempfile.TemporaryDirectory() as folder:
            corpus = write_files(Path(folder), rows)
            dataset = TrainingDataset(f"{folder}/groups.jsonl", corpus, teacher_file=f"{folder}/teacher.json.gz", group_size=size)
            collator = DotDataCollator if settings["kind"] == "bi" else CatDataCollator
            limits = settings["max_query_length"], settings["max_length"]
            if settings["kind"] != "bi":
                limits = limits[0], limits[1] - limits[0]  # it cuts the pair at their sum
            common = trainer_arguments(folder, batch, len(rows) // batch, settings.get("precision", "fp32"), settings)
            arguments = RankerTrainingArguments(
                **common, group_size=size, remove_unused_columns=False, train_sampling_strategy="sequential"
            )
            arguments.past_index = -1  # which the trainer reads, and current transformers no longer has
            trainer = RankerTrainer(
                model=self.model, args=arguments, train_dataset=dataset, loss_fn=Loss(), callbacks=[trainer_callback(tick)],
                data_collator=collator(self.tokenizer, q_max_length=limits[0], d_max_length=limits[1]),
            )  # fmt: skip
            trainer.log = lambda *_, **__: None  # it logs at every step whatever the strategy
            trainer.train()

    def scores(self, groups: list[int]) -> list[float]:
        """Return the untrained model's scores of groups, where it computes what the others do."""
        if self.settings["kind"] != "bi" or self.settings["pooling"] == "mean":
            return []  # its cross-encoder has two labels; its mean counts the padding: nothing to compare with
        import torch

        rows = self.groups.rows(groups)
        self.model.eval()
        texts = [query for query, _, _ in rows], [doc for _, docs, _ in rows for doc in docs]
        limits = self.settings["max_query_length"], self.settings["max_length"]
        with torch.no_grad():
            queries, docs = (
                self.encoder(
                    **self.tokenizer(part, padding=True, truncation=True, max_length=limit, return_tensors="pt")
                ).last_hidden_state[:, 0]
                for part, limit in zip(texts, limits, strict=True)
            )
        return (queries[:, None] * docs.reshape(len(rows), -1, docs.shape[1])).sum(-1).ravel().tolist()


def cat_transformer(checkpoint: str, max_length: int, batch_size: int = 64) -> Any:
    """Return a cross-encoder of two labels as ``CatTransformer``."""
    from rankers.pyterrier.cat import CatTransformer
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint, model_max_length=max_length)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    return CatTransformer.from_model(model, tokenizer, batch_size=batch_size)


class Scoring:
    """``CatTransformer.transform``: the log-softmax of the second of two labels, in the frame's order, 64 pairs a batch."""

    def __init__(self, settings: dict[str, Any]) -> None:
        import torch

        torch.set_num_threads(1)
        self.groups = Groups(settings["data"])
        self.transformer = cat_transformer(settings["model"], settings["max_length"], settings.get("batch_size", 64))

    def __call__(self, command: dict[str, Any]) -> dict[str, Any]:
        """Score the pairs of ``command``."""
        import pandas as pd

        frame = pd.DataFrame({"qid": [str(row) for row in command["query_rows"]], "docno": [str(row) for row in command["doc_rows"]]})
        frame["query"] = [self.groups.queries[row] for row in command["query_rows"]]
        frame["text"] = [self.groups.docs[row] for row in command["doc_rows"]]
        clock = Clock()
        self.transformer.transform(frame)
        return clock.rates("pairs", len(frame))


WORK = {"training": Training, "scoring": Scoring}

if __name__ == "__main__":
    serve(lambda settings: WORK[settings["work"]](settings), PACKAGES)

"""sentence-transformers: its trainers for bi-encoders and cross-encoders, ``CrossEncoder.predict``, ``mine_hard_negatives``.

Runs in the project's environment, which has the same release, or in one with OpenVINO.
"""

from __future__ import annotations

import tempfile
from typing import Any

from benchmarks.peers.common import Groups, Trains, one_thread, trainer_arguments, trainer_callback
from benchmarks.worker import Clock, serve

PACKAGES = ("sentence-transformers", "transformers", "torch", "datasets", "accelerate", "optimum", "optimum-intel", "openvino")


def _arguments(settings: dict[str, Any], cls: Any, batch: int, steps: int, folder: str) -> Any:
    from sentence_transformers.sampler import DefaultBatchSampler
    from torch.utils.data import SequentialSampler

    def in_order(dataset: Any, batch_size: int, drop_last: bool, **_: Any) -> Any:
        return DefaultBatchSampler(SequentialSampler(dataset), batch_size=batch_size, drop_last=drop_last)

    return cls(**trainer_arguments(folder, batch, steps, settings.get("precision", "fp32"), settings), batch_sampler=in_order)


class BiTraining(Trains):
    """``SentenceTransformerTrainer`` with ``MarginMSELoss``: query, positive, fifteen negatives, and the margins as labels."""

    def __init__(self, settings: dict[str, Any]) -> None:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.losses import MarginMSELoss
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

        device = one_thread(settings)
        self.settings, self.groups = settings, Groups(settings["data"])
        options = {"attn_implementation": settings["attention"]} if settings.get("attention") else {}
        transformer = Transformer(
            settings["model"], max_seq_length=settings["max_length"], query_length=settings["max_query_length"], model_kwargs=options
        )
        pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode=settings["pooling"])
        self.model = SentenceTransformer(modules=[transformer, pooling], device=device, similarity_fn_name="dot")
        self.loss = MarginMSELoss(self.model)

    def train(self, groups: list[int], batch: int, tick: Any) -> None:
        """Train on groups in their order, ``batch`` a step."""
        from datasets import Dataset
        from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

        rows = self.groups.rows(groups)
        columns: dict[str, list[Any]] = {"query": [query for query, _, _ in rows], "positive": [docs[0] for _, docs, _ in rows]}
        for number in range(1, len(rows[0][1])):
            columns[f"negative_{number}"] = [docs[number] for _, docs, _ in rows]
        columns["label"] = [[scores[0] - score for score in scores[1:]] for _, _, scores in rows]
        with tempfile.TemporaryDirectory() as folder:
            SentenceTransformerTrainer(
                model=self.model, loss=self.loss, train_dataset=Dataset.from_dict(columns), callbacks=[trainer_callback(tick)],
                args=_arguments(self.settings, SentenceTransformerTrainingArguments, batch, len(rows) // batch, folder),
            ).train()  # fmt: skip

    def scores(self, groups: list[int]) -> list[float]:
        """Return the untrained model's scores of groups."""
        rows = self.groups.rows(groups)
        self.model.eval()
        queries = self.model.encode_query([query for query, _, _ in rows], convert_to_tensor=True, show_progress_bar=False)
        docs = self.model.encode_document([doc for _, docs, _ in rows for doc in docs], convert_to_tensor=True, show_progress_bar=False)
        return (queries[:, None] * docs.reshape(len(rows), -1, docs.shape[1])).sum(-1).ravel().tolist()


class CrossTraining(Trains):
    """``CrossEncoderTrainer`` with ``ListNetLoss``: a query, its sixteen documents and the teacher's scores, all pairs in one pass."""

    def __init__(self, settings: dict[str, Any]) -> None:
        import torch
        from sentence_transformers import CrossEncoder
        from sentence_transformers.cross_encoder.losses import ListNetLoss

        device = one_thread(settings)
        self.settings, self.groups = settings, Groups(settings["data"])
        options = {"attn_implementation": settings["attention"]} if settings.get("attention") else {}
        self.model = CrossEncoder(
            settings["model"],
            num_labels=1,
            max_length=settings["max_length"],
            device=device,
            activation_fn=torch.nn.Identity(),
            model_kwargs=options,
        )
        self.loss = ListNetLoss(self.model)

    def train(self, groups: list[int], batch: int, tick: Any) -> None:
        """Train on groups in their order, ``batch`` a step."""
        from datasets import Dataset
        from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments

        rows = self.groups.rows(groups)
        data = {"query": [row[0] for row in rows], "docs": [row[1] for row in rows], "labels": [row[2] for row in rows]}
        with tempfile.TemporaryDirectory() as folder:
            CrossEncoderTrainer(
                model=self.model, loss=self.loss, train_dataset=Dataset.from_dict(data), callbacks=[trainer_callback(tick)],
                args=_arguments(self.settings, CrossEncoderTrainingArguments, batch, len(rows) // batch, folder),
            ).train()  # fmt: skip

    def scores(self, groups: list[int]) -> list[float]:
        """Return the untrained model's scores of groups."""
        pairs = [(query, doc) for query, docs, _ in self.groups.rows(groups) for doc in docs]
        return self.model.predict(pairs, show_progress_bar=False).astype(float).tolist()


class Scoring:
    """``CrossEncoder.predict``, which sorts by length itself, in the precision or on the backend asked for."""

    def __init__(self, settings: dict[str, Any]) -> None:
        import torch
        from sentence_transformers import CrossEncoder

        torch.set_num_threads(1)
        self.settings, self.groups = settings, Groups(settings["data"])
        options: dict[str, Any] = {}
        if settings.get("backend"):
            options["backend"] = settings["backend"]
            options["model_kwargs"] = {"ov_config": {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": settings.get("hint", "f32")}}
        elif settings.get("precision") == "bf16":
            options["model_kwargs"] = {"dtype": torch.bfloat16}
        self.model = CrossEncoder(
            settings["model"], num_labels=1, max_length=settings["max_length"], device="cpu", activation_fn=torch.nn.Identity(), **options
        )

    def __call__(self, command: dict[str, Any]) -> dict[str, Any]:
        """Score the pairs of ``command``."""
        pairs = [(self.groups.queries[q], self.groups.docs[d]) for q, d in zip(command["query_rows"], command["doc_rows"], strict=True)]
        clock = Clock()
        scores = self.model.predict(pairs, batch_size=self.settings.get("batch_size", 32), show_progress_bar=False)
        return clock.rates("pairs", len(pairs)) | {"scores": scores.astype(float).tolist()}


class Mining:
    """``mine_hard_negatives`` over the given corpus."""

    def __init__(self, settings: dict[str, Any]) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(1)
        self.settings, self.groups = settings, Groups(settings["data"])
        options = {"dtype": torch.bfloat16} if settings.get("precision") == "bf16" else {}
        self.model = SentenceTransformer(settings["model"], device="cpu", model_kwargs=options)
        self.model.max_seq_length = settings["max_length"]

    def __call__(self, command: dict[str, Any]) -> dict[str, Any]:
        """Mine negatives of the queries among the documents of ``command``."""
        from datasets import Dataset
        from sentence_transformers.util import mine_hard_negatives

        corpus = [self.groups.docs[row] for row in command["doc_rows"]]
        data = {
            "query": [self.groups.queries[row] for row in command["query_rows"]],
            "answer": [self.groups.docs[row] for row in command["positives"]],
        }
        dataset = Dataset.from_dict(data)
        clock = Clock()
        mine_hard_negatives(
            dataset, self.model, anchor_column_name="query", positive_column_name="answer", corpus=corpus, range_max=command["depth"],
            num_negatives=command["depth"] - 10, output_format="n-tuple", use_faiss=self.settings.get("faiss", False),
            batch_size=self.settings.get("batch_size", 32), verbose=False,
        )  # fmt: skip
        return clock.rates("documents", len(corpus))


WORK = {"bi": BiTraining, "cross": CrossTraining, "scoring": Scoring, "mining": Mining}

if __name__ == "__main__":
    serve(lambda settings: WORK[settings["work"]](settings), PACKAGES)

"""lightning-ir: its module, batches and losses under a Lightning trainer."""

from __future__ import annotations

import logging
from typing import Any

from benchmarks.peers.common import Groups, Trains
from benchmarks.worker import serve

PACKAGES = ("lightning-ir", "lightning", "transformers", "torch")


class Training(Trains):
    """A bi-encoder or cross-encoder module with SupervisedMarginMSE."""

    def __init__(self, settings: dict[str, Any]) -> None:
        import torch
        from lightning_ir import BiEncoderModule, CrossEncoderModule
        from lightning_ir.loss.pairwise import SupervisedMarginMSE
        from lightning_ir.models import DprConfig, MonoConfig

        torch.set_num_threads(1)
        for name in ("lightning.pytorch", "lightning"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self.settings, self.groups = settings, Groups(settings["data"])
        limits = {"query_length": settings["max_query_length"], "doc_length": settings["max_length"]}
        options = {"attn_implementation": settings["attention"]} if settings.get("attention") else {}
        if settings["kind"] == "bi":
            pooling = {"cls": "first"}.get(settings["pooling"], settings["pooling"])
            # it pools by pooling_strategy, whatever the other two say
            config = DprConfig(
                pooling_strategy=pooling, query_pooling_strategy=pooling, doc_pooling_strategy=pooling, projection=None, **limits
            )
            self.module = BiEncoderModule(settings["model"], config, loss_functions=[SupervisedMarginMSE()], model_kwargs=options)
        else:
            limits["doc_length"] -= limits["query_length"] + 3
            config = MonoConfig(**limits)
            self.module = CrossEncoderModule(settings["model"], config, loss_functions=[SupervisedMarginMSE()], model_kwargs=options)
        self.module.set_optimizer(torch.optim.AdamW, lr=1e-5, fused=True)

    def train(self, groups: list[int], batch: int, tick: Any) -> None:
        """Train on groups in their order, ``batch`` a step."""
        import torch
        from lightning import Callback, Trainer
        from lightning_ir.data import TrainBatch

        class Ticks(Callback):
            def on_train_batch_end(self, *_: Any, **__: Any) -> None:
                tick()

        def collate(rows: list[Any]) -> Any:
            ids = [[str(number) for number in range(len(docs))] for _, docs, _ in rows]
            queries, docs, scores = zip(*rows, strict=True)
            return TrainBatch(list(queries), list(docs), [str(n) for n in range(len(rows))], ids, None, torch.tensor(scores))

        rows = self.groups.rows(groups)
        loader = torch.utils.data.DataLoader(rows, batch_size=batch, shuffle=False, collate_fn=collate, num_workers=0)
        Trainer(
            accelerator="cpu", devices=1, max_steps=len(rows) // batch, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, gradient_clip_val=1.0, callbacks=[Ticks()],
            precision="bf16-mixed" if self.settings.get("precision") == "bf16" else "32-true",
        ).fit(self.module, loader)  # fmt: skip

    def scores(self, groups: list[int]) -> list[float]:
        """Return the untrained model's scores of groups; none of a cross-encoder."""
        if self.settings["kind"] != "bi":
            return []  # it has a head of its own, drawn when it is made
        rows = self.groups.rows(groups)
        self.module.eval()
        return self.module.score([row[0] for row in rows], [row[1] for row in rows]).scores.ravel().tolist()


if __name__ == "__main__":
    serve(Training, PACKAGES)

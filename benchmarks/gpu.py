"""``python -m benchmarks.gpu``: what is measured where a GPU can be had, in one command of at most ten minutes.

Training and scoring with BERT-base (random weights) on invented texts of MS MARCO's lengths: documents a second, the share of the GPU's
peak, the hours that a student of 12,000,000 documents takes; beside peers, where they are importable; how far bf16 on the GPU agrees with
fp32 on the CPU; where the time goes, and what other settings of the engine would give. Nothing is downloaded.

Every rate is the median of five windows of about a second each, after a warm-up, with the GPU waited for at their ends alone: within a
window the host may run ahead of it, as in a real training. Needs torch, transformers, sentence-transformers and what
``rd_utils.training.loop`` imports. ``--device cpu --tiny`` runs everything in small on a CPU, which shows that it works and
measures nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import gc
import importlib
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.data import Lengths
from benchmarks.environments import HERE
from benchmarks.harness import Line

DOCUMENTS = 12_000_000  # what the published protocol means for every student
GOAL_HOURS = 1.0
GROUP_SIZE = 16
MAX_LENGTH, MAX_QUERY_LENGTH = 180, 32
MEAN_LENGTH, SPREAD = 75.0, 0.45  # tokens of a passage with [CLS] and [SEP], before the cut; SD of their logarithm
MEAN_QUERY, QUERY_SPREAD = 9.0, 0.3
VOCABULARY = 30_522
SPECIAL = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}  # where BERT's own vocabulary has them
FIRST_WORD = 1_000
NEEDED = ("torch", "transformers", "sentence_transformers", "accelerate", "pydantic", "pandas", "scipy", "yaml", "filelock")
SIZES = {
    "bert-base": {"num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
    "minilm": {"num_hidden_layers": 6, "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536},
}
TINY = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}


@dataclass(frozen=True)
class Form:
    """How much is measured.

    Attributes:
        groups: groups that a training draws from: those of 12,000,000 documents, so that the order of the groups costs what it does.
        pool: groups with texts of their own, over which those repeat.
        peer_groups: of these, those whose texts the peers get.
        queries: a step of the trainings, the first of which is the published protocol's.
        warm_steps, warm_seconds: both are waited for before the first window.
        window_seconds: of one window, at least one step.
        repeats: windows.
        pairs: that a teacher scores in a window.
        depth: documents that every query of the agreement ranks.
    """

    groups: int = DOCUMENTS // GROUP_SIZE
    pool: int = 16_384
    peer_groups: int = 2_048
    queries: tuple[int, ...] = (8, 32, 128)
    warm_steps: int = 10
    warm_seconds: float = 1.5
    window_seconds: float = 0.8
    repeats: int = 5
    pairs: int = 4_096
    depth: int = 640


FULL = Form()
SMALL = Form(100, 20, 20, (1, 2), 1, 0.0, 0.0, 2, 16, 12)


class Enough(Exception):
    """All windows are measured: the training that is measured ends here."""


class Windows:
    """Turns the ends of steps into rates.

    Args:
        form: how long to warm up, how long a window is and how many there are.
        per_step: documents of a step.
        synchronize: waits for the device.
        clock: tells the seconds.

    >>> times = iter([0.0, 1.0, 2.0, 3.0, 5.0, 9.0])  # the end of the first step; of the second, and after waiting; of the windows
    >>> form = Form(warm_steps=2, warm_seconds=0.5, window_seconds=1.0, repeats=3)
    >>> windows = Windows(form, per_step=4, clock=lambda: next(times))
    >>> try:
    ...     while True: windows.tick()
    ... except Enough: windows.rates
    [4.0, 2.0, 1.0]
    """

    def __init__(
        self, form: Form, per_step: int, synchronize: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.form, self.per_step, self.synchronize, self.clock = form, per_step, synchronize, clock
        self.steps = self.window = self.inside = 0
        self.rates: list[float] = []
        self._first = self._began = 0.0

    def tick(self, *_: Any) -> None:
        """Count a step.

        Raises:
            Enough: the last window is full.
        """
        self.steps += 1
        if self.steps == 1:
            self._first = self.clock()
        if not self.window:
            enough = self.steps >= max(self.form.warm_steps, 2) and self.clock() - self._first >= self.form.warm_seconds
            if enough:
                self.synchronize()
                self._began = self.clock()
                each = (self._began - self._first) / (self.steps - 1)
                self.window = max(1, round(self.form.window_seconds / each)) if each > 0 else 1
            return
        self.inside += 1
        if self.inside == self.window:
            self.synchronize()
            now = self.clock()
            self.rates.append(self.window * self.per_step / (now - self._began))
            self._began, self.inside = now, 0
            if len(self.rates) == self.form.repeats:
                raise Enough


@dataclass
class Session:
    """What all sections share: device, form, texts, checkpoints, results."""

    device: str  # cuda or cpu
    form: Form
    tiny: bool
    folder: Path
    until: float
    found: dict[str, Any] = field(default_factory=dict)
    throughput: list[dict[str, Any]] = field(default_factory=list)
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from rd_utils.cost import devices

        self.sizes = dict.fromkeys(SIZES, TINY) if self.tiny else SIZES
        if self.device == "cpu":
            self.spec = devices.device_of("cpu")
        else:
            import torch

            own = torch.cuda.get_device_name().lower()
            self.spec = devices.device_of(next((name for name in devices.GPUS if name in own), None))  # refuses one without known rates
        self.precisions = ("bf16", "fp32") if self.device == "cpu" else ("bf16", "fp16", "fp32")

    def synchronize(self) -> None:
        """Wait for the device."""
        import torch

        if self.device == "cuda":
            torch.cuda.synchronize()

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.until - time.monotonic()

    def measure(self, train: Callable[[Callable[..., None]], None], per_step: int) -> dict[str, Any]:
        """Let something train until its rate is known; return the rates, their median, and the highest memory."""
        import torch

        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        windows = Windows(self.form, per_step, self.synchronize)
        try:
            train(windows.tick)
            raise RuntimeError(f"the training ended after {windows.steps} steps, before its rate was known")
        except Enough:
            pass
        rate = statistics.median(windows.rates)
        found = {
            "documents_per_second": rate,
            "all": windows.rates,
            "steps_per_window": windows.window,
            "ms_per_step": 1000 * per_step / rate,
        }
        if self.device == "cuda":
            found["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
        return found

    def costs(self, answer: dict[str, Any], each: float, precision: str) -> dict[str, Any]:
        """Add to a rate the operations a second, the share of the peak and the hours of a whole student."""
        rate = answer["documents_per_second"]
        answer |= {"flops_per_document": each, "flops_per_second": each * rate, "hours": DOCUMENTS / rate / 3600}
        return answer | {"share_of_peak": each * rate / self.spec.peak[precision]}

    def add_throughput(self, answer: dict[str, Any], size: str, precision: str, work: str, kind: str, tokens: float) -> None:
        """Keep a rate for :func:`rd_utils.cost.devices.read_benchmarks`."""
        shape = self.sizes[size]
        entry = {"device": self.spec.name, "precision": precision, "work": work, "kind": kind, "tokens": tokens}
        entry |= {"layers": shape["num_hidden_layers"], "hidden": shape["hidden_size"]}
        entry |= {name: answer[name] for name in ("documents_per_second", "flops_per_second")}
        self.throughput.append(entry | {"share_of_peak": min(answer["share_of_peak"], 1.0)})


# --- texts and checkpoints --------------------------------------------------------------------------------------------------------


def lengths_of(count: int, mean: float, spread: float, least: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Return log-normal lengths of a mean (before the cut), between two limits: int64 (count,)."""
    return Lengths(np.log(mean) - spread**2 / 2, spread, least, most).draw(count, rng)


def word(token: int) -> str:
    """Return the word that is a token of its own."""
    return f"w{token}"


def tokenizer() -> Any:
    """Return BERT's tokenizer over a vocabulary of BERT's size, whose words are invented."""
    from transformers import BertTokenizerFast

    names = {number: name for name, number in SPECIAL.items()}
    tokens = [names.get(row, word(row) if row >= FIRST_WORD else f"[unused{row}]") for row in range(VOCABULARY)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_text("\n".join(tokens) + "\n", encoding="ascii")
        try:
            made = BertTokenizerFast(vocab=str(path))
        except TypeError:  # before version 5 of transformers
            made = BertTokenizerFast(vocab_file=str(path))
    made.model_max_length = 512
    return made


def make_texts(session: Session) -> dict[str, Any]:
    """Draw texts and groups; write those of the peers as :class:`benchmarks.peers.common.Groups` reads them."""
    from rd_utils.models.tokens import TokenTable
    from rd_utils.training.groups import GroupTable

    form, rng = session.form, np.random.default_rng(0)

    def table(count: int, mean: float, spread: float, least: int, most: int) -> TokenTable:
        bodies = lengths_of(count, mean, spread, least, most, rng) - 2  # without [CLS] and [SEP]
        return TokenTable(
            ids=rng.integers(FIRST_WORD, VOCABULARY, int(bodies.sum()), dtype=np.int32), offsets=np.concatenate([[0], np.cumsum(bodies)])
        )

    queries = table(form.pool, MEAN_QUERY, QUERY_SPREAD, 4, MAX_QUERY_LENGTH)
    docs = table(form.pool * GROUP_SIZE, MEAN_LENGTH, SPREAD, 8, MAX_LENGTH)
    of_pool = np.arange(form.groups, dtype=np.int64) % form.pool
    doc_rows = np.arange(form.pool * GROUP_SIZE, dtype=np.int32).reshape(form.pool, GROUP_SIZE)
    scores = rng.standard_normal(doc_rows.shape).astype(np.float32)
    peers = session.folder / "texts"
    peers.mkdir()
    few = form.peer_groups
    written = {
        "queries": [" ".join(map(word, queries.row(row).tolist())) for row in range(few)],
        "docs": [" ".join(map(word, docs.row(row).tolist())) for row in range(few * GROUP_SIZE)],
    }
    (peers / "texts.json").write_text(json.dumps(written), encoding="ascii")
    np.savez(peers / "groups.npz", query_rows=np.arange(few), doc_rows=doc_rows[:few], scores=scores[:few])
    groups = GroupTable(of_pool, doc_rows[of_pool], scores[of_pool])
    return {"queries": queries, "docs": docs, "groups": groups, "texts": written, "peers": peers}


def make_checkpoint(session: Session, size: str, labels: int = 1) -> Path:
    """Write a BERT with random weights and a head, once; a bi-encoder reads all but the head."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder = session.folder / f"{size}-{labels}"
    if not folder.is_dir():
        torch.manual_seed(0)
        BertForSequenceClassification(BertConfig(vocab_size=VOCABULARY, num_labels=labels, **session.sizes[size])).save_pretrained(folder)
        session.found["tokenizer"].save_pretrained(folder)
    return folder


def student(session: Session, kind: str, size: str = "bert-base") -> Any:
    """Return a fresh student on the device."""
    from rd_utils import models
    from rd_utils.study import params

    limits = {"max_length": MAX_LENGTH + (MAX_QUERY_LENGTH if kind == "cross" else 0), "max_query_length": MAX_QUERY_LENGTH}
    folder = str(make_checkpoint(session, size))
    if kind == "bi":
        architecture: Any = params.BiEncoder(model=folder, pooling="cls", similarity="dot", **limits)
    else:
        architecture = params.CrossEncoder(model=folder, **limits)
    return models.build(architecture, seed=0).to(session.device)


def work_of(session: Session, kind: str, size: str = "bert-base") -> tuple[float, float]:
    """Return the operations of one document's forward pass, its query's share included, and its mean tokens, of a pair or a text."""
    from rd_utils.cost import flops

    own = session.sizes[size]
    shape = flops.Shape(
        own["num_hidden_layers"], own["hidden_size"], own["intermediate_size"], own["num_attention_heads"], VOCABULARY, first_row=True
    )
    queries, docs = session.found["queries"].lengths(), session.found["docs"].lengths()
    if kind == "cross":
        pairs = np.repeat(queries, GROUP_SIZE) + docs + 3
        each = flops.encoder(shape, pairs.mean(), (pairs.astype(float) ** 2).mean()) + flops.head(shape)
        return each.matrix, float(pairs.mean())
    parts = [flops.encoder(shape, (part + 2).mean(), ((part + 2.0) ** 2).mean()).matrix for part in (queries, docs)]
    return parts[0] / GROUP_SIZE + parts[1], float((docs + 2).mean())


# --- our training, and what is changed about it -----------------------------------------------------------------------------------


def train_ours(session: Session, kind: str, queries: int, precision: str, loss: str, tick: Callable[..., None]) -> None:
    """Train a fresh student through the suite's own loop."""
    from rd_utils.study import params
    from rd_utils.training.loop import train

    every = 10_000_000 * queries * GROUP_SIZE  # never reached
    training = params.Training(
        documents=every, queries_per_batch=queries, learning_rate=1e-5, warmup_share=0.0, schedule="constant", precision=precision
    )
    data = session.found
    train(
        student(session, kind), data["queries"], data["docs"], data["groups"],
        loss=loss, temperature=1.0, training=training, seed=7, progress=tick,
    )  # fmt: skip


def ours(session: Session, kind: str, queries: int, precision: str = "bf16", loss: str = "margin_mse") -> dict[str, Any]:
    """Measure our training."""
    answer = session.measure(lambda tick: train_ours(session, kind, queries, precision, loss, tick), queries * GROUP_SIZE)
    return session.costs(answer, 3 * work_of(session, kind)[0], precision)


@contextlib.contextmanager
def changed(owner: Any, **values: Any) -> Iterator[None]:
    """Set attributes of a module or class while the block runs."""
    before = {name: getattr(owner, name) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


def multiple_of(tokens: int) -> Any:
    """Round lengths up to another multiple."""
    from rd_utils.models import packed

    return changed(packed, MULTIPLE=tokens, MULTIPLE_ON_ACCELERATOR=tokens)


def portions_of(tokens: int) -> Any:
    """Let so many tokens through the layers at a time."""
    from rd_utils import models

    return changed(models.students, ACCELERATOR_TOKENS=tokens, TRAINING_TOKENS=tokens)


def compiled_layers() -> Any:
    """Compile what follows attention in every layer: one function for all layers, for any number of tokens."""
    import torch
    import torch.nn.functional as F

    from rd_utils.models import packed

    def rest(context: Any, asking: Any, weights: list[Any], eps: float, rate: float) -> Any:
        mix, mix_bias, one, one_bias, wide, wide_bias, narrow, narrow_bias, two, two_bias = weights
        size = (mix.shape[0],)
        mixed = F.layer_norm(F.dropout(F.linear(context, mix, mix_bias), rate) + asking, size, one, one_bias, eps)
        widened = F.gelu(F.linear(mixed, wide, wide_bias))
        return F.layer_norm(F.dropout(F.linear(widened, narrow, narrow_bias), rate) + mixed, size, two, two_bias, eps)

    compiled = torch.compile(rest, dynamic=True)

    def call(layer: Any, asking: Any, states: Any, blocks: Any, first_only: bool) -> Any:
        context = layer.attend(asking, states, blocks, first_only)
        one, two = layer.after.LayerNorm, layer.contract.LayerNorm
        parts = (layer.mix.parts[0], one, layer.widen.parts[0], layer.narrow.parts[0], two)
        weights = [value for part in parts for value in (part.weight, part.bias)]
        rate = layer.after.dropout.p if layer.after.dropout.training else 0.0
        return compiled(context, asking, weights, one.eps, rate)

    return changed(packed._Layer, __call__=call)


def flat_attention() -> contextlib.ExitStack:
    """Replace attention block by block by one call over all texts without padding: torch's flash attention with cumulative lengths."""
    import torch

    from rd_utils.models import packed

    if not torch.cuda.is_available():
        raise NotImplementedError("torch has flash attention over texts of different lengths on GPUs alone")
    kept: dict[str, Any] = {"blocks": None}

    def attend(queries: Any, states: Any, heads: int, blocks: Any, rate: float) -> Any:
        parts = 3 if queries is None else 2
        if kept["blocks"] is not blocks:  # the same list in all layers
            lengths = np.repeat([block.length for block in blocks], [block.texts for block in blocks])
            ends = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)).pin_memory()
            kept.update(blocks=blocks, ends=ends.to(states.device, non_blocking=True), longest=int(lengths.max()))
            kept["ones"] = torch.arange(len(lengths) + 1, dtype=torch.int32, device=states.device)
        dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else states.dtype
        given = states.to(dtype).view(len(states), parts, heads, -1).unbind(1)
        q, k, v = given if queries is None else (queries.to(dtype).view(len(queries), heads, -1), *given)
        asked, most = (kept["ends"], kept["longest"]) if queries is None else (kept["ones"], 1)
        longest = kept["longest"]
        output = torch.ops.aten._flash_attention_forward(q, k, v, asked, kept["ends"], most, longest, rate, False, False, scale=1.0)[0]
        return output.flatten(1)

    stack = contextlib.ExitStack()
    stack.enter_context(changed(packed, _fused_attention=attend))
    stack.enter_context(multiple_of(1))
    return stack


# --- peers ------------------------------------------------------------------------------------------------------------------------


def train_padded(session: Session, kind: str, queries: int, precision: str, tick: Callable[..., None]) -> None:
    """Train as a plain loop does: texts padded to the longest of the batch, transformers' own model, one pass for all documents."""
    import torch
    from transformers import AutoModel

    from rd_utils.models.tokens import gather

    data, device = session.found, torch.device(session.device)
    model = AutoModel.from_pretrained(make_checkpoint(session, "bert-base"), add_pooling_layer=False).to(device).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    scale = torch.autocast(device.type, {"bf16": torch.bfloat16, "fp32": torch.float32}[precision], enabled=precision != "fp32")

    def first_states(table: Any, rows: np.ndarray, most: int) -> Any:
        ids, lengths = gather(table, rows, most, prefix=[SPECIAL["[CLS]"]], suffix=[SPECIAL["[SEP]"]])
        both = torch.from_numpy(np.stack([ids, np.arange(ids.shape[1]) < lengths[:, None]]).astype(np.int64))
        both = both.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else both
        return model(input_ids=both[0], attention_mask=both[1]).last_hidden_state[:, 0]

    groups, rng = data["groups"], np.random.default_rng(7)
    while True:
        rows = rng.integers(0, len(groups.query_rows), queries)
        teacher = torch.from_numpy(groups.teacher_scores[rows])
        teacher = teacher.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else teacher
        with scale:
            asked = first_states(data["queries"], groups.query_rows[rows], MAX_QUERY_LENGTH)
            found = first_states(data["docs"], groups.doc_rows[rows].reshape(-1), MAX_LENGTH)
        scores = (asked.float()[:, None] * found.float().view(queries, GROUP_SIZE, -1)).sum(-1)
        loss = torch.nn.functional.mse_loss(scores[:, :1] - scores[:, 1:], teacher[:, :1] - teacher[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        tick()


PEERS = {
    "sentence-transformers": ("benchmarks.peers.sentence_transformers", ("sentence_transformers", "datasets", "accelerate")),
    "rankers": ("benchmarks.peers.rankers", ("rankers",)),
}


def peer(session: Session, name: str, kind: str, queries: int, workers: int) -> dict[str, Any]:
    """Measure a peer's trainer on the same texts, in bf16, with its batches made by so many processes beside it.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    module, needed = PEERS[name]
    for package in needed:
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"{package} is not installed")
    library = importlib.import_module(module)
    labels = 2 if (name, kind) == ("rankers", "cross") else 1
    settings = {
        "data": str(session.found["peers"]), "model": str(make_checkpoint(session, "bert-base", labels)), "kind": kind, "pooling": "cls",
        "max_length": MAX_LENGTH + (MAX_QUERY_LENGTH if kind == "cross" else 0), "max_query_length": MAX_QUERY_LENGTH,
        "precision": "bf16", "device": session.device, "workers": workers,
    }  # fmt: skip
    trainer = library.WORK["training" if name == "rankers" else kind](settings)
    every = -(-(200 if session.tiny else 6_000) // session.form.peer_groups)  # times over its groups: never all reached
    groups = np.tile(np.arange(session.form.peer_groups), every).tolist()
    answer = session.measure(lambda tick: trainer.train(groups, queries, tick), queries * GROUP_SIZE)
    return session.costs(answer, 3 * work_of(session, kind)[0], "bf16") | {"workers": workers}


# --- sections ---------------------------------------------------------------------------------------------------------------------


def attempt(session: Session, needs: float, make: Callable[[], Any]) -> dict[str, Any]:
    """Return what something answers, or the reason why it does not: an error, or fewer seconds left than it needs."""
    if session.left() < needs:
        return {"error": f"left out: {max(session.left(), 0):.0f} s were left, and it takes about {needs:.0f}"}
    try:
        return make()
    except Exception as error:  # whatever a library raises is the reason that the results name
        if not isinstance(error, ModuleNotFoundError | NotImplementedError):
            traceback.print_exc()
        reason = (str(error).splitlines() or [""])[0]
        return {"error": f"{type(error).__name__}: {reason}"[:300]}


def ceilings(session: Session) -> dict[str, Any]:
    """Measure the device's own rates: a product of bf16 matrices, and a copy within its memory (bytes read and written)."""
    import torch

    size, count = (64, 1 << 16) if session.tiny else (8192, 1 << 30)
    device = session.device
    a, b = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    source = torch.randn(count, device=device)
    target = torch.empty_like(source)

    def best(run: Callable[[], Any], times: int = 10) -> float:
        run(), session.synchronize()
        seconds = []
        for _ in range(session.form.repeats):
            began = time.perf_counter()
            for _ in range(times):
                run()
            session.synchronize()
            seconds.append((time.perf_counter() - began) / times)
        return statistics.median(seconds)

    return {"bf16_matrix_flops": 2 * size**3 / best(lambda: a @ b), "copy_bytes": 8 * count / best(lambda: target.copy_(source))}


def trainings(session: Session, kind: str) -> dict[str, Any]:
    """Measure our training, with more queries a step too, and the peers'."""
    form, ways = session.form, {}
    first, unit = form.queries[0], {"bi": "documents", "cross": "pairs"}[kind]
    runs: list[tuple[str, float, Callable[[], Any]]] = []
    for queries in form.queries:
        runs.append((f"ours bf16, {queries} queries", 12, lambda queries=queries: ours(session, kind, queries)))
    if kind == "bi":
        for queries in form.queries[:2]:
            padded = lambda queries=queries: session.costs(  # noqa: E731
                session.measure(lambda tick: train_padded(session, kind, queries, "bf16", tick), queries * GROUP_SIZE),
                3 * work_of(session, kind)[0], "bf16",
            )  # fmt: skip
            runs.append((f"transformers padded bf16, {queries} queries", 12, padded))
        runs.append((f"ours bf16, {first} queries, KL", 12, lambda: ours(session, kind, first, loss="kl")))
        for precision in session.precisions[1:]:
            runs.append((f"ours {precision}, {first} queries", 12, lambda precision=precision: ours(session, kind, first, precision)))
    for name in PEERS:
        for workers in (0,) if session.device == "cpu" else (0, 8):
            way = f"{name} bf16, {first} queries, {workers} workers"
            runs.append((way, 20, lambda name=name, workers=workers: peer(session, name, kind, first, workers)))
    for name, needs, make in runs:
        ways[name] = attempt(session, needs, make)
        harness.report(f"  {name}: {_said(ways[name], unit)}")
    tokens = work_of(session, kind)[1]
    for precision in session.precisions:
        answer = ways.get(f"ours {precision}, {first} queries", {"error": ""})
        if "error" not in answer:
            session.add_throughput(answer, "bert-base", precision, "train", kind, tokens)
    return {"unit": f"{unit}/s", "ways": ways, "tokens": tokens}


def scoring(session: Session) -> dict[str, Any]:
    """Measure teachers' scores in pairs a second: ours, from tokens and from texts, and ``CrossEncoder.predict`` from texts."""
    from rd_utils import models
    from rd_utils.models.tokens import tokenize

    data, form, ways = session.found, session.form, {}
    rows = np.arange(form.pairs) % (form.peer_groups * GROUP_SIZE)
    asked, found = data["groups"].query_rows[rows // GROUP_SIZE] % form.peer_groups, rows
    texts = data["texts"]
    pairs = [(texts["queries"][query], texts["docs"][doc]) for query, doc in zip(asked, found, strict=True)]

    def rate(run: Callable[[], Any]) -> dict[str, Any]:
        run(), session.synchronize()
        rates = []
        for _ in range(form.repeats):
            began = time.perf_counter()
            run()
            session.synchronize()
            rates.append(form.pairs / (time.perf_counter() - began))
        return {"documents_per_second": statistics.median(rates), "all": rates}

    def of_tokens(size: str, max_tokens: int | None) -> dict[str, Any]:
        scorer = student(session, "cross", size)
        options = {} if max_tokens is None else {"max_tokens": max_tokens}
        tables = data["queries"], data["docs"]
        answer = rate(lambda: scorer.score_pairs(*tables, asked, found, precision="bf16", **options))
        return session.costs(answer, work_of(session, "cross", size)[0], "bf16")

    def of_texts(size: str) -> dict[str, Any]:
        scorer = student(session, "cross", size)

        def run() -> None:
            documents = [texts["docs"][row] for row in np.unique(found)]
            tables = tokenize(texts["queries"][: asked.max() + 1], scorer.tokenizer), tokenize(documents, scorer.tokenizer)
            scorer.score_pairs(*tables, asked, found, precision="bf16")

        return session.costs(rate(run), work_of(session, "cross", size)[0], "bf16")

    def predicted(size: str, batch_size: int) -> dict[str, Any]:
        import torch
        from sentence_transformers import CrossEncoder

        model = CrossEncoder(
            str(make_checkpoint(session, size)), max_length=MAX_LENGTH + MAX_QUERY_LENGTH, device=session.device,
            activation_fn=torch.nn.Identity(), model_kwargs={"dtype": torch.bfloat16},
        )  # fmt: skip
        answer = rate(lambda: model.predict(pairs, batch_size=batch_size, show_progress_bar=False))
        return session.costs(answer, work_of(session, "cross", size)[0], "bf16")

    sizes = [None, models.students.INFERENCE_TOKENS] + ([] if session.tiny else [32_768, 524_288])
    for size in session.sizes:
        runs = [
            (f"ours {size}, {'default' if tokens is None else f'{tokens:,} tokens'} a pass", lambda s=size, t=tokens: of_tokens(s, t))
            for tokens in sizes
        ]
        runs.append((f"ours {size}, from texts", lambda s=size: of_texts(s)))
        for batch in (8,) if session.tiny else (32, 256):
            runs.append((f"CrossEncoder.predict {size}, batches of {batch}", lambda s=size, b=batch: predicted(s, b)))
        for name, make in runs:
            ways[name] = attempt(session, 10, make)
            harness.report(f"  {name}: {_said(ways[name], 'pairs')}")
        answer = ways[f"ours {size}, default a pass"]
        if "error" not in answer:
            session.add_throughput(answer, size, "bf16", "infer", "cross", work_of(session, "cross", size)[1])
    return {
        "unit": "pairs/s",
        "ways": ways,
        "tokens": work_of(session, "cross")[1],
        "of": "tokens, but where it says texts",
    }


def agreement(session: Session) -> dict[str, Any]:
    """Compare scores of the same students: fp32 on the CPU against fp32 and bf16 on the device."""
    import torch

    form, data, found = session.form, session.found, {}
    n_queries = min(64, form.pool)
    docs, rows = np.arange(form.depth), np.arange(n_queries)
    if not session.tiny:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    for kind in ("bi", "cross"):
        # a cross-encoder on a CPU is slow: every query has fewer candidates
        pool = docs if kind == "bi" else docs[: max(form.depth // 16, 12)]
        queries = rows if kind == "bi" else rows[: max(n_queries // 4, 2)]
        asked, answered = np.repeat(queries, len(pool)), np.tile(pool, len(queries))
        model = student(session, kind)
        with torch.no_grad():  # so that tokens attend to some others more, and scores differ as a trained model's do
            for name, values in model.named_parameters():
                if ".layer." in name and values.ndim == 2:
                    values.mul_(2.5)
        scores = {}
        for name, device, precision in (
            ("fp32 on the CPU", "cpu", "fp32"),
            (f"fp32 on {session.device}", session.device, "fp32"),
            (f"bf16 on {session.device}", session.device, "bf16"),
        ):
            model.to(device)
            values = model.score_pairs(data["queries"], data["docs"], asked, answered, precision=precision)
            scores[name] = values.reshape(len(queries), -1).astype(float)
        reference = scores.pop("fp32 on the CPU")
        found[kind] = {name: compare_scores(reference, values) for name, values in scores.items()}
        for name, answer in found[kind].items():
            harness.report(f"  {kind}: {name}: Spearman {answer['spearman']:.5f}, equal top 10 {answer['equal_top_10']:.3f}")
    return found


def compare_scores(reference: np.ndarray, scores: np.ndarray, k: int = 10) -> dict[str, float]:
    """Compare two tables of scores, (queries, documents).

    Returns:
        The mean of the queries' Spearman correlations, the share of the first's top k that is in the second's, the share of queries with
        equal top k, the largest difference, and the standard deviation of the first within queries, which the difference is small beside.

    >>> compare_scores(np.array([[3.0, 2.0, 1.0]]), np.array([[3.0, 1.0, 2.0]]), k=2)["top_2_overlap"]
    0.5
    """
    from scipy.stats import spearmanr

    tops = [[set(np.argsort(-row, kind="stable")[:k].tolist()) for row in table] for table in (reference, scores)]
    shares = [len(one & other) / len(one) for one, other in zip(*tops, strict=True)]
    return {
        "spearman": float(np.mean([spearmanr(one, other).statistic for one, other in zip(reference, scores, strict=True)])),
        f"top_{k}_overlap": float(np.mean(shares)),
        f"equal_top_{k}": float(np.mean([share == 1.0 for share in shares])),
        "largest_difference": float(np.abs(reference - scores).max()),
        "spread": float(reference.std(axis=1).mean()),
    }


def variants(session: Session) -> dict[str, Any]:
    """Measure our training with other settings of the engine: what to tune."""
    few, more = session.form.queries[0], session.form.queries[1]
    most, ways = session.form.queries[-1], {}
    runs: list[tuple[str, int, Callable[[], Any]]] = []
    for queries in (few, more):
        runs.append(("one attention call without padding", queries, flat_attention))
        for multiple in (16, 32, 64, MAX_LENGTH):
            runs.append((f"multiple of {multiple}", queries, lambda multiple=multiple: multiple_of(multiple)))
        if not session.tiny:
            runs.append(("compiled layers", queries, compiled_layers))
    runs.append(("one attention call without padding", most, flat_attention))
    for tokens in (64,) if session.tiny else (32_768, 65_536, 262_144):
        runs.append((f"{tokens:,} tokens a pass", most, lambda tokens=tokens: portions_of(tokens)))
    runs = list({(name, queries): (name, queries, context) for name, queries, context in runs}.values())
    for name, queries, context in runs:

        def run(queries: int = queries, context: Any = context) -> dict[str, Any]:
            with context():
                return ours(session, "bi", queries)

        name = f"{name}, {queries} queries"
        ways[name] = attempt(session, 70 if context is compiled_layers else 12, run)
        harness.report(f"  {name}: {_said(ways[name], 'documents')}")
    return {"unit": "documents/s", "ways": ways}


_LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx")
_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


def profile(session: Session) -> dict[str, Any]:
    """Say where a step's time goes: kernels by their time, launches, copies and waits of one step of our training."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    skipped, steps = session.form.warm_steps + 2, 1 if session.tiny else 5
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if session.device == "cuda" else [])
    found = {}
    for kind in ("bi", "cross"):
        recorder = profiler(activities=activities)
        taken = 0

        def tick(*_: Any, recorder: Any = recorder) -> None:
            nonlocal taken
            taken += 1
            if taken == skipped:
                session.synchronize()
                recorder.start()
            elif taken == skipped + steps:
                session.synchronize()
                recorder.stop()
                raise Enough

        with contextlib.suppress(Enough):
            train_ours(session, kind, session.form.queries[0], "bf16", "margin_mse", tick)
        found[kind] = summarise(recorder.key_averages(), steps, session.device)
        top = found[kind]["top"][0]
        harness.report(
            f"  {kind}: {found[kind]['launches_per_step']:.0f} launches a step; most: {top['name'][:60]} {top['ms_per_step']:.2f} ms"
        )
    return found


def summarise(events: Any, steps: int, device: str, most: int = 25) -> dict[str, Any]:
    """Sum a profile up, per step: the events that took most of the device (on a CPU: of it), launches, copies and waits of the host."""

    def on_device(event: Any) -> float:
        if device == "cpu":
            return event.self_cpu_time_total
        # the device's time of an operator is that of its kernels, which have events of their own
        return event.self_device_time_total if str(event.device_type).endswith("CUDA") else 0.0

    ranked = sorted(events, key=on_device, reverse=True)[:most]
    count = {event.key: event.count / steps for event in events}
    return {
        "busy_ms_per_step": sum(map(on_device, events)) / 1000 / steps,
        "kernels_per_step": sum(event.count for event in events if on_device(event)) / steps,
        "launches_per_step": sum(count.get(name, 0.0) for name in _LAUNCHES),
        "copies_per_step": count.get("cudaMemcpyAsync", 0.0),
        "waits_per_step": {name: count[name] for name in _WAITS if name in count},
        "top": [
            {"name": event.key[:160], "calls_per_step": event.count / steps, "ms_per_step": on_device(event) / 1000 / steps}
            for event in ranked
        ],
        "top_host": [
            {"name": event.key[:160], "calls_per_step": event.count / steps, "ms_per_step": event.self_cpu_time_total / 1000 / steps}
            for event in sorted(events, key=lambda event: event.self_cpu_time_total, reverse=True)[:most]
        ],
    }


def nvidia_smi() -> dict[str, str] | None:
    """Return the GPU's clocks, power and driver, as ``nvidia-smi`` says; None where it is not there. Nothing is set."""
    fields = "name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.draw,power.limit,temperature.gpu,utilization.gpu,memory.total"
    try:
        made = subprocess.run(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    values = made.stdout.strip().splitlines()
    return dict(zip(fields.split(","), values[0].split(", "), strict=False)) if made.returncode == 0 and values else None


SECTIONS: dict[str, Callable[[Session], dict[str, Any]]] = {
    "ceilings": ceilings,
    "bi": lambda session: trainings(session, "bi"),
    "scoring": scoring,
    "cross": lambda session: trainings(session, "cross"),
    "profile": profile,
    "agreement": agreement,
    "variants": variants,
}


# --- the table and the file -------------------------------------------------------------------------------------------------------


def lines(sections: dict[str, Any], queries: int) -> list[dict[str, Any]]:
    """Compare ours with the peers, as the other benchmarks' tables do; the ways ran one after the other, with the GPU to themselves."""
    every = []
    for section, title, unit in (
        ("bi", f"bi-encoder training, BERT-base, {queries} x {GROUP_SIZE}", "documents/s"),
        ("cross", f"cross-encoder training, BERT-base, {queries} x {GROUP_SIZE}", "pairs/s"),
    ):
        names = [name for name in sections.get(section, {}).get("ways", {}) if f"bf16, {queries} queries" in name and "KL" not in name]
        every.append((section, title, unit, names))
    for size in SIZES:
        names = [name for name in sections.get("scoring", {}).get("ways", {}) if f" {size}, " in name and "a pass" not in name]
        every.append(("scoring", f"teacher scoring, {size}, bf16, from texts", "pairs/s", names))
    rows = []
    for section, title, unit, names in every:
        if not names:
            continue
        ways = {
            name: {
                "error": answer.get("error"),
                "answers": [{"documents_per_second": rate} for rate in answer.get("all", [])],
            }
            for name, answer in sections[section]["ways"].items()
        }
        own = tuple(name for name in names if name.startswith("ours"))
        line = Line(title, "documents_per_second", unit, own, tuple(name for name in names if name not in own))
        rows.append(harness.compare(line, {"ways": ways}))
    return rows


def _said(answer: dict[str, Any], unit: str) -> str:
    if "error" in answer:
        return answer["error"]
    memory = f", {answer['peak_gb']:.1f} GB" if "peak_gb" in answer else ""
    return f"{answer['documents_per_second']:,.0f} {unit}/s, {answer['share_of_peak']:.1%} of the peak, {answer['hours']:.2f} h{memory}"


def results(session: Session, name: str, sections: dict[str, Any], began: float, before: Any) -> dict[str, Any]:
    """Return all that is written."""
    import torch

    form = session.form
    best = sections.get("bi", {}).get("ways", {}).get(f"ours bf16, {form.queries[0]} queries", {})
    goal = {
        "goal": f"a bi-encoder of BERT's size in at most {GOAL_HOURS:g} h for {DOCUMENTS:,} documents, {form.queries[0]} queries a step"
    }
    goal |= {"documents_per_second": DOCUMENTS / GOAL_HOURS / 3600, "hours": best.get("hours")}
    goal["reached"] = None if "hours" not in best else bool(best["hours"] <= GOAL_HOURS)
    packages = ("rd-utils", "torch", "transformers", "sentence-transformers", "accelerate", "datasets", "rankers", "triton", "numpy")
    return {
        "schema": harness.SCHEMA,
        "name": name,
        "form": "tiny" if session.tiny else "full",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - began, 1),
        "machine": harness.machine(),
        "device": {
            "name": torch.cuda.get_device_name() if session.device == "cuda" else "cpu",
            "spec": session.spec.model_dump(),
            "before": before,
            "after": nvidia_smi() if session.device == "cuda" else None,
            "cuda": torch.version.cuda,
        },
        "versions": {package: harness._version(package) for package in packages},
        "commit": harness._commit() if shutil.which("git") else "unknown",
        "settings": {
            "group_size": GROUP_SIZE, "max_length": MAX_LENGTH, "max_query_length": MAX_QUERY_LENGTH, "mean_length": MEAN_LENGTH,
            "spread": SPREAD, "vocabulary": VOCABULARY, "sizes": session.sizes, "dropout": 0.1, **form.__dict__,
        },
        "sections": sections,
        "goals": [goal],
        "lines": lines(sections, form.queries[0]),
        "throughput": session.throughput,
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run the sections and write the results after each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu is for --tiny")
    parser.add_argument("--tiny", action="store_true", help="two layers and a few texts: shows that everything runs, measures nothing")
    parser.add_argument("--sections", default="", help=f"comma-separated: {', '.join(SECTIONS)}; all where it is empty")
    parser.add_argument("--seconds", type=float, default=560.0, help="what would begin too late to end by then is left out and named")
    parser.add_argument("--out", type=Path, default=None, help="the file (default: benchmarks/results/gpu-DEVICE.json; tiny: not there)")
    options = parser.parse_args(arguments)
    wanted = [name for name in options.sections.split(",") if name] or list(SECTIONS)
    for name in wanted:
        if name not in SECTIONS:
            parser.error(f"no section {name!r}; choose from {', '.join(SECTIONS)}")
    if options.device == "cpu" and not options.tiny:
        parser.error(
            "on a CPU this measures nothing: add --tiny to see that it runs, and see python -m benchmarks for what is measured there"
        )
    began = time.monotonic()
    if options.device == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        harness.report(f"this needs {', '.join(missing)}, which this Python has not: install it, or the project itself")
        return 2
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        build = (
            f"torch {torch.__version__} is built for CUDA {torch.version.cuda}"
            if torch.version.cuda
            else f"torch {torch.__version__} is built for CPUs"
        )
        harness.report(f"no GPU can be used here ({build}); run this where there is one, or try it with --device cpu --tiny")
        return 2
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    before = nvidia_smi() if options.device == "cuda" else None
    with tempfile.TemporaryDirectory(prefix="gpu-benchmark-") as folder:
        form = SMALL if options.tiny else FULL
        session = Session(options.device, form, options.tiny, Path(folder), began + options.seconds)
        name = f"gpu-{session.spec.name}{'-tiny' if options.tiny else ''}"
        path = options.out or (HERE / (".data" if options.tiny else "results") / f"{name}.json")
        session.found["tokenizer"] = tokenizer()
        session.found |= make_texts(session)
        sections: dict[str, Any] = {}
        for section in wanted:
            harness.report(f"{section} ({time.monotonic() - began:.0f} s)")
            sections[section] = attempt(session, 10, lambda section=section: SECTIONS[section](session))
            if "error" in sections[section]:
                harness.report(f"  {sections[section]['error']}")
            found = results(session, name, sections, began, before)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if found["lines"]:
        harness.report("\n" + harness.table(found["lines"]))
    goal = found["goals"][0]
    if goal["hours"] is not None:
        harness.report(f"\n{goal['goal']}: {goal['hours']:.2f} h, {'reached' if goal['reached'] else 'NOT reached'}")
    harness.report(f"\n{time.monotonic() - began:.0f} s in all; everything that was measured: {path}")
    return int(any("error" in section for section in sections.values()))


if __name__ == "__main__":
    sys.exit(main())

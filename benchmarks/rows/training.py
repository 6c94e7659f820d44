"""Training bi-encoders and cross-encoders, on short passages with a tiny BERT and on long ones with MiniLM."""

from __future__ import annotations

from typing import Any

from benchmarks import data
from benchmarks.harness import Family, Line, Way

_ST, _RANKERS, _LIGHTNING, _TEVATRON = (
    f"benchmarks.peers.{name}" for name in ("sentence_transformers", "rankers", "lightning_ir", "tevatron")
)

REPEATS = 5
WARM_UP = 12  # steps before the first repeat, of the full form: until an allocator has its memory, steps take up to half as long again


def _ways(
    collection: str, checkpoint: str, kind: str, peers: tuple[str, ...], precisions: dict[str, tuple[str, ...]], **more: Any
) -> tuple[Way, ...]:
    folder = data.FOLDER / collection
    settings = {"data": str(folder), "model": str(data.FOLDER / "models" / checkpoint), "kind": kind, "max_query_length": 32, **more}
    two_labels = {"model": settings["model"] + ("-2" if kind == "cross" else "")}
    ways = []
    for precision in precisions["ours"]:
        ways.append(Way(f"ours {precision}", "benchmarks.ours", {**settings, "work": "training", "precision": precision}))
    for precision in precisions["sentence-transformers"]:
        # eager and SDPA attention are equally fast here: under dropout SDPA takes its plain path on a CPU
        own = {**settings, "work": kind, "precision": precision, "attention": "eager"}
        ways.append(Way(f"sentence-transformers {precision}", _ST, own))
    for peer in peers:
        module = {"rankers": _RANKERS, "lightning-ir": _LIGHTNING, "tevatron": _TEVATRON}[peer]
        own = settings | (two_labels if peer == "rankers" else {}) | {"work": "training", "attention": "eager"}
        ways.append(Way(f"{peer} fp32", module, own, environment=peer))
    return tuple(ways)


def _family(
    name: str,
    title: str,
    collection: str,
    checkpoint: str,
    ways: tuple[Way, ...],
    lines: tuple[Line, ...],
    steps: tuple[int, int],
    queries: tuple[int, int] = (8, 8),
    **more: Any,
) -> Family:
    def prepare(short: bool) -> None:
        data.collection(collection)
        data.model(checkpoint)
        if "cross" in checkpoint:
            data.model(checkpoint + "-2")

    def command(repeat: int, short: bool) -> dict[str, Any]:
        if repeat >= 0:
            return {"steps": steps[short]}
        warm_up = 1 if short else WARM_UP if steps[short] > 2 else 2
        batch, every = (queries[short], warm_up + steps[short] * (1 if short else REPEATS) + 1)
        return {"groups": data.batches(collection, batch * every), "batch": batch, "group_size": data.GROUP_SIZE, "steps": warm_up}

    precisions = {way.name: way.settings["precision"] for way in ways if way.name.startswith("ours")}
    own: dict[str, Any] = {"precisions": precisions, "work": ("train", ways[0].settings["kind"])}
    return Family(name, title, ways, lines, repeats=REPEATS, command=command, prepare=prepare, **own, **more)


def _named(ways: tuple[Way, ...], precision: str | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    chosen = [way.name for way in ways if precision is None or way.name.endswith(precision)]
    return tuple(name for name in chosen if name.startswith("ours")), tuple(name for name in chosen if not name.startswith("ours"))


def _line(name: str, ways: tuple[Way, ...], precision: str | None, target: float | None, unit: str = "documents/s") -> Line:
    ours, peers = _named(ways, precision)
    absent = tuple((peer, reason) for peer, reason in _ABSENT.items() if not any(name.startswith(peer) for name in peers))
    return Line(name, "documents_per_second", unit, ours, peers, target, known_absent=absent)


_ABSENT = {
    "rankers": "its mean pooling averages the padding too, which is another model",
    "tevatron": "trains bi-encoders that pool the first token, nothing else",
}
_BOTH = {"ours": ("fp32", "bf16"), "sentence-transformers": ("fp32", "bf16")}
_SHORT = _ways("short", "tiny", "bi", ("rankers", "lightning-ir", "tevatron"), _BOTH, pooling="cls", max_length=128)
_LONG = _ways("long", "minilm", "bi", ("rankers", "lightning-ir"), _BOTH, pooling="cls", max_length=128)
_FP32 = {"ours": ("fp32",), "sentence-transformers": ("fp32",)}
_LONG_MEAN = _ways("long", "minilm", "bi", (), _FP32, pooling="mean", max_length=128)
_CROSS = _ways("short", "tiny-cross", "cross", ("rankers", "lightning-ir"), _BOTH, max_length=160)
_8X16, _2X16 = (f"{queries} queries x 16 documents, MarginMSE, dropout 0.1" for queries in (8, 2))  # 2: six trainers stay below 16 GB

FAMILIES = (
    _family(
        "bi_short", f"bi-encoder training, short texts, BERT 2x128, CLS, {_8X16}", "short", "tiny", _SHORT,
        (_line("bi-encoder, short, fp32", _SHORT, "fp32", 4.5), _line("bi-encoder, short, best precision", _SHORT, None, None)), (5, 2),
    ),
    _family(
        "bi_long", f"bi-encoder training, long texts, MiniLM-L6, CLS, 128 tokens, {_2X16}", "long", "minilm", _LONG,
        (_line("bi-encoder, long, fp32", _LONG, "fp32", 1.4), _line("bi-encoder, long, best precision", _LONG, None, 1.5)), (1, 1), (2, 1),
        short_repeats=0,
    ),
    _family(  # nothing of the last layer can be left out here
        "bi_long_mean", f"bi-encoder training, long texts, MiniLM-L6, mean, 128 tokens, {_2X16}", "long", "minilm", _LONG_MEAN,
        (_line("bi-encoder, long, mean, fp32", _LONG_MEAN, "fp32", 1.4),), (1, 1), (2, 1), short_repeats=0,
    ),
    _family(
        "cross_short", f"cross-encoder training, short texts, BERT 2x128, {_8X16}", "short", "tiny-cross", _CROSS,
        (
            _line("cross-encoder, short, fp32", _CROSS, "fp32", 3.2, "pairs/s"),
            _line("cross-encoder, short, best precision", _CROSS, None, None, "pairs/s"),
        ), (5, 2),
    ),
)  # fmt: skip

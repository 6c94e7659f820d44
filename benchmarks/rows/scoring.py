"""Teacher scoring: pairs of a query and a document by a cross-encoder of MiniLM's size."""

from __future__ import annotations

from typing import Any

from benchmarks import data
from benchmarks.harness import Family, Line, Way

_ST, _RANKERS = "benchmarks.peers.sentence_transformers", "benchmarks.peers.rankers"
_ONNX = ("onnx", "its extra does not resolve together with sentence-transformers 6.2")


def _scoring(name: str, max_length: int, pairs: tuple[int, int], targets: tuple[float, float]) -> Family:
    folder, checkpoint = str(data.FOLDER / name), str(data.FOLDER / "models" / "minilm-cross")
    settings = {"data": folder, "model": checkpoint, "kind": "cross", "work": "scoring", "max_length": max_length, "max_query_length": 64}
    ways = (
        Way("ours fp32", "benchmarks.ours", {**settings, "precision": "fp32"}),
        Way("ours bf16", "benchmarks.ours", {**settings, "precision": "bf16"}),
        Way("CrossEncoder fp32", _ST, {**settings, "precision": "fp32"}),
        Way("CrossEncoder bf16", _ST, {**settings, "precision": "bf16"}),
        Way("CrossEncoder openvino", _ST, {**settings, "backend": "openvino"}, environment="openvino"),
        Way("CrossEncoder openvino bf16", _ST, {**settings, "backend": "openvino", "hint": "bf16"}, environment="openvino"),
        Way("rankers CatTransformer fp32", _RANKERS, {**settings, "model": checkpoint + "-2"}, environment="rankers"),
    )
    names = [way.name for way in ways]

    def prepare(short: bool) -> None:
        data.collection(name)
        data.model("minilm-cross")
        data.model("minilm-cross-2")

    def command(repeat: int, short: bool) -> dict[str, Any]:
        return data.pairs(name, repeat, 16 if repeat < 0 else pairs[short])

    lines = (
        Line(
            f"teacher, {name}, fp32",
            "pairs_per_second",
            "pairs/s",
            ("ours fp32",),
            ("CrossEncoder fp32", "rankers CatTransformer fp32"),
            targets[0],
        ),
        Line(
            f"teacher, {name}, best", "pairs_per_second", "pairs/s", tuple(names[:2]), tuple(names[2:]), targets[1], known_absent=(_ONNX,)
        ),
    )
    title = f"teacher scoring, {name} texts, MiniLM-L6 cross-encoder, at most {max_length} tokens a pair"
    precisions = {"ours fp32": "fp32", "ours bf16": "bf16"}
    return Family(
        f"teacher_{name}",
        title,
        ways,
        lines,
        repeats=5,
        command=command,
        prepare=prepare,
        precisions=precisions,
        work=("infer", "cross"),
        short_repeats=int(name == "short"),
    )


FAMILIES = (
    _scoring("short", 256, (128, 64), (1.35, 1.4)),
    _scoring("long", 512, (24, 12), (1.5, 1.6)),
)

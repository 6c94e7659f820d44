"""What computes: devices with their peak rates, and files of measured throughput.

A benchmark leaves its measurements as JSON under ``benchmarks/results``; :class:`Benchmark` is what an entry of ``throughput`` says.
"""

from __future__ import annotations

import functools
import json
import time
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rd_utils.cost import energy
from rd_utils.processor import processor
from rd_utils.study import bounds, yaml_files
from rd_utils.study.explain import ParameterError, explain, nearest
from rd_utils.study.kinds import Precision


class Device(BaseModel):
    """What computes, and how fast at most: one GPU, or one core.

    Attributes:
        name: as benchmark files call it; a core is called by its processor's kind.
        gpu: whether it is an accelerator; otherwise ``peak`` and ``watts`` are of one core.
        peak: operations a second in dense matrix products, by precision.
        bandwidth: bytes a second between memory and processor; elementwise work moves 8 bytes an operation.
        memory: bytes.
        watts: rated power; None for a core, whose watts the study's analysis states.
        train, infer: share of the peak that is assumed where nothing was measured.
        here: whether the store's measurements are of this device.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: bounds.Name
    gpu: bounds.Flag = True
    peak: dict[Precision, bounds.PerSecond] = Field(min_length=1)
    bandwidth: bounds.PerSecond
    memory: bounds.PerSecond | None = None
    watts: bounds.Watts | None = None
    train: bounds.Rate = 0.30
    infer: bounds.Rate = 0.40
    here: bounds.Flag = False

    @model_validator(mode="after")
    def _a_core_computes_in_fp32(self) -> Device:
        if not self.gpu and "fp32" not in self.peak:
            raise ValueError(f"peak has {', '.join(self.peak)}; a core needs fp32, which stands for precisions that it does not list")
        return self


# NVIDIA's data sheets, SXM modules: dense tensor-core rates (half of those with sparsity); fp32 without TF32, as torch computes it.
GPUS = {
    "h200": Device(name="h200", peak={"bf16": 989e12, "fp16": 989e12, "fp32": 67e12}, bandwidth=4.8e12, memory=141e9, watts=700),
    "h100": Device(name="h100", peak={"bf16": 989e12, "fp16": 989e12, "fp32": 67e12}, bandwidth=3.35e12, memory=80e9, watts=700),
    "a100": Device(name="a100", peak={"bf16": 312e12, "fp16": 312e12, "fp32": 19.5e12}, bandwidth=2.04e12, memory=80e9, watts=400),
}


@functools.cache
def core_peak(seconds: float = 0.25) -> float:
    """Return the operations a CPU second of this machine's core in a product of float32 matrices, the best over ``seconds``."""
    a, b = (np.random.default_rng(seed).standard_normal((768, 768), dtype=np.float32) for seed in (0, 1))
    np.matmul(a, b)  # the first loads the library, which can take longer than the seconds
    best, until = 0.0, time.perf_counter() + seconds
    while not best or time.perf_counter() < until:
        before = time.process_time()
        for _ in range(4):
            np.matmul(a, b)
        if spent := time.process_time() - before:  # 0 where the clock is coarse
            best = max(best, 4 * 2 * 768**3 / spent)
    return best


def device_of(name: str | None) -> Device:
    """Return a device by its name, of a YAML file with its attributes, or of this machine.

    Args:
        name: ``h200``, ``h100``, ``a100``, ``cpu`` (this machine's core, measured in 0.25 s), a YAML file; None is the GPU that torch
            finds here, or ``cpu``.

    Raises:
        ParameterError: an unknown name, or a file that does not say what a device needs.
    """
    own = _visible_gpu() if name is None or name in GPUS else None
    known = next((known for known in GPUS if own is not None and known in own.lower()), None)
    if own is not None and name in (None, known):
        if known is None:
            raise ParameterError(f"--device: this machine's {own} is not listed; name one of {', '.join(GPUS)}, cpu, or a YAML file")
        return GPUS[known].model_copy(update={"here": True})
    if name in (None, "cpu"):
        # bf16 as fp32 where there are instructions for it, though some processors are faster in it; emulated, a tenth. Half of the 16 GB/s
        # that a core streams, for what torch spends around an elementwise operation: so the students without a transformer come out within
        # a third of what they took.
        own, fp32 = processor(), core_peak()
        peak: dict[Precision, float] = {"fp32": fp32, "bf16": fp32 if own.multiplies_bf16 else fp32 / 10}
        return Device(name=own.kind, gpu=False, peak=peak, bandwidth=8e9, train=0.4, infer=0.5, here=True)
    if name in GPUS:
        return GPUS[name]
    if Path(name).suffix not in (".yaml", ".yml"):
        others = nearest(name, [*GPUS, "cpu"])
        raise ParameterError(f"--device: unknown device {bounds.shown(name)}{others}, or a YAML file with its peak, bandwidth and watts")
    try:
        return Device.model_validate(yaml_files.read(name, "device").values)
    except ValidationError as error:
        raise ParameterError(explain(error, Device, f"--device {name}")) from None


def _visible_gpu() -> str | None:
    """Return the name of this machine's first GPU; torch, whose import takes seconds, is asked only where a driver shows one."""
    if not any(energy.DEVICES.glob("nvidia[0-9]*")):
        return None
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


class Benchmark(BaseModel):
    """One measurement of a model's throughput: an entry of the list ``throughput`` of a JSON file under ``benchmarks/results``.

    Attributes:
        device: as :class:`Device` calls it (``h200``, ``amd-25-1-avx2``).
        precision: ``fp32``, ``bf16`` or ``fp16``.
        work: ``train`` (forward, backward, step) or ``infer``.
        kind: ``bi`` or ``cross``.
        layers, hidden: of the encoder.
        tokens: mean tokens of a text (bi) or pair (cross), special tokens included.
        documents_per_second: texts or pairs.
        flops_per_second: by the count of :mod:`rd_utils.cost.flops`.
        share_of_peak: ``flops_per_second`` over the device's peak in that precision.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)
    device: str
    precision: Precision
    work: Literal["train", "infer"]
    kind: Literal["bi", "cross"]
    layers: bounds.Few
    hidden: bounds.Width
    tokens: bounds.PerSecond
    documents_per_second: bounds.PerSecond
    flops_per_second: bounds.PerSecond
    share_of_peak: bounds.Rate


def read_benchmarks(folder: Path) -> list[Benchmark]:
    """Return the throughputs of all JSON files in a folder; files without a list ``throughput`` hold something else and are passed over.

    Raises:
        ParameterError: an entry lacks a key or has a value that cannot be.
    """
    found = []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ParameterError(f"{path} is no JSON: {error}; measure again, or delete it") from None
        entries = content.get("throughput", []) if isinstance(content, dict) else []
        if not isinstance(entries, list):
            raise ParameterError(f"{path}: throughput is no list; measure again, or delete the file")
        for number, entry in enumerate(entries):
            try:
                found.append(Benchmark.model_validate(entry))
            except ValidationError as error:
                raise ParameterError(explain(error, Benchmark, f"{path}: throughput[{number}]")) from None
    return found

"""What this machine's processor can do: the kind that results are kept by and that decides what is computed how, and its cores.

Numbers of one kind of processor are the same to the last bit; between kinds, last digits differ, since libraries sum products in the order
that suits the instructions.
"""

from __future__ import annotations

import functools
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

# The sets of instructions for products of matrices, each with those before it, and the flags of /proc/cpuinfo that show them.
INSTRUCTIONS = {
    "plain": (),
    "avx2": ("avx2", "fma"),
    "avx512": ("avx512f", "avx512bw", "avx512vl", "avx512dq"),
    "avx512_bf16": ("avx512_bf16",),
    "amx": ("amx_tile", "amx_bf16"),
}
# What oneDNN's documentation calls them in ONEDNN_MAX_CPU_ISA, which lets a processor stand for a lesser one.
_CAPS = {
    "SSE41": "plain",
    "AVX": "plain",
    "AVX2": "avx2",
    "AVX2_VNNI": "avx2",
    "AVX2_VNNI_2": "avx2",
    "AVX512_CORE": "avx512",
    "AVX512_CORE_VNNI": "avx512",
    "AVX512_CORE_BF16": "avx512_bf16",
    "AVX10_1_512": "avx512_bf16",
    "AVX512_CORE_FP16": "avx512_bf16",
}
_WITH_AVX512 = ("avx512", "avx512_bf16", "amx")
_VENDORS = {"AuthenticAMD": "amd", "GenuineIntel": "intel"}


class Processor(NamedTuple):
    """A kind of processor.

    Attributes:
        vendor: ``amd``, ``intel``, or the architecture where it is another (``aarch64``).
        family, model: the vendor's numbers, 0 where the system does not say.
        instructions: the last of :data:`INSTRUCTIONS` that products use, environment variables heeded; ``neon`` or ``scalar`` where
            it is not Intel's architecture.

    >>> Processor("amd", 25, 1, "avx2").kind
    'amd-25-1-avx2'
    """

    vendor: str
    family: int
    model: int
    instructions: str

    @property
    def kind(self) -> str:
        """Return the name that results are kept under."""
        return f"{self.vendor}-{self.family}-{self.model}-{self.instructions}"

    @property
    def onednn_is_fastest(self) -> bool:
        """Tell whether oneDNN multiplies faster than what torch calls for it: with AVX-512, by a tenth to a quarter.

        With AVX2 alone torch's own is faster by a tenth to a sixth in fp32 (and by half, where GELU follows), at a BERT's shapes.
        """
        return self.instructions in _WITH_AVX512

    @property
    def multiplies_bf16(self) -> bool:
        """Tell whether oneDNN multiplies in bf16: with AVX-512, also where that has no bf16 of its own; others take ten times as long."""
        return self.instructions in _WITH_AVX512

    @property
    def fuses_bf16_attention(self) -> bool:
        """Tell whether torch's fused attention in bf16 beats plain products, without gradients: with AMX, by a tenth at 256 tokens."""
        return self.instructions == "amx"


def read(cpuinfo: str, machine: str, environment: Mapping[str, str]) -> Processor:
    """Return the processor that a system describes.

    Args:
        cpuinfo: the text of ``/proc/cpuinfo``; empty on other systems than Linux.
        machine: as :func:`platform.machine` says.
        environment: its variables; ``ONEDNN_MAX_CPU_ISA`` lets it stand for a lesser one.

    >>> read("vendor_id : GenuineIntel\\ncpu family : 6\\nmodel : 79\\nflags : fma avx2\\n", "x86_64", {})
    Processor(vendor='intel', family=6, model=79, instructions='avx2')
    """
    if machine not in ("x86_64", "AMD64"):
        return Processor(machine.lower(), 0, 0, "neon" if machine in ("aarch64", "arm64") else "scalar")

    def said(name: str) -> str:
        found = re.search(rf"^{name}\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
        return found.group(1) if found else ""

    flags, best = set(said("flags").split()), "plain"
    for name, needed in INSTRUCTIONS.items():
        if not flags.issuperset(needed):
            break
        best = name
    order = [*INSTRUCTIONS]
    cap = _CAPS.get(environment.get("ONEDNN_MAX_CPU_ISA", "").upper(), best)
    vendor = _VENDORS.get(said("vendor_id"), "x86_64")
    return Processor(vendor, int(said("cpu family") or 0), int(said("model") or 0), min(best, cap, key=order.index))


@functools.cache
def processor() -> Processor:
    """Return this machine's."""
    file = Path("/proc/cpuinfo")
    return read(file.read_text(encoding="utf-8", errors="replace") if file.is_file() else "", platform.machine(), os.environ)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

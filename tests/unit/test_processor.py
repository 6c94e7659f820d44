"""What a processor can do, read from its description; lesser ones are imitated as users would."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rd_utils.processor import INSTRUCTIONS, processor, read
from rd_utils.store.meter import surroundings

AVX2 = "sse4_1 avx avx2 fma"
AVX512 = f"{AVX2} avx512f avx512bw avx512vl avx512dq"
AMX = f"{AVX512} avx512_bf16 amx_tile amx_bf16 amx_int8"


def cpuinfo(vendor: str, family: int, model: int, flags: str) -> str:
    said = {"processor": 0, "vendor_id": vendor, "cpu family": family, "model": model, "model name": "Some 7", "flags": flags}
    return "".join(f"{name}\t: {value}\n" for name, value in said.items())


@pytest.mark.parametrize(
    "vendor, family, model, flags, kind, bf16",
    [
        ("AuthenticAMD", 25, 1, AVX2, "amd-25-1-avx2", False),
        ("AuthenticAMD", 25, 17, f"{AVX512} avx512_bf16", "amd-25-17-avx512_bf16", True),
        ("GenuineIntel", 6, 85, AVX512, "intel-6-85-avx512", True),
        ("GenuineIntel", 6, 167, AMX, "intel-6-167-amx", True),
        ("GenuineIntel", 6, 30, "sse4_1", "intel-6-30-plain", False),
        ("SomebodyElse", 1, 2, f"{AVX2} amx_tile amx_bf16", "x86_64-1-2-avx2", False),  # a gap: what is above it is not used
    ],
)
def test_a_kind_is_named_by_vendor_numbers_and_instructions(vendor, family, model, flags, kind, bf16):
    found = read(cpuinfo(vendor, family, model, flags), "x86_64", {})
    assert found.kind == kind and found.multiplies_bf16 is bf16


@pytest.mark.parametrize(
    "cap, instructions", [("AVX512_CORE_BF16", "avx512_bf16"), ("avx512_core", "avx512"), ("AVX2", "avx2"), ("SSE41", "plain")]
)
def test_a_processor_stands_for_a_lesser_one_where_onednn_is_told_so(cap, instructions):
    assert read(cpuinfo("GenuineIntel", 6, 167, AMX), "x86_64", {"ONEDNN_MAX_CPU_ISA": cap}).instructions == instructions
    old = read(cpuinfo("GenuineIntel", 6, 30, "sse4_1"), "x86_64", {"ONEDNN_MAX_CPU_ISA": cap})
    assert old.instructions == "plain"  # never for a better one


def test_other_architectures_have_no_instructions_of_intels():
    arm = read("processor\t: 0\nFeatures\t: fp asimd bf16\n", "aarch64", {})
    assert arm.kind == "aarch64-0-0-neon" and not arm.onednn_is_fastest and not arm.multiplies_bf16
    assert read("", "ppc64le", {}).instructions == "scalar"


def test_this_machine_is_of_one_kind_in_every_process_and_of_another_where_it_is_capped():
    def kind(**more: str) -> str:
        said = "from rd_utils.processor import processor; print(processor().kind)"
        done = subprocess.run([sys.executable, "-c", said], env=os.environ | more, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert kind() == processor().kind == surroundings()["machine"]["processor"]  # what a manifest says
    if processor().instructions in INSTRUCTIONS:
        capped = kind(ONEDNN_MAX_CPU_ISA="SSE41")
        assert capped.endswith("-plain") and list(INSTRUCTIONS).index(processor().instructions) > 0

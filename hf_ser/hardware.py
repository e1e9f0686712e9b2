"""Which precision a machine computes natively: `choose` for `precision: auto`, `objection` for an explicit choice.

bfloat16 needs compute capability 8.0 on CUDA, and AMX-BF16 or AVX512_BF16 on x86 CPUs. Elsewhere it is emulated: on a
CPU with AVX2 only it was measured at 6.3 times the float32 time in training and 9 times in inference.
"""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

PRECISIONS = ("auto", "bf16", "fp16", "fp32")
_BF16_CAPABILITY = (8, 0)
_BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})
# Limits that a person can set; below them the instructions are there and not used. ONEDNN_MAX_CPU_ISA:
# https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html
_ISA_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_ISA_WITH_BF16 = ("DEFAULT", "ALL", "AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX512_CORE_AMX", "AVX10_")
_ATEN_VARIABLE, _ATEN_WITHOUT_BF16 = "ATEN_CPU_CAPABILITY", ("default", "avx2")


@dataclass(frozen=True)
class Hardware:
    """What decides about precision.

    Args:
        kind: type of the torch device, such as cuda, mps or cpu.
        name: for messages.
        capability: the lowest compute capability of the GPUs (kind cuda).
        cpu_flags: instruction sets, named as in /proc/cpuinfo (kind cpu).
        cpu_limit: the environment variable that keeps bfloat16 instructions from being used, such as
            "ONEDNN_MAX_CPU_ISA=AVX2" (kind cpu).
    """

    kind: str
    name: str
    capability: tuple[int, int] = (0, 0)
    cpu_flags: frozenset[str] = frozenset()
    cpu_limit: str | None = None

    @property
    def native_bf16(self) -> bool:
        """Whether bfloat16 products are computed by instructions made for them."""
        if self.kind == "cuda":
            return self.capability >= _BF16_CAPABILITY
        return self.kind == "cpu" and self.cpu_limit is None and bool(_BF16_FLAGS & self.cpu_flags)


def detect(use_cpu: bool = False) -> Hardware:
    """Describe what this process computes on: its accelerator where there is one and `use_cpu` is false."""
    if not use_cpu and torch.cuda.is_available():
        devices = range(torch.cuda.device_count())
        lowest = min(devices, key=torch.cuda.get_device_capability)
        return Hardware("cuda", torch.cuda.get_device_name(lowest), torch.cuda.get_device_capability(lowest))
    other = None if use_cpu else torch.accelerator.current_accelerator(check_available=True)
    if other is not None:
        return Hardware(other.type, "the Apple GPU" if other.type == "mps" else f"this {other.type} device")
    return Hardware("cpu", "this CPU", cpu_flags=_cpu_flags(), cpu_limit=cpu_limit(os.environ))


def choose(hardware: Hardware) -> tuple[str, str]:
    """Return the precision that `auto` takes, bf16, fp16 or fp32, and why."""
    if hardware.native_bf16:
        return "bf16", f"{hardware.name} computes bfloat16 natively"
    if hardware.kind == "cuda":
        major, minor = hardware.capability
        return "fp16", f"{hardware.name} has compute capability {major}.{minor}, and bfloat16 needs 8.0"
    if hardware.cpu_limit is not None and _BF16_FLAGS & hardware.cpu_flags:
        return "fp32", f"{hardware.cpu_limit} turns bfloat16 off"
    return "fp32", f"{hardware.name} has no native bfloat16"


def objection(precision: str, hardware: Hardware) -> tuple[str | None, str | None]:
    """Judge an explicit choice.

    Args:
        precision: bf16, fp16 or fp32.
        hardware: see `detect`.

    Returns:
        Why it is impossible, or None; and why it is slow, or None.
    """
    if precision == "fp16" and hardware.kind != "cuda":
        auto = choose(hardware)[0]
        return f"float16 needs a CUDA GPU, and this runs on {hardware.name}; use --precision auto ({auto} here)", None
    if precision == "bf16" and not hardware.native_bf16:
        if hardware.kind == "cuda":
            slow = f"{choose(hardware)[1]}: it is emulated, and slower than float16. Use --precision auto"
        elif hardware.kind == "cpu":
            slow = (
                f"{choose(hardware)[1]}. Emulated on AVX2 it was measured at 6.3 times the float32 time in training "
                "and 9 times in inference. Use --precision auto"
            )
        else:
            slow = f"bfloat16 may be emulated on {hardware.name}. Use --precision auto"
        return None, slow
    return None, None


def cpu_limit(environment: Mapping[str, str]) -> str | None:
    """The variable that caps instruction sets below bfloat16, with its value, or None."""
    for name in _ISA_VARIABLES:
        value = environment.get(name, "").strip().upper()
        if value and not value.startswith(_ISA_WITH_BF16):
            return f"{name}={environment[name]}"
    if environment.get(_ATEN_VARIABLE, "").strip().lower() in _ATEN_WITHOUT_BF16:
        return f"{_ATEN_VARIABLE}={environment[_ATEN_VARIABLE]}"
    return None


def _cpu_flags() -> frozenset[str]:
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return frozenset()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        known = {"avx512_bf16": "_is_avx512_bf16_supported", "amx_bf16": "_is_amx_tile_supported"}
        return frozenset(flag for flag, ask in known.items() if getattr(torch.cpu, ask, bool)())
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")
    return frozenset(flags.split())

"""Detect devices and choose the precision: `resolve` implements `precision: auto`.

bfloat16 needs compute capability 8.0 on CUDA, and AMX-BF16 or AVX512_BF16 on x86 CPUs. Elsewhere it is emulated: on a
CPU with AVX2 only, it takes 6.3 times as long as float32 in training and 9 times as long in inference.
"""

import logging
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

PRECISIONS = ("auto", "bf16", "fp16", "fp32")
_BF16_CAPABILITY = (8, 0)
_BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})
# Environment variables that disable available instruction sets. For ONEDNN_MAX_CPU_ISA see
# https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html
_ISA_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_ISA_WITH_BF16 = ("DEFAULT", "ALL", "AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX512_CORE_AMX", "AVX10_")
_ATEN_VARIABLE, _ATEN_WITHOUT_BF16 = "ATEN_CPU_CAPABILITY", ("default", "avx2")


@dataclass(frozen=True)
class Hardware:
    """Hardware properties that determine the precision.

    Args:
        kind: type of the torch device, such as cuda, mps or cpu.
        name: name used in messages.
        capability: lowest compute capability of the GPUs (kind cuda).
        cpu_flags: instruction sets, named as in /proc/cpuinfo (kind cpu).
        cpu_limit: environment variable that disables bfloat16 instructions, such as "ONEDNN_MAX_CPU_ISA=AVX2"
            (kind cpu).
    """

    kind: str
    name: str
    capability: tuple[int, int] = (0, 0)
    cpu_flags: frozenset[str] = frozenset()
    cpu_limit: str | None = None

    @property
    def native_bf16(self) -> bool:
        """Whether the hardware has instructions for bfloat16 products."""
        if self.kind == "cuda":
            return self.capability >= _BF16_CAPABILITY
        return self.kind == "cpu" and self.cpu_limit is None and bool(_BF16_FLAGS & self.cpu_flags)


@dataclass(frozen=True)
class PrecisionChoice:
    """A precision, and the reason why it was chosen.

    Args:
        precision: bf16, fp16 or fp32.
        reason: reason shown to people.
        slow: why an explicit choice is slow; None if it is not.
    """

    precision: str
    reason: str
    slow: str | None = None

    def __str__(self) -> str:
        return f"precision {self.precision} ({self.reason})"

    def log(self, logger: logging.Logger) -> None:
        """Log the choice in one line, as a warning if it is slow."""
        logger.log(logging.INFO if self.slow is None else logging.WARNING, str(self))


def detect(device: torch.device | str | None = None) -> Hardware:
    """Describe the hardware of a device.

    Args:
        device: such as cpu or cuda:1; None for the accelerator (with several GPUs, the oldest), or else the CPU.
    """
    chosen = None if device is None else torch.device(device)
    kind = _accelerator() if chosen is None else chosen.type
    if kind == "cuda":
        devices = list(range(torch.cuda.device_count()))
        if chosen is not None:
            devices = [torch.cuda.current_device() if chosen.index is None else chosen.index]
        lowest = min(devices, key=torch.cuda.get_device_capability)
        return Hardware("cuda", torch.cuda.get_device_name(lowest), torch.cuda.get_device_capability(lowest))
    if kind not in (None, "cpu"):
        return Hardware(str(kind), "the Apple GPU" if kind == "mps" else f"this {kind} device")
    return Hardware("cpu", "this CPU", cpu_flags=_cpu_flags(), cpu_limit=cpu_limit(os.environ))


def _accelerator() -> str | None:
    """Type of this machine's accelerator; None without one."""
    if torch.cuda.is_available():
        return "cuda"
    found = torch.accelerator.current_accelerator(check_available=True)
    return None if found is None else found.type


def check_device(name: torch.device | str | int | None) -> None:
    """Raise ValueError for a device that this machine does not have. None and indices are left to torch."""
    if name is None or isinstance(name, int):
        return
    kind = _accelerator()
    count = torch.accelerator.device_count() if kind is not None else 0
    known = ["cpu", *([kind] if kind == "mps" else [f"{kind}:{index}" for index in range(count)])]
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is not None:
        if device.type == "cpu" or (device.type == kind and (device.index or 0) < count):
            return
    raise ValueError(f"device is {str(name)!r}; expected one that PyTorch finds on this machine: {', '.join(known)}.")


def resolve(precision: str, hardware: Hardware) -> PrecisionChoice:
    """Resolve auto to a precision, and check explicit choices.

    Args:
        precision: one of `PRECISIONS`.
        hardware: see `detect`.

    Raises:
        ValueError: the precision is unknown, or not supported by the hardware.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; expected one of {', '.join(PRECISIONS)}.")
    if precision == "auto":
        taken, reason = choose(hardware)
        return PrecisionChoice(taken, f"auto: {reason}")
    impossible, slow = objection(precision, hardware)
    if impossible:
        raise ValueError(f"precision {precision}: {impossible}.")
    return PrecisionChoice(precision, "as given" if slow is None else f"slow: {slow}", slow)


def choose(hardware: Hardware) -> tuple[str, str]:
    """Return the precision for `auto`, bf16, fp16 or fp32, and the reason."""
    if hardware.native_bf16:
        return "bf16", f"{hardware.name} computes bfloat16 natively"
    if hardware.kind == "cuda":
        major, minor = hardware.capability
        return "fp16", f"{hardware.name} has compute capability {major}.{minor}, and bfloat16 needs 8.0"
    if hardware.cpu_limit is not None and _BF16_FLAGS & hardware.cpu_flags:
        return "fp32", f"{hardware.cpu_limit} disables bfloat16"
    return "fp32", f"{hardware.name} has no native bfloat16"


def objection(precision: str, hardware: Hardware) -> tuple[str | None, str | None]:
    """Check an explicit choice.

    Args:
        precision: bf16, fp16 or fp32.
        hardware: see `detect`.

    Returns:
        The reason why it is not supported, or None; and the reason why it is slow, or None.
    """
    if precision == "fp16" and hardware.kind != "cuda":
        auto = choose(hardware)[0]
        return f"float16 needs a CUDA GPU, and this runs on {hardware.name}; use --precision auto ({auto} here)", None
    if precision == "bf16" and not hardware.native_bf16:
        if hardware.kind == "cuda":
            slow = f"{choose(hardware)[1]}. It is emulated, and slower than float16. Use --precision auto"
        elif hardware.kind == "cpu":
            slow = (
                f"{choose(hardware)[1]}. Emulated on AVX2, it takes 6.3 times as long as float32 in training and 9 "
                "times as long in inference. Use --precision auto"
            )
        else:
            slow = f"bfloat16 may be emulated on {hardware.name}. Use --precision auto"
        return None, slow
    return None, None


def cpu_limit(environment: Mapping[str, str]) -> str | None:
    """The environment variable that disables bfloat16 instructions, with its value, or None."""
    for name in _ISA_VARIABLES:
        value = environment.get(name, "").strip().upper()
        if value and not value.startswith(_ISA_WITH_BF16):
            return f"{name}={environment[name]}"
    if environment.get(_ATEN_VARIABLE, "").strip().lower() in _ATEN_WITHOUT_BF16:
        return f"{_ATEN_VARIABLE}={environment[_ATEN_VARIABLE]}"
    return None


@cache
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

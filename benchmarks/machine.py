"""Describe the machine in one line. Every benchmark prints this line first.

python benchmarks/machine.py
"""

import os
import platform
from pathlib import Path

import torch

from hf_ser.remote_code.hardware import Hardware, choose, detect

# Name -> flags of /proc/cpuinfo, in ascending order of speed.
EXTENSIONS = {
    "AVX2": ("avx2",),
    "AVX-512": ("avx512f", "avx512bw"),
    "AVX512_VNNI": ("avx512_vnni",),
    "AVX512_BF16": ("avx512_bf16",),
    "AMX": ("amx_tile", "amx_bf16"),
    "NEON": ("asimd",),
    "bf16 (Arm)": ("bf16",),
}
LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "OMP_NUM_THREADS")


def describe_machine(precision: str | None = None) -> str:
    """Describe processor, vector extensions and their limits, cores, threads, GPU and versions.

    Args:
        precision: precision of the benchmark; None if the benchmark prints it itself, or has none.
    """
    cpu = detect("cpu")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits = [f"{name}={os.environ[name]}" for name in LIMITS if os.environ.get(name)]
    parts = [
        f"{_processor()}, {cores} of {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        f"{', '.join(vector_extensions(cpu)) or 'no known vector extensions'}"
        f" (torch uses {torch.backends.cpu.get_cpu_capability()})",
        f"limited by {', '.join(limits)}" if limits else "no limits set",
        f"auto is {choose(cpu)[0]} on the CPU",
    ]
    if torch.cuda.is_available():
        parts.append(f"{torch.cuda.get_device_name()}, auto is {choose(detect('cuda'))[0]} there")
    parts += [f"torch {torch.__version__}", f"Python {platform.python_version()}"]
    return "; ".join(parts + ([f"precision {precision}"] if precision else []))


def vector_extensions(cpu: Hardware) -> list[str]:
    """Names of the processor's extensions, including those disabled by environment variables."""
    return [name for name, flags in EXTENSIONS.items() if set(flags) <= cpu.cpu_flags]


def _processor() -> str:
    """Model name of the processor, or the system's name for it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()


if __name__ == "__main__":
    print(describe_machine())

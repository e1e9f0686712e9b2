"""Every benchmark prints its machine and the processor's extensions."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hf_ser.remote_code.hardware import Hardware

FOLDER = Path(__file__).parents[2] / "benchmarks"
# gpu.py and its checks print what the section "chip" says; power.py and means_of_models.py measure no time; the last
# three are parts of other scripts.
PARTS = (
    "machine",
    "power",
    "means_of_models",
    "robustness_page",
    "gpu",
    "gpu_checks",
    "wild_sounds",
    "in_the_wild_tables",
    "gender_gap_page",
)


@pytest.fixture
def machine():
    spec = importlib.util.spec_from_file_location("machine", FOLDER / "machine.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("sse4_2 avx", []),
        ("avx2 fma", ["AVX2"]),
        ("avx2 avx512f avx512bw avx512_vnni avx512_bf16", ["AVX2", "AVX-512", "AVX512_VNNI", "AVX512_BF16"]),
        ("avx2 avx512f avx512bw amx_tile", ["AVX2", "AVX-512"]),
        ("avx2 amx_tile amx_bf16", ["AVX2", "AMX"]),
    ],
)
def test_vector_extensions_are_named(machine, flags, expected):
    assert machine.vector_extensions(Hardware("cpu", "this CPU", cpu_flags=frozenset(flags.split()))) == expected


def test_the_line_follows_what_limits_the_processor():
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(FOLDER / "machine.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and done.stdout.count("\n") == 1, done.stderr
    for part in (
        "1 threads",
        "ONEDNN_MAX_CPU_ISA=AVX2, ATEN_CPU_CAPABILITY=avx2",
        "auto is fp32 on the CPU",
        "torch 2",
    ):
        assert part in done.stdout


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_every_benchmark_prints_it(path):
    if path.stem in PARTS:
        return
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert "describe_machine" in {call.id for call in calls if isinstance(call, ast.Name)}

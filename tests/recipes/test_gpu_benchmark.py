"""`benchmarks/gpu.py` runs sections separately, writes their results, and lists skipped sections."""

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(launch, dataset_dir, tmp_path):
    """Run the script with these words."""
    given = ["--dataset", dataset_dir, "--recordings", dataset_dir, "--out", tmp_path, "--tiny"]
    return lambda *words: launch(ROOT / "benchmarks/gpu.py", *given, *words, cwd=ROOT)


@pytest.mark.slow
def test_sections_report_apart_and_a_failure_costs_only_its_own(script, tmp_path):
    # There is no recording in a prepared dataset: the section of pipelines fails.
    script("--sections", "chip", "xlsr", "pipeline")
    tables = (tmp_path / "gpu.md").read_text()
    assert "| bfloat16 |" in tables and "FAILED with status 1" in tables
    assert [line.split("|")[2].strip() for line in tables.splitlines() if line.startswith("| xlsr")] == [
        *("plain", "frozen feature encoder", "LoRA 16")
    ]
    numbers = json.loads((tmp_path / "gpu.json").read_text())
    trained = [each for each in numbers["xlsr"] if "clips_per_s" in each]
    assert len(trained) == 3 and all(each["clips_per_s"] > 0 and each["tflops"] > 0 for each in trained)
    assert (
        numbers["chip"][-1]["status"] == numbers["xlsr"][-1]["status"] == 0 and numbers["pipeline"][-1]["status"] == 1
    )
    assert "Traceback" in (tmp_path / "gpu.log").read_text()


def test_without_time_everything_is_skipped_and_named(script):
    done = script("--seconds", 0)
    assert "skipped, because the time was up: chip, base" in done.stdout


@pytest.mark.parametrize("name", ["gpu.sh", "gpu_collect.sh"])
def test_the_shell_scripts_parse(name):
    subprocess.run(["bash", "-n", str(ROOT / "benchmarks" / name)], check=True)

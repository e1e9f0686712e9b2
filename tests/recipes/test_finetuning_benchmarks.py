"""`benchmarks/finetuning.py` and `benchmarks/finetuning_gpu.py` run and count, with a tiny model."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hf_ser.data import DataArguments, load_splits

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """Load a benchmark as the module of its name."""

    def module(name):
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        loaded = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, loaded)
        spec.loader.exec_module(loaded)
        return loaded

    return module


@pytest.fixture
def finetuning(load):
    load("machine")
    return load("finetuning")


@pytest.fixture
def job(finetuning, dataset_dir):
    return finetuning.Job(str(dataset_dir), finetuning.TINY, {}, batch=2, steps=3)


def table(done):
    """Rows of cells, without the header."""
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.slow
def test_every_variant_is_measured_on_the_same_clips(finetuning, job):
    padding = {}
    for name, options in finetuning.VARIANTS.items():
        measured = finetuning.measure(replace(job, options=options, peer=name == finetuning.PEER))
        assert measured["clips_per_s"] > 0 and measured["gflops"] > 0 and 0.05 < measured["peak_gib"] < 100
        padding[name] = measured["padding"]
    assert padding["plain Trainer"] > padding["ours"] > padding["length-grouping"] > 0
    assert padding["recommended, length-grouping"] == padding["length-grouping"]
    assert {padding[name] for name in ("bfloat16", "lora", "gradient-checkpointing")} == {padding["ours"]}


def test_frozen_layers_save_operations_and_checkpointing_repeats_some(finetuning, job, tmp_path):
    data = load_splits(DataArguments(dataset=job.dataset))

    def work(**options):
        return finetuning.operations(finetuning.make_ours(replace(job, options=options), str(tmp_path), data))

    plain, frozen = work(), work(freeze_feature_encoder=True)
    assert work(freeze_feature_encoder=True, lora_rank=1) < frozen < plain < work(activation_checkpointing=True)
    assert work(bf16=True) == plain


def test_more_clips_than_there_are_are_refused(finetuning, job):
    with pytest.raises(ValueError, match="--steps"):
        finetuning.measure(replace(job, steps=1000))


def test_what_does_not_fit_is_said_to(finetuning, job, load, monkeypatch, capsys):
    def full(_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(finetuning, "measure", full)
    finetuning.answer(job)
    assert capsys.readouterr().out == "{}\n"
    assert "does not fit" in load("finetuning_gpu").row({}, 1.0)


@pytest.mark.slow
def test_the_script_prints_its_table(launch, dataset_dir):
    words = ["--tiny", "--rounds", 1, "--steps", 2, "--batch", 2, "--variants", "recommended"]
    rows = table(launch(FOLDER / "finetuning.py", "--dataset", dataset_dir, *words))
    assert [row[0] for row in rows] == ["plain Trainer", "recommended"]
    assert rows[0][2] == "1.00 (1.00 to 1.00)"


@pytest.mark.slow
def test_the_gpu_script_prints_its_table_on_processors(launch, dataset_dir):
    words = ["--tiny", "--device", "cpu", "--steps", 2, "--warm_up", 1, "--models", "xlsr", "--batches", 2]
    rows = table(launch(FOLDER / "finetuning_gpu.py", "--dataset", dataset_dir, *words, "--options", "plain"))
    assert [row[:3] for row in rows] == [["xlsr", "2", "plain"]]


def test_without_a_gpu_the_script_ends_in_one_line(launch):
    without = launch(FOLDER / "finetuning_gpu.py", check=False)
    assert without.returncode == 1 and without.stderr.startswith("error: no GPU") and without.stderr.count("\n") == 1

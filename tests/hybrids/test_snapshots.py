"""The snapshots of one training with restarts of the learning rate are base models of a stack."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from hf_ser.data import DataArguments, load_splits
from hf_ser.hybrids.base_models import StackError, open_base_models, probabilities
from hf_ser.hybrids.fitting import fit_hybrid
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.inference import load_classifier
from hf_ser.run_folder import RunFolderError
from hf_ser.scoring import read_predictions

ROOT = Path(__file__).parents[2]
MODEL = {"model_type": "ser-mel-cnn", "duration_s": 0.5, "n_mels": 16, "channels": [4, 4, 4]}
STEPS = (4, 8)  # the ends of two cycles


@pytest.fixture(scope="module")
def run(finetune, dataset_dir, tmp_path_factory):
    """A run of two cycles with a snapshot at the end of each, by the options in the guide."""
    folder = tmp_path_factory.mktemp("snapshots") / "run"
    options = {"lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 2}}
    for name in ("save", "eval"):
        options |= {f"{name}_strategy": "steps", f"{name}_steps": 0.5}
    options |= {"logging_strategy": "steps", "logging_steps": 1, "learning_rate": 0.01, "save_total_limit": 2}
    fields = {"model_config": MODEL, "num_train_epochs": 2, "per_device_train_batch_size": 8, "precision": "fp32"}
    finetune(**fields, **options, dataset=str(dataset_dir), configuration="ravdess", output_dir=str(folder))
    return folder


def _arguments(run, folder):
    bases = [f"{run}/checkpoint-{step}" for step in STEPS]
    options = {"bases": bases, "meta": "mean", "device": "cpu", "precision": "fp32", "figures": False}
    return HybridArguments(str(folder), **options, calibrate=False)


def test_a_snapshot_is_kept_at_the_end_of_each_cycle(run):
    assert sorted(path.name for path in run.glob("checkpoint-*")) == [f"checkpoint-{step}" for step in STEPS]
    history = json.loads((run / "training_history.json").read_text())
    rates = [entry["learning_rate"] for entry in history if "learning_rate" in entry]
    cycle = [0.01 * (1 + math.cos(math.pi * part / 4)) / 2 for part in range(4)]
    assert rates == pytest.approx(cycle * 2)
    assert yaml.safe_load((run / "recipe.yaml").read_text())["lr_scheduler_kwargs"] == {"num_cycles": 2}


def test_the_stack_is_the_mean_of_the_snapshots(run, dataset_dir, tmp_path):
    data = load_splits(DataArguments(str(dataset_dir), "ravdess"))
    args = _arguments(run, tmp_path / "stack")
    base_models = open_base_models(args, data.args)
    assert [base.name for base in base_models] == ["checkpoint-4", "checkpoint-8"]
    assert not any(base.tables for base in base_models)  # the run's tables are of its best checkpoint
    parts = [probabilities(base, data, "test", range(len(data.labels)), args) for base in base_models]
    assert not np.allclose(parts[0], parts[1], atol=1e-3)
    results = fit_hybrid(data, args, "stack")
    stored = read_predictions(tmp_path / "stack" / "predictions_test.parquet")
    np.testing.assert_allclose(stored.probabilities, np.mean(parts, axis=0), atol=1e-5)
    assert results["parameters"] == 2 * sum(weights.numel() for weights in load_classifier(str(run))[0].parameters())
    assert torch.isfinite(load_classifier(str(tmp_path / "stack"))[0](torch.zeros(1, 8000)).logits).all()


def test_the_training_clips_of_a_snapshot_are_those_of_its_run(run, dataset_dir, tmp_path):
    other = load_splits(DataArguments(str(dataset_dir), "ravdess", protocol="random", protocol_seed=3))
    with pytest.raises(StackError, match=r"base checkpoint-4 .* was trained on \d+ of the \d+ fitting clips"):
        fit_hybrid(other, _arguments(run, tmp_path / "leaky"), "leaky")
    begun = tmp_path / "begun"
    (begun / "checkpoint-4").mkdir(parents=True)
    (begun / "unfinished.json").write_text("{}")
    with pytest.raises(RunFolderError, match="begun holds an unfinished run"):
        open_base_models(_arguments(begun, tmp_path / "early"), other.args)

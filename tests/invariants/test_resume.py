"""A run killed in the middle of an epoch goes on and ends as an unbroken one: the same losses, scores and weights."""

import json
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
AUGMENTATION = [{"transform": "AddGaussianSNR", "p": 0.8}, {"transform": "PitchShift", "p": 0.3}]


@pytest.fixture(scope="module")
def command(tmp_path_factory, dataset_dir, tiny_config):
    """A run of 16 steps, four in an epoch, with everything that draws at random, and a checkpoint every third step."""
    config = {
        "model_config": {**tiny_config, "hidden_dropout": 0.1, "attention_dropout": 0.1, "apply_spec_augment": True},
        "dataset": str(dataset_dir),
        "configuration": "ravdess",
        "augmentation": AUGMENTATION,
        "mixup_alpha": 0.2,
        "ema_decay": 0.5,
        "num_train_epochs": 4,
        "learning_rate": 3e-3,
        "lr_scheduler_type": "cosine",
        "per_device_train_batch_size": 8,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "eval_strategy": "steps",
        "eval_steps": 3,
        "save_strategy": "steps",
        "save_steps": 3,
        "train_sampling_strategy": "group_by_length",
        "use_cpu": True,
        "figures": False,
        "disable_tqdm": True,
    }
    path = tmp_path_factory.mktemp("resume") / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return [ROOT / "recipes/finetune.py", "--config", path, "--output_dir"]


def _read(folder):
    history = json.loads((folder / "training_history.json").read_text())
    clock = ("runtime", "per_second")
    entries = [
        {key: value for key, value in entry.items() if not any(part in key for part in clock)} for entry in history
    ]
    return {
        "history": [entry for entry in entries if "loss" in entry or "eval_loss" in entry],
        "weights": load_file(folder / "model.safetensors"),
        "splits": json.loads((folder / "results.json").read_text())["splits"],
    }


@pytest.mark.slow
def test_a_killed_run_ends_as_an_unbroken_one(command, program_server, tmp_path):
    program_server.run(*command, tmp_path / "whole")
    whole = _read(tmp_path / "whole")
    killed = program_server.start(*command, tmp_path / "killed")
    state, deadline = tmp_path / "killed" / "checkpoint-6" / "trainer_state.json", time.monotonic() + 120
    while not state.is_file() and time.monotonic() < deadline:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert killed.finish().returncode == -signal.SIGKILL and not (tmp_path / "killed" / "results.json").exists()
    program_server.run(*command, tmp_path / "killed", "--resume_from_checkpoint", "true")
    resumed = _read(tmp_path / "killed")
    assert len([entry for entry in whole["history"] if "loss" in entry]) == 16
    assert resumed["history"] == whole["history"]
    assert resumed["splits"] == whole["splits"]
    for name, tensor in whole["weights"].items():
        assert torch.equal(resumed["weights"][name], tensor), name

"""Batch 8 x 1 equals 2 x 4, and one process equals two: the same losses, the same weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from hf_ser.corpora import synthetic
from hf_ser.data import PrepareArguments, prepare

ROOT = Path(__file__).parents[2]
# What keeps lengths as they are.
AUGMENTATION = [{"transform": "AddGaussianSNR", "p": 0.8}, {"transform": "Shift", "rollover": False, "p": 0.8}]


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    root = tmp_path_factory.mktemp("layout")
    folders = synthetic.generate(
        root / "corpora", corpora=("ravdess",), clips_per_class=2, speakers_per_corpus=4, duration_s=(0.5, 0.6)
    )
    prepare(
        PrepareArguments(output_dir=str(root / "dataset"), ravdess=str(folders["ravdess"]), num_proc=1), progress=False
    )
    config = yaml.safe_load((ROOT / "recipes/configs/wav2vec2_small.yaml").read_text())
    config["model_config"] |= {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "conv_dim": [16] * 5,
        "classifier_proj_size": 16,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
    }
    config |= {
        "dataset": str(root / "dataset"),
        "duration_s": 0.4,  # equal lengths: padding would differ between layouts, and wav2vec2-base sees it
        "augmentation": AUGMENTATION,
        "num_train_epochs": 2,
        "learning_rate": 1e-3,
        "warmup_steps": 0,
        "ema_decay": 0.5,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "use_cpu": True,
        "figures": False,
        "disable_tqdm": True,
        "per_device_eval_batch_size": 4,
    }
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    return root


@pytest.fixture(scope="module")
def train(setting, launch):
    def run(name, *overrides, processes=1):
        folder = setting / name
        words = ["--config", setting / "config.yaml", "--output_dir", folder, *overrides]
        launch(ROOT / "recipes/finetune.py", *words, processes=processes)
        history = json.loads((folder / "training_history.json").read_text())
        return {
            "loss": [entry["loss"] for entry in history if "loss" in entry],
            "eval_loss": [entry["eval_loss"] for entry in history if "eval_loss" in entry],
            "f1": [entry["eval_f1_weighted"] for entry in history if "eval_f1_weighted" in entry],
            "weights": load_file(folder / "model.safetensors"),
            "results": json.loads((folder / "results.json").read_text()),
        }

    return run


@pytest.fixture(scope="module")
def whole_batch(train):
    return train("8x1", "--per_device_train_batch_size", "8")


def _assert_same_run(run, expected):
    assert len(expected["loss"]) == 8  # 32 training clips, two epochs
    assert run["results"]["training"]["augmentation"] == AUGMENTATION
    np.testing.assert_allclose(run["loss"], expected["loss"], rtol=1e-3)
    np.testing.assert_allclose(run["eval_loss"], expected["eval_loss"], rtol=1e-3)
    assert run["f1"] == pytest.approx(expected["f1"])
    for name, tensor in expected["weights"].items():
        torch.testing.assert_close(run["weights"][name], tensor, rtol=5e-3, atol=5e-4, msg=name)


@pytest.mark.slow
def test_accumulation_does_not_change_the_run(train, whole_batch):
    layout = ("--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "4")
    _assert_same_run(train("2x4", *layout), whole_batch)


@pytest.mark.slow
def test_two_processes_do_not_change_the_run(train, whole_batch):
    run = train("two", "--per_device_train_batch_size", "4", processes=2)
    assert run["results"]["training"]["batch_size"] == 8
    _assert_same_run(run, whole_batch)
    assert run["results"]["splits"]["test"]["clips"] == whole_batch["results"]["splits"]["test"]["clips"]

"""The launch configurations are known to accelerate, and the one for processors trains."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import DistributedType

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "recipes" / "accelerate"
CONFIGS = sorted(FOLDER.glob("*.yaml"))


def test_every_launch_configuration_is_known():
    names = [path.stem for path in CONFIGS]
    assert names == ["deepspeed_zero2", "fsdp", "multi_gpu", "multi_machine", "one_gpu", "two_cpu"]


@pytest.mark.parametrize("path", [*CONFIGS, ROOT / "accelerate_config.yaml"], ids=lambda path: path.stem)
def test_accelerate_knows_every_key(path):
    config = load_config_from_file(str(path))  # refuses unknown ones
    assert config.num_processes >= config.num_machines
    assert (config.distributed_type == DistributedType.NO) == (config.num_processes == 1)


def test_the_slurm_example_is_a_shell_script_that_names_existing_files():
    subprocess.run(["bash", "-n", str(FOLDER / "slurm.sh")], check=True)
    words = (FOLDER / "slurm.sh").read_text().split()
    named = [word for word in words if word.startswith("recipes/") and not word.endswith("slurm.sh")]
    assert named and all((ROOT / word).is_file() for word in named)


@pytest.mark.slow
def test_two_processes_on_the_processor_train_a_companion(launch, tmp_path, dataset_dir):
    config = {
        "model_config": {"model_type": "ser-mel-cnn", "duration_s": 0.5, "n_mels": 16, "channels": [4, 4, 4]},
        "dataset": str(dataset_dir),
        "configuration": "all",
        "output_dir": str(tmp_path / "run"),
        "num_train_epochs": 1,
        "per_device_train_batch_size": 4,
        "mixup_alpha": 0.2,
        "ema_decay": 0.5,
        "balance_corpora": True,
        "corpus_classes": True,
        "use_cpu": True,
        "disable_tqdm": True,
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    recipe = [ROOT / "recipes" / "train_companion.py", "--config", tmp_path / "config.yaml"]
    launch("-m", "accelerate.commands.launch", "--config_file", FOLDER / "two_cpu.yaml", *recipe)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["training"]["batch_size"] == 8 and results["splits"]["test"]["clips"] > 0

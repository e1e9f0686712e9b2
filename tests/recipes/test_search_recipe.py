"""`recipes/search.py`: as a person runs it, on one process and on two."""

import csv
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture
def words(tmp_path, dataset_dir):
    config = {
        "model_config": {"model_type": "ser-mel-cnn", "duration_s": 0.5, "n_mels": 16, "channels": [4, 4, 4]},
        "dataset": str(dataset_dir),
        "configuration": "ravdess",
        "output_dir": str(tmp_path / "search"),
        "num_train_epochs": 1,
        "per_device_train_batch_size": 4,
        "use_cpu": True,
        "disable_tqdm": True,
    }
    space = {"learning_rate": {"low": "1e-4", "high": "1e-2", "log": True}, "model_config.dropout": [0.0, 0.3]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    return ["--config", tmp_path / "config.yaml", "--search_space", tmp_path / "space.yaml", "--n_trials", 2]


def test_the_recipe_searches_and_says_where_to_go_next(words, load_recipe, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["search.py", *map(str, words)])
    load_recipe("search").main()
    said = capsys.readouterr().out
    best = tmp_path / "search" / "best.yaml"
    assert f"python recipes/train_companion.py --config {best}" in said and "the test split was not read" in said
    assert said.count("| complete |") == 2
    assert "Scores on validation, protocol " in said and "synthetic recordings" in said
    assert yaml.safe_load(best.read_text())["model_config"]["dropout"] in (0.0, 0.3)


@pytest.mark.slow
def test_two_processes_search_together(words, launch, tmp_path):
    command = [ROOT / "recipes/search.py", *words]
    done = launch(*command, processes=2)
    rows = list(csv.DictReader((tmp_path / "search" / "trials.csv").open()))
    assert [row["state"] for row in rows] == ["complete", "complete"]
    assert done.stdout.count("the test split was not read") == 1
    alone = launch(*command, check=False)
    assert alone.returncode == 2 and "processes was 2 and is 1" in alone.stderr

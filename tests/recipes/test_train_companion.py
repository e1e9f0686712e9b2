"""`recipes/train_companion.py`: every published model trains, and its folder is scored as it was saved."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from hf_ser.data import DataArguments
from hf_ser.evaluation import EvaluateArguments, evaluate
from hf_ser.inference import load_classifier
from hf_ser.models import CompanionModel
from hf_ser.scoring import read_predictions, read_results

ROOT = Path(__file__).parents[2]
SMALL = {
    "mel_cnn": {"channels": [4, 4, 4], "hidden_size": 8},
    "audio_cnn": {"channels": [4, 4, 4, 4], "hidden_size": 8},
    "audio_lstm": {"hidden_size": 8},
    "cnn_lstm": {"channels": [4, 4, 4], "hidden_size": 8},
    "cnn_gru": {"channels": [4, 4, 4], "hidden_size": 8},
}


@pytest.fixture
def recipe(monkeypatch, load_recipe):
    module = load_recipe("train_companion")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["train_companion.py", *map(str, words)])
        module.main()

    return run


@pytest.mark.parametrize("name", SMALL)
def test_a_published_model_trains_and_scores_as_saved(recipe, dataset_dir, tmp_path, name):
    config = yaml.safe_load((ROOT / f"recipes/configs/{name}.yaml").read_text())
    config["model_config"] |= SMALL[name] | {"duration_s": 0.5}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(config))
    folder, again = tmp_path / name, tmp_path / "again"
    words = ["--config", tmp_path / "small.yaml", "--dataset", dataset_dir, "--configuration", "all-random"]
    words += ["--output_dir", folder, "--num_train_epochs", 2, "--use_cpu", "true", "--disable_tqdm", "true"]
    words += ["--figures", "false"]
    recipe(*words, "--loss", "focal", "--class_weights", "true", "--early_stopping_patience", 2)
    results = read_results(folder)
    assert results["model_type"] == config["model_config"]["model_type"]
    assert "auto_map" in json.loads((folder / "config.json").read_text())
    model, extractor = load_classifier(str(folder))  # without trust_remote_code: the package knows its own
    assert isinstance(model, CompanionModel) and extractor.return_attention_mask
    evaluate(
        EvaluateArguments(str(again), model=str(folder), figures=False), DataArguments(str(dataset_dir), "all-random")
    )
    before, after = (
        read_predictions(path) for path in (folder / "predictions_test.parquet", again / "predictions.parquet")
    )
    assert before.clips["id"] == after.clips["id"]
    assert abs(before.probabilities - after.probabilities).max() < 1e-5


def test_what_a_companion_has_not_is_refused(recipe, dataset_dir, tmp_path):
    from hf_ser.arguments import ConfigError

    words = ["--config", ROOT / "recipes/configs/audio_cnn.yaml", "--dataset", dataset_dir, "--use_cpu", "true"]
    with pytest.raises(ConfigError, match="freeze_feature_encoder"):
        recipe(*words, "--configuration", "all", "--output_dir", tmp_path / "a", "--freeze_feature_encoder", "true")

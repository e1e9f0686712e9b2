"""recipe.yaml: settings that a recipe accepts as they are, without anything of the person or the machine."""

from pathlib import Path

import pytest
import yaml

from hf_ser.arguments import parse
from hf_ser.data import DataArguments
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.recipe_file import changed_fields, read_recipe, recipe_text
from hf_ser.training import ModelArguments, SerTrainingArguments
from hf_ser.training.pretraining import PretrainingArguments, PretrainingDataArguments, PretrainingModelArguments
from hf_ser.training.recipe_settings import training_recipe

ROOT = Path(__file__).parents[1]
CONFIGS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "recipes/configs").glob("*.yaml"))}
HYBRIDS = [name for name, content in CONFIGS.items() if {"bases", "kind", "meta", "predictions"} & content.keys()]
TRAINED = [name for name in CONFIGS if name not in HYBRIDS]
TRAINING = (ModelArguments, DataArguments, SerTrainingArguments)
PRETRAINING = (PretrainingModelArguments, PretrainingDataArguments, PretrainingArguments)


def _settings(text):
    return yaml.safe_load(text) or {}


def test_every_configuration_is_checked():
    assert len(HYBRIDS) > 4 and len(TRAINED) > 10


@pytest.mark.parametrize("name", TRAINED)
def test_the_recipe_of_a_training_gives_the_same_arguments(name, tmp_path):
    words = ["--output_dir", str(tmp_path / "run"), "--dataset", "data/emotions"]
    types = PRETRAINING if "_pretrain" in name else TRAINING
    made = parse(*types, argv=["--config", str(ROOT / f"recipes/configs/{name}.yaml"), *words])
    path = tmp_path / "recipe.yaml"
    path.write_text(training_recipe(*made))
    assert not {"dataset", "output_dir", "bf16", "use_cpu"} & _settings(path.read_text()).keys()
    again = parse(*types, argv=["--config", str(path), *words])
    assert again[:2] == made[:2] and again[2].to_dict() == made[2].to_dict()


@pytest.mark.parametrize("name", HYBRIDS)
def test_the_recipe_of_a_hybrid_gives_the_same_arguments(name, tmp_path):
    types = (DataArguments, HybridArguments)
    words = ["--output_dir", str(tmp_path / "run"), "--dataset", "data/emotions"]
    made = parse(*types, argv=["--config", str(ROOT / f"recipes/configs/{name}.yaml"), *words])
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_text(changed_fields(made[0]) | changed_fields(made[1]), "fit_hybrid"))
    assert parse(*types, argv=["--config", str(path), *words]) == made


def test_choices_are_kept_and_what_the_machine_decided_is_not(tmp_path):
    given = {"output_dir": str(tmp_path), "figures": False, "hub_model_id": "owner/secret", "hub_token": "hf_secret"}
    model = ModelArguments("facebook/wav2vec2-base")
    plain = _settings(training_recipe(model, DataArguments("data"), SerTrainingArguments(**given)))
    assert plain == {"model_name_or_path": "facebook/wav2vec2-base", "figures": False}
    chosen = SerTrainingArguments(
        **given,
        precision="fp32",
        use_cpu=True,
        dataloader_num_workers=2,
        report_to="none",
        lr_scheduler_type="reduce_lr_on_plateau",
        metric_for_best_model="loss",
        overwrite=True,
    )
    assert _settings(training_recipe(model, DataArguments("data", "ravdess", fold=2, protocol="emobox"), chosen)) == {
        **plain,
        "configuration": "ravdess",
        "protocol": "emobox",
        "fold": 2,
        "precision": "fp32",
        "use_cpu": True,
        "lr_scheduler_type": "reduce_lr_on_plateau",
        "metric_for_best_model": "loss",
    }


def test_local_paths_are_shortened_and_the_file_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise = [{"transform": "AddBackgroundNoise", "sounds_path": "/mnt/sounds/noise", "p": 0.5}]
    bases = [str(tmp_path / "runs/cnn"), "w2v=/mnt/models/w2v/", "owner/model@v1", "runs/relative"]
    text = recipe_text({"bases": bases, "augmentation": noise, "model_name_or_path": r"C:\models\base"}, "finetune")
    assert _settings(text) == {
        "bases": ["runs/cnn", "w2v=w2v", "owner/model@v1", "runs/relative"],
        "augmentation": [{"transform": "AddBackgroundNoise", "sounds_path": "noise", "p": 0.5}],
        "model_name_or_path": "base",
    }
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert [line.partition(":")[0] for line in comments[2:]] == [
        *("# bases", "# augmentation.sounds_path", "# model_name_or_path")
    ]
    assert "/mnt" not in text and str(tmp_path) not in text


def test_a_folder_without_the_file_has_no_settings(tmp_path):
    assert read_recipe(tmp_path) is None
    (tmp_path / "recipe.yaml").write_text(recipe_text({}, "baseline"))
    assert read_recipe(tmp_path) == {}

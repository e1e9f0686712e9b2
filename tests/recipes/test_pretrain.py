"""`recipes/pretrain.py`: the loss falls, the encoder fine-tunes, and no clip is used twice without being noticed."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoConfig, Wav2Vec2ForPreTraining

from hf_ser.arguments import ConfigError
from hf_ser.data import DataArguments, DatasetError, load_splits
from hf_ser.evaluation import EvaluateArguments, evaluate
from hf_ser.hub.push_checks import FolderError, check_model
from hf_ser.inference import CheckpointError, load_classifier
from hf_ser.run_folder import is_finished
from hf_ser.scoring.predictions import PredictionsError
from hf_ser.training.pretraining import unlabelled_recordings

ROOT = Path(__file__).parents[2]
CODEBOOK = {"codevector_dim": 16, "proj_codevector_dim": 16, "num_codevectors_per_group": 8, "num_negatives": 10}


@pytest.fixture(scope="module")
def fields(tiny_config):
    return {
        "model_config": {**tiny_config, **CODEBOOK, "hidden_size": 32, "num_hidden_layers": 2},
        "mask_time_length": 4,
        "validation_share": 0.2,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 8,
        "learning_rate": 3e-3,
        "precision": "fp32",
        "use_cpu": True,
        "disable_tqdm": True,
        "num_proc": 1,
    }


@pytest.fixture(scope="module")
def pretrain(load_recipe, fields, tmp_path_factory):
    """Run recipes/pretrain.py with these fields; return the folder and pretraining.json."""
    recipe = load_recipe("pretrain")

    def run(**changes):
        path = tmp_path_factory.mktemp("config") / "config.yaml"
        path.write_text(yaml.safe_dump({**fields, **changes}))
        recipe.main(["--config", str(path)])
        folder = Path(changes["output_dir"])
        return folder, json.loads((folder / "pretraining.json").read_text())

    return run


@pytest.fixture(scope="module")
def crema(dataset_dir):
    return dataset_dir.parent / "corpora" / "crema_d"


@pytest.fixture(scope="module")
def adapted(pretrain, crema, tmp_path_factory):
    """An encoder pretrained on the recordings of CREMA-D's layout, with two files that cannot be used."""
    root = tmp_path_factory.mktemp("adapted")
    shutil.copytree(crema, root / "calls")
    (root / "calls" / "broken.wav").write_bytes(b"RIFF")
    (root / "calls" / "notes.txt").write_text("no recording")
    return pretrain(
        recordings=[str(root / "calls")],
        output_dir=str(root / "encoder"),
        num_train_epochs=8,
        train_sampling_strategy="group_by_length",
        gradient_accumulation_steps=2,
        per_device_train_batch_size=4,
    )


def test_the_loss_falls_on_held_out_recordings(adapted):
    folder, results = adapted
    history = json.loads((folder / "training_history.json").read_text())
    *validation, last = [entry for entry in history if "eval_loss" in entry]
    training = [entry for entry in history if "loss" in entry]
    assert len(validation) == len(training) == 8
    assert {"contrastive_loss", "diversity_loss", "codevector_perplexity"} <= set(training[0])
    assert training[-1]["loss"] < 0.9 * training[0]["loss"]
    assert validation[-1]["eval_loss"] < 0.95 * validation[0]["eval_loss"]
    best = max(entry["eval_contrastive_accuracy"] for entry in validation)
    # The best checkpoint is saved.
    assert results["scores"]["contrastive_accuracy"] == last["eval_contrastive_accuracy"] == pytest.approx(best)
    assert best > 1.5 / (1 + CODEBOOK["num_negatives"])
    assert results["scores"]["codevector_perplexity"] > 2.5  # 2 would be a collapsed codebook


def test_the_folder_describes_itself(adapted):
    folder, results = adapted
    assert is_finished(folder) and not (folder / ".recordings").exists() and not (folder / ".partial").exists()
    assert results["kind"] == "pretraining" and results["synthetic"] == ["calls"] and results["unusable_files"] == 1
    assert results["groups"]["of"] == "recordings" and min(results["hours"].values()) > 0
    with open(folder / "quarantine.csv", newline="") as file:
        assert [(row["path"], row["reason"]) for row in csv.DictReader(file)] == [("broken.wav", "undecodable")]
    card = (folder / "README.md").read_text()
    assert "predicts no emotions" in card and "synthetic recordings" in card
    settings = yaml.safe_load((folder / "recipe.yaml").read_text())
    assert settings["num_train_epochs"] == 8 and str(folder.parent) not in str(settings)


def test_the_encoder_has_the_layout_of_wav2vec2_base(adapted):
    folder, _ = adapted
    _, info = Wav2Vec2ForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    config = AutoConfig.from_pretrained(folder)
    assert config.architectures == ["Wav2Vec2ForPreTraining"]
    assert (config.apply_spec_augment, config.mask_time_prob) == (False, 0.05)  # of tiny_config
    assert (folder / "preprocessor_config.json").is_file()


def test_it_is_no_classifier(adapted):
    folder, _ = adapted
    with pytest.raises(CheckpointError, match=r"pretrained without labels .*Fine-tune it first: python recipes/fine"):
        load_classifier(str(folder))
    with pytest.raises(FolderError, match="an encoder pretrained without labels; expected a classifier"):
        check_model(folder, [])


def test_it_fine_tunes_and_its_recordings_stay_known(adapted, finetune, dataset_dir, crema, tmp_path):
    folder, _ = adapted
    data = {"dataset": str(dataset_dir), "configuration": "ravdess"}
    results = finetune(
        model_name_or_path=str(folder), output_dir=str(tmp_path / "tuned"), num_train_epochs=0.3, **data
    )
    assert results["training"]["base_model"] == "encoder"
    before = load_file(folder / "model.safetensors")
    after = load_file(tmp_path / "tuned" / "model.safetensors")
    name = "wav2vec2.encoder.layers.0.attention.q_proj.weight"
    assert torch.allclose(after[name], before[name], atol=1e-2)  # a new encoder would differ by 0.1
    args = {"model": str(tmp_path / "tuned"), "figures": False, "device": "cpu"}
    evaluate(EvaluateArguments(str(tmp_path / "test"), **args), DataArguments(**data))
    with pytest.raises(PredictionsError, match="trained on"):
        evaluate(EvaluateArguments(str(tmp_path / "seen"), recordings=str(crema), **args), DataArguments())


def test_an_encoder_that_has_seen_the_test_clips_is_rejected(adapted, finetune, dataset_dir, tmp_path):
    folder, _ = adapted
    with pytest.raises(DatasetError, match=r"was pretrained on \d+ of the \d+ clips in (validation|test)"):
        finetune(
            model_name_or_path=str(folder),
            output_dir=str(tmp_path / "tuned"),
            dataset=str(dataset_dir),
            configuration="crema_d",
        )


def test_clips_of_held_out_speakers_are_never_read(pretrain, dataset_dir, tmp_path, monkeypatch):
    read = []

    def load(audio):
        read.append(audio["bytes"])
        return unread(audio)

    unread = unlabelled_recordings.load_audio
    monkeypatch.setattr(unlabelled_recordings, "load_audio", load)
    folder, results = pretrain(
        dataset=str(dataset_dir), configuration="ravdess", output_dir=str(tmp_path / "encoder"), num_train_epochs=1
    )
    splits = load_splits(DataArguments(str(dataset_dir), "ravdess")).splits
    of_split = {split: {audio["bytes"] for audio in clips["audio"]} for split, clips in splits.items()}
    assert set(read) == of_split["train"]
    assert not set(read) & (of_split["validation"] | of_split["test"])
    assert results["groups"]["of"] == "speakers" and results["source"]["protocol"]["name"] == "speaker_disjoint"
    assert "--dataset DATASET" in (folder / "recipe.yaml").read_text()


def test_a_resumed_run_ends_as_an_unbroken_one(pretrain, crema, fields, tmp_path):
    changes = {
        "recordings": [str(crema)],
        "model_config": {**fields["model_config"], "hidden_dropout": 0.1},
        "save_strategy": "steps",
        "eval_strategy": "steps",
        "logging_strategy": "steps",
        "save_steps": 4,
        "eval_steps": 4,
        "logging_steps": 1,
        "save_total_limit": 10,
    }
    whole, unbroken = pretrain(output_dir=str(tmp_path / "whole"), **changes)
    steps = unbroken["training"]["steps"]
    assert steps % 2 == 0 and (steps // 2) % 4  # the first checkpoint is within an epoch
    shutil.copytree(whole / "checkpoint-4", tmp_path / "resumed" / "checkpoint-4")
    folder, resumed = pretrain(output_dir=str(tmp_path / "resumed"), resume_from_checkpoint="true", **changes)
    assert resumed["scores"] == unbroken["scores"]
    first, second = load_file(whole / "model.safetensors"), load_file(folder / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(ConfigError, match="holds a finished run"):
        pretrain(output_dir=str(folder), **changes)


@pytest.mark.slow
def test_two_processes_score_as_one(pretrain, launch, crema, fields, tmp_path):
    """With a learning rate of 0, the scores are those of the initial weights, which both runs share.

    With attention masks, since batches of other clips are padded differently.
    """
    model_config = {**fields["model_config"], "feat_extract_norm": "layer"}
    changes = {"recordings": [str(crema)], "learning_rate": 0.0, "num_train_epochs": 1, "model_config": model_config}
    _, one = pretrain(output_dir=str(tmp_path / "one"), **changes)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({**fields, **changes, "output_dir": str(tmp_path / "two")}))
    launch(ROOT / "recipes/pretrain.py", "--config", path, processes=2)
    two = json.loads((tmp_path / "two" / "pretraining.json").read_text())
    assert two["training"]["processes"] == 2 and two["segments"] == one["segments"]
    assert two["scores"] == pytest.approx(one["scores"], rel=1e-4)


def test_bad_recordings_are_one_line(pretrain, tmp_path):
    (tmp_path / "empty").mkdir()
    for changes, message in (
        ({"recordings": [str(tmp_path / "none")]}, "no such folder; expected a folder of recordings"),
        ({"recordings": [str(tmp_path / "empty")]}, "found no recordings among 0 files"),
        ({"csv": str(tmp_path / "none.csv")}, "no such file; expected a CSV file with the column path"),
    ):
        with pytest.raises(unlabelled_recordings.ListingError, match=message):
            pretrain(output_dir=str(tmp_path / "encoder"), **changes)
    assert not (tmp_path / "encoder" / "config.json").exists()

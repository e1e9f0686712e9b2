"""`recipes/make_pretrained.py` on tiny synthetic corpora: training, packaging, comparison, and what is rejected."""

import json
import shutil

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from hf_ser import load_classifier
from hf_ser.arguments import ConfigError
from hf_ser.corpora import synthetic
from hf_ser.data import DataArguments, PrepareArguments, load_splits, prepare
from hf_ser.evaluation import EvaluateArguments, evaluate
from hf_ser.hub import LicenceError, pretrained_folder
from hf_ser.hub.pretrained_folder import PackagingError, check_licences, compare, package
from hf_ser.run_folder import UNFINISHED, RunFolderError
from hf_ser.scoring import read_predictions, read_results

SMALL = {"model_type": "ser-audio-cnn", "channels": [4, 4], "kernel_sizes": [5, 3], "hidden_size": 8, "n_mels": 24}


@pytest.fixture(scope="module")
def make(load_recipe, dataset_dir, tmp_path_factory):
    """Run the recipe with the settings of the shipped model, but small -> the package's folder, the run's folder."""
    root = tmp_path_factory.mktemp("pretrained")
    config = yaml.safe_load((load_recipe("make_pretrained").Path(__file__).parents[2] / CONFIG).read_text())
    config |= {"model_config": SMALL | {"duration_s": 0.5}, "num_train_epochs": 2}
    (root / "config.yaml").write_text(yaml.safe_dump(config))

    def run_it(name, *words):
        folder, run = root / name, root / f"{name}_run"
        argv = ["--config", root / "config.yaml", "--dataset", dataset_dir, "--output_dir", run]
        argv += ["--package_dir", folder, "--use_cpu", "true", "--disable_tqdm", "true", "--figures", "false"]
        load_recipe("make_pretrained").main([*map(str, argv), *map(str, words)])
        return folder, run

    return run_it


CONFIG = "recipes/configs/pretrained.yaml"


@pytest.fixture(scope="module")
def made(make):
    return make("first")


@pytest.fixture
def data(dataset_dir):
    return load_splits(DataArguments(str(dataset_dir), protocol="speaker_disjoint"))


def test_a_packaged_model_loads_in_float32_and_has_the_scores_in_its_results(made, dataset_dir, tmp_path):
    folder, run = made
    stored = load_file(folder / "model.safetensors")
    model, _ = load_classifier(str(folder))
    assert model.dtype == torch.float32 and {value.dtype for value in model.parameters()} == {torch.float32}
    for name, value in model.state_dict().items():
        assert torch.equal(value, stored[name].to(value.dtype))
    data = DataArguments(str(dataset_dir), protocol="speaker_disjoint")
    evaluate(EvaluateArguments(str(tmp_path / "again"), model=str(folder), figures=False), data)
    again = read_predictions(tmp_path / "again/predictions.parquet")
    kept = read_predictions(folder / "predictions_test.parquet")
    assert again.clips["id"] == kept.clips["id"] and abs(again.probabilities - kept.probabilities).max() < 1e-5
    results = read_results(folder)
    assert results["splits"]["test"]["scores"] == pytest.approx(
        read_results(run)["splits"]["test"]["scores"], abs=0.002
    )
    assert results["name"] == "hf_ser_pretrained" and results["protocol"]["name"] == "speaker_disjoint"


def test_the_folder_is_complete(made):
    folder, _ = made
    config = json.loads((folder / "config.json").read_text())
    assert not {"auto_map", "custom_pipelines"} & set(config) and config["calibration_temperature"] > 0
    card = ModelCard.load(folder / "README.md")
    assert "SpeechEmotionPipeline()  # this model is the default" in card.text
    test = {name for name in read_predictions(folder / "predictions_test.parquet").clips["speaker"]}
    assert f"| test | {', '.join(sorted(test))} |" in card.text
    names = {path.name for path in folder.iterdir()}
    assert {"LICENSE", "SHA256SUMS", "results.json", "splits.csv", "recipe.yaml", "report.md"} <= names
    assert not list(folder.parent.glob(f".{folder.name}.*")), "nothing is left beside it"


def test_a_finished_run_is_packaged_without_training(make, made, capsys):
    folder, run = made
    second, untrained = make("second", "--run_folder", run)
    assert (second / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert not untrained.exists() and "There was no earlier folder." in capsys.readouterr().out


@pytest.mark.slow
def test_the_same_command_makes_the_same_weights_and_another_seed_does_not(make, made, capsys):
    folder, _ = made
    weights = (folder / "model.safetensors").read_bytes()
    make("first", "--overwrite", "true")
    assert "The weights are identical to those of the earlier folder." in capsys.readouterr().out
    assert (folder / "model.safetensors").read_bytes() == weights
    other, _ = make("other", "--seed", 1)
    said = compare(folder, other)
    assert said.startswith("Weights differ from those of the earlier folder by up to ") and "scores on test" in said


def test_float16_is_used_only_if_the_scores_stay(made, data, tmp_path, monkeypatch):
    _, run = made
    monkeypatch.setattr(pretrained_folder, "TOLERANCE", -1.0)
    packaged = package(run, data, tmp_path / "kept")
    assert packaged.dtype == "float32" and "weights stored in float32" in str(packaged)
    kept, whole = (load_file(folder / "model.safetensors") for folder in (tmp_path / "kept", run))
    assert all(torch.equal(kept[name], value) for name, value in whole.items())
    assert "Weights are stored in float32" in (tmp_path / "kept/README.md").read_text()


def test_a_run_that_cannot_be_packaged_leaves_the_folder_as_it_is(made, data, dataset_dir, tmp_path, monkeypatch):
    folder, run = made
    target = tmp_path / "kept"
    shutil.copytree(folder, target)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    unfinished = tmp_path / "unfinished"
    shutil.copytree(run, unfinished)
    (unfinished / UNFINISHED).write_text("{}")
    (unfinished / "results.json").unlink()
    with pytest.raises(RunFolderError, match="--run_folder .*unfinished"):
        package(unfinished, data, target)
    other = load_splits(DataArguments(str(dataset_dir), protocol="speaker_disjoint", protocol_seed=1))
    with pytest.raises(PackagingError, match="got the assignment of clips .* Pass the dataset and configuration"):
        package(run, other, target)
    monkeypatch.setattr(pretrained_folder, "MAX_BYTES", 1000)
    with pytest.raises(PackagingError, match="expected at most 1,000. Train a smaller model"):
        package(run, data, target)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    (target / "config.json").unlink()
    monkeypatch.undo()
    with pytest.raises(PackagingError, match="has no config.json; expected a packaged model"):
        package(run, data, target)


def test_a_folder_is_replaced_in_one_step(made, data, tmp_path, monkeypatch):
    folder, run = made
    target = tmp_path / "kept"
    shutil.copytree(folder, target)
    moved = []

    def fail_second(source, destination):
        moved.append(destination)
        if len(moved) == 2:
            raise OSError("no space left")
        return shutil.move(source, destination)

    monkeypatch.setattr(pretrained_folder.os, "replace", fail_second)
    with pytest.raises(OSError, match="no space left"):
        pretrained_folder._replace(tmp_path / "draft", target)
    assert (target / "config.json").is_file()


def test_corpora_that_forbid_derivatives_are_rejected_before_training(load_recipe, tmp_path):
    folders = synthetic.generate(
        tmp_path / "corpora",
        corpora=("ravdess", "tess"),
        clips_per_class=1,
        speakers_per_corpus=4,
        duration_s=(0.5, 0.6),
    )
    names = {name: str(folder) for name, folder in folders.items()}
    prepare(PrepareArguments(output_dir=str(tmp_path / "data"), num_proc=1, **names), progress=False)
    data = load_splits(DataArguments(str(tmp_path / "data")))
    message = r"contains TESS \(CC BY-NC-ND 4.0\); expected only CREMA-D and RAVDESS"
    with pytest.raises(LicenceError, match=message):
        check_licences(data)
    root = load_recipe("make_pretrained").Path(__file__).parents[2]
    argv = ["--config", root / CONFIG, "--dataset", tmp_path / "data", "--output_dir", tmp_path / "run"]
    with pytest.raises(LicenceError, match=message):
        load_recipe("make_pretrained").main([*map(str, argv), "--use_cpu", "true"])
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="did you mean package_dir"):
        load_recipe("make_pretrained").main(["--config", str(root / CONFIG), "--package_dri", "x", "--use_cpu"])

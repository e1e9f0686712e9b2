"""The commands under Reproduce in a card run as printed and give the same model."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from example_results import make_results
from model_folders import contents

from hf_ser.hub.card import render_model_card
from hf_ser.hub.reproduction import commands, limits
from hf_ser.recipe_file import read_recipe
from hf_ser.scoring import read_results

ROOT = Path(__file__).parents[2]
SMALL = {"model_type": "ser-mel-cnn", "channels": [4, 4, 4], "hidden_size": 8, "duration_s": 0.5}


def _commands(card):
    block = re.search(r"## Reproduce\n.*?```bash\n(.*?)```", card, re.DOTALL)[1]
    return block.replace("\\\n", " ").splitlines()


def _run(program_server, printed, corpora, folder):
    """Run commands in a folder that has the recipes, with nothing replaced but the folders of the corpora."""
    (folder / "recipes").symlink_to(ROOT / "recipes")
    for command in printed:
        command = re.sub(r"(\w+)_FOLDER", lambda found: shlex.quote(str(corpora / found[1].lower())), command)
        program_server.run_command(command, cwd=folder)


def _expect_the_same(folder, again):
    before, after = read_results(folder), read_results(again)
    assert after["protocol"] == before["protocol"] and len(before["protocol"]["hash"]) == 64
    assert read_recipe(again) == read_recipe(folder) and after["seeds"] == before["seeds"]
    for split, scored in before["splits"].items():
        assert after["splits"][split]["scores"] == pytest.approx(scored["scores"], abs=1e-6)
    assert before["splits"]["test"]["scores"]["uar"] > 0


@pytest.mark.slow
def test_the_commands_on_the_hub_train_the_same_companion(
    call, hub, program_server, dataset_dir, load_recipe, tmp_path
):
    """The dataset holds two corpora, and the card prepares the one that the model was trained on."""
    folder = tmp_path / "tiny"
    config = {"model_config": SMALL, "dataset": str(dataset_dir), "configuration": "ravdess", "seed": 5}
    config |= {"num_train_epochs": 2, "learning_rate": 0.01, "label_smoothing": 0.1, "class_weights": True}
    config |= {"use_cpu": True, "disable_tqdm": True, "figures": False, "precision": "fp32"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    load_recipe("train_companion").main(["--config", str(tmp_path / "config.yaml"), "--output_dir", str(folder)])
    kept = read_recipe(folder)
    assert kept == {name: value for name, value in config.items() if name not in ("dataset", "disable_tqdm")}
    assert call(folder)[0] == 0
    printed = _commands(contents(hub)["README.md"].decode())
    assert printed[0] == "hf download owner/tiny recipe.yaml --local-dir ." and "CREMA" not in printed[1]
    place = tmp_path / "visitor"
    place.mkdir()
    download = [str(Path(sys.executable).parent / "hf"), *shlex.split(printed[0])[1:]]
    subprocess.run(download, cwd=place, env=hub.environment(token="hf_owner"), capture_output=True, check=True)
    _run(program_server, printed[1:], dataset_dir.parent / "corpora", place)
    _expect_the_same(folder, place / "runs/again")


@pytest.mark.slow
def test_the_commands_in_a_folder_fit_the_same_hybrid(program_server, sounds_dir, load_recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--kind", "random_forest", "--n_estimators", "5", "--max_features", "0.1", "--seed", "2"]
    words += ["--protocol", "random", "--protocol_seed", "1", "--figures", "false", "--output_dir", "runs/forest"]
    monkeypatch.setattr(sys, "argv", ["fit_hybrid.py", "--dataset", str(sounds_dir), *words])
    load_recipe("fit_hybrid").main()
    card = Path("runs/forest/README.md").read_text()
    printed = _commands(card)
    assert "--config runs/forest/recipe.yaml " in printed[-1] and 'model="runs/forest"' in card
    _run(program_server, printed, sounds_dir.parent / "corpora", tmp_path)
    _expect_the_same(Path("runs/forest"), Path("runs/again"))


def test_the_card_prepares_the_corpora_and_the_splits_of_the_run():
    scored = {"labels": ["sad", "happy"], "clips": 4, "speakers": 2, "scores": {}, "groups": {}}
    results = make_results(
        {"test": scored | {"groups": {"corpus": {"groups": {"savee": {}}}}}},
        training={"corpora": ["tess"], "preparation": {"seed": 3, "ratios": [0.6, 0.2, 0.2]}},
    )
    assert commands(results, ["tess"], "owner/tiny", True)[1].replace(" \\\n   ", "") == (
        "python recipes/prepare.py --tess TESS_FOLDER --savee SAVEE_FOLDER --seed 3 --ratios 0.6 0.2 0.2 "
        "--output_dir data/emotions"
    )
    results["dataset"]["name"] = "owner/emotions"
    assert commands(results, ["tess"], "owner/tiny", True)[1:] == [
        "python recipes/finetune.py --config recipe.yaml --dataset owner/emotions \\\n    --output_dir runs/again"
    ]


def test_the_card_says_what_the_commands_cannot_repeat():
    training = {"base_model": "my_checkpoint", "processes": 4, "earlier_precisions": ["fp16"]}
    training |= {"bases": [{"name": "cnn"}, {"name": "hub", "repository": "owner/hub", "revision": "a" * 40}]}
    results = make_results(training=training, protocol={"fold": 2})
    noise = {"augmentation": [{"transform": "AddBackgroundNoise", "sounds_path": "noise"}]}
    said = " ".join(limits(results, noise))
    for words in (
        "local checkpoint, `my_checkpoint`",
        "base models (cnn) are separate runs",
        "Set sounds_path in recipe.yaml",
        "--num_processes 4",
        "resumed in another precision",
        "one fold of a cross-validation",
    ):
        assert words in said
    assert limits(make_results(training={"base_model": "facebook/wav2vec2-base"}), {}) == []


def test_a_card_of_a_folder_without_recipe_prints_no_commands(made):
    card = render_model_card(read_results(made))
    assert "without recipe.yaml" in card and "python recipes" not in card and "hf download" not in card


def test_labels_other_than_the_eight_are_part_of_the_preparation():
    results = make_results(training={"corpora": ["tess"], "preparation": {"labels": ["angry", "not angry"]}})
    assert "--labels angry 'not angry' " in commands(results, ["tess"], "runs/x", False)[0]
    assert not any("label_mapping" in sentence for sentence in limits(results, {}))
    results["dataset"]["label_mapping"] = {"sad": "not angry"}
    assert any("`label_mapping` of [results.json]" in sentence for sentence in limits(results, {}))


def test_own_recordings_have_no_command_that_prepares_them():
    results = make_results(training={"corpora": ["calls"]})
    for group in results["splits"].values():
        group["groups"]["corpus"]["groups"] = {"calls": {}}
    (command,) = commands(results, ["calls"], "runs/x", False)
    assert "--dataset DATASET" in command and "prepare.py" not in command

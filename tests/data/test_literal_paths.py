"""Datasets in folders whose names `datasets` would take for patterns: real folders, loaded as they are written."""

import shutil
import sys
from pathlib import Path

import pytest
import yaml

from hf_ser.data import DataArguments, DatasetError, PrepareArguments, load_rows, load_splits, prepare
from hf_ser.data.literal_paths import is_pattern

NAMES = ["[v1]/emotions", "a*b/emotions", "what?/emotions", "emotions[0-9]", "[!x]", "[[]", "x]y[/e*"]


@pytest.fixture
def odd(dataset_dir, tmp_path):
    """The dataset in a folder of such a name, beside decoys that the pattern would match."""

    def copy(name):
        for decoy in ("v/emotions", "1/emotions", "axb/emotions", "whats/emotions", "emotions1", "y", "["):
            (tmp_path / decoy).mkdir(parents=True, exist_ok=True)
        return str(shutil.copytree(dataset_dir, tmp_path / "data" / name))

    return copy


def rows_of(split):
    return split.to_list()


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_loaded_as_it_is_written(odd, dataset_dir, name):
    for configuration in ("all", "ravdess-random"):
        whole = load_splits(DataArguments(str(dataset_dir), configuration))
        found = load_splits(DataArguments(odd(f"{configuration}/{name}"), configuration))
        assert found.assignment == whole.assignment and found.synthetic == whole.synthetic
        for split, part in whole.splits.items():
            assert rows_of(found.splits[split]) == rows_of(part) and found.splits[split].features == part.features


@pytest.mark.parametrize("name", ["[v1]/emotions", "a*b/e?"])
def test_a_stream_comes_from_there_too(odd, dataset_dir, name):
    whole = load_splits(DataArguments(str(dataset_dir), "ravdess", streaming=True))
    found = load_splits(DataArguments(odd(name), "ravdess", streaming=True))
    for split, part in whole.splits.items():
        assert rows_of(found.splits[split]) == rows_of(part)
    assert list(found.stream) == list(whole.stream) and found.stream.num_shards == whole.stream.num_shards
    assert found.hashes == whole.hashes and len(found.hashes) == 64


def test_protocols_and_the_working_folder(odd, dataset_dir, monkeypatch):
    folder = Path(odd("[v1]/emotions"))
    monkeypatch.chdir(folder.parent)
    assert is_pattern("emotions")  # whose own name is plain
    args = {"protocol": "leave_one_speaker_out", "fold": 2}
    found = load_splits(DataArguments("emotions", **args))
    assert found.assignment == load_splits(DataArguments(str(dataset_dir), **args)).assignment
    assert load_rows(DataArguments("emotions")) == load_rows(DataArguments(str(dataset_dir)))


@pytest.mark.parametrize("streaming", [False, True])
def test_what_is_not_there_is_refused(odd, streaming):
    folder = odd("[v1]/emotions")
    with pytest.raises(DatasetError, match=r"--configuration tess of .*'tess' not found. Available: \['all', "):
        load_splits(DataArguments(folder, "tess", streaming=streaming))
    with pytest.raises(DatasetError, match=r"--dataset .*\[v2\]/emotions: no such folder"):
        load_splits(DataArguments(folder.replace("v1", "v2"), streaming=streaming))
    for path in Path(folder).glob("data/*=test*"):
        path.unlink()
    for path in Path(folder).glob("data/*speaker_disjoint=validation*"):
        path.unlink()
    with pytest.raises(DatasetError, match="has no files for validation|has no files for test"):
        load_splits(DataArguments(folder, streaming=streaming))


def test_names_of_the_hub_and_plain_folders_are_no_patterns(dataset_dir, odd):
    assert not is_pattern("owner/name") and not is_pattern(dataset_dir) and not is_pattern("[v1]/nope")
    assert is_pattern(odd("[v1]/emotions"))


def test_the_recipes_take_such_folders(dataset_dir, tmp_path, load_recipe, monkeypatch):
    """Preparation, training and evaluation, each within them."""
    root = tmp_path / "[v1] *?"
    shutil.copytree(dataset_dir.parent / "corpora", root / "in")
    prepared = prepare(
        PrepareArguments(output_dir=str(root / "dataset"), ravdess=str(root / "in/ravdess"), num_proc=1),
        progress=False,
    ).folder
    config = yaml.safe_load((Path(__file__).parents[2] / "recipes/configs/audio_cnn.yaml").read_text())
    config["model_config"] |= {"channels": [4] * 4, "hidden_size": 8, "duration_s": 0.5}
    (root / "cnn.yaml").write_text(yaml.safe_dump(config))
    words = ["--config", root / "cnn.yaml", "--output_dir", root / "run", "--num_train_epochs", 1, "--use_cpu", "true"]
    recipes = {
        "train_companion": [*words, "--disable_tqdm", "true", "--figures", "false"],
        "evaluate": [
            "--figures",
            "false",
            "--model",
            root / "run",
            "--protocol",
            "random",
            "--output_dir",
            root / "out",
        ],
        "explore": ["--output_dir", root / "figures"],
    }
    for recipe, words in recipes.items():
        monkeypatch.setattr(sys, "argv", [recipe, *map(str, words), "--dataset", str(prepared)])
        load_recipe(recipe).main()
    assert (root / "run" / "model.safetensors").is_file() and (root / "out" / "results.json").is_file()

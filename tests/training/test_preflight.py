from collections import namedtuple
from dataclasses import replace

import pytest

from hf_ser import system_errors
from hf_ser.arguments import ConfigError
from hf_ser.data import DataArguments, DatasetError, load_splits
from hf_ser.labels import EMOTIONS
from hf_ser.training import ModelArguments, SerTrainingArguments, build_model, preflight


def _arguments(folder, **changes):
    return SerTrainingArguments(**{"output_dir": str(folder), "use_cpu": True, "disable_tqdm": True, **changes})


@pytest.fixture
def data(dataset_dir):
    return load_splits(DataArguments(dataset=str(dataset_dir)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric_for_best_model": "weighted_f1"}, "f1_weighted"),
        ({"metric_for_best_model": "acuracy", "load_best_model_at_end": False}, "did you mean accuracy"),
        ({"report_to": "wandb"}, "pip install wandb"),
    ],
)
def test_what_cannot_be_is_refused_before_the_dataset_is_loaded(finetune, tmp_path, monkeypatch, changes, message):
    monkeypatch.setattr(preflight.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=message):
        finetune(model_name_or_path="x", dataset="no such", output_dir=str(tmp_path / "run"), **changes)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["f1_weighted", "eval_uar", "loss", "eval_loss", "ece"])
def test_scores_that_there_are_pass(tmp_path, name):
    preflight.check_arguments(_arguments(tmp_path, metric_for_best_model=name))


def test_clips_of_no_length_are_named(data, tmp_path):
    part = data.splits["validation"]
    durations = [0.0, *part["duration"][1:]]
    broken = part.remove_columns("duration").add_column("duration", durations)
    with pytest.raises(DatasetError, match=f"validation has 1 clips of zero length .{part['id'][0]}"):
        preflight.check_clips(replace(data, splits={**data.splits, "validation": broken}), _arguments(tmp_path))


def test_more_processes_than_clips(data, tmp_path, monkeypatch):
    args = _arguments(tmp_path)
    few = {**data.splits, "validation": data.splits["validation"].select(range(3))}
    preflight.check_clips(replace(data, splits=few), args)
    monkeypatch.setattr(SerTrainingArguments, "world_size", 4)
    with pytest.raises(ConfigError, match="4 processes for 3 clips in validation; .* --num_processes"):
        preflight.check_clips(replace(data, splits=few), args)


def test_more_workers_than_clips(data, tmp_path, monkeypatch):
    few = {**data.splits, "validation": data.splits["validation"].select(range(3))}
    preflight.check_clips(replace(data, splits=few), _arguments(tmp_path, dataloader_num_workers=3))
    args = _arguments(tmp_path, dataloader_num_workers=4)
    with pytest.raises(ConfigError, match="workers is 4, and validation has 3 clips; use at most 3"):
        preflight.check_clips(replace(data, splits=few), args)
    monkeypatch.setattr(SerTrainingArguments, "world_size", 2)
    with pytest.raises(ConfigError, match="has 1 clips for each of 2 processes; use at most 1"):
        preflight.check_clips(replace(data, splits=few), args)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataloader_num_workers": -1}, "dataloader_num_workers is -1; expected 0 .no workers. or more"),
        ({"dataloader_persistent_workers": True}, "persistent_workers is True, but dataloader_num_workers is 0; pass"),
        ({"dataloader_multiprocessing_context": "spawn"}, "context is spawn, but dataloader_num_workers is 0"),
        (
            {"dataloader_multiprocessing_context": "thread", "dataloader_num_workers": 1},
            "context is 'thread'; expected one of .*spawn",
        ),
    ],
)
def test_workers_that_cannot_be(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        _arguments(tmp_path, **changes)


def test_a_disk_without_room(tmp_path, tiny_config, monkeypatch):
    model, _ = build_model(ModelArguments(model_config=tiny_config), EMOTIONS)
    size = 4 * sum(parameter.numel() for parameter in model.parameters())
    usage = namedtuple("usage", "free")

    def check(free, **changes):
        monkeypatch.setattr(system_errors.shutil, "disk_usage", lambda folder: usage(free))
        preflight.check_disk(model, _arguments(tmp_path / "not" / "there", **changes))

    # Weights and Adam's two moments in each of two checkpoints and the one being written; and the model.
    check(10 * size)
    with pytest.raises(ConfigError, match="--output_dir .*3 checkpoints.*--save_only_model true"):
        check(10 * size - 1)
    check(4 * size, save_only_model=True)
    check(size, save_strategy="no", load_best_model_at_end=False)
    with pytest.raises(ConfigError, match="0 checkpoints"):
        check(size - 1, save_strategy="no", load_best_model_at_end=False)

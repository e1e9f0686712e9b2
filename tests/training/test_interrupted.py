"""A training that breaks off at any step leaves no model that a program loads, transformers' own pipeline included."""

import os
import shutil

import pytest
from transformers import Trainer, pipeline

from hf_ser import model_draft
from hf_ser.hub import card
from hf_ser.inference import CheckpointError, load_classifier
from hf_ser.model_draft import DRAFT, discard_draft, draft_of, new_draft, publish, remove_model
from hf_ser.reporting import run_report
from hf_ser.run_folder import is_finished, is_unfinished, release
from hf_ser.training import run


class BrokenOffError(Exception):
    pass


def _breaks(function, after=0):
    """The function, until it has been called this many times."""
    left = [after]

    def broken(*args, **kwargs):
        if left[0] == 0:
            raise BrokenOffError
        left[0] -= 1
        return function(*args, **kwargs)

    return broken


# Step of the recipe -> object and name of the function that breaks off, and the number of calls before that.
STEPS = {
    "training": (Trainer, "training_step", 1),
    "saving": (Trainer, "save_model", 1),  # after the checkpoint
    "scoring": (run, "score_splits", 0),
    "calibrated weights": (run, "store_temperature", 0),
    "predictions": (run_report, "write_predictions", 1),
    "results": (run_report, "write_results", 0),
    "first file moved": (model_draft.os, "replace", None),
    "config.json moved": (model_draft.os, "replace", None),
}


@pytest.fixture(scope="module")
def fields(dataset_dir, tiny_config):
    fields = {"model_config": tiny_config, "dataset": str(dataset_dir), "configuration": "ravdess", "duration_s": 0.4}
    return fields | {"num_train_epochs": 1, "per_device_train_batch_size": 16}


@pytest.fixture(scope="module")
def earlier(fields, finetune, tmp_path_factory):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("earlier") / "run"
    finetune(**fields, output_dir=str(folder))
    return folder


def _loads_nowhere(folder):
    with pytest.raises((OSError, ValueError)):
        pipeline("audio-classification", model=str(folder), device="cpu")
    with pytest.raises(CheckpointError, match="holds an unfinished run"):
        load_classifier(str(folder))
    return is_unfinished(folder) and not is_finished(folder)


def _moves(step):
    """`os.replace`, broken off when a file of the draft is moved: the first one, or the last."""

    def moving(source, target, replace=os.replace):
        if os.path.basename(os.path.dirname(source)) == DRAFT and (
            step.startswith("first") or str(source).endswith("config.json") and len(os.listdir(source.parent)) == 1
        ):
            raise BrokenOffError
        replace(source, target)

    return moving


@pytest.mark.parametrize("step", STEPS)
def test_a_training_that_breaks_off_loads_nowhere_and_can_be_resumed(
    step, fields, finetune, earlier, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    shutil.copytree(earlier, folder)
    owner, name, calls = STEPS[step]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, _moves(step) if calls is None else _breaks(getattr(owner, name), calls))
        with pytest.raises(BrokenOffError):
            finetune(**fields, output_dir=str(folder), overwrite=True)
    release(folder)  # as at the end of the process
    assert _loads_nowhere(folder)
    results = finetune(**fields, output_dir=str(folder), resume_from_checkpoint="true")
    assert is_finished(folder) and results["training"]["steps"] == 2
    assert {path.name for path in folder.iterdir()} == {path.name for path in earlier.iterdir()}
    assert pipeline("audio-classification", model=str(folder), device="cpu").model.config.calibration_temperature


def test_a_training_killed_after_its_last_step_takes_no_other_one(fields, finetune, tmp_path, monkeypatch):
    steps = {"max_steps": 1, "save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
    runs = {name: fields | steps | {"output_dir": str(tmp_path / name)} for name in ("unbroken", "broken")}
    unbroken = finetune(**runs["unbroken"])
    with monkeypatch.context() as patch:
        patch.setattr(run, "score_splits", _breaks(run.score_splits))
        with pytest.raises(BrokenOffError):
            finetune(**runs["broken"])
    release(tmp_path / "broken")
    broken = finetune(**runs["broken"], resume_from_checkpoint="true")
    assert broken["training"]["steps"] == 1 and broken["splits"] == unbroken["splits"]


def test_a_run_without_its_card_loads_and_is_resumed(fields, finetune, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(card, "write_text", _breaks(card.write_text))
        with pytest.raises(BrokenOffError):
            finetune(**fields, output_dir=str(tmp_path / "run"))
    release(tmp_path / "run")
    load_classifier(str(tmp_path / "run"))
    assert not is_finished(tmp_path / "run") and not (tmp_path / "run" / "README.md").exists()


def test_a_draft_replaces_the_files_and_folders_of_the_same_names(tmp_path):
    for folder in (tmp_path, draft_of(tmp_path)):
        (folder / "adapter").mkdir(parents=True)
        (folder / "adapter" / folder.name).write_text("weights")
        (folder / "model.safetensors").write_text(folder.name)
    publish(tmp_path)
    assert (tmp_path / "model.safetensors").read_text() == DRAFT
    assert [path.name for path in (tmp_path / "adapter").iterdir()] == [DRAFT]
    assert not draft_of(tmp_path).exists()
    publish(tmp_path)  # there is no draft
    assert len(list(tmp_path.iterdir())) == 2


def test_a_new_draft_removes_the_earlier_model_and_no_other_file(tmp_path):
    model = ("config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "mel_cnn.py")
    kept = ("train.py", "handler.py", "__init__.py", "report.md", "models.csv")
    for name in (*model, *kept, "preprocessor_config.json"):
        (tmp_path / name).write_text("x")
    (new_draft(tmp_path) / "config.json").write_text("x")
    assert {path.name for path in tmp_path.iterdir()} == {*kept, DRAFT}
    assert list(new_draft(tmp_path).iterdir()) == []
    discard_draft(tmp_path)
    remove_model(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(kept)

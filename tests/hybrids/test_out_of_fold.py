"""Stacks fitted on out-of-fold probabilities: nested trainings without leaks, resumed, shared and checked."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from hf_ser.arguments import ConfigError, parse
from hf_ser.data import DataArguments, load_splits
from hf_ser.data.nested import nested
from hf_ser.data.splits import load_rows
from hf_ser.data.splits_file import read_assignment
from hf_ser.evaluation import TrainingJobError, training_jobs
from hf_ser.hybrids import stacking
from hf_ser.hybrids.base_models import StackError
from hf_ser.hybrids.fitting import fit_hybrid, train_bases_of_stack
from hf_ser.hybrids.hybrid_arguments import HybridArguments
from hf_ser.hybrids.meta_learners import regression
from hf_ser.inference import load_classifier
from hf_ser.scoring import read_predictions, read_results

ROOT = Path(__file__).parents[2]
FAST = {"learning_rate": 0.1, "early_stopping_rounds": 10, "num_leaves": 4, "min_child_samples": 5}


@pytest.fixture(scope="module")
def data(sounds_dir):
    args = DataArguments(str(sounds_dir), "ravdess", protocol="speaker_disjoint", nested_folds=2)
    return load_splits(args)


@pytest.fixture(scope="module")
def train(load_recipe):
    """Run recipes/train_companion.py in this process."""
    recipe = load_recipe("train_companion")

    def run(*words):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["train.py", *map(str, words)])
            recipe.main()

    return run


@pytest.fixture(scope="module")
def base(sounds_dir, train, tmp_path_factory):
    """A tiny AudioCNN, trained for two epochs under speaker_disjoint."""
    root = tmp_path_factory.mktemp("base")
    config = yaml.safe_load((ROOT / "recipes/configs/audio_cnn.yaml").read_text())
    config["model_config"] |= {"channels": [4] * 4, "hidden_size": 8, "duration_s": 0.5}
    (root / "base.yaml").write_text(yaml.safe_dump(config))
    words = ["--config", root / "base.yaml", "--dataset", sounds_dir, "--configuration", "ravdess", "--use_cpu"]
    words += ["--protocol", "speaker_disjoint", "--output_dir", root / "audio_cnn", "--num_train_epochs", 2]
    train(*words, "--disable_tqdm", "true", "--figures", "false", "--seed", 3, "--precision", "fp32")
    return root / "audio_cnn"


@pytest.fixture
def processes(monkeypatch, train):
    """Recipes of nested folds run in this process; `fail_at` names the training that ends with an error."""

    class InProcess:
        commands: list[list[str]] = []
        fail_at: int | None = None

        def __init__(self, command, env):
            self.commands.append(command)

        def poll(self):
            if len(self.commands) == self.fail_at:
                return 1
            assert self.commands[-1][1] == str(ROOT / "recipes/train_companion.py")
            train(*self.commands[-1][2:])
            return 0

    InProcess.commands = []
    monkeypatch.setattr(training_jobs.subprocess, "Popen", InProcess)
    return InProcess


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Nested runs that several tests use."""
    return tmp_path_factory.mktemp("out_of_fold")


def arguments(folder, base, out_of_fold, **fields):
    where = {"out_of_fold_dir": str(out_of_fold), "recipes": str(ROOT / "recipes"), "fit_on": "out_of_fold"}
    return HybridArguments(str(folder), bases=[str(base)], figures=False, device="cpu", **(FAST | where | fields))


def nested_folders(out_of_fold):
    return [out_of_fold / f"audio_cnn/speaker_disjoint_seed_0/nested_{number}_of_2" for number in (1, 2)]


@pytest.fixture
def prepared(shared, base, data, processes):
    """Both nested runs, trained once."""
    train_bases_of_stack(data, arguments(shared / "unused", base, shared))
    return shared


def copied(prepared, tmp_path):
    shutil.copytree(prepared / "audio_cnn", tmp_path / "shared" / "audio_cnn")
    return tmp_path / "shared", nested_folders(tmp_path / "shared")


def test_no_speaker_is_predicted_by_a_model_that_was_trained_on_it(prepared, data):
    speakers = {clip: who for part in data.splits.values() for clip, who in zip(part["id"], part["speaker"])}  # noqa: B905
    outer = {split: set(part["speaker"]) for split, part in data.splits.items()}
    predicted = []
    for folder in nested_folders(prepared):
        splits = read_assignment(folder / "splits.csv")
        who = {split: {speakers[clip] for clip, given in splits.items() if given == split} for split in outer}
        assert not who["train"] & who["test"] and who["train"] | who["test"] == outer["train"]
        assert who["validation"] == outer["validation"]
        assert not outer["test"] & (who["train"] | who["validation"] | who["test"])
        predicted += read_predictions(folder / "predictions_test.parquet").clips["id"]
    assert sorted(predicted) == sorted(data.splits["train"]["id"])


def test_nested_runs_follow_the_recipe_of_the_base_model(prepared, base):
    whole = yaml.safe_load((base / "recipe.yaml").read_text())
    for number, folder in enumerate(nested_folders(prepared), 1):
        recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
        assert recipe.pop("nested_fold") == number and recipe.pop("nested_folds") == 2
        assert recipe == whole
        assert read_results(folder)["training"]["seed"] == 3
        assert any(f"nested fold {number} of 2" in note for note in read_results(folder)["protocol"]["notes"])


@pytest.mark.parametrize("meta", ["lightgbm", "logistic", "pool"])
def test_a_stack_is_fitted_on_all_training_clips(meta, prepared, base, data, tmp_path, processes):
    folder = tmp_path / "stack"
    results = fit_hybrid(data, arguments(folder, base, prepared, meta=meta), "stack")
    assert not processes.commands  # shared
    training = results["training"]
    assert training["fit_on"] == "out_of_fold" and training["fit_clips"] == len(data.splits["train"])
    assert training["nested_folds"] == 2 and training["inner_folds"] is None
    tables = [read_predictions(path / "predictions_test.parquet") for path in nested_folders(prepared)]
    right = np.concatenate([table.predicted == table.label_ids for table in tables])
    labels = np.concatenate([table.label_ids for table in tables])
    uar = np.mean([right[labels == label].mean() for label in np.unique(labels)])
    assert training["bases"][0]["out_of_fold_uar"] == pytest.approx(uar)
    assert any("out-of-fold" in note for note in results["protocol"]["notes"])
    assert "out-of-fold probabilities of the training clips" in (folder / "report.md").read_text()
    assert read_assignment(folder / "splits.csv") == data.assignment.splits
    # At inference, the base model that was trained on all training speakers is used.
    model, _ = load_classifier(str(folder))
    whole, _ = load_classifier(str(base))
    weights = model.sources[0].model.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in whole.state_dict().items())


def test_rounds_and_penalty_are_chosen_on_validation():
    """Validation labels decide the number of trees and C; all else that is fitted depends on training clips only."""
    rng = np.random.default_rng(0)
    labels = {"train": np.arange(240) % 4, "validation": np.arange(80) % 4}
    features = {
        split: rng.dirichlet(np.ones(4), len(truth)) / 2 + np.eye(4)[truth] / 2 for split, truth in labels.items()
    }

    def fit(meta, validation):
        args = HybridArguments("out", bases=["a"], meta=meta, **(FAST | {"fit_on": "out_of_fold"}))
        given = {"train": labels["train"], "validation": validation}
        data = SimpleNamespace(
            splits={name: {"label": ids, "corpus": ["c"] * len(ids)} for name, ids in given.items()}
        )
        return stacking._fit_out_of_fold(data, features, [0, 1, 2, 3], list("abcd"), args)

    right, wrong = labels["validation"], (labels["validation"] + 1) % 4
    assert fit("lightgbm", right).training["trees_per_class"] > 5 > fit("lightgbm", wrong).training["trees_per_class"]
    assert fit("logistic", right).training["C"] == 10.0 and fit("logistic", wrong).training["C"] == 0.001
    assert fit("pool", right).training["weights"] == fit("pool", wrong).training["weights"]
    alone = regression(np.log(features["train"]), labels["train"], 10.0, True)
    found = fit("logistic", right).predict(features["validation"])
    np.testing.assert_allclose(found, alone.predict_proba(np.log(features["validation"])), atol=1e-12)


def test_a_resumed_preparation_equals_an_uninterrupted_one(prepared, base, data, tmp_path, processes):
    processes.fail_at = 2
    args = arguments(tmp_path / "stack", base, tmp_path / "own")
    with pytest.raises(TrainingJobError, match="exit code 1 in .*nested_2_of_2"):
        train_bases_of_stack(data, args)
    first, second = nested_folders(tmp_path / "own")
    assert read_results(first) and not (second / "results.json").exists()
    processes.fail_at = None
    train_bases_of_stack(data, args)
    assert len(processes.commands) == 3  # the first fold once, the second twice
    for one, two in zip(nested_folders(prepared), (first, second), strict=True):
        tables = [read_predictions(path / "predictions_test.parquet") for path in (one, two)]
        assert tables[0].clips == tables[1].clips
        np.testing.assert_array_equal(tables[0].probabilities, tables[1].probabilities)


def _edit_json(folder, change):
    path = folder / "results.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _edit_predictions(folder):
    path = folder / "predictions_test.parquet"
    columns = pq.read_table(path).to_pydict()
    for name in [name for name in columns if name.startswith("p_")]:
        columns[name] = columns[name][::-1]
    pq.write_table(pa.table(columns), path)


def _edit_text(folder, name, old, new):
    path = folder / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lambda one, two: _edit_predictions(one), "predictions that do not give the scores"),
        (lambda one, two: _edit_text(one, "splits.csv", ",test,", ",train,"), "does not belong to its splits.csv"),
        (lambda one, two: _edit_text(one, "recipe.yaml", "seed: 3", "seed: 4"), "seed is 4, not 3"),
        (
            lambda one, two: _edit_json(one, lambda content: content["protocol"].update(seed=1)),
            "another protocol, fold or seed",
        ),
        (lambda one, two: (shutil.rmtree(one), shutil.copytree(two, one)), "another division of the training clips"),
        (lambda one, two: shutil.copy(two / "predictions_test.parquet", one), "predictions of other clips"),
    ],
    ids=["predictions", "splits", "recipe", "protocol", "other_fold", "other_predictions"],
)
def test_modified_and_foreign_folders_are_rejected(tamper, message, prepared, base, data, tmp_path):
    own, folders = copied(prepared, tmp_path)
    tamper(*folders)
    with pytest.raises(StackError, match=f"nested_1_of_2 has .*{message}.*; expected a run of this base model"):
        fit_hybrid(data, arguments(tmp_path / "stack", base, own), "stack")


def test_other_audio_under_the_same_ids_is_rejected(prepared, base, data, tmp_path):
    own, (one, _) = copied(prepared, tmp_path)
    clip, sha256 = next(iter(data.hashes.items()))
    clip = next(iter(nested(load_rows(data.args), data.assignment, 1, 2).ids("test")))
    _edit_text(one, "splits.csv", data.hashes[clip], "0" * len(sha256))
    with pytest.raises(StackError, match="has clips with other audio"):
        fit_hybrid(data, arguments(tmp_path / "stack", base, own), "stack")


def test_a_copy_of_a_test_clip_in_a_nested_training_is_rejected(prepared, base, data, tmp_path):
    """Under a new id, as of other recordings that a recipe may add to the training clips."""
    own, folders = copied(prepared, tmp_path)
    clip = data.splits["test"]["id"][0]
    for folder in folders:
        (folder / "splits.csv").write_text(f"{(folder / 'splits.csv').read_text()}more/1,train,{data.hashes[clip]}\n")
        digest = replace(data.assignment, splits=read_assignment(folder / "splits.csv")).hash
        _edit_json(folder, lambda content, digest=digest: content["protocol"].update(hash=digest))
    with pytest.raises(StackError, match=f"must not use test clips, but 1 clips .*{clip} is more/1"):
        fit_hybrid(data, arguments(tmp_path / "stack", base, own), "stack")


def test_a_base_model_of_another_split_or_without_recipe_is_rejected(base, data, sounds_dir, tmp_path):
    other = load_splits(replace(data.args, protocol_seed=1))
    with pytest.raises(StackError, match="was trained on"):
        fit_hybrid(other, arguments(tmp_path / "stack", base, tmp_path / "own"), "stack")
    bare = tmp_path / "audio_cnn"
    shutil.copytree(base, bare)
    (bare / "recipe.yaml").unlink()
    with pytest.raises(StackError, match=r"has no recipe.yaml that names its recipe"):
        fit_hybrid(data, arguments(tmp_path / "stack", bare, tmp_path / "own"), "stack")
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fit_on": "out_of_fold", "meta": "mean"}, "meta mean, which is not fitted, cannot be combined"),
        ({"fit_on": "out_of_fold", "allow_leak": True}, "allow_leak cannot be combined"),
        ({"fit_on": "out_of_fold", "predictions": ["a=b"]}, "predictions cannot be predicted out of fold"),
        ({"train_only": True}, "train_only has no effect without fit_on out_of_fold"),
        ({"fit_on": "train"}, "fit_on is 'train'; expected one of validation, out_of_fold"),
        ({"fit_on": "out_of_fold", "kind": "deep_features"}, "expected one of train, validation"),
    ],
)
def test_bad_arguments(fields, message):
    with pytest.raises(ConfigError, match=message):
        HybridArguments("out", bases=["a"], **fields)


def test_the_command_line_of_a_nested_fold_parses(base, data, tmp_path, processes):
    processes.fail_at = 1
    with pytest.raises(TrainingJobError):
        train_bases_of_stack(data, arguments(tmp_path / "stack", base, tmp_path / "own"))
    (command,) = processes.commands
    assert {"--nested_fold=1", "--nested_folds=2", "--protocol_seed=0", "--figures=false"} <= set(command)
    assert not any(word.startswith("--seed") for word in command)  # that of the base model's recipe.yaml
    words = [word for word in command if word.split("=")[0] in ("--nested_fold", "--nested_folds", "--protocol")]
    (parsed,) = parse(DataArguments, argv=words)
    assert parsed.nested_fold == 1 and parsed.nested_folds == 2

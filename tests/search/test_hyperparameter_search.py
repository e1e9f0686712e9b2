"""Hyperparameter search: invalid spaces, what a trial changes, and a study that is resumed."""

import csv
import importlib.util
import json
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
import yaml
from matplotlib import image

import hf_ser.data.splits
import hf_ser.search.hyperparameter_search as search_module
from hf_ser.arguments import ConfigError, parse
from hf_ser.data import DataArguments, load_splits
from hf_ser.reporting.plots.trials import plot_trials
from hf_ser.run_folder import RunFolderError
from hf_ser.search.hyperparameter_search import SearchArguments, TrialError, search
from hf_ser.search.search_space import arguments_of, check_space, read_space, with_values
from hf_ser.training import ModelArguments, SerTrainingArguments
from hf_ser.training.recipe_settings import settings_of

ROOT = Path(__file__).parents[2]
TYPES = (ModelArguments, DataArguments, SerTrainingArguments)
CONFIGS = [  # of the recipes that train classifiers; those of hybrids name their kind
    path
    for path in sorted((ROOT / "recipes" / "configs").glob("*.yaml"))
    if "kind" not in yaml.safe_load(path.read_text(encoding="utf-8")) and "pretrain" not in path.stem
]
RATES = {"learning_rate": {"low": "1e-4", "high": "1e-2", "log": True}}


def _space(tmp_path, content):
    path = tmp_path / "space.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


@pytest.fixture
def run(tmp_path, dataset_dir, tiny_config):
    """Search with a tiny model -> the study; what is given changes the training arguments."""

    def searched(
        space=RATES, n_trials=2, *, prune=False, folder="search", model=None, configuration="ravdess", **changes
    ):
        settings = {"num_train_epochs": 1, "per_device_train_batch_size": 16, "use_cpu": True, "disable_tqdm": True}
        args = SerTrainingArguments(output_dir=str(tmp_path / folder), **{**settings, "seed": 0, **changes})
        model_args = ModelArguments(model_config={**tiny_config, **(model or {})})
        data_args = DataArguments(dataset=str(dataset_dir), configuration=configuration, duration_s=0.5)
        path = str(_space(tmp_path, space))
        search(model_args, data_args, args, SearchArguments(path, n_trials=n_trials, prune=prune))
        return optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / folder / 'study.db'}")

    return searched


@pytest.fixture
def scripted(monkeypatch):
    """Make trials take these outcomes instead of training: a value, or an exception."""

    def script(*outcomes):
        left = iter(outcomes)

        def one(settings, data, trial):
            outcome = next(left)
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        monkeypatch.setattr(search_module, "_train", one)

    return script


def _states(study):
    return [trial.state.name for trial in study.trials]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_settings_give_the_same_arguments_again(path):
    words = ["--config", str(path), "--use_cpu", "true", "--report_to", "none", "--lora_target_modules", "q_proj"]
    made = parse(*TYPES, argv=[*words, "--early_stopping_patience", "3", "--lr_scheduler_kwargs.min_lr", "3e-7"])
    settings = yaml.safe_load(yaml.safe_dump(settings_of(*made)))
    again = arguments_of(settings | {"output_dir": made[2].output_dir})
    assert again[:2] == made[:2] and again[2].to_dict() == made[2].to_dict()


def test_a_space_is_typed_and_put_into_settings(tmp_path):
    text = "learning_rate: {low: 1e-6, high: 1e-4, log: true}\nnum_train_epochs: {low: 2, high: 4}\n"
    text += "loss: [cross_entropy, focal]\nweight_decay: [1e-3, 0.1]\nmodel_config.hidden_dropout: {low: 0, high: .5}"
    space = read_space(_space(tmp_path, text))
    assert [dimension.extremes for dimension in space] == [
        *((1e-6, 1e-4), (2, 4), ("cross_entropy", "focal"), (1e-3, 0.1), (0, 0.5))
    ]
    trial = optuna.trial.FixedTrial(
        {"learning_rate": 1e-5, "num_train_epochs": 3, "model_config.hidden_dropout": 0.25}
    )
    assert [space[number].suggest(trial) for number in (0, 1, 4)] == [1e-5, 3, 0.25]
    base = {"model_config": {"model_type": "wav2vec2", "hidden_dropout": 0.1}, "loss": "focal"}
    changed = with_values(base, {"model_config.hidden_dropout": 0.25, "loss": "cross_entropy"})
    assert changed == {"model_config": {"model_type": "wav2vec2", "hidden_dropout": 0.25}, "loss": "cross_entropy"}
    assert base["model_config"]["hidden_dropout"] == 0.1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"learning_rte": [1, 2]}, "did you mean.*learning_rate"),
        ({"model_cofig.dropout": [1, 2]}, "did you mean model_config"),
        ({"model_config.": [1, 2]}, "has no key"),
        ({"output_dir": ["a", "b"]}, "must be the same in all trials"),
        ({"metric_for_best_model": ["uar", "accuracy"]}, "the same in all trials"),
        ({"merge_calm": [True, False]}, "the same in all trials"),
        ({"learning_rate": {"low": 1e-3, "high": 1e-4}}, "low below high"),
        ({"learning_rate": {"low": 0, "high": 1e-4, "log": True}}, "above 0"),
        ({"learning_rate": {"low": "small", "high": 1e-4}}, "low 'small'; expected a number"),
        ({"learning_rate": {"low": "nan", "high": 1e-4}}, "expected a number"),
        ({"learning_rate": {"high": 1e-4}}, "low None"),
        ({"learning_rate": {"low": 1e-5, "high": 1e-4, "lg": True}}, "unknown key lg.*did you mean log"),
        ({"learning_rate": {"low": 1e-5, "high": 1e-4, "log": "yes"}}, "true or false"),
        ({"learning_rate": 1e-4}, "expected a list"),
        ({"learning_rate": [1e-4]}, "two or more"),
        ({"label_smoothing": [0, "0.0"]}, "differ"),
        ({"lora_target_modules": [["q_proj"], ["v_proj"]]}, "expected numbers, words"),
        ("learning_rate: [1, 2]\nlearning_rate: [2, 3]", "twice"),
        ("- a", "not a mapping"),
        ("", "not a mapping"),
        ("a: [", "not valid YAML"),
    ],
)
def test_an_invalid_space_is_rejected(tmp_path, content, message):
    with pytest.raises(ConfigError, match=message):
        read_space(_space(tmp_path, content))


def test_a_missing_space_is_rejected(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        read_space(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="search_space is not given"):
        SearchArguments()
    with pytest.raises(ConfigError, match="n_trials is 0"):
        SearchArguments("a.yaml", n_trials=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"label_smoothing": {"low": 0.0, "high": 1.5}}, r"label_smoothing = 1.5: .*below 1"),
        ({"per_device_train_batch_size": {"low": 1.5, "high": 8.0}}, "1.5.*expected int"),
        ({"loss": ["cross_entropy", "hinge"]}, "loss = hinge"),
        ({"config_overrides.hidden_dropout": [0.0, 0.1]}, "change model_config"),
        ({"learning_rate.head": [0.0, 0.1]}, "expected a mapping|holds a mapping"),
        ({"target": ["acted", "dimensions"]}, "target has dimensions; the search compares scores of classes"),
    ],
)
def test_invalid_values_are_rejected_before_any_trial(run, tmp_path, content, message):
    with pytest.raises(ConfigError, match=message):
        run(content)
    assert not (tmp_path / "search" / "study.db").exists()


def test_the_search_spaces_of_the_package_fit_their_configurations():
    spaces = sorted((ROOT / "recipes" / "search_spaces").glob("*.yaml"))
    assert [path.stem for path in spaces] == ["companion", "wav2vec2"]
    for path in CONFIGS:
        settings = settings_of(*parse(*TYPES, argv=["--config", str(path), "--use_cpu", "true"]))
        companion = str(settings.get("model_config", {}).get("model_type")).startswith("ser-")
        if companion or "model_name_or_path" in settings:
            fitting = spaces[0 if companion else 1]
            check_space(read_space(fitting), settings | {"output_dir": "x"}, str(fitting))


@pytest.fixture
def searched(run, tmp_path, monkeypatch):
    """Three trials of two epochs that vary loss, optimizer and model, with the trainers and the clips they loaded."""
    seen, loaded = [], []
    make, load = search_module.make_trainer, hf_ser.data.splits.load_audio

    def watched(model, extractor, data, args):
        trainer = make(model, extractor, data, args)
        outputs = type("Outputs", (), {"logits": torch.eye(8)})
        loss = float(trainer.compute_loss_func(outputs, torch.arange(8)))
        seen.append({"trainer": trainer, "args": args, "loss": loss, "splits": set(data.splits)})
        return trainer

    def watched_load(audio, **options):
        loaded.append(json.dumps({key: str(value)[:2000] for key, value in audio.items()}))
        return load(audio, **options)

    monkeypatch.setattr(search_module, "make_trainer", watched)
    monkeypatch.setattr(hf_ser.data.splits, "load_audio", watched_load)
    space = {
        **RATES,
        "label_smoothing": {"low": 0.0, "high": 0.4},
        "layer_decay": {"low": 0.1, "high": 0.9},
        "model_config.hidden_dropout": {"low": 0.0, "high": 0.5},
    }
    study = run(space, 3, num_train_epochs=2, early_stopping_patience=1, model={"num_hidden_layers": 2})
    return study, seen, loaded


def test_a_search_tries_values_on_validation_and_leaves_the_best(searched, finetune, tmp_path, dataset_dir):
    study, seen, loaded = searched
    folder = tmp_path / "search"
    assert _states(study) == ["COMPLETE"] * 3 and len(seen) == 3
    for trial, made in zip(study.trials, seen, strict=True):
        trainer, args, params = made["trainer"], made["args"], trial.params
        history = [entry["eval_f1_weighted"] for entry in trainer.state.log_history if "eval_f1_weighted" in entry]
        assert trial.value == max(history) and trial.user_attrs["values"] == history
        assert args.learning_rate == params["learning_rate"] and args.layer_decay == params["layer_decay"]
        assert trainer.model.config.hidden_dropout == params["model_config.hidden_dropout"]
        initial = sorted({group["initial_lr"] for group in trainer.optimizer.param_groups})
        rate, decay = params["learning_rate"], params["layer_decay"]
        np.testing.assert_allclose(initial, [rate * decay**2, rate * decay, rate])  # below both layers, and of each
        grouped = {parameter for group in trainer.optimizer.param_groups for parameter in group["params"]}
        assert grouped <= set(trainer.model.parameters())
        smooth = params["label_smoothing"]
        logs = torch.eye(8).log_softmax(dim=1)[0]
        assert made["loss"] == pytest.approx(float(-(1 - smooth) * logs[0] - smooth * logs.mean()), rel=1e-5)
    assert len({made["loss"] for made in seen}) == 3

    # The test split is not available, and no test clip is loaded.
    assert all(made["splits"] == {"train", "validation"} for made in seen)
    data = load_splits(DataArguments(dataset=str(dataset_dir), configuration="ravdess"))
    sounds = {
        split: {json.dumps({key: str(value)[:2000] for key, value in clip.items()}) for clip in part["audio"]}
        for split, part in (
            (name, clips.cast_column("audio", _undecoded(clips))) for name, clips in data.splits.items()
        )
    }
    assert sounds["train"] <= set(loaded) and sounds["validation"] <= set(loaded) and sounds["test"]
    assert not sounds["test"] & set(loaded)

    # What is written.
    names = {path.name for path in folder.iterdir()} - {".study.lock"}
    assert names == {"study.db", "trials.csv", "report.md", "figures", "best.yaml"}
    assert {path.name for path in (folder / "figures").iterdir()} == {"trials.png", "trials.svg"}
    rows = list(csv.DictReader((folder / "trials.csv").open()))
    assert list(rows[0]) == ["number", "state", "value", *study.trials[0].params, "seconds"]
    assert [float(row["value"]) for row in rows] == [trial.value for trial in study.trials]
    report = (folder / "report.md").read_text()
    ranked = sorted(study.trials, key=lambda trial: -trial.value)
    shown = [line.split("|")[1].strip() for line in report.splitlines() if "| complete" in line]
    assert [study.trials[int(number)].value for number in shown] == [trial.value for trial in ranked]
    assert "test split was not read" in report and data.protocol in report and "Synthetic" in report
    assert f"on validation, protocol {data.protocol}." in (folder / "best.yaml").read_text()
    assert f"{len(data.splits['validation'])} clips" in report and "f1_weighted" in report

    # The best trial's settings train again to the same score.
    best = parse(*TYPES, argv=["--config", str(folder / "best.yaml")])
    assert best[2].learning_rate == study.best_params["learning_rate"] and best[2].load_best_model_at_end
    results = finetune(**yaml.safe_load((folder / "best.yaml").read_text()))
    assert Path(best[2].output_dir) == folder / "best" and (folder / "best" / "model.safetensors").is_file()
    assert results["training"]["best_value"] == pytest.approx(study.best_value, abs=1e-6)


def _undecoded(clips):
    feature = clips.features["audio"]
    return type(feature)(sampling_rate=feature.sampling_rate, decode=False) if hasattr(feature, "decode") else feature


def test_early_stopping_is_reset_in_every_trial(searched):
    _, seen, _ = searched
    callbacks = [[type(callback).__name__ for callback in each["trainer"].callback_handler.callbacks] for each in seen]
    assert all(names.count("EarlyStoppingCallback") == 1 for names in callbacks)


def test_a_killed_search_resumes_with_the_interrupted_trial(run, scripted, tmp_path):
    scripted(0.5, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(n_trials=3)
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{tmp_path / 'search' / 'study.db'}")
    assert _states(study) == ["COMPLETE", "FAIL"]
    assert "interrupted" in (tmp_path / "search" / "report.md").read_text()
    assert (
        yaml.safe_load((tmp_path / "search" / "best.yaml").read_text())["learning_rate"]
        == study.best_params["learning_rate"]
    )
    killed = study.ask()  # as a process that is killed leaves it
    killed.suggest_float("learning_rate", 1e-4, 1e-2, log=True)
    (tmp_path / "search" / "trials" / "2").mkdir(parents=True)
    scripted(0.7, 0.6)
    study = run(n_trials=3)
    assert not (tmp_path / "search" / "trials").exists()
    assert _states(study) == ["COMPLETE", "FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    params = [trial.params["learning_rate"] for trial in study.trials]
    assert params[3:] == params[1:3] and len(set(params)) == 3
    scripted()
    assert _states(run(n_trials=3)) == _states(study)  # no trials remain
    scripted(0.9)
    study = run(n_trials=4)
    assert study.best_value == 0.9 and len({trial.params["learning_rate"] for trial in study.trials}) == 4


def test_other_settings_or_another_space_in_the_same_folder_are_rejected(run, scripted, tmp_path):
    scripted(*[0.5] * 6)
    run(n_trials=1)
    with pytest.raises(ConfigError, match="weight_decay was None and is 0.1"):
        run(n_trials=2, weight_decay=0.1)
    with pytest.raises(ConfigError, match="search space learning_rate was"):
        run({"learning_rate": [1e-4, 1e-3]}, 2)
    with pytest.raises(ConfigError, match="resume_from_checkpoint"):
        run(n_trials=2, resume_from_checkpoint="true")
    assert len(run(n_trials=2, disable_tqdm=False).trials) == 2
    assert len(run(n_trials=1, weight_decay=0.1, overwrite=True).trials) == 1
    (tmp_path / "search" / "results.json").write_text("{}")
    with pytest.raises(ConfigError, match="contains a training run"):
        run(n_trials=3)


def test_a_second_search_and_an_invalid_study_are_rejected(run, scripted, tmp_path):
    from filelock import FileLock

    folder = tmp_path / "search"
    folder.mkdir()
    (folder / "study.db").write_text("no database at all, but long enough to have a header " * 40)
    with pytest.raises(ConfigError, match="is not a study"):
        run()
    (folder / "study.db").unlink()
    with FileLock(folder / ".lock"), pytest.raises(RunFolderError, match="is in use by"):
        run()
    scripted(0.5)
    assert _states(run(n_trials=1)) == ["COMPLETE"]


def test_failed_trials_are_recorded_and_the_search_continues(run, scripted, tmp_path):
    scripted(TrialError("out of memory"), 0.4, 0.6)
    study = run(n_trials=3)
    assert _states(study) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert "failed: out of memory" in (tmp_path / "search" / "trials.csv").read_text()
    report = (tmp_path / "search" / "report.md").read_text()
    assert "- Trial 0 failed: out of memory" in report and "1 of 3 trials are left" in report
    scripted(0.5)  # a failed trial does not count as finished, and is not repeated
    study = run(n_trials=3)
    assert _states(study)[3:] == ["COMPLETE"] and study.trials[3].params != study.trials[0].params


def test_a_search_without_any_value_raises_an_error(run, scripted, tmp_path):
    scripted(TrialError("out of memory"), TrialError("out of memory"))
    with pytest.raises(ConfigError, match="no trial of .* has a value"):
        run(n_trials=2)
    assert not (tmp_path / "search" / "best.yaml").exists()
    scripted(0.5)  # no trial has a value, so other settings are allowed
    assert _states(run(n_trials=1, weight_decay=0.1)) == ["COMPLETE"]


@pytest.mark.parametrize(
    "message", ["CUDA out of memory. Tried to allocate 2 GiB", "DefaultCPUAllocator: can't allocate memory"]
)
def test_out_of_memory_is_distinguished_from_other_errors(run, monkeypatch, message):
    make = search_module.make_trainer

    def failing(*arguments):
        trainer = make(*arguments)
        trainer.training_step = lambda *_, **__: (_ for _ in ()).throw(RuntimeError(message))
        return trainer

    monkeypatch.setattr(search_module, "make_trainer", failing)
    with pytest.raises(ConfigError, match="has a value"):
        run(n_trials=1)
    message = "a bug"
    with pytest.raises(RuntimeError, match="a bug"):
        run(n_trials=1)


def test_a_diverged_training_fails_only_its_trial(run):
    study = run({"learning_rate": [1e-3, 1e30], "weight_decay": [0.0, 0.1]}, 3, seed=2, max_grad_norm=0.0)
    failed = [trial for trial in study.trials if trial.state.name == "FAIL"]
    assert failed and all(trial.params["learning_rate"] == 1e30 for trial in failed)
    assert all("finite" in trial.user_attrs["failure"] or "nan" in trial.user_attrs["failure"] for trial in failed)
    assert study.best_params["learning_rate"] == 1e-3


def test_an_unknown_field_of_the_model_stops_the_search(run):
    with pytest.raises(ConfigError, match="trial 0 .*no field hidden_dropot.*did you mean hidden_dropout"):
        run({"model_config.hidden_dropot": [0.0, 0.1]})


def test_an_unknown_score_is_rejected_with_the_known_ones(run):
    with pytest.raises(ConfigError, match="expected one of .*f1_weighted"):
        run(n_trials=1, metric_for_best_model="f2", greater_is_better=True)


def test_on_several_corpora_trials_are_compared_by_the_mean_over_them(run, scripted, tmp_path):
    scripted(0.25, 0.5)
    study = run(configuration="all", figures=False)
    assert study.direction.name == "MAXIMIZE"
    report = (tmp_path / "search" / "report.md").read_text()
    assert "uar_by_corpus on validation (larger is better)" in report and "f1_weighted" not in report
    assert "uar_by_corpus 0.5000 on validation" in (tmp_path / "search" / "best.yaml").read_text()


def test_a_smaller_loss_is_the_better_one_and_bad_trials_are_pruned(run, monkeypatch):
    def one(settings, data, trial):
        made = SerTrainingArguments(output_dir="x", use_cpu=True, metric_for_best_model="log_loss")
        watch = search_module._Watch(trial, made)
        start = 1.0 if trial.number < 6 else 5.0
        for value in (start + 0.5, start, start + 1):
            watch.on_evaluate(None, None, None, {"eval_log_loss": value})
        return watch.best

    monkeypatch.setattr(search_module, "_train", one)
    study = run(n_trials=8, prune=True, metric_for_best_model="log_loss")
    assert _states(study) == ["COMPLETE"] * 6 + ["PRUNED"] * 2
    assert [trial.value for trial in study.trials] == [1.0] * 6 + [5.5] * 2 and study.direction.name == "MINIMIZE"
    assert len(run(n_trials=8, prune=True, metric_for_best_model="log_loss").trials) == 8


def test_trials_of_all_kinds_are_drawn(tmp_path):
    kinds = {"rate": (), "words": ("a", None, True), "count": (), "none_$a_b$": ()}
    trials = [
        {
            "number": number,
            "state": ["complete", "pruned", "failed: out of memory"][number % 3],
            "value": None if number % 3 == 2 else 0.1 * number,
            "params": {"rate": 10.0**-number, "words": ["a", None, True][number % 3], "count": number},
        }
        for number in range(7)
    ]
    plot_trials(trials, kinds, tmp_path / "all", "title", logarithmic=["rate"], score="f1_weighted")
    plot_trials(trials[2:3], kinds, tmp_path / "none", "title", score="f1_weighted", greater_is_better=False)
    for name in ("all", "none"):
        assert image.imread(tmp_path / f"{name}.png").std() > 0.01
        assert "mathdefault" not in (tmp_path / f"{name}.svg").read_text()  # what an axis in log scale would write


def test_without_figures_a_search_needs_no_matplotlib(monkeypatch, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    args = SerTrainingArguments(output_dir=str(tmp_path), use_cpu=True, figures=False)
    settings = settings_of(ModelArguments("x"), DataArguments(), args)
    assert settings == {"figures": False, "model_name_or_path": "x", "use_cpu": True}
    assert arguments_of({**settings, "output_dir": "x"})[2].figures is False

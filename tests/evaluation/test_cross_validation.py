import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from hf_ser.arguments import ConfigError
from hf_ser.data import DataArguments, load_rows
from hf_ser.data.protocols import SPLITS
from hf_ser.data.splits_file import read_assignment
from hf_ser.evaluation import (
    CrossValidationArguments,
    CrossValidationError,
    TrainingJobError,
    cross_validate,
)
from hf_ser.reporting.comparison import group, load_runs
from hf_ser.reporting.comparison_rendering import render_markdown
from hf_ser.reporting.comparison_tables import make_tables
from hf_ser.reporting.paired_tests import paired
from hf_ser.scoring import AbstentionRule, read_predictions, read_results

ROOT = Path(__file__).parents[2]
BASELINE = str(ROOT / "recipes/baseline.py")


def _run(dataset_dir, folder, protocol, seeds=(0,), overwrite=False, overrides=(), jobs=1, threads=None, **data):
    data_args = DataArguments(dataset=str(dataset_dir), protocol=protocol, **data)
    how = {"recipe_overrides": list(overrides), "jobs": jobs, "threads": threads}
    args = CrossValidationArguments(model_recipe=BASELINE, seeds=list(seeds), **how)
    return cross_validate(load_rows(data_args), args, data_args, folder, overwrite, figures=False)


def test_every_clip_is_tested_once_and_the_pool_is_what_is_scored(dataset_dir, tmp_path, recipe):
    folder = tmp_path / "cv"
    results = _run(dataset_dir, folder, "leave_one_speaker_out", configuration="ravdess", trim_db=30.0)
    assert read_results(folder) == results
    assert [run["fold"] for run in results["runs"]] == [1, 2, 3, 4] and results["protocol"]["folds"] == 4
    pooled = read_predictions(folder / "predictions.parquet")
    rows = load_rows(DataArguments(dataset=str(dataset_dir), configuration="ravdess"))
    assert sorted(pooled.clips["id"]) == sorted(row.id for row in rows)
    folds = [read_predictions(folder / f"seed_0/fold_{fold}/predictions_test.parquet") for fold in (1, 2, 3, 4)]
    np.testing.assert_array_equal(pooled.probabilities, np.concatenate([fold.probabilities for fold in folds]))
    assert results["splits"]["test"]["scores"]["accuracy"] == (pooled.label_ids == pooled.predicted).mean()
    uars = [run["test"]["uar"] for run in results["runs"]]
    assert results["over_folds"]["mean"]["uar"] == pytest.approx(np.mean(uars))
    assert results["over_folds"]["std"]["uar"] == pytest.approx(np.std(uars, ddof=1))
    assert results["preprocessing"]["trim_db"] == 30.0
    assert all("--figures=false" in command for command in recipe.commands)
    assert all("--trim_db=30.0" in command for command in recipe.commands)
    # Zero is a seed like any other: a recipe's YAML file may hold another one.
    assert all({"--seed=0", "--protocol_seed=0"} <= set(command) for command in recipe.commands)
    assert not any("--normalize" in word for command in recipe.commands for word in command)
    assert "fold" in (folder / "report.md").read_text()


def test_runs_with_and_without_auxiliary_corpora_are_paired_on_the_same_clips(dataset_dir, tmp_path, recipe):
    protocol = "leave_one_speaker_out"
    aided = _run(dataset_dir, tmp_path / "aided", protocol, auxiliary_corpora=["crema_d"])
    _run(dataset_dir, tmp_path / "alone", protocol, configuration="ravdess")
    commands = recipe.commands[:4]
    assert all(command[command.index("--auxiliary_corpora") + 1] == "crema_d" for command in commands)
    assert [run["fold_name"] for run in aided["runs"]] == [f"ravdess_0{speaker}" for speaker in range(1, 5)]
    assert aided["protocol"]["auxiliary_corpora"] == ["crema_d"]
    assert set(read_assignment(tmp_path / "aided/seed_0/fold_1/splits.csv").values()) == set(SPLITS)
    assert "auxiliary corpora | crema_d" in (tmp_path / "aided/report.md").read_text()
    ((key, runs),) = group(load_runs([tmp_path / "aided", tmp_path / "alone"])).items()
    assert key.configuration == "ravdess" and len(runs) == 2
    assert set(paired(*runs)) >= {"uar"}
    assert "clips of crema_d are training clips" in render_markdown(make_tables(dict([(key, runs)])))


def test_every_clip_is_answered_by_the_threshold_of_its_own_fold(dataset_dir, tmp_path, recipe, monkeypatch):
    monkeypatch.setattr("hf_ser.hybrids.baseline.AbstentionRule", lambda: AbstentionRule(0.1, 0.1))
    results = _run(dataset_dir, tmp_path / "cv", "leave_one_speaker_out", configuration="ravdess")
    thresholds = [run["abstention_threshold"] for run in results["runs"]]
    answered = correct = clips = 0
    for fold, threshold in enumerate(thresholds, 1):
        test = read_predictions(tmp_path / f"cv/seed_0/fold_{fold}/predictions_test.parquet")
        kept = test.probabilities.max(axis=1) >= threshold
        answered, clips = answered + kept.sum(), clips + len(kept)
        correct += (test.predicted == test.label_ids)[kept].sum()
    found = results["splits"]["test"]["abstention"]
    assert (found["answered"], found["coverage"]) == (answered, pytest.approx(answered / clips))
    assert found["accuracy"] == pytest.approx(correct / answered) and found["target_accuracy"] == 0.1


def test_it_goes_on_where_it_was_broken_off(dataset_dir, tmp_path, recipe):
    folder = tmp_path / "cv"
    recipe.interrupt_at = 3
    with pytest.raises(KeyboardInterrupt):
        _run(dataset_dir, folder, "leave_one_speaker_out", configuration="ravdess")
    first = (folder / "seed_0/fold_1/results.json").stat().st_mtime_ns
    assert not (folder / "results.json").exists()
    recipe.interrupt_at, recipe.fail_at = None, 5
    with pytest.raises(TrainingJobError, match="exit code 1 in .*fold_4; see its message above"):
        _run(dataset_dir, folder, "leave_one_speaker_out", configuration="ravdess")
    recipe.fail_at = None
    results = _run(dataset_dir, folder, "leave_one_speaker_out", configuration="ravdess")
    assert len(recipe.commands) == 6 and len(results["runs"]) == 4
    assert (folder / "seed_0/fold_1/results.json").stat().st_mtime_ns == first


def test_a_recipe_ends_with_the_program_that_started_it(program_server, dataset_dir, tmp_path):
    recipe = tmp_path / "slow.py"
    lines = [
        "import os, time",
        "open('part', 'w').write(str(os.getpid()))",
        "os.rename('part', 'pid')",
        "time.sleep(300)",
    ]
    recipe.write_text("\n".join(lines))
    words = ["--model_recipe", str(recipe), "--dataset", str(dataset_dir), "--protocol", "random"]
    program = program_server.start(ROOT / "recipes/evaluate.py", *words, "--output_dir", tmp_path / "cv", cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    program.send_signal(signal.SIGTERM)
    done = program.finish()
    error = done.stderr
    assert done.returncode == 2 and "ended with exit code -15" in error and "again to resume" in error
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_fold_with_a_checkpoint_is_resumed(dataset_dir, tmp_path, recipe):
    recipe.fail_at = 1
    (tmp_path / "cv").mkdir()
    with pytest.raises(TrainingJobError):
        _run(dataset_dir, tmp_path / "cv", "random")
    assert "--resume_from_checkpoint=true" not in recipe.commands[0]
    (tmp_path / "cv/seed_0/checkpoint-7").mkdir(parents=True)
    recipe.fail_at = 2
    with pytest.raises(TrainingJobError):
        _run(dataset_dir, tmp_path / "cv", "random")
    assert "--resume_from_checkpoint=true" in recipe.commands[1]


def test_seeds_give_mean_and_deviation_and_can_be_added(dataset_dir, tmp_path, recipe):
    folder = tmp_path / "cv"
    _run(dataset_dir, folder, "random", seeds=[0])
    results = _run(dataset_dir, folder, "random", seeds=[0, 1])
    assert len(recipe.commands) == 2 and results["seeds"] == [0, 1] and results["protocol"]["folds"] is None
    test, runs = results["splits"]["test"], results["runs"]
    assert test["predictions"] == ["predictions_seed_0.parquet", "predictions_seed_1.parquet"]
    assert runs[0]["protocol_hash"] != runs[1]["protocol_hash"]  # the seed is the split's, too
    uars = [run["test"]["uar"] for run in runs]
    assert test["scores"]["uar"] == pytest.approx(np.mean(uars))
    assert test["std"]["uar"] == pytest.approx(np.std(uars, ddof=1))
    low, high = test["intervals"][0]["uar"]
    assert low < test["scores"]["uar"] < high


def test_other_settings_do_not_mix(dataset_dir, tmp_path, recipe):
    folder = tmp_path / "cv"
    _run(dataset_dir, folder, "random")
    with pytest.raises(CrossValidationError, match="another overrides"):
        _run(dataset_dir, folder, "random", overrides=["penalties=0.5"])
    with pytest.raises(CrossValidationError, match="another preprocessing"):
        _run(dataset_dir, folder, "random", trim_db=20.0)
    with pytest.raises(CrossValidationError, match="another threads"):
        _run(dataset_dir, folder, "random", threads=2)
    with pytest.raises(CrossValidationError, match="another auxiliary_corpora"):
        _run(dataset_dir, folder, "random", auxiliary_corpora=["crema_d"])
    results = _run(dataset_dir, folder, "random", overrides=["penalties=0.5"], overwrite=True)
    assert results["training"]["overrides"] == ["penalties=0.5"]
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(CrossValidationError, match="holds other files"):
        _run(dataset_dir, tmp_path / "full", "random", overwrite=True)
    assert (tmp_path / "full/notes.txt").read_text() == "mine"


def test_across_corpora(dataset_dir, tmp_path, recipe):
    left_out = _run(dataset_dir, tmp_path / "loco", "leave_one_corpus_out")
    assert left_out["splits"] == {} and left_out["over_folds"] is not None
    on_crema_d, on_ravdess = left_out["runs"]
    assert on_crema_d["fold_name"] == "crema_d" and on_crema_d["left_out"] == {}
    assert set(on_ravdess["left_out"]) == {"calm", "surprised"}  # of which CREMA-D has none
    results = _run(dataset_dir, tmp_path / "cross", "cross_corpus")
    matrix = results["matrix"]
    assert matrix["train"] == matrix["test"] == ["crema_d", "ravdess"]
    assert matrix["classes"] == [[6, 6], [6, 8]]
    whole = {
        corpus: len(load_rows(DataArguments(dataset=str(dataset_dir), configuration=corpus)))
        for corpus in matrix["test"]
    }
    assert matrix["clips"][0][1] == whole["ravdess"] - 2 * 4 * 2  # calm and surprised: 2 clips of 4 speakers each
    assert matrix["clips"][1][0] == whole["crema_d"]
    assert matrix["clips"][0][0] < whole["crema_d"]  # its held-out speakers
    report_text = (tmp_path / "cross/report.md").read_text()
    assert (
        "## UAR across corpora" in report_text
        and f"{matrix['uar'][0][1]:.3f} ({matrix['clips'][0][1]} clips" in report_text
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_recipe": "none.py"}, "none.py: no such file"),
        ({"model_recipe": None, "recipe_overrides": ["a=1"]}, "without model_recipe"),
        ({"recipe_overrides": ["--epochs 8"]}, "expected field=value"),
        ({"recipe_overrides": ["a.b.c=1"]}, "expected field=value"),
        ({"seeds": []}, "at least one"),
        ({"seeds": [1, 1]}, "without repetitions"),
        ({"jobs": 0}, "jobs is 0; expected at least 1"),
        ({"threads": 0}, "threads is 0"),
        ({"launcher": "ray"}, "launcher is 'ray'; expected local or submitit"),
        ({"slurm_options": ["timeout_min=1"]}, "launcher is local; pass --launcher submitit"),
    ],
)
def test_bad_arguments(changes, message):
    with pytest.raises(ConfigError, match=message):
        CrossValidationArguments(**{"model_recipe": BASELINE, **changes})


def test_a_protocol_and_no_fold(dataset_dir, tmp_path):
    for data in ({"protocol": None}, {"protocol": "leave_one_corpus_out", "fold": 1}):
        with pytest.raises(ConfigError, match="pass --protocol and leave out --fold"):
            _run(dataset_dir, tmp_path / "cv", **data)


@pytest.mark.slow
def test_from_the_command_line(launch, dataset_dir, tmp_path):
    words = ["--model_recipe", BASELINE, "--recipe_overrides", "penalties=1.0", "figures=false", "--figures", "false"]
    words += ["--dataset", dataset_dir, "--protocol", "random"]
    done = launch(ROOT / "recipes/evaluate.py", *words, "--output_dir", tmp_path / "cv", cwd=tmp_path)
    assert "Run 1 of 1: seed 0" in done.stdout and "UAR" in done.stdout.splitlines()[-2]
    assert json.loads((tmp_path / "cv/results.json").read_text())["kind"] == "cross_validation"

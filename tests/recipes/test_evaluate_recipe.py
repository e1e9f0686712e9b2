"""`recipes/evaluate.py` from its command line: what it prints and writes, and how it refuses."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

from hf_ser.arguments import parse, run
from hf_ser.data import DataArguments
from hf_ser.evaluation import CrossValidationArguments, EvaluateArguments
from hf_ser.labels import EMOTIONS
from hf_ser.scoring import read_results

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "evaluate.py"
FOREIGN = {"ang": "angry", "other": None, "hap": "happy", "neu": "neutral"}


@pytest.fixture(scope="module")
def recipe(load_recipe):
    return load_recipe("evaluate")


@pytest.fixture
def call(recipe, monkeypatch, capsys):
    """Run the recipe as from a command line; returns the exit code, stdout and stderr without progress bars."""

    def run_it(*words):
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, words), "--figures", "false"])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run(recipe.main)
        captured = capsys.readouterr()
        bars = ("Checking", "Predicting", "Generating", "Loading", "Map", "Filter", "Choosing")
        lines = [line for line in captured.err.replace("\r", "\n").splitlines() if line and not line.startswith(bars)]
        return ended.value.code, captured.out, lines

    return run_it


def _save(folder, tiny_config, labels):
    torch.manual_seed(0)
    content = {key: value for key, value in tiny_config.items() if key != "model_type"}
    config = Wav2Vec2Config(**content, id2label=dict(enumerate(labels)), label2id={n: i for i, n in enumerate(labels)})
    Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory, tiny_config):
    return _save(tmp_path_factory.mktemp("models") / "random", tiny_config, EMOTIONS)


@pytest.fixture(scope="module")
def foreign_dir(tmp_path_factory, tiny_config):
    return _save(tmp_path_factory.mktemp("models") / "foreign", tiny_config, tuple(FOREIGN))


def test_the_docstring_opens_with_a_command_that_parses(recipe):
    first = recipe.__doc__.splitlines()[2].split()
    assert first[:2] == ["python", "recipes/evaluate.py"]
    data_args, folds, args = parse(DataArguments, CrossValidationArguments, EvaluateArguments, argv=first[2:])
    assert (args.model, data_args.dataset, args.output_dir) == (
        "runs/quickstart",
        "data/quickstart/dataset",
        "runs/quickstart_test",
    )
    assert folds.model_recipe is None


def test_a_model_on_a_split(call, model_dir, dataset_dir, tmp_path):
    out = tmp_path / "deep" / "out"
    code, printed, _ = call("--model", model_dir, "--dataset", dataset_dir, "--output_dir", out)
    assert code == 0
    split = read_results(out)["splits"]["test"]
    low, high = split["intervals"][0]["uar"]
    line = f"test (speaker-disjoint, synthetic recordings): 28 clips of {split['speakers']} speakers, accuracy "
    assert f"{line}{split['scores']['accuracy']:.3f}" in printed
    assert f"UAR {split['scores']['uar']:.3f} [{low:.3f}, {high:.3f}]" in printed
    assert "Synthetic recordings: these scores say nothing about real speech." in printed
    assert f"Wrote {out} (see {out}/report.md)" in printed
    assert {path.name for path in out.iterdir()} == {"predictions.parquet", "report.md", "results.json"}
    code, printed, errors = call("--model", model_dir, "--dataset", dataset_dir, "--output_dir", out)
    assert code == 2 and printed == ""
    assert errors == [f"error: --output_dir {out} holds a finished run; pass --overwrite true to replace it."]
    words = [
        "--predictions",
        out / "predictions.parquet",
        "--dataset",
        dataset_dir,
        "--output_dir",
        tmp_path / "table",
    ]
    assert call(*words)[0] == 0
    assert read_results(tmp_path / "table")["splits"]["test"] == split | {"precision": None}  # nothing tells
    assert split["precision"] == "fp32" and "Computed in fp32." in (out / "report.md").read_text()


def test_a_label_mapping_in_yaml(call, foreign_dir, dataset_dir, tmp_path):
    (tmp_path / "foreign.yaml").write_text(
        yaml.safe_dump({"model": str(foreign_dir), "dataset": str(dataset_dir), "label_mapping": FOREIGN})
    )
    code, printed, _ = call(
        "--config", tmp_path / "foreign.yaml", "--output_dir", tmp_path / "out", "--name", "SUPERB"
    )
    assert code == 0
    results = read_results(tmp_path / "out")
    split = results["splits"]["test"]
    assert results["name"] == "SUPERB" and split["labels"] == ["neutral", "happy", "angry"]
    assert split["clips"] + sum(split["left_out"].values()) == 28 and f"): {split['clips']} clips" in printed
    text = (tmp_path / "out" / "report.md").read_text()
    assert all(f"{count} {label}" in text for label, count in split["left_out"].items())


def test_calibration_from_the_command_line(call, model_dir, dataset_dir, tmp_path):
    out = tmp_path / "out"
    words = ("--model", model_dir, "--dataset", dataset_dir, "--calibrate", "true", "--output_dir", out)
    assert call(*words)[0] == 0
    temperature = json.loads((out / "model" / "config.json").read_text())["calibration_temperature"]
    assert read_results(out)["splits"]["test"]["calibration"]["temperature"] == pytest.approx(temperature)
    assert f"temperature {temperature:.3f}" in (out / "report.md").read_text()


def test_a_list_of_one_speaker(call, model_dir, dataset_dir, tmp_path):
    paths = sorted((dataset_dir.parent / "corpora").rglob("1001_*.wav"))
    lines = [f"{path},{'happy' if 'HAP' in path.name else 'sad'},me" for path in paths]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,speaker", *lines]))
    out = tmp_path / "out"
    code, printed, _ = call("--model", model_dir, "--csv", tmp_path / "list.csv", "--output_dir", out)
    assert (
        code == 0
        and f"all clips, synthetic recordings: {len(paths)} clips of 1 speaker, " in printed
        and "[" not in printed
    )
    assert read_results(out)["splits"]["all"]["intervals"][0]["uar"] == [None, None]


BAD = {
    "nothing-to-score": (["--dataset", "{dataset}"], "expected either model or predictions"),
    "model-and-predictions": (["--model", "{model}", "--predictions", "p.parquet"], "either model or predictions"),
    "no-clips": (["--model", "{model}"], "a model without clips; pass dataset, recordings or csv"),
    "dataset-and-csv": (
        ["--model", "{model}", "--dataset", "{dataset}", "--csv", "l.csv"],
        "dataset together with csv",
    ),
    "both-sources": (["--model", "{model}", "--recordings", "r", "--csv", "l.csv"], "both recordings and csv"),
    "calibrate-a-list": (["--model", "{model}", "--csv", "l.csv", "--calibrate", "true"], "does not support csv"),
    "recipe-and-model": (
        ["--model_recipe", str(ROOT / "recipes/finetune.py"), "--model", "m"],
        "got model together with model_recipe",
    ),
    "no-such-recipe": (["--model_recipe", "recipes/nothing.py"], "recipes/nothing.py: no such file"),
    "recipe-without-a-dataset": (["--model_recipe", str(ROOT / "recipes/finetune.py")], "dataset is not given"),
    "overrides-alone": (["--recipe_overrides", "a=1"], "without model_recipe"),
    "no-such-split": (["--model", "{model}", "--split", "dev"], "split is 'dev'"),
    "misspelt": (["--model", "{model}", "--recording", "r"], "unknown field recording .did you mean recordings"),
    "mapping-on-the-command-line": (["--model", "{model}", "--label_mapping", "a=b"], "label_mapping is a string"),
    "no-such-folder": (["--model", "{model}", "--recordings", "/no/such"], "--recordings /no/such: no such folder"),
    "no-such-list": (["--model", "{model}", "--csv", "/no/such.csv"], "--csv /no/such.csv: "),
    "no-such-table": (["--predictions", "/no/such.parquet"], "/no/such.parquet: .*expected a Parquet file"),
    "no-such-dataset": (["--model", "{model}", "--dataset", "/no/such"], "--dataset /no/such: no such folder"),
    "no-such-model": (["--model", "nothing", "--dataset", "{dataset}"], "--model nothing: "),
    "no-such-configuration": (
        ["--model", "{model}", "--dataset", "{dataset}", "--configuration", "emodb"],
        "--configuration emodb of ",
    ),
    "other-labels": (["--model", "{foreign}", "--dataset", "{dataset}"], "Add a label_mapping to the YAML file"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_input_is_one_line_and_exit_code_2(call, model_dir, foreign_dir, dataset_dir, tmp_path, case):
    words, message = BAD[case]
    places = {"model": model_dir, "dataset": dataset_dir, "foreign": foreign_dir}
    code, printed, errors = call(*(word.format(**places) for word in words), "--output_dir", tmp_path / "out")
    assert code == 2 and printed == "" and len(errors) == 1, errors
    assert errors[0].startswith("error: ")
    assert re.search(message, errors[0]), errors[0]
    assert not (tmp_path / "out").exists()


def test_without_an_output_folder_nothing_starts(call, model_dir, dataset_dir):
    code, _, errors = call("--model", model_dir, "--dataset", dataset_dir)
    assert code == 2 and len(errors) == 1 and "output_dir" in errors[0]


@pytest.mark.parametrize("words", [["--calibrate", "true"], ["--split", "validation"], ["--name", "mine"]], ids=str)
def test_arguments_that_a_cross_validation_does_not_take_are_refused(recipe, call, monkeypatch, tmp_path, words):
    monkeypatch.setattr(recipe, "load_rows", lambda *_: [])
    monkeypatch.setattr(recipe, "cross_validate", lambda *_: {"dataset": {"synthetic": []}, "splits": {}})
    command = ["--model_recipe", ROOT / "recipes/finetune.py", "--dataset", "d", "--protocol", "emobox"]
    assert call(*command, "--output_dir", tmp_path / "out", *words)[0] == 2


def test_help_tells_every_field(call):
    code, printed, errors = call("--help")
    assert code == 0 and errors == []
    assert all(f"--{name}" in printed for name in ("label_mapping", "model_recipe", "merge_calm", "recordings"))


def test_as_a_process(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    words = ["--model", "m", "--predictions", "p", "--output_dir", "o"]
    done = subprocess.run(
        [sys.executable, str(RECIPE), *words], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: expected either model or predictions")
    assert list(tmp_path.iterdir()) == []

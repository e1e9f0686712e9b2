"""`benchmarks/fold_jobs.py`: its commands, its comparison and its table."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from hf_ser.arguments import parse
from hf_ser.data import DataArguments
from hf_ser.evaluation import CrossValidationArguments
from hf_ser.scoring import Predictions
from hf_ser.scoring.predictions import write_predictions

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script(load_benchmarks):
    return load_benchmarks("machine", "fold_jobs")["fold_jobs"]


def test_its_commands_are_those_of_the_recipe(script):
    given = argparse.Namespace(dataset="data/ravdess", protocol="emobox", epochs=3, overrides=["seed=1"])
    for words in script.RUNS.values():
        argv = [word for word in [*script.command(given)[2:], *words] if word not in ("--figures", "false")]
        args, data = parse(CrossValidationArguments, DataArguments, argv=argv)
        assert args.recipe_overrides == ["num_train_epochs=3", "disable_tqdm=true", "seed=1"]
        assert (args.jobs, data.protocol) == (2 if "2" in words else 1, "emobox")


def test_predictions_are_compared_by_clip(script, tmp_path):
    probabilities = np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]])
    for name, order in (("a", [0, 1, 2]), ("b", [2, 0, 1])):
        columns = {"id": np.array(["x", "y", "z"])[order].tolist(), "label": [0, 0, 0]}
        columns |= {key: ["one"] * 3 for key in ("corpus", "speaker", "gender", "intensity")}
        (tmp_path / name).mkdir()
        table = Predictions(columns, probabilities[order], ("happy", "sad"))
        write_predictions(tmp_path / name / "predictions.parquet", table)
    assert script.largest_difference(tmp_path / "a", tmp_path / "b") == 0


def test_the_page_shows_what_was_measured(script):
    page = (ROOT / "docs" / "how-to" / "many_files.md").read_text("utf-8")
    shown = page[page.index(script.BEGIN) + len(script.BEGIN) : page.index(script.END)].strip()
    assert shown == script.render(json.loads((ROOT / "results" / "fold_jobs.json").read_text("utf-8")))

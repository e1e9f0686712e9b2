"""A run's folder: report.md, its figures and the printed summary."""

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from example_results import make_results

from hf_ser.arguments import ConfigError
from hf_ser.reporting import CompareArguments, ReportArguments, summary, write_run
from hf_ser.reporting.run_titles import run_title
from hf_ser.scoring import Predictions, score_split


@pytest.fixture
def predictions():
    clips = {"id": ["a", "b"], "corpus": ["c"] * 2, "speaker": ["c_1", "c_2"], "gender": ["female"] * 2}
    return Predictions(clips | {"intensity": [None] * 2, "label": [0, 1]}, np.eye(2) * 0.8 + 0.1, ("sad", "happy"))


@pytest.mark.parametrize("synthetic", [[], ["ravdess"]])
def test_every_score_names_its_protocol_and_synthetic_recordings(synthetic, predictions, tmp_path):
    splits = {split: score_split(predictions, files=[f"{split}.parquet"]) for split in ("validation", "test")}
    results = make_results(splits, dataset={"synthetic": synthetic}, protocol={"name": "emobox", "fold": 2})
    write_run(tmp_path, results, dict.fromkeys(splits, [predictions]), figures=False)
    text, scope = (tmp_path / "report.md").read_text(), "emobox, fold 2" + ", synthetic recordings" * bool(synthetic)
    assert text.index(f"## Scores on test ({scope})") < text.index(f"## Scores on validation ({scope})")
    *warning, validation, test = summary(results).splitlines()
    assert validation.startswith(f"validation ({scope}): 2 clips") and test.startswith(f"test ({scope}): 2 clips")
    sentence = "Synthetic recordings: these scores say nothing about real speech."
    assert warning == [sentence] * bool(synthetic) and text.count(f"**{sentence}**") == bool(synthetic)
    title = run_title("ser-mel-cnn", results["dataset"] | {"name": "crema_d"}, results["protocol"])
    assert title == f"MelCNN, CREMA-D, {scope}"


def test_unknown_speakers_are_said_to_be_unknown(predictions, tmp_path):
    unknown = replace(predictions, clips=predictions.clips | {"speaker": ["", ""]})
    results = make_results({"test": score_split(unknown, files=["test.parquet"])}, dataset={"train_speakers": None})
    write_run(tmp_path, results, {"test": [unknown]}, figures=False)
    text = (tmp_path / "report.md").read_text()
    assert "\n\n2 clips, speakers unknown." in text
    assert re.search(r"trained on +\| \d+ clips, speakers unknown +\|", text)
    assert re.search(r"\| score +\| value +\| 95 % interval, plain +\|\n", text) and "clustered" not in text
    assert re.search(r"\| c +\| 2 +\| unknown +\|", text) and "None" not in text and "By speaker" not in text
    assert "2 clips, speakers unknown, accuracy" in summary(results)


def test_without_figures_nothing_is_drawn_and_earlier_figures_go(tmp_path):
    (tmp_path / "figures").mkdir()
    write_run(tmp_path, make_results(), {}, figures=False)
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "results.json"}
    assert "Figures" not in (tmp_path / "report.md").read_text()


def test_figures_without_matplotlib_are_rejected_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^matplotlib is not installed.*hf-ser\[plots\].*--figures false\.$"):
        ReportArguments().check_figures()
    with pytest.raises(ConfigError, match="matplotlib is not installed"):
        CompareArguments(["a"], output_dir="out")
    CompareArguments(["a"])  # only prints
    CompareArguments(["a"], output_dir="out", figures=False)
    assert not Path("out").exists()

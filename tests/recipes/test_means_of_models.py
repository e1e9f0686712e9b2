"""`benchmarks/means_of_models.py`: means of stored predictions, and the committed table."""

import json
from pathlib import Path

import numpy as np
import pytest

from hf_ser import markdown
from hf_ser.errors import SerError
from hf_ser.scoring import Predictions, read_predictions, read_results
from hf_ser.scoring.predictions import write_predictions

ROOT = Path(__file__).parents[2]
RUN = "audio_cnn_robust_emobox"


@pytest.fixture(scope="module")
def script(load_benchmarks):
    return load_benchmarks("means_of_models")["means_of_models"]


def test_the_mean_of_one_model_is_the_model(script):
    stored = read_results(ROOT / "results" / RUN)
    found = script.measure("one", {RUN: [0]}, ROOT / "results")
    assert found["uar"] == found["average_of_members"] == found["best_member"]
    assert found["gain"]["difference"] == 0 and found["models"] == 1
    three = script.measure("three", {RUN: [0, 1, 2]}, ROOT / "results")
    assert three["average_of_members"] == pytest.approx(stored["splits"]["test"]["scores"]["uar"])
    assert three["gain"]["difference"] == pytest.approx(three["uar"] - three["average_of_members"])


def test_clips_are_matched_by_id(script, tmp_path):
    table = read_predictions(ROOT / "results" / RUN / "predictions_seed_0.parquet")
    order = np.random.default_rng(0).permutation(len(table.clips["id"]))
    clips = {name: [column[row] for row in order] for name, column in table.clips.items()}
    mixed = Predictions(clips, table.probabilities[order], table.labels)
    results = json.loads((ROOT / "results" / RUN / "results.json").read_text())
    for name, predictions in (("a", table), ("b", mixed)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(results))
        write_predictions(tmp_path / name / "predictions_seed_0.parquet", predictions)
    both = script.measure("both", {"a": [0], "b": [0]}, tmp_path)
    assert both["uar"] == pytest.approx(both["average_of_members"]) and both["gain"]["difference"] == 0
    write_predictions(tmp_path / "b/predictions_seed_0.parquet", mixed.where("gender", "female"))
    with pytest.raises(SerError, match="predict different clips or classes"):
        script.measure("both", {"a": [0], "b": [0]}, tmp_path)
    with pytest.raises(SerError, match="has no seed 7; its seeds are"):
        script.measure("both", {"a": [7]}, tmp_path)


def test_the_page_shows_the_committed_means(script):
    means = json.loads((ROOT / "results/means_of_models.json").read_text())["means"]
    page = (ROOT / "docs/what_helps.md").read_text()
    before, after = markdown.around_part(page, script.BEGIN, script.END, "page")
    assert page == f"{before}\n\n{script.render(means)}\n\n{after}"

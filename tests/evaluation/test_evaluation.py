import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from matplotlib import image

from hf_ser.evaluation import plot_confusion, plot_training_curves, score_split, write_json, write_predictions
from hf_ser.evaluation.predictions import PredictionsError

LABELS = ("sad", "happy", "angry")
CLIPS = {
    "id": ["a/1", "a/2", "b/1", "b/2"],
    "corpus": ["a", "a", "b", "b"],
    "speaker": ["a_1", "a_2", "b_1", "b_1"],
    "gender": ["female", "male", "male", "male"],
    "label": [0, 1, 2, 2],
}
PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7], [0.6, 0.2, 0.2]])


def test_predictions_table(tmp_path):
    write_predictions(tmp_path / "p.parquet", CLIPS, PROBABILITIES, LABELS)
    rows = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert rows[3] == {
        "id": "b/2",
        "corpus": "b",
        "speaker": "b_1",
        "gender": "male",
        "label": "angry",
        "p_sad": 0.6,
        "p_happy": 0.2,
        "p_angry": 0.2,
    }
    assert [path.name for path in tmp_path.iterdir()] == ["p.parquet"]


@pytest.mark.parametrize(
    ("clips", "probabilities", "message"),
    [
        (CLIPS, PROBABILITIES[:3], "row per clip"),
        ({**CLIPS, "id": ["a/1", "a/1", "b/1", "b/2"]}, PROBABILITIES, "1 repeated"),
        (CLIPS, np.where(PROBABILITIES == 0.7, np.nan, PROBABILITIES), "b/1"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(tmp_path, clips, probabilities, message):
    with pytest.raises(PredictionsError, match=message):
        write_predictions(tmp_path / "p.parquet", clips, probabilities, LABELS)
    assert list(tmp_path.iterdir()) == []


def test_scores_of_a_split():
    scored = score_split(CLIPS, PROBABILITIES, LABELS)
    assert scored["clips"] == 4 and scored["speakers"] == 3
    assert scored["scores"]["accuracy"] == 0.75
    assert scored["confusion"] == [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert scored["per_class"]["angry"]["recall"] == 0.5 and scored["absent"] == []
    assert [its["method"] for its in scored["intervals"]] == ["clustered on speakers", "plain"]
    assert [its["clusters"] for its in scored["intervals"]] == [3, 4]
    assert scored["per_corpus"]["a"]["scores"]["accuracy"] == 1.0
    assert scored["per_corpus"]["b"] == {"clips": 2, "scores": scored["per_corpus"]["b"]["scores"]}
    assert scored["per_corpus"]["b"]["scores"]["accuracy"] == 0.5
    assert scored["chance"]["accuracy_of_the_largest_class"] == 0.5


def test_json_is_written_in_one_step_and_refuses_nan(tmp_path):
    write_json(tmp_path / "r.json", {"score": 0.5})
    with pytest.raises(ValueError, match="NaN|nan"):
        write_json(tmp_path / "r.json", {"score": float("nan")})
    assert json.loads((tmp_path / "r.json").read_text()) == {"score": 0.5}


def test_figures_are_drawn(tmp_path):
    history = [
        {"epoch": 1.0, "loss": 2.0},
        {"epoch": 1.0, "eval_loss": 1.9, "eval_f1_weighted": 0.2, "eval_uar": 0.25},
        {"epoch": 2.0, "loss": 1.0},
        {"epoch": 2.0, "eval_loss": 1.5, "eval_f1_weighted": 0.4, "eval_uar": 0.45},
    ]
    plot_training_curves(history, tmp_path / "curves.png")
    plot_confusion([[3, 1], [0, 4]], ["sad", "happy"], "test", tmp_path / "confusion.png")
    for name in ("curves.png", "confusion.png"):
        pixels = image.imread(tmp_path / name)
        assert pixels.shape[0] > 400 and pixels.std() > 0.05

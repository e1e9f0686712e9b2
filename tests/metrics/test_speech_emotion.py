import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk

from hf_ser.metrics import SpeechEmotion, speech_emotion


def _probabilities(clips, classes, seed):
    return np.random.default_rng(seed).dirichlet(np.ones(classes), size=clips)


CASES = {
    "random": (np.random.default_rng(0).integers(0, 8, 200), _probabilities(200, 8, 0)),
    "two classes absent": (np.random.default_rng(1).integers(2, 6, 50), _probabilities(50, 8, 1)),
    "always one class": (np.arange(32) % 8, np.eye(8)[np.zeros(32, int)] * 0.93 + 0.00875),
    "predicted but absent": (np.array([0, 0, 1, 1]), np.eye(8)[[0, 5, 1, 6]]),
    "two classes": (np.random.default_rng(2).integers(0, 2, 40), _probabilities(40, 2, 2)),
}


def _compute(truth, probabilities, **labels):
    return SpeechEmotion(keep_in_memory=True).compute(predictions=probabilities, references=truth, **labels)


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
@pytest.mark.parametrize("case", CASES)
def test_it_agrees_with_scikit_learn(case):
    truth, probabilities = CASES[case]
    scores, predicted = _compute(truth, probabilities), probabilities.argmax(axis=1)
    present, every = np.unique(truth), np.arange(probabilities.shape[1])
    one_hot = np.eye(len(every))[truth]
    assert scores["accuracy"] == pytest.approx(sk.accuracy_score(truth, predicted))
    assert scores["f1_weighted"] == pytest.approx(sk.f1_score(truth, predicted, average="weighted", zero_division=0))
    assert scores["uar"] == pytest.approx(sk.balanced_accuracy_score(truth, predicted))
    for name in ("precision", "recall", "f1"):
        function = getattr(sk, f"{name}_score")
        expected = function(truth, predicted, labels=present, average="macro", zero_division=0)
        assert scores[f"{name}_macro"] == pytest.approx(expected)
    assert scores["log_loss"] == pytest.approx(sk.log_loss(truth, probabilities, labels=every))
    assert scores["brier"] == pytest.approx(((probabilities - one_hot) ** 2).sum() / len(truth))
    assert scores["roc_auc_micro"] == pytest.approx(sk.roc_auc_score(one_hot.ravel(), probabilities.ravel()))
    assert scores["confusion"] == sk.confusion_matrix(truth, predicted, labels=every).tolist()
    assert scores["absent"] == [str(index) for index in every if index not in present]
    for index in every:
        entry = scores["per_class"][str(index)]
        assert entry["support"] == (truth == index).sum()
        if index in present and len(present) > 1:
            expected = sk.roc_auc_score(truth == index, probabilities[:, index])
            assert entry["roc_auc"] == pytest.approx(expected)
        else:
            assert entry["roc_auc"] is None
    defined = [entry["roc_auc"] for entry in scores["per_class"].values() if entry["roc_auc"] is not None]
    assert scores["roc_auc_macro"] == pytest.approx(np.mean(defined))


def test_calibration_error_by_hand():
    # Two bins: 0.6 confident and right half of the time, 0.9 confident and always right.
    probabilities = np.array([[0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.9, 0.1]])
    assert _compute(np.array([0, 1, 0, 0]), probabilities)["ece"] == pytest.approx((2 * 0.1 + 2 * 0.1) / 4)
    assert _compute(np.array([0, 1]), np.eye(2))["ece"] == 0


def test_one_clip_leaves_areas_undefined_and_says_so():
    scores = _compute(np.array([1]), np.array([[0.2, 0.8]]), labels=["sad", "happy"])
    assert scores["accuracy"] == 1 and scores["absent"] == ["sad"]
    assert scores["roc_auc_macro"] is None and scores["per_class"]["happy"]["roc_auc"] is None


@pytest.mark.parametrize(
    ("truth", "rows", "labels", "message"),
    [
        ([0, 1], [[0.5, 0.5], [np.nan, 0.5]], None, "1 rows are not finite, first rows 1"),
        ([0, 1], [[0.5, 0.5], [0.9, 0.9]], None, "not summing to 1, first rows 1"),
        ([0, 1], [[1.5, -0.5], [0.5, 0.5]], None, "negative, first rows 0"),
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], None, "of an unknown class, first rows 1"),
        ([0], [[0.5, 0.5]], ["sad"], "expected one for each"),
    ],
)
def test_what_is_no_probability_is_refused(truth, rows, labels, message):
    with pytest.raises(ValueError, match=message):
        _compute(np.array(truth), np.array(rows), labels=labels)


def test_it_loads_by_path_without_network_or_this_package(tmp_path):
    code = f"""
import sys, evaluate
metric = evaluate.load({str(Path(speech_emotion.__file__))!r})
print(metric.compute(predictions=[[0.9, 0.1, 0], [0.1, 0.8, 0.1], [0, 1, 0]], references=[0, 1, 2])["accuracy"])
assert "hf_ser" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(2 / 3)


def test_a_file_named_evaluate_beside_the_program_is_named(tmp_path):
    (tmp_path / "evaluate.py").touch()
    (tmp_path / "program.py").write_text(Path(speech_emotion.__file__).read_text())
    done = subprocess.run([sys.executable, tmp_path / "program.py"], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith(f"ImportError: import evaluate found {tmp_path / 'evaluate.py'}")

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk

from hf_ser.metrics import SpeechEmotion, speech_emotion

CASES = {
    "random": np.random.default_rng(0).integers(0, 8, (2, 200)),
    "two classes absent": np.random.default_rng(1).integers(2, 6, (2, 50)),
    "never predicted": np.array([[0, 1, 2, 2], [0, 0, 0, 0]]),
    "predicted but absent": np.array([[0, 0, 1, 1], [0, 5, 1, 6]]),
    "one clip": np.array([[3], [3]]),
}


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
@pytest.mark.parametrize("case", CASES)
def test_it_agrees_with_scikit_learn(case):
    truth, guess = CASES[case]
    scores = SpeechEmotion(keep_in_memory=True).compute(predictions=guess, references=truth)
    present = np.unique(truth)
    assert scores["accuracy"] == pytest.approx(sk.accuracy_score(truth, guess))
    assert scores["f1_weighted"] == pytest.approx(sk.f1_score(truth, guess, average="weighted", zero_division=0))
    assert scores["f1_macro"] == pytest.approx(
        sk.f1_score(truth, guess, labels=present, average="macro", zero_division=0)
    )
    assert scores["uar"] == pytest.approx(sk.balanced_accuracy_score(truth, guess))
    assert scores["recall_macro"] == scores["uar"]
    assert all(0 <= score <= 1 for score in scores.values())


def test_it_loads_by_path_without_network_or_this_package(tmp_path):
    code = f"""
import sys, evaluate
metric = evaluate.load({str(Path(speech_emotion.__file__))!r})
print(metric.compute(predictions=[0, 1, 1], references=[0, 1, 2])["accuracy"])
assert "hf_ser" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(2 / 3)

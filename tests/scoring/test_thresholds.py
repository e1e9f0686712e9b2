"""Differences between groups, and thresholds that make an evaluation fail."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hf_ser.errors import ConfigError
from hf_ser.scoring import Predictions, score_split
from hf_ser.scoring.fairness import score_fairness
from hf_ser.scoring.predictions import write_predictions
from hf_ser.scoring.thresholds import check_thresholds, missed_thresholds, read_thresholds

ROOT = Path(__file__).parents[2]


def unequal() -> Predictions:
    """Women 1.0 and men 0.5 (always angry) in RAVDESS, which has four speakers; one woman in TESS, always right."""
    rows = [("ravdess", f"ravdess_{n}", ("female", "male")[n % 2], label) for n in range(4) for label in (0, 1) * 10]
    rows += [("tess", "tess_OAF", "female", label) for label in (0, 1) * 10]
    clips = dict(zip(("corpus", "speaker", "gender", "label"), map(list, zip(*rows, strict=True)), strict=True))
    clips |= {"id": [f"{row[0]}/{n}" for n, row in enumerate(rows)], "intensity": [None] * len(rows)}
    answers = [0 if gender == "male" else label for _, _, gender, label in rows]
    return Predictions(clips, np.where(np.eye(2)[answers] == 1, 0.9, 0.1), ("angry", "sad"))


def test_gaps_worst_group_and_equalised_odds():
    found = score_fairness([unequal()])
    assert set(found) == {"corpus", "gender/ravdess", "speaker"}  # TESS has one gender
    gender = found["gender/ravdess"]
    assert gender["groups"] == {"ravdess/female": 1.0, "ravdess/male": 0.5} and gender["worst"] == "ravdess/male"
    assert gender["gap"] == 0.5 and gender["interval"] == [0.5, 0.5] and gender["one_speaker"] == []
    assert gender["equalized_odds_difference"] == 1.0  # men: sad is never recognised, and always called angry
    assert found["corpus"]["gap"] == pytest.approx(0.25) and found["corpus"]["one_speaker"] == ["tess"]
    assert found["corpus"]["interval"] is None and len(found["speaker"]["one_speaker"]) == 5


def test_an_equal_model_has_no_gap_and_only_common_classes_count():
    equal = unequal()
    equal = Predictions(equal.clips, np.where(np.eye(2)[equal.label_ids] == 1, 0.9, 0.1), equal.labels)
    assert all(part["gap"] == part["equalized_odds_difference"] == 0 for part in score_fairness([equal]).values())
    keep = [
        n
        for n, (who, label) in enumerate(zip(equal.clips["gender"], equal.label_ids, strict=True))
        if who == "female" or label
    ]
    assert score_fairness([equal.select(np.asarray(keep))])["gender/ravdess"]["classes"] == ["sad"]


def test_thresholds_are_met_or_missed_by_name():
    scored = score_split(unequal(), files=["x"])
    assert check_thresholds(scored, {"overall": {"min_uar": 0.8}, "gender": {"max_gap": 0.5}}) == []
    missed = check_thresholds(
        scored,
        {
            "overall": {"min_uar": 0.9},
            "gender": {"max_gap": 0.1, "min_worst": 0.6, "max_equalized_odds_difference": 0.2},
            "corpus": {"max_gap": 0.1},
            "language": {"max_gap": 0.1},
        },
    )
    assert missed == [
        "uar is 0.875; expected at least 0.9",  # the mean over the corpora
        "gender/ravdess: the gap in UAR between ravdess/female and ravdess/male is 0.500; expected at most 0.1",
        "gender/ravdess: the UAR of ravdess/male is 0.500; expected at least 0.6",
        "gender/ravdess: the equalised-odds difference is 1.000; expected at most 0.2",
        "corpus: the gap in UAR between tess and ravdess is 0.250; expected at most 0.1; one speaker: tess",
        "language cannot be checked: the clips have fewer than two groups with a common class",
    ]


def _file(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_folds_that_are_not_pooled_cannot_be_checked(tmp_path):
    limits = _file(tmp_path / "limits.yaml", "overall: {min_uar: 0.1}")
    assert missed_thresholds({"splits": {}}, limits)[0].startswith("nothing can be checked")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gendre: {max_gap: 0.1}", "has 'gendre' (did you mean gender?); expected overall, corpus, language, gender"),
        ("gender: {max_gpa: 0.1}", "gender has 'max_gpa' (did you mean max_gap?); expected max_gap, min_worst"),
        ("overall: {max_gap: 0.1}", "overall has 'max_gap'; expected min_uar, min_accuracy"),
        ("gender: {max_gap: 10}", "gender max_gap is 10; expected a number from 0 to 1"),
        ("gender: {max_gap: true}", "gender max_gap is True; expected a number"),
        ("gender: 0.1", "gender is 0.1; expected limits such as {max_gap: 0.1}"),
        ("", "has no thresholds"),
        ("[gender]", "has no thresholds"),
    ],
)
def test_files_that_say_nothing_are_refused(tmp_path, text, message):
    with pytest.raises(ConfigError) as error:
        read_thresholds(_file(tmp_path / "limits.yaml", text))
    assert message in str(error.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        read_thresholds(tmp_path / "none.yaml")


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "code"), [("0.6", 0), ("0.1", 3), ("often", 2)])
def test_the_exit_code_of_the_recipe(tmp_path, limit, code):
    table = tmp_path / "table.parquet"
    write_predictions(table, unequal())
    limits = _file(tmp_path / "limits.yaml", f"gender: {{max_gap: {limit}}}")
    words = ["--predictions", table, "--thresholds", limits, "--figures", "false", "--output_dir", tmp_path / "run"]
    command = [sys.executable, ROOT / "recipes/evaluate.py", *words]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == code, done.stderr
    if code == 3:
        assert "Thresholds missed:\ngender/ravdess: the gap in UAR" in done.stdout
    assert (tmp_path / "run" / "results.json").is_file() is (code != 2)

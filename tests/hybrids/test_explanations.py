"""Explanations of hybrids: known contributions appear in tables, figures and report.md."""

import re

import numpy as np
import pytest
from example_results import make_results

from hf_ser.hybrids.explanations import Explained, explain, explain_features
from hf_ser.hybrids.meta_learners import Fitted, fit_mean
from hf_ser.reporting import Explanation, plots, write_run
from hf_ser.scoring import Predictions, score_split

CLASSES = ("sad", "happy", "calm")
COLUMNS = [f"{base}.{label}" for base in ("cnn", "forest") for label in CLASSES]
# Four clips: the bases agree on the first two, then the stack follows the first base, then the second.
FEATURES = np.array(
    [
        [0.8, 0.1, 0.1, 0.6, 0.3, 0.1],
        [0.1, 0.8, 0.1, 0.2, 0.7, 0.1],
        [0.9, 0.1, 0.0, 0.3, 0.4, 0.3],
        [0.5, 0.4, 0.1, 0.0, 1.0, 0.0],
    ]
)
EXPLAINED = Explained("test", FEATURES, np.array([0, 1, 0, 0]), ("cnn", "forest"), CLASSES, COLUMNS)


def fitted(gain=None, weights=(3.0, 1.0)):
    """The mean; each base model's features add its entry of `weights` to every class's score."""
    parts = np.repeat(weights, 3) / 3
    return Fitted(
        fit_mean(FEATURES, 3).predict,
        FEATURES[:, :3],
        0,
        contributions=lambda values: np.broadcast_to(parts, (len(values), 3, 6)),
        gain=gain,
    )


def cells(text, first):
    """Cells of the row of a Markdown table with this first cell."""
    (row,) = re.findall(rf"^\| {re.escape(first)} +\|(.*)\|$", text, re.MULTILINE)
    return [cell.strip() for cell in row.split("|")]


@pytest.fixture
def drawn(monkeypatch):
    """Arguments of the calls of the plots."""
    calls = []
    for name in ("plot_shares", "plot_importances"):
        monkeypatch.setattr(plots, name, lambda *args, name=name: calls.append((name, *args)))
    return calls


def test_shares_of_bases_as_table_and_figure(drawn, tmp_path):
    told, rows = explain(EXPLAINED, fitted())
    assert told.text.startswith(
        "## Contributions of the base models\n\nOn the 4 clips of test.\n\n### Share of each base"
    )
    assert "\n### Disagreements between base models\n" in told.text and not re.search("^# ", told.text, re.MULTILINE)
    assert cells(told.text, "sad") == ["2", "75 %", "25 %"] and cells(told.text, "happy") == ["2", "75 %", "25 %"]
    assert cells(told.text, "calm") == ["0", "-", "-"] and cells(told.text, "all") == ["4", "75 %", "25 %"]
    assert cells(told.text, "stack") == ["-", "0.500"] and "different classes for 2 of 4 clips" in told.text
    assert [row["column"] for row in rows] == COLUMNS and rows[0]["contribution_to_happy"] == "1"
    assert not drawn  # nothing is drawn before it is asked for
    assert list(told.draw(tmp_path, "title")) == ["shares_of_bases"]
    ((name, shares, bases, classes, path, _),) = drawn
    assert (name, bases, classes, path) == (
        "plot_shares",
        EXPLAINED.base_models,
        CLASSES,
        tmp_path / "shares_of_bases",
    )
    np.testing.assert_allclose(shares, [[0.75, 0.25], [0.75, 0.25], [np.nan] * 2, [0.75, 0.25]])


def test_the_share_is_of_the_answer_that_was_given(drawn, tmp_path):
    parts = np.zeros((4, 3, 6))
    parts[[0, 2], 0, :3], parts[[1, 3], 1, 3:] = -2, 5  # what lowers a score counts as what raises it
    parts[[0, 2], 1, 3:] = 99  # of an answer that was not given
    stack = Fitted(fit_mean(FEATURES, 3).predict, FEATURES[:, :3], 0, contributions=lambda _: parts)
    told, _ = explain(EXPLAINED, stack)
    told.draw(tmp_path, "title")
    np.testing.assert_allclose(drawn[0][1], [[1, 0], [0, 1], [np.nan] * 2, [2 / 7, 5 / 7]])
    assert cells(told.text, "all") == ["4", "29 %", "71 %"]


def test_the_gain_is_told_by_base_and_class():
    told, rows = explain(EXPLAINED, fitted(gain=np.array([4.0, 0, 0, 1, 3, 2])))
    gains = told.text.partition("in the gain of all splits")[2]
    assert cells(gains, "sad") == ["40 %", "10 %"] and cells(gains, "happy") == ["0 %", "30 %"]
    assert cells(gains, "all") == ["40 %", "60 %"] and rows[4]["gain"] == "3"
    assert "SHAP" in told.text
    nothing, _ = explain(EXPLAINED, fitted(gain=np.zeros(6), weights=(0.0, 0.0)))  # trees without a split
    assert cells(nothing.text.partition("in the gain of all splits")[2], "all") == ["-", "-"]


def test_a_mean_has_no_shares_and_no_figure(drawn, tmp_path):
    told, rows = explain(EXPLAINED, fit_mean(FEATURES, 3))
    assert rows == [] and told.draw(tmp_path, "title") == {} and not drawn
    assert "Share of each base" not in told.text and "different classes for 2 of 4 clips" in told.text


def test_columns_of_a_forest(drawn, tmp_path):
    names = [f"mfcc_{number}" for number in range(12)]
    importance = np.array([0.05, 0.3, 0.0, 0.2, *[0.05] * 7, 0.1])
    told, rows = explain_features(names, importance, "importance", None, CLASSES)
    assert rows[:3] == [
        {"column": "mfcc_1", "importance": "0.3"},
        {"column": "mfcc_3", "importance": "0.2"},
        {"column": "mfcc_11", "importance": "0.1"},
    ]
    assert [row["column"] for row in rows[3:5]] == ["mfcc_0", "mfcc_4"] and len(rows) == 12  # equals keep their order
    assert told.text.startswith("## Feature importance\n") and "### By class" not in told.text
    assert "The 10 of 12 features with the highest importance: " in told.text and "11 features have a" in told.text
    listed = re.findall(r"^\| (mfcc_\d+) ", told.text, re.MULTILINE)
    assert listed == [row["column"] for row in rows[:10]] and cells(told.text, "mfcc_1") == ["30.0 %"]
    assert list(told.draw(tmp_path, "title")) == ["importances"]
    ((name, values, drawn_names, path, _, unit),) = drawn
    assert (name, drawn_names, path) == ("plot_importances", names, tmp_path / "importances")
    np.testing.assert_allclose(values, importance * 100)
    assert unit == "importance (% of total)"


def test_columns_of_a_booster_by_class():
    per_class = np.array([[0.0, 2.0, 1.0, 1.0], [0.5, 0.0, 0.0, 0.0], [0.0] * 4])
    told, rows = explain_features(["a", "b", "c", "d"], np.array([1.0, 5, 0, 2]), "gain", per_class, CLASSES)
    assert [row["column"] for row in rows] == ["b", "d", "a", "c"]
    assert list(rows[0]) == ["column", "gain", "contribution", *(f"contribution_to_{label}" for label in CLASSES)]
    assert list(rows[0].values()) == ["b", "5", "0.666667", "2", "0", "0"]
    assert cells(told.text, "sad") == ["b (50.0 %)", "c (25.0 %)", "d (25.0 %)"]
    assert cells(told.text, "happy") == ["a (100.0 %)", "-", "-"] and cells(told.text, "calm") == ["-"] * 3
    assert cells(told.text, "d") == ["25.0 %"] and not re.search(r"^\| c +\|", told.text, re.MULTILINE)


def test_columns_without_importance_or_names(drawn, tmp_path):
    told, rows = explain_features(["a", "b"], np.zeros(2), "gain", np.zeros((1, 2)), ["sad"])
    assert "All features have zero gain" in told.text and cells(told.text, "sad") == ["-", "-"]
    assert rows[0] == {"column": "a", "gain": "0", "contribution": "0", "contribution_to_sad": "0"}
    told.draw(tmp_path, "title")
    assert list(drawn[0][1]) == [0, 0]
    with pytest.raises(ValueError, match="zip"):
        explain_features(["a"], np.ones(2), "gain", None, ["sad"])


# --- in a run's report


@pytest.fixture
def run():
    clips = {"id": ["a", "b"], "corpus": ["c"] * 2, "speaker": ["c_1", "c_2"], "gender": ["female"] * 2}
    clips |= {"intensity": [None] * 2, "label": [0, 1]}
    predictions = Predictions(clips, np.eye(3)[[0, 1]] * 0.7 + 0.1, CLASSES)
    scored = {"test": score_split(predictions, files=["p.parquet"])}
    results = make_results(scored, name="stack", model_type="LightGBM", dataset={"train_classes": list(CLASSES)})
    return results, {"test": [predictions]}


def test_the_explanation_stands_before_the_figures_and_its_own_are_among_them(run, tmp_path):
    told, _ = explain(EXPLAINED, fitted())
    write_run(tmp_path, *run, explanation=told)
    text = (tmp_path / "report.md").read_text()
    headings = re.findall("^## (.+)$", text, re.MULTILINE)
    assert headings == ["Scores on test (random)", "Contributions of the base models", "Figures", "Versions"]
    assert f"\n\n{told.text}\n\n## Figures\n" in text
    figures = re.findall(r"\]\((figures/.+?\.png)\)", text)
    assert figures[-1] == "figures/shares_of_bases.png" and len(figures) == 5
    assert all((tmp_path / name).stat().st_size > 1000 for name in figures)


def test_columns_are_drawn(tmp_path):
    told, _ = explain_features(["a", "b"], np.array([1.0, 3.0]), "gain", None, ())
    told.draw(tmp_path, "title")
    assert {path.name for path in tmp_path.iterdir()} == {"importances.png", "importances.svg"}


def test_nothing_is_drawn_where_figures_are_left_out(run, tmp_path):
    write_run(
        tmp_path, *run, explanation=Explanation("## Why\n\nBecause.", lambda folder, title: 1 / 0), figures=False
    )
    assert "\n\n## Why\n\nBecause.\n\n## Versions\n" in (tmp_path / "report.md").read_text()
    write_run(tmp_path, *run, figures=False)
    assert "## Why" not in (tmp_path / "report.md").read_text()

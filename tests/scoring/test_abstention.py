"""Abstention: the rule that chooses the threshold, what a model stores, and what is reported of it."""

import numpy as np
import pytest
from example_results import make_results
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

from hf_ser.arguments import ConfigError
from hf_ser.reporting.answered_clips import abstention_text
from hf_ser.results_file import check_results
from hf_ser.scoring import (
    AbstentionArguments,
    AbstentionRule,
    Predictions,
    ResultsError,
    choose_threshold,
    score_split,
    store_threshold,
    stored_threshold,
)
from hf_ser.scoring.abstention import describe_abstention
from hf_ser.scoring.bootstrap import ratio_interval
from hf_ser.scoring.corpus_mean import corpus_weights

LABELS = ("happy", "sad", "angry")


def rows(tops, classes=3):
    """Probabilities whose first class has these values."""
    tops = np.asarray(tops, dtype=float)
    return np.column_stack([tops, *[(1 - tops) / (classes - 1)] * (classes - 1)])


def brute_force(probabilities, label_ids, rule):
    """The coverage of the smallest threshold that follows the rule, by trying every one of them."""
    top, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == label_ids
    for threshold in sorted(set(top.tolist())):
        answered = top >= threshold
        if correct[answered].mean() >= rule.target_accuracy and answered.mean() >= rule.min_coverage:
            return answered
    return None


@settings(deadline=None, max_examples=60)
@given(
    tops=st.lists(st.sampled_from([0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]), min_size=1, max_size=40),
    seed=st.integers(0, 1000),
    target=st.sampled_from([0.5, 0.8, 1.0]),
    least=st.sampled_from([0.01, 0.2, 0.6]),
)
def test_the_threshold_is_the_smallest_that_follows_the_rule(tops, seed, target, least):
    probabilities = rows(tops)
    label_ids = np.random.default_rng(seed).integers(0, 2, len(tops))  # class 0 is always predicted
    rule = AbstentionRule(target, least)
    threshold, expected = choose_threshold(probabilities, label_ids, rule), brute_force(probabilities, label_ids, rule)
    if expected is None:
        assert threshold is None
        return
    np.testing.assert_array_equal(probabilities.max(axis=1) >= threshold, expected)
    assert 0 <= threshold < 1
    assert (threshold == 0) == bool(expected.all())


def test_the_threshold_lies_between_two_clips_so_that_rounding_changes_nothing():
    probabilities, label_ids = rows([0.9, 0.8, 0.6, 0.5]), np.array([0, 0, 1, 1])
    threshold = choose_threshold(probabilities, label_ids, AbstentionRule(1.0))
    assert threshold == pytest.approx(0.7)


def test_the_minimum_coverage_rules_out_a_threshold_that_a_single_clip_reaches():
    probabilities, label_ids = rows([0.95, *[0.5] * 9]), np.array([0, *[1] * 9])
    assert choose_threshold(probabilities, label_ids, AbstentionRule(0.8, 0.1)) == pytest.approx(0.725)
    assert choose_threshold(probabilities, label_ids, AbstentionRule(0.8, 0.2)) is None


def test_a_corpus_with_most_clips_does_not_decide_the_threshold_alone():
    """Eight sure and right clips of one corpus, and two of another, of which the less probable one is wrong."""
    probabilities, label_ids = rows([*[0.9] * 8, 0.8, 0.6]), np.array([0] * 9 + [1])
    rule = AbstentionRule(0.8, 0.2)
    assert choose_threshold(probabilities, label_ids, rule) == 0.0
    weights = corpus_weights(["tess"] * 8 + ["savee"] * 2)
    assert choose_threshold(probabilities, label_ids, rule, weights) == pytest.approx(
        0.7
    )  # with 0.6, 3 of 4 are right
    assert choose_threshold(probabilities, label_ids, AbstentionRule(0.75, 0.2), weights) == 0.0
    # The eight clips are half of the weight, not 80 % of the clips.
    wrong = np.array([0] * 8 + [1, 1])
    assert choose_threshold(probabilities, wrong, AbstentionRule(0.8, 0.51), weights) is None
    assert choose_threshold(probabilities, wrong, AbstentionRule(0.8, 0.5), weights) == pytest.approx(0.85)


@pytest.mark.parametrize("name", ["abstention_target_accuracy", "abstention_min_coverage"])
@pytest.mark.parametrize("value", [0.0, -0.5, 1.01, float("nan")])
def test_arguments_outside_of_their_range_are_rejected(name, value):
    with pytest.raises(ConfigError, match=f"{name} is .*; expected above 0 to 1"):
        AbstentionArguments(**{name: value}).check_abstention()


def test_arguments_give_the_rule():
    args = AbstentionArguments(abstention_target_accuracy=1.0, abstention_min_coverage=0.5)
    args.check_abstention()
    assert args.abstention_rule == AbstentionRule(1.0, 0.5)


# --- in a model -------------------------------------------------------------------------------------------------


def test_a_stored_threshold_survives_saving_and_changes_nothing_else(tiny_config, tmp_path):
    fields = {name: value for name, value in tiny_config.items() if name != "model_type"}
    model = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**fields))
    assert stored_threshold(model.config) is None
    store_threshold(model, None)
    assert "abstention_threshold" not in model.config.to_dict()
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    store_threshold(model, 0.625)
    model.save_pretrained(tmp_path)
    loaded = Wav2Vec2ForSequenceClassification.from_pretrained(tmp_path)
    assert stored_threshold(loaded.config) == 0.625
    assert all(before[name].equal(weights) for name, weights in loaded.state_dict().items())
    store_threshold(loaded, None)  # calibrated again, without reaching the target
    assert stored_threshold(loaded.config) is None


# --- reports ----------------------------------------------------------------------------------------------------


def predictions(tops, label_ids, speakers):
    number = len(tops)
    clips = {"id": [f"c/{i}" for i in range(number)], "corpus": ["c"] * number, "speaker": list(speakers)}
    clips |= {"gender": ["female"] * number, "intensity": [None] * number, "label": list(label_ids)}
    return Predictions(clips, rows(tops), LABELS)


RIGHT_WHEN_SURE = predictions([0.9, 0.8, 0.6, 0.5] * 2, [0, 0, 1, 0] * 2, ["a"] * 4 + ["b"] * 4)


def test_coverage_and_accuracy_are_those_of_the_answered_clips():
    found = describe_abstention([RIGHT_WHEN_SURE], [0.7], AbstentionRule())
    assert (found["threshold"], found["answered"], found["coverage"], found["accuracy"]) == (0.7, 4, 0.5, 1.0)
    assert found["interval"] == {
        "method": "clustered on speakers",
        "clusters": 2,
        "coverage": [0.5, 0.5],  # both speakers have the same clips
        "accuracy": [1.0, 1.0],
    }
    assert found["risk_coverage"] == {
        "coverage": [0.25, 0.5, 0.75, 1.0],
        "accuracy": pytest.approx([1.0, 1.0, 2 / 3, 0.75]),
        "threshold": [0.9, 0.8, 0.6, 0.5],
    }


def test_clips_of_several_models_have_a_threshold_each():
    found = describe_abstention([RIGHT_WHEN_SURE], [np.array([0.7] * 4 + [0.0] * 4)], None)
    assert (found["threshold"], found["coverage"], found["accuracy"]) == (None, 0.75, pytest.approx(5 / 6))


def test_without_a_threshold_only_the_curve_is_described():
    found = describe_abstention([RIGHT_WHEN_SURE] * 2, [0.7, None], AbstentionRule(0.99))
    named = ("threshold", "answered", "coverage", "accuracy", "interval")
    assert [found[name] for name in named] == [None] * 5 and len(found["risk_coverage"]["coverage"]) == 4
    assert abstention_text(found) == (
        "No threshold reaches an accuracy of 0.990 on at least 20 % of the validation clips."
    )


def test_a_threshold_that_no_clip_reaches():
    found = describe_abstention([RIGHT_WHEN_SURE], [0.99], AbstentionRule())
    assert (found["coverage"], found["accuracy"]) == (0.0, None)
    assert found["interval"]["accuracy"] == [None, None]
    text = abstention_text(found)
    assert "at the threshold 0.990 is 0.000" in text and "the accuracy on them -." in text


def test_unknown_speakers_give_intervals_over_clips():
    found = describe_abstention([predictions([0.9, 0.5, 0.4], [0, 0, 1], ["", "", ""])], [0.45], None)
    assert (found["interval"]["method"], found["interval"]["clusters"]) == ("plain", 3)


@pytest.mark.parametrize("threshold", [0.7, None, 0.99])
def test_results_follow_the_schema(threshold):
    described = describe_abstention([RIGHT_WHEN_SURE], [threshold], AbstentionRule())
    scored = score_split(RIGHT_WHEN_SURE, files=["p.parquet"], abstention=described)
    check_results(make_results({"test": scored}), "results.json")
    assert "abstention" not in score_split(RIGHT_WHEN_SURE, files=["p.parquet"])
    with pytest.raises(ResultsError, match="coverage"):
        wrong = scored | {"abstention": described | {"coverage": 1.5}}
        check_results(make_results({"test": wrong}), "results.json")


def test_the_interval_of_a_ratio_is_that_of_a_plain_loop():
    rng = np.random.default_rng(3)
    hits, answered, speakers = rng.random(60) < 0.5, rng.random(60) < 0.7, rng.integers(0, 6, 60)
    found = ratio_interval(hits & answered, answered, speakers)
    drawn = rng.integers(0, 6, (4000, 6))
    ratios = []
    for draw in drawn:
        picked = np.concatenate([np.flatnonzero(speakers == speaker) for speaker in draw])
        ratios.append((hits & answered)[picked].sum() / answered[picked].sum())
    assert found == pytest.approx(np.percentile(ratios, [2.5, 97.5]).tolist(), abs=0.03)

import numpy as np
import pytest
from sklearn import metrics as sk

from hf_ser.scoring import compare, intervals
from hf_ser.scoring.bootstrap import IntervalError, _confusions
from hf_ser.scoring.confusion_scores import confusion_scores


def _answers(rng, clips, accuracy, classes=4):
    """True classes, and predictions that are right with the given probability (per clip)."""
    label_ids = rng.integers(0, classes, clips)
    wrong = (label_ids + rng.integers(1, classes, clips)) % classes
    return label_ids, np.where(rng.random(clips) < accuracy, label_ids, wrong)


def _speakers(rng, speakers, clips_each, spread):
    """Speakers who differ in how well they are recognised."""
    accuracy = np.repeat(np.clip(rng.normal(0.6, spread, speakers), 0, 1), clips_each)
    label_ids, predicted = _answers(rng, speakers * clips_each, accuracy)
    return label_ids, predicted, np.repeat(np.arange(speakers), clips_each)


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_confusion_matrices_are_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    label_ids, predicted = _answers(rng, 60, 0.5)
    label_ids[label_ids == 3] = 0  # a class that is predicted but never true
    scores = {
        name: values[0]
        for name, values in confusion_scores(_confusions(label_ids, predicted, np.zeros(60), 4)).items()
    }
    present = np.unique(label_ids)
    assert scores["accuracy"] == pytest.approx(sk.accuracy_score(label_ids, predicted))
    assert scores["uar"] == pytest.approx(sk.recall_score(label_ids, predicted, labels=present, average="macro"))
    assert scores["f1_macro"] == pytest.approx(sk.f1_score(label_ids, predicted, labels=present, average="macro"))
    assert scores["f1_weighted"] == pytest.approx(
        sk.f1_score(label_ids, predicted, average="weighted", zero_division=0)
    )


def test_plain_intervals_cover_the_truth_as_often_as_they_claim():
    covered = 0
    for seed in range(200):
        label_ids, predicted = _answers(np.random.default_rng(seed), 150, 0.6)
        low, high = intervals(label_ids, predicted, None, 4, seed=seed)["accuracy"]
        covered += low <= 0.6 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_clustered_intervals_cover_the_truth_where_plain_ones_do_not():
    covered = {"plain": 0, "clustered": 0}
    for seed in range(200):
        label_ids, predicted, speakers = _speakers(np.random.default_rng(seed), 30, 20, 0.15)
        for name, clusters in (("plain", None), ("clustered", speakers)):
            low, high = intervals(label_ids, predicted, clusters, 4, seed=seed)["accuracy"]
            covered[name] += low <= 0.6 <= high
    assert 0.88 <= covered["clustered"] / 200 <= 0.99
    assert covered["plain"] / 200 < 0.85


def test_clustering_widens_the_interval_on_clustered_data():
    label_ids, predicted, speakers = _speakers(np.random.default_rng(0), 20, 40, 0.2)
    plain, clustered = (intervals(label_ids, predicted, clusters, 4) for clusters in (None, speakers))
    for name in ("accuracy", "uar"):
        assert clustered[name][1] - clustered[name][0] > 1.5 * (plain[name][1] - plain[name][0])
    assert (plain["method"], plain["clusters"]) == ("plain", 800)
    assert (clustered["method"], clustered["clusters"]) == ("clustered on speakers", 20)


def test_the_same_seed_gives_the_same_interval():
    label_ids, predicted, speakers = _speakers(np.random.default_rng(0), 8, 10, 0.1)
    assert intervals(label_ids, predicted, speakers, 4, seed=1) == intervals(label_ids, predicted, speakers, 4, seed=1)
    assert intervals(label_ids, predicted, speakers, 4, seed=1) != intervals(label_ids, predicted, speakers, 4, seed=2)


def test_one_speaker_gives_no_interval():
    label_ids, predicted = _answers(np.random.default_rng(0), 20, 0.5)
    assert intervals(label_ids, predicted, ["a"] * 20, 4)["uar"] == [None, None]
    with pytest.raises(IntervalError, match="two"):
        compare(label_ids, predicted, predicted, ["a"] * 20, 4)
    with pytest.raises(IntervalError, match="at least one"):
        intervals(label_ids[:0], predicted[:0], None, 4)


def test_the_paired_test_finds_a_planted_difference():
    rng = np.random.default_rng(0)
    label_ids, worse, speakers = _speakers(rng, 24, 20, 0.15)
    mended = rng.random(len(label_ids)) < 0.15
    better = np.where(mended, label_ids, worse)
    found = compare(label_ids, better, worse, speakers, 4)["accuracy"]
    assert found["significant"] and found["p_value"] < 0.01
    assert found["difference"] == pytest.approx((better == label_ids).mean() - (worse == label_ids).mean())
    assert found["interval"][0] <= found["difference"] <= found["interval"][1]


def test_the_paired_test_finds_none_where_there_is_none():
    false_alarms = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        label_ids, one, speakers = _speakers(rng, 24, 10, 0.1)
        flips = rng.random(len(label_ids)) < 0.3
        other = np.where(flips, _answers(rng, len(label_ids), 0.6)[1], one)
        third = np.where(flips, _answers(rng, len(label_ids), 0.6)[1], one)
        false_alarms += compare(label_ids, other, third, speakers, 4, seed=seed)["accuracy"]["significant"]
    assert false_alarms <= 12
    same = compare(label_ids, one, one, speakers, 4)["uar"]
    assert same["difference"] == 0 and not same["significant"] and same["p_value"] == 1

"""Scores of groups, and intervals over several seeds."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from hf_ser.scoring import Predictions, intervals
from hf_ser.scoring.bootstrap import intervals_over_seeds, point_scores
from hf_ser.scoring.confusion_scores import SCORES
from hf_ser.scoring.groups import GROUPINGS, score_groups

LABELS = ("neutral", "happy", "sad", "angry")
PEOPLE = {
    "ravdess_01": ("ravdess", "male", 0.9),
    "ravdess_02": ("ravdess", "female", 0.5),
    "ravdess_04": ("ravdess", "female", 0.4),
    "crema_d_1001": ("crema_d", "male", 0.7),
    "tess_OAF": ("tess", "female", 0.2),
}


def make_predictions(seed=0, people=tuple(PEOPLE), clips_each=24):
    """One run: who speaks how well recognised is planted in PEOPLE."""
    rng = np.random.default_rng(seed)
    rows = [(voice, *PEOPLE[voice], number) for voice in people for number in range(clips_each)]
    label_ids = np.array([number % 4 for *_, number in rows])
    right = rng.random(len(rows)) < np.array([accuracy for _, _, _, accuracy, _ in rows])
    predicted = np.where(right, label_ids, (label_ids + rng.integers(1, 4, len(rows))) % 4)
    clips = {
        "id": [f"{corpus}/{voice}-{number}" for voice, corpus, _, _, number in rows],
        "corpus": [corpus for _, corpus, _, _, _ in rows],
        "speaker": [voice for voice, *_ in rows],
        "gender": [gender for _, _, gender, _, _ in rows],
        "intensity": [
            ("normal", "strong", None)[number % 3] if corpus == "ravdess" else None for _, corpus, _, _, number in rows
        ],
        "language": ["de" if corpus == "tess" else "en" for _, corpus, *_ in rows],
        "label": label_ids.tolist(),
    }
    return Predictions(clips, np.eye(4)[predicted] * 0.6 + 0.1, LABELS)


# --- groups -----------------------------------------------------------------------------------------------------


def test_every_group_is_there_with_its_counts():
    found = score_groups([make_predictions()])
    assert list(found) == list(GROUPINGS)
    counts = {
        name: {key: (group["clips"], group["speakers"]) for key, group in grouping["groups"].items()}
        for name, grouping in found.items()
    }
    assert counts["corpus"] == {"crema_d": (24, 1), "ravdess": (72, 3), "tess": (24, 1)}
    assert counts["language"] == {"de": (24, 1), "en": (96, 4)}
    assert counts["gender"] == {
        "crema_d/male": (24, 1),
        "ravdess/female": (48, 2),
        "ravdess/male": (24, 1),
        "tess/female": (24, 1),
    }
    assert counts["speaker"] == {voice: (24, 1) for voice in sorted(PEOPLE)}
    assert counts["intensity"] == {"ravdess/normal": (24, 3), "ravdess/strong": (24, 3)}  # None is no intensity


@pytest.mark.parametrize("grouping", list(GROUPINGS))
def test_scores_are_scikit_learns(grouping):
    run = make_predictions()
    names = ("corpus", "language", "gender", "speaker", "intensity")
    clips = [dict(zip(names, values, strict=True)) for values in zip(*(run.clips[n] for n in names), strict=True)]
    for name, group in score_groups([run])[grouping]["groups"].items():
        rows = [row for row, clip in enumerate(clips) if GROUPINGS[grouping](clip) == name]
        label_ids, predicted = run.label_ids[rows], run.predicted[rows]
        assert group["scores"] == {
            "accuracy": pytest.approx(sk.accuracy_score(label_ids, predicted)),
            "uar": pytest.approx(sk.balanced_accuracy_score(label_ids, predicted)),
            "f1_weighted": pytest.approx(sk.f1_score(label_ids, predicted, average="weighted")),
            "f1_macro": pytest.approx(sk.f1_score(label_ids, predicted, average="macro", labels=np.unique(label_ids))),
        }


def test_one_language_is_no_grouping():
    found = score_groups([make_predictions(people=tuple(PEOPLE)[:4])])
    assert list(found) == [name for name in GROUPINGS if name != "language"]


def test_best_and_worst_go_by_uar():
    found = score_groups([make_predictions()])
    for grouping in found.values():
        uars = {name: group["scores"]["uar"] for name, group in grouping["groups"].items()}
        assert grouping["best"] == max(uars, key=uars.get) and grouping["worst"] == min(uars, key=uars.get)
    assert (found["speaker"]["best"], found["speaker"]["worst"]) == ("ravdess_01", "tess_OAF")


def test_best_by_uar_is_not_best_by_accuracy():
    # a: 9 of 10 right, none of the rare class; b: 7 of 10 right, half of both.
    label_ids = [0] * 9 + [1] + [0] * 5 + [1] * 5
    predicted = [0] * 9 + [0] + [0] * 4 + [1] + [1] * 3 + [0] * 2
    clips = {
        "id": list(map(str, range(20))),
        "corpus": ["a"] * 10 + ["b"] * 10,
        "speaker": list("xy" * 10),
        "gender": ["male"] * 20,
        "intensity": [None] * 20,
        "label": label_ids,
    }
    found = score_groups([Predictions(clips, np.eye(2)[predicted], ("neutral", "happy"))])["corpus"]
    accuracy = {name: group["scores"]["accuracy"] for name, group in found["groups"].items()}
    assert accuracy == {"a": 0.9, "b": pytest.approx(0.7)}
    assert (found["best"], found["worst"]) == ("b", "a")


def test_a_single_group_is_neither_best_nor_worst():
    found = score_groups([make_predictions(people=("tess_OAF",))])
    assert found["corpus"]["best"] is None and found["corpus"]["worst"] is None
    assert found["intensity"] == {"groups": {}, "best": None, "worst": None}


def test_one_speaker_has_no_interval_and_several_have_one_over_speakers():
    run = make_predictions()
    found = score_groups([run])
    for grouping in found.values():
        for group in grouping["groups"].values():
            assert (group["interval"] is None) == (group["speakers"] == 1)
    part = run.where("corpus", "ravdess")
    expected = intervals(part.label_ids, part.predicted, part.clips["speaker"], 4)["uar"]
    assert found["corpus"]["groups"]["ravdess"]["interval"] == expected


def test_unknown_gender_and_speaker_are_left_out():
    run = make_predictions(people=("ravdess_01", "ravdess_02"))
    blank = {"gender": ["", *run.clips["gender"][1:]], "speaker": ["", *run.clips["speaker"][1:]]}
    found = score_groups([Predictions({**run.clips, **blank}, run.probabilities, LABELS)])
    assert found["gender"]["groups"]["ravdess/male"]["clips"] == 23
    assert set(found["speaker"]["groups"]) == {"ravdess_01", "ravdess_02"}
    assert found["corpus"]["groups"]["ravdess"]["clips"] == 48


def test_a_null_speaker_is_left_out():
    run = make_predictions(people=("ravdess_01", "ravdess_02"))
    voices = {"speaker": [None, *run.clips["speaker"][1:]]}
    found = score_groups([Predictions({**run.clips, **voices}, run.probabilities, LABELS)])
    assert set(found["speaker"]["groups"]) == {"ravdess_01", "ravdess_02"}


def test_several_seeds_are_pooled_but_clips_count_once():
    runs = [make_predictions(seed) for seed in range(3)]
    found = score_groups(runs)
    for name, group in found["speaker"]["groups"].items():
        parts = [run.where("speaker", name) for run in runs]
        label_ids, predicted = (
            np.concatenate([getattr(part, side) for part in parts]) for side in ("label_ids", "predicted")
        )
        assert group["clips"] == 24 and group["speakers"] == 1 and group["interval"] is None
        assert group["scores"]["uar"] == pytest.approx(sk.balanced_accuracy_score(label_ids, predicted))
    assert found["corpus"]["groups"]["ravdess"]["clips"] == 72


def test_seeds_with_other_test_speakers_count_all_of_them():
    found = score_groups(
        [make_predictions(0, ("ravdess_01", "ravdess_02")), make_predictions(1, ("ravdess_02", "ravdess_04"))]
    )
    group = found["corpus"]["groups"]["ravdess"]
    assert (group["clips"], group["speakers"]) == (72, 3)


# --- intervals over seeds ---------------------------------------------------------------------------------------


def as_run(predictions, column="speaker"):
    return predictions.label_ids, predictions.predicted, predictions.clips[column]


@pytest.mark.parametrize("column", ["speaker", "id"])
def test_one_run_has_the_interval_of_a_hand_made_bootstrap(column):
    run = make_predictions()
    found = intervals_over_seeds([as_run(run, column)], 4, "clustered on speakers", seed=7)
    assert found == intervals(run.label_ids, run.predicted, run.clips[column], 4, seed=7)
    names = np.unique(run.clips[column])
    assert (found["clusters"], found["replicates"]) == (len(names), 2000)
    drawn = np.random.default_rng(7).multinomial(len(names), np.full(len(names), 1 / len(names)), size=2000)
    weights = drawn[:, np.searchsorted(names, run.clips[column])].astype(float)
    right = run.label_ids == run.predicted
    rows = masks(run.label_ids)
    recalls = [np.divide(weights[:, mask] @ right[mask], weights[:, mask].sum(axis=1)) for mask in rows]
    np.testing.assert_allclose(found["uar"], np.percentile(np.mean(recalls, axis=0), [2.5, 97.5]))
    accuracy = weights @ right / weights.sum(axis=1)
    np.testing.assert_allclose(found["accuracy"], np.percentile(accuracy, [2.5, 97.5]))


def masks(label_ids):
    return [label_ids == label for label in range(4)]


def test_plain_is_like_an_interval_over_ids():
    run = make_predictions()
    plain = intervals(run.label_ids, run.predicted, None, 4)
    over_ids = intervals_over_seeds([as_run(run, "id")], 4, "plain")
    assert plain["clusters"] == over_ids["clusters"] == len(run.label_ids)
    for name in SCORES:
        np.testing.assert_allclose(plain[name], over_ids[name], atol=0.02)


def test_the_same_run_twice_changes_nothing():
    run = as_run(make_predictions())
    assert intervals_over_seeds([run, run], 4, "x") == intervals_over_seeds([run], 4, "x")


def test_the_mean_over_two_seeds_lies_within():
    runs = [make_predictions(seed) for seed in range(2)]
    found = intervals_over_seeds([as_run(run) for run in runs], 4, "clustered on speakers")
    each = [point_scores(run.label_ids, run.predicted, 4) for run in runs]
    for name in SCORES:
        low, high = found[name]
        assert low < np.mean([scores[name] for scores in each]) < high


def test_a_draw_serves_all_runs():
    label_ids = np.arange(40) % 4
    voices = np.repeat(list("abcde"), 8)
    right = np.isin(voices, ["a", "b"])
    predicted = np.where(right, label_ids, (label_ids + 1) % 4)
    opposite = np.where(right, (label_ids + 1) % 4, label_ids)
    found = intervals_over_seeds([(label_ids, predicted, voices), (label_ids, opposite, voices)], 4, "x")
    # Whoever is drawn, one run is right where the other is wrong.
    assert found["accuracy"] == pytest.approx([0.5, 0.5])
    low, high = intervals(label_ids, predicted, voices, 4)["accuracy"]
    assert high - low > 0.5


def test_runs_are_joined_by_the_names_of_clusters_and_not_by_place():
    label_ids = np.arange(40) % 4
    voices = np.repeat(list("abcde"), 8)
    predicted = np.where(np.isin(voices, ["a", "b"]), label_ids, (label_ids + 1) % 4)
    order = np.random.default_rng(0).permutation(40)
    once = intervals_over_seeds([(label_ids, predicted, voices)], 4, "x")
    assert (
        intervals_over_seeds(
            [(label_ids, predicted, voices), (label_ids[order], predicted[order], voices[order])], 4, "x"
        )
        == once
    )


def test_seeds_with_other_test_speakers_are_drawn_together():
    runs = [make_predictions(0, ("ravdess_01", "ravdess_02")), make_predictions(1, ("ravdess_04", "tess_OAF"))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = intervals_over_seeds([as_run(run) for run in runs], 4, "clustered on speakers")
    assert found["clusters"] == 4
    each = [point_scores(run.label_ids, run.predicted, 4) for run in runs]
    for name in SCORES:
        low, high = found[name]
        assert 0 <= low < np.mean([scores[name] for scores in each]) < high <= 1


def test_one_speaker_over_all_seeds_has_no_interval():
    runs = [as_run(make_predictions(seed, ("tess_OAF",))) for seed in range(2)]
    found = intervals_over_seeds(runs, 4, "clustered on speakers")
    assert found["clusters"] == 1 and all(found[name] == [None, None] for name in SCORES)

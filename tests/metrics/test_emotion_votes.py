"""Scores against votes: closed forms, scipy and scikit-learn, and raters left out one by one."""

import re
from pathlib import Path

import evaluate
import numpy as np
import pytest
from scipy.spatial.distance import cosine, jensenshannon
from scipy.stats import entropy
from sklearn.metrics import balanced_accuracy_score, f1_score, top_k_accuracy_score

from hf_ser.metrics import EmotionVotes, emotion_votes

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)
VOTES = (
    RNG.multinomial(9, RNG.dirichlet(np.ones(5), 60).mean(axis=0), size=60) + np.eye(5, dtype=int)[np.arange(60) % 5]
)
PROBABILITIES = RNG.dirichlet(np.ones(5), 60)
SHARES = VOTES / VOTES.sum(axis=1, keepdims=True)


def compute(probabilities=PROBABILITIES, votes=VOTES, **options):
    return EmotionVotes(keep_in_memory=True).compute(predictions=probabilities, references=votes, **options)


def mean(function):
    return pytest.approx(np.mean([function(p, q) for p, q in zip(SHARES, PROBABILITIES, strict=True)]))


def test_distances_are_those_of_scipy():
    scores = compute()
    assert scores["jensen_shannon"] == mean(lambda p, q: jensenshannon(p, q, base=2) ** 2)
    assert scores["kl"] == mean(lambda p, q: entropy(p, q))
    assert scores["cosine"] == mean(lambda p, q: 1 - cosine(p, q))
    assert scores["brier"] == mean(lambda p, q: np.sum((p - q) ** 2))


def test_perfect_and_opposite_predictions_have_the_extreme_values():
    same = compute(SHARES)
    assert [same[name] for name in ("jensen_shannon", "kl", "brier")] == pytest.approx([0, 0, 0], abs=1e-12)
    assert same["cosine"] == pytest.approx(1) and same["all_inclusive_f1"] == same["majority"]["accuracy"] == 1
    shares = np.tile([0.9, 0.0, 0.1], (7, 1))  # rounding leaves no negative divergence
    assert compute(np.tile(shares.mean(axis=0), (7, 1)), shares * 10)["kl"] >= 0
    opposite = compute(np.eye(2)[[0, 1]], np.eye(2)[[1, 0]] * 4)
    assert opposite["jensen_shannon"] == pytest.approx(1) and opposite["brier"] == 2 and opposite["cosine"] == 0
    assert opposite["kl"] == pytest.approx(-np.log(1e-12)) and opposite["all_inclusive_f1"] == 0


def test_scores_against_the_majority_are_those_of_scikit_learn():
    scores, most = compute(), VOTES.max(axis=1, keepdims=True)
    unique = (most == VOTES).sum(axis=1) == 1
    won, predicted = VOTES.argmax(axis=1)[unique], PROBABILITIES.argmax(axis=1)[unique]
    assert scores["ties"] == (~unique).sum() > 0
    assert scores["majority"]["accuracy"] == pytest.approx((won == predicted).mean())
    assert scores["majority"]["uar"] == pytest.approx(balanced_accuracy_score(won, predicted))
    for average in ("weighted", "macro"):
        expected = f1_score(won, predicted, average=average, labels=np.unique(won))
        assert scores["majority"][f"f1_{average}"] == pytest.approx(expected)
    for k in (2, 3):
        expected = top_k_accuracy_score(won, PROBABILITIES[unique], k=k, labels=range(5))
        assert scores[f"top_{k}"] == pytest.approx(expected)
    for row in scores["by_agreement"]:
        kept = SHARES[unique].max(axis=1) >= row["threshold"] - 1e-9
        assert row["clips"] == kept.sum()
        assert row["accuracy"] == (pytest.approx((won == predicted)[kept].mean()) if kept.any() else None)


def test_the_all_inclusive_rule_is_macro_f1_of_shares_above_chance():
    expected = f1_score(SHARES > 1 / 5, PROBABILITIES > 1 / 5, average="macro", zero_division=0)
    assert compute()["all_inclusive_f1"] == pytest.approx(expected)
    # A class of exactly 1 / classes is not chosen: neither by two tied raters, nor by even probabilities.
    assert np.isnan(
        emotion_votes.all_inclusive_f1(
            emotion_votes.all_inclusive_counts(np.full((1, 2), 0.5), np.array([[2, 2]])).sum(axis=0)
        )
    )


def test_raters_are_left_out_one_by_one():
    table, sums = np.zeros((5, 5)), {"jensen_shannon": [], "cosine": [], "brier": []}
    for counts in VOTES:
        raters = np.repeat(np.arange(5), counts)
        of_clip = {name: [] for name in sums}
        for left_out in range(len(raters)):
            others = np.bincount(np.delete(raters, left_out), minlength=5)
            vote, shares = np.eye(5)[raters[left_out]], others / others.sum()
            if (others == others.max()).sum() == 1:
                table[others.argmax(), raters[left_out]] += 1 / len(raters)
            of_clip["jensen_shannon"].append(jensenshannon(vote, shares, base=2) ** 2)
            of_clip["cosine"].append(1 - cosine(vote, shares))
            of_clip["brier"].append(np.sum((vote - shares) ** 2))
        for name, values in of_clip.items():
            sums[name].append(np.mean(values))
    human = compute()["human"]
    np.testing.assert_allclose(emotion_votes.rater_confusion(VOTES).sum(axis=0), table, atol=1e-12)
    assert human["accuracy"] == pytest.approx(np.diag(table).sum() / table.sum())
    assert human["uar"] == pytest.approx(np.mean(np.diag(table) / table.sum(axis=1)))
    for name, values in sums.items():
        assert human[name] == pytest.approx(np.mean(values))


def test_raters_who_always_agree_and_never_agree():
    assert compute(np.eye(2), np.array([[5, 0], [0, 5]]))["human"]["accuracy"] == 1
    single = compute(np.eye(2), np.array([[1, 1], [1, 1]]))  # the other one always voted for the other class
    assert single["human"]["accuracy"] == 0 and single["majority"]["accuracy"] is None and single["top_2"] is None


def test_intended_and_perceived_classes_are_counted():
    scores = compute(np.eye(2), np.array([[3, 1], [4, 4]]), acted=[0, 1])
    assert scores["intended_perceived"] == [[3, 1], [4, 4]]
    assert scores["human_acted"]["accuracy"] == pytest.approx((0.75 + 0.5) / 2)
    assert "intended_perceived" not in compute(np.eye(2), np.array([[3, 1], [4, 4]]))


def test_clips_with_few_raters_are_left_out():
    scores = compute(np.eye(2), np.array([[3, 0], [1, 1]]), min_raters=3)
    assert (scores["clips"], scores["left_out"], scores["ties"]) == (1, 1, 0)
    assert compute(np.eye(2), np.array([[3, 0], [0, 0]]))["left_out"] == 1
    with pytest.raises(ValueError, match="no row has 4 votes"):
        compute(np.eye(2), np.array([[3, 0], [1, 1]]), min_raters=4)


@pytest.mark.parametrize(
    ("probabilities", "votes", "options", "message"),
    [
        (np.eye(2), [[3, 0]], {}, "must match|shape|Mismatch"),
        (np.eye(2), [[3, 0, 0], [1, 0, 0]], {}, r"predictions have shape \(2, 2\) and votes \(2, 3\)"),
        (np.eye(2), [[3, 0], [-1, 2]], {}, "1 rows have negative votes, first rows 1"),
        (np.eye(2), [[3, 0], [0.5, 2]], {}, "1 rows have votes that are not whole numbers, first rows 1"),
        (np.ones((2, 2)), [[3, 0], [1, 2]], {}, "2 rows have probabilities that do not sum to 1"),
        (np.eye(2), [[3, 0], [1, 2]], {"labels": ["sad"]}, r"2 columns; expected one for each of \['sad'\]"),
        (np.eye(2), [[3, 0], [1, 2]], {"acted": [0]}, "a class id for each of 2 clips"),
        (np.eye(2), [[3, 0], [1, 2]], {"acted": [0, 2]}, "1 rows have intended classes that are unknown"),
    ],
)
def test_invalid_input_is_told(probabilities, votes, options, message):
    with pytest.raises(ValueError, match=message):
        compute(probabilities, votes, **options)


def test_it_loads_by_path():
    loaded = evaluate.load(str(ROOT / "hf_ser/metrics/emotion_votes.py"), keep_in_memory=True)
    scores = loaded.compute(predictions=PROBABILITIES, references=VOTES)
    assert type(loaded) is not EmotionVotes and scores["brier"] == compute()["brier"]


def test_the_example_in_the_docs_runs(capsys):
    page = (ROOT / "docs/how-to/votes.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(example, {})
    shannon = np.mean([jensenshannon([0.7, 0.3], [0.8, 0.2], 2) ** 2, jensenshannon([0.25, 0.75], [0.4, 0.6], 2) ** 2])
    assert [float(word) for word in capsys.readouterr().out.split()] == pytest.approx([shannon, 1.0, 0.725])

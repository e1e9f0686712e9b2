import numpy as np
import pytest
from scipy import stats

from hf_ser.scoring import (
    SignificanceError,
    compare,
    detectable_difference,
    holm,
    intervals,
    is_equivalent,
    speakers_needed,
)
from hf_ser.scoring.bootstrap import _confusions, intervals_over_seeds
from hf_ser.scoring.confusion_scores import confusion_scores
from hf_ser.scoring.significance import exchanges, permutation_p_values


def _speakers_of_two_models(rng, speakers, clips=12, gap=0.0, spread=0.1):
    """True ids, the answers of two models whose accuracies differ by `gap`, and speakers."""
    names = np.repeat(np.arange(speakers), clips)
    level, bias = rng.normal(0.6, spread, speakers)[names], rng.normal(0.0, spread / 2, speakers)[names]
    label_ids = rng.integers(0, 3, speakers * clips)
    wrong = (label_ids + rng.integers(1, 3, len(label_ids))) % 3
    a, b = (
        np.where(rng.random(len(label_ids)) < np.clip(level + sign * (bias + gap) / 2, 0, 1), label_ids, wrong)
        for sign in (1, -1)
    )
    return label_ids, a, b, names


def _parts(label_ids, a, b, speakers):
    """One part with one run: (speakers, 1, 2, 3, 3)."""
    return np.stack([_confusions(label_ids, predicted, speakers, 3) for predicted in (a, b)], axis=1)[:, None]


def test_a_few_speakers_are_exchanged_in_every_way():
    rng = np.random.default_rng(0)
    parts = _parts(*_speakers_of_two_models(rng, 5, gap=0.2))

    def difference(exchanged):
        sides = np.where(exchanged[:, None, None, None], parts[:, 0, ::-1], parts[:, 0]).sum(axis=0)
        scores = confusion_scores(sides)["uar"]
        return scores[0] - scores[1]

    every = [difference(row) for row in exchanges(5)]
    expected = np.mean(np.abs(every) >= abs(difference(np.zeros(5, dtype=bool))) - 1e-12)
    assert permutation_p_values([parts], ["uar"])["uar"] == pytest.approx(expected)
    assert len(exchanges(5)) == 32 and len(np.unique(exchanges(5), axis=0)) == 32


def test_equal_models_have_a_p_value_of_1_and_a_seed_repeats_it():
    rng = np.random.default_rng(0)
    label_ids, a, b, speakers = _speakers_of_two_models(rng, 20, gap=0.1)
    assert permutation_p_values([_parts(label_ids, a, a, speakers)], ["uar"])["uar"] == 1.0
    parts = _parts(label_ids, a, b, speakers)
    assert permutation_p_values([parts], ["uar"], 1) == permutation_p_values([parts], ["uar"], 1)
    assert permutation_p_values([parts], ["uar"]) == pytest.approx(
        permutation_p_values([parts[:, :, ::-1]], ["uar"]), abs=0.02
    )


def test_the_permutation_test_rejects_as_often_as_it_claims():
    found = [
        permutation_p_values([_parts(*_speakers_of_two_models(np.random.default_rng(seed), 10))], ["uar"])["uar"]
        for seed in range(200)
    ]
    assert np.mean(np.array(found) <= 0.05) <= 0.09  # 5 % and chance
    assert 0.4 < np.mean(found) < 0.62


def test_holm_corrects_in_steps_and_keeps_the_order():
    assert holm([]) == []
    assert holm([0.2]) == [0.2]
    corrected = holm([0.04, 0.001, 0.03, 0.9])
    assert corrected == pytest.approx([0.09, 0.004, 0.09, 0.9])
    rng = np.random.default_rng(0)
    p_values = rng.random((2000, 5))
    any_rejected = [min(holm(row.tolist())) < 0.05 for row in p_values]
    assert 0.035 < np.mean(any_rejected) < 0.065  # the familywise error


def test_models_are_equivalent_only_if_the_interval_is_within_the_margin():
    assert is_equivalent([-0.019, 0.019], 0.02)
    assert not is_equivalent([-0.021, 0.001], 0.02) and not is_equivalent([-0.001, 0.021], 0.02)
    with pytest.raises(SignificanceError, match="margin is 0"):
        is_equivalent([0, 0], 0)


def test_equivalence_is_claimed_for_models_that_differ_by_the_margin_in_5_percent():
    rng = np.random.default_rng(0)
    claimed = []
    for _ in range(150):
        label_ids, a, b, speakers = _speakers_of_two_models(rng, 30, gap=0.1, spread=0.02)
        tested = compare(label_ids, a, b, speakers, 3)["accuracy"]
        claimed.append(is_equivalent(tested["interval_90"], 0.1))
    assert np.mean(claimed) <= 0.10


def test_power_agrees_with_simulation():
    """With the detectable difference as the true one, the paired test finds it in about 80 % of simulations."""
    speakers, spread, clips = 20, 0.08, 40
    rng = np.random.default_rng(0)

    def once(gap):
        label_ids, a, b, names = _speakers_of_two_models(rng, speakers, clips, gap, spread)
        return compare(label_ids, a, b, names, 3)["accuracy"]

    error = float(np.mean([once(0.0)["standard_error"] for _ in range(20)]))
    gap = detectable_difference(error, speakers)
    assert 0.68 <= np.mean([once(gap)["permutation_p"] < 0.05 for _ in range(150)]) <= 0.92


def test_detectable_differences_follow_the_t_distribution():
    factor = stats.t.ppf(0.975, 9) + stats.t.ppf(0.8, 9)
    assert detectable_difference(0.01, 10) == pytest.approx(0.01 * factor)
    assert detectable_difference(0.01, 10, power=0.9) > detectable_difference(0.01, 10)
    assert detectable_difference(0.0, 10) == 0.0
    for arguments in ((0.01, 1), (-0.1, 5), (float("nan"), 5)):
        with pytest.raises(SignificanceError, match="expected an error from 0"):
            detectable_difference(*arguments)
    with pytest.raises(SignificanceError, match="power 1"):
        detectable_difference(0.01, 5, power=1)


def test_the_number_of_speakers_needed_is_the_smallest_that_suffices():
    number = speakers_needed(0.015, 24, 0.03)
    for count, suffices in ((number, True), (number - 1, False)):
        assert (detectable_difference(0.015 * (24 / count) ** 0.5, count) <= 0.03) == suffices
    assert speakers_needed(0.015, 24, 0.015) == pytest.approx(4 * number, rel=0.05)
    with pytest.raises(SignificanceError, match="more than 100,000"):
        speakers_needed(0.5, 24, 1e-4)
    with pytest.raises(SignificanceError, match="expected one above 0"):
        speakers_needed(0.5, 24, 0)


def test_intervals_over_seeds_cover_new_trainings_only_if_seeds_are_drawn():
    """Every seed shifts all speakers; the interval of new speakers alone is too narrow for the mean of new seeds."""
    covered = {False: 0, True: 0}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        names = np.repeat(np.arange(24), 15)
        level = rng.normal(0.0, 0.03, 24)[names]
        label_ids = rng.integers(0, 3, len(names))
        runs = []
        for shift in rng.normal(0.0, 0.06, 8):
            right = rng.random(len(names)) < np.clip(0.6 + level + shift, 0, 1)
            runs.append((label_ids, np.where(right, label_ids, (label_ids + 1) % 3), names))
        for draw_seeds in covered:
            low, high = intervals_over_seeds(runs, 3, "", draw_seeds=draw_seeds)["accuracy"]
            covered[draw_seeds] += low <= 0.6 <= high
    assert covered[True] / 60 >= 0.85 > covered[False] / 60


def test_one_run_has_the_same_interval_with_and_without_drawn_seeds():
    label_ids, a, _, speakers = _speakers_of_two_models(np.random.default_rng(0), 8)
    plain = intervals(label_ids, a, speakers, 3)
    drawn = intervals_over_seeds([(label_ids, a, speakers)], 3, plain["method"], draw_seeds=True)
    assert drawn == plain

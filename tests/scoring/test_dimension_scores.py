"""Concordance of predicted dimensions, and its intervals."""

import numpy as np
import pytest

from hf_ser.scoring import PredictionsError
from hf_ser.scoring.dimension_scores import (
    DimensionPredictions,
    concatenate_dimensions,
    concordance,
    score_dimensions,
)


def table(true, predicted, speakers=None, dimensions=("arousal",)):
    ids = [f"own/{number}" for number in range(len(true))]
    speakers = [""] * len(ids) if speakers is None else list(speakers)
    clips = {
        "id": ids,
        "speaker": speakers,
        "corpus": ["own"] * len(ids),
        "gender": ids,
        "intensity": [None] * len(ids),
    }
    return DimensionPredictions(clips, dimensions, np.asarray(true, float), np.asarray(predicted, float))


def test_concordance_is_lins_coefficient():
    """Lin 1989: Pearson's correlation times the bias correction factor, here with population variances."""
    rng = np.random.default_rng(0)
    true = rng.normal(0.5, 0.2, (500, 1))
    predicted = 0.7 * true + 0.2 + rng.normal(0, 0.05, true.shape)
    pearson = np.corrcoef(true[:, 0], predicted[:, 0])[0, 1]
    ratio, shift = (
        true.std() / predicted.std(),
        (true.mean() - predicted.mean()) / np.sqrt(true.std() * predicted.std()),
    )
    assert concordance(true, predicted)[0] == pytest.approx(pearson * 2 / (ratio + 1 / ratio + shift**2))


@pytest.mark.parametrize(("predicted", "expected"), [([0.1, 0.5, 0.9], 1), ([0.9, 0.5, 0.1], -1), ([0.5] * 3, 0)])
def test_known_cases(predicted, expected):
    assert concordance(np.array([[0.1], [0.5], [0.9]]), np.array(predicted)[:, None])[0] == pytest.approx(expected)


def test_values_that_never_vary_have_concordance_0():
    assert concordance(np.full((5, 1), 0.3), np.full((5, 1), 0.3)).tolist() == [0.0]


def test_intervals_over_speakers_are_wider_if_speakers_differ():
    """Each speaker's predictions have an offset of their own."""
    rng = np.random.default_rng(1)
    speakers = np.repeat([f"s{number}" for number in range(10)], 20)
    true = rng.uniform(0, 1, (200, 2))
    predicted = true + np.repeat(rng.normal(0, 0.3, (10, 2)), 20, axis=0)
    scored = score_dimensions(table(true, predicted, speakers, ("arousal", "valence")), files=["test.parquet"])
    clustered, plain = scored["intervals"]
    assert (clustered["clusters"], plain["clusters"], scored["speakers"]) == (10, 200, 10)
    width = {each["method"]: each["ccc"][1] - each["ccc"][0] for each in (clustered, plain)}
    assert width["clustered on speakers"] > 1.5 * width["plain"]
    for each in (clustered, plain):
        assert each["per_dimension"]["valence"][0] < scored["per_dimension"]["valence"]["ccc"]


def test_unknown_speakers_have_an_interval_over_clips():
    scored = score_dimensions(table([[0.1], [0.4], [0.8]], [[0.2], [0.5], [0.7]]), files=["a.parquet"])
    assert [each["method"] for each in scored["intervals"]] == ["plain"] and scored["speakers"] is None
    assert scored["per_dimension"]["arousal"]["rmse"] == pytest.approx(0.1)
    alone = score_dimensions(table([[0.1], [0.4]], [[0.2], [0.5]], ["a", "a"]), files=["a.parquet"])
    assert alone["intervals"][0]["ccc"] == [None, None]


def test_values_without_a_number_are_refused():
    with pytest.raises(PredictionsError, match="1 clips without a number .own/1."):
        table([[0.1], [np.nan]], [[0.2], [0.5]])
    with pytest.raises(PredictionsError, match="expected .2, 1. for both"):
        table([[0.1], [0.2]], [[0.2, 0.5]] * 2)
    with pytest.raises(PredictionsError, match="at least one clip"):
        table(np.zeros((0, 1)), np.zeros((0, 1)))


def seeds_of(number, clips=120):
    """Predictions of the same clips by models with different seeds."""
    rng = np.random.default_rng(7)
    true = rng.uniform(0, 1, (clips, 2))
    speakers = np.repeat([f"s{index}" for index in range(10)], clips // 10)
    noise = [rng.normal(0, 0.1 * (seed + 1), true.shape) for seed in range(number)]
    return [table(true, true + error, speakers, ("arousal", "valence")) for error in noise]


def test_several_seeds_have_the_mean_of_their_scores():
    runs = seeds_of(3)
    each = [score_dimensions(run, files=["a.parquet"]) for run in runs]
    scored = score_dimensions(runs, files=["a.parquet", "b.parquet", "c.parquet"])
    assert "std" not in each[0] and scored["clips"] == each[0]["clips"]
    assert scored["clips_hash"] == each[0]["clips_hash"]
    values = [one["ccc"] for one in each]
    assert scored["ccc"] == pytest.approx(np.mean(values))
    assert scored["std"]["ccc"] == pytest.approx(np.std(values, ddof=1))
    for name in ("arousal", "valence"):
        rmse = [one["per_dimension"][name]["rmse"] for one in each]
        assert scored["per_dimension"][name]["rmse"] == pytest.approx(np.mean(rmse))
        assert scored["std"]["per_dimension"][name]["rmse"] == pytest.approx(np.std(rmse, ddof=1))


def test_intervals_over_seeds():
    """The same run twice has the interval of the run; drawing seeds, too, widens the interval of different runs."""
    (one,) = seeds_of(1)
    alone, twice = score_dimensions(one, files=["a"]), score_dimensions([one, one], files=["a", "b"])
    for single, double in zip(alone["intervals"], twice["intervals"], strict=False):
        assert single["method"] == double["method"] and single["ccc"] == pytest.approx(double["ccc"])
    clustered, _, with_seeds = score_dimensions(seeds_of(3), files=["a", "b", "c"])["intervals"]
    assert with_seeds["method"] == "clustered on speakers and seeds" and clustered["clusters"] == 10
    assert np.ptp(with_seeds["ccc"]) > 1.5 * np.ptp(clustered["ccc"])


def test_seeds_with_other_test_speakers_have_an_interval():
    """A protocol draws other test speakers for every seed; a draw of speakers may hold none of one seed."""
    first, second = seeds_of(2)
    renamed = {**second.clips, "speaker": [f"t{name}" for name in second.clips["speaker"]]}
    other = DimensionPredictions(renamed, second.dimensions, second.true, second.predicted)
    (clustered, *_) = score_dimensions([first, other], files=["a", "b"])["intervals"]
    assert clustered["clusters"] == 20 and clustered["ccc"][0] < clustered["ccc"][1]


def test_predictions_are_read_as_they_were_written(tmp_path):
    (one,) = seeds_of(1)
    one.write(tmp_path / "a.parquet")
    read = DimensionPredictions.read(tmp_path / "a.parquet")
    assert read.dimensions == one.dimensions and {**read.clips} == {**one.clips}
    np.testing.assert_array_equal(read.predicted, one.predicted)
    np.testing.assert_array_equal(read.true, one.true)
    both = concatenate_dimensions([read, one])
    assert len(both.true) == 2 * len(one.true) and both.clips["id"] == [*one.clips["id"]] * 2
    (tmp_path / "b.parquet").write_text("no table")
    with pytest.raises(PredictionsError, match="b.parquet cannot be read"):
        DimensionPredictions.read(tmp_path / "b.parquet")
    with pytest.raises(PredictionsError, match="arousal, valence and of arousal; expected the same"):
        concatenate_dimensions([one, table([[0.1]], [[0.2]])])

"""The map between dimensions and classes, on samples of known Gaussians."""

import json

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from hf_ser.scoring.calibration import reliability
from hf_ser.scoring.dimension_map import DimensionMap, DimensionMapError, fit_dimension_map, read_dimension_map
from hf_ser.scoring.results import write_json

LABELS = ("neutral", "happy", "sad", "angry")
DIMENSIONS = ("arousal", "valence")
MEANS = np.array([[0.45, 0.5], [0.65, 0.75], [0.3, 0.3], [0.7, 0.25]])
COVARIANCES = 0.012 * np.array(
    [[[0.8, 0.1], [0.1, 0.9]], [[1.2, 0.4], [0.4, 1.0]], [[0.7, -0.2], [-0.2, 1.1]], [[1.5, 0], [0, 0.6]]]
)
PRIORS = np.array([0.4, 0.3, 0.2, 0.1])


def draw(clips, seed):
    """Values and class ids of clips."""
    rng = np.random.default_rng(seed)
    ids = rng.choice(len(LABELS), clips, p=PRIORS)
    noise = rng.standard_normal((clips, 2))
    return MEANS[ids] + np.einsum("kij,kj->ki", np.linalg.cholesky(COVARIANCES)[ids], noise), ids


def true_posterior(values):
    densities = [multivariate_normal(mean, cov).pdf(values) for mean, cov in zip(MEANS, COVARIANCES, strict=True)]
    weighted = PRIORS * np.stack(densities, axis=1)
    return weighted / weighted.sum(axis=1, keepdims=True)


def fit(clips, seed=0):
    values, ids = draw(clips, seed)
    return fit_dimension_map(values, [LABELS[index] for index in ids], DIMENSIONS)


def in_order(fitted, values):
    """Probabilities in the order of `LABELS`."""
    return fitted.probabilities(values)[:, [fitted.labels.index(label) for label in LABELS]]


def test_the_posterior_of_known_gaussians_is_recovered():
    values, _ = draw(2000, seed=1)
    errors = [np.abs(in_order(fit(clips), values) - true_posterior(values)).mean() for clips in (200, 20_000)]
    assert errors[1] < 0.005 < errors[0] < 0.05  # more clips, closer to the truth


def test_the_parameters_are_recovered_and_the_temperature_is_one():
    fitted = fit(20_000)
    order = [fitted.labels.index(label) for label in LABELS]
    np.testing.assert_allclose(fitted.means[order], MEANS, atol=0.006)
    np.testing.assert_allclose(fitted.covariances[order], COVARIANCES, atol=0.001)
    np.testing.assert_allclose(fitted.priors[order], PRIORS, atol=0.01)
    assert fitted.temperature == pytest.approx(1, abs=0.03) and fitted.clips == 20_000


def test_a_map_of_few_clips_is_calibrated_on_new_clips():
    values, ids = draw(20_000, seed=2)
    assert reliability(in_order(fit(400), values), ids)["ece"] < 0.03
    shifted = values + [0.1, 0]  # of a model that is biased: the map of another model does not fit
    assert reliability(in_order(fit(400), shifted), ids)["ece"] > 0.05


def test_classes_give_the_expected_dimensions():
    """One class gives its mean; over many clips, the expected values have the mean of the values."""
    fitted = fit(20_000)
    np.testing.assert_allclose(fitted.expected(np.eye(4)), fitted.means)
    values, _ = draw(5000, seed=3)
    expected = fitted.expected(fitted.probabilities(values))
    correlations = [np.corrcoef(expected[:, column], values[:, column])[0, 1] for column in (0, 1)]
    np.testing.assert_allclose(expected.mean(axis=0), PRIORS @ MEANS, atol=0.01)
    assert min(correlations) > 0.6


def test_a_map_is_read_as_it_was_written(tmp_path):
    fitted, values = fit(300), draw(50, seed=4)[0]
    write_json(tmp_path / "map.json", fitted.describe())
    read = read_dimension_map(tmp_path / "map.json")
    np.testing.assert_array_equal(read.probabilities(values), fitted.probabilities(values))
    assert read.describe() == fitted.describe()


def test_few_clips_of_a_class_are_refused():
    values, labels = np.random.default_rng(0).uniform(size=(12, 2)), ["sad"] * 5 + ["happy"] * 5 + ["angry"] * 2
    with pytest.raises(DimensionMapError, match="too few clips of angry; expected at least 3 clips of each"):
        fit_dimension_map(values, labels, DIMENSIONS)
    with pytest.raises(DimensionMapError, match="clips of sad only"):
        fit_dimension_map(values[:5], labels[:5], DIMENSIONS)
    with pytest.raises(DimensionMapError, match="expected numbers of shape"):
        fit_dimension_map(np.full((10, 2), np.nan), labels[:10], DIMENSIONS)


def test_values_that_do_not_vary_have_a_density():
    fitted = fit_dimension_map(np.tile([0.2, 0.4], (8, 1)), ["sad"] * 4 + ["happy"] * 4, DIMENSIONS)
    np.testing.assert_allclose(fitted.probabilities([[0.2, 0.4]]), [[0.5, 0.5]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"priors": [0.5, 0.5, 0.5, 0.5]}, "sum of 1"),
        ({"means": [[0.1, 0.2]]}, "4 classes and 2 dimensions"),
        ({"covariances": [[[1, 0], [0, -1]]] * 4}, "positive definite"),
        ({"temperature": 0}, "temperature above 0"),
        ({"temperature": float("inf")}, "finite numbers"),
        ({"version": 2}, "has version 2"),
        ({"labels": None}, "cannot be read"),
    ],
)
def test_a_broken_file_is_refused(change, message, tmp_path):
    (tmp_path / "map.json").write_text(json.dumps(fit(300).describe() | change), encoding="utf-8")
    with pytest.raises(DimensionMapError, match=message):
        read_dimension_map(tmp_path / "map.json")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DimensionMapError, match="cannot be read .FileNotFoundError"):
        read_dimension_map(tmp_path / "nothing.json")


def test_no_class_of_a_map_is_without_a_prior():
    with pytest.raises(DimensionMapError, match="priors must be above 0"):
        DimensionMap(("arousal",), ("a", "b"), np.zeros((2, 1)), np.ones((2, 1, 1)), np.array([1.0, 0.0]))

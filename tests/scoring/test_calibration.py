"""Temperature scaling: what is fitted, what is stored in a model, and what is reported of it."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForAudioClassification, Wav2Vec2Config, Wav2Vec2ForSequenceClassification

from hf_ser.evaluation.split_scores import fit_calibration
from hf_ser.models import AudioCNNConfig, AudioCNNForAudioClassification, HybridConfig, HybridForAudioClassification
from hf_ser.remote_code.hybrid import LogLinear
from hf_ser.remote_code.hybrid_sources import describe_base
from hf_ser.scoring import (
    AbstentionRule,
    CalibrationError,
    apply_temperature,
    choose_threshold,
    fit_temperature,
    score,
    softmax,
    store_temperature,
    stored_temperature,
)
from hf_ser.scoring.calibration import describe_calibration, reliability
from hf_ser.scoring.corpus_mean import corpus_weights


def calibrated(clips=4000, classes=6, spread=1.5, seed=0):
    """Logits, and classes drawn from their softmax: no temperature but 1 fits better."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (clips, classes))
    label_ids = (softmax(logits).cumsum(axis=1) > rng.random((clips, 1))).argmax(axis=1)
    return logits, label_ids


def log_loss(probabilities, label_ids):
    return -np.log(probabilities[np.arange(len(label_ids)), label_ids]).mean()


# --- fitting ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("planted", [0.3, 1.0, 3.0, 6.0])
def test_a_planted_temperature_is_found(planted):
    logits, label_ids = calibrated()
    assert fit_temperature(softmax(logits * planted), label_ids) == pytest.approx(planted, rel=0.08)


def test_the_fit_is_the_best_of_a_grid():
    logits, label_ids = calibrated(300, seed=3)
    probabilities = softmax(logits * 2.5)
    best = fit_temperature(probabilities, label_ids)
    loss = log_loss(apply_temperature(probabilities, best), label_ids)
    for other in np.geomspace(0.1, 15, 60):
        assert loss <= log_loss(apply_temperature(probabilities, other), label_ids) + 1e-7


def test_a_corpus_with_most_clips_does_not_decide_the_temperature_alone():
    """Of an overconfident corpus of 2,000 clips and an underconfident one of 200, each decides half of the fit."""
    (large, large_ids), (small, small_ids) = calibrated(2000, seed=1), calibrated(200, seed=2)
    probabilities = softmax(np.concatenate([large * 3, small * 0.5]))
    label_ids, corpora = np.concatenate([large_ids, small_ids]), ["tess"] * 2000 + ["savee"] * 200
    weights = corpus_weights(corpora)
    assert weights[:2000].sum() == pytest.approx(weights[2000:].sum()) and weights.mean() == pytest.approx(1)
    found = fit_calibration(probabilities, label_ids, corpora, AbstentionRule()).temperature

    def loss(temperature):
        rows = apply_temperature(probabilities, temperature)
        return log_loss(rows[:2000], label_ids[:2000]) + log_loss(rows[2000:], label_ids[2000:])

    assert all(loss(found) <= loss(other) + 1e-7 for other in np.geomspace(0.1, 15, 60))
    assert found < fit_temperature(probabilities, label_ids) - 0.2
    # The same with distributions, of which one clip has none.
    targets = np.eye(6)[label_ids]
    targets[0] = np.nan
    again = fit_calibration(probabilities, label_ids, corpora, AbstentionRule(), targets).temperature
    assert again == pytest.approx(found, abs=0.02)


def test_one_corpus_is_fitted_without_weights():
    logits, label_ids = calibrated(300, seed=3)
    probabilities = softmax(logits * 2)
    found = fit_calibration(probabilities, label_ids, ["tess"] * 300, AbstentionRule(0.5))
    assert corpus_weights(["tess"] * 300) is None and found.temperature == fit_temperature(probabilities, label_ids)
    calibrated_rows = apply_temperature(probabilities, found.temperature)
    assert found.threshold == choose_threshold(calibrated_rows, label_ids, AbstentionRule(0.5))


@pytest.mark.parametrize(("right", "bound"), [(True, 0.05), (False, 20.0)], ids=["always-right", "always-wrong"])
def test_without_an_optimum_the_temperature_stays_within_bounds(right, bound):
    label_ids = np.arange(30) % 3
    rows = np.eye(3)[label_ids if right else (label_ids + 1) % 3] * 0.6 + 0.4 / 3
    assert fit_temperature(rows, label_ids) == pytest.approx(bound, rel=0.01)


def test_probabilities_of_exactly_0_and_1_are_fitted():
    rows = np.eye(3)[np.array([0, 1, 2, 0])]
    assert np.isfinite(fit_temperature(rows, np.array([0, 1, 2, 1])))


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0, 2.0, 20.0])
def test_no_temperature_changes_an_answer(temperature):
    probabilities = softmax(np.random.default_rng(0).normal(0, 8, (500, 8)))
    after = apply_temperature(probabilities, temperature)
    np.testing.assert_array_equal(after.argmax(axis=1), probabilities.argmax(axis=1))
    np.testing.assert_allclose(after.sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7, 3.0])
def test_the_inverse_undoes_it(temperature):
    logits = np.random.default_rng(0).normal(0, 2, (200, 8))
    before = softmax(logits)
    after = apply_temperature(before, temperature)
    np.testing.assert_allclose(after, softmax(logits / temperature), rtol=1e-9)
    np.testing.assert_allclose(apply_temperature(after, 1 / temperature), before, rtol=1e-9)


def test_what_is_applied_is_what_a_model_with_the_stored_temperature_gives():
    logits = np.array([[60.0, 0.0, 20.0], [0.0, 45.0, -10.0]])
    np.testing.assert_allclose(apply_temperature(softmax(logits), 4.0), softmax(logits / 4.0), atol=1e-5)


def test_calibration_lowers_the_log_loss_of_overconfident_predictions():
    logits, label_ids = calibrated(800, spread=1.0)
    other_logits, other_truth = calibrated(800, spread=1.0, seed=1)
    temperature = fit_temperature(softmax(logits * 4), label_ids)
    for its_logits, its_truth in ((logits, label_ids), (other_logits, other_truth)):
        before = softmax(its_logits * 4)
        after = apply_temperature(before, temperature)
        assert log_loss(after, its_truth) < log_loss(before, its_truth) - 0.3
        assert reliability(after, its_truth)["ece"] < reliability(before, its_truth)["ece"] / 3


# --- in a model -------------------------------------------------------------------------------------------------


@pytest.fixture
def model(tiny_config):
    torch.manual_seed(0)
    config = {key: value for key, value in tiny_config.items() if key != "model_type"}
    made = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**config, num_labels=5)).eval()
    nn.init.normal_(made.classifier.bias)  # which is 0 at first, so that nothing would show if it were passed over
    return made


def logits_of(model):
    with torch.no_grad():
        return model(torch.linspace(-1, 1, 3 * 2000).sin().reshape(3, 2000)).logits


def test_storing_divides_the_logits_and_notes_it(model):
    before = logits_of(model)
    assert stored_temperature(model.config) == 1.0
    store_temperature(model, 2.0)
    torch.testing.assert_close(logits_of(model), before / 2, rtol=0, atol=0)  # powers of two divide exactly
    assert model.config.calibration_temperature == stored_temperature(model.config) == 2.0
    assert all(parameter.requires_grad for parameter in model.classifier.parameters())


def test_storing_twice_multiplies(model):
    before = logits_of(model)
    store_temperature(model, 1.7)
    store_temperature(model, 0.6)
    torch.testing.assert_close(logits_of(model), before / (1.7 * 0.6), rtol=1e-5, atol=1e-6)
    assert stored_temperature(model.config) == pytest.approx(1.02)


def test_what_is_stored_survives_saving(model, tmp_path):
    before = logits_of(model)
    store_temperature(model, 2.5)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForAudioClassification.from_pretrained(tmp_path).eval()
    assert stored_temperature(loaded.config) == 2.5
    torch.testing.assert_close(logits_of(loaded), before / 2.5, rtol=1e-5, atol=1e-6)


def test_a_head_without_bias_is_divided(model):
    model.classifier = nn.Linear(16, 5, bias=False)
    before = logits_of(model)
    store_temperature(model, 4.0)
    torch.testing.assert_close(logits_of(model), before / 4, rtol=0, atol=0)


def test_a_hybrid_is_divided_and_normalised_and_notes_it(tmp_path):
    torch.manual_seed(0)
    base = AudioCNNForAudioClassification(
        AudioCNNConfig(channels=(4, 4), kernel_sizes=(5, 3), hidden_size=8, duration_s=0.3, num_labels=5)
    )
    rng = np.random.default_rng(0)
    head = LogLinear.from_weights(rng.normal(0, 2, (4, 4)), rng.normal(size=4))
    config = HybridConfig(
        sources=[{"name": "base", "model": describe_base(base.config)}],
        head="linear",
        classes=[0, 1, 3, 4],
        num_labels=5,
    )
    hybrid = HybridForAudioClassification.from_parts(config, [base.eval()], head)
    weights = {name: tensor.clone() for name, tensor in hybrid.state_dict().items()}
    before = logits_of(hybrid)
    assert stored_temperature(hybrid.config) == 1.0
    for factor, whole in ((2.5, 2.5), (8.0, 20.0)):  # storing twice multiplies; a class that it does not know stays so
        store_temperature(hybrid, factor)
        torch.testing.assert_close(logits_of(hybrid), torch.log_softmax(before / whole, dim=1), rtol=1e-4, atol=1e-5)
        assert hybrid.config.calibration_temperature == stored_temperature(hybrid.config) == whole
    probabilities = torch.softmax(before, dim=1).double().numpy()
    expected = apply_temperature(probabilities, 20.0)
    np.testing.assert_allclose(torch.softmax(logits_of(hybrid), dim=1), expected, rtol=0, atol=1e-5)
    assert expected[:, 2].max() < 1e-10
    assert all(torch.equal(weights[name], tensor) for name, tensor in hybrid.state_dict().items())
    hybrid.save_pretrained(tmp_path)
    loaded = AutoModelForAudioClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(logits_of(loaded), logits_of(hybrid), rtol=0, atol=0)


@pytest.mark.parametrize("head", [nn.Sequential(nn.Linear(16, 5)), None], ids=["sequential", "none"])
def test_another_head_is_refused_and_left_alone(model, head):
    if head is None:
        del model.classifier
    else:
        model.classifier = head
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(CalibrationError, match="Wav2Vec2ForSequenceClassification ends in .*linear layer"):
        store_temperature(model, 2.0)
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
    assert not hasattr(model.config, "calibration_temperature")


# --- reports ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharpness", [0.5, 1, 5])
def test_reliability_agrees_with_the_metric_and_with_a_plain_loop(sharpness):
    logits, label_ids = calibrated(300, classes=4, seed=5)
    probabilities = softmax(logits * sharpness)
    found = reliability(probabilities, label_ids)
    assert found["ece"] == pytest.approx(score(label_ids, probabilities, list("abcd"))["ece"], rel=1e-12)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == label_ids
    bins = [(confidence >= low / 15) & (confidence < (low + 1) / 15 + (low == 14)) for low in range(15)]
    filled = [rows for rows in bins if rows.any()]
    assert found["clips"] == [rows.sum() for rows in filled] and sum(found["clips"]) == 300
    np.testing.assert_allclose(found["confidence"], [confidence[rows].mean() for rows in filled])
    np.testing.assert_allclose(found["accuracy"], [right[rows].mean() for rows in filled])
    gap = sum(rows.sum() * abs(confidence[rows].mean() - right[rows].mean()) for rows in filled) / 300
    assert found["ece"] == pytest.approx(gap)


def test_certain_predictions_fall_into_the_last_bin():
    found = reliability(np.eye(3), np.array([0, 1, 1]))
    assert found == {"confidence": [1.0], "accuracy": [2 / 3], "clips": [3], "ece": pytest.approx(1 / 3)}


def test_before_and_after_are_told_apart():
    logits, label_ids = calibrated(1000)
    before = softmax(logits * 3)
    temperature = fit_temperature(before, label_ids)
    told = describe_calibration(apply_temperature(before, temperature), label_ids, temperature)
    assert told["temperature"] == temperature
    assert told["after"] == reliability(apply_temperature(before, temperature), label_ids)
    assert told["before"]["clips"] == reliability(before, label_ids)["clips"]
    np.testing.assert_allclose(told["before"]["confidence"], reliability(before, label_ids)["confidence"], rtol=1e-9)
    assert told["after"]["ece"] < told["before"]["ece"]


def test_without_calibration_both_are_the_same():
    logits, label_ids = calibrated(50)
    told = describe_calibration(softmax(logits), label_ids, 1.0)
    assert told["before"] == told["after"] == reliability(softmax(logits), label_ids)

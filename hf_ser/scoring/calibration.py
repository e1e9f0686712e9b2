"""Temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural Networks"), fitted on validation."""

from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from hf_ser.errors import SerError
from hf_ser.models import HybridForAudioClassification
from hf_ser.remote_code.pooled_head import PooledHead
from hf_ser.scoring.predictions import softmax

_BOUNDS = (0.05, 20.0)
_TINY = 1e-300  # keeps the logarithm of a zero probability finite


class CalibrationError(SerError):
    """A model that cannot store a temperature."""


def fit_temperature(probabilities: np.ndarray, label_ids: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The temperature that maximises the likelihood of validation clips; above 1, it lowers the confidence.

    Args:
        probabilities: (clips, classes) before calibration.
        label_ids: true class ids (clips,), or distributions over the classes (clips, classes), such as those of votes.
        weights: of the clips (clips,), such as those of `corpus_weights`; default: equal.

    >>> sure, label_ids = np.tile([0.99, 0.01], (10, 1)), np.array([0] * 7 + [1] * 3)  # right in 7 of 10 clips
    >>> temperature = fit_temperature(sure, label_ids)
    >>> apply_temperature(sure, temperature)[0].round(2).tolist()
    [0.7, 0.3]
    """
    from scipy.optimize import minimize_scalar

    logits = np.log(np.maximum(probabilities, _TINY))

    def loss(log_temperature: float) -> float:
        scaled = softmax(logits / np.exp(log_temperature))
        if label_ids.ndim == 2:
            return -float(np.average((label_ids * np.log(np.maximum(scaled, _TINY))).sum(axis=1), weights=weights))
        logs = np.log(np.maximum(scaled[np.arange(len(label_ids)), label_ids], _TINY))
        return -float(np.average(logs, weights=weights))

    found = minimize_scalar(loss, bounds=np.log(_BOUNDS), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logits of probabilities by the temperature; `1 / temperature` reverses it.

    >>> apply_temperature(np.array([[0.8, 0.2]]), 2.0).round(2).tolist()
    [[0.67, 0.33]]
    """
    return softmax(np.log(np.maximum(probabilities, _TINY)) / temperature)


def store_temperature(model: PreTrainedModel, temperature: float) -> None:
    """Divide a classifier's logits by the temperature and record it in its config: `calibration_temperature`.

    The weight and bias of the last, linear layer are divided, so that the architecture does not change and every
    program that loads the model is calibrated, including the standard pipeline. A hybrid divides by the value in its
    config.

    Raises:
        CalibrationError: the model is not a hybrid and has no linear layer named classifier.

    >>> from hf_ser.inference import load_classifier
    >>> model, extractor = load_classifier("runs/audio_cnn")
    >>> before = stored_temperature(model.config)
    >>> store_temperature(model, 2.0)
    >>> stored_temperature(model.config) / before
    2.0
    """
    if isinstance(model, HybridForAudioClassification):
        model.config.calibration_temperature = stored_temperature(model.config) * temperature
        return
    head = getattr(model, "classifier", None)
    head = head.output_layer if isinstance(head, PooledHead) else head
    if not isinstance(head, nn.Linear):
        raise CalibrationError(
            f"{type(model).__name__} ends in {type(head).__name__}; expected a linear layer named classifier. "
            "Pass --calibrate false."
        )
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.div_(temperature)
    model.config.calibration_temperature = stored_temperature(model.config) * temperature


def stored_temperature(config: Any) -> float:
    """The temperature of a calibrated model; 1 for an uncalibrated model.

    >>> from transformers import Wav2Vec2Config
    >>> stored_temperature(Wav2Vec2Config())
    1.0
    """
    return float(getattr(config, "calibration_temperature", None) or 1.0)


def reliability(probabilities: np.ndarray, label_ids: np.ndarray) -> dict[str, Any]:
    """Data of a reliability diagram: mean confidence, accuracy and clips of each non-empty bin, and the ECE."""
    from hf_ser.metrics.speech_emotion import confidence_bins  # here: it brings evaluate and scikit-learn

    clips, confidence, accuracy = confidence_bins(probabilities, label_ids == probabilities.argmax(axis=1))
    filled = clips > 0
    return {
        "confidence": confidence[filled].tolist(),
        "accuracy": accuracy[filled].tolist(),
        "clips": clips[filled].astype(int).tolist(),
        "ece": float((clips * np.abs(accuracy - confidence)).sum() / clips.sum()),
    }


def describe_calibration(probabilities: np.ndarray, label_ids: np.ndarray, temperature: float) -> dict[str, Any]:
    """Reliability before and after calibration.

    Args:
        probabilities: (clips, classes) of the calibrated model.
        label_ids: true class ids (clips,).
        temperature: of the model; 1 without calibration, when both are the same.
    """
    before = probabilities if temperature == 1 else apply_temperature(probabilities, 1 / temperature)
    return {
        "temperature": temperature,
        "before": reliability(before, label_ids),
        "after": reliability(probabilities, label_ids),
    }

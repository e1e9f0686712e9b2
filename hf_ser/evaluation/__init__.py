"""Predictions, results and figures of a run."""

from hf_ser.evaluation.classifier import CheckpointError, load_classifier, missing_weights
from hf_ser.evaluation.intervals import compare, intervals
from hf_ser.evaluation.plots import plot_confusion, plot_training_curves
from hf_ser.evaluation.predictions import softmax, write_predictions
from hf_ser.evaluation.results import score, score_split, versions, write_json

__all__ = [
    "CheckpointError",
    "compare",
    "intervals",
    "load_classifier",
    "missing_weights",
    "plot_confusion",
    "plot_training_curves",
    "score",
    "score_split",
    "softmax",
    "versions",
    "write_json",
    "write_predictions",
]

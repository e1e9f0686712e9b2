"""Scoring: the table of predictions, intervals, groups, calibration, and results.json with its schema."""

from hf_ser.results_file import ResultsError, read_results
from hf_ser.scoring.bootstrap import compare, intervals
from hf_ser.scoring.calibration import (
    CalibrationError,
    apply_temperature,
    fit_temperature,
    store_temperature,
    stored_temperature,
)
from hf_ser.scoring.predictions import Predictions, PredictionsError, read_predictions, restrict, softmax
from hf_ser.scoring.results import score, score_split, versions, write_json

__all__ = [
    "CalibrationError",
    "Predictions",
    "PredictionsError",
    "ResultsError",
    "apply_temperature",
    "compare",
    "fit_temperature",
    "intervals",
    "read_predictions",
    "read_results",
    "restrict",
    "score",
    "score_split",
    "softmax",
    "store_temperature",
    "stored_temperature",
    "versions",
    "write_json",
]

"""Scoring: the table of predictions, intervals, groups, calibration, and results.json with its schema."""

from hf_ser.results_file import ResultsError, read_results
from hf_ser.scoring.abstention import (
    AbstentionArguments,
    AbstentionRule,
    choose_threshold,
    store_threshold,
    stored_threshold,
)
from hf_ser.scoring.bootstrap import compare, intervals
from hf_ser.scoring.calibration import (
    CalibrationError,
    apply_temperature,
    fit_temperature,
    store_temperature,
    stored_temperature,
)
from hf_ser.scoring.dimension_map import DimensionMap, DimensionMapError, fit_dimension_map, read_dimension_map
from hf_ser.scoring.foreign_answers import write_answers
from hf_ser.scoring.predictions import Predictions, PredictionsError, read_predictions, restrict, softmax
from hf_ser.scoring.results import score, score_split, versions, write_json
from hf_ser.scoring.significance import (
    SignificanceError,
    detectable_difference,
    holm,
    is_equivalent,
    speakers_needed,
)

__all__ = [
    "AbstentionArguments",
    "AbstentionRule",
    "CalibrationError",
    "DimensionMap",
    "DimensionMapError",
    "Predictions",
    "PredictionsError",
    "ResultsError",
    "SignificanceError",
    "apply_temperature",
    "choose_threshold",
    "compare",
    "detectable_difference",
    "fit_dimension_map",
    "fit_temperature",
    "holm",
    "intervals",
    "is_equivalent",
    "read_dimension_map",
    "read_predictions",
    "read_results",
    "restrict",
    "score",
    "score_split",
    "softmax",
    "speakers_needed",
    "store_temperature",
    "store_threshold",
    "stored_temperature",
    "stored_threshold",
    "versions",
    "write_answers",
    "write_json",
]

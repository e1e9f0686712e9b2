"""The evaluation stage: predictions, scores with intervals, groups, calibration, reports and figures of a run."""

from hf_ser.evaluation.calibration import (
    CalibrationError,
    apply_temperature,
    fit_temperature,
    store_temperature,
    stored_temperature,
)
from hf_ser.evaluation.classifier import (
    CheckpointError,
    choose_device,
    label_names,
    load_classifier,
    missing_weights,
    quiet_loading,
    resolve_precision,
)
from hf_ser.evaluation.cross_validation import CrossValidationArguments, CrossValidationError, cross_validate
from hf_ser.evaluation.evaluate import EvaluateArguments, evaluate, file_beside, model_results
from hf_ser.evaluation.intervals import compare, intervals
from hf_ser.evaluation.predict import predict_logits
from hf_ser.evaluation.predictions import Predictions, PredictionsError, read_predictions, restrict, softmax
from hf_ser.evaluation.report import Explanation, summary, write_run
from hf_ser.evaluation.results import ResultsError, read_results, score, score_split, versions, write_json

__all__ = [
    "CalibrationError",
    "CheckpointError",
    "CrossValidationArguments",
    "CrossValidationError",
    "EvaluateArguments",
    "Explanation",
    "Predictions",
    "PredictionsError",
    "ResultsError",
    "apply_temperature",
    "choose_device",
    "compare",
    "cross_validate",
    "evaluate",
    "file_beside",
    "fit_temperature",
    "intervals",
    "label_names",
    "load_classifier",
    "missing_weights",
    "model_results",
    "predict_logits",
    "quiet_loading",
    "read_predictions",
    "read_results",
    "resolve_precision",
    "restrict",
    "score",
    "score_split",
    "softmax",
    "store_temperature",
    "stored_temperature",
    "summary",
    "versions",
    "write_json",
    "write_run",
]

"""Evaluating a model on clips: a split, recordings, a table of predictions, folds and seeds."""

from hf_ser.evaluation.cross_validation import CrossValidationArguments, CrossValidationError, cross_validate
from hf_ser.evaluation.model_evaluation import EvaluateArguments, evaluate
from hf_ser.evaluation.predict import predict_logits

__all__ = [
    "CrossValidationArguments",
    "CrossValidationError",
    "EvaluateArguments",
    "cross_validate",
    "evaluate",
    "predict_logits",
]

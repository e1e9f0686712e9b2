"""Evaluation: a model or predictions on a split or recordings, and cross-validation over folds and seeds."""

from hf_ser.evaluation.cross_validation import CrossValidationError, cross_validate
from hf_ser.evaluation.cross_validation_arguments import CrossValidationArguments
from hf_ser.evaluation.evaluate_arguments import EvaluateArguments
from hf_ser.evaluation.model_evaluation import evaluate
from hf_ser.evaluation.predict import predict_logits, predict_probabilities
from hf_ser.evaluation.training_jobs import TrainingJobError

__all__ = [
    "CrossValidationArguments",
    "CrossValidationError",
    "EvaluateArguments",
    "TrainingJobError",
    "cross_validate",
    "evaluate",
    "predict_logits",
    "predict_probabilities",
]

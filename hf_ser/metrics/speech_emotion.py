"""Scores of speech emotion recognition as one `evaluate` metric.

Self-contained, so that it also loads by path, offline: `evaluate.load("hf_ser/metrics/speech_emotion.py")`.
"""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support, roc_auc_score

if not hasattr(evaluate, "Metric"):
    raise ImportError(
        f"import evaluate found {evaluate.__file__} instead of the library evaluate, which the scores require. "
        "Rename that file, or start the program from another folder."
    )

_DESCRIPTION = (
    "Accuracy, weighted and macro precision, recall and F1, unweighted average recall (UAR, balanced accuracy), "
    "per-class scores, one-vs-rest ROC AUC, log loss, Brier score, expected calibration error and confusion matrix."
)
_INPUTS = """
Args:
    predictions: probabilities, one row per clip and one column per class.
    references: true class ids.
    labels: class names, in the order of the columns; default: the class ids as text.
Returns:
    accuracy, precision_, recall_ and f1_ with weighted and macro, uar, roc_auc_micro, roc_auc_macro, log_loss, brier,
    ece, per_class (name -> precision, recall, f1, support, roc_auc), confusion (rows are true classes) and absent
    (names of classes that no reference has). Macro averages and UAR run over the classes that occur in the references;
    scores that an absent class leaves undefined are None.
"""
_ECE_BINS = 15


class SpeechEmotion(evaluate.Metric):
    """Scores of probabilities: `compute(predictions=, references=, labels=)`, as for every metric of evaluate.

    >>> from hf_ser.metrics import SpeechEmotion
    >>> probabilities = [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]
    >>> scores = SpeechEmotion().compute(predictions=probabilities, references=[0, 1, 1], labels=["sad", "happy"])
    >>> round(scores["accuracy"], 3), scores["uar"], scores["confusion"]
    (0.667, 0.75, [[1, 0], [1, 1]])
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float64")),
                    "references": datasets.Value("int64"),
                }
            ),
            reference_urls=["https://scikit-learn.org/stable/modules/model_evaluation.html"],
        )

    def _compute(self, predictions: Any, references: Any, labels: Sequence[str] | None = None) -> dict[str, Any]:
        probabilities, truth = np.asarray(predictions, dtype=np.float64), np.asarray(references)
        _check(probabilities, truth, labels)
        names = [str(index) for index in range(probabilities.shape[1])] if labels is None else list(labels)
        predicted, every = probabilities.argmax(axis=1), np.arange(len(names))
        present = np.unique(truth)
        scores: dict[str, Any] = {"accuracy": float((truth == predicted).mean())}
        for average in ("weighted", "macro"):
            values = precision_recall_fscore_support(
                truth, predicted, labels=present, average=average, zero_division=0
            )
            scores |= {
                f"{name}_{average}": float(value)
                for name, value in zip(("precision", "recall", "f1"), values, strict=False)
            }
        scores["uar"] = scores["recall_macro"]
        one_hot = truth[:, None] == every
        areas = [_roc_auc(one_hot[:, index], probabilities[:, index]) for index in every]
        defined = [area for area in areas if area is not None]
        scores["roc_auc_micro"] = _roc_auc(one_hot.ravel(), probabilities.ravel())
        scores["roc_auc_macro"] = float(np.mean(defined)) if defined else None
        scores["log_loss"] = float(log_loss(truth, probabilities, labels=every))
        scores["brier"] = float(((probabilities - one_hot) ** 2).sum(axis=1).mean())
        scores["ece"] = _expected_calibration_error(probabilities, truth == predicted)
        columns = precision_recall_fscore_support(truth, predicted, labels=every, zero_division=0)
        scores["per_class"] = {
            name: {
                "precision": float(columns[0][index]),
                "recall": float(columns[1][index]),
                "f1": float(columns[2][index]),
                "support": int(columns[3][index]),
                "roc_auc": areas[index],
            }
            for index, name in enumerate(names)
        }
        scores["confusion"] = confusion_matrix(truth, predicted, labels=every).tolist()
        scores["absent"] = [name for index, name in enumerate(names) if index not in present]
        return scores


def _check(probabilities: np.ndarray, truth: np.ndarray, labels: Sequence[str] | None) -> None:
    """Raise `ValueError` that names the rows with invalid probabilities or an unknown class."""
    if probabilities.ndim != 2 or len(probabilities) == 0:
        raise ValueError(
            f"predictions have shape {probabilities.shape}; expected (clips, classes) with at least one clip"
        )
    if labels is not None and len(labels) != probabilities.shape[1]:
        raise ValueError(f"predictions have {probabilities.shape[1]} columns; expected one for each of {list(labels)}")
    for problem, bad in (
        ("not finite", ~np.isfinite(probabilities).all(axis=1)),
        ("negative", (probabilities < 0).any(axis=1)),
        ("not summing to 1", ~(np.abs(probabilities.sum(axis=1) - 1) < 1e-3)),
        ("of an unknown class", (truth < 0) | (truth >= probabilities.shape[1])),
    ):
        if bad.any():
            rows = ", ".join(map(str, np.flatnonzero(bad)[:5]))
            raise ValueError(f"{int(bad.sum())} rows are {problem}, first rows {rows}; expected probabilities")


def _roc_auc(positive: np.ndarray, scores: np.ndarray) -> float | None:
    return None if positive.all() or not positive.any() else float(roc_auc_score(positive, scores))


def confidence_bins(probabilities: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clips, mean confidence and accuracy in equal-width bins of the largest probability; 0 in bins without clips."""
    confidence = probabilities.max(axis=1)
    bins = np.minimum((confidence * _ECE_BINS).astype(int), _ECE_BINS - 1)
    clips = np.bincount(bins, minlength=_ECE_BINS)
    sums = [np.bincount(bins, weights=values, minlength=_ECE_BINS) for values in (confidence, correct)]
    return clips, sums[0] / np.maximum(clips, 1), sums[1] / np.maximum(clips, 1)


def _expected_calibration_error(probabilities: np.ndarray, correct: np.ndarray) -> float:
    """Mean difference between confidence and accuracy over the bins, weighted by clips (Guo et al. 2017)."""
    clips, confidence, accuracy = confidence_bins(probabilities, correct)
    return float((clips * np.abs(accuracy - confidence)).sum() / len(correct))

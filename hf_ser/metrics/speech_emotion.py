"""Scores of speech emotion recognition as one `evaluate` metric.

Self-contained, so that it also loads by path, without network: `evaluate.load("hf_ser/metrics/speech_emotion.py")`.
"""

from typing import Any

import datasets
import evaluate
import numpy as np
from sklearn.metrics import accuracy_score, precision_recall_fscore_support, recall_score

_DESCRIPTION = (
    "Accuracy, weighted and macro precision, recall and F1, and unweighted average recall (UAR, balanced accuracy) of "
    "predicted emotion classes."
)
_INPUTS = """
Args:
    predictions: predicted class ids.
    references: true class ids.
Returns:
    accuracy, precision_weighted, recall_weighted, f1_weighted, precision_macro, recall_macro, f1_macro, uar.
    Macro averages and UAR run over the classes that occur in the references.
"""


class SpeechEmotion(evaluate.Metric):
    """Scores over class ids; see `compute`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("int32"), "references": datasets.Value("int32")}
            ),
            reference_urls=["https://scikit-learn.org/stable/modules/model_evaluation.html"],
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        labels = np.unique(references)
        scores: dict[str, float] = {"accuracy": accuracy_score(references, predictions)}
        for average in ("weighted", "macro"):
            precision, recall, f1, _ = precision_recall_fscore_support(
                references, predictions, labels=labels, average=average, zero_division=0
            )
            scores |= {f"precision_{average}": precision, f"recall_{average}": recall, f"f1_{average}": f1}
        scores["uar"] = recall_score(references, predictions, labels=labels, average="macro", zero_division=0)
        return {name: float(score) for name, score in scores.items()}

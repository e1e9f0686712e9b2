"""Scores of the validation clips, and the one that selects the checkpoint."""

from collections.abc import Sequence

import numpy as np
from transformers import EvalPrediction

from hf_ser.data.splits import SplitData
from hf_ser.scoring import score, softmax
from hf_ser.scoring.corpus_mean import UAR_BY_CORPUS, uar_by_corpus
from hf_ser.scoring.selection import selection_score
from hf_ser.training.training_arguments import SerTrainingArguments

AUTO = "auto"


class ValidationScores:
    """Validation scores, under the names for `metric_for_best_model`; a class, so that it can be pickled for workers.

    Args:
        corpora: corpus of each validation clip, in the order of the evaluation.
    """

    def __init__(self, corpora: Sequence[str]) -> None:
        self.corpora = list(corpora)

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        """Score the logits of the validation clips."""
        logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
        probabilities, label_ids = softmax(np.asarray(logits)), np.asarray(prediction.label_ids)
        scores = score(label_ids, probabilities, [str(i) for i in range(probabilities.shape[1])])
        found = {name: value for name, value in scores.items() if isinstance(value, float)}
        if len(label_ids) != len(self.corpora):  # an evaluation on other clips, whose corpora are unknown
            return found
        return found | {UAR_BY_CORPUS: uar_by_corpus(label_ids, probabilities, self.corpora)}


def resolve_best_metric(args: SerTrainingArguments, data: SplitData) -> None:
    """Replace auto by the score that selects the checkpoint on these validation clips (see `selection_score`).

    >>> from hf_ser.data import DataArguments, load_splits
    >>> args = SerTrainingArguments("runs/new")
    >>> resolve_best_metric(args, load_splits(DataArguments("data/emotions")))  # of one corpus
    >>> args.metric_for_best_model
    'f1_weighted'
    """
    if args.metric_for_best_model == AUTO:
        args.metric_for_best_model = selection_score(data.splits["validation"]["corpus"])

"""The held-out clips that select the number of trees or the penalty of a meta-learner."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hf_ser.hybrids.folds import Fold
from hf_ser.scoring.corpus_mean import UAR_BY_CORPUS, uar_by_corpus
from hf_ser.scoring.selection import selection_score


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-probability of the true classes; probabilities are (clips, classes)."""
    return -float(np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-15)).mean())


def mean_loss(probabilities: np.ndarray, labels: np.ndarray, folds: Sequence[Fold]) -> float:
    """The mean over folds of the loss of their held-out clips."""
    return float(np.mean([log_loss(probabilities[fold.held_out], labels[fold.held_out]) for fold in folds]))


@dataclass(frozen=True)
class HeldOutClips:
    """The held-out clips of folds, and the score by which they select a setting (see `selection_score`).

    On one corpus it is the mean loss over the folds. On several it is the mean over corpora of the UAR on the clips of
    all folds together, since a fold need not have clips of every corpus.

    Args:
        labels: class ids (clips,), of all clips of the folds.
        corpora: corpus of each clip; empty if unknown, which counts as one corpus.
        folds: their held-out clips select.
    """

    labels: np.ndarray
    corpora: Sequence[str]
    folds: Sequence[Fold]

    @cached_property
    def rows(self) -> np.ndarray:
        """The clips that are held out in any fold."""
        return np.concatenate([fold.held_out for fold in self.folds])

    @cached_property
    def are_merged(self) -> bool:
        """Whether they are of several corpora."""
        return selection_score([self.corpora[row] for row in self.rows] if self.corpora else [], "") == UAR_BY_CORPUS

    def cost(self, probabilities: np.ndarray) -> float:
        """What the selected setting minimizes, for probabilities of all clips (clips, classes)."""
        if not self.are_merged:
            return mean_loss(probabilities, self.labels, self.folds)
        rows = self.rows
        return -uar_by_corpus(self.labels[rows], probabilities[rows], np.asarray(self.corpora)[rows].tolist())

    def described(self, best_cost: float) -> dict[str, Any]:
        """The score and its best value, for results.json; nothing for one corpus, whose loss is there anyway."""
        return {"best_metric": UAR_BY_CORPUS, "best_value": -best_cost} if self.are_merged else {}

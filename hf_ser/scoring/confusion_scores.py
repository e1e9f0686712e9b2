"""Accuracy, UAR and F1 of many confusion matrices at once."""

from collections.abc import Sequence

import numpy as np

SCORES = ("accuracy", "uar", "f1_weighted", "f1_macro")


def confusion_scores(confusions: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of confusion matrices; classes without clips are left out of means.

    Args:
        confusions: (matrices, true, predicted) counts.

    Returns:
        Score -> (matrices,); NaN for a matrix without clips.

    >>> confusion_scores(np.array([[[3.0, 1.0], [2.0, 2.0]]]))["uar"].tolist()
    [0.625]
    """
    hits = np.diagonal(confusions, axis1=1, axis2=2)
    support, predicted = confusions.sum(axis=2), confusions.sum(axis=1)
    recall = np.divide(hits, support, out=np.zeros_like(hits), where=support > 0)
    f1 = np.divide(2 * hits, support + predicted, out=np.zeros_like(hits), where=support + predicted > 0)
    present = support > 0
    total, classes = (np.where(count > 0, count, np.nan) for count in (support.sum(axis=1), present.sum(axis=1)))
    return {
        "accuracy": hits.sum(axis=1) / total,
        "uar": (recall * present).sum(axis=1) / classes,
        "f1_weighted": (f1 * support).sum(axis=1) / total,
        "f1_macro": (f1 * present).sum(axis=1) / classes,
    }


def mean_scores(parts: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Means over parts, such as corpora, of means over runs that have clips.

    Args:
        parts: for each part, confusion matrices (draws, runs, true, predicted); classes and runs differ between parts.

    Returns:
        Score -> (draws,).

    >>> right, wrong = np.diag([2.0, 2.0]), np.diag([2.0, 2.0])[::-1]
    >>> mean_scores([np.stack([right, wrong])[None], right[None, None]])["uar"].tolist()
    [0.75]
    """
    each = [[confusion_scores(part[:, run]) for run in range(part.shape[1])] for part in parts]
    return {
        name: np.mean([np.nanmean([scores[name] for scores in runs], axis=0) for runs in each], axis=0)
        for name in SCORES
    }

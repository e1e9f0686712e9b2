"""Scores of predicted emotions against the votes of several raters as one `evaluate` metric.

Self-contained, so that it also loads by path, offline: `evaluate.load("hf_ser/metrics/emotion_votes.py")`.
"""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

TIED = -1  # in place of a majority
_TINY = 1e-12  # probabilities below it count as it in logarithms

_DESCRIPTION = (
    "Distances between predicted probabilities and the distribution of votes (Jensen-Shannon divergence, "
    "Kullback-Leibler divergence, cosine similarity, Brier score), accuracy, UAR, F1, top-2 and top-3 accuracy "
    "against the majority of the raters, macro F1 by the all-inclusive rule, accuracy by agreement, and the scores of "
    "single raters against the others."
)
_INPUTS = """
Args:
    predictions: probabilities, one row per clip and one column per class.
    references: number of raters who voted for each class, one row per clip.
    labels: class names, in the order of the columns; default: the class ids as text.
    acted: class ids of the intended emotions; default: none.
    min_raters: clips with fewer raters are left out.
Returns:
    clips, left_out (clips with too few raters), ties (clips without a single most frequent class), raters and
    agreement (means over clips); jensen_shannon (in bits), kl (of the model from the votes, in nats), cosine and
    brier; top_2 and top_3; all_inclusive_f1; majority (accuracy, uar, f1_weighted, f1_macro); by_agreement (rows with
    threshold, clips, accuracy); human (the same scores of one rater against the others, see `rater_confusion`); and
    with acted, intended_perceived (votes by intended class, rows, and perceived class, columns) and human_acted
    (scores of one rater against the intended emotion). Scores that need a majority are None if no clip has one.
"""
THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of agreement


class EmotionVotes(evaluate.Metric):
    """Scores against votes: `compute(predictions=, references=, labels=, acted=)`, as for every metric of evaluate.

    >>> from hf_ser.metrics import EmotionVotes
    >>> probabilities, votes = [[0.9, 0.1], [0.5, 0.5]], [[9, 1], [2, 6]]
    >>> scores = EmotionVotes().compute(predictions=probabilities, references=votes, labels=["sad", "happy"])
    >>> round(scores["brier"], 4), scores["ties"], scores["majority"]["accuracy"]
    (0.0625, 0, 0.5)
    """

    def _info(self) -> evaluate.MetricInfo:
        numbers = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": numbers, "references": numbers}),
            reference_urls=["https://doi.org/10.1109/TAFFC.2024.3411290"],
        )

    def _compute(
        self,
        predictions: Any,
        references: Any,
        labels: Sequence[str] | None = None,
        acted: Sequence[int] | None = None,
        min_raters: int = 1,
    ) -> dict[str, Any]:
        probabilities, counts = np.asarray(predictions, dtype=np.float64), np.asarray(references, dtype=np.float64)
        intended = None if acted is None else np.asarray(acted)
        check_votes(probabilities, counts, labels, intended)
        kept = counts.sum(axis=1) >= max(min_raters, 1)
        if not kept.any():
            raise ValueError(f"no row has {max(min_raters, 1)} votes; expected clips with that many raters")
        probabilities, counts = probabilities[kept], counts[kept]
        won = majority(counts)
        scores: dict[str, Any] = {
            "clips": len(counts),
            "left_out": int((~kept).sum()),
            "ties": int((won == TIED).sum()),
            "raters": float(counts.sum(axis=1).mean()),
            "agreement": float(agreement(counts).mean()),
        }
        scores |= {name: float(values.mean()) for name, values in distances(probabilities, counts).items()}
        unique = won != TIED
        for number in (2, 3):
            hits = among_top(probabilities[unique], won[unique], number)
            scores[f"top_{number}"] = float(hits.mean()) if unique.any() else None
        scores["all_inclusive_f1"] = float(all_inclusive_f1(all_inclusive_counts(probabilities, counts).sum(axis=0)))
        size = counts.shape[1]
        predicted = probabilities.argmax(axis=1)
        scores["majority"] = scores_of(confusion(won[unique], predicted[unique], size))
        scores["by_agreement"] = accuracy_by_agreement(predicted, counts)
        scores["human"] = scores_of(rater_confusion(counts).sum(axis=0)) | human_distances(counts)
        if intended is not None:
            table = intended_perceived(intended[kept], counts).sum(axis=0)
            scores["intended_perceived"] = table.astype(int).tolist()
            shares = intended_perceived(intended[kept], counts / counts.sum(axis=1, keepdims=True))
            scores["human_acted"] = scores_of(shares.sum(axis=0))
        return scores


def check_votes(
    probabilities: np.ndarray, counts: np.ndarray, labels: Sequence[str] | None = None, acted: np.ndarray | None = None
) -> None:
    """Reject invalid probabilities and votes.

    Args:
        probabilities: (clips, classes).
        counts: votes (clips, classes).
        labels: class names.
        acted: class ids of the intended emotions (clips,).

    Raises:
        ValueError: shapes that do not fit, or the rows that are not probabilities or counts.
    """
    if probabilities.ndim != 2 or len(probabilities) == 0 or probabilities.shape != counts.shape:
        raise ValueError(
            f"predictions have shape {probabilities.shape} and votes {counts.shape}; expected (clips, classes) for "
            "both, with at least one clip"
        )
    size = probabilities.shape[1]
    whole = np.isfinite(counts) & (counts == np.rint(counts))
    if labels is not None and len(labels) != size:
        raise ValueError(f"predictions and votes have {size} columns; expected one for each of {list(labels)}")
    if acted is not None and acted.shape != (len(counts),):
        raise ValueError(f"acted has shape {acted.shape}; expected a class id for each of {len(counts)} clips")
    for problem, bad in (
        ("probabilities that are not finite", ~np.isfinite(probabilities).all(axis=1)),
        ("negative probabilities", (probabilities < 0).any(axis=1)),
        ("probabilities that do not sum to 1", ~(np.abs(probabilities.sum(axis=1) - 1) < 1e-3)),
        ("votes that are not whole numbers", ~whole.all(axis=1)),
        ("negative votes", (counts < 0).any(axis=1)),
        ("intended classes that are unknown", np.zeros(1, bool) if acted is None else (acted < 0) | (acted >= size)),
    ):
        if bad.any():
            rows = ", ".join(map(str, np.flatnonzero(bad)[:5]))
            expected = "probabilities and numbers of raters"
            raise ValueError(f"{int(bad.sum())} rows have {problem}, first rows {rows}; expected {expected}")


def majority(counts: np.ndarray) -> np.ndarray:
    """The class with the most votes (clips,); `TIED` where several classes have as many, or there are no votes.

    >>> majority(np.array([[3, 1], [2, 2], [0, 0]])).tolist()
    [0, -1, -1]
    """
    most = counts.max(axis=1, keepdims=True)
    return np.where((counts == most).sum(axis=1) == 1, counts.argmax(axis=1), TIED)


def agreement(counts: np.ndarray) -> np.ndarray:
    """Share of the raters who chose the most frequent class (clips,)."""
    return counts.max(axis=1) / counts.sum(axis=1)


def distances(probabilities: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Distances of each clip's probabilities from the distribution of its votes; every clip needs a vote.

    Args:
        probabilities: (clips, classes).
        counts: votes (clips, classes).

    Returns:
        jensen_shannon: divergence in bits, from 0 to 1 (Lin 1991). kl: divergence of the votes from the model in nats.
        cosine: similarity. brier: squared distance. Each is (clips,).

    >>> found = distances(np.array([[0.5, 0.5]]), np.array([[4, 0]]))
    >>> {name: round(float(values[0]), 3) for name, values in found.items()}
    {'jensen_shannon': 0.311, 'kl': 0.693, 'cosine': 0.707, 'brier': 0.5}
    """
    votes = counts / counts.sum(axis=1, keepdims=True)
    between = (votes + probabilities) / 2
    norms = np.linalg.norm(votes, axis=1) * np.linalg.norm(probabilities, axis=1)
    shannon = (_divergence(votes, between) + _divergence(probabilities, between)) / 2 / np.log(2)
    return {
        "jensen_shannon": np.minimum(shannon, 1.0),
        "kl": _divergence(votes, probabilities),
        "cosine": (votes * probabilities).sum(axis=1) / norms,
        "brier": ((votes - probabilities) ** 2).sum(axis=1),
    }


def _divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Kullback-Leibler divergence of q from p in nats, (clips, classes) -> (clips,)."""
    found = (p * (np.log(np.maximum(p, _TINY)) - np.log(np.maximum(q, _TINY)))).sum(axis=1)
    return np.maximum(found, 0.0)  # rounding may leave -1e-16


def among_top(probabilities: np.ndarray, class_ids: np.ndarray, number: int) -> np.ndarray:
    """Whether a class is among the `number` most probable ones (clips,); of equal ones, the first are."""
    return (np.argsort(-probabilities, axis=1, kind="stable")[:, :number] == class_ids[:, None]).any(axis=1)


def all_inclusive_counts(probabilities: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Hits, chosen and wanted classes of each clip by the all-inclusive rule (clips, 3, classes).

    No clip is left out: a clip has every class whose share of the votes is above 1 / classes, and a model chooses
    every class whose probability is (Chou et al. 2024, https://doi.org/10.1109/TAFFC.2024.3411290).
    """
    least = 1 / counts.shape[1]
    wanted, chosen = counts / counts.sum(axis=1, keepdims=True) > least, probabilities > least
    return np.stack([wanted & chosen, chosen, wanted], axis=1).astype(float)


def all_inclusive_f1(sums: np.ndarray) -> np.ndarray:
    """Sums of `all_inclusive_counts` (..., 3, classes) -> macro F1 over the classes that any clip has (...)."""
    hits, chosen, wanted = sums[..., 0, :], sums[..., 1, :], sums[..., 2, :]
    f1 = np.divide(2 * hits, chosen + wanted, out=np.zeros_like(hits), where=chosen + wanted > 0)
    present = wanted > 0
    number = np.where(present.any(axis=-1), present.sum(axis=-1), np.nan)
    return (f1 * present).sum(axis=-1) / number


def accuracy_by_agreement(predicted: np.ndarray, counts: np.ndarray) -> list[dict[str, Any]]:
    """Accuracy against the majority on clips whose agreement is at least a threshold, without ties."""
    won, shares = majority(counts), agreement(counts)
    rows = []
    for threshold in THRESHOLDS:
        kept = (won != TIED) & (shares >= threshold - 1e-9)
        accuracy = float((predicted[kept] == won[kept]).mean()) if kept.any() else None
        rows.append({"threshold": threshold, "clips": int(kept.sum()), "accuracy": accuracy})
    return rows


def rater_confusion(counts: np.ndarray) -> np.ndarray:
    """Each rater against the majority of the others: (clips, majority of the others, vote of the rater).

    Each rater of a clip is left out once, which needs only the counts: the raters of one class are alike. A clip has
    the weight 1, divided among its raters; raters whose others are tied are left out, as a model's tied clips are.

    >>> rater_confusion(np.array([[2, 1]])).tolist()  # two see 1 : 1, the third sees 2 : 0
    [[[0.0, 0.3333333333333333], [0.0, 0.0]]]
    """
    clips, size = counts.shape
    table = np.zeros((clips, size, size))
    weights = counts / counts.sum(axis=1, keepdims=True)
    for vote in range(size):
        others = counts - np.eye(size)[vote]
        won = majority(others)
        rows = np.flatnonzero((counts[:, vote] > 0) & (won != TIED))
        table[rows, won[rows], vote] += weights[rows, vote]
    return table


def human_distances(counts: np.ndarray) -> dict[str, float | None]:
    """Mean distances of one rater's vote from the distribution of the others, as in `distances`.

    A single vote is a distribution with one class. The divergence of Kullback and Leibler from it is infinite and left
    out. Clips with one rater are left out.
    """
    found = rater_distances(counts)
    return {name: float(values.mean()) if len(values) else None for name, values in found.items()}


def rater_distances(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Distances of one rater from the others, the mean over the raters of each clip with at least two (clips,)."""
    counts = counts[counts.sum(axis=1) >= 2]
    sums = {name: np.zeros(len(counts)) for name in ("jensen_shannon", "cosine", "brier")}
    for vote, alone in enumerate(np.eye(counts.shape[1])):
        rows = np.flatnonzero(counts[:, vote] > 0)
        found = distances(np.tile(alone, (len(rows), 1)), counts[rows] - alone)
        for name, values in sums.items():
            values[rows] += found[name] * counts[rows, vote] / counts[rows].sum(axis=1)
    return sums


def intended_perceived(acted: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Votes by intended and perceived class (clips, intended, perceived)."""
    table = np.zeros((*counts.shape, counts.shape[1]))
    table[np.arange(len(counts)), acted] = counts
    return table


def confusion(references: np.ndarray, predicted: np.ndarray, size: int) -> np.ndarray:
    """Number of clips by reference and prediction (classes, classes)."""
    table = np.zeros((size, size))
    np.add.at(table, (references, predicted), 1)
    return table


def scores_of(table: np.ndarray) -> dict[str, float | None]:
    """Accuracy, UAR and F1 of a confusion matrix, whose cells may be weights; None if it is empty."""
    if not table.sum():
        return dict.fromkeys(("accuracy", "uar", "f1_weighted", "f1_macro"))
    hits, support, predicted = np.diagonal(table), table.sum(axis=1), table.sum(axis=0)
    present = support > 0
    recall = hits[present] / support[present]
    f1 = 2 * hits[present] / (support + predicted)[present]
    return {
        "accuracy": float(hits.sum() / table.sum()),
        "uar": float(recall.mean()),
        "f1_weighted": float((f1 * support[present]).sum() / support.sum()),
        "f1_macro": float(f1.mean()),
    }

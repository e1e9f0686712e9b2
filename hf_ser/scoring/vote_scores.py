"""Scores of predictions against the votes of raters, and of single raters against the others, with intervals."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hf_ser.scoring.bootstrap import CLUSTERED, PLAIN, resampled_bounds
from hf_ser.scoring.confusion_scores import confusion_scores
from hf_ser.scoring.predictions import VOTES, Predictions
from hf_ser.scoring.votes import MIN_RATERS, vote_counts

_Scored = dict[str, dict[str, Any]]  # score -> value and interval


def describe_votes(runs: Sequence[Predictions]) -> dict[str, Any] | None:
    """Score against votes, for results.json; None if no clip has votes of enough raters.

    Clips with fewer than `MIN_RATERS` raters are left out. A clip has a majority if one class has more votes than
    every other one; scores against the majority leave out the others, and those against votes do not.

    Args:
        runs: predictions of one run, or of several with different seeds, which are pooled.
    """
    if not any(any(run.clips.get(VOTES, ())) for run in runs):
        return None
    clips = _Clips(runs)
    if not len(clips.ids):
        return None
    from hf_ser.metrics import emotion_votes as metric  # here: it imports evaluate

    first = np.unique(clips.ids, return_index=True)[1]  # each clip once, not once per seed
    counts, won = clips.counts[first], metric.majority(clips.counts[first])
    return {
        "min_raters": MIN_RATERS,
        "clips": len(first),
        "left_out": len({clip for run in runs for clip in run.clips["id"]}) - len(first),
        "ties": int((won == metric.TIED).sum()),
        "raters": float(counts.sum(axis=1).mean()),
        "agreement": float(metric.agreement(counts).mean()),
        "method": CLUSTERED if clips.by_speaker else PLAIN,
        "clusters": len(set(clips.clusters.tolist())),
        "model": {
            "votes": _against_votes(clips),
            "majority": _against_majority(clips),
            "acted": _against_acted(clips),
        },
        "rater": _of_raters(clips),
        "majority": {"acted": _majority_against_acted(clips)},
        "chance": _of_a_fixed_answer(clips),
        "by_agreement": _by_agreement(clips),
        "intended_perceived": metric.intended_perceived(clips.acted[first], counts).sum(axis=0).astype(int).tolist(),
    }


class _Clips:
    """The clips with votes of enough raters, of all runs: one row per clip and run."""

    def __init__(self, runs: Sequence[Predictions]) -> None:
        self.by_speaker = any(any(run.clips["speaker"]) for run in runs)
        parts = []
        for run in runs:
            counts = vote_counts(run.clips.get(VOTES, [None] * len(run.label_ids)), run.labels)
            clusters = run.clusters if self.by_speaker else run.clips["id"]
            columns = (counts, run.probabilities, run.label_ids, np.asarray(clusters), np.asarray(run.clips["id"]))
            rows = counts.sum(axis=1) >= MIN_RATERS
            parts.append([column[rows] for column in columns])
        joined = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
        self.counts, self.probabilities, self.acted, self.clusters, self.ids = joined
        self.predicted, self.size = self.probabilities.argmax(axis=1), self.counts.shape[1]


def _scored(
    parts: np.ndarray, clusters: np.ndarray, statistic: Callable[[np.ndarray], Mapping[str, np.ndarray]]
) -> _Scored:
    """Scores of the sums of `parts` over all clips, with their intervals."""
    values = statistic(parts.sum(axis=0, keepdims=True))
    bounds = resampled_bounds(parts, clusters.tolist(), statistic)
    return {
        name: {"value": None if np.isnan(value[0]) else float(value[0]), "interval": bounds[name]}
        for name, value in values.items()
    }


def _means(values: Mapping[str, np.ndarray], clusters: np.ndarray) -> _Scored:
    """Means over clips of values (clips,)."""
    parts = np.stack([*values.values(), np.ones(len(clusters))], axis=1)

    def mean(sums: np.ndarray) -> dict[str, np.ndarray]:
        number = np.where(sums[:, -1] > 0, sums[:, -1], np.nan)
        return {name: sums[:, index] / number for index, name in enumerate(values)}

    return _scored(parts, clusters, mean)


def _confused(references: np.ndarray, predicted: np.ndarray, clips: _Clips, rows: np.ndarray) -> _Scored:
    """Accuracy, UAR and F1 of class ids on these rows."""
    parts = np.zeros((len(rows), clips.size, clips.size))
    parts[np.arange(len(rows)), references[rows], predicted[rows]] = 1
    return _scored(parts, clips.clusters[rows], confusion_scores)


def _against_votes(clips: _Clips) -> _Scored:
    from hf_ser.metrics import emotion_votes as metric

    distances = _means(metric.distances(clips.probabilities, clips.counts), clips.clusters)
    parts = metric.all_inclusive_counts(clips.probabilities, clips.counts)
    inclusive = _scored(
        parts, clips.clusters, lambda sums: {"all_inclusive_f1": np.asarray(metric.all_inclusive_f1(sums))}
    )
    return distances | inclusive


def _against_majority(clips: _Clips) -> _Scored:
    from hf_ser.metrics import emotion_votes as metric

    won = metric.majority(clips.counts)
    rows = np.flatnonzero(won != metric.TIED)
    tops = {f"top_{n}": metric.among_top(clips.probabilities[rows], won[rows], n) for n in (2, 3)}
    return _confused(won, clips.predicted, clips, rows) | _means(tops, clips.clusters[rows])


def _against_acted(clips: _Clips) -> _Scored:
    return _confused(clips.acted, clips.predicted, clips, np.arange(len(clips.ids)))


def _majority_against_acted(clips: _Clips) -> _Scored:
    from hf_ser.metrics import emotion_votes as metric

    won = metric.majority(clips.counts)
    return _confused(clips.acted, won, clips, np.flatnonzero(won != metric.TIED))


def _of_raters(clips: _Clips) -> dict[str, _Scored]:
    """One rater against the votes and the majority of the others, and against the intended emotion."""
    from hf_ser.metrics import emotion_votes as metric

    shares = clips.counts / clips.counts.sum(axis=1, keepdims=True)
    return {
        "votes": _means(metric.rater_distances(clips.counts), clips.clusters),
        "majority": _scored(metric.rater_confusion(clips.counts), clips.clusters, confusion_scores),
        "acted": _scored(metric.intended_perceived(clips.acted, shares), clips.clusters, confusion_scores),
    }


def _of_a_fixed_answer(clips: _Clips) -> dict[str, _Scored]:
    """What a model scores that answers every clip with the mean distribution of these clips' votes."""
    from hf_ser.metrics import emotion_votes as metric

    shares = (clips.counts / clips.counts.sum(axis=1, keepdims=True)).mean(axis=0)
    won = metric.majority(clips.counts)
    rows = np.flatnonzero(won != metric.TIED)
    largest = np.bincount(won[rows], minlength=clips.size).argmax()
    return {
        "votes": _means(metric.distances(np.tile(shares, (len(clips.ids), 1)), clips.counts), clips.clusters),
        "majority": _means({"accuracy": won[rows] == largest}, clips.clusters[rows]),
    }


def _by_agreement(clips: _Clips) -> list[dict[str, Any]]:
    """Accuracy on clips with at least some agreement, without ties: against the majority and against the label."""
    from hf_ser.metrics import emotion_votes as metric

    won, shares = metric.majority(clips.counts), metric.agreement(clips.counts)
    found = []
    for threshold in metric.THRESHOLDS:
        rows = np.flatnonzero((won != metric.TIED) & (shares >= threshold - 1e-9))
        hits = {name: clips.predicted[rows] == of[rows] for name, of in (("majority", won), ("acted", clips.acted))}
        found.append(
            {
                "threshold": threshold,
                "clips": len(set(clips.ids[rows].tolist())),
                **_means(hits, clips.clusters[rows]),
            }
        )
    return found

"""Differences between groups of clips: gaps in UAR with intervals, the worst group, and equalised odds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hf_ser.scoring.bootstrap import difference_interval, point_scores
from hf_ser.scoring.groups import GROUPINGS, group_names
from hf_ser.scoring.predictions import Predictions

_WITHIN_CORPUS = ("gender", "intensity")  # whose groups are compared within a corpus


def score_fairness(runs: Sequence[Predictions]) -> dict[str, Any]:
    """Compare the groups of each grouping with at least two groups.

    Genders and intensities are compared within each corpus, under names such as `gender/ravdess`. All groups are
    scored over the classes that all of them have. The equalised-odds difference (Hardt et al. 2016,
    https://arxiv.org/abs/1610.02413) is the largest difference between two groups in the true-positive or the
    false-positive rate of a class.

    Args:
        runs: predictions of the same clips, one per seed, which are pooled.

    Returns:
        Name -> `{"classes", "groups", "best", "worst", "gap", "interval", "equalized_odds_difference",
        "one_speaker"}`: group -> UAR; the gap of best minus worst, and its 95 % interval clustered on speakers, None
        if one of the two has a single speaker; the groups that have one. Groupings without a common class are absent.
    """
    names = ("id", "corpus", "language", "gender", "speaker", "intensity")
    clips = {
        name: [value for run in runs for value in run.clips.get(name, [None] * len(run.clips["id"]))] for name in names
    }
    labels = np.concatenate([run.label_ids for run in runs])
    predicted = np.concatenate([run.predicted for run in runs])
    clusters = np.asarray([unit for run in runs for unit in run.clusters], dtype=object)
    corpora = np.asarray(clips["corpus"], dtype=object)
    found: dict[str, Any] = {}
    for grouping in GROUPINGS:
        groups = np.asarray(group_names(clips, grouping), dtype=object)
        if grouping not in _WITHIN_CORPUS:
            parts = {grouping: groups != ""}
        else:
            parts = {f"{grouping}/{corpus}": (groups != "") & (corpora == corpus) for corpus in sorted(set(corpora))}
        for name, rows in parts.items():
            columns = (groups[rows], labels[rows], predicted[rows], clusters[rows])
            compared = _compare(*columns, labels_of=runs[0].labels)
            if compared is not None:
                found[name] = compared
    return found


def _compare(
    groups: np.ndarray, labels: np.ndarray, predicted: np.ndarray, clusters: np.ndarray, labels_of: Sequence[str]
) -> dict[str, Any] | None:
    names = sorted(set(groups))
    if len(names) < 2:
        return None
    common = set.intersection(*(set(labels[groups == name].tolist()) for name in names))
    if not common:
        return None
    rows = {name: (groups == name) & np.isin(labels, list(common)) for name in names}
    scores = {name: point_scores(labels[mask], predicted[mask], len(labels_of))["uar"] for name, mask in rows.items()}
    ranked = sorted(names, key=lambda name: (scores[name], name))
    best, worst = ranked[-1], ranked[0]
    pair = [(labels[rows[name]], predicted[rows[name]], clusters[rows[name]].tolist()) for name in (best, worst)]
    return {
        "classes": [labels_of[label] for label in sorted(common)],
        "groups": scores,
        "best": best,
        "worst": worst,
        "gap": scores[best] - scores[worst],
        "interval": difference_interval(pair[0], pair[1], len(labels_of)),
        "equalized_odds_difference": _equalized_odds(
            [(labels[mask], predicted[mask]) for mask in rows.values()], common
        ),
        "one_speaker": [name for name in names if len(set(clusters[groups == name])) == 1],
    }


def _equalized_odds(groups: Sequence[tuple[np.ndarray, np.ndarray]], classes: set[int]) -> float:
    largest = 0.0
    for label in classes:
        for mask_of in (lambda labels: labels == label, lambda labels: labels != label):  # noqa: B023
            rates = [
                (predicted[mask] == label).mean() for labels, predicted in groups if (mask := mask_of(labels)).any()
            ]
            largest = max(largest, max(rates) - min(rates)) if rates else largest
    return float(largest)

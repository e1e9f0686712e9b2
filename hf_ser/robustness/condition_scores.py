"""Scores of a model under a condition, beside its scores on the clean clips."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hf_ser.scoring import Predictions, compare, intervals, score
from hf_ser.scoring.abstention import describe_abstention
from hf_ser.scoring.bootstrap import CLUSTERED, PLAIN, ratio_interval
from hf_ser.scoring.groups import score_groups

DEGRADED = ("accuracy", "uar")  # scores whose difference to the clean clips is given
_SCALARS = ("accuracy", "uar", "f1_weighted", "f1_macro", "log_loss", "brier", "ece")
_GROUPINGS = ("corpus", "gender")
_MOST_FRAGILE = 10


def describe_scores(predictions: Predictions, thresholds: np.ndarray | None) -> dict[str, Any]:
    """Scores with intervals, calibration, recalls, groups and answered clips; the fields of the schema.

    Args:
        predictions: of the clips under one condition.
        thresholds: abstention threshold of the model that predicted each clip (clips,); None if one has none.
    """
    labels = predictions.labels
    scored = score(predictions.label_ids, predictions.probabilities, labels)
    known = any(predictions.clips["speaker"])
    bounds = intervals(predictions.label_ids, predictions.predicted, predictions.clusters, len(labels))
    groups = score_groups([predictions], _GROUPINGS)
    return {
        "scores": {name: scored[name] for name in _SCALARS},
        "intervals": {
            "method": CLUSTERED if known else PLAIN,
            "clusters": bounds["clusters"],
            **{name: bounds[name] for name in DEGRADED},
        },
        "mean_confidence": float(predictions.probabilities.max(axis=1).mean()),
        "recalls": {label: part["recall"] for label, part in scored["per_class"].items() if part["support"]},
        "groups": {
            grouping: {
                name: {
                    "clips": part["clips"],
                    "speakers": part["speakers"],
                    "accuracy": part["scores"]["accuracy"],
                    "uar": part["scores"]["uar"],
                    "uar_interval": part["interval"],
                }
                for name, part in groups[grouping]["groups"].items()
            }
            for grouping in _GROUPINGS
        },
        "abstention": _abstention(predictions, thresholds),
    }


def _abstention(predictions: Predictions, thresholds: np.ndarray | None) -> dict[str, Any] | None:
    if thresholds is None:
        return None
    found = describe_abstention([predictions], [thresholds], None)
    interval = found["interval"] or {"coverage": [None, None], "accuracy": [None, None]}
    return {
        "coverage": found["coverage"],
        "coverage_interval": interval["coverage"],
        "accuracy": found["accuracy"],
        "accuracy_interval": interval["accuracy"],
    }


def describe_change(clean: Predictions, changed: Predictions) -> dict[str, Any]:
    """Differences to the clean clips in scores, and the clips whose predicted class changes ("flips").

    Args:
        clean: predictions for the clean clips.
        changed: predictions for the same clips, in the same order, under a condition.

    Returns:
        degradation: score -> difference (condition minus clean) and its paired interval, None with a single cluster;
        flips: shares of all clips, with an interval.
    """
    label_ids, before, after = clean.label_ids, clean.predicted, changed.predicted
    clusters = clean.clusters
    flipped = before != after
    degradation: dict[str, Any]
    if len(set(clusters)) > 1:
        tested = compare(label_ids, after, before, clusters, len(clean.labels))
        degradation = {
            name: {"difference": tested[name]["difference"], "interval": tested[name]["interval"]} for name in DEGRADED
        }
    else:
        ends = [score(label_ids, part.probabilities, clean.labels) for part in (clean, changed)]
        degradation = {
            name: {"difference": ends[1][name] - ends[0][name], "interval": [None, None]} for name in DEGRADED
        }
    return {
        "degradation": degradation,
        "flips": {
            "share": float(flipped.mean()),
            "interval": list(ratio_interval(flipped, np.ones(len(flipped)), clusters)),
            "right_to_wrong": float((flipped & (before == label_ids)).mean()),
            "wrong_to_right": float((flipped & (after == label_ids)).mean()),
        },
    }


def flips_per_clip(clean: Predictions, changed: Mapping[str, Predictions]) -> dict[str, Any]:
    """In how many conditions each clip's predicted class changes.

    Args:
        clean: predictions for the clean clips.
        changed: condition with its level -> predictions for the same clips in the same order.

    Returns:
        counts: number of clips by number of flips, from 0 to all conditions, for clips that are right and wrong when
        clean; and the clips with most flips.
    """
    flips = np.sum([part.predicted != clean.predicted for part in changed.values()], axis=0)
    right = clean.predicted == clean.label_ids
    order = np.lexsort((np.asarray(clean.clips["id"]), -flips))[:_MOST_FRAGILE]
    return {
        "conditions": len(changed),
        "mean": float(flips.mean()),
        "never": float((flips == 0).mean()),
        "counts": {
            name: np.bincount(flips[rows], minlength=len(changed) + 1).tolist()
            for name, rows in (("right_when_clean", right), ("wrong_when_clean", ~right))
        },
        "most": [_flipping(clean, int(row), int(flips[row])) for row in order if flips[row]],
    }


def _flipping(clean: Predictions, row: int, flips: int) -> dict[str, Any]:
    labels: Sequence[str] = clean.labels
    return {
        "id": clean.clips["id"][row],
        "label": labels[clean.label_ids[row]],
        "predicted_when_clean": labels[clean.predicted[row]],
        "flips": flips,
    }


def flips_table(clean: Predictions, changed: Mapping[str, Predictions]) -> dict[str, list[Any]]:
    """The columns of flips.parquet: id, label and clean prediction of a clip, and whether each condition flips it."""
    labels = clean.labels
    return {
        "id": list(clean.clips["id"]),
        "label": [labels[index] for index in clean.label_ids],
        "clean": [labels[index] for index in clean.predicted],
        "flips": np.sum([part.predicted != clean.predicted for part in changed.values()], axis=0).tolist(),
        **{name: (part.predicted != clean.predicted).tolist() for name, part in changed.items()},
    }

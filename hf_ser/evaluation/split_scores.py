"""Scores of a trained model on validation and test, with temperature and abstention threshold fitted on validation."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from hf_ser.data.splits import SplitData
from hf_ser.evaluation.clip_sources import clip_columns
from hf_ser.scoring import (
    AbstentionRule,
    Predictions,
    apply_temperature,
    choose_threshold,
    fit_temperature,
    restrict,
    score_split,
)
from hf_ser.scoring.abstention import describe_abstention
from hf_ser.scoring.corpus_mean import corpus_weights


class Calibration(NamedTuple):
    """What was fitted on validation."""

    temperature: float
    threshold: float | None  # of abstention; None if the rule's target cannot be reached
    rule: AbstentionRule  # by which the threshold was chosen


def fit_calibration(
    probabilities: np.ndarray,
    label_ids: np.ndarray,
    corpora: Sequence[str],
    rule: AbstentionRule,
    targets: np.ndarray | None = None,
) -> Calibration:
    """Fit a temperature, and choose the abstention threshold on the calibrated probabilities.

    Each corpus has the same total weight in both.

    Args:
        probabilities: uncalibrated probabilities of the validation clips (clips, classes).
        label_ids: true class ids (clips,).
        corpora: corpus of each clip.
        rule: for the threshold, by the true classes.
        targets: distributions to which the temperature is fitted (clips, classes), NaN for clips without one; default:
            the true classes.
    """
    weights = corpus_weights(corpora)
    if targets is None:
        temperature = fit_temperature(probabilities, label_ids, weights)
    else:
        known = np.isfinite(targets).all(axis=1)
        with_target = corpus_weights(np.asarray(corpora, dtype=object)[known].tolist())
        temperature = fit_temperature(probabilities[known], targets[known], with_target)
    calibrated = apply_temperature(probabilities, temperature)
    threshold = choose_threshold(calibrated, label_ids, rule, weights)
    return Calibration(temperature, threshold, replace(rule, equal_corpora=weights is not None))


def score_splits(
    data: SplitData,
    probabilities: Callable[[str], np.ndarray],
    rule: AbstentionRule | None,
    precision: str | None,
    targets: np.ndarray | None = None,
) -> tuple[dict[str, Any], dict[str, list[Predictions]], Calibration | None]:
    """Score validation and test, if they have clips, with temperature and threshold fitted on validation.

    Args:
        data: the splits.
        probabilities: split -> (clips, classes), uncalibrated.
        rule: for the abstention threshold; None for no calibration.
        precision: of the computation: bf16, fp16 or fp32; None if unknown.
        targets: of `fit_calibration`.

    Returns:
        Split -> scores, split -> predictions, and what was fitted (None without calibration or validation clips).
    """
    fitted, scores, predictions = None, {}, {}
    for split in ("validation", "test"):
        if len(data.splits[split]) == 0:
            continue
        values = probabilities(split)
        if split == "validation" and rule is not None:
            label_ids, corpora = np.asarray(data.splits[split]["label"]), data.splits[split]["corpus"]
            fitted = fit_calibration(values, label_ids, corpora, rule, targets)
        if fitted is not None:
            values = apply_temperature(values, fitted.temperature)
        whole = Predictions(clip_columns(data.splits[split]), values, data.labels)
        scored, left_out = restrict(whole, data.scored_classes(split))
        scores[split] = score_split(
            scored,
            files=[f"predictions_{split}.parquet"],
            temperature=fitted.temperature if fitted else None,
            left_out=left_out,
            precision=precision,
            abstention=describe_abstention([scored], [fitted.threshold], fitted.rule) if fitted else None,
        )
        predictions[split] = [scored]
    return scores, predictions, fitted

"""Scores of a trained model on validation and test, with a temperature fitted on validation."""

from collections.abc import Callable
from typing import Any

import numpy as np

from hf_ser.data.splits import SplitData
from hf_ser.evaluation.clip_sources import clip_columns
from hf_ser.scoring import Predictions, apply_temperature, fit_temperature, restrict, score_split


def score_splits(
    data: SplitData, probabilities: Callable[[str], np.ndarray], calibrate: bool, precision: str | None
) -> tuple[dict[str, Any], dict[str, list[Predictions]], float | None]:
    """Score validation and test, if they have clips, with a temperature fitted on validation.

    Args:
        data: the splits.
        probabilities: split -> (clips, classes), uncalibrated.
        calibrate: whether to fit a temperature.
        precision: of the computation: bf16, fp16 or fp32; None if unknown.

    Returns:
        Split -> scores, split -> predictions, and the temperature (None without calibration).
    """
    temperature, scores, predictions = None, {}, {}
    for split in ("validation", "test"):
        if len(data.splits[split]) == 0:
            continue
        values = probabilities(split)
        if split == "validation" and calibrate:
            temperature = fit_temperature(values, np.asarray(data.splits[split]["label"]))
        if temperature is not None:
            values = apply_temperature(values, temperature)
        whole = Predictions(clip_columns(data.splits[split]), values, data.labels)
        scored, left_out = restrict(whole, data.scored_classes(split))
        files = [f"predictions_{split}.parquet"]
        scores[split] = score_split(
            scored, files=files, temperature=temperature, left_out=left_out, precision=precision
        )
        predictions[split] = [scored]
    return scores, predictions, temperature

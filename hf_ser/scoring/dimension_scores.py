"""Scores of predicted dimensions (arousal, valence, dominance): concordance, with intervals over speakers.

The concordance correlation coefficient (Lin 1989, https://doi.org/10.2307/2532051) is 1 only for equal values: unlike
Pearson's correlation, it also falls with a shift or another scale of the predictions.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hf_ser.scoring.bootstrap import CLUSTERED, PLAIN, REPLICATES, resampled_bounds
from hf_ser.scoring.predictions import CLIP_COLUMNS, PredictionsError, count_speakers

_MEAN = "mean"


@dataclass(frozen=True)
class DimensionPredictions:
    """Clips with true and predicted values of dimensions.

    Args:
        clips: the columns id, corpus, speaker, gender and intensity; an unknown speaker is an empty string.
        dimensions: names of the columns of the values.
        true: annotated values (clips, dimensions).
        predicted: (clips, dimensions).

    Raises:
        PredictionsError: no clips, mismatched shapes, or values that are not numbers.
    """

    clips: Mapping[str, Sequence[Any]]
    dimensions: tuple[str, ...]
    true: np.ndarray
    predicted: np.ndarray

    def __post_init__(self) -> None:
        expected = (len(self.clips["id"]), len(self.dimensions))
        if not expected[0] or self.true.shape != expected or self.predicted.shape != expected:
            raise PredictionsError(
                f"got values of shapes {self.true.shape} and {self.predicted.shape} for {expected[0]} clips; expected "
                f"{expected} for both, with at least one clip."
            )
        bad = ~(np.isfinite(self.true) & np.isfinite(self.predicted)).all(axis=1)
        if bad.any():
            first = self.clips["id"][int(np.flatnonzero(bad)[0])]
            raise PredictionsError(f"got {bad.sum()} clips without a number ({first}); expected one per dimension.")

    def write(self, path: Path) -> None:
        """Write the clips with a column per dimension and `predicted_DIMENSION` as Parquet, atomically."""
        columns: dict[str, Any] = {name: list(self.clips[name]) for name in CLIP_COLUMNS if name != "label"}
        columns["intensity"] = pa.array(columns["intensity"], pa.string())
        for index, name in enumerate(self.dimensions):
            columns |= {name: self.true[:, index], f"predicted_{name}": self.predicted[:, index]}
        partial = path.with_suffix(".part")
        pq.write_table(pa.table(columns), partial)
        os.replace(partial, path)


def concordance(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Concordance correlation coefficient of each dimension, (clips, dimensions) -> (dimensions,).

    It is 0 if neither the true nor the predicted values vary.

    >>> true = np.array([[0.1], [0.5], [0.9]])
    >>> concordance(true, true).tolist(), concordance(true, true + 0.4).round(2).tolist()
    ([1.0], [0.57])
    """
    return _concordance(_moments(np.asarray(true, np.float64), np.asarray(predicted, np.float64)).sum(axis=0))


def score_dimensions(
    predictions: DimensionPredictions, *, files: Sequence[str], precision: str | None = None
) -> dict[str, Any]:
    """Score a split: concordance and root mean square error per dimension, their mean concordance, and intervals.

    Args:
        predictions: of the split.
        files: names of the predictions files.
        precision: bf16, fp16 or fp32; None if unknown.

    Returns:
        The entry of the split in `dimensions` of results.json.
    """
    ids, speakers = sorted(predictions.clips["id"]), predictions.clips["speaker"]
    found = concordance(predictions.true, predictions.predicted)
    errors = np.sqrt(((predictions.true - predictions.predicted) ** 2).mean(axis=0))
    moments = _moments(predictions.true, predictions.predicted)
    units = [(PLAIN, list(predictions.clips["id"]))]
    if any(speakers):
        pairs = zip(speakers, predictions.clips["id"], strict=True)
        units.insert(0, (CLUSTERED, [speaker or clip for speaker, clip in pairs]))
    return {
        "clips": len(ids),
        "speakers": count_speakers(speakers),
        "clips_hash": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
        "predictions": list(files),
        "precision": precision,
        "ccc": float(found.mean()),
        "per_dimension": {
            name: {"ccc": float(found[index]), "rmse": float(errors[index])}
            for index, name in enumerate(predictions.dimensions)
        },
        "intervals": [_interval(moments, units_of, method, predictions.dimensions) for method, units_of in units],
    }


def _interval(moments: np.ndarray, units: Sequence[str], method: str, names: Sequence[str]) -> dict[str, Any]:
    """95 % percentile intervals, resampling units."""

    def coefficients(sums: np.ndarray) -> dict[str, np.ndarray]:
        found = _concordance(sums)
        return {_MEAN: found.mean(axis=1), **{name: found[:, index] for index, name in enumerate(names)}}

    bounds = resampled_bounds(moments, units, coefficients)
    described = {"method": method, "clusters": len(set(units)), "replicates": REPLICATES}
    return described | {"ccc": bounds.pop(_MEAN), "per_dimension": bounds}


def _moments(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Terms of the sums from which the concordance is computed: (clips, dimensions, 6).

    Values are centred at the mean of all true ones first, which changes nothing but rounding.
    """
    x, y = true - true.mean(axis=0), predicted - true.mean(axis=0)
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1)


def _concordance(sums: np.ndarray) -> np.ndarray:
    """Sums of `_moments` (..., dimensions, 6) -> coefficients (..., dimensions)."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    covariance = xy / n - x * y / n**2
    spread = (xx / n - (x / n) ** 2) + (yy / n - (y / n) ** 2) + ((x - y) / n) ** 2
    varies = spread > 1e-12
    return np.where(varies, 2 * covariance / np.where(varies, spread, 1), 0.0)

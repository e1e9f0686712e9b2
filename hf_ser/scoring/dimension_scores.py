"""Scores of predicted dimensions (arousal, valence, dominance): concordance, with intervals over speakers.

The concordance correlation coefficient (Lin 1989, https://doi.org/10.2307/2532051) is 1 only for equal values: unlike
Pearson's correlation, it also falls with a shift or another scale of the predictions.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hf_ser.scoring.bootstrap import CLUSTERED, PLAIN, REPLICATES, WITH_SEEDS, resampled_bounds
from hf_ser.scoring.predictions import CLIP_COLUMNS, PredictionsError, count_speakers

_MEAN = "mean"
_COLUMNS = tuple(name for name in CLIP_COLUMNS if name != "label")


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
        columns: dict[str, Any] = {name: list(self.clips[name]) for name in _COLUMNS}
        columns["intensity"] = pa.array(columns["intensity"], pa.string())
        for index, name in enumerate(self.dimensions):
            columns |= {name: self.true[:, index], f"predicted_{name}": self.predicted[:, index]}
        partial = path.with_suffix(".part")
        pq.write_table(pa.table(columns), partial)
        os.replace(partial, path)

    @classmethod
    def read(cls, path: Path) -> "DimensionPredictions":
        """Read a file that `write` has written.

        Raises:
            PredictionsError: it is no such file.
        """
        try:
            table = pq.read_table(path)
            names = tuple(name for name in table.column_names if f"predicted_{name}" in table.column_names)
            clips = {name: table[name].to_pylist() for name in _COLUMNS}
            true, predicted = (
                np.column_stack([table[f"{prefix}{name}"].to_numpy() for name in names])
                for prefix in ("", "predicted_")
            )
        except (OSError, ValueError, KeyError) as error:  # those of pyarrow are subclasses
            raise PredictionsError(
                f"{path} cannot be read ({error}); expected the predictions of a run of dimensions. Train it again."
            ) from error
        return cls(clips, names, true, predicted)


def concordance(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Concordance correlation coefficient of each dimension, (clips, dimensions) -> (dimensions,).

    It is 0 if neither the true nor the predicted values vary.

    >>> true = np.array([[0.1], [0.5], [0.9]])
    >>> concordance(true, true).tolist(), concordance(true, true + 0.4).round(2).tolist()
    ([1.0], [0.57])
    """
    return _concordance(_moments(np.asarray(true, np.float64), np.asarray(predicted, np.float64)).sum(axis=0))


def concatenate_dimensions(parts: Sequence[DimensionPredictions]) -> DimensionPredictions:
    """Join predictions of different clips, such as the test clips of all folds.

    Raises:
        PredictionsError: the parts have different dimensions.
    """
    first = parts[0].dimensions
    other = next((part.dimensions for part in parts if part.dimensions != first), None)
    if other is not None:
        raise PredictionsError(
            f"got predictions of {', '.join(first)} and of {', '.join(other)}; expected the same dimensions."
        )
    columns = {name: [value for part in parts for value in part.clips[name]] for name in _COLUMNS}
    true, predicted = (np.concatenate([getattr(part, name) for part in parts]) for name in ("true", "predicted"))
    return DimensionPredictions(columns, first, true, predicted)


def score_dimensions(
    predictions: DimensionPredictions | Sequence[DimensionPredictions],
    *,
    files: Sequence[str],
    precision: str | None = None,
) -> dict[str, Any]:
    """Score a split: concordance and root mean square error per dimension, their mean concordance, and intervals.

    Args:
        predictions: of one run, or of several with different seeds. With several, scores are means over the seeds,
            with standard deviations.
        files: names of the predictions files, one per run.
        precision: bf16, fp16 or fp32; None if unknown, or if pooled models differ.

    Returns:
        The entry of the split in `dimensions` of results.json.
    """
    runs = [predictions] if isinstance(predictions, DimensionPredictions) else list(predictions)
    names = runs[0].dimensions
    ids = sorted({clip for run in runs for clip in run.clips["id"]})
    found = np.stack([concordance(run.true, run.predicted) for run in runs])
    errors = np.stack([np.sqrt(((run.true - run.predicted) ** 2).mean(axis=0)) for run in runs])
    return {
        "clips": len(ids),
        "speakers": count_speakers({speaker for run in runs for speaker in run.clips["speaker"]}),
        "clips_hash": hashlib.sha256("\n".join(ids).encode()).hexdigest(),
        "predictions": list(files),
        "precision": precision,
        **_summary(names, found, errors, lambda values: values.mean(axis=0)),
        **({"std": _summary(names, found, errors, lambda values: values.std(axis=0, ddof=1))} if runs[1:] else {}),
        "intervals": _intervals(runs),
    }


def _summary(
    names: Sequence[str], found: np.ndarray, errors: np.ndarray, over_runs: Callable[[np.ndarray], np.ndarray]
) -> dict[str, Any]:
    """Concordances and errors (runs, dimensions) -> mean concordance and the scores per dimension."""
    each = zip(names, over_runs(found), over_runs(errors), strict=True)
    return {
        "ccc": float(over_runs(found.mean(axis=1))),
        "per_dimension": {name: {"ccc": float(ccc), "rmse": float(rmse)} for name, ccc, rmse in each},
    }


def _intervals(runs: Sequence[DimensionPredictions]) -> list[dict[str, Any]]:
    """Over speakers if any is known, over clips, and, with several seeds, over speakers and seeds."""
    clips = [clip for run in runs for clip in run.clips["id"]]
    named = [speaker for run in runs for speaker in run.clips["speaker"]]
    speakers, known = [speaker or clip for speaker, clip in zip(named, clips, strict=True)], any(named)
    moments = _moments_of_runs(runs)
    kinds = [(CLUSTERED, speakers, False)] if known else []
    kinds.append((PLAIN, clips, False))
    if known and len(runs) > 1:
        kinds.append((WITH_SEEDS, speakers, True))
    return [_interval(moments, units, method, runs[0].dimensions, draw_seeds) for method, units, draw_seeds in kinds]


def _interval(
    moments: np.ndarray, units: Sequence[str], method: str, names: Sequence[str], draw_seeds: bool
) -> dict[str, Any]:
    """95 % percentile intervals of the mean over runs, resampling units for all runs together.

    With `draw_seeds`, runs are drawn too, as in `bootstrap.intervals_over_seeds`.
    """

    def coefficients(sums: np.ndarray) -> dict[str, np.ndarray]:
        number = sums.shape[1]
        weights = np.full(sums.shape[:2], 1 / number)
        if draw_seeds:
            weights = np.random.default_rng([0, 1]).multinomial(number, weights[0], size=len(sums)) / number
        weights = np.where(sums[:, :, 0, 0] > 0, weights, 0)  # a draw may hold no clip of a run
        totals = weights.sum(axis=1, keepdims=True)
        weights = np.where(totals > 0, weights / np.where(totals > 0, totals, 1), np.nan)
        found = (_concordance(sums) * weights[:, :, None]).sum(axis=1)
        return {_MEAN: found.mean(axis=1), **{name: found[:, index] for index, name in enumerate(names)}}

    bounds = resampled_bounds(moments, units, coefficients)
    described = {"method": method, "clusters": len(set(units)), "replicates": REPLICATES}
    return described | {"ccc": bounds.pop(_MEAN), "per_dimension": bounds}


def _moments_of_runs(runs: Sequence[DimensionPredictions]) -> np.ndarray:
    """Moments of the clips of all runs, each in the place of its run: (clips of all runs, runs, dimensions, 6)."""
    moments = np.zeros((sum(len(run.true) for run in runs), len(runs), len(runs[0].dimensions), 6))
    start = 0
    for number, run in enumerate(runs):
        moments[start : start + len(run.true), number] = _moments(run.true, run.predicted)
        start += len(run.true)
    return moments


def _moments(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Terms of the sums from which the concordance is computed: (clips, dimensions, 6).

    Values are centred at the mean of all true ones first, which changes nothing but rounding.
    """
    x, y = true - true.mean(axis=0), predicted - true.mean(axis=0)
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1)


def _concordance(sums: np.ndarray) -> np.ndarray:
    """Sums of `_moments` (..., dimensions, 6) -> coefficients (..., dimensions)."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    n = np.maximum(n, 1)  # without clips, all sums are 0
    covariance = xy / n - x * y / n**2
    spread = (xx / n - (x / n) ** 2) + (yy / n - (y / n) ** 2) + ((x - y) / n) ** 2
    varies = spread > 1e-12
    return np.where(varies, 2 * covariance / np.where(varies, spread, 1), 0.0)

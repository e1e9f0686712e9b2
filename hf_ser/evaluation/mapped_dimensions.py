"""Values of dimensions that a model predicts, as logits of classes by a `DimensionMap`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hf_ser.arguments import ConfigError
from hf_ser.scoring.dimension_map import DimensionMap, fit_dimension_map, read_dimension_map
from hf_ser.scoring.results import write_json

FIT = "fit"  # the value of --dimension_map that fits a map on validation
MAP = "dimension_map.json"
_TINY = 1e-300  # keeps the logarithm of a zero probability finite


def chosen_map(name: str, outputs: Sequence[str]) -> DimensionMap:
    """Read the map of `--dimension_map`.

    Args:
        name: path of the file.
        outputs: names of the model's outputs.

    Raises:
        DimensionMapError: the file holds no map.
        ConfigError: the model lacks a dimension of the map.
    """
    read = read_dimension_map(Path(name))
    missing = [each for each in read.dimensions if each not in _folded(outputs)]
    if missing:
        raise ConfigError(
            f"--dimension_map {name} needs {', '.join(missing)}; the model predicts {', '.join(outputs)}. Fit a map "
            "for this model with --dimension_map fit."
        )
    return read


def fit_map(values: np.ndarray, labels: Sequence[str], outputs: Sequence[str], folder: Path) -> DimensionMap:
    """Fit a map to the values that a model predicts for validation clips, and write it into the folder.

    Args:
        values: (clips, outputs).
        labels: class of each clip.
        outputs: names of the model's outputs.
        folder: of the evaluation.

    Raises:
        DimensionMapError: too few clips of a class.
    """
    fitted = fit_dimension_map(values, labels, _folded(outputs))
    write_json(folder / MAP, fitted.describe())
    return fitted


def class_logits(values: np.ndarray, outputs: Sequence[str], chosen: DimensionMap) -> np.ndarray:
    """Values (clips, outputs) -> logarithms of the probabilities of the map's classes (clips, classes)."""
    columns = [_folded(outputs).index(name) for name in chosen.dimensions]
    return np.log(np.maximum(chosen.probabilities(values[:, columns]), _TINY))


def _folded(names: Sequence[str]) -> list[str]:
    return [name.casefold() for name in names]

"""A calibrated map between dimensions (arousal, valence, dominance) and classes of emotions.

Each class has a Gaussian over the dimensions. Bayes' theorem turns values into probabilities of classes (quadratic
discriminant analysis, Hastie et al. 2009, The Elements of Statistical Learning, section 4.3), and the means of the
Gaussians turn probabilities into expected values.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hf_ser.errors import SerError
from hf_ser.scoring.calibration import apply_temperature, fit_temperature
from hf_ser.scoring.predictions import softmax

_VERSION = 1
_PRIOR_CLIPS = 10  # weight of the covariance of all classes in that of each, as a number of clips
_RIDGE = 1e-6  # of the mean variance: values that do not vary at all still have a density


class DimensionMapError(SerError):
    """Values or a file that cannot be a map between dimensions and classes."""


@dataclass(frozen=True)
class DimensionMap:
    """Gaussians of the classes over the dimensions.

    Args:
        dimensions: their names, in the order of the columns of values.
        labels: names of the classes.
        means: (classes, dimensions).
        covariances: (classes, dimensions, dimensions).
        priors: share of each class (classes,).
        temperature: of the posterior, fitted to the clips as in `fit_temperature`; above 1, it lowers the confidence.
        clips: number of clips that the map was fitted to.

    Raises:
        DimensionMapError: shapes that do not match, or numbers that no Gaussian has.

    >>> values = np.array([[0.8, 0.2], [0.9, 0.3], [0.7, 0.1], [0.2, 0.4], [0.1, 0.5], [0.3, 0.45]])
    >>> fitted = fit_dimension_map(values, ["angry"] * 3 + ["sad"] * 3, ["arousal", "valence"])
    >>> fitted.probabilities(np.array([[0.85, 0.25]])).round(2).tolist()
    [[1.0, 0.0]]
    >>> fitted.expected(np.array([[1.0, 0.0]])).round(2).tolist()
    [[0.8, 0.2]]
    """

    dimensions: tuple[str, ...]
    labels: tuple[str, ...]
    means: np.ndarray
    covariances: np.ndarray
    priors: np.ndarray
    temperature: float = 1.0
    clips: int = 0

    def __post_init__(self) -> None:
        classes, size = len(self.labels), len(self.dimensions)
        shapes = self.means.shape, self.covariances.shape, self.priors.shape
        expected = (classes, size), (classes, size, size), (classes,)
        if classes < 2 or size < 1 or shapes != expected:
            raise DimensionMapError(
                f"means, covariances and priors have the shapes {shapes}; expected {expected} for {classes} classes "
                f"and {size} dimensions, with at least two classes and one dimension."
            )
        numbers = (self.means, self.covariances, self.priors, np.asarray(self.temperature))
        if not all(np.isfinite(part).all() for part in numbers):
            raise DimensionMapError("means, covariances, priors and temperature must be finite numbers.")
        if (self.priors <= 0).any() or abs(self.priors.sum() - 1) > 1e-6 or self.temperature <= 0:
            raise DimensionMapError("priors must be above 0 with a sum of 1, and the temperature above 0.")
        symmetric = np.allclose(self.covariances, self.covariances.transpose(0, 2, 1))
        if not symmetric or (np.linalg.eigvalsh(self.covariances) <= 0).any():
            raise DimensionMapError("covariances must be symmetric and positive definite.")

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """Values (clips, dimensions) -> calibrated probabilities (clips, classes)."""
        return apply_temperature(self._posterior(values), self.temperature)

    def expected(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities (clips, classes) -> expected values (clips, dimensions)."""
        return np.asarray(probabilities) @ self.means

    def _posterior(self, values: np.ndarray) -> np.ndarray:
        centred = np.asarray(values, dtype=np.float64)[:, None, :] - self.means
        distances = np.einsum("kcd,cde,kce->kc", centred, np.linalg.inv(self.covariances), centred)
        log_determinants = np.linalg.slogdet(self.covariances)[1]
        return softmax(np.log(self.priors) - (distances + log_determinants) / 2)

    def describe(self) -> dict[str, Any]:
        """The content of its file, and of results.json."""
        content = {name: getattr(value, "tolist", lambda v=value: v)() for name, value in asdict(self).items()}
        return {"version": _VERSION, **content, "dimensions": list(self.dimensions), "labels": list(self.labels)}


def fit_dimension_map(values: np.ndarray, labels: Sequence[str], dimensions: Sequence[str]) -> DimensionMap:
    """Fit a map to clips with values of dimensions, annotated or predicted, and classes.

    The covariance of a class is drawn towards that of all classes, the more the fewer clips it has.

    Args:
        values: (clips, dimensions).
        labels: class of each clip.
        dimensions: names of the columns.

    Raises:
        DimensionMapError: values that are not numbers, fewer than two classes, or a class with too few clips.

    >>> values = np.array([[0.8], [0.9], [0.7], [0.2], [0.1], [0.3]])
    >>> fitted = fit_dimension_map(values, ["angry"] * 3 + ["sad"] * 3, ["arousal"])
    >>> fitted.labels, fitted.means.round(2).tolist()
    (('angry', 'sad'), [[0.8], [0.2]])
    """
    values, names = np.asarray(values, dtype=np.float64), np.asarray(labels, dtype=object)
    classes, size = tuple(dict.fromkeys(labels)), len(dimensions)
    if values.shape != (len(names), size) or not np.isfinite(values).all():
        raise DimensionMapError(f"got values of shape {values.shape}; expected numbers of shape {(len(names), size)}.")
    few = [label for label in classes if (names == label).sum() <= size]
    if few or len(classes) < 2:
        what = f"too few clips of {', '.join(few)}" if few else f"clips of {', '.join(classes) or 'no class'} only"
        raise DimensionMapError(f"got {what}; expected at least {size + 1} clips of each of two or more classes.")
    groups = [values[names == label] for label in classes]
    scatters = np.stack([(group - group.mean(axis=0)).T @ (group - group.mean(axis=0)) for group in groups])
    freedom = np.array([len(group) - 1 for group in groups])
    common = scatters.sum(axis=0) / freedom.sum()
    common = common + _RIDGE * max(np.trace(common) / size, 1e-12) * np.eye(size)
    fitted = DimensionMap(
        tuple(dimensions),
        classes,
        np.stack([group.mean(axis=0) for group in groups]),
        (scatters + _PRIOR_CLIPS * common) / (freedom + _PRIOR_CLIPS)[:, None, None],
        np.array([len(group) for group in groups]) / len(names),
        clips=len(names),
    )
    ids = np.array([classes.index(label) for label in names])
    temperature = fit_temperature(fitted.probabilities(values), ids)
    return replace(fitted, temperature=temperature)


def read_dimension_map(path: Path) -> DimensionMap:
    """Read a map that `DimensionMap.describe` wrote as JSON.

    Raises:
        DimensionMapError: no such file, no JSON, or no map.

    >>> from hf_ser.scoring import write_json
    >>> values = np.array([[0.8], [0.9], [0.7], [0.2], [0.1], [0.3]])
    >>> fitted = fit_dimension_map(values, ["angry"] * 3 + ["sad"] * 3, ["arousal"])
    >>> write_json(Path("dimension_map.json"), fitted.describe())
    >>> read_dimension_map(Path("dimension_map.json")).labels
    ('angry', 'sad')
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != _VERSION:
            raise DimensionMapError(f"{path} has version {content['version']}; expected {_VERSION}.")
        return DimensionMap(
            tuple(map(str, content["dimensions"])),
            tuple(map(str, content["labels"])),
            np.asarray(content["means"], dtype=np.float64),
            np.asarray(content["covariances"], dtype=np.float64),
            np.asarray(content["priors"], dtype=np.float64),
            temperature=float(content["temperature"]),
            clips=int(content["clips"]),
        )
    except DimensionMapError as error:
        raise DimensionMapError(f"--dimension_map {path}: {error}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        cause = " ".join(str(error).split())
        raise DimensionMapError(
            f"--dimension_map {path} cannot be read ({type(error).__name__}: {cause}); expected the "
            "dimension_map.json of an evaluation with --dimension_map fit."
        ) from error

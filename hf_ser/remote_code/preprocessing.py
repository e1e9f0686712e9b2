"""Preprocessing of waveforms, stored in the model's folder and applied wherever the model is loaded.

It is stored in the field `preprocessing` of preprocessor_config.json. Classes that were merged in training are stored
in `merged_labels` of config.json. Folders of earlier versions have both in results.json only.
"""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .decoder import SAMPLING_RATE

logger = logging.getLogger(__name__)
_RESULTS = "results.json"
MERGED_CALM = {"calm": "neutral"}


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing steps, applied in the order of the fields; by default none.

    Args:
        trim_db: cut leading and trailing audio more than this many dB below the loudest frame; None for no trimming.
        normalize: scale to a peak of 1.
        duration_s: pad with zeros at the end, or keep the start, to get this many seconds; None keeps the length.

    Raises:
        ValueError: a field is out of range.

    >>> import numpy as np
    >>> from hf_ser.audio import Preprocessing
    >>> preprocessing = Preprocessing(normalize=True, duration_s=1.0)
    >>> waveform = preprocessing(np.array([0.25, -0.5], np.float32))
    >>> waveform.shape, waveform[:3].tolist()
    ((16000,), [0.5, -1.0, 0.0])
    """

    trim_db: float | None = None
    normalize: bool = False
    duration_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("trim_db", "duration_s"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if value is not None and not (number and 0 < value < 1e6):
                raise ValueError(f"preprocessing, {name}: got {value!r}; expected a number above 0, or null.")
        if not isinstance(self.normalize, bool):
            raise ValueError(f"preprocessing, normalize: got {self.normalize!r}; expected true or false.")

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Apply the steps: (samples,) float32 at 16 kHz -> (samples,)."""
        if self.trim_db is not None:
            waveform = trim_silence(waveform, self.trim_db)
        if self.normalize:
            waveform = normalize_peak(waveform)
        if self.duration_s is not None:
            waveform = fix_length(waveform, round(self.duration_s * SAMPLING_RATE))
        return waveform

    @property
    def steps(self) -> dict[str, Any]:
        """The steps that are not disabled."""
        return {name: value for name, value in asdict(self).items() if value not in (None, False)}

    def store(self, extractor: Any) -> None:
        """Store the steps in a feature extractor, whose `save_pretrained` writes them."""
        extractor.preprocessing = asdict(self)

    @classmethod
    def of(cls, extractor: Any) -> "Preprocessing":
        """The steps stored in a feature extractor; no steps if it has none.

        Raises:
            ValueError: a field is unknown or out of range.
        """
        fields = getattr(extractor, "preprocessing", None) or {}
        known = set(cls.__dataclass_fields__)
        if not isinstance(fields, Mapping) or not set(fields) <= known:
            raise ValueError(
                f"preprocessing: got {fields!r}; expected a mapping with the fields {', '.join(sorted(known))}."
            )
        return cls(**fields)


def complete_preprocessing(model: Any, extractor: Any, name: str, revision: str | None = None) -> None:
    """Apply the preprocessing that folders of earlier versions store in results.json only, with a warning.

    Args:
        model: its configuration gets the merged classes.
        extractor: gets the steps, unless it already has them.
        name: folder or Hub id that both were loaded from.
        revision: revision on the Hub.
    """
    if hasattr(extractor, "preprocessing"):
        return
    stored = _stored_in_results(name, revision)
    if stored.get("merge_calm") and not merged_labels(model.config):
        model.config.merged_labels = MERGED_CALM
    preprocessing = _from_results(stored)
    preprocessing.store(extractor)
    if preprocessing.steps:
        steps = ", ".join(f"{key} {value}" for key, value in preprocessing.steps.items())
        logger.warning(
            "%s was saved by an earlier version, which stored the preprocessing (%s) in results.json only. hf_ser "
            "applies it, but other programs do not. Load and save the model to store it in preprocessor_config.json.",
            name,
            steps,
        )


def merged_labels(config: Any) -> dict[str, str]:
    """The classes that were merged into others in training, such as {"calm": "neutral"}."""
    merged = getattr(config, "merged_labels", None)
    return dict(merged) if isinstance(merged, Mapping) else {}


def stored_preprocessing(name: str, revision: str | None = None) -> Preprocessing | None:
    """The preprocessing stored in a model's folder; None if it stores none, which differs from disabled steps.

    Args:
        name: folder or Hub id.
        revision: revision on the Hub.

    Raises:
        ValueError: a field is out of range.
    """
    fields = _json_beside(name, "preprocessor_config.json", revision).get("preprocessing")
    if isinstance(fields, dict):
        return Preprocessing(**fields)
    stored = _stored_in_results(name, revision)
    return _from_results(stored) if stored else None


def trained_on_synthetic(name: str, revision: str | None = None) -> bool:
    """Whether the results.json of a model names corpora with generated recordings.

    Args:
        name: folder or Hub id; "" for a model that was not loaded from either.
        revision: commit on the Hub; without one, only a folder is looked at, so that no other version is read.
    """
    known = bool(name) and (revision is not None or os.path.isdir(name))
    dataset = _json_beside(name, _RESULTS, revision).get("dataset") if known else None
    return isinstance(dataset, Mapping) and bool(dataset.get("synthetic"))


def _stored_in_results(name: str, revision: str | None) -> Mapping[str, Any]:
    stored = _json_beside(name, _RESULTS, revision).get("preprocessing")
    return stored if isinstance(stored, dict) else {}


def _from_results(stored: Mapping[str, Any]) -> Preprocessing:
    return Preprocessing(**{key: stored[key] for key in Preprocessing.__dataclass_fields__ if key in stored})


def _json_beside(name: str, file: str, revision: str | None) -> dict[str, Any]:
    """Read a mapping from a JSON file in a model's folder; empty if there is no such file."""
    try:
        path = file_beside(name, file, revision)
        content = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def file_beside(name: str, file: str, revision: str | None = None) -> Path | None:
    """Path of a file in a model's folder or Hub repository; None if there is no such file."""
    from transformers.utils import cached_file  # here, so that loading audio does not import transformers

    path = cached_file(
        name,
        file,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return Path(path) if path else None


def trim_silence(waveform: np.ndarray, trim_db: float, frame_length: int = 2048, hop_length: int = 512) -> np.ndarray:
    """Cut both ends where the framewise RMS is more than `trim_db` dB below its maximum.

    Same frames and thresholds as `librosa.effects.trim(top_db=trim_db)`, which the published systems use. A silent
    waveform is returned unchanged.

    Args:
        waveform: (samples,).
        trim_db: decibels.
        frame_length: samples per frame.
        hop_length: samples between frames.

    Returns:
        Part of the waveform (samples,).

    >>> import numpy as np
    >>> from hf_ser.audio import trim_silence
    >>> silence, sound = np.zeros(8_000, np.float32), np.ones(8_000, np.float32)
    >>> trim_silence(np.concatenate([silence, sound, silence]), trim_db=30.0).size < 12_000
    True
    """
    energy = np.concatenate([[0.0], np.cumsum(waveform.astype(np.float64) ** 2)])
    centres = np.arange(0, waveform.size + 1, hop_length)
    last = waveform.size
    starts, ends = (centres - frame_length // 2).clip(0, last), (centres + frame_length // 2).clip(0, last)
    mean_square = np.maximum(energy[ends] - energy[starts], 0.0) / frame_length
    mean_square = np.maximum(mean_square, 1e-10)  # librosa's floor of 1e-5 on the amplitude
    loud = np.flatnonzero(mean_square > mean_square.max() * 10 ** (-trim_db / 10))
    return waveform[loud[0] * hop_length : min(last, (loud[-1] + 1) * hop_length)]


def normalize_peak(waveform: np.ndarray) -> np.ndarray:
    """Scale so that the largest magnitude is 1; silence is returned unchanged.

    >>> import numpy as np
    >>> from hf_ser.audio import normalize_peak
    >>> normalize_peak(np.array([0.25, -0.5], np.float32)).tolist()
    [0.5, -1.0]
    """
    peak = float(np.abs(waveform).max(initial=0.0))
    return waveform if peak == 0.0 else (waveform / np.float32(peak)).astype(np.float32)


def fix_length(
    waveform: np.ndarray, num_samples: int, position: Literal["start", "center"] | np.random.Generator = "start"
) -> np.ndarray:
    """Pad with zeros at the end, or keep the start, the centre or a random part, to get `num_samples` samples.

    >>> import numpy as np
    >>> from hf_ser.audio import fix_length
    >>> fix_length(np.arange(4), 6).tolist(), fix_length(np.arange(4), 2, position="center").tolist()
    ([0, 1, 2, 3, 0, 0], [1, 2])
    """
    excess = waveform.size - num_samples
    if excess <= 0:
        return np.pad(waveform, (0, -excess))
    if isinstance(position, np.random.Generator):
        start = int(position.integers(excess + 1))
    else:
        start = {"start": 0, "center": excess // 2}[position]
    return waveform[start : start + num_samples]

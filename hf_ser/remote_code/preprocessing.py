"""What is done to a waveform before a model: written into the model's folder, applied by whatever loads it.

It is the field `preprocessing` of preprocessor_config.json, of every kind of model; classes that were merged in
training are `merged_labels` in config.json. Folders of earlier versions have both in results.json only.
"""

import json
import logging
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
    """Steps in the order of the fields; the default does nothing.

    Args:
        trim_db: cut leading and trailing audio that is so many dB below the loudest frame; None keeps it.
        normalize: scale to a peak of 1.
        duration_s: pad with zeros at the end, or keep the start, to so many seconds; None keeps the length.

    Raises:
        ValueError: a field out of range.

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
        """The fields that do something."""
        return {name: value for name, value in asdict(self).items() if value not in (None, False)}

    def store(self, extractor: Any) -> None:
        """Put the steps into a feature extractor, whose `save_pretrained` writes them."""
        extractor.preprocessing = asdict(self)

    @classmethod
    def of(cls, extractor: Any) -> "Preprocessing":
        """The steps that a feature extractor carries; none where it carries none.

        Raises:
            ValueError: fields that are unknown or out of range.
        """
        fields = getattr(extractor, "preprocessing", None) or {}
        known = set(cls.__dataclass_fields__)
        if not isinstance(fields, Mapping) or not set(fields) <= known:
            raise ValueError(f"preprocessing: got {fields!r}; expected some of {', '.join(sorted(known))}.")
        return cls(**fields)


def complete_preprocessing(model: Any, extractor: Any, name: str, revision: str | None = None) -> None:
    """Put into a loaded model's parts what a folder of an earlier version has in results.json only, with a warning.

    Args:
        model: whose configuration gets the merged classes.
        extractor: gets the steps; left alone where it has them.
        name: folder or Hub id that both were loaded from.
        revision: on the Hub.
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
            "%s was saved by an earlier version, which wrote its preprocessing (%s) to results.json only, where "
            "other programs do not look. It is applied here; load and save the model again to keep it in the folder.",
            name,
            steps,
        )


def merged_labels(config: Any) -> dict[str, str]:
    """The classes that were counted as others in a model's training: {"calm": "neutral"}, or none."""
    merged = getattr(config, "merged_labels", None)
    return dict(merged) if isinstance(merged, Mapping) else {}


def stored_preprocessing(name: str, revision: str | None = None) -> Preprocessing | None:
    """The steps that a model's folder stores; None where it stores none, which differs from steps that do nothing.

    Args:
        name: folder or Hub id.
        revision: on the Hub.

    Raises:
        ValueError: fields out of range.
    """
    fields = _json_beside(name, "preprocessor_config.json", revision).get("preprocessing")
    if isinstance(fields, dict):
        return Preprocessing(**fields)
    stored = _stored_in_results(name, revision)
    return _from_results(stored) if stored else None


def _stored_in_results(name: str, revision: str | None) -> Mapping[str, Any]:
    stored = _json_beside(name, _RESULTS, revision).get("preprocessing")
    return stored if isinstance(stored, dict) else {}


def _from_results(stored: Mapping[str, Any]) -> Preprocessing:
    return Preprocessing(**{key: stored[key] for key in Preprocessing.__dataclass_fields__ if key in stored})


def _json_beside(name: str, file: str, revision: str | None) -> dict[str, Any]:
    """The mapping in a JSON file beside a model; an empty one where there is no such file."""
    try:
        path = file_beside(name, file, revision)
        content = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def file_beside(name: str, file: str, revision: str | None = None) -> Path | None:
    """A file beside a model in a folder or on the Hub; None where there is none."""
    from transformers.utils import cached_file  # here: loading audio need not wait for transformers

    path = cached_file(
        name,
        file,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return Path(path) if path else None


def trim_silence(waveform: np.ndarray, trim_db: float, frame_length: int = 2048, hop_length: int = 512) -> np.ndarray:
    """Cut both ends where the framewise RMS lies more than `trim_db` dB below its maximum.

    Same frames and thresholds as `librosa.effects.trim(top_db=trim_db)`, which the published systems use; a silent
    waveform is returned whole.

    Args:
        waveform: (samples,).
        trim_db: decibels.
        frame_length: samples of a frame.
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
    """Pad with zeros at the end, or keep the start, the centre or a random part, so that the size is `num_samples`.

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

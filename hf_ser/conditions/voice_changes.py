"""Level, clipping, missing ends, speed and pitch of a clip, by the transforms of audiomentations where it has one.

Source: https://iver56.github.io/audiomentations/
"""

from functools import cache
from typing import Any

import numpy as np
import soxr

from hf_ser.audio import SAMPLING_RATE
from hf_ser.extras import needs_extra

_STEPS = 32768  # of 16 bits


@cache
def _transform(name: str, level: tuple[str, float], **fixed: Any) -> Any:
    """A transform of audiomentations whose range of draws is one value: it has nothing random."""
    with needs_extra():  # here: the import takes a second
        import audiomentations
    parameter, value = level
    bounds = {f"{end}_{parameter}": value for end in ("min", "max")}
    return getattr(audiomentations, name)(**bounds, **fixed, p=1.0)


def check_audiomentations() -> None:
    """Import audiomentations.

    Raises:
        MissingExtraError: it is not installed.
    """
    with needs_extra():
        import audiomentations  # noqa: F401


def _applied(clip: np.ndarray, transform: Any) -> np.ndarray:
    # A copy: some transforms modify their input.
    return np.ascontiguousarray(transform(np.array(clip, dtype=np.float32), SAMPLING_RATE), dtype=np.float32)


def gain(clip: np.ndarray, decibels: float) -> np.ndarray:
    """A clip recorded at another level: clipped at full scale and rounded to 16 bits."""
    changed = _applied(clip, _transform("Gain", ("gain_db", float(decibels))))
    return (np.rint(np.clip(changed, -1, 1 - 1 / _STEPS) * _STEPS) / _STEPS).astype(np.float32)


def clipped(clip: np.ndarray, percent: float) -> np.ndarray:
    """A clip of which so many per cent of samples are clipped, half above and half below."""
    return _applied(clip, _transform("ClippingDistortion", ("percentile_threshold", int(percent))))


def tempo(clip: np.ndarray, factor: float) -> np.ndarray:
    """A clip faster by a factor, at its own pitch."""
    return _applied(clip, _transform("TimeStretch", ("rate", float(factor)), leave_length_unchanged=False))


def pitch(clip: np.ndarray, semitones: float) -> np.ndarray:
    """A clip higher by so many semitones, at its own tempo."""
    return _applied(clip, _transform("PitchShift", ("semitones", float(semitones))))


def speed(clip: np.ndarray, factor: float) -> np.ndarray:
    """A clip faster by a factor, with tempo and pitch changed together, as with a tape."""
    return soxr.resample(clip, SAMPLING_RATE * factor, SAMPLING_RATE).astype(np.float32)


def without_start(clip: np.ndarray, percent: float) -> np.ndarray:
    """A clip without its first so many per cent."""
    return clip[round(len(clip) * percent / 100) :]


def without_end(clip: np.ndarray, percent: float) -> np.ndarray:
    """A clip without its last so many per cent."""
    return clip[: len(clip) - round(len(clip) * percent / 100)]

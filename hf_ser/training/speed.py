"""Speed perturbation: training clips resampled by a factor drawn in every epoch.

Ko et al. 2015, "Audio augmentation for speech recognition",
https://www.isca-archive.org/interspeech_2015/ko15_interspeech.html. Tempo and pitch change together. `Resample` of
audiomentations draws any rate of a range instead of one of a few factors.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hf_ser.arguments import ConfigError
from hf_ser.audio import SAMPLING_RATE
from hf_ser.remote_code.windows import resample

_SLOWEST, _FASTEST = 0.5, 2.0
_DRAWS = 1  # keeps these draws apart from those of other changes of the same clip


def check_speed_factors(factors: Any) -> None:
    """Check the value of `speed_factors`.

    Raises:
        ConfigError: not a list of numbers from 0.5 to 2.
    """
    numbers = isinstance(factors, list) and all(isinstance(factor, (int, float)) for factor in factors)
    if not numbers or not factors or not all(_SLOWEST <= factor <= _FASTEST for factor in factors):
        raise ConfigError(
            f"speed_factors is {factors!r}; expected a list of numbers from {_SLOWEST} to {_FASTEST:g}, such as "
            "[0.9, 1.0, 1.1]."
        )


def change_speed(waveform: np.ndarray, factor: float) -> np.ndarray:
    """Play a waveform faster by a factor: (samples,) float32 -> (samples / factor,) float32.

    >>> change_speed(np.zeros(16_000, np.float32), 1.25).shape
    (12800,)
    """
    changed = resample(waveform, round(SAMPLING_RATE * factor))
    return changed if changed.size else waveform  # a single sample


def at_drawn_speed(
    waveform: np.ndarray, factors: Sequence[float], *, seed: int, epoch: int, number: int
) -> np.ndarray:
    """Change the speed of a training clip by a factor that depends only on seed, epoch and number.

    Args:
        waveform: (samples,) at 16 kHz.
        factors: to draw from, each equally likely; empty for no change.
        seed: of the training.
        epoch: from 0.
        number: position of the clip among the training clips.

    Returns:
        (samples,) float32.
    """
    if not factors:
        return waveform
    draws = np.random.default_rng(np.random.SeedSequence((seed, epoch, number), spawn_key=(_DRAWS,)))
    return change_speed(waveform, factors[int(draws.integers(len(factors)))])

"""Noise of several kinds, made from a random generator, and levels of waveforms: (samples,) at 16 kHz."""

from collections.abc import Sequence

import numpy as np

from hf_ser.audio import SAMPLING_RATE

VOICES = 8  # clips in babble
_EXPONENTS = {"white": 0.0, "pink": 1.0, "brown": 2.0}  # power falls with frequency ** exponent
_HUM_HZ = (50, 60)
_LOWEST_HZ = 20.0  # below hearing, brown noise would only drift


def coloured_noise(colour: str, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of a colour (white, pink or brown), float64 at an arbitrary level.

    >>> coloured_noise("pink", 16_000, np.random.default_rng(0)).shape
    (16000,)
    """
    spectrum = np.fft.rfft(rng.normal(size=num_samples))
    frequency = np.maximum(np.fft.rfftfreq(num_samples, 1 / SAMPLING_RATE), _LOWEST_HZ)
    return np.fft.irfft(spectrum * frequency ** (-_EXPONENTS[colour] / 2), num_samples)


def mains_hum(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Mains hum of 50 or 60 Hz with eight harmonics, in faint white noise; float64 at an arbitrary level."""
    time = np.arange(num_samples) / SAMPLING_RATE
    base, phases = rng.choice(_HUM_HZ), rng.uniform(0, 2 * np.pi, 8)
    wave = sum(np.sin(2 * np.pi * base * (k + 1) * time + phases[k]) / (k + 1) for k in range(8))
    return wave + 0.01 * rng.normal(size=num_samples)


def babble(
    voices: Sequence[np.ndarray], num_samples: int, rng: np.random.Generator, number: int = VOICES
) -> np.ndarray:
    """A mixture of clips at equal levels, each repeated to the length and begun at a random place.

    Args:
        voices: clips (samples,) to choose from.
        num_samples: length of the mixture.
        rng: chooses the clips and their starts.
        number: of clips in the mixture.
    """
    whole = np.zeros(num_samples)
    for index in rng.choice(len(voices), number, replace=len(voices) < number):
        repeated = np.resize(at_level(voices[index], -25), num_samples)
        whole += np.roll(repeated, rng.integers(num_samples))
    return whole


def with_noise(clip: np.ndarray, added: np.ndarray, ratio_db: float) -> np.ndarray:
    """Add noise to a clip at a signal-to-noise ratio in decibels, over the whole clip with its pauses.

    Noise of another length is repeated or cut. If the sum exceeds full scale, it is scaled down as a whole, which
    changes no ratio.

    Args:
        clip: (samples,), not silent.
        added: noise, at any level.
        ratio_db: power of the clip over power of the noise.

    Returns:
        (samples,) float32.

    >>> clip, noise = np.full(8, 0.1), np.array([1.0, -1.0])
    >>> with_noise(clip, noise, 20.0)[:2].astype(float).round(2).tolist()
    [0.11, 0.09]
    """
    noise = np.resize(added, len(clip)).astype(np.float64)
    noise *= 10 ** (-ratio_db / 20) * _rms(clip) / _rms(noise)
    whole = clip + noise
    return (whole / max(1.0, float(np.abs(whole).max()))).astype(np.float32)


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def level_dbfs(clip: np.ndarray) -> float:
    """RMS level in decibels of full scale, at least -180.

    >>> round(level_dbfs(np.full(4, 0.1)), 3)
    -20.0
    """
    return float(20 * np.log10(max(1e-9, _rms(clip))))


def at_level(clip: np.ndarray, level: float) -> np.ndarray:
    """A clip at an RMS level in decibels of full scale; peaks above full scale are clipped."""
    return np.clip(clip * 10 ** ((level - level_dbfs(clip)) / 20), -1, 1).astype(np.float32)

"""Sounds that no emotion corpus has: noise, hum, music and clicks, and speech through bad channels.

Everything is made from a random generator, (samples,) float32 at 16 kHz.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import signal

from hf_ser.conditions import noises
from hf_ser.conditions.channels import telephone_band as telephone  # noqa: F401 - a channel of this module
from hf_ser.conditions.noises import at_level, level_dbfs, with_noise  # noqa: F401

RATE = 16_000  # Hz
DURATION_S = 3.0
_CHORDS = ((0, 4, 7), (5, 9, 12), (7, 11, 14), (9, 12, 16))  # semitones above the key: I, IV, V, vi


def noise(colour: str, level: float) -> Callable[[np.random.Generator], np.ndarray]:
    """Noise of a colour (white, pink or brown) at an RMS level in decibels of full scale."""
    return lambda rng: at_level(noises.coloured_noise(colour, round(RATE * DURATION_S), rng), level)


def hum(rng: np.random.Generator) -> np.ndarray:
    """Mains hum with harmonics, at -30 dBFS, in faint noise."""
    return at_level(noises.mains_hum(round(RATE * DURATION_S), rng), -30)


def music(rng: np.random.Generator) -> np.ndarray:
    """A progression of chords of decaying notes with harmonics, at -20 dBFS."""
    whole = np.zeros(round(RATE * DURATION_S))
    key_hz, beat = rng.uniform(110, 330), round(RATE * rng.uniform(0.3, 0.6))
    for start in range(0, len(whole), beat):
        time = np.arange(len(whole) - start) / RATE
        for note in _CHORDS[rng.integers(len(_CHORDS))]:
            pitch = key_hz * 2 ** (note / 12)
            tone = sum(np.sin(2 * np.pi * pitch * k * time) / k**1.5 for k in range(1, 7))
            whole[start:] += tone * np.exp(-3 * time) * np.minimum(1, time / 0.01)
    return at_level(whole, -20)


def clicks(rng: np.random.Generator) -> np.ndarray:
    """Five short clicks per second at random times."""
    whole = 1e-4 * rng.normal(size=round(RATE * DURATION_S))
    for start in rng.integers(0, len(whole) - 200, round(5 * DURATION_S)):
        whole[start : start + 200] += rng.uniform(0.2, 0.8) * rng.normal(size=200) * np.exp(-np.arange(200) / 30)
    return np.clip(whole, -1, 1).astype(np.float32)


def silence(rng: np.random.Generator) -> np.ndarray:
    """Digital silence."""
    return np.zeros(round(RATE * DURATION_S), np.float32)


def babble(voices: Sequence[np.ndarray], rng: np.random.Generator, number: int = 8) -> np.ndarray:
    """A mixture of clips of several speakers, at -25 dBFS.

    Args:
        voices: clips (samples,) to choose from.
        rng: chooses them and their starts.
        number: of clips in the mixture.
    """
    return at_level(noises.babble(voices, round(RATE * DURATION_S), rng, number), -25)


# --- speech through a channel -----------------------------------------------------------------------------------


def room(clip: np.ndarray, decay_s: float, rng: np.random.Generator) -> np.ndarray:
    """A room as exponentially decaying noise after the direct sound.

    Args:
        clip: (samples,).
        decay_s: time in which the reverberation falls by 60 dB.
        rng: of the reflections.
    """
    time = np.arange(round(RATE * decay_s)) / RATE
    response = rng.normal(size=len(time)) * 10 ** (-3 * time / decay_s) * 0.1
    response[0] = 1.0
    wet = signal.fftconvolve(clip, response)[: len(clip)]
    return at_level(wet, level_dbfs(clip))


def quieter(clip: np.ndarray, level: float) -> np.ndarray:
    """A clip at an RMS level in decibels of full scale, rounded to 16 bits as in a recording."""
    return (np.rint(at_level(clip, level) * 32768) / 32768).astype(np.float32)

"""Sounds that no emotion corpus has: noise, hum, music and clicks, and speech through bad channels.

Everything is made from a random generator, (samples,) float32 at 16 kHz.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import signal

RATE = 16_000  # Hz
DURATION_S = 3.0
_EXPONENTS = {"white": 0.0, "pink": 1.0, "brown": 2.0}  # power falls with frequency ** exponent
_HUM_HZ = (50, 60)
_CHORDS = ((0, 4, 7), (5, 9, 12), (7, 11, 14), (9, 12, 16))  # semitones above the key: I, IV, V, vi


def noise(colour: str, level_dbfs: float) -> Callable[[np.random.Generator], np.ndarray]:
    """Noise of a colour (white, pink or brown) at an RMS level in decibels of full scale."""

    def make(rng: np.random.Generator) -> np.ndarray:
        number = round(RATE * DURATION_S)
        spectrum = np.fft.rfft(rng.normal(size=number))
        frequency = np.maximum(np.fft.rfftfreq(number, 1 / RATE), 20.0)  # below hearing, brown noise would only drift
        return at_level(np.fft.irfft(spectrum * frequency ** (-_EXPONENTS[colour] / 2), number), level_dbfs)

    return make


def hum(rng: np.random.Generator) -> np.ndarray:
    """Mains hum with harmonics, at -30 dBFS, in faint noise."""
    time = np.arange(round(RATE * DURATION_S)) / RATE
    base, phases = rng.choice(_HUM_HZ), rng.uniform(0, 2 * np.pi, 8)
    wave = sum(np.sin(2 * np.pi * base * (k + 1) * time + phases[k]) / (k + 1) for k in range(8))
    return at_level(wave + 0.01 * rng.normal(size=len(time)), -30)


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
    whole = np.zeros(round(RATE * DURATION_S))
    for index in rng.choice(len(voices), number, replace=len(voices) < number):
        repeated = np.resize(at_level(voices[index], -25), len(whole))
        whole += np.roll(repeated, rng.integers(len(whole)))
    return at_level(whole, -25)


# --- speech through a channel -----------------------------------------------------------------------------------


def telephone(clip: np.ndarray) -> np.ndarray:
    """The band of a telephone, 300 to 3400 Hz."""
    band = signal.butter(6, (300, 3400), "bandpass", fs=RATE, output="sos")
    return signal.sosfilt(band, clip).astype(np.float32)


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


def with_noise(clip: np.ndarray, added: np.ndarray, ratio_db: float) -> np.ndarray:
    """A clip in noise, which is repeated to its length, at a signal-to-noise ratio in decibels."""
    whole = clip + at_level(np.resize(added, len(clip)), level_dbfs(clip) - ratio_db)
    return (whole / max(1.0, float(np.abs(whole).max()))).astype(np.float32)


def quieter(clip: np.ndarray, level: float) -> np.ndarray:
    """A clip at an RMS level in decibels of full scale, rounded to 16 bits as in a recording."""
    return (np.rint(at_level(clip, level) * 32768) / 32768).astype(np.float32)


def level_dbfs(clip: np.ndarray) -> float:
    """RMS level in decibels of full scale."""
    return float(20 * np.log10(max(1e-9, np.sqrt(np.mean(np.square(clip, dtype=float))))))


def at_level(clip: np.ndarray, level: float) -> np.ndarray:
    """A clip at an RMS level in decibels of full scale; peaks above full scale are clipped."""
    return np.clip(clip * 10 ** ((level - level_dbfs(clip)) / 20), -1, 1).astype(np.float32)

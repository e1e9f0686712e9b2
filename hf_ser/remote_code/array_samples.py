"""Samples passed as arrays, and the valid range of levels."""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from .audio_errors import AudioError, argument_error

RATE_RANGE_HZ = (1_000, 768_000)
MAX_CHANNELS = 64
LARGEST_LEVEL = 16.0  # float samples above this level are integers that were never scaled


def read_array(source: Any, sampling_rate: Any, name: str) -> tuple[np.ndarray, int, str]:
    """Convert an array to samples.

    Args:
        source: an array or tensor (samples,), (channels, samples) or (samples, channels).
        sampling_rate: Hz.
        name: name used in messages.

    Returns:
        Samples (frames, channels), int16 or float32; their rate in Hz; and a note about their level, or "".

    Raises:
        AudioError: the rate is missing, the shape or type is not supported, or the level is out of range.
    """
    array = as_numpy(source, name)
    if sampling_rate is None:
        raise argument_error(name, "an array without sampling rate", "sampling_rate in Hz", "Pass sampling_rate=...")
    check_rate(sampling_rate, name)
    if array.ndim not in (1, 2) or (array.ndim == 2 and min(array.shape) > MAX_CHANNELS):
        raise argument_error(
            name,
            f"an array of shape {array.shape}",
            f"(samples,), (channels, samples) or (samples, channels) with at most {MAX_CHANNELS} channels",
            "Pass one recording at a time.",
        )
    if array.ndim == 1:
        array = array[:, None]
    elif array.shape[0] < array.shape[1]:
        array = array.T  # as in torchaudio and transformers: with fewer rows than columns, rows are channels
    samples = to_samples(array, name)
    if samples.dtype == np.int16:
        return samples, int(sampling_rate), ""
    factor, note = level_factor(iter([samples]), name, full_scale=LARGEST_LEVEL)
    if note:
        warnings.warn(f"{name}: {note}", stacklevel=2)
        samples = samples * np.float32(factor)
    return samples, int(sampling_rate), note


def as_numpy(source: Any, name: str) -> np.ndarray:
    """Convert an array, tensor or nested list to an array.

    Raises:
        AudioError: numpy cannot convert it.
    """
    if hasattr(source, "detach"):  # a torch tensor; numpy has no bfloat16
        source = source.detach().cpu()
        source = source.float() if source.is_floating_point() else source
    try:
        return np.asarray(source)
    except (RuntimeError, TypeError, ValueError) as error:  # rows of unequal lengths
        got = f"a value that numpy cannot convert to an array ({error})"
        raise argument_error(name, got, "float32 samples", "Pass one rectangular array.") from error


def to_samples(array: np.ndarray, name: str) -> np.ndarray:
    """Convert samples of any supported type to int16 or float32, in the same shape.

    Raises:
        AudioError: the type is not supported.
    """
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype == np.int16:
        return array
    if array.dtype == np.int32:
        return (array / 2.0**31).astype(np.float32)
    if array.dtype == np.uint8:
        return ((array.astype(np.float32) - 128) / 128).astype(np.float32)
    if not np.issubdtype(array.dtype, np.floating):
        got = f"samples of type {array.dtype}"
        expected = "floats in [-1, 1], int16, int32 or uint8"
        raise argument_error(name, got, expected, "Convert the array.")
    with np.errstate(over="ignore"):  # values beyond float32 become infinite, and are rejected later
        return array.astype(np.float32, copy=False)


def check_finite(samples: np.ndarray, name: str) -> None:
    """Check that int16 or float32 samples of any shape are numbers.

    Raises:
        AudioError: some are NaN or infinite.
    """
    if samples.dtype != np.int16 and not np.isfinite(samples).all():
        bad = int(samples.size - np.isfinite(samples).sum())
        got = f"{bad} NaN or infinite samples of {samples.size}"
        raise AudioError("not_finite", name, got, "finite samples", "Repair or remove the recording.")


def check_rate(rate: Any, name: str) -> None:
    """Check a sampling rate.

    Raises:
        AudioError: the rate is not an integer, or not in `RATE_RANGE_HZ`.
    """
    low, high = RATE_RANGE_HZ
    if isinstance(rate, bool) or not isinstance(rate, (int, np.integer)) or not low <= rate <= high:
        raise argument_error(
            name, f"sampling rate {rate!r}", f"an integer from {low} to {high} Hz", "Pass the rate of the recording."
        )


def level_factor(blocks: Iterator[np.ndarray], name: str, full_scale: float) -> tuple[float, str]:
    """Return the factor that scales float samples to [-1, 1], and a note if it is not 1.

    Samples in the range of 16-bit integers are divided by 32768, which is exact. Samples between `full_scale` and
    that range, as in loud recordings, are scaled to full scale.

    Raises:
        AudioError: the level is out of range, and the samples are not 16-bit integers.
    """
    peak, whole = 0.0, True
    for block in blocks:
        high, low = float(block.max(initial=0.0)), float(block.min(initial=0.0))
        if not math.isfinite(high - low):  # a NaN is both minimum and maximum
            return 1.0, ""  # rejected when the block is read
        peak = max(peak, high, -low)
        whole = whole and peak > LARGEST_LEVEL and bool((block == np.rint(block)).all())
    if peak <= full_scale:
        return 1.0, ""
    if peak <= LARGEST_LEVEL:
        return 1.0 / peak, f"float samples reach {peak:.4g} times full scale; they were scaled to full scale"
    if whole and peak <= 32768:
        return 1 / 32768, f"float samples reach {peak:.6g}, the range of 16-bit integers; they were divided by 32768"
    raise AudioError(
        "level",
        name,
        f"float samples that reach {peak:.6g}",
        "about [-1, 1]",
        "Divide integer samples by their range (32768 for 16 bit).",
    )

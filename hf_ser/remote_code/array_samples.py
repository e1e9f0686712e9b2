"""Decoded samples that a person hands over, and the levels that samples may have."""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from .audio_errors import AudioError, argument_error

RATE_RANGE_HZ = (1_000, 768_000)
MAX_CHANNELS = 64
_LARGEST_LEVEL = 16.0  # of float samples; beyond it they are integers that were never scaled


def read_array(source: Any, sampling_rate: Any, name: str) -> tuple[np.ndarray, int, str]:
    """Samples (frames, channels), int16 or float32, their rate in Hz, and what is unusual about them.

    Args:
        source: an array or tensor (samples,), (channels, samples) or (samples, channels).
        sampling_rate: Hz.
        name: in messages.

    Raises:
        AudioError: no rate, another shape or type, or a level beyond any scale.
    """
    array = _as_numpy(source, name)
    if sampling_rate is None:
        raise argument_error(
            name, "an array without its sampling rate", "sampling_rate in Hz", "Pass sampling_rate=..."
        )
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
        array = array.T  # torchaudio's and transformers' order: fewer rows than columns means rows are channels
    samples = _to_samples(array, name)
    if samples.dtype == np.int16:
        return samples, int(sampling_rate), ""
    factor, note = level_factor(iter([samples]), name, full_scale=_LARGEST_LEVEL)
    if note:
        warnings.warn(f"{name}: {note}", stacklevel=2)
        samples = samples * np.float32(factor)
    return samples, int(sampling_rate), note


def _as_numpy(source: Any, name: str) -> np.ndarray:
    if hasattr(source, "detach"):  # a tensor of torch, maybe of bfloat16, which numpy does not have
        source = source.detach().cpu()
        source = source.float() if source.is_floating_point() else source
    try:
        return np.asarray(source)
    except (RuntimeError, TypeError, ValueError) as error:  # rows of unequal lengths
        got = f"what numpy cannot hold ({error})"
        raise argument_error(name, got, "float32 samples", "Pass one plain array.") from error


def _to_samples(array: np.ndarray, name: str) -> np.ndarray:
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
    with np.errstate(over="ignore"):  # beyond float32, which is then refused as infinite
        return array.astype(np.float32, copy=False)


def check_rate(rate: Any, name: str) -> None:
    """Refuse a sampling rate that cannot be.

    Raises:
        AudioError: with what was got.
    """
    low, high = RATE_RANGE_HZ
    if isinstance(rate, bool) or not isinstance(rate, (int, np.integer)) or not low <= rate <= high:
        raise argument_error(
            name, f"sampling rate {rate!r}", f"a whole number of Hz from {low} to {high}", "Pass the true rate."
        )


def level_factor(blocks: Iterator[np.ndarray], name: str, full_scale: float) -> tuple[float, str]:
    """What float samples are multiplied with, and what to say of it.

    Samples of the size of integers are integers that nobody divided by their range, which is exact to do where they
    are of 16 bits. Between `full_scale` and that size, as loud recordings may be, they are scaled to full scale.

    Raises:
        AudioError: beyond any level, and no 16-bit integers.
    """
    peak, whole = 0.0, True
    for block in blocks:
        high, low = float(block.max(initial=0.0)), float(block.min(initial=0.0))
        if not math.isfinite(high - low):  # a NaN is both
            return 1.0, ""  # refused when it is read
        peak = max(peak, high, -low)
        whole = whole and peak > _LARGEST_LEVEL and bool((block == np.rint(block)).all())
    if peak <= full_scale:
        return 1.0, ""
    if peak <= _LARGEST_LEVEL:
        return 1.0 / peak, f"float samples reach {peak:.4g} times full scale: scaled to it"
    if whole and peak <= 32768:
        return 1 / 32768, f"float samples reach {peak:.6g}, as 16-bit integers do: divided by 32768"
    raise AudioError(
        "level",
        name,
        f"float samples that reach {peak:.6g}",
        "about [-1, 1]",
        "Divide integer samples by their range (32768 for 16 bit).",
    )

"""Check the chunks of a stream before they change it."""

from typing import Any

import numpy as np

from hf_ser.remote_code.array_samples import LARGEST_LEVEL, MAX_CHANNELS, as_numpy, check_finite, to_samples
from hf_ser.remote_code.audio_errors import AudioError, argument_error
from hf_ser.remote_code.windows import peak

NAME = "stream"  # of a stream, in messages


def read_chunk(samples: Any) -> np.ndarray:
    """Convert a chunk of a stream to samples.

    Args:
        samples: an array, tensor or list (samples,) or (samples, channels). Other than with whole recordings, the
            orientation is fixed, because a chunk can have fewer samples than channels.

    Returns:
        (samples, channels), int16 or float32.

    Raises:
        AudioError: the shape or type is not supported, samples are NaN or infinite, or the level is out of range.
    """
    array = as_numpy(samples, NAME)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or not 1 <= array.shape[1] <= MAX_CHANNELS:
        got, expected = f"a chunk of shape {array.shape}", f"(samples,) or (samples, channels), {MAX_CHANNELS} at most"
        raise argument_error(NAME, got, expected, "Transpose the chunk, or pass one channel.")
    chunk = to_samples(array, NAME)
    check_finite(chunk, NAME)
    if chunk.dtype != np.int16 and peak(chunk) > LARGEST_LEVEL:
        # Whole recordings in the range of integers are scaled, but one chunk does not show the level of a stream.
        got = f"float samples that reach {peak(chunk):.6g}"
        raise AudioError(
            "level", NAME, got, "about [-1, 1]", "Divide integer samples by their range (32768 for 16 bit)."
        )
    return chunk


def check_unchanged(name: str, got: int, expected: int, unit: str) -> None:
    """Reject a sampling rate or number of channels that changes in mid-stream.

    Args:
        name: what it is, in the message.
        got: of a chunk.
        expected: of the stream.
        unit: after the values in the message.

    Raises:
        AudioError: the values differ.
    """
    if got != expected:
        remedy = f"Pass chunks with {expected}{unit}, or call finish() before a new stream."
        raise argument_error(NAME, f"{name} {got}{unit} in mid-stream", f"{expected}{unit}", remedy)

"""Load audio: a path, URL, bytes, file object, array or `datasets` audio becomes mono float32 at 16 kHz.

The decoder is the same as in the pipeline, dataset preparation, the command line and the demo. soxr (HQ) resamples.
Unusable recordings raise `AudioError`.
"""

from typing import Any, Literal

import numpy as np

from hf_ser.remote_code.array_samples import check_rate
from hf_ser.remote_code.audio_errors import AudioError, argument_error
from hf_ser.remote_code.audio_sources import describe
from hf_ser.remote_code.decoder import SAMPLING_RATE, Decoded, decode
from hf_ser.remote_code.preprocessing import Preprocessing, fix_length, normalize_peak, trim_silence
from hf_ser.remote_code.windows import peak, resample, silence_error, to_mono

__all__ = [
    "SAMPLING_RATE",
    "AudioError",
    "Decoded",
    "Preprocessing",
    "decode",
    "describe",
    "fix_length",
    "load_audio",
    "normalize_peak",
    "peak",
    "resample",
    "silence_error",
    "to_mono",
    "trim_silence",
]


def load_audio(
    source: Any,
    sampling_rate: int | None = None,
    *,
    target_sampling_rate: int = SAMPLING_RATE,
    trim_db: float | None = None,
    normalize: bool = False,
    duration_s: float | None = None,
    position: Literal["start", "center"] | np.random.Generator = "start",
    min_duration_s: float = 0.0,
) -> np.ndarray:
    """Return a mono float32 waveform of shape (samples,) at `target_sampling_rate`.

    Args:
        source: a path (`str` or `os.PathLike`, including pipes such as /dev/stdin), a URL (http, https or file),
            encoded bytes, a binary file object, an array or tensor of shape (samples,), (channels, samples) or
            (samples, channels), or a mapping from `datasets`: `{"bytes", "path"}` or
            `{"array", "sampling_rate"}`.
        sampling_rate: in Hz; required for a bare array, not allowed for a source that has one.
        target_sampling_rate: sampling rate of the result, in Hz.
        trim_db: cut leading and trailing audio that is this many dB below the loudest frame (published systems use
            20); None does not trim.
        normalize: scale so that the largest magnitude is 1 (silence stays silence).
        duration_s: pad with zeros at the end, or crop, to this many seconds; None keeps the length.
        position: the part that a crop keeps: the start, the center, or a random part drawn from a Generator.
        min_duration_s: reject recordings shorter than this, in seconds, before trimming.

    Returns:
        float32 (samples,).

    Raises:
        AudioError: the source is unusable; the message names the path and the remedy.

    >>> from hf_ser import load_audio
    >>> waveform = load_audio("voice.wav", trim_db=30.0, duration_s=3.0)
    >>> waveform.shape, waveform.dtype.name
    ((48000,), 'float32')
    >>> load_audio("missing.wav")
    Traceback (most recent call last):
    ...
    hf_ser.remote_code.audio_errors.AudioError: missing.wav: got no such file; expected an audio file. Check the path.
    """
    name = describe(source)
    check_rate(target_sampling_rate, name)
    num_samples = _check_cut(name, trim_db, duration_s, position, min_duration_s, target_sampling_rate)
    decoded = decode(source, sampling_rate)
    waveform = to_mono(decoded.samples)
    if waveform.size < min_duration_s * decoded.sampling_rate:
        raise AudioError(
            "too_short",
            name,
            f"{waveform.size / decoded.sampling_rate:.3f} s",
            f"at least {min_duration_s:.3f} s",
            "Remove the recording or lower min_duration_s.",
        )
    waveform = resample(waveform, decoded.sampling_rate, target_sampling_rate)
    if waveform.size == 0:
        got = f"{len(decoded.samples)} samples"
        expected = "at least one after resampling"
        raise AudioError("too_short", name, got, expected, "Remove or replace the recording.")
    if trim_db is not None:
        waveform = trim_silence(waveform, trim_db)
    if normalize:
        waveform = normalize_peak(waveform)
    if num_samples is not None:
        waveform = fix_length(waveform, num_samples, position)
    return waveform


def _check_cut(
    name: str, trim_db: float | None, duration_s: float | None, position: Any, min_duration_s: float, rate: int
) -> int | None:
    """Check the options of `load_audio`; return the fixed length in samples, or None to keep the length."""
    if trim_db is not None and not 0 < trim_db < np.inf:
        raise argument_error(name, f"trim_db={trim_db}", "a positive number of dB", "Use 20, for example.")
    if not 0 <= min_duration_s < np.inf:
        raise argument_error(name, f"min_duration_s={min_duration_s}", "0 s or more", "Use 0.3, for example.")
    if not isinstance(position, np.random.Generator) and position not in ("start", "center"):
        raise argument_error(name, f"position={position!r}", "start, center or a numpy Generator", "Use start.")
    if duration_s is None:
        return None
    if not 1 <= duration_s * rate < 2**40:
        raise argument_error(name, f"duration_s={duration_s}", "a positive number of seconds", "Use 3.0, for example.")
    return round(duration_s * rate)

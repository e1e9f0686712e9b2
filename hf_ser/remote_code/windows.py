"""Recordings as windows at 16 kHz that a model takes: one for a short recording, several for a long one."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import soxr

from .audio_errors import AudioError
from .decoder import SAMPLING_RATE, Recording, open_recording

MIN_DURATION_S = 0.1
SILENCE_DBFS = -60.0  # a recording or window whose largest sample lies below this is silent
# A recording of at most so many seconds is one window, unless window_s is given, and longer ones are cut. For models
# that use only the first seconds of a clip, windows are as long as that, and a recording of up to twice as much is
# one: clips of the corpora get the answer that the model was trained and scored to give.
WHOLE_S, WINDOW_S = 30.0, 10.0


@dataclass(frozen=True)
class WindowPlan:
    """How recordings are cut.

    Args:
        window_s: seconds of a window.
        stride_s: seconds between the starts of windows.
        whole_s: a recording of at most so many seconds is one window.
    """

    window_s: float
    stride_s: float
    whole_s: float

    @classmethod
    def for_model(
        cls, max_input_s: float | None, window_s: float | None = None, stride_s: float | None = None
    ) -> "WindowPlan":
        """The requested windows, or those that fit a model.

        Args:
            max_input_s: seconds of a clip beyond which the model uses nothing; None where it uses the whole.
            window_s: seconds of a window; None for those that fit the model.
            stride_s: seconds between the starts of windows; None for half a window.

        Raises:
            ValueError: a stride longer than a window, or either below `MIN_DURATION_S`.
        """
        check_seconds("window_s", window_s)
        check_seconds("stride_s", stride_s)
        size = float(window_s or max_input_s or WINDOW_S)
        step = float(stride_s or size / 2)
        if step > size:
            raise ValueError(f"stride_s: got {step}; expected at most window_s, which is {size}.")
        return cls(size, step, window_s or (2 * max_input_s if max_input_s else WHOLE_S))


def check_seconds(name: str, value: float | None) -> None:
    """Reject a window or stride that is too short.

    Raises:
        ValueError: below `MIN_DURATION_S`.
    """
    if value is not None and not value >= MIN_DURATION_S:
        raise ValueError(f"{name}: got {value}; expected at least {MIN_DURATION_S} s.")


@dataclass
class Window:
    """A part of a recording: seconds, and the waveform (samples,), float32 at 16 kHz."""

    start_s: float
    end_s: float
    waveform: np.ndarray

    @cached_property
    def silent(self) -> bool:
        """Whether it has no sound (see `is_silent`)."""
        return is_silent(self.waveform)


def read_windows(source: Any, plan: WindowPlan) -> Iterator[Window]:
    """Cut a recording into windows without holding all of it.

    Args:
        source: see `decoder.open_recording`; an array without a rate is taken for 16 kHz.
        plan: how.

    Yields:
        Windows. The last may be shorter; it brings more than what the one before it had.

    Raises:
        AudioError: see `open_recording`; a recording that is too short, or, at the end, silent throughout.
    """
    recording = open_recording(source, _rate_of(source))
    levels = _Levels()
    for window in _windows(recording, levels, plan):
        levels.sounding = levels.sounding or not window.silent
        yield window
    if not levels.sounding:
        raise silence_error(recording.name, levels.channels_peak)


def cut_waveform(waveform: np.ndarray, plan: WindowPlan) -> Iterator[Window]:
    """The windows of a waveform (samples,), float32 at 16 kHz, as `read_windows` cuts recordings."""
    if len(waveform) <= plan.whole_s * SAMPLING_RATE:
        yield Window(0.0, len(waveform) / SAMPLING_RATE, waveform)
    else:
        yield from _cut(iter([waveform]), plan)


def is_silent(waveform: np.ndarray) -> bool:
    """Whether the largest sample lies below `SILENCE_DBFS`."""
    return bool(np.abs(waveform).max(initial=0.0) < 10 ** (SILENCE_DBFS / 20))


def silence_error(name: str, channels_peak: float) -> AudioError:
    """The error for a recording whose mixed channels are silent.

    Args:
        name: of the recording.
        channels_peak: largest magnitude of any one channel.

    >>> from hf_ser.audio import silence_error
    >>> silence_error("voice.wav", channels_peak=0.5).remedy
    'Keep one channel, or invert one of them.'
    """
    expected = f"sound above {SILENCE_DBFS:g} dBFS"
    if channels_peak >= 10 ** (SILENCE_DBFS / 20):
        got = f"channels that cancel each other: each has sound (peak {channels_peak:.3g}), their mean has none"
        return AudioError("silent", name, got, expected, "Keep one channel, or invert one of them.")
    got = f"silence (largest sample {channels_peak:.6f} of full scale)"
    return AudioError("silent", name, got, expected, "Remove or replace the recording.")


@dataclass
class _Levels:
    """Whether a recording has any sound, and in which channels; complete at its end."""

    sounding: bool = False
    channels_peak: float = 0.0  # as long as nothing sounded


def _rate_of(source: Any) -> int | None:
    is_array = hasattr(source, "__array__") or isinstance(source, (list, tuple))
    return SAMPLING_RATE if is_array and not hasattr(source, "get_all_samples") else None


def _windows(recording: Recording, levels: _Levels, plan: WindowPlan) -> Iterator[Window]:
    rate = recording.sampling_rate
    blocks = _mixed(recording.blocks, levels)
    first: list[np.ndarray] = []  # counted: a header may be wrong
    frames, most = 0, plan.whole_s * rate
    while frames <= most and (block := next(blocks, None)) is not None:
        first.append(block)
        frames += len(block)
    if frames < MIN_DURATION_S * rate:
        raise AudioError(
            "too_short",
            recording.name,
            f"{frames / rate:.3f} s",
            f"at least {MIN_DURATION_S} s of sound",
            "Remove the recording, or record a longer one.",
        )
    if frames <= most:
        waveform = resample(np.concatenate(first), rate)
        yield Window(0.0, len(waveform) / SAMPLING_RATE, waveform)
        return
    yield from _cut(_resampled(itertools.chain(first, blocks), rate), plan)


def _cut(blocks: Iterator[np.ndarray], plan: WindowPlan) -> Iterator[Window]:
    size, step = round(plan.window_s * SAMPLING_RATE), round(plan.stride_s * SAMPLING_RATE)
    held, start = np.zeros(0, np.float32), 0
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) > size:  # more comes after this window
            yield Window(start / SAMPLING_RATE, (start + size) / SAMPLING_RATE, held[:size].copy())
            held, start = held[step:], start + step
    yield Window(start / SAMPLING_RATE, (start + len(held)) / SAMPLING_RATE, held)


def _mixed(blocks: Iterator[np.ndarray], levels: _Levels) -> Iterator[np.ndarray]:
    for block in blocks:
        if not levels.sounding:
            levels.channels_peak = max(levels.channels_peak, peak(block))
        yield to_mono(block)


def peak(samples: np.ndarray) -> float:
    """Largest magnitude of int16 or float32 samples, of full scale.

    >>> import numpy as np
    >>> from hf_ser.audio import peak
    >>> peak(np.array([[8192], [-16384]], np.int16))
    0.5
    """
    scale = 32768 if samples.dtype == np.int16 else 1
    return float(max(samples.max(initial=0), -samples.min(initial=0).astype(np.float64))) / scale


def to_mono(samples: np.ndarray) -> np.ndarray:
    """Average the channels: (frames, channels) int16 or float32 -> (frames,) float32 in [-1, 1).

    >>> import numpy as np
    >>> from hf_ser.audio import to_mono
    >>> to_mono(np.array([[0.5, 0.25], [0.5, -0.5]], np.float32)).tolist()
    [0.375, 0.0]
    """
    scale = np.float32(1 / 32768 if samples.dtype == np.int16 else 1)
    if samples.shape[1] == 1:
        return samples[:, 0] * scale
    return samples.mean(axis=1, dtype=np.float64).astype(np.float32) * scale


def resample(waveform: np.ndarray, sampling_rate: int, target_sampling_rate: int = SAMPLING_RATE) -> np.ndarray:
    """Resample (samples,) with soxr's HQ filter; equal rates return the input.

    >>> import numpy as np
    >>> from hf_ser.audio import resample
    >>> resample(np.zeros(48_000, np.float32), 48_000).size
    16000
    """
    if sampling_rate == target_sampling_rate:
        return waveform
    return soxr.resample(waveform, sampling_rate, target_sampling_rate, quality="HQ")


def _resampled(blocks: Iterator[np.ndarray], sampling_rate: int) -> Iterator[np.ndarray]:
    if sampling_rate == SAMPLING_RATE:
        yield from blocks
        return
    stream = soxr.ResampleStream(sampling_rate, SAMPLING_RATE, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)

"""Split recordings into windows at 16 kHz: one for a short recording, several for a long one."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import soxr

from .audio_errors import AudioError
from .decoder import SAMPLING_RATE, Recording, open_recording

MIN_DURATION_S = 0.1
SILENCE_DBFS = -60.0  # a recording or window whose peak is below this level is silent
# Without window_s, recordings of up to WHOLE_S seconds are one window; longer ones are split. If a model uses only the
# first seconds of a clip, windows have that length, and recordings of up to twice that length are one window. This way
# clips of the corpora are classified as in training and evaluation.
WHOLE_S, WINDOW_S = 30.0, 10.0


@dataclass(frozen=True)
class WindowPlan:
    """How recordings are split into windows.

    Args:
        window_s: length of a window in seconds.
        stride_s: seconds between the starts of windows.
        whole_s: recordings of up to this many seconds are one window.
    """

    window_s: float
    stride_s: float
    whole_s: float

    @classmethod
    def for_model(
        cls, max_input_s: float | None, window_s: float | None = None, stride_s: float | None = None
    ) -> "WindowPlan":
        """Make the requested plan, or the default plan of a model.

        Args:
            max_input_s: number of seconds at the start of a clip that the model uses; None if it uses whole clips.
            window_s: length of a window in seconds; None for the model's default.
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
    """A part of a recording: start and end in seconds, and the waveform (samples,), float32 at 16 kHz."""

    start_s: float
    end_s: float
    waveform: np.ndarray

    @cached_property
    def silent(self) -> bool:
        """Whether the window is silent (see `is_silent`)."""
        return is_silent(self.waveform)


def read_windows(source: Any, plan: WindowPlan) -> Iterator[Window]:
    """Split a recording into windows without keeping all of it in memory.

    Args:
        source: see `decoder.open_recording`; an array without a rate is assumed to have 16 kHz.
        plan: length and stride of the windows.

    Yields:
        Windows. The last one may be shorter, and always contains samples that are not in the one before it.

    Raises:
        AudioError: see `open_recording`; also if the recording is too short or, after the last window, if all of it
            is silent.
    """
    recording = open_recording(source, _rate_of(source))
    levels = _Levels()
    for window in _windows(recording, levels, plan):
        levels.sounding = levels.sounding or not window.silent
        yield window
    if not levels.sounding:
        raise silence_error(recording.name, levels.channels_peak)


class WindowCutter:
    """Split a mono recording that comes in pieces of any size into the same windows as `read_windows`.

    Keeps at most `plan.whole_s` seconds, one window and the last piece in memory.

    Args:
        plan: length and stride of the windows.
        sampling_rate: of the pieces, in Hz.

    >>> import numpy as np
    >>> cutter = WindowCutter(WindowPlan.for_model(None, window_s=1.0, stride_s=0.5), 16_000)
    >>> [(window.start_s, window.end_s) for window in cutter.feed(np.zeros(24_000, np.float32))]
    [(0.0, 1.0), (0.5, 1.5)]
    >>> [window.end_s for window in cutter.feed(np.zeros(1_000, np.float32))], next(cutter.finish()).end_s
    ([], 1.5625)
    """

    def __init__(self, plan: WindowPlan, sampling_rate: int) -> None:
        self.frames = 0  # number of samples so far; counted, because headers may be wrong
        self._rate = sampling_rate
        self._whole = plan.whole_s * sampling_rate
        self._size, self._step = round(plan.window_s * SAMPLING_RATE), round(plan.stride_s * SAMPLING_RATE)
        self._first: list[np.ndarray] = []  # pieces of a recording that may be a single window
        self._split = False  # whether the recording is longer than that
        self._held, self._start = np.zeros(0, np.float32), 0  # samples from the start of the next window, at 16 kHz
        self._resampler: Any = None
        if sampling_rate != SAMPLING_RATE:
            self._resampler = soxr.ResampleStream(sampling_rate, SAMPLING_RATE, 1, dtype="float32", quality="HQ")

    def feed(self, piece: np.ndarray) -> Iterator[Window]:
        """Yield the windows that a piece (samples,), float32, completes."""
        self.frames += len(piece)
        if not self._split:
            self._first.append(piece)
            if self.frames <= self._whole:
                return
            self._split = True
        pieces, self._first = self._first or [piece], []
        for each in pieces:
            yield from self._cut(each if self._resampler is None else self._resampler.resample_chunk(each))

    def finish(self) -> Iterator[Window]:
        """Yield the remaining windows. The last one may be shorter, but not without new samples."""
        if not self._split:
            pieces = self._first or [np.zeros(0, np.float32)]
            waveform = resample(np.concatenate(pieces) if len(pieces) > 1 else pieces[0], self._rate)
            yield Window(0.0, len(waveform) / SAMPLING_RATE, waveform)
            return
        if self._resampler is not None:
            yield from self._cut(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        if self._start == 0 or len(self._held) > self._size - self._step:
            end = self._start + len(self._held)
            yield Window(self._start / SAMPLING_RATE, end / SAMPLING_RATE, self._held)

    def _cut(self, piece: np.ndarray) -> Iterator[Window]:
        self._held = np.concatenate([self._held, piece])
        while len(self._held) >= self._size:
            start, waveform = self._start, self._held[: self._size].copy()
            self._held, self._start = self._held[self._step :], start + self._step
            yield Window(start / SAMPLING_RATE, (start + self._size) / SAMPLING_RATE, waveform)
        if self._held.base is not None:  # a view, which would keep a long piece in memory
            self._held = self._held.copy()


def cut_waveform(waveform: np.ndarray, plan: WindowPlan) -> Iterator[Window]:
    """Split a waveform (samples,), float32 at 16 kHz, into the same windows as `read_windows`."""
    cutter = WindowCutter(plan, SAMPLING_RATE)
    yield from cutter.feed(waveform)
    yield from cutter.finish()


def is_silent(waveform: np.ndarray, level_dbfs: float = SILENCE_DBFS) -> bool:
    """Whether the largest magnitude is below a level in dB of full scale."""
    return bool(np.abs(waveform).max(initial=0.0) < 10 ** (level_dbfs / 20))


def silence_error(name: str, channels_peak: float) -> AudioError:
    """Make the error for a recording that is silent after mixing its channels.

    Args:
        name: name of the recording.
        channels_peak: largest magnitude of any channel.

    >>> from hf_ser.audio import silence_error
    >>> silence_error("voice.wav", channels_peak=0.5).remedy
    'Keep one channel, or invert one.'
    """
    expected = f"a peak above {SILENCE_DBFS:g} dBFS"
    if channels_peak >= 10 ** (SILENCE_DBFS / 20):
        got = f"channels that cancel each other (peak of a channel {channels_peak:.3g}, their mean is silent)"
        return AudioError("silent", name, got, expected, "Keep one channel, or invert one.")
    got = f"silence (peak {channels_peak:.6f} of full scale)"
    return AudioError("silent", name, got, expected, "Remove or replace the recording.")


@dataclass
class _Levels:
    """Levels of a recording; complete once it has been read."""

    sounding: bool = False  # whether any window is not silent
    channels_peak: float = 0.0  # largest magnitude of any channel, measured until a window is not silent


def _rate_of(source: Any) -> int | None:
    is_array = hasattr(source, "__array__") or isinstance(source, (list, tuple))
    return SAMPLING_RATE if is_array and not hasattr(source, "get_all_samples") else None


def _windows(recording: Recording, levels: _Levels, plan: WindowPlan) -> Iterator[Window]:
    rate = recording.sampling_rate
    cutter = WindowCutter(plan, rate)
    for block in _mixed(recording.blocks, levels):
        yield from cutter.feed(block)
    if cutter.frames < MIN_DURATION_S * rate:
        raise AudioError(
            "too_short",
            recording.name,
            f"{cutter.frames / rate:.3f} s",
            f"at least {MIN_DURATION_S} s",
            "Remove the recording, or use a longer one.",
        )
    yield from cutter.finish()


def _mixed(blocks: Iterator[np.ndarray], levels: _Levels) -> Iterator[np.ndarray]:
    for block in blocks:
        if not levels.sounding:
            levels.channels_peak = max(levels.channels_peak, peak(block))
        yield to_mono(block)


def peak(samples: np.ndarray) -> float:
    """Largest magnitude of int16 or float32 samples, as a fraction of full scale.

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

"""Recordings of any kind to mono float32 at 16 kHz: decoded by libsndfile, without the ffmpeg program."""

import io
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import requests
import soundfile as sf
import soxr
import torch

SAMPLING_RATE = 16_000
MIN_DURATION_S = 0.1
SILENCE_DBFS = -60.0  # a recording or window whose largest sample lies below this is silent
MAX_DOWNLOAD_BYTES = 1 << 30
MAX_CHANNELS = 64
RATE_RANGE_HZ = (1_000, 768_000)
_BLOCK_S = 10
_TIMEOUT_S = 30.0
_UNKNOWN_FRAMES = 1 << 62  # libsndfile's length of a FLAC stream whose encoder did not know it
# In libsndfile's log: what a WAV or AIFF declares and what is there. A program that streams a WAV into a pipe does not
# know its size and declares one near the 32-bit maximum.
_DECLARED = re.compile(r"^ ?(?:data|SSND) : (\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_BYTES = 0x7FFFF000
_NO_END = re.compile("lacks an end-of-stream bit|without an End-Of-Stream flag")  # of OGG Vorbis and Opus


class RecordingError(ValueError):
    """A recording that cannot be used; `reason` is a short code.

    Reasons: not_found, undecodable, not_finite, too_short, silent, argument.
    """

    def __init__(self, reason: str, name: str, got: str, expected: str) -> None:
        self.reason, self.name, self.got, self.expected = reason, name, got, expected
        super().__init__(f"{name}: got {got}; expected {expected}.")

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions rebuild themselves from their message by default; worker processes need all four parts.
        return type(self), (self.reason, self.name, self.got, self.expected)


class Samples(NamedTuple):
    """What a source holds, still in its own rate: blocks (frames, channels), float32."""

    name: str
    blocks: Iterator[np.ndarray]
    sampling_rate: int


class _Forward(sf.SoundFile):
    """A file that is read on and on: soundfile seeks after every read, which fails where a length is unknown."""

    def seekable(self) -> bool:
        return False


def open_recording(source: Any) -> Samples:
    """Open a recording; nothing but its header is read yet where it is a file.

    Args:
        source: a path, a URL (http or https), encoded bytes, a binary file object, an array or tensor (samples,) at
            16 kHz, a mapping as the stock pipelines and `datasets` know it (`raw` or `array` with `sampling_rate`, or
            `bytes` and `path`), or a torchcodec decoder.

    Raises:
        RecordingError: none of these, not found, or not to be decoded.
    """
    name = describe(source)
    if isinstance(source, Mapping):
        if source.get("bytes") is not None:
            source = source["bytes"]
        elif "raw" in source or "array" in source:
            array = source["raw"] if source.get("raw") is not None else source.get("array")
            if "sampling_rate" not in source:
                raise RecordingError("argument", name, "an array without sampling_rate", "both in the mapping")
            return _from_array(array, source["sampling_rate"], name)
        else:
            source = source.get("path")
    if hasattr(source, "get_all_samples"):  # torchcodec, which `datasets` decodes with
        samples = source.get_all_samples()
        return _from_array(samples.data, samples.sample_rate, name)
    if isinstance(source, (np.ndarray, torch.Tensor)):
        return _from_array(source, SAMPLING_RATE, name)
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        source = _download(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        source = io.BytesIO(bytes(source))
    if not isinstance(source, (str, os.PathLike)) and not hasattr(source, "read"):
        expected = "a path, URL, bytes, file object, array, or a mapping of these with its sampling rate"
        raise RecordingError("argument", name, f"a {type(source).__name__}", expected)
    return _from_file(source, name)


def read_windows(
    source: Any, window_s: float, stride_s: float, whole_s: float
) -> Iterator[tuple[float, float, np.ndarray]]:
    """Cut a recording into windows without holding all of it.

    Args:
        source: see `open_recording`.
        window_s: seconds of a window.
        stride_s: seconds between their starts.
        whole_s: a recording of at most so many seconds is one window.

    Yields:
        Start and end in seconds, and the waveform (samples,), float32 at 16 kHz. The last window may be shorter; it
        brings more than what the one before it had.

    Raises:
        RecordingError: see `open_recording`; samples that are not finite, or a recording that is too short.
    """
    samples = open_recording(source)
    blocks = (_to_mono(block, samples.name) for block in samples.blocks)
    first: list[np.ndarray] = []  # not by what a header says: it may lie, or not know
    frames, most = 0, whole_s * samples.sampling_rate
    while frames <= most and (block := next(blocks, None)) is not None:
        first.append(block)
        frames += len(block)
    if frames < MIN_DURATION_S * samples.sampling_rate:
        got = f"{frames / samples.sampling_rate:.3f} s"
        raise RecordingError("too_short", samples.name, got, f"at least {MIN_DURATION_S} s of sound")
    if frames <= most:
        waveform = _whole(np.concatenate(first), samples.sampling_rate)
        yield 0.0, len(waveform) / SAMPLING_RATE, waveform
        return
    size, step = round(window_s * SAMPLING_RATE), round(stride_s * SAMPLING_RATE)
    held, start = np.zeros(0, np.float32), 0
    for block in _resampled(itertools.chain(first, blocks), samples.sampling_rate):
        held = np.concatenate([held, block])
        while len(held) > size:  # more comes after this window
            yield start / SAMPLING_RATE, (start + size) / SAMPLING_RATE, held[:size].copy()
            held, start = held[step:], start + step
    yield start / SAMPLING_RATE, (start + len(held)) / SAMPLING_RATE, held


def is_silent(waveform: np.ndarray) -> bool:
    """Whether the largest sample lies below `SILENCE_DBFS`."""
    return bool(np.abs(waveform).max(initial=0.0) < 10 ** (SILENCE_DBFS / 20))


def describe(source: Any) -> str:
    """Name a recording in messages: its path or URL where it has one."""
    if isinstance(source, Mapping):
        return str(source.get("path") or "audio")
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else "audio"


def _whole(waveform: np.ndarray, sampling_rate: int) -> np.ndarray:
    """All of it at once, as `soxr.resample` gives it."""
    if sampling_rate == SAMPLING_RATE:
        return waveform
    return soxr.resample(waveform, sampling_rate, SAMPLING_RATE, quality="HQ")


def _resampled(blocks: Iterator[np.ndarray], sampling_rate: int) -> Iterator[np.ndarray]:
    if sampling_rate == SAMPLING_RATE:
        yield from blocks
        return
    stream = soxr.ResampleStream(sampling_rate, SAMPLING_RATE, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _to_mono(block: np.ndarray, name: str) -> np.ndarray:
    if not np.isfinite(block).all():
        raise RecordingError("not_finite", name, "samples that are NaN or infinite", "finite ones")
    return block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float64).astype(np.float32)


def _from_file(source: Any, name: str) -> Samples:
    if isinstance(source, (str, os.PathLike)):
        if not os.path.isfile(source):
            raise RecordingError("not_found", name, "no such file", "a recording")
        source = os.fspath(source)
    try:
        file = _Forward(source)
    except (sf.LibsndfileError, RuntimeError, OSError, TypeError) as error:
        got = f"no readable audio ({_cause(error)})"
        raise RecordingError("undecodable", name, got, "WAV, FLAC, MP3, OGG or AIFF") from error
    low, high = RATE_RANGE_HZ
    if not low <= file.samplerate <= high or file.channels > MAX_CHANNELS:
        file.close()
        got = f"a header with {file.channels} channels at {file.samplerate} Hz"
        raise RecordingError("undecodable", name, got, f"at most {MAX_CHANNELS} at {low} to {high} Hz")
    log = file.extra_info
    declared = _DECLARED.search(log)
    if (declared and int(declared[2]) < int(declared[1]) < _UNKNOWN_BYTES) or _NO_END.search(log):
        file.close()
        got = f"audio that breaks off ({declared[2]} bytes of {declared[1]})" if declared else "audio without its end"
        raise RecordingError("undecodable", name, got, "a whole file")
    return Samples(name, _read_blocks(file, name), file.samplerate)


def _read_blocks(file: sf.SoundFile, name: str) -> Iterator[np.ndarray]:
    frames, size = 0, min(_BLOCK_S * file.samplerate, max(1, file.frames))
    with file:
        while True:
            try:
                block = file.read(size, dtype="float32", always_2d=True)
            except (sf.LibsndfileError, RuntimeError) as error:
                got = f"audio that breaks off ({_cause(error)})"
                raise RecordingError("undecodable", name, got, "a whole file") from error
            if len(block) == 0:
                break
            frames += len(block)
            yield block
        if frames < file.frames < _UNKNOWN_FRAMES:
            got = f"audio that breaks off ({frames} frames of {file.frames})"
            raise RecordingError("undecodable", name, got, "a whole file")


def _cause(error: Exception) -> str:
    """What libsndfile says, without the object that it read from."""
    return " ".join(str(getattr(error, "error_string", error)).split()).rstrip(".")


def _from_array(array: Any, sampling_rate: int, name: str) -> Samples:
    low, high = RATE_RANGE_HZ
    if not isinstance(sampling_rate, (int, np.integer)) or not low <= sampling_rate <= high:
        got = f"sampling_rate {sampling_rate!r}"
        raise RecordingError("argument", name, got, f"a whole number of Hz from {low} to {high}")
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        array = (array.float() if array.is_floating_point() else array).numpy()  # numpy has no bfloat16
    try:
        samples = np.asarray(array)
    except ValueError as error:  # rows of unequal lengths
        raise RecordingError("argument", name, "what numpy cannot hold", "one array") from error
    if samples.ndim == 1:
        samples = samples[:, None]
    elif samples.ndim == 2 and samples.shape[0] < samples.shape[1]:
        samples = samples.T  # channels first
    fits = samples.ndim == 2 and 1 <= samples.shape[1] <= MAX_CHANNELS
    if not fits or not np.issubdtype(samples.dtype, np.floating):
        got = f"an array of shape {np.shape(array)}, {samples.dtype}"
        expected = "(samples,) or (channels, samples), floating point between -1 and 1"
        raise RecordingError("argument", name, got, expected)
    return Samples(name, iter([samples.astype(np.float32)]), int(sampling_rate))


def _download(url: str) -> bytes:
    """The bytes behind a URL; redirects are followed."""
    content = bytearray()
    try:
        with requests.get(url, stream=True, timeout=_TIMEOUT_S) as answer:
            if not answer.ok:
                raise RecordingError("not_found", url, f"HTTP status {answer.status_code}", "a recording")
            for part in answer.iter_content(1 << 20):
                content += part
                if len(content) > MAX_DOWNLOAD_BYTES:
                    raise RecordingError("not_found", url, "more than 1 GiB", "a recording")
    except RecordingError:
        raise
    except (requests.RequestException, ValueError) as error:  # a ValueError: host names that urllib3 cannot take
        got = f"no whole answer ({type(error).__name__})"
        raise RecordingError("not_found", url, got, "a recording that the address gives within 30 s") from error
    return bytes(content)

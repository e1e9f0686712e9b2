"""The one door for audio: path, bytes, file object, array or `datasets` audio dict -> mono float32 at 16 kHz.

soundfile (libsndfile) decodes by content, so that AIFF data named `.wav` loads; soxr (HQ) resamples. 16-bit FLAC, the
format of the prepared datasets, takes a short cut through miniaudio's decoder: the same samples in half the time.
Whatever cannot be used raises `AudioError` with what was got, what was expected, the remedy and the path.
"""

import io
import os
import warnings
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import soundfile as sf
import soxr

from hf_ser.containers import missing_bytes
from hf_ser.errors import SerError
from hf_ser.flac import decode_flac16, flac_info

SAMPLING_RATE = 16_000
RATE_RANGE_HZ = (1_000, 768_000)
MAX_CHANNELS = 64
# A damaged header can declare any length, so that reading goes by blocks and not by what the header says.
_FRAMES_PER_BLOCK = 1 << 22
_UNKNOWN_FRAMES = 1 << 62  # libsndfile's length of a FLAC stream whose encoder did not know it
_REMOVE = "Remove or replace the recording."
LFS_POINTER = b"version https://git-lfs"

Reason = Literal[
    "not_found", "empty", "lfs_pointer", "undecodable", "truncated", "not_finite", "too_short", "argument"
]


class AudioError(SerError):
    """Audio that cannot be used; `reason` is a short code, `path` says where it came from."""

    def __init__(self, reason: Reason, path: str, got: str, expected: str, remedy: str) -> None:
        self.reason, self.path, self.got, self.expected, self.remedy = reason, path, got, expected, remedy
        super().__init__(f"{path}: got {got}; expected {expected}. {remedy}")

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions rebuild themselves from their message by default; worker processes need all five parts.
        return type(self), (self.reason, self.path, self.got, self.expected, self.remedy)


class Decoded(NamedTuple):
    """Samples as they were recorded."""

    samples: np.ndarray  # (frames, channels): int16 as stored in 16-bit files, else float32 scaled to [-1, 1)
    sampling_rate: int  # Hz


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
        source: a path (`str` or `os.PathLike`), encoded bytes, a binary file object, an array of shape (samples,),
            (channels, samples) or (samples, channels), or a mapping as `datasets` makes them: `{"bytes", "path"}` or
            `{"array", "sampling_rate"}`.
        sampling_rate: Hz; required with a bare array, refused with anything that carries its own.
        target_sampling_rate: Hz of the result.
        trim_db: cut leading and trailing audio that is this many dB below the loudest frame (published systems use
            20); None keeps everything.
        normalize: scale so that the largest magnitude is 1 (silence stays silence).
        duration_s: pad with zeros at the end, or crop, to this many seconds; None keeps the length.
        position: which part a crop keeps: the start, the centre, or a random part drawn from a Generator.
        min_duration_s: refuse recordings shorter than this, in seconds, before trimming.

    Raises:
        AudioError: the source cannot be used; its message names the path and the remedy.
    """
    name = describe(source)
    _check_rate(target_sampling_rate, name)
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
        raise AudioError(
            "too_short", name, f"{len(decoded.samples)} samples", "at least one after resampling", _REMOVE
        )
    if trim_db is not None:
        waveform = trim_silence(waveform, trim_db)
    if normalize:
        waveform = normalize_peak(waveform)
    if num_samples is not None:
        waveform = fix_length(waveform, num_samples, position)
    return waveform


def decode(source: Any, sampling_rate: int | None = None) -> Decoded:
    """Decode `source` (see `load_audio`) without changing its rate or channels.

    Raises:
        AudioError: not found, empty, a Git LFS pointer, truncated, undecodable, or NaN or infinite samples.
    """
    name = describe(source)
    if isinstance(source, Mapping):
        source, sampling_rate = _open_mapping(source, sampling_rate, name)
    if isinstance(source, str | os.PathLike):
        source = read_bytes(source)
    elif hasattr(source, "read"):
        source = _read_object(source, name)
    if isinstance(source, bytes | bytearray | memoryview):
        if sampling_rate is not None:
            raise _argument_error(
                name, "encoded audio together with sampling_rate", "no sampling_rate", "The file carries its own rate."
            )
        decoded = _decode_bytes(bytes(source), name)
    elif hasattr(source, "__array__") or isinstance(source, list | tuple):
        decoded = _from_array(source, sampling_rate, name)
    else:
        raise _argument_error(
            name,
            f"a {type(source).__name__}",
            "a path, bytes, a binary file object, an array with its sampling rate, or a datasets audio dict",
            "Pass one of these.",
        )
    _check_samples(decoded.samples, name)
    return decoded


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a file whole.

    Raises:
        AudioError: there is no such file, or it cannot be read.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        remedy = "Download it first." if str(path).startswith(("http://", "https://")) else "Check the path."
        raise AudioError("not_found", name, "no such file", "an audio file", remedy) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise AudioError(
            "not_found",
            name,
            getattr(error, "strerror", None) or str(error),
            "a readable audio file",
            "Check the path and its permissions.",
        ) from error


def to_mono(samples: np.ndarray) -> np.ndarray:
    """Average the channels: (frames, channels) int16 or float32 -> (frames,) float32 in [-1, 1)."""
    scale = np.float32(1 / 32768 if samples.dtype == np.int16 else 1)
    if samples.shape[1] == 1:
        return samples[:, 0] * scale
    return samples.mean(axis=1, dtype=np.float64).astype(np.float32) * scale


def resample(waveform: np.ndarray, sampling_rate: int, target_sampling_rate: int = SAMPLING_RATE) -> np.ndarray:
    """Resample (samples,) with soxr's HQ filter; equal rates return the input."""
    if sampling_rate == target_sampling_rate:
        return waveform
    return soxr.resample(waveform, sampling_rate, target_sampling_rate, quality="HQ")


def trim_silence(waveform: np.ndarray, trim_db: float, frame_length: int = 2048, hop_length: int = 512) -> np.ndarray:
    """Cut both ends where the framewise RMS lies more than `trim_db` dB below its maximum.

    Same frames and thresholds as `librosa.effects.trim(top_db=trim_db)`, which the published systems use; a silent
    waveform is returned whole.
    """
    energy = np.concatenate([[0.0], np.cumsum(waveform.astype(np.float64) ** 2)])
    centres = np.arange(0, waveform.size + 1, hop_length)
    last = waveform.size
    starts, ends = (centres - frame_length // 2).clip(0, last), (centres + frame_length // 2).clip(0, last)
    mean_square = np.maximum(energy[ends] - energy[starts], 0.0) / frame_length
    mean_square = np.maximum(mean_square, 1e-10)  # librosa's floor of 1e-5 on the amplitude
    loud = np.flatnonzero(mean_square > mean_square.max() * 10 ** (-trim_db / 10))
    return waveform[loud[0] * hop_length : min(last, (loud[-1] + 1) * hop_length)]


def normalize_peak(waveform: np.ndarray) -> np.ndarray:
    """Scale so that the largest magnitude is 1; silence is returned unchanged."""
    peak = float(np.abs(waveform).max(initial=0.0))
    return waveform if peak == 0.0 else (waveform / np.float32(peak)).astype(np.float32)


def fix_length(
    waveform: np.ndarray, num_samples: int, position: Literal["start", "center"] | np.random.Generator = "start"
) -> np.ndarray:
    """Pad with zeros at the end, or keep the start, the centre or a random part, so that the size is `num_samples`."""
    excess = waveform.size - num_samples
    if excess <= 0:
        return np.pad(waveform, (0, -excess))
    if isinstance(position, np.random.Generator):
        start = int(position.integers(excess + 1))
    else:
        start = {"start": 0, "center": excess // 2}[position]
    return waveform[start : start + num_samples]


def describe(source: Any) -> str:
    """Name a source in messages: its path where it has one, else its kind."""
    if isinstance(source, Mapping):
        path = source.get("path")
        return str(path) if path else f"audio dict with keys {', '.join(map(str, source))}"
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return f"{len(source)} bytes of audio"
    name = getattr(source, "name", None)  # files have one; tensors have None
    return str(name) if name is not None else f"{type(source).__name__} object"


def _check_cut(
    name: str, trim_db: float | None, duration_s: float | None, position: Any, min_duration_s: float, rate: int
) -> int | None:
    """Check what `load_audio` was asked to cut; return the fixed length in samples, or None for the clip's own."""
    if trim_db is not None and not 0 < trim_db < np.inf:
        raise _argument_error(name, f"trim_db={trim_db}", "a positive number of dB", "Use 20, say.")
    if not 0 <= min_duration_s < np.inf:
        raise _argument_error(name, f"min_duration_s={min_duration_s}", "0 s or more", "Use 0.3, say.")
    if not isinstance(position, np.random.Generator) and position not in ("start", "center"):
        raise _argument_error(name, f"position={position!r}", "start, center or a numpy Generator", "Use start.")
    if duration_s is None:
        return None
    if not 1 <= duration_s * rate < 2**40:
        raise _argument_error(name, f"duration_s={duration_s}", "a positive number of seconds", "Use 3.0, say.")
    return round(duration_s * rate)


def _argument_error(name: str, got: str, expected: str, remedy: str) -> AudioError:
    return AudioError("argument", name, got, expected, remedy)


def _check_rate(rate: Any, name: str) -> None:
    low, high = RATE_RANGE_HZ
    if isinstance(rate, bool) or not isinstance(rate, int | np.integer) or not low <= rate <= high:
        raise _argument_error(
            name, f"sampling rate {rate!r}", f"a whole number of Hz from {low} to {high}", "Pass the true rate."
        )


def _open_mapping(source: Mapping[str, Any], sampling_rate: int | None, name: str) -> tuple[Any, int | None]:
    if source.get("bytes") is not None:
        return source["bytes"], sampling_rate
    for key in ("array", "raw"):
        if source.get(key) is not None:
            if sampling_rate is not None and "sampling_rate" in source:
                raise _argument_error(
                    name, "sampling_rate beside a dict that has one", "one rate", "Leave sampling_rate out."
                )
            return source[key], source.get("sampling_rate", sampling_rate)
    if source.get("path"):
        return source["path"], sampling_rate
    raise _argument_error(
        name,
        f"an audio dict with {', '.join(map(str, source)) or 'no keys'} and no content",
        "one of bytes, array (with sampling_rate) or path",
        "Load the dataset with Audio(decode=False), or pass the array with its rate.",
    )


def _read_object(file: Any, name: str) -> bytes:
    try:
        content = file.read()
    except (OSError, ValueError) as error:  # closed, or opened as text that the recording is not
        got = f"a file object that cannot be read ({error})"
        raise _argument_error(name, got, "bytes", 'Open it with "rb".') from error
    if not isinstance(content, bytes):
        raise _argument_error(
            name, f"a file object that reads {type(content).__name__}", "bytes", 'Open it with "rb".'
        )
    return content


def _decode_bytes(content: bytes, name: str) -> Decoded:
    if not content:
        raise AudioError("empty", name, "0 bytes", "an audio file", "Download or copy the file again.")
    if content.startswith(LFS_POINTER):
        raise AudioError(
            "lfs_pointer",
            name,
            "a Git LFS pointer instead of the recording",
            "an audio file",
            "Run `git lfs pull` in the repository, or download an archive that holds the recordings.",
        )
    flac = decode_flac16(content)
    if flac is not None:
        _check_header(flac[1], flac[0].shape[1], name)
        return Decoded(*flac)
    try:
        # A name ending in .raw would switch soundfile to headerless data, so it only ever sees the content.
        with sf.SoundFile(io.BytesIO(content)) as file:
            declared, rate = file.frames, file.samplerate
            _check_header(rate, file.channels, name)
            samples = _read_blocks(file)
    except (sf.LibsndfileError, RuntimeError) as error:
        raise _decoding_error(content, name, error) from error
    missing = missing_bytes(content)
    if missing or len(samples) < declared < _UNKNOWN_FRAMES:
        got = f"{len(samples)} frames, cut short" + (
            f" ({missing} bytes are missing)" if missing else f" of {declared}"
        )
        raise AudioError("truncated", name, got, "the whole recording", "Download or copy the file again.")
    return Decoded(samples, rate)


def _check_header(rate: int, channels: int, name: str) -> None:
    if not RATE_RANGE_HZ[0] <= rate <= RATE_RANGE_HZ[1] or channels > MAX_CHANNELS:
        raise AudioError(
            "undecodable",
            name,
            f"{channels} channels at {rate} Hz",
            f"at most {MAX_CHANNELS} channels at {RATE_RANGE_HZ[0]} to {RATE_RANGE_HZ[1]} Hz",
            "The header is damaged: replace the file.",
        )


def _read_blocks(file: sf.SoundFile) -> np.ndarray:
    """Read to the end, (frames, channels): int16 from 16-bit files, else float32."""
    dtype = "int16" if file.subtype == "PCM_16" else "float32"
    block = min(_FRAMES_PER_BLOCK, file.frames)
    blocks: list[np.ndarray] = []
    while not blocks or len(blocks[-1]) == block > 0:
        blocks.append(file.read(block, dtype=dtype, always_2d=True))
    return np.concatenate(blocks) if len(blocks) > 1 else blocks[0]


def _decoding_error(content: bytes, name: str, error: Exception) -> AudioError:
    info = flac_info(content)
    if info is not None:  # FLAC frames carry checksums, so damage shows as an error instead of a short read
        got = f"FLAC of {info.frames} frames that breaks off or is damaged"
        return AudioError("truncated", name, got, "the whole recording", "Download or copy the file again.")
    cause = getattr(error, "error_string", error)
    return AudioError(
        "undecodable",
        name,
        f"{len(content)} bytes starting {content[:12]!r} that libsndfile cannot read ({cause})",
        "WAV, FLAC, MP3, OGG or AIFF",
        "Replace the file or convert it to WAV.",
    )


def _from_array(source: Any, sampling_rate: int | None, name: str) -> Decoded:
    try:
        array = np.asarray(source)
    except (RuntimeError, TypeError, ValueError) as error:  # ragged lists, tensors that numpy cannot hold
        got = f"what numpy cannot hold ({error})"
        raise _argument_error(
            name, got, "float32 samples", "Pass tensor.detach().float(), or a plain array."
        ) from error
    if sampling_rate is None:
        raise _argument_error(
            name, "an array without its sampling rate", "sampling_rate in Hz", "Pass sampling_rate=..."
        )
    _check_rate(sampling_rate, name)
    if array.ndim not in (1, 2) or (array.ndim == 2 and min(array.shape) > MAX_CHANNELS):
        raise _argument_error(
            name,
            f"an array of shape {array.shape}",
            f"(samples,), (channels, samples) or (samples, channels) with at most {MAX_CHANNELS} channels",
            "Pass one recording at a time.",
        )
    if array.ndim == 1:
        array = array[:, None]
    elif array.shape[0] < array.shape[1]:
        array = array.T  # torchaudio's and transformers' order: fewer rows than columns means rows are channels
    return Decoded(_to_samples(array, name), int(sampling_rate))


def _to_samples(array: np.ndarray, name: str) -> np.ndarray:
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype == np.int16:
        return array
    if array.dtype == np.int32:
        return (array / 2.0**31).astype(np.float32)
    if array.dtype == np.uint8:
        return ((array.astype(np.float32) - 128) / 128).astype(np.float32)
    if not np.issubdtype(array.dtype, np.floating):
        raise _argument_error(
            name, f"samples of type {array.dtype}", "floats in [-1, 1], int16, int32 or uint8", "Convert the array."
        )
    peak = np.abs(array).max(initial=0.0)
    if np.isfinite(peak) and peak > 16:
        warnings.warn(
            f"{name}: float samples reach {peak:.6g}; expected about [-1, 1]. Integer samples cast to float must be "
            "divided by their range (32768 for 16 bit).",
            stacklevel=4,
        )
    return array.astype(np.float32)


def _check_samples(samples: np.ndarray, name: str) -> None:
    if samples.size == 0:
        raise AudioError("empty", name, "0 samples", "at least 1 sample", _REMOVE)
    if samples.dtype != np.int16 and not np.isfinite(samples).all():
        bad = int(samples.size - np.isfinite(samples).sum())
        raise AudioError(
            "not_finite",
            name,
            f"{bad} NaN or infinite samples of {samples.size}",
            "finite samples",
            "Repair or remove the recording.",
        )

"""Decode, check, hash and encode one recording of a corpus."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hf_ser import audio
from hf_ser.errors import SerError
from hf_ser.remote_code.flac import encode_flac, is_flac16_mono, to_pcm16


class ScanError(SerError):
    """A folder that cannot be scanned."""


@dataclass(frozen=True)
class Limits:
    """The limits that a clip must meet."""

    min_duration_s: float = 0.3
    silence_dbfs: float = -60.0  # a clip whose peak level is below this is silent

    def __post_init__(self) -> None:
        if not 0 <= self.min_duration_s < 3600:
            raise ScanError(f"--min_duration_s is {self.min_duration_s}; expected at least 0 and less than 3600 s.")
        if not -120 <= self.silence_dbfs <= 0:
            raise ScanError(f"--silence_dbfs is {self.silence_dbfs}; expected a level from -120 to 0 dBFS.")


_ROUNDING_S = 0.01  # annotation tools round the end of the last segment


class Examined(NamedTuple):
    """A recording that passed all checks.

    Args:
        flac: 16 kHz mono 16-bit FLAC bytes.
        sha256: see `content_sha256`.
        duration: seconds.
        notes: unusual properties of the file that do not prevent its use.
    """

    flac: bytes
    sha256: str
    duration: float
    notes: tuple[str, ...]


def examine(path: Path, limits: Limits, content: bytes | None = None) -> Examined:
    """Check one recording and encode it.

    Args:
        path: path of the recording.
        limits: limits that the recording must meet.
        content: content of the file, for a recording that is not in a file.

    Raises:
        AudioError: if the recording cannot be decoded, is truncated, is silent, or is shorter than the limit.
    """
    if content is None:
        content = _read_file(path)
    decoded, pcm = read_checked(path, limits, content)
    duration = len(decoded.samples) / decoded.sampling_rate
    if not decoded.notes and is_flac16_mono(content, audio.SAMPLING_RATE):  # already in the stored format
        return Examined(content, content_sha256(pcm), duration, ())
    mono = audio.to_mono(decoded.samples)
    return _encoded(decoded, mono, pcm)


def _encoded(decoded: audio.Decoded, mono: np.ndarray, pcm: np.ndarray) -> Examined:
    notes = list(decoded.notes)
    clipped = 0 if decoded.samples.dtype == np.int16 else int((np.abs(mono) > 1).sum())
    if clipped:
        notes.append(f"{clipped} samples beyond full scale were clipped")
    flac = encode_flac(audio.resample(mono, decoded.sampling_rate), audio.SAMPLING_RATE)
    return Examined(flac, content_sha256(pcm), len(decoded.samples) / decoded.sampling_rate, tuple(notes))


class SegmentedRecordings:
    """Cuts segments from recordings. The last recording stays decoded, so that its segments decode it once."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._decoded: audio.Decoded | audio.AudioError | None = None

    def examine(self, path: Path, start_s: float | None, end_s: float | None, limits: Limits) -> Examined:
        """Check one segment of a recording and encode it.

        Args:
            path: path of the recording.
            start_s: start of the segment in seconds; None for the start of the recording.
            end_s: end of the segment in seconds; None for the end of the recording.
            limits: limits that the segment must meet.

        Raises:
            AudioError: see `examine`, or the segment is not within the recording.
        """
        whole = self._decode(path)
        segment = _cut(whole, path, start_s or 0.0, end_s)
        pcm = _checked_pcm(segment, limits, audio.describe(path))
        return _encoded(segment, audio.to_mono(segment.samples), pcm)

    def _decode(self, path: Path) -> audio.Decoded:
        if path != self._path:
            self._path, self._decoded = path, None  # frees the last recording before the next one is decoded
            try:
                self._decoded = _decode_file(path)
            except audio.AudioError as error:
                self._decoded = error
        if isinstance(self._decoded, audio.Decoded):
            return self._decoded
        assert self._decoded is not None
        raise self._decoded


def _cut(whole: audio.Decoded, path: Path, start_s: float, end_s: float | None) -> audio.Decoded:
    total_s = len(whole.samples) / whole.sampling_rate
    if start_s >= total_s or (end_s is not None and end_s > total_s + _ROUNDING_S):
        end = "the end" if end_s is None else f"{end_s:g} s"
        raise audio.AudioError(
            "segment",
            audio.describe(path),
            f"a segment from {start_s:g} s to {end}",
            f"a segment within the recording, which has {total_s:.3f} s",
            "Correct its start and end.",
        )
    stop = None if end_s is None else round(end_s * whole.sampling_rate)
    return whole._replace(samples=whole.samples[round(start_s * whole.sampling_rate) : stop])


def _read_file(path: Path) -> bytes:
    """Content of a regular file; empty for anything else, for which the decoder then raises the error."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            return file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except (OSError, ValueError):
        return b""


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # opening a pipe would block


def read_checked(path: Path, limits: Limits, content: bytes = b"") -> tuple[audio.Decoded, np.ndarray]:
    """Decode one recording and check it.

    Args:
        path: path of the recording.
        limits: limits that the recording must meet.
        content: content of the file, if it was already read.

    Returns:
        The decoded samples, and the same as 16-bit mono, (frames,) or (frames, 1).

    Raises:
        AudioError: see `examine`.
    """
    decoded = _decode_file(path, content)
    return decoded, _checked_pcm(decoded, limits, audio.describe(path))


def _decode_file(path: Path, content: bytes = b"") -> audio.Decoded:
    if not content and path.exists() and not path.is_file():  # opening a pipe would block
        name = audio.describe(path)
        raise audio.AudioError("not_found", name, "no regular file", "an audio file", "Remove it.")
    return audio.decode({"bytes": content, "path": path} if content else path)


def _checked_pcm(decoded: audio.Decoded, limits: Limits, name: str) -> np.ndarray:
    """Check the duration and level; return the samples as 16-bit mono, (frames,) or (frames, 1)."""
    duration = len(decoded.samples) / decoded.sampling_rate
    if duration < limits.min_duration_s:
        expected = f"at least {limits.min_duration_s} s"
        raise audio.AudioError("too_short", name, f"{duration:.3f} s", expected, "Remove it.")
    pcm = _mono_pcm16(decoded.samples)
    _check_level(decoded.samples, audio.peak(pcm), limits, name)
    return pcm


def _check_level(samples: np.ndarray, mono_peak: float, limits: Limits, name: str) -> None:
    least = 10 ** (limits.silence_dbfs / 20)
    if mono_peak >= least:
        return
    if samples.shape[1] > 1 and audio.peak(samples) >= least:
        raise audio.silence_error(name, audio.peak(samples))
    got = f"a peak of {mono_peak:.6f} of full scale"
    raise audio.AudioError("silent", name, got, f"at least {limits.silence_dbfs:g} dBFS", "Remove it.")


def content_sha256(samples: np.ndarray) -> str:
    """SHA-256 of the mono samples rounded to 16 bits. It identifies a recording under any file name.

    Args:
        samples: (frames, channels) int16 or float32 at the original sampling rate, as `audio.decode` returns them.
    """
    return hashlib.sha256(np.ascontiguousarray(_mono_pcm16(samples)).data).hexdigest()


def _mono_pcm16(samples: np.ndarray) -> np.ndarray:
    """(frames, channels) int16 or float32 -> int16 (frames,), or (frames, 1) if already 16-bit mono."""
    if samples.dtype == np.int16 and (samples.ndim == 1 or samples.shape[1] == 1):
        return samples
    return to_pcm16(audio.to_mono(samples))

"""One recording of a corpus: decoded, checked, hashed and encoded as it is stored."""

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
    """What a clip must satisfy."""

    min_duration_s: float = 0.3
    silence_dbfs: float = -60.0  # a clip whose largest sample lies below this is silent

    def __post_init__(self) -> None:
        if not 0 <= self.min_duration_s < 3600:
            raise ScanError(f"--min_duration_s {self.min_duration_s}; expected 0 s or more.")
        if not -120 <= self.silence_dbfs <= 0:
            raise ScanError(f"--silence_dbfs {self.silence_dbfs}; expected a level from -120 to 0 dBFS.")


class Examined(NamedTuple):
    """A recording that can be used.

    Args:
        flac: 16 kHz mono 16-bit FLAC bytes.
        sha256: see `content_sha256`.
        duration: seconds.
        notes: what was unusual about the file, though it could be used.
    """

    flac: bytes
    sha256: str
    duration: float
    notes: tuple[str, ...]


def examine(path: Path, limits: Limits) -> Examined:
    """Check one recording and encode it.

    Raises:
        AudioError: the recording cannot be decoded, is cut short, is silent, or is shorter than the limit.
    """
    content = _read_file(path)
    decoded, pcm = read_checked(path, limits, content)
    duration = len(decoded.samples) / decoded.sampling_rate
    if not decoded.notes and is_flac16_mono(content, audio.SAMPLING_RATE):  # what would be stored
        return Examined(content, content_sha256(pcm), duration, ())
    mono = audio.to_mono(decoded.samples)
    notes = list(decoded.notes)
    clipped = 0 if decoded.samples.dtype == np.int16 else int((np.abs(mono) > 1).sum())
    if clipped:
        notes.append(f"{clipped} samples beyond full scale were clipped")
    flac = encode_flac(audio.resample(mono, decoded.sampling_rate), audio.SAMPLING_RATE)
    return Examined(flac, content_sha256(pcm), duration, tuple(notes))


def _read_file(path: Path) -> bytes:
    """A regular file's content; nothing of others, about which the decoder says why they cannot be used."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            return file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except (OSError, ValueError):
        return b""


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe would be waited for


def read_checked(path: Path, limits: Limits, content: bytes = b"") -> tuple[audio.Decoded, np.ndarray]:
    """Decode one recording and check it.

    Args:
        path: of the recording.
        limits: what it must satisfy.
        content: of the file, where it was read already.

    Returns:
        Its samples, and these as mono rounded to 16 bit, (frames,) or (frames, 1).

    Raises:
        AudioError: see `examine`.
    """
    name = audio.describe(path)
    if not content and path.exists() and not path.is_file():  # a pipe would be waited for
        raise audio.AudioError("not_found", name, "no regular file", "an audio file", "Remove it.")
    decoded = audio.decode({"bytes": content, "path": path} if content else path)
    duration = len(decoded.samples) / decoded.sampling_rate
    if duration < limits.min_duration_s:
        expected = f"at least {limits.min_duration_s} s"
        raise audio.AudioError("too_short", name, f"{duration:.3f} s", expected, "Remove it.")
    pcm = _mono_pcm16(decoded.samples)
    _check_level(decoded.samples, audio.peak(pcm), limits, name)
    return decoded, pcm


def _check_level(samples: np.ndarray, mono_peak: float, limits: Limits, name: str) -> None:
    least = 10 ** (limits.silence_dbfs / 20)
    if mono_peak >= least:
        return
    if samples.shape[1] > 1 and audio.peak(samples) >= least:
        raise audio.silence_error(name, audio.peak(samples))
    got = f"largest sample {mono_peak:.6f} of full scale"
    raise audio.AudioError("silent", name, got, f"at least {limits.silence_dbfs:g} dBFS", "Remove it.")


def content_sha256(samples: np.ndarray) -> str:
    """SHA-256 of the mono samples rounded to 16 bit, by which a recording is known under any name.

    Args:
        samples: (frames, channels) int16 or float32 at the recording's own rate, as `audio.decode` gives them.
    """
    return hashlib.sha256(np.ascontiguousarray(_mono_pcm16(samples)).data).hexdigest()


def _mono_pcm16(samples: np.ndarray) -> np.ndarray:
    """(frames, channels) int16 or float32 -> int16 (frames,), or (frames, 1) where nothing needs to be changed."""
    if samples.dtype == np.int16 and (samples.ndim == 1 or samples.shape[1] == 1):
        return samples
    return to_pcm16(audio.to_mono(samples))

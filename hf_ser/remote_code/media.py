"""Decode the formats that phones and browsers record (M4A, AAC, WebM, MP4, AMR, WMA) with PyAV, if it is installed."""

import io
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .audio_errors import COPY_AGAIN, REPLACE, AudioError

try:  # an extra: its wheels contain FFmpeg's libraries
    import av
except ImportError:
    av = None  # type: ignore[assignment]

INSTALL = 'Install PyAV with pip install "hf-ser[media]", or convert the file to WAV: ffmpeg -i FILE FILE.wav'
_EBML, _SEGMENT, _CLUSTER, _BLOCKS = 0x1A45DFA3, 0x18538067, 0x1F43B675, (0xA3, 0xA0)
_AAC_RATES = 13
_AMR_BYTES = {  # bytes per frame including the header byte, by the mode in that byte
    b"#!AMR\n": (13, 14, 16, 18, 20, 21, 27, 32, 6, 0, 0, 0, 0, 0, 0, 1),
    b"#!AMR-WB\n": (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 0, 0, 0, 0, 1, 1),
}


class Media(NamedTuple):
    """A format that libsndfile does not support.

    Args:
        name: name used in messages.
        missing: minimum number of bytes that the container declares beyond the end of the file; 0 if it is complete.
    """

    name: str
    missing: int = 0


def find_media(content: bytes) -> Media | None:
    """Detect the format from its first bytes, and truncation from its container; None for other formats."""
    if content[4:8] in (b"ftyp", b"moov", b"mdat", b"wide") and len(content) >= 12:
        return Media("MP4 or M4A", _missing_of_mp4(content))
    if int.from_bytes(content[:4], "big") == _EBML:
        return Media("WebM or Matroska", _missing_of_webm(content))
    for magic in sorted(_AMR_BYTES, key=len, reverse=True):
        if content.startswith(magic):
            return Media("AMR", _missing_of_amr(content, magic))
    if content[:4] == b"\x30\x26\xb2\x75":
        return Media("WMA", _missing_of_asf(content))
    if len(content) > 7 and content[0] == 0xFF and content[1] & 0xF6 == 0xF0:
        missing = _missing_of_adts(content)
        return None if missing is None else Media("AAC", missing)
    if content[:4] == b"FLV\x01":
        return Media("FLV")
    if content[:4] == b"RIFF" and content[8:12] == b"AVI ":
        return Media("AVI", max(0, int.from_bytes(content[4:8], "little") + 8 - len(content)))
    if content[:2] == b"\x0b\x77":
        return Media("AC-3")
    return None


def read_media(content: bytes, media: Media, name: str) -> tuple[Iterator[np.ndarray], int]:
    """Decode the first audio stream to its end.

    Args:
        content: content of the file.
        media: result of `find_media`.
        name: name used in messages.

    Returns:
        Blocks (frames, channels), float32, and their sampling rate in Hz.

    Raises:
        AudioError: PyAV is not installed, or the file is truncated or cannot be decoded.
    """
    if av is None:
        got = f"{media.name}, which libsndfile cannot read, and PyAV is not installed"
        raise AudioError("undecodable", name, got, "WAV, FLAC, MP3, OGG or AIFF", INSTALL)
    if media.missing:
        got = f"{media.name} of {len(content)} bytes, at least {media.missing} bytes are missing"
        raise AudioError("truncated", name, got, "the whole recording", COPY_AGAIN)
    blocks = _decoded(content, media, name)
    first = next(blocks, None)
    if first is None:
        raise AudioError("empty", name, f"{media.name} without audio", "at least 1 sample", REPLACE)
    return itertools.chain([first[0]], (block for block, _ in blocks)), first[1]


def _decoded(content: bytes, media: Media, name: str) -> Iterator[tuple[np.ndarray, int]]:
    try:
        with av.open(io.BytesIO(content), mode="r") as container:
            if not container.streams.audio:
                raise AudioError("undecodable", name, f"{media.name} without audio", "an audio stream", REPLACE)
            rate, gathered, frames = 0, [], 0
            for frame in container.decode(container.streams.audio[0]):
                if rate and frame.sample_rate != rate:
                    got = f"{media.name} that changes from {rate} to {frame.sample_rate} Hz"
                    raise AudioError("undecodable", name, got, "one sampling rate", REPLACE)
                rate = frame.sample_rate
                gathered.append(_samples(frame))
                frames += len(gathered[-1])
                if frames >= 10 * rate:
                    yield np.concatenate(gathered), rate
                    gathered, frames = [], 0
            if gathered:
                yield np.concatenate(gathered), rate
    except (av.FFmpegError, ValueError, EOFError) as error:
        if isinstance(error, AudioError):
            raise
        got = f"{media.name} that cannot be decoded ({' '.join(str(error).split())})"
        raise AudioError("undecodable", name, got, "an intact recording", REPLACE) from error


def _samples(frame: Any) -> np.ndarray:
    """Convert a frame to samples (frames, channels), float32 in [-1, 1]."""
    array, channels = frame.to_ndarray(), frame.layout.nb_channels
    samples = array.T if frame.format.is_planar else array.reshape(-1, channels)
    if np.issubdtype(samples.dtype, np.integer):
        if samples.dtype == np.uint8:
            return ((samples.astype(np.float32) - 128) / 128).astype(np.float32)
        return (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
    return np.ascontiguousarray(samples, np.float32)


def _missing_of_mp4(content: bytes) -> int:
    """Bytes that a top-level box (ISO/IEC 14496-12) declares beyond the end of the file."""
    place, has_index = 0, False
    while place + 8 <= len(content):
        size, kind = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        if size == 1:
            size = int.from_bytes(content[place + 8 : place + 16], "big")
        has_index |= kind in (b"moov", b"moof")
        if size == 0:  # up to the end of the file
            break
        if size < 8 or not kind.isascii():
            return 0
        if place + size > len(content):
            return place + size - len(content)
        place += size
    return 0 if has_index else 1  # the index is written last


def _ebml_number(content: bytes, place: int, keep_marker: bool) -> tuple[int, int] | None:
    """Read a variable-length number and the offset after it; -1 for an unknown size (RFC 8794)."""
    if place >= len(content) or content[place] == 0:
        return None
    length = 9 - content[place].bit_length()
    raw = content[place : place + length]
    if len(raw) < length:
        return None
    value = int.from_bytes(raw, "big")
    if keep_marker:
        return value, place + length
    value &= (1 << 7 * length) - 1
    return (-1 if value == (1 << 7 * length) - 1 else value), place + length


def _missing_of_webm(content: bytes) -> int:
    """Bytes that a segment, cluster or block declares beyond the end of the file."""
    place = 0
    while place < len(content):
        number = _ebml_number(content, place, keep_marker=True)
        size = _ebml_number(content, number[1], keep_marker=False) if number is not None else None
        if number is None or size is None:
            return 1
        if size[0] >= 0 and size[1] + size[0] > len(content):
            return size[1] + size[0] - len(content)
        inside = number[0] in (_SEGMENT, _CLUSTER)
        place = size[1] if inside or size[0] < 0 else size[1] + size[0]
    return 0


def _missing_of_amr(content: bytes, magic: bytes) -> int:
    place, sizes = len(magic), _AMR_BYTES[magic]
    while place < len(content):
        size = sizes[content[place] >> 3 & 15]
        if size == 0:
            return 0
        place += size
    return place - len(content)


def _missing_of_asf(content: bytes) -> int:
    """Bytes that an object declares beyond the end of the file; each object starts with a GUID and a size."""
    place = 0
    while place + 24 <= len(content):
        size = int.from_bytes(content[place + 16 : place + 24], "little")
        if size < 24:
            return 0
        place += size
    return max(0, place - len(content))


def _missing_of_adts(content: bytes) -> int | None:
    """Bytes missing from the last frame; None if the content does not start with two AAC frames."""
    place, frames = 0, 0
    while place + 7 <= len(content):
        head = content[place : place + 7]
        size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        if head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 >= _AAC_RATES or size < 7:
            break
        place, frames = place + size, frames + 1
    if frames < 2:
        return None
    return max(0, place - len(content)) or (len(content) - place if 0 < len(content) - place < 7 else 0)

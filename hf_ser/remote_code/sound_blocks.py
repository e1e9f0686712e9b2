"""Read audio data in blocks: 16-bit PCM directly from the file, other encodings with libsndfile."""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import soundfile as sf

from .array_samples import MAX_CHANNELS, RATE_RANGE_HZ
from .audio_errors import COPY_AGAIN, REPLACE, AudioError
from .containers import Sound

BLOCK_S = 10.0
SHORT_BLOCKS = 4  # recordings of up to this many blocks are read at once
_UNKNOWN_FRAMES = 1 << 62  # libsndfile reports at least this length for FLAC streams of unknown length
_EXPECTED = "WAV, FLAC, MP3, OGG or AIFF"


def read_pcm16(file: BinaryIO, sound: Sound, channels: int, rate: int) -> Iterator[np.ndarray]:
    """Read 16-bit little-endian samples.

    Args:
        file: seekable binary file.
        sound: location of the samples in the file.
        channels: number of channels.
        rate: sampling rate in Hz.

    Yields:
        Samples (frames, channels), int16.
    """
    place, end = sound.start, sound.start + sound.size
    size = 2 * channels * max(1, round(BLOCK_S * rate))
    if end - place <= SHORT_BLOCKS * size:
        size = end - place
    while place < end:
        file.seek(place)
        content = file.read(min(size, end - place))
        samples = np.frombuffer(content, "<i2", len(content) // (2 * channels) * channels)
        yield samples.astype(np.int16, copy=False).reshape(-1, channels)
        place += max(len(content), 2 * channels)


class ForwardFile(sf.SoundFile):
    """A file that is read forward only: soundfile seeks after every read, which fails if the length is unknown."""

    def seekable(self) -> bool:
        """Return False."""
        return False


def read_blocks(file: sf.SoundFile, name: str, border: int = 0) -> Iterator[np.ndarray]:
    """Read to the end, (frames, channels): int16 from 16-bit files, else float32.

    Args:
        file: file to read; it is closed at the end.
        name: name used in messages.
        border: number of frames after which a block ends, so that a later error does not lose them; 0 for none.
    """
    dtype = "int16" if file.subtype == "PCM_16" else "float32"
    most, frames = max(1, round(BLOCK_S * file.samplerate)), 0
    if file.frames <= SHORT_BLOCKS * most:
        most = max(1, file.frames)
    with file:
        while True:
            size = min(most, border - frames) if frames < border else most
            try:
                block = file.read(size, dtype=dtype, always_2d=True)
            except (sf.LibsndfileError, RuntimeError) as error:
                got = f"{file.format} that ends or is damaged after {frames} frames ({_cause(error)})"
                raise AudioError("truncated", name, got, "the whole recording", COPY_AGAIN) from error
            frames += len(block)
            if len(block):
                yield block
            if len(block) < size:
                break
        if frames < file.frames < _UNKNOWN_FRAMES:
            got = f"{file.format} with {frames} of {file.frames} frames"
            raise AudioError("truncated", name, got, "the whole recording", COPY_AGAIN)


def undecodable(head: bytes, name: str, error: Exception) -> AudioError:
    """Make the error for a file that starts with `head` and that libsndfile cannot open."""
    got = f"a file starting with {head[:12]!r}, which libsndfile cannot read ({_cause(error)})"
    return AudioError("undecodable", name, got, _EXPECTED, REPLACE)


def _cause(error: Exception) -> str:
    """The error message of libsndfile without the name of the file object."""
    text = " ".join(str(getattr(error, "error_string", "") or "").split()).rstrip(".")
    return text or ("damaged data" if isinstance(error, sf.LibsndfileError) else type(error).__name__)


def check_header(rate: int, channels: int, name: str) -> None:
    """Raise AudioError for a sampling rate in Hz or a number of channels out of range."""
    low, high = RATE_RANGE_HZ
    if not low <= rate <= high or not 1 <= channels <= MAX_CHANNELS:
        got = f"a header with {channels} channels at {rate} Hz"
        expected = f"1 to {MAX_CHANNELS} channels at {low} to {high} Hz"
        raise AudioError("undecodable", name, got, expected, "The header is damaged. Replace the file.")

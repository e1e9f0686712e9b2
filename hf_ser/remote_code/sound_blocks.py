"""Sound read in blocks to its end: 16-bit samples as they lie in a file, anything else through libsndfile."""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import soundfile as sf

from .array_samples import MAX_CHANNELS, RATE_RANGE_HZ
from .audio_errors import COPY_AGAIN, REPLACE, AudioError
from .containers import Sound

BLOCK_S = 10.0
SHORT_BLOCKS = 4  # a recording of at most so many is read at once
_UNKNOWN_FRAMES = 1 << 62  # libsndfile's length of a FLAC stream whose encoder did not know it
_EXPECTED = "WAV, FLAC, MP3, OGG or AIFF"


def read_pcm16(file: BinaryIO, sound: Sound, channels: int, rate: int) -> Iterator[np.ndarray]:
    """Read 16-bit little-endian samples as they lie in a file.

    Args:
        file: seekable.
        sound: where they lie.
        channels: in each frame.
        rate: Hz.

    Yields:
        int16 (frames, channels).
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
    """A file that is only read forward: soundfile seeks after every read, which fails where a length is unknown."""

    def seekable(self) -> bool:
        """No, whatever the file could do."""
        return False


def read_blocks(file: sf.SoundFile, name: str, border: int = 0) -> Iterator[np.ndarray]:
    """Read to the end, (frames, channels): int16 from 16-bit files, else float32.

    Args:
        file: is closed at the end.
        name: in messages.
        border: frames at which a block ends, so that an error behind them leaves these; 0 for no such place.
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
                got = f"{file.format} that breaks off or is damaged after {frames} frames ({_cause(error)})"
                raise AudioError("truncated", name, got, "the whole recording", COPY_AGAIN) from error
            frames += len(block)
            if len(block):
                yield block
            if len(block) < size:
                break
        if frames < file.frames < _UNKNOWN_FRAMES:
            got = f"{file.format} of {frames} frames, cut short of {file.frames}"
            raise AudioError("truncated", name, got, "the whole recording", COPY_AGAIN)


def undecodable(head: bytes, name: str, error: Exception) -> AudioError:
    """The error for a file that begins with `head` and that libsndfile cannot open."""
    got = f"a file starting {head[:12]!r} that libsndfile cannot read ({_cause(error)})"
    return AudioError("undecodable", name, got, _EXPECTED, REPLACE)


def _cause(error: Exception) -> str:
    """What libsndfile says, without the object that it read from."""
    text = " ".join(str(getattr(error, "error_string", "") or "").split()).rstrip(".")
    return text or ("damaged data" if isinstance(error, sf.LibsndfileError) else type(error).__name__)


def check_header(rate: int, channels: int, name: str) -> None:
    """Raise AudioError for a sampling rate in Hz or a number of channels that no recording has."""
    low, high = RATE_RANGE_HZ
    if not low <= rate <= high or not 1 <= channels <= MAX_CHANNELS:
        got = f"a header with {channels} channels at {rate} Hz"
        expected = f"1 to {MAX_CHANNELS} channels at {low} to {high} Hz"
        raise AudioError("undecodable", name, got, expected, "The header is damaged: replace the file.")

"""Decode recordings to samples, with lengths counted from the data instead of read from headers.

libsndfile detects the format from the content, so AIFF data named `.wav` is decoded too. PyAV, if installed, decodes
formats that libsndfile does not support. Declared or estimated lengths never end the reading early: all audio in the
file is read, and a file with less audio than it declares is reported as truncated.
"""

import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import soundfile as sf

from .array_samples import check_finite, level_factor, read_array
from .audio_errors import COPY_AGAIN, REPLACE, AudioError
from .audio_sources import MAX_BYTES, ArrayWithRate, Opened, describe, open_source
from .containers import Sound, find_sound
from .flac import FLACInfo, decode_flac16, flac_info, without_length
from .joined_file import JoinedFile, Piece, piece
from .media import Media, find_media, read_media
from .mpeg_audio import MP3, is_mp3, read_mp3
from .ogg_pages import read_ogg
from .sound_blocks import ForwardFile, check_header, read_blocks, read_pcm16, undecodable

logger = logging.getLogger(__name__)

SAMPLING_RATE = 16_000
LFS_POINTER = b"version https://git-lfs"
_MOST_AT_ONCE = 1 << 22  # FLAC recordings of up to this many samples are decoded in one call
# Containers that may use a codec that PyAV supports and libsndfile does not.
_CONTAINERS = {b"OggS": "OGG", b"RIFF": "WAV", b"riff": "W64", b"FORM": "AIFF", b"caff": "CAF", b".snd": "AU"}


@dataclass
class Recording:
    """An opened recording.

    Args:
        name: name used in messages.
        sampling_rate: Hz.
        blocks: iterator over samples (frames, channels): int16 from 16-bit files, else float32.
        notes: unusual properties of a usable recording; complete once the blocks have been read.
    """

    name: str
    sampling_rate: int
    blocks: Iterator[np.ndarray]
    notes: list[str] = field(default_factory=list)


class Decoded(NamedTuple):
    """Samples at the original sampling rate and with the original channels.

    >>> from hf_ser.audio import Decoded, decode
    >>> decoded = decode("voice.wav")
    >>> isinstance(decoded, Decoded), decoded.samples.dtype.name, decoded.sampling_rate, decoded.notes
    (True, 'int16', 48000, ())
    """

    samples: np.ndarray  # (frames, channels): int16 as stored in 16-bit files, else float32 scaled to [-1, 1)
    sampling_rate: int  # Hz
    notes: tuple[str, ...] = ()  # unusual properties of a usable recording


def decode(source: Any, sampling_rate: int | None = None) -> Decoded:
    """Decode a whole recording without changing its rate or channels; see `open_recording`.

    >>> import numpy as np
    >>> from hf_ser.audio import decode
    >>> decode(np.zeros((2, 8_000), np.float32), sampling_rate=8_000).samples.shape
    (8000, 2)
    """
    recording = open_recording(source, sampling_rate)
    blocks = list(recording.blocks)
    samples = np.concatenate(blocks) if len(blocks) > 1 else blocks[0]
    return Decoded(samples, recording.sampling_rate, tuple(recording.notes))


def open_recording(source: Any, sampling_rate: int | None = None) -> Recording:
    """Open a recording. Long recordings are decoded block by block.

    Args:
        source: a path (also a pipe such as /dev/stdin), a URL (http, https or file), encoded bytes, a binary file
            object, an array or tensor of shape (samples,), (channels, samples) or (samples, channels), a dict as in
            transformers pipelines and `datasets` (`bytes` and `path`, or `array` or `raw` with `sampling_rate`), or a
            torchcodec decoder.
        sampling_rate: Hz; required for a bare array, not allowed for sources that have a sampling rate.

    Raises:
        AudioError: the recording is not found, empty, truncated or undecodable, its level is out of range, or its
            samples are NaN or infinite. Reading the blocks may raise it, too.
    """
    name = describe(source)
    opened = open_source(source, sampling_rate)
    if isinstance(opened, ArrayWithRate):
        samples, rate, note = read_array(opened.array, opened.sampling_rate, name)
        recording = Recording(name, rate, iter([samples]), [note] if note else [])
    else:
        try:
            recording = _open(opened, name)
        except BaseException:
            if opened.close:
                opened.file.close()
            raise
        recording.blocks = _closing(recording.blocks, opened)
    recording.blocks = _checked(recording.blocks, recording)
    return recording


def _closing(blocks: Iterator[np.ndarray], opened: Opened) -> Iterator[np.ndarray]:
    try:
        yield from blocks
    finally:
        if opened.close:
            opened.file.close()


def _checked(blocks: Iterator[np.ndarray], recording: Recording) -> Iterator[np.ndarray]:
    """Yield the blocks; raise AudioError for samples that are not finite, and for a recording without samples."""
    frames = 0
    for block in blocks:
        check_finite(block, recording.name)
        frames += block.size
        if block.size:
            yield block
    if frames == 0:
        raise AudioError("empty", recording.name, "0 samples", "at least 1 sample", "Remove or replace the recording.")
    for note in recording.notes:
        logger.info("%s: %s", recording.name, note)


def _open(opened: Opened, name: str) -> Recording:
    if opened.size == 0:
        raise AudioError("empty", name, "0 bytes", "an audio file", COPY_AGAIN)
    head = _read(opened, 64)
    if head.startswith(LFS_POINTER):
        remedy = "Run `git lfs pull` in the repository, or download an archive that contains the recordings."
        raise AudioError("lfs_pointer", name, "a Git LFS pointer", "an audio file", remedy)
    opened = _after_tag(opened, head)
    head = _read(opened, 64)
    if head.startswith(b"fLaC"):
        return _flac(opened, head, name)
    if head.startswith(b"OggS"):
        return _ogg(_whole(opened, name), name)
    sound = find_sound(opened.file, opened.start, opened.size)
    if sound is not None:
        return _uncompressed(opened, sound, name)
    content = _whole(opened, name)
    media = find_media(content)
    if media is not None:
        return _media(content, media, name)
    if is_mp3(content):
        return _mp3(content, name)
    return _joined([content], name, [])


def _read(opened: Opened, size: int) -> bytes:
    opened.file.seek(opened.start)
    return opened.file.read(min(size, opened.size))


def _whole(opened: Opened, name: str) -> bytes:
    if opened.size > MAX_BYTES:
        got = f"a compressed or unknown file of {opened.size >> 20:,} MiB"
        expected = f"at most {MAX_BYTES >> 20:,} MiB"
        raise AudioError("undecodable", name, got, expected, "Split the file, or convert it to WAV.")
    return _read(opened, opened.size)


def _after_tag(opened: Opened, head: bytes) -> Opened:
    """Skip an ID3 tag in front of formats other than MP3, whose reader skips tags itself."""
    start, size = opened.start, opened.size
    if head[:3] == b"ID3":
        length = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        after = _read(opened._replace(start=start + length, size=max(0, size - length)), 4)
        if after in (*_CONTAINERS, b"RF64", b"BW64", b"RIFX", b"fLaC"):
            start, size = start + length, size - length
    return opened._replace(start=start, size=size)


# --- uncompressed ---------------------------------------------------------------------------------------------------


def _uncompressed(opened: Opened, sound: Sound, name: str) -> Recording:
    if sound.declared is not None:
        what, unit = ("frames", sound.block) if sound.block else ("bytes", 1)
        missing = sound.declared - sound.size
        got = f"{sound.size // unit} of {sound.declared // unit} {what} ({missing} bytes are missing)"
        raise AudioError("truncated", name, got, "the whole recording", COPY_AGAIN)
    notes = [sound.note] if sound.note else []
    if sound.pcm16 is not None:
        channels, rate = sound.pcm16
        check_header(rate, channels, name)
        return Recording(name, rate, read_pcm16(opened.file, sound, channels, rate), notes)
    corrected = [piece(sound.header), Piece(opened.file, sound.start, sound.size)]
    pieces = corrected if sound.note else [Piece(opened.file, opened.start, opened.size)]
    file = _sound_file(pieces, _read(opened, 12), name, lambda: _whole(opened, name))
    if isinstance(file, Recording):
        return file
    rate, frames, is_float = file.samplerate, file.frames, file.subtype in ("FLOAT", "DOUBLE")
    counted = sound.size // sound.block if sound.block and file.subtype.startswith(("PCM", "FLOAT", "DOUBLE")) else 0
    if counted and counted != frames and not sound.note:  # libsndfile interprets this header differently
        notes.append(f"the header declares {frames} frames, the file contains {counted}")
        pieces = corrected
        file.close()
        file = ForwardFile(JoinedFile(pieces))
    blocks = read_blocks(file, name)
    if is_float:
        factor, note = level_factor(read_blocks(ForwardFile(JoinedFile(pieces)), name), name, full_scale=1.0)
        if note:
            notes.append(note)
            blocks = _scaled(blocks, factor)
    return Recording(name, rate, blocks, notes)


def _scaled(blocks: Iterator[np.ndarray], factor: float) -> Iterator[np.ndarray]:
    return (block * np.float32(factor) for block in blocks)


# --- compressed -----------------------------------------------------------------------------------------------------


def _flac(opened: Opened, head: bytes, name: str) -> Recording:
    info = flac_info(head)
    if info is None:
        return _joined([_whole(opened, name)], name, [])
    if opened.size <= MAX_BYTES and info.frames * info.channels <= _MOST_AT_ONCE:
        whole = decode_flac16(_whole(opened, name))
        if whole is not None:
            check_header(whole[1], whole[0].shape[1], name)
            return Recording(name, whole[1], iter([whole[0]]))
    tail = _read(opened._replace(start=opened.start + max(0, opened.size - 128), size=128), 128)
    end = opened.size - (128 if tail.startswith(b"TAG") else 0)
    patched = without_length(head)
    pieces = [piece(patched), Piece(opened.file, opened.start + len(head), end - len(head))]
    file = _sound_file(pieces, head, name)
    assert isinstance(file, sf.SoundFile)  # PyAV decodes other containers only
    notes: list[str] = []
    return Recording(name, file.samplerate, _count_flac(file, info, notes, name), notes)


def _count_flac(file: sf.SoundFile, info: FLACInfo, notes: list[str], name: str) -> Iterator[np.ndarray]:
    """Yield the blocks. FLAC frames have checksums: damage raises an error, unless it follows the declared length."""
    frames = 0
    try:
        for block in read_blocks(file, name, info.frames):
            frames += len(block)
            yield block
    except AudioError:
        if not 0 < info.frames <= frames:
            raise
        notes.append("other data follows the audio data")
    if frames < info.frames:
        got = f"FLAC of {info.frames} frames that ends or is damaged after {frames}"
        raise AudioError("truncated", name, got, "the whole recording", COPY_AGAIN)
    if frames > info.frames > 0:
        notes.append(f"the header declares {info.frames} frames, the file contains {frames}")


def _ogg(content: bytes, name: str) -> Recording:
    streams = read_ogg(content)
    if not streams[-1].ends:
        got = f"OGG of {len(content)} bytes whose last page is missing or incomplete"
        raise AudioError("truncated", name, got, "the whole recording", COPY_AGAIN)
    return _joined([stream.content for stream in streams], name, [])


def _mp3(content: bytes, name: str) -> Recording:
    parts = read_mp3(content)
    notes = [part.note for part in parts if part.note]
    for part in parts:
        _check_mp3(part, name, notes)
    return _joined([part.content for part in parts], name, notes)


def _check_mp3(part: MP3, name: str, notes: list[str]) -> None:
    lacking = (part.promised or 0) - part.frames
    # Some encoders include the info frame in the count.
    if lacking > 1 or (lacking == 1 and part.breaks_off):
        got = f"MP3 with {part.frames} of {part.promised} frames"
        raise AudioError("truncated", name, got, "the whole recording", COPY_AGAIN)
    if part.breaks_off:
        notes.append("the last frame is incomplete")


def _joined(contents: list[bytes], name: str, notes: list[str]) -> Recording:
    """Read recordings that are concatenated in one file."""
    files = [_sound_file([piece(content)], content, name) for content in contents]
    if len(files) == 1 and isinstance(files[0], Recording):
        return files[0]
    kinds = sorted({(file.samplerate, file.channels) for file in files if isinstance(file, sf.SoundFile)})
    if len(kinds) != 1 or any(isinstance(file, Recording) for file in files):
        got = "concatenated recordings with different formats: " + ", ".join(
            f"{channels} channels at {rate} Hz" for rate, channels in kinds
        )
        raise AudioError("undecodable", name, got, "one sampling rate and number of channels", REPLACE)
    if len(files) > 1:
        notes.append(f"{len(files)} recordings concatenated in one file")
    return Recording(name, kinds[0][0], (block for file in files for block in read_blocks(file, name)), notes)


def _media(content: bytes, media: Media, name: str) -> Recording:
    blocks, rate = read_media(content, media, name)
    first = next(blocks)
    check_header(rate, first.shape[1], name)
    return Recording(name, rate, itertools.chain([first], blocks))


def _sound_file(
    pieces: list[Piece], head: bytes, name: str, whole: Callable[[], bytes] | None = None
) -> sf.SoundFile | Recording:
    """Open with libsndfile, or with PyAV where libsndfile does not support the codec.

    Args:
        pieces: pieces of the recording.
        head: first bytes of the recording; the whole recording if `whole` is None.
        name: name used in messages.
        whole: function that reads the whole recording, for PyAV.
    """
    try:
        file = ForwardFile(JoinedFile(pieces))
    except (sf.LibsndfileError, RuntimeError, OSError, TypeError, ValueError) as error:
        container = _CONTAINERS.get(head[:4])
        if container is not None and len(head) >= 12:
            content = head if whole is None else whole()
            try:
                return _media(content, Media(container), name)
            except AudioError as other:
                if other.reason != "undecodable":
                    raise
        raise undecodable(head, name, error) from error
    try:
        check_header(file.samplerate, file.channels, name)
    except AudioError:
        file.close()
        raise
    return file

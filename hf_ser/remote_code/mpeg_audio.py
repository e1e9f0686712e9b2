"""Count the frames of MP3 files, because decoders take the length from a header or estimate it from the bit rate.

A length that is too short would end decoding early. See ISO/IEC 11172-3 for the frames, and the descriptions of the
Xing, Info and VBRI headers for the info frame that encoders write at the start.
"""

from typing import NamedTuple

_BIT_RATES = {  # kbit/s of layer III, by MPEG version 1, or 2 and 2.5
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_INFO_BYTES = 120  # minimum size of an info frame after its side information
_SEARCHED_BYTES = 1 << 16  # content without a frame in this many bytes is not MP3
_KEPT_BITS = 0xFFFE0C00  # header bits that are constant within a recording (version, layer, sampling rate)


class _Frame(NamedTuple):
    start: int
    size: int
    header: int

    @property
    def version(self) -> int:
        return self.header >> 19 & 3

    @property
    def side_bytes(self) -> int:
        """Bytes of side information after the header."""
        mono = self.header >> 6 & 3 == 3
        return {True: (17, 32), False: (9, 17)}[self.version == 3][not mono]


class MP3(NamedTuple):
    """One recording of a file; concatenated files contain several.

    Args:
        content: bytes to decode, with the correct length in the info frame.
        frames: number of frames in the file.
        promised: number of frames declared by the info frame; None without one.
        breaks_off: whether the last frame is incomplete.
        note: what was wrong with the declared length; empty if it was correct.
    """

    content: bytes
    frames: int
    promised: int | None
    breaks_off: bool
    note: str


def is_mp3(content: bytes) -> bool:
    """Whether two frames of MPEG layer III follow each other near the start, after any tag."""
    first = _next_frame(content, _after_tags(content), None)
    return first is not None


def read_mp3(content: bytes) -> list[MP3]:
    """Count the frames of every recording in a file; tags, cover art and other data are skipped."""
    segments: list[list[_Frame]] = []
    promises: list[_Frame | None] = []
    place, kept, skipped, breaks_off = _after_tags(content), None, 0, False
    while True:
        frame = _frame_at(content, place, kept)
        if frame is None or frame.start + frame.size > len(content):
            if frame is not None and not _is_tag(content, place):
                breaks_off = True
                break
            found = _next_frame(content, _after_tags(content, place), kept) or _next_frame(content, place, None)
            if found is None:
                break
            skipped += found.start - place
            frame = found
        kept = frame.header & _KEPT_BITS
        if _promise(content, frame) is not None:  # a new recording starts here
            segments.append([])
            promises.append(frame)
        elif not segments or (segments[-1] and segments[-1][-1].header & _KEPT_BITS != kept):
            segments.append([frame])
            promises.append(None)
        else:
            segments[-1].append(frame)
        place = frame.start + frame.size
    last = len(segments) - 1
    return [
        _recording(content, frames, info, breaks_off and number == last)
        for number, (frames, info) in enumerate(zip(segments, promises, strict=True))
        if frames
    ]


def _recording(content: bytes, frames: list[_Frame], info: _Frame | None, breaks_off: bool) -> MP3:
    promised = _promise(content, info) if info is not None else None
    sound = b"".join(content[frame.start : frame.start + frame.size] for frame in frames)
    if info is not None and promised == len(frames) and not _is_vbri(content, info):
        whole = content[info.start : info.start + info.size] + sound
        return MP3(whole, len(frames), promised, breaks_off, "")
    note = (
        ""
        if promised in (None, 0, len(frames))
        else f"the header declares {promised} frames, the file contains {len(frames)}"
    )
    return MP3(_info_frame(frames[0], len(frames), len(sound)) + sound, len(frames), promised, breaks_off, note)


def _frame_at(content: bytes, place: int, kept: int | None) -> _Frame | None:
    """Parse the frame at an offset; None if there is none, or if its kind differs from `kept`."""
    header = int.from_bytes(content[place : place + 4], "big")
    if place + 4 > len(content) or header >> 21 != 0x7FF:
        return None
    version, layer, bit_rate, rate = header >> 19 & 3, header >> 17 & 3, header >> 12 & 15, header >> 10 & 3
    if version == 1 or layer != 1 or bit_rate in (0, 15) or rate == 3:
        return None
    if kept is not None and header & _KEPT_BITS != kept:
        return None
    return _Frame(place, _size(version, bit_rate, rate, header >> 9 & 1), header)


def _size(version: int, bit_rate: int, rate: int, padding: int) -> int:
    samples = 1152 if version == 3 else 576
    kilobits = _BIT_RATES[1 if version == 3 else 2][bit_rate]
    return samples // 8 * kilobits * 1000 // _RATES_HZ[version][rate] + padding


def _next_frame(content: bytes, place: int, kept: int | None) -> _Frame | None:
    """Find the first frame from an offset on that is followed by another frame or the end of the file."""
    end = min(len(content), place + _SEARCHED_BYTES)
    while (place := content.find(b"\xff", place, end)) >= 0:
        frame = _frame_at(content, place, kept)
        if frame is not None:
            after = frame.start + frame.size
            if after == len(content) or _frame_at(content, after, frame.header & _KEPT_BITS) is not None:
                return frame
        place += 1
    return None


def _promise(content: bytes, frame: _Frame) -> int | None:
    """Number of frames declared by an info frame; 0 if it does not declare it, None for audio frames."""
    place = frame.start + 4 + frame.side_bytes
    if content[place : place + 4] in (b"Xing", b"Info"):
        flags = int.from_bytes(content[place + 4 : place + 8], "big")
        return int.from_bytes(content[place + 8 : place + 12], "big") if flags & 1 else 0
    if _is_vbri(content, frame):
        return int.from_bytes(content[frame.start + 50 : frame.start + 54], "big")
    return None


def _is_vbri(content: bytes, frame: _Frame) -> bool:
    return content[frame.start + 36 : frame.start + 40] == b"VBRI"


def _info_frame(like: _Frame, frames: int, sound_bytes: int) -> bytes:
    """Make an info frame that declares the number of frames, so that the decoder does not estimate it."""
    rate = like.header >> 10 & 3
    sizes = [_size(like.version, bit_rate, rate, 0) for bit_rate in range(1, 15)]
    bit_rate, size = next(pair for pair in enumerate(sizes, 1) if pair[1] >= 4 + like.side_bytes + _INFO_BYTES)
    header = like.header & ~(15 << 12) & ~(1 << 9) | bit_rate << 12 | 1 << 16  # no padding, no checksum
    body = header.to_bytes(4, "big") + bytes(like.side_bytes) + b"Info" + (3).to_bytes(4, "big")
    return (body + frames.to_bytes(4, "big") + (sound_bytes + size).to_bytes(4, "big")).ljust(size, b"\0")


def _is_tag(content: bytes, place: int) -> bool:
    return content[place : place + 3] in (b"TAG", b"ID3") or content[place : place + 8] == b"APETAGEX"


def _after_tags(content: bytes, place: int = 0) -> int:
    """Skip ID3v2 tags and return the offset after them."""
    while content[place : place + 3] == b"ID3" and len(content) >= place + 10:
        size = 0
        for byte in content[place + 6 : place + 10]:
            size = size << 7 | byte & 0x7F
        place += 10 + size + (10 if content[place + 5] & 0x10 else 0)
    return place

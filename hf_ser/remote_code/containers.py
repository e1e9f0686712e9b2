"""Locate the audio data of uncompressed recordings by the file's actual size instead of its header.

A header that declares more data than the file contains means a truncated recording. A header whose sizes were never
filled in, or are a few bytes off, is corrected, because libsndfile relies on headers.
"""

import re
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal, NamedTuple

# Programs that include the header in the data size are off by up to this many bytes. A recording that lacks so few
# bytes has lost at most a millisecond or two.
SLACK_BYTES = 44
# Programs that write to a pipe do not know the size and use a value near the 32-bit maximum.
_UNKNOWN_32 = 0x7FFFF000
_UNKNOWN_64 = 1 << 60
_W64 = (b"riff.\x91\xcf\x11", b"wave\xf3\xac\xd3\x11", b"fmt \xf3\xac\xd3\x11", b"data\xf3\xac\xd3\x11")
_CHUNK_ID = re.compile(rb"[0-9A-Za-z_ \xa9.-]{3}[0-9A-Za-z_ .\0-]")
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_AIFC_PCM = (b"NONE", b"sowt", b"twos", b"fl32", b"FL32", b"fl64", b"FL64", b"in24", b"in32")
_VOC_BLOCKS = tuple(bytes([kind]) for kind in range(10))


class Sound(NamedTuple):
    """Audio data of a file.

    Args:
        header: corrected header, to put before the audio data where the file's header is wrong.
        start: offset of the audio data in the file, in bytes.
        size: bytes of audio data in the file.
        declared: bytes declared by the header, if these exceed `size` by more than `SLACK_BYTES`; else None.
        pcm16: number of channels and sampling rate of 16-bit little-endian integers; None for other encodings.
        note: what is wrong with the header; empty for a correct header.
        block: bytes per frame; 0 if the header does not declare it.
    """

    header: bytes
    start: int
    size: int
    declared: int | None = None
    pcm16: tuple[int, int] | None = None
    note: str = ""
    block: int = 0


def find_sound(file: BinaryIO, start: int, size: int) -> Sound | None:
    """Find the audio data of a WAV (RIFF, RIFX, RF64, BW64, W64), AIFF, SVX, AU, CAF, NIST or VOC file.

    Args:
        file: seekable binary file.
        start: offset of the recording in the file, in bytes.
        size: bytes of the recording.

    Returns:
        None for other formats, or if the header ends before the audio data.
    """
    view = _View(file, start, size)
    magic, kind = view.read(0, 4), view.read(8, 4)
    reader: Callable[[_View], Sound | None] | None = None
    if magic in (b"RIFF", b"RIFX", b"RF64", b"BW64") and kind == b"WAVE":
        reader = _wav
    elif magic == b"riff" and view.read(4, 4) == _W64[0][4:]:
        reader = _w64
    elif magic == b"FORM" and kind in (b"AIFF", b"AIFC", b"8SVX", b"16SV"):
        reader = _aiff
    elif magic in (b".snd", b"dns."):
        reader = _au
    elif magic == b"caff":
        reader = _caf
    elif view.read(0, 8) == b"NIST_1A\n":
        reader = _nist
    elif view.read(0, 20) == b"Creative Voice File\x1a":
        reader = _voc
    try:
        sound = reader(view) if reader is not None else None
    except struct.error:  # the header is cut off
        return None
    return None if sound is None else sound._replace(start=sound.start + start)


class _View:
    """Bytes of a recording by their offset in it."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self.file, self.start, self.size = file, start, size

    def read(self, place: int, size: int) -> bytes:
        """Read up to `size` bytes."""
        if not 0 <= place < self.size:
            return b""
        self.file.seek(self.start + place)
        return self.file.read(min(size, self.size - place))


class _Extent(NamedTuple):
    size: int
    declared: int | None
    note: str


def _extent(view: _View, place: int, declared: int, unknown: int, at_end: Callable[[int], bool]) -> _Extent:
    """Determine the size of the audio data.

    Args:
        view: view of the recording.
        place: offset of the audio data.
        declared: size from the header, in bytes.
        unknown: sizes from this value on mean that the writer did not know the size.
        at_end: whether the audio data may end at an offset, judged by the bytes there.
    """
    there = view.size - place
    if declared >= unknown:
        return _Extent(there, None, "")
    if declared > there + SLACK_BYTES:
        return _Extent(there, declared, "")
    if declared > there:
        return _Extent(there, None, f"the header declares {declared - there} bytes too many")
    if at_end(place + declared):
        return _Extent(declared, None, "")
    note = "its size was not filled in" if declared == 0 else f"{there - declared} bytes follow the declared size"
    return _Extent(there, None, f"the header is wrong: {note}")


def _chunks_follow(view: _View, place: int, order: Literal["little", "big"]) -> bool:
    """Whether only padding, a tag or well-formed chunks follow, which means that the audio data is complete."""
    place += place % 2  # chunks start at even offsets
    rest = view.read(place, 8)
    if len(rest) < 8 or rest.startswith(b"TAG") or rest == bytes(8):
        return True
    while len(head := view.read(place, 8)) == 8:
        if not _CHUNK_ID.fullmatch(head[:4]):
            return False
        size = int.from_bytes(head[4:], order)
        if place + 8 + size > view.size + SLACK_BYTES:
            # A trailing chunk may be cut off, which loses no audio.
            return head[:4] in (
                b"LIST",
                b"id3 ",
                b"ID3 ",
                b"bext",
                b"iXML",
                b"_PMX",
                b"afsp",
                b"cue ",
                b"smpl",
                b"junk",
            )
        place += 8 + size + size % 2
    return True


def _chunks(view: _View, place: int, order: Literal["little", "big"]) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, content offset and declared size of every chunk."""
    while len(head := view.read(place, 8)) == 8:
        size = int.from_bytes(head[4:], order)
        yield head[:4], place + 8, size
        place += 8 + size + size % 2


def _wav(view: _View) -> Sound | None:
    magic = view.read(0, 4)
    order: Literal["little", "big"] = "big" if magic == b"RIFX" else "little"
    format_, size_64 = b"", None
    for name, place, size in _chunks(view, 12, order):
        if name == b"ds64":
            size_64 = int.from_bytes(view.read(place + 8, 8), "little")
        elif name == b"fmt ":
            format_ = view.read(place, size if size < 1 << 16 else 18)
        elif name == b"data" and len(format_) >= 16:
            long = magic in (b"RF64", b"BW64") and size_64 is not None and size == 0xFFFFFFFF
            declared, unknown = (int(size_64 or 0), _UNKNOWN_64) if long else (size, _UNKNOWN_32)
            extent = _extent(view, place, declared, unknown, lambda end: _chunks_follow(view, end, order))
            return _as_wav(format_, order, place, extent)
    return None


def _w64(view: _View) -> Sound | None:
    format_, place = b"", 40
    while len(head := view.read(place, 24)) == 24:
        size = int.from_bytes(head[16:], "little")  # includes the head
        if head[:8] == _W64[2]:
            format_ = view.read(place + 24, min(size - 24, 1 << 16))
        elif head[:8] == _W64[3] and len(format_) >= 16:

            def at_end(end: int) -> bool:
                end += -end % 8  # chunks are aligned to 8 bytes
                return view.size - end < 24 or int.from_bytes(view.read(end + 16, 8), "little") <= view.size - end

            declared, start = (size - 24 if size >= 24 else 0), place + 24
            return _as_wav(format_, "little", start, _extent(view, start, declared, _UNKNOWN_64, at_end))
        if size < 24:
            return None
        place += size + -size % 8
    return None


def _as_wav(format_: bytes, order: Literal["little", "big"], start: int, extent: _Extent) -> Sound:
    """Make a WAV header of the same format with the correct size; above 4 GiB, the size that means unknown."""
    sign = ">" if order == "big" else "<"
    tag, channels, rate, _, block, bits = struct.unpack(f"{sign}HHIIHH", format_[:16])
    if tag == _EXTENSIBLE and len(format_) >= 26:
        tag = struct.unpack(f"{sign}H", format_[24:26])[0]
    whole = tag in (_PCM, _FLOAT) and block > 0
    size = extent.size // block * block if whole else extent.size
    sizes = struct.pack(f"{sign}I", min(size, 0xFFFFFFFF)), struct.pack(f"{sign}I", len(format_))
    total = struct.pack(f"{sign}I", min(size + 28 + len(format_), 0xFFFFFFFF))
    magic = b"RIFX" if order == "big" else b"RIFF"
    header = magic + total + b"WAVEfmt " + sizes[1] + format_ + b"data" + sizes[0]
    is_pcm16 = tag == _PCM and bits == 16 and block == 2 * channels > 0 and order == "little"
    pcm16 = (channels, rate) if is_pcm16 else None
    return Sound(header, start, size, extent.declared, pcm16, extent.note, block if whole else 0)


def _aiff(view: _View) -> Sound | None:
    names = {b"AIFF": (b"SSND", 8), b"AIFC": (b"SSND", 8), b"8SVX": (b"BODY", 0), b"16SV": (b"BODY", 0)}
    kind = view.read(8, 4)
    sound, before = names[kind]  # SSND starts with an offset and a block size
    common, block = None, 0
    for name, place, size in _chunks(view, 12, "big"):
        if name == b"COMM" and size >= 18:
            channels, bits = struct.unpack(">H4xH", view.read(place, 8))
            common, block = place, channels * (-(-bits // 8))
        if name == sound:
            start, declared = place + before, max(0, size - before)
            extent = _extent(view, start, declared, _UNKNOWN_32, lambda end: _chunks_follow(view, end, "big"))
            header = bytearray(view.read(0, start))
            coding = bytes(header[common + 18 : common + 22]) if common is not None and kind == b"AIFC" else b"NONE"
            if coding not in _AIFC_PCM:
                return Sound(bytes(header), start, extent.size, extent.declared)
            size = extent.size // block * block if block else extent.size
            header[place - 4 : place] = struct.pack(">I", size + before)
            header[4:8] = struct.pack(">I", len(header) - 8 + size)
            if common is not None and block:
                header[common + 2 : common + 6] = struct.pack(">I", size // block)
            return Sound(bytes(header), start, size, extent.declared, None, extent.note, block)
    return None


def _au(view: _View) -> Sound | None:
    order: Literal["little", "big"] = "big" if view.read(0, 4) == b".snd" else "little"
    header = bytearray(view.read(0, 24))
    if len(header) < 24:
        return None
    start, declared = (int.from_bytes(header[at : at + 4], order) for at in (4, 8))
    if not 24 <= start <= view.size:
        return None
    # AU files end with the audio data, so any bytes that follow belong to it.
    extent = _extent(view, start, declared, _UNKNOWN_32, lambda end: view.size - end < 8)
    header[4:8], header[8:12] = (24).to_bytes(4, order), extent.size.to_bytes(4, order)
    return Sound(bytes(header), start, extent.size, extent.declared, None, extent.note)


def _caf(view: _View) -> Sound | None:
    place, coding = 8, b""
    while len(head := view.read(place, 12)) == 12:
        size = int.from_bytes(head[4:], "big", signed=True)
        if head[:4] == b"data":
            start = place + 16  # after the edit count
            declared = size - 4 if size >= 0 else _UNKNOWN_64

            def at_end(end: int) -> bool:
                name, length = view.read(end, 4), int.from_bytes(view.read(end + 4, 8), "big", signed=True)
                return view.size - end < 12 or bool(_CHUNK_ID.fullmatch(name)) and 0 <= length <= view.size - end - 12

            extent = _extent(view, start, max(0, declared), _UNKNOWN_64, at_end)
            header = bytearray(view.read(0, start))
            header[place + 4 : place + 12] = (extent.size + 4).to_bytes(8, "big")
            note = extent.note if coding == b"lpcm" else ""
            return Sound(bytes(header), start, extent.size, extent.declared, None, note)
        if head[:4] == b"desc":
            coding = view.read(place + 20, 4)
        if size < 0:
            return None
        place += 12 + size
    return None


def _nist(view: _View) -> Sound | None:
    text = view.read(0, 1 << 16)
    start = int(text[8:16]) if text[8:16].strip().isdigit() else 0
    fields = {
        match[1].decode(): int(match[2])
        for match in re.finditer(rb"^(sample_count|channel_count|sample_n_bytes) -i (\d+)", text[:start], re.MULTILINE)
    }
    if start < 1024 or len(fields) < 3:
        return None
    block = fields["channel_count"] * fields["sample_n_bytes"]
    extent = _extent(view, start, fields["sample_count"] * block, _UNKNOWN_64, lambda end: view.size - end < 8)
    if block == 0:
        return None
    size = extent.size // block * block
    count = f"sample_count -i {size // block}".encode()
    header = re.sub(rb"sample_count -i \d+", count, text[:start]).rstrip(b"\0 ")
    return Sound(header[:start].ljust(start, b"\n"), start, size, extent.declared, None, extent.note, block)


def _voc(view: _View) -> Sound | None:
    place = int.from_bytes(view.read(20, 2), "little")
    while len(head := view.read(place, 4)) == 4 and head[0]:
        size = int.from_bytes(head[1:], "little")
        before = {1: 2, 9: 12}.get(head[0])
        if before is not None:
            start, declared = place + 4 + before, max(0, size - before)
            # A block ends where the next one begins; block types are 0 (the end) to 9.
            extent = _extent(view, start, declared, 1 << 24, lambda end: view.read(end, 1) in (b"", *_VOC_BLOCKS))
            header = bytearray(view.read(0, start))
            header[place + 1 : place + 4] = min(extent.size + before, (1 << 24) - 1).to_bytes(3, "little")
            return Sound(bytes(header), start, extent.size, extent.declared, None, extent.note)
        place += 4 + size
    return None

"""Whether a recording's container is whole, from its own headers (standard library only)."""

from typing import Literal


def missing_bytes(content: bytes) -> int:
    """Bytes that a WAV's or AIFF's sound chunk declares beyond the file's end, or 1 for OGG that breaks off.

    libsndfile reads such files as if they ended where they were cut.
    """
    magic, kind = content[:4], content[8:12]
    if magic == b"OggS":
        return int(_ogg_breaks_off(content))
    order: Literal["little", "big"]
    if magic == b"RIFF" and kind == b"WAVE":
        order, sound = "little", b"data"
    elif magic == b"FORM" and kind in (b"AIFF", b"AIFC"):
        order, sound = "big", b"SSND"
    else:
        return 0
    offset = 12
    while offset + 8 <= len(content):
        size = int.from_bytes(content[offset + 4 : offset + 8], order)
        if content[offset : offset + 4] == sound:
            # Programs that stream a WAV into a pipe cannot know its size and write a value near the 32-bit maximum.
            return 0 if size >= 0x7FFFF000 else max(0, offset + 8 + size - len(content))
        offset += 8 + size + size % 2
    return 0


def _ogg_breaks_off(content: bytes) -> bool:
    """Whether the last page is cut or does not carry the end-of-stream flag (RFC 3533, section 6)."""
    page = content[content.rfind(b"OggS") :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return True
    return len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]) or not page[5] & 4

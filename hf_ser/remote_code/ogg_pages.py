"""OGG read page by page: joined recordings are separated, streams that break off detected (RFC 3533, section 6)."""

from typing import NamedTuple

_FIRST, _LAST = 2, 4  # flags of a page


class OggStream(NamedTuple):
    """One recording of a file, of which there are several where files were joined.

    Args:
        content: its pages.
        ends: whether the last page is whole and says that it is the last.
    """

    content: bytes
    ends: bool


def read_ogg(content: bytes) -> list[OggStream]:
    """Divide a file into its recordings; what lies between pages is left out."""
    streams: list[OggStream] = []
    begun, place, last = 0, 0, False
    while (place := content.find(b"OggS", place)) >= 0:
        segments = content[place + 27 : place + 27 + content[place + 26]] if place + 27 <= len(content) else b""
        end = place + 27 + len(segments) + sum(segments)
        if place + 27 > len(content) or len(segments) < content[place + 26] or end > len(content):
            return [*streams, OggStream(content[begun:place], False)]
        flags = content[place + 5]
        if flags & _FIRST and last:
            streams.append(OggStream(content[begun:place], True))
            begun = place
        last = bool(flags & _LAST)
        place = reached = end
    return [*streams, OggStream(content[begun:reached], last)] if content[begun:] else streams

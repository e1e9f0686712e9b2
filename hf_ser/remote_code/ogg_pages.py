"""Read OGG files page by page to separate concatenated recordings and detect truncation (RFC 3533, section 6)."""

from typing import NamedTuple

_FIRST, _LAST = 2, 4  # page flags


class OggStream(NamedTuple):
    """One recording of a file; concatenated files contain several.

    Args:
        content: pages of the recording.
        ends: whether the last page is complete and marked as the last.
    """

    content: bytes
    ends: bool


def read_ogg(content: bytes) -> list[OggStream]:
    """Split a file into its recordings; data between pages is skipped."""
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

"""A read-only file composed of pieces of memory and of other files."""

import io
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple


class Piece(NamedTuple):
    """`size` bytes of a file from offset `start`."""

    file: BinaryIO
    start: int
    size: int


def piece(content: bytes) -> Piece:
    """Make a piece from bytes in memory."""
    return Piece(io.BytesIO(content), 0, len(content))


class JoinedFile(io.RawIOBase):
    """The concatenation of pieces. It has no name, because soundfile would infer the format from it."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._size = sum(part.size for part in pieces)
        self._place = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the offset of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, or as much of it as there is data for."""
        view, done = memoryview(buffer).cast("B"), 0
        begin = 0
        for part in self._pieces:
            if begin <= self._place < begin + part.size and done < len(view):
                part.file.seek(part.start + self._place - begin)
                content = part.file.read(min(len(view) - done, begin + part.size - self._place))
                view[done : done + len(content)] = content
                done += len(content)
                self._place += len(content)
            begin += part.size
        return done

"""A file made of pieces: bytes, and parts of other files."""

import io
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple


class Piece(NamedTuple):
    """So many bytes of a file from a place on."""

    file: BinaryIO
    start: int
    size: int


def piece(content: bytes) -> Piece:
    """A piece from memory."""
    return Piece(io.BytesIO(content), 0, len(content))


class JoinedFile(io.RawIOBase):
    """Reads pieces one after the other; it has no name, from which soundfile would infer a format."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._size = sum(part.size for part in pieces)
        self._place = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """The place of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as there is something."""
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

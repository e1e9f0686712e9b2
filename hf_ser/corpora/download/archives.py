"""Unpack untrusted zip and tar archives: every member is checked before any file is written.

`zipfile` and `tarfile` read the archives. Neither limits sizes or memory, and both accept links and duplicate members.
"""

import bz2
import contextlib
import errno
import gzip
import io
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from hf_ser.errors import SerError

MAX_BYTES = 8 * 1024**3  # the largest of the four corpora unpacks to less than 1 GiB
MAX_MEMBERS = 100_000  # the largest holds about 7,500 clips
CHUNK_BYTES = 1024 * 1024
MAX_READ_BYTES = 16 * CHUNK_BYTES  # a larger single read means that a tar header declares a wrong length
BY_HAND = "Download it again. If that fails, unpack it manually and pass the folder to recipes/prepare.py."

# Errors of zipfile, tarfile and the decompressors on damaged input. They have no common base; gzip raises OSError.
_BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, RuntimeError, ValueError, OverflowError),
)
OFFICIAL = "Download the archive from the official page of the corpus."
_TAR_OPENERS: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}


class ArchiveError(SerError):
    """An archive is damaged, unsafe or too large; the message names the archive, the member and the remedy."""


class _Member(NamedTuple):
    name: str
    parts: tuple[str, ...]
    is_dir: bool
    size: int
    open: Callable[[], IO[bytes]]


def unpack(archive: Path, folder: Path, *, max_bytes: int = MAX_BYTES, max_members: int = MAX_MEMBERS) -> Path:
    """Unpack a zip or tar (plain, gzip, bzip2 or xz) into `folder`, which appears only when it is complete.

    Every member is checked before any file is written. Only regular files and folders are accepted, under relative
    names that stay inside `folder`. Metadata files of macOS (`__MACOSX`, `.DS_Store`, `._name`) are skipped. Members
    are written to `folder.incomplete` first, which is removed on failure. Permissions and times are not restored.

    Args:
        archive: the file to unpack; its format is detected from its content, not its name.
        folder: the folder to create; it must be missing or empty.
        max_bytes: maximum unpacked size.
        max_members: maximum number of members.

    Returns:
        `folder`.

    Raises:
        ArchiveError: if the archive cannot be read, contains an unsafe member, or exceeds a limit. No files remain.
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArchiveError(f"{folder} already exists. Remove it, or unpack {archive.name} into another folder.")
    incomplete = folder.with_name(folder.name + ".incomplete")
    try:
        with contextlib.ExitStack() as stack:
            members = _checked(archive, _members(archive, stack), max_bytes, max_members)
            remove(incomplete)
            incomplete.mkdir(parents=True)
            _write(archive, members, incomplete)
        if folder.exists():
            folder.rmdir()
        incomplete.rename(folder)
    except ArchiveError:
        raise
    except _BROKEN as error:
        raise ArchiveError(f"{archive} cannot be unpacked: {str(error) or type(error).__name__}. {BY_HAND}") from error
    except OSError as error:
        raise _system_error(archive, folder, error) from error
    finally:
        remove(incomplete)  # does nothing after success; also cleans up after Ctrl-C
    return folder


def remove(path: Path) -> None:
    """Remove a file, link or folder with its contents, if it exists. The target of a link is not removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _members(archive: Path, stack: contextlib.ExitStack) -> Iterator[_Member]:
    """Return the members of the archive, which stays open until `stack` is closed."""
    with open(archive, "rb") as file:
        start = file.read(8)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return _zip_members(archive, stack.enter_context(zipfile.ZipFile(archive)))
    opener = next((opener for magic, opener in _TAR_OPENERS.items() if start.startswith(magic)), None)
    stream = _BoundedReader(stack.enter_context(opener(archive) if opener else open(archive, "rb")), archive)
    try:
        tar = stack.enter_context(tarfile.open(fileobj=stream, mode="r:"))
    except tarfile.ReadError as error:
        raise ArchiveError(
            f"{archive} is not a readable zip or tar archive ({error}); expected .zip, .tar, .tar.gz, .tar.bz2 or "
            f".tar.xz. {BY_HAND}"
        ) from error
    return _tar_members(archive, tar, stream)


def _zip_members(archive: Path, zipped: zipfile.ZipFile) -> Iterator[_Member]:
    for info in zipped.infolist():
        name = info.orig_filename  # `filename` is already truncated at a NUL, with its separators replaced
        if info.flag_bits & 0x41:
            raise ArchiveError(
                f"{archive}: member {name!r} is encrypted. Unpack the archive manually with its password and pass the "
                "folder to recipes/prepare.py."
            )
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(archive, name, "is a link or device, not a regular file")
        is_dir = name.endswith("/")
        if is_dir and info.file_size or not is_dir and kind == stat.S_IFDIR:
            raise _refused(archive, name, "is both a folder and a file")
        parts = _safe_parts(archive, name)
        yield _Member(name, parts, is_dir, info.file_size, partial(zipped.open, info))


def _tar_members(archive: Path, tar: tarfile.TarFile, stream: "_BoundedReader") -> Iterator[_Member]:
    for info in tar:
        if info.size < 0 or info.issparse() or not (info.isreg() or info.isdir()):
            raise _refused(archive, info.name, "is a link, device or sparse file, not a regular file")
        parts = _safe_parts(archive, info.name)
        tarfile.data_filter(info, "unpacked")  # an additional check, which raises a TarError
        yield _Member(info.name, parts, info.isdir(), info.size, partial(tar.extractfile, info))  # type: ignore[arg-type]
    # tarfile treats a damaged or missing header as the end; the true end is a block of zeros.
    if stream.last != bytes(tarfile.BLOCKSIZE):
        raise ArchiveError(f"{archive} is damaged or truncated: its end-of-archive block is missing. {BY_HAND}")
    # Read to the end of the stream, where gzip, bzip2 and xz store their checksums.
    padding = 0
    while chunk := stream.read(CHUNK_BYTES):
        padding += len(chunk)
        if padding > MAX_READ_BYTES:
            raise ArchiveError(f"{archive} has more than {MAX_READ_BYTES:,} bytes after its end. {BY_HAND}")


def _safe_parts(archive: Path, name: str) -> tuple[str, ...]:
    """Return the parts of a name; raise an error if it could lead outside the folder on any operating system."""
    if not name or "\0" in name or "\\" in name:
        raise _refused(archive, name, "has an empty name, or a backslash or NUL in its name")
    if name.startswith("/"):
        raise _refused(archive, name, "has an absolute path")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise _refused(archive, name, "has '..' in its name")
    if any(re.match("[A-Za-z]:", part) for part in parts):
        raise _refused(archive, name, "has a drive letter in its name")
    return parts


def _checked(archive: Path, members: Iterator[_Member], max_bytes: int, max_members: int) -> list[_Member]:
    """Return the members to write, after checking each of them and the totals."""
    kept: dict[tuple[str, ...], _Member] = {}
    total = 0
    for number, member in enumerate(members, start=1):
        total += member.size
        if number > max_members:
            raise ArchiveError(
                f"{archive} contains more than {max_members:,} members, more than any supported corpus. {OFFICIAL}"
            )
        if total > max_bytes:
            raise ArchiveError(
                f"{archive} unpacks to more than {max_bytes:,} bytes, more than any supported corpus. {OFFICIAL}"
            )
        # AppleDouble files such as ._clip.wav look like recordings
        if not member.parts or "__MACOSX" in member.parts or member.parts[-1].startswith(("._", ".DS_Store")):
            continue
        before = kept.get(member.parts)
        if before is not None and not (before.is_dir and member.is_dir):
            raise _refused(archive, member.name, "occurs twice")
        kept[member.parts] = member
    if all(member.is_dir for member in kept.values()):
        raise ArchiveError(f"{archive} contains no files. {BY_HAND}")
    return list(kept.values())


def _write(archive: Path, members: list[_Member], folder: Path) -> None:
    """Write the members to `folder`; neither library returns more bytes than the header of a member declares."""
    for member in members:
        path = folder.joinpath(*member.parts)
        if member.is_dir:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, open(path, "xb") as target:
            shutil.copyfileobj(source, target, CHUNK_BYTES)
        if path.stat().st_size != member.size:
            raise ArchiveError(
                f"{archive}: member {member.name!r} unpacks to {path.stat().st_size:,} bytes; its header declares "
                f"{member.size:,}. {BY_HAND}"
            )


class _BoundedReader(io.RawIOBase):
    """A stream that rejects very large reads, since tarfile reads the declared length of a header into memory."""

    def __init__(self, stream: IO[bytes], archive: Path) -> None:
        super().__init__()
        self._stream, self._archive = stream, archive
        self.seek, self.tell = stream.seek, stream.tell  # type: ignore[method-assign]
        self.last = b""

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= MAX_READ_BYTES:
            raise ArchiveError(f"{self._archive}: a tar header declares {size:,} bytes, which is too many. {OFFICIAL}")
        self.last = self._stream.read(size)
        return self.last


def _refused(archive: Path, name: str, why: str) -> ArchiveError:
    return ArchiveError(
        f"{archive}: member {name!r} {why}, which is not expected in a corpus. No files were unpacked. {OFFICIAL}"
    )


def _system_error(archive: Path, folder: Path, error: OSError) -> ArchiveError:
    if error.errno is None:  # gzip and bz2 report damaged data as an OSError without errno
        return ArchiveError(f"{archive} cannot be unpacked: {error}. {BY_HAND}")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ArchiveError(
            f"the disk is full: {archive} does not fit in {folder.parent}. No files were unpacked. Free some space."
        )
    return ArchiveError(f"{archive} cannot be unpacked to {folder}: {error.strerror} ({error.filename}).")

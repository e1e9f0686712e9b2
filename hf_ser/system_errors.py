"""Errors of the operating system, such as a full disk, as one line, and the check of an output path before work."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_ser.errors import SerError

_LONGEST_NAME = 255  # bytes, on the file systems of Linux, macOS and Windows
_SUFFIX = 24  # bytes that temporary files and checkpoints add to a name
_REMEDIES = {
    errno.ENOSPC: "Free some space, or choose a folder on another disk.",
    errno.EDQUOT: "Free some of your quota, or choose a folder on another disk.",
    errno.EROFS: "Choose a folder on a disk that can be written to.",
    errno.EACCES: "Check the permissions, or choose another path.",
    errno.EPERM: "Check the permissions, or choose another path.",
    errno.ENOTDIR: "Check the path: a part of it is a file.",
    errno.EISDIR: "Check the path: it is a folder.",
    errno.ENOENT: "Check the path.",
    errno.EEXIST: "Choose another path.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n), or use fewer worker processes.",
    errno.ENFILE: "Close other programs: the system has too many open files.",
    errno.ENOMEM: "Free some memory, or use smaller batches and fewer worker processes.",
    errno.EFBIG: "Raise the limit of file sizes (ulimit -f), or choose a folder on another disk.",
    errno.EIO: "Check the disk: it could not be read or written.",
    errno.ESTALE: "Mount the network folder again.",
}
_RUST = re.compile(r"\(os error (\d+)\)")  # safetensors and tokenizers raise errors of their own


class SystemTroubleError(SerError):
    """The operating system does not let a file be read or written."""


def system_trouble(error: BaseException) -> SystemTroubleError | None:
    """Turn an error of the operating system into one line: path, cause and remedy. None for any other error.

    >>> str(system_trouble(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/model.safetensors")))
    'runs/model.safetensors: No space left on device. Free some space, or choose a folder on another disk.'
    """
    found = next(((cause, code) for cause in _chain(error) if (code := _code(cause)) is not None), None)
    if found is None:
        return None
    cause, code = found
    names: list[Any] = [getattr(cause, key, None) for key in ("filename", "filename2")]
    shown = " -> ".join(os.fsencode(name).decode("utf-8", "backslashreplace") for name in names if _is_path(name))
    remedy = _REMEDIES.get(code, "Check the path and the disk.")
    return SystemTroubleError(f"{shown}{': ' if shown else ''}{os.strerror(code)}. {remedy}")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from: libraries wrap the errors of the system in their own."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _is_path(name: object) -> bool:
    return isinstance(name, (str, bytes, os.PathLike)) and bool(os.fspath(name))


def _code(error: BaseException) -> int | None:
    """The error number, of an OSError or of a library's error that only prints it."""
    if isinstance(error, OSError):
        return error.errno if isinstance(error.errno, int) and error.errno in errno.errorcode else None
    found = _RUST.search(str(error))
    if found:
        return int(found[1])
    # torch.save and SQLite give no number. torch's writer fails in the middle of a file on a full disk.
    full = "PytorchStreamWriter failed" in str(error) or "database or disk is full" in str(error)
    return errno.ENOSPC if full else None


def check_output(path: str | Path, flag: str = "--output_dir") -> None:
    """Check that files can be written into a folder that may not exist yet. Nothing is created.

    Args:
        path: of the folder.
        flag: the argument that it comes from, for the message.

    Raises:
        SystemTroubleError: the path or a part of it is a file, a name is too long, or the folder is read-only.

    >>> check_output("runs/new")
    >>> check_output("runs/" + "x" * 300)
    Traceback (most recent call last):
        ...
    hf_ser.system_errors.SystemTroubleError: --output_dir: the name xxxxxxxxxxxxxxxxxxxx... has 300 bytes; expected ...
    """
    path = Path(path)
    for part in path.parts:
        size = len(os.fsencode(part))
        if size > _LONGEST_NAME - _SUFFIX:
            raise SystemTroubleError(
                f"{flag}: the name {part[:20]}... has {size} bytes; expected at most {_LONGEST_NAME - _SUFFIX}. "
                "Choose a shorter name."
            )
    try:
        existing = _existing(path)
    except OSError as error:  # a path that is too long as a whole, or a folder that cannot be looked into
        raise system_trouble(error) or error from error
    if not existing.is_dir():
        raise SystemTroubleError(f"{flag} {path}: {existing} is a file; expected a folder. Choose another path.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise SystemTroubleError(f"{flag} {path}: {existing} cannot be written to. Choose another path.")


def free_bytes(path: Path) -> int:
    """Bytes that are free on the disk of a path that may not exist yet."""
    return shutil.disk_usage(_existing(path)).free


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())

"""Open recordings of any source (path, URL, bytes, file object, array) as a binary file or an array with its rate."""

import io
import os
import select
import stat
import time
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from .addresses import download, is_address, without_secrets
from .audio_errors import AudioError, argument_error

MAX_BYTES = 1 << 30  # limit for a download, a pipe or a compressed recording
# Files up to this size are read at once; longer ones are read as they are decoded.
READ_AT_ONCE = 1 << 22
_PIPE_TIMEOUT_S = 30.0  # maximum wait for the next bytes of a pipe


class Opened(NamedTuple):
    """An encoded recording: a seekable file, the recording's offset and size, and whether to close the file."""

    file: BinaryIO
    start: int
    size: int  # bytes from `start`
    close: bool = False


class ArrayWithRate(NamedTuple):
    """Decoded samples and their rate in Hz; None if no rate was given."""

    array: Any
    sampling_rate: Any


def printable(name: str) -> str:
    """Escape bytes of a file name that are not UTF-8, so that it can be printed and written."""
    try:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a lone surrogate, which is not valid in a file name
        return name.encode("utf-8", "backslashreplace").decode()


def describe(source: Any) -> str:
    """Describe a source for messages: its path if it has one, else its kind.

    >>> from hf_ser.audio import describe
    >>> describe({"bytes": b"", "path": "voice.wav"}), describe(b"RIFF")
    ('voice.wav', '4 bytes of audio')
    """
    if isinstance(source, Mapping):
        path = source.get("path")
        return printable(os.fspath(path)) if path else f"audio dict with keys {', '.join(map(str, source))}"
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        name = name if isinstance(name, str) else os.fsdecode(name)
        return printable(without_secrets(name) if is_address(name) else name)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"{len(source)} bytes of audio"
    name = getattr(source, "name", None)  # files have one; tensors have None
    return printable(str(name)) if name is not None else f"{type(source).__name__} object"


def open_source(source: Any, sampling_rate: Any = None) -> Opened | ArrayWithRate:
    """Open a path, URL, pipe, bytes, file object, array, `datasets` audio dict or torchcodec decoder.

    Args:
        source: see `decoder.open_recording`.
        sampling_rate: Hz, for a bare array.

    Raises:
        AudioError: the source is none of these, or it cannot be opened.
    """
    name = describe(source)
    if isinstance(source, Mapping):
        source, sampling_rate = _of_mapping(source, sampling_rate, name)
    if hasattr(source, "get_all_samples"):  # torchcodec's decoder, which `datasets` gives for decoded audio
        samples = source.get_all_samples()
        return ArrayWithRate(samples.data, samples.sample_rate)
    if hasattr(source, "__array__") or isinstance(source, (list, tuple)):
        return ArrayWithRate(source, sampling_rate)
    opened = _open_encoded(source, name)
    if opened is None:
        raise argument_error(
            name,
            f"a {type(source).__name__}",
            "a path, URL, bytes, binary file object, array with its sampling rate, or datasets audio dict",
            "Pass one of these.",
        )
    if sampling_rate is not None:
        raise argument_error(
            name, "encoded audio with sampling_rate", "no sampling_rate", "Omit it: the file declares its rate."
        )
    return opened


def _of_mapping(source: Mapping[str, Any], sampling_rate: Any, name: str) -> tuple[Any, Any]:
    if source.get("bytes") is not None:
        return source["bytes"], sampling_rate
    for key in ("array", "raw"):
        if source.get(key) is not None:
            if sampling_rate is not None and "sampling_rate" in source:
                raise argument_error(
                    name, "two sampling rates, one in the dict", "one rate", "Omit the argument sampling_rate."
                )
            return source[key], source.get("sampling_rate", sampling_rate)
    if source.get("path"):
        return source["path"], sampling_rate
    raise argument_error(
        name,
        f"an audio dict with {', '.join(map(str, source)) or 'no keys'} and no content",
        "one of bytes, array (with sampling_rate) or path",
        "Load the dataset with Audio(decode=False), or pass the array with its rate.",
    )


def _open_encoded(source: Any, name: str) -> Opened | None:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _in_memory(bytes(source))
    if isinstance(source, str):
        if is_address(source):
            return _in_memory(download(source, lambda size: _check_size(size, name)))
        if source.lower().startswith("file://"):
            return _open_path(_local_path(source), name)
    if isinstance(source, (str, os.PathLike)):
        return _open_path(source, name)
    return _of_file_object(source, name) if hasattr(source, "read") else None


def _in_memory(content: bytes) -> Opened:
    return Opened(io.BytesIO(content), 0, len(content))


def _local_path(address: str) -> str:
    parts = urlsplit(address)
    if parts.netloc not in ("", "localhost"):
        raise AudioError(
            "not_found", address, f"the host {parts.netloc}", "a file on this machine", "Use the path of the file."
        )
    return url2pathname(unquote(parts.path))


def _open_path(path: str | os.PathLike[str], name: str) -> Opened:
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISFIFO(mode):
            return _in_memory(_read_pipe(path, name))
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a special file"
            raise AudioError("not_found", name, kind, "an audio file", "Check the path.")
        file = open(path, "rb")  # noqa: SIM115 - the decoder closes it
    except AudioError:
        raise
    except FileNotFoundError:
        raise AudioError("not_found", name, "no such file", "an audio file", "Check the path.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path, or a lone surrogate
        got = getattr(error, "strerror", None) or printable(str(error))
        remedy = "Check the path and its permissions."
        raise AudioError("not_found", name, got, "a readable audio file", remedy) from error
    size = os.fstat(file.fileno()).st_size
    if size > READ_AT_ONCE:
        return Opened(file, 0, size, close=True)
    with file:
        return _in_memory(_read(file, name))


def _read(file: Any, name: str) -> bytes:
    try:
        return file.read()
    except OSError as error:
        got = error.strerror or str(error)
        raise AudioError("not_found", name, got, "a readable audio file", "Check the disk.") from error


def _read_pipe(path: str | os.PathLike[str], name: str) -> bytes:
    """Read a pipe to its end; it is opened without blocking, because there may be no writer."""
    if not hasattr(os, "O_NONBLOCK"):  # Windows, where select does not support pipes either
        with open(path, "rb") as pipe:
            return _read(pipe, name)
    content = bytearray()
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        waited_since = time.monotonic()
        while time.monotonic() - waited_since < _PIPE_TIMEOUT_S:
            try:
                part = os.read(descriptor, 1 << 20)
            except BlockingIOError:  # there is a writer
                select.select([descriptor], [], [], _PIPE_TIMEOUT_S)
                continue
            if not part and content:
                return bytes(content)
            if not part:  # nothing has been written yet
                time.sleep(0.02)
                continue
            content += part
            waited_since = time.monotonic()
            _check_size(len(content), name)
    finally:
        os.close(descriptor)
    got = f"{len(content)} bytes from a pipe, then no data for {_PIPE_TIMEOUT_S:.0f} s"
    raise AudioError("not_found", name, got, "a complete recording", "Check the program that writes to the pipe.")


def _check_size(size: int, name: str) -> None:
    if size > MAX_BYTES:
        got = f"more than {MAX_BYTES >> 30} GiB"
        raise AudioError("not_found", name, got, "a smaller recording", "Split it, or convert it to a WAV file.")


def _of_file_object(file: Any, name: str) -> Opened:
    try:
        # A long recording on disk is read as it is decoded; everything else is read at once.
        if isinstance(file, io.BufferedReader) and file.seekable():
            size = os.fstat(file.fileno()).st_size - file.tell()
            if size > READ_AT_ONCE:
                return Opened(file, file.tell(), size)
        content = file.read()
    except (OSError, ValueError) as error:  # closed, or opened in text mode
        got = f"a file object that cannot be read ({error})"
        raise argument_error(name, got, "bytes", 'Open it with "rb".') from error
    if not isinstance(content, bytes):
        got = f"a file object that reads {type(content).__name__}"
        raise argument_error(name, got, "bytes", 'Open it with "rb".')
    return _in_memory(content)

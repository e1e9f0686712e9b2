"""Answers in a CSV or JSONL file, appended one recording at a time and resumed after any interruption."""

import csv
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from filelock import FileLock, Timeout

from hf_ser.batch.answer_rows import columns, csv_cells, csv_text, is_value_column, json_text, tabular
from hf_ser.batch.batch_error import BatchError
from hf_ser.batch.escaped_names import escaped_name
from hf_ser.batch.run_stamp import RunStamp

try:
    import fcntl
except ImportError:  # Windows, where locked bytes cannot be read
    fcntl = None  # type: ignore[assignment]

_FIRST = ("file", "start", "end")
_LAST = ("error", "warning", "windows", "model", "options")
_BEGINNING = {"csv": ",".join((*_FIRST, "")).encode(), "jsonl": b'{"file": "'}
REMEDY = "Name another file, or pass --overwrite to replace it."


class _Entry(NamedTuple):
    """A recording whose complete answer is in the file."""

    name: str
    failed: bool
    model: str
    options: str
    end: int  # of its last line, in bytes from the start of the file


class AppendedFile:
    """A file that grows by one answer per write, so that an interruption neither loses nor repeats an answer.

    A half-written answer at the end is dropped when the file is opened again. The file is not changed before `start`.
    """

    is_whole = True  # every answer is in the file itself

    def __init__(self, path: Path, kind: str, run: RunStamp, overwrite: bool = False) -> None:
        """Open and lock the file, and read which recordings it has answers for.

        Args:
            path: of the file; created if it does not exist.
            kind: csv or jsonl.
            run: the model and options of the answers.
            overwrite: whether to replace the content.

        Raises:
            BatchError: the file is not writable, has other content, or is from another model or other options.
        """
        self.path, self.kind, self.run = path, kind, run
        self.failed: dict[str, bool] = {}  # by name: whether the recording failed
        self.end = 0  # bytes of complete answers
        self._labels: Sequence[str] = ()
        self._abstains = False
        self._is_new = not path.exists()
        self._lock: FileLock | None = None
        self._descriptor = self._open()
        try:
            if not overwrite:
                self._read()
        except BaseException:
            self.release()
            raise

    def start(self, labels: Sequence[str], abstains: bool = False) -> None:
        """Drop a half-written answer at the end and prepare the file for answers with these columns."""
        self._labels, self._abstains = labels, abstains
        os.ftruncate(self._descriptor, self.end)
        if self.kind != "csv":
            return
        header = [*columns(labels, abstains), *_LAST[2:]]
        if self.end == 0:
            self._append(csv_text([header]))
            return
        with self.path.open("rb") as file:
            present = _cells(file.readline())
        if present != header:
            got, wanted = (
                ", ".join(name for name in names if is_value_column(name) or name in ("emotion", "abstained"))
                for names in (present, header)
            )
            raise BatchError(f"{self.path}: got the columns {got}; expected {wanted}. {REMEDY}")

    def write(self, row: Mapping[str, Any]) -> None:
        """Append the answer for one recording in one write."""
        if self.kind == "jsonl":
            text = json_text({**row, "model": self.run.model, "options": self.run.options}) + "\n"
        else:
            text = csv_text([csv_cells(line) for line in stamped(row, self._labels, self.run, self._abstains)])
        self._append(text)
        self.failed[row["file"]] = "error" in row

    def rows(self) -> Iterator[dict[str, Any]]:
        """Read the answers of a JSONL file."""
        with self.path.open("rb") as file:
            for _, line in _whole_lines(file, self.end):
                yield json.loads(line)

    def close(self, complete: bool) -> None:
        """Do nothing: every answer is already in the file."""

    def release(self) -> None:
        """Close and unlock the file; remove it if it was created here and is empty."""
        if self._descriptor < 0:
            return
        empty = os.fstat(self._descriptor).st_size == 0
        os.close(self._descriptor)
        self._descriptor = -1
        if self._is_new and empty:
            self.path.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.release()

    def remove(self) -> None:
        """Close the file (Windows cannot remove an open file) and remove it."""
        self.release()
        self.path.unlink(missing_ok=True)

    def _open(self) -> int:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
            descriptor = os.open(self.path, flags, 0o666)
        except OSError as error:
            raise BatchError(f"--output {escaped_name(str(self.path))}: {error.strerror}.") from error
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise BatchError(f"--output {escaped_name(str(self.path))}: is not a regular file. Name another file.")
            self._lock = _lock(descriptor, self.path)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _read(self) -> None:
        with self.path.open("rb") as file:
            beginning = file.read(len(_BEGINNING[self.kind]))
            if beginning != _BEGINNING[self.kind][: len(beginning)]:
                raise BatchError(f"{self.path}: got a file with other content. {REMEDY}")
            file.seek(0)
            try:
                for entry in _csv_entries(file) if self.kind == "csv" else _jsonl_entries(file):
                    differences = self.run.differences(entry.model, entry.options)
                    if entry.name and differences:
                        raise BatchError(f"{self.path}: got {differences}. {REMEDY}")
                    self.end = entry.end
                    if entry.name:
                        self.failed[entry.name] = entry.failed
            except (ValueError, KeyError, TypeError, csv.Error) as error:
                if isinstance(error, BatchError):
                    raise
                raise BatchError(f"{self.path}: got a line that is not an answer ({error}). {REMEDY}") from error

    def _append(self, text: str) -> None:
        content = memoryview(text.encode("utf-8", "backslashreplace"))
        size = len(content)
        try:
            while content:
                content = content[os.write(self._descriptor, content) :]
        except OSError as error:
            os.ftruncate(self._descriptor, self.end)
            kept = f"It has the answers for {len(self.failed):,} recordings; run the same command to continue."
            raise BatchError(f"{self.path}: {error.strerror}. {kept}") from error
        self.end += size


def stamped(
    row: Mapping[str, Any], labels: Sequence[str], run: RunStamp, abstains: bool = False
) -> list[dict[str, Any]]:
    """Return the lines of an answer in a file: `tabular`, the number of windows that follow, and the stamp.

    Args:
        row: answer of the pipeline for one recording.
        labels: classes of the model.
        run: model and options of the command.
        abstains: whether the answers say if they are below the abstention threshold.
    """
    lines = tabular(row, labels, abstains)
    for number, line in enumerate(lines):
        windows = len(lines) - 1 if number == 0 and "timeline" in row else None
        line |= {"windows": windows, "model": run.model, "options": run.options}
    return lines


def _whole_lines(file: BinaryIO, end: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield the position of the end, in bytes, and the content of each line that ends in a line feed."""
    place = 0
    for line in file:
        place += len(line)
        if not line.endswith(b"\n") or (end is not None and place > end):
            return
        yield place, line


def _jsonl_entries(file: BinaryIO) -> Iterator[_Entry]:
    for end, line in _whole_lines(file):
        row = json.loads(line)
        yield _Entry(row["file"], "error" in row, row["model"], row["options"], end)


def _csv_entries(file: BinaryIO) -> Iterator[_Entry]:
    """Yield the recordings with all windows; the first entry, without a name, is the header."""
    lines = _whole_lines(file)
    end, line = next(lines, (0, b""))
    if not line:
        return
    header = _cells(line)
    if tuple(header[-len(_LAST) :]) != _LAST:
        raise ValueError(f"the header ends in {header[-1]}")
    yield _Entry("", False, "", "", end)
    current, missing = None, 0
    for end, line in lines:
        row = dict(zip(header, _cells(line), strict=True))
        if missing == 0:
            missing = int(row["windows"] or 0)
            current = _Entry(row["file"], bool(row["error"]), row["model"], row["options"], end)
        elif current is not None and row["file"] == current.name and row["start"]:
            missing -= 1
        else:
            raise ValueError(f"windows are missing before {row['file']}")
        if missing == 0 and current is not None:
            yield current._replace(end=end)


def _cells(line: bytes) -> list[str]:
    return next(csv.reader([line.decode()]), [])


def _lock(descriptor: int, path: Path) -> FileLock | None:
    """Lock the file: two commands that append to it would repeat each other's answers.

    Returns:
        The lock to release if it is a separate file; None if the lock is on the descriptor.
    """
    lock = FileLock(f"{path}.lock", timeout=0) if fcntl is None else None
    try:
        if lock is not None:
            lock.acquire()
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, Timeout) as error:
        raise BatchError(f"--output {path}: another command is writing to it. Wait until it ends.") from error
    except OSError:  # a file system without locks
        return None
    return lock

"""Answers in a Parquet file. They are collected in a JSONL file first, because Parquet cannot be appended to."""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hf_ser.batch.answer_rows import columns, is_value_column
from hf_ser.batch.appended_file import REMEDY, AppendedFile, stamped
from hf_ser.batch.batch_error import BatchError
from hf_ser.batch.run_stamp import RunStamp

_RECORDINGS_PER_GROUP = 2000  # in memory at a time
_READ = ["file", "start", "error", "model", "options"]


def schema_of(names: Sequence[str]) -> pa.Schema:
    """Return the types of columns of answers."""
    kinds = {"start": pa.float64(), "end": pa.float64(), "windows": pa.int32(), "abstained": pa.bool_()}
    return pa.schema(
        [(name, pa.float64() if is_value_column(name) else kinds.get(name, pa.string())) for name in names]
    )


class ParquetOutput:
    """A Parquet file, written after the last answer and after Ctrl-C; until then, `FILE.part` grows."""

    def __init__(self, path: Path, run: RunStamp, overwrite: bool = False) -> None:
        """Open the journal, and read which recordings it and the Parquet file have answers for.

        Raises:
            BatchError: see `AppendedFile`.
        """
        self.path, self.run, self._overwrite = path, run, overwrite
        if path.exists() and not path.is_file():
            raise BatchError(f"--output {path}: is not a regular file. Name another file.")
        self._journal = AppendedFile(Path(f"{path}.part"), "jsonl", run, overwrite)
        self._schema: pa.Schema | None = None
        self._labels: Sequence[str] = ()
        self._abstains = False
        self._in_parquet: dict[str, bool] = {}
        self.failed = self._journal.failed  # by name: whether the recording failed
        try:
            if not overwrite and _has_content(path):
                self._in_parquet = dict(self._entries())
                self.failed = {**self._in_parquet, **self._journal.failed}
        except BaseException:
            self.release()
            raise

    @property
    def is_whole(self) -> bool:
        """Whether every answer is in the Parquet file."""
        return _has_content(self.path) and self._journal.failed.keys() <= self._in_parquet.keys()

    def start(self, labels: Sequence[str], abstains: bool = False) -> None:
        """Prepare the file for answers with these columns."""
        self._labels, self._abstains = labels, abstains
        self._schema = schema_of([*columns(labels, abstains), "windows", "model", "options"])
        if self._overwrite:
            self.path.unlink(missing_ok=True)
        elif _has_content(self.path) and not pq.read_schema(self.path).equals(self._schema):
            raise BatchError(f"{self.path}: got columns that differ from those of this model. {REMEDY}")
        self._journal.start(labels, abstains)

    def write(self, row: Mapping[str, Any]) -> None:
        """Append the answer for one recording to the journal."""
        self._journal.write(row)
        self.failed[row["file"]] = "error" in row

    def close(self, complete: bool) -> None:
        """Write the Parquet file; remove the journal once every recording has an answer."""
        if not self.is_whole:
            beside = Path(f"{self.path}.new")
            try:
                self._write(beside)
                os.replace(beside, self.path)
            except OSError as error:
                kept = f"The answers are in {self._journal.path}; run the same command to continue."
                raise BatchError(f"{self.path}: {error.strerror or error}. {kept}") from error
            finally:
                beside.unlink(missing_ok=True)
        if complete:
            self._journal.remove()

    def release(self) -> None:
        """Close and unlock the journal."""
        self._journal.release()

    def _write(self, beside: Path) -> None:
        with beside.open("wb") as file:
            with pq.ParquetWriter(file, self._schema) as writer:
                if _has_content(self.path):
                    with pq.ParquetFile(self.path) as present:  # closed, because Windows cannot replace an open file
                        for batch in present.iter_batches():
                            writer.write_batch(batch)
                fresh = (row for row in self._journal.rows() if row["file"] not in self._in_parquet)
                while group := list(itertools.islice(fresh, _RECORDINGS_PER_GROUP)):
                    lines = [line for row in group for line in stamped(row, self._labels, self.run, self._abstains)]
                    writer.write_table(pa.Table.from_pylist(lines, self._schema))
            file.flush()
            os.fsync(file.fileno())

    def _entries(self) -> Iterator[tuple[str, bool]]:
        try:
            with pq.ParquetFile(self.path) as file:
                for batch in file.iter_batches(columns=_READ):
                    if set(batch.schema.names) != set(_READ):
                        raise BatchError(f"{self.path}: got a file with other content. {REMEDY}")
                    yield from self._of_batch(batch.to_pylist())
        except (pa.ArrowException, OSError) as error:
            raise BatchError(f"{self.path}: got an unreadable Parquet file ({error}). {REMEDY}") from error

    def _of_batch(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, bool]]:
        for row in rows:
            differences = self.run.differences(row["model"], row["options"])
            if differences:
                raise BatchError(f"{self.path}: got {differences}. {REMEDY}")
            if row["start"] is None:
                yield row["file"], row["error"] is not None


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0

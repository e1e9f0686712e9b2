"""Read lists of recordings and labels: CSV as spreadsheets and annotation tools write it, and JSON lines."""

import codecs
import csv
import io
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hf_ser.corpora.listing import (
    REQUIRED,
    Listing,
    ListingError,
    corpus_name,
    ignored_columns,
    make_listing,
    name_columns,
)
from hf_ser.remote_code.audio_sources import printable

_DELIMITERS = ",;\t|"


class Rows(NamedTuple):
    """The rows of a list.

    Args:
        rows: name of the row, such as "row 2", and its fields of `hf_ser.corpora.listing.COLUMNS`.
        notes: remarks for the report.
    """

    rows: Iterator[tuple[str, dict[str, str]]]
    notes: tuple[str, ...]


def read_csv(path: Path, audio_dir: Path | None = None, columns: Mapping[str, Any] | None = None) -> Listing:
    """Read a CSV file with a row per recording, or per segment of a recording.

    The columns path and label are required; see `hf_ser.corpora.listing.COLUMNS` for the others.

    Args:
        path: path of the file; its stem names the corpus of rows without one.
        audio_dir: folder that the paths are relative to; default: the folder of the file.
        columns: field -> name of its column, or None to ignore it.

    Raises:
        ListingError: the file cannot be read, columns are missing, or rows cannot be used.
    """
    if not path.is_file():
        state = "not a regular file" if path.exists() else "no such file"
        raise ListingError(f"--csv {path}: {state}; expected a CSV file with the columns path and label.")
    folder = (audio_dir or path.parent).resolve()
    if not folder.is_dir():
        raise ListingError(f"--audio_dir {folder}: no such folder; expected the folder of the recordings.")
    source = printable(path.name)
    rows, notes = csv_rows(path, source, columns)
    remedy = "Pass --audio_dir with the folder that the paths are relative to."
    return make_listing(rows, folder, source=source, corpus=corpus_name(path.stem), notes=notes, remedy=remedy)


def csv_rows(
    path: Path, source: str, columns: Mapping[str, Any] | None = None, required: Sequence[str] = REQUIRED
) -> Rows:
    """The rows of a CSV file. They are numbered as in spreadsheets, with the header as row 1.

    The delimiter is a comma, semicolon, tab or bar. The encoding is UTF-8, UTF-16 with a byte order mark, or else
    Windows-1252.

    Args:
        path: path of the file.
        source: its name in messages.
        columns: field -> name of its column, or None to ignore it.
        required: fields that the file must have.

    Raises:
        ListingError: the file cannot be decoded, or columns are missing; or, from the iterator, a row is malformed.
    """
    text, notes = _read_text(path, source)
    declared = re.match(r"sep=(.)\r?\n", text)  # a first line that Excel reads and writes
    body = text[declared.end() :] if declared else text
    # The delimiter is the one that gives the most columns.
    marks = declared[1] if declared else _DELIMITERS
    headers = {mark: next(csv.reader(io.StringIO(body), delimiter=mark), []) for mark in marks}
    delimiter = max(marks, key=lambda mark: len(headers[mark]))
    header = [name.strip() for name in headers[delimiter]]
    if not any(header):
        raise ListingError(f"{source} is empty; expected a first row with the names of the columns.")
    found = name_columns(header, columns, source, required)
    places = {name: header.index(column) for name, column in found.items()}
    rows = _rows(body, delimiter, len(header), places, source, first=3 if declared else 2)
    return Rows(rows, (*notes, *ignored_columns(header, found)))


def _read_text(path: Path, source: str) -> tuple[str, tuple[str, ...]]:
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError as error:
            problem = error
            continue
        if "\0" in text:
            raise ListingError(f"{source} has null characters; expected a CSV file. Save the table as CSV in UTF-8.")
        return text, ("read as Windows-1252, since it is not UTF-8",) if encoding == "cp1252" else ()
    raise ListingError(f"{source}: byte {problem.start} cannot be decoded; expected UTF-8. Save it as UTF-8.")


def _rows(
    text: str, delimiter: str, width: int, places: Mapping[str, int], source: str, first: int
) -> Iterator[tuple[str, dict[str, str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    next(reader)
    for number in itertools.count(first):
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ListingError(f"{source}, row {number}: {error}. Correct the row.") from error
        if not any(cell.strip() for cell in row):  # an empty row, as at the end of exported tables
            continue
        if len(row) > width and any(cell.strip() for cell in row[width:]):
            raise ListingError(
                f"{source}, row {number} has {len(row)} fields; expected {width}. Put fields that contain "
                f"{delimiter!r} in quotes."
            )
        yield f"row {number}", {name: row[place] for name, place in places.items() if place < len(row)}


def jsonl_rows(path: Path, source: str, columns: Mapping[str, Any] | None = None) -> Rows:
    """The rows of a file with one JSON object per line, in UTF-8.

    Args:
        path: path of the file.
        source: its name in messages.
        columns: field -> name of its key, or None to ignore it.

    Raises:
        ListingError: a line is not a JSON object in UTF-8, or keys are missing.
    """
    objects: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(path.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line.decode("utf-8"))
        except ValueError as error:
            raise ListingError(f"{source}, line {number}: {error}; expected a JSON object in UTF-8.") from error
        if not isinstance(value, dict):
            raise ListingError(f"{source}, line {number} has a {type(value).__name__}; expected a JSON object.")
        objects.append((number, value))
    header = list(dict.fromkeys(key for _, value in objects for key in value))
    found = name_columns(header, columns, source)

    def rows() -> Iterator[tuple[str, dict[str, str]]]:
        for number, value in objects:
            present = {name: value[key] for name, key in found.items() if value.get(key) is not None}
            yield f"line {number}", {name: _text(item) for name, item in present.items()}

    return Rows(rows(), ignored_columns(header, found))


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)

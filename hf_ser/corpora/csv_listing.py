"""Read a CSV file that lists recordings and labels, as spreadsheets and annotation tools write it."""

import codecs
import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hf_ser.corpora.listing import Listing, ListingError, corpus_name, ignored_columns, make_listing, name_columns
from hf_ser.remote_code.audio_sources import printable

_DELIMITERS = ",;\t|"


def read_csv(
    path: Path, audio_dir: Path | None = None, columns: Mapping[str, Any] | None = None, *, split: str = ""
) -> Listing:
    """Read a CSV file with a row per recording, or per segment of a recording.

    The columns path and label are required; see `hf_ser.corpora.listing.COLUMNS` for the others. The delimiter is a
    comma, semicolon, tab or bar. The encoding is UTF-8, UTF-16 with a byte order mark, or else Windows-1252.

    Args:
        path: path of the file; its stem names the corpus of rows without one.
        audio_dir: folder that the paths are relative to; default: the folder of the file.
        columns: field -> name of its column, or None to ignore it.
        split: split of rows without one.

    Raises:
        ListingError: the file cannot be read, columns are missing, or rows cannot be used.
    """
    path = path.resolve()
    source = printable(path.name)
    folder = (audio_dir or path.parent).resolve()
    if not folder.is_dir():
        raise ListingError(f"--audio_dir {folder}: no such folder; expected the folder of the recordings.")
    text, notes = _read_text(path)
    delimiter, header = _header(text, source)
    found = name_columns(header, columns, source)
    rows = _rows(text, delimiter, header, found, source)
    notes = (*notes, *ignored_columns(header, found))
    return make_listing(rows, folder, source=source, corpus=corpus_name(path.stem), split=split, notes=notes)


def _read_text(path: Path) -> tuple[str, tuple[str, ...]]:
    if not path.is_file():
        state = "not a regular file" if path.exists() else "no such file"
        raise ListingError(f"--csv {path}: {state}; expected a CSV file with the columns path and label.")
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError as error:
            place, problem = error.start, error
            continue
        if "\0" in text:
            break
        return text, ("read as Windows-1252, since it is not UTF-8",) if encoding == "cp1252" else ()
    else:
        raise ListingError(f"{path}: byte {place} cannot be decoded; expected UTF-8. Save it as UTF-8.") from problem
    raise ListingError(f"{path} has null characters; expected a CSV file. Save the table as CSV in UTF-8.")


def _header(text: str, source: str) -> tuple[str, list[str]]:
    """The delimiter and the names of the columns: the delimiter is the one that gives the most columns."""
    headers = {mark: next(csv.reader(io.StringIO(text), delimiter=mark), []) for mark in _DELIMITERS}
    delimiter = max(_DELIMITERS, key=lambda mark: len(headers[mark]))
    header = [name.strip() for name in headers[delimiter]]
    if not any(header):
        raise ListingError(f"{source} is empty; expected a first row with the names of the columns.")
    return delimiter, header


def _rows(
    text: str, delimiter: str, header: list[str], found: Mapping[str, str], source: str
) -> Iterator[tuple[str, dict[str, str]]]:
    places = {name: header.index(column) for name, column in found.items()}
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    next(reader)
    number = 1
    while True:
        number += 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ListingError(f"{source}, row {number}: {error}. Correct the row.") from error
        if not any(cell.strip() for cell in row):  # an empty row, as at the end of exported tables
            continue
        if len(row) > len(header) and any(cell.strip() for cell in row[len(header) :]):
            raise ListingError(
                f"{source}, row {number} has {len(row)} fields; expected {len(header)}. Put fields that contain "
                f"{delimiter!r} in quotes."
            )
        yield f"row {number}", {name: row[place] for name, place in places.items() if place < len(row)}

"""The clips of a folder, a CSV file or a dataset, as an ordered list of names, and how each clip is read."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hf_ser.batch.batch_error import BatchError
from hf_ser.batch.escaped_names import escaped_name
from hf_ser.batch.recordings_listing import list_folder
from hf_ser.corpora.csv_listing import csv_rows
from hf_ser.data.literal_paths import files_of, is_pattern, load_literal
from hf_ser.local_or_hub import refuse_missing
from hf_ser.remote_code.addresses import is_address

if TYPE_CHECKING:  # importing datasets takes about as long as the rest of this package
    import datasets

FOLDER, CSV, DATASET = "folder", "csv", "dataset"
_TABLES = (".csv", ".tsv")
_ID, _ROW = "id", "{split}/{row:08d}"
_NAME_COLUMN = pa.field("name", pa.binary())
_CODEC = ("utf-8", "surrogateescape")  # file names need not be valid UTF-8


@dataclass(frozen=True)
class ClipListing:
    """The clips to classify.

    Args:
        kind: folder, csv or dataset.
        names: paths, URLs or ids, each once, in order.
        notes: remarks for the person who started the run.
    """

    kind: str
    names: Sequence[str]
    notes: tuple[str, ...] = ()


def list_clips(source: str, configuration: str | None = None, split: str | None = None) -> ClipListing:
    """List the clips of a folder, a CSV file with a column `path`, or a dataset.

    Args:
        source: a folder of recordings, a .csv or .tsv file, a folder with Parquet files, or a dataset on the Hub.
        configuration: of the dataset; None for the only one.
        split: of the dataset; None for all.

    Raises:
        SerError: the source does not exist, cannot be read, or has no clips.
    """
    path = Path(source)
    if path.suffix.lower() in _TABLES:
        return _listed_in_csv(path)
    if not path.is_dir():
        refuse_missing(source, "--input", BatchError, "a folder, a CSV file or a dataset")
        return _listed_in_dataset(source, configuration, split)
    found = list_folder(source)
    if found.recordings:
        return ClipListing(FOLDER, found.recordings, tuple(found.lines()))
    if found.suffixes[".parquet"]:
        return _listed_in_dataset(source, configuration, split)
    skipped = f" ({found.passed_over()})" if found.passed_over() else ""
    raise BatchError(
        f"--input {escaped_name(source)}: got a folder without recordings{skipped}; expected "
        "audio or video files such as .wav or .mp3, or the Parquet files of a dataset."
    )


def _listed_in_csv(path: Path) -> ClipListing:
    if not path.is_file():
        raise BatchError(f"--input {path}: no such file; expected a CSV file with a column path.")
    rows, notes = csv_rows(path, escaped_name(str(path)), required=("path",))
    given = [row.get("path", "").strip() for _, row in rows]
    names = [name if is_address(name) else os.path.join(path.parent, name) for name in given if name]
    unique = list(dict.fromkeys(names))
    if not unique:
        raise BatchError(f"--input {path}: got no paths; expected a recording in every row of the column path.")
    lines = [f"{path}: {note}" for note in notes]
    if len(unique) < len(given):
        skipped = len(given) - len(unique)
        lines.append(f"{path}: {len(unique):,} recordings; skipped {skipped:,} rows that are empty or repeated")
    return ClipListing(CSV, unique, tuple(lines))


def _listed_in_dataset(source: str, configuration: str | None, split: str | None) -> ClipListing:
    rows = open_rows(source, configuration, split)
    names = [str(name) for name in rows[_ID]]
    if len(set(names)) < len(names):
        repeated = Counter(names).most_common(1)[0][0]
        raise BatchError(
            f"--input {source}: got the id {escaped_name(repeated)} twice; expected different ids. Remove or rename "
            "the column id."
        )
    return ClipListing(DATASET, names)


def open_rows(source: str, configuration: str | None, split: str | None) -> "datasets.Dataset":
    """Open the clips of a dataset: columns `audio` (not decoded) and `id`, memory-mapped.

    Without a column `id`, clips are named by split and row, such as train/00000012.

    Raises:
        BatchError: the dataset, the configuration or the split does not exist, or it has no audio.
    """
    import datasets

    try:
        if configuration is not None and is_pattern(source):
            loaded = load_literal(files_of(source, configuration))
        else:
            loaded = datasets.load_dataset(source, configuration)
    except Exception as error:  # of the builder of any format
        raise BatchError(
            f"--input {source}: {' '.join(str(error).split())} Name a folder, a CSV file or a dataset, and its "
            "--configuration if it has several."
        ) from error
    if split is not None and split not in loaded:
        raise BatchError(f"--split {split}: no such split of {source}; expected one of {', '.join(loaded)}.")
    parts = [_named(part, name, source) for name, part in loaded.items() if split in (None, name) and len(part)]
    if not parts:
        raise BatchError(f"--input {source}: got a dataset without clips; expected at least one.")
    return datasets.concatenate_datasets(parts)


def _named(part: "datasets.Dataset", split: str, source: str) -> "datasets.Dataset":
    import datasets

    audio = [name for name, kind in part.features.items() if isinstance(kind, datasets.Audio)]
    if len(audio) != 1:
        found = ", ".join(f"{name}: {type(kind).__name__}" for name, kind in part.features.items())
        raise BatchError(f"--input {source}: got the columns {found}; expected one column of the type Audio.")
    if _ID in part.column_names:
        part = part.select_columns([audio[0], _ID])
    else:
        part = part.select_columns(audio)
        part = part.add_column(_ID, [_ROW.format(split=split, row=row) for row in range(len(part))])
    return part.cast_column(audio[0], datasets.Audio(decode=False)).rename_columns(
        {} if audio[0] == "audio" else {audio[0]: "audio"}
    )


def reader_of_rows(rows: "datasets.Dataset", first: int, names: Sequence[str]) -> Callable[[str], Any]:
    """Return the function that reads the clip of a name from consecutive rows of a dataset.

    Args:
        rows: of `open_rows`.
        first: number of the first row.
        names: of the rows from there on.
    """
    places = {name: first + number for number, name in enumerate(names)}

    def read(name: str) -> Any:
        audio = rows[places[name]]["audio"] or {}
        content = audio.get("bytes")
        return {"bytes": content, "path": name} if content is not None else {"path": audio.get("path")}

    return read


class ListingFile:
    """The names of the clips on disk, in batches of one part each, so that a process reads only its own parts."""

    def __init__(self, path: Path) -> None:
        """Open a file that `write` wrote."""
        self._file = pa.ipc.open_file(pa.memory_map(str(path)))

    @property
    def num_parts(self) -> int:
        """Number of parts."""
        return self._file.num_record_batches

    def names(self, part: int) -> list[str]:
        """Return the names of a part's clips, in order."""
        return [name.decode(*_CODEC) for name in self._file.get_batch(part).column(0).to_pylist()]

    @staticmethod
    def write(path: Path, names: Sequence[str], clips_per_part: int) -> None:
        """Write the names beside the file, then rename it."""
        beside = path.with_name(path.name + ".new")
        schema = pa.schema([_NAME_COLUMN])
        with pa.OSFile(str(beside), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for start in range(0, len(names), clips_per_part):
                encoded = [_encoded(name) for name in names[start : start + clips_per_part]]
                writer.write_batch(pa.record_batch([pa.array(encoded, pa.binary())], schema=schema))
        os.replace(beside, path)


def digest_of_names(names: Iterable[str]) -> str:
    """Return the SHA-256 of an ordered list of names."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(_encoded(name) + b"\0")
    return digest.hexdigest()


def _encoded(name: str) -> bytes:
    return name.encode(*_CODEC)

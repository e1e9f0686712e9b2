"""Read a folder of recordings in the layouts of `datasets`' audiofolder, without torchcodec."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from hf_ser.corpora.csv_listing import Rows, csv_rows, jsonl_rows
from hf_ser.corpora.files_below import files_below
from hf_ser.corpora.listing import SPLIT_NAMES, Listing, ListingError, corpus_name, make_listing
from hf_ser.corpora.utterance import AUDIO_SUFFIXES, OTHER_AUDIO_SUFFIXES

_READERS = {"metadata.csv": csv_rows, "metadata.jsonl": jsonl_rows}
_EXPECTED = "CLASS/FILE, SPLIT/CLASS/FILE with the splits train, validation and test, or a metadata.csv"


def read_audio_folder(folder: Path, columns: Mapping[str, Any] | None = None) -> Listing:
    """Read a folder of recordings.

    Labels are the names of the folders that contain the recordings (`angry/1.wav`), also below folders of splits
    (`train/angry/1.wav`). Or a `metadata.csv` or `metadata.jsonl`, at the top or in each folder of a split, has a row
    per recording: `file_name` (relative to the metadata file), `label`, and the other columns of a CSV file.

    Args:
        folder: the folder; its name is the name of the corpus.
        columns: field -> name of its column in the metadata files, or None to ignore it.

    Raises:
        ListingError: no recordings are found, the folder has another layout, or rows cannot be used.
    """
    if not folder.is_dir():
        raise ListingError(f"--audio_folder {folder}: no such folder; expected a folder of recordings.")
    folder = folder.resolve()
    paths = [Path(path) for path in files_below(folder, ListingError)]
    recordings = [path for path in paths if _is_recording(path)]
    if not recordings:
        raise ListingError(
            f"--audio_folder {folder}: found no recordings among {len(paths)} files; expected {_EXPECTED}."
        )
    metadata = [path for path in paths if path.name in _READERS and len(path.relative_to(folder).parts) <= 2]
    read = [_read_metadata(path, folder, columns) for path in _one_per_folder(metadata, folder)]
    rows = _metadata_rows(read) if metadata else _folder_rows(recordings, folder)
    listing = make_listing(
        rows,
        folder,
        source=folder.name,
        corpus=corpus_name(folder.name),
        notes=[f"{item.name}: {note}" for item in read for note in item.rows.notes],
        other_files=len(paths) - len(recordings),
    )
    extra = len(set(recordings) - {utterance.path for utterance in listing.utterances})
    if extra:
        note = f"{folder.name}: {extra} recordings are not in the metadata files and are not used"
        return replace(listing, notes=(*listing.notes, note))
    return listing


def _is_recording(path: Path) -> bool:
    hidden = path.name.startswith(".")  # such as the resource forks of macOS
    return path.suffix.lower() in AUDIO_SUFFIXES + OTHER_AUDIO_SUFFIXES and not hidden


class _Metadata(NamedTuple):
    name: str  # relative to the folder
    below: str  # prefix of its paths: "", or "train/"
    split: str
    rows: Rows


def _one_per_folder(files: list[Path], folder: Path) -> list[Path]:
    parents = [path.parent for path in files]
    if len(set(parents)) < len(parents) or (folder in parents and len(parents) > 1):
        names = ", ".join(path.relative_to(folder).as_posix() for path in files)
        raise ListingError(
            f"--audio_folder {folder} has the metadata files {names}; expected one at the top, or one in each folder "
            "of a split."
        )
    return files


def _read_metadata(path: Path, folder: Path, columns: Mapping[str, Any] | None) -> _Metadata:
    name = path.relative_to(folder).as_posix()
    below = name.removesuffix(path.name)
    rows = _READERS[path.name](path, name, columns)
    return _Metadata(name, below, SPLIT_NAMES.get(below.removesuffix("/").lower(), ""), rows)


def _metadata_rows(read: list[_Metadata]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows of the metadata files, with paths relative to the folder and the splits of the folders."""
    for name, below, split, rows in read:
        for row, values in rows.rows:
            if values.get("path"):
                values["path"] = f"{below}{values['path']}"
            yield f"{name} {row}", {"split": split, **values}


def _folder_rows(recordings: list[Path], folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    places = [path.relative_to(folder).parts for path in recordings]
    splits = {parts[0].lower() for parts in places if len(parts) > 1}
    with_splits = bool(splits) and splits <= SPLIT_NAMES.keys()
    depth = 3 if with_splits else 2
    odd = [parts for parts in places if len(parts) != depth]
    if odd:
        raise ListingError(
            f"--audio_folder {folder}: {len(odd)} recordings are at another depth, such as {'/'.join(odd[0])}; "
            f"expected {_EXPECTED}."
        )
    for parts in places:
        values = {"path": "/".join(parts), "label": parts[-2]}
        if with_splits:
            values["split"] = SPLIT_NAMES[parts[0].lower()]
        yield "", values

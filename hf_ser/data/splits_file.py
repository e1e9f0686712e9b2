"""The file splits.csv of a run: which clips it was trained, validated and tested on."""

from collections.abc import Mapping
from pathlib import Path

from hf_ser.data.dataset_error import DatasetError
from hf_ser.data.protocols import Assignment

SPLITS_FILE = "splits.csv"
PRETRAINING = "pretraining"  # the split of clips that only the pretraining of an encoder used


def write_assignment(path: Path, assignment: Assignment, hashes: Mapping[str, str]) -> None:
    """Write the split of each clip as CSV, so that evaluation can detect training clips.

    Args:
        path: path of the file.
        assignment: clip id -> split.
        hashes: clip id -> SHA-256 of its samples, see `SplitData.hashes`; it identifies a clip under other names.
    """
    lines = [f"{clip},{split},{hashes.get(clip, '')}" for clip, split in sorted(assignment.splits.items())]
    path.write_text("\n".join(["id,split,sha256", *lines, ""]), encoding="utf-8", newline="\n")


def read_assignment(path: Path) -> dict[str, str]:
    """Read a file of `write_assignment`, also of a version without hashes: clip id -> split."""
    return {clip: split for clip, split, _ in _assigned(path)}


def read_hashes(path: Path) -> dict[str, str]:
    """Read a file of `write_assignment`: clip id -> SHA-256 of its samples; clips without a hash are absent."""
    return {clip: sha256 for clip, _, sha256 in _assigned(path) if sha256}


def _assigned(path: Path) -> list[tuple[str, str, str]]:
    """Id, split and hash of each line; ids may contain commas."""
    try:
        header, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); expected a CSV file of ids and splits.") from error
    columns = 3 if header.endswith(",sha256") else 2
    rows = [line.rsplit(",", columns - 1) for line in lines]
    broken = [str(number) for number, row in enumerate(rows, 2) if len(row) != columns]
    if broken:
        raise DatasetError(f"{path}: line {broken[0]} has too few columns; expected {header}.")
    return [(row[0], row[1], row[2] if columns == 3 else "") for row in rows]

"""Find the clips that a model was trained on, under any name: by id, samples and performance."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from hf_ser.corpora import performances
from hf_ser.data.splits_file import PRETRAINING, read_assignment, read_hashes

TRAINED = ("train", PRETRAINING)  # splits in splits.csv whose clips a model was trained on


@dataclass(frozen=True)
class Record:
    """The training record of a model, from its splits.csv.

    Args:
        splits: clip id -> split.
        hashes: clip id -> SHA-256 of its samples; clips without a hash are absent.
    """

    splits: Mapping[str, str]
    hashes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Record":
        """Read a splits.csv, with or without hashes."""
        return cls(read_assignment(path), read_hashes(path))


@dataclass(frozen=True)
class Marks:
    """Identifiers of clips.

    Args:
        ids: ids of the clips.
        hashes: returns the SHA-256 of the samples of each clip ("" if unknown); None if no hashes are available.
        names: file paths of the clips; None if only the ids are known.
    """

    ids: Sequence[str]
    hashes: Callable[[], Sequence[str]] | None = None
    names: Sequence[str] | None = None


class Match(NamedTuple):
    """A clip and the training clip that it matches."""

    clip: str
    trained: str

    def __str__(self) -> str:
        return self.clip if self.clip == self.trained else f"{self.clip} is {self.trained}"


def marks_of_split(split: Any) -> Marks:
    """The identifiers of the clips in a split of a prepared dataset."""
    if "sha256" not in split.column_names:
        return Marks(split["id"][:])
    return Marks(split["id"][:], lambda: [value or "" for value in split["sha256"]])


def find_seen(record: Record, marks: Marks, part: str = "train") -> list[Match]:
    """Find the clips that are in a split of a model's training data: same id, samples or performance.

    Args:
        record: training record of the model.
        marks: identifiers of the clips.
        part: train (which includes the clips of a pretraining), validation or test.

    Returns:
        Each such clip with the clip that it matches, in the order of `marks`.
    """
    parts = TRAINED if part == "train" else (part,)
    known = [clip for clip, split in record.splits.items() if split in parts]
    if not known:
        return []
    ids = set(known)
    by_hash = {record.hashes[clip]: clip for clip in reversed(known) if clip in record.hashes}
    by_performance = {performance: clip for clip in reversed(known) for performance in performances(clip)}
    hashes = marks.hashes() if marks.hashes is not None and by_hash else [""] * len(marks.ids)
    names = marks.ids if marks.names is None else marks.names
    found = []
    for clip, content, name in zip(marks.ids, hashes, names, strict=True):
        performed = performances(clip) | performances(name)
        same = [by_performance[performance] for performance in sorted(performed) if performance in by_performance]
        trained = clip if clip in ids else by_hash.get(content) or (same[0] if same else None)
        if trained is not None:
            found.append(Match(clip, trained))
    return found


def unchecked(record: Record | None, marks: Marks, model: str = "the model") -> list[str]:
    """A note if `find_seen` could not check everything.

    Args:
        record: training record of the model; None if it is unknown.
        marks: identifiers of the clips.
        model: description of the model, for the note.

    Returns:
        A list of one note, or an empty list.
    """
    if record is None:
        return [f"the training clips of {model} are unknown (no splits.csv); some of these clips may be among them"]
    trained = [clip for clip, split in record.splits.items() if split in TRAINED]
    without = sum(clip not in record.hashes for clip in trained)
    if without:
        lacks = "no hashes" if without == len(trained) else f"no hash for {without} of {len(trained)} training clips"
        why = f"its splits.csv has {lacks}"
    elif trained and (marks.hashes is None or "" in marks.hashes()):
        why = "the dataset does not have a sha256 for every clip"
    else:
        return []
    return [f"whether {model} was trained on these clips was checked by name only, because {why}"]


def some(matches: Iterable[Match]) -> str:
    """The first three matches, for messages."""
    shown = [str(match) for match in matches]
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")

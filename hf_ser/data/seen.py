"""Which clips a model was trained on, found again under any name: by id, by samples and by performance."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from hf_ser.corpora import performances
from hf_ser.data.splits import read_assignment, read_hashes


@dataclass(frozen=True)
class Record:
    """What a model's splits.csv records of its training.

    Args:
        splits: clip id -> split.
        hashes: clip id -> SHA-256 of its samples; clips without one are absent.
    """

    splits: Mapping[str, str]
    hashes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Record":
        """Read a splits.csv, with or without hashes."""
        return cls(read_assignment(path), read_hashes(path))


@dataclass(frozen=True)
class Marks:
    """What identifies clips under any name.

    Args:
        ids: of the clips.
        hashes: returns the SHA-256 of their samples ("" where it is unknown); None where no hash is known.
        names: paths of the clips' files; None where only the ids are known.
    """

    ids: Sequence[str]
    hashes: Callable[[], Sequence[str]] | None = None
    names: Sequence[str] | None = None


class Match(NamedTuple):
    """A clip, and the training clip that it is."""

    clip: str
    trained: str

    def __str__(self) -> str:
        return self.clip if self.clip == self.trained else f"{self.clip} is {self.trained}"


def marks_of_split(split: Any) -> Marks:
    """The marks of the clips of a prepared dataset's split."""
    if "sha256" not in split.column_names:
        return Marks(split["id"][:])
    return Marks(split["id"][:], lambda: [value or "" for value in split["sha256"]])


def find_seen(record: Record, marks: Marks, part: str = "train") -> list[Match]:
    """The clips that are in a part of a model's training: same id, same samples, or same performance.

    Args:
        record: of the training.
        marks: of the clips.
        part: train, validation or test.

    Returns:
        Each such clip with the training clip that it is, in the order of `marks`.
    """
    known = [clip for clip, split in record.splits.items() if split == part]
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
    """The note on what `find_seen` could not compare; empty where it compared everything.

    Args:
        record: of the training; None where it is unknown.
        marks: of the clips.
        model: what was trained, for the note.

    Returns:
        One note, or none.
    """
    if record is None:
        return [f"which clips {model} was trained on is not known (no splits.csv): some of these may be among them"]
    trained = [clip for clip, split in record.splits.items() if split == "train"]
    without = sum(clip not in record.hashes for clip in trained)
    if without:
        holds = "no hashes" if without == len(trained) else f"no hash of {without} of {len(trained)} training clips"
        why = f"its splits.csv holds {holds}"
    elif trained and (marks.hashes is None or "" in marks.hashes()):
        why = "the dataset does not tell the sha256 of every clip"
    else:
        return []
    return [f"whether {model} was trained on these clips was checked by name only: {why}"]


def some(matches: Iterable[Match]) -> str:
    """The first of them, for messages."""
    shown = [str(match) for match in matches]
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")

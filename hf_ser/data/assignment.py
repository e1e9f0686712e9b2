"""What protocols work on and what they return: the metadata of clips, and the split of each clip."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hf_ser.errors import SerError

SPLITS = ("train", "validation", "test")
Ratios = tuple[float, float, float]
Splits = tuple[dict[str, str], list[str]]  # clip id -> split, and notes
DEFAULT_RATIOS: Ratios = (0.70, 0.15, 0.15)


class ProtocolError(SerError):
    """A protocol that does not exist or cannot be applied to the clips."""


class Row(NamedTuple):
    """The metadata of one clip that protocols use.

    >>> Row("ravdess/03-01-05-01-01-01-07", "ravdess", "ravdess_07", "angry", "male").vocal_channel
    'speech'
    """

    id: str
    corpus: str
    speaker: str
    emotion: str
    gender: str = ""
    text: str = ""
    vocal_channel: str = "speech"
    sha256: str = ""
    split: str = ""  # train, validation or test, if the source has splits


def speakers_known(rows: Iterable[Row]) -> bool:
    """Whether every clip has a speaker."""
    return all(row.speaker for row in rows)


@dataclass(frozen=True)
class Assignment:
    """The result of a protocol: the split of each clip that it uses.

    >>> splits = {"tess/OAF_back_sad": "test", "tess/YAF_back_sad": "train"}
    >>> Assignment("speaker_disjoint", None, 0, DEFAULT_RATIOS, splits).ids("train")
    ['tess/YAF_back_sad']
    """

    protocol: str
    fold: int | None
    seed: int
    ratios: Ratios
    splits: dict[str, str]  # clip id -> split; clips outside the protocol are absent
    notes: tuple[str, ...] = field(default=())
    auxiliary: tuple[str, ...] = ()  # corpora for training only, see hf_ser.data.auxiliary

    @property
    def hash(self) -> str:
        """SHA-256 over the sorted (id, split) pairs. Equal hashes mean equal splits."""
        lines = "".join(f"{clip}\t{split}\n" for clip, split in sorted(self.splits.items()))
        return hashlib.sha256(lines.encode()).hexdigest()

    def ids(self, split: str) -> list[str]:
        """The sorted ids of the clips in a split."""
        return sorted(clip for clip, given in self.splits.items() if given == split)


def need_speakers(rows: Sequence[Row], protocol: str) -> None:
    """Raise `ProtocolError` unless every clip has a speaker."""
    without = sum(not row.speaker for row in rows)
    if without:
        raise ProtocolError(
            f"protocol {protocol} needs the speaker of every clip; {without} of {len(rows)} clips have none. Use the "
            "protocol random, or add the speakers and prepare the dataset again."
        )


def check_ratios(ratios: Sequence[float]) -> Ratios:
    """Return the fractions as a tuple; raise `ProtocolError` unless they are three positive numbers that sum to 1."""
    values = tuple(float(ratio) for ratio in ratios)
    if len(values) != 3 or not min(values) > 0 or not abs(sum(values) - 1) <= 1e-6:
        raise ProtocolError(
            f"ratios are {list(ratios)}; expected three positive fractions for train, validation and test that sum "
            "to 1, such as 0.7 0.15 0.15."
        )
    return values[0], values[1], values[2]

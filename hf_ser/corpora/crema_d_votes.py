"""Votes of CREMA-D's raters: `processedResults/tabulatedVotes.csv` of the corpus, joined to clips by file stem."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from hf_ser.corpora import crema_d
from hf_ser.corpora.utterance import FileNameError
from hf_ser.errors import SerError

# What the raters perceived -> first digit of a row's number.
MODALITIES = {"voice": "1", "face": "2", "multimodal": "3"}
LETTERS = {"angry": "A", "disgust": "D", "fearful": "F", "happy": "H", "neutral": "N", "sad": "S"}
_NUMBER, _STEM, _TOTAL = "", "fileName", "numResponses"
_SHOWN = 5  # rows in one message


class VotesError(SerError):
    """A file of votes that cannot be used."""


def read_votes(path: Path, modality: str = "voice") -> dict[str, dict[str, int]]:
    """Read the votes of one modality.

    Args:
        path: tabulatedVotes.csv.
        modality: what the raters perceived: voice, face or multimodal.

    Returns:
        Stem of the recording -> emotion -> number of raters, for all six emotions.

    Raises:
        VotesError: unknown modality; the file or its columns are missing; it has no rows of the modality; or rows
            cannot be used, of which the first are named.
    """
    if modality not in MODALITIES:
        raise VotesError(f"crema_d_votes_modality is {modality!r}; expected one of {', '.join(MODALITIES)}.")
    votes: dict[str, dict[str, int]] = {}
    rows: dict[str, int] = {}
    problems = []
    for number, row in _rows(path):
        if not row[_NUMBER].startswith(MODALITIES[modality]):
            continue
        try:
            stem, counts = _parse(row)
            if stem in votes:
                raise ValueError(f"it repeats the clip {stem} of row {rows[stem]}")
            votes[stem], rows[stem] = counts, number
        except ValueError as error:
            problems.append(f"row {number}: {error}")
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise VotesError(
            f"--crema_d_votes {path}: {len(problems)} rows cannot be used ({'; '.join(problems[:_SHOWN])}{more}). "
            "Use the unchanged file of CREMA-D."
        )
    if not votes:
        raise VotesError(
            f"--crema_d_votes {path} has no votes of the modality {modality}; expected rows whose number starts with "
            f"{MODALITIES[modality]}."
        )
    return votes


def _rows(path: Path) -> Iterable[tuple[int, Mapping[str, str]]]:
    """Rows with their numbers; the header is row 1."""
    needed = (_NUMBER, *LETTERS.values(), _STEM, _TOTAL)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            missing = [name or "(first, without a name)" for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise VotesError(
                    f"--crema_d_votes {path} has no column {', '.join(missing)}; expected tabulatedVotes.csv, which "
                    "is in the folder processedResults of CREMA-D."
                )
            yield from enumerate(reader, 2)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise VotesError(
            f"--crema_d_votes {path} cannot be read ({error}); expected tabulatedVotes.csv, which is in the folder "
            "processedResults of CREMA-D."
        ) from error


def _parse(row: Mapping[str, str]) -> tuple[str, dict[str, int]]:
    try:
        stem = crema_d.parse(Path(f"{row[_STEM]}.wav")).stem
    except FileNameError as error:
        raise ValueError(f"{_STEM} {row[_STEM]!r} does not name a recording of CREMA-D") from error
    counts = {}
    for emotion, letter in LETTERS.items():
        if not row[letter].isdecimal():
            raise ValueError(f"column {letter} is {row[letter]!r}; expected a whole number of at least 0")
        counts[emotion] = int(row[letter])
    total = sum(counts.values())
    if total == 0:
        raise ValueError("it has no votes")
    if row[_TOTAL] != str(total):
        raise ValueError(f"{_TOTAL} is {row[_TOTAL]!r}, and the votes sum to {total}")
    return stem, counts

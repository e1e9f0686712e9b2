"""Recordings that the user describes: rows of metadata become utterances. Errors name the row."""

import json
import math
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path, PureWindowsPath
from sys import intern
from typing import Any, TypeVar

from hf_ser.arguments import did_you_mean
from hf_ser.corpora.utterance import Utterance
from hf_ser.errors import SerError
from hf_ser.remote_code.dimensions import DIMENSIONS

_T = TypeVar("_T")
REQUIRED = ("path", "label")
OPTIONAL = (
    *("id", "corpus", "speaker", "gender", "age", "text", "intensity", "language", "split", "start", "end", "votes"),
    *DIMENSIONS,
)
COLUMNS = (*REQUIRED, *OPTIONAL)
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_GENDERS = {"f": "female", "w": "female", "m": "male"}
_UNKNOWN = ("", "-", "?", "n/a", "na", "nan", "none", "null", "unknown")
_MOST_CORPORA = 100  # each has files and configurations of its own
_SHOWN = 5  # rows in one message


class ListingError(SerError):
    """A list or folder of recordings that cannot be used."""


@dataclass(frozen=True)
class Listing:
    """Recordings that a list or a folder of the user describes.

    Args:
        folder: the folder that their paths are below.
        utterances: the recordings; ids and (path, start, end) are unique.
        repeated: rows that repeat a recording with the same label, and which row has it first.
        notes: remarks for the report.
        other_files: number of files in the folder that are not recordings.
    """

    folder: Path
    utterances: list[Utterance]
    repeated: list[tuple[Utterance, str]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    other_files: int = 0


def name_columns(
    header: Sequence[str], columns: Mapping[str, Any] | None, source: str, required: Sequence[str] = REQUIRED
) -> dict[str, str]:
    """Find the columns of a table, in any letter case.

    Args:
        header: names of the columns.
        columns: field -> name of its column, or None to ignore the column of that field.
        source: name of the table, for errors.
        required: fields that the table must have.

    Returns:
        Field of `COLUMNS` -> name of its column, for the columns that the table has.

    Raises:
        ListingError: an unknown field, a column that does not exist, a repeated column, or no required column.
    """
    by_name: dict[str, list[str]] = defaultdict(list)
    for name in header:
        by_name[name.strip().lower()].append(name)
    found = {name: by_name[name][0] for name in COLUMNS if name in by_name}
    if "path" not in found and "file_name" in by_name:  # the name in the metadata files of `datasets`
        found["path"] = by_name["file_name"][0]
    for name, column in (columns or {}).items():
        if name not in COLUMNS:
            hint = did_you_mean(str(name), COLUMNS)
            raise ListingError(f"--columns.{name}: no such field{hint}; expected one of {', '.join(COLUMNS)}.")
        found.pop(name, None)
        if column is not None:
            wanted = str(column)
            matches = [wanted] if wanted in header else by_name.get(wanted.strip().lower(), [])
            if not matches:
                hint = did_you_mean(wanted, header)
                raise ListingError(f"{source} has no column {wanted}{hint}; its columns are {', '.join(header)}.")
            found[name] = matches[0]
    twice = [name for name, column in found.items() if len(by_name[column.strip().lower()]) > 1]
    if twice:
        raise ListingError(f"{source} has the column {found[twice[0]]} twice; expected each column once. Rename one.")
    missing = [name for name in required if name not in found]
    if missing:
        others = [name for name in header if name not in found.values()]
        raise ListingError(
            f"{source} has no column {' and no column '.join(missing)}; its columns are {', '.join(header)}. Pass the "
            f"name of the column, such as --columns.{missing[0]} {others[0] if others else 'NAME'}."
        )
    return found


def ignored_columns(header: Sequence[str], found: Mapping[str, str]) -> tuple[str, ...]:
    """A note that names the columns that are not used, or an empty tuple."""
    ignored = [name or "(without a name)" for name in header if name not in found.values()]
    return (f"ignored columns: {', '.join(ignored)}",) if ignored else ()


def make_listing(
    rows: Iterable[tuple[str, Mapping[str, str]]],
    folder: Path,
    *,
    source: str,
    corpus: str,
    notes: Sequence[str] = (),
    other_files: int = 0,
    remedy: str = "Check the paths.",
    in_files: bool = True,
) -> Listing:
    """Make utterances from rows of metadata.

    Args:
        rows: name of the row, such as "row 2", or "" if there are none; and its fields of `COLUMNS` as text. Empty
            fields may be absent.
        folder: the folder that the paths are relative to.
        source: name of the list, for messages.
        corpus: name of the corpus of rows without one.
        notes: remarks for the report.
        other_files: number of files in the folder that are not recordings.
        remedy: what to do if no file exists, as a sentence.
        in_files: whether the paths are those of files; otherwise they only name the recordings.

    Raises:
        ListingError: rows that cannot be used, with their names; no rows; none of the files exists; a recording has
            two labels; or two recordings have the same id.
    """
    utterances: list[Utterance] = []
    problems: list[str] = []
    for row, values in rows:
        try:
            utterances.append(_utterance(values, folder, row and f"{source}, {row}", corpus))
        except ListingError as error:
            problems.append(f"{row}: {error}")
    if problems:
        raise ListingError(
            f"{source}: {_counted(problems, 'row', 'cannot be used', 'cannot be used')} ({_some(problems)})."
        )
    if not utterances:
        raise ListingError(f"{source} has no recordings; expected a row with path and label for each recording.")
    if in_files and not any(os.path.exists(path) for path in {utterance.path: None for utterance in utterances}):
        first = utterances[0]
        raise ListingError(
            f"none of the files of {source} exists; the first is {first.path} ({first.origin}). {remedy}"
        )
    corpora = {utterance.corpus for utterance in utterances}
    if len(corpora) > _MOST_CORPORA:
        raise ListingError(
            f"{source} has {len(corpora)} different names in its column corpus; expected at most {_MOST_CORPORA}. "
            "Pass --columns.corpus null to ignore the column."
        )
    kept, repeated = _separate_repeated(utterances, source)
    told = tuple(f"{source}: {note}" for note in [*notes, *_same_names(kept), *_overlaps(kept)])
    return Listing(folder, _with_unique_stems(kept, folder, source), repeated, told, other_files)


def corpus_name(text: str) -> str:
    """Turn a text into the name of a corpus: letters, digits and underscores, since files and configurations have it.

    >>> corpus_name("Call centre (2024)")
    'Call_centre_2024'
    """
    name = re.sub(r"\W+", "_", unicodedata.normalize("NFC", text)).strip("_") or "recordings"
    return f"{name}_" if name == "all" else name


def _utterance(values: Mapping[str, str], folder: Path, origin: str, corpus: str) -> Utterance:
    values = {name: text for name, value in values.items() if (text := _clean(value))}
    for name in REQUIRED:
        if name not in values:
            raise ListingError(f"{name} is empty")
    name = corpus_name(values.get("corpus", corpus))
    path = _path(values["path"], folder)
    start_s, end_s = _segment(values)
    speaker = _known(values.get("speaker", ""))
    gender = _known(values.get("gender", "")).lower()
    return Utterance(
        path=path,
        corpus=name,
        stem=values.get("id", ""),
        emotion=values["label"],
        speaker=intern(f"{name}_{speaker}") if speaker else "",
        gender=_GENDERS.get(gender, gender) or None,
        age=_parsed(values, "age", _whole, "a whole number of years"),
        intensity=values.get("intensity"),
        text=values.get("text"),
        language=_parsed(values, "language", _language, "a code such as en or de-AT"),
        split=_parsed(values, "split", _split, "train, validation or test") or "",
        start_s=start_s,
        end_s=end_s,
        votes=parse_votes(values.get("votes", "")),
        dimensions=_dimensions(values),
        origin=origin,
    )


@lru_cache(maxsize=2**16)  # columns repeat their values: equal texts are cleaned once and share memory
def _clean(text: str) -> str:
    """One line of text in Unicode's composed form, so that equal names are equal."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _known(text: str) -> str:
    return "" if text.lower() in _UNKNOWN else text


@lru_cache(maxsize=2**16)  # rows of segments repeat the path of their recording
def _path(text: str, folder: Path) -> Path:
    """The path of a recording, with the separators of Windows or POSIX, relative to the folder or in it."""
    windows = PureWindowsPath(text)
    if windows.drive and os.name != "nt":
        raise ListingError(f"path {text} is an absolute path of Windows; expected a path relative to {folder}")
    path = folder / text
    if "\\" in text and not os.path.exists(path):
        path = folder / windows.as_posix()
    path = Path(os.path.normpath(path))  # of the text: links out of the folder are followed
    if not path.is_relative_to(folder):  # an absolute path may lead to the folder through a link
        path = Path(os.path.realpath(path))
    if not path.is_relative_to(folder):
        raise ListingError(f"path {text} is not below {folder}; expected a path in this folder. Pass --audio_dir DIR")
    return path


def _parsed(values: Mapping[str, str], name: str, parse: Callable[[str], _T], expected: str) -> _T | None:
    text = _known(values.get(name, ""))
    if not text:
        return None
    try:
        return parse(text)
    except (ValueError, KeyError, TypeError):
        raise ListingError(f"{name} is {text}; expected {expected}") from None


def _whole(text: str) -> int:
    number = float(text)
    if not number.is_integer() or not 0 <= number < 200:
        raise ValueError
    return int(number)


def _language(text: str) -> str:
    if re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*", text.replace("_", "-")) is None:
        raise ValueError
    return text.replace("_", "-")


def _split(text: str) -> str:
    return SPLIT_NAMES[text.lower()]


def _seconds(text: str) -> float:
    """Seconds, or [hours:]minutes:seconds; a decimal comma is accepted."""
    parts = [float(part) for part in text.replace(",", ".").split(":")]
    seconds = sum(part * 60**power for power, part in enumerate(reversed(parts)))
    if len(parts) > 3 or not 0 <= seconds < float("inf"):
        raise ValueError
    return seconds


def _segment(values: Mapping[str, str]) -> tuple[float | None, float | None]:
    start_s, end_s = (_parsed(values, name, _seconds, "seconds, such as 12.5 or 1:02.5") for name in ("start", "end"))
    if end_s is not None and end_s <= (start_s or 0.0):
        raise ListingError(f"start is {start_s or 0.0:g} s and end is {end_s:g} s; expected an end after the start")
    return start_s, end_s


def parse_votes(text: str) -> tuple[tuple[str, int], ...]:
    """Votes of raters for labels, in JSON or as "angry:3; happy:1"; none for empty text.

    Raises:
        ListingError: no labels with whole numbers, or no vote at all.

    >>> parse_votes("angry:3; happy:1")
    (('angry', 3), ('happy', 1))
    """
    return _parsed({"votes": text}, "votes", _votes, "labels with counts, such as angry:3; happy:1") or ()


def _votes(text: str) -> tuple[tuple[str, int], ...]:
    """Votes in JSON, or as "angry:3; happy:1"."""
    if text.startswith("{"):
        pairs = [(str(label), number) for label, number in json.loads(text).items()]
    else:
        pairs = [(label, float(number)) for label, _, number in (p.rpartition(":") for p in re.split("[;,|]", text))]
    if any(isinstance(number, bool) or number != number // 1 for _, number in pairs):  # infinity: NaN
        raise ValueError
    counts = [(_clean(label), int(number)) for label, number in pairs]
    if any(not label or number < 0 for label, number in counts) or not any(number for _, number in counts):
        raise ValueError
    return tuple(counts)


def _dimensions(values: Mapping[str, str]) -> tuple[tuple[str, float], ...]:
    """Values of the dimensions that are given, in the units of the source."""
    expected = "a number, or nothing. Pass --columns.{0} null to ignore the column"
    found = {name: _parsed(values, name, _number, expected.format(name)) for name in DIMENSIONS}
    return tuple((name, value) for name, value in found.items() if value is not None)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _separate_repeated(
    utterances: Sequence[Utterance], source: str
) -> tuple[list[Utterance], list[tuple[Utterance, str]]]:
    """Separate rows that repeat a recording or segment; two labels for one are an error."""
    first: dict[tuple[str, float | None, float | None], Utterance] = {}
    repeated, conflicts = [], []
    for utterance in utterances:
        key = str(utterance.path), utterance.start_s, utterance.end_s
        before = first.setdefault(key, utterance)
        if before is utterance:
            continue
        if before.emotion != utterance.emotion:
            rows = f"{_row(before)} {before.emotion}, {_row(utterance)} {utterance.emotion}"
            conflicts.append(f"{utterance.path.name}: {rows}")
        repeated.append((utterance, f"same recording as {_row(before)}"))
    if conflicts:
        what = _counted(conflicts, "row", "repeats a recording", "repeat a recording")
        raise ListingError(
            f"{source}: {what} with another label ({_some(conflicts)}); expected one label per recording. Remove "
            "rows, or put the labels of several raters into the column votes."
        )
    return list(first.values()), [(_named(item, item.path.stem), why) for item, why in repeated]


def _same_names(utterances: Sequence[Utterance]) -> list[str]:
    """A note on speakers of one name in several corpora: protocols treat them as different persons."""
    corpora: dict[str, set[str]] = defaultdict(set)
    for utterance in utterances:
        if utterance.speaker:
            corpora[utterance.speaker.removeprefix(f"{utterance.corpus}_")].add(utterance.corpus)
    shared = sorted(name for name, found in corpora.items() if len(found) > 1)
    if not shared:
        return []
    return [
        f"speakers of the same name in several corpora count as different persons ({_some(shared)}); pass "
        "--columns.corpus null if they are the same"
    ]


def _overlaps(utterances: Sequence[Utterance]) -> list[str]:
    """A note on segments that overlap: protocols may put them into different splits."""
    by_path: dict[Path, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        by_path[utterance.path].append(utterance)
    pairs = []
    for segments in by_path.values():
        segments.sort(key=lambda one: one.start_s or 0.0)
        for one, other in pairwise(segments):
            if (other.start_s or 0.0) < (float("inf") if one.end_s is None else one.end_s):
                pairs.append(f"{_row(one)} and {_row(other)}")
    if not pairs:
        return []
    what = _counted(pairs, "pair", "of segments overlaps", "of segments overlap")
    return [f"{what} ({_some(pairs)}); they may be in different splits"]


def _row(utterance: Utterance) -> str:
    return utterance.origin.rpartition(", ")[2]


def _with_unique_stems(utterances: Sequence[Utterance], folder: Path, source: str) -> list[Utterance]:
    """Give each recording without an id one: its path without suffix, with the segment; with the suffix if shared."""
    short = [utterance.stem or _stem(utterance, folder, "") for utterance in utterances]
    counts = Counter((utterance.corpus, stem) for utterance, stem in zip(utterances, short, strict=True))
    named = []
    seen: dict[str, Utterance] = {}
    for utterance, stem in zip(utterances, short, strict=True):
        shared = counts[utterance.corpus, stem] > 1 and not utterance.stem
        clip = _named(utterance, _stem(utterance, folder, utterance.path.suffix) if shared else stem)
        before = seen.setdefault(clip.id, clip)
        if before is not clip:
            raise ListingError(
                f"{source}: {_row(before)} and {_row(clip)} have the same id {clip.stem}; expected different ids."
            )
        named.append(clip)
    return named


def _stem(utterance: Utterance, folder: Path, suffix: str) -> str:
    stem = _clean(utterance.path.relative_to(folder).with_suffix("").as_posix()) + suffix
    if not utterance.is_segment:
        return stem
    end = "end" if utterance.end_s is None else f"{utterance.end_s:.3f}"
    return f"{stem}_{utterance.start_s or 0.0:.3f}-{end}"


def _named(utterance: Utterance, stem: str) -> Utterance:
    return replace(utterance, stem=stem, performance=stem)


def _counted(items: Sequence[str], noun: str, verb: str, plural: str) -> str:
    return f"1 {noun} {verb}" if len(items) == 1 else f"{len(items):,} {noun}s {plural}"


def _some(problems: Sequence[str]) -> str:
    more = f"; and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
    return "; ".join(problems[:_SHOWN]) + more

"""Sources of clips to evaluate: a prepared dataset, a folder of recordings, or a CSV file."""

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_ser.audio import AudioError, load_audio
from hf_ser.console import progress_bar
from hf_ser.corpora import CORPORA
from hf_ser.corpora.listing import ListingError, parse_votes
from hf_ser.data.clip_votes import votes_of_split
from hf_ser.data.examination import Limits, ScanError, content_sha256, read_checked
from hf_ser.data.found_recordings import Found, Quarantined, find_clips
from hf_ser.data.prepare import is_synthetic
from hf_ser.data.scan import scan
from hf_ser.data.seen import Marks, marks_of_split
from hf_ser.data.splits import DataArguments
from hf_ser.errors import SerError
from hf_ser.evaluation.predict import predict_probabilities
from hf_ser.labels import EMOTIONS, merge_calm
from hf_ser.remote_code.reading_ahead import available_processors
from hf_ser.remote_code.windows import MIN_DURATION_S
from hf_ser.scoring.predictions import CLIP_COLUMNS, LANGUAGE, VOTES

if TYPE_CHECKING:
    import datasets


class SourceError(SerError):
    """Clips that cannot be evaluated."""


@dataclass(frozen=True)
class Clips:
    """Clips to evaluate.

    Args:
        columns: those of `CLIP_COLUMNS`, and maybe language and votes; label holds class names.
        durations: seconds.
        decode: clip numbers to waveforms (samples,), float32 at 16 kHz.
        notes: remarks for the report.
        synthetic: corpora with generated recordings.
        marks: ids and content hashes that identify the clips.
    """

    columns: dict[str, list[Any]]
    durations: list[float]
    decode: Callable[[list[int]], list[np.ndarray]]
    marks: Marks
    notes: tuple[str, ...] = ()
    synthetic: tuple[str, ...] = ()


def clip_columns(split: "datasets.Dataset") -> dict[str, list[Any]]:
    """The columns of `CLIP_COLUMNS` of a prepared dataset's split, label as class ids; language and votes, if any."""
    columns = {name: list(split[name]) for name in CLIP_COLUMNS}
    columns["speaker"] = [speaker or "" for speaker in columns["speaker"]]
    if LANGUAGE in split.column_names and any(split[LANGUAGE]):
        columns[LANGUAGE] = list(split[LANGUAGE])
    votes = votes_of_split(split)
    return columns | ({VOTES: votes} if any(votes) else {})


def clips_of_split(split: "datasets.Dataset") -> Clips:
    """The clips of a prepared dataset's split."""
    names = split.features["label"].names
    columns = clip_columns(split)
    columns["label"] = [names[label] for label in columns["label"]]
    audio = split.select_columns(["audio"])
    return Clips(
        columns,
        list(split["duration"]),
        lambda numbers: [load_audio(row["audio"]) for row in audio.select(numbers)],
        marks=marks_of_split(split),
    )


def predict_split(model: Any, extractor: Any, split: "datasets.Dataset", **options: Any) -> np.ndarray:
    """Probabilities of the clips in a prepared dataset's split (clips, classes), in its order.

    Args:
        model: a classifier.
        extractor: its feature extractor.
        split: with audio.
        options: batch_size, device and other arguments of `predict_logits`.
    """
    clips = clips_of_split(split)
    return predict_probabilities(model, extractor, clips.durations, clips.decode, **options)


def clips_of_folder(folder: Path, args: DataArguments, packs: Path) -> Clips:
    """The recordings below a folder that follow the naming convention of one of the corpora.

    They pass the same checks as in preparation; rejected files are listed in the notes.

    Args:
        folder: searched recursively.
        args: channel and merge_calm.
        packs: temporary folder for the checked clips; the caller removes it.

    Raises:
        SourceError: no recording with a known name passes the checks.
    """
    found = _find_any(folder)
    result = scan(found, packs)
    notes = [f"rejected, {item.reason}: {item.path} ({item.detail})" for item in result.quarantined]
    clips = [clip for clip in result.clips if args.channel in (None, clip.utterance.vocal_channel)]
    if not clips:
        more = f"; {notes[0]}" if notes else ""
        raise SourceError(f"--recordings {folder}: no recording can be evaluated{more}.")

    def decode(numbers: list[int]) -> list[np.ndarray]:
        # The originals, not their 16-bit copies at 16 kHz, so that the scores equal those of every other program.
        return [load_audio(clips[number].utterance.path) for number in numbers]

    utterances = [clip.utterance for clip in clips]
    columns: dict[str, list[Any]] = {
        "id": [one.id for one in utterances],
        "corpus": [one.corpus for one in utterances],
        "speaker": [one.speaker for one in utterances],
        "gender": [one.gender for one in utterances],
        "intensity": [one.intensity for one in utterances],
        "label": [_emotion(one.emotion, args) for one in utterances],
    }
    if any(one.language for one in utterances):
        columns[LANGUAGE] = [one.language for one in utterances]
    folders = {(one.corpus, one.path.parent) for one in utterances}
    synthetic = {corpus for corpus, parent in folders if is_synthetic(parent)}
    marks = Marks(columns["id"], lambda: [clip.sha256 for clip in clips])
    return Clips(columns, [clip.duration for clip in clips], decode, marks, tuple(notes), tuple(sorted(synthetic)))


def _find_any(folder: Path) -> Found:
    """Every recording below a folder, assigned to the first corpus whose naming convention it follows."""
    if not folder.is_dir():
        raise SourceError(f"--recordings {folder}: no such folder; expected a folder of recordings.")
    taken: dict[str, str] = {}  # path -> corpus
    copies: list[Any] = []
    refused: dict[str, Quarantined] = {}
    for corpus in CORPORA.values():
        try:
            groups, bad, _ = find_clips(corpus, folder)
        except ScanError as error:
            raise SourceError(
                f"--recordings {folder}: no recordings found; expected .wav or .flac files named as in one of "
                f"{', '.join(CORPORA)}."
            ) from error
        for group in groups:
            new = [utterance for utterance in group if str(utterance.path) not in taken]
            taken |= {str(utterance.path): corpus.name for utterance in new}
            copies += [new] if new else []
        refused |= {item.path: item for item in bad}
    unknown = [
        Quarantined("", path, "name", f"does not follow the naming of {', '.join(CORPORA)}")
        for path in refused
        if path not in taken
    ]
    return Found(dict.fromkeys(("", *CORPORA), folder), copies, unknown, {})


_NEEDED = ("path", "label")
_OPTIONAL = ("id", "corpus", "speaker", "gender", "intensity", LANGUAGE)


def clips_of_csv(path: Path, args: DataArguments, classes: Sequence[str] = EMOTIONS) -> Clips:
    """The recordings in a CSV file.

    Required columns: path (relative to the file) and label. Optional columns: id (default: the path), corpus, speaker
    (default: unknown), gender, intensity, language, votes.

    Args:
        path: of the CSV file.
        args: merge_calm.
        classes: labels that are allowed.

    Raises:
        SourceError: no such file, missing columns, an unknown label, invalid votes, or a recording that cannot be
            read.
    """
    if args.channel is not None:
        raise SourceError(f"--channel {args.channel} is not supported with --csv; leave it out.")
    lines, rows, ids = _listed(path, classes)
    files = [path.parent / row["path"] for row in rows]
    checked = _check_files(files)
    unusable = [f"line {line}: {found}" for line, found in zip(lines, checked, strict=True) if isinstance(found, str)]
    _refuse(path, "unusable recordings", unusable, "expected audio files, relative to the CSV file")
    usable = [found for found in checked if not isinstance(found, str)]
    columns: dict[str, list[Any]] = {name: [(row.get(name) or "") for row in rows] for name in _OPTIONAL}
    columns["id"] = ids
    notes = _notes_on_speakers(columns["speaker"])
    columns["corpus"] = [corpus or path.stem for corpus in columns["corpus"]]
    columns["intensity"] = [intensity or None for intensity in columns["intensity"]]
    languages = [language or None for language in columns.pop(LANGUAGE)]
    columns |= {LANGUAGE: languages} if any(languages) else {}
    votes = _votes_of_rows(path, lines, rows, args)
    columns |= {VOTES: votes} if any(votes) else {}
    notes += _notes_on_votes(votes, classes)
    labels = [_emotion(row["label"], args) for row in rows]
    generated = any(is_synthetic(folder) for folder in {file.parent for file in files})
    return Clips(
        {**columns, "label": labels},
        [seconds for seconds, _ in usable],
        lambda numbers: [load_audio(files[number]) for number in numbers],
        Marks(columns["id"], lambda: [sha256 for _, sha256 in usable], [str(file) for file in files]),
        notes,
        tuple(sorted(set(columns["corpus"]))) if generated else (),
    )


def _votes_of_rows(
    path: Path, lines: Sequence[int], rows: Sequence[dict[str, str]], args: DataArguments
) -> list[dict[str, int] | None]:
    """The votes of each row by class; None for rows without votes."""
    found: list[dict[str, int] | None] = []
    bad = []
    for line, row in zip(lines, rows, strict=True):
        counts: Counter[str] = Counter()
        try:
            for label, count in parse_votes(row.get("votes") or ""):
                counts[_emotion(label, args)] += count
        except ListingError as error:
            bad.append(f"line {line}: {error}")
        found.append(dict(counts) or None)
    _refuse(path, "rows with invalid votes", bad, "expected numbers of raters")
    return found


def _notes_on_votes(votes: Sequence[dict[str, int] | None], classes: Sequence[str]) -> tuple[str, ...]:
    outside = {label for clip in votes for label in clip or {} if label not in classes}
    return (f"votes for {', '.join(sorted(outside))} do not count: no class has this name",) if outside else ()


def _notes_on_speakers(speakers: Sequence[str]) -> tuple[str, ...]:
    if all(speakers):
        return ()
    if any(speakers):
        return ("some clips have no speaker: intervals treat each of them as a separate speaker",)
    return ("the speakers are unknown: intervals are over clips, and too narrow if speakers have several clips",)


def listed_marks(
    csv_file: str | None, folder: str | None, channel: str | None, classes: Sequence[str] = EMOTIONS
) -> Marks:
    """The names of the recordings in a CSV file or a folder, before any recording is opened.

    Args:
        csv_file: path of a CSV file, or None for a folder.
        folder: searched recursively.
        channel: vocal channel of the recordings in the folder; None for both.
        classes: labels that are allowed in the CSV file.

    Raises:
        SourceError: no such file or folder, or one without recordings; or missing columns, unknown labels or repeated
            ids in the CSV file.
    """
    if csv_file is not None:
        path = Path(csv_file)
        _, rows, ids = _listed(path, classes)
        return Marks(ids, names=[str(path.parent / row["path"]) for row in rows])
    first = [copies[0] for copies in _find_any(Path(str(folder))).copies]
    return Marks([one.id for one in first if channel in (None, one.vocal_channel)])


def _listed(path: Path, classes: Sequence[str]) -> tuple[list[int], list[dict[str, str]], list[str]]:
    """Line numbers, rows and ids; everything but the recordings is checked."""
    lines, rows = _read_csv(path)
    short = [f"line {line}" for line, row in zip(lines, rows, strict=True) if not (row["path"] and row["label"])]
    _refuse(path, "rows without path or label", short, "expected both in every row")
    named = [f"line {line}: {row['label']!r}" for line, row in zip(lines, rows, strict=True)]
    unknown = [label for label, row in zip(named, rows, strict=True) if row["label"] not in classes]
    _refuse(path, "unknown labels", unknown, f"expected {', '.join(classes)}")
    ids = [row.get("id") or row["path"] for row in rows]
    counts = Counter(ids)
    twice = [f"line {line}: {clip}" for line, clip in zip(lines, ids, strict=True) if counts[clip] > 1]
    _refuse(path, "repeated ids", twice, "expected each recording once")
    return lines, rows, ids


def _read_csv(path: Path) -> tuple[list[int], list[dict[str, str]]]:
    """Line numbers and rows."""
    if path.exists() and not path.is_file():  # nothing may ever be written into a pipe
        raise SourceError(f"--csv {path}: not a regular file; expected a CSV file with the columns path and label.")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            numbered = [(reader.line_num, row) for row in reader]
            header = list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"--csv {path}: {error}; expected a CSV file with the columns path and label.") from error
    if not numbered or any(name not in header for name in _NEEDED):
        raise SourceError(
            f"--csv {path} has {len(numbered)} rows, columns {header}; expected rows with path and label."
        )
    return [line for line, _ in numbered], [row for _, row in numbered]


def _check_files(files: Sequence[Path]) -> list[tuple[float, str] | str]:
    """Seconds and SHA-256 of the samples of each file, or why the pipeline would reject it."""
    limits = Limits(min_duration_s=MIN_DURATION_S)

    def check(file: Path) -> tuple[float, str] | str:
        try:
            decoded, pcm = read_checked(file, limits)
        except AudioError as error:
            return str(error)
        return len(decoded.samples) / decoded.sampling_rate, content_sha256(pcm)

    with ThreadPoolExecutor(available_processors()) as pool:  # decoders release the GIL
        return list(progress_bar(pool.map(check, files), desc="Checking clips", unit="clips", total=len(files)))


def _emotion(emotion: str, args: DataArguments) -> str:
    return merge_calm(emotion) if args.merge_calm else emotion


def _refuse(path: Path, problem: str, bad: Sequence[str], expected: str) -> None:
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise SourceError(f"--csv {path}: {len(bad)} {problem} ({'; '.join(bad[:5])}{more}); {expected}.")

"""The speech to pretrain on: recordings in folders, in a CSV file or in a prepared dataset, cut into segments."""

import io
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from hf_ser.audio import SAMPLING_RATE, load_audio
from hf_ser.corpora.csv_listing import csv_rows
from hf_ser.corpora.files_below import files_below
from hf_ser.corpora.listing import Listing, ListingError, corpus_name, make_listing
from hf_ser.corpora.utterance import AUDIO_SUFFIXES, OTHER_AUDIO_SUFFIXES
from hf_ser.data.dataset_error import DatasetError
from hf_ser.data.examination import Limits
from hf_ser.data.found_recordings import Quarantined, found_listing, join
from hf_ser.data.prepare import is_synthetic, refuse_nothing
from hf_ser.data.scan import Clip, ScanResult, scan
from hf_ser.data.splits import load_splits
from hf_ser.data.splits_file import PRETRAINING
from hf_ser.remote_code.audio_sources import printable
from hf_ser.training.pretraining_arguments import PretrainingArguments, PretrainingDataArguments

logger = logging.getLogger(__name__)
PACKS = ".recordings"  # subfolder of the output folder for checked recordings, until the run is finished
UNUSABLE = "quarantine.csv"
_NO_LABEL = "unlabelled"


class Segment(NamedTuple):
    """A part of a clip, in samples at 16 kHz."""

    clip: int
    start: int
    samples: int


@dataclass(frozen=True)
class Speech:
    """The segments of a pretraining.

    Args:
        segments: of train and validation, which share no speaker, or no recording where speakers are unknown.
        read: reads the waveform (samples,) of a segment, float32 at 16 kHz; it can be pickled.
        record: clip id -> pretraining or validation.
        hashes: clip id -> SHA-256 of the samples of the whole clip, where it is known.
        groups: number of speakers or recordings in train and validation, and which of both they are.
        source: description for the results: names of the dataset, folders or list, and counts.
        quarantined: files that cannot be used, with their reasons.
        synthetic: names of the sources with generated recordings.
    """

    segments: dict[str, list[Segment]]
    read: Callable[[Segment], np.ndarray]
    record: dict[str, str]
    hashes: dict[str, str]
    groups: dict[str, Any]
    source: dict[str, Any]
    quarantined: ScanResult
    synthetic: tuple[str, ...]

    def lengths(self, split: str) -> list[int]:
        """Number of samples of each segment."""
        return [segment.samples for segment in self.segments[split]]

    def hours(self, split: str) -> float:
        """Hours of speech."""
        return sum(self.lengths(split)) / SAMPLING_RATE / 3600


def load_speech(data_args: PretrainingDataArguments, args: PretrainingArguments) -> Speech:
    """List, check and cut the recordings, and hold out speakers or recordings for validation.

    Of a prepared dataset, only the training split is used: the validation segments are held out of it.

    Args:
        data_args: the recordings.
        args: output folder, where checked recordings are kept until the run is finished, and seed.

    Raises:
        ListingError: no such folder or list, or one without recordings.
        PrepareError: no recording can be used.
        DatasetError: the dataset cannot be loaded, or there is only one speaker or recording.

    >>> args = PretrainingArguments("runs/encoder", use_cpu=True)
    >>> speech = load_speech(PretrainingDataArguments("data/emotions", "ravdess"), args)
    >>> speech.groups["of"], speech.groups["train"], speech.groups["validation"]
    ('speakers', 3, 1)
    """
    clips = _of_dataset(data_args) if data_args.dataset else _of_files(data_args, args)
    if args.should_log:
        _log_unusable(clips.quarantined.quarantined)
    held_out = hold_out(clips.groups, clips.samples, data_args.validation_share, args.seed)
    record = {
        name: "validation" if group in held_out else PRETRAINING
        for name, group in zip(clips.ids, clips.groups, strict=True)
    }
    segments: dict[str, list[Segment]] = {"train": [], "validation": []}
    for number, (group, samples) in enumerate(zip(clips.groups, clips.samples, strict=True)):
        split = "validation" if group in held_out else "train"
        segments[split] += cut(number, samples, round(data_args.max_duration_s * SAMPLING_RATE))
    groups = {
        "of": clips.kind,
        "train": len(set(clips.groups) - held_out),
        "validation": len(held_out),
    }
    return Speech(segments, clips.read, record, clips.hashes, groups, clips.source, clips.quarantined, clips.synthetic)


def _log_unusable(items: Sequence[Quarantined]) -> None:
    if items:
        shown = "; ".join(f"{item.path} ({item.reason}: {item.detail})" for item in items[:3])
        more = "; ..." if len(items) > 3 else ""
        logger.warning("%d files cannot be used: %s%s. All will be in %s.", len(items), shown, more, UNUSABLE)


def cut(clip: int, samples: int, most: int) -> list[Segment]:
    """Cut a clip into the fewest segments of at most `most` samples, of the same length except for one sample.

    >>> [(segment.start, segment.samples) for segment in cut(0, 10, 4)]
    [(0, 3), (3, 3), (6, 4)]
    """
    number = max(1, math.ceil(samples / most))
    bounds = [samples * part // number for part in range(number + 1)]
    return [Segment(clip, start, end - start) for start, end in zip(bounds, bounds[1:], strict=False)]


def hold_out(groups: Sequence[str], samples: Sequence[int], share: float, seed: int) -> set[str]:
    """Choose speakers or recordings for validation: in random order, until they have this share of the samples.

    Args:
        groups: speaker or recording of each clip.
        samples: of each clip.
        share: of the samples; at least one group is held out, and at least one is left.
        seed: of the order.

    Raises:
        DatasetError: there is only one group.

    >>> sorted(hold_out(["a", "a", "b", "c"], [5, 5, 5, 5], 0.25, seed=0))
    ['c']
    """
    totals: dict[str, int] = {}
    for group, number in zip(groups, samples, strict=True):
        totals[group] = totals.get(group, 0) + number
    if len(totals) < 2:
        raise DatasetError(
            f"got {len(totals)} speaker or recording; expected at least 2, so that one can be held out for validation."
        )
    order = [sorted(totals)[number] for number in np.random.default_rng(seed).permutation(len(totals))]
    held_out: set[str] = set()
    for group in order[:-1]:
        if sum(totals[name] for name in held_out) >= share * sum(samples):
            break
        held_out.add(group)
    return held_out


class _Clips(NamedTuple):
    ids: list[str]
    groups: list[str]
    kind: str  # of the groups
    samples: list[int]
    hashes: dict[str, str]
    read: Callable[[Segment], np.ndarray]
    source: dict[str, Any]
    quarantined: ScanResult
    synthetic: tuple[str, ...]


def _groups(speakers: Sequence[str], recordings: Sequence[str]) -> tuple[list[str], str]:
    """Speakers where all are known, otherwise recordings."""
    return (list(speakers), "speakers") if all(speakers) else (list(recordings), "recordings")


def _of_dataset(data_args: PretrainingDataArguments) -> _Clips:
    data = load_splits(data_args.of_dataset, needed=("train",))
    train = data.splits["train"]
    samples = [round(duration * SAMPLING_RATE) for duration in train["duration"]]
    kept = [number for number, count in enumerate(samples) if count >= data_args.min_duration_s * SAMPLING_RATE]
    short = (
        [
            Quarantined(train[number]["corpus"], train[number]["id"], "too_short", f"got {samples[number]} samples")
            for number in sorted(set(range(len(samples))) - set(kept))
        ]
        if len(kept) < len(samples)
        else []
    )
    if not kept:
        raise DatasetError(
            f"--dataset {data_args.dataset} has no training clip of {data_args.min_duration_s} s; lower "
            "--min_duration_s."
        )
    train = train.select(kept)
    ids = list(train["id"])
    groups, kind = _groups([speaker or "" for speaker in train["speaker"]], ids)
    hashes = data.hashes
    source = {
        "dataset": Path(str(data_args.dataset)).name,
        "configuration": data_args.configuration,
        "protocol": {"name": data.protocol, "fold": data_args.fold, "hash": data.assignment.hash},
    }
    return _Clips(
        ids,
        groups,
        kind,
        [samples[number] for number in kept],
        {clip: hashes[clip] for clip in ids if clip in hashes},
        _ReadRows(train.select_columns(["audio"])),
        source,
        ScanResult([], short),
        data.synthetic,
    )


def _of_files(data_args: PretrainingDataArguments, args: PretrainingArguments) -> _Clips:
    listings = (
        [_read_list(data_args)] if data_args.csv else [_read_folder(Path(f)) for f in data_args.recordings or ()]
    )
    packs = Path(str(args.output_dir)) / PACKS
    found = join([found_listing(listing) for listing in listings])
    limits = Limits(min_duration_s=data_args.min_duration_s)
    result = scan(found, packs, limits=limits, num_proc=args.num_proc, progress=args.should_log)
    refuse_nothing(result)
    said = [clip.utterance for clip in result.clips]
    groups, kind = _groups([one.speaker for one in said], [str(one.path) for one in said])
    synthetic = [name for name, folder in found.folders.items() if is_synthetic(folder)]
    return _Clips(
        [one.id for one in said],
        groups,
        kind,
        [_samples_of(clip) for clip in result.clips],
        {clip.utterance.id: clip.sha256 for clip in result.clips},
        _ReadPacks(packs, result.clips),
        {"recordings": sorted(found.folders), "notes": list(found.notes)},
        result,
        tuple(synthetic),
    )


def _samples_of(clip: Clip) -> int:
    # A bound, since resampling rounds: the last segment may end one sample early.
    return max(1, math.floor(clip.duration * SAMPLING_RATE))


def _read_folder(folder: Path) -> Listing:
    if not folder.is_dir():
        raise ListingError(f"--recordings {folder}: no such folder; expected a folder of recordings.")
    folder = folder.resolve()
    paths = [Path(path) for path in files_below(folder, ListingError)]
    suffixes = AUDIO_SUFFIXES + OTHER_AUDIO_SUFFIXES
    kept = [path for path in paths if path.suffix.lower() in suffixes and not path.name.startswith(".")]
    if not kept:
        raise ListingError(
            f"--recordings {folder}: found no recordings among {len(paths)} files; expected files with a suffix such "
            f"as {' or '.join(AUDIO_SUFFIXES)}. Unpack archives first."
        )
    rows = [("", {"path": path.relative_to(folder).as_posix(), "label": _NO_LABEL}) for path in kept]
    name = corpus_name(folder.name)
    return make_listing(rows, folder, source=folder.name, corpus=name, other_files=len(paths) - len(kept))


def _read_list(data_args: PretrainingDataArguments) -> Listing:
    """The recordings of a CSV file, without those that it assigns to validation or test."""
    path = Path(str(data_args.csv))
    if not path.is_file():
        raise ListingError(f"--csv {path}: no such file; expected a CSV file with the column path.")
    folder = Path(data_args.audio_dir or path.parent).resolve()
    if not folder.is_dir():
        raise ListingError(f"--audio_dir {folder}: no such folder; expected the folder of the recordings.")
    source = printable(path.name)
    rows, notes = csv_rows(path, source, required=("path",))
    listing = make_listing(
        ((row, {**values, "label": _NO_LABEL}) for row, values in rows),
        folder,
        source=source,
        corpus=corpus_name(path.stem),
        notes=notes,
        remedy="Pass --audio_dir with the folder that the paths are relative to.",
    )
    kept = [utterance for utterance in listing.utterances if utterance.split in ("", "train")]
    left_out = len(listing.utterances) - len(kept)
    if not kept:
        raise ListingError(f"{source} has no row of the split train; expected at least 2.")
    if left_out:
        logger.info("%s: %d rows of the splits validation and test are not used", source, left_out)
    return Listing(listing.folder, kept, listing.repeated, listing.notes, listing.other_files)


@dataclass(frozen=True)
class _ReadRows:
    """Reads segments of the clips of a prepared dataset."""

    rows: Any  # a dataset with the column audio

    def __call__(self, segment: Segment) -> np.ndarray:
        waveform = load_audio(self.rows[segment.clip]["audio"])
        return waveform[segment.start : segment.start + segment.samples]


@dataclass(frozen=True)
class _ReadPacks:
    """Reads segments of checked recordings, which are 16 kHz mono FLAC files in packs, without decoding the rest."""

    folder: Path
    clips: list[Clip]

    def __call__(self, segment: Segment) -> np.ndarray:
        clip = self.clips[segment.clip]
        with open(self.folder / clip.pack, "rb") as pack, soundfile.SoundFile(_Part(pack, clip)) as file:
            file.seek(segment.start)
            return file.read(segment.samples, dtype="float32")


class _Part(io.RawIOBase):
    """One file within a pack."""

    def __init__(self, pack: Any, clip: Clip) -> None:
        self._pack, self._clip, self._at = pack, clip, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._clip.size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        left = max(0, min(len(buffer), self._clip.size - self._at))
        self._pack.seek(self._clip.offset + self._at)
        content = self._pack.read(left)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

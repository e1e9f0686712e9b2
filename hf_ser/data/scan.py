"""Scan recordings: check and encode each one, and quarantine clips that are unfit for training.

Worker processes decode each clip once, hash it, check it and encode it as 16 kHz mono FLAC into pack files, so that
memory holds metadata only. A pack and its journal are renamed into place when complete. A later scan of the same files
reuses complete packs, which lets an interrupted run continue.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import hf_ser
from hf_ser import audio
from hf_ser.corpora import Utterance
from hf_ser.data.examination import Examined, Limits, SegmentedRecordings, examine
from hf_ser.data.found_recordings import Found, Quarantined, quarantine
from hf_ser.data.protocols import Row
from hf_ser.data.workers import run_jobs
from hf_ser.remote_code.audio_sources import printable

CLIPS_PER_PACK = 32
_SEGMENTS_PER_PACK = 1024  # segments of one recording are kept together, so that the recording is decoded once
_SHOWN = 3  # other recordings with the same samples in one detail


@dataclass(frozen=True, slots=True)
class Clip:
    """A checked clip: its metadata and the location of its FLAC bytes."""

    utterance: Utterance
    duration: float  # seconds
    sha256: str  # of the mono samples at the original sampling rate, rounded to 16 bits
    pack: str  # file name of the pack
    offset: int  # bytes
    size: int  # bytes
    notes: tuple[str, ...] = ()  # unusual properties of the file that do not prevent its use

    @property
    def row(self) -> Row:
        """The metadata that protocols use."""
        said = self.utterance
        return Row(
            said.id,
            said.corpus,
            said.speaker,
            said.emotion,
            said.gender or "",
            said.text or "",
            said.vocal_channel,
            self.sha256,
            said.split,
        )


@dataclass(frozen=True)
class ScanResult:
    """The recordings that were found, each in exactly one of the two lists."""

    clips: list[Clip]
    quarantined: list[Quarantined]  # paths relative to the corpus folder


def scan(
    found: Found,
    packs_dir: Path,
    *,
    limits: Limits | None = None,
    num_proc: int | None = None,
    progress: bool = True,
    streamed: Iterable["Checked"] = (),
) -> ScanResult:
    """Check and encode every recording.

    Args:
        found: the recordings, from `find`.
        packs_dir: folder for pack files; complete packs of an earlier scan are reused.
        limits: limits that a clip must meet.
        num_proc: number of worker processes; None uses all CPU cores available to this process.
        progress: whether to show a progress bar.
        streamed: recordings that are checked elsewhere, from `examine_streams`.

    Returns:
        The clips that were kept, sorted by id, and the quarantined files, sorted by corpus and path.

    Raises:
        WorkerError: if a worker process was killed or could not start.
    """
    packs_dir.mkdir(parents=True, exist_ok=True)
    chunks = _chunks(found.copies)
    clips: list[Clip] = []
    quarantined = list(found.refused)
    in_files = run_jobs(
        examine_chunk,
        [(chunk, packs_dir, limits or Limits()) for chunk in chunks],
        sizes=[len(chunk) for chunk in chunks],
        desc="Checking clips",
        unit="clips",
        num_proc=num_proc,
        show=progress,
    )
    for checked, refused in chain(in_files, streamed):
        clips += checked
        quarantined += refused
    clips.sort(key=lambda clip: clip.utterance.id)
    clips, repeated = _separate_repeated(clips)
    quarantined = [_relative(item, found.folders[item.corpus]) for item in quarantined + repeated]
    return ScanResult(clips, sorted(quarantined, key=lambda item: (item.corpus, item.path)))


def _chunks(copies: list[list[Utterance]]) -> list[list[list[Utterance]]]:
    chunks: list[list[list[Utterance]]] = []
    for group in copies:
        last = chunks[-1] if chunks else []
        same = bool(last) and group[0].is_segment and group[0].path == last[-1][0].path
        if last and len(last) < (_SEGMENTS_PER_PACK if same else CLIPS_PER_PACK):
            last.append(group)
        else:
            chunks.append([group])
    return chunks


def _relative(item: Quarantined, folder: Path) -> Quarantined:
    below = f"{folder.as_posix()}/"  # paths and details have forward slashes, so that tables match on every system
    path, detail = item.path.removeprefix(below), item.detail.replace(below, "")
    return replace(item, path=printable(path), detail=printable(detail))


Checked = tuple[list[Clip], list[Quarantined]]


def finished_chunk(chunk: list[list[Utterance]], packs_dir: Path, limits: Limits) -> Checked | None:
    """The result of an earlier run for a chunk, or None."""
    pack, journal = _pack_and_journal(chunk, packs_dir, limits)
    return _read_journal(journal, pack, chunk)


def examine_chunk(
    chunk: list[list[Utterance]], packs_dir: Path, limits: Limits, contents: Mapping[Path, bytes] | None = None
) -> Checked:
    """Check and encode the recordings of a chunk into a pack.

    Args:
        chunk: performances, each with its recordings.
        packs_dir: folder for the pack and its journal.
        limits: limits that a recording must meet.
        contents: content of the recordings that are not in files.
    """
    pack, journal = _pack_and_journal(chunk, packs_dir, limits)
    finished = _read_journal(journal, pack, chunk)
    if finished is not None:
        return finished
    clips: list[Clip] = []
    refused: list[Quarantined] = []
    offset = 0
    segmented = SegmentedRecordings()
    partial = pack.with_suffix(f".{os.getpid()}.part")  # workers of a killed run may still be writing their own
    with open(partial, "wb") as file:
        for copies in chunk:
            usable, bad = _first_usable(copies, limits, segmented, contents or {})
            refused += bad
            if usable is not None:
                kept, (flac, sha256, duration, notes) = usable
                file.write(flac)
                clips.append(Clip(kept, duration, sha256, pack.name, offset, len(flac), notes))
                offset += len(flac)
    os.replace(partial, pack)
    _write_journal(journal, clips, refused)
    return clips, refused


def _first_usable(
    copies: list[Utterance], limits: Limits, segmented: SegmentedRecordings, contents: Mapping[Path, bytes]
) -> tuple[tuple[Utterance, Examined] | None, list[Quarantined]]:
    """Take the first usable recording of a performance; the others are quarantined with their reasons."""
    refused: list[Quarantined] = []
    for index, utterance in enumerate(copies):
        try:
            if utterance.is_segment:
                examined = segmented.examine(utterance.path, utterance.start_s, utterance.end_s, limits)
            elif utterance.path in contents:
                examined = examine(utterance.path, limits, contents[utterance.path])
            else:
                examined = examine(utterance.path, limits)
        except audio.AudioError as error:
            detail = f"got {error.got}; expected {error.expected}"
            refused.append(quarantine(utterance, error.reason, detail))
        else:
            refused += [_repeated(copy, utterance) for copy in copies[index + 1 :]]
            return (utterance, examined), refused
    return None, refused


def _repeated(copy: Utterance, kept: Utterance) -> Quarantined:
    """Quarantine a second recording of a performance: a copy of the file, or another release."""
    if copy.stem == kept.stem:
        return quarantine(copy, "duplicate_stem", f"same name as {kept.path.as_posix()}")
    return quarantine(copy, "duplicate_performance", f"same performance as {kept.path.as_posix()}")


def _separate_repeated(clips: list[Clip]) -> tuple[list[Clip], list[Quarantined]]:
    """Quarantine identical audio: all copies if their labels differ, all but the first if they agree."""
    by_hash: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_hash[clip.sha256].append(clip)
    out: dict[str, Quarantined] = {}
    for members in by_hash.values():
        conflict = len({clip.utterance.emotion for clip in members}) > 1
        for clip in members if conflict else members[1:]:
            reason = "conflicting_labels" if conflict else "duplicate_audio"
            others = [other.utterance for other in members[: _SHOWN + 1] if other is not clip][:_SHOWN]
            same = ", ".join(f"{other.id} ({other.emotion})" for other in others)
            more = len(members) - 1 - len(others)
            same += f" and {more} more" if more else ""
            out[clip.utterance.id] = quarantine(clip.utterance, reason, f"same samples as {same}")
    return [clip for clip in clips if clip.utterance.id not in out], list(out.values())


def _pack_and_journal(chunk: Iterable[list[Utterance]], packs_dir: Path, limits: Limits) -> tuple[Path, Path]:
    """Name a pack after its inputs, so that a changed file or limit results in a new pack."""
    key = fingerprint(chunk, limits)[:32]
    return packs_dir / f"{key}.pack", packs_dir / f"{key}.json"


def fingerprint(utterances: Iterable[list[Utterance]], limits: Limits) -> str:
    """SHA-256 over the version of this package, the limits, and the path, size and modification time of each file."""
    digest = hashlib.sha256(json.dumps([hf_ser.__version__, asdict(limits)], sort_keys=True).encode())
    for copies in utterances:
        for utterance in copies:
            try:
                stat = utterance.path.stat()
                version = f"{stat.st_size}\0{stat.st_mtime_ns}"
            except OSError:  # a dangling link: reported when it is read
                version = "unreadable"
            named = f"{utterance.stem}{_segment(utterance)}"
            digest.update(f"{utterance.path}\0{named}\0{version}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _segment(utterance: Utterance) -> str:
    return f"\0{utterance.start_s}-{utterance.end_s}" if utterance.is_segment else ""


def _key(utterance: Utterance) -> str:
    """Name a recording or segment in a journal."""
    return f"{utterance.path}{_segment(utterance)}"


def _write_journal(journal: Path, clips: list[Clip], refused: list[Quarantined]) -> None:
    content = {
        "clips": [[_key(c.utterance), c.duration, c.sha256, c.pack, c.offset, c.size, c.notes] for c in clips],
        "refused": [[_key(r.utterance), r.reason, r.detail] for r in refused if r.utterance is not None],
    }
    partial = journal.with_suffix(f".{os.getpid()}.json.part")
    partial.write_text(json.dumps(content), encoding="utf-8", newline="\n")
    os.replace(partial, journal)


def _read_journal(journal: Path, pack: Path, chunk: list[list[Utterance]]) -> Checked | None:
    """Read the result of an earlier run, or None if the journal or pack is missing or damaged."""
    by_key = {_key(utterance): utterance for copies in chunk for utterance in copies}

    def quarantined(key: str, reason: str, detail: str) -> Quarantined:
        return Quarantined(by_key[key].corpus, by_key[key].path.as_posix(), reason, detail, by_key[key])

    try:
        content: dict[str, Any] = json.loads(journal.read_text(encoding="utf-8"))
        clips = [Clip(by_key[key], *[*rest, tuple(notes)]) for key, *rest, notes in content["clips"]]
        refused = [quarantined(key, reason, detail) for key, reason, detail in content["refused"]]
        whole = pack.stat().st_size == sum(clip.size for clip in clips)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (clips, refused) if whole else None

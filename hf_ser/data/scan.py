"""The scan: find a corpus's clips, check and encode every one, and quarantine what must not be trained on.

Worker processes decode each clip once, hash it, check it and encode it as 16 kHz mono FLAC into pack files, so that
memory holds metadata only. A pack and its journal are renamed into place when complete; a later scan of the same files
takes finished packs over, which is how a broken run goes on.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import hf_ser
from hf_ser import audio
from hf_ser.corpora import AUDIO_SUFFIXES, CORPORA, Corpus, FileNameError, Utterance
from hf_ser.data.examination import Examined, Limits, ScanError, examine
from hf_ser.data.protocols import Row
from hf_ser.data.workers import run_jobs
from hf_ser.remote_code.audio_sources import printable

# Suffixes of recordings that no corpus uses: reported, so that a converted corpus is not passed over in silence.
_OTHER_AUDIO = tuple(".mp3 .ogg .oga .opus .aif .aiff .aifc .m4a .mp4 .wma .au .raw .pcm".split())
_CLIPS_PER_PACK = 32


@dataclass(frozen=True, slots=True)
class Clip:
    """A checked clip: its description and where its FLAC bytes lie."""

    utterance: Utterance
    duration: float  # seconds
    sha256: str  # of the mono samples at the recording's own rate, rounded to 16 bit
    pack: str  # file name of the pack
    offset: int  # bytes
    size: int  # bytes
    notes: tuple[str, ...] = ()  # what was unusual about the file, though it could be used

    @property
    def row(self) -> Row:
        """The metadata that protocols look at."""
        said = self.utterance
        text = said.text or ""
        return Row(
            said.id, said.corpus, said.speaker, said.emotion, said.gender, text, said.vocal_channel, self.sha256
        )


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A file that is kept out of the dataset, and why."""

    corpus: str
    path: str
    reason: str
    detail: str
    utterance: Utterance | None = None  # None where the name could not be read


@dataclass(frozen=True)
class Found:
    """What lies below the corpora's folders, before any recording is opened."""

    folders: dict[str, Path]
    copies: list[list[Utterance]]  # one inner list per performance, the preferred first, then in path order
    refused: list[Quarantined]  # names that do not parse
    other_files: dict[str, int]  # corpus -> files that are no recordings (tables, archives, ...)


@dataclass(frozen=True)
class ScanResult:
    """Every recording that was found, in exactly one of the two lists."""

    clips: list[Clip]
    quarantined: list[Quarantined]  # paths relative to the corpus's folder


def find(folders: dict[str, Path]) -> Found:
    """List the recordings of several corpora: corpus name -> folder below which its clips lie, however nested.

    Raises:
        ScanError: an unknown corpus, or a folder that does not exist or holds no recording.
    """
    copies: list[list[Utterance]] = []
    refused: list[Quarantined] = []
    other_files: dict[str, int] = {}
    for name, folder in folders.items():
        readable, unreadable, others = find_clips(_corpus(name), folder)
        copies += readable
        refused += unreadable
        other_files[name] = others
    return Found(folders, copies, refused, other_files)


def scan(
    found: Found,
    packs_dir: Path,
    *,
    limits: Limits | None = None,
    num_proc: int | None = None,
    progress: bool = True,
) -> ScanResult:
    """Check and encode every recording.

    Args:
        found: the recordings, from `find`.
        packs_dir: where pack files are written, and finished ones taken over from an earlier scan.
        limits: what a clip must satisfy.
        num_proc: worker processes; None takes the processors that this process may use.
        progress: show a progress bar.

    Returns:
        The clips kept, sorted by id, and the files kept out, sorted by corpus and path.

    Raises:
        WorkerError: a worker process was killed or could not start.
    """
    packs_dir.mkdir(parents=True, exist_ok=True)
    chunks = [found.copies[at : at + _CLIPS_PER_PACK] for at in range(0, len(found.copies), _CLIPS_PER_PACK)]
    clips: list[Clip] = []
    quarantined = list(found.refused)
    for checked, refused in run_jobs(
        _examine_chunk,
        [(chunk, packs_dir, limits or Limits()) for chunk in chunks],
        sizes=[len(chunk) for chunk in chunks],
        desc="Checking clips",
        unit="clips",
        num_proc=num_proc,
        show=progress,
    ):
        clips += checked
        quarantined += refused
    clips.sort(key=lambda clip: clip.utterance.id)
    clips, repeated = _separate_repeated(clips)
    quarantined = [_relative(item, found.folders[item.corpus]) for item in quarantined + repeated]
    return ScanResult(clips, sorted(quarantined, key=lambda item: (item.corpus, item.path)))


def _relative(item: Quarantined, folder: Path) -> Quarantined:
    below = f"{folder.as_posix()}/"  # as in every path and detail, so that the tables are the same on every system
    path, detail = item.path.removeprefix(below), item.detail.replace(below, "")
    return replace(item, path=printable(path), detail=printable(detail))


def find_clips(corpus: Corpus, folder: Path) -> tuple[list[list[Utterance]], list[Quarantined], int]:
    """List the recordings below a folder, those of one performance together.

    Returns:
        The utterances grouped by performance (the preferred first, then in path order), the files whose names do not
        parse, and the number of files that are no recordings.

    Raises:
        ScanError: the folder does not exist or holds no recording.
    """
    if not folder.is_dir():
        raise ScanError(
            f"--{corpus.name} {folder}: no such folder; expected one that holds {corpus.title} recordings."
        )
    by_performance: dict[str, list[Utterance]] = defaultdict(list)
    refused: list[Quarantined] = []
    others = 0
    for path in map(Path, _files_below(folder)):
        if path.suffix.lower() not in AUDIO_SUFFIXES + _OTHER_AUDIO:
            others += 1
            continue
        try:
            utterance = corpus.parse(path)
        except FileNameError as error:
            detail = f"got {error.got}; expected {error.expected}"
            refused.append(Quarantined(corpus.name, path.as_posix(), "name", detail))
        else:
            by_performance[utterance.performance].append(utterance)
    if not by_performance and not refused:
        raise ScanError(
            f"--{corpus.name} {folder}: found no recording among {others} files; expected "
            f"{' or '.join(AUDIO_SUFFIXES)} files of {corpus.title}. Unpack archives first."
        )
    return [sorted(copies, key=lambda copy: copy.rank) for copies in by_performance.values()], refused, others


def _files_below(folder: Path) -> list[str]:
    """Every file below a folder in path order, through linked folders too (each once).

    Hidden folders (half-finished downloads, .git) are passed over.
    """
    paths = []
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith(".")]
        paths += [] if real in seen else [os.path.join(parent, name) for name in names]
        seen.add(real)
    return sorted(paths, key=lambda path: path.replace(os.sep, "/"))  # in the same order on every system


def _corpus(name: str) -> Corpus:
    if name not in CORPORA:
        raise ScanError(f"got corpus {name!r}; expected one of {', '.join(CORPORA)}.")
    return CORPORA[name]


Checked = tuple[list[Clip], list[Quarantined]]


def _examine_chunk(chunk: list[list[Utterance]], packs_dir: Path, limits: Limits) -> Checked:
    key = _chunk_key(chunk, limits)
    pack, journal = packs_dir / f"{key}.pack", packs_dir / f"{key}.json"
    finished = _read_journal(journal, pack, chunk)
    if finished is not None:
        return finished
    clips: list[Clip] = []
    refused: list[Quarantined] = []
    offset = 0
    partial = pack.with_suffix(f".{os.getpid()}.part")  # a killed parent's workers may still be at theirs
    with open(partial, "wb") as file:
        for copies in chunk:
            usable, bad = _first_usable(copies, limits)
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
    copies: list[Utterance], limits: Limits
) -> tuple[tuple[Utterance, Examined] | None, list[Quarantined]]:
    """Take the first recording of a performance that can be used; the others are quarantined with their reasons."""
    refused: list[Quarantined] = []
    for index, utterance in enumerate(copies):
        try:
            examined = examine(utterance.path, limits)
        except audio.AudioError as error:
            detail = f"got {error.got}; expected {error.expected}"
            refused.append(_quarantine(utterance, error.reason, detail))
        else:
            refused += [_repeated(copy, utterance) for copy in copies[index + 1 :]]
            return (utterance, examined), refused
    return None, refused


def _repeated(copy: Utterance, kept: Utterance) -> Quarantined:
    """A recording of a performance that is there already: a copy of the file, or another release of it."""
    if copy.stem == kept.stem:
        return _quarantine(copy, "duplicate_stem", f"same name as {kept.path.as_posix()}")
    return _quarantine(copy, "duplicate_performance", f"same performance as {kept.path.as_posix()}")


def _quarantine(utterance: Utterance, reason: str, detail: str) -> Quarantined:
    return Quarantined(utterance.corpus, utterance.path.as_posix(), reason, detail, utterance)


def _separate_repeated(clips: list[Clip]) -> tuple[list[Clip], list[Quarantined]]:
    """Quarantine identical audio: every member where the labels differ, all but the first where they agree."""
    by_hash: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        by_hash[clip.sha256].append(clip)
    out: dict[str, Quarantined] = {}
    for members in by_hash.values():
        conflict = len({clip.utterance.emotion for clip in members}) > 1
        for clip in members if conflict else members[1:]:
            reason = "conflicting_labels" if conflict else "duplicate_audio"
            others = [other.utterance for other in members if other is not clip]
            same = ", ".join(f"{other.id} ({other.emotion})" for other in others)
            out[clip.utterance.id] = _quarantine(clip.utterance, reason, f"same samples as {same}")
    return [clip for clip in clips if clip.utterance.id not in out], list(out.values())


def _chunk_key(chunk: Iterable[list[Utterance]], limits: Limits) -> str:
    """Name a pack by what it is made from, so that a changed file or limit makes a new one."""
    return fingerprint(chunk, limits)[:32]


def fingerprint(utterances: Iterable[list[Utterance]], limits: Limits) -> str:
    """SHA-256 over this package's version, the limits and every file's path, size and time of change."""
    digest = hashlib.sha256(json.dumps([hf_ser.__version__, asdict(limits)], sort_keys=True).encode())
    for copies in utterances:
        for utterance in copies:
            try:
                stat = utterance.path.stat()
                version = f"{stat.st_size}\0{stat.st_mtime_ns}"
            except OSError:  # a dangling link: reading it will say so
                version = "unreadable"
            digest.update(f"{utterance.path}\0{utterance.stem}\0{version}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _write_journal(journal: Path, clips: list[Clip], refused: list[Quarantined]) -> None:
    content = {
        "clips": [[str(c.utterance.path), c.duration, c.sha256, c.pack, c.offset, c.size, c.notes] for c in clips],
        "refused": [[str(r.utterance.path), r.reason, r.detail] for r in refused if r.utterance is not None],
    }
    partial = journal.with_suffix(f".{os.getpid()}.json.part")
    partial.write_text(json.dumps(content), encoding="utf-8", newline="\n")
    os.replace(partial, journal)


def _read_journal(journal: Path, pack: Path, chunk: list[list[Utterance]]) -> Checked | None:
    """What an earlier run finished, or None where journal or pack is missing or damaged."""
    by_path = {str(utterance.path): utterance for copies in chunk for utterance in copies}
    try:
        content: dict[str, Any] = json.loads(journal.read_text(encoding="utf-8"))
        clips = [Clip(by_path[path], *[*rest, tuple(notes)]) for path, *rest, notes in content["clips"]]
        refused = [_quarantine(by_path[path], reason, detail) for path, reason, detail in content["refused"]]
        whole = pack.stat().st_size == sum(clip.size for clip in clips)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (clips, refused) if whole else None

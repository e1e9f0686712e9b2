"""Find the recordings of all sources before any of them is opened: corpora, lists, folders and streams."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hf_ser.corpora import AUDIO_SUFFIXES, CORPORA, OTHER_AUDIO_SUFFIXES, Corpus, FileNameError, Utterance
from hf_ser.corpora.files_below import files_below
from hf_ser.corpora.listing import Listing
from hf_ser.data.examination import ScanError
from hf_ser.data.hub_source import HubSource


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A file that is excluded from the dataset, with the reason."""

    corpus: str
    path: str
    reason: str
    detail: str
    utterance: Utterance | None = None  # None if the file name could not be parsed


@dataclass(frozen=True)
class Found:
    """The recordings of the sources, before any of them is opened."""

    folders: dict[str, Path]  # corpus -> folder
    copies: list[list[Utterance]]  # one inner list per performance: the preferred file first, then in path order
    refused: list[Quarantined]  # files whose names do not parse, repeated rows, excluded labels
    other_files: dict[str, int]  # corpus -> number of files that are not recordings (tables, archives, ...)
    own: frozenset[str] = frozenset()  # corpora from lists and folders of the user instead of a parser
    notes: tuple[str, ...] = ()  # remarks on the sources, for the report
    streams: tuple[HubSource, ...] = ()  # datasets whose clips are not in files


def quarantine(utterance: Utterance, reason: str, detail: str) -> Quarantined:
    """Exclude a recording; the detail names the row of a list that describes it."""
    said = f"{detail} ({utterance.origin})" if utterance.origin else detail
    return Quarantined(utterance.corpus, utterance.path.as_posix(), reason, said, utterance)


def find(folders: dict[str, Path]) -> Found:
    """List the recordings of several corpora.

    Args:
        folders: corpus name -> folder, which is searched at any depth.

    Raises:
        ScanError: if a corpus is unknown, or its folder does not exist or contains no recordings.
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


def found_listing(listing: Listing, *streams: HubSource) -> Found:
    """The recordings of a list or folder of the user, or of a streamed dataset, in the form of `find`."""
    own = frozenset(utterance.corpus for utterance in listing.utterances)
    refused = [quarantine(item, "repeated_row", detail) for item, detail in listing.repeated]
    copies = [[utterance] for utterance in sorted(listing.utterances, key=_place)]
    others = dict.fromkeys(sorted(own), 0) | {min(own): listing.other_files}
    return Found(dict.fromkeys(sorted(own), listing.folder), copies, refused, others, own, listing.notes, streams)


def _place(utterance: Utterance) -> tuple[str, float]:
    return str(utterance.path), utterance.start_s or 0.0


def join(sources: Sequence[Found]) -> Found:
    """Join the recordings of several sources.

    Raises:
        ScanError: if two sources have a corpus of the same name.
    """
    names = [name for found in sources for name in found.folders]
    twice = sorted(name for name, number in Counter(names).items() if number > 1)
    if twice:
        raise ScanError(
            f"corpus {twice[0]} comes from two sources; expected one source per corpus. Add a corpus column with "
            "another name to the list, or rename the list or folder."
        )
    return Found(
        {name: folder for found in sources for name, folder in found.folders.items()},
        [copies for found in sources for copies in found.copies],
        [item for found in sources for item in found.refused],
        {name: number for found in sources for name, number in found.other_files.items()},
        frozenset().union(*(found.own for found in sources)),
        tuple(note for found in sources for note in found.notes),
        tuple(stream for found in sources for stream in found.streams),
    )


def find_clips(corpus: Corpus, folder: Path) -> tuple[list[list[Utterance]], list[Quarantined], int]:
    """List the recordings in a folder at any depth, grouped by performance.

    Returns:
        The utterances grouped by performance (the preferred file first, then in path order), the files whose names do
        not parse, and the number of files that are not recordings.

    Raises:
        ScanError: if the folder does not exist or contains no recordings.
    """
    if not folder.is_dir():
        raise ScanError(f"--{corpus.name} {folder}: no such folder; expected a folder of {corpus.title} recordings.")
    by_performance: dict[str, list[Utterance]] = defaultdict(list)
    refused: list[Quarantined] = []
    others = 0
    for path in map(Path, files_below(folder, ScanError)):
        if path.suffix.lower() not in AUDIO_SUFFIXES + OTHER_AUDIO_SUFFIXES:
            others += 1
            continue
        try:
            utterance = corpus.parse(path)
            if corpus.annotate is not None:
                utterance = corpus.annotate(utterance)
        except FileNameError as error:
            detail = f"got {error.got}; expected {error.expected}"
            refused.append(Quarantined(corpus.name, path.as_posix(), error.reason, detail))
        else:
            if utterance.language is None:  # the parsers of the English corpora do not set it
                utterance = replace(utterance, language="en")
            by_performance[utterance.performance].append(utterance)
    if not by_performance and not refused:
        raise ScanError(
            f"--{corpus.name} {folder}: found no recordings among {others} files; expected {corpus.title} files with "
            f"the suffix {' or '.join(AUDIO_SUFFIXES)}. Unpack archives first."
        )
    return [sorted(copies, key=lambda copy: copy.rank) for copies in by_performance.values()], refused, others


def _corpus(name: str) -> Corpus:
    if name not in CORPORA:
        raise ScanError(f"unknown corpus {name!r}; expected one of {', '.join(CORPORA)}.")
    return CORPORA[name]

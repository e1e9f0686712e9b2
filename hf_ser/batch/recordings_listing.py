"""The recordings of a command: files, folders, URLs, a list, standard input."""

import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from hf_ser.batch.batch_error import BatchError
from hf_ser.batch.escaped_names import escaped_name

STDIN = "-"
# Audio, and video containers. Whether a file can be decoded turns out when it is opened.
MEDIA_SUFFIXES = frozenset(
    ".3g2 .3gp .3gpp .8svx .aac .ac3 .adts .aif .aifc .aiff .alac .amr .ape .asf .au .avi .avr .awb .caf .dss .eac3 "
    ".f4a .flac .flv .gsm .iff .ircam .m4a .m4b .m4r .m4v .mka .mkv .mov .mp1 .mp2 .mp3 .mp4 .mpc .mpeg .mpg .mpga "
    ".nist .oga .ogg .ogv .opus .paf .pvf .qcp .ra .rf64 .rm .sds .sf .snd .sph .spx .svx .tta .voc .w64 .wav .wave "
    ".wavex .weba .webm .wma .wmv .wv".split()
)
_SHOWN = 5  # suffixes and unreadable folders to name; the others are counted
_RESOURCE_FORKS = "__MACOSX"  # their folder in archives from macOS


@dataclass
class FolderListing:
    """The recordings in a folder and its subfolders, sorted, and counts of everything else."""

    place: str
    recordings: list[str] = field(default_factory=list)
    resource_forks: int = 0
    hidden_folders: int = 0
    repeated_folders: int = 0  # links to folders that are already listed
    broken_links: int = 0
    not_regular: int = 0  # pipes, devices, sockets
    unreadable: list[tuple[str, str]] = field(default_factory=list)  # folders and why
    suffixes: Counter[str] = field(default_factory=Counter)  # of the other files

    def passed_over(self) -> str:
        """Describe what was skipped; empty if everything is a recording."""
        others = self.suffixes.total()
        parts = [
            _count(self.resource_forks, "macOS resource fork"),
            _count(others, "other file") + (f" ({self._common_suffixes()})" if others else ""),
            _count(self.hidden_folders, "hidden folder"),
            _count(self.repeated_folders, "link to a listed folder", "links to listed folders"),
            _count(self.broken_links, "broken link"),
            _count(len(self.unreadable), "unreadable folder"),
            _count(self.not_regular, "special file"),
        ]
        return ", ".join(part for part in parts if part)

    def lines(self) -> list[str]:
        """Describe the content of the folder, and name the subfolders that cannot be read."""
        passed_over = self.passed_over()
        lines = [
            f"{escaped_name(self.place)}: {_count(len(self.recordings), 'recording') or '0 recordings'}"
            + (f"; skipped {passed_over}" if passed_over else "")
        ]
        lines += [f"  cannot read {escaped_name(folder)}: {why}" for folder, why in self.unreadable[:_SHOWN]]
        if len(self.unreadable) > _SHOWN:
            lines.append(f"  and {len(self.unreadable) - _SHOWN} more folders")
        return lines

    def _common_suffixes(self) -> str:
        common = sorted(self.suffixes.items(), key=lambda item: (-item[1], item[0]))
        shown = [f"{escaped_name(suffix)} {number}" for suffix, number in common[:_SHOWN]]
        rest = sum(number for _, number in common[_SHOWN:])
        return ", ".join([*shown, f"others {rest}"] if rest else shown)


def list_folder(place: str) -> FolderListing:
    """List a folder. Links are followed; a folder that is reached twice is listed once, not under the link."""
    listing = FolderListing(place)
    seen: set[tuple[int, int]] = set()
    waiting: list[str] = [place]
    links: list[str] = []  # listed last, so that folders are preferred to links to them
    while waiting or links:
        is_link = not waiting
        folder = links.pop(0) if is_link else waiting.pop()
        try:
            status = os.stat(folder)
            entries = list(os.scandir(folder))
        except OSError as error:
            listing.unreadable.append((folder, error.strerror or str(error)))
            continue
        if (status.st_dev, status.st_ino) in seen:
            listing.repeated_folders += is_link
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in sorted(entries, key=lambda entry: entry.name):
            subfolder = _list_entry(entry, listing)
            if subfolder:
                (links if entry.is_symlink() else waiting).append(subfolder)
    listing.recordings.sort()
    return listing


def _list_entry(entry: os.DirEntry[str], listing: FolderListing) -> str | None:
    """Count one entry of a folder; return the path if it is a folder to list."""
    try:
        is_folder, is_file = entry.is_dir(), entry.is_file()
        if not is_folder and not is_file and entry.is_symlink() and not os.path.exists(entry.path):
            listing.broken_links += 1
            return None
    except OSError:  # circular links
        listing.broken_links += 1
        return None
    if is_folder and entry.name == _RESOURCE_FORKS:
        listing.resource_forks += sum(len(files) for _, _, files in os.walk(entry.path))
    elif is_folder and entry.name.startswith("."):
        listing.hidden_folders += 1
    elif is_folder:
        return entry.path
    elif entry.name.startswith("._"):
        listing.resource_forks += 1
    elif not is_file:
        listing.not_regular += 1
    elif (suffix := os.path.splitext(entry.name)[1].lower()) in MEDIA_SUFFIXES:
        listing.recordings.append(entry.path)
    else:
        listing.suffixes[suffix or "without suffix"] += 1
    return None


def list_recordings(places: Sequence[str]) -> tuple[list[str], list[FolderListing]]:
    """Replace folders by the recordings in them; keep everything else.

    Raises:
        BatchError: a folder has no recordings, or standard input is named twice.
    """
    recordings: list[str] = []
    listings: list[FolderListing] = []
    for place in places:
        if not os.path.isdir(place):
            recordings.append(place)
            continue
        listing = list_folder(place)
        if not listing.recordings:
            told = [listing.passed_over(), *(f"{escaped_name(path)}: {why}" for path, why in listing.unreadable[:1])]
            holds = f" ({'; '.join(told)})" if told[0] else ""
            raise BatchError(
                f"{escaped_name(place)}: got a folder without recordings{holds}; "
                "expected audio or video files such as .wav, .flac, .mp3, .m4a or .webm."
            )
        listings.append(listing)
        recordings += listing.recordings
    if recordings.count(STDIN) > 1:
        raise BatchError("- is named twice; expected standard input once.")
    return recordings, listings


def read_list(file: str, stdin: BinaryIO | None) -> list[str]:
    """Read paths, folders or URLs, one per line or separated by NUL as `find -print0` writes them.

    Args:
        file: a text file in the encoding of file names, or `-` for standard input.
        stdin: standard input.

    Raises:
        BatchError: the list cannot be read or is empty.
    """
    try:
        if file != STDIN:
            with open(file, "rb") as opened:
                content = opened.read()
        else:
            content = stdin.read() if stdin else b""
    except OSError as error:
        raise BatchError(f"--recordings_from {escaped_name(file)}: {error.strerror}.") from error
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):  # as `>` writes in Windows PowerShell
        content = content.decode("utf-16", "replace").encode()
    separator = b"\0" if b"\0" in content else b"\n"
    lines = [line.removesuffix(b"\r") for line in content.removeprefix(b"\xef\xbb\xbf").split(separator)]
    places = [os.fsdecode(line) for line in lines if line.strip()]
    if not places:
        raise BatchError(f"--recordings_from {escaped_name(file)}: got an empty list; expected a recording per line.")
    return places


def is_stream(name: str) -> bool:
    """Whether a name has different content in every run, such as standard input or a pipe."""
    if name == STDIN or name.startswith(("/dev/fd/", "/proc/self/fd/")) or name == "/dev/stdin":
        return True
    try:
        return stat.S_ISFIFO(os.stat(name).st_mode)
    except (OSError, ValueError):
        return False


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}" if number else ""

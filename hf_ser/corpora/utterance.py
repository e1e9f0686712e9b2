"""The description of a recording: parsed from its file name, or taken from a list of the user."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hf_ser.errors import SerError


class FileNameError(SerError):
    """A file name that does not follow the convention of its corpus. No label is inferred from it."""

    reason = "name"  # in quarantine.csv

    def __init__(self, path: Path, got: str, expected: str) -> None:
        self.path, self.got, self.expected = path, got, expected
        super().__init__(f"{path}: got {got}; expected {expected}. Rename, convert or remove the file.")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.path, self.got, self.expected)


class AnnotationError(FileNameError):
    """A recording without a label in the annotation files of its corpus."""

    reason = "label"


class NoAgreementError(AnnotationError):
    """A recording whose raters did not agree on a label."""

    reason = "no_agreement"


@dataclass(frozen=True, slots=True)
class Utterance:
    """The description of a recording, or of a segment of one.

    `stem` is the canonical stem: letter case and known misnamings are normalised, so that copies of one recording have
    the same stem. Fields that the source does not have are None, or empty.

    Recordings of one performance, such as those of the audio and audio-video releases, have the same `performance`.
    The recording with the lowest `rank` is preferred.

    >>> Utterance(Path("oaf_back_sad.wav"), "tess", "OAF_back_sad", "sad", "tess_OAF", "female").id
    'tess/OAF_back_sad'
    """

    path: Path
    corpus: str
    stem: str
    emotion: str  # label of the corpus, before a label mapping
    speaker: str = ""  # namespaced: "ravdess_07"; empty if unknown
    gender: str | None = None  # "female", "male", or another text of the source
    age: int | None = None  # years
    intensity: str | None = None
    vocal_channel: Literal["speech", "song"] = "speech"
    text: str | None = None
    performance: str = ""  # within the corpus; default: the stem
    rank: int = 0
    language: str | None = None  # BCP 47, such as "en"
    split: str = ""  # train, validation or test, if the source has splits
    start_s: float | None = None  # segment of a longer recording, in seconds; None: from the start
    end_s: float | None = None  # None: to the end
    votes: tuple[tuple[str, int], ...] = ()  # (label, number of raters)
    dimensions: tuple[tuple[str, float], ...] = ()  # such as ("arousal", 0.7), from 0 to 1
    origin: str = ""  # where a list describes it, such as "calls.csv, row 17"; for messages

    def __post_init__(self) -> None:
        if not self.performance:
            object.__setattr__(self, "performance", self.stem)

    @property
    def id(self) -> str:
        """Corpus and canonical stem, such as "ravdess/03-01-05-01-02-01-07"."""
        return f"{self.corpus}/{self.stem}"

    @property
    def is_segment(self) -> bool:
        """Whether it is a part of a longer recording."""
        return self.start_s is not None or self.end_s is not None


AUDIO_SUFFIXES = (".wav", ".flac")
# Audio suffixes that no corpus uses. These files are quarantined, so that a converted corpus is reported.
OTHER_AUDIO_SUFFIXES = tuple(".mp3 .ogg .oga .opus .aif .aiff .aifc .m4a .mp4 .wma .au .raw .pcm".split())


def check_name(path: Path) -> None:
    """Raise `FileNameError` unless the stem is ASCII and the suffix (in any letter case) is .wav or .flac."""
    if not path.stem.isascii():  # digits of other scripts match \d too
        raise FileNameError(path, f"the stem {path.stem!r}", "ASCII characters only")
    if path.suffix.lower() not in AUDIO_SUFFIXES:
        raise FileNameError(path, f"the suffix {path.suffix!r}", "one of " + ", ".join(AUDIO_SUFFIXES))


def code(path: Path, table: dict[str, str], key: str, field: str) -> str:
    """Look up one code of a file name.

    Args:
        path: path of the recording, for the error.
        table: code -> meaning.
        key: the code.
        field: name of the coded field, such as "emotion", for the error.

    Returns:
        The meaning.

    Raises:
        FileNameError: if the code is unknown; the message lists the known codes.
    """
    try:
        return table[key]
    except KeyError:
        raise FileNameError(path, f"{field} code {key!r}", "one of " + ", ".join(table)) from None

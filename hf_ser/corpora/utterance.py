"""One recording's description, as read from its file name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hf_ser.errors import SerError


class FileNameError(SerError):
    """A file whose name does not follow its corpus's convention; it is reported, and no label is inferred."""

    def __init__(self, path: Path, got: str, expected: str) -> None:
        self.path, self.got, self.expected = path, got, expected
        super().__init__(f"{path}: got {got}; expected {expected}. Rename, convert or remove the file.")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.path, self.got, self.expected)


@dataclass(frozen=True, slots=True)
class Utterance:
    """What a corpus's file name says about a recording.

    `stem` is the canonical stem: letter case and known misnamings are normalised, so that the copies of one recording
    share it. Fields that the corpus does not publish are None.

    Recordings of one performance, such as those of an audio and of an audio-video release, share `performance`; the
    one of the lowest `rank` is preferred.

    >>> Utterance(Path("oaf_back_sad.wav"), "tess", "OAF_back_sad", "sad", "tess_OAF", "female").id
    'tess/OAF_back_sad'
    """

    path: Path
    corpus: str
    stem: str
    emotion: str  # one of labels.EMOTIONS
    speaker: str  # namespaced: "ravdess_07"
    gender: Literal["female", "male"]
    age: int | None = None  # years
    intensity: str | None = None
    vocal_channel: Literal["speech", "song"] = "speech"
    text: str | None = None
    performance: str = ""  # within the corpus; default: the stem
    rank: int = 0

    def __post_init__(self) -> None:
        if not self.performance:
            object.__setattr__(self, "performance", self.stem)

    @property
    def id(self) -> str:
        """The corpus and the canonical stem: "ravdess/03-01-05-01-02-01-07"."""
        return f"{self.corpus}/{self.stem}"


AUDIO_SUFFIXES = (".wav", ".flac")


def check_name(path: Path) -> None:
    """Raise `FileNameError` unless the stem is ASCII and the suffix, in any letter case, one that the corpora use."""
    if not path.stem.isascii():  # other scripts have digits and letters that pass for the codes'
        raise FileNameError(path, f"the stem {path.stem!r}", "ASCII characters only")
    if path.suffix.lower() not in AUDIO_SUFFIXES:
        raise FileNameError(path, f"the suffix {path.suffix!r}", "one of " + ", ".join(AUDIO_SUFFIXES))


def code(path: Path, table: dict[str, str], key: str, field: str) -> str:
    """Look one code of a file name up.

    Args:
        path: of the recording, for the error.
        table: code -> meaning.
        key: the code.
        field: what the code says, such as "emotion", for the error.

    Returns:
        The meaning.

    Raises:
        FileNameError: no such code; it names those that exist.
    """
    try:
        return table[key]
    except KeyError:
        raise FileNameError(path, f"{field} code {key!r}", "one of " + ", ".join(table)) from None

"""IEMOCAP: `SessionN/sentences/wav/DIALOG/UTTERANCE.wav` (Busso et al. 2008, doi:10.1007/s10579-008-9076-6).

File names hold speaker and dialog. The label is in `SessionN/dialog/EmoEvaluation/DIALOG.txt`, the text in
`SessionN/dialog/transcriptions/DIALOG.txt`.
"""

import os
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from hf_ser.corpora.utterance import AnnotationError, FileNameError, NoAgreementError, Utterance, check_name

NAME = "iemocap"
SESSIONS = range(1, 6)
SPEAKERS = tuple(f"Ses0{session}{gender}" for session in SESSIONS for gender in "FM")

EMOTION_CODES = {
    "ang": "angry",
    "dis": "disgust",
    "exc": "excited",
    "fea": "fearful",
    "fru": "frustrated",
    "hap": "happy",
    "neu": "neutral",
    "oth": "other",
    "sad": "sad",
    "sur": "surprised",
}
_NO_AGREEMENT = "xxx"
# Session and wearer of the markers, scene, speaker of the turn, number of the turn: Ses01F_impro01_M013.
_STEM = re.compile(r"Ses0([1-5])([FM])_(impro\d\d[a-z]?|script\d\d_\d[a-z]?)_([FM])(\d{3}|XX\d)", re.IGNORECASE)
_EVALUATION = re.compile(r"\[[\d.]+ *- *[\d.]+\]\s+(\S+)\s+(\w+)\s+\[", re.ASCII)
_TRANSCRIPTION = re.compile(r"(\S+) \[[\d.]+ *- *[\d.]+\]:(.*)", re.ASCII)


def parse(path: Path) -> Utterance:
    """Parse an IEMOCAP file name; the folder is ignored. The label is empty until `annotate` adds it.

    The stem, and so the id of a clip, has the session (Ses01 to Ses05) and whether the scene is improvised (impro) or
    scripted (script).

    Raises:
        FileNameError: if the name does not follow the convention, as those of whole dialogs do not.
    """
    check_name(path)
    match = _STEM.fullmatch(path.stem)
    if match is None:
        expected = "an utterance such as Ses01F_impro01_M013; whole dialogs are not used"
        raise FileNameError(path, f"the stem {path.stem!r}", expected)
    session, wearer, scene, speaker, turn = match[1], match[2].upper(), match[3].lower(), match[4].upper(), match[5]
    return Utterance(
        path=path,
        corpus=NAME,
        stem=f"Ses0{session}{wearer}_{scene}_{speaker}{turn.upper()}",
        emotion="",
        speaker=f"{NAME}_Ses0{session}{speaker}",
        gender="female" if speaker == "F" else "male",
        language="en",
    )


def annotate(utterance: Utterance) -> Utterance:
    """Add the label, and the text if it is transcribed, from the files of the release.

    The label is the majority of the raters. All labels of the release are kept, also those that are not among the
    eight emotions: excited, frustrated and other.

    Raises:
        AnnotationError: if the utterance has no known label in its EmoEvaluation file.
        NoAgreementError: if the raters do not agree.
    """
    path = utterance.path
    dialog = utterance.stem.rpartition("_")[0]
    # The recording is at SessionN/sentences/wav/DIALOG/UTTERANCE.wav.
    tables = path.parent.parent.parent.parent / "dialog"
    labels = _read_table(tables / "EmoEvaluation" / f"{dialog}.txt", _EVALUATION)
    if labels is None:
        expected = f"the layout of the release, with labels in SessionN/dialog/EmoEvaluation/{dialog}.txt"
        raise AnnotationError(path, "no label file", expected)
    label = labels.get(utterance.stem)
    if label is None:
        raise AnnotationError(path, "no label", f"a line of {utterance.stem} in EmoEvaluation/{dialog}.txt")
    if label == _NO_AGREEMENT:
        raise NoAgreementError(path, f"label {label}: the raters do not agree", "a label of the majority")
    if label not in EMOTION_CODES:
        raise AnnotationError(path, f"label {label!r}", "one of " + ", ".join(EMOTION_CODES))
    texts = _read_table(tables / "transcriptions" / f"{dialog}.txt", _TRANSCRIPTION) or {}
    return replace(utterance, emotion=EMOTION_CODES[label], text=texts.get(utterance.stem) or None)


def _read_table(path: Path, line: re.Pattern[str]) -> dict[str, str] | None:
    """Utterance -> value of the lines that match; None if there is no such file."""
    try:
        return _read_version(path, line, os.stat(path).st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=512)  # a dialog has up to 100 utterances
def _read_version(path: Path, line: re.Pattern[str], modified_ns: int) -> dict[str, str]:
    content = path.read_text(encoding="utf-8", errors="replace")
    return {match[1]: match[2].strip() for match in map(line.match, content.splitlines()) if match}


def published_counts(vocal_channel: str) -> dict[tuple[str, str], int]:
    """Nothing: the description of the corpus has counts per class, not per speaker and class."""
    return {}

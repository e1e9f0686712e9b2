"""TESS: `OAF_back_angry.wav` (Pichora-Fuller & Dupuis 2020, doi:10.5683/SP2/E8H2MF)."""

import re
from pathlib import Path

from hf_ser.corpora.utterance import FileNameError, Utterance, check_suffix, code

NAME = "tess"
AGES = {"OAF": 64, "YAF": 26}  # years; both speakers are women

_EMOTIONS = {
    "angry": "angry",
    "disgust": "disgust",
    "fear": "fearful",
    "happy": "happy",
    "neutral": "neutral",
    "ps": "surprised",  # "pleasant surprise"
    "sad": "sad",
}
# OA_bite_neutral is a misnamed recording of OAF.
_SPEAKERS = {"OAF": "OAF", "YAF": "YAF", "OA": "OAF"}


def parse(path: Path) -> Utterance:
    """Read a TESS file name; folder names vary in wording, so only the stem counts.

    Raises:
        FileNameError: the name does not follow the convention.
    """
    check_suffix(path)
    tokens = path.stem.split("_")
    if len(tokens) != 3 or not re.fullmatch(r"[A-Za-z]+", tokens[1]):
        raise FileNameError(path, f"the stem {path.stem!r}", "SPEAKER_word_emotion such as OAF_back_angry")
    speaker = code(path, _SPEAKERS, tokens[0].upper(), "speaker")
    word, emotion_code = tokens[1].lower(), tokens[2].lower()
    return Utterance(
        path=path,
        corpus=NAME,
        stem=f"{speaker}_{word}_{emotion_code}",
        emotion=code(path, _EMOTIONS, emotion_code, "emotion"),
        speaker=f"{NAME}_{speaker}",
        gender="female",
        age=AGES[speaker],
        text=f"Say the word {word}",
    )


def published_counts(channel: str) -> dict[tuple[str, str], int]:
    """Recordings per (speaker, emotion) in the published corpus: 2800 of speech, none of song."""
    if channel != "speech":
        return {}
    return {(f"{NAME}_{speaker}", emotion): 200 for speaker in AGES for emotion in _EMOTIONS.values()}

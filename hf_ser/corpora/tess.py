"""TESS: `OAF_back_angry.wav` (Pichora-Fuller & Dupuis 2020, doi:10.5683/SP2/E8H2MF)."""

import re
from pathlib import Path

from hf_ser.corpora.utterance import FileNameError, Utterance, check_name, code

NAME = "tess"
AGES = {"OAF": 64, "YAF": 26}  # years; both speakers are women

EMOTION_CODES = {
    "angry": "angry",
    "disgust": "disgust",
    "fear": "fearful",
    "happy": "happy",
    "neutral": "neutral",
    "ps": "surprised",  # "pleasant surprise"
    "sad": "sad",
}
_MISNAMED = {"oa_bite_neutral": "OAF_bite_neutral"}


def parse(path: Path) -> Utterance:
    """Parse a TESS file name; the folder is ignored, since folder names vary.

    Raises:
        FileNameError: if the name does not follow the convention.
    """
    check_name(path)
    tokens = _MISNAMED.get(path.stem.lower(), path.stem).split("_")
    if len(tokens) != 3 or not re.fullmatch(r"[A-Za-z]+", tokens[1]):
        raise FileNameError(path, f"the stem {path.stem!r}", "SPEAKER_word_emotion such as OAF_back_angry")
    speaker = code(path, {name: name for name in AGES}, tokens[0].upper(), "speaker")
    word, emotion_code = tokens[1].lower(), tokens[2].lower()
    return Utterance(
        path=path,
        corpus=NAME,
        stem=f"{speaker}_{word}_{emotion_code}",
        emotion=code(path, EMOTION_CODES, emotion_code, "emotion"),
        speaker=f"{NAME}_{speaker}",
        gender="female",
        age=AGES[speaker],
        text=f"Say the word {word}",
    )


def published_counts(vocal_channel: str) -> dict[tuple[str, str], int]:
    """Recordings per (speaker, emotion) in the published corpus: 2800 of speech, none of song."""
    if vocal_channel != "speech":
        return {}
    return {(f"{NAME}_{speaker}", emotion): 200 for speaker in AGES for emotion in EMOTION_CODES.values()}

"""SAVEE: `AudioData/DC/a01.wav` or `ALL/DC_a01.wav` (Haq & Jackson 2010, University of Surrey)."""

import re
from pathlib import Path

from hf_ser.corpora.utterance import FileNameError, Utterance, check_name

NAME = "savee"
SPEAKERS = ("DC", "JE", "JK", "KL")

EMOTION_CODES = {
    "sa": "sad",
    "su": "surprised",
    "a": "angry",
    "d": "disgust",
    "f": "fearful",
    "h": "happy",
    "n": "neutral",
}
_NUMBER_OF_NEUTRAL, _NUMBER_OF_OTHERS = 30, 15


def parse(path: Path) -> Utterance:
    """Parse a SAVEE file name. The speaker is the prefix of the name or the name of the folder.

    Raises:
        FileNameError: if the name follows neither layout.
    """
    check_name(path)
    match = re.fullmatch(r"(?:([A-Z]{2})_)?(sa|su|[adfhn])(\d\d)", path.stem, flags=re.IGNORECASE)
    if match is None:
        raise FileNameError(path, f"the stem {path.stem!r}", "a01 in a speaker's folder, or DC_a01")
    speaker = (match[1] or path.parent.name).upper()
    if speaker not in SPEAKERS:
        raise FileNameError(path, f"speaker {speaker!r}", "one of " + ", ".join(SPEAKERS))
    emotion_code = match[2].lower()
    emotion, number = EMOTION_CODES[emotion_code], int(match[3])
    highest = _NUMBER_OF_NEUTRAL if emotion == "neutral" else _NUMBER_OF_OTHERS
    if not 1 <= number <= highest:
        raise FileNameError(path, f"number {match[3]} of {emotion}", f"01 to {highest}")
    return Utterance(path, NAME, f"{speaker}_{emotion_code}{match[3]}", emotion, f"{NAME}_{speaker}", "male")


def published_counts(vocal_channel: str) -> dict[tuple[str, str], int]:
    """Recordings per (speaker, emotion) in the published corpus: 480 of speech, none of song."""
    if vocal_channel != "speech":
        return {}
    return {
        (f"{NAME}_{speaker}", emotion): _NUMBER_OF_NEUTRAL if emotion == "neutral" else _NUMBER_OF_OTHERS
        for speaker in SPEAKERS
        for emotion in EMOTION_CODES.values()
    }

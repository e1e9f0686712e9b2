"""EMO-DB: `wav/03a01Fa.wav` (Burkhardt et al. 2005, Berlin Database of Emotional Speech)."""

import re
from pathlib import Path
from typing import Literal

from hf_ser.corpora.utterance import FileNameError, Utterance, check_name, code

NAME = "emodb"
# The initials of the German words: Wut, Langeweile, Ekel, Angst, Freude, Trauer. Boredom is not one of the eight.
EMOTION_CODES = {
    "W": "angry",
    "L": "boredom",
    "E": "disgust",
    "A": "fearful",
    "F": "happy",
    "N": "neutral",
    "T": "sad",
}
# Age in years and sex of each speaker, from the description of the corpus.
_DEMOGRAPHICS = {
    "03": "31m",
    "08": "34f",
    "09": "21f",
    "10": "32m",
    "11": "26m",
    "12": "30m",
    "13": "32f",
    "14": "35f",
    "15": "25m",
    "16": "31f",
}
SPEAKERS = tuple(_DEMOGRAPHICS)
_TEXTS = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
# Published recordings per speaker, in the order of EMOTION_CODES. Others were removed after a listening test.
_COUNTS = {
    "03": (14, 5, 1, 4, 7, 11, 7),
    "08": (12, 10, 0, 6, 11, 10, 9),
    "09": (13, 4, 8, 1, 4, 9, 4),
    "10": (10, 8, 1, 8, 4, 4, 3),
    "11": (11, 8, 2, 10, 8, 9, 7),
    "12": (12, 5, 2, 6, 2, 4, 4),
    "13": (12, 10, 8, 7, 10, 9, 5),
    "14": (16, 8, 8, 12, 8, 7, 10),
    "15": (13, 9, 5, 8, 6, 11, 4),
    "16": (14, 14, 11, 7, 11, 5, 9),
}


def parse(path: Path) -> Utterance:
    """Parse an EMO-DB file name; the folder is ignored.

    Raises:
        FileNameError: if the name does not follow the convention.
    """
    check_name(path)
    match = re.fullmatch(r"(\d\d)([a-z]\d\d)([a-z])([a-z])", path.stem, flags=re.IGNORECASE)
    if match is None:
        expected = "speaker, text, emotion and version such as 03a01Fa"
        raise FileNameError(path, f"the stem {path.stem!r}", expected)
    speaker, text_code, letter, version = match[1], match[2].lower(), match[3].upper(), match[4].lower()
    age_sex = code(path, _DEMOGRAPHICS, speaker, "speaker")
    gender: Literal["female", "male"] = "female" if age_sex[-1] == "f" else "male"
    return Utterance(
        path=path,
        corpus=NAME,
        stem=f"{speaker}{text_code}{letter}{version}",
        emotion=code(path, EMOTION_CODES, letter, "emotion"),
        speaker=f"{NAME}_{speaker}",
        gender=gender,
        age=int(age_sex[:-1]),
        text=code(path, _TEXTS, text_code, "text"),
        language="de",
    )


def published_counts(vocal_channel: str) -> dict[tuple[str, str], int]:
    """Recordings per (speaker, emotion) in the published corpus: 535 of speech, none of song."""
    if vocal_channel != "speech":
        return {}
    return {
        (f"{NAME}_{speaker}", emotion): number
        for speaker, numbers in _COUNTS.items()
        for emotion, number in zip(EMOTION_CODES.values(), numbers, strict=True)
        if number
    }

"""CREMA-D: `AAAA_SSS_EMO_LV.wav` (Cao et al. 2014, doi:10.1109/TAFFC.2014.2336244)."""

import re
from pathlib import Path
from typing import Literal

from hf_ser.corpora.utterance import FileNameError, Utterance, check_name, code

NAME = "crema_d"
ACTORS = range(1001, 1092)

EMOTION_CODES = {"ANG": "angry", "DIS": "disgust", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
_LEVELS = {"XX": "unspecified", "LO": "low", "MD": "medium", "HI": "high"}
_SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
# Age in years and sex of actors 1001 to 1091, from the corpus's VideoDemographics.csv (ODbL 1.0).
_DEMOGRAPHICS = """
    51m 21f 21f 42f 29m 58f 38f 46f 24f 27f 32m 23f 22f 24m 32m 61m 42m 25f 29m 61f 30f 22m 22m 59f 48f
    33m 44m 57f 33f 42f 31m 30m 31m 74m 48m 49m 45f 21m 51m 42m 42m 37m 25f 40m 22m 22f 22f 38m 25f 62m
    56m 33f 35f 36f 57f 52f 25m 36f 21m 28f 51f 56m 33f 53m 38m 25m 66m 34m 27m 25m 41m 33f 24f 31f 40f
    25f 20m 21f 21f 21m 30m 20f 45m 46f 34m 33m 62m 23m 24f 50m 29f
""".split()
# Recordings missing from CREMA-D: one sentence in every emotion for three actors, one neutral clip for two.
_LACKS_ONE_SENTENCE = (1008, 1009, 1019)
_LACKS_ONE_NEUTRAL = (1002, 1076)


def parse(path: Path) -> Utterance:
    """Parse a CREMA-D file name; the folder is ignored.

    `1040_ITH_SAD_X` is the old name of `1040_ITH_SAD_XX`. Both have the same stem.

    Raises:
        FileNameError: the name does not follow the convention, or names a recording that CREMA-D does not have.
    """
    check_name(path)
    stem = path.stem.upper()
    if stem == "1040_ITH_SAD_X":
        stem = "1040_ITH_SAD_XX"
    if not re.fullmatch(r"\d{4}_[A-Z]{3}_[A-Z]{3}_[A-Z]{2}", stem):
        raise FileNameError(path, f"the stem {path.stem!r}", "ACTOR_SENTENCE_EMOTION_LEVEL such as 1001_DFA_ANG_XX")
    actor_code, sentence, emotion_code, level_code = stem.split("_")
    actor = int(actor_code)
    if actor not in ACTORS:
        raise FileNameError(path, f"actor {actor_code}", "an actor from 1001 to 1091")
    text = code(path, _SENTENCES, sentence, "sentence")
    emotion = code(path, EMOTION_CODES, emotion_code, "emotion")
    level = code(path, _LEVELS, level_code, "level")
    if (level_code != "XX") != (sentence == "IEO" and emotion != "neutral"):
        raise FileNameError(
            path,
            f"{emotion} {sentence} with level {level_code}",
            "LO, MD or HI for sentence IEO in emotions other than neutral, and XX otherwise",
        )
    age, gender = demographics(actor)
    return Utterance(path, NAME, stem, emotion, f"{NAME}_{actor}", gender, age, level, "speech", text)


def demographics(actor: int) -> tuple[int, Literal["female", "male"]]:
    """Age in years and gender of an actor from 1001 to 1091."""
    age_sex = _DEMOGRAPHICS[actor - ACTORS[0]]
    return int(age_sex[:-1]), "female" if age_sex[-1] == "f" else "male"


def published_counts(vocal_channel: str) -> dict[tuple[str, str], int]:
    """Recordings per (speaker, emotion) in the published corpus: 7442 of speech, none of song."""
    if vocal_channel != "speech":
        return {}
    counts = {}
    for actor in ACTORS:
        for emotion in EMOTION_CODES.values():
            full = 12 if emotion == "neutral" else 14
            lacking = actor in _LACKS_ONE_SENTENCE or (emotion == "neutral" and actor in _LACKS_ONE_NEUTRAL)
            counts[f"{NAME}_{actor}", emotion] = full - lacking
    return counts

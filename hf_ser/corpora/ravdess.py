"""RAVDESS: `MM-VC-EM-IN-ST-RE-AC.wav` (Livingstone & Russo 2018, doi:10.1371/journal.pone.0196391)."""

import re
from pathlib import Path
from typing import Literal

from hf_ser.corpora.utterance import FileNameError, Utterance, check_name, code
from hf_ser.labels import EMOTIONS

NAME = "ravdess"
ACTORS = range(1, 25)
SONG_ACTORS = tuple(actor for actor in ACTORS if actor != 18)

_MODALITIES = {"01": "audio-video", "02": "video", "03": "audio"}
_CHANNELS: dict[str, str] = {"01": "speech", "02": "song"}
EMOTION_CODES = {f"{index + 1:02d}": emotion for index, emotion in enumerate(EMOTIONS)}
_INTENSITIES = {"01": "normal", "02": "strong"}
_STATEMENTS = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
_REPETITIONS = {"01": "first", "02": "second"}
SUNG = ("neutral", "calm", "happy", "sad", "angry", "fearful")


def parse(path: Path) -> Utterance:
    """Parse a RAVDESS file name; the folder is ignored.

    Soundtracks of the audio-video release (modality 01) are accepted as well as the audio release (03), which is
    preferred. Both are the same performance, which all codes except the modality identify.

    Raises:
        FileNameError: if the name does not follow the convention, or refers to a recording that RAVDESS does not have.
    """
    check_name(path)
    if not re.fullmatch(r"\d\d(-\d\d){6}", path.stem):
        raise FileNameError(path, f"the stem {path.stem!r}", "seven two-digit codes such as 03-01-05-01-02-01-07")
    modality, channel_code, emotion_code, intensity_code, statement, repetition, actor_code = path.stem.split("-")
    if code(path, _MODALITIES, modality, "modality") == "video":
        raise FileNameError(path, "modality 02 (video without sound)", "03 (audio) or 01 (audio-video)")
    vocal_channel: Literal["speech", "song"] = (
        "song" if code(path, _CHANNELS, channel_code, "channel") == "song" else "speech"
    )
    emotion = code(path, EMOTION_CODES, emotion_code, "emotion")
    intensity = code(path, _INTENSITIES, intensity_code, "intensity")
    code(path, _REPETITIONS, repetition, "repetition")
    actor = int(actor_code)
    if actor not in ACTORS:
        raise FileNameError(path, f"actor {actor_code}", "an actor from 01 to 24")
    if emotion == "neutral" and intensity == "strong":
        raise FileNameError(path, "neutral with intensity 02 (strong)", "neutral with intensity 01 (normal)")
    if vocal_channel == "song" and (emotion not in SUNG or actor not in SONG_ACTORS):
        raise FileNameError(
            path, f"{emotion} sung by actor {actor_code}", "song without disgust, surprised and actor 18"
        )
    return Utterance(
        path=path,
        corpus=NAME,
        stem=path.stem,
        emotion=emotion,
        speaker=f"{NAME}_{actor:02d}",
        gender="male" if actor % 2 else "female",
        intensity=intensity,
        vocal_channel=vocal_channel,
        text=code(path, _STATEMENTS, statement, "statement"),
        performance=path.stem.partition("-")[2],
        rank=0 if _MODALITIES[modality] == "audio" else 1,
    )


def published_counts(vocal_channel: str) -> dict[tuple[str, str], int]:
    """Recordings per (speaker, emotion) in the published corpus: 1440 of speech, 1012 of song."""
    actors, emotions = (ACTORS, EMOTIONS) if vocal_channel == "speech" else (SONG_ACTORS, SUNG)
    return {
        (f"{NAME}_{actor:02d}", emotion): 4 if emotion == "neutral" else 8 for actor in actors for emotion in emotions
    }

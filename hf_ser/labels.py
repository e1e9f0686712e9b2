"""The default label map: eight emotions in the order of the RAVDESS codes (standard library only)."""

EMOTIONS: tuple[str, ...] = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
LABEL2ID: dict[str, int] = {emotion: index for index, emotion in enumerate(EMOTIONS)}
ID2LABEL: dict[int, str] = dict(enumerate(EMOTIONS))


def merge_calm(emotion: str) -> str:
    """Map `calm` to `neutral`, and return every other emotion unchanged.

    Only RAVDESS has `calm`, so on merged corpora that class reveals the corpus. Studies that pool corpora often
    merge it with `neutral`.
    """
    return "neutral" if emotion == "calm" else emotion


EMOTIONS_WITHOUT_CALM: tuple[str, ...] = tuple(emotion for emotion in EMOTIONS if emotion != "calm")

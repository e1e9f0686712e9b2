"""The one label map: eight emotions in the order of RAVDESS's own codes (standard library only)."""

EMOTIONS: tuple[str, ...] = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
LABEL2ID: dict[str, int] = {emotion: index for index, emotion in enumerate(EMOTIONS)}
ID2LABEL: dict[int, str] = dict(enumerate(EMOTIONS))


def merge_calm(emotion: str) -> str:
    """Return the emotion's name in the seven-class set, in which `calm` counts as `neutral`.

    Only RAVDESS has `calm`, so on the merged corpora that class gives away the corpus; studies that pool corpora
    often fold it into `neutral`.
    """
    return "neutral" if emotion == "calm" else emotion


EMOTIONS_WITHOUT_CALM: tuple[str, ...] = tuple(emotion for emotion in EMOTIONS if emotion != "calm")

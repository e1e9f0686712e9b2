"""The default label set: eight emotions in the order of the RAVDESS codes (standard library only)."""

from collections.abc import Iterable

EMOTIONS: tuple[str, ...] = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
LABEL2ID: dict[str, int] = {emotion: index for index, emotion in enumerate(EMOTIONS)}
ID2LABEL: dict[int, str] = dict(enumerate(EMOTIONS))


def merge_calm(emotion: str) -> str:
    """Map `calm` to `neutral`, and return every other emotion unchanged.

    Only RAVDESS has `calm`, so on merged corpora that class reveals the corpus. Studies that pool corpora often
    merge it with `neutral`.
    """
    return "neutral" if emotion == "calm" else emotion


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """The labels once each: emotions of the default set in its order, other label sets in the given order.

    >>> in_order(["sad", "angry", "happy"]), in_order(["sad", "bored", "sad"])
    (('happy', 'sad', 'angry'), ('sad', 'bored'))
    """
    found = tuple(dict.fromkeys(labels))
    return tuple(sorted(found, key=EMOTIONS.index)) if set(found) <= set(EMOTIONS) else found
